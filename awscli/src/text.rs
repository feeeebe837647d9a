//! `--output text`: tabs between values, one line for each map, sorted by name.

use std::collections::BTreeSet;

use crate::value::{Map, Value};

/// The lines of a value; with an error, those before it.
pub(crate) fn render(value: &Value) -> (String, Result<(), String>) {
    let mut lines = String::new();
    let written = write(value, None, None, &mut lines);
    (lines, written)
}

fn write(
    value: &Value,
    name: Option<&str>,
    keys: Option<&BTreeSet<&str>>,
    lines: &mut String,
) -> Result<(), String> {
    match value {
        Value::Map(map) => write_map(map, name, keys, lines),
        Value::List(items) => write_list(items, name, lines),
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text(_) => {
            write_line(&[value.text()], lines);
            Ok(())
        }
    }
}

fn write_line(cells: &[String], lines: &mut String) {
    lines.push_str(&cells.join("\t"));
    lines.push('\n');
}

/// Maps beside other values are an error, as in the AWS CLI.
fn write_list(items: &[Value], name: Option<&str>, lines: &mut String) -> Result<(), String> {
    let maps =
        items.iter().filter_map(|it| if let Value::Map(map) = it { Some(map) } else { None });
    if maps.clone().next().is_some() {
        if let Some(other) = items.iter().find(|it| !matches!(it, Value::Map(_))) {
            return Err(format!("'{}' object has no attribute 'items'", other.type_name()));
        }
        let members = maps.flat_map(Map::iter).filter(|(_, value)| value.is_scalar());
        let keys: BTreeSet<_> = members.map(|(name, _)| name).collect();
        return items.iter().try_for_each(|item| write(item, name, Some(&keys), lines));
    }
    let (scalars, lists): (Vec<_>, Vec<_>) = items.iter().partition(|it| it.is_scalar());
    let scalars: Vec<_> = scalars.into_iter().map(Value::text).collect();
    match name {
        Some(name) => {
            for scalar in scalars {
                write_line(&[name.to_uppercase(), scalar], lines);
            }
        }
        None if scalars.is_empty() => {}
        None => write_line(&scalars, lines),
    }
    lists.into_iter().try_for_each(|list| write(list, name, None, lines))
}

/// Scalars in one line, those of `keys` if given; other values follow in lines of their own.
fn write_map(
    map: &Map,
    name: Option<&str>,
    keys: Option<&BTreeSet<&str>>,
    lines: &mut String,
) -> Result<(), String> {
    let members = map.sorted();
    let is_in_line = |(name, value): &(&str, &Value)| match keys {
        Some(keys) => keys.contains(name),
        None => value.is_scalar(),
    };
    let mut cells: Vec<_> = match keys {
        Some(keys) => {
            keys.iter().map(|it| map.get(it).map(Value::text).unwrap_or_default()).collect()
        }
        None => members.iter().filter(|it| is_in_line(it)).map(|(_, it)| it.text()).collect(),
    };
    if !cells.is_empty() {
        if let Some(name) = name {
            cells.insert(0, name.to_uppercase());
        }
        write_line(&cells, lines);
    }
    let mut others = members.into_iter().filter(|it| !is_in_line(it));
    others.try_for_each(|(name, value)| write(value, Some(name), None, lines))
}
