//! The page of `reapctl backtest`: one file without links to others.

use jiff::{SignedDuration, Timestamp};
use reaper_core::{pattern::short_owner, printable::printable};
use reaper_render::table::{age, minute};

use crate::{
    backtest::result::{Backtest, Replay, Sums},
    confirm::sessions,
};

/// The most sessions that the timeline shows: those that would have been terminated come first.
const MAX_ROWS: usize = 400;

/// The timeline's width, in its own units.
const WIDTH: f64 = 1000.0;

/// A row's height.
const ROW: usize = 14;

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1c2733; --soft: #5b6b7b; --line: #d8dfe6; --paper: #fff;
  --active: #7aa7d9; --cut: #e3a0a0; --end: #c0392b; --open: #d9b44a; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9aa8b5; --line: #33404d;
  --paper: #10161c; --active: #4c7db3; --cut: #7d3f3f; --end: #ff7b6b; --open: #b8942f; } }
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
.end { fill: var(--end); } .open { fill: var(--open); } .grid { stroke: var(--line); }
.key span { display: inline-block; margin-right: 1.5rem; } .key i { display: inline-block; width: 1rem;
  height: .6rem; margin-right: .4rem; } .soft { color: var(--soft); }
";

pub(crate) fn page(new: &Backtest, old: Option<&Backtest>) -> String {
    let mut body = format!("<h1>Backtest</h1>\n<p>{}</p>\n", text(&new.summary()));
    body += "<p class=\"soft\">Limits and the circuit breaker are left out. Tags are those of today; a past \
             status is not known.</p>\n<div class=\"sums\">\n";
    for (name, sums) in [("Rule", new.by_rule()), ("Owner", new.by_owner()), ("Day", new.by_day())]
    {
        body += &sums_table(name, sums);
    }
    body += "</div>\n";
    body += &timeline(new);
    if let Some(old) = old {
        body += &changes(new, old);
    }
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <link rel=\"icon\" href=\"data:,\">\n\
         <title>Backtest of a session policy</title>\n<style>{STYLE}</style>\n</head>\n<body>\n\
         {body}</body>\n</html>\n"
    )
}

/// Escapes a text, which any user may have written.
fn text(it: &str) -> String {
    printable(it)
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

fn rows(cells: impl Iterator<Item = Vec<String>>) -> String {
    let row = |cells: Vec<String>| {
        let cells: Vec<_> = cells.iter().map(|it| format!("<td>{}</td>", text(it))).collect();
        format!("<tr>{}</tr>\n", cells.concat())
    };
    cells.map(row).collect::<Vec<_>>().concat()
}

fn sums_table(name: &str, sums: Sums) -> String {
    let cells = sums.into_iter().map(|(key, (n, minutes))| {
        vec![key, n.to_string(), age(SignedDuration::from_mins(minutes))]
    });
    format!(
        "<section><h2>By {}</h2>\n<table><tr><th>{name}</th><th>Sessions</th><th>Time</th></tr>\n{}\
         </table></section>\n",
        name.to_lowercase(),
        rows(cells)
    )
}

fn changes(new: &Backtest, old: &Backtest) -> String {
    let cells = new.changes(old).into_iter().map(|(what, it)| {
        let end = it.would_terminate_at.map_or("-".into(), minute);
        vec![
            what.into(),
            short_owner(&it.owner),
            it.target.to_string(),
            end,
            it.session_id.to_string(),
        ]
    });
    format!(
        "<h2>Against the old policy</h2>\n<p>{}</p>\n<div class=\"scroll\"><table><tr><th>Change</th>\
         <th>Owner</th><th>Target</th><th>Would be terminated</th><th>Session</th></tr>\n{}</table></div>\n",
        text(&old.summary()),
        rows(cells)
    )
}

/// Each session is a bar, from its start to its end, with the time of its termination.
fn timeline(test: &Backtest) -> String {
    let mut shown: Vec<&Replay> = test.replays.iter().collect();
    shown.sort_by_key(|it| (it.would_terminate_at.is_none(), !it.is_open(), it.started_at));
    let left_out = shown.split_off(MAX_ROWS.min(shown.len()));
    shown.sort_by_key(|it| it.started_at);
    let height = (shown.len() + 2) * ROW;
    let mut svg = vec![format!(
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"Timeline of the sessions\">\n"
    )];
    svg.extend((0..=30).step_by(5).map(|day| {
        let at = test.from + SignedDuration::from_hours(24 * day);
        let x = place(test, at);
        let anchor = if day == 30 { "end" } else { "start" };
        format!(
            "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{ROW}\" y2=\"{height}\"/>\
             <text x=\"{x:.1}\" y=\"11\" text-anchor=\"{anchor}\">{}</text>\n",
            at.strftime("%b %d")
        )
    }));
    svg.extend(shown.iter().enumerate().map(|(i, it)| bar(test, it, (i + 1) * ROW + 3)));
    svg.push("</svg>\n".into());
    let svg = svg.concat();
    let key = [
        ("active", "active"),
        ("end", "would have been terminated"),
        ("cut", "time after that"),
        ("open", "undetermined"),
    ];
    let key = key.map(|(class, what)| {
        format!("<span><i style=\"background: var(--{class})\"></i>{what}</span>")
    });
    let note = note(&left_out);
    format!(
        "<h2>Timeline</h2>\n<p class=\"key\">{}</p>\n{note}<div class=\"scroll\">{svg}</div>\n",
        key.concat()
    )
}

/// How many sessions the timeline leaves out, of each kind.
fn note(left_out: &[&Replay]) -> String {
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
    if kinds.is_empty() {
        return String::new();
    }
    format!("<p class=\"soft\">Not shown: {}.</p>\n", kinds.join(", "))
}

fn bar(test: &Backtest, replay: &Replay, y: usize) -> String {
    let start = place(test, replay.started_at);
    let end = place(test, replay.ended_at.unwrap_or(test.to));
    let class = if replay.is_open() { "open" } else { "active" };
    let rectangle = |class: &str, from: f64, to: f64| {
        let width = (to - from).max(1.0);
        format!(
            "<rect class=\"{class}\" x=\"{from:.1}\" y=\"{y}\" width=\"{width:.1}\" height=\"8\"/>"
        )
    };
    let bar = match replay.would_terminate_at.map(|it| place(test, it)) {
        None => rectangle(class, start, end),
        Some(x) => {
            let active = rectangle(class, start, x);
            format!("{active}{}{}", rectangle("cut", x, end), rectangle("end", x, x + 2.0))
        }
    };
    let what = match (replay.would_terminate_at, replay.unknown) {
        (Some(at), None) => {
            format!("would have been terminated at {} by {}", minute(at), replay.rules.join(", "))
        }
        (Some(at), Some(_)) => {
            format!("would have been terminated at {} by {}", minute(at), replay.rules.join(" or "))
        }
        (None, Some(_)) => format!("undetermined: {}", replay.rules.join(", ")),
        (None, None) => "would not have been terminated".into(),
    };
    let title = format!(
        "{} on {}, from {}: {what}",
        short_owner(&replay.owner),
        replay.target,
        minute(replay.started_at)
    );
    format!("<g><title>{}</title>{bar}</g>\n", text(&title))
}

/// Where an instant is on the timeline.
fn place(test: &Backtest, at: Timestamp) -> f64 {
    let whole = test.to.duration_since(test.from).as_secs_f64();
    let part = at.duration_since(test.from).as_secs_f64();
    (part / whole).clamp(0.0, 1.0) * WIDTH
}
