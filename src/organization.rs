//! A run over the accounts and Regions of an organization. AWS Step Functions starts its steps.
//!
//! ```text
//! plan ─► batches of canaries ─► the other batches ─► summary
//! ```
//!
//! [`each`] does something in each account-Region, wherever it is called: in a batch of the function, or
//! in `reapctl`.

mod batch;
mod each;
mod hub;
mod lease;
mod plan;
mod step;
mod summary;

pub use self::{
    batch::{
        BatchReply, not_listed, report_of, status_of, status_without_keys, status_without_pages,
        sweep_scope,
    },
    each::{Patience, Visit, each},
    hub::{Hub, HubConfig, HubError, SweepSettings},
    plan::PlanReply,
    step::{Reply, Step},
};
