//! Commands of the AWS CLI that revoke owners' credentials.

use std::{collections::BTreeSet, sync::Arc};

use jiff::Timestamp;
use reaper_core::{
    pattern::{OwnerPattern, short_owner},
    policy::sha256,
    printable::{printable, printable_json},
};
use serde_json::{Value, json};

/// The commands for these patterns, and notes on what they leave out. IAM takes names only, so a
/// pattern is replaced by the ARNs of the owners that were seen.
pub(super) fn revocations(
    patterns: &[OwnerPattern],
    seen: &BTreeSet<Arc<str>>,
    now: Timestamp,
) -> String {
    let mut commands: Vec<String> = Vec::new();
    for pattern in patterns {
        let text = pattern.to_string();
        let (kind, name, session) = parts(&text);
        let is_arn = text.starts_with("arn:");
        if !is_arn && !name.contains(['*', '?']) {
            commands.push(revocation(kind, name, session, now));
            continue;
        }
        let owners = seen.iter().filter(|it| pattern.is_match(it)).map(|it| short_owner(it));
        commands.extend(owners.map(|owner| {
            let (kind, name, own) = parts(&owner);
            // Of a role, all sessions that the pattern matches, not only those that were seen.
            revocation(kind, name, if is_arn { own } else { session }, now)
        }));
        commands.push(format!(
            "# `{}` also matches owners of which no session was seen: no command can be printed \
             for them.",
            printable(&text)
        ));
    }
    let mut printed = BTreeSet::new();
    commands.retain(|it| printed.insert(it.clone()));
    commands.join("\n")
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
    let started_until_now = || {
        policy(Some(json!({
            "DateLessThan": {"aws:TokenIssueTime": format!("{now:.0}")},
            "StringLike": {"aws:userid": format!("*:{session}")},
        })))
    };
    let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
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
            "# Add this statement to the inline policy of the permission set {}, and \
             provision it: {}\n\
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

#[cfg(test)]
mod tests {
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
