//! The shorthand of parameters: `key=Owner,value=…`, lists in brackets, maps in braces, quotes.

use crate::{
    paramfile,
    value::{MAX_DEPTH, Map, Value},
};

/// What is wrong with a parameter, with the AWS CLI's message.
pub(crate) enum Wrong {
    /// The file that a value names.
    File(String),
    Syntax(String),
    /// Its lists and maps are nested too deeply.
    TooDeep,
}

/// Reads one parameter.
pub(crate) fn parse(text: &str) -> Result<Value, Wrong> {
    let mut parser =
        Parser { chars: text.chars().collect(), at: 0, depth: 0, resolves_files: false };
    parser.parameter()
}

struct Parser {
    chars: Vec<char>,
    at: usize,
    /// Lists and maps that are open.
    depth: usize,
    /// After `@=`, a value may be the path of a file.
    resolves_files: bool,
}

/// Where a value ends: at the next comma, or also at an equals sign.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Follow {
    First,
    Second,
}

impl Parser {
    fn parameter(&mut self) -> Result<Value, Wrong> {
        let mut map = Map::default();
        let (key, value) = self.key_value(Self::values)?;
        map.set(&key, value);
        let mut last = self.at;
        while self.at < self.chars.len() {
            self.expect_spaced(',')?;
            let (key, value) = self.key_value(Self::values)?;
            if map.get(&key).is_some() {
                return Err(Wrong::Syntax(format!(
                    "Second instance of key \"{key}\" encountered for input:\n{}\n\
                     This is often because there is a preceding \",\" instead of a space.",
                    self.location(last + 1)
                )));
            }
            map.set(&key, value);
            last = self.at;
        }
        Ok(Value::Map(map))
    }

    fn key_value(
        &mut self,
        value: impl FnOnce(&mut Self) -> Result<Value, Wrong>,
    ) -> Result<(String, Value), Wrong> {
        let key = self.key();
        self.skip_space();
        self.resolves_files = self.peek() == Some('@');
        if self.resolves_files {
            self.expect_spaced('@')?;
        }
        self.expect_spaced('=')?;
        Ok((key, value(self)?))
    }

    fn key(&mut self) -> String {
        let is_part = |it: &char| it.is_ascii_alphanumeric() || "-_.#/:".contains(*it);
        let rest = self.chars.get(self.at..).unwrap_or_default();
        let key: String = rest.iter().copied().take_while(is_part).collect();
        self.at += key.len();
        key
    }

    fn values(&mut self) -> Result<Value, Wrong> {
        match self.peek() {
            None => Ok("".into()),
            Some('[' | '{') => self.explicit_values(),
            Some(_) => self.comma_separated(),
        }
    }

    fn explicit_values(&mut self) -> Result<Value, Wrong> {
        match self.peek() {
            Some('[') => self.nested(Self::list),
            Some('{') => self.nested(Self::map),
            _ => self.first_value(),
        }
    }

