//! Whom `sweep` and `lock` end when the world changes meanwhile, and what they claim.

use std::{collections::BTreeMap, fs, path::Path, process::Stdio};

use jiff::SignedDuration;
use rexpect::process::WaitStatus;
use serde_json::Value;
use session_manager_emulator::{Emulator, Fleet, Seed, serve};
use tokio::{net::TcpListener, process::Command, task::spawn_blocking};

use crate::{Output, assert_exited, at_the_prompt, reapctl, variables, write};

/// An emulator on a socket, and its address.
async fn served(fleet: &str) -> (Emulator, String) {
    let emulator = Emulator::new(Fleet::parse(fleet).expect("a fleet"));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(serve(listener, emulator.clone()));
    (emulator, url)
}

/// Faster than AWS allows.
async fn run(url: &str, words: &[&str]) -> Output {
    reapctl(&[words, &["--calls-per-second", "100"]].concat(), &variables(url)).await
}

/// Runs a command on a terminal. When it asks, this happens, and then the answer is yes.
async fn confirmed(
    url: &str,
    words: String,
    question: &'static str,
    meanwhile: impl FnOnce() + Send + 'static,
) -> (String, WaitStatus) {
    let (url, words) = (url.to_owned(), format!("{words} --calls-per-second 100"));
    let run = move || at_the_prompt(&variables(&url), &words, question, meanwhile, "y\n");
    spawn_blocking(run).await.expect("a screen")
}

/// A disconnected session of `role/dev/NAME`, on a target of its own.
fn seed(name: &str) -> Seed {
    Seed {
        id: Some(format!("{name}-1")),
        owner: Some(format!("arn:aws:sts::123456789012:assumed-role/dev/{name}")),
        target: Some(format!("i-0aa00000000000{name}")),
        age: Some(SignedDuration::from_hours(2)),
        status: Some("Disconnected".into()),
        ..Seed::default()
    }
}

/// The same in a fleet's file, with further fields.
fn row(name: &str, fields: &str) -> String {
    let owner = format!("arn:aws:sts::123456789012:assumed-role/dev/{name}");
    let target = format!("i-0aa00000000000{name}");
    format!("{{ id: {name}-1, owner: \"{owner}\", target: {target}, age: 2h, {fields} }}")
}

fn zombies(names: &[&str]) -> String {
    let rows: Vec<_> = names.iter().map(|it| row(it, "status: Disconnected")).collect();
    format!("sessions: [{}]\n", rows.join(", "))
}

const POLICY: &str = r#"
version: 1
tag_keys: [keep]
untagged: no-tags
rules: [{ id: zombies, when: { status: Disconnected }, require: { max_age: 30m } }]
exemptions: [{ id: tagged, when: { target_tags: { keep: "true" } } }]
"#;

const PARAMETER: &str = "--policy-parameter /policy";

fn keep() -> BTreeMap<String, String> {
    [("keep".to_owned(), "true".to_owned())].into()
}

#[tokio::test]
async fn a_sweep_ends_only_who_was_shown_and_still_violates_the_policy() {
    let (emulator, url) = served(&zombies(&["res", "tag", "old"])).await;
    emulator.set_parameter("/policy", POLICY);
    let world = emulator.clone();
    let words = format!("sweep {PARAMETER} --enforce");
    let meanwhile = move || {
        world.set_status("res-1", "Connected");
        world.set_tags("i-0aa00000000000tag", Some(keep()));
        world.start(seed("new"));
    };
    let (screen, status) = confirmed(&url, words, "End 3 sessions? [y/N]", meanwhile).await;
    assert_exited(status, 3, &screen);
    assert!(screen.contains("1 terminated, 1 held"), "{screen}");
    assert!(screen.contains("held (not_shown)"), "{screen}");
    let mut left = emulator.active_ids();
    left.sort();
    assert_eq!(left, ["new-1", "res-1", "tag-1"], "{screen}");
}

#[tokio::test]
async fn a_policy_that_is_paused_while_the_question_stands_ends_nobody() {
    let paused = format!("{POLICY}paused: true\n");
    for is_file in [false, true] {
        let path = write("meanwhile.policy.yaml", POLICY);
        let place = if is_file { format!("--policy {path}") } else { PARAMETER.into() };
        let (emulator, url) = served(&zombies(&["old"])).await;
        emulator.set_parameter("/policy", POLICY);
        let (world, paused) = (emulator.clone(), paused.clone());
        let meanwhile = move || {
            world.set_parameter("/policy", &paused);
            fs::write(path, paused).expect("a file");
        };
        let words = format!("sweep {place} --enforce");
        let (screen, status) = confirmed(&url, words, "End 1 session? [y/N]", meanwhile).await;
        assert_exited(status, 3, &screen);
        assert!(screen.contains("held (paused)"), "{screen}");
        assert_eq!(emulator.active_ids(), ["old-1"], "{screen}");
    }
}

#[tokio::test]
async fn a_policy_from_a_pipe_is_read_once() {
    let (emulator, url) = served(&zombies(&["old"])).await;
    let path = concat!(env!("CARGO_TARGET_TMPDIR"), "/policy.pipe");
    drop(fs::remove_file(path));
    let made = Command::new("mkfifo").arg(path).status().await.expect("it starts");
    assert!(made.success());
    let written = spawn_blocking(move || fs::write(path, POLICY));
    let words = format!("sweep --policy {path} --enforce");
    let (screen, status) = confirmed(&url, words, "End 1 session? [y/N]", || {}).await;
    assert_exited(status, 0, &screen);
    written.await.expect("an end").expect("a pipe");
    assert_eq!(emulator.active_ids(), [""; 0]);
}

#[tokio::test]
async fn no_filter_makes_a_sweep_end_fewer() {
    let (emulator, url) = served(&zombies(&["old"])).await;
    let policy = &write("filtered.policy.yaml", POLICY);
    for filter in
        [["--owner", "user/x"], ["--target", "i-1"], ["--rule", "zombies"], ["--only", "violation"]]
    {
        let words = [&["sweep", "--policy", policy, "--enforce", "--yes"], &filter[..]].concat();
        let output = run(&url, &words).await;
        assert_eq!((output.status, output.stdout.as_str()), (Some(2), ""), "{filter:?}");
        assert!(output.stderr.contains("`reapctl lock OWNER`"), "{}", output.stderr);
        let dry = [&["sweep", "--policy", policy], &filter[..]].concat();
        assert_eq!(run(&url, &dry).await.status, Some(3), "{filter:?}");
    }
    assert_eq!(emulator.active_ids(), ["old-1"]);
}
