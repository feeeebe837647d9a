//! `reapctl check`: whether a policy is valid, and what is probably not meant.

use std::{fs, io::Read, ops::Range, process::ExitCode};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use anstream::{print, println};
use anyhow::Context;
use jiff::Timestamp;
use serde_json::json;
use session_reaper::policy::{Policy, PolicyError};

/// The exit status for a policy that is not valid, as for wrong use.
const INVALID: u8 = 2;

/// Check a policy: every error with its place, and warnings of what is probably not meant.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The policy's file; `-` for standard input
    policy: String,
    /// How to print the result
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Output {
    /// For machines
    Json,
    /// For people
    Text,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (name, text) = if args.policy == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
        ("<standard input>", text)
    } else {
        let name = args.policy.as_str();
        (name, fs::read_to_string(name).with_context(|| format!("cannot read `{name}`"))?)
    };
    #[expect(clippy::disallowed_methods, reason = "the clock is read once a command, here")]
    let now = Timestamp::now();
    let (warnings, errors) = match Policy::parse(&text) {
        Ok(policy) => (policy.warnings(now), Vec::new()),
        Err(errors) => (Vec::new(), errors.0),
    };
    match args.output {
        Output::Json => {
            let errors: Vec<_> = errors
                .iter()
                .map(|it| json!({"line": it.line, "column": it.column, "message": it.message}))
                .collect();
            println!("{}", json!({"policy": name, "errors": errors, "warnings": warnings}));
        }
        Output::Text => {
            for error in &errors {
                print!("{}", render(name, &text, error));
            }
            for warning in &warnings {
                println!("warning: {warning}");
            }
            match errors.len() {
                0 => println!("{name} is valid"),
                1 => println!("{name} is not valid: 1 error"),
                n => println!("{name} is not valid: {n} errors"),
            }
        }
    }
    Ok(if errors.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(INVALID) })
}

/// The error, the line that it is about, and its place underlined.
fn render(name: &str, text: &str, error: &PolicyError) -> String {
    let title = Level::ERROR.primary_title(&error.message);
    let group = match error.span.clone().or_else(|| line(text, error.line)) {
        Some(span) => {
            let place = AnnotationKind::Primary.span(span);
            title.element(Snippet::source(text).path(name).annotation(place))
        }
        None => Group::with_title(title),
    };
    format!("{}\n\n", Renderer::styled().render(&[group]))
}

/// The bytes of a line, by its number from 1.
fn line(text: &str, number: u64) -> Option<Range<usize>> {
    let index = usize::try_from(number).ok()?.checked_sub(1)?;
    let start = text.split_inclusive('\n').take(index).map(str::len).sum::<usize>();
    Some(start..start + text.lines().nth(index)?.len())
}
