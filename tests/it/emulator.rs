//! The emulator on the wire: what AWS's model allows, every refusal in AWS's words.

use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};
use session_manager_emulator::{Emulator, Fleet, serve};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::stage::listen;

const FLEET: &str = r#"
now: 2026-03-02T12:00:00Z
callers: { AKIAJANE: "arn:aws:iam::123456789012:user/ops/jane" }
sessions:
  - { id: a-1, owner: "arn:a", target: i-1, age: 1h }
  - { id: b-2, owner: "arn:b", target: i-2, age: 2h, status: Disconnected, max_duration: 60 }
  - { id: c-3, owner: "arn:a", target: i-2, age: 3h, access_type: JustInTime }
  - { id: d-4, owner: "arn:a", target: i-1, age: 4h, access_type: Standard }
  - { id: e-5, owner: "arn:a", target: i-1, age: 5h, ended: 4h }
  - { id: f-6, owner: "arn:b", target: i-2, age: 6h, ended: 1h, status: Failed }
  - { id: g-7, owner: "arn:b", target: i-2, age: 40d, ended: 29d }
  - { id: h-8, owner: "arn:b", target: i-2, age: 40d, ended: 31d }
"#;

fn emulator(more: &str) -> Emulator {
    Emulator::new(Fleet::parse(&format!("{FLEET}{more}")).expect("a fleet"))
}

async fn ask(emulator: &Emulator, operation: &str, body: &str) -> (u16, Value) {
    let request = Request::post("/")
        .header("x-amz-target", format!("AmazonSSM.{operation}"))
        .header("authorization", "AWS4-HMAC-SHA256 Credential=AKIAJANE/20260302/x/ssm/aws4_request")
        .body(Bytes::from(body.to_owned()))
        .unwrap();
    let response = emulator.answer(request).await.expect("an answer");
    (response.status().as_u16(), serde_json::from_slice(response.body()).expect("JSON"))
}

fn ids(page: &Value) -> String {
    let rows = page["Sessions"].as_array().expect("a list");
    let ids: Vec<_> = rows.iter().map(|it| it["SessionId"].as_str().unwrap()).collect();
    ids.join(" ")
}

/// Every filter selects the sessions that it should.
#[tokio::test]
async fn filters() {
    let emulator = emulator("");
    for (state, filters, expected) in [
        ("Active", vec![], "a-1 b-2 c-3 d-4"),
        ("History", vec![], "e-5 f-6 g-7"),
        ("Active", vec![("Target", "i-2")], "b-2 c-3"),
        ("Active", vec![("Owner", "arn:a")], "a-1 c-3 d-4"),
        ("Active", vec![("Owner", "arn:*")], ""),
        ("Active", vec![("Status", "Disconnected")], "b-2"),
        ("Active", vec![("Status", "connected")], ""),
        ("Active", vec![("SessionId", "c-3")], "c-3"),
        ("Active", vec![("AccessType", "Standard")], "a-1 b-2 d-4"), // Absent is standard.
        ("Active", vec![("AccessType", "JustInTime")], "c-3"),
        ("Active", vec![("InvokedAfter", "2026-03-02T10:00:00Z")], "a-1 b-2"), // Inclusive.
        ("Active", vec![("InvokedBefore", "2026-03-02T10:00:00Z")], "c-3 d-4"), // Exclusive.
        ("Active", vec![("Owner", "arn:a"), ("Target", "i-1")], "a-1 d-4"),
        ("History", vec![("Status", "Failed")], "f-6"),
        ("History", vec![("Status", "Terminated")], "e-5 g-7"),
    ] {
        let filters: Vec<_> =
            filters.iter().map(|(key, value)| json!({"key": key, "value": value})).collect();
        let mut body = json!({"State": state, "Filters": filters});
        if filters.is_empty() {
            body.as_object_mut().unwrap().remove("Filters");
        }
        let (status, page) = ask(&emulator, "DescribeSessions", &body.to_string()).await;
        assert_eq!((status, ids(&page).as_str()), (200, expected), "{body}");
    }
}

/// Filters are applied after paging, unless the fleet says otherwise.
#[tokio::test]
async fn filters_apply_after_paging() {
    for (behaviour, expected) in [
        ("", ["", "b-2", "c-3", ""].as_slice()),
        ("behaviour: { filters: before_paging }", ["b-2", "c-3"].as_slice()),
    ] {
        let emulator = emulator(behaviour);
        let filters = json!([{"key": "Target", "value": "i-2"}]);
        let mut body = json!({"State": "Active", "MaxResults": 1, "Filters": filters});
        let mut pages = Vec::new();
        loop {
            let (_, page) = ask(&emulator, "DescribeSessions", &body.to_string()).await;
            pages.push(ids(&page));
            match page.get("NextToken") {
                Some(token) => body["NextToken"] = token.clone(),
                None => break,
            }
        }
        assert_eq!(pages, expected, "{behaviour}");
    }
}

