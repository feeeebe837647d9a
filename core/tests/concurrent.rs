//! `concurrent` against a second reading: small fleets, in which every way in which what is unknown may
//! turn out is tried. It shares no code with the evaluator but the policy's text.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

use std::{collections::BTreeMap, fmt::Write, ops::Range, sync::Arc};

use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};
use reaper_core::{
    census::{Evaluated, Evaluator, Unseen},
    evaluate::VerdictKind,
    policy::Policy,
    session::{Record, Session},
    target::{Tags, Unknown},
};

const NOW: Timestamp = Timestamp::UNIX_EPOCH;
/// The limit of the rule by age, in minutes.
const MAX_AGE: i64 = 7;

/// What a session is, with every fact known.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Known {
    owner: usize,
    target: usize,
    /// In minutes.
    age: i64,
    is_terminating: bool,
    /// Whether its document is `A`.
    is_a: bool,
    /// `None`: no tag; else `prod`, or `exempt`.
    tag: Option<&'static str>,
}

/// A session as it is listed: what is `None` is not known.
#[derive(Clone, Debug)]
struct Listed {
    known: Known,
    is_status_known: bool,
    is_document_known: bool,
    is_tag_known: bool,
}

impl Listed {
    fn status(&self) -> Option<&'static str> {
        let status = if self.known.is_terminating { "Terminating" } else { "Connected" };
        self.is_status_known.then_some(status)
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Scope {
    All,
    A,
    Prod,
}

#[derive(Clone, Copy, Debug)]
struct Limit {
    per: (bool, bool),
    at_most: usize,
    newest: bool,
    scope: Scope,
    warns: bool,
}

#[derive(Clone, Debug)]
struct Case {
    limits: Vec<Limit>,
    has_max_age: bool,
    has_exemption: bool,
    sessions: Vec<Listed>,
    /// Whether the listing may lack a session.
    is_incomplete: bool,
    /// A record without an owner, on this target and of this age.
    nameless: Option<(usize, i64)>,
}

impl Limit {
    fn is_in_scope(self, it: &Known) -> bool {
        match self.scope {
            Scope::All => true,
            Scope::A => it.is_a,
            Scope::Prod => it.tag == Some("prod"),
        }
    }

    fn is_same_group(self, a: &Known, b: &Known) -> bool {
        (!self.per.0 || a.owner == b.owner) && (!self.per.1 || a.target == b.target)
    }

    fn yaml(self, id: usize) -> String {
        let per = match self.per {
            (true, false) => "owner",
            (false, true) => "target",
            _ => "owner_and_target",
        };
        let scope = match self.scope {
            Scope::All => "all",
            Scope::A => "{ document: A }",
            Scope::Prod => "{ target_tags: { env: prod } }",
        };
        let keep = if self.newest { "newest" } else { "oldest" };
        let effect = if self.warns { "warn" } else { "terminate" };
        format!(
            "  - {{ id: l{id}, when: {scope}, effect: {effect}, require: {{ concurrent: \
             {{ per: {per}, at_most: {}, keep: {keep} }} }} }}\n",
            self.at_most
        )
    }
}

impl Case {
    fn random(rng: &mut Rng) -> Self {
        let newest = rng.bool();
        let is_mixed = rng.u8(0..4) == 0;
        let limits = (0..rng.usize(1..=2)).map(|_| Limit {
            per: [(true, false), (false, true), (true, true)][rng.usize(0..3)],
            at_most: rng.usize(1..=3),
            newest: if is_mixed { rng.bool() } else { newest },
            scope: [Scope::All, Scope::All, Scope::A, Scope::Prod][rng.usize(0..4)],
            warns: rng.u8(0..6) == 0,
        });
        let limits = limits.collect();
        let mut n_unknown = 0;
        let mut unknown = |rng: &mut Rng| {
            let is_unknown = n_unknown < 3 && rng.u8(0..5) == 0;
            n_unknown += usize::from(is_unknown);
            is_unknown
        };
        let sessions = (0..rng.usize(1..=6)).map(|_| Listed {
            known: Known {
                owner: rng.usize(0..2),
                target: rng.usize(0..2),
                age: rng.i64(1..=9),
                is_terminating: rng.u8(0..8) == 0,
                is_a: rng.bool(),
                tag: [None, Some("prod"), Some("prod"), Some("exempt")][rng.usize(0..4)],
            },
            is_status_known: !(rng.bool() && unknown(rng)),
            is_document_known: !unknown(rng),
            is_tag_known: !unknown(rng),
        });
        let sessions = sessions.collect();
        Self {
            limits,
            has_max_age: rng.bool(),
            has_exemption: rng.bool(),
            sessions,
            is_incomplete: rng.u8(0..8) == 0,
            nameless: (rng.u8(0..8) == 0).then(|| (rng.usize(0..2), rng.i64(1..=9))),
        }
    }

