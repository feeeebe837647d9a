//! The policy's text: from YAML to `Policy`, or to all that is wrong with it.

#![expect(clippy::wildcard_enum_match_arm, reason = "a node of any other type is an error")]

use std::{
    collections::{BTreeSet, HashSet},
    fmt,
    ops::{Range, RangeInclusive},
    str::FromStr,
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};
use regex_lite::RegexBuilder;
use serde_saphyr::{Location, MessageFormatter, Spanned, UserMessageFormatter};

use super::{
    Condition, Demand, Exemption, Hours, Limits, Policy, Requirement, Rule, STATUSES, Test,
    Untagged, schema,
    yaml::{self, Node, Value},
};
use crate::{
    alphabet::{Names, invisible, stray},
    duration,
    pattern::{Glob, OwnerPattern},
    printable::printable,
};

/// One thing that is wrong with a policy's text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PolicyError {
    /// Line in the text, from 1; 0 if the error has no place.
    pub line: u64,
    /// Column in the line, in characters, from 1.
    pub column: u64,
    /// The place as bytes of the text, if it is known.
    pub span: Option<Range<usize>>,
    /// What is wrong, and the way out.
    pub message: String,
}

/// All that is wrong with a policy's text, in the text's order. Never empty.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PolicyErrors(pub Vec<PolicyError>);

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, message, .. } = self;
        match line {
            0 => f.write_str(message),
            _ => write!(f, "line {line}, column {column}: {message}"),
        }
    }
}

