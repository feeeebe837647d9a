//! What the documents show is what the program takes.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;
use session_reaper::policy::{Policy, schema};

fn text(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect(path)
}

/// The YAML blocks of a document that are policies, or parts of one.
fn policies(path: &str) -> Vec<String> {
    let document = text(path).replace("<!-- cases -->\n```yaml", "");
    let blocks: Vec<_> = document.split("```yaml\n").skip(1).map(str::to_owned).collect();
    let block = |it: &String| it.split("```").next().unwrap_or_default().to_owned();
    blocks.iter().map(block).collect()
}

#[test]
fn every_policy_in_the_documents_is_valid() {
    for (path, n) in [("README.md", 1), ("docs/policy.md", 5)] {
        let policies = policies(path);
        assert_eq!(policies.len(), n, "{path}");
        for policy in policies {
            let whole = if policy.contains("version: 1") {
                policy
            } else {
                format!("version: 1\ntag_keys: [env, team]\n{policy}")
            };
            Policy::parse(&whole).unwrap_or_else(|err| panic!("{path}: {err}\n{whole}"));
        }
    }
}

#[test]
fn the_reference_has_every_key_and_shows_it() {
    fn keys(schema: &Value, found: &mut BTreeSet<String>) {
        match schema {
            Value::Object(map) => {
                let properties = map.get("properties").and_then(Value::as_object);
                found.extend(properties.into_iter().flat_map(|it| it.keys().cloned()));
                map.values().for_each(|it| keys(it, found));
            }
            Value::Array(items) => items.iter().for_each(|it| keys(it, found)),
            Value::Bool(_) | Value::Null | Value::Number(_) | Value::String(_) => {}
        }
    }
    let mut found = BTreeSet::new();
    keys(&schema(), &mut found);
    assert!(25 < found.len(), "{found:?}");
    let (reference, examples) = (text("docs/policy.md"), policies("docs/policy.md").concat());
    for key in found {
        assert!(reference.contains(&format!("`{key}`")), "{key} is not explained");
        assert!(
            examples.contains(&format!("{key}: ")) || examples.contains(&format!("{key}:\n")),
            "{key} is not shown"
        );
    }
}
