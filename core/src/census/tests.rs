//! Verdicts among each other.

use jiff::SignedDuration;

use super::*;
use crate::session::Session;

fn session(id: &str, minutes: i64, status: Option<&str>) -> Session {
    Session {
        status: status.map(Into::into),
        ..Session::new(
            id,
            "arn:aws:iam::123456789012:user/a",
            "i-1",
            Timestamp::UNIX_EPOCH - SignedDuration::from_mins(minutes),
        )
    }
}

/// The verdict on the oldest of these sessions of one owner, with a record without an owner or not.
fn of_oldest(policy: &str, statuses: &[Option<&str>], has_nameless: bool) -> &'static str {
    let policy = Policy::parse(&format!("version: 1\n{policy}")).expect(policy);
    let evaluator = Evaluator::new(&policy, Timestamp::UNIX_EPOCH);
    let sessions = statuses.iter().enumerate();
    let mut all: Vec<_> = sessions
        .map(|(i, status)| {
            let minutes = i64::try_from(statuses.len() - i).expect("few");
            let it = session(&format!("s-{i}"), minutes, *status);
            evaluator.evaluate(Box::new(it), Tags::Unknown(Unknown::TagsNotLookedUp))
        })
        .collect();
    let nameless = [(Record { target: Some("i-2".into()), ..Record::default() }, "no Owner")];
    let not_evaluated = if has_nameless { nameless.as_slice() } else { &[] };
    let unseen = Unseen { is_incomplete: false, not_evaluated };
    evaluator.conclude(&mut all, unseen, || true);
    all[0].verdict.name()
}

/// A session whose status AWS did not return may be `Terminating`, so it is counted as possible.
#[test]
fn counts_without_status() {
    let one = "rules: [{ id: r, when: all, require: { concurrent: { per: owner, at_most: 1, keep: newest } } }]";
    let on = Some("Connected");
    for (newer, expected) in [
        (on, "violation"),
        (Some("Hibernating"), "violation"),
        (None, "undetermined"),
        (Some("Terminating"), "compliant"),
    ] {
        assert_eq!(of_oldest(one, &[on, newer], false), expected, "{newer:?}");
    }
}

/// A record without an owner is one possible member, however many rules count it.
#[test]
fn counts_once_per_rule() {
    let rule = |id: &str, at_most: u8| {
        format!(
            "{{ id: {id}, when: all, require: {{ concurrent: {{ per: owner, at_most: {at_most}, keep: newest }} }} }}"
        )
    };
    let on = Some("Connected");
    for (at_most, expected) in [(1, "undetermined"), (2, "compliant")] {
        let policy = format!("rules: [{}, {}]", rule("a", at_most), rule("b", 9));
        assert_eq!(of_oldest(&policy, &[on], true), expected, "{at_most}");
    }
}

/// A session that had no place for certain when it was counted gets it when all is known, and one
/// whose group has too many keeps none.
#[test]
fn counts_again() {
    let rule = |at_most: u8| {
        format!(
            "version: 1\nrules: [{{ id: r, when: all, require: {{ concurrent: {{ per: owner, at_most: {at_most}, keep: newest }} }} }}]"
        )
    };
    for (at_most, expected) in [(1, "violation"), (2, "compliant")] {
        let policy = Policy::parse(&rule(at_most)).expect("a valid policy");
        let evaluator = Evaluator::new(&policy, Timestamp::UNIX_EPOCH);
        let tags = || Tags::Unknown(Unknown::TagsNotLookedUp);
        let sessions =
            [("s-1", 2), ("s-2", 1)].map(|(id, age)| session(id, age, Some("Connected")));
        let mut all = sessions.map(|it| evaluator.evaluate(Box::new(it), tags()));
        let incomplete = Unseen { is_incomplete: true, not_evaluated: &[] };
        evaluator.conclude(&mut all, incomplete, || true);
        assert_eq!(all[1].verdict.name(), "undetermined", "{at_most}");
        evaluator.conclude(&mut all, Unseen::NOTHING, || true);
        assert_eq!(all[0].verdict.name(), expected);
        assert_eq!((all[1].verdict.name(), all[1].excess.len()), ("compliant", 0));
    }
}

