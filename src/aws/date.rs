//! AWS's time, which every answer has.

use std::cell::Cell;

use aws_sdk_ssm::{
    config::{
        ConfigBag, Intercept, RuntimeComponents,
        interceptors::BeforeDeserializationInterceptorContextRef,
    },
    error::BoxError,
};
use aws_smithy_types::{DateTime, date_time::Format};
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::record::instant;

tokio::task_local! {
    /// The `Date` of the answer to the running attempt.
    pub(super) static DATE: Cell<Option<Timestamp>>;
}

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

/// Reads the `Date` of every answer. That of an answer from a cache (`Age`) is ignored.
#[derive(Debug)]
pub(super) struct DateReader;

impl Intercept for DateReader {
    fn name(&self) -> &'static str {
        "DateReader"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let headers = context.response().headers();
        let date = headers.get("date").filter(|_| headers.get("age").is_none());
        let date = date.and_then(|it| DateTime::from_str(it, Format::HttpDate).ok());
        let _ = DATE.try_with(|it| it.set(date.and_then(instant))); // Outside a call: not needed.
        Ok(())
    }
}
