//! The operator's command line: the same library, the same sweep.

mod check;
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
    Check(check::Args),
    /// Sweep a sample fleet on the emulator: no AWS account, no setup.
    Demo,
    Emulate(emulate::Args),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Check(args) => check::run(&args),
        Command::Demo => demo::run().await.map(|()| ExitCode::SUCCESS),
        Command::Emulate(args) => emulate::run(args).await.map(|()| ExitCode::SUCCESS),
    };
    match result {
        Ok(code) => code,
        Err(err) => {
            anstream::eprintln!("error: {err:#}"); // One line, with its causes.
            ExitCode::FAILURE
        }
    }
}
