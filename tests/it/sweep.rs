//! One sweep over an account in which nothing goes wrong.

use std::time::Duration;

use bytes::Bytes;
use http::Response;

use reaper_core::{
    evaluate::VerdictKind,
    plan::DeferReason,
    report::{Mode, Outcome, Outcomes, Row},
};
use serde_json::Value;
use session_manager_emulator::{Behaviour, Emulator, Fault, FaultKind, Fleet, OnTerminate, Seed};
use tokio::time::sleep;

use crate::stage::{
    POLICY, Stage, THOUSAND_POLICY, VIOLATORS, Wire, assert_adds_up, assert_hundred_terminations,
    fleet, inline, outcomes, thousand,
};

/// Violating sessions are terminated, the oldest first, and no other session.
#[tokio::test]
async fn oldest_violations_first() {
    let stage = Stage::new(Wire::Socket, fleet(0));
    let report = stage.sweep().await;
    stage.check(&report, outcomes(0, Outcomes { terminated: 4, ..Outcomes::default() }));
    assert_eq!(stage.termination_requests(), VIOLATORS);
    assert_eq!(report.failure(), None);
    let it = report.verdicts;
    let actual = (it.seen, it.compliant, it.exempt, it.violation, it.undetermined);
    assert_eq!(actual, (8, 1, 2, 4, 1));
    assert_eq!(report.rules.get("one-hour"), Some(&4));
    assert_eq!(report.oldest_violation_s, Some(5 * 3_600));
}

/// A dry run terminates no session, verifies nothing, and reports what it would terminate.
#[tokio::test]
async fn dry_run() {
    let stage = Stage { mode: Mode::DryRun, ..Stage::new(Wire::Socket, fleet(0)) };
    let report = stage.sweep().await;
    stage.check(&report, outcomes(0, Outcomes { would_terminate: 4, ..Outcomes::default() }));
    assert_eq!(stage.termination_requests(), Vec::<String>::new());
    assert_eq!(stage.calls("DescribeSessions").len(), 1);
}

/// There is one call per page, per violating session and per batch of targets whose tags decide.
#[tokio::test(start_paused = true)]
async fn number_of_calls() {
    let stage = Stage::new(Wire::InProcess, fleet(992));
    let report = stage.sweep().await;
    stage.check(&report, outcomes(992, Outcomes { terminated: 4, ..Outcomes::default() }));
    assert_eq!(stage.calls("DescribeSessions").len(), 5 + 5);
    assert_eq!(stage.calls("TerminateSession").len(), 4);
    let looked_up = stage.calls("GetResources");
    assert_eq!(looked_up.len(), 1);
    // The fillers and the break-glass session need no tags, and one target is asked for once.
    assert_eq!(looked_up[0].body["ResourceARNList"].as_array().map(Vec::len), Some(3));
    assert_eq!(report.calls, 5 + 5 + 4 + 1);
}

/// No tags are looked up for a policy that needs none.
#[tokio::test(start_paused = true)]
async fn no_tags_needed() {
    let policy = "{version: 1, rules: [{id: a, when: all, require: {max_age: 1d}}]}";
    let stage = Stage { policy: inline(policy), ..Stage::new(Wire::InProcess, fleet(0)) };
    assert_eq!(stage.sweep().await.verdicts.compliant, 8);
    assert!(stage.calls("GetResources").is_empty());
}

/// With `assume: { tags: none }`, targets that are not returned have no tags.
#[tokio::test(start_paused = true)]
async fn assumed_tags() {
    let policy = format!("{POLICY}assume: {{ tags: none }}\n");
    let stage = Stage { policy: inline(&policy), ..Stage::new(Wire::InProcess, fleet(0)) };
    let report = stage.sweep().await;
    assert_eq!(report.outcomes.terminated, 5);
    assert!(!stage.is_active("u-untagged"));
    assert_adds_up(&report);
}

