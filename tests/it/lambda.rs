//! The real binary: event in, reply, log lines and metrics out.

use std::{fs, path::Path, time::Duration};

use serde_json::{Value, json};
use session_manager_emulator::{Behaviour, Emulator, Fault, FaultKind, Fleet};

use crate::{
    faults::expired,
    runtime_api::{Invocations, invoke},
    stage::{
        POLICY, TAGLESS_POLICY, THOUSAND_POLICY, VIOLATORS, assert_hundred_terminations, fleet,
        thousand,
    },
};

pub(crate) fn invocations(events: Vec<Value>) -> Invocations<'static> {
    Invocations {
        environment: vec![("REAPER_MODE", "enforce"), ("REAPER_POLICY", POLICY)],
        events,
        deadline: Duration::from_mins(5),
    }
}

async fn run(emulator: &Emulator, invocations: Invocations<'_>) -> Result<Value, Value> {
    let mut ran = invoke(emulator, invocations).await;
    assert_eq!(ran.replies.len(), 1);
    ran.replies.remove(0)
}

#[track_caller]
pub(crate) fn assert_error(reply: &Result<Value, Value>, name: &str, message: &str) {
    let error = reply.as_ref().expect_err("an error");
    let text = error["errorMessage"].as_str().unwrap_or_default();
    assert!(error["errorType"] == name && text.contains(message), "{error}");
}

/// The reply is the report.
#[tokio::test]
async fn reply_is_the_report() {
    let emulator = Emulator::new(fleet(0));
    let reply = run(&emulator, invocations(vec![json!({})])).await.expect("a report");
    assert_eq!(emulator.active_ids(), ["x-role", "x-tag", "u-untagged", "c-fresh"]);
    let expected = json!({
        "mode": "enforce",
        "account": "123456789012",
        "region": "eu-central-1",
        "coverage": {"complete": true, "problem": null, "pages": 1},
        "calls": 1 + 1 + 4 + 1,
        "verdicts": {
            "seen": 8, "compliant": 1, "exempt": 2, "violation": 4, "warning": 0, "undetermined": 1,
            "not_evaluated": 0,
        },
        "outcomes": {
            "terminated": 4, "already_gone": 0, "unconfirmed": 0, "denied": 0, "throttled": 0,
            "failed": 0, "would_terminate": 0, "deferred": 0, "no_action": 4,
        },
        "rules": {"one-hour": 4},
        "circuit_breaker_open": false,
        "paused": false,
        "truncated": false,
    });
    for (name, value) in expected.as_object().expect("an object") {
        assert_eq!(&reply[name], value, "{name}");
    }
    let sessions = reply["sessions"].as_array().expect("a list");
    let ids: Vec<_> = sessions.iter().filter_map(|it| it["session_id"].as_str()).collect();
    assert_eq!(ids, ["v-5h", "v-4h", "v-3h", "v-2h", "u-untagged", "x-role", "x-tag"]);
    assert_eq!(sessions[0]["rules"], json!(["one-hour"]));
    assert_eq!(sessions[4]["unknown"], "tags_not_returned");
    assert_eq!(sessions[5]["rules"], json!(["break-glass"]));
}

/// Of a thousand sessions, exactly the hundred violating ones are terminated, each once.
#[tokio::test]
async fn thousand_sessions() {
    let latency = Duration::from_millis(5);
    let behaviour = Behaviour { latency, ..Behaviour::default() };
    let emulator = Emulator::new(Fleet { behaviour, ..thousand() });
    let environment = vec![("REAPER_MODE", "enforce"), ("REAPER_POLICY", THOUSAND_POLICY)];
    let invocations = Invocations { environment, ..invocations(vec![json!({})]) };
    let report = run(&emulator, invocations).await.expect("a report");
    assert_hundred_terminations(&emulator);
    assert_eq!(report["verdicts"]["exempt"], 50);
    let expected = json!({"eight-hours": 40, "frozen": 30, "payments-only": 30});
    assert_eq!((&report["outcomes"]["terminated"], &report["rules"]), (&json!(100), &expected));
}

