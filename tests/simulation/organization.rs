//! Runs over an organization: 30 accounts in 3 Regions, in which everything may go wrong, in virtual time.
//!
//! Whatever happens in some account-Regions, no key reaches another account, no session is terminated that
//! the policy does not allow, nothing is claimed that is not so, and the others come to what they come to
//! when each is swept alone.

use std::{collections::BTreeMap, sync::Mutex, time::Duration};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use fastrand::Rng;
use reaper_core::{
    organization::{RunSummary, Selection, Status},
    report::Mode,
    target::Scope,
};
use serde_json::Value;
use session_manager_emulator::{
    AccountFleet, AccountState, Emulator, Fault, FaultKind, Fleet, Organization, OrganizationFleet,
    RegionFleet,
};
use session_reaper::{
    Budget,
    aws::Connect,
    organization::{Hub, HubConfig, HubError, Reply, Step, SweepSettings},
    sinks::Sinks,
    sweep::source::PolicySource,
    sweep::{SweepContext, sweep},
};
use tokio::time::{Instant, sleep};

use crate::{
    fleet::{self, PARAMETER},
    model,
};

const N_ACCOUNTS: usize = 30;

const REGIONS: [&str; 3] = ["eu-central-1", "eu-west-1", "us-east-1"];

const EPOCH: &str = "2026-03-02T12:00:00Z";

const CALLS_PER_SECOND: f64 = 5.0;

/// What happened in a run.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Tally {
    pub(crate) statuses: BTreeMap<&'static str, usize>,
    pub(crate) compared: usize,
    pub(crate) terminated: usize,
    pub(crate) calls: usize,
}

/// An account and a Region.
type Place = (String, &'static str);

/// What is drawn from a seed.
struct Drawn {
    rng: Rng,
    policy: String,
    /// What each account-Region is at the start, faults included.
    fleets: BTreeMap<Place, Fleet>,
    /// Those in which something goes wrong, or whose account refuses.
    sick: Vec<Place>,
    refusing: Vec<String>,
    off: Vec<Place>,
    /// Whether some batches are delivered twice.
    repeats: bool,
}

fn draw(seed: u64) -> Drawn {
    let mut rng = Rng::with_seed(seed);
    let now = EPOCH.parse::<jiff::Timestamp>().unwrap().as_second();
    let policy = loop {
        let (text, model) = model::policy(&mut rng, 30, now);
        if model.is_some_and(|it| !it.is_paused) {
            break text;
        }
    };
    let mut drawn = Drawn {
        policy,
        fleets: BTreeMap::new(),
        sick: Vec::new(),
        refusing: Vec::new(),
        off: Vec::new(),
        repeats: rng.bool(),
        rng: rng.fork(),
    };
    for account in 1..=N_ACCOUNTS {
        let account = format!("{account:012}");
        for region in REGIONS {
            let n_sessions = rng.usize(..12);
            let mut fleet = fleet::fleet(&mut rng, n_sessions, 1 + n_sessions / 2);
            fleet.account.clone_from(&account);
            fleet.region = region.into();
            for it in &mut fleet.sessions {
                it.id = it.id.take().map(|id| format!("{account}-{region}-{id}"));
            }
            if rng.u8(..6) == 0 {
                fleet.faults = fleet::faults(&mut rng, &Emulator::new(fleet.clone()));
                if rng.u8(..4) == 0 {
                    fleet
                        .faults
                        .push(Fault::new("DescribeSessions", 1, FaultKind::Throttle).always());
                }
                drawn.sick.push((account.clone(), region));
            }
            if rng.u8(..40) == 0 {
                drawn.off.push((account.clone(), region));
            }
            drawn.fleets.insert((account.clone(), region), fleet);
        }
        if rng.u8(..15) == 0 {
            drawn.refusing.push(account);
        }
    }
    drawn
}

impl Drawn {
    fn organization(&mut self) -> Organization {
        let account = |number: usize| {
            let id = format!("{number:012}");
            let region = |region: &&'static str| {
                let Fleet { sessions, tags, behaviour, faults, .. } =
                    self.fleets[&(id.clone(), *region)].clone();
                let behaviour = Some(behaviour);
                let fleet =
                    RegionFleet { sessions, tags, behaviour, faults, ..RegionFleet::default() };
                ((*region).to_owned(), fleet)
            };
            let off = self.off.iter().filter(|(account, _)| *account == id);
            AccountFleet {
                refuses: self.refusing.contains(&id),
                off: off.map(|(_, region)| (*region).into()).collect(),
                regions: REGIONS.iter().map(region).collect(),
                role: Some("ReaperMember".into()),
                state: AccountState::Active,
                id,
                ..AccountFleet::default()
            }
        };
        let throttled = |operation: &str| Fault::new(operation, 3, FaultKind::Throttle).after(2);
        Organization::new(OrganizationFleet {
            now: Some(EPOCH.parse().unwrap()),
            accounts: (1..=N_ACCOUNTS).map(account).collect(),
            parameters: [(PARAMETER.into(), self.policy.clone())].into(),
            empty_pages: self.rng.usize(..3),
            faults: vec![
                throttled("AssumeRole"),
                throttled("ListAccounts"),
                throttled("PutObject"),
            ],
            ..OrganizationFleet::default()
        })
    }
}

