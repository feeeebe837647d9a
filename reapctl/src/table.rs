//! Tables for people: coloured on a terminal, plain in a pipe, and never a control character.

use std::fmt;

use anstream::{AutoStream, ColorChoice};
use comfy_table::{Cell, Color, Table, presets};
use jiff::{SignedDuration, Timestamp};

/// A table with this header.
pub(crate) fn table(header: &[&str]) -> Table {
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

/// A cell with a text that anybody may have written.
pub(crate) fn cell(text: &str) -> Cell {
    Cell::new(printable(text))
}

/// A cell in the colour of a verdict or an outcome.
pub(crate) fn coloured(name: &str) -> Cell {
    let colour = match name {
        "compliant" | "already_gone" | "terminated" => Color::Green,
        "exempt" | "ending" => Color::Cyan,
        "violation" | "denied" | "failed" => Color::Red,
        "undetermined" | "unjudged" | "unconfirmed" | "throttled" | "held" => Color::Yellow,
        _ => return cell(name),
    };
    cell(name).fg(colour)
}

/// An age in its two largest units, such as `3w 1d` or `25m`.
pub(crate) fn age(age: SignedDuration) -> String {
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
pub(crate) fn minute(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%MZ").to_string()
}

/// Whether a terminal may obey the character instead of showing it: control and bidirectional ones.
pub(crate) fn is_unsafe(it: char) -> bool {
    it.is_control()
        || matches!(it, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(it, '\u{2066}'..='\u{2069}')
}

/// The text with every control and bidirectional character escaped, for a terminal obeys them.
pub(crate) fn printable(text: &str) -> String {
    let escape = |it: char| match it {
        it if is_unsafe(it) => it.escape_unicode().to_string(),
        it => it.to_string(),
    };
    text.chars().map(escape).collect()
}

/// The same of a text that may have several lines.
pub(crate) fn printable_lines(text: &str) -> String {
    text.split('\n').map(printable).collect::<Vec<_>>().join("\n")
}

/// JSON that says the same, with those characters as `\u` escapes. Line ends are not in strings.
pub(crate) fn printable_json(json: &impl fmt::Display) -> String {
    let escape = |it: char| match it {
        '\n' => it.to_string(),
        it if is_unsafe(it) => format!("\\u{:04x}", u32::from(it)),
        it => it.to_string(),
    };
    json.to_string().chars().map(escape).collect()
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

    #[test]
    fn no_control_or_bidi_character_reaches_the_terminal() {
        let hostile = "a\u{1b}[31m\n\t\u{0}\u{9b}\u{202e}\u{2066}é";
        assert_eq!(printable(hostile), r"a\u{1b}[31m\u{a}\u{9}\u{0}\u{9b}\u{202e}\u{2066}é");
        let json = serde_json::json!([hostile]);
        let printed = printable_json(&format_args!("{json:#}"));
        assert!(printed.contains(r"\u0000\u009b\u202e\u2066é"), "{printed}");
        let read: serde_json::Value = serde_json::from_str(&printed).expect("JSON");
        assert_eq!(read, json);
    }
}
