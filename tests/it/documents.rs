//! The types of custom documents: where they decide they are looked up, and what is not known
//! terminates nothing.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
    time::Duration,
};

use jiff::SignedDuration;
use reaper_core::{
    event::{CompliantLines, Severity},
    report::{Mode, Report},
};
use serde_json::{Map, Value};
use session_manager_emulator::{Behaviour, Fault, FaultKind, Fleet, Seed};
use session_reaper::sinks::{
    Sinks,
    log::{Log, LogSettings},
};

use crate::stage::{Stage, Wire, inline};

const DOCUMENT: &str = "GetDocument";

const NO_TUNNELS: &str = "
version: 1
rules: [{ id: no-tunnels, when: { session_type: Port }, forbid: true }]
limits: { max_terminations: 1000, circuit_breaker: { max_percent: 100 } }
";

/// Sessions with these ids and documents, an hour old, by one user.
fn fleet(sessions: &[(&str, &str)]) -> Fleet {
    let mut fleet = Fleet::default();
    for (id, document) in sessions {
        fleet.sessions.push(Seed {
            id: Some((*id).into()),
            owner: Some("arn:aws:sts::123456789012:assumed-role/dev/x".into()),
            target: Some("i-0000000000000dev0".into()),
            age: Some(SignedDuration::from_hours(1)),
            document: Some((*document).into()),
            ..Seed::default()
        });
    }
    for (name, text) in [
        ("Team-DbTunnel", "Port"),
        ("Team-Shell", "Standard_Stream"),
        (
            "SageMaker-SpaceSSHSessionDocument",
            "schemaVersion: '1.0'\nsessionType: Port\ninputs: { idleSessionTimeout: 120 }\n",
        ),
    ] {
        fleet.documents.insert(name.into(), text.into());
    }
    fleet
}

/// What is logged.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    /// The errors of the lines `document look-up failed`.
    fn problems(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).expect("UTF-8");
        let lines = text.lines().map(|it| serde_json::from_str(it).expect("JSON"));
        let failed = lines.filter(|it: &Value| it["message"] == "document look-up failed");
        failed.map(|it| it["error"].as_str().expect("an error").to_owned()).collect()
    }
}

/// Sweeps by a policy; the report, and why documents' types are not known.
async fn sweep(policy: &str, wire: Wire, fleet: Fleet) -> (Stage, Report, Vec<String>) {
    sweep_on(Stage { policy: inline(policy), ..Stage::new(wire, fleet) }).await
}

async fn sweep_on(mut stage: Stage) -> (Stage, Report, Vec<String>) {
    let lines = Lines::default();
    let settings = LogSettings {
        is_json: true,
        least: Severity::Info,
        compliant: CompliantLines::All,
        common: Map::new(),
    };
    stage.sinks = Sinks { log: Some(Log::new(settings, lines.clone())), ..Sinks::NONE };
    let report = stage.sweep().await;
    (stage, report, lines.problems())
}

/// What is unknown of a session.
fn unknown(report: &Report, id: &str) -> String {
    let rows = report.sessions.iter().map(|it| serde_json::to_value(it).expect("JSON"));
    let row = rows.into_iter().find(|it| it["session_id"] == id);
    row.map_or("it is not in the report".into(), |it| it["unknown"].to_string())
}

/// A copy of AWS's tunnel document under another name is a tunnel, whether it is written in JSON or YAML;
/// a shell is none.
#[tokio::test]
async fn custom_tunnels_are_terminated() {
    let fleet = fleet(&[
        ("v-copy", "Team-DbTunnel"),
        ("v-space", "SageMaker-SpaceSSHSessionDocument"),
        ("v-aws", "AWS-StartPortForwardingSession"),
        ("c-shell", "Team-Shell"),
        ("c-default", "SSM-SessionManagerRunShell"),
    ]);
    let (stage, report, problems) = sweep(NO_TUNNELS, Wire::Socket, fleet).await;
    assert_eq!((report.outcomes.terminated, report.verdicts.compliant), (3, 2));
    assert_eq!(stage.emulator.active_ids(), ["c-shell", "c-default"]);
    assert_eq!(problems, [""; 0]);
    let asked: Vec<_> = stage.calls(DOCUMENT).iter().map(|it| it.body["Name"].clone()).collect();
    assert_eq!(asked, ["SageMaker-SpaceSSHSessionDocument", "Team-DbTunnel", "Team-Shell"]);
}

