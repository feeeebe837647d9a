//! Policies in Cedar, and Cedar's decisions: a rule is a `permit`, an exemption a `forbid`.
//!
//! Exemptions do not apply to the action `violates`; to `terminate` they do, and outrank the rules.
//! Requirements are `unless` clauses. This uses none of session-reaper's patterns, expressions or
//! clocks.

use std::collections::BTreeSet;

use cedar_policy::{
    Authorizer, Context, Decision, Entities, EntityUid, Policy as CedarPolicy, PolicyId, PolicySet,
    Request, RestrictedExpression as Value,
};

use crate::{
    ast::{Condition, Exemption, Hours, OwnerPattern, Policy, Requirement, Rule, Test, ZONES},
    world::{
        DOCUMENTS, Facts, Owner, PATHS, PEOPLE, PERMISSION_SETS, REASON_PATTERNS, ROLES, TAG_KEYS,
        TAG_VALUES, TARGETS, TagMap,
    },
};

/// A policy in Cedar.
pub(crate) struct Oracle {
    policies: PolicySet,
    violates: EntityUid,
    terminate: EntityUid,
    pub(crate) text: String,
}

/// Cedar's decision.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Answer {
    pub(crate) name: &'static str,
    /// The rules violated, whether the session is exempt or not.
    pub(crate) violated: BTreeSet<String>,
    /// The exemptions that apply; none if no rule is violated.
    pub(crate) exemptions: BTreeSet<String>,
}

impl Oracle {
    pub(crate) fn new(policy: &Policy) -> Self {
        let rules = policy.rules.iter().enumerate().map(|(i, it)| (format!("r{i}"), rule(it)));
        let exemptions =
            policy.exemptions.iter().enumerate().map(|(i, it)| (format!("e{i}"), exemption(it)));
        let all: Vec<_> = rules.chain(exemptions).collect();
        let parse = |(id, text): &(String, String)| {
            CedarPolicy::parse(Some(PolicyId::new(id)), text)
                .unwrap_or_else(|err| panic!("{err:?}\n{text}"))
        };
        let policies = PolicySet::from_policies(all.iter().map(parse)).expect("a policy set");
        let text: Vec<_> = all.iter().map(|(id, text)| format!("@id(\"{id}\")\n{text}")).collect();
        let text = text.join("\n");
        let action = |id| format!("Action::\"{id}\"").parse().expect("an action");
        Self { policies, violates: action("violates"), terminate: action("terminate"), text }
    }

    /// Evaluates a session whose facts are all known.
    pub(crate) fn evaluate(&self, facts: &Facts, tags: &TagMap) -> Answer {
        let context = context(facts, tags);
        let (decision, violated) = self.ask(&self.violates, context.clone());
        if decision == Decision::Deny {
            assert!(violated.is_empty());
            return Answer { name: "compliant", violated, exemptions: BTreeSet::new() };
        }
        match self.ask(&self.terminate, context) {
            (Decision::Allow, again) => {
                assert_eq!(violated, again);
                Answer { name: "violation", violated, exemptions: BTreeSet::new() }
            }
            (Decision::Deny, exemptions) => Answer { name: "exempt", violated, exemptions },
        }
    }

    fn ask(&self, action: &EntityUid, context: Context) -> (Decision, BTreeSet<String>) {
        // Principal and resource do not matter: all facts are in the context.
        let (someone, something) = (action.clone(), action.clone());
        let request = Request::new(someone, action.clone(), something, context, None)
            .expect("a request without a schema");
        let answer = Authorizer::new().is_authorized(&request, &self.policies, &Entities::empty());
        let errors: Vec<_> = answer.diagnostics().errors().map(ToString::to_string).collect();
        assert!(errors.is_empty(), "{errors:?}\n{}", self.text);
        (answer.decision(), answer.diagnostics().reason().map(ToString::to_string).collect())
    }
}

