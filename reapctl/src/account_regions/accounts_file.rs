//! The file of `--accounts`: an account's id a line.

use std::collections::BTreeMap;

use anyhow::bail;
use reaper_core::{organization::is_account_id, printable::printable};

use crate::{
    file::{File, Invalid},
    stdio::eprintln,
};

/// The ids in the file. Shows all its errors on standard error, each with its line.
pub(super) fn accounts(file: &File) -> anyhow::Result<Vec<String>> {
    let (accounts, errors) = parse(&file.text);
    for (line, error) in &errors {
        eprintln!("error: {}, line {line}: {}", file.name, printable(error));
    }
    match errors.len() {
        0 if accounts.is_empty() => bail!(Invalid(format!("{} names no account", file.name))),
        0 => Ok(accounts),
        1 => bail!(Invalid(format!("{} has 1 error", file.name))),
        n => bail!(Invalid(format!("{} has {n} errors", file.name))),
    }
}

/// The ids, and the errors with their lines.
fn parse(text: &str) -> (Vec<String>, Vec<(usize, String)>) {
    let mut lines: BTreeMap<&str, usize> = BTreeMap::new();
    let mut accounts = Vec::new();
    let mut errors = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let id = line.split('#').next().unwrap_or_default().trim();
        if id.is_empty() {
            continue;
        }
        if !is_account_id(id) {
            errors.push((number, format!("`{id}` is not an account's id, which has 12 digits")));
        } else if let Some(first) = lines.get(id) {
            errors.push((number, format!("{id} is in line {first} already")));
        } else {
            lines.insert(id, number);
            accounts.push(id.to_owned());
        }
    }
    (accounts, errors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_its_line() {
        let text =
            "# the shop\n111111111111\n\n  222222222222  # staging\r\n12345\n111111111111\nall\n";
        let (accounts, errors) = parse(text);
        assert_eq!(accounts, ["111111111111", "222222222222"]);
        let errors: Vec<_> = errors.iter().map(|(line, it)| (*line, it.as_str())).collect();
        assert_eq!(
            errors,
            [
                (5, "`12345` is not an account's id, which has 12 digits"),
                (6, "111111111111 is in line 2 already"),
                (7, "`all` is not an account's id, which has 12 digits"),
            ]
        );
    }
}
