//! Warnings: what is valid, but probably a mistake.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
};

use jiff::{SignedDuration, Timestamp};

use super::{
    hours::Hours,
    model::{
        ACCESS_TYPES, Assume, Assumed, Condition, Demand, Effect, Exemption, Keep, Limits, Policy,
        Requirement, Rule, Test,
    },
};
use crate::{pattern::Glob, session_type::SessionType};

pub(super) fn warnings(policy: &Policy, now: Timestamp) -> Vec<String> {
    let mut warnings = Vec::new();
    if policy.rules.is_empty() {
        warnings.push("the policy has no rules, so no session is ever terminated".into());
    }
    for Exemption { id, when, until, .. } in &policy.exemptions {
        if let Some(until) = until.filter(|it| *it <= now) {
            warnings
                .push(format!("the exemption `{id}` expired at {until}: it exempts no session"));
        } else if is_for_all(when) {
            let end = until.map_or(String::new(), |it| format!(" before {it}"));
            warnings
                .push(format!("the exemption `{id}` is for all: no session is terminated{end}"));
        }
    }
    let Limits { max_percent, min_violations, .. } = policy.limits;
    if max_percent == 0 && 1 < min_violations {
        warnings.push(format!(
            "`max_percent: 0` opens the circuit breaker from {min_violations} violators on, and fewer are \
             terminated; write `min_violations: 1` as well, or `paused: true` to terminate none"
        ));
    }
    warnings.extend(unsaid(policy));
    // Of an exemption for all it is said once, not of every rule.
    let lasting = policy.exemptions.iter().filter(|it| it.until.is_none() && !is_for_all(&it.when));
    let lasting: Vec<_> = lasting.map(|it| (&*it.id, Allowed::by(&it.when.0))).collect();
    if let Some((newest, oldest)) = keep_different(&policy.rules) {
        warnings.push(format!(
            "the rules `{}` and `{}` keep different sessions: what one keeps, the other may terminate, so \
             few sessions of both are terminated, and the others stay undetermined; let both keep the same",
            newest.id, oldest.id
        ));
    }
    for rule in &policy.rules {
        if let Some(statuses) = forgets_terminating(&rule.when).filter(|_| !only_counts(rule)) {
            warnings.push(format!(
                "the rule `{}` is for the status {statuses}, and so not for a session that hangs in \
                 `Terminating`: it would count as compliant; add `Terminating`",
                rule.id
            ));
        }
        if let Demand::Require(all) = &rule.demand {
            let hours = all
                .iter()
                .filter_map(|it| if let Requirement::Hours(any) = it { Some(any) } else { None });
            let wrong = hours.flatten().filter_map(Hours::warning).collect::<BTreeSet<_>>();
            warnings.extend(wrong.iter().map(|it| format!("the rule `{}`: {it}", rule.id)));
        }
        if is_blinking(rule) {
            warnings.push(format!(
                "the rule `{}` is for `Disconnected`, and AWS does not say since when: a session that \
                 is disconnected for a second at the sweep violates it; require a `max_age` of 12h or \
                 more as well",
                rule.id
            ));
        }
        if names_tunnels(rule) {
            warnings.push(format!(
                "the rule `{}` names tunnels by their documents: a copy of such a document under \
                 another name is none of them; write `session_type: Port`",
                rule.id
            ));
        }
        if let Some(why) = never_violated(&lasting, rule) {
            warnings.push(format!("the rule `{}` can never be violated: {why}", rule.id));
        }
    }
    warnings
}

/// Whether a condition leaves out no session of which all is known.
fn is_for_all(condition: &Condition) -> bool {
    let leaves_out_none = |it: &Test| match it {
        Test::SessionType(any) => SessionType::ALL.iter().all(|it| any.contains(it)),
        Test::AccessType(any) => ACCESS_TYPES.iter().all(|it| any.contains(it)),
        Test::Account(_)
        | Test::Document(_)
        | Test::Owner(_)
        | Test::Reason(_)
        | Test::Region(_)
        | Test::Status(_)
        | Test::Target(_)
        | Test::TargetTag(..) => false,
    };
    condition.0.iter().all(leaves_out_none)
}

