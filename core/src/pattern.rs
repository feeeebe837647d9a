//! Patterns of the policy: IAM's globs, and what an owner is matched by.

use std::{fmt, str::FromStr};

use wildmatch::WildMatch;

use crate::{
    alphabet::{Names, stray, too_long},
    arn::Arn,
};

/// A glob as in IAM: `*` matches any characters, including `/` and `:`, and `?` matches one.
/// Case-sensitive; there are no escapes.
#[derive(Clone, Debug)]
pub struct Glob {
    /// The text before the first wildcard. It rules out most owners that do not match, and this runs
    /// for every pattern and session.
    head: Box<str>,
    tail: Tail,
    whole: WildMatch,
}

/// What follows the text before the first wildcard.
#[derive(Clone, Copy, Debug)]
enum Tail {
    /// `*` alone.
    Any,
    /// Nothing: there is no wildcard.
    None,
    Other,
}

impl Glob {
    /// Every text is a valid glob.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let head = text.split(['*', '?']).next().unwrap_or_default();
        let tail = match text.strip_prefix(head) {
            Some("*") => Tail::Any,
            Some("") => Tail::None,
            Some(_) | None => Tail::Other,
        };
        Self { head: head.into(), tail, whole: WildMatch::new(text) }
    }

    /// Whether the whole text matches.
    #[must_use]
    pub fn is_match(&self, text: &str) -> bool {
        text.starts_with(&*self.head)
            && match self.tail {
                Tail::Any => true,
                Tail::None => text.len() == self.head.len(),
                Tail::Other => self.whole.matches(text),
            }
    }
}

impl fmt::Display for Glob {
    /// The glob's text; consecutive `*` become one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.whole.fmt(f)
    }
}

/// IAM's names: of roles, users, permission sets and sessions. The `/` is between them.
pub(crate) const OWNERS: Names = Names { what: "owner", punctuation: "+=,.@_/-", max: 256 };

/// The same within an ARN.
pub(crate) const OWNER_ARNS: Names = Names { what: "owner", punctuation: "+=,.@_/:-", max: 256 };

/// The most characters of a role's name, of its session's, and of a user's without the path.
pub(crate) const MAX_NAME: usize = 64;

/// The owners that a policy names. Each variant is one line of the policy reference.
#[derive(Clone, Debug)]
pub enum OwnerPattern {
    /// `arn:…`: a glob over the whole ARN.
    Arn(Glob),
    /// `federated-user/NAME`.
    FederatedUser(Glob),
    /// `permission-set/NAME[/USER]`: a role that IAM Identity Center created, and its user.
    PermissionSet(Glob, Option<Glob>),
    /// `role/NAME[/SESSION-NAME]`: sessions of the role. The role's path is not part of an owner.
    Role(Glob, Option<Glob>),
    /// `root`: the account's root user.
    Root,
    /// `user/NAME`, whatever the user's path: names are unique in an account.
    User(Glob),
    /// `user/PATH/NAME`.
    UserWithPath(Glob),
}

impl fmt::Display for OwnerPattern {
    /// As it is written in a policy.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Arn(glob) => glob.fmt(f),
            Self::FederatedUser(name) => write!(f, "federated-user/{name}"),
            Self::PermissionSet(name, None) => write!(f, "permission-set/{name}"),
            Self::PermissionSet(name, Some(user)) => write!(f, "permission-set/{name}/{user}"),
            Self::Role(name, None) => write!(f, "role/{name}"),
            Self::Role(name, Some(session)) => write!(f, "role/{name}/{session}"),
            Self::Root => f.write_str("root"),
            Self::User(name) | Self::UserWithPath(name) => write!(f, "user/{name}"),
        }
    }
}

/// An owner, read once for all the patterns that it is compared with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner<'a> {
    arn: &'a str,
    principal: Principal<'a>,
}

impl<'a> Owner<'a> {
    /// The owner that this ARN names.
    pub(crate) fn of(arn: &'a str) -> Self {
        Self { arn, principal: Principal::of(arn) }
    }
}

