//! What goes wrong at AWS, and what a sweep makes of it.

use std::time::Duration;

use jiff::SignedDuration;
use reaper_core::report::{Failure, Mode, Outcomes, Report};
use session_manager_emulator::{
    Behaviour, Call, Fault, FaultKind, Fleet, OnTerminate, Seed, ToEnded,
};
use session_reaper::sweep::source::PolicySource;

use crate::stage::{
    POLICY, Stage, TAGLESS_POLICY, VIOLATORS, Wire, assert_adds_up, fleet, inline, outcomes,
};

const LIST: &str = "DescribeSessions";
const TERMINATE: &str = "TerminateSession";
const TAGS: &str = "GetResources";
const PARAMETER: &str = "GetParameter";

/// With so many fillers, the violators stand on the third page of 200.
const THREE_PAGES: usize = 400;

/// Sweeps `fleet` while these faults apply, and checks what became of its violators.
async fn sweep_with(
    wire: Wire,
    n_fillers: usize,
    faults: &[Fault],
    violators: Outcomes,
) -> (Stage, Report) {
    let stage = Stage::with_faults(wire, n_fillers, faults.to_vec());
    let report = stage.sweep().await;
    stage.check(&report, outcomes(n_fillers, violators));
    (stage, report)
}

fn terminated(terminated: usize) -> Outcomes {
    Outcomes { terminated, ..Outcomes::default() }
}

fn unconfirmed(unconfirmed: usize) -> Outcomes {
    Outcomes { unconfirmed, ..Outcomes::default() }
}

/// What AWS answers when the credentials have expired.
pub(crate) fn expired() -> FaultKind {
    FaultKind::Error {
        status: 400,
        code: "ExpiredTokenException".into(),
        message: "The security token included in the request is expired".into(),
    }
}

#[track_caller]
fn assert_incomplete(report: &Report, problem: &str) {
    assert!(!report.coverage.complete);
    let failure = report.failure();
    assert!(matches!(failure, Some(Failure::ListingIncomplete { .. })), "{failure:?}");
    let text = failure.map(|it| it.to_string()).unwrap_or_default();
    assert!(text.contains(problem) && text.contains(&report.counts()), "{text}");
}

/// The one session of the report with this id, as JSON.
#[track_caller]
fn row(report: &Report, id: &str) -> serde_json::Value {
    let rows = report.sessions.iter().map(|it| serde_json::to_value(it).expect("JSON"));
    let mut rows = rows.filter(|it| it["session_id"] == id);
    let row = rows.next().unwrap_or_else(|| panic!("{id} is not in the report"));
    assert!(rows.next().is_none(), "{id} is in the report twice");
    row
}

// The listing.

/// An empty page with a token is not the end of the listing.
#[tokio::test]
async fn empty_page_with_token() {
    let faults = [
        Fault::new(LIST, 2, FaultKind::EmptyPage),
        Fault::new(LIST, 3, FaultKind::EmptyPage).after(1),
    ];
    let (_, report) = sweep_with(Wire::Socket, THREE_PAGES, &faults, terminated(4)).await;
    assert_eq!((report.failure(), report.coverage.pages), (None, 3 + 5));
}

/// A repeated token makes the listing incomplete; the sessions that were seen are processed.
#[tokio::test(start_paused = true)]
async fn repeated_token() {
    let fault = Fault::new(LIST, 1, FaultKind::RepeatToken).after(2);
    let (_, report) = sweep_with(Wire::InProcess, THREE_PAGES, &[fault], terminated(4)).await;
    assert_incomplete(&report, "repeated a page token");

    let fault = Fault::new(LIST, 1, FaultKind::RepeatToken).after(1);
    let stage = Stage::with_faults(Wire::InProcess, THREE_PAGES, vec![fault]);
    let report = stage.sweep().await;
    assert_incomplete(&report, "repeated a page token");
    assert_eq!(report.verdicts.seen, 400);
    stage.check(&report, Outcomes { no_action: 400, ..Outcomes::default() });
}

/// After an invalid token the listing starts again, at most twice.
#[tokio::test(start_paused = true)]
async fn invalid_token() {
    for times in [1, 2] {
        let fault = Fault::new(LIST, times, FaultKind::InvalidToken).after(2);
        let (stage, report) =
            sweep_with(Wire::InProcess, THREE_PAGES, &[fault], terminated(4)).await;
        assert_eq!(report.failure(), None);
        assert_eq!(report.verdicts.seen, 408, "what was seen twice counts once");
        assert_eq!(stage.calls(LIST).len(), if times == 1 { 3 + 3 } else { 3 + 1 + 3 } + 3);
    }
    let fault = Fault::new(LIST, 1, FaultKind::InvalidToken).always().after(2);
    let stage = Stage::with_faults(Wire::InProcess, THREE_PAGES, vec![fault]);
    let report = stage.sweep().await;
    assert_incomplete(&report, "InvalidNextToken");
    assert_eq!(stage.calls(LIST).len(), 2 + 1 + 2);
    stage.check(&report, Outcomes { no_action: 400, ..Outcomes::default() });
}

#[tokio::test]
async fn duplicate_rows() {
    let fault = Fault::new(LIST, 1, FaultKind::DuplicateRows).always();
    let (stage, report) = sweep_with(Wire::Socket, 0, &[fault], terminated(4)).await;
    assert_eq!(report.verdicts.seen, 8);
    assert_eq!(stage.termination_requests().len(), 4);
}

/// A throttled listing continues until it is complete.
#[tokio::test(start_paused = true)]
async fn throttled_listing() {
    for times in [3, 10] {
        let fault = Fault::new(LIST, times, FaultKind::Throttle).after(1);
        let (_, report) = sweep_with(Wire::InProcess, THREE_PAGES, &[fault], terminated(4)).await;
        assert_eq!(report.failure(), None, "{times}");
    }
}

/// A listing that is always throttled is incomplete, and no session is terminated.
#[tokio::test(start_paused = true)]
async fn listing_always_throttled() {
    let fault = Fault::new(LIST, 1, FaultKind::Throttle).always();
    let stage = Stage::with_faults(Wire::InProcess, 0, vec![fault]);
    let report = stage.sweep().await;
    assert_incomplete(&report, "was throttled");
    stage.check(&report, Outcomes::default());
}

/// A listing is complete despite server errors, resets and unreadable answers.
#[tokio::test]
async fn listing_retries() {
    for fails_once in [
        FaultKind::InternalError,
        FaultKind::Unavailable,
        FaultKind::ResetBefore,
        FaultKind::ResetAfter,
        FaultKind::Truncated,
        FaultKind::Body("<html>".into()),
    ] {
        let fault = Fault::new(LIST, 1, fails_once.clone()).after(1);
        let (_, report) = sweep_with(Wire::Socket, THREE_PAGES, &[fault], terminated(4)).await;
        assert_eq!(report.failure(), None, "{fails_once:?}");
    }
}

