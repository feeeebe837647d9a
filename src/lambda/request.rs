//! What starts a sweep, or a step of a run: a closed set of events.
//!
//! An event says when to sweep, and carries no session, owner, role or policy. It may tighten the mode,
//! and never loosens it. Whatever is not one of these events is an error.
//!
//! The shapes are read by hand: `aws_lambda_events` would bring ten crates, `chrono` among them, ignores
//! keys that it does not know, and has no shape for EventBridge Pipes, for the input of EventBridge
//! Scheduler, or for a `mode`.

use serde_json::{Map, Value};

use crate::organization::Step;
use reaper_core::{
    organization::{RunId, RunIdError},
    report::Mode,
};

/// The keys of a bare event: `mode`, and those of the input template for EventBridge Scheduler.
const KEYS: [&str; 6] =
    ["mode", "source", "scheduleArn", "scheduledTime", "executionId", "attemptNumber"];

/// The `source` of a bare event, if it has one.
const SOURCE: &str = "session-reaper.scheduler";

/// The keys of an event of EventBridge, and `mode`, which AWS never sets.
const ENVELOPE_KEYS: [&str; 11] = [
    "version",
    "id",
    "detail-type",
    "source",
    "account",
    "time",
    "region",
    "resources",
    "detail",
    "replay-name",
    "mode",
];

/// The calls after which there is a session that there was not before, by the source of CloudTrail's
/// event: service, and names.
const STARTS: [(&str, &str, &[&str]); 2] = [
    ("aws.ssm", "ssm.amazonaws.com", &["StartSession", "ResumeSession"]),
    ("aws.ecs", "ecs.amazonaws.com", &["ExecuteCommand"]),
];

/// The keys of the steps of a run, by the step's name.
const STEPS: [(&str, &[&str]); 3] = [
    ("plan", &["step", "run", "input"]),
    ("batch", &["step", "run", "batch"]),
    ("summary", &["step", "run"]),
];

/// An event that starts a sweep, and the mode that it asks for, if it does.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Request {
    /// Several at once: messages of an SQS queue, from Lambda's own poller or from EventBridge Pipes.
    Batch(Option<Mode>, Vec<Request>),
    /// `{}`, or the input of EventBridge Scheduler.
    Direct(Option<Mode>),
    /// The time has come: an EventBridge rule, or EventBridge Scheduler without input.
    Schedule(Option<Mode>),
    /// A session has started, or has been resumed, as CloudTrail reports.
    Start(Option<Mode>),
    /// A step of a run over an organization, as its state machine sends it.
    Step(StepRequest),
}

/// A step of a run. It names a run and a batch, and nothing else.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum StepRequest {
    /// `plan`, with what started the execution.
    Plan(RunId, Box<Request>),
    /// `batch`.
    Batch(RunId, usize),
    /// `summary`.
    Summary(RunId),
}

/// Why an event starts no sweep.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum EventError {
    /// A text that must be an event is no JSON.
    #[error("the event's `{0}` is no JSON: {1}")]
    Json(&'static str, String),
    /// It asks for more than the configuration allows.
    #[error(
        "the event's mode is `enforce`, but the function's is `dry-run`: set REAPER_MODE instead"
    )]
    Loosens,
    /// A value is of the wrong type.
    #[error("the event's `{0}` must be a string")]
    NoString(String),
    /// A step names no batch.
    #[error("the event's `batch` must be the number of a batch, from 1 on")]
    Batch,
    /// A step of a function that is no hub, or a sweep of one that is.
    #[error("{0}")]
    Misdirected(&'static str),
    /// A step names no run.
    #[error("the event's `run` is not valid: {0}")]
    Run(#[from] RunIdError),
    /// There is no such step.
    #[error("the event's `step` is `{0}`; it may be plan, batch or summary")]
    Step(String),
    /// Its mode is none.
    #[error("the event's `mode` is not valid: {0}")]
    Mode(String),
    /// A batch without anything in it.
    #[error("the event is a batch without a record")]
    NoRecord,
    /// It is no JSON object.
    #[error("the event must be a JSON object such as {{}}, not {0}")]
    NoObject(&'static str),
    /// One of a batch.
    #[error("record {number} of the event: {err}")]
    Record {
        /// From 1 on.
        number: usize,
        /// What is wrong with it.
        err: Box<EventError>,
    },
    /// It asks for something that no event can ask for.
    #[error("the event has the unknown key `{key}`; it may hold only {}", known.join(", "))]
    UnknownKey {
        /// Which.
        key: String,
        /// Those that there are.
        known: &'static [&'static str],
    },
    /// It reports something after which no sweep is needed.
    #[error(
        "the event is {0}, which starts no sweep; these do: {{}}, a schedule of EventBridge, \
         CloudTrail's StartSession, ResumeSession and ECS ExecuteCommand, and SQS messages of these"
    )]
    Unknown(String),
}