/// The parts of an owner's ARN.
#[derive(Clone, Copy, Debug)]
enum Principal<'a> {
    FederatedUser(&'a str),
    Other,
    Role { name: &'a str, session: &'a str },
    Root,
    User(&'a str),
}

impl<'a> Principal<'a> {
    /// Accepts an ARN without `arn:`, because one of AWS's examples has such an owner.
    fn of(owner: &'a str) -> Self {
        let Some(arn) = Arn::fields(owner.strip_prefix("arn:").unwrap_or(owner)) else {
            return Self::Other;
        };
        match (arn.service, arn.resource.split_once('/')) {
            ("iam", None) if arn.resource == "root" => Self::Root,
            ("iam", Some(("user", name))) => Self::User(name),
            ("sts", Some(("federated-user", name))) => Self::FederatedUser(name),
            ("sts", Some(("assumed-role", rest))) => match rest.split_once('/') {
                Some((name, session)) => Self::Role { name, session },
                None => Self::Other,
            },
            _ => Self::Other,
        }
    }
}

/// An owner as a policy names it, such as `role/sre/jane`; its ARN if there is no short form.
#[must_use]
pub fn short_owner(owner: &str) -> String {
    match Principal::of(owner) {
        Principal::FederatedUser(name) => format!("federated-user/{name}"),
        Principal::Other => owner.into(),
        Principal::Role { name, session } => match permission_set(name) {
            Some(name) => format!("permission-set/{name}/{session}"),
            None => format!("role/{name}/{session}"),
        },
        Principal::Root => "root".into(),
        Principal::User(name) => format!("user/{name}"),
    }
}

/// The permission set of a role's name: `AWSReservedSSO_NAME_` and 16 hexadecimal digits.
fn permission_set(role: &str) -> Option<&str> {
    let (name, suffix) = role.strip_prefix("AWSReservedSSO_")?.rsplit_once('_')?;
    let is_suffix = suffix.len() == 16 && suffix.bytes().all(|it| it.is_ascii_hexdigit());
    is_suffix.then_some(name)
}

impl OwnerPattern {
    /// Whether the pattern matches this owner, given by its ARN.
    #[must_use]
    pub fn is_match(&self, owner: &str) -> bool {
        Self::any_is_match(std::slice::from_ref(self), owner)
    }

    /// Whether one or more of these patterns match this owner.
    #[must_use]
    pub fn any_is_match(patterns: &[Self], owner: &str) -> bool {
        Self::any_means(patterns, &Owner::of(owner))
    }

    pub(crate) fn any_means(patterns: &[Self], owner: &Owner<'_>) -> bool {
        let means = |it: &Self| {
            if let Self::Arn(glob) = it {
                glob.is_match(owner.arn)
            } else {
                it.means(&owner.principal)
            }
        };
        patterns.iter().any(means)
    }

    fn means(&self, principal: &Principal<'_>) -> bool {
        let matches_pair = |(name, second): (&Glob, &Option<Glob>), actual: &str, session: &str| {
            name.is_match(actual) && second.as_ref().is_none_or(|it| it.is_match(session))
        };
        match (self, principal) {
            (Self::FederatedUser(glob), Principal::FederatedUser(name))
            | (Self::UserWithPath(glob), Principal::User(name)) => glob.is_match(name),
            (Self::PermissionSet(name, user), Principal::Role { name: role, session }) => {
                permission_set(role).is_some_and(|it| matches_pair((name, user), it, session))
            }
            (Self::Role(name, second), Principal::Role { name: role, session }) => {
                matches_pair((name, second), role, session)
            }
            (Self::Root, Principal::Root) => true,
            (Self::User(glob), Principal::User(name)) => {
                glob.is_match(name.rsplit_once('/').map_or(name, |(_path, name)| name))
            }
            _ => false,
        }
    }
}

impl FromStr for OwnerPattern {
    /// The error says what is wrong with the pattern, and what to write.
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "root" {
            return Ok(Self::Root);
        }
        let is_arn = text.starts_with("arn:");
        let names = if is_arn { &OWNER_ARNS } else { &OWNERS };
        if let Some(why) = stray(text, names) {
            return Err(why);
        }
        if is_arn {
            return match never_an_owner(text) {
                Some(why) => Err(format!("`{text}` matches no owner: {why}")),
                None => Ok(Self::Arn(Glob::new(text))),
            };
        }
        let pair = |text: &str| match text.split_once('/') {
            Some((name, second)) => (Glob::new(name), Some(Glob::new(second))),
            None => (Glob::new(text), None),
        };
        let (kind, name) = text.split_once('/').unwrap_or((text, ""));
        if kind == "role" && name.starts_with("aws-reserved/") {
            return Err(format!(
                "`{text}` has a role's path, which is no part of an owner; write \
                 `permission-set/NAME`, or `role/AWSReservedSSO_NAME_*`"
            ));
        }
        if kind == "role" && (name.starts_with("service-role/") || 1 < name.matches('/').count()) {
            return Err(format!(
                "`{text}` has a role's path, which is no part of an owner; write `role/NAME` or \
                 `role/NAME/SESSION-NAME`"
            ));
        }
        let max_slashes = match kind {
            "user" => usize::MAX,
            "federated-user" => 0,
            _ => 1,
        };
        if name.split('/').any(str::is_empty) || max_slashes < name.matches('/').count() {
            return Err(match kind {
                "role" => format!("`{text}` must be `role/NAME` or `role/NAME/SESSION-NAME`"),
                "permission-set" => {
                    format!("`{text}` must be `permission-set/NAME` or `permission-set/NAME/USER`")
                }
                "user" => format!("`{text}` must be `user/NAME` or `user/PATH/NAME`"),
                "federated-user" => format!("`{text}` must be `federated-user/NAME`"),
                _ => unknown_form(text),
            });
        }
        // A user's path may be longer.
        let n_names = if kind == "user" { 1 } else { 2 };
        let mut last = name.rsplit('/').take(n_names);
        if let Some(why) = last.find_map(|it| too_long(it, "owner", MAX_NAME)) {
            return Err(why);
        }
        match kind {
            "federated-user" => Ok(Self::FederatedUser(Glob::new(name))),
            "permission-set" => {
                let (name, user) = pair(name);
                Ok(Self::PermissionSet(name, user))
            }
            "role" => {
                let (name, session) = pair(name);
                Ok(Self::Role(name, session))
            }
            "user" if name.contains('/') => Ok(Self::UserWithPath(Glob::new(name))),
            "user" => Ok(Self::User(Glob::new(name))),
            _ => Err(unknown_form(text)),
        }
    }
}