/// What AWS often does not return, which the policy asks for and says nothing of.
fn unsaid(policy: &Policy) -> Vec<String> {
    let Assume { access_type, document, reason, tags } = &policy.assume;
    let exempting = || policy.exemptions.iter().flat_map(|it| &it.when.0);
    let mut warnings = Vec::new();
    let mut warn = |asks: bool, what: &str, key: &str, value: &str| {
        if asks {
            warnings.push(format!(
                "{what}: a verdict that depends on it is then undetermined; write \
                 `assume: {{ {key}: {value} }}`, or `assume: {{ {key}: unknown }}` if that is meant"
            ));
        }
    };
    warn(
        *tags == Assumed::Unsaid && exempting().any(|it| matches!(it, Test::TargetTag(..))),
        "an exemption asks for tags, and AWS does not return a target that was never tagged",
        "tags",
        "none",
    );
    warn(
        *document == Assumed::Unsaid
            && policy.tests().any(|it| matches!(it, Test::Document(_) | Test::SessionType(_))),
        "the policy asks for the document, and AWS may not return the default one's name",
        "document",
        "SSM-SessionManagerRunShell",
    );
    warn(
        *access_type == Assumed::Unsaid
            && policy.tests().any(|it| matches!(it, Test::AccessType(_))),
        "the policy asks for the access type, which records older than the field do not have",
        "access_type",
        "Standard",
    );
    warn(
        *reason == Assumed::Unsaid && policy.asks_reason(),
        "the policy asks for the reason, and AWS returns none if the user gave none",
        "reason",
        "none",
    );
    warnings
}

/// The statuses that a condition names, if a session that is terminated leaves them.
fn forgets_terminating(condition: &Condition) -> Option<String> {
    let statuses = condition
        .0
        .iter()
        .find_map(|it| if let Test::Status(any) = it { Some(any) } else { None })?;
    let names = statuses.iter().map(|it| format!("`{it}`"));
    (!statuses.contains(&"Terminating")).then(|| names.collect::<Vec<_>>().join(", "))
}

/// Whether the rule requires nothing but that no more than so many sessions are active at once.
fn only_counts(rule: &Rule) -> bool {
    matches!(&rule.demand, Demand::Require(all) if matches!(all.as_slice(), [Requirement::Concurrent(_)]))
}

/// Two rules that terminate and keep different sessions, if both may be about one.
fn keep_different(rules: &[Rule]) -> Option<(&Rule, &Rule)> {
    let counting = || {
        let terminating = rules.iter().filter(|it| it.effect == Effect::Terminate);
        terminating.filter_map(|it| Some((it, it.concurrent()?.keep)))
    };
    let mut pairs = counting().flat_map(|a| counting().map(move |b| (a, b)));
    let found = pairs.find(|((a, keep), (b, other))| {
        (*keep, *other) == (Keep::Newest, Keep::Oldest)
            && !Allowed::by(&a.when.0).excludes(&Allowed::by(&b.when.0))
    });
    found.map(|((a, _), (b, _))| (a, b))
}

/// The shortest `max_age` after which a session that loses its connection may as well be terminated.
const LONG: SignedDuration = SignedDuration::from_hours(12);

/// Whether a session violates the rule as soon as its connection is lost, unless it is young.
fn is_blinking(rule: &Rule) -> bool {
    let is_disconnected =
        |it: &Test| matches!(it, Test::Status(any) if any.contains(&"Disconnected"));
    let is_long = |it: &Requirement| matches!(it, Requirement::MaxAge(limit) if LONG <= *limit);
    let is_lenient = match &rule.demand {
        Demand::Forbid => false,
        Demand::Require(_) if only_counts(rule) => true,
        Demand::Require(all) => all.iter().all(is_long),
    };
    rule.when.0.iter().any(is_disconnected) && !is_lenient
}

/// AWS's own documents that start tunnels.
const TUNNELS: [&str; 3] = [
    "AWS-StartPortForwardingSession",
    "AWS-StartPortForwardingSessionToRemoteHost",
    "AWS-StartSSHSession",
];

/// Whether the rule is about tunnels, and knows them by the names of AWS's documents alone.
fn names_tunnels(rule: &Rule) -> bool {
    let is_tunnel =
        |it: &Glob| it.to_string() != "*" && TUNNELS.iter().any(|name| it.is_match(name));
    let names = |it: &Test| matches!(it, Test::Document(any) if any.iter().all(is_tunnel));
    let has_type = |it: &Test| matches!(it, Test::SessionType(_));
    rule.when.0.iter().any(names) && !rule.when.0.iter().any(has_type)
}

fn never_violated(exemptions: &[(&str, Allowed)], rule: &Rule) -> Option<String> {
    let when = Allowed::by(&rule.when.0);
    if rule.unless.as_ref().is_some_and(|it| Allowed::by(&it.0).includes(&when)) {
        return Some("its `unless` holds wherever its `when` does".into());
    }
    let repeats = |it: &Requirement| match it {
        Requirement::Concurrent(_) | Requirement::Hours(_) | Requirement::MaxAge(_) => false,
        Requirement::Test(test) => Allowed::by(std::slice::from_ref(test)).includes(&when),
    };
    if let Demand::Require(all) = &rule.demand
        && all.iter().all(repeats)
    {
        return Some("what it requires, its `when` has already".into());
    }
    let (id, _) = exemptions.iter().find(|(_, it)| it.includes(&when))?;
    Some(format!("the exemption `{id}` holds wherever its `when` does"))
}

