//! The operator's command line. It uses the same library and the same sweep as the function.

mod account_regions;
mod aws;
mod backtest;
mod case;
mod check;
mod clock;
mod confirm;
mod debug;
mod demo;
mod emulate;
mod exit;
mod explain;
mod file;
mod http;
mod interrupt;
mod lines;
mod lock;
mod look;
mod plan;
mod policy_at;
mod progress;
mod rows;
mod schema;
mod stdio;
mod sweep;
mod test;
mod verify_evidence;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use reaper_core::printable::{printable, printable_json, printable_lines};

use crate::{exit::INVALID, file::Invalid, stdio::eprintln};

/// Keeps AWS Session Manager sessions within policy.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Backtest(backtest::Args),
    Check(check::Args),
    /// Print the completions for a shell.
    ///
    /// Such as `reapctl completions bash > ~/.local/share/bash-completion/completions/reapctl`.
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    Demo(demo::Args),
    Emulate(emulate::Args),
    Explain(explain::Args),
    Lock(lock::Args),
    /// Write the manual pages into a folder.
    Man {
        /// The folder, such as ~/.local/share/man/man1
        folder: PathBuf,
    },
    Plan(plan::Args),
    /// Print the JSON Schema of policies, for editors.
    Schema,
    Sweep(sweep::Args),
    Test(test::Args),
    VerifyEvidence(verify_evidence::Args),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let words = std::env::args_os().skip(1).map(|it| it.to_string_lossy().into_owned());
    if let Some(code) = awscli::run(&words.collect::<Vec<_>>(), &AWSCLI_HOST).await {
        return code;
    }
    let cli = Cli::from_arg_matches(&command().get_matches()).unwrap_or_else(|err| err.exit());
    let result = match cli.command {
        Command::Backtest(args) => backtest::run(&args).await,
        Command::Check(args) => check::run(&args),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut command(), "reapctl", &mut anstream::stdout());
            Ok(ExitCode::SUCCESS)
        }
        Command::Demo(args) => demo::run(&args).await.map(|()| ExitCode::SUCCESS),
        Command::Emulate(args) => emulate::run(args).await.map(|()| ExitCode::SUCCESS),
        Command::Explain(args) => Box::pin(explain::run(&args)).await.map(|()| ExitCode::SUCCESS),
        Command::Lock(args) => lock::run(&args).await,
        Command::Man { folder } => man(&folder).map(|()| ExitCode::SUCCESS),
        Command::Plan(args) => plan::run(&args).await,
        Command::Schema => schema::run().map(|()| ExitCode::SUCCESS),
        Command::Sweep(args) => Box::pin(sweep::run(&args)).await,
        Command::Test(args) => test::run(&args),
        Command::VerifyEvidence(args) => Box::pin(verify_evidence::run(&args)).await,
    };
    match result {
        Ok(code) => match stdio::failure() {
            None => code,
            Some(err) => {
                eprintln!("error: cannot write to standard output: {err}");
                ExitCode::FAILURE
            }
        },
        Err(err) => {
            let text = format!("{err:#}"); // With its sources.
            if err.is::<Invalid>() {
                eprintln!("error: {}", printable_lines(&text));
                return ExitCode::from(INVALID);
            }
            eprintln!("error: {}", printable(&text));
            ExitCode::FAILURE
        }
    }
}

/// Every command, including those that parse their arguments as the AWS CLI does.
fn command() -> clap::Command {
    awscli::commands().fold(Cli::command(), clap::Command::subcommand)
}

fn man(folder: &Path) -> anyhow::Result<()> {
    let name = folder.display();
    fs::create_dir_all(folder).with_context(|| format!("cannot make the folder `{name}`"))?;
    let written = clap_mangen::generate_to(command(), folder);
    written.with_context(|| format!("cannot write into `{name}`"))
}

/// What the AWS CLI's commands use of this program.
const AWSCLI_HOST: awscli::Host =
    awscli::Host { http_client: http::client, printable, printable_json };
