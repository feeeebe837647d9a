//! JSON values as in Python: integers are distinct from floats, members keep their order, and both are
//! written as Python writes them.

use std::{cmp::Ordering, fmt::Write, sync::Arc};

/// How deep lists and maps may be nested. Functions recurse for each level, and the stack is limited;
/// Python's limit is a little less than 1000.
pub(crate) const MAX_DEPTH: usize = 500;

/// Python's message for values that are nested more deeply.
pub(crate) const TOO_DEEP: &str = "maximum recursion depth exceeded";

/// A value. As in Python, a clone of a list or map is the same list or map.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    List(Arc<Vec<Value>>),
    Map(Map),
}

/// Members in their order, with unique keys.
#[derive(Clone, Debug, Default)]
pub(crate) struct Map(Arc<Vec<(String, Value)>>);

impl Map {
    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// Sets a member; an existing one keeps its place.
    pub(crate) fn set(&mut self, key: &str, value: Value) {
        let members = Arc::make_mut(&mut self.0);
        match members.iter_mut().find(|(name, _)| name == key) {
            Some((_, place)) => *place = value,
            None => members.push((key.into(), value)),
        }
    }

    pub(crate) fn remove(&mut self, key: &str) -> Option<Value> {
        let place = self.0.iter().position(|(name, _)| name == key)?;
        Some(Arc::make_mut(&mut self.0).remove(place).1)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The members, sorted by name.
    pub(crate) fn sorted(&self) -> Vec<(&str, &Value)> {
        let mut members: Vec<_> = self.iter().collect();
        members.sort_by_key(|(name, _)| *name);
        members
    }
}

impl<const N: usize> From<[(&str, Value); N]> for Map {
    fn from(members: [(&str, Value); N]) -> Self {
        let members = members.into_iter().map(|(name, value)| (name.to_owned(), value));
        Self(Arc::new(members.collect()))
    }
}

impl From<Vec<Value>> for Value {
    fn from(items: Vec<Value>) -> Self {
        Self::List(items.into())
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl Value {
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        if let Self::Map(map) = self { map.get(key) } else { None }
    }

    pub(crate) fn as_text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    pub(crate) fn into_list(self) -> Option<Vec<Self>> {
        if let Self::List(items) = self { Some(Arc::unwrap_or_clone(items)) } else { None }
    }

    /// What tells a list or map from its equals: Python's `id(value)`.
    pub(crate) fn identity(&self) -> Option<usize> {
        match self {
            Self::List(items) => Some(Arc::as_ptr(items).addr()),
            Self::Map(map) => Some(Arc::as_ptr(&map.0).addr()),
            Self::Null | Self::Bool(_) | Self::Int(_) | Self::Float(_) | Self::Text(_) => None,
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    pub(crate) fn is_scalar(&self) -> bool {
        !matches!(self, Self::List(_) | Self::Map(_))
    }

    /// How deep lists and maps are nested.
    pub(crate) fn depth(&self) -> usize {
        let deepest = match self {
            Self::List(items) => items.iter().map(Self::depth).max(),
            Self::Map(map) => map.iter().map(|(_, it)| it.depth()).max(),
            Self::Null | Self::Bool(_) | Self::Int(_) | Self::Float(_) | Self::Text(_) => return 0,
        };
        1 + deepest.unwrap_or_default()
    }

    /// Whether Python's `if value` is true.
    pub(crate) fn is_truthy(&self) -> bool {
        match self {
            Self::Null => false,
            Self::Bool(it) => *it,
            Self::Int(it) => *it != 0,
            Self::Float(it) => *it != 0.0,
            Self::Text(it) => !it.is_empty(),
            Self::List(it) => !it.is_empty(),
            Self::Map(it) => it.len() != 0,
        }
    }

    /// `type(value).__name__`
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "NoneType",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float",
            Self::Text(_) => "str",
            Self::List(_) => "list",
            Self::Map(_) => "dict",
        }
    }

    /// Its number; `true` counts as 1.
    pub(crate) fn number(&self) -> Option<f64> {
        match self {
            Self::Bool(it) => Some(f64::from(u8::from(*it))),
            Self::Int(it) => Some(to_float(*it)),
            Self::Float(it) => Some(*it),
            Self::Null | Self::Text(_) | Self::List(_) | Self::Map(_) => None,
        }
    }

    /// `str(value)`
    pub(crate) fn text(&self) -> String {
        if let Self::Text(text) = self { text.clone() } else { self.repr() }
    }

    /// `repr(value)`
    pub(crate) fn repr(&self) -> String {
        match self {
            Self::Null => "None".into(),
            Self::Bool(true) => "True".into(),
            Self::Bool(false) => "False".into(),
            Self::Int(it) => it.to_string(),
            Self::Float(it) => float(*it),
            Self::Text(it) => quoted(it),
            Self::List(items) => {
                let items: Vec<_> = items.iter().map(Self::repr).collect();
                format!("[{}]", items.join(", "))
            }
            Self::Map(map) => {
                let member = |(name, value): (&str, &Self)| quoted(name) + ": " + &value.repr();
                let members: Vec<_> = map.iter().map(member).collect();
                format!("{{{}}}", members.join(", "))
            }
        }
    }

    /// `<`, `>` and so on, for two numbers or two texts.
    pub(crate) fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Text(a), Self::Text(b)) => Some(a.cmp(b)),
            (Self::Int(a), Self::Int(b)) => Some(a.cmp(b)),
            _ => self.number()?.partial_cmp(&other.number()?),
        }
    }
}

