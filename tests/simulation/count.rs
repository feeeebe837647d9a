//! A second reading of `concurrent`: which sessions of a listing have a place in their groups. It shares
//! no code with `core/`.

use std::collections::HashMap;

use fastrand::Rng;
use serde_json::{Value, json};

use crate::fleet::{ACCOUNT, ROLES};
use crate::model::{Limit, Listed, Model, Tags, Verdict};

/// All of one listing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fleet<'a> {
    pub(crate) sessions: Vec<(Listed, Tags)>,
    /// Rows that cannot be evaluated.
    pub(crate) strangers: Vec<&'a Value>,
    /// Whether there may be sessions that were not listed at all.
    pub(crate) is_incomplete: bool,
}

/// How many members of a group take a place, for certain and at the most, and whether there may be no
/// place for another.
type Places<'a> = HashMap<(usize, Option<&'a str>, Option<&'a str>), (usize, usize, bool)>;

/// What may be made of what is not known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Reading {
    /// All that follows from trying every way in which it may turn out.
    Sharp,
    /// No more than must be seen: where it is hard to see, it counts as not known.
    Plain,
}

fn group<'a>(limit: &Limit, owner: Option<&'a str>, target: Option<&'a str>) -> Option<Group<'a>> {
    let owner = if limit.by_owner { Some(owner?) } else { None };
    let target = if limit.by_target { Some(target?) } else { None };
    Some((limit.rule, owner, target))
}

type Group<'a> = (usize, Option<&'a str>, Option<&'a str>);

impl Fleet<'_> {
    /// The indices of the sessions, the oldest first.
    fn order(&self) -> Vec<usize> {
        let mut order: Vec<_> = (0..self.sessions.len()).collect();
        let age = |i: &usize| (self.sessions[*i].0.started_ms, &self.sessions[*i].0.id);
        order.sort_by(|a, b| age(a).cmp(&age(b)));
        order
    }
}

impl Model {
    /// Each session with what may be known of its places: one way, or two.
    pub(crate) fn count(&self, now_ms: i64, fleet: &Fleet<'_>) -> Vec<Vec<Listed>> {
        if self.limits().is_empty() {
            return fleet.sessions.iter().map(|(it, _)| vec![it.clone()]).collect();
        }
        let sharp = self.read(now_ms, fleet, Reading::Sharp).0;
        let plain = self.read(now_ms, fleet, Reading::Plain).0;
        let both = sharp.into_iter().zip(plain);
        both.map(|(a, b)| if a.kept == b.kept { vec![a] } else { vec![a, b] }).collect()
    }

