//! `reapctl explain`: why a policy says of a session what it says.

mod explanation;

use std::{collections::BTreeSet, sync::Arc};

use anyhow::{Context, bail};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use jiff::Timestamp;
use reaper_core::{
    census::{Evaluated, Evaluator, Unseen},
    pattern::short_owner,
    policy::Policy,
    printable::{printable, printable_json},
    session::{Reading, Record, Session, State},
    session_type::{DocumentTypes, SessionType},
    target::{Tags, Unknown},
};
use session_reaper::{
    sweep::clock::check_clock,
    sweep::list::{Census, list},
    sweep::tags::look_up,
    sweep::types::{Untyped, look_up_types},
};
use tokio::time::Instant;

pub(crate) use self::explanation::{Explanation, described, shown};
use crate::{
    aws::{Aws, Connection, budget},
    clock::now,
    file::{File, Invalid},
    rows::Rows,
    stdio::{Output, println, warn},
};

/// Explain a verdict: every rule and exemption, what each condition saw, and which one decided.
///
/// The session is an active one of the account and Region, by its id, with the tags of its target;
/// or one from a file, with the tags that `--tag` gives. What kind of session its document starts is looked
/// up only if that decides, and never of a session from a file: `--session-type` gives it.
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
    /// A session in JSON, or the output of `aws ssm describe-sessions` or of boto3's
    /// `describe_sessions`; `-` for standard input
    #[arg(long, value_name = "FILE")]
    from: Option<String>,
    /// A tag of the target, in place of a look-up; may be repeated
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = tag)]
    tags: Vec<(String, String)>,
    /// The target has no tags
    #[arg(long, conflicts_with = "tags")]
    no_tags: bool,
    /// What kind of session the document starts, in place of a look-up
    #[arg(long, value_name = "TYPE", value_parser = session_type())]
    session_type: Option<SessionType>,
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

fn session_type() -> impl TypedValueParser<Value = SessionType> {
    PossibleValuesParser::new(SessionType::ALL.map(SessionType::name))
        .try_map(|it| SessionType::from_name(&it).ok_or("there is no such type"))
}