/// Limits defer some terminations; the circuit breaker and `paused` defer all.
#[tokio::test(start_paused = true)]
async fn limits_circuit_breaker_and_pause() {
    for (limits, terminated, circuit_breaker_open) in [
        ("limits: {max_terminations: 2, circuit_breaker: {max_percent: 100}}", 2, false),
        ("limits: {circuit_breaker: {max_percent: 79, min_violations: 4}}", 0, true),
        ("limits: {circuit_breaker: {max_percent: 80, min_violations: 4}}", 4, false),
        ("limits: {circuit_breaker: {max_percent: 0, min_violations: 5}}", 4, false),
        ("paused: true", 0, false),
    ] {
        let (policy, _) = POLICY.split_once("limits").expect("limits");
        let policy = inline(&format!("{policy}{limits}"));
        let stage = Stage { policy, ..Stage::new(Wire::InProcess, fleet(0)) };
        let report = stage.sweep().await;
        let deferred = 4 - terminated;
        stage.check(&report, outcomes(0, Outcomes { terminated, deferred, ..Outcomes::default() }));
        // Half of the limit is for the oldest, the other half for others in turn.
        let asked = stage.termination_requests();
        assert_eq!(asked.len(), terminated);
        assert_eq!(asked.first().is_some_and(|it| it == VIOLATORS[0]), 0 < terminated);
        assert_eq!(
            (report.circuit_breaker_open, report.failure()),
            (circuit_breaker_open, None),
            "{limits}"
        );
    }
}

/// Sessions that AWS never terminates do not use up the limit of every sweep.
#[tokio::test(start_paused = true)]
async fn immortal_sessions_starve_no_session() {
    let (policy, _) = POLICY.split_once("limits").expect("limits");
    let limits = "limits: {max_terminations: 2, circuit_breaker: {max_percent: 100}}";
    let mut fleet = fleet(0);
    let (immortal, mortal) = VIOLATORS.split_at(2);
    for seed in &mut fleet.sessions {
        if seed.id.as_ref().is_some_and(|id| immortal.contains(&id.as_str())) {
            seed.on_terminate = OnTerminate::Stays;
        }
    }
    let policy = inline(&format!("{policy}{limits}"));
    let stage = Stage { policy, ..Stage::new(Wire::InProcess, fleet) };
    let mut n_sweeps = 0;
    while mortal.iter().any(|id| stage.is_active(id)) {
        let report = stage.sweep().await;
        assert!(report.outcomes.unconfirmed + report.outcomes.terminated <= 2);
        sleep(Duration::from_mins(5)).await;
        n_sweeps += 1;
        assert!(n_sweeps < 60, "they still live");
    }
    assert!(immortal.iter().all(|id| stage.is_active(id)));
}

/// At the default pace, AWS's quota throttles no call.
#[tokio::test(start_paused = true)]
async fn default_pace_stays_within_the_quota() {
    let latency = Duration::from_millis(5);
    let behaviour = Behaviour { quota: Some(6), latency, ..Behaviour::default() };
    let stage = Stage {
        calls_per_second: 5.0,
        policy: inline(THOUSAND_POLICY),
        ..Stage::new(Wire::InProcess, Fleet { behaviour, ..thousand() })
    };
    let report = stage.sweep().await;
    assert_hundred_terminations(&stage.emulator);
    assert_eq!(report.outcomes.terminated, 100);
    assert_adds_up(&report);
}

#[tokio::test(start_paused = true)]
async fn no_sessions() {
    let stage = Stage::new(Wire::InProcess, Fleet::default());
    let report = stage.sweep().await;
    assert_eq!((report.verdicts.seen, report.calls, report.failure()), (0, 1, None));
    assert!(report.coverage.complete);
}

/// Eight terminations are in flight at a time.
#[tokio::test(start_paused = true)]
async fn eight_terminations_in_flight() {
    let latency = Duration::from_secs(1);
    let behaviour = Behaviour { latency, ..Behaviour::default() };
    let stage = Stage {
        policy: inline(THOUSAND_POLICY),
        ..Stage::new(Wire::InProcess, Fleet { behaviour, ..thousand() })
    };
    let report = stage.sweep().await;
    assert_eq!(report.outcomes.terminated, 100);
    let at: Vec<_> = stage.calls("TerminateSession").iter().map(|it| it.at.as_millis()).collect();
    let at_once = |start: u128| at.iter().filter(|it| (start..start + 1_000).contains(it)).count();
    assert_eq!(at.iter().map(|it| at_once(*it)).max(), Some(8));
    assert!((12_000..14_000).contains(&(at[99] - at[0])), "{} ms", at[99] - at[0]);
}

