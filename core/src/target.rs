//! What a session runs on: the target's ARN, and what is known of its tags.

use std::{collections::BTreeMap, sync::Arc};

use crate::arn::Arn;

/// The account and Region that a sweep works on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Scope {
    /// `aws`, `aws-cn`, `aws-us-gov`, …
    pub partition: String,
    /// The Region's code.
    pub region: String,
    /// The account's 12 digits.
    pub account: String,
}

impl Scope {
    /// Reads the scope from an ARN, such as a Lambda function's own.
    #[must_use]
    pub fn from_arn(arn: &str) -> Option<Self> {
        let Arn { partition, region, account, .. } = Arn::parse(arn)?;
        let is_complete = !partition.is_empty() && !region.is_empty();
        let is_account = account.len() == 12 && account.bytes().all(|it| it.is_ascii_digit());
        (is_complete && is_account).then(|| Self {
            partition: partition.into(),
            region: region.into(),
            account: account.into(),
        })
    }

    /// The ARN of a session's target, by which its tags are found.
    ///
    /// `None` for what is neither an EC2 instance (`i-`), a managed instance (`mi-`) nor an ECS
    /// task (`ecs:CLUSTER_TASK_RUNTIME`; a cluster's name may itself contain `_`). One malformed
    /// ARN would fail the look-up of a whole batch, hence the strictness.
    #[must_use]
    pub fn target_arn(&self, target: &str) -> Option<String> {
        let is_plain = |text: &str| {
            let is_plain = |it: u8| it.is_ascii_alphanumeric() || b"-_".contains(&it);
            !text.is_empty() && text.bytes().all(is_plain)
        };
        let (is_valid, service, resource) = if let Some(container) = target.strip_prefix("ecs:") {
            let mut parts = container.rsplitn(3, '_');
            let (_runtime, task, cluster) = (parts.next()?, parts.next()?, parts.next()?);
            (is_plain(task) && is_plain(cluster), "ecs", format!("task/{cluster}/{task}"))
        } else if let Some(id) = target.strip_prefix("mi-") {
            (is_plain(id) && id.len() == 17, "ssm", format!("managed-instance/{target}"))
        } else {
            let id = target.strip_prefix("i-")?;
            (is_plain(id) && [8, 17].contains(&id.len()), "ec2", format!("instance/{target}"))
        };
        let Self { partition, region, account } = self;
        let arn = Arn { partition, service, region, account, resource: &resource };
        is_valid.then(|| arn.to_string())
    }
}

/// What is known of a target's tags.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Tags {
    /// All the tags that a policy may ask for; those of a target are kept once for all its sessions.
    Known(Arc<BTreeMap<String, String>>),
    /// Nothing, for this reason.
    Unknown(Unknown),
}

/// What is not known of a session. What can still be looked up is last, so that it is greatest.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, serde::Serialize)]
#[serde(into = "&str")]
pub enum Unknown {
    /// The record has no `AccessType`, and the policy assumes none.
    AccessTypeNotReturned,
    /// How many sessions of its group are kept: some were not seen, or it is not known whether they
    /// count.
    ConcurrentNotKnown,
    /// The record has no `DocumentName`, and the policy assumes none.
    DocumentNotReturned,
    /// The record has no `Reason`, and the policy does not assume that none was given.
    ReasonNotReturned,
    /// The account and Region are not known.
    ScopeNotKnown,
    /// The document could not be read, or names no type that is known.
    SessionTypeNotKnown,
    /// The record has no `Status`.
    StatusNotReturned,
    /// The look-up failed, or there was no time for it.
    TagsLookupFailed,
    /// The target is of a kind whose ARN is not known.
    TagsNoArn,
    /// The look-up did not return the target: it is untagged, new, stopped or gone.
    TagsNotReturned,
    /// The document has not been looked up yet.
    SessionTypeNotLookedUp,
    /// They have not been looked up yet.
    TagsNotLookedUp,
}

impl From<Unknown> for &str {
    fn from(unknown: Unknown) -> Self {
        unknown.name()
    }
}

