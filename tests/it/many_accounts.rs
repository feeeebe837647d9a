//! An emulated organization: who is called, where, and what AWS answers for all accounts together.

use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sdk_sts::config::{BehaviorVersion, Region};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use session_manager_emulator::{Fault, FaultKind, Organization, OrganizationFleet, Reset};
use sha2::{Digest, Sha256};
use tokio::time::{Instant, advance};

const HUB: &str = "999999999999";
const SHOP: &str = "111111111111";
const BANK: &str = "222222222222";
const FRANKFURT: &str = "eu-central-1";
const DUBLIN: &str = "eu-west-1";

const FLEET: &str = r#"
now: 2026-03-02T12:00:00Z
hub: { account: "999999999999", region: eu-central-1 }
parameters: { /policy: one }
buckets: [reports]
accounts:
  - id: "111111111111"
    name: shop
    role: Reaper
    off: [ap-south-2]
    regions:
      eu-central-1: { sessions: [{ id: shop-1, age: 1h }, { id: shop-2, age: 2h }] }
      eu-west-1: { sessions: [{ id: shop-3, age: 3h }], behaviour: { latency: 5s } }
  - id: "222222222222"
    regions:
      eu-central-1:
        sessions: [{ id: bank-1, age: 1h }]
        documents: { "arn:aws:ssm:eu-central-1:111111111111:document/Shared": Port }
  - { id: "333333333333", refuses: true }
  - { id: "444444444444", state: SUSPENDED }
  - { id: "555555555555", state: PENDING_CLOSURE }
"#;

fn organization(more: &str) -> Organization {
    Organization::new(OrganizationFleet::parse(&format!("{FLEET}{more}")).expect("a fleet"))
}

fn role(account: &str, name: &str) -> String {
    format!("arn:aws:iam::{account}:role/{name}")
}

/// Whose keys sign a call, and for which Region.
type Signature<'a> = (&'a str, &'a str);

/// The hub's keys are all that are not given.
const OF_HUB: Signature<'_> = ("AKIAHUB", FRANKFURT);

/// A request whose headers are all signed.
fn signed((key, region): Signature<'_>, service: &str) -> http::request::Builder {
    let names = "host;x-amz-content-sha256;x-amz-checksum-mode;x-amz-checksum-sha256;x-amz-meta-a;\
                 x-amz-sdk-checksum-algorithm;x-amz-target";
    let credential = format!("{key}/20260302/{region}/{service}/aws4_request");
    let header =
        format!("AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature=0");
    Request::post("/").header("authorization", header)
}

async fn answer(organization: &Organization, request: Request<Bytes>) -> Response<Bytes> {
    organization.answer(request).await.expect("an answer")
}

/// A call in JSON, and the status and body of its answer.
async fn ask(
    organization: &Organization,
    signature: Signature<'_>,
    target: &str,
    body: Value,
) -> (u16, Value) {
    let request = signed(signature, "ssm").header("x-amz-target", target);
    let request = request.body(body.to_string().into()).unwrap();
    let response = answer(organization, request).await;
    (response.status().as_u16(), serde_json::from_slice(response.body()).expect("JSON"))
}

async fn ask_ssm(
    organization: &Organization,
    signature: Signature<'_>,
    operation: &str,
    body: Value,
) -> (u16, Value) {
    ask(organization, signature, &format!("AmazonSSM.{operation}"), body).await
}

/// A call to STS, and the status and text of its answer.
async fn ask_sts(
    organization: &Organization,
    signature: Signature<'_>,
    form: &[(&str, &str)],
) -> Result<(u16, String), Reset> {
    let mut body = form_urlencoded(form);
    body.push_str("&Version=2011-06-15");
    let request = signed(signature, "sts").body(body.into()).unwrap();
    let response = organization.answer(request).await?;
    let text = String::from_utf8(response.body().to_vec()).expect("UTF-8");
    Ok((response.status().as_u16(), text))
}

fn form_urlencoded(form: &[(&str, &str)]) -> String {
    let pairs = form.iter().map(|(name, value)| format!("{name}={value}"));
    pairs.collect::<Vec<_>>().join("&")
}

async fn assume(
    organization: &Organization,
    signature: Signature<'_>,
    role: &str,
) -> Result<(u16, String), Reset> {
    let form = [("Action", "AssumeRole"), ("RoleArn", role), ("RoleSessionName", "reaper")];
    ask_sts(organization, signature, &form).await
}

fn element<'a>(xml: &'a str, name: &str) -> &'a str {
    let (_, rest) = xml.split_once(&format!("<{name}>")).unwrap_or_else(|| panic!("{name}: {xml}"));
    rest.split_once("</").expect("an end").0
}

