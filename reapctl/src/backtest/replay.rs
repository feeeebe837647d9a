//! Replays the sessions of the history: each is evaluated at every sweep while it was active.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use anyhow::bail;
use jiff::{SignedDuration, Timestamp};
use reaper_core::{
    evaluate::{Verdict, evaluate},
    policy::Policy,
    session::{Reading, Session, State},
    target::{Tags, Unknown},
};
use session_reaper::{
    sweep::clock::check_clock,
    sweep::list::{Census, list},
    sweep::tags::look_up,
};
use tokio::time::Instant;

use crate::{
    aws::{Aws, budget},
    backtest::result::Replay,
    stdio::warn,
};

/// How far back the history goes.
pub(super) const HISTORY: SignedDuration = SignedDuration::from_hours(30 * 24);

/// A session of the history, or an active one.
pub(super) struct PastSession {
    session: Session,
    /// `None`: it is active.
    ended_at: Option<Timestamp>,
    tags: Tags,
}

/// Every session of the last 30 days that can be evaluated, oldest first, and how many cannot.
pub(super) async fn past_sessions(
    aws: &Aws,
    policy: &Policy,
    now: Timestamp,
) -> anyhow::Result<(Vec<PastSession>, usize)> {
    let read_at = Instant::now(); // At the same time as `now`.
    let mut found = Vec::new();
    let mut n_not_evaluated = 0;
    let mut seen = HashSet::new();
    for state in [State::Active, State::History] {
        let census = list(&aws.ssm, state, budget()).await;
        check_clock(&aws.ssm, &census, now, read_at, budget()).await?;
        let Census { pages, problem, .. } = census;
        if let Some(problem) = problem {
            bail!("the listing is incomplete: {problem}");
        }
        for mut record in pages.into_iter().flatten() {
            let ended_at = record.ended_at;
            let is_known = state == State::Active || ended_at.is_some();
            record.status = None; // It is the status at the end of the session.
            if record.id.as_ref().is_some_and(|id| !seen.insert(id.clone())) {
                continue;
            }
            match record.read(now) {
                Reading::Session(session) if is_known => found.push((session, ended_at)),
                Reading::Session(_) | Reading::NotEvaluated(..) => n_not_evaluated += 1,
            }
        }
    }
    let targets: BTreeSet<&str> = match policy.tag_keys.as_slice() {
        [] => BTreeSet::new(),
        _ => found.iter().map(|(it, _)| &*it.target).collect(),
    };
    let (tags, problems) = look_up(&aws.ssm, aws.scope(), policy, targets, budget()).await;
    warn(problems.iter().map(ToString::to_string));
    warn(aws.tag_problem(policy));
    let past_session = |(session, ended_at): (Session, _)| {
        let unknown = Tags::Unknown(Unknown::TagsNotReturned);
        let tags = tags.get(&*session.target).cloned().unwrap_or(unknown);
        PastSession { session, ended_at, tags }
    };
    let mut sessions: Vec<PastSession> = found.into_iter().map(past_session).collect();
    sessions.sort_by_key(|it| it.session.started_at);
    Ok((sessions, n_not_evaluated))
}

/// The first sweep of the history in which a session was active, and the first after each instant at which its
/// verdict may change. Sweeps take place at whole multiples of the period.
fn sweeps(
    policy: &Policy,
    every: SignedDuration,
    now: Timestamp,
    past: &PastSession,
) -> impl Iterator<Item = Timestamp> {
    let PastSession { session, ended_at, .. } = past;
    let last = ended_at.unwrap_or(now);
    let every_s = every.as_secs().max(60);
    let sweep_after = move |second: i64| {
        let next = second.div_euclid(every_s) * every_s + every_s;
        Timestamp::from_second(next).ok().filter(|it| it.as_second() < last.as_second())
    };
    let first = session.started_at.max(now - HISTORY).as_second();
    std::iter::successors(sweep_after(first), move |at| {
        let change = policy.next_change(*at, session)?;
        // A change within a second takes effect at the next second.
        let second = change.as_second() + i64::from(change.subsec_nanosecond() != 0);
        sweep_after(second - 1)
    })
}

