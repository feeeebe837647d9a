//! The plan of a run: which account-Regions each of its batches sweeps, and by which policy.

use std::{fmt, str::FromStr};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{FORMAT, is_account_id, is_region};
use crate::{policy::PolicyIdentity, report::Mode, target::Scope};

/// The longest name of an execution of Step Functions.
const MAX_ID: usize = 80;

/// Which run: the name of the execution that it is, of `A-Z`, `a-z`, `0-9`, `_` and `-`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String")]
pub struct RunId(String);

/// Why a text is no run's id.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a run's id is the name of an execution: 1 to {MAX_ID} of A-Z, a-z, 0-9, `_` and `-`")]
pub struct RunIdError;

impl FromStr for RunId {
    type Err = RunIdError;

    fn from_str(text: &str) -> Result<Self, RunIdError> {
        let is_part = |it: u8| it.is_ascii_alphanumeric() || b"-_".contains(&it);
        let is_valid = (1..=MAX_ID).contains(&text.len()) && text.bytes().all(is_part);
        if is_valid { Ok(Self(text.into())) } else { Err(RunIdError) }
    }
}

impl TryFrom<String> for RunId {
    type Error = RunIdError;

    fn try_from(text: String) -> Result<Self, RunIdError> {
        text.parse()
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The plan of a run, made once, before anything is swept. What is not in it is not swept.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RunPlan {
    format: u32,
    /// Which run.
    pub run: RunId,
    /// When it was made.
    pub planned_at: Timestamp,
    /// Whether sessions are really terminated.
    pub mode: Mode,
    /// What every batch evaluates by.
    pub policy: PolicyIdentity,
    /// `aws`, `aws-cn`, `aws-us-gov`, …
    pub partition: String,
    /// The Regions that are swept in every account.
    pub regions: Vec<String>,
    /// So many of the first batches are of canaries.
    pub n_canaries: usize,
    /// The accounts of each batch. The first batch is number 1.
    pub batches: Vec<Vec<String>>,
}

/// Why an object is no plan that can be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PlanError {
    /// It is not what this version writes.
    #[error("it is not a plan that this version can read: {0}")]
    Broken(String),
    /// It has another format.
    #[error("its format is {0}, and this version reads {FORMAT}: start a new run")]
    Format(u64),
    /// It is the plan of another run.
    #[error("it is the plan of the run `{0}`")]
    OtherRun(RunId),
    /// It has no such batch.
    #[error("it has no batch {number}: its batches are 1 to {n_batches}")]
    NoBatch {
        /// The number that was asked for.
        number: usize,
        /// How many there are.
        n_batches: usize,
    },
}

impl RunPlan {
    /// A plan of these batches.
    #[must_use]
    pub fn new(
        run: RunId,
        planned_at: Timestamp,
        mode: Mode,
        policy: PolicyIdentity,
        partition: String,
        regions: Vec<String>,
        (batches, n_canaries): (Vec<Vec<String>>, usize),
    ) -> Self {
        Self {
            format: FORMAT,
            run,
            planned_at,
            mode,
            policy,
            partition,
            regions,
            n_canaries,
            batches,
        }
    }

    /// Reads a run's plan.
    ///
    /// # Errors
    /// If the object is broken, of another format, or another run's.
    pub fn parse(bytes: &[u8], run: &RunId) -> Result<Self, PlanError> {
        check_format(bytes)?;
        let broken = |it: serde_json::Error| PlanError::Broken(it.to_string());
        let plan: Self = serde_json::from_slice(bytes).map_err(broken)?;
        if plan.run != *run {
            return Err(PlanError::OtherRun(plan.run));
        }
        let accounts = plan.batches.iter().flatten();
        if let Some(bad) = accounts.clone().find(|it| !is_account_id(it)) {
            return Err(PlanError::Broken(format!("`{bad}` is no account")));
        }
        if let Some(bad) = plan.regions.iter().find(|it| !is_region(it)) {
            return Err(PlanError::Broken(format!("`{bad}` is no Region")));
        }
        let mut ids: Vec<_> = accounts.collect();
        ids.sort_unstable();
        if let Some([twice, _]) = ids.array_windows().find(|[a, b]| a == b) {
            return Err(PlanError::Broken(format!("the account `{twice}` is in it twice")));
        }
        Ok(plan)
    }

