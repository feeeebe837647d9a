//! `reapctl terminate-session`: as `aws ssm terminate-session`.

use crate::{
    model::{Shape, Structure, TEXT},
    operation::Operation,
    options::{CLI_INPUT_JSON, GENERATE_CLI_SKELETON, one},
};

/// The operation, as in botocore's model.
pub(crate) static TERMINATE_SESSION: Operation = Operation {
    name: "TerminateSession",
    command: "terminate-session",
    about: "Terminate one session, as `aws ssm terminate-session` does",
    examples: "Examples:\n  reapctl terminate-session --session-id jane-0a1b2c3d4e5f60718",
    options: &[
        one("--session-id", "The session").required(),
        CLI_INPUT_JSON,
        GENERATE_CLI_SKELETON,
    ],
    parameters: &[("--session-id", "SessionId")],
    input: Structure {
        members: &[("SessionId", Shape::Text { min: 1, choices: &[] })],
        required: &["SessionId"],
    },
    output: Structure { members: &[("SessionId", TEXT)], required: &[] },
    result_key: None,
};
