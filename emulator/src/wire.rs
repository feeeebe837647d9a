//! The protocol: how a call arrives, and how AWS words its answers and errors.

use bytes::Bytes;
use http::{Request, Response, StatusCode, header::CONTENT_TYPE};
use serde_json::{Value, json};

/// An error, as AWS words it.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    pub(crate) status: u16,
    pub(crate) code: String,
    pub(crate) body: Value,
}

/// A request, read as far as its protocol goes.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) operation: String,
    pub(crate) body: Value,
    /// The caller's, unless the request is not signed.
    pub(crate) access_key: Option<String>,
}

impl ApiError {
    pub(crate) fn new(status: u16, code: &str, message: &str) -> Self {
        let body = json!({"__type": code, "message": message});
        Self { status, code: code.into(), body }
    }

    /// Modelled errors spell their message's name with a capital.
    pub(crate) fn modelled(status: u16, code: &str, message: &str) -> Self {
        let body = json!({"__type": code, "Message": message});
        Self { status, code: code.into(), body }
    }

    pub(crate) fn access_denied(operation: &str, resource: &str) -> Self {
        let service = if operation == "GetResources" { "tag" } else { "ssm" };
        let message = format!(
            "User: arn:aws:sts::123456789012:assumed-role/session-reaper/session-reaper is not \
             authorized to perform: {service}:{operation} on resource: {resource} because no \
             identity-based policy allows the {service}:{operation} action"
        );
        Self::modelled(400, "AccessDeniedException", &message)
    }

    pub(crate) fn internal_error() -> Self {
        Self::modelled(500, "InternalServerError", "An error occurred on the server side.")
    }

    pub(crate) fn invalid_token() -> Self {
        Self::modelled(400, "InvalidNextToken", "The specified token isn't valid.")
    }

    pub(crate) fn not_in_a_valid_state() -> Self {
        Self::new(400, "ValidationException", "Session is not in a valid state")
    }

    pub(crate) fn throttled() -> Self {
        Self::new(400, "ThrottlingException", "Rate exceeded")
    }
}

impl Call {
    /// Reads the operation's name and the body: JSON 1.1, or the query protocol that STS speaks.
    pub(crate) fn read(request: &Request<Bytes>) -> Self {
        let header = |name: &str| request.headers().get(name).and_then(|it| it.to_str().ok());
        let access_key = header("authorization")
            .and_then(|it| it.strip_prefix("AWS4-HMAC-SHA256 Credential="))
            .and_then(|it| Some(it.split_once('/')?.0.to_owned()));
        let target = header("x-amz-target").unwrap_or_default();
        let (operation, body) = match target.split_once('.') {
            Some(("AmazonSSM" | "ResourceGroupsTaggingAPI_20170126", operation)) => {
                (operation, serde_json::from_slice(request.body()).unwrap_or_default())
            }
            Some(_) => ("", Value::Null),
            None => {
                let text = String::from_utf8_lossy(request.body());
                let is_identity = text.split('&').any(|it| it == "Action=GetCallerIdentity");
                (if is_identity { "GetCallerIdentity" } else { "" }, json!({}))
            }
        };
        Self { operation: operation.into(), body, access_key }
    }

    /// Whether there is a signature; nobody checks it.
    pub(crate) fn is_signed(&self) -> bool {
        self.access_key.is_some()
    }

    /// The session that the call names.
    pub(crate) fn session(&self) -> Option<&str> {
        self.body.get("SessionId").and_then(Value::as_str)
    }
}

/// An answer in JSON 1.1.
pub(crate) fn json_response(status: u16, body: &Value) -> Response<Bytes> {
    response(status, "application/x-amz-json-1.1", body.to_string())
}

/// STS's answer, in XML.
pub(crate) fn identity_response(arn: &str, account: &str) -> Response<Bytes> {
    let body = format!(
        r#"<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <GetCallerIdentityResult>
    <Arn>{arn}</Arn>
    <UserId>AROAEMULATOR:emulator</UserId>
    <Account>{account}</Account>
  </GetCallerIdentityResult>
  <ResponseMetadata><RequestId>00000000-0000-0000-0000-000000000000</RequestId></ResponseMetadata>
</GetCallerIdentityResponse>"#
    );
    response(200, "text/xml", body)
}

/// What stands in for the token of a data channel: nobody listens there.
pub(crate) const TOKEN_VALUE: &str = "AAEAAemulator";

/// Where a session's data channel would be.
pub(crate) fn stream_url(region: &str, id: &str) -> String {
    format!("wss://ssmmessages.{region}.amazonaws.com/v1/data-channel/{id}?role=publish_subscribe")
}

/// Any answer.
pub(crate) fn response(status: u16, content_type: &'static str, body: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    let id = http::HeaderValue::from_static("00000000-0000-0000-0000-000000000000");
    headers.insert("x-amzn-requestid", id);
    response
}