/// When a session of one hour, started at 1970-01-01T11:00Z on a Thursday, is due under a policy.
#[test]
fn due() {
    let exempt = "exemptions: [{ id: e, when: all, until: 1970-01-02T00:00:00Z }]";
    let over = "rules: [{ id: r, when: all, require: { max_age: 8h } }]";
    for (policy, expected) in [
        (over.to_owned(), Some("1970-01-01T19:00:00.000000001Z")),
        (format!("{over}\n{exempt}"), Some("1970-01-02T00:00:00Z")),
        (over.replace("8h", "30m"), None), // It is a violation already.
        (over.replace("8h", "40d"), None), // Beyond the horizon.
        (over.replace("r,", "r, effect: warn,"), None),
        (
            over.replace("max_age: 8h", "hours: Mon-Fri 08:00-18:00 UTC"),
            Some("1970-01-01T18:00:00Z"),
        ),
        (over.replace("when: all", "when: { document: A }"), None), // It depends on the document.
        (over.replace("when: all", "when: { target_tags: { env: x } }"), None), // And on tags.
        (
            format!(
                "{over}\nassume: {{ tags: none }}\nexemptions: [{{ id: e, when: {{ target_tags: {{ env: x }} }} }}]"
            ),
            None,
        ),
        (
            // Whatever its tags are.
            "rules: [{ id: r, when: { target_tags: { env: x } }, require: { max_age: 8h } }, \
             { id: s, when: all, unless: { target_tags: { env: x } }, require: { max_age: 8h } }]"
                .into(),
            Some("1970-01-01T19:00:00.000000001Z"),
        ),
        ("rules: [{ id: r, when: { owner: root }, require: { max_age: 8h } }]".into(), None),
    ] {
        let policy =
            Policy::parse(&format!("version: 1\ntag_keys: [env]\n{policy}")).expect(&policy);
        let now = "1970-01-01T12:00:00Z".parse().expect("an instant");
        let session = Session::new(
            "s-1",
            "arn:aws:iam::123456789012:user/a",
            "i-1",
            "1970-01-01T11:00:00Z".parse().expect("an instant"),
        );
        let evaluator = Evaluator::new(&policy, now);
        let tags = Tags::Unknown(Unknown::TagsNotLookedUp);
        let it = evaluator.evaluate(Box::new(session), tags);
        let actual = evaluator.due(&it).map(|it| it.to_string());
        assert_eq!(actual.as_deref(), expected, "{policy:?}");
    }
}

/// A record counts only where it may be a member: of both, what is known of it must be shared.
#[test]
fn nameless_records() {
    let policy = "version: 1\nrules: [{ id: r, when: all, require: { concurrent: \
                  { per: owner_and_target, at_most: 1, keep: newest } } }]";
    let policy = Policy::parse(policy).expect(policy);
    let now = Timestamp::UNIX_EPOCH;
    let session = |target: &str| Session {
        status: Some("Connected".into()),
        ..Session::new(
            format!("s-{target}"),
            "arn:aws:iam::123456789012:user/a",
            target,
            now - SignedDuration::from_hours(1),
        )
    };
    let evaluator = Evaluator::new(&policy, now);
    let tags = || Tags::Unknown(Unknown::TagsNotLookedUp);
    let mut evaluated: Vec<_> =
        ["i-1", "i-2"].map(|it| evaluator.evaluate(Box::new(session(it)), tags())).into();
    let record = Record { target: Some("i-2".into()), ..Record::default() };
    let not_evaluated = [(record, "no Owner")];
    let unseen = Unseen { is_incomplete: false, not_evaluated: &not_evaluated };
    evaluator.conclude(&mut evaluated, unseen, || true);
    let verdicts: Vec<_> = evaluated.iter().map(|it| it.verdict.name()).collect();
    assert_eq!(verdicts, ["compliant", "undetermined"]);
}

