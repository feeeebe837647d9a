//! Two commands of the AWS CLI, byte for byte: options, output, errors, exit statuses.
//!
//! The references are awscli 1.46.3 and, with `--cli-version 2`, Debian 12's 2.9.19;
//! `tests/smoke/side_by_side.py` runs both beside reapctl. `docs/aws-cli.md` lists the differences and their
//! reasons. `execute` runs a command line: `arguments` and `parameters` parse it, `client` and `paginate`
//! make the calls, `jmespath` selects from the answer, and `json`, `table`, `text` and `yaml` write it.

mod arguments;
mod client;
mod config_file;
mod credentials;
mod describe_sessions;
mod error;
mod environment;
mod execute;
mod help;
mod host;
mod jmespath;
mod json;
mod model;
mod operation;
mod options;
mod output;
mod paginate;
mod parameters;
mod paramfile;
mod shorthand;
mod table;
mod terminate_session;
mod text;
mod value;
mod version;
mod yaml;

use std::process::ExitCode;

pub use crate::{
    credentials::of_profile,
    environment::{Login, Problem, Settings},
    host::Host,
};
use crate::{
    describe_sessions::DESCRIBE_SESSIONS, operation::Operation,
    terminate_session::TERMINATE_SESSION,
};

static OPERATIONS: [&Operation; 2] = [&DESCRIBE_SESSIONS, &TERMINATE_SESSION];

/// The commands for `clap`: for help, completions and manual pages, not for parsing.
pub fn commands() -> impl Iterator<Item = clap::Command> {
    OPERATIONS.into_iter().map(help::command)
}

/// Runs the command that the first argument names; `None` for any other command.
pub async fn run(words: &[String], host: &Host) -> Option<ExitCode> {
    let (operation, words) = named(words)?;
    Some(execute::run(operation, &words, host).await)
}

/// The same without environment, configuration and call, with this text as AWS's answer: what would be
/// printed. All that the commands parse passes here, for fuzzing: words, parameters in JSON and shorthand
/// (files that they name are read), the query, the answer.
///
/// # Errors
/// What standard error would be told.
#[must_use]
pub fn answered(words: &[String], answer: &str, host: &Host) -> Option<Result<String, String>> {
    let (operation, words) = named(words)?;
    Some(execute::answered(operation, &words, answer, host))
}

/// The operation, and the words without its name, which may stand after `--`.
fn named(words: &[String]) -> Option<(&'static Operation, Vec<String>)> {
    let place = usize::from(words.first()? == "--");
    let mut words = words.to_vec();
    let name = (place < words.len()).then(|| words.remove(place))?;
    Some((OPERATIONS.into_iter().find(|it| it.command == name)?, words))
}
