//! Any text as a policy: no panic, and errors whose places are in the text.

#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::{Corpus, fuzz_target};
use reaper_core::{
    evaluate::evaluate,
    policy::{Policy, PolicyErrors},
    printable::is_unsafe,
    session::Session,
    target::{Tags, Unknown},
};
use reaper_render::diagnostic::render;

fuzz_target!(|bytes: &[u8]| -> Corpus {
    let Ok(text) = std::str::from_utf8(bytes) else { return Corpus::Reject };
    match Policy::parse(text) {
        Ok(policy) => use_policy(&policy),
        Err(errors) => check_errors(text, &errors),
    }
    Corpus::Keep
});

fn use_policy(policy: &Policy) {
    let now = "2026-03-02T12:00:00Z".parse().expect("an instant");
    let _warnings = policy.warnings(now);
    let tags = policy
        .tag_keys
        .iter()
        .map(|it| (it.clone(), "prod".to_owned()))
        .collect::<BTreeMap<_, _>>();
    let not_returned = Tags::Unknown(Unknown::TagsNotReturned);
    for tags in [Tags::Known(tags.into()), not_returned] {
        for (owner, status, reason) in [
            (
                "arn:aws:sts::123456789012:assumed-role/AWSReservedSSO_Ops_2b03e7d876722882/j",
                None,
                None,
            ),
            ("arn:aws:iam::123456789012:user/team/jane", Some("Connected"), Some("INC-1")),
            ("", Some("Disconnected"), Some("")),
        ] {
            let session = Session {
                id: "x-1".into(),
                owner: owner.into(),
                target: "i-0123456789abcdef0".into(),
                started_at: now,
                status: status.map(Into::into),
                document: Some("SSM-SessionManagerRunShell".into()),
                reason: reason.map(Into::into),
                access_type: Some("Standard".into()),
            };
            let verdict = evaluate(policy, now, &session, &tags);
            assert_eq!(verdict.rules().is_empty(), verdict.name() == "compliant");
        }
    }
}

fn check_errors(text: &str, PolicyErrors(errors): &PolicyErrors) {
    assert!(!errors.is_empty());
    let placed: Vec<_> = errors.iter().filter(|it| it.line != 0).collect();
    assert!(placed.is_sorted_by_key(|it| (it.line, it.column)));
    // As YAML counts them.
    let unix = text.replace("\r\n", "\n").replace('\r', "\n");
    let lines: Vec<&str> = unix.split('\n').collect();
    for error in errors {
        assert!(!error.message.is_empty());
        if let Some(span) = &error.span {
            assert!(text.get(span.clone()).is_some(), "{error:?}");
        }
        if error.line == 0 {
            continue; // There is no place.
        }
        let line = usize::try_from(error.line - 1).expect("a line's number");
        let line = lines.get(line).unwrap_or_else(|| panic!("{error:?}"));
        let column = usize::try_from(error.column).expect("a column's number");
        assert!((1..=line.chars().count() + 1).contains(&column), "{error:?}");
    }
    for error in errors.iter().take(3) {
        let shown = render("policy.yaml", text, error);
        let plain = anstream::adapter::strip_str(&shown).to_string();
        assert!(!plain.is_empty() && !plain.replace('\n', "").contains(is_unsafe), "{plain:?}");
    }
}
