//! `reapctl sweep`: one sweep, by hand.

use std::process::ExitCode;

use anyhow::bail;
use reaper_core::{
    plan::Action,
    report::{Mode, OutcomeRecord, Report},
};
use session_reaper::sweep::{SweepResult, carry_out};

use crate::{
    account_regions::{AccountRegions, Opened, Reach, Sweep, Swept, VIOLATORS_MISSED},
    aws::{AccountRegion, Aws},
    confirm::{check_confirmable, defer_unconfirmed, is_confirmed, sessions, to_terminate},
    exit::VIOLATED,
    interrupt::interruptible,
    lines::{
        Line, Output, Shown,
        columns::{fitting, to_table},
        lines, rows_of_outcomes, rows_of_steps,
    },
    look::look,
    policy_at::{Loaded, PolicyAt},
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
/// violates the policy. With `--organization` or `--accounts`, you are asked once for all, and the exit
/// status is 1 if an account in a Region is not complete.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  reapctl sweep --policy policy.yaml\n  reapctl sweep --policy-parameter NAME --enforce --yes --output ndjson\n  reapctl sweep --policy policy.yaml --accounts accounts.txt --member-role Reaper --enforce"
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
    reach: Reach,
}

pub(crate) async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if args.enforce {
        args.shown.check_for_all()?;
    }
    check_confirmable(args.enforce, args.yes)?;
    let (opened, loaded) = args.policy.open(&args.reach).await?;
    match opened {
        Opened::One(aws) => args.sweep(&aws, loaded).await,
        Opened::Many(all) => args.sweep_all(&all, loaded).await,
    }
}

impl Args {
    fn mode(&self) -> Mode {
        if self.enforce { Mode::Enforce } else { Mode::DryRun }
    }

    async fn sweep(&self, aws: &Aws, mut loaded: Loaded) -> anyhow::Result<ExitCode> {
        let mode = self.mode();
        let (mut now, mut planned) = look(aws.account_region(), &loaded, mode).await?;
        let shown = to_terminate(&planned);
        if self.enforce && !shown.is_empty() && !self.yes {
            let steps = planned.plan.steps.iter().filter(|it| it.action == Action::Terminate);
            let lines = lines(rows_of_steps(steps, now), &[], now, None);
            confirm(&lines, &sessions(shown.len())).await?;
            // The question may have waited for hours, so everything is read again.
            loaded = self.policy.again(aws, loaded).await?;
            (now, planned) = look(aws.account_region(), &loaded, mode).await?;
            defer_unconfirmed(&shown, loaded.policy.limits.max_terminations, &mut planned);
        }
        let at = aws.account_region();
        let context = at.context(&loaded.source, mode, now);
        let work = Box::pin(interruptible(|| aws.ssm.stop(), carry_out(context, planned)));
        let SweepResult { record, report } = with_progress("terminating", at, work).await;

        let outcomes = rows_of_outcomes(&record.outcomes, now);
        self.shown.print(lines(outcomes, &record.not_evaluated, now, None), &report)?;
        self.print_mode();
        if aws.ssm.is_stopped() {
            bail!("interrupted: {}", report.counts());
        }
        report.failure().map_or(Ok(()), Err)?;
        Ok(status(&report))
    }

    async fn sweep_all(
        &self,
        all: &AccountRegions,
        mut loaded: Loaded,
    ) -> anyhow::Result<ExitCode> {
        let rows =
            |_: AccountRegion<'_>, now, all: &[OutcomeRecord]| rows_of_outcomes(all, now).collect();
        let asks = self.enforce && !self.yes;
        let mode = if asks { Mode::DryRun } else { self.mode() };
        let sweep = Sweep { loaded: &loaded, mode, confirmed: None };
        let mut swept = Box::pin(sweep.each(all, rows)).await;
        if asks && !swept.to_terminate.is_empty() {
            let shown = swept.to_terminate;
            let is_shown = |it: &Line| it.row.session_id.as_ref().is_some_and(|id| shown.has(id));
            let lines: Vec<_> = swept.lines.into_iter().filter(is_shown).collect();
            confirm(&lines, &shown.to_string()).await?;
            // As in one account-Region.
            loaded = self.policy.again(all.home(), loaded).await?;
            let sweep = Sweep { loaded: &loaded, mode: Mode::Enforce, confirmed: Some(&shown) };
            swept = Box::pin(sweep.each(all, rows)).await;
        }
        let Swept { overview, mut report, lines, .. } = swept;
        report.mode = self.mode();
        self.shown.print_all(lines, &report, &overview)?;
        self.print_mode();
        if all.is_interrupted() {
            bail!("interrupted: {}", report.counts());
        }
        overview.check(VIOLATORS_MISSED)?;
        Ok(status(&report))
    }

    /// Says that nothing was terminated, if so.
    fn print_mode(&self) {
        if self.shown.output == Output::Table && !self.enforce {
            println!(
                "This was a dry run: no session was terminated. Add `--enforce` to terminate violating \
                 sessions."
            );
        }
    }
}

/// Shows the sessions that are to be terminated, and fails unless the answer is yes.
async fn confirm(lines: &[Line], sessions: &str) -> anyhow::Result<()> {
    eprintln!("{}\n", to_table(lines, &fitting(lines)).trim_fmt());
    if !is_confirmed(sessions).await? {
        bail!("no session was terminated");
    }
    Ok(())
}

fn status(report: &Report) -> ExitCode {
    if is_clean(report) { ExitCode::SUCCESS } else { ExitCode::from(VIOLATED) }
}

/// Whether every violating session is gone, and every session's verdict is known.
fn is_clean(report: &Report) -> bool {
    let gone = report.outcomes.terminated + report.outcomes.already_gone;
    report.verdicts.violation == gone
        && report.verdicts.undetermined + report.verdicts.not_evaluated == 0
}
