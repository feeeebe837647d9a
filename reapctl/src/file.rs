//! The files that commands read, and what is wrong with them.

use std::{fmt, fs, io::Read, ops::Range};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use anyhow::Context;
use session_reaper::policy::{Policy, PolicyError};

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
        if path == "-" {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
            return Ok(Self { name: "<standard input>".into(), text });
        }
        let text = fs::read_to_string(path).with_context(|| format!("cannot read `{path}`"))?;
        Ok(Self { name: path.into(), text })
    }

    /// The policy that it holds. Errors are shown on standard error, each in its line.
    pub(crate) fn policy(&self) -> anyhow::Result<Policy> {
        let parsed = Policy::parse(&self.text);
        Ok(parsed.map_err(|errors| {
            for error in &errors.0 {
                anstream::eprint!("{}", self.render(error));
            }
            Invalid(format!("{} is not a valid policy", self.name))
        })?)
    }

    /// The error, the line that it is about, and its place underlined.
    pub(crate) fn render(&self, error: &PolicyError) -> String {
        let title = Level::ERROR.primary_title(&error.message);
        let group = match error.span.clone().or_else(|| line(&self.text, error.line)) {
            Some(span) => {
                let place = AnnotationKind::Primary.span(span);
                let source = Snippet::source(&self.text).path(&self.name);
                title.element(source.annotation(place))
            }
            None => Group::with_title(title),
        };
        format!("{}\n\n", Renderer::styled().render(&[group]))
    }
}

/// The bytes of a line, by its number from 1.
fn line(text: &str, number: u64) -> Option<Range<usize>> {
    let index = usize::try_from(number).ok()?.checked_sub(1)?;
    let start = text.split_inclusive('\n').take(index).map(str::len).sum::<usize>();
    Some(start..start + text.lines().nth(index)?.len())
}
