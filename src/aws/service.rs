//! Calls of one service: signed, and sent by the SDK's connector.
//!
//! Credentials, their cache and connections are the SDK's. Its clients do more for each call:
//! they resolve endpoint, authentication, time-outs and retries anew, which took nearly half of a sweep's CPU time.

use aws_config::SdkConfig;
use aws_credential_types::{Credentials, provider::error::CredentialsError};
use aws_smithy_async::rt::sleep::default_async_sleep;
use aws_smithy_runtime::client::{
    auth::no_auth::{NO_AUTH_SCHEME_ID, NoAuthScheme},
    identity::{IdentityCache, no_auth::NoAuthIdentityResolver},
    orchestrator::endpoints::StaticUriEndpointResolver,
    retries::strategy::NeverRetryStrategy,
};
use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        auth::static_resolver::StaticAuthSchemeOptionResolver,
        http::{HttpClient, HttpConnector, HttpConnectorSettings, SharedHttpConnector},
        identity::{Identity, ResolveCachedIdentity, SharedIdentityResolver},
        orchestrator::{HttpRequest, HttpResponse},
        result::{ConnectorError, SdkError},
        runtime_components::RuntimeComponents,
    },
};
use aws_smithy_types::{body::SdkBody, config_bag::ConfigBag, error::metadata::ErrorMetadata};
use http_body_util::BodyExt;

use super::{
    call::ATTEMPT_TIMEOUT,
    connect::one_connector,
    endpoint::{self, Api},
    signature::Signer,
};

/// The sender, as CloudTrail records it.
const USER_AGENT: &str = concat!("session-reaper/", env!("CARGO_PKG_VERSION"));

/// One service, at its endpoint.
#[derive(Debug)]
pub struct Service {
    signs: bool,
    credentials: Option<SharedIdentityResolver>,
    /// Why no call can be made, if so.
    way: Result<Way, String>,
}

/// By what calls reach a service.
#[derive(Debug)]
struct Way {
    signer: Signer,
    /// Without a slash at its end.
    endpoint: String,
    connector: SharedHttpConnector,
    /// The cache of credentials, and what it asks for.
    components: RuntimeComponents,
    nothing: ConfigBag,
}

/// A request, still without its signature.
#[derive(Debug)]
pub struct Request {
    /// Such as `POST`.
    pub method: &'static str,
    /// After the endpoint, encoded, with a slash at its beginning.
    pub path: String,
    /// Names in lower case, and values.
    pub headers: Vec<(&'static str, String)>,
    /// What is sent.
    pub body: Vec<u8>,
}

impl Request {
    /// A call in AWS's JSON protocol, of the operation that it names `target`.
    #[must_use]
    pub fn json(target: &str, body: Vec<u8>) -> Self {
        let headers = vec![
            ("content-type", "application/x-amz-json-1.1".to_owned()),
            ("x-amz-target", target.to_owned()),
        ];
        Self { method: "POST", path: "/".into(), headers, body }
    }
}

/// Why an answer has not what was asked for.
#[derive(Debug)]
pub enum Unread {
    /// It cannot be read.
    Unintelligible(BoxError),
    /// It is an error of the service.
    Refused(ErrorMetadata),
}

impl Unread {
    /// The error of this code, if it has one. Without, it is AWS's only if the service could not answer: else it
    /// is of something between here and AWS.
    pub(super) fn refused(status: u16, code: &str, message: &str) -> Self {
        let builder = ErrorMetadata::builder().message(message);
        match code {
            "" if status < 500 && status != 429 => {
                let text = format!("it has the HTTP status {status}, and no code of an error");
                Self::Unintelligible(text.into())
            }
            "" => Self::Refused(builder.build()),
            code => Self::Refused(builder.code(code).build()),
        }
    }

    /// The error of a service whose errors are XML.
    pub(super) fn refused_in_xml(status: u16, body: &[u8]) -> Self {
        Self::refused(status, &element(body, "Code"), &element(body, "Message"))
    }
}

/// The text of an element that is there once, and has no others in it; empty if there is none.
pub(super) fn element(xml: &[u8], name: &str) -> String {
    let text = String::from_utf8_lossy(xml);
    let inner = text.split_once(&format!("<{name}>")).and_then(|(_, rest)| rest.split_once("</"));
    inner.map(|(text, _)| text.to_owned()).unwrap_or_default()
}

impl Service {
    /// A service in the Region and with the credentials of the configuration.
    #[must_use]
    pub fn new(config: &SdkConfig, api: Api) -> Self {
        Self::with_settings(config, api, &settings())
    }

    /// The same, with connections of these settings.
    #[must_use]
    pub fn with_settings(config: &SdkConfig, api: Api, settings: &HttpConnectorSettings) -> Self {
        Self::make(config, api, settings, |region| endpoint::url(config, api, region))
    }

    /// The same, at the URL that it has in the Region.
    pub(super) fn at(config: &SdkConfig, api: Api, url: impl FnOnce(&str) -> String) -> Self {
        Self::make(config, api, &settings(), url)
    }

