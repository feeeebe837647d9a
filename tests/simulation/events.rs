//! A third day of each seed: what is told of sweeps and sent to a bus, where the bus, and terminations, go
//! wrong.
//!
//! Who violates the policy, and who is warned of, follows from ages alone, by arithmetic; who was really
//! terminated, from the emulator. The schedule has gaps, and the limits are edited.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};
use reaper_core::{report::Mode, target::Scope};
use serde_json::Value;
use session_manager_emulator::{Emulator, Fault, FaultKind, Fleet, Seed};
use session_reaper::{
    Budget,
    aws::{Connect, EventBus},
    sinks::{Sinks, events::Events},
    sweep::source::PolicySource,
    sweep::{SweepContext, SweepResult, sweep},
};
use tokio::time::{Instant, sleep};

use crate::{
    check::CONCURRENCY,
    fleet::{ACCOUNT, PARAMETER, REGION},
};

/// Ends the day with what is not as it should be.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err(format!("events: {}", format!($($message)+)));
        }
    };
}

/// From one planned sweep to the next.
const PERIOD: SignedDuration = SignedDuration::from_mins(5);

/// The targets: one that the rule is about, one that it is not, and one of which no tags are known.
const TARGETS: [&str; 3] = ["i-0000000000000dev0", "i-0000000000000lab0", "i-00000000untagged0"];

/// At most so old, and warned of so long before, in minutes; the longest first.
#[derive(Clone, Debug)]
struct Policy {
    max_age: i64,
    before: Vec<i64>,
}

impl Policy {
    fn any(rng: &mut Rng) -> Self {
        let before: BTreeSet<_> = (0..rng.usize(1..4)).map(|_| rng.i64(1..40)).collect();
        Self { max_age: rng.i64(20..120), before: before.into_iter().rev().collect() }
    }

    fn yaml(&self) -> String {
        let before: Vec<_> = self.before.iter().map(|it| format!("{it}m")).collect();
        format!(
            "version: 1\ntag_keys: [env]\nwarn_before: [{}]\n\
             rules: [{{ id: age, when: all, unless: {{ target_tags: {{ env: lab }} }}, require: \
             {{ max_age: {}m }} }}]\nexemptions: [{{ id: e, when: {{ owner: role/glass }} }}]\n\
             limits: {{ max_terminations: 1000, circuit_breaker: {{ max_percent: 100 }} }}\n",
            before.join(", "),
            self.max_age
        )
    }
}

/// What a sweep may do about a session, by its age.
#[derive(Debug, Eq, PartialEq)]
enum Expected {
    Nothing,
    Violation,
    /// A warning of so many minutes, and whether it is a repeat.
    Warning(i64, bool),
}

fn expected(policy: &Policy, role: &str, target: &str, age: SignedDuration) -> Expected {
    if role == "glass" || target != TARGETS[0] {
        return Expected::Nothing;
    }
    let limit = SignedDuration::from_mins(policy.max_age);
    if limit < age {
        return Expected::Violation;
    }
    let left = limit - age;
    let reached = policy.before.iter().rev().find(|it| left < SignedDuration::from_mins(**it));
    let Some(before) = reached else { return Expected::Nothing };
    let since = (SignedDuration::from_mins(*before) - left).min(age);
    // The instant itself is a nanosecond late.
    let is_repeat = PERIOD + SignedDuration::from_mins(1) < since;
    Expected::Warning(*before, is_repeat)
}

/// Lives through the day, and says what is not as it should be.
pub(crate) fn day(seed: u64) -> Result<(), String> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(pass(seed))
}

