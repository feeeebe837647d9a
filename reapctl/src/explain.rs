//! `reapctl explain`: why a policy says of a session what it says.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use anyhow::{Context, bail};
use jiff::{Timestamp, Unit};
use reaper_core::{
    evaluate::{Verdict, evaluate},
    pattern::short_owner,
    policy::{Condition, Demand, Exemption, Policy, Requirement, Rule, Subject, Test},
    printable::{mend_halves, printable, printable_json},
    session::{Reading, Record, Session, State},
    target::{Tags, Unknown},
    truth::Truth,
};
use reaper_render::table::{cell, table};
use serde::{Deserialize, Serialize};
use serde_json::json;
use session_reaper::{
    sweep::clock::check_clock,
    sweep::list::{Census, list},
    sweep::tags::look_up,
};

use tokio::time::Instant;

use crate::{
    aws::{Connection, budget},
    clock::now,
    file::{File, Invalid},
    stdio::{Output, println, warn},
};

/// Explain a verdict: every rule and exemption, what each condition saw, and which one decided.
///
/// The session is an active one of the account and Region, by its id, with the tags of its target;
/// or one from a file, with the tags that `--tag` gives.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  reapctl explain --policy policy.yaml jane-0a1b2c3d4e5f60001\n  reapctl explain --policy policy.yaml --from sessions.json SESSION_ID --tag env=prod"
)]
pub(crate) struct Args {
    /// The session's id; with `--from`, which of the file's sessions
    #[arg(required_unless_present = "from")]
    session_id: Option<String>,
    /// The policy's file; `-` for standard input
    #[arg(long, value_name = "FILE")]
    policy: String,
    /// A session in JSON, or the output of `aws ssm describe-sessions`; `-` for standard input
    #[arg(long, value_name = "FILE")]
    from: Option<String>,
    /// A tag of the target, in place of a look-up; may be repeated
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = tag)]
    tags: Vec<(String, String)>,
    /// The target has no tags
    #[arg(long, conflicts_with = "tags")]
    no_tags: bool,
    /// The instant to evaluate at, such as 2027-06-30T00:00:00Z [default: now]
    #[arg(long, value_name = "INSTANT")]
    at: Option<Timestamp>,
    /// How to print the explanation
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

fn tag(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("a tag is KEY=VALUE")?;
    Ok((key.into(), value.into()))
}

/// One row of `DescribeSessions`, as the AWS CLI prints it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Row {
    session_id: Option<Arc<str>>,
    owner: Option<Arc<str>>,
    target: Option<Arc<str>>,
    start_date: Option<StartDate>,
    status: Option<Arc<str>>,
    document_name: Option<Arc<str>>,
    reason: Option<Arc<str>>,
    access_type: Option<Arc<str>>,
}

/// Seconds since 1970, or ISO 8601.
#[derive(Deserialize)]
#[serde(untagged)]
enum StartDate {
    Seconds(f64),
    Text(Timestamp),
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Page {
    sessions: Vec<Row>,
}

impl TryFrom<Row> for Record {
    type Error = jiff::Error;