/// Every line is a JSON object with the keys of Powertools; decisions come before outcomes.
#[tokio::test]
async fn log_lines() {
    let emulator = Emulator::new(fleet(0));
    let ran = invoke(&emulator, invocations(vec![json!({}), json!({})])).await;
    let (metrics, logs): (Vec<_>, Vec<_>) =
        ran.lines().into_iter().partition(|it| !it["_aws"].is_null());
    for line in &logs {
        assert_eq!(line["service"], "session-reaper", "{line}");
        assert_eq!(line["function_name"], "session-reaper", "{line}");
        assert_eq!(line["xray_trace_id"], "1-5759e988-bd862e3fe1be46a994272793");
        let is_first = line["function_request_id"] == "request-1";
        assert_eq!(line["cold_start"], is_first, "{line}");
        assert!(is_first || line["function_request_id"] == "request-2", "{line}");
        let is_warning = line["message"] == "policy warning";
        assert_eq!(line["level"], if is_warning { "WARN" } else { "INFO" }, "{line}");
        let timestamp = line["timestamp"].as_str().unwrap_or_default();
        assert!(timestamp.parse::<jiff::Timestamp>().is_ok(), "{line}");
        let is_flat = |it: &Value| match it {
            Value::Object(_) => false,
            Value::Array(items) => items.iter().all(Value::is_string),
            Value::Bool(_) | Value::Null | Value::Number(_) | Value::String(_) => true,
        };
        assert!(line.as_object().expect("an object").values().all(is_flat), "{line}");
    }
    let messages: Vec<_> = logs.iter().filter_map(|it| it["message"].as_str()).collect();
    let mut expected = vec!["sweep started", "policy warning"];
    expected.extend(["session evaluated"; 8]);
    expected.extend(["session terminated"; 4]);
    expected.extend(["sweep finished", "sweep started", "policy warning"]);
    expected.extend(["session evaluated"; 4]);
    expected.push("sweep finished");
    assert_eq!(messages, expected);

    let evaluated = ran.lines_with("session evaluated");
    let decision = &evaluated.iter().find(|it| it["session_id"] == "v-5h").expect("v-5h");
    for (name, value) in [
        ("owner", json!("arn:aws:sts::123456789012:assumed-role/dev/x")),
        ("target", json!("i-0000000000000dev0")),
        ("document", Value::Null), // AWS did not return it, and nothing is made up.
        ("status", json!("Connected")),
        ("verdict", json!("violation")),
        ("rules", json!(["one-hour"])),
        ("action", json!("terminate")),
        ("outcome", Value::Null),
    ] {
        assert_eq!(decision[name], value, "{name}");
    }
    assert!(!decision.as_object().expect("an object").contains_key("outcome"));
    let age = decision["age_s"].as_i64().expect("an age");
    assert!((18_000..18_060).contains(&age), "{age}");
    assert_eq!(ran.lines_with("session terminated")[0]["outcome"], "terminated");

    let finished = &ran.lines_with("sweep finished")[0];
    assert_eq!((&finished["seen"], &finished["terminated"]), (&json!(8), &json!(4)));
    assert_eq!((&finished["complete"], &finished["pages"]), (&json!(true), &json!(1)));
    assert_eq!(finished["policy_source"], "environment variable REAPER_POLICY");
    assert_eq!(finished["policy_sha256"].as_str().map(str::len), Some(64));
    assert_eq!(finished["sessions_sha256"].as_str().map(str::len), Some(64));

    assert_eq!(metrics.len(), 1 + 1 + 1, "each sweep, and the one rule that was violated");
    assert_emf(&metrics[0], &["Account", "Region", "Mode"], 24);
    assert_emf(&metrics[1], &["Account", "Region", "Mode", "Rule"], 1);
    let first = &metrics[0];
    assert_eq!((&first["Sessions"], &first["Terminated"]), (&json!(8), &json!(4)));
    assert_eq!((&first["Complete"], &first["Mode"]), (&json!(1), &json!("enforce")));
    assert_eq!((&metrics[1]["Rule"], &metrics[1]["Violations"]), (&json!("one-hour"), &json!(4)));
    assert_eq!(metrics[2]["Violations"], 0);
}

