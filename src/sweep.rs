//! One sweep: the product, on one screen. The only loop with effects is `act`.

pub mod clock;
pub mod list;
pub mod source;
pub mod tags;
pub mod terminate;
pub mod verify;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use tokio::time::Instant;

use crate::{
    Budget,
    aws::{CallError, Ssm},
    sinks::Sinks,
    sweep::clock::{ClockError, check_clock},
    sweep::list::{Census, ListingProblem, list_those},
    sweep::source::{PolicySource, PolicyUnusable},
    sweep::tags::look_up,
    sweep::terminate::act,
    sweep::verify::verify,
};
use reaper_core::{
    census::{Evaluated, Evaluator, Unseen, oldest_first},
    evaluate::Verdict,
    plan::{Action, DeferReason, Plan, Step, plan},
    policy::{Policy, PolicyIdentity},
    report::{Coverage, Event, Mode, Outcome, OutcomeRecord, Report, Row, SweepRecord},
    session::{Reading, Record, State},
    target::{Scope, Tags, Unknown},
};

/// What verification needs besides the time for its pages.
const VERIFICATION_MARGIN: Duration = Duration::from_secs(2);

/// What a sweep works with.
#[derive(Clone, Copy, Debug)]
pub struct SweepContext<'a> {
    /// Calls AWS.
    pub ssm: &'a Ssm,
    /// The account and Region, if they are known: without them no tag can be looked up.
    pub scope: Option<&'a Scope>,
    /// Where its events go.
    pub sinks: &'a Sinks,
    /// Where the policy is.
    pub policy: &'a PolicySource,
    /// Whether sessions are really terminated.
    pub mode: Mode,
    /// The instant at which ages are evaluated.
    pub now: Timestamp,
    /// When `now` was read, by the monotonic clock.
    pub read_at: Instant,
    /// The time that the sweep has.
    pub budget: Budget,
    /// Terminations in flight.
    pub concurrency: usize,
    /// What the sessions may take, in bytes: a listing that needs more is incomplete.
    pub memory: usize,
}

