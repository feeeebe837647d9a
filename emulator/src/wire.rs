//! The protocol: what a request asks for, and how AWS words its answers and errors.

use bytes::Bytes;
use http::{Request, Response, StatusCode, header::CONTENT_TYPE};
use serde_json::{Value, json};

use crate::world::{Filter, Query};

/// What a request asks for.
pub(crate) enum Operation {
    DescribeSessions(Query),
    GetCallerIdentity,
    GetParameter { name: String },
    GetResources { arns: Vec<String> },
    TerminateSession { id: String },
}

/// An error, as AWS words it.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    pub(crate) status: u16,
    pub(crate) code: String,
    pub(crate) body: Value,
}

/// A request, read as far as its protocol goes.
pub(crate) struct Call {
    pub(crate) operation: String,
    pub(crate) body: Value,
    is_signed: bool,
}

impl ApiError {
    pub(crate) fn new(status: u16, code: &str, message: &str) -> Self {
        let body = json!({"__type": code, "message": message});
        Self { status, code: code.into(), body }
    }

    /// Modelled errors spell their message's name with a capital.
    fn modelled(status: u16, code: &str, message: &str) -> Self {
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

    fn constraint(member: &str, value: &str, constraint: &str) -> Self {
        let value = if value.is_empty() { "null".into() } else { format!("'{value}'") };
        let message = format!(
            "1 validation error detected: Value {value} at '{member}' failed to satisfy \
             constraint: {constraint}"
        );
        Self::new(400, "ValidationException", &message)
    }
}

impl Call {
    /// Reads the operation's name and the body: JSON 1.1, or the query protocol that STS speaks.
    pub(crate) fn read(request: &Request<Bytes>) -> Self {
        let header = |name: &str| request.headers().get(name).and_then(|it| it.to_str().ok());
        let is_signed =
            header("authorization").is_some_and(|it| it.starts_with("AWS4-HMAC-SHA256"));
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
        Self { operation: operation.into(), body, is_signed }
    }

    /// The session that the call names.
    pub(crate) fn session(&self) -> Option<&str> {
        self.text("SessionId")
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.body.get(name).and_then(Value::as_str)
    }

    /// What is asked for, if AWS would accept the question.
    pub(crate) fn parse(&self) -> Result<Operation, ApiError> {
        if !self.is_signed {
            let message = "Request is missing Authentication Token";
            return Err(ApiError::new(400, "MissingAuthenticationTokenException", message));
        }
        if !self.body.is_object() {
            return Err(ApiError::new(400, "SerializationException", "not a JSON object"));
        }
        match self.operation.as_str() {
            "DescribeSessions" => self.describe_sessions(),
            "GetCallerIdentity" => Ok(Operation::GetCallerIdentity),
            "GetParameter" => match self.text("Name") {
                Some(name) => Ok(Operation::GetParameter { name: name.into() }),
                None => Err(ApiError::constraint("name", "", "Member must not be null")),
            },
            "GetResources" => self.get_resources(),
            "TerminateSession" => match self.session() {
                Some(id) if (1..=96).contains(&id.chars().count()) => {
                    Ok(Operation::TerminateSession { id: id.into() })
                }
                Some(id) => {
                    let constraint = "Member must have length between 1 and 96, inclusive";
                    Err(ApiError::constraint("sessionId", id, constraint))
                }
                None => Err(ApiError::constraint("sessionId", "", "Member must not be null")),
            },
            _ => Err(ApiError::new(400, "UnknownOperationException", "")),
        }
    }

    fn describe_sessions(&self) -> Result<Operation, ApiError> {
        let states = "Member must satisfy enum value set: [Active, History]";
        let is_history = match self.text("State") {
            Some("Active") => false,
            Some("History") => true,
            Some(other) => return Err(ApiError::constraint("state", other, states)),
            None => return Err(ApiError::constraint("state", "", "Member must not be null")),
        };
        let max_results = match self.body.get("MaxResults") {
            None | Some(Value::Null) => None,
            Some(value) => match value.as_u64() {
                Some(it @ 1..=200) => usize::try_from(it).ok(),
                Some(0) => {
                    let constraint = "Member must have value greater than or equal to 1";
                    return Err(ApiError::constraint("maxResults", "0", constraint));
                }
                _ => {
                    let constraint = "Member must have value less than or equal to 200";
                    return Err(ApiError::constraint("maxResults", &value.to_string(), constraint));
                }
            },
        };
        let filters = self.body.get("Filters").and_then(Value::as_array);
        let filters = filters.into_iter().flatten().map(filter).collect::<Result<_, _>>()?;
        let token = self.text("NextToken").map(Into::into);
        Ok(Operation::DescribeSessions(Query { is_history, max_results, token, filters }))
    }

    fn get_resources(&self) -> Result<Operation, ApiError> {
        let arns = self.body.get("ResourceARNList").and_then(Value::as_array);
        let Some(arns) = arns else {
            let message = "the emulator answers GetResources by ResourceARNList only";
            return Err(ApiError::modelled(400, "InvalidParameterException", message));
        };
        if !(1..=100).contains(&arns.len()) {
            let message = "ResourceARNList must have 1 to 100 ARNs";
            return Err(ApiError::modelled(400, "InvalidParameterException", message));
        }
        let arns = arns.iter().filter_map(Value::as_str).map(Into::into).collect();
        Ok(Operation::GetResources { arns })
    }
}

fn filter(filter: &Value) -> Result<(Filter, String), ApiError> {
    let text = |name: &str| filter.get(name).and_then(Value::as_str).unwrap_or_default();
    let key = match text("key") {
        "AccessType" => Filter::AccessType,
        "InvokedAfter" => Filter::InvokedAfter,
        "InvokedBefore" => Filter::InvokedBefore,
        "Owner" => Filter::Owner,
        "SessionId" => Filter::SessionId,
        "Status" => Filter::Status,
        "Target" => Filter::Target,
        _ => {
            let code = "InvalidFilterKey";
            return Err(ApiError { status: 400, code: code.into(), body: json!({"__type": code}) });
        }
    };
    Ok((key, text("value").into()))
}

/// An answer in JSON 1.1.
pub(crate) fn json_response(status: u16, body: &Value) -> Response<Bytes> {
    response(status, "application/x-amz-json-1.1", body.to_string())
}

/// STS's answer, in XML.
pub(crate) fn identity_response(partition: &str, account: &str) -> Response<Bytes> {
    let body = format!(
        r#"<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <GetCallerIdentityResult>
    <Arn>arn:{partition}:sts::{account}:assumed-role/emulator/emulator</Arn>
    <UserId>AROAEMULATOR:emulator</UserId>
    <Account>{account}</Account>
  </GetCallerIdentityResult>
  <ResponseMetadata><RequestId>00000000-0000-0000-0000-000000000000</RequestId></ResponseMetadata>
</GetCallerIdentityResponse>"#
    );
    response(200, "text/xml", body)
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