/// A listing gives up after five server errors; the sessions that were seen are processed.
#[tokio::test(start_paused = true)]
async fn listing_gives_up() {
    for fails_always in [FaultKind::InternalError, FaultKind::Unavailable, FaultKind::Truncated] {
        let fault = Fault::new(LIST, 5, fails_always).after(2);
        let stage = Stage::with_faults(Wire::InProcess, THREE_PAGES, vec![fault]);
        let report = stage.sweep().await;
        assert_incomplete(&report, "after 5 attempts");
        assert_eq!((report.verdicts.seen, stage.calls(LIST).len()), (400, 2 + 5));
    }
}

/// A call without an answer is retried.
#[tokio::test(start_paused = true)]
async fn slow_answer_is_retried() {
    let fault = Fault::new(LIST, 1, FaultKind::Slow(Duration::from_mins(1)));
    let (_, report) = sweep_with(Wire::InProcess, 0, &[fault], terminated(4)).await;
    assert_eq!(report.failure(), None);
    assert!((5.0..7.0).contains(&report.duration_s), "{} s", report.duration_s);
}

/// A denied listing is not retried, and its error names the action to allow.
#[tokio::test(start_paused = true)]
async fn denied_listing() {
    let fault = Fault::new(LIST, 1, FaultKind::Deny).always();
    let stage = Stage::with_faults(Wire::InProcess, 0, vec![fault]);
    let report = stage.sweep().await;
    assert_incomplete(&report, "(allow `ssm:DescribeSessions`)");
    assert_eq!(stage.emulator.calls().len(), 1);
}

/// A call with expired credentials is not retried.
#[tokio::test(start_paused = true)]
async fn expired_credentials() {
    let faults = vec![Fault::new(LIST, 1, expired()).always()];
    let stage = Stage::with_faults(Wire::InProcess, 0, faults);
    assert_incomplete(&stage.sweep().await, "ExpiredTokenException: The security token");
    assert_eq!(stage.emulator.calls().len(), 1);
}

/// Sessions may appear and vanish between pages.
#[tokio::test(start_paused = true)]
async fn sessions_change_between_pages() {
    let newcomer = Seed { id: Some("new".into()), ..Seed::default() };
    let faults = [
        Fault::new(LIST, 1, FaultKind::Appear(Box::new(newcomer))).after(1),
        Fault::new(LIST, 1, FaultKind::Vanish("v-3h".into())).after(2),
    ];
    let stage = Stage::with_faults(Wire::InProcess, THREE_PAGES, faults.to_vec());
    let report = stage.sweep().await;
    assert_eq!(stage.termination_requests(), ["v-5h", "v-4h", "v-2h"]);
    assert_eq!(report.outcomes.terminated, 3);
    assert_adds_up(&report);
}

/// The pauses between failed attempts grow.
#[tokio::test(start_paused = true)]
async fn backoff() {
    for (failure, expected) in [
        (FaultKind::InternalError, [100, 200, 400, 800]),
        (FaultKind::Throttle, [333, 667, 1_333, 1_500]),
    ] {
        let fault = Fault::new(LIST, 4, failure);
        let (stage, _) = sweep_with(Wire::InProcess, 0, &[fault], terminated(4)).await;
        let at: Vec<_> = stage.calls(LIST).iter().map(|it| it.at.as_millis()).collect();
        let pauses: Vec<_> = at.windows(2).take(4).map(|it| it[1] - it[0]).collect();
        let is_near = |(pause, expected): (&u128, u128)| (expected..=expected + 2).contains(pause);
        assert!(pauses.iter().zip(expected).all(is_near), "{pauses:?}");
    }
}

/// Errors are told apart by code and status.
#[tokio::test(start_paused = true)]
async fn error_kinds() {
    let error =
        |status, code: &str| FaultKind::Error { status, code: code.into(), message: "x".into() };
    for (status, code) in [
        (400, "ThrottledException"),
        (400, "RequestLimitExceeded"),
        (400, "SlowDown"),
        (400, "RequestTimeoutException"),
        (429, "Whatever"),
        (500, "Whatever"),
        (400, "com.amazonaws.ssm#ThrottlingException"),
        (400, "ThrottlingException:http://internal.amazon.com/"),
    ] {
        let fault = Fault::new(LIST, 2, error(status, code));
        let (_, report) = sweep_with(Wire::InProcess, 0, &[fault], terminated(4)).await;
        assert_eq!(report.failure(), None, "{status} {code}");
    }
    for (code, violators) in [
        ("DoesNotExistException", Outcomes { already_gone: 1, ..terminated(3) }),
        ("ExpiredTokenException", Outcomes { denied: 1, ..terminated(3) }),
        ("InternalServerError", Outcomes { failed: 1, ..terminated(3) }), // By its status.
    ] {
        let is_gone = code == "DoesNotExistException";
        let vanish = is_gone.then(|| Fault::new(TERMINATE, 1, FaultKind::Vanish("v-3h".into())));
        let fault = Fault::new(TERMINATE, 1, error(400, code)).for_session("v-3h");
        let faults: Vec<_> = vanish.into_iter().chain([fault]).collect();
        sweep_with(Wire::InProcess, 0, &faults, violators).await;
    }
}

/// A listing that has too many pages is incomplete.
#[tokio::test(start_paused = true)]
async fn endless_pages() {
    let fault = Fault::new(LIST, 1, FaultKind::EmptyPage).always().after(1);
    let stage = Stage {
        calls_per_second: 10_000.0,
        ..Stage::with_faults(Wire::InProcess, 400, vec![fault])
    };
    let report = stage.sweep().await;
    assert_incomplete(&report, "more than 2000 pages");
    assert_eq!(report.verdicts.seen, 200);
}

/// Without credentials no call is sent or retried.
#[tokio::test]
async fn no_credentials() {
    let stage = Stage { has_credentials: false, ..Stage::new(Wire::Socket, fleet(0)) };
    let report = stage.sweep().await;
    assert_incomplete(&report, "`DescribeSessions` was denied after 1 attempt");
    assert!(stage.emulator.calls().is_empty());
}

// What the records lack.

/// A record without a required field is counted as not evaluated, and is not terminated.
#[tokio::test]
async fn incomplete_record_is_not_evaluated() {
    let mut fleet = fleet(0);
    let whole = fleet.sessions[0].clone();
    let id = |id: &str| Some(id.to_owned());
    fleet.sessions.extend([
        Seed { id: None, ..whole.clone() },
        Seed { id: id("no-owner"), owner: None, ..whole.clone() },
        Seed { id: id("no-target"), target: None, ..whole.clone() },
        Seed { id: id("no-start"), age: None, ..whole.clone() },
        Seed { id: id("future"), age: Some(jiff::SignedDuration::from_mins(-6)), ..whole.clone() },
        Seed { id: id("bare"), status: Some("Terminating".into()), owner: None, ..whole },
    ]);
    let stage = Stage::new(Wire::Socket, fleet);
    let report = stage.sweep().await;
    stage.check(&report, outcomes(0, terminated(4)));
    assert_eq!((report.verdicts.seen, report.verdicts.not_evaluated), (14, 6));
    for id in ["no-owner", "no-target", "no-start", "future", "bare"] {
        assert!(stage.is_active(id), "{id} was terminated");
    }
    assert_eq!(row(&report, "no-owner")["error"], "no Owner");
    assert_eq!(row(&report, "bare")["error"], "no Owner");
    assert_eq!(report.failure(), None);
}

