//! Compares the clock that ages are measured by with AWS's.

use jiff::{SignedDuration, Timestamp, Unit};
use tokio::time::Instant;

use crate::{
    Budget,
    aws::{ServiceTime, Ssm},
    sweep::list::Census,
};
use reaper_core::session::{Interner, State};

/// The most that the two clocks may differ.
const MAX_SKEW: SignedDuration = SignedDuration::from_secs(60);

/// How often AWS is asked again for its time, if the listing says that the clock is wrong.
const MAX_QUESTIONS: u32 = 2;

/// Why ages are not known.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ClockError {
    /// The clock shows another time than AWS's.
    #[error(
        "the clock is {by:#} {} AWS's, so no session was evaluated and none terminated: set the clock \
         (the time of AWS is the `Date` of its answers; a proxy may have changed it)",
        if ahead.is_negative() { "behind" } else { "ahead of" },
        by = ahead.abs().round(Unit::Second).unwrap_or(ahead.abs()),
    )]
    Skewed {
        /// By so much it is ahead of AWS's; negative if it is behind.
        ahead: SignedDuration,
    },
    /// No answer has AWS's time.
    #[error(
        "no answer has a `Date`, so it is not known whether the clock is right: no session was \
         evaluated and none terminated (AWS always sends it: check the endpoint's URL and any proxy)"
    )]
    Unknown,
}

/// Compares the clock that showed `now` at the instant `read_at` with the `Date` of each page of a
/// listing: their median decides, so that one that is wrong does not.
///
/// If it says that the clock is wrong, AWS is asked twice more, for one page has but one `Date`. A
/// listing that saw no page proves nothing, and has nothing to evaluate.
///
/// # Errors
/// If the two differ by more than a minute, or if AWS's time is not known: then no age is.
pub async fn check_clock(
    ssm: &Ssm,
    census: &Census,
    now: Timestamp,
    read_at: Instant,
    budget: Budget,
) -> Result<(), ClockError> {
    if census.pages.is_empty() {
        return Ok(());
    }
    let ahead = |it: ServiceTime| it.clock_ahead(now, read_at);
    let mut samples: Vec<_> = census.times.iter().copied().map(ahead).collect();
    let mut n_questions = 0;
    loop {
        let ahead = median(&mut samples).ok_or(ClockError::Unknown)?;
        if ahead.abs() <= MAX_SKEW {
            return Ok(());
        }
        if n_questions == MAX_QUESTIONS || census.problem.is_some() {
            return Err(ClockError::Skewed { ahead });
        }
        n_questions += 1;
        let page = ssm.sessions(State::Active, None, &mut Interner::default(), budget).await;
        samples.extend(page.ok().and_then(|it| it.time).map(|it| it.clock_ahead(now, read_at)));
    }
}

/// Of two in the middle, the one that is further from 0.
fn median(samples: &mut [SignedDuration]) -> Option<SignedDuration> {
    samples.sort_unstable();
    let middle = samples.len().checked_sub(1)? / 2;
    let middle = samples.get(middle..=samples.len() / 2)?;
    middle.iter().copied().max_by_key(|it| it.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One wrong `Date` among three neither stops nor fools; where two disagree, the worse one counts.
    #[test]
    fn medians() {
        let table: [(&[i64], Option<i64>); 7] = [
            (&[], None),
            (&[7], Some(7)),
            (&[0, 3_600], Some(3_600)),
            (&[-3_600, 0], Some(-3_600)),
            (&[3_600, 0, 1], Some(1)),
            (&[3_600, 0, 3_601], Some(3_600)),
            (&[0, 3_600, 1, -3_600], Some(1)),
        ];
        for (samples, expected) in table {
            let mut of: Vec<_> = samples.iter().copied().map(SignedDuration::from_secs).collect();
            assert_eq!(median(&mut of), expected.map(SignedDuration::from_secs), "{samples:?}");
        }
    }

    /// What the operator reads.
    #[test]
    fn messages() {
        let text = |s| ClockError::Skewed { ahead: SignedDuration::from_secs(s) }.to_string();
        assert!(text(10_800).starts_with("the clock is 3h ahead of AWS's, so no session"));
        assert!(text(-90).starts_with("the clock is 1m 30s behind AWS's, so no session"));
    }
}
