//! How commands reach AWS: as the AWS CLI does.

use std::{error::Error, time::Duration};

use anyhow::{Context, anyhow};
use aws_config::{
    BehaviorVersion, Region, SdkConfig, sts::AssumeRoleProvider, timeout::TimeoutConfig,
};
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_sts::{
    error::{ConnectorError, ProvideErrorMetadata, SdkError},
    operation::{
        assume_role::AssumeRoleError,
        get_caller_identity::{GetCallerIdentityError, GetCallerIdentityOutput},
    },
};
use awscli::{Login, Problem, Settings, of_profile};
use jiff::Timestamp;
use reaper_core::{arn::Arn, policy::Policy, report::Mode, target::Scope};
use session_reaper::{
    Budget,
    aws::{Connect, Ssm, remediation, sources},
    sweep::SweepContext,
    sweep::source::PolicySource,
};
use tokio::time::Instant;

use crate::{debug::root_cause, http};

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
    /// A role to assume first, with the credentials found
    #[arg(long, value_name = "ARN")]
    role_arn: Option<String>,
    /// What the role's trust policy may ask for
    #[arg(long, value_name = "ID", requires = "role_arn")]
    external_id: Option<String>,
    /// By what name CloudTrail is to know the role's session
    #[arg(long, value_name = "NAME", requires = "role_arn", default_value = "reapctl")]
    role_session_name: String,
    /// Show each API call on standard error
    #[arg(long)]
    debug: bool,
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
    /// The account and Region, or why the account is not known.
    scope: Result<Scope, String>,
    /// Whether each call is shown.
    pub(crate) shows_calls: bool,
}

/// The longest that one attempt of a call to STS may take.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest that a listing, or half a sweep, may take.
const PATIENCE: Duration = Duration::from_hours(1);

/// Terminations in flight: more than the pace lets start.
const CONCURRENCY: usize = 8;

impl Connection {
    /// Finds credentials and the account that they belong to.
    pub(crate) async fn open(&self) -> anyhow::Result<Aws> {
        let settings = Settings::load(self.profile.as_deref()).await;
        settings.checked().map_err(|problem| match problem {
            Problem::File { path, reason } => {
                anyhow!("cannot use `{path}`: {reason}; the AWS CLI refuses it too")
            }
            Problem::NoProfile(name) => {
                anyhow!("no profile is called `{name}`; see `aws configure list-profiles`")
            }
        })?;
        let connect = self.connect(&settings).await?;
        let config = connect.config();
        let region = config
            .region()
            .filter(|it| !it.as_ref().is_empty())
            .context("no Region is set; use `--region`, AWS_REGION, or `region` in the profile")?;
        let sts = aws_sdk_sts::Client::new(config);
        let identity = sts.get_caller_identity().send().await;
        let scope = match identity {
            Ok(identity) => scope(&identity, region),
            Err(err) => {
                let problem = self.translated(&err, config, &settings);
                if fails_everywhere(&err, config) {
                    return Err(problem);
                }
                Err(format!("{problem:#}"))
            }
        };
        let ssm = connect.ssm(self.calls_per_second);
        Ok(Aws { ssm, scope, shows_calls: self.debug })
    }

    async fn connect(&self, settings: &Settings) -> anyhow::Result<Connect> {
        let ca_bundle = settings.variable_or("AWS_CA_BUNDLE", "ca_bundle");
        let client = http::client(ca_bundle.as_deref(), self.debug).map_err(|err| anyhow!(err))?;
        let timeouts = TimeoutConfig::builder().operation_attempt_timeout(ATTEMPT_TIMEOUT).build();
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .timeout_config(timeouts)
            .profile_files(settings.files.clone());
        if let Some(region) = &self.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(profile) = &settings.profile {
            loader = loader.profile_name(profile);
        }
        if let Some(url) = &self.endpoint_url {
            loader = loader.endpoint_url(url);
        }
        let connect = Connect::load(loader, client.clone()).await;
        let connect = match &self.profile {
            Some(name) => {
                let region = connect.config().region().cloned();
                connect.with_credentials(of_profile(name, &settings.files, region, client))
            }
            None => connect,
        };
        let Some(role) = &self.role_arn else { return Ok(connect) };
        let provider = AssumeRoleProvider::builder(role)
            .session_name(&self.role_session_name)
            .configure(connect.config());
        let provider = match &self.external_id {
            Some(id) => provider.external_id(id),
            None => provider,
        };
        Ok(connect.with_credentials(provider.build().await))
    }

