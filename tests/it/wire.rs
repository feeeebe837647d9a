//! Over a real socket: every fault of the emulator, every way not to reach AWS, and answers
//! beyond all measure.

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, Response};
use reaper_core::{evaluate::VerdictKind, report::Outcomes};
use serde_json::{Value, json};
use session_manager_emulator::{
    Emulator, Fault, FaultKind, Fleet, OnTerminate, Reset, Seed, ToEnded, serve,
};
use session_reaper::sweep::source::PolicySource;
use test_support::tls::{AUTHORITY, EXPIRED, VALID, serve_tls};

use crate::{
    lambda::{assert_error, invocations},
    runtime_api::{Invocations, Ran, invoke},
    stage::{POLICY, Stage, Wire, fleet, inline, listen},
};

/// With so many fillers, the violators stand on the third page of 200.
const THREE_PAGES: usize = 400;

/// The result of a listing when a fault applies to one of its pages once: that of the last fillers, or
/// the last of all where the fault can apply only to that one.
enum Listing {
    /// It is complete: the numbers of terminated, seen and not evaluated sessions.
    Complete(usize, usize, usize),
    /// It is incomplete, for this reason, and no session of the later pages is terminated.
    Incomplete(&'static str),
}

/// One row of `table`.
type Row = (Value, Listing, &'static str, bool, bool, Option<&'static str>);

/// What each fault comes to if it applies to each operation once: a listing, the outcome of a session that
/// is to be terminated, whether tags are known, whether a document's type is, and what is wrong with the
/// policy.
///
/// A token that has expired has no row of its own: AWS's model has the same error for it.
#[rustfmt::skip]
fn table() -> Vec<Row> {
    use Listing::{Complete, Incomplete};
    let denied = Incomplete("(allow `ssm:DescribeSessions`)");
    let error = json!({"error": {"status": 400, "code": "Odd", "message": "no"}});
    let seven = json!({"body": "{\"Sessions\":7}"});
    let other = json!({"body": "{\"status\":\"ok\"}"}); // As a health check's.
    vec![
        // the fault                     listing                           termination   tags   document policy
        (json!({"appear": {"id": "n"}}),  Complete(4, 409, 1),              "terminated", true,  true,     None),
        (json!({"body": "<html>"}),      Complete(4, 408, 0),              "terminated", true,  true,     None),
        (json!({"body": "[]"}),          Complete(4, 408, 0),              "terminated", true,  true,     None),
        (seven,                          Complete(4, 408, 0),              "terminated", true,  true,     None),
        (other,                          Complete(4, 408, 0),              "terminated", true,  true,     None),
        (json!({"body": ""}),            Complete(4, 408, 0),              "terminated", true,  true,     None),
        (json!("cut_off"),               Complete(4, 408, 0),              "terminated", true,  true,     None),
        (json!("deny"),                  denied,                           "denied",     false, false,    Some("allow `ssm:GetParameter`")),
        (json!("duplicate_rows"),        Complete(4, 408, 0),              "terminated", false, true,     None),
        (json!("duplicate_tags"),        Complete(4, 408, 0),              "terminated", false, true,     None),
        (json!("empty_page"),            Complete(4, 408, 0),              "terminated", false, true,     None),
        (json!("empty_token"),           Complete(4, 408, 0),              "terminated", true,  true,     None),
        (error,                          Incomplete("was refused"),        "failed",     false, false,    Some("Odd: no")),
        (json!({"drop_field": "SessionId"}), Complete(4, 408, 200),            "terminated", true,  true,     None),
        (json!({"drop_field": "Owner"}),     Complete(4, 408, 200),            "terminated", true,  true,     None),
        (json!({"drop_field": "Target"}),    Complete(4, 408, 200),            "terminated", true,  true,     None),
        (json!({"drop_field": "StartDate"}), Complete(4, 408, 200),            "terminated", true,  true,     None),
        (json!({"drop_field": "Status"}),    Complete(4, 408, 0),              "terminated", true,  true,     None),
        (json!({"fail_entries": "InternalFailure"}), Complete(4, 408, 0),  "terminated", true,  true,     None),
        (json!("internal_error"),        Complete(4, 408, 0),              "terminated", true,  true,     None),
        (json!("invalid_token"),         Complete(4, 408, 0),              "failed",     false, false,    Some("InvalidNextToken")),
        (json!({"misdate": "1h"}),       Complete(4, 408, 0),              "terminated", true,  true,     None),
        (json!("more_tags"),             Complete(4, 408, 0),              "terminated", false, true,     None),
        (json!("repeat_token"),          Incomplete("repeated a page token"), "terminated", true, true,     None),
        (json!("reset_after"),           Complete(4, 408, 0),              "terminated", true,  true,     None),
        (json!("reset_before"),          Complete(4, 408, 0),              "terminated", true,  true,     None),
        (json!("shuffle_page"),          Complete(4, 408, 0),              "terminated", true,  true,     None),
        (json!({"slow": "6s"}),          Complete(4, 408, 0),              "terminated", true,  true,     None),
        (json!({"slow_after": "6s"}),    Complete(4, 408, 0),              "terminated", true,  true,     None),
        (json!("throttle"),              Complete(4, 408, 0),              "terminated", true,  true,     None),
        (json!("truncated"),             Complete(4, 408, 0),              "terminated", true,  true,     None),
        (json!("unavailable"),           Complete(4, 408, 0),              "terminated", true,  true,     None),
        (json!({"vanish": "v-3h"}),      Complete(3, 407, 0),              "terminated", true,  true,     None),
    ]
}

/// The operations that a fault is about, where others' answers have nothing that it could change: a
/// session that is listed once is terminated.
fn only_operations(name: &str) -> Option<&'static [&'static str]> {
    match name {
        "duplicate_rows" => Some(&["DescribeSessions", "GetResources"]),
        "empty_token" | "drop_field" | "repeat_token" | "shuffle_page" => {
            Some(&["DescribeSessions"])
        }
        "duplicate_tags" | "more_tags" => Some(&["GetResources"]),
        "fail_entries" => Some(&[]), // Of `PutEvents`, see `events::faults`.
        _ => None,
    }
}

