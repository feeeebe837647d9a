//! The protocol: parses calls, and writes answers and errors as AWS does.

use bytes::Bytes;
use http::{
    HeaderValue, Request, Response, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
};
use jiff::{SignedDuration, Timestamp, civil::DateTime, tz::TimeZone};
use serde_json::{Map, Value, json};

/// An error of AWS's.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    pub(crate) status: u16,
    pub(crate) code: String,
    pub(crate) body: Value,
}

/// A request whose protocol has been parsed, but not yet its content.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) operation: String,
    pub(crate) body: Value,
    /// Whether it uses STS's query protocol instead of JSON 1.1.
    pub(crate) is_query: bool,
    /// The caller's access key, if the request is signed.
    pub(crate) access_key: Option<String>,
    /// When it was signed.
    pub(crate) signed_at: Option<Timestamp>,
}

impl ApiError {
    pub(crate) fn new(status: u16, code: &str, message: &str) -> Self {
        let body = json!({"__type": code, "message": message});
        Self { status, code: code.into(), body }
    }

    /// Modelled errors write the name `Message` with a capital.
    pub(crate) fn modelled(status: u16, code: &str, message: &str) -> Self {
        let body = json!({"__type": code, "Message": message});
        Self { status, code: code.into(), body }
    }

    pub(crate) fn access_denied(call: &Call) -> Self {
        let operation = &call.operation;
        let service = match operation.as_str() {
            _ if call.is_query => "sts",
            "GetResources" => "tag",
            _ => "ssm",
        };
        let session = |id| format!("arn:aws:ssm:eu-central-1:123456789012:session/{id}");
        let resource = call.text("SessionId").map(session);
        let document = |name| format!("arn:aws:ssm:eu-central-1:123456789012:document/{name}");
        let name = call.text("Name").filter(|_| operation == "GetDocument");
        let resource = resource.or_else(|| name.map(document));
        let resource = resource.or_else(|| call.text("RoleArn").map(Into::into));
        let resource = resource.unwrap_or_else(|| "*".into());
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

    pub(crate) fn no_such_document(name: &str) -> Self {
        Self::modelled(
            400,
            "InvalidDocument",
            &format!("Document with name {name} does not exist."),
        )
    }

    pub(crate) fn no_such_document_version() -> Self {
        let message = "The document version isn't valid or doesn't exist.";
        Self::modelled(400, "InvalidDocumentVersion", message)
    }

    pub(crate) fn not_in_a_valid_state() -> Self {
        Self::new(400, "ValidationException", "Session is not in a valid state")
    }

    pub(crate) fn signed_at_another_time(
        at: Timestamp,
        now: Timestamp,
        max: SignedDuration,
    ) -> Self {
        let said = |it: Timestamp| it.strftime(SIGNED_AT).to_string();
        let (signed, here, minutes) = (said(at), said(now), max.as_mins());
        let message = if at < now {
            let limit = said(now - max);
            format!(
                "Signature expired: {signed} is now earlier than {limit} ({here} - {minutes} min.)"
            )
        } else {
            let limit = said(now + max);
            format!(
                "Signature not yet current: {signed} is still later than {limit} ({here} + {minutes} \
                 min.)"
            )
        };
        Self::new(400, "InvalidSignatureException", &message)
    }

    pub(crate) fn throttled() -> Self {
        Self::new(400, "ThrottlingException", "Rate exceeded")
    }
}

impl Call {
    /// Parses the operation's name and the body, in JSON 1.1 or in STS's query protocol.
    pub(crate) fn read(request: &Request<Bytes>) -> Self {
        let header = |name: &str| request.headers().get(name).and_then(|it| it.to_str().ok());
        let access_key = header("authorization")
            .and_then(|it| it.strip_prefix("AWS4-HMAC-SHA256 Credential="))
            .and_then(|it| Some(it.split_once('/')?.0.to_owned()));
        let signed_at = header("x-amz-date").and_then(|it| {
            let civil = DateTime::strptime(SIGNED_AT, it).ok()?;
            Some(civil.to_zoned(TimeZone::UTC).ok()?.timestamp())
        });
        let target = header("x-amz-target").unwrap_or_default();
        let (operation, body) = match target.split_once('.') {
            Some(("AmazonSSM" | "ResourceGroupsTaggingAPI_20170126", operation)) => {
                let body = serde_json::from_slice(request.body()).unwrap_or_default();
                (operation.into(), body)
            }
            Some(_) => (String::new(), Value::Null),
            None => {
                let mut form = Map::new();
                for (name, value) in form_urlencoded::parse(request.body()) {
                    form.insert(name.into_owned(), value.into());
                }
                let operation = match form.remove("Action") {
                    Some(Value::String(it)) if STS.contains(&it.as_str()) => it,
                    _ => String::new(),
                };
                form.remove("Version");
                (operation, form.into())
            }
        };
        Self { operation, body, is_query: target.is_empty(), access_key, signed_at }
    }

