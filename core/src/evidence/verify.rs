//! Whether the files of a sweep are as they were written, and agree with each other.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
    sync::Arc,
};

use flate2::read::MultiGzDecoder;
use serde::{Deserialize, Serialize};

use super::{DECISIONS, FORMAT, FileDigest, MANIFEST, Manifest, OUTCOMES, sha256};
use crate::report::{Mode, Outcomes, Verdicts, hash_of_ids};

/// The most that a file may take when it is no longer compressed, in bytes.
const MAX_BYTES: u64 = 1 << 30;

/// The files of one sweep, as they were found.
#[derive(Clone, Debug, Default)]
pub struct Folder {
    /// `account=…/region=…/day=…/run=…`.
    pub path: String,
    /// `decisions.ndjson.gz`.
    pub decisions: Option<Vec<u8>>,
    /// `outcomes.ndjson.gz`.
    pub outcomes: Option<Vec<u8>>,
    /// `manifest.json`.
    pub manifest: Option<Vec<u8>>,
    /// The names of other files.
    pub others: Vec<String>,
}

/// What the files of a sweep prove.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// They are as they were written, and complete.
    Verified,
    /// There is no manifest, and nothing contradicts the rest: the sweep did not get so far.
    Incomplete,
    /// They are not as a sweep has written them.
    Altered,
}

/// What is wrong with a file.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Problem {
    /// Which file.
    pub file: String,
    /// What is wrong with it.
    pub problem: String,
}

/// What was found out about the files of one sweep.
#[derive(Clone, Debug, Serialize)]
pub struct Verified {
    /// `account=…/region=…/day=…/run=…`.
    pub path: String,
    /// What they prove.
    pub status: Status,
    /// The mode of the sweep, if it is known.
    pub mode: Option<Mode>,
    /// Decisions that were read.
    pub decisions: usize,
    /// Sessions that were to be terminated, by the decisions; in a dry run, that would have been.
    pub to_terminate: usize,
    /// Sessions that were terminated, by the outcomes.
    pub terminated: usize,
    /// What is missing, where the status is `incomplete`.
    pub gap: Option<String>,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

/// What is read of a line.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Line {
    sweep: String,
    mode: Mode,
    policy_sha256: String,
    session_id: Option<String>,
    verdict: String,
    rules: Vec<Arc<str>>,
    unknown: Option<String>,
    action: Option<String>,
    deferred_by: Option<String>,
    outcome: Option<String>,
}

/// Verifies the files of one sweep: their hashes, sizes, lines and counts, that they belong together and to
/// this place, and that each session that was to be terminated has one decision and one outcome.
#[must_use]
pub fn verify(folder: &Folder) -> Verified {
    let mut problems = Problems::default();
    for name in &folder.others {
        problems.add(name, "no sweep writes such a file");
    }
    let manifest = folder.manifest.as_ref().and_then(|it| match serde_json::from_slice(it) {
        Ok(manifest) => Some(manifest),
        Err(err) => {
            problems.add(MANIFEST, format!("it is no manifest: {err}"));
            None
        }
    });
    let decisions = lines(DECISIONS, folder.decisions.as_deref(), &mut problems);
    let outcomes = lines(OUTCOMES, folder.outcomes.as_deref(), &mut problems);
    check_belonging(folder, manifest.as_ref(), &decisions, &outcomes, &mut problems);
    check_sessions(&decisions, &outcomes, manifest.is_some(), &mut problems);
    if folder.decisions.is_none() && folder.outcomes.is_some() {
        problems.add(DECISIONS, "it is missing, and there are outcomes");
    }
    if let Some(manifest) = &manifest {
        let files = &manifest.files;
        let of_files = [
            (DECISIONS, &folder.decisions, decisions.len(), &files.decisions),
            (OUTCOMES, &folder.outcomes, outcomes.len(), &files.outcomes),
        ];
        for (name, content, n_lines, expected) in of_files {
            check_digest(name, content.as_deref(), n_lines, expected, &mut problems);
        }
        check_counts(manifest, &decisions, &outcomes, &mut problems);
    }
    let is_to_terminate = |it: &&Line| it.action.as_deref() == Some("terminate");
    let to_terminate = decisions.iter().filter(is_to_terminate).count();
    let is_terminated = |it: &&Line| it.outcome.as_deref() == Some("terminated");
    let mode = manifest.as_ref().map(|it: &Manifest| it.sweep.mode);
    let mode = mode.or_else(|| Some(decisions.first().or(outcomes.first())?.mode));
    let gap = folder.manifest.is_none().then(|| gap(folder, mode, to_terminate));
    Verified {
        path: folder.path.clone(),
        status: match (&gap, problems.0.is_empty()) {
            (_, false) => Status::Altered,
            (Some(_), true) => Status::Incomplete,
            (None, true) => Status::Verified,
        },
        mode,
        decisions: decisions.len(),
        to_terminate,
        terminated: outcomes.iter().filter(is_terminated).count(),
        gap,
        problems: problems.0,
    }
}

