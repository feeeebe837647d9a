//! What an expression picks.

use std::cmp::Ordering;

use crate::awscli::{
    jmespath::{Node, Operator, functions},
    value::{Map, Value},
};

/// What `JMESPath` takes for false.
fn is_false(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Text(it) => it.is_empty(),
        Value::List(it) => it.is_empty(),
        Value::Map(it) => it.len() == 0,
        Value::Bool(true) | Value::Int(_) | Value::Float(_) => false,
    }
}

fn is_number(value: &Value) -> bool {
    matches!(value, Value::Int(_) | Value::Float(_))
}

impl Node {
    pub(super) fn evaluate(&self, value: &Value) -> Result<Value, String> {
        Ok(match self {
            Self::And(nodes) => {
                let [left, right] = nodes.as_ref();
                let left = left.evaluate(value)?;
                if is_false(&left) { left } else { right.evaluate(value)? }
            }
            Self::Comparison(operator, nodes) => {
                let [left, right] = nodes.as_ref();
                compare(*operator, &left.evaluate(value)?, &right.evaluate(value)?)?
            }
            Self::Current => value.clone(),
            Self::Expression(_) => Value::Null, // Only functions know what to do with it.
            Self::Field(name) => value.get(name).cloned().unwrap_or(Value::Null),
            Self::Filter(nodes) => {
                let [list, each, condition] = nodes.as_ref();
                let Value::List(items) = list.evaluate(value)? else { return Ok(Value::Null) };
                let mut kept = Vec::new();
                for item in items {
                    if !is_false(&condition.evaluate(&item)?) {
                        kept.push(item);
                    }
                }
                project(&kept, each)?
            }
            Self::Flatten(node) => {
                let Some(items) = node.evaluate(value)?.into_list() else { return Ok(Value::Null) };
                let parts = items
                    .into_iter()
                    .flat_map(|it| if let Value::List(it) = it { it } else { vec![it] });
                Value::List(parts.collect())
            }
            Self::Function(name, arguments) => functions::call(name, arguments, value)?,
            Self::Index(index) => {
                let Value::List(items) = value else { return Ok(Value::Null) };
                item(items, *index).cloned().unwrap_or(Value::Null)
            }
            Self::Indexed(nodes) => {
                nodes.iter().try_fold(value.clone(), |value, it| it.evaluate(&value))?
            }
            Self::Literal(literal) => literal.clone(),
            Self::MultiHash(_) | Self::MultiList(_) if value.is_null() => Value::Null,
            Self::MultiHash(members) => {
                let mut map = Map::default();
                for (name, node) in members {
                    map.set(name, node.evaluate(value)?);
                }
                Value::Map(map)
            }
            Self::MultiList(nodes) => {
                Value::List(nodes.iter().map(|it| it.evaluate(value)).collect::<Result<_, _>>()?)
            }
            Self::Not(node) => match node.evaluate(value)? {
                it if is_number(&it) && !it.is_truthy() => Value::Bool(false),
                it => Value::Bool(!it.is_truthy()),
            },
            Self::Or(nodes) => {
                let [left, right] = nodes.as_ref();
                let left = left.evaluate(value)?;
                if is_false(&left) { right.evaluate(value)? } else { left }
            }
            Self::Pipe(nodes) => {
                let [left, right] = nodes.as_ref();
                right.evaluate(&left.evaluate(value)?)?
            }
            Self::Projection(nodes) => {
                let [list, each] = nodes.as_ref();
                let Value::List(items) = list.evaluate(value)? else { return Ok(Value::Null) };
                project(&items, each)?
            }
            Self::Slice(parts) => {
                let Value::List(items) = value else { return Ok(Value::Null) };
                Value::List(slice(items, *parts)?)
            }
            Self::ValueProjection(nodes) => {
                let [map, each] = nodes.as_ref();
                let Value::Map(map) = map.evaluate(value)? else { return Ok(Value::Null) };
                let values: Vec<_> = map.iter().map(|(_, value)| value.clone()).collect();
                project(&values, each)?
            }
        })
    }
}

/// What is made of each item; null is left out.
fn project(items: &[Value], each: &Node) -> Result<Value, String> {
    let items = items.iter().map(|it| each.evaluate(it));
    let items = items.filter(|it| !matches!(it, Ok(Value::Null)));
    Ok(Value::List(items.collect::<Result<_, _>>()?))
}

/// An item; a negative index counts from the end.
fn item(items: &[Value], index: i128) -> Option<&Value> {
    let length = i128::try_from(items.len()).ok()?;
    let index = if index < 0 { index + length } else { index };
    items.get(usize::try_from(index).ok()?)
}

/// `items[from:to:by]`
fn slice(items: &[Value], [from, to, by]: [Option<i128>; 3]) -> Result<Vec<Value>, String> {
    let length = i128::try_from(items.len()).unwrap_or(i128::MAX);
    let by = by.unwrap_or(1);
    if by == 0 {
        return Err("slice step cannot be zero".into());
    }
    let (low, high) = if by < 0 { (-1, length - 1) } else { (0, length) };
    let clamp = |it: i128| (if it < 0 { it + length } else { it }).clamp(low, high);
    let (first, last) = if by < 0 { (high, low) } else { (low, high) };
    let mut at = from.map_or(first, clamp);
    let end = to.map_or(last, clamp);
    let mut picked = Vec::new();
    while if by < 0 { end < at } else { at < end } {
        picked.extend(usize::try_from(at).ok().and_then(|it| items.get(it)).cloned());
        at = at.saturating_add(by);
    }
    Ok(picked)
}

fn compare(operator: Operator, left: &Value, right: &Value) -> Result<Value, String> {
    let is_comparable = |it: &Value| is_number(it) || it.as_text().is_some();
    let symbol = match operator {
        Operator::Equal => return Ok(Value::Bool(equals(left, right))),
        Operator::NotEqual => return Ok(Value::Bool(!equals(left, right))),
        _ if !is_comparable(left) || !is_comparable(right) => return Ok(Value::Null),
        Operator::Greater => ">",
        Operator::GreaterOrEqual => ">=",
        Operator::Less => "<",
        Operator::LessOrEqual => "<=",
    };
    if is_number(left) != is_number(right) {
        return Err(unordered(symbol, left, right));
    }
    Ok(Value::Bool(match left.compare(right) {
        Some(Ordering::Less) => symbol.starts_with('<'),
        Some(Ordering::Equal) => symbol.ends_with('='),
        Some(Ordering::Greater) => symbol.starts_with('>'),
        None => false,
    }))
}

/// Python's error for two values that have no order.
pub(super) fn unordered(symbol: &str, left: &Value, right: &Value) -> String {
    let (left, right) = (left.type_name(), right.type_name());
    format!("'{symbol}' not supported between instances of '{left}' and '{right}'")
}

/// Equal, but a truth never equals a number.
fn equals(left: &Value, right: &Value) -> bool {
    let is_truth = |it: &Value| matches!(it, Value::Bool(_));
    let is_bit = |it: &Value| is_number(it) && matches!(it.number(), Some(0.0 | 1.0));
    let is_mixed = is_bit(left) && is_truth(right) || is_bit(right) && is_truth(left);
    !is_mixed && left == right
}