    /// An error in one line, with the way out.
    fn translated(
        &self,
        err: &SdkError<GetCallerIdentityError>,
        config: &SdkConfig,
        settings: &Settings,
    ) -> anyhow::Error {
        let profile =
            settings.profile.as_ref().map_or(String::new(), |it| format!(" --profile {it}"));
        let renewal = match settings.login() {
            Some((name, login)) => format!("{} --profile {name}", login.command()),
            None => format!("{}{profile}", Login::Sso.command()),
        };
        if let Some(err) = sources(err).find_map(|it| it.downcast_ref::<AssumeRoleError>()) {
            let role = self
                .role_arn
                .as_deref()
                .map_or("the profile's role".into(), |it| format!("the role `{it}`"));
            let refused = refused(err, "sts:AssumeRole", config, &profile, &renewal);
            if err.code().is_some_and(|it| it.starts_with("AccessDenied")) {
                return anyhow!(
                    "cannot assume {role}: {refused}, and let the role's trust policy name the \
                     caller, and the `--external-id` if it asks for one"
                );
            }
            return anyhow!("cannot assume {role}: {refused}");
        }
        if let Some(err) =
            sources(err).filter_map(|it| it.downcast_ref::<CredentialsError>()).last()
        {
            // Whoever gives them, such as STS, may be out of reach.
            if sources(err).any(<dyn Error>::is::<ConnectorError>) {
                return unreached(&root_cause(err), config);
            }
            return without_credentials(err, settings, &profile);
        }
        match err.code() {
            Some(_) => {
                let refused = refused(err, "sts:GetCallerIdentity", config, &profile, &renewal);
                anyhow!("cannot tell the account: {refused}")
            }
            None => match err.raw_response().map(|it| it.status().as_u16()) {
                Some(status) => {
                    unreached(&format!("HTTP status {status}, and no answer of AWS's"), config)
                }
                None => unreached(&root_cause(err), config),
            },
        }
    }
}

fn scope(identity: &GetCallerIdentityOutput, region: &Region) -> Result<Scope, String> {
    let account = identity.account().ok_or("AWS did not tell the account")?;
    let arn = identity.arn().and_then(Arn::parse);
    Ok(Scope {
        partition: arn.map_or("aws", |it| it.partition).into(),
        region: region.to_string(),
        account: account.into(),
    })
}

/// Whether no other call would come to anything: for want of credentials that hold, or of an answer
/// from the one endpoint of them all. Otherwise STS alone is denied, or out of reach, as it is in a
/// network that has an endpoint of Systems Manager's only.
fn fails_everywhere(err: &SdkError<GetCallerIdentityError>, config: &SdkConfig) -> bool {
    let is_without_credentials =
        sources(err).any(|it| it.is::<AssumeRoleError>() || it.is::<CredentialsError>());
    let is_refused = err.code().is_some_and(|code| {
        let remediation = remediation(code, err.message().unwrap_or_default(), "");
        !code.starts_with("AccessDenied") && remediation.is_some()
    });
    let is_unreached = err.raw_response().is_none() && config.endpoint_url().is_some();
    is_without_credentials || is_refused || is_unreached
}

