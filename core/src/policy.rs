//! The policy: rules, exemptions and limits, valid by construction. `Policy::parse` reads one.

mod changes;
mod conditions;
mod error;
mod file;
mod grammar;
mod hours;
mod identity;
mod lint;
mod reader;
mod reason;
pub mod schema;
mod yaml;

use std::{collections::BTreeMap, fmt, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use regex_lite::Regex;

pub(crate) use self::grammar::ACCESS_TYPES;
pub use self::{
    error::{PolicyError, PolicyErrors},
    hours::Hours,
    identity::{PolicyIdentity, sha256},
};
use crate::{
    evaluate::trace::{Follow, Item, Key},
    pattern::{Glob, OwnerPattern},
    session::Session,
    session_type::{DocumentTypes, KNOWN_BY_NAME, SessionType},
    target::{Scope, Tags, Unknown},
    truth::Truth,
};

/// What a condition may ask of a session's status: all that AWS's model of the API has.
pub(crate) const STATUSES: [&str; 6] =
    ["Connected", "Connecting", "Disconnected", "Failed", "Terminated", "Terminating"];

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

/// What a test is about: a session and its target's tags, with what the policy assumes of what AWS
/// did not return.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// As AWS returned it.
    pub session: &'a Session,
    /// As AWS returned them.
    pub tags: &'a Tags,
    assume: &'a Assume,
    scope: Option<&'a Scope>,
    types: &'a DocumentTypes,
    counted: &'a [Truth],
}

impl<'a> Subject<'a> {
    /// A session and its target's tags, as the policy takes them.
    #[must_use]
    pub fn new(policy: &'a Policy, session: &'a Session, tags: &'a Tags) -> Self {
        Self {
            session,
            tags,
            assume: &policy.assume,
            scope: None,
            types: &KNOWN_BY_NAME,
            counted: &[],
        }
    }

    /// In this account and Region.
    #[must_use]
    pub fn at(self, scope: Option<&'a Scope>) -> Self {
        Self { scope, ..self }
    }

    /// With the types of documents that have been looked up.
    #[must_use]
    pub fn typed(self, types: &'a DocumentTypes) -> Self {
        Self { types, ..self }
    }

    /// The account and Region, if they are known.
    #[must_use]
    pub fn scope(self) -> Option<&'a Scope> {
        self.scope
    }

    /// The type of the session.
    ///
    /// # Errors
    /// If it is not known, and why.
    pub fn session_type(self) -> Result<SessionType, Unknown> {
        let document = self.document().ok_or(Unknown::DocumentNotReturned)?;
        self.types.of(document)
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

    /// Whether a rule limits how many sessions are active at once.
    #[must_use]
    pub fn counts(&self) -> bool {
        self.rules.iter().any(|it| it.concurrent().is_some())
    }

    /// Whether anything in it depends on what kind of session a document starts.
    #[must_use]
    pub fn asks_session_type(&self) -> bool {
        let of_exemptions = self.exemptions.iter().flat_map(|it| &it.when.0);
        self.rules.iter().any(Rule::asks_session_type) || of_exemptions.into_iter().any(is_of_type)
    }

    /// What is valid, but probably a mistake.
    #[must_use]
    pub fn warnings(&self, now: Timestamp) -> Vec<String> {
        lint::warnings(self, now)
    }
}

impl Rule {
    /// Whether the session is in scope of the rule, and does not fulfil what it requires.
    #[must_use]
    pub fn is_violated(&self, now: Timestamp, subject: Subject<'_>) -> Truth {
        self.truths(now, subject, &mut ()).is_violated()
    }

