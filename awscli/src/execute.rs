//! Runs a command, from its arguments to its output.

use std::process::ExitCode;

use crate::{
    arguments::{Given, check_required, parse},
    client::{Client, Options, check, region, seconds},
    environment::{Problem, Settings, expand, variable},
    error::CommandError,
    help,
    host::Host,
    jmespath::Expression,
    json,
    operation::Operation,
    options::{CLI_INPUT_JSON, GENERATE_CLI_SKELETON, global_options},
    output::{self, Format},
    paginate::Pages,
    parameters,
    value::{Map, Value},
    version::Version,
};

/// Runs a command with the arguments after its name.
pub(crate) async fn run(operation: &'static Operation, words: &[String], host: &Host) -> ExitCode {
    let (version, error) = match Version::take(words) {
        Ok((version, words)) => match execute(operation, version, &words, host).await {
            Ok(()) => return ExitCode::SUCCESS,
            Err(error) => (version, error),
        },
        Err(message) => (Version::One, CommandError::Usage(message)),
    };
    let status = status(&error, version);
    output::complain(&complaint(operation, error, version), host);
    ExitCode::from(status)
}

/// What standard error is told.
fn complaint(operation: &Operation, error: CommandError, version: Version) -> String {
    let usage = help::usage(operation);
    let of_use = |message: String| match version {
        Version::One => usage.clone() + &message,
        Version::Two => format!("\n{usage}{message}\n"),
    };
    match error {
        CommandError::Usage(message) => of_use(format!("reapctl: error: {message}")),
        CommandError::UnknownOptions(words) => {
            of_use(format!("\nUnknown options: {}", words.join(", ")))
        }
        CommandError::NotConfigured(message) if version == Version::One => message,
        CommandError::Parameters(message)
        | CommandError::Refused(message)
        | CommandError::NotConfigured(message)
        | CommandError::Failed(message) => format!("\n{message}"),
    }
}

/// The exit status.
fn status(error: &CommandError, version: Version) -> u8 {
    match (version, error) {
        (Version::One, CommandError::Usage(_)) => 2,
        (
            Version::Two,
            CommandError::Usage(_) | CommandError::UnknownOptions(_) | CommandError::Parameters(_),
        ) => 252,
        (Version::Two, CommandError::NotConfigured(_)) => 253,
        (Version::Two, CommandError::Refused(_)) => 254,
        (Version::One, _) | (Version::Two, CommandError::Failed(_)) => 255,
    }
}

/// The same up to the call, with this text as AWS's answer: what would be printed, or the complaint.
pub(crate) fn answered(
    operation: &'static Operation,
    words: &[String],
    answer: &str,
    host: &Host,
) -> Result<String, String> {
    let (version, words) = Version::take(words)?;
    let rendered = || {
        let line = read(operation, version, &words, host)?;
        let (mut params, _warnings) = parameters::build(operation, &line.own)?;
        parameters::add_input_json(&mut params, &line.own, version)?;
        check(operation, &params)?;
        let answer = json::parse(answer).map_err(|err| err.to_string())?;
        let format = line.global.one("--output").unwrap_or("json");
        let colour = line.global.one("--color").unwrap_or("auto");
        let format = Format::parse(format, colour, version)?;
        let (text, rendered) = render(format, operation, &line, &answer)?;
        Ok(rendered.map(|()| text)?)
    };
    rendered().map_err(|error| complaint(operation, error, version))
}

/// The options of a command line.
struct Line<'a> {
    host: &'a Host,
    global: Given,
    own: Given,
    query: Option<Expression>,
    connect_timeout: Option<std::time::Duration>,
    read_timeout: Option<std::time::Duration>,
}

