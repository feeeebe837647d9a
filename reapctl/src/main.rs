//! The operator's command line: the same library, the same sweep.

mod demo;
mod emulate;
mod table;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Keeps AWS Session Manager sessions within policy.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Sweep a sample fleet on the emulator: no AWS account, no setup.
    Demo,
    Emulate(emulate::Args),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Demo => demo::run().await,
        Command::Emulate(args) => emulate::run(args).await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            anstream::eprintln!("error: {err:#}"); // One line, with its causes.
            ExitCode::FAILURE
        }
    }
}