/// An unknown status is evaluated like any other.
#[tokio::test]
async fn unknown_status() {
    let mut fleet = fleet(0);
    for seed in &mut fleet.sessions {
        seed.status = Some("Hibernating".into());
    }
    let stage = Stage::new(Wire::Socket, fleet);
    let report = stage.sweep().await;
    stage.check(&report, outcomes(0, terminated(4)));
    assert_eq!(row(&report, "x-role")["status"], "Hibernating");
}

/// A session without status is undetermined where the status decides.
#[tokio::test(start_paused = true)]
async fn missing_status() {
    let mut fleet = fleet(0);
    for seed in fleet.sessions.iter_mut().take(2) {
        seed.status = Some(String::new());
    }
    let policy = "{version: 1, rules: [{id: a, when: {status: Disconnected}, forbid: true}]}";
    let stage = Stage { policy: inline(policy), ..Stage::new(Wire::InProcess, fleet) };
    let report = stage.sweep().await;
    assert_eq!((report.verdicts.compliant, report.verdicts.undetermined), (6, 2));
    assert_eq!(row(&report, "v-5h")["unknown"], "status_not_returned");
    assert!(stage.calls(TAGS).is_empty(), "no tag decides anything");
}

/// A record without an id counts once, even if the listing starts again.
#[tokio::test(start_paused = true)]
async fn missing_id_counts_once() {
    let mut fleet = fleet(THREE_PAGES);
    fleet.sessions.push(Seed { id: None, ..fleet.sessions[7].clone() });
    fleet.faults = vec![Fault::new(LIST, 1, FaultKind::InvalidToken).after(2)];
    let stage = Stage::new(Wire::InProcess, fleet);
    let report = stage.sweep().await;
    assert_eq!((report.verdicts.seen, report.verdicts.not_evaluated), (409, 1));
    stage.check(&report, outcomes(THREE_PAGES, terminated(4)));
}

// The tags.

/// If tags cannot be looked up, the sessions whose verdict depends on them are undetermined.
#[tokio::test(start_paused = true)]
async fn failed_tag_lookup() {
    let policy = |tags: &str| inline(&format!("{POLICY}assume: {{ tags: {tags} }}\n"));
    for (kind, tags) in [
        (FaultKind::Deny, "unknown"),
        (FaultKind::Deny, "none"), // Even then: a failed look-up is not an answer.
        (FaultKind::InternalError, "none"),
        (FaultKind::Throttle, "none"),
    ] {
        let fault = Fault::new(TAGS, 1, kind).always();
        let stage = Stage::with_faults(Wire::InProcess, 0, vec![fault]);
        let stage = Stage { policy: policy(tags), ..stage };
        let report = stage.sweep().await;
        let it = report.verdicts;
        assert_eq!((it.compliant, it.exempt, it.undetermined), (1, 1, 6));
        assert_eq!(row(&report, "v-5h")["unknown"], "tags_lookup_failed");
        assert_eq!(stage.termination_requests(), Vec::<String>::new());
        assert_eq!(report.failure(), None);
        assert_adds_up(&report);
    }
}

/// If one batch of tags cannot be looked up, the others are not affected.
#[tokio::test(start_paused = true)]
async fn failed_tag_batch() {
    let fleet = violators_on_targets_of_their_own(150);
    let fault = Fault::new(TAGS, 1, FaultKind::Deny);
    let stage = Stage::new(Wire::InProcess, Fleet { faults: vec![fault], ..fleet });
    let report = stage.sweep().await;
    let it = report.verdicts;
    assert_eq!((it.violation, it.undetermined), (50, 100));
    assert_eq!(report.outcomes.terminated, 50);
    assert_eq!(stage.emulator.active_ids().len(), 100);
    assert_adds_up(&report);
}

/// Containers have the tags of their task; targets without an ARN are undetermined.
#[tokio::test(start_paused = true)]
async fn container_tags() {
    let mut fleet = fleet(0);
    let violator = fleet.sessions[0].clone();
    let on = |target: &str| Seed {
        id: Some(target.into()),
        target: Some(target.into()),
        ..violator.clone()
    };
    let tagged = [("env".to_owned(), "dev".to_owned())];
    fleet.tags.insert("ecs:my_cluster_t1_t1-1".into(), tagged.clone().into());
    fleet.tags.insert("mi-00000000000000000".into(), tagged.into());
    let targets =
        ["ecs:my_cluster_t1_t1-1", "ecs:my_cluster_t1_t1-2", "mi-00000000000000000", "edge-7"];
    fleet.sessions = targets.map(on).into();
    let stage = Stage::new(Wire::InProcess, fleet);
    let report = stage.sweep().await;
    assert_eq!(stage.emulator.active_ids(), ["edge-7"]);
    assert_eq!(row(&report, "edge-7")["unknown"], "tags_no_arn");
    assert_adds_up(&report);
}

/// If the answer says that there are more tags, the missing ones are unknown.
#[tokio::test(start_paused = true)]
async fn more_tags() {
    let body = r#"{"PaginationToken": "more", "ResourceTagMappingList": []}"#;
    let fault = Fault::new(TAGS, 1, FaultKind::Body(body.into()));
    let policy = inline(&format!("{POLICY}assume: {{ tags: none }}\n"));
    let stage = Stage { policy, ..Stage::with_faults(Wire::InProcess, 0, vec![fault]) };
    let report = stage.sweep().await;
    assert_eq!(report.verdicts.undetermined, 6);
    assert_eq!(row(&report, "v-5h")["unknown"], "tags_lookup_failed");
}

