//! What a sweep finds out for those that it tells, when nothing is left to terminate.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use jiff::SignedDuration;

use super::context::SweepContext;
use crate::sweep::tags::look_up;
use reaper_core::{
    census::{Evaluated, Evaluator},
    event::Event,
    notice::{ExpiryWarning, is_told},
    policy::Policy,
    report::{Outcome, OutcomeRecord},
    session_type::DocumentTypes,
    target::{Tags, Unknown},
};

/// What is kept of the time of a sweep for telling.
pub(super) const TELLING: Duration = Duration::from_secs(5);

/// Looks up the tags of targets that are told of, as far as they are not known: of violators, so that they
/// reach their team; of others, where a warning may depend on them. Returns the warnings.
pub(super) async fn warnings(
    context: SweepContext<'_>,
    policy: &Policy,
    types: &DocumentTypes,
    period: SignedDuration,
    outcomes: &mut [OutcomeRecord],
) -> Vec<ExpiryWarning> {
    let SweepContext { ssm, scope, sinks, now, budget, .. } = context;
    let may_be_warned = |it: &OutcomeRecord| {
        it.outcome == Outcome::NoAction && policy.may_warn(now, &it.step.session)
    };
    let not_looked_up = Tags::Unknown(Unknown::TagsNotLookedUp);
    let needs_tags =
        |it: &OutcomeRecord| it.step.tags == not_looked_up && (is_told(it) || may_be_warned(it));
    if !policy.tag_keys.is_empty() {
        let needy = outcomes.iter().filter(|it| needs_tags(it));
        let targets: BTreeSet<_> = needy.map(|it| Arc::clone(&it.step.session.target)).collect();
        let of_targets = targets.iter().map(|it| &**it).collect();
        let (tags, problems) = look_up(ssm, scope, policy, of_targets, budget.first_of(4)).await;
        for error in problems {
            sinks.emit(&Event::TagLookUpFailed { error: &error.to_string() });
        }
        for it in outcomes.iter_mut().filter(|it| it.step.tags == not_looked_up) {
            if let Some(tags) = tags.get(&*it.step.session.target) {
                it.step.tags.clone_from(tags);
            }
        }
    }
    let evaluator = Evaluator::new(policy, now).at(scope).typed(types);
    let warning = |it: &OutcomeRecord| {
        let step = &it.step;
        let alone = Evaluated::alone(step.session.clone(), step.tags.clone(), step.verdict.clone());
        Some(ExpiryWarning::new(it, now, evaluator.warning(&alone, period)?))
    };
    outcomes.iter().filter(|it| may_be_warned(it)).filter_map(warning).collect()
}
