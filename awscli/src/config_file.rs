//! The shared configuration files, read as botocore reads them: with Python's `configparser`.
//!
//! The SDK's own reader refuses files that the AWS CLI takes (settings that are indented below their
//! section, `key: value`) and takes some that the AWS CLI refuses. So each file is read here, and
//! written anew for the SDK.

use std::{collections::HashSet, fmt::Write, fs, io::ErrorKind, path::Path};

use aws_runtime::env_config::file::EnvConfigFileKind;

/// A file in the SDK's form (empty if there is no file), or why it cannot be used.
pub(crate) fn read(path: &Path, kind: EnvConfigFileKind) -> Result<String, String> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(err) if matches!(err.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(String::new());
        }
        Err(_) if !path.is_file() => return Ok(String::new()), // So does botocore: a device, a folder.
        Err(err) => return Err(err.to_string()),
    };
    let text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    Ok(written(&sections(&text)?, kind))
}

/// The text between the brackets, and the settings.
struct Section {
    header: String,
    settings: Vec<Setting>,
}

/// A name in lower case, and the lines of its value.
struct Setting {
    name: String,
    lines: Vec<String>,
}

/// Python's `configparser.RawConfigParser().read_string(text)`.
fn sections(text: &str) -> Result<Vec<Section>, String> {
    if text.starts_with('\u{feff}') {
        return Err("it begins with a byte order mark: save it as UTF-8 without one".into());
    }
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut sections: Vec<Section> = Vec::new();
    let mut names = HashSet::new();
    let mut indent = 0;
    for (i, line) in text.split('\n').enumerate() {
        let n = i + 1;
        let value = line.trim();
        if value.is_empty() || value.starts_with(['#', ';']) {
            continue;
        }
        let line_indent = line.chars().take_while(|it| it.is_whitespace()).count();
        let setting = sections.last_mut().and_then(|it| it.settings.last_mut());
        if let Some(setting) = setting.filter(|_| indent < line_indent) {
            setting.lines.push(value.into());
            continue;
        }
        indent = line_indent;
        if let Some(header) = header(value) {
            if sections.iter().any(|it| it.header == header) {
                return Err(format!("line {n}: the section `{header}` is there twice"));
            }
            sections.push(Section { header: header.into(), settings: Vec::new() });
            names.clear();
            continue;
        }
        let Some(section) = sections.last_mut() else {
            return Err(format!("line {n} stands before the first section"));
        };
        let Some((name, value)) = value.split_once(['=', ':']).filter(|(it, _)| !it.is_empty())
        else {
            return Err(format!("line {n} is neither a section nor a setting"));
        };
        let name = name.trim_end().to_lowercase();
        if !names.insert(name.clone()) {
            return Err(format!("line {n}: the setting `{name}` is there twice in its section"));
        }
        section.settings.push(Setting { name, lines: vec![value.trim().into()] });
    }
    let nested = sections.iter().flat_map(|it| &it.settings).filter(|it| it.is_nested());
    let mut lines = nested.flat_map(|it| it.lines.iter().skip(1));
    match lines.find(|it| !it.contains('=')) {
        Some(line) => Err(format!("`{line}` is not a setting, though it is indented like one")),
        None => Ok(sections),
    }
}

/// The text between the first bracket and the last; text after it is ignored.
fn header(line: &str) -> Option<&str> {
    let (header, _) = line.strip_prefix('[')?.rsplit_once(']')?;
    (!header.is_empty()).then_some(header)
}

impl Setting {
    /// Whether its value is a list of settings.
    fn is_nested(&self) -> bool {
        1 < self.lines.len() && self.lines.first().is_some_and(String::is_empty)
    }
}

/// The sections as botocore reads them, so that the SDK reads the same.
fn written(sections: &[Section], kind: EnvConfigFileKind) -> String {
    let mut text = String::new();
    for Section { header, settings } in sections {
        let header = match kind {
            EnvConfigFileKind::Config => match config_header(header) {
                Some(header) => header,
                None => continue,
            },
            EnvConfigFileKind::Credentials => header.clone(),
        };
        let _ = writeln!(text, "[{header}]");
        for setting in settings.iter().filter(|it| is_identifier(&it.name)) {
            let _ = writeln!(text, "{} = {}", setting.name, setting.lines.join("\n    "));
        }
    }
    text
}

