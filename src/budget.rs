//! The time that a sweep, and each of its steps and calls, has.

use std::time::Duration;

use tokio::time::Instant;

/// The time that calls have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Budget {
    /// No attempt starts at or after this instant.
    pub last_start: Instant,
    /// Every attempt ends by this one.
    pub hard_stop: Instant,
}

impl Budget {
    /// The time until so long before a deadline; the last attempt ends in half of the margin.
    #[must_use]
    pub fn until(deadline: Instant, margin: Duration) -> Self {
        let before = |margin| deadline.checked_sub(margin).unwrap_or_else(Instant::now);
        Self { last_start: before(margin), hard_stop: before(margin / 2) }
    }

    /// The time until attempts may no longer start.
    #[must_use]
    pub fn remaining(self) -> Duration {
        self.last_start.saturating_duration_since(Instant::now())
    }

    /// The first of so many equal parts of the time that remains. What starts in it may take longer.
    #[must_use]
    pub fn first_of(self, parts: u32) -> Self {
        Self { last_start: Instant::now() + self.remaining() / parts, ..self }
    }

    /// What is left when so much time is kept for later; attempts end within `grace`.
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

    /// Each in virtual time, so that nothing passes between two lines.
    #[tokio::test(start_paused = true)]
    async fn arithmetic() {
        let now = Instant::now();
        let budget = Budget::until(now + 100 * SECOND, 10 * SECOND);
        assert_eq!(seconds(now, budget), [90, 95]);
        assert_eq!(budget.remaining(), 90 * SECOND);
        assert_eq!(seconds(now, budget.first_of(3)), [30, 95]);
        assert_eq!(seconds(now, budget.reserve(50 * SECOND, 2 * SECOND)), [40, 42]);
    }

    /// A deadline that is over leaves no time, and no panic.
    #[tokio::test(start_paused = true)]
    async fn no_time() {
        let now = Instant::now();
        let budget = Budget::until(now, SECOND);
        assert_eq!(budget.remaining(), Duration::ZERO);
        assert_eq!(budget.first_of(2).last_start, now);
    }
}
