//! The files that commands read, and their errors.

use std::{fmt, fs, io::Read};

use anyhow::{Context, bail};
use reaper_core::{
    policy::{Policy, PolicyError},
    printable::printable,
};
use reaper_render::diagnostic::render;

use crate::stdio::eprint;

/// A text, and the name of its source.
pub(crate) struct File {
    pub(crate) name: String,
    pub(crate) text: String,
}

/// An input or the command line is not valid: the exit status is 2.
#[derive(Debug)]
pub(crate) struct Invalid(pub(crate) String);

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Invalid {}

impl File {
    /// Reads a file, or standard input if the path is `-`.
    pub(crate) fn read(path: &str) -> anyhow::Result<Self> {
        let (name, bytes) = if path == "-" {
            let mut bytes = Vec::new();
            std::io::stdin().read_to_end(&mut bytes).context("cannot read standard input")?;
            ("<standard input>".into(), bytes)
        } else {
            let bytes = fs::read(path).with_context(|| format!("cannot read `{path}`"))?;
            (printable(path), bytes)
        };
        let text = String::from_utf8(bytes);
        let text = text.map_err(|_| Invalid(format!("cannot use `{name}`: it is not UTF-8")))?;
        Ok(Self { name, text })
    }

    /// Fails if both are standard input, which can be read only once.
    pub(crate) fn not_both_from_stdin(first: &str, second: Option<&str>) -> anyhow::Result<()> {
        if first == "-" && second == Some("-") {
            bail!(Invalid("only one of the files can be standard input".into()));
        }
        Ok(())
    }

    /// That its content is not valid.
    pub(crate) fn invalid(&self, why: &dyn fmt::Display) -> Invalid {
        Invalid(format!("cannot use `{}`: {why}", self.name))
    }

    /// Parses the policy. Shows its errors on standard error.
    pub(crate) fn policy(&self) -> anyhow::Result<Policy> {
        let parsed = Policy::parse(&self.text);
        Ok(parsed.map_err(|errors| {
            for error in &errors.0 {
                eprint!("{}", self.render(error));
            }
            Invalid(format!("{} is not a valid policy", self.name))
        })?)
    }

    /// The error with the line in which it is.
    pub(crate) fn render(&self, error: &PolicyError) -> String {
        render(&self.name, &self.text, error)
    }
}
