//! What a policy consists of, valid by construction.

use std::{fmt, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use regex_lite::Regex;

use super::hours::Hours;
use crate::{
    pattern::{Glob, OwnerPattern},
    session_type::SessionType,
};

/// What a condition may ask of a session's status: all that AWS's model of the API has.
pub(crate) const STATUSES: [&str; 6] =
    ["Connected", "Connecting", "Disconnected", "Failed", "Terminated", "Terminating"];

/// What AWS calls the ways to a session.
pub(crate) const ACCESS_TYPES: [&str; 2] = ["Standard", "JustInTime"];

/// What the sessions of an account are evaluated by.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The tag keys that rules and exemptions may use.
    pub tag_keys: Vec<String>,
    /// All apply. Their order only decides which one leads a verdict.
    pub rules: Vec<Rule>,
    /// They outrank every rule.
    pub exemptions: Vec<Exemption>,
    /// How much one sweep may do.
    pub limits: Limits,
    /// What to assume of what AWS does not return.
    pub assume: Assume,
    /// How long before its termination, as far as it can be foreseen, a session's owner is warned.
    /// Longest first.
    pub warn_before: Vec<SignedDuration>,
    /// Whether every violator is deferred, whatever the mode.
    pub paused: bool,
}

/// What a session in scope must fulfil.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Unique in the policy.
    pub id: Arc<str>,
    /// For people.
    pub description: Option<String>,
    /// Which sessions are in scope.
    pub when: Condition,
    /// Which of these are not in scope.
    pub unless: Option<Condition>,
    /// What it requires of the sessions in scope.
    pub demand: Demand,
    /// What becomes of a session that violates it.
    pub effect: Effect,
}

/// What becomes of a session that violates a rule.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Effect {
    /// It is terminated.
    #[default]
    Terminate,
    /// It is reported and counted.
    Warn,
}

/// Sessions that are not terminated, whatever rules they violate.
#[derive(Clone, Debug)]
pub struct Exemption {
    /// Unique in the policy.
    pub id: Arc<str>,
    /// For people.
    pub description: Option<String>,
    /// Which sessions it exempts.
    pub when: Condition,
    /// When it expires: from this instant on it no longer applies.
    pub until: Option<Timestamp>,
}

/// Tests that must all hold. `all` has none.
#[derive(Clone, Debug)]
pub struct Condition(pub Vec<Test>);

/// One key of a condition. Each variant is one line of the policy reference.
#[derive(Clone, Debug)]
pub enum Test {
    /// The access type is one of these.
    AccessType(Vec<&'static str>),
    /// One or more of these match the document's name.
    Document(Vec<Glob>),
    /// One or more of these patterns mean the owner.
    Owner(Vec<OwnerPattern>),
    /// The user gave a reason, and one or more of these match somewhere in it.
    Reason(Vec<Regex>),
    /// The session was started in one of these accounts.
    Account(Vec<String>),
    /// One or more of these match the Region.
    Region(Vec<Glob>),
    /// The document starts sessions of one of these types.
    SessionType(Vec<SessionType>),
    /// The status is one of these. A session without one is unknown.
    Status(Vec<&'static str>),
    /// One or more of these match the target.
    Target(Vec<Glob>),
    /// The target carries this key, with a value that one or more of these match.
    TargetTag(String, Vec<Glob>),
}

/// What a rule asks for.
#[derive(Clone, Debug)]
pub enum Demand {
    /// That there be no such session.
    Forbid,
    /// All of these.
    Require(Vec<Requirement>),
}

/// One key of `require`.
#[derive(Clone, Debug)]
pub enum Requirement {
    /// The sweep takes place within one or more of these.
    Hours(Vec<Hours>),
    /// No more than so many sessions of a group are active at once.
    Concurrent(Concurrent),
    /// The session is no older than this. The limit itself is allowed.
    MaxAge(SignedDuration),
    /// A test that a condition may have, too.
    Test(Test),
}

/// How many sessions of a group may be active at once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Concurrent {
    /// Its place among the policy's requirements of this kind.
    pub index: usize,
    /// What the sessions of a group have in common.
    pub per: Per,
    /// At least 1.
    pub at_most: u32,
    /// Which sessions of a group are kept.
    pub keep: Keep,
}

/// What the sessions of a group have in common.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the policy's own words")]
pub enum Per {
    Owner,
    OwnerAndTarget,
    Target,
}

impl Per {
    /// Its name, as the policy has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::OwnerAndTarget => "owner_and_target",
            Self::Target => "target",
        }
    }
}