/// Terminated sessions have an end date, and active ones have none.
#[tokio::test]
async fn end_dates() {
    let emulator = emulator("");
    let (_, page) = ask(&emulator, "DescribeSessions", r#"{"State":"History"}"#).await;
    assert_eq!(page["Sessions"][0]["StartDate"], 1_772_434_800.0);
    assert_eq!(page["Sessions"][0]["EndDate"], 1_772_438_400.0);
    assert_eq!(ask(&emulator, "TerminateSession", r#"{"SessionId":"b-2"}"#).await.0, 200);
    let (_, page) = ask(&emulator, "DescribeSessions", r#"{"State":"Active"}"#).await;
    assert_eq!(ids(&page), "a-1 c-3 d-4");
    assert!(page["Sessions"][0].get("EndDate").is_none());
    let (_, page) = ask(&emulator, "DescribeSessions", r#"{"State":"History"}"#).await;
    assert_eq!(ids(&page), "b-2 e-5 f-6 g-7");
    assert_eq!(page["Sessions"][0]["Status"], "Terminated");
    assert_eq!(page["Sessions"][0]["MaxSessionDuration"], "60");
    assert!(page["Sessions"][0]["EndDate"].as_f64() >= Some(1_772_452_800.0));
}

/// A started session belongs to its caller, and can be terminated.
#[tokio::test]
async fn started_session() {
    let emulator = emulator("");
    let body = json!({
        "Target": "i-9", "DocumentName": "AWS-StartPortForwardingSession", "Reason": "INC-1",
        "Parameters": {"portNumber": ["22"]},
    });
    let (status, started) = ask(&emulator, "StartSession", &body.to_string()).await;
    assert_eq!(status, 200);
    let id = started["SessionId"].as_str().unwrap();
    assert!(id.starts_with("jane-0") && id.len() == "jane-".len() + 17, "{id}");
    // No client connects to a host of AWS's.
    let url = format!("wss://ssmmessages.eu-central-1.invalid/v1/data-channel/{id}?");
    assert!(started["StreamUrl"].as_str().unwrap().starts_with(&url), "{started}");
    assert!(started["TokenValue"].is_string());
    let (_, page) = ask(&emulator, "DescribeSessions", r#"{"State":"Active"}"#).await;
    let row = &page["Sessions"][0];
    for (name, value) in [
        ("SessionId", id),
        ("Owner", "arn:aws:iam::123456789012:user/ops/jane"),
        ("Target", "i-9"),
        ("Status", "Connected"),
        ("DocumentName", "AWS-StartPortForwardingSession"),
        ("Reason", "INC-1"),
        ("AccessType", "Standard"),
    ] {
        assert_eq!(row[name], value);
    }
    let body = json!({"SessionId": id}).to_string();
    assert_eq!(ask(&emulator, "TerminateSession", &body).await, (200, json!({"SessionId": id})));
}

/// The message that AWS has for one violated constraint.
fn one(value: &str, at: &str, must: &str) -> String {
    format!(
        "1 validation error detected: Value {value} at '{at}' failed to satisfy constraint: \
         Member must {must}"
    )
}

async fn check_refusals(operation: &str, table: Vec<(Value, &str, String)>) {
    let emulator = emulator("");
    for (body, code, message) in table {
        let (status, answer) = ask(&emulator, operation, &body.to_string()).await;
        assert_eq!((status, answer["__type"].as_str()), (400, Some(code)), "{body}");
        let actual = answer.get("message").or(answer.get("Message"));
        assert_eq!(actual.and_then(Value::as_str).unwrap_or_default(), message, "{body}");
    }
    assert_eq!(emulator.active_ids().len(), 4);
}

/// A listing is refused in AWS's words.
#[tokio::test]
async fn refused_listing() {
    const INVALID: &str = "ValidationException";
    let long = "x".repeat(401);
    let filter = |key: &str, value: &str| json!({"State": "Active", "Filters": [{"key": key, "value": value}]});
    let value = "filters.1.member.value";
    let seven = vec![json!({"key": "Owner", "value": "o"}); 7];
    let seven = json!({"State": "Active", "Filters": seven});
    let shown = ["SessionFilter(key=Owner, value=o)"; 7].join(", ");
    let states = "satisfy enum value set: [Active, History]";
    let both = format!(
        "2 validation errors detected: Value 'x' at 'state' failed to satisfy constraint: Member \
         must {states}; Value '201' at 'maxResults' failed to satisfy constraint: Member must have \
         value less than or equal to 200"
    );
    let no_text = "STRING_VALUE cannot be converted to Integer";
    let no_token = "The specified token isn't valid.";
    check_refusals(
        "DescribeSessions",
        vec![
            (json!({"State": "active"}), INVALID, one("'active'", "state", states)),
            (json!({}), INVALID, one("null", "state", "not be null")),
            (json!({"State": "x", "MaxResults": 201}), INVALID, both),
            (
                json!({"State": "Active", "MaxResults": 0}),
                INVALID,
                one("'0'", "maxResults", "have value greater than or equal to 1"),
            ),
            (
                json!({"State": "Active", "MaxResults": "9"}),
                "SerializationException",
                no_text.into(),
            ),
            (
                json!({"State": "Active", "Filters": []}),
                INVALID,
                one("'[]'", "filters", "have length greater than or equal to 1"),
            ),
            (
                seven,
                INVALID,
                one(&format!("'[{shown}]'"), "filters", "have length less than or equal to 6"),
            ),
            (
                filter("Owner", ""),
                INVALID,
                one("''", value, "have length greater than or equal to 1"),
            ),
            (
                filter("Owner", &long),
                INVALID,
                one(&format!("'{long}'"), value, "have length less than or equal to 400"),
            ),
            (
                filter("InvokedAfter", "yesterday"),
                INVALID,
                one("'yesterday'", value, "be a valid timestamp"),
            ),
            (filter("owner", "o"), "InvalidFilterKey", String::new()),
            (json!({"State": "Active", "NextToken": "x"}), "InvalidNextToken", no_token.into()),
        ],
    )
    .await;
}

/// A termination or a start is refused in AWS's words.
#[tokio::test]
async fn refused_start_or_termination() {
    const INVALID: &str = "ValidationException";
    let long = "x".repeat(97);
    let message = one(&format!("'{long}'"), "sessionId", "have length less than or equal to 96");
    let no_number = "NUMBER_VALUE cannot be converted to String";
    check_refusals(
        "TerminateSession",
        vec![
            (json!({}), INVALID, one("null", "sessionId", "not be null")),
            (json!({"SessionId": long}), INVALID, message),
            (json!({"SessionId": 7}), "SerializationException", no_number.into()),
            (json!([]), "SerializationException", String::new()),
        ],
    )
    .await;
    let message = r"2 validation errors detected: Value '' at 'target' failed to satisfy constraint: Member must have length greater than or equal to 1; Value 'a b' at 'documentName' failed to satisfy constraint: Member must satisfy regular expression pattern: ^[a-zA-Z0-9_\-.:/]{3,128}$";
    let body = json!({"Target": "", "DocumentName": "a b"});
    check_refusals("StartSession", vec![(body, INVALID, message.into())]).await;
    for operation in ["ResumeSession", "DescribeInstanceInformation"] {
        let message = format!(
            "the emulator does not have {operation}: it has DescribeSessions, StartSession, \
             TerminateSession, GetDocument and GetParameter of Systems Manager, and GetResources of \
             Resource Groups Tagging"
        );
        let unknown = vec![(json!({}), "UnknownOperationException", message)];
        check_refusals(operation, unknown).await;
    }
}

/// What a client hears of a listing on a socket before the connection ends, and how it ends.
async fn hear(faults: &str) -> (String, std::io::Result<usize>) {
    let (listener, url) = listen().await;
    tokio::spawn(serve(listener, emulator(faults)));
    let mut stream = TcpStream::connect(url.trim_start_matches("http://")).await.expect("it");
    let request = "POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 18\r\n\
                   x-amz-target: AmazonSSM.DescribeSessions\r\n\
                   authorization: AWS4-HMAC-SHA256 Credential=AKIAJANE/x\r\n\r\n\
                   {\"State\":\"Active\"}";
    stream.write_all(request.as_bytes()).await.expect("it is sent");
    let mut heard = String::new();
    let end = stream.read_to_string(&mut heard).await;
    (heard, end)
}

/// A reset closes the connection; a body that is cut off is shorter than its `Content-Length`.
#[tokio::test]
async fn reset_and_cut_off_body() {
    let faults = |kind: &str| format!("faults: [{{ operation: DescribeSessions, kind: {kind} }}]");
    let lengths = |heard: &str| {
        let (head, body) = heard.split_once("\r\n\r\n").expect("a head and a body");
        let said = head.lines().find_map(|it| it.strip_prefix("content-length: "));
        (said.expect("a length").parse::<usize>().expect("a number"), body.len())
    };
    for kind in ["reset_before", "reset_after"] {
        let (heard, end) = hear(&faults(kind)).await;
        let end = end.expect_err("no end of the file").kind();
        assert_eq!((heard.as_str(), end), ("", std::io::ErrorKind::ConnectionReset), "{kind}");
    }
    let (heard, end) = hear("").await;
    let (whole, sent) = lengths(&heard);
    assert!(end.is_ok() && whole == sent, "{heard}");
    let (heard, end) = hear(&faults("cut_off")).await;
    assert_eq!((lengths(&heard), end.is_ok()), ((whole, whole / 2), true), "{heard}");
    let (heard, _) = hear(&faults("truncated")).await;
    assert_eq!(lengths(&heard), (whole / 2, whole / 2), "as if it were all of it");
}

/// Documents are returned as AWS does: by name or ARN, in the format that is asked for.
#[tokio::test]
async fn documents() {
    let emulator = emulator(
        "documents:\n  Team-Tunnel: Port\n  Team-Yaml: \"schemaVersion: '1.0'\\nsessionType: Port\"\n  \
         Team-Text: not a document\n  \"arn:aws:ssm:eu-central-1:210987654321:document/Shared\": Port\n",
    );
    let own = "arn:aws:ssm:eu-central-1:123456789012:document/Team-Tunnel";
    let shared = "arn:aws:ssm:eu-central-1:210987654321:document/Shared";
    let of_aws = "arn:aws:ssm:eu-central-1::document/AWS-StartSSHSession";
    for (name, session_type) in [
        ("Team-Tunnel", "Port"),
        ("Team-Yaml", "Port"),
        (own, "Port"),
        (shared, "Port"),
        (of_aws, "Port"),
        ("AWS-StartSSHSession", "Port"),
        ("AWS-StartNonInteractiveCommand", "NonInteractiveCommands"),
    ] {
        let body = json!({"Name": name, "DocumentVersion": "$LATEST"}).to_string();
        let (status, answer) = ask(&emulator, "GetDocument", &body).await;
        assert_eq!((status, &answer["Name"]), (200, &name.into()), "{answer}");
        assert_eq!([&answer["DocumentFormat"], &answer["DocumentType"]], ["JSON", "Session"]);
        let content = answer["Content"].as_str().expect("a content");
        let content: Value = serde_json::from_str(content).expect("JSON");
        assert_eq!(content["sessionType"], session_type, "{name}");
    }
    for (name, format, start) in [
        ("Team-Yaml", "YAML", "schemaVersion: '1.0'"),
        ("Team-Yaml", "JSON", "{\n"),
        ("Team-Text", "JSON", "not a document"),
        ("Team-Text", "TEXT", "not a document"),
    ] {
        let body = json!({"Name": name, "DocumentFormat": format}).to_string();
        let (_, answer) = ask(&emulator, "GetDocument", &body).await;
        assert_eq!(answer["DocumentFormat"], format);
        assert!(answer["Content"].as_str().is_some_and(|it| it.starts_with(start)), "{answer}");
    }
    for (body, code) in [
        (json!({"Name": "Team-Other"}), "InvalidDocument"),
        (json!({"Name": "SSM-SessionManagerRunShell"}), "InvalidDocument"),
        (json!({"Name": "Team-Tunnel:1"}), "InvalidDocument"),
        (json!({"Name": of_aws.replace("::", ":210987654321:")}), "InvalidDocument"),
        (json!({"Name": own.replace("eu-central-1", "eu-west-1")}), "InvalidDocument"),
        (json!({"Name": "Team-Tunnel", "DocumentVersion": "2"}), "InvalidDocumentVersion"),
        (json!({"Name": "Team-Tunnel", "VersionName": "v1"}), "InvalidDocumentVersion"),
        (json!({"Name": "Team-Tunnel", "DocumentVersion": "0"}), "ValidationException"),
        (json!({"Name": "Team-Tunnel", "DocumentFormat": "XML"}), "ValidationException"),
        (json!({"Name": "a b"}), "ValidationException"),
        (json!({}), "ValidationException"),
    ] {
        let (status, answer) = ask(&emulator, "GetDocument", &body.to_string()).await;
        assert_eq!((status, &answer["__type"]), (400, &code.into()), "{body}: {answer}");
    }
}

/// A quota with a burst is a bucket: so many calls at once, and then as many a second as the quota. Each
/// operation has its own.
#[tokio::test(start_paused = true)]
async fn token_bucket() {
    let emulator = emulator("behaviour: { quota: 2, burst: 4 }");
    let n_allowed = async |operation, body| {
        let mut n = 0;
        while ask(&emulator, operation, body).await.0 == 200 {
            n += 1;
        }
        n
    };
    let list = r#"{"State": "Active"}"#;
    assert_eq!(n_allowed("DescribeSessions", list).await, 4);
    assert_eq!(n_allowed("TerminateSession", r#"{"SessionId": "none-1"}"#).await, 4);
    for (pause_ms, expected) in [(400, 0), (100, 1), (1_000, 2), (60_000, 4)] {
        tokio::time::sleep(std::time::Duration::from_millis(pause_ms)).await;
        assert_eq!(n_allowed("DescribeSessions", list).await, expected, "{pause_ms} ms");
    }
}
