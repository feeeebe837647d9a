//! Evidence in an S3 bucket: the decisions before the first termination, the outcomes afterwards, and in the
//! end the manifest. A file is written only if those before it were.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    Budget,
    aws::{Bucket, Created},
};
use reaper_core::{
    evidence::{
        DECISIONS, Demand, EvidenceFile, EvidenceWritten, FileDigest, Files, Invocation, MANIFEST,
        Manifest, OUTCOMES, Sweep, sha256,
    },
    plan::Step,
    report::{Report, SweepRecord},
    session::Record,
};

/// The most time that the decisions take, and the same for the rest.
pub(crate) const LONGEST: Duration = Duration::from_secs(10);

/// What all keys begin with: the role may write nothing else.
const PREFIX: &str = "evidence";

/// Writes the evidence of sweeps.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// Where to.
    pub bucket: Arc<Bucket>,
    /// Whether sessions may be terminated though it cannot be recorded.
    pub demand: Demand,
    /// Which invocation the sweeps are part of.
    pub invocation: Invocation,
}

/// The evidence of one sweep, as far as it has been written.
#[derive(Debug)]
pub struct Recording<'a> {
    evidence: &'a Evidence,
    sweep: Sweep,
    decisions: FileDigest,
    problem: Option<String>,
}

impl Evidence {
    /// Whether a sweep that has seen nothing writes nothing: in an organization, most account-Regions are
    /// empty, and the run's reports say that they were swept.
    pub(crate) fn leaves_out_empty(&self) -> bool {
        self.invocation.run.is_some()
    }

    /// Writes the decisions of a sweep.
    pub async fn begin(
        &self,
        sweep: Sweep,
        steps: &[Step],
        not_evaluated: &[(Record, &str)],
        budget: Budget,
    ) -> Recording<'_> {
        let budget = Budget { last_start: budget.first_of(4).last_start, ..budget };
        let mut recording =
            Recording { evidence: self, decisions: FileDigest::default(), problem: None, sweep };
        let file = recording.sweep.decisions(steps, not_evaluated);
        recording.decisions = recording.write(DECISIONS, file, bounded(budget)).await;
        recording
    }
}

impl Recording<'_> {
    /// Why the last file was not written, if it was not.
    pub(crate) fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// Whether no session may be terminated, because the decisions are not recorded.
    pub(crate) fn forbids_terminations(&self) -> bool {
        self.evidence.demand == Demand::Required && self.problem.is_some()
    }

    /// Writes the outcomes and the manifest.
    pub async fn finish(
        mut self,
        record: &SweepRecord,
        report: &Report,
        budget: Budget,
    ) -> EvidenceWritten {
        let budget = bounded(budget);
        let outcomes = self.sweep.outcomes(record);
        let outcomes = self.write(OUTCOMES, outcomes, budget).await;
        let files = Files { decisions: self.decisions.clone(), outcomes };
        let manifest = Manifest::new(self.sweep.clone(), record, report, files);
        let file = serde_json::to_vec(&manifest).map_err(Into::into).map(|content| {
            let digest = FileDigest { lines: 1, bytes: content.len(), sha256: sha256(&content) };
            EvidenceFile { content, digest }
        });
        let digest = self.write(MANIFEST, file, budget).await;
        let is_written = self.problem.is_none();
        EvidenceWritten {
            manifest: is_written.then(|| self.object(MANIFEST)),
            manifest_sha256: is_written.then_some(digest.sha256),
            problem: self.problem,
        }
    }

    /// Writes a file, unless it has no lines, or one before it was not written.
    async fn write(
        &mut self,
        name: &str,
        file: std::io::Result<EvidenceFile>,
        budget: Budget,
    ) -> FileDigest {
        if self.problem.is_some() {
            return FileDigest::default();
        }
        let result = match file {
            Ok(EvidenceFile { digest, .. }) if digest.lines == 0 => return FileDigest::default(),
            Ok(EvidenceFile { content, digest }) => {
                match self.evidence.bucket.create(&self.key(name), &content, budget).await {
                    Ok(Created::Written) => return digest,
                    Ok(Created::Exists) => "there is another object already".to_owned(),
                    Err(err) => err.to_string(),
                }
            }
            Err(err) => err.to_string(),
        };
        self.problem = Some(format!("`{}` was not written: {result}", self.object(name)));
        FileDigest::default()
    }

    fn key(&self, name: &str) -> String {
        format!("{PREFIX}/{}/{name}", self.sweep.folder())
    }

    fn object(&self, name: &str) -> String {
        format!("s3://{}/{}", self.evidence.bucket.name(), self.key(name))
    }
}

fn bounded(budget: Budget) -> Budget {
    let last_start = budget.last_start.min(Instant::now() + LONGEST);
    Budget { last_start, hard_stop: budget.hard_stop.min(last_start + LONGEST / 2) }
}
