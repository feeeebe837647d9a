//! A box of a table: a title, a header, rows, and the widths of its columns.

use crate::table::wide::is_wide;

pub(super) struct Section {
    pub(super) title: String,
    pub(super) indent: usize,
    pub(super) header: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
    n_columns: Option<usize>,
    widths: Vec<usize>,
}

/// Columns that a text takes.
pub(super) fn width(text: &str) -> usize {
    text.chars().map(|it| if is_wide(it) { 2 } else { 1 }).sum()
}

impl Section {
    pub(super) fn new(title: &str, indent: usize) -> Self {
        Self {
            title: title.into(),
            indent,
            header: Vec::new(),
            rows: Vec::new(),
            n_columns: None,
            widths: Vec::new(),
        }
    }

    pub(super) fn add_header(&mut self, names: Vec<String>) {
        self.widen(&names);
        self.n_columns.get_or_insert(names.len());
        self.header = names;
    }

    pub(super) fn add_row(&mut self, cells: Vec<String>) -> Result<(), String> {
        let expected = *self.n_columns.get_or_insert(cells.len());
        let actual = cells.len();
        if actual != expected {
            return Err(format!("Row should have {expected} elements, instead it has {actual}"));
        }
        self.widen(&cells);
        self.rows.push(cells);
        Ok(())
    }

    fn widen(&mut self, cells: &[String]) {
        if self.widths.is_empty() {
            self.widths = vec![0; cells.len()];
        }
        for (place, cell) in self.widths.iter_mut().zip(cells) {
            *place = (*place).max(width(cell));
        }
    }

    /// The width of the section: four spaces for each cell, borders, and its bars.
    pub(super) fn total_width(&self) -> usize {
        let cells: usize = self.widths.iter().map(|it| it + 4).sum();
        cells.max(width(&self.title)) + 2 + 2 * self.indent
    }

    /// The columns' widths, stretched so that they fill the table.
    pub(super) fn fitted_widths(&self, table: usize) -> Vec<usize> {
        let padded: Vec<_> = self.widths.iter().map(|it| it + 4).collect();
        let sum: usize = padded.iter().sum();
        if sum == 0 {
            return padded;
        }
        let factor = to_float(table) / to_float(sum);
        let mut fitted: Vec<_> = padded.iter().map(|it| rounded(factor * to_float(*it))).collect();
        let last = fitted.len() - 1;
        // Rounding errors are corrected: too much is taken from the left, the rest is given to the right.
        for i in 0.. {
            let total: usize = fitted.iter().sum();
            let at = if table < total { i % (last + 1) } else { last - i % (last + 1) };
            match (total.cmp(&table), fitted.get_mut(at)) {
                (std::cmp::Ordering::Greater, Some(it)) => *it = it.saturating_sub(1),
                (std::cmp::Ordering::Less, Some(it)) => *it += 1,
                _ => break,
            }
        }
        fitted
    }

    /// The section with a line per member, if it has one row.
    pub(super) fn upright(self) -> Self {
        match self.rows.as_slice() {
            [row] if !self.header.is_empty() => {
                let mut section = Self::new(&self.title, self.indent);
                for (name, cell) in self.header.iter().zip(row) {
                    let pair = vec![name.clone(), cell.clone()];
                    section.widen(&pair);
                    section.rows.push(pair);
                }
                section
            }
            _ => self,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "columns of a terminal")]
fn to_float(columns: usize) -> f64 {
    columns as f64
}

/// To the nearest whole number, halves to the even one.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates")]
fn rounded(number: f64) -> usize {
    number.round_ties_even() as usize
}
