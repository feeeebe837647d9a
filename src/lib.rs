//! Keeps AWS Session Manager sessions within policy.
//!
//! # Bird's-eye view
//!
//! Facts come in at one edge, a pure core turns them into a plan, one loop carries the plan out,
//! and a report says honestly what happened. [`sweep::sweep`] is that sentence in code:
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
//! | [`aws`] | the one way to call AWS: one retry loop, one pacer an operation |
//! | [`sweep`] | all of it, once: policy, list, tags, terminate, verify |
//! | [`sinks`] | where the fields go: log lines, metrics |
//! | [`lambda`] | what only the Lambda function needs: its environment, events and handler |
//!
//! # Invariants
//!
//! 1. The pure core knows no async, clock, environment, SDK or logging: `now` is an argument.
//! 2. What is not known is not ended: a missing field or an unread tag keeps its session alive where
//!    it decides something.
//! 3. The whole plan exists, and is logged, before the first termination.
//! 4. A dry run is a mode, not a code path: only `act` is left out.
//! 5. An event says when to sweep: it may tighten the mode, and nothing else; an event that is not
//!    known starts no sweep.
//! 6. `terminated` means seen absent in a complete listing after AWS was asked to end it.
//! 7. Ages are only as good as the clock: a sweep whose clock differs from AWS's by more than a minute
//!    terminates nothing.
//! 8. An error on one session is an outcome; only what fails the run as a whole is an error.

mod budget;
pub mod aws;
pub mod sweep;
pub mod sinks;
pub mod lambda;

pub use budget::Budget;
