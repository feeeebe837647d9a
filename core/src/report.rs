//! What one sweep did: counts that add up, and every session that is not compliant.

mod mode;
mod outcome;
mod row;

use std::{collections::BTreeMap, ops::AddAssign, sync::Arc};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use self::{
    mode::Mode,
    outcome::{Outcome, OutcomeRecord, Told},
    row::Row,
};
use crate::{
    evaluate::{Verdict, VerdictKind},
    evidence::EvidenceWritten,
    notice::EventsSent,
    plan::{Action, DeferReason},
    policy::PolicyIdentity,
    session::Record,
    target::{Scope, Unknown},
};

/// The most sessions that a reply lists.
const MAX_SESSIONS: usize = 1_000;

/// The most bytes that the sessions of a reply may take: Lambda's replies end at 6 MB.
const MAX_SESSIONS_BYTES: usize = 5_000_000;

/// How much of the account's sessions a sweep saw.
#[derive(Clone, Debug, Serialize)]
pub struct Coverage {
    /// Whether the listing reached its end without a repeated token, a page cap or an error.
    pub complete: bool,
    /// Why not, if not.
    pub problem: Option<String>,
    /// Pages of the listing that was evaluated.
    pub pages: u32,
}

/// Sessions by verdict. `seen` is the sum of the others.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Verdicts {
    /// Records listed, each session once.
    pub seen: usize,
    /// No rule is violated.
    pub compliant: usize,
    /// A rule is or may be violated, and an exemption holds.
    pub exempt: usize,
    /// A rule is violated.
    pub violation: usize,
    /// A rule that only warns is violated.
    pub warning: usize,
    /// It depends on something that is not known.
    pub undetermined: usize,
    /// The record lacks what a verdict needs.
    pub not_evaluated: usize,
}

/// Evaluated sessions by outcome: together as many as were evaluated.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[expect(missing_docs, reason = "each is a variant of `Outcome`, and documented there")]
pub struct Outcomes {
    pub terminated: usize,
    pub already_gone: usize,
    pub unconfirmed: usize,
    pub denied: usize,
    pub throttled: usize,
    pub failed: usize,
    pub would_terminate: usize,
    pub deferred: usize,
    pub no_action: usize,
}

/// What one sweep did. Serialised, it is the function's reply.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Whether sessions were really terminated.
    pub mode: Mode,
    /// The account's 12 digits; absent if the function's ARN has none.
    pub account: Option<String>,
    /// The Region's code; likewise.
    pub region: Option<String>,
    /// The instant at which ages were evaluated.
    pub started_at: Timestamp,
    /// From the start to the last verification, in seconds.
    pub duration_s: f64,
    /// What was evaluated by.
    pub policy: PolicyIdentity,
    /// How much was seen.
    pub coverage: Coverage,
    /// API calls made, every attempt counted.
    pub calls: u64,
    /// Sessions by verdict.
    pub verdicts: Verdicts,
    /// Evaluated sessions by outcome.
    pub outcomes: Outcomes,
    /// Violations by rule. A session that violates several counts for each; a session of which it is
    /// not known which of several it violates counts for none.
    pub rules: BTreeMap<Arc<str>, usize>,
    /// Violators that this sweep had no place or no time for: `deferred` by `limit` or `deadline`.
    pub backlog: usize,
    /// Age of the oldest session in violation, in seconds.
    pub oldest_violation_s: Option<i64>,
    /// Whether the circuit breaker has opened.
    pub circuit_breaker_open: bool,
    /// Whether the policy is paused.
    pub paused: bool,
    /// SHA-256, in hexadecimal, of the ids of the sessions seen, sorted, each followed by a newline.
    pub sessions_sha256: String,
    /// Whether `sessions` lacks some.
    pub truncated: bool,
    /// What became of its events, if there is a bus for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events: Option<EventsSent>,
    /// Every session that is not compliant: violators first, oldest first.
    pub sessions: Vec<Row>,
    /// What became of its evidence, if any is to be written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<EvidenceWritten>,
    #[serde(skip)]
    first_denial: Option<Arc<str>>,
}

