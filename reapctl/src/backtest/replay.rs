//! Replays the sessions of the history: those that may be counted together are evaluated together, at
//! every sweep at which a verdict may change.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    rc::Rc,
    sync::Arc,
};

use anyhow::bail;
use jiff::{SignedDuration, Timestamp};
use reaper_core::{
    census::{Evaluated, Evaluator, Unseen, oldest_first},
    evaluate::Verdict,
    policy::{Effect, Per, Policy},
    session::{Reading, Record, Session, State},
    session_type::{DocumentTypes, KNOWN_BY_NAME},
    target::{Scope, Tags, Unknown},
};
use session_reaper::{
    sweep::clock::check_clock,
    sweep::list::{Census, list},
    sweep::tags::look_up,
    sweep::types::look_up_types,
};
use tokio::time::Instant;

use crate::{
    aws::{Aws, budget},
    backtest::result::{Replay, Warned},
    stdio::warn,
};

/// How far back the history goes.
pub(super) const HISTORY: SignedDuration = SignedDuration::from_hours(30 * 24);

/// The sessions of the last 30 days.
pub(super) struct History {
    /// Those that can be evaluated, oldest first.
    pub(super) sessions: Vec<PastSession>,
    /// The records that cannot, and why.
    pub(super) not_evaluated: Vec<(Record, &'static str)>,
    /// How long it took to list them: those that ended so early in the 30 days may be missing.
    listed_for: SignedDuration,
    /// The types of their documents, if the policy depends on them.
    pub(super) types: DocumentTypes,
}

/// A session of the history, or an active one.
pub(super) struct PastSession {
    session: Session,
    /// `None`: it is active.
    ended_at: Option<Timestamp>,
    tags: Tags,
}

/// Every session of the last 30 days.
pub(super) async fn history(aws: &Aws, policy: &Policy, now: Timestamp) -> anyhow::Result<History> {
    let read_at = Instant::now(); // At the same time as `now`.
    let mut found = Vec::new();
    let mut not_evaluated = Vec::new();
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
            match record.clone().read(now) {
                Reading::Session(session) if is_known => found.push((session, ended_at)),
                Reading::Session(_) => not_evaluated.push((record, "no EndDate")),
                Reading::NotEvaluated(record, why) => not_evaluated.push((record, why)),
            }
        }
    }
    let listed_for = SignedDuration::try_from(read_at.elapsed())?;
    let targets: BTreeSet<&str> = match policy.tag_keys.as_slice() {
        [] => BTreeSet::new(),
        _ => found.iter().map(|(it, _)| &*it.target).collect(),
    };
    let (tags, problems) = look_up(&aws.ssm, aws.scope(), policy, targets, budget()).await;
    warn(problems.iter().map(ToString::to_string));
    warn(aws.tag_problem(policy));
    let documents =
        if policy.asks_session_type() { documents(&found, policy) } else { BTreeSet::new() };
    let (types, problems) = look_up_types(&aws.ssm, &documents, budget()).await;
    warn(problems);
    let past_session = |(session, ended_at): (Session, _)| {
        let unknown = Tags::Unknown(Unknown::TagsNotReturned);
        let tags = tags.get(&*session.target).cloned().unwrap_or(unknown);
        PastSession { session, ended_at, tags }
    };
    let mut sessions: Vec<PastSession> = found.into_iter().map(past_session).collect();
    sessions.sort_by(|a, b| oldest_first(&a.session, &b.session));
    Ok(History { sessions, not_evaluated, listed_for, types })
}

/// The documents of these sessions whose types are not known by name.
fn documents(found: &[(Session, Option<Timestamp>)], policy: &Policy) -> BTreeSet<Arc<str>> {
    let assumed = policy.assume.document.value();
    let all = found.iter().filter_map(|(it, _)| it.document.as_ref().or(assumed));
    all.filter(|it| KNOWN_BY_NAME.of(it).is_err()).cloned().collect()
}

