//! JSON as Python's `json` module reads and writes it: its errors, its spaces, its escapes.
//!
//! By hand: with `preserve_order` and `arbitrary_precision`, all error messages of `serde_json` would
//! still have to be replaced, with places in characters, and it does not read everything that Python
//! reads: `NaN`, half of a surrogate pair. Features apply to a whole build, so both would also change the
//! JSON of every other crate of the workspace, at least in its tests.

use std::fmt::{self, Display, Formatter, Write};

use crate::value::{MAX_DEPTH, Map, TOO_DEEP, Value, float};

/// Why a text cannot be read, with Python's message.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Error {
    /// It is not JSON: Python's `ValueError`.
    Syntax(String),
    /// Its lists and maps are nested too deeply: Python's `RecursionError`.
    TooDeep(&'static str),
}

impl Display for Error {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(message) => f.write_str(message),
            Self::TooDeep(kind) => {
                write!(f, "{TOO_DEEP} while decoding a JSON {kind} from a unicode string")
            }
        }
    }
}

/// Reads JSON.
pub(crate) fn parse(text: &str) -> Result<Value, Error> {
    let chars = text.chars().collect();
    let mut parser = Parser { chars, at: 0, depth: 0 };
    if parser.peek() == Some('\u{feff}') {
        return parser.fail("Unexpected UTF-8 BOM (decode using utf-8-sig)", 0);
    }
    parser.skip_space();
    let value = parser.value()?;
    parser.skip_space();
    if parser.at < parser.chars.len() { parser.fail("Extra data", parser.at) } else { Ok(value) }
}

struct Parser {
    chars: Vec<char>,
    at: usize,
    /// Lists and maps that are open.
    depth: usize,
}

