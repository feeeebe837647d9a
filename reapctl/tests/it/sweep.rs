//! `plan` and `sweep`.

use rexpect::session::spawn_command;

use crate::{Account, Output, STARTER, assert_exited, on_a_terminal};

/// A plan shows the most important sessions first, and terminates no session.
#[tokio::test]
async fn plan() {
    let account = Account::new().await;
    let plan = ["plan", "--policy", STARTER];
    let Output { status, stdout, stderr } = account.reapctl(&plan).await;
    assert_eq!((status, stderr.as_str()), (Some(3), ""));
    let (table, counts) = stdout.split_once("\n\n").expect("a table, and the counts");
    assert_eq!(table.lines().count(), 1 + 22);
    assert!(
        counts.starts_with("22 seen, 8 compliant, 2 exempt, 8 in violation, 1 with a warning"),
        "{counts}"
    );
    for (i, part) in [
        (1, "amara"),
        (9, "tags_not_returned"),
        (12, "3 of 2 per owner"),
        (13, "tagged"),
        (22, "compliant"),
    ] {
        assert!(table.lines().nth(i).is_some_and(|it| it.contains(part)), "{i}: {table}");
    }

    for (arguments, ids) in [
        (vec!["--only", "undetermined,not_evaluated"], vec!["ravi@", "mei@", "unknown-"]),
        (vec!["--only", "violation", "--owner", "user/*"], vec!["amara-", "lena-"]),
        (vec!["--target", "mi-*", "--only", "violation"], vec!["olu-"]),
        (vec!["--rule", "tagged"], vec!["jonas-"]),
        (vec!["--rule", "nothing"], vec![]),
    ] {
        let all = [&plan[..], &arguments, &["--output", "ndjson"]].concat();
        let output = account.reapctl(&all).await;
        let parse = |it: &str| serde_json::from_str::<serde_json::Value>(it).expect("JSON");
        let rows: Vec<_> = output.stdout.lines().map(parse).collect();
        assert_eq!(rows.len(), ids.len(), "{arguments:?}");
        for (row, id) in rows.iter().zip(ids) {
            assert!(row["session_id"].as_str().is_some_and(|it| it.starts_with(id)), "{row}");
        }
    }

    let output = account.reapctl(&[&plan[..], &["--output", "json"]].concat()).await;
    let report: serde_json::Value = serde_json::from_str(&output.stdout).expect("JSON");
    assert_eq!((&report["mode"], &report["truncated"]), (&"dry-run".into(), &false.into()));
    assert_eq!(report["sessions"].as_array().map(Vec::len), Some(22));
    assert_eq!(report["sessions"][0]["tags"], serde_json::json!(["env=dev"]));

    let output = account.reapctl(&[&plan[..], &["--output", "csv"]].concat()).await;
    assert_eq!(output.stdout.lines().count(), 1 + 22);
    assert!(output.stdout.starts_with("verdict,age_s,owner,"), "{}", output.stdout);
}

/// A sweep is a dry run unless it has `--enforce` and is confirmed.
#[tokio::test]
async fn sweep_is_dry_by_default() {
    let account = Account::new().await;
    let sweep = ["sweep", "--policy", STARTER];
    let output = account.reapctl(&sweep).await;
    assert_eq!(output.status, Some(3), "{}", output.stderr);
    assert!(output.stdout.contains("8 would be terminated"), "{}", output.stdout);
    assert!(output.stdout.ends_with("Add `--enforce` to terminate violating sessions.\n"));

    let output = account.reapctl(&[&sweep[..], &["--enforce"]].concat()).await;
    assert_eq!((output.status, output.stdout.as_str()), (Some(2), ""));
    assert!(output.stderr.contains("add `--yes`"), "{}", output.stderr);

    let output = account.reapctl(&[&sweep[..], &["--enforce", "--yes"]].concat()).await;
    assert_eq!(output.status, Some(3), "one was denied, and some are undetermined");
    assert!(
        output.stdout.ends_with("6 terminated, 1 already gone, 1 denied.\n"),
        "{}",
        output.stdout
    );

    let output = account.reapctl(&sweep).await;
    assert!(output.stdout.contains("1 in violation"), "{}", output.stdout);
}

/// On a terminal, a sweep shows its plan and asks for confirmation.
#[tokio::test]
async fn sweep_asks() {
    let account = Account::new().await;
    let sweep = format!("sweep --policy {STARTER} --enforce --calls-per-second 100");
    let question = "Terminate 8 sessions? [y/N]";
    let (screen, status) = on_a_terminal(&account, &sweep, question, "n\n");
    assert_exited(status, 1, &screen);
    assert!(
        screen.contains("amara-") && screen.contains("error: no session was terminated"),
        "{screen}"
    );

    let (screen, status) = on_a_terminal(&account, &sweep, question, "y\n");
    assert_exited(status, 3, &screen);
    assert!(screen.contains("6 terminated, 1 already gone, 1 denied"), "{screen}");
    assert!(screen.contains("listing: "), "progress: {screen}");
}

/// A narrow terminal has fewer columns, and the output names those that are left out.
#[tokio::test]
async fn narrow_terminal_table() {
    let account = Account::new().await;
    let plan = format!("{} plan --policy {STARTER}", env!("CARGO_BIN_EXE_reapctl"));
    for (width, left_out) in [
        (100, Some("TAGS, DOCUMENT, STATUS, SESSION would not fit")),
        (226, Some("\r\nDOCUMENT, STATUS would not fit")),
        (300, None),
    ] {
        let mut command = std::process::Command::new("sh");
        command.args(["-c", &format!("stty rows 50 cols {width} && exec {plan} 2>/dev/null")]);
        command.envs(account.variables()).env("NO_COLOR", "1");
        let mut terminal = spawn_command(command, Some(30_000)).expect("a terminal");
        let screen = terminal.exp_eof().expect("the end");
        assert_eq!(screen.contains("would not fit"), left_out.is_some(), "{screen}");
        assert!(left_out.is_none_or(|it| screen.contains(it)), "{screen}");
        let table = screen.lines().filter(|line| !line.contains(" seen, ")); // The counts may wrap.
        let widest = table.map(|line| line.trim_end().chars().count()).max();
        assert!(widest.is_some_and(|it| it <= width), "{widest:?}: {screen}");
        let (header, _) = screen.split_once('\n').expect("lines");
        assert_eq!(header.contains("SESSION"), 226 <= width, "{header}");
    }
}

/// After Ctrl-C no further termination starts, and those that started are reported.
#[tokio::test]
async fn ctrl_c_sweep() {
    let account = Account::new().await;
    let sweep = format!("sweep --policy {STARTER} --enforce --yes --calls-per-second 1");
    let prompt = "1 terminations accepted";
    let (screen, status) = on_a_terminal(&account, &sweep, prompt, "\x03");
    assert_exited(status, 1, &screen);
    assert!(screen.contains("interrupted: no further termination starts"), "{screen}");
    assert!(screen.contains("deferred (interrupted)"), "{screen}");
    let (_, counts) = screen.rsplit_once("error: interrupted: 22 seen").expect("the counts");
    assert!(counts.contains(" terminated") && counts.contains(" deferred"), "{counts}");
    let after = account.reapctl(&["plan", "--policy", STARTER, "--output", "json"]).await;
    let after: serde_json::Value = serde_json::from_str(&after.stdout).expect("JSON");
    let n_violations = after["verdicts"]["violation"].as_u64().expect("a number");
    assert!((5..8).contains(&n_violations), "most of them live: {n_violations}");
}
