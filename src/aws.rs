//! The edge to AWS. No SDK type leaves it.

mod advice;
mod bounded;
mod call;
mod client;
mod date;
mod error;
pub mod pacer;
mod record;

pub(crate) use self::call::ATTEMPT_TIMEOUT;
pub use self::{
    advice::remediation,
    bounded::bounded,
    call::ATTEMPT,
    client::{MAX_ARNS, Page, Parameter, Ssm, TaggedResources},
    date::ServiceTime,
    error::{CallError, CallErrorKind, sources},
};
