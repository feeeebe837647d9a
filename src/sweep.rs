//! One sweep: the product, on one screen. The only loop with effects is `act`.

pub mod clock;
mod context;
pub mod list;
mod look_ups;
mod recount;
pub mod source;
pub mod tags;
mod tell;
pub mod terminate;
pub mod types;
pub mod verify;

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

pub use self::context::SweepContext;
use self::context::to_verify;
use crate::{
    Budget,
    aws::CallError,
    sinks::{Sinks, events::Events, evidence::Recording},
    sweep::clock::{ClockError, check_clock},
    sweep::list::{Census, ListingProblem, list_those},
    sweep::look_ups::evaluate_with_look_ups,
    sweep::recount::count_again,
    sweep::source::PolicyUnusable,
    sweep::tell::warnings,
    sweep::terminate::act,
    sweep::verify::verify,
};
use reaper_core::{
    census::{Evaluator, Unseen, oldest_first},
    event::Event,
    evidence::{EvidenceWritten, Sweep},
    plan::{Action, DeferReason, Plan, Step, plan},
    policy::{Policy, PolicyIdentity},
    report::{Coverage, Mode, Outcome, OutcomeRecord, Report, Row, SweepRecord},
    session::{Reading, Record, State},
    session_type::DocumentTypes,
    target::{Tags, Unknown},
};

/// What verification needs besides the time for its pages.
const VERIFICATION_MARGIN: Duration = Duration::from_secs(2);

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
    /// What is probably a mistake in the policy, and what went wrong when tags and documents were looked
    /// up.
    pub warnings: Vec<String>,
    /// What went wrong when tags were looked up: also among `warnings`.
    pub tag_problems: Vec<CallError>,
    policy: PolicyIdentity,
    /// The policy, and the documents' types, if they are needed again: to count the sessions once more
    /// before any is terminated, or to tell of them.
    again: Option<Box<(Policy, DocumentTypes)>>,
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
    let context = context.until_telling();
    let SweepContext { ssm, sinks, scope, now, read_at, budget, memory, .. } = context;
    let began = Instant::now();
    let calls_before = ssm.n_calls();
    // A listing that took longer would leave no time to terminate and to verify.
    let time_to_list = budget.first_of(3);
    let asks_reason = policy.asks_reason();
    let without_reason = |it: &mut Record| {
        it.reason = it.reason.take().filter(|_| asks_reason); // Nothing else says it.
        true
    };
    let to_list = memory - to_verify(memory);
    let census = list_those(ssm, State::Active, time_to_list, to_list, without_reason).await;
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
    let looked_up =
        evaluate_with_look_ups(context, acting, policy, &evaluator, unseen, &mut evaluated).await;
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
        warnings: looked_up.warnings,
        tag_problems: looked_up.tag_problems,
        policy: identity,
        again: (policy.counts() || sinks.events.is_some())
            .then(|| Box::new((policy.clone(), looked_up.types))),
        is_paused: policy.paused,
        n_calls: ssm.n_calls() - calls_before,
        listed_for,
        took: began.elapsed(),
    })
}

/// The second half: carries the plan out, as far as the mode allows, verifies and reports.
pub async fn carry_out(whole: SweepContext<'_>, mut planned: PlannedSweep) -> SweepResult {
    let context = whole.until_telling();
    let SweepContext { ssm, sinks, scope, mode, now, .. } = context;
    let began = Instant::now();
    let calls_before = ssm.n_calls();
    let recording = record_decisions(context, &mut planned).await;
    let acting = acting_time(context, planned.listed_for);
    let mut steps = planned.plan.steps;
    let again = planned.again.as_deref();
    if let Some((policy, types)) = again.filter(|(it, _)| mode == Mode::Enforce && it.counts()) {
        count_again(context, acting, policy, types, &mut steps).await;
    }
    let mut outcomes = carry_out_plan(context, acting, &planned.not_evaluated, steps).await;
    let took = began.elapsed();
    let warnings = match (again, &sinks.events) {
        (Some((policy, types)), Some(Events { period, .. })) => {
            warnings(whole.until_recording(), policy, types, *period, &mut outcomes).await
        }
        (None, _) | (_, None) => Vec::new(),
    };
    let done = outcomes.iter().filter(|it| it.outcome != Outcome::NoAction);
    sinks.emit_rows(done.map(|it| Row::of_outcome(it, now)), |row| Event::Done(row));
    for it in &warnings {
        sinks.emit(&Event::Due(it));
    }

    let record = SweepRecord {
        mode,
        scope: scope.cloned(),
        started_at: now,
        duration: planned.took + took,
        policy: planned.policy,
        coverage: planned.coverage,
        calls: planned.n_calls + ssm.n_calls() - calls_before,
        circuit_breaker_open: planned.plan.circuit_breaker_open,
        paused: planned.is_paused,
        outcomes,
        not_evaluated: planned.not_evaluated,
    };
    let mut report = Report::new(&record);
    if let Some(recording) = recording {
        report.evidence = Some(record_outcomes(whole, recording, &record, &report).await);
    }
    if let Some(events) = &sinks.events {
        report.events = Some(events.send(&record, &report, &warnings, whole.budget).await);
    }
    sinks.emit(&Event::Finished(&report));
    SweepResult { record, report }
}