impl fmt::Display for PolicyErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            let separator = if i == 0 { "" } else { "; " };
            write!(f, "{separator}{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for PolicyErrors {}

pub(super) fn parse(text: &str) -> Result<Policy, PolicyErrors> {
    let mut reader = Reader { text: text.to_owned(), ..Reader::default() };
    if MAX_BYTES < text.len() {
        let n = text.len();
        reader.error(Location::UNKNOWN, format!("a policy has at most {MAX_BYTES} bytes, not {n}"));
        return Err(PolicyErrors(reader.errors));
    }
    let policy = match yaml::parse(text) {
        Ok(node) => reader.policy(&node),
        Err(err) => {
            let at = err.location().unwrap_or(Location::UNKNOWN);
            let message = UserMessageFormatter.format_message(err.without_snippet());
            reader.error(at, message);
            None
        }
    };
    match policy {
        Some(policy) if reader.errors.is_empty() => Ok(policy),
        _ => {
            let mut errors = reader.errors;
            errors.sort_by_key(|it| (it.line, it.column));
            if let Some(n) = errors.len().checked_sub(MAX_ERRORS).filter(|it| 0 < *it) {
                errors.truncate(MAX_ERRORS);
                let message = format!("{n} more errors are not shown");
                errors.push(PolicyError { line: 0, column: 0, span: None, message });
            }
            Err(PolicyErrors(errors))
        }
    }
}

/// A key, and its value's form.
pub(super) type Field = (&'static str, fn() -> serde_json::Value);

/// A key, its value's form, and what reads it.
pub(super) type Key<T> =
    (&'static str, fn() -> serde_json::Value, fn(&mut Reader, &Node) -> Option<T>);

pub(super) const POLICY: [Field; 7] = [
    ("version", schema::version),
    ("tag_keys", schema::tag_keys),
    ("rules", schema::rules),
    ("exemptions", schema::exemptions),
    ("limits", schema::limits),
    ("untagged", schema::untagged),
    ("paused", schema::paused),
];

pub(super) const RULE: [Field; 6] = [
    ("id", schema::id),
    ("description", schema::description),
    ("when", schema::when),
    ("unless", schema::unless),
    ("require", schema::require),
    ("forbid", schema::forbid),
];

pub(super) const EXEMPTION: [Field; 4] = [
    ("id", schema::id),
    ("description", schema::description),
    ("when", schema::when),
    ("until", schema::until),
];

pub(super) const LIMITS: [Field; 2] =
    [("max_terminations", schema::max_terminations), ("circuit_breaker", schema::circuit_breaker)];

pub(super) const TRIP_ABOVE: [Field; 2] =
    [("max_percent", schema::max_percent), ("min_violations", schema::min_violations)];

/// The keys of `when` and `unless`.
pub(super) const CONDITIONS: [Key<Test>; 7] = [
    ("owner", schema::owner, Reader::owner),
    ("target", schema::target, Reader::target),
    ("target_tags", schema::target_tags, Reader::target_tags),
    ("document", schema::document, Reader::document),
    ("status", schema::status, Reader::status),
    ("access_type", schema::access_type, Reader::access_type),
    ("reason", schema::reason, Reader::reason),
];

/// The keys of `require`.
pub(super) const REQUIREMENTS: [Key<Requirement>; 7] = [
    ("max_age", schema::max_age, Reader::max_age),
    ("owner", schema::owner, |it, node| it.owner(node).map(Requirement::Test)),
    ("target_tags", schema::target_tags, |it, node| it.target_tags(node).map(Requirement::Test)),
    ("document", schema::document, |it, node| it.document(node).map(Requirement::Test)),
    ("access_type", schema::access_type, |it, node| it.access_type(node).map(Requirement::Test)),
    ("reason", schema::reason, |it, node| it.reason(node).map(Requirement::Test)),
    ("hours", schema::hours, Reader::hours),
];

/// Names of documents.
pub(super) const DOCUMENTS: Names = Names { what: "document", punctuation: "._-" };

/// The ARNs of documents, by which those that other accounts share are named.
pub(super) const DOCUMENT_ARNS: Names = Names { what: "document", punctuation: "._:/-" };

/// `i-…`, `mi-…`, `ecs:CLUSTER_TASK_RUNTIME`, and kinds that are not known.
pub(super) const TARGETS: Names = Names { what: "target", punctuation: "._:/-" };

pub(super) const ACCESS_TYPES: [&str; 2] = ["Standard", "JustInTime"];

/// More than any fleet has.
pub(super) const MAX_COUNT: u32 = 1_000_000;

/// The longest policy: eight times what Parameter Store takes.
const MAX_BYTES: usize = 1 << 16;

/// The most errors that are told of at once.
const MAX_ERRORS: usize = 100;

/// The longest message, in characters: it may repeat what the policy says.
const MAX_MESSAGE: usize = 400;

/// The most memory that one compiled regular expression may take, in bytes.
const MAX_REGEX_SIZE: usize = 1 << 18;

/// No name is so long, in bytes, and comparing takes time by the square of it.
const MAX_TYPO: usize = 256;

/// With more names to choose from, none is shown, or compared with.
const MAX_NAMES: usize = 50;

/// Reads nodes and collects what is wrong with them.
///
/// A method that returns `None` has reported why.
#[derive(Default)]
pub(super) struct Reader {
    /// The whole policy, for messages to quote numbers as they are written.
    text: String,
    errors: Vec<PolicyError>,
    ids: HashSet<Arc<str>>,
    /// `None` if they cannot be read: then nothing is said of those that rules use.
    tag_keys: Option<BTreeSet<String>>,
}

impl Reader {
    fn policy(&mut self, node: &Node) -> Option<Policy> {
        let [version, tag_keys, rules, exemptions, limits, untagged, paused] =
            self.fields("the policy", node, POLICY.map(|it| it.0))?;
        match version {
            Some(it) => drop(self.integer("version", it, 1..=1)),
            None => self.error(node.referenced, "`version` is missing; write `version: 1`"),
        }
        let tag_keys = tag_keys.map_or(Some(Vec::new()), |it| self.tag_keys(it));
        self.tag_keys = tag_keys.as_ref().map(|it| it.iter().cloned().collect());
        // An empty list of rules can only mean what it says, unlike an empty list of owners.
        let rules = match rules.map(|it| &it.value) {
            Some(Value::List(items)) if items.is_empty() => Some(Vec::new()),
            _ => rules.map_or(Some(Vec::new()), |it| self.items("rules", it, Self::rule)),
        };
        let exemptions =
            exemptions.map_or(Some(Vec::new()), |it| self.items("exemptions", it, Self::exemption));
        let limits = limits.map_or(Some(Limits::default()), |it| self.limits(it));
        let untagged = untagged.map_or(Some(None), |it| self.untagged(it).map(Some));
        let paused = paused.map_or(Some(false), |it| self.boolean("paused", it));
        Some(Policy {
            tag_keys: tag_keys?,
            rules: rules?,
            exemptions: exemptions?,
            limits: limits?,
            untagged: untagged?,
            paused: paused?,
        })
    }

    fn tag_keys(&mut self, node: &Node) -> Option<Vec<String>> {
        let mut keys: Vec<String> = Vec::new();
        let mut seen = HashSet::new();
        for item in self.list("tag_keys", node)? {
            let key = self.text("a tag key", item)?.to_owned();
            if let Some(why) = invisible(&key, "leave it out") {
                self.error(item.referenced, format!("a tag key must be plain: {why}"));
            } else if !(1..=128).contains(&key.chars().count()) {
                self.error(
                    item.referenced,
                    format!("a tag key has 1 to 128 characters, not `{key}`"),
                );
            } else if !seen.insert(key.clone()) {
                self.error(item.referenced, format!("the tag key `{key}` stands here twice"));
            }
            keys.push(key);
        }
        Some(keys)
    }

    fn rule(&mut self, node: &Node) -> Option<Rule> {
        let [id, description, when, unless, require, forbid] =
            self.fields("a rule", node, RULE.map(|it| it.0))?;
        let id = self.id("a rule", node, id);
        let description = description
            .map_or(Some(None), |it| self.text("`description`", it).map(|it| Some(it.to_owned())));
        let when = self.when("a rule", node, when);
        let unless = unless.map_or(Some(None), |it| self.condition("unless", it).map(Some));
        let demand = match (require, forbid) {
            (Some(it), None) => self.require(it).map(Demand::Require),
            (None, Some(it)) => match self.boolean("forbid", it) {
                Some(true) => Some(Demand::Forbid),
                Some(false) => {
                    self.fail(it, "`forbid` can only be `true`; leave the rule out instead")
                }
                None => None,
            },
            (Some(_), Some(it)) => {
                self.fail(it, "a rule has `require` or `forbid: true`, not both; make it two rules")
            }
            (None, None) => self.fail(node, "a rule needs `require` or `forbid: true`"),
        };
        Some(Rule {
            id: id?,
            description: description?,
            when: when?,
            unless: unless?,
            demand: demand?,
        })
    }

    fn exemption(&mut self, node: &Node) -> Option<Exemption> {
        let [id, description, when, until] =
            self.fields("an exemption", node, EXEMPTION.map(|it| it.0))?;
        let id = self.id("an exemption", node, id);
        let description = description
            .map_or(Some(None), |it| self.text("`description`", it).map(|it| Some(it.to_owned())));
        let when = self.when("an exemption", node, when);
        let until = until.map_or(Some(None), |it| self.instant("until", it).map(Some));
        Some(Exemption { id: id?, description: description?, when: when?, until: until? })
    }

    fn id(&mut self, what: &str, node: &Node, id: Option<&Node>) -> Option<Arc<str>> {
        let Some(at) = id else {
            return self.fail(node, format!("{what} needs an `id`, by which reports name it"));
        };
        let text = self.text("`id`", at)?;
        let is_plain = |it: u8| it.is_ascii_alphanumeric() || b"-_.".contains(&it);
        if !(1..=64).contains(&text.len()) || !text.bytes().all(is_plain) {
            let rule = "1 to 64 letters, digits, `-`, `_` or `.`";
            return self.fail(at, format!("an `id` has {rule}, not `{text}`"));
        }
        let id: Arc<str> = text.into();
        if !self.ids.insert(Arc::clone(&id)) {
            return self
                .fail(at, format!("the id `{text}` is taken; rules and exemptions share them"));
        }
        Some(id)
    }

    fn when(&mut self, what: &str, node: &Node, when: Option<&Node>) -> Option<Condition> {
        match when {
            Some(it) => self.condition("when", it),
            None => {
                self.fail(node, format!("{what} needs `when`; `when: all` means every session"))
            }
        }
    }

    fn condition(&mut self, what: &str, node: &Node) -> Option<Condition> {
        match &node.value {
            Value::Text(it) if it == "all" => Some(Condition(Vec::new())),
            Value::Map(entries) if entries.is_empty() => {
                self.fail(node, format!("`{what}` is empty; write `{what}: all` for every session"))
            }
            Value::Map(_) => {
                let nodes = self.fields(&format!("`{what}`"), node, CONDITIONS.map(|it| it.0))?;
                self.each(CONDITIONS, nodes).map(Condition)
            }
            other => {
                let shown = self.shown(node, other);
                self.fail(node, format!("`{what}` must be `all` or conditions, not {shown}"))
            }
        }
    }

    fn require(&mut self, node: &Node) -> Option<Vec<Requirement>> {
        if matches!(&node.value, Value::Map(it) if it.is_empty()) {
            return self
                .fail(node, "`require` is empty; write `forbid: true` if nothing is allowed");
        }
        let nodes = self.fields("`require`", node, REQUIREMENTS.map(|it| it.0))?;
        self.each(REQUIREMENTS, nodes)
    }

    /// Reads the keys that are there, each by its own function.
    fn each<T, const N: usize>(
        &mut self,
        keys: [Key<T>; N],
        nodes: [Option<&Node>; N],
    ) -> Option<Vec<T>> {
        let nodes =
            keys.into_iter().zip(nodes).filter_map(|((_, _, read), node)| Some((read, node?)));
        let values: Vec<_> = nodes.map(|(read, node)| read(self, node)).collect();
        values.into_iter().collect()
    }

    fn access_type(&mut self, node: &Node) -> Option<Test> {
        self.one_of("access_type", node, &ACCESS_TYPES).map(Test::AccessType)
    }

    fn document(&mut self, node: &Node) -> Option<Test> {
        let globs = self.parsed("document", node, |text| {
            let is_arn = text.starts_with("arn:") || text.starts_with('*');
            match stray(text, if is_arn { &DOCUMENT_ARNS } else { &DOCUMENTS }) {
                _ if text.is_empty() => Err("an empty `document` matches no document".into()),
                Some(why) => Err(why),
                None => Ok(Glob::new(text)),
            }
        });
        globs.map(Test::Document)
    }

    fn reason(&mut self, node: &Node) -> Option<Test> {
        let patterns = self.parsed("reason", node, |text| {
            if let Some(why) = invisible(text, "write it as an escape such as `\\x{200B}`") {
                return Err(why);
            }
            if let Some(it) = ignored_case(text) {
                return Err(format!(
                    "`{text}` has `{it}`, and `(?i)` is about ASCII letters only; write such \
                     letters in both cases, as `[{}{}]`, and without `(?i)`",
                    it.to_uppercase(),
                    it.to_lowercase()
                ));
            }
            let regex = RegexBuilder::new(text).size_limit(MAX_REGEX_SIZE).build();
            regex.map_err(|err| format!("`{text}` is no regular expression: {err}"))
        });
        patterns.map(Test::Reason)
    }

    fn status(&mut self, node: &Node) -> Option<Test> {
        self.one_of("status", node, &STATUSES).map(Test::Status)
    }

    fn hours(&mut self, node: &Node) -> Option<Requirement> {
        self.parsed("hours", node, Hours::from_str).map(Requirement::Hours)
    }

    fn max_age(&mut self, node: &Node) -> Option<Requirement> {
        self.duration("max_age", node).map(Requirement::MaxAge)
    }

    fn owner(&mut self, node: &Node) -> Option<Test> {
        self.parsed("owner", node, OwnerPattern::from_str).map(Test::Owner)
    }

    fn target_tags(&mut self, node: &Node) -> Option<Test> {
        let Value::Map(entries) = &node.value else {
            let shown = self.shown(node, &node.value);
            let message = format!("`target_tags` must be a mapping with tag keys, not {shown}");
            return self.fail(node, message);
        };
        if entries.is_empty() {
            return self.fail(node, "`target_tags` is empty; name a key, or leave it out");
        }
        self.no_duplicates(entries);
        let tags: Vec<_> = entries
            .iter()
            .map(|(key, values)| {
                if let Some(known) = self.tag_keys.as_ref().filter(|it| !it.contains(&key.value)) {
                    let message = if known.is_empty() {
                        format!("the tag key `{}` needs to stand in `tag_keys`", key.value)
                    } else {
                        let near = nearest(&key.value, known.iter().map(String::as_str));
                        format!("`{}` is not in `tag_keys`; {near}", key.value)
                    };
                    self.error(key.referenced, message);
                }
                let globs = self.parsed(&key.value, values, |text| {
                    let why = invisible(text, "write `?` if the tag has it");
                    why.map_or_else(|| Ok(Glob::new(text)), Err)
                });
                Some((key.value.clone(), globs?))
            })
            .collect();
        tags.into_iter().collect::<Option<_>>().map(Test::TargetTags)
    }

    fn target(&mut self, node: &Node) -> Option<Test> {
        let globs = self.parsed("target", node, |text| match text {
            "" => Err("an empty `target` matches no target".into()),
            _ => stray(text, &TARGETS).map_or_else(|| Ok(Glob::new(text)), Err),
        });
        globs.map(Test::Target)
    }

    fn limits(&mut self, node: &Node) -> Option<Limits> {
        let default = Limits::default();
        let [max, circuit_breaker] = self.fields("`limits`", node, LIMITS.map(|it| it.0))?;
        let max_terminations = max.map_or(Some(default.max_terminations), |it| {
            self.integer("max_terminations", it, 1..=MAX_COUNT)
        });
        let (mut percent, mut min_violations) = (None, None);
        if let Some(node) = circuit_breaker {
            [percent, min_violations] =
                self.fields("`circuit_breaker`", node, TRIP_ABOVE.map(|it| it.0))?;
        }
        let max_percent = percent
            .map_or(Some(default.max_percent), |it| self.integer("max_percent", it, 0..=100));
        let min_violations = min_violations.map_or(Some(default.min_violations), |it| {
            self.integer("min_violations", it, 1..=MAX_COUNT)
        });
        Some(Limits {
            max_terminations: max_terminations?,
            max_percent: max_percent?,
            min_violations: min_violations?,
        })
    }

    fn untagged(&mut self, node: &Node) -> Option<Untagged> {
        match &node.value {
            Value::Text(it) if it == "no-tags" => Some(Untagged::NoTags),
            Value::Text(it) if it == "unknown" => Some(Untagged::Unknown),
            other => {
                let shown = self.shown(node, other);
                self.fail(node, format!("`untagged` must be `unknown` or `no-tags`, not {shown}"))
            }
        }
    }

    /// The values of a mapping's known keys, in the order asked for.
    fn fields<'n, const N: usize>(
        &mut self,
        what: &str,
        node: &'n Node,
        keys: [&str; N],
    ) -> Option<[Option<&'n Node>; N]> {
        let Value::Map(entries) = &node.value else {
            let keys = names(keys);
            let shown = self.shown(node, &node.value);
            return self.fail(node, format!("{what} must be a mapping with {keys}, not {shown}"));
        };
        self.no_duplicates(entries);
        for (key, _) in entries {
            if !keys.contains(&key.value.as_str()) {
                let near = nearest(&key.value, keys);
                self.error(key.referenced, format!("{what} has no key `{}`; {near}", key.value));
            }
        }
        Some(keys.map(|name| entries.iter().find(|(key, _)| key.value == name).map(|(_, it)| it)))
    }

    fn no_duplicates(&mut self, entries: &[(Spanned<String>, Node)]) {
        let mut seen = HashSet::new();
        for (key, _) in entries {
            if !seen.insert(&key.value) {
                self.error(key.referenced, format!("the key `{}` stands here twice", key.value));
            }
        }
    }

    /// Reads every item of a list, so as to find every error.
    fn items<T>(
        &mut self,
        what: &str,
        node: &Node,
        read: fn(&mut Self, &Node) -> Option<T>,
    ) -> Option<Vec<T>> {
        let items: Vec<_> = self.list(what, node)?.iter().map(|it| read(self, it)).collect();
        items.into_iter().collect()
    }

    /// One or more texts, each read by the same function.
    fn parsed<T>(
        &mut self,
        what: &str,
        node: &Node,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let items = match &node.value {
            Value::List(_) => self.list(what, node)?,
            _ => std::slice::from_ref(node),
        };
        let read = |item| match parse(self.text(&format!("`{what}`"), item)?) {
            Ok(value) => Some(value),
            Err(message) => self.fail(item, message),
        };
        let values: Vec<_> = items.iter().map(read).collect();
        values.into_iter().collect()
    }

    /// One or more of these names.
    fn one_of(
        &mut self,
        what: &str,
        node: &Node,
        known: &[&'static str],
    ) -> Option<Vec<&'static str>> {
        self.parsed(what, node, |text| {
            let found = known.iter().find(|it| **it == text).copied();
            let all = || names(known.iter().copied());
            found.ok_or_else(|| format!("`{what}` is one of {}, not `{text}`", all()))
        })
    }

    fn list<'n>(&mut self, what: &str, node: &'n Node) -> Option<&'n [Node]> {
        match &node.value {
            Value::List(items) if items.is_empty() => {
                self.fail(node, format!("`{what}` is an empty list; fill it or leave it out"))
            }
            Value::List(items) => Some(items),
            other => {
                let shown = self.shown(node, other);
                self.fail(node, format!("`{what}` must be a list, not {shown}"))
            }
        }
    }

    fn text<'n>(&mut self, what: &str, node: &'n Node) -> Option<&'n str> {
        match &node.value {
            Value::Text(text) => Some(text),
            other @ (Value::Bool(_) | Value::Integer(_) | Value::Number(_)) => {
                let shown = self.shown(node, other);
                self.fail(node, format!("{what} must be a text, not {shown}; put it in quotes"))
            }
            other => self.fail(node, format!("{what} must be a text, not {other}")),
        }
    }

    fn boolean(&mut self, what: &str, node: &Node) -> Option<bool> {
        match &node.value {
            Value::Bool(it) => Some(*it),
            other => {
                let shown = self.shown(node, other);
                self.fail(node, format!("`{what}` must be `true` or `false`, not {shown}"))
            }
        }
    }

    fn integer(&mut self, what: &str, node: &Node, range: RangeInclusive<u32>) -> Option<u32> {
        let number = match &node.value {
            Value::Integer(it) => u32::try_from(*it).ok().filter(|it| range.contains(it)),
            _ => None,
        };
        let (low, high) = (range.start(), range.end());
        let bounds =
            if low == high { format!("{low}") } else { format!("a number from {low} to {high}") };
        number.or_else(|| {
            let shown = self.shown(node, &node.value);
            self.fail(node, format!("`{what}` must be {bounds}, not {shown}"))
        })
    }

    fn duration(&mut self, what: &str, node: &Node) -> Option<SignedDuration> {
        let parsed = match &node.value {
            Value::Text(text) => duration::parse(text),
            _ => None,
        };
        parsed.or_else(|| {
            let form = "a duration above zero such as `90s`, `30m`, `8h`, `1d` or `1h30m`";
            let shown = self.shown(node, &node.value);
            self.fail(node, format!("`{what}` must be {form}, not {shown}"))
        })
    }

    fn instant(&mut self, what: &str, node: &Node) -> Option<Timestamp> {
        let parsed = match &node.value {
            Value::Text(text) => {
                Some(text).filter(|it| is_rfc_3339(it)).and_then(|it| it.parse().ok())
            }
            _ => None,
        };
        parsed.or_else(|| {
            let form = "an instant such as `2027-06-30T00:00:00Z`";
            let shown = self.shown(node, &node.value);
            self.fail(node, format!("`{what}` must be {form}, not {shown}"))
        })
    }

    /// A value as it is written: `08`, not `8`.
    fn shown(&self, node: &Node, value: &Value) -> String {
        let written = match value {
            Value::Bool(_) | Value::Integer(_) | Value::Number(_) => {
                bytes(node.defined).and_then(|it| self.text.get(it)).map(str::trim)
            }
            _ => None,
        };
        match written {
            Some(it) if !it.is_empty() => format!("`{it}`"),
            _ => value.to_string(),
        }
    }

    fn fail<T>(&mut self, node: &Node, message: impl fmt::Display) -> Option<T> {
        self.error(node.referenced, message);
        None
    }

    fn error(&mut self, at: Location, message: impl fmt::Display) {
        let span = bytes(at);
        let (line, column) = (at.line(), at.column());
        let mut message = printable(&message.to_string());
        if let Some((end, _)) = message.char_indices().nth(MAX_MESSAGE) {
            message.truncate(end);
            message.push('…');
        }
        self.errors.push(PolicyError { line, column, span, message });
    }
}