/// Evaluates one session at every sweep of the history in which it was active.
pub(super) fn replay(
    policy: &Policy,
    every: SignedDuration,
    now: Timestamp,
    past: &PastSession,
) -> Replay {
    replay_by(policy, every, now, past, |at| evaluate(policy, at, &past.session, &past.tags))
}

/// The same, where the verdict at an instant is this.
fn replay_by(
    policy: &Policy,
    every: SignedDuration,
    now: Timestamp,
    past: &PastSession,
    mut verdict_at: impl FnMut(Timestamp) -> Verdict,
) -> Replay {
    let PastSession { session, ended_at, .. } = past;
    let mut replay = Replay {
        session_id: session.id.clone(),
        owner: session.owner.clone(),
        target: session.target.clone(),
        started_at: session.started_at,
        ended_at: *ended_at,
        would_terminate_at: None,
        rules: Box::default(),
        minutes: 0,
        unknown: None,
    };
    // The same answers of the tests of time give the same verdict.
    let mut verdicts = BTreeMap::new();
    for at in sweeps(policy, every, now, past) {
        let verdict =
            verdicts.entry(policy.time_tests(at, session)).or_insert_with(|| verdict_at(at));
        match verdict.clone() {
            Verdict::Violation { rules, unknown } => {
                let minutes = ended_at.unwrap_or(now).duration_since(at).as_mins();
                return Replay { would_terminate_at: Some(at), rules, minutes, unknown, ..replay };
            }
            Verdict::Undetermined { rules, unknown } if replay.unknown.is_none() => {
                replay.rules = rules;
                replay.unknown = Some(unknown);
            }
            Verdict::Compliant
            | Verdict::Exempt { .. }
            | Verdict::Undetermined { .. }
            | Verdict::Warning { .. } => {}
        }
    }
    replay
}

#[cfg(test)]
mod tests {
    use super::*;

    fn past(owner: usize, started_at: Timestamp) -> PastSession {
        let session = Session {
            id: format!("x-{owner}").into(),
            owner: format!("arn:aws:sts::123456789012:assumed-role/dev/{owner}").into(),
            target: "i-0123456789abcdef0".into(),
            started_at,
            status: None,
            document: None,
            reason: None,
            access_type: None,
        };
        PastSession { session, ended_at: None, tags: Tags::Unknown(Unknown::TagsNotReturned) }
    }

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
        let n_sweeps = sweeps(&policy, every, now, &past).count();
        // Each day has two edges and midnight.
        assert!((60..=30 * 3 + 2).contains(&n_sweeps), "{n_sweeps}");
        let mut n_evaluated = 0;
        let replay = replay_by(&policy, every, now, &past, |at| {
            n_evaluated += 1;
            evaluate(&policy, at, &past.session, &past.tags)
        });
        assert!(replay.is_open());
        assert!((2..=4).contains(&n_evaluated), "{n_evaluated}");
    }

    /// What is found at the changes is what each sweep would have found.
    #[test]
    fn agrees_with_every_sweep() {
        let now: Timestamp = "2026-04-01T00:00:00Z".parse().expect("an instant");
        for (rule, exemption) in [
            ("require: { max_age: 1h }", "until: 2026-03-20T10:02:03.5Z"),
            ("require: { max_age: 90s }", "until: 2026-03-01T00:00:00Z"),
            (
                "require: { hours: Mon-Fri 08:00-18:30 Europe/Berlin }",
                "until: 2026-03-29T01:00:00Z",
            ),
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
                let found = replay(&policy, every, now, &past).would_terminate_at;
                assert_eq!(found.map(Timestamp::as_second), expected, "{text} {every:#}");
            }
        }
    }
}
