//! Paces the calls of one operation, wherever they are made.
//!
//! AWS's quotas belong to an account and Region, so others use a part that is not known and that changes.
//! The pacer learns what is left from the answers, see `docs/design/learned-pace.md`.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

/// What remains of the pace, or of what was measured, after a throttled call.
const AFTER_THROTTLING: f64 = 0.75;

/// What remains of the pace if no call has succeeded since the throttled one before.
const AFTER_REPEATED_THROTTLING: f64 = 0.5;

/// How much each successful call adds to the pace, as a part of it.
const GROWTH: f64 = 0.03;

/// The same up to a pace that was good before throttled calls followed one another.
const FAST_GROWTH: f64 = 0.2;

/// Calls per second that the pace does not fall below.
const LEAST: f64 = 2.0 / 3.0;

/// How long successful calls count in the measured pace, in seconds: after it, a third of them still does.
const MEMORY_S: f64 = 2.0;

/// Intervals shorter than this are kept on average: a timer may be late by a millisecond.
const TICK: Duration = Duration::from_millis(2);

/// Calls per second that count as measured before any call has succeeded.
const FIRST_MEASURED: f64 = 4.0;

/// Keeps the calls of one operation apart, and slows all of them down when AWS throttles one.
///
/// Calls start at least one interval apart, measured from the actual start of the one before, so
/// within any one second no more start than the rate, rounded up.
/// Waiting calls start in the order in which they came.
#[derive(Debug)]
pub struct Pacer {
    /// The most calls per second.
    most: f64,
    /// Held by the call whose turn is next, so that turns come in order.
    queue: tokio::sync::Mutex<()>,
    state: std::sync::Mutex<State>,
    /// Wakes the call whose turn is next.
    hurried: tokio::sync::Notify,
}

#[derive(Clone, Copy, Debug)]
struct State {
    /// No call may start before.
    next: Instant,
    /// Calls per second at which they start now.
    pace: f64,
    /// What the pace was reduced to when calls had last succeeded.
    good: f64,
    /// Successful calls of the last seconds, each counting less the longer ago it was, at `counted_at`.
    successes: f64,
    counted_at: Instant,
    /// When the pace was last reduced.
    slowed_at: Instant,
    /// Whether a call has succeeded since.
    has_passed: bool,
    is_closed: bool,
    is_hurried: bool,
}

impl Pacer {
    /// Paces at this many calls per second, or fewer if AWS throttles them.
    #[must_use]
    pub fn new(calls_per_second: f64) -> Self {
        let now = Instant::now();
        let state = State {
            next: now,
            pace: calls_per_second,
            good: calls_per_second,
            successes: FIRST_MEASURED * MEMORY_S,
            counted_at: now,
            slowed_at: now,
            has_passed: true,
            is_closed: false,
            is_hurried: false,
        };
        Self {
            most: calls_per_second,
            queue: tokio::sync::Mutex::default(),
            state: state.into(),
            hurried: tokio::sync::Notify::new(),
        }
    }

    /// The least time between two calls, as long as none is throttled.
    #[must_use]
    pub fn interval(&self) -> Duration {
        interval(self.most)
    }

    /// No further turn comes, also to those that wait.
    pub fn close(&self) {
        self.state().is_closed = true;
    }