async fn execute(
    operation: &'static Operation,
    version: Version,
    words: &[String],
    host: &Host,
) -> Result<(), CommandError> {
    if words.iter().any(|it| it == "--help" || it == "-h") || words == ["help"] {
        return Ok(output::print(&help::text(operation))?);
    }
    let line = read(operation, version, words, host)?;
    if line.global.has("--version") {
        return Ok(output::print(concat!("reapctl ", env!("CARGO_PKG_VERSION"), "\n"))?);
    }
    let is_manual = ["--next-token", "--max-results"].iter().any(|it| line.own.has(it));
    let paginates =
        operation.result_key.is_some() && !line.global.has("--no-paginate") && !is_manual;
    if operation.result_key.is_some() && !paginates {
        parameters::check_no_paging(&line.own, version)?;
    }
    let (mut params, warnings) = parameters::build(operation, &line.own)?;
    for warning in warnings.into_iter().filter(|_| version == Version::One) {
        output::complain(&warning, host);
    }
    let settings = Settings::load_as(version, line.global.one("--profile")).await;
    let endpoint_url = line.global.one("--endpoint-url").map(Into::into);
    let endpoint_url = endpoint_url.or_else(|| variable("AWS_ENDPOINT_URL_SSM"));
    let usable = settings.checked(endpoint_url.as_deref());
    if version == Version::One || matches!(usable, Err(Problem::File { .. })) {
        usable.clone()?;
    }
    parameters::add_input_json(&mut params, &line.own, version)?;
    let sample = line.own.one(GENERATE_CLI_SKELETON.name);
    if sample == Some("input") {
        return Ok(output::print(&(json::pretty(&operation.input.sample(None)) + "\n"))?);
    }
    usable?;
    let format = line.global.one("--output").map(Into::into);
    let format = format.or_else(|| settings.variable_or("AWS_DEFAULT_OUTPUT", "output"));
    let format = Format::parse(
        format.as_deref().unwrap_or("json"),
        line.global.one("--color").unwrap_or("auto"),
        version,
    );
    let Some(region) = region(line.global.one("--region"), version, &settings) else {
        let message = "You must specify a region. You can also configure your region by running \
                       \"aws configure\".";
        return Err(CommandError::NotConfigured(message.into()));
    };
    check_region(&region)?;
    if sample.is_some() {
        check(operation, &params)?;
        let date =
            if format == Ok(Format::Json) { "1970-01-01T00:00:00" } else { "1970-01-01 00:00:00" };
        return show(format?, operation, &line, &operation.output.sample(Some(date)));
    }
    let client = open(&line, region, version, &settings).await?;
    match operation.result_key {
        Some(key) if paginates => {
            let mut pages = Pages::new(&client, operation, key, params)?;
            list(format?, operation, &line, &mut pages, key).await
        }
        _ => {
            let answer = client.call(operation, &params).await?;
            show(format?, operation, &line, &answer)
        }
    }
}

/// Parses the arguments: first the options that all commands share, as the AWS CLI does.
fn read<'a>(
    operation: &'static Operation,
    version: Version,
    words: &[String],
    host: &'a Host,
) -> Result<Line<'a>, CommandError> {
    let mut global = parse(global_options(version), words, false).map_err(CommandError::Usage)?;
    // After `--`, the options that all commands share are not read, but this command's own are.
    if let Some(place) = global.rest.iter().position(|it| it == "--") {
        global.rest.remove(place);
    }
    if global.has("--version") {
        let own = Given::default();
        return Ok(Line {
            host,
            global,
            own,
            query: None,
            connect_timeout: None,
            read_timeout: None,
        });
    }
    let query = global.one("--query").map(|text| {
        Expression::parse(text).map_err(|err| format!("Bad value for --query {text}: {err}"))
    });
    let query = query.transpose().map_err(CommandError::Parameters)?;
    if let Some(url) = global.one("--endpoint-url") {
        check_url(url).map_err(CommandError::Parameters)?;
    }
    let read_timeout = seconds(global.one("--cli-read-timeout"))?;
    let connect_timeout = seconds(global.one("--cli-connect-timeout"))?;
    let mut own = parse(operation.options, &global.rest, true).map_err(CommandError::Usage)?;
    if !is_relieved(&global.rest) {
        check_required(operation.options, &own).map_err(CommandError::Usage)?;
    }
    let mut unknown = std::mem::take(&mut own.rest);
    unknown.extend(own.positional.take().filter(|it| !it.is_empty()));
    if !unknown.is_empty() {
        return Err(CommandError::UnknownOptions(unknown));
    }
    Ok(Line { host, global, own, query, connect_timeout, read_timeout })
}

