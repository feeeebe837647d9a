//! Calls of Systems Manager, as botocore makes them: its checks, its retries, and the words of its
//! errors. Signing, credentials and endpoints are the SDK's.

mod attempt;
mod connect;

use std::time::Duration;

use aws_config::SdkConfig;
use tokio::time::sleep;

pub(crate) use self::connect::Options;

use crate::{
    client::attempt::{Answer, attempt},
    environment::{Settings, variable},
    error::CommandError,
    host::Host,
    json, model,
    operation::Operation,
    value::{Map, Value},
};

/// How often botocore's legacy mode tries.
const MAX_ATTEMPTS: u32 = 5;

/// A client of one account and Region.
pub(crate) struct Client {
    config: SdkConfig,
    ssm: aws_sdk_ssm::Client,
    max_attempts: u32,
    has_iso_dates: bool,
}

impl Client {
    /// Opens a client; credentials are looked for when the first call is made.
    pub(crate) async fn open(
        options: &Options,
        settings: &Settings,
        host: &Host,
    ) -> Result<Self, String> {
        let config = connect::config(options, settings, host).await?;
        let mut builder = aws_sdk_ssm::config::Builder::from(&config);
        if !options.signs {
            builder = builder.allow_no_auth();
        }
        let ssm = aws_sdk_ssm::Client::from_conf(builder.build());
        let max_attempts = settings.variable_or("AWS_MAX_ATTEMPTS", "max_attempts");
        let max_attempts = max_attempts.and_then(|it| it.parse().ok()).unwrap_or(MAX_ATTEMPTS);
        let has_iso_dates = match settings.get("cli_timestamp_format") {
            None | Some("wire" | "none") => false,
            Some("iso8601") => true,
            Some(other) => {
                return Err(format!(
                    "Unknown cli_timestamp_format value: {other}, valid values are \"none\", \
                     \"wire\" or \"iso8601\""
                ));
            }
        };
        Ok(Self { config, ssm, max_attempts, has_iso_dates })
    }

    /// Makes a call: what botocore keeps of the answer, or its message.
    pub(crate) async fn call(
        &self,
        operation: &Operation,
        params: &Map,
    ) -> Result<Value, CommandError> {
        check(operation, params)?;
        connect::check_credentials(&self.config).await?;
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
                Err(CommandError::Failed(format!(
                    "An error occurred ({code}) when calling the {} operation{}: {message}",
                    operation.name,
                    if is_last { retries.as_str() } else { "" }
                )))
            }
            Answer::Unreached { message, .. } => Err(CommandError::Failed(message)),
        }
    }

    fn known(&self, operation: &Operation, body: &Value) -> Value {
        let Value::Map(map) = body else { return Value::Map(Map::default()) };
        let known = operation.output.known(map);
        if self.has_iso_dates { operation.output.with_iso_dates(&known) } else { known }
    }
}

/// Refuses parameters that botocore would not send.
pub(crate) fn check(operation: &Operation, params: &Map) -> Result<(), String> {
    let wrong = model::check(params, &operation.input);
    if wrong.is_empty() {
        return Ok(());
    }
    Err(format!("Parameter validation failed:\n{}", wrong.join("\n")))
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

/// The Region, as the AWS CLI finds it; and that of other SDKs where it would find none.
pub(crate) fn region(option: Option<&str>, settings: &Settings) -> Option<String> {
    option
        .map(Into::into)
        .or_else(|| settings.variable_or("AWS_DEFAULT_REGION", "region"))
        .or_else(|| variable("AWS_REGION"))
}
