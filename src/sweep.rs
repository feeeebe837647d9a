//! One sweep: the product, on one screen. The only loop with effects is `act`.

pub mod list;
pub mod source;
pub mod tags;
pub mod terminate;
pub mod verify;

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::{
    aws::{Ssm, Within},
    sinks::log::facts,
    sweep::list::{Census, list},
    sweep::source::{PolicySource, PolicyUnusable},
    sweep::tags::look_up,
    sweep::terminate::act,
    sweep::verify::verify,
};
use reaper_core::{
    evaluate::judge,
    plan::{Action, Hold, Judged, Plan, Step, oldest_first, plan},
    policy::Policy,
    report::{Coverage, Findings, Mode, Outcome, PolicyIdentity, Report, Row, Settled},
    session::{Reading, Record, State},
    target::{Scope, Tags, Unknown},
};

/// What verification needs besides the time for its pages.
const VERIFICATION_MARGIN: Duration = Duration::from_secs(2);

/// What a sweep works with.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// Calls AWS.
    pub ssm: &'a Ssm,
    /// The account and Region, if they are known: without them no tag can be looked up.
    pub scope: Option<&'a Scope>,
    /// Where the policy is.
    pub policy: &'a PolicySource,
    /// Whether sessions are really ended.
    pub mode: Mode,
    /// The instant at which ages are judged.
    pub now: Timestamp,
    /// The time that the sweep has.
    pub within: Within,
    /// Terminations in flight.
    pub concurrency: usize,
}