impl Request {
    /// Reads an event.
    ///
    /// # Errors
    /// If the event, or one of its batch, is not one that starts a sweep.
    pub fn read(event: &Value) -> Result<Self, EventError> {
        match event {
            Value::Array(records) => Self::batch(None, records, Self::of_pipe),
            Value::Object(event) => match (event.get("Records"), event.get("step")) {
                (None, Some(step)) => Self::of_step(event, step),
                (Some(records), _) => {
                    check_keys(event, &["Records", "mode"])?;
                    let records = records.as_array().ok_or(EventError::NoRecord)?;
                    Self::batch(asked(event)?, records, Self::of_queue)
                }
                (None, None) => Self::single(event),
            },
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                Err(EventError::NoObject(kind(event)))
            }
        }
    }

    /// The mode of the sweep that it starts: the strictest of all that are asked for, and of the
    /// configured one.
    ///
    /// # Errors
    /// If `enforce` is asked for, and the function is configured for dry runs.
    pub fn mode(&self, configured: Mode) -> Result<Mode, EventError> {
        let (asked, requests) = match self {
            Self::Batch(asked, requests) => (asked, requests.as_slice()),
            Self::Direct(asked) | Self::Schedule(asked) | Self::Start(asked) => (asked, &[][..]),
            Self::Step(_) => return Err(EventError::Misdirected(NO_HUB)),
        };
        let modes = requests.iter().map(|it| it.mode(configured));
        let modes = modes.collect::<Result<Vec<_>, _>>()?;
        if configured == Mode::DryRun && *asked == Some(Mode::Enforce) {
            return Err(EventError::Loosens);
        }
        Ok(modes.into_iter().chain(*asked).fold(configured, stricter))
    }

    /// The step that it asks for; a plan is of the strictest mode of all that are asked for, and of the
    /// configured one.
    ///
    /// # Errors
    /// If it asks for a sweep, or `enforce` is asked for, and the function is configured for dry runs.
    pub fn step(self, configured: Mode) -> Result<Step, EventError> {
        match self {
            Self::Step(StepRequest::Plan(run, input)) => {
                Ok(Step::Plan(run, input.mode(configured)?))
            }
            Self::Step(StepRequest::Batch(run, number)) => Ok(Step::Batch(run, number)),
            Self::Step(StepRequest::Summary(run)) => Ok(Step::Summary(run)),
            Self::Batch(..) | Self::Direct(_) | Self::Schedule(_) | Self::Start(_) => {
                Err(EventError::Misdirected(HUB))
            }
        }
    }

    fn batch(
        asked: Option<Mode>,
        records: &[Value],
        read: impl Fn(&Map<String, Value>) -> Result<Self, EventError>,
    ) -> Result<Self, EventError> {
        let number = |(i, record): (usize, &Value)| {
            let record = record.as_object().ok_or_else(|| EventError::NoObject(kind(record)));
            record
                .and_then(&read)
                .map_err(|err| EventError::Record { number: i + 1, err: err.into() })
        };
        let requests = records.iter().enumerate().map(number).collect::<Result<Vec<_>, _>>()?;
        if requests.is_empty() {
            return Err(EventError::NoRecord);
        }
        Ok(Self::Batch(asked, requests))
    }

    /// One message of SQS. Its keys are AWS's; its body is a sender's.
    fn of_queue(record: &Map<String, Value>) -> Result<Self, EventError> {
        match (source(record), record.get("body")) {
            (Some("aws:sqs"), Some(body)) => Self::single(&*object(body, "body")?),
            (Some(source), _) => Err(EventError::Unknown(format!("a record of `{source}`"))),
            (None, _) => Err(EventError::Unknown("a record without a source".into())),
        }
    }

    /// What Pipes hands on: a message of SQS, or what a template has made of it.
    fn of_pipe(record: &Map<String, Value>) -> Result<Self, EventError> {
        if record.contains_key("body") { Self::of_queue(record) } else { Self::single(record) }
    }

    /// What a state machine sends.
    fn of_step(event: &Map<String, Value>, step: &Value) -> Result<Self, EventError> {
        let text = |key: &str| match event.get(key) {
            Some(Value::String(text)) => Ok(text.as_str()),
            _ => Err(EventError::NoString(key.into())),
        };
        let step = step.as_str().ok_or_else(|| EventError::NoString("step".into()))?;
        let Some((_, keys)) = STEPS.iter().find(|(name, _)| *name == step) else {
            return Err(EventError::Step(step.into()));
        };
        check_keys(event, keys)?;
        let run: RunId = text("run")?.parse()?;
        Ok(Self::Step(match step {
            "plan" => {
                let none = Map::new();
                let input = match event.get("input") {
                    None => &none,
                    Some(Value::Object(input)) if input.contains_key("step") => {
                        return Err(EventError::UnknownKey { key: "step".into(), known: &KEYS });
                    }
                    Some(Value::Object(input)) => input,
                    Some(other) => return Err(EventError::NoObject(kind(other))),
                };
                StepRequest::Plan(run, Box::new(Self::single(input)?))
            }
            "batch" => {
                let number = event.get("batch").and_then(Value::as_u64).filter(|it| 0 < *it);
                let number = number.and_then(|it| usize::try_from(it).ok());
                StepRequest::Batch(run, number.ok_or(EventError::Batch)?)
            }
            _ => StepRequest::Summary(run),
        }))
    }

    fn single(event: &Map<String, Value>) -> Result<Self, EventError> {
        if event.contains_key("detail-type") {
            return Self::envelope(event);
        }
        for (key, value) in event {
            match key.as_str() {
                "attemptNumber" if value.is_u64() => {} // The template's placeholder without quotes.
                known if KEYS.contains(&known) && value.is_string() => {}
                known if KEYS.contains(&known) => return Err(EventError::NoString(key.clone())),
                _ => return Err(EventError::UnknownKey { key: key.clone(), known: &KEYS }),
            }
        }
        match event.get("source").and_then(Value::as_str) {
            None | Some(SOURCE) => Ok(Self::Direct(asked(event)?)),
            Some(other) => Err(EventError::Unknown(format!("one of the source `{other}`"))),
        }
    }

    /// An event of EventBridge: a schedule, or a call that CloudTrail reports.
    fn envelope(event: &Map<String, Value>) -> Result<Self, EventError> {
        check_keys(event, &ENVELOPE_KEYS)?;
        let text = |key: &str| match event.get(key) {
            Some(Value::String(text)) => Ok(text.as_str()),
            _ => Err(EventError::NoString(key.into())),
        };
        let (source, detail_type) = (text("source")?, text("detail-type")?);
        let detail = match event.get("detail") {
            None => Detail::Owned(Map::new()),
            Some(detail) => object(detail, "detail")?, // A text, if Scheduler sends it.
        };
        let asked = [asked(event)?, asked(&detail)?].into_iter().flatten().reduce(stricter);
        match (source, detail_type) {
            ("aws.events" | "aws.scheduler", "Scheduled Event") => {
                check_keys(&detail, &["mode"])?;
                Ok(Self::Schedule(asked))
            }
            (_, "AWS API Call via CloudTrail") => {
                let text = |key| detail.get(key).and_then(Value::as_str).unwrap_or_default();
                let (service, call) = (text("eventSource"), text("eventName"));
                let is_start = STARTS.iter().any(|(of, from, calls)| {
                    *of == source && *from == service && calls.contains(&call)
                });
                if is_start {
                    return Ok(Self::Start(asked));
                }
                Err(EventError::Unknown(format!("CloudTrail's `{call}` of `{service}`")))
            }
            _ => Err(EventError::Unknown(format!("a `{detail_type}` of `{source}`"))),
        }
    }
}

