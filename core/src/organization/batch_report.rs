//! What became of the account-Regions of a batch.

use serde::{Deserialize, Serialize};

use super::{
    FORMAT,
    run_plan::{PlanError, RunId, check_format},
};
use crate::{
    report::{Outcomes, Report, Row, Verdicts},
    target::Scope,
};

/// The most bytes that the sessions of a batch's report may take. Whoever reads it reads no more than
/// 4 MiB.
const MAX_SESSIONS_BYTES: usize = 3_000_000;

/// The bytes that the sessions of a batch's report may still take.
#[derive(Clone, Copy, Debug)]
pub struct Room(usize);

impl Default for Room {
    fn default() -> Self {
        Self(MAX_SESSIONS_BYTES)
    }
}

/// What became of an account-Region in a run.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Every session was listed, and what the policy says has been tried.
    Swept,
    /// Not every session was seen.
    Incomplete,
    /// The role in the account cannot be assumed.
    NoAccess,
    /// The account has not enabled the Region: there is nothing to sweep, and nothing has failed.
    RegionOff,
    /// The role may not list, or may terminate no session.
    Denied,
    /// AWS did not answer.
    Unreachable,
    /// There was no time to begin.
    NotStarted,
}

impl Status {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Swept,
        Self::Incomplete,
        Self::NoAccess,
        Self::RegionOff,
        Self::Denied,
        Self::Unreachable,
        Self::NotStarted,
    ];

    /// The name in reports and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Swept => "swept",
            Self::Incomplete => "incomplete",
            Self::NoAccess => "no_access",
            Self::RegionOff => "region_off",
            Self::Denied => "denied",
            Self::Unreachable => "unreachable",
            Self::NotStarted => "not_started",
        }
    }

    /// Whether nothing is left to do: it was swept, or there is nothing to sweep.
    #[must_use]
    pub fn is_fine(self) -> bool {
        matches!(self, Self::Swept | Self::RegionOff)
    }
}

/// The counts of a sweep, or of many.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct SweepCounts {
    /// Sessions by verdict.
    pub verdicts: Verdicts,
    /// Evaluated sessions by outcome.
    pub outcomes: Outcomes,
    /// API calls made, every attempt counted.
    pub calls: u64,
    /// Violators that a sweep had no place or no time for.
    pub backlog: usize,
    /// Age of the oldest session in violation, in seconds.
    pub oldest_violation_s: Option<i64>,
    /// Sweeps whose circuit breaker has opened.
    pub circuit_breakers_open: usize,
    /// The time that the sweeps took, in seconds, added up.
    pub sweep_s: f64,
    /// Events that the bus has not taken.
    #[serde(default)]
    pub events_failed: usize,
    /// Sweeps whose evidence was not written as a whole; absent if none is to be written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence_failed: Option<usize>,
}

impl SweepCounts {
    /// The counts of one sweep.
    #[must_use]
    pub fn of(report: &Report) -> Self {
        Self {
            verdicts: report.verdicts,
            outcomes: report.outcomes,
            calls: report.calls,
            backlog: report.backlog,
            oldest_violation_s: report.oldest_violation_s,
            circuit_breakers_open: report.circuit_breaker_open.into(),
            sweep_s: report.duration_s,
            events_failed: report.events.as_ref().map_or(0, |it| it.failed),
            evidence_failed: report.evidence.as_ref().map(|it| it.problem.is_some().into()),
        }
    }

    /// Adds the counts of other sweeps.
    pub fn add(&mut self, other: &Self) {
        self.verdicts += other.verdicts;
        self.outcomes += other.outcomes;
        self.calls += other.calls;
        self.backlog += other.backlog;
        self.oldest_violation_s = self.oldest_violation_s.max(other.oldest_violation_s);
        self.circuit_breakers_open += other.circuit_breakers_open;
        self.sweep_s += other.sweep_s;
        self.events_failed += other.events_failed;
        let failed = [self.evidence_failed, other.evidence_failed];
        self.evidence_failed = failed.into_iter().flatten().reduce(|a, b| a + b);
    }
}

