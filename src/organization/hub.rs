//! The hub of an organization: what its function is configured with, and how its steps fail.

use std::time::Duration;

use serde::Serialize;

use crate::{
    Budget,
    aws::{Accounts, AccountsNotListed, Bucket, CallError, Connect, Members, Ssm, Unless},
    sweep::source::{PolicySource, PolicyUnusable},
};
use reaper_core::{
    organization::{PlanError, RunFailure, RunId, Selection, SelectionError},
    report::Mode,
};

/// How many account-Regions of a batch are swept at a time, each with an equal part of the memory.
pub(super) const CONCURRENCY: usize = 16;

/// How CloudTrail calls what the function does in a member account.
const SESSION_NAME: &str = "session-reaper";

/// What makes a function the hub of an organization.
#[derive(Clone, Debug, PartialEq)]
pub struct HubConfig {
    /// `REAPER_MEMBER_ROLE`: the name of the role in every account.
    pub member_role: String,
    /// `REAPER_BUCKET`: where plans and reports are.
    pub bucket: String,
    /// `REAPER_REGIONS`: the Regions that are swept, each once.
    pub regions: Vec<String>,
    /// `REAPER_INCLUDE_ACCOUNTS`, `REAPER_EXCLUDE_ACCOUNTS`, `REAPER_CANARY_ACCOUNTS` and
    /// `REAPER_BATCH_SIZE`.
    pub selection: Selection,
    /// `REAPER_RUN_TIMEOUT`: after this time, a run no longer keeps others from starting.
    pub run_timeout: Duration,
}

/// How the sweeps of a hub work.
#[derive(Clone, Debug)]
pub struct SweepSettings {
    /// Whether sessions are really terminated, if the plan says so too.
    pub mode: Mode,
    /// Where the policy is.
    pub policy: PolicySource,
    /// The pace of each operation in each account-Region.
    pub calls_per_second: f64,
    /// Terminations in flight in each account-Region.
    pub concurrency: usize,
    /// What the sessions of a batch may take, in bytes.
    pub memory: usize,
}

/// The hub: its clients, and all that its steps are configured with.
#[derive(Debug)]
pub struct Hub {
    pub(super) config: HubConfig,
    pub(super) sweeps: SweepSettings,
    pub(super) partition: String,
    pub(super) connect: Connect,
    pub(super) ssm: Ssm,
    pub(super) accounts: Accounts,
    pub(super) bucket: Bucket,
}

/// Why a step has failed.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// Another run has not ended.
    #[error(
        "the run `{run}` is in progress until {until} at the latest, so no other was started: wait for it, \
         or stop its execution and delete `{object}`"
    )]
    RunInProgress {
        /// Which.
        run: RunId,
        /// When its lease expires.
        until: jiff::Timestamp,
        /// The lease.
        object: String,
    },
    /// A batch of a run that has ended, or whose time is over.
    #[error(
        "the run `{run}` no longer has the lease `{object}`, because it has ended, has taken too long or \
         the lease was deleted: nothing more is swept by its plan; start a new execution"
    )]
    RunOver {
        /// Which.
        run: RunId,
        /// The lease.
        object: String,
    },
    /// The organization's accounts are not known.
    #[error("the organization's accounts are not known: {0}")]
    AccountsNotListed(#[from] AccountsNotListed),
    /// No accounts can be selected.
    #[error(transparent)]
    Selection(#[from] SelectionError),
    /// There is no policy to evaluate by.
    #[error(transparent)]
    Policy(#[from] PolicyUnusable),
    /// The policy is another than that of the plan.
    #[error(
        "the policy from {source_name} has changed since the run was planned, and has no versions: start \
         a new run"
    )]
    PolicyChanged {
        /// Where it was read.
        source_name: String,
    },
    /// An object cannot be used.
    #[error("`{object}` cannot be used: {err}")]
    Unusable {
        /// Which object.
        object: String,
        /// What is wrong with it.
        err: PlanError,
    },
    /// An object is not there.
    #[error(
        "`{object}` does not exist: is this the name of a run that was planned, in this bucket?"
    )]
    NoObject {
        /// Which object.
        object: String,
    },
    /// The lease cannot be read.
    #[error(
        "`{object}` is not a lease that this version can read: delete it if no run is in progress"
    )]
    LeaseUnusable {
        /// Which object.
        object: String,
    },
    /// The plan of a run that has been planned already is another one's.
    #[error("`{object}` exists already, and is another plan: give the execution another name")]
    PlanExists {
        /// Which object.
        object: String,
    },
    /// The bucket cannot be read or written.
    #[error("`{object}` cannot be read or written: {err}")]
    Store {
        /// Which object.
        object: String,
        /// What S3 says.
        err: CallError,
    },
    /// An object cannot be turned into JSON.
    #[error("`{object}` was not written: {err}")]
    NotWritten {
        /// Which object.
        object: String,
        /// Why.
        err: serde_json::Error,
    },
    /// The canaries show that the run must not go on.
    #[error("the run must not go on: {0}")]
    Canary(String),
    /// The run as a whole has failed.
    #[error(transparent)]
    Run(#[from] RunFailure),
}