    fn try_from(row: Row) -> Result<Self, jiff::Error> {
        let started_at = match row.start_date {
            None => None,
            Some(StartDate::Seconds(seconds)) => {
                let since = jiff::SignedDuration::try_from_secs_f64(seconds)?;
                Some(Timestamp::from_duration(since)?)
            }
            Some(StartDate::Text(at)) => Some(at),
        };
        let given = |it: Option<Arc<str>>| it.filter(|it| !it.is_empty());
        Ok(Self {
            id: given(row.session_id),
            owner: given(row.owner),
            target: given(row.target),
            started_at,
            ended_at: None,
            status: given(row.status),
            document: given(row.document_name),
            reason: given(row.reason),
            access_type: given(row.access_type),
        })
    }
}

pub(crate) async fn run(args: &Args) -> anyhow::Result<()> {
    File::not_both_from_stdin(&args.policy, args.from.as_deref())?;
    let file = File::read(&args.policy)?;
    let policy = file.policy()?;
    let now = args.at.unwrap_or_else(now);
    let given = (args.no_tags || !args.tags.is_empty())
        .then(|| Tags::Known(Arc::new(args.tags.iter().cloned().collect())));
    let (record, tags) = match &args.from {
        Some(path) => {
            let record = from_file(&File::read(path)?, args.session_id.as_deref())?;
            (record, given.unwrap_or(Tags::Unknown(Unknown::TagsNotLookedUp)))
        }
        None => from_aws(args, &policy, given).await?,
    };
    let session = match record.read(now) {
        Reading::Session(session) => session,
        Reading::NotEvaluated(_, why) => {
            bail!("the session is not evaluated, and so never ended: {why}")
        }
    };
    let explanation = Explanation::new(&policy, now, &session, &tags);
    match args.output {
        Output::Json => {
            println!("{}", printable_json(explanation.json(&session.id, now).to_string()));
        }
        Output::Text => {
            let Session { id, owner, target, document, .. } = &session;
            println!("session  {}", printable(id));
            println!("owner    {}", printable(&short_owner(owner)));
            println!("target   {}, tags: {}", printable(target), printable(&shown(&tags)));
            let document = document.as_deref().unwrap_or("not returned");
            println!("document {}", printable(document));
            println!("policy   {} at {now:.0}\n", file.name);
            println!("{explanation}");
        }
    }
    Ok(())
}

fn from_file(file: &File, id: Option<&str>) -> anyhow::Result<Record> {
    let invalid = |err: &dyn fmt::Display| Invalid(format!("cannot use `{}`: {err}", file.name));
    let mut text = file.text.clone().into_bytes();
    mend_halves(&mut text); // The AWS CLI prints what AWS sent.
    let json: serde_json::Value = serde_json::from_slice(&text).map_err(|err| invalid(&err))?;
    let rows = if json.get("Sessions").is_some() {
        serde_json::from_slice::<Page>(&text).map(|it| it.sessions)
    } else {
        serde_json::from_slice(&text).map(|it| vec![it])
    };
    let rows: Vec<Row> = rows.map_err(|err| invalid(&err))?;
    if json.get("Sessions").or(json.get("SessionId")).is_none() {
        bail!(invalid(&"it has neither `Sessions` nor a `SessionId`"));
    }
    let is_meant = |it: &Row| id.is_none() || it.session_id.as_deref() == id;
    let mut rows: Vec<Row> = rows.into_iter().filter(is_meant).collect();
    match (rows.pop(), rows.is_empty()) {
        (Some(row), true) => Ok(Record::try_from(row).map_err(|err| invalid(&err))?),
        (None, _) => Err(invalid(&"there is no such session in it").into()),
        (Some(_), false) => {
            Err(invalid(&"there are several sessions in it; say which by SESSION_ID").into())
        }
    }
}

async fn from_aws(
    args: &Args,
    policy: &Policy,
    given: Option<Tags>,
) -> anyhow::Result<(Record, Tags)> {
    let id = args.session_id.as_deref().context("a session's id is needed")?;
    let aws = args.connection.open().await?;
    let (now, read_at) = (now(), Instant::now());
    let census = list(&aws.ssm, State::Active, budget()).await;
    if args.at.is_none() {
        check_clock(&aws.ssm, &census, now, read_at, budget()).await?;
    }
    let Census { pages, problem, .. } = census;
    let record = pages.into_iter().flatten().find(|it| it.id.as_deref() == Some(id));
    let record = record.with_context(|| match problem {
        Some(problem) => format!("the listing ended before `{id}` was seen: {problem}"),
        None => format!("no active session has the id `{id}`"),
    })?;
    let tags = match (given, &record.target) {
        (Some(tags), _) => tags,
        (None, _) if policy.tag_keys.is_empty() => Tags::Unknown(Unknown::TagsNotLookedUp),
        (None, None) => Tags::Unknown(Unknown::TagsNoArn),
        (None, Some(target)) => {
            let targets = BTreeSet::from([&**target]);
            let (mut tags, problems) =
                look_up(&aws.ssm, aws.scope(), policy, targets, budget()).await;
            warn(problems.iter().map(ToString::to_string));
            warn(aws.tag_problem(policy));
            tags.remove(&**target).unwrap_or(Tags::Unknown(Unknown::TagsNotReturned))
        }
    };
    Ok((record, tags))
}

/// The tags, or why nobody knows them.
pub(crate) fn shown(tags: &Tags) -> String {
    match tags {
        Tags::Known(tags) if tags.is_empty() => "none".into(),
        Tags::Known(tags) => {
            tags.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
        }
        Tags::Unknown(why) => format!("unknown ({})", name(*why)),
    }
}

pub(crate) fn name(why: Unknown) -> String {
    json!(why).as_str().unwrap_or_default().to_owned()
}

/// What each rule and exemption makes of a session.
pub(crate) struct Explanation {
    pub(crate) verdict: Verdict,
    clauses: Vec<Clause>,
}

#[derive(Serialize)]
struct Clause {
    /// `rule` or `exemption`.
    kind: &'static str,
    id: String,
    in_scope: &'static str,
    /// What came out: `violated`, `does not hold`, …
    state: &'static str,
    parts: Vec<Part>,
}

/// One condition or requirement.
#[derive(Clone, Serialize)]
struct Part {
    /// `when`, `unless`, `require`, `forbid` or `until`.
    key: &'static str,
    /// With its bound, as the policy has it.
    test: String,
    holds: &'static str,
    /// The session's own value.
    seen: String,
    /// Whether the outcome rests on it.
    decides: bool,
    #[serde(skip)]
    truth: Truth,
}

impl Part {
    fn new(key: &'static str, test: String, truth: Truth, seen: String) -> Self {
        Self { key, test, holds: yes_or_no(truth), seen, decides: false, truth }
    }
}

/// A field as AWS told it, or what the policy assumes of it.
fn told(told: Option<&str>, assumed: Option<&str>) -> String {
    match (told, assumed) {
        (Some(value), _) => value.into(),
        (None, Some(value)) => format!("{value} (assumed)"),
        (None, None) => "not returned".into(),
    }
}

fn yes_or_no(truth: Truth) -> &'static str {
    match truth {
        Truth::False => "no",
        Truth::True => "yes",
        Truth::Unknown => "unknown",
    }
}