/// What replays the history.
#[derive(Clone, Copy)]
pub(super) struct Replayer<'a> {
    pub(super) policy: &'a Policy,
    /// The account and Region, if they are known.
    pub(super) scope: Option<&'a Scope>,
    /// The types of documents, as they are today.
    pub(super) types: &'a DocumentTypes,
    /// The time between two sweeps, which take place at whole multiples of it.
    pub(super) every: SignedDuration,
    pub(super) now: Timestamp,
}

/// What the sessions of a group have in common: a number of its own, an owner, a target, or nothing.
type Group<'a> = (Option<usize>, Option<&'a str>, Option<&'a str>);

/// A session while the replay has it as active.
struct Active<'a> {
    past: &'a PastSession,
    replay: Replay,
    /// The next sweep at which its tests of time may have other answers.
    changes_at: Option<Timestamp>,
    /// Evaluated alone, by the answers of its tests of time.
    by_tests: BTreeMap<Vec<bool>, Rc<Evaluated>>,
    /// Evaluated alone, as of now.
    alone: Rc<Evaluated>,
    /// Whether an earlier sweep may have terminated it.
    may_be_gone: bool,
}

impl History {
    /// What a policy would have done to each session, oldest first. `done` is called for each.
    pub(super) fn replay(&self, replayer: Replayer<'_>, mut done: impl FnMut()) -> Vec<Replay> {
        let counts = replayer.policy.counts();
        let listed_for = if counts { self.listed_for } else { SignedDuration::ZERO };
        let from = replayer.now - HISTORY + listed_for;
        let mut groups = BTreeMap::<Group<'_>, Vec<&PastSession>>::new();
        for (index, it) in self.sessions.iter().enumerate() {
            groups.entry(replayer.group(index, &it.session)).or_default().push(it);
        }
        let mut replays = Vec::with_capacity(self.sessions.len());
        for ((_, owner, target), sessions) in groups {
            // One that lacks either may be counted in every group.
            let may_be_of_group = |it: &Record| match (&it.owner, &it.target) {
                (Some(its_owner), Some(its_target)) => {
                    owner.is_none_or(|owner| owner == &**its_owner)
                        && target.is_none_or(|target| target == &**its_target)
                }
                _ => true,
            };
            let records = self.not_evaluated.iter().filter(|(it, _)| counts && may_be_of_group(it));
            let records: Vec<_> = records.cloned().collect();
            let alone = |at, it: &PastSession| {
                replayer.evaluator(at).evaluate(Box::new(it.session.clone()), it.tags.clone())
            };
            replays.extend(replayer.replay(from, &sessions, &records, &mut done, alone));
        }
        replays.sort_by(|a, b| (a.started_at, &a.session_id).cmp(&(b.started_at, &b.session_id)));
        replays
    }
}