/// A target is exempt by a tag; the answer names the key or the ARN twice, or another ARN only, or no value.
#[tokio::test(start_paused = true)]
async fn contradictory_tags() {
    let seen = Stage::new(Wire::InProcess, fleet(0));
    let report = seen.sweep().await;
    let target = row(&report, "x-tag")["target"].to_string().replace('"', "");
    let arn = format!("arn:aws:ec2:eu-central-1:123456789012:instance/{target}");
    assert!(seen.calls(TAGS)[0].body["ResourceARNList"].to_string().contains(&arn));

    let mapping = |arn: &str, values: &[&str]| {
        let tag = |value: &&str| serde_json::json!({"Key": "reaper:exempt", "Value": value});
        serde_json::json!({"ResourceARN": arn, "Tags": values.iter().map(tag).collect::<Vec<_>>()})
    };
    let another = format!("{arn}0");
    let without_value = serde_json::json!({"ResourceARN": arn, "Tags": [{"Key": "reaper:exempt"}]});
    for (mappings, unknown) in [
        (vec![mapping(&arn, &["true", "false"])], "tags_lookup_failed"),
        (vec![mapping(&arn, &["false", "true"])], "tags_lookup_failed"),
        (vec![mapping(&arn, &["true"]), mapping(&arn, &[])], "tags_lookup_failed"),
        (vec![mapping(&arn, &[]), mapping(&arn, &["true"])], "tags_lookup_failed"),
        (vec![mapping(&another, &["true"])], "tags_lookup_failed"),
        (vec![mapping(&another, &["false"])], "tags_lookup_failed"),
        (vec![without_value], "tags_lookup_failed"),
    ] {
        let body = serde_json::json!({"PaginationToken": "", "ResourceTagMappingList": mappings})
            .to_string();
        let fault = Fault::new(TAGS, 1, FaultKind::Body(body)).always();
        let report = Stage::with_faults(Wire::InProcess, 0, vec![fault]).sweep().await;
        assert_eq!(row(&report, "x-tag")["unknown"], unknown, "{mappings:?}");
    }
}

// The terminations.

/// Throttled terminations continue until every session is terminated.
#[tokio::test(start_paused = true)]
async fn throttled_terminations() {
    for times in [3, 10] {
        let fault = Fault::new(TERMINATE, times, FaultKind::Throttle);
        sweep_with(Wire::InProcess, 0, &[fault], terminated(4)).await;
    }
}

/// With a quota below the pace, every session is still terminated.
#[tokio::test(start_paused = true)]
async fn quota_below_pace() {
    let behaviour = Behaviour { quota: Some(5), ..Behaviour::default() };
    let fleet = Fleet { behaviour, ..violators_on_targets_of_their_own(150) };
    let stage = Stage::new(Wire::InProcess, fleet);
    let report = stage.sweep().await;
    assert_eq!(report.outcomes, terminated(150));
    let throttled = |it: &_| matches!(it, Some(code) if code == "ThrottlingException");
    let calls = stage.calls(TERMINATE);
    assert!(calls.iter().any(|it| throttled(&it.error)), "the quota was met");
    assert!(stage.emulator.active_ids().is_empty());
}

/// Where others leave two calls a second, every session is terminated nearly as fast as that allows, and
/// few calls are throttled.
#[tokio::test(start_paused = true)]
async fn part_of_the_quota() {
    let latency = Duration::from_millis(30);
    let behaviour = Behaviour { quota: Some(2), burst: Some(6), latency, ..Behaviour::default() };
    let fleet = Fleet { behaviour, ..violators_on_targets_of_their_own(150) };
    let stage = Stage { calls_per_second: 5.0, ..Stage::new(Wire::InProcess, fleet) };
    let report = stage.sweep().await;
    assert_eq!(report.outcomes, terminated(150));
    let calls = stage.calls(TERMINATE);
    let n_throttled = calls.iter().filter(|it| it.error.is_some()).count();
    assert!(0 < n_throttled && 10 * n_throttled <= calls.len(), "{n_throttled} throttled");
    let [first, last] = [0, calls.len() - 1].map(|i| calls[i].at.as_secs_f64());
    let took = last - first;
    assert!(took <= 1.15 * 150.0 / 2.0, "{took} s");
}

/// A termination that is always throttled ends as `throttled`; the others are not affected.
#[tokio::test(start_paused = true)]
async fn termination_always_throttled() {
    let fault = Fault::new(TERMINATE, 1, FaultKind::Throttle).always().for_session("v-3h");
    let expected = Outcomes { terminated: 3, throttled: 1, ..Outcomes::default() };
    let (stage, report) = sweep_with(Wire::InProcess, 0, &[fault], expected).await;
    assert!(stage.is_active("v-3h"));
    assert_eq!(
        (row(&report, "v-3h")["outcome"].as_str(), report.failure()),
        (Some("throttled"), None)
    );
}

/// A termination succeeds despite server errors, resets and unreadable answers.
#[tokio::test]
async fn termination_retries() {
    for (once, expected) in [
        (FaultKind::InternalError, terminated(4)),
        (FaultKind::Unavailable, terminated(4)),
        (FaultKind::ResetBefore, terminated(4)),
        (FaultKind::ResetAfter, terminated(4)),
        (FaultKind::Truncated, terminated(4)),
        (FaultKind::Body("<html>".into()), terminated(4)),
    ] {
        let fault = Fault::new(TERMINATE, 1, once.clone()).for_session("v-3h");
        let (stage, _) = sweep_with(Wire::Socket, 0, &[fault], expected).await;
        assert_eq!(stage.termination_requests().len(), 5, "{once:?}");
    }
}

/// A termination without an answer is verified.
#[tokio::test(start_paused = true)]
async fn unanswered_termination_is_verified() {
    // It took effect, and AWS never said so.
    let fault = Fault::new(TERMINATE, 1, FaultKind::ResetAfter).always().for_session("v-3h");
    let expected = Outcomes { already_gone: 1, ..terminated(3) };
    let (stage, _) = sweep_with(Wire::InProcess, 0, &[fault], expected).await;
    assert_eq!(stage.termination_requests().len(), 3 + 5);
    // It did not.
    for never in [FaultKind::ResetBefore, FaultKind::InternalError, FaultKind::Unavailable] {
        let fault = Fault::new(TERMINATE, 1, never).always().for_session("v-3h");
        let expected = Outcomes { terminated: 3, unconfirmed: 1, ..Outcomes::default() };
        let (_, report) = sweep_with(Wire::InProcess, 0, &[fault], expected).await;
        let row = row(&report, "v-3h");
        assert_eq!(row["last_status"], "Connected");
        assert!(row["error"].as_str().is_some_and(|it| it.contains("after 5 attempts")), "{row}");
    }
}

/// A session that has already ended is not a failure, whatever AWS answers.
#[tokio::test(start_paused = true)]
async fn already_gone_is_no_failure() {
    for (to_ended, expected) in [
        (ToEnded::Ok, terminated(4)),
        (
            ToEnded::ValidationException,
            Outcomes { terminated: 3, already_gone: 1, ..Outcomes::default() },
        ),
    ] {
        let faults = vec![Fault::new(TERMINATE, 1, FaultKind::Vanish("v-2h".into()))];
        let behaviour = Behaviour { to_ended, ..Behaviour::default() };
        let stage = Stage::new(Wire::InProcess, Fleet { faults, behaviour, ..fleet(0) });
        let report = stage.sweep().await;
        stage.check(&report, outcomes(0, expected));
    }
}

/// If the answer to a termination is cut off, the retry decides what is reported.
#[tokio::test(start_paused = true)]
async fn repeated_call_after_cut_off() {
    let faults = vec![Fault::new(TERMINATE, 1, FaultKind::ResetAfter).for_session("v-2h")];
    let behaviour = Behaviour { to_ended: ToEnded::ValidationException, ..Behaviour::default() };
    let stage = Stage::new(Wire::InProcess, Fleet { faults, behaviour, ..fleet(0) });
    let report = stage.sweep().await;
    let expected = Outcomes { terminated: 3, already_gone: 1, ..Outcomes::default() };
    stage.check(&report, outcomes(0, expected));
}

