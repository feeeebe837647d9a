//! The pure core of `session-reaper`, compiled from its sources alone: no AWS SDK to build.
//!
//! That this compiles also proves that the core needs none of the edges.

#[path = "../../src"]
mod core {
    pub mod completions;
    pub mod event;
    pub mod metrics;
    pub mod pattern;
    pub mod plan;
    pub mod policy;
    pub mod printable;
    pub mod report;
    pub mod session;
    pub mod target;
    pub mod truth;
    pub mod verdict;
}

pub use self::core::{
    completions, event, metrics, pattern, plan, policy, printable, report, session, target, truth,
    verdict,
};
