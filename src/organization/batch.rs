//! A batch of a run: sweeps its account-Regions.

use std::{cell::Cell, collections::BTreeSet, time::Duration};

use jiff::Timestamp;
use serde::Serialize;
use tokio::time::Instant;

use super::{
    each::{Patience, Visit, each},
    hub::{CONCURRENCY, Hub, HubError, plan_key, report_key},
};
use crate::{
    Budget,
    aws::{CallError, CallErrorKind, NoAccess, Ssm, Unless},
    sinks::Sinks,
    sweep::list::ListingProblem,
    sweep::source::PolicySource,
    sweep::{PlannedSweep, SweepContext, carry_out, plan_by},
};
use reaper_core::{
    event::Event,
    organization::{BatchReport, Room, RunId, RunPlan, ScopeReport, Status},
    policy::{Policy, PolicyIdentity},
    report::{Failure, Mode, Report},
    target::Scope,
};

/// What is kept of the time for the report.
const REPORT: Duration = Duration::from_secs(5);

/// Why one was not begun.
const NO_TIME: &str = "the time of the batch was used up before this one began";

/// What Step Functions needs to know of a batch: not much, for it keeps the replies of all batches.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct BatchReply {
    /// Which run.
    pub run: RunId,
    /// The number of the batch.
    pub batch: usize,
    /// Account-Regions in the batch.
    pub account_regions: usize,
    /// Those that were swept, or had nothing to sweep.
    pub swept: usize,
}

impl Hub {
    /// Sweeps the account-Regions of a batch, and writes its report.
    ///
    /// Delivered twice, the step returns what the first report says, and sweeps nothing.
    ///
    /// # Errors
    /// If there is no such batch, the run has ended, the policy of the plan cannot be used, the report
    /// cannot be written, or canaries show that the run must not go on. What is wrong in one
    /// account-Region is in the report.
    pub(super) async fn batch(
        &self,
        run: RunId,
        number: usize,
        sinks: &Sinks,
        clock: &impl Fn() -> Timestamp,
        budget: Budget,
    ) -> Result<BatchReply, HubError> {
        let key = plan_key(&run);
        let plan = RunPlan::parse(&self.read(&key, budget).await?, &run)
            .map_err(|it| self.unusable(&key, it))?;
        let scopes = plan.batch(number).map_err(|it| self.unusable(&key, it))?;
        let key = report_key(&run, number);
        let existing = self.bucket.get(&key, budget).await.map_err(|it| self.store(&key, it))?;
        let report = if let Some(existing) = existing {
            BatchReport::parse(&existing.bytes, &run, number)
                .map_err(|it| self.unusable(&key, it))?
        } else {
            self.check_lease(&run, clock(), budget).await?;
            self.sweep_batch(&plan, number, scopes, sinks, clock, budget).await?
        };
        match report.canary_failure().filter(|_| plan.is_of_canaries(number)) {
            Some(why) => Err(HubError::Canary(why)),
            None => Ok(BatchReply {
                run,
                batch: number,
                account_regions: report.scopes.len(),
                swept: report.n_fine(),
            }),
        }
    }

    async fn sweep_batch(
        &self,
        plan: &RunPlan,
        number: usize,
        scopes: Vec<Scope>,
        sinks: &Sinks,
        clock: &impl Fn() -> Timestamp,
        budget: Budget,
    ) -> Result<BatchReport, HubError> {
        let (policy, identity) = self.policy_of(plan, budget).await?;
        let mode = if self.sweeps.mode == Mode::DryRun { Mode::DryRun } else { plan.mode };
        let sinks = &sinks.of_run(&plan.run);
        let members = self.members();
        let room = Cell::new(Room::default());
        let work = async |scope: &Scope, ssm: &Ssm, budget| {
            let sinks = sinks.at(scope);
            let context = SweepContext {
                ssm,
                scope: Some(scope),
                sinks: &sinks,
                policy: &self.sweeps.policy,
                mode,
                now: clock(),
                read_at: Instant::now(),
                budget,
                concurrency: self.sweeps.concurrency,
                memory: self.sweeps.memory / CONCURRENCY,
            };
            let mut report = Box::pin(sweep_scope(context, scope, &policy, &identity)).await;
            let mut left = room.get();
            report.fit_into(&mut left);
            room.set(left);
            if let ScopeReport { status, problem: Some(error), .. } = &report {
                sinks.emit(&Event::NotSwept { status: *status, error });
            }
            report
        };
        let sweeping = budget.reserve(REPORT, REPORT / 2);
        let is_of_canaries = plan.is_of_canaries(number);
        let patience = if is_of_canaries { Patience::Canaries } else { Patience::Usual };
        let visits = each(&members, scopes, CONCURRENCY, sweeping, patience, work).await;
        let mut told = BTreeSet::new(); // Of an account without access, one line.
        let report = |(scope, visit): (Scope, Visit<ScopeReport>)| {
            let is_begun = matches!(visit, Visit::Done(_));
            let report = report_of(&scope, visit);
            if !is_begun
                && let ScopeReport { status, problem: Some(error), .. } = &report
                && (*status != Status::NoAccess || told.insert(scope.account.clone()))
            {
                sinks.at(&scope).emit(&Event::NotSwept { status: *status, error });
            }
            report
        };
        let scopes = visits.into_iter().map(report).collect();
        let report = BatchReport::new(plan.run.clone(), number, scopes);
        self.write_report(report, sinks, budget).await
    }

