//! `reapctl explain`: why a policy says of a session what it says.

mod explanation;
mod rows;

use std::{collections::BTreeSet, sync::Arc};

use anyhow::{Context, bail};
use jiff::Timestamp;
use reaper_core::{
    pattern::short_owner,
    policy::Policy,
    printable::{printable, printable_json},
    session::{Reading, Record, Session, State},
    target::{Tags, Unknown},
};
use session_reaper::{
    sweep::clock::check_clock,
    sweep::list::{Census, list},
    sweep::tags::look_up,
};
use tokio::time::Instant;

pub(crate) use self::explanation::{Explanation, described, shown};
use self::rows::from_file;
use crate::{
    aws::{Connection, budget},
    clock::now,
    file::File,
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
            bail!("the session is not evaluated, and so never terminated: {why}")
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