/// Of a step for a function that is no hub.
const NO_HUB: &str = "the event is a step of a run, and the function is not the hub of an organization: \
     its REAPER_MEMBER_ROLE is not set";

/// Of a sweep for a function that is a hub.
const HUB: &str = "the event starts a sweep, and the function is the hub of an organization, which takes \
     only the steps of its state machine: start an execution of that";

/// An object in an event, or in a text of it.
type Detail<'a> = std::borrow::Cow<'a, Map<String, Value>>;

fn object<'a>(value: &'a Value, key: &'static str) -> Result<Detail<'a>, EventError> {
    match value {
        Value::Object(it) => Ok(Detail::Borrowed(it)),
        Value::String(text) => match serde_json::from_str(text) {
            Ok(Value::Object(it)) => Ok(Detail::Owned(it)),
            Ok(other) => Err(EventError::NoObject(kind(&other))),
            Err(err) => Err(EventError::Json(key, err.to_string())),
        },
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
            Err(EventError::NoObject(kind(value)))
        }
    }
}

/// The mode that an object asks for, if it does.
fn asked(event: &Map<String, Value>) -> Result<Option<Mode>, EventError> {
    match event.get("mode") {
        None => Ok(None),
        Some(Value::String(text)) => text.parse().map(Some).map_err(EventError::Mode),
        Some(_) => Err(EventError::NoString("mode".into())),
    }
}

