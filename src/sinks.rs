//! Where the events of a sweep go.

pub mod log;
pub mod metrics;

use self::{log::Log, metrics::Metrics};
use reaper_core::event::Event;

/// Where the events of a sweep go.
#[derive(Debug)]
pub struct Sinks {
    /// A line for each event.
    pub log: Option<Log>,
    /// The metrics of a sweep that has finished.
    pub metrics: Option<Metrics>,
}

impl Sinks {
    /// No sinks: the caller has the report alone.
    pub const NONE: Self = Self { log: None, metrics: None };

    /// Passes an event on. A sink that fails does not keep it from the others.
    pub fn emit(&self, event: &Event<'_>) {
        if let Some(log) = &self.log {
            log.write(event);
        }
        if let (Some(metrics), Event::Finished(report)) = (&self.metrics, event)
            && let Err(err) = metrics.write(report)
            && let Some(log) = &self.log
        {
            log.write(&Event::MetricsNotWritten { error: &err.to_string() });
        }
    }
}
