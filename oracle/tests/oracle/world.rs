//! Sessions as facts, from which both sides get their inputs.

use std::collections::BTreeMap;

use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};
use reaper_core::session::{Reading, Record, Session};

/// Regular expressions, and what they are in Cedar for the reasons that sessions have.
pub(crate) const REASON_PATTERNS: [(&str, &str); 8] = [
    ("^INC", r#"R like "INC*""#),
    ("^(INC|CHG)-[0-9]+", r#"(R like "INC-1*" || R like "CHG-4*")"#),
    ("lunch", r#"R like "*lunch*""#),
    ("(?i)inc-", r#"(R like "*INC-*" || R like "*inc-*")"#),
    ("[0-9]$", r#"(R like "*1" || R like "*7")"#),
    (r"\bINC-\d", r#"R like "*INC-1*""#),
    ("K.ln", r#"R like "*Köln""#),
    ("", "true"),
];

/// Fields that AWS may not return; `None` and `false` assume nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Assume {
    pub(crate) document: Option<&'static str>,
    pub(crate) access_type: Option<&'static str>,
    pub(crate) no_reason: bool,
}

/// Who started a session.
#[derive(Clone, Debug)]
pub(crate) enum Owner {
    Federated {
        name: &'static str,
    },
    /// A role that IAM Identity Center created for a permission set.
    PermissionSet {
        name: &'static str,
        user: &'static str,
    },
    Role {
        name: &'static str,
        session: &'static str,
    },
    Root,
    /// A principal for which policies have no short form.
    Service,
    /// The path is empty, or ends in `/`.
    User {
        path: &'static str,
        name: &'static str,
    },
}

/// Everything about a session except its target's tags.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) owner: Owner,
    /// Everything before the account; the partition matters to `arn:` globs.
    arn_start: &'static str,
    pub(crate) target: &'static str,
    /// Seconds since 1970.
    pub(crate) now: i64,
    pub(crate) age_ms: i64,
    pub(crate) status: Option<&'static str>,
    pub(crate) document: Option<&'static str>,
    pub(crate) reason: Option<&'static str>,
    pub(crate) access_type: Option<&'static str>,
}

pub(crate) type TagMap = BTreeMap<&'static str, &'static str>;

pub(crate) const ROLES: [&str; 6] =
    ["sre-oncall", "sre", "dev", "BreakGlass", "AWSReservedSSO_Fake_2b03", "Séan"];
pub(crate) const PERMISSION_SETS: [&str; 4] = ["Pay_Ops", "Pay", "Ops", "Contractor_EU_1"];
/// Session names of roles, users of permission sets, names of federated users.
pub(crate) const PEOPLE: [&str; 4] = ["jane", "bob", "j@x.org", "jane_2"];
pub(crate) const PATHS: [&str; 3] = ["", "team/", "team/x/"];
pub(crate) const TARGETS: [&str; 4] = ["i-0a", "i-0b", "mi-0a", "ecs:lab_x_y-1"];
pub(crate) const DOCUMENTS: [&str; 4] = [
    "SSM-SessionManagerRunShell",
    "AWS-StartSSHSession",
    "AWS-StartPortForwardingSession",
    "AWS-StartPortForwardingSessionToRemoteHost",
];
pub(crate) const REASONS: [&str; 6] =
    ["INC-1", "CHG-42 lunch", "inc-7", "INC-", "see INC-1", "Mittagspause in Köln"];
pub(crate) const ACCESS_TYPES: [&str; 2] = ["Standard", "JustInTime"];
pub(crate) const STATUSES: [&str; 6] =
    ["Connected", "Connecting", "Disconnected", "Failed", "Terminated", "Terminating"];
/// A status that no policy can name.
pub(crate) const UNHEARD_OF: &str = "Hibernating";

pub(crate) const TAG_KEYS: [&str; 3] = ["env", "team", "reaper:exempt"];
/// No policy names the last; policies may name the others, or match them by a glob.
pub(crate) const TAG_VALUES: [&[&str]; 3] = [
    &["", "prod", "dev", "production", "prod-1", "elsewhere"],
    &["", "pay", "web", "payments", "other"],
    &["", "true", "no"],
];

const HOUR: i64 = 3_600;
/// Two Mondays at 00:00 UTC: one in winter, one in summer.
pub(crate) const MONDAYS: [i64; 2] = [1_767_571_200, 1_783_296_000];

/// In minutes.
pub(crate) const TIMES_OF_DAY: [i64; 5] = [0, 390, 480, 1_110, 1_320];

const ACCOUNT: &str = "123456789012";
const SSO_SUFFIX: &str = "2b03e7d876722882";

/// Limits of age in seconds. Ages are near them.
pub(crate) const AGES: [i64; 5] = [90, 1_800, 5_400, 28_800, 86_400];

impl Facts {
    /// Often at one of these instants, or a second before or after.
    pub(crate) fn random(rng: &mut Rng, instants: &[i64]) -> Self {
        let person = pick(rng, &PEOPLE);
        let owner = match rng.u8(0..20) {
            0..8 => Owner::Role { name: pick(rng, &ROLES), session: person },
            8..12 => Owner::PermissionSet { name: pick(rng, &PERMISSION_SETS), user: person },
            12..16 => Owner::User { path: pick(rng, &PATHS), name: person },
            16..18 => Owner::Federated { name: person },
            18 => Owner::Root,
            _ => Owner::Service,
        };
        let around = [-1_000, -1, 0, 1, 1_000];
        let age_ms = match rng.u8(0..10) {
            0 => -300_000, // AWS's clock is ahead, as far as is tolerated.
            1 => rng.i64(0..100_000_000),
            _ => pick(rng, &AGES) * 1_000 + pick(rng, &around),
        };
        // Often when hours begin or end in one of the zones, or a second before or after.
        let offset = pick(rng, &[0, 0, HOUR, 2 * HOUR, 5 * HOUR + HOUR / 2]);
        let now = match instants {
            [_, ..] if rng.bool() => pick(rng, instants),
            _ => pick(rng, &MONDAYS) + time_of_week(rng) * 60 - offset,
        } + rng.i64(-1..2);
        Self {
            owner,
            // One of AWS's examples lacks the `arn:`.
            arn_start: pick(rng, &["arn:aws", "arn:aws", "arn:aws-cn", "aws"]),
            target: pick(rng, &TARGETS),
            now,
            age_ms,
            status: rng.u8(0..10).ge(&1).then(|| match rng.u8(0..10) {
                0 => UNHEARD_OF,
                _ => pick(rng, &STATUSES),
            }),
            document: rng.u8(0..20).ge(&3).then(|| pick(rng, &DOCUMENTS)),
            reason: rng.u8(0..10).ge(&3).then(|| pick(rng, &REASONS)),
            access_type: match rng.u8(0..10) {
                0 => None,
                1 => Some("Emergency"),
                _ => Some(pick(rng, &ACCESS_TYPES)),
            },
        }
    }

    /// The facts, with what the policy assumes of those that AWS does not return.
    pub(crate) fn assumed(&self, assume: Assume) -> Self {
        Self {
            document: self.document.or(assume.document),
            access_type: self.access_type.or(assume.access_type),
            ..self.clone()
        }
    }

    /// Whether it is not known if a reason was given.
    pub(crate) fn hides_reason(&self, assume: Assume) -> bool {
        self.reason.is_none() && !assume.no_reason
    }

    /// All possible values of the unknown facts except tags; one value that no policy names represents
    /// all others.
    pub(crate) fn completions(&self, assume: Assume) -> Vec<Self> {
        let either = |known: Option<&'static str>, all: &[&'static str], other| match known {
            Some(known) => vec![known],
            None => all.iter().copied().chain([other]).collect(),
        };
        let reasons = match self.reason {
            None if self.hides_reason(assume) => {
                REASONS.into_iter().map(Some).chain([None]).collect()
            }
            known => vec![known],
        };
        let mut all = Vec::new();
        for status in either(self.status, &STATUSES, UNHEARD_OF) {
            for document in either(self.document, &DOCUMENTS, "Another") {
                for access_type in either(self.access_type, &ACCESS_TYPES, "Emergency") {
                    all.extend(reasons.iter().map(|reason| Self {
                        status: Some(status),
                        document: Some(document),
                        access_type: Some(access_type),
                        reason: *reason,
                        ..self.clone()
                    }));
                }
            }
        }
        all
    }

    pub(crate) fn arn(&self) -> String {
        let (service, resource) = match &self.owner {
            Owner::Federated { name } => ("sts", format!("federated-user/{name}")),
            Owner::PermissionSet { name, user } => {
                ("sts", format!("assumed-role/AWSReservedSSO_{name}_{SSO_SUFFIX}/{user}"))
            }
            Owner::Role { name, session } => ("sts", format!("assumed-role/{name}/{session}")),
            Owner::Root => ("iam", "root".into()),
            Owner::Service => return "ecs.amazonaws.com".into(),
            Owner::User { path, name } => ("iam", format!("user/{path}{name}")),
        };
        format!("{}:{service}::{ACCOUNT}:{resource}", self.arn_start)
    }

    /// The name of the role that was assumed, if any.
    pub(crate) fn role(&self) -> Option<String> {
        match &self.owner {
            Owner::PermissionSet { name, .. } => {
                Some(format!("AWSReservedSSO_{name}_{SSO_SUFFIX}"))
            }
            Owner::Role { name, .. } => Some((*name).into()),
            Owner::Federated { .. } | Owner::Root | Owner::Service | Owner::User { .. } => None,
        }
    }

    /// The session as the API returns it.
    pub(crate) fn session(&self) -> (Timestamp, Session) {
        let now = Timestamp::from_second(self.now).expect("an instant");
        let text = |it: Option<&str>| it.map(Into::into);
        let record = Record {
            id: text(Some("x-1")),
            owner: Some(self.arn().into()),
            target: text(Some(self.target)),
            started_at: Some(now - SignedDuration::from_millis(self.age_ms)),
            status: text(self.status),
            document: text(self.document),
            reason: text(self.reason),
            access_type: text(self.access_type),
            ..Record::default()
        };
        let Reading::Session(session) = record.read(now) else {
            panic!("{self:?} is not evaluated")
        };
        (now, session)
    }

    /// Seconds since Monday 00:00, by the clock of each zone: UTC, India, Berlin.
    pub(crate) fn week_seconds(&self) -> [i64; 3] {
        const WEEK: i64 = 7 * 24 * HOUR;
        // Berlin does not change its clocks in these two weeks.
        let berlin = if self.now < MONDAYS[1] - WEEK { HOUR } else { 2 * HOUR };
        [0, 5 * HOUR + HOUR / 2, berlin].map(|it| (self.now + it - MONDAYS[0]).rem_euclid(WEEK))
    }
}

/// In minutes; only a few, so that equal ones occur.
pub(crate) fn time_of_week(rng: &mut Rng) -> i64 {
    rng.i64(0..7) * 24 * 60 + pick(rng, &TIMES_OF_DAY)
}

pub(crate) fn pick<T: Copy>(rng: &mut Rng, of: &[T]) -> T {
    of[rng.usize(..of.len())]
}