/// The access key of a role in an account.
async fn key(organization: &Organization, account: &str) -> String {
    let answer = assume(organization, OF_HUB, &role(account, "Reaper")).await;
    let (status, text) = answer.expect("an answer");
    assert_eq!(status, 200, "{text}");
    element(&text, "AccessKeyId").to_owned()
}

async fn active_ids(organization: &Organization, signature: Signature<'_>) -> Vec<String> {
    let body = json!({"State": "Active"});
    let (status, page) = ask_ssm(organization, signature, "DescribeSessions", body).await;
    assert_eq!(status, 200, "{page}");
    let rows = page["Sessions"].as_array().expect("a list").iter();
    rows.map(|it| it["SessionId"].as_str().expect("text").to_owned()).collect()
}

/// A role is refused, as the real SDK tells it: by an account that refuses all or has another role, by one
/// that is not active or not known, and to an account that is not the hub.
#[tokio::test]
async fn refused_roles() {
    let organization = organization("");
    let config = aws_sdk_sts::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .credentials_provider(Credentials::new("AKIAHUB", "secret", None, None, "test"))
        .http_client(organization.http_client())
        .region(Region::new(FRANKFURT));
    let sts = aws_sdk_sts::Client::from_conf(config.build());
    for (role, code) in [
        (role("333333333333", "Reaper"), "AccessDenied"),
        (role(SHOP, "Other"), "AccessDenied"),
        (role(SHOP, "path/Reaper"), "AccessDenied"),
        (role("444444444444", "Reaper"), "AccessDenied"),
        (role("555555555555", "Reaper"), "AccessDenied"),
        (role("666666666666", "Reaper"), "AccessDenied"),
        (role(SHOP, "Reaper").replace("aws", "aws-cn"), "AccessDenied"),
        ("arn:aws:iam::111111111111:user/Reaper".into(), "ValidationError"),
    ] {
        let assumed = sts.assume_role().role_arn(&role).role_session_name("reaper").send().await;
        let err = assumed.expect_err(&role).into_service_error();
        assert_eq!(err.meta().code(), Some(code), "{role}");
        if code == "AccessDenied" {
            let message = err.meta().message().expect("a message");
            let caller = format!("arn:aws:sts::{HUB}:assumed-role/emulator/emulator");
            let start = format!(
                "User: {caller} is not authorized to perform: sts:AssumeRole on resource: {role}"
            );
            assert!(message.starts_with(&start), "{message}");
        }
    }
    let member = key(&organization, SHOP).await;
    let answer = assume(&organization, (&member, FRANKFURT), &role(BANK, "Reaper")).await;
    assert_eq!(answer.expect("an answer").0, 403);
    assert!(active_ids(&organization, OF_HUB).await.is_empty(), "the hub has no sessions");
}

/// In a Region that is off, every call fails as with AWS; in the others, none does.
#[tokio::test]
async fn regions_off() {
    let organization = organization("");
    let shop = key(&organization, SHOP).await;
    let bank = key(&organization, BANK).await;
    let off = (shop.as_str(), "ap-south-2");
    let (status, answer) =
        ask_ssm(&organization, off, "TerminateSession", json!({"SessionId": "shop-1"})).await;
    assert_eq!((status, &answer["__type"]), (400, &json!("UnrecognizedClientException")));
    assert_eq!(answer["message"], "The security token included in the request is invalid.");
    let identity = ask_sts(&organization, off, &[("Action", "GetCallerIdentity")]).await;
    let (status, text) = identity.expect("an answer");
    assert_eq!((status, element(&text, "Code")), (403, "InvalidClientTokenId"));
    assert!(active_ids(&organization, (&bank, "ap-south-2")).await.is_empty());
    assert_eq!(active_ids(&organization, (&shop, FRANKFURT)).await, ["shop-1", "shop-2"]);
}

/// Keys end when they said they would.
#[tokio::test(start_paused = true)]
async fn keys_expire() {
    let organization = organization("");
    let shop = key(&organization, SHOP).await;
    advance(Duration::from_secs(3_599)).await;
    assert_eq!(active_ids(&organization, (&shop, FRANKFURT)).await.len(), 2);
    advance(Duration::from_secs(1)).await;
    let body = json!({"State": "Active"});
    let (status, answer) =
        ask_ssm(&organization, (&shop, FRANKFURT), "DescribeSessions", body).await;
    assert_eq!((status, &answer["__type"]), (400, &json!("ExpiredTokenException")));
}