/// Why no owner's ARN can match this glob, if that is certain.
///
/// The JSON Schema has the same as a regular expression.
fn never_an_owner(arn: &str) -> Option<&'static str> {
    if arn.contains(":role/") {
        return Some(
            "an owner is never a role's own ARN; write `role/NAME`, or \
             `arn:aws:sts::ACCOUNT:assumed-role/NAME/*`",
        );
    }
    let is_glob = |it: &str| it.contains(['*', '?']);
    let Some(Arn { service, region, account, resource, .. }) = Arn::parse(arn) else {
        // A `*` may stand for several of the parts.
        let whole = "an ARN is `arn:PARTITION:SERVICE:REGION:ACCOUNT:RESOURCE`";
        return (!is_glob(arn)).then_some(whole);
    };
    let (kind, name) = resource.split_once('/').unwrap_or((resource, ""));
    let has_name = resource.contains('/');
    let why = match (service, kind) {
        ("sts", "assumed-role") if !is_glob(name) => match name.split_once('/') {
            Some((role, session))
                if !role.is_empty() && !session.is_empty() && !session.contains('/') =>
            {
                None
            }
            _ => Some(
                "an assumed role's ARN has its name, without a path, and a session name; write \
                 `…:assumed-role/NAME/*`",
            ),
        },
        ("iam", "user") | ("sts", "federated-user") if name.is_empty() => {
            Some("the name is missing")
        }
        ("iam", "root") if !has_name => None,
        ("iam", "user") | ("sts", "assumed-role" | "federated-user") => None,
        (service, _) if is_glob(service) => None,
        ("iam" | "sts", kind) if is_glob(kind) => None,
        _ => Some(
            "an owner is `arn:…:iam::…:user/…`, `arn:…:iam::…:root`, `arn:…:sts::…:assumed-role/…` \
             or `arn:…:sts::…:federated-user/…`",
        ),
    };
    let is_account = |it: u8| it.is_ascii_digit() || b"*?".contains(&it);
    if why.is_some() {
        why
    } else if !region.bytes().all(|it| it == b'*') {
        Some("an owner's ARN has no Region; write `arn:aws:sts::ACCOUNT:…`")
    } else if !account.bytes().all(is_account) || (!is_glob(account) && account.len() != 12) {
        Some("an account has 12 digits; write `*` for any")
    } else {
        None
    }
}

