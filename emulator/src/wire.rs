//! The protocol: parses calls, and writes answers and errors as AWS does.

use bytes::Bytes;
use http::{
    HeaderValue, Request, Response, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
};
use jiff::{SignedDuration, Timestamp, civil::DateTime, tz::TimeZone};
use reaper_core::arn::Arn;
use serde_json::{Map, Value, json};

use crate::{
    events,
    organization::{ObjectRequest, Route},
};

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
    pub(crate) protocol: Protocol,
    /// The caller's access key, if the request is signed.
    pub(crate) access_key: Option<String>,
    /// When it was signed.
    pub(crate) signed_at: Option<Timestamp>,
    /// The Region for which it was signed.
    pub(crate) signed_for: Option<String>,
    /// Who makes the call, and where, if it was routed by an organization.
    pub(crate) route: Option<Route>,
    /// What is asked of S3.
    pub(crate) object: Option<ObjectRequest>,
}

/// How a call is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Protocol {
    /// JSON 1.1: of Systems Manager, Resource Groups Tagging and EventBridge.
    Json,
    /// JSON 1.1: of Organizations, which has other codes for some errors.
    Organizations,
    /// The query protocol: of STS.
    Query,
    /// REST with XML: of S3.
    Rest,
}

impl ApiError {
    pub(crate) fn new(status: u16, code: &str, message: &str) -> Self {
        let body = json!({"__type": code, "message": message});
        Self { status, code: code.into(), body }
    }

    /// AWS's code for an operation that it does not have, with a message of the emulator's own.
    pub(crate) fn unknown_operation(call: &Call) -> Self {
        let has = match call.protocol {
            Protocol::Json => {
                "DescribeSessions, StartSession, TerminateSession, GetDocument and GetParameter of \
                 Systems Manager, and GetResources of Resource Groups Tagging"
            }
            Protocol::Organizations => "ListAccounts of Organizations, with --organization",
            Protocol::Query => "AssumeRole and GetCallerIdentity of STS",
            Protocol::Rest => "GetObject, ListObjectsV2 and PutObject of S3, with --organization",
        };
        let message = format!("the emulator does not have {}: it has {has}", call.operation);
        Self::new(400, "UnknownOperationException", &message)
    }

    /// Modelled errors write the name `Message` with a capital.
    pub(crate) fn modelled(status: u16, code: &str, message: &str) -> Self {
        let body = json!({"__type": code, "Message": message});
        Self { status, code: code.into(), body }
    }