/// A record without an owner counts only where what it has does not rule out that it is in scope.
#[test]
fn nameless_out_of_scope() {
    let now = Timestamp::UNIX_EPOCH;
    for (scope, expected) in [
        ("when: all", "undetermined"),
        ("when: { document: A }", "undetermined"),
        ("when: { document: A, owner: user/a }", "undetermined"), // Its owner is not known.
        ("when: { document: A, target_tags: { env: prod } }", "undetermined"),
        ("when: all, unless: { document: A, owner: user/b }", "undetermined"),
        ("when: { access_type: Standard }", "undetermined"), // Not returned.
        ("when: { document: [A, B], target: i-1 }", "compliant"),
        ("when: { document: B }", "compliant"),
        ("when: all, unless: { document: A }", "compliant"),
    ] {
        let policy = format!(
            "version: 1\ntag_keys: [env]\nrules: [{{ id: r, {scope}, require: {{ concurrent: \
             {{ per: owner, at_most: 1, keep: newest }} }} }}]"
        );
        let policy = Policy::parse(&policy).expect(&policy);
        let evaluator = Evaluator::new(&policy, now);
        let document = if scope.contains("document: B") || scope.contains("unless: { document: A }")
        {
            "B"
        } else {
            "A"
        };
        let mut it = session("s-1", 60, Some("Connected"));
        it.document = Some(document.into());
        it.access_type = Some("Standard".into());
        let tags = Tags::Known(Arc::new([("env".into(), "prod".into())].into()));
        let mut all = [evaluator.evaluate(Box::new(it), tags)];
        let text = |it: &str| Some(it.into());
        let record = Record { target: text("i-2"), document: text("A"), ..Record::default() };
        let unseen = Unseen { is_incomplete: false, not_evaluated: &[(record, "no Owner")] };
        evaluator.conclude(&mut all, unseen, || true);
        assert_eq!(all[0].verdict.name(), expected, "{scope}");
    }
}

/// Where the type of a session is unknown, so is what depends on it; account and Region likewise.
#[test]
fn facts_of_the_scope_and_the_document() {
    let scope = Scope::from_arn("arn:aws:lambda:eu-west-1:111122223333:function:f");
    let mut types = DocumentTypes::default();
    types.insert("Team-DbTunnel".into(), Some(crate::session_type::SessionType::Port));
    types.insert("Denied".into(), None);
    for (when, document, at_scope, expected) in [
        ("session_type: Port", "Team-DbTunnel", true, "violation"),
        ("session_type: Port", "AWS-StartSSHSession", true, "violation"),
        ("session_type: Port", "SSM-SessionManagerRunShell", true, "compliant"),
        (
            "session_type: [Port, InteractiveCommands]",
            "AWS-StartInteractiveCommand",
            true,
            "violation",
        ),
        ("session_type: Port", "Denied", true, "undetermined"),
        ("session_type: Port", "Other", true, "undetermined"),
        ("account: \"111122223333\"", "A", true, "violation"),
        ("account: [\"111122223333\"]", "A", false, "undetermined"),
        ("account: \"111122223334\"", "A", true, "compliant"),
        ("region: [eu-*, us-east-1]", "A", true, "violation"),
        ("region: us-*", "A", true, "compliant"),
        ("region: us-*", "A", false, "undetermined"),
    ] {
        let text = format!("version: 1\nrules: [{{ id: r, when: {{ {when} }}, forbid: true }}]");
        let policy = Policy::parse(&text).expect(when);
        let session = Session {
            document: Some(document.into()),
            ..Session::new("s-1", "arn:aws:iam::123456789012:user/a", "i-1", Timestamp::UNIX_EPOCH)
        };
        let evaluator = Evaluator::new(&policy, Timestamp::UNIX_EPOCH)
            .at(scope.as_ref().filter(|_| at_scope))
            .typed(&types);
        let tags = Tags::Unknown(Unknown::TagsNotLookedUp);
        let it = evaluator.evaluate(Box::new(session), tags);
        assert_eq!(it.verdict.name(), expected, "{when}, {document}");
    }
    for wrong in
        ["account: \"12\"", "account: 111122223333", "region: eu_west", "session_type: port"]
    {
        let text = format!("version: 1\nrules: [{{ id: r, when: {{ {wrong} }}, forbid: true }}]");
        assert!(Policy::parse(&text).is_err(), "{wrong}");
    }
}
