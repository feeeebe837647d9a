//! Parses requests, and refuses what AWS's model forbids with AWS's own errors.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::{
    document::Format,
    events,
    filter::{Filter, Key},
    wire::{ApiError, Call},
    world::Query,
};

/// A request.
pub(crate) enum Operation {
    AssumeRole { role: String, session: String, lasts: Duration },
    DescribeSessions(Query),
    GetCallerIdentity,
    GetDocument { name: String, format: Format },
    GetParameter { name: String },
    GetResources { arns: Vec<String> },
    PutEvents { entries: Vec<Value> },
    StartSession { target: String, document: Option<String>, reason: Option<String> },
    TerminateSession { id: String },
}

/// What is wrong with a request. AWS reports all errors of one request together.
#[derive(Default)]
struct Violations(Vec<String>);

const STATES: [&str; 2] = ["Active", "History"];

impl Operation {
    /// Parses a call that AWS would accept.
    pub(crate) fn read(call: &Call) -> Result<Self, ApiError> {
        if !call.is_signed() {
            return Err(ApiError::not_signed());
        }
        let Value::Object(body) = &call.body else { return Err(ApiError::serialization("")) };
        match call.operation.as_str() {
            "AssumeRole" => assume_role(body),
            "DescribeSessions" => describe_sessions(body),
            "GetDocument" => get_document(body),
            "GetCallerIdentity" => Ok(Self::GetCallerIdentity),
            "GetParameter" => {
                let mut wrong = Violations::default();
                let name = wrong.text(body, "Name", 1, 2048, true)?.unwrap_or_default();
                wrong.none(Self::GetParameter { name })
            }
            "GetResources" => get_resources(body),
            "PutEvents" => events::entries(body).map(|entries| Self::PutEvents { entries }),
            "StartSession" => start_session(body),
            "TerminateSession" => {
                let mut wrong = Violations::default();
                let id = wrong.text(body, "SessionId", 1, 96, true)?.unwrap_or_default();
                wrong.none(Self::TerminateSession { id })
            }
            _ => Err(ApiError::unknown_operation(call)),
        }
    }
}

fn describe_sessions(body: &Map<String, Value>) -> Result<Operation, ApiError> {
    let mut wrong = Violations::default();
    let state = wrong.text(body, "State", 0, usize::MAX, true)?;
    if let Some(state) = &state
        && !STATES.contains(&state.as_str())
    {
        let states = STATES.join(", ");
        wrong.add(&quoted(state), "state", &format!("satisfy enum value set: [{states}]"));
    }
    let max_results = match body.get("MaxResults") {
        None | Some(Value::Null) => None,
        Some(value) => {
            let number = value.as_i64().ok_or_else(|| mistaken(value, "Integer"))?;
            wrong.bounds(&quoted(&number.to_string()), "maxResults", "value", number, (1, 200));
            usize::try_from(number).ok()
        }
    };
    let token = wrong.text(body, "NextToken", 0, usize::MAX, false)?;
    let filters = filters(body.get("Filters"), &mut wrong)?;
    let is_history = state.is_some_and(|it| it == "History");
    wrong.none(Operation::DescribeSessions(Query { is_history, max_results, token, filters }))
}

fn filters(value: Option<&Value>, wrong: &mut Violations) -> Result<Vec<Filter>, ApiError> {
    let list = match value {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(list)) => list,
        Some(other) => return Err(mistaken(other, "List")),
    };
    let mut filters = Vec::new();
    let mut unknown = false;
    let mut shown = Vec::new();
    for (i, item) in list.iter().enumerate() {
        let Value::Object(item) = item else { return Err(mistaken(item, "Structure")) };
        let at = format!("filters.{}.member", i + 1);
        let key = wrong.member(item, "key", &format!("{at}.key"), (1, usize::MAX), true)?;
        let value = wrong.member(item, "value", &format!("{at}.value"), (1, 400), true)?;
        let (key, value) = (key.unwrap_or_default(), value.unwrap_or_default());
        shown.push(format!("SessionFilter(key={key}, value={value})"));
        match Key::parse(&key) {
            Some(key) => {
                if key.is_instant() && value.parse::<jiff::Timestamp>().is_err() {
                    wrong.add(&quoted(&value), &format!("{at}.value"), "be a valid timestamp");
                }
                filters.push(Filter { key, value });
            }
            None => unknown = true,
        }
    }
    let n_filters = i64::try_from(list.len()).unwrap_or(i64::MAX);
    wrong.bounds(
        &quoted(&format!("[{}]", shown.join(", "))),
        "filters",
        "length",
        n_filters,
        (1, 6),
    );
    if unknown && wrong.0.is_empty() {
        return Err(ApiError::bare("InvalidFilterKey"));
    }
    Ok(filters)
}

