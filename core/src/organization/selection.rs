//! Which accounts and Regions a run sweeps, and in which batches.

use std::collections::BTreeSet;

/// An account of an organization.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Account {
    /// Its 12 digits.
    pub id: String,
    /// Whether roles in it can be assumed: it is neither suspended nor being opened or closed.
    pub is_active: bool,
}

/// Which accounts and Regions a run sweeps.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Selection {
    /// Only these accounts; every account if empty.
    pub include: BTreeSet<String>,
    /// Never these.
    pub exclude: BTreeSet<String>,
    /// The accounts that are swept first; if empty, the account with the lowest id.
    pub canaries: BTreeSet<String>,
    /// How many account-Regions are in a batch, unless one account has more.
    pub batch_size: usize,
}

/// Why no batches can be made.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SelectionError {
    /// An account that is to be swept does not exist.
    #[error("the organization has no account {}: correct {variable}", ids.join(", "))]
    Unknown {
        /// Their ids.
        ids: Vec<String>,
        /// Where they are named.
        variable: &'static str,
    },
    /// A canary is not among the accounts that are swept.
    #[error(
        "the canary {} is not swept, because it is excluded, not included, or not active: correct \
         REAPER_CANARY_ACCOUNTS",
        ids.join(", ")
    )]
    CanaryNotSelected {
        /// Their ids.
        ids: Vec<String>,
    },
    /// No account is selected.
    #[error("none of {n_accounts} accounts is active, included and not excluded")]
    Nothing {
        /// Accounts that there are.
        n_accounts: usize,
    },
}

/// Whether a text is the id of an account: 12 digits.
#[must_use]
pub fn is_account_id(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|it| it.is_ascii_digit())
}

/// Whether a text is the name of a role, without its path: IAM's alphabet, and at most 64 characters.
#[must_use]
pub fn is_role_name(text: &str) -> bool {
    let is_part = |it: u8| it.is_ascii_alphanumeric() || b"_+=,.@-".contains(&it);
    (1..=64).contains(&text.len()) && text.bytes().all(is_part)
}

/// Whether a text has the form of a Region's code, such as `eu-central-1`.
#[must_use]
pub fn is_region(text: &str) -> bool {
    let is_plain = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-';
    let parts: Vec<_> = text.split('-').collect();
    (3..=5).contains(&parts.len())
        && text.bytes().all(is_plain)
        && parts.iter().all(|it| !it.is_empty())
        && parts.last().is_some_and(|it| it.bytes().all(|it| it.is_ascii_digit()))
}

