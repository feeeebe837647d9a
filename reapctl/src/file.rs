//! The files that commands read, and what is wrong with them.

use std::{fmt, fs, io::Read, ops::Range};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use anyhow::{Context, bail};
use session_reaper::policy::{Policy, PolicyError};

use crate::{
    stdio::eprint,
    table::{is_unsafe, printable, printable_lines},
};

/// A text, and where it is from.
pub(crate) struct File {
    pub(crate) name: String,
    pub(crate) text: String,
}

/// What was given is not valid: the exit status is that of wrong use.
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
            bail!(Invalid("standard input can only be one of them".into()));
        }
        Ok(())
    }

    /// The policy that it holds. Errors are shown on standard error, each in its line.
    pub(crate) fn policy(&self) -> anyhow::Result<Policy> {
        let parsed = Policy::parse(&self.text);
        Ok(parsed.map_err(|errors| {
            for error in &errors.0 {
                eprint!("{}", self.render(error));
            }
            Invalid(format!("{} is not a valid policy", self.name))
        })?)
    }

    /// The error, the line that it is about, and its place underlined.
    pub(crate) fn render(&self, error: &PolicyError) -> String {
        let message = printable_lines(&error.message);
        let title = Level::ERROR.primary_title(&message);
        let text = shown(&self.text);
        let group = match error.span.clone().or_else(|| line(&self.text, error.line)) {
            Some(span) => {
                let place = AnnotationKind::Primary.span(span);
                let source = Snippet::source(&text).path(&self.name);
                title.element(source.annotation(place))
            }
            None => Group::with_title(title),
        };
        format!("{}\n\n", Renderer::styled().render(&[group]))
    }
}

/// The text with what a terminal would obey replaced, each character by another of its length, for
/// errors tell places in bytes. The renderer sees to those of one byte.
fn shown(text: &str) -> String {
    let replace = |it: char| match it.len_utf8() {
        2 if is_unsafe(it) => '¤',
        3 if is_unsafe(it) => char::REPLACEMENT_CHARACTER,
        _ => it,
    };
    text.chars().map(replace).collect()
}

/// The bytes of a line, by its number from 1.
fn line(text: &str, number: u64) -> Option<Range<usize>> {
    let index = usize::try_from(number).ok()?.checked_sub(1)?;
    let start = text.split_inclusive('\n').take(index).map(str::len).sum::<usize>();
    Some(start..start + text.lines().nth(index)?.len())
}
