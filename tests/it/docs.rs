//! What the documents show is what the program takes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use reaper_core::policy::{Policy, schema::schema};
use serde_json::Value;
use session_manager_emulator::{AccountFleet, FaultKind, Fleet, OrganizationFleet, RegionFleet};

use crate::wire::variants;

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

/// Every policy in the documents is valid.
#[test]
fn policies_are_valid() {
    for (path, n) in [("README.md", 1), ("docs/policy.md", 7)] {
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

/// The reference has every key of the schema, and an example of it.
#[test]
fn every_key_has_an_example() {
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

/// The names of the tests in every source file, by the file's name without `.rs`, or by its folder's
/// where the file is a `main.rs`.
fn tests() -> BTreeMap<String, BTreeSet<String>> {
    fn visit(folder: &Path, found: &mut BTreeMap<String, BTreeSet<String>>) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                visit(&path, found);
            } else if path.extension().is_some_and(|it| it == "rs") {
                let stem = path.file_stem().and_then(|it| it.to_str()).expect("UTF-8");
                let name = match stem {
                    "main" if path.ends_with("reapctl/tests/it/main.rs") => "reapctl",
                    "main" => folder.file_name().and_then(|it| it.to_str()).expect("UTF-8"),
                    stem => stem,
                };
                let text = fs::read_to_string(&path).expect("text");
                let tests = text.split("test]\n").skip(1).chain(text.split("test(").skip(1));
                let named = tests.filter_map(|it| {
                    let (_, rest) = it.split_once("fn ")?;
                    Some(rest.split_once('(')?.0.to_owned())
                });
                found.entry(name.into()).or_default().extend(named);
            }
        }
    }
    let mut found = BTreeMap::new();
    for folder in ["core", "oracle/tests", "src", "tests", "reapctl/tests"] {
        visit(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut found);
    }
    found
}

/// Every test that `docs/reliability.md` names exists.
#[test]
fn named_tests_exist() {
    let tests = tests();
    let document = text("docs/reliability.md");
    let named: Vec<_> = document
        .split('`')
        .skip(1)
        .step_by(2)
        .filter_map(|it| it.split_once("::"))
        .filter(|(module, _)| *module != "module")
        .collect();
    assert!(40 < named.len(), "{}", named.len());
    for (module, test) in named {
        assert!(tests.get(module).is_some_and(|it| it.contains(test)), "{module}::{test}");
    }
    for row in document.lines().skip_while(|it| !it.starts_with("| guarantee")).skip(2) {
        if row.is_empty() {
            break;
        }
        assert!(row.contains("::"), "no test: {row}");
    }
}

/// The tables of faults have every fault of the emulator.
#[test]
fn every_fault_is_listed() {
    let document = text("docs/reliability.md");
    for fault in variants::<FaultKind>() {
        assert!(document.contains(&format!("`{fault}`")), "{fault}");
    }
}

/// The keys of a mapping.
fn fields<T: serde::de::DeserializeOwned>() -> BTreeSet<String> {
    let Err(err) = serde_json::from_str::<T>(r#"{"?":0}"#) else { panic!("`?` is a key") };
    let fields: BTreeSet<_> =
        err.to_string().split('`').skip(3).step_by(2).map(Into::into).collect();
    assert!(5 < fields.len(), "{err}");
    fields
}

/// The emulator's guide: its fleet and its organization are valid, and its tables have every fault
/// and every key of an organization. So is the sample organization.
#[test]
fn emulator() {
    let path = "docs/emulator.md";
    let fleets = policies(path);
    let [fleet, organization] = fleets.as_slice() else { panic!("{path}: {}", fleets.len()) };
    Fleet::parse(fleet).unwrap_or_else(|err| panic!("{path}: {err}"));
    for (path, text) in [
        (path, organization.clone()),
        ("reapctl/demo/organization.yaml", text("reapctl/demo/organization.yaml")),
    ] {
        OrganizationFleet::parse(&text).unwrap_or_else(|err| panic!("{path}: {err}"));
    }
    let document = text(path);
    let (_, organizations) = document.split_once("## Organizations").expect("a section");
    let keys = [fields::<OrganizationFleet>(), fields::<AccountFleet>(), fields::<RegionFleet>()];
    for key in keys.into_iter().flatten() {
        assert!(organizations.contains(&format!("`{key}`")), "{key}");
    }
    let (_, faults) = document.split_once("## Faults").expect("a section");
    for fault in variants::<FaultKind>() {
        let is_named =
            [format!("`{fault}`"), format!("{{ {fault}: ")].iter().any(|it| faults.contains(it));
        assert!(is_named, "{fault}");
    }
}

/// A link inside the repository leads to a file, and to a heading of it.
#[test]
fn links() {
    fn pages(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                pages(&path, found);
            } else if path.extension().is_some_and(|it| it == "md") {
                found.push(path);
            }
        }
    }
    /// As GitHub makes a fragment of a heading.
    fn fragment(heading: &str) -> String {
        let kept = |it: &char| it.is_alphanumeric() || "-_ ".contains(*it);
        heading
            .to_lowercase()
            .chars()
            .filter(kept)
            .map(|it| if it == ' ' { '-' } else { it })
            .collect()
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut documents: Vec<_> = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"]
        .map(|it| root.join(it))
        .into();
    pages(&root.join("docs"), &mut documents);
    let mut n_links = 0;
    for page in documents {
        let text = fs::read_to_string(&page).expect("text");
        for link in text.split("](").skip(1).filter_map(|it| it.split(')').next()) {
            if link.contains("://") {
                continue;
            }
            let (path, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { page.clone() } else { page.with_file_name(path) };
            assert!(target.exists(), "{}: {link}", page.display());
            let has_heading = |text: &str| {
                let lines = text.lines().filter(|it| it.starts_with('#'));
                let mut headings =
                    lines.filter_map(|it| it.trim_start_matches('#').strip_prefix(' '));
                headings.any(|it| fragment(it) == heading)
            };
            assert!(
                heading.is_empty() || fs::read_to_string(&target).is_ok_and(|it| has_heading(&it)),
                "{}: {link}",
                page.display(),
            );
            n_links += 1;
        }
    }
    assert!(40 < n_links, "{n_links}");
}

/// The remediations that the documents quote are those that the code prints.
#[test]
fn quoted_remediations() {
    let (document, code) = (text("docs/reliability.md"), text("src/aws/advice.rs"));
    let (_, section) = document.split_once("### Errors say what to do").expect("it");
    let code = code.split_whitespace().collect::<Vec<_>>().join(" ").replace("\\ ", "");
    let (section, _) = section.split_once("## Size").expect("it");
    let rows = section.lines().filter(|it| it.starts_with("| "));
    let said = rows.filter_map(|it| it.split('`').nth(1)).collect::<Vec<_>>();
    assert_eq!(said.len(), 10);
    for text in said {
        assert!(code.contains(text), "{text}");
    }
}
