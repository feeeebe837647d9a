//! The policy's form as a JSON Schema, for editors: made of the tables that its reader goes by.

use serde_json::{Map, Value, json};

use super::{
    grammar::{
        ASSUME, CIRCUIT_BREAKER, CONCURRENT, CONDITIONS, DOCUMENT_ARNS, DOCUMENTS, EFFECT,
        EXEMPTION, KEEP, LIMITS, MAX_COUNT, MAX_REASON, MAX_TAG_KEY, MAX_TAG_VALUE, PER, POLICY,
        REGIONS, REQUIREMENTS, RULE, TARGETS,
    },
    model::{ACCESS_TYPES, Limits, STATUSES},
};
use crate::{
    alphabet::{Names, VISIBLE},
    duration::MAX_DIGITS,
    pattern::{MAX_NAME, OWNER_ARNS, OWNERS},
    session_type::SessionType,
};

/// The JSON Schema (draft 7) of a policy.
///
/// It refuses unknown keys and wrong types, as the reader does. What needs more than the form, such
/// as ids that repeat, is left to the reader.
#[must_use]
pub fn schema() -> Value {
    let mut schema = object(
        "A policy of session-reaper.",
        POLICY,
        [version, tag_keys, rules, exemptions, limits, warn_before, assume, paused],
        &["version"],
    );
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("$schema".into(), "http://json-schema.org/draft-07/schema#".into());
        schema.insert("title".into(), "session-reaper policy".into());
    }
    schema
}

/// What a key's value may be.
type Form = fn() -> Value;

