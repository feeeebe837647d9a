//! The columns of the table of sessions.

use std::sync::Arc;

use jiff::SignedDuration;
use reaper_core::{
    evaluate::VerdictKind,
    pattern::short_owner,
    plan,
    report::{Outcome, Row},
    target::Unknown,
};
use reaper_render::table::{Cell, Table, age, cell, coloured, fitting_table, terminal_width};

use crate::lines::Line;

/// A table with these columns.
pub(crate) fn to_table(lines: &[Line], columns: &[Column]) -> Table {
    let mut table = fitting_table(&columns.iter().map(|it| it.name()).collect::<Vec<_>>());
    for line in lines {
        table.add_row(columns.iter().map(|it| it.of(line)));
    }
    table
}

/// The columns for which the terminal is wide enough; all columns if the output is not a terminal. If
/// even the most important columns are too wide, their cells are broken into lines.
pub(crate) fn fitting(lines: &[Line]) -> Vec<Column> {
    let mut columns = ALL.to_vec();
    columns.retain(|it| *it != Column::Due || lines.iter().any(|it| it.row.due.is_some()));
    columns.retain(|it| !it.is_place() || lines.iter().any(|it| it.place.is_some()));
    let Some(width) = terminal_width() else { return columns };
    let needs = |it: &Column| {
        let cells = lines.iter().map(|line| it.of(line).content().chars().count());
        cells.chain([it.name().len()]).max().unwrap_or_default() + 2 // Its margins.
    };
    for name in [Column::Due, Column::Document, Column::Status, Column::Session, Column::Tags] {
        if columns.iter().map(needs).sum::<usize>() <= usize::from(width) {
            break;
        }
        columns.retain(|it| *it != name);
    }
    columns
}

/// The names of the columns that are not among these.
pub(super) fn left_out(columns: &[Column]) -> Vec<&'static str> {
    let is_optional = |it: Column| it == Column::Due || it.is_place();
    let is_left_out = |it: &&Column| !is_optional(**it) && !columns.contains(it);
    ALL.iter().filter(is_left_out).map(|it| it.name()).collect()
}

/// A column of a table.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) enum Column {
    Account,
    Action,
    Age,
    Document,
    Due,
    Owner,
    Region,
    Rules,
    Session,
    Status,
    Tags,
    Target,
    Verdict,
}

/// Every column, in the order in which they are shown.
const ALL: [Column; 13] = [
    Column::Account,
    Column::Region,
    Column::Age,
    Column::Owner,
    Column::Target,
    Column::Tags,
    Column::Document,
    Column::Status,
    Column::Verdict,
    Column::Rules,
    Column::Action,
    Column::Due,
    Column::Session,
];

impl Column {
    /// Whether it is there only if many account-Regions are shown.
    fn is_place(self) -> bool {
        matches!(self, Self::Account | Self::Region)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Account => "ACCOUNT",
            Self::Age => "AGE",
            Self::Document => "DOCUMENT",
            Self::Action => "ACTION",
            Self::Due => "DUE",
            Self::Owner => "OWNER",
            Self::Region => "REGION",
            Self::Rules => "RULES OR EXEMPTION",
            Self::Session => "SESSION",
            Self::Status => "STATUS",
            Self::Tags => "TAGS",
            Self::Target => "TARGET",
            Self::Verdict => "VERDICT",
        }
    }

    fn of(self, line: &Line) -> Cell {
        let Line { place, row } = line;
        let text = |it: Option<&str>| cell(it.unwrap_or("-"));
        match self {
            Self::Account => text(place.as_ref().map(|it| &*it.account)),
            Self::Region => text(place.as_ref().map(|it| &*it.region)),
            Self::Age => {
                cell(&row.age_s.map_or("-".into(), |it| age(SignedDuration::from_secs(it))))
            }
            Self::Document => text(row.document.as_deref()),
            Self::Action => action(row),
            Self::Due => text(row.due.map(|it| format!("{it:.0}")).as_deref()),
            Self::Owner => text(row.owner.as_deref().map(short_owner).as_deref()),
            Self::Rules => match &row.error {
                Some(why) if row.verdict == VerdictKind::NotEvaluated => cell(why),
                _ => cell(&rules(row)),
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

/// The rules; with the place in its group, if that has no place for the session.
fn rules(row: &Row) -> String {
    let with_place = |rule: &Arc<str>| {
        let excess = row.excess.iter().find_map(|it| it.strip_prefix(&format!("{rule}: ")));
        excess.map_or_else(|| rule.to_string(), |place| format!("{rule} ({place})"))
    };
    row.rules.iter().map(with_place).collect::<Vec<_>>().join(", ")
}

/// The outcome, or else the planned action; with the reason for it, if there is one.
fn action(row: &Row) -> Cell {
    let name = row.outcome.map(Outcome::name).or(row.action.map(plan::Action::name));
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
