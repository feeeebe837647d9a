//! The fleet: all that an emulator is seeded with, as data, so that it can stand in a file.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde::Deserialize;

use crate::{
    fault::Fault,
    seed::{Seed, duration},
};

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
    /// Calls signed at a time further from the emulator's are refused, as AWS does from 5 minutes on;
    /// none if absent.
    #[serde(deserialize_with = "crate::seed::some_duration")]
    pub max_skew: Option<Duration>,
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