/// What became of one account-Region.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ScopeReport {
    /// The account's 12 digits.
    pub account: String,
    /// The Region's code.
    pub region: String,
    /// What became of it.
    pub status: Status,
    /// Why it was not swept, if it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// What was found and done; absent if nothing was listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<SweepCounts>,
    /// Every session that is not compliant, as in the report of a sweep. Only for people to read.
    #[serde(skip_deserializing)]
    pub sessions: Vec<Row>,
    /// Whether `sessions` lacks some.
    pub truncated: bool,
}

impl ScopeReport {
    /// The report of one that was not swept.
    #[must_use]
    pub fn not_swept(scope: &Scope, status: Status, problem: Option<String>) -> Self {
        Self {
            account: scope.account.clone(),
            region: scope.region.clone(),
            status,
            problem,
            counts: None,
            sessions: Vec::new(),
            truncated: false,
        }
    }

    /// The report of one whose sessions were listed.
    #[must_use]
    pub fn of_sweep(
        scope: &Scope,
        status: Status,
        problem: Option<String>,
        report: Report,
    ) -> Self {
        Self {
            counts: Some(SweepCounts::of(&report)),
            sessions: report.sessions,
            truncated: report.truncated,
            ..Self::not_swept(scope, status, problem)
        }
    }

    /// Leaves out the sessions for which the report of the batch has no room, and says so.
    ///
    /// Whoever makes a batch calls it for each account-Region that has ended, so that the sessions of all
    /// of them are never in memory.
    pub fn fit_into(&mut self, Room(left): &mut Room) {
        let n_before = self.sessions.len();
        self.sessions.retain(|row| {
            let n_bytes = serde_json::to_string(row).map_or(0, |it| it.len());
            let fits = n_bytes <= *left;
            *left = if fits { *left - n_bytes } else { 0 };
            fits
        });
        self.truncated |= self.sessions.len() < n_before;
        self.sessions.shrink_to_fit();
    }
}

/// What became of the account-Regions of a batch.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct BatchReport {
    format: u32,
    /// Which run.
    pub run: RunId,
    /// The number of the batch.
    pub batch: usize,
    /// In the order of the plan.
    pub scopes: Vec<ScopeReport>,
}

impl BatchReport {
    /// A report. What does not fit of the sessions is left out, and that is said.
    #[must_use]
    pub fn new(run: RunId, batch: usize, mut scopes: Vec<ScopeReport>) -> Self {
        let mut room = Room::default();
        for scope in &mut scopes {
            scope.fit_into(&mut room);
        }
        Self { format: FORMAT, run, batch, scopes }
    }

    /// Reads the report of this batch, but for its sessions.
    ///
    /// # Errors
    /// If the object is broken, of another format, or that of another batch.
    pub fn parse(bytes: &[u8], run: &RunId, batch: usize) -> Result<Self, PlanError> {
        check_format(bytes)?;
        let broken = |it: serde_json::Error| PlanError::Broken(it.to_string());
        let report: Self = serde_json::from_slice(bytes).map_err(broken)?;
        if report.run != *run {
            return Err(PlanError::OtherRun(report.run));
        }
        if report.batch != batch {
            let what = format!("it is the report of batch {}", report.batch);
            return Err(PlanError::Broken(what));
        }
        Ok(report)
    }

    /// How many of its account-Regions were swept, or had nothing to sweep.
    #[must_use]
    pub fn n_fine(&self) -> usize {
        self.scopes.iter().filter(|it| it.status.is_fine()).count()
    }

