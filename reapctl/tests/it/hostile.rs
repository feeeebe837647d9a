//! Sessions whose every text is made to deceive, in everything that `reapctl` prints.

use std::fs;

use jiff::SignedDuration;
use serde_json::Value;
use session_manager_emulator::{Emulator, Fleet, Seed, serve};
use session_reaper::printable::is_unsafe;
use tokio::net::TcpListener;

use crate::{Output, STARTER, reapctl};

const TEXTS: [&str; 9] = [
    "\u{1b}[31mred\u{1b}]0;title\u{7}",
    "a\nb\r\nc\u{85}d\u{2028}e\u{2029}f",
    "\u{202e}gnp.exe\u{2066}\u{2069}\u{200f}\u{61c}",
    "\"quoted\\\" 'and' `so`, and | more",
    "a\u{0}b\u{8}\u{7f}\u{9b}31m",
    "=HYPERLINK(\"http://x\")",
    "\n=1+1",
    "<script>alert(1)</script></style>\" onload=\"x' &lt;",
    "e\u{301}\u{200d}\u{1f469}\u{200d}\u{1f4bb}\u{fffd}",
];

/// A session for each, and one of 10 kB.
fn fleet() -> Fleet {
    let mut fleet = Fleet::default();
    let long = "long ".repeat(2_000);
    for text in TEXTS.into_iter().chain([long.as_str()]) {
        let text = Some(text.to_owned());
        for ended in [None, Some(SignedDuration::from_hours(1))] {
            fleet.sessions.push(Seed {
                id: text
                    .as_ref()
                    .map(|it| format!("{it}{}", if ended.is_some() { "." } else { "" })),
                owner: text.clone(),
                target: text.clone(),
                age: Some(SignedDuration::from_hours(20)),
                ended,
                status: text.clone(),
                document: text.clone(),
                reason: text.clone(),
                access_type: text.clone(),
                ..Seed::default()
            });
        }
    }
    fleet
}

async fn run(url: &str, arguments: &[&str]) -> Output {
    let variables = [
        ("AWS_ACCESS_KEY_ID", "emulator"),
        ("AWS_SECRET_ACCESS_KEY", "emulator"),
        ("AWS_REGION", "eu-central-1"),
        ("AWS_ENDPOINT_URL", url),
    ];
    reapctl(&[arguments, &["--calls-per-second", "100"]].concat(), &variables).await
}

#[tokio::test]
async fn nobody_deceives_by_what_he_typed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(serve(listener, Emulator::new(fleet())));
    let n = TEXTS.len() + 1;

    let plan = ["plan", "--policy", STARTER];
    let shown = |output: &Output| {
        let text = output.stdout.clone() + &output.stderr;
        assert!(!text.contains(|it| it != '\n' && is_unsafe(it)), "{text:?}");
    };
    let output = run(&url, &plan).await;
    shown(&output);
    let (table, counts) = output.stdout.split_once("\n\n").expect("a table, and the counts");
    assert_eq!(table.lines().count(), 1 + n, "a session is a line");
    assert!(counts.starts_with(&format!("{n} seen")), "{counts}");
    let at = |line: &str| line.split_once(" everybody-twelve").map(|(before, _)| width(before));
    let columns: Vec<_> = table.lines().skip(1).map(at).collect();
    assert!(columns[0].is_some() && columns.iter().all(|it| *it == columns[0]), "{columns:?}");

    let json = run(&url, &[&plan[..], &["--output", "json"]].concat()).await;
    shown(&json);
    let report: Value = serde_json::from_str(&json.stdout).expect("JSON");
    let lines = run(&url, &[&plan[..], &["--output", "ndjson"]].concat()).await;
    shown(&lines);
    let rows: Vec<Value> =
        lines.stdout.lines().map(|it| serde_json::from_str(it).expect("a row a line")).collect();
    let csv = run(&url, &[&plan[..], &["--output", "csv"]].concat()).await;
    let mut reader = csv::Reader::from_reader(csv.stdout.as_bytes());
    let records: Vec<csv::StringRecord> = reader.records().map(|it| it.expect("CSV")).collect();
    assert_eq!((rows.len(), records.len()), (n, n));
    for text in TEXTS {
        let is_it = |it: &&Value| it["owner"] == text;
        assert!(report["sessions"].as_array().is_some_and(|it| it.iter().any(|it| is_it(&it))));
        assert!(rows.iter().any(|it| is_it(&it)), "{text:?}");
    }
    for field in records.iter().flat_map(|it| it.iter()) {
        assert!(!field.starts_with(['=', '+', '@', '\t', '\r', '\n']), "{field:?}");
    }

    let page = concat!(env!("CARGO_TARGET_TMPDIR"), "/hostile.html");
    shown(&run(&url, &["backtest", STARTER, "--html", page]).await);
    let html = fs::read_to_string(page).expect("a page");
    assert!(html.contains("&lt;script&gt;alert(1)"), "it is shown");
    let has = |it: &str| html.contains(it);
    assert!(!has("<script") && !has("onload=\"") && html.matches("</style>").count() == 1);
    assert!(!html.contains(|it| it != '\n' && is_unsafe(it)));

    for id in TEXTS.into_iter().filter(|it| !it.contains('\0')) {
        shown(&run(&url, &["explain", "--policy", STARTER, "--", id]).await);
    }
    shown(&run(&url, &["lock", "arn:*", "--policy", STARTER]).await);
}

/// Columns of a terminal that a text takes, as the table counts them.
fn width(text: &str) -> usize {
    unicode_width::UnicodeWidthStr::width(text)
}
