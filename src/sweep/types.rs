//! Looks up what kind of session documents start, as few as the verdicts need.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    Budget,
    aws::{CallErrorKind, Ssm},
};
use reaper_core::{
    census::{Evaluated, Evaluator},
    policy::Policy,
    session_type::{DocumentTypes, SessionType},
    target::Unknown,
};

/// The most documents of one sweep: an account has few. Those beyond stay unknown.
const MAX_DOCUMENTS: usize = 50;

/// The most documents that a warning names.
const MAX_NAMED: usize = 3;

/// Documents whose type stays unknown for the same reason.
struct Problem<'a> {
    kind: Option<CallErrorKind>,
    /// Of the first document.
    reason: String,
    documents: Vec<&'a str>,
}

/// Whose type has to be looked up.
#[derive(Debug, Default)]
pub struct Untyped {
    /// The indices of the sessions whose verdict depends on it, or whose place in a group.
    pub indices: BTreeSet<usize>,
    /// Their documents.
    pub documents: BTreeSet<Arc<str>>,
}

impl Untyped {
    /// Of these sessions; it is open whether some are counted.
    #[must_use]
    pub fn of(
        policy: &Policy,
        evaluator: &Evaluator<'_>,
        open: &BTreeSet<usize>,
        evaluated: &[Evaluated],
    ) -> Self {
        let counts_by_type =
            policy.rules.iter().any(|it| it.concurrent().is_some() && it.asks_session_type());
        let not_looked_up = Some(Unknown::SessionTypeNotLookedUp);
        let mut untyped = Self::default();
        for (index, it) in evaluated.iter().enumerate() {
            let subject = evaluator.subject(it);
            let is_counted = counts_by_type && open.contains(&index);
            if (is_counted || it.verdict.unknown() == not_looked_up)
                && subject.session_type().err() == not_looked_up
                && let Some(document) = subject.document()
            {
                untyped.indices.insert(index);
                untyped.documents.insert(document.into());
            }
        }
        untyped
    }
}

/// The types of these documents, and why some are not known, in one line for each kind of reason. A
/// document that cannot be read, or names no type that is known, leaves its sessions' type unknown.
pub async fn look_up_types(
    ssm: &Ssm,
    documents: &BTreeSet<Arc<str>>,
    budget: Budget,
) -> (DocumentTypes, Vec<String>) {
    let mut types = DocumentTypes::default();
    let mut problems: Vec<Problem<'_>> = Vec::new();
    for document in documents.iter().take(MAX_DOCUMENTS) {
        let content = ssm.document(document, budget).await;
        let found = content.map_err(|it| (Some(it.kind), it.to_string())).and_then(|content| {
            let reason = || (None, "its content has no `sessionType` that is known".into());
            session_type(&content).ok_or_else(reason)
        });
        types.insert(Arc::clone(document), found.as_ref().ok().copied());
        if let Err((kind, reason)) = found {
            match problems.iter_mut().find(|it| it.kind == kind) {
                Some(problem) => problem.documents.push(document),
                None => problems.push(Problem { kind, reason, documents: vec![document] }),
            }
        }
    }
    let mut lines: Vec<_> = problems.iter().map(Problem::line).collect();
    let beyond: Vec<_> = documents.iter().skip(MAX_DOCUMENTS).collect();
    if !beyond.is_empty() {
        let n = beyond.len();
        lines.push(format!("{n} documents are not looked up: no more than {MAX_DOCUMENTS} are"));
    }
    for document in beyond {
        types.insert(Arc::clone(document), None);
    }
    (types, lines)
}

impl Problem<'_> {
    fn line(&self) -> String {
        let Self { reason, documents, .. } = self;
        let named: Vec<_> = documents.iter().take(MAX_NAMED).map(|it| format!("`{it}`")).collect();
        let named = named.join(", ");
        match documents.len().saturating_sub(MAX_NAMED) {
            0 => format!("the session type of {named} is not known: {reason}"),
            more => format!("the session type of {named} and {more} others is not known: {reason}"),
        }
    }
}

fn session_type(content: &str) -> Option<SessionType> {
    let content: serde_json::Value = serde_json::from_str(content).ok()?;
    SessionType::from_name(content.get("sessionType")?.as_str()?)
}