/// What was seen before the memory was full is acted on, and the run fails; so with the listing that
/// verifies.
#[tokio::test(start_paused = true)]
async fn memory_bounds_every_listing() {
    let stage = Stage { memory: 100_000, ..Stage::new(Wire::InProcess, fleet(400)) };
    let report = stage.sweep().await;
    assert_eq!((report.verdicts.seen, stage.termination_requests().len()), (200, 0));
    let failure = report.failure().expect("it is incomplete").to_string();
    assert!(failure.contains("the memory is full after 200 sessions"), "{failure}");

    // Rows that lack an id while it verifies may each be one of those that must be gone.
    let nameless = FaultKind::DropField("SessionId".into());
    let faults = vec![Fault::new("DescribeSessions", 1, nameless).after(3).always()];
    let stage = Stage::with_faults(Wire::InProcess, 400, faults);
    let stage = Stage { memory: 1_000_000, ..stage };
    let report = stage.sweep().await;
    assert_eq!((report.verdicts.seen, report.outcomes.unconfirmed), (408, 4));
    let errors = report.sessions.iter().filter_map(|it| it.error.as_deref());
    assert!(errors.clone().all(|it| it.contains("the memory is full")));
    assert_eq!(errors.count(), 4);
}

/// a: an old one, which another rule terminates, and two. b: three. d: three, the newest exempt.
fn concurrent_fleet() -> Fleet {
    let sessions = ["a-5h", "a-2h", "a-1h", "b-3h", "b-2h", "b-1h", "d-3h", "d-2h", "d-1h"];
    let seed = |id: &&str| {
        let (owner, hours) = id.split_once('-').expect("an owner");
        let hours = hours.trim_end_matches('h').parse().expect("hours");
        let target = if *id == "d-1h" { "i-00000000000exempt" } else { "i-0123456789abcdef0" };
        Seed {
            id: Some((*id).into()),
            owner: Some(format!("arn:aws:iam::123456789012:user/{owner}")),
            target: Some(target.into()),
            age: Some(jiff::SignedDuration::from_hours(hours)),
            ..Seed::default()
        }
    };
    Fleet { sessions: sessions.iter().map(seed).collect(), ..Fleet::default() }
}

fn concurrent_stage(wire: Wire) -> Stage {
    let policy = "
version: 1
rules:
  - { id: old, when: all, require: { max_age: 4h } }
  - { id: two, when: all, require: { concurrent: { per: owner, at_most: 2, keep: newest } } }
  - { id: told, when: all, require: { concurrent: { per: target, at_most: 8, keep: oldest } }, effect: warn }
exemptions: [{ id: exempt, when: { target: i-00000000000exempt } }]
";
    Stage { policy: inline(policy), ..Stage::new(wire, concurrent_fleet()) }
}

/// Of each owner the two newest stay. One that violates another rule takes no place from the others,
/// and an exempt one takes a place. Before any is terminated for `concurrent` alone, the sessions are
/// listed and counted once more. The eighth of a target is only told.
#[tokio::test(start_paused = true)]
async fn concurrent_sessions() {
    let stage = concurrent_stage(Wire::InProcess);
    let report = stage.sweep().await;
    assert_eq!(stage.termination_requests(), ["a-5h", "b-3h", "d-3h"]);
    assert_eq!((report.verdicts.violation, report.outcomes.terminated), (3, 3));
    assert_eq!(report.rules, [("old".into(), 1), ("two".into(), 3)].into());
    assert_eq!(stage.calls("DescribeSessions").len(), 1 + 1 + 1, "listed, counted again, verified");
}

/// What the second listing leaves out of the row of `b-3h`.
const LEFT_OUT: [Option<&str>; 4] = [None, Some("Owner"), Some("SessionId"), Some("StartDate")];

