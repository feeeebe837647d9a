//! Cases: sessions, and the verdicts that a policy must give them.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::bail;
use jiff::{Span, SpanRelativeTo, Timestamp};
use reaper_core::{
    evaluate::Verdict,
    policy::Policy,
    session::{Reading, Record, Session},
    session_type::{DocumentTypes, SessionType},
    target::{Scope, Tags, Unknown},
};
use serde::{Deserialize, Deserializer, de::Error};
use serde_saphyr::Spanned;

use crate::{
    explain::shown,
    file::{File, Invalid},
};

/// A file of cases.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cases {
    /// The instant at which the sessions are evaluated.
    pub(crate) now: Timestamp,
    /// The account's 12 digits, if the policy asks for it.
    account: Option<String>,
    /// The Region's code, if the policy asks for it.
    region: Option<String>,
    pub(crate) sessions: Vec<Spanned<Case>>,
}

/// A session, and the verdict that the policy must give it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    /// A description.
    name: Option<String>,
    /// In short form, such as `role/sre/jane`, or an ARN.
    owner: String,
    #[serde(default = "instance")]
    target: Arc<str>,
    #[serde(deserialize_with = "age")]
    age: Span,
    /// `none`: AWS did not return one.
    #[serde(default = "connected")]
    status: Arc<str>,
    document: Option<Arc<str>>,
    reason: Option<Arc<str>>,
    access_type: Option<Arc<str>>,
    /// What the document starts. Absent: known for AWS's own documents alone.
    session_type: Option<String>,
    /// The cases of a group are active at once; one without is alone.
    pub(crate) group: Option<String>,
    /// Absent: not known.
    #[serde(default, deserialize_with = "tags")]
    tags: Option<BTreeMap<String, String>>,
    /// Replaces the file's instant.
    pub(crate) now: Option<Timestamp>,
    verdict: Expected,
    /// The leading rule, or the exemption.
    rule: Option<String>,
    /// All the rules, in order.
    rules: Option<Vec<String>>,
    /// What an undetermined verdict depends on.
    unknown: Option<String>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Expected {
    Compliant,
    Exempt,
    Undetermined,
    Violation,
    Warning,
}

impl Expected {
    fn name(self) -> &'static str {
        match self {
            Self::Compliant => "compliant",
            Self::Exempt => "exempt",
            Self::Undetermined => "undetermined",
            Self::Violation => "violation",
            Self::Warning => "warning",
        }
    }
}

/// The statuses that a case may have, besides `none`.
const STATUSES: [&str; 6] =
    ["Connected", "Connecting", "Disconnected", "Failed", "Terminated", "Terminating"];

const ACCESS_TYPES: [&str; 2] = ["Standard", "JustInTime"];

fn age<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Span, D::Error> {
    let text = String::deserialize(deserializer)?;
    let age = text.parse().ok().filter(|it: &Span| !it.is_negative());
    age.ok_or_else(|| D::Error::custom("write an age such as `12h1s` or `20d`"))
}

/// `null` is refused, because it may be meant as none or as unknown.
fn tags<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<BTreeMap<String, String>>, D::Error> {
    let tags = Option::deserialize(deserializer)?;
    let wrong =
        "`tags` is empty: write `{}` if there are none, or leave it out if they are unknown";
    tags.map(Some).ok_or_else(|| D::Error::custom(wrong))
}

fn connected() -> Arc<str> {
    "Connected".into()
}

fn instance() -> Arc<str> {
    "i-0123456789abcdef0".into()
}

impl Cases {
    pub(crate) fn parse(file: &File) -> anyhow::Result<Self> {
        let cases: Self = serde_saphyr::from_str(&file.text).map_err(|err| {
            let err = err.to_string();
            let err = err.trim_start_matches("error: "); // The command prints it.
            Invalid(format!("cannot use `{}`: {err}", file.name))
        })?;
        if cases.sessions.is_empty() {
            bail!(Invalid(format!("there are no cases in `{}`", file.name)));
        }
        Ok(cases)
    }

    /// Where the sessions are, if the file says so.
    pub(crate) fn scope(&self) -> anyhow::Result<Option<Scope>> {
        match (self.account.clone(), self.region.clone()) {
            (Some(account), Some(region)) => {
                Ok(Some(Scope { partition: "aws".into(), region, account }))
            }
            (None, None) => Ok(None),
            _ => bail!(Invalid("cases have both `account` and `region`, or neither".into())),
        }
    }

    /// What the documents of the cases start. One without a type could not be read.
    pub(crate) fn types(&self) -> Result<DocumentTypes, String> {
        let mut types = DocumentTypes::default();
        let mut seen: BTreeMap<&str, Option<SessionType>> = BTreeMap::new();
        for Case { document, session_type, .. } in self.sessions.iter().map(|it| &it.value) {
            let Some(document) = document else {
                match session_type {
                    None => continue,
                    Some(_) => return Err("a case with `session_type` needs its `document`".into()),
                }
            };
            let session_type = match session_type {
                None => None,
                Some(name) => Some(SessionType::from_name(name).ok_or_else(|| {
                    let known = SessionType::ALL.map(SessionType::name).join("`, `");
                    format!("no session has the type `{name}`; write `{known}`")
                })?),
            };
            let known = DocumentTypes::default().of(document).ok();
            let before = seen.insert(document, session_type).map_or(known, |it| it.or(known));
            if session_type.is_some() && before.is_some_and(|it| Some(it) != session_type) {
                return Err(format!("the document `{document}` has two types"));
            }
            if session_type.is_some() || types.of(document) == Err(Unknown::SessionTypeNotLookedUp)
            {
                types.insert(document.clone(), session_type);
            }
        }
        Ok(types)
    }
}

