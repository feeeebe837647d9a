//! Does something in each account-Region, so that none holds up the others.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::time::{Instant, sleep};

use crate::{
    Budget,
    aws::{Members, NoAccess, Ssm},
};
use reaper_core::target::Scope;

/// How long an account-Region whose calls fail or are throttled is waited for when no other is left: a quarter
/// of the time that the others have taken, and within these bounds. What is throttled has three attempts at least,
/// as the SDKs make by default.
const PATIENCE: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(5)];

/// The same if no other was done: ten throttled attempts.
const PATIENCE_ALONE: Duration = Duration::from_secs(15);

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
/// left whose calls have failed for a while, attempts that wait are made once more, and then no longer repeated.
pub async fn each<T>(
    members: &Members,
    scopes: Vec<Scope>,
    concurrency: usize,
    budget: Budget,
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
            () = sleep(TICK), if is_last_round => hurry_if_stuck(&running.borrow(), others_took),
        }
    }
    drop(in_flight);
    scopes
        .into_iter()
        .zip(visits)
        .map(|(scope, visit)| (scope, visit.unwrap_or(Visit::NotStarted)))
        .collect()
}

/// Stops repetitions if the calls of all that are left have failed for longer than there is patience. The others
/// that were done, if any, took so long.
fn hurry_if_stuck(running: &BTreeMap<usize, Rc<Ssm>>, others_took: Option<Duration>) {
    let now = Instant::now();
    let [least, most] = PATIENCE;
    let patience = others_took.map_or(PATIENCE_ALONE, |it| (it / 4).clamp(least, most));
    let is_stuck =
        |it: &Rc<Ssm>| it.failing_since().is_some_and(|it| patience <= now.duration_since(it));
    if !running.is_empty() && running.values().all(is_stuck) {
        for it in running.values() {
            it.hurry();
        }
    }
}
