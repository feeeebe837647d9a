//! The page of `reapctl backtest`: one file without links to others.
//!
//! By `maud`, which escapes every text. By hand it was as long (210 lines instead of 206), with a call
//! that escapes wherever a text from a user is. `maud` adds three packages to the build and nothing to
//! the size of reapctl.

use jiff::{SignedDuration, Timestamp};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use reaper_core::{pattern::short_owner, printable::printable};
use reaper_render::table::{age, minute};

use crate::{
    backtest::result::{Backtest, Doubt, Replay, Sums},
    confirm::sessions,
};

/// The most sessions that the timeline shows: those that would have been terminated come first.
const MAX_ROWS: usize = 400;

/// The timeline's width, in its own units.
const WIDTH: f64 = 1000.0;

/// The timeline is divided into so many parts: of five days, if AWS was asked.
const DAY_LINES: i32 = 6;

/// A row's height.
const ROW: usize = 14;

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1c2733; --soft: #5b6b7b; --line: #d8dfe6; --paper: #fff;
  --active: #7aa7d9; --cut: #e3a0a0; --end: #c0392b; --open: #d9b44a;
  --warn: #8f6bc4; --maybe: #c9d6e4; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9aa8b5; --line: #33404d;
  --paper: #10161c; --active: #4c7db3; --cut: #7d3f3f; --end: #ff7b6b; --open: #b8942f;
  --warn: #a58ad6; --maybe: #2b3d50; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 75rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: left; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid var(--line); }
th, .sums td + td { white-space: nowrap; }
.sums { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(20rem, 100%), 1fr)); gap: 0 2rem; }
svg { width: 100%; height: auto; min-width: 1000px; display: block; } .scroll { overflow-x: auto; }
svg text { fill: var(--soft); font-size: 12px; } .active { fill: var(--active); } .cut { fill: var(--cut); }
.end { fill: var(--end); } .open { fill: var(--open); } .warn { fill: var(--warn); }
.maybe { fill: var(--maybe); }
.grid { stroke: var(--line); }
.key span { display: inline-block; margin-right: 1.5rem; } .key i { display: inline-block; width: 1rem;
  height: .6rem; margin-right: .4rem; } .soft { color: var(--soft); }
";

pub(crate) fn page(new: &Backtest, old: Option<&Backtest>) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                link rel="icon" href="data:,";
                title { "Backtest of a session policy" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { "Backtest" }
                p { (new.summary()) }
                p.soft {
                    "Limits and the circuit breaker are left out. "
                    @if new.is_of_files { "Tags are not known, nor is a past status." }
                    @else { "Tags are those of today; a past status is not known." }
                }
                div.sums {
                    (sums_table("Rule", new.by_rule()))
                    (sums_table("Owner", new.by_owner()))
                    @for (name, sums) in ["Account", "Region"].into_iter().zip(new.by_place()) {
                        (sums_table(name, sums))
                    }
                    (sums_table("Day", new.by_day()))
                    @if !new.by_warning().is_empty() { (sums_table("Warning", new.by_warning())) }
                }
                (timeline(new))
                @if let Some(old) = old { (changes(new, old)) }
            }
        }
    };
    page.into_string()
}

fn sums_table(name: &str, sums: Sums) -> Markup {
    html! {
        section {
            h2 { "By " (name.to_lowercase()) }
            table {
                tr { th { (name) } th { "Sessions" } th { "Time" } }
                @for (key, (n, minutes)) in sums {
                    tr {
                        td { (printable(&key)) }
                        td { (n) }
                        td { (age(SignedDuration::from_mins(minutes))) }
                    }
                }
            }
        }
    }
}

fn changes(new: &Backtest, old: &Backtest) -> Markup {
    html! {
        h2 { "Against the old policy" }
        p { (old.summary()) }
        div.scroll {
            table {
                tr {
                    @for name in ["Change", "Owner", "Target", "Would be terminated", "Session"] {
                        th { (name) }
                    }
                }
                @for (what, it) in new.changes(old) {
                    tr {
                        td { (what) }
                        td { (printable(&short_owner(&it.owner))) }
                        td {
                            (printable(&it.target))
                            @if let Some(place) = &it.place { " in " (place.account) " " (place.region) }
                        }
                        td { (it.would_terminate_at.map_or("-".into(), minute)) }
                        td { (printable(&it.session_id)) }
                    }
                }
            }
        }
    }
}

