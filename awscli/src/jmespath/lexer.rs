//! The tokens of an expression.

use crate::{json, value::Value};

/// A token, and the column where it starts. Kinds have Python's names, because messages show them.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) kind: &'static str,
    pub(super) value: Value,
    pub(super) start: usize,
}

struct Lexer<'a> {
    expression: &'a str,
    chars: Vec<char>,
    at: usize,
}

pub(super) fn tokenize(expression: &str) -> Result<Vec<Token>, String> {
    if expression.is_empty() {
        return Err("Invalid JMESPath expression: cannot be empty.".into());
    }
    let mut lexer = Lexer { expression, chars: expression.chars().collect(), at: 0 };
    let mut tokens = Vec::new();
    while let Some(it) = lexer.peek() {
        if matches!(it, ' ' | '\t' | '\n' | '\r') {
            lexer.at += 1;
        } else {
            let start = lexer.at;
            let (kind, value) = lexer.token(it)?;
            tokens.push(Token { kind, value, start });
        }
    }
    tokens.push(Token { kind: "eof", value: "".into(), start: lexer.chars.len() });
    Ok(tokens)
}

impl Lexer<'_> {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn fail<T>(&self, message: &str, at: usize) -> Result<T, String> {
        let underline = " ".repeat(at) + "^";
        Err(format!("Bad jmespath expression: {message}:\n{}\n{underline}", self.expression))
    }

    fn token(&mut self, it: char) -> Result<(&'static str, Value), String> {
        let start = self.at;
        match it {
            'a'..='z' | 'A'..='Z' | '_' => {
                let name = self.run(|it| it.is_ascii_alphanumeric() || it == '_');
                return Ok(("unquoted_identifier", Value::Text(name)));
            }
            '0'..='9' | '-' => return self.number(),
            '\'' => {
                let text = self.until('\'')?.replace("\\'", "'");
                return Ok(("literal", Value::Text(text)));
            }
            '`' => return self.literal(),
            '"' => {
                let text = format!("\"{}\"", self.until('"')?);
                return match json::parse(&text) {
                    Ok(name) => Ok(("quoted_identifier", name)),
                    Err(err) => {
                        let message = err.to_string();
                        self.fail(message.split(':').next().unwrap_or_default(), start)
                    }
                };
            }
            _ => {}
        }
        let next = self.chars.get(start + 1).copied();
        let (kind, length) = match (it, next) {
            ('[', Some(']')) => ("flatten", 2),
            ('[', Some('?')) => ("filter", 2),
            ('[', _) => ("lbracket", 1),
            ('|', Some('|')) => ("or", 2),
            ('|', _) => ("pipe", 1),
            ('&', Some('&')) => ("and", 2),
            ('&', _) => ("expref", 1),
            ('<', Some('=')) => ("lte", 2),
            ('<', _) => ("lt", 1),
            ('>', Some('=')) => ("gte", 2),
            ('>', _) => ("gt", 1),
            ('!', Some('=')) => ("ne", 2),
            ('!', _) => ("not", 1),
            ('=', Some('=')) => ("eq", 2),
            ('=', _) => return self.fail("Unknown token '='", start),
            ('.', _) => ("dot", 1),
            ('*', _) => ("star", 1),
            (']', _) => ("rbracket", 1),
            (',', _) => ("comma", 1),
            (':', _) => ("colon", 1),
            ('@', _) => ("current", 1),
            ('(', _) => ("lparen", 1),
            (')', _) => ("rparen", 1),
            ('{', _) => ("lbrace", 1),
            ('}', _) => ("rbrace", 1),
            _ => return self.fail(&format!("Unknown token {it}"), start),
        };
        self.at += length;
        let text: String = self.chars.iter().skip(start).take(length).collect();
        Ok((kind, Value::Text(text)))
    }

    fn run(&mut self, is_part: impl Fn(char) -> bool) -> String {
        let rest = self.chars.iter().copied().skip(self.at);
        let text: String = rest.take_while(|it| is_part(*it)).collect();
        self.at += text.chars().count();
        text
    }

    fn number(&mut self) -> Result<(&'static str, Value), String> {
        let start = self.at;
        self.at += usize::from(self.peek() == Some('-'));
        let digits = self.run(|it| it.is_ascii_digit());
        let sign = if self.chars.get(start) == Some(&'-') { "-" } else { "" };
        match format!("{sign}{digits}").parse() {
            Ok(number) => Ok(("number", Value::Int(number))),
            Err(_) => self.fail("Unknown token '-'", start),
        }
    }

    fn literal(&mut self) -> Result<(&'static str, Value), String> {
        let start = self.at;
        let text = self.until('`')?.replace("\\`", "`");
        let value = match json::parse(&text) {
            Err(json::Error::Syntax(_)) => json::parse(&format!("\"{}\"", text.trim_start())),
            value => value,
        };
        match value {
            Ok(value) => Ok(("literal", value)),
            Err(json::Error::Syntax(_)) => self.fail(&format!("Bad token {text}"), start),
            Err(err @ json::Error::TooDeep(_)) => Err(err.to_string()),
        }
    }

    /// The text between two delimiters; a backslash escapes the next character.
    fn until(&mut self, delimiter: char) -> Result<String, String> {
        let start = self.at;
        let mut text = String::new();
        self.at += 1;
        loop {
            match self.peek() {
                Some(it) if it == delimiter => {
                    self.at += 1;
                    return Ok(text);
                }
                Some('\\') => {
                    let Some(next) = self.chars.get(self.at + 1) else { break };
                    text.extend(['\\', *next]);
                    self.at += 2;
                }
                Some(it) => {
                    text.push(it);
                    self.at += 1;
                }
                None => break,
            }
        }
        self.fail(&format!("Unclosed {delimiter} delimiter"), start)
    }
}