    fn policy(&self) -> Policy {
        let mut text = "version: 1\ntag_keys: [env]\nrules:\n".to_owned();
        for (id, limit) in self.limits.iter().enumerate() {
            text += &limit.yaml(id);
        }
        if self.has_max_age {
            writeln!(text, "  - {{ id: age, when: all, require: {{ max_age: {MAX_AGE}m }} }}")
                .expect("text");
        }
        if self.has_exemption {
            text += "exemptions: [{ id: e, when: { target_tags: { env: exempt } } }]\n";
        }
        Policy::parse(&text).expect(&text)
    }

    fn conclude(&self) -> Vec<Evaluated> {
        let policy = self.policy();
        let evaluator = Evaluator::new(&policy, NOW);
        let sessions = self.sessions.iter().enumerate();
        let mut evaluated: Vec<_> = sessions
            .map(|(id, it)| {
                let session = Session {
                    id: format!("s-{id}").into(),
                    owner: format!("arn:aws:iam::123456789012:user/u{}", it.known.owner).into(),
                    target: format!("i-{}", it.known.target).into(),
                    started_at: NOW - SignedDuration::from_mins(it.known.age),
                    status: it.status().map(Into::into),
                    document: it
                        .is_document_known
                        .then(|| if it.known.is_a { "A".into() } else { "B".into() }),
                    reason: None,
                    access_type: None,
                };
                let tags = it.known.tag.iter().map(|it| ("env".into(), (*it).into()));
                let tags = if it.is_tag_known {
                    Tags::Known(Arc::new(tags.collect::<BTreeMap<_, _>>()))
                } else {
                    Tags::Unknown(Unknown::TagsNotReturned)
                };
                evaluator.evaluate(Box::new(session), tags)
            })
            .collect();
        let nameless = self.nameless.iter().map(|(target, age)| {
            let record = Record {
                id: Some("n".into()),
                target: Some(format!("i-{target}").into()),
                started_at: Some(NOW - SignedDuration::from_mins(*age)),
                ..Record::default()
            };
            (record, "no Owner")
        });
        let nameless = nameless.collect::<Vec<_>>();
        let unseen = Unseen { is_incomplete: self.is_incomplete, not_evaluated: &nameless };
        evaluator.conclude(&mut evaluated, unseen, || true);
        evaluated
    }

    /// Every way in which what is not known may turn out, the listed sessions first.
    fn completions(&self) -> Vec<Vec<Known>> {
        let mut all = vec![Vec::new()];
        let tags = [None, Some("prod"), Some("exempt")];
        for it in &self.sessions {
            let documents =
                if it.is_document_known { vec![it.known.is_a] } else { vec![true, false] };
            let statuses = [it.known.is_terminating, !it.known.is_terminating];
            let statuses = &statuses[..if it.is_status_known { 1 } else { 2 }];
            let tags = if it.is_tag_known { vec![it.known.tag] } else { tags.to_vec() };
            let mut next = Vec::new();
            for before in &all {
                for is_a in &documents {
                    for tag in &tags {
                        for is_terminating in statuses {
                            let is_terminating = *is_terminating;
                            let known =
                                Known { is_a: *is_a, tag: *tag, is_terminating, ..it.known };
                            next.push([before.as_slice(), &[known]].concat());
                        }
                    }
                }
            }
            all = next;
        }
        let other = |target, age| Known {
            owner: 0,
            target,
            age,
            is_terminating: false,
            is_a: true,
            tag: Some("prod"),
        };
        // Sessions that are not seen: none, or up to three of one kind, at either end of the order.
        let unseen = |target, age| {
            let mut all = vec![Vec::new()];
            for owner in 0..2 {
                for n in 1..=3 {
                    all.push(vec![Known { owner, ..other(target, age) }; n]);
                }
            }
            all
        };
        if self.is_incomplete {
            let more: Vec<_> = [0, 1]
                .into_iter()
                .flat_map(|target| [0, 100].into_iter().flat_map(move |age| unseen(target, age)))
                .collect();
            all = product(&all, &more);
        }
        if let Some((target, age)) = self.nameless {
            let whose = (0..2).map(|owner| vec![Known { owner, ..other(target, age) }]);
            let out = vec![Known { is_a: false, tag: None, ..other(target, age) }];
            all = product(&all, &[whose.collect::<Vec<_>>(), vec![out]].concat());
        }
        all
    }