#[track_caller]
fn assert_emf(line: &Value, dimensions: &[&str], n_metrics: usize) {
    let directive = &line["_aws"]["CloudWatchMetrics"][0];
    assert_eq!(directive["Namespace"], "SessionReaper");
    assert_eq!(directive["Dimensions"], json!([dimensions]));
    let metrics = directive["Metrics"].as_array().expect("a list");
    assert_eq!(metrics.len(), n_metrics);
}

/// Every line of the demo's sweep, with what differs from run to run set to zero.
///
/// The metrics among them are held to CloudWatch's rules by `tests/schema/validate.py`.
#[tokio::test]
async fn golden_log() {
    const VARYING: [&str; 9] = [
        "timestamp",
        "started_at",
        "age_s",
        "duration_s",
        "oldest_violation_s",
        "OldestViolation",
        "SweepDuration",
        "RemainingTime",
        "Timestamp",
    ];
    let emulator =
        Emulator::new(Fleet::parse(include_str!("../../reapctl/demo/fleet.yaml")).unwrap());
    let policy = include_str!("../../policies/starter.yaml");
    let environment = vec![("REAPER_MODE", "enforce"), ("REAPER_POLICY", policy)];
    let ran = invoke(&emulator, Invocations { environment, ..invocations(vec![json!({})]) }).await;
    let mut actual = String::new();
    for mut line in ran.lines() {
        let fields = line.as_object_mut().expect("an object");
        for name in VARYING {
            fields.entry(name).and_modify(|it| *it = json!(0));
        }
        fields.entry("_aws").and_modify(|it| it["Timestamp"] = json!(0));
        actual.extend([&line.to_string(), "\n"]);
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/sweep.jsonl");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &actual).expect("a file");
    }
    let expected = fs::read_to_string(path).expect("text");
    for (actual, expected) in actual.lines().zip(expected.lines()) {
        assert_eq!(actual, expected);
    }
    assert_eq!(actual.lines().count(), expected.lines().count());
}

/// Every sample event starts a sweep.
#[tokio::test]
async fn sample_events() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("events");
    let mut files: Vec<_> =
        fs::read_dir(folder).expect("events/").map(|it| it.expect("a file").path()).collect();
    files.sort();
    let texts: Vec<_> = files.iter().map(|it| fs::read_to_string(it).expect("text")).collect();
    let events: Vec<Value> =
        texts.iter().map(|it| serde_json::from_str(it).expect("JSON")).collect();
    assert_eq!(events.len(), 13);
    let emulator = Emulator::new(fleet(0));
    let ran = invoke(&emulator, invocations(events)).await;
    for ((file, text), reply) in files.iter().zip(texts).zip(&ran.replies) {
        let reply = reply.as_ref().unwrap_or_else(|err| panic!("{}: {err}", file.display()));
        let mode = if text.contains("dry-run") { "dry-run" } else { "enforce" };
        assert_eq!(reply["mode"], mode, "{}", file.display());
    }
}

/// An unknown event fails, and terminates no session.
#[tokio::test]
async fn unknown_events() {
    let table = [
        (json!({"dryRun": true}), "unknown key `dryRun`"),
        (json!({"mode": "dry-run", "sessions": ["a"]}), "unknown key `sessions`"),
        (json!({"mode": "Dry-Run"}), "not `Dry-Run`"),
        (json!({"mode": false}), "must be a string"),
        (json!(null), "not null"),
        (json!([]), "a batch without a record"),
        (json!({"source": "serverless-plugin-warmup"}), "which starts no sweep"),
        (json!({"Records": [{"eventSource": "aws:s3", "s3": {}}]}), "a record of `aws:s3`"),
        (json!({"Records": [{"EventSource": "aws:sns", "Sns": {}}]}), "a record of `aws:sns`"),
        (
            json!({"source": "me", "detail-type": "Ops request", "detail": {"mode": "dry-run"}}),
            "a `Ops request` of `me`",
        ),
        (json!("{}"), "not a string"),
    ];
    let emulator = Emulator::new(fleet(0));
    let events = table.iter().map(|(event, _)| event.clone()).collect();
    let ran = invoke(&emulator, invocations(events)).await;
    for ((_, message), reply) in table.iter().zip(&ran.replies) {
        assert_error(reply, "EventInvalid", message);
    }
    assert!(emulator.calls().is_empty());
    assert_eq!(ran.lines_with("sweep failed").len(), table.len());
}

