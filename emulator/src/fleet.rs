//! The fleet: all that an emulator is seeded with, as data, so that it can stand in a file.

use std::{collections::BTreeMap, time::Duration};

use jiff::{SignedDuration, Span, SpanRelativeTo};
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
    /// The sessions that are active at the start.
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
    /// `Status`; `Connected` if absent.
    pub status: Option<String>,
    /// `DocumentName`.
    pub document: Option<String>,
    /// `Reason`.
    pub reason: Option<String>,
    /// `AccessType`.
    pub access_type: Option<String>,
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
