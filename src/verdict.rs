//! What the policy says of one session at one instant.

use std::{collections::BTreeSet, sync::Arc};

use jiff::Timestamp;

use crate::{
    completions::completions,
    policy::{Policy, Rule},
    session::Session,
    target::{Tags, Unknown},
    truth::Truth,
};

/// What the policy says, and why.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// No rule is violated.
    Compliant,
    /// A rule is, or may be, violated, and this exemption holds.
    Exempt {
        /// The first exemption, in policy order, that is known to hold.
        by: Arc<str>,
    },
    /// It depends on what is not known.
    Undetermined {
        /// The rules that are, or may be, violated, in policy order.
        rules: Vec<Arc<str>>,
        /// What is not known.
        unknown: Unknown,
    },
    /// A rule is violated, and no exemption can hold.
    Violation {
        /// Every rule known to be violated, in policy order: the first leads. Never empty. Where it
        /// is only known that one of several is, these.
        rules: Vec<Arc<str>>,
    },
}

impl Verdict {
    /// The verdict's name, as logs and reports have it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Compliant => "compliant",
            Self::Exempt { .. } => "exempt",
            Self::Undetermined { .. } => "undetermined",
            Self::Violation { .. } => "violation",
        }
    }

    /// The ids behind the verdict: the rules, or the one exemption.
    #[must_use]
    pub fn rules(&self) -> &[Arc<str>] {
        match self {
            Self::Compliant => &[],
            Self::Exempt { by } => std::slice::from_ref(by),
            Self::Undetermined { rules, .. } | Self::Violation { rules } => rules,
        }
    }

    /// What was not known, if that decided.
    #[must_use]
    pub fn unknown(&self) -> Option<Unknown> {
        match self {
            Self::Undetermined { unknown, .. } => Some(*unknown),
            Self::Compliant | Self::Exempt { .. } | Self::Violation { .. } => None,
        }
    }
}

/// Judges one session.
///
/// With V = some rule is violated and E = some exemption holds, each true, false or unknown:
/// V false is compliant; else E true is exempt; V true and E false is a violation; anything else is
/// undetermined. So with the tags unknown, a verdict other than undetermined is the one that any
/// tags would lead to, but that it may name fewer rules.
///
/// Where tags or status are not to be had, and not only not looked up yet, every completion of them
/// is judged as well: what all agree on does not depend on them.
#[must_use]
pub fn judge(policy: &Policy, now: Timestamp, session: &Session, tags: &Tags) -> Verdict {
    let verdict = judge_by_kleene(policy, now, session, tags);
    match verdict.unknown() {
        None | Some(Unknown::TagsNotLookedUp) => verdict,
        Some(_) => agreed(policy, now, session, tags).unwrap_or(verdict),
    }
}

/// The verdict of all completions, if it is one.
///
/// Kleene's logic looks at each test by itself, and so does not see that one of two rules is
/// violated whatever the tags are, where the first is for `env: prod` and the second for all else.
/// Then the violation names the rules that every completion violates, or else those that some do.
fn agreed(policy: &Policy, now: Timestamp, session: &Session, tags: &Tags) -> Option<Verdict> {
    let is_open = |it: Truth| it == Truth::Unknown;
    let rules = policy.rules.iter().filter(|it| is_open(it.is_violated(now, session, tags)));
    let exemptions = policy.exemptions.iter().filter(|it| is_open(it.holds(now, session, tags)));
    let tests = rules.flat_map(Rule::tests).chain(exemptions.flat_map(|it| &it.when.0));
    let mut verdicts = completions(tests, session, tags)?
        .map(|(session, tags)| judge_by_kleene(policy, now, &session, &tags));
    let mut first = verdicts.next()?;
    let mut always = first.rules().to_vec();
    let mut ever: BTreeSet<Arc<str>> = always.iter().cloned().collect();
    for verdict in verdicts {
        if verdict.name() != first.name() {
            return None;
        }
        always.retain(|it| verdict.rules().contains(it));
        ever.extend(verdict.rules().iter().cloned());
    }
    if let Verdict::Violation { rules } = &mut first {
        let ids = policy.rules.iter().map(|it| &it.id);
        let some = || ids.filter(|it| ever.contains(*it)).cloned().collect();
        *rules = if always.is_empty() { some() } else { always };
    }
    Some(first)
}

