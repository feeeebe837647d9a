//! Keeps AWS Session Manager sessions within policy.

pub mod metrics;
pub mod pacer;
pub mod pattern;
pub mod plan;
pub mod policy;
pub mod report;
pub mod session;
pub mod target;
pub mod truth;
pub mod verdict;
