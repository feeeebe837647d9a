//! The sessions of many account-Regions that a question is about.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fmt,
    sync::Arc,
};

use reaper_core::target::Scope;

use super::overview::counted;
use crate::confirm::sessions;

/// The ids of the sessions that the plans terminate: those that are shown, and then asked about.
#[derive(Default)]
pub(crate) struct Confirmed {
    /// By account and Region.
    ids: BTreeMap<(String, String), HashSet<Arc<str>>>,
}

impl Confirmed {
    /// Adds those of an account-Region.
    pub(crate) fn add(&mut self, scope: &Scope, ids: HashSet<Arc<str>>) {
        if !ids.is_empty() {
            self.ids.insert((scope.account.clone(), scope.region.clone()), ids);
        }
    }

    /// Those of an account-Region.
    pub(crate) fn of(&self, scope: Option<&Scope>) -> HashSet<Arc<str>> {
        let key = scope.map(|it| (it.account.clone(), it.region.clone()));
        key.and_then(|it| self.ids.get(&it)).cloned().unwrap_or_default()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Whether a session is among them, wherever it is.
    pub(crate) fn has(&self, id: &Arc<str>) -> bool {
        self.ids.values().any(|ids| ids.contains(id))
    }
}

impl fmt::Display for Confirmed {
    /// Such as `3 sessions in 2 accounts and 1 Region`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (accounts, regions): (BTreeSet<_>, BTreeSet<_>) =
            self.ids.keys().map(|(account, region)| (account, region)).unzip();
        write!(
            f,
            "{} in {} and {}",
            sessions(self.ids.values().map(HashSet::len).sum()),
            counted(accounts.len(), "account"),
            counted(regions.len(), "Region")
        )
    }
}
