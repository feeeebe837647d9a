//! Events on a bus: what is sent of a sweep, and what becomes of it when something is wrong with the bus.

use std::{collections::BTreeSet, time::Duration};

use jiff::SignedDuration;
use reaper_core::{
    notice::EventsSent,
    report::{Mode, Outcomes},
};
use serde_json::{Value, json};
use session_manager_emulator::{Emulator, Fault, FaultKind, Fleet, Seed};

use crate::{
    lambda::invocations,
    runtime_api::invoke,
    stage::{Stage, VIOLATORS, Wire, fleet, inline, outcomes},
};

const OUTCOME: &str = "Session Outcome";
const WARNING: &str = "Session Expiry Warning";

fn stage(wire: Wire, faults: Vec<Fault>) -> Stage {
    Stage { has_bus: true, ..Stage::with_faults(wire, 0, faults) }
}

fn details(stage: &Stage, detail_type: &str) -> Vec<Value> {
    let events = stage.events().into_iter();
    events.filter(|(it, _)| it == detail_type).map(|(_, detail)| detail).collect()
}

fn texts(details: &[Value], name: &str) -> Vec<String> {
    details.iter().filter_map(|it| it[name].as_str()).map(str::to_owned).collect()
}

/// Each terminated session has one event with what is known of it, and the sweep has one. What is left
/// alone has none. The tags are there though no verdict needed them of all.
#[tokio::test]
async fn of_a_sweep() {
    let stage = stage(Wire::Socket, Vec::new());
    let report = stage.sweep().await;
    stage.check(&report, outcomes(0, Outcomes { terminated: 4, ..Outcomes::default() }));
    let events = EventsSent { sent: 5, failed: 0, problem: None };
    assert_eq!(report.events, Some(events), "four sessions, and the sweep");
    let told = details(&stage, OUTCOME);
    assert_eq!(texts(&told, "session_id"), VIOLATORS);
    let first = &told[0];
    for (name, expected) in [
        ("account", json!("123456789012")),
        ("region", json!("eu-central-1")),
        ("owner", json!("arn:aws:sts::123456789012:assumed-role/dev/x")),
        ("owner_short", json!("role/dev/x")),
        ("target", json!("i-0000000000000dev0")),
        ("rules", json!(["one-hour"])),
        ("outcome", json!("terminated")),
        ("mode", json!("enforce")),
        ("policy", json!(report.policy)),
        ("truncated", json!(false)),
    ] {
        assert_eq!(first[name], expected, "{name}");
    }
    let finished = details(&stage, "Sweep Finished");
    assert_eq!(finished.len(), 1);
    assert_eq!(finished[0]["outcomes"], json!(report.outcomes));
    assert_eq!(stage.calls("PutEvents").len(), 1);

    // The next sweep has nothing to tell but itself.
    stage.sweep().await;
    assert_eq!(details(&stage, OUTCOME).len(), 4);
    assert_eq!(details(&stage, "Sweep Finished").len(), 2);
}

/// A violator whose verdict needs no tags has them in its event, so that it reaches its team; a dry run
/// says so; and the same session has the same id in each sweep.
#[tokio::test]
async fn tags_and_ids() {
    let policy =
        "{version: 1, tag_keys: [env], rules: [{id: old, when: all, require: {max_age: 100m}}]}";
    let stage = stage(Wire::InProcess, Vec::new());
    let stage = Stage { policy: inline(policy), mode: Mode::DryRun, ..stage };
    stage.sweep().await;
    let first = details(&stage, OUTCOME);
    let v_5h = first.iter().find(|it| it["session_id"] == "v-5h").expect("v-5h");
    assert_eq!(
        (&v_5h["tags"], &v_5h["outcome"]),
        (&json!({"env": "dev"}), &json!("would_terminate"))
    );
    assert!(
        v_5h["text"].as_str().is_some_and(|it| it.contains("nothing was terminated")),
        "{v_5h}"
    );
    stage.sweep().await;
    let ids = texts(&details(&stage, OUTCOME), "id");
    assert_eq!(ids.len(), 2 * first.len());
    assert_eq!(ids.into_iter().collect::<BTreeSet<_>>().len(), first.len());
}

