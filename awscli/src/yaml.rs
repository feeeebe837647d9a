//! `--output yaml` and `yaml-stream`, as version 2 of the AWS CLI writes them: with ruamel.yaml, whose
//! safe type hands everything to libyaml.
//!
//! By hand, because no well-kept crate gives the same text. Of 1,000 values, `serde-saphyr` 2.1.1, which reads
//! policies, writes 171 as ruamel.yaml does: it has other quotes, folds no lines, and cannot know that a list
//! that an expression selects twice is the same list, which is written once, with an anchor. `libyaml-safer`
//! 0.3.0 is a port of libyaml, and crates.io has no licence of it; the order of members, the types of texts and the
//! anchors, which are ruamel.yaml's, would still be to do.

use std::{
    collections::{HashMap, HashSet},
    fmt::Write,
    sync::LazyLock,
};

use regex_lite::Regex;

use crate::{
    json,
    value::{Value, float},
};

/// The column after which a text goes on in the next line.
const WIDTH: usize = 80;

/// The longest key in bytes that stands before its colon in one line.
const MAX_SIMPLE_KEY: usize = 128;

/// A document. Characters that are not kept are escaped.
pub(crate) fn document(value: &Value, keep: &dyn Fn(char) -> bool) -> String {
    if value.is_scalar() {
        return json::pretty(value) + "\n"; // So does the AWS CLI.
    }
    let mut repeated = Repeated::default();
    repeated.find(value);
    let mut emitter = Emitter {
        keep,
        anchors: repeated.anchors,
        written: HashSet::new(),
        text: String::new(),
        column: 0,
        indent: None,
        after_space: true,
        is_indented: true,
    };
    emitter.node(value, false);
    emitter.line();
    emitter.text
}

/// Lists and maps that occur more than once, and the numbers of their anchors.
#[derive(Default)]
struct Repeated {
    seen: HashSet<usize>,
    anchors: HashMap<usize, usize>,
}

impl Repeated {
    fn find(&mut self, value: &Value) {
        let Some(identity) = value.identity() else { return };
        if !self.seen.insert(identity) {
            let next = self.anchors.len() + 1;
            self.anchors.entry(identity).or_insert(next);
            return;
        }
        match value {
            Value::List(items) => items.iter().for_each(|it| self.find(it)),
            Value::Map(map) => map.sorted().into_iter().for_each(|(_, it)| self.find(it)),
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text(_) => {}
        }
    }
}

/// What libyaml's emitter knows of the text before.
struct Emitter<'a> {
    keep: &'a dyn Fn(char) -> bool,
    anchors: HashMap<usize, usize>,
    /// The anchors that have been written.
    written: HashSet<usize>,
    text: String,
    column: usize,
    /// Of the list or map that is being written; none before the first.
    indent: Option<usize>,
    after_space: bool,
    /// Whether nothing but indentation and indicators stands in the line.
    is_indented: bool,
}

