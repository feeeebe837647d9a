//! What most tests use: an emulated account, a policy, and one way to sweep.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_credential_types::{
    credential_fn::provide_credentials_fn, provider::error::CredentialsError,
};
use bytes::Bytes;
use http::Response;
use reaper_core::{
    evaluate::Verdict,
    event::Event,
    evidence::{Demand, Invocation},
    report::{Mode, Outcomes, Report},
    target::Scope,
};
use serde_json::{Value, json};
use session_manager_emulator::{Call, Emulator, Fault, Fleet, Reset, Seed, serve};
use session_reaper::{
    Budget,
    aws::{Bucket, Connect, EventBus},
    sinks::{Sinks, events::Events, evidence::Evidence},
    sweep::source::PolicySource,
    sweep::{SweepContext, SweepError, sweep},
};
use tokio::{net::TcpListener, time::Instant};

use crate::role::assert_allowed;

/// An hour at most; break-glass and what is tagged so are exempt.
pub(crate) const POLICY: &str = r#"
version: 1
tag_keys: ["reaper:exempt"]
rules:
  - { id: one-hour, when: all, require: { max_age: 1h } }
exemptions:
  - { id: break-glass, when: { owner: role/BreakGlass } }
  - { id: tagged, when: { target_tags: { "reaper:exempt": "true" } } }
limits: { max_terminations: 1000, circuit_breaker: {max_percent: 100 } }
"#;

/// The same, but for one target, and without a word on tags.
pub(crate) const TAGLESS_POLICY: &str = "
version: 1
rules:
  - { id: one-hour, when: { target: i-0000000000000dev0 }, require: { max_age: 1h } }
exemptions:
  - { id: break-glass, when: { owner: role/BreakGlass } }
limits: { circuit_breaker: {max_percent: 100 } }
";

/// The sessions in `fleet` that violate `POLICY`, oldest first.
pub(crate) const VIOLATORS: [&str; 4] = ["v-5h", "v-4h", "v-3h", "v-2h"];

/// How the ids start of sessions that violate no policy of a test: compliant, fillers, exempt.
const INNOCENT: [&str; 3] = ["c-", "f-", "x-"];

/// How the product reaches the emulator.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wire {
    /// As its HTTP client: time may be virtual.
    InProcess,
    /// Over a real socket.
    Socket,
    /// The same, where the n-th answer, from 0 on, becomes another one.
    Through(fn(usize, Response<Bytes>) -> Response<Bytes>),
}

pub(crate) struct Stage {
    pub(crate) emulator: Emulator,
    pub(crate) wire: Wire,
    pub(crate) mode: Mode,
    pub(crate) policy: PolicySource,
    pub(crate) calls_per_second: f64,
    pub(crate) has_credentials: bool,
    /// By so much the function's clock is ahead of AWS's.
    pub(crate) clock_ahead: jiff::SignedDuration,
    /// What the sessions may take, in bytes.
    pub(crate) memory: usize,
    /// From the start of the sweep to the end of its last call.
    pub(crate) deadline: Duration,
    /// No call starts this close to it.
    pub(crate) margin: Duration,
    /// Where its events go.
    pub(crate) sinks: Sinks,
    /// Whether there is an event bus, too.
    pub(crate) has_bus: bool,
    /// Whether the sweep is recorded in `BUCKET`, and has to be.
    pub(crate) evidence: Option<Demand>,
}

/// The name of the bus.
pub(crate) const BUS: &str = "ops";

/// The bucket of evidence.
pub(crate) const BUCKET: &str = "audit";

impl Stage {
    pub(crate) fn new(wire: Wire, fleet: Fleet) -> Self {
        Self {
            emulator: Emulator::new(fleet),
            wire,
            mode: Mode::Enforce,
            policy: inline(POLICY),
            calls_per_second: 1_000.0,
            has_credentials: true,
            clock_ahead: jiff::SignedDuration::ZERO,
            memory: usize::MAX,
            deadline: Duration::from_mins(5),
            margin: Duration::from_secs(10),
            sinks: Sinks::NONE,
            has_bus: false,
            evidence: None,
        }
    }

    /// A stage on which calls go wrong.
    pub(crate) fn with_faults(wire: Wire, n_fillers: usize, faults: Vec<Fault>) -> Self {
        Self::new(wire, Fleet { faults, ..fleet(n_fillers) })
    }