/// The names of an enum's variants, as serde lists them when it knows none of such a name.
pub(crate) fn variants<T: serde::de::DeserializeOwned>() -> BTreeSet<String> {
    let Err(err) = serde_json::from_str::<T>("\"?\"") else { panic!("`?` is a variant") };
    err.to_string().split('`').skip(1).step_by(2).skip(1).map(str::to_owned).collect()
}

fn once(operation: &str, kind: &Value) -> Fault {
    Fault::new(operation, 1, serde_json::from_value(kind.clone()).expect("a fault"))
}

fn name(kind: &Value) -> &str {
    let of_object = kind.as_object().and_then(|it| it.keys().next()).map(String::as_str);
    of_object.or(kind.as_str()).expect("a fault")
}

/// The result of every fault in every operation.
#[tokio::test]
async fn every_fault_in_every_operation() {
    let named: BTreeSet<_> = table().iter().map(|(kind, ..)| name(kind).to_owned()).collect();
    assert_eq!(named, variants::<FaultKind>(), "each is in the table");
    let apply = async |(kind, listing, outcome, has_tags, has_type, problem)| {
        tokio::join!(
            fault_in_the_listing(&kind, listing),
            fault_in_a_termination(&kind, outcome),
            fault_in_the_tags(&kind, has_tags),
            fault_in_the_document(&kind, has_type),
            fault_in_the_policy(&kind, problem),
        )
    };
    // Tests that wait for an answer run together; all at once would be slow.
    let (slow, swift): (Vec<_>, Vec<_>) =
        table().into_iter().partition(|(kind, ..)| name(kind).starts_with("slow"));
    for row in swift {
        Box::pin(apply(row)).await;
    }
    join_all(slow.into_iter().map(apply)).await;
}

/// The fault did apply, once, unless there is nothing in the operation's answers that it could change.
#[track_caller]
fn assert_applied(stage: &Stage, operation: &str, kind: &Value) {
    let n_applied = stage.calls(operation).iter().filter(|it| it.fault.is_some()).count();
    let can_apply = only_operations(name(kind)).is_none_or(|it| it.contains(&operation));
    assert_eq!(n_applied, usize::from(can_apply), "{operation}: {kind}");
}

async fn fault_in_the_listing(kind: &Value, expected: Listing) {
    let page = if name(kind) == "empty_token" { 2 } else { 1 };
    let fault = once("DescribeSessions", kind).after(page);
    let stage = Stage::with_faults(Wire::Socket, THREE_PAGES, vec![fault]);
    let report = stage.sweep().await;
    assert_applied(&stage, "DescribeSessions", kind);
    let (n_terminated, it) = (report.outcomes.terminated, report.verdicts);
    match expected {
        Listing::Complete(terminated, seen, not_evaluated) => {
            assert_eq!(
                (n_terminated, it.seen, it.not_evaluated),
                (terminated, seen, not_evaluated),
                "{kind}"
            );
            assert_eq!(report.failure(), None, "{kind}");
        }
        Listing::Incomplete(why) => {
            let failure = report.failure().map(|it| it.to_string()).unwrap_or_default();
            assert!(failure.contains(why) && n_terminated == 0, "{kind}: {failure}");
        }
    }
}