    /// The truth of each part. What is left out, since it cannot change the result, is false.
    pub(crate) fn truths<'a>(
        &'a self,
        now: Timestamp,
        subject: Subject<'_>,
        follow: &mut impl Follow<'a>,
    ) -> RuleTruths {
        let when = follow.all(Key::When, &self.when.0, |it| it.holds(subject));
        let unless = match &self.unless {
            Some(unless) if follow.goes_on(when) => {
                follow.all(Key::Unless, &unless.0, |it| it.holds(subject))
            }
            Some(_) | None => Truth::False,
        };
        let fulfilled = match &self.demand {
            Demand::Require(all) if follow.goes_on(Truth::all([when, !unless])) => {
                follow.all(Key::Require, all, |it| it.is_fulfilled(now, subject))
            }
            Demand::Require(_) => Truth::False,
            Demand::Forbid => follow.one(Key::Forbid, Item::Forbid, Truth::False),
        };
        RuleTruths { when, unless, fulfilled }
    }

    /// What of a rule that may be violated is still open: the rest of it is known.
    pub(crate) fn open_part(&self, now: Timestamp, subject: Subject<'_>) -> Self {
        let unless = self.unless.as_ref();
        let unless = unless
            .filter(|it| Truth::all(it.0.iter().map(|it| it.holds(subject))) == Truth::Unknown);
        let demand = if self.demand.is_unmet(now, subject) {
            Demand::Forbid
        } else {
            let is_open = |it: &&Requirement| it.is_fulfilled(now, subject) == Truth::Unknown;
            Demand::Require(self.demand.requirements().iter().filter(is_open).cloned().collect())
        };
        Self {
            id: Arc::clone(&self.id),
            description: None,
            when: self.when.open_part(subject),
            unless: unless.map(|it| it.open_part(subject)),
            demand,
            effect: self.effect,
        }
    }

    /// What is not known, of all that decides whether the rule, which may be violated, is violated.
    pub(crate) fn unknowns(
        &self,
        now: Timestamp,
        subject: Subject<'_>,
    ) -> impl Iterator<Item = Unknown> {
        let is_unmet = self.demand.is_unmet(now, subject);
        let required = if is_unmet { &[] } else { self.demand.requirements() };
        let tests = self.conditions().chain(required.iter().filter_map(Requirement::test));
        let is_counted = |it: &Requirement| it.is_fulfilled(now, subject) != Truth::Unknown;
        let mut counts = required.iter().filter(|it| matches!(it, Requirement::Concurrent(_)));
        let counts = (!counts.all(is_counted)).then_some(Unknown::ConcurrentNotKnown);
        tests.filter_map(move |it| it.unknown(subject)).chain(counts)
    }

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
        self.tests().any(is_of_type)
    }

    /// Its tests of a session: all but age and hours.
    pub(crate) fn tests(&self) -> impl Iterator<Item = &Test> {
        let required = self.demand.requirements().iter();
        self.conditions().chain(required.filter_map(Requirement::test))
    }

    /// The tests of `when` and `unless`.
    fn conditions(&self) -> impl Iterator<Item = &Test> {
        [Some(&self.when), self.unless.as_ref()].into_iter().flatten().flat_map(|it| &it.0)
    }
}

/// What of a rule is true of a session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RuleTruths {
    /// Whether `when` holds.
    pub(crate) when: Truth,
    /// Whether `unless` holds.
    pub(crate) unless: Truth,
    /// Whether all that the rule requires is fulfilled.
    pub(crate) fulfilled: Truth,
}

impl RuleTruths {
    pub(crate) fn in_scope(self) -> Truth {
        Truth::all([self.when, !self.unless])
    }

    pub(crate) fn is_violated(self) -> Truth {
        Truth::all([self.when, !self.unless, !self.fulfilled])
    }
}

impl Demand {
    /// What is required; nothing that could be, if there must be no such session.
    fn requirements(&self) -> &[Requirement] {
        match self {
            Self::Forbid => &[],
            Self::Require(all) => all,
        }
    }

    /// Whether it is known not to be fulfilled, whatever else turns out.
    fn is_unmet(&self, now: Timestamp, subject: Subject<'_>) -> bool {
        match self {
            Self::Forbid => true,
            Self::Require(all) => {
                all.iter().any(|it| it.is_fulfilled(now, subject) == Truth::False)
            }
        }
    }
}

impl Exemption {
    /// Whether the session is exempt at this instant.
    #[must_use]
    pub fn holds(&self, now: Timestamp, subject: Subject<'_>) -> Truth {
        self.truth(now, subject, &mut ())
    }

