//! The pure core of `session-reaper`: sessions, the policy, its evaluation, the plan and the report.
//!
//! It has no async runtime, AWS SDK or logging, and reads neither the clock nor the environment: `now`
//! is an argument everywhere. In reading order:
//!
//! | | |
//! |---|---|
//! | [`arn`], [`duration`] | Amazon Resource Names, and durations such as `1h30m` |
//! | [`session`], [`target`], [`session_type`] | what AWS reports: a session, its target's ARN and tags, its document's type |
//! | [`pattern`], [`truth`], [`policy`] | the policy, and three-valued logic |
//! | [`evaluate`] | one session at one instant: its verdict |
//! | [`census`] | all sessions of a listing: those that are active at once are counted |
//! | [`plan`] | from verdicts to actions: order and limits |
//! | [`report`], [`event`], [`metrics`] | what was done: reply, rows, log lines, CloudWatch metrics |
//! | [`notice`] | what other systems are told: events for EventBridge |
//! | [`evidence`] | files of decisions and outcomes, and whether they are as they were written |
//! | [`organization`] | a run over many accounts and Regions: its plan, reports and summary |
//! | [`printable`] | makes text from users safe to show |
//!
//! # Example
//!
//! ```
//! use jiff::Timestamp;
//! use reaper_core::{
//!     census::{Evaluator, Unseen},
//!     plan::{Action, plan},
//!     policy::Policy,
//!     session::{Reading, Record},
//!     target::{Tags, Unknown},
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let policy = Policy::parse(
//!     "
//! version: 1
//! rules:
//!   - id: twelve-hours
//!     when: all
//!     require: { max_age: 12h }
//! ",
//! )?;
//!
//! // One row of `DescribeSessions`: any field may be absent.
//! let record = Record {
//!     id: Some("amara-0a1b2c3d4e5f60001".into()),
//!     owner: Some("arn:aws:iam::123456789012:user/amara".into()),
//!     target: Some("i-0aa00000000000de1".into()),
//!     started_at: Some("2026-03-01T12:00:00Z".parse()?),
//!     ..Record::default()
//! };
//! let now: Timestamp = "2026-03-02T12:00:00Z".parse()?;
//! let Reading::Session(session) = record.read(now) else { panic!("a field is absent") };
//!
//! // The verdict does not depend on tags, so they need not be known.
//! let tags = Tags::Unknown(Unknown::TagsNotLookedUp);
//! let evaluator = Evaluator::new(&policy, now);
//! let mut evaluated = vec![evaluator.evaluate(Box::new(session), tags)];
//! evaluator.conclude(&mut evaluated, Unseen::NOTHING, || true);
//! assert_eq!(evaluated[0].verdict.name(), "violation");
//!
//! let plan = plan(&policy, now, evaluated);
//! assert_eq!(plan.steps[0].action, Action::Terminate);
//! # Ok(())
//! # }
//! ```

mod alphabet;
pub mod arn;
pub mod duration;
pub mod session;
pub mod target;
pub mod session_type;
pub mod pattern;
pub mod truth;
pub mod policy;
pub mod evaluate;
pub mod census;
pub mod plan;
pub mod report;
pub mod event;
pub mod evidence;
pub mod metrics;
pub mod notice;
pub mod organization;
pub mod printable;
