//! The edge to AWS. No SDK type leaves it.

mod advice;
mod bounded;
mod client;
pub mod pacer;

pub(crate) use self::client::ATTEMPT_TIMEOUT;
pub use self::{
    advice::remediation,
    bounded::bounded,
    client::{
        ATTEMPT, CallError, CallErrorKind, MAX_ARNS, Page, Parameter, Ssm, TaggedResources, sources,
    },
};
