//! A fourth day of each seed: what sweeps record in a bucket, where S3, and terminations, go wrong, and sweeps
//! are killed.
//!
//! Who violates the policy follows from ages alone, by arithmetic; who was really terminated, and when what was
//! asked, from the emulator and the calls. The files are read here anew, and by `verify-evidence`'s own check.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use fastrand::Rng;
use flate2::read::GzDecoder;
use jiff::{SignedDuration, Timestamp};
use reaper_core::{
    evidence::{DECISIONS, Demand, Folder, Invocation, MANIFEST, OUTCOMES, Status, verify},
    report::Mode,
    target::Scope,
};
use serde_json::{Value, json};
use session_manager_emulator::{Emulator, Fault, FaultKind, Fleet, OnTerminate, Seed};
use session_reaper::{
    Budget,
    aws::Bucket,
    sinks::{Sinks, evidence::Evidence},
    sweep::source::PolicySource,
    sweep::{SweepContext, SweepResult, sweep},
};
use sha2::{Digest, Sha256};
use tokio::time::{Instant, sleep};

use crate::{
    check::CONCURRENCY,
    day::connect,
    fleet::{ACCOUNT, PARAMETER, REGION},
    tap::{Answer, Exchange, Kill},
};

const BUCKET: &str = "audit";
const PUT: &str = "PUT object";

/// Ends the day with what is not as it should be.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err(format!("evidence: {}", format!($($message)+)));
        }
    };
}

/// Lives through the day. Says what it has met, or what is not as it should be.
pub(crate) fn day(seed: u64) -> Result<Vec<&'static str>, String> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(pass(seed))
}

async fn pass(seed: u64) -> Result<Vec<&'static str>, String> {
    let mut rng = Rng::with_seed(seed ^ 0xf11e);
    let emulator = Emulator::new(Fleet {
        account: ACCOUNT.into(),
        region: REGION.into(),
        now: Some("2026-03-02T22:00:00Z".parse().expect("an instant")),
        ..Fleet::default()
    });
    let (connect, tap) = connect(&emulator);
    let ssm = connect.ssm(50.0);
    let bucket = Arc::new(Bucket::new(&connect, BUCKET));
    let scope = Scope::from_arn(&format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:f"));
    let mut met = Vec::new();
    // By id: whether it is exempt, and when it started.
    let mut sessions: BTreeMap<String, (bool, Timestamp)> = BTreeMap::new();
    for round in 0..rng.usize(3..12) {
        for i in 0..rng.usize(0..5) {
            let (id, is_exempt) = (format!("s-{round}-{i}"), rng.u8(..5) == 0);
            let age = SignedDuration::from_secs(rng.i64(0..120 * 60));
            emulator.start(session(&mut rng, &id, is_exempt, age));
            sessions.insert(id, (is_exempt, emulator.now() - age));
        }
        let (max_age, at_most) = (rng.i64(20..90), rng.usize(1..7));
        let policy = format!(
            "version: 1\nrules: [{{ id: age, when: all, require: {{ max_age: {max_age}m }} }}]\n\
             exemptions: [{{ id: e, when: {{ owner: role/glass }} }}]\n\
             limits: {{ max_terminations: {at_most}, circuit_breaker: {{ max_percent: 100 }} }}\n"
        );
        emulator.set_parameter(PARAMETER, &policy);
        let faults = if rng.bool() { vec![fault(&mut rng), fault(&mut rng)] } else { Vec::new() };
        emulator.set_faults(faults.clone());
        sleep(Duration::from_millis(rng.u64(1_000..1_800_000))).await;

        let mode = if rng.u8(..5) == 0 { Mode::DryRun } else { Mode::Enforce };
        let demand = if rng.u8(..3) == 0 { Demand::BestEffort } else { Demand::Required };
        let kill =
            (rng.u8(..4) == 0).then(|| Kill { at_call: rng.usize(..14), after_effect: rng.bool() });
        let request_id = format!("request-{round}");
        let version = "7".to_owned();
        let invocation = Invocation { request_id: request_id.clone(), version, run: None };
        let evidence = Evidence { bucket: Arc::clone(&bucket), demand, invocation };
        let sinks = Sinks { evidence: Some(evidence), ..Sinks::NONE };
        let (n_exchanges, before) = (tap.exchanges().len(), emulator.objects());
        let active: BTreeSet<String> = emulator.active_ids().into_iter().collect();
        tap.arm(kill);
        let (now, read_at) = (emulator.now(), Instant::now());
        let deadline = Duration::from_secs([20, 60, 290][rng.usize(..3)]);
        let budget = Budget::until(read_at + deadline, Duration::from_secs(10));
        let source = PolicySource::Parameter(PARAMETER.into());
        let swept = Box::pin(sweep(SweepContext {
            ssm: &ssm,
            sinks: &sinks,
            scope: scope.as_ref(),
            policy: &source,
            mode,
            now,
            read_at,
            budget,
            concurrency: CONCURRENCY,
            memory: usize::MAX,
        }));
        let swept = tokio::select! {
            biased;
            () = tap.killed() => None,
            swept = swept => Some(swept.map_err(|err| format!("evidence: {err}"))?),
        };
        ensure!(Instant::now() <= budget.hard_stop, "the sweep is late");
        let after: BTreeSet<String> = emulator.active_ids().into_iter().collect();
        let is_violator = |id: &&String| {
            let (is_exempt, started_at) = sessions[*id];
            !is_exempt && SignedDuration::from_mins(max_age) < now.duration_since(started_at)
        };
        let sweep = Sweep {
            mode,
            demand,
            now,
            run: format!("{}-{request_id}", now.strftime("%Y%m%dT%H%M%S.%3fZ")),
            policy_sha256: hex::encode(Sha256::digest(&policy)),
            violators: active.iter().filter(is_violator).cloned().collect(),
            gone: active.difference(&after).cloned().collect(),
            active,
            calls: tap.exchanges().split_off(n_exchanges),
            swept: swept.as_ref(),
            is_s3_well: is_s3_well(&faults, deadline),
        };
        let objects = emulator.objects();
        for (key, content) in &before {
            ensure!(objects.get(key) == Some(content), "`{key}` has changed");
        }
        let new = objects.into_iter().filter(|(key, _)| !before.contains_key(key));
        sweep.check(&new.collect(), &mut met)?;
        sleep(Duration::from_mins(2)).await; // What S3 is slow to write, and what is `Terminating`, is over.
    }
    Ok(met)
}

