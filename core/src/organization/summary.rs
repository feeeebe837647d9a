//! The summary of a run: the plan, and what the reports of its batches say.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;

use super::{
    batch_report::{BatchReport, ScopeReport, Status, SweepCounts},
    run_plan::{RunId, RunPlan},
};
use crate::{notice::EventsSent, policy::PolicyIdentity, report::Mode};

/// The most account-Regions that are named: Step Functions takes replies of 256 KiB, and a problem may
/// take some hundred bytes.
const MAX_NAMED: usize = 200;

/// The most characters of a problem in a summary. A report has all of them.
const MAX_PROBLEM: usize = 300;

/// An account-Region that was not swept, or an account whose role cannot be assumed.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct NotSwept {
    /// The account's 12 digits.
    pub account: String,
    /// The Region's code; absent if it concerns all the account's Regions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// What became of it; absent if no report says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// What a run did.
#[derive(Clone, Debug, Serialize)]
pub struct RunSummary {
    /// Which run.
    pub run: RunId,
    /// Whether sessions were really terminated.
    pub mode: Mode,
    /// When its plan was made.
    pub planned_at: Timestamp,
    /// From the plan to the summary, in seconds.
    pub duration_s: f64,
    /// What was evaluated by.
    pub policy: PolicyIdentity,
    /// Accounts in the plan.
    pub accounts: usize,
    /// Account-Regions in the plan: the sum of `statuses` and `missing`.
    pub account_regions: usize,
    /// Account-Regions by what became of them.
    pub statuses: BTreeMap<Status, usize>,
    /// Account-Regions in the plan that are in no report: whatever was to sweep them has failed, or was
    /// never started.
    pub missing: usize,
    /// What the sweeps found and did, added up.
    pub sweeps: SweepCounts,
    /// Why nothing was swept after the canaries, if so.
    pub canary_failure: Option<String>,
    /// Those that were not swept, the first of them.
    pub not_swept: Vec<NotSwept>,
    /// Whether `not_swept` lacks some.
    pub truncated: bool,
    /// What became of the event of the run itself, if there is a bus for it. Those of the sweeps are in
    /// `sweeps`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events: Option<EventsSent>,
    #[serde(skip)]
    accounts_without_access: BTreeSet<String>,
}

/// Why a run as a whole has failed, though it did what it could.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RunFailure {
    /// Nothing was swept after the canaries.
    #[error("the run ended after its canaries: {0}")]
    Canary(String),
    /// It is not known whether everything was swept.
    #[error(
        "{n_missing} of {n_planned} account-Regions were not swept, {first} among them; see {key}"
    )]
    Missing {
        /// Those that no report names, and those for which there was no time.
        n_missing: usize,
        /// Those in the plan.
        n_planned: usize,
        /// The first of them.
        first: String,
        /// The object that names them.
        key: String,
    },
}

impl RunSummary {
    /// The summary of a run of which no report has been read yet.
    #[must_use]
    pub fn new(plan: &RunPlan) -> Self {
        Self {
            run: plan.run.clone(),
            mode: plan.mode,
            planned_at: plan.planned_at,
            duration_s: 0.0,
            policy: plan.policy.clone(),
            accounts: plan.n_accounts(),
            account_regions: plan.n_scopes(),
            statuses: Status::ALL.into_iter().map(|it| (it, 0)).collect(),
            missing: 0,
            sweeps: SweepCounts::default(),
            canary_failure: None,
            not_swept: Vec::new(),
            truncated: false,
            events: None,
            accounts_without_access: BTreeSet::new(),
        }
    }

    /// Adds what the report of a batch says; `None` if there is none. Of a report, only what is in the
    /// plan counts, and each account-Region once.
    pub fn add(&mut self, plan: &RunPlan, number: usize, report: Option<&BatchReport>) {
        let Ok(planned) = plan.batch(number) else { return };
        let mut told: BTreeMap<(&str, &str), &ScopeReport> = BTreeMap::new();
        for it in report.into_iter().flat_map(|it| &it.scopes) {
            told.entry((&it.account, &it.region)).or_insert(it);
        }
        for scope in &planned {
            let Some(it) = told.get(&(&*scope.account, &*scope.region)) else {
                self.missing += 1;
                self.name(&scope.account, Some(&scope.region), None, None);
                continue;
            };
            *self.statuses.entry(it.status).or_default() += 1;
            if let Some(counts) = &it.counts {
                self.sweeps.add(counts);
            }
            match it.status {
                Status::Swept | Status::RegionOff => {}
                Status::NoAccess => {
                    if self.accounts_without_access.insert(it.account.clone()) {
                        self.name(&it.account, None, Some(it.status), it.problem.as_deref());
                    }
                }
                Status::Incomplete | Status::Denied | Status::Unreachable | Status::NotStarted => {
                    self.name(
                        &it.account,
                        Some(&it.region),
                        Some(it.status),
                        it.problem.as_deref(),
                    );
                }
            }
        }
        if plan.is_of_canaries(number) && self.canary_failure.is_none() {
            self.canary_failure = match report {
                Some(report) => report.canary_failure(),
                None => Some(format!("batch {number} has no report")),
            };
        }
    }

    fn name(
        &mut self,
        account: &str,
        region: Option<&str>,
        status: Option<Status>,
        problem: Option<&str>,
    ) {
        if self.not_swept.len() == MAX_NAMED {
            self.truncated = true;
            return;
        }
        self.not_swept.push(NotSwept {
            account: account.into(),
            region: region.map(Into::into),
            status,
            problem: problem.map(|it| it.chars().take(MAX_PROBLEM).collect()),
        });
    }

    /// How many account-Regions have this status.
    #[must_use]
    pub fn n(&self, status: Status) -> usize {
        self.statuses.get(&status).copied().unwrap_or_default()
    }

