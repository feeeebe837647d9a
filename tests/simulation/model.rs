//! A second reading of the policy language: policies as data, evaluated by three-valued logic and by
//! trying every way in which what is unknown may turn out. It shares no code with `src/`, and knows
//! only what the simulation writes into its policies.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use fastrand::Rng;
use serde_json::Value;

use crate::fleet::{ACCESS_TYPES, DOCUMENTS, KEYS, ROLES, STATUSES, VALUES};

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
}

#[derive(Clone, Debug)]
struct Exemption {
    when: Condition,
    /// Seconds since 1970.
    until: Option<i64>,
}

#[derive(Clone, Debug)]
enum Requirement {
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
    Document(&'static str),
    Owner(Vec<Role>),
    /// How the reason begins.
    Reason(&'static str),
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

/// A session as it was listed, with all that a verdict needs.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    pub(crate) target: String,
    pub(crate) started_ms: i64,
    role: String,
    status: Option<String>,
    document: Option<String>,
    /// `Some(None)`: none was given.
    reason: Option<Option<String>>,
    access_type: Option<String>,
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
        Some(Self {
            target: text("Target")?,
            started_ms,
            role: text("Owner")?.split('/').nth(1)?.to_owned(),
            status: text("Status"),
            document: text("DocumentName"),
            reason: text("Reason").map(Some),
            access_type: text("AccessType"),
        })
    }
}

impl Listed {
    /// Whether it was terminated before, and is still listed.
    pub(crate) fn is_terminating(&self) -> bool {
        matches!(self.status.as_deref(), Some("Terminating" | "Terminated"))
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
            Self::Document(name) => format!("document: [{name}]"),
            Self::Owner(roles) => format!("owner: {}", list(roles.iter().map(|it| it.yaml()))),
            Self::Reason(beginning) => format!("reason: '^{beginning}'"),
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
        for test in [Test::access_type, Test::document, Test::reason, Test::target] {
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

impl Requirement {
    fn any(rng: &mut Rng) -> Self {
        match rng.u8(..16) {
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
        }
    }

    /// `None` if it is not known.
    fn is_violated(&self, now_ms: i64, it: &Listed, tags: Option<&TagSet>) -> Option<bool> {
        let not = |truth: Option<bool>| truth.map(|it| !it);
        let unless = self.unless.as_ref().map_or(Some(false), |unless| unless.holds(it, tags));
        let failures = self.require.iter().map(|asked| not(asked.is_fulfilled(now_ms, it, tags)));
        let fails = if self.require.is_empty() { Some(true) } else { any(failures) };
        all([self.when.holds(it, tags), not(unless), fails])
    }
}

impl Model {
    /// Any policy, for a fleet of about this size, at about this time (seconds since 1970).
    pub(crate) fn any(rng: &mut Rng, n_sessions: usize, now: i64) -> Self {
        let rules = (0..rng.usize(..4)).map(|_| Rule::any(rng)).collect();
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
        for (i, Rule { when, unless, require }) in self.rules.iter().enumerate() {
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
            writeln!(text, "  - {{ id: r{i}, when: {when}{unless}, {require} }}").unwrap();
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
            return BTreeSet::from([verdict]); // Its tags are not needed.
        }
        let known = match tags {
            Tags::Known(tags) => Some(tags),
            Tags::Failed | Tags::Untold => None,
        };
        if let Some(verdict) = self.verdict(now_ms, it, known) {
            return BTreeSet::from([verdict]);
        }
        let mut found = self.outcomes(now_ms, it, tags);
        if 1 < found.len() && found.contains(&Verdict::Violation) {
            return BTreeSet::from([Verdict::Undetermined]);
        }
        let rest_is_known = it.status.is_some()
            && it.document.is_some()
            && it.access_type.is_some()
            && it.reason.is_some();
        if *tags == Tags::Failed && rest_is_known {
            return BTreeSet::from([Verdict::Undetermined]); // They will be asked for again.
        }
        // Reasons are not completed, and not more than 256 ways are tried.
        let is_vague = it.reason.is_none()
            || ((it.document.is_none() || it.access_type.is_none())
                && (it.status.is_none() || known.is_none()));
        if *tags == Tags::Failed || 1 < found.len() || is_vague {
            found.insert(Verdict::Undetermined);
        }
        found
    }

    /// The session, with what the policy assumes of what was not returned.
    fn assumed(&self, it: &Listed) -> Listed {
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

    /// The ids of the rules that a violator violates for certain; none if it is only known that it
    /// violates one of them. Of a violator by what is known without its tags, only those.
    pub(crate) fn violated(&self, now_ms: i64, it: &Listed, tags: &Tags) -> BTreeSet<String> {
        let it = &self.assumed(it);
        let known = match tags {
            Tags::Known(tags) => Some(tags),
            Tags::Failed | Tags::Untold => None,
        };
        for tags in [None, known] {
            if self.verdict(now_ms, it, tags) == Some(Verdict::Violation) {
                return self.certain(now_ms, it, tags);
            }
        }
        let completions = Self::completions(it, tags).into_iter();
        let each = completions.map(|(it, tags)| self.certain(now_ms, &it, Some(&tags)));
        each.reduce(|a, b| &a & &b).unwrap_or_default()
    }

    fn certain(&self, now_ms: i64, it: &Listed, tags: Option<&TagSet>) -> BTreeSet<String> {
        let rules = self.rules.iter().enumerate();
        let rules = rules.filter(|(_, rule)| rule.is_violated(now_ms, it, tags) == Some(true));
        rules.map(|(i, _)| format!("r{i}")).collect()
    }

    /// Whether the verdict cannot be told without the tags of its target.
    pub(crate) fn needs_tags(&self, now_ms: i64, it: &Listed) -> bool {
        let it = &self.assumed(it);
        let tells = |tags: &TagSet| self.verdict(now_ms, it, Some(tags)).is_some();
        self.verdict(now_ms, it, None).is_none() && Self::every_tag_set().iter().any(tells)
    }

    fn outcomes(&self, now_ms: i64, it: &Listed, tags: &Tags) -> BTreeSet<Verdict> {
        let completions = Self::completions(it, tags);
        let verdict = |(it, tags): &(_, _)| self.verdict(now_ms, it, Some(tags));
        completions.iter().map(|it| verdict(it).expect("all is known")).collect()
    }

    /// What is known of a target that an answer does not speak of.
    pub(crate) fn untagged(&self) -> Tags {
        if self.assumes_no_tags { Tags::Known(TagSet::new()) } else { Tags::Untold }
    }

    /// The session and its tags, completed in every way that conditions can tell apart.
    fn completions(it: &Listed, tags: &Tags) -> Vec<(Listed, TagSet)> {
        let tags = match tags {
            Tags::Known(tags) => vec![tags.clone()],
            Tags::Failed | Tags::Untold => Self::every_tag_set(),
        };
        let statuses = match &it.status {
            Some(status) => vec![status.as_str()],
            None => STATUSES.into_iter().chain(["Unheard"]).collect(),
        };
        let either = |known: &Option<String>, all: &[&str]| match known {
            Some(known) => vec![known.clone()],
            None => all.iter().copied().chain(["Unheard"]).map(ToOwned::to_owned).collect(),
        };
        let reasons = match &it.reason {
            Some(reason) => vec![reason.clone()],
            None => [None, Some("INC-"), Some("CHG-"), Some("?")]
                .map(|it| it.map(ToOwned::to_owned))
                .to_vec(),
        };
        let mut all = Vec::new();
        for status in statuses {
            for document in either(&it.document, &DOCUMENTS) {
                for access_type in either(&it.access_type, &ACCESS_TYPES) {
                    for reason in &reasons {
                        let it = Listed {
                            status: Some(status.into()),
                            document: Some(document.clone()),
                            access_type: Some(access_type.clone()),
                            reason: Some(reason.clone()),
                            ..it.clone()
                        };
                        all.extend(tags.iter().map(|tags| (it.clone(), tags.clone())));
                    }
                }
            }
        }
        all
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
        let is_violated = |rule: &Rule| rule.is_violated(now_ms, it, tags);
        let exempts = |exemption: &Exemption| {
            let is_over = exemption.until.is_some_and(|until| until * 1_000 <= now_ms);
            all([Some(!is_over), exemption.when.holds(it, tags)])
        };
        match (any(self.rules.iter().map(is_violated)), any(self.exemptions.iter().map(exempts))) {
            (Some(false), _) => Some(Verdict::Compliant),
            (_, Some(true)) => Some(Verdict::Exempt),
            (Some(true), Some(false)) => Some(Verdict::Violation),
            _ => None,
        }
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
