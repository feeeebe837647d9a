//! The replay looks at the changes of one group at a time: it finds what every sweep of all sessions
//! would have found.

use super::*;

/// Every session at every sweep, in one census: what the replay finds by looking only at the
/// changes of one group at a time.
fn brute_force(replayer: Replayer<'_>, history: &History) -> Vec<String> {
    let Replayer { policy, now, every, .. } = replayer;
    let every_s = every.as_secs();
    let from = history.counted_from;
    let mut replays: Vec<_> = history.sessions.iter().map(|it| it.untouched(now)).collect();
    let mut may_be_gone = vec![false; replays.len()];
    let is_within = |start: Option<Timestamp>, end: Option<Timestamp>, at: i64| {
        start.is_none_or(|it| it.as_second() < at) && end.is_none_or(|it| at < it.as_second())
    };
    let mut second = from.as_second().div_euclid(every_s) * every_s;
    loop {
        second += every_s;
        if now.as_second() <= second {
            return replays.iter().map(shown).collect();
        }
        let at = Timestamp::from_second(second).expect("an instant");
        let evaluator = Evaluator::new(policy, at);
        let (mut indices, mut census) = (Vec::new(), Vec::new());
        for (index, it) in history.sessions.iter().enumerate() {
            let is_gone = replays[index].is_gone();
            if is_within(Some(it.session.started_at), it.end.known(), second) && !is_gone {
                let is_open = it.end.known().is_none() && it.end.last().as_second() < second;
                may_be_gone[index] |= is_open;
                let it = evaluator.evaluate(Box::new(it.session.clone()), it.tags.clone());
                census.push(it.perhaps_gone(may_be_gone[index]));
                indices.push(index);
            }
        }
        let records = history.not_evaluated.iter();
        let records = records.filter(|(it, _)| is_within(it.started_at, it.ended_at, second));
        let not_evaluated: Vec<_> = records.cloned().collect();
        let unseen = Unseen { is_incomplete: false, not_evaluated: &not_evaluated };
        evaluator.conclude(&mut census, unseen, || true);
        let verdicts: Vec<Verdict> = census.into_iter().map(|it| it.verdict).collect();
        let group = |index: usize| replayer.group(index, &history.sessions[index].session);
        let is_unknown = |it: &Verdict, is_it: fn(Unknown) -> bool| {
            matches!(it, Verdict::Undetermined { rules, unknown }
                if rules.iter().any(|it| !it.starts_with('w')) && is_it(*unknown))
        };
        // Whether more might have been known of its group at that time.
        let is_in_doubt = |index: usize| {
            let (_, owner, target) = group(index);
            let is_other =
                |told: &str, of_group: Option<&str>| of_group.is_some_and(|it| it != told);
            let fits = |it: &Record| match (&it.owner, &it.target) {
                (Some(a), Some(b)) => !is_other(a, owner) && !is_other(b, target),
                _ => true,
            };
            not_evaluated.iter().any(|(it, _)| fits(it))
                || indices.iter().zip(&verdicts).any(|(other, verdict)| {
                    let is_own = |it| it != Unknown::ConcurrentNotKnown;
                    group(*other) == group(index)
                        && (may_be_gone[*other] || is_unknown(verdict, is_own))
                })
        };
        let doubts: Vec<bool> = indices.iter().map(|it| is_in_doubt(*it)).collect();
        for ((index, verdict), doubt) in indices.into_iter().zip(verdicts).zip(doubts) {
            may_be_gone[index] |= doubt && is_unknown(&verdict, |_| true);
            let replay = replays[index].clone();
            let past = &history.sessions[index];
            let alone = evaluator.evaluate(Box::new(past.session.clone()), past.tags.clone());
            let mut it = Active { replay, ..replayer.begin(at, past, alone) };
            it.note(at, verdict);
            replays[index] = it.replay;
        }
    }
}

fn shown(it: &Replay) -> String {
    let warnings: Vec<_> = it.warnings.iter().map(|it| (&it.rule, it.at, it.minutes)).collect();
    let Replay {
        session_id, would_terminate_at, may_terminate_at, rules, minutes, unknown, ..
    } = it;
    format!(
        "{session_id} {would_terminate_at:?} {may_terminate_at:?} {rules:?} {minutes} {unknown:?} \
         {warnings:?}"
    )
}

