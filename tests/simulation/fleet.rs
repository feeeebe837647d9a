//! What lives in the simulated account, and what changes there.

use std::{collections::BTreeMap, time::Duration};

use fastrand::Rng;
use jiff::SignedDuration;
use session_manager_emulator::{
    Behaviour, Emulator, Fault, FaultKind, Fleet, OnTerminate, Order, Seed, ToEnded,
};
use tokio::time::sleep;

pub(crate) const ACCOUNT: &str = "123456789012";
pub(crate) const REGION: &str = "eu-central-1";
pub(crate) const PARAMETER: &str = "/session-reaper/policy";

/// So end the ids of sessions that never go.
pub(crate) const IMMORTAL: &str = "-immortal";

pub(crate) const KEYS: [&str; 2] = ["env", "reaper:exempt"];
pub(crate) const VALUES: [&str; 2] = ["prod", "true"];
pub(crate) const ROLES: [&str; 5] = ["dev", "ops", "ops-lead", "breakglass", "svc-batch"];
pub(crate) const STATUSES: [&str; 6] =
    ["Connected", "Connecting", "Disconnected", "Failed", "Terminated", "Terminating"];
pub(crate) const DOCUMENTS: [&str; 2] =
    ["SSM-SessionManagerRunShell", "AWS-StartPortForwardingSession"];

pub(crate) const ACCESS_TYPES: [&str; 2] = ["Standard", "JustInTime"];

const LIST: &str = "DescribeSessions";
const TAGS: &str = "GetResources";
const TERMINATE: &str = "TerminateSession";

/// One of the targets: instances, managed instances, containers, and what has no ARN.
fn target(rng: &mut Rng, n_targets: usize) -> String {
    let i = rng.usize(..n_targets);
    match i % 10 {
        7 => format!("mi-{i:017}"),
        // Two containers share a task.
        8 => format!("ecs:my_cluster_{:032}_{i:032}-{}", i / 20, i / 10 % 2),
        9 => format!("odd {i}"),
        _ => format!("i-{i:017}"),
    }
}

fn tags(rng: &mut Rng) -> Option<BTreeMap<String, String>> {
    let mut tags = BTreeMap::from([("Name".into(), "web".into())]);
    for key in KEYS {
        if rng.bool() {
            let value = ["prod", "true", "dev", ""][rng.usize(..4)];
            tags.insert(key.into(), value.into());
        }
    }
    (rng.u8(..5) != 0).then_some(tags)
}

fn seed(rng: &mut Rng, id: String, n_targets: usize, age: SignedDuration) -> Seed {
    let mut seed = Seed {
        id: Some(id),
        owner: Some(format!(
            "arn:aws:sts::{ACCOUNT}:assumed-role/{}/{}",
            ROLES[rng.usize(..ROLES.len())],
            ["ana", "bo"][rng.usize(..2)]
        )),
        target: Some(target(rng, n_targets)),
        age: Some(age),
        status: match rng.u8(..24) {
            0 => Some("Terminating".into()),
            1 => Some("Terminated".into()),
            2 => Some("Hibernating".into()),
            _ => Some(STATUSES[rng.usize(..STATUSES.len())].into()),
        },
        document: Some(DOCUMENTS[rng.usize(..DOCUMENTS.len())].into()).filter(|_| rng.bool()),
        on_terminate: match rng.u8(..32) {
            0 => OnTerminate::Lingers,
            1 => OnTerminate::Stays,
            _ => OnTerminate::Ends,
        },
        ..Seed::default()
    };
    if rng.bool() {
        seed.access_type = Some(ACCESS_TYPES[rng.usize(..2)].into());
        seed.reason =
            Some(["INC-7 disk is full", "CHG-12", "about INC-7", "?"][rng.usize(..4)].into());
    }
    if seed.on_terminate != OnTerminate::Ends {
        seed.id = seed.id.map(|it| it + IMMORTAL);
    }
    match rng.u8(..100) {
        0 => seed.id = None,
        1 => seed.owner = None,
        2 => seed.target = None,
        3 => seed.age = None,
        4 => seed.age = Some(SignedDuration::from_mins(rng.i64(-20..0))),
        _ => {}
    }
    seed
}

