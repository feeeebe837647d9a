//! `--debug`: shows each API call in one line on standard error, also those that look for
//! credentials.
//!
//! Headers, queries and bodies are not shown, because they contain credentials.

use std::time::Instant;

use aws_smithy_runtime_api::client::{
    http::{
        HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
        SharedHttpConnector,
    },
    orchestrator::{HttpRequest, HttpResponse},
    result::ConnectorError,
    runtime_components::RuntimeComponents,
};
use aws_smithy_types::{body::SdkBody, byte_stream::ByteStream};
use reaper_core::printable::printable;
use session_reaper::aws::ATTEMPT;

use crate::stdio::eprintln;

/// The same client; each of its calls is shown.
pub(crate) fn shown(client: SharedHttpClient) -> SharedHttpClient {
    SharedHttpClient::new(Shown(client))
}

#[derive(Debug)]
struct Shown<T>(T);

impl HttpClient for Shown<SharedHttpClient> {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(Shown(self.0.http_connector(settings, components)))
    }
}

impl HttpConnector for Shown<SharedHttpConnector> {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let line = Line::new(&request);
        let answer = self.0.call(request);
        HttpConnectorFuture::new(async move {
            match answer.await {
                Ok(response) => line.answered(response).await,
                Err(err) => {
                    line.finish(&root_cause(&err));
                    Err(err)
                }
            }
        })
    }
}

/// The innermost source of an error.
pub(crate) fn root_cause(err: &(dyn std::error::Error + 'static)) -> String {
    session_reaper::aws::sources(err).last().map(ToString::to_string).unwrap_or_default()
}

/// A call in progress. It is also shown if it is cancelled.
struct Line {
    call: String,
    started_at: Instant,
    is_shown: bool,
}

impl Line {
    fn new(request: &HttpRequest) -> Self {
        let header = |name: &str| request.headers().get(name).unwrap_or_default();
        let body = request.body().bytes().unwrap_or_default();
        let (_, rest) = request.uri().split_once("://").unwrap_or_default();
        let host = rest.split(['/', '?']).next().unwrap_or_default();
        let host = host.rsplit('@').next().unwrap_or_default(); // Without a password.
        let operation = match header("x-amz-target").split_once('.') {
            Some((_, operation)) => operation,
            None => action(body).unwrap_or_else(|| request.method()),
        };
        // The SDK counts its own attempts, and this project's library counts its own.
        let attempt = header("amz-sdk-request").strip_prefix("attempt=");
        let attempt = attempt.and_then(|it| it.split(';').next()?.parse().ok()).unwrap_or(1);
        let attempt = ATTEMPT.try_with(|it| *it).unwrap_or(1).max(attempt);
        let call = format!("{operation} at {host}, attempt {attempt}");
        Self { call, started_at: Instant::now(), is_shown: false }
    }

    async fn answered(self, mut response: HttpResponse) -> Result<HttpResponse, ConnectorError> {
        let status = response.status();
        let mut what = vec![status.as_u16().to_string()];
        if !status.is_success() {
            let body = std::mem::replace(response.body_mut(), SdkBody::taken());
            let body = match ByteStream::new(body).collect().await {
                Ok(body) => body.into_bytes(),
                Err(err) => {
                    self.finish(&root_cause(&err));
                    return Err(ConnectorError::io(err.into()));
                }
            };
            what.extend(code(&body));
            *response.body_mut() = SdkBody::from(body);
        }
        let request_id = response.headers().get("x-amzn-requestid");
        let request_id = request_id.map(|it| format!(", request {it}")).unwrap_or_default();
        self.finish(&(what.join(" ") + &request_id));
        Ok(response)
    }

    fn finish(mut self, what: &str) {
        self.show(what);
    }

    fn show(&mut self, what: &str) {
        let Self { call, started_at, .. } = self;
        let text = format!("{call}: {what}, {} ms", started_at.elapsed().as_millis());
        eprintln!("debug: {}", printable(&text));
        self.is_shown = true;
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if !self.is_shown {
            self.show("no answer");
        }
    }
}

/// The operation of a request in the query protocol.
fn action(body: &[u8]) -> Option<&str> {
    let body = std::str::from_utf8(body).ok()?;
    body.split('&').find_map(|it| it.strip_prefix("Action="))
}

/// The code of an error, in JSON or in XML.
fn code(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    if let Some((_, rest)) = text.split_once("<Code>") {
        return Some(rest.split('<').next()?.into());
    }
    let json: serde_json::Value = serde_json::from_str(text).ok()?;
    let code = ["__type", "code"].into_iter().find_map(|it| json.get(it)?.as_str())?;
    Some(code.split(':').next()?.rsplit('#').next()?.into())
}
