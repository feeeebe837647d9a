//! What starts a sweep: events as AWS and people send them. What each asks for is known from how it is
//! made, so that it shares no code with the reader in `src/`.

use fastrand::Rng;
use reaper_core::report::Mode;
use serde_json::{Value, json};

/// An event, and what it asks for.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) payload: Value,
    /// The mode of the sweep; `None` if no sweep may start.
    pub(crate) mode: Option<Mode>,
}

/// What is asked for by an event, or by the events of a batch.
#[derive(Default)]
struct Asked {
    modes: Vec<Mode>,
    is_unknown: bool,
}

impl Event {
    /// Any event, for a function of this mode.
    pub(crate) fn any(rng: &mut Rng, configured: Mode) -> Self {
        let mut asked = Asked::default();
        let payload = match rng.u8(..8) {
            0..4 => single(rng, &mut asked),
            4 => {
                let mut batch = json!({"Records": queue(rng, &mut asked)});
                let mode = put_mode(rng, &mut batch, &mut asked);
                asked.modes.extend(mode);
                batch
            }
            5 => queue(rng, &mut asked), // As Pipes hands it on.
            6 => {
                let n = rng.usize(1..4);
                (0..n).map(|_| single(rng, &mut asked)).collect()
            }
            _ => json!({}),
        };
        let loosens = configured == Mode::DryRun && asked.modes.contains(&Mode::Enforce);
        let is_refused = asked.is_unknown || loosens;
        let is_dry_run = configured == Mode::DryRun || asked.modes.contains(&Mode::DryRun);
        let mode = if is_dry_run { Mode::DryRun } else { Mode::Enforce };
        Self { payload, mode: (!is_refused).then_some(mode) }
    }
}

/// Messages of an SQS queue.
fn queue(rng: &mut Rng, asked: &mut Asked) -> Value {
    let n = rng.usize(1..4);
    let message = |_| {
        if rng.u8(..48) == 0 {
            asked.is_unknown = true;
            let records = [
                json!({"eventSource": "aws:s3", "s3": {"object": {"key": "{}"}}}),
                json!({"EventSource": "aws:sns", "Sns": {"Message": "{}"}}),
                json!({"eventSource": "aws:kinesis", "body": "{}"}),
            ];
            return records[rng.usize(..3)].clone();
        }
        let body = single(rng, asked);
        json!({"messageId": "m", "eventSource": "aws:sqs", "body": body.to_string()})
    };
    (0..n).map(message).collect()
}

/// Sometimes a mode, or what is none.
fn put_mode(rng: &mut Rng, object: &mut Value, asked: &mut Asked) -> Option<Mode> {
    let (text, mode) = match rng.u8(..48) {
        0..5 => (json!("dry-run"), Some(Mode::DryRun)),
        5..8 => (json!("enforce"), Some(Mode::Enforce)),
        8 => {
            asked.is_unknown = true;
            ([json!("Dry-Run"), json!(true), json!(null)][rng.usize(..3)].clone(), None)
        }
        _ => return None,
    };
    object["mode"] = text;
    mode
}

/// An event that is no batch.
fn single(rng: &mut Rng, asked: &mut Asked) -> Value {
    if rng.u8(..48) == 0 {
        asked.is_unknown = true;
        return unknown(rng);
    }
    let mut detail = json!({});
    let mut event = match rng.u8(..5) {
        0 => json!({}),
        1 => json!({"source": "session-reaper.scheduler", "attemptNumber": 1}),
        2 => envelope("aws.events", "Scheduled Event"),
        3 => envelope("aws.scheduler", "Scheduled Event"),
        _ => {
            let (service, name) =
                [("ssm", "StartSession"), ("ssm", "ResumeSession"), ("ecs", "ExecuteCommand")]
                    [rng.usize(..3)];
            detail = call(service, name);
            envelope(&format!("aws.{service}"), "AWS API Call via CloudTrail")
        }
    };
    let mut mode = put_mode(rng, &mut event, asked);
    if event.get("detail").is_some() {
        // Of two in one event, the stricter counts.
        let inner = put_mode(rng, &mut detail, asked);
        mode = if inner == Some(Mode::DryRun) { inner } else { mode.or(inner) };
        // EventBridge Scheduler sends it as a text.
        let is_text = event["source"] == "aws.scheduler" && rng.bool();
        event["detail"] = if is_text { detail.to_string().into() } else { detail };
    }
    asked.modes.extend(mode);
    event
}

fn envelope(source: &str, detail_type: &str) -> Value {
    json!({"version": "0", "id": "e", "source": source, "detail-type": detail_type, "detail": {}})
}

fn call(service: &str, name: &str) -> Value {
    json!({"eventSource": format!("{service}.amazonaws.com"), "eventName": name})
}

/// What no sweep starts for.
fn unknown(rng: &mut Rng) -> Value {
    let cloudtrail = "AWS API Call via CloudTrail";
    let mut terminated = envelope("aws.ssm", cloudtrail);
    terminated["detail"] = call("ssm", "TerminateSession");
    let mut forged = envelope("my.app", cloudtrail);
    forged["detail"] = call("ssm", "StartSession");
    let mut narrow = envelope("aws.events", "Scheduled Event");
    narrow["detail"] = json!({"owner": "role/dev"});
    let mut wide = envelope("aws.events", "Scheduled Event");
    wide["policy"] = json!("version: 1");
    let all = [
        terminated,
        forged,
        narrow,
        wide,
        envelope("my.app", "Ops request"),
        envelope("aws.s3", "Object Created"),
        json!({"source": "serverless-plugin-warmup"}),
        json!({"detail-type": "Ops request", "detail": {"mode": "dry-run"}}),
        json!({"dryRun": true}),
        json!({"detail": {"mode": "dry-run"}}),
    ];
    all[rng.usize(..all.len())].clone()
}