impl Emitter<'_> {
    fn push(&mut self, it: char) {
        self.text.push(it);
        self.column = if is_break(it) { 0 } else { self.column + 1 };
    }

    /// A new line, unless this one is no more than indented.
    fn line(&mut self) {
        let indent = self.indent.unwrap_or_default();
        if !self.is_indented || indent < self.column || (self.column == indent && !self.after_space)
        {
            self.push('\n');
        }
        while self.column < indent {
            self.push(' ');
        }
        (self.after_space, self.is_indented) = (true, true);
    }

    fn indicator(
        &mut self,
        indicator: &str,
        needs_space: bool,
        is_space: bool,
        keeps_indent: bool,
    ) {
        if needs_space && !self.after_space {
            self.push(' ');
        }
        indicator.chars().for_each(|it| self.push(it));
        self.after_space = is_space;
        self.is_indented &= keeps_indent;
    }

    /// Runs with the next indentation.
    fn nested(&mut self, is_deeper: bool, write: impl FnOnce(&mut Self)) {
        let outer = self.indent;
        self.indent = Some(outer.map_or(0, |it| if is_deeper { it + 2 } else { it }));
        write(self);
        self.indent = outer;
    }

    /// A value; `in_map` if it is the value of a map's member.
    fn node(&mut self, value: &Value, in_map: bool) {
        if let Some(identity) = value.identity()
            && let Some(number) = self.anchors.get(&identity)
        {
            let anchor = format!("id{number:03}");
            if !self.written.insert(identity) {
                return self.indicator(&format!("*{anchor}"), true, false, false);
            }
            self.indicator(&format!("&{anchor}"), true, false, false);
        }
        match value {
            Value::List(items) if items.is_empty() => self.indicator("[]", true, false, false),
            Value::Map(map) if map.len() == 0 => self.indicator("{}", true, false, false),
            Value::List(items) => self.nested(!in_map || self.is_indented, |emitter| {
                for item in items.iter() {
                    emitter.line();
                    emitter.indicator("-", true, false, true);
                    emitter.node(item, false);
                }
            }),
            Value::Map(map) => self.nested(true, |emitter| {
                for (name, value) in map.sorted() {
                    emitter.line();
                    emitter.member(name, value);
                }
            }),
            Value::Text(text) => self.scalar(text, style(text, self.keep), true),
            Value::Null => self.plain("null", true),
            Value::Float(number) if number.is_nan() => self.plain(".nan", true),
            Value::Float(number) if number.is_infinite() => {
                self.plain(if *number < 0.0 { "-.inf" } else { ".inf" }, true);
            }
            Value::Float(number) => self.plain(&float(*number), true),
            Value::Bool(_) | Value::Int(_) => self.plain(&json::pretty(value), true),
        }
    }

    fn member(&mut self, name: &str, value: &Value) {
        let style = style(name, self.keep);
        if name.len() <= MAX_SIMPLE_KEY && !name.contains(is_break) {
            self.scalar(name, style, false);
            self.indicator(":", false, false, false);
        } else {
            self.indicator("?", true, false, true);
            self.scalar(name, style, true);
            self.line();
            self.indicator(":", true, false, true);
        }
        self.node(value, true);
    }

    fn scalar(&mut self, text: &str, style: Style, may_fold: bool) {
        self.nested(true, |emitter| match style {
            Style::Plain => emitter.plain(text, may_fold),
            Style::Single => emitter.single(text, may_fold),
            Style::Double => emitter.double(text, may_fold),
        });
    }

    fn plain(&mut self, text: &str, may_fold: bool) {
        if !self.after_space {
            self.push(' ');
        }
        let mut was_space = false;
        let mut rest = text.chars();
        while let Some(it) = rest.next() {
            let is_before_space = rest.as_str().starts_with(' ');
            let folds = it == ' ' && may_fold && !was_space && WIDTH < self.column;
            if folds && !is_before_space {
                self.line();
            } else {
                self.push(it);
            }
            was_space = it == ' ';
            self.is_indented &= was_space;
        }
        (self.after_space, self.is_indented) = (false, false);
    }

    fn single(&mut self, text: &str, may_fold: bool) {
        self.indicator("'", true, false, false);
        let (mut was_space, mut was_break, mut is_first) = (false, false, true);
        let mut rest = text.chars();
        while let Some(it) = rest.next() {
            let next = rest.as_str().chars().next();
            if it == ' ' {
                let folds = may_fold && !was_space && WIDTH < self.column && !is_first;
                if folds && next.is_some_and(|it| it != ' ') {
                    self.line();
                } else {
                    self.push(it);
                }
                was_space = true;
            } else if is_break(it) {
                if !was_break && it == '\n' {
                    self.push('\n');
                }
                self.push(it);
                self.is_indented = true;
                was_break = true;
            } else {
                if was_break {
                    self.line();
                }
                if it == '\'' {
                    self.push(it);
                }
                self.push(it);
                self.is_indented = false;
                (was_space, was_break) = (false, false);
            }
            is_first = false;
        }
        if was_break {
            self.line();
        }
        self.indicator("'", false, false, false);
        self.is_indented = false;
    }

    fn double(&mut self, text: &str, may_fold: bool) {
        self.indicator("\"", true, false, false);
        let (mut was_space, mut is_first) = (false, true);
        let mut rest = text.chars();
        while let Some(it) = rest.next() {
            let next = rest.as_str().chars().next();
            if it == ' ' {
                let folds = may_fold && !was_space && WIDTH < self.column && !is_first;
                if folds && next.is_some() {
                    self.line();
                    if next == Some(' ') {
                        self.push('\\');
                    }
                } else {
                    self.push(it);
                }
                was_space = true;
            } else {
                if is_printable(it) && (self.keep)(it) && !is_break(it) && it != '"' && it != '\\' {
                    self.push(it);
                } else {
                    escape(it).chars().for_each(|it| self.push(it));
                }
                was_space = false;
            }
            is_first = false;
        }
        self.indicator("\"", false, false, false);
        self.is_indented = false;
    }
}

