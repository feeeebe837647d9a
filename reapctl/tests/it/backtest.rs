//! `backtest`.

use std::fs;

use jiff::Timestamp;

use crate::{Account, STARTER, TARGET, devs, write};

/// A backtest shows which sessions a policy would have terminated, and when.
#[tokio::test]
async fn backtest() {
    let account = Account::new().await;
    let zombies = concat!(env!("CARGO_MANIFEST_DIR"), "/../policies/zombies.yaml");
    let page = concat!(env!("CARGO_TARGET_TMPDIR"), "/backtest.html");
    let backtest = ["backtest", STARTER, "--against", zombies, "--html", page];
    let output = account.reapctl(&[&backtest[..], &["--output", "json"]].concat()).await;
    assert_eq!((output.status, output.stderr.as_str()), (Some(0), ""));
    let json: serde_json::Value = serde_json::from_str(&output.stdout).expect("JSON");
    let sessions = json["sessions"].as_array().expect("a list");
    assert_eq!((sessions.len(), &json["not_evaluated"]), (29, &1.into()));
    let at = |it: &serde_json::Value| it.as_str().expect("text").parse::<Timestamp>().expect("one");
    for (id, rule, after, minutes) in [
        // Twelve hours after it started, at the next multiple of five minutes.
        ("jonas-0a1b2c3d4e5f60022", Some("no-older-than-12-hours"), 12 * 60, 12 * 60),
        ("amara-0a1b2c3d4e5f60023", None, 0, 0),
        ("nina-0a1b2c3d4e5f60024", Some("production-one-hour"), 60, 2 * 60),
        ("mei@example.com-9k5v0m1r4t6y9w2zaq7d3n8hfa", Some("production-sre-only"), 0, 60),
        ("ops-0a1b2c3d4e5f60027", None, 0, 0),
    ] {
        let session = sessions.iter().find(|it| it["session_id"] == id).expect(id);
        let Some(rule) = rule else {
            assert!(session["would_terminate_at"].is_null(), "{session}");
            continue;
        };
        assert_eq!(session["rules"][0], rule, "{id}");
        let end = at(&session["would_terminate_at"]);
        assert_eq!(end.as_second() % 300, 0, "{id}");
        let lived = end.duration_since(at(&session["started_at"])).as_mins();
        assert!((after..=after + 5).contains(&lived), "{id}: {lived}");
        let saved = session["minutes"].as_i64().expect("a number");
        assert!((minutes - 6..=minutes).contains(&saved), "{id}: {saved}");
    }
    let total = |sums: &serde_json::Value| -> u64 {
        let sums = sums.as_object().expect("sums").values();
        sums.map(|it| it["sessions"].as_u64().expect("a number")).sum()
    };
    let n = sessions.iter().filter(|it| !it["would_terminate_at"].is_null()).count();
    for name in ["rules", "owners", "days"] {
        assert_eq!(total(&json[name]), u64::try_from(n).expect("few"), "{name}");
    }
    let changes = json["changes"].as_array().expect("a list");
    let sooner = changes.iter().filter(|it| it["change"] == "terminated sooner").count();
    assert_eq!(sooner, 3, "those that were not terminated for a week: {changes:?}");

    let output = account.reapctl(&backtest).await;
    assert!(output.stdout.starts_with("29 sessions from "), "{}", output.stdout);
    let html = fs::read_to_string(page).expect("a page");
    assert_eq!(html.matches("<g><title>").count(), 29);
    assert!(!html.contains("http"), "it needs nothing else");

    let output = account.reapctl(&["backtest", STARTER, "--against", STARTER]).await;
    assert!(output.stdout.ends_with("Nothing changes.\n"), "{}", output.stdout);
}

