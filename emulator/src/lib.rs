//! The Session Manager API on loopback, and the faults it can play.
//!
//! One `Emulator` is one account in one Region. It speaks AWS's JSON 1.1 protocol as far as
//! session-reaper and its users need it: `DescribeSessions`, `StartSession`, `TerminateSession`,
//! `GetParameter`, Resource Groups Tagging's `GetResources`, and STS's `GetCallerIdentity` (in the
//! query protocol).
//! It is served on a socket (`serve`), or plugged into the SDK in process (`Emulator::http_client`),
//! where time may be virtual: all its clocks are tokio's.
//!
//! It does not check signatures, only that there is one, and knows no IAM.

mod body;
mod client;
mod emulator;
mod fault;
mod filter;
mod fleet;
mod request;
mod seed;
mod serve;
mod wire;
mod world;

pub use self::{
    emulator::{Call, Emulator, Reset},
    fault::{Fault, FaultKind},
    fleet::{Behaviour, Filters, Fleet, FleetError, Order, ToEnded},
    seed::{OnTerminate, Seed},
    serve::serve,
};
