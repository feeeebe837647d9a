//! Regular expressions on the reason of a session.

use regex_lite::{Regex, RegexBuilder};

use super::grammar::MAX_REASON;
use crate::alphabet::{invisible, too_long};

/// The most memory that one compiled regular expression may take, in bytes.
const MAX_REGEX_SIZE: usize = 1 << 18;

/// Reads one, or says what is wrong with it, and what to do about it.
pub(super) fn parse(text: &str) -> Result<Regex, String> {
    if let Some(why) = invisible(text, "write it as an escape such as `\\x{200B}`") {
        return Err(why);
    }
    if let Some(it) = ignored_case(text) {
        return Err(format!(
            "`{text}` has `{it}`, and `(?i)` is about ASCII letters only; write such \
             letters in both cases, as `[{}{}]`, and without `(?i)`",
            it.to_uppercase(),
            it.to_lowercase()
        ));
    }
    let literal = text.trim_start_matches('^').trim_end_matches('$');
    if !literal.contains(|it| r"\.+*?()|[]{}^$".contains(it))
        && let Some(why) = too_long(literal, "reason", MAX_REASON)
    {
        return Err(why);
    }
    let regex = RegexBuilder::new(text).size_limit(MAX_REGEX_SIZE).build();
    regex.map_err(|err| format!("`{text}` is no regular expression: {err}"))
}

/// A letter that has two cases, of which `(?i)` would see only one: it is about ASCII alone.
///
/// It does not matter where in the expression the flag is set.
fn ignored_case(regex: &str) -> Option<char> {
    let mut ignores_case = false;
    let mut cased = None;
    let mut rest = regex;
    while let Some(it) = rest.chars().next() {
        let length = if let Some(flags) = rest.strip_prefix("(?") {
            let flags = flags.split(|it: char| !it.is_ascii_alphabetic()).next();
            ignores_case |= flags.is_some_and(|it| it.contains('i') && !it.starts_with('P'));
            2
        } else if let Some(escape) = rest.strip_prefix('\\') {
            let (letter, length) = escaped(escape);
            cased = cased.or(letter.filter(|it| has_two_cases(*it)));
            1 + length
        } else {
            cased = cased.or(Some(it).filter(|it| has_two_cases(*it)));
            it.len_utf8()
        };
        rest = rest.get(length..)?;
    }
    cased.filter(|_| ignores_case)
}

fn has_two_cases(it: char) -> bool {
    !it.is_ascii() && (it.to_lowercase().ne([it]) || it.to_uppercase().ne([it]))
}

/// The character of an escape by number such as `x{d6}`, `u00d6`, and how long any escape is.
fn escaped(escape: &str) -> (Option<char>, usize) {
    let letter = escape.chars().next();
    let digits = match letter {
        Some('x') => 2,
        Some('u') => 4,
        Some('U') => 8,
        other => return (None, other.map_or(0, char::len_utf8)),
    };
    let number = escape.get(1..).unwrap_or_default();
    let (number, length) = match number.strip_prefix('{').and_then(|it| it.split_once('}')) {
        Some((number, _)) => (number, 1 + number.len() + 2),
        None => (number.get(..digits).unwrap_or_default(), 1 + digits),
    };
    let found = u32::from_str_radix(number, 16).ok().and_then(char::from_u32);
    (found, if found.is_some() { length } else { 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As docs/policy.md says of words: an escaped `<` or `>` is no character.
    #[test]
    fn words_are_ascii() {
        for (regex, reason, expected) in [
            (r"\<INC", "an INC-7", true),
            (r"\<INC", "XINC-7", false),
            (r"INC\>", "INC-7", true),
            (r"INC\>", "INCX", false),
            (r"\<", "<>", false),
            ("<INC>", "<INC>", true),
            (r"\b", "ös", true),
            (r"ö\bs", "ös", true),
            (r"ö\<s\>", "ös", true),
        ] {
            let regex = parse(regex).expect(regex);
            assert_eq!(regex.is_match(reason), expected, "{regex} in {reason}");
        }
    }
}
