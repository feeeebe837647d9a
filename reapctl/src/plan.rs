//! `reapctl plan`: what a sweep would do.

use std::process::ExitCode;

use reaper_core::{
    census::{Evaluated, Evaluator},
    report::{Mode, Row},
};
use session_reaper::sweep::{SweepResult, carry_out};

use crate::{
    aws::Connection,
    exit::VIOLATED,
    lines::{Shown, rows, rows_of_steps},
    look::look,
    policy_at::PolicyAt,
};

/// Evaluate the active sessions, and terminate none.
///
/// The exit status is 3 if a session violates the policy, or if it is not known whether it does.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  reapctl plan --policy policy.yaml\n  reapctl plan --policy-parameter NAME --only violation,undetermined --output csv"
)]
pub(crate) struct Args {
    #[command(flatten)]
    policy: PolicyAt,
    #[command(flatten)]
    shown: Shown,
    #[command(flatten)]
    connection: Connection,
}

pub(crate) async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (aws, loaded) = args.policy.open(&args.connection).await?;
    let (now, planned) = look(&aws, &loaded, Mode::DryRun).await?;
    let context = aws.context(&loaded.source, Mode::DryRun, now);
    let SweepResult { record, report } = Box::pin(carry_out(context, planned)).await;
    let steps = record.outcomes.iter().map(|it| &it.step);
    let evaluator = Evaluator::new(&loaded.policy, now).at(aws.scope());
    let due = steps.clone().map(|it| {
        let session = it.session.clone();
        evaluator.due(&Evaluated::alone(session, it.tags.clone(), it.verdict.clone()))
    });
    let with_due = rows_of_steps(steps, now).zip(due).map(|(row, due)| Row { due, ..row });
    let rows = rows(with_due, &record.not_evaluated, now);
    args.shown.print(rows, &report)?;
    report.failure().map_or(Ok(()), Err)?;
    let verdicts = report.verdicts;
    let is_clean = verdicts.violation + verdicts.undetermined + verdicts.not_evaluated == 0;
    Ok(if is_clean { ExitCode::SUCCESS } else { ExitCode::from(VIOLATED) })
}
