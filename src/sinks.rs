//! Where the events of a sweep go.

pub mod events;
pub mod evidence;
pub mod log;
pub mod metrics;

use self::{events::Events, evidence::Evidence, log::Log, metrics::Metrics};
use reaper_core::{event::Event, organization::RunId, report::Row, target::Scope};

/// Where the events of a sweep go.
#[derive(Debug)]
pub struct Sinks {
    /// A line for each event.
    pub log: Option<Log>,
    /// The metrics of a sweep that has finished.
    pub metrics: Option<Metrics>,
    /// Events for other systems, when a sweep is over.
    pub events: Option<Events>,
    /// Files of what was decided and done.
    pub evidence: Option<Evidence>,
}

impl Sinks {
    /// No sinks: the caller has the report alone.
    pub const NONE: Self = Self { log: None, metrics: None, events: None, evidence: None };

    /// The same for one account-Region of a run: its lines say which it is, and it has no metrics of its
    /// own.
    #[must_use]
    pub fn at(&self, scope: &Scope) -> Self {
        let log = self.log.as_ref().map(|it| it.at(scope));
        let events = self.events.clone().map(|it| Events { is_of_run: true, ..it });
        Self { log, metrics: None, events, evidence: self.evidence.clone() }
    }

    /// The same for the sweeps of a run.
    #[must_use]
    pub fn of_run(&self, run: &RunId) -> Self {
        let Self { log, metrics, events, evidence } = self;
        let mut evidence = evidence.clone();
        if let Some(evidence) = &mut evidence {
            evidence.invocation.run = Some(run.clone());
        }
        Self { log: log.clone(), metrics: *metrics, events: events.clone(), evidence }
    }

    /// Passes on what is told of each of these sessions, which only log lines say.
    pub fn emit_rows(&self, rows: impl Iterator<Item = Row>, event: fn(&Row) -> Event<'_>) {
        if let Some(log) = &self.log {
            log.write_rows(rows, event);
        }
    }

    /// Passes an event on. A sink that fails does not keep it from the others.
    pub fn emit(&self, event: &Event<'_>) {
        if let Some(log) = &self.log {
            log.write(event);
        }
        let Some(metrics) = &self.metrics else { return };
        let written = match event {
            Event::Finished(report) => metrics.write(report),
            Event::RunFinished(summary) => metrics.write_run(summary),
            Event::Started { .. }
            | Event::PolicyWarning { .. }
            | Event::TagLookUpFailed { .. }
            | Event::DocumentLookUpFailed { .. }
            | Event::Decided(_)
            | Event::Done(_)
            | Event::Due(_)
            | Event::EvidenceNotWritten { .. }
            | Event::VerificationFailed { .. }
            | Event::NotSwept { .. }
            | Event::BatchReportExists { .. }
            | Event::LeaseNotReleased { .. }
            | Event::Failed { .. }
            | Event::MetricsNotWritten { .. } => Ok(()),
        };
        if let (Err(err), Some(log)) = (written, &self.log) {
            log.write(&Event::MetricsNotWritten { error: &err.to_string() });
        }
    }
}
