//! What the tests of several crates, and the seeds of the fuzz targets, have in common.

pub mod hostile_policies;
pub mod hostile_texts;
#[cfg(feature = "tls")]
pub mod tls;
