//! What a policy would have done to the sessions of the past.

use std::{collections::BTreeMap, sync::Arc};

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use reaper_core::{pattern::short_owner, target::Unknown};
use reaper_render::table::{age, minute};
use serde::Serialize;

use crate::lines::Place;

/// What a policy would have done to one session.
#[derive(Clone, Serialize)]
pub(crate) struct Replay {
    /// Where it is, if the sessions of many account-Regions are shown.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub(crate) place: Option<Place>,
    pub(crate) session_id: Arc<str>,
    pub(crate) owner: Arc<str>,
    pub(crate) target: Arc<str>,
    pub(crate) started_at: Timestamp,
    /// `None`: it is active, or its end is not known.
    pub(crate) ended_at: Option<Timestamp>,
    /// If its end is not known: the last instant at which it was active for certain.
    pub(crate) last_seen_at: Option<Timestamp>,
    /// The first sweep that would have terminated it.
    pub(crate) would_terminate_at: Option<Timestamp>,
    /// The first sweep that would have terminated it if it had not ended before: its end is not known.
    pub(crate) may_terminate_at: Option<Timestamp>,
    /// The rules that would have terminated it, the leading one first; if `unknown` is set, the rules
    /// that may have.
    pub(crate) rules: Box<[Arc<str>]>,
    /// The session time after that, in minutes, as far as it is known.
    pub(crate) minutes: i64,
    /// What is not known, and the verdict or its rules depended on.
    pub(crate) unknown: Option<Doubt>,
    /// The rules with `effect: warn` that it would have violated, in the order of their sweeps.
    pub(crate) warnings: Vec<Warned>,
}

/// What is not known of a session.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(into = "&str")]
pub(crate) enum Doubt {
    /// Whether it was still active.
    End,
    /// A fact that the policy asks for.
    Fact(Unknown),
}

impl From<Doubt> for &str {
    fn from(doubt: Doubt) -> Self {
        match doubt {
            Doubt::End => "end_not_known",
            Doubt::Fact(unknown) => unknown.name(),
        }
    }
}

/// A rule that would have warned of a session.
#[derive(Clone, Serialize)]
pub(crate) struct Warned {
    pub(crate) rule: Arc<str>,
    /// The first sweep at which it was violated, and no rule that terminates was.
    pub(crate) at: Timestamp,
    /// The session time after that, in minutes: until its end, as far as that is known, or until it would
    /// have been terminated.
    pub(crate) minutes: i64,
}

/// What a policy would have done to all sessions.
pub(crate) struct Backtest {
    pub(crate) from: Timestamp,
    pub(crate) to: Timestamp,
    pub(crate) replays: Vec<Replay>,
    pub(crate) n_not_evaluated: usize,
    /// Whether AWS was not asked.
    pub(crate) is_of_files: bool,
    /// What else has to be known to read the result, in whole sentences.
    pub(crate) notes: Vec<String>,
}

impl Replay {
    /// Whether it is undetermined if it would have been terminated.
    pub(crate) fn is_open(&self) -> bool {
        self.would_terminate_at.is_none() && self.unknown.is_some()
    }

    /// Whether the sweeps that follow do not find it.
    pub(crate) fn is_gone(&self) -> bool {
        self.would_terminate_at.or(self.may_terminate_at).is_some()
    }

    /// The leading rule, or the possible ones.
    fn rule(&self) -> String {
        match self.unknown {
            Some(_) => self.rules.join(" or "),
            None => self.rules.first().map_or(String::new(), ToString::to_string),
        }
    }
}

/// The number of terminated sessions, and the minutes after their termination, by a key.
pub(crate) type Sums = BTreeMap<String, (usize, i64)>;

impl Backtest {
    fn terminated(&self) -> impl Iterator<Item = &Replay> {
        self.replays.iter().filter(|it| it.would_terminate_at.is_some())
    }

    fn sums(&self, key: impl Fn(&Replay) -> String) -> Sums {
        let mut sums = Sums::new();
        for replay in self.terminated() {
            let sum = sums.entry(key(replay)).or_default();
            sum.0 += 1;
            sum.1 += replay.minutes;
        }
        sums
    }