fn connect(
    region: &str,
    client: aws_smithy_runtime_api::client::http::SharedHttpClient,
) -> Connect {
    let credentials = Credentials::new("HUB", "secret", None, None, "simulation");
    let config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region.to_owned()))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .http_client(client)
        .build();
    Connect::from(config)
}

fn hub(organization: &Organization, run_timeout: Duration) -> Hub {
    let config = HubConfig {
        member_role: "ReaperMember".into(),
        bucket: "runs".into(),
        regions: REGIONS.map(Into::into).into(),
        selection: Selection { batch_size: 18, ..Selection::default() },
        run_timeout,
    };
    let sweeps = SweepSettings {
        mode: Mode::Enforce,
        policy: PolicySource::Parameter(PARAMETER.into()),
        calls_per_second: CALLS_PER_SECOND,
        concurrency: 8,
        memory: 88 << 20,
    };
    let connect = connect("eu-central-1", organization.http_client());
    Hub::new(config, sweeps, "aws".into(), connect)
}

/// The steps of a run, as a state machine with ten batches at a time starts them. Some batches are
/// delivered twice.
async fn run(
    organization: &Organization,
    name: &str,
    run_timeout: Duration,
    repeats: bool,
    mut rng: Rng,
) -> Result<RunSummary, HubError> {
    let hub = hub(organization, run_timeout);
    let run: reaper_core::organization::RunId = name.parse().unwrap();
    let clock = || organization.now();
    let budget =
        || Budget::until(Instant::now() + Duration::from_secs(290), Duration::from_secs(10));
    let step = async |step| hub.carry_out(step, &Sinks::NONE, &clock, budget()).await;
    let Reply::Plan(plan) = step(Step::Plan(run.clone(), Mode::Enforce)).await? else {
        panic!("a plan");
    };
    // What is wrong with a canary is for the summary to say; here the run goes on.
    let mut numbers = [plan.canaries, plan.batches].concat();
    let again: Vec<_> = numbers.iter().copied().filter(|_| repeats && rng.u8(..4) == 0).collect();
    numbers.extend(again);
    let batches = numbers.into_iter().map(|it| step(Step::Batch(run.clone(), it)));
    futures_util::future::join_all(batches).await;
    let Reply::Summary(summary) = step(Step::Summary(run.clone())).await? else {
        panic!("a summary");
    };
    Ok(*summary)
}