fn judge_by_kleene(policy: &Policy, now: Timestamp, session: &Session, tags: &Tags) -> Verdict {
    let mut violated = Vec::new();
    let mut possible = Vec::new();
    for rule in &policy.rules {
        let truth = rule.is_violated(now, session, tags);
        if truth == Truth::True {
            violated.push(Arc::clone(&rule.id));
        }
        if truth != Truth::False {
            possible.push(Arc::clone(&rule.id));
        }
    }
    if possible.is_empty() {
        return Verdict::Compliant;
    }
    let mut exempt = Truth::False;
    for exemption in &policy.exemptions {
        match exemption.holds(now, session, tags) {
            Truth::True => return Verdict::Exempt { by: Arc::clone(&exemption.id) },
            Truth::Unknown => exempt = Truth::Unknown,
            Truth::False => {}
        }
    }
    if !violated.is_empty() && exempt == Truth::False {
        return Verdict::Violation { rules: violated };
    }
    let unknown = match tags {
        Tags::Unknown(unknown) if !policy.tag_keys.is_empty() => *unknown,
        Tags::Known(_) | Tags::Unknown(_) => Unknown::StatusNotReturned, // Nothing else is left.
    };
    Verdict::Undetermined { rules: possible, unknown }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    const POLICY: &str = r#"
version: 1
tag_keys: [env, "reaper:exempt"]
rules:
  - { id: prod-sre, when: { target_tags: { env: prod } }, require: { owner: role/sre } }
  - { id: one-hour, when: { owner: role/dev }, unless: { target_tags: { env: lab } }, require: { max_age: 1h } }
  - { id: day, when: all, require: { max_age: 1d } }
exemptions:
  - { id: root, when: { owner: root } }
  - { id: ended, when: { owner: role/dev }, until: 1970-01-01T00:00:00Z }
  - { id: tagged, when: { target_tags: { "reaper:exempt": "true" } } }
"#;

    fn session(owner: &str, age: SignedDuration) -> Session {
        let owner = match owner {
            "root" => "arn:aws:iam::123456789012:root".into(),
            role => format!("arn:aws:sts::123456789012:assumed-role/{role}/x"),
        };
        Session {
            id: "x-1".into(),
            owner,
            target: "i-0123456789abcdef0".into(),
            started_at: NOW - age,
            status: None,
            document: String::new(),
            reason: None,
            access_type: String::new(),
        }
    }

    fn tags(text: &str) -> Tags {
        match text {
            "?" => Tags::Unknown(Unknown::TagsNotReturned),
            _ => Tags::Known(
                text.split_whitespace()
                    .filter_map(|it| it.split_once('='))
                    .map(|(key, value)| (key.into(), value.into()))
                    .collect(),
            ),
        }
    }

    #[test]
    #[rustfmt::skip]
    fn verdicts() {
        let policy = Policy::parse(POLICY).expect("a valid policy");
        let table = [
            // owner, seconds, tags                            verdict, rules
            ("sre",   60,     "",                              "compliant",    ""),
            ("sre",   60,     "env=prod",                      "compliant",    ""),
            ("sre",   60,     "?",                             "compliant",    ""), // No rule can be violated.
            ("sre",   86_400, "?",                             "compliant",    ""), // The limit itself is allowed.
            ("sre",   86_401, "",                              "violation",    "day"),
            ("sre",   86_401, "?",                             "undetermined", "day"), // It may be exempt.
            ("sre",   86_401, "reaper:exempt=true",            "exempt",       "tagged"),
            ("sre",   86_401, "reaper:exempt=yes",             "violation",    "day"),
            ("sre",   -301,   "env=prod",                      "compliant",    ""), // Started after now.
            ("dev",   60,     "env=prod",                      "violation",    "prod-sre"),
            ("dev",   60,     "env=production",                "compliant",    ""),
            ("dev",   60,     "?",                             "undetermined", "prod-sre"),
            ("dev",   3_601,  "",                              "violation",    "one-hour"), // `ended` has ended.
            ("dev",   3_601,  "env=lab",                       "compliant",    ""),
            ("dev",   86_401, "env=lab",                       "violation",    "day"),
            ("dev",   86_401, "env=prod",                      "violation",    "prod-sre one-hour day"),
            ("dev",   86_401, "env=prod reaper:exempt=true",   "exempt",       "tagged"),
            ("dev",   86_401, "?",                             "undetermined", "prod-sre one-hour day"),
            ("root",  60,     "?",                             "exempt",       "root"), // Whether violated or not.
            ("root",  60,     "",                              "compliant",    ""),
            ("root",  86_401, "reaper:exempt=true",            "exempt",       "root"), // The first that holds.
        ];
        for (owner, seconds, text, verdict, rules) in table {
            let session = session(owner, SignedDuration::from_secs(seconds));
            let actual = judge(&policy, NOW, &session, &tags(text));
            assert_eq!(actual.name(), verdict, "{owner}, {seconds} s, {text:?}");
            assert_eq!(actual.rules().join(" "), rules, "{owner}, {seconds} s, {text:?}");
        }
    }

    #[test]
    #[rustfmt::skip]
    fn what_all_completions_agree_on_does_not_depend_on_what_is_not_known() {
        let rule = |id: &str, rest: &str| format!("{{ id: {id}, {rest} }}");
        let prod = rule("prod", "when: { target_tags: { env: prod } }, require: { max_age: 1h }");
        let not_prod = rule("rest", "when: all, unless: { target_tags: { env: prod } }, require: { max_age: 12h }");
        let both = format!("rules: [{prod}, {not_prod}]");
        let tagged = "exemptions: [{ id: e, when: { target_tags: { env: lab } } }]";
        let partial = both.replace("prod }", "prod* }");
        let any = "rules: [{ id: some, when: { target_tags: { env: '?*' } }, forbid: true }, \
                   { id: none, when: all, unless: { target_tags: { env: '*' } }, forbid: true }]";
        let empty = any.replace("'*'", "'?*'");
        let status = "rules: [{ id: gone, when: { status: Disconnected }, forbid: true }, \
                      { id: live, when: { owner: role/* }, unless: { status: Disconnected }, forbid: true }]";
        let every = format!("rules: [{}]", rule("no", "when: { status: [Connected, Connecting, Disconnected, Failed] }, forbid: true"));
        let table = [
            // hours, policy, tags not returned                 verdict, rules
            (1,  both.as_str(),                                 "compliant",    ""),
            (2,  &both,                                         "undetermined", "prod"),
            (13, &both,                                         "violation",    "prod rest"),
            (13, &format!("{both}\n{tagged}"),                  "undetermined", "prod rest"),
            (13, &partial,                                      "undetermined", "prod rest"),
            (1,  any,                                           "undetermined", "some none"), // It may be empty.
            (1,  &empty,                                        "violation",    "some none"),
            (1,  status,                                        "violation",    "gone live"),
            (1,  &every,                                        "undetermined", "no"), // AWS may add a status.
        ];
        for (hours, text, verdict, rules) in table {
            let policy = Policy::parse(&format!("version: 1\ntag_keys: [env]\n{text}\n")).expect(text);
            let session = session("dev", SignedDuration::from_hours(hours));
            let actual = judge(&policy, NOW, &session, &tags("?"));
            assert_eq!((actual.name(), &*actual.rules().join(" ")), (verdict, rules), "{hours} h, {text}");
            let lazily = judge(&policy, NOW, &session, &Tags::Unknown(Unknown::TagsNotLookedUp));
            assert!(lazily == actual || lazily.unknown() == Some(Unknown::TagsNotLookedUp), "{text}");
        }
    }

    #[test]
    fn an_undetermined_verdict_says_what_was_not_known() {
        let policy = Policy::parse(POLICY).expect("a valid policy");
        for unknown in [Unknown::TagsLookupFailed, Unknown::TagsNoArn, Unknown::TagsNotReturned] {
            let session = session("dev", SignedDuration::ZERO);
            let verdict = judge(&policy, NOW, &session, &Tags::Unknown(unknown));
            assert_eq!(verdict.unknown(), Some(unknown));
        }
    }
}