/// What a condition allows of each thing that it asks for, by its words.
struct Allowed(BTreeMap<String, BTreeSet<String>>);

impl Allowed {
    fn by(tests: &[Test]) -> Self {
        fn words<T: Debug>(any: &[T]) -> BTreeSet<String> {
            any.iter().map(|it| format!("{it:?}")).collect()
        }
        let mut allowed = BTreeMap::new();
        for test in tests {
            match test {
                Test::AccessType(any) => drop(allowed.insert("access_type".into(), words(any))),
                Test::Account(any) => drop(allowed.insert("account".into(), words(any))),
                Test::Document(any) => drop(allowed.insert("document".into(), words(any))),
                Test::Region(any) => drop(allowed.insert("region".into(), words(any))),
                Test::SessionType(any) => drop(allowed.insert("session_type".into(), words(any))),
                Test::Owner(any) => drop(allowed.insert("owner".into(), words(any))),
                Test::Reason(any) => drop(allowed.insert("reason".into(), words(any))),
                Test::Status(any) => drop(allowed.insert("status".into(), words(any))),
                Test::Target(any) => drop(allowed.insert("target".into(), words(any))),
                Test::TargetTag(key, any) => {
                    drop(allowed.insert(format!("tag {key}"), words(any)));
                }
            }
        }
        Self(allowed)
    }

    /// Whether it can hold nowhere that another does, as far as the same words tell.
    fn excludes(&self, other: &Self) -> bool {
        let is_apart =
            |(key, any): (_, &BTreeSet<_>)| other.0.get(key).is_some_and(|it| it.is_disjoint(any));
        self.0.iter().any(is_apart)
    }

