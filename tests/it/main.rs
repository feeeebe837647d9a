//! The integration tests: one binary, one module per boundary.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

mod alarms;
mod clock;
mod docs;
mod documents;
mod emulator;
mod events;
mod evidence;
mod faults;
mod hostile;
mod lambda;
mod many_accounts;
mod organization;
mod privilege;
mod properties;
mod queue;
mod role;
mod runtime_api;
mod stage;
mod sweep;
mod wire;