/// An account-Region behaves as its own fleet says, or else as the organization's; ages count from the start
/// of the organization, however late the first call arrives.
#[tokio::test(start_paused = true)]
async fn behaviour_and_time() {
    let organization = organization("behaviour: { latency: 1s, quota: 1 }");
    let started = Instant::now();
    let shop = key(&organization, SHOP).await;
    let bank = key(&organization, BANK).await;
    assert_eq!(started.elapsed(), Duration::from_secs(2), "the quota is not that of STS");
    for (key, region, latency) in [(&shop, FRANKFURT, 1), (&shop, DUBLIN, 5), (&bank, DUBLIN, 1)] {
        let started = Instant::now();
        active_ids(&organization, (key, region)).await;
        assert_eq!(started.elapsed(), Duration::from_secs(latency), "{region}");
    }
    advance(Duration::from_hours(1)).await;
    let bank = key(&organization, BANK).await;
    let frankfurt = (bank.as_str(), FRANKFURT);
    let call = || ask_ssm(&organization, frankfurt, "DescribeSessions", json!({"State": "Active"}));
    let (first, second) = tokio::join!(call(), call());
    assert_eq!((first.0, &second.1["__type"]), (200, &json!("ThrottlingException")));
    let start = first.1["Sessions"][0]["StartDate"].as_f64();
    assert_eq!(start, Some(1_772_449_200.0), "an hour before the organization's start");
    assert_eq!(organization.calls().len(), 8);
}

/// A call that names an ARN, a session or a bucket of another account or Region than its own is counted, and
/// changes nothing there.
#[tokio::test]
async fn foreign_calls() {
    let instance = |account: &str, region: &str| json!({"ResourceARNList": [format!("arn:aws:ec2:{region}:{account}:instance/i-1")]});
    let document = |name: &str| json!({"Name": format!("arn:aws:ssm:eu-central-1:{name}")});
    let filter = |key: &str, value: &str| json!({"State": "Active", "Filters": [{"key": key, "value": value}]});
    for (account, operation, body, is_foreign) in [
        (SHOP, "TerminateSession", json!({"SessionId": "bank-1"}), true),
        (SHOP, "TerminateSession", json!({"SessionId": "shop-3"}), true), // Of another Region.
        (SHOP, "TerminateSession", json!({"SessionId": "shop-1"}), false),
        (SHOP, "TerminateSession", json!({"SessionId": "of-nobody"}), false),
        (SHOP, "DescribeSessions", filter("SessionId", "bank-1"), true),
        (SHOP, "DescribeSessions", filter("SessionId", "shop-1"), false),
        (SHOP, "DescribeSessions", filter("Target", "bank-1"), false),
        (SHOP, "GetResources", instance(BANK, FRANKFURT), true),
        (SHOP, "GetResources", instance(SHOP, DUBLIN), true),
        (SHOP, "GetResources", instance(SHOP, FRANKFURT), false),
        (SHOP, "DescribeSessions", filter("Owner", &role(BANK, "x")), true),
        (SHOP, "DescribeSessions", filter("Owner", &role(SHOP, "x")), false),
        (SHOP, "GetDocument", document("222222222222:document/Shared"), true),
        (SHOP, "GetDocument", document(":document/AWS-StartSSHSession"), false),
        (BANK, "GetDocument", document("111111111111:document/Shared"), false), // It is shared.
        (BANK, "GetDocument", document("111111111111:document/Other"), true),
    ] {
        let organization = organization("");
        if is_foreign {
            // One of the others has been called before, and the other not.
            drop(organization.account_region(BANK, FRANKFURT));
        }
        let key = key(&organization, account).await;
        let target = match operation {
            "GetResources" => "ResourceGroupsTaggingAPI_20170126.GetResources".into(),
            _ => format!("AmazonSSM.{operation}"),
        };
        ask(&organization, (&key, FRANKFURT), &target, body.clone()).await;
        let foreign = organization.foreign_calls();
        assert_eq!(foreign.len(), usize::from(is_foreign), "{operation} {body}");
        for it in foreign {
            assert_eq!((&*it.operation, &*it.account, &it.body), (operation, account, &body));
        }
        let ids = |account, region| organization.account_region(account, region).active_ids();
        assert_eq!(ids(BANK, FRANKFURT), ["bank-1"]);
        assert_eq!(ids(SHOP, DUBLIN), ["shop-3"]);
    }
    let organization = organization("");
    let shop = key(&organization, SHOP).await;
    let get = |key| s3((key, FRANKFURT), Method::GET, "/reports/a", &[], "");
    assert_eq!(answer(&organization, get("AKIAHUB")).await.status(), 404);
    assert_eq!(organization.foreign_calls().len(), 0);
    assert_eq!(answer(&organization, get(&shop)).await.status(), 403);
    drop(assume(&organization, (&shop, FRANKFURT), &role(BANK, "Reaper")).await);
    assert_eq!(organization.foreign_calls().len(), 2);
}

