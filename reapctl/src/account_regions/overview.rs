//! What became of many account-Regions, and which were not swept.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::bail;
use reaper_core::{
    organization::Status,
    printable::printable,
    report::{Outcomes, Verdicts},
    target::Scope,
};
use reaper_render::table::{cell, fitting_table};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::stdio::{eprintln, println};

/// What became of one account-Region, and why.
#[derive(Clone)]
pub(crate) struct Fate {
    pub(crate) status: Status,
    /// Why it was not swept, if it was not.
    pub(crate) problem: Option<String>,
}

/// What became of many account-Regions.
#[derive(Default)]
pub(crate) struct Overview {
    accounts: BTreeSet<String>,
    statuses: BTreeMap<Status, usize>,
    scopes: Vec<OfScope>,
}

/// One of them, in JSON.
#[derive(Serialize)]
struct OfScope {
    account: String,
    region: String,
    status: Status,
    /// Whether it was swept, or has nothing to sweep because the Region is off.
    complete: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdicts: Option<Verdicts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcomes: Option<Outcomes>,
}

impl Fate {
    pub(crate) const SWEPT: Self = Self { status: Status::Swept, problem: None };

    pub(crate) fn new(status: Status, problem: &(impl ToString + ?Sized)) -> Self {
        Self { status, problem: Some(problem.to_string()) }
    }
}

impl Overview {
    /// Adds one, with its counts if its sessions were listed.
    pub(crate) fn add(&mut self, scope: &Scope, fate: Fate, counts: Option<(Verdicts, Outcomes)>) {
        self.accounts.insert(scope.account.clone());
        *self.statuses.entry(fate.status).or_default() += 1;
        self.scopes.push(OfScope {
            account: scope.account.clone(),
            region: scope.region.clone(),
            status: fate.status,
            complete: fate.status.is_fine(),
            problem: fate.problem,
            verdicts: counts.map(|(verdicts, _)| verdicts),
            outcomes: counts.map(|(_, outcomes)| outcomes),
        });
    }

    /// Fails unless everything was swept, or had nothing to sweep; with what that may mean.
    pub(crate) fn check(&self, consequence: &str) -> anyhow::Result<()> {
        match self.problem(consequence) {
            None => Ok(()),
            Some(problem) => bail!(problem),
        }
    }

    /// The same as a text.
    pub(crate) fn problem(&self, consequence: &str) -> Option<String> {
        let n = self.scopes.iter().filter(|it| !it.complete).count();
        let verb = if n == 1 { "is" } else { "are" };
        let all = counted(self.scopes.len(), "account-Region");
        (0 < n).then(|| format!("{n} of {all} {verb} not complete: {consequence}"))
    }

    /// Adds it to a result in JSON.
    pub(crate) fn add_to(&self, fields: &mut Map<String, Value>) {
        let statuses: Map<_, _> =
            self.statuses.iter().map(|(it, n)| (it.name().into(), json!(n))).collect();
        fields.insert("accounts".into(), self.accounts.len().into());
        fields.insert("account_regions".into(), self.scopes.len().into());
        fields.insert("statuses".into(), statuses.into());
        fields.insert("scopes".into(), json!(self.scopes));
    }

    /// Prints which were not swept, and the counts.
    pub(crate) fn print(&self) {
        let not_swept = self.not_swept();
        if !not_swept.is_empty() {
            let mut table = fitting_table(&["ACCOUNT", "REGION", "STATUS", "WHY"]);
            for (it, region) in not_swept {
                let why = it.problem.as_deref().unwrap_or("-");
                table.add_row([&it.account, region, it.status.name(), why].map(cell));
            }
            println!("Not complete:\n\n{}\n", table.trim_fmt());
        }
        let statuses = self.statuses.iter().map(|(it, n)| format!("{n} {}", it.name()));
        println!(
            "{}, {}: {}.",
            counted(self.accounts.len(), "account"),
            counted(self.scopes.len(), "account-Region"),
            statuses.collect::<Vec<_>>().join(", ")
        );
    }

    /// Says on standard error which were not swept.
    pub(crate) fn warn(&self) {
        for (it, region) in self.not_swept() {
            let why = it.problem.as_deref().unwrap_or_default();
            let region = if region == ALL { "in all Regions" } else { region };
            eprintln!("warning: {} {region}: {}: {}", it.account, it.status.name(), printable(why));
        }
    }

    /// Those that were not swept, each with its Region. An account whose role cannot be assumed is told
    /// once, for all its Regions.
    fn not_swept(&self) -> Vec<(&OfScope, &str)> {
        let mut without_access = BTreeSet::new();
        let mut not_swept = Vec::new();
        for it in self.scopes.iter().filter(|it| !it.complete) {
            if it.status != Status::NoAccess {
                not_swept.push((it, &*it.region));
            } else if without_access.insert(&it.account) {
                not_swept.push((it, ALL));
            }
        }
        not_swept
    }
}

/// A number of things, in words.
pub(super) fn counted(n: usize, one: &str) -> String {
    format!("{n} {one}{}", if n == 1 { "" } else { "s" })
}

/// What is shown instead of a Region if all of an account are meant.
const ALL: &str = "all";
