//! Calls of Systems Manager, as botocore makes them: its checks, its retries, and the words of its
//! errors. Signing, credentials and endpoints are the SDK's.

mod attempt;
mod connect;

use std::time::Duration;

use aws_config::SdkConfig;
use session_reaper::aws::{SSM, Service, named};
use tokio::time::sleep;

pub(crate) use self::connect::Options;

use crate::{
    client::attempt::{Answer, attempt},
    environment::{Problem, Settings, variable},
    error::CommandError,
    host::Host,
    json, model,
    operation::Operation,
    value::{Map, Value},
    version::Version,
};

/// How often botocore tries: in its legacy mode, and in its standard mode, which is version 2's.
const fn default_max_attempts(version: Version) -> u32 {
    match version {
        Version::One => 5,
        Version::Two => 3,
    }
}

/// A client of one account and Region.
pub(crate) struct Client {
    config: SdkConfig,
    /// What is wrong with the credentials: only half of them are there.
    partial: Option<Problem>,
    ssm: Service,
    /// Whether parameters are checked before they are sent.
    validates: bool,
    max_attempts: u32,
    has_iso_dates: bool,
}

impl Client {
    /// Opens a client; credentials are looked for when the first call is made.
    pub(crate) async fn open(
        options: &Options,
        settings: &Settings,
        host: &Host,
    ) -> Result<Self, CommandError> {
        let max_attempts = max_attempts(options.version, settings)?;
        let config = connect::config(options, settings, host).await?;
        if let Some(url) = named(&config, SSM) {
            let host = url.split_once("://").map_or("", |(_, rest)| rest);
            if host.is_empty() || host.starts_with('/') {
                return Err(format!("Invalid endpoint: {url}").into());
            }
        }
        let ssm = connect::service(&config, options);
        let has_iso_dates = has_iso_dates(options.version, settings)?;
        let partial = settings.check_credentials().err().filter(|_| options.signs);
        let validates = settings.get("parameter_validation");
        let validates = validates.is_none_or(|it| it.eq_ignore_ascii_case("true"));
        Ok(Self { config, partial, ssm, validates, max_attempts, has_iso_dates })
    }

    /// Makes a call: what botocore keeps of the answer, or its message.
    pub(crate) async fn call(
        &self,
        operation: &Operation,
        params: &Map,
    ) -> Result<Value, CommandError> {
        if self.validates {
            check(operation, params)?;
        }
        connect::check_credentials(&self.config, self.partial.as_ref()).await?;
        let body = json::compact(&Value::Map(params.clone()), ", ", ": ");
        let mut n_attempts = 1;
        let answer = loop {
            let answer = attempt(&self.ssm, operation, &body, n_attempts).await;
            if n_attempts >= self.max_attempts || !answer.is_worth_another_attempt() {
                break answer;
            }
            // The middle of what botocore's dice may say.
            sleep(Duration::from_millis(500 << (n_attempts - 1).min(10))).await;
            n_attempts += 1;
        };
        let is_last = n_attempts >= self.max_attempts && answer.is_worth_another_attempt();
        match answer {
            Answer::Body(body) => Ok(self.known(operation, &body)),
            Answer::Refused { code, message, .. } => {
                let n_retries = n_attempts - 1;
                let retries = format!(" (reached max retries: {n_retries})");
                Err(CommandError::Refused(format!(
                    "An error occurred ({code}) when calling the {} operation{}: {message}",
                    operation.name,
                    if is_last { retries.as_str() } else { "" }
                )))
            }
            Answer::Unreached { message, .. } => Err(CommandError::Failed(message)),
        }
    }

    fn known(&self, operation: &Operation, body: &Map) -> Value {
        let known = operation.output.known(body);
        if self.has_iso_dates { operation.output.with_iso_dates(&known) } else { known }
    }
}

/// Refuses parameters that botocore would not send.
pub(crate) fn check(operation: &Operation, params: &Map) -> Result<(), CommandError> {
    let wrong = model::check(params, &operation.input);
    if wrong.is_empty() {
        return Ok(());
    }
    Err(CommandError::Parameters(format!("Parameter validation failed:\n{}", wrong.join("\n"))))
}

/// Whether times are texts.
fn has_iso_dates(version: Version, settings: &Settings) -> Result<bool, CommandError> {
    let is_two = version == Version::Two;
    match settings.get("cli_timestamp_format") {
        None => Ok(is_two),
        Some("iso8601") => Ok(true),
        Some("wire") => Ok(false),
        Some("none") if !is_two => Ok(false),
        Some(other) => {
            let none = if is_two { "" } else { "\"none\", " };
            let message = format!(
                "Unknown cli_timestamp_format value: {other}, valid values are {none}\"wire\" or \
                 \"iso8601\""
            );
            Err(if is_two { CommandError::NotConfigured(message) } else { message.into() })
        }
    }
}

/// How often a call is tried, with botocore's words for what is no number of attempts.
fn max_attempts(version: Version, settings: &Settings) -> Result<u32, String> {
    let (modes, spoken, least): (&[_], _, _) = match version {
        Version::One => {
            let spoken = "('legacy', 'standard', 'adaptive')";
            (&["legacy", "standard", "adaptive"], spoken, "1")
        }
        Version::Two => (&["standard", "adaptive"], "\"standard\" or \"adaptive\"", "one"),
    };
    if let Some(mode) = settings.variable_or("AWS_RETRY_MODE", "retry_mode")
        && !modes.contains(&mode.as_str())
    {
        return Err(format!(
            "Invalid value provided to \"mode\": \"{mode}\" must be one of: {spoken}"
        ));
    }
    let Some(text) = settings.variable_or("AWS_MAX_ATTEMPTS", "max_attempts") else {
        return Ok(default_max_attempts(version));
    };
    let n = crate::value::parse_int(&text).ok_or_else(|| {
        format!("invalid literal for int() with base 10: {}", crate::value::quoted(&text))
    })?;
    if n < 1 {
        return Err(format!(
            "Value provided to \"max_attempts\": {n} must be an integer greater than or equal to {least}."
        ));
    }
    Ok(u32::try_from(n).unwrap_or(u32::MAX))
}

/// A time-out in seconds; none for 0.
pub(crate) fn seconds(text: Option<&str>) -> Result<Option<Duration>, String> {
    let Some(text) = text else { return Ok(Some(Duration::from_mins(1))) };
    match crate::value::parse_int(text) {
        Some(0) => Ok(None),
        Some(seconds) => Ok(Some(Duration::from_secs(u64::try_from(seconds).unwrap_or_default()))),
        None => {
            let text = crate::value::quoted(text);
            Err(format!("invalid literal for int() with base 10: {text}"))
        }
    }
}

/// The Region, as the AWS CLI finds it; in version 1, that of other SDKs where it would find none. An empty
/// one counts as not set.
pub(crate) fn region(
    option: Option<&str>,
    version: Version,
    settings: &Settings,
) -> Option<String> {
    let common = variable("AWS_REGION").filter(|it| !it.is_empty());
    let default = settings.variable_or("AWS_DEFAULT_REGION", "region").filter(|it| !it.is_empty());
    let (first, second) = match version {
        Version::One => (default, common),
        Version::Two => (common, default),
    };
    option.map(Into::into).filter(|it: &String| !it.is_empty()).or(first).or(second)
}