/// All pages of `ListAccounts`: how many accounts each has.
async fn pages(organization: &Organization, mut body: Value) -> (Vec<usize>, Vec<Value>) {
    let (mut sizes, mut rows, mut tokens) = (Vec::new(), Vec::new(), Vec::new());
    loop {
        let (status, page) = list_accounts(organization, OF_HUB, body.clone()).await;
        assert_eq!(status, 200, "{page}");
        let accounts = page["Accounts"].as_array().expect("a list");
        sizes.push(accounts.len());
        rows.extend(accounts.clone());
        let Some(token) = page.get("NextToken") else { return (sizes, rows) };
        assert!(!tokens.contains(token), "{token} again");
        tokens.push(token.clone());
        body["NextToken"] = token.clone();
    }
}

async fn list_accounts(
    organization: &Organization,
    signature: Signature<'_>,
    body: Value,
) -> (u16, Value) {
    ask(organization, signature, "AWSOrganizationsV20161128.ListAccounts", body).await
}

/// `ListAccounts` has every account once, on pages of the asked size, some of which may be empty.
#[tokio::test]
async fn list_of_accounts() {
    for (more, body, expected) in [
        ("", json!({}), vec![5]),
        ("", json!({"MaxResults": 2}), vec![2, 2, 1]),
        ("", json!({"MaxResults": 5}), vec![5]),
        ("page_size: 3", json!({"MaxResults": 20}), vec![3, 2]),
        ("page_size: 3\nempty_pages: 2", json!({}), vec![0, 0, 3, 2]),
    ] {
        let organization = organization(more);
        let (sizes, rows) = pages(&organization, body).await;
        assert_eq!(sizes, expected, "{more}");
        let digits: String =
            (rows.iter()).map(|it| &it["Id"].as_str().expect("text")[..1]).collect();
        assert_eq!(digits, "12345");
    }
    let organization = organization("");
    let (_, rows) = pages(&organization, json!({})).await;
    let shop = json!({
        "Id": SHOP,
        "Arn": format!("arn:aws:organizations::{HUB}:account/o-emulator00/{SHOP}"),
        "Email": format!("{SHOP}@example.com"),
        "Name": "shop",
        "State": "ACTIVE",
        "Status": "ACTIVE",
        "JoinedMethod": "CREATED",
        "JoinedTimestamp": 1_577_836_800.0,
    });
    assert_eq!(rows[0], shop);
    let both = |it: &Value| (it["State"].clone(), it["Status"].clone());
    assert_eq!(both(&rows[3]), ("SUSPENDED".into(), "SUSPENDED".into()));
    assert_eq!(both(&rows[4]), ("PENDING_CLOSURE".into(), "PENDING_CLOSURE".into()));
    for (body, code) in [
        (json!({"MaxResults": 0}), "InvalidInputException"),
        (json!({"MaxResults": 21}), "InvalidInputException"),
        (json!({"NextToken": "x"}), "InvalidInputException"),
        (json!([]), "SerializationException"),
    ] {
        let (status, answer) = list_accounts(&organization, OF_HUB, body.clone()).await;
        assert_eq!((status, answer["__type"].as_str()), (400, Some(code)), "{body}");
    }
    let shop = key(&organization, SHOP).await;
    let (status, answer) = list_accounts(&organization, (&shop, FRANKFURT), json!({})).await;
    assert_eq!((status, answer["__type"].as_str()), (400, Some("AccessDeniedException")));
    assert!(organization.foreign_calls().is_empty());
}

/// Every version of a parameter stays readable.
#[tokio::test]
async fn parameter_versions() {
    let organization = organization("");
    organization.hub().set_parameter("/policy", "two");
    for (name, expected) in [
        ("/policy", Ok(("two", 2))),
        ("/policy:1", Ok(("one", 1))),
        ("/policy:2", Ok(("two", 2))),
        ("/policy:0", Err("ParameterVersionNotFound")),
        ("/policy:3", Err("ParameterVersionNotFound")),
        ("/policy:prod", Err("ParameterVersionNotFound")),
        ("/other:1", Err("ParameterNotFound")),
    ] {
        let body = json!({"Name": name});
        let (status, answer) = ask_ssm(&organization, OF_HUB, "GetParameter", body).await;
        match expected {
            Ok((value, version)) => {
                let parameter = &answer["Parameter"];
                assert_eq!(parameter["Value"], value, "{name}");
                assert_eq!(parameter["Version"], version, "{name}");
                assert_eq!(parameter["Name"], "/policy");
                let selector = name.strip_prefix("/policy").filter(|it| !it.is_empty());
                assert_eq!(parameter["Selector"].as_str(), selector);
            }
            Err(code) => assert_eq!((status, &answer["__type"]), (400, &json!(code)), "{name}"),
        }
    }
}

