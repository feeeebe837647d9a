//! Evidence in a bucket: what is there after every kind of failure, and what it keeps from happening.

use std::{collections::BTreeMap, time::Duration};

use jiff::SignedDuration;
use reaper_core::{
    evidence::{
        DECISIONS, Demand, EvidenceWritten, Folder, MANIFEST, OUTCOMES, Status, Verified, ocsf,
        sha256, verify,
    },
    plan::{Action, DeferReason},
    report::{Mode, Outcomes, Report, Row},
};
use serde_json::json;
use session_manager_emulator::{Emulator, Fault, FaultKind, Seed};

use crate::{
    lambda::invocations,
    runtime_api::{Invocations, Ran, invoke},
    stage::{BUCKET, Stage, VIOLATORS, Wire, fleet, outcomes},
};

fn stage(demand: Demand, faults: Vec<Fault>) -> Stage {
    Stage { evidence: Some(demand), ..Stage::with_faults(Wire::InProcess, 0, faults) }
}

fn put(kind: FaultKind) -> Fault {
    Fault::new("PutObject", 1, kind)
}

/// The files in the bucket, by the sweep that wrote them.
pub(crate) fn folders(objects: &BTreeMap<String, bytes::Bytes>) -> Vec<Folder> {
    let mut folders: BTreeMap<&str, Folder> = BTreeMap::new();
    for (key, content) in objects {
        let Some(key) = key.strip_prefix(&format!("{BUCKET}/evidence/")) else { continue };
        let (path, name) = key.rsplit_once('/').expect("a folder");
        let folder = folders.entry(path).or_default();
        folder.path = path.into();
        match name {
            DECISIONS => folder.decisions = Some(content.to_vec()),
            OUTCOMES => folder.outcomes = Some(content.to_vec()),
            MANIFEST => folder.manifest = Some(content.to_vec()),
            other => folder.others.push(other.into()),
        }
    }
    folders.into_values().collect()
}

fn only(emulator: &Emulator) -> Verified {
    let folders = folders(&emulator.objects());
    assert_eq!(folders.len(), 1, "{folders:?}");
    verify(&folders[0])
}

fn problem(report: &Report) -> &str {
    let evidence = report.evidence.as_ref().expect("evidence");
    assert_eq!((&evidence.manifest, &evidence.manifest_sha256), (&None, &None));
    evidence.problem.as_deref().expect("a problem")
}

fn deferred_by_evidence(report: &Report) -> usize {
    let is_it = |it: &&Row| {
        it.action == Some(Action::Defer(DeferReason::Evidence))
            && it.deferred_by == Some(DeferReason::Evidence)
    };
    report.sessions.iter().filter(is_it).count()
}

/// Decisions are written before the first termination, outcomes afterwards, the manifest last; all of it
/// agrees with what the account says, in a dry run too.
#[tokio::test(start_paused = true)]
async fn three_files_in_their_order() {
    for (mode, n_terminated) in [(Mode::Enforce, 4), (Mode::DryRun, 0)] {
        let stage = Stage { mode, ..stage(Demand::Required, Vec::new()) };
        let report = stage.sweep().await;
        let verified = only(&stage.emulator);
        assert_eq!((verified.status, &verified.problems), (Status::Verified, &Vec::new()));
        assert_eq!(verified.mode, Some(mode));
        assert_eq!([verified.decisions, verified.to_terminate], [8, 4]);
        assert_eq!(verified.terminated, n_terminated);
        let n_gone = VIOLATORS.iter().filter(|it| !stage.is_active(it)).count();
        assert_eq!(n_gone, n_terminated, "the account agrees");

        let calls = stage.emulator.calls().into_iter();
        let calls =
            calls.filter(|it| it.operation == "PutObject" || it.operation == "TerminateSession");
        let calls: Vec<_> = calls.map(|it| it.body["Key"].as_str().map(str::to_owned)).collect();
        assert_eq!(calls.len(), 3 + n_terminated);
        let name =
            |it: &Option<String>| it.as_ref().map(|it| it.rsplit('/').next().unwrap().to_owned());
        let names: Vec<_> = calls.iter().map(name).collect();
        assert_eq!(names[0].as_deref(), Some(DECISIONS));
        assert!(names[1..=n_terminated].iter().all(Option::is_none));
        let last = [&names[n_terminated + 1], &names[n_terminated + 2]].map(Option::as_deref);
        assert_eq!(last, [Some(OUTCOMES), Some(MANIFEST)]);

        let EvidenceWritten { manifest, manifest_sha256, problem } =
            report.evidence.expect("evidence");
        let key = manifest.expect("a manifest");
        let content = &stage.emulator.objects()[key.strip_prefix("s3://").expect("a URL")];
        assert_eq!(manifest_sha256, Some(sha256(content)));
        assert_eq!(problem, None);
    }
}

