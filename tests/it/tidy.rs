//! What a text search can check of the invariants in `lib.rs`.

use std::{fs, path::Path};

const PURE: [&str; 17] = [
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
    "event.rs",
    "printable.rs",
];

fn text(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect(path)
}

#[test]
fn all_of_the_pure_core_is_mutated() {
    let config = text(".cargo/mutants.toml");
    for file in PURE {
        assert!(config.contains(&format!("    \"src/{file}\",\n")), "{file}");
    }
}

#[test]
fn the_pure_core_knows_no_async_clock_environment_sdk_or_logging() {
    for file in PURE {
        let text = text(&format!("src/{file}"));
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
