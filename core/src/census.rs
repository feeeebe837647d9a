//! The sessions of one listing, evaluated one by one and then among each other.
//!
//! Most rules are about one session alone. A rule with `concurrent` limits how many sessions of a
//! group are active at once, so its truth depends on the others, on those that were not seen too.

mod due;
mod groups;
mod places;

use std::{cmp::Ordering, fmt, sync::Arc};

use jiff::Timestamp;

pub use self::due::{Due, Forewarning};
use self::{
    groups::{Groups, Members, Numbered},
    places::{Hashes, Sizes},
};
use crate::{
    evaluate::{Assessment, Verdict, trace::clauses, verdict},
    policy::{Concurrent, Effect, Facts, Keep, Per, Policy, Rule, Subject},
    session::{Record, Session, is_terminating},
    session_type::DocumentTypes,
    target::{Scope, Tags, Unknown},
    truth::Truth,
};

/// One session, and what the policy says of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Evaluated {
    /// Who, where, since when.
    pub session: Box<Session>,
    /// What is known of its target's tags: they are looked up only where they decide.
    pub tags: Tags,
    /// What the policy says.
    pub verdict: Verdict,
    /// What it is counted by, where a rule has `concurrent`. Boxed, for most policies have none.
    counted: Option<Box<Counted>>,
    /// Whether it may be gone already: one without a status may be `Terminating`.
    may_be_gone: bool,
    /// The groups that have, or may have, no place for it.
    pub excess: Box<[Excess]>,
}

/// A group that has, or may have, no place for a session: `two-each: 3 of 2 per owner`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Excess {
    /// The rule's id.
    pub rule: Arc<str>,
    /// What the sessions of the group have in common.
    pub per: Per,
    /// The session's place in the group, from 1 on. Sessions that may take a place before it are not
    /// counted.
    pub place: usize,
    /// How many places the group has.
    pub at_most: u32,
    /// Whether it certainly has no place for the session.
    pub is_certain: bool,
}

/// What a session is counted by.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Counted {
    /// Its group under each rule with `concurrent`, in policy order.
    groups: Box<[Membership]>,
    /// Whether it would stay if no group had too many.
    stays_alone: Truth,
    /// Of its owner and its target.
    hashes: Hashes,
}

/// What one rule with `concurrent` has to do with a session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Membership {
    /// Whether the session is in the rule's scope.
    in_scope: Truth,
    /// Whether it is among those that are kept.
    is_kept: Truth,
    /// How many certainly stand before it.
    n_before: u32,
}

/// What a listing did not show, or not well enough to be evaluated.
#[derive(Clone, Copy, Debug)]
pub struct Unseen<'a> {
    /// Whether there may be sessions that it did not show at all.
    pub is_incomplete: bool,
    /// Records that were not evaluated, and why.
    pub not_evaluated: &'a [(Record, &'static str)],
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rule, per, place, at_most, is_certain } = self;
        let per = per.name();
        match is_certain {
            true => write!(f, "{rule}: {place} of {at_most} per {per}"),
            false => write!(f, "{rule}: maybe more than {at_most} per {per}"),
        }
    }
}

impl Unseen<'_> {
    /// The listing is complete, and every record was evaluated.
    pub const NOTHING: Self = Self { is_incomplete: false, not_evaluated: &[] };
}

/// A session that stands before another in its group.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Member {
    /// `SessionId`.
    pub id: Arc<str>,
    /// Whether it takes a place: it is in scope, and stays.
    pub counts: Truth,
}

/// The order in which sessions are terminated and reported.
#[must_use]
pub fn oldest_first(a: &Session, b: &Session) -> Ordering {
    (a.started_at, &a.id).cmp(&(b.started_at, &b.id))
}

/// What sessions are evaluated by.
#[derive(Clone, Debug)]
pub struct Evaluator<'a> {
    policy: &'a Policy,
    now: Timestamp,
    facts: Facts<'a>,
    /// The rules with `concurrent`, in policy order.
    counting: Vec<(&'a Rule, Concurrent)>,
    /// Their answers where no group has too many.
    all_kept: Vec<Truth>,
}

impl Evaluated {
    /// A session with a verdict that depends on no other session.
    #[must_use]
    pub fn alone(session: Box<Session>, tags: Tags, verdict: Verdict) -> Self {
        let may_be_gone = session.status.is_none();
        Self { session, tags, verdict, counted: None, may_be_gone, excess: Box::default() }
    }

