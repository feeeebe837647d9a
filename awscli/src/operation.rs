//! The description of an operation.

use crate::{arguments::Spec, model::Structure};

/// An operation of Systems Manager.
pub(crate) struct Operation {
    /// The name, such as `DescribeSessions`.
    pub(crate) name: &'static str,
    /// The command, such as `describe-sessions`.
    pub(crate) command: &'static str,
    pub(crate) about: &'static str,
    /// Examples.
    pub(crate) examples: &'static str,
    /// Its options in the order of their names' tables: parameters first.
    pub(crate) options: &'static [Spec],
    /// Options that are parameters of the request, and their names there.
    pub(crate) parameters: &'static [(&'static str, &'static str)],
    pub(crate) input: Structure,
    pub(crate) output: Structure,
    /// The member of the answer that is listed page by page, if there is one.
    pub(crate) result_key: Option<&'static str>,
}