async fn fault_in_a_termination(kind: &Value, expected: &str) {
    let fault = once("TerminateSession", kind).for_session("v-3h");
    let stage = Stage::with_faults(Wire::Socket, 0, vec![fault]);
    let report = stage.sweep().await;
    assert_applied(&stage, "TerminateSession", kind);
    let rows = serde_json::to_value(&report.sessions).expect("JSON");
    let is_it = |it: &&Value| it["session_id"] == "v-3h";
    let row = rows.as_array().and_then(|it| it.iter().find(is_it)).expect("v-3h");
    assert_eq!(row["outcome"], expected, "{kind}: {row}");
    assert_eq!(stage.is_active("v-3h"), expected != "terminated", "{kind}");
    assert!(3 <= report.outcomes.terminated, "{kind}: the others are terminated");
    assert_eq!(report.failure(), None, "{kind}");
}

async fn fault_in_the_tags(kind: &Value, are_known: bool) {
    let stage = Stage::with_faults(Wire::Socket, 0, vec![once("GetResources", kind)]);
    let report = stage.sweep().await;
    assert_applied(&stage, "GetResources", kind);
    if !are_known {
        let rows = serde_json::to_value(&report.sessions).expect("JSON");
        let is_answer = name(kind) == "empty_page"; // All the others are none.
        let unknown = if is_answer { "tags_not_returned" } else { "tags_lookup_failed" };
        let is_it = |it: &&Value| it["session_id"] == "v-3h";
        let row = rows.as_array().and_then(|it| it.iter().find(is_it)).expect("v-3h");
        assert_eq!(row["unknown"], unknown, "{kind}: {row}");
    }
    // A session that appears or vanishes does so after the listing.
    let undetermined = if are_known { 1 } else { 6 };
    assert_eq!(report.verdicts.undetermined, undetermined, "{kind}");
    assert_eq!(report.verdicts.violation, if are_known { 4 } else { 0 }, "{kind}");
}

async fn fault_in_the_document(kind: &Value, is_known: bool) {
    let mut fleet = fleet(0);
    fleet.documents.insert("Team-DbTunnel".into(), "Port".into());
    fleet.faults = vec![once("GetDocument", kind)];
    for it in &mut fleet.sessions {
        it.document = Some("Team-DbTunnel".into());
    }
    let policy = POLICY.replace("when: all", "when: { session_type: Port }");
    let stage = Stage { policy: inline(&policy), ..Stage::new(Wire::Socket, fleet) };
    let report = stage.sweep().await;
    assert_applied(&stage, "GetDocument", kind);
    // A session that vanishes does so after the listing.
    let (violation, undetermined) = if is_known { (4, 1) } else { (0, 5) };
    let it = report.verdicts;
    assert_eq!((it.violation, it.undetermined), (violation, undetermined), "{kind}");
    assert_eq!(stage.termination_requests().len(), violation, "{kind}");
}

async fn fault_in_the_policy(kind: &Value, problem: Option<&str>) {
    let policy = PolicySource::Parameter("/policy".into());
    let stage = Stage::with_faults(Wire::Socket, 0, vec![once("GetParameter", kind)]);
    let stage = Stage { policy, ..stage };
    stage.emulator.set_parameter("/policy", POLICY);
    let swept = stage.try_sweep().await;
    assert_applied(&stage, "GetParameter", kind);
    match (swept, problem) {
        (Ok(report), None) => assert!(3 <= report.outcomes.terminated, "{kind}"),
        (Err(err), Some(problem)) => {
            assert!(err.to_string().contains(problem), "{kind}: {err}");
            assert!(stage.calls("DescribeSessions").is_empty(), "{kind}");
        }
        (Ok(report), Some(_)) => panic!("{kind}: {}", report.counts()),
        (Err(err), None) => panic!("{kind}: {err}"),
    }
}

