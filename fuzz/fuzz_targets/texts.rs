//! Any text where people read it: no control or bidirectional character, no table out of line, no
//! formula, and no log line but those that were written.

#![no_main]

use std::{
    io::{self, Write},
    mem,
    sync::{Mutex, OnceLock},
};

use libfuzzer_sys::fuzz_target;
use reaper_core::{
    event::{CompliantLines, Event, Severity},
    plan::Action,
    printable::{self, is_unsafe, mend_halves, printable_json, printable_lines},
    report::Row,
};
use reaper_render::{spreadsheet, table};
use serde_json::{Map, Value, json};
use session_reaper::sinks::log::{Log, LogSettings};
use tracing::error;
use unicode_width::UnicodeWidthStr;

static LOG: OnceLock<Log> = OnceLock::new();

/// What was logged.
static WRITTEN: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Memory;

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        WRITTEN.lock().expect("a log").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fuzz_target!(init: start_log(), |text: &str| {
    check_log(text);
    check_csv(text);
    assert!(!printable::printable(text).contains(is_unsafe));
    let lines = printable_lines(text);
    assert!(!lines.replace('\n', "").contains(is_unsafe));
    assert_eq!(lines.matches('\n').count(), text.matches('\n').count());

    let value = json!({ text: [text] });
    let json = printable_json(value.to_string());
    assert!(!json.contains(is_unsafe));
    assert_eq!(serde_json::from_str::<Value>(&json).expect("JSON"), value);

    let mut table = table::table(&["A", "B"]);
    table.add_row([table::cell(text), table::cell("|")]);
    table.add_row([table::cell("x"), table::cell("|")]);
    let rows: Vec<_> = table.lines().collect();
    assert_eq!(rows.len(), 3, "a row is a line");
    assert!(!rows.concat().contains(is_unsafe));
    let before = |row: &str| row.rsplit_once('|').map(|(before, _)| before.width());
    assert_eq!(before(&rows[1]), before(&rows[2]), "a column is straight");

    // Whatever is escaped: nothing becomes longer, and what was JSON stays what it was.
    let mut mended = text.as_bytes().to_vec();
    mend_halves(&mut mended);
    assert_eq!(mended.len(), text.len());
    if let Ok(value) = serde_json::from_str::<Value>(text) {
        assert_eq!(serde_json::from_slice::<Value>(&mended).expect("JSON"), value);
    }
});

fn start_log() {
    let common = Map::from_iter([("service".into(), "reaper".into())]);
    let settings = LogSettings {
        is_json: true,
        least: Severity::Info,
        compliant: CompliantLines::All,
        common,
    };
    let _ = LOG.set(Log::new(settings, Memory).with_other_crates());
}

/// Each event is one line, and one object in which every text is what it was.
fn check_log(text: &str) {
    let log = LOG.get().expect("a log");
    log.set_context(&Map::from_iter([("function_request_id".into(), text.into())]));
    let row = Row {
        owner: Some(text.into()),
        tags: Some(vec![text.into()]),
        age_s: Some(7),
        action: Some(Action::Leave),
        ..Row::default()
    };
    log.write(&Event::Done(&row));
    log.write(&Event::PolicyWarning { warning: text });
    error!(target: "elsewhere", fields = text, detail = ?text, "{text}");
    let bytes = mem::take(&mut *WRITTEN.lock().expect("a log"));
    let written = String::from_utf8(bytes).expect("UTF-8");
    assert!(!written.replace('\n', "").contains(is_unsafe));
    let lines: Vec<Map<String, Value>> =
        written.lines().map(|it| serde_json::from_str(it).expect("an object")).collect();
    let shared = |level: &str, message: &str| json!({"level": level, "service": "reaper", "function_request_id": text, "message": message});
    let of_session = json!({
        "owner": text, "tags": [text], "age_s": 7,
        "verdict": "not_evaluated", "rules": [], "action": "leave",
    });
    let expected = [
        (shared("INFO", "session no action"), of_session),
        (shared("WARN", "policy warning"), json!({"warning": text})),
        (shared("ERROR", text), json!({"fields": text, "detail": format!("{text:?}")})),
    ];
    assert_eq!(lines.len(), expected.len(), "{written}");
    for (mut line, (shared, own)) in lines.into_iter().zip(expected) {
        assert!(line.remove("timestamp").is_some());
        let members = [shared, own].into_iter().filter_map(|it| it.as_object().cloned()).flatten();
        assert_eq!(line, members.collect());
    }
}

/// Read back, every text is there, and none is a formula wherever a spreadsheet splits.
fn check_csv(text: &str) {
    let csv = spreadsheet::to_csv([["|".to_owned(), text.to_owned()]]).expect("CSV");
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(csv.as_bytes());
    let records: Vec<_> = reader.records().map(|it| it.expect("CSV")).collect();
    assert_eq!(records.len(), 1);
    let fields: Vec<_> = records[0].iter().collect();
    assert_eq!((fields.len(), fields[0]), (2, "|"));
    assert_eq!(fields[1].replace('\'', ""), text.replace('\'', ""));
    if text.parse::<f64>().is_err() {
        for part in fields[1].split(['"', ',', ';', '\t', '\r', '\n']) {
            assert!(!part.trim_start().starts_with(['=', '+', '-', '@']), "{csv}");
        }
    }
}