/// All that a report is made of.
#[derive(Debug)]
#[expect(missing_docs, reason = "each field becomes the field of `Report` of the same name")]
pub struct SweepRecord {
    pub mode: Mode,
    pub scope: Option<Scope>,
    pub started_at: Timestamp,
    pub duration: std::time::Duration,
    pub policy: PolicyIdentity,
    pub coverage: Coverage,
    pub calls: u64,
    pub circuit_breaker_open: bool,
    pub paused: bool,
    pub outcomes: Vec<OutcomeRecord>,
    pub not_evaluated: Vec<(Record, &'static str)>,
}

/// Why a run as a whole has failed, though it did what it could.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Failure {
    /// AWS allowed no termination.
    #[error("every termination was denied: {error}; {counts}")]
    AllDenied {
        /// What AWS said of the first.
        error: String,
        /// What was done nevertheless.
        counts: String,
    },
    /// Not every session was seen.
    #[error("the listing is incomplete: {problem}; {counts}")]
    ListingIncomplete {
        /// Why.
        problem: String,
        /// What was done nevertheless.
        counts: String,
    },
}

impl Report {
    /// Counts what was found and done.
    #[must_use]
    pub fn new(record: &SweepRecord) -> Self {
        let SweepRecord { outcomes, not_evaluated, .. } = record;
        let now = record.started_at;
        let mut verdicts = Verdicts {
            seen: outcomes.len() + not_evaluated.len(),
            not_evaluated: not_evaluated.len(),
            ..Verdicts::default()
        };
        let mut counts = Outcomes::default();
        let mut rules: BTreeMap<_, usize> = BTreeMap::new();
        let mut count = |violated: &[Arc<str>], unknown: Option<Unknown>| {
            // It is not known which of several rules it violates.
            for rule in violated.iter().filter(|_| unknown.is_none()) {
                *rules.entry(Arc::clone(rule)).or_default() += 1;
            }
        };
        let mut backlog = 0;
        let mut oldest_violation_s = None;
        for it in outcomes {
            match &it.step.verdict {
                Verdict::Compliant => verdicts.compliant += 1,
                Verdict::Exempt { .. } => verdicts.exempt += 1,
                Verdict::Undetermined { .. } => verdicts.undetermined += 1,
                Verdict::Warning { rules: violated, unknown } => {
                    verdicts.warning += 1;
                    count(violated, *unknown);
                }
                Verdict::Violation { rules: violated, unknown } => {
                    verdicts.violation += 1;
                    count(violated, *unknown);
                    let age = it.step.session.age(now).as_secs();
                    oldest_violation_s = oldest_violation_s.max(Some(age));
                }
            }
            let is_backlog =
                matches!(it.step.action, Action::Defer(DeferReason::Limit | DeferReason::Deadline));
            backlog += usize::from(is_backlog);
            *counts.of(it.outcome) += 1;
        }
        let (sessions, truncated) = rows(record);
        let ids = outcomes.iter().map(|it| &*it.step.session.id);
        let ids = ids.chain(not_evaluated.iter().filter_map(|(it, _)| it.id.as_deref()));
        let first_denied = outcomes.iter().find(|it| it.outcome == Outcome::Denied);
        let scope = record.scope.as_ref();
        Self {
            mode: record.mode,
            account: scope.map(|it| it.account.clone()),
            region: scope.map(|it| it.region.clone()),
            started_at: now,
            duration_s: record.duration.as_secs_f64(),
            policy: record.policy.clone(),
            coverage: record.coverage.clone(),
            calls: record.calls,
            verdicts,
            outcomes: counts,
            rules,
            backlog,
            oldest_violation_s,
            circuit_breaker_open: record.circuit_breaker_open,
            paused: record.paused,
            sessions_sha256: hash_of_ids(ids),
            truncated,
            events: None,
            sessions,
            evidence: None,
            first_denial: first_denied.and_then(|it| it.error().cloned()),
        }
    }