/// An object with these keys, each with its form.
fn object<const N: usize>(
    description: &str,
    keys: [&str; N],
    forms: [Form; N],
    required: &[&str],
) -> Value {
    let forms = keys.into_iter().zip(forms);
    let properties: Map<_, _> = forms.map(|(key, form)| (key.to_owned(), form())).collect();
    json!({
        "description": description,
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

/// An object with one or more of these properties.
fn some_of<const N: usize>(description: &str, keys: [&str; N], forms: [Form; N]) -> Value {
    let mut schema = object(description, keys, forms, &[]);
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

/// A text that is wholly of this form, of ECMA-262 without flags.
///
/// To Python, `$` also stands before a line end that ends the text.
fn text(form: &str) -> Value {
    json!({"type": "string", "pattern": whole(form)})
}

fn whole(form: &str) -> String {
    format!(r"^(?:{form})$(?!\n)")
}

/// A glob of this form, unless every text that it matches has more characters than these.
fn glob(form: &str, max: usize) -> Value {
    json!({"type": "string", "pattern": whole(form), "not": {"pattern": longer_than(max)}})
}

/// What more characters than these begin with, `*` left out.
///
/// An engine may take a character for two, of which the second is in the class here.
fn longer_than(max: usize) -> String {
    format!(r"^(?:[*\udc00-\udfff]*[^*\udc00-\udfff]){{{}}}", max + 1)
}

/// The hours of a day.
const HOUR: &str = "(?:[01][0-9]|2[0-3])";

fn count(description: &str, low: u32, high: u32, default: u32) -> Value {
    json!({
        "description": description,
        "type": "integer",
        "minimum": low,
        "maximum": high,
        "default": default,
    })
}

fn version() -> Value {
    json!({"description": "The version of the policy language.", "const": 1})
}

fn tag_keys() -> Value {
    json!({
        "description": "The tag keys that conditions may use, so that a typo is an error.",
        "type": "array",
        "items": {
            "type": "string",
            "minLength": 1,
            "maxLength": MAX_TAG_KEY,
            "pattern": whole(&format!("{VISIBLE}*")),
        },
        "minItems": 1,
        "uniqueItems": true,
    })
}

fn rules() -> Value {
    let mut rule = object(
        "What sessions must be like. All rules apply.",
        RULE,
        [id, description, when, unless, require, forbid, effect],
        &["id", "when"],
    );
    if let Some(rule) = rule.as_object_mut() {
        let either = json!([{"required": ["require"]}, {"required": ["forbid"]}]);
        rule.insert("oneOf".into(), either);
    }
    let description = "All apply; their order only decides which one leads a verdict.";
    json!({"description": description, "type": "array", "items": rule})
}

fn exemptions() -> Value {
    let item = object(
        "Sessions that no rule touches.",
        EXEMPTION,
        [id, description, when, until],
        &["id", "when"],
    );
    let description = "They outrank every rule.";
    json!({"description": description, "type": "array", "items": item, "minItems": 1})
}

fn limits() -> Value {
    object("How much one sweep may do.", LIMITS, [max_terminations, circuit_breaker], &[])
}

fn warn_before() -> Value {
    let mut item = max_age();
    if let Some(item) = item.as_object_mut() {
        item.remove("description");
    }
    json!({
        "description": "How long before its termination, as far as it can be foreseen, a session's owner is warned.",
        "type": "array",
        "items": item,
        "minItems": 1,
        "uniqueItems": true,
    })
}

fn session_type() -> Value {
    let names = SessionType::ALL.map(SessionType::name);
    one_or_more("What kind of session the document starts.", &json!({"enum": names}))
}

fn account() -> Value {
    one_or_more("The account's 12 digits, in quotes.", &text("[0-9]{12}"))
}

fn region() -> Value {
    let form = format!("{}+", REGIONS.glob_class().replace("A-Z", ""));
    one_or_more("The Region's code; globs.", &glob(&form, REGIONS.max))
}

fn assume() -> Value {
    object(
        "What to assume of what AWS does not return; without this, it is unknown.",
        ASSUME,
        [assumed_none, assumed_document, assumed_access_type, assumed_none],
        &[],
    )
}

fn assumed_none() -> Value {
    json!({"description": "That there are none, or unknown.", "enum": ["none", "unknown"]})
}

fn assumed_document() -> Value {
    let Names { punctuation, max, .. } = DOCUMENTS;
    json!({
        "description": "The name of the document, or unknown.",
        "type": "string",
        "maxLength": max,
        "pattern": whole(&format!("[A-Za-z0-9{punctuation}]+")),
    })
}

fn assumed_access_type() -> Value {
    json!({
        "description": "The access type, or unknown.",
        "enum": ACCESS_TYPES.into_iter().chain(["unknown"]).collect::<Vec<_>>(),
    })
}

fn paused() -> Value {
    let description = "Whether every violator is deferred, whatever the mode.";
    json!({"description": description, "type": "boolean", "default": false})
}

fn id() -> Value {
    json!({
        "description": "Names it in reports, logs and metrics. Rules and exemptions share the names.",
        "type": "string",
        "pattern": whole("[A-Za-z0-9._-]{1,64}"),
    })
}

fn description() -> Value {
    json!({"description": "For people.", "type": "string"})
}

fn when() -> Value {
    condition("Which sessions are in scope: `all`, or conditions that must all hold.")
}

fn unless() -> Value {
    condition("Which of these are not in scope: `all`, or conditions that must all hold.")
}

/// `all`, or an object: distinguished by their types, not by `anyOf`, so that editors name a key that
/// is misspelt. Each keyword is about one of the types.
fn condition(description: &str) -> Value {
    let forms: [Form; _] = [
        owner,
        target,
        target_tags,
        document,
        session_type,
        status,
        access_type,
        reason,
        account,
        region,
    ];
    let mut schema = some_of(description, CONDITIONS, forms);
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("type".into(), json!(["string", "object"]));
        schema.insert("pattern".into(), whole("all").into());
        schema.insert("examples".into(), json!(["all"]));
    }
    schema
}

fn require() -> Value {
    let forms: [Form; _] = [
        max_age,
        owner,
        target_tags,
        document,
        session_type,
        access_type,
        reason,
        hours,
        concurrent,
    ];
    some_of("What a session in scope must fulfil.", REQUIREMENTS, forms)
}

fn forbid() -> Value {
    json!({"description": "A session in scope is a violation.", "const": true})
}

fn effect() -> Value {
    let mut schema = word("What becomes of a session that violates the rule.", &EFFECT);
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("default".into(), "terminate".into());
    }
    schema
}

fn concurrent() -> Value {
    object(
        "No more than so many sessions of a group are active at once.",
        CONCURRENT,
        [per, at_most, keep],
        &CONCURRENT,
    )
}

fn per() -> Value {
    word("What the sessions of a group have in common.", &PER)
}

fn at_most() -> Value {
    json!({
        "description": "The most sessions of a group.",
        "type": "integer",
        "minimum": 1,
        "maximum": MAX_COUNT,
    })
}

fn keep() -> Value {
    word("Which sessions of a group are kept.", &KEEP)
}

fn word<T>(description: &str, words: &[(&str, T)]) -> Value {
    let words: Vec<_> = words.iter().map(|(word, _)| word).collect();
    json!({"description": description, "enum": words})
}

fn until() -> Value {
    json!({
        "description": "From this instant on the exemption no longer applies.",
        "type": "string",
        "format": "date-time",
        "pattern": whole(&format!(
            r"[0-9]{{4}}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T{HOUR}:[0-5][0-9]:[0-5][0-9](\.[0-9]{{1,9}})?(Z|[+-]{HOUR}:[0-5][0-9])"
        )),
    })
}

fn max_terminations() -> Value {
    let default = Limits::default().max_terminations;
    count(
        "Terminations per sweep; other violators are deferred to later sweeps.",
        1,
        MAX_COUNT,
        default,
    )
}

fn circuit_breaker() -> Value {
    object(
        "The circuit breaker: defers every violator if too many sessions violate the policy.",
        CIRCUIT_BREAKER,
        [max_percent, min_violations],
        &[],
    )
}

fn max_percent() -> Value {
    let default = Limits::default().max_percent;
    count("It opens above this share of the evaluated sessions, in per cent …", 0, 100, default)
}

fn min_violations() -> Value {
    let default = Limits::default().min_violations;
    count("… and from this number of violators on.", 1, MAX_COUNT, default)
}

fn owner() -> Value {
    one_or_more(
        "Who started the session: `role/NAME[/SESSION-NAME]`, `permission-set/NAME[/USER]`, \
         `user/NAME`, `user/PATH/NAME`, `federated-user/NAME`, `root`, or a whole `arn:…`; globs.",
        &json!({
            "type": "string",
            "if": {"pattern": "^arn:"},
            "then": {"pattern": whole(&arn_form())},
            "else": {"pattern": whole(&owner_form())},
            "not": {"pattern": format!("{}|{}", longer_than(OWNERS.max), long_name())},
        }),
    )
}

/// A role, session or user whose name is too long, `*` left out.
fn long_name() -> String {
    let name = format!(r"(?:\**[^*/]){{{}}}", MAX_NAME + 1);
    format!("^(?!arn:)(?:user/(?:.*/)?{name}[^/]*$|(?!user/)[^/]*/(?:[^/]*/)?{name})")
}

fn owner_form() -> String {
    let name = format!("{}+", OWNERS.glob_class().replace('/', ""));
    let pair = format!("{name}(/{name})?");
    // A role's path is no part of an owner.
    let role = format!("(?!aws-reserved/|service-role/){pair}");
    format!("root|role/{role}|permission-set/{pair}|user/{name}(/{name})*|federated-user/{name}")
}

/// The ARNs that the reader takes.
fn arn_form() -> String {
    let any = OWNER_ARNS.glob_class();
    let (part, kind) = (any.replace(':', ""), any.replace('/', ""));
    let name = any.replace(['/', '*', '?'], "");
    let with_glob = |class: &str| format!("{class}*[*?]{class}*");
    // With fewer colons than an ARN has, a wildcard stands for some of them.
    let few = format!("(?=[^:]*(:[^:]*){{0,3}}$){}", with_glob(&any));
    let account = "([0-9]{12}|[0-9*?]*[*?][0-9*?]*)";
    let assumed = format!("assumed-role/({name}+/{name}+|{})", with_glob(&any));
    let other_kind = format!("{}(/{any}*)?", with_glob(&kind));
    let iam = format!(r"iam:\**:{account}:(root|user/{any}+|{other_kind})");
    let sts = format!(r"sts:\**:{account}:({assumed}|federated-user/{any}+|{other_kind})");
    let other_service = format!(r"{}:\**:{account}:{any}*", with_glob(&part));
    format!("arn:(?!(.*:)?role/)({few}|{part}*:({iam}|{sts}|{other_service}))")
}

fn target() -> Value {
    let description = "What the session runs on: `i-…`, `mi-…`, `ecs:CLUSTER_TASK_RUNTIME`; globs.";
    one_or_more(description, &glob(&format!("{}+", TARGETS.glob_class()), TARGETS.max))
}

fn target_tags() -> Value {
    json!({
        "description": "The target's tags, all of these keys; a value is a glob or a list of them.",
        "type": "object",
        "minProperties": 1,
        "additionalProperties":
            one_or_more("The tag's value.", &glob(&format!("{VISIBLE}*"), MAX_TAG_VALUE)),
    })
}

fn document() -> Value {
    let (name, arn) = (DOCUMENTS.glob_class(), DOCUMENT_ARNS.glob_class());
    let form = format!(r"{name}+|(arn:|\*){arn}*");
    one_or_more("The session document's name, or its ARN; globs.", &glob(&form, DOCUMENTS.max))
}

fn status() -> Value {
    one_or_more("The session's status.", &json!({"enum": STATUSES}))
}

fn access_type() -> Value {
    one_or_more("Standard, or just-in-time access.", &json!({"enum": ACCESS_TYPES}))
}

fn reason() -> Value {
    // Not `format: regex`, which is another language: it has no `(?i)`.
    let mut item = text(&format!("{VISIBLE}*"));
    if let Some(item) = item.as_object_mut() {
        // A text that has nothing of a regular expression.
        let literal = format!(r"^\^*[^\\.+*?()|\[\]{{}}^$]{{{},}}\$*$", MAX_REASON + 1);
        item.insert("not".into(), json!({"pattern": literal}));
    }
    one_or_more("A regular expression that finds something in what the user typed.", &item)
}

fn max_age() -> Value {
    json!({
        "description": "How old the session may be: `90s`, `30m`, `8h`, `1d`, `1h30m`.",
        "type": "string",
        "pattern": whole(&format!(
            "(?=.*[1-9]){}",
            ["d", "h", "m", "s"].map(|it| format!("([0-9]{{1,{MAX_DIGITS}}}{it})?")).concat()
        )),
    })
}

fn hours() -> Value {
    let (day, time) = ("(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)", format!("{HOUR}:[0-5][0-9]"));
    let days = format!("{day}(?:-{day})?(?:,{day}(?:-{day})?)*");
    one_or_more(
        "When such a session may be open, by the wall clock: `Mon-Fri 08:00-18:30 Europe/Berlin`.",
        // A range ends at another time than it begins.
        &text(&format!(
            r"\s*{days}\s+(?!([0-9:]+)-\1(?![0-9:])){time}-({time}|24:00)\s+(?!Factory\b)\S+\s*"
        )),
    )
}

#[cfg(test)]
mod tests {
    use regex_lite::Regex;

    use super::*;
    use crate::pattern::OwnerPattern;

    /// The committed schema is the one that editors are given.
    #[test]
    fn schema_is_committed() {
        let committed = include_str!("../../../policies/policy.schema.json");
        let committed: Value = serde_json::from_str(committed).expect("JSON");
        assert_eq!(schema(), committed);
    }

    /// As the reader of owners does, on every text of a few parts.
    #[test]
    fn owners_are_the_readers() {
        // The tests' engine has no look-ahead: what it is for here, by hand.
        let regex = |form: &str| Regex::new(&format!("^(?:{form})$")).expect(form);
        let arn = arn_form();
        let (start, few, full) = match arn.split_once("(?!(.*:)?role/)") {
            Some((start, rest)) => {
                let (few, full) = rest.split_once('|').expect("two forms");
                let (_, few) = few.split_once("$)").expect("a look-ahead");
                (start, regex(few), regex(full.strip_suffix(')').expect("a group")))
            }
            None => panic!("{arn}"),
        };
        let short = regex(&owner_form().replace("(?!aws-reserved/|service-role/)", ""));
        let is_legal = |text: &str| match text.strip_prefix(start) {
            Some(_) if text.contains(":role/") => false,
            Some(rest) if rest.matches(':').count() < 4 => few.is_match(rest),
            Some(rest) => full.is_match(rest),
            None => {
                let has_path = ["role/aws-reserved/", "role/service-role/"];
                short.is_match(text) && !has_path.iter().any(|it| text.starts_with(it))
            }
        };
        let parts = [
            ["arn:", ""].as_slice(),
            &["aws:", "a*:", "role/", "user/", "*", ""],
            &["iam:", "sts:", "?:", "ec2:", "x/", "aws-reserved/", "root"],
            &[":", "*:", "eu-west-1:", ""],
            &["123456789012:", "123:", "*:", "12?:", ""],
            &["root", "user", "role", "assumed-role", "federated-user", "*", "us*"],
            &["", "/", "/a", "/a/b", "/a/b/c", "/a*", "//", "/{", "/a/*", "/a:b/c"],
        ];
        let mut texts = vec![String::new()];
        for part in parts {
            texts = texts
                .iter()
                .flat_map(|it| part.iter().map(move |end| format!("{it}{end}")))
                .collect();
        }
        let n_legal = texts.iter().filter(|it| is_legal(it)).count();
        assert!(1_000 < n_legal && n_legal < texts.len() - 1_000, "{n_legal}");
        for text in texts {
            assert_eq!(is_legal(&text), text.parse::<OwnerPattern>().is_ok(), "{text}");
        }
    }
}
