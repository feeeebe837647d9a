//! Makes text from users safe to show and to read.
//!
//! Terminals and log viewers interpret control and bidirectional characters, and parsers reject JSON
//! that contains half of a UTF-16 pair.

/// Whether a terminal may interpret the character instead of showing it: control and bidirectional
/// characters.
#[must_use]
pub fn is_unsafe(it: char) -> bool {
    it.is_control()
        || matches!(it, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(it, '\u{2066}'..='\u{2069}')
}

/// The text with every control and bidirectional character escaped.
///
/// ```
/// use reaper_core::printable::printable;
///
/// assert_eq!(printable("red: \u{1b}[31m"), "red: \\u{1b}[31m");
/// ```
#[must_use]
pub fn printable(text: &str) -> String {
    let escape = |it: char| match it {
        it if is_unsafe(it) => it.escape_unicode().to_string(),
        it => it.to_string(),
    };
    text.chars().map(escape).collect()
}

/// The same for a text that may have several lines: line feeds are kept.
#[must_use]
pub fn printable_lines(text: &str) -> String {
    text.split('\n').map(printable).collect::<Vec<_>>().join("\n")
}

/// The same JSON, with those characters as `\u` escapes. Line feeds between values are kept.
#[must_use]
pub fn printable_json(json: String) -> String {
    let is_escaped = |it: char| it != '\n' && is_unsafe(it);
    // JSON has escaped the control characters before the space. These two checks are fast, and enough for
    // most log lines.
    if json.is_ascii() && !json.as_bytes().contains(&b'\x7f') {
        return json;
    }
    let escape = |it: char| match it {
        it if is_escaped(it) => format!("\\u{:04x}", u32::from(it)),
        it => it.to_string(),
    };
    json.chars().map(escape).collect()
}

/// Replaces every half of a UTF-16 pair, such as the escape `\ud800`, by `\ufffd`, which has the same
/// length.
///
/// JSON allows halves, but the parsers used here reject a text that has one: one session's text
/// would make the whole page unreadable.
pub fn mend_halves(json: &mut [u8]) {
    if !json.contains(&b'\\') {
        return; // Almost all answers have no escapes, and this check is cheap.
    }
    let mut at = 0;
    while let Some(byte) = json.get(at) {
        at += match (byte, code_unit(json, at), code_unit(json, at + ESCAPE)) {
            (b'\\', Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => ESCAPE + ESCAPE,
            (b'\\', Some(0xd800..=0xdfff), _) => {
                if let Some(escape) = json.get_mut(at..at + ESCAPE) {
                    escape.copy_from_slice(br"\ufffd");
                }
                ESCAPE
            }
            (b'\\', ..) => 2, // The escaped character may be a backslash.
            _ => 1,
        };
    }
}

/// The length of `\ud800`.
const ESCAPE: usize = 6;

/// What is escaped there as `\uXXXX`.
fn code_unit(json: &[u8], at: usize) -> Option<u16> {
    let digits = json.get(at..at + ESCAPE)?.strip_prefix(br"\u")?;
    u16::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip]
    fn halves_of_characters() {
        let table = [
            // what is sent         what is read
            (r"",                   r""),
            (r"no escape",          r"no escape"),
            (r"\ud83d\ude00",       r"\ud83d\ude00"),               // Both halves.
            (r"\uD83D\uDE00",       r"\uD83D\uDE00"),
            (r"a\ud800b",           r"a\ufffdb"),
            (r"\uDBFF",             r"\ufffd"),
            (r"\udc00",             r"\ufffd"),
            (r"\uDfFf!",            r"\ufffd!"),
            (r"\ud800\ud800",       r"\ufffd\ufffd"),
            (r"\ud800\ud83d\ude00", r"\ufffd\ud83d\ude00"),         // The pair is kept.
            (r"\ud83d\ude00\ude00", r"\ud83d\ude00\ufffd"),
            (r"\udc00\ud800",       r"\ufffd\ufffd"),               // The wrong way round.
            (r"\ud83d\u0041",       r"\ufffd\u0041"),
            (r"\ud83d\n\ude00",     r"\ufffd\n\ufffd"),
            (r"\ud83d \ude00",      r"\ufffd \ufffd"),
            (r"\\ud800",            r"\\ud800"),                    // A backslash, and `ud800`.
            (r"\\\ud800",           r"\\\ufffd"),
            (r"\ud83d\\ude00",      r"\ufffd\\ude00"),
            (r"\ud7ff\ue000",       r"\ud7ff\ue000"),               // The neighbours.
            (r"\uZZZZ",             r"\uZZZZ"),                     // Not JSON, and left to the parser.
            (r"\u+d80",             r"\u+d80"),
            (r"\ud80",              r"\ud80"),
            (r"\u",                 r"\u"),
            (r"\",                  r"\"),
            ("\\ud80\u{e9}",         "\\ud80\u{e9}"),
        ];
        for (sent, expected) in table {
            let mut json = sent.as_bytes().to_vec();
            mend_halves(&mut json);
            assert_eq!(String::from_utf8_lossy(&json), expected, "{sent}");
        }
    }

    /// No control or bidirectional character reaches the terminal.
    #[test]
    fn control_and_bidi() {
        let hostile = "a\u{1b}[31m\n\t\u{0}\u{9b}\u{202e}\u{2066}é";
        assert_eq!(printable(hostile), r"a\u{1b}[31m\u{a}\u{9}\u{0}\u{9b}\u{202e}\u{2066}é");
        assert_eq!(printable_lines("a\u{9b}\nb\u{202e}"), "a\\u{9b}\nb\\u{202e}");
        assert_eq!(printable_json("[\"a \u{7f}\"]".into()), "[\"a \\u007f\"]");
        let json = serde_json::json!([hostile]);
        let printed = printable_json(format!("{json:#}"));
        assert!(printed.contains(r"\u0000\u009b\u202e\u2066é"), "{printed}");
        let read: serde_json::Value = serde_json::from_str(&printed).expect("JSON");
        assert_eq!(read, json);
    }
}
