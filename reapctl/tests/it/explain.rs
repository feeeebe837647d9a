//! `explain`.

use std::fs;

use rexpect::session::spawn_command;

use crate::{Account, STARTER, check_golden, emulate, reapctl, write};

/// `explain` shows the value that every condition saw, and which conditions decided.
#[tokio::test]
async fn explain_trace() {
    let sessions = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/sessions.json");
    let mut actual = String::new();
    for (policy, arguments) in [
        ("starter", vec!["nina-1", "--tag", "env=prod"]),
        ("starter", vec!["nina-1", "--no-tags"]),
        ("starter", vec!["jonas-1", "--tag", "reaper:exempt=true", "--tag", "env=dev"]),
        ("starter", vec!["jonas-1"]),
        ("zombies", vec!["zoe-1"]),
        ("contractors", vec!["lena-1", "--at", "2026-03-02T17:30:00Z"]),
        ("break-glass", vec!["dba-1"]),
        ("break-glass", vec!["dba-1", "--at", "2027-03-02T12:00:00Z"]),
        ("production", vec!["jonas-1", "--output", "json"]),
    ] {
        let path = format!("{}/../policies/{policy}.yaml", env!("CARGO_MANIFEST_DIR"));
        let mut all = vec!["explain", "--policy", &path, "--from", sessions];
        all.extend(&arguments);
        if !arguments.contains(&"--at") {
            all.extend(["--at", "2026-03-02T12:00:00Z"]);
        }
        let output = reapctl(&all, &[]).await;
        assert_eq!((output.status, output.stderr.as_str()), (Some(0), ""), "{arguments:?}");
        let stdout = output.stdout.replace(&path, policy);
        actual.extend(["=== ", policy, ": ", &arguments.join(" "), "\n", &stdout]);
    }
    check_golden("explain.txt", &actual);

    let policy = concat!(env!("CARGO_MANIFEST_DIR"), "/../policies/starter.yaml");
    for (id, message) in
        [("ownerless-1", "never terminated: no Owner"), ("x-1", "there is no such session in it")]
    {
        let output = reapctl(&["explain", "--policy", policy, "--from", sessions, id], &[]).await;
        assert_ne!(output.status, Some(0), "{id}");
        assert!(output.stderr.contains(message), "{id}: {}", output.stderr);
    }
}