    fn make(
        config: &SdkConfig,
        api: Api,
        settings: &HttpConnectorSettings,
        url: impl FnOnce(&str) -> String,
    ) -> Self {
        let region = config.region().map(AsRef::as_ref).filter(|it| !it.is_empty());
        let region = region.ok_or_else(|| "no Region is set: set AWS_REGION".to_owned());
        Self {
            signs: true,
            credentials: config.credentials_provider().map(SharedIdentityResolver::new),
            way: region
                .and_then(|it| Way::new(config, settings, Signer::new(api.name, it), &url(it))),
        }
    }

    /// The same, whose requests are not signed.
    #[must_use]
    pub fn unsigned(self) -> Self {
        Self { signs: false, ..self }
    }

    /// Its URL, without a slash at its end. Empty if no call can be made.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        self.way.as_ref().map_or("", |it| &it.endpoint)
    }

    /// One attempt. `read` takes the answer, and its body.
    ///
    /// # Errors
    /// What was answered, but is not what `read` wants, or why there was no answer.
    pub async fn send<T>(
        &self,
        request: Request,
        read: impl FnOnce(&HttpResponse, Vec<u8>) -> Result<T, Unread>,
    ) -> Result<T, SdkError<ErrorMetadata, HttpResponse>> {
        let way = self.way.as_ref().map_err(|it| SdkError::construction_failure(it.clone()))?;
        let identity = self.identity(way).await.map_err(|err| {
            SdkError::dispatch_failure(ConnectorError::other(err, None)) // As the SDK's clients have it.
        })?;
        let request =
            Self::complete(way, request, identity).map_err(SdkError::construction_failure)?;
        let mut answer = way.connector.call(request).await.map_err(SdkError::dispatch_failure)?;
        let body = match answer.take_body().collect().await {
            Ok(body) => body.to_bytes().into(),
            Err(err) => return Err(SdkError::response_error(err, answer)),
        };
        match read(&answer, body) {
            Ok(it) => Ok(it),
            Err(Unread::Unintelligible(err)) => Err(SdkError::response_error(err, answer)),
            Err(Unread::Refused(err)) => Err(SdkError::service_error(err, answer)),
        }
    }

    /// Whose signature requests have, if they have one.
    async fn identity(&self, way: &Way) -> Result<Option<Identity>, BoxError> {
        if !self.signs {
            return Ok(None);
        }
        let Way { components, nothing, .. } = way;
        let credentials = self
            .credentials
            .clone()
            .ok_or_else(|| CredentialsError::not_loaded("none were configured"))?;
        let cache = components.identity_cache();
        cache.resolve_cached_identity(credentials, components, nothing).await.map(Some)
    }

    /// What is sent.
    fn complete(
        way: &Way,
        mut request: Request,
        identity: Option<Identity>,
    ) -> Result<HttpRequest, BoxError> {
        let url = format!("{}{}", way.endpoint, request.path);
        if let Some(identity) = identity {
            let credentials = identity.data::<Credentials>().ok_or("the identity has no keys")?;
            let now = way.components.time_source().unwrap_or_default().now();
            way.signer.sign(&mut request, &url, credentials, now)?;
        }
        let Request { method, headers, body, .. } = request;
        let mut complete = HttpRequest::new(SdkBody::from(body));
        let all = complete.headers_mut();
        all.try_insert("user-agent", USER_AGENT)?;
        for (name, value) in headers {
            all.try_insert(name, value)?;
        }
        complete.set_method(method)?;
        complete.set_uri(url)?;
        Ok(complete)
    }
}

fn settings() -> HttpConnectorSettings {
    HttpConnectorSettings::builder().connect_timeout(ATTEMPT_TIMEOUT).build()
}

impl Way {
    fn new(
        config: &SdkConfig,
        settings: &HttpConnectorSettings,
        signer: Signer,
        endpoint: &str,
    ) -> Result<Self, String> {
        let cache = config.identity_cache().unwrap_or_else(|| IdentityCache::lazy().build());
        // Required, and never asked.
        let builder = RuntimeComponents::builder("call")
            .with_auth_scheme_option_resolver(Some(StaticAuthSchemeOptionResolver::new(Vec::new())))
            .with_auth_scheme(NoAuthScheme::default())
            .with_endpoint_resolver(Some(StaticUriEndpointResolver::uri(endpoint)))
            .with_identity_resolver(NO_AUTH_SCHEME_ID, NoAuthIdentityResolver::new())
            .with_retry_strategy(Some(NeverRetryStrategy::new()));
        let components = builder
            .with_identity_cache(Some(cache))
            .with_sleep_impl(config.sleep_impl().or_else(default_async_sleep))
            .with_time_source(Some(config.time_source().unwrap_or_default()))
            .build()
            .map_err(|err| err.to_string())?;
        let client = config.http_client().unwrap_or_else(one_connector);
        Ok(Self {
            signer,
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            connector: client.http_connector(settings, &components),
            components,
            nothing: ConfigBag::base(),
        })
    }
}
