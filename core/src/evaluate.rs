//! What the policy says of one session at one instant.

mod completions;
pub(crate) mod trace;

use std::{collections::BTreeSet, sync::Arc};

use jiff::Timestamp;
use serde::Serialize;

pub use self::trace::{Clause, ClauseKind};
pub use crate::policy::{Item, Key, Part};
use crate::{
    evaluate::completions::{can_be_completed, completions},
    policy::{Condition, Effect, Exemption, Policy, Rule, Subject, Test},
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
    /// It depends on something unknown.
    Undetermined {
        /// The rules that are, or may be, violated, in policy order.
        rules: Box<[Arc<str>]>,
        /// What is not known.
        unknown: Unknown,
    },
    /// A rule is violated, and no exemption can hold.
    Violation {
        /// Every rule known to be violated, in policy order: the first leads. Never empty.
        rules: Box<[Arc<str>]>,
        /// If it is only known that one of `rules` is violated: what is not known of the session.
        unknown: Option<Unknown>,
    },
    /// A rule that only warns is violated, no other is, and no exemption can hold. The session is
    /// not terminated.
    Warning {
        /// As of a violation.
        rules: Box<[Arc<str>]>,
        /// As of a violation.
        unknown: Option<Unknown>,
    },
}

/// A verdict without its reasons, or that there is none. In the order in which reports list sessions.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(into = "&str")]
#[expect(missing_docs, reason = "each is a variant of `Verdict`, and documented there")]
pub enum VerdictKind {
    Violation,
    Undetermined,
    /// The record lacks what an evaluation needs.
    #[default]
    NotEvaluated,
    Warning,
    Exempt,
    Compliant,
}

impl VerdictKind {
    /// All of them, in their order.
    pub const ALL: [Self; 6] = [
        Self::Violation,
        Self::Undetermined,
        Self::NotEvaluated,
        Self::Warning,
        Self::Exempt,
        Self::Compliant,
    ];

    /// The verdict's name, as logs and reports have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Violation => "violation",
            Self::Undetermined => "undetermined",
            Self::NotEvaluated => "not_evaluated",
            Self::Warning => "warning",
            Self::Exempt => "exempt",
            Self::Compliant => "compliant",
        }
    }
}

impl From<VerdictKind> for &str {
    fn from(kind: VerdictKind) -> Self {
        kind.name()
    }
}

impl Verdict {
    /// Which verdict it is.
    #[must_use]
    pub fn kind(&self) -> VerdictKind {
        match self {
            Self::Compliant => VerdictKind::Compliant,
            Self::Exempt { .. } => VerdictKind::Exempt,
            Self::Undetermined { .. } => VerdictKind::Undetermined,
            Self::Violation { .. } => VerdictKind::Violation,
            Self::Warning { .. } => VerdictKind::Warning,
        }
    }

    /// The verdict's name, as logs and reports have it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.kind().name()
    }

    /// The ids behind the verdict: the rules, or the one exemption.
    #[must_use]
    pub fn rules(&self) -> &[Arc<str>] {
        match self {
            Self::Compliant => &[],
            Self::Exempt { by } => std::slice::from_ref(by),
            Self::Undetermined { rules, .. }
            | Self::Violation { rules, .. }
            | Self::Warning { rules, .. } => rules,
        }
    }

    /// What was not known, if that decided about the verdict, or about its rules.
    #[must_use]
    pub fn unknown(&self) -> Option<Unknown> {
        match self {
            Self::Undetermined { unknown, .. } => Some(*unknown),
            Self::Violation { unknown, .. } | Self::Warning { unknown, .. } => *unknown,
            Self::Compliant | Self::Exempt { .. } => None,
        }
    }
}

/// A verdict, and how it came about.
#[derive(Clone, Debug)]
pub struct Assessment<'a> {
    /// What the policy says.
    pub verdict: Verdict,
    /// Every rule, then every exemption, in policy order.
    pub clauses: Vec<Clause<'a>>,
}