    /// The same, where it is known whether an earlier sweep may have terminated it. If it may, it takes
    /// no place for certain; without this, that depends on its status.
    #[must_use]
    pub fn perhaps_gone(self, may_be_gone: bool) -> Self {
        Self { may_be_gone, ..self }
    }

    /// Its group under each rule with `concurrent`, in policy order.
    fn groups(&self) -> &[Membership] {
        self.counted.as_ref().map_or(&[], |it| &it.groups)
    }

    /// The answers of its groups, for `Subject::counted`.
    fn are_kept(&self) -> Vec<Truth> {
        self.groups().iter().map(|it| it.is_kept).collect()
    }
}

impl<'a> Evaluator<'a> {
    /// Evaluates by a policy, at an instant.
    #[must_use]
    pub fn new(policy: &'a Policy, now: Timestamp) -> Self {
        let counting = policy.rules.iter().filter_map(|it| Some((it, it.concurrent()?)));
        let counting: Vec<_> = counting.collect();
        let all_kept = vec![Truth::True; counting.len()];
        Self { policy, now, facts: Facts::default(), counting, all_kept }
    }

    /// In this account and Region.
    #[must_use]
    pub fn at(self, scope: Option<&'a Scope>) -> Self {
        Self { facts: Facts { scope, ..self.facts }, ..self }
    }

    /// With the types of documents that have been looked up.
    #[must_use]
    pub fn typed(self, types: &'a DocumentTypes) -> Self {
        Self { facts: Facts { types, ..self.facts }, ..self }
    }

