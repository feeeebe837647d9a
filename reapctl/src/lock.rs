//! `reapctl lock`: for an incident. Terminates all sessions of some owners, now.

mod everywhere;
mod log;
mod revocation;
mod rounds;

use std::{collections::BTreeMap, process::ExitCode, str::FromStr, time::Duration};

use anyhow::bail;
use jiff::SignedDuration;
use reaper_core::{
    duration,
    evaluate::VerdictKind,
    pattern::{OwnerPattern, short_owner},
    plan::Step,
    printable::printable,
    report::Mode,
    session::Record,
};
use session_reaper::{sinks::Sinks, sweep::PlannedSweep};
use tokio::time::Instant;

use crate::{
    account_regions::{AccountRegions, Opened, Reach},
    clock::now,
    confirm::{check_confirmable, is_confirmed, sessions},
    exit::VIOLATED,
    interrupt::interruptible,
    lock::{
        log::Log,
        revocation::{revocations, revocations_everywhere},
        rounds::{Done, Lock, Rest, Seen, Start, listed_owners, not_evaluated},
    },
    policy_at::{Loaded, PolicyAt},
    stdio::{eprintln, println},
};

/// The owners that were seen, by account; without a name if there is only one.
type SeenIn = BTreeMap<String, Seen>;

/// Terminate every session of these owners, and continue until none is left.
///
/// `max_terminations`, the circuit breaker and `paused` are ignored; the policy's exemptions apply
/// unless they are overridden. Without `--enforce` it only shows which sessions it would terminate.
/// It does not revoke credentials: it prints the commands that do. Ctrl-C prevents further
/// terminations; those that have started are verified. The exit status is 3 if a session of these
/// owners that is not exempt is, or may be, still active. With `--organization` or `--accounts`, it works
/// in all accounts and Regions at once, and the exit status is 1 if one of them is not complete.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  reapctl lock user/lena 'role/*/lena' --policy-parameter NAME\n  reapctl lock role/developer/jonas --policy policy.yaml --enforce --reason INC-2041\n  reapctl lock user/lena --policy policy.yaml --organization --member-role Reaper --enforce"
)]
pub(crate) struct Args {
    /// The owners: `role/NAME[/SESSION-NAME]`, `permission-set/NAME[/USER]`, `user/NAME`, …; globs
    #[arg(required = true, value_name = "OWNER", value_parser = OwnerPattern::from_str)]
    owners: Vec<OwnerPattern>,
    /// The reason, for the log
    #[arg(long, default_value = "no reason given")]
    reason: String,
    #[command(flatten)]
    policy: PolicyAt,
    /// Also terminate sessions that the policy exempts
    #[arg(long)]
    override_exemptions: bool,
    /// Terminate the sessions
    #[arg(long)]
    enforce: bool,
    /// Do not ask for confirmation
    #[arg(long, requires = "enforce")]
    yes: bool,
    /// How long to continue at most; a day or less
    #[arg(long = "for", value_name = "DURATION", default_value = "10m", value_parser = patience)]
    patience: SignedDuration,
    /// Where to write the log [default: reapctl-lock-INSTANT.jsonl, if there are sessions to
    /// terminate]
    #[arg(long, value_name = "FILE")]
    log: Option<String>,
    #[command(flatten)]
    reach: Reach,
}

/// What it means that an account-Region was not seen.
const UNSEEN: &str = "sessions of these owners may be active there";

/// The longest that a lock continues. Beyond this, write a rule.
const MAX_PATIENCE: SignedDuration = SignedDuration::from_hours(24);

fn patience(text: &str) -> Result<SignedDuration, String> {
    let parsed = duration::parse(text).or_else(|| text.parse().ok());
    let parsed = parsed.filter(|it: &SignedDuration| it.is_positive() && *it <= MAX_PATIENCE);
    parsed.ok_or_else(|| "write a duration such as `10m`, of a day at most".into())
}

pub(crate) async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    check_confirmable(args.enforce, args.yes)?;
    let (log, sinks) = Log::start(args.log.as_deref(), &args.owners, &args.reason);
    if args.log.is_some() {
        log.open();
    }
    let mut seen = SeenIn::new();
    let result = Box::pin(args.lock(&log, &sinks, &mut seen)).await;
    println!("\nThis does not revoke credentials: their holders can start sessions again.\n");
    let commands = if args.reach.is_many() {
        revocations_everywhere(&args.owners, &seen, now())
    } else {
        let seen = seen.into_values().flatten().collect();
        revocations(&args.owners, &seen, now())
    };
    println!("{commands}");
    if let Some(err) = log.failure() {
        eprintln!("error: the log lacks lines: {err}");
        return result.and(Ok(ExitCode::FAILURE));
    }
    result
}