/// Evaluates one session alone: a rule with `concurrent` is unknown.
///
/// With V = some rule is violated and E = some exemption holds, each true, false or unknown:
/// V false is compliant; else E true is exempt; V true and E false is a violation; anything else is
/// undetermined. So with the tags unknown, a verdict other than undetermined is the one that any
/// tags would lead to, except that it may name fewer rules, and that an exempt session may turn out
/// to need no exemption.
///
/// Kleene's logic looks at each test by itself, and so does not see that one of two rules is
/// violated whatever the tags are, where the first is for `env: prod` and the second for all else.
/// Hence, where AWS does not return a field, every way in which it may turn out is evaluated as well:
/// what all agree on does not depend on it.
#[must_use]
pub fn evaluate(policy: &Policy, now: Timestamp, session: &Session, tags: &Tags) -> Verdict {
    verdict(policy, now, Subject::new(policy, session, tags))
}

/// The same, of a session of which more is known. Rules that only warn matter only where no other rule
/// is, or may be, violated.
pub(crate) fn verdict(policy: &Policy, now: Timestamp, subject: Subject<'_>) -> Verdict {
    let verdict = by_rules(Effect::Terminate, policy, now, subject);
    if verdict != Verdict::Compliant {
        return verdict;
    }
    let verdict = by_rules(Effect::Warn, policy, now, subject);
    if let Verdict::Violation { rules, unknown } = verdict {
        return Verdict::Warning { rules, unknown };
    }
    verdict
}

fn by_rules(effect: Effect, policy: &Policy, now: Timestamp, subject: Subject<'_>) -> Verdict {
    let mut possible = Vec::new();
    for rule in policy.rules.iter().filter(|it| it.effect == effect) {
        let truth = rule.is_violated(now, subject);
        if truth != Truth::False {
            possible.push((rule, truth));
        }
    }
    if possible.is_empty() {
        return Verdict::Compliant;
    }
    let mut exemptions = Vec::new();
    for exemption in &policy.exemptions {
        match exemption.holds(now, subject) {
            Truth::True => return Verdict::Exempt { by: Arc::clone(&exemption.id) },
            Truth::Unknown => exemptions.push(exemption),
            Truth::False => {}
        }
    }
    let violated = possible.iter().filter(|(_, truth)| *truth == Truth::True);
    let violated: Box<[_]> = violated.map(|(rule, _)| Arc::clone(&rule.id)).collect();
    if !violated.is_empty() && exemptions.is_empty() {
        return Verdict::Violation { rules: violated, unknown: None };
    }

    let unknown = unknown(&possible, &exemptions, now, subject);
    let agreed = match unknown {
        // They have been, or will be, asked for again.
        Unknown::SessionTypeNotLookedUp | Unknown::TagsNotLookedUp | Unknown::TagsLookupFailed => {
            None
        }
        Unknown::AccessTypeNotReturned
        | Unknown::ConcurrentNotKnown
        | Unknown::DocumentNotReturned
        | Unknown::ReasonNotReturned
        | Unknown::ScopeNotKnown
        | Unknown::SessionTypeNotKnown
        | Unknown::StatusNotReturned
        | Unknown::TagsNoArn
        | Unknown::TagsNotReturned => {
            Open::of(&possible, &exemptions, now, subject).agreed(policy, now, subject, unknown)
        }
    };
    let rules = possible.iter().map(|(rule, _)| Arc::clone(&rule.id));
    agreed.unwrap_or_else(|| Verdict::Undetermined { rules: rules.collect(), unknown })
}

/// The unknown that the verdict depends on: what can be looked up comes first.
fn unknown(
    possible: &[(&Rule, Truth)],
    exemptions: &[&Exemption],
    now: Timestamp,
    subject: Subject<'_>,
) -> Unknown {
    let rules = possible.iter().filter(|(_, truth)| *truth == Truth::Unknown);
    let of_rules = rules.flat_map(|(rule, _)| rule.unknowns(now, subject));
    let of_exemptions = exemptions.iter().flat_map(|it| it.when.unknowns(subject));
    let all = of_rules.chain(of_exemptions);
    all.max().unwrap_or(Unknown::StatusNotReturned) // Unreachable: something is open.
}

