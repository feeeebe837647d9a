//! `reapctl sweep`: one sweep, by hand.

use std::{
    collections::HashSet,
    convert::Infallible,
    fs,
    io::{self, IsTerminal},
    process::{ExitCode, exit},
    sync::Arc,
};

use anyhow::{Context, bail};
use jiff::Timestamp;
use reaper_core::{
    plan::{Action, DeferReason},
    policy::{Policy, PolicyIdentity},
    report::{Mode, Report},
};
use session_reaper::{
    aws::Ssm,
    sweep::clock::ClockError,
    sweep::source::PolicySource,
    sweep::{PlannedSweep, SweepResult, carry_out, plan_by},
};
use tokio::{signal::ctrl_c, task::spawn_blocking};

use crate::{
    aws::{Aws, Connection, budget},
    clock::now,
    exit::{INTERRUPTED, VIOLATED},
    file::{File, Invalid},
    lines::{Output, Shown, done, fitting, planned, rows, to_table},
    progress::with_progress,
    stdio::{eprint, eprintln, println, warn},
};

/// Evaluate the active sessions, and end those that violate the policy.
///
/// A dry run unless `--enforce` is given. The plan is shown, and confirmed, before anybody is ended.
/// Then the policy is read and the sessions are listed once more: whoever was not shown, or is no
/// violator any more, is not ended. With `--enforce` every violator is meant: what filters the
/// output is wrong use then. Ctrl-C lets no further termination start; what was begun is verified
/// and reported. The exit status is 3 if a session violates the policy and lives, or if nobody knows
/// whether it does.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  reapctl sweep --policy policy.yaml\n  reapctl sweep --policy-parameter NAME --enforce --yes --output ndjson"
)]
pub(crate) struct Args {
    #[command(flatten)]
    policy: PolicyAt,
    /// End the violators
    #[arg(long)]
    enforce: bool,
    /// Do not ask for confirmation
    #[arg(long, requires = "enforce")]
    yes: bool,
    #[command(flatten)]
    shown: Shown,
    #[command(flatten)]
    connection: Connection,
}

/// Where the policy is.
#[derive(clap::Args)]
#[group(required = true, multiple = false)]
pub(crate) struct PolicyAt {
    /// The policy's file; `-` for standard input
    #[arg(long, value_name = "FILE")]
    policy: Option<String>,
    /// The policy's parameter in Parameter Store
    #[arg(long, value_name = "NAME")]
    policy_parameter: Option<String>,
}

/// A policy that has been read, and what reports say of it.
pub(crate) struct Loaded {
    pub(crate) policy: Policy,
    pub(crate) source: PolicySource,
    pub(crate) identity: PolicyIdentity,
}

impl PolicyAt {
    /// Opens the connection, and reads the policy. A file's errors are shown before AWS is asked.
    pub(crate) async fn open(&self, connection: &Connection) -> anyhow::Result<(Aws, Loaded)> {
        let (aws, loaded) = if let Some(path) = &self.policy {
            let loaded = Loaded::new(File::read(path)?, None)?;
            (connection.open().await?, loaded)
        } else {
            let aws = connection.open().await?;
            let loaded = self.parameter(&aws).await?;
            (aws, loaded)
        };
        warn(loaded.policy.warnings(now()));
        Ok((aws, loaded))
    }

    /// Reads the policy once more, for it may have been edited. Standard input and pipes can be read
    /// only once: of them stays what was read before.
    pub(crate) async fn again(&self, aws: &Aws, before: Loaded) -> anyhow::Result<Loaded> {
        let is_pipe = |path: &str| fs::metadata(path).is_ok_and(|it| !it.is_file());
        match &self.policy {
            Some(path) if path == "-" || is_pipe(path) => Ok(before),
            Some(path) => Loaded::new(File::read(path)?, None),
            None => self.parameter(aws).await,
        }
    }

    async fn parameter(&self, aws: &Aws) -> anyhow::Result<Loaded> {
        let Some(name) = &self.policy_parameter else {
            bail!(Invalid("a policy is needed".into()));
        };
        let read = aws.ssm.parameter(name, budget()).await;
        let read = read.with_context(|| format!("cannot read the parameter `{name}`"))?;
        let file = File { name: format!("parameter {name}"), text: read.value };
        Loaded::new(file, Some(read.version))
    }
}

impl Loaded {
    fn new(file: File, version: Option<i64>) -> anyhow::Result<Self> {
        let policy = file.policy()?;
        let File { name, text } = file;
        let identity = PolicyIdentity::new(&*name, version, &text);
        Ok(Self { policy, source: PolicySource::Inline { name, text }, identity })
    }
}

