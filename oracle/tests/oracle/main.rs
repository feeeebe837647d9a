//! The evaluator against an independent oracle: generated policies, also evaluated by Cedar.
//!
//! `REAPER_ORACLE_POLICIES` is the number of policies, `REAPER_ORACLE_SEED` the first seed. A failure
//! names the seed of its policy, which reproduces it.

mod ast;
mod cedar;
mod world;
mod yaml;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use ast::is_partial;
use cedar::{Answer, Oracle};
use fastrand::Rng;
use jiff::Timestamp;
use reaper_core::{
    evaluate::{Verdict, evaluate},
    policy::Policy,
    session::Session,
    target::{Tags, Unknown},
};
use world::{Facts, TAG_KEYS, TAG_VALUES, TagMap};

const POLICIES: u64 = 250;
const SESSIONS: usize = 6;
/// The most completions that `evaluate` tries.
const MAX_COMPLETIONS: usize = 256;

#[test]
fn verdicts_are_cedars() {
    #[expect(clippy::disallowed_methods, reason = "more on demand")]
    let variable = |name: &str| std::env::var(name).ok().map(|it| it.parse().expect(name));
    let policies = variable("REAPER_ORACLE_POLICIES").unwrap_or(POLICIES);
    let first = variable("REAPER_ORACLE_SEED").unwrap_or(0);
    let mut counts = Counts::default();
    for seed in first..first + policies {
        check_one_policy(seed, &mut counts);
    }
    println!("{policies} policies from seed {first}: {counts:#?}");
    if policies == POLICIES {
        counts.assert_enough();
    }
}

/// How often each kind of case occurred: if all generated policies are trivial, nothing is proved.
#[derive(Debug, Default)]
struct Counts {
    known: BTreeMap<&'static str, usize>,
    unknown_fields: BTreeMap<&'static str, usize>,
    unknown_tags: BTreeMap<&'static str, usize>,
    undetermined_and_not_justified: usize,
}

impl Counts {
    fn assert_enough(&self) {
        let all = [&self.known, &self.unknown_fields, &self.unknown_tags];
        assert!(10_000 <= all.iter().flat_map(|it| it.values()).sum::<usize>());
        let enough = |it: &BTreeMap<_, usize>, names: &[&str], enough| {
            names.iter().all(|name| enough <= it.get(name).copied().unwrap_or(0))
        };
        assert!(enough(&self.known, &["compliant", "exempt", "violation"], 500));
        let names = ["compliant", "exempt", "undetermined", "violation"];
        assert!(enough(&self.unknown_tags, &names, 30));
        assert!(enough(&self.unknown_fields, &names, 30));
        assert!(self.undetermined_and_not_justified < self.unknown_tags["undetermined"] / 5);
    }
}

