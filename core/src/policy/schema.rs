//! The policy's form as a JSON Schema, for editors: made of the tables that its reader goes by.

use serde_json::{Map, Value, json};

use super::{
    ACCESS_TYPES, Limits, STATUSES,
    file::{ASSUME, CONDITIONS, EXEMPTION, Field, LIMITS, MAX_COUNT, POLICY, REQUIREMENTS},
    file::{RULE, TRIP_ABOVE},
};

/// The JSON Schema (draft 7) of a policy.
///
/// It refuses unknown keys and wrong types, as the reader does. What needs more than the form, such
/// as ids that repeat, is left to the reader.
#[must_use]
pub fn schema() -> Value {
    let mut schema = object("A policy of session-reaper.", &POLICY, &["version"]);
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("$schema".into(), "http://json-schema.org/draft-07/schema#".into());
        schema.insert("title".into(), "session-reaper policy".into());
    }
    schema
}

fn object(description: &str, fields: &[Field], required: &[&str]) -> Value {
    let properties: Map<_, _> =
        fields.iter().map(|(name, schema)| ((*name).to_owned(), schema())).collect();
    json!({
        "description": description,
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

/// An object with one or more of these properties.
fn some_of(description: &str, fields: &[Field]) -> Value {
    let mut schema = object(description, fields, &[]);
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("minProperties".into(), 1.into());
    }
    schema
}

fn one_or_more(description: &str, item: &Value) -> Value {
    json!({
        "description": description,
        "anyOf": [item, {"type": "array", "items": item, "minItems": 1}],
    })
}

fn text(pattern: &str) -> Value {
    json!({"type": "string", "pattern": pattern})
}

fn count(description: &str, low: u32, high: u32, default: u32) -> Value {
    json!({
        "description": description,
        "type": "integer",
        "minimum": low,
        "maximum": high,
        "default": default,
    })
}

pub(super) fn version() -> Value {
    json!({"description": "The version of the policy language.", "const": 1})
}

pub(super) fn tag_keys() -> Value {
    json!({
        "description": "The tag keys that conditions may use, so that a typo is an error.",
        "type": "array",
        "items": {"type": "string", "minLength": 1, "maxLength": 128},
        "minItems": 1,
        "uniqueItems": true,
    })
}

pub(super) fn rules() -> Value {
    let mut rule = object("What sessions must be like. All rules apply.", &RULE, &["id", "when"]);
    if let Some(rule) = rule.as_object_mut() {
        let either = json!([{"required": ["require"]}, {"required": ["forbid"]}]);
        rule.insert("oneOf".into(), either);
    }
    let description = "All apply; their order only decides which one leads a verdict.";
    json!({"description": description, "type": "array", "items": rule})
}

pub(super) fn exemptions() -> Value {
    let item = object("Sessions that no rule touches.", &EXEMPTION, &["id", "when"]);
    let description = "They outrank every rule.";
    json!({"description": description, "type": "array", "items": item, "minItems": 1})
}

pub(super) fn limits() -> Value {
    object("How much one sweep may do.", &LIMITS, &[])
}

pub(super) fn assume() -> Value {
    object("What to assume of what AWS does not return; without this, it is unknown.", &ASSUME, &[])
}

pub(super) fn assume_none() -> Value {
    json!({"description": "That there are none, or unknown.", "enum": ["none", "unknown"]})
}

pub(super) fn assume_document() -> Value {
    json!({
        "description": "The name of the document, or unknown.",
        "type": "string",
        "pattern": "^[A-Za-z0-9_.-]+$",
    })
}

pub(super) fn assume_access_type() -> Value {
    json!({
        "description": "The access type, or unknown.",
        "enum": ACCESS_TYPES.into_iter().chain(["unknown"]).collect::<Vec<_>>(),
    })
}

pub(super) fn paused() -> Value {
    let description = "Whether everybody is held, whatever the mode.";
    json!({"description": description, "type": "boolean", "default": false})
}

pub(super) fn id() -> Value {
    json!({
        "description": "Names it in reports, logs and metrics. Rules and exemptions share the names.",
        "type": "string",
        "pattern": "^[A-Za-z0-9._-]{1,64}$",
    })
}

pub(super) fn description() -> Value {
    json!({"description": "For people.", "type": "string"})
}

pub(super) fn when() -> Value {
    condition("What it is about: `all`, or conditions that must all hold.")
}

pub(super) fn unless() -> Value {
    condition("What it is not about all the same: `all`, or conditions that must all hold.")
}

fn condition(description: &str) -> Value {
    let fields = CONDITIONS.map(|(name, schema, _)| (name, schema));
    json!({"anyOf": [{"const": "all"}, some_of(description, &fields)], "description": description})
}

pub(super) fn require() -> Value {
    let fields = REQUIREMENTS.map(|(name, schema, _)| (name, schema));
    some_of("What a session must fulfil, if the rule is about it.", &fields)
}

pub(super) fn forbid() -> Value {
    json!({"description": "There must be no such session.", "const": true})
}

pub(super) fn until() -> Value {
    json!({
        "description": "From this instant on the exemption exempts nobody.",
        "type": "string",
        "format": "date-time",
        "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}.*([Zz]|[+-][0-9]{2}(:?[0-9]{2})?)$",
    })
}

pub(super) fn max_terminations() -> Value {
    let default = Limits::default().max_terminations;
    count("Terminations per sweep; the rest is held until its turn.", 1, MAX_COUNT, default)
}

pub(super) fn circuit_breaker() -> Value {
    object("The circuit breaker: holds everybody when too many sessions violate.", &TRIP_ABOVE, &[])
}

pub(super) fn max_percent() -> Value {
    let default = Limits::default().max_percent;
    count(
        "It opens above this share: the violators among the violators and the compliant, in per cent …",
        0,
        100,
        default,
    )
}

pub(super) fn min_violations() -> Value {
    let default = Limits::default().min_violations;
    count("… and from this number of violators on.", 1, MAX_COUNT, default)
}

pub(super) fn owner() -> Value {
    let (name, pair) = (r"[^/\s]+", r"[^/\s]+(/[^/\s]+)?");
    let forms = [
        "root".to_owned(),
        r"arn:\S+".to_owned(),
        format!("role/{pair}"),
        format!("permission-set/{pair}"),
        format!("user/{name}(/{name})*"),
        format!("federated-user/{name}"),
    ];
    one_or_more(
        "Who started the session: `role/NAME[/SESSION-NAME]`, `permission-set/NAME[/USER]`, \
         `user/NAME`, `user/PATH/NAME`, `federated-user/NAME`, `root`, or a whole `arn:…`; globs.",
        &text(&format!("^({})$", forms.join("|"))),
    )
}

pub(super) fn target() -> Value {
    let description = "What the session runs on: `i-…`, `mi-…`, `ecs:CLUSTER_TASK_RUNTIME`; globs.";
    one_or_more(description, &json!({"type": "string", "minLength": 1}))
}

pub(super) fn target_tags() -> Value {
    json!({
        "description": "The target's tags, all of these keys; a value is a glob or a list of them.",
        "type": "object",
        "minProperties": 1,
        "additionalProperties": one_or_more("The tag's value.", &json!({"type": "string"})),
    })
}

pub(super) fn document() -> Value {
    one_or_more("The session document's name; globs.", &text("^[A-Za-z0-9_.*?-]+$"))
}

pub(super) fn status() -> Value {
    one_or_more("The session's status.", &json!({"enum": STATUSES}))
}

pub(super) fn access_type() -> Value {
    one_or_more("Standard, or just-in-time access.", &json!({"enum": ACCESS_TYPES}))
}

pub(super) fn reason() -> Value {
    let item = json!({"type": "string", "format": "regex"});
    one_or_more("A regular expression that finds something in what the user typed.", &item)
}

pub(super) fn max_age() -> Value {
    json!({
        "description": "How old the session may be: `90s`, `30m`, `8h`, `1d`, `1h30m`.",
        "type": "string",
        "pattern": "^(?=.*[1-9])([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?$",
    })
}

pub(super) fn hours() -> Value {
    let (day, time) = ("(Mon|Tue|Wed|Thu|Fri|Sat|Sun)", "([01][0-9]|2[0-3]):[0-5][0-9]");
    let days = format!("{day}(-{day})?(,{day}(-{day})?)*");
    one_or_more(
        "When such a session may be open, by the wall clock: `Mon-Fri 08:00-18:30 Europe/Berlin`.",
        &text(&format!(r"^\s*{days}\s+{time}-({time}|24:00)\s+\S+\s*$")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_is_the_one_that_editors_are_given() {
        let committed = include_str!("../../../policies/policy.schema.json");
        let committed: Value = serde_json::from_str(committed).expect("JSON");
        assert_eq!(schema(), committed);
    }
}