    /// Whether it has been closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.state().is_closed
    }

    /// Until a call succeeds, no turn comes for a dispensable attempt, and the others are not slowed down by
    /// throttled ones.
    pub fn hurry(&self) {
        let mut state = self.state();
        state.is_hurried = true;
        state.next = state.next.min(Instant::now() + self.interval());
        drop(state);
        self.hurried.notify_waiters();
    }

    /// Waits for the turn of one attempt, and returns when it came; `None` if it does not come in time, or is
    /// dispensable (`hurry`).
    pub async fn turn(&self, last_start: Instant, is_dispensable: bool) -> Option<Instant> {
        let _first = timeout_at(last_start, self.queue.lock()).await.ok()?;
        loop {
            let hurried = self.hurried.notified();
            let now = Instant::now();
            let State { next, pace, is_closed, is_hurried, .. } = *self.state();
            if is_closed || last_start <= next.max(now) || (is_hurried && is_dispensable) {
                return None;
            }
            if next <= now {
                let interval = interval(if is_hurried { self.most } else { pace });
                let due = if interval < TICK { next.max(now - TICK) } else { now };
                self.state().next = due + interval;
                return Some(now);
            }
            // Meanwhile a throttled call may have moved it.
            let _moved_or_hurried = timeout_at(next, hurried).await;
        }
    }

    /// A call that started at this instant was throttled: all calls wait, and come at a lower pace.
    ///
    /// Calls that were under way together count as one, for they met the same congestion.
    pub fn throttled(&self, started_at: Instant) {
        let mut state = self.state();
        if state.is_hurried || started_at < state.slowed_at {
            return;
        }
        let now = Instant::now();
        state.forget(now);
        let least = LEAST.min(self.most);
        if state.has_passed {
            let measured = state.successes / MEMORY_S;
            state.good = (AFTER_THROTTLING * state.pace.min(measured)).max(least);
            state.pace = state.good;
        } else {
            state.pace = (AFTER_REPEATED_THROTTLING * state.pace).max(least);
        }
        state.slowed_at = now;
        state.has_passed = false;
        state.next = state.next.max(now + interval(state.pace));
    }

    /// A call was not throttled: the next ones come a little faster.
    pub fn passed(&self) {
        let mut state = self.state();
        state.forget(Instant::now());
        state.successes += 1.0;
        state.has_passed = true;
        state.is_hurried = false;
        let is_slow = state.pace * (1.0 + FAST_GROWTH) <= state.good;
        let growth = if is_slow { FAST_GROWTH } else { GROWTH };
        state.pace = (state.pace * (1.0 + growth)).min(self.most);
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // Nothing panics while it holds the lock, and the state is valid after every line.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn interval(calls_per_second: f64) -> Duration {
    Duration::from_secs_f64(calls_per_second.recip())
}

