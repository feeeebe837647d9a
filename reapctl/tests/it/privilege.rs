//! `docs/operations.md` allows operators what their commands call, and nothing else.

use std::{collections::BTreeSet, fs, path::Path};

use jiff::SignedDuration;
use serde_json::Value;
use session_manager_emulator::{Emulator, Fleet, Seed, serve};
use tokio::net::TcpListener;

use crate::{STARTER, reapctl, write};

/// What listing needs, what terminating sessions needs besides, and what assuming a role needs.
fn documented() -> [BTreeSet<String>; 3] {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md");
    let text = fs::read_to_string(path).expect("text");
    let (_, section) = text.split_once("## What an operator's credentials need").expect("it");
    let mut blocks = section.split("```json\n").skip(1).filter_map(|it| it.split("```").next());
    let mut actions = || {
        let policy: Value = serde_json::from_str(blocks.next().expect("a block")).expect("JSON");
        let statements = policy["Statement"].as_array().expect("a list").clone();
        let of = |it: &Value| {
            let action = &it["Action"];
            action.as_array().cloned().unwrap_or_else(|| vec![action.clone()])
        };
        let actions = statements.iter().flat_map(of);
        actions.filter_map(|it| it.as_str().map(str::to_owned)).collect()
    };
    [actions(), actions(), actions()]
}

/// The starter policy, and a rule that depends on the types of documents.
fn by_type() -> String {
    let starter = fs::read_to_string(STARTER).expect("a policy");
    let rule = "rules:\n  - { id: no-tunnels, when: { session_type: Port }, forbid: true }";
    starter.replacen("rules:", rule, 1)
}

/// What a command calls, on the demo's fleet and a tunnel by a document of the account's own.
async fn called(arguments: &[&str]) -> BTreeSet<String> {
    let mut fleet = Fleet::parse(include_str!("../../demo/fleet.yaml")).expect("a fleet");
    fleet.documents.insert("Team-DbTunnel".into(), "Port".into());
    let tunnel = Seed {
        id: Some("tunnel".into()),
        age: Some(SignedDuration::from_mins(1)),
        document: Some("Team-DbTunnel".into()),
        ..fleet.sessions[0].clone()
    };
    fleet.sessions.push(tunnel);
    let emulator = Emulator::new(Fleet { faults: Vec::new(), ..fleet });
    emulator.set_parameter("/policy", &by_type());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(serve(listener, emulator.clone()));
    let variables = [
        ("AWS_ACCESS_KEY_ID", "emulator"),
        ("AWS_SECRET_ACCESS_KEY", "emulator"),
        ("AWS_REGION", "eu-central-1"),
        ("AWS_ENDPOINT_URL", &url),
    ];
    let output = reapctl(arguments, &variables).await;
    let calls = emulator.calls();
    assert!(calls.iter().all(|it| it.status == Some(200)), "{arguments:?}: {}", output.stderr);
    let action = |operation: &str| match operation {
        "GetCallerIdentity" => None, // It needs no permission.
        "AssumeRole" => Some("sts:AssumeRole".into()),
        "GetResources" => Some(format!("tag:{operation}")),
        "ListObjectsV2" => Some("s3:ListBucket".into()),
        _ => Some(format!("ssm:{operation}")),
    };
    calls.iter().filter_map(|it| action(&it.operation)).collect()
}

/// The commands whose help has this option.
async fn with_option(option: &str) -> BTreeSet<String> {
    let help = reapctl(&["--help"], &[]).await.stdout;
    let (_, list) = help.split_once("Commands:\n").expect("a list");
    let lines = list.lines().take_while(|it| !it.is_empty());
    let mut found = BTreeSet::new();
    for name in lines.filter_map(|it| it.strip_prefix("  ")?.split(' ').next()) {
        // Lines that go on have no name.
        if !name.is_empty() && reapctl(&[name, "--help"], &[]).await.stdout.contains(option) {
            found.insert(name.into());
        }
    }
    found
}

/// The permissions documented for operators are exactly those that their commands need.
#[tokio::test]
async fn documented_permissions() {
    const POLICY: [&str; 2] = ["--policy-parameter", "/policy"];
    const ROLE: [&str; 2] =
        ["--role-arn", "arn:aws:iam::123456789012:role/session-reaper-operator"];
    const PACE: [&str; 2] = ["--calls-per-second", "100"];
    let [listing, documented_terminating, assuming] = documented();
    let all: BTreeSet<String> = listing.union(&documented_terminating).cloned().collect();
    let session = "amara-0a1b2c3d4e5f60001";
    let log = write("privilege.jsonl", "");
    let mut tried = BTreeSet::new();
    let mut called = async |arguments: &[&str]| {
        tried.insert(arguments[0].to_owned());
        called(arguments).await
    };
    for (arguments, expected) in [
        (vec!["plan"], &listing),
        (vec!["explain", session], &listing),
        (vec!["sweep"], &listing),
        (vec!["lock", "user/amara"], &listing),
        (vec!["sweep", "--enforce", "--yes"], &all),
        (vec!["lock", "user/amara", "--enforce", "--yes", "--log", &log], &all),
    ] {
        let actual = called(&[&arguments[..], &POLICY, &PACE].concat()).await;
        let is_complete = arguments.len() == 1 || arguments[0] == "sweep";
        assert!(actual.is_subset(expected), "{arguments:?}: {actual:?}");
        assert!(!is_complete || actual == *expected, "{arguments:?}: {actual:?}");
        let may_terminate = actual.contains("ssm:TerminateSession");
        assert_eq!(may_terminate, arguments.contains(&"--enforce"), "{arguments:?}");
    }

    let backtest = called(&[&["backtest", STARTER][..], &PACE].concat()).await;
    let listed = called(&["describe-sessions", "--state", "Active"]).await;
    let terminating = called(&["terminate-session", "--session-id", session]).await;
    assert!(backtest.contains("tag:GetResources") && backtest.is_subset(&listing), "{backtest:?}");
    assert!(listed.is_subset(&listing) && listed.len() == 1, "{listed:?}");
    assert_eq!(terminating, documented_terminating);
    // `evidence::in_a_bucket` compares what an auditor needs.
    let verifying = called(&["verify-evidence", "s3://audit"]).await;
    assert_eq!(verifying, ["s3:ListBucket".to_owned()].into());

    assert_eq!(tried, with_option("--endpoint-url").await, "every command that reaches AWS");

    // The caller's call, and the role's.
    let mut assumed = BTreeSet::new();
    for arguments in [
        &["plan", "--policy", STARTER][..],
        &["sweep", "--policy", STARTER],
        &["explain", "--policy", STARTER, session],
        &["lock", "user/amara", "--policy", STARTER],
        &["backtest", STARTER],
    ] {
        let mut called = self::called(&[arguments, &ROLE, &PACE].concat()).await;
        let of_caller = called.extract_if(.., |it| it.starts_with("sts:")).collect();
        assert_eq!(assuming, of_caller, "{arguments:?}");
        assert!(called.is_subset(&listing) && !called.is_empty(), "{arguments:?}: {called:?}");
        assumed.insert(arguments[0].to_owned());
    }
    assumed.insert("verify-evidence".into());
    assert_eq!(assumed, with_option("--role-arn").await);
}
