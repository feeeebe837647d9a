//! A second reading of the policy language: policies as data, evaluated by three-valued logic and by
//! trying every way in which what is unknown may turn out. It shares no code with `src/`, and knows
//! only what the simulation writes into its policies.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use fastrand::Rng;
use serde_json::Value;

use crate::fleet::{ACCESS_TYPES, ACCOUNT, DOCUMENTS, KEYS, REGION, ROLES, STATUSES, VALUES};

const MINUTES_A_DAY: i64 = 24 * 60;
const WEEKDAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// A policy of the simulation.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    rules: Vec<Rule>,
    exemptions: Vec<Exemption>,
    pub(crate) max_terminations: usize,
    pub(crate) percent: usize,
    pub(crate) min_violations: usize,
    /// What is taken for what is not returned.
    assumes_no_tags: bool,
    assumed_document: Option<&'static str>,
    assumed_access_type: Option<&'static str>,
    assumes_no_reason: bool,
    pub(crate) is_paused: bool,
}

#[derive(Clone, Debug)]
struct Rule {
    when: Condition,
    unless: Option<Condition>,
    /// All of these; of none, that there be no such session.
    require: Vec<Requirement>,
    /// Whether it warns, and does not terminate.
    warns: bool,
}

/// How many sessions of a group may be active at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    /// The index of its rule.
    pub(crate) rule: usize,
    pub(crate) by_owner: bool,
    pub(crate) by_target: bool,
    pub(crate) at_most: usize,
    /// Whether the newest are kept, or the oldest.
    pub(crate) newest: bool,
}

#[derive(Clone, Debug)]
struct Exemption {
    when: Condition,
    /// Seconds since 1970.
    until: Option<i64>,
}

#[derive(Clone, Debug)]
enum Requirement {
    Concurrent(Limit),
    Hours(Hours),
    MaxAge { seconds: i64 },
    Test(Test),
}

/// From one weekday to another, from one minute of the day to another, by UTC.
///
/// They may go over the end of the week, and over midnight: then into the day behind.
#[derive(Clone, Copy, Debug)]
struct Hours {
    days: [usize; 2],
    minutes: [i64; 2],
}

/// All of these hold; of none, all sessions.
#[derive(Clone, Debug)]
struct Condition(Vec<Test>);

