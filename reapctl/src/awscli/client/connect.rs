//! Where to connect, as whom, and how long to wait.

use std::{fs, time::Duration};

use aws_config::{
    BehaviorVersion, Region, SdkConfig, ecs::EcsCredentialsProvider,
    imds::credentials::ImdsCredentialsProvider, meta::credentials::CredentialsProviderChain,
    profile::ProfileFileCredentialsProvider, retry::RetryConfig, timeout::TimeoutConfig,
};
use aws_credential_types::provider::{ProvideCredentials, error::CredentialsError};
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_types::error::display::DisplayErrorContext;

use crate::awscli::environment::{Settings, variable};

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
    } else if let Some(profile) = settings.profile.as_ref().filter(|_| settings.is_explicit) {
        loader = loader.credentials_provider(of_profile(profile));
    }
    if is_plain(options) {
        return Ok(loader.load().await);
    }
    if !options.verifies {
        return Err("reapctl always verifies certificates; trust others with --ca-bundle".into());
    }
    if let Some(path) = &options.ca_bundle {
        loader = loader.http_client(trusting(path)?);
    }
    Ok(loader.load().await)
}

/// Whether the endpoint is of http://: nothing is verified there.
fn is_plain(options: &Options) -> bool {
    let variables = ["AWS_ENDPOINT_URL_SSM", "AWS_ENDPOINT_URL"];
    let url = options.endpoint_url.clone();
    let url = url.or_else(|| variables.into_iter().find_map(variable));
    url.is_some_and(|it| it.starts_with("http://"))
}

/// A client that trusts the certificates of a file, and no others.
fn trusting(path: &str) -> Result<SharedHttpClient, String> {
    let pem = fs::read(path).map_err(|_| {
        format!("Could not find a suitable TLS CA certificate bundle, invalid path: {path}")
    })?;
    let trusted = TrustStore::empty().with_pem_certificate(pem);
    let context = TlsContext::builder().with_trust_store(trusted).build();
    let context = context.map_err(|err| format!("cannot use {path}: {err}"))?;
    let provider = Provider::Rustls(CryptoMode::AwsLc);
    Ok(Builder::new().tls_provider(provider).tls_context(context).build_https())
}

/// Everything but the environment's credentials.
fn of_profile(name: &str) -> CredentialsProviderChain {
    let profile = ProfileFileCredentialsProvider::builder().profile_name(name).build();
    CredentialsProviderChain::first_try("Profile", profile)
        .or_else("EcsContainer", EcsCredentialsProvider::builder().build())
        .or_else("Ec2InstanceMetadata", ImdsCredentialsProvider::builder().build())
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
