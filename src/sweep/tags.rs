//! Looks up the tags of targets, as few as the verdicts need.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    Budget,
    aws::{CallError, MAX_ARNS, Ssm},
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
    let mut known = BTreeMap::new();
    let mut problems = Vec::new();
    // The containers of one ECS task share its ARN.
    let mut targets_of: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for target in targets {
        match scope.and_then(|it| it.target_arn(target)) {
            Some(arn) => targets_of.entry(arn).or_default().push(target),
            None => drop(known.insert(target, Tags::Unknown(Unknown::TagsNoArn))),
        }
    }
    let arns: Vec<&String> = targets_of.keys().collect();
    for batch in arns.chunks(MAX_ARNS) {
        let mut answer = ssm.tags(batch.iter().map(|it| (*it).clone()).collect(), budget).await;
        if let Err(err) = &answer {
            problems.push(err.clone());
        }
        for arn in batch {
            let tags = match &mut answer {
                Ok(answer) => match (answer.tags.remove(*arn), answer.is_all) {
                    (Some(Some(tags)), _) => Tags::Known(relevant(policy, tags).into()),
                    (None, true) => Tags::Unknown(Unknown::TagsNotReturned),
                    (Some(None), _) | (None, false) => Tags::Unknown(Unknown::TagsLookupFailed),
                },
                Err(_) => Tags::Unknown(Unknown::TagsLookupFailed),
            };
            for target in targets_of.get(*arn).into_iter().flatten() {
                known.insert(*target, tags.clone());
            }
        }
    }
    (known, problems)
}

fn relevant(policy: &Policy, mut tags: BTreeMap<String, String>) -> BTreeMap<String, String> {
    tags.retain(|key, _| policy.tag_keys.contains(key));
    tags
}
