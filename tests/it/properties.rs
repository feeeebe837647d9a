//! What must hold for every policy and every session, on generated ones.

use std::{collections::BTreeMap, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use proptest::{collection::vec, option, prelude::*, sample::select};
use reaper_core::{
    evaluate::{Verdict, evaluate},
    policy::Policy,
    session::Session,
    target::{Tags, Unknown},
};

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

/// Conditions by key; what stands here is all that decides about the sessions below.
const CONDITIONS: [&str; 10] = [
    "owner: role/dev",
    "owner: [role/sre, user/*]",
    "target: i-1",
    "target_tags: { env: prod }",
    "target_tags: { env: [prod, dev], team: a }",
    "target_tags: { team: '*' }",
    "target_tags: { env: 'p*' }",
    "document: Tunnel*",
    "status: Disconnected",
    "reason: ^INC",
];

const REQUIREMENTS: [&str; 6] = [
    "max_age: 1h",
    "max_age: 8h",
    "owner: role/sre",
    "target_tags: { env: prod }",
    "document: Shell",
    "reason: ^INC",
];

/// A mapping of one to three of these, no key twice.
fn mapping(of: &'static [&'static str]) -> impl Strategy<Value = String> {
    vec(select(of), 1..4).prop_map(|parts| {
        let key = |it: &&str| it.split_once(':').map_or("", |(key, _)| key).to_owned();
        let unique: BTreeMap<String, &str> = parts.iter().map(|it| (key(it), *it)).collect();
        format!("{{ {} }}", unique.into_values().collect::<Vec<_>>().join(", "))
    })
}

fn condition() -> impl Strategy<Value = String> {
    prop_oneof![1 => Just("all".to_owned()), 4 => mapping(&CONDITIONS)]
}

fn rule() -> impl Strategy<Value = String> {
    let demand = prop_oneof![
        1 => Just("forbid: true".to_owned()),
        3 => mapping(&REQUIREMENTS).prop_map(|it| format!("require: {it}")),
    ];
    (condition(), option::of(condition()), demand).prop_map(|(when, unless, demand)| {
        let unless = unless.map_or(String::new(), |it| format!("unless: {it}, "));
        format!("when: {when}, {unless}{demand}")
    })
}

fn exemption() -> impl Strategy<Value = String> {
    let until = select(vec!["", ", until: 1970-01-01T00:00:00Z", ", until: 1970-01-01T00:00:01Z"]);
    (mapping(&CONDITIONS), until).prop_map(|(when, until)| format!("when: {when}{until}"))
}

fn session() -> impl Strategy<Value = Session> {
    let role = |name| format!("arn:aws:sts::123456789012:assumed-role/{name}/x");
    let user = "arn:aws:iam::123456789012:user/x".to_owned();
    let owner = select(vec![role("dev"), role("sre"), role("other"), user]);
    let status = select(vec![None, Some("Connected"), Some("Disconnected")]);
    let reason = select(vec![None, Some("INC-1"), Some("lunch")]);
    let document = select(vec!["Shell", "TunnelToHost"]);
    let minutes = select(vec![0, 60, 61, 480, 481]);
    (owner, select(vec!["i-1", "i-2"]), minutes, status, document, reason).prop_map(
        |(owner, target, minutes, status, document, reason)| Session {
            id: "x-1".into(),
            owner: owner.into(),
            target: target.into(),
            started_at: NOW - SignedDuration::from_mins(minutes),
            status: status.map(Into::into),
            document: Some(document.into()),
            reason: reason.map(Into::into),
            access_type: Some("Standard".into()),
        },
    )
}

fn policy(rules: &[String], exemptions: &[String]) -> Policy {
    let list = |name: &str, letter: &str, items: &[String]| {
        let item = |(i, it): (usize, &String)| format!("  - {{ id: {letter}{i}, {it} }}\n");
        let items: String = items.iter().enumerate().map(item).collect();
        if items.is_empty() { String::new() } else { format!("{name}:\n{items}") }
    };
    let (rules, exemptions) = (list("rules", "r", rules), list("exemptions", "e", exemptions));
    let text = format!("version: 1\ntag_keys: [env, team]\n{rules}{exemptions}");
    Policy::parse(&text).unwrap_or_else(|err| panic!("{err}\n{text}"))
}

/// All that a target's tags can be, as far as the conditions can tell.
fn completions() -> Vec<Tags> {
    let mut all = Vec::new();
    for env in [None, Some("prod"), Some("dev"), Some("x"), Some("p")] {
        for team in [None, Some("a"), Some("b")] {
            let tags = [("env", env), ("team", team)].into_iter();
            let tags = tags.filter_map(|(key, value)| Some((key.to_owned(), value?.to_owned())));
            all.push(Tags::Known(Arc::new(tags.collect())));
        }
    }
    all
}

