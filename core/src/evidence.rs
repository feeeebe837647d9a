//! Evidence: what a sweep decided and did, in files that can be verified later.
//!
//! The sessions are in two files of compressed lines, `decisions.ndjson.gz` and `outcomes.ndjson.gz`, one line
//! a session. `manifest.json` has the counts of both, and their hashes. A file without lines is not
//! written.

mod ocsf;
mod verify;

use std::{
    collections::BTreeMap,
    io::{self, BufWriter, IntoInnerError, Write},
    sync::Arc,
};

use flate2::{Compression, write::GzEncoder};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use self::ocsf::ocsf;
use self::verify::lines_of;
pub use self::verify::{Folder, Problem, Status, Verified, verify};
use crate::{
    organization::RunId,
    plan::Step,
    policy::PolicyIdentity,
    report::{Mode, Outcome, Outcomes, Report, Row, SweepRecord, Verdicts},
    session::Record,
    target::Scope,
};

/// What will be done about every session, written before the first is terminated.
pub const DECISIONS: &str = "decisions.ndjson.gz";

/// What was done about every session in violation, written when that has been verified.
pub const OUTCOMES: &str = "outcomes.ndjson.gz";

/// The counts and hashes of both, written last.
pub const MANIFEST: &str = "manifest.json";

/// The number of this form of lines and manifests.
const FORMAT: u32 = 1;

/// Whether sessions may be terminated though it cannot be recorded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Demand {
    /// They may: what was not written is told.
    BestEffort,
    /// If the decisions are not written, every termination is deferred.
    Required,
}

impl std::str::FromStr for Demand {
    /// What is wrong, and what to do about it.
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "best-effort" => Ok(Self::BestEffort),
            "required" => Ok(Self::Required),
            _ => Err(format!("write `required` or `best-effort`, not `{text}`")),
        }
    }
}

/// What became of a sweep's evidence, in its report.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct EvidenceWritten {
    /// Where the manifest is, such as `s3://BUCKET/evidence/…/manifest.json`; absent if it was not written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest: Option<String>,
    /// SHA-256 of the manifest, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest_sha256: Option<String>,
    /// Why something was not written, if it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// The sweep that evidence is of.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Sweep {
    /// The account's 12 digits; `unknown` if they are not known.
    pub account: String,
    /// The Region's code; likewise.
    pub region: String,
    /// Its name: when it started, and the invocation's id. A repeated invocation has the same id, and
    /// starts at another time.
    pub sweep: String,
    /// Whether sessions are really terminated.
    pub mode: Mode,
    /// The instant at which ages were evaluated.
    pub started_at: Timestamp,
    /// What was evaluated by.
    pub policy: PolicyIdentity,
    /// The function's version, and that of this program: `$LATEST, session-reaper 0.1.0`.
    pub version: String,
    /// The id of the invocation.
    pub request_id: String,
    /// The run over an organization that it is part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
}

/// Which invocation of the function a sweep is part of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Invocation {
    /// Its id.
    pub request_id: String,
    /// The function's version.
    pub version: String,
    /// The run over an organization, if it is part of one.
    pub run: Option<RunId>,
}

impl Sweep {
    /// The sweep that started at this instant.
    #[must_use]
    pub fn new(
        invocation: &Invocation,
        scope: Option<&Scope>,
        mode: Mode,
        started_at: Timestamp,
        policy: &PolicyIdentity,
    ) -> Self {
        let unknown = || "unknown".to_owned();
        let Invocation { request_id, version, run } = invocation;
        let is_plain = |it: char| it.is_ascii_alphanumeric() || it == '-';
        let id = request_id.chars().map(|it| if is_plain(it) { it } else { '-' });
        let id: String = id.take(64).collect();
        Self {
            account: scope.map_or_else(unknown, |it| it.account.clone()),
            region: scope.map_or_else(unknown, |it| it.region.clone()),
            sweep: format!("{}-{id}", started_at.strftime("%Y%m%dT%H%M%S.%3fZ")),
            mode,
            started_at,
            policy: policy.clone(),
            version: format!("{version}, session-reaper {}", env!("CARGO_PKG_VERSION")),
            request_id: request_id.clone(),
            run: run.clone(),
        }
    }

    /// The folder of its files, partitioned as Athena reads it.
    #[must_use]
    pub fn folder(&self) -> String {
        let Self { account, region, sweep, started_at, .. } = self;
        let day = started_at.strftime("%Y-%m-%d");
        format!("account={account}/region={region}/day={day}/run={sweep}")
    }