impl Unknown {
    /// Its name, as logs and reports have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AccessTypeNotReturned => "access_type_not_returned",
            Self::ConcurrentNotKnown => "concurrent_not_known",
            Self::DocumentNotReturned => "document_not_returned",
            Self::ReasonNotReturned => "reason_not_returned",
            Self::ScopeNotKnown => "scope_not_known",
            Self::SessionTypeNotKnown => "session_type_not_known",
            Self::SessionTypeNotLookedUp => "session_type_not_looked_up",
            Self::StatusNotReturned => "status_not_returned",
            Self::TagsLookupFailed => "tags_lookup_failed",
            Self::TagsNoArn => "tags_no_arn",
            Self::TagsNotLookedUp => "tags_not_looked_up",
            Self::TagsNotReturned => "tags_not_returned",
        }
    }

    /// What to write into the policy so that a verdict no longer hangs on it, if anything can.
    #[must_use]
    pub fn remedy(self) -> Option<&'static str> {
        match self {
            Self::AccessTypeNotReturned => Some(
                "AWS did not return the access type; if none means standard access, write \
                 `assume: { access_type: Standard }`",
            ),
            Self::DocumentNotReturned => Some(
                "AWS did not return the document; if none means the default one, write \
                 `assume: { document: SSM-SessionManagerRunShell }`",
            ),
            Self::ReasonNotReturned => Some(
                "AWS did not return a reason; if that means that none was given, write \
                 `assume: { reason: none }`",
            ),
            Self::SessionTypeNotKnown => Some(
                "The document's type is not known: allow `ssm:GetDocument`, or name the document in \
                 `document` as well.",
            ),
            Self::TagsNotReturned => Some(
                "AWS did not return the target's tags; tag it, or, if that means that it has none, \
                 write `assume: { tags: none }`",
            ),
            Self::TagsNoArn => Some(
                "The tags of such a target cannot be looked up, so this stays undetermined. Where the \
                 policy asks for tags, ask for the target too: `target: [\"i-*\", \"mi-*\", \"ecs:*\"]`.",
            ),
            Self::ConcurrentNotKnown
            | Self::ScopeNotKnown
            | Self::SessionTypeNotLookedUp
            | Self::StatusNotReturned
            | Self::TagsLookupFailed
            | Self::TagsNotLookedUp => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip]
    fn arns_of_targets() {
        let scope = Scope::from_arn("arn:aws-cn:lambda:cn-north-1:123456789012:function:session-reaper");
        let scope = scope.expect("an ARN");
        let table = [
            ("i-0123456789abcdef0", Some("arn:aws-cn:ec2:cn-north-1:123456789012:instance/i-0123456789abcdef0")),
            ("mi-0123456789abcdef0", Some("arn:aws-cn:ssm:cn-north-1:123456789012:managed-instance/mi-0123456789abcdef0")),
            ("ecs:my_cluster_x_fa2c_fa2c-25", Some("arn:aws-cn:ecs:cn-north-1:123456789012:task/my_cluster_x/fa2c")),
            ("ecs:fa2c_fa2c-25", None),
            ("ecs:_fa2c_fa2c-25", None),
            ("i-01234567", Some("arn:aws-cn:ec2:cn-north-1:123456789012:instance/i-01234567")),
            ("i-0123456,", None),
            ("i-0123", None),
            ("i-", None),
            ("mi-01234567", None),
            ("mi-", None),
            ("edge-device", None),
            ("", None),
        ];
        for (target, expected) in table {
            assert_eq!(scope.target_arn(target).as_deref(), expected, "{target}");
        }
    }

    #[test]
    fn what_is_no_arn_names_no_scope() {
        for text in [
            "",
            "function-arn",
            "arn:aws:lambda",
            "arn:aws:lambda:eu-west-1:123456789012",
            "arn:aws:lambda:eu-west-1:12:function:f",
            "arn:aws:lambda:eu-west-1:my-account-1:function:f",
            "arn:aws:lambda::123456789012:function:f",
            "arn::lambda:eu-west-1:123456789012:function:f",
            "urn:aws:lambda:eu-west-1:123456789012:function:f",
        ] {
            assert_eq!(Scope::from_arn(text), None, "{text}");
        }
    }
}
