//! Sessions that rules count, and what terminations and warnings change for the others.

use super::*;

fn now() -> Timestamp {
    "2026-04-01T00:00:00Z".parse().expect("an instant")
}

/// A session from one hour of the last day to another, 0 to 24; to 24, it is active.
fn hours(id: &str, owner: &str, target: &str, from: i64, to: i64) -> PastSession {
    let at = |hour: i64| now() - SignedDuration::from_hours(24 - hour);
    let mut past = past(0, at(from));
    past.session.id = id.into();
    past.session.owner = format!("arn:aws:iam::123456789012:user/{owner}").into();
    past.session.target = target.into();
    past.end = if to < 24 { End::At(at(to)) } else { ACTIVE };
    past
}

/// What becomes of a session: its id, the hour of the sweep that would have terminated it, the hour
/// of the first warning, and what is unknown.
type Found = (String, Option<i64>, Option<i64>, Option<Doubt>);

fn replayed(rules: &str, history: &History) -> Vec<Found> {
    let policy = Policy::parse(&format!("version: 1\n{rules}")).expect("a valid policy");
    let every = SignedDuration::from_hours(1);
    let hour = |at: Timestamp| 24 - now().duration_since(at).as_hours();
    let of = |it: Replay| {
        let warned_at = it.warnings.first().map(|it| hour(it.at));
        let terminated_at = it.would_terminate_at.map(hour);
        (it.session_id.to_string(), terminated_at, warned_at, it.unknown)
    };
    let replayer =
        Replayer { policy: &policy, scope: None, types: &KNOWN_BY_NAME, every, now: now() };
    history.replay(replayer, || {}).into_iter().map(of).collect()
}

fn rule(concurrent: &str) -> String {
    format!("rules:\n- {{ id: c, when: all, require: {{ concurrent: {{ {concurrent} }} }} }}\n")
}

/// Checks when each session, in their order, would have been terminated, and warned of.
fn check(rules: &str, sessions: Vec<PastSession>, expected: &[(Option<i64>, Option<i64>)]) {
    let found = replayed(rules, &history(now(), sessions));
    let found: Vec<_> = found.into_iter().map(|(_, at, warned, _)| (at, warned)).collect();
    assert_eq!(found, expected, "{rules}");
}

/// A session that an earlier sweep would have terminated does not count for those that follow.
#[test]
fn terminated_does_not_count() {
    let sessions = || {
        vec![
            hours("a", "jo", "i-1", 0, 24),
            hours("b", "jo", "i-1", 2, 24), // Alone, `b` would be the second.
            hours("c", "an", "i-1", 3, 24), // Of another owner.
            hours("d", "jo", "i-1", 5, 24),
        ]
    };
    let none = (None, None);
    let oldest = rule("per: owner, at_most: 1, keep: oldest");
    check(&oldest, sessions(), &[none, (Some(3), None), none, (Some(6), None)]);
    // `a` is terminated for its age, so at the next sweeps `b` is the oldest, and alone.
    let young = format!("{oldest}- {{ id: y, when: all, require: {{ max_age: 1h }} }}\n");
    let ages = [(Some(2), None), (Some(4), None), (Some(5), None), (Some(7), None)];
    check(&young, sessions(), &ages);
    let newest = rule("per: owner, at_most: 1, keep: newest");
    check(&newest, sessions(), &[(Some(3), None), (Some(6), None), none, none]);
    // A session that has ended does not count either.
    let ended = vec![hours("a", "jo", "i-1", 0, 2), hours("b", "jo", "i-1", 2, 24)];
    check(&oldest, ended, &[none, none]);
}

/// An exempt session takes a place until its exemption ends; it is then one of the others.
#[test]
fn exempt_takes_a_place() {
    let exempt = "exemptions: [{ id: e, when: { target: i-9 }, until: 2026-03-31T10:00:00Z }]\n";
    let oldest = rule("per: owner, at_most: 1, keep: oldest") + exempt;
    let sessions = vec![
        hours("a", "jo", "i-1", 0, 24),
        hours("b", "jo", "i-9", 1, 24),
        hours("c", "jo", "i-1", 2, 24),
    ];
    check(&oldest, sessions, &[(None, None), (Some(10), None), (Some(3), None)]);
    let newest = rule("per: owner, at_most: 1, keep: newest") + exempt;
    let sessions = vec![
        hours("a", "jo", "i-9", 0, 24),
        hours("b", "jo", "i-1", 1, 3),
        hours("c", "jo", "i-1", 2, 24),
        hours("d", "jo", "i-9", 4, 24),
    ];
    let expected = [(Some(10), None), (None, None), (Some(5), None), (None, None)];
    // `b` ends in the hour in which `c` starts a second place.
    check(&newest, sessions, &expected);
}

