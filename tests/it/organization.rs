//! A run over an organization: the steps of the hub, against the emulator.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use reaper_core::{
    evidence::{Demand, Invocation, Manifest, Status as Proof, verify},
    organization::{RunSummary, Selection, Status},
    report::Mode,
};
use serde_json::{Value, json};
use session_manager_emulator::{
    AccountFleet, AccountState, Behaviour, Fault, FaultKind, Organization, OrganizationFleet,
    RegionFleet, Seed, serve,
};
use session_reaper::{
    Budget,
    aws::{Bucket, Connect, EventBus, one_connector},
    organization::{Hub, HubConfig, HubError, PlanReply, Reply, Step, SweepSettings},
    sinks::{Sinks, events::Events, evidence::Evidence},
    sweep::source::PolicySource,
};
use tokio::time::Instant;

use crate::{
    evidence::folders,
    role::{action, actions},
    stage::{BUCKET, listen},
};

const REGIONS: [&str; 2] = ["eu-central-1", "us-east-1"];

const PARAMETER: &str = "/session-reaper/policy";

const POLICY: &str = "
version: 1
rules: [{ id: one-hour, when: all, require: { max_age: 1h } }]
limits: { circuit_breaker: { max_percent: 60 } }
";

/// An organization, and the hub of its runs.
struct Run {
    organization: Organization,
    mode: Mode,
    selection: Selection,
    /// From the start of a step to its deadline.
    time: Duration,
    /// An endpoint on a socket; in process if absent.
    url: Option<String>,
    has_bus: bool,
    /// Whether sweeps are recorded in `stage::BUCKET`, and have to be.
    evidence: Option<Demand>,
}

fn id(account: usize) -> String {
    format!("{account:012}")
}

/// A violator and a session that complies, in an account-Region.
fn region(account: usize, region: &str) -> RegionFleet {
    let seed = |name: &str, hours| Seed {
        id: Some(format!("{name}-{account}-{region}")),
        owner: Some(format!("arn:aws:iam::{}:user/{name}", id(account))),
        target: Some("i-0000000000000dev0".into()),
        age: Some(jiff::SignedDuration::from_hours(hours)),
        ..Seed::default()
    };
    RegionFleet { sessions: vec![seed("v", 2), seed("c", 0)], ..RegionFleet::default() }
}

fn fleet(n_accounts: usize) -> OrganizationFleet {
    let account = |number| AccountFleet {
        id: id(number),
        role: Some("ReaperMember".into()),
        regions: REGIONS.map(|it| (it.into(), region(number, it))).into(),
        ..AccountFleet::default()
    };
    OrganizationFleet {
        accounts: (1..=n_accounts).map(account).collect(),
        parameters: [(PARAMETER.into(), POLICY.into())].into(),
        buckets: Some(["runs".into()].into()),
        page_size: 2,
        empty_pages: 1,
        ..OrganizationFleet::default()
    }
}

impl Run {
    fn new(fleet: OrganizationFleet) -> Self {
        Self {
            organization: Organization::new(fleet),
            mode: Mode::Enforce,
            selection: Selection { batch_size: 4, ..Selection::default() },
            time: Duration::from_mins(5),
            url: None,
            has_bus: false,
            evidence: None,
        }
    }

    fn connect(&self) -> Connect {
        let credentials = Credentials::new("HUB", "secret", None, None, "test");
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("eu-central-1"))
            .credentials_provider(SharedCredentialsProvider::new(credentials));
        let config = match &self.url {
            Some(url) => config.endpoint_url(url).http_client(one_connector()),
            None => config.http_client(self.organization.http_client()),
        };
        Connect::from(config.build())
    }

    fn hub(&self) -> Hub {
        let config_of_hub = HubConfig {
            member_role: "ReaperMember".into(),
            bucket: "runs".into(),
            regions: REGIONS.map(Into::into).into(),
            selection: self.selection.clone(),
            run_timeout: Duration::from_hours(1),
        };
        let sweeps = SweepSettings {
            mode: self.mode,
            policy: PolicySource::Parameter(PARAMETER.into()),
            calls_per_second: 1_000.0,
            concurrency: 8,
            memory: 88 << 20,
        };
        Hub::new(config_of_hub, sweeps, "aws".into(), self.connect())
    }

    /// Carries out a step, with clients of its own.
    async fn step(&self, step: Step) -> Result<Reply, HubError> {
        let deadline = Instant::now() + self.time;
        let budget = Budget::until(deadline, Duration::from_secs(10));
        let clock = || self.organization.now();
        let events = Events {
            bus: EventBus::new(&self.connect(), "ops"),
            period: jiff::SignedDuration::from_mins(5),
            is_of_run: false,
        };
        let evidence = self.evidence.map(|demand| Evidence {
            bucket: Arc::new(Bucket::new(&self.connect(), BUCKET)),
            demand,
            invocation: Invocation { request_id: "r-1".into(), version: "7".into(), run: None },
        });
        let events = self.has_bus.then_some(events);
        let sinks = Sinks { events, evidence, ..Sinks::NONE };
        let reply = self.hub().carry_out(step, &sinks, &clock, budget).await;
        assert!(Instant::now() < deadline, "the step ended in time");
        assert!(self.organization.foreign_calls().is_empty(), "no key reached another account");
        reply
    }

    async fn plan(&self, run: &str) -> Result<PlanReply, HubError> {
        match self.step(Step::Plan(run.parse().expect("an id"), self.mode)).await? {
            Reply::Plan(plan) => Ok(plan),
            other @ (Reply::Batch(_) | Reply::Summary(_)) => panic!("{other:?}"),
        }
    }

    async fn batch(&self, run: &str, number: usize) -> Result<Value, HubError> {
        let step = Step::Batch(run.parse().expect("an id"), number);
        self.step(step).await.map(|it| json!(it))
    }

    async fn summary(&self, run: &str) -> Result<RunSummary, HubError> {
        match self.step(Step::Summary(run.parse().expect("an id"))).await? {
            Reply::Summary(summary) => Ok(*summary),
            other @ (Reply::Plan(_) | Reply::Batch(_)) => panic!("{other:?}"),
        }
    }

    /// What the state machine does.
    async fn run(&self, run: &str) -> Result<RunSummary, HubError> {
        let plan = self.plan(run).await?;
        let mut is_good = true;
        for number in &plan.canaries {
            is_good &= self.batch(run, *number).await.is_ok();
        }
        for number in plan.batches.iter().filter(|_| is_good) {
            let _told_by_the_summary = self.batch(run, *number).await;
        }
        self.summary(run).await
    }

    fn report(&self, run: &str, number: usize) -> Value {
        let key = format!("runs/runs/{run}/reports/{number}.json");
        let objects = self.organization.objects();
        serde_json::from_slice(&objects[&key]).expect("JSON")
    }

    fn ids(&self, account: usize, region: &str) -> Vec<String> {
        self.organization.account_region(&id(account), region).active_ids()
    }

    fn n_calls(&self, operation: &str) -> usize {
        self.organization.calls().iter().filter(|it| it.operation == operation).count()
    }

    /// The account-Regions from whose violator was really terminated.
    fn reaped(&self, n_accounts: usize) -> BTreeSet<(usize, &'static str)> {
        let all = (1..=n_accounts).flat_map(|it| REGIONS.map(|region| (it, region)));
        all.filter(|(account, region)| self.ids(*account, region).len() == 1).collect()
    }
}