impl Parser {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek();
        self.at += 1;
        next
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(' ' | '\t' | '\n' | '\r')) {
            self.at += 1;
        }
    }

    fn fail<T>(&self, message: &str, at: usize) -> Result<T, Error> {
        let before = self.chars.get(..at).unwrap_or(&self.chars);
        let line = before.iter().filter(|it| **it == '\n').count() + 1;
        let column = before.iter().rev().take_while(|it| **it != '\n').count() + 1;
        Err(Error::Syntax(format!("{message}: line {line} column {column} (char {at})")))
    }

    fn value(&mut self) -> Result<Value, Error> {
        let start = self.at;
        match self.next() {
            Some('"') => self.text(start).map(Value::Text),
            Some('{') => self.nested("object", Self::map),
            Some('[') => self.nested("array", Self::list),
            _ => {
                self.at = start;
                let Some((value, length)) = self.word().or_else(|| self.number()) else {
                    return self.fail("Expecting value", start);
                };
                self.at += length;
                Ok(value)
            }
        }
    }

    fn nested(
        &mut self,
        kind: &'static str,
        read: fn(&mut Self) -> Result<Value, Error>,
    ) -> Result<Value, Error> {
        if self.depth == MAX_DEPTH {
            return Err(Error::TooDeep(kind));
        }
        self.depth += 1;
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn word(&self) -> Option<(Value, usize)> {
        let rest = self.chars.get(self.at..)?;
        let words = [
            ("null", Value::Null),
            ("true", Value::Bool(true)),
            ("false", Value::Bool(false)),
            ("NaN", Value::Float(f64::NAN)),
            ("Infinity", Value::Float(f64::INFINITY)),
            ("-Infinity", Value::Float(f64::NEG_INFINITY)),
        ];
        words.into_iter().find_map(|(word, value)| {
            let is_it = word.chars().eq(rest.iter().copied().take(word.len()));
            is_it.then_some((value, word.len()))
        })
    }

    /// The number at the start of the text. The caller reports what follows it.
    fn number(&self) -> Option<(Value, usize)> {
        let digits = |from: usize| {
            let rest = self.chars.get(from..).unwrap_or_default();
            rest.iter().take_while(|it| it.is_ascii_digit()).count()
        };
        let is = |at: usize, set: &str| self.chars.get(at).is_some_and(|it| set.contains(*it));
        let mut end = self.at + usize::from(is(self.at, "-"));
        end += match digits(end) {
            0 => return None,
            _ if is(end, "0") => 1,
            n => n,
        };
        let mut is_float = false;
        if is(end, ".") && digits(end + 1) != 0 {
            end += 1 + digits(end + 1);
            is_float = true;
        }
        let sign = usize::from(is(end + 1, "+-"));
        if is(end, "eE") && digits(end + 1 + sign) != 0 {
            end += 1 + sign + digits(end + 1 + sign);
            is_float = true;
        }
        let text: String = self.chars.get(self.at..end)?.iter().collect();
        let int = if is_float { None } else { text.parse().ok().map(Value::Int) };
        let value = int.or_else(|| text.parse().ok().map(Value::Float))?;
        Some((value, end - self.at))
    }

    fn list(&mut self) -> Result<Value, Error> {
        let mut items = Vec::new();
        self.skip_space();
        if self.peek() == Some(']') {
            self.at += 1;
            return Ok(items.into());
        }
        loop {
            items.push(self.value()?);
            self.skip_space();
            match self.next() {
                Some(']') => return Ok(items.into()),
                Some(',') => self.skip_space(),
                _ => return self.fail("Expecting ',' delimiter", self.at - 1),
            }
        }
    }

    fn map(&mut self) -> Result<Value, Error> {
        let mut map = Map::default();
        self.skip_space();
        if self.peek() == Some('}') {
            self.at += 1;
            return Ok(Value::Map(map));
        }
        loop {
            let start = self.at;
            if self.next() != Some('"') {
                return self.fail("Expecting property name enclosed in double quotes", start);
            }
            let name = self.text(start)?;
            self.skip_space();
            if self.next() != Some(':') {
                return self.fail("Expecting ':' delimiter", self.at - 1);
            }
            self.skip_space();
            map.set(&name, self.value()?);
            self.skip_space();
            match self.next() {
                Some('}') => return Ok(Value::Map(map)),
                Some(',') => self.skip_space(),
                _ => return self.fail("Expecting ',' delimiter", self.at - 1),
            }
        }
    }

    /// The rest of a text whose opening quote stands at `start`.
    fn text(&mut self, start: usize) -> Result<String, Error> {
        let mut text = String::new();
        loop {
            match self.next() {
                Some('"') => return Ok(text),
                Some('\\') => text.push(self.escape(start)?),
                Some(it) if it < ' ' => {
                    return self.fail("Invalid control character at", self.at - 1);
                }
                Some(it) => text.push(it),
                None => return self.fail("Unterminated string starting at", start),
            }
        }
    }

    fn escape(&mut self, start: usize) -> Result<char, Error> {
        Ok(match self.next() {
            Some(it @ ('"' | '\\' | '/')) => it,
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('u') => {
                let first = self.hex()?;
                let pair = [self.peek(), self.chars.get(self.at + 1).copied()];
                if (0xd800..0xdc00).contains(&first) && pair == [Some('\\'), Some('u')] {
                    let back = self.at;
                    self.at += 2;
                    let second = self.hex()?;
                    if (0xdc00..0xe000).contains(&second) {
                        let code = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                        return Ok(char::from_u32(code).unwrap_or('\u{fffd}'));
                    }
                    self.at = back;
                }
                char::from_u32(first).unwrap_or('\u{fffd}') // Half a pair is not a character.
            }
            Some(_) => return self.fail("Invalid \\escape", self.at - 2),
            None => return self.fail("Unterminated string starting at", start),
        })
    }

    fn hex(&mut self) -> Result<u32, Error> {
        let digits = self.chars.get(self.at..self.at + 4).unwrap_or_default();
        let digits: String = digits.iter().collect();
        let is_hex = digits.len() == 4 && digits.chars().all(|it| it.is_ascii_hexdigit());
        match u32::from_str_radix(&digits, 16) {
            Ok(code) if is_hex && self.at + 4 < self.chars.len() => {
                self.at += 4;
                Ok(code)
            }
            _ => self.fail("Invalid \\uXXXX escape", self.at - 1),
        }
    }
}

/// `json.dumps(value, separators=(item, key))`: in one line, and in ASCII.
pub(crate) fn compact(value: &Value, item: &str, key: &str) -> String {
    match value {
        Value::List(items) => {
            let items: Vec<_> = items.iter().map(|it| compact(it, item, key)).collect();
            format!("[{}]", items.join(item))
        }
        Value::Map(map) => {
            let members: Vec<_> = map
                .iter()
                .map(|(name, value)| string(name, is_ascii) + key + &compact(value, item, key))
                .collect();
            format!("{{{}}}", members.join(item))
        }
        Value::Text(text) => string(text, is_ascii),
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) => scalar(value),
    }
}

/// `json.dumps(value, indent=4, ensure_ascii=False)`
pub(crate) fn pretty(value: &Value) -> String {
    indented(value, 0)
}

