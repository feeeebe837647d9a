//! Policies as data, and their random generation.

use fastrand::Rng;

use crate::world::{
    ACCESS_TYPES, AGES, Assume, DOCUMENTS, MONDAYS, REASON_PATTERNS, STATUSES, TAG_KEYS,
    TAG_VALUES, TIMES_OF_DAY, pick, time_of_week,
};

#[derive(Clone, Debug)]
pub(crate) struct Policy {
    pub(crate) rules: Vec<Rule>,
    pub(crate) exemptions: Vec<Exemption>,
    /// What is assumed of fields that AWS does not return.
    pub(crate) assume: Assume,
}

#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) when: Condition,
    pub(crate) unless: Option<Condition>,
    /// Empty: `forbid`.
    pub(crate) require: Vec<Requirement>,
}

#[derive(Clone, Debug)]
pub(crate) struct Exemption {
    pub(crate) when: Condition,
    /// Seconds since 1970.
    pub(crate) until: Option<i64>,
}

/// Empty: `all`.
pub(crate) type Condition = Vec<Test>;

#[derive(Clone, Debug)]
pub(crate) enum Test {
    AccessType(Vec<&'static str>),
    Document(Vec<&'static str>),
    Owner(Vec<OwnerPattern>),
    /// Indices of `REASON_PATTERNS`.
    Reason(Vec<usize>),
    Status(Vec<&'static str>),
    Target(Vec<&'static str>),
    /// Indices of `TAG_KEYS`, and globs.
    TargetTags(Vec<(usize, Vec<&'static str>)>),
}

#[derive(Clone, Debug)]
pub(crate) enum OwnerPattern {
    Arn(&'static str),
    Federated(&'static str),
    PermissionSet(&'static str, Option<&'static str>),
    Role(&'static str, Option<&'static str>),
    Root,
    User(&'static str),
    UserWithPath(&'static str),
}

#[derive(Clone, Debug)]
pub(crate) enum Requirement {
    Hours(Vec<Hours>),
    /// Seconds.
    MaxAge(i64),
    Test(Test),
}

/// Days from Monday = 0, minutes of the day, an index of `ZONES`.
#[derive(Clone, Debug)]
pub(crate) struct Hours {
    pub(crate) days: Vec<(i64, i64)>,
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) zone: usize,
}

pub(crate) const ZONES: [&str; 3] = ["UTC", "Asia/Kolkata", "Europe/Berlin"];

const ROLE_GLOBS: [&str; 11] = [
    "sre-oncall",
    "sre-*",
    "sre*",
    "*",
    "dev",
    "BreakGlass",
    "AWSReservedSSO_*",
    "AWSReservedSSO_Pay_*",
    "s?e",
    "S?an",
    "*-*",
];
const PERMISSION_SET_GLOBS: [&str; 8] =
    ["Pay_Ops", "Pay", "Pay*", "*_Ops", "*", "Contractor*", "Contractor_EU_?", "*_*"];
const PEOPLE_GLOBS: [&str; 7] = ["jane", "j*", "*@x.org", "jane?2", "*", "bob", "?ob"];
const PATH_GLOBS: [&str; 6] =
    ["team/*", "team/jane", "team/x/jane", "*/jane", "team/x/*", "team/?/bob"];
const ARN_GLOBS: [&str; 9] = [
    "arn:*",
    "arn:aws:*",
    "arn:aws-cn:*",
    "arn:aws:sts::*:assumed-role/sre-*/jane",
    "arn:*:assumed-role/AWSReservedSSO_*",
    "arn:aws:iam::*:root",
    "arn:aws*:user/*",
    "arn:aws:iam::123456789012:user/team/*",
    "arn:*:federated-user/j*",
];
const TARGET_GLOBS: [&str; 7] = ["i-*", "mi-*", "i-0a", "ecs:lab_*", "*", "?-0a", "*-0?"];
const DOCUMENT_GLOBS: [&str; 6] = [
    "SSM-SessionManagerRunShell",
    "AWS-StartPortForwardingSession*",
    "AWS-*",
    "*Shell",
    "AWS-StartSSHSession",
    "AWS-Start???Session",
];
const PARTIAL_TAG_GLOBS: [&[&str]; 3] =
    [&["prod*", "prod-?", "*d*", "d?v"], &["pay*", "?eb"], &["t*e"]];
const ANY_TAG_GLOBS: [&str; 2] = ["*", "?*"];

impl Policy {
    pub(crate) fn random(rng: &mut Rng) -> Self {
        // Few keys for most policies, so that all completions of the tags can be tried; for
        // some, globs that match a part of a value.
        let mut draw =
            Draw { keys: pick(rng, &[1, 2, 2, 2, 3]), partial_globs: rng.u8(0..5) == 0, rng };
        let mut rules: Vec<Rule> = (0..draw.rng.u8(1..5)).map(|_| draw.rule()).collect();
        let exemptions = (0..pick(draw.rng, &[0, 0, 1, 1, 2])).map(|_| draw.exemption()).collect();
        if draw.rng.u8(0..4) == 0 {
            let pair = draw.complements();
            rules.extend(pair);
        }
        let rng = draw.rng;
        let assume = Assume {
            document: rng.bool().then(|| pick(rng, &DOCUMENTS)),
            access_type: rng.bool().then(|| pick(rng, &ACCESS_TYPES)),
            no_reason: rng.u8(0..4) != 0,
        };
        Self { rules, exemptions, assume }
    }

    pub(crate) fn tests(&self) -> impl Iterator<Item = &Test> {
        let rules = self.rules.iter().flat_map(|rule| {
            let required = rule.require.iter().filter_map(|it| match it {
                Requirement::Test(test) => Some(test),
                Requirement::Hours(_) | Requirement::MaxAge(_) => None,
            });
            rule.when.iter().chain(rule.unless.iter().flatten()).chain(required)
        });
        rules.chain(self.exemptions.iter().flat_map(|it| &it.when))
    }

    /// The globs on the values of each tag key; without a glob, the key is not used.
    pub(crate) fn tag_globs(&self) -> [Vec<&'static str>; 3] {
        let mut globs = [const { Vec::new() }; 3];
        for test in self.tests() {
            if let Test::TargetTags(all) = test {
                for (key, any) in all {
                    globs[*key].extend(any);
                }
            }
        }
        globs
    }
}

/// Whether a glob of a tag or a document matches a part of a value: then no finite set of values represents all.
pub(crate) fn is_partial(glob: &str) -> bool {
    glob.contains(['*', '?']) && !ANY_TAG_GLOBS.contains(&glob)
}

struct Draw<'a> {
    rng: &'a mut Rng,
    keys: usize,
    partial_globs: bool,
}

impl Draw<'_> {
    fn rule(&mut self) -> Rule {
        let require = if self.rng.u8(0..4) == 0 { Vec::new() } else { self.require() };
        Rule {
            when: self.condition(),
            unless: (self.rng.u8(0..3) == 0).then(|| self.condition()),
            require,
        }
    }

    /// Two rules of which one is always violated, whatever the unknown facts are; or, with different
    /// globs, nearly always.
    fn complements(&mut self) -> [Rule; 2] {
        let kind = pick(self.rng, &[2, 2, 4]);
        let mut when = vec![self.test(kind)];
        let require = if self.rng.bool() { Vec::new() } else { self.require() };
        let first = Rule { when: when.clone(), unless: None, require: require.clone() };
        if let [Test::TargetTags(all)] = when.as_mut_slice() {
            for glob in all.iter_mut().flat_map(|(_, globs)| globs).filter(|it| **it == "?*") {
                *glob = pick(self.rng, &ANY_TAG_GLOBS);
            }
        }
        [first, Rule { when: Vec::new(), unless: Some(when), require }]
    }

    fn exemption(&mut self) -> Exemption {
        let until = (self.rng.u8(0..3) == 0)
            .then(|| pick(self.rng, &MONDAYS) + time_of_week(self.rng) * 60);
        let mut when = self.condition();
        if when.is_empty() && self.rng.u8(0..4) != 0 {
            when.push(self.test(2)); // With an exemption for all there is little to evaluate.
        }
        Exemption { when, until }
    }

    fn condition(&mut self) -> Condition {
        if self.rng.u8(0..5) == 0 {
            return Vec::new();
        }
        // `target_tags` more often than the others, because tags may be unknown.
        let mut kinds = vec![2, 2, 2];
        for _ in 0..pick(self.rng, &[0, 0, 1, 2]) {
            kinds.push(pick(self.rng, &[0, 1, 3, 4, 4, 5, 6]));
        }
        self.rng.shuffle(&mut kinds);
        kinds.truncate(pick(self.rng, &[1, 1, 2, 3]));
        kinds.sort_unstable();
        kinds.dedup();
        kinds.into_iter().map(|it| self.test(it)).collect()
    }

    fn require(&mut self) -> Vec<Requirement> {
        // In the order of the keys of a condition; 1 and 4 (target, status) cannot be required.
        let mut kinds = vec![pick(self.rng, &[0, 2, 2, 3, 5, 6, 7, 7, 8])];
        if self.rng.u8(0..3) == 0 {
            kinds.push(pick(self.rng, &[0, 2, 3, 5, 6, 7, 8]));
        }
        kinds.sort_unstable();
        kinds.dedup();
        kinds
            .into_iter()
            .map(|it| match it {
                7 => Requirement::MaxAge(pick(self.rng, &AGES)),
                8 => Requirement::Hours((0..self.few()).map(|_| self.hours()).collect()),
                it => Requirement::Test(self.test(it)),
            })
            .collect()
    }

    fn test(&mut self, kind: u8) -> Test {
        let few = self.few();
        match kind {
            0 => Test::Owner((0..few).map(|_| self.owner_pattern()).collect()),
            1 => Test::Target(self.some(&TARGET_GLOBS)),
            2 => self.target_tags(),
            3 => Test::Document(self.some(&DOCUMENT_GLOBS)),
            4 if self.rng.u8(0..4) == 0 => Test::Status(STATUSES.into()),
            4 => Test::Status(self.some(&STATUSES)),
            5 => Test::AccessType(self.some(&ACCESS_TYPES)),
            _ => {
                let all = REASON_PATTERNS.len();
                Test::Reason((0..few).map(|_| self.rng.usize(..all)).collect())
            }
        }
    }

    fn owner_pattern(&mut self) -> OwnerPattern {
        let second = |draw: &mut Self| {
            let glob = pick(draw.rng, &PEOPLE_GLOBS);
            (draw.rng.u8(0..3) == 0).then_some(glob)
        };
        match self.rng.u8(0..10) {
            0..4 => OwnerPattern::Role(pick(self.rng, &ROLE_GLOBS), second(self)),
            4 | 5 => {
                OwnerPattern::PermissionSet(pick(self.rng, &PERMISSION_SET_GLOBS), second(self))
            }
            6 => OwnerPattern::User(pick(self.rng, &PEOPLE_GLOBS)),
            7 => OwnerPattern::UserWithPath(pick(self.rng, &PATH_GLOBS)),
            8 => OwnerPattern::Arn(pick(self.rng, &ARN_GLOBS)),
            _ if self.rng.bool() => OwnerPattern::Root,
            _ => OwnerPattern::Federated(pick(self.rng, &PEOPLE_GLOBS)),
        }
    }

    fn target_tags(&mut self) -> Test {
        let mut keys: Vec<usize> = (0..self.keys).collect();
        self.rng.shuffle(&mut keys);
        keys.truncate(pick(self.rng, &[1, 1, 1, 2]));
        let tags = keys.into_iter().map(|key| {
            let any = (0..self.few()).map(|_| self.tag_glob(key)).collect();
            (key, any)
        });
        Test::TargetTags(tags.collect())
    }

    fn tag_glob(&mut self, key: usize) -> &'static str {
        debug_assert!(key < TAG_KEYS.len());
        match self.rng.u8(0..10) {
            0 | 1 => pick(self.rng, &ANY_TAG_GLOBS),
            2..5 if self.partial_globs => pick(self.rng, PARTIAL_TAG_GLOBS[key]),
            // The last value is never named.
            _ => {
                let values = TAG_VALUES[key].split_last().expect("values").1;
                pick(self.rng, &values[..values.len().min(3)])
            }
        }
    }

    fn hours(&mut self) -> Hours {
        let days = (0..self.few()).map(|_| (self.rng.i64(0..7), self.rng.i64(0..7))).collect();
        let start = pick(self.rng, &TIMES_OF_DAY);
        let ends = TIMES_OF_DAY.into_iter().filter(|it| *it != start).chain([24 * 60]);
        let end = pick(self.rng, &ends.collect::<Vec<_>>());
        Hours { days, start, end, zone: self.rng.usize(..ZONES.len()) }
    }

    fn some(&mut self, of: &[&'static str]) -> Vec<&'static str> {
        (0..self.few()).map(|_| pick(self.rng, of)).collect()
    }

    fn few(&mut self) -> usize {
        pick(self.rng, &[1, 1, 2, 3])
    }
}