/// How many sessions and targets an account has: mostly few, sometimes thousands.
pub(crate) fn size(rng: &mut Rng) -> (usize, usize) {
    let n_sessions = match rng.u8(..100) {
        0 | 1 => {
            let most = [1_500, 5_000][rng.usize(..2)];
            rng.usize(1_000..=most)
        }
        2..8 => rng.usize(300..1_000),
        8..35 => rng.usize(30..300),
        _ => rng.usize(..30),
    };
    (n_sessions, 1 + rng.usize(..=n_sessions / 2))
}

pub(crate) fn fleet(rng: &mut Rng, n_sessions: usize, n_targets: usize) -> Fleet {
    let mut fleet = Fleet {
        account: ACCOUNT.into(),
        region: REGION.into(),
        now: Some("2026-03-02T12:00:00Z".parse().unwrap()),
        behaviour: Behaviour {
            terminating_for: [0, 500, 3_000, 60_000].map(Duration::from_millis)[rng.usize(..4)],
            to_ended: [ToEnded::Ok, ToEnded::ValidationException][rng.usize(..2)],
            order: [Order::NewestFirst, Order::Shuffled][rng.usize(..2)],
            quota: [None, Some(6)][rng.usize(..2)],
            latency: [0, 5, 50, 400].map(Duration::from_millis)[rng.usize(..4)],
            ..Behaviour::default()
        },
        ..Fleet::default()
    };
    for i in 0..n_sessions {
        // Some started in the same instant.
        let age = if rng.u8(..4) == 0 { 200 * rng.i64(1..8) } else { rng.i64(0..2_400) };
        let age = SignedDuration::from_mins(age);
        fleet.sessions.push(seed(rng, format!("seed-{i}"), n_targets, age));
    }
    for _ in 0..n_targets {
        if let Some(tags) = tags(rng) {
            fleet.tags.insert(target(rng, n_targets), tags);
        }
    }
    fleet
}

/// People and machines: whatever they do, with such pauses, until this future is dropped.
pub(crate) async fn live(mut rng: Rng, emulator: Emulator, n_targets: usize, pause: Duration) {
    let most = u64::try_from(pause.as_millis()).expect("a pause");
    loop {
        sleep(Duration::from_millis(rng.u64(1..most))).await;
        let active = emulator.active_ids();
        let any_session = |rng: &mut Rng| active.get(rng.usize(..=active.len())).cloned();
        match rng.u8(..6) {
            0 | 1 => {
                let id = format!("life-{}", rng.u64(..));
                emulator.start(seed(&mut rng, id, n_targets, SignedDuration::ZERO));
            }
            2 => {
                if let Some(id) = any_session(&mut rng) {
                    emulator.end(&id);
                }
            }
            3 | 4 => {
                if let Some(id) = any_session(&mut rng) {
                    emulator.set_status(&id, STATUSES[rng.usize(..STATUSES.len())]);
                }
            }
            _ => emulator.set_tags(&target(&mut rng, n_targets), tags(&mut rng)),
        }
    }
}

/// What goes wrong during the next sweep: often nothing.
pub(crate) fn faults(rng: &mut Rng, emulator: &Emulator) -> Vec<Fault> {
    let n = [0, 0, 1, 2, 4, 8][rng.usize(..6)];
    (0..n).map(|_| fault(rng, emulator)).collect()
}

/// The listing never ends.
pub(crate) fn endless() -> Fault {
    Fault::new(LIST, 1, FaultKind::EmptyPage).always()
}