/// Small generated histories, under policies that count: the replay finds what every sweep of all
/// sessions would have found.
#[test]
fn counting_agrees_with_every_sweep() {
    let now: Timestamp = "2026-04-01T00:07:00.25Z".parse().expect("an instant");
    let mut kinds = BTreeSet::new();
    for seed in 0..100_u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut below = |n: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            usize::try_from(state >> 33).expect("31 bits") % n
        };
        let mut rules = String::new();
        for index in 0..=below(3) {
            let per = ["owner", "target", "owner_and_target"][below(3)];
            let keep = ["oldest", "newest"][below(2)];
            let (effect, id) = [("terminate", "c"), ("warn", "w")][usize::from(below(4) == 0)];
            let when = ["all", "{ target: i-1 }", "{ target_tags: { env: dev } }"];
            let when = when[below(3)];
            let concurrent = format!("per: {per}, at_most: {}, keep: {keep}", 1 + below(2));
            let require = format!("require: {{ concurrent: {{ {concurrent} }} }}");
            let rule = format!("id: {id}{index}, effect: {effect}, when: {when}, {require}");
            rules.extend(["- { ", &rule, " }\n"]);
        }
        let others = [
            "- { id: a, when: all, require: { max_age: 30h } }\n",
            "- { id: h, when: { target: i-2 }, require: { hours: Mon-Fri 08:00-18:30 UTC } }\n",
            "- { id: s, when: { status: Disconnected, target: i-0 }, \
             require: { hours: Mon-Sun 06:00-24:00 UTC } }\n",
        ];
        rules.extend(others.iter().filter(|_| below(3) == 0).copied());
        let exemption = "exemptions: [{ id: e, when: { owner: role/dev/1 }, \
                         until: 2026-03-20T10:02:03.5Z }]";
        let text = format!("version: 1\ntag_keys: [env]\nrules:\n{rules}{exemption}\n");
        let policy = Policy::parse(&text).expect(&text);

        let minutes = |n: usize| SignedDuration::from_mins(i64::try_from(n).expect("few"));
        let mut of = |id: u64| {
            let started_at = now - minutes(below(31 * 24 * 60));
            let mut past = past(below(3), started_at);
            past.session.id = format!("x-{id}").into();
            past.session.target = format!("i-{}", below(3)).into();
            let ended_at = started_at + minutes(below(4 * 24 * 60));
            past.end = match below(6) {
                0 => End::Unknown { seen_at: ended_at },
                _ if ended_at < now => End::At(ended_at),
                _ => ACTIVE,
            };
            if below(4) != 0 {
                let env = ["dev", "prod"][below(2)];
                past.tags = Tags::Known(Arc::new([("env".into(), env.into())].into()));
            }
            past
        };
        let mut history = history(now, (0..14).map(&mut of).collect());
        let n_records = seed % 3;
        for id in 0..n_records {
            let it = of(100 + id);
            let Session { owner, target, started_at, .. } = it.session;
            let record = Record {
                owner: Some(owner).filter(|_| id == 0),
                // With one of the two, a sweep of all sessions leaves more unknown than of one group.
                target: Some(target).filter(|_| id == 0),
                started_at: Some(started_at).filter(|_| seed % 5 != 0),
                ended_at: it.end.known(),
                ..Record::default()
            };
            history.not_evaluated.push((record, "no SessionId"));
        }
        history.counted_from += SignedDuration::from_secs(i64::try_from(seed * 90).expect("few"));
        let every = SignedDuration::from_mins([60, 97, 360][(seed % 3) as usize]);
        let replayer = Replayer { policy: &policy, scope: None, types: &KNOWN_BY_NAME, every, now };
        let found = history.replay(replayer, || {});
        kinds.extend(found.iter().map(|it| {
            let by_count = it.rules.iter().any(|it| it.starts_with('c'));
            (it.would_terminate_at.is_some(), by_count, it.unknown, it.warnings.is_empty())
        }));
        let found: Vec<_> = found.iter().map(shown).collect();
        assert_eq!(found, brute_force(replayer, &history), "{seed}: {text}");
    }
    // It is about something: each kind of result occurs.
    for (terminated, by_count) in [(true, true), (true, false), (false, true), (false, false)] {
        assert!(kinds.iter().any(|it| (it.0, it.1) == (terminated, by_count)), "{kinds:?}");
    }
    assert!(
        kinds.iter().any(|it| it.2 == Some(Doubt::Fact(Unknown::ConcurrentNotKnown))),
        "{kinds:?}"
    );
    for doubt in [Doubt::Fact(Unknown::StatusNotReturned), Doubt::End] {
        assert!(kinds.iter().any(|it| it.2 == Some(doubt)), "{kinds:?}");
    }
    assert!(kinds.iter().any(|it| !it.3), "{kinds:?}");
}

