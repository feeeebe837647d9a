//! Where to connect, as whom, and how long to wait.

use std::{fs, time::Duration};

use aws_config::{BehaviorVersion, Region, SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use aws_credential_types::provider::{ProvideCredentials, error::CredentialsError};
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode},
};
use aws_smithy_types::error::display::DisplayErrorContext;

use crate::awscli::environment::Settings;

/// What the command line says of the connection.
pub(crate) struct Options {
    pub(crate) region: String,
    pub(crate) endpoint_url: Option<String>,
    pub(crate) signs: bool,
    pub(crate) verifies: bool,
    pub(crate) ca_bundle: Option<String>,
    pub(crate) connect_timeout: Option<Duration>,
    pub(crate) read_timeout: Option<Duration>,
}

pub(super) async fn config(options: &Options, settings: &Settings) -> Result<SdkConfig, String> {
    let mut timeouts = TimeoutConfig::builder();
    timeouts.set_connect_timeout(options.connect_timeout);
    timeouts.set_read_timeout(options.read_timeout);
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new(options.region.clone()))
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts.build());
    if let Some(profile) = &settings.profile {
        loader = loader.profile_name(profile);
    }
    if let Some(url) = &options.endpoint_url {
        loader = loader.endpoint_url(url);
    }
    if !options.signs {
        loader = loader.no_credentials();
    }
    if let Some(path) = &options.ca_bundle {
        let pem = fs::read(path).map_err(|_| {
            format!("Could not find a suitable TLS CA certificate bundle, invalid path: {path}")
        })?;
        let trusted = TrustStore::empty().with_pem_certificate(pem);
        let context = TlsContext::builder().with_trust_store(trusted).build();
        let context = context.map_err(|err| format!("cannot use {path}: {err}"))?;
        let provider = Provider::Rustls(CryptoMode::AwsLc);
        let client = Builder::new().tls_provider(provider).tls_context(context).build_https();
        loader = loader.http_client(client);
    }
    let config = loader.load().await;
    let is_plain = config.endpoint_url().is_some_and(|it| it.starts_with("http://"));
    if !options.verifies && !is_plain {
        return Err("reapctl always verifies certificates; trust others with --ca-bundle".into());
    }
    Ok(config)
}

/// Refuses to go on without credentials.
pub(super) async fn check_credentials(config: &SdkConfig) -> Result<(), String> {
    let Some(provider) = config.credentials_provider() else { return Ok(()) };
    match provider.provide_credentials().await {
        Ok(_) => Ok(()),
        Err(CredentialsError::CredentialsNotLoaded(_)) => Err(NO_CREDENTIALS.into()),
        Err(err) => Err(DisplayErrorContext(err).to_string()),
    }
}

/// What the AWS CLI says without a line break before it.
pub(crate) const NO_CREDENTIALS: &str =
    "Unable to locate credentials. You can configure credentials by running \"aws configure\".";
