//! Requests to services of which no SDK is part of the build: signed by AWS's own signer.

use std::time::SystemTime;

use aws_config::SdkConfig;
use aws_credential_types::provider::ProvideCredentials;
use aws_sdk_ssm::error::BoxError;
use aws_sigv4::{
    http_request::{
        PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
        UriPathNormalizationMode, sign,
    },
    sign::v4,
};
use aws_smithy_runtime_api::{client::orchestrator::HttpRequest, http::Headers};
use aws_smithy_types::body::SdkBody;
use aws_types::service_config::ServiceConfigKey;

use super::connect::Connect;

/// A request with its signature.
#[derive(Debug)]
pub(super) struct Signed {
    method: &'static str,
    url: String,
    headers: Headers,
    body: Vec<u8>,
}

impl Signed {
    /// Signs a request for a service, in the Region and with the credentials of the connection.
    pub(super) async fn sign(
        connect: &Connect,
        service: &str,
        method: &'static str,
        url: String,
        mut headers: Vec<(&'static str, String)>,
        body: Vec<u8>,
    ) -> Result<Self, BoxError> {
        let config = connect.config();
        let provider = config.credentials_provider().ok_or("no credentials")?;
        let identity = provider.provide_credentials().await?.into();
        headers.push(("host", host(&url).to_owned()));
        let mut settings = SigningSettings::default();
        // As S3 has it. Other services are called at their root, where it makes no difference.
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        #[expect(clippy::disallowed_methods, reason = "a signature has its own time")]
        let now = SystemTime::now();
        let region = region(config);
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&region)
            .name(service)
            .time(now)
            .settings(settings)
            .build()?;
        let pairs = headers.iter().map(|(name, value)| (*name, value.as_str()));
        let request = SignableRequest::new(method, &url, pairs, SignableBody::Bytes(&body))?;
        let (signature, _) = sign(request, &params.into())?.into_parts();
        let (added, _) = signature.into_parts();
        let mut all = Headers::new();
        for (name, value) in headers {
            all.try_insert(name, value)?;
        }
        for it in added {
            all.try_insert(it.name(), it.value().to_owned())?;
        }
        Ok(Self { method, url, headers: all, body })
    }

    pub(super) fn into_request(self) -> Result<HttpRequest, BoxError> {
        let Self { method, url, headers, body } = self;
        let mut request = HttpRequest::new(SdkBody::from(body));
        request.set_method(method)?;
        request.set_uri(url)?;
        *request.headers_mut() = headers;
        Ok(request)
    }
}

/// The Region's code.
pub(super) fn region(config: &SdkConfig) -> String {
    config.region().map_or("us-east-1", AsRef::as_ref).to_owned()
}

/// The endpoint that the environment, a profile or the connection names for a service, if any does.
pub(super) fn endpoint(config: &SdkConfig, service_id: &str) -> Option<String> {
    let key = ServiceConfigKey::builder()
        .service_id(service_id)
        .profile("endpoint_url")
        .env("AWS_ENDPOINT_URL")
        .build();
    let named = key.ok().and_then(|key| config.service_config()?.load_config(key));
    named.or_else(|| config.endpoint_url().map(Into::into))
}

/// A URL's host, with its port.
fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split_once('/').map_or(rest, |(host, _)| host)
}

/// A URL without its path.
pub(super) fn origin(url: &str) -> &str {
    let n_scheme = url.find("://").map_or(0, |it| it + 3);
    let end = url.get(n_scheme..).and_then(|it| it.find('/')).map_or(url.len(), |it| n_scheme + it);
    url.get(..end).unwrap_or(url)
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