#[derive(Default)]
struct Problems(Vec<Problem>);

impl Problems {
    fn add(&mut self, file: &str, problem: impl Into<String>) {
        self.0.push(Problem { file: file.into(), problem: problem.into() });
    }

    fn compare<T: PartialEq + std::fmt::Debug>(
        &mut self,
        file: &str,
        what: &str,
        found: &T,
        expected: &T,
    ) {
        if found != expected {
            self.add(file, format!("{what}: {found:?} were found, the manifest says {expected:?}"));
        }
    }
}

/// What is known where there is no manifest.
fn gap(folder: &Folder, mode: Option<Mode>, to_terminate: usize) -> String {
    match (mode, &folder.decisions, &folder.outcomes) {
        (_, None, None) => "there is no manifest, and nothing else".into(),
        (Some(Mode::DryRun), _, _) => {
            "there is no manifest; the sweep was a dry run, so no session was terminated".into()
        }
        (_, _, Some(_)) => "there is no manifest: the sweep had verified its outcomes".into(),
        (_, Some(_), None) if to_terminate == 0 => {
            "there are no outcomes and no manifest; no session was to be terminated".into()
        }
        (_, Some(_), None) => format!(
            "there are no outcomes and no manifest: any of the {to_terminate} sessions with the action \
             `terminate` may have been terminated, and no other; CloudTrail has the calls"
        ),
    }
}

/// The text of a compressed file.
pub(super) fn lines_of(content: &[u8]) -> Result<String, String> {
    let mut text = String::new();
    let mut decoder = MultiGzDecoder::new(content).take(MAX_BYTES);
    match decoder.read_to_string(&mut text) {
        Err(err) => Err(format!("it cannot be decompressed: {err}")),
        Ok(_) if decoder.limit() == 0 => Err(format!("it is larger than {MAX_BYTES} bytes")),
        Ok(_) => Ok(text),
    }
}

/// The lines of a file; those before the first that cannot be read.
fn lines(name: &str, content: Option<&[u8]>, problems: &mut Problems) -> Vec<Line> {
    let Some(content) = content else { return Vec::new() };
    let text = lines_of(content).unwrap_or_else(|problem| {
        problems.add(name, problem);
        String::new()
    });
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        match serde_json::from_str(line) {
            Ok(line) => lines.push(line),
            Err(err) => {
                problems.add(name, format!("line {} is no line of a sweep: {err}", index + 1));
                break;
            }
        }
    }
    if text.is_empty() {
        problems.add(name, "it has no line, and such a file is not written");
    }
    lines
}

/// Whether the manifest and every line are of the sweep that the folder's name says.
fn check_belonging(
    folder: &Folder,
    manifest: Option<&Manifest>,
    decisions: &[Line],
    outcomes: &[Line],
    problems: &mut Problems,
) {
    let mut expected = None;
    if let Some(manifest) = manifest {
        if manifest.format != FORMAT {
            problems.add(MANIFEST, format!("its format is {}, not {FORMAT}", manifest.format));
        }
        let path = manifest.sweep.folder();
        if path != folder.path {
            problems.add(MANIFEST, format!("it is of `{path}`, and was found elsewhere"));
        }
        let sweep = &manifest.sweep;
        expected = Some((sweep.sweep.clone(), sweep.mode, sweep.policy.sha256.clone()));
    }
    let own = folder.path.rsplit_once("run=").map_or("", |(_, it)| it);
    for (name, lines) in [(DECISIONS, decisions), (OUTCOMES, outcomes)] {
        if lines.iter().any(|it| it.sweep != own) {
            problems.add(name, "it has lines of another sweep");
        }
        for it in lines {
            let found = (it.sweep.clone(), it.mode, it.policy_sha256.clone());
            if *expected.get_or_insert_with(|| found.clone()) != found {
                problems.add(name, "it has lines of another sweep, mode or policy than the rest");
                break;
            }
        }
    }
}