    /// Whether the run as a whole has failed. A single session's failure is an outcome instead.
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        let Outcomes { terminated, already_gone, unconfirmed, denied, throttled, failed, .. } =
            self.outcomes;
        let others = [terminated, already_gone, unconfirmed, throttled, failed];
        if let Some(problem) = self.coverage.problem.clone() {
            Some(Failure::ListingIncomplete { problem, counts: self.counts() })
        } else if 0 < denied && others == [0; 5] {
            let error = self.first_denial.as_deref().unwrap_or_default().into();
            Some(Failure::AllDenied { error, counts: self.counts() })
        } else {
            None
        }
    }

    /// The counts in one line, those that are zero left out but for `seen`.
    #[must_use]
    pub fn counts(&self) -> String {
        let Verdicts { seen, compliant, exempt, violation, warning, undetermined, not_evaluated } =
            self.verdicts;
        let all = [
            (compliant, "compliant"),
            (exempt, "exempt"),
            (violation, "in violation"),
            (warning, "with a warning"),
            (undetermined, "undetermined"),
            (not_evaluated, "not evaluated"),
            (self.outcomes.terminated, "terminated"),
            (self.outcomes.already_gone, "already gone"),
            (self.outcomes.unconfirmed, "unconfirmed"),
            (self.outcomes.denied, "denied"),
            (self.outcomes.throttled, "throttled"),
            (self.outcomes.failed, "failed"),
            (self.outcomes.would_terminate, "would be terminated"),
            (self.outcomes.deferred, "deferred"),
        ];
        let others = all.into_iter().filter(|(n, _)| 0 < *n);
        let others = others.map(|(n, name)| format!("{n} {name}"));
        let all: Vec<_> = std::iter::once(format!("{seen} seen")).chain(others).collect();
        all.join(", ")
    }
}

impl AddAssign for Verdicts {
    fn add_assign(&mut self, other: Self) {
        let Self { seen, compliant, exempt, violation, warning, undetermined, not_evaluated } =
            other;
        self.seen += seen;
        self.compliant += compliant;
        self.exempt += exempt;
        self.violation += violation;
        self.warning += warning;
        self.undetermined += undetermined;
        self.not_evaluated += not_evaluated;
    }
}

impl AddAssign for Outcomes {
    fn add_assign(&mut self, other: Self) {
        let Self {
            terminated,
            already_gone,
            unconfirmed,
            denied,
            throttled,
            failed,
            would_terminate,
            deferred,
            no_action,
        } = other;
        self.terminated += terminated;
        self.already_gone += already_gone;
        self.unconfirmed += unconfirmed;
        self.denied += denied;
        self.throttled += throttled;
        self.failed += failed;
        self.would_terminate += would_terminate;
        self.deferred += deferred;
        self.no_action += no_action;
    }
}

impl Outcomes {
    fn of(&mut self, outcome: Outcome) -> &mut usize {
        match outcome {
            Outcome::AlreadyGone => &mut self.already_gone,
            Outcome::Denied => &mut self.denied,
            Outcome::Failed => &mut self.failed,
            Outcome::Deferred => &mut self.deferred,
            Outcome::NoAction => &mut self.no_action,
            Outcome::WouldTerminate => &mut self.would_terminate,
            Outcome::Terminated => &mut self.terminated,
            Outcome::Throttled => &mut self.throttled,
            Outcome::Unconfirmed => &mut self.unconfirmed,
        }
    }
}

/// The sessions of a reply, what matters most first, and whether some had to be left out.
fn rows(record: &SweepRecord) -> (Vec<Row>, bool) {
    let now = record.started_at;
    let of_verdict = |kind: VerdictKind| {
        let outcomes = record.outcomes.iter().filter(move |it| it.step.verdict.kind() == kind);
        outcomes.map(move |it| Row::of_outcome(it, now))
    };
    let not_evaluated = record.not_evaluated.iter().map(|(it, why)| Row::of_record(it, now, why));
    let all = of_verdict(VerdictKind::Violation)
        .chain(of_verdict(VerdictKind::Undetermined))
        .chain(not_evaluated)
        .chain(of_verdict(VerdictKind::Warning))
        .chain(of_verdict(VerdictKind::Exempt));
    let mut rows = Vec::new();
    let mut n_bytes = 0;
    for row in all {
        n_bytes += serde_json::to_string(&row).map_or(0, |it| it.len());
        if rows.len() == MAX_SESSIONS || MAX_SESSIONS_BYTES < n_bytes {
            return (rows, true);
        }
        rows.push(row);
    }
    (rows, false)
}

