//! `reapctl sweep`: one sweep, by hand.

use std::process::ExitCode;

use anyhow::bail;
use reaper_core::{
    plan::Action,
    report::{Mode, Report},
};
use session_reaper::sweep::{SweepResult, carry_out};

use crate::{
    aws::Connection,
    confirm::{check_confirmable, defer_unconfirmed, is_confirmed, to_terminate},
    exit::VIOLATED,
    interrupt::interruptible,
    lines::{
        Output, Shown,
        columns::{fitting, to_table},
        rows, rows_of_outcomes, rows_of_steps,
    },
    look::look,
    policy_at::PolicyAt,
    progress::with_progress,
    stdio::{eprintln, println},
};

/// Evaluate the active sessions, and terminate those that violate the policy.
///
/// This is a dry run unless `--enforce` is given. With `--enforce`, the sessions to be terminated are
/// shown, and you are asked to confirm. Then the policy is read and the sessions are listed again; a
/// session that was not shown, or no longer violates the policy, is not terminated. Options that
/// filter the output are refused with `--enforce`, because they do not limit what is terminated.
/// Ctrl-C prevents further terminations; those that have started are verified and reported. The exit
/// status is 3 if a violating session is still active, or if it is not known whether a session
/// violates the policy.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  reapctl sweep --policy policy.yaml\n  reapctl sweep --policy-parameter NAME --enforce --yes --output ndjson"
)]
pub(crate) struct Args {
    #[command(flatten)]
    policy: PolicyAt,
    /// Terminate the violating sessions
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

pub(crate) async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mode = if args.enforce { Mode::Enforce } else { Mode::DryRun };
    if args.enforce {
        args.shown.check_for_all()?;
    }
    check_confirmable(args.enforce, args.yes)?;
    let (aws, mut loaded) = args.policy.open(&args.connection).await?;
    let (mut now, mut planned) = look(&aws, &loaded, mode).await?;

    let shown = to_terminate(&planned);
    if args.enforce && !shown.is_empty() && !args.yes {
        let steps = planned.plan.steps.iter().filter(|it| it.action == Action::Terminate);
        let rows = rows(rows_of_steps(steps, now), &[], now);
        eprintln!("{}\n", to_table(&rows, &fitting(&rows)).trim_fmt());
        if !is_confirmed(shown.len()).await? {
            bail!("no session was terminated");
        }
        // The question may have waited for hours, so everything is read again.
        loaded = args.policy.again(&aws, loaded).await?;
        (now, planned) = look(&aws, &loaded, mode).await?;
        defer_unconfirmed(&shown, loaded.policy.limits.max_terminations, &mut planned);
    }
    let context = aws.context(&loaded.source, mode, now);
    let work = Box::pin(interruptible(&aws.ssm, carry_out(context, planned)));
    let SweepResult { record, report } = with_progress("terminating", &aws, work).await;

    let outcomes = rows_of_outcomes(&record.outcomes, now);
    args.shown.print(rows(outcomes, &record.not_evaluated, now), &report)?;
    if args.shown.output == Output::Table && mode == Mode::DryRun {
        println!(
            "This was a dry run: no session was terminated. Add `--enforce` to terminate violating \
             sessions."
        );
    }
    if aws.ssm.is_stopped() {
        bail!("interrupted: {}", report.counts());
    }
    report.failure().map_or(Ok(()), Err)?;
    Ok(if is_clean(&report) { ExitCode::SUCCESS } else { ExitCode::from(VIOLATED) })
}

/// Whether every violating session is gone, and every session's verdict is known.
fn is_clean(report: &Report) -> bool {
    let gone = report.outcomes.terminated + report.outcomes.already_gone;
    report.verdicts.violation == gone
        && report.verdicts.undetermined + report.verdicts.not_evaluated == 0
}
