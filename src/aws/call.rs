//! The one loop that retries: every attempt takes a turn of the one pacer of its operation.

use std::{
    error::Error,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use aws_smithy_runtime_api::client::{orchestrator::HttpResponse, result::SdkError};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{
    advice::{NOT_WHOLE, detail},
    error::{CallError, CallErrorKind, kind},
    pacer::Pacer,
};
use crate::budget::Budget;

/// Attempts of a call that AWS does not answer, or answers with a server error.
const MAX_FAILED_ATTEMPTS: u32 = 5;

tokio::task_local! {
    /// Which attempt of its call the running one is: for whoever watches the wire.
    pub static ATTEMPT: u32;
}

/// The longest that one attempt may take.
pub(super) const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);

/// So many attempts are made of a call that is throttled, however little patience there is: as many as the SDKs
/// make by default.
const LEAST_ATTEMPTS: u32 = 3;

/// The pause before the second such attempt; each further one doubles it.
const FIRST_RETRY_AFTER: Duration = Duration::from_millis(100);

/// One operation of AWS's.
#[derive(Debug)]
pub(super) struct Operation {
    name: &'static str,
    /// The IAM action that allows it.
    action: &'static str,
    pub(super) pacer: Pacer,
    n_calls: AtomicU64,
    /// Whether a call has succeeded.
    has_succeeded: AtomicBool,
    /// Since when attempts have failed, and none has succeeded.
    failing_since: Mutex<Option<Instant>>,
}

impl Operation {
    pub(super) fn new(name: &'static str, action: &'static str, calls_per_second: f64) -> Self {
        Self {
            name,
            action,
            pacer: Pacer::new(calls_per_second),
            n_calls: AtomicU64::new(0),
            has_succeeded: AtomicBool::new(false),
            failing_since: Mutex::new(None),
        }
    }

    /// Whether a call has ever succeeded.
    pub(super) fn has_succeeded(&self) -> bool {
        self.has_succeeded.load(Ordering::Relaxed)
    }

    /// Since when attempts of calls that have not ended have failed, and none has succeeded.
    pub(super) fn failing_since(&self) -> Option<Instant> {
        *self.failing()
    }

    fn failing(&self) -> MutexGuard<'_, Option<Instant>> {
        self.failing_since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Attempts made so far.
    pub(super) fn n_calls(&self) -> u64 {
        self.n_calls.load(Ordering::Relaxed)
    }

    /// The one loop that retries.
    ///
    /// Throttled attempts are repeated until there is no more time, or no patience (`Pacer::hurry`), all
    /// calls backing off together; attempts that AWS did not answer, or answered with a server error, a few
    /// times. Pauses have no jitter: the pacer keeps the attempts of this process apart.
    ///
    /// AWS's answer has the field that was asked for, though it be an empty list: what lacks it
    /// (`is_complete`) proves nothing, and is no answer.
    ///
    /// Returns the instant halfway between the attempt and its answer as well.
    pub(super) async fn call<T, E, F>(
        &self,
        budget: Budget,
        send: impl Fn() -> F,
        is_complete: impl Fn(&T) -> bool,
    ) -> Result<(T, Instant), CallError>
    where
        E: ProvideErrorMetadata + Error + 'static,
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    {
        let mut attempts = 0;
        let mut n_failed = 0;
        let mut last = (CallErrorKind::NoTime, "its share of the time was used up".to_owned());
        loop {
            let is_dispensable = LEAST_ATTEMPTS <= attempts || 0 < n_failed;
            let turn = self.pacer.turn(budget.last_start, is_dispensable).await;
            let Some(started_at) = turn else { break };
            attempts += 1;
            self.n_calls.fetch_add(1, Ordering::Relaxed);
            let hard_stop = budget.hard_stop.min(started_at + ATTEMPT_TIMEOUT);
            let attempt = ATTEMPT.scope(attempts, send());
            last = match timeout_at(hard_stop, attempt).await {
                Ok(Ok(answer)) if is_complete(&answer) => {
                    self.pacer.passed();
                    self.has_succeeded.store(true, Ordering::Relaxed);
                    *self.failing() = None;
                    return Ok((answer, started_at + started_at.elapsed() / 2));
                }
                Ok(Ok(_nothing)) => (CallErrorKind::Unavailable, NOT_WHOLE.to_owned()),
                Ok(Err(err)) => (kind(&err), detail(self.action, &err)),
                Err(_elapsed) => {
                    let waited = started_at.elapsed().as_secs_f64();
                    (CallErrorKind::Unavailable, format!("no answer within {waited:.1} s"))
                }
            };
            self.failing().get_or_insert(started_at);
            match last.0 {
                CallErrorKind::Throttled => self.pacer.throttled(started_at),
                CallErrorKind::Unavailable => {
                    n_failed += 1;
                    if n_failed == MAX_FAILED_ATTEMPTS {
                        break;
                    }
                    let pause = FIRST_RETRY_AFTER * 2_u32.pow(n_failed - 1);
                    sleep_until((Instant::now() + pause).min(budget.last_start)).await;
                }
                CallErrorKind::Denied
                | CallErrorKind::InvalidToken
                | CallErrorKind::NoTime
                | CallErrorKind::InvalidState
                | CallErrorKind::Refused
                | CallErrorKind::UnknownKeys => break,
            }
        }
        *self.failing() = None;
        let (kind, detail) = last;
        let is_ambiguous = 0 < n_failed;
        Err(CallError { operation: self.name, kind, is_ambiguous, attempts, detail })
    }
}