/// What a session is evaluated with.
#[derive(Clone, Copy)]
struct Facts<'a> {
    now: Timestamp,
    subject: Subject<'a>,
}

impl Explanation {
    pub(crate) fn new(policy: &Policy, now: Timestamp, session: &Session, tags: &Tags) -> Self {
        let facts = Facts { now, subject: Subject::new(policy, session, tags) };
        let rules = policy.rules.iter().map(|it| facts.rule(it));
        let exemptions = policy.exemptions.iter().map(|it| facts.exemption(it));
        let verdict = evaluate(policy, now, session, tags);
        Self { verdict, clauses: rules.chain(exemptions).collect() }
    }

    fn json(&self, session_id: &str, at: Timestamp) -> serde_json::Value {
        json!({
            "session_id": session_id,
            "at": at,
            "verdict": self.verdict.name(),
            "rules": self.verdict.rules(),
            "unknown": self.verdict.unknown(),
            "clauses": self.clauses,
        })
    }

    /// Only these rules and exemptions, and every one that may have decided; if none, all.
    pub(crate) fn about(mut self, ids: &[String]) -> Self {
        let decided = self.verdict.rules();
        let is_about =
            |it: &Clause| ids.contains(&it.id) || decided.iter().any(|id| **id == *it.id);
        if self.clauses.iter().any(is_about) {
            let clauses = std::mem::take(&mut self.clauses);
            self.clauses = clauses.into_iter().filter(is_about).collect();
        }
        self
    }
}

