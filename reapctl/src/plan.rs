//! `reapctl plan`: what a sweep would do.

use std::process::ExitCode;

use reaper_core::{
    census::{Evaluated, Evaluator},
    plan::Step,
    report::{Mode, OutcomeRecord, Row},
};
use session_reaper::sweep::{SweepResult, carry_out};

use crate::{
    account_regions::{Opened, Reach, Sweep, Swept, VIOLATORS_MISSED},
    aws::AccountRegion,
    exit::VIOLATED,
    lines::{Shown, lines, rows_of_steps},
    look::look,
    policy_at::PolicyAt,
};

/// Evaluate the active sessions, and terminate none.
///
/// The exit status is 3 if a session violates the policy, or if it is not known whether it does. With
/// `--organization` or `--accounts`, it is 1 if an account in a Region is not complete.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  reapctl plan --policy policy.yaml\n  reapctl plan --policy-parameter NAME --only violation,undetermined --output csv\n  reapctl plan --policy policy.yaml --organization --regions eu-central-1 --member-role Reaper"
)]
pub(crate) struct Args {
    #[command(flatten)]
    policy: PolicyAt,
    #[command(flatten)]
    shown: Shown,
    #[command(flatten)]
    reach: Reach,
}

pub(crate) async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (opened, loaded) = args.policy.open(&args.reach).await?;
    let rows = |at: AccountRegion<'_>, now, outcomes: &[OutcomeRecord]| {
        let evaluator = Evaluator::new(&loaded.policy, now).at(at.scope());
        let due = |it: &Step| {
            let session = it.session.clone();
            evaluator.due(&Evaluated::alone(session, it.tags.clone(), it.verdict.clone()))
        };
        let steps = outcomes.iter().map(|it| &it.step);
        let due = steps.clone().map(due);
        rows_of_steps(steps, now).zip(due).map(|(row, due)| Row { due, ..row }).collect()
    };
    let report = match opened {
        Opened::One(aws) => {
            let (now, planned) = look(aws.account_region(), &loaded, Mode::DryRun).await?;
            let at = aws.account_region();
            let context = at.context(&loaded.source, Mode::DryRun, now);
            let SweepResult { record, report } = Box::pin(carry_out(context, planned)).await;
            let rows: Vec<Row> = rows(at, now, &record.outcomes);
            let lines = lines(rows.into_iter(), &record.not_evaluated, now, None);
            args.shown.print(lines, &report)?;
            report.failure().map_or(Ok(()), Err)?;
            report
        }
        Opened::Many(all) => {
            let sweep = Sweep { loaded: &loaded, mode: Mode::DryRun, confirmed: None };
            let Swept { overview, report, lines, .. } = Box::pin(sweep.each(&all, rows)).await;
            args.shown.print_all(lines, &report, &overview)?;
            overview.check(VIOLATORS_MISSED)?;
            report
        }
    };
    let verdicts = report.verdicts;
    let is_clean = verdicts.violation + verdicts.undetermined + verdicts.not_evaluated == 0;
    Ok(if is_clean { ExitCode::SUCCESS } else { ExitCode::from(VIOLATED) })
}