/// A second sweep, by a repeated invocation with the same id, writes files of its own.
#[tokio::test(start_paused = true)]
async fn repeated_invocation() {
    let stage = stage(Demand::Required, Vec::new());
    stage.sweep().await;
    tokio::time::advance(Duration::from_mins(1)).await;
    stage.sweep().await;
    let folders = folders(&stage.emulator.objects());
    let found: Vec<_> = folders.iter().map(verify).collect();
    assert_eq!(found.iter().map(|it| it.terminated).collect::<Vec<_>>(), [4, 0]);
    assert!(found.iter().all(|it| it.status == Status::Verified), "{found:?}");
    // Of a sweep without violators, there are no outcomes, and so no file of them.
    assert_eq!(folders.iter().filter(|it| it.outcomes.is_some()).count(), 1);
}

/// If the decisions cannot be written and have to be, no session is terminated.
#[tokio::test(start_paused = true)]
async fn required_defers() {
    for kind in [
        FaultKind::Deny,
        FaultKind::Slow(Duration::from_mins(1)),
        FaultKind::ResetBefore,
        FaultKind::InternalError,
    ] {
        let stage = stage(Demand::Required, vec![put(kind.clone()).always()]);
        let report = stage.sweep().await;
        stage.check(&report, outcomes(0, Outcomes { deferred: 4, ..Outcomes::default() }));
        assert_eq!(deferred_by_evidence(&report), 4, "{kind:?}");
        assert_eq!(stage.termination_requests(), Vec::<String>::new(), "{kind:?}");
        let problem = problem(&report);
        assert!(problem.starts_with(&format!("`s3://{BUCKET}/evidence/account=")), "{problem}");
        assert!(problem.contains("decisions.ndjson.gz` was not written: `PutObject`"), "{problem}");
    }
}

/// If they need not be written, the sweep goes on, and writes nothing more.
#[tokio::test(start_paused = true)]
async fn best_effort_goes_on() {
    for kind in [FaultKind::Deny, FaultKind::Slow(Duration::from_mins(1))] {
        let stage = stage(Demand::BestEffort, vec![put(kind).always()]);
        let report = stage.sweep().await;
        stage.check(&report, outcomes(0, Outcomes { terminated: 4, ..Outcomes::default() }));
        assert!(problem(&report).contains("decisions.ndjson.gz` was not written"));
    }
}

/// However slow S3 is, the terminations have their time, and the sweep ends in its own.
#[tokio::test(start_paused = true)]
async fn time_is_left() {
    for after in 0..3 {
        let slow = put(FaultKind::Slow(Duration::from_mins(10))).always().after(after);
        let stage =
            Stage { deadline: Duration::from_secs(50), ..stage(Demand::BestEffort, vec![slow]) };
        let began = tokio::time::Instant::now();
        let report = stage.sweep().await;
        assert!(began.elapsed() <= stage.deadline, "{:?}", began.elapsed());
        stage.check(&report, outcomes(0, Outcomes { terminated: 4, ..Outcomes::default() }));
        problem(&report);
    }
}

/// An answer that is lost after the write, and a conflict with another write, are no failures.
#[tokio::test(start_paused = true)]
async fn lost_answers() {
    let conflict = FaultKind::Error {
        status: 409,
        code: "ConditionalRequestConflict".into(),
        message: "The conditional request cannot succeed due to a conflicting operation.".into(),
    };
    for kind in [FaultKind::ResetAfter, FaultKind::ResetBefore, conflict, FaultKind::Throttle] {
        for after in 0..3 {
            let stage = stage(Demand::Required, vec![put(kind.clone()).after(after)]);
            let report = stage.sweep().await;
            stage.check(&report, outcomes(0, Outcomes { terminated: 4, ..Outcomes::default() }));
            assert_eq!(only(&stage.emulator).status, Status::Verified, "{kind:?} {after}");
        }
    }
}

