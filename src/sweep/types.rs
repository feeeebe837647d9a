//! Looks up what kind of session documents start, as few as the verdicts need.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    Budget,
    aws::{CallError, Ssm},
};
use reaper_core::session_type::{DocumentTypes, SessionType};

/// The most documents of one sweep: an account has few. Those beyond stay unknown.
const MAX_DOCUMENTS: usize = 50;

/// The types of these documents, and what went wrong on the way. A document that cannot be read, or
/// names no type that is known, leaves its sessions' type unknown.
pub async fn look_up_types(
    ssm: &Ssm,
    documents: &BTreeSet<Arc<str>>,
    budget: Budget,
) -> (DocumentTypes, Vec<CallError>) {
    let mut types = DocumentTypes::default();
    let mut problems = Vec::new();
    for (n, document) in documents.iter().enumerate() {
        let content = match n {
            0..MAX_DOCUMENTS => ssm.document(document, budget).await,
            _ => Ok(String::new()),
        };
        let session_type = match content {
            Ok(content) => session_type(&content),
            Err(err) => {
                problems.push(err);
                None
            }
        };
        types.insert(Arc::clone(document), session_type);
    }
    (types, problems)
}

fn session_type(content: &str) -> Option<SessionType> {
    let content: serde_json::Value = serde_json::from_str(content).ok()?;
    SessionType::from_name(content.get("sessionType")?.as_str()?)
}
