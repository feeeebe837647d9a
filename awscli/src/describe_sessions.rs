//! `reapctl describe-sessions`: as `aws ssm describe-sessions`.

use crate::{
    arguments::Takes,
    model::{Shape, Structure, TEXT},
    operation::Operation,
    options::{CLI_INPUT_JSON, GENERATE_CLI_SKELETON, one},
};

/// The operation, as in botocore's model and paginator.
pub(crate) static DESCRIBE_SESSIONS: Operation = Operation {
    name: "DescribeSessions",
    command: "describe-sessions",
    about: "List sessions, as `aws ssm describe-sessions` does",
    examples: "Examples:\n  reapctl describe-sessions --state Active --output table\n  \
               reapctl describe-sessions --state History --filters key=Owner,value=ARN --max-items 20\n  \
               reapctl describe-sessions --state Active --query 'Sessions[].SessionId' --output text",
    options: &[
        one("--state", "Active or History").required(),
        one("--max-results", "Rows on the one page that is asked for"),
        one("--next-token", "AWS's own token of a page"),
        one("--filters", "key=KEY,value=VALUE, or JSON, or file://PATH").taking(Takes::Many),
        CLI_INPUT_JSON,
        one("--starting-token", "Where an earlier command with --max-items stopped"),
        one("--page-size", "Rows on each page that is asked for").taking(Takes::Number),
        one("--max-items", "Rows in all").taking(Takes::Number),
        GENERATE_CLI_SKELETON,
    ],
    parameters: &[
        ("--state", "State"),
        ("--max-results", "MaxResults"),
        ("--next-token", "NextToken"),
        ("--filters", "Filters"),
    ],
    input: Structure {
        members: &[
            ("State", Shape::Text { min: 0, choices: &["Active", "History"] }),
            ("MaxResults", Shape::Integer { min: 1 }),
            ("NextToken", TEXT),
            ("Filters", Shape::List { member: &FILTER, min: 1 }),
        ],
        required: &["State"],
    },
    output: Structure {
        members: &[("Sessions", Shape::List { member: &SESSION, min: 0 }), ("NextToken", TEXT)],
        required: &[],
    },
    result_key: Some("Sessions"),
};

const KEYS: &[&str] =
    &["InvokedAfter", "InvokedBefore", "Target", "Owner", "Status", "SessionId", "AccessType"];

static FILTER: Shape = Shape::Structure(Structure {
    members: &[
        ("key", Shape::Text { min: 0, choices: KEYS }),
        ("value", Shape::Text { min: 1, choices: &[] }),
    ],
    required: &["key", "value"],
});

static SESSION: Shape = Shape::Structure(Structure {
    members: &[
        ("SessionId", TEXT),
        ("Target", TEXT),
        ("Status", TEXT),
        ("StartDate", Shape::Timestamp),
        ("EndDate", Shape::Timestamp),
        ("DocumentName", TEXT),
        ("Owner", TEXT),
        ("Reason", TEXT),
        ("Details", TEXT),
        (
            "OutputUrl",
            Shape::Structure(Structure {
                members: &[("S3OutputUrl", TEXT), ("CloudWatchOutputUrl", TEXT)],
                required: &[],
            }),
        ),
        ("MaxSessionDuration", TEXT),
        ("AccessType", TEXT),
    ],
    required: &[],
});
