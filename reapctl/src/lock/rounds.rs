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
    target::{Scope, Unknown},
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
    aws::{AccountRegion, Aws},
    clock::now,
    confirm::{defer_unconfirmed, is_confirmed, sessions, to_terminate},
    exit::INTERRUPTED,
    interrupt::{stopped, unless_stopped},
    lines::{
        Line,
        columns::{fitting, to_table},
        lines, rows_of_outcomes, rows_of_steps,
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
    /// How long to continue at most.
    pub(super) patience: Duration,
    /// Where its records go.
    pub(super) sinks: &'a Sinks,
}

/// How the rounds in an account-Region start.
pub(super) struct Start<'a> {
    /// The policy of the lock.
    pub(super) locking: Loaded,
    /// Whether to ask before the first termination; after that, the policy is read again by this
    /// connection.
    pub(super) asks: Option<&'a Aws>,
    /// What may be terminated in the first round, if there was a question.
    pub(super) confirmed: Option<HashSet<Arc<str>>>,
    pub(super) hard_stop: Instant,
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

    /// Lists, and evaluates by the policy of the lock.
    pub(super) async fn list(
        &self,
        context: SweepContext<'_>,
        at: AccountRegion<'_>,
        locking: &Loaded,
    ) -> anyhow::Result<PlannedSweep> {
        let listing = Box::pin(plan_by(context, &locking.policy, locking.identity.clone()));
        let listing = with_progress("listing", at, listing);
        let mut planned = unless_stopped(at.ssm, listing).await??;
        add_tag_problem(&mut planned, at, &locking.policy);
        Ok(planned)
    }

    /// Lists and terminates, until a complete listing shows nothing to terminate or the time is over.
    /// Nothing is terminated after the last listing.
    pub(super) async fn rounds(
        &self,
        at: AccountRegion<'_>,
        start: Start<'_>,
        log: &Log,
        seen: &mut Seen,
    ) -> anyhow::Result<Rest> {
        let Start { locking: mut loaded, mut asks, mut confirmed, mut hard_stop } = start;
        // What was asked about has been shown.
        let is_shown = !at.is_one_of_many || confirmed.is_none();
        let sinks = at.named().map(|it| self.sinks.at(it));
        let sinks = sinks.as_ref().unwrap_or(self.sinks);
        let place = at.named().map(|it| format!("{} {}: ", it.account, it.region));
        let place = place.unwrap_or_default();
        let mut done = Done::Nothing;
        let mut is_over = false;
        let mut shown = Vec::new();
        let mut warned = HashSet::new();
        loop {
            // The lines of others are not of this round.
            if !at.is_one_of_many {
                log.begin_round();
            }
            let now = now();
            let round_stop = if is_over { Instant::now() + LAST_LISTING } else { hard_stop };
            let budget = Budget { last_start: round_stop, hard_stop: round_stop };
            let context =
                SweepContext { budget, sinks, ..at.context(&loaded.source, self.mode, now) };
            let mut planned = self.list(context, at, &loaded).await?;
            seen.extend(listed_owners(&planned).filter(|it| self.has(it)).cloned());
            let is_new = |it: &&String| warned.insert((*it).clone());
            let warnings = planned.warnings.iter().filter(is_new);
            at.print(|| warn(warnings.map(|it| format!("{place}{it}"))));
            let n = to_terminate(&planned).len();
            if let Some(confirmed) = confirmed.take() {
                defer_unconfirmed(&confirmed, u32::MAX, &mut planned); // Until the next round.
            }
            if is_shown {
                self.show(at, &planned, now, &mut shown);
            }
            let problem = planned.problem.as_ref();
            let has_time = || Instant::now() + PAUSE < hard_stop;
            let is_done = n == 0
                && (!has_failed_lookup(&planned) || !has_time())
                && problem.is_none_or(ListingProblem::is_denial);
            if self.mode == Mode::DryRun || is_over || is_done {
                return Ok(Rest { planned, n_violating: n, done });
            }
            if let Some(problem) = problem {
                let incomplete = "the listing is incomplete, so there may be more";
                at.print(|| warn([&format!("{place}{incomplete}: {problem}")]));
            }
            let ids = to_terminate(&planned);
            if !ids.is_empty() {
                at.print(|| log.open());
                if let Some(home) = asks.take() {
                    let sessions = sessions(ids.len());
                    tokio::select! {
                        answer = is_confirmed(&sessions) => {
                            if !answer? {
                                bail!("no session was terminated");
                            }
                        }
                        () = stopped(at.ssm) => exit(INTERRUPTED), // The read would not return.
                    }
                    // The question may have waited for hours: the time starts now, and everything
                    // is read again.
                    hard_stop = Instant::now() + self.patience;
                    let again = unless_stopped(at.ssm, self.policy.again(home, loaded)).await?;
                    loaded = self.locking(again?);
                    confirmed = Some(ids);
                    continue;
                }
                done = done.and(terminate(at, context, planned).await?);
            }
            is_over = !has_time();
            if !is_over {
                unless_stopped(at.ssm, sleep(PAUSE)).await?;
            }
        }
    }

    /// The policy of the lock: it forbids sessions of the owners. Of the loaded policy it keeps only
    /// the exemptions, unless they are overridden.
    pub(super) fn locking(&self, loaded: Loaded) -> Loaded {
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
    fn show(
        &self,
        at: AccountRegion<'_>,
        planned: &PlannedSweep,
        now: Timestamp,
        shown: &mut Vec<Option<Arc<str>>>,
    ) {
        let lines = self.lines(planned, now, at.named());
        let ids = lines.iter().map(|it| it.row.session_id.clone()).collect();
        if !lines.is_empty() && *shown != ids {
            at.print(|| eprintln!("{}\n", to_table(&lines, &fitting(&lines)).trim_fmt()));
        }
        *shown = ids;
    }

    /// The sessions of the owners, and those whose owner is not known.
    pub(super) fn lines(
        &self,
        planned: &PlannedSweep,
        now: Timestamp,
        scope: Option<&Scope>,
    ) -> Vec<Line> {
        let steps =
            planned.plan.steps.iter().filter(|it| it.verdict.kind() != VerdictKind::Compliant);
        let mut not_evaluated = planned.not_evaluated.clone();
        not_evaluated.retain(|(it, _)| self.may_have(it));
        lines(rows_of_steps(steps, now), &not_evaluated, now, scope)
    }
}