fn unknown_form(text: &str) -> String {
    format!(
        "`{text}` has no known form; an owner is `role/NAME`, `permission-set/NAME`, \
         `user/NAME`, `federated-user/NAME`, `root`, or a whole `arn:…`"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::printable::printable;

    #[test]
    #[rustfmt::skip]
    fn globs_are_iams() {
        let table = [
            ("*", "", true), ("*", "a/b:c", true), ("a*", "a", true), ("a*c", "a/b:c", true),
            ("a*c", "a/b:cd", false), ("?", "é", true), ("?", "", false), ("??", "a", false),
            ("A*", "a", false), ("", "", true), ("", "a", false), ("*b", "a", false),
            ("*a*b", "xaxb", true), ("a.c", "abc", false), ("[a]", "a", false), ("**a", "a", true),
        ];
        for (glob, text, expected) in table {
            assert_eq!(Glob::new(glob).is_match(text), expected, "{glob} on {text}");
        }
    }

    const ROLE: &str = "arn:aws:sts::123456789012:assumed-role/sre-oncall/jane";
    const SSO: &str = "arn:aws-us-gov:sts::123456789012:assumed-role/AWSReservedSSO_Pay_Ops_2b03e7d876722882/j@x.org";
    const SHORT: &str = "arn:aws:sts::123456789012:assumed-role/AWSReservedSSO_Ops_2b03/jane";
    const NOT_HEX: &str =
        "arn:aws:sts::123456789012:assumed-role/AWSReservedSSO_Ops_no-hexadecimal-x/jane";
    const USER: &str = "arn:aws:iam::123456789012:user/team/x/jane";
    const TYPO: &str = "aws:iam::123456789012:user/bob"; // As in one of AWS's examples.
    const ROOT: &str = "arn:aws:iam::123456789012:root";
    const FEDERATED: &str = "arn:aws:sts::123456789012:federated-user/jane";

    #[test]
    #[rustfmt::skip]
    fn owners() {
        let table = [
            ("role/sre-*",                      ROLE,      true),
            ("role/sre-oncall/jane",            ROLE,      true),
            ("role/sre-oncall/bob",             ROLE,      false),
            ("role/sre",                        ROLE,      false),
            ("role/*",                          USER,      false),
            ("role/AWSReservedSSO_*",           SSO,       true),
            ("permission-set/Pay_Ops",          SSO,       true),
            ("permission-set/Pay_Ops/*@x.org",  SSO,       true),
            ("permission-set/Pay_Ops/*@y.org",  SSO,       false),
            ("permission-set/Pay",              SSO,       false),
            ("permission-set/*",                ROLE,      false),
            ("permission-set/*",                SHORT,     false), // No suffix of IAM Identity Center's.
            ("permission-set/*",                NOT_HEX,   false),
            ("user/jane",                       USER,      true),
            ("user/team/x/jane",                USER,      true),
            ("user/team/*",                     USER,      true),
            ("user/x/jane",                     USER,      false),
            ("user/team",                       USER,      false),
            ("user/bob",                        TYPO,      true),
            ("user/jane",                       FEDERATED, false),
            ("federated-user/j*",               FEDERATED, true),
            ("root",                            ROOT,      true),
            ("root",                            USER,      false),
            ("root",                            "arn:aws:iam::123456789012:rooted", false),
            ("arn:aws:sts::*:assumed-role/sre-*/jane", ROLE, true),
            ("arn:aws:*",                       SSO,       false),
            ("arn:*",                           SSO,       true),
            ("arn:*:assumed-role/sre-*",        ROLE,      true),
            ("arn:aws:sts::*:assumed-role/sre-*", ROLE,    true), // `*` spans `/`.
            ("arn:aws:iam::*:root",             ROOT,      true),
            ("arn:aws:*::*:user/*",             USER,      true), // Any service …
            ("arn:aws:iam::*:us*/*",            USER,      true), // … or kind of owner.
            ("arn:aws:sts::*:assumed-role/sre-oncall?jane", ROLE, true), // `?` may be `/` …
            ("arn:aws:iam::123456789012?root",  ROOT,      true), // … or `:`.
            ("role/sre-*",                      "",        false),
            ("role/*",                          "arn:aws:iam::123456789012:assumed-role/x/y", false),
        ];
        for (pattern, owner, expected) in table {
            let parsed: OwnerPattern = pattern.parse().expect(pattern);
            assert_eq!(parsed.is_match(owner), expected, "{pattern} on {owner}");
            assert_eq!(parsed.to_string(), pattern);
        }
    }

    #[test]
    fn short_owner_matches() {
        for (owner, expected) in [
            (ROLE, "role/sre-oncall/jane"),
            (SSO, "permission-set/Pay_Ops/j@x.org"),
            (USER, "user/team/x/jane"),
            (ROOT, "root"),
            (FEDERATED, "federated-user/jane"),
        ] {
            let short = short_owner(owner);
            assert_eq!(short, expected);
            assert!(short.parse::<OwnerPattern>().expect(&short).is_match(owner), "{short}");
        }
        assert_eq!(short_owner("ecs.amazonaws.com"), "ecs.amazonaws.com");
    }

    #[test]
    #[rustfmt::skip]
    fn impossible_patterns() {
        let (kinds, role) = ("has no known form", "must be `role/NAME` or");
        let (path, own) = ("has a role's path", "never a role's own ARN; write `role/NAME`");
        let (whole, owners) = ("an ARN is `arn:PARTITION", "an owner is `arn:…:iam::…:user/…`");
        let table = [
            ("alice", kinds), ("*", kinds), ("", kinds), ("group/x", kinds), ("group/x/y/z", kinds), ("Root", kinds),
            ("role", role), ("role/", role), ("role//x", role), ("role/a/b/c", path),
            ("role/service-role/BreakGlass", path), ("role/aws-reserved/BreakGlass", path),
            ("role/aws-reserved/sso.amazonaws.com/AWSReservedSSO_Ops_2b03e7d876722882", "write `permission-set/NAME`"),
            ("role/aws-reserved/sso.amazonaws.com/eu-west-1/AWSReservedSSO_Ops_2b03e7d876722882", "write `permission-set/NAME`"),
            ("role/{sre,ops}-*", "it has `{`; write alternatives as a list"),
            ("role/sre-[0-9]*", "it has `[`"), ("role/(a|b)", "it has `(`"), ("role/a–b", "it has `–`"),
            ("role/a\u{200b}b", "it has U+200B"), ("role/a\n", "it has a line end"), ("user/x/störung", "it has `ö`"),
            ("arn:aws:sts::*:assumed-role/{sre,ops}-*", "it has `{`"), ("user/a:b", "it has `:`"),
            ("arn:aws:sts:eu-west-1:123456789012:assumed-role/x/y", "no Region"),
            ("arn:aws:sts::12345:assumed-role/x/y", "12 digits"),
            ("arn:aws:sts::abc*:assumed-role/x/y", "12 digits"),
            ("arn:aws:iam::123456789012:root/", owners), ("arn:aws:ec2::*:*", owners),
            ("user/", "must be `user/NAME` or"), ("user/a//b", "must be `user/NAME` or"),
            ("permission-set/a/b/c", "must be `permission-set/NAME` or"),
            ("federated-user", "must be `federated-user/NAME`"),
            ("federated-user/", "must be `federated-user/NAME`"),
            ("federated-user/a/b", "must be `federated-user/NAME`"),
            ("arn:aws:iam::123456789012:role/BreakGlass", own),
            ("arn:*:role/BreakGlass", own),
            ("arn:aws:sts::123456789012:assumed-role/BreakGlass", "write `…:assumed-role/NAME/*`"),
            ("arn:aws:sts::123456789012:assumed-role/ops/BreakGlass/jane", "write `…:assumed-role/NAME/*`"),
            ("arn:aws:iam::123456789012:assumed-role/BreakGlass/*", owners),
            ("arn:aws:sts::123456789012:user/x", owners),
            ("arn:aws:iam::123456789012:root/x", owners),
            ("arn:aws:iam::123456789012:user/", "the name is missing"),
            ("arn:aws:sts::123456789012:federated-user/", "the name is missing"),
            ("arn:aws:iam::123456789012", whole), ("arn:", whole),
            ("role/x ", "it has white space"), (" user/x", "it has white space"),
        ];
        for (text, part) in table {
            let err = text.parse::<OwnerPattern>().expect_err(text);
            let quoted = format!("`{}`", printable(text));
            assert!(err.contains(&quoted) && err.contains(part), "{err}");
        }
    }
}
