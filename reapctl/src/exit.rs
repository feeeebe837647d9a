//! The exit statuses of commands, other than 0 and 1.

/// A policy or another input is not valid, or the command line is not.
pub(crate) const INVALID: u8 = 2;

/// A session violates the policy, or may violate it, and is active or may be active.
pub(crate) const VIOLATED: u8 = 3;

/// Evidence is not as a sweep has written it.
pub(crate) const ALTERED: u8 = 4;

/// Evidence is incomplete, and nothing else is wrong with it.
pub(crate) const INCOMPLETE: u8 = 5;

/// The second Ctrl-C ended the process.
pub(crate) const INTERRUPTED: i32 = 130;
