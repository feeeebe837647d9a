//! Hostile inputs: policies, on a stack of 2 MiB, and texts from users.

use std::thread;

use proptest::prelude::*;
use reaper_core::{
    policy::Policy,
    printable::{is_unsafe, mend_halves},
};
use serde_json::{Value, json};
use session_manager_emulator::{Emulator, Fault, FaultKind, Fleet, Seed};
use test_support::{hostile_policies::hostile_policies, hostile_texts::hostile_texts};

use crate::{
    lambda::{assert_error, invocations},
    runtime_api::invoke,
    stage::{Stage, Wire},
};

/// Hostile policies are read or refused, without a panic.
#[test]
fn policies_are_read_or_refused() {
    for (name, text) in hostile_policies() {
        let parse = move || match Policy::parse(&text) {
            Ok(policy) => policy.warnings(jiff::Timestamp::UNIX_EPOCH).len(),
            Err(errors) => errors.to_string().len(),
        };
        let thread = thread::spawn(parse);
        thread.join().unwrap_or_else(|_| panic!("{name}"));
    }
}

/// One session per text, old enough to be terminated; each of its fields is the text.
fn fleet() -> Fleet {
    let mut fleet = Fleet::default();
    for (i, text) in hostile_texts().into_iter().enumerate() {
        let text = Some(text);
        fleet.sessions.push(Seed {
            id: Some(format!("{i}-{}", text.as_deref().unwrap_or_default())),
            owner: text.clone(),
            target: text.clone(),
            age: Some(jiff::SignedDuration::from_hours(2)),
            status: text.clone(),
            document: text.clone(),
            reason: text.clone(),
            access_type: text,
            ..Seed::default()
        });
    }
    fleet
}

/// Texts from users stay inside their JSON strings in every log line.
#[tokio::test]
async fn typed_texts_stay_in_their_strings() {
    let texts = hostile_texts();
    let policy = "{version: 1, rules: [{id: a, when: all, require: {max_age: 1h}}], \
                  limits: {circuit_breaker: {max_percent: 100}}}";
    for format in ["JSON", "Text"] {
        let emulator = Emulator::new(fleet());
        let mut invocations = invocations(vec![json!({})]);
        invocations.environment.push(("REAPER_POLICY", policy));
        invocations.environment.push(("AWS_LAMBDA_LOG_FORMAT", format));
        let ran = invoke(&emulator, invocations).await;
        assert!(!ran.stdout.replace('\n', "").contains(is_unsafe), "{format}");
        let report = ran.replies[0].as_ref().expect("a report");
        assert_eq!(report["verdicts"]["violation"], texts.len());
        if format == "Text" {
            let is_begun = |it: &str| it.starts_with("20") || it.starts_with('{');
            assert!(ran.stdout.lines().all(is_begun), "{}", ran.stdout);
            continue;
        }
        assert!(ran.lines().iter().all(Value::is_object));
        let evaluated = ran.lines_with("session evaluated");
        assert_eq!(evaluated.len(), texts.len());
        for text in &texts {
            let is_it = |it: &&Value| it["owner"] == **text;
            let line = evaluated.iter().find(is_it).unwrap_or_else(|| panic!("{text:?}"));
            for field in ["target", "document", "status"] {
                assert_eq!(line[field], **text, "{field}");
            }
        }
        let finished = ran.lines_with("sweep finished");
        assert_eq!(finished.len(), 1, "no line is forged");
    }
}