fn context(facts: &Facts, tags: &TagMap) -> Context {
    let text = |it: &str| Value::new_string(it.into());
    let record = |fields: Vec<(&str, Value)>| {
        Value::new_record(fields.into_iter().map(|(key, value)| (key.into(), value)))
            .expect("a record")
    };
    let mut owner = vec![("arn", text(&facts.arn()))];
    if let Some(role) = facts.role() {
        owner.push(("role", text(&role)));
    }
    match &facts.owner {
        Owner::Federated { name } => owner.push(("federated", text(name))),
        Owner::PermissionSet { name, user } => {
            owner.extend([("permission_set", text(name)), ("session", text(user))]);
        }
        Owner::Role { session, .. } => owner.push(("session", text(session))),
        Owner::Root => owner.push(("root", Value::new_bool(true))),
        Owner::Service => {}
        Owner::User { path, name } => {
            owner
                .extend([("user", text(name)), ("user_with_path", text(&format!("{path}{name}")))]);
        }
    }
    let week = facts.week_seconds().map(Value::new_long);
    let week = ["z0", "z1", "z2"].into_iter().zip(week).collect();
    let mut fields = vec![
        ("owner", record(owner)),
        ("target", text(facts.target)),
        ("tags", record(tags.iter().map(|(key, value)| (*key, text(value))).collect())),
        ("now", Value::new_long(facts.now)),
        ("age_ms", Value::new_long(facts.age_ms)),
        ("week", record(week)),
    ];
    let optional = [
        ("status", facts.status),
        ("document", facts.document),
        ("reason", facts.reason),
        ("access_type", facts.access_type),
    ];
    fields.extend(optional.into_iter().filter_map(|(key, value)| Some((key, text(value?)))));
    Context::from_pairs(fields.into_iter().map(|(key, value)| (key.into(), value)))
        .expect("a context")
}

fn rule(Rule { when, unless, require }: &Rule) -> String {
    let mut clauses = vec!["permit(principal, action, resource)".to_owned()];
    clauses.push(format!("when {{ {} }}", condition(when)));
    clauses.extend(unless.iter().map(|it| format!("unless {{ {} }}", condition(it))));
    if !require.is_empty() {
        let all: Vec<_> = require.iter().map(requirement).collect();
        clauses.push(format!("unless {{ {} }}", all.join(" && ")));
    }
    clauses.join("\n") + ";"
}

fn exemption(Exemption { when, until }: &Exemption) -> String {
    let head = "forbid(principal, action == Action::\"terminate\", resource)";
    let until = until.map_or(String::new(), |it| format!("\nwhen {{ context.now < {it} }}"));
    format!("{head}\nwhen {{ {} }}{until};", condition(when))
}

fn condition(all: &Condition) -> String {
    if all.is_empty() {
        return "true".into();
    }
    all.iter().map(test).collect::<Vec<_>>().join(" && ")
}

fn requirement(requirement: &Requirement) -> String {
    match requirement {
        Requirement::Hours(all) => any(all.iter().map(hours)),
        Requirement::MaxAge(seconds) => format!("(context.age_ms <= {})", seconds * 1_000),
        Requirement::Test(it) => test(it),
    }
}

fn test(test: &Test) -> String {
    match test {
        Test::AccessType(values) => {
            any(values.iter().map(|it| format!("context.access_type == \"{it}\"")))
        }
        Test::Document(globs) => {
            any(globs.iter().map(|it| like("context.document", it, &DOCUMENTS)))
        }
        Test::Owner(all) => any(all.iter().map(owner_pattern)),
        Test::Reason(all) => {
            let patterns =
                all.iter().map(|it| REASON_PATTERNS[*it].1.replace('R', "context.reason"));
            format!("(context has reason && {})", any(patterns))
        }
        Test::Status(values) => any(values.iter().map(|it| format!("context.status == \"{it}\""))),
        Test::Target(globs) => any(globs.iter().map(|it| like("context.target", it, &TARGETS))),
        Test::TargetTags(all) => {
            let tag = |(key, globs): &(usize, Vec<&'static str>)| {
                let (name, values) = (TAG_KEYS[*key], TAG_VALUES[*key]);
                let value = format!("context.tags[\"{name}\"]");
                let globs = any(globs.iter().map(|it| like(&value, it, values)));
                format!("(context.tags has \"{name}\" && {globs})")
            };
            all.iter().map(tag).collect::<Vec<_>>().join(" && ")
        }
    }
}