impl Facts<'_> {
    fn rule(self, rule: &Rule) -> Clause {
        let Self { now, subject } = self;
        let mut parts = self.condition("when", &rule.when);
        parts.extend(rule.unless.iter().flat_map(|it| self.condition("unless", it)));
        let required;
        match &rule.demand {
            Demand::Forbid => {
                required = Truth::False;
                let test = "no such session".into();
                parts.push(Part::new("forbid", test, Truth::False, String::new()));
            }
            Demand::Require(all) => {
                required = Truth::all(all.iter().map(|it| it.is_fulfilled(now, subject)));
                parts.extend(all.iter().flat_map(|it| self.requirement(it)));
            }
        }
        let when = rule.when.holds(subject);
        let unless = rule.unless.as_ref().map_or(Truth::False, |it| it.holds(subject));
        let in_scope = Truth::all([when, !unless]);
        let violated = rule.is_violated(now, subject);
        for part in &mut parts {
            part.decides = match violated {
                Truth::Unknown => {
                    let group = match part.key {
                        "when" => when,
                        "unless" => unless,
                        _ => required,
                    };
                    (part.truth, group) == (Truth::Unknown, Truth::Unknown)
                }
                Truth::True => {
                    ["require", "forbid"].contains(&part.key) && part.truth == Truth::False
                }
                Truth::False if when == Truth::False => {
                    part.key == "when" && part.truth == Truth::False
                }
                Truth::False if unless == Truth::True => part.key == "unless",
                Truth::False => part.key == "require",
            };
        }
        let state = match violated {
            Truth::False => "not violated",
            Truth::True => "violated",
            Truth::Unknown => "may be violated",
        };
        let id = rule.id.to_string();
        Clause { kind: "rule", id, in_scope: yes_or_no(in_scope), state, parts }
    }

    fn exemption(self, exemption: &Exemption) -> Clause {
        let Self { now, subject } = self;
        let mut parts = self.condition("when", &exemption.when);
        parts.extend(exemption.until.map(|until| {
            Part::new("until", until.to_string(), (now < until).into(), format!("{now:.0}"))
        }));
        let holds = exemption.holds(now, subject);
        for part in &mut parts {
            part.decides = part.truth == holds;
        }
        let state = match holds {
            Truth::False => "does not hold",
            Truth::True => "holds",
            Truth::Unknown => "may hold",
        };
        let in_scope = yes_or_no(exemption.when.holds(subject));
        Clause { kind: "exemption", id: exemption.id.to_string(), in_scope, state, parts }
    }

    fn condition(self, key: &'static str, condition: &Condition) -> Vec<Part> {
        if condition.0.is_empty() {
            return vec![Part::new(key, "all".into(), Truth::True, String::new())];
        }
        condition.0.iter().flat_map(|it| self.test(key, it)).collect()
    }

    fn requirement(self, requirement: &Requirement) -> Vec<Part> {
        let Self { now, subject } = self;
        let seen = match requirement {
            Requirement::Hours(any) => {
                let clocks: BTreeSet<String> = any.iter().map(|it| it.clock(now)).collect();
                clocks.into_iter().collect::<Vec<_>>().join(", ")
            }
            Requirement::MaxAge(_) => {
                let age = subject.session.age(now);
                format!("{:#}", age.round(Unit::Millisecond).unwrap_or(age))
            }
            Requirement::Test(test) => return self.test("require", test),
        };
        let truth = requirement.is_fulfilled(now, subject);
        vec![Part::new("require", requirement.to_string(), truth, seen)]
    }

    /// One part, or one for each tag key.
    fn test(self, key: &'static str, test: &Test) -> Vec<Part> {
        let Self { subject, .. } = self;
        let Subject { session, .. } = subject;
        let seen = match test {
            Test::AccessType(_) => told(session.access_type.as_deref(), subject.access_type()),
            Test::Document(_) => told(session.document.as_deref(), subject.document()),
            Test::Owner(_) => short_owner(&session.owner),
            Test::Reason(_) => {
                told(session.reason.as_deref(), subject.reason().map(|it| it.unwrap_or("none")))
            }
            Test::Status(_) => told(session.status.as_deref(), None),
            Test::Target(_) => session.target.to_string(),
            Test::TargetTags(all) => {
                let one = |it: &(String, _)| {
                    let test = Test::TargetTags(vec![it.clone()]);
                    let seen = match subject.tags() {
                        Ok(tags) => match tags.get(&it.0) {
                            Some(value) => shown(&Tags::Known(Arc::new(BTreeMap::from([(
                                it.0.clone(),
                                value.clone(),
                            )])))),
                            None => format!("no tag {}", it.0),
                        },
                        Err(why) => name(why),
                    };
                    Part::new(key, test.to_string(), test.holds(subject), seen)
                };
                return all.iter().map(one).collect();
            }
        };
        vec![Part::new(key, test.to_string(), test.holds(subject), seen)]
    }
}

