//! The seven filters of `DescribeSessions`.

use jiff::Timestamp;
use serde_json::Value;

use crate::wire::epoch_seconds;

/// One filter: sessions with this value pass.
pub(crate) struct Filter {
    pub(crate) key: Key,
    pub(crate) value: String,
}

#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) enum Key {
    AccessType,
    InvokedAfter,
    InvokedBefore,
    Owner,
    SessionId,
    Status,
    Target,
}

impl Key {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "AccessType" => Self::AccessType,
            "InvokedAfter" => Self::InvokedAfter,
            "InvokedBefore" => Self::InvokedBefore,
            "Owner" => Self::Owner,
            "SessionId" => Self::SessionId,
            "Status" => Self::Status,
            "Target" => Self::Target,
            _ => return None,
        })
    }

    pub(crate) fn is_instant(self) -> bool {
        matches!(self, Self::InvokedAfter | Self::InvokedBefore)
    }
}

impl Filter {
    /// Whether a row of the listing passes. `InvokedAfter` includes its instant, `InvokedBefore`
    /// does not. A session without an access type passes as `Standard`.
    pub(crate) fn passes(&self, row: &Value) -> bool {
        let Self { key, value } = self;
        let text = |name: &str| row.get(name).and_then(Value::as_str);
        let started_at = || row.get("StartDate").and_then(Value::as_f64);
        let instant = || epoch_seconds(value.parse::<Timestamp>().ok()?).as_f64();
        match key {
            Key::AccessType => text("AccessType").unwrap_or("Standard") == value,
            Key::InvokedAfter => instant().zip(started_at()).is_some_and(|(at, it)| at <= it),
            Key::InvokedBefore => instant().zip(started_at()).is_some_and(|(at, it)| it < at),
            Key::Owner => text("Owner") == Some(value),
            Key::SessionId => text("SessionId") == Some(value),
            Key::Status => text("Status") == Some(value),
            Key::Target => text("Target") == Some(value),
        }
    }
}