fn owner_pattern(pattern: &OwnerPattern) -> String {
    let field = |name: &str, glob: &str, values: &[&str]| {
        let value = format!("context.owner.{name}");
        format!("context.owner has {name} && {}", like(&value, glob, values))
    };
    let session = |glob: Option<&str>| {
        glob.map_or(String::new(), |it| format!(" && {}", field("session", it, &PEOPLE)))
    };
    match pattern {
        OwnerPattern::Arn(glob) => field("arn", glob, &[]),
        OwnerPattern::Federated(glob) => field("federated", glob, &PEOPLE),
        OwnerPattern::PermissionSet(glob, user) => {
            field("permission_set", glob, &PERMISSION_SETS) + &session(*user)
        }
        OwnerPattern::Role(glob, name) => field("role", glob, &ROLES) + &session(*name),
        OwnerPattern::Root => "context.owner has root".into(),
        OwnerPattern::User(glob) => field("user", glob, &PEOPLE),
        OwnerPattern::UserWithPath(glob) => {
            let whole = PATHS.iter().flat_map(|path| PEOPLE.map(|name| format!("{path}{name}")));
            let whole: Vec<_> = whole.collect();
            field("user_with_path", glob, &whole.iter().map(String::as_str).collect::<Vec<_>>())
        }
    }
}

/// Cedar has `*`, but not `?`, which is replaced by all the values that it can match.
fn like(value: &str, glob: &str, values: &[&str]) -> String {
    if !glob.contains('?') {
        return format!("{value} like \"{glob}\"");
    }
    if glob == "?*" {
        return format!("{value} != \"\"");
    }
    let chars = |it: &str| it.chars().collect::<Vec<_>>();
    let meant = values.iter().filter(|it| matches(&chars(glob), &chars(it)));
    let meant: Vec<_> = meant.map(|it| format!("\"{it}\"")).collect();
    format!("[{}].contains({value})", meant.join(", "))
}

fn matches(glob: &[char], text: &[char]) -> bool {
    match (glob, text) {
        ([], text) => text.is_empty(),
        (['*', rest @ ..], text) => (0..=text.len()).any(|it| matches(rest, &text[it..])),
        (['?', rest @ ..], [_, text @ ..]) => matches(rest, text),
        ([a, rest @ ..], [b, text @ ..]) => a == b && matches(rest, text),
        (_, []) => false,
    }
}

/// In seconds of the week, day by day; hours after Sunday's midnight are at the start of the week.
fn hours(Hours { days, start, end, zone }: &Hours) -> String {
    const DAY: i64 = 24 * 60;
    assert!(*zone < ZONES.len());
    let mut ranges = Vec::new();
    for (first, last) in days {
        for day in *first..=(if first <= last { *last } else { last + 7 }) {
            let from = day % 7 * DAY + start;
            let to = day % 7 * DAY + end + if end < start { DAY } else { 0 };
            ranges.push((from, to.min(7 * DAY)));
            if 7 * DAY < to {
                ranges.push((0, to - 7 * DAY));
            }
        }
    }
    let second = format!("context.week.z{zone}");
    any(ranges
        .into_iter()
        .map(|(from, to)| format!("({} <= {second} && {second} < {})", from * 60, to * 60)))
}

fn any(parts: impl Iterator<Item = String>) -> String {
    format!("({})", parts.collect::<Vec<_>>().join(" || "))
}