    /// Which sessions are terminated, with every fact known, where all rules keep the same: one after the
    /// other, what is kept first.
    fn violators(&self, sessions: &[Known]) -> Vec<bool> {
        let mut order: Vec<usize> = (0..sessions.len()).collect();
        order.sort_by_key(|i| (-sessions[*i].age, *i)); // Ids grow with the index.
        if self.limits[0].newest {
            order.reverse();
        }
        let mut violates = vec![false; sessions.len()];
        for (n, i) in order.iter().enumerate() {
            let it = &sessions[*i];
            let has_no_place = |limit: &&Limit| {
                let before = order[..n].iter().filter(|j| {
                    let other = &sessions[**j];
                    let stays = !violates[**j] && !other.is_terminating;
                    stays && limit.is_in_scope(other) && limit.is_same_group(it, other)
                });
                limit.is_in_scope(it) && limit.at_most <= before.count()
            };
            let limits = || self.limits.iter().filter(|it| !it.warns);
            let is_exempt = self.has_exemption && it.tag == Some("exempt");
            let is_old = self.has_max_age && MAX_AGE < it.age;
            let has_no_place = limits().any(|it| has_no_place(&it));
            violates[*i] = !is_exempt && (is_old || has_no_place);
        }
        violates
    }

    fn is_mixed(&self) -> bool {
        self.limits.iter().any(|it| it.newest != self.limits[0].newest)
    }
}

fn product(all: &[Vec<Known>], more: &[Vec<Known>]) -> Vec<Vec<Known>> {
    let pairs =
        all.iter().flat_map(|it| more.iter().map(move |more| [it.as_slice(), more].concat()));
    pairs.collect()
}

/// One seed a fleet; `REAPER_FLEETS` times as many if it is set.
fn seeds(n: u64) -> Range<u64> {
    #[expect(clippy::disallowed_methods, reason = "a test has its own setting")]
    let times = std::env::var("REAPER_FLEETS").map_or(1, |it| it.parse().expect("a number"));
    0..n * times
}

/// A violation is one in every completion, and what is compliant, exempt or only warned of in none.
/// What all completions agree on is rarely undetermined.
#[test]
fn every_completion_agrees() {
    let (mut n_agreed, mut n_undetermined, mut n_excess) = (0, 0, 0);
    for seed in seeds(2_000) {
        let case = Case::random(&mut Rng::with_seed(seed));
        if case.is_mixed() {
            continue;
        }
        let evaluated = case.conclude();
        let completions = case.completions();
        let violators: Vec<_> = completions.iter().map(|it| case.violators(it)).collect();
        for (i, it) in evaluated.iter().enumerate() {
            let always = violators.iter().all(|it| it[i]);
            let never = !violators.iter().any(|it| it[i]);
            let kind = it.verdict.kind();
            let told = format!("seed {seed}, s-{i}: {:?}\n{case:#?}", it.verdict);
            match kind {
                VerdictKind::Violation => assert!(always, "{told}"),
                VerdictKind::Undetermined | VerdictKind::NotEvaluated => {}
                VerdictKind::Compliant | VerdictKind::Exempt | VerdictKind::Warning => {
                    assert!(never, "{told}");
                }
            }
            let warns = case.limits.iter().any(|it| it.warns);
            if (always || never) && !warns {
                n_agreed += 1;
                n_undetermined += usize::from(kind == VerdictKind::Undetermined);
            }
            n_excess += usize::from(
                kind == VerdictKind::Violation
                    && it.verdict.rules().iter().all(|it| it.starts_with('l')),
            );
        }
    }
    println!("{n_agreed} agreed, {n_undetermined} of them undetermined, {n_excess} only in excess");
    assert!(200 < n_excess, "{n_excess}");
    assert!(n_undetermined * 15 < n_agreed, "{n_undetermined} of {n_agreed}");
}

/// With every fact known, also where rules keep different ones: a session in excess has enough others
/// that stay before it; and the order of rows and of rules makes no difference.
#[test]
fn whoever_goes_leaves_enough() {
    let mut n_mixed = 0;
    for seed in seeds(600) {
        let mut rng = Rng::with_seed(seed);
        let mut case = Case::random(&mut rng);
        case.is_incomplete = false;
        case.nameless = None;
        for it in &mut case.sessions {
            (it.is_status_known, it.is_document_known, it.is_tag_known) = (true, true, true);
        }
        let evaluated = case.conclude();
        let kinds: Vec<_> = evaluated.iter().map(|it| it.verdict.kind()).collect();
        let stays =
            |i: usize| kinds[i] != VerdictKind::Violation && !case.sessions[i].known.is_terminating;
        for (i, it) in evaluated.iter().enumerate() {
            let me = &case.sessions[i].known;
            for rule in it.verdict.rules().iter().filter_map(|it| it.strip_prefix('l')) {
                if kinds[i] != VerdictKind::Violation {
                    continue;
                }
                let limit = case.limits[rule.parse::<usize>().expect("a number")];
                let n = (0..evaluated.len()).filter(|j| {
                    let other = &case.sessions[*j].known;
                    let is_older = (-other.age, *j) < (-me.age, i);
                    *j != i
                        && stays(*j)
                        && limit.is_in_scope(other)
                        && limit.is_same_group(me, other)
                        && is_older != limit.newest
                });
                assert!(limit.at_most <= n.count(), "seed {seed}, s-{i}: {case:#?}\n{kinds:?}");
            }
        }
        n_mixed += usize::from(case.is_mixed());
        let mut other = case.clone();
        other.limits.reverse();
        let same = other.conclude();
        let same: Vec<_> = same.iter().map(|it| it.verdict.kind()).collect();
        assert_eq!(kinds, same, "seed {seed}: the order of rules\n{case:#?}");
    }
    assert!(20 < n_mixed, "{n_mixed}");
}

/// Under one rule, seeing one more session never saves one that was in excess for certain, and a
/// larger `at_most` never terminates more.
#[test]
fn monotone() {
    let violators = |case: &Case| -> Vec<bool> {
        let evaluated = case.conclude();
        evaluated.iter().map(|it| it.verdict.kind() == VerdictKind::Violation).collect()
    };
    let mut n_more = 0;
    for seed in seeds(600) {
        let mut rng = Rng::with_seed(seed);
        let mut case = Case::random(&mut rng);
        case.limits.truncate(1);
        let before = violators(&case);
        let mut seen = case.clone();
        let mut one_more = Case::random(&mut rng).sessions;
        seen.sessions.extend(one_more.pop());
        let after = violators(&seen);
        let is_saved = before.iter().zip(&after).any(|(before, after)| *before && !after);
        assert!(!is_saved, "seed {seed}: {seen:#?}");
        n_more += usize::from(before.iter().zip(&after).any(|(before, after)| before != after));
        let mut larger = case.clone();
        larger.limits[0].at_most += 1;
        let fewer = violators(&larger);
        let is_new = before.iter().zip(&fewer).any(|(before, after)| !before && *after);
        assert!(!is_new, "seed {seed}: {larger:#?}");
    }
    assert!(10 < n_more, "{n_more}");
}

/// The order of rows makes no difference, and no look-up is asked for in a group that is small enough.
#[test]
fn order_of_rows() {
    for seed in seeds(400) {
        let mut rng = Rng::with_seed(seed);
        let case = Case::random(&mut rng);
        let policy = case.policy();
        let evaluator = Evaluator::new(&policy, NOW);
        let mut evaluated = case.conclude();
        let mut expected: Vec<_> =
            evaluated.iter().map(|it| (it.session.id.clone(), it.verdict.clone())).collect();
        rng.shuffle(&mut evaluated);
        let mut again: Vec<_> =
            evaluated.into_iter().map(|it| evaluator.evaluate(it.session, it.tags)).collect();
        let nameless = case.nameless.map(|(target, age)| {
            let target = Some(format!("i-{target}").into());
            let started_at = Some(NOW - SignedDuration::from_mins(age));
            let id = Some("n".into());
            (Record { id, target, started_at, ..Record::default() }, "no Owner")
        });
        let unseen =
            Unseen { is_incomplete: case.is_incomplete, not_evaluated: nameless.as_slice() };
        evaluator.conclude(&mut again, unseen, || true);
        let mut actual: Vec<_> = again.into_iter().map(|it| (it.session.id, it.verdict)).collect();
        expected.sort_by(|a, b| a.0.cmp(&b.0));
        actual.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(actual, expected, "seed {seed}: {case:#?}");
    }
}