/// AWS has nothing left to terminate, and still lists the session while it disappears: no claim that it is still active.
#[tokio::test(start_paused = true)]
async fn slow_termination_has_not_failed() {
    let behaviour = Behaviour {
        to_ended: ToEnded::ValidationException,
        terminating_for: Duration::from_hours(1),
        ..Behaviour::default()
    };
    let unanswered = Fault::new(TERMINATE, 1, FaultKind::ResetAfter).for_session("v-2h");
    let stage = Stage::new(
        Wire::InProcess,
        Fleet { faults: vec![unanswered], behaviour: behaviour.clone(), ..fleet(0) },
    );
    let report = stage.sweep().await;
    let expected = Outcomes { unconfirmed: 4, ..Outcomes::default() };
    stage.check(&report, outcomes(0, expected));
    assert_eq!(row(&report, "v-2h")["last_status"], "Terminating");

    // What another sweep terminates at the same time.
    let behaviour = Behaviour { latency: Duration::from_millis(10), ..behaviour };
    let stage = Stage::new(Wire::InProcess, Fleet { behaviour, ..fleet(0) });
    let (one, other) = tokio::join!(Box::pin(stage.sweep()), Box::pin(stage.sweep()));
    stage.check(&one, outcomes(0, expected));
    stage.check(&other, outcomes(0, expected));
    let is_refused = |it: &Call| it.error.as_deref() == Some("ValidationException");
    assert_eq!(stage.calls(TERMINATE).iter().filter(|it| is_refused(it)).count(), 4);
}

/// If the answer to a termination is cut off and the retry is denied or throttled, the listing
/// decides.
#[tokio::test(start_paused = true)]
async fn cut_off_then_denied() {
    for then in [FaultKind::Deny, FaultKind::Throttle] {
        for (first, violators) in [
            (FaultKind::ResetAfter, Outcomes { already_gone: 1, ..terminated(3) }),
            (FaultKind::ResetBefore, Outcomes { unconfirmed: 1, ..terminated(3) }),
        ] {
            let faults = [
                Fault::new(TERMINATE, 1, first).for_session("v-2h"),
                Fault::new(TERMINATE, 1, then.clone()).always().for_session("v-2h"),
            ];
            sweep_with(Wire::InProcess, 0, &faults, violators).await;
        }
    }
}

/// A session that AWS refuses to terminate is `failed`.
#[tokio::test(start_paused = true)]
async fn refused_termination() {
    let refused =
        FaultKind::Error { status: 400, code: "InvalidSession".into(), message: "no".into() };
    let invalid =
        FaultKind::Error { status: 400, code: "ValidationException".into(), message: "no".into() };
    for fails_always in [refused, invalid] {
        let fault = Fault::new(TERMINATE, 1, fails_always).always().for_session("v-4h");
        let expected = Outcomes { terminated: 3, failed: 1, ..Outcomes::default() };
        let (stage, report) = sweep_with(Wire::InProcess, 0, &[fault], expected).await;
        assert!(stage.is_active("v-4h"));
        assert_eq!(
            (row(&report, "v-4h")["last_status"].as_str(), report.failure()),
            (Some("Connected"), None)
        );
    }
}

/// One denied termination is an outcome.
#[tokio::test]
async fn one_denied_termination() {
    let fault = Fault::new(TERMINATE, 1, FaultKind::Deny).for_session("v-4h");
    let expected = Outcomes { terminated: 3, denied: 1, ..Outcomes::default() };
    let (stage, report) = sweep_with(Wire::Socket, 0, &[fault], expected).await;
    assert!(stage.is_active("v-4h"));
    let error = row(&report, "v-4h")["error"].to_string();
    assert!(error.contains("AccessDeniedException") && error.contains("`ssm:TerminateSession`"));
    assert_eq!(report.failure(), None);
}

/// If every termination is denied, the run has failed.
#[tokio::test]
async fn all_denied() {
    let fault = Fault::new(TERMINATE, 1, FaultKind::Deny).always();
    let expected = Outcomes { denied: 4, ..Outcomes::default() };
    let (stage, report) = sweep_with(Wire::Socket, 0, &[fault], expected).await;
    assert!(matches!(report.failure(), Some(Failure::AllDenied { .. })));
    assert_eq!(stage.calls(LIST).len(), 1, "there is nothing to verify");
}

/// The report says that credentials expired during the terminations.
#[tokio::test(start_paused = true)]
async fn credentials_expire_midway() {
    let faults = [
        Fault::new(TERMINATE, 1, expired()).always().after(2),
        Fault::new(LIST, 1, expired()).always().after(1),
    ];
    let expected = Outcomes { unconfirmed: 2, denied: 2, ..Outcomes::default() };
    let (stage, report) = sweep_with(Wire::InProcess, 0, &faults, expected).await;
    assert_eq!(
        stage.termination_requests(),
        VIOLATORS,
        "each once: what is refused is not tried again"
    );
    assert_eq!(
        stage.emulator.active_ids().len(),
        6,
        "the first two are gone, but that was not seen"
    );
    let renew = "ExpiredTokenException: The security token included in the request is expired \
                 (the credentials have expired: renew them)";
    for (id, outcome, operation) in [
        ("v-5h", "unconfirmed", LIST),
        ("v-4h", "unconfirmed", LIST),
        ("v-3h", "denied", TERMINATE),
        ("v-2h", "denied", TERMINATE),
    ] {
        let row = row(&report, id);
        let error = format!("`{operation}` was denied after 1 attempt: {renew}");
        assert_eq!((&row["outcome"], &row["error"]), (&outcome.into(), &error.into()), "{id}");
    }
    assert_eq!(report.failure(), None, "the run did all that it could be seen to do");
}

// The verification.

/// A session that stays listed is `unconfirmed` after five passes.
#[tokio::test(start_paused = true)]
async fn unconfirmed_after_five_passes() {
    let mut fleet = fleet(0);
    fleet.sessions[0].on_terminate = OnTerminate::Stays;
    let stage = Stage::new(Wire::InProcess, fleet);
    let report = stage.sweep().await;
    let expected = Outcomes { terminated: 3, unconfirmed: 1, ..Outcomes::default() };
    stage.check(&report, outcomes(0, expected));
    assert_eq!(row(&report, "v-5h")["last_status"], "Connected");
    let listed: Vec<_> = stage.calls(LIST).iter().map(|it| it.at.as_secs()).collect();
    assert_eq!(listed, [0, 0, 1, 3, 7, 15], "one census, and passes 0, 1, 2, 4, 8 s apart");
}