/// The bus may be denied, throttled, or lose answers: every session is terminated all the same, and the
/// report says what was not sent.
#[tokio::test(start_paused = true)]
async fn faults() {
    let fault = |kind| vec![Fault::new("PutEvents", 1, kind)];
    let always = |kind| vec![Fault::new("PutEvents", 1, kind).always()];
    let entries = |code: &str| FaultKind::FailEntries(code.into());
    for (faults, n_failed, problem) in [
        (
            always(FaultKind::Deny),
            5,
            "allow `events:PutEvents` on \
            `arn:aws:events:eu-central-1:123456789012:event-bus/ops`",
        ),
        (always(FaultKind::Throttle), 5, "`PutEvents` was throttled"),
        (always(FaultKind::ResetAfter), 5, "`PutEvents` failed after 5 attempts"),
        (always(FaultKind::Unavailable), 5, "`PutEvents` failed after 5 attempts"),
        (always(FaultKind::Body("{}".into())), 5, "`PutEvents` failed after 5 attempts"),
        (
            always(FaultKind::Body("{\"Entries\":[]}".into())),
            5,
            "`PutEvents` failed after 5 attempts",
        ),
        (fault(FaultKind::Throttle), 0, ""),
        (fault(FaultKind::ResetAfter), 0, ""),
        (fault(FaultKind::InternalError), 0, ""),
        (fault(entries("ThrottlingException")), 0, ""),
        (fault(entries("InternalFailure")), 0, ""),
        (fault(entries("AccessDeniedException")), 3, "the bus did not take an event: AccessDenied"),
        (always(entries("InternalFailure")), 1, "InternalFailure"),
    ] {
        let stage = stage(Wire::InProcess, faults.clone());
        let report = stage.sweep().await;
        let terminated = Outcomes { terminated: 4, ..Outcomes::default() };
        stage.check(&report, outcomes(0, terminated));
        assert_eq!(report.failure(), None);
        let events = report.events.as_ref().expect("a bus");
        assert_eq!(
            (events.sent, events.failed),
            (5 - n_failed, n_failed),
            "{faults:?}: {events:?}"
        );
        let said = events.problem.as_deref().unwrap_or_default();
        assert!(said.contains(problem) && said.is_empty() == problem.is_empty(), "{said}");
        let taken = texts(&details(&stage, OUTCOME), "session_id").into_iter();
        let taken: BTreeSet<_> = taken.collect();
        assert!(events.sent <= taken.len() + 1, "what is said to be sent has been taken");
    }
}

/// One event that the bus refuses does not keep the others from it: neither those of its call, which are sent again
/// alone, nor those of other calls. If none is taken alone either, nothing else is tried.
#[tokio::test(start_paused = true)]
async fn one_bad_event() {
    let invalid = || FaultKind::Error {
        status: 400,
        code: "ValidationException".into(),
        message: "An entry is not valid.".into(),
    };
    let refused = |times| Fault::new("PutEvents", times, invalid());
    let policy = "{version: 1, rules: [{id: all, when: all, forbid: true}], \
                  limits: {max_terminations: 10000, circuit_breaker: {max_percent: 100}}}";
    // By how many others there are: each session has an event, and the sweep. Four calls are made at a time.
    for (n_others, faults, n_failed, n_calls) in [
        (58, vec![refused(1)], 0, 7 + 10),
        (0, vec![refused(1), refused(1).after(1)], 1, 1 + 9),
        (58, vec![refused(1).always()], 67, 4 + 4 * 10),
    ] {
        let stage = Stage::with_faults(Wire::InProcess, n_others, faults.clone());
        let stage = Stage { policy: inline(policy), mode: Mode::DryRun, has_bus: true, ..stage };
        let n = 9 + n_others;
        let report = stage.sweep().await;
        let events = report.events.expect("a bus");
        assert_eq!((events.sent, events.failed), (n - n_failed, n_failed), "{faults:?}");
        assert_eq!(events.problem.is_some(), n_failed != 0);
        let ids: BTreeSet<_> = texts(&details(&stage, OUTCOME), "session_id").into_iter().collect();
        let n_taken = ids.len() + details(&stage, "Sweep Finished").len();
        assert_eq!(n_taken, n - n_failed, "{faults:?}");
        assert!(stage.calls("PutEvents").len() <= n_calls, "{faults:?}");
    }
}

/// A thousand events are sent ten at a time, also when the first of each call is not taken at first.
#[tokio::test(start_paused = true)]
async fn many_in_batches() {
    let policy = "{version: 1, rules: [{id: all, when: all, forbid: true}], \
                   limits: {max_terminations: 10000, circuit_breaker: {max_percent: 100}}}";
    let partial = Fault::new("PutEvents", 20, FaultKind::FailEntries("InternalFailure".into()));
    let fleet = Fleet { faults: vec![partial], ..fleet(987) };
    let mut fleet = Fleet { sessions: fleet.sessions, ..fleet };
    for seed in &mut fleet.sessions {
        // What the bus has to tell would be refused if it were in one call.
        seed.target = Some(format!("i-{}", "0".repeat(17)));
    }
    let stage = Stage { has_bus: true, mode: Mode::DryRun, ..Stage::new(Wire::InProcess, fleet) };
    let stage = Stage { policy: inline(policy), ..stage };
    let report = stage.sweep().await;
    assert_eq!(report.events.as_ref().map(|it| (it.sent, it.failed)), Some((996, 0)));
    let ids: BTreeSet<_> = texts(&details(&stage, OUTCOME), "session_id").into_iter().collect();
    assert_eq!((ids.len(), details(&stage, OUTCOME).len()), (995, 995), "each once");
    for call in stage.calls("PutEvents") {
        let n = call.body["Entries"].as_array().map_or(0, Vec::len);
        assert!((1..=10).contains(&n) && call.status == Some(200));
    }
}

