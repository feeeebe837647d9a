//! When the verdict on a session can change: at few instants, which can be computed.

use jiff::{SignedDuration, Timestamp};

use super::model::{Policy, Requirement};
use crate::session::Session;

impl Policy {
    /// What the policy's tests of time say of a session at an instant. Two instants at which all of
    /// them say the same have the same verdict.
    #[must_use]
    pub fn time_tests(&self, now: Timestamp, session: &Session) -> Vec<bool> {
        let required = self.requirements().filter_map(|it| match it {
            Requirement::Hours(any) => Some(any.iter().any(|it| it.contains(now))),
            Requirement::MaxAge(limit) => Some(session.age(now) <= *limit),
            Requirement::Concurrent(_) | Requirement::Test(_) => None,
        });
        let untils = self.exemptions.iter().filter_map(|it| it.until);
        required.chain(untils.map(|until| now < until)).collect()
    }

    /// The first instant after this one at which a test of time may change: a session exceeds
    /// `max_age`, hours begin or end (or may), or an exemption reaches its `until`. `None`: none does.
    #[must_use]
    pub fn next_change(&self, after: Timestamp, session: &Session) -> Option<Timestamp> {
        let required = self.requirements().flat_map(|it| match it {
            Requirement::Hours(any) => any.iter().filter_map(|it| it.next_edge(after)).collect(),
            Requirement::MaxAge(limit) => {
                // The limit itself is allowed.
                let over = limit.checked_add(SignedDuration::from_nanos(1));
                let at = over.and_then(|over| session.started_at.checked_add(over).ok());
                at.into_iter().collect()
            }
            Requirement::Concurrent(_) | Requirement::Test(_) => Vec::new(),
        });
        let untils = self.exemptions.iter().filter_map(|it| it.until);
        required.chain(untils).filter(|it| after < *it).min()
    }

    fn requirements(&self) -> impl Iterator<Item = &Requirement> {
        self.rules.iter().flat_map(|it| it.demand.requirements())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use crate::{
        evaluate::evaluate,
        policy::Policy,
        session::Session,
        target::{Tags, Unknown},
    };
    use jiff::{SignedDuration, Timestamp};

    fn session(started_at: Timestamp) -> Session {
        Session::new(
            "x-1",
            "arn:aws:sts::123456789012:assumed-role/dev/x",
            "i-0123456789abcdef0",
            started_at,
        )
    }

    const HOURS: [&str; 7] = [
        "Mon-Fri 08:00-18:30 Europe/Berlin",
        "Sat 22:00-06:00 UTC",
        "Sun 02:00-03:00 Europe/Berlin", // Skipped once a year, and repeated once.
        "Sun 02:30-01:30 America/New_York",
        "Mon-Sun 00:00-24:00 Asia/Kolkata",
        "Sat,Sun 23:30-00:30 America/Havana", // Its clocks change at midnight.
        "Sun 01:45-02:15 Australia/Lord_Howe", // By half an hour.
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        /// Any instant has the verdict of the last change before it: nothing changes in between.
        /// The instants are around those at which Europe, America and Australia change their clocks.
        #[test]
        fn verdict_is_that_of_the_last_change(
            start in prop::sample::select(vec![
                "2026-03-06T00:00:00Z", "2026-03-27T00:00:00Z", "2026-04-03T00:00:00Z",
                "2026-10-02T00:00:00Z", "2026-10-23T00:00:00Z", "2026-10-30T00:00:00Z",
            ]),
            hours in prop::sample::subsequence(HOURS.to_vec(), 1..=3),
            max_age in 1_i64..5 * 24 * 60,
            until in 0_i64..5 * 24 * 60,
            is_known in any::<bool>(),
            samples in prop::collection::vec(0_i64..5 * 24 * 3_600, 1..20),
        ) {
            let start: Timestamp = start.parse().expect("an instant");
            let text = format!(
                "version: 1\ntag_keys: [env]\nrules:\n\
                 - {{ id: age, when: {{ target_tags: {{ env: prod }} }}, require: {{ max_age: {max_age}m }} }}\n\
                 - {{ id: rest, when: all, unless: {{ target_tags: {{ env: prod }} }}, require: {{ hours: {hours:?} }} }}\n\
                 exemptions:\n\
                 - {{ id: e, when: {{ owner: role/dev }}, until: {} }}\n",
                start + SignedDuration::from_mins(until),
            );
            let policy = Policy::parse(&text).expect("a valid policy");
            let session = session(start);
            let tags = if is_known {
                Tags::Known(Arc::default())
            } else {
                Tags::Unknown(Unknown::TagsNotReturned)
            };
            let mut changes = vec![start];
            let end = start + SignedDuration::from_hours(5 * 24);
            while let Some(next) = policy.next_change(*changes.last().expect("one"), &session) {
                if end < next { break }
                changes.push(next);
            }
            prop_assert!(changes.len() < 5 * 40, "{} changes in five days", changes.len());
            for sample in samples {
                let at = start + SignedDuration::from_secs(sample);
                let last = changes.iter().rfind(|it| **it <= at).expect("the start");
                let [there, here] = [*last, at].map(|at| evaluate(&policy, at, &session, &tags));
                prop_assert_eq!(there, here, "{} and {}", last, at);
                prop_assert_eq!(
                    policy.time_tests(*last, &session),
                    policy.time_tests(at, &session)
                );
            }
        }
    }
}
