//! The command line, through the binary.

#![expect(clippy::expect_used, reason = "a test that panics has failed")]

use std::{fs, path::Path, process::Stdio, time::Duration};

use aws_sdk_ssm::config::{BehaviorVersion, Credentials, Region};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpListener,
    process::Command,
    time::timeout,
};

struct Output {
    status: Option<i32>,
    stdout: String,
    stderr: String,
}

async fn reapctl(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reapctl"));
    command.args(arguments).env_clear().envs(variables.iter().copied()).kill_on_drop(true);
    let output = timeout(Duration::from_mins(1), command.output()).await.expect("it ends");
    let output = output.expect("it starts");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Output {
        status: output.status.code(),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

/// The text with the one figure that differs from run to run replaced.
fn without_seconds(text: &str) -> String {
    let mask = |line: &str| match line.rsplit_once(" API calls, ") {
        Some((before, _)) => format!("{before} API calls, N s."),
        None => line.to_owned(),
    };
    text.lines().map(|line| mask(line) + "\n").collect()
}

#[tokio::test]
async fn the_demo_shows_the_fleet_the_verdicts_and_what_became_of_them() {
    let Output { status, stdout, stderr } = reapctl(&["demo"], &[]).await;
    assert_eq!((status, stderr.as_str()), (Some(0), ""));
    assert_eq!(without_seconds(&stdout), include_str!("demo.txt"));
}

#[tokio::test]
async fn colour_is_for_terminals_or_on_request() {
    for (variables, is_coloured) in [
        (vec![], false),
        (vec![("CLICOLOR_FORCE", "1")], true),
        (vec![("NO_COLOR", "1"), ("TERM", "xterm-256color")], false),
    ] {
        let output = reapctl(&["demo"], &variables).await;
        assert_eq!(output.stdout.contains('\u{1b}'), is_coloured, "{variables:?}");
    }
}

#[tokio::test]
async fn the_emulator_serves_the_sdk_until_it_is_ended() {
    let fleet = &write("fleet.yaml", "sessions: [{ id: a-1, age: 2h }, { id: b-1, age: 1h }]");
    let mut child = Command::new(env!("CARGO_BIN_EXE_reapctl"))
        .args(["emulate", "--port", "0", "--fleet", fleet])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let first = lines.next_line().await.expect("text").expect("a line");
    let (_, address) = first.split_once("http://").expect("an address");
    let address = address.split_once(". ").expect("a sentence").0;

    let config = aws_sdk_ssm::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .credentials_provider(Credentials::new("emulator", "emulator", None, None, "test"))
        .endpoint_url(format!("http://{address}"))
        .build();
    let client = aws_sdk_ssm::Client::from_conf(config);
    client.terminate_session().session_id("a-1").send().await.expect("an answer");
    let page = client.describe_sessions().state("Active".into()).send().await.expect("a page");
    let ids: Vec<_> = page.sessions().iter().filter_map(|it| it.session_id()).collect();
    assert_eq!(ids, ["b-1"]);
}

#[tokio::test]
async fn check_shows_every_error_in_its_line() {
    let policy = write(
        "policy.yaml",
        "version: 1\ntag_keys: [env]\nrules:\n  - id: a\n    when: { target_tag: { env: prod } }\n    \
         require: { max_age: 8 hours, owner: [alice] }\nlimits: { trip_above: 150% }\n",
    );
    let Output { status, stdout, stderr } = reapctl(&["check", &policy], &[]).await;
    assert_eq!((status, stderr.as_str()), (Some(2), ""));
    assert_eq!(stdout.replace(&policy, "policy.yaml"), include_str!("check.txt"));

    let output = reapctl(&["check", &policy, "--output", "json"], &[]).await;
    assert_eq!(output.status, Some(2));
    let json: serde_json::Value = serde_json::from_str(&output.stdout).expect("JSON");
    let places: Vec<_> = json["errors"].as_array().expect("a list").iter().collect();
    assert_eq!(places.len(), 4);
    assert_eq!((&places[0]["line"], &places[0]["column"]), (&5.into(), &13.into()));
}

#[tokio::test]
async fn check_shows_where_yaml_ends_and_warns_of_what_is_probably_not_meant() {
    let broken = write("broken.yaml", "version: 1\nrules: [\n");
    let output = reapctl(&["check", &broken], &[]).await;
    assert!(output.stdout.contains("2 | rules: ["), "{}", output.stdout);

    let empty = write("empty.yaml", "version: 1\n");
    let output = reapctl(&["check", &empty], &[]).await;
    assert_eq!(output.status, Some(0));
    assert!(output.stdout.starts_with("warning: the policy has no rules"), "{}", output.stdout);
    assert!(output.stdout.ends_with("empty.yaml is valid\n"), "{}", output.stdout);
}

#[tokio::test]
async fn the_example_policies_are_valid() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
    for file in fs::read_dir(folder).expect("policies/") {
        let path = file.expect("a file").path();
        let output = reapctl(&["check", path.to_str().expect("UTF-8")], &[]).await;
        assert_eq!(output.status, Some(0), "{}", output.stdout);
    }
}

/// A file of this test's own; its path.
fn write(name: &str, text: &str) -> String {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, text).expect("a file");
    path.to_str().expect("UTF-8").to_owned()
}

#[tokio::test]
async fn errors_say_what_and_where() {
    let taken = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let fleet = &write("bad-fleet.yaml", "sessions:\n  - { idd: a-1 }\n");
    for (arguments, status, message) in [
        (vec!["emulate", "--port", &port], 1, "choose another with `--port`"),
        (vec!["emulate", "--fleet", "/none.yaml"], 1, "cannot read `/none.yaml`"),
        (vec!["emulate", "--fleet", fleet], 1, "unknown field `idd`"),
        (vec!["emulate", "--fleet", fleet], 1, "line 2"),
        (vec!["emulate", "--port", "x"], 2, "invalid value 'x' for '--port <PORT>'"),
        (vec!["check", "/none.yaml"], 1, "cannot read `/none.yaml`"),
        (vec!["reap"], 2, "unrecognized subcommand 'reap'"),
        (vec![], 2, "Usage: reapctl"),
    ] {
        let output = reapctl(&arguments, &[]).await;
        assert_eq!(output.status, Some(status), "{arguments:?}");
        assert!(output.stderr.contains(message), "{arguments:?}: {}", output.stderr);
    }
}
