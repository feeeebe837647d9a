//! How commands connect to AWS: with the same configuration as the AWS CLI.

mod problem;

use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use aws_config::{BehaviorVersion, Region, sts::AssumeRoleProvider, timeout::TimeoutConfig};
use aws_sdk_sts::operation::get_caller_identity::GetCallerIdentityOutput;
use awscli::{Problem, Settings, of_profile};
use clap::ArgGroup;
use indicatif::ProgressBar;
use jiff::Timestamp;
use reaper_core::{arn::Arn, policy::Policy, report::Mode, target::Scope};
use session_reaper::{
    Budget,
    aws::{Bucket, Connect, Members, Ssm},
    sinks::Sinks,
    sweep::SweepContext,
    sweep::source::PolicySource,
};
use tokio::time::Instant;

use crate::{
    aws::problem::{fails_everywhere, translated},
    file::Invalid,
    http,
};

/// The options that select the account and Region.
#[derive(clap::Args)]
#[command(next_help_heading = "AWS", group = ArgGroup::new("role").multiple(true))]
pub(crate) struct Connection {
    /// A profile of the shared configuration files
    #[arg(long)]
    profile: Option<String>,
    /// The Region
    #[arg(long)]
    region: Option<String>,
    /// An endpoint to use instead of AWS's, such as that of `reapctl emulate`
    #[arg(long, value_name = "URL")]
    endpoint_url: Option<String>,
    /// A role to assume, with the credentials that were found
    #[arg(long, value_name = "ARN", group = "role")]
    role_arn: Option<String>,
    /// The external id that the role's trust policy requires
    #[arg(long, value_name = "ID", requires = "role_arn")]
    external_id: Option<String>,
    /// The name of the role's session, which CloudTrail records
    #[arg(long, value_name = "NAME", requires = "role", default_value = "reapctl")]
    role_session_name: String,
    /// Show each API call on standard error
    #[arg(long)]
    debug: bool,
    /// Calls per second of each API operation; AWS's quota is 6 for the account and Region
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

/// An account-Region, and how to call AWS there.
#[derive(Clone, Copy)]
pub(crate) struct AccountRegion<'a> {
    pub(crate) ssm: &'a Ssm,
    scope: Result<&'a Scope, &'a str>,
    /// The time for all of its calls.
    pub(crate) budget: Budget,
    /// Whether it is one of many, so that what is shown of it has to name it.
    pub(crate) is_one_of_many: bool,
    /// Whether each call is shown.
    pub(crate) shows_calls: bool,
    /// The progress of all of them, if it is shown.
    progress: Option<&'a ProgressBar>,
}

/// The longest that one attempt of a call to STS may take.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest that a listing, or the rest of a sweep, may take.
const PATIENCE: Duration = Duration::from_hours(1);

/// Terminations in flight: enough for the pace.
const CONCURRENCY: usize = 8;

impl Connection {
    /// Finds credentials and the account that they belong to.
    pub(crate) async fn open(&self) -> anyhow::Result<Aws> {
        let (connect, scope) = self.find(None).await?;
        let ssm = connect.ssm(self.calls_per_second);
        Ok(Aws { ssm, scope, shows_calls: self.debug })
    }

    /// The same, for many account-Regions: in each account, a role of this name is assumed. If no Region
    /// is set, calls for all of them go to this one.
    pub(crate) async fn open_members(
        &self,
        role: &str,
        region: Option<&str>,
    ) -> anyhow::Result<(Aws, Connect, Members)> {
        if self.role_arn.is_some() {
            bail!(Invalid(
                "`--role-arn` is a role of one account: leave it out, and name the role of every \
                 account with `--member-role`. To assume another role first, use a profile that has \
                 `role_arn`"
                    .into()
            ));
        }
        let (connect, scope) = self.find(region).await?;
        let scope = scope.map_err(|problem| anyhow!(problem))?;
        let ssm = connect.ssm(self.calls_per_second);
        let (session, pace) = (&self.role_session_name, self.calls_per_second);
        let members = Members::new(connect.clone(), role, session, pace);
        Ok((Aws { ssm, scope: Ok(scope), shows_calls: self.debug }, connect, members))
    }

    /// Finds credentials, and the bucket of this name.
    pub(crate) async fn open_bucket(&self, name: &str) -> anyhow::Result<Bucket> {
        let (connect, _scope) = self.find(None).await?;
        Ok(Bucket::new(&connect, name))
    }

