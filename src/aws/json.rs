//! A call of AWS's JSON protocol to a service of which no SDK is part of the build.

use aws_sdk_ssm::{
    config::http::HttpResponse,
    error::{ErrorMetadata, SdkError},
};
use aws_smithy_runtime::client::orchestrator::operation::Operation as Invocation;
use aws_smithy_runtime_api::client::orchestrator::OrchestratorError;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    bounded::ResponseGuard,
    connect::Connect,
    signed::{Signed, origin},
};

/// One operation whose answers have this form.
#[derive(Debug)]
pub(super) struct JsonCall<T> {
    connect: Connect,
    /// As signatures name it.
    service: &'static str,
    /// As the protocol names the operation.
    target: &'static str,
    url: String,
    invocation: Invocation<Signed, T, ErrorMetadata>,
}

/// An error of a service. Some have their message with a capital.
#[derive(Default, Deserialize)]
struct Refusal {
    #[serde(rename = "__type", default)]
    code: String,
    #[serde(alias = "Message", default)]
    message: String,
}

impl<T: std::fmt::Debug + DeserializeOwned + Send + Sync + 'static> JsonCall<T> {
    /// An operation of the service at this endpoint, signed for the Region of the connection.
    pub(super) fn new(
        connect: Connect,
        service: &'static str,
        target: &'static str,
        endpoint: &str,
    ) -> Self {
        let url = format!("{}/", endpoint.trim_end_matches('/'));
        let builder = Invocation::builder()
            .service_name(service)
            .operation_name(target)
            .endpoint_url(origin(&url)) // Its path would come before that of the request.
            .no_auth()
            .no_retry() // `call` retries.
            .interceptor(ResponseGuard)
            .serializer(|it: Signed| it.into_request())
            .deserializer(read);
        let builder = match connect.config().http_client() {
            Some(client) => builder.http_client(client),
            None => builder,
        };
        Self { invocation: builder.build(), connect, service, target, url }
    }

    /// One attempt.
    pub(super) async fn send(
        &self,
        body: &impl Serialize,
    ) -> Result<T, SdkError<ErrorMetadata, HttpResponse>> {
        let Self { connect, service, target, url, invocation } = self;
        let headers = vec![
            ("content-type", "application/x-amz-json-1.1".to_owned()),
            ("x-amz-target", (*target).to_owned()),
        ];
        let signed = match serde_json::to_vec(body) {
            Ok(body) => Signed::sign(connect, service, "POST", url.clone(), headers, body).await,
            Err(err) => Err(err.into()),
        };
        invocation.invoke(signed.map_err(SdkError::construction_failure)?).await
    }
}

fn read<T: DeserializeOwned>(
    response: &HttpResponse,
) -> Result<T, OrchestratorError<ErrorMetadata>> {
    let bytes = response.body().bytes().unwrap_or_default();
    if response.status().is_success() {
        // An empty body is an answer without any field, as the SDKs read it.
        let bytes = if bytes.is_empty() { b"{}" } else { bytes };
        return serde_json::from_slice(bytes).map_err(OrchestratorError::other);
    }
    let refusal: Refusal = serde_json::from_slice(bytes).unwrap_or_default();
    let code = bare(response.headers().get("x-amzn-errortype").unwrap_or(&refusal.code));
    let builder = ErrorMetadata::builder().message(refusal.message);
    let builder = if code.is_empty() { builder } else { builder.code(code) };
    Err(OrchestratorError::operation(builder.build()))
}

/// An error's code without the name space that some services write before it, or the address after it.
fn bare(code: &str) -> &str {
    let code = code.rsplit_once('#').map_or(code, |(_, code)| code);
    code.split_once(':').map_or(code, |(code, _)| code)
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
            ("Denied:http://a/", r#"{"message": "no"}"#,                       Some("Denied"),  "no"),
            ("",                 "<html>",                                     None,            ""),
            ("",                 "",                                           None,            ""),
        ];
        for (header, body, code, message) in table {
            let status = StatusCode::try_from(400).expect("a status");
            let mut response = HttpResponse::new(status, SdkBody::from(body));
            if !header.is_empty() {
                response.headers_mut().insert("x-amzn-errortype", header);
            }
            let err = read::<Value>(&response).expect_err("an error");
            let err = err.as_operation_error().expect("of the service");
            assert_eq!((err.code(), err.message().unwrap_or_default()), (code, message), "{body}");
        }
    }
}
