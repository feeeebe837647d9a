//! AWS's time, which every answer has.

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::{DateTime, date_time::Format};
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// What AWS's clock showed when it answered a call.
#[derive(Clone, Copy, Debug)]
pub struct ServiceTime {
    /// The answer's `Date`, in whole seconds.
    pub date: Timestamp,
    /// Halfway between the call and its answer.
    pub at: Instant,
}

impl ServiceTime {
    /// How far a clock that showed `now` at the instant `read_at` is ahead of AWS's; negative if it is
    /// behind. Off by half of what the answer took, and by the second that `Date` is cut to.
    #[must_use]
    pub fn clock_ahead(self, now: Timestamp, read_at: Instant) -> SignedDuration {
        let since = |from: Instant, to: Instant| {
            SignedDuration::try_from(to.saturating_duration_since(from)).unwrap_or_default()
        };
        now.duration_since(self.date) + since(read_at, self.at) - since(self.at, read_at)
    }
}

/// The `Date` of an answer. That of an answer from a cache (`Age`) is ignored.
pub(super) fn date(answer: &HttpResponse) -> Option<Timestamp> {
    let headers = answer.headers();
    let date = headers.get("date").filter(|_| headers.get("age").is_none())?;
    let date = DateTime::from_str(date, Format::HttpDate).ok()?;
    Timestamp::from_second(date.secs()).ok()
}