/// Each account-Region has evidence of its own, which names the run; one without sessions has none.
#[tokio::test(start_paused = true)]
async fn evidence_of_each() {
    let mut fleet = fleet(3);
    fleet.buckets = Some(["runs".into(), BUCKET.into()].into());
    fleet.accounts[2].regions.remove("us-east-1");
    let run = Run { evidence: Some(Demand::Required), ..Run::new(fleet) };
    let summary = run.run("r").await.expect("a summary");
    assert_eq!(summary.sweeps.evidence_failed, Some(0));
    let folders = folders(&run.organization.objects());
    assert_eq!(folders.len(), 5, "of six account-Regions one is empty");
    let mut seen = BTreeSet::new();
    for folder in &folders {
        let verified = verify(folder);
        assert_eq!((verified.status, verified.terminated), (Proof::Verified, 1), "{verified:?}");
        let manifest = folder.manifest.as_deref().expect("a manifest");
        let manifest: Manifest = serde_json::from_slice(manifest).expect("a manifest");
        assert_eq!(manifest.sweep.run, Some("r".parse().expect("an id")));
        seen.insert((manifest.sweep.account, manifest.sweep.region));
    }
    assert_eq!(seen.len(), 5);
}

/// Without the bucket no session is terminated where evidence is required, and the run counts the sweeps.
#[tokio::test(start_paused = true)]
async fn evidence_not_written() {
    for (demand, n_terminated) in [(Demand::Required, 0), (Demand::BestEffort, 4)] {
        let run = Run { evidence: Some(demand), ..Run::new(fleet(2)) };
        let summary = run.run("r").await.expect("a summary");
        assert_eq!(summary.sweeps.evidence_failed, Some(4));
        assert_eq!(summary.sweeps.outcomes.deferred, 4 - n_terminated);
        assert_eq!(run.n_calls("TerminateSession"), n_terminated);
    }
}

/// A run plans every active account, sweeps each account-Region once with keys of its own, assumes each
/// role once, and sums up.
#[tokio::test(start_paused = true)]
async fn whole_run() {
    let mut fleet = fleet(6);
    fleet.accounts[4].state = AccountState::Suspended;
    let run = Run::new(fleet);
    let plan = run.plan("r-1").await.expect("a plan");
    assert_eq!((plan.accounts, plan.account_regions), (5, 10));
    assert_eq!((&plan.canaries[..], &plan.batches[..]), (&[1][..], &[2, 3][..]));
    for number in [1, 2, 3] {
        run.batch("r-1", number).await.expect("a batch");
    }
    let summary = run.summary("r-1").await.expect("a summary");
    assert_eq!((summary.n(Status::Swept), summary.missing), (10, 0));
    assert_eq!(summary.sweeps.verdicts.seen, 20);
    assert_eq!((summary.sweeps.outcomes.terminated, summary.sweeps.verdicts.violation), (10, 10));
    let reaped: BTreeSet<_> = run.reaped(6).into_iter().map(|(account, _)| account).collect();
    assert_eq!(reaped, [1, 2, 3, 4, 6].into());
    assert_eq!(run.n_calls("AssumeRole"), 5);
    assert_eq!(run.n_calls("ListAccounts"), 1 + 3);
    assert_eq!(run.n_calls("TerminateSession"), 10);
    let objects = run.organization.objects();
    let written: Vec<_> = objects.keys().collect();
    let of = |it: &str| format!("runs/runs/r-1/{it}.json");
    let expected = ["plan", "reports/1", "reports/2", "reports/3", "summary"].map(of);
    assert_eq!(written, ["runs/lease.json".into()].iter().chain(&expected).collect::<Vec<_>>());
}