/// Whether there may be more to terminate than is planned: a listing is incomplete, or a look-up failed
/// that may succeed later.
pub(super) fn may_grow(planned: &PlannedSweep) -> bool {
    has_failed_lookup(planned) || !planned.problem.as_ref().is_none_or(ListingProblem::is_denial)
}

/// Whether a session may be exempt only because a look-up of tags failed that may succeed later.
fn has_failed_lookup(planned: &PlannedSweep) -> bool {
    let failed = |it: &Step| it.verdict.unknown() == Some(Unknown::TagsLookupFailed);
    planned.plan.steps.iter().any(failed)
        && !planned
            .tag_problems
            .iter()
            .any(|it| matches!(it.kind, CallErrorKind::Denied | CallErrorKind::UnknownKeys))
}

/// Terminates what one round has planned, verifies it, and shows the outcomes.
async fn terminate(
    at: AccountRegion<'_>,
    context: SweepContext<'_>,
    planned: PlannedSweep,
) -> anyhow::Result<Done> {
    let now = context.now;
    let work = Box::pin(carry_out(context, planned));
    let SweepResult { record, report } = with_progress("terminating", at, work).await;
    let is_violation = |it: &Step| it.verdict.kind() == VerdictKind::Violation;
    let violations = record.outcomes.iter().filter(|it| is_violation(&it.step));
    let lines: Vec<_> = Line::of_rows(rows_of_outcomes(violations, now), at.named()).collect();
    at.print(|| println!("{}\n", to_table(&lines, &fitting(&lines)).trim_fmt()));
    if at.ssm.is_stopped() {
        bail!("interrupted: {}", report.counts());
    }
    // The lock continues even if IAM protects these sessions, because there may be new ones.
    if let Some(failure @ Failure::AllDenied { .. }) = report.failure() {
        at.print(|| warn([&failure.to_string()]));
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
