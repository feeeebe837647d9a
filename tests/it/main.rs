//! The integration tests: one binary, one module per boundary.

mod faults;
mod stage;
mod sweep;