/// Over a socket, where the endpoint is another than AWS's, objects are where they are in process.
#[tokio::test]
async fn over_a_socket() {
    let mut run = Run::new(fleet(3));
    let (listener, url) = listen().await;
    tokio::spawn(serve(listener, run.organization.clone()));
    run.url = Some(url);
    run.run("r-1").await.expect("a run");
    assert_eq!(run.reaped(3).len(), 6);
    let objects = run.organization.objects();
    let of = |it: &str| format!("runs/runs/r-1/{it}.json");
    assert!(objects.contains_key("runs/lease.json"), "{:?}", objects.keys());
    for name in ["plan", "reports/1", "reports/2", "summary"] {
        assert!(objects.contains_key(&of(name)), "{name}: {:?}", objects.keys());
    }
    assert_eq!(objects.len(), 5);
}

/// Each of two dry runs, that of the hub and that of the execution, terminates nothing.
#[tokio::test(start_paused = true)]
async fn dry_run() {
    for asked in [None, Some(Mode::DryRun)] {
        let mut run = Run::new(fleet(2));
        if asked.is_none() {
            run.mode = Mode::DryRun;
        }
        let step = Step::Plan("r-1".parse().expect("an id"), asked.unwrap_or(run.mode));
        run.step(step).await.expect("a plan");
        run.batch("r-1", 1).await.expect("a batch");
        run.batch("r-1", 2).await.expect("a batch");
        let summary = run.summary("r-1").await.expect("a summary");
        assert_eq!(summary.sweeps.outcomes.would_terminate, 4);
        assert_eq!((run.n_calls("TerminateSession"), run.reaped(2).len()), (0, 0));
    }
}

/// A hub that is set to dry runs after a plan was made to enforce terminates nothing.
#[tokio::test(start_paused = true)]
async fn hub_tightens_the_plan() {
    let mut run = Run::new(fleet(1));
    run.plan("r-1").await.expect("a plan");
    run.mode = Mode::DryRun;
    run.batch("r-1", 1).await.expect("a batch");
    assert_eq!(run.n_calls("TerminateSession"), 0);
}

/// What goes wrong in one account-Region is its status, and the others are swept all the same.
#[tokio::test(start_paused = true)]
async fn statuses() {
    let always = |operation: &str, kind| vec![Fault::new(operation, 1, kind).always()];
    let mut fleet = fleet(8);
    let place = |fleet: &mut OrganizationFleet, account: usize, faults| {
        let regions = &mut fleet.accounts[account - 1].regions;
        regions.get_mut("eu-central-1").expect("a Region").faults = faults;
    };
    fleet.accounts[1].refuses = true;
    fleet.accounts[2].off = ["eu-central-1".into()].into();
    place(&mut fleet, 4, always("DescribeSessions", FaultKind::Deny));
    place(&mut fleet, 5, always("DescribeSessions", FaultKind::ResetBefore));
    place(&mut fleet, 6, always("DescribeSessions", FaultKind::Throttle));
    place(&mut fleet, 7, always("TerminateSession", FaultKind::Deny));
    place(&mut fleet, 8, always("DescribeSessions", FaultKind::Slow(Duration::from_secs(3))));
    let run = Run::new(fleet);
    let summary = run.run("r-1").await.expect("a summary");
    let statuses: Vec<_> = Status::ALL.into_iter().map(|it| (it.name(), summary.n(it))).collect();
    let expected = [
        ("swept", 9),
        ("incomplete", 1),
        ("no_access", 2),
        ("region_off", 1),
        ("denied", 2),
        ("unreachable", 1),
        ("not_started", 0),
    ];
    assert_eq!(statuses, expected);
    let named: Vec<_> = summary
        .not_swept
        .iter()
        .map(|it| (&it.account[11..], it.region.as_deref(), it.status.map(Status::name)))
        .collect();
    let center = Some("eu-central-1");
    let expected = [
        ("2", None, Some("no_access")),
        ("4", center, Some("denied")),
        ("5", center, Some("unreachable")),
        ("6", center, Some("incomplete")),
        ("7", center, Some("denied")),
    ];
    assert_eq!(named, expected);
    assert_eq!(run.n_calls("AssumeRole"), 8, "a refusal is remembered");
    let reaped = run.reaped(8);
    let not_reaped = [2, 3, 4, 5, 6, 7].map(|it| (it, REGIONS[0]));
    let all = (1..=8).flat_map(|it| REGIONS.map(|region| (it, region)));
    let expected: BTreeSet<_> =
        all.filter(|it| !not_reaped.contains(it) && *it != (2, REGIONS[1])).collect();
    assert_eq!(reaped, expected);
}