/// Lives through the runs of this seed.
pub(crate) fn runs(seed: u64) -> Result<Tally, String> {
    let mut drawn = draw(seed);
    let repeats = drawn.repeats;
    let overlaps = drawn.rng.u8(..3) == 0;
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().start_paused(true).build().expect("a runtime")
    };
    let (organization, reports, active): (_, _, BTreeMap<_, _>) = runtime().block_on(async {
        let organization = drawn.organization();
        let (a, b) = (drawn.rng.fork(), drawn.rng.fork());
        if overlaps {
            // The lease of the first is over when the second starts, while its batches still run.
            let first = run(&organization, "r-1", Duration::from_millis(2_900), repeats, a);
            let second = async {
                sleep(Duration::from_secs(3)).await;
                run(&organization, "r-2", Duration::from_hours(1), repeats, b).await
            };
            let _told_by_the_reports = tokio::join!(first, second);
        } else {
            let _told_by_the_reports =
                run(&organization, "r-1", Duration::from_hours(1), repeats, a).await;
        }
        sleep(Duration::from_mins(2)).await; // What is `Terminating` is gone by then.
        let reports = reports(&organization);
        // The emulator's clock is the runtime's.
        let ids = |place: &Place| organization.account_region(&place.0, place.1).active_ids();
        let active = drawn.fleets.keys().map(|it| (it.clone(), ids(it))).collect();
        (organization, reports, active)
    });
    let mut tally = Tally { calls: organization.calls().len(), ..Tally::default() };
    let is_once = !overlaps && !repeats;
    check_keys(&organization)?;
    check_claims(&drawn, &organization, &active, &reports, is_once, &mut tally)?;
    if !overlaps {
        for report in reports.iter().filter(|_| is_once) {
            check_alone(&drawn, &organization, report, &mut tally)?;
        }
        let n = reports.len();
        if n != N_ACCOUNTS * REGIONS.len() {
            return Err(format!("{n} account-Regions were reported"));
        }
    }
    Ok(tally)
}

/// What the batches reported, account-Region by account-Region.
fn reports(organization: &Organization) -> Vec<Value> {
    let objects = organization.objects();
    let batches = objects.iter().filter(|(key, _)| key.contains("/reports/"));
    let batches = batches.map(|(_, it)| serde_json::from_slice::<Value>(it).expect("JSON"));
    batches.flat_map(|it| it["scopes"].as_array().expect("a list").clone()).collect()
}

fn check_keys(organization: &Organization) -> Result<(), String> {
    match organization.foreign_calls().first() {
        Some(call) => Err(format!("a key reached another account or Region: {call:?}")),
        None => Ok(()),
    }
}

/// Whatever a report claims of a session is so, and nothing was terminated that no report has.
fn check_claims(
    drawn: &Drawn,
    organization: &Organization,
    active: &BTreeMap<Place, Vec<String>>,
    reports: &[Value],
    is_once: bool,
    tally: &mut Tally,
) -> Result<(), String> {
    for report in reports {
        let (account, region) = (&report["account"], &report["region"]);
        let status = report["status"].as_str().unwrap_or_default();
        let name = Status::ALL.into_iter().find(|it| it.name() == status).map(Status::name);
        *tally.statuses.entry(name.expect("a status")).or_default() += 1;
        let active = active.iter().find(|((of, at), _)| account == of && region == at);
        let active = active.map(|(_, ids)| ids.as_slice()).unwrap_or_default();
        for row in report["sessions"].as_array().into_iter().flatten() {
            let id = row["session_id"].as_str().unwrap_or_default();
            if row["outcome"] == "terminated" {
                tally.terminated += 1;
                if active.iter().any(|it| it == id) {
                    return Err(format!("{id} is told to be terminated, and is active: {row}"));
                }
            }
            let of_place = format!("{}-{}-", account.as_str().unwrap(), region.as_str().unwrap());
            if id.starts_with('0') && !id.starts_with(&of_place) {
                return Err(format!("{id} is in the report of {account} {region}"));
            }
        }
    }
    // Of two deliveries or runs at once, the report of one is kept, and each changes what the other sees.
    let places = drawn.fleets.keys().filter(|_| is_once);
    for (account, region) in places {
        let of_place = |it: &&Value| it["account"] == **account && it["region"] == **region;
        let rows: Vec<&Value> = reports
            .iter()
            .filter(of_place)
            .flat_map(|it| it["sessions"].as_array().into_iter().flatten())
            .collect();
        let emulator = organization.account_region(account, region);
        for call in emulator.calls().iter().filter(|it| it.operation == "TerminateSession") {
            let id = &call.body["SessionId"];
            let is_it = |it: &&&Value| it["session_id"] == *id && it["verdict"] == "violation";
            if !rows.iter().any(|it| is_it(&it)) {
                return Err(format!(
                    "the termination of {id} was requested, and no report says why"
                ));
            }
        }
    }
    Ok(())
}