impl fmt::Display for Explanation {
    /// Each rule and exemption, its parts in columns, and the verdict. `>` marks what decided.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = table(&["", "", "CONDITION", "HOLDS", "SEEN"]);
        for part in self.clauses.iter().flat_map(|it| &it.parts) {
            table.add_row([
                cell(if part.decides { ">" } else { "" }),
                cell(part.key),
                cell(&part.test),
                cell(part.holds),
                cell(&part.seen),
            ]);
        }
        let mut lines = table.lines();
        if let Some(header) = lines.next() {
            writeln!(f, "{}", header.trim_end())?;
        }
        for Clause { kind, id, in_scope, state, parts } in &self.clauses {
            let scope = match *in_scope {
                "yes" => "in scope, ",
                "no" => "not in scope, ",
                _ => "scope unknown, ",
            };
            writeln!(f, "{kind} {}: {scope}{state}", printable(id))?;
            for line in lines.by_ref().take(parts.len()) {
                writeln!(f, "{}", line.trim_end())?;
            }
        }
        write!(f, "\nverdict: {}", described(&self.verdict))?;
        let is_certain = |it: &Clause| it.state == "violated";
        if self.verdict.name() == "violation" && !self.clauses.iter().any(is_certain) {
            write!(f, " (one of them, however the unknown turns out)")?;
        }
        if let Some(remedy) = self.verdict.unknown().and_then(Unknown::remedy) {
            write!(f, "\n{remedy}")?;
        }
        Ok(())
    }
}

/// A verdict in words.
pub(crate) fn described(verdict: &Verdict) -> String {
    let mut words = verdict.name().to_owned();
    words.extend(verdict.unknown().map(|it| format!(" ({})", name(it))));
    let rules = printable(&verdict.rules().join(", "));
    if rules.is_empty() { words } else { format!("{words}: {rules}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The advice for a target of another kind leads out: with it, the session is a violation.
    #[test]
    fn advice_on_other_targets() {
        let now = Timestamp::UNIX_EPOCH;
        let session = Session {
            id: "x-1".into(),
            owner: "arn:aws:sts::123456789012:assumed-role/dev/x".into(),
            target: "sagemaker-cluster:abc_workers-i-0123456789abcdef0".into(),
            started_at: now,
            status: None,
            document: None,
            reason: None,
            access_type: None,
        };
        let explain = |target: &str| {
            let text = format!(
                "version: 1\ntag_keys: [keep]\nrules: [{{ id: no, when: all, forbid: true }}]\n\
                 exemptions: [{{ id: e, when: {{ target_tags: {{ keep: x }}{target} }} }}]\n"
            );
            let policy = Policy::parse(&text).expect("a valid policy");
            let tags = Tags::Unknown(Unknown::TagsNoArn);
            Explanation::new(&policy, now, &session, &tags).to_string()
        };
        let remedy = Unknown::TagsNoArn.remedy().expect("a remedy");
        let (_, advice) = remedy.split_once(": `").expect("a key to write");
        let key = format!(", {}", advice.trim_end_matches("`."));
        let without = explain("");
        assert!(without.contains("undetermined (tags_no_arn)"), "{without}");
        assert!(without.ends_with(remedy), "{without}");
        let with = explain(&key);
        assert!(with.ends_with("verdict: violation: no"), "{with}");
    }
}
