//! `lock`.

use std::{collections::BTreeSet, fs};

use crate::{
    Account, Output, STARTER, TARGET, assert_exited, devs, on_a_terminal, with_full_output, write,
};

/// A lock terminates every session of an owner that is not exempt.
#[tokio::test]
async fn lock() {
    let account = Account::new().await;
    let log = write("lock.jsonl", "");
    let lock = ["lock", "role/developer/jonas", "--policy", STARTER];
    let output = account.reapctl(&lock).await;
    assert_eq!(output.status, Some(3), "{}", output.stderr);
    assert!(
        output.stdout.starts_with("5 sessions would be terminated: add `--enforce`."),
        "{}",
        output.stdout
    );
    let command =
        "aws iam put-role-policy --role-name='developer' --policy-name session-reaper-lock-";
    let names = |output: &Output| {
        let parts = output.stdout.split(command).skip(1);
        let names = parts.filter_map(|it| it.split_once(' ')).map(|(name, _)| name.to_owned());
        names.collect::<BTreeSet<_>>()
    };
    assert_eq!(names(&output).len(), 1, "{}", output.stdout);
    let several = ["role/developer/lena", "role/developer", "role/developer/jonas"];
    let output = account.reapctl(&[&lock[..], &several].concat()).await;
    assert_eq!(names(&output).len(), 3, "none replaces another: {}", output.stdout);

    let enforce = ["--enforce", "--yes", "--reason", "INC-7", "--log", &log, "--for", "30s"];
    let output = account.reapctl(&[&lock[..], &enforce].concat()).await;
    assert_eq!(output.status, Some(3), "{}{}", output.stdout, output.stderr);
    let why = "1 session of these owners, or of an unknown owner, is still listed.";
    assert!(output.stdout.contains(why), "{}", output.stdout);
    assert_eq!(output.stdout.matches(" terminated ").count(), 5, "{}", output.stdout);
    let lines = fs::read_to_string(&log).expect("a log");
    let lines: Vec<serde_json::Value> =
        lines.lines().map(|it| serde_json::from_str(it).expect("JSON")).collect();
    assert!(lines.iter().all(|it| it["reason"] == "INC-7"), "{lines:?}");
    let terminated = lines.iter().filter(|it| it["message"] == "session terminated");
    assert_eq!(terminated.count(), 5);

    let enforce = ["--enforce", "--yes", "--log", &log, "--override-exemptions"];
    let output = account.reapctl(&[&lock[..], &enforce].concat()).await;
    assert_eq!(output.stdout.matches(" terminated ").count(), 1, "the exempt: {}", output.stdout);
}

/// A lock reports sessions of the owners that cannot be evaluated.
#[tokio::test]
async fn lock_not_evaluated() {
    let hangs = format!("jo {TARGET}, status: Terminating, on_terminate: lingers");
    let account = devs("listed.yaml", &["jo", &hangs, &format!("an {TARGET}")], "").await;
    let policy = &write("listed.policy.yaml", "version: 1\n");
    let log = &write("listed.jsonl", "");
    let lock = ["lock", "--policy", policy, "--enforce", "--yes", "--log", log, "--for", "6s"];
    let output = account.reapctl(&[&lock[..], &["role/dev/jo"]].concat()).await;
    assert_eq!(output.status, Some(3), "{}{}", output.stdout, output.stderr);
    assert!(
        output
            .stdout
            .contains("1 session of these owners, or of an unknown owner, is still listed.")
    );
    assert!(output.stderr.contains("some sessions are still listed"), "{}", output.stderr);
    assert!(output.stdout.contains("unconfirmed"), "{}", output.stdout);
    assert!(!output.stdout.contains("None of"), "{}", output.stdout);
    assert!(output.stderr.contains("Terminating"), "{}", output.stderr);

    let output = account.reapctl(&[&lock[..], &["role/dev/an"]].concat()).await;
    assert_eq!(output.status, Some(0), "{}{}", output.stdout, output.stderr);
    assert!(output.stdout.contains("None of these owners' sessions is left"), "{}", output.stdout);

    let output = account.reapctl(&["lock", "role/dev/joe", "--policy", policy]).await;
    assert_eq!(output.status, Some(0), "{}{}", output.stdout, output.stderr);
    let said = "None of the 2 sessions listed belongs to these owners.\n\
                Instead of `role/dev/joe`, did you mean `role/dev/jo`?\n";
    assert!(output.stdout.starts_with(said), "{}", output.stdout);
}

