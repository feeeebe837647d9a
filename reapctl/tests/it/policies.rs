//! What `check` and `test` say of policies.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tokio::process::Command;

use crate::{Output, check_golden, reapctl, write};

/// `check` shows every error in its line.
#[tokio::test]
async fn check_errors() {
    let policy = write(
        "policy.yaml",
        "version: 1\ntag_keys: [env]\nrules:\n  - id: a\n    when: { target_tag: { env: prod } }\n    \
         require: { max_age: 8 hours, owner: [alice] }\nlimits: { circuit_breaker: 150% }\n",
    );
    let Output { status, stdout, stderr } = reapctl(&["check", &policy], &[]).await;
    assert_eq!((status, stderr.as_str()), (Some(2), ""));
    check_golden("check.txt", &stdout.replace(&policy, "policy.yaml"));

    let output = reapctl(&["check", &policy, "--output", "json"], &[]).await;
    assert_eq!(output.status, Some(2));
    let json: serde_json::Value = serde_json::from_str(&output.stdout).expect("JSON");
    let places: Vec<_> = json["errors"].as_array().expect("a list").iter().collect();
    assert_eq!(places.len(), 4);
    assert_eq!((&places[0]["line"], &places[0]["column"]), (&5.into(), &13.into()));
}

/// `check` shows where YAML is invalid, and warns of probable mistakes.
#[tokio::test]
async fn check_yaml_and_warnings() {
    let broken = write("broken.yaml", "version: 1\nrules: [\n");
    let output = reapctl(&["check", &broken], &[]).await;
    assert!(output.stdout.contains("2 | rules: ["), "{}", output.stdout);

    let empty = write("empty.yaml", "version: 1\n");
    let output = reapctl(&["check", &empty], &[]).await;
    assert_eq!(output.status, Some(0));
    assert!(output.stdout.starts_with("warning: the policy has no rules"), "{}", output.stdout);
    assert!(output.stdout.ends_with("empty.yaml is valid\n"), "{}", output.stdout);
}

/// Each section is a policy, after `=== NAME`, and what `reapctl check` says of it.
#[tokio::test]
async fn diagnostics() {
    let expected = include_str!("diagnostics.txt");
    let mut actual = String::new();
    for section in expected.split("=== ").skip(1) {
        let (name, rest) = section.split_once('\n').expect("a name");
        let (policy, _) = rest.split_once("--- reapctl check\n").expect("a policy");
        let path = write("diagnostic.yaml", policy);
        let output = reapctl(&["check", &path], &[]).await;
        assert_eq!((output.status, output.stderr.as_str()), (Some(2), ""), "{name}");
        let stdout = output.stdout.replace(&path, "policy.yaml");
        actual.extend(["=== ", name, "\n", policy, "--- reapctl check\n", &stdout]);
    }
    check_golden("diagnostics.txt", &actual);
}

/// Of the example policies, and of the corpus: `NAME.policy.yaml` with `NAME.cases.yaml`.
#[tokio::test]
async fn shipped_policies() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let yaml = |folder: &Path| -> Vec<PathBuf> {
        let files = fs::read_dir(folder).expect("a folder").map(|it| it.expect("a file").path());
        files.filter(|it| it.extension().is_some_and(|it| it == "yaml")).collect()
    };
    let examples = root.join("../policies");
    let mut pairs: Vec<_> = yaml(&examples)
        .into_iter()
        .map(|it| (it.clone(), examples.join("cases").join(it.file_name().expect("a name"))))
        .collect();
    assert_eq!(pairs.len(), yaml(&examples.join("cases")).len(), "cases for each policy");
    for policy in yaml(&root.join("tests/corpus")) {
        let name = policy.to_str().expect("UTF-8");
        if let Some(stem) = name.strip_suffix(".policy.yaml") {
            pairs.push((policy.clone(), format!("{stem}.cases.yaml").into()));
        }
    }
    assert!(10 <= pairs.len(), "{pairs:?}");
    for (policy, cases) in pairs {
        let [policy, cases] = [&policy, &cases].map(|it| it.to_str().expect("UTF-8"));
        let output = reapctl(&["test", policy, cases], &[]).await;
        assert_eq!(output.status, Some(0), "{}{}", output.stdout, output.stderr);
        let first = fs::read_to_string(policy).expect("text");
        let is_example = !policy.ends_with(".policy.yaml");
        let schema = "# yaml-language-server: $schema=policy.schema.json\n";
        assert_eq!(first.starts_with(schema), is_example, "{policy}");
    }
}