    /// Writes a report, unless another delivery of the batch has written one: then that is returned.
    async fn write_report(
        &self,
        report: BatchReport,
        sinks: &Sinks,
        budget: Budget,
    ) -> Result<BatchReport, HubError> {
        let BatchReport { run, batch, .. } = &report;
        let key = report_key(run, *batch);
        if self.write(&key, &report, Unless::Exists, budget).await? {
            return Ok(report);
        }
        sinks.emit(&Event::BatchReportExists { batch: *batch });
        BatchReport::parse(&self.read(&key, budget).await?, run, *batch)
            .map_err(|it| self.unusable(&key, it))
    }

    /// The policy of the plan: of a parameter, the version that was read then.
    async fn policy_of(
        &self,
        plan: &RunPlan,
        budget: Budget,
    ) -> Result<(Policy, PolicyIdentity), HubError> {
        let source = match (&self.sweeps.policy, plan.policy.version) {
            (PolicySource::Parameter(name), Some(version)) => {
                PolicySource::Parameter(format!("{name}:{version}"))
            }
            (other, _) => other.clone(),
        };
        let (policy, identity) = source.load(&self.ssm, budget).await?;
        if identity.sha256 != plan.policy.sha256 {
            return Err(HubError::PolicyChanged { source_name: plan.policy.source.clone() });
        }
        Ok((policy, plan.policy.clone()))
    }
}

/// Sweeps one account-Region by a policy that has been read. Whatever goes wrong is in the report.
pub async fn sweep_scope(
    context: SweepContext<'_>,
    scope: &Scope,
    policy: &Policy,
    identity: &PolicyIdentity,
) -> ScopeReport {
    context.sinks.emit(&Event::Started { mode: context.mode, policy: &identity.source });
    let planned = match plan_by(context, policy, identity.clone()).await {
        Ok(planned) => planned,
        Err(err) => {
            return ScopeReport::not_swept(scope, Status::Incomplete, Some(err.to_string()));
        }
    };
    if let Some((status, problem)) = not_listed(&planned) {
        return ScopeReport::not_swept(scope, status, Some(problem));
    }
    let report = carry_out(context, planned).await.report;
    let (status, problem) = status_of(&report);
    ScopeReport::of_sweep(scope, status, problem, report)
}

/// What became of an account-Region, begun or not.
#[must_use]
pub fn report_of(scope: &Scope, visit: Visit<ScopeReport>) -> ScopeReport {
    match visit {
        Visit::Done(report) => report,
        Visit::NoAccess(err) => {
            ScopeReport::not_swept(scope, status_without_keys(&err), Some(err.to_string()))
        }
        Visit::NotStarted => {
            ScopeReport::not_swept(scope, Status::NotStarted, Some(NO_TIME.into()))
        }
    }
}

/// What a listing without a page says of the account-Region, if it says anything of its own.
#[must_use]
pub fn not_listed(planned: &PlannedSweep) -> Option<(Status, String)> {
    let problem = planned.problem.as_ref().filter(|_| planned.coverage.pages == 0)?;
    Some((status_without_pages(problem)?, problem.to_string()))
}

/// What this says of the account-Region if no page was listed, if it says anything of its own.
#[must_use]
pub fn status_without_pages(problem: &ListingProblem) -> Option<Status> {
    let ListingProblem::Call(err) = problem else { return None };
    status(err)
}

/// What became of an account-Region whose sessions were listed, and why it was not swept, if it was not.
#[must_use]
pub fn status_of(report: &Report) -> (Status, Option<String>) {
    match report.failure() {
        None => (Status::Swept, None),
        Some(Failure::AllDenied { error, .. }) => (Status::Denied, Some(error)),
        Some(Failure::ListingIncomplete { problem, .. }) => (Status::Incomplete, Some(problem)),
    }
}

/// What it says of an account-Region that the account's role was not assumed. Only a refusal is for the
/// account to mend.
#[must_use]
pub fn status_without_keys(NoAccess { err, .. }: &NoAccess) -> Status {
    match err.kind {
        CallErrorKind::Unavailable => Status::Unreachable,
        CallErrorKind::NoTime | CallErrorKind::Throttled => Status::NotStarted,
        CallErrorKind::Denied
        | CallErrorKind::InvalidToken
        | CallErrorKind::InvalidState
        | CallErrorKind::Refused
        | CallErrorKind::UnknownKeys => Status::NoAccess,
    }
}

fn status(err: &CallError) -> Option<Status> {
    match err.kind {
        CallErrorKind::UnknownKeys => Some(Status::RegionOff),
        CallErrorKind::Denied => Some(Status::Denied),
        CallErrorKind::Unavailable => Some(Status::Unreachable),
        CallErrorKind::NoTime => Some(Status::NotStarted),
        CallErrorKind::InvalidToken
        | CallErrorKind::InvalidState
        | CallErrorKind::Refused
        | CallErrorKind::Throttled => None,
    }
}
