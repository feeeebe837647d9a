//! The sessions of a sweep, a line each: as a table, JSON, or CSV.

use std::{io::IsTerminal, str::FromStr};

use anyhow::{Context, bail};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use jiff::{SignedDuration, Timestamp};
use reaper_core::{
    evaluate::VerdictKind,
    pattern::{Glob, OwnerPattern, short_owner},
    plan::{Action, Step},
    printable::{printable, printable_json},
    report::{Outcome, OutcomeRecord, Report, Row},
    session::Record,
    target::Unknown,
};
use reaper_render::{
    spreadsheet::to_csv,
    table::{Cell, Table, age, cell, coloured, fitting_table, terminal_width},
};
use serde_json::{Value, json};

use crate::{
    file::Invalid,
    stdio::{print, println},
};

/// Which sessions to show, and how. It is of no effect on whom a sweep ends.
#[derive(clap::Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct Shown {
    /// How to print them
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
    /// Only sessions with these verdicts, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "VERDICT", value_parser = verdict())]
    only: Vec<VerdictKind>,
    /// Only sessions of such an owner, such as `role/sre-*`
    #[arg(long, value_name = "PATTERN", value_parser = OwnerPattern::from_str)]
    owner: Option<OwnerPattern>,
    /// Only sessions on such a target, such as `mi-*`
    #[arg(long, value_name = "GLOB")]
    target: Option<String>,
    /// Only sessions that this rule or exemption decided about
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
const COLUMNS: [&str; 16] = [
    "verdict",
    "age_s",
    "owner",
    "target",
    "tags",
    "document",
    "status",
    "rules",
    "unknown",
    "action",
    "deferred_by",
    "outcome",
    "last_status",
    "error",
    "session_id",
    "started_at",
];

/// Every session, what matters first and then the oldest.
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

/// The rows of what is going to be done.
pub(crate) fn planned<'a>(
    steps: impl IntoIterator<Item = &'a Step>,
    now: Timestamp,
) -> impl Iterator<Item = Row> {
    steps.into_iter().map(move |it| Row::of_step(it, now))
}

/// The rows of what has been done.
pub(crate) fn done(settled: &[OutcomeRecord], now: Timestamp) -> impl Iterator<Item = Row> {
    settled.iter().map(move |it| Row::of_outcome(it, now))
}

impl Shown {
    /// Fails if only some sessions are to be shown: whoever asks for that may think that a sweep
    /// ends only those.
    pub(crate) fn check_for_all(&self) -> anyhow::Result<()> {
        let Self { output: _, only, owner, target, rule } = self;
        if only.is_empty() && owner.is_none() && target.is_none() && rule.is_none() {
            return Ok(());
        }
        bail!(Invalid(
            "`--only`, `--owner`, `--target` and `--rule` choose what is shown, not whom a sweep \
             ends; leave them out, or use `reapctl lock OWNER` for one owner"
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

    /// Prints the rows that are asked for; the counts are of all.
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
                let left_out: Vec<_> =
                    ALL.iter().filter(|it| !columns.contains(it)).map(|it| it.name()).collect();
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

/// For people: these columns.
pub(crate) fn to_table(rows: &[Row], columns: &[Column]) -> Table {
    let mut table = fitting_table(&columns.iter().map(|it| it.name()).collect::<Vec<_>>());
    for row in rows {
        table.add_row(columns.iter().map(|it| it.of(row)));
    }
    table
}

/// The columns for which the terminal is wide enough; all if there is none, as in a pipe. Without
/// these any more, what is still too wide is broken into lines.
pub(crate) fn fitting(rows: &[Row]) -> Vec<Column> {
    let mut columns = ALL.to_vec();
    let Some(width) = terminal_width() else { return columns };
    let needs = |it: &Column| {
        let cells = rows.iter().map(|row| it.of(row).content().chars().count());
        cells.chain([it.name().len()]).max().unwrap_or_default() + 2 // Its margins.
    };
    for name in [Column::Document, Column::Status, Column::Session, Column::Tags] {
        if columns.iter().map(needs).sum::<usize>() <= usize::from(width) {
            break;
        }
        columns.retain(|it| *it != name);
    }
    columns
}

/// A column of a table.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) enum Column {
    Age,
    Document,
    Fate,
    Owner,
    Rules,
    Session,
    Status,
    Tags,
    Target,
    Verdict,
}

/// All that a plan, or what came of it, can show.
const ALL: [Column; 10] = [
    Column::Age,
    Column::Owner,
    Column::Target,
    Column::Tags,
    Column::Document,
    Column::Status,
    Column::Verdict,
    Column::Rules,
    Column::Fate,
    Column::Session,
];

impl Column {
    fn name(self) -> &'static str {
        match self {
            Self::Age => "AGE",
            Self::Document => "DOCUMENT",
            Self::Fate => "ACTION",
            Self::Owner => "OWNER",
            Self::Rules => "RULES OR EXEMPTION",
            Self::Session => "SESSION",
            Self::Status => "STATUS",
            Self::Tags => "TAGS",
            Self::Target => "TARGET",
            Self::Verdict => "VERDICT",
        }
    }

    fn of(self, row: &Row) -> Cell {
        let text = |it: Option<&str>| cell(it.unwrap_or("-"));
        match self {
            Self::Age => {
                cell(&row.age_s.map_or("-".into(), |it| age(SignedDuration::from_secs(it))))
            }
            Self::Document => text(row.document.as_deref()),
            Self::Fate => fate(row),
            Self::Owner => text(row.owner.as_deref().map(short_owner).as_deref()),
            Self::Rules => match &row.error {
                Some(why) if row.verdict == VerdictKind::NotEvaluated => cell(why),
                _ => cell(&row.rules.join(", ")),
            },
            Self::Session => text(row.session_id.as_deref()),
            Self::Status => text(row.status.as_deref()),
            Self::Tags => {
                let tags = row.tags.as_ref().map(|it| it.join(" "));
                text(row.unknown.map(Unknown::name).or(tags.as_deref()))
            }
            Self::Target => text(row.target.as_deref().map(short_target).as_deref()),
            Self::Verdict => coloured(row.verdict.name()),
        }
    }
}

/// What happened, or is going to; with the reason, where there is one.
fn fate(row: &Row) -> Cell {
    let name = row.outcome.map(Outcome::name).or(row.action.map(Action::name));
    match (name, row.deferred_by, &row.last_status) {
        (None, ..) => cell("-"),
        (Some(it), Some(why), _) => coloured(&format!("{it} ({})", why.name())),
        (Some(it), None, Some(status)) => coloured(&format!("{it} (listed as {status})")),
        (Some(it), None, None) => coloured(it),
    }
}

/// A target without the long ids of an ECS task: `ecs:CLUSTER`.
fn short_target(target: &str) -> String {
    match target.strip_prefix("ecs:").map(|it| it.rsplitn(3, '_').nth(2)) {
        Some(Some(cluster)) => format!("ecs:{cluster}"),
        _ => target.into(),
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
    use reaper_core::plan::DeferReason;

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
            unknown: Some(Unknown::TagsNotReturned),
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