/// Where STS does not answer, or has no time for the hub, no account is said to refuse its role; and for
/// what was not begun for this reason, the run fails.
#[tokio::test(start_paused = true)]
async fn sts_is_sick() {
    for (kind, expected) in [
        (FaultKind::ResetBefore, Status::Unreachable),
        (FaultKind::Throttle, Status::NotStarted),
        (FaultKind::Deny, Status::NoAccess),
    ] {
        let fault = Fault::new("AssumeRole", 1, kind.clone()).always().after(1);
        let run = Run::new(OrganizationFleet { faults: vec![fault], ..fleet(5) });
        let summary = run.run("r-1").await;
        let report = run.report("r-1", 2);
        let scopes = report["scopes"].as_array().expect("a list");
        assert!(scopes.iter().all(|it| it["status"] == expected.name()), "{kind:?}: {scopes:?}");
        let name = summary.err().map(|it| it.name());
        let is_failed = expected == Status::NotStarted;
        assert_eq!(name, is_failed.then_some("RunIncomplete"), "{kind:?}");
    }
}

/// Sweeps the canary, and then all the others in one batch. Returns how long that batch took.
async fn in_one_batch(fleet: OrganizationFleet) -> (Run, Duration) {
    let mut run = Run::new(fleet);
    run.selection.batch_size = 100;
    run.plan("r-1").await.expect("a plan");
    run.batch("r-1", 1).await.expect("a batch");
    let began = Instant::now();
    run.batch("r-1", 2).await.expect("a batch");
    (run, began.elapsed())
}

/// One account-Region that is throttled for ever, reset or slow does not hold up a batch for longer than
/// the patience with it.
#[tokio::test(start_paused = true)]
async fn sick_ones_hold_up_no_batch() {
    for (kind, most_s) in [
        (FaultKind::Throttle, 12),
        (FaultKind::ResetBefore, 12),
        (FaultKind::Slow(Duration::from_mins(10)), 35),
    ] {
        let mut fleet = fleet(10);
        fleet.behaviour = Behaviour { latency: Duration::from_millis(30), ..Behaviour::default() };
        let regions = &mut fleet.accounts[3].regions;
        let faults = vec![Fault::new("DescribeSessions", 1, kind.clone()).always()];
        regions.get_mut(REGIONS[0]).expect("a Region").faults = faults;
        let (run, took) = in_one_batch(fleet).await;
        assert!(took < Duration::from_secs(most_s), "{took:?} with {kind:?}");
        assert_eq!(run.reaped(10).len(), 19, "{kind:?}");
    }
}

/// What is throttled for some seconds is swept where no other was, and in a batch of canaries, on which the run
/// depends.
#[tokio::test(start_paused = true)]
async fn throttled_for_a_moment() {
    for (throttled, batch_size, has_no_access) in [(1, 4, false), (2, 2, false), (2, 4, true)] {
        let mut fleet = fleet(3);
        let fault = Fault::new("DescribeSessions", 5, FaultKind::Throttle);
        for (n, region) in fleet.accounts[throttled - 1].regions.values_mut().enumerate() {
            let is_canary = throttled == 1; // Its other Region is swept at once.
            region.faults = if is_canary && n == 0 { Vec::new() } else { vec![fault.clone()] };
        }
        if has_no_access {
            let denied = Fault::new("AssumeRole", 1, FaultKind::Deny).always();
            fleet.faults = vec![denied.for_account(&id(3))];
        }
        let mut run = Run::new(fleet);
        run.selection.batch_size = batch_size;
        let summary = run.run("r-1").await.expect("a run");
        let n_swept = if has_no_access { 4 } else { 6 };
        assert_eq!((summary.n(Status::Swept), run.reaped(3).len()), (n_swept, n_swept));
    }
}

/// What is throttled is not given up while another account's keys are waited for.
#[tokio::test(start_paused = true)]
async fn throttled_while_keys_are_waited_for() {
    let slow = Fault::new("AssumeRole", 1, FaultKind::Slow(Duration::from_secs(4)));
    let mut fleet = OrganizationFleet { faults: vec![slow.for_account(&id(3))], ..fleet(4) };
    for region in fleet.accounts[1].regions.values_mut() {
        region.faults = vec![Fault::new("DescribeSessions", 3, FaultKind::Throttle)];
    }
    let mut run = Run::new(fleet);
    run.selection.batch_size = 6;
    run.run("r-1").await.expect("a run");
    assert_eq!(run.reaped(4).len(), 8);
}

/// Where only one is left, which is throttled, it has three attempts; the batch takes half a second longer and a
/// little.
#[tokio::test(start_paused = true)]
async fn throttled_when_others_are_done() {
    for latency in [30, 150, 300].map(Duration::from_millis) {
        let mut took = Vec::new();
        for n_throttled in [0, 2, 3, 1_000] {
            let mut fleet = fleet(10);
            fleet.behaviour = Behaviour { latency, ..Behaviour::default() };
            let last = fleet.accounts[9].regions.get_mut(REGIONS[1]).expect("a Region");
            last.faults = vec![Fault::new("DescribeSessions", n_throttled, FaultKind::Throttle)];
            let (run, batch_took) = in_one_batch(fleet).await;
            took.push(batch_took);
            let n_swept = if n_throttled <= 2 { 20 } else { 19 };
            assert_eq!(run.reaped(10).len(), n_swept, "{n_throttled}, {latency:?}");
            let calls = run.organization.calls();
            let errors = calls.iter().filter_map(|it| it.error.as_deref());
            let throttled = errors.filter(|it| *it == "ThrottlingException");
            assert_eq!(throttled.count(), n_throttled.min(3), "{latency:?}");
        }
        assert!(took[3] < took[0] + Duration::from_millis(600) + latency, "{took:?}");
    }
}

