//! How a command ends without success.

use crate::environment::Problem;

/// The way, and the message for standard error.
pub(crate) enum End {
    /// Words that no parser takes.
    Usage(String),
    /// Words that belong to no option.
    UnknownOptions(Vec<String>),
    /// Anything else: the message has a line break before it.
    Failed(String),
    /// Anything else, without one: so the AWS CLI says that no credentials or no Region were found.
    Plain(String),
}

impl From<Problem> for End {
    fn from(problem: Problem) -> Self {
        Self::Failed(problem.to_string())
    }
}

impl From<String> for End {
    fn from(message: String) -> Self {
        Self::Failed(message)
    }
}
