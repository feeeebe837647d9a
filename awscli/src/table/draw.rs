//! Draws boxes as lines.

use crate::table::section::{Section, width};

/// Ends all colours.
pub(crate) const RESET: &str = "\u{1b}[0m";

const CELL: &str = "\u{1b}[1m\u{1b}[34m";
const BAR: &str = "\u{1b}[2m\u{1b}[33m";

struct Canvas {
    text: String,
    is_coloured: bool,
}

/// Draws sections below each other; draws nothing if there are none.
pub(super) fn draw(sections: Vec<Section>, terminal: usize, is_coloured: bool) -> String {
    if sections.is_empty() {
        return String::new();
    }
    let widest = |all: &[Section]| all.iter().map(Section::total_width).max().unwrap_or_default();
    let mut sections = sections;
    let mut table = widest(&sections);
    if terminal < table {
        sections = sections.into_iter().map(Section::upright).collect();
        table = widest(&sections);
    }
    let mut canvas = Canvas { text: String::new(), is_coloured };
    canvas.write(&("-".repeat(table) + "\n"));
    for section in &sections {
        canvas.section(section, table - 2 * section.indent);
    }
    canvas.text
}

impl Canvas {
    /// Writes, and ends all colours after each write, as colorama does.
    fn write(&mut self, text: &str) {
        self.text.push_str(text);
        if self.is_coloured {
            self.text.push_str(RESET);
        }
    }

    fn styled(&self, style: &str, text: &str) -> String {
        if self.is_coloured { format!("{style}{text}{RESET}") } else { text.into() }
    }

    fn line(&mut self, text: &str, indent: usize) {
        let bars = self.styled(BAR, "|").repeat(indent);
        for part in [&bars, text, &bars, "\n"] {
            self.write(part);
        }
    }

    fn section(&mut self, section: &Section, table: usize) {
        let Section { title, indent, header, rows, .. } = section;
        if !title.is_empty() {
            self.line(&centred(title, table, "|"), *indent);
            if header.is_empty() && rows.is_empty() {
                self.line(&format!("+{}+", "-".repeat(table - 2)), *indent);
            }
        }
        let widths = section.fitted_widths(table);
        if !header.is_empty() {
            self.line(&ruler(&widths), *indent);
            let cells = widths.iter().zip(header).enumerate();
            let cells: String = cells.map(|(i, (it, name))| centred(name, *it, edge(i))).collect();
            self.line(&cells, *indent);
        }
        if rows.is_empty() || widths.is_empty() {
            return;
        }
        self.line(&ruler(&widths), *indent);
        for row in rows {
            let cells = widths.iter().zip(row).enumerate();
            let cells: String =
                cells.map(|(i, (it, cell))| self.cell(cell, *it, edge(i))).collect();
            self.line(&cells, *indent);
        }
        self.line(&ruler(&widths), *indent);
    }

    fn cell(&self, text: &str, column: usize, left: &str) -> String {
        let taken = width(text) + left.len();
        let padding = if taken + 3 <= column { 2 } else { 0 };
        let right = column.saturating_sub(taken + padding + 1);
        let text = self.styled(CELL, text);
        format!("{left}{}{text}{}|", " ".repeat(padding), " ".repeat(right))
    }
}

/// The left edge of a column: only the first has one.
fn edge(column: usize) -> &'static str {
    if column == 0 { "|" } else { "" }
}

fn ruler(widths: &[usize]) -> String {
    let part = |(i, it): (usize, &usize)| match i {
        0 => format!("+{}+", "-".repeat(it.saturating_sub(2))),
        _ => format!("{}+", "-".repeat(it.saturating_sub(1))),
    };
    widths.iter().enumerate().map(part).collect()
}

fn centred(text: &str, column: usize, left: &str) -> String {
    let before = (column / 2).saturating_sub(width(text) / 2 + 1);
    let taken = left.len() + before + width(text);
    let after = column.saturating_sub(taken + 1);
    format!("{left}{}{text}{}|", " ".repeat(before), " ".repeat(after))
}