    pub(crate) async fn sweep(&self) -> Report {
        self.try_sweep().await.expect("a usable policy")
    }

    pub(crate) async fn try_sweep(&self) -> Result<Report, SweepError> {
        let config = match self.wire {
            Wire::InProcess => sdk_config(self.has_credentials)
                .into_builder()
                .http_client(self.emulator.http_client()),
            Wire::Socket => {
                let (listener, url) = listen().await;
                tokio::spawn(serve(listener, self.emulator.clone()));
                sdk_config(self.has_credentials).into_builder().endpoint_url(url)
            }
            Wire::Through(alter) => {
                let (listener, url) = listen().await;
                let (emulator, n_answers) = (self.emulator.clone(), Arc::new(AtomicUsize::new(0)));
                let proxy = tower::service_fn(move |request| {
                    let (emulator, n_answers) = (emulator.clone(), Arc::clone(&n_answers));
                    async move {
                        let answer = emulator.answer(request).await?;
                        Ok::<_, Reset>(alter(n_answers.fetch_add(1, Ordering::Relaxed), answer))
                    }
                });
                tokio::spawn(serve(listener, proxy));
                sdk_config(self.has_credentials).into_builder().endpoint_url(url)
            }
        };
        let n_calls_before = self.emulator.calls().len();
        let connect = Connect::from(config.build());
        let ssm = connect.ssm(self.calls_per_second);
        let events = self.has_bus.then(|| Events {
            bus: EventBus::new(&connect, BUS),
            period: jiff::SignedDuration::from_mins(5),
            is_of_run: false,
        });
        let evidence = self.evidence.map(|demand| Evidence {
            bucket: Arc::new(Bucket::new(&connect, BUCKET)),
            demand,
            invocation: Invocation {
                request_id: "request-1".into(),
                version: "7".into(),
                run: None,
            },
        });
        let sinks = Sinks { log: self.sinks.log.clone(), metrics: None, events, evidence };
        let hard_stop = Instant::now() + self.deadline;
        let scope = Scope::from_arn("arn:aws:lambda:eu-central-1:123456789012:function:f");
        let swept = sweep(SweepContext {
            ssm: &ssm,
            sinks: &sinks,
            scope: scope.as_ref(),
            policy: &self.policy,
            mode: self.mode,
            now: self.emulator.now() + self.clock_ahead,
            read_at: Instant::now(),
            budget: Budget { last_start: hard_stop - self.margin, hard_stop },
            concurrency: 8,
            memory: self.memory,
        })
        .await;
        assert_allowed(self.mode, &self.emulator);
        let calls = self.emulator.calls().split_off(n_calls_before);
        let steps = swept.iter().flat_map(|it| &it.record.outcomes).map(|it| &it.step);
        let violators = steps.filter(|it| matches!(it.verdict, Verdict::Violation { .. }));
        assert_only_violators(&calls, &violators.map(|it| it.session.id.to_string()).collect());
        let report = swept?.report;
        assert_adds_up(&report);
        Ok(report)
    }

    /// Ids of the sessions whose termination was requested, in the order of the calls, each call once.
    pub(crate) fn termination_requests(&self) -> Vec<String> {
        let id = |it: Call| it.body["SessionId"].as_str().map(ToOwned::to_owned);
        self.calls("TerminateSession").into_iter().filter_map(id).collect()
    }

    /// What the bus has taken: types and details.
    pub(crate) fn events(&self) -> Vec<(String, Value)> {
        let text = |it: &Value| it.as_str().expect("a text").to_owned();
        let detail = |it: &Value| serde_json::from_str(&text(&it["Detail"])).expect("JSON");
        let events = self.emulator.events();
        for it in &events {
            assert_eq!(
                (&it["Source"], &it["EventBusName"]),
                (&json!("session-reaper"), &json!(BUS))
            );
        }
        events.iter().map(|it| (text(&it["DetailType"]), detail(it))).collect()
    }

    pub(crate) fn calls(&self, operation: &str) -> Vec<Call> {
        let is_it = |it: &Call| it.operation == operation;
        self.emulator.calls().into_iter().filter(is_it).collect()
    }