/// Names such as `profile "p"` without quotes; `None` for other sections.
fn config_header(header: &str) -> Option<String> {
    if header == "default" {
        return Some(header.into());
    }
    let kind =
        ["profile", "sso-session", "services"].into_iter().find(|it| header.starts_with(it))?;
    let (first, name) = header.split_once(|it: char| it.is_whitespace())?;
    let name = name.trim();
    let mut quotes = ['"', '\''].into_iter();
    let unquoted = quotes.find_map(|it| name.strip_prefix(it)?.strip_suffix(it));
    let name = unquoted.unwrap_or(name);
    (first == kind && is_identifier(name)).then(|| format!("{kind} {name}"))
}

/// Whether the SDK accepts it as a name.
fn is_identifier(name: &str) -> bool {
    let is_part = |it: char| it.is_ascii_alphanumeric() || "_-/.%@:+".contains(it);
    !name.is_empty() && name.chars().all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: &str = "aws_access_key_id = a\naws_secret_access_key = b\n";

    fn read(text: &str) -> Result<String, String> {
        sections(text).map(|it| written(&it, EnvConfigFileKind::Config))
    }

    /// Each was given to awscli 1.46.3, which read a profile of this Region from it.
    #[test]
    fn accepted_files() {
        let plain = format!("[profile p]\nregion = eu-west-1\n{KEYS}");
        for text in [
            plain.clone(),
            format!("[profile p] # comment\n region = eu-west-1\n {}", KEYS.replace('\n', "\n ")),
            format!("[profile p]\n\tregion = eu-west-1\n\t{}", KEYS.replace('\n', "\n\t")),
            format!("  [profile p]\nregion = eu-west-1\n{KEYS}"),
            plain.replace('\n', "\r\n"),
            plain.replace('\n', "\r"),
            plain.replace(" =", ":"),
            format!("[profile p]\n  # comment\nregion = eu-west-1\n  ; more\n{KEYS}"),
            plain.replace("profile p", "profile \"p\""),
            plain.replace("profile p]", "profile   'p' ] x"),
            plain.replace("region", "REGION"),
            format!("[nothing \"q]\nregion = eu-west-2\n{plain}"),
        ] {
            assert_eq!(read(&text).as_ref(), Ok(&plain), "{text}");
        }
        let nested = "[profile p]\ns3 = \n    max_concurrent_requests = 20\nregion = eu-west-1\n";
        assert_eq!(read(nested).as_deref(), Ok(nested));
    }

    /// Each was given to awscli 1.46.3, which did not find the profile `p` in it.
    #[test]
    fn ignored_sections() {
        for header in
            ["p", " profile   p ", "profile p] ", "profile p#1] [x", "profile \"p", "profilep"]
        {
            let text = read(&format!("[{header}]\nregion = eu-west-1\n")).expect("sections");
            assert!(!text.contains("[profile p]"), "{header}: {text}");
        }
    }

    /// Each was given to awscli 1.46.3, which ended with `ConfigParseError`.
    #[test]
    fn refused_files() {
        for (text, reason) in [
            (
                "\u{feff}[profile p]\n",
                "it begins with a byte order mark: save it as UTF-8 without one",
            ),
            ("[profile p]\nregion eu-west-1\n", "line 2 is neither a section nor a setting"),
            ("[profile q\nregion = x\n", "line 1 stands before the first section"),
            ("hello\n[profile p]\n", "line 1 stands before the first section"),
            ("[profile p]\n= x\n", "line 2 is neither a section nor a setting"),
            ("[profile p]\n\n[profile p]\n", "line 3: the section `profile p` is there twice"),
            (
                "[profile p]\na = 1\nA = 2\n",
                "line 3: the setting `a` is there twice in its section",
            ),
            (
                "[profile p]\ns3 =\n  what\n",
                "`what` is not a setting, though it is indented like one",
            ),
        ] {
            assert_eq!(read(text), Err(reason.into()), "{text:?}");
        }
    }
}
