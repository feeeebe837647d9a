//! One session of a fleet.

use std::time::Duration;

use jiff::{SignedDuration, Span, SpanRelativeTo};
use serde::{Deserialize, Deserializer, de::Error};

/// One session at the start. A field that is absent here is absent from the API's answer.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Seed {
    /// `SessionId`.
    pub id: Option<String>,
    /// `Owner`.
    pub owner: Option<String>,
    /// `Target`.
    pub target: Option<String>,
    /// How long ago it started: `90s`, `3h`, `3w 2d`; negative for a start in the future.
    #[serde(deserialize_with = "age")]
    pub age: Option<SignedDuration>,
    /// How long ago it ended. It stays in the history for 30 days from then.
    #[serde(deserialize_with = "age")]
    pub ended: Option<SignedDuration>,
    /// `Status`; if absent, `Connected`, or `Terminated` for a session that has ended.
    pub status: Option<String>,
    /// `DocumentName`.
    pub document: Option<String>,
    /// `Reason`.
    pub reason: Option<String>,
    /// `AccessType`.
    pub access_type: Option<String>,
    /// `MaxSessionDuration`, in minutes.
    pub max_duration: Option<u16>,
    /// What `TerminateSession` does to it.
    pub on_terminate: OnTerminate,
}

/// What `TerminateSession` does to a session.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum OnTerminate {
    /// It is `Terminating` for a while, and then gone.
    #[default]
    Ends,
    /// It stays `Terminating`.
    Lingers,
    /// Nothing, although the answer is 200.
    Stays,
}

fn age<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SignedDuration>, D::Error> {
    let span = Span::deserialize(deserializer)?;
    let duration = span.to_duration(SpanRelativeTo::days_are_24_hours());
    duration.map(Some).map_err(D::Error::custom)
}

/// A duration such as `5ms` or `2s`.
pub(crate) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let age = age(deserializer)?.unwrap_or_default();
    Duration::try_from(age).map_err(D::Error::custom)
}

pub(crate) fn some_duration<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    duration(deserializer).map(Some)
}

/// A duration such as `1h`, or `-90s`.
pub(crate) fn signed<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<SignedDuration, D::Error> {
    Ok(age(deserializer)?.unwrap_or_default())
}