    pub(crate) fn access_denied(call: &Call) -> Self {
        let operation = match &*call.operation {
            "ListObjectsV2" => "ListBucket", // Of S3's actions, one is called otherwise.
            operation => operation,
        };
        let service = match call.protocol {
            Protocol::Json if operation == "GetResources" => "tag",
            Protocol::Json if operation == "PutEvents" => "events",
            Protocol::Json => "ssm",
            Protocol::Organizations => "organizations",
            Protocol::Query => "sts",
            Protocol::Rest => "s3",
        };
        let (user, account, region) = match &call.route {
            Some(Route { arn, account, region, .. }) => (&**arn, &**account, &**region),
            None => (SOME_CALLER, "123456789012", "eu-central-1"),
        };
        let session = |id| format!("arn:aws:ssm:{region}:{account}:session/{id}");
        let resource = call.text("SessionId").map(session);
        let document = |name| format!("arn:aws:ssm:{region}:{account}:document/{name}");
        let name = call.text("Name").filter(|_| operation == "GetDocument");
        let resource = resource.or_else(|| name.map(document));
        let resource = resource.or_else(|| call.text("RoleArn").map(Into::into));
        let bus = |name: &str| {
            let is_arn = name.starts_with("arn:");
            let arn = || format!("arn:aws:events:{region}:{account}:event-bus/{name}");
            if is_arn { name.to_owned() } else { arn() }
        };
        let resource = resource.or_else(|| events::bus(&call.body).map(bus));
        let resource = resource.unwrap_or_else(|| "*".into());
        let message = format!(
            "User: {user} is not authorized to perform: {service}:{operation} on resource: \
             {resource} because no identity-based policy allows the {service}:{operation} action"
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

    pub(crate) fn not_signed() -> Self {
        let message = "Request is missing Authentication Token";
        Self::new(400, "MissingAuthenticationTokenException", message)
    }

    pub(crate) fn token_expired() -> Self {
        let message = "The security token included in the request is expired";
        Self::new(400, "ExpiredTokenException", message)
    }

    /// Keys that are not of any account; or a Region that is off.
    pub(crate) fn unrecognized_client() -> Self {
        let message = "The security token included in the request is invalid.";
        Self::new(400, "UnrecognizedClientException", message)
    }

    pub(crate) fn throttled() -> Self {
        Self::new(400, "ThrottlingException", "Rate exceeded")
    }

    /// The same error as the service of this protocol answers it.
    pub(crate) fn of_service(mut self, protocol: Protocol) -> Self {
        let renamed = match protocol {
            Protocol::Json => None,
            Protocol::Organizations => of_organizations(&self.code),
            Protocol::Query => of_sts(&self.code),
            Protocol::Rest => of_s3(&self.code),
        };
        if let Some((status, code)) = renamed {
            self.status = status;
            self.code = code.into();
            if let Some(fields) = self.body.as_object_mut() {
                fields.insert("__type".into(), code.into());
            }
        }
        self
    }
}

fn of_organizations(code: &str) -> Option<(u16, &'static str)> {
    Some(match code {
        "InternalServerError" => (500, "ServiceException"),
        "InvalidNextToken" => (400, "InvalidInputException"),
        "ThrottlingException" => (400, "TooManyRequestsException"),
        _ => return None,
    })
}

fn of_s3(code: &str) -> Option<(u16, &'static str)> {
    Some(match code {
        "AccessDeniedException" | "MissingAuthenticationTokenException" => (403, "AccessDenied"),
        "ExpiredTokenException" => (400, "ExpiredToken"),
        "InternalServerError" => (500, "InternalError"),
        "InvalidSignatureException" => (403, "RequestTimeTooSkewed"),
        "ThrottlingException" => (503, "SlowDown"),
        "UnknownOperationException" => (501, "NotImplemented"),
        "UnrecognizedClientException" => (403, "InvalidAccessKeyId"),
        _ => return None,
    })
}

fn of_sts(code: &str) -> Option<(u16, &'static str)> {
    Some(match code {
        "AccessDeniedException" => (403, "AccessDenied"),
        "ExpiredTokenException" => (403, "ExpiredToken"),
        "InternalServerError" => (500, "InternalFailure"),
        "InvalidSignatureException" => (403, "SignatureDoesNotMatch"),
        "MissingAuthenticationTokenException" => (403, "MissingAuthenticationToken"),
        "ThrottlingException" => (400, "Throttling"),
        "UnknownOperationException" => (400, "InvalidAction"),
        "UnrecognizedClientException" => (403, "InvalidClientTokenId"),
        "ValidationException" => (400, "ValidationError"),
        _ => return None,
    })
}

impl Call {
    /// Parses the operation's name and the body, in JSON 1.1 or in STS's query protocol.
    pub(crate) fn read(request: &Request<Bytes>) -> Self {
        let header = |name: &str| request.headers().get(name).and_then(|it| it.to_str().ok());
        let credential = header("authorization")
            .and_then(|it| it.strip_prefix("AWS4-HMAC-SHA256 Credential="))
            .and_then(|it| it.split(',').next());
        let mut credential = credential.into_iter().flat_map(|it| it.split('/'));
        let access_key = credential.next().map(Into::into);
        let (signed_for, service) = (credential.nth(1).map(Into::into), credential.next());
        let signed_at = header("x-amz-date").and_then(|it| {
            let civil = DateTime::strptime(SIGNED_AT, it).ok()?;
            Some(civil.to_zoned(TimeZone::UTC).ok()?.timestamp())
        });
        let target = header("x-amz-target").unwrap_or_default();
        let json = || serde_json::from_slice(request.body()).unwrap_or_default();
        let object = (service == Some("s3")).then(|| ObjectRequest::read(request));
        let (protocol, operation, body) = match target.split_once('.') {
            _ if let Some(object) = &object => {
                (Protocol::Rest, object.operation().into(), object.names())
            }
            Some(("AmazonSSM" | "AWSEvents" | "ResourceGroupsTaggingAPI_20170126", operation)) => {
                (Protocol::Json, operation.into(), json())
            }
            Some(("AWSOrganizationsV20161128", operation)) => {
                (Protocol::Organizations, operation.into(), json())
            }
            Some(_) => (Protocol::Json, String::new(), Value::Null),
            None if !target.is_empty() => (Protocol::Json, String::new(), Value::Null),
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
                (Protocol::Query, operation, form.into())
            }
        };
        let route = None;
        Self { operation, body, protocol, access_key, signed_at, signed_for, route, object }
    }

    /// Whether there is a signature. It is not verified.
    pub(crate) fn is_signed(&self) -> bool {
        self.access_key.is_some()
    }

    /// The session that the call names.
    pub(crate) fn session(&self) -> Option<&str> {
        self.text("SessionId")
    }

    /// The account of the role that is to be assumed.
    pub(crate) fn account_of_role(&self) -> Option<&str> {
        Some(Arn::parse(self.text("RoleArn")?)?.account)
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.body.get(name).and_then(Value::as_str)
    }
}

/// The operations of STS.
const STS: [&str; 2] = ["AssumeRole", "GetCallerIdentity"];

/// Who is said to be denied where it is not known who calls.
const SOME_CALLER: &str = "arn:aws:sts::123456789012:assumed-role/session-reaper/session-reaper";

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

/// An error of the service, in its protocol.
pub(crate) fn error_response(protocol: Protocol, error: &ApiError) -> Response<Bytes> {
    let ApiError { status, code, body } = error;
    let message = ["message", "Message"].into_iter().find_map(|it| body.get(it));
    match protocol {
        Protocol::Json | Protocol::Organizations => json_response(*status, body),
        Protocol::Query => {
            let from = if *status < 500 { "Sender" } else { "Receiver" };
            let fields = xml(&json!({"Type": from, "Code": code, "Message": message}));
            let body = format!(
                "<ErrorResponse xmlns=\"{STS_NAMESPACE}\"><Error>{fields}</Error>\
                 <RequestId>{REQUEST_ID}</RequestId></ErrorResponse>"
            );
            response(*status, "text/xml", body)
        }
        Protocol::Rest => {
            let mut fields = body.as_object().cloned().unwrap_or_default();
            fields.retain(|name, _| !["__type", "message", "Message"].contains(&name.as_str()));
            fields.insert("Code".into(), code.as_str().into());
            fields.insert("Message".into(), message.cloned().unwrap_or_default());
            fields.insert("RequestId".into(), REQUEST_ID.into());
            let fields = xml(&fields.into());
            let declaration = r#"<?xml version="1.0" encoding="UTF-8"?>"#;
            let body = format!("{declaration}\n<Error>{fields}</Error>");
            response(*status, "application/xml", body)
        }
    }
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

/// The URL of a session's data channel, which does not exist: no host has such a name (RFC 6761).
pub(crate) fn stream_url(region: &str, id: &str) -> String {
    format!("wss://ssmmessages.{region}.invalid/v1/data-channel/{id}?role=publish_subscribe")
}

/// The first half of an answer, with the `Content-Length` of the whole.
pub(crate) fn cut_off(whole: Response<Bytes>) -> Response<Bytes> {
    let length = whole.body().len();
    let mut half = whole.map(|body| body.slice(..length / 2));
    half.headers_mut().insert(CONTENT_LENGTH, length.into());
    half
}

/// An answer.
pub(crate) fn response(
    status: u16,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Bytes> {
    let mut response = Response::new(body.into());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    let id = HeaderValue::from_static(REQUEST_ID);
    headers.insert("x-amz-request-id", id.clone()); // S3's name of it.
    headers.insert("x-amzn-requestid", id);
    response
}

/// Seconds since 1970 with milliseconds, as in AWS's JSON.
#[expect(clippy::cast_precision_loss, reason = "milliseconds of our time fit a double")]
pub(crate) fn epoch_seconds(at: Timestamp) -> Value {
    json!(at.as_millisecond() as f64 / 1_000.0)
}
