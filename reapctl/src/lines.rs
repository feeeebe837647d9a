//! The sessions of a sweep, or of many, one per line: as a table, JSON, or CSV.

pub(crate) mod columns;

use std::{io::IsTerminal, str::FromStr, sync::Arc};

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
    target::Scope,
};
use reaper_render::spreadsheet::to_csv;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    account_regions::Overview,
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

/// A session, and where it is, if the sessions of many account-Regions are shown.
#[derive(Clone, Serialize)]
pub(crate) struct Line {
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    place: Option<Place>,
    /// Boxed, so that it stays where it is when the lines of many account-Regions are joined and sorted.
    #[serde(flatten)]
    pub(crate) row: Box<Row>,
}

/// The account-Region of a session.
#[derive(Clone, Serialize)]
pub(crate) struct Place {
    pub(crate) account: Arc<str>,
    pub(crate) region: Arc<str>,
}

impl From<&Scope> for Place {
    fn from(scope: &Scope) -> Self {
        Self { account: scope.account.as_str().into(), region: scope.region.as_str().into() }
    }
}

impl Line {
    /// The lines of these rows, with their account-Region if there is one to be shown.
    pub(crate) fn of_rows(
        rows: impl IntoIterator<Item = Row>,
        scope: Option<&Scope>,
    ) -> impl Iterator<Item = Self> {
        let place = scope.map(Place::from);
        rows.into_iter().map(move |row| Self { place: place.clone(), row: Box::new(row) })
    }
}

/// The columns of CSV: where a session is, and the fields of a row.
const COLUMNS: [&str; 20] = [
    "account",
    "region",
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

/// The rows of every session of a sweep, as `sorted` has them.
pub(crate) fn lines(
    evaluated: impl Iterator<Item = Row>,
    not_evaluated: &[(Record, &'static str)],
    now: Timestamp,
    scope: Option<&Scope>,
) -> Vec<Line> {
    let not_evaluated = not_evaluated.iter().map(|(it, why)| Row::of_record(it, now, why));
    sorted(Line::of_rows(evaluated.chain(not_evaluated), scope).collect())
}

/// By verdict, the most important first, and then the oldest first.
pub(crate) fn sorted(mut lines: Vec<Line>) -> Vec<Line> {
    lines.sort_by_key(|it| (it.row.verdict, it.row.started_at)); // Stable, and so by id within an instant.
    lines
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

    /// Prints the sessions that match the options; the counts are of all sessions.
    pub(crate) fn print(&self, lines: Vec<Line>, report: &Report) -> anyhow::Result<()> {
        self.print_of(lines, report, None)
    }

    /// The same of many account-Regions: with what became of each.
    pub(crate) fn print_all(
        &self,
        lines: Vec<Line>,
        report: &Report,
        overview: &Overview,
    ) -> anyhow::Result<()> {
        self.print_of(lines, report, Some(overview))
    }

    fn print_of(
        &self,
        mut lines: Vec<Line>,
        report: &Report,
        overview: Option<&Overview>,
    ) -> anyhow::Result<()> {
        let n_all = lines.len();
        lines.retain(|it| self.has(&it.row));
        match self.output {
            Output::Csv if overview.is_some() => print_csv(&lines, COLUMNS)?,
            Output::Csv => {
                let [_account, _region, columns @ ..] = COLUMNS;
                print_csv(&lines, columns)?;
            }
            Output::Json => {
                let mut report = json!(report);
                let fields = report.as_object_mut().context("a report is an object")?;
                fields.insert("sessions".into(), json!(lines));
                fields.insert("truncated".into(), false.into());
                if let Some(overview) = overview {
                    fields.retain(|it, _| it != "account" && it != "region");
                    overview.add_to(fields);
                }
                println!("{}", printable_json(format!("{report:#}")));
            }
            Output::Ndjson => {
                for line in &lines {
                    println!("{}", printable_json(json!(line).to_string()));
                }
            }
            Output::Table => {
                let columns = fitting(&lines);
                if !lines.is_empty() {
                    println!("{}\n", to_table(&lines, &columns).trim_fmt());
                }
                let left_out = left_out(&columns);
                if !left_out.is_empty() {
                    println!(
                        "{} would not fit: widen the terminal, or use `--output csv`.",
                        left_out.join(", ")
                    );
                    if overview.is_some() {
                        println!("");
                    }
                }
                if let Some(overview) = overview {
                    overview.print();
                }
                if lines.len() < n_all {
                    println!("{} of {n_all} sessions are shown.", lines.len());
                }
                println!("{}.", report.counts());
            }
        }
        if let Some(overview) = overview.filter(|_| self.output != Output::Table) {
            overview.warn();
        }
        Ok(())
    }
}

fn print_csv<const N: usize>(lines: &[Line], columns: [&str; N]) -> anyhow::Result<()> {
    let is_terminal = std::io::stdout().is_terminal();
    let shown = |text: String| if is_terminal { printable(&text) } else { text };
    let records = lines.iter().map(|line| {
        let line = json!(line);
        columns.map(|it| shown(plain(line.get(it))))
    });
    print!("{}", to_csv([columns.map(String::from)].into_iter().chain(records))?);
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
        let row = Row {
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
        };
        let scope = Scope::from_arn("arn:aws:ssm:eu-west-1:123456789012:x");
        let line = json!(Line::of_rows([row], scope.as_ref()).next().expect("a line"));
        let mut names: Vec<_> = line.as_object().expect("an object").keys().collect();
        let mut columns = COLUMNS.to_vec();
        names.sort_unstable();
        columns.sort_unstable();
        assert_eq!(names, columns);
    }
}
