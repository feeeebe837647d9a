//! Which sessions `sweep` and `lock` terminate if sessions or the policy change meanwhile.

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
assume: { tags: none }
rules: [{ id: zombies, when: { status: [Disconnected, Terminating] }, require: { max_age: 30m } }]
exemptions: [{ id: tagged, when: { target_tags: { keep: "true" } } }]
"#;

const PARAMETER: &str = "--policy-parameter /policy";

fn keep() -> BTreeMap<String, String> {
    [("keep".to_owned(), "true".to_owned())].into()
}

/// A sweep terminates only sessions that were shown and still violate the policy.
#[tokio::test]
async fn sweep_terminates_what_was_confirmed() {
    let (emulator, url) = served(&zombies(&["res", "tag", "old"])).await;
    emulator.set_parameter("/policy", POLICY);
    let world = emulator.clone();
    let words = format!("sweep {PARAMETER} --enforce");
    let meanwhile = move || {
        world.set_status("res-1", "Connected");
        world.set_tags("i-0aa00000000000tag", Some(keep()));
        world.start(seed("new"));
    };
    let (screen, status) = confirmed(&url, words, "Terminate 3 sessions? [y/N]", meanwhile).await;
    assert_exited(status, 3, &screen);
    assert!(screen.contains("1 terminated, 1 deferred"), "{screen}");
    assert!(screen.contains("deferred (not_confirmed)"), "{screen}");
    let mut left = emulator.active_ids();
    left.sort();
    assert_eq!(left, ["new-1", "res-1", "tag-1"], "{screen}");
}

/// By then half of the limit is for sessions that started earlier.
#[tokio::test]
async fn confirmed_before_rotated() {
    for (limit, terminated, left) in
        [(2, 2, &["aaa-1", "bbb-1"][..]), (1, 1, &["aaa-1", "bbb-1", "new-1"])]
    {
        let limits = |max| format!("{POLICY}limits: {{ max_terminations: {max} }}\n");
        let (emulator, url) = served(&zombies(&["old"])).await;
        emulator.start(Seed { age: Some(SignedDuration::from_hours(1)), ..seed("new") });
        emulator.set_parameter("/policy", &limits(2));
        let world = emulator.clone();
        let meanwhile = move || {
            for name in ["aaa", "bbb"] {
                world.start(Seed { age: Some(SignedDuration::from_hours(9)), ..seed(name) });
            }
            world.set_parameter("/policy", &limits(limit));
        };
        let words = format!("sweep {PARAMETER} --enforce");
        let (screen, status) =
            confirmed(&url, words, "Terminate 2 sessions? [y/N]", meanwhile).await;
        assert_exited(status, 3, &screen);
        assert!(
            screen.contains(&format!("{terminated} terminated, {} deferred", 4 - terminated)),
            "{screen}"
        );
        let mut active = emulator.active_ids();
        active.sort();
        assert_eq!(active, left, "{screen}");
    }
}

/// If the policy is paused while the question waits, no session is terminated.
#[tokio::test]
async fn paused_while_asking() {
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
        let (screen, status) =
            confirmed(&url, words, "Terminate 1 session? [y/N]", meanwhile).await;
        assert_exited(status, 3, &screen);
        assert!(screen.contains("deferred (paused)"), "{screen}");
        assert_eq!(emulator.active_ids(), ["old-1"], "{screen}");
    }
}

/// A policy from a pipe is read once.
#[tokio::test]
async fn policy_from_a_pipe() {
    let (emulator, url) = served(&zombies(&["old"])).await;
    let path = concat!(env!("CARGO_TARGET_TMPDIR"), "/policy.pipe");
    drop(fs::remove_file(path));
    let made = Command::new("mkfifo").arg(path).status().await.expect("it starts");
    assert!(made.success());
    let written = spawn_blocking(move || fs::write(path, POLICY));
    let words = format!("sweep --policy {path} --enforce");
    let (screen, status) = confirmed(&url, words, "Terminate 1 session? [y/N]", || {}).await;
    assert_exited(status, 0, &screen);
    written.await.expect("an end").expect("a pipe");
    assert_eq!(emulator.active_ids(), [""; 0]);
}

