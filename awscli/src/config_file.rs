//! The shared configuration files, read as botocore reads them: with Python's `configparser`.
//!
//! The SDK's own reader refuses files that the AWS CLI takes (settings that are indented below their
//! section, `key: value`) and takes some that the AWS CLI refuses. So each file is read here, and
//! written anew for the SDK.

use std::{collections::HashSet, fmt::Write, fs, io::ErrorKind, path::Path};

use aws_runtime::env_config::file::EnvConfigFileKind;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// The sections of one file.
#[derive(Debug, Default)]
pub(crate) struct ConfigFile {
    sections: Vec<Section>,
}

impl ConfigFile {
    /// Reads a file (empty if there is none), or says why it cannot be used.
    pub(crate) fn read(path: &Path, kind: EnvConfigFileKind) -> Result<Self, String> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(err) if matches!(err.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(Self::default());
            }
            Err(_) if !path.is_file() => return Ok(Self::default()), // So does botocore: a device, a folder.
            Err(err) => return Err(err.to_string()),
        };
        let text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
        Ok(Self { sections: named(sections(&text)?, kind) })
    }

    /// The file in the SDK's form.
    pub(crate) fn text(&self) -> String {
        written(&self.sections)
    }

    /// Whether a section has this header in the SDK's form, such as `services s`.
    pub(crate) fn has_section(&self, header: &str) -> bool {
        self.sections.iter().any(|it| it.header == header)
    }

    /// Whether the section of a profile has this setting.
    pub(crate) fn has(&self, header: &str, setting: &str) -> bool {
        let mut sections = self.sections.iter().filter(|it| it.header == header);
        sections.any(|it| it.has(setting))
    }
}

/// What the SDK accepts in names, but for the sign that starts an escape.
const ESCAPED: AsciiSet = NON_ALPHANUMERIC
    .remove(b'_')
    .remove(b'-')
    .remove(b'/')
    .remove(b'.')
    .remove(b'@')
    .remove(b':')
    .remove(b'+');

/// What stands for a profile or a list of services in the SDK's form, which has fewer characters for names
/// than `aws configure` takes: others are escaped as in URLs.
pub(crate) fn encoded(name: &str) -> String {
    utf8_percent_encode(name, &ESCAPED).to_string()
}

/// The name that `encoded` was given.
pub(crate) fn decoded(name: &str) -> String {
    percent_decode_str(name).decode_utf8_lossy().into_owned()
}

/// The text between the brackets, and the settings.
#[derive(Debug)]
struct Section {
    header: String,
    settings: Vec<Setting>,
}

/// A name in lower case, and the lines of its value.
#[derive(Debug)]
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

impl Section {
    fn has(&self, setting: &str) -> bool {
        self.settings.iter().any(|it| it.name == setting)
    }
}

impl Setting {
    /// Whether its value is a list of settings.
    fn is_nested(&self) -> bool {
        1 < self.lines.len() && self.lines.first().is_some_and(String::is_empty)
    }
}

/// The sections that botocore uses, with the names by which the SDK knows them.
fn named(sections: Vec<Section>, kind: EnvConfigFileKind) -> Vec<Section> {
    let header = |it: &str| match kind {
        EnvConfigFileKind::Config => config_header(it),
        EnvConfigFileKind::Credentials => Some(encoded(it)),
    };
    let named = |it: Section| Some(Section { header: header(&it.header)?, ..it });
    sections.into_iter().filter_map(named).collect()
}

/// The sections as botocore reads them, so that the SDK reads the same.
fn written(sections: &[Section]) -> String {
    let mut text = String::new();
    for section in sections {
        let _ = writeln!(text, "[{}]", section.header);
        // To botocore, a secret alone is nothing; the SDK would join it to a key of the other file.
        let is_secret_alone =
            |name: &str| name == "aws_secret_access_key" && !section.has("aws_access_key_id");
        for Setting { name, lines } in &section.settings {
            if !is_identifier(name) || is_secret_alone(name) {
                continue;
            }
            let value = match name.as_str() {
                "source_profile" | "services" => encoded(&lines.join("\n")),
                _ => lines.join("\n    "),
            };
            let _ = writeln!(text, "{name} = {value}");
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
    // Only quotes make one word of several, and botocore ignores what has other quotes or backslashes.
    let is_word = |it: &str| !it.contains(['"', '\'', '\\']);
    if !is_word(unquoted.unwrap_or(name))
        || unquoted.is_none() && name.contains(char::is_whitespace)
    {
        return None;
    }
    let name = unquoted.unwrap_or(name);
    // The cache of logins is found by the name of the session, so that it cannot have another.
    let name = if kind == "sso-session" { name.to_owned() } else { encoded(name) };
    (first == kind && is_identifier(&name)).then(|| format!("{kind} {name}"))
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
        sections(text).map(|it| written(&named(it, EnvConfigFileKind::Config)))
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

    /// Names that the SDK does not take are found all the same.
    #[test]
    fn encoded_names() {
        for name in ["my profile", "ü 100%", "a.b@c:d+e/f_g-h", "%20"] {
            assert!(is_identifier(&encoded(name)), "{name}");
            assert_eq!(decoded(&encoded(name)), name);
        }
        let text = "[profile 'my profile']\nsource_profile = the other\n[profile \"quo ted\"]\n";
        let written = "[profile my%20profile]\nsource_profile = the%20other\n[profile quo%20ted]\n";
        assert_eq!(read(text).as_deref(), Ok(written));
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
