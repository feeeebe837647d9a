//! Does something in each account-Region, so that none holds up the others.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::time::{Instant, sleep};

use crate::{
    Budget,
    aws::{Members, NoAccess, Ssm},
};
use reaper_core::target::Scope;

/// How long an account-Region whose calls fail or are throttled is waited for when no other is left.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Patience {
    /// 15 s: what follows depends on it.
    Canaries,
    /// A quarter of the time that the others have taken, at least 0.5 s and at most 5 s; 15 s if there was no other.
    /// At least 5 s if a call has succeeded before: other callers may have most of the quota.
    Usual,
}

const SHORTEST: Duration = Duration::from_millis(500);
const SHORT: Duration = Duration::from_secs(5);
const LONG: Duration = Duration::from_secs(15);

/// How often it is looked whether there is more patience.
const TICK: Duration = Duration::from_millis(100);

/// What came of one account-Region.
#[derive(Debug)]
pub enum Visit<T> {
    /// It was done.
    Done(T),
    /// The account's role cannot be assumed.
    NoAccess(NoAccess),
    /// There was no time to begin.
    NotStarted,
}

/// Does something in each of these account-Regions, at most so many at a time, and returns what came of
/// it, in their order.
///
/// Each has clients, pacers and a budget of its own, so that nothing that happens in one reaches another.
/// While others wait, each has an equal share of the time that is left. In the end, when only those are
/// left whose calls have failed for longer than there is patience, their attempts are no longer repeated; what is
/// throttled has three all the same.
pub async fn each<T>(
    members: &Members,
    scopes: Vec<Scope>,
    concurrency: usize,
    budget: Budget,
    patience: Patience,
    work: impl AsyncFn(&Scope, &Ssm, Budget) -> T,
) -> Vec<(Scope, Visit<T>)> {
    let mut visits: Vec<Option<Visit<T>>> = scopes.iter().map(|_| None).collect();
    let running: RefCell<BTreeMap<usize, Rc<Ssm>>> = RefCell::default();
    let (running, work) = (&running, &work);
    let visit = async |index: usize, scope: &Scope, budget: Budget| {
        let ssm = match members.ssm(scope, budget).await {
            Ok(ssm) => Rc::new(ssm),
            Err(err) => return Visit::NoAccess(err),
        };
        running.borrow_mut().insert(index, Rc::clone(&ssm));
        let done = work(scope, &ssm, budget).await;
        running.borrow_mut().remove(&index);
        Visit::Done(done)
    };
    let visit = &visit;

    let began = Instant::now();
    let mut others_took = None;
    let mut waiting = scopes.iter().enumerate();
    let mut in_flight = FuturesUnordered::new();
    loop {
        while in_flight.len() < concurrency.max(1)
            && let Some((index, scope)) = waiting.next()
        {
            let n_left = waiting.len() + 1;
            let n_rounds = u32::try_from(n_left.div_ceil(concurrency.max(1))).unwrap_or(u32::MAX);
            if !budget.remaining().is_zero() {
                let share = budget.first_of(n_rounds);
                in_flight.push(async move { (index, visit(index, scope, share).await) });
            }
        }
        let is_last_round = waiting.len() == 0;
        let n_in_flight = in_flight.len();
        tokio::select! {
            done = in_flight.next() => match done {
                Some((index, visit)) => {
                    if let Visit::Done(_) = visit {
                        others_took = Some(began.elapsed());
                    }
                    if let Some(place) = visits.get_mut(index) {
                        *place = Some(visit);
                    }
                }
                None => break,
            },
            () = sleep(TICK), if is_last_round => {
                let running = running.borrow();
                if running.len() == n_in_flight { // None waits for its account's keys.
                    hurry_if_stuck(&running, patience.after(others_took));
                }
            }
        }
    }
    drop(in_flight);
    scopes
        .into_iter()
        .zip(visits)
        .map(|(scope, visit)| (scope, visit.unwrap_or(Visit::NotStarted)))
        .collect()
}

impl Patience {
    /// The others have taken so long, if there were any.
    fn after(self, others_took: Option<Duration>) -> Duration {
        match (self, others_took) {
            (Self::Usual, Some(others_took)) => (others_took / 4).clamp(SHORTEST, SHORT),
            (Self::Canaries, _) | (Self::Usual, None) => LONG,
        }
    }
}

/// Stops repetitions if the calls of all that are left have failed for so long.
fn hurry_if_stuck(running: &BTreeMap<usize, Rc<Ssm>>, patience: Duration) {
    let now = Instant::now();
    let is_stuck = |it: &Rc<Ssm>| {
        let patience = if it.has_succeeded() { patience.max(SHORT) } else { patience };
        it.failing_since().is_some_and(|it| patience <= now.duration_since(it))
    };
    if running.values().all(is_stuck) {
        for it in running.values() {
            it.hurry();
        }
    }
}
