//! Keeps AWS Session Manager sessions within policy.

pub mod metrics;
pub mod pattern;
pub mod plan;
pub mod policy;
pub mod report;
pub mod session;
pub mod target;
pub mod truth;
pub mod verdict;

pub mod act;
pub mod list;
pub mod pacer;
pub mod source;
pub mod ssm;
pub mod sweep;
pub mod tags;
pub mod verify;

pub mod config;
pub mod event;
pub mod handler;
pub mod telemetry;
