//! The edge to AWS.

mod accounts;
mod advice;
mod bounded;
mod bucket;
mod call;
mod client;
mod connect;
mod date;
mod endpoint;
mod error;
mod event_bus;
mod json;
mod members;
pub mod pacer;
mod record;
mod service;
mod signature;

pub use self::{
    accounts::{Accounts, AccountsNotListed},
    advice::remediation,
    bucket::{Bucket, Created, Keys, Object, Unless},
    call::ATTEMPT,
    client::{MAX_ARNS, Page, Parameter, Ssm, Tagged},
    connect::{Connect, configured, connectors, one_connector},
    date::ServiceTime,
    endpoint::{Api, SSM, STS, TAGGING, named, url},
    error::{CallError, CallErrorKind, sources},
    event_bus::EventBus,
    members::{Members, NoAccess},
    service::{Request, Service, Unread},
};