/// Options that filter the output are refused with `--enforce`.
#[tokio::test]
async fn filters_are_refused() {
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

/// A lock first terminates the sessions that were shown, then those that started meanwhile.
#[tokio::test]
async fn lock_terminates_what_was_confirmed_first() {
    let (emulator, url) = served(&zombies(&["tag", "old"])).await;
    emulator.set_parameter("/policy", POLICY);
    let log = write("meanwhile.jsonl", "");
    let words = format!("lock role/dev {PARAMETER} --enforce --log {log}");
    let world = emulator.clone();
    let meanwhile = move || {
        world.set_tags("i-0aa00000000000tag", Some(keep()));
        world.start(seed("new"));
    };
    let question = "Terminate 2 sessions? [y/N]";
    let (screen, status) = confirmed(&url, words.clone(), question, meanwhile).await;
    assert_exited(status, 0, &screen);
    assert_eq!(emulator.active_ids(), ["tag-1"], "{screen}");
    let (before, after) = screen.split_once("deferred (not_confirmed)").expect("its turn is later");
    assert!(before.contains(question) && after.contains(" terminated"), "{screen}");

    emulator.start(seed("ops"));
    let world = emulator.clone();
    let exempt = POLICY.replace("exemptions: [", "exemptions: [{ id: all, when: all }, ");
    let meanwhile = move || world.set_parameter("/policy", &exempt);
    let (screen, status) = confirmed(&url, words, "Terminate 1 session? [y/N]", meanwhile).await;
    assert_exited(status, 0, &screen);
    let mut left = emulator.active_ids();
    left.sort();
    assert_eq!(left, ["ops-1", "tag-1"], "exempt by now: {screen}");
}

/// `lock role/dev`, of all of whose words only the time differs.
async fn lock(name: &str, fleet: &str, time: &str) -> (Output, Emulator) {
    let (emulator, url) = served(fleet).await;
    let policy = &write(&format!("{name}.policy.yaml"), "version: 1\n");
    let log = &write(&format!("{name}.jsonl"), "");
    let lock = ["lock", "role/dev", "--policy", policy, "--enforce", "--yes", "--log", log];
    (run(&url, &[&lock[..], &["--for", time]].concat()).await, emulator)
}

/// A lock says that no session is left only after a listing that shows none.
#[tokio::test]
async fn lock_lists_last() {
    // The listings: sessions to terminate, sessions that are gone, sessions that are left.
    let kind = format!("kind: {{ appear: {} }}", row("new", ""));
    let faults = format!("faults: [{{ operation: DescribeSessions, skip: 2, times: 1, {kind} }}]");
    let (output, emulator) = lock("last", &(zombies(&["old"]) + &faults), "4s").await;
    assert_eq!(output.status, Some(3), "{}{}", output.stdout, output.stderr);
    assert!(!output.stdout.contains("None of"), "{}", output.stdout);
    assert!(output.stderr.contains("error: after 4s some sessions are"), "{}", output.stderr);
    assert_eq!(emulator.active_ids(), ["new-1"]);

    let (output, emulator) = lock("last", &zombies(&["old"]), "4s").await;
    assert_eq!(output.status, Some(0), "{}{}", output.stdout, output.stderr);
    assert!(output.stdout.contains("None of these owners' sessions is left"), "{}", output.stdout);
    assert_eq!(emulator.calls().last().map(|it| &*it.operation), Some("DescribeSessions"));
}

/// A lock continues after an incomplete listing.
#[tokio::test]
async fn lock_retries_the_listing() {
    let faults = "faults: [{ operation: DescribeSessions, times: 5, kind: internal_error }]";
    let (output, emulator) = lock("incomplete", &(zombies(&["old"]) + faults), "30s").await;
    assert_eq!(output.status, Some(0), "{}{}", output.stdout, output.stderr);
    let warning = "warning: the listing is incomplete, so there may be more: `DescribeSessions`";
    assert_eq!(output.stderr.matches(warning).count(), 1, "{}", output.stderr);
    assert_eq!(emulator.active_ids(), [""; 0]);

    let faults = "faults: [{ operation: DescribeSessions, kind: deny }]";
    let (output, emulator) = lock("incomplete", &(zombies(&["old"]) + faults), "30s").await;
    assert_eq!(output.status, Some(1), "{}{}", output.stdout, output.stderr);
    assert!(output.stderr.contains("`DescribeSessions` was denied"), "{}", output.stderr);
    let n = emulator.calls().iter().filter(|it| it.operation == "DescribeSessions").count();
    assert_eq!(n, 1, "trying again is of no use");
}

/// A lock continues after a look-up of tags that failed.
#[tokio::test]
async fn lock_retries_the_lookup() {
    let policy = &write("look-up.policy.yaml", &POLICY.replace("no-tags", "unknown"));
    let log = &write("look-up.jsonl", "");
    let lock = ["lock", "role/dev", "--policy", policy, "--enforce", "--yes", "--log", log];
    let fleet = zombies(&["old"]) + "tags: { i-0aa00000000000old: { keep: \"false\" } }\n";
    for (fault, n_lookups, left) in [
        ("times: 5, kind: internal_error", 6, &[][..]),
        ("kind: deny", 1, &["old-1"]), // Trying again is of no use.
    ] {
        let faults = format!("faults: [{{ operation: GetResources, {fault} }}]");
        let (emulator, url) = served(&(fleet.clone() + &faults)).await;
        let output = run(&url, &[&lock[..], &["--for", "30s"]].concat()).await;
        let status = if left.is_empty() { 0 } else { 3 };
        assert_eq!(output.status, Some(status), "{}{}", output.stdout, output.stderr);
        let n_told = output.stderr.matches("warning: `GetResources`").count();
        assert_eq!(n_told, 1, "{}", output.stderr);
        let n = emulator.calls().iter().filter(|it| it.operation == "GetResources").count();
        assert!(n_lookups <= n && (left.is_empty() || n == n_lookups), "{n}");
        assert_eq!(emulator.active_ids(), left);
    }
}

/// A lock continues if IAM protects a session.
#[tokio::test]
async fn lock_continues_after_denial() {
    let kind = format!("kind: {{ appear: {} }}", row("new", ""));
    let faults = format!(
        "faults:\n  - {{ operation: TerminateSession, session: old-1, kind: deny }}\n  \
         - {{ operation: DescribeSessions, skip: 1, times: 1, {kind} }}\n"
    );
    let (output, emulator) = lock("protected", &(zombies(&["old"]) + &faults), "15s").await;
    assert_eq!(output.status, Some(3), "{}{}", output.stdout, output.stderr);
    let warning = "warning: every termination was denied: `TerminateSession` was denied";
    assert!(output.stderr.contains(warning), "{}", output.stderr);
    assert!(output.stderr.contains("error: after 15s some sessions are"), "{}", output.stderr);
    assert_eq!(emulator.active_ids(), ["old-1"]);
}

/// A log that cannot be written holds up no termination: it goes to the temporary folder, and if that
/// cannot be written either, to standard error.
#[tokio::test]
async fn lock_log_falls_back() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("lock-log-falls-back");
    drop(fs::remove_dir_all(&folder));
    fs::create_dir(&folder).expect("a folder");
    let policy = &write("lost.policy.yaml", "version: 1\n");
    for log in ["/dev/full", "/no/such/folder/log"] {
        for has_temporary in [true, false] {
            let (emulator, url) = served(&zombies(&["old"])).await;
            let temporary = if has_temporary { folder.as_path() } else { Path::new("/no/such") };
            let temporary = temporary.to_str().expect("UTF-8");
            let variables = [&variables(&url)[..], &[("TMPDIR", temporary)]].concat();
            let lock = ["lock", "role/dev", "--policy", policy, "--enforce", "--yes", "--log", log];
            let words = [&lock[..], &["--calls-per-second", "100"]].concat();
            let output = reapctl(&words, &variables).await;
            assert_eq!(output.status, Some(0), "{}{}", output.stdout, output.stderr);
            assert_eq!(emulator.active_ids(), [""; 0]);
            assert!(output.stderr.contains("warning: cannot "), "{}", output.stderr);
            let text = if has_temporary {
                let file = fs::read_dir(&folder).expect("a folder").next().expect("a log");
                let path = file.expect("a file").path();
                let text = fs::read_to_string(&path).expect("text");
                fs::remove_file(path).expect("it can be removed");
                text
            } else {
                output.stderr
            };
            assert!(text.contains("\"session terminated\""), "{log}: {text}");
        }
    }
}

