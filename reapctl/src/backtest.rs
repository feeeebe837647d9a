//! `reapctl backtest`: which sessions a policy would have terminated, and when.

mod cloudtrail;
mod history;
mod listed;
mod page;
mod replay;
mod result;
mod saved;

use std::{fs, process::ExitCode, time::Duration};

use anyhow::Context;
use jiff::{SignedDuration, Timestamp};
use reaper_core::{
    duration, organization::Status, pattern::short_owner, policy::Policy,
    printable::printable_json, target::Scope,
};
use reaper_render::table::{Table, age, cell, fitting_table, minute};
use serde_json::{Value, json};
use session_reaper::{organization::status_without_pages, sweep::list::ListingProblem};

use crate::{
    account_regions::{CONCURRENCY, Fate, Opened, Overview, Reach},
    aws::AccountRegion,
    backtest::{
        cloudtrail::recorded,
        history::{History, history, history_before},
        listed::listed,
        replay::Replayer,
        result::{Backtest, Replay, Sums},
        saved::{Saved, Skipped},
    },
    clock::now,
    file::File,
    lines::Place,
    progress::{bar, with_progress},
    stdio::{Output, println},
};

/// Evaluate the sessions of the last 30 days, or of files: which would the policy have
/// terminated, when, and by which rule?
///
/// Every session of the history, and every active one, is evaluated at each sweep of its life, and
/// counted with those that were active then, up to the sweep that would have terminated it. Limits and
/// the circuit breaker are left out. Tags are those of today, and a past status is not known: what
/// depends on it is undetermined.
///
/// With files, AWS is not called, so tags are not known. If the end of a session is not known, no sweep after
/// it was last seen is said to have terminated it: what depends on whether it was still active is undetermined.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  reapctl backtest policy.yaml\n  reapctl backtest new.yaml --against old.yaml --html changes.html\n  reapctl backtest policy.yaml --from active.json history.json\n  reapctl backtest policy.yaml --cloudtrail AWSLogs/\n  reapctl backtest policy.yaml --organization --regions eu-central-1 --member-role Reaper"
)]
pub(crate) struct Args {
    /// The policy's file; `-` for standard input
    policy: String,
    /// Another policy, to see what changes
    #[arg(long, value_name = "OLD")]
    against: Option<String>,
    /// The time between two sweeps
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = period)]
    every: SignedDuration,
    /// Write a page with a timeline of the sessions
    #[arg(long, value_name = "FILE")]
    html: Option<String>,
    /// The sessions of a saved listing: files with the output of `aws ssm describe-sessions` or of
    /// boto3's `describe_sessions`, for active sessions and for the history; `-` for standard input
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with = "many")]
    from: Vec<String>,
    /// When the sessions of `--from` were listed, such as 2027-06-30T00:00:00Z [default: the latest date
    /// in the files]
    #[arg(long, value_name = "INSTANT", requires = "from")]
    at: Option<Timestamp>,
    /// The sessions of CloudTrail events: files as CloudTrail writes them, the output of `aws cloudtrail
    /// lookup-events`, or one event a line, compressed or not; folders with such files; `-` for standard
    /// input
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with_all = ["many", "from"])]
    cloudtrail: Vec<String>,
    /// How to print the result
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
    #[command(flatten)]
    reach: Reach,
}

fn period(text: &str) -> Result<SignedDuration, String> {
    let parsed = duration::parse(text).or_else(|| text.parse().ok());
    let parsed = parsed.filter(|it: &SignedDuration| *it >= SignedDuration::from_mins(1));
    parsed.ok_or_else(|| "write a duration of a minute or more, such as `5m`".into())
}

