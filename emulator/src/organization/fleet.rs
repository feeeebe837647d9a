//! The initial state of an organization, as a file contains it.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use jiff::Timestamp;
use serde::{Deserialize, de::Error};

use crate::{
    fault::Fault,
    fleet::{Behaviour, Fleet, FleetError},
    seed::Seed,
};

/// An organization: its accounts, what each has in its Regions, and how its APIs behave.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OrganizationFleet {
    /// The time at the start, such as `2026-03-02T12:00:00Z`; the real time if absent.
    pub now: Option<Timestamp>,
    /// The partition of its ARNs.
    pub partition: String,
    /// Where the sweeps of all accounts run.
    pub hub: Hub,
    /// The hub's Parameter Store.
    pub parameters: BTreeMap<String, String>,
    /// The hub's buckets; if absent, every bucket that is named exists.
    pub buckets: Option<BTreeSet<String>>,
    /// The most accounts on a page of `ListAccounts`; AWS's are of at most 20.
    pub page_size: usize,
    /// How many pages without accounts come first, each with a token.
    pub empty_pages: usize,
    /// How the API of an account and Region behaves whose own fleet does not say. The operations of
    /// the organization itself have its `latency` and `max_skew`.
    pub behaviour: Behaviour,
    /// The accounts, in the order of `ListAccounts`.
    pub accounts: Vec<AccountFleet>,
    /// What goes wrong with `AssumeRole`, `GetCallerIdentity`, `ListAccounts`, `GetObject` and
    /// `PutObject`.
    pub faults: Vec<Fault>,
}

/// The account and Region where the sweeps of all accounts run.
///
/// All access keys that `AssumeRole` did not give are this account's.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hub {
    /// The account's 12 digits.
    pub account: String,
    /// The Region's code.
    pub region: String,
}

/// An account of an organization.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountFleet {
    /// The account's 12 digits.
    pub id: String,
    /// `Name`.
    #[serde(default)]
    pub name: String,
    /// `State`. Roles can be assumed only in an active account.
    #[serde(default)]
    pub state: AccountState,
    /// The only role that can be assumed, without `role/`; every role if absent.
    #[serde(default)]
    pub role: Option<String>,
    /// Whether `AssumeRole` is refused.
    #[serde(default)]
    pub refuses: bool,
    /// Regions that are off: every call there fails with `UnrecognizedClientException`.
    #[serde(default)]
    pub off: BTreeSet<String>,
    /// What the account has, by Region. It has nothing in the others.
    #[serde(default)]
    pub regions: BTreeMap<String, RegionFleet>,
}

/// `State` of an account.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AccountState {
    /// In use.
    #[default]
    Active,
    /// Closed for good.
    Closed,
    /// Not yet in use.
    PendingActivation,
    /// Being closed.
    PendingClosure,
    /// Suspended.
    Suspended,
}

impl AccountState {
    /// `State` as AWS writes it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Closed => "CLOSED",
            Self::PendingActivation => "PENDING_ACTIVATION",
            Self::PendingClosure => "PENDING_CLOSURE",
            Self::Suspended => "SUSPENDED",
        }
    }

    /// `Status`, the older field, which has fewer values.
    pub(crate) fn status(self) -> &'static str {
        match self {
            Self::Active | Self::PendingActivation => "ACTIVE",
            Self::Closed | Self::Suspended => "SUSPENDED",
            Self::PendingClosure => "PENDING_CLOSURE",
        }
    }
}

/// What an account has in one Region: a [`Fleet`] whose account, Region and time are known.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RegionFleet {
    /// As in a [`Fleet`].
    pub sessions: Vec<Seed>,
    /// As in a [`Fleet`].
    pub tags: BTreeMap<String, BTreeMap<String, String>>,
    /// As in a [`Fleet`].
    pub documents: BTreeMap<String, String>,
    /// As in a [`Fleet`].
    pub parameters: BTreeMap<String, String>,
    /// As in a [`Fleet`]; that of the organization if absent.
    pub behaviour: Option<Behaviour>,
    /// As in a [`Fleet`].
    pub faults: Vec<Fault>,
}

impl RegionFleet {
    pub(crate) fn into_fleet(
        self,
        partition: &str,
        account: &str,
        region: &str,
        behaviour: &Behaviour,
    ) -> Fleet {
        Fleet {
            account: account.into(),
            partition: partition.into(),
            region: region.into(),
            now: None,
            callers: BTreeMap::new(),
            sessions: self.sessions,
            tags: self.tags,
            documents: self.documents,
            parameters: self.parameters,
            behaviour: self.behaviour.unwrap_or_else(|| behaviour.clone()),
            faults: self.faults,
        }
    }
}

impl Default for Hub {
    fn default() -> Self {
        Self { account: "999999999999".into(), region: "eu-central-1".into() }
    }
}

impl Default for OrganizationFleet {
    fn default() -> Self {
        Self {
            now: None,
            partition: "aws".into(),
            hub: Hub::default(),
            parameters: BTreeMap::new(),
            buckets: None,
            page_size: 20,
            empty_pages: 0,
            behaviour: Behaviour::default(),
            accounts: Vec::new(),
            faults: Vec::new(),
        }
    }
}

impl OrganizationFleet {
    /// Parses an organization from YAML or JSON.
    ///
    /// # Errors
    /// The first error, with its place; or an account that is there twice, or a page size that
    /// `ListAccounts` does not have.
    pub fn parse(text: &str) -> Result<Self, FleetError> {
        let fleet: Self = serde_saphyr::from_str(text)?;
        let mut ids = HashSet::new();
        if let Some(twice) = fleet.accounts.iter().find(|it| !ids.insert(&it.id)) {
            let message = format!("the account `{}` is there twice", twice.id);
            return Err(serde_saphyr::Error::custom(message).into());
        }
        if !(1..=20).contains(&fleet.page_size) {
            return Err(serde_saphyr::Error::custom("`page_size` must be from 1 to 20").into());
        }
        Ok(fleet)
    }
}
