//! `reapctl plan`: what a sweep would do.

use std::process::ExitCode;

use session_reaper::{report::Mode, sweep::sweep};

use crate::{
    VIOLATED,
    aws::Connection,
    lines::{Shown, planned, rows},
    now,
    progress::with_progress,
    sweep::PolicyAt,
};

/// Judge the active sessions, and end nobody.
///
/// The exit status is 3 if a session violates the policy, or if nobody knows whether it does.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    policy: PolicyAt,
    #[command(flatten)]
    shown: Shown,
    #[command(flatten)]
    connection: Connection,
}

pub(crate) async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let policy = args.policy.source()?;
    let aws = args.connection.open().await?;
    let now = now();
    let order = aws.order(&policy, Mode::DryRun, now);
    let swept = with_progress("listing", &aws.ssm, Box::pin(sweep(order))).await?;
    let (findings, report) = (swept.findings, swept.report);
    let steps = findings.settled.iter().map(|it| &it.step);
    let rows = rows(planned(steps, now), &findings.unjudged, &findings.ending, now);
    args.shown.print(rows, &report)?;
    report.failure().map_or(Ok(()), Err)?;
    let verdicts = report.verdicts;
    let is_clean = verdicts.violation + verdicts.undetermined + verdicts.unjudged == 0;
    Ok(if is_clean { ExitCode::SUCCESS } else { ExitCode::from(VIOLATED) })
}