/// The log starts with the round in which there is a session to terminate.
#[tokio::test]
async fn lock_log_starts_with_the_first_violation() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("rounds");
    drop(fs::remove_dir_all(&folder));
    fs::create_dir(&folder).expect("a folder");
    // In the first round nothing is known of the tags, and so no session is to be terminated.
    let fault = "faults: [{ operation: GetResources, times: 5, kind: internal_error }]";
    let (_emulator, url) = served(&(zombies(&["old"]) + fault)).await;
    let policy = &write("rounds.policy.yaml", POLICY);
    let output = Command::new(env!("CARGO_BIN_EXE_reapctl"))
        .args(["lock", "role/dev", "--policy", policy, "--enforce", "--yes", "--for", "60s"])
        .envs(variables(&url))
        .current_dir(&folder)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output();
    let output = output.await.expect("it starts");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let mut files = fs::read_dir(folder).expect("a folder").map(|it| it.expect("a file").path());
    let log = fs::read_to_string(files.next().expect("a log")).expect("text");
    let lines = log.lines().map(|it| serde_json::from_str::<Value>(it).expect("JSON"));
    let messages: Vec<_> = lines.map(|it| it["message"].to_string()).collect();
    let n = messages.iter().take_while(|it| *it == "\"session evaluated\"").count();
    assert_eq!(n, 1, "{messages:?}");
}

