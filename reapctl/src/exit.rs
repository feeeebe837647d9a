//! The exit statuses of commands, other than 0 and 1.

/// A policy or another input is not valid, or the command line is not.
pub(crate) const INVALID: u8 = 2;

/// A session violates the policy, or may violate it, and is active or may be active.
pub(crate) const VIOLATED: u8 = 3;

/// The second Ctrl-C ended the process.
pub(crate) const INTERRUPTED: i32 = 130;