/// The place as bytes of the text.
fn bytes(at: Location) -> Option<Range<usize>> {
    let (start, length) = at.span().byte_offset().zip(at.span().byte_len())?;
    Some(usize::try_from(start).ok()?..usize::try_from(start + length).ok()?)
}

/// A letter that has two cases, of which `(?i)` would see only one: it is about ASCII alone.
///
/// It does not matter where in the expression the flag is set.
fn ignored_case(regex: &str) -> Option<char> {
    let mut ignores_case = false;
    let mut cased = None;
    let mut rest = regex;
    while let Some(it) = rest.chars().next() {
        let length = if let Some(flags) = rest.strip_prefix("(?") {
            let flags = flags.split(|it: char| !it.is_ascii_alphabetic()).next();
            ignores_case |= flags.is_some_and(|it| it.contains('i') && !it.starts_with('P'));
            2
        } else if let Some(escape) = rest.strip_prefix('\\') {
            let (letter, length) = escaped(escape);
            cased = cased.or(letter.filter(|it| has_two_cases(*it)));
            1 + length
        } else {
            cased = cased.or(Some(it).filter(|it| has_two_cases(*it)));
            it.len_utf8()
        };
        rest = rest.get(length..)?;
    }
    cased.filter(|_| ignores_case)
}