/// A session of 10 hours is compliant with 12. By a clock that is 3 hours ahead of AWS's it is not, so
/// no command goes by that clock.
#[tokio::test]
async fn wrong_clock_terminates_nothing() {
    let policy = write(
        "clock.yaml",
        "version: 1\nrules: [{ id: twelve-hours, when: all, require: { max_age: 12h } }]\n",
    );
    let now = Emulator::new(Fleet::default()).now() - SignedDuration::from_hours(3);
    let fleet = format!(
        "now: {now}\nsessions: [{{ id: a-1, owner: \"arn:aws:iam::123456789012:user/a\", target: i-1, age: 10h }}]"
    );
    let (emulator, url) = served(&fleet).await;
    for words in [
        &["plan", "--policy", &policy][..],
        &["sweep", "--policy", &policy, "--enforce", "--yes"],
        &["lock", "user/a", "--policy", &policy, "--enforce", "--yes"],
        &["explain", "--policy", &policy, "a-1"],
        &["backtest", &policy],
    ] {
        let output = run(&url, words).await;
        assert_eq!(output.status, Some(1), "{words:?}: {}", output.stderr);
        assert!(output.stderr.contains("error: the clock is 3h"), "{words:?}: {}", output.stderr);
        assert!(output.stderr.contains("ahead of AWS's"), "{words:?}: {}", output.stderr);
    }
    let at = now.to_string();
    let output = run(&url, &["explain", "--policy", &policy, "a-1", "--at", &at]).await;
    assert_eq!(output.status, Some(0), "the clock does not matter: {}", output.stderr);
    assert_eq!(emulator.active_ids(), ["a-1"]);
    assert!(!emulator.calls().iter().any(|it| it.operation == "TerminateSession"));

    // AWS refuses what was signed 3 hours off, and what an answer's `Date` tells changes nothing.
    let faults = "faults: [{ operation: DescribeSessions, times: 1, kind: unavailable }]";
    let (emulator, url) =
        served(&format!("{fleet}\nbehaviour: {{ max_skew: 5m }}\n{faults}\n")).await;
    let output = run(&url, &["sweep", "--policy", &policy, "--enforce", "--yes"]).await;
    assert_eq!(output.status, Some(1), "{}", output.stderr);
    for said in ["Signature not yet current: ", "the clock of this machine is wrong: set it"] {
        assert!(output.stderr.contains(said), "{}", output.stderr);
    }
    assert_eq!(emulator.active_ids(), ["a-1"]);
}
