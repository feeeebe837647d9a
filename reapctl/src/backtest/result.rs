//! What a policy would have done to the sessions of the past.

use std::{collections::BTreeMap, sync::Arc};

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use reaper_core::{pattern::short_owner, target::Unknown};
use reaper_render::table::{age, minute};
use serde::Serialize;

/// What would have become of a session.
#[derive(Clone, Serialize)]
pub(crate) struct Fate {
    pub(crate) session_id: Arc<str>,
    pub(crate) owner: Arc<str>,
    pub(crate) target: Arc<str>,
    pub(crate) started_at: Timestamp,
    pub(crate) ended_at: Option<Timestamp>,
    /// The first sweep that would have terminated it.
    pub(crate) would_end_at: Option<Timestamp>,
    /// Those that would have terminated it, the leading one first; or those of which it is uncertain which
    /// would have, if `unknown` is there.
    pub(crate) rules: Box<[Arc<str>]>,
    /// The session time that would not have been, in minutes.
    pub(crate) minutes: i64,
    /// What it depended on whether a sweep would have terminated it, or by which rule.
    pub(crate) unknown: Option<Unknown>,
}

/// What would have become of all of them.
pub(crate) struct Backtest {
    pub(crate) from: Timestamp,
    pub(crate) to: Timestamp,
    pub(crate) fates: Vec<Fate>,
    pub(crate) n_not_evaluated: usize,
}

impl Fate {
    /// Whether it is undetermined if a sweep would have terminated it.
    pub(crate) fn is_open(&self) -> bool {
        self.would_end_at.is_none() && self.unknown.is_some()
    }

    /// The leading rule, or those of which it is uncertain which it is.
    fn rule(&self) -> String {
        match self.unknown {
            Some(_) => self.rules.join(" or "),
            None => self.rules.first().map_or(String::new(), ToString::to_string),
        }
    }
}

/// Sessions terminated and minutes saved, by whatever the key is.
pub(crate) type Sums = BTreeMap<String, (usize, i64)>;

impl Backtest {
    fn ended(&self) -> impl Iterator<Item = &Fate> {
        self.fates.iter().filter(|it| it.would_end_at.is_some())
    }

    fn sums(&self, key: impl Fn(&Fate) -> String) -> Sums {
        let mut sums = Sums::new();
        for fate in self.ended() {
            let sum = sums.entry(key(fate)).or_default();
            sum.0 += 1;
            sum.1 += fate.minutes;
        }
        sums
    }

    pub(crate) fn by_rule(&self) -> Sums {
        self.sums(Fate::rule)
    }

    pub(crate) fn by_owner(&self) -> Sums {
        self.sums(|it| short_owner(&it.owner))
    }

    /// Days are UTC's.
    pub(crate) fn by_day(&self) -> Sums {
        let day = |at: Timestamp| at.to_zoned(TimeZone::UTC).date().to_string();
        self.sums(|it| it.would_end_at.map_or(String::new(), day))
    }

    /// The result in one sentence or two.
    pub(crate) fn summary(&self) -> String {
        let n = self.ended().count();
        let minutes: i64 = self.ended().map(|it| it.minutes).sum();
        let unknown = self.fates.iter().filter(|it| it.is_open()).count();
        let mut sentences = vec![format!(
            "{} sessions from {} to {}: {n} would have been terminated, {} of session time.",
            self.fates.len(),
            minute(self.from),
            minute(self.to),
            age(SignedDuration::from_mins(minutes)),
        )];
        if 0 < unknown {
            sentences.push(format!("{unknown} are undetermined."));
        }
        if 0 < self.n_not_evaluated {
            sentences.push(format!("{} could not be evaluated.", self.n_not_evaluated));
        }
        sentences.join(" ")
    }

    /// Each session of which this policy says another thing than an old one, and what.
    pub(crate) fn changes<'a>(&'a self, old: &'a Self) -> Vec<(&'static str, &'a Fate)> {
        let change = |(new, old): (&'a Fate, &'a Fate)| match (old.would_end_at, new.would_end_at) {
            (None, Some(_)) => Some(("terminated now", new)),
            (Some(_), None) => Some(("not terminated any more", new)),
            (Some(old), Some(new_at)) if new_at < old => Some(("terminated sooner", new)),
            (Some(old), Some(new_at)) if old < new_at => Some(("terminated later", new)),
            _ if old.is_open() == new.is_open() => None,
            _ if new.is_open() => Some(("undetermined now", new)),
            _ => Some(("not undetermined any more", new)),
        };
        self.fates.iter().zip(&old.fates).filter_map(change).collect()
    }
}