/// A bus that is slow or always throttled ends no later than the sweep's time, and takes half a minute at
/// most; and what it takes is not missing from the terminations.
#[tokio::test(start_paused = true)]
async fn time() {
    for (deadline, kind) in [
        (Duration::from_mins(5), FaultKind::Throttle),
        (Duration::from_secs(15), FaultKind::Throttle),
        (Duration::from_secs(15), FaultKind::Slow(Duration::from_secs(100))),
    ] {
        let stage = stage(Wire::InProcess, vec![Fault::new("PutEvents", 1, kind).always()]);
        let stage = Stage { deadline, margin: deadline / 3, ..stage };
        let began = tokio::time::Instant::now();
        let report = stage.sweep().await;
        let took = began.elapsed();
        assert!(took <= deadline && took < Duration::from_secs(40), "{took:?}");
        assert_eq!(report.outcomes.terminated, 4);
        assert_eq!(report.events.map(|it| it.failed), Some(5));
    }
}

/// Without a bus, nothing is sent, and the report says nothing of events.
#[tokio::test(start_paused = true)]
async fn no_bus() {
    let stage = Stage::with_faults(Wire::InProcess, 0, Vec::new());
    let report = json!(stage.sweep().await);
    assert_eq!((report.get("events"), stage.calls("PutEvents").len()), (None, 0));
}

/// At most an hour, warned of 15 and 5 minutes before; in the lab for longer, and break-glass never.
const WARNING_POLICY: &str = "
version: 1
tag_keys: [env]
rules: [{ id: one-hour, when: all, unless: { target_tags: { env: lab } }, require: { max_age: 1h } }]
exemptions: [{ id: break-glass, when: { owner: role/BreakGlass } }]
warn_before: [15m, 5m]
";

/// Sweeps every five minutes: each session is warned of before it is terminated, 15 and 5 minutes before;
/// what is exempt, by its tags or its owner, or of which the tags are not known, is not. The tags are
/// looked up for that alone.
#[tokio::test(start_paused = true)]
async fn warnings() {
    let seed = |id: &str, role: &str, target: &str| Seed {
        id: Some(id.into()),
        owner: Some(format!("arn:aws:sts::123456789012:assumed-role/{role}/x")),
        target: Some(target.into()),
        age: Some(SignedDuration::from_mins(31)),
        ..Seed::default()
    };
    let sessions = vec![
        seed("v", "dev", "i-0000000000000dev0"),
        seed("lab", "dev", "i-0000000000000lab0"),
        seed("untagged", "dev", "i-00000000untagged0"),
        seed("glass", "BreakGlass", "i-0000000000000dev0"),
    ];
    let tags = |env: &str| [("env".to_owned(), env.to_owned())].into();
    let tags =
        [("i-0000000000000dev0".into(), tags("dev")), ("i-0000000000000lab0".into(), tags("lab"))];
    let fleet = Fleet { sessions, tags: tags.into(), ..Fleet::default() };
    for mode in [Mode::DryRun, Mode::Enforce] {
        let stage = Stage { has_bus: true, mode, ..Stage::new(Wire::InProcess, fleet.clone()) };
        let stage = Stage { policy: inline(WARNING_POLICY), ..stage };
        let began = tokio::time::Instant::now();
        for period in 0..8 {
            tokio::time::sleep_until(began + Duration::from_mins(5) * period).await;
            stage.sweep().await;
        }
        let warnings = details(&stage, WARNING);
        assert!(texts(&warnings, "session_id").iter().all(|it| it == "v"), "{warnings:#?}");
        let told: Vec<_> =
            warnings.iter().map(|it| (it["before_s"].clone(), it["repeat"].clone())).collect();
        let expected = [(900, false), (900, false), (300, false)];
        let expected = expected.map(|(before, repeat)| (json!(before), json!(repeat)));
        assert_eq!(told[..1], expected[..1]);
        assert_eq!(told.last(), expected.last());
        let ids: BTreeSet<_> = texts(&warnings, "id").into_iter().collect();
        assert_eq!(ids.len(), 2, "whoever keeps the ids has two warnings");
        let fresh = told.iter().filter(|(_, repeat)| *repeat == json!(false)).count();
        assert_eq!(fresh, 2, "{told:?}");
        let said = warnings[0]["text"].as_str().expect("a text");
        let promise = match mode {
            Mode::DryRun => "nothing will be terminated",
            Mode::Enforce => "is to terminate it",
        };
        assert!(said.contains(promise), "{said}");
        assert_eq!(stage.is_active("v"), mode == Mode::DryRun);
    }
}

