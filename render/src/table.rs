//! Tables: coloured on a terminal, plain in a pipe, and without control characters.

use anstream::{AutoStream, ColorChoice};
pub use comfy_table::{Cell, Table};
use comfy_table::{Color, ContentArrangement, presets};
use jiff::{SignedDuration, Timestamp};
use reaper_core::printable::printable;
use terminal_size::{Width, terminal_size_of};

/// A table with this header.
#[must_use]
pub fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header.iter().map(|it| cell(it)));
    match AutoStream::choice(&std::io::stdout()) {
        ColorChoice::Never => table.force_no_tty(),
        ColorChoice::Always | ColorChoice::AlwaysAnsi | ColorChoice::Auto => {
            table.enforce_styling()
        }
    };
    table
}

/// A table with this header, whose cells are broken into lines where the terminal is too narrow.
#[must_use]
pub fn fitting_table(header: &[&str]) -> Table {
    let mut table = table(header);
    if let Some(width) = terminal_width() {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    }
    table
}

/// Characters in a line of the terminal; `None` if there is none, as in a pipe.
#[must_use]
pub fn terminal_width() -> Option<u16> {
    terminal_size_of(std::io::stdout()).map(|(Width(width), _)| width)
}

/// A cell with a text, which any user may have written.
#[must_use]
pub fn cell(text: &str) -> Cell {
    Cell::new(printable(text))
}

/// A cell in the colour of the verdict or outcome with which it starts.
#[must_use]
pub fn coloured(text: &str) -> Cell {
    let colour = match text.split(' ').next().unwrap_or_default() {
        "compliant" | "already_gone" | "terminated" => Color::Green,
        "exempt" => Color::Cyan,
        "violation" | "denied" | "failed" => Color::Red,
        "undetermined" | "not_evaluated" | "unconfirmed" | "throttled" | "deferred" => {
            Color::Yellow
        }
        _ => return cell(text),
    };
    cell(text).fg(colour)
}

/// An age in its two largest units, such as `3w 1d` or `25m`.
#[must_use]
pub fn age(age: SignedDuration) -> String {
    let seconds = age.as_secs();
    let units = [(604_800, "w"), (86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let mut rest = seconds.max(0);
    let mut parts = Vec::new();
    for (length, name) in units {
        if length <= rest {
            parts.push(format!("{}{name}", rest / length));
            rest %= length;
        } else if !parts.is_empty() {
            break;
        }
    }
    parts.truncate(2);
    if parts.is_empty() { "0s".into() } else { parts.join(" ") }
}

/// An instant to the minute.
#[must_use]
pub fn minute(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%MZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages() {
        for (seconds, text) in [
            (-5, "0s"),
            (0, "0s"),
            (59, "59s"),
            (3_600, "1h"),
            (3_661, "1h 1m"),
            (86_400 + 59, "1d"),
            (22 * 86_400, "3w 1d"),
        ] {
            assert_eq!(age(SignedDuration::from_secs(seconds)), text);
        }
    }
}