/// The shipped policy on tunnels, also counts by type: one tunnel of an owner too many is terminated.
#[tokio::test(start_paused = true)]
async fn shipped_policy() {
    let policy = include_str!("../../policies/tunnels.yaml");
    let mut fleet = fleet(&[
        ("v-prod", "Team-DbTunnel"),
        ("c-shell", "Team-Shell"),
        ("c-1", "Team-DbTunnel"),
        ("c-2", "SageMaker-SpaceSSHSessionDocument"),
        ("c-3", "AWS-StartSSHSession"),
    ]);
    fleet.sessions[0].target = Some("i-000000000000prod0".into());
    for (target, env) in [("i-000000000000prod0", "prod"), ("i-0000000000000dev0", "dev")] {
        fleet.tags.insert(target.into(), [("env".into(), env.into())].into());
    }
    let mut oldest = fleet.sessions[2].clone();
    oldest.id = Some("v-oldest".into());
    oldest.age = Some(SignedDuration::from_hours(2));
    fleet.sessions.push(oldest);
    let (stage, report, problems) = sweep(policy, Wire::InProcess, fleet).await;
    let mut asked = stage.termination_requests();
    asked.sort_unstable();
    assert_eq!(asked, ["v-oldest", "v-prod"], "{:#?}", report.sessions);
    assert_eq!(problems, [""; 0]);
    assert_eq!(stage.calls(DOCUMENT).len(), 3, "once, also if they are counted again");
}

/// A document is looked up only if a verdict depends on its type, and once for all of its sessions.
#[tokio::test(start_paused = true)]
async fn lazily() {
    let rule = |rule: &str, more: &str| {
        format!(
            "version: 1\ntag_keys: [env]\nrules: [{{ id: a, {rule} }}]\n{more}\n\
             limits: {{ circuit_breaker: {{ max_percent: 100 }} }}\n"
        )
    };
    let (port, exempt) = ("when: { session_type: Port", "exemptions: [{ id: x, when: all }]");
    let documents = |document: &str| {
        let ids: Vec<_> = (0..20).map(|i| format!("s-{i}")).collect();
        fleet(&ids.iter().map(|id| (id.as_str(), document)).collect::<Vec<_>>())
    };
    for (policy, document, n_calls) in [
        (rule(&format!("{port} }}, forbid: true"), ""), "Team-DbTunnel", 1),
        (rule(&format!("{port} }}, forbid: true"), ""), "AWS-StartSSHSession", 0),
        (
            rule(&format!("{port} }}, forbid: true"), ""),
            "arn:aws:ssm:eu-central-1::document/AWS-StartSSHSession",
            0,
        ),
        (rule(&format!("{port}, owner: user/none }}, forbid: true"), ""), "Team-DbTunnel", 0),
        (rule(&format!("{port} }}, require: {{ max_age: 2h }}"), ""), "Team-DbTunnel", 0),
        (rule(&format!("{port} }}, forbid: true"), exempt), "Team-DbTunnel", 0),
        (rule("when: all, require: { max_age: 1m, session_type: Port }", ""), "Team-DbTunnel", 0),
        (rule("when: { document: Team-* }, forbid: true", ""), "Team-DbTunnel", 0),
        // Counted, but not by type: which sessions count depends on tags.
        (
            rule(
                "when: { target_tags: { env: dev } }, require: { concurrent: { per: owner, at_most: 2, keep: newest } }",
                "",
            ),
            "Team-DbTunnel",
            0,
        ),
        (
            rule(
                &format!(
                    "{port} }}, require: {{ concurrent: {{ per: owner, at_most: 2, keep: newest }} }}"
                ),
                "",
            ),
            "Team-DbTunnel",
            1,
        ),
        (
            rule(
                &format!(
                    "{port} }}, require: {{ concurrent: {{ per: owner, at_most: 20, keep: newest }} }}"
                ),
                "",
            ),
            "Team-DbTunnel",
            0,
        ),
    ] {
        let (stage, _, problems) = sweep(&policy, Wire::InProcess, documents(document)).await;
        assert_eq!(stage.calls(DOCUMENT).len(), n_calls, "{policy}");
        assert_eq!(problems, [""; 0], "{policy}");
    }
}

