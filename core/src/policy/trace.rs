//! The steps of an evaluation: each test of a rule or exemption, and what came of it.

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

use super::model::{Requirement, Test};
use crate::truth::Truth;

/// One test of a rule or exemption.
#[derive(Clone, Debug)]
pub struct Part<'a> {
    /// Where it stands.
    pub key: Key,
    /// What is tested.
    pub item: Item<'a>,
    /// Whether it holds.
    pub truth: Truth,
    /// Whether the outcome of the rule or exemption rests on it.
    pub decides: bool,
}

/// Where a test stands in a rule or exemption.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the policy's own keys")]
pub enum Key {
    Forbid,
    Require,
    Unless,
    Until,
    When,
}

impl Key {
    /// The key, as the policy has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Forbid => "forbid",
            Self::Require => "require",
            Self::Unless => "unless",
            Self::Until => "until",
            Self::When => "when",
        }
    }
}

/// What is tested.
#[derive(Clone, Copy, Debug)]
pub enum Item<'a> {
    /// `all`: every session.
    All,
    /// That there be no such session.
    Forbid,
    /// The age, or the hours.
    Requirement(&'a Requirement),
    /// A test of the session or its target.
    Test(&'a Test),
    /// The instant at which an exemption expires.
    Until(Timestamp),
}

impl<'a> From<&'a Requirement> for Item<'a> {
    fn from(requirement: &'a Requirement) -> Self {
        match requirement {
            Requirement::Concurrent(_) | Requirement::Hours(_) | Requirement::MaxAge(_) => {
                Self::Requirement(requirement)
            }
            Requirement::Test(test) => Self::Test(test),
        }
    }
}

impl<'a> From<&'a Test> for Item<'a> {
    fn from(test: &'a Test) -> Self {
        Self::Test(test)
    }
}

impl fmt::Display for Item<'_> {
    /// As the policy has it: `owner: role/sre-*, root`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Forbid => f.write_str("no such session"),
            Self::Requirement(it) => it.fmt(f),
            Self::Test(it) => it.fmt(f),
            Self::Until(it) => it.fmt(f),
        }
    }
}

/// What becomes of the truth of each test. `()` wants the result alone, so that tests which cannot
/// change it are left out; a list of parts wants every one.
pub(crate) trait Follow<'a> {
    /// Whether all of these hold.
    fn all<T>(&mut self, key: Key, items: &'a [T], holds: impl Fn(&T) -> Truth) -> Truth
    where
        Item<'a>: From<&'a T>;

    /// A test that stands alone.
    fn one(&mut self, key: Key, item: Item<'a>, truth: Truth) -> Truth;

    /// Whether anything else is tested once this, which must hold as well, has come out.
    fn goes_on(&self, so_far: Truth) -> bool;
}

impl<'a> Follow<'a> for () {
    fn all<T>(&mut self, _key: Key, items: &'a [T], holds: impl Fn(&T) -> Truth) -> Truth
    where
        Item<'a>: From<&'a T>,
    {
        Truth::all(items.iter().map(holds))
    }

    fn one(&mut self, _key: Key, _item: Item<'a>, truth: Truth) -> Truth {
        truth
    }

    fn goes_on(&self, so_far: Truth) -> bool {
        so_far != Truth::False
    }
}

impl<'a> Follow<'a> for Vec<Part<'a>> {
    fn all<T>(&mut self, key: Key, items: &'a [T], holds: impl Fn(&T) -> Truth) -> Truth
    where
        Item<'a>: From<&'a T>,
    {
        if items.is_empty() {
            return self.one(key, Item::All, Truth::True);
        }
        let truths: Vec<_> = items.iter().map(|it| self.one(key, it.into(), holds(it))).collect();
        Truth::all(truths)
    }

    fn one(&mut self, key: Key, item: Item<'a>, truth: Truth) -> Truth {
        self.push(Part { key, item, truth, decides: false });
        truth
    }

    fn goes_on(&self, _so_far: Truth) -> bool {
        true
    }
}