/// What a sweep has seen, and what it is going to do. No session has been terminated yet.
#[derive(Debug)]
pub struct PlannedSweep {
    /// Every evaluated session, and what will be done about it.
    pub plan: Plan,
    /// Records that were not evaluated, and why.
    pub not_evaluated: Vec<(Record, &'static str)>,
    /// How much was seen.
    pub coverage: Coverage,
    /// Why the listing is incomplete, if it is: as `coverage` says.
    pub problem: Option<ListingProblem>,
    /// What is probably a mistake in the policy, and what went wrong when tags were looked up.
    pub warnings: Vec<String>,
    /// What went wrong when tags were looked up: also among `warnings`.
    pub tag_problems: Vec<CallError>,
    policy: PolicyIdentity,
    /// The policy, if it counts sessions: they are counted once more before any is terminated.
    counting: Option<Box<Policy>>,
    is_paused: bool,
    n_calls: u64,
    listed_for: Duration,
    took: Duration,
}

/// Why there was no sweep. No session was evaluated, and none terminated.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// The clock is wrong, and so is every age.
    #[error(transparent)]
    Clock(#[from] ClockError),
    /// There is no policy to evaluate by.
    #[error(transparent)]
    Policy(#[from] PolicyUnusable),
}

/// The result of a sweep.
#[derive(Debug)]
pub struct SweepResult {
    /// Every session, and its outcome.
    pub record: SweepRecord,
    /// The same, counted.
    pub report: Report,
}

/// Runs one sweep.
///
/// After an incomplete listing, the sessions that were seen are processed all the same, because a
/// violator is one whatever else there is. `Report::failure` then says so.
///
/// # Errors
/// If there is no policy to evaluate by, or the clock is wrong. Then no session was terminated.
pub async fn sweep(context: SweepContext<'_>) -> Result<SweepResult, SweepError> {
    let planned = plan_sweep(context).await?;
    Ok(carry_out(context, planned).await)
}

/// The first half of a sweep: reads the policy, lists, evaluates, plans, and logs every decision.
///
/// # Errors
/// If there is no policy to evaluate by, or the clock is wrong.
async fn plan_sweep(context: SweepContext<'_>) -> Result<PlannedSweep, SweepError> {
    let SweepContext { ssm, sinks, policy: source, mode, now, budget, .. } = context;
    let began = Instant::now();
    let calls_before = ssm.n_calls();
    sinks.emit(&Event::Started { mode, policy: &source.to_string() });

    let (policy, identity) = source.load(ssm, budget).await?;
    let warnings = policy.warnings(now);
    for warning in &warnings {
        sinks.emit(&Event::PolicyWarning { warning });
    }
    let mut planned = plan_by(context, &policy, identity).await?;
    planned.warnings.splice(..0, warnings);
    planned.n_calls = ssm.n_calls() - calls_before;
    planned.took = began.elapsed();
    Ok(planned)
}

/// The same, by a policy that has been read already, and whose warnings have been logged.
///
/// # Errors
/// If the clock is wrong.
pub async fn plan_by(
    context: SweepContext<'_>,
    policy: &Policy,
    identity: PolicyIdentity,
) -> Result<PlannedSweep, ClockError> {
    let SweepContext { ssm, sinks, scope, now, read_at, budget, memory, .. } = context;
    let began = Instant::now();
    let calls_before = ssm.n_calls();
    // A listing that took longer would leave no time to terminate and to verify.
    let time_to_list = budget.first_of(3);
    let census =
        list_those(ssm, State::Active, time_to_list, memory - to_verify(memory), |_| true).await;
    let n_pages = u32::try_from(census.pages.len()).unwrap_or(u32::MAX);
    let listed_for = began.elapsed().max(ssm.time_for(n_pages));
    check_clock(ssm, &census, now, read_at, time_to_list).await?;
    let Census { pages, problem, .. } = census;
    let mut evaluated = Vec::with_capacity(pages.iter().map(Vec::len).sum());
    let mut not_evaluated = Vec::new();
    let evaluator = Evaluator::new(policy, now).at(scope);
    for record in pages.into_iter().flatten() {
        if budget.hard_stop <= Instant::now() {
            not_evaluated.push((record, "there was no time to evaluate it"));
            continue;
        }
        match record.read(now) {
            Reading::Session(session) => {
                let tags = Tags::Unknown(Unknown::TagsNotLookedUp);
                evaluated.push(evaluator.evaluate(Box::new(session), tags));
            }
            Reading::NotEvaluated(record, why) => not_evaluated.push((record, why)),
        }
    }

    let acting = acting_time(context, listed_for);
    let unseen = Unseen { is_incomplete: problem.is_some(), not_evaluated: &not_evaluated };
    let (tag_problems, late) =
        evaluate_again(context, acting, policy, &evaluator, unseen, &mut evaluated).await;
    if let Some(error) = &late {
        sinks.emit(&Event::TagLookUpFailed { error });
    }
    let plan = plan(policy, now, evaluated);
    emit_decisions(sinks, &plan.steps, &not_evaluated, now);
    Ok(PlannedSweep {
        plan,
        not_evaluated,
        coverage: Coverage {
            complete: problem.is_none(),
            problem: problem.as_ref().map(ToString::to_string),
            pages: n_pages,
        },
        problem,
        warnings: tag_problems.iter().map(ToString::to_string).chain(late).collect(),
        tag_problems,
        policy: identity,
        counting: policy.counts().then(|| Box::new(policy.clone())),
        is_paused: policy.paused,
        n_calls: ssm.n_calls() - calls_before,
        listed_for,
        took: began.elapsed(),
    })
}

/// The second half: carries the plan out, as far as the mode allows, verifies and reports.
pub async fn carry_out(context: SweepContext<'_>, planned: PlannedSweep) -> SweepResult {
    let SweepContext { ssm, sinks, scope, mode, now, .. } = context;
    let began = Instant::now();
    let calls_before = ssm.n_calls();
    let acting = acting_time(context, planned.listed_for);
    let mut steps = planned.plan.steps;
    if let Some(policy) = planned.counting.filter(|_| mode == Mode::Enforce) {
        count_again(context, acting, &policy, &mut steps).await;
    }
    let outcomes = carry_out_plan(context, acting, &planned.not_evaluated, steps).await;
    for it in outcomes.iter().filter(|it| it.outcome != Outcome::NoAction) {
        sinks.emit(&Event::Done(&Row::of_outcome(it, now)));
    }

    let record = SweepRecord {
        mode,
        scope: scope.cloned(),
        started_at: now,
        duration: planned.took + began.elapsed(),
        policy: planned.policy,
        coverage: planned.coverage,
        calls: planned.n_calls + ssm.n_calls() - calls_before,
        circuit_breaker_open: planned.plan.circuit_breaker_open,
        paused: planned.is_paused,
        outcomes,
        not_evaluated: planned.not_evaluated,
    };
    let report = Report::new(&record);
    sinks.emit(&Event::Finished(&report));
    SweepResult { record, report }
}

/// What each verification may take of the memory for sessions, in bytes: the listing has the rest.
fn to_verify(memory: usize) -> usize {
    memory / 8
}

/// What is left to act in, when verification will need as long as the listing did.
fn acting_time(context: SweepContext<'_>, listed_for: Duration) -> Budget {
    let SweepContext { mode, budget, .. } = context;
    match mode {
        Mode::DryRun => budget,
        Mode::Enforce => budget.reserve(listed_for + VERIFICATION_MARGIN, VERIFICATION_MARGIN),
    }
}

/// Counts the sessions that are active at once, evaluates a second time where tags decide, counts
/// again, and returns what went wrong. Only the targets of sessions whose tags decide are looked up.
///
/// The look-up takes at most half of the time to act in, and evaluating half of the rest, oldest
/// session first: however slow they are, violators whose verdict does not depend on tags are
/// terminated.
/// A session for which there was no time stays undetermined.
async fn evaluate_again(
    context: SweepContext<'_>,
    acting: Budget,
    policy: &Policy,
    evaluator: &Evaluator<'_>,
    unseen: Unseen<'_>,
    evaluated: &mut [Evaluated],
) -> (Vec<CallError>, Option<String>) {
    let SweepContext { ssm, sinks, scope, budget, .. } = context;
    evaluated.sort_unstable_by(|a, b| oldest_first(&a.session, &b.session));
    let counted = evaluator.conclude(evaluated, unseen, || Instant::now() < budget.hard_stop);
    let counted: BTreeSet<usize> = counted.into_iter().collect();
    let needs_tags = |(index, it): &(usize, &Evaluated)| {
        it.verdict.unknown() == Some(Unknown::TagsNotLookedUp) || counted.contains(index)
    };
    let needy = evaluated.iter().enumerate().filter(needs_tags);
    let targets: BTreeSet<String> = needy.map(|(_, it)| it.session.target.to_string()).collect();
    let of_targets = targets.iter().map(String::as_str).collect();
    let (tags, problems) = look_up(ssm, scope, policy, of_targets, acting.first_of(2)).await;
    for error in &problems {
        sinks.emit(&Event::TagLookUpFailed { error: &error.to_string() });
    }
    let has_time = !acting.remaining().is_zero();
    let end = if has_time { acting.first_of(2).last_start } else { budget.hard_stop };
    let failed = Tags::Unknown(Unknown::TagsLookupFailed);
    let mut n_late = 0;
    for (index, it) in evaluated.iter_mut().enumerate() {
        let depends = it.verdict.unknown().is_some() || counted.contains(&index);
        if let Some(tags) = tags.get(&*it.session.target).filter(|_| depends) {
            let is_late = *tags != failed && end <= Instant::now();
            n_late += usize::from(is_late);
            it.tags.clone_from(if is_late { &failed } else { tags });
            evaluator.evaluate_again(it); // At once, if the look-up failed.
        }
    }
    if !targets.is_empty() {
        evaluator.conclude(evaluated, unseen, || Instant::now() < end);
    }
    let late = format!("there was no time to evaluate {n_late} sessions with their tags");
    (problems, Some(late).filter(|_| 0 < n_late))
}

/// Lists once more, right before the terminations, and defers every session that would be terminated
/// only because its group has too many, unless it still has: since it was listed, others may have
/// ended, or may have been listed though they had.
async fn count_again(
    context: SweepContext<'_>,
    acting: Budget,
    policy: &Policy,
    steps: &mut [Step],
) {
    let SweepContext { ssm, scope, now, memory, .. } = context;
    let evaluator = Evaluator::new(policy, now).at(scope);
    let is_violation = |it: &Evaluated| matches!(it.verdict, Verdict::Violation { .. });
    let is_in_excess = |it: &&mut Step| {
        let alone = || evaluator.evaluate(it.session.clone(), it.tags.clone());
        it.action == Action::Terminate && !is_violation(&alone())
    };
    let known = steps.iter().map(|it| (Arc::clone(&it.session.target), it.tags.clone()));
    let not_looked_up = Tags::Unknown(Unknown::TagsNotLookedUp);
    let known: HashMap<Arc<str>, Tags> = known.filter(|(_, tags)| *tags != not_looked_up).collect();
    let in_excess: Vec<_> = steps.iter_mut().filter(is_in_excess).collect();
    if in_excess.is_empty() {
        return;
    }
    let budget = acting.first_of(2);
    let of_theirs: HashSet<Arc<str>> = in_excess
        .iter()
        .flat_map(|it| [Arc::clone(&it.session.owner), Arc::clone(&it.session.target)])
        .collect();
    let may_count = |it: &Record| {
        [&it.owner, &it.target].iter().any(|it| it.as_ref().is_none_or(|it| of_theirs.contains(it)))
    };
    let Census { pages, problem, .. } =
        list_those(ssm, State::Active, budget, to_verify(memory), may_count).await;
    let (mut evaluated, mut not_evaluated) = (Vec::new(), Vec::new());
    for record in pages.into_iter().flatten() {
        match record.read(now) {
            Reading::Session(session) => {
                let tags = known.get(&session.target).unwrap_or(&not_looked_up).clone();
                evaluated.push(evaluator.evaluate(Box::new(session), tags));
            }
            Reading::NotEvaluated(record, why) => not_evaluated.push((record, why)),
        }
    }
    let unseen = Unseen { is_incomplete: problem.is_some(), not_evaluated: &not_evaluated };
    evaluator.conclude(&mut evaluated, unseen, || Instant::now() < acting.last_start);
    let listed: HashMap<&str, &Evaluated> =
        evaluated.iter().map(|it| (&*it.session.id, it)).collect();
    for step in in_excess {
        let is_confirmed = match listed.get(&*step.session.id) {
            Some(it) => is_violation(it),
            None => problem.is_none(), // It is gone: AWS says so when it is asked.
        };
        if !is_confirmed {
            step.action = Action::Defer(DeferReason::CountedAgain);
        }
    }
}

/// Carries the plan out, as far as the mode allows, and finds out its outcomes.
async fn carry_out_plan(
    context: SweepContext<'_>,
    acting: Budget,
    not_evaluated: &[(Record, &str)],
    mut steps: Vec<Step>,
) -> Vec<OutcomeRecord> {
    let SweepContext { ssm, sinks, mode, budget, concurrency, memory, .. } = context;
    let unacted =
        |step: Step, outcome| OutcomeRecord { step, outcome, last_status: None, error: None };
    let mut outcomes = Vec::with_capacity(steps.len());
    let mut to_terminate: Vec<_> =
        steps.extract_if(.., |it| it.action == Action::Terminate).collect();
    // However many hang in `Terminating`, they take no time from the others.
    to_terminate.sort_by_key(|it| it.session.is_terminating());
    match mode {
        Mode::DryRun => {
            outcomes
                .extend(to_terminate.into_iter().map(|it| unacted(it, Outcome::WouldTerminate)));
        }
        Mode::Enforce => {
            let (requested, not_started) = act(ssm, to_terminate, concurrency, acting).await;
            outcomes.extend(
                verify(ssm, sinks, requested, not_evaluated, budget, to_verify(memory)).await,
            );
            outcomes.extend(not_started.into_iter().map(|step| {
                let reason =
                    if ssm.is_stopped() { DeferReason::Interrupted } else { DeferReason::Deadline };
                unacted(Step { action: Action::Defer(reason), ..step }, Outcome::Deferred)
            }));
        }
    }
    outcomes.extend(steps.into_iter().map(|step| {
        let outcome =
            if step.action == Action::Leave { Outcome::NoAction } else { Outcome::Deferred };
        unacted(step, outcome)
    }));
    outcomes.sort_unstable_by(|a, b| oldest_first(&a.step.session, &b.step.session));
    outcomes
}

/// The decision on every session, before the first is terminated.
fn emit_decisions(sinks: &Sinks, steps: &[Step], not_evaluated: &[(Record, &str)], now: Timestamp) {
    let of_steps = steps.iter().map(|it| Row::of_step(it, now));
    let of_records = not_evaluated.iter().map(|(it, why)| Row::of_record(it, now, why));
    for row in of_steps.chain(of_records) {
        sinks.emit(&Event::Decided(&row));
    }
}