    /// The account-Regions of a batch. Those of one Region are as far apart as they can be, so that they
    /// find a connection that the one before has opened.
    ///
    /// # Errors
    /// If there is no such batch.
    pub fn batch(&self, number: usize) -> Result<Vec<Scope>, PlanError> {
        let index = number.checked_sub(1);
        let accounts = index
            .and_then(|it| self.batches.get(it))
            .ok_or(PlanError::NoBatch { number, n_batches: self.batches.len() })?;
        let mut scopes = Vec::with_capacity(accounts.len() * self.regions.len());
        for account in accounts {
            scopes.extend(self.regions.iter().map(|region| Scope {
                partition: self.partition.clone(),
                region: region.clone(),
                account: account.clone(),
            }));
        }
        Ok(scopes)
    }

    /// Whether the batch of this number is of canaries.
    #[must_use]
    pub fn is_of_canaries(&self, number: usize) -> bool {
        number <= self.n_canaries
    }

    /// How many accounts it has.
    #[must_use]
    pub fn n_accounts(&self) -> usize {
        self.batches.iter().map(Vec::len).sum()
    }

    /// How many account-Regions it has.
    #[must_use]
    pub fn n_scopes(&self) -> usize {
        self.n_accounts() * self.regions.len()
    }
}

/// Refuses another format before anything else of an object is read.
pub(super) fn check_format(bytes: &[u8]) -> Result<(), PlanError> {
    #[derive(Deserialize)]
    struct Format {
        format: u64,
    }
    let Format { format } =
        serde_json::from_slice(bytes).map_err(|it| PlanError::Broken(it.to_string()))?;
    if format == u64::from(FORMAT) { Ok(()) } else { Err(PlanError::Format(format)) }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn run_plan() -> RunPlan {
        let batches = [vec!["1"], vec!["2", "3"]];
        let batches = batches.map(|it| it.iter().map(|it| format!("{it:0>12}")).collect());
        RunPlan::new(
            "run-1".parse().expect("an id"),
            Timestamp::UNIX_EPOCH,
            Mode::Enforce,
            PolicyIdentity::new("parameter /p", Some(3), "text"),
            "aws".into(),
            vec!["eu-central-1".into(), "eu-west-1".into()],
            (batches.to_vec(), 1),
        )
    }

    fn text(plan: &RunPlan) -> String {
        serde_json::to_string(plan).expect("JSON")
    }

    /// A plan is read as it was written, and its batches are its account-Regions, each once.
    #[test]
    fn round_trip() {
        let plan = run_plan();
        assert_eq!(RunPlan::parse(text(&plan).as_bytes(), &plan.run), Ok(plan.clone()));
        assert_eq!((plan.n_accounts(), plan.n_scopes()), (3, 6));
        let names: Vec<_> = [1, 2]
            .iter()
            .flat_map(|it| plan.batch(*it).expect("a batch"))
            .map(|it| format!("{} {}", &it.account[11..], it.region))
            .collect();
        let expected = [
            "1 eu-central-1",
            "1 eu-west-1",
            "2 eu-central-1",
            "2 eu-west-1",
            "3 eu-central-1",
            "3 eu-west-1",
        ];
        assert_eq!(names, expected);
        assert!(plan.is_of_canaries(1) && !plan.is_of_canaries(2));
    }

    /// Whatever is not this run's plan is an error, and never an empty plan.
    #[test]
    fn unusable() {
        let plan = run_plan();
        let good = text(&plan);
        for (bad, expected) in [
            (good.replace("run-1", "run-2"), "it is the plan of the run `run-2`"),
            (good.replace("\"format\":1", "\"format\":2"), "its format is 2"),
            (good.replace("\"format\":1", "\"format\":1,\"x\":1"), "unknown field `x`"),
            (good.replace("000000000002", "2"), "`2` is no account"),
            (good.replace("000000000002", "000000000003"), "`000000000003` is in it twice"),
            (good.replace("eu-west-1", "*"), "`*` is no Region"),
            (good.replace("enforce", "Enforce"), "a mode is"),
            (good[..good.len() - 1].into(), "EOF"),
            ("{}".into(), "missing field `format`"),
            (String::new(), "EOF"),
        ] {
            let err = RunPlan::parse(bad.as_bytes(), &plan.run).expect_err(&bad).to_string();
            assert!(err.contains(expected), "{err}");
        }
        for number in [0, 3, usize::MAX] {
            assert_eq!(plan.batch(number), Err(PlanError::NoBatch { number, n_batches: 2 }));
        }
    }

    /// An id is part of an object's key.
    #[test]
    fn run_ids() {
        for (text, is_valid) in [
            ("a", true),
            ("8f1c-2_b", true),
            ("", false),
            ("a/b", false),
            ("..", false),
            ("a b", false),
            ("ä", false),
        ] {
            assert_eq!(text.parse::<RunId>().is_ok(), is_valid, "{text}");
        }
        assert!(
            "x".repeat(80).parse::<RunId>().is_ok() && "x".repeat(81).parse::<RunId>().is_err()
        );
    }
}