async fn pass(seed: u64) -> Result<(), String> {
    let mut rng = Rng::with_seed(seed ^ 0x5eed);
    let tags = |env: &str| [("env".to_owned(), env.to_owned())].into();
    let emulator = Emulator::new(Fleet {
        account: ACCOUNT.into(),
        region: REGION.into(),
        now: Some("2026-03-02T12:00:00Z".parse().expect("an instant")),
        tags: [(TARGETS[0].into(), tags("dev")), (TARGETS[1].into(), tags("lab"))].into(),
        ..Fleet::default()
    });
    let credentials = Credentials::new("AKIDEXAMPLE", "secret", None, None, "test");
    let connect = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .http_client(emulator.http_client())
        .build();
    let connect = Connect::from(connect);
    let ssm = connect.ssm(50.0);
    let bus = EventBus::new(&connect, "ops");
    let events = Some(Events { bus, period: PERIOD, is_of_run: false });
    let sinks = Sinks { events, ..Sinks::NONE };
    let scope = Scope::from_arn(&format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:f"));
    let mut facts = BTreeMap::new();
    let mut policy = Policy::any(&mut rng);
    for round in 0..rng.usize(4..24) {
        for i in 0..rng.usize(0..4) {
            emulator.start(session(&mut rng, &format!("s-{round}-{i}")));
        }
        if rng.u8(..6) == 0 {
            policy = Policy::any(&mut rng);
        }
        emulator.set_parameter(PARAMETER, &policy.yaml());
        let faults = if rng.bool() { vec![fault(&mut rng), fault(&mut rng)] } else { Vec::new() };
        emulator.set_faults(faults);
        let minutes = if rng.u8(..4) == 0 { rng.u64(1..45) } else { 5 };
        sleep(Duration::from_mins(minutes) + Duration::from_millis(rng.u64(..9_000))).await;

        let mode = if rng.u8(..4) == 0 { Mode::DryRun } else { Mode::Enforce };
        let (n_calls, n_events) = (emulator.calls().len(), emulator.events().len());
        let (now, read_at) = (emulator.now(), Instant::now());
        let deadline = Duration::from_secs([20, 60, 290][rng.usize(..3)]);
        let budget = Budget::until(read_at + deadline, Duration::from_secs(10));
        let source = PolicySource::Parameter(PARAMETER.into());
        let swept = Box::pin(sweep(SweepContext {
            ssm: &ssm,
            sinks: &sinks,
            scope: scope.as_ref(),
            policy: &source,
            mode,
            now,
            read_at,
            budget,
            concurrency: CONCURRENCY,
            memory: usize::MAX,
        }));
        let swept = swept.await.map_err(|err| format!("events: {err}"))?;
        ensure!(Instant::now() <= budget.hard_stop, "the sweep is late");
        let requested = emulator.calls().into_iter().skip(n_calls);
        let requested = requested.filter(|it| it.operation == "TerminateSession");
        let requested = requested.filter_map(|it| it.body["SessionId"].as_str().map(str::to_owned));
        let sweep = Sweep {
            policy: &policy,
            mode,
            now,
            swept: &swept,
            requested: requested.collect(),
            active: emulator.active_ids().into_iter().collect(),
            taken: emulator.events().split_off(n_events),
        };
        sweep.check(&mut facts)?;
    }
    Ok(())
}

/// A sweep, and what the emulator knows of it.
struct Sweep<'a> {
    policy: &'a Policy,
    mode: Mode,
    now: Timestamp,
    swept: &'a SweepResult,
    requested: BTreeSet<String>,
    active: BTreeSet<String>,
    taken: Vec<Value>,
}