/// `explain --from` reads sessions as AWS CLI 1 and 2, boto3 and `--query Sessions` write them: with
/// the same instant, however it is written. Those that have ended are neither explained nor counted.
#[tokio::test]
async fn explain_from_clients() {
    let path = |name: &str| format!("{}/clients-{name}", env!("CARGO_TARGET_TMPDIR"));
    let policy = &path("policy.yaml");
    let counted = "concurrent: { per: owner, at_most: 1, keep: newest }";
    let rules = [
        "{ id: hour, when: all, require: { max_age: 1h } }",
        &format!("{{ id: one, when: all, require: {{ {counted} }} }}"),
    ];
    fs::write(policy, format!("version: 1\nrules: [{}]\n", rules.join(", "))).expect("a file");
    let row = |id: &str, fields: &str| {
        let owner = "arn:aws:iam::123456789012:user/a";
        format!(r#"{{"SessionId":"{id}","Owner":"{owner}","Target":"i-1",{fields}}}"#)
    };
    let explain = async |text: &str, at: &str| {
        let file = &path("sessions.json");
        fs::write(file, text).expect("a file");
        let words = ["explain", "--policy", policy, "--from", file, "a-1", "--at", at];
        reapctl(&[&words[..], &["--output", "json"]].concat(), &[]).await
    };
    let at = "2019-02-20T16:22:18.352Z"; // An hour after the start, which is still compliant.
    let mut traces = Vec::new();
    for date in [
        "1550676138.352",
        r#""2019-02-20T15:22:18.352000+00:00""#,
        r#""2019-02-20T16:22:18.352000+01:00""#,
        r#""2019-02-20 15:22:18.352000+00:00""#,
    ] {
        let ended = r#""StartDate":"2019-02-20 15:30:00Z","EndDate":1550679000"#;
        let ended = row("b-1", ended);
        let text =
            format!("{{\"Sessions\":[{},{ended}]}}", row("a-1", &format!(r#""StartDate":{date}"#)));
        let output = explain(&text, at).await;
        assert_eq!((output.status, output.stderr.as_str()), (Some(0), ""), "{date}");
        traces.push(output.stdout);
    }
    traces.dedup();
    assert_eq!(traces.len(), 1, "{traces:?}");
    assert!(traces[0].contains(r#""verdict":"compliant""#), "{traces:?}");

    let array = format!("[{}]", row("a-1", r#""StartDate":1550676138.352"#));
    let output = explain(&array, at).await;
    assert_eq!(output.status, Some(0), "{}", output.stderr);
    assert!(output.stdout.contains("undetermined"), "{}", output.stdout); // There may be more.

    let dates = "sessions.json`: a date is neither seconds since 1970";
    for (fields, message) in [
        (r#""StartDate":0,"EndDate":"2019-02-20 16:22:18+00:00""#, "ended at 2019-02-20T16:22:18Z"),
        (r#""StartDate":"2019-02-20 15:22:18""#, dates), // Without an offset.
        (r#""StartDate":"yesterday""#, dates),
        (r#""StartDate":1e300"#, dates),
        (r#""StartDate":true"#, dates),
        ("\"StartDate\":\n\"\"", "at line 2 column"),
    ] {
        let output = explain(&row("a-1", fields), at).await;
        assert_eq!(output.status, Some(2), "{fields}");
        assert!(output.stderr.contains(message), "{fields}: {}", output.stderr);
    }
}

/// `explain` finds a session and its tags by its id.
#[tokio::test]
async fn explain_by_id() {
    let fleet = concat!(env!("CARGO_MANIFEST_DIR"), "/demo/fleet.yaml");
    let policy = concat!(env!("CARGO_MANIFEST_DIR"), "/../policies/starter.yaml");
    let (_child, address) = emulate(fleet).await;
    let variables = [("AWS_ACCESS_KEY_ID", "emulator"), ("AWS_SECRET_ACCESS_KEY", "emulator")];
    let url = format!("http://{address}");
    let explain = async |id: &str, arguments: &[&str]| {
        let mut all = vec!["explain", "--policy", policy, "--endpoint-url", &url];
        all.extend(["--region", "eu-central-1", id]);
        all.extend(arguments);
        reapctl(&all, &variables).await
    };
    for (id, arguments, part) in [
        ("nina-0a1b2c3d4e5f60009", vec![], "verdict: violation: production-one-hour\n"),
        ("nina-0a1b2c3d4e5f60009", vec!["--no-tags"], "verdict: compliant\ndue: "),
        ("jonas-0a1b2c3d4e5f60017", vec![], "verdict: exempt: tagged\n"),
        (
            "ravi@example.com-0m1r4t6y9w2zaq7d3n8hfx2k5v",
            vec![],
            "verdict: undetermined (tags_not_returned): no-older-than-12-hours, production-one-hour\n\
             AWS did not return the target's tags; tag it, or, if that means that it has none, \
             write `assume: { tags: none }`\n",
        ),
    ] {
        let output = explain(id, &arguments).await;
        assert_eq!((output.status, output.stderr.as_str()), (Some(0), ""), "{id}");
        let (_, verdict) = output.stdout.rsplit_once("\n\n").expect("a verdict");
        assert!(verdict.starts_with(part), "{}", output.stdout);
    }
    let no_tag_keys = &write("no-tag-keys.yaml", "version: 1\n");
    let id = "nina-0a1b2c3d4e5f60009";
    let all = ["explain", "--policy", no_tag_keys, "--endpoint-url", &url];
    let all = [&all[..], &["--region", "eu-central-1", id]].concat();
    let output = reapctl(&all, &variables).await;
    assert!(output.stdout.contains("tags: unknown (tags_not_looked_up)"), "{}", output.stdout);
    let output = explain("gone-1", &[]).await;
    assert_eq!(output.status, Some(1));
    assert_eq!(output.stderr, "error: no active session has the id `gone-1`\n");
}

/// Its narration stands between the lines of a table, which must not be broken.
#[tokio::test]
async fn narrow_terminal_explain() {
    let account = Account::new().await;
    let id = "ravi@example.com-0m1r4t6y9w2zaq7d3n8hfx2k5v";
    let words = ["explain", "--policy", STARTER, "--at", "2027-03-02T12:00:00Z", id];
    let piped = account.reapctl(&words).await.stdout;
    let explain = format!("{} {}", env!("CARGO_BIN_EXE_reapctl"), words.join(" "));
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &format!("stty rows 50 cols 60 && exec {explain}")]);
    command.envs(account.variables()).env("NO_COLOR", "1");
    let mut terminal = spawn_command(command, Some(30_000)).expect("a terminal");
    let screen = terminal.exp_eof().expect("the end");
    assert_eq!(screen.replace("\r\n", "\n"), piped);
}

/// `explain` marks only the unknown conditions that decide.
#[tokio::test]
async fn explain_marks_the_deciding_unknown() {
    let policy = &write(
        "unknown.yaml",
        "version: 1\ntag_keys: [env, team]\nrules:\n  - id: a\n    when: { owner: user/x }\n    \
         unless: { document: Foo, target_tags: { env: lab } }\n    \
         require: { target_tags: { team: t } }\n",
    );
    let session = &write(
        "unknown.json",
        r#"{ "SessionId": "x-1", "Owner": "arn:aws:iam::123456789012:user/x",
             "Target": "i-0123456789abcdef0", "StartDate": 1772430000.0, "DocumentName": "Bar" }"#,
    );
    let output = reapctl(&["explain", "--policy", policy, "--from", session], &[]).await;
    let marked: Vec<_> = output.stdout.lines().filter(|it| it.starts_with(" >")).collect();
    assert_eq!(marked.len(), 1, "{}", output.stdout);
    assert!(marked[0].contains("require"), "{}", output.stdout);
}