/// An event may tighten the mode and never loosen it.
#[tokio::test]
async fn event_only_tightens_the_mode() {
    let emulator = Emulator::new(fleet(0));
    let reply = run(&emulator, invocations(vec![json!({"mode": "dry-run"})])).await;
    assert_eq!(reply.expect("a report")["outcomes"]["would_terminate"], 4);

    let mut dry = invocations(vec![json!({"mode": "enforce"})]);
    dry.environment = vec![("REAPER_POLICY", POLICY)];
    assert_error(&run(&emulator, dry.clone()).await, "EventInvalid", "set REAPER_MODE");
    dry.events = vec![json!({})];
    assert_eq!(run(&emulator, dry).await.expect("a report")["mode"], "dry-run");
    assert_eq!(emulator.active_ids().len(), 8);
}

/// The policy comes from a parameter, a variable or a file.
#[tokio::test]
async fn policy_sources() {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("policy.yaml");
    fs::write(&file, POLICY).expect("a temporary file");
    let file = file.to_str().expect("UTF-8");
    for (name, value, source, version) in [
        ("REAPER_POLICY_PARAMETER", "/reaper/policy", "parameter /reaper/policy", json!(1)),
        ("REAPER_POLICY", POLICY, "environment variable REAPER_POLICY", Value::Null),
        ("REAPER_POLICY_FILE", file, &format!("file {file}"), Value::Null),
    ] {
        let emulator = Emulator::new(fleet(0));
        emulator.set_parameter("/reaper/policy", POLICY);
        let environment = vec![(name, value)];
        let invocations = Invocations { environment, ..invocations(vec![json!({})]) };
        let reply = run(&emulator, invocations).await.expect("a report");
        assert_eq!(
            (&reply["policy"]["source"], &reply["policy"]["version"]),
            (&json!(source), &version)
        );
        assert_eq!(reply["outcomes"]["would_terminate"], 4, "the mode is dry-run unless set");
    }
}

/// An invalid configuration fails every invocation, and the error names the variable.
#[tokio::test]
async fn invalid_configuration() {
    let emulator = Emulator::new(fleet(0));
    for (name, value) in [
        ("REAPER_MODE", "yes"),
        ("REAPER_DRYRUN", "true"),
        ("REAPER_POLICY_FILE", "/also"),
        ("REAPER_CONCURRENCY", "0"),
    ] {
        let mut invocations = invocations(vec![json!({})]);
        invocations.environment.push((name, value));
        assert_error(&run(&emulator, invocations).await, "ConfigInvalid", name);
    }
    assert!(emulator.calls().is_empty());
}

/// Variables of the SDK that are empty, or that it cannot use, do not end the function.
#[tokio::test]
async fn variables_of_the_sdk() {
    for (name, value) in [
        ("AWS_ENDPOINT_URL_SSM", ""),
        ("AWS_MAX_ATTEMPTS", "0"),
        ("AWS_RETRY_MODE", "legacy"),
        ("AWS_USE_FIPS_ENDPOINT", "true"),
    ] {
        let mut invocations = invocations(vec![json!({})]);
        invocations.environment.push((name, value));
        let reply = run(&Emulator::new(fleet(0)), invocations).await;
        assert!(reply.is_ok(), "{name}: {reply:?}");
    }
}

