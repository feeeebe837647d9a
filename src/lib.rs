//! Enforces a policy on the active sessions of AWS Session Manager.
//!
//! # Overview
//!
//! A sweep reads the policy and the active sessions, evaluates and plans in a pure core, carries the
//! plan out, verifies the result, and reports it. [`sweep::sweep`] does this:
//!
//! ```text
//! event ─► policy ─► list ─► evaluate ─► (tags ─► evaluate again) ─► plan ─► act ─► verify ─► report
//!           edge     edge    pure      edge     pure          pure    edge   edge     pure
//! ```
//!
//! # Code map, in reading order
//!
//! | | |
//! |---|---|
//! | `reaper_core` | the pure core: sessions, the policy, its evaluation, the plan, the report |
//! | [`aws`] | calls to AWS: how clients are made, one retry loop, and one pacer per operation |
//! | [`sweep`] | one sweep: policy, list, tags, terminate, verify |
//! | [`sinks`] | where records go: log lines, metrics, events for EventBridge, evidence in a bucket |
//! | [`organization`] | a run over many accounts and Regions: plan, batches, summary |
//! | [`lambda`] | the Lambda function: its environment, events and handler |
//!
//! # Invariants
//!
//! 1. The core has no async, clock, environment, SDK or logging. `now` is an argument.
//! 2. If a fact that decides is unknown, the session is not terminated.
//! 3. The whole plan exists, and is logged, before the first termination. Where evidence is required, it
//!    has been written by then, or no session is terminated.
//! 4. A dry run is a mode, not a separate code path: only the terminations are left out.
//! 5. An event says when to sweep. It may turn an enforcing sweep into a dry run, and nothing else.
//!    An event that is not known starts no sweep, and none names a bus for what is told. In an organization it names a run and a batch: accounts
//!    and Regions come from the plan that the function has made by its own configuration.
//! 6. `terminated` means that AWS accepted the termination, and that the session is absent from a
//!    complete listing afterwards.
//! 7. Ages are only as good as the clock: a sweep whose clock differs from AWS's by more than a
//!    minute terminates nothing.
//! 8. A session that is `Terminating` is evaluated like any other, and stays `unconfirmed` while it
//!    is listed.
//! 9. An error on one session is an outcome; an error in one account-Region is an outcome of the run.
//!    Only what fails the sweep, or the run, as a whole is an error.
//! 10. No dimension of a metric grows with accounts and Regions: what is known of one account-Region of
//!     an organization is in reports and log lines.

mod budget;
pub mod aws;
pub mod sweep;
pub mod sinks;
pub mod organization;
pub mod lambda;

pub use budget::Budget;
