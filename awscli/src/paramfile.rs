//! Values in files: `file://path`.

use std::{fs, io};

use crate::{environment::expand, value::quoted};

/// The text of the file, if the value names one.
///
/// Unlike the AWS CLI 1.x, this fetches no `http://` or `https://` address.
pub(crate) fn load(value: &str) -> Result<Option<String>, String> {
    let Some(path) = value.strip_prefix("file://").or_else(|| value.strip_prefix("fileb://"))
    else {
        return Ok(None);
    };
    let full = expand(path);
    let name = full.display().to_string();
    match fs::read(&full) {
        Ok(bytes) => match String::from_utf8(bytes) {
            Ok(text) => Ok(Some(text.replace("\r\n", "\n").replace('\r', "\n"))),
            Err(_) => Err(format!(
                "Unable to load paramfile ({name}), text contents could not be decoded.  If this \
                 is a binary file, please use the fileb:// prefix instead of the file:// prefix."
            )),
        },
        Err(err) => Err(format!("Unable to load paramfile {value}: {}", errno(&err, &name))),
    }
}

/// An error of the operating system, as Python shows it.
fn errno(err: &io::Error, path: &str) -> String {
    let text = err.to_string();
    let text = text.split_once(" (os error").map_or(text.as_str(), |(text, _)| text);
    let code = err.raw_os_error().unwrap_or_default();
    format!("[Errno {code}] {text}: {}", quoted(path))
}
