//! `reapctl backtest`: which sessions a policy would have terminated, and when.

mod page;
mod replay;
mod result;

use std::{fs, process::ExitCode};

use anyhow::Context;
use jiff::SignedDuration;
use reaper_core::{duration, pattern::short_owner, policy::Policy, printable::printable_json};
use reaper_render::table::{Table, age, cell, fitting_table, minute};
use serde_json::json;

use crate::{
    aws::Connection,
    backtest::{
        replay::{HISTORY, Replayer, history},
        result::{Backtest, Replay, Sums},
    },
    clock::now,
    file::File,
    progress::{bar, with_progress},
    stdio::{Output, println},
};

/// Evaluate the sessions of the last 30 days: which would the policy have
/// terminated, when, and by which rule?
///
/// Every session of the history, and every active one, is evaluated at each sweep of its life, and
/// counted with those that were active then, up to the sweep that would have terminated it. Limits and
/// the circuit breaker are left out. Tags are those of today, and a past status is not known: what
/// depends on it is undetermined.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  reapctl backtest policy.yaml\n  reapctl backtest new.yaml --against old.yaml --html changes.html"
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
    /// How to print the result
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

fn period(text: &str) -> Result<SignedDuration, String> {
    let parsed = duration::parse(text).or_else(|| text.parse().ok());
    let parsed = parsed.filter(|it: &SignedDuration| *it >= SignedDuration::from_mins(1));
    parsed.ok_or_else(|| "write a duration of a minute or more, such as `5m`".into())
}

pub(crate) async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    File::not_both_from_stdin(&args.policy, args.against.as_deref())?;
    let policy = File::read(&args.policy)?.policy()?;
    let old = match &args.against {
        Some(path) => Some(File::read(path)?.policy()?),
        None => None,
    };
    let aws = args.connection.open().await?;
    let now = now();
    // Every tag key and session type that one of them uses.
    let mut both = policy.clone();
    both.tag_keys.extend(old.iter().flat_map(|it| it.tag_keys.clone()));
    both.rules.extend(old.iter().flat_map(|it| it.rules.clone()));
    both.exemptions.extend(old.iter().flat_map(|it| it.exemptions.clone()));
    let reading = with_progress("listing", &aws, Box::pin(history(&aws, &both, now)));
    let history = reading.await?;
    let test = |policy: &Policy| {
        let bar = bar("evaluating", history.sessions.len());
        let replayer =
            Replayer { policy, scope: aws.scope(), types: &history.types, every: args.every, now };
        Backtest {
            from: now - HISTORY,
            to: now,
            replays: history.replay(replayer, || bar.inc(1)),
            n_not_evaluated: history.not_evaluated.len(),
        }
    };
    let (new, old) = (test(&policy), old.as_ref().map(test));
    if let Some(path) = &args.html {
        let page = page::page(&new, old.as_ref());
        fs::write(path, page).with_context(|| format!("cannot write `{path}`"))?;
    }
    match args.output {
        Output::Json => {
            let json = new.json(old.as_ref());
            println!("{}", printable_json(format!("{json:#}")));
        }
        Output::Text => new.print(old.as_ref()),
    }
    Ok(ExitCode::SUCCESS)
}

impl Backtest {
    fn json(&self, old: Option<&Self>) -> serde_json::Value {
        let sums = |sums: Sums| -> serde_json::Value {
            sums.into_iter()
                .map(|(key, (n, minutes))| (key, json!({"sessions": n, "minutes": minutes})))
                .collect::<serde_json::Map<_, _>>()
                .into()
        };
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
            "rules": sums(self.by_rule()),
            "owners": sums(self.by_owner()),
            "days": sums(self.by_day()),
            "warnings": sums(self.by_warning()),
            "changes": changes,
        })
    }

    fn print(&self, old: Option<&Self>) {
        println!("{}\n", self.summary());
        for (name, sums) in [
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
        let mut table = fitting_table(&[
            "CHANGE",
            "OWNER",
            "TARGET",
            "STARTED",
            "WOULD BE TERMINATED",
            "SESSION",
        ]);
        for (what, it) in changes {
            let at = it.would_terminate_at.map_or("-".into(), minute);
            table.add_row([
                cell(what),
                cell(&short_owner(&it.owner)),
                cell(&it.target),
                cell(&minute(it.started_at)),
                cell(&at),
                cell(&it.session_id),
            ]);
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
