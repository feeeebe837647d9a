//! `PutEvents` of EventBridge: takes events and keeps them. It has no rules and no targets.

use serde_json::{Map, Value, json};

use crate::wire::ApiError;

const MAX_ENTRIES: usize = 10;

/// AWS's documents name 256 KB in some places, and 1 MB in others: what keeps to the first is right.
const MAX_BYTES: usize = 256 * 1024;

/// The bus that the first entry names.
pub(crate) fn bus(body: &Value) -> Option<&str> {
    body.get("Entries")?.get(0)?.get("EventBusName")?.as_str()
}

/// The entries of a call, if AWS would accept it as a whole.
pub(crate) fn entries(body: &Map<String, Value>) -> Result<Vec<Value>, ApiError> {
    let entries = body.get("Entries").and_then(Value::as_array).map(Vec::as_slice);
    let entries = entries.unwrap_or_default();
    let refused = |must: &str| {
        let message = format!(
            "1 validation error detected: Value at 'entries' failed to satisfy constraint: Member must \
             {must}"
        );
        Err(ApiError::new(400, "ValidationException", &message))
    };
    if entries.is_empty() {
        return refused("have length greater than or equal to 1");
    }
    if MAX_ENTRIES < entries.len() {
        return refused("have length less than or equal to 10");
    }
    if MAX_BYTES < entries.iter().map(size).sum() {
        let message = "Total size of the entries in the request is over the limit.";
        return Err(ApiError::new(400, "ValidationException", message));
    }
    Ok(entries.to_vec())
}

/// Takes an entry, unless something is wrong with it. Returns what AWS says of it.
pub(crate) fn take(entry: Value, taken: &mut Vec<Value>) -> Value {
    let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default();
    let failed = |code: &str, message: &str| json!({"ErrorCode": code, "ErrorMessage": message});
    for name in ["Source", "DetailType", "Detail"] {
        if text(name).is_empty() {
            let message =
                format!("Parameter {name} is not valid. Reason: {name} is a required argument.");
            return failed("InvalidArgument", &message);
        }
    }
    match serde_json::from_str(text("Detail")) {
        Ok(Value::Object(_)) => {}
        Ok(_) | Err(_) => return failed("MalformedDetail", "Detail is malformed."),
    }
    taken.push(entry);
    json!({"EventId": format!("00000000-0000-0000-0000-{:012}", taken.len())})
}

/// Takes every second entry, the first one of them, for one that cannot be taken.
pub(crate) fn spoil(body: &mut Value) {
    let entries = body.get_mut("Entries").and_then(Value::as_array_mut);
    for entry in entries.into_iter().flatten().step_by(2).filter_map(Value::as_object_mut) {
        entry.remove("Detail");
    }
}

/// Gives this code to every entry of an answer that was not taken.
pub(crate) fn fail(answer: &mut Value, code: &str) {
    let entries = answer.get_mut("Entries").and_then(Value::as_array_mut);
    for entry in entries.into_iter().flatten().filter(|it| it.get("EventId").is_none()) {
        *entry = json!({"ErrorCode": code, "ErrorMessage": "It was not taken."});
    }
}

/// What AWS counts of an entry.
fn size(entry: &Value) -> usize {
    let of_texts = ["Source", "DetailType", "Detail"].map(|it| &entry[it]);
    let resources = entry.get("Resources").and_then(Value::as_array);
    let resources = resources.into_iter().flatten();
    let texts = of_texts.into_iter().chain(resources).filter_map(Value::as_str);
    let time = if entry.get("Time").is_some() { 14 } else { 0 };
    time + texts.map(str::len).sum::<usize>()
}