    /// What must be true after every sweep over `fleet`, whatever went wrong.
    #[track_caller]
    pub(crate) fn check(&self, report: &Report, expected: Outcomes) {
        assert_eq!(report.outcomes, expected, "{:#?}", report.sessions);
        for id in self.termination_requests() {
            assert!(VIOLATORS.contains(&id.as_str()), "the termination of {id} was requested");
        }
        let n_gone = VIOLATORS.iter().filter(|id| !self.is_active(id)).count();
        let n_reported = expected.terminated + expected.already_gone;
        assert!(n_reported <= n_gone, "{n_reported} reported gone, and {n_gone} are");
        for id in ["x-role", "x-tag", "u-untagged", "c-fresh"] {
            assert!(self.is_active(id), "{id} was terminated");
        }
        assert_adds_up(report);
    }

    pub(crate) fn is_active(&self, id: &str) -> bool {
        self.emulator.active_ids().iter().any(|it| it == id)
    }
}

/// Every session seen is counted once by verdict, and every evaluated one once by outcome.
#[track_caller]
pub(crate) fn assert_adds_up(report: &Report) {
    let manifest = serde_json::json!(Event::Finished(report));
    assert_they_add_up(|name| manifest[name].as_u64());
}

/// The same of these counts, wherever they stand.
#[track_caller]
pub(crate) fn assert_they_add_up(count: impl Fn(&str) -> Option<u64>) {
    let sum = |names: &[&str]| -> u64 {
        names.iter().map(|it| count(it).unwrap_or_else(|| panic!("no {it}"))).sum()
    };
    let evaluated = sum(&["compliant", "exempt", "violation", "warning", "undetermined"]);
    assert_eq!(sum(&["seen"]), evaluated + sum(&["not_evaluated"]));
    let tried = ["terminated", "already_gone", "unconfirmed", "denied", "throttled", "failed"];
    assert_eq!(sum(&["violation"]), sum(&tried) + sum(&["would_terminate", "deferred"]));
    assert_eq!(evaluated, sum(&["violation", "no_action"]));
}

/// Of the sessions whose termination these calls requested, each was found in violation, and none has a name
/// that the fleets below give to others.
#[track_caller]
pub(crate) fn assert_only_violators(calls: &[Call], violators: &BTreeSet<String>) {
    for call in calls.iter().filter(|it| it.operation == "TerminateSession") {
        let id = call.body["SessionId"].as_str().expect("an id");
        assert!(violators.contains(id), "{id} was requested, and does not violate the policy");
        let is_innocent = INNOCENT.iter().any(|it| id.starts_with(it));
        assert!(!is_innocent, "the termination of {id} was requested");
    }
}

/// Four violators, the oldest sessions but for the exempt; two exempt, one undetermined, one
/// compliant; and fresh ones to fill pages, which are listed first.
pub(crate) fn fleet(n_fillers: usize) -> Fleet {
    let mut fleet = Fleet::default();
    let role = |name: &str| format!("arn:aws:sts::123456789012:assumed-role/{name}/x");
    let mut add = |id: &str, name: &str, target: &str, age: jiff::SignedDuration| {
        let (id, owner, target) = (Some(id.into()), Some(role(name)), Some(target.into()));
        fleet.sessions.push(Seed { id, owner, target, age: Some(age), ..Seed::default() });
    };
    let hours = jiff::SignedDuration::from_hours;
    for (i, id) in VIOLATORS.iter().enumerate() {
        add(id, "dev", "i-0000000000000dev0", hours(5 - i64::try_from(i).unwrap()));
    }
    add("x-role", "BreakGlass", "i-0000000000000dev0", hours(9));
    add("x-tag", "dev", "i-000000000exempt00", hours(9));
    add("u-untagged", "dev", "i-00000000untagged0", hours(9));
    add("c-fresh", "dev", "i-00000000untagged0", hours(0));
    for i in 0..n_fillers {
        add(&format!("f-{i}"), "dev", "i-0000000000000dev0", jiff::SignedDuration::from_mins(1));
    }
    for (target, key, value) in
        [("i-0000000000000dev0", "env", "dev"), ("i-000000000exempt00", "reaper:exempt", "true")]
    {
        fleet.tags.entry(target.into()).or_default().insert(key.into(), value.into());
    }
    fleet
}

