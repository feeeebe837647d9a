//! From verdicts to actions: order and limits.

use jiff::Timestamp;
use serde::Serialize;

use crate::{
    census::{Evaluated, Excess, oldest_first},
    evaluate::Verdict,
    policy::Policy,
    session::Session,
    target::Tags,
};

/// What the plan does about one session.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(into = "&str")]
pub enum Action {
    /// It is a violator, and it is not terminated by this sweep.
    Defer(DeferReason),
    /// It is no violator.
    Leave,
    /// It is terminated, unless the sweep is a dry run.
    Terminate,
}

/// Why a violator is not terminated by this sweep.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(into = "&str")]
pub enum DeferReason {
    /// Its group had too many sessions, and no longer has, or it is no longer known.
    CountedAgain,
    /// The circuit breaker has opened: too many violators for so few compliant sessions.
    CircuitBreaker,
    /// The sweep ran out of time.
    Deadline,
    /// The decision could not be recorded, and has to be before the termination.
    Evidence,
    /// The sweep was interrupted.
    Interrupted,
    /// There are more violators than `max_terminations`, and it was the turn of others.
    Limit,
    /// It was not in the plan that an operator confirmed.
    NotConfirmed,
    /// The policy is paused.
    Paused,
}

impl Action {
    /// The action's name, as logs and reports have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Defer(_) => "defer",
            Self::Leave => "leave",
            Self::Terminate => "terminate",
        }
    }

    /// Why the session is deferred, if it is.
    #[must_use]
    pub fn deferred_by(self) -> Option<DeferReason> {
        match self {
            Self::Defer(reason) => Some(reason),
            Self::Leave | Self::Terminate => None,
        }
    }
}

impl From<Action> for &str {
    fn from(action: Action) -> Self {
        action.name()
    }
}

impl DeferReason {
    /// The reason's name, as logs and reports have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::CircuitBreaker => "circuit_breaker",
            Self::CountedAgain => "counted_again",
            Self::Deadline => "deadline",
            Self::Evidence => "evidence",
            Self::Interrupted => "interrupted",
            Self::Limit => "limit",
            Self::NotConfirmed => "not_confirmed",
            Self::Paused => "paused",
        }
    }
}

impl From<DeferReason> for &str {
    fn from(reason: DeferReason) -> Self {
        reason.name()
    }
}

/// One session, what the policy says of it, and what is done about it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Step {
    /// Who, where, since when.
    pub session: Box<Session>,
    /// What is known of its target's tags.
    pub tags: Tags,
    /// What the policy says.
    pub verdict: Verdict,
    /// The groups that have, or may have, no place for it.
    pub excess: Box<[Excess]>,
    /// What is done about it.
    pub action: Action,
}

/// What a sweep is going to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Plan {
    /// Every evaluated session, oldest first.
    pub steps: Vec<Step>,
    /// Whether the circuit breaker has opened.
    pub circuit_breaker_open: bool,
}

/// Decides which violators are terminated now and which are deferred.
///
/// The order in which the sessions were listed makes no difference: violators are terminated oldest
/// first, and of two that started in the same instant the one with the smaller id. Where there are
/// more than the limit allows, see `is_due`.
/// Reasons to defer, strongest first: paused, circuit breaker, limit.
///
/// A violator that is `Terminating` was terminated before. AWS is asked again, and it takes no place
/// in the limit: sessions that hang there would keep the others waiting. Nor does it count for the
/// circuit breaker, which they could keep open.
#[must_use]
pub fn plan(policy: &Policy, now: Timestamp, evaluated: Vec<Evaluated>) -> Plan {
    let is_violator: fn(&Verdict) -> bool = |it| matches!(it, Verdict::Violation { .. });
    let count = |is_it: fn(&Verdict) -> bool| {
        evaluated.iter().filter(|it| is_it(&it.verdict) && !it.session.is_terminating()).count()
    };
    let n_violators = count(is_violator);
    let n_compliant = count(|it| matches!(it, Verdict::Compliant | Verdict::Warning { .. }));
    let circuit_breaker_open = circuit_breaker_open(policy, n_violators, n_compliant);

    let mut evaluated = evaluated;
    evaluated.sort_unstable_by(|a, b| oldest_first(&a.session, &b.session));

    let limit = policy.limits.max_terminations as usize;
    let mut places = 0..n_violators;
    let steps =
        evaluated.into_iter().map(|Evaluated { session, tags, verdict, excess, .. }| {
            let action = if !is_violator(&verdict) {
                Action::Leave
            } else if policy.paused {
                Action::Defer(DeferReason::Paused)
            } else if circuit_breaker_open {
                Action::Defer(DeferReason::CircuitBreaker)
            } else if session.is_terminating()
                || places.next().is_some_and(|it| is_due(it, n_violators, limit, now))
            {
                Action::Terminate
            } else {
                Action::Defer(DeferReason::Limit)
            };
            Step { session, tags, verdict, excess, action }
        });
    Plan { steps: steps.collect(), circuit_breaker_open }
}

