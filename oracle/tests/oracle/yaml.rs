//! Policies in the language of `session-reaper`.

use crate::{
    ast::{Condition, Exemption, Hours, OwnerPattern, Policy, Requirement, Rule, Test, ZONES},
    world::{REASON_PATTERNS, TAG_KEYS},
};

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

pub(crate) fn policy(policy: &Policy) -> String {
    let list = |name: &str, letter: char, items: Vec<String>| {
        let item = |(i, it)| format!("  - {{ id: {letter}{i}, {it} }}\n");
        let items: String = items.into_iter().enumerate().map(item).collect();
        if items.is_empty() { items } else { format!("{name}:\n{items}") }
    };
    format!(
        "version: 1\ntag_keys: {}\nassume: {{ document: {}, access_type: {}, reason: {} }}\n{}{}",
        any(TAG_KEYS.map(quoted)),
        policy.assume.document.unwrap_or("unknown"),
        policy.assume.access_type.unwrap_or("unknown"),
        if policy.assume.no_reason { "none" } else { "unknown" },
        list("rules", 'r', policy.rules.iter().map(rule).collect()),
        list("exemptions", 'e', policy.exemptions.iter().map(exemption).collect()),
    )
}

fn rule(Rule { when, unless, require }: &Rule) -> String {
    let unless = unless.as_ref().map_or(String::new(), |it| format!("unless: {}, ", condition(it)));
    let demand = match require.as_slice() {
        [] => "forbid: true".into(),
        all => format!("require: {}", mapping(all.iter().map(requirement))),
    };
    format!("when: {}, {unless}{demand}", condition(when))
}

fn exemption(Exemption { when, until }: &Exemption) -> String {
    let until = until.map_or(String::new(), |it| format!(", until: {}", instant(it)));
    format!("when: {}{until}", condition(when))
}

fn condition(all: &Condition) -> String {
    if all.is_empty() { "all".into() } else { mapping(all.iter().map(test)) }
}

fn requirement(requirement: &Requirement) -> String {
    match requirement {
        Requirement::Hours(all) => {
            format!("hours: {}", any(all.iter().map(|it| quoted(&hours(it)))))
        }
        Requirement::MaxAge(seconds) => format!("max_age: {}", duration(*seconds)),
        Requirement::Test(it) => test(it),
    }
}

fn test(test: &Test) -> String {
    let list =
        |key: &str, values: &[&str]| format!("{key}: {}", any(values.iter().map(|it| quoted(it))));
    match test {
        Test::AccessType(values) => list("access_type", values),
        Test::Document(globs) => list("document", globs),
        Test::Owner(all) => {
            format!("owner: {}", any(all.iter().map(|it| quoted(&owner_pattern(it)))))
        }
        Test::Reason(all) => {
            format!("reason: {}", any(all.iter().map(|it| quoted(REASON_PATTERNS[*it].0))))
        }
        Test::Status(values) => list("status", values),
        Test::Target(globs) => list("target", globs),
        Test::TargetTags(all) => {
            let tag =
                |(key, globs): &(usize, Vec<&'static str>)| list(&quoted(TAG_KEYS[*key]), globs);
            format!("target_tags: {}", mapping(all.iter().map(tag)))
        }
    }
}

fn owner_pattern(pattern: &OwnerPattern) -> String {
    let pair = |kind: &str, name: &str, second: Option<&str>| match second {
        Some(second) => format!("{kind}/{name}/{second}"),
        None => format!("{kind}/{name}"),
    };
    match pattern {
        OwnerPattern::Arn(glob) => (*glob).into(),
        OwnerPattern::Federated(name) => format!("federated-user/{name}"),
        OwnerPattern::PermissionSet(name, user) => pair("permission-set", name, *user),
        OwnerPattern::Role(name, session) => pair("role", name, *session),
        OwnerPattern::Root => "root".into(),
        OwnerPattern::User(name) | OwnerPattern::UserWithPath(name) => format!("user/{name}"),
    }
}

fn hours(Hours { days, start, end, zone }: &Hours) -> String {
    let day = |it: i64| DAYS[usize::try_from(it).expect("a weekday")];
    let days = days.iter().map(|(first, last)| {
        if first == last { vec![day(*first)] } else { vec![day(*first), day(*last)] }.join("-")
    });
    let days = days.collect::<Vec<_>>().join(",");
    let time = |it: i64| format!("{:02}:{:02}", it / 60, it % 60);
    format!("{days} {}-{} {}", time(*start), time(*end), ZONES[*zone])
}

fn duration(seconds: i64) -> String {
    let parts = [
        (seconds / 86_400, "d"),
        (seconds / 3_600 % 24, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
    ];
    let parts = parts.into_iter().filter(|(number, _)| *number != 0);
    parts.flat_map(|(number, unit)| [number.to_string(), unit.to_owned()]).collect()
}

/// By the calendar of the two months that instants are drawn from.
fn instant(seconds: i64) -> String {
    let (month, first) = match seconds {
        ..1_769_904_000 => ("2026-01", 1_767_225_600),
        _ => ("2026-07", 1_782_864_000),
    };
    let (day, time) = ((seconds - first) / 86_400 + 1, (seconds - first) % 86_400);
    format!("{month}-{day:02}T{:02}:{:02}:{:02}Z", time / 3_600, time / 60 % 60, time % 60)
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// One value as it is, more as a list.
fn any(values: impl IntoIterator<Item = String>) -> String {
    let values: Vec<_> = values.into_iter().collect();
    match values.as_slice() {
        [one] => one.clone(),
        all => format!("[{}]", all.join(", ")),
    }
}

fn mapping(entries: impl Iterator<Item = String>) -> String {
    format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
}
