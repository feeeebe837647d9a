//! What the tests of the replay have in common.

mod alone;
mod counting;
mod every_sweep;

use reaper_core::{
    census::oldest_first,
    session_type::{DocumentTypes, KNOWN_BY_NAME},
    target::Tags,
};

use super::*;
use crate::backtest::history::HISTORY;

/// The end of a session that is active when it is listed.
const ACTIVE: End = End::Unknown { seen_at: Timestamp::MAX };

fn past(owner: usize, started_at: Timestamp) -> PastSession {
    let session = Session::new(
        format!("x-{owner}"),
        format!("arn:aws:sts::123456789012:assumed-role/dev/{owner}"),
        "i-0123456789abcdef0",
        started_at,
    );
    PastSession { session, end: ACTIVE, tags: Tags::Unknown(Unknown::TagsNotReturned) }
}

fn history(now: Timestamp, mut sessions: Vec<PastSession>) -> History {
    sessions.sort_by(|a, b| oldest_first(&a.session, &b.session));
    for it in sessions.iter_mut().filter(|it| it.end.last() == Timestamp::MAX) {
        it.end = End::Unknown { seen_at: now };
    }
    History {
        sessions,
        not_evaluated: Vec::new(),
        before: Vec::new(),
        from: now - HISTORY,
        counted_from: now - HISTORY,
        types: DocumentTypes::default(),
    }
}
