//! Sessions whose every text is made to deceive, in everything that `reapctl` prints.

use std::{collections::BTreeSet, fs};

use jiff::SignedDuration;
use rexpect::session::spawn_command;
use serde_json::Value;
use session_manager_emulator::{Emulator, Fault, FaultKind, Fleet, Seed, serve};
use tokio::{net::TcpListener, task::spawn_blocking};

use crate::{Output, STARTER, reapctl, write};

const TEXTS: [&str; 15] = [
    "\u{1b}[31mred\u{1b}]0;title\u{7}",
    "a\nb\r\nc\u{85}d\u{2028}e\u{2029}f",
    "\u{202e}gnp.exe\u{2066}\u{2069}\u{200f}\u{61c}",
    "\"quoted\\\" 'and' `so`, and | more",
    "a\u{0}b\u{8}\u{7f}\u{9b}31m",
    "=HYPERLINK(\"http://x\")",
    "\n=1+1",
    "\t=1+1",
    "\r=1+1",
    "-1+1",
    "+1+cmd|' /C calc'!A0",
    "@SUM(1+1)",
    "-",
    "<script>alert(1)</script></style>\" onload=\"x' &lt;",
    "e\u{301}\u{200d}\u{1f469}\u{200d}\u{1f4bb}\u{fffd}",
];

/// What a terminal may obey, by Unicode's lists: `Cc`, `Bidi_Control`, and the ends of lines `Zl`, `Zp`.
/// The product has a list of its own.
fn is_unsafe(it: char) -> bool {
    let ranges = [
        ('\u{0}', '\u{1f}'),
        ('\u{7f}', '\u{9f}'),
        ('\u{61c}', '\u{61c}'),
        ('\u{200e}', '\u{200f}'),
        ('\u{2028}', '\u{2029}'),
        ('\u{202a}', '\u{202e}'),
        ('\u{2066}', '\u{2069}'),
    ];
    ranges.iter().any(|(first, last)| (*first..=*last).contains(&it))
}

const VIOLATED_BY_ALL: &str = "{version: 1, rules: [{id: everything, when: all, require: {max_age: 1h}}], \
                               limits: {circuit_breaker: {max_percent: 100}}}";

#[track_caller]
fn assert_safe(text: &str) {
    let found = text.find(|it| it != '\n' && is_unsafe(it));
    let around = found.map(|at| text[at..].chars().take(40).collect::<String>());
    assert_eq!(around, None);
}

