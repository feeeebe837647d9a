//! What a test is about: a session, and all that is known of it.

use std::collections::BTreeMap;

use super::model::{Assume, Policy};
use crate::{
    pattern::Owner,
    session::Session,
    session_type::{DocumentTypes, KNOWN_BY_NAME, SessionType},
    target::{Scope, Tags, Unknown},
    truth::Truth,
};

/// What is known besides a session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    /// The account and Region, if they are known.
    pub(crate) scope: Option<&'a Scope>,
    /// What documents start.
    pub(crate) types: &'a DocumentTypes,
}

impl Default for Facts<'_> {
    fn default() -> Self {
        Self { scope: None, types: &KNOWN_BY_NAME }
    }
}

/// What a test is about: a session and its target's tags, with what the policy assumes of what AWS
/// did not return.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// As AWS returned it.
    pub session: &'a Session,
    /// As AWS returned them.
    pub tags: &'a Tags,
    assume: &'a Assume,
    facts: Facts<'a>,
    pub(super) counted: &'a [Truth],
    pub(super) owner: Owner<'a>,
}

impl<'a> Subject<'a> {
    /// A session and its target's tags, as the policy takes them.
    #[must_use]
    pub fn new(policy: &'a Policy, session: &'a Session, tags: &'a Tags) -> Self {
        let owner = Owner::of(&session.owner);
        Self { session, tags, assume: &policy.assume, facts: Facts::default(), counted: &[], owner }
    }

    /// With these facts.
    pub(crate) fn with(self, facts: Facts<'a>) -> Self {
        Self { facts, ..self }
    }

    /// The account and Region, if they are known.
    #[must_use]
    pub fn scope(self) -> Option<&'a Scope> {
        self.facts.scope
    }

    /// The type of the session.
    ///
    /// # Errors
    /// If it is not known, and why.
    pub fn session_type(self) -> Result<SessionType, Unknown> {
        let document = self.document().ok_or(Unknown::DocumentNotReturned)?;
        self.facts.types.of(document)
    }

    /// With the answer to each `concurrent` of the policy: whether its group has no more sessions, of
    /// those that are kept rather than this one, than the others leave room for. Without it, unknown.
    #[must_use]
    pub fn counted(self, counted: &'a [Truth]) -> Self {
        Self { counted, ..self }
    }

    /// The access type, as AWS returned it or as the policy assumes it.
    #[must_use]
    pub fn access_type(self) -> Option<&'a str> {
        let assumed = || self.assume.access_type.value().copied();
        self.session.access_type.as_deref().or_else(assumed)
    }

    /// The document's name, as AWS returned it or as the policy assumes it.
    #[must_use]
    pub fn document(self) -> Option<&'a str> {
        let assumed = || self.assume.document.value().map(|name| &**name);
        self.session.document.as_deref().or_else(assumed)
    }

    /// The reason, or `Some(None)` if AWS returned none and the policy assumes that none was given.
    #[must_use]
    pub fn reason(self) -> Option<Option<&'a str>> {
        match self.session.reason.as_deref() {
            None => self.assume.reason.value().map(|()| None),
            told => Some(told),
        }
    }

    /// The target's tags, or why they are not known.
    ///
    /// # Errors
    /// If nothing is known of them, and the policy assumes nothing.
    pub fn tags(self) -> Result<&'a BTreeMap<String, String>, Unknown> {
        static NONE: BTreeMap<String, String> = BTreeMap::new();
        match self.tags {
            Tags::Known(tags) => Ok(tags),
            Tags::Unknown(Unknown::TagsNotReturned) if self.assume.tags.value().is_some() => {
                Ok(&NONE)
            }
            Tags::Unknown(why) => Err(*why),
        }
    }
}
