//! Any text where people read it: no control or bidirectional character, and no table out of line.

#![no_main]

#[path = "../../reapctl/src/table.rs"]
#[expect(dead_code, reason = "only cells are rendered")]
mod table;

use libfuzzer_sys::fuzz_target;
use session_reaper::printable::{self, is_unsafe, mend_halves, printable_json, printable_lines};
use unicode_width::UnicodeWidthStr;

fuzz_target!(|text: &str| {
    assert!(!printable::printable(text).contains(is_unsafe));
    let lines = printable_lines(text);
    assert!(!lines.replace('\n', "").contains(is_unsafe));
    assert_eq!(lines.matches('\n').count(), text.matches('\n').count());

    let value = serde_json::json!({ text: [text] });
    let json = printable_json(value.to_string());
    assert!(!json.contains(is_unsafe));
    assert_eq!(serde_json::from_str::<serde_json::Value>(&json).expect("JSON"), value);

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
    if let Ok(value) = serde_json::from_str::<serde_json::Value>(text) {
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&mended).expect("JSON"), value);
    }
});
