//! The question before sessions are terminated, and what its answer covers.

use std::{
    collections::HashSet,
    io::{self, IsTerminal},
    sync::Arc,
};

use anyhow::{Context, bail};
use reaper_core::plan::{Action, DeferReason};
use session_reaper::sweep::PlannedSweep;
use tokio::task::spawn_blocking;

use crate::{file::Invalid, stdio::eprint};

/// Fails if a confirmation is needed and standard input is not a terminal.
pub(crate) fn check_confirmable(enforce: bool, yes: bool) -> anyhow::Result<()> {
    if enforce && !yes && !io::stdin().is_terminal() {
        bail!(Invalid(
            "standard input is not a terminal, so it cannot be asked for confirmation; add `--yes` \
             to terminate sessions in a script"
                .into()
        ));
    }
    Ok(())
}

/// Asks on the terminal whether to terminate these sessions; any answer but `y` or `yes` is a no.
pub(crate) async fn is_confirmed(sessions: &str) -> anyhow::Result<bool> {
    eprint!("Terminate {sessions}? [y/N] ");
    let answer = spawn_blocking(|| io::stdin().lines().next().transpose()).await?;
    let answer = answer.context("cannot read the answer")?.unwrap_or_default();
    Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
}

/// The ids of the sessions that the plan terminates.
pub(crate) fn to_terminate(planned: &PlannedSweep) -> HashSet<Arc<str>> {
    let steps = planned.plan.steps.iter().filter(|it| it.action == Action::Terminate);
    steps.map(|it| Arc::clone(&it.session.id)).collect()
}

/// Changes a plan that was made after the confirmation so that it terminates only sessions that were
/// confirmed: `max_terminations` may by now have selected others.
pub(crate) fn defer_unconfirmed(
    confirmed: &HashSet<Arc<str>>,
    max_terminations: u32,
    planned: &mut PlannedSweep,
) {
    let mut places = 0..max_terminations;
    for step in &mut planned.plan.steps {
        step.action = match step.action {
            Action::Terminate | Action::Defer(DeferReason::Limit)
                if confirmed.contains(&step.session.id) =>
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

/// A number of sessions, in words: `1 session` or `2 sessions`.
pub(crate) fn sessions(n: usize) -> String {
    if n == 1 { "1 session".into() } else { format!("{n} sessions") }
}
