//! Dry run or enforcement.

use serde::{Deserialize, Serialize};

/// Whether sessions are really terminated.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(into = "&str", try_from = "String")]
pub enum Mode {
    /// Everything except the terminations.
    #[default]
    DryRun,
    /// Violators are terminated.
    Enforce,
}

impl Mode {
    /// The mode's name, as configuration and events have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::DryRun => "dry-run",
            Self::Enforce => "enforce",
        }
    }
}

impl From<Mode> for &str {
    fn from(mode: Mode) -> Self {
        mode.name()
    }
}

impl TryFrom<String> for Mode {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl std::str::FromStr for Mode {
    /// What is wrong, and what to do about it.
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "dry-run" => Ok(Self::DryRun),
            "enforce" => Ok(Self::Enforce),
            _ => Err(format!("a mode is `dry-run` or `enforce`, not `{text}`")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (mode, name) in [(Mode::DryRun, "dry-run"), (Mode::Enforce, "enforce")] {
            assert_eq!((mode.name(), name.parse()), (name, Ok(mode)));
            assert_eq!(serde_json::json!(mode), name);
        }
        assert_eq!(
            "Enforce".parse::<Mode>(),
            Err("a mode is `dry-run` or `enforce`, not `Enforce`".into())
        );
    }
}
