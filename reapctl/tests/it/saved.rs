//! Backtests of saved listings and of CloudTrail's files, which make no call to AWS.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use flate2::{Compression, write::GzEncoder};
use jiff::{SignedDuration, Timestamp, Unit};
use serde_json::{Value, json};

use super::{Account, Output, reapctl, write};

/// A rule for each of what is known of a session in a file, and no rule that counts.
const ALONE: &str = "version: 1\nrules:\n\
    - { id: age, when: all, unless: { owner: role/batch-* }, require: { max_age: 12h } }\n\
    - { id: tunnels, when: { document: AWS-StartPort* }, require: { max_age: 30m } }\n\
    - { id: hour, when: { target: mi-* }, effect: warn, require: { max_age: 1h } }\n";

const COUNTED: &str = "- { id: two, when: all, require: \
    { concurrent: { per: owner, at_most: 2, keep: newest } } }\n";

/// An empty folder for a test's files.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    drop(fs::remove_dir_all(&folder));
    fs::create_dir_all(&folder).expect("a folder");
    folder
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn gzip(path: &Path, content: &str) {
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(content.as_bytes()).expect("memory");
    fs::write(path, gzip.finish().expect("memory")).expect("a file");
}

/// A result in JSON, and its sessions by id.
fn read(output: &Output) -> (Value, BTreeMap<String, Value>) {
    assert_eq!(output.status, Some(0), "{}", output.stderr);
    let json: Value = serde_json::from_str(&output.stdout).expect("JSON");
    let sessions = json["sessions"].as_array().expect("a list").iter();
    let by_id = sessions.map(|it| (it["session_id"].as_str().expect("text").into(), it.clone()));
    (json.clone(), by_id.collect())
}

async fn backtest(words: &[&str]) -> Output {
    reapctl(&[&["backtest"], words, &["--output", "json"]].concat(), &[]).await
}

/// The sample account's sessions, as `describe-sessions` prints them.
async fn listing(account: &Account, state: &str) -> Value {
    let list = ["describe-sessions", "--state", state];
    serde_json::from_str(&reapctl(&list, &account.variables()).await.stdout).expect("JSON")
}

fn instant(date: &Value) -> Timestamp {
    let seconds = date.as_f64().expect("seconds");
    let since = SignedDuration::try_from_secs_f64(seconds).expect("seconds");
    let at = Timestamp::from_duration(since).expect("an instant");
    at.round(Unit::Millisecond).expect("an instant")
}

/// A saved listing has the result of a backtest by the API, whoever wrote it. Without `--at`, the latest
/// date in it is the instant of the listing.
#[tokio::test]
async fn listing_as_by_api() {
    let account = Account::new().await;
    let policy = &write("listing.policy.yaml", &format!("{ALONE}{COUNTED}"));
    let words = ["backtest", policy, "--output", "json"];
    let (by_api, expected) = read(&account.reapctl(&words).await);
    let listed = [listing(&account, "Active").await, listing(&account, "History").await];
    let forms: [fn(Timestamp) -> Value; 3] = [
        |it| json!(it.as_duration().as_secs_f64()),
        |it| json!(it.strftime("%Y-%m-%dT%H:%M:%S.%6f+00:00").to_string()),
        |it| json!(it.strftime("%Y-%m-%d %H:%M:%S.%6f+00:00").to_string()),
    ];
    for (form, is_array) in forms.iter().zip([false, false, true]) {
        let mut files = Vec::new();
        for (name, listing) in ["active", "history"].iter().zip(&listed) {
            let mut listing = listing.clone();
            for row in listing["Sessions"].as_array_mut().expect("a list") {
                for name in ["StartDate", "EndDate"] {
                    if row[name].is_number() {
                        row[name] = form(instant(&row[name]));
                    }
                }
            }
            let listing = if is_array { &listing["Sessions"] } else { &listing };
            files.push(write(&format!("listing.{name}.json"), &listing.to_string()));
        }
        let at = by_api["to"].as_str().expect("an instant");
        let from = [policy, "--from", &files[0], &files[1]];
        let output = backtest(&[&from[..], &["--at", at]].concat()).await;
        assert_eq!(
            output.stderr.matches("may not be a whole listing").count(),
            if is_array { 2 } else { 0 }
        );
        let (json, sessions) = read(&output);
        assert_eq!(sessions, expected);
        for name in ["from", "to", "rules", "owners", "days", "warnings", "not_evaluated"] {
            assert_eq!(json[name], by_api[name], "{name}");
        }
        let skipped = json!([{"file": files[0], "record": json["skipped"][0]["record"], "reason": "no Owner"}]);
        assert_eq!((&json["skipped"], &json["unknown_ends"]), (&skipped, &0.into()));
        let (json, _) = read(&backtest(&from).await);
        let latest = listed[0]["Sessions"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|it| instant(&it["StartDate"]));
        assert_eq!(json["to"], latest.max().expect("one").to_string());
    }
}