fn has_two_cases(it: char) -> bool {
    !it.is_ascii() && (it.to_lowercase().ne([it]) || it.to_uppercase().ne([it]))
}

/// The character of an escape by number such as `x{d6}`, `u00d6`, and how long any escape is.
fn escaped(escape: &str) -> (Option<char>, usize) {
    let letter = escape.chars().next();
    let digits = match letter {
        Some('x') => 2,
        Some('u') => 4,
        Some('U') => 8,
        other => return (None, other.map_or(0, char::len_utf8)),
    };
    let number = escape.get(1..).unwrap_or_default();
    let (number, length) = match number.strip_prefix('{').and_then(|it| it.split_once('}')) {
        Some((number, _)) => (number, 1 + number.len() + 2),
        None => (number.get(..digits).unwrap_or_default(), 1 + digits),
    };
    let found = u32::from_str_radix(number, 16).ok().and_then(char::from_u32);
    (found, if found.is_some() { length } else { 1 })
}

/// The names, each in backticks.
fn names<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(|it| format!("`{it}`")).collect::<Vec<_>>().join(", ")
}

/// The known name that was surely meant, or else all of them, if they are not too many.
fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    let few: Vec<&str> = known.into_iter().take(MAX_NAMES + 1).collect();
    if MAX_NAMES < few.len() {
        return "look for a typo".into();
    }
    let distance = |it: &str| strsim::damerau_levenshtein(name, it);
    let comparable = few.iter().filter(|it| name.len().max(it.len()) <= MAX_TYPO);
    match comparable.min_by_key(|it| distance(it)) {
        Some(near) if distance(near) <= 1.max(near.chars().count() / 3) => {
            format!("did you mean `{near}`?")
        }
        _ => format!("it has {}", names(few)),
    }
}