/// In the second listing, `b-1h` has ended.
fn second_listing<const I: usize>(n: usize, answer: Response<Bytes>) -> Response<Bytes> {
    if n != 1 {
        return answer;
    }
    answer.map(|body| {
        let mut body: Value = serde_json::from_slice(&body).expect("JSON");
        let sessions = body["Sessions"].as_array_mut().expect("a page");
        sessions.retain(|it| it["SessionId"] != "b-1h");
        let waiting = sessions.iter_mut().find(|it| it["SessionId"] == "b-3h").expect("b-3h");
        if let Some(key) = LEFT_OUT[I] {
            waiting.as_object_mut().expect("a row").remove(key).expect(key);
        }
        body.to_string().into()
    })
}

/// A session that has ended since the listing leaves its place to one that would be terminated; also
/// where AWS leaves out what the latter is evaluated by: it is not taken for gone.
#[tokio::test(start_paused = true)]
async fn concurrent_sessions_are_counted_again() {
    for alter in
        [second_listing::<0>, second_listing::<1>, second_listing::<2>, second_listing::<3>]
    {
        let stage = concurrent_stage(Wire::Through(alter));
        let report = stage.sweep().await;
        assert_eq!(stage.termination_requests(), ["a-5h", "d-3h"]);
        assert_eq!((report.outcomes.terminated, report.outcomes.deferred), (2, 1));
        let deferred = report.sessions.iter().find(|it| it.session_id.as_deref() == Some("b-3h"));
        let reason = deferred.and_then(|it| it.deferred_by);
        assert_eq!(reason, Some(DeferReason::CountedAgain));
    }
}

/// A row without an owner may be of any group: who has a place only without it is undetermined, and who
/// is in excess all the same is terminated.
#[tokio::test(start_paused = true)]
async fn concurrent_beside_nameless() {
    let nameless = Seed {
        id: Some("nameless".into()),
        target: Some("i-0123456789abcdef0".into()),
        age: Some(jiff::SignedDuration::from_hours(1)),
        ..Seed::default()
    };
    let mut fleet = concurrent_fleet();
    fleet.sessions.push(nameless);
    let stage = Stage { emulator: Emulator::new(fleet), ..concurrent_stage(Wire::InProcess) };
    let report = stage.sweep().await;
    assert_eq!(stage.termination_requests(), ["a-5h", "b-3h", "d-3h"]);
    let undetermined = |it: &&Row| it.verdict == VerdictKind::Undetermined;
    let ids: Vec<_> = report.sessions.iter().filter(undetermined).collect();
    let ids: Vec<_> = ids.iter().filter_map(|it| it.session_id.as_deref()).collect();
    assert_eq!(ids, ["a-2h", "b-2h", "d-2h"]);
}

/// A session that violates only a rule with `effect: warn` is reported and counted, and not terminated.
#[tokio::test(start_paused = true)]
async fn warnings() {
    let policy = "{version: 1, rules: [{id: told, when: {owner: role/dev}, require: {max_age: 90m}, effect: warn}]}";
    let stage = Stage { policy: inline(policy), ..Stage::new(Wire::InProcess, fleet(0)) };
    let report = stage.sweep().await;
    assert_eq!(stage.termination_requests(), Vec::<String>::new());
    assert_eq!((report.verdicts.warning, report.verdicts.violation), (6, 0));
    assert_eq!(report.rules, [("told".into(), 6)].into());
    assert_eq!(report.sessions.len(), 6);
    assert!(report.sessions.iter().all(|it| it.outcome == Some(Outcome::NoAction)));
}

/// A rule that only warns terminates no session, so what it does not know, or keeps, changes no count
/// of a rule that terminates.
#[tokio::test(start_paused = true)]
async fn concurrent_beside_a_warning() {
    for told in [
        "{ id: told, when: all, require: { reason: INC }, effect: warn }",
        "{ id: told, when: all, require: { concurrent: { per: target, at_most: 1, keep: oldest } }, effect: warn }",
    ] {
        let policy = format!(
            "version: 1\nrules:\n  - {{ id: two, when: {{ owner: user/b }}, require: {{ concurrent: \
             {{ per: owner, at_most: 2, keep: newest }} }} }}\n  - {told}\n"
        );
        let stage = Stage { policy: inline(&policy), ..concurrent_stage(Wire::InProcess) };
        stage.sweep().await;
        assert_eq!(stage.termination_requests(), ["b-3h"], "{told}");
    }
}