/// Whether each session has one decision, and each that was in violation one outcome that follows from it.
fn check_sessions(decisions: &[Line], outcomes: &[Line], is_over: bool, problems: &mut Problems) {
    let mut by_id: BTreeMap<&str, &Line> = BTreeMap::new();
    for it in decisions {
        let Some(id) = it.session_id.as_deref() else {
            if it.verdict != "not_evaluated" {
                problems.add(DECISIONS, "a session without an id was evaluated");
            }
            continue;
        };
        if it.verdict != "not_evaluated" && by_id.insert(id, it).is_some() {
            problems.add(DECISIONS, format!("`{id}` has two decisions"));
        }
    }
    let mut done = BTreeSet::new();
    for it in outcomes {
        let id = it.session_id.as_deref().unwrap_or_default();
        if !done.insert(id) {
            problems.add(OUTCOMES, format!("`{id}` has two outcomes"));
        }
        let Some(decision) = by_id.get(id) else {
            problems.add(OUTCOMES, format!("`{id}` has an outcome and no decision"));
            continue;
        };
        let outcome = it.outcome.as_deref().unwrap_or_default();
        let follows = match (decision.action.as_deref(), it.mode) {
            (Some("terminate"), Mode::DryRun) => outcome == "would_terminate",
            (Some("terminate"), Mode::Enforce) => {
                !["", "no_action", "would_terminate"].contains(&outcome)
            }
            (Some("defer"), _) => outcome == "deferred",
            (Some(_) | None, _) => false,
        };
        if !follows {
            let action = decision.action.as_deref().unwrap_or("none");
            problems.add(
                OUTCOMES,
                format!(
                    "`{id}` has the outcome `{outcome}`, and by its decision the action `{action}`"
                ),
            );
        }
    }
    let has_outcomes = is_over || !outcomes.is_empty();
    for it in decisions.iter().filter(|_| has_outcomes) {
        let is_due = matches!(it.action.as_deref(), Some("terminate" | "defer"));
        let id = it.session_id.as_deref().unwrap_or_default();
        if is_due && !done.contains(id) {
            problems.add(OUTCOMES, format!("`{id}` has a decision and no outcome"));
        }
    }
}

fn check_digest(
    name: &str,
    content: Option<&[u8]>,
    n_lines: usize,
    expected: &FileDigest,
    problems: &mut Problems,
) {
    let Some(content) = content else {
        if 0 < expected.lines {
            problems.add(name, "it is missing");
        }
        return;
    };
    problems.compare(name, "bytes", &content.len(), &expected.bytes);
    problems.compare(name, "lines", &n_lines, &expected.lines);
    problems.compare(name, "SHA-256", &sha256(content), &expected.sha256);
}

/// Whether the manifest's counts are those of the lines.
fn check_counts(
    manifest: &Manifest,
    decisions: &[Line],
    outcomes: &[Line],
    problems: &mut Problems,
) {
    let verdict = |name: &str| decisions.iter().filter(|it| it.verdict == name).count();
    let verdicts = Verdicts {
        seen: decisions.len(),
        compliant: verdict("compliant"),
        exempt: verdict("exempt"),
        violation: verdict("violation"),
        warning: verdict("warning"),
        undetermined: verdict("undetermined"),
        not_evaluated: verdict("not_evaluated"),
    };
    problems.compare(MANIFEST, "verdicts", &verdicts, &manifest.verdicts);
    let outcome =
        |name: &str| outcomes.iter().filter(|it| it.outcome.as_deref() == Some(name)).count();
    let is_left = |it: &&Line| it.action.as_deref() == Some("leave");
    let counts = Outcomes {
        terminated: outcome("terminated"),
        already_gone: outcome("already_gone"),
        unconfirmed: outcome("unconfirmed"),
        denied: outcome("denied"),
        throttled: outcome("throttled"),
        failed: outcome("failed"),
        would_terminate: outcome("would_terminate"),
        deferred: outcome("deferred"),
        no_action: decisions.iter().filter(is_left).count(),
    };
    problems.compare(MANIFEST, "outcomes", &counts, &manifest.outcomes);
    let mut deferred: BTreeMap<String, usize> = BTreeMap::new();
    for reason in outcomes.iter().filter_map(|it| it.deferred_by.clone()) {
        *deferred.entry(reason).or_default() += 1;
    }
    problems.compare(MANIFEST, "deferred", &deferred, &manifest.deferred);
    let mut rules: BTreeMap<Arc<str>, usize> = BTreeMap::new();
    let is_violated =
        |it: &&Line| matches!(it.verdict.as_str(), "violation" | "warning") && it.unknown.is_none();
    for rule in decisions.iter().filter(is_violated).flat_map(|it| &it.rules) {
        *rules.entry(Arc::clone(rule)).or_default() += 1;
    }
    problems.compare(MANIFEST, "rules", &rules, &manifest.rules);
    let ids = decisions.iter().filter_map(|it| it.session_id.as_deref());
    let sessions_sha256 = hash_of_ids(ids);
    problems.compare(MANIFEST, "sessions_sha256", &sessions_sha256, &manifest.sessions_sha256);
}