fn stricter(a: Mode, b: Mode) -> Mode {
    if a == Mode::DryRun { a } else { b }
}

fn check_keys(
    event: &Map<String, Value>,
    known: &'static [&'static str],
) -> Result<(), EventError> {
    match event.keys().find(|it| !known.contains(&it.as_str())) {
        None => Ok(()),
        Some(key) => Err(EventError::UnknownKey { key: key.clone(), known }),
    }
}

/// Who sends a record: SNS writes the key with a capital.
fn source(record: &Map<String, Value>) -> Option<&str> {
    ["eventSource", "EventSource"].iter().find_map(|it| record.get(*it)?.as_str())
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        Mode::{DryRun, Enforce},
        *,
    };

    #[track_caller]
    fn check(event: &Value, configured: Mode, expected: Result<Mode, &str>) {
        let actual = Request::read(event).and_then(|it| it.mode(configured));
        match (&actual, expected) {
            (Ok(actual), Ok(expected)) => assert_eq!(*actual, expected, "{event}"),
            (Err(err), Err(part)) => assert!(err.to_string().contains(part), "{event}: {err}"),
            _ => panic!("{event}: {actual:?}"),
        }
    }

    /// Events without an envelope, and what is none.
    #[test]
    #[rustfmt::skip]
    fn direct() {
        let check = |event: &str, configured, expected| {
            check(&serde_json::from_str(event).expect("JSON"), configured, expected);
        };
        check("{}", DryRun, Ok(DryRun));
        check("{}", Enforce, Ok(Enforce));
        check(r#"{"mode":"dry-run"}"#, Enforce, Ok(DryRun));
        check(r#"{"mode":"enforce"}"#, Enforce, Ok(Enforce));
        check(r#"{"mode":"enforce"}"#, DryRun, Err("set REAPER_MODE"));
        check(r#"{"mode":"Dry-Run"}"#, Enforce, Err("not `Dry-Run`"));
        check(r#"{"mode":true}"#, Enforce, Err("`mode` must be a string"));
        check(r#"{"mode":null}"#, Enforce, Err("`mode` must be a string"));
        check(r#"{"source":{"dryRun":true}}"#, Enforce, Err("`source` must be a string"));
        check(r#"{"source":"session-reaper.scheduler","attemptNumber":1}"#, Enforce, Ok(Enforce));
        check(r#"{"source":"serverless-plugin-warmup"}"#, Enforce, Err("`serverless-plugin-warmup`"));
        check(r#"{"warmer":true}"#, Enforce, Err("unknown key `warmer`"));
        check(r#"{"attemptNumber":[]}"#, Enforce, Err("`attemptNumber` must be a string"));
        check(r#"{"dryRun":true}"#, Enforce, Err("unknown key `dryRun`"));
        check(r#"{"mode":"dry-run","owner":"alice"}"#, Enforce, Err("unknown key `owner`"));
        check(r#"{"detail":{"mode":"dry-run"}}"#, Enforce, Err("unknown key `detail`"));
        for (event, what) in [
            ("null", "not null"), ("[]", "without a record"), ("\"{}\"", "not a string"), ("1", "not a number"),
            ("true", "not a boolean"),
        ] {
            check(event, Enforce, Err(what));
        }
    }

    /// Schedules, and the calls that CloudTrail reports; `mode` counts wherever it is.
    #[test]
    fn envelopes() {
        let scheduled = |source: &str, detail: Value| json!({"detail-type": "Scheduled Event", "source": source, "detail": detail, "id": "x"});
        for (source, detail, expected) in [
            ("aws.events", json!({}), Ok(Enforce)),
            ("aws.scheduler", json!("{}"), Ok(Enforce)),
            ("aws.events", json!({"mode": "dry-run"}), Ok(DryRun)),
            ("aws.scheduler", json!("{\"mode\":\"dry-run\"}"), Ok(DryRun)),
            ("aws.scheduler", json!("{\"mode\":7}"), Err("`mode` must be a string")),
            ("aws.scheduler", json!("{"), Err("`detail` is no JSON")),
            ("aws.events", json!({"dryRun": true}), Err("unknown key `dryRun`")),
            ("aws.events", json!([]), Err("not an array")),
            ("aws.s3", json!({}), Err("a `Scheduled Event` of `aws.s3`")),
        ] {
            check(&scheduled(source, detail), Enforce, expected);
        }
        let mut event = scheduled("aws.events", json!({"mode": "enforce"}));
        check(&event, DryRun, Err("set REAPER_MODE"));
        event["mode"] = "dry-run".into();
        check(&event, Enforce, Ok(DryRun));
        event["mode"] = Value::Null;
        check(&event, Enforce, Err("`mode` must be a string"));
        event["mode"] = "dry-run".into();
        event["owner"] = "alice".into();
        check(&event, Enforce, Err("unknown key `owner`"));

        let call = |source: &str, service: &str, name: &str| {
            json!({
                "detail-type": "AWS API Call via CloudTrail",
                "source": source,
                "detail": {"eventSource": service, "eventName": name, "requestParameters": {}},
            })
        };
        for (source, service, name, expected) in [
            ("aws.ssm", "ssm.amazonaws.com", "StartSession", Ok(Enforce)),
            ("aws.ssm", "ssm.amazonaws.com", "ResumeSession", Ok(Enforce)),
            ("aws.ecs", "ecs.amazonaws.com", "ExecuteCommand", Ok(Enforce)),
            ("aws.ssm", "ssm.amazonaws.com", "TerminateSession", Err("CloudTrail's `Terminate")),
            ("aws.ecs", "ecs.amazonaws.com", "RunTask", Err("CloudTrail's `RunTask`")),
            ("aws.ecs", "ssm.amazonaws.com", "StartSession", Err("CloudTrail's `StartSession`")),
            ("my.app", "ssm.amazonaws.com", "StartSession", Err("CloudTrail's `StartSession`")),
        ] {
            check(&call(source, service, name), Enforce, expected);
        }
        let mut event = call("aws.ecs", "ecs.amazonaws.com", "ExecuteCommand");
        event["detail"]["mode"] = "dry-run".into();
        check(&event, Enforce, Ok(DryRun));
        let request = json!({"detail-type": "Ops request", "detail": {"mode": "dry-run"}});
        check(&request, Enforce, Err("`source` must be a string"));
        let request = json!({"detail-type": "Ops request", "source": "me", "detail": {}});
        check(&request, Enforce, Err("a `Ops request` of `me`"));
    }

    /// The strictest mode of a batch is that of the sweep, and one bad record spoils it.
    #[test]
    fn batches() {
        let record = |body: &str| json!({"eventSource": "aws:sqs", "messageId": "x", "body": body});
        let start = &record(
            r#"{"detail-type":"AWS API Call via CloudTrail","source":"aws.ssm","detail":
                {"eventSource":"ssm.amazonaws.com","eventName":"StartSession"}}"#,
        );
        let (now, dry) = (&record("{}"), &record(r#"{"mode":"dry-run"}"#));
        let enforce = &record(r#"{"mode":"enforce"}"#);
        let batch_in_batch = &record(r#"{"Records":[]}"#);
        let s3 = &json!({"eventSource": "aws:s3", "s3": {}});
        let sns = &json!({"EventSource": "aws:sns", "Sns": {"Message": "{}"}});
        for (records, expected) in [
            (json!([start, now]), Ok(Enforce)),
            (json!([start, dry]), Ok(DryRun)),
            (json!([dry, enforce]), Ok(DryRun)),
            (
                json!([now, record("{\"dryRun\":true}")]),
                Err("record 2 of the event: the event has"),
            ),
            (json!([now, record("now")]), Err("`body` is no JSON")),
            (json!([now, record("[]")]), Err("not an array")),
            (json!([batch_in_batch]), Err("unknown key `Records`")),
            (json!([now, 7]), Err("record 2 of the event: the event must be a JSON object")),
            (json!([now, s3]), Err("a record of `aws:s3`")),
            (json!([sns]), Err("a record of `aws:sns`")),
            (json!([{"eventSource": "aws:sqs"}]), Err("a record of `aws:sqs`")),
            (json!([]), Err("without a record")),
        ] {
            check(&json!({"Records": records}), Enforce, expected);
            check(&records, Enforce, expected.map_err(|_| "")); // As Pipes hands it on: any error.
        }
        check(&json!({"Records": [now], "mode": "dry-run"}), Enforce, Ok(DryRun));
        check(&json!({"Records": [now, enforce]}), DryRun, Err("set REAPER_MODE"));
        check(&json!({"Records": [enforce], "mode": "dry-run"}), DryRun, Err("set REAPER_MODE"));
        check(&json!({"Records": [now], "owner": "x"}), Enforce, Err("unknown key `owner`"));
        check(&json!({"Records": {}}), Enforce, Err("without a record"));
        // As a template of Pipes makes it: the body itself.
        check(&json!([{"mode": "dry-run"}, {}]), Enforce, Ok(DryRun));
        check(
            &json!([{"eventSource": "aws:sqs", "body": {"mode": "dry-run"}}]),
            Enforce,
            Ok(DryRun),
        );
        check(
            &json!([{"eventSource": "aws:kinesis", "data": "e30="}]),
            Enforce,
            Err("unknown key"),
        );
    }

    fn run(id: &str) -> RunId {
        id.parse().expect("an id")
    }

    /// Steps name a run and a batch, and nothing else. What starts an execution may tighten the mode.
    #[test]
    fn steps() {
        let step = |text: &str, configured| -> Result<Step, String> {
            let event: Value = serde_json::from_str(text).expect("JSON");
            let request = Request::read(&event).map_err(|it| it.to_string())?;
            request.step(configured).map_err(|it| it.to_string())
        };
        let scheduled = r#"{"source":"session-reaper.scheduler","attemptNumber":1}"#;
        let plan = |input: &str| format!(r#"{{"step":"plan","run":"r-1","input":{input}}}"#);
        for (text, expected) in [
            (r#"{"step":"plan","run":"r-1"}"#.into(), Step::Plan(run("r-1"), Enforce)),
            (plan("{}"), Step::Plan(run("r-1"), Enforce)),
            (plan(scheduled), Step::Plan(run("r-1"), Enforce)),
            (plan(r#"{"mode":"dry-run"}"#), Step::Plan(run("r-1"), DryRun)),
            (r#"{"step":"batch","run":"r-1","batch":7}"#.into(), Step::Batch(run("r-1"), 7)),
            (r#"{"step":"summary","run":"r-1"}"#.into(), Step::Summary(run("r-1"))),
        ] {
            assert_eq!(step(&text, Enforce), Ok(expected), "{text}");
        }
        for (text, expected) in [
            (r#"{"step":"sweep","run":"r"}"#.into(), "`step` is `sweep`"),
            (r#"{"step":7,"run":"r"}"#.into(), "`step` must be a string"),
            (r#"{"step":"summary"}"#.into(), "`run` must be a string"),
            (r#"{"step":"summary","run":"../lease"}"#.into(), "`run` is not valid"),
            (r#"{"step":"summary","run":"r","batch":1}"#.into(), "unknown key `batch`"),
            (r#"{"step":"batch","run":"r"}"#.into(), "`batch` must be the number"),
            (r#"{"step":"batch","run":"r","batch":0}"#.into(), "`batch` must be the number"),
            (r#"{"step":"batch","run":"r","batch":"1"}"#.into(), "`batch` must be the number"),
            (r#"{"step":"batch","run":"r","batch":1.5}"#.into(), "`batch` must be the number"),
            (
                r#"{"step":"batch","run":"r","batch":1,"account":"000000000001"}"#.into(),
                "unknown key `account`",
            ),
            (
                r#"{"step":"batch","run":"r","batch":1,"mode":"dry-run"}"#.into(),
                "unknown key `mode`",
            ),
            (plan(r#"{"accounts":[]}"#), "unknown key `accounts`"),
            (plan(r#"{"step":"summary"}"#), "unknown key `step`"),
            (plan("[]"), "not an array"),
            (r#"{"step":"plan","run":"r","Records":[]}"#.into(), "unknown key"),
            ("{}".into(), "takes only the steps of its state machine"),
        ] {
            let err = step(&text, Enforce).expect_err(&text);
            assert!(err.contains(expected), "{text}: {err}");
        }
        let err = step(&plan(r#"{"mode":"enforce"}"#), DryRun).expect_err("loosens");
        assert!(err.contains("set REAPER_MODE"), "{err}");
        let event = json!({"step": "summary", "run": "r"});
        check(&event, Enforce, Err("not the hub of an organization"));
    }
}
