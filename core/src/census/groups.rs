//! The groups of one listing, and how many of their places are taken.

use std::{collections::HashMap, sync::Arc};

use crate::{
    policy::{Concurrent, Per},
    session::{Record, Session},
    truth::Truth,
};

/// Owners and targets as numbers, so that their texts are compared once.
pub(super) struct Members {
    owners: Numbers,
    targets: Numbers,
    n: usize,
}

/// A session, and the numbers of its owner and target.
#[derive(Clone, Copy)]
pub(super) struct Numbered {
    /// Its index among all sessions.
    pub(super) index: usize,
    owner: usize,
    target: usize,
}

struct Numbers(HashMap<Arc<str>, usize>);

impl Numbers {
    fn number(&mut self, text: &Arc<str>) -> usize {
        if let Some(known) = self.0.get(text) {
            return *known;
        }
        let next = self.0.len();
        self.0.insert(Arc::clone(text), next);
        next
    }
}

impl Members {
    /// Of these sessions, so many, each with its index.
    pub(super) fn new<'s>(
        sessions: impl Iterator<Item = (usize, &'s Session)>,
        n: usize,
    ) -> (Self, Vec<Numbered>) {
        let numbers = || Numbers(HashMap::with_capacity(n));
        let (mut owners, mut targets) = (numbers(), numbers());
        let numbered = |(index, it): (usize, &Session)| Numbered {
            index,
            owner: owners.number(&it.owner),
            target: targets.number(&it.target),
        };
        let sessions = sessions.map(numbered).collect();
        (Self { owners, targets, n }, sessions)
    }
}

/// The groups of one rule, as far as their members have been counted.
pub(super) struct Groups<'a> {
    per: Per,
    at_most: usize,
    members: &'a Members,
    places: Vec<Places>,
    /// Where `per` is both: the group of an owner and a target.
    pairs: HashMap<(usize, usize), usize>,
    /// Records that may be of any group.
    anywhere: usize,
    /// Where `per` is both: records of an owner, or on a target, of which no more is known.
    of_owner: HashMap<usize, usize>,
    on_target: HashMap<usize, usize>,
}

/// The places of a group that are taken.
#[derive(Clone, Copy, Default)]
struct Places {
    /// By members that are certainly in scope, and certainly stay.
    certain: usize,
    /// By those and by members that may be in scope, and may stay.
    possible: usize,
    /// Whether there may have been no place for a member.
    is_short: bool,
}

impl<'a> Groups<'a> {
    pub(super) fn new(concurrent: Concurrent, members: &'a Members) -> Self {
        let Concurrent { per, at_most, .. } = concurrent;
        let n = match per {
            Per::Owner => members.owners.0.len(),
            Per::OwnerAndTarget => 0,
            Per::Target => members.targets.0.len(),
        };
        let places = vec![Places::default(); n];
        let n_pairs = if per == Per::OwnerAndTarget { members.n } else { 0 };
        let pairs = HashMap::with_capacity(n_pairs);
        Self {
            per,
            at_most: at_most as usize,
            members,
            places,
            pairs,
            anywhere: 0,
            of_owner: HashMap::new(),
            on_target: HashMap::new(),
        }
    }

    /// The group of a session.
    pub(super) fn of(&mut self, session: Numbered) -> usize {
        let Numbered { owner, target, .. } = session;
        match self.per {
            Per::Owner => owner,
            Per::OwnerAndTarget => self.of_both(owner, target),
            Per::Target => target,
        }
    }

    fn of_both(&mut self, owner: usize, target: usize) -> usize {
        *self.pairs.entry((owner, target)).or_insert_with(|| {
            self.places.push(Places::default());
            self.places.len() - 1
        })
    }

    /// Whether a group has a place left for a member, and how many are certainly taken.
    pub(super) fn has_place(&mut self, session: Numbered, group: usize) -> (Truth, u32) {
        let Numbered { owner, target, .. } = session;
        let n = |of: &HashMap<usize, usize>, it| of.get(&it).copied().unwrap_or_default();
        let anywhere = self.anywhere + n(&self.of_owner, owner) + n(&self.on_target, target);
        let Some(places) = self.places.get_mut(group) else { return (Truth::Unknown, 0) };
        let has_place = if self.at_most <= places.certain {
            Truth::False
        } else if self.at_most <= places.possible + anywhere {
            Truth::Unknown
        } else {
            Truth::True
        };
        places.is_short |= has_place != Truth::True;
        (has_place, u32::try_from(places.certain).unwrap_or(u32::MAX))
    }

    /// Takes a place of a group, or perhaps.
    pub(super) fn take(&mut self, group: usize, takes: Truth) {
        if let Some(places) = self.places.get_mut(group) {
            places.certain += usize::from(takes == Truth::True);
            places.possible += usize::from(takes != Truth::False);
        }
    }

    /// A record that was not evaluated may take a place of its group; if that is not known, of any. One
    /// that no session shares a group with matters to none.
    pub(super) fn may_take(&mut self, record: &Record) {
        let Members { owners, targets, .. } = self.members;
        let owner = record.owner.as_ref().map(|it| owners.0.get(it).copied());
        let target = record.target.as_ref().map(|it| targets.0.get(it).copied());
        let group = match self.per {
            Per::Owner => owner,
            Per::OwnerAndTarget => match (owner, target) {
                (Some(Some(owner)), Some(Some(target))) => Some(Some(self.of_both(owner, target))),
                (Some(None), _) | (_, Some(None)) => Some(None),
                (Some(Some(owner)), None) => {
                    *self.of_owner.entry(owner).or_default() += 1;
                    return;
                }
                (None, Some(Some(target))) => {
                    *self.on_target.entry(target).or_default() += 1;
                    return;
                }
                (None, None) => None,
            },
            Per::Target => target,
        };
        match group {
            Some(Some(group)) => self.take(group, Truth::Unknown),
            Some(None) => {}
            None => self.anywhere += 1,
        }
    }

    /// Whether a group may have had no place for a member.
    pub(super) fn is_short(&self, group: usize) -> bool {
        self.places.get(group).is_some_and(|it| it.is_short)
    }
}
