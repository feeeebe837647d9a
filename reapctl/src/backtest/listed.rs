//! The sessions of a listing that was saved to files.

use std::collections::{HashMap, hash_map::Entry};

use jiff::Timestamp;
use reaper_core::{
    census::oldest_first,
    session::{Reading, Record},
    session_type::DocumentTypes,
    target::{Tags, Unknown},
};

use crate::{
    backtest::{
        history::{End, History, PastSession, history_before},
        saved::{Saved, Skipped},
    },
    file::{File, Invalid},
    rows::Rows,
    stdio::warn,
};

/// The statuses of sessions that have not ended.
const ACTIVE: [&str; 4] = ["Connected", "Connecting", "Disconnected", "Terminating"];

/// A record, and where it was found.
struct Found {
    record: Record,
    file: String,
    number: usize,
}

/// Reads the files of one listing, which took place at an instant; if that is not given, at the latest
/// date in them, which it cannot be before.
///
/// A session without an end is active then, if its status says so; if not, nothing is known of it after
/// its start.
pub(super) fn listed(paths: &[String], at: Option<Timestamp>) -> anyhow::Result<Saved> {
    let mut skipped = Vec::new();
    let mut found: Vec<Found> = Vec::new();
    let mut by_id = HashMap::new();
    for path in paths {
        let file = File::read(path)?;
        let Rows { records, is_incomplete } = Rows::read(&file)?;
        if is_incomplete {
            warn([format!(
                "`{}` may not be a whole listing: it names a next page, or is not the whole answer",
                file.name
            )]);
        }
        for (index, record) in records.into_iter().enumerate() {
            let mut it = Found { record, file: file.name.clone(), number: index + 1 };
            let Some(id) = it.record.id.clone() else {
                found.push(it);
                continue;
            };
            match by_id.entry(id) {
                Entry::Vacant(place) => {
                    place.insert(found.len());
                    found.push(it);
                }
                Entry::Occupied(place) => {
                    let Some(known) = found.get_mut(*place.get()) else { continue };
                    if known.record.ended_at.is_none() && it.record.ended_at.is_some() {
                        std::mem::swap(known, &mut it); // It ended while pages were listed.
                    }
                    skipped.push(it.skipped("the session is in another record too"));
                }
            }
        }
    }
    let dates = found.iter().flat_map(|it| [it.record.started_at, it.record.ended_at]).flatten();
    let latest = dates.max();
    if let (Some(at), Some(latest)) = (at, latest)
        && at < latest
    {
        let message = format!("`--at` is {at}, but the files have the later date {latest}");
        return Err(Invalid(message).into());
    }
    let Some(to) = at.or(latest) else {
        return Err(Invalid("no session in the files has a date; use `--at`".into()).into());
    };
    let mut sessions = Vec::new();
    let mut not_evaluated = Vec::new();
    for mut it in found {
        let is_active = it.record.status.as_deref().is_some_and(|it| ACTIVE.contains(&it));
        let seen_at = it.record.started_at.filter(|_| !is_active).unwrap_or(to);
        let end = it.record.ended_at.map_or(End::Unknown { seen_at }, End::At);
        it.record.status = None; // It is the status at the time of the listing.
        match it.record.clone().read(to) {
            Reading::Session(session) => {
                let tags = Tags::Unknown(Unknown::TagsNotLookedUp);
                sessions.push(PastSession { session, end, tags });
            }
            Reading::NotEvaluated(record, why) => {
                skipped.push(it.skipped(why));
                not_evaluated.push((record, why));
            }
        }
    }
    sessions.sort_by(|a, b| oldest_first(&a.session, &b.session));
    let from = history_before(to);
    let history = History {
        sessions,
        not_evaluated,
        before: Vec::new(),
        from,
        counted_from: from,
        types: DocumentTypes::default(),
    };
    Ok(Saved { histories: vec![(None, history)], from, to, notes: Vec::new(), skipped })
}

impl Found {
    fn skipped(&self, reason: &str) -> Skipped {
        Skipped { file: self.file.clone(), record: self.number, reason: reason.into() }
    }
}
