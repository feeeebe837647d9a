//! How commands reach AWS: as the AWS CLI does.

use std::time::Duration;

use anyhow::{Context, anyhow};
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::provider::{ProvideCredentials, error::CredentialsError};
use aws_sdk_sts::{
    error::{ProvideErrorMetadata, SdkError},
    operation::get_caller_identity::GetCallerIdentityError,
};
use jiff::Timestamp;
use session_reaper::{
    report::Mode,
    source::PolicySource,
    ssm::{Ssm, Within},
    sweep::Order,
    target::Scope,
};
use tokio::time::Instant;

use crate::printable::printable;

/// Which account and Region.
#[derive(clap::Args)]
#[command(next_help_heading = "AWS")]
pub(crate) struct Connection {
    /// The profile of the shared configuration files
    #[arg(long)]
    profile: Option<String>,
    /// The Region
    #[arg(long)]
    region: Option<String>,
    /// Another endpoint than AWS's, such as that of `reapctl emulate`
    #[arg(long, value_name = "URL")]
    endpoint_url: Option<String>,
    /// The pace of each API operation; AWS's quota is 6, for the whole account and Region
    #[arg(long, value_name = "N", default_value_t = 5.0, value_parser = pace)]
    calls_per_second: f64,
}

fn pace(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|it| (0.1..=10_000.0).contains(it));
    number.ok_or_else(|| "write a number from 0.1 to 10000".into())
}

/// An open connection.
pub(crate) struct Aws {
    pub(crate) ssm: Ssm,
    pub(crate) scope: Scope,
}

/// The longest that a listing, or half a sweep, may take.
const PATIENCE: Duration = Duration::from_hours(1);

/// Terminations in flight: more than the pace lets start.
const CONCURRENCY: usize = 8;

impl Connection {
    /// Finds credentials and the account that they belong to.
    pub(crate) async fn open(&self) -> anyhow::Result<Aws> {
        let mut loader = aws_config::defaults(BehaviorVersion::latest());
        if let Some(profile) = &self.profile {
            loader = loader.profile_name(profile);
        }
        if let Some(region) = &self.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(url) = &self.endpoint_url {
            loader = loader.endpoint_url(url);
        }
        let config = loader.load().await;
        let region = config
            .region()
            .context("no Region is set; use `--region`, AWS_REGION, or `region` in the profile")?;
        let provider = config.credentials_provider().context("no credentials are set up")?;
        provider.provide_credentials().await.map_err(|err| self.without_credentials(&err))?;
        let identity = aws_sdk_sts::Client::new(&config).get_caller_identity().send().await;
        let identity = identity.map_err(|err| self.translated(&err))?;
        let mut parts = identity.arn().unwrap_or_default().split(':').skip(1);
        let scope = Scope {
            partition: parts.next().unwrap_or("aws").into(),
            region: region.to_string(),
            account: identity.account().context("AWS did not tell the account")?.into(),
        };
        Ok(Aws { ssm: Ssm::new(&config, self.calls_per_second), scope })
    }
}

impl Connection {
    /// The profile, as further commands need it.
    fn profile_flag(&self) -> String {
        self.profile.as_ref().map_or(String::new(), |it| format!(" --profile {it}"))
    }

    fn without_credentials(&self, err: &CredentialsError) -> anyhow::Error {
        let profile = self.profile_flag();
        let cause = root_cause(err);
        if cause.to_lowercase().contains("sso") || cause.contains("token") {
            return anyhow!("the login has expired ({cause}); run `aws sso login{profile}`");
        }
        match &self.profile {
            Some(name) => anyhow!(
                "the profile `{name}` gives no credentials; see `aws configure list{profile}`"
            ),
            None => anyhow!(
                "no credentials were found; use `--profile`, set AWS_ACCESS_KEY_ID and \
                 AWS_SECRET_ACCESS_KEY, or run `aws sso login`"
            ),
        }
    }

    fn translated(&self, err: &SdkError<GetCallerIdentityError>) -> anyhow::Error {
        let profile = self.profile_flag();
        match (err.code(), err.message()) {
            (Some("ExpiredToken" | "ExpiredTokenException"), _) => {
                anyhow!(
                    "the credentials have expired; renew them, as `aws sso login{profile}` does"
                )
            }
            (Some("InvalidClientTokenId" | "UnrecognizedClientException"), _) => anyhow!(
                "AWS does not know the credentials, or the Region is disabled for the account; see \
                 `aws configure list{profile}`"
            ),
            (Some(code), message) => {
                let message = message.unwrap_or_default();
                anyhow!("cannot tell the account: {code}: {}", printable(message))
            }
            (None, _) => anyhow!(
                "cannot reach AWS ({}); see `--region` and `--endpoint-url`",
                printable(&root_cause(err))
            ),
        }
    }
}

/// What an error comes from, in the end.
fn root_cause(err: &dyn std::error::Error) -> String {
    let mut cause = err;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

impl Aws {
    /// A sweep, or half of one, that may begin now.
    pub(crate) fn order<'a>(
        &'a self,
        policy: &'a PolicySource,
        mode: Mode,
        now: Timestamp,
    ) -> Order<'a> {
        let Self { ssm, scope } = self;
        let (scope, within, concurrency) = (Some(scope), within(), CONCURRENCY);
        Order { ssm, scope, policy, mode, now, within, concurrency }
    }
}

/// The time that the next call, or listing, may take.
pub(crate) fn within() -> Within {
    let end_by = Instant::now() + PATIENCE;
    Within { start_by: end_by, end_by }
}