impl Selection {
    /// Batches of whole accounts, each account once, by their ids; those of the canaries come first.
    /// Returns how many batches are of canaries as well.
    ///
    /// # Errors
    /// If a named account does not exist, or no account is selected.
    pub fn batches(
        &self,
        accounts: &[Account],
        n_regions: usize,
    ) -> Result<(Vec<Vec<String>>, usize), SelectionError> {
        let all: BTreeSet<&str> = accounts.iter().map(|it| &*it.id).collect();
        let missing = |named: &BTreeSet<String>| -> Vec<String> {
            named.iter().filter(|it| !all.contains(it.as_str())).cloned().collect()
        };
        for (named, variable) in [
            (&self.include, "REAPER_INCLUDE_ACCOUNTS"),
            (&self.exclude, "REAPER_EXCLUDE_ACCOUNTS"),
            (&self.canaries, "REAPER_CANARY_ACCOUNTS"),
        ] {
            let ids = missing(named);
            if !ids.is_empty() {
                return Err(SelectionError::Unknown { ids, variable });
            }
        }
        let is_selected = |it: &&Account| {
            it.is_active
                && (self.include.is_empty() || self.include.contains(&it.id))
                && !self.exclude.contains(&it.id)
        };
        let selected: BTreeSet<&str> =
            accounts.iter().filter(is_selected).map(|it| &*it.id).collect();
        let Some(lowest) = selected.first() else {
            return Err(SelectionError::Nothing { n_accounts: accounts.len() });
        };
        let is_left_out = |it: &&String| !selected.contains(it.as_str());
        let ids: Vec<_> = self.canaries.iter().filter(is_left_out).cloned().collect();
        if !ids.is_empty() {
            return Err(SelectionError::CanaryNotSelected { ids });
        }
        let is_canary = |it: &&str| {
            if self.canaries.is_empty() { it == lowest } else { self.canaries.contains(*it) }
        };
        let (canaries, others): (Vec<&str>, Vec<&str>) =
            selected.iter().copied().partition(is_canary);
        let n_accounts = (self.batch_size / n_regions.max(1)).max(1);
        let cut = |accounts: Vec<&str>| -> Vec<Vec<String>> {
            let own = |it: &[&str]| it.iter().map(ToString::to_string).collect();
            accounts.chunks(n_accounts).map(own).collect()
        };
        let mut batches = cut(canaries);
        let n_canaries = batches.len();
        batches.extend(cut(others));
        Ok((batches, n_canaries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts(n: usize) -> Vec<Account> {
        (1..=n).map(|it| Account { id: format!("{it:012}"), is_active: true }).collect()
    }

    fn ids(numbers: &[usize]) -> BTreeSet<String> {
        numbers.iter().map(|it| format!("{it:012}")).collect()
    }

    /// Each selected account is in one batch, whole, and no batch is larger than it may be.
    #[test]
    fn every_account_once() {
        // The canary's batch, then the others by as many accounts as fit.
        for (n, batch_size, n_regions, expected) in [
            (10, 50, 17, 1 + 5),
            (10, 50, 50, 1 + 9),
            (10, 5, 17, 1 + 9),
            (1, 50, 4, 1),
            (100, 50, 4, 1 + 9),
        ] {
            let selection = Selection { batch_size, ..Selection::default() };
            let (batches, n_canaries) =
                selection.batches(&accounts(n), n_regions).expect("batches");
            let all: BTreeSet<_> = batches.iter().flatten().cloned().collect();
            assert_eq!(all, ids(&(1..=n).collect::<Vec<_>>()));
            assert_eq!(batches.iter().map(Vec::len).sum::<usize>(), n);
            assert_eq!((batches.len(), n_canaries), (expected, 1), "{n} {batch_size} {n_regions}");
            assert_eq!(batches[0], ["000000000001"]);
            let most = batches.iter().map(|it| it.len() * n_regions).max();
            assert!(most <= Some(batch_size.max(n_regions)));
        }
    }

    /// Accounts that are not active, not included or excluded are in no batch.
    #[test]
    fn selection() {
        let mut all = accounts(6);
        all[1].is_active = false;
        let selection = Selection {
            include: ids(&[1, 2, 3, 4]),
            exclude: ids(&[3]),
            canaries: ids(&[4]),
            batch_size: 1,
        };
        let expected = (vec![vec!["000000000004".to_owned()], vec!["000000000001".into()]], 1);
        assert_eq!(selection.batches(&all, 1), Ok(expected));
    }

    /// A name that leads nowhere is an error, since it would silently sweep less or more than meant.
    #[test]
    fn mistakes() {
        let all = accounts(2);
        let none = Selection { batch_size: 1, ..Selection::default() };
        let text = |selection: &Selection| match selection.batches(&all, 1) {
            Ok(batches) => panic!("{batches:?}"),
            Err(err) => err.to_string(),
        };
        for (selection, expected) in [
            (Selection { include: ids(&[7]), ..none.clone() }, "REAPER_INCLUDE_ACCOUNTS"),
            (Selection { exclude: ids(&[7]), ..none.clone() }, "REAPER_EXCLUDE_ACCOUNTS"),
            (Selection { canaries: ids(&[7]), ..none.clone() }, "no account 000000000007"),
            (
                Selection { canaries: ids(&[1]), exclude: ids(&[1]), ..none.clone() },
                "the canary 000000000001 is not swept",
            ),
            (Selection { exclude: ids(&[1, 2]), ..none.clone() }, "none of 2 accounts"),
        ] {
            let actual = text(&selection);
            assert!(actual.contains(expected), "{actual}");
        }
    }

    #[test]
    fn forms() {
        for (text, expected) in [
            ("eu-central-1", true),
            ("us-gov-west-1", true),
            ("eu-isoe-west-1", true),
            ("eu-central", false),
            ("EU-central-1", false),
            ("eu--1", false),
            ("*", false),
            ("", false),
        ] {
            assert_eq!(is_region(text), expected, "{text}");
        }
        for (text, expected) in
            [("123456789012", true), ("12345678901", false), ("12345678901x", false)]
        {
            assert_eq!(is_account_id(text), expected, "{text}");
        }
    }
}