    /// Whether there is a signature. It is not verified.
    pub(crate) fn is_signed(&self) -> bool {
        self.access_key.is_some()
    }

    /// The session that the call names.
    pub(crate) fn session(&self) -> Option<&str> {
        self.text("SessionId")
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.body.get(name).and_then(Value::as_str)
    }
}

/// The operations of STS.
const STS: [&str; 2] = ["AssumeRole", "GetCallerIdentity"];

/// How a signature tells its time.
const SIGNED_AT: &str = "%Y%m%dT%H%M%SZ";

/// A header's value for an instant.
pub(crate) fn date(at: Timestamp) -> HeaderValue {
    let text = at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""))
}

/// An answer in JSON 1.1.
pub(crate) fn json_response(status: u16, body: &Value) -> Response<Bytes> {
    response(status, "application/x-amz-json-1.1", body.to_string())
}

/// An answer of STS's, in XML: elements with text or with further elements.
pub(crate) fn query_response(operation: &str, result: &Value) -> Response<Bytes> {
    let result = xml(result);
    let body = format!(
        "<{operation}Response xmlns=\"{STS_NAMESPACE}\">\
         <{operation}Result>{result}</{operation}Result>\
         <ResponseMetadata><RequestId>{REQUEST_ID}</RequestId></ResponseMetadata>\
         </{operation}Response>"
    );
    response(200, "text/xml", body)
}

/// An error in the protocol of the call. STS has other codes and statuses for some errors.
pub(crate) fn error_response(call: &Call, error: &ApiError) -> Response<Bytes> {
    if !call.is_query {
        return json_response(error.status, &error.body);
    }
    let (status, code) = match error.code.as_str() {
        "AccessDeniedException" => (403, "AccessDenied"),
        "InternalServerError" => (500, "InternalFailure"),
        "InvalidSignatureException" => (403, "SignatureDoesNotMatch"),
        "MissingAuthenticationTokenException" => (403, "MissingAuthenticationToken"),
        "ThrottlingException" => (400, "Throttling"),
        "UnknownOperationException" => (400, "InvalidAction"),
        "ValidationException" => (400, "ValidationError"),
        other => (error.status, other),
    };
    let message = ["message", "Message"].into_iter().find_map(|it| error.body.get(it));
    let from = if status < 500 { "Sender" } else { "Receiver" };
    let fields = xml(&json!({"Type": from, "Code": code, "Message": message}));
    let body = format!(
        "<ErrorResponse xmlns=\"{STS_NAMESPACE}\"><Error>{fields}</Error>\
         <RequestId>{REQUEST_ID}</RequestId></ErrorResponse>"
    );
    response(status, "text/xml", body)
}

fn xml(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let element = |(name, it): (&String, &Value)| format!("<{name}>{}</{name}>", xml(it));
            fields.iter().map(element).collect()
        }
        Value::String(text) => text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;"),
        Value::Array(_) | Value::Bool(_) | Value::Null | Value::Number(_) => String::new(),
    }
}

const STS_NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

const REQUEST_ID: &str = "00000000-0000-0000-0000-000000000000";

/// Stands in for the token of a data channel, which does not exist.
pub(crate) const TOKEN_VALUE: &str = "AAEAAemulator";

/// The URL of a session's data channel, which does not exist.
pub(crate) fn stream_url(region: &str, id: &str) -> String {
    format!("wss://ssmmessages.{region}.amazonaws.com/v1/data-channel/{id}?role=publish_subscribe")
}

/// The first half of an answer, with the `Content-Length` of the whole.
pub(crate) fn cut_off(whole: Response<Bytes>) -> Response<Bytes> {
    let length = whole.body().len();
    let mut half = whole.map(|body| body.slice(..length / 2));
    half.headers_mut().insert(CONTENT_LENGTH, length.into());
    half
}

/// An answer.
pub(crate) fn response(status: u16, content_type: &'static str, body: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    let id = HeaderValue::from_static(REQUEST_ID);
    headers.insert("x-amzn-requestid", id);
    response
}

/// Seconds since 1970 with milliseconds, as in AWS's JSON.
#[expect(clippy::cast_precision_loss, reason = "milliseconds of our time fit a double")]
pub(crate) fn epoch_seconds(at: Timestamp) -> Value {
    json!(at.as_millisecond() as f64 / 1_000.0)
}
