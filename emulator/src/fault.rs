//! Faults as data: which call goes wrong, and how.

use std::time::Duration;

use jiff::SignedDuration;
use serde::Deserialize;

use crate::seed::Seed;

/// Something that goes wrong with some calls.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// The operation, such as `DescribeSessions`.
    pub operation: String,
    /// Only calls that name this session.
    #[serde(default)]
    pub session: Option<String>,
    /// Only calls of this account; of `AssumeRole`, only those for a role of this account.
    #[serde(default)]
    pub account: Option<String>,
    /// How many calls pass before it applies.
    #[serde(default)]
    pub skip: usize,
    /// To how many calls it applies; to all if absent.
    #[serde(default)]
    pub times: Option<usize>,
    /// What happens.
    pub kind: FaultKind,
    /// Calls so far to which it might have applied.
    #[serde(skip)]
    n_calls: usize,
}

/// What happens to a call.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// A session appears before the call is carried out.
    Appear(Box<Seed>),
    /// The call is carried out, and answered by 200 with this body instead.
    Body(String),
    /// The call is carried out, and the connection closed in the middle of the answer's body.
    CutOff,
    /// `AccessDeniedException`.
    Deny,
    /// Every row of the page stands there twice; of tags, the second time without any.
    DuplicateRows,
    /// Every tag of each resource stands there twice, the second time with another value.
    DuplicateTags,
    /// A page without rows, though with a token that leads to them; of tags, without such a token.
    EmptyPage,
    /// The last page has a token that is empty.
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
    /// Every second event is not taken, the first one of them, and has this error code.
    FailEntries(String),
    /// 500 `InternalServerError`.
    InternalError,
    /// 400 `InvalidNextToken`. AWS's model has no error of its own for a token that has expired.
    InvalidToken,
    /// The call is carried out, and the answer's `Date` is off by this: ahead, or behind if negative.
    Misdate(#[serde(deserialize_with = "crate::seed::signed")] SignedDuration),
    /// No resource is there, though a token says that there are more.
    MoreTags,
    /// The page's token is the one that led to it.
    RepeatToken,
    /// The call is carried out, and the connection reset without an answer.
    ResetAfter,
    /// The connection is reset, and nothing done.
    ResetBefore,
    /// The rows of the page in another order, behind some that the page before it had.
    ShufflePage,
    /// The answer takes this long; what the call does, it does at the end.
    Slow(#[serde(deserialize_with = "crate::seed::duration")] Duration),
    /// The answer takes this long; what the call does, it does at once.
    SlowAfter(#[serde(deserialize_with = "crate::seed::duration")] Duration),
    /// 400 `ThrottlingException`.
    Throttle,
    /// The call is carried out, and half of the answer's body sent, as if it were all of it.
    Truncated,
    /// 503, with a body that is not AWS's.
    Unavailable,
    /// This session is gone before the call is carried out.
    Vanish(String),
}

impl Fault {
    /// A fault of the first `times` calls of one operation.
    #[must_use]
    pub fn new(operation: &str, times: usize, kind: FaultKind) -> Self {
        let operation = operation.into();
        let (session, account) = (None, None);
        Self { operation, session, account, skip: 0, times: Some(times), kind, n_calls: 0 }
    }

    /// The same, of every call.
    #[must_use]
    pub fn always(self) -> Self {
        Self { times: None, ..self }
    }

    /// The same, after `skip` calls that pass.
    #[must_use]
    pub fn after(self, skip: usize) -> Self {
        Self { skip, ..self }
    }

    /// The same, only for calls that name this session.
    #[must_use]
    pub fn for_session(self, id: &str) -> Self {
        Self { session: Some(id.into()), ..self }
    }

    /// The same, only for calls of this account; of `AssumeRole`, for a role of this account.
    #[must_use]
    pub fn for_account(self, id: &str) -> Self {
        Self { account: Some(id.into()), ..self }
    }

    /// Whether the fault applies to this call. Counts the calls to which it might apply.
    pub(crate) fn is_due(&mut self, operation: &str, session: Option<&str>, account: &str) -> bool {
        let is_session = self.session.as_deref().is_none_or(|it| session == Some(it));
        let is_account = self.account.as_deref().is_none_or(|it| account == it);
        if self.operation != operation || !is_session || !is_account {
            return false;
        }
        self.n_calls += 1;
        self.skip < self.n_calls && self.times != Some(0)
    }

    /// Applies it once.
    pub(crate) fn apply(&mut self) -> FaultKind {
        if let Some(times) = &mut self.times {
            *times -= 1;
        }
        self.kind.clone()
    }
}
