//! A lock in many account-Regions at once.

use std::time::Duration;

use reaper_core::{organization::Status, target::Scope};
use session_reaper::{
    organization::not_listed,
    sweep::{PlannedSweep, SweepContext},
};
use tokio::time::Instant;

use crate::{
    account_regions::{AccountRegions, Confirmed, Fate, Overview},
    aws::AccountRegion,
    clock::now,
    confirm::to_terminate,
    lines::{
        Line,
        columns::{fitting, to_table},
        sorted,
    },
    lock::{
        SeenIn,
        log::Log,
        rounds::{Done, Lock, Rest, Seen, Start, listed_owners, may_grow},
    },
    policy_at::Loaded,
    stdio::{eprintln, warn},
};

/// In how many account-Regions a lock works at a time: in all, unless there are very many. One in which
/// it has to wait does not keep it from the others.
const CONCURRENCY: usize = 256;

/// What may be left after the time is over, for the last listing in each.
const LAST_LISTINGS: Duration = Duration::from_mins(3);

/// What is there before the question, or left after the last round.
pub(super) struct Everywhere {
    pub(super) overview: Overview,
    /// Of those whose sessions were listed.
    pub(super) rests: Vec<Rest>,
    /// What would be terminated.
    pub(super) to_terminate: Confirmed,
}

impl Lock<'_> {
    /// Lists and evaluates once, terminates nothing, and shows the sessions of the owners.
    pub(super) async fn look_at_all(
        &self,
        all: &AccountRegions,
        loaded: &Loaded,
        seen: &mut SeenIn,
    ) -> Everywhere {
        let work = async |at: AccountRegion<'_>| {
            let sinks = at.named().map(|it| self.sinks.at(it));
            let locking = self.locking(loaded.clone());
            let now = now();
            let context = SweepContext {
                sinks: sinks.as_ref().unwrap_or(self.sinks),
                ..at.context(&locking.source, self.mode, now)
            };
            (now, self.list(context, at, &locking).await)
        };
        let mut everywhere = Everywhere::new();
        let mut lines: Vec<Line> = Vec::new();
        let visits = all.each("account-Regions listed", CONCURRENCY, self.patience, work).await;
        for (scope, visit) in visits {
            let planned = visit.and_then(|(now, planned)| {
                let planned = planned.map_err(|it| Fate::new(Status::Incomplete, &it))?;
                lines.extend(self.lines(&planned, now, Some(&scope)));
                Ok(planned)
            });
            if let Ok(planned) = &planned {
                let listed = listed_owners(planned).filter(|it| self.has(it)).cloned();
                seen.entry(scope.account.clone()).or_default().extend(listed);
                let place = format!("{} {}: ", scope.account, scope.region);
                warn(planned.warnings.iter().map(|it| format!("{place}{it}")));
            }
            everywhere.add(&scope, planned.map(Rest::unchanged));
        }
        let lines = sorted(lines);
        if !lines.is_empty() {
            eprintln!("{}\n", to_table(&lines, &fitting(&lines)).trim_fmt());
        }
        everywhere
    }

    /// Goes on in each, until a complete listing shows nothing to terminate or the time is over. Ctrl-C
    /// stops terminations everywhere.
    pub(super) async fn rounds_in_all(
        &self,
        all: &AccountRegions,
        loaded: &Loaded,
        confirmed: Option<Confirmed>,
        log: &Log,
        seen: &mut SeenIn,
    ) -> Everywhere {
        let hard_stop = Instant::now() + self.patience;
        let work = async |at: AccountRegion<'_>| {
            let start = Start {
                locking: self.locking(loaded.clone()),
                asks: None,
                confirmed: confirmed.as_ref().map(|it| it.of(at.named())),
                hard_stop,
            };
            let mut seen = Seen::new();
            let rest = Box::pin(self.rounds(at, start, log, &mut seen)).await;
            (rest, seen)
        };
        let time = self.patience + LAST_LISTINGS;
        let visits = Box::pin(all.each("account-Regions locked", CONCURRENCY, time, work));
        let mut everywhere = Everywhere::new();
        for (scope, visit) in all.interruptible(visits).await {
            let rest = visit.and_then(|(rest, its_own)| {
                seen.entry(scope.account.clone()).or_default().extend(its_own);
                rest.map_err(|it| Fate::new(Status::Incomplete, &format!("{it:#}")))
            });
            everywhere.add(&scope, rest);
        }
        everywhere
    }
}

impl Everywhere {
    fn new() -> Self {
        Self {
            overview: Overview::default(),
            rests: Vec::new(),
            to_terminate: Confirmed::default(),
        }
    }

    fn add(&mut self, scope: &Scope, rest: Result<Rest, Fate>) {
        let fate = match &rest {
            Ok(rest) => fate(&rest.planned),
            Err(fate) => fate.clone(),
        };
        self.overview.add(scope, fate, None);
        let Ok(rest) = rest else { return };
        self.to_terminate.add(scope, to_terminate(&rest.planned));
        self.rests.push(rest);
    }

    /// Whether something may be terminated, now or after another listing.
    pub(super) fn needs_question(&self) -> bool {
        !self.to_terminate.is_empty() || self.rests.iter().any(|it| may_grow(&it.planned))
    }

    /// What would be terminated, in words.
    pub(super) fn question(&self) -> String {
        if self.to_terminate.is_empty() {
            return "whatever is found of these owners where not everything was seen yet".into();
        }
        self.to_terminate.to_string()
    }
}

/// What the last listing says of an account-Region.
fn fate(planned: &PlannedSweep) -> Fate {
    match (not_listed(planned), &planned.coverage.problem) {
        (Some((status, problem)), _) => Fate::new(status, &problem),
        (None, Some(problem)) => Fate::new(Status::Incomplete, problem),
        (None, None) => Fate::SWEPT,
    }
}

impl Rest {
    /// What a listing shows before anything is terminated.
    fn unchanged(planned: PlannedSweep) -> Self {
        let n_violating = to_terminate(&planned).len();
        Self { planned, n_violating, done: Done::Nothing }
    }
}