pub(crate) async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let against = args.against.iter().chain(&args.from).chain(&args.cloudtrail);
    let n_stdin = against.chain([&args.policy]).filter(|it| *it == "-").count();
    File::not_both_from_stdin("-", (1 < n_stdin).then_some("-"))?;
    let policy = File::read(&args.policy)?.policy()?;
    let old = match &args.against {
        Some(path) => Some(File::read(path)?.policy()?),
        None => None,
    };
    args.reach.check_stdin(&args.policy)?;
    // Every tag key and session type that one of them uses.
    let mut both = policy.clone();
    both.tag_keys.extend(old.iter().flat_map(|it| it.tag_keys.clone()));
    both.rules.extend(old.iter().flat_map(|it| it.rules.clone()));
    both.exemptions.extend(old.iter().flat_map(|it| it.exemptions.clone()));
    let found = if !args.cloudtrail.is_empty() {
        Histories::from(recorded(&args.cloudtrail, &both)?)
    } else if !args.from.is_empty() {
        Histories::from(listed(&args.from, args.at)?)
    } else {
        histories(args.reach.open().await?, &both).await?
    };
    let Histories { all, overview, from, to, notes, skipped } = found;
    let test = |policy: &Policy| {
        let bar = bar("evaluating", all.iter().map(|it| it.history.sessions.len()).sum());
        let replays = all.iter().flat_map(|it| it.replay(policy, args.every, || bar.inc(1)));
        let mut replays: Vec<_> = replays.collect();
        replays.sort_by(|a, b| (a.started_at, &a.session_id).cmp(&(b.started_at, &b.session_id)));
        Backtest {
            from,
            to,
            replays,
            n_not_evaluated: all.iter().map(|it| it.history.not_evaluated.len()).sum(),
            is_of_files: skipped.is_some(),
            notes: notes.clone(),
        }
    };
    let (new, old) = (test(&policy), old.as_ref().map(test));
    if let Some(path) = &args.html {
        let page = page::page(&new, old.as_ref());
        fs::write(path, page).with_context(|| format!("cannot write `{path}`"))?;
    }
    match args.output {
        Output::Json => {
            let mut json = new.json(old.as_ref());
            if let Some(fields) = json.as_object_mut() {
                if let Some(overview) = &overview {
                    overview.add_to(fields);
                }
                if overview.is_some() || 1 < all.len() {
                    let [accounts, regions] = new.by_place().map(sums);
                    fields.insert("by_account".into(), accounts);
                    fields.insert("by_region".into(), regions);
                }
                if let Some(skipped) = &skipped {
                    fields.insert("skipped".into(), json!(skipped));
                }
            }
            println!("{}", printable_json(format!("{json:#}")));
        }
        Output::Text => {
            saved::show(skipped.as_deref().unwrap_or_default());
            new.print(old.as_ref());
            if let Some(overview) = &overview {
                println!("");
                overview.print();
            }
        }
    }
    overview.map_or(Ok(()), |it| it.check(MISSING))?;
    Ok(ExitCode::SUCCESS)
}

/// The history of every account-Region.
struct Histories {
    all: Vec<OneHistory>,
    /// What became of each, if there are many.
    overview: Option<Overview>,
    from: Timestamp,
    to: Timestamp,
    /// What has to be known to read the result, in whole sentences.
    notes: Vec<String>,
    /// What was skipped in files, if they are of files.
    skipped: Option<Vec<Skipped>>,
}

/// The history of one account-Region.
struct OneHistory {
    history: History,
    /// The account and Region, if they are known.
    scope: Option<Scope>,
    /// Whether it is one of many.
    is_one_of_many: bool,
    /// When it was listed: no sweep takes place after it.
    now: Timestamp,
}

/// What it means that an account-Region was not listed.
const MISSING: &str = "their sessions are not in the result";

/// The longest that listing all histories may take.
const PATIENCE: Duration = Duration::from_hours(1);

async fn histories(opened: Opened, policy: &Policy) -> anyhow::Result<Histories> {
    let list = async |at: AccountRegion<'_>| {
        let now = now();
        let reading = Box::pin(history(at, policy, now));
        let history = with_progress("listing", at, reading).await?;
        let (scope, is_one_of_many) = (at.scope().cloned(), at.is_one_of_many);
        anyhow::Ok(OneHistory { history, scope, is_one_of_many, now })
    };
    let many = match opened {
        Opened::One(aws) => {
            return Ok(Histories::new(vec![list(aws.account_region()).await?], None));
        }
        Opened::Many(many) => many,
    };
    let mut overview = Overview::default();
    let mut all = Vec::new();
    let visits = many.each("account-Regions listed", CONCURRENCY, PATIENCE, list).await;
    for (scope, visit) in visits {
        let fate = match visit {
            Ok(Ok(history)) => {
                all.push(history);
                Fate::SWEPT
            }
            Ok(Err(err)) => {
                let problem = err.downcast_ref::<ListingProblem>();
                let status = problem.and_then(status_without_pages).unwrap_or(Status::Incomplete);
                Fate::new(status, &format!("{err:#}"))
            }
            Err(fate) => fate,
        };
        overview.add(&scope, fate, None);
    }
    Ok(Histories::new(all, Some(overview)))
}

