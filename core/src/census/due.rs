//! When a session will be terminated, as far as it can be foreseen, and when it is warned of.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::{Evaluated, Evaluator};
use crate::{
    evaluate::{Verdict, verdict},
    policy::Policy,
    session::Session,
    target::{Tags, Unknown},
    truth::Truth,
};

/// How far a termination is foreseen.
const HORIZON: SignedDuration = SignedDuration::from_hours(31 * 24);
const MAX_CHANGES: usize = 16;

/// How much later than planned a sweep may begin: EventBridge Scheduler is exact to the minute.
const LATE: SignedDuration = SignedDuration::from_mins(1);

/// A violation that is foreseen.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Due {
    /// From when on: a sweep after it terminates the session.
    pub at: Timestamp,
    /// The rules that are violated then, in policy order.
    pub rules: Box<[Arc<str>]>,
    /// If it is only known that one of `rules` is violated: what is not known of the session.
    pub unknown: Option<Unknown>,
}

/// That a session is warned of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Forewarning {
    /// What is coming.
    pub due: Due,
    /// Which of the policy's `warn_before` it is.
    pub before: SignedDuration,
    /// Whether the sweep before has given the same warning, if there was one when it was planned.
    pub is_repeat: bool,
}

impl Policy {
    /// Whether a sweep now may have to warn of a session: if anything changes, it changes soon enough.
    #[must_use]
    pub fn may_warn(&self, now: Timestamp, session: &Session) -> bool {
        let Some(longest) = self.warn_before.first().filter(|_| !self.paused) else { return false };
        let changes_at = self.next_change(now, session);
        !session.is_terminating() && changes_at.is_some_and(|it| it.duration_since(now) <= *longest)
    }
}

