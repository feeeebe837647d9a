//! Office hours: weekdays, a range of the wall clock, and a time zone.

use std::{fmt, str::FromStr};

use jiff::{
    Timestamp,
    civil::{Time, Weekday},
    tz::TimeZone,
};

const DAYS: [(&str, Weekday); 7] = [
    ("Mon", Weekday::Monday),
    ("Tue", Weekday::Tuesday),
    ("Wed", Weekday::Wednesday),
    ("Thu", Weekday::Thursday),
    ("Fri", Weekday::Friday),
    ("Sat", Weekday::Saturday),
    ("Sun", Weekday::Sunday),
];

/// Abbreviations that the time zone database keeps, and that have no summer time; the zones that have,
/// and those that have not either.
const WITHOUT_SUMMER: [(&str, &str, &str); 3] = [
    ("EST", "America/New_York", "America/Panama"),
    ("HST", "America/Adak", "Pacific/Honolulu"),
    ("MST", "America/Denver", "America/Phoenix"),
];

/// A range of the wall clock on some weekdays: `Mon-Fri 08:00-18:30 Europe/Berlin`.
///
/// The start is included, the end is not. A range over midnight (`22:00-06:00`) belongs to the day on
/// which it starts. When clocks are changed, the wall clock counts.
///
/// ```
/// use reaper_core::policy::Hours;
///
/// let hours: Hours = "Mon-Fri 08:00-18:30 Europe/Berlin".parse()?;
/// assert!(hours.contains("2026-03-02T17:29:59Z".parse()?)); // Monday, 18:29:59 in Berlin.
/// assert!(!hours.contains("2026-03-02T17:30:00Z".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Hours {
    days: Vec<Weekday>,
    start: Time,
    /// `None` is midnight at the end of the day.
    end: Option<Time>,
    zone: TimeZone,
    text: String,
}

impl fmt::Display for Hours {
    /// As written in the policy.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Hours {
    /// The instant in these hours' time zone, such as `Mon 18:30 CET`.
    #[must_use]
    pub fn clock(&self, now: Timestamp) -> String {
        now.to_zoned(self.zone.clone()).strftime("%a %H:%M %Z").to_string()
    }

    /// What is probably a mistake.
    pub(super) fn warning(&self) -> Option<String> {
        let name = self.zone.iana_name()?;
        let (_, with, without) = WITHOUT_SUMMER.iter().find(|(it, ..)| *it == name)?;
        Some(format!(
            "the time zone `{name}` never changes to summer time; write `{with}`, or `{without}` if \
             that is meant"
        ))
    }

    /// Whether the instant is within the hours.
    #[must_use]
    pub fn contains(&self, now: Timestamp) -> bool {
        let now = self.zone.to_datetime(now);
        let (day, time) = (now.date().weekday(), now.time());
        let has_begun = self.days.contains(&day) && self.start <= time;
        let is_before_end = self.end.is_none_or(|end| time < end);
        if self.is_over_midnight() {
            has_begun || (self.days.contains(&day.previous()) && is_before_end)
        } else {
            has_begun && is_before_end
        }
    }

    /// The first instant after this one at which they may begin or end: the wall clock shows an edge
    /// of theirs or midnight, or it is changed.
    pub(crate) fn next_edge(&self, after: Timestamp) -> Option<Timestamp> {
        let today = self.zone.to_datetime(after).date();
        let days = [today.yesterday().ok(), Some(today), today.tomorrow().ok()];
        let times = [Some(self.start), self.end, Some(Time::midnight())];
        let on_clock = days
            .into_iter()
            .flatten()
            .flat_map(|day| times.into_iter().flatten().map(move |time| day.to_datetime(time)));
        // A clock that is set back shows a time twice.
        let instants = on_clock.flat_map(|it| {
            let it = self.zone.to_ambiguous_timestamp(it);
            [it.earlier().ok(), it.later().ok()]
        });
        let changed = self.zone.following(after).next().map(|it| it.timestamp());
        instants.chain([changed]).flatten().filter(|it| after < *it).min()
    }

    fn is_over_midnight(&self) -> bool {
        self.end.is_some_and(|end| end < self.start)
    }
}

impl FromStr for Hours {
    /// What is wrong, and what to do about it.
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut words = text.split_whitespace();
        let (Some(days), Some(range), Some(zone), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(format!(
                "write hours such as `Mon-Fri 08:00-18:30 Europe/Berlin`, not `{text}`"
            ));
        };
        // The database has an entry for clocks that have not been set: `Factory`.
        let is_zone = |it: &TimeZone| !it.is_unknown() && it.iana_name() != Some("Factory");
        let zone = TimeZone::get(zone).ok().filter(is_zone).ok_or_else(|| {
            format!("`{zone}` is no time zone; write one such as `Europe/Berlin` or `UTC`")
        })?;
        let (start, end) = parse_range(range).ok_or_else(|| {
            format!(
                "`{range}` must be a range such as `08:00-18:30`, `22:00-06:00` or `00:00-24:00`"
            )
        })?;
        let days = parse_days(days).ok_or_else(|| {
            format!("`{days}` must be weekdays such as `Mon-Fri`, `Sat` or `Mon,Wed-Fri`")
        })?;
        Ok(Self { days, start, end, zone, text: text.to_owned() })
    }
}

/// A range may go over the end of the week, as `Sat-Mon` does.
fn parse_days(text: &str) -> Option<Vec<Weekday>> {
    let parse = |name: &str| DAYS.iter().find(|(it, _)| *it == name).map(|(_, day)| *day);
    let mut days = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (mut day, last) = (parse(first)?, parse(last)?);
        days.push(day);
        while day != last {
            day = day.next();
            days.push(day);
        }
    }
    Some(days)
}