impl Args {
    async fn lock(&self, log: &Log, sinks: &Sinks, seen: &mut SeenIn) -> anyhow::Result<ExitCode> {
        let lock = Lock {
            owners: &self.owners,
            reason: &self.reason,
            policy: &self.policy,
            override_exemptions: self.override_exemptions,
            mode: if self.enforce { Mode::Enforce } else { Mode::DryRun },
            patience: Duration::try_from(self.patience)?,
            sinks,
        };
        let (opened, loaded) = self.policy.open(&self.reach).await?;
        match opened {
            Opened::One(aws) => {
                let start = Start {
                    locking: lock.locking(loaded),
                    asks: Some(&*aws).filter(|_| !self.yes),
                    confirmed: None,
                    hard_stop: Instant::now() + lock.patience,
                };
                let own = seen.entry(String::new()).or_default();
                let rounds = Box::pin(lock.rounds(aws.account_region(), start, log, own));
                let rest = interruptible(|| aws.ssm.stop(), rounds).await?;
                if let Some(problem) = &rest.planned.coverage.problem {
                    bail!("the listing is incomplete, so there may be more: {problem}");
                }
                self.print(&lock, &[rest])
            }
            Opened::Many(all) => self.lock_all(&lock, &all, loaded, log, seen).await,
        }
    }

    /// Locks in many account-Regions at once. What goes wrong in one does not hold up the others.
    async fn lock_all(
        &self,
        lock: &Lock<'_>,
        all: &AccountRegions,
        mut loaded: Loaded,
        log: &Log,
        seen: &mut SeenIn,
    ) -> anyhow::Result<ExitCode> {
        let mut confirmed = None;
        if !self.yes {
            let first = Box::pin(lock.look_at_all(all, &loaded, seen)).await;
            if !self.enforce || !first.needs_question() {
                first.overview.print();
                let code = self.print(lock, &first.rests)?;
                return first.overview.check(UNSEEN).map(|()| code);
            }
            log.open();
            if !is_confirmed(&first.question()).await? {
                bail!("no session was terminated");
            }
            // The question may have waited for hours, so everything is read again.
            loaded = self.policy.again(all.home(), loaded).await?;
            confirmed = Some(first.to_terminate);
        }
        let left = Box::pin(lock.rounds_in_all(all, &loaded, confirmed, log, seen)).await;
        left.overview.print();
        let code = self.print(lock, &left.rests)?;
        if all.is_interrupted() {
            bail!("interrupted");
        }
        left.overview.check(UNSEEN).map(|()| code)
    }

    /// Prints what the last listings show to be left.
    fn print(&self, lock: &Lock<'_>, rests: &[Rest]) -> anyhow::Result<ExitCode> {
        let planned = || rests.iter().map(|it| &it.planned);
        let n_violating: usize = rests.iter().map(|it| it.n_violating).sum();
        let is_open = |it: &&Step| it.verdict.kind() == VerdictKind::Undetermined;
        let n_open = planned().flat_map(|it| &it.plan.steps).filter(is_open).count();
        let may_have = |it: &&Record| lock.may_have(it);
        let n_listed = planned().flat_map(not_evaluated).filter(may_have).count();
        let n_all = planned().map(|it| it.plan.steps.len() + it.not_evaluated.len()).sum();
        match n_violating {
            0 if rests.iter().all(|it| matches!(it.done, Done::Nothing))
                && !planned().flat_map(listed_owners).any(|it| lock.has(it)) =>
            {
                println!("None of the {} listed belongs to these owners.", sessions(n_all));
                for (given, near) in self.owners.iter().filter_map(|it| nearest(it, planned())) {
                    println!("Instead of `{given}`, did you mean `{}`?", printable(&near));
                }
            }
            0 if n_open + n_listed == 0 => {
                println!("None of these owners' sessions is left to be terminated.");
            }
            0 => {}
            _ if self.enforce => {
                let denied = rests.iter().find_map(|it| match &it.done {
                    Done::Denied(failure) => Some(failure.clone()),
                    Done::Nothing | Done::Something => None,
                });
                if let Some(failure) = denied {
                    bail!(failure);
                }
                eprintln!(
                    "error: after {:#} some sessions are still listed, or not confirmed as gone",
                    self.patience
                );
            }
            n => println!("{} would be terminated: add `--enforce`.", sessions(n)),
        }
        if 0 < n_open {
            println!("{} may be exempt, and would not be terminated.", sessions(n_open));
        }
        match n_listed {
            0 => {}
            1 => println!("1 session of these owners, or of an unknown owner, is still listed."),
            n => println!("{n} sessions of these or of unknown owners are still listed."),
        }
        let is_clean = n_violating + n_open + n_listed == 0;
        Ok(if is_clean { ExitCode::SUCCESS } else { ExitCode::from(VIOLATED) })
    }
}

/// A pattern that matches no listed owner, and the listed owner that was probably meant.
fn nearest<'a>(
    pattern: &OwnerPattern,
    planned: impl Iterator<Item = &'a PlannedSweep>,
) -> Option<(String, String)> {
    let given = pattern.to_string();
    let n_parts = given.split('/').count();
    let listed = planned.flat_map(listed_owners).map(|it| {
        short_owner(it).split('/').take(n_parts).collect::<Vec<_>>().join("/") // As the pattern.
    });
    let distance = |it: &String| strsim::damerau_levenshtein(&given, it);
    let near = listed.min_by_key(distance).filter(|it| distance(it) <= given.len() / 4)?;
    Some((given, near))
}
