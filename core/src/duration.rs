//! Durations as policies, options and variables write them: `1h30m`.

use jiff::SignedDuration;

/// The most digits of a part of a duration: a thousand million hours.
pub(crate) const MAX_DIGITS: usize = 9;

/// Reads `1d2h30m10s`: one or more of these parts, in this order, above zero in all.
///
/// ```
/// use reaper_core::duration;
///
/// assert_eq!(duration::parse("1h30m").map(|it| it.as_secs()), Some(5_400));
/// assert_eq!(duration::parse("30m1h"), None);
/// ```
#[must_use]
pub fn parse(text: &str) -> Option<SignedDuration> {
    let mut rest = text;
    let mut seconds = 0_i64;
    for (unit, length) in [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)] {
        if let Some((number, after)) = rest.split_once(unit)
            && number.len() <= MAX_DIGITS
            && number.bytes().all(|it| it.is_ascii_digit())
        {
            let part = number.parse::<i64>().ok()?.checked_mul(length)?;
            seconds = seconds.checked_add(part)?;
            rest = after;
        }
    }
    (rest.is_empty() && 0 < seconds).then(|| SignedDuration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip]
    fn parts_in_order() {
        let table = [
            ("90s", Some(90)), ("30m", Some(1_800)), ("8h", Some(28_800)), ("1d", Some(86_400)),
            ("1h30m", Some(5_400)), ("1d1h1m1s", Some(90_061)), ("0h1m", Some(60)),
            ("", None), ("0s", None), ("-1h", None), ("+1h", None), ("8 hours", None), ("8", None),
            ("30m1h", None), ("1h1h", None), ("h", None), ("1.5h", None), ("1h ", None), ("1H", None),
            ("999999999d", Some(86_399_999_913_600)), ("1000000000d", None), ("1h\n", None),
        ];
        for (text, seconds) in table {
            assert_eq!(parse(text), seconds.map(SignedDuration::from_secs), "{text}");
        }
    }
}