    /// What a session is evaluated with, but for the others.
    #[must_use]
    pub fn subject<'s>(&self, it: &'s Evaluated) -> Subject<'s>
    where
        'a: 's,
    {
        self.subject_with(&it.session, &it.tags)
    }

    fn subject_with<'s>(&self, session: &'s Session, tags: &'s Tags) -> Subject<'s>
    where
        'a: 's,
    {
        Subject::new(self.policy, session, tags).with(self.facts)
    }

    /// Evaluates a session as if no group had too many. `conclude` follows.
    #[must_use]
    pub fn evaluate(&self, session: Box<Session>, tags: Tags) -> Evaluated {
        let mut evaluated = Evaluated::alone(session, tags, Verdict::Compliant);
        self.evaluate_again(&mut evaluated);
        evaluated
    }

    /// The same, after its tags have become known.
    pub fn evaluate_again(&self, it: &mut Evaluated) {
        let subject = self.subject(it);
        let membership = |(rule, _): &(&Rule, _)| Membership {
            in_scope: rule.truths(self.now, subject, &mut ()).in_scope(),
            is_kept: Truth::True,
            n_before: 0,
        };
        let verdict = self.verdict(it, &self.all_kept);
        it.counted = (!self.counting.is_empty()).then(|| {
            Box::new(Counted {
                groups: self.counting.iter().map(membership).collect(),
                stays_alone: self.stays(&it.session, &verdict),
                hashes: Hashes::of(&it.session),
            })
        });
        it.verdict = verdict;
    }

    /// How a verdict came about.
    #[must_use]
    pub fn assess(&self, it: &Evaluated) -> Assessment<'a> {
        let are_kept = it.are_kept();
        let subject = self.subject(it).counted(&are_kept);
        let verdict = verdict(self.policy, self.now, subject);
        Assessment { verdict, clauses: clauses(self.policy, self.now, subject) }
    }

    fn verdict(&self, it: &Evaluated, counted: &[Truth]) -> Verdict {
        let subject = self.subject(it).counted(counted);
        verdict(self.policy, self.now, subject)
    }

    /// Counts the sessions of each group, and evaluates those again that have, or may have, no place.
    ///
    /// The members of a group are ordered by what the rule keeps. A member is in excess for certain if
    /// at least `at_most` others that are certainly in scope, and certainly stay, stand before it, and
    /// possibly if at least so many may. So a session that was not seen, or about which something is
    /// not known, never gets another terminated. A session that violates the policy does not stay, nor
    /// does one that is `Terminating`; an exempt one does.
    ///
    /// Each member is counted after its own verdict is known. Rules that keep the newest are therefore
    /// counted from the newest session on, and the others from the oldest. Where a policy has both,
    /// sessions that the others might terminate are counted as possible. Rules that only warn come last.
    ///
    /// Sessions whose groups have too few members to have too many are left out of the count: they
    /// take places only where there are enough.
    ///
    /// `goes_on` is asked before a session is evaluated again: from its first `false` on, those that
    /// have, or may have, no place are undetermined.
    ///
    /// Returns the indices of the sessions that may be in scope where that matters, so that more may be
    /// found out about them: it does not matter in a group that cannot have too many.
    pub fn conclude(
        &self,
        evaluated: &mut [Evaluated],
        unseen: Unseen<'_>,
        mut goes_on: impl FnMut() -> bool,
    ) -> Vec<usize> {
        if self.counting.is_empty() {
            return Vec::new();
        }
        let crowded = self.crowded(evaluated, unseen);
        let sessions = crowded.iter().filter_map(|it| Some((*it, &*evaluated.get(*it)?.session)));
        let (members, mut order) = Members::new(sessions, crowded.len());
        let by_age =
            |a: &Numbered, b: &Numbered| match (evaluated.get(a.index), evaluated.get(b.index)) {
                (Some(a), Some(b)) => oldest_first(&a.session, &b.session),
                _ => Ordering::Equal, // Unreachable: every index is one of theirs.
            };
        if !order.is_sorted_by(|a, b| by_age(a, b).is_le()) {
            order.sort_unstable_by(by_age);
        }
        let has = |keep, effect| {
            self.counting.iter().any(|(rule, it)| it.keep == keep && rule.effect == effect)
        };
        let listing = Listing { members: &members, unseen };
        let mut open = Vec::new();
        let mut count = |keep, effect, is_certain| {
            let kind = Kind { keep, effect, is_certain };
            let oldest = order.iter().copied();
            match keep {
                Keep::Newest => self.count(kind, listing, oldest.rev(), evaluated, &mut goes_on),
                Keep::Oldest => self.count(kind, listing, oldest, evaluated, &mut goes_on),
            }
        };
        let has_both = has(Keep::Newest, Effect::Terminate) && has(Keep::Oldest, Effect::Terminate);
        if has_both {
            // What the rules that keep the newest leave room for is not known yet.
            open.extend(count(Keep::Oldest, Effect::Terminate, false));
        }
        // Rules that only warn terminate no session, so they come last, and change no other count.
        for effect in [Effect::Terminate, Effect::Warn] {
            for keep in [Keep::Newest, Keep::Oldest] {
                if has(keep, effect) {
                    open.extend(count(keep, effect, true));
                }
            }
        }
        open
    }

    /// The sessions that a group may have no place for, or had none for when they were counted before.
    fn crowded(&self, evaluated: &[Evaluated], unseen: Unseen<'_>) -> Vec<usize> {
        let rules = self.counting.iter().map(|(_, it)| it);
        let hashes = |it: &Evaluated| it.counted.as_ref().map(|it| it.hashes).unwrap_or_default();
        let sizes = Sizes::new(rules, evaluated.iter().map(hashes), unseen.not_evaluated.len());
        let is_crowded = |(_, it): &(usize, &Evaluated)| {
            unseen.is_incomplete || !it.excess.is_empty() || !sizes.suffice(hashes(it))
        };
        evaluated.iter().enumerate().filter(is_crowded).map(|(index, _)| index).collect()
    }

    fn excess(&self, it: &Evaluated) -> Box<[Excess]> {
        let has_no_place = |(_, it): &(_, &Membership)| it.is_kept != Truth::True;
        let groups = self.counting.iter().zip(it.groups()).filter(has_no_place);
        let excess = groups.map(|((rule, concurrent), membership)| Excess {
            rule: Arc::clone(&rule.id),
            per: concurrent.per,
            place: membership.n_before as usize + 1,
            at_most: concurrent.at_most,
            is_certain: membership.is_kept == Truth::False,
        });
        excess.collect()
    }

    /// Goes through the sessions in this order, and finds out of each whether the groups of these rules
    /// have a place for it; if not `is_certain`, none takes its place for certain.
    ///
    /// Returns the members that may be in scope of groups that may have too many.
    fn count(
        &self,
        kind: Kind,
        listing: Listing<'_>,
        order: impl Iterator<Item = Numbered>,
        evaluated: &mut [Evaluated],
        goes_on: &mut impl FnMut() -> bool,
    ) -> Vec<usize> {
        let Listing { members, unseen } = listing;
        let Kind { keep, effect, is_certain } = kind;
        let is_of_kind =
            |(rule, it): &(&Rule, Concurrent)| it.keep == keep && rule.effect == effect;
        let rules = self.counting.iter().enumerate().filter(|(_, it)| is_of_kind(it));
        let mut groups: Vec<_> =
            rules.map(|(rule, (_, it))| (rule, Groups::new(*it, members))).collect();
        let mut records = unseen.in_order(keep).into_iter().peekable();
        let mut joined = Vec::new();
        let mut open = Vec::new();
        for numbered in order {
            let index = numbered.index;
            let Some(it) = evaluated.get_mut(index) else { continue };
            while let Some(record) = records.next_if(|record| may_stand_before(record, it, keep)) {
                for (rule, groups) in &mut groups {
                    if self.may_be_in_scope(*rule, record) {
                        groups.may_take(record);
                    }
                }
            }
            let mut is_changed = false;
            for (rule, groups) in &mut groups {
                let groups_of_it = it.counted.as_mut().map_or(&mut [][..], |it| &mut it.groups);
                let Some(membership) = groups_of_it.get_mut(*rule) else { continue };
                let mut is_kept = Truth::True;
                if membership.in_scope != Truth::False {
                    let group = groups.of(numbered);
                    (is_kept, membership.n_before) = groups.has_place(numbered, group);
                    if unseen.is_incomplete {
                        is_kept = is_kept.min(Truth::Unknown);
                    }
                    joined.push(group);
                }
                is_changed |= membership.is_kept != is_kept;
                membership.is_kept = is_kept;
            }
            if is_changed {
                let is_late = !goes_on();
                it.verdict = if is_late { self.late(it) } else { self.verdict(it, &it.are_kept()) };
            }
            if is_changed || !it.excess.is_empty() {
                it.excess = self.excess(it);
            }
            let mut joined = joined.drain(..);
            for (rule, groups) in &mut groups {
                let in_scope = it.groups().get(*rule).map_or(Truth::False, |it| it.in_scope);
                if in_scope == Truth::False {
                    continue;
                }
                let Some(group) = joined.next() else { continue };
                let stays = self.stays_but_for(*rule, it);
                let stays = if is_certain { stays } else { stays.min(Truth::Unknown) };
                groups.take(group, Truth::all([in_scope, stays]));
                if in_scope == Truth::Unknown {
                    open.push((*rule, group, index));
                }
            }
        }
        let matters = |(rule, group, _): &(usize, usize, usize)| {
            let of_rule = groups.iter().find(|(it, _)| it == rule);
            of_rule.is_some_and(|(_, groups)| groups.is_short(*group))
        };
        open.into_iter().filter(matters).map(|(_, _, index)| index).collect()
    }

    /// Whether a record that was not evaluated may be in scope of a rule with `concurrent`.
    fn may_be_in_scope(&self, rule: usize, record: &Record) -> bool {
        let rule = self.counting.get(rule);
        rule.is_none_or(|(rule, _)| rule.may_be_about(record, self.policy, self.facts))
    }

    /// Whether a session will be there after the sweep, if this rule does not terminate it.
    ///
    /// A rule's own excess does not matter to its count: where a member has no place, `at_most` others
    /// stand before it, and before all that follow.
    fn stays_but_for(&self, rule: usize, it: &Evaluated) -> Truth {
        let is_certain = if it.may_be_gone { Truth::Unknown } else { Truth::True };
        let warns = |index: usize| {
            self.counting.get(index).is_some_and(|(rule, _)| rule.effect == Effect::Warn)
        };
        let is_ignored = |index: usize| index == rule || warns(index);
        let is_in_excess =
            |(index, it): (usize, &Membership)| is_ignored(index) && it.is_kept != Truth::True;
        let stays = if it.groups().iter().enumerate().any(is_in_excess) {
            let truths = it.are_kept().into_iter().enumerate();
            let counted: Vec<_> = truths
                .map(|(index, it)| if is_ignored(index) { Truth::True } else { it })
                .collect();
            if counted.iter().all(|it| *it == Truth::True) {
                it.counted.as_ref().map_or(Truth::Unknown, |it| it.stays_alone)
            } else {
                self.stays(&it.session, &self.verdict(it, &counted))
            }
        } else {
            self.stays(&it.session, &it.verdict)
        };
        stays.min(is_certain)
    }

    /// Whether a session with this verdict will be there after the sweep. A rule that only warns
    /// terminates none.
    fn stays(&self, session: &Session, verdict: &Verdict) -> Truth {
        let only_warns = |id: &Arc<str>| {
            let is_it = |rule: &&Rule| rule.id == *id;
            self.policy.rules.iter().find(is_it).is_some_and(|it| it.effect == Effect::Warn)
        };
        match verdict {
            _ if session.is_terminating() => Truth::False,
            Verdict::Violation { .. } => Truth::False,
            Verdict::Compliant | Verdict::Exempt { .. } | Verdict::Warning { .. } => Truth::True,
            Verdict::Undetermined { rules, .. } if rules.iter().all(only_warns) => Truth::True,
            Verdict::Undetermined { .. } => Truth::Unknown,
        }
    }

    /// The verdict on a session that there was no time to evaluate again.
    fn late(&self, it: &Evaluated) -> Verdict {
        let has_no_place =
            it.groups().iter().map(|it| it.in_scope != Truth::False && it.is_kept != Truth::True);
        let rules = self.counting.iter().zip(has_no_place).filter(|(_, has_none)| *has_none);
        let rules = rules.map(|((rule, _), _)| Arc::clone(&rule.id)).collect();
        Verdict::Undetermined { rules, unknown: Unknown::ConcurrentNotKnown }
    }

    /// The records that were not evaluated, and may take a place before this session in its group under a
    /// rule, with the reasons.
    #[must_use]
    pub fn unseen_before<'u>(
        &self,
        concurrent: Concurrent,
        it: &Evaluated,
        unseen: Unseen<'u>,
    ) -> Vec<&'u (Record, &'static str)> {
        let Session { owner, target, .. } = &*it.session;
        let may_be = |known: &Option<Arc<str>>, of_it| known.as_ref().is_none_or(|it| it == of_it);
        let may_share = |record: &Record| match concurrent.per {
            Per::Owner => may_be(&record.owner, owner),
            Per::OwnerAndTarget => may_be(&record.owner, owner) && may_be(&record.target, target),
            Per::Target => may_be(&record.target, target),
        };
        let may_count = |(record, _): &&(Record, _)| {
            !is_terminating(record.status.as_deref())
                && may_stand_before(record, it, concurrent.keep)
                && may_share(record)
                && self.may_be_in_scope(concurrent.index, record)
        };
        unseen.not_evaluated.iter().filter(may_count).collect()
    }

    /// The sessions that stand before this one in its group under a rule, and take a place, or may.
    /// They have been concluded.
    #[must_use]
    pub fn before(&self, concurrent: Concurrent, it: &Evaluated, all: &[Evaluated]) -> Vec<Member> {
        let index = concurrent.index;
        let shares = |a: &Session, b: &Session| match concurrent.per {
            Per::Owner => a.owner == b.owner,
            Per::OwnerAndTarget => a.owner == b.owner && a.target == b.target,
            Per::Target => a.target == b.target,
        };
        let is_before = |other: &&Evaluated| {
            let order = oldest_first(&other.session, &it.session);
            let before = match concurrent.keep {
                Keep::Newest => Ordering::Greater,
                Keep::Oldest => Ordering::Less,
            };
            order == before && shares(&other.session, &it.session)
        };
        let mut before: Vec<_> = all.iter().filter(is_before).collect();
        before.sort_unstable_by(|a, b| oldest_first(&a.session, &b.session));
        let member = |it: &Evaluated| {
            let in_scope = it.groups().get(index).map_or(Truth::Unknown, |it| it.in_scope);
            Member {
                id: Arc::clone(&it.session.id),
                counts: Truth::all([in_scope, self.stays_but_for(index, it)]),
            }
        };
        before.into_iter().map(member).filter(|it| it.counts != Truth::False).collect()
    }
}

