//! One attempt of one call. Its raw answer is read here, as botocore reads it.

use std::error::Error;

use aws_smithy_runtime_api::client::result::SdkError;
use session_reaper::aws::{Request, Service, sources};

use crate::{
    json,
    operation::Operation,
    value::{Map, Value},
};

/// How an attempt ended.
pub(super) enum Answer {
    Body(Map),
    Refused { status: u16, code: String, message: String },
    Unreached { message: String, may_pass: bool },
}

pub(super) async fn attempt(
    service: &Service,
    operation: &Operation,
    body: &str,
    n_attempts: u32,
) -> Answer {
    let target = format!("AmazonSSM.{}", operation.name);
    let mut request = Request::json(&target, body.into());
    request.headers.push(("amz-sdk-request", format!("attempt={n_attempts}")));
    let answer = service.send(request, |it, body| Ok((it.status().as_u16(), body))).await;
    match answer {
        Ok((200..300, body)) => accepted(operation, &body),
        Ok((status, body)) => {
            let body = String::from_utf8_lossy(&body);
            refused(status, &body).unwrap_or_else(|err| unreadable(&err))
        }
        Err(err) => unreached(&err, service.endpoint()),
    }
}

impl Answer {
    /// Whether botocore's legacy mode would try again.
    pub(super) fn is_worth_another_attempt(&self) -> bool {
        match self {
            Self::Body(_) => false,
            Self::Refused { status: 429 | 500 | 502 | 503 | 504 | 509, .. } => true,
            Self::Refused { status, code, .. } => {
                let codes = [
                    "ProvisionedThroughputExceededException",
                    "RequestThrottledException",
                    "ThrottledException",
                    "Throttling",
                    "ThrottlingException",
                ];
                *status == 400 && codes.contains(&code.as_str())
            }
            Self::Unreached { may_pass, .. } => *may_pass,
        }
    }
}

fn unreadable(err: &json::Error) -> Answer {
    Answer::Unreached { message: err.to_string(), may_pass: false }
}

/// An answer with a status of success. AWS's is a JSON object, with lists and objects where its model has
/// them: whatever else sends one did not carry out the call.
fn accepted(operation: &Operation, body: &[u8]) -> Answer {
    let parsed = std::str::from_utf8(body).ok().map(json::parse);
    match parsed {
        Some(Ok(Value::Map(map))) if operation.output.fits(&map) => Answer::Body(map),
        Some(Err(err @ json::Error::TooDeep(_))) => unreadable(&err),
        Some(Ok(_) | Err(json::Error::Syntax(_))) | None => {
            let message = format!(
                "The answer to the {} operation is not AWS's: check the endpoint URL and any proxy",
                operation.name
            );
            Answer::Unreached { message, may_pass: false }
        }
    }
}

/// Parses the body of an error. One that is not JSON becomes the message; one that is nested too deeply
/// cannot be read.
fn body_of(text: &str) -> Result<Value, json::Error> {
    if text.is_empty() {
        return Ok(Value::Map(Map::default()));
    }
    json::parse(text).or_else(|err| match err {
        json::Error::Syntax(_) => Ok(Value::Map(Map::from([("message", text.into())]))),
        json::Error::TooDeep(_) => Err(err),
    })
}

/// An error as botocore reads it.
fn refused(status: u16, body: &str) -> Result<Answer, json::Error> {
    let text = body.trim();
    if 500 <= status && (text.is_empty() || text.starts_with("<html>")) {
        let reason = aws_smithy_runtime_api::http::StatusCode::try_from(status).ok();
        let message = reason.map(|it| reason_phrase(it.as_u16())).unwrap_or_default().into();
        return Ok(Answer::Refused { status, code: status.to_string(), message });
    }
    let body = body_of(body)?;
    let text = |name: &str| body.get(name).map(Value::text);
    let message = text("message").or_else(|| text("Message")).unwrap_or_default();
    let code = text("__type").unwrap_or_else(|| status.to_string());
    let code = code.split(':').next().unwrap_or_default();
    let code = code.rsplit('#').next().unwrap_or_default().to_owned();
    Ok(Answer::Refused { status, code, message })
}

/// The reason phrases of server errors.
fn reason_phrase(status: u16) -> &'static str {
    match status {
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

/// Botocore's message for why there was no answer.
fn unreached<E: Error + 'static, R: std::fmt::Debug + 'static>(
    err: &SdkError<E, R>,
    url: &str,
) -> Answer {
    let chain = sources(err).map(ToString::to_string).collect::<Vec<_>>().join(": ");
    // Without a path, it has a slash.
    let url = if url.matches('/').count() > 2 { url.to_owned() } else { format!("{url}/") };
    let has = |part: &str| chain.contains(part);
    let message = if has("connect timeout") {
        format!("Connect timeout on endpoint URL: \"{url}\"")
    } else if has("read timeout") {
        format!("Read timeout on endpoint URL: \"{url}\"")
    } else if has("certificate") {
        format!("SSL validation failed for {url} {chain}")
    } else if has("tcp connect error") || has("dns error") || has("(Connect)") {
        format!("Could not connect to the endpoint URL: \"{url}\"")
    } else if matches!(err, SdkError::ConstructionFailure(_)) || has("length limit exceeded") {
        return Answer::Unreached { message: chain, may_pass: false };
    } else {
        format!(
            "Connection was closed before we received a valid response from endpoint URL: \"{url}\"."
        )
    };
    Answer::Unreached { message, may_pass: true }
}
