//! The policy: rules, exemptions and limits, valid by construction. `Policy::parse` reads one.

mod file;
mod hours;
mod lint;
mod schema;
mod yaml;

use std::{fmt, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use regex_lite::Regex;

pub use self::{
    file::{PolicyError, PolicyErrors, duration},
    hours::Hours,
    schema::schema,
};
use crate::{
    pattern::{Glob, OwnerPattern},
    session::Session,
    target::Tags,
    truth::Truth,
};

/// What a condition may ask of a session's status. `Terminating` and `Terminated` are not evaluated.
pub(crate) const STATUSES: [&str; 4] = ["Connected", "Connecting", "Disconnected", "Failed"];

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
    /// What to think of a target that the tag look-up does not return; `None` if the policy leaves
    /// it to the default.
    pub untagged: Option<Untagged>,
    /// Whether everybody is held, whatever the mode.
    pub paused: bool,
}

/// What a session must be like, if the rule is about it.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Unique in the policy.
    pub id: Arc<str>,
    /// For people.
    pub description: Option<String>,
    /// What the rule is about.
    pub when: Condition,
    /// What it is not about all the same.
    pub unless: Option<Condition>,
    /// What it asks of the sessions it is about.
    pub demand: Demand,
}

/// Sessions that no rule touches.
#[derive(Clone, Debug)]
pub struct Exemption {
    /// Unique in the policy.
    pub id: Arc<str>,
    /// For people.
    pub description: Option<String>,
    /// Whom it exempts.
    pub when: Condition,
    /// When it ends: from this instant on it exempts nobody.
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
    /// The status is one of these. A session without one is unknown.
    Status(Vec<&'static str>),
    /// One or more of these match the target.
    Target(Vec<Glob>),
    /// The target carries each of these keys, with a value that one or more of its globs match.
    TargetTags(Vec<(String, Vec<Glob>)>),
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
    /// The session is no older than this. The limit itself is allowed.
    MaxAge(SignedDuration),
    /// What may stand in a condition may be asked for as well.
    Test(Test),
}

/// How much one sweep may do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Terminations per sweep, oldest session first.
    pub max_terminations: u32,
    /// The circuit breaker holds everybody when more than this share of the evaluated sessions, in per cent,
    /// violates the policy …
    pub max_percent: u32,
    /// … and at least this many of them.
    pub min_violations: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_terminations: 50, max_percent: 50, min_violations: 10 }
    }
}

/// What to think of a target that the tag look-up does not return.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Untagged {
    /// It has no tags.
    NoTags,
    /// Nothing is known of it.
    #[default]
    Unknown,
}

impl Policy {
    /// Parses a policy in YAML or JSON.
    ///
    /// # Errors
    /// Everything that is wrong with the text, each error with its place.
    ///
    /// # Example
    ///
    /// ```
    /// use reaper_core::policy::Policy;
    ///
    /// let policy = "version: 1\nrules: [{ id: short, when: all, require: { max_age: 8h } }]";
    /// assert_eq!(Policy::parse(policy)?.rules.len(), 1);
    ///
    /// let errors = Policy::parse("version: 1\nrulse: []").expect_err("a misspelt key");
    /// assert_eq!(errors.0[0].line, 2);
    /// # Ok::<(), reaper_core::policy::PolicyErrors>(())
    /// ```
    pub fn parse(text: &str) -> Result<Self, PolicyErrors> {
        file::parse(text)
    }

    /// What is legal, and probably not what was meant.
    #[must_use]
    pub fn warnings(&self, now: Timestamp) -> Vec<String> {
        lint::warnings(self, now)
    }
}

impl Rule {
    /// Whether the session is one that the rule is about and that does not fulfil its demand.
    #[must_use]
    pub fn is_violated(&self, now: Timestamp, session: &Session, tags: &Tags) -> Truth {
        let when = std::iter::once_with(|| self.when.holds(session, tags));
        let unless = self.unless.iter().map(|it| !it.holds(session, tags));
        let in_scope = Truth::all(when.chain(unless));
        if in_scope == Truth::False {
            return Truth::False;
        }
        let fulfilled = match &self.demand {
            Demand::Forbid => Truth::False,
            Demand::Require(all) => {
                Truth::all(all.iter().map(|it| it.is_fulfilled(now, session, tags)))
            }
        };
        Truth::all([in_scope, !fulfilled])
    }
}

