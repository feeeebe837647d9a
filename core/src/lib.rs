//! The pure core of `session-reaper`: no async, clock, environment, AWS SDK or logging.
//!
//! `now` is an argument everywhere. In reading order:
//!
//! | | |
//! |---|---|
//! | [`arn`], [`duration`] | Amazon Resource Names, and durations such as `1h30m` |
//! | [`session`], [`target`] | what AWS tells: a session, its target's ARN and tags |
//! | [`pattern`], [`truth`], [`policy`] | what the policy says, in three-valued logic |
//! | [`evaluate`] | one session, one instant, one verdict |
//! | [`plan`] | verdicts to actions: order and limits |
//! | [`report`], [`metrics`] | what was done: reply, rows, CloudWatch metrics |
//! | [`printable`] | texts that anybody may have written, made safe to show |

mod alphabet;
pub mod arn;
pub mod duration;
pub mod session;
pub mod target;
pub mod pattern;
pub mod truth;
pub mod policy;
pub mod evaluate;
pub mod plan;
pub mod report;
pub mod metrics;
pub mod printable;
