//! What is wrong with a policy's text.

use std::{fmt, ops::Range};

/// One thing that is wrong with a policy's text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PolicyError {
    /// Line in the text, from 1; 0 if the error has no place.
    pub line: u64,
    /// Column in the line, in characters, from 1.
    pub column: u64,
    /// The place as bytes of the text, if it is known.
    pub span: Option<Range<usize>>,
    /// What is wrong, and what to do about it.
    pub message: String,
}

/// All that is wrong with a policy's text, in the text's order. Never empty.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PolicyErrors(pub Vec<PolicyError>);

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, message, .. } = self;
        match line {
            0 => f.write_str(message),
            _ => write!(f, "line {line}, column {column}: {message}"),
        }
    }
}

impl fmt::Display for PolicyErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            let separator = if i == 0 { "" } else { "; " };
            write!(f, "{separator}{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for PolicyErrors {}