/// What is left in the end and shares its quota with others is swept as slowly as that allows.
#[tokio::test(start_paused = true)]
async fn last_one_with_a_part_of_the_quota() {
    let mut fleet = fleet(5);
    let latency = Duration::from_millis(150);
    let behaviour = Behaviour { latency, quota: Some(1), burst: Some(6), ..Behaviour::default() };
    let last = fleet.accounts[4].regions.get_mut(REGIONS[1]).expect("a Region");
    last.behaviour = Some(behaviour);
    let of = last.sessions.clone();
    for n in 0..40 {
        let named = |it: &Seed| it.id.as_ref().map(|id| format!("{id}-{n}"));
        last.sessions.extend(of.iter().map(|it| Seed { id: named(it), ..it.clone() }));
    }
    let run = Run::new(fleet);
    let summary = run.run("r-1").await.expect("a run");
    assert_eq!(summary.n(Status::Swept), 10);
    assert_eq!((summary.sweeps.outcomes.terminated, summary.sweeps.outcomes.throttled), (50, 0));
}

/// What was not begun is named, and the run fails; the report is written in time all the same.
#[tokio::test(start_paused = true)]
async fn not_started_is_named() {
    let mut fleet = fleet(40);
    for account in &mut fleet.accounts[1..] {
        for region in account.regions.values_mut() {
            region.behaviour =
                Some(Behaviour { latency: Duration::from_secs(4), ..Behaviour::default() });
        }
    }
    let mut run = Run::new(fleet);
    run.selection.batch_size = 100;
    run.time = Duration::from_secs(25);
    let err = run.run("r-1").await.expect_err("not everything was swept");
    assert_eq!(err.name(), "RunIncomplete", "{err}");
    assert!(err.to_string().contains("s3://runs/runs/r-1/summary.json"), "{err}");
    let report = run.report("r-1", 2);
    let scopes = report["scopes"].as_array().expect("a list");
    assert_eq!(scopes.len(), 78);
    let not_started = scopes.iter().filter(|it| it["status"] == "not_started").count();
    assert!(10 < not_started, "{not_started}");
}

/// A batch that is delivered again returns its first report, and terminates nothing again.
#[tokio::test(start_paused = true)]
async fn batch_delivered_twice() {
    let run = Run::new(fleet(1));
    run.plan("r-1").await.expect("a plan");
    let first = run.batch("r-1", 1).await.expect("a batch");
    let report = run.report("r-1", 1);
    let n_calls = run.n_calls("DescribeSessions");
    assert_eq!(run.batch("r-1", 1).await.expect("a batch"), first);
    assert_eq!((run.report("r-1", 1), run.n_calls("DescribeSessions")), (report, n_calls));
    assert_eq!(run.n_calls("TerminateSession"), 2);
    // At the same time, both sweep; one report stays, and no session is terminated twice for it.
    let run = Run::new(fleet(1));
    run.plan("r-1").await.expect("a plan");
    let (a, b) = tokio::join!(run.batch("r-1", 1), run.batch("r-1", 1));
    assert_eq!(a.expect("a batch"), b.expect("a batch"));
    let summary = run.summary("r-1").await.expect("a summary");
    assert!(summary.sweeps.outcomes.terminated <= 2, "{summary:?}");
    assert_eq!(summary.n(Status::Swept), 2);
}

/// An account that is not in the plan's batches is not swept, and a batch that fails is missing by name.
#[tokio::test(start_paused = true)]
async fn missing_batch() {
    let run = Run::new(fleet(5));
    run.plan("r-1").await.expect("a plan");
    run.batch("r-1", 1).await.expect("a batch");
    run.batch("r-1", 3).await.expect("a batch");
    let err = run.summary("r-1").await.expect_err("batch 2 is missing");
    assert_eq!(err.name(), "RunIncomplete");
    assert!(err.to_string().contains("4 of 10 account-Regions were not swept"), "{err}");
    let objects = run.organization.objects();
    let summary: Value =
        serde_json::from_slice(&objects["runs/runs/r-1/summary.json"]).expect("JSON");
    let named: Vec<_> = summary["not_swept"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|it| (it["account"].clone(), it["region"].clone(), it["status"].clone()))
        .collect();
    let expected: Vec<_> = [2, 3]
        .iter()
        .flat_map(|it| REGIONS.map(|region| (json!(id(*it)), json!(region), Value::Null)))
        .collect();
    assert_eq!(named, expected);
}

/// The reports of many batches are read in much less time than one after the other would take.
#[tokio::test(start_paused = true)]
async fn many_reports() {
    let latency = Duration::from_secs(1);
    let behaviour = Behaviour { latency, ..Behaviour::default() };
    let mut run = Run::new(OrganizationFleet { behaviour, ..fleet(100) });
    run.selection.batch_size = 1;
    assert_eq!(run.plan("r-1").await.expect("a plan").batches.len(), 99);
    run.time = Duration::from_mins(1);
    let err = run.summary("r-1").await.expect_err("there are no reports");
    assert!(err.to_string().contains("batch 1 has no report"), "{err}");
}