/// What cannot be written after the terminations is told, and the evidence says how far it goes.
#[tokio::test(start_paused = true)]
async fn outcomes_not_written() {
    for (after, file, gap) in [
        (1, OUTCOMES, "any of the 4 sessions with the action `terminate` may have been terminated"),
        (2, MANIFEST, "the sweep had verified its outcomes"),
    ] {
        let stage = stage(Demand::Required, vec![put(FaultKind::Deny).always().after(after)]);
        let report = stage.sweep().await;
        stage.check(&report, outcomes(0, Outcomes { terminated: 4, ..Outcomes::default() }));
        assert!(problem(&report).contains(&format!("{file}` was not written")));
        let verified = only(&stage.emulator);
        assert_eq!((verified.status, &verified.problems), (Status::Incomplete, &Vec::new()));
        assert!(verified.gap.as_deref().is_some_and(|it| it.contains(gap)), "{:?}", verified.gap);
    }
}

/// The function is killed between the decisions and the last termination: the evidence names every session that
/// may be gone, and those that are gone are among them.
#[tokio::test(start_paused = true)]
async fn killed() {
    for (millis, n_gone) in [(100, 0), (3_500, 2)] {
        let stage = stage(Demand::Required, Vec::new());
        let slow = Fault::new("TerminateSession", 1, FaultKind::Slow(Duration::from_mins(1)));
        stage.emulator.set_faults(vec![slow.always().after(n_gone)]);
        let sweep = tokio::time::timeout(Duration::from_millis(millis), stage.sweep());
        assert!(sweep.await.is_err(), "it was killed");
        let gone: Vec<_> = VIOLATORS.into_iter().filter(|it| !stage.is_active(it)).collect();
        assert_eq!(gone.len(), n_gone);
        let verified = only(&stage.emulator);
        assert_eq!((verified.status, &verified.problems), (Status::Incomplete, &Vec::new()));
        assert_eq!((verified.to_terminate, verified.terminated), (4, 0));
        let gap = verified.gap.expect("a gap");
        assert!(gap.contains("any of the 4 sessions with the action `terminate`"), "{gap}");
        // The next sweep has evidence of its own, and the sessions that are left.
        stage.emulator.set_faults(Vec::new());
        stage.sweep().await;
        let found: Vec<_> = folders(&stage.emulator.objects()).iter().map(verify).collect();
        assert_eq!((found[1].status, found[1].terminated), (Status::Verified, 4 - n_gone));
    }
}

/// Whatever goes wrong with terminations, the evidence is whole, and agrees with the account: what it calls
/// terminated is gone, and what is gone was to be terminated.
#[tokio::test(start_paused = true)]
async fn agrees_with_the_account() {
    for kind in [
        FaultKind::Deny,
        FaultKind::InternalError,
        FaultKind::ResetAfter,
        FaultKind::ResetBefore,
        FaultKind::SlowAfter(Duration::from_secs(6)),
        FaultKind::Throttle,
        FaultKind::Truncated,
        FaultKind::Vanish("v-4h".into()),
    ] {
        for times in [1, 4, 40] {
            let fault = Fault::new("TerminateSession", times, kind.clone());
            let stage = stage(Demand::Required, vec![fault]);
            let report = stage.sweep().await;
            let folders = folders(&stage.emulator.objects());
            let verified = verify(&folders[0]);
            assert_eq!((verified.status, &verified.problems), (Status::Verified, &Vec::new()));
            assert_eq!(verified.terminated, report.outcomes.terminated, "{kind:?} {times}");
            let events = ocsf(&folders[0]);
            assert_eq!(events.len(), verified.terminated, "{kind:?} {times}");
            for event in events {
                let id = event["session"]["uid"].as_str().expect("an id");
                assert!(!stage.is_active(id), "{kind:?} {times}: {id} is there");
            }
            let gone = VIOLATORS.iter().filter(|it| !stage.is_active(it)).count();
            assert!(gone <= verified.to_terminate, "{kind:?} {times}");
            assert!(verified.terminated <= gone, "{kind:?} {times}");
        }
    }
}

