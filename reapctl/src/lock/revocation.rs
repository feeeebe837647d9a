//! Commands of the AWS CLI that revoke owners' credentials.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use reaper_core::{
    pattern::{OwnerPattern, short_owner},
    policy::sha256,
    printable::{printable, printable_json},
};
use serde_json::{Value, json};

use crate::lock::rounds::Seen;

/// The commands for these patterns, and notes on what they leave out. IAM takes names only, so a
/// pattern is replaced by the ARNs of the owners that were seen.
pub(super) fn revocations(patterns: &[OwnerPattern], seen: &Seen, now: Timestamp) -> String {
    let mut commands: Vec<String> = Vec::new();
    for pattern in patterns {
        commands.extend(commands_for(pattern, seen, now));
        commands.extend(note_of(pattern));
    }
    let mut printed = BTreeSet::new();
    commands.retain(|it| printed.insert(it.clone()));
    commands.join("\n")
}

/// The commands for one pattern.
fn commands_for(pattern: &OwnerPattern, seen: &Seen, now: Timestamp) -> Vec<String> {
    let text = pattern.to_string();
    let (kind, name, session) = parts(&text);
    if !is_open(&text) {
        return vec![revocation(kind, name, session, now)];
    }
    let is_arn = text.starts_with("arn:");
    let owners = seen.iter().filter(|it| pattern.is_match(it)).map(|it| short_owner(it));
    let command = |owner: String| {
        let (kind, name, own) = parts(&owner);
        // Of a role, all sessions that the pattern matches, not only those that were seen.
        revocation(kind, name, if is_arn { own } else { session }, now)
    };
    owners.map(command).collect()
}

/// What the commands for one pattern leave out.
fn note_of(pattern: &OwnerPattern) -> Option<String> {
    let text = pattern.to_string();
    is_open(&text).then(|| {
        format!(
            "# `{}` also matches owners of which no session was seen: no command can be printed \
             for them.",
            printable(&text)
        )
    })
}

/// Whether a pattern matches more than the one name that it has.
fn is_open(pattern: &str) -> bool {
    pattern.starts_with("arn:") || parts(pattern).1.contains(['*', '?'])
}

/// The commands for many accounts: one for all of them at once, those of Identity Center, and those of
/// each account in which such an owner was seen.
pub(super) fn revocations_everywhere(
    patterns: &[OwnerPattern],
    seen: &BTreeMap<String, Seen>,
    now: Timestamp,
) -> String {
    let all_seen: Seen = seen.values().flatten().cloned().collect();
    let mut lines = Vec::new();
    let statements = statements(patterns, &all_seen, now);
    if !statements.is_empty() {
        lines.extend(service_control_policy(&statements));
    }
    let all = patterns.iter().flat_map(|it| commands_for(it, &all_seen, now));
    let central: BTreeSet<_> = all.filter(|it| it.starts_with(PERMISSION_SET)).collect();
    if !central.is_empty() {
        lines.push("\n# Once, in the account of Identity Center:".into());
        lines.extend(central);
    }
    for (account, seen) in seen.iter().filter(|(_, seen)| !seen.is_empty()) {
        let owners = seen.iter().map(|it| (short_owner(it), it));
        let commands: BTreeSet<String> = owners
            .filter(|(short, _)| parts(short).0 != "permission-set")
            .map(|(short, arn)| {
                let (kind, name, own) = parts(&short);
                revocation(kind, name, session_of(patterns, arn).as_deref().unwrap_or(own), now)
            })
            .collect();
        if !commands.is_empty() {
            lines.push(format!("\n# In the account {account}:"));
            lines.extend(commands);
        }
    }
    lines.join("\n")
}

/// The pattern of a role's sessions by which an owner is locked, if it is not locked by its ARN.
fn session_of(patterns: &[OwnerPattern], owner: &str) -> Option<String> {
    let pattern = patterns.iter().find(|it| it.is_match(owner))?.to_string();
    (!pattern.starts_with("arn:")).then(|| parts(&pattern).2.to_owned())
}

