//! Counts concurrent sessions once more, right before any is terminated for their number.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use tokio::time::Instant;

use super::context::{SweepContext, to_verify};
use crate::{
    Budget,
    sweep::list::{Census, list_those},
};
use reaper_core::{
    census::{Evaluated, Evaluator, Unseen},
    evaluate::Verdict,
    plan::{Action, DeferReason, Step},
    policy::Policy,
    session::{Reading, Record, Session, State},
    session_type::DocumentTypes,
    target::{Tags, Unknown},
};

/// Lists once more, right before the terminations, and defers every session that would be terminated
/// only because its group has too many, unless it still has: since it was listed, others may have
/// ended, or may have been listed though they had.
pub(super) async fn count_again(
    context: SweepContext<'_>,
    acting: Budget,
    policy: &Policy,
    types: &DocumentTypes,
    steps: &mut [Step],
) {
    let SweepContext { ssm, scope, now, memory, .. } = context;
    let evaluator = Evaluator::new(policy, now).at(scope).typed(types);
    let is_violation = |it: &Evaluated| matches!(it.verdict, Verdict::Violation { .. });
    let is_in_excess = |(_, it): &(usize, &Step)| {
        let alone = || evaluator.evaluate(it.session.clone(), it.tags.clone());
        it.action == Action::Terminate && !is_violation(&alone())
    };
    let in_excess: Vec<_> = steps.iter().enumerate().filter(is_in_excess).collect();
    if in_excess.is_empty() {
        return;
    }
    let place = |it: &Step| [Arc::clone(&it.session.owner), Arc::clone(&it.session.target)];
    let mut of_theirs: HashSet<Arc<str>> = in_excess.iter().flat_map(|(_, it)| place(it)).collect();
    let in_excess: Vec<usize> = in_excess.into_iter().map(|(index, _)| index).collect();
    let budget = acting.first_of(2);
    // Those that stand before them have groups of their own, in which they have a place or not.
    let mut n_before = 0;
    while n_before < of_theirs.len() {
        n_before = of_theirs.len();
        for it in steps.iter().map(place) {
            if it.iter().any(|it| of_theirs.contains(it)) {
                of_theirs.extend(it);
            }
        }
    }
    let may_count = |it: &mut Record| {
        [&it.owner, &it.target].iter().any(|it| it.as_ref().is_none_or(|it| of_theirs.contains(it)))
    };
    let Census { pages, problem, .. } =
        list_those(ssm, State::Active, budget, to_verify(memory), may_count).await;
    let not_looked_up = Tags::Unknown(Unknown::TagsNotLookedUp);
    let known = steps.iter().map(|it| (&*it.session.target, &it.tags));
    let known: HashMap<&str, &Tags> = known.filter(|(_, tags)| **tags != not_looked_up).collect();
    let (mut evaluated, mut not_evaluated) = (Vec::new(), Vec::new());
    for record in pages.into_iter().flatten() {
        match record.read(now) {
            Reading::Session(session) => {
                let tags = known.get(&*session.target).copied().unwrap_or(&not_looked_up).clone();
                evaluated.push(evaluator.evaluate(Box::new(session), tags));
            }
            Reading::NotEvaluated(record, why) => not_evaluated.push((record, why)),
        }
    }
    let unseen = Unseen { is_incomplete: problem.is_some(), not_evaluated: &not_evaluated };
    evaluator.conclude(&mut evaluated, unseen, || Instant::now() < acting.last_start);
    let may_be = |(record, _): &(Record, &str), session: &Session| {
        record.id.as_ref().map_or_else(|| record.may_be(session), |id| *id == session.id)
    };
    let listed: HashMap<&str, &Evaluated> =
        evaluated.iter().map(|it| (&*it.session.id, it)).collect();
    for index in in_excess {
        let Some(step) = steps.get_mut(index) else { continue };
        let is_confirmed = match listed.get(&*step.session.id) {
            Some(it) => is_violation(it),
            // Where it is gone, AWS says so when it is asked.
            None => problem.is_none() && !not_evaluated.iter().any(|it| may_be(it, &step.session)),
        };
        if !is_confirmed {
            step.action = Action::Defer(DeferReason::CountedAgain);
        }
    }
}
