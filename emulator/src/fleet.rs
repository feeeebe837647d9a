//! A fleet: the initial state of an emulator, and how its API behaves, as a file contains it.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde::Deserialize;

use crate::{
    fault::Fault,
    seed::{Seed, duration},
};

/// An account in a Region: its sessions, tags, documents and parameters, and how its API behaves.
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
    /// ARNs of callers by access key: the owners of the sessions that they start. Other callers are
    /// `assumed-role/emulator/emulator`.
    pub callers: BTreeMap<String, String>,
    /// The sessions at the start, active or ended.
    pub sessions: Vec<Seed>,
    /// Tags by target, written as in `Seed::target`. Other targets are untagged.
    pub tags: BTreeMap<String, BTreeMap<String, String>>,
    /// Session documents: what `sessionType` a document has, or its whole content in JSON or YAML, by its
    /// name, or by its ARN if another account shares it. AWS's own are there too.
    pub documents: BTreeMap<String, String>,
    /// Parameter Store.
    pub parameters: BTreeMap<String, String>,
    /// How the API behaves.
    pub behaviour: Behaviour,
    /// What goes wrong.
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
            documents: BTreeMap::new(),
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
    /// What `TerminateSession` answers for a session that has ended or never existed.
    pub to_ended: ToEnded,
    /// Whether filters are applied to all sessions or to each page.
    pub filters: Filters,
    /// The order of a listing.
    pub order: Order,
    /// Calls per second that each operation allows; no quota if absent. AWS's quota is 6.
    pub quota: Option<usize>,
    /// With it, the quota is a token bucket: so many calls may come at once, and `quota` more each second.
    /// If absent, no more calls than the quota are allowed within any one second.
    pub burst: Option<u32>,
    /// Calls signed at a time further from the emulator's are refused, as AWS does from 5 minutes on;
    /// none if absent.
    #[serde(deserialize_with = "crate::seed::some_duration")]
    pub max_skew: Option<Duration>,
    /// How long every answer takes.
    #[serde(deserialize_with = "duration")]
    pub latency: Duration,
}

/// What `TerminateSession` answers for a session that has ended or never existed.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum ToEnded {
    /// 200, as reported by Cloud Custodian's maintainers.
    #[default]
    Ok,
    /// `ValidationException`, as in newer reports.
    ValidationException,
}

/// The order of a listing.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Newest first, as in all of AWS's examples; AWS does not document an order.
    #[default]
    NewestFirst,
    /// Another order.
    Shuffled,
}

/// When filters are applied.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Filters {
    /// To each page, as AWS is reported to do: a page may be empty although more follow.
    #[default]
    AfterPaging,
    /// To all sessions: every page except the last is full.
    BeforePaging,
}

/// What is wrong with a fleet file.
#[derive(Debug, thiserror::Error)]
#[error("the fleet is not valid: {0}")]
pub struct FleetError(#[from] serde_saphyr::Error);

impl Fleet {
    /// Parses a fleet from YAML or JSON.
    ///
    /// # Errors
    /// The first error, with its place.
    pub fn parse(text: &str) -> Result<Self, FleetError> {
        Ok(serde_saphyr::from_str(text)?)
    }
}