impl Histories {
    /// Those that AWS has listed.
    fn new(all: Vec<OneHistory>, overview: Option<Overview>) -> Self {
        let to = all.iter().map(|it| it.now).max().unwrap_or_else(now);
        let problem = overview.as_ref().and_then(|it| it.problem(MISSING));
        let notes = problem.map(|it| format!("{it}.")).into_iter().collect();
        Self { all, overview, from: history_before(to), to, notes, skipped: None }
    }
}

impl From<Saved> for Histories {
    fn from(saved: Saved) -> Self {
        let Saved { histories, from, to, notes, skipped } = saved;
        let is_one_of_many = 1 < histories.len();
        let one = |(scope, history)| OneHistory { history, scope, is_one_of_many, now: to };
        let all = histories.into_iter().map(one).collect();
        Self { all, overview: None, from, to, notes, skipped: Some(skipped) }
    }
}

impl OneHistory {
    /// What a policy would have done to each session.
    fn replay(&self, policy: &Policy, every: SignedDuration, done: impl FnMut()) -> Vec<Replay> {
        let Self { history, scope, now, .. } = self;
        let scope = scope.as_ref();
        let replayer = Replayer { policy, scope, types: &history.types, every, now: *now };
        let mut replays = history.replay(replayer, done);
        for it in &mut replays {
            it.place = scope.filter(|_| self.is_one_of_many).map(Place::from);
        }
        replays
    }
}

fn sums(sums: Sums) -> Value {
    sums.into_iter()
        .map(|(key, (n, minutes))| (key, json!({"sessions": n, "minutes": minutes})))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

impl Backtest {
    fn json(&self, old: Option<&Self>) -> Value {
        let changes = old.map(|old| {
            let change =
                |(what, it): (&str, &Replay)| json!({"session_id": it.session_id, "change": what});
            self.changes(old).into_iter().map(change).collect::<Vec<_>>()
        });
        json!({
            "from": self.from,
            "to": self.to,
            "sessions": self.replays,
            "not_evaluated": self.n_not_evaluated,
            "unknown_ends": self.n_unknown_ends(),
            "rules": sums(self.by_rule()),
            "owners": sums(self.by_owner()),
            "days": sums(self.by_day()),
            "warnings": sums(self.by_warning()),
            "changes": changes,
        })
    }

    fn print(&self, old: Option<&Self>) {
        println!("{}\n", self.summary());
        let [accounts, regions] = self.by_place().map(largest_first);
        for (name, sums) in [
            ("ACCOUNT", accounts),
            ("REGION", regions),
            ("RULE", largest_first(self.by_rule())),
            ("OWNER", largest_first(self.by_owner())),
            ("DAY", self.by_day().into_iter().collect()),
            ("WARNING", largest_first(self.by_warning())),
        ] {
            if !sums.is_empty() {
                println!("{}\n", to_table(name, sums).trim_fmt());
            }
        }
        let Some(old) = old else { return };
        let changes = self.changes(old);
        println!("Against the old policy: {}", old.summary());
        if changes.is_empty() {
            println!("Nothing changes.");
            return;
        }
        let has_places = changes.iter().any(|(_, it)| it.place.is_some());
        let places = ["ACCOUNT", "REGION"].into_iter().filter(|_| has_places);
        let names =
            ["CHANGE", "OWNER", "TARGET", "STARTED", "WOULD BE TERMINATED", "SESSION"].into_iter();
        let mut table = fitting_table(&places.chain(names).collect::<Vec<_>>());
        for (what, it) in changes {
            let at = it.would_terminate_at.map_or("-".into(), minute);
            let place = it.place.iter().flat_map(|it| [&*it.account, &*it.region]).map(cell);
            table.add_row(place.chain([
                cell(what),
                cell(&short_owner(&it.owner)),
                cell(&it.target),
                cell(&minute(it.started_at)),
                cell(&at),
                cell(&it.session_id),
            ]));
        }
        println!("\n{}", table.trim_fmt());
    }
}

/// A sum by a key: sessions, and minutes.
type Sum = (String, (usize, i64));

fn largest_first(sums: Sums) -> Vec<Sum> {
    let mut sums: Vec<_> = sums.into_iter().collect();
    sums.sort_by_key(|(_, (n, minutes))| (-minutes, std::cmp::Reverse(*n)));
    sums
}

fn to_table(name: &str, sums: Vec<Sum>) -> Table {
    let mut table = fitting_table(&[name, "SESSIONS", "TIME"]);
    for (key, (n, minutes)) in sums {
        let time = age(SignedDuration::from_mins(minutes));
        table.add_row([cell(&key), cell(&n.to_string()), cell(&time)]);
    }
    table
}
