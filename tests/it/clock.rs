//! A clock that is wrong, and answers that tell a wrong time.

use std::time::Duration;

use http::{
    StatusCode,
    header::{AGE, DATE},
};
use jiff::{SignedDuration, Timestamp};
use reaper_core::report::Outcomes;
use serde_json::json;
use session_manager_emulator::{Behaviour, Emulator, Fault, FaultKind, Fleet, Seed};
use session_reaper::sweep::{SweepError, clock::ClockError};

use crate::{
    lambda::{assert_error, invocations},
    runtime_api::{Invocations, invoke},
    stage::{Stage, Wire, fleet, inline, outcomes},
};

const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// A session of 10 hours is compliant with 12; by a clock that is 3 hours ahead it is not.
const TWELVE_HOURS: &str = "
version: 1
rules: [{ id: twelve-hours, when: all, require: { max_age: 12h } }]
limits: { circuit_breaker: { max_percent: 100 } }
";

/// An emulator begins in the real time.
fn real_time() -> Timestamp {
    Emulator::new(Fleet::default()).now()
}

/// How far ahead a sweep found its clock, in minutes; `None` if it was right.
async fn skew(stage: &Stage) -> Option<i64> {
    match stage.try_sweep().await {
        Ok(report) => {
            assert_eq!(report.failure(), None);
            None
        }
        Err(SweepError::Clock(ClockError::Skewed { ahead })) => {
            assert_eq!(stage.termination_requests(), Vec::<String>::new());
            Some(ahead.round(jiff::Unit::Minute).expect("minutes").as_mins())
        }
        Err(other) => panic!("{other}"),
    }
}

/// More than a minute either way terminates nothing, and says by how much; less does not matter.
#[tokio::test(start_paused = true)]
async fn skew_terminates_nothing() {
    for (ahead_s, expected) in [
        (0, None),
        (50, None),
        (-50, None),
        (70, Some(1)),
        (-70, Some(-1)),
        (3 * 3_600, Some(180)),
        (-8 * 3_600, Some(-480)),
    ] {
        let stage = Stage {
            clock_ahead: SignedDuration::from_secs(ahead_s),
            ..Stage::new(Wire::InProcess, fleet(0))
        };
        assert_eq!(skew(&stage).await, expected, "{ahead_s}");
        assert_eq!(stage.termination_requests().is_empty(), expected.is_some(), "{ahead_s}");
    }
}

/// The session that a wrong clock would have terminated.
#[tokio::test(start_paused = true)]
async fn compliant_session_stays() {
    let owner = Some("arn:aws:iam::123456789012:user/a".into());
    let age = Some(SignedDuration::from_hours(10));
    let (id, target) = (Some("c-10h".into()), Some("i-0000000000000dev0".into()));
    let sessions = vec![Seed { id, owner, target, age, ..Seed::default() }];
    let stage = Stage {
        clock_ahead: 3 * HOUR,
        policy: inline(TWELVE_HOURS),
        ..Stage::new(Wire::InProcess, Fleet { sessions, ..Fleet::default() })
    };
    assert_eq!(skew(&stage).await, Some(180));
    assert!(stage.is_active("c-10h"));
}

/// Time that passes between the reading of the clock and the answers is no skew.
#[tokio::test(start_paused = true)]
async fn slow_policy_is_no_skew() {
    let throttled = Fault::new("GetParameter", 100, FaultKind::Throttle);
    let policy = session_reaper::sweep::source::PolicySource::Parameter("/policy".into());
    let stage = Stage::with_faults(Wire::InProcess, 0, vec![throttled]);
    let stage = Stage { policy, ..stage };
    stage.emulator.set_parameter("/policy", crate::stage::POLICY);
    let before = stage.emulator.now();
    assert_eq!(skew(&stage).await, None);
    assert!(SignedDuration::from_mins(2) < stage.emulator.now().duration_since(before));
}