/// Where nothing goes wrong, a run comes to what a sweep of this account-Region alone comes to, at the
/// same time.
fn check_alone(
    drawn: &Drawn,
    organization: &Organization,
    report: &Value,
    tally: &mut Tally,
) -> Result<(), String> {
    let account = report["account"].as_str().expect("an account").to_owned();
    let region = *REGIONS.iter().find(|it| report["region"] == **it).expect("a Region");
    let place = (account.clone(), region);
    let expected = if drawn.refusing.contains(&account) {
        Some("no_access")
    } else if drawn.off.contains(&place) {
        Some("region_off")
    } else {
        None
    };
    if drawn.sick.contains(&place) && expected != Some("no_access") {
        return Ok(());
    }
    if let Some(expected) = expected {
        let is_it = report["status"] == expected;
        return if is_it { Ok(()) } else { Err(format!("{place:?} is {}", report["status"])) };
    }
    let calls = organization.account_region(&account, region).calls();
    let Some(began) = calls.iter().find(|it| it.operation == "DescribeSessions") else {
        return Err(format!("{place:?} was not listed: {report}"));
    };
    let alone = alone(drawn, &place, began.at);
    let (actual, expected) = (
        &report["counts"],
        serde_json::json!({"verdicts": alone.verdicts, "outcomes": alone.outcomes}),
    );
    for key in ["verdicts", "outcomes"] {
        let [actual, expected] = [actual, &expected].map(|it| &it[key]);
        if actual != expected {
            return Err(format!("{place:?}: {key} are {actual}, and alone {expected}"));
        }
    }
    tally.compared += 1;
    Ok(())
}

/// The report of a sweep of one account-Region alone that begins at this time.
fn alone(drawn: &Drawn, place: &Place, at: Duration) -> reaper_core::report::Report {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().expect("a runtime");
    runtime.block_on(async {
        let fleet = Fleet { now: Some(EPOCH.parse().unwrap()), ..drawn.fleets[place].clone() };
        let emulator = Emulator::new(fleet);
        sleep(at).await;
        let scope =
            Scope { partition: "aws".into(), region: place.1.into(), account: place.0.clone() };
        let ssm = connect(place.1, emulator.http_client()).ssm(CALLS_PER_SECOND);
        let policy = PolicySource::Inline { name: "p".into(), text: drawn.policy.clone() };
        let swept = sweep(SweepContext {
            ssm: &ssm,
            sinks: &Sinks::NONE,
            scope: Some(&scope),
            policy: &policy,
            mode: Mode::Enforce,
            now: emulator.now(),
            read_at: Instant::now(),
            budget: Budget::until(
                Instant::now() + Duration::from_secs(290),
                Duration::from_secs(10),
            ),
            concurrency: 8,
            memory: usize::MAX,
        });
        swept.await.expect("a sweep").report
    })
}

/// What happened in the runs of all seeds, together.
pub(crate) fn total(all: &Mutex<Tally>, one: Tally) {
    let mut all = all.lock().unwrap();
    all.compared += one.compared;
    all.terminated += one.terminated;
    all.calls += one.calls;
    for (status, n) in one.statuses {
        *all.statuses.entry(status).or_default() += n;
    }
}