/// Sessions that stay `Terminating` are awaited for three passes only.
#[tokio::test(start_paused = true)]
async fn lingering_sessions_take_three_passes() {
    let mut fleet = fleet(0);
    fleet.sessions[0].on_terminate = OnTerminate::Lingers;
    let stage = Stage::new(Wire::InProcess, fleet);
    let report = stage.sweep().await;
    let expected = Outcomes { terminated: 3, unconfirmed: 1, ..Outcomes::default() };
    stage.check(&report, outcomes(0, expected));
    assert_eq!(row(&report, "v-5h")["last_status"], "Terminating");
    assert_eq!(stage.calls(LIST).len(), 1 + 3);
}

/// It is asked again in every sweep, and stays `unconfirmed` for as long as it is listed.
#[tokio::test(start_paused = true)]
async fn terminating_stays_unconfirmed() {
    let mut fleet = fleet(0);
    fleet.sessions[0].on_terminate = OnTerminate::Lingers;
    let stage = Stage::new(Wire::InProcess, fleet);
    for sweep in 0..3 {
        let report = stage.sweep().await;
        let terminated = if sweep == 0 { 3 } else { 0 };
        let expected = Outcomes { terminated, unconfirmed: 1, ..Outcomes::default() };
        stage.check(&report, outcomes(0, expected));
        let told = row(&report, "v-5h");
        let status = if sweep == 0 { "Connected" } else { "Terminating" };
        assert_eq!((&told["verdict"], &told["status"]), (&"violation".into(), &status.into()));
        assert_eq!(told["last_status"], "Terminating");
        assert_eq!(report.verdicts.violation, 1 + terminated);
        tokio::time::sleep(Duration::from_mins(5)).await;
    }
    assert_eq!(stage.termination_requests().iter().filter(|it| *it == "v-5h").count(), 3);
}

/// What was `Terminating` before this sweep's request was not terminated by it.
#[tokio::test(start_paused = true)]
async fn terminating_and_gone_is_already_gone() {
    let mut fleet = fleet(0);
    fleet.behaviour.terminating_for = Duration::from_secs(301);
    let stage = Stage::new(Wire::InProcess, fleet);
    let began = tokio::time::Instant::now();
    let report = stage.sweep().await;
    let unconfirmed = Outcomes { unconfirmed: 4, ..Outcomes::default() };
    stage.check(&report, outcomes(0, unconfirmed));
    tokio::time::sleep_until(began + Duration::from_mins(5)).await;
    let report = stage.sweep().await;
    stage.check(&report, outcomes(0, Outcomes { already_gone: 4, ..Outcomes::default() }));
}

/// More sessions than the limit hang in `Terminating`, and the others lose no place and no time.
#[tokio::test(start_paused = true)]
async fn terminating_starves_no_session() {
    let mut fleet = fleet(0);
    let other = fleet.sessions[0].clone();
    fleet.sessions.extend((0..60).map(|i| Seed {
        id: Some(format!("v-5h-hangs-{i}")),
        age: Some(jiff::SignedDuration::from_hours(9)),
        status: Some("Terminating".into()),
        on_terminate: OnTerminate::Lingers,
        ..other.clone()
    }));
    let (policy, _) = POLICY.split_once("limits").expect("limits");
    let limits = "limits: {max_terminations: 4, circuit_breaker: {min_violations: 5}}";
    let policy = inline(&format!("{policy}{limits}"));
    // At this pace there is time for a third of those that hang.
    let deadline = Duration::from_secs(20);
    let stage = Stage::new(Wire::InProcess, fleet);
    let stage = Stage { policy, calls_per_second: 5.0, deadline, ..stage };
    let report = stage.sweep().await;
    assert!(!report.circuit_breaker_open, "{report:?}");
    assert_eq!(stage.termination_requests()[..4], VIOLATORS);
    assert_eq!(report.outcomes.terminated, 4);
    assert!((1..60).contains(&report.outcomes.unconfirmed), "{:?}", report.outcomes);
    assert_eq!(report.outcomes.deferred + report.outcomes.unconfirmed, 60);
    assert_eq!(report.backlog, report.outcomes.deferred);
}

/// AWS accepted none of five attempts: who or what terminated the session is not known.
#[tokio::test(start_paused = true)]
async fn gone_without_acceptance_is_already_gone() {
    for kind in [FaultKind::Unavailable, FaultKind::InternalError, FaultKind::ResetAfter] {
        let five = Fault::new(TERMINATE, 5, kind.clone()).for_session("v-2h");
        let vanish = Fault::new(LIST, 1, FaultKind::Vanish("v-2h".into())).after(1);
        let stage = Stage::with_faults(Wire::InProcess, 0, vec![five, vanish]);
        let report = stage.sweep().await;
        let expected = Outcomes { terminated: 3, already_gone: 1, ..Outcomes::default() };
        stage.check(&report, outcomes(0, expected));
        assert!(row(&report, "v-2h")["error"].is_string(), "{kind:?}");
    }
}

/// A session that is `Terminating` for a moment is seen to be gone.
#[tokio::test(start_paused = true)]
async fn terminating_then_gone() {
    let mut fleet = fleet(0);
    fleet.behaviour.terminating_for = Duration::from_secs(2);
    let stage = Stage::new(Wire::InProcess, fleet);
    let report = stage.sweep().await;
    stage.check(&report, outcomes(0, terminated(4)));
}

/// A row that loses its id proves nothing.
#[tokio::test(start_paused = true)]
async fn lost_id_proves_nothing() {
    let nameless = Seed::default();
    let fault = Fault::new(LIST, 1, FaultKind::Appear(Box::new(nameless.clone()))).after(1);
    sweep_with(Wire::InProcess, 0, &[fault], unconfirmed(4)).await;
    // Nor if as many rows of others lacked it before.
    let mut fleet_that_stays = fleet(THREE_PAGES);
    for it in &mut fleet_that_stays.sessions {
        it.on_terminate = OnTerminate::Stays;
    }
    fleet_that_stays.faults = vec![
        Fault::new(LIST, 1, FaultKind::DropField("SessionId".into())).after(1), // The page of the fillers.
        Fault::new(LIST, 1, FaultKind::DropField("SessionId".into())).after(5), // Of the violators.
    ];
    let report = Stage::new(Wire::InProcess, fleet_that_stays).sweep().await;
    assert_eq!(report.outcomes.unconfirmed, 4, "{:#?}", report.sessions);
    // A row that had none before is not a session whose termination was requested.
    let mut fleet = fleet(0);
    fleet.sessions.push(nameless);
    let stage = Stage::new(Wire::InProcess, fleet);
    let report = stage.sweep().await;
    stage.check(&report, outcomes(0, terminated(4)));
}