fn parse_range(text: &str) -> Option<(Time, Option<Time>)> {
    let (start, end) = text.split_once('-')?;
    let start = parse_time(start)?;
    let end = if end == "24:00" { None } else { Some(parse_time(end)?) };
    (end != Some(start)).then_some((start, end))
}

fn parse_time(text: &str) -> Option<Time> {
    let (hour, minute) = text.split_once(':')?;
    let is_plain = |it: &str| it.len() == 2 && it.bytes().all(|it| it.is_ascii_digit());
    if !is_plain(hour) || !is_plain(minute) {
        return None;
    }
    Time::new(hour.parse().ok()?, minute.parse().ok()?, 0, 0).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip]
    fn hours_are_those_of_the_wall_clock() {
        let table = [
            // 2026-03-02 is a Monday; Berlin is at +01:00, from 2026-03-29 at +02:00.
            ("Mon-Fri 08:00-18:30 Europe/Berlin", "2026-03-02T07:00:00Z", true),  // The start is within.
            ("Mon-Fri 08:00-18:30 Europe/Berlin", "2026-03-02T06:59:59Z", false),
            ("Mon-Fri 08:00-18:30 Europe/Berlin", "2026-03-02T17:29:59Z", true),
            ("Mon-Fri 08:00-18:30 Europe/Berlin", "2026-03-02T17:30:00Z", false), // The end is not.
            ("Mon-Fri 08:00-18:30 Europe/Berlin", "2026-03-07T10:00:00Z", false), // A Saturday.
            ("Mon-Fri 08:00-18:30 Europe/Berlin", "2026-03-30T06:00:00Z", true),  // Summer time.
            ("Mon-Fri 08:00-18:30 Europe/Berlin", "2026-03-30T16:30:00Z", false),
            ("Sat 22:00-06:00 UTC",               "2026-03-07T23:00:00Z", true),
            ("Sat 22:00-06:00 UTC",               "2026-03-08T05:59:59Z", true),  // It began on Saturday.
            ("Sat 22:00-06:00 UTC",               "2026-03-08T06:00:00Z", false),
            ("Sat 22:00-06:00 UTC",               "2026-03-07T05:00:00Z", false),
            ("Sun 22:00-06:00 UTC",               "2026-03-09T01:00:00Z", true),  // Over the end of the week.
            ("Sat-Mon 00:00-24:00 UTC",           "2026-03-02T23:59:59Z", true),
            ("Sat-Mon 00:00-24:00 UTC",           "2026-03-03T00:00:00Z", false),
            ("Mon,Wed-Thu 09:00-10:00 UTC",       "2026-03-05T09:30:00Z", true),
            ("Mon,Wed-Thu 09:00-10:00 UTC",       "2026-03-03T09:30:00Z", false),
            // The hour that a clock skips, and the hour that it repeats.
            ("Sun 02:00-03:00 Europe/Berlin",     "2026-03-29T01:00:00Z", false), // It is 03:00.
            ("Sun 02:00-03:00 Europe/Berlin",     "2026-10-25T00:30:00Z", true),
            ("Sun 02:00-03:00 Europe/Berlin",     "2026-10-25T01:30:00Z", true),
            ("Mon 00:00-01:00 Asia/Kolkata",      "2026-03-01T18:30:00Z", true),  // At +05:30.
        ];
        for (hours, now, expected) in table {
            let parsed: Hours = hours.parse().expect(hours);
            assert_eq!(parsed.contains(now.parse().expect(now)), expected, "{hours} at {now}");
        }
    }

    /// The clock shows the time in the zone of the hours.
    #[test]
    fn clock_in_zone() {
        let hours: Hours = "Mon-Fri 08:00-18:30 Europe/Berlin".parse().expect("hours");
        let at = |now: &str| hours.clock(now.parse().expect(now));
        assert_eq!(at("2026-03-02T17:30:00Z"), "Mon 18:30 CET");
        assert_eq!(at("2026-07-02T22:05:59Z"), "Fri 00:05 CEST");
    }

    /// An error shows how to write the hours.
    #[test]
    fn invalid_hours() {
        for (text, part) in [
            ("08:00-18:30", "`Mon-Fri 08:00-18:30 Europe/Berlin`"),
            ("Mon-Fri 08:00-18:30", "`Mon-Fri 08:00-18:30 Europe/Berlin`"),
            ("Mon-Fri 08:00-18:30 Europe/Berlin please", "not `Mon-Fri"),
            ("Mon-Fri 08:00-18:30 Europe/Bonn", "`Europe/Bonn` is no time zone"),
            ("Mon-Fri 08:00-18:30 Etc/Unknown", "`Etc/Unknown` is no time zone"),
            ("Mon-Fri 08:00-18:30 Factory", "`Factory` is no time zone"),
            ("Mon-Fri 08:00-18:30 factory", "`factory` is no time zone"),
            ("Mon-Fri 8:00-18:30 UTC", "`8:00-18:30` must be a range"),
            ("Mon-Fri 08:0-18:30 UTC", "must be a range"),
            ("Mon-Fri +8:00-18:30 UTC", "must be a range"),
            ("Mon-Fri 08:00-08:00 UTC", "must be a range"),
            ("Mon-Fri 24:00-08:00 UTC", "must be a range"),
            ("Mon-Fri 08:00-25:00 UTC", "must be a range"),
            ("Mon-Fry 08:00-18:30 UTC", "`Mon-Fry` must be weekdays"),
            ("mon 08:00-18:30 UTC", "`mon` must be weekdays"),
            ("Mon, 08:00-18:30 UTC", "`Mon,` must be weekdays"),
        ] {
            let err = text.parse::<Hours>().expect_err(text);
            assert!(err.contains(part), "{err}");
        }
    }
}