/// A lock reports the sessions that are left.
#[tokio::test]
async fn lock_remaining_sessions() {
    let stays = format!("st {TARGET}, on_terminate: stays");
    let faults = "faults: [{ operation: TerminateSession, session: de-1, kind: deny }]";
    let account = devs("stays.yaml", &[&stays, &format!("de {TARGET}")], faults).await;
    let policy = &write("stays.policy.yaml", "version: 1\n");
    let log = &write("stays.jsonl", "");
    let lock = ["lock", "--policy", policy, "--enforce", "--yes", "--log", log, "--for", "4s"];
    for (owner, status, message) in [
        ("role/dev/st", 3, "error: after 4s some sessions are still listed, or not confirmed"),
        (
            "role/dev/de",
            1,
            "error: every termination was denied: `TerminateSession` was denied after",
        ),
    ] {
        let output = account.reapctl(&[&lock[..], &[owner]].concat()).await;
        assert_eq!(output.status, Some(status), "{}{}", output.stdout, output.stderr);
        assert!(output.stderr.contains(message), "{}", output.stderr);
    }
}

/// A lock ignores limits.
#[tokio::test]
async fn lock_ignores_limits() {
    let sessions: Vec<String> = (0..3).map(|_| format!("jo {TARGET}")).collect();
    let sessions: Vec<&str> = sessions.iter().map(String::as_str).collect();
    let account = devs("limits.yaml", &sessions, "").await;
    let policy = &write(
        "limits.policy.yaml",
        "version: 1\npaused: true\nlimits:\n  max_terminations: 1\n  \
         circuit_breaker: { max_percent: 0, min_violations: 1 }\n",
    );
    let log = &write("limits.jsonl", "");
    let lock = ["lock", "role/dev", "--policy", policy, "--enforce", "--yes", "--log", log];
    let output = account.reapctl(&lock).await;
    assert_eq!(output.status, Some(0), "{}{}", output.stdout, output.stderr);
    assert_eq!(output.stdout.matches(" terminated ").count(), 3, "{}", output.stdout);
    assert!(output.stderr.contains("warning: the policy has no rules"), "{}", output.stderr);
}

/// Ctrl-C ends a lock at every stage.
#[tokio::test]
async fn ctrl_c_lock() {
    let stays = format!("st {TARGET}, on_terminate: stays");
    let account = devs("interrupted.yaml", &[&stays], "").await;
    let policy = write("interrupted.policy.yaml", "version: 1\n");
    let log = write("interrupted.jsonl", "");
    let lock = format!("lock role/dev --policy {policy} --enforce --log {log} --for 60s");
    let (screen, status) = on_a_terminal(&account, &lock, "Terminate 1 session? [y/N]", "\x03");
    assert_exited(status, 130, &screen);

    let lock = format!("{lock} --yes --calls-per-second 100");
    let (screen, status) = on_a_terminal(&account, &lock, "unconfirmed (listed", "\x03");
    assert_exited(status, 1, &screen);
    assert!(screen.contains("error: interrupted"), "{screen}");
}

/// A lock continues if standard output cannot be written.
#[tokio::test]
async fn full_standard_output() {
    let account = devs("full.yaml", &[&format!("jo {TARGET}")], "").await;
    let policy = &write("full.policy.yaml", "version: 1\n");
    let log = &write("full.jsonl", "");
    let lock = ["lock", "role/dev", "--policy", policy, "--enforce", "--yes", "--log", log];
    let (status, stderr) = with_full_output(&account, lock).await;
    assert_eq!(status, Some(1), "{stderr}");
    assert!(stderr.contains("error: cannot write to standard output: No space"), "{stderr}");
    let log = fs::read_to_string(log).expect("a log");
    assert!(log.contains(r#""session terminated""#), "{log}");
}

/// Revocation commands are quoted for the shell.
#[tokio::test]
async fn revocation_commands_are_quoted() {
    let account = devs("quoted.yaml", &["jo"], "").await;
    let policy = &write("quoted.policy.yaml", "version: 1\n");
    let lock = ["lock", "user/o=neil", "--policy", policy, "--enforce", "--yes"];
    let output = account.reapctl(&lock).await;
    assert!(output.stdout.contains("'o=neil'"), "{}", output.stdout);
    assert!(
        !output.stderr.contains("The log is"),
        "no session is to be terminated: {}",
        output.stderr
    );
}
