//! Replays the sessions of the history: those that may be counted together are evaluated together, at
//! every sweep at which a verdict may change.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};
use reaper_core::{
    census::{Evaluated, Evaluator, Unseen},
    evaluate::Verdict,
    policy::{Effect, Per, Policy},
    session::{Record, Session},
    session_type::DocumentTypes,
    target::{Scope, Unknown},
};

use crate::backtest::{
    history::{End, History, PastSession},
    result::{Doubt, Replay, Warned},
};

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
        let from = if counts { self.counted_from } else { self.from };
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
            let records = self.not_evaluated.iter().chain(&self.before);
            let records = records.filter(|(it, _)| counts && may_be_of_group(it));
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

    /// The first sweep after a start, and the first at which it is over, or may be.
    fn edges(self, started_at: Timestamp, end: End) -> impl Iterator<Item = Timestamp> {
        let end = match end {
            End::At(at) => self.sweep_from(at),
            End::Unknown { seen_at } => self.sweep_after(seen_at.as_second()),
        };
        [self.sweep_after(started_at.as_second()), end].into_iter().flatten()
    }

    /// The first sweep at this instant or after it. Within a second, it counts as at the next one.
    fn sweep_from(self, at: Timestamp) -> Option<Timestamp> {
        self.sweep_after(at.as_second() + i64::from(at.subsec_nanosecond() != 0) - 1)
    }

    /// The first sweep after this one at which the session's tests of time may have other answers.
    fn next_change(self, at: Timestamp, past: &PastSession) -> Option<Timestamp> {
        let sweep = self.sweep_from(self.policy.next_change(at, &past.session)?)?;
        past.end.allows(sweep).then_some(sweep)
    }

    /// Replays sessions that may be counted together, oldest first, with the records that may be of
    /// their group. `alone` evaluates a session without the others.
    ///
    /// At each sweep, those are counted that have started, have not ended, and that no earlier sweep
    /// would have terminated. One whose verdict was undetermined may have been terminated, if more was
    /// known at that time: from then on, it may take a place, but does not for certain. So does one whose
    /// end is not known, after it was last seen: a sweep that would terminate it only if it is still active
    /// is the last that it is part of, because after that sweep it is gone either way.
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
            let started_at = record.started_at.unwrap_or(from).max(from);
            let end = record.ended_at.map_or(End::Unknown { seen_at: started_at }, End::At);
            sweeps.extend(self.edges(started_at, end));
        }
        let mut coming = Vec::with_capacity(sessions.len());
        for past in sessions {
            let mut edges = self.edges(past.session.started_at.max(from), past.end);
            match edges.next().filter(|it| past.end.allows(*it)) {
                Some(first) => {
                    coming.push((first, *past));
                    sweeps.extend([first].into_iter().chain(edges));
                }
                None => finish(past.untouched(self.now)),
            }
        }
        let mut coming = coming.into_iter().peekable();
        let mut active: Vec<Active<'_>> = Vec::new();
        while let Some(at) = sweeps.pop_first() {
            let ended = active.extract_if(.., |it| !it.past.end.allows(at));
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
            active.extract_if(.., |it| it.replay.is_gone()).for_each(|it| finish(it.replay));
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
        let replay = past.untouched(self.now);
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
                it.note(at, it.alone.verdict.clone());
            }
            return false;
        }
        for it in &mut *active {
            it.may_be_gone |= it.past.end.is_open(at);
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
            it.note(at, evaluated.verdict);
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
    /// If no sweep does anything to it.
    fn untouched(&self, now: Timestamp) -> Replay {
        let Session { id, owner, target, started_at, .. } = &self.session;
        Replay {
            place: None,
            session_id: id.clone(),
            owner: owner.clone(),
            target: target.clone(),
            started_at: *started_at,
            ended_at: self.end.known(),
            last_seen_at: self.end.last_seen(now),
            would_terminate_at: None,
            may_terminate_at: None,
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
    fn note(&mut self, at: Timestamp, verdict: Verdict) {
        let is_open = self.past.end.is_open(at);
        let minutes = self.past.end.last().duration_since(at).as_mins();
        let replay = &mut self.replay;
        match verdict {
            Verdict::Violation { rules, .. } if is_open => {
                replay.may_terminate_at = Some(at);
                (replay.rules, replay.unknown) = (rules, Some(Doubt::End));
            }
            Verdict::Violation { rules, unknown } => {
                (replay.would_terminate_at, replay.minutes) = (Some(at), minutes);
                (replay.rules, replay.unknown) = (rules, unknown.map(Doubt::Fact));
                for it in &mut replay.warnings {
                    it.minutes = at.duration_since(it.at).as_mins();
                }
            }
            Verdict::Undetermined { rules, unknown } if replay.unknown.is_none() => {
                (replay.rules, replay.unknown) = (rules, Some(Doubt::Fact(unknown)));
            }
            Verdict::Warning { rules, .. } if is_open => {
                let is_new = |it: &Arc<str>| replay.warnings.iter().all(|known| known.rule != *it);
                let rules: Box<[_]> = rules.iter().filter(|it| is_new(it)).cloned().collect();
                if !rules.is_empty() && replay.unknown.is_none() {
                    (replay.rules, replay.unknown) = (rules, Some(Doubt::End));
                }
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
mod tests;