/// At most 50 documents are looked up. The sessions of others are undetermined, and one line says so.
#[tokio::test(start_paused = true)]
async fn at_most_fifty() {
    let names: Vec<_> = (0..60).map(|i| (format!("s-{i:02}"), format!("Team-{i:02}"))).collect();
    let sessions: Vec<_> = names.iter().map(|(id, it)| (id.as_str(), it.as_str())).collect();
    let mut fleet = fleet(&sessions);
    fleet.documents.extend(names.iter().map(|(_, it)| (it.clone(), "Port".into())));
    let (stage, report, problems) = sweep(NO_TUNNELS, Wire::InProcess, fleet).await;
    assert_eq!(stage.calls(DOCUMENT).len(), 50);
    assert_eq!((report.outcomes.terminated, report.verdicts.undetermined), (50, 10));
    assert_eq!(unknown(&report, "s-50"), "\"session_type_not_known\"");
    assert_eq!(problems, ["10 documents are not looked up: no more than 50 are"]);
}

/// Where a type cannot be found out, its sessions are undetermined, one line says why, and the others are
/// terminated.
#[tokio::test(start_paused = true)]
async fn unknown_types() {
    let said = |text: &str| Some(text.to_owned());
    let body = |body: &str| FaultKind::Body(body.into());
    for (content, fault, n_calls, problem) in [
        (None, None, 1, "`GetDocument` was refused after 1 attempt: InvalidDocument"),
        (said("Port"), Some(FaultKind::Deny), 1, "`ReadSessionDocuments`"),
        (said("Port"), Some(FaultKind::Throttle), 0, "`GetDocument` was throttled after"),
        (said("Port"), Some(FaultKind::InternalError), 5, "`GetDocument` failed after 5 attempts"),
        (said("Port"), Some(FaultKind::ResetBefore), 5, "`GetDocument` failed after 5 attempts"),
        (said("Port"), Some(body("<html>")), 5, "`GetDocument` failed after 5 attempts"),
        (said("Port"), Some(body("{}")), 5, "`GetDocument` failed after 5 attempts"),
        (said("Port"), Some(body(r#"{"Content": ""}"#)), 1, "no `sessionType` that is known"),
        (said("Port"), Some(body(r#"{"Content": 7}"#)), 5, "`GetDocument` failed after 5 attempts"),
        (said("not a document"), None, 1, "no `sessionType` that is known"),
        (said("{}"), None, 1, "no `sessionType` that is known"),
        (said("sessionType: 7"), None, 1, "no `sessionType` that is known"),
        (said("sessionType: port"), None, 1, "no `sessionType` that is known"),
        (said("sessionType: [Port]"), None, 1, "no `sessionType` that is known"),
        (said("sessionType: Teleport"), None, 1, "no `sessionType` that is known"),
        (said("inputs: { sessionType: Port }"), None, 1, "no `sessionType` that is known"),
    ] {
        let mut fleet = fleet(&[("u-1", "Alpha"), ("u-2", "Alpha"), ("v-1", "Team-DbTunnel")]);
        fleet.documents.extend(content.clone().map(|it| ("Alpha".to_owned(), it)));
        // The documents are looked up by their names' order; the faults are over before the second.
        let n_faults = if n_calls == 0 { 1000 } else { n_calls };
        fleet.faults = fault.iter().map(|it| Fault::new(DOCUMENT, n_faults, it.clone())).collect();
        let is_throttled = n_calls == 0; // As long as there is time, so that there is none for others.
        let stage = Stage { policy: inline(NO_TUNNELS), ..Stage::new(Wire::InProcess, fleet) };
        let (stage, report, problems) = sweep_on(stage).await;
        let case = format!("{content:?}, {fault:?}: {problems:?}");
        let n_terminated = usize::from(!is_throttled);
        assert_eq!(report.outcomes.terminated, n_terminated, "{case}");
        assert_eq!(report.verdicts.undetermined, 3 - n_terminated, "{case}");
        assert_eq!(unknown(&report, "u-1"), "\"session_type_not_known\"", "{case}");
        assert_eq!(report.failure(), None, "{case}");
        if !is_throttled {
            assert_eq!(problems.len(), 1, "{case}");
            assert_eq!(stage.calls(DOCUMENT).len(), n_calls + 1, "{case}");
            let start = "the session type of `Alpha` is not known: ";
            assert!(problems[0].starts_with(start), "{case}");
        }
        assert!(problems[0].contains(problem), "{case}");
    }
}

/// If documents may not be read, one line names some of them, the action and the template's parameter;
/// sessions whose verdict does not depend on them are terminated.
#[tokio::test(start_paused = true)]
async fn denied() {
    let policy = format!("{NO_TUNNELS}assume: {{ reason: none }}\n")
        .replace("rules: [", "rules: [{ id: old, when: all, require: { max_age: 90m } }, ");
    let mut fleet = fleet(&[
        ("u-1", "A-1"),
        ("u-2", "A-2"),
        ("u-3", "A-3"),
        ("u-4", "A-4"),
        ("u-5", "A-5"),
        ("v-old", "A-5"),
        ("v-aws", "AWS-StartSSHSession"),
    ]);
    fleet.sessions[5].age = Some(SignedDuration::from_hours(2));
    fleet.faults = vec![Fault::new(DOCUMENT, 1, FaultKind::Deny).always()];
    let (stage, report, problems) = sweep(&policy, Wire::InProcess, fleet).await;
    assert_eq!(report.verdicts.undetermined, 5);
    let mut asked = stage.termination_requests();
    asked.sort_unstable();
    assert_eq!(asked, ["v-aws", "v-old"]);
    let [problem] = &problems[..] else { panic!("{problems:?}") };
    for part in [
        "the session type of `A-1`, `A-2`, `A-3` and 2 others is not known: ",
        "AccessDeniedException",
        "allow `ssm:GetDocument` on `arn:aws:ssm:eu-central-1:123456789012:document/A-1`",
        "`ReadSessionDocuments`",
    ] {
        assert!(problem.contains(part), "{problem}");
    }
}

/// If the tags cannot be looked up either, a session that violates a rule on types alone is terminated.
#[tokio::test(start_paused = true)]
async fn types_without_tags() {
    let policy = NO_TUNNELS.replace(
        "rules: [",
        "tag_keys: [env]\nrules: [{ id: prod, when: { target_tags: { env: prod } }, forbid: true }, ",
    );
    for fault in [Some(FaultKind::Deny), None] {
        let mut fleet = fleet(&[("v-copy", "Team-DbTunnel"), ("u-shell", "Team-Shell")]);
        fleet.faults =
            fault.iter().map(|it| Fault::new("GetResources", 1, it.clone()).always()).collect();
        let (stage, report, _) = sweep(&policy, Wire::InProcess, fleet).await;
        assert_eq!(stage.termination_requests(), ["v-copy"], "{fault:?}: {:#?}", report.sessions);
        assert_eq!(report.verdicts.undetermined, 1, "{fault:?}");
    }
}

/// A document may be named by its ARN: of this account, of AWS, or of another account that shares it. A
/// version belongs to no name.
#[tokio::test]
async fn names_and_arns() {
    let arn =
        |account: &str, name: &str| format!("arn:aws:ssm:eu-central-1:{account}:document/{name}");
    let shared = arn("210987654321", "AWS-StartSSHSession");
    let documents = [
        ("v-own", arn("123456789012", "Team-DbTunnel")),
        ("v-aws", arn("", "AWS-StartSSHSession")),
        ("c-shared", shared.clone()), // Its name proves nothing.
        ("u-other", arn("210987654321", "Team-DbTunnel")),
        ("u-version", "Team-DbTunnel:1".into()),
        ("u-aws-version", "AWS-StartSSHSession:1".into()),
    ];
    let documents: Vec<_> = documents.iter().map(|(id, it)| (*id, it.as_str())).collect();
    let mut fleet = fleet(&documents);
    fleet.documents.insert(shared, "Standard_Stream".into());
    let (stage, report, problems) = sweep(NO_TUNNELS, Wire::Socket, fleet).await;
    let mut asked = stage.termination_requests();
    asked.sort_unstable();
    assert_eq!(asked, ["v-aws", "v-own"]);
    assert_eq!((report.verdicts.compliant, report.verdicts.undetermined), (1, 3));
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(stage.calls(DOCUMENT).len(), 5);
}

/// A name that `GetDocument` refuses, as AWS's model has no such document, leaves its session
/// undetermined.
#[tokio::test]
async fn odd_names() {
    let fleet = fleet(&[("u-1", "x"), ("u-2", "Team Tunnel"), ("v-1", "Team-DbTunnel")]);
    let (stage, report, problems) = sweep(NO_TUNNELS, Wire::Socket, fleet).await;
    assert_eq!(stage.termination_requests(), ["v-1"]);
    assert_eq!(report.verdicts.undetermined, 2);
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].contains("ValidationException"), "{problems:?}");
}

/// Documents that hang take at most half of the time to act in: a violator whose verdict does not depend
/// on them is terminated, and the sweep ends before its deadline.
#[tokio::test(start_paused = true)]
async fn hanging_documents_keep_the_deadline() {
    let names: Vec<_> = (0..60).map(|i| (format!("u-{i:02}"), format!("Team-{i:02}"))).collect();
    let sessions: Vec<_> = names.iter().map(|(id, it)| (id.as_str(), it.as_str())).collect();
    for fault in [FaultKind::Slow(Duration::from_mins(1)), FaultKind::Throttle] {
        let mut fleet = fleet(&[&sessions[..], &[("v-aws", "AWS-StartSSHSession")]].concat());
        fleet.faults = vec![Fault::new(DOCUMENT, 1, fault.clone()).always()];
        let policy = inline(NO_TUNNELS);
        let (stage, report, problems) =
            sweep_on(Stage { policy, ..Stage::new(Wire::InProcess, fleet) }).await;
        assert_eq!(stage.termination_requests(), ["v-aws"], "{fault:?}");
        assert_eq!(report.outcomes.terminated, 1, "{fault:?}");
        assert_eq!(report.verdicts.undetermined, 60, "{fault:?}");
        assert!(report.duration_s < 200.0, "{fault:?}: {} s", report.duration_s);
        // What hung, what did not start, and what is beyond the 50.
        assert_eq!(problems.len(), 3, "{fault:?}: {problems:?}");
    }
}

/// A quota below the pace: every document is looked up nevertheless.
#[tokio::test(start_paused = true)]
async fn quota_below_pace() {
    let names: Vec<_> = (0..40).map(|i| (format!("v-{i:02}"), format!("Team-{i:02}"))).collect();
    let sessions: Vec<_> = names.iter().map(|(id, it)| (id.as_str(), it.as_str())).collect();
    let mut fleet = fleet(&sessions);
    fleet.documents.extend(names.iter().map(|(_, it)| (it.clone(), "Port".into())));
    fleet.behaviour = Behaviour { quota: Some(5), ..Behaviour::default() };
    let (_, report, problems) = sweep(NO_TUNNELS, Wire::InProcess, fleet).await;
    assert_eq!((report.outcomes.terminated, problems), (40, Vec::new()));
}

/// A dry run looks documents up, too.
#[tokio::test(start_paused = true)]
async fn dry_run() {
    let fleet = fleet(&[("v-copy", "Team-DbTunnel")]);
    let stage = Stage { policy: inline(NO_TUNNELS), ..Stage::new(Wire::InProcess, fleet) };
    let (stage, report, _) = sweep_on(Stage { mode: Mode::DryRun, ..stage }).await;
    assert_eq!((report.outcomes.would_terminate, stage.termination_requests().len()), (1, 0));
}
