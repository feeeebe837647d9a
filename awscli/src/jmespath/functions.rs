//! The functions of `JMESPath`.

use std::{cmp::Ordering, sync::Arc};

use crate::{
    jmespath::node::Node,
    json,
    value::{Map, Value, parse_int, to_float, unordered},
};

/// An argument: a value, or an expression that the function evaluates.
enum Argument<'a> {
    Expression(&'a Node),
    Value(Value),
}

/// The types of a function's arguments; the last may repeat if it is variadic.
struct Signature {
    types: &'static [&'static [&'static str]],
    is_variadic: bool,
}

/// The result of a node for a value.
type Evaluate = fn(&Node, &Value) -> Result<Value, String>;

/// Calls a function with the results of its arguments.
pub(super) fn call(
    name: &str,
    arguments: &[Node],
    value: &Value,
    evaluate: Evaluate,
) -> Result<Value, String> {
    let arguments = arguments.iter().map(|it| {
        Ok(if let Node::Expression(node) = it {
            Argument::Expression(node)
        } else {
            Argument::Value(evaluate(it, value)?)
        })
    });
    let arguments = arguments.collect::<Result<Vec<_>, String>>()?;
    let signature = signature(name).ok_or_else(|| format!("Unknown function: {name}()"))?;
    signature.check(name, &arguments)?;
    let mut values = Vec::new();
    let mut expression = &Node::Current;
    for argument in arguments {
        match argument {
            Argument::Expression(node) => expression = node,
            Argument::Value(value) => values.push(value),
        }
    }
    if matches!(name, "map" | "sort_by" | "min_by" | "max_by") {
        let Some(Value::List(items)) = values.into_iter().next() else { return Ok(Value::Null) };
        let keys = items.iter().map(|it| evaluate(expression, it));
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        return match name {
            "map" => Ok(keys.into()),
            "sort_by" => sort_by(&items, keys),
            _ => extreme(name, &items, keys),
        };
    }
    apply(name, values)
}

fn signature(name: &str) -> Option<Signature> {
    const ANY: &[&str] = &[];
    const NUMBERS: &[&str] = &["array-number"];
    const TEXT: &[&str] = &["string"];
    const OBJECT: &[&str] = &["object"];
    let types: &[&[&str]] = match name {
        "abs" | "ceil" | "floor" => &[&["number"]],
        "avg" | "sum" => &[NUMBERS],
        "contains" => &[&["array", "string"], ANY],
        "ends_with" | "starts_with" => &[TEXT, TEXT],
        "join" => &[TEXT, &["array-string"]],
        "keys" | "merge" | "values" => &[OBJECT],
        "length" => &[&["string", "array", "object"]],
        "map" => &[&["expref"], &["array"]],
        "max" | "min" => &[&["array-number", "array-string"]],
        "max_by" | "min_by" | "sort_by" => &[&["array"], &["expref"]],
        "not_null" | "to_array" | "to_number" | "to_string" | "type" => &[ANY],
        "reverse" => &[&["array", "string"]],
        "sort" => &[&["array-string", "array-number"]],
        _ => return None,
    };
    Some(Signature { types, is_variadic: matches!(name, "merge" | "not_null") })
}

impl Signature {
    fn check(&self, name: &str, arguments: &[Argument<'_>]) -> Result<(), String> {
        let (expected, actual) = (self.types.len(), arguments.len());
        let s = if expected == 1 { "" } else { "s" };
        let at_least = if self.is_variadic { "at least " } else { "" };
        if actual < expected || (expected < actual && !self.is_variadic) {
            return Err(format!(
                "Expected {at_least}{expected} argument{s} for function {name}(), received {actual}"
            ));
        }
        for (types, argument) in self.types.iter().zip(arguments) {
            if !types.is_empty() {
                check_type(name, types, argument)?;
            }
        }
        Ok(())
    }
}

fn jmespath_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Int(_) | Value::Float(_) => "number",
        Value::Text(_) => "string",
        Value::List(_) => "array",
        Value::Map(_) => "object",
    }
}

fn mistyped<T>(name: &str, value: &str, types: &[&str], actual: &str) -> Result<T, String> {
    let types: Vec<_> = types.iter().map(|it| format!("'{it}'")).collect();
    let types = types.join(", ");
    Err(format!(
        "In function {name}(), invalid type for value: {value}, expected one of: [{types}], \
         received: \"{actual}\""
    ))
}

