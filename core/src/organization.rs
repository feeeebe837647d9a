//! A run over many accounts and Regions: its plan, the reports of its batches, and its summary.
//!
//! An *account-Region* is one account in one Region: a [`Scope`](crate::target::Scope).

mod batch_report;
mod run_plan;
mod selection;
mod summary;

#[cfg(test)]
pub(crate) use self::run_plan::tests::run_plan;
pub use self::{
    batch_report::{BatchReport, Room, ScopeReport, Status, SweepCounts},
    run_plan::{PlanError, RunId, RunIdError, RunPlan},
    selection::{Account, Selection, SelectionError, is_account_id, is_region, is_role_name},
    summary::{RunFailure, RunSummary},
};

/// The version of the format of plans and reports. Those of another version are not read.
const FORMAT: u32 = 1;
