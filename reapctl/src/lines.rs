//! The sessions of a sweep, one per line: as a table, JSON, or CSV.

pub(crate) mod columns;

use std::{io::IsTerminal, str::FromStr};

use anyhow::{Context, bail};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use jiff::Timestamp;
use reaper_core::{
    evaluate::VerdictKind,
    pattern::{Glob, OwnerPattern},
    plan::Step,
    printable::{printable, printable_json},
    report::{OutcomeRecord, Report, Row},
    session::Record,
};
use reaper_render::spreadsheet::to_csv;
use serde_json::{Value, json};

use crate::{
    file::Invalid,
    lines::columns::{fitting, left_out, to_table},
    stdio::{print, println},
};

/// Which sessions to show, and how. This does not affect which sessions a sweep terminates.
#[derive(clap::Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct Shown {
    /// How to print them
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
    /// Only sessions with these verdicts, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "VERDICT", value_parser = verdict())]
    only: Vec<VerdictKind>,
    /// Only sessions of owners that match, such as `role/sre-*`
    #[arg(long, value_name = "PATTERN", value_parser = OwnerPattern::from_str)]
    owner: Option<OwnerPattern>,
    /// Only sessions on targets that match, such as `mi-*`
    #[arg(long, value_name = "GLOB")]
    target: Option<String>,
    /// Only sessions whose verdict names this rule or exemption
    #[arg(long, value_name = "ID")]
    rule: Option<String>,
}

/// Reads the name of a verdict.
fn verdict() -> impl TypedValueParser<Value = VerdictKind> {
    PossibleValuesParser::new(VerdictKind::ALL.map(VerdictKind::name)).map(|name| {
        let all = VerdictKind::ALL.into_iter();
        all.rev().find(|it| it.name() == name).unwrap_or_default()
    })
}

#[derive(Clone, Copy, Eq, PartialEq, clap::ValueEnum)]
pub(crate) enum Output {
    /// For spreadsheets
    Csv,
    /// One object, with the report
    Json,
    /// One object a line
    Ndjson,
    /// For people
    Table,
}

/// The columns of CSV: the fields of a row.
const COLUMNS: [&str; 18] = [
    "verdict",
    "age_s",
    "owner",
    "target",
    "tags",
    "document",
    "status",
    "rules",
    "excess",
    "unknown",
    "due",
    "action",
    "deferred_by",
    "outcome",
    "last_status",
    "error",
    "session_id",
    "started_at",
];

/// Every session: by verdict, the most important first, and then the oldest first.
pub(crate) fn rows(
    evaluated: impl Iterator<Item = Row>,
    not_evaluated: &[(Record, &'static str)],
    now: Timestamp,
) -> Vec<Row> {
    let not_evaluated = not_evaluated.iter().map(|(it, why)| Row::of_record(it, now, why));
    let mut rows: Vec<Row> = evaluated.chain(not_evaluated).collect();
    rows.sort_by_key(|it| (it.verdict, it.started_at)); // Stable, and so by id within an instant.
    rows
}

/// The rows of what is planned.
pub(crate) fn rows_of_steps<'a>(
    steps: impl IntoIterator<Item = &'a Step>,
    now: Timestamp,
) -> impl Iterator<Item = Row> {
    steps.into_iter().map(move |it| Row::of_step(it, now))
}

/// The rows of what was done.
pub(crate) fn rows_of_outcomes<'a>(
    records: impl IntoIterator<Item = &'a OutcomeRecord>,
    now: Timestamp,
) -> impl Iterator<Item = Row> {
    records.into_iter().map(move |it| Row::of_outcome(it, now))
}

impl Shown {
    /// Fails if only some sessions are to be shown: a user may expect that only these are terminated.
    pub(crate) fn check_for_all(&self) -> anyhow::Result<()> {
        let Self { output: _, only, owner, target, rule } = self;
        if only.is_empty() && owner.is_none() && target.is_none() && rule.is_none() {
            return Ok(());
        }
        bail!(Invalid(
            "`--only`, `--owner`, `--target` and `--rule` select what is shown, not what a sweep \
             terminates; leave them out, or use `reapctl lock OWNER` for one owner"
                .into()
        ))
    }

