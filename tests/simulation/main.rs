//! Days in the life of an account, simulated: the product as it is, with the SDK's credentials
//! and signatures, on the emulator, in virtual time, everything random drawn from one seed.
//!
//! `REAPER_SIMULATION_DAYS` says how many days, `REAPER_SIMULATION_SEED` replays one.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

mod check;
mod count;
mod day;
mod documents;
mod event;
mod events;
mod evidence;
mod fleet;
mod model;
mod organization;
mod tap;

use std::{
    any::Any,
    env,
    panic::catch_unwind,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};

use day::{Tally, day};

/// What a person waits for; `.ci/run` asks for more.
const DAYS: u64 = 150;

/// Runs over an organization that a person waits for.
const RUNS: u64 = 12;

#[expect(clippy::disallowed_methods, reason = "the tests' own environment")]
fn variable(name: &str) -> Option<u64> {
    env::var(name).ok().map(|it| it.parse().unwrap_or_else(|err| panic!("{name}: {err}")))
}

/// One day, and what is not true of it, as a line.
fn simulate(seed: u64, narrates: bool) -> Result<Tally, String> {
    let what = |panic: Box<dyn Any + Send>| match panic.downcast::<String>() {
        Ok(text) => format!("panicked: {text}"),
        Err(panic) => format!("panicked: {:?}", panic.downcast::<&str>()),
    };
    let both = || {
        let tally = day(seed, narrates)?;
        documents::day(seed)?;
        events::day(seed)?;
        evidence::day(seed).map(|met| tally.add(&met))
    };
    catch_unwind(both).map_err(what).flatten()
}

/// Whatever happens on a day, every promise is kept.
#[test]
fn days() {
    if let Some(seed) = variable("REAPER_SIMULATION_SEED") {
        simulate(seed, true).unwrap();
        return;
    }
    let n_days = variable("REAPER_SIMULATION_DAYS").unwrap_or(DAYS);
    let (next, total, broken) = (AtomicU64::new(0), Mutex::new(Tally::default()), Mutex::new(None));
    let began = Instant::now();
    let work = || {
        while broken.lock().unwrap().is_none() {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if n_days <= seed {
                break;
            }
            match simulate(seed, false) {
                Ok(tally) => *total.lock().unwrap() += tally,
                Err(err) => drop(broken.lock().unwrap().get_or_insert((seed, err))),
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().unwrap().get() {
            scope.spawn(work);
        }
    });
    if let Some((seed, err)) = broken.into_inner().unwrap() {
        panic!(
            "{err}\nTo replay: REAPER_SIMULATION_SEED={seed} cargo test --test simulation -- \
             --nocapture days"
        );
    }
    let total = total.into_inner().unwrap();
    let seconds = began.elapsed().as_secs_f64();
    eprintln!("{n_days} days in {seconds:.0} s: {}", total.per_second(seconds));
    total.assert_varied();
}

/// Whatever goes wrong in some account-Regions of an organization, every promise is kept in all.
/// `REAPER_SIMULATION_RUNS` says how many runs.
#[test]
fn runs() {
    let n_runs = variable("REAPER_SIMULATION_RUNS").unwrap_or(RUNS);
    if let Some(seed) = variable("REAPER_SIMULATION_SEED") {
        organization::runs(seed).unwrap();
        return;
    }
    let (next, total) = (AtomicU64::new(0), Mutex::new(organization::Tally::default()));
    let began = Instant::now();
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if n_runs <= seed {
                break;
            }
            let found = catch_unwind(|| organization::runs(seed));
            match found.unwrap_or_else(|_| Err("panicked".into())) {
                Ok(tally) => organization::total(&total, tally),
                Err(err) => panic!(
                    "{err}\nTo replay: REAPER_SIMULATION_SEED={seed} cargo test --profile simulation \
                     --test simulation -- --nocapture runs"
                ),
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().unwrap().get() {
            scope.spawn(work);
        }
    });
    let total = total.into_inner().unwrap();
    eprintln!("{n_runs} runs in {:.0} s: {total:?}", began.elapsed().as_secs_f64());
    if RUNS <= n_runs {
        let happened = ["swept", "incomplete", "no_access", "region_off", "denied", "unreachable"];
        assert!(happened.iter().all(|it| total.statuses.contains_key(it)), "{total:?}");
        assert!(0 < total.compared && 0 < total.terminated);
    }
}

#[test]
fn a_seed_is_a_day() {
    for seed in 0..8 {
        assert_eq!(simulate(seed, false).unwrap(), simulate(seed, false).unwrap(), "seed {seed}");
    }
}
