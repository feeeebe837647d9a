//! What became of a session.

use std::sync::Arc;

use serde::Serialize;

use crate::plan::Step;

/// What really happened to one session.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(into = "&str")]
pub enum Outcome {
    /// It is gone, but not by this sweep, as far as is proved: AWS had not accepted the request, or
    /// the session had been `Terminating` before it.
    AlreadyGone,
    /// AWS did not allow the termination.
    Denied,
    /// AWS refused, and the session is still active.
    Failed,
    /// A violator that the plan, or the deadline, deferred.
    Deferred,
    /// No violator: nothing was done.
    NoAction,
    /// A violator in a dry run.
    WouldTerminate,
    /// AWS accepted the request, and the session is absent in a complete listing afterwards.
    Terminated,
    /// AWS throttled every attempt.
    Throttled,
    /// Its termination was requested, and its absence is not proved.
    Unconfirmed,
}

impl Outcome {
    /// The outcome's name, as logs and reports have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AlreadyGone => "already_gone",
            Self::Denied => "denied",
            Self::Failed => "failed",
            Self::Deferred => "deferred",
            Self::NoAction => "no_action",
            Self::WouldTerminate => "would_terminate",
            Self::Terminated => "terminated",
            Self::Throttled => "throttled",
            Self::Unconfirmed => "unconfirmed",
        }
    }
}

impl From<Outcome> for &str {
    fn from(outcome: Outcome) -> Self {
        outcome.name()
    }
}

/// The outcome of one step of the plan.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OutcomeRecord {
    /// The step.
    pub step: Step,
    /// What really happened.
    pub outcome: Outcome,
    /// What else is known of it. Boxed, for of most sessions there is nothing.
    pub told: Option<Box<Told>>,
}

/// What is known of a session whose termination was requested, besides its outcome.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Told {
    /// The status in which the session was last listed after its termination was requested.
    pub last_status: Option<Arc<str>>,
    /// AWS's error, or why it is not known whether the session is gone.
    pub error: Option<Arc<str>>,
}

impl OutcomeRecord {
    /// Of a step about which no more is known.
    #[must_use]
    pub fn new(step: Step, outcome: Outcome) -> Self {
        Self { step, outcome, told: None }
    }

    /// The status in which the session was last listed after its termination was requested.
    #[must_use]
    pub fn last_status(&self) -> Option<&str> {
        self.told.as_ref()?.last_status.as_deref()
    }

    /// AWS's error, or why it is not known whether the session is gone.
    #[must_use]
    pub fn error(&self) -> Option<&Arc<str>> {
        self.told.as_ref()?.error.as_ref()
    }
}