/// What is left of a policy when all that is known of a session is put into it.
struct Open {
    /// Whether a rule is violated for certain.
    is_violated: bool,
    rules: Vec<Rule>,
    exemptions: Vec<Condition>,
}

impl Open {
    /// Of the rules that are or may be violated, and of the exemptions that may hold.
    fn of(
        possible: &[(&Rule, Truth)],
        exemptions: &[&Exemption],
        now: Timestamp,
        subject: Subject<'_>,
    ) -> Self {
        let rules = possible.iter().filter(|(_, truth)| *truth == Truth::Unknown);
        Self {
            is_violated: possible.iter().any(|(_, truth)| *truth == Truth::True),
            rules: rules.map(|(it, _)| it.open_part(now, subject)).collect(),
            exemptions: exemptions.iter().map(|it| it.when.open_part(subject)).collect(),
        }
    }

    fn tests(&self) -> impl Iterator<Item = &Test> {
        self.rules.iter().flat_map(Rule::tests).chain(self.exemptions.iter().flat_map(|it| &it.0))
    }

    /// The verdict of all completions, if it is one.
    ///
    /// A violation names the rules that every completion violates, or else those that some do, and
    /// what was not known. Rules whose tests cannot be completed are left out: without them, what
    /// is a violation stays one, but what is compliant need not.
    fn agreed(
        mut self,
        policy: &Policy,
        now: Timestamp,
        subject: Subject<'_>,
        unknown: Unknown,
    ) -> Option<Verdict> {
        if self.is_violated {
            return None; // It depends on an exemption, and every condition can be met.
        }
        let n_rules = self.rules.len();
        self.rules.retain(|it| it.concurrent().is_none() && it.tests().all(can_be_completed));
        let is_complete = self.rules.len() == n_rules;

        let mut always: Option<BTreeSet<Arc<str>>> = None;
        let mut ever = BTreeSet::new();
        for (session, tags) in completions(self.tests(), subject)? {
            let completed = Subject::new(policy, &session, &tags);
            let is_violated = |it: &&Rule| it.is_violated(now, completed) == Truth::True;
            let violated: BTreeSet<_> =
                self.rules.iter().filter(is_violated).map(|it| Arc::clone(&it.id)).collect();
            // Every condition can be met, and so each exemption in some completion.
            let may_be_exempt = !violated.is_empty() && !self.exemptions.is_empty();
            let differs = always.is_some() && violated.is_empty() != ever.is_empty();
            if may_be_exempt || differs {
                return None;
            }
            always.get_or_insert_with(|| violated.clone()).retain(|it| violated.contains(it));
            ever.extend(violated);
        }
        let in_order = |of: &BTreeSet<Arc<str>>| -> Box<[_]> {
            self.rules.iter().map(|it| Arc::clone(&it.id)).filter(|it| of.contains(it)).collect()
        };
        let always = always?;
        match (ever.is_empty(), always.is_empty()) {
            (true, _) => is_complete.then_some(Verdict::Compliant),
            (false, true) => {
                Some(Verdict::Violation { rules: in_order(&ever), unknown: Some(unknown) })
            }
            (false, false) => Some(Verdict::Violation { rules: in_order(&always), unknown: None }),
        }
    }
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
        Session::new("x-1", owner, "i-0123456789abcdef0", NOW - age)
    }

    fn tags_of(text: &str) -> Tags {
        match text {
            "?" => Tags::Unknown(Unknown::TagsNotReturned),
            _ => Tags::Known(Arc::new(
                text.split_whitespace()
                    .filter_map(|it| it.split_once('='))
                    .map(|(key, value)| (key.into(), value.into()))
                    .collect(),
            )),
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
            let actual = evaluate(&policy, NOW, &session, &tags_of(text));
            assert_eq!(actual.name(), verdict, "{owner}, {seconds} s, {text:?}");
            assert_eq!(actual.rules().join(" "), rules, "{owner}, {seconds} s, {text:?}");
        }
    }

    /// What all completions agree on does not depend on what is not known.
    #[test]
    #[rustfmt::skip]
    fn completions_agree() {
        let rule = |id: &str, rest: &str| format!("{{ id: {id}, {rest} }}");
        let prod = rule("prod", "when: { target_tags: { env: prod } }, require: { max_age: 1h }");
        let not_prod = rule("rest", "when: all, unless: { target_tags: { env: prod } }, require: { max_age: 12h }");
        let both = format!("rules: [{prod}, {not_prod}]");
        let never = "rules: [{ id: never, when: { target_tags: { env: prod } }, require: { target_tags: { env: prod } } }]";
        let tagged = "exemptions: [{ id: e, when: { target_tags: { env: lab } } }]";
        let partial = both.replace("prod }", "prod* }");
        let any = "rules: [{ id: some, when: { target_tags: { env: '?*' } }, forbid: true }, \
                   { id: none, when: all, unless: { target_tags: { env: '*' } }, forbid: true }]";
        let empty = any.replace("'*'", "'?*'");
        let lab = format!("rules: [{prod}, {not_prod}, {}]", rule("lab", "when: { target_tags: { env: 'lab*' } }, require: { max_age: 12h }"));
        let asked = "rules: [{ id: other, when: all, require: { max_age: 8h, target_tags: { env: prod } } }, \
                     { id: prod, when: { target_tags: { env: prod } }, forbid: true }]";
        let status = "rules: [{ id: gone, when: { status: Disconnected }, forbid: true }, \
                      { id: live, when: { owner: role/* }, unless: { status: Disconnected }, forbid: true }]";
        let every = format!("rules: [{}]", rule("no", "when: { status: [Connected, Connecting, Disconnected, Failed] }, forbid: true"));
        let table = [
            // hours, policy, tags not returned                 verdict, rules
            (1,  both.as_str(),                                 "compliant",    ""),
            (2,  &both,                                         "undetermined", "prod"),
            (13, &both,                                         "violation",    "prod rest"),
            (13, &format!("{both}\n{tagged}"),                  "undetermined", "prod rest"),
            (1,  &format!("{never}\n{tagged}"),                 "compliant",    ""), // It needs no exemption.
            (13, &partial,                                      "undetermined", "prod rest"),
            (13, &lab,                                          "violation",    "prod rest"), // One more rule never terminates fewer.
            (1,  any,                                           "undetermined", "some none"), // It may be empty.
            (1,  &empty,                                        "violation",    "some none"),
            (1,  asked,                                         "violation",    "other prod"),
            (1,  status,                                        "violation",    "gone live"),
            (1,  &every,                                        "undetermined", "no"), // AWS may add a status.
        ];
        for (hours, text, verdict, rules) in table {
            let policy = Policy::parse(&format!("version: 1\ntag_keys: [env]\n{text}\n")).expect(text);
            let session = session("dev", SignedDuration::from_hours(hours));
            let actual = evaluate(&policy, NOW, &session, &tags_of("?"));
            assert_eq!((actual.name(), &*actual.rules().join(" ")), (verdict, rules), "{hours} h, {text}");
            let lazily = evaluate(&policy, NOW, &session, &Tags::Unknown(Unknown::TagsNotLookedUp));
            assert!(lazily == actual || lazily.unknown() == Some(Unknown::TagsNotLookedUp), "{text}");
        }
    }

    /// An undetermined verdict says what was not known.
    #[test]
    fn undetermined_says_why() {
        let policy = Policy::parse(POLICY).expect("a valid policy");
        for unknown in [Unknown::TagsLookupFailed, Unknown::TagsNoArn, Unknown::TagsNotReturned] {
            let session = session("dev", SignedDuration::ZERO);
            let verdict = evaluate(&policy, NOW, &session, &Tags::Unknown(unknown));
            assert_eq!(verdict.unknown(), Some(unknown));
        }
        // Tags do not matter where only the status is open.
        let policy = "version: 1\ntag_keys: [env]\nrules:\n\
                      - { id: a, when: { status: Disconnected }, forbid: true }\n\
                      - { id: b, when: { owner: root, target_tags: { env: x } }, forbid: true }\n";
        let policy = Policy::parse(policy).expect("a valid policy");
        let session = session("dev", SignedDuration::ZERO);
        let verdict = evaluate(&policy, NOW, &session, &Tags::Unknown(Unknown::TagsNotLookedUp));
        assert_eq!(verdict.unknown(), Some(Unknown::StatusNotReturned));
    }

    /// No field is defaulted: what AWS did not return is unknown, unless the policy assumes it.
    #[test]
    #[rustfmt::skip]
    fn assumed_only_in_writing() {
        let jit = "when: all, require: { access_type: JustInTime }";
        let shell = "when: { document: SSM-SessionManagerRunShell }, forbid: true";
        let tunnel = "when: all, require: { document: \"AWS-*\" }";
        let reason = "when: all, require: { reason: INC }";
        let tags = "when: all, require: { target_tags: { env: prod } }";
        let twice = "when: all, unless: { document: A-1 }, forbid: true";
        let table = [
            // rule, assume                                   verdict        what is not known
            (jit,    "",                                      "undetermined", Some(Unknown::AccessTypeNotReturned)),
            (jit,    "access_type: unknown",                  "undetermined", Some(Unknown::AccessTypeNotReturned)),
            (jit,    "access_type: Standard",                 "violation",    None),
            (jit,    "access_type: JustInTime",               "compliant",    None),
            (shell,  "",                                      "undetermined", Some(Unknown::DocumentNotReturned)),
            (shell,  "document: SSM-SessionManagerRunShell",  "violation",    None),
            (tunnel, "",                                      "undetermined", Some(Unknown::DocumentNotReturned)),
            (tunnel, "document: SSM-SessionManagerRunShell",  "violation",    None),
            (twice,  "document: A-1",                         "compliant",    None),
            (reason, "",                                      "undetermined", Some(Unknown::ReasonNotReturned)),
            (reason, "reason: none",                          "violation",    None),
            (tags,   "",                                      "undetermined", Some(Unknown::TagsNotReturned)),
            (tags,   "tags: none",                            "violation",    None),
            (tags,   "tags: unknown",                         "undetermined", Some(Unknown::TagsNotReturned)),
        ];
        for (rule, assume, verdict, unknown) in table {
            let text = format!(
                "version: 1\ntag_keys: [env]\nrules: [{{ id: r, {rule} }}]\nassume: {{ {assume} }}\n"
            );
            let policy = Policy::parse(&text).expect(&text);
            let actual = evaluate(&policy, NOW, &session("dev", SignedDuration::ZERO), &tags_of("?"));
            assert_eq!((actual.name(), actual.unknown()), (verdict, unknown), "{rule}, {assume}");
        }
        let text = "version: 1\nrules: [{ id: a, when: { document: A-1 }, forbid: true }, \
                    { id: b, when: all, unless: { document: A-1 }, forbid: true }]";
        let policy = Policy::parse(text).expect(text);
        let actual = evaluate(&policy, NOW, &session("dev", SignedDuration::ZERO), &tags_of("?"));
        assert_eq!(actual.rules().join(" "), "a b", "one of them, whatever the document");
        let unknown = Some(Unknown::DocumentNotReturned);
        assert_eq!((actual.name(), actual.unknown()), ("violation", unknown));
    }

    /// A look-up that failed leaves the verdict open, also where all tags would lead to the same.
    #[test]
    fn failed_look_up() {
        let policy = "version: 1\ntag_keys: [env]\nrules:\n\
                      - { id: a, when: { target_tags: { env: prod } }, forbid: true }\n\
                      - { id: b, when: all, unless: { target_tags: { env: prod } }, forbid: true }\n";
        let policy = Policy::parse(policy).expect("a valid policy");
        let session = session("dev", SignedDuration::ZERO);
        for (unknown, expected) in [
            (Unknown::TagsLookupFailed, "undetermined"),
            (Unknown::TagsNotLookedUp, "undetermined"),
            (Unknown::TagsNotReturned, "violation"),
            (Unknown::TagsNoArn, "violation"),
        ] {
            let verdict = evaluate(&policy, NOW, &session, &Tags::Unknown(unknown));
            assert_eq!((verdict.name(), verdict.unknown()), (expected, Some(unknown)));
        }
    }
}
