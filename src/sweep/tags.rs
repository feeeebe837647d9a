//! Looks up the tags of targets, as few as the verdicts need.

use std::{
    collections::{BTreeMap, BTreeSet},
    iter,
};

use crate::{
    Budget,
    aws::{CallError, MAX_ARNS, Ssm, Tagged},
};
use reaper_core::{
    policy::Policy,
    target::{Scope, Tags, Unknown},
};

/// What is known of each of these targets' tags, and what went wrong on the way.
///
/// Only the policy's tag keys are kept. A look-up that fails, or whose answer contradicts itself,
/// leaves its targets unknown, whatever the policy assumes of those that are not returned.
pub async fn look_up<'t>(
    ssm: &Ssm,
    scope: Option<&Scope>,
    policy: &Policy,
    targets: BTreeSet<&'t str>,
    budget: Budget,
) -> (BTreeMap<&'t str, Tags>, Vec<CallError>) {
    let mut known = Vec::with_capacity(targets.len());
    let mut problems = Vec::new();
    let mut with_arns: Vec<(String, &str)> = Vec::with_capacity(targets.len());
    for target in targets {
        match scope.and_then(|it| it.target_arn(target)) {
            Some(arn) => with_arns.push((arn, target)),
            None => known.push((target, Tags::Unknown(Unknown::TagsNoArn))),
        }
    }
    with_arns.sort_unstable();
    // The containers of one ECS task share its ARN.
    let by_arn: Vec<_> = with_arns.chunk_by(|(a, _), (b, _)| a == b).collect();
    for batch in by_arn.chunks(MAX_ARNS) {
        let arns: Vec<_> = batch.iter().filter_map(|it| it.first()).map(|it| &*it.0).collect();
        let answer = ssm.tags(&arns, budget).await;
        problems.extend(answer.as_ref().err().cloned());
        let answer = answer.unwrap_or_default().into_iter().chain(iter::repeat(Tagged::Ambiguous));
        for (of_arn, tagged) in batch.iter().zip(answer) {
            let tags = match tagged {
                Tagged::With(tags) => Tags::Known(relevant(policy, tags).into()),
                Tagged::NotReturned => Tags::Unknown(Unknown::TagsNotReturned),
                Tagged::Ambiguous => Tags::Unknown(Unknown::TagsLookupFailed),
            };
            known.extend(of_arn.iter().map(|(_, target)| (*target, tags.clone())));
        }
    }
    (known.into_iter().collect(), problems)
}

fn relevant(policy: &Policy, mut tags: BTreeMap<String, String>) -> BTreeMap<String, String> {
    tags.retain(|key, _| policy.tag_keys.contains(key));
    tags
}