    /// The same, step by step.
    pub(crate) fn truth<'a>(
        &'a self,
        now: Timestamp,
        subject: Subject<'_>,
        follow: &mut impl Follow<'a>,
    ) -> Truth {
        let when = follow.all(Key::When, &self.when.0, |it| it.holds(subject));
        let until = self.until.map_or(Truth::True, |until| {
            follow.one(Key::Until, Item::Until(until), (now < until).into())
        });
        Truth::all([when, until])
    }
}

impl Condition {
    /// What is not known of its tests.
    pub(crate) fn unknowns(&self, subject: Subject<'_>) -> impl Iterator<Item = Unknown> {
        self.0.iter().filter_map(move |it| it.unknown(subject))
    }

    /// A condition of the tests whose truth is unknown.
    pub(crate) fn open_part(&self, subject: Subject<'_>) -> Self {
        let is_open = |it: &&Test| it.holds(subject) == Truth::Unknown;
        Self(self.0.iter().filter(is_open).cloned().collect())
    }
}

impl Requirement {
    fn test(&self) -> Option<&Test> {
        match self {
            Self::Concurrent(_) | Self::Hours(_) | Self::MaxAge(_) => None,
            Self::Test(test) => Some(test),
        }
    }

    /// Whether the session fulfils it at this instant.
    #[must_use]
    pub fn is_fulfilled(&self, now: Timestamp, subject: Subject<'_>) -> Truth {
        match self {
            Self::Concurrent(it) => {
                subject.counted.get(it.index).copied().unwrap_or(Truth::Unknown)
            }
            Self::Hours(any) => any.iter().any(|it| it.contains(now)).into(),
            Self::MaxAge(limit) => (subject.session.age(now) <= *limit).into(),
            Self::Test(test) => test.holds(subject),
        }
    }
}

impl Test {
    /// Whether it holds; unknown if it depends on something unknown.
    #[must_use]
    pub fn holds(&self, subject: Subject<'_>) -> Truth {
        let known = |known: Option<bool>| known.map_or(Truth::Unknown, Truth::from);
        let Session { owner, target, status, .. } = subject.session;
        match self {
            Self::AccessType(any) => known(subject.access_type().map(|it| any.contains(&it))),
            Self::Account(any) => known(subject.scope.map(|it| any.contains(&it.account))),
            Self::Region(any) => {
                known(subject.scope.map(|scope| any.iter().any(|it| it.is_match(&scope.region))))
            }
            Self::SessionType(any) => {
                known(subject.session_type().ok().map(|it| any.contains(&it)))
            }
            Self::Document(any) => {
                known(subject.document().map(|name| any.iter().any(|it| it.is_match(name))))
            }
            Self::Owner(any) => OwnerPattern::any_is_match(any, owner).into(),
            Self::Reason(any) => known(subject.reason().map(|reason| {
                reason.is_some_and(|reason| any.iter().any(|it| it.is_match(reason)))
            })),
            Self::Status(any) => known(status.as_deref().map(|it| any.contains(&it))),
            Self::Target(any) => any.iter().any(|it| it.is_match(target)).into(),
            Self::TargetTag(key, any) => known(subject.tags().ok().map(|tags| {
                tags.get(key).is_some_and(|value| any.iter().any(|it| it.is_match(value)))
            })),
        }
    }

    /// What is not known, if the test's truth is unknown.
    pub(crate) fn unknown(&self, subject: Subject<'_>) -> Option<Unknown> {
        (self.holds(subject) == Truth::Unknown).then(|| match self {
            Self::AccessType(_) => Unknown::AccessTypeNotReturned,
            Self::Account(_) | Self::Region(_) => Unknown::ScopeNotKnown,
            Self::SessionType(_) => {
                subject.session_type().err().unwrap_or(Unknown::SessionTypeNotKnown)
            }
            Self::Document(_) => Unknown::DocumentNotReturned,
            Self::Reason(_) => Unknown::ReasonNotReturned,
            Self::TargetTag(..) => subject.tags().err().unwrap_or(Unknown::TagsNotReturned),
            Self::Owner(_) | Self::Status(_) | Self::Target(_) => Unknown::StatusNotReturned,
        })
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

fn is_of_type(test: &Test) -> bool {
    matches!(test, Test::SessionType(_))
}

fn list(items: &[impl fmt::Display]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
