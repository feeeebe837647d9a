//! How clients are made: their HTTP connectors, and the settings that every call of a sweep has.

use aws_config::{ConfigLoader, Region, SdkConfig, retry::RetryConfig};
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_smithy_http_client::{
    Builder, Connector,
    proxy::ProxyConfig,
    tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::http::{HttpConnectorSettings, SharedHttpClient, SharedHttpConnector, http_client_fn},
};

use aws_types::service_config::{LoadServiceConfig, ServiceConfigKey};

use super::{bounded::bounded, call::ATTEMPT_TIMEOUT, client::Ssm};

/// An endpoint, a Region, credentials, and the HTTP client by which to reach them.
///
/// Whatever is made of one `Connect`, or of those derived from it, shares the HTTP client: its
/// connections and root certificates are there once, for however many accounts.
#[derive(Clone, Debug)]
pub struct Connect {
    config: SdkConfig,
}

impl From<SdkConfig> for Connect {
    fn from(config: SdkConfig) -> Self {
        Self { config }
    }
}

impl Connect {
    /// Reads endpoint, Region and credentials from where the loader looks for them. The search for
    /// credentials uses the HTTP client too.
    pub async fn load(loader: ConfigLoader, http_client: SharedHttpClient) -> Self {
        // The SDK's own clients would sign each attempt with the time of the answer before it: one wrong `Date`
        // would invalidate the next attempt, and a wrong clock would not be noticed.
        let loader = loader.http_client(http_client).disable_clock_skew_correction(true);
        // Otherwise the SDK would read AWS_MAX_ATTEMPTS and AWS_RETRY_MODE, and panic at what other SDKs
        // take, such as `legacy`. Sweeps do their own retries.
        let loader = loader.retry_config(RetryConfig::standard());
        Self { config: configured(loader.load().await) }
    }

    /// The same, with other credentials.
    #[must_use]
    pub fn with_credentials(self, provider: impl ProvideCredentials + 'static) -> Self {
        let provider = SharedCredentialsProvider::new(provider);
        Self { config: self.config.into_builder().credentials_provider(provider).build() }
    }

    /// What clients of other services are made of.
    #[must_use]
    pub fn config(&self) -> &SdkConfig {
        &self.config
    }

    /// The same, in another Region.
    #[must_use]
    pub fn at(self, region: &str) -> Self {
        let region = Region::new(region.to_owned());
        Self { config: self.config.into_builder().region(region).build() }
    }

    /// The API that a sweep needs, each operation at this pace.
    #[must_use]
    pub fn ssm(&self, calls_per_second: f64) -> Ssm {
        Ssm::new(self, calls_per_second)
    }
}

/// The configuration, in which an empty endpoint counts as not set: the SDK would panic at it. A custom
/// endpoint for all services is used as it is, as by botocore: the SDK refuses it with FIPS or dual-stack
/// endpoints, which it would not be.
#[must_use]
pub fn configured(config: SdkConfig) -> SdkConfig {
    let url = config.endpoint_url().filter(|it| !it.is_empty()).map(ToOwned::to_owned);
    let mut builder = config.to_builder();
    builder.set_service_config(Some(NotEmpty(config)));
    if url.is_some() {
        builder.set_use_fips(None);
        builder.set_use_dual_stack(None);
    }
    builder.set_endpoint_url(url);
    builder.build()
}

/// Settings of single services, of which an empty one counts as not set.
#[derive(Debug)]
struct NotEmpty(SdkConfig);

impl LoadServiceConfig for NotEmpty {
    fn load_config(&self, key: ServiceConfigKey<'_>) -> Option<String> {
        self.0.service_config()?.load_config(key).filter(|it| !it.is_empty())
    }
}

/// One connector for all clients, made now, whatever time-outs they ask for.
///
/// Otherwise each client of the SDK would make two of its own, one of them in its first call, and read and
/// parse the system's root certificates for each.
#[must_use]
pub fn one_connector() -> SharedHttpClient {
    let settings = HttpConnectorSettings::builder().connect_timeout(ATTEMPT_TIMEOUT).build();
    let connector = SharedHttpConnector::new(connector(TlsContext::default(), Some(settings)));
    bounded(http_client_fn(move |_settings, _components| connector.clone()))
}

/// A connector for each set of time-outs that a client asks for, such as the short ones with which
/// credentials are looked for on the machine itself.
///
/// With the text of a PEM file, the connectors trust its certificates and no others.
///
/// # Errors
/// If the PEM file cannot be used.
pub fn connectors(authorities: Option<Vec<u8>>) -> Result<SharedHttpClient, BoxError> {
    let mut tls = TlsContext::builder();
    if let Some(pem) = authorities {
        tls = tls.with_trust_store(TrustStore::empty().with_pem_certificate(pem));
    }
    let tls = tls.build()?;
    let make = move |settings: Option<&HttpConnectorSettings>, _components: Option<&_>| {
        connector(tls.clone(), settings.cloned())
    };
    Ok(bounded(Builder::new().build_with_connector_fn(make)))
}

fn connector(tls: TlsContext, settings: Option<HttpConnectorSettings>) -> Connector {
    let mut connector = Connector::builder()
        .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
        .tls_context(tls)
        .proxy_config(ProxyConfig::from_env());
    connector.set_connector_settings(settings);
    connector.build()
}