/// A rule that warns terminates no session, and one that is warned of keeps its place.
#[test]
fn warning_terminates_none() {
    let warn = rule("per: target, at_most: 1, keep: oldest").replace("when", "effect: warn, when");
    let sessions = || {
        vec![
            hours("a", "jo", "i-1", 0, 24),
            hours("b", "an", "i-1", 1, 24),
            hours("c", "an", "i-2", 2, 24),
        ]
    };
    check(&warn, sessions(), &[(None, None), (None, Some(2)), (None, None)]);
    let both = format!(
        "{warn}- {{ id: d, when: all, require: {{ concurrent: \
         {{ per: owner, at_most: 1, keep: oldest }} }} }}\n"
    );
    check(&both, sessions(), &[(None, None), (None, Some(2)), (Some(3), None)]);
}

/// A record that lacks what an evaluation needs may take a place while it may have been active.
#[test]
fn unseen_takes_no_place_for_certain() {
    let oldest = rule("per: owner, at_most: 1, keep: oldest");
    let record = |owner: Option<&str>, from: i64, to: i64| {
        let it = hours("r", owner.unwrap_or("x"), "i-1", from, to);
        let owner = owner.map(|_| it.session.owner);
        let started_at = Some(it.session.started_at);
        (
            Record { owner, started_at, ended_at: it.end.known(), ..Record::default() },
            "no SessionId",
        )
    };
    let unknown = Some(Doubt::Fact(Unknown::ConcurrentNotKnown));
    for (record, expected) in [
        (record(Some("jo"), 4, 8), unknown),
        (record(None, 4, 8), unknown),
        (record(None, 0, 24), unknown),
        (record(Some("an"), 4, 8), None),   // Of another owner.
        (record(Some("jo"), 1, 3), None),   // It ended before the session started.
        (record(Some("jo"), 11, 24), None), // The session had ended.
    ] {
        let mut history = history(now(), vec![hours("a", "jo", "i-1", 5, 10)]);
        history.not_evaluated.push(record.clone());
        let found = replayed(&oldest, &history);
        assert_eq!(found, [("a".into(), None, None, expected)], "{record:?}");
    }
}

/// A session that may have been terminated takes no place for certain.
#[test]
fn perhaps_terminated() {
    // Past statuses are unknown, so it is not known whether `a` was terminated before 2:00.
    let rules = rule("per: owner, at_most: 1, keep: oldest")
        + "- { id: s, when: { status: Disconnected, target: i-1 }, \
           require: { hours: Mon-Sun 02:00-24:00 UTC } }\n";
    let found = replayed(
        &rules,
        &history(now(), vec![hours("a", "jo", "i-1", 0, 24), hours("b", "jo", "i-2", 5, 24)]),
    );
    let unknowns: Vec<_> = found.into_iter().map(|(_, at, _, unknown)| (at, unknown)).collect();
    let expected = [Unknown::StatusNotReturned, Unknown::ConcurrentNotKnown]
        .map(|it| (None, Some(Doubt::Fact(it))));
    assert_eq!(unknowns, expected);
}

/// Where rules keep different sessions, a termination decides about others at the next sweep.
#[test]
fn termination_changes_the_next_sweep() {
    let rules = rule("per: owner, at_most: 1, keep: newest")
        + "- { id: t, when: all, require: { concurrent: { per: target, at_most: 1, keep: oldest } } }\n";
    let sessions = vec![
        hours("a", "an", "i-1", 0, 24),
        hours("b", "jo", "i-2", 1, 24), // Until `c` is gone, it may have no place for its owner.
        hours("c", "jo", "i-1", 2, 24), // `a` is on its target.
        hours("d", "bo", "i-2", 2, 24), // `b` is on its target.
    ];
    let none = (None, None);
    check(&rules, sessions, &[none, none, (Some(3), None), (Some(4), None)]);
}

/// A session takes its place for certain though it is not known whether a rule that only warns is
/// violated.
#[test]
fn warning_changes_no_count() {
    let rules = rule("per: owner, at_most: 1, keep: oldest")
        + "- { id: t, effect: warn, when: { document: A }, require: { concurrent: { per: target, \
           at_most: 1, keep: oldest } } }\n";
    let document = |it: PastSession| {
        let session = Session { document: Some("A".into()), ..it.session };
        PastSession { session, ..it }
    };
    let sessions = vec![
        hours("a", "an", "i-1", 0, 5), // Its document is not known.
        document(hours("b", "jo", "i-1", 1, 24)),
        document(hours("c", "jo", "i-2", 1, 24)),
    ];
    let none = (None, None);
    check(&rules, sessions, &[none, none, (Some(2), None)]);
}