impl<'a> Replayer<'a> {
    fn evaluator(self, at: Timestamp) -> Evaluator<'a> {
        Evaluator::new(self.policy, at).at(self.scope).typed(self.types)
    }

    /// The group of a session: no rule counts sessions of two groups together.
    fn group(self, index: usize, session: &Session) -> Group<'_> {
        let per = || self.policy.rules.iter().filter_map(|it| Some(it.concurrent()?.per));
        if !self.policy.counts() {
            return (Some(index), None, None);
        }
        let owner = per().all(|it| it != Per::Target).then_some(&*session.owner);
        let target = per().all(|it| it != Per::Owner).then_some(&*session.target);
        (None, owner, target)
    }

    /// The first sweep after a second, if it is in the past.
    fn sweep_after(self, second: i64) -> Option<Timestamp> {
        let every_s = self.every.as_secs().max(60);
        let next = second.div_euclid(every_s) * every_s + every_s;
        Timestamp::from_second(next).ok().filter(|it| it.as_second() < self.now.as_second())
    }

    /// The first sweep after a start, and the first from the end on.
    fn edges(
        self,
        started_at: Timestamp,
        ended_at: Option<Timestamp>,
    ) -> impl Iterator<Item = Timestamp> {
        let end = ended_at.and_then(|it| self.sweep_from(it));
        [self.sweep_after(started_at.as_second()), end].into_iter().flatten()
    }

    /// The first sweep at this instant or after it. Within a second, it counts as at the next one.
    fn sweep_from(self, at: Timestamp) -> Option<Timestamp> {
        self.sweep_after(at.as_second() + i64::from(at.subsec_nanosecond() != 0) - 1)
    }

    /// The first sweep after this one at which the session's tests of time may have other answers.
    fn next_change(self, at: Timestamp, past: &PastSession) -> Option<Timestamp> {
        let sweep = self.sweep_from(self.policy.next_change(at, &past.session)?)?;
        past.is_active(sweep).then_some(sweep)
    }

    /// Replays sessions that may be counted together, oldest first, with the records that may be of
    /// their group. `alone` evaluates a session without the others.
    ///
    /// At each sweep, those are counted that have started, have not ended, and that no earlier sweep
    /// would have terminated. One whose verdict was undetermined may have been terminated, if more was
    /// known at that time: from then on, it may take a place, but does not for certain.
    fn replay(
        self,
        from: Timestamp,
        sessions: &[&PastSession],
        records: &[(Record, &'static str)],
        mut done: impl FnMut(),
        mut alone: impl FnMut(Timestamp, &PastSession) -> Evaluated,
    ) -> Vec<Replay> {
        let mut replays = Vec::with_capacity(sessions.len());
        let mut finish = |replay| {
            done();
            replays.push(replay);
        };
        // The sweeps at which something may change.
        let mut sweeps = BTreeSet::new();
        for (record, _) in records {
            sweeps.extend(self.edges(record.started_at.unwrap_or(from).max(from), record.ended_at));
        }
        let mut coming = Vec::with_capacity(sessions.len());
        for past in sessions {
            let mut edges = self.edges(past.session.started_at.max(from), past.ended_at);
            match edges.next().filter(|it| past.is_active(*it)) {
                Some(first) => {
                    coming.push((first, *past));
                    sweeps.extend([first].into_iter().chain(edges));
                }
                None => finish(past.untouched()),
            }
        }
        let mut coming = coming.into_iter().peekable();
        let mut active: Vec<Active<'_>> = Vec::new();
        while let Some(at) = sweeps.pop_first() {
            let ended = active.extract_if(.., |it| !it.past.is_active(at));
            ended.for_each(|it| finish(it.replay));
            for it in active.iter_mut().filter(|it| it.changes_at == Some(at)) {
                self.evaluate_again(at, it, &mut alone);
                sweeps.extend(it.changes_at);
            }
            while let Some((_, past)) = coming.next_if(|(first, _)| *first <= at) {
                let it = self.begin(at, past, alone(at, past));
                sweeps.extend(it.changes_at);
                active.push(it);
            }
            if self.sweep(at, &mut active, records) {
                sweeps.extend(self.sweep_after(at.as_second()));
            }
            let terminated = active.extract_if(.., |it| it.replay.would_terminate_at.is_some());
            terminated.for_each(|it| finish(it.replay));
        }
        for it in active {
            finish(it.replay);
        }
        replays
    }

    /// Evaluates a session alone, unless its tests of time have had the same answers before.
    fn evaluate_again(
        self,
        at: Timestamp,
        it: &mut Active<'_>,
        alone: &mut impl FnMut(Timestamp, &PastSession) -> Evaluated,
    ) {
        let tests = self.policy.time_tests(at, &it.past.session);
        let evaluated = it.by_tests.entry(tests).or_insert_with(|| Rc::new(alone(at, it.past)));
        it.alone = Rc::clone(evaluated);
        it.changes_at = self.next_change(at, it.past);
    }

    fn begin(self, at: Timestamp, past: &PastSession, alone: Evaluated) -> Active<'_> {
        let tests = self.policy.time_tests(at, &past.session);
        let alone = Rc::new(alone);
        let by_tests = BTreeMap::from([(tests, Rc::clone(&alone))]);
        let changes_at = self.next_change(at, past);
        let replay = past.untouched();
        Active { past, replay, changes_at, by_tests, alone, may_be_gone: false }
    }

    /// One sweep over the sessions that are active. Returns whether it may change the next one.
    fn sweep(
        self,
        at: Timestamp,
        active: &mut [Active<'_>],
        records: &[(Record, &'static str)],
    ) -> bool {
        if !self.policy.counts() {
            for it in active {
                it.note(at, self.now, it.alone.verdict.clone());
            }
            return false;
        }
        let mut evaluated: Vec<_> = active.iter().map(Active::evaluated).collect();
        let is_active = |(it, _): &&(Record, _)| {
            it.started_at.is_none_or(|it| it.as_second() < at.as_second())
                && it.ended_at.is_none_or(|it| at.as_second() < it.as_second())
        };
        let not_evaluated: Vec<_> = records.iter().filter(is_active).cloned().collect();
        let unseen = Unseen { is_incomplete: false, not_evaluated: &not_evaluated };
        self.evaluator(at).conclude(&mut evaluated, unseen, || true);

        // Where the others are known as well as at that time, so is the place of a session.
        let depends = |it: &Verdict| {
            self.may_terminate(it) && it.unknown() != Some(Unknown::ConcurrentNotKnown)
        };
        let is_in_doubt = !not_evaluated.is_empty()
            || active.iter().any(|it| it.may_be_gone)
            || evaluated.iter().any(|it| depends(&it.verdict));
        let mut is_changed = false;
        for (it, evaluated) in active.iter_mut().zip(evaluated) {
            let may_be_gone = is_in_doubt && self.may_terminate(&evaluated.verdict);
            let is_terminated = matches!(evaluated.verdict, Verdict::Violation { .. });
            is_changed |= is_terminated || may_be_gone && !it.may_be_gone;
            it.may_be_gone |= may_be_gone;
            it.note(at, self.now, evaluated.verdict);
        }
        is_changed
    }

    /// Whether a verdict is undetermined, and a rule that terminates is among those that may be violated.
    fn may_terminate(self, verdict: &Verdict) -> bool {
        let Verdict::Undetermined { rules, .. } = verdict else { return false };
        let terminating = self.policy.rules.iter().filter(|it| it.effect == Effect::Terminate);
        terminating.map(|it| &it.id).any(|it| rules.contains(it))
    }
}

impl PastSession {
    /// Whether it has not ended at a sweep.
    fn is_active(&self, at: Timestamp) -> bool {
        self.ended_at.is_none_or(|it| at.as_second() < it.as_second())
    }

    /// If no sweep does anything to it.
    fn untouched(&self) -> Replay {
        let Session { id, owner, target, started_at, .. } = &self.session;
        Replay {
            session_id: id.clone(),
            owner: owner.clone(),
            target: target.clone(),
            started_at: *started_at,
            ended_at: self.ended_at,
            would_terminate_at: None,
            rules: Box::default(),
            minutes: 0,
            unknown: None,
            warnings: Vec::new(),
        }
    }
}

impl Active<'_> {
    fn evaluated(&self) -> Evaluated {
        Evaluated::clone(&self.alone).perhaps_gone(self.may_be_gone)
    }

    /// Notes the verdict of a sweep.
    fn note(&mut self, at: Timestamp, now: Timestamp, verdict: Verdict) {
        let minutes = self.past.ended_at.unwrap_or(now).duration_since(at).as_mins();
        let replay = &mut self.replay;
        match verdict {
            Verdict::Violation { rules, unknown } => {
                (replay.would_terminate_at, replay.minutes) = (Some(at), minutes);
                (replay.rules, replay.unknown) = (rules, unknown);
                for it in &mut replay.warnings {
                    it.minutes = at.duration_since(it.at).as_mins();
                }
            }
            Verdict::Undetermined { rules, unknown } if replay.unknown.is_none() => {
                (replay.rules, replay.unknown) = (rules, Some(unknown));
            }
            Verdict::Warning { rules, .. } => {
                for rule in rules {
                    if replay.warnings.iter().all(|it| it.rule != rule) {
                        replay.warnings.push(Warned { rule, at, minutes });
                    }
                }
            }
            Verdict::Compliant | Verdict::Exempt { .. } | Verdict::Undetermined { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use reaper_core::evaluate::evaluate;

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

    fn history(mut sessions: Vec<PastSession>) -> History {
        sessions.sort_by(|a, b| oldest_first(&a.session, &b.session));
        History {
            sessions,
            not_evaluated: Vec::new(),
            listed_for: SignedDuration::ZERO,
            types: DocumentTypes::default(),
        }
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
                let replayer =
                    Replayer { policy: &policy, scope: None, types: &KNOWN_BY_NAME, every, now };
                let replays = history(vec![past]).replay(replayer, || {});
                let found = replays[0].would_terminate_at.map(Timestamp::as_second);
                assert_eq!(found, expected, "{text} {every:#}");
            }
        }
    }

    const NOW: &str = "2026-04-01T00:00:00Z";

    /// A session from one hour of the last day to another, 0 to 24; to 24, it is active.
    fn hours(id: &str, owner: &str, target: &str, from: i64, to: i64) -> PastSession {
        let now: Timestamp = NOW.parse().expect("an instant");
        let at = |hour: i64| now - SignedDuration::from_hours(24 - hour);
        let mut past = past(0, at(from));
        past.session.id = id.into();
        past.session.owner = format!("arn:aws:iam::123456789012:user/{owner}").into();
        past.session.target = target.into();
        past.ended_at = (to < 24).then(|| at(to));
        past
    }

    /// What becomes of a session: its id, the hour of the sweep that would have terminated it, the hour
    /// of the first warning, and what is unknown.
    type Found = (String, Option<i64>, Option<i64>, Option<Unknown>);

    fn replayed(rules: &str, history: &History) -> Vec<Found> {
        let policy = Policy::parse(&format!("version: 1\n{rules}")).expect("a valid policy");
        let now: Timestamp = NOW.parse().expect("an instant");
        let every = SignedDuration::from_hours(1);
        let hour = |at: Timestamp| 24 - now.duration_since(at).as_hours();
        let of = |it: Replay| {
            let warned_at = it.warnings.first().map(|it| hour(it.at));
            let terminated_at = it.would_terminate_at.map(hour);
            (it.session_id.to_string(), terminated_at, warned_at, it.unknown)
        };
        let replayer = Replayer { policy: &policy, scope: None, types: &KNOWN_BY_NAME, every, now };
        history.replay(replayer, || {}).into_iter().map(of).collect()
    }

    fn rule(concurrent: &str) -> String {
        format!("rules:\n- {{ id: c, when: all, require: {{ concurrent: {{ {concurrent} }} }} }}\n")
    }

    /// Checks when each session, in their order, would have been terminated, and warned of.
    fn check(rules: &str, sessions: Vec<PastSession>, expected: &[(Option<i64>, Option<i64>)]) {
        let found = replayed(rules, &history(sessions));
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
        let exempt =
            "exemptions: [{ id: e, when: { target: i-9 }, until: 2026-03-31T10:00:00Z }]\n";
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
        let warn =
            rule("per: target, at_most: 1, keep: oldest").replace("when", "effect: warn, when");
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
                Record { owner, started_at, ended_at: it.ended_at, ..Record::default() },
                "no SessionId",
            )
        };
        let unknown = Some(Unknown::ConcurrentNotKnown);
        for (record, expected) in [
            (record(Some("jo"), 4, 8), unknown),
            (record(None, 4, 8), unknown),
            (record(None, 0, 24), unknown),
            (record(Some("an"), 4, 8), None),   // Of another owner.
            (record(Some("jo"), 1, 3), None),   // It ended before the session started.
            (record(Some("jo"), 11, 24), None), // The session had ended.
        ] {
            let mut history = history(vec![hours("a", "jo", "i-1", 5, 10)]);
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
            &history(vec![hours("a", "jo", "i-1", 0, 24), hours("b", "jo", "i-2", 5, 24)]),
        );
        let unknowns: Vec<_> = found.into_iter().map(|(_, at, _, unknown)| (at, unknown)).collect();
        let expected =
            [(None, Some(Unknown::StatusNotReturned)), (None, Some(Unknown::ConcurrentNotKnown))];
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
        let now: Timestamp = NOW.parse().expect("an instant");
        let every = SignedDuration::from_hours(1);
        let replayer = Replayer { policy: &policy, scope: None, types: &KNOWN_BY_NAME, every, now };
        let history = history(vec![hours("a", "jo", "i-1", 0, 24), hours("b", "jo", "i-2", 0, 9)]);
        let replays = history.replay(replayer, || {});
        let minutes: Vec<_> = replays.iter().map(|it| it.warnings[0].minutes).collect();
        assert_eq!(minutes, [3 * 60, 7 * 60]);
    }

    /// Sweeps before the history is complete count no session.
    #[test]
    fn incomplete_start() {
        let mut history = history(vec![past(0, "2026-01-01T00:00:00Z".parse().expect("one"))]);
        history.sessions[0].ended_at = Some("2026-03-02T05:30:00Z".parse().expect("an instant"));
        let rules = "rules:\n- { id: r, when: all, require: { max_age: 1h, \
                     concurrent: { per: owner, at_most: 1, keep: newest } } }\n";
        let at = |history: &History| replayed(rules, history)[0].1;
        assert_eq!(at(&history), Some(-30 * 24 + 24 + 1));
        history.listed_for = SignedDuration::from_mins(150);
        assert_eq!(at(&history), Some(-30 * 24 + 24 + 3));
    }

    /// Every session at every sweep, in one census: what the replay finds by looking only at the
    /// changes of one group at a time.
    fn brute_force(replayer: Replayer<'_>, history: &History) -> Vec<String> {
        let Replayer { policy, now, every, .. } = replayer;
        let every_s = every.as_secs();
        let from = now - HISTORY + history.listed_for;
        let mut replays: Vec<_> = history.sessions.iter().map(PastSession::untouched).collect();
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
                let is_terminated = replays[index].would_terminate_at.is_some();
                if is_within(Some(it.session.started_at), it.ended_at, second) && !is_terminated {
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
                it.note(at, now, verdict);
                replays[index] = it.replay;
            }
        }
    }

    fn shown(it: &Replay) -> String {
        let warnings: Vec<_> = it.warnings.iter().map(|it| (&it.rule, it.at, it.minutes)).collect();
        let Replay { session_id, would_terminate_at, rules, minutes, unknown, .. } = it;
        format!("{session_id} {would_terminate_at:?} {rules:?} {minutes} {unknown:?} {warnings:?}")
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
                past.ended_at = Some(ended_at).filter(|it| *it < now);
                if below(4) != 0 {
                    let env = ["dev", "prod"][below(2)];
                    past.tags = Tags::Known(Arc::new([("env".into(), env.into())].into()));
                }
                past
            };
            let mut history = history((0..14).map(&mut of).collect());
            let n_records = seed % 3;
            for id in 0..n_records {
                let it = of(100 + id);
                let Session { owner, target, started_at, .. } = it.session;
                let record = Record {
                    owner: Some(owner).filter(|_| id == 0),
                    // With one of the two, a sweep of all sessions leaves more unknown than of one group.
                    target: Some(target).filter(|_| id == 0),
                    started_at: Some(started_at).filter(|_| seed % 5 != 0),
                    ended_at: it.ended_at,
                    ..Record::default()
                };
                history.not_evaluated.push((record, "no SessionId"));
            }
            history.listed_for = SignedDuration::from_secs(i64::try_from(seed * 90).expect("few"));
            let every = SignedDuration::from_mins([60, 97, 360][(seed % 3) as usize]);
            let replayer =
                Replayer { policy: &policy, scope: None, types: &KNOWN_BY_NAME, every, now };
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
        assert!(kinds.iter().any(|it| it.2 == Some(Unknown::ConcurrentNotKnown)), "{kinds:?}");
        assert!(kinds.iter().any(|it| it.2 == Some(Unknown::StatusNotReturned)), "{kinds:?}");
        assert!(kinds.iter().any(|it| !it.3), "{kinds:?}");
    }
}