/// The end of a session of the history without an end date is not known: no sweep is said to terminate it.
#[tokio::test]
async fn backtest_unknown_end() {
    let ended = format!("jo {TARGET}, ended: 1h");
    let faults = "faults: [{ operation: DescribeSessions, kind: { drop_field: EndDate } }]";
    let account = devs("endless.yaml", &[&format!("jo {TARGET}"), &ended], faults).await;
    let policy = "version: 1\nrules: [{ id: a, when: all, require: { max_age: 30m } }]\n";
    let policy = &write("endless.policy.yaml", policy);
    let output = account.reapctl(&["backtest", policy, "--output", "json"]).await;
    assert_eq!(output.status, Some(0), "{}", output.stderr);
    let json: serde_json::Value = serde_json::from_str(&output.stdout).expect("JSON");
    assert_eq!((&json["not_evaluated"], &json["unknown_ends"]), (&0.into(), &1.into()));
    let sessions = json["sessions"].as_array().expect("a list").iter();
    let at = ["would_terminate_at", "may_terminate_at"];
    let said: Vec<_> = sessions.map(|it| at.map(|name| it[name].is_string())).collect();
    assert!(said.contains(&[true, false]) && said.contains(&[false, true]), "{json}");
    assert_eq!(json["rules"]["a"]["sessions"], 1);
}

/// A backtest lists the rules of an undetermined verdict as possible only.
#[tokio::test]
async fn backtest_unknown_rule() {
    let account = devs("either.yaml", &[&format!("jo {TARGET}")], "").await;
    let policy = "version: 1\ntag_keys: [env]\nassume: { tags: unknown }\nrules:\n\
                  - { id: a, when: { target_tags: { env: prod } }, forbid: true }\n\
                  - { id: b, when: all, unless: { target_tags: { env: prod } }, forbid: true }\n";
    let policy = &write("either.policy.yaml", policy);
    let page = concat!(env!("CARGO_TARGET_TMPDIR"), "/either.html");
    let backtest = ["backtest", policy, "--html", page];
    let output = account.reapctl(&[&backtest[..], &["--output", "json"]].concat()).await;
    let json: serde_json::Value = serde_json::from_str(&output.stdout).expect("JSON");
    assert_eq!(json["rules"]["a or b"]["sessions"], 1, "{json}");
    let session = &json["sessions"][0];
    assert!(session["would_terminate_at"].is_string() && session["unknown"] == "tags_not_returned");
    let html = fs::read_to_string(page).expect("a page");
    assert!(html.contains(" by a or b</title>"), "{html}");
    let text = account.reapctl(&backtest).await.stdout;
    assert!(text.contains("a or b"), "{text}");
    assert!(
        text.contains(": 1 would have been terminated") && !text.contains("undetermined"),
        "{text}"
    );
    let output = account.reapctl(&["backtest", policy, "--against", policy]).await;
    assert!(output.stdout.ends_with("Nothing changes.\n"), "{}", output.stdout);
}

