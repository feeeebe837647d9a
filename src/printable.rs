//! Texts that anybody may have written, for terminals and logs: whoever shows them may obey control and
//! bidirectional characters, or take some for the end of a line.

/// Whether a terminal may obey the character instead of showing it: control and bidirectional ones.
#[must_use]
pub fn is_unsafe(it: char) -> bool {
    it.is_control()
        || matches!(it, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(it, '\u{2066}'..='\u{2069}')
}

/// The text with every control and bidirectional character escaped, for a terminal obeys them.
#[must_use]
pub fn printable(text: &str) -> String {
    let escape = |it: char| match it {
        it if is_unsafe(it) => it.escape_unicode().to_string(),
        it => it.to_string(),
    };
    text.chars().map(escape).collect()
}

/// The same of a text that may have several lines.
#[must_use]
pub fn printable_lines(text: &str) -> String {
    text.split('\n').map(printable).collect::<Vec<_>>().join("\n")
}

/// JSON that says the same, with those characters as `\u` escapes. Line ends are not in strings.
#[must_use]
pub fn printable_json(json: String) -> String {
    let is_escaped = |it: char| it != '\n' && is_unsafe(it);
    let is_plain = |it: u8| it == b'\n' || it == b' ' || it.is_ascii_graphic();
    if json.bytes().all(is_plain) || !json.contains(is_escaped) {
        return json;
    }
    let escape = |it: char| match it {
        it if is_escaped(it) => format!("\\u{:04x}", u32::from(it)),
        it => it.to_string(),
    };
    json.chars().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_control_or_bidi_character_reaches_the_terminal() {
        let hostile = "a\u{1b}[31m\n\t\u{0}\u{9b}\u{202e}\u{2066}é";
        assert_eq!(printable(hostile), r"a\u{1b}[31m\u{a}\u{9}\u{0}\u{9b}\u{202e}\u{2066}é");
        let json = serde_json::json!([hostile]);
        let printed = printable_json(format!("{json:#}"));
        assert!(printed.contains(r"\u0000\u009b\u202e\u2066é"), "{printed}");
        let read: serde_json::Value = serde_json::from_str(&printed).expect("JSON");
        assert_eq!(read, json);
    }
}
