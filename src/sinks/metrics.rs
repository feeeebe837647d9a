//! CloudWatch metrics on standard output, in the embedded metric format.

use std::io::Write;

use jiff::Timestamp;
use tokio::time::Instant;

use reaper_core::{metrics, organization::RunSummary, report::Report};

/// Writes the metrics of a sweep.
#[derive(Clone, Copy, Debug)]
pub struct Metrics {
    /// The end of the invocation, for the metric `RemainingTime`.
    pub deadline: Instant,
}

impl Metrics {
    /// Writes one line for the sweep, and one for each violated rule.
    ///
    /// # Errors
    /// If standard output cannot be written to.
    pub fn write(&self, report: &Report) -> std::io::Result<()> {
        let remaining = self.deadline.saturating_duration_since(Instant::now());
        let remaining_ms = u64::try_from(remaining.as_millis()).ok();
        let mut stdout = std::io::stdout().lock();
        for line in metrics::lines(report, now().as_millisecond(), remaining_ms) {
            writeln!(stdout, "{line}")?;
        }
        Ok(())
    }

    /// Writes one line for a run over many accounts and Regions.
    ///
    /// # Errors
    /// If standard output cannot be written to.
    pub fn write_run(&self, summary: &RunSummary) -> std::io::Result<()> {
        let mut stdout = std::io::stdout().lock();
        writeln!(stdout, "{}", metrics::run_line(summary, now().as_millisecond()))
    }
}

#[expect(clippy::disallowed_methods, reason = "metrics have their own time")]
fn now() -> Timestamp {
    Timestamp::now()
}
