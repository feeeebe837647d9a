//! Why a command fails.

use crate::environment::Problem;

/// An error, by its kind: version 2 of the AWS CLI has an exit status for each.
#[derive(Debug)]
pub(crate) enum CommandError {
    /// Arguments that no parser accepts.
    Usage(String),
    /// Arguments that belong to no option.
    UnknownOptions(Vec<String>),
    /// Parameters that are not sent.
    Parameters(String),
    /// AWS has refused the call.
    Refused(String),
    /// No credentials or no Region were found.
    NotConfigured(String),
    /// Any other error.
    Failed(String),
}

impl From<Problem> for CommandError {
    fn from(problem: Problem) -> Self {
        Self::Failed(problem.to_string())
    }
}

impl From<String> for CommandError {
    fn from(message: String) -> Self {
        Self::Failed(message)
    }
}
