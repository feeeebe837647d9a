//! The steps of a run, as events ask for them.

use jiff::Timestamp;
use serde::Serialize;

use super::{
    batch::BatchReply,
    hub::{Hub, HubError},
    plan::PlanReply,
};
use crate::{Budget, sinks::Sinks};
use reaper_core::{
    organization::{RunId, RunSummary},
    report::Mode,
};

/// A step of a run. It names a run and a batch: accounts, Regions and the policy come from the plan.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Step {
    /// Plans the run, in this mode.
    Plan(RunId, Mode),
    /// Sweeps the batch of this number.
    Batch(RunId, usize),
    /// Sums up what was done.
    Summary(RunId),
}

/// What a step returns to Step Functions.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Reply {
    /// Of the plan.
    Plan(PlanReply),
    /// Of a batch.
    Batch(BatchReply),
    /// Of the summary.
    Summary(Box<RunSummary>),
}

impl Hub {
    /// Carries out a step.
    ///
    /// # Errors
    /// If the step as a whole has failed. `HubError::name` is what Step Functions tells errors apart by.
    pub async fn carry_out(
        &self,
        step: Step,
        sinks: &Sinks,
        clock: &impl Fn() -> Timestamp,
        budget: Budget,
    ) -> Result<Reply, HubError> {
        Ok(match step {
            Step::Plan(run, mode) => {
                Reply::Plan(self.plan(run, mode, sinks, clock(), budget).await?)
            }
            Step::Batch(run, number) => {
                Reply::Batch(Box::pin(self.batch(run, number, sinks, clock, budget)).await?)
            }
            Step::Summary(run) => {
                let summary = self.summary(run, sinks, clock(), budget).await?;
                Reply::Summary(Box::new(summary))
            }
        })
    }
}
