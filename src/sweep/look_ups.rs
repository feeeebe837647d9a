//! Evaluates among each other, then again with what is looked up: tags, and the types of documents.

use std::{collections::BTreeSet, sync::Arc};

use tokio::time::Instant;

use super::context::SweepContext;
use crate::{
    Budget,
    aws::CallError,
    sweep::{
        tags::look_up,
        types::{Untyped, look_up_types},
    },
};
use reaper_core::{
    census::{Evaluated, Evaluator, Unseen, oldest_first},
    event::Event,
    policy::Policy,
    session_type::DocumentTypes,
    target::{Tags, Unknown},
};

/// What was found out besides the verdicts.
pub(super) struct LookedUp {
    /// The types of documents.
    pub(super) types: DocumentTypes,
    /// What went wrong when tags were looked up.
    pub(super) tag_problems: Vec<CallError>,
    /// All that went wrong.
    pub(super) warnings: Vec<String>,
}

/// Counts the sessions that are active at once, evaluates again where tags or documents decide, and
/// counts again. Only what decides is looked up.
///
/// A look-up takes at most half of the time to act in that is left, and evaluating half of the rest,
/// oldest session first: however slow they are, violators whose verdict does not depend on them are
/// terminated.
/// A session for which there was no time stays undetermined.
pub(super) async fn evaluate_with_look_ups(
    context: SweepContext<'_>,
    acting: Budget,
    policy: &Policy,
    evaluator: &Evaluator<'_>,
    unseen: Unseen<'_>,
    evaluated: &mut [Evaluated],
) -> LookedUp {
    let SweepContext { sinks, budget, .. } = context;
    evaluated.sort_unstable_by(|a, b| oldest_first(&a.session, &b.session));
    let open = evaluator.conclude(evaluated, unseen, || Instant::now() < budget.hard_stop);
    let open = &open.into_iter().collect();
    let again = Again { context, acting, policy, evaluator, unseen, open };
    let (tag_problems, late) = again.with_tags(evaluated).await;
    let mut warnings: Vec<_> = tag_problems.iter().map(ToString::to_string).chain(late).collect();
    for error in &warnings {
        sinks.emit(&Event::TagLookUpFailed { error });
    }
    let (types, problems) = again.with_types(evaluated).await;
    for error in &problems {
        sinks.emit(&Event::DocumentLookUpFailed { error });
    }
    warnings.extend(problems);
    LookedUp { types, tag_problems, warnings }
}

/// Until when sessions may be evaluated again.
fn end(acting: Budget, budget: Budget) -> Instant {
    let has_time = !acting.remaining().is_zero();
    if has_time { acting.first_of(2).last_start } else { budget.hard_stop }
}

/// What evaluating again, with what is looked up, needs besides the sessions.
#[derive(Clone, Copy)]
struct Again<'a> {
    context: SweepContext<'a>,
    acting: Budget,
    policy: &'a Policy,
    evaluator: &'a Evaluator<'a>,
    unseen: Unseen<'a>,
    /// The indices of the sessions of which it is open whether they count.
    open: &'a BTreeSet<usize>,
}

impl Again<'_> {
    async fn with_tags(self, evaluated: &mut [Evaluated]) -> (Vec<CallError>, Option<String>) {
        let Self { context, acting, policy, evaluator, unseen, open } = self;
        let SweepContext { ssm, scope, budget, .. } = context;
        let not_looked_up = Tags::Unknown(Unknown::TagsNotLookedUp);
        let needs_tags = |(index, it): &(usize, &Evaluated)| {
            it.verdict.unknown() == Some(Unknown::TagsNotLookedUp)
                || !policy.tag_keys.is_empty() && it.tags == not_looked_up && open.contains(index)
        };
        let needy = evaluated.iter().enumerate().filter(needs_tags);
        let targets: BTreeSet<_> = needy.map(|(_, it)| Arc::clone(&it.session.target)).collect();
        if targets.is_empty() {
            return (Vec::new(), None);
        }
        let of_targets = targets.iter().map(|it| &**it).collect();
        let (tags, problems) = look_up(ssm, scope, policy, of_targets, acting.first_of(2)).await;
        let end = end(acting, budget);
        let failed = Tags::Unknown(Unknown::TagsLookupFailed);
        let mut n_late = 0;
        for (index, it) in evaluated.iter_mut().enumerate() {
            let depends = it.verdict.unknown().is_some() || open.contains(&index);
            if let Some(tags) = tags.get(&*it.session.target).filter(|_| depends) {
                let is_late = *tags != failed && end <= Instant::now();
                n_late += usize::from(is_late);
                it.tags.clone_from(if is_late { &failed } else { tags });
                evaluator.evaluate_again(it); // At once, if the look-up failed.
            }
        }
        evaluator.conclude(evaluated, unseen, || Instant::now() < end);
        let late = format!("there was no time to evaluate {n_late} sessions with their tags");
        (problems, Some(late).filter(|_| 0 < n_late))
    }

    async fn with_types(self, evaluated: &mut [Evaluated]) -> (DocumentTypes, Vec<String>) {
        let Self { context, acting, policy, evaluator, unseen, open } = self;
        let SweepContext { ssm, budget, .. } = context;
        let untyped = Untyped::of(policy, evaluator, open, evaluated);
        if untyped.documents.is_empty() {
            return (DocumentTypes::default(), Vec::new());
        }
        let (types, mut problems) =
            look_up_types(ssm, &untyped.documents, acting.first_of(2)).await;
        let end = end(acting, budget);
        let with_types = evaluator.clone().typed(&types);
        let mut n_late = 0;
        for (index, it) in evaluated.iter_mut().enumerate() {
            if untyped.indices.contains(&index) {
                // At once, if its type is not known now either.
                let is_late =
                    with_types.subject(it).session_type().is_ok() && end <= Instant::now();
                n_late += usize::from(is_late);
                if !is_late {
                    with_types.evaluate_again(it);
                }
            }
        }
        if 0 < n_late {
            problems
                .push(format!("there was no time to evaluate {n_late} sessions with their types"));
        }
        with_types.conclude(evaluated, unseen, || Instant::now() < end);
        (types, problems)
    }
}