fn is_terminated(policy: &Policy, session: &Session, tags: &Tags) -> bool {
    matches!(evaluate(policy, NOW, session, tags), Verdict::Violation { .. })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Unknown tags lead to a verdict only if every possible value of them does.
    #[test]
    fn unknown_tags(
        rules in vec(rule(), 0..4),
        exemptions in vec(exemption(), 0..3),
        session in session(),
        why in select(vec![Unknown::TagsNotLookedUp, Unknown::TagsNotReturned]),
    ) {
        let policy = policy(&rules, &exemptions);
        let unknown = evaluate(&policy, NOW, &session, &Tags::Unknown(why));
        for tags in completions() {
            let known = evaluate(&policy, NOW, &session, &tags);
            // Rule lists may be less specific; a status may still be unknown.
            match &unknown {
                Verdict::Violation { rules, unknown } => {
                    prop_assert_eq!(known.name(), "violation");
                    let is_known = |it: &Arc<str>| known.rules().contains(it);
                    prop_assert!(rules.iter().any(is_known));
                    prop_assert!(unknown.is_some() || rules.iter().all(is_known));
                }
                Verdict::Warning { .. } => prop_assert!(false, "no rule only warns"),
                // What a status that is not known cannot violate is compliant once every value was tried; an
                // exemption for certain makes that needless.
                Verdict::Compliant => {
                    let is_exempt = session.status.is_none() && known.name() == "exempt";
                    prop_assert!(is_exempt || known.name() == "compliant");
                }
                Verdict::Exempt { .. } => {
                    prop_assert!(["exempt", "compliant"].contains(&known.name()));
                }
                Verdict::Undetermined { rules, .. } => {
                    let is_possible = |it: &Arc<str>| rules.contains(it);
                    prop_assert!(known.name() != "violation" || known.rules().iter().all(is_possible));
                }
            }
        }
    }

    /// Looking up tags only where they decide terminates the same sessions as looking up all.
    #[test]
    fn lazy_tags(
        rules in vec(rule(), 0..4),
        exemptions in vec(exemption(), 0..3),
        session in session(),
        tags in select(completions()),
    ) {
        let policy = policy(&rules, &exemptions);
        let at_once = evaluate(&policy, NOW, &session, &tags);
        let first = evaluate(&policy, NOW, &session, &Tags::Unknown(Unknown::TagsNotLookedUp));
        let lazily = match first.unknown() {
            Some(_) => evaluate(&policy, NOW, &session, &tags),
            None => first,
        };
        let is_violation = |it: &Verdict| matches!(it, Verdict::Violation { .. });
        prop_assert_eq!(is_violation(&lazily), is_violation(&at_once));
        prop_assert!(!is_violation(&lazily) || lazily.rules().iter().all(|it| at_once.rules().contains(it)));
    }

    /// The order of rules does not change which sessions are terminated.
    #[test]
    fn order_of_rules(
        rules in vec(rule(), 0..4),
        exemptions in vec(exemption(), 0..3),
        session in session(),
        tags in select(completions()),
    ) {
        let reversed: Vec<_> = rules.iter().rev().cloned().collect();
        let before = is_terminated(&policy(&rules, &exemptions), &session, &tags);
        prop_assert_eq!(before, is_terminated(&policy(&reversed, &exemptions), &session, &tags));
    }

    /// Another exemption never terminates more sessions, and another rule never fewer.
    #[test]
    fn more_exemptions_or_rules(
        rules in vec(rule(), 1..4),
        exemptions in vec(exemption(), 1..3),
        session in session(),
        tags in select([completions(), vec![Tags::Unknown(Unknown::TagsNotReturned)]].concat()),
    ) {
        let before = is_terminated(&policy(&rules, &exemptions[1..]), &session, &tags);
        let after = is_terminated(&policy(&rules, &exemptions), &session, &tags);
        prop_assert!(before || !after);
        let fewer = is_terminated(&policy(&rules[1..], &exemptions), &session, &tags);
        prop_assert!(after || !fewer);
    }

    /// A lower maximum age never terminates fewer sessions.
    #[test]
    fn stricter_maximum_age(
        rules in vec(rule(), 1..4),
        exemptions in vec(exemption(), 0..3),
        session in session(),
        tags in select([completions(), vec![Tags::Unknown(Unknown::TagsNotReturned)]].concat()),
    ) {
        let stricter: Vec<_> = rules.iter().map(|it| it.replace("8h", "1h")).collect();
        let before = is_terminated(&policy(&rules, &exemptions), &session, &tags);
        prop_assert!(!before || is_terminated(&policy(&stricter, &exemptions), &session, &tags));
    }
}