#[derive(Clone, Debug)]
enum Test {
    AccessType(&'static str),
    Account(&'static str),
    Document(&'static str),
    Owner(Vec<Role>),
    /// How the reason begins.
    Reason(&'static str),
    /// How the Region begins.
    Region(&'static str),
    Status(&'static str),
    /// How the target begins.
    Target(String),
    Tag(&'static str, Vec<&'static str>),
}

/// A role by its name, or by how its name begins.
#[derive(Clone, Copy, Debug)]
struct Role {
    name: &'static str,
    is_prefix: bool,
}

/// What a policy may say of a session.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Verdict {
    Compliant,
    Exempt,
    Undetermined,
    Violation,
    Warning,
}

/// The tags of one target, as far as policies ask for them.
pub(crate) type TagSet = BTreeMap<&'static str, &'static str>;

/// What a sweep was told of a target's tags.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Tags {
    /// The call that asked for them did not succeed, or was never made.
    Failed,
    Known(TagSet),
    /// There was an answer without the target, or the target has no ARN to ask by.
    Untold,
}

impl Tags {
    pub(crate) fn known(&self) -> Option<&TagSet> {
        match self {
            Self::Known(tags) => Some(tags),
            Self::Failed | Self::Untold => None,
        }
    }
}

/// A session as it was listed, with all that a verdict needs.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    pub(crate) id: String,
    pub(crate) owner: String,
    pub(crate) target: String,
    pub(crate) started_ms: i64,
    role: String,
    status: Option<String>,
    document: Option<String>,
    /// `Some(None)`: none was given.
    #[expect(clippy::option_option, reason = "not known, none, or a text")]
    reason: Option<Option<String>>,
    access_type: Option<String>,
    /// By rule: whether there is a place for it under the rule's limit. Empty: for its own sake, it has
    /// all places.
    pub(crate) kept: Vec<Option<bool>>,
}

impl Listed {
    /// `None` if the row lacks something, or lies: such a session must not be evaluated.
    pub(crate) fn read(row: &Value, now_ms: i64) -> Option<Self> {
        let text = |key: &str| row.get(key).and_then(Value::as_str).map(ToOwned::to_owned);
        #[expect(clippy::cast_possible_truncation, reason = "milliseconds of our time")]
        let started_ms = (row.get("StartDate")?.as_f64()? * 1_000.0).round() as i64;
        if now_ms + 300_000 < started_ms || text("SessionId").is_none() {
            return None;
        }
        let owner = text("Owner")?;
        Some(Self {
            id: text("SessionId")?,
            target: text("Target")?,
            started_ms,
            role: owner.split('/').nth(1)?.to_owned(),
            status: text("Status"),
            document: text("DocumentName"),
            reason: text("Reason").map(Some),
            access_type: text("AccessType"),
            owner,
            kept: Vec::new(),
        })
    }
}

impl Listed {
    /// Whether it was terminated before, and is still listed.
    pub(crate) fn is_terminating(&self) -> bool {
        self.may_be_terminating() == Some(true)
    }

    /// The same; `None` if its status is not known.
    pub(crate) fn may_be_terminating(&self) -> Option<bool> {
        self.status.as_deref().map(|it| matches!(it, "Terminating" | "Terminated"))
    }
}

impl Role {
    fn any(rng: &mut Rng) -> Self {
        let is_prefix = rng.u8(..4) == 0;
        let name = ROLES[rng.usize(..ROLES.len())];
        Self { name: if is_prefix { &name[..3] } else { name }, is_prefix }
    }

    fn is(self, role: &str) -> bool {
        if self.is_prefix { role.starts_with(self.name) } else { role == self.name }
    }

    fn yaml(self) -> String {
        format!("role/{}{}", self.name, if self.is_prefix { "*" } else { "" })
    }
}

fn roles(rng: &mut Rng) -> Vec<Role> {
    (0..rng.usize(1..3)).map(|_| Role::any(rng)).collect()
}

/// Kleene's conjunction.
fn all(truths: impl IntoIterator<Item = Option<bool>>) -> Option<bool> {
    let truths: Vec<_> = truths.into_iter().collect();
    if truths.contains(&Some(false)) {
        return Some(false);
    }
    if truths.contains(&None) { None } else { Some(true) }
}

/// Kleene's disjunction.
fn any(truths: impl IntoIterator<Item = Option<bool>>) -> Option<bool> {
    all(truths.into_iter().map(|it| it.map(|it| !it))).map(|it| !it)
}

fn list(items: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let items: Vec<_> = items.into_iter().map(|it| format!("\"{}\"", it.as_ref())).collect();
    format!("[{}]", items.join(", "))
}

impl Test {
    fn access_type(rng: &mut Rng) -> Self {
        Self::AccessType(ACCESS_TYPES[rng.usize(..ACCESS_TYPES.len())])
    }

    fn account(rng: &mut Rng) -> Self {
        Self::Account([ACCOUNT, "210987654321"][rng.usize(..2)])
    }

    fn region(rng: &mut Rng) -> Self {
        Self::Region(["eu-", "us-"][rng.usize(..2)])
    }

    fn document(rng: &mut Rng) -> Self {
        Self::Document(DOCUMENTS[rng.usize(..DOCUMENTS.len())])
    }

    fn reason(rng: &mut Rng) -> Self {
        Self::Reason(["INC-", "CHG-"][rng.usize(..2)])
    }

    fn target(rng: &mut Rng) -> Self {
        Self::Target(["i-", "mi-", "ecs:my_", "odd "][rng.usize(..4)].into())
    }

    fn tag(rng: &mut Rng) -> Self {
        let key = KEYS[rng.usize(..KEYS.len())];
        Self::Tag(key, VALUES[..rng.usize(1..=VALUES.len())].to_vec())
    }

    fn yaml(&self) -> String {
        match self {
            Self::AccessType(name) => format!("access_type: {name}"),
            Self::Account(id) => format!("account: \"{id}\""),
            Self::Document(name) => format!("document: [{name}]"),
            Self::Owner(roles) => format!("owner: {}", list(roles.iter().map(|it| it.yaml()))),
            Self::Reason(beginning) => format!("reason: '^{beginning}'"),
            Self::Region(beginning) => format!("region: {beginning}*"),
            Self::Status(name) => format!("status: {name}"),
            // A pattern on targets has no white space.
            Self::Target(beginning) => format!("target: '{}*'", beginning.replace(' ', "?")),
            Self::Tag(key, values) => format!("target_tags: {{ \"{key}\": {} }}", list(values)),
        }
    }

    /// `None` if it is not known.
    fn holds(&self, it: &Listed, tags: Option<&TagSet>) -> Option<bool> {
        match self {
            Self::AccessType(name) => it.access_type.as_deref().map(|it| it == *name),
            Self::Account(id) => Some(*id == ACCOUNT),
            Self::Region(beginning) => Some(REGION.starts_with(beginning)),
            Self::Document(name) => it.document.as_deref().map(|it| it == *name),
            Self::Owner(roles) => Some(roles.iter().any(|role| role.is(&it.role))),
            Self::Reason(beginning) => {
                let reason = it.reason.as_ref();
                reason.map(|it| it.as_ref().is_some_and(|it| it.starts_with(beginning)))
            }
            Self::Status(name) => it.status.as_deref().map(|it| it == *name),
            Self::Target(beginning) => Some(it.target.starts_with(beginning)),
            Self::Tag(key, values) => {
                tags.map(|tags| tags.get(key).is_some_and(|it| values.contains(it)))
            }
        }
    }
}

impl Condition {
    fn any(rng: &mut Rng) -> Self {
        let mut tests = Vec::new();
        if rng.u8(..3) == 0 {
            tests.push(Test::Owner(roles(rng)));
        }
        if rng.u8(..3) == 0 {
            tests.push(Test::tag(rng));
        }
        if rng.u8(..6) == 0 {
            tests.push(Test::Status(STATUSES[rng.usize(..STATUSES.len())]));
        }
        for test in [
            Test::access_type,
            Test::account,
            Test::document,
            Test::reason,
            Test::region,
            Test::target,
        ] {
            if rng.u8(..12) == 0 {
                tests.push(test(rng));
            }
        }
        Self(tests)
    }

    fn holds(&self, it: &Listed, tags: Option<&TagSet>) -> Option<bool> {
        all(self.0.iter().map(|test| test.holds(it, tags)))
    }

    fn yaml(&self) -> String {
        if self.0.is_empty() {
            return "all".into();
        }
        format!("{{ {} }}", self.0.iter().map(Test::yaml).collect::<Vec<_>>().join(", "))
    }
}

impl Hours {
    fn any(rng: &mut Rng) -> Self {
        let start = 30 * rng.i64(0..48);
        let end = (start + 30 * rng.i64(16..47)) % MINUTES_A_DAY;
        // Midnight is the end of a day, and the beginning of none.
        let end = if end == 0 { MINUTES_A_DAY } else { end };
        Self { days: [rng.usize(..7), rng.usize(..7)], minutes: [start, end] }
    }

    fn yaml(self) -> String {
        let [first, last] = self.days.map(|it| WEEKDAYS[it]);
        let [start, end] = self.minutes.map(|it| format!("{:02}:{:02}", it / 60, it % 60));
        format!("hours: [\"{first}-{last} {start}-{end} UTC\"]")
    }

    fn contain(self, now_ms: i64) -> bool {
        let (day, minute) = (now_ms / 60_000 / MINUTES_A_DAY, now_ms / 60_000 % MINUTES_A_DAY);
        let [start, end] = self.minutes;
        // How far the evening of such a day reaches, in its own minutes.
        let end = if end < start { end + MINUTES_A_DAY } else { end };
        let begins_on = |day: i64, minute| self.has(day) && (start..end).contains(&minute);
        begins_on(day, minute) || begins_on(day - 1, minute + MINUTES_A_DAY)
    }

    /// Whether this day, since 1970, is one of them.
    fn has(self, day: i64) -> bool {
        let from_first_on = |day: usize| (day + 7 - self.days[0]) % 7;
        let weekday = usize::try_from((day + 3) % 7).expect("a weekday"); // It began on a Thursday.
        from_first_on(weekday) <= from_first_on(self.days[1])
    }
}

impl Limit {
    fn any(rng: &mut Rng) -> Self {
        let (by_owner, by_target) = [(true, false), (true, true), (false, true)][rng.usize(..3)];
        Self { rule: 0, by_owner, by_target, at_most: rng.usize(1..=3), newest: rng.bool() }
    }

    fn yaml(self) -> String {
        let per = match (self.by_owner, self.by_target) {
            (true, true) => "owner_and_target",
            (true, false) => "owner",
            (false, _) => "target",
        };
        let keep = if self.newest { "newest" } else { "oldest" };
        format!("concurrent: {{ per: {per}, at_most: {}, keep: {keep} }}", self.at_most)
    }
}

impl Requirement {
    fn any(rng: &mut Rng) -> Self {
        match rng.u8(..24) {
            16..24 => Self::Concurrent(Limit::any(rng)),
            0 | 1 => Self::Test(Test::Owner(roles(rng))),
            2 | 3 => Self::Test(Test::tag(rng)),
            4 => Self::Test(Test::access_type(rng)),
            5 => Self::Test(Test::document(rng)),
            6 => Self::Test(Test::reason(rng)),
            7 => Self::Hours(Hours::any(rng)),
            _ => Self::MaxAge { seconds: 60 * rng.i64(5..1_800) },
        }
    }

    fn yaml(&self) -> String {
        match self {
            Self::Concurrent(limit) => limit.yaml(),
            Self::Hours(hours) => hours.yaml(),
            Self::MaxAge { seconds } => format!("max_age: {seconds}s"),
            Self::Test(test) => test.yaml(),
        }
    }

    fn name(&self) -> String {
        self.yaml().split(':').next().unwrap_or_default().to_owned()
    }

    /// `None` if it is not known.
    fn is_fulfilled(&self, now_ms: i64, it: &Listed, tags: Option<&TagSet>) -> Option<bool> {
        match self {
            Self::Concurrent(limit) => it.kept.get(limit.rule).copied().unwrap_or(Some(true)),
            Self::Hours(hours) => Some(hours.contain(now_ms)),
            Self::MaxAge { seconds } => Some(now_ms - it.started_ms <= seconds * 1_000),
            Self::Test(test) => test.holds(it, tags),
        }
    }
}

impl Rule {
    fn any(rng: &mut Rng) -> Self {
        let mut require = Vec::new();
        if rng.u8(..8) != 0 {
            require.push(Requirement::any(rng));
            let other = Requirement::any(rng);
            if other.name() != require[0].name() && rng.u8(..4) == 0 {
                require.push(other);
            }
        }
        Self {
            when: Condition::any(rng),
            unless: Some(Condition::any(rng)).filter(|it| !it.0.is_empty() && rng.bool()),
            require,
            warns: rng.u8(..6) == 0,
        }
    }

    /// `None` if it is not known.
    fn is_in_scope(&self, it: &Listed, tags: Option<&TagSet>) -> Option<bool> {
        let unless = self.unless.as_ref().map_or(Some(false), |unless| unless.holds(it, tags));
        all([self.when.holds(it, tags), unless.map(|it| !it)])
    }

    fn limit(&self) -> Option<Limit> {
        self.require.iter().find_map(|it| match it {
            Requirement::Concurrent(limit) => Some(*limit),
            Requirement::Hours(_) | Requirement::MaxAge { .. } | Requirement::Test(_) => None,
        })
    }

    /// `None` if it is not known.
    fn is_violated(&self, now_ms: i64, it: &Listed, tags: Option<&TagSet>) -> Option<bool> {
        let not = |truth: Option<bool>| truth.map(|it| !it);
        let failures = self.require.iter().map(|asked| not(asked.is_fulfilled(now_ms, it, tags)));
        let fails = if self.require.is_empty() { Some(true) } else { any(failures) };
        all([self.is_in_scope(it, tags), fails])
    }
}

impl Model {
    /// Any policy, for a fleet of about this size, at about this time (seconds since 1970).
    pub(crate) fn any(rng: &mut Rng, n_sessions: usize, now: i64) -> Self {
        let mut rules: Vec<_> = (0..rng.usize(..4)).map(|_| Rule::any(rng)).collect();
        let is_mixed = rng.u8(..4) == 0;
        let newest = rng.bool();
        for (i, rule) in rules.iter_mut().enumerate() {
            for it in &mut rule.require {
                if let Requirement::Concurrent(limit) = it {
                    limit.rule = i;
                    limit.newest = if is_mixed { limit.newest } else { newest };
                }
            }
        }
        let exemptions = (0..rng.usize(..3)).map(|_| Exemption {
            when: Condition::any(rng),
            until: (rng.u8(..3) == 0).then(|| now + rng.i64(-3_600..43_200)),
        });
        let exemptions = exemptions.filter(|it| !it.when.0.is_empty()).collect();
        let max = [1, 3, 10, 50][rng.usize(..4)].max(n_sessions / 8);
        Self {
            rules,
            exemptions,
            max_terminations: max,
            percent: [25, 100, 100, 100][rng.usize(..4)],
            min_violations: [2, 10, 100][rng.usize(..3)],
            assumes_no_tags: rng.bool(),
            assumed_document: rng.bool().then(|| DOCUMENTS[rng.usize(..DOCUMENTS.len())]),
            assumed_access_type: rng.bool().then(|| ACCESS_TYPES[rng.usize(..ACCESS_TYPES.len())]),
            assumes_no_reason: rng.bool(),
            is_paused: rng.u8(..16) == 0,
        }
    }

    /// As a user would write it.
    pub(crate) fn yaml(&self) -> String {
        let mut text = format!("version: 1\ntag_keys: {}\nrules:\n", list(KEYS));
        if self.rules.is_empty() {
            text = text.replace("rules:\n", "rules: []\n");
        }
        for (i, Rule { when, unless, require, warns }) in self.rules.iter().enumerate() {
            let when = when.yaml();
            let unless = unless.as_ref().map(|it| format!(", unless: {}", it.yaml()));
            let unless = unless.unwrap_or_default();
            let require = match require.as_slice() {
                [] => "forbid: true".into(),
                all => {
                    let all: Vec<_> = all.iter().map(Requirement::yaml).collect();
                    format!("require: {{ {} }}", all.join(", "))
                }
            };
            let effect = if *warns { ", effect: warn" } else { "" };
            writeln!(text, "  - {{ id: r{i}, when: {when}{unless}, {require}{effect} }}").unwrap();
        }
        if !self.exemptions.is_empty() {
            text += "exemptions:\n";
        }
        for (i, Exemption { when, until }) in self.exemptions.iter().enumerate() {
            let until = until.map(|it| jiff::Timestamp::from_second(it).unwrap());
            let until = until.map(|it| format!(", until: {it}")).unwrap_or_default();
            writeln!(text, "  - {{ id: e{i}, when: {}{until} }}", when.yaml()).unwrap();
        }
        let Self { max_terminations, percent, min_violations, is_paused, .. } = self;
        let none_or_unknown = |is_none| if is_none { "none" } else { "unknown" };
        let tags = none_or_unknown(self.assumes_no_tags);
        let reason = none_or_unknown(self.assumes_no_reason);
        let document = self.assumed_document.unwrap_or("unknown");
        let access_type = self.assumed_access_type.unwrap_or("unknown");
        write!(
            text,
            "limits: {{ max_terminations: {max_terminations}, \
             circuit_breaker: {{max_percent: {percent}, min_violations: {min_violations} }} }}\n\
             assume: {{ tags: {tags}, document: {document}, access_type: {access_type}, \
             reason: {reason} }}\npaused: {is_paused}\n"
        )
        .unwrap();
        text
    }

    /// The verdicts that may be given: one, but where the status is not known, or where it makes no
    /// difference whether a session is exempt or compliant.
    pub(crate) fn verdicts(&self, now_ms: i64, it: &Listed, tags: &Tags) -> BTreeSet<Verdict> {
        let it = &self.assumed(it);
        if let Some(verdict) = self.verdict(now_ms, it, None) {
            // Its tags are not needed, but may be known, to count it: then it may need no exemption.
            let known = tags.known().filter(|_| !self.limits().is_empty());
            let known = known.and_then(|tags| self.verdict(now_ms, it, Some(tags)));
            return known.into_iter().chain([verdict]).collect();
        }
        let known = tags.known();
        if let Some(verdict) = self.verdict(now_ms, it, known) {
            return BTreeSet::from([verdict]);
        }
        let mut found = self.outcomes(now_ms, it, tags);
        let differs = |it| 1 < found.len() && found.contains(it);
        if differs(&Verdict::Violation) || differs(&Verdict::Warning) {
            return BTreeSet::from([Verdict::Undetermined]);
        }
        let rest_is_known = it.status.is_some()
            && it.document.is_some()
            && it.access_type.is_some()
            && it.reason.is_some();
        if *tags == Tags::Failed && rest_is_known {
            return BTreeSet::from([Verdict::Undetermined]); // They will be asked for again.
        }
        // Reasons and places are not completed, and not more than 256 ways are tried.
        let is_vague = it.reason.is_none()
            || it.kept.contains(&None)
            || ((it.document.is_none() || it.access_type.is_none())
                && (it.status.is_none() || known.is_none()));
        if *tags == Tags::Failed || 1 < found.len() || is_vague {
            found.insert(Verdict::Undetermined);
        }
        found
    }

    /// The session, with what the policy assumes of what was not returned.
    pub(crate) fn assumed(&self, it: &Listed) -> Listed {
        let text = |it: Option<&str>| it.map(ToOwned::to_owned);
        Listed {
            document: it.document.clone().or_else(|| text(self.assumed_document)),
            access_type: it.access_type.clone().or_else(|| text(self.assumed_access_type)),
            reason: it.reason.clone().or_else(|| self.assumes_no_reason.then_some(None)),
            ..it.clone()
        }
    }

    /// Whether the session is a violator in whatever way the unknown turns out.
    pub(crate) fn is_violated_by(&self, now_ms: i64, it: &Listed, tags: &Tags) -> bool {
        self.outcomes(now_ms, &self.assumed(it), tags) == BTreeSet::from([Verdict::Violation])
    }

    /// The ids of the rules that a violator, or a session with a warning, violates for certain; none if it
    /// is only known that it violates one of them. If this is known without its tags, only those; but
    /// tags may have been asked for to count the session.
    pub(crate) fn violated(&self, now_ms: i64, it: &Listed, tags: &Tags) -> Vec<BTreeSet<String>> {
        let it = &self.assumed(it);
        let certain = |tags| match self.verdict(now_ms, it, tags) {
            Some(Verdict::Violation | Verdict::Warning) => Some(self.certain(now_ms, it, tags)),
            _ => None,
        };
        let mut known: Vec<_> = [None, tags.known()].into_iter().filter_map(certain).collect();
        if self.limits().is_empty() {
            known.truncate(1);
        }
        if known.is_empty() {
            let (all, tags) = self.completions(it, tags);
            let pairs = all.iter().flat_map(|it| tags.iter().map(move |tags| (it, tags)));
            let each = pairs.map(|(it, tags)| self.certain(now_ms, it, Some(tags)));
            known.extend(each.reduce(|a, b| &a & &b));
        }
        known
    }

    fn certain(&self, now_ms: i64, it: &Listed, tags: Option<&TagSet>) -> BTreeSet<String> {
        let warns = self.verdict(now_ms, it, tags) == Some(Verdict::Warning);
        let rules = self.rules.iter().enumerate().filter(|(_, rule)| rule.warns == warns);
        let rules = rules.filter(|(_, rule)| rule.is_violated(now_ms, it, tags) == Some(true));
        rules.map(|(i, _)| format!("r{i}")).collect()
    }

    /// The limits on concurrent sessions.
    pub(crate) fn limits(&self) -> Vec<Limit> {
        self.rules.iter().filter_map(Rule::limit).collect()
    }

    pub(crate) fn n_rules(&self) -> usize {
        self.rules.len()
    }

    /// Whether the session is in scope of the rule; `None` if it is not known.
    pub(crate) fn is_in_scope(&self, rule: usize, it: &Listed, tags: &Tags) -> Option<bool> {
        self.rules[rule].is_in_scope(it, tags.known())
    }

    /// Whether tags would tell, whatever they are, if the session is in scope of the rule.
    pub(crate) fn is_told_by_tags(&self, rule: usize, it: &Listed) -> bool {
        let tells = |tags: &TagSet| self.rules[rule].is_in_scope(it, Some(tags)).is_some();
        Self::every_tag_set().iter().all(tells)
    }

    /// Whether the verdict is not known without tags, and some condition asks for tags.
    pub(crate) fn may_depend_on_tags(&self, now_ms: i64, it: &Listed) -> bool {
        let asks = |it: &Test| matches!(it, Test::Tag(..));
        self.verdict(now_ms, it, None).is_none() && self.tests().any(asks)
    }

    /// Whether the verdict is not known without the tags of its target, and may be with them.
    pub(crate) fn depends_on_tags(&self, now_ms: i64, it: &Listed) -> bool {
        let it = &self.assumed(it);
        let tells = |tags: &TagSet| self.verdict(now_ms, it, Some(tags)).is_some();
        self.verdict(now_ms, it, None).is_none() && Self::every_tag_set().iter().any(tells)
    }

    /// All verdicts to which what is not known may lead.
    pub(crate) fn possible(&self, now_ms: i64, it: &Listed, tags: &Tags) -> BTreeSet<Verdict> {
        match self.verdict(now_ms, it, tags.known()) {
            Some(verdict) => BTreeSet::from([verdict]),
            None => self.outcomes(now_ms, it, tags),
        }
    }

    /// The verdict on a session of which all is known.
    pub(crate) fn verdict_of(&self, now_ms: i64, it: &Listed, tags: &Tags) -> Verdict {
        self.verdict(now_ms, it, tags.known()).expect("all is known")
    }

    /// The session and its tags, completed in any way that conditions can tell apart.
    pub(crate) fn complete(&self, rng: &mut Rng, it: &Listed, tags: &Tags) -> (Listed, Tags) {
        let mut it = self.assumed(it);
        let mut any = |known: &mut Option<String>, all: &[&str]| {
            let i = rng.usize(..=all.len());
            known.get_or_insert_with(|| all.get(i).unwrap_or(&"Unheard").to_string());
        };
        any(&mut it.status, &STATUSES);
        any(&mut it.document, &DOCUMENTS);
        any(&mut it.access_type, &ACCESS_TYPES);
        let reason = [None, Some("INC-"), Some("CHG-"), Some("?")][rng.usize(..4)];
        it.reason.get_or_insert_with(|| reason.map(ToOwned::to_owned));
        let known = tags.known().cloned();
        let tags = known.unwrap_or_else(|| {
            let mut all = Self::every_tag_set();
            all.swap_remove(rng.usize(..all.len()))
        });
        (it, Tags::Known(tags))
    }

    fn outcomes(&self, now_ms: i64, it: &Listed, tags: &Tags) -> BTreeSet<Verdict> {
        let (all, tags) = self.completions(it, tags);
        let pairs = all.iter().flat_map(|it| tags.iter().map(move |tags| (it, tags)));
        let verdict = |(it, tags)| self.verdict(now_ms, it, Some(tags)).expect("all is known");
        pairs.map(verdict).collect()
    }

    /// What is known of a target that an answer does not speak of.
    pub(crate) fn untagged(&self) -> Tags {
        if self.assumes_no_tags { Tags::Known(TagSet::new()) } else { Tags::Untold }
    }

    /// The session, and the tags of its target, completed in every way that the policy can tell apart.
    fn completions(&self, it: &Listed, tags: &Tags) -> (Vec<Listed>, Vec<TagSet>) {
        let asks = |is_it: fn(&Test) -> bool| self.tests().any(is_it);
        let tags = match tags {
            Tags::Known(tags) => vec![tags.clone()],
            _ if !asks(|it| matches!(it, Test::Tag(..))) => vec![TagSet::new()],
            Tags::Failed | Tags::Untold => Self::every_tag_set(),
        };
        let either = |known: &Option<String>, all: &[&str], is_it: fn(&Test) -> bool| match known {
            None if asks(is_it) => {
                all.iter().copied().chain(["Unheard"]).map(|it| Some(it.to_owned())).collect()
            }
            known => vec![known.clone()],
        };
        let reasons = match &it.reason {
            None if asks(|it| matches!(it, Test::Reason(_))) => {
                let all = [None, Some("INC-"), Some("CHG-"), Some("?")];
                all.map(|it| Some(it.map(ToOwned::to_owned))).to_vec()
            }
            known => vec![known.clone()],
        };
        let mut all = Vec::new();
        for status in either(&it.status, &STATUSES, |it| matches!(it, Test::Status(_))) {
            for document in either(&it.document, &DOCUMENTS, |it| matches!(it, Test::Document(_))) {
                let is_it = |it: &_| matches!(it, Test::AccessType(_));
                for access_type in either(&it.access_type, &ACCESS_TYPES, is_it) {
                    for reason in &reasons {
                        all.extend(Self::placed(Listed {
                            status: status.clone(),
                            document: document.clone(),
                            access_type: access_type.clone(),
                            reason: reason.clone(),
                            ..it.clone()
                        }));
                    }
                }
            }
        }
        (all, tags)
    }

    /// All tests of the policy.
    fn tests(&self) -> impl Iterator<Item = &Test> {
        let of_rules = self.rules.iter().flat_map(|it| it.unless.iter().chain([&it.when]));
        let of_exemptions = self.exemptions.iter().map(|it| &it.when);
        let required = self.rules.iter().flat_map(|it| &it.require);
        let required = required.filter_map(|it| match it {
            Requirement::Test(test) => Some(test),
            Requirement::Concurrent(_) | Requirement::Hours(_) | Requirement::MaxAge { .. } => None,
        });
        of_rules.chain(of_exemptions).flat_map(|it| &it.0).chain(required)
    }

    /// The session with a place or none, where this is not known.
    fn placed(it: Listed) -> Vec<Listed> {
        let Some(i) = it.kept.iter().position(Option::is_none) else { return vec![it] };
        let with = |has_place| {
            let mut it = it.clone();
            it.kept[i] = Some(has_place);
            Self::placed(it)
        };
        [with(true), with(false)].concat()
    }

    fn every_tag_set() -> Vec<TagSet> {
        let mut all = vec![TagSet::new()];
        for key in KEYS {
            let mut more = Vec::new();
            for value in VALUES.into_iter().chain(["another"]) {
                more.extend(all.iter().cloned().map(|mut it| {
                    it.insert(key, value);
                    it
                }));
            }
            all.extend(more);
        }
        all
    }

    /// `None` if it is not known.
    fn verdict(&self, now_ms: i64, it: &Listed, tags: Option<&TagSet>) -> Option<Verdict> {
        let is_violated = |warns: bool| {
            let rules = self.rules.iter().filter(|it| it.warns == warns);
            any(rules.map(|rule| rule.is_violated(now_ms, it, tags)))
        };
        let exempts = |exemption: &Exemption| {
            let is_over = exemption.until.is_some_and(|until| until * 1_000 <= now_ms);
            all([Some(!is_over), exemption.when.holds(it, tags)])
        };
        let is_exempt = any(self.exemptions.iter().map(exempts));
        for (warns, verdict) in [(false, Verdict::Violation), (true, Verdict::Warning)] {
            match (is_violated(warns), is_exempt) {
                (Some(false), _) => {} // Those that warn come next.
                (_, Some(true)) => return Some(Verdict::Exempt),
                (Some(true), Some(false)) => return Some(verdict),
                _ => return None,
            }
        }
        Some(Verdict::Compliant)
    }
}

/// A policy's text, and what it means; `None` if it is none.
pub(crate) fn policy(rng: &mut Rng, n_sessions: usize, now: i64) -> (String, Option<Model>) {
    let model = Model::any(rng, n_sessions, now);
    let text = model.yaml();
    match rng.u8(..24) {
        0 => (text.replace("version: 1", "version: 2"), None),
        1 => (text.replace("paused:", "pause:"), None),
        2 => (text[..text.len() / 2].to_owned() + "\n: [", None),
        3 => (hopeless(rng, &text), None),
        _ => (text, Some(model)),
    }
}

/// The policy, with a pattern that matches nothing that AWS has, or a tag key named twice.
fn hopeless(rng: &mut Rng, policy: &str) -> String {
    let long = |n| "x".repeat(n);
    let conditions = [
        "owner: 'role/{dev,ops}'".to_owned(),
        "owner: \"role/d\\u200Bev\"".into(),
        "owner: role/dev–ops".into(),
        "owner: 'arn:aws:iam::123456789012:role/dev'".into(),
        format!("owner: role/{}", long(65)),
        "target: \"i-*\\n\"".into(),
        "target: ''".into(),
        "document: 'AWS-[SP]*'".into(),
        "document: ''".into(),
        format!("document: {}", long(129)),
        "target_tags: { env: \"prod\\n\" }".into(),
        format!("target_tags: {{ env: {} }}", long(257)),
        "target_tags: { env: prod, env: dev }".into(),
        "reason: \"^INC-\\n\"".into(),
        "reason: '(?i)^störung'".into(),
        format!("reason: {}", long(257)),
    ];
    match conditions.get(rng.usize(..=conditions.len())) {
        None => policy.replacen("tag_keys: [", "tag_keys: [\"env\", ", 1),
        Some(condition) => {
            let rule = format!("rules:\n  - {{ id: x, when: {{ {condition} }}, forbid: true }}\n");
            policy.replacen("rules: []", "rules:", 1).replacen("rules:\n", &rule, 1)
        }
    }
}