/// What a sweep has seen, and what it is going to do. Nobody has been ended yet.
#[derive(Debug)]
pub struct Survey {
    /// Every judged session, and what will be done about it.
    pub plan: Plan,
    /// Records that were not judged, and why.
    pub unjudged: Vec<(Record, &'static str)>,
    /// Sessions on their way out already.
    pub ending: Vec<Record>,
    /// How much was seen.
    pub coverage: Coverage,
    /// What is probably not meant in the policy, and what went wrong when tags were looked up.
    pub warnings: Vec<String>,
    policy: PolicyIdentity,
    is_paused: bool,
    n_calls: u64,
    listed_for: Duration,
    took: Duration,
}

/// What came of a sweep.
#[derive(Debug)]
pub struct Swept {
    /// Every session, and what became of it.
    pub findings: Findings,
    /// The same, counted.
    pub report: Report,
}

/// Runs one sweep.
///
/// An incomplete listing is judged and acted on all the same, for a violator seen is a violator:
/// `Report::failure` tells.
///
/// # Errors
/// If there is no policy to judge by. Then nothing was listed, and nobody was ended.
pub async fn sweep(order: Order<'_>) -> Result<Swept, PolicyUnusable> {
    let survey = survey(order).await?;
    Ok(carry_out(order, survey).await)
}

/// The first half of a sweep: reads the policy, lists, judges, plans, and logs every decision.
///
/// # Errors
/// If there is no policy to judge by.
async fn survey(order: Order<'_>) -> Result<Survey, PolicyUnusable> {
    let Order { ssm, policy: source, mode, now, within, .. } = order;
    let began = Instant::now();
    let calls_before = ssm.n_calls();
    info!(mode = mode.name(), policy = %source, "sweep started");

    let (policy, identity) = source.load(ssm, within).await?;
    let warnings = policy.warnings(now);
    for warning in &warnings {
        warn!(warning, "policy warning");
    }
    let mut survey = survey_by(order, &policy, identity).await;
    survey.warnings.splice(..0, warnings);
    survey.n_calls = ssm.n_calls() - calls_before;
    survey.took = began.elapsed();
    Ok(survey)
}

/// The same, by a policy that has been read already, and whose warnings have been told.
pub async fn survey_by(order: Order<'_>, policy: &Policy, identity: PolicyIdentity) -> Survey {
    let Order { ssm, now, within, .. } = order;
    let began = Instant::now();
    let calls_before = ssm.n_calls();
    let Census { pages, problem } = list(ssm, State::Active, listing_time(began, within)).await;
    let n_pages = u32::try_from(pages.len()).unwrap_or(u32::MAX);
    let listed_for = began.elapsed().max(ssm.time_for(n_pages));
    let mut judged = Vec::with_capacity(pages.iter().map(Vec::len).sum());
    let mut unjudged = Vec::new();
    let mut ending = Vec::new();
    for record in pages.into_iter().flatten() {
        match record.read(now) {
            Reading::Session(session) => {
                let tags = Tags::Unknown(Unknown::TagsNotLookedUp);
                let verdict = judge(policy, now, &session, &tags);
                judged.push(Judged { session: Box::new(session), tags, verdict });
            }
            Reading::Unjudged(record, why) => unjudged.push((record, why)),
            Reading::Ending(record) => ending.push(record),
        }
    }

    let acting = acting_time(order, listed_for);
    let warnings = judge_again(order, acting, policy, &mut judged).await;
    let plan = plan(policy, now, judged);
    log_decisions(&plan.steps, &unjudged, &ending, now);
    Survey {
        plan,
        unjudged,
        ending,
        coverage: Coverage { complete: problem.is_none(), problem, pages: n_pages },
        warnings,
        policy: identity,
        is_paused: policy.paused,
        n_calls: ssm.n_calls() - calls_before,
        listed_for,
        took: began.elapsed(),
    }
}

/// The second half: carries the plan out, as far as the mode allows, verifies and reports.
pub async fn carry_out(order: Order<'_>, survey: Survey) -> Swept {
    let Order { ssm, scope, mode, now, .. } = order;
    let began = Instant::now();
    let calls_before = ssm.n_calls();
    let acting = acting_time(order, survey.listed_for);
    let settled = settle(order, acting, &survey.unjudged, survey.plan.steps).await;
    for it in settled.iter().filter(|it| it.outcome != Outcome::Left) {
        log_outcome(it, now);
    }

    let findings = Findings {
        mode,
        scope: scope.cloned(),
        started_at: now,
        duration: survey.took + began.elapsed(),
        policy: survey.policy,
        coverage: survey.coverage,
        calls: survey.n_calls + ssm.n_calls() - calls_before,
        tripped: survey.plan.is_tripped,
        paused: survey.is_paused,
        settled,
        unjudged: survey.unjudged,
        ending: survey.ending,
    };
    let report = Report::new(&findings);
    info!(facts = facts(&report.manifest()), "sweep finished");
    Swept { findings, report }
}

/// A listing that took longer than a third of the time would leave none to act and to verify by.
fn listing_time(began: Instant, within: Within) -> Within {
    let third = within.start_by.saturating_duration_since(began) / 3;
    Within { start_by: began + third, ..within }
}

/// What is left to act in, when verification will need as long as the listing did.
fn acting_time(order: Order<'_>, listed_for: Duration) -> Within {
    let Order { mode, within, .. } = order;
    match mode {
        Mode::DryRun => within,
        Mode::Enforce => {
            let verification = listed_for + VERIFICATION_MARGIN;
            let start_by = within.start_by.checked_sub(verification).unwrap_or_else(Instant::now);
            Within { start_by, end_by: start_by + VERIFICATION_MARGIN }
        }
    }
}

/// Judges a second time where tags decide, and tells what went wrong on the way: only the targets of
/// those sessions are looked up.
///
/// The look-up takes at most half of the time to act in: however slow it is, those whom the tags do
/// not decide about are ended.
async fn judge_again(
    order: Order<'_>,
    acting: Within,
    policy: &Policy,
    judged: &mut [Judged],
) -> Vec<String> {
    let Order { ssm, scope, now, .. } = order;
    let needs_tags = |it: &&Judged| it.verdict.unknown() == Some(Unknown::TagsNotLookedUp);
    let undetermined = judged.iter().filter(needs_tags);
    let targets: BTreeSet<&str> = undetermined.map(|it| &*it.session.target).collect();
    let half = acting.start_by.saturating_duration_since(Instant::now()) / 2;
    let within = Within { start_by: acting.start_by - half, ..acting };
    let (tags, problems) = look_up(ssm, scope, policy, targets, within).await;
    for error in &problems {
        warn!(error, "tag look-up failed");
    }
    for Judged { session, tags: known, verdict } in judged {
        if let (Some(_), Some(tags)) = (verdict.unknown(), tags.get(&*session.target)) {
            known.clone_from(tags);
            *verdict = judge(policy, now, session, tags);
        }
    }
    problems
}

/// Carries the plan out, as far as the mode allows, and finds out what became of it.
async fn settle(
    order: Order<'_>,
    acting: Within,
    unjudged: &[(Record, &str)],
    mut steps: Vec<Step>,
) -> Vec<Settled> {
    let Order { ssm, mode, within, concurrency, .. } = order;
    let unacted = |step: Step, outcome| Settled { step, outcome, last_status: None, error: None };
    let mut settled = Vec::with_capacity(steps.len());
    let to_end: Vec<_> = steps.extract_if(.., |it| it.action == Action::Terminate).collect();
    match mode {
        Mode::DryRun => settled.extend(to_end.into_iter().map(|it| unacted(it, Outcome::Spared))),
        Mode::Enforce => {
            let (tried, untried) = act(ssm, to_end, concurrency, acting).await;
            settled.extend(verify(ssm, tried, unjudged, within).await);
            settled.extend(untried.into_iter().map(|step| {
                let hold = if ssm.is_stopped() { Hold::Interrupted } else { Hold::Deadline };
                unacted(Step { action: Action::Hold(hold), ..step }, Outcome::Held)
            }));
        }
    }
    settled.extend(steps.into_iter().map(|step| {
        let outcome = if step.action == Action::Leave { Outcome::Left } else { Outcome::Held };
        unacted(step, outcome)
    }));
    settled.sort_unstable_by(|a, b| oldest_first(&a.step.session, &b.step.session));
    settled
}

/// One line for every session, before the first is ended.
fn log_decisions(steps: &[Step], unjudged: &[(Record, &str)], ending: &[Record], now: Timestamp) {
    for step in steps {
        info!(facts = facts(&Row::of_step(step, now)), "session judged");
    }
    for (record, why) in unjudged {
        warn!(facts = facts(&Row::of_record(record, now, Some(why))), "session judged");
    }
    for record in ending {
        info!(facts = facts(&Row::of_record(record, now, None)), "session judged");
    }
}

fn log_outcome(settled: &Settled, now: Timestamp) {
    let facts = facts(&Row::of_settled(settled, now));
    let message = settled.outcome.message();
    match settled.outcome {
        Outcome::Denied | Outcome::Failed | Outcome::Throttled | Outcome::Unconfirmed => {
            warn!(facts, "{message}");
        }
        Outcome::AlreadyGone
        | Outcome::Held
        | Outcome::Left
        | Outcome::Spared
        | Outcome::Terminated => info!(facts, "{message}"),
    }
}
