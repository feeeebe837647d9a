//! The evaluator against Cedar, as part of `cargo test`: runs the tests of `oracle/`, which is a
//! workspace of its own (its manifest says why).
//!
//! Apart from the other tests, for it may have to build Cedar first, and they have deadlines.

use std::{path::Path, process::Command};

#[test]
fn verdicts_are_those_of_an_independent_oracle() {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../oracle");
    let output = Command::new(env!("CARGO"))
        .args(["test", "--locked", "--manifest-path"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("oracle/Cargo.toml"))
        .arg("--target-dir")
        .arg(target)
        .args(["--", "--nocapture"])
        .output()
        .expect("cargo");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stderr), text(&output.stdout));
}
