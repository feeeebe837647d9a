//! What a sweep works with.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::tell::TELLING;
use crate::{
    Budget,
    aws::Ssm,
    sinks::{Sinks, evidence::LONGEST},
    sweep::source::PolicySource,
};
use reaper_core::{report::Mode, target::Scope};

/// What a sweep works with.
#[derive(Clone, Copy, Debug)]
pub struct SweepContext<'a> {
    /// Calls AWS.
    pub ssm: &'a Ssm,
    /// The account and Region, if they are known: without them no tag can be looked up.
    pub scope: Option<&'a Scope>,
    /// Where its events go.
    pub sinks: &'a Sinks,
    /// Where the policy is.
    pub policy: &'a PolicySource,
    /// Whether sessions are really terminated.
    pub mode: Mode,
    /// The instant at which ages are evaluated.
    pub now: Timestamp,
    /// When `now` was read, by the monotonic clock.
    pub read_at: Instant,
    /// The time that the sweep has.
    pub budget: Budget,
    /// Terminations in flight.
    pub concurrency: usize,
    /// What the sessions may take, in bytes: a listing that needs more is incomplete.
    pub memory: usize,
}

impl SweepContext<'_> {
    /// The same, with time left in the end to record what was done, and to tell of it, as far as that is
    /// asked for.
    pub(super) fn until_telling(self) -> Self {
        let telling = self.sinks.events.as_ref().map(|_| TELLING);
        self.until_recording().keeping(telling)
    }

    /// The same, with time left in the end to record what was done, if it is recorded.
    pub(super) fn until_recording(self) -> Self {
        self.keeping(self.sinks.evidence.as_ref().map(|_| LONGEST))
    }

    fn keeping(self, time: Option<Duration>) -> Self {
        let Some(time) = time else { return self };
        let time = time.min(self.budget.remaining() / 4);
        Self { budget: self.budget.reserve(time, time / 2), ..self }
    }
}

/// What each verification may take of the memory for sessions, in bytes: the listing has the rest.
pub(super) fn to_verify(memory: usize) -> usize {
    memory / 8
}
