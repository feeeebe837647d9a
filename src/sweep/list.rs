//! Lists the sessions, and knows whether it saw them all.
//!
//! The SDK's paginator is not used: it ends silently, as a success, on a repeated token.

use std::{collections::HashSet, sync::Arc};

use crate::{
    Budget,
    aws::{CallErrorKind, Ssm},
};
use reaper_core::session::{Interner, Record, State};

/// More pages than a function can read in its time at the default pace.
const MAX_PAGES: usize = 2_000;

/// How often a listing begins anew after `InvalidNextToken`.
const MAX_RESTARTS: u32 = 2;

/// What one listing saw.
#[derive(Debug, Default)]
pub struct Census {
    /// The pages read: each session once, in the API's order, and every record without an id. Page by
    /// page, so that the memory of each is free as soon as it has been gone through.
    pub pages: Vec<Vec<Record>>,
    /// Why the listing did not reach its end; `None` if it is complete.
    pub problem: Option<String>,
}

/// Lists the sessions in this state, unfiltered: filters are applied after a page is cut, and a filtered
/// listing proves nothing.
///
/// Complete means that the end was reached, not that it is a snapshot of one instant.
/// What was seen before a listing began anew stays seen.
pub async fn list(ssm: &Ssm, state: State, budget: Budget) -> Census {
    list_those(ssm, state, budget, |_| true).await
}

/// The same, keeping only the records that are wanted.
pub async fn list_those(
    ssm: &Ssm,
    state: State,
    budget: Budget,
    is_wanted: impl Fn(&Record) -> bool,
) -> Census {
    let mut census = Census::default();
    let mut common = Interner::default();
    let mut ids = HashSet::new();
    let mut tokens = HashSet::new();
    let mut token = None;
    let mut restarts = 0;
    census.problem = loop {
        let page = match ssm.sessions(state, token.clone(), &mut common, budget).await {
            Ok(page) => page,
            Err(err) if err.kind == CallErrorKind::InvalidToken && restarts < MAX_RESTARTS => {
                restarts += 1;
                // The others will be seen again.
                census.pages.iter_mut().for_each(|it| it.retain(|it| it.id.is_some()));
                token = None;
                tokens.clear();
                continue;
            }
            Err(err) => break Some(err.to_string()),
        };
        let mut is_new = |it: &Record| it.id.as_ref().is_none_or(|id| ids.insert(Arc::clone(id)));
        let mut records = page.records;
        records.retain(|it| is_wanted(it) && is_new(it));
        records.shrink_to_fit();
        census.pages.push(records);
        // An empty page is no end: only the lack of a token is.
        let Some(next) = page.next_token else { break None };
        if !tokens.insert(next.clone()) {
            break Some("AWS repeated a page token, so the pages behind it were not seen".into());
        }
        if census.pages.len() == MAX_PAGES {
            break Some(format!("there are more than {MAX_PAGES} pages"));
        }
        token = Some(next);
    };
    census
}
