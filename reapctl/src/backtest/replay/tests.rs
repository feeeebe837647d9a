//! What the tests of the replay have in common.

mod alone;
mod counting;
mod every_sweep;

use reaper_core::session_type::KNOWN_BY_NAME;

use super::*;

fn past(owner: usize, started_at: Timestamp) -> PastSession {
    let session = Session::new(
        format!("x-{owner}"),
        format!("arn:aws:sts::123456789012:assumed-role/dev/{owner}"),
        "i-0123456789abcdef0",
        started_at,
    );
    PastSession { session, ended_at: None, tags: Tags::Unknown(Unknown::TagsNotReturned) }
}

fn history(mut sessions: Vec<PastSession>) -> History {
    sessions.sort_by(|a, b| oldest_first(&a.session, &b.session));
    History {
        sessions,
        not_evaluated: Vec::new(),
        listed_for: SignedDuration::ZERO,
        types: DocumentTypes::default(),
    }
}
