//! The endpoint, the credentials and the time-outs of a client.

use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use aws_credential_types::provider::{ProvideCredentials, error::CredentialsError};
use aws_smithy_runtime_api::client::http::HttpConnectorSettings;
use aws_smithy_types::error::display::DisplayErrorContext;
use session_reaper::aws::{SSM, Service, configured};

use crate::{
    credentials::of_profile,
    environment::{Problem, Settings, variable},
    error::CommandError,
    host::Host,
    version::Version,
};

/// The options that concern the connection.
pub(crate) struct Options {
    pub(crate) region: String,
    /// It decides how times are written unless the profile does.
    pub(crate) version: Version,
    pub(crate) endpoint_url: Option<String>,
    pub(crate) signs: bool,
    pub(crate) verifies: bool,
    pub(crate) ca_bundle: Option<String>,
    pub(crate) connect_timeout: Option<Duration>,
    pub(crate) read_timeout: Option<Duration>,
    pub(crate) shows_calls: bool,
}

pub(super) async fn config(
    options: &Options,
    settings: &Settings,
    host: &Host,
) -> Result<SdkConfig, String> {
    let mut timeouts = TimeoutConfig::builder();
    timeouts.set_connect_timeout(options.connect_timeout);
    timeouts.set_read_timeout(options.read_timeout);
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new(options.region.clone()))
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts.build())
        .profile_files(settings.files.clone());
    let profile = settings.sdk_profile();
    if let Some(profile) = &profile {
        loader = loader.profile_name(profile);
    }
    if let Some(url) = &options.endpoint_url {
        loader = loader.endpoint_url(url);
    }
    if !options.verifies && !is_plain(options) {
        return Err("reapctl always verifies certificates; trust others with --ca-bundle".into());
    }
    let ca_bundle = options.ca_bundle.as_deref().filter(|_| !is_plain(options));
    let client = (host.http_client)(ca_bundle, options.shows_calls)?;
    if !options.signs {
        loader = loader.no_credentials();
    } else if let Some(profile) = profile.filter(|_| settings.is_explicit) {
        let region = Some(Region::new(options.region.clone()));
        loader = loader.credentials_provider(of_profile(
            &profile,
            &settings.files,
            region,
            client.clone(),
        ));
    }
    Ok(configured(loader.http_client(client).load().await))
}

/// Whether the endpoint's URL starts with `http://`: then there is no certificate to verify.
fn is_plain(options: &Options) -> bool {
    let variables = ["AWS_ENDPOINT_URL_SSM", "AWS_ENDPOINT_URL"];
    let url = options.endpoint_url.clone();
    let url = url.or_else(|| variables.into_iter().filter_map(variable).find(|it| !it.is_empty()));
    url.is_some_and(|it| it.starts_with("http://"))
}

/// Systems Manager at its endpoint, with the time-outs that were asked for.
pub(super) fn service(config: &SdkConfig, options: &Options) -> Service {
    let mut settings = HttpConnectorSettings::builder();
    settings.set_connect_timeout(options.connect_timeout);
    settings.set_read_timeout(options.read_timeout);
    let service = Service::with_settings(config, SSM, &settings.build());
    if options.signs { service } else { service.unsigned() }
}

/// Fails if there are no credentials, or only half of them.
pub(super) async fn check_credentials(
    config: &SdkConfig,
    partial: Option<&Problem>,
) -> Result<(), CommandError> {
    if let Some(partial) = partial {
        return Err(CommandError::Failed(partial.to_string()));
    }
    let Some(provider) = config.credentials_provider() else { return Ok(()) };
    match provider.provide_credentials().await {
        Ok(_) => Ok(()),
        Err(CredentialsError::CredentialsNotLoaded(_)) => {
            Err(CommandError::NotConfigured(NO_CREDENTIALS.into()))
        }
        Err(err) => Err(CommandError::Failed(DisplayErrorContext(err).to_string())),
    }
}

const NO_CREDENTIALS: &str =
    "Unable to locate credentials. You can configure credentials by running \"aws configure\".";
