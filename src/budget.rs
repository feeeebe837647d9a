//! The time that a sweep, its steps and its calls may take.

use std::time::Duration;

use tokio::time::Instant;

/// The time in which calls may start and must end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Budget {
    /// No attempt starts at or after this instant.
    pub last_start: Instant,
    /// Every attempt ends by this one.
    pub hard_stop: Instant,
}

impl Budget {
    /// The time until `margin` before a deadline; attempts that have started may use half of the margin.
    #[must_use]
    pub fn until(deadline: Instant, margin: Duration) -> Self {
        let before = |margin| deadline.checked_sub(margin).unwrap_or_else(Instant::now);
        Self { last_start: before(margin), hard_stop: before(margin / 2) }
    }

    /// The time in which attempts may still start.
    #[must_use]
    pub fn remaining(self) -> Duration {
        self.last_start.saturating_duration_since(Instant::now())
    }

    /// The first of so many equal parts of the remaining time. Attempts that start in it may end later.
    #[must_use]
    pub fn first_of(self, parts: u32) -> Self {
        Self { last_start: Instant::now() + self.remaining() / parts, ..self }
    }

    /// The time that is left if `time` is reserved for later; attempts end within `grace` after it.
    #[must_use]
    pub fn reserve(self, time: Duration, grace: Duration) -> Self {
        let last_start = self.last_start.checked_sub(time).unwrap_or_else(Instant::now);
        Self { last_start, hard_stop: last_start + grace }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn seconds(now: Instant, it: Budget) -> [u64; 2] {
        [it.last_start, it.hard_stop].map(|it| it.saturating_duration_since(now).as_secs())
    }

    /// In virtual time, so that no time passes between two lines.
    #[tokio::test(start_paused = true)]
    async fn arithmetic() {
        let now = Instant::now();
        let budget = Budget::until(now + 100 * SECOND, 10 * SECOND);
        assert_eq!(seconds(now, budget), [90, 95]);
        assert_eq!(budget.remaining(), 90 * SECOND);
        assert_eq!(seconds(now, budget.first_of(3)), [30, 95]);
        assert_eq!(seconds(now, budget.reserve(50 * SECOND, 2 * SECOND)), [40, 42]);
    }

    /// After the deadline there is no time left, and no panic.
    #[tokio::test(start_paused = true)]
    async fn no_time() {
        let now = Instant::now();
        let budget = Budget::until(now, SECOND);
        assert_eq!(budget.remaining(), Duration::ZERO);
        assert_eq!(budget.first_of(2).last_start, now);
    }
}
