//! What happens in a sweep, in the order in which it happens: log lines and metrics are made of it.

use jiff::{SignedDuration, Timestamp};
use serde::{Serialize, Serializer};

use crate::{
    evaluate::VerdictKind,
    notice::ExpiryWarning,
    organization::{RunSummary, Status},
    report::{Mode, Outcome, Outcomes, Report, Row, Verdicts},
};

/// One fact of a sweep. Serialised, it is the fields of the log line.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Event<'a> {
    /// A sweep has started.
    Started {
        /// Whether sessions are really terminated.
        mode: Mode,
        /// What the policy is read from.
        policy: &'a str,
    },
    /// Something in the policy is probably a mistake.
    PolicyWarning {
        /// What.
        warning: &'a str,
    },
    /// The tags of some targets are not known.
    TagLookUpFailed {
        /// Why.
        error: &'a str,
    },
    /// The types of some documents are not known.
    DocumentLookUpFailed {
        /// Why.
        error: &'a str,
    },
    /// What is going to be done about a session. All decisions come before the first outcome.
    Decided(&'a Row),
    /// What has been done about a session.
    Done(&'a Row),
    /// A session will be terminated, unless it ends before.
    Due(&'a ExpiryWarning),
    /// What was decided or done is not recorded in the bucket of evidence.
    EvidenceNotWritten {
        /// Why.
        error: &'a str,
    },
    /// It is not proved which sessions are gone.
    VerificationFailed {
        /// Why.
        error: &'a str,
    },
    /// The sweep has finished.
    #[serde(serialize_with = "manifest")]
    Finished(&'a Report),
    /// An account-Region of a run was not swept, or not as a whole.
    NotSwept {
        /// What became of it.
        status: Status,
        /// Why.
        error: &'a str,
    },
    /// A run over many accounts and Regions has finished.
    RunFinished(&'a RunSummary),
    /// Another delivery of the same batch has written its report first.
    BatchReportExists {
        /// The number of the batch.
        batch: usize,
    },
    /// The lease of a run is still held after the run's end, until it expires.
    LeaseNotReleased {
        /// Why.
        error: &'a str,
    },
    /// The run as a whole has failed.
    Failed {
        /// Why.
        error: &'a str,
        /// The `errorType` of the invocation.
        error_type: &'a str,
    },
    /// The metrics of the sweep are lost.
    MetricsNotWritten {
        /// Why.
        error: &'a str,
    },
}

/// How much an event matters, what matters most first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Severity {
    /// No sweep took place, or its record is lost.
    Error,
    /// One thing went wrong.
    Warning,
    /// It is as it should be.
    Info,
}

impl Severity {
    /// The level of the log line.
    #[must_use]
    pub fn level(self) -> &'static str {
        match self {
            Self::Error => "ERROR",
            Self::Warning => "WARN",
            Self::Info => "INFO",
        }
    }
}

/// Which decisions on compliant sessions have log lines. Every decision on another session has one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CompliantLines {
    /// All, in every sweep.
    All,
    /// Those on a session that is not older than two `period`s and a minute, to which the scheduler is exact.
    /// So it has a line in the first sweep that sees it, also if the one before has failed.
    New {
        /// From one planned sweep to the next.
        period: SignedDuration,
    },
    /// None.
    None,
}

impl CompliantLines {
    /// Whether the decision on a session has a line.
    #[must_use]
    pub fn has(self, row: &Row) -> bool {
        if row.verdict != VerdictKind::Compliant {
            return true;
        }
        match self {
            Self::All => true,
            Self::New { period } => row.age_s.is_none_or(|it| it <= 2 * period.as_secs() + 60),
            Self::None => false,
        }
    }
}

impl Event<'_> {
    /// What happened, constant, so that it can be searched for.
    #[must_use]
    pub fn message(&self) -> &'static str {
        match self {
            Self::Started { .. } => "sweep started",
            Self::PolicyWarning { .. } => "policy warning",
            Self::TagLookUpFailed { .. } => "tag look-up failed",
            Self::DocumentLookUpFailed { .. } => "document look-up failed",
            Self::Decided(_) => "session evaluated",
            Self::Done(row) => match row.outcome {
                Some(Outcome::AlreadyGone) => "session already gone",
                Some(Outcome::Denied) => "session denied",
                Some(Outcome::Failed) => "session failed",
                Some(Outcome::Deferred) => "session deferred",
                Some(Outcome::WouldTerminate) => "session would terminate",
                Some(Outcome::Terminated) => "session terminated",
                Some(Outcome::Throttled) => "session throttled",
                Some(Outcome::Unconfirmed) => "session unconfirmed",
                Some(Outcome::NoAction) | None => "session no action",
            },
            Self::Due(_) => "session due",
            Self::EvidenceNotWritten { .. } => "evidence not written",
            Self::VerificationFailed { .. } => "verification failed",
            Self::Finished(_) => "sweep finished",
            Self::NotSwept { .. } => "account-Region not swept",
            Self::RunFinished(_) => "run finished",
            Self::BatchReportExists { .. } => "batch report exists",
            Self::LeaseNotReleased { .. } => "lease not released",
            Self::Failed { .. } => "sweep failed",
            Self::MetricsNotWritten { .. } => "metrics not written",
        }
    }

    /// How much it matters.
    #[must_use]
    pub fn severity(&self) -> Severity {
        match self {
            Self::Decided(row) if row.verdict == VerdictKind::NotEvaluated => Severity::Warning,
            Self::Started { .. }
            | Self::Decided(_)
            | Self::Due(_)
            | Self::Finished(_)
            | Self::NotSwept { status: Status::RegionOff, .. }
            | Self::RunFinished(_) => Severity::Info,
            Self::Done(row) => match row.outcome {
                Some(
                    Outcome::Denied | Outcome::Failed | Outcome::Throttled | Outcome::Unconfirmed,
                ) => Severity::Warning,
                Some(
                    Outcome::AlreadyGone
                    | Outcome::Deferred
                    | Outcome::NoAction
                    | Outcome::WouldTerminate
                    | Outcome::Terminated,
                )
                | None => Severity::Info,
            },
            Self::PolicyWarning { .. }
            | Self::TagLookUpFailed { .. }
            | Self::DocumentLookUpFailed { .. }
            | Self::VerificationFailed { .. }
            | Self::NotSwept { .. }
            | Self::BatchReportExists { .. }
            | Self::LeaseNotReleased { .. } => Severity::Warning,
            Self::EvidenceNotWritten { .. }
            | Self::Failed { .. }
            | Self::MetricsNotWritten { .. } => Severity::Error,
        }
    }
}