fn check_type(name: &str, types: &[&str], argument: &Argument<'_>) -> Result<(), String> {
    let value = match argument {
        Argument::Expression(_) if types.contains(&"expref") => return Ok(()),
        Argument::Expression(_) => return mistyped(name, "an expression", types, "expref"),
        Argument::Value(value) => value,
    };
    let actual = jmespath_type(value);
    if !types.iter().any(|it| it.split('-').next() == Some(actual)) {
        return mistyped(name, &value.text(), types, actual);
    }
    let Value::List(items) = value else { return Ok(()) };
    let subtypes: Vec<_> = types.iter().filter_map(|it| Some(it.split_once('-')?.1)).collect();
    let allowed = match (subtypes.as_slice(), items.first()) {
        ([], _) | (_, None) => return Ok(()),
        ([one], _) => *one,
        (several, Some(first)) => match several.iter().find(|it| **it == jmespath_type(first)) {
            Some(it) => it,
            None => return mistyped(name, &first.text(), types, first.type_name()),
        },
    };
    match items.iter().find(|it| jmespath_type(it) != allowed) {
        Some(item) => mistyped(name, &item.text(), types, item.type_name()),
        None => Ok(()),
    }
}

fn sort_by(items: &Arc<Vec<Value>>, keys: Vec<Value>) -> Result<Value, String> {
    let Some((first, item)) = keys.first().zip(items.first()) else {
        return Ok(Value::List(Arc::clone(items)));
    };
    let required = jmespath_type(first);
    if !matches!(required, "number" | "string") {
        return mistyped("sort_by", &item.text(), &["string", "number"], required);
    }
    if let Some(key) = keys.iter().find(|it| jmespath_type(it) != required) {
        return mistyped("sort_by", &key.text(), &[required], jmespath_type(key));
    }
    let mut pairs: Vec<_> = keys.into_iter().zip(items.iter().cloned()).collect();
    pairs.sort_by(|(a, _), (b, _)| a.compare(b).unwrap_or(Ordering::Equal));
    Ok(pairs.into_iter().map(|(_, item)| item).collect::<Vec<_>>().into())
}

/// The item with the least or the greatest key; the first of equal ones.
fn extreme(name: &str, items: &[Value], keys: Vec<Value>) -> Result<Value, String> {
    let is_max = name.starts_with("max");
    let symbol = if is_max { ">" } else { "<" };
    let mut best: Option<(Value, &Value)> = None;
    for (key, item) in keys.into_iter().zip(items) {
        if !matches!(jmespath_type(&key), "number" | "string") {
            return mistyped(name, &key.text(), &["number", "string"], jmespath_type(&key));
        }
        let is_better = match &best {
            None => true,
            Some((other, _)) => {
                if jmespath_type(&key) != jmespath_type(other) {
                    return Err(unordered(symbol, &key, other));
                }
                let wanted = if is_max { Ordering::Greater } else { Ordering::Less };
                key.compare(other) == Some(wanted)
            }
        };
        if is_better {
            best = Some((key, item));
        }
    }
    Ok(best.map_or(Value::Null, |(_, item)| item.clone()))
}

fn apply(name: &str, values: Vec<Value>) -> Result<Value, String> {
    let mut rest = values.into_iter();
    let first = rest.next().unwrap_or(Value::Null);
    Ok(match (name, first) {
        ("not_null", first) => {
            std::iter::once(first).chain(rest).find(|it| !it.is_null()).unwrap_or(Value::Null)
        }
        ("merge", Value::Map(mut merged)) => {
            for map in rest {
                let Value::Map(map) = map else { return Ok(Value::Null) };
                for (name, value) in map.iter() {
                    merged.set(name, value.clone());
                }
            }
            Value::Map(merged)
        }
        (_, first) => {
            let second = rest.next();
            match (first, second) {
                (Value::Text(text), second) => of_text(name, text, second.as_ref())?,
                (Value::List(items), second) => of_list(name, items, second.as_ref()),
                (Value::Map(map), _) => of_map(name, map),
                (scalar, _) => of_scalar(name, scalar),
            }
        }
    })
}