/// A sweep, and what the emulator knows of it.
struct Sweep<'a> {
    mode: Mode,
    demand: Demand,
    now: Timestamp,
    run: String,
    policy_sha256: String,
    /// Before it.
    active: BTreeSet<String>,
    violators: BTreeSet<String>,
    /// Of these, what was no longer there after it.
    gone: BTreeSet<String>,
    calls: Vec<Exchange>,
    /// `None` if it was killed.
    swept: Option<&'a SweepResult>,
    /// Whether nothing is wrong with S3 that another attempt does not mend.
    is_s3_well: bool,
}

/// Lines by the id of their session.
type Lines = BTreeMap<String, Value>;

impl Sweep<'_> {
    fn check(
        &self,
        objects: &BTreeMap<String, Bytes>,
        met: &mut Vec<&'static str>,
    ) -> Result<(), String> {
        let Self { run, now, .. } = self;
        let day = now.strftime("%Y-%m-%d");
        let path = format!("account={ACCOUNT}/region={REGION}/day={day}/run={run}");
        let file = |name: &str| objects.get(&format!("{BUCKET}/evidence/{path}/{name}"));
        let files @ [decisions, outcomes, manifest] = [DECISIONS, OUTCOMES, MANIFEST].map(file);
        let n = files.iter().flatten().count();
        ensure!(n == objects.len(), "no sweep writes {:?}", objects.keys());
        self.check_calls(decisions.is_some())?;

        let (of_decisions, of_outcomes) = (self.lines(decisions)?, self.lines(outcomes)?);
        self.check_decisions(decisions.is_some(), &of_decisions)?;
        self.check_outcomes(outcomes.is_some(), &of_decisions, &of_outcomes)?;
        if let Some(manifest) = manifest {
            self.check_manifest(manifest, files, &of_decisions, &of_outcomes)?;
        }
        self.check_report(files, &path)?;
        let content = |it: Option<&Bytes>| it.map(|it| it.to_vec());
        let verified = verify(&Folder {
            decisions: content(decisions),
            outcomes: content(outcomes),
            manifest: content(manifest),
            path,
            others: Vec::new(),
        });
        let expected = if manifest.is_some() { Status::Verified } else { Status::Incomplete };
        let found = (verified.status, verified.problems);
        ensure!(n == 0 || found == (expected, Vec::new()), "not {expected:?}: {found:?}");

        let is_killed = self.swept.is_none();
        met.push(match (files.map(|it| it.is_some()), is_killed, self.gone.is_empty()) {
            ([true, false, false], true, false) => "evidence: killed while it terminated",
            ([true, true, false], true, _) => "evidence: killed before the manifest",
            ([false, false, false], true, _) => "evidence: killed before the decisions",
            ([false, ..], false, true) if !self.violators.is_empty() => {
                "evidence: none, and no session terminated"
            }
            ([false, ..], false, false) => "evidence: none, and sessions terminated",
            ([true, false, false], false, false) => "evidence: no outcomes of sessions terminated",
            ([true, true, false], false, _) => "evidence: no manifest",
            ([true, true, true], _, false) => "evidence: whole, with sessions terminated",
            _ => "evidence: other",
        });
        Ok(())
    }

    fn of(&self, operation: &str) -> impl Iterator<Item = &Exchange> {
        self.calls.iter().filter(move |it| it.operation == operation)
    }

    fn puts(&self, name: &str) -> impl Iterator<Item = &Exchange> {
        self.of(PUT).filter(move |it| it.request.as_str().is_some_and(|it| it.ends_with(name)))
    }

    /// The ids for which termination was requested.
    fn requested(&self) -> BTreeSet<String> {
        let ids = self.of("TerminateSession").map(|it| it.request["SessionId"].as_str());
        ids.map(|it| it.expect("an id").to_owned()).collect()
    }

    /// Decisions come before the first termination, outcomes after the last listing, the manifest last.
    fn check_calls(&self, has_decisions: bool) -> Result<(), String> {
        let Self { mode, demand, .. } = self;
        let first = self.of("TerminateSession").map(|it| it.started_at).min();
        ensure!(first.is_none() || *mode == Mode::Enforce, "a dry run terminates");
        if let Some(first) = first {
            let is_over = |it: &Exchange| it.over_at.is_some_and(|it| it <= first);
            ensure!(self.puts(DECISIONS).all(is_over), "a termination came before the decisions");
            let is_first = self.puts(DECISIONS).next().is_some();
            ensure!(is_first, "a termination, and no decisions were to be written");
            let is_written = |it: &Exchange| {
                let status = match it.answer {
                    Some(Answer::Http { status, .. }) => status,
                    _ => 0,
                };
                [200, 412].contains(&status) && has_decisions
            };
            ensure!(
                *demand == Demand::BestEffort || self.puts(DECISIONS).any(is_written),
                "a termination without its decision"
            );
        }
        let acted = self.calls.iter().filter(|it| it.operation != PUT);
        let last = acted.map(|it| it.over_at).max().flatten();
        for it in self.puts(OUTCOMES).chain(self.puts(MANIFEST)) {
            ensure!(last <= Some(it.started_at), "outcomes were written before they were verified");
        }
        Ok(())
    }

    /// Every line, read anew.
    fn lines(&self, content: Option<&Bytes>) -> Result<Lines, String> {
        let Some(content) = content else { return Ok(Lines::new()) };
        let mut text = String::new();
        GzDecoder::new(&**content).read_to_string(&mut text).map_err(|it| it.to_string())?;
        let mut lines = Lines::new();
        for line in text.lines() {
            let line: Value = serde_json::from_str(line).map_err(|it| it.to_string())?;
            let expected = json!([self.run, self.mode, self.policy_sha256]);
            let found = json!([line["sweep"], line["mode"], line["policy_sha256"]]);
            ensure!(found == expected, "a line is of {found}, not {expected}");
            let id = line["session_id"].as_str().expect("an id").to_owned();
            ensure!(lines.insert(id, line).is_none(), "two lines of one session");
        }
        ensure!(!lines.is_empty(), "a file without lines");
        Ok(lines)
    }

    /// Each session that was there has its decision, and what is gone was to be terminated.
    fn check_decisions(&self, is_there: bool, decisions: &Lines) -> Result<(), String> {
        let Self { active, violators, gone, .. } = self;
        let requested = self.requested();
        ensure!(gone.is_subset(&requested), "{gone:?} are gone, and {requested:?} were requested");
        if !is_there {
            return Ok(());
        }
        let decided: BTreeSet<_> = decisions.keys().cloned().collect();
        ensure!(decided == *active, "decided on {decided:?}, of {active:?}");
        for (id, line) in decisions {
            let violates = violators.contains(id);
            let expected = if violates { "violation" } else { "" };
            let verdict = line["verdict"].as_str().unwrap_or_default();
            ensure!((verdict == expected) == violates, "{id} is decided as {line}");
            let action = line["action"].as_str().unwrap_or_default();
            ensure!((action == "leave") != violates, "{id} is decided as {line}");
            let may_be_gone = action == "terminate";
            ensure!(may_be_gone || !requested.contains(id), "{id} was requested, and is {action}");
        }
        Ok(())
    }

    /// Each violator has its outcome, and it is so.
    fn check_outcomes(
        &self,
        is_there: bool,
        decisions: &Lines,
        outcomes: &Lines,
    ) -> Result<(), String> {
        if !is_there {
            return Ok(());
        }
        ensure!(!decisions.is_empty(), "outcomes without decisions");
        let Self { violators, gone, .. } = self;
        let requested = self.requested();
        let told: BTreeSet<_> = outcomes.keys().cloned().collect();
        ensure!(told == *violators, "outcomes of {told:?}, and {violators:?} are in violation");
        for (id, line) in outcomes {
            let outcome = line["outcome"].as_str().unwrap_or_default();
            let (is_gone, was_requested) = (gone.contains(id), requested.contains(id));
            let acts = !["would_terminate", "deferred"].contains(&outcome);
            ensure!(acts == was_requested, "{id} was requested: {was_requested}, and is {outcome}");
            let is_told_gone = ["terminated", "already_gone"].contains(&outcome);
            ensure!(!is_told_gone || is_gone, "{id} is {outcome} in its evidence, and there");
            let may_be_gone = is_told_gone || outcome == "unconfirmed";
            ensure!(may_be_gone || !is_gone, "{id} is gone, and {outcome} in its evidence");
        }
        Ok(())
    }

    /// The manifest has the hashes and counts of what is there.
    fn check_manifest(
        &self,
        manifest: &Bytes,
        [decisions, outcomes, _]: [Option<&Bytes>; 3],
        of_decisions: &Lines,
        of_outcomes: &Lines,
    ) -> Result<(), String> {
        let manifest: Value = serde_json::from_slice(manifest).map_err(|it| it.to_string())?;
        let digest = |content: Option<&Bytes>, lines: &Lines| match content {
            Some(it) => json!({
                "lines": lines.len(), "bytes": it.len(), "sha256": hex::encode(Sha256::digest(it)),
            }),
            None => json!({"lines": 0, "bytes": 0, "sha256": ""}),
        };
        let (decisions, outcomes) =
            (digest(decisions, of_decisions), digest(outcomes, of_outcomes));
        let files = json!({"decisions": decisions, "outcomes": outcomes});
        ensure!(manifest["files"] == files, "{} are {files}", manifest["files"]);
        let count = |lines: &Lines, field: &str, value: &str| {
            lines.values().filter(|it| it[field] == value).count()
        };
        let total = |it: &Value| it.as_object().into_iter().flatten().count();
        let verdicts = &manifest["verdicts"];
        for name in ["compliant", "exempt", "violation"] {
            let n = count(of_decisions, "verdict", name);
            ensure!(verdicts[name] == n, "{n} are {name}, and in the manifest {verdicts}");
        }
        ensure!(verdicts["seen"] == self.active.len(), "{} were seen", self.active.len());
        let counts = &manifest["outcomes"];
        for (name, n) in counts.as_object().into_iter().flatten() {
            let found = match name.as_str() {
                "no_action" => count(of_decisions, "action", "leave"),
                name => count(of_outcomes, "outcome", name),
            };
            ensure!(*n == found, "{found} are {name}, and in the manifest {counts}");
        }
        ensure!(total(counts) == 9, "outcomes are {counts}");
        for (reason, n) in manifest["deferred"].as_object().into_iter().flatten() {
            let found = count(of_outcomes, "deferred_by", reason);
            ensure!(*n == found, "{found} are deferred by {reason}, not {n}");
        }
        let ids: String = self.active.iter().map(|it| format!("{it}\n")).collect();
        let ids = hex::encode(Sha256::digest(ids));
        ensure!(manifest["sessions_sha256"] == ids, "the hash of the ids is not {ids}");
        let sweep = &manifest["sweep"];
        let found = json!([sweep["mode"], sweep["sweep"], sweep["policy"]["sha256"]]);
        let expected = json!([self.mode, self.run, self.policy_sha256]);
        ensure!(found == expected, "the manifest is of {found}, not {expected}");
        Ok(())
    }

    /// The report says whether all is there, and only what is required keeps sessions from being terminated.
    fn check_report(&self, files: [Option<&Bytes>; 3], path: &str) -> Result<(), String> {
        let Self { mode, demand, violators, is_s3_well, .. } = self;
        let Some(SweepResult { report, .. }) = self.swept else { return Ok(()) };
        let evidence = report.evidence.as_ref().ok_or("evidence: not in the report")?;
        let [decisions, outcomes, manifest] = files;
        match (&evidence.problem, manifest) {
            (None, Some(content)) => {
                let url = format!("s3://{BUCKET}/evidence/{path}/{MANIFEST}");
                let sha256 = hex::encode(Sha256::digest(content));
                let told = (&evidence.manifest, &evidence.manifest_sha256);
                ensure!(told == (&Some(url), &Some(sha256)), "the manifest is told as {told:?}");
                let is_complete = (self.active.is_empty() || decisions.is_some())
                    && (violators.is_empty() || outcomes.is_some());
                ensure!(is_complete, "a manifest, and what it is of is not there");
            }
            (None, None) => return Err("evidence: no manifest, and no problem".into()),
            (Some(problem), _) => {
                ensure!(evidence.manifest.is_none(), "a manifest is told, and {problem}");
                ensure!(!is_s3_well, "S3 was well, and {problem}");
                if problem.contains(DECISIONS) {
                    let n = (self.puts(OUTCOMES).count(), self.puts(MANIFEST).count());
                    ensure!(n == (0, 0), "files after the decisions, though {problem}");
                }
            }
        }
        let is_missing = evidence.problem.as_ref().is_some_and(|it| it.contains(DECISIONS));
        let is_by_evidence = |it: &&reaper_core::report::OutcomeRecord| {
            it.step.action.deferred_by() == Some(reaper_core::plan::DeferReason::Evidence)
        };
        let swept = self.swept.ok_or("killed")?;
        let n_deferred = swept.record.outcomes.iter().filter(is_by_evidence).count();
        if is_missing && *demand == Demand::Required {
            ensure!(self.requested().is_empty(), "terminations without decisions");
            ensure!(n_deferred > 0 || violators.is_empty(), "no session is deferred by evidence");
        } else {
            ensure!(n_deferred == 0, "{n_deferred} are deferred by evidence");
            let n = report.outcomes.deferred + self.requested().len();
            let is_acting = *mode == Mode::Enforce;
            ensure!(!is_acting || n == violators.len(), "{n} of {violators:?}");
        }
        Ok(())
    }
}

