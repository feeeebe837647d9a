//! Many accounts and Regions: which ones, and how something is done in each of them.

mod accounts_file;
mod confirmed;
mod overview;
mod sweep;

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, bail};
use reaper_core::{
    organization::{Account, Status, is_account_id, is_region, is_role_name},
    target::Scope,
};
use session_reaper::{
    Budget,
    aws::{Accounts, Connect, Members, Ssm},
    organization::{Patience, Visit, each, status_without_keys},
};
use tokio::{select, sync::watch, time::Instant};

pub(crate) use self::{
    confirmed::Confirmed,
    overview::{Fate, Overview},
    sweep::{Sweep, Swept, VIOLATORS_MISSED},
};
use crate::{
    account_regions::accounts_file::accounts,
    aws::{AccountRegion, Aws, Connection, budget},
    file::{File, Invalid},
    interrupt::interruptible,
    progress::bar,
};

/// The options that select accounts and Regions, and how to connect to them.
#[derive(clap::Args)]
pub(crate) struct Reach {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    many: Many,
}

/// The options that select many accounts and Regions.
#[derive(clap::Args)]
#[command(next_help_heading = "Many accounts and Regions", group = clap::ArgGroup::new("many"))]
struct Many {
    /// In every active account of the organization: `organizations:ListAccounts`
    #[arg(long, group = "many", requires = "member_role")]
    organization: bool,
    /// In the accounts of this file: an id a line; `#` starts a comment; `-` for standard input
    #[arg(long, value_name = "FILE", group = "many", requires = "member_role")]
    accounts: Option<String>,
    /// Not in these accounts, separated by commas
    #[arg(long, value_name = "ID", value_delimiter = ',', value_parser = account, requires = "many")]
    exclude: Vec<String>,
    /// In these Regions, separated by commas [default: the configured Region]
    #[arg(long, value_name = "REGION", value_delimiter = ',', value_parser = region, requires = "many")]
    regions: Vec<String>,
    /// The name of the role that is assumed in every account
    #[arg(long, value_name = "NAME", group = "role", value_parser = role, requires = "many")]
    member_role: Option<String>,
}

fn account(text: &str) -> Result<String, String> {
    if is_account_id(text) { Ok(text.into()) } else { Err("write the 12 digits of an id".into()) }
}

fn region(text: &str) -> Result<String, String> {
    if is_region(text) {
        Ok(text.into())
    } else {
        Err("write a code such as `eu-central-1`".into())
    }
}

fn role(text: &str) -> Result<String, String> {
    if is_role_name(text) {
        Ok(text.into())
    } else {
        Err("write the role's name alone, without `role/`, a path or an ARN".into())
    }
}

/// What was opened.
pub(crate) enum Opened {
    /// The account-Region of the credentials.
    One(Box<Aws>),
    /// Many account-Regions.
    Many(Box<AccountRegions>),
}

/// Many account-Regions.
pub(crate) struct AccountRegions {
    /// The account-Region of the credentials with which the roles are assumed.
    home: Aws,
    members: Members,
    scopes: Vec<Scope>,
    is_interrupted: watch::Sender<bool>,
}

/// How many account-Regions are worked on at a time.
pub(crate) const CONCURRENCY: usize = 32;

impl Reach {
    /// Fails if the policy and the accounts are both standard input, which can be read only once.
    pub(crate) fn check_stdin(&self, policy: &str) -> anyhow::Result<()> {
        File::not_both_from_stdin(policy, self.many.accounts.as_deref())
    }

    /// Whether many account-Regions are meant.
    pub(crate) fn is_many(&self) -> bool {
        self.many.member_role.is_some()
    }

    /// Finds credentials, and the account-Regions that were asked for. Errors of the accounts' file are
    /// shown before AWS is asked.
    pub(crate) async fn open(&self) -> anyhow::Result<Opened> {
        let Self { connection, many } = self;
        let Some(role) = &many.member_role else {
            return Ok(Opened::One(Box::new(Box::pin(connection.open()).await?)));
        };
        let named = match &many.accounts {
            Some(path) => Some(accounts(&File::read(path)?)?),
            None => None,
        };
        if let Some(twice) = first_duplicate(&many.regions) {
            bail!(Invalid(format!("`--regions` names {twice} twice")));
        }
        let region = many.regions.first().map(String::as_str);
        let (home, connect, members) = Box::pin(connection.open_members(role, region)).await?;
        let scopes = Box::pin(many.scopes(&home, &connect, named)).await?;
        let (is_interrupted, _) = watch::channel(false);
        Ok(Opened::Many(Box::new(AccountRegions { home, members, scopes, is_interrupted })))
    }
}

