//! `--output table`: a box for each map and each list of maps, nested by bars.

mod draw;
mod section;
mod wide;

use std::collections::BTreeSet;

pub(crate) use self::draw::RESET;

use crate::{
    table::section::Section,
    value::{Map, Value},
};

/// The table of a value; vertical if it is wider than the terminal.
pub(crate) fn render(
    title: &str,
    value: &Value,
    width: usize,
    is_coloured: bool,
) -> Result<String, String> {
    let mut table = Table { sections: Vec::new() };
    let has_something = table.build(Some(title), value, 0)?;
    let sections = if has_something { table.sections } else { Vec::new() };
    Ok(draw::draw(sections, width, is_coloured))
}

struct Table {
    sections: Vec<Section>,
}

impl Table {
    fn section(&mut self, title: &str, indent: usize) {
        self.sections.push(Section::new(title, indent));
    }

    fn row(&mut self, cells: Vec<String>) -> Result<(), String> {
        self.sections.last_mut().map_or(Ok(()), |it| it.add_row(cells))
    }

    fn header(&mut self, names: &[&str]) {
        if let Some(section) = self.sections.last_mut() {
            section.add_header(names.iter().map(|it| (*it).to_owned()).collect());
        }
    }

    /// Adds the sections of a value; `false` if there is nothing to show.
    fn build(&mut self, title: Option<&str>, value: &Value, indent: usize) -> Result<bool, String> {
        if !value.is_truthy() {
            return Ok(false);
        }
        if let Some(title) = title {
            self.section(title, indent);
        }
        match value {
            Value::List(items) if matches!(items.first(), Some(Value::Map(_))) => {
                self.list_of_maps(items, indent, title.unwrap_or_default())?;
            }
            Value::List(items) => {
                for item in items.iter() {
                    self.item(item)?;
                }
            }
            Value::Map(map) => self.map(map, indent)?,
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text(_) => {}
        }
        Ok(true)
    }

    /// An item of a list whose first item is not a map: a row, or another list.
    fn item(&mut self, item: &Value) -> Result<(), String> {
        match item {
            Value::List(cells) if cells.iter().all(Value::is_scalar) => {
                self.row(cells.iter().map(Value::text).collect())
            }
            Value::List(_) => self.build(None, item, 0).map(|_| ()),
            Value::Map(map) => self.row(map.iter().map(|(it, _)| it.into()).collect()),
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text(_) => {
                self.row(vec![item.text()])
            }
        }
    }

    fn map(&mut self, map: &Map, indent: usize) -> Result<(), String> {
        let members = map.sorted();
        let (scalars, others): (Vec<_>, Vec<_>) =
            members.into_iter().partition(|(_, it)| it.is_scalar());
        match scalars.as_slice() {
            [] => {}
            [(name, value)] => self.row(vec![(*name).to_owned(), value.text()])?,
            several => {
                let names: Vec<_> = several.iter().map(|(name, _)| *name).collect();
                self.header(&names);
                self.row(several.iter().map(|(_, value)| value.text()).collect())?;
            }
        }
        for (name, value) in others {
            self.build(Some(name), value, indent + 1)?;
        }
        Ok(())
    }

    /// A row for each map, under all names; maps and lists in it follow as sections.
    fn list_of_maps(&mut self, items: &[Value], indent: usize, title: &str) -> Result<(), String> {
        let mut names = BTreeSet::new();
        let mut others = BTreeSet::new();
        for item in items {
            let Value::Map(map) = item else {
                return Err(format!("'{}' object is not iterable", item.type_name()));
            };
            for (name, value) in map.iter() {
                let _ = if value.is_scalar() { names.insert(name) } else { others.insert(name) };
            }
        }
        let names: Vec<_> = names.into_iter().collect();
        self.header(&names);
        for (i, item) in items.iter().enumerate() {
            if i != 0 && !others.is_empty() {
                self.section(title, indent);
                self.header(&names);
            }
            let cell = |name: &&str| item.get(name).map(Value::text).unwrap_or_default();
            self.row(names.iter().map(cell).collect())?;
            for name in &others {
                if let Some(value) = item.get(name) {
                    self.build(Some(name), value, indent + 1)?;
                }
            }
        }
        Ok(())
    }
}