/// No session is terminated whose verdict depends on a field that is missing.
#[tokio::test]
async fn missing_field_terminates_nothing() {
    let policy = |rule: &str, assume: &str| {
        format!(
            "version: 1\nrules: [{{ id: a, {rule} }}]\nexemptions:\n\
             - {{ id: role, when: {{ owner: role/BreakGlass }} }}\n\
             - {{ id: others, when: {{ target: [i-000000000exempt00, i-00000000untagged0] }} }}\n\
             limits: {{ circuit_breaker: {{ max_percent: 100 }} }}\n{assume}"
        )
    };
    let about = |condition: &str, assume: &str| {
        policy(&format!("when: {{ {condition} }}, require: {{ max_age: 1h }}"), assume)
    };
    let require =
        |test: &str, assume: &str| policy(&format!("when: all, require: {{ {test} }}"), assume);
    let sessions = || {
        let mut fleet = fleet(0);
        for it in &mut fleet.sessions {
            it.document = Some("SSM-SessionManagerRunShell".into());
            it.access_type = Some("Standard".into());
            it.reason = Some("CHG-7".into());
        }
        fleet
    };
    let document = "document: SSM-SessionManagerRunShell";
    let just_in_time = "access_type: JustInTime";
    // By each policy, all four violators are terminated if no field is missing; and if this one is:
    for (field, policy, terminated, not_evaluated, undetermined) in [
        ("SessionId", POLICY.to_owned(), 0, 8, 0),
        ("Owner", POLICY.to_owned(), 0, 8, 0),
        ("Target", POLICY.to_owned(), 0, 8, 0),
        ("StartDate", POLICY.to_owned(), 0, 8, 0),
        ("Status", POLICY.to_owned(), 4, 0, 1), // Which asks for no status.
        ("Status", about("status: Connected", ""), 0, 0, 4),
        ("DocumentName", about(document, ""), 0, 0, 4),
        ("DocumentName", about(document, &format!("assume: {{ {document} }}")), 4, 0, 0),
        ("DocumentName", require("document: AWS-StartSSHSession", ""), 0, 0, 4),
        ("AccessType", require(just_in_time, ""), 0, 0, 4),
        ("AccessType", require(just_in_time, &format!("assume: {{ {just_in_time} }}")), 0, 0, 0),
        ("Reason", about("reason: CHG", ""), 0, 0, 4),
        ("Reason", require("reason: INC", ""), 0, 0, 4),
        ("Reason", require("reason: INC", "assume: { reason: none }"), 4, 0, 0),
    ] {
        let stage = Stage { policy: inline(&policy), ..Stage::new(Wire::Socket, sessions()) };
        assert_eq!(stage.sweep().await.outcomes.terminated, 4, "all is there: {policy}");
        // In whatever listing, also in those that verify.
        let fault = once("DescribeSessions", &json!({"drop_field": field})).always();
        let stage = Stage::new(Wire::Socket, Fleet { faults: vec![fault], ..sessions() });
        let stage = Stage { policy: inline(&policy), ..stage };
        let report = stage.sweep().await;
        let it = report.verdicts;
        let actual = (report.outcomes.terminated, it.not_evaluated, it.undetermined);
        assert_eq!(actual, (terminated, not_evaluated, undetermined), "{field}: {policy}");
        assert_eq!(stage.termination_requests().len(), terminated, "{field}");
        let calls = stage.calls("DescribeSessions");
        let n_applied = calls.iter().filter(|it| it.fault.is_some()).count();
        assert_eq!(n_applied, calls.len(), "{field}: in every listing");
    }
}

/// Even where targets that AWS does not tell of have no tags.
#[tokio::test]
async fn missing_tags_decide_nothing() {
    let policy = POLICY.replace("tag_keys:", "assume: { tags: none }\ntag_keys:");
    let dropped = ["Tags", "ResourceARN", "Key"].map(|field| json!({"drop_field": field}));
    // An exempting tag, and the same target without it: which one is true is not known.
    for field in dropped.into_iter().chain([json!("duplicate_rows"), json!("duplicate_tags")]) {
        let fault = once("GetResources", &field).always();
        let stage = Stage::with_faults(Wire::Socket, 0, vec![fault]);
        let stage = Stage { policy: inline(&policy), ..stage };
        let report = stage.sweep().await;
        assert!(stage.calls("GetResources").iter().all(|it| it.fault.is_some()), "{field}");
        let told = report.sessions.iter().filter(|it| it.verdict == VerdictKind::Undetermined);
        let told: Vec<_> = told.filter_map(|it| it.session_id.as_deref()).collect();
        assert!(told.contains(&"x-tag"), "{field}: {told:?}");
        assert!(stage.emulator.active_ids().contains(&"x-tag".into()), "{field}");
    }
}

