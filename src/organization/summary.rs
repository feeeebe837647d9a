//! The last step of a run: its summary.

use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;

use super::{
    hub::{Hub, HubError, plan_key, report_key, summary_key},
    lease::before_return,
};
use crate::{Budget, aws::Unless, sinks::Sinks};
use reaper_core::{
    event::Event,
    organization::{BatchReport, RunId, RunPlan, RunSummary},
};

/// How many reports are read at a time: each has at most 4 MiB.
const REPORTS_AT_A_TIME: usize = 8;

impl Hub {
    /// Sums up a run: the plan less the reports is what is missing. Then the next run may start.
    ///
    /// # Errors
    /// If the plan or a report cannot be read, something is missing, or canaries have failed.
    pub(super) async fn summary(
        &self,
        run: RunId,
        sinks: &Sinks,
        now: Timestamp,
        budget: Budget,
    ) -> Result<RunSummary, HubError> {
        let summary = self.summarize(&run, now, before_return(budget)).await;
        self.give_lease_back(&run, sinks, now, budget).await;
        let mut summary = summary?;
        if let Some(events) = &sinks.events {
            summary.events = Some(events.send_run(&summary, budget).await);
        }
        sinks.emit(&Event::RunFinished(&summary));
        match summary.failure(&self.object(&summary_key(&run))) {
            Some(failure) => Err(failure.into()),
            None => Ok(summary),
        }
    }

    async fn summarize(
        &self,
        run: &RunId,
        now: Timestamp,
        budget: Budget,
    ) -> Result<RunSummary, HubError> {
        let key = plan_key(run);
        let plan = RunPlan::parse(&self.read(&key, budget).await?, run)
            .map_err(|it| self.unusable(&key, it))?;
        let mut summary = RunSummary::new(&plan);
        let report = async |number: usize| {
            let key = report_key(run, number);
            let report = self.bucket.get(&key, budget).await.map_err(|it| self.store(&key, it))?;
            let report = report.map(|it| BatchReport::parse(&it.bytes, run, number));
            let report = report.transpose().map_err(|it| self.unusable(&key, it))?;
            Ok::<_, HubError>((number, report))
        };
        let mut reports =
            stream::iter(1..=plan.batches.len()).map(report).buffered(REPORTS_AT_A_TIME);
        while let Some((number, report)) = reports.try_next().await? {
            summary.add(&plan, number, report.as_ref());
        }
        summary.duration_s = now.duration_since(plan.planned_at).as_secs_f64();
        let key = summary_key(run);
        // Delivered twice, the first stays: both are made of the same reports.
        self.write(&key, &summary, Unless::Exists, budget).await?;
        Ok(summary)
    }
}
