//! Requests terminations: each on its own, so that an error on one never stops the rest.

use std::sync::Arc;

use futures_util::{StreamExt, stream};

use crate::{
    Budget,
    aws::{CallError, CallErrorKind, Ssm},
};
use reaper_core::plan::Step;

/// What AWS said of one termination.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Answer {
    /// It was accepted: no proof that the session is gone.
    Accepted,
    /// Whether any attempt took effect is not known.
    Ambiguous,
    /// The credentials do not allow it.
    Denied,
    /// There was nothing to terminate, AWS says.
    InvalidState {
        /// Whether an attempt before may have taken effect.
        is_ambiguous: bool,
    },
    /// It was refused for any other reason.
    Refused,
    /// It was throttled until there was no more time.
    Throttled,
}

/// A termination that was requested.
#[derive(Debug)]
pub struct Requested {
    /// The step.
    pub step: Step,
    /// What AWS said of it.
    pub answer: Answer,
    /// What went wrong, if something did.
    pub error: Option<Arc<str>>,
}

/// Requests the termination of these sessions, in this order, so many at a time.
///
/// Returns what was requested, and the steps for which there was no time.
pub async fn act(
    ssm: &Ssm,
    steps: Vec<Step>,
    concurrency: usize,
    budget: Budget,
) -> (Vec<Requested>, Vec<Step>) {
    let mut calls = stream::iter(steps)
        .map(async |step| {
            let answer = ssm.terminate(&step.session.id, budget).await;
            (step, answer)
        })
        .buffer_unordered(concurrency);
    let mut requested = Vec::new();
    let mut not_started = Vec::new();
    while let Some((step, result)) = calls.next().await {
        match result {
            Ok(()) => requested.push(Requested { step, answer: Answer::Accepted, error: None }),
            Err(err) if err.kind == CallErrorKind::NoTime => not_started.push(step),
            Err(err) => {
                requested.push(Requested {
                    step,
                    answer: answer(&err),
                    error: Some(err.to_string().into()),
                });
            }
        }
    }
    (requested, not_started)
}

/// An attempt that may have taken effect makes the whole call ambiguous, unless AWS says in the end
/// that there was nothing to terminate.
fn answer(err: &CallError) -> Answer {
    match err.kind {
        CallErrorKind::InvalidState => Answer::InvalidState { is_ambiguous: err.is_ambiguous },
        _ if err.is_ambiguous => Answer::Ambiguous,
        CallErrorKind::Denied | CallErrorKind::UnknownKeys => Answer::Denied,
        CallErrorKind::Throttled => Answer::Throttled,
        CallErrorKind::Unavailable => Answer::Ambiguous,
        CallErrorKind::InvalidToken | CallErrorKind::NoTime | CallErrorKind::Refused => {
            Answer::Refused
        }
    }
}