/// Where the circuit breaker of a canary opens, or a canary cannot be swept, the step fails.
#[tokio::test(start_paused = true)]
async fn canaries() {
    let broken = POLICY.replace("max_percent: 60", "max_percent: 10, min_violations: 1");
    let mut with_open_breaker = fleet(4);
    with_open_breaker.parameters = [(PARAMETER.into(), broken)].into();
    let mut without_access = fleet(4);
    without_access.accounts[0].refuses = true;
    for (fleet, why) in
        [(with_open_breaker, "the circuit breaker has opened"), (without_access, "no_access")]
    {
        let run = Run::new(fleet);
        run.plan("r-1").await.expect("a plan");
        let err = run.batch("r-1", 1).await.expect_err("a canary");
        assert_eq!(err.name(), "CanaryFailed");
        assert!(err.to_string().contains(why), "{err}");
        let again = run.batch("r-1", 1).await.expect_err("still");
        assert_eq!(again.name(), "CanaryFailed");
        let err = run.summary("r-1").await.expect_err("a canary failed");
        assert_eq!(err.name(), "CanaryFailed");
        assert!(err.to_string().contains(why), "{err}");
        assert!(run.reaped(4).is_empty());
    }
}

/// The canaries are those that are named.
#[tokio::test(start_paused = true)]
async fn named_canaries() {
    let mut run = Run::new(fleet(4));
    run.selection.canaries = [id(3)].into();
    run.selection.exclude = [id(1)].into();
    let plan = run.plan("r-1").await.expect("a plan");
    assert_eq!((plan.accounts, plan.canaries), (3, vec![1]));
    run.batch("r-1", 1).await.expect("a batch");
    assert_eq!(run.reaped(4), REGIONS.map(|it| (3, it)).into());
}

/// A policy that is edited or broken after the plan does not count until the next run.
#[tokio::test(start_paused = true)]
async fn policy_is_pinned() {
    let run = Run::new(fleet(2));
    run.plan("r-1").await.expect("a plan");
    run.batch("r-1", 1).await.expect("a batch");
    run.organization.hub().set_parameter(PARAMETER, "version: [");
    run.batch("r-1", 2).await.expect("by the version of the plan");
    let summary = run.summary("r-1").await.expect("a summary");
    assert_eq!((summary.policy.version, summary.sweeps.outcomes.terminated), (Some(1), 4));
    let err = run.plan("r-2").await.expect_err("a broken policy");
    assert_eq!(err.name(), "PolicyUnusable");
    // A run that has no plan keeps no other from starting.
    run.organization.hub().set_parameter(PARAMETER, POLICY);
    run.run("r-3").await.expect("a run");
}

/// Another run does not start before the one that has the lease ends, or its time is over.
#[tokio::test(start_paused = true)]
async fn one_run_at_a_time() {
    let run = Run::new(fleet(2));
    let plan = run.plan("r-1").await.expect("a plan");
    assert_eq!(run.plan("r-1").await.expect("the same plan"), plan);
    let err = run.plan("r-2").await.expect_err("r-1 is in progress");
    assert_eq!(err.name(), "RunInProgress");
    assert!(err.to_string().contains("`r-1`"), "{err}");
    run.batch("r-1", 1).await.expect("a batch");
    run.batch("r-1", 2).await.expect("a batch");
    run.summary("r-1").await.expect("a summary");
    run.plan("r-2").await.expect("r-1 has ended");
    tokio::time::advance(Duration::from_mins(61)).await;
    run.plan("r-3").await.expect("the time of r-2 is over");
    // What r-2 still does neither takes the lease of r-3 nor gives it back.
    let _incomplete = run.summary("r-2").await;
    assert_eq!(run.plan("r-4").await.expect_err("r-3 is in progress").name(), "RunInProgress");
    // Of two that start at once, one has it.
    tokio::time::advance(Duration::from_mins(61)).await;
    let (a, b) = tokio::join!(run.plan("r-5"), run.plan("r-6"));
    assert!(a.is_ok() != b.is_ok(), "{a:?} {b:?}");
}

/// What is left of a run that has ended, that was too slow or whose lease was deleted, as when someone has
/// Step Functions redrive its execution, sweeps nothing: a new run may be in progress, by a new policy.
#[tokio::test(start_paused = true)]
async fn late_batches() {
    let run = Run::new(fleet(3));
    run.plan("r-1").await.expect("a plan");
    run.batch("r-1", 1).await.expect("a batch");
    tokio::time::advance(Duration::from_mins(61)).await;
    let late = async |expected: &str| {
        let err = run.batch("r-1", 2).await.expect_err("r-1 is over");
        assert_eq!(err.name(), expected, "{err}");
    };
    late("RunOver").await;
    run.plan("r-2").await.expect("r-1 is over");
    late("RunOver").await;
    run.batch("r-2", 1).await.expect("a batch");
    let _incomplete = run.summary("r-2").await;
    late("RunOver").await;
    run.batch("r-1", 1).await.expect("its report");
    for region in REGIONS {
        assert_eq!([2, 3].map(|it| run.ids(it, region).len()), [2, 2]);
    }
}

/// A step whose time is used up still gives the lease back: else every run of the next hour would end
/// without a sweep, as if all were well.
#[tokio::test(start_paused = true)]
async fn lease_is_given_back_in_the_end() {
    let latency = Duration::from_secs(4);
    let behaviour = Behaviour { latency, ..Behaviour::default() };
    let mut run = Run::new(OrganizationFleet { behaviour, ..fleet(20) });
    run.time = Duration::from_secs(35);
    let err = run.plan("r-1").await.expect_err("too little time for all accounts");
    assert_eq!(err.name(), "AccountsNotListed", "{err}");
    run.time = Duration::from_mins(5);
    run.plan("r-2").await.expect("r-1 has ended");
    run.time = Duration::from_secs(25);
    let err = run.summary("r-2").await.expect_err("too little time for all reports");
    assert_eq!(err.name(), "StoreFailed", "{err}");
    run.time = Duration::from_mins(5);
    run.plan("r-3").await.expect("r-2 has ended");
}

