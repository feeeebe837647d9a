//! An organization for the benchmark: the same sessions in every account and Region, and what became of
//! them.

use std::{
    collections::{BTreeMap, HashSet},
    error::Error,
    time::Duration,
};

use serde_json::{Value, json};
use session_manager_emulator::{
    AccountFleet, Behaviour, Fault, FaultKind, Hub, Organization, OrganizationFleet, RegionFleet,
};

use super::seeds;

/// What the organization has.
pub struct Shape {
    accounts: usize,
    regions: Vec<String>,
    /// In each account-Region that is not empty.
    sessions: usize,
    /// One account-Region in so many has sessions.
    every: usize,
    latency: Duration,
    /// Whether the last account-Region that has sessions throttles every listing.
    throttles: bool,
}

impl Shape {
    /// Reads `ACCOUNTS REGION,… SESSIONS EVERY LATENCY_MS THROTTLES`.
    pub fn parse(arguments: &[String]) -> Result<Self, Box<dyn Error>> {
        let [accounts, regions, sessions, every, latency_ms, throttles] = arguments else {
            return Err("say: ACCOUNTS REGION,… SESSIONS EVERY LATENCY_MS THROTTLES".into());
        };
        Ok(Self {
            accounts: accounts.parse()?,
            regions: regions.split(',').map(Into::into).collect(),
            sessions: sessions.parse()?,
            every: every.parse()?,
            latency: Duration::from_millis(latency_ms.parse()?),
            throttles: throttles.parse()?,
        })
    }

    /// The account-Regions that have sessions, and whether they throttle.
    fn account_regions(&self) -> Vec<(String, String, bool)> {
        let mut found: Vec<_> = (0..self.accounts)
            .flat_map(|n| self.regions.iter().map(move |it| (account(n), it.clone(), false)))
            .step_by(self.every)
            .collect();
        if let Some(last) = found.last_mut() {
            last.2 = self.throttles;
        }
        found
    }

    pub fn organization(&self) -> Organization {
        let mut accounts: BTreeMap<String, AccountFleet> = (0..self.accounts)
            .map(|n| AccountFleet {
                id: account(n),
                name: format!("account {n}"),
                role: Some("ReaperMember".into()),
                ..AccountFleet::default()
            })
            .map(|it| (it.id.clone(), it))
            .collect();
        for (account, region, throttles) in self.account_regions() {
            let (sessions, tags) = seeds(self.sessions, &format!("-{account}-{region}"));
            let fault = Fault::new("DescribeSessions", 1, FaultKind::Throttle).always();
            let faults = if throttles { vec![fault] } else { Vec::new() };
            let fleet = RegionFleet { sessions, tags, faults, ..RegionFleet::default() };
            if let Some(it) = accounts.get_mut(&account) {
                it.regions.insert(region, fleet);
            }
        }
        Organization::new(OrganizationFleet {
            hub: Hub { account: "999999999999".into(), region: "eu-central-1".into() },
            behaviour: Behaviour { latency: self.latency, ..Behaviour::default() },
            accounts: accounts.into_values().collect(),
            ..OrganizationFleet::default()
        })
    }

    /// What was asked for, and what became of the sessions.
    pub fn report(&self, organization: &Organization) -> Value {
        let calls = organization.calls();
        let mut count: BTreeMap<&str, usize> = BTreeMap::new();
        let (mut terminated, mut twice) = (HashSet::new(), 0);
        for it in &calls {
            *count.entry(&it.operation).or_default() += 1;
            if it.operation == "TerminateSession" && it.status == Some(200) {
                twice += usize::from(!terminated.insert(it.body.get("SessionId")));
            }
        }
        let (mut violators, mut violators_alive, mut others, mut others_alive) = (0, 0, 0, 0);
        for (account, region, throttles) in self.account_regions() {
            let alive = organization.account_region(&account, &region).active_ids();
            let n_violators = alive.iter().filter(|it| it.starts_with("violator")).count();
            let all = self.sessions / 10;
            if !throttles {
                violators += all;
                violators_alive += n_violators;
            }
            others += self.sessions - all;
            others_alive += alive.len() - n_violators;
        }
        json!({
            "calls": count,
            "throttled": calls.iter().filter(|it| it.error.as_deref() == Some("ThrottlingException")).count(),
            "violators": violators,
            "terminated": violators - violators_alive,
            "wrongly": others - others_alive,
            "foreign": organization.foreign_calls().len(),
            "twice": twice,
        })
    }
}

fn account(n: usize) -> String {
    format!("{:012}", 100_000_000_000 + n)
}
