//! CSV in which no text becomes a formula when a spreadsheet opens it.

use std::io;

/// The records as CSV.
///
/// # Errors
/// Those of the writer; none is known that memory can cause.
pub fn to_csv<const N: usize>(
    records: impl IntoIterator<Item = [String; N]>,
) -> io::Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for record in records {
        writer.write_record(record.map(inert))?;
    }
    let bytes = writer.into_inner().map_err(csv::IntoInnerError::into_error)?;
    String::from_utf8(bytes).map_err(io::Error::other)
}

/// Changes a text so that no spreadsheet reads it as a formula. Spreadsheets may split a text, such as at
/// a semicolon where that separates columns, so every such part is changed.
///
/// Source: OWASP's page "CSV Injection", and its ASVS, 1.2.10.
fn inert(text: String) -> String {
    if text.parse::<f64>().is_ok() {
        return text;
    }
    let mut inert = String::with_capacity(text.len());
    let mut is_start = true;
    for it in text.chars() {
        let begins = matches!(it, '=' | '+' | '-' | '@' | '＝' | '＋' | '－' | '＠');
        if is_start && begins || inert.is_empty() && it.is_control() {
            inert.push('\'');
        }
        inert.push(it);
        let splits = it.is_control() || matches!(it, '"' | ',' | ';');
        is_start = splits || is_start && it.is_whitespace();
    }
    inert
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_are_inert() {
        for (text, expected) in [
            ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
            ("@SUM(1)", "'@SUM(1)"),
            ("+1+1", "'+1+1"),
            ("＝1", "'＝1"),
            ("\n=1", "'\n'=1"),
            ("\0x", "'\0x"),
            (" -1+1", " '-1+1"),
            ("x;=1", "x;'=1"),
            ("x\", +1", "x\", '+1"),
            ("-5", "-5"),
            ("role/a-b@c env=x", "role/a-b@c env=x"),
        ] {
            assert_eq!(inert(text.into()), expected);
        }
    }

    #[test]
    fn records_are_lines() {
        let records = [["a", "b, \"c\""], ["", "d"]].map(|it| it.map(String::from));
        assert_eq!(to_csv(records).expect("CSV"), "a,\"b, \"\"c\"\"\"\n,d\n");
    }
}