/// Writes the decisions where they outlive the log, if they are to be. If they must be and are not, no session
/// is terminated.
async fn record_decisions<'a>(
    context: SweepContext<'a>,
    planned: &mut PlannedSweep,
) -> Option<Recording<'a>> {
    let SweepContext { sinks, scope, mode, now, budget, .. } = context;
    let evidence = sinks.evidence.as_ref()?;
    let PlannedSweep { plan, not_evaluated, coverage, policy, .. } = planned;
    let is_empty = plan.steps.is_empty() && not_evaluated.is_empty();
    if is_empty && coverage.complete && evidence.leaves_out_empty() {
        return None;
    }
    let sweep = Sweep::new(&evidence.invocation, scope, mode, now, policy);
    let recording = evidence.begin(sweep, &plan.steps, not_evaluated, budget).await;
    if let Some(error) = recording.problem() {
        sinks.emit(&Event::EvidenceNotWritten { error });
    }
    if recording.forbids_terminations() {
        for it in plan.steps.iter_mut().filter(|it| it.action == Action::Terminate) {
            it.action = Action::Defer(DeferReason::Evidence);
        }
    }
    Some(recording)
}

/// Writes the outcomes and the manifest, if the decisions were written.
async fn record_outcomes(
    whole: SweepContext<'_>,
    recording: Recording<'_>,
    record: &SweepRecord,
    report: &Report,
) -> EvidenceWritten {
    let is_told = recording.problem().is_some();
    let written = recording.finish(record, report, whole.budget).await;
    if let Some(error) = written.problem.as_deref().filter(|_| !is_told) {
        whole.sinks.emit(&Event::EvidenceNotWritten { error });
    }
    written
}

/// What is left to act in, when verification will need as long as the listing did.
fn acting_time(context: SweepContext<'_>, listed_for: Duration) -> Budget {
    let SweepContext { mode, budget, .. } = context;
    match mode {
        Mode::DryRun => budget,
        Mode::Enforce => budget.reserve(listed_for + VERIFICATION_MARGIN, VERIFICATION_MARGIN),
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
    let mut outcomes = Vec::with_capacity(steps.len());
    let mut to_terminate: Vec<_> =
        steps.extract_if(.., |it| it.action == Action::Terminate).collect();
    // However many hang in `Terminating`, they take no time from the others.
    to_terminate.sort_by_key(|it| it.session.is_terminating());
    match mode {
        Mode::DryRun => {
            outcomes.extend(
                to_terminate.into_iter().map(|it| OutcomeRecord::new(it, Outcome::WouldTerminate)),
            );
        }
        Mode::Enforce => {
            let (requested, not_started) = act(ssm, to_terminate, concurrency, acting).await;
            outcomes.extend(
                verify(ssm, sinks, requested, not_evaluated, budget, to_verify(memory)).await,
            );
            outcomes.extend(not_started.into_iter().map(|step| {
                let reason =
                    if ssm.is_stopped() { DeferReason::Interrupted } else { DeferReason::Deadline };
                OutcomeRecord::new(
                    Step { action: Action::Defer(reason), ..step },
                    Outcome::Deferred,
                )
            }));
        }
    }
    // From the last on, so that the memory of those that are done is given back meanwhile.
    while let Some(step) = steps.pop() {
        let outcome =
            if step.action == Action::Leave { Outcome::NoAction } else { Outcome::Deferred };
        outcomes.push(OutcomeRecord::new(step, outcome));
        if steps.len().is_multiple_of(4_096) {
            steps.shrink_to_fit();
        }
    }
    outcomes.sort_unstable_by(|a, b| oldest_first(&a.step.session, &b.step.session));
    outcomes
}

/// The decision on every session, before the first is terminated.
fn emit_decisions(sinks: &Sinks, steps: &[Step], not_evaluated: &[(Record, &str)], now: Timestamp) {
    let of_steps = steps.iter().map(|it| Row::of_step(it, now));
    let of_records = not_evaluated.iter().map(|(it, why)| Row::of_record(it, now, why));
    sinks.emit_rows(of_steps.chain(of_records), |row| Event::Decided(row));
}
