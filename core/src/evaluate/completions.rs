//! Every way in which what is not known of a session may turn out.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    pattern::Glob,
    policy::{STATUSES, Test},
    session::Session,
    target::Tags,
};

/// The most completions that are tried: beyond, what is not known stays so.
const MAX_COMPLETIONS: usize = 256;

/// What may be unknown, with every value that the tests can tell apart.
enum Open<'a> {
    Status(Vec<Arc<str>>),
    /// The value is `None` where the target does not carry the key.
    Tag(&'a str, Vec<Option<String>>),
}

impl Open<'_> {
    fn n_values(&self) -> usize {
        match self {
            Self::Status(values) => values.len(),
            Self::Tag(_, values) => values.len(),
        }
    }
}

/// Whether every value that the test can tell apart can be named: of a tag's value it may ask for a
/// text, for `*` or for `?*`, and for no other pattern.
pub(crate) fn can_be_completed(test: &Test) -> bool {
    let is_nameable = |it: &Glob| {
        let glob = it.to_string();
        ["*", "?*"].contains(&glob.as_str()) || !glob.contains(['*', '?'])
    };
    let Test::TargetTags(all) = test else { return true };
    all.iter().all(|(_, globs)| globs.iter().all(is_nameable))
}

/// The session and its tags, completed in every way that these tests can tell apart, at most 256.
///
/// `None` if there are more, or if a test cannot be completed.
pub(crate) fn completions<'a>(
    tests: impl Iterator<Item = &'a Test>,
    session: &Session,
    tags: &Tags,
) -> Option<impl Iterator<Item = (Session, Tags)>> {
    let mut asked: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let mut asks_status = false;
    for test in tests {
        if !can_be_completed(test) {
            return None;
        }
        match (test, tags) {
            (Test::Status(_), _) => asks_status = true,
            (Test::TargetTags(all), Tags::Unknown(_)) => {
                for (key, globs) in all {
                    let values = asked.entry(key).or_default();
                    for glob in globs {
                        match glob.to_string().as_str() {
                            "*" => {} // Every text, and so any other text below.
                            "?*" => drop(values.insert(String::new())),
                            text => drop(values.insert(text.to_owned())),
                        }
                    }
                }
            }
            _ => {}
        }
    }
    let tag = |(key, values): (_, BTreeSet<String>)| {
        // Longer than each, and so another one.
        let other = values.iter().fold("x".to_owned(), |all, it| all + it);
        Open::Tag(
            key,
            [None, Some(other)].into_iter().chain(values.into_iter().map(Some)).collect(),
        )
    };
    let mut open: Vec<Open<'_>> = asked.into_iter().map(tag).collect();
    if asks_status && session.status.is_none() {
        let unheard_of = "";
        open.push(Open::Status(STATUSES.into_iter().chain([unheard_of]).map(Into::into).collect()));
    }
    let n = open.iter().try_fold(1_usize, |n, it| n.checked_mul(it.n_values()))?;
    let complete = move |mut i: usize| {
        let mut completed = (session.clone(), tags.clone());
        let mut carried = BTreeMap::new();
        for it in &open {
            let value = i % it.n_values();
            i /= it.n_values();
            match it {
                Open::Status(values) => completed.0.status = values.get(value).cloned(),
                Open::Tag(key, values) => {
                    let value = values.get(value).cloned().flatten();
                    carried.extend(value.map(|it| ((*key).to_owned(), it)));
                }
            }
        }
        if matches!(tags, Tags::Unknown(_)) {
            completed.1 = Tags::Known(carried.into());
        }
        completed
    };
    (n <= MAX_COMPLETIONS).then(|| (0..n).map(complete))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::{policy::Policy, policy::Rule, target::Unknown};

    /// Of a session on a target whose tags AWS does not tell.
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
            document: "".into(),
            reason: None,
            access_type: "".into(),
        };
        let tags = Tags::Unknown(Unknown::TagsNotReturned);
        let all = completions(policy.rules.iter().flat_map(Rule::tests), &session, &tags)?;
        Some(all.collect())
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
