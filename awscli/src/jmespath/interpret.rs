//! Evaluates expressions.

use std::cmp::Ordering;

use crate::{
    jmespath::{
        functions,
        node::{Node, Operator},
    },
    value::{MAX_DEPTH, Map, TOO_DEEP, Value, unordered},
};

/// Whether `JMESPath` treats it as false.
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

/// The result of a node for a value.
pub(super) fn evaluate(node: &Node, value: &Value) -> Result<Value, String> {
    Ok(match node {
        Node::And(nodes) => {
            let [left, right] = nodes.as_ref();
            let left = evaluate(left, value)?;
            if is_false(&left) { left } else { evaluate(right, value)? }
        }
        Node::Comparison(operator, nodes) => {
            let [left, right] = nodes.as_ref();
            compare(*operator, &evaluate(left, value)?, &evaluate(right, value)?)?
        }
        Node::Current => value.clone(),
        Node::Expression(_) => Value::Null, // Only functions use it.
        Node::Field(name) => value.get(name).cloned().unwrap_or(Value::Null),
        Node::Filter(nodes) => {
            let [list, each, condition] = nodes.as_ref();
            let Some(items) = evaluate(list, value)?.into_list() else { return Ok(Value::Null) };
            let mut kept = Vec::new();
            for item in items {
                if !is_false(&evaluate(condition, &item)?) {
                    kept.push(item);
                }
            }
            project(&kept, each)?
        }
        Node::Flatten(node) => {
            let Some(items) = evaluate(node, value)?.into_list() else { return Ok(Value::Null) };
            let mut parts = Vec::new();
            for item in items {
                if let Value::List(nested) = item {
                    parts.extend(nested.iter().cloned());
                } else {
                    parts.push(item);
                }
            }
            parts.into()
        }
        Node::Function(name, arguments) => functions::call(name, arguments, value, evaluate)?,
        Node::Index(index) => {
            let Value::List(items) = value else { return Ok(Value::Null) };
            item(items, *index).cloned().unwrap_or(Value::Null)
        }
        Node::Chain(nodes) | Node::Indexed(nodes) => {
            nodes.iter().try_fold(value.clone(), |value, it| evaluate(it, &value))?
        }
        Node::Literal(literal) => literal.clone(),
        Node::MultiHash(_) | Node::MultiList(_) if value.is_null() => Value::Null,
        Node::MultiHash(members) => {
            let mut map = Map::default();
            for (name, node) in members {
                map.set(name, evaluate(node, value)?);
            }
            not_too_deep(Value::Map(map))?
        }
        Node::MultiList(nodes) => {
            let items = nodes.iter().map(|it| evaluate(it, value));
            not_too_deep(items.collect::<Result<Vec<_>, _>>()?.into())?
        }
        Node::Not(node) => match evaluate(node, value)? {
            it if is_number(&it) && !it.is_truthy() => Value::Bool(false),
            it => Value::Bool(!it.is_truthy()),
        },
        Node::Or(nodes) => {
            let [left, right] = nodes.as_ref();
            let left = evaluate(left, value)?;
            if is_false(&left) { evaluate(right, value)? } else { left }
        }
        Node::Pipe(nodes) => {
            let [left, right] = nodes.as_ref();
            evaluate(right, &evaluate(left, value)?)?
        }
        Node::Projection(nodes) => {
            let [list, each] = nodes.as_ref();
            let Value::List(items) = evaluate(list, value)? else { return Ok(Value::Null) };
            project(&items, each)?
        }
        Node::Slice(parts) => {
            let Value::List(items) = value else { return Ok(Value::Null) };
            slice(items, *parts)?.into()
        }
        Node::ValueProjection(nodes) => {
            let [map, each] = nodes.as_ref();
            let Value::Map(map) = evaluate(map, value)? else { return Ok(Value::Null) };
            let values: Vec<_> = map.iter().map(|(_, value)| value.clone()).collect();
            project(&values, each)?
        }
    })
}

/// Refuses a result that is nested too deeply, before anything else recurses into it.
fn not_too_deep(value: Value) -> Result<Value, String> {
    if MAX_DEPTH < value.depth() { Err(TOO_DEEP.into()) } else { Ok(value) }
}

/// The result for each item, without nulls.
fn project(items: &[Value], each: &Node) -> Result<Value, String> {
    let items = items.iter().map(|it| evaluate(each, it));
    let items = items.filter(|it| !matches!(it, Ok(Value::Null)));
    Ok(items.collect::<Result<Vec<_>, _>>()?.into())
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

/// Equality; booleans never equal numbers.
fn equals(left: &Value, right: &Value) -> bool {
    let is_truth = |it: &Value| matches!(it, Value::Bool(_));
    let is_bit = |it: &Value| is_number(it) && matches!(it.number(), Some(0.0 | 1.0));
    let is_mixed = is_bit(left) && is_truth(right) || is_bit(right) && is_truth(left);
    !is_mixed && left == right
}