    /// Whether it holds wherever another does, as far as the same words tell.
    fn includes(&self, narrow: &Self) -> bool {
        let is_wider =
            |(key, wide): (_, &BTreeSet<_>)| narrow.0.get(key).is_some_and(|it| it.is_subset(wide));
        self.0.iter().all(is_wider)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(policy: &str, expected: &[&str]) {
        let now = "2026-03-02T12:00:00Z".parse().expect("an instant");
        let policy = Policy::parse(&format!("version: 1\ntag_keys: [env]\n{policy}"));
        let warnings = policy.expect("a valid policy").warnings(now);
        assert_eq!(warnings.len(), expected.len(), "{warnings:?}");
        for (warning, part) in warnings.iter().zip(expected) {
            assert!(warning.contains(part), "{warning}");
        }
    }

    #[test]
    fn zero_percent() {
        for (breaker, expected) in [
            ("max_percent: 0", &["from 10 violators on"][..]),
            ("max_percent: 0, min_violations: 2", &["from 2 violators on"]),
            ("max_percent: 0, min_violations: 1", &[]),
            ("max_percent: 1", &[]),
        ] {
            let rule = "rules: [{id: r, when: {owner: user/a}, forbid: true}]";
            check(&format!("{rule}\nlimits: {{circuit_breaker: {{{breaker}}}}}\n"), expected);
        }
    }

    #[test]
    fn what_is_probably_not_meant() {
        let rule = "rules: [{id: r, when: {owner: user/a}, forbid: true}]\n";
        let with = |exemption: &str| format!("{rule}exemptions: [{{id: e, {exemption}}}]\n");
        check("", &["no rules"]);
        check(rule, &[]);
        check(&with("when: all"), &["`e` is for all"]);
        let types = "[Standard_Stream, Port, InteractiveCommands, NonInteractiveCommands]";
        let assumed = "assume: {document: X-y, access_type: unknown}\n";
        check(&(with(&format!("when: {{session_type: {types}}}")) + assumed), &["`e` is for all"]);
        check(
            &(with("when: {access_type: [JustInTime, Standard]}") + assumed),
            &["`e` is for all"],
        );
        check(&(with("when: {session_type: [Port, Standard_Stream]}") + assumed), &[]);
        check(
            &with("when: all, until: 2027-01-01T00:00:00Z"),
            &["no session is terminated before 2027"],
        );
        check(
            &with("when: {owner: root}, until: 2026-03-02T12:00:00Z"),
            &["`e` expired at 2026-03-02"],
        );
        check(&with("when: {owner: root}, until: 2026-03-02T12:00:01Z"), &[]);
        for (when, expected, key, value) in [
            ("target_tags: {env: x}", "an exemption asks for tags", "tags", "none"),
            ("document: X-y", "asks for the document", "document", "X-y"),
            ("access_type: Standard", "asks for the access type", "access_type", "Standard"),
            ("reason: x", "asks for the reason", "reason", "none"),
        ] {
            let policy = with(&format!("when: {{{when}}}"));
            check(&policy, &[expected]);
            for value in [value, "unknown"] {
                check(&format!("{policy}assume: {{{key}: {value}}}\n"), &[]);
            }
        }
        let require =
            |it: &str| format!("rules: [{{id: r, when: {{owner: user/a}}, require: {it}}}]\n");
        check(&require("{owner: user/a}"), &["`r` can never be violated: what it requires"]);
        check(&require("{owner: user/a, max_age: 1h}"), &[]);
        check(&with("when: {owner: user/a}"), &["`r` can never be violated: the exemption `e`"]);
        check(&with("when: {owner: [root, user/a]}"), &["`r` can never be violated"]);
        check(&with("when: {owner: [root, user/b]}"), &[]);
        check(&with("when: {owner: user/a}, until: 2027-01-01T00:00:00Z"), &[]);
        check(&with("when: {owner: user/a, target: x}"), &[]);
        check(
            "rules: [{id: r, when: {owner: user/a, target: x}, unless: {target: x}, forbid: true}]\n",
            &["`r` can never be violated: its `unless`"],
        );
        check("rules: [{id: r, when: {owner: user/a}, unless: {target: x}, forbid: true}]\n", &[]);
        check(
            "rules: [{id: r, when: {status: [Connected, Failed]}, forbid: true}]\n",
            &["`r` is for the status `Connected`, `Failed`"],
        );
        check("rules: [{id: r, when: {status: Terminating}, forbid: true}]\n", &[]);
        for (demand, expected) in [
            ("forbid: true", &["disconnected for a second"][..]),
            ("require: {max_age: 30m}", &["disconnected for a second"]),
            ("require: {max_age: 12h}", &[]),
            ("require: {max_age: 12h, owner: root}", &["disconnected for a second"]),
        ] {
            let when = "{status: [Disconnected, Terminating]}";
            check(&format!("rules: [{{id: r, when: {when}, {demand}}}]\n"), expected);
        }
        for (when, expected) in [
            (
                "document: [AWS-StartSSHSession, 'AWS-StartPort*']",
                &["a copy of such a document"][..],
            ),
            ("document: [AWS-StartSSHSession, Team-Tunnel]", &[]),
            ("document: AWS-StartSSHSession, session_type: Port", &[]),
            ("session_type: Port", &[]),
        ] {
            let policy = format!("rules: [{{id: r, when: {{{when}}}, forbid: true}}]\n");
            check(&format!("{policy}assume: {{document: X-y}}\n"), expected);
        }
        let limit = |keep: &str| {
            format!("require: {{concurrent: {{per: owner, at_most: 2, keep: {keep}}}}}")
        };
        let (newest, oldest) = (limit("newest"), limit("oldest"));
        for (when, effect, expected) in [
            ("all", "terminate", &["`a` and `b` keep different sessions"][..]),
            ("all", "warn", &[]),
            ("{owner: user/b}", "terminate", &[]),
        ] {
            check(
                &format!(
                    "rules: [{{id: a, when: {{owner: user/a}}, {newest}}}, \
                     {{id: b, when: {when}, {oldest}, effect: {effect}}}]\n"
                ),
                expected,
            );
        }
        let live = "{status: [Connected, Disconnected]}";
        check(&format!("rules: [{{id: r, when: {live}, {newest}}}]\n"), &[]);
        let two = "require: {concurrent: {per: owner, at_most: 2, keep: newest}}";
        let pointless = format!(
            "rules: [{{id: r, when: {{owner: user/a}}, {two}}}]\n\
             exemptions: [{{id: e, when: {{owner: user/*}}}}, {{id: f, when: {{owner: user/a}}}}]\n"
        );
        check(&pointless, &["`r` can never be violated: the exemption `f`"]);
        check("rules: [{id: r, when: all, unless: {status: Connected}, forbid: true}]\n", &[]);
        let hours = |zones: [&str; 2]| {
            let [a, b] = zones.map(|it| format!("Mon-Fri 08:00-18:30 {it}"));
            format!("rules: [{{id: r, when: all, require: {{hours: ['{a}', '{b}']}}}}]\n")
        };
        check(
            &hours(["EST", "hst"]),
            &["`EST` never changes to summer time; write `America/New_York`, or", "`HST` never"],
        );
        check(&hours(["MST", "MST"]), &["write `America/Denver`, or `America/Phoenix` if"]);
        for zone in ["EST5EDT", "America/Panama", "CET", "UTC", "Etc/GMT+5"] {
            check(&hours([zone, "America/New_York"]), &[]);
        }
        check("rules: [{id: r, when: all, unless: all, forbid: true}]\n", &["its `unless`"]);
    }
}