/// Whether the violator at this place, oldest first, is among those terminated within the limit.
///
/// A session that AWS does not terminate stays the oldest, and no sweep knows the results of the one
/// before. So half of the limit is for the oldest, and the other half for a run of the others, taken
/// as a circle. The run begins elsewhere in each minute: strides of the golden ratio leave no session
/// out for long.
fn is_due(place: usize, n_violators: usize, limit: usize, now: Timestamp) -> bool {
    /// The golden ratio's fraction, in parts of 2³².
    const STRIDE: i64 = 2_654_435_769;
    let limit = limit.min(n_violators);
    let n_oldest = limit / 2;
    let Some(place) = place.checked_sub(n_oldest) else { return true };
    let n_others = n_violators - n_oldest;
    let minute = now.as_second().div_euclid(60);
    let part = u128::try_from(minute.wrapping_mul(STRIDE).rem_euclid(1 << 32)).unwrap_or_default();
    let begin = usize::try_from((part * n_others as u128) >> 32).unwrap_or_default();
    (place + n_others - begin) % n_others < limit - n_oldest
}

/// Exempt and undetermined sessions count on neither side: no sweep would terminate them, however
/// wrong the policy is, so they say nothing of it.
fn circuit_breaker_open(policy: &Policy, n_violators: usize, n_compliant: usize) -> bool {
    let min_violations = policy.limits.min_violations as usize;
    let percent = policy.limits.max_percent as usize;
    min_violations <= n_violators && percent * (n_compliant + n_violators) < 100 * n_violators
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::target::Unknown;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn policy(max: u32, percent: u32, min_violations: u32, paused: bool) -> Policy {
        let mut policy = Policy::parse("version: 1").expect("a valid policy");
        policy.limits.max_terminations = max;
        policy.limits.max_percent = percent;
        policy.limits.min_violations = min_violations;
        policy.paused = paused;
        policy
    }

    fn session(second: i64, id: usize, is_violator: bool) -> Evaluated {
        let session = Session::new(
            format!("s-{id}"),
            "",
            "",
            Timestamp::from_second(second).expect("an instant"),
        );
        let violation = Verdict::Violation { rules: ["r".into()].into(), unknown: None };
        let verdict = if is_violator { violation } else { Verdict::Compliant };
        Evaluated::alone(Box::new(session), Tags::Known(Arc::default()), verdict)
    }

    #[test]
    fn every_action_says_what_and_why() {
        for (action, name, by) in [
            (Action::Leave, "leave", None),
            (Action::Terminate, "terminate", None),
            (Action::Defer(DeferReason::CircuitBreaker), "defer", Some("circuit_breaker")),
            (Action::Defer(DeferReason::CountedAgain), "defer", Some("counted_again")),
            (Action::Defer(DeferReason::Deadline), "defer", Some("deadline")),
            (Action::Defer(DeferReason::Evidence), "defer", Some("evidence")),
            (Action::Defer(DeferReason::Interrupted), "defer", Some("interrupted")),
            (Action::Defer(DeferReason::Limit), "defer", Some("limit")),
            (Action::Defer(DeferReason::NotConfirmed), "defer", Some("not_confirmed")),
            (Action::Defer(DeferReason::Paused), "defer", Some("paused")),
        ] {
            assert_eq!((action.name(), action.deferred_by().map(DeferReason::name)), (name, by));
        }
    }

    #[test]
    #[rustfmt::skip]
    fn limits() {
        let table = [
            // violators, others, max, percent, min_violations, paused: terminate, circuit breaker, limit, paused
            (3, 7,   50, 50,  10, false, [3, 0, 0, 0]),
            (3, 7,   2,  50,  10, false, [2, 0, 1, 0]),
            (10, 10, 50, 50,  10, false, [10, 0, 0, 0]), // Half is not more than half.
            (10, 9,  50, 50,  10, false, [0, 10, 0, 0]),
            (9, 0,   50, 50,  10, false, [9, 0, 0, 0]),  // Fewer than `min_violations`.
            (10, 0,  50, 100, 10, false, [10, 0, 0, 0]), // 100 % never opens.
            (1, 99,  50, 0,   1,  false, [0, 1, 0, 0]),
            (0, 9,   50, 0,   1,  false, [0, 0, 0, 0]),
            (20, 0,  5,  50,  10, true,  [0, 0, 0, 20]), // Paused outranks the circuit breaker.
            (20, 0,  5,  50,  10, false, [0, 20, 0, 0]), // The circuit breaker outranks the limit.
        ];
        for (violators, others, max, percent, min_violations, paused, expected) in table {
            let evaluated = (0..violators + others).map(|it| session(0, it, it < violators)).collect();
            let plan = plan(&policy(max, percent, min_violations, paused), NOW, evaluated);
            let count = |action| plan.steps.iter().filter(|it| it.action == action).count();
            let actual = [
                count(Action::Terminate),
                count(Action::Defer(DeferReason::CircuitBreaker)),
                count(Action::Defer(DeferReason::Limit)),
                count(Action::Defer(DeferReason::Paused)),
            ];
            assert_eq!(actual, expected, "{violators} of {}", violators + others);
            assert_eq!(plan.steps.len(), violators + others);
        }
    }

    #[test]
    #[rustfmt::skip]
    fn whose_turn_it_is() {
        let table = [
            // violators, limit, minute: which are terminated, oldest first
            (3, 3, 1, "xxx"),
            (4, 3, 0, "xxx."),
            (4, 3, 1, "x.xx"),       // Of three, from 0.618 × 3 on.
            (4, 3, 2, "xxx."),       // From 0.236 × 3 on.
            (4, 3, -1, "x.xx"),      // Before 1970: from 0.381 × 3 on.
            (4, 2, 4, "x.x."),       // 0.472
            (4, 2, 5, "xx.."),       // 0.090
            (10, 4, 1, "xx....xx.."),
            (10, 4, 7, "xx..xx...."),
            (10, 4, 8, "xxx......x"), // Round in a circle.
            (4, 1, 1, "..x."),
            (4, 1, 0, "x..."),
            (4, 0, 0, "...."),
        ];
        for (n, limit, minute, expected) in table {
            let now = Timestamp::from_second(minute * 60 + 59).expect("an instant");
            let evaluated = (0..n).map(|it| session(0, it, true)).collect();
            let plan = plan(&policy(limit, 100, 1, false), now, evaluated);
            let is_terminated = |it: &Step| it.action == Action::Terminate;
            let actual: String = plan.steps.iter().map(|it| if is_terminated(it) { 'x' } else { '.' }).collect();
            assert_eq!(actual, expected, "{limit} of {n} in minute {minute}");
        }
    }

    /// However often sweeps take place, no violator waits longer than seven times as many sweeps as
    /// all need in turn.
    #[test]
    fn every_turn_comes() {
        for (n_violators, limit) in
            [(2_usize, 1_usize), (7, 1), (51, 50), (200, 50), (500, 3), (1_000, 50)]
        {
            for minutes in [1, 2, 5, 10, 15, 30, 60] {
                let turns = (n_violators - limit / 2).div_ceil(limit.div_ceil(2));
                let mut waits = vec![0; n_violators];
                for sweep in 0..10 * turns {
                    let minute = 29_000_000 + i64::try_from(sweep).expect("few") * minutes;
                    let now = Timestamp::from_second(minute * 60).expect("an instant");
                    for (place, waited) in waits.iter_mut().enumerate() {
                        let is_due = is_due(place, n_violators, limit, now);
                        *waited = if is_due { 0 } else { *waited + 1 };
                        assert!(
                            *waited <= 7 * turns,
                            "{place} of {n_violators} every {minutes} min"
                        );
                    }
                }
            }
        }
    }

    /// Exempt and undetermined sessions dilute no share.
    #[test]
    #[rustfmt::skip]
    fn circuit_breaker_share() {
        let table = [
            // violators, compliant, exempt, undetermined: open
            (10, 10, 0,     0,  false), // Half is not more than half.
            (11, 10, 0,     0,  true),
            (11, 10, 1_000, 0,  true),
            (11, 10, 0,     40, true),
            (11, 11, 1_000, 40, false),
            (10, 0,  1_000, 0,  true),
            (9,  0,  0,     0,  false), // Fewer than `min_violations`.
        ];
        for (violators, compliant, exempt, undetermined, open) in table {
            let exempted = Verdict::Exempt { by: "e".into() };
            let unknown = Unknown::TagsNotReturned;
            let open_verdict = Verdict::Undetermined { rules: ["r".into()].into(), unknown };
            let ids = 0..violators + compliant + exempt + undetermined;
            let evaluated = ids.map(|id| {
                let mut it = session(0, id, id < violators);
                if violators + compliant <= id {
                    let is_exempt = id < violators + compliant + exempt;
                    it.verdict = if is_exempt { exempted.clone() } else { open_verdict.clone() };
                }
                it
            });
            let plan = plan(&policy(50, 50, 10, false), NOW, evaluated.collect());
            let scene = (violators, compliant, exempt, undetermined);
            assert_eq!(plan.circuit_breaker_open, open, "{scene:?}");
        }
    }

    fn terminating(mut it: Evaluated) -> Evaluated {
        it.session.status = Some("Terminating".into());
        it
    }

    /// However many hang in `Terminating`, they are asked again, and the others lose no place.
    #[test]
    fn terminating_takes_no_place() {
        let hanging = (0..100).map(|id| terminating(session(0, id, true)));
        let others = (100..110).map(|id| session(1, id, true));
        let plan = plan(&policy(4, 100, 1, false), NOW, hanging.chain(others).collect());
        let n = |is_hanging, action| {
            let is_it =
                |it: &&Step| it.session.is_terminating() == is_hanging && it.action == action;
            plan.steps.iter().filter(is_it).count()
        };
        assert_eq!(n(true, Action::Terminate), 100);
        assert_eq!(n(false, Action::Terminate), 4);
        assert_eq!(n(false, Action::Defer(DeferReason::Limit)), 6);
    }

    /// Sessions that hang in `Terminating` neither keep the circuit breaker open nor closed.
    #[test]
    fn terminating_and_circuit_breaker() {
        for (hanging_violators, hanging_compliant, violators, compliant, open) in
            [(100, 0, 10, 10, false), (0, 100, 11, 10, true), (100, 0, 0, 10, false)]
        {
            let hanging = (0..hanging_violators + hanging_compliant)
                .map(|id| terminating(session(0, id, id < hanging_violators)));
            let others = (0..violators + compliant).map(|id| session(1, id, id < violators));
            let evaluated: Vec<_> = hanging.chain(others).collect();
            let plan = plan(&policy(50, 50, 10, false), NOW, evaluated);
            assert_eq!(plan.circuit_breaker_open, open, "{hanging_violators} {violators}");
        }
    }

    /// The open circuit breaker is reported even where `paused` outranks it.
    #[test]
    fn circuit_breaker_beside_paused() {
        let evaluated = (0..10).map(|it| session(0, it, true)).collect();
        assert!(plan(&policy(50, 50, 10, true), NOW, evaluated).circuit_breaker_open);
    }

    proptest! {
        /// The limit holds, and half of it is for the oldest, in whatever order the sessions were listed.
        #[test]
        fn limit_is_order_independent(
            sessions in prop::collection::vec((0_i64..20, any::<bool>()), 0..40),
            max in 0_u32..10,
            minute in any::<i32>(),
            seed in any::<prop::sample::Index>(),
        ) {
            let policy = policy(max, 100, 1, false);
            let evaluated: Vec<_> =
                sessions.iter().enumerate().map(|(i, it)| session(it.0, i, it.1)).collect();
            let mut shuffled = evaluated.clone();
            shuffled.reverse();
            if !shuffled.is_empty() {
                let middle = seed.index(shuffled.len());
                shuffled.rotate_left(middle);
            }
            let now = Timestamp::from_second(i64::from(minute) * 60).expect("an instant");
            let plan_of_listed = plan(&policy, now, evaluated);
            prop_assert_eq!(&plan_of_listed, &plan(&policy, now, shuffled));

            let violators: Vec<_> =
                plan_of_listed.steps.iter().filter(|it| it.action != Action::Leave).collect();
            let is_terminated = |it: &&&Step| it.action == Action::Terminate;
            let (max, n_terminated) = (max as usize, violators.iter().filter(is_terminated).count());
            prop_assert_eq!(n_terminated, violators.len().min(max));
            prop_assert!(violators.iter().take(max / 2).all(|it| is_terminated(&it)));
            let is_deferred = |it: &&&Step| it.action == Action::Defer(DeferReason::Limit);
            prop_assert_eq!(violators.iter().filter(is_deferred).count(), violators.len() - n_terminated);
            prop_assert!(violators.is_sorted_by_key(|it| it.session.started_at));
        }
    }
}