/// The real binary, by its variables: the reply, the last line and the metric say what became of the events.
#[tokio::test]
async fn function() {
    for (faults, sent, failed) in
        [(Vec::new(), 5, 0), (vec![Fault::new("PutEvents", 1, FaultKind::Deny).always()], 0, 5)]
    {
        let emulator = Emulator::new(Fleet { faults, ..fleet(0) });
        let mut invocations = invocations(vec![json!({})]);
        invocations.environment.extend([("REAPER_EVENT_BUS", "ops"), ("REAPER_PERIOD", "1m")]);
        let ran = invoke(&emulator, invocations).await;
        let reply = ran.replies[0].as_ref().expect("a report");
        let counts = (&reply["events"]["sent"], &reply["events"]["failed"]);
        assert_eq!(counts, (&json!(sent), &json!(failed)));
        assert_eq!(reply["outcomes"]["terminated"], 4);
        let finished = &ran.lines_with("sweep finished")[0];
        assert_eq!(finished["events_failed"], failed);
        assert_eq!(finished["events_problem"].is_string(), 0 < failed);
        let lines = ran.lines();
        let metrics = lines.iter().find(|it| !it["EventsFailed"].is_null()).expect("the metric");
        assert_eq!(metrics["EventsFailed"], failed);
        assert_eq!(emulator.events().len(), sent);
    }
}

/// Texts from outside are as they are in the fields, and harmless in the text for e-mail, which stands
/// between quotes; what is too long is cut, and that is said.
#[tokio::test(start_paused = true)]
async fn hostile_texts() {
    let owner =
        format!("arn:aws:sts::123456789012:assumed-role/dev/\"\\\n<x>{}", "\u{1}".repeat(9_000));
    let sessions = vec![Seed {
        id: Some("v".into()),
        owner: Some(owner.clone()),
        target: Some("i-0\u{202e}".into()),
        age: Some(SignedDuration::from_hours(2)),
        ..Seed::default()
    }];
    let fleet = Fleet { sessions, ..Fleet::default() };
    let policy = "{version: 1, rules: [{id: old, when: all, require: {max_age: 1h}}]}";
    let stage = Stage { has_bus: true, ..Stage::new(Wire::InProcess, fleet) };
    let stage = Stage { policy: inline(policy), ..stage };
    let report = stage.sweep().await;
    assert_eq!(report.events.map(|it| it.sent), Some(2));
    let outcome = &details(&stage, OUTCOME)[0];
    assert!(owner.starts_with(outcome["owner"].as_str().expect("it").trim_end_matches('…')));
    assert_eq!(outcome["truncated"], true);
    let is_safe = |it: char| !"\"\\<>\u{202e}".contains(it) && !it.is_control();
    assert!(outcome["text"].as_str().is_some_and(|it| it.chars().all(is_safe)), "{outcome}");
    assert!(outcome["chat"]["content"]["title"].as_str().is_some_and(|it| it.chars().all(is_safe)));
}

/// The emulator refuses what AWS refuses, and so no other test sends it.
#[tokio::test]
async fn emulator_refuses_what_aws_refuses() {
    let emulator = Emulator::new(Fleet::default());
    let entry = |detail: &str| json!({"Source": "s", "DetailType": "t", "Detail": detail});
    let put = async |entries: Vec<Value>| {
        let request = http::Request::post("/")
            .header(
                "authorization",
                "AWS4-HMAC-SHA256 Credential=A/20260101/eu-central-1/events/aws4_request,",
            )
            .header("x-amz-target", "AWSEvents.PutEvents")
            .body(json!({"Entries": entries}).to_string().into());
        let answer = emulator.answer(request.expect("a request")).await.expect("an answer");
        let body: Value = serde_json::from_slice(answer.body()).expect("JSON");
        (answer.status().as_u16(), body)
    };
    for entries in
        [Vec::new(), vec![entry("{}"); 11], vec![entry(&format!("{{{}}}", " ".repeat(262_142)))]]
    {
        let (status, body) = put(entries).await;
        assert_eq!((status, &body["__type"]), (400, &json!("ValidationException")), "{body}");
    }
    let (status, body) = put(vec![entry("{}"), entry("[]"), json!({"Source": "s"})]).await;
    assert_eq!((status, &body["FailedEntryCount"]), (200, &json!(2)));
    let codes: Vec<_> = (0..3).map(|it| body["Entries"][it]["ErrorCode"].as_str()).collect();
    assert_eq!(codes, [None, Some("MalformedDetail"), Some("InvalidArgument")]);
    assert_eq!(emulator.events().len(), 1);
}
