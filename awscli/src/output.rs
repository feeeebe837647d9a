//! Standard output, as the AWS CLI writes it; but on a terminal, control characters in AWS's data are
//! escaped.

use std::io::{ErrorKind, IsTerminal, Write, stdout};

use crate::{
    host::Host,
    json, table, text,
    value::{Map, Value},
    version::Version,
    yaml,
};

/// How answers are written.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) enum Format {
    Json,
    Table {
        is_coloured: bool,
    },
    Text,
    Yaml,
    /// An item for each page; or for an answer without pages, unless it is empty.
    YamlStream,
    YamlPage,
}

/// Whether standard output is a terminal.
pub(crate) fn is_terminal() -> bool {
    stdout().is_terminal()
}

impl Format {
    /// The format of this name.
    pub(crate) fn parse(name: &str, colour: &str, version: Version) -> Result<Self, String> {
        match name {
            "json" => Ok(Self::Json),
            "text" => Ok(Self::Text),
            "yaml" if version == Version::Two => Ok(Self::Yaml),
            "yaml-stream" if version == Version::Two => Ok(Self::YamlStream),
            "table" => {
                let is_coloured = colour == "on" || (colour == "auto" && is_terminal());
                Ok(Self::Table { is_coloured })
            }
            _ => Err(format!("Unknown output type: {name}")),
        }
    }

    /// An answer, or a page of one, as it is written; with an error, what is written before it.
    pub(crate) fn render(
        self,
        title: &str,
        value: &Value,
        host: &Host,
    ) -> (String, Result<(), String>) {
        let escapes_values = matches!(self, Self::Table { .. } | Self::Text);
        let escaped = (is_terminal() && escapes_values).then(|| escaped(value, host));
        let value = escaped.as_ref().unwrap_or(value);
        let text = match self {
            Self::Json | Self::Yaml | Self::YamlStream if matches!(value, Value::Map(map) if map.len() == 0) => {
                String::new()
            }
            Self::Json if is_terminal() => (host.printable_json)(json::pretty(value)) + "\n",
            Self::Json => json::pretty(value) + "\n",
            Self::Table { is_coloured } => {
                match table::render(title, value, width(), is_coloured) {
                    // The AWS CLI resets the terminal's colours again at its end.
                    Ok(table) if is_coloured && is_terminal() => table + table::RESET,
                    Ok(table) => table,
                    Err(err) => return (String::new(), Err(err)),
                }
            }
            Self::Text => return text::render(value),
            Self::Yaml => yaml::document(value, &keep(host)),
            Self::YamlStream | Self::YamlPage => {
                yaml::document(&vec![value.clone()].into(), &keep(host))
            }
        };
        (text, Ok(()))
    }
}

/// Whether YAML has a character as it is.
fn keep(host: &Host) -> impl Fn(char) -> bool {
    let (is_terminal, printable) = (is_terminal(), host.printable);
    move |it| !is_terminal || printable(&it.to_string()) == it.to_string()
}

/// Writes a text; a closed pipe is not an error.
pub(crate) fn print(text: &str) -> Result<(), String> {
    let mut stdout = stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(err) if err.kind() != ErrorKind::BrokenPipe => {
            Err(format!("cannot write to standard output: {err}"))
        }
        Err(_) | Ok(()) => Ok(()),
    }
}

/// Columns of the terminal.
fn width() -> usize {
    let size = terminal_size::terminal_size_of(stdout());
    size.map_or(80, |(terminal_size::Width(columns), _)| columns.into())
}

/// The value with every control and bidirectional character of its texts escaped.
fn escaped(value: &Value, host: &Host) -> Value {
    let escaped = |it: &Value| escaped(it, host);
    match value {
        Value::Text(text) => Value::Text((host.printable)(text)),
        Value::List(items) => items.iter().map(escaped).collect::<Vec<_>>().into(),
        Value::Map(map) => {
            let mut safe = Map::default();
            for (name, value) in map.iter() {
                safe.set(name, escaped(value));
            }
            Value::Map(safe)
        }
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) => value.clone(),
    }
}

/// Writes a line to standard error; on a terminal, without control characters.
pub(crate) fn complain(message: &str, host: &Host) {
    let mut stderr = std::io::stderr().lock();
    let line = |it: &str| if stderr.is_terminal() { (host.printable)(it) } else { it.to_owned() };
    let lines: Vec<_> = message.split('\n').map(line).collect();
    let _ = writeln!(stderr, "{}", lines.join("\n"));
}
