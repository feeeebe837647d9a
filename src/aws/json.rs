//! Calls in AWS's JSON protocol.

use aws_smithy_runtime_api::client::{orchestrator::HttpResponse, result::SdkError};
use aws_smithy_types::error::metadata::ErrorMetadata;
use jiff::Timestamp;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    bounded::checked,
    date::date,
    service::{Request, Service, Unread},
};

impl Service {
    /// One attempt of the operation that the protocol names `target`.
    pub(super) async fn json<T: DeserializeOwned>(
        &self,
        target: &str,
        body: &impl Serialize,
    ) -> Result<T, SdkError<ErrorMetadata, HttpResponse>> {
        self.json_as(target, body, |json, _date| serde_json::from_str(json)).await
    }

    /// The same, with what reads the answer: its text, and its `Date` if it has one.
    pub(super) async fn json_as<T>(
        &self,
        target: &str,
        body: &impl Serialize,
        read: impl FnOnce(&str, Option<Timestamp>) -> serde_json::Result<T>,
    ) -> Result<T, SdkError<ErrorMetadata, HttpResponse>> {
        let body = serde_json::to_vec(body).map_err(SdkError::construction_failure)?;
        let request = Request::json(target, body);
        self.send(request, |answer, body| accepted(answer, body, read)).await
    }
}

fn accepted<T>(
    answer: &HttpResponse,
    body: Vec<u8>,
    read: impl FnOnce(&str, Option<Timestamp>) -> serde_json::Result<T>,
) -> Result<T, Unread> {
    let is_success = answer.status().is_success();
    let body = checked(body, is_success).map_err(|err| Unread::Unintelligible(err.into()))?;
    if is_success && !body.trim_ascii_start().starts_with(b"{") {
        return Err(Unread::Unintelligible("the answer is no object".into())); // Serde takes a list for one.
    }
    if is_success {
        let json = str::from_utf8(&body).map_err(|err| Unread::Unintelligible(err.into()))?;
        return read(json, date(answer)).map_err(|err| Unread::Unintelligible(err.into()));
    }
    let status = answer.status().as_u16();
    let fields = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let text = |name| fields.get(name).and_then(Value::as_str);
    let code = answer.headers().get("x-amzn-errortype").or_else(|| text("__type"));
    let code = bare(code.or_else(|| text("code")).unwrap_or_default());
    let message = text("message").or_else(|| text("Message")); // Some services have a capital.
    Err(Unread::refused(status, code, message.unwrap_or_default()))
}

/// An error's code without the name space that some services write before it, or the address after it.
fn bare(code: &str) -> &str {
    let code = code.split_once(':').map_or(code, |(code, _)| code);
    code.rsplit_once('#').map_or(code, |(_, code)| code)
}

#[cfg(test)]
mod tests {
    use aws_smithy_runtime_api::http::StatusCode;
    use aws_smithy_types::body::SdkBody;
    use serde_json::Value;

    use super::*;

    /// Where services write the code of an error, and its message.
    #[test]
    #[rustfmt::skip]
    fn refusals() {
        let table = [
            // x-amzn-errortype  body                                          code             message
            ("",                 r#"{"__type": "Denied", "message": "no"}"#,   Some("Denied"),  "no"),
            ("",                 r#"{"__type": "a.b#Denied", "Message": "no"}"#, Some("Denied"), "no"),
            ("",                 r#"{"__type": "Denied:http://a/"}"#,          Some("Denied"),  ""),
            ("Denied:http://a/#b", r#"{"message": "no"}"#,                     Some("Denied"),  "no"),
        ];
        for (header, body, code, message) in table {
            let status = StatusCode::try_from(400).expect("a status");
            let mut response = HttpResponse::new(status, SdkBody::empty());
            if !header.is_empty() {
                response.headers_mut().insert("x-amzn-errortype", header);
            }
            let read = |json: &str, _| serde_json::from_str::<Value>(json);
            let refused = accepted(&response, body.into(), read);
            let Err(Unread::Refused(err)) = refused else { panic!("{refused:?}") };
            assert_eq!((err.code(), err.message().unwrap_or_default()), (code, message), "{body}");
        }
    }

    /// An error without a code is that of a proxy, say, unless its status tells enough.
    #[test]
    fn errors_without_a_code() {
        for (status, is_refused) in [(302, false), (403, false), (429, true), (503, true)] {
            let code = StatusCode::try_from(status).expect("a status");
            let response = HttpResponse::new(code, SdkBody::empty());
            for body in ["<html>", "", "{}"] {
                let read = |json: &str, _| serde_json::from_str::<Value>(json);
                let found = accepted(&response, body.into(), read);
                assert_eq!(matches!(found, Err(Unread::Refused(_))), is_refused, "{status} {body}");
                assert!(found.is_err());
            }
        }
    }
}
