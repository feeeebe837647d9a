//! What files say of past sessions, without a call to AWS.

use std::collections::BTreeMap;

use jiff::Timestamp;
use reaper_core::{printable::printable, target::Scope};
use serde::Serialize;

use crate::{backtest::history::History, stdio::warn};

/// The sessions of files.
pub(super) struct Saved {
    /// The history of each account-Region, as far as that is known.
    pub(super) histories: Vec<(Option<Scope>, History)>,
    pub(super) from: Timestamp,
    /// No sweep takes place after it.
    pub(super) to: Timestamp,
    /// What has to be known to read the result, in whole sentences.
    pub(super) notes: Vec<String>,
    pub(super) skipped: Vec<Skipped>,
}

/// A record that no evaluated session comes from, though it is, or may be, about one.
#[derive(Serialize)]
pub(super) struct Skipped {
    pub(super) file: String,
    /// Its number in the file, from 1 on.
    pub(super) record: usize,
    pub(super) reason: String,
}

/// How many of them are named in a text.
const MAX_NAMED: usize = 20;

/// Counts what was skipped by reason, and names each record, or the first of many.
pub(super) fn show(skipped: &[Skipped]) {
    let mut reasons = BTreeMap::<_, usize>::new();
    for it in skipped {
        *reasons.entry(&it.reason).or_default() += 1;
    }
    let n_of = |(reason, n)| format!("skipped: {n} of the records, because {reason}");
    warn(reasons.into_iter().map(n_of));
    let name =
        |it: &Skipped| format!("{}, record {}: {}", printable(&it.file), it.record, it.reason);
    warn(skipped.iter().take(MAX_NAMED).map(name));
    let left = skipped.len().saturating_sub(MAX_NAMED);
    warn((0 < left).then(|| format!("{left} more were skipped; `--output json` names all")));
}
