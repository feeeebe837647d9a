//! The parameters of a request, from the options.

use crate::{
    arguments::{Given, Takes},
    error::CommandError,
    json,
    operation::Operation,
    options::{CLI_INPUT_JSON, GENERATE_CLI_SKELETON},
    paginate::CONFIG,
    paramfile,
    shorthand::{self, Wrong},
    value::{Map, TOO_DEEP, Value, parse_int, quoted},
    version::Version,
};

/// Options of the paginator, and their names there.
pub(crate) const PAGING: [(&str, &str); 3] = [
    ("--starting-token", "StartingToken"),
    ("--page-size", "PageSize"),
    ("--max-items", "MaxItems"),
];

/// The parameters that the options set, and warnings.
pub(crate) fn build(
    operation: &Operation,
    given: &Given,
) -> Result<(Map, Vec<String>), CommandError> {
    let mut params = Map::default();
    let mut warnings = Vec::new();
    for spec in operation.options.iter().filter(|it| given.has(it.name)) {
        let name = spec.name;
        let words = given.many(name).unwrap_or_default();
        let first = given.one(name).unwrap_or_default();
        let from_file = match words {
            [one] if spec.takes != Takes::Number && name != GENERATE_CLI_SKELETON.name => {
                loaded(name, one).map_err(CommandError::Parameters)?
            }
            _ => None,
        };
        let parameter = operation.parameters.iter().find(|(it, _)| *it == name);
        let text = from_file.as_deref().unwrap_or(first);
        if let Some((_, parameter)) = parameter {
            let value = match name {
                "--filters" => structures(name, words, from_file.as_deref())?,
                "--max-results" => integer(text)?,
                _ => text.into(),
            };
            params.set(parameter, value);
        } else if let Some((_, key)) = PAGING.iter().find(|(it, _)| *it == name) {
            let value = parse_int(text).filter(|_| spec.takes == Takes::Number);
            if name == "--max-items" && value.is_some_and(|it| it <= 0) {
                let warning = "warning: Non-positive values for --max-items may result in \
                               undefined behavior.";
                warnings.push(warning.into());
            }
            let mut config = match params.remove(CONFIG) {
                Some(Value::Map(config)) => config,
                _ => Map::default(),
            };
            config.set(key, value.map_or_else(|| text.into(), Value::Int));
            params.set(CONFIG, Value::Map(config));
        }
    }
    Ok((params, warnings))
}

/// Adds parameters of `--cli-input-json` that no other option has set.
pub(crate) fn add_input_json(
    params: &mut Map,
    given: &Given,
    version: Version,
) -> Result<(), CommandError> {
    let name = CLI_INPUT_JSON.name;
    let Some(word) = given.one(name) else { return Ok(()) };
    let text = paramfile::load(word).map_err(CommandError::Parameters)?;
    let text = text.unwrap_or_else(|| word.to_owned());
    // This message has the option's name without its dashes.
    let value = json::parse(&text).map_err(|err| match (version, err) {
        (Version::Two, json::Error::Syntax(_)) => {
            CommandError::Parameters(wrong("cli-input-json", "Invalid JSON received."))
        }
        (_, err) => invalid_json("cli-input-json", err, &text),
    })?;
    let Value::Map(input) = value else {
        let kind = value.type_name();
        return Err(match version {
            Version::One => format!("'{kind}' object has no attribute 'keys'").into(),
            Version::Two => CommandError::Parameters(wrong(
                name,
                &format!("Invalid type: expecting map, received <class '{kind}'>"),
            )),
        });
    };
    for (key, value) in input.iter() {
        if params.get(key).is_none() {
            params.set(key, value.clone());
        }
    }
    Ok(())
}

/// Refuses options of the paginator if it is switched off.
pub(crate) fn check_no_paging(given: &Given, version: Version) -> Result<(), CommandError> {
    let is_said = |name: &str| match given.one(name) {
        Some(text) if name == "--starting-token" => !text.is_empty(),
        Some(text) => parse_int(text) != Some(0),
        None => false,
    };
    let names: Vec<_> = PAGING.iter().map(|(name, _)| *name).filter(|it| is_said(it)).collect();
    if names.is_empty() {
        return Ok(());
    }
    let during = match version {
        Version::One => "Error during pagination: ",
        Version::Two => "",
    };
    Err(CommandError::Parameters(format!(
        "{during}Cannot specify --no-paginate along with pagination arguments: {}",
        names.join(", ")
    )))
}

fn loaded(name: &str, word: &str) -> Result<Option<String>, String> {
    paramfile::load(word).map_err(|err| wrong(name, &err))
}

fn wrong(name: &str, message: &str) -> String {
    format!("Error parsing parameter '{name}': {message}")
}

fn invalid_json(name: &str, err: json::Error, text: &str) -> CommandError {
    match err {
        json::Error::Syntax(message) => {
            let message = format!("Invalid JSON: {message}\nJSON received: {text}");
            CommandError::Parameters(wrong(name, &message))
        }
        json::Error::TooDeep(_) => CommandError::Failed(err.to_string()),
    }
}

fn integer(text: &str) -> Result<Value, String> {
    let number = parse_int(text).map(Value::Int);
    number.ok_or_else(|| format!("invalid literal for int() with base 10: {}", quoted(text)))
}

/// A list of structures: in shorthand, each as JSON, or all as one list of JSON.
fn structures(name: &str, words: &[String], file: Option<&str>) -> Result<Value, CommandError> {
    let parsed = |text: &str| json::parse(text).map_err(|err| invalid_json(name, err, text));
    let first = file.or(words.first().map(String::as_str)).unwrap_or_default();
    if !first.trim().starts_with(['[', '{']) {
        let short = |text: &str| {
            shorthand::parse(text).map_err(|err| match err {
                Wrong::File(message) => CommandError::Parameters(message),
                Wrong::Syntax(message) => CommandError::Parameters(wrong(name, &message)),
                Wrong::TooDeep => CommandError::Failed(TOO_DEEP.into()),
            })
        };
        return match file {
            Some(text) => short(text),
            None => Ok(words.iter().map(|it| short(it)).collect::<Result<Vec<_>, _>>()?.into()),
        };
    }
    if first.trim().starts_with('[') && (file.is_some() || words.len() == 1) {
        return parsed(first);
    }
    if file.is_some() {
        return parsed("{"); // The AWS CLI iterates over the characters of the file.
    }
    let structure = |text: &String| match text.trim_start().chars().next() {
        Some('{') => parsed(text),
        Some(_) => {
            let message = wrong(name, &format!("Invalid JSON:\n{text}"));
            Err(CommandError::Parameters(message))
        }
        None => Err(CommandError::Failed("string index out of range".into())),
    };
    Ok(words.iter().map(structure).collect::<Result<Vec<_>, _>>()?.into())
}
