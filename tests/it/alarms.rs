//! The metrics of sweeps over hours, in situations that alarms are for: `tests/template/template.py`
//! evaluates the template's alarms on what is written here.

use std::{fs, path::Path, time::Duration};

use jiff::SignedDuration;
use reaper_core::{evidence::Demand, metrics, report::Mode};
use serde_json::{Map, Value, json};
use session_manager_emulator::{Fault, FaultKind, Fleet, OnTerminate, Seed};
use tokio::time::{Instant, sleep_until};

use crate::stage::{Stage, Wire, inline};

/// As the template's default.
const PERIOD: Duration = Duration::from_mins(5);
const N_PERIODS: u32 = 24;

const POLICY: &str = r#"
version: 1
tag_keys: ["reaper:exempt"]
rules: [{ id: twelve-hours, when: all, require: { max_age: 12h } }]
exemptions: [{ id: tagged, when: { target_tags: { "reaper:exempt": "true" } } }]
limits: { max_terminations: 10, circuit_breaker: { max_percent: 99 } }
"#;

/// A situation, and what the sweeps meet in it.
struct Situation {
    name: &'static str,
    sessions: Vec<Seed>,
    policy: String,
    mode: Mode,
    faults: Vec<Fault>,
    deadline: Duration,
    has_bus: bool,
    evidence: Option<Demand>,
}

impl Situation {
    fn new(name: &'static str, sessions: Vec<Seed>) -> Self {
        Self {
            name,
            sessions,
            policy: POLICY.into(),
            mode: Mode::Enforce,
            faults: Vec::new(),
            deadline: Duration::from_secs(290),
            has_bus: false,
            evidence: None,
        }
    }
}

/// So many sessions of this age, on a target that is not exempt.
fn sessions(prefix: &str, n: usize, hours: i64) -> Vec<Seed> {
    let seed = |i| Seed {
        id: Some(format!("{prefix}-{i}")),
        owner: Some("arn:aws:iam::123456789012:user/a".into()),
        target: Some("i-0000000000000dev0".into()),
        age: Some(SignedDuration::from_hours(hours)),
        ..Seed::default()
    };
    (0..n).map(seed).collect()
}

fn that(on_terminate: OnTerminate, mut sessions: Vec<Seed>) -> Vec<Seed> {
    for it in &mut sessions {
        it.on_terminate = on_terminate;
    }
    sessions
}

fn on(target: &str, mut sessions: Vec<Seed>) -> Vec<Seed> {
    for it in &mut sessions {
        it.target = Some(target.into());
    }
    sessions
}

fn situations() -> Vec<Situation> {
    let young = || sessions("c", 20, 1);
    let with = |others: Vec<Seed>| [young(), others].concat();
    let always = |operation, kind| vec![Fault::new(operation, 1, kind).always()];
    let denied = Fault::new("TerminateSession", 1, FaultKind::Deny).always().for_session("v-0");
    let terminating = |hours| that(OnTerminate::Lingers, sessions("v", 1, hours));
    vec![
        // Sessions grow old in the second hour, and are terminated.
        Situation {
            has_bus: true,
            evidence: Some(Demand::Required),
            ..Situation::new(
                "healthy",
                [young(), sessions("v", 5, 20), sessions("d", 9, 11)].concat(),
            )
        },
        Situation {
            policy: POLICY.replace("terminations: 10", "terminations: 60"),
            mode: Mode::DryRun,
            ..Situation::new("healthy dry run", with(sessions("v", 50, 30)))
        },
        Situation::new("terminating", with(terminating(13))),
        Situation::new("terminating for days", with(terminating(48))),
        Situation::new("accepted and kept", with(that(OnTerminate::Stays, sessions("v", 1, 13)))),
        Situation { faults: vec![denied], ..Situation::new("denied", with(sessions("v", 1, 13))) },
        Situation {
            faults: always("DescribeSessions", FaultKind::InternalError),
            ..Situation::new("incomplete listing", young())
        },
        Situation { policy: "version: 2".into(), ..Situation::new("unusable policy", young()) },
        Situation {
            policy: POLICY.replace("percent: 99", "percent: 20"),
            ..Situation::new("too many violators", with(sessions("v", 11, 13)))
        },
        Situation {
            policy: format!("{POLICY}paused: true\n"),
            ..Situation::new("paused", with(sessions("v", 1, 13)))
        },
        Situation::new("backlog that goes in an hour", with(sessions("v", 90, 13))),
        Situation::new("backlog by the limit", with(sessions("v", 400, 13))),
        Situation {
            mode: Mode::DryRun,
            ..Situation::new("backlog by the limit in a dry run", with(sessions("v", 400, 30)))
        },
        Situation {
            policy: POLICY.replace("terminations: 10", "terminations: 1000"),
            deadline: Duration::from_secs(20),
            ..Situation::new("backlog by the deadline", with(sessions("v", 700, 13)))
        },
        Situation::new(
            "records without an owner",
            with(sessions("u", 1, 1).into_iter().map(|it| Seed { owner: None, ..it }).collect()),
        ),
        Situation {
            faults: always("PutEvents", FaultKind::Deny),
            has_bus: true,
            ..Situation::new("bus denied", young())
        },
        Situation {
            faults: always("PutObject", FaultKind::Deny),
            evidence: Some(Demand::BestEffort),
            ..Situation::new("evidence denied", young())
        },
        Situation::new("untagged targets", with(on("i-000000000untagged", sessions("u", 10, 13)))),
    ]
}

/// The metric lines of one sweep after the other, and whether the invocation failed.
async fn series(situation: Situation) -> Value {
    let Situation { name, sessions, policy, mode, faults, deadline, has_bus, evidence } = situation;
    let fleet = Fleet {
        now: Some("2026-03-02T12:00:00Z".parse().expect("an instant")),
        sessions,
        tags: [("i-0000000000000dev0".into(), [("env".into(), "dev".into())].into())].into(),
        faults,
        ..Fleet::default()
    };
    let stage = Stage::new(Wire::InProcess, fleet);
    let policy = inline(&policy);
    let stage = Stage { mode, policy, deadline, has_bus, evidence, calls_per_second: 5.0, ..stage };
    let began = Instant::now();
    let mut sweeps = Vec::new();
    for period in 0..N_PERIODS {
        sleep_until(began + PERIOD * period).await;
        let report = stage.try_sweep().await.ok();
        let now_ms = stage.emulator.now().as_millisecond();
        let lines = report.iter().flat_map(|it| metrics::lines(it, now_ms, Some(1)));
        let lines: Vec<String> = lines.collect();
        let has_failed = report.is_none_or(|it| it.failure().is_some());
        sweeps
            .push(json!({ "minute": period * 5, "lines": lines, "errors": u8::from(has_failed) }));
    }
    assert!(
        sweeps.iter().any(|it| it["lines"] != json!([])) || name == "unusable policy",
        "{name}"
    );
    json!({ "mode": mode.name(), "sweeps": sweeps })
}

#[tokio::test(start_paused = true)]
async fn series_of_metrics() {
    let mut all = Map::new();
    for situation in situations() {
        let name = situation.name;
        all.insert(name.into(), Box::pin(series(situation)).await);
    }
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("series.json");
    fs::write(path, Value::Object(all).to_string()).expect("a file");
}