/// Whatever the ends of sessions were that are not known, what is said of all sessions is true: those that
/// would have been terminated are, at that sweep or before, and those that would not are not.
#[test]
fn unknown_ends_are_not_guessed() {
    let now: Timestamp = "2026-04-01T00:00:00Z".parse().expect("an instant");
    let every = SignedDuration::from_hours(1);
    let hours = |n: usize| SignedDuration::from_hours(i64::try_from(n).expect("few"));
    let (mut n_terminated, mut n_kept, mut n_open) = (0, 0, 0);
    for seed in 0..150_u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut below = |n: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            usize::try_from(state >> 33).expect("31 bits") % n
        };
        let mut text = String::from("version: 1\nrules:\n");
        for index in 0..=below(2) {
            let per = ["owner", "target"][below(2)];
            let keep = ["oldest", "newest"][below(2)];
            let concurrent = format!("per: {per}, at_most: {}, keep: {keep}", 1 + below(2));
            let rule = format!(
                "- {{ id: c{index}, when: all, require: {{ concurrent: {{ {concurrent} }} }} }}\n"
            );
            text.push_str(&rule);
        }
        if below(2) == 0 {
            text += "- { id: a, when: { target: i-1 }, require: { max_age: 20h } }\n";
        }
        let policy = Policy::parse(&text).expect(&text);
        let replayer = Replayer { policy: &policy, scope: None, types: &KNOWN_BY_NAME, every, now };
        let mut of = |id: usize| {
            let started_at = now - hours(1 + below(72));
            let mut past = past(below(2), started_at);
            past.session.id = format!("x-{id}").into();
            past.session.target = format!("i-{}", below(2)).into();
            let at = started_at + hours(below(40));
            past.end = match below(3) {
                0 => End::Unknown { seen_at: at.min(now) },
                _ => End::At(at.min(now)),
            };
            past
        };
        let sessions: Vec<_> = (0..8).map(&mut of).collect();
        let mut replay = |is_given: bool| {
            let given = sessions.iter().map(|it| {
                let end = match it.end {
                    End::Unknown { seen_at } if is_given => {
                        End::At(seen_at + hours(below(40)) + SignedDuration::from_secs(1))
                    }
                    end @ (End::At(_) | End::Unknown { .. }) => end,
                };
                PastSession { session: it.session.clone(), end, tags: it.tags.clone() }
            });
            history(now, given.collect()).replay(replayer, || {})
        };
        let said = replay(false);
        n_open += said.iter().filter(|it| it.is_open()).count();
        for _ in 0..20 {
            for (said, is) in said.iter().zip(replay(true)) {
                let about = format!("{seed}: {text}{}\n{}", shown(said), shown(&is));
                if let Some(at) = said.would_terminate_at {
                    assert!(is.would_terminate_at.is_some_and(|it| it <= at), "{about}");
                    n_terminated += 1;
                } else if !said.is_open() {
                    assert_eq!(is.would_terminate_at, None, "{about}");
                    n_kept += 1;
                }
            }
        }
    }
    assert!(n_terminated.min(n_kept) > 1000 && 100 < n_open, "{n_terminated} {n_kept} {n_open}");
}