/// One wrong `Date` neither stops a sweep nor fools it, be it of one page or of three.
#[tokio::test(start_paused = true)]
async fn one_wrong_date() {
    for (n_fillers, n_listings) in [(0, 1 + 2 + 1), (400, 3 + 3)] {
        let misdated = Fault::new("DescribeSessions", 1, FaultKind::Misdate(HOUR));
        let stage = Stage::with_faults(Wire::InProcess, n_fillers, vec![misdated]);
        let report = stage.sweep().await;
        let terminated = Outcomes { terminated: 4, ..Outcomes::default() };
        stage.check(&report, outcomes(n_fillers, terminated));
        assert_eq!(report.failure(), None);
        assert_eq!(stage.calls("DescribeSessions").len(), n_listings, "{n_fillers}");
    }
    // The clock is an hour ahead, and so is one page's `Date`.
    let misdated = Fault::new("DescribeSessions", 1, FaultKind::Misdate(HOUR));
    let stage = Stage::with_faults(Wire::InProcess, 400, vec![misdated]);
    assert_eq!(skew(&Stage { clock_ahead: HOUR, ..stage }).await, Some(60));
}

/// Where every answer is misdated, as by a proxy whose clock is wrong, no session is terminated.
#[tokio::test(start_paused = true)]
async fn every_date_wrong() {
    let misdated = Fault::new("DescribeSessions", 1, FaultKind::Misdate(-HOUR)).always();
    let stage = Stage::with_faults(Wire::InProcess, 0, vec![misdated]);
    assert_eq!(skew(&stage).await, Some(60));
}

/// What is not known is not terminated: answers from a cache tell no time of now.
#[tokio::test]
async fn no_date() {
    let cached = |_, mut answer: http::Response<bytes::Bytes>| {
        answer.headers_mut().insert(AGE, 0.into());
        answer
    };
    let stage = Stage::new(Wire::Through(cached), fleet(0));
    let result = stage.try_sweep().await;
    assert!(matches!(result, Err(SweepError::Clock(ClockError::Unknown))), "{result:?}");
    assert_eq!(stage.termination_requests(), Vec::<String>::new());
}

/// The SDK's clients would sign by the `Date` of the answer before: one wrong `Date` would have the next
/// attempt refused. Calls do not.
#[tokio::test]
async fn wrong_date_of_an_error() {
    let misdated = |n, mut answer: http::Response<bytes::Bytes>| {
        if n == 0 {
            *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            let at = real_time() - HOUR;
            let date = at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
            answer.headers_mut().insert(DATE, date.parse().expect("a header"));
        }
        answer
    };
    let behaviour = Behaviour { max_skew: Some(Duration::from_mins(5)), ..Behaviour::default() };
    let stage = Stage::new(Wire::Through(misdated), Fleet { behaviour, ..fleet(0) });
    let report = stage.sweep().await;
    stage.check(&report, outcomes(0, Outcomes { terminated: 4, ..Outcomes::default() }));
    assert_eq!(report.failure(), None);
}

/// AWS refuses what a clock that is 8 hours ahead signs; an endpoint that does not is seen through all
/// the same.
#[tokio::test]
async fn function() {
    let now = Some(real_time() - 8 * HOUR);
    for (max_skew, name, message) in [
        (None, "ClockSkewed", "the clock is 8h"),
        (Some(Duration::from_mins(5)), "ListingIncomplete", "Signature not yet current: "),
    ] {
        let behaviour = Behaviour { max_skew, ..Behaviour::default() };
        let emulator = Emulator::new(Fleet { now, behaviour, ..fleet(0) });
        let before = emulator.active_ids();
        let ran = invoke(&emulator, Invocations { ..invocations(vec![json!({})]) }).await;
        assert_error(&ran.replies[0], name, message);
        let failed = ran.lines_with("sweep failed");
        assert_eq!(failed[0]["error_type"], name);
        assert!(!emulator.calls().iter().any(|it| it.operation == "TerminateSession"));
        assert_eq!(emulator.active_ids(), before);
    }
}