/// Only a complete pass proves absence.
#[tokio::test(start_paused = true)]
async fn incomplete_pass_proves_nothing() {
    let fault = Fault::new(LIST, 1, FaultKind::Deny).always().after(1);
    let (stage, report) = sweep_with(Wire::InProcess, 0, &[fault], unconfirmed(4)).await;
    assert!(
        VIOLATORS.iter().all(|it| !stage.is_active(it)),
        "they are gone, but that was not seen"
    );
    assert_eq!(report.failure(), None);
    // One pass that fails is made up for by the next.
    let fault = Fault::new(LIST, 1, FaultKind::Deny).after(1);
    sweep_with(Wire::InProcess, 0, &[fault], terminated(4)).await;
}

// The deadline.

/// When time runs out, the remaining violating sessions are deferred, and the started terminations
/// are verified.
#[tokio::test(start_paused = true)]
async fn time_runs_out() {
    let fleet = violators_on_targets_of_their_own(100);
    let stage = Stage {
        calls_per_second: 5.0,
        // 10 s of margin, 2.2 s for verification, 4 s to act and a little for what comes before.
        deadline: Duration::from_millis(10_000 + 2_200 + 4_100),
        ..Stage::new(Wire::InProcess, fleet)
    };
    let report = stage.sweep().await;
    assert_eq!(report.outcomes, Outcomes { terminated: 21, deferred: 79, ..Outcomes::default() });
    assert_eq!(stage.emulator.active_ids().len(), 79);
    let oldest_deferred = row(&report, &stage.emulator.active_ids()[0]);
    assert_eq!(
        (oldest_deferred["action"].as_str(), oldest_deferred["deferred_by"].as_str()),
        (Some("defer"), Some("deadline"))
    );
    assert_eq!(report.failure(), None);
    assert_adds_up(&report);
}

/// Without time, no session is terminated.
#[tokio::test(start_paused = true)]
async fn no_time() {
    let with = |seconds, policy| Stage {
        deadline: Duration::from_secs(seconds),
        policy: inline(policy),
        ..Stage::new(Wire::InProcess, fleet(0))
    };
    let stage = with(11, TAGLESS_POLICY);
    let report = stage.sweep().await;
    stage.check(&report, outcomes(0, Outcomes { deferred: 4, ..Outcomes::default() }));
    assert_eq!(report.failure(), None);

    let stage = with(11, POLICY);
    let report = stage.sweep().await;
    stage.check(&report, outcomes(4, Outcomes::default()));
    assert_eq!(row(&report, "v-5h")["unknown"], "tags_lookup_failed");

    let stage = with(10, POLICY);
    assert_incomplete(&stage.sweep().await, "had no time to start");
    assert!(stage.emulator.calls().is_empty());
}

/// Slow look-ups of tags leave time to terminate sessions whose verdict needs no tags.
#[tokio::test(start_paused = true)]
async fn slow_tags_leave_time() {
    let policy = r#"
version: 1
tag_keys: [env]
limits: { circuit_breaker: {max_percent: 100 } }
rules:
  - { id: one-hour, when: { target: "i-0*" }, require: { max_age: 1h } }
  - { id: tagged, when: { target: "mi-*", target_tags: { env: x } }, forbid: true }
"#;
    let mut fleet = violators_on_targets_of_their_own(50);
    let target = Some("mi-00000000000000000".into());
    fleet.sessions.push(Seed { id: Some("u".into()), target, ..fleet.sessions[0].clone() });
    for sickness in [FaultKind::Throttle, FaultKind::Slow(Duration::from_mins(1))] {
        let faults = vec![Fault::new(TAGS, 1, sickness.clone()).always()];
        let stage = Stage {
            calls_per_second: 5.0,
            deadline: Duration::from_mins(1),
            policy: inline(policy),
            ..Stage::new(Wire::InProcess, Fleet { faults, ..fleet.clone() })
        };
        let report = stage.sweep().await;
        let expected = Outcomes { terminated: 50, no_action: 1, ..Outcomes::default() };
        assert_eq!((report.outcomes, report.verdicts.undetermined), (expected, 1));
    }
}

/// An endless listing leaves time to terminate the sessions that were seen.
#[tokio::test(start_paused = true)]
async fn endless_listing_leaves_time() {
    let mut fleet = fleet(THREE_PAGES);
    for filler in fleet.sessions.iter_mut().skip(8) {
        filler.owner = Some("arn:aws:sts::123456789012:assumed-role/BreakGlass/x".into());
        filler.age = Some(jiff::SignedDuration::from_hours(20)); // Behind the violators.
    }
    for (endless, seconds) in
        [(FaultKind::EmptyPage, 60), (FaultKind::Throttle, 60), (FaultKind::Throttle, 300)]
    {
        let faults = vec![Fault::new(LIST, 1, endless.clone()).always().after(1)];
        let stage = Stage {
            calls_per_second: 5.0,
            deadline: Duration::from_secs(seconds),
            ..Stage::new(Wire::InProcess, Fleet { faults, ..fleet.clone() })
        };
        let report = stage.sweep().await;
        assert!(matches!(report.failure(), Some(Failure::ListingIncomplete { .. })));
        assert_eq!(report.outcomes.unconfirmed, 4, "{endless:?} within {seconds} s");
        assert!(VIOLATORS.iter().all(|it| !stage.is_active(it)));
        assert_adds_up(&report);
    }
}

/// A slow listing leaves time to verify.
#[tokio::test(start_paused = true)]
async fn slow_listing_leaves_time_to_verify() {
    let mut fleet = violators_on_targets_of_their_own(600);
    fleet.behaviour.latency = Duration::from_secs(1);
    fleet.sessions.extend(crate::stage::fleet(2_400).sessions.into_iter().skip(8));
    let stage = Stage {
        calls_per_second: 5.0,
        deadline: Duration::from_mins(2),
        ..Stage::new(Wire::InProcess, fleet)
    };
    let report = stage.sweep().await;
    assert_eq!(report.failure(), None);
    assert_eq!(report.outcomes.unconfirmed, 0);
    assert!(
        100 < report.outcomes.terminated && 0 < report.outcomes.deferred,
        "{}",
        report.counts()
    );
    assert_adds_up(&report);
}

/// A policy that is slow to read leaves time to list.
#[tokio::test(start_paused = true)]
async fn slow_policy_leaves_time_to_list() {
    let fault = Fault::new(PARAMETER, 4, FaultKind::Slow(Duration::from_mins(1)));
    let stage = Stage {
        policy: PolicySource::Parameter("/policy".into()),
        deadline: Duration::from_mins(1),
        ..Stage::with_faults(Wire::InProcess, 0, vec![fault])
    };
    stage.emulator.set_parameter("/policy", POLICY);
    let report = stage.sweep().await;
    stage.check(&report, outcomes(0, terminated(4)));
    assert_eq!(report.failure(), None);
}

/// The sweep ends before the deadline, whichever call hangs.
#[tokio::test(start_paused = true)]
async fn hung_call_keeps_the_deadline() {
    for operation in [LIST, TAGS, TERMINATE] {
        let fault = Fault::new(operation, 1, FaultKind::Slow(Duration::from_hours(1))).always();
        let fault = if operation == LIST { fault.after(1) } else { fault };
        let stage = Stage {
            deadline: Duration::from_secs(11),
            margin: Duration::from_secs(1),
            ..Stage::with_faults(Wire::InProcess, 0, vec![fault])
        };
        let report = stage.sweep().await;
        assert!(report.duration_s <= 11.0, "{operation}: {} s", report.duration_s);
        assert_adds_up(&report);
    }
}

