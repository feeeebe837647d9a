//! Events on an EventBridge bus.

use std::time::Duration;

use jiff::SignedDuration;
use tokio::time::Instant;

use crate::{Budget, aws::EventBus};
use reaper_core::{
    notice::{EventsSent, ExpiryWarning, is_told, of_run, of_sweep},
    organization::RunSummary,
    report::{Report, SweepRecord},
};

/// The most time that sending takes.
const LONGEST: Duration = Duration::from_secs(30);

/// Sends the events of sweeps and runs. They are sent when a sweep is over, so that nothing that is wrong
/// with the bus keeps a session from being terminated.
#[derive(Clone, Debug)]
pub struct Events {
    /// Where to.
    pub bus: EventBus,
    /// From one planned sweep to the next: what a warning takes for its first time follows from it.
    pub period: SignedDuration,
    /// Whether the sweeps are those of a run, which has an event of its own.
    pub is_of_run: bool,
}

impl Events {
    /// Sends what a sweep has to tell. Of a run, a sweep in which nothing happened tells nothing: most
    /// account-Regions of an organization are empty, and every event costs.
    pub async fn send(
        &self,
        record: &SweepRecord,
        report: &Report,
        warnings: &[ExpiryWarning],
        budget: Budget,
    ) -> EventsSent {
        let n_sessions = record.outcomes.iter().filter(|it| is_told(it)).count() + warnings.len();
        let is_quiet = n_sessions == 0 && report.failure().is_none();
        if self.is_of_run && is_quiet {
            return EventsSent::default();
        }
        let n = n_sessions + 1;
        self.bus.send(of_sweep(record, report, warnings), n, bounded(budget)).await
    }

    /// Sends the event of a run.
    pub async fn send_run(&self, summary: &RunSummary, budget: Budget) -> EventsSent {
        self.bus.send(std::iter::once(of_run(summary)), 1, bounded(budget)).await
    }
}

fn bounded(budget: Budget) -> Budget {
    Budget { last_start: budget.last_start.min(Instant::now() + LONGEST), ..budget }
}
