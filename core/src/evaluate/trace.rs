//! How an evaluation came to its verdict: what each rule and exemption, and each of their tests, made
//! of the session.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use crate::{
    policy::{Exemption, Key, Part, Policy, Rule, RuleTruths, Subject},
    truth::Truth,
};

/// What came of one rule or exemption.
#[derive(Clone, Debug)]
pub struct Clause<'a> {
    /// Which of the two it is.
    pub kind: ClauseKind,
    /// Its id in the policy.
    pub id: &'a Arc<str>,
    /// Whether the session is in its scope: of a rule `when` and not `unless`, of an exemption `when`.
    pub in_scope: Truth,
    /// Whether the rule is violated, or the exemption holds.
    pub truth: Truth,
    /// What it consists of, in policy order.
    pub parts: Vec<Part<'a>>,
}

/// A rule or an exemption.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the policy's own words")]
pub enum ClauseKind {
    Exemption,
    Rule,
}

/// What came of every rule and exemption.
pub(crate) fn clauses<'a>(
    policy: &'a Policy,
    now: Timestamp,
    subject: Subject<'_>,
) -> Vec<Clause<'a>> {
    let rules = policy.rules.iter().map(|it| of_rule(it, now, subject));
    let exemptions = policy.exemptions.iter().map(|it| of_exemption(it, now, subject));
    rules.chain(exemptions).collect()
}

fn of_rule<'a>(rule: &'a Rule, now: Timestamp, subject: Subject<'_>) -> Clause<'a> {
    let mut parts = Vec::new();
    let truths = rule.truths(now, subject, &mut parts);
    for part in &mut parts {
        part.decides = decides(part, truths);
    }
    let (in_scope, truth) = (truths.in_scope(), truths.is_violated());
    Clause { kind: ClauseKind::Rule, id: &rule.id, in_scope, truth, parts }
}

/// Whether it rests on this part that a rule is violated, is not, or may be.
fn decides(part: &Part<'_>, truths: RuleTruths) -> bool {
    let RuleTruths { when, unless, fulfilled } = truths;
    let is_demand = matches!(part.key, Key::Require | Key::Forbid);
    match truths.is_violated() {
        Truth::Unknown => {
            let group = match part.key {
                Key::When => when,
                Key::Unless => unless,
                Key::Forbid | Key::Require | Key::Until => fulfilled,
            };
            (part.truth, group) == (Truth::Unknown, Truth::Unknown)
        }
        Truth::True => is_demand && part.truth == Truth::False,
        Truth::False if when == Truth::False => part.key == Key::When && part.truth == when,
        Truth::False if unless == Truth::True => part.key == Key::Unless,
        Truth::False => part.key == Key::Require,
    }
}

fn of_exemption<'a>(exemption: &'a Exemption, now: Timestamp, subject: Subject<'_>) -> Clause<'a> {
    let mut parts = Vec::new();
    let truth = exemption.truth(now, subject, &mut parts);
    for part in &mut parts {
        part.decides = part.truth == truth;
    }
    let in_scope = Truth::all(parts.iter().filter(|it| it.key == Key::When).map(|it| it.truth));
    Clause { kind: ClauseKind::Exemption, id: &exemption.id, in_scope, truth, parts }
}