/// Which rules are counted, and how.
#[derive(Clone, Copy)]
struct Kind {
    keep: Keep,
    effect: Effect,
    /// Whether a session that stays takes its place for certain.
    is_certain: bool,
}

/// A listing, besides what is evaluated of it.
#[derive(Clone, Copy)]
struct Listing<'a> {
    members: &'a Members,
    unseen: Unseen<'a>,
}

impl<'a> Unseen<'a> {
    /// The records that may take a place, those that may stand first coming first.
    fn in_order(self, keep: Keep) -> Vec<&'a Record> {
        let records = self.not_evaluated.iter().map(|(it, _)| it);
        let mut records: Vec<_> =
            records.filter(|it| !is_terminating(it.status.as_deref())).collect();
        records.sort_unstable_by_key(|it| {
            let after_1970 = it.started_at.map(Timestamp::as_nanosecond);
            after_1970.map(|it| if keep == Keep::Newest { -it } else { it }) // `None` comes first.
        });
        records
    }
}

/// Whether a record that was not evaluated may stand before a session.
fn may_stand_before(record: &Record, it: &Evaluated, keep: Keep) -> bool {
    record.started_at.is_none_or(|at| match keep {
        Keep::Newest => it.session.started_at <= at,
        Keep::Oldest => at <= it.session.started_at,
    })
}

#[cfg(test)]
mod tests;