/// Evaluates `thousand`, by maximum age, owner allowlist and target tags.
pub(crate) const THOUSAND_POLICY: &str = "
version: 1
tag_keys: [env, team]
rules:
  - { id: eight-hours, when: all, require: { max_age: 8h } }
  - { id: payments-only, when: { target_tags: { team: payments } }, require: { owner: role/pay-* } }
  - { id: frozen, when: { target_tags: { env: frozen } }, forbid: true }
exemptions:
  - { id: break-glass, when: { owner: role/BreakGlass } }
limits: { max_terminations: 1000 }
";

/// A thousand sessions: 100 violators (`v-`), 50 exempt who would violate (`x-`), 850 compliant.
pub(crate) fn thousand() -> Fleet {
    let mut fleet = Fleet::default();
    for i in 0..1_000_i64 {
        let (id, role, kind, minutes) = match i {
            0..40 => ("v", "dev", "plain", 481 + i * 20),
            40..70 => ("v", "dev", "payments", i),
            70..100 => ("v", "pay-ops", "frozen", i),
            100..120 => ("x", "BreakGlass", "plain", 481 + i * 20),
            120..150 => ("x", "BreakGlass", "frozen", i),
            150..250 => ("c", "pay-ops", "payments", i),
            _ => ("c", "dev", "plain", i % 480),
        };
        let target = format!("i-{i:017}");
        let tags: &[(&str, &str)] = match kind {
            "payments" => &[("team", "payments")],
            "frozen" => &[("env", "frozen")],
            _ => &[("env", "dev")],
        };
        let tags = tags.iter().map(|(key, value)| ((*key).into(), (*value).into()));
        fleet.tags.insert(target.clone(), tags.collect());
        fleet.sessions.push(Seed {
            id: Some(format!("{id}-{i}")),
            owner: Some(format!("arn:aws:sts::123456789012:assumed-role/{role}/x")),
            target: Some(target),
            age: Some(jiff::SignedDuration::from_mins(minutes)),
            ..Seed::default()
        });
    }
    fleet
}

/// Of `thousand`, exactly the violators were terminated, each by one request, and exactly they are gone.
#[track_caller]
pub(crate) fn assert_hundred_terminations(emulator: &Emulator) {
    let calls = emulator.calls();
    let terminated = calls.iter().filter(|it| it.operation == "TerminateSession");
    let mut terminated: Vec<_> =
        terminated.filter_map(|it| it.body["SessionId"].as_str()).collect();
    assert_eq!(terminated.len(), 100);
    terminated.sort_unstable();
    terminated.dedup();
    assert_eq!(terminated.len(), 100, "each once");
    assert!(terminated.iter().all(|it| it.starts_with("v-")));
    assert!(emulator.active_ids().iter().all(|it| !it.starts_with("v-")));
    assert_eq!(emulator.active_ids().len(), 900);
    assert!(calls.iter().all(|it| it.status == Some(200)), "no call failed");

    let operations: Vec<_> = calls.iter().map(|it| it.operation.as_str()).collect();
    let first = operations.iter().position(|it| *it == "TerminateSession").expect("one");
    let last = operations.iter().rposition(|it| *it == "TerminateSession").expect("one");
    let n_listed = |calls: &[&str]| calls.iter().filter(|it| **it == "DescribeSessions").count();
    let listed =
        [&operations[..first], &operations[first..last], &operations[last..]].map(n_listed);
    assert_eq!(listed, [5, 0, 5], "before, meanwhile, after");
}

/// The outcomes of a sweep in which these became of the violators of `fleet`, and no action on the rest.
pub(crate) fn outcomes(n_fillers: usize, violators: Outcomes) -> Outcomes {
    Outcomes { no_action: 4 + n_fillers, ..violators }
}

pub(crate) fn inline(text: &str) -> PolicySource {
    PolicySource::Inline { name: "test".into(), text: text.into() }
}

pub(crate) async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    (listener, url)
}

fn sdk_config(has_credentials: bool) -> SdkConfig {
    let provider = if has_credentials {
        let credentials = Credentials::new("AKIDEXAMPLE", "secret", None, None, "test");
        SharedCredentialsProvider::new(credentials)
    } else {
        SharedCredentialsProvider::new(provide_credentials_fn(async || {
            Err(CredentialsError::not_loaded("there are none"))
        }))
    };
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .credentials_provider(provider)
        .build()
}