/// The time after a warning lasts until the session would have been terminated, or its end.
#[test]
fn time_after_a_warning() {
    let policy = Policy::parse(
        "version: 1\nrules:\n- { id: w, when: all, effect: warn, require: { max_age: 90m } }\n\
         - { id: a, when: { target: i-1 }, require: { max_age: 270m } }\n",
    );
    let policy = policy.expect("a valid policy");
    let every = SignedDuration::from_hours(1);
    let replayer =
        Replayer { policy: &policy, scope: None, types: &KNOWN_BY_NAME, every, now: now() };
    let history =
        history(now(), vec![hours("a", "jo", "i-1", 0, 24), hours("b", "jo", "i-2", 0, 9)]);
    let replays = history.replay(replayer, || {});
    let minutes: Vec<_> = replays.iter().map(|it| it.warnings[0].minutes).collect();
    assert_eq!(minutes, [3 * 60, 7 * 60]);
}

/// Sweeps before the history is complete count no session.
#[test]
fn incomplete_start() {
    let mut history = history(now(), vec![past(0, "2026-01-01T00:00:00Z".parse().expect("one"))]);
    history.sessions[0].end = End::At("2026-03-02T05:30:00Z".parse().expect("an instant"));
    let rules = "rules:\n- { id: r, when: all, require: { max_age: 1h, \
                 concurrent: { per: owner, at_most: 1, keep: newest } } }\n";
    let at = |history: &History| replayed(rules, history)[0].1;
    assert_eq!(at(&history), Some(-30 * 24 + 24 + 1));
    history.counted_from += SignedDuration::from_mins(150);
    assert_eq!(at(&history), Some(-30 * 24 + 24 + 3));
}

/// After a session whose end is not known was last seen, no sweep is said to terminate it or to warn of it,
/// and it takes no place for certain. The sweep that would terminate it is its last one: it is gone then.
#[test]
fn unknown_end() {
    let seen = |it: PastSession, hour: i64| {
        let seen_at = now() - SignedDuration::from_hours(24 - hour);
        PastSession { end: End::Unknown { seen_at }, ..it }
    };
    let replayed = |rules: &str, sessions| {
        let policy = Policy::parse(&format!("version: 1\n{rules}")).expect("a valid policy");
        let every = SignedDuration::from_hours(1);
        let replayer =
            Replayer { policy: &policy, scope: None, types: &KNOWN_BY_NAME, every, now: now() };
        let hour = |at: Timestamp| 24 - now().duration_since(at).as_hours();
        let of = |it: Replay| {
            let may = it.may_terminate_at.map(hour);
            (it.would_terminate_at.map(hour), may, it.warnings.len(), it.minutes / 60, it.unknown)
        };
        history(now(), sessions).replay(replayer, || {}).into_iter().map(of).collect::<Vec<_>>()
    };
    let one = |hour| vec![seen(hours("a", "jo", "i-1", 0, 24), hour)];
    let age = "rules:\n- { id: a, when: all, require: { max_age: 5h } }\n";
    let end = Some(Doubt::End);
    assert_eq!(replayed(age, one(0)), [(None, Some(6), 0, 0, end)]);
    assert_eq!(replayed(age, one(5)), [(None, Some(6), 0, 0, end)]);
    assert_eq!(replayed(age, one(6)), [(Some(6), None, 0, 0, None)], "seen at the sweep");
    assert_eq!(replayed(age, one(9)), [(Some(6), None, 0, 3, None)]);
    assert_eq!(replayed(&age.replace("5h", "30h"), one(0)), [(None, None, 0, 0, None)]);
    let warn = age.replace("when", "effect: warn, when");
    assert_eq!(replayed(&warn, one(0)), [(None, None, 0, 0, end)]);
    assert_eq!(replayed(&warn, one(9)), [(None, None, 1, 0, None)]);
    let later = format!("{warn}- {{ id: b, when: all, require: {{ max_age: 7h }} }}\n");
    assert_eq!(replayed(&later, one(0)), [(None, Some(8), 0, 0, end)]);

    // `a` was seen at 3:00. From then on it may have left its place to `b` and `c`.
    let two = |start: i64| {
        vec![seen(hours("a", "jo", "i-1", 0, 24), 3), hours("b", "jo", "i-1", start, 24)]
    };
    let oldest = rule("per: owner, at_most: 1, keep: oldest");
    let kept = (None, None, 0, 0, None);
    assert_eq!(replayed(&oldest, two(2)), [kept, (Some(3), None, 0, 21, None)]);
    let counted = Some(Doubt::Fact(Unknown::ConcurrentNotKnown));
    assert_eq!(replayed(&oldest, two(3)), [kept, (None, None, 0, 0, counted)]);
    // By the first sweep of `b`, `a` has ended or been terminated for its age.
    let both = format!("{oldest}{}", age.replace("rules:\n", ""));
    let aged = (None, Some(6), 0, 0, end);
    assert_eq!(replayed(&both, two(6)), [aged, (Some(12), None, 0, 12, None)]);
    // Under the rule itself, too: `b` is newer, so that `a` is gone after the next sweep.
    let newest = rule("per: owner, at_most: 1, keep: newest");
    assert_eq!(replayed(&newest, two(4)), [(None, Some(5), 0, 0, end), kept]);
}
