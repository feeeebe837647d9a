//! What the SDK returns, as the core has it.

use aws_sdk_ssm::types::{AccessType, Session, SessionStatus};
use jiff::Timestamp;
use reaper_core::session::{Interner, Record};

/// AWS returns milliseconds, as a fraction that is not exact.
pub(super) fn instant(at: aws_sdk_ssm::primitives::DateTime) -> Option<Timestamp> {
    let milliseconds = (at.as_nanos() + 500_000).div_euclid(1_000_000);
    Timestamp::from_millisecond(i64::try_from(milliseconds).ok()?).ok()
}

/// A field that is empty counts as absent.
pub(super) fn record(session: &Session, common: &mut Interner) -> Record {
    let own = |text: Option<&str>| text.filter(|it| !it.is_empty()).map(Into::into);
    let mut shared = |text: Option<&str>| Some(common.share(text.filter(|it| !it.is_empty())?));
    Record {
        id: own(session.session_id()),
        owner: shared(session.owner()),
        target: own(session.target()),
        started_at: session.start_date.and_then(instant),
        ended_at: session.end_date.and_then(instant),
        status: shared(session.status().map(SessionStatus::as_str)),
        document: shared(session.document_name()),
        reason: own(session.reason()),
        access_type: shared(session.access_type().map(AccessType::as_str)),
    }
}
