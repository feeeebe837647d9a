//! The fleet: all that an emulator is seeded with, as data, so that it can stand in a file.

use std::{collections::BTreeMap, time::Duration};

use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};
use serde::{Deserialize, Deserializer, de::Error};

use crate::fault::Fault;

/// An account in a Region: its sessions, tags and parameters, and how its API behaves.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fleet {
    /// The account's 12 digits.
    pub account: String,
    /// The partition of its ARNs.
    pub partition: String,
    /// The Region's code.
    pub region: String,
    /// The emulator's time at its start, such as `2026-03-02T12:00:00Z`; the real time if absent.
    pub now: Option<Timestamp>,
    /// The ARNs that callers have, by access key: the owners of what they start. Anybody else is
    /// `assumed-role/emulator/emulator`.
    pub callers: BTreeMap<String, String>,
    /// The sessions at the start: active, or ended.
    pub sessions: Vec<Seed>,
    /// Tags by target, as `Seed::target` has it. What is not here is untagged.
    pub tags: BTreeMap<String, BTreeMap<String, String>>,
    /// Parameter Store.
    pub parameters: BTreeMap<String, String>,
    /// How the API behaves.
    pub behaviour: Behaviour,
    /// What goes wrong, and when.
    pub faults: Vec<Fault>,
}

impl Default for Fleet {
    fn default() -> Self {
        Self {
            account: "123456789012".into(),
            partition: "aws".into(),
            region: "eu-central-1".into(),
            now: None,
            callers: BTreeMap::new(),
            sessions: Vec::new(),
            tags: BTreeMap::new(),
            parameters: BTreeMap::new(),
            behaviour: Behaviour::default(),
            faults: Vec::new(),
        }
    }
}

/// One session at the start. What is absent here is absent in the API's answer.
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
    /// How long ago it ended: it is in the history, for 30 days from then on.
    #[serde(deserialize_with = "age")]
    pub ended: Option<SignedDuration>,
    /// `Status`; if absent, `Connected`, and `Terminated` for what has ended.
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
    /// It stays `Terminating` for ever.
    Lingers,
    /// Nothing, though the call is answered by 200.
    Stays,
}

/// How the API behaves.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Behaviour {
    /// How long a session is `Terminating`.
    #[serde(deserialize_with = "duration")]
    pub terminating_for: Duration,
    /// What `TerminateSession` answers for a session that has ended, or was never there.
    pub to_ended: ToEnded,
    /// Whether filters pick from all sessions or from the page that is already cut.
    pub filters: Filters,
    /// The order of a listing.
    pub order: Order,
    /// Calls per second that each operation allows; none if absent. AWS's quota is 6.
    pub quota: Option<usize>,
    /// How long every answer takes.
    #[serde(deserialize_with = "duration")]
    pub latency: Duration,
}

/// What `TerminateSession` answers for a session that has ended, or was never there.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum ToEnded {
    /// 200, as Cloud Custodian's maintainers report it.
    #[default]
    Ok,
    /// `ValidationException`, as newer reports have it.
    ValidationException,
}

/// The order of a listing.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// The newest first, as in all of AWS's examples, though nobody promises it.
    #[default]
    NewestFirst,
    /// Any other.
    Shuffled,
}

/// When filters are applied.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Filters {
    /// After the page is cut, as AWS is reported to do: a page may be empty though more follow.
    #[default]
    AfterPaging,
    /// Before: every page but the last is full.
    BeforePaging,
}

/// What is wrong with a fleet file.
#[derive(Debug, thiserror::Error)]
#[error("the fleet is not valid: {0}")]
pub struct FleetError(#[from] serde_saphyr::Error);

impl Fleet {
    /// Reads a fleet from YAML, and so from JSON.
    ///
    /// # Errors
    /// The first thing that is wrong with it, with its place.
    pub fn parse(text: &str) -> Result<Self, FleetError> {
        Ok(serde_saphyr::from_str(text)?)
    }
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
