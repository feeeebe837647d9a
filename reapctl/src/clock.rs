//! The clock of this machine.

use jiff::Timestamp;

/// The time by the clock of this machine. A command reads it for each listing.
#[expect(clippy::disallowed_methods, reason = "the one place of the command line that reads it")]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}
