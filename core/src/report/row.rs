//! One session in a log line, a report or a table.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use super::outcome::{Outcome, OutcomeRecord, Told};
use crate::{
    evaluate::VerdictKind,
    plan::{Action, DeferReason, Step},
    session::{Record, Session},
    target::{Tags, Unknown},
};

/// One session in a log line or a reply. `None`, not known or not applicable, is left out.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Row {
    /// `SessionId`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<Arc<str>>,
    /// `Owner`: the ARN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<Arc<str>>,
    /// `Target`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Arc<str>>,
    /// The target's tags, as `KEY=VALUE`: they are looked up only where they decide.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// `DocumentName`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document: Option<Arc<str>>,
    /// `Status`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Arc<str>>,
    /// `StartDate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// In seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_s: Option<i64>,
    /// What the policy says; `not_evaluated` where the record does not allow an evaluation.
    pub verdict: VerdictKind,
    /// The rules behind it, or the one exemption.
    pub rules: Vec<Arc<str>>,
    /// The groups of `concurrent` that have, or may have, no place for it: `two-each: 3 of 2 per owner`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub excess: Vec<String>,
    /// What was not known, if that decided about the verdict, or about which of `rules` is violated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown: Option<Unknown>,
    /// From when on a sweep terminates it, if that can be foreseen; only in `reapctl plan`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due: Option<Timestamp>,
    /// What the plan does about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<Action>,
    /// Why it is deferred, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deferred_by: Option<DeferReason>,
    /// What really happened, once it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// The status in which it was last listed after its termination was requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_status: Option<Arc<str>>,
    /// Why it was not evaluated, AWS's error, or why it is not known whether the session is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Arc<str>>,
}

impl Row {
    /// A decision: what is going to be done, before anything is.
    #[must_use]
    pub fn of_step(step: &Step, now: Timestamp) -> Self {
        let Session { id, owner, target, started_at, status, document, .. } = &*step.session;
        Self {
            session_id: Some(Arc::clone(id)),
            owner: Some(Arc::clone(owner)),
            target: Some(Arc::clone(target)),
            tags: match &step.tags {
                Tags::Known(tags) => {
                    Some(tags.iter().map(|(key, value)| format!("{key}={value}")).collect())
                }
                Tags::Unknown(_) => None,
            },
            document: document.clone(),
            status: status.clone(),
            started_at: Some(*started_at),
            age_s: Some(step.session.age(now).as_secs()),
            verdict: step.verdict.kind(),
            rules: step.verdict.rules().to_vec(),
            excess: step.excess.iter().map(ToString::to_string).collect(),
            unknown: step.verdict.unknown(),
            action: Some(step.action),
            deferred_by: step.action.deferred_by(),
            ..Self::default()
        }
    }

    /// An outcome: what has been done.
    #[must_use]
    pub fn of_outcome(outcome: &OutcomeRecord, now: Timestamp) -> Self {
        let Told { last_status, error } = outcome.told.as_deref().cloned().unwrap_or_default();
        let step = Self::of_step(&outcome.step, now);
        Self { outcome: Some(outcome.outcome), last_status, error, ..step }
    }

    /// A record that was not evaluated.
    #[must_use]
    pub fn of_record(record: &Record, now: Timestamp, why: &str) -> Self {
        let Record { id, owner, target, started_at, status, document, .. } = record;
        Self {
            session_id: id.clone(),
            owner: owner.clone(),
            target: target.clone(),
            document: document.clone(),
            status: status.clone(),
            started_at: *started_at,
            age_s: started_at.map(|it| now.duration_since(it).as_secs()),
            verdict: VerdictKind::NotEvaluated,
            error: Some(why.into()),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use serde_json::{Value, json};

    use super::*;
    use crate::{census::Excess, evaluate::Verdict, policy::Per, report::tests::session};

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    #[test]
    fn a_row_has_all_that_is_known() {
        let session = Session {
            status: Some("Connected".into()),
            reason: Some("INC-1".into()),
            access_type: Some("Standard".into()),
            ..session("s-1", 0)
        };
        let step = Step {
            session: Box::new(session),
            tags: Tags::Known(Arc::new(
                [("env".into(), "prod".into()), ("team".into(), "a".into())].into(),
            )),
            verdict: Verdict::Violation {
                rules: ["a".into(), "b".into()].into(),
                unknown: Some(Unknown::StatusNotReturned),
            },
            excess: Box::new([Excess {
                rule: "a".into(),
                per: Per::Owner,
                place: 3,
                at_most: 2,
                is_certain: true,
            }]),
            action: Action::Defer(DeferReason::Limit),
        };
        let outcome = OutcomeRecord {
            step,
            outcome: Outcome::Failed,
            told: Some(Box::new(Told {
                last_status: Some("Disconnected".into()),
                error: Some("InternalServerError".into()),
            })),
        };
        let mut expected = json!({
            "session_id": "s-1", "owner": "o", "target": "t", "tags": ["env=prod", "team=a"],
            "document": "d", "status": "Connected", "started_at": "1969-12-31T23:43:20Z",
            "age_s": 1_000, "verdict": "violation", "rules": ["a", "b"],
            "excess": ["a: 3 of 2 per owner"],
            "unknown": "status_not_returned", "action": "defer", "deferred_by": "limit",
            "outcome": "failed", "last_status": "Disconnected", "error": "InternalServerError",
        });
        assert_eq!(json!(Row::of_outcome(&outcome, NOW)), expected);
        let leave_out = |expected: &mut Value, names: &[&str]| {
            expected
                .as_object_mut()
                .expect("an object")
                .retain(|it, _| !names.contains(&it.as_str()));
        };
        leave_out(&mut expected, &["outcome", "last_status", "error"]); // Not known yet.
        assert_eq!(json!(Row::of_step(&outcome.step, NOW)), expected);

        let text = |it: &str| Some(it.into());
        let record = Record {
            id: text("s-1"),
            owner: text("o"),
            target: text("t"),
            started_at: Some(NOW - SignedDuration::from_secs(1_000)),
            status: text("Connected"),
            document: text("d"),
            ..Record::default()
        };
        leave_out(&mut expected, &["tags", "excess", "unknown", "action", "deferred_by"]);
        expected["rules"] = json!([]);
        expected["verdict"] = "not_evaluated".into();
        expected["error"] = "no Owner".into();
        assert_eq!(json!(Row::of_record(&record, NOW, "no Owner")), expected);
    }
}
