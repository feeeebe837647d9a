//! What a text search can check of the invariants in `lib.rs`.

use std::{fs, path::Path};

const PURE: [&str; 16] = [
    "session.rs",
    "target.rs",
    "pattern.rs",
    "truth.rs",
    "policy.rs",
    "policy/file.rs",
    "policy/hours.rs",
    "policy/lint.rs",
    "policy/schema.rs",
    "policy/yaml.rs",
    "completions.rs",
    "verdict.rs",
    "plan.rs",
    "report.rs",
    "metrics.rs",
    "printable.rs",
];

#[test]
fn the_pure_core_knows_no_async_clock_environment_sdk_or_logging() {
    for file in PURE {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(file);
        let text = fs::read_to_string(path).expect(file);
        for word in [
            "async ",
            "tokio",
            "aws_",
            "tracing",
            "std::env",
            "Instant",
            "::now()",
            "lambda_runtime",
        ] {
            assert!(!text.contains(word), "{file} has `{word}`");
        }
    }
}