/// Half a UTF-16 character hides no session, and is read as U+FFFD.
#[tokio::test]
async fn half_a_character() {
    // A reason of two characters, and a violating session after it.
    let policy = "{version: 1, rules: [{id: a, when: {reason: '^INC-1: .A$'}, forbid: true}]}";
    let row = |id: &str, reason: &str| {
        format!(
            "{{\"SessionId\": \"{id}\", \"Owner\": \"arn:aws:iam::123456789012:user/x\", \"Target\": \
             \"i-0123456789abcdef0\", \"StartDate\": 1772430000.0, \"Reason\": \"{reason}\"}}"
        )
    };
    for escape in [r"\ud800\u0041", r"\udc00A", r"\uD83DA", r"\ufffdA", r"\uD83d\uDe00A"] {
        // So long that it comes in many parts, wherever they begin.
        let mut rows = vec![row("other", &escape.repeat(40)); 199];
        rows.push(row("a", &format!("INC-1: {escape}")));
        let body = format!("{{\"Sessions\": [{}]}}", rows.join(","));
        let faults = vec![Fault::new("DescribeSessions", 1, FaultKind::Body(body))];
        let seed = Seed { id: Some("a".into()), ..Seed::default() };
        let emulator = Emulator::new(Fleet { faults, sessions: vec![seed], ..Fleet::default() });
        let mut invocations = invocations(vec![json!({})]);
        invocations.environment.push(("REAPER_POLICY", policy));
        let ran = invoke(&emulator, invocations).await;
        let report = ran.replies[0].as_ref().unwrap_or_else(|err| panic!("{escape}: {err}"));
        assert_eq!(report["verdicts"]["seen"], 2, "{escape}: {report}");
        assert_eq!(report["coverage"]["complete"], true, "{escape}");
        assert_eq!(report["outcomes"]["terminated"], 1, "{escape}: {report}");
        assert!(emulator.active_ids().is_empty(), "{escape}");
    }
}

