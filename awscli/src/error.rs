//! Why a command fails.

use crate::environment::Problem;

/// An error, by how its message is written to standard error.
pub(crate) enum CommandError {
    /// Arguments that no parser accepts.
    Usage(String),
    /// Arguments that belong to no option.
    UnknownOptions(Vec<String>),
    /// Any other error: an empty line comes before the message.
    Failed(String),
    /// No credentials or no Region were found: there is no empty line before the message.
    Plain(String),
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