impl Evaluator<'_> {
    /// The first instant from which on a session is a violation, if nothing changes but the time: it
    /// exceeds `max_age`, the `hours` end, or an exemption expires. A sweep after it terminates the
    /// session.
    ///
    /// `None` if the policy is paused, if it is a violation already, if this depends on something
    /// unknown, or if it does not come about within 31 days and 16 changes, such as the ends of hours.
    /// Tags that no verdict needed, and so were not looked up, may turn out in any way.
    #[must_use]
    pub fn due(&self, it: &Evaluated) -> Option<Timestamp> {
        Some(self.foresee(it, HORIZON)?.at)
    }

    /// The warning that a sweep now gives of a session, if it gives one.
    ///
    /// The function remembers nothing, so every sweep between the instant of a warning (`due` less
    /// `before`) and the next one's gives it: none is missed that a sweep could give, whatever sweeps
    /// did not take place, however the schedule or the policy has changed since. Where sweeps are
    /// `period` apart, one of them is the first, and the others are repeats.
    #[must_use]
    pub fn warning(&self, it: &Evaluated, period: SignedDuration) -> Option<Forewarning> {
        let longest = *self.policy.warn_before.first()?;
        if !self.policy.may_warn(self.now, &it.session) {
            return None;
        }
        let due = self.foresee(it, longest)?;
        let left = due.at.duration_since(self.now);
        let before = *self.policy.warn_before.iter().rev().find(|it| left <= **it)?;
        // A session may have started after the instant of its warning.
        let since = before.checked_sub(left)?.min(it.session.age(self.now));
        let is_repeat = period.checked_add(LATE).is_some_and(|it| it <= since);
        Some(Forewarning { due, before, is_repeat })
    }

    fn foresee(&self, it: &Evaluated, within: SignedDuration) -> Option<Due> {
        if matches!(it.verdict, Verdict::Violation { .. }) || self.policy.paused {
            return None;
        }
        let horizon = self.now.checked_add(within).unwrap_or(Timestamp::MAX);
        let mut later = self.clone();
        // Whether it will still have no place then is not known.
        let unknown_then =
            |it: &Truth| if *it == Truth::True { Truth::True } else { Truth::Unknown };
        let counted: Vec<_> = it.are_kept().iter().map(unknown_then).collect();
        // As if they could not be asked for: nothing is assumed of them, and every way is tried.
        let any = Tags::Unknown(Unknown::TagsNoArn);
        let is_open = it.tags == Tags::Unknown(Unknown::TagsNotLookedUp);
        let tags = if is_open { &any } else { &it.tags };
        for _ in 0..MAX_CHANGES {
            later.now = self.policy.next_change(later.now, &it.session)?;
            if horizon < later.now {
                return None;
            }
            let subject = later.subject_with(&it.session, tags).counted(&counted);
            if let Verdict::Violation { rules, unknown } = verdict(later.policy, later.now, subject)
            {
                return Some(Due { at: later.now, rules, unknown });
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;
    use crate::session::Session;

    const START: Timestamp = Timestamp::UNIX_EPOCH;

    fn minutes(n: i64) -> SignedDuration {
        SignedDuration::from_mins(n)
    }

    fn policy(max_age: i64, before: &[i64], more: &str) -> Policy {
        let before: Vec<_> = before.iter().map(|it| format!("{it}m")).collect();
        let text = format!(
            "version: 1\ntag_keys: [env]\nwarn_before: [{}]\n\
             rules: [{{ id: age, when: {{ owner: 'user/*' }}, require: {{ max_age: {max_age}m }} }}]\n{more}",
            before.join(", ")
        );
        Policy::parse(&text).expect("a valid policy")
    }

    fn session() -> Session {
        Session::new("s-1", "arn:aws:iam::123456789012:user/a", "i-0123456789abcdef0", START)
    }

    /// What a sweep says after so many seconds: the warning's minutes, and whether it is a repeat.
    fn warning(policy: &Policy, session: Session, tags: Tags, second: i64) -> Option<(i64, bool)> {
        let evaluator = Evaluator::new(policy, START + SignedDuration::from_secs(second));
        let it = evaluator.evaluate(Box::new(session), tags);
        let warning = evaluator.warning(&it, minutes(5))?;
        Some((warning.before.as_mins(), warning.is_repeat))
    }

    fn untagged() -> Tags {
        Tags::Known(Arc::default())
    }

    /// Of a limit of an hour, 15 and 5 minutes before.
    #[test]
    #[rustfmt::skip]
    fn instants() {
        let policy = policy(60, &[5, 15], "");
        for (second, expected) in [
            (44 * 60,      None),
            (45 * 60,      None),              // A nanosecond too early: the limit itself is allowed.
            (45 * 60 + 1,  Some((15, false))),
            (50 * 60,      Some((15, false))),
            (51 * 60 + 1,  Some((15, true))),  // A sweep of a minute ago was to say so.
            (55 * 60,      Some((15, true))),
            (55 * 60 + 1,  Some((5, false))),
            (60 * 60,      Some((5, false))),
            (60 * 60 + 1,  None),              // It is a violation.
        ] {
            assert_eq!(warning(&policy, session(), untagged(), second), expected, "{second}");
        }
    }

    /// Nothing is claimed that is not known, and no warning is of a session that is not terminated.
    #[test]
    fn no_false_claims() {
        let at = |policy: &Policy, session, tags| warning(policy, session, tags, 50 * 60);
        let tagged = "exemptions: [{ id: e, when: { target_tags: { env: lab } } }]";
        let lab = Tags::Known(Arc::new(BTreeMap::from([("env".into(), "lab".into())])));
        let unknown = Tags::Unknown(Unknown::TagsLookupFailed);
        assert_eq!(at(&policy(60, &[15], tagged), session(), unknown), None);
        assert_eq!(at(&policy(60, &[15], tagged), session(), lab.clone()), None, "exempt");
        assert_eq!(at(&policy(60, &[15], tagged), session(), untagged()), Some((15, false)));
        assert_eq!(at(&policy(60, &[15], "paused: true"), session(), untagged()), None);
        let none = Policy { warn_before: Vec::new(), ..policy(60, &[15], "") };
        assert_eq!(at(&none, session(), untagged()), None);
        let terminating = Session { status: Some("Terminating".into()), ..session() };
        assert_eq!(at(&policy(60, &[15], ""), terminating, untagged()), None);
        let until = |it: &str| {
            format!("exemptions: [{{ id: e, when: {{ owner: user/a }}, until: 1970-01-01T{it}Z }}]")
        };
        // An exemption that ends in time, before or after the limit, does not keep the warning back.
        let ends = |it: &str, at_minute: i64| {
            let policy = policy(60, &[15], &until(it));
            warning(&policy, session(), untagged(), at_minute * 60)
        };
        assert_eq!(ends("02:00:00", 50), None);
        assert_eq!(ends("02:00:00", 110), Some((15, false)));
        assert_eq!(ends("00:30:00", 50), Some((15, false)));
        let only_told = "version: 1\nwarn_before: [15m]\nrules: [{ id: age, when: all, \
                         require: { max_age: 60m }, effect: warn }]";
        let only_told = Policy::parse(only_told).expect("a valid policy");
        assert_eq!(at(&only_told, session(), untagged()), None, "it is never terminated");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]

        /// Whatever sweeps there are, and though the limit is edited on the way: whoever keeps the ids has
        /// each warning for which there was a sweep, once; and where sweeps are on time, one that is no
        /// repeat.
        #[test]
        fn every_warning_that_a_sweep_could_give(
            gaps in prop::collection::vec(1_i64..40 * 60, 1..200),
            is_regular in any::<bool>(),
            max_age in 30_i64..300,
            edited in prop::option::of((30_i64..300, 0_i64..300)),
            before in prop::collection::btree_set(1_i64..90, 1..4),
        ) {
            let before: Vec<_> = before.into_iter().collect(); // Ascending.
            let [first, then] = [max_age, edited.map_or(max_age, |it| it.0)]
                .map(|it| (it, policy(it, &before, "")));
            let mut second = 0;
            let mut given = BTreeMap::new();
            let mut expected = BTreeSet::new();
            let mut fresh = BTreeSet::new();
            for gap in gaps {
                second += if is_regular { 300 } else { gap };
                let is_edited = edited.is_some_and(|(_, at)| at * 60 <= second);
                let (max_age, policy) = if is_edited { &then } else { &first };
                let left = max_age * 60 - second; // And a nanosecond.
                if left < 0 {
                    break; // The sweep terminates it.
                }
                // By arithmetic alone: the least that has been reached.
                let now = before.iter().find(|it| left < **it * 60);
                if let Some(now) = now {
                    expected.insert((*max_age, *now));
                }
                let told = warning(policy, session(), untagged(), second);
                prop_assert_eq!(told.map(|it| it.0), now.copied());
                if let Some((before, is_repeat)) = told {
                    *given.entry((*max_age, before)).or_insert(0) += 1;
                    if !is_repeat {
                        fresh.insert((*max_age, before));
                    }
                }
            }
            let ids: BTreeSet<_> = given.keys().copied().collect();
            prop_assert_eq!(&ids, &expected);
            if is_regular && edited.is_none() {
                prop_assert_eq!(&fresh, &expected, "each once as new");
            }
        }
    }
}