/// The commands that deny all of this in every account of the organization.
fn service_control_policy(statements: &[Value]) -> Vec<String> {
    let policy = json!({"Version": "2012-10-17", "Statement": statements});
    let document = printable_json(policy.to_string());
    let hash = sha256(&document);
    let mut lines = vec![
        "# Once, for every account but the management account: a service control policy.".into(),
        format!(
            "aws organizations create-policy --type SERVICE_CONTROL_POLICY --name \
             session-reaper-lock-{} --description 'An incident: denies everything to some owners of \
             sessions' --content {}",
            &hash[..8],
            quoted(&document)
        ),
        "aws organizations attach-policy --policy-id POLICY_ID --target-id ROOT_ID".into(),
    ];
    if MAX_SERVICE_CONTROL_POLICY < document.len() {
        lines.push(format!(
            "# It has {} characters, and AWS allows {MAX_SERVICE_CONTROL_POLICY}: divide its statements \
             among several policies.",
            document.len()
        ));
    }
    lines
}

/// The most characters of a service control policy.
const MAX_SERVICE_CONTROL_POLICY: usize = 5_120;

/// What denies everything to these owners, in whatever account. IAM's conditions take patterns, so that
/// owners are denied as well of which no session was seen.
fn statements(patterns: &[OwnerPattern], seen: &Seen, now: Timestamp) -> Vec<Value> {
    let mut statements: Vec<Value> = Vec::new();
    for pattern in patterns {
        let text = pattern.to_string();
        let owners: Vec<String> = if text.starts_with("arn:") {
            seen.iter().filter(|it| pattern.is_match(it)).map(|it| short_owner(it)).collect()
        } else {
            vec![text]
        };
        for owner in owners {
            let statement = statement(&owner, now);
            statements.extend(statement.filter(|it| !statements.contains(it)));
        }
    }
    statements
}

fn statement(owner: &str, now: Timestamp) -> Option<Value> {
    let (kind, name, session) = parts(owner);
    let last = name.rsplit('/').next().unwrap_or_default();
    let resources = match kind {
        "role" => vec![format!("role/{name}"), format!("role/*/{name}")],
        // The end of its roles' names is 16 hexadecimal digits.
        "permission-set" => {
            vec![format!("role/aws-reserved/sso.amazonaws.com/*AWSReservedSSO_{name}_{:?<16}", "")]
        }
        "user" => vec![format!("user/{last}"), format!("user/*/{last}")],
        "root" => vec!["root".into()],
        _ => return None,
    };
    let arns: Vec<_> = resources.iter().map(|it| format!("arn:*:iam::*:{it}")).collect();
    let mut condition = json!({"ArnLike": {"aws:PrincipalArn": arns}});
    if let (Some(condition), "role" | "permission-set") = (condition.as_object_mut(), kind)
        && let Some(until_now) = started_until(now, session).as_object()
    {
        condition.extend(until_now.clone());
    }
    Some(json!({"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": condition}))
}

/// An owner's kind, its name, and its sessions.
fn parts(owner: &str) -> (&str, &str, &str) {
    let (kind, rest) = owner.split_once('/').unwrap_or((owner, ""));
    match (kind, rest.split_once('/')) {
        ("role" | "permission-set", Some((name, session))) => (kind, name, session),
        _ => (kind, rest, "*"),
    }
}

fn revocation(kind: &str, name: &str, session: &str, now: Timestamp) -> String {
    let policy = |condition: Option<Value>| {
        let mut statement = json!({"Effect": "Deny", "Action": "*", "Resource": "*"});
        if let (Some(statement), Some(condition)) = (statement.as_object_mut(), condition) {
            statement.insert("Condition".into(), condition);
        }
        json!({"Version": "2012-10-17", "Statement": [statement]})
    };
    let started_until_now = || policy(Some(started_until(now, session)));
    // Two denials of one role must not replace each other.
    let put = |kind: &str, name: &str, policy: Value| {
        let document = printable_json(policy.to_string());
        let hash = sha256(&document);
        format!(
            "aws iam put-{kind}-policy --{kind}-name={} --policy-name session-reaper-lock-{} \
             --policy-document {}",
            quoted(&printable(name)),
            &hash[..8],
            quoted(&document)
        )
    };
    match kind {
        "role" => put("role", name, started_until_now()),
        "permission-set" => format!(
            "{PERMISSION_SET}{}, and provision it: {}\n\
             aws sso-admin provision-permission-set --instance-arn INSTANCE_ARN \
             --permission-set-arn PERMISSION_SET_ARN --target-type ALL_PROVISIONED_ACCOUNTS",
            printable(name),
            printable_json(started_until_now().to_string())
        ),
        "user" => put("user", name.rsplit('/').next().unwrap_or_default(), policy(None)),
        "root" => "# The root user: change its password, and delete its access keys.".into(),
        _ => {
            let name = if name.is_empty() { String::new() } else { format!("/{name}") };
            format!(
                "# {}: revoke the credentials with which its sessions were started.",
                printable(&format!("{kind}{name}"))
            )
        }
    }
}