/// What is not known ends a step in an error that names it, before anything is terminated.
#[tokio::test(start_paused = true)]
async fn bad_input() {
    let run = Run::new(fleet(2));
    let err = run.batch("r-0", 1).await.expect_err("an unknown run");
    assert!(
        err.name() == "PlanUnusable" && err.to_string().contains("s3://runs/runs/r-0/plan.json")
    );
    assert_eq!(run.summary("r-0").await.expect_err("an unknown run").name(), "PlanUnusable");
    run.plan("r-1").await.expect("a plan");
    let err = run.batch("r-1", 3).await.expect_err("an unknown batch");
    assert!(err.to_string().contains("it has no batch 3: its batches are 1 to 2"), "{err}");
    let plan = run.organization.objects()["runs/runs/r-1/plan.json"].clone();
    let plan = String::from_utf8(plan.to_vec()).expect("UTF-8");
    for (broken, expected) in [
        (plan.replace("\"format\":1", "\"format\":9"), "its format is 9"),
        (plan[..plan.len() / 2].to_owned(), "not a plan that this version can read"),
        (plan.replace("r-1", "r-7"), "it is the plan of the run `r-7`"),
    ] {
        run.organization.put_object("runs", "runs/r-1/plan.json", broken);
        for err in [
            run.batch("r-1", 1).await.expect_err("a broken plan"),
            run.summary("r-1").await.expect_err("a broken plan"),
        ] {
            assert!(err.name() == "PlanUnusable" && err.to_string().contains(expected), "{err}");
        }
    }
    run.organization.put_object("runs", "lease.json", "{");
    let err = run.plan("r-2").await.expect_err("a broken lease");
    assert!(err.to_string().contains("`s3://runs/lease.json` is not a lease"), "{err}");
    assert_eq!(run.n_calls("TerminateSession"), 0);
}

/// Accounts that cannot all be listed are not listed at all, and a bucket that does not answer ends the
/// step; throttled calls are repeated.
#[tokio::test(start_paused = true)]
async fn services_that_fail() {
    let error = |code: &str| FaultKind::Error {
        status: 400,
        code: code.into(),
        message: "another request is in progress".into(),
    };
    let busy = Fault::new("ListAccounts", 3, error("TooManyRequestsException"));
    let lost = Fault::new("PutObject", 1, FaultKind::ResetAfter).after(1);
    let slow = Fault::new("GetObject", 2, FaultKind::InternalError);
    let run = Run::new(OrganizationFleet { faults: vec![busy, lost, slow], ..fleet(3) });
    run.run("r-1").await.expect("a run");
    assert_eq!(run.reaped(3).len(), 6);

    for (fault, name, expected) in [
        (Fault::new("ListAccounts", 1, FaultKind::Deny).after(1), "AccountsNotListed", "delegated"),
        (Fault::new("PutObject", 1, FaultKind::Deny), "StoreFailed", "`s3://runs/lease.json`"),
        (Fault::new("PutObject", 1, FaultKind::Deny).after(1), "StoreFailed", "r-1/plan.json"),
        (Fault::new("GetObject", 5, FaultKind::Unavailable), "StoreFailed", "plan.json"),
    ] {
        let run = Run::new(OrganizationFleet { faults: vec![fault], ..fleet(3) });
        let err = run.plan("r-1").await.expect_err(expected);
        assert!(err.name() == name && err.to_string().contains(expected), "{err}");
        run.organization.set_faults(Vec::new());
        run.plan("r-2").await.expect("the next run starts");
    }

    // A report that cannot be written fails the batch: the summary names what it swept.
    let run = Run::new(fleet(2));
    run.plan("r-1").await.expect("a plan");
    run.organization.set_faults(vec![Fault::new("PutObject", 1, FaultKind::Deny).always()]);
    assert_eq!(run.batch("r-1", 1).await.expect_err("no report").name(), "StoreFailed");
    run.organization.set_faults(Vec::new());
    let err = run.summary("r-1").await.expect_err("no report");
    assert!(err.to_string().contains("batch 1 has no report"), "{err}");
}

/// The hub's role and the member role allow exactly what their calls need. What the emulator knows
/// nothing of is named here.
#[tokio::test(start_paused = true)]
async fn roles_have_exactly_the_needed_actions() {
    const POLICY: &str = "
version: 1
tag_keys: [env]
rules: [{ id: a, when: { session_type: Port, target_tags: { env: dev } }, forbid: true }]
limits: { circuit_breaker: { max_percent: 100 } }
";
    for mode in [Mode::DryRun, Mode::Enforce] {
        let mut fleet = fleet(1);
        fleet.buckets = Some(["runs".into(), BUCKET.into()].into());
        fleet.parameters = [(PARAMETER.into(), POLICY.into())].into();
        for region in fleet.accounts[0].regions.values_mut() {
            region.sessions[0].document = Some("Team-DbTunnel".into());
            region.documents.insert("Team-DbTunnel".into(), "Port".into());
            let dev = [("env".into(), "dev".into())];
            region.tags.insert("i-0000000000000dev0".into(), dev.into());
        }
        let evidence = Some(Demand::Required);
        let run = Run { mode, has_bus: true, evidence, ..Run::new(fleet) };
        run.run("r-1").await.expect("a run");
        let of_role = |is_hub: bool| {
            let calls = run.organization.calls().into_iter();
            let calls = calls.filter(move |it| it.caller.contains("ReaperMember") != is_hub);
            calls.map(|it| action(&it.operation)).collect::<BTreeSet<_>>()
        };
        let mut hub = of_role(true);
        // Without the first, S3 does not say that an object is missing.
        let others = [
            "s3:ListBucket",
            "kms:Decrypt",
            "kms:GenerateDataKey",
            "logs:CreateLogStream",
            "logs:PutLogEvents",
        ];
        hub.extend(others.map(Into::into));
        assert_eq!(hub, actions("organization/hub.yaml", mode, &[]), "{mode:?}");
        assert_eq!(of_role(false), actions("organization/member.yaml", mode, &[]), "{mode:?}");
        let without = actions("organization/member.yaml", mode, &["ReadsDocuments"]);
        assert!(!without.contains("ssm:GetDocument"), "{without:?}");
        assert_eq!(without.contains("ssm:TerminateSession"), mode == Mode::Enforce);
    }
}