/// A row without an end has ended, if its status does not say that it is active. One that is there twice
/// is one session.
#[tokio::test]
async fn listing_with_gaps() {
    let row = |id: &str, fields: &str| {
        format!(
            r#"{{"SessionId":"{id}","Owner":"arn:aws:iam::123456789012:user/a","Target":"i-1","StartDate":"2026-03-02T00:00:00Z"{fields}}}"#
        )
    };
    let end = r#","Status":"Terminated","EndDate":"2026-03-03T00:00:00Z""#;
    let rows = [
        row("a", r#","Status":"Disconnected""#),
        row("b", r#","Status":"Failed""#),
        row("c", ""),
        row("d", r#","Status":"Connected""#),
        row("d", end),
        r#"{"SessionId":"e"}"#.into(),
        row("a", ""),
    ];
    let file = &write("gaps.json", &format!("{{\"Sessions\":[{}]}}", rows.join(",")));
    let policy = &write(
        "gaps.policy.yaml",
        "version: 1\nrules: [{ id: a, when: all, require: { max_age: 12h } }]\n",
    );
    let (json, sessions) = read(&backtest(&[policy, "--from", file]).await);
    let at = "2026-03-02T12:05:00Z";
    for (id, would, may, unknown) in [
        ("a", json!(at), json!(null), json!(null)),
        ("b", json!(null), json!(at), json!("end_not_known")),
        ("c", json!(null), json!(at), json!("end_not_known")),
        ("d", json!(at), json!(null), json!(null)),
    ] {
        let it = &sessions[id];
        assert_eq!(
            (&it["would_terminate_at"], &it["may_terminate_at"], &it["unknown"]),
            (&would, &may, &unknown),
            "{id}"
        );
    }
    assert_eq!((&json["unknown_ends"], &json["not_evaluated"]), (&2.into(), &1.into()));
    let skipped =
        |record: usize, reason: &str| json!({"file": file, "record": record, "reason": reason});
    let twice = "the session is in another record too";
    assert_eq!(
        json["skipped"],
        json!([skipped(4, twice), skipped(7, twice), skipped(6, "no Owner")])
    );
}

/// An event of CloudTrail, with only the fields that are read.
fn event(name: &str, at: Timestamp, id: &str, fields: &Value) -> Value {
    let mut event = json!({
        "eventVersion": "1.08", "eventSource": "ssm.amazonaws.com", "eventName": name,
        "eventTime": at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(), "eventID": id,
        "awsRegion": "eu-central-1", "recipientAccountId": "123456789012",
        "eventType": "AwsApiCall", "readOnly": false,
    });
    let fields = fields.as_object().expect("an object").clone();
    event.as_object_mut().expect("an object").extend(fields);
    event
}

fn start(row: &Value) -> Value {
    let id = row["SessionId"].as_str().expect("text");
    let mut request = json!({"target": row["Target"]});
    for (name, of_row) in [("documentName", "DocumentName"), ("reason", "Reason")] {
        if row[of_row].is_string() {
            request[name] = row[of_row].clone();
        }
    }
    let fields = json!({
        "userIdentity": {"type": "AssumedRole", "arn": row["Owner"]},
        "requestParameters": request,
        "responseElements": {"sessionId": id, "tokenValue": "Value hidden due to security reasons."},
    });
    event("StartSession", instant(&row["StartDate"]), &format!("start-{id}"), &fields)
}

fn termination(id: &str, at: Timestamp) -> Value {
    let fields =
        json!({"requestParameters": {"sessionId": id}, "responseElements": {"sessionId": id}});
    event("TerminateSession", at, &format!("end-{id}"), &fields)
}

/// Writes the events of sessions into files of each form, with others among them. Returns how many have an
/// end, and the records that are skipped.
fn write_trail(files: &Path, rows: &[&Value], now: Timestamp) -> (usize, Vec<Value>) {
    let day = files.join("AWSLogs/123456789012/CloudTrail/eu-central-1/2026/03/02");
    let [a, digest] = ["a", "digest"].map(|it| day.join(format!("{it}.json.gz")));
    let [b, c] = ["b.ndjson", "c.json"].map(|it| files.join(it));
    let starts: Vec<_> = rows.iter().map(|it| start(it)).collect();
    let ended = rows.iter().filter(|it| it["EndDate"].is_number());
    let end =
        |it: &&Value| termination(it["SessionId"].as_str().expect("text"), instant(&it["EndDate"]));
    let ends: Vec<_> = ended.map(end).collect();
    let jo = json!({"userIdentity": {"arn": "arn:aws:iam::123456789012:user/jo"}});
    let mut denied = event("StartSession", now, "denied", &jo);
    denied["errorCode"] = "AccessDenied".into();
    denied["responseElements"] = json!(null);
    let mut athena = event("StartSession", now, "athena", &jo);
    athena["eventSource"] = "athena.amazonaws.com".into();
    let last = event("DescribeSessions", now, "last", &jo);
    let (first, second) = starts.split_at(starts.len() / 2);
    // As CloudTrail writes it, an event that a second trail delivers too, and what is no event.
    let records = [first, &[denied, athena, first[0].clone(), json!(1)]].concat();
    gzip(&a, &json!({"Records": records}).to_string());
    gzip(&digest, &json!({"digestS3Object": "x", "logFiles": []}).to_string());
    // One event a line, and one as EventBridge wraps it.
    let wrapped =
        json!({"source": "aws.ssm", "detail-type": "AWS API Call via CloudTrail", "detail": last});
    let lines = second.iter().chain([&wrapped]).map(|it| it.to_string() + "\n");
    fs::write(b, lines.collect::<String>()).expect("a file");
    // As `aws cloudtrail lookup-events` prints it, the newest first.
    let looked_up =
        |it: &Value| json!({"EventId": it["eventID"], "CloudTrailEvent": it.to_string()});
    let looked_up = ends.iter().rev().map(looked_up).chain([json!({"CloudTrailEvent": "{"})]);
    let events = json!({"Events": looked_up.collect::<Vec<_>>()});
    fs::write(&c, format!("{events:#}")).expect("a file");
    let skipped = [
        (&a, first.len() + 1, "StartSession failed: AccessDenied"),
        (&a, first.len() + 3, "another record has the same eventID"),
        (&a, first.len() + 4, "it is not a CloudTrail event of a call"),
        (&digest, 1, "it is a digest, which has no events"),
        (
            &c,
            ends.len() + 1,
            "its CloudTrailEvent is no JSON: EOF while parsing an object at line 1 column 1",
        ),
    ];
    let skipped = skipped.map(
        |(file, record, reason)| json!({"file": text(file), "record": record, "reason": reason}),
    );
    (ends.len(), skipped.into())
}

/// The sessions of CloudTrail's files have the result of the same sessions by the API: those with an end
/// the same, and those that are active, whose end CloudTrail does not know, if they are still active.
#[tokio::test]
async fn cloudtrail_as_by_api() {
    let account = Account::new().await;
    let files = &folder("trail");
    let [active, history] = [listing(&account, "Active").await, listing(&account, "History").await];
    let rows: Vec<_> = [&active, &history]
        .iter()
        .flat_map(|it| it["Sessions"].as_array().expect("a list"))
        .collect();
    let policy = &write("trail.policy.yaml", ALONE);
    let words = ["backtest", policy, "--output", "json"];
    let (by_api, expected) = read(&account.reapctl(&words).await);
    let to: Timestamp = by_api["to"].as_str().expect("text").parse().expect("an instant");
    let (n_ends, skipped) = write_trail(files, &rows, to);
    assert!(5 < n_ends && n_ends < rows.len());
    let cloudtrail = [policy, "--cloudtrail", text(files)];
    let (json, sessions) = read(&backtest(&cloudtrail).await);
    assert_eq!(sessions.len(), expected.len());
    let (mut n_same, mut n_may) = (0, 0);
    for (id, it) in &sessions {
        let expected = &expected[id];
        if it["ended_at"].is_null() {
            let at = &expected["would_terminate_at"];
            assert!(it["would_terminate_at"].is_null() && it["warnings"] == json!([]), "{it}");
            assert_eq!(&it["may_terminate_at"], at, "{it} {expected}");
            let seen_at = it["last_seen_at"].as_str().expect("an instant");
            assert_eq!(seen_at, it["started_at"], "{it}");
            n_may += usize::from(!at.is_null());
            if !at.is_null() {
                assert_eq!(
                    (&it["unknown"], &it["rules"]),
                    (&"end_not_known".into(), &expected["rules"])
                );
            }
        } else {
            for name in ["would_terminate_at", "may_terminate_at", "rules", "minutes", "unknown"] {
                assert_eq!(it[name], expected[name], "{name}: {it} {expected}");
            }
            n_same += 1;
        }
    }
    assert!(n_same == n_ends && 5 < n_may, "{n_same} {n_may}");
    assert_eq!(json["not_evaluated"], by_api["not_evaluated"]);
    assert_eq!(json["unknown_ends"], rows.len() - n_ends - 1);
    let (ownerless, others) =
        json["skipped"].as_array().and_then(|it| it.split_last()).expect("some");
    assert_eq!((&ownerless["reason"], others), (&"no Owner".into(), &*skipped));

    let page = text(&files.with_extension("html")).to_owned();
    let output = reapctl(&[&["backtest"], &cloudtrail[..], &["--html", &page]].concat(), &[]).await;
    let endless = format!(" The end of {} is not known: ", rows.len() - n_ends - 1);
    assert!(output.stdout.contains(&endless), "{}", output.stdout);
    assert!(output.stdout.contains(" Files: 4; events of sessions: "), "{}", output.stdout);
    let of_reason = "skipped: 1 of the records, because StartSession failed: AccessDenied";
    let [file, record] = ["file", "record"].map(|it| &skipped[0][it]);
    let named = format!(
        "{}, record {record}: StartSession failed: AccessDenied",
        file.as_str().expect("text")
    );
    for warning in [of_reason, &named] {
        assert!(output.stderr.contains(&format!("warning: {warning}\n")), "{}", output.stderr);
    }
    let html = fs::read_to_string(page).expect("a page");
    assert!(
        html.contains(" by age if it was still active</title>") && html.contains("class=\"maybe\"")
    );

    // Where rules count, what is said of a session is what the API says of it.
    let policy = &write("trail.counted.yaml", &format!("{ALONE}{COUNTED}"));
    let (_, expected) = read(&account.reapctl(&["backtest", policy, "--output", "json"]).await);
    let (_, sessions) = read(&backtest(&[policy, "--cloudtrail", text(files)]).await);
    let mut n_said = 0;
    for (id, it) in &sessions {
        if !it["would_terminate_at"].is_null() || it["unknown"].is_null() {
            // This listing is later than the files.
            let at = expected[id]["would_terminate_at"].as_str();
            let at = at.filter(|it| it.parse::<Timestamp>().expect("an instant") < to);
            assert_eq!(it["would_terminate_at"].as_str(), at, "{it}");
            n_said += 1;
        }
    }
    assert!(5 < n_said && n_said < sessions.len(), "{n_said}");
}

/// A session ends with the first termination after it was started or resumed. Several accounts are kept
/// apart.
#[tokio::test]
async fn cloudtrail_events() {
    let at = |hour: i8| {
        jiff::civil::date(2026, 3, 2).at(hour, 0, 0, 0).in_tz("UTC").expect("a time").timestamp()
    };
    let session = |id: &str, hour: i8| {
        let row = json!({"SessionId": id, "Owner": "arn:aws-cn:iam::123456789012:user/jo", "Target": "i-1", "StartDate": at(hour).as_second()});
        start(&row)
    };
    let resumed = |id: &str, hour: i8| {
        let fields =
            json!({"requestParameters": {"sessionId": id}, "responseElements": {"sessionId": id}});
        event("ResumeSession", at(hour), &format!("resume-{id}"), &fields)
    };
    let of = |account: &str, region: &str, mut it: Value| {
        it["recipientAccountId"] = account.into();
        it["awsRegion"] = region.into();
        it["eventID"] = json!(null);
        it
    };
    let mut later = termination("a", at(9));
    later["eventID"] = "again".into();
    let mut refused = termination("b", at(2));
    refused["errorCode"] = "AccessDeniedException".into();
    let events = [
        termination("a", at(7)), // The order of a file is not that of time.
        later,
        session("a", 1),
        session("b", 1),
        refused,
        resumed("c", 5),
        session("c", 1),
        termination("c", at(4)), // It was active after that.
        termination("d", at(3)),
        of("999999999999", "eu-west-1", session("a", 2)),
        of("999999999999", "eu-west-1", termination("a", at(2))),
        event("StartSession", at(20), "x", &json!({"requestParameters": {"target": "i-1"}})),
    ];
    let file = &write("events.json", &Value::from(events.to_vec()).to_string());
    let policy = "version: 1\nrules: [{ id: a, when: all, require: { max_age: 3h } }]\n";
    let policy = &write("events.policy.yaml", policy);
    let (json, _) = read(&backtest(&[policy, "--cloudtrail", file]).await);
    let found: Vec<_> = json["sessions"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|it| {
            [
                "account",
                "session_id",
                "ended_at",
                "last_seen_at",
                "would_terminate_at",
                "may_terminate_at",
            ]
            .map(|name| {
                it[name].as_str().map_or("-", |it| it.trim_start_matches("2026-03-02T")).to_owned()
            })
        })
        .collect();
    assert_eq!(
        found,
        [
            ["123456789012", "a", "07:00:00Z", "-", "04:05:00Z", "-"],
            ["123456789012", "b", "-", "01:00:00Z", "-", "04:05:00Z"],
            ["123456789012", "c", "-", "05:00:00Z", "04:05:00Z", "-"],
            ["999999999999", "a", "02:00:00Z", "-", "-", "-"],
        ]
    );
    assert_eq!(
        (&json["from"], &json["to"]),
        (&"2026-03-02T01:00:00Z".into(), &"2026-03-02T20:00:00Z".into())
    );
    assert_eq!(json["by_account"]["123456789012"]["sessions"], 2);
    let skipped: Vec<_> = json["skipped"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|it| (it["record"].as_u64().expect("a number"), it["reason"].as_str().expect("text")))
        .collect();
    assert_eq!(
        skipped,
        [
            (5, "TerminateSession failed: AccessDeniedException"),
            (12, "StartSession has no sessionId"),
            (9, "no event has started the session"),
        ]
    );
    assert_eq!(json["not_evaluated"], 2);
}

/// What came before the first event is not known: it may take places of rules that keep the oldest.
#[tokio::test]
async fn before_the_first_event() {
    let at = |day: i64| Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * day);
    let session = |id: &str, day: i64| {
        let row = json!({
            "SessionId": id, "Owner": "arn:aws:iam::123456789012:user/jo", "Target": "i-1",
            "StartDate": at(day).as_second(),
        });
        [start(&row), termination(id, at(day) + SignedDuration::from_hours(2))]
    };
    let events = [session("a", 1), session("b", 30), session("c", 31), session("d", 31)].concat();
    let file = &write("before.json", &Value::from(events).to_string());
    for (keep, expected) in [("oldest", "??-x"), ("newest", "--x-")] {
        let rule = format!("{{ concurrent: {{ per: owner, at_most: 1, keep: {keep} }} }}");
        let policy = format!("version: 1\nrules: [{{ id: a, when: all, require: {rule} }}]\n");
        let policy = &write(&format!("before.{keep}.yaml"), &policy);
        let (_, sessions) = read(&backtest(&[policy, "--cloudtrail", file]).await);
        let found = sessions.values().map(|it| match it["would_terminate_at"].is_null() {
            false => 'x',
            true if it["unknown"] == "concurrent_not_known" => '?',
            true => '-',
        });
        assert_eq!(found.collect::<String>(), expected, "{keep}");
        let output = reapctl(&["backtest", policy, "--cloudtrail", file], &[]).await;
        let note = "Sessions that started before the first event are not known";
        assert_eq!(output.stdout.contains(note), keep == "oldest", "{}", output.stdout);
    }
}

/// Dates at the ends of what a date can be, and files of one instant, are dates like others.
#[tokio::test]
async fn odd_dates() {
    let rule =
        "{ hours: Mon-Fri 08:00-18:30 UTC, concurrent: { per: owner, at_most: 1, keep: oldest } }";
    let policy = format!(
        "version: 1\nrules: [{{ id: a, when: all, require: {rule} }}, \
         {{ id: b, when: all, require: {{ max_age: 1h }} }}]\n"
    );
    let policy = &write("odd.policy.yaml", &policy);
    let page = text(&folder("odd").join("page.html")).to_owned();
    for date in ["-009999-01-02T01:59:59Z", "0001-01-01T00:00:00Z", "9999-12-30T21:59:59Z"] {
        let start = json!({
            "eventSource": "ssm.amazonaws.com", "eventName": "StartSession", "eventTime": date,
            "awsRegion": "eu-central-1", "recipientAccountId": "123456789012",
            "userIdentity": {"arn": "arn:aws:iam::123456789012:user/jo"},
            "requestParameters": {"target": "i-1"}, "responseElements": {"sessionId": "a"},
        });
        let row = json!([{
            "SessionId": "a", "Owner": "arn:aws:iam::123456789012:user/jo", "Target": "i-1",
            "StartDate": date, "Status": "Connected",
        }]);
        for (option, content) in [("--cloudtrail", start), ("--from", row)] {
            let file = &write("odd.json", &content.to_string());
            let words = [policy, option, file, "--html", &page];
            let (json, sessions) = read(&backtest(&words).await);
            assert_eq!((sessions.len(), &json["unknown_ends"]), (1, &0.into()), "{date}");
            assert!(!fs::read_to_string(&page).expect("a page").contains("NaN"), "{option} {date}");
        }
    }
}

/// A file that cannot be used is named, with the place in it.
#[tokio::test]
async fn files_that_cannot_be_used() {
    let policy = &write("files.policy.yaml", "version: 1\n");
    let files = folder("unusable");
    let file = |name: &str, content: &str| {
        let path = files.join(name);
        fs::write(&path, content).expect("a file");
        text(&path).to_owned()
    };
    let whole = event("StartSession", Timestamp::UNIX_EPOCH, "x", &json!({})).to_string();
    let broken = &file("broken.ndjson", &format!("{whole}\n{whole}\n{{\"eventName\": oops}}\n"));
    let number = &file("number.json", "{\"Records\": 5}");
    let empty = &file("empty.json", " \n");
    let other = &file("other.json", "{\"Sessions\": []}");
    let deep = &file("deep.json", &"[".repeat(100_000));
    let undated = &file("undated.json", "{\"Sessions\": [{\"SessionId\": \"a\"}]}");
    let row = "[{\"SessionId\":\"a\",\"StartDate\":1772430000}]";
    let row = &file("row.json", row);
    let torn = files.join("torn.json.gz");
    gzip(&torn, &whole);
    let bytes = fs::read(&torn).expect("a file");
    fs::write(&torn, &bytes[..bytes.len() / 2]).expect("a file");
    let none = text(&files.join("none")).to_owned();
    fs::create_dir_all(&none).expect("a folder");
    for (words, status, message) in [
        (vec!["--cloudtrail", broken], 2, "broken.ndjson`: expected value at line 3 column 15"),
        (
            vec!["--cloudtrail", number],
            2,
            "number.json`: invalid type: integer `5`, expected an array of CloudTrail events at line 1",
        ),
        (vec!["--cloudtrail", empty], 2, "empty.json`: it is empty"),
        (vec!["--cloudtrail", other], 2, "no CloudTrail events in the files"),
        (vec!["--cloudtrail", deep], 2, "deep.json`: EOF while parsing a list"),
        (vec!["--cloudtrail", text(&torn)], 2, "torn.json.gz`: it cannot be decompressed: "),
        (vec!["--cloudtrail", &none], 2, "no CloudTrail events in the files"),
        (vec!["--cloudtrail", "/none.json"], 1, "cannot read `/none.json`"),
        (vec!["--cloudtrail", broken, "--organization"], 2, "cannot be used with"),
        (vec!["--cloudtrail", broken, "--from", row], 2, "cannot be used with"),
        (vec!["--cloudtrail", "-", "-"], 2, "only one of the files can be standard input"),
        (vec!["--from", broken], 2, "broken.ndjson`: trailing characters at line 2"),
        (vec!["--from", undated], 2, "no session in the files has a date; use `--at`"),
        (
            vec!["--from", row, "--at", "2026-01-01T00:00:00Z"],
            2,
            "the later date 2026-03-02T05:40:00Z",
        ),
        (vec!["--at", "2026-01-01T00:00:00Z"], 2, "--from <FILE>"),
    ] {
        let output = reapctl(&[&["backtest", policy], &words[..]].concat(), &[]).await;
        assert_eq!(output.status, Some(status), "{words:?}: {}", output.stderr);
        assert!(output.stderr.contains(message), "{words:?}: {}", output.stderr);
    }
}
