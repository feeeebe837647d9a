//! Help, and the options as `clap` knows them, for its help, completions and manual pages.

use clap::{Arg, ArgAction, Command, builder::PossibleValuesParser};

use crate::{
    arguments::{Spec, Takes},
    operation::Operation,
    options::global_options,
    version::Version,
};

/// The command, so that `reapctl --help` and completions show it. Its arguments are parsed by
/// `arguments`, like `argparse`.
pub(crate) fn command(operation: &'static Operation) -> Command {
    let own = operation.options.iter().map(argument);
    let global = global_options(Version::Two)
        .iter()
        .map(|it| argument(it).help_heading("Options of every command"));
    Command::new(operation.command)
        .about(operation.about)
        .after_help(operation.examples)
        .disable_version_flag(true)
        .args(own)
        .args(global)
        .arg(
            Arg::new("cli-version")
                .long("cli-version")
                .help(
                    "The version of the AWS CLI whose dates, formats and exit statuses these are \
                     [default: 1, or REAPCTL_CLI_VERSION]",
                )
                .value_name("VERSION")
                .value_parser(PossibleValuesParser::new(["1", "2"]))
                .help_heading("Options of every command"),
        )
}

fn argument(spec: &Spec) -> Arg {
    let long = spec.name.trim_start_matches('-');
    let argument = Arg::new(long).long(long).help(spec.help).required(spec.is_required);
    let argument = match spec.takes {
        Takes::Nothing => return argument.action(ArgAction::SetTrue),
        Takes::One | Takes::Number => argument.num_args(1),
        Takes::Optional(_) => argument.num_args(0..=1),
        Takes::Many => argument.num_args(0..),
    };
    let argument =
        argument.value_name(if spec.takes == Takes::Number { "NUMBER" } else { "VALUE" });
    if spec.choices.is_empty() {
        return argument;
    }
    argument.value_parser(PossibleValuesParser::new(spec.choices.iter().copied()))
}

/// The long help.
pub(crate) fn text(operation: &'static Operation) -> String {
    let mut command = command(operation).bin_name(format!("reapctl {}", operation.command));
    command.render_long_help().to_string()
}

/// The usage, which is printed above errors of the command line.
pub(crate) fn usage(operation: &Operation) -> String {
    let command = operation.command;
    format!(
        "usage: reapctl {command} [options]\nTo see help text, you can run:\n\n  \
         reapctl {command} --help\n"
    )
}
