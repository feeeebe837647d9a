//! Paces the calls of one operation, wherever they are made.

use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};

/// The first pause after a throttled call; each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Keeps the calls of one operation apart, and holds all of them back when AWS throttles one.
///
/// Calls start at least one interval apart, measured from the actual start of the one before, so
/// within any one second no more start than the rate, rounded up.
/// Waiting calls start in the order in which they came.
#[derive(Debug)]
pub struct Pacer {
    interval: Duration,
    /// Held by the call whose turn is next, so that turns come in order.
    queue: tokio::sync::Mutex<()>,
    state: std::sync::Mutex<State>,
}

#[derive(Clone, Copy, Debug)]
struct State {
    /// No call may start before.
    next: Instant,
    /// How long all calls paused after the last throttled one.
    pause: Duration,
    /// When it did.
    paused_at: Instant,
    is_closed: bool,
}

impl Pacer {
    /// Paces at this many calls per second.
    #[must_use]
    pub fn new(calls_per_second: f64) -> Self {
        let now = Instant::now();
        let state = State { next: now, pause: Duration::ZERO, paused_at: now, is_closed: false };
        Self {
            interval: Duration::from_secs_f64(calls_per_second.recip()),
            queue: tokio::sync::Mutex::default(),
            state: state.into(),
        }
    }

    /// The least time between two calls.
    #[must_use]
    pub fn interval(&self) -> Duration {
        self.interval
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

    /// Waits for the turn of one call, and returns when it came; `None` if it does not come in time.
    pub async fn turn(&self, last_start: Instant) -> Option<Instant> {
        let _first = timeout_at(last_start, self.queue.lock()).await.ok()?;
        loop {
            let now = Instant::now();
            let State { next, is_closed, .. } = *self.state();
            if is_closed || last_start <= next.max(now) {
                return None;
            }
            if next <= now {
                self.state().next = now + self.interval;
                return Some(now);
            }
            sleep_until(next).await; // Meanwhile a throttled call may have moved it.
        }
    }

    /// A call that started at this instant was throttled: all calls wait.
    ///
    /// Calls that were under way together count as one, for they met the same congestion.
    pub fn throttled(&self, started_at: Instant) {
        let mut state = self.state();
        if state.paused_at <= started_at {
            state.pause = (2 * state.pause).clamp(FIRST_PAUSE, LONGEST_PAUSE);
            state.paused_at = Instant::now();
            state.next = state.next.max(state.paused_at + state.pause);
        }
    }

    /// A call was not throttled: the next pause will be shorter.
    pub fn passed(&self) {
        self.state().pause /= 2;
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // Nothing panics while it holds the lock, and the state is valid after every line.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATER: Duration = Duration::from_hours(1);

    /// Within any second, no more calls start than the rate rounded up.
    #[tokio::test(start_paused = true)]
    async fn calls_per_second() {
        for rate in [0.5, 1.0, 2.5, 5.0, 6.0, 30.0] {
            let pacer = Pacer::new(rate);
            let mut starts = Vec::new();
            for _ in 0..100 {
                starts.push(pacer.turn(Instant::now() + LATER).await.expect("a turn"));
            }
            for start in &starts {
                let within =
                    |it: &&Instant| *start <= **it && **it < *start + Duration::from_secs(1);
                let n_within = u32::try_from(starts.iter().filter(within).count()).expect("few");
                assert!(f64::from(n_within) <= f64::ceil(rate), "{n_within} at {rate}");
            }
            let elapsed = starts[99] - starts[0];
            assert!(elapsed.as_secs_f64() <= 1.05 * 99.0 / rate, "{elapsed:?} at {rate}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_turn_after_the_deadline() {
        let pacer = Pacer::new(1.0);
        let last_start = Instant::now() + Duration::from_millis(1_500);
        assert!(pacer.turn(last_start).await.is_some());
        assert!(pacer.turn(last_start).await.is_some());
        let before = Instant::now();
        assert!(pacer.turn(last_start).await.is_none());
        assert_eq!(before, Instant::now(), "it does not wait for what cannot come");
    }

    /// A throttled call delays all calls, longer each time, but once per burst.
    #[tokio::test(start_paused = true)]
    async fn throttling_delays_all_calls() {
        let pacer = Pacer::new(1_000.0);
        let turn = async || pacer.turn(Instant::now() + LATER).await.expect("a turn");
        let first = turn().await;
        let second = turn().await;
        pacer.throttled(second);
        pacer.throttled(first); // Met the same congestion.
        let third = turn().await;
        assert_eq!(third - second, FIRST_PAUSE);
        pacer.throttled(third);
        let fourth = turn().await;
        assert_eq!(fourth - third, 2 * FIRST_PAUSE);
        for _ in 0..10 {
            let it = turn().await;
            pacer.throttled(it);
        }
        let last = turn().await;
        pacer.throttled(last);
        assert_eq!(turn().await - last, LONGEST_PAUSE);
        pacer.passed();
        let it = turn().await;
        pacer.throttled(it);
        assert_eq!(turn().await - it, LONGEST_PAUSE, "half, doubled");
    }
}