/// Role session names and external ids have the same alphabet, except that external ids allow more
/// characters.
fn assume_role(body: &Map<String, Value>) -> Result<Operation, ApiError> {
    let mut wrong = Violations::default();
    let role = wrong.text(body, "RoleArn", 20, 2048, true)?.unwrap_or_default();
    let session = wrong.text(body, "RoleSessionName", 2, 64, true)?.unwrap_or_default();
    let external_id = wrong.text(body, "ExternalId", 2, 1224, false)?.unwrap_or_default();
    for (value, at, others) in
        [(&session, "roleSessionName", "_+=,.@-"), (&external_id, "externalId", "_+=,.@:/-")]
    {
        if !value.chars().all(|it| it.is_ascii_alphanumeric() || others.contains(it)) {
            let pattern = others.replace('_', r"\w").replace('/', r"\/");
            let must = format!("satisfy regular expression pattern: [{pattern}]*");
            wrong.add(&quoted(value), at, &must);
        }
    }
    let lasts = match wrong.text(body, "DurationSeconds", 0, usize::MAX, false)? {
        None => 3600,
        Some(text) => {
            let seconds = text.parse().map_err(|_| ApiError::bare("MalformedInput"))?;
            wrong.bounds(&quoted(&text), "durationSeconds", "value", seconds, (900, 43200));
            u64::try_from(seconds).unwrap_or_default()
        }
    };
    wrong.none(Operation::AssumeRole { role, session, lasts: Duration::from_secs(lasts) })
}

/// A document has one version, which is the default and the latest.
fn get_document(body: &Map<String, Value>) -> Result<Operation, ApiError> {
    let mut wrong = Violations::default();
    let name = wrong.document(body, "Name", true)?.unwrap_or_default();
    let version = wrong.text(body, "DocumentVersion", 0, usize::MAX, false)?;
    if let Some(version) = &version {
        let is_number = |it: &str| !it.starts_with('0') && it.parse::<u64>().is_ok();
        if !["$LATEST", "$DEFAULT"].contains(&version.as_str()) && !is_number(version) {
            let pattern =
                "satisfy regular expression pattern: ([$]LATEST|[$]DEFAULT|^[1-9][0-9]*$)";
            wrong.add(&quoted(version), "documentVersion", pattern);
        }
    }
    let has_name = wrong.text(body, "VersionName", 1, 128, false)?.is_some();
    let format = match wrong.text(body, "DocumentFormat", 0, usize::MAX, false)? {
        None => Format::Json,
        Some(text) => Format::from_name(&text).unwrap_or_else(|| {
            let enumeration = "satisfy enum value set: [YAML, TEXT, JSON]";
            wrong.add(&quoted(&text), "documentFormat", enumeration);
            Format::Json
        }),
    };
    let is_first = version.is_none_or(|it| ["1", "$LATEST", "$DEFAULT"].contains(&it.as_str()));
    match wrong.none(Operation::GetDocument { name, format }) {
        Ok(_) if has_name || !is_first => Err(ApiError::no_such_document_version()),
        read => read,
    }
}

fn start_session(body: &Map<String, Value>) -> Result<Operation, ApiError> {
    let mut wrong = Violations::default();
    let target = wrong.text(body, "Target", 1, 400, true)?.unwrap_or_default();
    let document = wrong.document(body, "DocumentName", false)?;
    let reason = wrong.text(body, "Reason", 1, 256, false)?;
    if let Some(parameters) = body.get("Parameters").filter(|it| !it.is_null() && !it.is_object()) {
        return Err(mistaken(parameters, "Map"));
    }
    wrong.none(Operation::StartSession { target, document, reason })
}