/// One policy and some sessions, each with all tags that make a difference.
fn check_one_policy(seed: u64, counts: &mut Counts) {
    let rng = &mut Rng::with_seed(seed);
    let ast = ast::Policy::random(rng);
    let yaml = yaml::policy(&ast);
    let policy = Policy::parse(&yaml).unwrap_or_else(|err| panic!("seed {seed}: {err}\n{yaml}"));
    let oracle = Oracle::new(&ast);
    let worlds = tag_worlds(&ast);
    let instants: Vec<i64> = ast.exemptions.iter().filter_map(|it| it.until).collect();
    let has_partial_documents = ast.tests().any(|test| match test {
        ast::Test::Document(globs) => globs.iter().any(|it| is_partial(it)),
        ast::Test::AccessType(_)
        | ast::Test::Owner(_)
        | ast::Test::Reason(_)
        | ast::Test::Status(_)
        | ast::Test::Target(_)
        | ast::Test::TargetTags(_) => false,
    });
    let is_partial = ast.tag_globs().iter().flatten().any(|it| is_partial(it));
    for _ in 0..SESSIONS {
        let facts = Facts::random(rng, &instants);
        let (now, session) = facts.session();
        let completions = facts.assumed(ast.assume).completions(ast.assume);
        // Parts of a document's name, and reasons, are not completed.
        let is_vague =
            facts.hides_reason(ast.assume) || (has_partial_documents && facts.document.is_none());
        let answers: Vec<Vec<Answer>> = worlds
            .iter()
            .map(|tags| completions.iter().map(|it| oracle.evaluate(it, tags)).collect())
            .collect();
        let case = Case { policy: &policy, now, session: &session };
        let context = |tags: &dyn std::fmt::Debug| {
            let seed = format!("REAPER_ORACLE_POLICIES=1 REAPER_ORACLE_SEED={seed}");
            format!("{seed}\n{yaml}\n{}\nat {now}: {facts:#?}\ntags: {tags:?}", oracle.text)
        };

        for (tags, answers) in worlds.iter().zip(&answers) {
            let verdict = case.with_tags(tags);
            let checked = match answers.as_slice() {
                [answer] => agrees(&verdict, answer),
                answers => {
                    *counts.unknown_fields.entry(verdict.name()).or_default() += 1;
                    let splits = if is_vague { Splits::Perhaps } else { Splits::Surely };
                    is_justified(&verdict, &answers.iter().collect::<Vec<_>>(), splits).map(drop)
                }
            };
            let in_two_passes = case.in_two_passes(tags);
            let checked = checked.and_then(|()| finds_the_same(&in_two_passes, &verdict));
            if let Err(why) = checked {
                panic!("{why}\n{verdict:?}\n{answers:?}\n{}", context(tags));
            }
            if completions.len() == 1 {
                *counts.known.entry(verdict.name()).or_default() += 1;
            }
        }

        let answers: Vec<&Answer> = answers.iter().flatten().collect();
        let is_small = !is_partial && !is_vague && answers.len() <= MAX_COMPLETIONS;
        for (unknown, splits) in [
            (Unknown::TagsNotReturned, if is_small { Splits::Surely } else { Splits::Perhaps }),
            (Unknown::TagsNotLookedUp, Splits::Perhaps),
        ] {
            let verdict = evaluate(&policy, now, &session, &Tags::Unknown(unknown));
            match is_justified(&verdict, &answers, splits) {
                Ok(is_justified) if unknown == Unknown::TagsNotReturned => {
                    *counts.unknown_tags.entry(verdict.name()).or_default() += 1;
                    counts.undetermined_and_not_justified += usize::from(!is_justified);
                }
                Ok(_) => {}
                Err(why) => {
                    let answers: Vec<_> = answers.iter().zip(0..20).collect();
                    panic!("{why}\n{verdict:?}\n{answers:?}\n{}", context(&unknown))
                }
            }
        }
    }
}

/// All tags that the policy can distinguish: each key absent, empty, of each value
/// that the policy names, and of a value that it does not name; with globs on parts of values, of
/// every value that there is.
fn tag_worlds(policy: &ast::Policy) -> Vec<TagMap> {
    let mut worlds = vec![TagMap::new()];
    for ((globs, all), key) in policy.tag_globs().iter().zip(TAG_VALUES).zip(TAG_KEYS) {
        if globs.is_empty() {
            continue;
        }
        let has_partial = globs.iter().any(|it| is_partial(it));
        let is_needed = |it: &&&str| {
            has_partial || it.is_empty() || globs.contains(it) || Some(*it) == all.last()
        };
        let values: Vec<&str> = all.iter().filter(is_needed).copied().collect();
        let with = worlds.iter().flat_map(|tags| {
            values.iter().map(|value| {
                let mut tags = tags.clone();
                tags.insert(key, value);
                tags
            })
        });
        worlds = with.chain(worlds.iter().cloned()).collect();
    }
    worlds
}

struct Case<'a> {
    policy: &'a Policy,
    now: Timestamp,
    session: &'a Session,
}

impl Case<'_> {
    fn with_tags(&self, tags: &TagMap) -> Verdict {
        let tags = tags.iter().map(|(key, value)| ((*key).into(), (*value).into()));
        evaluate(self.policy, self.now, self.session, &Tags::Known(Arc::new(tags.collect())))
    }

    /// As in a sweep: tags are looked up only if the verdict depends on them.
    fn in_two_passes(&self, tags: &TagMap) -> Verdict {
        let not_looked_up = Tags::Unknown(Unknown::TagsNotLookedUp);
        let verdict = evaluate(self.policy, self.now, self.session, &not_looked_up);
        match verdict.unknown() {
            Some(Unknown::TagsNotLookedUp) => self.with_tags(tags),
            _ => verdict,
        }
    }
}

