//! Where services are reached: as AWS's SDKs do.
//!
//! Their rules are part of their clients. `aws-sdk-ssm` alone, of which nothing else is used, would take a sixth of a
//! debug build's CPU time. `../oracle` compares the endpoints of Systems Manager and of tagging with the SDK's.

use aws_config::SdkConfig;
use aws_types::service_config::ServiceConfigKey;

/// A service.
#[derive(Clone, Copy, Debug)]
pub struct Api {
    /// As the SDK names it in settings, such as in `AWS_ENDPOINT_URL_SSM`.
    pub id: &'static str,
    /// As its host and signatures name it.
    pub name: &'static str,
}

/// Systems Manager.
pub const SSM: Api = Api { id: "SSM", name: "ssm" };
pub(super) const EVENT_BRIDGE: Api = Api { id: "EventBridge", name: "events" };
pub(super) const ORGANIZATIONS: Api = Api { id: "Organizations", name: "organizations" };
/// The Security Token Service.
pub const STS: Api = Api { id: "STS", name: "sts" };
pub(super) const S3: Api = Api { id: "S3", name: "s3" };
/// The Resource Groups Tagging API.
pub const TAGGING: Api = Api { id: "Resource Groups Tagging API", name: "tagging" };

/// Regions with domains of their own.
struct Partition {
    /// How the names of its Regions begin.
    prefix: &'static str,
    domain: &'static str,
    dual_stack: &'static str,
    /// The Region of what it has only one of.
    home: &'static str,
}

const GOV_CLOUD: &str = "us-gov-";

/// The last is whatever no other is.
#[rustfmt::skip]
const PARTITIONS: [Partition; 8] = [
    partition("cn-",      "amazonaws.com.cn",  "api.amazonwebservices.com.cn", "cn-northwest-1"),
    partition("eu-isoe-", "cloud.adc-e.uk",    "api.cloud-aws.adc-e.uk",       "eu-isoe-west-1"),
    partition("eusc-",    "amazonaws.eu",      "api.amazonwebservices.eu",     "eusc-de-east-1"),
    partition(GOV_CLOUD,  "amazonaws.com",     "api.aws",                      "us-gov-west-1"),
    partition("us-iso-",  "c2s.ic.gov",        "api.aws.ic.gov",               "us-iso-east-1"),
    partition("us-isob-", "sc2s.sgov.gov",     "api.aws.scloud",               "us-isob-east-1"),
    partition("us-isof-", "csp.hci.ic.gov",    "api.aws.hci.ic.gov",           "us-isof-south-1"),
    partition("",         "amazonaws.com",     "api.aws",                      "us-east-1"),
];

const fn partition(
    prefix: &'static str,
    domain: &'static str,
    dual_stack: &'static str,
    home: &'static str,
) -> Partition {
    Partition { prefix, domain, dual_stack, home }
}

/// The Region in whose partition there is one for all Regions.
pub(super) fn home(region: &str) -> &'static str {
    of(region).home
}

fn of(region: &str) -> &'static Partition {
    let [others @ .., default] = &PARTITIONS;
    others.iter().find(|it| region.starts_with(it.prefix)).unwrap_or(default)
}

/// A service's URL in a Region: the one that `named` finds, or else AWS's.
#[must_use]
pub fn url(config: &SdkConfig, api: Api, region: &str) -> String {
    named(config, api).unwrap_or_else(|| format!("https://{}", host(config, api, region)))
}

/// A bucket's URL.
pub(super) fn url_of_bucket(config: &SdkConfig, bucket: &str, region: &str) -> String {
    // Behind another endpoint, a name in front of its host would not be known. One with a dot has no certificate.
    if named(config, S3).is_some() || bucket.contains('.') {
        return format!("{}/{bucket}", url(config, S3, region).trim_end_matches('/'));
    }
    format!("https://{bucket}.{}", host(config, S3, region))
}

fn host(config: &SdkConfig, Api { name, .. }: Api, region: &str) -> String {
    let Partition { prefix, domain, dual_stack, .. } = of(region);
    let is_fips = config.use_fips().unwrap_or_default();
    let is_dual_stack = config.use_dual_stack().unwrap_or_default();
    let fips = match name {
        // GovCloud's only ones, under their usual names.
        "organizations" if *prefix == GOV_CLOUD => "",
        "events" | "ssm" | "sts" if *prefix == GOV_CLOUD && !is_dual_stack => "",
        _ if is_fips => "-fips",
        _ => "",
    };
    match (name, is_dual_stack) {
        ("s3", true) => format!("{name}{fips}.dualstack.{region}.{domain}"),
        (_, true) => format!("{name}{fips}.{region}.{dual_stack}"),
        (_, false) => format!("{name}{fips}.{region}.{domain}"),
    }
}

/// The endpoint that the connection was given, or that the environment or a profile names for a service, if
/// any does.
pub fn named(config: &SdkConfig, api: Api) -> Option<String> {
    if config.get_origin("endpoint_url").is_client_config() {
        return config.endpoint_url().map(Into::into);
    }
    let key = ServiceConfigKey::builder()
        .service_id(api.id)
        .profile("endpoint_url")
        .env("AWS_ENDPOINT_URL")
        .build();
    let named = key.ok().and_then(|key| config.service_config()?.load_config(key));
    named.or_else(|| config.endpoint_url().map(Into::into))
}

