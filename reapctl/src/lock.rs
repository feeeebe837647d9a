//! `reapctl lock`: for an incident. Terminates all sessions of some owners, now.

mod log;
mod revocation;
mod rounds;

use std::{collections::BTreeSet, process::ExitCode, str::FromStr, time::Duration};

use anyhow::bail;
use jiff::SignedDuration;
use reaper_core::{
    duration,
    evaluate::VerdictKind,
    pattern::{OwnerPattern, short_owner},
    plan::Step,
    printable::printable,
    report::Mode,
};
use session_reaper::{sinks::Sinks, sweep::PlannedSweep};

use crate::{
    aws::Connection,
    clock::now,
    confirm::{check_confirmable, sessions},
    exit::VIOLATED,
    interrupt::interruptible,
    lock::{
        log::Log,
        revocation::revocations,
        rounds::{Done, Lock, Rest, Seen, listed_owners, not_evaluated},
    },
    policy_at::PolicyAt,
    stdio::{eprintln, println},
};

/// Terminate every session of these owners, and continue until none is left.
///
/// `max_terminations`, the circuit breaker and `paused` are ignored; the policy's exemptions apply
/// unless they are overridden. Without `--enforce` it only shows which sessions it would terminate.
/// It does not revoke credentials: it prints the commands that do. Ctrl-C prevents further
/// terminations; those that have started are verified. The exit status is 3 if a session of these
/// owners that is not exempt is, or may be, still active.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  reapctl lock user/lena 'role/*/lena' --policy-parameter NAME\n  reapctl lock role/developer/jonas --policy policy.yaml --enforce --reason INC-2041"
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
    connection: Connection,
}

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
    let mut seen = BTreeSet::new();
    let result = Box::pin(args.lock(&log, &sinks, &mut seen)).await;
    println!("\nThis does not revoke credentials: their holders can start sessions again.\n");
    println!("{}", revocations(&args.owners, &seen, now()));
    if let Some(err) = log.failure() {
        eprintln!("error: the log lacks lines: {err}");
        return result.and(Ok(ExitCode::FAILURE));
    }
    result
}

impl Args {
    async fn lock(&self, log: &Log, sinks: &Sinks, seen: &mut Seen) -> anyhow::Result<ExitCode> {
        let lock = Lock {
            owners: &self.owners,
            reason: &self.reason,
            policy: &self.policy,
            override_exemptions: self.override_exemptions,
            mode: if self.enforce { Mode::Enforce } else { Mode::DryRun },
            is_confirmed: self.yes,
            patience: Duration::try_from(self.patience)?,
            sinks,
        };
        let (aws, loaded) = self.policy.open(&self.connection).await?;
        let rounds = Box::pin(lock.rounds(&aws, loaded, log, seen));
        let rest = interruptible(&aws.ssm, rounds).await?;
        self.print(&lock, rest)
    }

    /// Prints what the last listing shows to be left.
    fn print(&self, lock: &Lock<'_>, rest: Rest) -> anyhow::Result<ExitCode> {
        let Rest { planned, n_violating, done } = rest;
        if let Some(problem) = &planned.coverage.problem {
            bail!("the listing is incomplete, so there may be more: {problem}");
        }
        let steps = &planned.plan.steps;
        let is_open = |it: &&Step| it.verdict.kind() == VerdictKind::Undetermined;
        let n_open = steps.iter().filter(is_open).count();
        let n_listed = not_evaluated(&planned).filter(|it| lock.may_have(it)).count();
        let n_all = steps.len() + planned.not_evaluated.len();
        match n_violating {
            0 if matches!(done, Done::Nothing)
                && !listed_owners(&planned).any(|it| lock.has(it)) =>
            {
                println!("None of the {} listed belongs to these owners.", sessions(n_all));
                for (given, near) in self.owners.iter().filter_map(|it| nearest(it, &planned)) {
                    println!("Instead of `{given}`, did you mean `{}`?", printable(&near));
                }
            }
            0 if n_open + n_listed == 0 => {
                println!("None of these owners' sessions is left to be terminated.");
            }
            0 => {}
            _ if self.enforce => {
                if let Done::Denied(failure) = done {
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
fn nearest(pattern: &OwnerPattern, planned: &PlannedSweep) -> Option<(String, String)> {
    let given = pattern.to_string();
    let n_parts = given.split('/').count();
    let listed = listed_owners(planned).map(|it| {
        short_owner(it).split('/').take(n_parts).collect::<Vec<_>>().join("/") // As the pattern.
    });
    let distance = |it: &String| strsim::damerau_levenshtein(&given, it);
    let near = listed.min_by_key(distance).filter(|it| distance(it) <= given.len() / 4)?;
    Some((given, near))
}