/// SHA-256, in hexadecimal, of ids, sorted, each followed by a newline.
pub(crate) fn hash_of_ids<'a>(ids: impl Iterator<Item = &'a str>) -> String {
    let mut ids: Vec<&str> = ids.collect();
    ids.sort_unstable();
    let mut hash = Sha256::new();
    for id in ids {
        hash.update(id);
        hash.update("\n");
    }
    hex::encode(hash.finalize())
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;
    use crate::{plan::Step, policy::sha256, session::Session, target::Tags};

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    /// One outcome after the other, the first once, the second twice, and so on; the oldest first.
    pub(crate) fn sweep_record() -> SweepRecord {
        let outcomes = [
            Outcome::Terminated,
            Outcome::AlreadyGone,
            Outcome::Unconfirmed,
            Outcome::Denied,
            Outcome::Throttled,
            Outcome::Failed,
            Outcome::WouldTerminate,
            Outcome::Deferred,
        ];
        let each = outcomes.iter().enumerate().flat_map(|(i, it)| std::iter::repeat_n(*it, i + 1));
        let violation =
            || Verdict::Violation { rules: ["a".into(), "b".into()].into(), unknown: None };
        let violators = each.map(|outcome| (violation(), outcome));
        let deferred_by = [DeferReason::Limit, DeferReason::Deadline];
        let exempt = || Verdict::Exempt { by: "x".into() };
        let unknown = Unknown::TagsNotReturned;
        let undetermined = || Verdict::Undetermined { rules: ["a".into()].into(), unknown };
        let others = (0..10).map(|_| (Verdict::Compliant, Outcome::NoAction));
        let others = others.chain((0..11).map(|_| (exempt(), Outcome::NoAction)));
        let others = others.chain((0..12).map(|_| (undetermined(), Outcome::NoAction)));
        let warning = || Verdict::Warning { rules: ["w".into()].into(), unknown: None };
        let others = others.chain((0..14).map(|_| (warning(), Outcome::NoAction)));
        let outcomes = violators.chain(others).enumerate().map(|(i, (verdict, outcome))| {
            let session = session(&format!("s-{i:03}"), i64::try_from(i).unwrap_or(0));
            let tags = Tags::Unknown(unknown);
            let action = if outcome == Outcome::Deferred {
                Action::Defer(deferred_by[i % 2])
            } else {
                Action::Leave
            };
            let step =
                Step { session: Box::new(session), tags, verdict, excess: Box::default(), action };
            OutcomeRecord::new(step, outcome)
        });
        let record = |id: &str| Record { id: Some(id.into()), ..Record::default() };
        SweepRecord {
            mode: Mode::Enforce,
            scope: Scope::from_arn("arn:aws:lambda:eu-west-1:123456789012:function:f"),
            started_at: NOW,
            duration: std::time::Duration::from_millis(1_500),
            policy: PolicyIdentity::new("p", None, "abc"),
            coverage: Coverage { complete: true, problem: None, pages: 15 },
            calls: 16,
            circuit_breaker_open: true,
            paused: true,
            outcomes: outcomes.collect(),
            not_evaluated: (0..13).map(|i| (record(&format!("u-{i}")), "no Owner")).collect(),
        }
    }

    pub(super) fn session(id: &str, seconds_after: i64) -> Session {
        Session {
            document: Some("d".into()),
            ..Session::new(
                id,
                "o",
                "t",
                Timestamp::from_second(seconds_after - 1_000).expect("an instant"),
            )
        }
    }

    #[test]
    fn counts_add_up() {
        let report = Report::new(&sweep_record());
        let expected = Verdicts {
            seen: 36 + 10 + 11 + 12 + 13 + 14,
            compliant: 10,
            exempt: 11,
            violation: 36,
            warning: 14,
            undetermined: 12,
            not_evaluated: 13,
        };
        assert_eq!(report.verdicts, expected);
        let expected = Outcomes {
            terminated: 1,
            already_gone: 2,
            unconfirmed: 3,
            denied: 4,
            throttled: 5,
            failed: 6,
            would_terminate: 7,
            deferred: 8,
            no_action: 47,
        };
        assert_eq!(report.outcomes, expected);
        assert_eq!(report.rules, [("a".into(), 36), ("b".into(), 36), ("w".into(), 14)].into());
        assert_eq!((report.backlog, report.oldest_violation_s), (8, Some(1_000)));
        assert_eq!(
            report.counts(),
            "96 seen, 10 compliant, 11 exempt, 36 in violation, 14 with a warning, 12 undetermined, 13 not evaluated, \
             1 terminated, 2 already gone, 3 unconfirmed, 4 denied, 5 throttled, \
             6 failed, 7 would be terminated, 8 deferred"
        );
    }

    #[test]
    fn hashes_are_sha_256() {
        let mut record = sweep_record();
        record.outcomes.truncate(2);
        record.not_evaluated.truncate(1);
        record.not_evaluated.push((Record::default(), "no SessionId"));
        record.outcomes.reverse();
        let report = Report::new(&record);
        assert_eq!(report.sessions_sha256, sha256("s-000\ns-001\nu-0\n"));
    }

    /// A reply lists a thousand sessions at most, and stays below Lambda's limit.
    #[test]
    fn reply_is_bounded() {
        let mut record = sweep_record();
        let violator = record.outcomes[0].clone();
        let n_before = record.outcomes.len() - 10 + 13;
        record.outcomes.extend(std::iter::repeat_n(violator.clone(), 1_000 - n_before));
        let report = Report::new(&record);
        assert_eq!((report.sessions.len(), report.truncated), (1_000, false));
        let last = report.sessions.last().map(|it| it.verdict);
        assert_eq!(last, Some(VerdictKind::Exempt), "what matters least comes last");

        record.outcomes.push(violator);
        let report = Report::new(&record);
        assert_eq!((report.sessions.len(), report.truncated), (1_000, true));

        for outcome in &mut record.outcomes {
            outcome.step.session.owner = "\u{0}".repeat(2_000).into(); // Six bytes each in JSON.
        }
        let report = Report::new(&record);
        assert!(report.truncated);
        let n_bytes = serde_json::to_string(&report).expect("JSON").len();
        assert!((4_900_000..6_000_000).contains(&n_bytes), "{n_bytes}");

        // The limit itself is allowed.
        record.outcomes.truncate(1);
        record.not_evaluated.clear();
        let mut with_owner = |length| {
            record.outcomes[0].step.session.owner = "o".repeat(length).into();
            Report::new(&record)
        };
        let n_others = json!(with_owner(0).sessions[0]).to_string().len();
        for (length, n, truncated) in
            [(MAX_SESSIONS_BYTES, 1, false), (MAX_SESSIONS_BYTES + 1, 0, true)]
        {
            let report = with_owner(length - n_others);
            assert_eq!((report.sessions.len(), report.truncated), (n, truncated));
        }
    }

    /// A run fails if it did not see all sessions, or was allowed no termination.
    #[test]
    fn failures() {
        let mut record = sweep_record();
        assert_eq!(Report::new(&record).failure(), None);
        record.coverage.problem = Some("a repeated token".into());
        let failure = Report::new(&record).failure().map(|it| it.to_string());
        let expected = "the listing is incomplete: a repeated token; 96 seen";
        assert!(failure.is_some_and(|it| it.starts_with(expected)));

        record.coverage.problem = None;
        record.outcomes.retain(|it| matches!(it.outcome, Outcome::Denied | Outcome::Deferred));
        let deferred = record.outcomes.iter().find(|it| it.outcome == Outcome::Deferred).cloned();
        let told =
            |error: &str| Some(Box::new(Told { error: Some(error.into()), ..Told::default() }));
        let deferred =
            OutcomeRecord { told: told("none"), ..deferred.expect("one that is deferred") };
        record.outcomes.splice(..0, std::iter::repeat_n(deferred, MAX_SESSIONS)); // It fills the reply.
        for it in record.outcomes.iter_mut().filter(|it| it.outcome == Outcome::Denied) {
            it.told = told("AccessDeniedException: no");
        }
        let failure = Report::new(&record).failure().map(|it| it.to_string());
        let expected = "every termination was denied: AccessDeniedException: no; 1025 seen";
        assert!(failure.is_some_and(|it| it.starts_with(expected)));
        record.outcomes.retain(|it| it.outcome == Outcome::Deferred);
        assert_eq!(Report::new(&record).failure(), None, "nothing was tried");
    }

    /// A run has not failed if it terminated, or may have terminated, a session.
    #[test]
    fn partial_denial() {
        let all = sweep_record();
        for other in [
            Outcome::AlreadyGone,
            Outcome::Failed,
            Outcome::Terminated,
            Outcome::Throttled,
            Outcome::Unconfirmed,
        ] {
            let mut record = sweep_record();
            record.outcomes.retain(|it| it.outcome == Outcome::Denied);
            assert!(Report::new(&record).failure().is_some());
            record.outcomes.extend(all.outcomes.iter().find(|it| it.outcome == other).cloned());
            assert_eq!(Report::new(&record).failure(), None, "{other:?}");
        }
    }
}