/// The cases in the reference pass.
#[tokio::test]
async fn cases_of_the_reference() {
    let reference = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/policy.md");
    let reference = fs::read_to_string(reference).expect("text");
    let (_, rest) = reference.split_once("<!-- cases -->\n```yaml\n").expect("cases");
    let cases = write("reference.cases.yaml", rest.split("```").next().expect("an end"));
    let policy = concat!(env!("CARGO_MANIFEST_DIR"), "/../policies/starter.yaml");
    let output = reapctl(&["test", policy, &cases], &[]).await;
    assert_eq!(output.status, Some(0), "{}{}", output.stdout, output.stderr);
}

/// The output says why a case fails.
#[tokio::test]
async fn failed_case() {
    let policy = concat!(env!("CARGO_MANIFEST_DIR"), "/../policies/starter.yaml");
    let cases = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/unmet.yaml");
    let junit = concat!(env!("CARGO_TARGET_TMPDIR"), "/junit.xml");
    let output = reapctl(&["test", policy, cases, "--junit", junit], &[]).await;
    assert_eq!((output.status, output.stderr.as_str()), (Some(1), ""));
    let stdout = output.stdout.replace(concat!(env!("CARGO_MANIFEST_DIR"), "/"), "");
    check_golden("unmet.txt", &stdout);
    let xml = fs::read_to_string(junit).expect("a report");
    assert!(xml.contains(r#"tests="5" skipped="0" errors="0" failures="4""#), "{xml}");
    assert!(xml.contains(r#"<failure message="expected compliant, but it is"#), "{xml}");
}

/// Standard input may be a policy.
#[tokio::test]
async fn policy_from_standard_input() {
    let piped = async |arguments: &[&str], text: &str| {
        let input = write(&format!("input-{}.txt", arguments[0]), text);
        let output = Command::new(env!("CARGO_BIN_EXE_reapctl"))
            .args(arguments)
            .stdin(fs::File::open(input).expect("a file"))
            .output();
        let output = output.await.expect("it starts");
        (output.status.code(), String::from_utf8(output.stdout).expect("UTF-8"))
    };
    let (status, stdout) = piped(&["check", "-", "--output", "json"], "version: 1\n").await;
    let json: serde_json::Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!((status, &json["policy"]), (Some(0), &"<standard input>".into()));
    let warning = json["warnings"][0].as_str().expect("text");
    assert!(warning.starts_with("the policy has no rules"), "{warning}");

    let cases = "now: 2026-03-02T12:00:00Z\n\
                 sessions: [{ owner: user/a, age: 1h, verdict: compliant }]\n";
    let cases = write("input.cases.yaml", cases);
    let (status, stdout) = piped(&["test", "-", &cases], "version: 1\n").await;
    assert_eq!(status, Some(0));
    assert_eq!(stdout, "<standard input>: 1 case, 1 met, 0 failed\n");
}

/// The committed schema is the one that `schema` prints.
#[tokio::test]
async fn committed_schema() {
    let output = reapctl(&["schema"], &[]).await;
    assert_eq!(output.status, Some(0));
    let committed = concat!(env!("CARGO_MANIFEST_DIR"), "/../policies/policy.schema.json");
    let committed = fs::read_to_string(committed).expect("text");
    assert_eq!(output.stdout, committed, "cargo reapctl schema > policies/policy.schema.json");
}