fn fault(rng: &mut Rng, emulator: &Emulator) -> Fault {
    let operation = match rng.u8(..13) {
        0..4 => LIST,
        4..9 => TERMINATE,
        9..12 => TAGS,
        _ => "GetParameter",
    };
    let active = emulator.active_ids();
    let any_session = active.get(rng.usize(..=active.len())).cloned();
    let seconds = Duration::from_millis(rng.u64(100..12_000));
    let error = |status, code: &str| FaultKind::Error {
        status,
        code: code.into(),
        message: "as it is said".into(),
    };
    let n_kinds = if operation == LIST { 30 } else { 22 };
    let kind = match (operation, rng.u8(..n_kinds)) {
        (TAGS, 0 | 1) => FaultKind::MoreTags,
        (_, 0 | 1) | (TERMINATE, 15 | 16) => FaultKind::Throttle,
        (_, 2) => FaultKind::InternalError,
        (_, 3) => FaultKind::Unavailable,
        (_, 4) => FaultKind::ResetBefore,
        (_, 5) => FaultKind::ResetAfter,
        (_, 6) => FaultKind::CutOff,
        (_, 7) | (TERMINATE, 18..) => FaultKind::Slow(seconds),
        (_, 8) => FaultKind::SlowAfter(seconds),
        (_, 9) => FaultKind::Truncated,
        (_, 10) => FaultKind::Body(["not JSON", "[]", "{\"Sessions\":7}"][rng.usize(..3)].into()),
        (_, 11) => FaultKind::Deny,
        (_, 12) => error(400, "ExpiredTokenException"),
        (TERMINATE, 13) => error(
            400,
            ["SomethingNew", "ValidationException", "DoesNotExistException"][rng.usize(..3)],
        ),
        (_, 13) => error([400, 429][rng.usize(..2)], "SomethingNew"),
        (LIST | TAGS, 14 | 15) => FaultKind::EmptyPage,
        (TAGS, 18 | 19) | (LIST, 18) => FaultKind::DuplicateRows,
        (TAGS, 20) => FaultKind::DuplicateTags,
        (TAGS, 16 | 21..) => {
            FaultKind::DropField(["Tags", "ResourceARN", "Key"][rng.usize(..3)].into())
        }
        (LIST, 16 | 24 | 25) => FaultKind::RepeatToken,
        (LIST | TERMINATE | TAGS, 17) => FaultKind::InvalidToken,
        (LIST, 19) => FaultKind::DropField(
            [
                "SessionId",
                "Owner",
                "Target",
                "StartDate",
                "Status",
                "DocumentName",
                "Reason",
                "AccessType",
            ][rng.usize(..8)]
            .into(),
        ),
        (LIST, 20) => FaultKind::EmptyToken,
        (LIST, 21) | (TERMINATE, 14) => {
            let id = format!("fault-{}", rng.u64(..));
            FaultKind::Appear(Box::new(seed(rng, id, 10, SignedDuration::from_mins(100))))
        }
        (LIST, 22 | 23) => FaultKind::ShufflePage,
        (LIST, 27..) => FaultKind::Misdate(skew(rng)),
        _ => any_session.clone().map_or(FaultKind::Throttle, FaultKind::Vanish),
    };
    let is_once = matches!(kind, FaultKind::Appear(_)); // There are no two sessions with one id.
    let times = if is_once { 1 } else { rng.usize(1..6) };
    let fault = Fault::new(operation, times, kind).after(rng.usize(..8));
    let fault = if !is_once && rng.u8(..12) == 0 { fault.always() } else { fault };
    match any_session {
        Some(id) if operation == TERMINATE && !is_once && rng.bool() => {
            fault.after(0).for_session(&id).always()
        }
        _ => fault,
    }
}

/// A clock that is wrong, by minutes or hours.
pub(crate) fn skew(rng: &mut Rng) -> SignedDuration {
    let most = [300, 3_600, 43_200][rng.usize(..3)];
    let skew = SignedDuration::from_secs(rng.i64(75..most));
    if rng.bool() { skew } else { -skew }
}
