//! The rounds of a lock: each lists, evaluates and terminates.

use std::{
    collections::{BTreeSet, HashSet},
    process::exit,
    sync::Arc,
};

use anyhow::bail;
use jiff::Timestamp;
use reaper_core::{
    evaluate::VerdictKind,
    pattern::OwnerPattern,
    plan::Step,
    policy::{Condition, Demand, Effect, Limits, Policy, Rule, Test},
    report::{Failure, Mode},
    session::Record,
    target::Unknown,
};
use session_reaper::{
    Budget,
    aws::CallErrorKind,
    sinks::Sinks,
    sweep::list::ListingProblem,
    sweep::{PlannedSweep, SweepContext, SweepResult, carry_out, plan_by},
};
use tokio::time::{Duration, Instant, sleep};

use crate::{
    aws::Aws,
    clock::now,
    confirm::{defer_unconfirmed, is_confirmed, to_terminate},
    exit::INTERRUPTED,
    interrupt::{stopped, unless_stopped},
    lines::{
        columns::{fitting, to_table},
        rows, rows_of_outcomes, rows_of_steps,
    },
    lock::log::Log,
    look::add_tag_problem,
    policy_at::{Loaded, PolicyAt},
    progress::with_progress,
    stdio::{eprintln, println, warn},
};

/// What a lock is to do.
pub(super) struct Lock<'a> {
    pub(super) owners: &'a [OwnerPattern],
    pub(super) reason: &'a str,
    pub(super) policy: &'a PolicyAt,
    pub(super) override_exemptions: bool,
    pub(super) mode: Mode,
    /// Whether not to ask.
    pub(super) is_confirmed: bool,
    /// How long to continue at most.
    pub(super) patience: Duration,
    /// Where its records go.
    pub(super) sinks: &'a Sinks,
}

/// Between two listings.
const PAUSE: Duration = Duration::from_secs(5);

/// What the last listing may take after the time is over: a third of it, as in every round.
const LAST_LISTING: Duration = Duration::from_mins(3);

/// The ARNs of owners of listed sessions that are locked.
pub(super) type Seen = BTreeSet<Arc<str>>;

/// What is left when a lock stops.
pub(super) struct Rest {
    /// The last listing, after which nothing was terminated.
    pub(super) planned: PlannedSweep,
    /// How many sessions of the last listing violate the lock.
    pub(super) n_violating: usize,
    /// What the rounds did.
    pub(super) done: Done,
}

/// What the rounds so far have done.
pub(super) enum Done {
    Nothing,
    /// Every termination was denied.
    Denied(Failure),
    Something,
}

impl Done {
    fn and(self, round: Self) -> Self {
        if matches!(self, Self::Something) { self } else { round }
    }
}

