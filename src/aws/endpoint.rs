//! Where services are reached: by the SDK's rules for those whose SDK is part of the build.

use aws_config::SdkConfig;
use aws_sdk_resourcegroupstagging::config::endpoint as tagging;
use aws_sdk_ssm::config::endpoint as ssm;
use aws_types::service_config::ServiceConfigKey;
use futures_util::FutureExt;

use super::connect::Connect;

/// The endpoint by the rules of one SDK, whose types are its own.
macro_rules! resolved {
    ($sdk:ident, $service_id:literal, $connect:expr) => {{
        use $sdk::ResolveEndpoint;
        let config = $connect.config();
        let params = $sdk::Params::builder()
            .set_region(config.region().map(ToString::to_string))
            .set_use_fips(config.use_fips())
            .set_use_dual_stack(config.use_dual_stack())
            .set_endpoint(named(config, $service_id))
            .build()
            .map_err(|err| err.to_string())?;
        let endpoint = $sdk::DefaultResolver::new().resolve_endpoint(&params).now_or_never();
        let endpoint = endpoint.ok_or("the endpoint is not known")?;
        endpoint.map(|it| it.url().to_owned()).map_err(|err| err.to_string())
    }};
}

/// That of Systems Manager.
///
/// # Errors
/// If there is none, such as without a Region.
pub(super) fn of_ssm(connect: &Connect) -> Result<String, String> {
    resolved!(ssm, "SSM", connect)
}

/// That of the Resource Groups Tagging API.
///
/// # Errors
/// If there is none, such as without a Region.
pub(super) fn of_tagging(connect: &Connect) -> Result<String, String> {
    resolved!(tagging, "Resource Groups Tagging API", connect)
}

/// The endpoint that the connection was given, or that the environment or a profile names for a service, if
/// any does.
pub(super) fn named(config: &SdkConfig, service_id: &str) -> Option<String> {
    if config.get_origin("endpoint_url").is_client_config() {
        return config.endpoint_url().map(Into::into);
    }
    let key = ServiceConfigKey::builder()
        .service_id(service_id)
        .profile("endpoint_url")
        .env("AWS_ENDPOINT_URL")
        .build();
    let named = key.ok().and_then(|key| config.service_config()?.load_config(key));
    named.or_else(|| config.endpoint_url().map(Into::into))
}

pub(super) fn dns_suffix(partition: &str) -> &'static str {
    match partition {
        "aws-cn" => "amazonaws.com.cn",
        "aws-eusc" => "amazonaws.eu",
        "aws-iso" => "c2s.ic.gov",
        "aws-iso-b" => "sc2s.sgov.gov",
        "aws-iso-e" => "cloud.adc-e.uk",
        "aws-iso-f" => "csp.hci.ic.gov",
        _ => "amazonaws.com",
    }
}

#[cfg(test)]
mod tests {
    use aws_config::Region;
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
            let config = builder.region(Region::from_static("eu-central-1")).build();
            let connect = Connect::from(config);
            for found in [of_ssm(&connect), of_tagging(&connect)] {
                assert_eq!(found.as_deref(), Ok(expected));
            }
        }
    }
}
