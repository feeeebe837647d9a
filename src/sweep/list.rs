//! Lists the sessions, and knows whether it saw them all.
//!
//! The SDK's paginator is not used: it ends silently, as a success, on a repeated token.

use std::{collections::HashSet, sync::Arc};

use crate::{
    Budget,
    aws::{CallError, CallErrorKind, ServiceTime, Ssm},
};
use reaper_core::session::{Interner, Record, State};

/// More pages than a function can read in its time at the default pace.
const MAX_PAGES: usize = 2_000;

/// What a session takes from its listing to the report besides its texts, in bytes: 100,000 of them,
/// with short texts, take 39 MiB.
const RECORD_BYTES: usize = 500;

/// How often a listing begins anew after `InvalidNextToken`.
const MAX_RESTARTS: u32 = 2;

/// What one listing saw.
#[derive(Debug, Default)]
pub struct Census {
    /// The pages read: each session once, in the API's order, and every record without an id. Page by
    /// page, so that the memory of each is free as soon as it has been gone through.
    pub pages: Vec<Vec<Record>>,
    /// AWS's time, from the pages' answers.
    pub times: Vec<ServiceTime>,
    /// Why the listing did not reach its end; `None` if it is complete.
    pub problem: Option<ListingProblem>,
}

/// Why a listing did not reach its end.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ListingProblem {
    /// A page could not be had.
    #[error(transparent)]
    Call(CallError),
    /// The pages go round in a circle.
    #[error("AWS repeated a page token, so the pages behind it were not seen")]
    RepeatedToken,
    /// There are more pages than are read.
    #[error("there are more than {MAX_PAGES} pages")]
    TooManyPages,
    /// There are more sessions than there is memory for.
    #[error(
        "the memory is full after {n_records} sessions, so the others were not seen: give the function \
         more (`MemorySize`)"
    )]
    NoMemory {
        /// Sessions seen, and kept.
        n_records: usize,
    },
}

impl ListingProblem {
    /// Whether AWS does not allow the call, so that it will not succeed however often it is tried.
    #[must_use]
    pub fn is_denial(&self) -> bool {
        matches!(
            self,
            Self::Call(CallError { kind: CallErrorKind::Denied | CallErrorKind::UnknownKeys, .. })
        )
    }
}

/// Lists the sessions in this state, unfiltered: filters are applied after a page is cut, and a filtered
/// listing proves nothing.
///
/// Complete means that the end was reached, not that it is a snapshot of one instant.
/// What was seen before a listing began anew stays seen.
pub async fn list(ssm: &Ssm, state: State, budget: Budget) -> Census {
    list_those(ssm, state, budget, usize::MAX, |_| true).await
}

/// The same, keeping only the records that are wanted, and of them what `is_wanted` leaves. They may take so
/// many bytes, and those of one page more.
pub async fn list_those(
    ssm: &Ssm,
    state: State,
    budget: Budget,
    memory: usize,
    is_wanted: impl Fn(&mut Record) -> bool,
) -> Census {
    let mut census = Census::default();
    let mut common = Interner::default();
    let mut ids = HashSet::new();
    let mut tokens = HashSet::new();
    let mut token = None;
    let mut restarts = 0;
    let mut n_bytes = 0;
    census.problem = loop {
        let page = match ssm.sessions(state, token.clone(), &mut common, budget).await {
            Ok(page) => page,
            Err(err) if err.kind == CallErrorKind::InvalidToken && restarts < MAX_RESTARTS => {
                restarts += 1;
                // The others will be seen again.
                census.pages.iter_mut().for_each(|it| it.retain(|it| it.id.is_some()));
                n_bytes = census.pages.iter().flatten().map(weight).sum();
                token = None;
                tokens.clear();
                continue;
            }
            Err(err) => break Some(ListingProblem::Call(err)),
        };
        let mut is_new = |it: &Record| it.id.as_ref().is_none_or(|id| ids.insert(Arc::clone(id)));
        let mut records = page.records;
        records.retain_mut(|it| is_wanted(it) && is_new(it));
        records.shrink_to_fit();
        n_bytes += records.iter().map(weight).sum::<usize>();
        census.times.extend(page.time);
        census.pages.push(records);
        // An empty page is no end: only the lack of a token is.
        let Some(next) = page.next_token else { break None };
        n_bytes += next.len();
        if !tokens.insert(next.clone()) {
            break Some(ListingProblem::RepeatedToken);
        }
        if census.pages.len() == MAX_PAGES {
            break Some(ListingProblem::TooManyPages);
        }
        if memory < n_bytes + common.n_bytes() {
            let n_records = census.pages.iter().map(Vec::len).sum();
            break Some(ListingProblem::NoMemory { n_records });
        }
        token = Some(next);
    };
    census
}

/// What a session takes, but for the texts that it shares with others, in bytes.
fn weight(record: &Record) -> usize {
    let texts = [&record.id, &record.target, &record.reason].into_iter().flatten();
    RECORD_BYTES + texts.map(|it| it.len()).sum::<usize>()
}