impl Rule {
    /// What of a rule that may be violated is still open: the rest of it is known.
    pub(crate) fn open_part(&self, now: Timestamp, session: &Session, tags: &Tags) -> Self {
        let unless = self.unless.as_ref();
        let unless = unless.filter(|it| it.holds(session, tags) == Truth::Unknown);
        let demand = match &self.demand {
            Demand::Forbid => Demand::Forbid,
            Demand::Require(all) => {
                let truth = |it: &Requirement| it.is_fulfilled(now, session, tags);
                if all.iter().any(|it| truth(it) == Truth::False) {
                    Demand::Forbid
                } else {
                    let open = all.iter().filter(|it| truth(it) == Truth::Unknown);
                    Demand::Require(open.cloned().collect())
                }
            }
        };
        Self {
            id: Arc::clone(&self.id),
            description: None,
            when: self.when.open_part(session, tags),
            unless: unless.map(|it| it.open_part(session, tags)),
            demand,
        }
    }

    /// All that it asks of a session, but for its age and the hours.
    pub(crate) fn tests(&self) -> impl Iterator<Item = &Test> {
        let required = match &self.demand {
            Demand::Forbid => &[],
            Demand::Require(all) => all.as_slice(),
        };
        let required = required.iter().filter_map(|it| match it {
            Requirement::Hours(_) | Requirement::MaxAge(_) => None,
            Requirement::Test(test) => Some(test),
        });
        let conditions = [Some(&self.when), self.unless.as_ref()].into_iter().flatten();
        conditions.flat_map(|it| &it.0).chain(required)
    }
}

impl Exemption {
    /// Whether the session is exempt at this instant.
    #[must_use]
    pub fn holds(&self, now: Timestamp, session: &Session, tags: &Tags) -> Truth {
        if self.until.is_some_and(|until| until <= now) {
            return Truth::False;
        }
        self.when.holds(session, tags)
    }
}

impl Condition {
    /// The tests of which nobody knows whether they hold.
    pub(crate) fn open_part(&self, session: &Session, tags: &Tags) -> Self {
        let open = self.0.iter().filter(|it| it.holds(session, tags) == Truth::Unknown);
        Self(open.cloned().collect())
    }

    /// Whether every test holds.
    #[must_use]
    pub fn holds(&self, session: &Session, tags: &Tags) -> Truth {
        Truth::all(self.0.iter().map(|it| it.holds(session, tags)))
    }
}

impl Requirement {
    /// Whether the session fulfils it at this instant.
    #[must_use]
    pub fn is_fulfilled(&self, now: Timestamp, session: &Session, tags: &Tags) -> Truth {
        match self {
            Self::Hours(any) => any.iter().any(|it| it.contains(now)).into(),
            Self::MaxAge(limit) => (session.age(now) <= *limit).into(),
            Self::Test(test) => test.holds(session, tags),
        }
    }
}

impl Test {
    /// Whether it holds; unknown where it asks for tags or a status that nobody knows.
    #[must_use]
    pub fn holds(&self, session: &Session, tags: &Tags) -> Truth {
        match (self, tags) {
            (Self::AccessType(any), _) => any.contains(&&*session.access_type).into(),
            (Self::Document(any), _) => any.iter().any(|it| it.is_match(&session.document)).into(),
            (Self::Owner(any), _) => OwnerPattern::any_is_match(any, &session.owner).into(),
            (Self::Reason(any), _) => {
                let reason = session.reason.as_ref();
                reason.is_some_and(|reason| any.iter().any(|it| it.is_match(reason))).into()
            }
            (Self::Status(any), _) => match &session.status {
                Some(status) => any.contains(&&**status).into(),
                None => Truth::Unknown,
            },
            (Self::Target(any), _) => any.iter().any(|it| it.is_match(&session.target)).into(),
            (Self::TargetTags(_), Tags::Unknown(_)) => Truth::Unknown,
            (Self::TargetTags(all), Tags::Known(tags)) => {
                let carries = |(key, any): &(String, Vec<Glob>)| {
                    tags.get(key).is_some_and(|value| any.iter().any(|it| it.is_match(value)))
                };
                all.iter().all(carries).into()
            }
        }
    }
}

impl fmt::Display for Requirement {
    /// As the policy has it: `max_age: 1h 30m`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
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
            Self::Document(any) => write!(f, "document: {}", list(any)),
            Self::Owner(any) => write!(f, "owner: {}", list(any)),
            Self::Reason(any) => write!(f, "reason: {}", list(any)),
            Self::Status(any) => write!(f, "status: {}", list(any)),
            Self::Target(any) => write!(f, "target: {}", list(any)),
            Self::TargetTags(all) => {
                let tag = |(key, any): &(String, Vec<Glob>)| format!("{key}: {}", list(any));
                write!(f, "target_tags: {}", all.iter().map(tag).collect::<Vec<_>>().join("; "))
            }
        }
    }
}

fn list(items: &[impl fmt::Display]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
