//! `reapctl sweep`: one sweep, by hand.

use std::{
    io::{BufRead, IsTerminal, Write},
    process::ExitCode,
};

use anstream::{eprint, eprintln, println};
use anyhow::{Context, bail};
use session_reaper::{
    plan::Action,
    report::{Mode, Report},
    source::PolicySource,
    ssm::Ssm,
    sweep::{Swept, carry_out, survey},
};

use crate::{
    VIOLATED,
    aws::Connection,
    file::{File, Invalid},
    lines::{ALL, Output, Shown, done, planned, rows, to_table},
    now,
    progress::with_progress,
};

/// Judge the active sessions, and end those that violate the policy.
///
/// A dry run unless `--enforce` is given. The plan is shown, and confirmed, before anybody is ended.
/// Ctrl-C lets no further termination start; what was begun is verified and reported. The exit
/// status is 3 if a session violates the policy and lives, or if nobody knows whether it does.
#[derive(clap::Args)]
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

impl PolicyAt {
    /// A file is read, and its errors are shown, at once.
    pub(crate) fn source(&self) -> anyhow::Result<PolicySource> {
        match (&self.policy, &self.policy_parameter) {
            (Some(path), _) => {
                let file = File::read(path)?;
                file.policy()?;
                Ok(PolicySource::Inline { name: file.name, text: file.text })
            }
            (None, Some(name)) => Ok(PolicySource::Parameter(name.clone())),
            (None, None) => bail!(Invalid("a policy is needed".into())),
        }
    }
}

pub(crate) async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let policy = args.policy.source()?;
    let mode = if args.enforce { Mode::Enforce } else { Mode::DryRun };
    if args.enforce && !args.yes && !std::io::stdin().is_terminal() {
        bail!(Invalid(
            "nobody is there to confirm; add `--yes` to end sessions in a script".into()
        ));
    }
    let aws = args.connection.open().await?;
    let now = now();
    let survey_order = aws.order(&policy, mode, now);
    let survey = with_progress("listing", &aws.ssm, Box::pin(survey(survey_order))).await?;

    let steps = &survey.plan.steps;
    let n_to_end = steps.iter().filter(|it| it.action == Action::Terminate).count();
    if args.enforce && 0 < n_to_end && !args.yes {
        let to_end = planned(steps, now).filter(|it| it.action == Some("terminate"));
        eprintln!("{}\n", to_table(&rows(to_end, &[], &[], now), &ALL).trim_fmt());
        if !confirmed(&format!("End {}?", sessions(n_to_end)))? {
            bail!("nobody was ended");
        }
    }
    let order = aws.order(&policy, mode, now);
    let work = Box::pin(interruptible(&aws.ssm, carry_out(order, survey)));
    let Swept { findings, report } = with_progress("ending", &aws.ssm, work).await;

    let rows = rows(done(&findings.settled, now), &findings.unjudged, &findings.ending, now);
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

/// Whether no violator, and nobody who may be one, lives on.
fn is_clean(report: &Report) -> bool {
    let gone = report.outcomes.terminated + report.outcomes.already_gone;
    report.verdicts.violation == gone
        && report.verdicts.undetermined + report.verdicts.unjudged == 0
}

pub(crate) fn sessions(n: usize) -> String {
    if n == 1 { "1 session".into() } else { format!("{n} sessions") }
}

/// Asks on the terminal; anything but `y` or `yes` is a no.
pub(crate) fn confirmed(question: &str) -> anyhow::Result<bool> {
    eprint!("{question} [y/N] ");
    anstream::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).context("cannot read the answer")?;
    Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
}

/// Ctrl-C stops the terminations, and the work goes on to verify what was begun.
pub(crate) async fn interruptible<T>(ssm: &Ssm, work: impl Future<Output = T>) -> T {
    tokio::pin!(work);
    tokio::select! {
        result = &mut work => result,
        Ok(()) = tokio::signal::ctrl_c() => {
            ssm.stop();
            eprintln!("interrupted: no further termination starts; what was begun is verified");
            work.await
        }
    }
}