/// A backtest counts the sessions that were active at once, shows warnings apart, and compares a policy
/// that counts with one that does not.
#[tokio::test]
async fn backtest_concurrent() {
    let session = |id: &str, name: &str, hours: u32| {
        let owner = format!("arn:aws:sts::123456789012:assumed-role/dev/{name}");
        format!("  - {{ id: {id}, owner: \"{owner}\", {TARGET}, age: {hours}h }}\n")
    };
    let fleet = session("jo-0", "jo", 5) + &session("jo-1", "jo", 4) + &session("an-2", "an", 2);
    let account = Account::with(&write("counted.yaml", &format!("sessions:\n{fleet}"))).await;
    let rule = |id: &str, per: &str, effect: &str| {
        format!(
            "- {{ id: {id}, when: all, effect: {effect}, \
             require: {{ concurrent: {{ per: {per}, at_most: 1, keep: oldest }} }} }}\n"
        )
    };
    let rules = rule("one-each", "owner", "terminate") + &rule("one-on-each", "target", "warn");
    let new = &write("counted.policy.yaml", &format!("version: 1\nrules:\n{rules}"));
    let old = "version: 1\nrules: [{ id: a, when: { account: \"999999999999\" }, forbid: true }]\n";
    let old = &write("counted.old.yaml", old);
    let page = concat!(env!("CARGO_TARGET_TMPDIR"), "/counted.html");
    let against = ["backtest", new, "--against", old, "--html", page];
    let output = account.reapctl(&[&against[..], &["--output", "json"]].concat()).await;
    assert_eq!((output.status, output.stderr.as_str()), (Some(0), ""));
    let json: serde_json::Value = serde_json::from_str(&output.stdout).expect("JSON");
    let sessions = json["sessions"].as_array().expect("a list");
    let found: Vec<_> = sessions
        .iter()
        .map(|it| {
            let is_terminated = !it["would_terminate_at"].is_null();
            let rules = [&it["rules"], &it["warnings"][0]["rule"]];
            (
                it["session_id"].as_str().expect("text"),
                is_terminated,
                rules.map(ToString::to_string),
            )
        })
        .collect();
    let shown = |rules, warning: &str| [rules, warning].map(ToString::to_string);
    assert_eq!(
        found,
        [
            ("jo-0", false, shown("[]", "null")),
            ("jo-1", true, shown("[\"one-each\"]", "null")),
            ("an-2", false, shown("[]", "\"one-on-each\"")),
        ]
    );
    assert_eq!(json["rules"]["one-each"]["sessions"], 1);
    assert_eq!(json["warnings"]["one-on-each"]["sessions"], 1);
    let n = |key: &str| json[key].as_object().map(serde_json::Map::len);
    assert_eq!((n("rules"), n("warnings")), (Some(1), Some(1)));
    let changes = serde_json::json!([
        { "session_id": "jo-1", "change": "terminated now" },
        { "session_id": "an-2", "change": "warning now" },
    ]);
    assert_eq!(json["changes"], changes);

    let html = fs::read_to_string(page).expect("a page");
    assert!(
        html.contains("would have been terminated at ") && html.contains(" by one-each</title>")
    );
    assert!(html.contains("would not have been terminated; warning at "), "{html}");
    assert!(html.contains("<h2>By warning</h2>") && html.contains("class=\"warn\""), "{html}");
    let text = account.reapctl(&against).await.stdout;
    for expected in [": 1 would have been terminated, ", "1 would have had a warning."] {
        assert!(text.contains(expected), "{text}");
    }
    assert!(text.contains("WARNING") && text.contains("one-on-each"), "{text}");

    let text = account.reapctl(&["backtest", old, "--against", new]).await.stdout;
    assert!(
        text.contains("not terminated any more") && text.contains("no warning any more"),
        "{text}"
    );
    assert!(!text.contains("WARNING") && !text.contains("undetermined"), "{text}");
}

/// A timeline says how many sessions of each kind it leaves out.
#[tokio::test]
async fn timeline_leaves_out() {
    let ended = format!("jo {TARGET}, document: Z");
    let unknown = format!("an {TARGET}, document: X");
    let lived = format!("al {TARGET}, document: Y");
    let mut sessions = vec![ended.as_str(); 402];
    sessions.extend([unknown.as_str(), lived.as_str(), lived.as_str()]);
    let account = devs("many.yaml", &sessions, "").await;
    let policy = "version: 1\nrules:\n\
                  - { id: a, when: all, unless: { document: [X, Y] }, require: { max_age: 1h } }\n\
                  - { id: b, when: { document: X, status: Disconnected }, forbid: true }\n";
    let policy = &write("many.policy.yaml", policy);
    let page = concat!(env!("CARGO_TARGET_TMPDIR"), "/many.html");
    let output = account.reapctl(&["backtest", policy, "--html", page]).await;
    assert_eq!(output.status, Some(0), "{}", output.stderr);
    let html = fs::read_to_string(page).expect("a page");
    let note = "<p class=\"soft\">Not shown: 2 sessions that would have been terminated, \
                1 session with an undetermined verdict, 2 sessions that would not have been terminated.</p>";
    assert!(html.contains(note), "{:?}", html.lines().find(|it| it.contains("shown")));
}