/// A policy that cannot be read or parsed fails the run, and terminates no session.
#[tokio::test]
async fn unusable_policy() {
    let emulator = Emulator::new(fleet(0));
    for (name, value, message) in [
        (
            "REAPER_POLICY",
            "version: 1\nrules: [{id: a, when: all, require: {max_agee: 1h}}]\n",
            "line 2",
        ),
        ("REAPER_POLICY_PARAMETER", "/none", "ParameterNotFound"),
    ] {
        let environment = vec![("REAPER_MODE", "enforce"), (name, value)];
        let ran =
            invoke(&emulator, Invocations { environment, ..invocations(vec![json!({})]) }).await;
        assert_error(&ran.replies[0], "PolicyUnusable", message);
        let failed = ran.lines_with("sweep failed");
        assert_eq!(failed.len(), 1, "one log line");
        assert!(failed[0]["error"].as_str().is_some_and(|it| it.contains(message)));
        assert_eq!(failed[0]["level"], "ERROR");
    }
    assert_eq!(emulator.active_ids().len(), 8);
}

/// A run with an incomplete listing terminates, reports, and then fails.
#[tokio::test]
async fn incomplete_run() {
    let faults = vec![Fault::new("DescribeSessions", 1, FaultKind::RepeatToken).after(1)];
    let mut fleet = Fleet { faults, ..fleet(200) };
    fleet.sessions.reverse();
    let emulator = Emulator::new(fleet);
    let ran = invoke(&emulator, invocations(vec![json!({})])).await;
    assert_error(&ran.replies[0], "ListingIncomplete", "repeated a page token");
    assert_error(&ran.replies[0], "ListingIncomplete", "208 seen");
    assert_error(&ran.replies[0], "ListingIncomplete", "4 terminated");
    assert!(VIOLATORS.iter().all(|id| !emulator.active_ids().contains(&(*id).to_owned())));
    let metrics: Vec<_> = ran.lines().into_iter().filter(|it| !it["_aws"].is_null()).collect();
    assert_eq!((&metrics[0]["Complete"], &metrics[0]["Terminated"]), (&json!(0), &json!(4)));
    assert_eq!(ran.lines_with("sweep finished")[0]["complete"], false);
}

/// If every termination is denied, the run fails.
#[tokio::test]
async fn all_denied() {
    let faults = vec![Fault::new("TerminateSession", 1, FaultKind::Deny).always()];
    let emulator = Emulator::new(Fleet { faults, ..fleet(0) });
    let ran = invoke(&emulator, invocations(vec![json!({})])).await;
    assert_error(&ran.replies[0], "AllDenied", "4 denied");
    let denied = ran.lines_with("session denied");
    assert_eq!((denied.len(), &denied[0]["level"]), (4, &json!("WARN")));
}

/// If credentials expire during a run, its error says so in one line.
#[tokio::test]
async fn credentials_expire_midway() {
    let faults = vec![
        Fault::new("TerminateSession", 1, expired()).always().after(2),
        Fault::new("DescribeSessions", 1, expired()).always().after(1),
    ];
    let emulator = Emulator::new(Fleet { faults, ..fleet(0) });
    // Time for three passes.
    let deadline = Duration::from_secs(10 + 5);
    let ran = invoke(&emulator, Invocations { deadline, ..invocations(vec![json!({})]) }).await;
    let report = ran.replies[0].as_ref().expect("a report");
    let outcomes = &report["outcomes"];
    assert_eq!((&outcomes["unconfirmed"], &outcomes["denied"]), (&json!(2), &json!(2)));
    let failed = ran.lines_with("verification failed");
    assert_eq!((failed.len(), &failed[0]["level"]), (1, &json!("WARN")));
    let error = failed[0]["error"].as_str().unwrap_or_default();
    assert!(error.contains("the credentials have expired: renew them"), "{error}");
    assert!(!error.contains('\n'), "{error}");
}