impl State {
    /// Lets the successful calls count less by the time since they were counted.
    fn forget(&mut self, now: Instant) {
        self.successes *= f64::exp(-(now - self.counted_at).as_secs_f64() / MEMORY_S);
        self.counted_at = now;
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use futures_util::{StreamExt, stream};

    use super::*;

    const LATER: Duration = Duration::from_hours(1);

    /// Within any second, no more calls start than the rate rounded up.
    #[tokio::test(start_paused = true)]
    async fn calls_per_second() {
        for rate in [0.5, 1.0, 2.5, 5.0, 6.0, 30.0, 5_000.0] {
            let pacer = Pacer::new(rate);
            let mut starts = Vec::new();
            for _ in 0..100 {
                starts.push(pacer.turn(Instant::now() + LATER, false).await.expect("a turn"));
            }
            for start in &starts {
                let within =
                    |it: &&Instant| *start <= **it && **it < *start + Duration::from_secs(1);
                let n_within = u32::try_from(starts.iter().filter(within).count()).expect("few");
                assert!(f64::from(n_within) <= f64::ceil(rate), "{n_within} at {rate}");
            }
            let elapsed = starts[99] - starts[0];
            assert!(elapsed.as_secs_f64() <= 0.001 + 1.05 * 99.0 / rate, "{elapsed:?} at {rate}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_turn_after_the_deadline() {
        let pacer = Pacer::new(1.0);
        let last_start = Instant::now() + Duration::from_millis(1_500);
        assert!(pacer.turn(last_start, false).await.is_some());
        assert!(pacer.turn(last_start, false).await.is_some());
        let before = Instant::now();
        assert!(pacer.turn(last_start, false).await.is_none());
        assert_eq!(before, Instant::now(), "it does not wait for what cannot come");
    }

    /// A throttled call delays all calls, longer each time, but once per burst.
    #[tokio::test(start_paused = true)]
    async fn throttling_delays_all_calls() {
        let pacer = Pacer::new(1_000.0);
        let turn = async || pacer.turn(Instant::now() + LATER, false).await.expect("a turn");
        let first = turn().await;
        let second = turn().await;
        pacer.throttled(second);
        pacer.throttled(first); // Met the same congestion.
        let mut last = second;
        for expected in [333, 667, 1_333, 1_500, 1_500] {
            let next = turn().await;
            let delay = (next - last).as_millis();
            assert!((expected..=expected + 3).contains(&delay), "{delay} ms");
            pacer.throttled(next);
            last = next;
        }
    }

    /// Ten throttled calls one after the other take less than 15 s, and half a minute later calls start at
    /// the full pace.
    #[tokio::test(start_paused = true)]
    async fn recovery() {
        let pacer = Pacer::new(5.0);
        let began = Instant::now();
        let turn = async || pacer.turn(Instant::now() + LATER, true).await.expect("a turn");
        for _ in 0..10 {
            pacer.throttled(turn().await);
        }
        let mut last = turn().await;
        assert!(last - began < Duration::from_secs(15), "{:?}", last - began);
        loop {
            pacer.passed();
            let next = turn().await;
            assert!(next - began < Duration::from_secs(45), "{:?}", next - last);
            if next - last <= Duration::from_millis(200) {
                break;
            }
            last = next;
        }
    }

    /// What others leave of a quota: a bucket that is refilled at a rate that changes.
    #[derive(Clone)]
    struct Quota {
        /// For how many seconds, and with how many calls per second; then from the beginning.
        refills: Vec<(f64, f64)>,
        /// Which of them is the present one, and the seconds until the next.
        now: (usize, f64),
        /// The most calls at once.
        burst: f64,
        level: f64,
        at: f64,
    }

    impl Quota {
        fn new(refills: Vec<(f64, f64)>, burst: f64, level: f64) -> Self {
            Self { now: (0, refills[0].0), refills, burst, level, at: 0.0 }
        }

        /// Whether a call at this time, in seconds, is not throttled.
        fn allows(&mut self, at: f64) -> bool {
            while self.at < at {
                let (i, left) = self.now;
                let time = left.min(at - self.at);
                self.level = (self.level + time * self.refills[i].1).min(self.burst);
                self.at += time;
                let next = (i + 1) % self.refills.len();
                self.now =
                    if time < left { (i, left - time) } else { (next, self.refills[next].0) };
            }
            let is_allowed = 1.0 <= self.level;
            self.level -= if is_allowed { 1.0 } else { 0.0 };
            is_allowed
        }

        /// Seconds that so many calls take if it is known, at no more than so many per second.
        fn least_time(mut self, n: usize, most: f64) -> f64 {
            let mut at = 0.0;
            for _ in 1..n {
                while !self.allows(at) {
                    at += 0.01;
                }
                at += most.recip();
            }
            at
        }
    }

    /// Makes so many calls, eight at a time, that take so long. Returns the seconds until all have
    /// succeeded, and how many were throttled.
    async fn calls(
        pacer: &Pacer,
        quota: &std::cell::RefCell<Quota>,
        n: usize,
        latency: Duration,
    ) -> (f64, usize) {
        let began = Instant::now();
        let call = |i: usize| async move {
            let mut n_throttled = 0;
            // From 7/10 to 13/10 of it.
            let latency = latency * u32::try_from(7 + i * 5 % 7).expect("few") / 10;
            loop {
                let turn = pacer.turn(began + LATER, 0 < n_throttled).await.expect("a turn");
                tokio::time::sleep(latency / 2).await;
                let is_allowed = quota.borrow_mut().allows(began.elapsed().as_secs_f64());
                tokio::time::sleep(latency / 2).await;
                if is_allowed {
                    pacer.passed();
                    return n_throttled;
                }
                pacer.throttled(turn);
                n_throttled += 1;
            }
        };
        let throttled = stream::iter((0..n).map(call)).buffer_unordered(8).collect::<Vec<_>>();
        let n_throttled = throttled.await.into_iter().sum();
        (began.elapsed().as_secs_f64(), n_throttled)
    }

    /// Where others leave a constant part of the quota, calls take at most 1.15 times as long as at that
    /// rate, and at most one in ten is throttled.
    #[tokio::test(start_paused = true)]
    async fn part_of_the_quota() {
        for (rate, latency, burst, is_full, n) in [1.0, 2.0, 4.0]
            .into_iter()
            .flat_map(|rate| [30, 100, 300].map(|it| (rate, it)))
            .flat_map(|(rate, latency)| [6.0, 10.0].map(|it| (rate, latency, it)))
            .flat_map(|(rate, latency, burst)| [false, true].map(|it| (rate, latency, burst, it)))
            .flat_map(|(rate, latency, burst, is_full)| {
                [100, 200, 400].map(|it| (rate, latency, burst, is_full, it))
            })
        {
            let level = if is_full { burst } else { 0.0 };
            let quota = Quota::new(vec![(1.0, rate)], burst, level).into();
            let latency = Duration::from_millis(latency);
            let (time, n_throttled) = calls(&Pacer::new(5.0), &quota, n, latency).await;
            #[expect(clippy::cast_precision_loss, reason = "few")]
            let (n, n_throttled) = (n as f64, n_throttled as f64);
            let case = format!("{rate}/s, {latency:?}, {burst}, {is_full}, {n}");
            assert!(time <= 1.15 * n / rate, "{case}: {time:.1} s");
            assert!(n_throttled <= 0.1 * (n + n_throttled), "{case}: {n_throttled} throttled");
        }
    }

    /// What others leave, as it may vary around a mean: a new amount every few seconds, or as a wave, or now
    /// and then one of three.
    fn refills(kind: usize, rng: &mut fastrand::Rng) -> Vec<(f64, f64)> {
        let within =
            |rng: &mut fastrand::Rng, least: f64, most: f64| least + (most - least) * rng.f64();
        let mean = [1.0, 2.0, 4.0][rng.usize(..3)];
        let period = within(rng, 5.0, 40.0);
        match kind {
            0 => (0..50).map(|_| (within(rng, 0.5, 5.0), mean * within(rng, 0.5, 1.5))).collect(),
            1 => (0..16)
                .map(|i| (period / 16.0, mean * (1.0 + 0.5 * (f64::from(i) * TAU / 16.0).sin())))
                .collect(),
            _ => (0..20)
                .map(|_| (within(rng, 20.0, 60.0), [1.0, 2.0, 4.0][rng.usize(..3)]))
                .collect(),
        }
    }

    /// The same where it varies, in hundreds of patterns: at most one call in ten is throttled, and all
    /// together take at most 1.15 times as long as if it were known what others leave. A single pattern may
    /// take longer, because what is left may change right after it was learned.
    #[tokio::test(start_paused = true)]
    async fn varying_part_of_the_quota() {
        let mut rng = fastrand::Rng::with_seed(6);
        for kind in 0..3 {
            let (mut times, mut least_times) = (0.0, 0.0);
            for i in 0..100 {
                let burst = [6.0, 10.0][rng.usize(..2)];
                let level = [0.0, burst][rng.usize(..2)];
                let quota = Quota::new(refills(kind, &mut rng), burst, level);
                let n = [100, 200, 400][rng.usize(..3)];
                let latency = Duration::from_millis(rng.u64(30..=300));
                let least_time = quota.clone().least_time(n, 5.0);
                let pacer = Pacer::new(5.0);
                let (time, n_throttled) = calls(&pacer, &quota.into(), n, latency).await;
                assert!(time <= 1.8 * least_time, "{kind} {i}: {time} of {least_time} s");
                assert!(10 * n_throttled <= n + n_throttled, "{kind} {i}: {n_throttled} of {n}");
                times += time;
                least_times += least_time;
            }
            assert!(times <= 1.15 * least_times, "{kind}: {times} of {least_times} s");
        }
    }

    /// A pace far above the quota comes down to it at once, but for the calls that are under way.
    #[tokio::test(start_paused = true)]
    async fn raised_pace() {
        for latency in [5, 30, 300].map(Duration::from_millis) {
            let quota = Quota::new(vec![(1.0, 5.0)], 10.0, 10.0).into();
            let (time, n_throttled) = calls(&Pacer::new(1_000.0), &quota, 100, latency).await;
            assert!(time <= 1.15 * 100.0 / 5.0, "{latency:?}: {time} s");
            assert!(n_throttled <= 15, "{latency:?}: {n_throttled} throttled");
        }
    }

    /// Two that share a quota, as two sweeps at once do, use it up together. They may share it unevenly.
    #[tokio::test(start_paused = true)]
    async fn two_share_a_quota() {
        for latency in [30, 100, 300].map(Duration::from_millis) {
            let quota = Quota::new(vec![(1.0, 6.0)], 6.0, 6.0).into();
            let pacers = [Pacer::new(5.0), Pacer::new(5.0)];
            let [one, other] = pacers.each_ref().map(|it| calls(it, &quota, 200, latency));
            let ((first, a), (second, b)) = tokio::join!(one, other);
            assert!(first.max(second) <= 1.5 * 400.0 / 6.0, "{first} s, {second} s");
            assert!(10 * (a + b) <= 400 + a + b, "{a} and {b} throttled");
        }
    }

    /// Where there is no more patience, what is dispensable has no turn, and the others do not wait for what was
    /// throttled, until a call succeeds: then all is as before.
    #[tokio::test(start_paused = true)]
    async fn hurry() {
        let pacer = Pacer::new(5.0);
        for _ in 0..5 {
            pacer.throttled(Instant::now());
        }
        let at = Instant::now();
        let attempt = async |is_dispensable| {
            let turn = pacer.turn(Instant::now() + LATER, is_dispensable).await;
            if let Some(turn) = turn {
                pacer.throttled(turn);
            }
            (turn.is_some(), at.elapsed().as_millis())
        };
        let hurry = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            pacer.hurry();
        };
        let (dispensable, one, other, ()) =
            tokio::join!(attempt(true), attempt(false), attempt(false), hurry);
        assert_eq!((dispensable, one, other), ((false, 50), (true, 250), (true, 450)));
        pacer.passed();
        let pace = pacer.state().pace;
        assert!(pace < 1.0, "{pace}");
        assert!(attempt(true).await.0);
    }
}
