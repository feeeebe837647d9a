//! Every combination of values that the unknown fields of a session may have.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    pattern::Glob,
    policy::{ACCESS_TYPES, STATUSES, Subject, Test},
    session::Session,
    target::Tags,
    truth::Truth,
};

/// The most completions that are tried: beyond, what is not known stays so.
const MAX_COMPLETIONS: usize = 256;

/// What may be unknown, with every value that the tests can distinguish.
enum Open<'a> {
    AccessType(Vec<Arc<str>>),
    Document(Vec<Arc<str>>),
    Status(Vec<Arc<str>>),
    /// The value is `None` where the target does not carry the key.
    Tag(&'a str, Vec<Option<String>>),
}

impl Open<'_> {
    fn n_values(&self) -> usize {
        match self {
            Self::AccessType(values) | Self::Document(values) | Self::Status(values) => {
                values.len()
            }
            Self::Tag(_, values) => values.len(),
        }
    }
}

/// Whether every value that the test can distinguish can be named: of a tag or a document it may ask
/// for a text, for `*` or for `?*`, and for no other pattern; a reason is asked for by patterns alone.
pub(crate) fn can_be_completed(test: &Test) -> bool {
    let is_nameable = |it: &Glob| {
        let glob = it.to_string();
        ["*", "?*"].contains(&glob.as_str()) || !glob.contains(['*', '?'])
    };
    match test {
        Test::Document(globs) | Test::TargetTag(_, globs) => globs.iter().all(is_nameable),
        Test::Account(_) | Test::Reason(_) | Test::Region(_) | Test::SessionType(_) => false,
        Test::AccessType(_) | Test::Owner(_) | Test::Status(_) | Test::Target(_) => true,
    }
}

/// The texts that the globs name, and one that none of them names.
fn named(globs: &[Glob], values: &mut BTreeSet<String>) {
    for glob in globs {
        match glob.to_string().as_str() {
            "*" => {} // Every text, and so any other text as well.
            "?*" => drop(values.insert(String::new())),
            text => drop(values.insert(text.to_owned())),
        }
    }
}

/// A text that is none of these: it is longer than each.
fn another(values: &BTreeSet<String>) -> String {
    values.iter().fold("x".to_owned(), |all, it| all + it)
}

/// The session and its tags, completed in every way that these tests, each of which is open, can
/// distinguish, at most 256.
///
/// `None` if there are more, or if a test cannot be completed.
pub(crate) fn completions<'a>(
    tests: impl Iterator<Item = &'a Test>,
    subject: Subject<'_>,
) -> Option<impl Iterator<Item = (Session, Tags)>> {
    let mut tags: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let mut documents = BTreeSet::new();
    let (mut asks_access_type, mut asks_document, mut asks_status) = (false, false, false);
    for test in tests.filter(|it| it.holds(subject) == Truth::Unknown) {
        if !can_be_completed(test) {
            return None;
        }
        match test {
            Test::AccessType(_) => asks_access_type = true,
            Test::Document(globs) => {
                asks_document = true;
                named(globs, &mut documents);
            }
            Test::Status(_) => asks_status = true,
            Test::TargetTag(key, globs) => named(globs, tags.entry(key).or_default()),
            Test::Account(_)
            | Test::Owner(_)
            | Test::Reason(_)
            | Test::Region(_)
            | Test::SessionType(_)
            | Test::Target(_) => {}
        }
    }
    let tag = |(key, values): (_, BTreeSet<String>)| {
        let other = Some(another(&values));
        Open::Tag(key, [None, other].into_iter().chain(values.into_iter().map(Some)).collect())
    };
    let mut open: Vec<Open<'_>> = tags.into_iter().map(tag).collect();
    let and_unheard_of =
        |known: &[&str]| known.iter().copied().chain([""]).map(Into::into).collect();
    if asks_access_type {
        open.push(Open::AccessType(and_unheard_of(&ACCESS_TYPES)));
    }
    if asks_document {
        let other = another(&documents);
        // Every document has a name.
        let names = documents.into_iter().filter(|it| !it.is_empty()).chain([other]);
        open.push(Open::Document(names.map(Into::into).collect()));
    }
    if asks_status {
        open.push(Open::Status(and_unheard_of(&STATUSES)));
    }
    let n = open.iter().try_fold(1_usize, |n, it| n.checked_mul(it.n_values()))?;
    let Subject { session, tags, .. } = subject;
    let complete = move |mut i: usize| {
        let mut completed = session.clone();
        let mut carried = BTreeMap::new();
        for it in &open {
            let value = i % it.n_values();
            i /= it.n_values();
            match it {
                Open::AccessType(values) => completed.access_type = values.get(value).cloned(),
                Open::Document(values) => completed.document = values.get(value).cloned(),
                Open::Status(values) => completed.status = values.get(value).cloned(),
                Open::Tag(key, values) => {
                    let value = values.get(value).cloned().flatten();
                    carried.extend(value.map(|it| ((*key).to_owned(), it)));
                }
            }
        }
        match subject.tags() {
            Ok(_) => (completed, tags.clone()),
            Err(_) => (completed, Tags::Known(carried.into())),
        }
    };
    (n <= MAX_COMPLETIONS).then(|| (0..n).map(complete))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::{
        policy::{Policy, Rule},
        target::Unknown,
    };

    /// Of a session on a target whose tags AWS does not return.
    fn completions_of(when: &str, status: Option<&str>) -> Option<Vec<(Session, Tags)>> {
        let policy = format!(
            "version: 1\ntag_keys: [a, b, c, d]\nrules: [{{ id: r, when: {when}, forbid: true }}]\n"
        );
        let policy = Policy::parse(&policy).expect(when);
        let session = Session {
            id: "x-1".into(),
            owner: "".into(),
            target: "".into(),
            started_at: Timestamp::UNIX_EPOCH,
            status: status.map(Into::into),
            document: None,
            reason: None,
            access_type: None,
        };
        let tags = Tags::Unknown(Unknown::TagsNotReturned);
        let subject = Subject::new(&policy, &session, &tags);
        completions(policy.rules.iter().flat_map(Rule::tests), subject).map(Iterator::collect)
    }

    #[test]
    fn every_combination_is_tried_once() {
        let when = "{ target_tags: { a: x, b: y }, status: Failed }";
        let all = completions_of(when, None).expect("few enough");
        assert_eq!(all.len(), 3 * 3 * 7);
        assert!((1..all.len()).all(|i| !all[..i].contains(&all[i])), "{all:?}");
    }

    #[test]
    fn a_status_that_is_known_is_left_alone() {
        let when = "{ target_tags: { a: x }, status: Failed }";
        let all = completions_of(when, Some("Connected")).expect("few enough");
        assert_eq!(all.len(), 3);
        assert!(all.iter().all(|it| it.0.status.as_deref() == Some("Connected")), "{all:?}");
    }

    #[test]
    fn not_more_than_256_are_tried() {
        let tags = "a: [x, y], b: [x, y], c: [x, y]";
        let n = |d: &str| completions_of(&format!("{{ target_tags: {{ {tags}, d: {d} }} }}"), None);
        assert_eq!(n("[x, y]").map(|it| it.len()), Some(256));
        assert_eq!(n("[x, y, z]"), None);
    }
}
