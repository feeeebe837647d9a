//! Lists and evaluates the sessions as they are now.

use jiff::Timestamp;
use reaper_core::{policy::Policy, report::Mode};
use session_reaper::sweep::{PlannedSweep, clock::ClockError, plan_by};

use crate::{
    aws::AccountRegion, clock::now, policy_at::Loaded, progress::with_progress, stdio::warn,
};

/// Lists and evaluates the sessions, and plans; with the time at which it started.
pub(crate) async fn look(
    at: AccountRegion<'_>,
    loaded: &Loaded,
    mode: Mode,
) -> Result<(Timestamp, PlannedSweep), ClockError> {
    let now = now();
    let context = at.context(&loaded.source, mode, now);
    let listing = Box::pin(plan_by(context, &loaded.policy, loaded.identity.clone()));
    let mut planned = with_progress("listing", at, listing).await?;
    add_tag_problem(&mut planned, at, &loaded.policy);
    warn(&planned.warnings);
    Ok((now, planned))
}

/// Adds to the warnings why no tags are known, unless the listing failed: that has its own error.
pub(crate) fn add_tag_problem(planned: &mut PlannedSweep, at: AccountRegion<'_>, policy: &Policy) {
    let problem = at.tag_problem(policy).filter(|_| planned.coverage.problem.is_none());
    planned.warnings.extend(problem);
}