/// All that is known of a sweep but the sessions and the rules, flat. Account and Region are in every line.
fn manifest<S: Serializer>(report: &Report, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Manifest<'a> {
        mode: Mode,
        started_at: Timestamp,
        duration_s: f64,
        policy_source: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        policy_version: Option<i64>,
        policy_sha256: &'a str,
        calls: u64,
        backlog: usize,
        #[serde(skip_serializing_if = "Option::is_none")]
        oldest_violation_s: Option<i64>,
        circuit_breaker_open: bool,
        paused: bool,
        sessions_sha256: &'a str,
        complete: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        problem: Option<&'a str>,
        pages: u32,
        #[serde(flatten)]
        verdicts: &'a Verdicts,
        #[serde(flatten)]
        outcomes: &'a Outcomes,
        #[serde(skip_serializing_if = "Option::is_none")]
        events_sent: Option<usize>,
        #[serde(skip_serializing_if = "Option::is_none")]
        events_failed: Option<usize>,
        #[serde(skip_serializing_if = "Option::is_none")]
        events_problem: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        evidence: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        evidence_sha256: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        evidence_problem: Option<&'a str>,
    }
    Manifest {
        mode: report.mode,
        started_at: report.started_at,
        duration_s: report.duration_s,
        policy_source: &report.policy.source,
        policy_version: report.policy.version,
        policy_sha256: &report.policy.sha256,
        calls: report.calls,
        backlog: report.backlog,
        oldest_violation_s: report.oldest_violation_s,
        circuit_breaker_open: report.circuit_breaker_open,
        paused: report.paused,
        sessions_sha256: &report.sessions_sha256,
        complete: report.coverage.complete,
        problem: report.coverage.problem.as_deref(),
        pages: report.coverage.pages,
        verdicts: &report.verdicts,
        outcomes: &report.outcomes,
        events_sent: report.events.as_ref().map(|it| it.sent),
        events_failed: report.events.as_ref().map(|it| it.failed),
        events_problem: report.events.as_ref().and_then(|it| it.problem.as_deref()),
        evidence: report.evidence.as_ref().and_then(|it| it.manifest.as_deref()),
        evidence_sha256: report.evidence.as_ref().and_then(|it| it.manifest_sha256.as_deref()),
        evidence_problem: report.evidence.as_ref().and_then(|it| it.problem.as_deref()),
    }
    .serialize(serializer)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::{policy::sha256, report::tests::sweep_record};

    /// It has all but the sessions and the rules.
    #[test]
    fn finished_is_flat() {
        let mut record = sweep_record();
        record.policy.version = Some(3);
        record.coverage.problem = Some("a repeated token".into());
        record.outcomes.truncate(1);
        record.not_evaluated.clear();
        let expected = json!({
            "mode": "enforce",
            "started_at": "1970-01-01T00:00:00Z", "duration_s": 1.5, "policy_source": "p",
            "policy_version": 3, "policy_sha256": sha256("abc"), "calls": 16,
            "oldest_violation_s": 1_000, "circuit_breaker_open": true, "paused": true,
            "sessions_sha256": sha256("s-000\n"),
            "complete": true, "problem": "a repeated token", "pages": 15,
            "seen": 1, "compliant": 0, "exempt": 0, "violation": 1, "warning": 0, "undetermined": 0,
            "not_evaluated": 0, "backlog": 0,
            "terminated": 1, "already_gone": 0, "unconfirmed": 0, "denied": 0, "throttled": 0,
            "failed": 0, "would_terminate": 0, "deferred": 0, "no_action": 0,
        });
        let report = Report::new(&record);
        assert_eq!(json!(Event::Finished(&report)), expected);
        assert_eq!(report.counts(), "1 seen, 1 in violation, 1 terminated");
    }

    /// Every outcome has its message.
    #[test]
    fn messages() {
        for outcome in [
            Outcome::AlreadyGone,
            Outcome::Denied,
            Outcome::Failed,
            Outcome::Deferred,
            Outcome::NoAction,
            Outcome::WouldTerminate,
            Outcome::Terminated,
            Outcome::Throttled,
            Outcome::Unconfirmed,
        ] {
            let row = Row { outcome: Some(outcome), ..Row::default() };
            let name = json!(outcome);
            let name = name.as_str().expect("a name").replace('_', " ");
            assert_eq!(Event::Done(&row).message(), format!("session {name}"));
        }
    }
    proptest! {
        /// Whatever sweeps there are: a session that is compliant when it is first seen has a line then, if not
        /// more than one sweep has failed before; and has none when it is old. Of a verdict that is no longer
        /// compliant, each sweep has a line.
        #[test]
        fn new_compliant_sessions_have_lines(
            period in 60_i64..1_000,
            late in prop::collection::vec(0_i64..60, 2..60),
            failed in prop::collection::vec(prop::bool::weighted(0.2), 60),
            started_at in 0_i64..20_000,
            violates_from in 0_i64..40_000,
        ) {
            let lines = CompliantLines::New { period: SignedDuration::from_secs(period) };
            let (mut is_seen, mut n_missed) = (false, 0);
            for ((i, late), failed) in (0_i64..).zip(late).zip(failed) {
                let at = i * period + late;
                if failed {
                    n_missed += 1;
                    continue;
                }
                let age = at - started_at;
                if 0 <= age {
                    let violates = violates_from <= at;
                    let verdict =
                        if violates { VerdictKind::Violation } else { VerdictKind::Compliant };
                    let has = lines.has(&Row { verdict, age_s: Some(age), ..Row::default() });
                    prop_assert!(has || !violates);
                    let is_first = !is_seen && n_missed < i.min(2);
                    prop_assert!(has || !is_first, "{age} s old, and first seen");
                    prop_assert!(violates || !has || age <= 2 * period + 60, "{age} s old");
                    is_seen = true;
                }
                n_missed = 0;
            }
        }
    }

    /// What is not compliant always has a line, and what is, as the configuration says.
    #[test]
    fn compliant_lines() {
        let hour = SignedDuration::from_hours(1);
        let row = |verdict, age_s| Row { age_s, verdict, ..Row::default() };
        let new = CompliantLines::New { period: hour };
        for (lines, expected) in [
            (CompliantLines::All, [true, true, true]),
            (new, [true, true, false]),
            (CompliantLines::None, [false, false, false]),
        ] {
            let ages = [0, 7_260, 7_261];
            let compliant = ages.map(|it| lines.has(&row(VerdictKind::Compliant, Some(it))));
            assert_eq!(compliant, expected, "{lines:?}");
            for other in [VerdictKind::Exempt, VerdictKind::Undetermined, VerdictKind::Warning] {
                assert!(lines.has(&row(other, Some(7_261))), "{lines:?}");
            }
        }
        assert!(new.has(&row(VerdictKind::Compliant, None)), "its age is not known");
    }
}