/// A termination whose answer is no JSON object proves nothing, whatever its status, and is asked for again.
/// An empty object accepts it.
#[tokio::test(start_paused = true)]
async fn terminations_without_an_answer() {
    let answers = ["{}", r#"{"SessionId": "v-3h"}"#].map(|it| (it, 1));
    let others =
        ["", " \n", "null", "[]", "\"x\"", "7", "{}{}", "<html>", "\u{feff}{}", "\u{1f}\u{8b}"];
    for (body, n_calls) in answers.into_iter().chain(others.map(|it| (it, 2))) {
        let fault = Fault::new("TerminateSession", 1, FaultKind::Body(body.into()));
        let stage = Stage::with_faults(Wire::InProcess, 0, vec![fault.for_session("v-3h")]);
        let report = stage.sweep().await;
        assert_eq!(stage.calls("TerminateSession").len(), 3 + n_calls, "{body:?}");
        assert_eq!(report.outcomes.terminated, 4, "{body:?}");
    }
}

/// A text in JSON, each of its UTF-16 units escaped or as it is, and what it says.
fn escaped() -> impl Strategy<Value = (String, String)> {
    let unit = prop_oneof![0xd7fe_u16..0xe002, Just(0x5c), Just(0x22), Just(0x75), 0x61_u16..0x67];
    let ways = proptest::collection::vec((unit, 0..3), 0..12);
    ways.prop_map(|all| {
        let read = char::decode_utf16(all.iter().map(|(unit, _)| *unit));
        let read = read.map(|it| it.unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
        let sent = all.iter().map(|(unit, way)| match (way, u8::try_from(*unit)) {
            (0, _) | (_, Err(_)) => format!("\\u{unit:04x}"),
            (1, _) => format!("\\u{unit:04X}"),
            (_, Ok(byte @ (b'"' | b'\\'))) => format!("\\{}", char::from(byte)),
            (_, Ok(byte)) => char::from(byte).to_string(),
        });
        (format!("\"{}\"", sent.collect::<String>()), read)
    })
}

proptest! {
    /// Halves are read as Unicode says, and everything else as it was.
    #[test]
    fn half_characters((sent, expected) in escaped()) {
        let mut json = sent.into_bytes();
        mend_halves(&mut json);
        prop_assert_eq!(serde_json::from_slice::<String>(&json).expect("JSON"), expected);
    }
}

/// An invalid escape makes its page unreadable and the listing incomplete.
#[tokio::test]
async fn invalid_escape() {
    for escape in [r"\uZZZZ", r"\ud80", r"\x41"] {
        let body = format!(r#"{{"Sessions": [{{"SessionId": "a", "Reason": "{escape}"}}]}}"#);
        let faults = vec![Fault::new("DescribeSessions", 5, FaultKind::Body(body))];
        let emulator = Emulator::new(Fleet { faults, ..crate::stage::fleet(0) });
        let ran = invoke(&emulator, invocations(vec![json!({})])).await;
        assert_error(&ran.replies[0], "ListingIncomplete", "the answer cannot be read");
        assert_eq!(emulator.active_ids().len(), 8, "{escape}");
    }
    let body = r#"{"Sessions": [{"SessionId": "a", "Reason": "\ud83d\ude00\u0000\u001b"}]}"#;
    let faults = vec![Fault::new("DescribeSessions", 1, FaultKind::Body(body.into()))];
    let emulator = Emulator::new(Fleet { faults, ..Fleet::default() });
    let ran = invoke(&emulator, invocations(vec![json!({})])).await;
    assert_eq!(ran.replies[0].as_ref().expect("a report")["verdicts"]["seen"], 1);
}

/// An answer with too many rows is refused before it takes memory.
#[tokio::test]
async fn too_many_rows() {
    let of = |list: &str| {
        let rows = vec!["{}"; (4 << 20) / 3 - 100].join(",");
        FaultKind::Body(format!("{{\"{list}\": [{rows}]}}"))
    };
    let listing = Fault::new("DescribeSessions", 1, of("Sessions")).always();
    let emulator = Emulator::new(Fleet { faults: vec![listing], ..crate::stage::fleet(0) });
    let ran = invoke(&emulator, invocations(vec![json!({})])).await;
    assert_error(&ran.replies[0], "ListingIncomplete", "the answer has more than 10000 objects");
    assert_error(&ran.replies[0], "ListingIncomplete", "is it AWS's?");
    assert_eq!(emulator.active_ids().len(), 8);
    assert!(ran.peak_kib < 64 << 10, "{} KiB", ran.peak_kib);

    let tags = Fault::new("GetResources", 1, of("ResourceTagMappingList")).always();
    let emulator = Emulator::new(Fleet { faults: vec![tags], ..crate::stage::fleet(0) });
    let ran = invoke(&emulator, invocations(vec![json!({})])).await;
    let report = ran.replies[0].as_ref().expect("a report");
    assert_eq!(report["verdicts"]["undetermined"], 6, "{report}");
    assert!(ran.peak_kib < 64 << 10, "{} KiB", ran.peak_kib);
}

/// However long the texts of the sessions are, and however many there are, the function lives within
/// its memory, and says that it has not seen them all.
#[tokio::test]
async fn memory_bounds_the_listing() {
    let text = |i: usize, length: usize| Some(format!("{i:x<length$}"));
    let mut fleet = Fleet::default();
    for i in 0..20_000 {
        fleet.sessions.push(Seed {
            id: text(i, 96),
            owner: text(i, 256),
            target: text(i, 400),
            age: Some(jiff::SignedDuration::from_hours(2)),
            document: text(i, 128),
            reason: text(i, 256),
            ..Seed::default()
        });
    }
    let emulator = Emulator::new(fleet);
    let mut invocations = invocations(vec![json!({})]);
    invocations.environment.push(("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "64"));
    let ran = invoke(&emulator, invocations).await;
    assert_error(&ran.replies[0], "ListingIncomplete", "the memory is full after ");
    assert!(ran.peak_kib < 64 << 10, "{} KiB", ran.peak_kib);
    let seen = ran.lines_with("sweep finished")[0]["seen"].as_u64().expect("a count");
    assert!((10_000..20_000).contains(&seen), "{seen}");
}