    pub(crate) fn by_rule(&self) -> Sums {
        self.sums(Replay::rule)
    }

    pub(crate) fn by_owner(&self) -> Sums {
        self.sums(|it| short_owner(&it.owner))
    }

    /// By account and by Region, if there are many account-Regions.
    pub(crate) fn by_place(&self) -> [Sums; 2] {
        let of = |key: fn(&Place) -> &str| {
            let mut sums = self.sums(|it| it.place.as_ref().map_or("", key).to_owned());
            sums.remove("");
            sums
        };
        [of(|it| &it.account), of(|it| &it.region)]
    }

    /// The sessions of which each rule with `effect: warn` would have warned.
    pub(crate) fn by_warning(&self) -> Sums {
        let mut sums = Sums::new();
        for it in self.replays.iter().flat_map(|it| &it.warnings) {
            let sum = sums.entry(it.rule.to_string()).or_default();
            sum.0 += 1;
            sum.1 += it.minutes;
        }
        sums
    }

    /// By day, in UTC.
    pub(crate) fn by_day(&self) -> Sums {
        let day = |at: Timestamp| at.to_zoned(TimeZone::UTC).date().to_string();
        self.sums(|it| it.would_terminate_at.map_or(String::new(), day))
    }

    /// The result in a few sentences.
    pub(crate) fn summary(&self) -> String {
        let n = self.terminated().count();
        let minutes: i64 = self.terminated().map(|it| it.minutes).sum();
        let open = self.replays.iter().filter(|it| it.is_open());
        let [unknown, by_end] =
            [open.clone().count(), open.filter(|it| it.unknown == Some(Doubt::End)).count()];
        let mut sentences = vec![format!(
            "{} sessions from {} to {}: {n} would have been terminated, {} of session time.",
            self.replays.len(),
            minute(self.from),
            minute(self.to),
            age(SignedDuration::from_mins(minutes)),
        )];
        let warned = self.replays.iter().filter(|it| !it.warnings.is_empty()).count();
        if 0 < warned {
            sentences.push(format!("{warned} would have had a warning."));
        }
        match (unknown, by_end) {
            (0, _) => {}
            (_, 0) => sentences.push(format!("{unknown} are undetermined.")),
            (_, _) => sentences.push(format!(
                "{unknown} are undetermined, {by_end} of them because it is not known when they ended."
            )),
        }
        let endless = self.n_unknown_ends();
        if 0 < endless {
            sentences.push(format!(
                "The end of {endless} is not known: after each was last seen, it may have been active or not, \
                 and rules that count have it as possible."
            ));
        }
        if 0 < self.n_not_evaluated {
            sentences.push(format!("{} could not be evaluated.", self.n_not_evaluated));
        }
        sentences.extend(self.notes.iter().cloned());
        sentences.join(" ")
    }

    /// The sessions whose end is not known.
    pub(crate) fn n_unknown_ends(&self) -> usize {
        self.replays.iter().filter(|it| it.last_seen_at.is_some()).count()
    }

    /// The sessions to which the policies would have done different things, and the difference.
    pub(crate) fn changes<'a>(&'a self, old: &'a Self) -> Vec<(&'static str, &'a Replay)> {
        let change = |(new, old): (&'a Replay, &'a Replay)| match (
            old.would_terminate_at,
            new.would_terminate_at,
        ) {
            (None, Some(_)) => Some(("terminated now", new)),
            (Some(_), None) => Some(("not terminated any more", new)),
            (Some(old), Some(new_at)) if new_at < old => Some(("terminated sooner", new)),
            (Some(old), Some(new_at)) if old < new_at => Some(("terminated later", new)),
            _ if !old.is_open() && new.is_open() => Some(("undetermined now", new)),
            _ if old.is_open() && !new.is_open() => Some(("not undetermined any more", new)),
            _ if old.warnings.is_empty() == new.warnings.is_empty() => None,
            _ if old.warnings.is_empty() => Some(("warning now", new)),
            _ => Some(("no warning any more", new)),
        };
        self.replays.iter().zip(&old.replays).filter_map(change).collect()
    }
}
