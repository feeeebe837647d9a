//! Faults as data: which calls go wrong, and how.

use std::time::Duration;

use serde::Deserialize;

use crate::seed::Seed;

/// A fault of some calls.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// The operation, such as `DescribeSessions`.
    pub operation: String,
    /// Only calls that name this session.
    #[serde(default)]
    pub session: Option<String>,
    /// The number of calls that pass before the first fault.
    #[serde(default)]
    pub skip: usize,
    /// The number of calls that it applies to; all if absent.
    #[serde(default)]
    pub times: Option<usize>,
    /// What happens.
    pub play: FaultKind,
    /// The number of calls so far that it could have applied to.
    #[serde(skip)]
    n_calls: usize,
}

/// What happens to a call.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// A session starts before the call is carried out.
    Appear(Box<Seed>),
    /// The call is carried out, and answered with 200 and this body.
    Body(String),
    /// The call is carried out, and the connection is closed in the middle of the answer's body.
    CutOff,
    /// `AccessDeniedException`.
    Deny,
    /// Every row of the page is repeated.
    DuplicateRows,
    /// A page without rows. Of sessions, it has a token that leads to them; of tags, it has none.
    EmptyPage,
    /// The last page has an empty token.
    EmptyToken,
    /// Any error.
    Error {
        /// HTTP status.
        status: u16,
        /// `__type`.
        code: String,
        /// `message`.
        message: String,
    },
    /// The rows of the page, or of the tags, lack this field.
    DropField(String),
    /// 500 `InternalServerError`.
    InternalError,
    /// 400 `InvalidNextToken`. AWS's model has no separate error for an expired token.
    InvalidToken,
    /// No resources are returned, but a token says that there are more.
    MoreTags,
    /// The page's token is the one that was sent in the request.
    RepeatToken,
    /// The call is carried out, and the connection is reset without an answer.
    ResetAfter,
    /// The connection is reset, and the call is not carried out.
    ResetBefore,
    /// The rows of the page in another order, after some rows of the previous page.
    ShufflePage,
    /// The answer takes this long, and the call takes effect at the end.
    Slow(#[serde(deserialize_with = "crate::seed::duration")] Duration),
    /// The answer takes this long, and the call takes effect at once.
    SlowAfter(#[serde(deserialize_with = "crate::seed::duration")] Duration),
    /// 400 `ThrottlingException`.
    Throttle,
    /// The call is carried out, and half of the answer's body is sent as if it were complete.
    Truncated,
    /// 503, with a body that is not AWS's.
    Unavailable,
    /// This session is gone before the call is carried out.
    Vanish(String),
}

impl Fault {
    /// A fault of one operation that applies to so many calls, from the first one.
    #[must_use]
    pub fn new(operation: &str, times: usize, play: FaultKind) -> Self {
        let operation = operation.into();
        Self { operation, session: None, skip: 0, times: Some(times), play, n_calls: 0 }
    }

    /// The same, for all calls.
    #[must_use]
    pub fn always(self) -> Self {
        Self { times: None, ..self }
    }

    /// The same, after so many calls have passed.
    #[must_use]
    pub fn after(self, skip: usize) -> Self {
        Self { skip, ..self }
    }

    /// The same, only for calls that name this session.
    #[must_use]
    pub fn for_session(self, id: &str) -> Self {
        Self { session: Some(id.into()), ..self }
    }

    /// Whether the fault applies to this call. Counts the calls that it could apply to.
    pub(crate) fn is_due(&mut self, operation: &str, session: Option<&str>) -> bool {
        let is_it = |it: &String| session == Some(it.as_str());
        if self.operation != operation || !self.session.as_ref().is_none_or(is_it) {
            return false;
        }
        self.n_calls += 1;
        self.skip < self.n_calls && self.times != Some(0)
    }

    /// Applies once.
    pub(crate) fn apply(&mut self) -> FaultKind {
        if let Some(times) = &mut self.times {
            *times -= 1;
        }
        self.play.clone()
    }
}
