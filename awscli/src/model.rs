//! Shapes of requests and answers, and what botocore does with them: it checks requests, keeps only
//! the known members of an answer, in the model's order, and makes samples of both.

use crate::value::{Map, Value};

/// The shape of a value.
pub(crate) enum Shape {
    Integer { min: i128 },
    List { member: &'static Shape, min: usize },
    Structure(Structure),
    Text { min: usize, choices: &'static [&'static str] },
    Timestamp,
}

/// The members of a structure, in the model's order.
pub(crate) struct Structure {
    pub(crate) members: &'static [(&'static str, Shape)],
    pub(crate) required: &'static [&'static str],
}

/// A text without constraints.
pub(crate) const TEXT: Shape = Shape::Text { min: 0, choices: &[] };

/// The errors of a request, with botocore's messages.
pub(crate) fn check(params: &Map, input: &Structure) -> Vec<String> {
    let mut wrong = Vec::new();
    input.check(&Value::Map(params.clone()), "", &mut wrong);
    wrong
}

impl Structure {
    fn check(&self, value: &Value, name: &str, wrong: &mut Vec<String>) {
        let Value::Map(map) = value else { return mistyped(value, name, &["dict"], wrong) };
        for required in self.required.iter().filter(|it| map.get(it).is_none()) {
            let name = spoken(name);
            wrong.push(format!("Missing required parameter in {name}: \"{required}\""));
        }
        let member = |key: &str| self.members.iter().find(|(it, _)| *it == key);
        for (key, _) in map.iter().filter(|(key, _)| member(key).is_none()) {
            let names: Vec<_> = self.members.iter().map(|(it, _)| *it).collect();
            let (name, names) = (spoken(name), names.join(", "));
            wrong.push(format!("Unknown parameter in {name}: \"{key}\", must be one of: {names}"));
        }
        for (key, value) in map.iter() {
            if let Some((_, shape)) = member(key) {
                shape.check(value, &format!("{name}.{key}"), wrong);
            }
        }
    }
}

impl Shape {
    fn check(&self, value: &Value, name: &str, wrong: &mut Vec<String>) {
        let length = |value: usize, min: usize, wrong: &mut Vec<String>| {
            if value < min {
                let name = spoken(name);
                wrong.push(format!(
                    "Invalid length for parameter {name}, value: {value}, valid min length: {min}"
                ));
            }
        };
        match (self, value) {
            (Self::Structure(it), _) => it.check(value, name, wrong),
            (Self::List { member, min }, Value::List(items)) => {
                length(items.len(), *min, wrong);
                for (i, item) in items.iter().enumerate() {
                    member.check(item, &format!("{name}[{i}]"), wrong);
                }
            }
            (Self::Text { min, .. }, Value::Text(text)) => {
                length(text.chars().count(), *min, wrong);
            }
            (Self::Integer { min }, Value::Int(number)) => {
                if number < min {
                    let name = spoken(name);
                    wrong.push(format!(
                        "Invalid value for parameter {name}, value: {number}, valid min value: {min}"
                    ));
                }
            }
            (Self::Integer { .. }, Value::Bool(_)) | (Self::Timestamp, _) => {}
            (Self::List { .. }, _) => mistyped(value, name, &["list", "tuple"], wrong),
            (Self::Text { .. }, _) => mistyped(value, name, &["str"], wrong),
            (Self::Integer { .. }, _) => mistyped(value, name, &["int"], wrong),
        }
    }

    fn fits(&self, value: &Value) -> bool {
        match (self, value) {
            (_, Value::Null) => true,
            (Self::Structure(it), Value::Map(map)) => it.fits(map),
            (Self::List { member, .. }, Value::List(items)) => {
                items.iter().all(|it| member.fits(it))
            }
            (Self::Structure(_) | Self::List { .. }, _) => false,
            (Self::Integer { .. } | Self::Text { .. } | Self::Timestamp, _) => value.is_scalar(),
        }
    }

    /// What botocore keeps of an answer.
    pub(crate) fn known(&self, value: &Value) -> Value {
        match (self, value) {
            (Self::Structure(structure), Value::Map(map)) => structure.known(map),
            (Self::List { member, .. }, Value::List(items)) => {
                items.iter().map(|it| member.known(it)).collect::<Vec<_>>().into()
            }
            _ => value.clone(),
        }
    }

