//! The operator's command line: the same library, the same sweep.

mod aws;
mod backtest;
mod case;
mod check;
mod demo;
mod emulate;
mod explain;
mod file;
mod html;
mod lines;
mod lock;
mod plan;
mod progress;
mod schema;
mod stdio;
mod sweep;
mod table;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use jiff::Timestamp;

use crate::{
    file::Invalid,
    stdio::eprintln,
    table::{printable, printable_lines},
};

/// The exit status for a policy or another input that is not valid, as for wrong use.
const INVALID: u8 = 2;

/// The exit status if a session violates the policy, and lives, or may do so.
const VIOLATED: u8 = 3;

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
    /// Sweep a sample fleet on the emulator: no AWS account, no setup.
    Demo,
    Emulate(emulate::Args),
    Explain(explain::Args),
    Lock(lock::Args),
    Plan(plan::Args),
    /// Print the JSON Schema of policies, for editors.
    Schema,
    Sweep(sweep::Args),
    Test(test::Args),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Backtest(args) => backtest::run(&args).await,
        Command::Check(args) => check::run(&args),
        Command::Demo => demo::run().await.map(|()| ExitCode::SUCCESS),
        Command::Emulate(args) => emulate::run(args).await.map(|()| ExitCode::SUCCESS),
        Command::Explain(args) => explain::run(&args).await.map(|()| ExitCode::SUCCESS),
        Command::Lock(args) => lock::run(&args).await,
        Command::Plan(args) => plan::run(&args).await,
        Command::Schema => schema::run().map(|()| ExitCode::SUCCESS),
        Command::Sweep(args) => sweep::run(&args).await,
        Command::Test(args) => test::run(&args),
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
            eprintln!("error: {}", printable_lines(&format!("{err:#}"))); // With its causes.
            if err.is::<Invalid>() { ExitCode::from(INVALID) } else { ExitCode::FAILURE }
        }
    }
}

/// Tells of what is not as it should be, though the command goes on.
fn warn(warnings: &[String]) {
    for warning in warnings {
        eprintln!("warning: {}", printable(warning));
    }
}

/// The clock: read once a command.
#[expect(clippy::disallowed_methods, reason = "the one place of the command line that reads it")]
fn now() -> Timestamp {
    Timestamp::now()
}