fn get_resources(body: &Map<String, Value>) -> Result<Operation, ApiError> {
    let Some(arns) = body.get("ResourceARNList").and_then(Value::as_array) else {
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

impl Violations {
    /// A string at the top level of the request.
    fn text(
        &mut self,
        body: &Map<String, Value>,
        name: &str,
        min: usize,
        max: usize,
        is_required: bool,
    ) -> Result<Option<String>, ApiError> {
        self.member(body, name, &path(name), (min, max), is_required)
    }

    /// The name or ARN of a document, at the top level of the request.
    fn document(
        &mut self,
        body: &Map<String, Value>,
        name: &str,
        is_required: bool,
    ) -> Result<Option<String>, ApiError> {
        let document = self.text(body, name, 0, usize::MAX, is_required)?;
        if let Some(text) = &document {
            let is_part = |it: char| it.is_ascii_alphanumeric() || "_-.:/".contains(it);
            if !(3..=128).contains(&text.len()) || !text.chars().all(is_part) {
                let pattern = r"satisfy regular expression pattern: ^[a-zA-Z0-9_\-.:/]{3,128}$";
                self.add(&quoted(text), &path(name), pattern);
            }
        }
        Ok(document)
    }

    /// A string, with its path as AWS writes it.
    fn member(
        &mut self,
        parent: &Map<String, Value>,
        name: &str,
        at: &str,
        (min, max): (usize, usize),
        is_required: bool,
    ) -> Result<Option<String>, ApiError> {
        let text = match parent.get(name) {
            Some(Value::String(text)) => text.clone(),
            None | Some(Value::Null) => {
                if is_required {
                    self.add("null", at, "not be null");
                }
                return Ok(None);
            }
            Some(other) => return Err(mistaken(other, "String")),
        };
        let bound = |it: usize| i64::try_from(it).unwrap_or(i64::MAX);
        let length = bound(text.chars().count());
        self.bounds(&quoted(&text), at, "length", length, (bound(min), bound(max)));
        Ok(Some(text))
    }

    fn bounds(&mut self, shown: &str, at: &str, what: &str, actual: i64, (min, max): (i64, i64)) {
        if actual < min {
            self.add(shown, at, &format!("have {what} greater than or equal to {min}"));
        } else if max < actual {
            self.add(shown, at, &format!("have {what} less than or equal to {max}"));
        }
    }

    fn add(&mut self, shown: &str, at: &str, must: &str) {
        self.0.push(format!(
            "Value {shown} at '{at}' failed to satisfy constraint: Member must {must}"
        ));
    }

    /// The operation, if there are no errors.
    fn none(self, operation: Operation) -> Result<Operation, ApiError> {
        let n = self.0.len();
        if n == 0 {
            return Ok(operation);
        }
        let s = if n == 1 { "" } else { "s" };
        let message = format!("{n} validation error{s} detected: {}", self.0.join("; "));
        Err(ApiError::new(400, "ValidationException", &message))
    }
}

/// The path of a member at the top level, as AWS writes it.
fn path(name: &str) -> String {
    let mut path = name.to_owned();
    if let Some(first) = path.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    path
}

fn quoted(text: &str) -> String {
    format!("'{text}'")
}

/// A value of the wrong type. The message is that of other AWS services.
fn mistaken(value: &Value, wanted: &str) -> ApiError {
    let actual = match value {
        Value::String(_) => "STRING_VALUE",
        Value::Number(it) if it.is_f64() => "DECIMAL_VALUE",
        Value::Number(_) => "NUMBER_VALUE",
        Value::Bool(true) => "TRUE_VALUE",
        Value::Bool(false) => "FALSE_VALUE",
        Value::Array(_) | Value::Object(_) | Value::Null => {
            return ApiError::serialization("Start of structure or map found where not expected.");
        }
    };
    ApiError::serialization(&format!("{actual} cannot be converted to {wanted}"))
}

impl ApiError {
    /// A body with the wrong structure.
    fn serialization(message: &str) -> Self {
        if message.is_empty() {
            return Self::bare("SerializationException");
        }
        Self::modelled(400, "SerializationException", message)
    }

    /// An error without a message.
    fn bare(code: &str) -> Self {
        Self { status: 400, code: code.into(), body: json!({"__type": code}) }
    }
}
