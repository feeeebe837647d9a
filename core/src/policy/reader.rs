//! Reads the nodes of a policy: values of one type, and lists and mappings of them.

#![expect(clippy::wildcard_enum_match_arm, reason = "a node of any other type is an error")]

use std::{
    collections::{BTreeSet, HashSet},
    fmt,
    ops::{Range, RangeInclusive},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};
use serde_saphyr::{Location, Spanned};

use super::{
    error::PolicyError,
    yaml::{Node, Value},
};
use crate::{duration, printable::printable};

/// The longest message, in characters: it may repeat what the policy says.
pub(super) const MAX_MESSAGE: usize = 400;

/// No name is so long, in bytes, and comparing takes time by the square of it.
const MAX_TYPO: usize = 256;

/// With more names to choose from, none is shown, or compared with.
pub(super) const MAX_NAMES: usize = 50;

/// Reads nodes and collects what is wrong with them.
///
/// A method that returns `None` has reported why.
#[derive(Default)]
pub(super) struct Reader {
    /// The whole policy, for messages to quote numbers as they are written.
    pub(super) text: String,
    pub(super) errors: Vec<PolicyError>,
    pub(super) ids: HashSet<Arc<str>>,
    /// `None` if they cannot be read: then nothing is said of those that rules use.
    pub(super) tag_keys: Option<BTreeSet<String>>,
    /// How many `concurrent` there have been.
    pub(super) n_concurrent: usize,
}

impl Reader {
    /// The values of a mapping's known keys, in the order asked for.
    pub(super) fn fields<'n, const N: usize>(
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

    pub(super) fn no_duplicates(&mut self, entries: &[(Spanned<String>, Node)]) {
        let mut seen = HashSet::new();
        for (key, _) in entries {
            if !seen.insert(&key.value) {
                self.error(key.referenced, format!("the key `{}` stands here twice", key.value));
            }
        }
    }

    /// Reads every item of a list, so as to find every error.
    pub(super) fn items<T>(
        &mut self,
        what: &str,
        node: &Node,
        read: fn(&mut Self, &Node) -> Option<T>,
    ) -> Option<Vec<T>> {
        let items: Vec<_> = self.list(what, node)?.iter().map(|it| read(self, it)).collect();
        items.into_iter().collect()
    }

    /// One or more texts, each read by the same function.
    pub(super) fn parsed<T>(
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
    pub(super) fn one_of(
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

    pub(super) fn list<'n>(&mut self, what: &str, node: &'n Node) -> Option<&'n [Node]> {
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

    pub(super) fn text<'n>(&mut self, what: &str, node: &'n Node) -> Option<&'n str> {
        match &node.value {
            Value::Text(text) => Some(text),
            other @ (Value::Bool(_) | Value::Integer(_) | Value::Number(_)) => {
                let shown = self.shown(node, other);
                self.fail(node, format!("{what} must be a text, not {shown}; put it in quotes"))
            }
            other => self.fail(node, format!("{what} must be a text, not {other}")),
        }
    }

    pub(super) fn boolean(&mut self, what: &str, node: &Node) -> Option<bool> {
        match &node.value {
            Value::Bool(it) => Some(*it),
            other => {
                let shown = self.shown(node, other);
                self.fail(node, format!("`{what}` must be `true` or `false`, not {shown}"))
            }
        }
    }

    pub(super) fn integer(
        &mut self,
        what: &str,
        node: &Node,
        range: RangeInclusive<u32>,
    ) -> Option<u32> {
        let number = match &node.value {
            Value::Integer(it) => u32::try_from(*it).ok().filter(|it| range.contains(it)),
            _ => None,
        };
        let (low, high) = (range.start(), range.end());
        let bounds =
            if low == high { format!("{low}") } else { format!("a number from {low} to {high}") };
        number.or_else(|| {
            let shown = self.shown(node, &node.value);
            let remedy = match &node.value {
                Value::Text(text) if text.parse::<u32>().is_ok_and(|it| range.contains(&it)) => {
                    format!("; write `{what}: {text}`, without quotes")
                }
                _ => String::new(),
            };
            let not = if remedy.is_empty() { shown } else { format!("the text {shown}") };
            self.fail(node, format!("`{what}` must be {bounds}, not {not}{remedy}"))
        })
    }

    pub(super) fn duration(&mut self, what: &str, node: &Node) -> Option<SignedDuration> {
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

    pub(super) fn instant(&mut self, what: &str, node: &Node) -> Option<Timestamp> {
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

    pub(super) fn fail<T>(&mut self, node: &Node, message: impl fmt::Display) -> Option<T> {
        self.error(node.referenced, message);
        None
    }

    pub(super) fn error(&mut self, at: Location, message: impl fmt::Display) {
        let span = bytes(at);
        let (line, column) = (at.line(), at.column());
        let mut message = printable(&message.to_string());
        if let Some((end, _)) = message.char_indices().nth(MAX_MESSAGE) {
            message.truncate(end);
            message.push('…');
        }
        self.errors.push(PolicyError { line, column, span, message });
    }

    /// A value as it is written: `08`, not `8`.
    pub(super) fn shown(&self, node: &Node, value: &Value) -> String {
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
}

/// The place as bytes of the text.
fn bytes(at: Location) -> Option<Range<usize>> {
    let (start, length) = at.span().byte_offset().zip(at.span().byte_len())?;
    Some(usize::try_from(start).ok()?..usize::try_from(start + length).ok()?)
}

/// The names, each in backticks.
pub(super) fn names<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(|it| format!("`{it}`")).collect::<Vec<_>>().join(", ")
}

/// The known name that was surely meant, or else all of them, if they are not too many.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
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
    use crate::policy::Policy;

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
}