/// Slow answers to the last terminations leave time to verify.
#[tokio::test(start_paused = true)]
async fn slow_terminations_leave_time_to_verify() {
    let slow = FaultKind::SlowAfter(Duration::from_millis(4_900));
    let faults = vec![Fault::new(TERMINATE, 1, slow).always()];
    let stage = Stage {
        calls_per_second: 5.0,
        deadline: Duration::from_millis(10_000 + 2_200 + 9_000),
        ..Stage::new(Wire::InProcess, Fleet { faults, ..violators_on_targets_of_their_own(100) })
    };
    let report = stage.sweep().await;
    assert_eq!(report.outcomes.unconfirmed, 0);
    assert!(10 < report.outcomes.terminated, "{}", report.counts());
    assert_eq!(stage.emulator.active_ids().len(), report.outcomes.deferred);
}

/// A termination that hangs after its effect is verified.
#[tokio::test(start_paused = true)]
async fn hung_termination_is_verified() {
    let fault = Fault::new(TERMINATE, 5, FaultKind::SlowAfter(Duration::from_mins(1)));
    let expected = Outcomes { already_gone: 1, ..terminated(3) };
    let (stage, report) =
        sweep_with(Wire::InProcess, 0, &[fault.for_session("v-3h")], expected).await;
    assert_eq!(stage.termination_requests().len(), 3 + 5);
    assert!(
        row(&report, "v-3h")["error"].as_str().is_some_and(|it| it.contains("no answer within"))
    );
}

// The policy.

/// Without a usable policy, nothing is listed.
#[tokio::test(start_paused = true)]
async fn unusable_policy_lists_nothing() {
    let parameter = |it: &str| PolicySource::Parameter(it.into());
    for (policy, kind, message) in [
        (parameter("/none"), None, "ParameterNotFound"),
        (parameter("/good"), Some(FaultKind::Deny), "`ssm:GetParameter`"),
        (parameter("/good"), Some(FaultKind::InternalError), "after 5 attempts"),
        (parameter("/bad"), None, "line 1, column 10: `version` must be 1"),
        (PolicySource::File("/nowhere/policy.yaml".into()), None, "No such file"),
        (inline("rules: []"), None, "`version` is missing"),
    ] {
        let faults = kind.into_iter().map(|it| Fault::new(PARAMETER, 1, it).always()).collect();
        let stage = Stage { policy, ..Stage::with_faults(Wire::InProcess, 0, faults) };
        stage.emulator.set_parameter("/good", POLICY);
        stage.emulator.set_parameter("/bad", "version: 2");
        let err = stage.try_sweep().await.expect_err(message).to_string();
        assert!(err.contains(message), "{err}");
        assert!(stage.calls(LIST).is_empty() && stage.termination_requests().is_empty());
    }
}

/// Every sweep reads the policy parameter again.
#[tokio::test(start_paused = true)]
async fn policy_is_read_by_every_sweep() {
    let policy = PolicySource::Parameter("/policy".into());
    let stage = Stage { policy, ..Stage::new(Wire::InProcess, fleet(0)) };
    stage.emulator.set_parameter("/policy", "version: 1");
    let report = stage.sweep().await;
    assert_eq!((report.policy.version, report.verdicts.violation), (Some(1), 0));
    stage.emulator.set_parameter("/policy", POLICY);
    let report = stage.sweep().await;
    assert_eq!((report.policy.version, report.outcomes.terminated), (Some(2), 4));
    assert_eq!(report.policy.source, "parameter /policy");
    // It may be a SecureString.
    assert!(stage.calls(PARAMETER).iter().all(|it| it.body["WithDecryption"] == true));
}

/// A policy without rules terminates no session.
#[tokio::test]
async fn no_rules() {
    let stage = Stage { policy: inline("version: 1"), ..Stage::new(Wire::Socket, fleet(0)) };
    let report = stage.sweep().await;
    stage.check(&report, Outcomes { no_action: 8, ..Outcomes::default() });
    assert_eq!((report.verdicts.compliant, report.failure()), (8, None));
}

/// Violators of `stage::POLICY`, each on a tagged target of its own, the first the oldest.
fn violators_on_targets_of_their_own(n: usize) -> Fleet {
    let mut fleet = Fleet::default();
    for i in 0..n {
        let target = format!("i-{i:017}");
        fleet.tags.insert(target.clone(), [("env".to_owned(), "dev".to_owned())].into());
        fleet.sessions.push(Seed {
            id: Some(format!("v-{i:03}")),
            owner: Some("arn:aws:sts::123456789012:assumed-role/dev/x".into()),
            target: Some(target),
            age: Some(jiff::SignedDuration::from_mins(1_000 - i64::try_from(i).unwrap_or(0))),
            ..Seed::default()
        });
    }
    fleet
}

/// A fleet whose evaluation takes longer than there is time: 256 completions for each session, all of
/// which agree. The oldest are evaluated; the others stay undetermined, and the sweep is over in time.
#[tokio::test]
async fn evaluation_stops_in_time() {
    const N_SESSIONS: usize = 3_000;
    let tags = "target_tags: { a: [x, y], b: [x, y], c: [x, y], d: [x, y] }";
    let pair = |i: usize| {
        format!(
            "  - {{ id: in-{i}, when: {{ {tags} }}, require: {{ max_age: 1h }} }}\n\
             \x20 - {{ id: out-{i}, when: all, unless: {{ {tags} }}, require: {{ max_age: 1h }} }}\n"
        )
    };
    let rules: String = (0..20).map(pair).collect();
    let policy = format!("version: 1\ntag_keys: [a, b, c, d]\nrules:\n{rules}");
    let seed = |i: usize| Seed {
        id: Some(format!("o-{i}")),
        owner: Some("arn:aws:iam::123456789012:user/a".into()),
        target: Some(format!("i-{i:017x}")),
        age: Some(SignedDuration::from_hours(2)),
        ..Seed::default()
    };
    let fleet = Fleet { sessions: (0..N_SESSIONS).map(seed).collect(), ..Fleet::default() };
    let stage = Stage {
        mode: Mode::DryRun,
        policy: inline(&policy),
        deadline: Duration::from_secs(18),
        ..Stage::new(Wire::InProcess, fleet)
    };
    let began = std::time::Instant::now();
    let report = stage.sweep().await;
    assert!(began.elapsed() < Duration::from_secs(13), "{:?}", began.elapsed());
    let it = report.verdicts;
    assert_eq!((it.seen, it.violation + it.undetermined), (N_SESSIONS, N_SESSIONS));
    assert!(0 < it.violation && 0 < it.undetermined, "{it:?}");
}