impl Lock<'_> {
    /// Whether the owner is one of those that are locked.
    pub(super) fn has(&self, owner: &str) -> bool {
        OwnerPattern::any_is_match(self.owners, owner)
    }

    /// Whether the owner of a record is locked, or not known.
    pub(super) fn may_have(&self, record: &Record) -> bool {
        record.owner.as_ref().is_none_or(|it| self.has(it))
    }

    /// Lists and terminates, until a complete listing shows nothing to terminate or the time is over.
    /// Nothing is terminated after the last listing.
    pub(super) async fn rounds(
        &self,
        aws: &Aws,
        loaded: Loaded,
        log: &Log,
        seen: &mut Seen,
    ) -> anyhow::Result<Rest> {
        let mut loaded = self.locking(loaded);
        let mut hard_stop = Instant::now() + self.patience;
        let mut needs_confirmation = !self.is_confirmed;
        let mut confirmed = None;
        let mut done = Done::Nothing;
        let mut is_over = false;
        let mut shown = Vec::new();
        let mut warned = HashSet::new();
        loop {
            log.begin_round();
            let now = now();
            let round_stop = if is_over { Instant::now() + LAST_LISTING } else { hard_stop };
            let budget = Budget { last_start: round_stop, hard_stop: round_stop };
            let context = SweepContext {
                budget,
                sinks: self.sinks,
                ..aws.context(&loaded.source, self.mode, now)
            };
            let listing = Box::pin(plan_by(context, &loaded.policy, loaded.identity.clone()));
            let listing = with_progress("listing", aws, listing);
            let mut planned = unless_stopped(&aws.ssm, listing).await??;
            add_tag_problem(&mut planned, aws, &loaded.policy);
            seen.extend(listed_owners(&planned).filter(|it| self.has(it)).cloned());
            let is_new = |it: &&String| warned.insert((*it).clone());
            warn(planned.warnings.iter().filter(is_new));
            let n = to_terminate(&planned).len();
            if let Some(confirmed) = confirmed.take() {
                defer_unconfirmed(&confirmed, u32::MAX, &mut planned); // Until the next round.
            }
            self.show(&planned, now, &mut shown);
            let problem = planned.problem.as_ref();
            let has_time = || Instant::now() + PAUSE < hard_stop;
            let may_pass = has_failed_lookup(&planned);
            let is_done = n == 0
                && (!may_pass || !has_time())
                && problem.is_none_or(ListingProblem::is_denial);
            if self.mode == Mode::DryRun || is_over || is_done {
                return Ok(Rest { planned, n_violating: n, done });
            }
            if let Some(problem) = problem {
                warn([&format!("the listing is incomplete, so there may be more: {problem}")]);
            }
            let ids = to_terminate(&planned);
            if !ids.is_empty() {
                log.open();
                if needs_confirmation {
                    tokio::select! {
                        answer = is_confirmed(ids.len()) => {
                            if !answer? {
                                bail!("no session was terminated");
                            }
                        }
                        () = stopped(&aws.ssm) => exit(INTERRUPTED), // The read would not return.
                    }
                    needs_confirmation = false;
                    // The question may have waited for hours: the time starts now, and everything
                    // is read again.
                    hard_stop = Instant::now() + self.patience;
                    let again = unless_stopped(&aws.ssm, self.policy.again(aws, loaded)).await?;
                    loaded = self.locking(again?);
                    confirmed = Some(ids);
                    continue;
                }
                done = done.and(terminate(aws, context, planned).await?);
            }
            is_over = !has_time();
            if !is_over {
                unless_stopped(&aws.ssm, sleep(PAUSE)).await?;
            }
        }
    }

    /// The policy of the lock: it forbids sessions of the owners. Of the loaded policy it keeps only
    /// the exemptions, unless they are overridden.
    fn locking(&self, loaded: Loaded) -> Loaded {
        let Loaded { policy: base, source, mut identity } = loaded;
        identity.source = format!("lock beside {source}");
        let rule = Rule {
            id: "lock".into(),
            description: Some(self.reason.to_owned()),
            when: Condition(vec![Test::Owner(self.owners.to_vec())]),
            unless: None,
            demand: Demand::Forbid,
            effect: Effect::Terminate,
        };
        let limits = Limits { max_terminations: u32::MAX, max_percent: 100, ..Limits::default() };
        let exemptions = if self.override_exemptions { Vec::new() } else { base.exemptions };
        let policy = Policy { rules: vec![rule], exemptions, limits, paused: false, ..base };
        Loaded { policy, source, identity }
    }

    /// Shows the sessions of the owners, and those whose owner is not known, unless they are the same
    /// as in the previous round.
    fn show(&self, planned: &PlannedSweep, now: Timestamp, shown: &mut Vec<Option<Arc<str>>>) {
        let steps =
            planned.plan.steps.iter().filter(|it| it.verdict.kind() != VerdictKind::Compliant);
        let mut not_evaluated = planned.not_evaluated.clone();
        not_evaluated.retain(|(it, _)| self.may_have(it));
        let rows = rows(rows_of_steps(steps, now), &not_evaluated, now);
        let ids = rows.iter().map(|it| it.session_id.clone()).collect();
        if !rows.is_empty() && *shown != ids {
            eprintln!("{}\n", to_table(&rows, &fitting(&rows)).trim_fmt());
        }
        *shown = ids;
    }
}

/// Whether a session may be exempt only because a look-up of tags failed that may succeed later.
fn has_failed_lookup(planned: &PlannedSweep) -> bool {
    let failed = |it: &Step| it.verdict.unknown() == Some(Unknown::TagsLookupFailed);
    planned.plan.steps.iter().any(failed)
        && !planned.tag_problems.iter().any(|it| it.kind == CallErrorKind::Denied)
}

/// Terminates what one round has planned, verifies it, and shows the outcomes.
async fn terminate(
    aws: &Aws,
    context: SweepContext<'_>,
    planned: PlannedSweep,
) -> anyhow::Result<Done> {
    let now = context.now;
    let work = Box::pin(carry_out(context, planned));
    let SweepResult { record, report } = with_progress("terminating", aws, work).await;
    let is_violation = |it: &Step| it.verdict.kind() == VerdictKind::Violation;
    let violations = record.outcomes.iter().filter(|it| is_violation(&it.step));
    let rows: Vec<_> = rows_of_outcomes(violations, now).collect();
    println!("{}\n", to_table(&rows, &fitting(&rows)).trim_fmt());
    if aws.ssm.is_stopped() {
        bail!("interrupted: {}", report.counts());
    }
    // The lock continues even if IAM protects these sessions, because there may be new ones.
    if let Some(failure @ Failure::AllDenied { .. }) = report.failure() {
        warn([&failure.to_string()]);
        return Ok(Done::Denied(failure));
    }
    Ok(Done::Something)
}

/// The listed sessions that were not evaluated.
pub(super) fn not_evaluated(planned: &PlannedSweep) -> impl Iterator<Item = &Record> {
    planned.not_evaluated.iter().map(|(it, _)| it)
}

/// The ARNs of the owners of all listed sessions.
pub(super) fn listed_owners(planned: &PlannedSweep) -> impl Iterator<Item = &Arc<str>> {
    let steps = planned.plan.steps.iter().map(|it| &it.session.owner);
    steps.chain(not_evaluated(planned).filter_map(|it| it.owner.as_ref()))
}
