//! What the template's queue is for: sweeps that overlap exceed AWS's quota, and sweeps one after the
//! other do not. Each has a pacer of its own here, as each execution environment of the function has.
//!
//! The queue is AWS's. What is assumed of it here is what AWS documents of a FIFO queue with one
//! message group: Lambda receives up to ten messages, and the next ones when those are deleted.
//! `tests/template` holds the template to such a queue.

use std::time::Duration;

use reaper_core::report::Report;
use session_manager_emulator::{Behaviour, Call, Fleet};
use tokio::time::{Instant, sleep, sleep_until};

use crate::stage::{Stage, THOUSAND_POLICY, Wire, inline, thousand};

/// Calls of each operation a second, as AWS allows them.
const QUOTA: usize = 6;
const MOST_A_SWEEP: usize = 60;

/// When triggers come: the schedule's, and a burst of starts.
fn triggers() -> Vec<Duration> {
    let burst = (0..24).map(|i| Duration::from_millis(500 * i));
    std::iter::once(Duration::ZERO).chain(burst).collect()
}

fn stage() -> Stage {
    let latency = Duration::from_millis(30);
    let behaviour = Behaviour { quota: Some(QUOTA), latency, ..Behaviour::default() };
    let (policy, _) = THOUSAND_POLICY.split_once("limits:").expect("limits");
    let limits = format!(
        "limits: {{ max_terminations: {MOST_A_SWEEP}, circuit_breaker: {{ max_percent: 100 }} }}"
    );
    Stage {
        calls_per_second: 5.0,
        policy: inline(&format!("{policy}{limits}")),
        ..Stage::new(Wire::InProcess, Fleet { behaviour, ..thousand() })
    }
}

fn is_throttled(call: &Call) -> bool {
    call.error.as_deref() == Some("ThrottlingException")
}

/// The most calls of one operation that began within any second.
fn most_in_a_second(stage: &Stage, operation: &str) -> usize {
    let at: Vec<_> = stage.calls(operation).iter().map(|it| it.at).collect();
    let within = |from: Duration| {
        at.iter().filter(|it| (from..from + Duration::from_secs(1)).contains(*it)).count()
    };
    at.iter().map(|it| within(*it)).max().unwrap_or_default()
}

fn requested(report: &Report) -> usize {
    let it = report.outcomes;
    it.terminated + it.already_gone + it.unconfirmed + it.denied + it.throttled + it.failed
}

#[tokio::test(start_paused = true)]
async fn overlap_exceeds_the_quota() {
    let stage = stage();
    let sweeps = (0..3).map(|_| Box::pin(stage.sweep()));
    let reports = futures_util::future::join_all(sweeps).await;
    assert!(QUOTA < most_in_a_second(&stage, "DescribeSessions"));
    assert!(stage.emulator.calls().iter().any(is_throttled));
    let n_requested: usize = reports.iter().map(requested).sum();
    assert!(MOST_A_SWEEP < n_requested, "{n_requested} within a minute");
}

#[tokio::test(start_paused = true)]
async fn one_at_a_time_stays_within_the_quota() {
    let stage = stage();
    let began = Instant::now();
    let mut waiting = triggers();
    let mut n_sweeps = 0;
    while let Some(first) = waiting.first() {
        sleep_until(began + *first).await;
        let n_there = waiting.iter().filter(|it| began + **it <= Instant::now()).count();
        waiting.drain(..n_there.min(10));
        let report = stage.sweep().await;
        assert!(requested(&report) <= MOST_A_SWEEP, "{:?}", report.outcomes);
        n_sweeps += 1;
        sleep(Duration::from_millis(20)).await; // Until Lambda has received the next ones.
    }
    assert!(n_sweeps <= 1 + 24_usize.div_ceil(10), "{n_sweeps} sweeps");
    for operation in ["DescribeSessions", "TerminateSession"] {
        let most = most_in_a_second(&stage, operation);
        assert!((1..=QUOTA).contains(&most), "{most} of {operation} in a second");
    }
    assert!(!stage.emulator.calls().iter().any(is_throttled));
    let active = stage.emulator.active_ids();
    assert_eq!(active.iter().filter(|it| it.starts_with("v-")).count(), 0);
}
