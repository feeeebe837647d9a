//! A second day of each seed: sessions of the account's own documents, whose types are looked up.
//!
//! What is expected of each session follows from what was served to its sweep alone: a document that
//! was denied, is gone or names no type leaves it undetermined, and what another sweep was told counts
//! for nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use fastrand::Rng;
use jiff::SignedDuration;
use reaper_core::{report::Mode, target::Scope};
use serde_json::Value;
use session_manager_emulator::{Behaviour, Emulator, Fault, FaultKind, Fleet, Seed};
use session_reaper::{
    Budget,
    sinks::Sinks,
    sweep::source::PolicySource,
    sweep::{SweepContext, sweep},
};
use tokio::time::{Instant, sleep};

use crate::{
    check::CONCURRENCY,
    day::client,
    fleet::{ACCOUNT, PARAMETER, REGION},
    tap::{Answer, Exchange},
};

const GET: &str = "GetDocument";
const TYPES: [&str; 4] =
    ["InteractiveCommands", "NonInteractiveCommands", "Port", "Standard_Stream"];
/// AWS's own are not looked up.
const KNOWN: [(&str, &str); 2] =
    [("AWS-StartPortForwardingSession", "Port"), ("SSM-SessionManagerRunShell", "Standard_Stream")];

/// A rule on one role's sessions of some types, and an exemption for some types.
struct Policy {
    forbidden: BTreeSet<&'static str>,
    exempt: BTreeSet<&'static str>,
}

impl Policy {
    fn any(rng: &mut Rng) -> Self {
        let mut types = |n| (0..n).map(|_| TYPES[rng.usize(..TYPES.len())]).collect();
        Self { forbidden: types(2), exempt: types(1) }
    }

    fn yaml(&self) -> String {
        let list = |any: &BTreeSet<&str>| any.iter().copied().collect::<Vec<_>>().join(", ");
        format!(
            "version: 1\nrules: [{{ id: r, when: {{ owner: role/dev, session_type: [{}] }}, \
             forbid: true }}]\nexemptions: [{{ id: e, when: {{ session_type: [{}] }} }}]\n\
             limits: {{ max_terminations: 1000, circuit_breaker: {{ max_percent: 100 }} }}\n",
            list(&self.forbidden),
            list(&self.exempt)
        )
    }

    fn verdict(&self, is_dev: bool, session_type: Option<&str>) -> &'static str {
        match session_type {
            _ if !is_dev => "compliant",
            None => "undetermined",
            Some(it) if !self.forbidden.contains(it) => "compliant",
            Some(it) if self.exempt.contains(it) => "exempt",
            Some(_) => "violation",
        }
    }
}

/// Lives through the day, and says what is not as it should be.
pub(crate) fn day(seed: u64) -> Result<(), String> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(pass(seed))
}

