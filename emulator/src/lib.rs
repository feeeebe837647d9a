//! The Session Manager API on loopback, with faults.
//!
//! One `Emulator` is one account in one Region. It implements what session-reaper and its users need:
//! `DescribeSessions`, `StartSession`, `TerminateSession`, `GetDocument` and `GetParameter` of Systems
//! Manager, `GetResources` of Resource Groups Tagging and `PutEvents` of EventBridge (all in JSON 1.1),
//! `GetCallerIdentity` and `AssumeRole` of STS (in the query protocol), and `GetObject` and `PutObject` of
//! S3.
//! An `Organization` is many accounts and Regions: an `Emulator` for each, and `ListAccounts` of
//! Organizations.
//! It is served on a socket (`serve`), or used by the SDK in the same process
//! (`Emulator::http_client`), also in virtual time: all its clocks are tokio's.
//!
//! It requires a signature but does not verify it, and it has no IAM. `docs/emulator.md` is the guide.

mod body;
mod client;
mod document;
mod effect;
mod emulator;
mod events;
mod fault;
mod filter;
mod fleet;
mod organization;
mod request;
mod seed;
mod serve;
mod sts;
mod wire;
mod world;

pub use self::{
    emulator::{Call, Emulator, Reset},
    fault::{Fault, FaultKind},
    fleet::{Behaviour, Filters, Fleet, FleetError, Order, ToEnded},
    organization::{AccountFleet, AccountState, Hub, Organization, OrganizationFleet, RegionFleet},
    seed::{OnTerminate, Seed},
    serve::serve,
};