    fn has(&self, row: &Row) -> bool {
        let owner = row.owner.as_deref().unwrap_or_default();
        let target = row.target.as_deref().unwrap_or_default();
        (self.only.is_empty() || self.only.contains(&row.verdict))
            && self.owner.as_ref().is_none_or(|it| it.is_match(owner))
            && self.target.as_ref().is_none_or(|it| Glob::new(it).is_match(target))
            && self.rule.as_ref().is_none_or(|id| row.rules.iter().any(|it| **it == **id))
    }

    /// Prints the rows that match the options; the counts are of all sessions.
    pub(crate) fn print(&self, mut rows: Vec<Row>, report: &Report) -> anyhow::Result<()> {
        let n_all = rows.len();
        rows.retain(|it| self.has(it));
        match self.output {
            Output::Csv => print_csv(&rows)?,
            Output::Json => {
                let mut report = json!(report);
                let fields = report.as_object_mut().context("a report is an object")?;
                fields.insert("sessions".into(), json!(rows));
                fields.insert("truncated".into(), false.into());
                println!("{}", printable_json(format!("{report:#}")));
            }
            Output::Ndjson => {
                for row in &rows {
                    println!("{}", printable_json(json!(row).to_string()));
                }
            }
            Output::Table => {
                let columns = fitting(&rows);
                if !rows.is_empty() {
                    println!("{}\n", to_table(&rows, &columns).trim_fmt());
                }
                let left_out = left_out(&columns);
                if !left_out.is_empty() {
                    println!(
                        "{} would not fit: widen the terminal, or use `--output csv`.",
                        left_out.join(", ")
                    );
                }
                if rows.len() < n_all {
                    println!("{} of {n_all} sessions are shown.", rows.len());
                }
                println!("{}.", report.counts());
            }
        }
        Ok(())
    }
}

fn print_csv(rows: &[Row]) -> anyhow::Result<()> {
    let is_terminal = std::io::stdout().is_terminal();
    let shown = |text: String| if is_terminal { printable(&text) } else { text };
    let records = rows.iter().map(|row| {
        let row = json!(row);
        COLUMNS.map(|it| shown(plain(row.get(it))))
    });
    print!("{}", to_csv([COLUMNS.map(String::from)].into_iter().chain(records))?);
    Ok(())
}

fn plain(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::Array(items)) => {
            items.iter().map(|it| plain(Some(it))).collect::<Vec<_>>().join(" ")
        }
        Some(Value::String(text)) => text.clone(),
        Some(other @ (Value::Bool(_) | Value::Number(_) | Value::Object(_))) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use reaper_core::{
        plan::{Action, DeferReason},
        report::Outcome,
        target::Unknown,
    };

    use super::*;

    #[test]
    fn csv_has_every_field() {
        let text = || Some("x".into());
        let row = json!(Row {
            session_id: text(),
            owner: text(),
            target: text(),
            tags: Some(Vec::new()),
            document: text(),
            status: text(),
            started_at: Some(Timestamp::UNIX_EPOCH),
            age_s: Some(0),
            verdict: VerdictKind::Violation,
            rules: Vec::new(),
            excess: vec!["x".into()],
            unknown: Some(Unknown::TagsNotReturned),
            due: Some(Timestamp::UNIX_EPOCH),
            action: Some(Action::Defer(DeferReason::Limit)),
            deferred_by: Some(DeferReason::Limit),
            outcome: Some(Outcome::Deferred),
            last_status: text(),
            error: text(),
        });
        let mut names: Vec<_> = row.as_object().expect("an object").keys().collect();
        let mut columns = COLUMNS.to_vec();
        names.sort_unstable();
        columns.sort_unstable();
        assert_eq!(names, columns);
    }
}
