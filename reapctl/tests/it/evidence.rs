//! `verify-evidence`: what it finds, and what it cannot find.

use std::{
    fs,
    io::{Read, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use jiff::{SignedDuration, Timestamp};
use reaper_core::{
    census::{Evaluator, Unseen},
    evidence::{DECISIONS, Files, Invocation, MANIFEST, Manifest, OUTCOMES, Sweep, sha256},
    plan::{Action, plan},
    policy::{Policy, PolicyIdentity},
    report::{Coverage, Mode, Outcome, OutcomeRecord, Report, SweepRecord},
    session::Session,
    target::{Scope, Tags, Unknown},
};
use serde_json::Value;
use session_manager_emulator::{Emulator, Fault, FaultKind, Fleet, serve};
use tokio::net::TcpListener;

use crate::{Output, check_golden, reapctl};

const POLICY: &str = "
version: 1
rules: [{ id: one-hour, when: all, require: { max_age: 1h } }]
limits: { max_terminations: 3, circuit_breaker: { max_percent: 100 } }
";

/// A folder of this test alone, with the evidence of two sweeps.
struct Evidence {
    root: PathBuf,
    /// Those of the sweeps, the first one first.
    sweeps: [PathBuf; 2],
}

/// Writes what a sweep writes over five sessions in violation, of which the limit allows three, and a
/// compliant one.
fn sweep(root: &Path, started_at: &str, mode: Mode) -> PathBuf {
    let now: Timestamp = started_at.parse().expect("an instant");
    let policy = Policy::parse(POLICY).expect("a policy");
    let evaluator = Evaluator::new(&policy, now);
    let session = |i: i64| {
        let owner = format!("arn:aws:sts::111122223333:assumed-role/dev/user-{i}");
        let started_at = now - SignedDuration::from_mins(50 * i);
        let session = Session::new(format!("user-{i}-0abc"), owner, "i-0aa0", started_at);
        evaluator.evaluate(Box::new(session), Tags::Unknown(Unknown::TagsNotLookedUp))
    };
    let mut evaluated: Vec<_> = (1..=6).map(session).collect();
    evaluator.conclude(&mut evaluated, Unseen::NOTHING, || true);
    let steps = plan(&policy, now, evaluated).steps;
    let scope = Scope::from_arn("arn:aws:lambda:eu-west-1:111122223333:function:f");
    let invocation = Invocation { request_id: "r-1".into(), version: "7".into(), run: None };
    let identity = PolicyIdentity::new("/session-reaper/policy", Some(3), POLICY);
    let sweep = Sweep::new(&invocation, scope.as_ref(), mode, now, &identity);
    let decisions = sweep.decisions(&steps, &[]).expect("a file");
    let outcomes = steps.into_iter().map(|step| {
        let outcome = match (step.action, mode) {
            (Action::Leave, _) => Outcome::NoAction,
            (Action::Defer(_), _) => Outcome::Deferred,
            (Action::Terminate, Mode::DryRun) => Outcome::WouldTerminate,
            (Action::Terminate, Mode::Enforce) => Outcome::Terminated,
        };
        OutcomeRecord::new(step, outcome)
    });
    let record = SweepRecord {
        mode,
        scope,
        started_at: now,
        duration: Duration::from_millis(2_500),
        policy: identity,
        coverage: Coverage { complete: true, problem: None, pages: 1 },
        calls: 5,
        circuit_breaker_open: false,
        paused: false,
        outcomes: outcomes.collect(),
        not_evaluated: Vec::new(),
    };
    let outcomes = sweep.outcomes(&record).expect("a file");
    let folder = root.join(sweep.folder());
    fs::create_dir_all(&folder).expect("a folder");
    let write = |name: &str, content: &[u8]| fs::write(folder.join(name), content).expect("a file");
    write(DECISIONS, &decisions.content);
    write(OUTCOMES, &outcomes.content);
    let files = Files { decisions: decisions.digest, outcomes: outcomes.digest };
    let manifest = Manifest::new(sweep, &record, &Report::new(&record), files);
    write(MANIFEST, &serde_json::to_vec(&manifest).expect("JSON"));
    folder
}

impl Evidence {
    fn new(name: &str) -> Self {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("evidence-{name}"));
        if root.exists() {
            fs::remove_dir_all(&root).expect("a folder");
        }
        let sweeps = ["2026-03-02T12:00:00Z", "2026-03-03T12:00:00Z"]
            .map(|it| sweep(&root, it, Mode::Enforce));
        Self { root, sweeps }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.sweeps[0].join(name)
    }

    /// Alters the lines of a file, and compresses them again.
    fn alter_lines(&self, name: &str, alter: impl Fn(&mut Vec<String>)) {
        let mut text = String::new();
        let content = fs::read(self.file(name)).expect("a file");
        GzDecoder::new(&*content).read_to_string(&mut text).expect("text");
        let mut lines: Vec<_> = text.lines().map(|it| format!("{it}\n")).collect();
        alter(&mut lines);
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(lines.concat().as_bytes()).expect("bytes");
        fs::write(self.file(name), encoder.finish().expect("bytes")).expect("a file");
    }

    fn alter_manifest(&self, alter: impl Fn(&mut Value)) {
        let path = self.file(MANIFEST);
        let mut manifest = serde_json::from_slice(&fs::read(&path).expect("a file")).expect("JSON");
        alter(&mut manifest);
        fs::write(&path, manifest.to_string()).expect("a file");
    }

    /// Writes into the manifest the hashes and sizes that the files have.
    fn correct_digests(&self) {
        self.alter_manifest(|manifest| {
            for (key, name) in [("decisions", DECISIONS), ("outcomes", OUTCOMES)] {
                let content = fs::read(self.file(name)).expect("a file");
                let mut text = String::new();
                GzDecoder::new(&*content).read_to_string(&mut text).expect("text");
                let digest = &mut manifest["files"][key];
                digest["lines"] = text.lines().count().into();
                digest["bytes"] = content.len().into();
                digest["sha256"] = sha256(&content).into();
            }
        });
    }

    async fn verify(&self, more: &[&str]) -> Output {
        let root = self.root.to_str().expect("UTF-8");
        reapctl(&[&["verify-evidence", root], more].concat(), &[]).await
    }
}

/// Alters evidence.
type Alter = fn(&Evidence);

/// What is altered, how, and the file in which it shows.
const ALTERATIONS: [(&str, Alter, &str); 14] = [
    (
        "a flipped byte",
        |it| {
            let path = it.file(DECISIONS);
            let mut content = fs::read(&path).expect("a file");
            content[60] ^= 1;
            fs::write(&path, content).expect("a file");
        },
        DECISIONS,
    ),
    ("a removed line", |it| it.alter_lines(DECISIONS, |lines| drop(lines.remove(0))), DECISIONS),
    (
        "a removed line, with hashes corrected",
        |it| {
            it.alter_lines(OUTCOMES, |lines| drop(lines.remove(0)));
            it.correct_digests();
        },
        OUTCOMES,
    ),
    (
        "a changed outcome",
        |it| {
            it.alter_lines(OUTCOMES, |lines| {
                lines[0] = lines[0].replace(r#""outcome":"terminated""#, r#""outcome":"failed""#);
            });
        },
        OUTCOMES,
    ),
    (
        "a changed outcome, with hashes corrected",
        |it| {
            it.alter_lines(OUTCOMES, |lines| {
                lines[0] = lines[0].replace(r#""outcome":"terminated""#, r#""outcome":"failed""#);
            });
            it.correct_digests();
        },
        MANIFEST,
    ),
    ("a missing file", |it| fs::remove_file(it.file(OUTCOMES)).expect("a file"), OUTCOMES),
    (
        "swapped files",
        |it| {
            let [own, other] = it.sweeps.each_ref().map(|it| it.join(DECISIONS));
            let content = fs::read(&own).expect("a file");
            fs::copy(&other, &own).expect("a file");
            fs::write(&other, content).expect("a file");
        },
        DECISIONS,
    ),
    (
        "swapped files, with hashes corrected",
        |it| {
            fs::copy(it.sweeps[1].join(DECISIONS), it.file(DECISIONS)).expect("a file");
            it.correct_digests();
        },
        DECISIONS,
    ),
    (
        "a changed count",
        |it| {
            it.alter_manifest(|manifest| manifest["outcomes"]["terminated"] = 2.into());
        },
        MANIFEST,
    ),
    (
        "another policy",
        |it| {
            it.alter_manifest(|manifest| {
                manifest["sweep"]["policy"]["sha256"] = "0".repeat(64).into();
            });
        },
        DECISIONS,
    ),
    (
        "a second outcome, with hashes corrected",
        |it| {
            it.alter_lines(OUTCOMES, |lines| lines.push(lines[0].clone()));
            it.correct_digests();
        },
        OUTCOMES,
    ),
    (
        "an outcome without a decision, with hashes corrected",
        |it| {
            it.alter_lines(OUTCOMES, |lines| {
                lines[0] = lines[0].replace("user-6-0abc", "user-9-0abc");
            });
            it.correct_digests();
        },
        OUTCOMES,
    ),
    (
        "another account",
        |it| {
            let from = it.root.join("account=111122223333");
            fs::rename(from, it.root.join("account=444455556666")).expect("a folder");
        },
        MANIFEST,
    ),
    (
        "another day",
        |it| {
            let day = it.sweeps[0].parent().expect("a day");
            fs::rename(day, day.with_file_name("day=2026-03-01")).expect("a folder");
        },
        MANIFEST,
    ),
];

/// Each of these is found, with the file in which it shows.
#[tokio::test]
async fn alterations_are_found() {
    for (index, (name, alter, file)) in ALTERATIONS.into_iter().enumerate() {
        let evidence = Evidence::new(&format!("altered-{index}"));
        alter(&evidence);
        let Output { status, stdout, stderr } = evidence.verify(&[]).await;
        assert_eq!((status, stderr.as_str()), (Some(4), ""), "{name}: {stdout}");
        assert!(stdout.contains("altered: account="), "{name}: {stdout}");
        assert!(stdout.contains(&format!("\n  {file}: ")), "{name}: {stdout}");
        let json = evidence.verify(&["--output", "json"]).await;
        let json: Value = serde_json::from_str(&json.stdout).expect("JSON");
        let n_altered = if ["swapped files", "another account"].contains(&name) { 2 } else { 1 };
        assert_eq!(json["altered"], n_altered, "{name}");
    }
}

/// Evidence as it was written is verified, from the root or from one sweep's folder.
#[tokio::test]
async fn unaltered() {
    let evidence = Evidence::new("unaltered");
    sweep(&evidence.root, "2026-03-04T12:00:00Z", Mode::DryRun);
    let Output { status, stdout, stderr } = evidence.verify(&[]).await;
    let expected = "3 sweeps: 3 verified, 0 incomplete, 0 altered; 6 sessions terminated\n";
    assert_eq!((status, stdout.as_str(), stderr.as_str()), (Some(0), expected, ""));
    let one = evidence.sweeps[0].to_str().expect("UTF-8");
    let output = reapctl(&["verify-evidence", one], &[]).await;
    assert_eq!(output.status, Some(0), "{}", output.stdout);
    assert!(output.stdout.starts_with("1 sweep: 1 verified"), "{}", output.stdout);
}

/// A sweep that was killed leaves no manifest: it is no alteration, and what is known is said.
#[tokio::test]
async fn incomplete() {
    for (missing, said) in [
        (
            &[OUTCOMES, MANIFEST] as &[_],
            "any of the 3 sessions with the action `terminate` may have been",
        ),
        (&[MANIFEST], "there is no manifest: the sweep had verified its outcomes"),
    ] {
        let evidence = Evidence::new(&format!("incomplete-{}", missing.len()));
        for it in missing {
            fs::remove_file(evidence.file(it)).expect("a file");
        }
        let Output { status, stdout, .. } = evidence.verify(&[]).await;
        assert_eq!(status, Some(5), "{stdout}");
        assert!(stdout.contains(said), "{stdout}");
        assert!(stdout.contains("1 verified, 1 incomplete, 0 altered"), "{stdout}");
    }
}

/// Whoever can replace every file can make them agree: only a lock of the bucket prevents that. The
/// hash of the manifest in the log and the reply is no longer right.
#[tokio::test]
async fn consistent_rewrite() {
    let evidence = Evidence::new("rewritten");
    let before = sha256(&fs::read(evidence.file(MANIFEST)).expect("a file"));
    for name in [DECISIONS, OUTCOMES] {
        evidence.alter_lines(name, |lines| {
            for it in lines {
                *it = it.replace("role/dev/user-6", "role/dev/user-7");
            }
        });
    }
    evidence.correct_digests();
    assert_eq!(evidence.verify(&[]).await.status, Some(0));
    assert_ne!(sha256(&fs::read(evidence.file(MANIFEST)).expect("a file")), before);
}

/// What is no evidence is an error, or told.
#[tokio::test]
async fn no_evidence() {
    let evidence = Evidence::new("none");
    let day = evidence.sweeps[0].parent().expect("a day");
    fs::write(day.join("notes.txt"), "x").expect("a file");
    let output = evidence.verify(&[]).await;
    assert_eq!(output.status, Some(0), "{}", output.stdout);
    assert!(output.stderr.contains("notes.txt` is in no sweep's folder"), "{}", output.stderr);
    fs::remove_dir_all(&evidence.root).expect("a folder");
    assert_eq!(evidence.verify(&[]).await.status, Some(1), "there is no such folder");
    fs::create_dir_all(&evidence.root).expect("a folder");
    assert_eq!(evidence.verify(&[]).await.status, Some(2), "there is none in it");
}

/// One OCSF event for each session that was terminated. Its numbers are those that no schema checks: the
/// type, and milliseconds.
#[tokio::test]
async fn ocsf() {
    let evidence = Evidence::new("ocsf");
    let Output { status, stdout, stderr } = evidence.verify(&["--output", "ocsf"]).await;
    assert_eq!((status, stderr.as_str()), (Some(0), ""));
    check_golden("ocsf.jsonl", &stdout);
    let events: Vec<Value> =
        stdout.lines().map(|it| serde_json::from_str(it).expect("JSON")).collect();
    assert_eq!(events.len(), 6);
    let at = |it: &str| it.parse::<Timestamp>().expect("an instant").as_millisecond();
    for event in &events {
        let number = |name: &str| event[name].as_i64().expect("a number");
        assert_eq!(number("type_uid"), 300_202);
        assert_eq!(number("type_uid"), number("class_uid") * 100 + number("activity_id"));
        assert_eq!(number("category_uid"), number("class_uid") / 1_000);
    }
    assert_eq!(events[0]["time"], at("2026-03-02T12:00:02.5Z"));
    assert_eq!(events[0]["session"]["created_time"], at("2026-03-02T07:00:00Z"));
    let mut ids: Vec<_> = events.iter().map(|it| it["metadata"]["uid"].to_string()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 6);
}

/// A served emulator with this evidence in its bucket `audit`, below `evidence/`, and the variables to reach it.
async fn bucket(evidence: &Evidence) -> (Emulator, [(&'static str, String); 4]) {
    let emulator = Emulator::new(Fleet::default());
    let mut folders = vec![evidence.root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let key = path.strip_prefix(&evidence.root).expect("below it").to_str().expect("UTF-8");
            let content = fs::read(&path).expect("a file");
            emulator.put_object("audit", &format!("evidence/{key}"), content);
        }
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(serve(listener, emulator.clone()));
    let variables = [
        ("AWS_ACCESS_KEY_ID", "auditor".into()),
        ("AWS_SECRET_ACCESS_KEY", "secret".into()),
        ("AWS_REGION", "eu-west-1".into()),
        ("AWS_ENDPOINT_URL", url),
    ];
    (emulator, variables)
}

async fn verify_at(at: &str, more: &[&str], variables: &[(&'static str, String)]) -> Output {
    let variables: Vec<_> = variables.iter().map(|(name, it)| (*name, it.as_str())).collect();
    reapctl(&[&["verify-evidence", at], more].concat(), &variables).await
}

/// In its bucket, evidence is read page by page, and found to be what the copy of it on a disk is. No other
/// permissions are needed than those to list and read.
#[tokio::test]
async fn in_a_bucket() {
    let evidence = Evidence::new("bucket");
    for i in 0..20 {
        let at = "2026-04-01T00:00:00Z".parse::<Timestamp>().expect("an instant");
        let at = at + SignedDuration::from_mins(5 * i);
        sweep(&evidence.root, &at.to_string(), Mode::DryRun);
    }
    evidence.alter_lines(OUTCOMES, |lines| drop(lines.pop()));
    fs::remove_file(evidence.sweeps[1].join(MANIFEST)).expect("a file");
    for i in 0..1_000 {
        // More than a page of keys.
        fs::write(evidence.sweeps[1].join(format!("a + b & c%{i}.txt")), "x").expect("a file");
    }
    fs::write(evidence.root.join("notes <1>.txt"), "x").expect("a file");
    let (emulator, variables) = bucket(&evidence).await;
    for more in [["--output", "text"], ["--output", "json"], ["--output", "ocsf"]] {
        let copied = evidence.verify(&more).await;
        let read = verify_at("s3://audit/evidence", &more, &variables).await;
        assert_eq!((read.status, copied.status), (Some(4), Some(4)), "{}", read.stderr);
        assert!(read.stdout == copied.stdout, "{more:?}");
        assert!(
            read.stderr.contains("`s3://audit/evidence/notes <1>.txt` is in no sweep's folder")
        );
    }
    let calls = emulator.calls();
    let of = |operation: &str| calls.iter().filter(|it| it.operation == operation).count();
    assert_eq!((of("ListObjectsV2"), of("GetObject")), (2 * 3, (3 * 22 - 1) * 3));
    assert_eq!(calls.len(), of("ListObjectsV2") + of("GetObject") + of("GetCallerIdentity"));
    let guide = include_str!("../../../docs/evidence.md");
    let (_, policy) = guide.split_once("```json\n").expect("a policy");
    let (policy, _) = policy.split_once("```").expect("its end");
    let policy: Value = serde_json::from_str(policy).expect("JSON");
    let actions: Vec<_> = policy["Statement"].as_array().expect("a list").iter().collect();
    let actions: Vec<_> = actions.iter().map(|it| it["Action"].as_str()).collect();
    assert_eq!(actions, [Some("s3:ListBucket"), Some("s3:GetObject")]);

    let first = evidence.sweeps[0].strip_prefix(&evidence.root).expect("below it");
    for (at, status, text) in [
        (format!("s3://audit/evidence/{}", first.display()), 4, "1 sweep: 0 verified"),
        (
            "s3://audit/evidence/account=111122223333/region=eu-west-1/day=2026-04-01".into(),
            0,
            "20 sweeps",
        ),
        ("s3://audit".into(), 4, "22 sweeps"),
        ("s3://audit/other/".into(), 2, "there is no evidence in `s3://audit/other/`"),
        ("s3://".into(), 2, "write `s3://BUCKET`"),
    ] {
        let read = verify_at(&at, &[], &variables).await;
        assert_eq!(read.status, Some(status), "{at}: {}", read.stderr);
        assert!([read.stdout, read.stderr].concat().contains(text), "{at}");
    }
}

/// What S3 refuses, or does not answer, is an error that names the permission, and nothing is called verified.
#[tokio::test]
async fn bucket_refuses() {
    let evidence = Evidence::new("refused");
    let (emulator, variables) = bucket(&evidence).await;
    for (operation, action) in [("ListObjectsV2", "s3:ListBucket"), ("GetObject", "s3:GetObject")] {
        let cut = Fault::new(operation, 1, FaultKind::CutOff);
        emulator.set_faults(vec![cut, Fault::new(operation, 2, FaultKind::Throttle)]);
        let read = verify_at("s3://audit/evidence", &[], &variables).await;
        assert_eq!(read.status, Some(0), "it is asked again: {}", read.stderr);
        emulator.set_faults(vec![Fault::new(operation, 1, FaultKind::Deny).always()]);
        let read = verify_at("s3://audit/evidence", &[], &variables).await;
        assert_eq!((read.status, read.stdout.as_str()), (Some(1), ""), "{}", read.stderr);
        assert!(read.stderr.contains(action), "{}", read.stderr);
    }
}