fn of_text(name: &str, text: String, other: Option<&Value>) -> Result<Value, String> {
    let other_text = other.and_then(Value::as_text).unwrap_or_default();
    Ok(match name {
        "contains" => match other {
            Some(Value::Text(part)) => Value::Bool(text.contains(part)),
            other => {
                let actual = other.map_or("NoneType", Value::type_name);
                return Err(format!("'in <string>' requires string as left operand, not {actual}"));
            }
        },
        "ends_with" => Value::Bool(text.ends_with(other_text)),
        "starts_with" => Value::Bool(text.starts_with(other_text)),
        "join" => {
            let items = if let Some(Value::List(items)) = other { items.as_slice() } else { &[] };
            let items: Vec<_> = items.iter().map(Value::text).collect();
            Value::Text(items.join(&text))
        }
        "length" => count(text.chars().count()),
        "reverse" => Value::Text(text.chars().rev().collect()),
        "to_number" => match parse_int(&text) {
            Some(number) => Value::Int(number),
            None => text.trim().parse().map_or(Value::Null, Value::Float),
        },
        _ => of_any(name, Value::Text(text)),
    })
}

fn of_list(name: &str, items: Arc<Vec<Value>>, other: Option<&Value>) -> Value {
    let extreme = |wanted: Ordering| {
        items.iter().fold(None, |best: Option<&Value>, it| match best {
            Some(best) if it.compare(best) != Some(wanted) => Some(best),
            _ => Some(it),
        })
    };
    match name {
        "avg" if items.is_empty() => Value::Null,
        "avg" => {
            let n = i128::try_from(items.len()).unwrap_or(i128::MAX);
            let sum = sum(&items).number().unwrap_or_default();
            Value::Float(sum / to_float(n))
        }
        "contains" => Value::Bool(other.is_some_and(|it| items.contains(it))),
        "length" => count(items.len()),
        "max" => extreme(Ordering::Greater).cloned().unwrap_or(Value::Null),
        "min" => extreme(Ordering::Less).cloned().unwrap_or(Value::Null),
        "reverse" => items.iter().rev().cloned().collect::<Vec<_>>().into(),
        "sort" => {
            let mut items = Arc::unwrap_or_clone(items);
            items.sort_by(|a, b| a.compare(b).unwrap_or(Ordering::Equal));
            items.into()
        }
        "sum" => sum(&items),
        "to_array" => Value::List(items),
        "to_number" => Value::Null,
        _ => of_any(name, Value::List(items)),
    }
}

/// An integer if every number is one.
fn sum(items: &[Value]) -> Value {
    items.iter().fold(Value::Int(0), |sum, it| match (&sum, it) {
        (Value::Int(a), Value::Int(b)) => Value::Int(a.saturating_add(*b)),
        (a, b) => Value::Float(a.number().unwrap_or_default() + b.number().unwrap_or_default()),
    })
}

fn of_map(name: &str, map: Map) -> Value {
    match name {
        "keys" => map.iter().map(|(name, _)| name.into()).collect::<Vec<_>>().into(),
        "values" => map.iter().map(|(_, value)| value.clone()).collect::<Vec<_>>().into(),
        "length" => count(map.len()),
        "to_number" => Value::Null,
        _ => of_any(name, Value::Map(map)),
    }
}

fn of_scalar(name: &str, scalar: Value) -> Value {
    match (name, &scalar) {
        ("abs", Value::Int(it)) => Value::Int(it.saturating_abs()),
        ("abs", Value::Float(it)) => Value::Float(it.abs()),
        ("ceil", Value::Float(it)) => whole(it.ceil()),
        ("floor", Value::Float(it)) => whole(it.floor()),
        ("ceil" | "floor" | "to_number", Value::Int(_) | Value::Float(_)) => scalar,
        ("to_number", _) => Value::Null,
        _ => of_any(name, scalar),
    }
}

fn of_any(name: &str, value: Value) -> Value {
    match (name, value) {
        ("to_array", value) => vec![value].into(),
        ("to_string", Value::Text(text)) => Value::Text(text),
        ("to_string", value) => Value::Text(json::compact(&value, ",", ":")),
        ("type", value) => jmespath_type(&value).into(),
        _ => Value::Null,
    }
}

fn count(n: usize) -> Value {
    Value::Int(i128::try_from(n).unwrap_or(i128::MAX))
}

#[expect(clippy::cast_possible_truncation, reason = "a float without fraction; `as` saturates")]
fn whole(number: f64) -> Value {
    Value::Int(number as i128)
}