/// What AWS said, and the way out.
fn refused(
    err: &impl ProvideErrorMetadata,
    action: &str,
    config: &SdkConfig,
    profile: &str,
    renewal: &str,
) -> String {
    let (code, message) = (err.code().unwrap_or_default(), err.message().unwrap_or_default());
    let region = config.region().map(ToString::to_string).unwrap_or_default();
    let remediation = match code {
        "ExpiredToken" | "ExpiredTokenException" => {
            format!("the credentials have expired; renew them, as `{renewal}` does")
        }
        "InvalidClientTokenId" | "UnrecognizedClientException" => format!(
            "AWS does not know the credentials, or the Region `{region}` is not enabled for the \
             account; see `aws configure list{profile}` and `aws account list-regions`"
        ),
        _ => remediation(code, message, action).unwrap_or_default(),
    };
    let parts = [code, message, &remediation].into_iter().filter(|it| !it.is_empty());
    parts.collect::<Vec<_>>().join(": ")
}

/// Nobody answered, or nobody who speaks as AWS does.
fn unreached(cause: &str, config: &SdkConfig) -> anyhow::Error {
    let region = config.region().map(ToString::to_string).unwrap_or_default();
    let remediation = if cause.contains("certificate expired") {
        "renew the endpoint's certificate, or set this machine's clock".into()
    } else if cause.contains("UnknownIssuer") {
        "name the file of the authority in AWS_CA_BUNDLE, if it is to be trusted".into()
    } else {
        match config.endpoint_url() {
            Some(url) => format!("is `{url}` right? See `--endpoint-url` and AWS_ENDPOINT_URL"),
            None => format!("is the Region `{region}` right? See `--region`"),
        }
    };
    anyhow!("cannot reach AWS ({cause}); {remediation}")
}

fn without_credentials(
    err: &CredentialsError,
    settings: &Settings,
    profile: &str,
) -> anyhow::Error {
    let cause = root_cause(err).split_whitespace().collect::<Vec<_>>().join(" "); // In one line.
    if let Some((name, login)) = settings.login() {
        let command = login.command();
        return anyhow!("not logged in, or no longer ({cause}); run `{command} --profile {name}`");
    }
    match (err, &settings.profile) {
        (CredentialsError::CredentialsNotLoaded(_), None) => anyhow!(
            "no credentials were found; use `--profile`, set AWS_ACCESS_KEY_ID and \
             AWS_SECRET_ACCESS_KEY, or run `aws login` or `aws sso login`"
        ),
        (_, Some(name)) => anyhow!(
            "the profile `{name}` gives no credentials ({cause}); see `aws configure list{profile}`"
        ),
        (_, None) => anyhow!("no credentials are to be had ({cause}); see `aws configure list`"),
    }
}

impl Aws {
    /// The account and Region, if the account is known: a target's tags are asked for by its ARN.
    pub(crate) fn scope(&self) -> Option<&Scope> {
        self.scope.as_ref().ok()
    }

    /// Why no target's tags are known, if the policy asks for any.
    pub(crate) fn tag_problem(&self, policy: &Policy) -> Option<String> {
        let problem = self.scope.as_ref().err().filter(|_| !policy.tag_keys.is_empty())?;
        Some(format!("the account is not known, and so no target's tags are: {problem}"))
    }

    /// A sweep, or half of one, that may begin now: `now` has just been read.
    pub(crate) fn order<'a>(
        &'a self,
        policy: &'a PolicySource,
        mode: Mode,
        now: Timestamp,
    ) -> SweepContext<'a> {
        let (ssm, scope) = (&self.ssm, self.scope());
        let (budget, concurrency) = (budget(), CONCURRENCY);
        let (read_at, memory) = (Instant::now(), usize::MAX);
        SweepContext { ssm, scope, policy, mode, now, read_at, budget, concurrency, memory }
    }
}

/// The time that the next call, or listing, may take.
pub(crate) fn budget() -> Budget {
    let hard_stop = Instant::now() + PATIENCE;
    Budget { last_start: hard_stop, hard_stop }
}