/// Each session is a bar, from its start to its end, with the time of its termination.
fn timeline(test: &Backtest) -> Markup {
    let mut shown: Vec<&Replay> = test.replays.iter().collect();
    shown.sort_by_key(|it| (it.would_terminate_at.is_none(), !it.is_open(), it.started_at));
    let left_out = shown.split_off(MAX_ROWS.min(shown.len()));
    shown.sort_by_key(|it| it.started_at);
    let height = (shown.len() + 2) * ROW;
    let has_warnings = test.replays.iter().any(|it| !it.warnings.is_empty());
    let key = [
        ("active", "active"),
        ("warn", "time after a warning"),
        ("end", "would have been terminated"),
        ("cut", "time after that"),
        ("open", "undetermined"),
        ("maybe", "perhaps active"),
    ];
    let is_there = |class: &str| match class {
        "maybe" => 0 < test.n_unknown_ends(),
        "warn" => has_warnings,
        _ => true,
    };
    html! {
        h2 { "Timeline" }
        p.key {
            @for (class, what) in key.into_iter().filter(|(class, _)| is_there(class)) {
                span { i style={ "background: var(--" (class) ")" } {} (what) }
            }
        }
        @if let Some(note) = note(&left_out) { p.soft { (note) } }
        div.scroll {
            svg viewBox={ "0 0 " (WIDTH) " " (height) } role="img" aria-label="Timeline of the sessions" {
                @for part in 0..=DAY_LINES { (day_line(test, part, height)) }
                @for (i, it) in shown.iter().enumerate() { (bar(test, it, (i + 1) * ROW + 3)) }
            }
        }
    }
}

fn day_line(test: &Backtest, part: i32, height: usize) -> Markup {
    let at = test.from + test.to.duration_since(test.from) * part / DAY_LINES;
    let x = format!("{:.1}", place(test, at));
    html! {
        line.grid x1=(x) x2=(x) y1=(ROW) y2=(height) {}
        text x=(x) y="11" text-anchor=(if part == DAY_LINES { "end" } else { "start" }) {
            (at.strftime("%b %d").to_string())
        }
    }
}

/// How many sessions the timeline leaves out, of each kind.
fn note(left_out: &[&Replay]) -> Option<String> {
    let n = |is_it: fn(&Replay) -> bool| left_out.iter().filter(|it| is_it(it)).count();
    let kinds = [
        (n(|it| it.would_terminate_at.is_some()), "that would have been terminated"),
        (n(Replay::is_open), "with an undetermined verdict"),
        (
            n(|it| it.would_terminate_at.is_none() && !it.is_open()),
            "that would not have been terminated",
        ),
    ];
    let kinds = kinds.into_iter().filter(|(n, _)| 0 < *n);
    let kinds: Vec<_> = kinds.map(|(n, what)| format!("{} {what}", sessions(n))).collect();
    (!kinds.is_empty()).then(|| format!("Not shown: {}.", kinds.join(", ")))
}

fn bar(test: &Backtest, replay: &Replay, y: usize) -> Markup {
    let start = place(test, replay.started_at);
    let end = place(test, replay.ended_at.or(replay.last_seen_at).unwrap_or(test.to));
    let class = if replay.is_open() { "open" } else { "active" };
    let terminated = replay.would_terminate_at.map(|it| place(test, it));
    let active_until = terminated.unwrap_or(end);
    let warned = replay.warnings.first();
    let mut bars = match warned.map(|it| place(test, it.at)) {
        None => vec![(class, start, active_until)],
        Some(x) => vec![(class, start, x), ("warn", x, active_until)],
    };
    bars.extend(terminated.into_iter().flat_map(|x| [("cut", x, end), ("end", x, x + 2.0)]));
    if replay.last_seen_at.is_some() && terminated.is_none() {
        bars.push(("maybe", end, place(test, replay.may_terminate_at.unwrap_or(test.to))));
    }
    let what = match (replay.would_terminate_at.or(replay.may_terminate_at), replay.unknown) {
        (Some(at), Some(Doubt::End)) => format!(
            "would have been terminated at {} by {} if it was still active",
            minute(at),
            replay.rules.join(", ")
        ),
        (Some(at), None) => {
            format!("would have been terminated at {} by {}", minute(at), replay.rules.join(", "))
        }
        (Some(at), Some(_)) => {
            format!("would have been terminated at {} by {}", minute(at), replay.rules.join(" or "))
        }
        (None, Some(_)) => format!("undetermined: {}", replay.rules.join(", ")),
        (None, None) => "would not have been terminated".into(),
    };
    let warnings =
        replay.warnings.iter().map(|it| format!("; warning at {} by {}", minute(it.at), it.rule));
    let warnings: String = warnings.collect();
    let owner = short_owner(&replay.owner);
    let started = minute(replay.started_at);
    let place = replay.place.as_ref().map(|it| format!(" in {} {}", it.account, it.region));
    let place = place.unwrap_or_default();
    let title = format!("{owner} on {}{place}, from {started}: {what}{warnings}", replay.target);
    html! {
        g {
            title { (printable(&title)) }
            @for (class, from, to) in bars {
                rect class=(class) x=(format!("{from:.1}")) y=(y)
                    width=(format!("{:.1}", (to - from).max(1.0))) height="8" {}
            }
        }
    }
}

/// Where an instant is on the timeline.
fn place(test: &Backtest, at: Timestamp) -> f64 {
    let whole = test.to.duration_since(test.from).as_secs_f64().max(1.0);
    let part = at.duration_since(test.from).as_secs_f64();
    (part / whole).clamp(0.0, 1.0) * WIDTH
}