    /// Finds credentials and the account that they belong to, or why that is not known.
    async fn find(
        &self,
        default_region: Option<&str>,
    ) -> anyhow::Result<(Connect, Result<Scope, String>)> {
        let settings = Settings::load(self.profile.as_deref()).await;
        let checked = settings
            .checked(self.endpoint_url.as_deref())
            .and_then(|()| settings.check_credentials());
        checked.map_err(|problem| match problem {
            Problem::File { path, reason } => {
                anyhow!("cannot use `{path}`: {reason}; the AWS CLI refuses it too")
            }
            Problem::NoProfile(name) => {
                anyhow!("no profile is called `{name}`; see `aws configure list-profiles`")
            }
            Problem::NoServices(name) => anyhow!(
                "the profile's setting `services` names `{name}`, but the configuration file has no section \
                 `[services {name}]`"
            ),
            Problem::PartialCredentials { source, missing } => anyhow!(
                "the credentials in {source} are not complete: {missing} is missing; no others are used in \
                 their place"
            ),
        })?;
        let mut connect = self.connect(&settings).await?;
        let is_set = connect.config().region().is_some_and(|it| !it.as_ref().is_empty());
        if let Some(region) = default_region.filter(|_| !is_set) {
            connect = connect.at(region);
        }
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
                let problem = translated(&err, config, &settings, self.role_arn.as_deref());
                if fails_everywhere(&err, config) {
                    return Err(problem);
                }
                Err(format!("{problem:#}"))
            }
        };
        Ok((connect, scope))
    }

    async fn connect(&self, settings: &Settings) -> anyhow::Result<Connect> {
        let ca_bundle = settings.ca_bundle();
        let client = http::client(ca_bundle.as_deref(), self.debug).map_err(|err| anyhow!(err))?;
        let timeouts = TimeoutConfig::builder().operation_attempt_timeout(ATTEMPT_TIMEOUT).build();
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .timeout_config(timeouts)
            .profile_files(settings.files.clone());
        if let Some(region) = &self.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(profile) = settings.sdk_profile() {
            loader = loader.profile_name(profile);
        }
        if let Some(url) = &self.endpoint_url {
            loader = loader.endpoint_url(url);
        }
        let connect = Connect::load(loader, client.clone()).await;
        let connect = match settings.sdk_profile().filter(|_| self.profile.is_some()) {
            Some(name) => {
                let region = connect.config().region().cloned();
                connect.with_credentials(of_profile(&name, &settings.files, region, client))
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
}

fn scope(identity: &GetCallerIdentityOutput, region: &Region) -> Result<Scope, String> {
    let account = identity.account().ok_or("the answer of AWS names no account")?;
    let arn = identity.arn().and_then(Arn::parse);
    Ok(Scope {
        partition: arn.map_or("aws", |it| it.partition).into(),
        region: region.to_string(),
        account: account.into(),
    })
}

impl Aws {
    /// The account and Region, if the account is known. Tags are looked up by ARNs, which contain it.
    pub(crate) fn scope(&self) -> Option<&Scope> {
        self.scope.as_ref().ok()
    }

    /// Why no tags are known, if the policy uses any.
    pub(crate) fn tag_problem(&self, policy: &Policy) -> Option<String> {
        self.account_region().tag_problem(policy)
    }

    /// The account-Region of the connection, for calls that begin now.
    pub(crate) fn account_region(&self) -> AccountRegion<'_> {
        let Self { ssm, scope, shows_calls } = self;
        AccountRegion {
            ssm,
            scope: scope.as_ref().map_err(String::as_str),
            budget: budget(),
            is_one_of_many: false,
            shows_calls: *shows_calls,
            progress: None,
        }
    }
}

impl<'a> AccountRegion<'a> {
    /// One of many.
    pub(crate) fn one_of_many(
        scope: &'a Scope,
        ssm: &'a Ssm,
        budget: Budget,
        progress: Option<&'a ProgressBar>,
    ) -> Self {
        let shows_calls = progress.is_none();
        Self { ssm, scope: Ok(scope), budget, is_one_of_many: true, shows_calls, progress }
    }

    /// Prints something while the progress of all is not there.
    pub(crate) fn print(self, print: impl FnOnce()) {
        match self.progress {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// The account and Region, if the account is known. Tags are looked up by ARNs, which contain it.
    pub(crate) fn scope(self) -> Option<&'a Scope> {
        self.scope.ok()
    }

    /// The account and Region if it is one of many, as what is shown of it has to name it.
    pub(crate) fn named(self) -> Option<&'a Scope> {
        self.scope().filter(|_| self.is_one_of_many)
    }

    /// Why no tags are known, if the policy uses any.
    pub(crate) fn tag_problem(self, policy: &Policy) -> Option<String> {
        let problem = self.scope.err()?;
        if policy.asks_scope() {
            return Some(format!("the account and Region are not known, nor are tags: {problem}"));
        }
        let asks_tags = !policy.tag_keys.is_empty();
        asks_tags.then(|| format!("the account is not known, so no tags are known: {problem}"))
    }

    /// The context of a sweep, or of a part of one, that starts now: `now` has just been read.
    pub(crate) fn context(
        self,
        policy: &'a PolicySource,
        mode: Mode,
        now: Timestamp,
    ) -> SweepContext<'a> {
        SweepContext {
            ssm: self.ssm,
            scope: self.scope(),
            sinks: &Sinks::NONE,
            policy,
            mode,
            now,
            read_at: Instant::now(),
            budget: self.budget,
            concurrency: CONCURRENCY,
            memory: usize::MAX,
        }
    }
}

/// The budget of the next call or listing.
pub(crate) fn budget() -> Budget {
    let hard_stop = Instant::now() + PATIENCE;
    Budget { last_start: hard_stop, hard_stop }
}
