//! Which groups certainly have a place for each of their members: most of them, so that only the
//! others are counted member by member.

use crate::{
    policy::{Concurrent, Per},
    session::Session,
};

/// A session's owner and target as short hashes. Two that differ may have the same one.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Hashes {
    owner: u32,
    target: u32,
}

/// How many sessions each group has at most: by a hash, different groups may be counted as one.
pub(super) struct Sizes<'a> {
    rules: Vec<(&'a Concurrent, Vec<u32>)>,
    /// Sessions that may be of any group.
    n_unseen: usize,
}

impl Hashes {
    pub(super) fn of(session: &Session) -> Self {
        Self { owner: hash(&session.owner), target: hash(&session.target) }
    }

    /// The hash of the group.
    fn group(self, per: Per) -> u32 {
        match per {
            Per::Owner => self.owner,
            Per::OwnerAndTarget => self.owner ^ self.target.rotate_left(16),
            Per::Target => self.target,
        }
    }
}

impl<'a> Sizes<'a> {
    /// Of the groups of these rules, with these sessions, and so many that were not evaluated.
    pub(super) fn new(
        rules: impl Iterator<Item = &'a Concurrent>,
        sessions: impl ExactSizeIterator<Item = Hashes>,
        n_unseen: usize,
    ) -> Self {
        // Twice as many as sessions, so that few share one.
        let n = (2 * sessions.len()).next_power_of_two();
        let mut rules: Vec<_> = rules.map(|it| (it, vec![0; n])).collect();
        for hashes in sessions {
            for (rule, sizes) in &mut rules {
                if let Some(size) = sizes.get_mut(slot(hashes.group(rule.per), n)) {
                    *size += 1;
                }
            }
        }
        Self { rules, n_unseen }
    }

    /// Whether every group of the session has a place for each of its members.
    pub(super) fn suffice(&self, hashes: Hashes) -> bool {
        self.rules.iter().all(|(rule, sizes)| {
            let size = sizes.get(slot(hashes.group(rule.per), sizes.len()));
            size.is_some_and(|it| *it as usize + self.n_unseen <= rule.at_most as usize)
        })
    }
}

fn slot(hash: u32, n: usize) -> usize {
    hash as usize & (n - 1)
}

/// It only has to be fast: who makes texts with the same hash makes the count slower, not wrong.
fn hash(text: &str) -> u32 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |hash: u64, it: u64| (hash.rotate_left(23) ^ it).wrapping_mul(ODD);
    let (words, rest) = text.as_bytes().as_chunks::<8>();
    let hash = words.iter().fold(0, |hash, it| mix(hash, u64::from_le_bytes(*it)));
    let hash = rest.iter().fold(hash, |hash, it| mix(hash, u64::from(*it)));
    (mix(hash, hash >> 29) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Keep;

    /// Two sessions of one owner, one of them on a target that another owner has a session on, too.
    const SESSIONS: [(&str, &str); 3] = [("a", "i-1"), ("a", "i-2"), ("b", "i-2")];

    fn hashes((owner, target): (&str, &str)) -> Hashes {
        Hashes { owner: hash(owner), target: hash(target) }
    }

    /// A session has its places for certain only if each of its groups has enough, whatever was not
    /// seen: where it has not, its group is counted.
    #[test]
    fn places_suffice() {
        for (per, at_most, n_unseen, expected) in [
            (Per::Owner, 1, 0, [false, false, true]),
            (Per::Owner, 2, 0, [true, true, true]),
            (Per::Owner, 2, 1, [false, false, true]),
            (Per::Target, 1, 0, [true, false, false]),
            (Per::OwnerAndTarget, 1, 0, [true, true, true]),
            (Per::OwnerAndTarget, 1, 1, [false, false, false]),
        ] {
            let rule = Concurrent { index: 0, per, at_most, keep: Keep::Newest };
            let other = Concurrent { at_most: 9, ..rule };
            let sizes =
                Sizes::new([&other, &rule].into_iter(), SESSIONS.map(hashes).into_iter(), n_unseen);
            let actual = SESSIONS.map(|it| sizes.suffice(hashes(it)));
            assert_eq!(actual, expected, "{per:?}, {at_most}, {n_unseen}");
        }
        let none: [Hashes; 0] = [];
        let rule = Concurrent { index: 0, per: Per::Owner, at_most: 1, keep: Keep::Newest };
        let _ = Sizes::new([&rule].into_iter(), none.into_iter(), 0);
    }

    /// Groups that share a hash are counted as one, so that theirs are never too small.
    #[test]
    fn shared_hashes() {
        let rule = Concurrent { index: 0, per: Per::Owner, at_most: 1, keep: Keep::Newest };
        let same = [Hashes::default(), Hashes::default()];
        let sizes = Sizes::new([&rule].into_iter(), same.into_iter(), 0);
        assert!(!sizes.suffice(Hashes::default()));
    }

    /// Texts that differ anywhere have hashes that differ, as a rule.
    #[test]
    fn hashes_differ() {
        let texts = ["", "a", "b", "ab", "ba", "aaaaaaaa", "aaaaaaab", "baaaaaaa", "aaaaaaaaa"];
        let all: std::collections::BTreeSet<_> = texts.map(|it| hash(it) & 0xffff).into();
        assert_eq!(all.len(), texts.len());
    }
}
