//! What the texts of AWS are made of. A pattern with anything else would match nothing.

use crate::printable::{is_unsafe, printable};

/// The characters of a kind of names: ASCII letters, digits and these.
pub(crate) struct Names {
    /// What is named.
    pub(crate) what: &'static str,
    /// As in a character class of a regular expression: a `-` stands last.
    pub(crate) punctuation: &'static str,
    /// The most characters that AWS allows.
    pub(crate) max: usize,
}

impl Names {
    fn has(&self, it: char) -> bool {
        it.is_ascii_alphanumeric() || self.punctuation.contains(it)
    }

    /// Whether the text is such a name.
    pub(crate) fn is_name(&self, text: &str) -> bool {
        (1..=self.max).contains(&text.len()) && text.chars().all(|it| self.has(it))
    }

    /// The characters of a glob on such names, as a character class of a regular expression.
    pub(crate) fn glob_class(&self) -> String {
        format!("[*?A-Za-z0-9{}]", self.punctuation)
    }
}

/// What neither tags nor reasons are written with: control characters, among them line ends, and
/// those that nothing shows. As a character class.
pub(crate) const VISIBLE: &str = r"[^\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2064\u2066-\u2069\ufeff]";

fn is_visible(it: char) -> bool {
    let is_blank = matches!(it, '\u{ad}' | '\u{200b}' | '\u{2060}'..='\u{2064}' | '\u{feff}');
    !is_unsafe(it) && !is_blank
}

/// Why a glob on such names can match none, if it has another character, or too many.
pub(crate) fn stray(glob: &str, names: &Names) -> Option<String> {
    let Names { what, punctuation, max } = names;
    let Some(found) = glob.chars().find(|it| !names.has(*it) && !"*?".contains(*it)) else {
        return too_long(glob, what, *max);
    };
    let glob = printable(glob);
    let has = match found {
        '\n' => LINE_END.into(),
        it if !is_visible(it) => invisible_character(it),
        it if it.is_whitespace() => "white space".into(),
        it => format!("`{it}`"),
    };
    let remedy = match found {
        '\n' => String::new(),
        '{' | '[' | '(' | '|' => "; write alternatives as a list".into(),
        _ => format!("; names have letters, digits and `{punctuation}`, or `?` for any character"),
    };
    Some(format!("`{glob}` matches no {what}: it has {has}{remedy}"))
}

/// Why a glob can match nothing, if even the shortest text that it matches is longer than AWS allows.
pub(crate) fn too_long(glob: &str, what: &str, max: usize) -> Option<String> {
    let n = glob.chars().filter(|it| *it != '*').count();
    (max < n).then(|| {
        let glob = printable(glob);
        // The pattern comes last: a message may be cut off.
        format!("a pattern of {n} characters matches no {what}, as AWS allows {max}: `{glob}`")
    })
}

/// Why a pattern on free text can match none, if it has a line end or an invisible character.
/// What to write `instead` is for the latter.
pub(crate) fn invisible(pattern: &str, instead: &str) -> Option<String> {
    let found = pattern.chars().find(|it| !is_visible(*it))?;
    let pattern = printable(pattern);
    Some(match found {
        '\n' | '\r' => format!("`{pattern}` has {LINE_END}"),
        it => format!("`{pattern}` has {}; {instead}", invisible_character(it)),
    })
}

const LINE_END: &str = "a line end, which `|-` and `>-` leave out";

fn invisible_character(it: char) -> String {
    format!("U+{:04X}, which is invisible", u32::from(it))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The class that the JSON Schema goes by, and the function that the reader goes by.
    #[test]
    fn class_is_the_function() {
        let class = regex_lite::Regex::new(&format!("^{VISIBLE}$"));
        let class = class.expect("a class");
        let differs = |it: &char| class.is_match(&it.to_string()) != is_visible(*it);
        assert_eq!(('\0'..=char::MAX).find(differs), None);
    }
}
