//! Session documents: their content, and the formats in which `GetDocument` returns it.

use reaper_core::session_type::{KNOWN_BY_NAME, SessionType};
use serde_json::{Value, json};

/// `DocumentFormat`.
#[derive(Clone, Copy)]
pub(crate) enum Format {
    Json,
    Text,
    Yaml,
}

impl Format {
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [Self::Json, Self::Text, Self::Yaml].into_iter().find(|it| it.name() == name)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Json => "JSON",
            Self::Text => "TEXT",
            Self::Yaml => "YAML",
        }
    }
}

/// The content of a document as a fleet has it: a session type, or the content itself.
pub(crate) fn content(text: &str) -> String {
    match SessionType::from_name(text) {
        Some(session_type) => of_type(session_type),
        None => text.to_owned(),
    }
}

/// The content of one of AWS's own documents, as far as their types are known. That of the preferences is
/// the account's, and need not exist.
pub(crate) fn of_aws(name: &str) -> Option<String> {
    let is_own = ["AWS", "Amazon"].iter().any(|it| name.starts_with(it));
    KNOWN_BY_NAME.of(name).ok().filter(|_| is_own).map(of_type)
}

fn of_type(session_type: SessionType) -> String {
    json!({"schemaVersion": "1.0", "description": "", "sessionType": session_type}).to_string()
}

/// The content in a format. What is neither JSON nor YAML stays as it is.
pub(crate) fn written_as(format: Format, content: String) -> String {
    let parsed = serde_saphyr::from_str::<Value>(&content).ok().filter(Value::is_object);
    match (format, parsed) {
        (Format::Json, Some(parsed)) => format!("{parsed:#}"),
        // JSON is YAML, too.
        (Format::Json | Format::Text | Format::Yaml, _) => content,
    }
}