    /// The decisions on all sessions.
    ///
    /// # Errors
    /// If they cannot be written as JSON.
    pub fn decisions(
        &self,
        steps: &[Step],
        not_evaluated: &[(Record, &str)],
    ) -> io::Result<EvidenceFile> {
        let now = self.started_at;
        let of_steps = steps.iter().map(|it| Row::of_step(it, now));
        let of_records = not_evaluated.iter().map(|(it, why)| Row::of_record(it, now, why));
        self.file(of_steps.chain(of_records))
    }

    /// The outcomes of all sessions about which something was to be done.
    ///
    /// # Errors
    /// If they cannot be written as JSON.
    pub fn outcomes(&self, record: &SweepRecord) -> io::Result<EvidenceFile> {
        let outcomes = record.outcomes.iter().filter(|it| it.outcome != Outcome::NoAction);
        self.file(outcomes.map(|it| Row::of_outcome(it, self.started_at)))
    }

    /// Account and Region are in the key alone: Athena takes no column twice.
    fn file(&self, rows: impl Iterator<Item = Row>) -> io::Result<EvidenceFile> {
        #[derive(Serialize)]
        struct Line<'a> {
            sweep: &'a str,
            mode: Mode,
            policy_sha256: &'a str,
            #[serde(flatten)]
            row: Row,
        }
        // Compressing each of the small pieces that make up a line takes more than ten times as long.
        let encoder = GzEncoder::new(Vec::new(), Compression::fast());
        let mut encoder = BufWriter::with_capacity(32 << 10, encoder);
        let mut lines = 0;
        for row in rows {
            let Self { sweep, mode, policy: PolicyIdentity { sha256, .. }, .. } = self;
            serde_json::to_writer(
                &mut encoder,
                &Line { sweep, mode: *mode, policy_sha256: sha256, row },
            )?;
            encoder.write_all(b"\n")?;
            lines += 1;
        }
        let content = encoder.into_inner().map_err(IntoInnerError::into_error)?.finish()?;
        let digest = FileDigest { lines, bytes: content.len(), sha256: sha256(&content) };
        Ok(EvidenceFile { content, digest })
    }
}

/// A file of lines, compressed.
#[derive(Debug)]
pub struct EvidenceFile {
    /// Its content.
    pub content: Vec<u8>,
    /// What the manifest says of it.
    pub digest: FileDigest,
}

/// What the manifest says of a file.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct FileDigest {
    /// Lines: sessions.
    pub lines: usize,
    /// The size of the file as it is, in bytes.
    pub bytes: usize,
    /// SHA-256 of the file as it is, in hexadecimal.
    pub sha256: String,
}

/// What a manifest holds.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The number of its form.
    pub format: u32,
    /// The sweep.
    pub sweep: Sweep,
    /// From its start until its outcomes were verified, in seconds.
    pub duration_s: f64,
    /// Sessions by verdict.
    pub verdicts: Verdicts,
    /// Evaluated sessions by outcome.
    pub outcomes: Outcomes,
    /// Deferred sessions by reason.
    pub deferred: BTreeMap<String, usize>,
    /// Violations and warnings by rule, as in the report.
    pub rules: BTreeMap<Arc<str>, usize>,
    /// Whether the listing was complete.
    pub complete: bool,
    /// Why not, if not.
    pub problem: Option<String>,
    /// Whether the circuit breaker has opened.
    pub circuit_breaker_open: bool,
    /// Whether the policy is paused.
    pub paused: bool,
    /// SHA-256 of the ids of the sessions seen, as in the report.
    pub sessions_sha256: String,
    /// The two files. One without lines was not written.
    pub files: Files,
}

/// The two files.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "each is a file, and documented there")]
pub struct Files {
    pub decisions: FileDigest,
    pub outcomes: FileDigest,
}

impl Manifest {
    /// The manifest of a sweep that is over.
    #[must_use]
    pub fn new(sweep: Sweep, record: &SweepRecord, report: &Report, files: Files) -> Self {
        let mut deferred = BTreeMap::new();
        for reason in record.outcomes.iter().filter_map(|it| it.step.action.deferred_by()) {
            *deferred.entry(reason.name().to_owned()).or_default() += 1;
        }
        Self {
            format: FORMAT,
            sweep,
            duration_s: report.duration_s,
            verdicts: report.verdicts,
            outcomes: report.outcomes,
            deferred,
            rules: report.rules.clone(),
            complete: report.coverage.complete,
            problem: report.coverage.problem.clone(),
            circuit_breaker_open: report.circuit_breaker_open,
            paused: report.paused,
            sessions_sha256: report.sessions_sha256.clone(),
            files,
        }
    }
}

/// SHA-256, in hexadecimal.
#[must_use]
pub fn sha256(content: &[u8]) -> String {
    hex::encode(Sha256::digest(content))
}