pub(crate) async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mode = if args.enforce { Mode::Enforce } else { Mode::DryRun };
    if args.enforce {
        args.shown.check_for_all()?;
    }
    check_confirmable(args.enforce, args.yes)?;
    let (aws, mut loaded) = args.policy.open(&args.connection).await?;
    let (mut now, mut survey) = look(&aws, &loaded, mode).await?;

    let shown = to_end(&survey);
    if args.enforce && !shown.is_empty() && !args.yes {
        let to_end = planned(&survey.plan.steps, now);
        let rows = rows(to_end.filter(|it| it.action == Some(Action::Terminate)), &[], now);
        eprintln!("{}\n", to_table(&rows, &fitting(&rows)).trim_fmt());
        if !confirmed(&format!("End {}?", sessions(shown.len()))).await? {
            bail!("nobody was ended");
        }
        // The question may have stood for hours: what holds now decides.
        loaded = args.policy.again(&aws, loaded).await?;
        (now, survey) = look(&aws, &loaded, mode).await?;
        end_only(&shown, loaded.policy.limits.max_terminations, &mut survey);
    }
    let order = aws.order(&loaded.source, mode, now);
    let work = Box::pin(interruptible(&aws.ssm, carry_out(order, survey)));
    let SweepResult { record, report } = with_progress("ending", &aws, work).await;

    let rows = rows(done(&record.outcomes, now), &record.not_evaluated, now);
    args.shown.print(rows, &report)?;
    if args.shown.output == Output::Table && mode == Mode::DryRun {
        println!("A dry run: nobody was ended. Add `--enforce` to end the violators.");
    }
    if aws.ssm.is_stopped() {
        bail!("interrupted: {}", report.counts());
    }
    report.failure().map_or(Ok(()), Err)?;
    Ok(if is_clean(&report) { ExitCode::SUCCESS } else { ExitCode::from(VIOLATED) })
}

/// Lists and evaluates the sessions as they are now.
pub(crate) async fn look(
    aws: &Aws,
    loaded: &Loaded,
    mode: Mode,
) -> Result<(Timestamp, PlannedSweep), ClockError> {
    let now = now();
    let order = aws.order(&loaded.source, mode, now);
    let listing = Box::pin(plan_by(order, &loaded.policy, loaded.identity.clone()));
    let mut survey = with_progress("listing", aws, listing).await?;
    add_tag_problem(&mut survey, aws, &loaded.policy);
    warn(&survey.warnings);
    Ok((now, survey))
}

/// Adds why no tags are known; a listing that failed has a problem of its own.
pub(crate) fn add_tag_problem(survey: &mut PlannedSweep, aws: &Aws, policy: &Policy) {
    let problem = aws.tag_problem(policy).filter(|_| survey.coverage.problem.is_none());
    survey.warnings.extend(problem);
}

/// The ids of those whom the plan ends.
pub(crate) fn to_end(survey: &PlannedSweep) -> HashSet<Arc<str>> {
    let steps = survey.plan.steps.iter().filter(|it| it.action == Action::Terminate);
    steps.map(|it| Arc::clone(&it.session.id)).collect()
}

/// Makes of a new plan one that ends those who were shown when the old one was confirmed, and nobody
/// else: by now it may be the turn of others.
pub(crate) fn end_only(
    shown: &HashSet<Arc<str>>,
    max_terminations: u32,
    survey: &mut PlannedSweep,
) {
    let mut places = 0..max_terminations;
    for step in &mut survey.plan.steps {
        step.action = match step.action {
            Action::Terminate | Action::Defer(DeferReason::Limit)
                if shown.contains(&step.session.id) =>
            {
                if step.session.is_terminating() || places.next().is_some() {
                    Action::Terminate
                } else {
                    Action::Defer(DeferReason::Limit)
                }
            }
            Action::Terminate => Action::Defer(DeferReason::NotConfirmed),
            other @ (Action::Defer(_) | Action::Leave) => other,
        };
    }
}

/// Whether no violator, and nobody who may be one, lives on.
fn is_clean(report: &Report) -> bool {
    let gone = report.outcomes.terminated + report.outcomes.already_gone;
    report.verdicts.violation == gone
        && report.verdicts.undetermined + report.verdicts.not_evaluated == 0
}

pub(crate) fn sessions(n: usize) -> String {
    if n == 1 { "1 session".into() } else { format!("{n} sessions") }
}

/// Fails if sessions are to be ended, and nobody is there to be asked.
pub(crate) fn check_confirmable(enforce: bool, yes: bool) -> anyhow::Result<()> {
    if enforce && !yes && !io::stdin().is_terminal() {
        bail!(Invalid(
            "nobody is there to confirm; add `--yes` to end sessions in a script".into()
        ));
    }
    Ok(())
}

/// Asks on the terminal; anything but `y` or `yes` is a no.
pub(crate) async fn confirmed(question: &str) -> anyhow::Result<bool> {
    eprint!("{question} [y/N] ");
    let answer = spawn_blocking(|| std::io::stdin().lines().next().transpose()).await?;
    let answer = answer.context("cannot read the answer")?.unwrap_or_default();
    Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
}

/// Ctrl-C stops the terminations, and the work goes on to verify what was begun. A second Ctrl-C
/// ends the process.
pub(crate) async fn interruptible<T>(ssm: &Ssm, work: impl Future<Output = T>) -> T {
    let interrupted = async {
        ctrl_c().await?;
        ssm.stop();
        eprintln!("interrupted: no further termination starts; what was begun is verified");
        ctrl_c().await?;
        exit(INTERRUPTED)
    };
    tokio::pin!(work);
    tokio::select! {
        result = &mut work => result,
        Err::<Infallible, io::Error>(_not_to_be_had) = interrupted => work.await,
    }
}