pub(crate) async fn run(args: &Args) -> anyhow::Result<()> {
    File::not_both_from_stdin(&args.policy, args.from.as_deref())?;
    let file = File::read(&args.policy)?;
    let policy = file.policy()?;
    let now = args.at.unwrap_or_else(now);
    let given = (args.no_tags || !args.tags.is_empty())
        .then(|| Tags::Known(Arc::new(args.tags.iter().cloned().collect())));
    let (found, tags, aws) = if let Some(path) = &args.from {
        let found = from_file(&File::read(path)?, args.session_id.as_deref())?;
        (found, given.unwrap_or(Tags::Unknown(Unknown::TagsNotLookedUp)), None)
    } else {
        let (found, aws) = Box::pin(from_aws(args)).await?;
        let tags = match given {
            Some(tags) => tags,
            None => tags_of(&aws, &policy, &found.record).await,
        };
        (found, tags, Some(aws))
    };
    let Found { record, others, is_incomplete } = found;
    if let Some(at) = record.ended_at.filter(|it| *it <= now) {
        bail!(Invalid(format!("the session ended at {at}; say with `--at` when it was active")));
    }
    let session = match record.read(now) {
        Reading::Session(session) => session,
        Reading::NotEvaluated(_, why) => {
            bail!("the session is not evaluated, and so never terminated: {why}")
        }
    };
    let scope = aws.as_ref().and_then(Aws::scope);
    let types = given_type(args.session_type, &session, &policy)?;
    let evaluator = Evaluator::new(&policy, now).at(scope).typed(&types);
    let mut active = vec![evaluator.evaluate(Box::new(session.clone()), tags.clone())];
    let mut not_evaluated = Vec::new();
    let is_active = |it: &Record| it.ended_at.is_none_or(|at| now < at);
    for record in others.into_iter().filter(|it| policy.counts() && is_active(it)) {
        match record.read(now) {
            Reading::Session(session) => {
                let not_looked_up = Tags::Unknown(Unknown::TagsNotLookedUp);
                active.push(evaluator.evaluate(Box::new(session), not_looked_up));
            }
            Reading::NotEvaluated(record, why) => not_evaluated.push((record, why)),
        }
    }
    let unseen = Unseen { is_incomplete, not_evaluated: &not_evaluated };
    let open = count(&evaluator, aws.as_ref(), &policy, unseen, &mut active).await;
    let looked_up = match &aws {
        Some(aws) => types_of(aws, &policy, &evaluator, &open, &active).await,
        None => DocumentTypes::default(),
    };
    let mut types = types.clone(); // What is given is not looked up.
    types.extend(looked_up);
    let evaluator = evaluator.typed(&types);
    for it in &mut active {
        evaluator.evaluate_again(it);
    }
    evaluator.conclude(&mut active, unseen, || true);
    let Some(evaluated) = active.first() else { bail!("there is no session") };
    let explanation = Explanation::new(&evaluator, now, evaluated, &active, unseen);
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

/// What `--session-type` says of the session's document.
fn given_type(
    given: Option<SessionType>,
    session: &Session,
    policy: &Policy,
) -> anyhow::Result<DocumentTypes> {
    let mut types = DocumentTypes::default();
    let Some(given) = given else { return Ok(types) };
    let document = session.document.as_ref().or(policy.assume.document.value());
    let document =
        document.context("`--session-type` is of a document, and the session has none")?;
    if let Some(known) = types.of(document).ok().filter(|it| *it != given) {
        bail!("`{}` is of type {}, not {}", printable(document), known.name(), given.name());
    }
    types.insert(Arc::clone(document), Some(given));
    Ok(types)
}

/// Counts the sessions that are active at once, with the tags of those whose tags decide. Returns the
/// indices of those of which it is open whether they count.
async fn count(
    evaluator: &Evaluator<'_>,
    aws: Option<&Aws>,
    policy: &Policy,
    unseen: Unseen<'_>,
    active: &mut [Evaluated],
) -> BTreeSet<usize> {
    let open: BTreeSet<usize> = evaluator.conclude(active, unseen, || true).into_iter().collect();
    let Some(aws) = aws.filter(|_| policy.counts()) else { return open };
    let needs_tags = |(index, it): &(usize, &Evaluated)| {
        it.verdict.unknown() == Some(Unknown::TagsNotLookedUp) || open.contains(index)
    };
    let needy = active.iter().enumerate().filter(needs_tags);
    let targets: BTreeSet<String> = needy.map(|(_, it)| it.session.target.to_string()).collect();
    let of_targets = targets.iter().map(String::as_str).collect();
    let (tags, problems) = look_up(&aws.ssm, aws.scope(), policy, of_targets, budget()).await;
    warn(problems.iter().map(ToString::to_string));
    let not_looked_up = Tags::Unknown(Unknown::TagsNotLookedUp);
    for it in active.iter_mut().filter(|it| it.tags == not_looked_up) {
        if let Some(tags) = tags.get(&*it.session.target) {
            it.tags = tags.clone();
            evaluator.evaluate_again(it);
        }
    }
    evaluator.conclude(active, unseen, || true);
    open
}

/// The types of the documents that decide.
async fn types_of(
    aws: &Aws,
    policy: &Policy,
    evaluator: &Evaluator<'_>,
    open: &BTreeSet<usize>,
    active: &[Evaluated],
) -> DocumentTypes {
    let documents = Untyped::of(policy, evaluator, open, active).documents;
    let (types, problems) = look_up_types(&aws.ssm, &documents, budget()).await;
    warn(problems);
    types
}

/// The session to be explained, and those that are active beside it.
struct Found {
    record: Record,
    others: Vec<Record>,
    /// Whether there may be more.
    is_incomplete: bool,
}

/// The session of a file, or of several the one with this id.
fn from_file(file: &File, id: Option<&str>) -> anyhow::Result<Found> {
    let Rows { records, is_incomplete } = Rows::read(file)?;
    let is_meant = |it: &Record| id.is_none() || it.id.as_deref() == id;
    let (mut meant, others): (Vec<_>, Vec<_>) = records.into_iter().partition(is_meant);
    match (meant.pop(), meant.is_empty()) {
        (Some(record), true) => Ok(Found { record, others, is_incomplete }),
        (None, _) => Err(file.invalid(&"there is no such session in it").into()),
        (Some(_), false) => {
            let several = "there are several sessions in it; say which by SESSION_ID";
            Err(file.invalid(&several).into())
        }
    }
}

async fn from_aws(args: &Args) -> anyhow::Result<(Found, Aws)> {
    let id = args.session_id.as_deref().context("a session's id is needed")?;
    let aws = args.connection.open().await?;
    let (now, read_at) = (now(), Instant::now());
    let census = list(&aws.ssm, State::Active, budget()).await;
    if args.at.is_none() {
        check_clock(&aws.ssm, &census, now, read_at, budget()).await?;
    }
    let Census { pages, problem, .. } = census;
    let mut others: Vec<_> = pages.into_iter().flatten().collect();
    let index = others.iter().position(|it| it.id.as_deref() == Some(id));
    let index = index.with_context(|| match &problem {
        Some(problem) => format!("the listing ended before `{id}` was seen: {problem}"),
        None => format!("no active session has the id `{id}`"),
    })?;
    let record = others.swap_remove(index);
    Ok((Found { record, others, is_incomplete: problem.is_some() }, aws))
}

async fn tags_of(aws: &Aws, policy: &Policy, record: &Record) -> Tags {
    if policy.tag_keys.is_empty() {
        return Tags::Unknown(Unknown::TagsNotLookedUp);
    }
    let Some(target) = &record.target else { return Tags::Unknown(Unknown::TagsNoArn) };
    let targets = BTreeSet::from([&**target]);
    let (mut tags, problems) = look_up(&aws.ssm, aws.scope(), policy, targets, budget()).await;
    warn(problems.iter().map(ToString::to_string));
    warn(aws.tag_problem(policy));
    tags.remove(&**target).unwrap_or(Tags::Unknown(Unknown::TagsNotReturned))
}