fn sha256_hex(content: &str) -> String {
    hex::encode(Sha256::digest(content))
}

/// A request to S3 in path style. Of a header that is there twice, the last value counts; one without a
/// value is left out.
fn s3(
    signature: Signature<'_>,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    content: &str,
) -> Request<Bytes> {
    let request = signed(signature, "s3").method(method).uri(path).header("host", "127.0.0.1:1");
    let mut request = request.body(Bytes::from(content.to_owned())).unwrap();
    let hash = sha256_hex(content);
    for (name, value) in [("x-amz-content-sha256", hash.as_str())].iter().chain(headers) {
        let name: http::HeaderName = name.parse().unwrap();
        if value.is_empty() {
            request.headers_mut().remove(name);
        } else {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
    }
    request
}

/// What S3 answers: the status, and the code of an error.
async fn ask_s3(organization: &Organization, request: Request<Bytes>) -> (u16, String) {
    let response = answer(organization, request).await;
    let text = String::from_utf8_lossy(response.body()).into_owned();
    let is_error = text.contains("<Error>");
    let code = if is_error { element(&text, "Code").to_owned() } else { String::new() };
    (response.status().as_u16(), code)
}

/// An object is there once it was put, in path style and by the host's name.
#[tokio::test]
async fn objects() {
    let organization = organization("");
    let put = s3(OF_HUB, Method::PUT, "/reports/runs/a%20b.json", &[("content-type", "a/b")], "{}");
    let response = answer(&organization, put).await;
    let etag = response.headers()["etag"].clone();
    assert_eq!((response.status(), response.body().len()), (StatusCode::OK, 0));
    let host = "reports.s3.eu-central-1.amazonaws.com";
    let by_uri = &format!("https://{host}/runs/a%20b.json?x-id=GetObject");
    for (uri, host) in [
        ("/reports/runs/a%20b.json", "127.0.0.1:8377"),
        ("/runs/a%20b.json", host),
        ("/runs/a%20b.json", "reports.localhost:8377"),
        (by_uri, ""),
    ] {
        let response =
            answer(&organization, s3(OF_HUB, Method::GET, uri, &[("host", host)], "")).await;
        assert_eq!(
            (response.status(), &response.body()[..]),
            (StatusCode::OK, &b"{}"[..]),
            "{uri}"
        );
        let headers = response.headers();
        assert_eq!(headers["etag"], etag);
        assert_eq!(headers["content-type"], "a/b");
        assert_eq!(response.headers()["last-modified"], "Mon, 02 Mar 2026 12:00:00 GMT");
    }
    organization.put_object("plans", "1", "one");
    let objects = organization.objects();
    let keys: Vec<_> = objects.keys().collect();
    assert_eq!(keys, ["plans/1", "reports/runs/a b.json"]);
    assert_eq!(objects["plans/1"], "one");
    let dublin = ("AKIAHUB", DUBLIN);
    for (request, expected) in [
        (s3(OF_HUB, Method::GET, "/reports/none", &[], ""), (404, "NoSuchKey")),
        (s3(OF_HUB, Method::GET, "/other/none", &[], ""), (404, "NoSuchBucket")),
        (s3(OF_HUB, Method::PUT, "/other/none", &[], ""), (404, "NoSuchBucket")),
        (s3(OF_HUB, Method::GET, "/plans/1", &[], ""), (200, "")),
        (s3(dublin, Method::GET, "/plans/1", &[], ""), (400, "AuthorizationHeaderMalformed")),
        (s3(OF_HUB, Method::GET, "/plans?list-type=2", &[], ""), (501, "NotImplemented")),
        (s3(OF_HUB, Method::DELETE, "/plans/1", &[], ""), (501, "NotImplemented")),
        (
            s3(OF_HUB, Method::GET, "/plans/1", &[("range", "bytes=0-1")], ""),
            (501, "NotImplemented"),
        ),
    ] {
        let shown = format!("{} {}", request.method(), request.uri());
        let (status, code) = ask_s3(&organization, request).await;
        assert_eq!((status, code.as_str()), expected, "{shown}");
    }
    let named = organization.calls().iter().filter(|it| it.operation == "PutObject").count();
    assert_eq!(named, 2);
    assert_eq!(organization.calls()[0].body, json!({"Bucket": "reports", "Key": "runs/a b.json"}));
}

/// Conditions on an object's existence and its `ETag`.
#[tokio::test]
async fn conditions() {
    let organization = organization("");
    let etag = |content: &str| format!("\"{}\"", &sha256_hex(content)[..32]);
    let (one, two) = (etag("one"), etag("two"));
    let new = [("if-none-match", "*")];
    let is_one = [("if-match", one.as_str())];
    let is_two = [("if-match", two.as_str())];
    let but_one = [("if-none-match", one.as_str())];
    let failed = (412, "PreconditionFailed");
    for (method, headers, content, expected) in [
        (Method::PUT, &is_one, "one", (404, "NoSuchKey")),
        (Method::PUT, &new, "one", (200, "")),
        (Method::PUT, &new, "two", failed),
        (Method::PUT, &is_two, "two", failed),
        (Method::GET, &is_one, "", (200, "")),
        (Method::GET, &is_two, "", failed),
        (Method::GET, &but_one, "", (304, "")),
        (Method::PUT, &but_one, "two", (501, "NotImplemented")),
        (Method::PUT, &is_one, "two", (200, "")),
        (Method::PUT, &is_one, "two", failed),
        (Method::GET, &but_one, "", (200, "")),
    ] {
        let request = s3(OF_HUB, method.clone(), "/reports/lease.json", headers, content);
        let (status, code) = ask_s3(&organization, request).await;
        assert_eq!((status, code.as_str()), expected, "{method} {headers:?} {content}");
    }
    assert_eq!(organization.objects()["reports/lease.json"], "two");
}

/// Content that is not what its checksums say is refused, and so is a header that is not signed.
#[tokio::test]
async fn checksums() {
    let organization = organization("");
    let base64 = |content: &str| aws_smithy_types::base64::encode(Sha256::digest(content));
    let (right, wrong) = (base64("{}"), base64("{"));
    let (hash, algorithm) = ("x-amz-content-sha256", "x-amz-sdk-checksum-algorithm");
    let checksum = "x-amz-checksum-sha256";
    let wrong_hash = sha256_hex("{");
    let refused = |code| (400, code);
    for (headers, expected) in [
        (vec![(checksum, right.as_str()), (algorithm, "SHA256")], (200, "")),
        (vec![(hash, "UNSIGNED-PAYLOAD")], (200, "")),
        (vec![(hash, "STREAMING-UNSIGNED-PAYLOAD-TRAILER")], (501, "NotImplemented")),
        (vec![(hash, &wrong_hash)], refused("XAmzContentSHA256Mismatch")),
        (vec![(hash, "")], refused("InvalidRequest")),
        (vec![(checksum, &wrong)], refused("BadDigest")),
        (vec![(checksum, "e30=")], refused("InvalidRequest")),
        (vec![(algorithm, "SHA256")], refused("InvalidRequest")),
        (vec![("x-amz-meta-b", "not signed")], (403, "AccessDenied")),
    ] {
        let organization = organization_with_object();
        let request = s3(OF_HUB, Method::PUT, "/reports/a", &headers, "{}");
        let (status, code) = ask_s3(&organization, request).await;
        assert_eq!((status, code.as_str()), expected, "{headers:?}");
        let stored = if status == 200 { "{}" } else { "before" };
        assert_eq!(organization.objects()["reports/a"], stored, "{headers:?}");
    }
    let put = s3(OF_HUB, Method::PUT, "/reports/a", &[(checksum, &right)], "{}");
    assert_eq!(answer(&organization, put).await.headers()[checksum], right.as_str());
    let get = s3(OF_HUB, Method::GET, "/reports/a", &[("x-amz-checksum-mode", "ENABLED")], "");
    assert_eq!(answer(&organization, get).await.headers()[checksum], right.as_str());
}

fn organization_with_object() -> Organization {
    let organization = organization("");
    organization.put_object("reports", "a", "before");
    organization
}

/// A fault of the organization's operations is answered as each service does.
#[tokio::test(start_paused = true)]
async fn faults() {
    let table = [
        (FaultKind::Throttle, "Throttling", "TooManyRequestsException", (503, "SlowDown")),
        (FaultKind::Deny, "AccessDenied", "AccessDeniedException", (403, "AccessDenied")),
        (FaultKind::InternalError, "InternalFailure", "ServiceException", (500, "InternalError")),
        (
            FaultKind::InvalidToken,
            "InvalidNextToken",
            "InvalidInputException",
            (400, "InvalidNextToken"),
        ),
        (
            FaultKind::Error { status: 409, code: "Odd".into(), message: "no".into() },
            "Odd",
            "Odd",
            (409, "Odd"),
        ),
    ];
    for (kind, of_sts, of_organizations, of_s3) in table {
        let organization = organization("");
        let operations = ["AssumeRole", "ListAccounts", "GetObject", "PutObject"];
        organization.set_faults(operations.map(|it| Fault::new(it, 1, kind.clone())).into());
        let (_, text) = assume(&organization, OF_HUB, &role(SHOP, "Reaper")).await.expect("text");
        assert_eq!(element(&text, "Code"), of_sts, "{kind:?}");
        let (_, answer) = list_accounts(&organization, OF_HUB, json!({})).await;
        assert_eq!(answer["__type"], of_organizations, "{kind:?}");
        for method in [Method::GET, Method::PUT] {
            let request = s3(OF_HUB, method, "/reports/a", &[], "");
            let (status, code) = ask_s3(&organization, request).await;
            assert_eq!((status, code.as_str()), of_s3, "{kind:?}");
        }
        let errors: Vec<_> = organization.calls().into_iter().map(|it| it.error.unwrap()).collect();
        assert_eq!(errors, [of_sts, of_organizations, of_s3.1, of_s3.1]);
    }
}

/// A connection is reset before or after an object is stored; an answer is late, cut off, or not AWS's.
#[tokio::test(start_paused = true)]
async fn faults_of_objects() {
    let put = || s3(OF_HUB, Method::PUT, "/reports/a", &[], "after");
    let get = || s3(OF_HUB, Method::GET, "/reports/a", &[], "");
    for (kind, stored) in [(FaultKind::ResetBefore, "before"), (FaultKind::ResetAfter, "after")] {
        let organization = organization_with_object();
        organization.set_faults(vec![Fault::new("PutObject", 1, kind)]);
        assert!(organization.answer(put()).await.is_err());
        assert_eq!(organization.objects()["reports/a"], stored);
        assert!(organization.answer(put()).await.is_ok());
    }
    let slow = Duration::from_secs(9);
    for (kind, takes) in [(FaultKind::Slow(slow), slow), (FaultKind::SlowAfter(slow), slow)] {
        let organization = organization_with_object();
        organization.set_faults(vec![Fault::new("GetObject", 1, kind)]);
        let started = Instant::now();
        assert_eq!(answer(&organization, get()).await.body(), "before");
        assert_eq!(started.elapsed(), takes);
    }
    for (kind, status, body) in [
        (FaultKind::Truncated, 200, "bef"),
        (FaultKind::CutOff, 200, "bef"),
        (FaultKind::Body("{".into()), 200, "{"),
        (FaultKind::Unavailable, 503, "<html>"),
    ] {
        let organization = organization_with_object();
        organization.set_faults(vec![Fault::new("GetObject", 1, kind.clone())]);
        let response = answer(&organization, get()).await;
        assert_eq!(response.status(), status, "{kind:?}");
        assert!(response.body().starts_with(body.as_bytes()), "{kind:?}: {response:?}");
        let is_cut_off = matches!(kind, FaultKind::CutOff);
        assert_eq!(response.headers().contains_key("content-length"), is_cut_off);
    }
}

/// A fault applies to one account if it says so: of `AssumeRole`, to that of the role.
#[tokio::test]
async fn faults_of_one_account() {
    let organization = organization(
        "faults: [{ operation: AssumeRole, account: \"222222222222\", kind: throttle }]",
    );
    let status = async |account| {
        let answer = assume(&organization, OF_HUB, &role(account, "Reaper")).await;
        answer.expect("an answer").0
    };
    assert_eq!((status(SHOP).await, status(BANK).await, status(SHOP).await), (200, 400, 200));
    organization.set_faults(vec![
        Fault::new("AssumeRole", 1, FaultKind::ResetBefore).always().for_account(SHOP),
        Fault::new("GetCallerIdentity", 1, FaultKind::Deny).for_account(BANK),
    ]);
    let bank = key(&organization, BANK).await;
    assert!(assume(&organization, OF_HUB, &role(SHOP, "Reaper")).await.is_err());
    let identity = [("Action", "GetCallerIdentity")];
    for (key, status) in [("AKIAHUB", 200), (bank.as_str(), 403), (bank.as_str(), 200)] {
        let answer = ask_sts(&organization, (key, FRANKFURT), &identity).await;
        assert_eq!(answer.expect("an answer").0, status);
    }
    let deny = Fault::new("TerminateSession", 1, FaultKind::Deny).always();
    organization.account_region(BANK, FRANKFURT).set_faults(vec![deny]);
    let body = json!({"SessionId": "bank-1"});
    let denied = ask_ssm(&organization, (&bank, FRANKFURT), "TerminateSession", body).await;
    let message = denied.1["Message"].as_str().expect("a message");
    let resource = "arn:aws:ssm:eu-central-1:222222222222:session/bank-1";
    assert!(denied.0 == 400 && message.contains(resource), "{message}");
}

/// Faults of a listing reach that of the accounts.
#[tokio::test]
async fn faults_of_the_list_of_accounts() {
    for (kind, expected) in [
        (FaultKind::EmptyPage, vec![0, 3, 2]),
        (FaultKind::DuplicateRows, vec![6, 2]),
        (FaultKind::DropField("State".into()), vec![3, 2]),
    ] {
        let organization = organization("page_size: 3");
        organization.set_faults(vec![Fault::new("ListAccounts", 1, kind.clone())]);
        let (sizes, rows) = pages(&organization, json!({})).await;
        assert_eq!(sizes, expected, "{kind:?}");
        let has_state = !matches!(kind, FaultKind::DropField(_));
        assert_eq!(rows[0].get("State").is_some(), has_state);
        assert!(organization.calls()[0].fault.is_some());
    }
    let organization = organization("");
    let faults = [FaultKind::EmptyToken, FaultKind::RepeatToken];
    organization.set_faults(faults.map(|it| Fault::new("ListAccounts", 1, it)).into());
    let (_, page) = list_accounts(&organization, OF_HUB, json!({})).await;
    assert_eq!(page["NextToken"], "");
}

/// What is not one of the organization's operations is refused, and so is a call without a signature.
#[tokio::test]
async fn unknown_calls() {
    let organization = organization("");
    let target = "AWSOrganizationsV20161128.CloseAccount";
    let (status, answer_to_it) = ask(&organization, OF_HUB, target, json!({})).await;
    assert_eq!((status, &answer_to_it["__type"]), (400, &json!("UnknownOperationException")));
    let unsigned = [
        ("AWSOrganizationsV20161128.ListAccounts", 400),
        ("AmazonSSM.DescribeSessions", 400),
        ("", 403),
    ];
    for (target, status) in unsigned {
        let mut request = Request::post("/").body(Bytes::from("{}")).unwrap();
        if !target.is_empty() {
            request.headers_mut().insert("x-amz-target", target.parse().unwrap());
        }
        let response = answer(&organization, request).await;
        assert_eq!(response.status(), status, "{target}");
        let text = String::from_utf8_lossy(response.body()).into_owned();
        assert!(text.contains("MissingAuthenticationToken"), "{text}");
    }
}

/// A thousand accounts in 17 Regions are one organization, of which nothing is made before it is called.
#[tokio::test]
async fn thousand_accounts() {
    let accounts = (1..=1_000).map(|it| {
        json!({"id": format!("{it:012}"), "regions": {
            FRANKFURT: {"sessions": [{"id": format!("s-{it}"), "age": "1h"}]},
        }})
    });
    let fleet = json!({"accounts": accounts.collect::<Vec<_>>()}).to_string();
    let organization = Organization::new(OrganizationFleet::parse(&fleet).expect("a fleet"));
    let (sizes, _) = pages(&organization, json!({})).await;
    assert_eq!(sizes, [20; 50]);
    for number in [1, 500, 1_000] {
        let key = key(&organization, &format!("{number:012}")).await;
        let frankfurt = active_ids(&organization, (&key, FRANKFURT)).await;
        assert_eq!(frankfurt, [format!("s-{number}")]);
        for region in 1..17 {
            let region = format!("region-{region}");
            assert!(active_ids(&organization, (&key, &region)).await.is_empty());
        }
    }
    assert_eq!(organization.calls().len(), 50 + 3 * (1 + 17));
    assert!(organization.foreign_calls().is_empty());
}

/// A file with an account twice, or with pages that `ListAccounts` does not have, is refused; and so is a
/// key that the organization sets for all its accounts and Regions.
#[test]
fn refused_fleets() {
    let twice = "accounts: [{ id: \"1\" }, { id: \"1\" }]";
    let own = "accounts: [{ id: \"1\", regions: { eu-west-1: { region: x } } }]";
    for (fleet, error) in [
        (twice, "the account `1` is there twice"),
        ("page_size: 0", "`page_size` must be from 1 to 20"),
        ("page_size: 21", "`page_size` must be from 1 to 20"),
        (own, "unknown field `region`"),
    ] {
        let err = OrganizationFleet::parse(fleet).expect_err(fleet).to_string();
        assert!(err.contains(error), "{err}");
    }
}