fn indented(value: &Value, depth: usize) -> String {
    let inner = "    ".repeat(depth + 1);
    let outer = "    ".repeat(depth);
    let deeper = |it: &Value| indented(it, depth + 1);
    let lines = match value {
        Value::List(items) => items.iter().map(deeper).collect::<Vec<_>>(),
        Value::Map(map) => {
            map.iter().map(|(name, it)| string(name, |_| true) + ": " + &deeper(it)).collect()
        }
        Value::Text(text) => return string(text, |_| true),
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) => return scalar(value),
    };
    let (open, close) = if matches!(value, Value::List(_)) { ('[', ']') } else { ('{', '}') };
    if lines.is_empty() {
        return format!("{open}{close}");
    }
    format!("{open}\n{inner}{}\n{outer}{close}", lines.join(&format!(",\n{inner}")))
}

fn scalar(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(it) => it.to_string(),
        Value::Float(it) if it.is_nan() => "NaN".into(),
        Value::Float(it) if it.is_infinite() => {
            if *it < 0.0 {
                "-Infinity".into()
            } else {
                "Infinity".into()
            }
        }
        Value::Float(it) => float(*it),
        Value::Int(_) | Value::Text(_) | Value::List(_) | Value::Map(_) => value.text(),
    }
}

fn is_ascii(it: char) -> bool {
    matches!(it, ' '..='~')
}

/// A text in quotes; the other characters are escaped.
fn string(text: &str, keep: impl Fn(char) -> bool) -> String {
    let mut string = String::from('"');
    for it in text.chars() {
        match it {
            '"' => string.push_str("\\\""),
            '\\' => string.push_str("\\\\"),
            '\n' => string.push_str("\\n"),
            '\r' => string.push_str("\\r"),
            '\t' => string.push_str("\\t"),
            '\u{8}' => string.push_str("\\b"),
            '\u{c}' => string.push_str("\\f"),
            it if it < ' ' || !keep(it) => {
                for unit in it.encode_utf16(&mut [0; 2]) {
                    let _ = write!(string, "\\u{unit:04x}");
                }
            }
            it => string.push(it),
        }
    }
    string.push('"');
    string
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_pythons() {
        for (text, message) in [
            ("", "Expecting value: line 1 column 1 (char 0)"),
            ("[", "Expecting value: line 1 column 2 (char 1)"),
            ("[1,]", "Expecting value: line 1 column 4 (char 3)"),
            ("[1\n2]", "Expecting ',' delimiter: line 2 column 1 (char 3)"),
            ("{", "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
            ("{\"a\" 1}", "Expecting ':' delimiter: line 1 column 6 (char 5)"),
            ("{\"a\":1", "Expecting ',' delimiter: line 1 column 7 (char 6)"),
            ("\"a", "Unterminated string starting at: line 1 column 1 (char 0)"),
            ("\"\\x\"", "Invalid \\escape: line 1 column 2 (char 1)"),
            ("\"\\u12\"", "Invalid \\uXXXX escape: line 1 column 3 (char 2)"),
            ("\"a\tb\"", "Invalid control character at: line 1 column 3 (char 2)"),
            ("01", "Extra data: line 1 column 2 (char 1)"),
            ("nul", "Expecting value: line 1 column 1 (char 0)"),
        ] {
            assert_eq!(parse(text).expect_err(text), Error::Syntax(message.into()));
        }
    }

    #[test]
    fn round_trip() {
        let text = r#"{"b": [1, -2.5, 1e+20, null, true, {}], "a": "\u001b\u00e9\ud83d\ude00\n"}"#;
        assert_eq!(compact(&parse(text).expect("JSON"), ", ", ": "), text);
        let value = parse(r#"{"b":[],"a":["\u00e9\u0001"]}"#).expect("JSON");
        let lines = "{\n    \"b\": [],\n    \"a\": [\n        \"é\\u0001\"\n    ]\n}";
        assert_eq!(pretty(&value), lines);
    }

    /// As Python's, whose limit is nearly twice as high.
    #[test]
    fn nesting_is_limited() {
        for (open, close, kind) in [("[", "]", "array"), (r#"{"a":"#, "}", "object")] {
            let nested = |n: usize| open.repeat(n) + "1" + &close.repeat(n);
            assert_eq!(parse(&nested(MAX_DEPTH)).expect("JSON").depth(), MAX_DEPTH);
            let error = parse(&nested(MAX_DEPTH + 1)).expect_err("an error");
            assert_eq!(parse(&open.repeat(100_000)), Err(Error::TooDeep(kind)));
            let message = format!(
                "maximum recursion depth exceeded while decoding a JSON {kind} from a unicode string"
            );
            assert_eq!(error.to_string(), message);
        }
        // Side by side is not nested.
        assert_eq!(parse(&format!("[{}1]", "[],".repeat(2_000))).expect("JSON").depth(), 2);
    }
}