async fn pass(seed: u64) -> Result<(), String> {
    let mut rng = Rng::with_seed(!seed);
    // Of this day alone, so that what is kept from another shows nothing.
    let own: Vec<String> = (0..4).map(|i| format!("Team-{seed}-{i}")).collect();
    let emulator = Emulator::new(Fleet {
        account: ACCOUNT.into(),
        region: REGION.into(),
        now: Some("2026-03-02T12:00:00Z".parse().expect("an instant")),
        behaviour: Behaviour { terminating_for: Duration::ZERO, ..Behaviour::default() },
        ..Fleet::default()
    });
    let (ssm, tap) = client(&emulator, 50.0);
    let scope = Scope::from_arn(&format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:f"));
    let mut sessions: BTreeMap<String, (bool, String)> = BTreeMap::new();
    for round in 0..rng.usize(2..6) {
        for name in &own {
            // The type changes, or the document is gone, or has none.
            let content = match rng.u8(..8) {
                0 => None,
                1 => Some("{ schemaVersion: '1.0', inputs: {} }"),
                2..5 if 0 < round => continue,
                _ => Some(TYPES[rng.usize(..TYPES.len())]),
            };
            emulator.set_document(name, content);
        }
        for i in 0..rng.usize(1..8) {
            let id = format!("s-{round}-{i}");
            let (seed, is_dev, document) = session(&mut rng, &id, &own);
            emulator.start(seed);
            sessions.insert(id, (is_dev, document));
        }
        let kind = match rng.u8(..3) {
            0 => FaultKind::Deny,
            1 => FaultKind::InternalError,
            _ => FaultKind::Throttle,
        };
        let fault = Fault::new(GET, rng.usize(1..4), kind).after(rng.usize(..3));
        emulator.set_faults(if rng.bool() { vec![fault] } else { Vec::new() });
        let policy = Policy::any(&mut rng);
        emulator.set_parameter(PARAMETER, &policy.yaml());
        sleep(Duration::from_mins(5)).await;

        let (n_before, read_at) = (tap.exchanges().len(), Instant::now());
        let budget = Budget {
            last_start: read_at + Duration::from_mins(4),
            hard_stop: read_at + Duration::from_mins(5),
        };
        let source = PolicySource::Parameter(PARAMETER.into());
        let swept = Box::pin(sweep(SweepContext {
            ssm: &ssm,
            sinks: &Sinks::NONE,
            scope: scope.as_ref(),
            policy: &source,
            mode: Mode::Enforce,
            now: emulator.now(),
            read_at,
            budget,
            concurrency: CONCURRENCY,
            memory: usize::MAX,
        }));
        let swept = swept.await.map_err(|err| format!("documents: {err}"))?;
        let exchanges = tap.exchanges().split_at(n_before).1.to_vec();
        let types = served(&exchanges);
        for it in &swept.record.outcomes {
            let id = it.step.session.id.to_string();
            let (is_dev, document) = sessions.get(&id).ok_or("documents: an unknown session")?;
            let known = KNOWN.iter().find(|(name, _)| name == document).map(|(_, it)| *it);
            let session_type = known.or_else(|| types.get(document).and_then(Option::as_deref));
            let expected = policy.verdict(*is_dev, session_type);
            let actual = it.step.verdict.name();
            if actual != expected {
                let served = types.get(document);
                return Err(format!(
                    "documents: {id} of {document} ({served:?}) is {actual}, not {expected}"
                ));
            }
        }
        // Only what decides is asked for.
        let deciding: BTreeSet<_> =
            sessions.values().filter(|(is_dev, _)| *is_dev).map(|(_, document)| document).collect();
        if let Some(name) = types.keys().find(|it| !own.contains(it) || !deciding.contains(it)) {
            return Err(format!("documents: {name} decides nothing, and was looked up"));
        }
        let active: BTreeSet<String> = emulator.active_ids().into_iter().collect();
        for it in &swept.record.outcomes {
            let id = it.step.session.id.to_string();
            if active.contains(&id) == (it.step.verdict.name() == "violation") {
                return Err(format!("documents: {id} is {}", it.step.verdict.name()));
            }
        }
        if swept.record.outcomes.len() != sessions.len() {
            return Err("documents: a session was not evaluated".into());
        }
        sessions.retain(|id, _| active.contains(id));
    }
    Ok(())
}

/// Any session, whether it is of the rule's role, and its document.
fn session(rng: &mut Rng, id: &str, own: &[String]) -> (Seed, bool, String) {
    let is_dev = rng.u8(..4) != 0;
    let document = match rng.usize(..6) {
        i @ (0 | 1) => KNOWN[i].0.to_owned(),
        i => own[i - 2].clone(),
    };
    let role = if is_dev { "dev" } else { "ops" };
    let seed = Seed {
        id: Some(id.into()),
        owner: Some(format!("arn:aws:sts::{ACCOUNT}:assumed-role/{role}/ana")),
        target: Some("i-00000000000000001".into()),
        age: Some(SignedDuration::ZERO),
        status: Some("Connected".into()),
        document: Some(document.clone()),
        ..Seed::default()
    };
    (seed, is_dev, document)
}

/// The documents that a sweep asked for, and the type that it was told, if it was.
fn served(exchanges: &[Exchange]) -> BTreeMap<String, Option<String>> {
    let mut types = BTreeMap::new();
    for it in exchanges.iter().filter(|it| it.operation == GET) {
        let name = it.request["Name"].as_str().unwrap_or_default().to_owned();
        let told = match &it.answer {
            Some(Answer::Http { status: 200, body: Some(body), .. }) => {
                let content = body["Content"].as_str().unwrap_or_default();
                let content: Value = serde_json::from_str(content).unwrap_or_default();
                let told = content["sessionType"].as_str().filter(|it| TYPES.contains(it));
                told.map(ToOwned::to_owned)
            }
            _ => None,
        };
        types.insert(name, told);
    }
    types
}