/// Whether the form is `2027-06-30T00:00:00Z`, or has a fraction or an offset, and no more: what
/// the JSON Schema calls a date-time.
fn is_rfc_3339(text: &str) -> bool {
    let has_form = |text: &str, form: &str| {
        let is_like = |(it, form)| if form == b'0' { u8::is_ascii_digit(&it) } else { it == form };
        text.len() == form.len() && text.bytes().zip(form.bytes()).all(is_like)
    };
    let Some((instant, rest)) = text.split_at_checked("0000-00-00T00:00:00".len()) else {
        return false;
    };
    let offset = match rest.strip_prefix('.') {
        Some(it) => {
            let offset = it.trim_start_matches(|it: char| it.is_ascii_digit());
            if !(1..=9).contains(&(it.len() - offset.len())) {
                return false;
            }
            offset
        }
        None => rest,
    };
    has_form(instant, "0000-00-00T00:00:00")
        && (offset == "Z" || has_form(offset, "+00:00") || has_form(offset, "-00:00"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let errors = Policy::parse(text).expect_err(text);
        let actual: Vec<_> = errors.0.iter().map(ToString::to_string).collect();
        assert_eq!(actual, expected, "{text}");
    }

    #[test]
    fn every_error_is_reported_with_its_place() {
        check(
            r#"version: 2
tag_keys: [env, env]
colour: red
rules:
  - id: a b
    when: { target_tag: { env: prod } }
    require: { max_age: 8 hours }
  - id: b
    when: { target_tags: { envv: prod }, owner: [alice, role/x] }
    require: { owner: [] }
  - id: b
    unless: {}
    forbid: false
  - when: everything
    require: {}
  - id: c
    when: all
    require: { max_age: 0s }
    forbid: true
exemptions:
  - id: d
    when: { target_tags: { env: true } }
    until: tomorrow
limits:
  max_terminations: 0
  circuit_breaker: 150%
untagged: maybe
paused: "yes"
"#,
            &[
                "line 1, column 10: `version` must be 1, not `2`",
                "line 2, column 17: the tag key `env` stands here twice",
                "line 3, column 1: the policy has no key `colour`; it has `version`, `tag_keys`, \
                 `rules`, `exemptions`, `limits`, `untagged`, `paused`",
                "line 5, column 9: an `id` has 1 to 64 letters, digits, `-`, `_` or `.`, not `a b`",
                "line 6, column 13: `when` has no key `target_tag`; did you mean `target_tags`?",
                "line 7, column 25: `max_age` must be a duration above zero such as `90s`, `30m`, \
                 `8h`, `1d` or `1h30m`, not `8 hours`",
                "line 9, column 28: `envv` is not in `tag_keys`; did you mean `env`?",
                "line 9, column 50: `alice` does not say what it is; an owner is `role/NAME`, \
                 `permission-set/NAME`, `user/NAME`, `federated-user/NAME`, `root`, or a whole `arn:…`",
                "line 10, column 23: `owner` is an empty list; fill it or leave it out",
                "line 11, column 5: a rule needs `when`; `when: all` means every session",
                "line 11, column 9: the id `b` is taken; rules and exemptions share them",
                "line 12, column 13: `unless` is empty; write `unless: all` for every session",
                "line 13, column 13: `forbid` can only be `true`; leave the rule out instead",
                "line 14, column 5: a rule needs an `id`, by which reports name it",
                "line 14, column 11: `when` must be `all` or conditions, not `everything`",
                "line 15, column 14: `require` is empty; write `forbid: true` if nothing is allowed",
                "line 19, column 13: a rule has `require` or `forbid: true`, not both; make it two rules",
                "line 22, column 33: `env` must be a text, not `true`; put it in quotes",
                "line 23, column 12: `until` must be an instant such as `2027-06-30T00:00:00Z`, \
                 not `tomorrow`",
                "line 25, column 21: `max_terminations` must be a number from 1 to 1000000, not `0`",
                "line 26, column 20: `circuit_breaker` must be a mapping with `max_percent`, `min_violations`, not `150%`",
                "line 27, column 11: `untagged` must be `unknown` or `no-tags`, not `maybe`",
                "line 28, column 9: `paused` must be `true` or `false`, not `yes`",
            ],
        );
    }

    #[test]
    fn no_text_makes_more_of_errors_than_can_be_read() {
        let errors = Policy::parse(&"x".repeat(MAX_BYTES + 1)).expect_err("too long").to_string();
        assert_eq!(errors, "a policy has at most 65536 bytes, not 65537");
        let longest = format!("version: 1\n#{}", "x".repeat(MAX_BYTES - 12));
        assert_eq!(longest.len(), MAX_BYTES);
        assert!(Policy::parse(&longest).is_ok());
        let text = format!("rules:\n{}", "  - {}\n".repeat(33));
        assert_eq!(Policy::parse(&text).expect_err("1 + 3 * 33 errors").0.len(), MAX_ERRORS);
        let rules = "  - {}\n".repeat(60);
        let errors = Policy::parse(&format!("version: 1\nrules:\n{rules}")).expect_err("errors").0;
        assert_eq!(errors.len(), MAX_ERRORS + 1);
        let last = errors.last().map(ToString::to_string);
        assert_eq!(last.as_deref(), Some("80 more errors are not shown"));
        let long = format!("version: 1\npaused: {}\n", "x".repeat(1_000));
        let message = &Policy::parse(&long).expect_err("an error").0[0].message;
        assert_eq!(message.chars().count(), MAX_MESSAGE + 1);
    }

    #[test]
    fn an_error_points_at_its_text() {
        let text = "version: 1\nrules:\n  - id: é\n    when: all\n    forbid: \"no\" # Or?\n";
        let errors = Policy::parse(text).expect_err(text).0;
        let places: Vec<_> =
            errors.iter().map(|it| &text[it.span.clone().expect("bytes")]).collect();
        assert_eq!(places, ["é", "\"no\""]);
    }

    #[test]
    fn a_typo_is_told_by_its_distance_and_names_only_where_they_are_few() {
        check(
            "version: 1\nexemtion: []\n",
            &["line 2, column 1: the policy has no key `exemtion`; did you mean `exemptions`?"],
        );
        for (n, expected) in [
            (MAX_NAMES, "line 3, column 41: `x` is not in `tag_keys`; it has `key-0`, `key-1`, "),
            (MAX_NAMES + 1, "line 3, column 41: `x` is not in `tag_keys`; look for a typo"),
        ] {
            let keys: Vec<_> = (0..n).map(|it| format!("key-{it}")).collect();
            let rule = "{ id: a, when: { target_tags: { x: y } }, forbid: true }";
            let text = format!("version: 1\ntag_keys: [{}]\nrules: [{rule}]\n", keys.join(", "));
            let message = Policy::parse(&text).expect_err("a typo").to_string();
            assert!(message.starts_with(expected), "{message}");
        }
    }

    #[test]
    fn what_is_no_policy_is_an_error() {
        for (text, message) in [
            ("", "the policy must be a mapping with `version`, `tag_keys`, "),
            ("[]", "not a list"),
            ("{}", "`version` is missing"),
            ("version: 1\nversion: 1\n", "line 2, column 1: the key `version` stands here twice"),
            (
                "version: 1\ntag_keys: [e]\nrules: [{id: a, when: {target_tags: {e: x, e: y}}, forbid: true}]\n",
                "line 3, column 44: the key `e` stands here twice",
            ),
            (
                "base: &b {id: a}\nversion: 1\nrules: [{<<: *b, when: all, forbid: true}]\n",
                "no key `<<`",
            ),
            ("version: 1\n---\nversion: 1\n", "document"),
            ("version: 1\nrules: [\n", "line 2, column 8: unclosed bracket '['"),
            ("version: 1\nrules: null\n", "`rules` must be a list, not nothing"),
            ("version: 1\nexemptions: []\n", "`exemptions` is an empty list"),
            ("version: 18446744073709551615\n", "not `18446744073709551615`"),
            ("version: 1.0\n", "`version` must be 1, not `1.0`"),
            (
                "version: 1\nrules: [{id: a, when: {document: ''}, forbid: true}]\n",
                "an empty `document`",
            ),
            (
                "version: 1\nrules: [{id: a, when: {document: A B}, forbid: true}]\n",
                "it has white space",
            ),
            ("version: 1\nrules: [{id: a, when: !not {owner: root}, forbid: true}]\n", "line 2"),
            (
                "version: 1\nrules: [{id: a, when: {target: ''}, forbid: true}]\n",
                "matches no target",
            ),
            ("version: 1\nlimits: {max_terminations: 1_0}\n", "not `1_0`"),
            ("version: 1\ntag_keys: {env}\n", "`tag_keys` must be a list, not a mapping"),
            ("version: 1\nrules: [{id: a, when: all}]\n", "needs `require` or `forbid: true`"),
            (
                "version: 1\nrules: [{id: a, when: {target_tags: {env: x}}, forbid: true}]\n",
                "tag_keys",
            ),
        ] {
            let errors = Policy::parse(text).expect_err(text).to_string();
            assert!(errors.contains(message), "{text:?}: {errors}");
        }
    }

    /// Each of these could match nothing that AWS has, or not what it seems to.
    #[test]
    fn patterns_that_match_nothing() {
        for (condition, message) in [
            ("{document: \"A\\n\"}", r"`A\u{a}` matches no document: it has a line end, which"),
            ("{document: Team/x}", "`Team/x` matches no document: it has `/`"),
            ("{document: 'arn:aws:ssm:*:document/{a}'}", "it has `{`"),
            ("{document: A–B}", "it has `–`"),
            ("{target: \"i-*\\n\"}", "matches no target: it has a line end"),
            ("{target: 'i-* '}", "it has white space"),
            ("{target: 'i-[0-9]*'}", "it has `[`"),
            ("{owner: \"root\\n\"}", "matches no owner: it has a line end"),
            ("{target_tags: {env: \"prod\\n\"}}", "has a line end, which `|-` and `>-` leave out"),
            ("{target_tags: {env: \"prod\\u200B\"}}", "has U+200B, which is invisible"),
            ("{target_tags: {env: [prod, \"a\\tb\"]}}", "has U+0009"),
            ("{reason: \"^INC\\n\"}", "has a line end"),
            ("{reason: \"\\u2060x\"}", r"write it as an escape such as `\x{200B}`"),
            (
                "{reason: '(?i)^störung'}",
                "`ö`, and `(?i)` is about ASCII letters only; write such letters in both cases, as `[Öö]`",
            ),
            ("{reason: 'STÖRUNG(?s-m:x)|(?mi:a)'}", "`Ö`, and"),
            (r"{reason: '(?i)st\x{f6}rung'}", "`ö`, and"),
            (r"{reason: '(?i)st\u00f6rung'}", "`ö`, and"),
            ("{access_type: \"Standard\\n\"}", "`access_type` is one of"),
            ("{status: \"Connected\\n\"}", "`status` is one of"),
            ("\"all\\n\"", "must be `all` or conditions"),
        ] {
            let text = format!(
                "version: 1\ntag_keys: [env]\nrules: [{{id: a, when: {condition}, forbid: true}}]\n"
            );
            let errors = Policy::parse(&text).expect_err(condition);
            assert!(errors.to_string().contains(message), "{condition}: {errors}");
            assert_eq!(errors.0.len(), 1, "{errors}");
        }
        let errors = Policy::parse("version: 1\ntag_keys: [\"env\\n\"]\n").expect_err("a key");
        assert!(errors.to_string().contains("a tag key must be plain"), "{errors}");
    }

    /// None of these is a pattern that matches nothing.
    #[test]
    fn patterns_that_match_something() {
        for condition in [
            "{document: ['arn:aws:ssm:*:123456789012:document/Team-*', '*:document/x', A.b_c-?]}",
            "{target: ['ecs:prod_*', 'sagemaker-cluster:a_b-i-0*', 'mi-?']}",
            "{target_tags: {env: ['a b', 'é{}[]', '']}}",
            "{reason: ['(?i)just testing', '[Ss]t[Öö]rung', '(?i)障害|—', '(?P<i>ö)', 'ö(?-i:x)']}",
            r"{reason: ['(?i)\.', '\x{d6}', '\d{3}\.', '(?x) a | b']}",
        ] {
            let text = format!(
                "version: 1\ntag_keys: [env]\nrules: [{{id: a, when: {condition}, forbid: true}}]\n"
            );
            if let Err(errors) = Policy::parse(&text) {
                panic!("{condition}: {errors}");
            }
        }
    }

    #[test]
    fn numbers_are_quoted_as_written() {
        for (policy, message) in [
            ("version: 08", "`version` must be 1, not `08`"),
            ("version: 1.0e0 # One.", "`version` must be 1, not `1.0e0`"),
            ("version: 1\nlimits: {max_terminations: 0x00}", "not `0x00`"),
            ("version: 1\ntag_keys: [001234567890]", "not `001234567890`; put it in quotes"),
            ("version: 1\ntag_keys: [&n 08]\npaused: *n", "`true` or `false`, not `08`"),
            ("version: 1\npaused: 1_0", "not `1_0`"),
            ("version: 1\nrules: TRUE", "`rules` must be a list, not `TRUE`"),
        ] {
            let errors = Policy::parse(policy).expect_err(policy).to_string();
            assert!(errors.contains(message), "{policy}: {errors}");
        }
    }

    #[test]
    fn instants_are_of_rfc_3339() {
        let until = |text: &str| {
            let policy =
                format!("version: 1\nexemptions: [{{id: a, when: all, until: \"{text}\"}}]\n");
            Policy::parse(&policy).is_ok()
        };
        for text in [
            "2027-06-30T00:00:00Z",
            "2027-06-30T23:59:59.123456789+05:30",
            "2028-02-29T00:00:00-00:00",
        ] {
            assert!(until(text), "{text}");
        }
        for text in [
            "2027-06-30",
            "2027-06-30T00:00Z",
            "2027-06-30 00:00:00Z",
            "2027-06-30T00:00:00",
            "2027-06-30T00:00:00z",
            "2027-06-30T00:00:00.Z",
            "2027-06-30T00:00:00.1234567890Z",
            "2027-06-30T00:00:00+0200",
            "2027-06-30T00:00:00Z[UTC]",
            "2027-06-30T00:00:00Z\\n",
            "2027-02-29T00:00:00Z",
            "20270630T000000Z",
        ] {
            assert!(!until(text), "{text}");
        }
    }

    #[test]
    fn defaults_are_those_of_the_reference() {
        for text in ["version: 1\n", "{\"version\": 1, \"rules\": []}"] {
            let policy = Policy::parse(text).expect(text);
            assert_eq!(
                policy.limits,
                Limits { max_terminations: 50, max_percent: 50, min_violations: 10 }
            );
            assert_eq!((policy.untagged, policy.paused), (None, false));
        }
    }

    #[test]
    fn the_whole_grammar_is_read() {
        let policy = Policy::parse(
            r#"
version: 1
tag_keys: [env, team, "reaper:exempt"]
rules:
  - id: production
    description: Shells on production are short.
    when: { target_tags: { env: [prod, "prod-*"], team: payments }, target: "i-*" }
    unless: { owner: "role/batch-*" }
    require:
      max_age: 1h30m
      owner: [role/sre-*, permission-set/Ops/jane, user/jane]
      target_tags: { team: "?*" }
      document: [SSM-*, A_b.c?]
      access_type: JustInTime
      reason: ^INC
      hours: ["Mon-Fri 08:00-18:30 Europe/Berlin", "Sat 00:00-24:00 UTC"]
  - id: lab
    when: { target: [mi-*, "ecs:lab_*"], document: "*", status: [Connected, Failed] }
    forbid: true
  - id: everybody
    when: all
    unless: { access_type: [Standard, JustInTime], reason: [a, b] }
    require: { max_age: 1d }
exemptions:
  - id: break-glass
    description: Two people know the password.
    when: { owner: [role/BreakGlass/x, root, "arn:aws:sts::*:federated-user/x", federated-user/y] }
    until: 2027-06-30T00:00:00Z
  - id: tagged
    when: { target_tags: { "reaper:exempt": "true" } }
limits:
  max_terminations: 7
  circuit_breaker: { max_percent: 20, min_violations: 3 }
untagged: no-tags
paused: true
"#,
        );
        let policy = policy.expect("a valid policy");
        let mut lines = Vec::new();
        for Rule { id, description, when, unless, demand } in &policy.rules {
            lines.push(format!("{id}: {}", description.as_deref().unwrap_or("-")));
            lines.extend(when.0.iter().map(|it| format!("  when {it}")));
            lines.extend(unless.iter().flat_map(|it| &it.0).map(|it| format!("  unless {it}")));
            match demand {
                Demand::Forbid => lines.push("  forbid".into()),
                Demand::Require(all) => {
                    lines.extend(all.iter().map(|it| format!("  require {it}")));
                }
            }
        }
        for Exemption { id, description, when, until } in &policy.exemptions {
            lines.push(format!("{id}: {}", description.as_deref().unwrap_or("-")));
            lines.extend(when.0.iter().map(|it| format!("  when {it}")));
            lines.extend(until.iter().map(|it| format!("  until {it}")));
        }
        let expected = [
            "production: Shells on production are short.",
            "  when target: i-*",
            "  when target_tags: env: prod, prod-*; team: payments",
            "  unless owner: role/batch-*",
            "  require max_age: 1h 30m",
            "  require owner: role/sre-*, permission-set/Ops/jane, user/jane",
            "  require target_tags: team: ?*",
            "  require document: SSM-*, A_b.c?",
            "  require access_type: JustInTime",
            "  require reason: ^INC",
            "  require hours: Mon-Fri 08:00-18:30 Europe/Berlin, Sat 00:00-24:00 UTC",
            "lab: -",
            "  when target: mi-*, ecs:lab_*",
            "  when document: *",
            "  when status: Connected, Failed",
            "  forbid",
            "everybody: -",
            "  unless access_type: Standard, JustInTime",
            "  unless reason: a, b",
            "  require max_age: 24h",
            "break-glass: Two people know the password.",
            "  when owner: role/BreakGlass/x, root, arn:aws:sts::*:federated-user/x, federated-user/y",
            "  until 2027-06-30T00:00:00Z",
            "tagged: -",
            "  when target_tags: reaper:exempt: true",
        ];
        assert_eq!(lines, expected);
        assert_eq!(policy.tag_keys, ["env", "team", "reaper:exempt"]);
        assert_eq!(
            policy.limits,
            Limits { max_terminations: 7, max_percent: 20, min_violations: 3 }
        );
        assert_eq!((policy.untagged, policy.paused), (Some(Untagged::NoTags), true));
    }
}