/// The outcomes of sessions that end late, never, or before the call.
#[tokio::test]
async fn late_and_immortal_sessions() {
    let unconfirmed = Outcomes { unconfirmed: 1, terminated: 3, ..Outcomes::default() };
    let terminated = Outcomes { terminated: 4, ..Outcomes::default() };
    let on_terminate = [("ends", terminated), ("lingers", unconfirmed), ("stays", unconfirmed)];
    let names = on_terminate.map(|(name, _)| name.to_owned());
    assert_eq!(BTreeSet::from(names), variants::<OnTerminate>());
    for (name, expected) in on_terminate {
        let mut fleet = fleet(0);
        fleet.sessions[0].on_terminate = serde_json::from_value(json!(name)).expect("a variant");
        // Time for three passes.
        let deadline = Duration::from_millis(10_000 + 5_500);
        let stage = Stage { deadline, ..Stage::new(Wire::Socket, fleet) };
        let report = stage.sweep().await;
        stage.check(&report, Outcomes { no_action: 4, ..expected });
    }

    let gone = Outcomes { terminated: 3, already_gone: 1, ..Outcomes::default() };
    let to_ended = [("ok", terminated), ("validation_exception", gone)];
    let names = to_ended.map(|(name, _)| name.to_owned());
    assert_eq!(BTreeSet::from(names), variants::<ToEnded>());
    for (name, expected) in to_ended {
        let mut fleet = fleet(0);
        fleet.behaviour.to_ended = serde_json::from_value(json!(name)).expect("a variant");
        fleet.faults = vec![once("TerminateSession", &json!({"vanish": "v-2h"}))];
        let stage = Stage::new(Wire::Socket, fleet);
        let report = stage.sweep().await;
        stage.check(&report, Outcomes { no_action: 4, ..expected });
    }
}

