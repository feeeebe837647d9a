//! The first step of a run: its plan.

use jiff::Timestamp;
use serde::Serialize;

use super::{
    hub::{Hub, HubError, plan_key},
    lease::before_return,
};
use crate::{Budget, aws::Unless, sinks::Sinks};
use reaper_core::{
    organization::{RunId, RunPlan},
    report::Mode,
};

/// What Step Functions needs to know of a plan: the numbers of its batches.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct PlanReply {
    /// Which run.
    pub run: RunId,
    /// Whether sessions are really terminated.
    pub mode: Mode,
    /// Accounts in the plan.
    pub accounts: usize,
    /// Account-Regions in the plan.
    pub account_regions: usize,
    /// The batches of canaries.
    pub canaries: Vec<usize>,
    /// The other batches.
    pub batches: Vec<usize>,
}

impl Hub {
    /// Plans a run: which accounts there are, what is swept in which batch, and by which policy.
    ///
    /// A policy that is not valid ends the run here. Delivered twice, the step returns the same plan.
    ///
    /// # Errors
    /// If another run is in progress, the policy cannot be used, the accounts cannot be listed or
    /// selected, or the plan cannot be written. Then nothing is swept.
    pub(super) async fn plan(
        &self,
        run: RunId,
        mode: Mode,
        sinks: &Sinks,
        now: Timestamp,
        budget: Budget,
    ) -> Result<PlanReply, HubError> {
        let planning = before_return(budget);
        let planned = match self.take_lease(&run, now, planning).await {
            Ok(()) => self.make_plan(run.clone(), mode, now, planning).await,
            Err(err @ HubError::Store { .. }) => Err(err), // It may have been taken.
            Err(err) => return Err(err),
        };
        if planned.is_err() {
            // The next run need not wait for one that has no plan.
            self.give_lease_back(&run, sinks, now, budget).await;
        }
        planned
    }

    async fn make_plan(
        &self,
        run: RunId,
        mode: Mode,
        now: Timestamp,
        budget: Budget,
    ) -> Result<PlanReply, HubError> {
        let key = plan_key(&run);
        let existing = self.bucket.get(&key, budget).await.map_err(|it| self.store(&key, it))?;
        if let Some(existing) = existing {
            let plan = RunPlan::parse(&existing.bytes, &run);
            return Ok(reply(&plan.map_err(|it| self.unusable(&key, it))?));
        }
        let (_policy, identity) = self.sweeps.policy.load(&self.ssm, budget).await?;
        let accounts = self.accounts.list(budget).await?;
        let regions = self.config.regions.clone();
        let batches = self.config.selection.batches(&accounts, regions.len())?;
        let plan = RunPlan::new(run, now, mode, identity, self.partition.clone(), regions, batches);
        if self.write(&key, &plan, Unless::Exists, budget).await? {
            Ok(reply(&plan))
        } else {
            Err(HubError::PlanExists { object: self.object(&key) })
        }
    }
}

fn reply(plan: &RunPlan) -> PlanReply {
    let (canaries, batches) =
        (1..=plan.batches.len()).partition(|number| plan.is_of_canaries(*number));
    PlanReply {
        run: plan.run.clone(),
        mode: plan.mode,
        accounts: plan.n_accounts(),
        account_regions: plan.n_scopes(),
        canaries,
        batches,
    }
}