/// The hub sends the events of every account-Region to its own bus, with its own keys: of each session that
/// was terminated, of each sweep in which something happened, and of the run.
#[tokio::test(start_paused = true)]
async fn events() {
    let mut fleet = fleet(4);
    fleet.accounts[3].regions.values_mut().for_each(|it| it.sessions.truncate(0));
    let run = Run { has_bus: true, ..Run::new(fleet) };
    let summary = run.run("r-1").await.expect("a run");
    assert_eq!(summary.events.as_ref().map(|it| (it.sent, it.failed)), Some((1, 0)));
    assert_eq!(summary.sweeps.events_failed, 0);
    let calls = run.organization.calls().into_iter().filter(|it| it.operation == "PutEvents");
    assert!(calls.clone().all(|it| it.caller.contains("emulator")), "the hub's keys");
    let mut told = std::collections::BTreeMap::<_, BTreeSet<_>>::new();
    let events = run.organization.hub().events();
    assert_eq!(events.len(), 6 + 6 + 1);
    for event in events {
        let detail: Value =
            serde_json::from_str(event["Detail"].as_str().expect("it")).expect("JSON");
        let scope = format!("{} {}", detail["account"], detail["region"]);
        let about = detail["session_id"].as_str().map_or(scope, str::to_owned);
        told.entry(event["DetailType"].to_string()).or_default().insert(about);
    }
    let n: Vec<_> = told.values().map(BTreeSet::len).collect();
    assert_eq!(n, [1, 6, 6], "{told:?}");
}

/// A bus that refuses keeps no account-Region from being swept, and the summary counts what was not sent.
#[tokio::test(start_paused = true)]
async fn events_are_refused() {
    let run = Run { has_bus: true, ..Run::new(fleet(3)) };
    let faults = vec![Fault::new("PutEvents", 1, FaultKind::Deny).always()];
    run.organization.hub().set_faults(faults);
    let summary = run.run("r-1").await.expect("a run");
    assert_eq!(run.reaped(3).len(), 6);
    assert_eq!((summary.n(Status::Swept), summary.sweeps.events_failed), (6, 12));
    let events = summary.events.expect("a bus");
    assert_eq!((events.sent, events.failed), (0, 1));
    assert!(events.problem.is_some_and(|it| it.contains("allow `events:PutEvents`")));
}

/// A role that AWS refuses is asked for once; one for which it did not answer, again in the next Region.
#[tokio::test(start_paused = true)]
async fn refusals_are_remembered() {
    for (kind, n_failures, status) in [
        (FaultKind::Deny, 1, Status::NoAccess),
        (FaultKind::Unavailable, 5, Status::Swept), // So many attempts are one call.
    ] {
        let fault = Fault::new("AssumeRole", n_failures, kind).for_account(&id(2));
        let run = Run::new(OrganizationFleet { faults: vec![fault], ..fleet(2) });
        let mut reports = Vec::new();
        run.plan("r-1").await.expect("a plan");
        for number in [1, 2] {
            run.batch("r-1", number).await.expect("a batch");
            reports.extend(run.report("r-1", number)["scopes"].as_array().expect("a list").clone());
        }
        let of_second: Vec<_> = reports.iter().filter(|it| it["account"] == id(2)).collect();
        let statuses: BTreeSet<_> =
            of_second.iter().filter_map(|it| it["status"].as_str()).collect();
        assert!(statuses.contains(status.name()), "{statuses:?}");
        assert_eq!(statuses.len(), if status == Status::Swept { 2 } else { 1 }, "{statuses:?}");
    }
}

/// One account's keys are used in all its Regions, and each account's only in it.
#[tokio::test(start_paused = true)]
async fn keys_stay_in_their_account() {
    let run = Run::new(fleet(12));
    run.run("r-1").await.expect("a run");
    assert_eq!(run.n_calls("AssumeRole"), 12);
    let sweeps =
        run.organization.calls().into_iter().filter(|it| it.operation == "TerminateSession");
    for call in sweeps {
        let session = call.body["SessionId"].as_str().expect("an id");
        let account = call.caller.split(':').nth(4).expect("an account");
        assert_eq!(session.split('-').nth(1), Some(account.trim_start_matches('0')), "{call:?}");
        assert!(call.caller.ends_with(":assumed-role/ReaperMember/session-reaper"), "{call:?}");
    }
}