/// Whether there is an option, not abbreviated, with which no other option is required.
fn is_relieved(words: &[String]) -> bool {
    let place = |name: &str| words.iter().position(|it| it == name);
    let is_output = |at: usize| words.get(at + 1).is_some_and(|it| it == "output");
    place(CLI_INPUT_JSON.name).is_some()
        || place(GENERATE_CLI_SKELETON.name).is_some_and(|at| !is_output(at))
}

fn check_region(region: &str) -> Result<(), String> {
    let is_part = |it: char| it.is_ascii_alphanumeric() || it == '-';
    let is_number = !region.is_empty() && region.chars().all(|it| it.is_ascii_digit());
    let has_edge = region.starts_with('-') || region.ends_with('-');
    if is_number || has_edge || 63 < region.len() || !region.chars().all(is_part) {
        return Err(format!("Provided region_name '{region}' doesn't match a supported format."));
    }
    Ok(())
}

fn check_url(url: &str) -> Result<(), String> {
    let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
    let is_part = |it: char| it.is_ascii_alphanumeric() || "+-.".contains(it);
    if !scheme.starts_with(|it: char| it.is_ascii_alphabetic()) || !scheme.chars().all(is_part) {
        return Err(format!(
            "Bad value for --endpoint-url \"{url}\": scheme is missing.  Must be of the form \
             http://<hostname>/ or https://<hostname>/"
        ));
    }
    Ok(())
}

async fn open(
    line: &Line<'_>,
    region: String,
    version: Version,
    settings: &Settings,
) -> Result<Client, CommandError> {
    let endpoint_url = line.global.one("--endpoint-url");
    let ca_bundle = line.global.one("--ca-bundle").map(|it| expand(it).display().to_string());
    let options = Options {
        region,
        version,
        endpoint_url: endpoint_url.map(Into::into),
        signs: !line.global.has("--no-sign-request"),
        verifies: !line.global.has("--no-verify-ssl"),
        ca_bundle: ca_bundle.or_else(|| settings.ca_bundle()),
        connect_timeout: line.connect_timeout,
        read_timeout: line.read_timeout,
        shows_calls: line.global.has("--debug"),
    };
    Client::open(&options, settings, line.host).await
}

/// Prints every page: one by one as text or as a stream, otherwise all together.
async fn list(
    format: Format,
    operation: &Operation,
    line: &Line<'_>,
    pages: &mut Pages<'_>,
    key: &'static str,
) -> Result<(), CommandError> {
    let mut whole = Map::default();
    while let Some(page) = pages.next().await? {
        let rows = page.get(key);
        match format {
            Format::YamlStream | Format::YamlPage => {
                show(Format::YamlPage, operation, line, &Value::Map(page))?;
            }
            Format::Text => {
                let rows = rows.cloned().unwrap_or(Value::Null);
                show(format, operation, line, &Value::Map(Map::from([(key, rows)])))?;
            }
            Format::Json | Format::Table { .. } | Format::Yaml => {
                if let Some(Value::List(rows)) = rows {
                    let mut all = whole.remove(key).and_then(Value::into_list).unwrap_or_default();
                    all.extend(rows.iter().cloned());
                    whole.set(key, all.into());
                }
            }
        }
    }
    let token = pages.resume_token.take().map(Value::Text);
    match (format, token) {
        (Format::Text, Some(token)) => {
            let token = Value::Map(Map::from([("NextToken", token)]));
            show(format, operation, line, &Value::Map(Map::from([("NextToken", token)])))
        }
        (Format::Text, None) | (Format::YamlStream | Format::YamlPage, _) => Ok(()),
        (_, token) => {
            if let Some(token) = token {
                whole.set("NextToken", token);
            }
            show(format, operation, line, &Value::Map(whole))
        }
    }
}

/// Prints an answer, or the part of it that the query selects.
fn show(
    format: Format,
    operation: &Operation,
    line: &Line<'_>,
    answer: &Value,
) -> Result<(), CommandError> {
    let (text, rendered) = render(format, operation, line, answer)?;
    output::print(&text)?;
    Ok(rendered?)
}

fn render(
    format: Format,
    operation: &Operation,
    line: &Line<'_>,
    answer: &Value,
) -> Result<(String, Result<(), String>), CommandError> {
    let picked = line.query.as_ref().map(|it| it.search(answer)).transpose()?;
    Ok(format.render(operation.name, picked.as_ref().unwrap_or(answer), line.host))
}
