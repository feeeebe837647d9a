//! Whether rules, exemptions and their tests hold for a session, in three-valued logic.

use std::sync::Arc;

use jiff::Timestamp;

use super::{
    model::{Condition, Demand, Exemption, Policy, Requirement, Rule, Test},
    subject::{Facts, Subject},
    trace::{Follow, Item, Key},
};
use crate::{
    pattern::OwnerPattern,
    session::{Record, Session},
    target::{Tags, Unknown},
    truth::Truth,
};

impl Rule {
    /// Whether the session is in scope of the rule, and does not fulfil what it requires.
    #[must_use]
    pub fn is_violated(&self, now: Timestamp, subject: Subject<'_>) -> Truth {
        self.truths(now, subject, &mut ()).is_violated()
    }

    /// Whether a record that was not evaluated may be of a session in scope: not if what it has says no.
    pub(crate) fn may_be_about(&self, record: &Record, policy: &Policy, facts: Facts<'_>) -> bool {
        let text = |it: &Option<Arc<str>>| it.clone().unwrap_or_default();
        let session = Session {
            status: record.status.clone(),
            document: record.document.clone(),
            reason: record.reason.clone(),
            access_type: record.access_type.clone(),
            ..Session::new("", text(&record.owner), text(&record.target), Timestamp::UNIX_EPOCH)
        };
        let tags = Tags::Unknown(Unknown::TagsNotLookedUp);
        let subject = Subject::new(policy, &session, &tags).with(facts);
        let truth = |it: &Test| match it {
            Test::Owner(_) if record.owner.is_none() => Truth::Unknown,
            Test::Target(_) if record.target.is_none() => Truth::Unknown,
            Test::AccessType(_)
            | Test::Account(_)
            | Test::Document(_)
            | Test::Owner(_)
            | Test::Reason(_)
            | Test::Region(_)
            | Test::SessionType(_)
            | Test::Status(_)
            | Test::Target(_)
            | Test::TargetTag(..) => it.holds(subject),
        };
        let all = |it: &Condition| Truth::all(it.0.iter().map(truth));
        let unless = self.unless.as_ref().map_or(Truth::False, all);
        Truth::all([all(&self.when), !unless]) != Truth::False
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
        let Session { target, status, .. } = subject.session;
        match self {
            Self::AccessType(any) => known(subject.access_type().map(|it| any.contains(&it))),
            Self::Account(any) => known(subject.scope().map(|it| any.contains(&it.account))),
            Self::Region(any) => {
                known(subject.scope().map(|scope| any.iter().any(|it| it.is_match(&scope.region))))
            }
            Self::SessionType(any) => {
                known(subject.session_type().ok().map(|it| any.contains(&it)))
            }
            Self::Document(any) => {
                known(subject.document().map(|name| any.iter().any(|it| it.is_match(name))))
            }
            Self::Owner(any) => OwnerPattern::any_means(any, &subject.owner).into(),
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
