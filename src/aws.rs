//! The edge to AWS. No SDK type leaves it.

mod advice;
mod bounded;
mod call;
mod client;
mod connect;
mod date;
mod error;
pub mod pacer;
mod record;

pub use self::{
    advice::remediation,
    call::ATTEMPT,
    client::{MAX_ARNS, Page, Parameter, Ssm, TaggedResources},
    connect::{Connect, connectors, one_connector},
    date::ServiceTime,
    error::{CallError, CallErrorKind, sources},
};