/// Where the policy is, the first call that follows, and what the run fails with if it fails.
const FIRST_CALLS: [(Variable<'_>, &str, &str); 2] = [
    (("REAPER_POLICY", POLICY), "DescribeSessions", "ListingIncomplete"),
    (("REAPER_POLICY_PARAMETER", "/policy"), "GetParameter", "PolicyUnusable"), // As it is shipped.
];

/// Runs the function with these variables, in place of those that Lambda sets.
async fn run_with(emulator: &Emulator, variables: &[Variable<'_>]) -> Ran {
    let environment = [&[("REAPER_MODE", "enforce")], variables].concat();
    let invocations = Invocations { environment, ..invocations(vec![json!({})]) };
    let ran = invoke(emulator, invocations).await;
    assert_eq!(ran.replies.len(), 1);
    ran
}

/// One line in the reply, the same in the log, with these parts.
#[track_caller]
fn assert_one_line(ran: &Ran, failure: &str, parts: &[&str]) {
    for part in parts {
        assert_error(&ran.replies[0], failure, part);
    }
    let error = ran.replies[0].as_ref().expect_err("an error")["errorMessage"].to_string();
    assert!(!error.contains(r"\n") && !error.contains(r"\r"), "{error}");
    let logged = ran.lines_with("sweep failed");
    assert_eq!(logged.len(), 1);
    assert_eq!(logged[0]["error"].to_string(), error);
}

fn url(it: &str) -> Variable<'_> {
    ("AWS_ENDPOINT_URL", it)
}

type Variable<'a> = (&'a str, &'a str);

/// If AWS cannot be reached, the error says in one line what to do.
#[tokio::test]
async fn unreachable() {
    let emulator = Emulator::new(fleet(0));
    emulator.set_parameter("/policy", POLICY);
    let (plain, plain_url) = listen().await;
    tokio::spawn(serve(plain, emulator.clone()));
    let not_tls = plain_url.replace("http://", "https://");
    let valid = serve_tls(VALID, &plain_url).await;
    let expired = serve_tls(EXPIRED, &plain_url).await;
    let elsewhere = valid.replace("localhost", "127.0.0.2");
    let trusted = ("SSL_CERT_FILE", AUTHORITY);
    let without_credentials = &[
        ("AWS_ACCESS_KEY_ID", ""),
        ("AWS_SECRET_ACCESS_KEY", ""),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ][..];
    let table: [(&[Variable<'_>], [&str; 2]); 7] = [
        (&[url(&valid)], ["UnknownIssuer", "check the endpoint's URL"]),
        (&[url(&expired), trusted], ["expired", "renew the endpoint's certificate"]),
        (&[url(&elsewhere), trusted], ["not valid for name", "check the endpoint's URL"]),
        (&[url(&not_tls)], ["InvalidContentType", "it does not speak TLS"]),
        (&[url("http://ssm.nowhere.invalid")], ["dns error", "check the Region"]),
        (&[url("http://127.0.0.1:1")], ["Connection refused", "nothing listens there"]),
        (without_credentials, ["no credentials were found", "give the function a role"]),
    ];
    for (policy, operation, failure) in FIRST_CALLS {
        for (variables, [said, advice]) in table {
            let ran = run_with(&emulator, &[&[policy], variables].concat()).await;
            assert_one_line(&ran, failure, &[operation, said, advice]);
        }
    }
    assert!(emulator.calls().is_empty(), "nothing was sent, not even in plain text");

    for (policy, ..) in FIRST_CALLS {
        let ran = run_with(&emulator, &[policy, url(&valid), trusted]).await;
        assert!(ran.replies[0].is_ok(), "{:?}", ran.replies[0]);
    }
}

/// If AWS refuses every call, the error says in one line what to do.
#[tokio::test]
async fn refusals() {
    let by = |policy: &str| {
        format!(
            "User: arn:aws:sts::123456789012:assumed-role/r/s is not authorized to perform: \
             ssm:DescribeSessions on resource: *\n{policy}"
        )
    };
    let expired = "The security token included in the request is expired";
    let invalid = "The security token included in the request is invalid.";
    let late = "Signature expired: 20260302T1200Z is now earlier than 20260302T1210Z";
    let table = [
        ("ExpiredTokenException", expired, "the credentials have expired: renew them"),
        ("UnrecognizedClientException", invalid, "enable the Region for the account"),
        ("RequestTimeTooSkewed", "too large", "the clock of this machine is wrong: set it"),
        ("InvalidSignatureException", late, "the clock of this machine is wrong: set it"),
        ("InvalidSignatureException", "does not match", "the secret key does not belong"),
        (
            "AccessDeniedException",
            &by("because no identity-based policy allows it"),
            "allow `ssm:DescribeSessions`",
        ),
        (
            "AccessDeniedException",
            &by("with an explicit deny in a service control policy"),
            "a service control policy of the organization forbids it: have it allow `ssm:DescribeSessions`",
        ),
        (
            "AccessDeniedException",
            &by("with an explicit deny in an identity-based policy"),
            "a policy denies it explicitly: exempt the role",
        ),
    ];
    for (policy, operation, failure) in FIRST_CALLS {
        for (code, message, advice) in table {
            let of_it = |it: &str| it.replace("DescribeSessions", operation);
            let (code, message) = (code.to_owned(), of_it(message));
            let kind = FaultKind::Error { status: 400, code: code.clone(), message };
            // A listing is in the middle of the sweep: one page was read.
            let n_before = usize::from(operation == "DescribeSessions");
            let faults = vec![Fault::new(operation, 1, kind).always().after(n_before)];
            let emulator = Emulator::new(Fleet { faults, ..fleet(200) });
            let ran = run_with(&emulator, &[policy]).await;
            let seen = if n_before == 1 { "200 seen" } else { "" };
            assert_one_line(&ran, failure, &[&code, &of_it(advice), seen]);
            assert_eq!(emulator.calls().len(), n_before + 1, "{code}: it is not tried again");
        }
    }
}

/// If credentials expire before the policy is read, the error says so.
#[tokio::test]
async fn credentials_expire_before_the_policy() {
    let message = "The ciphertext refers to a customer master key that does not exist, does not \
                   exist in this region, or you are not allowed to access.";
    for (code, message, advice) in [
        ("ExpiredTokenException", "expired", "the credentials have expired: renew them"),
        ("AccessDeniedException", message, "allow `kms:Decrypt`"),
        (
            "AccessDeniedException",
            "User: x is not authorized to perform: kms:Decrypt on resource: k",
            "allow `kms:Decrypt`",
        ),
    ] {
        let kind = FaultKind::Error { status: 400, code: code.into(), message: message.into() };
        let faults = vec![Fault::new("GetParameter", 1, kind)];
        let stage = Stage::with_faults(Wire::Socket, 0, faults);
        let stage = Stage { policy: PolicySource::Parameter("/p".into()), ..stage };
        let err = stage.try_sweep().await.expect_err("no policy").to_string();
        assert!(err.contains(advice) && !err.contains('\n'), "{err}");
    }
}

/// Serves what a listing asks for: the page of a number; its URL.
async fn pages(page: impl Fn(usize) -> String + Clone + Send + 'static) -> String {
    let answer = move |request: Request<Bytes>| {
        let body: Value = serde_json::from_slice(request.body()).expect("JSON");
        let number = body["NextToken"].as_str().map_or(0, |it| it.parse().expect("a number"));
        let response = Response::new(Bytes::from(page(number)));
        async { Ok::<_, Reset>(response) }
    };
    let (listener, url) = listen().await;
    tokio::spawn(serve(listener, tower::service_fn(answer)));
    url
}

/// A policy that no session violates and that uses no tags.
const CALM: &str = "{version: 1, rules: [{id: a, when: {owner: role/nobody}, forbid: true}]}";

/// As fast as it goes, and as quiet.
async fn run_by_pages(page: impl Fn(usize) -> String + Clone + Send + 'static) -> Ran {
    let url = pages(page).await;
    let variables = [
        ("AWS_ENDPOINT_URL", url.as_str()),
        ("REAPER_CALLS_PER_SECOND", "10000"),
        ("REAPER_POLICY", CALM),
    ];
    run_with(&Emulator::new(Fleet::default()), &variables).await
}

/// An endless answer is cut off, and takes little memory.
#[tokio::test]
async fn endless_answer() {
    let started = "\"StartDate\": 1772430000.0";
    let row =
        |reason: &str| format!("{{\"SessionId\": \"a\", {started}, \"Reason\": \"{reason}\"}}");
    let long = row(&"x".repeat(10 << 20));
    let many = vec![row("x"); (10 << 20) / row("x").len()].join(",");
    for (name, rows) in [("one huge reason", long), ("far too many rows", many)] {
        let body = format!("{{\"Sessions\": [{rows}]}}");
        let ran = run_by_pages(move |_| body.clone()).await;
        assert_one_line(&ran, "ListingIncomplete", &["the answer is longer than 4 MiB", "0 seen"]);
        assert_bounded(&ran, 64, name);
    }
}

/// Endless answers of other operations are cut off too.
#[tokio::test]
async fn other_endless_answers() {
    let long = "x".repeat(5 << 20);
    let tags = json!({"ResourceTagMappingList": [{"ResourceARN": long}]}).to_string();
    let parameter = json!({"Parameter": {"Name": "/policy", "Value": long}}).to_string();
    let error = FaultKind::Error { status: 400, code: "Odd".into(), message: long };
    for (operation, kind, message) in [
        ("GetResources", FaultKind::Body(tags), "tag look-up failed"),
        ("GetParameter", FaultKind::Body(parameter), "sweep failed"),
        ("GetParameter", error.clone(), "sweep failed"),
        ("DescribeSessions", error.clone(), "sweep failed"),
        ("TerminateSession", error, "session unconfirmed"),
    ] {
        let faults = vec![Fault::new(operation, 1, kind).always()];
        let emulator = Emulator::new(Fleet { faults, ..fleet(0) });
        emulator.set_parameter("/policy", POLICY);
        let is_policy = operation == "GetParameter";
        let (policy, ..) = FIRST_CALLS[usize::from(is_policy)];
        let ran = run_with(&emulator, &[policy]).await;
        let lines = ran.lines_with(message);
        let error = lines.first().and_then(|it| it["error"].as_str()).unwrap_or_default();
        assert!(error.contains("the answer is longer than 4 MiB"), "{operation}: {}", ran.stdout);
        assert!(error.len() < 1_000, "{operation}: {} bytes", error.len());
        assert_bounded(&ran, 64, operation);
    }
}

/// The function took no more memory than this, and finished in bounded time.
#[track_caller]
fn assert_bounded(ran: &Ran, max_mib: usize, what: &str) {
    assert!(ran.peak_kib < max_mib << 10, "{what}: {} KiB", ran.peak_kib);
    let lines = ran.lines();
    let at = |it: &Value| it["timestamp"].as_str()?.parse::<jiff::Timestamp>().ok();
    let at: Vec<_> = lines.iter().filter_map(at).collect();
    let took = at[at.len() - 1].duration_since(at[0]);
    assert!(took < jiff::SignedDuration::from_secs(45), "{what}: {took:#}");
}

/// A thousand empty pages before a session are read.
#[tokio::test]
async fn thousand_empty_pages() {
    let ran = run_by_pages(|number| match number {
        1_000 => json!({"Sessions": [{"SessionId": "a"}]}).to_string(),
        _ => json!({"Sessions": [], "NextToken": (number + 1).to_string()}).to_string(),
    })
    .await;
    let report = ran.replies[0].as_ref().expect("a report");
    assert_eq!((&report["verdicts"]["seen"], &report["calls"]), (&json!(1), &json!(1_001)));
    assert_eq!(report["coverage"]["complete"], true);
    assert_bounded(&ran, 64, "a thousand empty pages");
}

/// A listing that has too many pages stops in time.
#[tokio::test]
async fn endless_pages() {
    let ran = run_by_pages(|number| {
        json!({"Sessions": [], "NextToken": (number + 1).to_string()}).to_string()
    })
    .await;
    assert_one_line(&ran, "ListingIncomplete", &["more than 2000 pages", "0 seen"]);
    assert_bounded(&ran, 64, "pages without end");
}

/// Of 10,000 sessions (100,000 in a release build), each is seen once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_sessions() {
    // An unoptimized function takes minutes for so many.
    let is_release = std::env::var_os("SESSION_REAPER_BINARY").is_some();
    let (n_pages, max_mib) = if is_release { (500, 100) } else { (50, 64) };
    let ran = run_by_pages(move |number| {
        let row = |i: usize| {
            json!({
                "SessionId": format!("jane.doe@example.com-0{:016x}", number * 200 + i),
                "Owner": "arn:aws:sts::123456789012:assumed-role/AWSReservedSSO_PowerUser_2b03e7d876722882/jane.doe@example.com",
                "Target": format!("i-{:017x}", number * 200 + i),
                "Status": "Connected",
                "DocumentName": "SSM-SessionManagerRunShell",
                "StartDate": 1_772_430_000.0,
                "Reason": "INC-2041",
            })
        };
        let rows: Vec<_> = (0..200).map(row).collect();
        let next = if number == n_pages - 1 { String::new() } else { (number + 1).to_string() };
        json!({"Sessions": rows, "NextToken": next}).to_string()
    })
    .await;
    let report = ran.replies[0].as_ref().expect("a report");
    let expected = (json!(n_pages * 200), json!(n_pages));
    assert_eq!((&report["verdicts"]["compliant"], &report["calls"]), (&expected.0, &expected.1));
    assert_eq!(report["coverage"]["complete"], true);
    assert_eq!(ran.lines_with("session evaluated").len(), n_pages * 200);
    assert_bounded(&ran, max_mib, "many sessions");
}

/// Of 10,000 sessions, 1,000 are terminated, verified and reported.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousand_terminations() {
    let mut fleet = fleet(8_492);
    let oldest =
        |i: i64| jiff::SignedDuration::from_hours(100) - jiff::SignedDuration::from_mins(i);
    for i in 0..1_500 {
        let target = format!("i-{i:017}");
        fleet.tags.insert(target.clone(), [("env".to_owned(), "dev".to_owned())].into());
        fleet.sessions.push(Seed {
            id: Some(format!("v-{i}")),
            target: Some(target),
            age: Some(oldest(i)),
            ..fleet.sessions[0].clone()
        });
    }
    let emulator = Emulator::new(fleet);
    let variables = [("REAPER_POLICY", POLICY), ("REAPER_CALLS_PER_SECOND", "10000")];
    let ran = run_with(&emulator, &variables).await;
    let report = ran.replies[0].as_ref().expect("a report");
    let (verdicts, outcomes) = (&report["verdicts"], &report["outcomes"]);
    assert_eq!((&verdicts["seen"], &verdicts["violation"]), (&json!(10_000), &json!(1_504)));
    assert_eq!((&outcomes["terminated"], &outcomes["deferred"]), (&json!(1_000), &json!(504)));
    assert_eq!(
        (report["sessions"].as_array().map(Vec::len), &report["truncated"]),
        (Some(1_000), &json!(true))
    );
    let calls = emulator.calls();
    let count = |operation: &str| calls.iter().filter(|it| it.operation == operation).count();
    assert_eq!(count("TerminateSession"), 1_000, "each once");
    assert_eq!(count("GetResources"), 16, "for 1,503 targets");
    assert_eq!(count("DescribeSessions"), 50 + 45, "before, and after");
    let living = emulator.active_ids();
    assert!((0..500).all(|i| !living.contains(&format!("v-{i}"))), "half of the limit: the oldest");
    assert_eq!(living.len(), 9_000);
    assert_bounded(&ran, 64, "many violators");
}