/// How a text is written.
#[derive(Clone, Copy)]
enum Style {
    Plain,
    Single,
    Double,
}

fn is_break(it: char) -> bool {
    matches!(it, '\r' | '\n' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// What libyaml takes for printable: nothing beyond the Basic Multilingual Plane, and no tab.
fn is_printable(it: char) -> bool {
    matches!(it, '\n' | ' '..='~' | '\u{a0}'..='\u{fefe}' | '\u{ff00}'..='\u{fffd}')
}

fn escape(it: char) -> String {
    let short = match it {
        '\0' => '0',
        '\u{7}' => 'a',
        '\u{8}' => 'b',
        '\t' => 't',
        '\n' => 'n',
        '\u{b}' => 'v',
        '\u{c}' => 'f',
        '\r' => 'r',
        '\u{1b}' => 'e',
        '"' | '\\' => it,
        '\u{85}' => 'N',
        '\u{a0}' => '_',
        '\u{2028}' => 'L',
        '\u{2029}' => 'P',
        _ => {
            let code = u32::from(it);
            let mut long = String::new();
            let _ = match code {
                ..0x100 => write!(long, "\\x{code:02X}"),
                0x100..0x1_0000 => write!(long, "\\u{code:04X}"),
                _ => write!(long, "\\U{code:08X}"),
            };
            return long;
        }
    };
    format!("\\{short}")
}

/// The style that libyaml chooses for a text.
fn style(text: &str, keep: &dyn Fn(char) -> bool) -> Style {
    let is_space = |it: char| it == ' ';
    let is_blank = |it: Option<char>| it.is_none_or(|it| " \t\0".contains(it) || is_break(it));
    let mut is_plain = !text.starts_with("---") && !text.starts_with("...");
    let mut before = None;
    let mut rest = text.chars();
    while let Some(it) = rest.next() {
        let next = rest.as_str().chars().next();
        // A space before a line break, or after one, would be lost.
        let is_lost = before.is_some_and(|before| {
            is_space(it) && is_break(before) || is_break(it) && is_space(before)
        });
        if is_lost || !is_printable(it) || !keep(it) {
            return Style::Double;
        }
        is_plain &= !match it {
            '#' => is_blank(before),
            ':' => is_blank(next),
            ' ' => before.is_none() || next.is_none(),
            ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@'
            | '`' => before.is_none(),
            '?' | '-' => before.is_none() && is_blank(next),
            it => is_break(it),
        };
        before = Some(it);
    }
    let is_text = OTHER_TYPES.as_ref().is_some_and(|it| !it.is_match(text));
    if is_plain && is_text { Style::Plain } else { Style::Single }
}

/// What a text without quotes would be read as, if not as a text: ruamel.yaml's expressions for YAML 1.2. So `no`,
/// `on` and `1:30` have no quotes; by YAML 1.1 they are two booleans and a number.
static OTHER_TYPES: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let types = r"(?x)^(?:
        true|True|TRUE|false|False|FALSE | ~|null|Null|NULL| | << | =
        |[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?
        |[-+]?[0-9][0-9_]*(?:[eE][-+]?[0-9]+)
        |[-+]?\.[0-9_]+(?:[eE][-+][0-9]+)?
        |[-+]?\.(?:inf|Inf|INF) |\.(?:nan|NaN|NAN)
        |[-+]?0b[0-1_]+ |[-+]?0o?[0-7_]+ |[-+][0-9_]+ |[0-9][0-9_]* |[-+]?0x[0-9a-fA-F_]+
        |[0-9]{4}-[0-9]{2}-[0-9]{2}
        |[0-9]{4}-[0-9][0-9]?-[0-9][0-9]?(?:[Tt]|[\ \t]+)[0-9][0-9]?:[0-9]{2}:[0-9]{2}(?:\.[0-9]*)?
            (?:[\ \t]*(?:Z|[-+][0-9][0-9]?(?::[0-9]{2})?))?
        )$";
    Regex::new(types).ok()
});

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{jmespath::Expression, value::Map};

    /// Each was written by ruamel.yaml 0.17.21 with ruamel.yaml.clib 0.2.7, as the AWS CLI 2.9.19 calls it.
    #[test]
    fn texts() {
        for (text, written) in [
            ("no", "no"),
            ("1:30", "1:30"),
            ("true", "'true'"),
            ("", "''"),
            ("0o7", "'0o7'"),
            ("_", "_"),
            ("+", "+"),
            ("-_", "'-_'"),
            ("1e", "1e"),
            ("2026-03-02T11:00:00.5+00:00", "'2026-03-02T11:00:00.5+00:00'"),
            ("2026-3-2", "2026-3-2"),
            ("- a", "'- a'"),
            ("a: b", "'a: b'"),
            ("a:b", "a:b"),
            ("a #b", "'a #b'"),
            ("it's", "it's"),
            ("' a", "''' a'"),
            ("---", "'---'"),
            ("a\tb", "\"a\\tb\""),
            ("a\nb", "'a\n\n  b'"),
            ("a \nb", "\"a \\nb\""),
            ("\n", "'\n\n  '"),
            ("\u{2028}", "'\u{2028}  '"),
            ("é\u{a0}日", "é\u{a0}日"),
            ("\u{1f642}", "\"\\U0001F642\""),
            ("\u{85}\0\u{1b}\u{7f}\u{feff}", "\"\\N\\0\\e\\x7F\\uFEFF\""),
        ] {
            let map = Value::Map(Map::from([("k", text.into())]));
            assert_eq!(document(&map, &|_| true), format!("k: {written}\n"), "{text:?}");
        }
    }

    /// The same, of lines that are too long.
    #[test]
    fn folded_texts() {
        let (words, y) = ("word ".repeat(15), "y".repeat(90));
        for (text, written) in [
            (format!("{words}word  x {y} z"), format!("{words}word  x\n  {y}\n  z")),
            (format!("\t{words}a  b"), format!("\"\\t{words}a\n  \\ b\"")),
            (format!("x: {words}aa bb"), format!("'x: {words}aa\n  bb'")),
        ] {
            let list = vec![text.as_str().into()].into();
            assert_eq!(document(&list, &|_| true), format!("- {written}\n"), "{text:?}");
        }
    }

    /// The same, of what expressions select.
    #[test]
    fn lists_and_maps() {
        let data =
            r#"{"S": [{"b": [1, 2.5, null], "a": [], "c": {}}, {"x": [[true, "t"], {"y": 1}]}]}"#;
        let data = json::parse(data).expect("JSON");
        for (expression, written) in [
            (
                "@",
                "S:\n- a: []\n  b:\n  - 1\n  - 2.5\n  - null\n  c: {}\n- x:\n  - - true\n    - t\n  - y: 1\n",
            ),
            ("[S[1].x[0], S[1].x[0]]", "- &id001\n  - true\n  - t\n- *id001\n"),
            (
                "{n: S[0].c, m: S[0].a, l: S[0].[c, a]}",
                "l:\n- &id002 {}\n- &id001 []\nm: *id001\nn: *id002\n",
            ),
            ("S[0].a", "[]\n"),
            ("S[1].x[0][1]", "\"t\"\n"),
        ] {
            let value = Expression::parse(expression).expect("an expression").search(&data);
            let value = value.expect("a value");
            assert_eq!(document(&value, &|_| true), written, "{expression}");
        }
    }

    /// On a terminal, characters that it would interpret are escaped, and the value is the same.
    #[test]
    fn characters_that_are_not_kept() {
        let list = vec!["a\u{202e}b\nc".into()].into();
        assert_eq!(document(&list, &|_| true), "- 'a\u{202e}b\n\n  c'\n");
        let keep = |it| !matches!(it, '\u{202e}' | '\n');
        assert_eq!(document(&list, &keep), "- \"a\\u202Eb\\nc\"\n");
    }
}
