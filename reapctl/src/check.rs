//! `reapctl check`: whether a policy is valid, and probable mistakes.

use std::process::ExitCode;

use reaper_core::{
    policy::Policy,
    printable::{printable, printable_json},
};
use serde_json::json;

use crate::{
    clock::now,
    exit::INVALID,
    file::File,
    stdio::{Output, print, println},
};

/// Check a policy: shows every error with its place, and warns of probable mistakes.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  reapctl check policy.yaml\n  aws ssm get-parameter --name NAME --query Parameter.Value --output text | reapctl check -"
)]
pub(crate) struct Args {
    /// The policy's file; `-` for standard input
    policy: String,
    /// How to print the result
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let file = File::read(&args.policy)?;
    let name = &file.name;
    let (warnings, errors) = match Policy::parse(&file.text) {
        Ok(policy) => (policy.warnings(now()), Vec::new()),
        Err(errors) => (Vec::new(), errors.0),
    };
    match args.output {
        Output::Json => {
            let errors: Vec<_> = errors
                .iter()
                .map(|it| json!({"line": it.line, "column": it.column, "message": it.message}))
                .collect();
            let result = json!({"policy": name, "errors": errors, "warnings": warnings});
            println!("{}", printable_json(result.to_string()));
        }
        Output::Text => {
            for error in &errors {
                print!("{}", file.render(error));
            }
            for warning in &warnings {
                println!("warning: {}", printable(warning));
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