fn first_duplicate(names: &[String]) -> Option<&str> {
    let mut seen = BTreeSet::new();
    names.iter().map(String::as_str).find(|it| !seen.insert(*it))
}

impl Many {
    /// Every account-Region: of the named accounts, or else of the organization's active ones.
    async fn scopes(
        &self,
        home: &Aws,
        connect: &Connect,
        named: Option<Vec<String>>,
    ) -> anyhow::Result<Vec<Scope>> {
        let own = home.scope().context("the account is not known")?;
        let accounts = match named {
            Some(named) => named.into_iter().map(|id| Account { id, is_active: true }).collect(),
            None => Accounts::new(connect)
                .list(budget())
                .await
                .context("cannot list the organization's accounts")?,
        };
        let n_accounts = accounts.len();
        if let Some(stranger) =
            self.exclude.iter().find(|it| !accounts.iter().any(|known| known.id == **it))
        {
            bail!(Invalid(format!(
                "`--exclude` names {stranger}, which is not among the {n_accounts} accounts"
            )));
        }
        let regions = match &*self.regions {
            [] => std::slice::from_ref(&own.region),
            regions => regions,
        };
        let is_included = |it: &Account| it.is_active && !self.exclude.contains(&it.id);
        let included = accounts.into_iter().filter(is_included).map(|it| it.id);
        let scopes: Vec<_> = included
            .collect::<BTreeSet<_>>()
            .iter()
            .flat_map(|account| {
                regions.iter().map(|region| Scope {
                    partition: own.partition.clone(),
                    region: region.clone(),
                    account: account.clone(),
                })
            })
            .collect();
        if scopes.is_empty() {
            bail!("none of {n_accounts} accounts is active and not excluded");
        }
        Ok(scopes)
    }
}

impl Opened {
    /// The account-Region of the credentials, where the policy's parameter is.
    pub(crate) fn home(&self) -> &Aws {
        match self {
            Self::One(aws) => aws,
            Self::Many(all) => &all.home,
        }
    }
}

impl AccountRegions {
    /// The account-Region of the credentials, where the policy's parameter is.
    pub(crate) fn home(&self) -> &Aws {
        &self.home
    }

    /// Whether Ctrl-C has stopped the terminations.
    pub(crate) fn is_interrupted(&self) -> bool {
        *self.is_interrupted.borrow()
    }

    /// Waits until Ctrl-C has stopped the terminations.
    pub(crate) async fn interrupted(&self) {
        // The sender lives as long as this.
        drop(self.is_interrupted.subscribe().wait_for(|it| *it).await);
    }

    /// Runs the work. Ctrl-C stops the terminations in every account-Region.
    pub(crate) async fn interruptible<T>(&self, work: impl Future<Output = T>) -> T {
        let stop = || {
            self.is_interrupted.send_replace(true);
        };
        interruptible(stop, work).await
    }

    /// Does something in each, at most so many at a time, and shows on a terminal how many are done.
    /// Returns what came of each, in their order: by account, and then as the Regions were given.
    ///
    /// After Ctrl-C, what was not begun is left out.
    pub(crate) async fn each<T>(
        &self,
        what: &'static str,
        concurrency: usize,
        time: Duration,
        work: impl AsyncFn(AccountRegion<'_>) -> T,
    ) -> Vec<(Scope, Result<T, Fate>)> {
        let bar = (!self.home.shows_calls).then(|| bar(what, self.scopes.len()));
        let visit = async |scope: &Scope, ssm: &Ssm, budget: Budget| {
            if self.is_interrupted() {
                return None;
            }
            let work = work(AccountRegion::one_of_many(scope, ssm, budget, bar.as_ref()));
            tokio::pin!(work);
            let done = select! {
                done = &mut work => done,
                () = self.interrupted() => {
                    ssm.stop();
                    work.await
                }
            };
            if let Some(bar) = &bar {
                bar.inc(1);
            }
            Some(done)
        };
        let hard_stop = Instant::now() + time;
        let budget = Budget { last_start: hard_stop, hard_stop };
        let (members, scopes) = (&self.members, self.scopes.clone());
        let visits = each(members, scopes, concurrency, budget, Patience::Usual, visit).await;
        let fate = |visit| match visit {
            Visit::Done(Some(done)) => Ok(done),
            Visit::Done(None) => Err(Fate::new(Status::NotStarted, "interrupted")),
            Visit::NoAccess(err) => Err(Fate::new(status_without_keys(&err), &err)),
            Visit::NotStarted => Err(Fate::new(Status::NotStarted, "there was no time to begin")),
        };
        visits.into_iter().map(|(scope, visit)| (scope, fate(visit))).collect()
    }
}