    /// Whether the run as a whole has failed; `key` is the object that has all of this. What became of a
    /// single account-Region is in the counts instead.
    #[must_use]
    pub fn failure(&self, key: &str) -> Option<RunFailure> {
        if let Some(why) = &self.canary_failure {
            return Some(RunFailure::Canary(why.clone()));
        }
        let n_missing = self.missing + self.n(Status::NotStarted);
        let is_missing = |it: &&NotSwept| matches!(it.status, None | Some(Status::NotStarted));
        let first = self.not_swept.iter().find(is_missing);
        let name =
            |it: &NotSwept| format!("{} {}", it.account, it.region.as_deref().unwrap_or("*"));
        (0 < n_missing).then(|| RunFailure::Missing {
            n_missing,
            n_planned: self.account_regions,
            first: first.map_or_else(|| "some without a name".into(), name),
            key: key.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        organization::run_plan::tests::run_plan,
        report::{Report, SweepRecord, tests::sweep_record},
        target::Scope,
    };

    fn swept(scope: &Scope) -> ScopeReport {
        let record = SweepRecord { circuit_breaker_open: false, ..sweep_record() };
        ScopeReport::of_sweep(scope, Status::Swept, None, Report::new(&record))
    }

    fn with(scope: &Scope, status: Status) -> ScopeReport {
        ScopeReport::not_swept(scope, status, Some("why".into()))
    }

    fn report(plan: &RunPlan, number: usize, scopes: Vec<ScopeReport>) -> BatchReport {
        BatchReport::new(plan.run.clone(), number, scopes)
    }

    /// What is in the plan and in no report is missing, by name; what was swept is added up.
    #[test]
    fn missing_is_named() {
        let plan = run_plan();
        let mut summary = RunSummary::new(&plan);
        let first = plan.batch(1).expect("a batch").iter().map(swept).collect();
        summary.add(&plan, 1, Some(&report(&plan, 1, first)));
        summary.add(&plan, 2, None);
        assert_eq!((summary.n(Status::Swept), summary.missing), (2, 4));
        assert_eq!(summary.account_regions, 6);
        assert_eq!(summary.sweeps.verdicts.seen, 2 * 96);
        let named: Vec<_> = summary.not_swept.iter().map(|it| &it.account[11..]).collect();
        assert_eq!(named, ["2", "2", "3", "3"]);
        let failure = summary.failure("runs/run-1/summary.json").map(|it| it.to_string());
        let expected = "4 of 6 account-Regions were not swept, 000000000002 eu-central-1 among them; \
                        see runs/run-1/summary.json";
        assert_eq!(failure.as_deref(), Some(expected));
    }

    /// The role of an account that cannot be assumed is told once, and the run goes on to its end.
    #[test]
    fn no_access_once_an_account() {
        let plan = run_plan();
        let mut summary = RunSummary::new(&plan);
        let first = plan.batch(1).expect("a batch").iter().map(swept).collect();
        summary.add(&plan, 1, Some(&report(&plan, 1, first)));
        let second: Vec<_> =
            plan.batch(2).expect("a batch").iter().map(|it| with(it, Status::NoAccess)).collect();
        summary.add(&plan, 2, Some(&report(&plan, 2, second)));
        assert_eq!((summary.n(Status::NoAccess), summary.not_swept.len()), (4, 2));
        assert!(summary.not_swept.iter().all(|it| it.region.is_none()));
        assert_eq!(summary.failure("k"), None);
    }

    /// Nothing that a report adds to the plan counts, and nothing counts twice.
    #[test]
    fn reports_cannot_add() {
        let plan = run_plan();
        let mut summary = RunSummary::new(&plan);
        let scopes = plan.batch(1).expect("a batch");
        let stranger = Scope { account: "000000000009".into(), ..scopes[0].clone() };
        let told = vec![swept(&scopes[0]), swept(&scopes[0]), swept(&stranger)];
        summary.add(&plan, 1, Some(&report(&plan, 1, told)));
        assert_eq!((summary.n(Status::Swept), summary.missing), (1, 1));
        summary.add(&plan, 7, None);
        assert_eq!(summary.missing, 1);
    }

    /// After a canary that failed, the run has failed, whatever else is missing.
    #[test]
    fn canaries() {
        let plan = run_plan();
        let scopes = plan.batch(1).expect("a batch");
        for (told, expected) in [
            (None, "the run ended after its canaries: batch 1 has no report"),
            (
                Some(vec![swept(&scopes[0]), with(&scopes[1], Status::Denied)]),
                "the run ended after its canaries: 000000000001 eu-west-1 is denied: why",
            ),
        ] {
            let mut summary = RunSummary::new(&plan);
            let told = told.map(|it| report(&plan, 1, it));
            summary.add(&plan, 1, told.as_ref());
            summary.add(&plan, 2, None);
            let failure = summary.failure("k").map(|it| it.to_string());
            assert_eq!(failure.as_deref(), Some(expected));
        }
    }

    /// Step Functions takes no reply of more than 256 KiB.
    #[test]
    fn size_is_bounded() {
        let mut plan = run_plan();
        plan.batches = vec![(0..2_000).map(|it| format!("{it:012}")).collect()];
        let mut summary = RunSummary::new(&plan);
        let long =
            |it| ScopeReport { problem: Some("ä".repeat(5_000)), ..with(it, Status::Denied) };
        let scopes = plan.batch(1).expect("a batch").iter().map(long).collect();
        summary.add(&plan, 1, Some(&report(&plan, 1, scopes)));
        assert!(summary.truncated);
        assert_eq!(summary.n(Status::Denied), 4_000);
        assert!(serde_json::to_string(&summary).expect("JSON").len() < 200_000);
    }
}
