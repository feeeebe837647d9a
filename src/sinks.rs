//! Where the facts of a sweep go.

pub mod log;
