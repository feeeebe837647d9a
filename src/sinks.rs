//! Where the fields of a sweep go.

pub mod log;