impl Sweep<'_> {
    fn check(&self, facts: &mut BTreeMap<String, String>) -> Result<(), String> {
        let Self { policy, mode, now, swept, requested, active, taken } = self;
        let sent = swept.report.events.as_ref().ok_or("events: no count")?;
        // By the session, or the type where it is of none: what whoever keeps the ids has.
        let mut told: BTreeMap<(String, String), Value> = BTreeMap::new();
        let mut ids = BTreeSet::new();
        for entry in taken {
            let text = |it: &Value| it.as_str().unwrap_or_default().to_owned();
            let detail: Value =
                serde_json::from_str(&text(&entry["Detail"])).map_err(|it| it.to_string())?;
            let (id, kind) = (text(&detail["id"]), text(&entry["DetailType"]));
            let fact = ["session_id", "mode", "outcome", "rules", "due", "before_s"];
            let fact = fact.map(|it| detail[it].to_string()).join(" ");
            let whole = format!("{kind} {fact} {}", text(&detail["sweep_started_at"]));
            let fact = if kind == "Sweep Finished" { whole } else { format!("{kind} {fact}") };
            let known = facts.entry(id.clone()).or_insert_with(|| fact.clone());
            ensure!(*known == fact, "one id for {known} and {fact}");
            let known = facts.entry(fact.clone()).or_insert_with(|| id.clone());
            ensure!(*known == id, "two ids, {known} and {id}, for {fact}");
            if ids.insert(id) {
                let other = told.insert((kind, text(&detail["session_id"])), detail);
                ensure!(other.is_none(), "two ids for {fact}");
            }
        }
        ensure!(
            sent.sent <= ids.len(),
            "{} are said to be sent, {} are taken",
            sent.sent,
            ids.len()
        );

        let mut n_expected = 1;
        for it in &swept.record.outcomes {
            let session = &it.step.session;
            let id = session.id.to_string();
            let role = session.owner.split('/').nth(1).unwrap_or_default();
            let expected = expected(policy, role, &session.target, session.age(*now));
            let outcome = told.remove(&("Session Outcome".into(), id.clone()));
            let warning = told.remove(&("Session Expiry Warning".into(), id.clone()));
            n_expected += usize::from(expected != Expected::Nothing);
            let must_be_told = sent.failed == 0;
            match expected {
                Expected::Nothing => {
                    ensure!(outcome.is_none() && warning.is_none(), "{id} is left alone, and told");
                }
                Expected::Violation => {
                    ensure!(warning.is_none(), "{id} is a violator, and warned of");
                    ensure!(outcome.is_some() || !must_be_told, "{id} is not told");
                }
                Expected::Warning(before, is_repeat) => {
                    ensure!(outcome.is_none(), "{id} is compliant, and told");
                    ensure!(warning.is_some() || !must_be_told, "{id} is not warned of");
                    if let Some(it) = warning {
                        let told = (it["before_s"].as_i64(), it["repeat"].as_bool());
                        let right = (Some(before * 60), Some(is_repeat));
                        ensure!(told == right, "the warning of {id} is {told:?}, not {right:?}");
                        let text = it["text"].as_str().unwrap_or_default();
                        let says_dry = text.contains("nothing will be terminated");
                        ensure!(says_dry == (*mode == Mode::DryRun), "{id}: {text}");
                    }
                }
            }
            let Some(outcome) = outcome else { continue };
            let name = outcome["outcome"].as_str().unwrap_or_default();
            let was_requested = requested.contains(&id);
            let acts = !["would_terminate", "deferred"].contains(&name);
            ensure!(acts == was_requested, "{id} is {name}, and requested: {was_requested}");
            let is_gone = ["terminated", "already_gone"].contains(&name);
            ensure!(!is_gone || !active.contains(&id), "{id} is {name}, and active");
            ensure!(outcome["tags"]["env"] == "dev", "{id} has no tags");
        }
        let finished = told.remove(&("Sweep Finished".into(), String::new()));
        ensure!(finished.is_some() || 0 < sent.failed, "the end of the sweep is not told");
        ensure!(told.is_empty(), "events of no known fact: {told:?}");
        let n = sent.sent + sent.failed;
        ensure!(n == n_expected, "{n} events, not {n_expected}");
        Ok(())
    }
}

/// Any session.
fn session(rng: &mut Rng, id: &str) -> Seed {
    let role = ["dev", "dev", "dev", "glass"][rng.usize(..4)];
    Seed {
        id: Some(id.into()),
        owner: Some(format!("arn:aws:sts::{ACCOUNT}:assumed-role/{role}/ana")),
        target: Some(TARGETS[[0, 0, 0, 1, 2][rng.usize(..5)]].into()),
        age: Some(SignedDuration::from_secs(rng.i64(0..90 * 60))),
        status: Some("Connected".into()),
        ..Seed::default()
    }
}

/// What goes wrong with the bus, mostly, or with terminations.
fn fault(rng: &mut Rng) -> Fault {
    let kind = match rng.u8(..10) {
        0 => FaultKind::Deny,
        1 => FaultKind::Throttle,
        2 => FaultKind::ResetBefore,
        3 => FaultKind::ResetAfter,
        4 => FaultKind::InternalError,
        5 => FaultKind::Slow(Duration::from_millis(rng.u64(100..9_000))),
        6 => FaultKind::Truncated,
        7 => FaultKind::FailEntries("AccessDeniedException".into()),
        _ => FaultKind::FailEntries("ThrottlingException".into()),
    };
    let is_of_bus = matches!(kind, FaultKind::FailEntries(_)) || rng.u8(..3) != 0;
    let operation = if is_of_bus { "PutEvents" } else { "TerminateSession" };
    let fault = Fault::new(operation, rng.usize(1..8), kind).after(rng.usize(..2));
    if rng.u8(..6) == 0 { fault.always() } else { fault }
}