impl Case {
    /// Finds mistakes.
    pub(crate) fn check(&self, policy: &Policy) -> Result<(), String> {
        let Self { status, access_type, tags, .. } = self;
        if **status != *"none" && !STATUSES.contains(&&**status) {
            let known = STATUSES.join("`, `");
            return Err(format!("no session has the status `{status}`; write `{known}` or `none`"));
        }
        if let Some(it) = access_type.as_ref().filter(|it| !ACCESS_TYPES.contains(&&***it)) {
            let known = ACCESS_TYPES.join("` or `");
            return Err(format!("no session has the access type `{it}`; write `{known}`"));
        }
        let mut keys = tags.iter().flat_map(BTreeMap::keys);
        match keys.find(|it| !policy.tag_keys.contains(it)) {
            Some(key) => Err(format!("the policy's `tag_keys` do not list `{key}`")),
            None => Ok(()),
        }
    }

    /// The session at this instant, or what is wrong with the case.
    pub(crate) fn session(&self, now: Timestamp, index: usize) -> Result<Session, String> {
        let age = self.age.to_duration(SpanRelativeTo::days_are_24_hours());
        let started_at = age.and_then(|age| now.checked_sub(age)).map_err(|err| err.to_string())?;
        let record = Record {
            id: Some(format!("case-{index:05}").into()),
            owner: Some(arn(&self.owner)?.into()),
            target: Some(self.target.clone()),
            started_at: Some(started_at),
            ended_at: None,
            status: Some(self.status.clone()).filter(|it| **it != *"none"),
            document: self.document.clone(),
            reason: self.reason.clone(),
            access_type: self.access_type.clone(),
        };
        match record.read(now) {
            Reading::Session(session) => Ok(session),
            Reading::NotEvaluated(_, why) => Err(format!("the session is not evaluated: {why}")),
        }
    }

    /// Whether two cases of a group say different things of the tags of one target.
    pub(crate) fn contradicts(&self, other: &Self) -> bool {
        let tags = self.tags.as_ref().zip(other.tags.as_ref());
        self.group.is_some()
            && (&self.group, &self.target) == (&other.group, &other.target)
            && tags.is_some_and(|(a, b)| a != b)
    }

    pub(crate) fn tags(&self) -> Tags {
        let known = |tags: &BTreeMap<_, _>| Tags::Known(tags.clone().into());
        self.tags.as_ref().map_or(Tags::Unknown(Unknown::TagsNotReturned), known)
    }

    /// Whether the verdict is the one that is expected.
    pub(crate) fn is_met_by(&self, verdict: &Verdict) -> bool {
        let rules = verdict.rules();
        let unknown = verdict.unknown().map(Unknown::name);
        verdict.name() == self.verdict.name()
            && self.rule.as_deref().is_none_or(|it| rules.first().is_some_and(|id| **id == *it))
            && self
                .rules
                .as_ref()
                .is_none_or(|it| it.iter().map(|it| &**it).eq(rules.iter().map(|it| &**it)))
            && (self.unknown.is_none() || unknown == self.unknown.as_deref())
    }

    /// What is expected, in words.
    pub(crate) fn expected(&self) -> String {
        let mut words = self.verdict.name().to_owned();
        words.extend(self.unknown.iter().flat_map(|it| [" (", it, ")"]));
        let rules = self.expected_rules().join(", ");
        if rules.is_empty() { words } else { format!("{words}: {rules}") }
    }

    pub(crate) fn expected_rules(&self) -> Vec<String> {
        self.rules.clone().unwrap_or_else(|| self.rule.clone().into_iter().collect())
    }

    /// The case in words.
    pub(crate) fn title(&self) -> String {
        if let Some(name) = &self.name {
            return name.clone();
        }
        let Self { owner, age, document, reason, access_type, .. } = self;
        let is_default = |it: &&Arc<str>| **it != connected() && **it != instance();
        let given = [
            Some(&self.target).filter(is_default),
            Some(&self.status).filter(is_default),
            document.as_ref(),
            reason.as_ref(),
            access_type.as_ref(),
        ];
        let given: Vec<_> = given.into_iter().flatten().map(|it| format!(", {it}")).collect();
        format!("{owner}, {age:#}{}, tags: {}", given.concat(), shown(&self.tags()))
    }
}

/// The ARN of an owner, which may be written in short form.
fn arn(owner: &str) -> Result<String, String> {
    let sts = |name: String| format!("arn:aws:sts::123456789012:{name}");
    let (kind, name) = owner.split_once('/').unwrap_or((owner, ""));
    match (kind, name.split_once('/')) {
        _ if owner.starts_with("arn:") => Ok(owner.into()),
        ("role", Some(_)) => Ok(sts(format!("assumed-role/{name}"))),
        ("permission-set", Some((name, user))) => {
            Ok(sts(format!("assumed-role/AWSReservedSSO_{name}_0123456789abcdef/{user}")))
        }
        ("federated-user", None) if !name.is_empty() => Ok(sts(owner.into())),
        ("user", _) if !name.is_empty() => Ok(format!("arn:aws:iam::123456789012:{owner}")),
        ("root", None) => Ok("arn:aws:iam::123456789012:root".into()),
        _ => Err(format!(
            "`{owner}` is not an owner; write `role/NAME/SESSION-NAME`, `permission-set/NAME/USER`, \
             `user/NAME`, `federated-user/NAME`, `root` or an ARN"
        )),
    }
}
