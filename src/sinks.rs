//! Where the records of a sweep go.

pub mod log;
