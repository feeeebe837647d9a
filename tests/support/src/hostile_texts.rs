//! What somebody may write into a name or a reason to deceive whoever reads it.

/// Each is one text.
#[must_use]
pub fn hostile_texts() -> Vec<String> {
    let mut texts: Vec<String> = [
        "\u{1b}[31mred\u{1b}]0;title\u{7}",
        "a\nb\r\nc\u{85}d\u{2028}e\u{2029}f",
        "{\"level\":\"ERROR\"}\n{\"message\":\"sweep finished\"}",
        "\u{202e}gnp.exe\u{2066}\u{2069}\u{200f}\u{61c}",
        "\"quoted\\\" 'and' `so`",
        "a\u{0}b\u{8}\u{7f}\u{9b}31m",
        "=HYPERLINK(\"http://x\")",
        "<script>alert(1)</script>\" onload=\"x",
        "e\u{301}\u{200d}\u{1f469}\u{200d}\u{1f4bb}\u{fffd}",
    ]
    .map(Into::into)
    .into();
    texts.push("long ".repeat(2_000));
    texts
}
