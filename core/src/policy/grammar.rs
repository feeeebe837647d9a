//! What the policy's reader and its JSON Schema both go by: keys, names and bounds.
//!
//! Reader and schema take the keys of a table in its order.

use super::model::{Effect, Keep, Per};
use crate::alphabet::Names;

/// The keys of a policy.
pub(super) const POLICY: [&str; 8] =
    ["version", "tag_keys", "rules", "exemptions", "limits", "warn_before", "assume", "paused"];

/// The keys of a rule.
pub(super) const RULE: [&str; 7] =
    ["id", "description", "when", "unless", "require", "forbid", "effect"];

/// The keys of an exemption.
pub(super) const EXEMPTION: [&str; 4] = ["id", "description", "when", "until"];

/// The keys of `limits`.
pub(super) const LIMITS: [&str; 2] = ["max_terminations", "circuit_breaker"];

/// The keys of `circuit_breaker`.
pub(super) const CIRCUIT_BREAKER: [&str; 2] = ["max_percent", "min_violations"];

/// The keys of `when` and `unless`.
pub(super) const CONDITIONS: [&str; 10] = [
    "owner",
    "target",
    "target_tags",
    "document",
    "session_type",
    "status",
    "access_type",
    "reason",
    "account",
    "region",
];

/// The keys of `require`.
pub(super) const REQUIREMENTS: [&str; 9] = [
    "max_age",
    "owner",
    "target_tags",
    "document",
    "session_type",
    "access_type",
    "reason",
    "hours",
    "concurrent",
];

/// The keys of `concurrent`.
pub(super) const CONCURRENT: [&str; 3] = ["per", "at_most", "keep"];

/// What `per` may be.
pub(super) const PER: [(&str, Per); 3] =
    [("owner", Per::Owner), ("target", Per::Target), ("owner_and_target", Per::OwnerAndTarget)];

/// What `keep` may be.
pub(super) const KEEP: [(&str, Keep); 2] = [("newest", Keep::Newest), ("oldest", Keep::Oldest)];

/// What `effect` may be.
pub(super) const EFFECT: [(&str, Effect); 2] =
    [("terminate", Effect::Terminate), ("warn", Effect::Warn)];

/// The keys of `assume`: of each field that AWS may not return.
pub(super) const ASSUME: [&str; 4] = ["tags", "document", "access_type", "reason"];

/// The names of documents.
pub(super) const DOCUMENTS: Names = Names { what: "document", punctuation: "._-", max: 128 };

/// The ARNs of documents, by which those that other accounts share are named.
pub(super) const DOCUMENT_ARNS: Names = Names { what: "document", punctuation: "._:/-", max: 128 };

/// The codes of Regions, such as `eu-central-1`.
pub(super) const REGIONS: Names = Names { what: "Region", punctuation: "-", max: 64 };

/// `i-…`, `mi-…`, `ecs:CLUSTER_TASK_RUNTIME`, and kinds that are not known.
pub(super) const TARGETS: Names = Names { what: "target", punctuation: "._:/-", max: 400 };

/// The most characters of a tag's key.
pub(super) const MAX_TAG_KEY: usize = 128;

/// The most characters of a tag's value.
pub(super) const MAX_TAG_VALUE: usize = 256;

/// The most characters of a reason.
pub(super) const MAX_REASON: usize = 256;

/// More than any fleet has.
pub(super) const MAX_COUNT: u32 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Policy;

    /// The policy that fuzzing begins with is valid, and has every key.
    #[test]
    fn every_key_is_a_seed() {
        let seed = include_str!("../../../fuzz/seeds/every-key.yaml");
        assert!(Policy::parse(seed).is_ok(), "{:?}", Policy::parse(seed));
        let tables: [&[&str]; 9] = [
            &POLICY,
            &RULE,
            &EXEMPTION,
            &LIMITS,
            &CIRCUIT_BREAKER,
            &CONDITIONS,
            &REQUIREMENTS,
            &CONCURRENT,
            &ASSUME,
        ];
        for key in tables.concat() {
            assert!(
                seed.contains(&format!("{key}: ")) || seed.contains(&format!("{key}:\n")),
                "{key}"
            );
        }
    }
}