fn environment(more: &[(&'static str, &'static str)]) -> Invocations<'static> {
    let mut invocations = invocations(vec![json!({})]);
    invocations.environment.push(("REAPER_EVIDENCE_BUCKET", BUCKET));
    invocations.environment.extend(more);
    invocations
}

/// The function: the reply and the last line say where the manifest is, also where the environment asks for
/// no checksums.
#[tokio::test]
async fn function_names_its_manifest() {
    let emulator = Emulator::new(fleet(0));
    let more = [("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")];
    let ran: Ran = invoke(&emulator, environment(&more)).await;
    let reply = ran.replies[0].as_ref().expect("a report");
    let verified = only(&emulator);
    assert_eq!((verified.status, verified.terminated), (Status::Verified, 4));
    let manifest = reply["evidence"]["manifest"].as_str().expect("a URL");
    assert_eq!(manifest, format!("s3://{BUCKET}/evidence/{}/manifest.json", verified.path));
    let finished = &ran.lines_with("sweep finished")[0];
    assert_eq!(finished["evidence"], manifest);
    assert_eq!(finished["evidence_sha256"], reply["evidence"]["manifest_sha256"]);
    let metrics = ran.lines();
    let metrics = metrics.iter().find(|it| !it["EvidenceFailed"].is_null()).expect("a metric");
    assert_eq!(metrics["EvidenceFailed"], 0);
    let manifest = &emulator.objects()[manifest.strip_prefix("s3://").expect("a URL")];
    let manifest: serde_json::Value = serde_json::from_slice(manifest).expect("JSON");
    assert_eq!(manifest["sweep"]["request_id"], "request-1");
    let version = format!("$LATEST, session-reaper {}", env!("CARGO_PKG_VERSION"));
    assert_eq!(manifest["sweep"]["version"], version);
}

/// The function tells by a line, the report and a metric that decisions were not written.
#[tokio::test]
async fn function_tells_of_a_failure() {
    for (demand, n_deferred) in [("required", 4), ("best-effort", 0)] {
        let emulator = Emulator::new(fleet(0));
        emulator.set_faults(vec![put(FaultKind::Deny).always()]);
        let ran = invoke(&emulator, environment(&[("REAPER_EVIDENCE", demand)])).await;
        let reply = ran.replies[0].as_ref().expect("a report");
        assert_eq!(reply["outcomes"]["deferred"], n_deferred);
        let lines = ran.lines_with("evidence not written");
        assert_eq!(lines.len(), 1, "told once");
        assert_eq!(
            (&lines[0]["level"], &lines[0]["error"]),
            (&json!("ERROR"), &reply["evidence"]["problem"])
        );
        assert_eq!(ran.lines_with("sweep finished")[0]["evidence_problem"], lines[0]["error"]);
        assert!(ran.lines().iter().any(|it| it["EvidenceFailed"] == 1));
    }
}

/// Compliant sessions have no line, or only new ones, if the configuration says so, and are counted all the same.
#[tokio::test]
async fn compliant_sessions_without_lines() {
    // Four compliant sessions are new, and one is not.
    for (lines, period, n_compliant) in
        [("all", "5m", 5), ("new", "5m", 4), ("new", "25m", 5), ("none", "5m", 0)]
    {
        let mut fleet = fleet(3);
        let new = fleet.sessions.iter().find(|it| it.id.as_deref() == Some("f-0"));
        let old = Seed {
            id: Some("f-old".into()),
            age: Some(SignedDuration::from_mins(50)),
            ..new.expect("f-0").clone()
        };
        fleet.sessions.push(old);
        let emulator = Emulator::new(fleet);
        let variables = [("REAPER_LOG_COMPLIANT", lines), ("REAPER_PERIOD", period)];
        let ran = invoke(&emulator, environment(&variables)).await;
        let evaluated: Vec<_> = ran.lines_with("session evaluated");
        let compliant = evaluated.iter().filter(|it| it["verdict"] == "compliant").count();
        assert_eq!(compliant, n_compliant, "{lines}");
        assert_eq!(evaluated.len() - compliant, 8 - 1, "the others have lines");
        assert_eq!(ran.lines_with("sweep finished")[0]["compliant"], 5);
        assert_eq!(only(&emulator).decisions, 8 + 4, "evidence has every decision");
    }
}