    /// Of a fleet of which no tags are known: whether those of each session may be asked for, and whether
    /// they must be.
    pub(crate) fn needs_tags(&self, now_ms: i64, fleet: &Fleet<'_>) -> Vec<(bool, bool)> {
        let (plain, most) = self.read(now_ms, fleet, Reading::Plain);
        let (sharp, least) = self.read(now_ms, fleet, Reading::Sharp);
        let is_short = |limit: &Limit, it: &Listed, places: &Places<'_>| {
            let group = group(limit, Some(&it.owner), Some(&it.target)).expect("both are known");
            places.get(&group).is_some_and(|(_, _, is_short)| *is_short)
        };
        let limits = self.limits();
        let each = plain.iter().zip(&sharp).map(|(plain, sharp)| {
            let is_open =
                |limit: &&Limit| self.is_in_scope(limit.rule, plain, &Tags::Failed).is_none();
            let open = || limits.iter().filter(is_open);
            let may = self.may_depend_on_tags(now_ms, plain)
                || self.may_depend_on_tags(now_ms, sharp)
                || open().any(|it| is_short(it, plain, &most));
            let is_decided = |limit: &&Limit| self.is_told_by_tags(limit.rule, sharp);
            let is_needed = plain.kept == sharp.kept && self.depends_on_tags(now_ms, sharp)
                || open().filter(is_decided).any(|it| is_short(it, sharp, &least));
            (may, is_needed)
        });
        each.collect()
    }

    fn read<'a>(
        &self,
        now_ms: i64,
        fleet: &'a Fleet<'_>,
        reading: Reading,
    ) -> (Vec<Listed>, Places<'a>) {
        let limits = self.limits();
        let mut listed: Vec<_> = fleet.sessions.iter().map(|(it, _)| self.assumed(it)).collect();
        let start = if reading == Reading::Sharp { None } else { Some(true) };
        let mut scopes = vec![vec![None; listed.len()]; self.n_rules()];
        for (i, (it, (_, tags))) in listed.iter_mut().zip(&fleet.sessions).enumerate() {
            it.kept = vec![Some(true); self.n_rules()];
            for limit in &limits {
                let scope = self.is_in_scope(limit.rule, it, tags);
                scopes[limit.rule][i] = scope;
                if scope != Some(false) {
                    it.kept[limit.rule] = start;
                }
            }
        }
        let mut places = Places::new();
        let has = |newest| limits.iter().any(|it| it.newest == newest);
        let mut pass = |newest, is_certain, listed: &mut Vec<Listed>| {
            let those: Vec<_> = limits.iter().filter(|it| it.newest == newest).copied().collect();
            let how = (is_certain, reading);
            let counted = self.pass(now_ms, fleet, &those, how, &scopes, listed);
            for (group, (low, high, is_short)) in counted {
                let before = places.entry(group).or_default();
                *before = (low, high, before.2 | is_short);
            }
        };
        if has(true) && has(false) {
            if reading == Reading::Plain {
                pass(false, false, &mut listed);
                pass(true, true, &mut listed);
                pass(false, true, &mut listed);
            } else {
                // Each pass may tell the other more.
                let mut before = Vec::new();
                while before != listed.iter().map(|it| it.kept.clone()).collect::<Vec<_>>() {
                    before = listed.iter().map(|it| it.kept.clone()).collect();
                    pass(false, true, &mut listed);
                    pass(true, true, &mut listed);
                }
            }
        } else if !limits.is_empty() {
            pass(limits[0].newest, true, &mut listed);
        }
        (listed, places)
    }

    /// Goes through the sessions in the order in which these limits keep them.
    fn pass<'a>(
        &self,
        now_ms: i64,
        fleet: &'a Fleet<'_>,
        limits: &[Limit],
        (is_certain, reading): (bool, Reading),
        scopes: &[Vec<Option<bool>>],
        listed: &mut [Listed],
    ) -> Places<'a> {
        let mut places = Places::new();
        let mut order = fleet.order();
        if limits.iter().any(|it| it.newest) {
            order.reverse();
        }
        for i in order {
            let (session, tags) = &fleet.sessions[i];
            let of = |limit: &Limit| {
                group(limit, Some(&session.owner), Some(&session.target)).expect("both are known")
            };
            let it = &mut listed[i];
            let scope = |limit: &Limit| scopes[limit.rule][i];
            for limit in limits.iter().filter(|it| scope(it) != Some(false)) {
                let (low, high, is_short) = places.entry(of(limit)).or_default();
                let (low, high) = (*low, *high + self.n_strangers(limit, fleet, session, reading));
                *is_short |= limit.at_most <= high;
                it.kept[limit.rule] = if limit.at_most <= low {
                    Some(false)
                } else if fleet.is_incomplete || limit.at_most <= high {
                    None
                } else {
                    Some(true)
                };
            }
            for limit in limits.iter().filter(|it| scope(it) != Some(false)) {
                // Its own excess makes no difference to a limit: enough others stand before it.
                let kept = it.kept[limit.rule].replace(true);
                let verdicts = match reading {
                    Reading::Sharp => self.possible(now_ms, it, tags),
                    Reading::Plain => self.verdicts(now_ms, it, tags),
                };
                it.kept[limit.rule] = kept;
                let stays =
                    |it: &Verdict| ![Verdict::Violation, Verdict::Undetermined].contains(it);
                let is_sure = scope(limit) == Some(true) && it.may_be_terminating() == Some(false);
                let is_counted = is_certain && is_sure && verdicts.iter().all(stays);
                let may_stay = verdicts.iter().any(|it| *it != Verdict::Violation);
                let may_count = may_stay && it.may_be_terminating() != Some(true);
                let (low, high, _) = places.entry(of(limit)).or_default();
                *low += usize::from(is_counted);
                *high += usize::from(may_count);
            }
        }
        places
    }

    /// The verdicts on sessions of which all is known, where all limits keep the same: one after the
    /// other, what is kept first.
    pub(crate) fn plain_truth(&self, now_ms: i64, fleet: &Fleet<'_>) -> Vec<Verdict> {
        let limits = self.limits();
        let mut order = fleet.order();
        if limits.iter().any(|it| it.newest) {
            order.reverse();
        }
        let mut verdicts = vec![Verdict::Undetermined; order.len()];
        for (n, i) in order.iter().enumerate() {
            let (it, tags) = &fleet.sessions[*i];
            let mut it = it.clone();
            it.kept = vec![Some(true); self.n_rules()];
            for limit in &limits {
                let is_in_scope = |it: &Listed, tags: &Tags| {
                    self.is_in_scope(limit.rule, it, tags).expect("all is known")
                };
                let has_place = |j: &&usize| {
                    let (other, tags) = &fleet.sessions[**j];
                    (!limit.by_owner || other.owner == it.owner)
                        && (!limit.by_target || other.target == it.target)
                        && is_in_scope(other, tags)
                        && verdicts[**j] != Verdict::Violation
                        && !other.is_terminating()
                };
                let n_before = order[..n].iter().filter(has_place).count();
                it.kept[limit.rule] = Some(n_before < limit.at_most);
            }
            verdicts[*i] = self.verdict_of(now_ms, &it, tags);
        }
        verdicts
    }

    /// Whether all limits keep the newest, or all the oldest, and there is one.
    pub(crate) fn keeps_the_same(&self) -> bool {
        let limits = self.limits();
        limits.iter().all(|it| it.newest == limits[0].newest) && !limits.is_empty()
    }

    /// What is not known, as it may turn out. The sessions come first, in their order; then others that
    /// were not seen, or not well enough.
    pub(crate) fn draw(&self, rng: &mut Rng, fleet: &Fleet<'_>) -> Fleet<'static> {
        let listed = &fleet.sessions;
        let one =
            |rng: &mut Rng| (!listed.is_empty()).then(|| &listed[rng.usize(..listed.len())].0);
        let mut all: Vec<_> =
            listed.iter().map(|(it, tags)| self.complete(rng, it, tags)).collect();
        let mut rows: Vec<_> = fleet.strangers.iter().map(|it| (*it).clone()).collect();
        if fleet.is_incomplete {
            rows.extend((0..rng.usize(..5)).map(|_| json!({})));
        }
        for (n, mut row) in rows.into_iter().enumerate() {
            let (Some(a), Some(b), Some(c)) = (one(rng), one(rng), one(rng)) else { continue };
            let fill = |row: &mut Value, key: &str, value: Value| {
                if row[key].is_null() {
                    row[key] = value;
                }
            };
            #[expect(clippy::cast_precision_loss, reason = "milliseconds of our time")]
            let started_s = (c.started_ms + rng.i64(-2..3)) as f64 / 1_000.0;
            fill(&mut row, "SessionId", format!("{n}").into());
            fill(&mut row, "Owner", a.owner.clone().into());
            fill(&mut row, "Target", b.target.clone().into());
            fill(&mut row, "StartDate", started_s.into());
            if let Some(it) = Listed::read(&row, i64::MAX / 2) {
                all.push(self.complete(rng, &it, &Tags::Failed));
            }
        }
        Fleet { sessions: all, ..Fleet::default() }
    }
}

