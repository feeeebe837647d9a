//! Keeps AWS Session Manager sessions within policy.
//!
//! # Bird's-eye view
//!
//! Facts come in at one edge, a pure core turns them into a plan, one loop carries the plan out,
//! and a report says honestly what happened. [`sweep::sweep`] is that sentence in code:
//!
//! ```text
//! event ─► policy ─► list ─► judge ─► (tags ─► judge again) ─► plan ─► act ─► verify ─► report
//!           edge     edge    pure      edge     pure          pure    edge   edge     pure
//! ```
//!
//! # Code map, in reading order
//!
//! | the pure core | |
//! |---|---|
//! | [`session`], [`target`] | what AWS tells: a session, its target's ARN and tags |
//! | [`pattern`], [`truth`], [`policy`] | what the policy says, in three-valued logic |
//! | [`verdict`] | one session, one instant, one verdict |
//! | [`plan`] | verdicts to actions: order and limits |
//! | [`report`], [`metrics`] | what was done: reply, log lines, CloudWatch metrics |
//! | [`event`] | when to sweep, and in which mode at most |
//! | [`printable`] | texts that anybody may have written, made safe to show |
//!
//! | the edges | |
//! |---|---|
//! | [`pacer`], [`ssm`] | the one way to call AWS: one retry loop, one pacer an operation |
//! | [`source`], [`list`], [`tags`] | reading: the policy, the sessions, the targets' tags |
//! | [`act`], [`verify`] | ending sessions, and checking that they are gone |
//! | [`sweep`] | all of it, once |
//! | [`config`], [`telemetry`], [`handler`] | what only the Lambda function needs |
//!
//! # Invariants
//!
//! 1. The pure core knows no async, clock, environment, SDK or logging: `now` is an argument.
//! 2. What is not known is not ended: a missing field or an unread tag keeps its session alive where
//!    it decides something.
//! 3. The whole plan exists, and is logged, before the first termination.
//! 4. A dry run is a mode, not a code path: only `act` is left out.
//! 5. The event says when, never whom: it may tighten the mode, and nothing else.
//! 6. `terminated` means seen absent in a complete listing after AWS was asked to end it.
//! 7. An error on one session is an outcome; only what fails the run as a whole is an error.

pub mod session;
pub mod target;
pub mod pattern;
pub mod truth;
pub mod policy;
mod completions;
pub mod verdict;
pub mod plan;
pub mod report;
pub mod metrics;
pub mod event;
pub mod printable;

pub mod pacer;
pub mod ssm;
pub mod source;
pub mod list;
pub mod tags;
pub mod act;
pub mod verify;
pub mod sweep;

pub mod config;
pub mod telemetry;
pub mod handler;
