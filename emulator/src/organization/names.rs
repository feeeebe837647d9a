//! What a call names: ARNs and sessions.

use reaper_core::arn::Arn;
use serde_json::Value;

/// Whether any text in the body of a call is an ARN of another account or Region. An ARN without an
/// account or without a Region is of every one.
pub(super) fn another(body: &Value, account: &str, region: &str) -> bool {
    let is_other = |own: &str, it: &str| !it.is_empty() && it != own;
    match body {
        Value::String(text) => Arn::parse(text)
            .is_some_and(|it| is_other(account, it.account) || is_other(region, it.region)),
        Value::Array(items) => items.iter().any(|it| another(it, account, region)),
        Value::Object(fields) => fields.values().any(|it| another(it, account, region)),
        Value::Bool(_) | Value::Null | Value::Number(_) => false,
    }
}

/// The sessions that a call names: the one it is about, and those that it filters a listing by.
pub(super) fn sessions(body: &Value) -> impl Iterator<Item = &str> {
    let filters = body.get("Filters").and_then(Value::as_array).into_iter().flatten();
    let filters = filters.filter(|it| it.get("key").is_some_and(|key| key == "SessionId"));
    let values = filters.filter_map(|it| it.get("value"));
    body.get("SessionId").into_iter().chain(values).filter_map(Value::as_str)
}