#[tokio::test]
async fn deadline() {
    let emulator = Emulator::new(fleet(0));
    let environment = vec![
        ("REAPER_MODE", "enforce"),
        ("REAPER_POLICY", TAGLESS_POLICY),
        ("REAPER_CALLS_PER_SECOND", "0.1"), // So slow that verification would take all the time.
    ];
    let deadline = Duration::from_secs(21);
    let invocations = Invocations { environment, events: vec![json!({})], deadline };
    let reply = run(&emulator, invocations).await.expect("a report");
    assert_eq!(reply["outcomes"]["deferred"], 4);
    let first = &reply["sessions"][0];
    assert_eq!((&first["deferred_by"], &first["action"]), (&json!("deadline"), &json!("defer")));
    assert_eq!(emulator.active_ids().len(), 8);
}

/// The second half of the margin is for the report.
#[tokio::test]
async fn margin_for_the_report() {
    let hang = FaultKind::Slow(Duration::from_mins(1));
    let faults = vec![Fault::new("DescribeSessions", 1, hang).always()];
    let emulator = Emulator::new(Fleet { faults, ..fleet(0) });
    let mut invocations = invocations(vec![json!({})]);
    invocations.environment.push(("REAPER_DEADLINE_MARGIN", "2s"));
    invocations.deadline = Duration::from_secs(4);
    let ran = invoke(&emulator, invocations).await;
    assert_error(&ran.replies[0], "ListingIncomplete", "no answer within");
    let seconds = ran.lines_with("sweep finished")[0]["duration_s"].as_f64();
    assert!(seconds.is_some_and(|it| (2.5..3.5).contains(&it)), "{seconds:?} s");
}

/// Probable mistakes in the policy, and failed look-ups, are logged as warnings.
#[tokio::test]
async fn warnings() {
    let faults = vec![Fault::new("GetResources", 1, FaultKind::Deny)];
    let emulator = Emulator::new(Fleet { faults, ..fleet(0) });
    let ran = invoke(&emulator, invocations(vec![json!({})])).await;
    let failed = ran.lines_with("tag look-up failed");
    assert!(failed[0]["error"].as_str().is_some_and(|it| it.contains("`tag:GetResources`")));

    let environment = vec![("REAPER_POLICY", "version: 1")];
    let ran = invoke(&emulator, Invocations { environment, ..invocations(vec![json!({})]) }).await;
    let warned = ran.lines_with("policy warning");
    assert!(warned[0]["warning"].as_str().is_some_and(|it| it.contains("no rules")));
    assert_eq!((&failed[0]["level"], &warned[0]["level"]), (&json!("WARN"), &json!("WARN")));
}

/// Lambda's log controls are honoured.
#[tokio::test]
async fn log_controls() {
    let emulator = Emulator::new(fleet(0));
    let mut quiet = invocations(vec![json!({"mode": "dry-run"})]);
    quiet.environment.push(("AWS_LAMBDA_LOG_LEVEL", "WARN"));
    let ran = invoke(&emulator, quiet).await;
    let is_loud = |it: &Value| it["level"] == "WARN" || !it["_aws"].is_null();
    assert!(ran.lines().iter().all(is_loud), "warnings and metrics only");
    assert_eq!(ran.lines().len(), 3);

    let mut text = invocations(vec![json!({"mode": "dry-run"})]);
    text.environment.push(("AWS_LAMBDA_LOG_FORMAT", "Text"));
    let ran = invoke(&emulator, text).await;
    assert!(ran.stdout.contains("INFO") && ran.stdout.contains("sweep finished"), "{}", ran.stdout);
    assert!(!ran.stdout.contains("\"level\""));
}

/// Texts from users stay inside their JSON strings.
#[tokio::test]
async fn typed_texts_stay_in_their_strings() {
    let mut fleet = fleet(0);
    let hostile = "x\n{\"level\":\"ERROR\"}\u{1b}[31m\u{202e}\"\\\u{0}";
    for seed in &mut fleet.sessions {
        seed.document = Some(hostile.into());
    }
    let emulator = Emulator::new(fleet);
    let ran = invoke(&emulator, invocations(vec![json!({})])).await;
    let evaluated = ran.lines_with("session evaluated");
    assert_eq!(evaluated.len(), 8);
    assert!(evaluated.iter().all(|it| it["document"] == hostile));
    assert_eq!(ran.replies[0].as_ref().expect("a report")["sessions"][0]["document"], hostile);
}