    /// Why a run must not go on after these canaries, if it must not: one was not swept, or the circuit
    /// breaker of one has opened, or none was swept at all.
    #[must_use]
    pub fn canary_failure(&self) -> Option<String> {
        let is_open = |it: &ScopeReport| it.counts.is_some_and(|it| 0 < it.circuit_breakers_open);
        let failed = self.scopes.iter().find(|it| !it.status.is_fine() || is_open(it));
        let Some(ScopeReport { account, region, status, problem, .. }) = failed else {
            let is_swept = self.scopes.iter().any(|it| it.status == Status::Swept);
            return (!is_swept).then(|| "no Region of the canaries is enabled".into());
        };
        let why = match problem {
            Some(problem) => problem,
            None => "the circuit breaker has opened",
        };
        Some(format!("{account} {region} is {}: {why}", status.name()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::sweep_record;

    fn scope() -> Scope {
        let text = |it: &str| it.to_owned();
        Scope { partition: text("aws"), region: text("eu-west-1"), account: text("000000000001") }
    }

    fn report(is_open: bool) -> Report {
        Report::new(&crate::report::SweepRecord { circuit_breaker_open: is_open, ..sweep_record() })
    }

    fn batch(scopes: Vec<ScopeReport>) -> BatchReport {
        BatchReport::new("run-1".parse().expect("an id"), 7, scopes)
    }

    /// Counts survive the way through an object; the sessions are for people.
    #[test]
    fn round_trip() {
        let swept = ScopeReport::of_sweep(&scope(), Status::Swept, None, report(false));
        let counts = swept.counts;
        assert!(!swept.sessions.is_empty());
        let off = ScopeReport::not_swept(&scope(), Status::RegionOff, Some("off".into()));
        let written = serde_json::to_vec(&batch(vec![swept, off])).expect("JSON");
        let read =
            BatchReport::parse(&written, &"run-1".parse().expect("an id"), 7).expect("a report");
        assert_eq!((read.scopes[0].counts, read.scopes[0].sessions.len()), (counts, 0));
        assert_eq!(read.scopes[1].problem.as_deref(), Some("off"));
        assert_eq!(read.n_fine(), 2);
        for (run, number, expected) in
            [("run-2", 7, "the run `run-1`"), ("run-1", 8, "the report of batch 7")]
        {
            let err = BatchReport::parse(&written, &run.parse().expect("an id"), number);
            assert!(err.expect_err("another").to_string().contains(expected));
        }
    }

    /// A report can always be read again, however many sessions there are.
    #[test]
    fn size_is_bounded() {
        let rows = |n: usize| {
            let row = Row { owner: Some("o".repeat(1_000).into()), ..Row::default() };
            ScopeReport {
                sessions: vec![row; n],
                ..ScopeReport::not_swept(&scope(), Status::Swept, None)
            }
        };
        let report = batch(vec![rows(2_000), rows(2_000)]);
        // Those that were made to fit one by one fit together.
        let (mut scopes, mut room) = (vec![rows(2_000), rows(2_000)], Room::default());
        for it in &mut scopes {
            it.fit_into(&mut room);
        }
        let in_turn = batch(scopes);
        for (a, b) in in_turn.scopes.iter().zip(&report.scopes) {
            assert_eq!((a.sessions.len(), a.truncated), (b.sessions.len(), b.truncated));
        }
        let kept: Vec<_> =
            report.scopes.iter().map(|it| (it.sessions.len(), it.truncated)).collect();
        assert_eq!(kept[0], (2_000, false));
        assert!(kept[1].1 && kept[1].0 < 2_000, "{kept:?}");
        assert!(serde_json::to_vec(&report).expect("JSON").len() < 3_500_000);
    }

    /// A canary is to show that the policy does what was meant.
    #[test]
    fn canaries() {
        let swept = |is_open| ScopeReport::of_sweep(&scope(), Status::Swept, None, report(is_open));
        let with = |status| ScopeReport::not_swept(&scope(), status, Some("why".into()));
        for (scopes, expected) in [
            (vec![swept(false)], None),
            (vec![swept(false), with(Status::RegionOff)], None),
            (vec![with(Status::RegionOff)], Some("no Region of the canaries is enabled")),
            (
                vec![swept(true)],
                Some("000000000001 eu-west-1 is swept: the circuit breaker has opened"),
            ),
            (
                vec![swept(false), with(Status::NoAccess)],
                Some("000000000001 eu-west-1 is no_access: why"),
            ),
            (
                vec![swept(false), with(Status::NotStarted)],
                Some("000000000001 eu-west-1 is not_started: why"),
            ),
        ] {
            assert_eq!(batch(scopes).canary_failure().as_deref(), expected);
        }
    }

    #[test]
    fn names() {
        for status in Status::ALL {
            assert_eq!(serde_json::json!(status), status.name());
        }
    }
}