fn is_terminating(row: &Value) -> bool {
    matches!(row["Status"].as_str(), Some("Terminating" | "Terminated"))
}

impl Model {
    /// Rows that may stand before a session in its group.
    fn n_strangers(
        &self,
        limit: &Limit,
        fleet: &Fleet<'_>,
        it: &Listed,
        reading: Reading,
    ) -> usize {
        let of_session = group(limit, Some(&it.owner), Some(&it.target));
        let may_be_before = |row: &&&Value| {
            let (owner, target) = (row["Owner"].as_str(), row["Target"].as_str());
            let of_row = group(limit, owner, target);
            let is_in_time = row["StartDate"].as_f64().is_none_or(|seconds| {
                #[expect(clippy::cast_possible_truncation, reason = "milliseconds of our time")]
                let other = (seconds * 1_000.0).round() as i64;
                if limit.newest { it.started_ms <= other } else { other <= it.started_ms }
            });
            let is_other = |by: bool, known: Option<&str>, of_it: &str| {
                by && known.is_some_and(|it| it != of_it)
            };
            let is_elsewhere = is_other(limit.by_owner, owner, &it.owner)
                || is_other(limit.by_target, target, &it.target);
            let may_share = match reading {
                Reading::Sharp => !is_elsewhere,
                Reading::Plain => of_row.is_none() || of_row == of_session,
            };
            let may_be_about = reading == Reading::Plain || self.may_be_about(limit.rule, row);
            !is_terminating(row) && is_in_time && may_share && may_be_about
        };
        fleet.strangers.iter().filter(may_be_before).count()
    }

    /// Whether a row may be of a session in scope of the rule, whatever it lacks turns out to be.
    fn may_be_about(&self, rule: usize, row: &Value) -> bool {
        let either = |key: &str, all: Vec<String>| {
            let known = (!row[key].is_null()).then(|| vec![row[key].clone()]);
            known.unwrap_or_else(|| all.into_iter().map(Value::from).collect())
        };
        let owner = |role: &&str| format!("arn:aws:sts::{ACCOUNT}:assumed-role/{role}/x");
        let owners = either("Owner", ROLES.iter().chain([&"unheard"]).map(owner).collect());
        let targets = ["i-0", "mi-0", "ecs:my_0", "odd 0", "unheard"].map(ToOwned::to_owned);
        let targets = either("Target", targets.into());
        let mut filled = row.clone();
        for (key, value) in [("SessionId", json!("x")), ("StartDate", json!(0.0))] {
            filled[key] = value;
        }
        owners.iter().flat_map(|owner| targets.iter().map(move |target| (owner, target))).any(
            |(owner, target)| {
                let mut row = filled.clone();
                row["Owner"] = owner.clone();
                row["Target"] = target.clone();
                let it = Listed::read(&row, 0).map(|it| self.assumed(&it));
                it.is_none_or(|it| self.is_in_scope(rule, &it, &Tags::Failed) != Some(false))
            },
        )
    }
}