/// Whether what goes wrong with S3 is over before a call gives up, and there is time for another attempt.
fn is_s3_well(faults: &[Fault], deadline: Duration) -> bool {
    let of_s3 = faults.iter().filter(|it| it.operation == "PutObject");
    let is_brief = |it: &Fault| {
        // A throttled call waits as long as its operation's pacer has learned to.
        let is_brief = matches!(
            it.kind,
            FaultKind::Error { .. }
                | FaultKind::InternalError
                | FaultKind::ResetAfter
                | FaultKind::ResetBefore
        );
        it.times.is_some_and(|it| it < 3) && is_brief && Duration::from_mins(1) <= deadline
    };
    of_s3.into_iter().all(is_brief)
}

/// Any session.
fn session(rng: &mut Rng, id: &str, is_exempt: bool, age: SignedDuration) -> Seed {
    let role = if is_exempt { "glass" } else { "dev" };
    Seed {
        id: Some(id.into()),
        owner: Some(format!("arn:aws:sts::{ACCOUNT}:assumed-role/{role}/ana")),
        target: Some("i-00000000000000001".into()),
        age: Some(age),
        status: Some("Connected".into()),
        on_terminate: match rng.u8(..16) {
            0 => OnTerminate::Lingers,
            1 => OnTerminate::Stays,
            _ => OnTerminate::Ends,
        },
        ..Seed::default()
    }
}

/// What goes wrong with S3, mostly, or with terminations.
fn fault(rng: &mut Rng) -> Fault {
    let conflict = FaultKind::Error {
        status: 409,
        code: "ConditionalRequestConflict".into(),
        message: "The conditional request cannot succeed due to a conflicting operation.".into(),
    };
    let kind = match rng.u8(..9) {
        0 => FaultKind::Deny,
        1 => FaultKind::Throttle,
        2 => FaultKind::ResetBefore,
        3 | 4 => FaultKind::ResetAfter,
        5 => FaultKind::InternalError,
        6 => FaultKind::Slow(Duration::from_millis(rng.u64(100..20_000))),
        7 => FaultKind::SlowAfter(Duration::from_millis(rng.u64(100..20_000))),
        _ => conflict,
    };
    let is_of_s3 = matches!(kind, FaultKind::Error { .. }) || rng.u8(..4) != 0;
    let operation = if is_of_s3 { "PutObject" } else { "TerminateSession" };
    let fault = Fault::new(operation, rng.usize(1..8), kind).after(rng.usize(..3));
    if rng.u8(..4) == 0 { fault.always() } else { fault }
}
