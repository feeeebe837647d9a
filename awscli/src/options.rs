//! The options that all commands of the AWS CLI share.

use crate::{
    arguments::{Spec, Takes},
    version::Version,
};

macro_rules! global {
    ($formats:expr, $($other:expr),+) => {
        &[
            flag("--debug", "Accepted, and without effect"),
            one("--endpoint-url", "Another endpoint than AWS's, such as that of `reapctl emulate`"),
            flag("--no-verify-ssl", "For endpoints of http:// only; use --ca-bundle for others"),
            flag("--no-paginate", "Make one call, for the first page"),
            choice("--output", $formats, "How the answer is written [default: json]; yaml: of version 2"),
            one("--query", "A JMESPath expression that picks from the answer"),
            one("--profile", "The profile of the shared configuration files"),
            one("--region", "The Region"),
            flag("--version", "Print the version"),
            choice("--color", &["on", "off", "auto"], "Colours of tables [default: auto]"),
            flag("--no-sign-request", "Do not sign requests"),
            one("--ca-bundle", "The certificates that are trusted, in PEM"),
            one("--cli-read-timeout", "Seconds to wait for an answer; 0 for no limit [default: 60]"),
            one("--cli-connect-timeout", "Seconds to wait for a connection; 0 for no limit [default: 60]"),
            $($other),+
        ]
    };
}

/// Options that may come before or after the command's own.
pub(crate) const fn global_options(version: Version) -> &'static [Spec] {
    const OF_1: &[Spec] =
        global!(&["json", "text", "table"], flag("--v2-debug", "Accepted, and without effect"));
    const OF_2: &[Spec] = global!(
        &["json", "text", "table", "yaml", "yaml-stream"],
        choice(
            "--cli-binary-format",
            &["base64", "raw-in-base64-out"],
            "Accepted, and without effect"
        ),
        flag("--no-cli-pager", "Accepted: there is no pager"),
        flag("--no-cli-auto-prompt", "Accepted: there is no prompt")
    );
    match version {
        Version::One => OF_1,
        Version::Two => OF_2,
    }
}

/// The option that reads parameters from JSON.
pub(crate) const CLI_INPUT_JSON: Spec =
    one("--cli-input-json", "Parameters as JSON, or file://PATH; other options come first");

/// The option that prints a sample.
pub(crate) const GENERATE_CLI_SKELETON: Spec = Spec {
    name: "--generate-cli-skeleton",
    takes: Takes::Optional("input"),
    choices: &["input", "output"],
    is_required: false,
    help: "Print a sample of the request or of the answer, and send nothing",
};

/// An option without a value.
pub(crate) const fn flag(name: &'static str, help: &'static str) -> Spec {
    Spec { name, takes: Takes::Nothing, choices: &[], is_required: false, help }
}

/// An option with a value.
pub(crate) const fn one(name: &'static str, help: &'static str) -> Spec {
    Spec { name, takes: Takes::One, choices: &[], is_required: false, help }
}

/// An option with one of these values.
const fn choice(name: &'static str, choices: &'static [&'static str], help: &'static str) -> Spec {
    Spec { name, takes: Takes::One, choices, is_required: false, help }
}

impl Spec {
    /// The same, but required.
    pub(crate) const fn required(self) -> Self {
        Self { is_required: true, ..self }
    }

    /// The same, with other values.
    pub(crate) const fn taking(self, takes: Takes) -> Self {
        Self { takes, ..self }
    }
}
