//! The event: it says when to sweep, never whom to end. It may tighten the mode, never loosen it.

use serde_json::Value;

use reaper_core::report::Mode;

/// The keys of a bare event: `mode`, and those of the input template for EventBridge Scheduler.
const KEYS: [&str; 6] =
    ["mode", "source", "scheduleArn", "scheduledTime", "executionId", "attemptNumber"];

/// Why an event starts no sweep.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum EventError {
    /// It asks for more than the configuration allows.
    #[error(
        "the event's mode is `enforce`, but the function's is `dry-run`: set REAPER_MODE instead"
    )]
    Loosens,
    /// A value is of the wrong type.
    #[error("the event's `{0}` must be a string")]
    NoString(String),
    /// Its mode is none.
    #[error("the event's `mode` is not valid: {0}")]
    Mode(String),
    /// It is no JSON object.
    #[error("the event must be a JSON object such as {{}}, not {0}")]
    NoObject(&'static str),
    /// It asks for something that no event can ask for.
    #[error("the event has the unknown key `{0}`; an event may hold only {keys}", keys = KEYS.join(", "))]
    UnknownKey(String),
}

/// The mode of the sweep that an event starts.
///
/// An object with `detail-type` (EventBridge) or `Records` (SQS) is an envelope of AWS's: of what
/// is in it, only a `mode` is looked at, which AWS never sets.
///
/// # Errors
/// If the event is not one that starts a sweep.
pub fn mode(event: &Value, configured: Mode) -> Result<Mode, EventError> {
    let Value::Object(keys) = event else {
        return Err(EventError::NoObject(match event {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::String(_) => "a string",
            Value::Array(_) | Value::Object(_) => "an array",
        }));
    };
    let is_envelope = keys.contains_key("detail-type") || keys.contains_key("Records");
    for (key, value) in keys.iter().filter(|_| !is_envelope) {
        match key.as_str() {
            "attemptNumber" if value.is_u64() => {} // The template's placeholder without quotes.
            known if KEYS.contains(&known) && value.is_string() => {}
            known if KEYS.contains(&known) => return Err(EventError::NoString(key.clone())),
            _ => return Err(EventError::UnknownKey(key.clone())),
        }
    }
    let asked = match keys.get("mode") {
        None => configured,
        Some(Value::String(text)) => text.parse().map_err(EventError::Mode)?,
        Some(_) => return Err(EventError::NoString("mode".into())),
    };
    match (asked, configured) {
        (Mode::Enforce, Mode::DryRun) => Err(EventError::Loosens),
        _ => Ok(asked),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        Mode::{DryRun, Enforce},
        *,
    };

    #[track_caller]
    fn check(event: &str, configured: Mode, expected: Result<Mode, &str>) {
        let actual = mode(&serde_json::from_str(event).expect("JSON"), configured);
        match (&actual, expected) {
            (Ok(actual), Ok(expected)) => assert_eq!(*actual, expected, "{event}"),
            (Err(err), Err(part)) => assert!(err.to_string().contains(part), "{event}: {err}"),
            _ => panic!("{event}: {actual:?}"),
        }
    }

    #[test]
    #[rustfmt::skip]
    fn events() {
        check("{}", DryRun, Ok(DryRun));
        check("{}", Enforce, Ok(Enforce));
        check(r#"{"mode":"dry-run"}"#, Enforce, Ok(DryRun));
        check(r#"{"mode":"enforce"}"#, Enforce, Ok(Enforce));
        check(r#"{"mode":"enforce"}"#, DryRun, Err("set REAPER_MODE"));
        check(r#"{"mode":"Dry-Run"}"#, Enforce, Err("not `Dry-Run`"));
        check(r#"{"mode":true}"#, Enforce, Err("`mode` must be a string"));
        check(r#"{"mode":null}"#, Enforce, Err("`mode` must be a string"));
        check(r#"{"detail-type":"x","mode":null}"#, Enforce, Err("`mode` must be a string"));
        check(r#"{"source":{"dryRun":true}}"#, Enforce, Err("`source` must be a string"));
        check(r#"{"source":"x","attemptNumber":1}"#, Enforce, Ok(Enforce));
        check(r#"{"attemptNumber":[]}"#, Enforce, Err("`attemptNumber` must be a string"));
        check(r#"{"dryRun":true}"#, Enforce, Err("unknown key `dryRun`"));
        check(r#"{"mode":"dry-run","owner":"alice"}"#, Enforce, Err("unknown key `owner`"));
        check(r#"{"detail-type":"Scheduled Event","detail":"{}"}"#, Enforce, Ok(Enforce));
        check(r#"{"detail-type":"x","mode":"dry-run"}"#, Enforce, Ok(DryRun));
        check(r#"{"Records":[],"mode":"enforce"}"#, DryRun, Err("set REAPER_MODE"));
        for (event, what) in [
            ("null", "null"), ("[]", "an array"), ("\"{}\"", "a string"), ("1", "a number"), ("true", "a boolean"),
        ] {
            check(event, Enforce, Err(what));
        }
    }
}