#[cfg(test)]
mod tests {
    use aws_types::{origin::Origin, service_config::LoadServiceConfig};

    use super::*;

    #[derive(Debug)]
    struct Service;

    impl LoadServiceConfig for Service {
        fn load_config(&self, _key: ServiceConfigKey<'_>) -> Option<String> {
            Some("http://service".into())
        }
    }

    /// What was given by hand counts more than what the environment or a profile says of one service, and
    /// that more than what they say of all.
    #[test]
    fn precedence() {
        for (origin, expected) in [
            (Origin::shared_config(), "http://given"),
            (Origin::shared_environment_variable(), "http://service"),
        ] {
            let mut builder = SdkConfig::builder().endpoint_url("http://given");
            builder.set_service_config(Some(Service));
            builder.insert_origin("endpoint_url", origin);
            let config = builder.build();
            assert_eq!(url(&config, TAGGING, "eu-central-1"), expected);
            let bucket = url_of_bucket(&config, "logs", "eu-central-1");
            assert_eq!(bucket, format!("{expected}/logs"));
        }
    }

    /// Endpoints that `aws-sdk-eventbridge` 1.127, `aws-sdk-organizations` 1.137 and `aws-sdk-s3` 1.157 are tested
    /// with.
    #[test]
    #[rustfmt::skip]
    fn endpoints() {
        let (none, fips, dual, both) = ((false, false), (true, false), (false, true), (true, true));
        let table = [
            (EVENT_BRIDGE, "eu-central-1",   none, "events.eu-central-1.amazonaws.com"),
            (EVENT_BRIDGE, "us-east-1",      fips, "events-fips.us-east-1.amazonaws.com"),
            (EVENT_BRIDGE, "us-east-1",      dual, "events.us-east-1.api.aws"),
            (EVENT_BRIDGE, "us-east-1",      both, "events-fips.us-east-1.api.aws"),
            (EVENT_BRIDGE, "cn-north-1",     both, "events-fips.cn-north-1.api.amazonwebservices.com.cn"),
            (EVENT_BRIDGE, "us-gov-east-1",  fips, "events.us-gov-east-1.amazonaws.com"),
            (EVENT_BRIDGE, "us-gov-east-1",  dual, "events.us-gov-east-1.api.aws"),
            (EVENT_BRIDGE, "us-iso-west-1",  none, "events.us-iso-west-1.c2s.ic.gov"),
            (EVENT_BRIDGE, "us-isob-east-1", fips, "events-fips.us-isob-east-1.sc2s.sgov.gov"),
            (ORGANIZATIONS, "us-east-1",      none, "organizations.us-east-1.amazonaws.com"),
            (ORGANIZATIONS, "us-east-1",      fips, "organizations-fips.us-east-1.amazonaws.com"),
            (ORGANIZATIONS, "us-east-1",      both, "organizations-fips.us-east-1.api.aws"),
            (ORGANIZATIONS, "cn-northwest-1", dual, "organizations.cn-northwest-1.api.amazonwebservices.com.cn"),
            (ORGANIZATIONS, "eu-isoe-west-1", none, "organizations.eu-isoe-west-1.cloud.adc-e.uk"),
            (ORGANIZATIONS, "eusc-de-east-1", fips, "organizations-fips.eusc-de-east-1.amazonaws.eu"),
            (ORGANIZATIONS, "us-gov-west-1",  fips, "organizations.us-gov-west-1.amazonaws.com"),
            (ORGANIZATIONS, "us-gov-west-1",  both, "organizations.us-gov-west-1.api.aws"),
            (ORGANIZATIONS, "us-isof-south-1", none, "organizations.us-isof-south-1.csp.hci.ic.gov"),
            (S3, "us-west-2",  none, "s3.us-west-2.amazonaws.com"),
            (S3, "us-east-1",  fips, "s3-fips.us-east-1.amazonaws.com"),
            (S3, "us-east-1",  dual, "s3.dualstack.us-east-1.amazonaws.com"),
            (S3, "af-south-1", both, "s3-fips.dualstack.af-south-1.amazonaws.com"),
            (S3, "cn-north-1", dual, "s3.dualstack.cn-north-1.amazonaws.com.cn"),
        ];
        for (api, region, (is_fips, is_dual_stack), host) in table {
            let config = SdkConfig::builder().use_fips(is_fips).use_dual_stack(is_dual_stack).build();
            assert_eq!(url(&config, api, region), format!("https://{host}"));
            if api.name == "s3" {
                let of = |bucket| url_of_bucket(&config, bucket, region);
                assert_eq!(of("bucket-name"), format!("https://bucket-name.{host}"));
                assert_eq!(of("bucket.name"), format!("https://{host}/bucket.name"));
            }
        }
    }

    /// Organizations is in one Region of each partition.
    #[test]
    fn homes() {
        for (region, expected) in [
            ("eu-central-1", "us-east-1"),
            ("cn-north-1", "cn-northwest-1"),
            ("us-gov-east-1", "us-gov-west-1"),
            ("us-iso-west-1", "us-iso-east-1"),
            ("us-isof-east-1", "us-isof-south-1"),
        ] {
            assert_eq!(home(region), expected);
        }
    }
}