    fn dated(&self, value: &Value) -> Value {
        match (self, value) {
            (Self::Structure(it), _) => it.with_iso_dates(value),
            (Self::List { member, .. }, Value::List(items)) => {
                items.iter().map(|it| member.dated(it)).collect::<Vec<_>>().into()
            }
            (Self::Timestamp, _) => value.number().and_then(iso).unwrap_or_else(|| value.clone()),
            _ => value.clone(),
        }
    }

    /// A sample; of an answer if there are dates to fill in.
    fn sample(&self, name: &str, date: Option<&str>) -> Value {
        match self {
            Self::Structure(it) => it.sample(date),
            Self::List { member, .. } => vec![member.sample(name, date)].into(),
            Self::Integer { .. } => Value::Int(0),
            Self::Timestamp => date.unwrap_or_default().into(),
            Self::Text { .. } if date.is_some() => name.into(),
            Self::Text { choices, .. } => choices.first().copied().unwrap_or_default().into(),
        }
    }
}

impl Structure {
    /// Whether an answer may be of this structure: known members have their kind of value, and unless it
    /// is empty, it has one of them.
    pub(crate) fn fits(&self, map: &Map) -> bool {
        let fits = |(name, shape): &(&str, Shape)| map.get(name).map(|it| shape.fits(it));
        let mut known = self.members.iter().filter_map(fits).peekable();
        (map.len() == 0 || known.peek().is_some()) && known.all(|it| it)
    }

    /// What botocore keeps of an answer: members that it knows and that are not null.
    pub(crate) fn known(&self, map: &Map) -> Value {
        let mut known = Map::default();
        for (name, shape) in self.members {
            if let Some(value) = map.get(name).filter(|it| !it.is_null()) {
                known.set(name, shape.known(value));
            }
        }
        Value::Map(known)
    }

    /// The same answer with its instants in ISO 8601.
    pub(crate) fn with_iso_dates(&self, value: &Value) -> Value {
        let Value::Map(map) = value else { return value.clone() };
        let mut dated = Map::default();
        for (name, value) in map.iter() {
            let shape = self.members.iter().find(|(it, _)| *it == name);
            dated.set(name, shape.map_or_else(|| value.clone(), |(_, it)| it.dated(value)));
        }
        Value::Map(dated)
    }

    /// A sample request; or, with the text of a date, a sample answer.
    pub(crate) fn sample(&self, date: Option<&str>) -> Value {
        let mut sample = Map::default();
        for (name, shape) in self.members {
            sample.set(name, shape.sample(name, date));
        }
        Value::Map(sample)
    }
}

/// Seconds since 1970, as Python's `datetime.fromtimestamp(…).isoformat()` writes an instant in the local
/// time zone: rounded to microseconds, half to even.
fn iso(seconds: f64) -> Option<Value> {
    let whole = jiff::SignedDuration::try_from_secs_f64(seconds.trunc()).ok()?;
    // As many seconds as there are microseconds.
    let micros = (seconds.fract() * 1e6).round_ties_even();
    let micros = jiff::SignedDuration::try_from_secs_f64(micros).ok()?.as_secs();
    let instant = whole.checked_add(jiff::SignedDuration::from_micros(micros))?;
    let instant = jiff::Timestamp::UNIX_EPOCH.checked_add(instant).ok()?;
    let zone = jiff::tz::TimeZone::try_system().unwrap_or(jiff::tz::TimeZone::UTC);
    let local = instant.to_zoned(zone);
    let micros = local.subsec_nanosecond() / 1_000;
    let fraction = if micros == 0 { String::new() } else { format!(".{micros:06}") };
    let text = local.strftime(&format!("%Y-%m-%dT%H:%M:%S{fraction}%:z")).to_string();
    Some(Value::Text(text))
}

fn mistyped(value: &Value, name: &str, types: &[&str], wrong: &mut Vec<String>) {
    let types: Vec<_> = types.iter().map(|it| format!("<class '{it}'>")).collect();
    wrong.push(format!(
        "Invalid type for parameter {}, value: {}, type: <class '{}'>, valid types: {}",
        spoken(name),
        value.text(),
        value.type_name(),
        types.join(", ")
    ));
}

/// A path as botocore writes it.
fn spoken(name: &str) -> &str {
    if name.is_empty() { "input" } else { name.strip_prefix('.').unwrap_or(name) }
}