fn ids(verdict: &Verdict) -> Vec<&str> {
    verdict.rules().iter().map(|it| &**it).collect()
}

/// All facts are known: the verdict and the rules are the same, in policy order.
fn agrees(verdict: &Verdict, answer: &Answer) -> Result<(), String> {
    let expected: Vec<&str> = match answer.name {
        "compliant" => Vec::new(),
        "exempt" => answer.exemptions.iter().take(1).map(String::as_str).collect(),
        // The order of ids is alphabetical.
        _ => answer.violated.iter().map(String::as_str).collect(),
    };
    if (verdict.name(), ids(verdict)) == (answer.name, expected) {
        Ok(())
    } else {
        Err("Cedar says otherwise".into())
    }
}

/// Whether `evaluate` tries all completions before it calls a verdict undetermined.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Splits {
    Perhaps,
    Surely,
}

/// Some facts are unknown: the verdict must be right for all their possible values.
///
/// Returns whether an undetermined verdict has two completions with different verdicts, and fails if it
/// must have.
fn is_justified(verdict: &Verdict, answers: &[&Answer], splits: Splits) -> Result<bool, String> {
    let named: BTreeSet<String> = ids(verdict).into_iter().map(ToOwned::to_owned).collect();
    let are_all = |names: &[&str]| answers.iter().all(|it| names.contains(&it.name));
    let check = |holds: bool, why: &str| if holds { Ok(true) } else { Err(why.to_owned()) };
    let violated_in_some: BTreeSet<String> =
        answers.iter().flat_map(|it| it.violated.iter().cloned()).collect();
    match verdict {
        Verdict::Compliant => check(are_all(&["compliant"]), "not always compliant"),
        Verdict::Warning { .. } => Err("no rule only warns".into()),
        Verdict::Exempt { by } => {
            check(are_all(&["compliant", "exempt"]), "not always exempt")?;
            let holds = |it: &&&Answer| it.name != "exempt" || it.exemptions.contains(&**by);
            check(answers.iter().filter(holds).count() != 0, "an exemption that never holds")
        }
        Verdict::Violation { unknown, .. } => {
            check(are_all(&["violation"]), "not always a violation")?;
            let is_in_all = |rule: &&String| answers.iter().all(|it| it.violated.contains(*rule));
            if unknown.is_none() {
                check(!named.is_empty(), "no rule is named")?;
                return check(named.iter().all(|it| is_in_all(&it)), "not always this rule");
            }
            let is_one_of = |it: &&Answer| !it.violated.is_disjoint(&named);
            check(answers.iter().all(is_one_of), "not always one of these rules")?;
            check(named.is_subset(&violated_in_some), "a rule that is never violated")?;
            let is_certain = violated_in_some.iter().any(|it| is_in_all(&it));
            check(splits == Splits::Perhaps || !is_certain, "one rule is always violated")
        }
        Verdict::Undetermined { .. } => {
            check(violated_in_some.is_subset(&named), "a rule that may be violated is not named")?;
            let differ = answers.iter().any(|it| it.name != answers[0].name);
            if differ || splits == Splits::Perhaps {
                Ok(differ)
            } else {
                Err("undetermined, and every completion says the same".into())
            }
        }
    }
}

/// A lazy verdict may be less specific, and never another.
fn finds_the_same(lazy: &Verdict, eager: &Verdict) -> Result<(), String> {
    let is_violation = |it: &Verdict| matches!(it, Verdict::Violation { .. });
    let eager_rules: BTreeSet<&Arc<str>> = eager.rules().iter().collect();
    let holds = is_violation(lazy) == is_violation(eager)
        && (!is_violation(lazy) || lazy.rules().iter().all(|it| eager_rules.contains(it)));
    if holds { Ok(()) } else { Err(format!("in two passes it is {lazy:?}")) }
}