/// Which sessions of a group are kept. Of two that started in the same instant, the one with the
/// smaller id is the older.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the policy's own words")]
pub enum Keep {
    Newest,
    Oldest,
}

impl Keep {
    /// Its name, as the policy has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Newest => "newest",
            Self::Oldest => "oldest",
        }
    }
}

/// How much one sweep may do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Terminations per sweep, oldest session first.
    pub max_terminations: u32,
    /// The circuit breaker defers every violator when the violators are more than this share, in per
    /// cent, of the violators and the compliant together …
    pub max_percent: u32,
    /// … and at least this many of them.
    pub min_violations: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_terminations: 50, max_percent: 50, min_violations: 10 }
    }
}

/// What a policy says of a field that AWS does not return.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Assumed<T> {
    /// Nothing: the field is unknown, and `check` warns where that matters.
    #[default]
    Unsaid,
    /// That it is unknown.
    Unknown,
    /// That it is this.
    Is(T),
}

impl<T> Assumed<T> {
    /// What is assumed, if anything is.
    pub fn value(&self) -> Option<&T> {
        match self {
            Self::Is(value) => Some(value),
            Self::Unknown | Self::Unsaid => None,
        }
    }
}

/// What to assume of fields that AWS does not return; what is not assumed is unknown.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Assume {
    /// The access type.
    pub access_type: Assumed<&'static str>,
    /// The document's name.
    pub document: Assumed<Arc<str>>,
    /// That the user gave no reason.
    pub reason: Assumed<()>,
    /// That a target which the tag look-up does not return has no tags.
    pub tags: Assumed<()>,
}

impl Rule {
    /// The rule's `concurrent`, if it has one.
    #[must_use]
    pub fn concurrent(&self) -> Option<Concurrent> {
        self.demand.requirements().iter().find_map(|it| match it {
            Requirement::Concurrent(it) => Some(*it),
            Requirement::Hours(_) | Requirement::MaxAge(_) | Requirement::Test(_) => None,
        })
    }

    /// Whether it depends on what kind of session a document starts.
    #[must_use]
    pub fn asks_session_type(&self) -> bool {
        self.tests().any(|it| matches!(it, Test::SessionType(_)))
    }

    /// Its tests of a session: all but age and hours.
    pub(crate) fn tests(&self) -> impl Iterator<Item = &Test> {
        let required = self.demand.requirements().iter();
        self.conditions().chain(required.filter_map(Requirement::test))
    }

    /// The tests of `when` and `unless`.
    pub(super) fn conditions(&self) -> impl Iterator<Item = &Test> {
        [Some(&self.when), self.unless.as_ref()].into_iter().flatten().flat_map(|it| &it.0)
    }
}

impl Demand {
    /// What is required; nothing that could be, if there must be no such session.
    pub(super) fn requirements(&self) -> &[Requirement] {
        match self {
            Self::Forbid => &[],
            Self::Require(all) => all,
        }
    }
}

impl Requirement {
    pub(super) fn test(&self) -> Option<&Test> {
        match self {
            Self::Concurrent(_) | Self::Hours(_) | Self::MaxAge(_) => None,
            Self::Test(test) => Some(test),
        }
    }
}

impl fmt::Display for Requirement {
    /// As the policy has it: `max_age: 1h 30m`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Concurrent(Concurrent { per, at_most, keep, .. }) => {
                let (per, keep) = (per.name(), keep.name());
                write!(f, "concurrent: at most {at_most} per {per}, keep the {keep}")
            }
            Self::Hours(any) => write!(f, "hours: {}", list(any)),
            Self::MaxAge(limit) => write!(f, "max_age: {limit:#}"),
            Self::Test(test) => test.fmt(f),
        }
    }
}

impl fmt::Display for Test {
    /// As the policy has it: `owner: role/sre-*, root`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AccessType(any) => write!(f, "access_type: {}", list(any)),
            Self::Account(any) => write!(f, "account: {}", list(any)),
            Self::Region(any) => write!(f, "region: {}", list(any)),
            Self::SessionType(any) => {
                let names: Vec<_> = any.iter().map(|it| it.name()).collect();
                write!(f, "session_type: {}", names.join(", "))
            }
            Self::Document(any) => write!(f, "document: {}", list(any)),
            Self::Owner(any) => write!(f, "owner: {}", list(any)),
            Self::Reason(any) => write!(f, "reason: {}", list(any)),
            Self::Status(any) => write!(f, "status: {}", list(any)),
            Self::Target(any) => write!(f, "target: {}", list(any)),
            Self::TargetTag(key, any) => write!(f, "target_tags: {key}: {}", list(any)),
        }
    }
}

fn list(items: &[impl fmt::Display]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