/// A session for each, and one of 10 kB. Owners begin like this.
fn fleet(owners: &str) -> Fleet {
    let mut fleet = Fleet::default();
    let long = "long ".repeat(2_000);
    for text in TEXTS.into_iter().chain([long.as_str()]) {
        let text = Some(text.to_owned());
        for ended in [None, Some(SignedDuration::from_hours(1))] {
            fleet.sessions.push(Seed {
                id: text
                    .as_ref()
                    .map(|it| format!("{it}{}", if ended.is_some() { "." } else { "" })),
                owner: text.as_ref().map(|it| format!("{owners}{it}")),
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

fn variables(url: &str) -> [(&str, &str); 4] {
    [
        ("AWS_ACCESS_KEY_ID", "emulator"),
        ("AWS_SECRET_ACCESS_KEY", "emulator"),
        ("AWS_REGION", "eu-central-1"),
        ("AWS_ENDPOINT_URL", url),
    ]
}

async fn run(url: &str, arguments: &[&str]) -> Output {
    reapctl(&[arguments, &["--calls-per-second", "100"]].concat(), &variables(url)).await
}

/// What a terminal of this width is sent.
async fn on_a_terminal(url: &str, width: usize, words: &str) -> String {
    let reapctl = env!("CARGO_BIN_EXE_reapctl");
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", &format!("stty -onlcr rows 50 cols {width} && exec {reapctl} {words}")]);
    shell.envs(variables(url)).env("NO_COLOR", "1").env("TERM", "xterm");
    let read = move || {
        let mut terminal = spawn_command(shell, Some(60_000)).expect("a terminal");
        terminal.exp_eof().expect("the end")
    };
    let screen = spawn_blocking(read).await.expect("a screen");
    let bytes =
        screen.chars().map(|it| u8::try_from(it).expect("a byte, as it was read")).collect();
    String::from_utf8(bytes).expect("UTF-8")
}

/// Serves a fleet; its URL.
async fn served(fleet: Fleet) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(serve(listener, Emulator::new(fleet)));
    url
}

/// The tables of a text begin with the column of ages; each column begins where its header does.
#[track_caller]
fn assert_aligned(text: &str) {
    let begins = |it: &str| it.trim_start().starts_with("AGE ");
    let tables = text.split("\n\n").filter_map(|it| {
        let lines: Vec<_> = it.lines().skip_while(|it| !begins(it)).collect();
        (!lines.is_empty()).then(|| lines.join("\n"))
    });
    let tables: Vec<_> = tables.collect();
    assert!(!tables.is_empty(), "{text}");
    for table in tables {
        let header = table.lines().next().expect("a header");
        let is_start =
            |at: &usize| header[..*at].ends_with("  ") && !header[*at..].starts_with(' ');
        let starts: Vec<_> = (1..header.len()).filter(is_start).collect();
        assert!(3 < starts.len(), "{header}");
        for line in table.lines() {
            let ends: Vec<_> = line.char_indices().map(|(at, _)| at).collect();
            for start in &starts {
                // Halving it each time, for a line may be very long.
                let at = ends.partition_point(|end| width(&line[..*end]) < *start);
                let before = ends.get(at).map_or("", |end| &line[..*end]);
                let is_there = width(before) == *start && before.ends_with("  ");
                assert!(is_there || width(line) < *start, "column {start} of {line:?} in\n{table}");
            }
        }
    }
}

/// Texts from users are shown safely in everything that `reapctl` prints.
#[tokio::test]
async fn typed_texts_are_shown_safely() {
    let url = served(fleet("")).await;
    let n = TEXTS.len() + 1;

    let plan = ["plan", "--policy", STARTER];
    let shown = |output: &Output| assert_safe(&(output.stdout.clone() + &output.stderr));
    let output = run(&url, &plan).await;
    shown(&output);
    assert_aligned(&output.stdout);
    let (table, counts) = output.stdout.split_once("\n\n").expect("a table, and the counts");
    assert_eq!(table.lines().count(), 1 + n, "a session is a line");
    assert!(counts.starts_with(&format!("{n} seen")), "{counts}");
    let at = |line: &str| line.split_once(" no-older-than-12").map(|(before, _)| width(before));
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
        let is_formula = field.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']);
        assert!(!is_formula || field.parse::<f64>().is_ok(), "{field:?}");
    }

    let page = concat!(env!("CARGO_TARGET_TMPDIR"), "/hostile.html");
    shown(&run(&url, &["backtest", STARTER, "--html", page]).await);
    let html = fs::read_to_string(page).expect("a page");
    assert!(html.contains("&lt;script&gt;alert(1)"), "it is shown");
    let has = |it: &str| html.contains(it);
    assert!(!has("<script") && !has("onload=\"") && html.matches("</style>").count() == 1);
    assert_safe(&html);

    for id in TEXTS.into_iter().filter(|it| !it.contains('\0')) {
        shown(&run(&url, &["explain", "--policy", STARTER, "--", id]).await);
    }
    shown(&run(&url, &["lock", "arn:*", "--policy", STARTER]).await);
}

/// Texts from users shift no column, and forge no log line.
#[tokio::test]
async fn columns_and_log_lines() {
    // `lock` takes owners that are ARNs.
    let owners = "arn:aws:iam::123456789012:user/";
    let log = write("hostile.jsonl", "");
    let policy = &write("hostile.policy.yaml", VIOLATED_BY_ALL);
    let sweep = ["sweep", "--policy", policy];
    let lock = ["lock", "arn:*", "--policy", policy];
    let enforced = ["--enforce", "--yes"];
    let logged = [&lock[..], &enforced, &["--log", &log, "--for", "3s"]].concat();
    for arguments in [&sweep[..], &lock, &[&sweep[..], &enforced].concat(), &logged] {
        let Output { stdout, stderr, .. } = run(&served(fleet(owners)).await, arguments).await;
        let text = format!("{stdout}\n\n{stderr}"); // `lock` asks on standard error.
        assert_safe(&text);
        assert_aligned(&text);
    }
    let lines = fs::read_to_string(&log).expect("a log");
    assert_safe(&lines);
    let lines: Vec<Value> =
        lines.lines().map(|it| serde_json::from_str(it).expect("an object a line")).collect();
    let is_evaluated = |it: &&Value| it["message"] == "session evaluated";
    let evaluated = lines.iter().filter(is_evaluated).map(|it| it["session_id"].to_string());
    assert_eq!(evaluated.collect::<BTreeSet<_>>().len(), TEXTS.len() + 1);
}

/// Texts from users shift no column on a terminal.
#[tokio::test]
async fn columns_on_a_terminal() {
    let url = &served(fleet("arn:aws:iam::123456789012:user/")).await;
    let policy = &write("hostile-3.policy.yaml", VIOLATED_BY_ALL);
    let errors = &write("hostile.errors", "");
    for (command, is_error) in [("plan", false), ("sweep", false), ("lock 'arn:*'", true)] {
        for width in [80, 200] {
            let words = format!("{command} --policy {policy} 2>{errors}");
            let mut screen = on_a_terminal(url, width, &words).await;
            if is_error {
                screen = fs::read_to_string(errors).expect("what `lock` shows before it asks");
            }
            assert_safe(&screen);
            assert_aligned(&screen);
            let table = screen.lines().take_while(|it| !it.is_empty());
            let widest = table.map(self::width).max();
            assert!(widest.is_some_and(|it| it <= width), "{widest:?}: {screen}");
        }
    }
    let list = "describe-sessions --state Active --output table --color off 2>/dev/null";
    let screen = on_a_terminal(url, 200, list).await;
    assert_safe(&screen);
    // Joined characters count as the AWS CLI counts them: one by one.
    let lines = screen.lines().filter(|it| !it.contains('\u{200d}'));
    let widths: BTreeSet<_> = lines.map(self::width).collect();
    assert_eq!(widths.len(), 1, "{widths:?}: {screen}");
}

/// Half a UTF-16 character hides no session.
#[tokio::test]
async fn half_a_character() {
    let row = |id: &str| {
        format!(
            r#"{{"SessionId": "{id}", "Owner": "arn:aws:iam::123456789012:user/x", "Target": "i-0123456789abcdef0", "StartDate": 1772430000.0, "Reason": "\ud800 \\ud800 \uD83d\uDe00"}}"#
        )
    };
    let page = format!("{{\"Sessions\": [{}, {}]}}", row("a"), row("b"));
    let faults = vec![Fault::new("DescribeSessions", 100, FaultKind::Body(page.clone()))];
    let url = &served(Fleet { faults, ..Fleet::default() }).await;
    let plan = run(url, &["plan", "--policy", STARTER]).await;
    assert!(plan.stdout.contains("2 seen"), "{}{}", plan.stdout, plan.stderr);
    let list = ["describe-sessions", "--state", "Active", "--query", "Sessions[].Reason"];
    let list = reapctl(&list, &variables(url)).await;
    let reasons: Value = serde_json::from_str(&list.stdout).expect("JSON");
    assert_eq!(reasons, Value::from(vec!["\u{fffd} \\ud800 \u{1f600}"; 2]));

    let policy = &write(
        "halves.yaml",
        "{version: 1, rules: [{id: r, when: {reason: '^. .ud800 .$'}, forbid: true}]}",
    );
    let file = &write("halves.json", &page);
    for words in [&["a"][..], &["a", "--from", file]] {
        let words = [&["explain", "--policy", policy][..], words].concat();
        let Output { stdout, stderr, .. } = run(url, &words).await;
        assert!(stdout.ends_with("verdict: violation: r\n"), "{words:?}: {stdout}{stderr}");
    }
}

/// Neither an answer nor a word of the command line, however deeply nested, ends the process by its
/// stack: each command says what is wrong.
#[tokio::test]
async fn nesting_is_limited() {
    let deep = "[".repeat(100_000);
    let body = format!("{{\"Sessions\": {deep}");
    let faults = vec![Fault::new("DescribeSessions", 100, FaultKind::Body(body.clone()))];
    let url = &served(Fleet { faults, ..Fleet::default() }).await;
    let too_deep = "maximum recursion depth exceeded";
    let list = ["describe-sessions", "--state", "Active"];
    let filter = format!("key=Owner,value={deep}");
    for words in [
        &[][..],
        &["--output", "text"],
        &["--output", "table"],
        &["--query", &deep],
        &["--filters", &deep],
        &["--filters", &filter],
        &["--cli-input-json", &deep],
    ] {
        let output = reapctl(&[&list[..], words].concat(), &variables(url)).await;
        assert_eq!(output.status, Some(255), "{}", output.stderr.len());
        assert!(output.stderr.contains(too_deep), "{}", output.stderr.len());
    }

    let file = &write("nested.json", &body);
    let yaml = &write("nested.yaml", &format!("version: 1\nrules: {deep}"));
    for (words, status, message) in [
        (&["plan", "--policy", STARTER][..], 1, "the listing is incomplete"),
        (&["backtest", STARTER], 1, "the listing is incomplete"),
        (&["lock", "user/*", "--policy", STARTER], 1, "the listing is incomplete"),
        (&["explain", "--policy", STARTER, "--from", file], 2, "recursion limit exceeded"),
        (&["check", yaml], 2, ""),
        (&["test", STARTER, yaml], 2, ""),
        (&["emulate", "--fleet", yaml], 2, ""),
    ] {
        let output = reapctl(words, &variables(url)).await;
        let Output { stdout, stderr, .. } = output;
        assert_eq!(output.status, Some(status), "{words:?}: {stderr:.500}");
        assert!(format!("{stdout}{stderr}").contains(message), "{words:?}: {stderr:.500}");
    }
}

/// Columns of a terminal that a text takes, as the table counts them.
fn width(text: &str) -> usize {
    unicode_width::UnicodeWidthStr::width(text)
}

/// No control character of an input reaches the terminal.
#[tokio::test]
async fn control_characters() {
    let rule = r#""a\u001b[31m\u009b\u202e""#;
    let valid = &write(
        "hostile.yaml",
        &format!(
            "version: 1\ntag_keys: [env]\n\
             rules: [{{ id: r, description: {rule}, when: {{ target_tags: {{ env: x }} }}, \
             forbid: true }}]\n"
        ),
    );
    let invalid = &write("hostile-2.yaml", "version: 1\nrul\u{9b}31mez\u{202e}: 1\n");
    let cases = &write(
        "hostile.cases.yaml",
        &format!(
            "now: 2026-03-02T12:00:00Z\nsessions:\n  - {{ owner: user/a, age: 1h, \
             verdict: compliant, rule: {rule} }}\n"
        ),
    );
    let bad_cases = &write("hostile-2.cases.yaml", &format!("now: x\nsessions: [{{ {rule}: 1 }}]"));
    let session = &write(
        "hostile.json",
        r#"{ "SessionId": "a\u009b\u202e", "Owner": "arn:aws:iam::123456789012:user/x",
             "Target": "i-0123456789abcdef0", "StartDate": 1772430000.0 }"#,
    );
    let junit = concat!(env!("CARGO_TARGET_TMPDIR"), "/hostile.xml");
    let hostile = ['\u{1b}', '\u{9b}', '\u{202e}'];
    let explain = ["explain", "--policy", valid, "--from", session];
    for arguments in [
        &["check", invalid][..],
        &["check", invalid, "--output", "json"],
        &["test", valid, cases, "--junit", junit],
        &["test", valid, bad_cases],
        &explain,
        &[&explain[..], &["--output", "json"]].concat(),
    ] {
        let output = reapctl(arguments, &[("NO_COLOR", "1")]).await;
        let text = output.stdout + &output.stderr;
        assert!(!text.is_empty() && !text.contains(hostile), "{arguments:?}: {text:?}");
        assert!(
            ["9b", "202e", "\u{fffd}"].iter().any(|it| text.contains(it)),
            "{arguments:?}: {text:?}"
        );
    }
    let xml = fs::read_to_string(junit).expect("a report");
    assert!(xml.contains("202e") && !xml.contains(hostile), "{xml}");
    let output = reapctl(&[&explain[..], &["--output", "json"]].concat(), &[]).await;
    let json: serde_json::Value = serde_json::from_str(&output.stdout).expect("JSON");
    assert_eq!(json["session_id"], "a\u{9b}\u{202e}");
}
