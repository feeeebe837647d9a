//! One attempt of one call. The SDK sends it; its raw answer is read here, because the SDK's types drop
//! what botocore keeps.

use std::{
    error::Error,
    sync::{Arc, Mutex, PoisonError},
};

use aws_sdk_ssm::{
    config::{
        ConfigBag, Intercept, RuntimeComponents,
        interceptors::{
            AfterDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextMut,
        },
    },
    error::{BoxError, SdkError},
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;

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

/// What was seen on the wire.
#[derive(Debug, Default)]
struct Seen {
    url: String,
    answer: Option<(u16, Vec<u8>)>,
}

#[derive(Clone, Debug, Default)]
struct Witness {
    /// The number of this attempt. The SDK makes only one per call, and writes its number into each
    /// request.
    n_attempts: u32,
    seen: Arc<Mutex<Seen>>,
}

pub(super) async fn attempt(
    client: &aws_sdk_ssm::Client,
    operation: &Operation,
    body: &str,
    n_attempts: u32,
) -> Answer {
    let witness = Witness { n_attempts, ..Witness::default() };
    let body = body.to_owned();
    let replace = move |request: &mut HttpRequest| {
        request.headers_mut().insert("content-length", body.len().to_string());
        *request.body_mut() = SdkBody::from(body.clone());
    };
    let error = if operation.name == "TerminateSession" {
        let call = client.terminate_session().customize();
        let call = call.mutate_request(replace).interceptor(witness.clone());
        call.send().await.err().map(|it| describe(&it))
    } else {
        let call = client.describe_sessions().customize();
        let call = call.mutate_request(replace).interceptor(witness.clone());
        call.send().await.err().map(|it| describe(&it))
    };
    let seen = std::mem::take(&mut *witness.seen.lock().unwrap_or_else(PoisonError::into_inner));
    match seen.answer {
        Some((200..300, body)) => accepted(operation, &body),
        Some((status, body)) => {
            let body = String::from_utf8_lossy(&body);
            refused(status, &body).unwrap_or_else(|err| unreadable(&err))
        }
        None => error.unwrap_or_default().unreached(&seen.url),
    }
}

impl Intercept for Witness {
    fn name(&self) -> &'static str {
        "Witness"
    }

    fn modify_before_transmit(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let attempt = format!("attempt={}", self.n_attempts);
        context.request_mut().headers_mut().insert("amz-sdk-request", attempt);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        context.request().uri().clone_into(&mut seen.url);
        Ok(())
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response();
        let Some(body) = response.body().bytes() else { return Ok(()) }; // It was cut off.
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.answer = Some((response.status().as_u16(), body.to_vec()));
        Ok(())
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

/// Why there was no answer.
#[derive(Default)]
struct Failure {
    /// The messages of the error and of its sources.
    chain: String,
}

fn describe<E: Error + 'static, R: std::fmt::Debug + 'static>(error: &SdkError<E, R>) -> Failure {
    let first: &(dyn Error + 'static) = error;
    let chain = std::iter::successors(Some(first), |&it| it.source());
    Failure { chain: chain.map(ToString::to_string).collect::<Vec<_>>().join(": ") }
}

impl Failure {
    /// Botocore's message for it.
    fn unreached(&self, url: &str) -> Answer {
        // The SDK ends every path with a slash.
        let url = url.strip_suffix('/').filter(|it| it.matches('/').count() > 2).unwrap_or(url);
        let has = |part: &str| self.chain.contains(part);
        let message = if has("connect timeout") {
            format!("Connect timeout on endpoint URL: \"{url}\"")
        } else if has("read timeout") {
            format!("Read timeout on endpoint URL: \"{url}\"")
        } else if has("certificate") {
            format!("SSL validation failed for {url} {}", self.chain)
        } else if has("tcp connect error") || has("dns error") || has("(Connect)") {
            format!("Could not connect to the endpoint URL: \"{url}\"")
        } else if url.is_empty() || has("length limit exceeded") {
            return Answer::Unreached { message: self.chain.clone(), may_pass: false };
        } else {
            format!(
                "Connection was closed before we received a valid response from endpoint URL: \
                 \"{url}\"."
            )
        };
        Answer::Unreached { message, may_pass: true }
    }
}
