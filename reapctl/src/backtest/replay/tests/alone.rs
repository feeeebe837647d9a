//! Sessions that no rule counts.

use reaper_core::evaluate::evaluate;

use super::*;

/// A session of 30 days under office hours that four rules name, whose verdict takes 256 completions:
/// of its 8,640 sweeps, only those at the edges of a day and at its maximum age are looked at, and
/// only as many are evaluated as the hours and the age have answers.
#[test]
fn a_month_is_bounded() {
    let lines = ["a", "b", "c", "d"].map(|key| {
        format!(
            "- {{ id: {key}, when: {{ target_tags: {{ {key}: [x, y] }} }}, \
             require: {{ hours: Mon-Fri 08:00-18:30 Europe/Berlin, max_age: 9d }} }}\n"
        )
    });
    let text = format!("version: 1\ntag_keys: [a, b, c, d]\nrules:\n{}", lines.concat());
    let policy = Policy::parse(&text).expect("a valid policy");
    let now: Timestamp = "2026-06-01T00:00:00Z".parse().expect("an instant");
    let (every, past) = (SignedDuration::from_mins(5), past(0, now - HISTORY));
    let replayer = Replayer { policy: &policy, scope: None, types: &KNOWN_BY_NAME, every, now };
    let first = replayer.sweep_after(past.session.started_at.as_second());
    let n_sweeps = std::iter::successors(first, |at| replayer.next_change(*at, &past)).count();
    // Each day has two edges and midnight.
    assert!((60..=30 * 3 + 2).contains(&n_sweeps), "{n_sweeps}");
    let mut n_evaluated = 0;
    let replays = replayer.replay(
        now - HISTORY,
        &[&past],
        &[],
        || {},
        |at, past| {
            n_evaluated += 1;
            replayer.evaluator(at).evaluate(Box::new(past.session.clone()), past.tags.clone())
        },
    );
    assert!(replays[0].is_open());
    assert!((2..=4).contains(&n_evaluated), "{n_evaluated}");
}

/// What is found at the changes is what each sweep would have found.
#[test]
fn agrees_with_every_sweep() {
    let now: Timestamp = "2026-04-01T00:00:00Z".parse().expect("an instant");
    for (rule, exemption) in [
        ("require: { max_age: 1h }", "until: 2026-03-20T10:02:03.5Z"),
        ("require: { max_age: 90s }", "until: 2026-03-01T00:00:00Z"),
        ("require: { hours: Mon-Fri 08:00-18:30 Europe/Berlin }", "until: 2026-03-29T01:00:00Z"),
        ("require: { hours: Sun 02:00-03:00 Europe/Berlin }", "until: 2026-03-31T23:57:00Z"),
        ("require: { max_age: 20d }", "until: 2027-01-01T00:00:00Z"),
    ] {
        let text = format!(
            "version: 1\nrules: [{{ id: r, when: all, {rule} }}]\n\
             exemptions: [{{ id: e, when: {{ owner: role/dev }}, {exemption} }}]\n"
        );
        let policy = Policy::parse(&text).expect("a valid policy");
        for (every, started_at) in [
            (60, now - SignedDuration::from_millis(86_400_123)),
            (300, now - SignedDuration::from_hours(24 * 29)),
            (3_600, now - SignedDuration::from_hours(24 * 40)),
            (7 * 60, now - SignedDuration::from_mins(20)),
        ] {
            let past = past(0, started_at);
            let from = started_at.max(now - HISTORY).as_second();
            let first = (from / every + 1) * every;
            let mut sweeps =
                (first..now.as_second()).step_by(usize::try_from(every).expect("seconds"));
            let expected = sweeps.find(|it| {
                let at = Timestamp::from_second(*it).expect("an instant");
                let verdict = evaluate(&policy, at, &past.session, &past.tags);
                matches!(verdict, Verdict::Violation { .. })
            });
            let every = SignedDuration::from_secs(every);
            let replayer =
                Replayer { policy: &policy, scope: None, types: &KNOWN_BY_NAME, every, now };
            let replays = history(now, vec![past]).replay(replayer, || {});
            let found = replays[0].would_terminate_at.map(Timestamp::as_second);
            assert_eq!(found, expected, "{text} {every:#}");
        }
    }
}