impl HubError {
    /// The `errorType` of the invocation's error.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::RunInProgress { .. } => "RunInProgress",
            Self::RunOver { .. } => "RunOver",
            Self::AccountsNotListed(_) | Self::Selection(_) => "AccountsNotListed",
            Self::Policy(_) | Self::PolicyChanged { .. } => "PolicyUnusable",
            Self::Unusable { .. }
            | Self::NoObject { .. }
            | Self::PlanExists { .. }
            | Self::LeaseUnusable { .. } => "PlanUnusable",
            Self::Store { .. } | Self::NotWritten { .. } => "StoreFailed",
            Self::Canary(_) | Self::Run(RunFailure::Canary(_)) => "CanaryFailed",
            Self::Run(RunFailure::Missing { .. }) => "RunIncomplete",
        }
    }
}

impl Hub {
    /// Makes the clients of a hub, in this partition.
    #[must_use]
    pub fn new(
        config: HubConfig,
        sweeps: SweepSettings,
        partition: String,
        connect: Connect,
    ) -> Self {
        let ssm = connect.ssm(sweeps.calls_per_second);
        let accounts = Accounts::new(&connect);
        let bucket = Bucket::new(&connect, &config.bucket);
        Self { config, sweeps, partition, connect, ssm, accounts, bucket }
    }

    /// The accounts of one batch. A refusal is remembered as long as this lives.
    pub(super) fn members(&self) -> Members {
        let Self { config, connect, sweeps, .. } = self;
        let pace = sweeps.calls_per_second;
        Members::new(connect.clone(), &config.member_role, SESSION_NAME, pace)
    }

    /// The name of an object in messages.
    pub(super) fn object(&self, key: &str) -> String {
        format!("s3://{}/{key}", self.bucket.name())
    }

    /// Reads an object that must be there.
    pub(super) async fn read(&self, key: &str, budget: Budget) -> Result<Vec<u8>, HubError> {
        match self.bucket.get(key, budget).await {
            Ok(Some(object)) => Ok(object.bytes),
            Ok(None) => Err(HubError::NoObject { object: self.object(key) }),
            Err(err) => Err(self.store(key, err)),
        }
    }

    /// Writes an object as JSON. `false` means that what is there forbids it.
    pub(super) async fn write(
        &self,
        key: &str,
        content: &impl Serialize,
        unless: Unless<'_>,
        budget: Budget,
    ) -> Result<bool, HubError> {
        let bytes = serde_json::to_vec(content)
            .map_err(|err| HubError::NotWritten { object: self.object(key), err })?;
        self.bucket.put(key, &bytes, unless, budget).await.map_err(|err| self.store(key, err))
    }

    pub(super) fn store(&self, key: &str, err: CallError) -> HubError {
        HubError::Store { object: self.object(key), err }
    }

    pub(super) fn unusable(&self, key: &str, err: PlanError) -> HubError {
        HubError::Unusable { object: self.object(key), err }
    }
}

/// Where the plan of a run is.
pub(super) fn plan_key(run: &RunId) -> String {
    format!("runs/{run}/plan.json")
}

/// Where the report of a batch is.
pub(super) fn report_key(run: &RunId, batch: usize) -> String {
    format!("runs/{run}/reports/{batch}.json")
}

/// Where the summary of a run is.
pub(super) fn summary_key(run: &RunId) -> String {
    format!("runs/{run}/summary.json")
}