    fn nested(&mut self, read: fn(&mut Self) -> Result<Value, Wrong>) -> Result<Value, Wrong> {
        if self.depth == MAX_DEPTH {
            return Err(Wrong::TooDeep);
        }
        self.depth += 1;
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    /// `foo=bar` is a text, `foo=bar,baz` a list; `foo=bar,baz=…` is a text, and then another key.
    fn comma_separated(&mut self) -> Result<Value, Wrong> {
        let first = self.first_value()?;
        self.skip_space();
        if self.peek() != Some(',') {
            return Ok(first);
        }
        self.expect_spaced(',')?;
        let mut list = vec![first.clone()];
        loop {
            match self.second_value() {
                Ok((value, is_last)) => {
                    list.push(value);
                    if is_last {
                        break;
                    }
                }
                Err(message) if self.peek().is_none() => return Err(message),
                Err(_) => {
                    while self.at != 0 && self.peek() != Some(',') {
                        self.at -= 1;
                    }
                    break;
                }
            }
        }
        Ok(if list.len() == 1 { first } else { list.into() })
    }

    /// A further value of a list, and whether it is the last.
    fn second_value(&mut self) -> Result<(Value, bool), Wrong> {
        let value = match self.peek() {
            Some(quote @ ('\'' | '"')) => self.quoted(quote)?,
            _ => match self.bare(Follow::Second) {
                Some(text) => self.resolved(text)?,
                None => return self.fail("<second>", "<none>"),
            },
        };
        self.skip_space();
        let is_last = self.peek().is_none();
        if !is_last {
            self.expect_spaced(',')?;
        }
        Ok((value, is_last))
    }

    fn first_value(&mut self) -> Result<Value, Wrong> {
        match self.peek() {
            Some(quote @ ('\'' | '"')) => self.quoted(quote),
            _ => match self.bare(Follow::First) {
                Some(text) => self.resolved(text),
                None => Ok("".into()),
            },
        }
    }

    fn list(&mut self) -> Result<Value, Wrong> {
        self.expect_spaced('[')?;
        let mut items = Vec::new();
        while self.peek() != Some(']') {
            items.push(self.explicit_values()?);
            self.skip_space();
            if self.peek() != Some(']') {
                self.expect(',')?;
                self.skip_space();
            }
        }
        self.expect(']')?;
        Ok(items.into())
    }

    fn map(&mut self) -> Result<Value, Wrong> {
        self.expect_spaced('{')?;
        let mut map = Map::default();
        while self.peek() != Some('}') {
            let (key, value) = self.key_value(Self::explicit_values)?;
            self.skip_space();
            if self.peek() != Some('}') {
                self.expect(',')?;
                self.skip_space();
            }
            map.set(&key, value);
        }
        self.expect('}')?;
        Ok(Value::Map(map))
    }

    /// A value without quotes; `\,` is a comma.
    fn bare(&mut self, follow: Follow) -> Option<String> {
        let start = self.at;
        let mut end = start;
        while let Some(it) = self.chars.get(end).copied() {
            if it == '\\' && self.chars.get(end + 1) == Some(&',') {
                end += 2;
            } else if if end == start { may_start(it) } else { may_follow(it, follow) } {
                end += 1;
            } else {
                break;
            }
        }
        let text: String = self.chars.get(start..end)?.iter().collect();
        self.at = end;
        (!text.is_empty()).then(|| text.replace("\\,", ",").trim_end().to_owned())
    }

    fn quoted(&mut self, quote: char) -> Result<Value, Wrong> {
        let is_quote = |i: &usize| self.chars.get(*i) == Some(&quote);
        let is_escaped = |i: &usize| self.chars.get(*i - 1) == Some(&'\\');
        let quotes: Vec<_> = (self.at + 1..self.chars.len()).filter(is_quote).collect();
        // If every quote is escaped, the last one still ends the value.
        let end = quotes.iter().find(|it| **it == self.at + 1 || !is_escaped(it)).or(quotes.last());
        let Some(end) = end.copied() else {
            let name = if quote == '\'' { "<singled quoted>" } else { "<double quoted>" };
            return self.fail(name, "<none>");
        };
        let text: String = self.chars.get(self.at + 1..end).unwrap_or_default().iter().collect();
        self.at = end + 1;
        let text = text.replace(&format!("\\{quote}"), &quote.to_string()).replace("\\\\", "\\");
        self.resolved(text)
    }

    fn resolved(&self, text: String) -> Result<Value, Wrong> {
        if self.resolves_files
            && let Some(contents) = paramfile::load(&text).map_err(Wrong::File)?
        {
            return Ok(Value::Text(contents));
        }
        Ok(Value::Text(text))
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(|it| it.is_ascii_whitespace() || it == '\u{b}') {
            self.at += 1;
        }
    }

    fn expect_spaced(&mut self, expected: char) -> Result<(), Wrong> {
        self.skip_space();
        self.expect(expected)?;
        self.skip_space();
        Ok(())
    }

    fn expect(&mut self, expected: char) -> Result<(), Wrong> {
        match self.peek() {
            Some(it) if it == expected => {
                self.at += 1;
                Ok(())
            }
            Some(it) => self.fail(&expected.to_string(), &it.to_string()),
            None => self.fail(&expected.to_string(), "EOF"),
        }
    }

    fn fail<T>(&self, expected: &str, actual: &str) -> Result<T, Wrong> {
        let location = self.location(self.at);
        let message =
            format!("Expected: '{expected}', received: '{actual}' for input:\n{location}");
        Err(Wrong::Syntax(message))
    }

    /// The input, with a caret below the place of the error.
    fn location(&self, at: usize) -> String {
        let (before, after) = self.chars.split_at_checked(at).unwrap_or((&self.chars, &[]));
        let column = before.iter().rev().take_while(|it| **it != '\n').count();
        // A line break is counted if nothing else comes before the place.
        let column = if before.contains(&'\n') { column } else { at };
        let line = after.iter().take_while(|it| **it != '\n').count();
        let (line, rest) = after.split_at_checked(line).unwrap_or_default();
        let text = |it: &[char]| it.iter().collect::<String>();
        format!("{}{}\n{}^{}", text(before), text(line), " ".repeat(column), text(rest))
    }
}

fn may_start(it: char) -> bool {
    !matches!(it, '"' | '\'' | ',' | '=' | '[' | '{' | ..='\u{20}' | '\u{1_0000}'..)
}

fn may_follow(it: char, follow: Follow) -> bool {
    let is_excluded = match follow {
        Follow::First => matches!(it, ']' | '}'),
        Follow::Second => it == '=',
    };
    let is_control = it < ' ' && !it.is_ascii_whitespace() && it != '\u{b}';
    !is_excluded && !is_control && !matches!(it, '"' | '\'' | ',' | '\u{1_0000}'..)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Python's, whose limit is between 200 and 500.
    #[test]
    fn nesting_is_limited() {
        for (open, close) in [("[", "]"), ("{a=", "}")] {
            let nested = |n: usize| format!("key={}b{}", open.repeat(n), close.repeat(n));
            let value = parse(&nested(MAX_DEPTH)).ok().expect("a parameter");
            assert_eq!(value.depth(), 1 + MAX_DEPTH);
            for n in [MAX_DEPTH + 1, 100_000] {
                assert!(matches!(parse(&nested(n)), Err(Wrong::TooDeep)), "{open}");
            }
        }
    }
}