/// How the line on a permission set begins.
const PERMISSION_SET: &str = "# Add this statement to the inline policy of the permission set ";

/// The condition of a role's sessions that were started until now.
fn started_until(now: Timestamp, session: &str) -> Value {
    json!({
        "DateLessThan": {"aws:TokenIssueTime": format!("{now:.0}")},
        "StringLike": {"aws:userid": format!("*:{session}")},
    })
}

/// A word of the shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// A command contains no pattern: it is replaced by the owners that were seen, and a note says what
    /// is left out. Only the session part of a role is a pattern, in IAM's condition.
    #[test]
    fn patterns_become_owners_seen() {
        let arn = |it: &str| -> Arc<str> { format!("arn:aws:{it}").into() };
        let seen = BTreeSet::from([
            arn("iam::123456789012:user/lena"),
            arn("iam::123456789012:user/ops/jo"),
            arn("sts::123456789012:assumed-role/sre-a/lena"),
            arn("sts::123456789012:assumed-role/sre-b/jo"),
            arn("sts::123456789012:assumed-role/AWSReservedSSO_Ops_0123456789abcdef/ann"),
        ]);
        for (pattern, names, is_open) in [
            ("user/*", &["--user-name='lena'", "--user-name='jo'"][..], true),
            ("user/ops/*", &["--user-name='jo'"], true),
            ("user/max", &["--user-name='max'"], false),
            ("user/m*", &[], true),
            ("role/sre-?/le*", &["--role-name='sre-a'"], true),
            ("role/sre-b/*", &["--role-name='sre-b'"], false),
            (
                "arn:aws:sts::*:assumed-role/sre-*",
                &["--role-name='sre-a'", "--role-name='sre-b'"],
                true,
            ),
            ("permission-set/*", &["permission set Ops,"], true),
            ("root", &["root user"], false),
        ] {
            let owner: OwnerPattern = pattern.parse().expect(pattern);
            let text = revocations(&[owner], &seen, Timestamp::UNIX_EPOCH);
            let (left_out, commands): (Vec<_>, Vec<_>) = text
                .lines()
                .filter(|it| !it.starts_with("aws sso-admin"))
                .partition(|it| it.contains("no session was seen"));
            assert_eq!(left_out.len(), usize::from(is_open), "{pattern}: {text}");
            assert_eq!(commands.len(), names.len(), "{pattern}: {text}");
            for name in names {
                assert!(commands.iter().any(|it| it.contains(name)), "{pattern}: {text}");
            }
        }
    }

    /// A name that was seen is one word of the shell, whatever it has.
    #[test]
    fn names_seen_are_quoted() {
        let seen = [
            "arn:aws:iam::123456789012:user/o'brien;$(id)",
            "arn:aws:sts::123456789012:assumed-role/dev/o'brien",
        ];
        let seen: BTreeSet<Arc<str>> = seen.into_iter().map(Into::into).collect();
        for (pattern, expected) in [
            ("user/*", r"aws iam put-user-policy --user-name='o'\''brien;$(id)' --policy-name "),
            ("arn:aws:sts::*:assumed-role/*", r#"{"aws:userid":"*:o'\''brien"}"#),
        ] {
            let owner: OwnerPattern = pattern.parse().expect(pattern);
            let text = revocations(&[owner], &seen, Timestamp::UNIX_EPOCH);
            assert!(text.contains(expected), "{pattern}: {text}");
        }
    }
}