impl PartialEq for Value {
    /// `==`: a truth equals its number, and the order of members does not matter.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::List(a), Self::List(b)) => a == b,
            (Self::Map(a), Self::Map(b)) => {
                a.len() == b.len() && a.iter().all(|(name, value)| b.get(name) == Some(value))
            }
            _ => matches!(self.compare(other), Some(Ordering::Equal)),
        }
    }
}

/// Python's error for two values that have no order.
pub(crate) fn unordered(symbol: &str, left: &Value, right: &Value) -> String {
    let (left, right) = (left.type_name(), right.type_name());
    format!("'{symbol}' not supported between instances of '{left}' and '{right}'")
}

#[expect(clippy::cast_precision_loss, reason = "so does Python")]
pub(crate) fn to_float(number: i128) -> f64 {
    number as f64
}

/// A float, as Python writes it: shortest, and in scientific notation below 1e-4 and from 1e16 on.
pub(crate) fn float(number: f64) -> String {
    if number.is_nan() {
        return "nan".into();
    }
    if number.is_infinite() {
        return if number < 0.0 { "-inf".into() } else { "inf".into() };
    }
    let shortest = format!("{number:?}");
    // Of two texts of this length that are as near, Python writes the even one, and Rust the greater.
    let n_digits = |it: &str| it.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    let even = match shortest.split_once('e') {
        Some((digits, _)) => format!("{number:.*e}", n_digits(digits)),
        None => format!("{number:.*}", n_digits(&shortest)),
    };
    let text = if even.parse() == Ok(number) { even } else { shortest };
    let Some((digits, exponent)) = text.split_once('e') else { return text };
    match exponent.strip_prefix('-') {
        Some(exponent) => format!("{digits}e-{exponent:0>2}"),
        None => format!("{digits}e+{exponent:0>2}"),
    }
}

/// `int(text)`
pub(crate) fn parse_int(text: &str) -> Option<i128> {
    let text = text.trim();
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_number =
        digits.split('_').all(|it| !it.is_empty() && it.chars().all(|it| it.is_ascii_digit()));
    if is_number { text.replace('_', "").parse().ok() } else { None }
}

/// `repr(text)`
pub(crate) fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut quoted = String::from(quote);
    for it in text.chars() {
        match it {
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            it if it == quote => quoted.extend(['\\', it]),
            it if is_printable(it) => quoted.push(it),
            it => {
                let code = u32::from(it);
                let _ = match code {
                    ..0x100 => write!(quoted, "\\x{code:02x}"),
                    0x100..0x1_0000 => write!(quoted, "\\u{code:04x}"),
                    _ => write!(quoted, "\\U{code:08x}"),
                };
            }
        }
    }
    quoted.push(quote);
    quoted
}

/// This covers the names and reasons of sessions; Python uses Unicode's tables.
fn is_printable(it: char) -> bool {
    !it.is_control()
        && (it == ' ' || !it.is_whitespace())
        && !matches!(it, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}')
        && !matches!(it, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e000}'..='\u{f8ff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (number, text) in [
            (1_550_676_938.352, "1550676938.352"),
            (1_772_449_200.0, "1772449200.0"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1e16, "1e+16"),
            (1.5e300, "1.5e+300"),
            (-0.0, "-0.0"),
            (1_236_115_899_756_420.0 + 0.25, "1236115899756420.2"),
        ] {
            assert_eq!(float(number), text);
        }
        for (text, number) in
            [("7", Some(7)), (" +1_0 ", Some(10)), ("-3", Some(-3)), ("1__0", None), ("1.0", None)]
        {
            assert_eq!(parse_int(text), number, "{text}");
        }
    }

    #[test]
    fn quoted_texts() {
        for (text, repr) in [
            ("a", "'a'"),
            ("it's", "\"it's\""),
            ("'\"", "'\\'\"'"),
            ("\u{1b}\u{9b}\u{202e}\n\\é日", "'\\x1b\\x9b\\u202e\\n\\\\é日'"),
        ] {
            assert_eq!(quoted(text), repr);
        }
    }
}
