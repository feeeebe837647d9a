//! The corpus: policies and what they must say, as data. A new case needs no Rust.

use std::{collections::BTreeMap, fs, path::Path};

use jiff::{Span, SpanRelativeTo, Timestamp};
use serde::{Deserialize, de::DeserializeOwned};
use session_reaper::{
    pattern::OwnerPattern,
    policy::Policy,
    session::Session,
    target::{Tags, Unknown},
    verdict::judge,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Verdicts {
    /// The policy itself, or else `policy_file`.
    policy: Option<String>,
    policy_file: Option<String>,
    now: Timestamp,
    sessions: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// In short form, as `reapctl demo` shows it.
    owner: String,
    #[serde(default)]
    target: String,
    age: Span,
    /// `none`: the record has none.
    #[serde(default = "connected")]
    status: String,
    #[serde(default = "shell")]
    document: String,
    reason: Option<String>,
    #[serde(default = "standard")]
    access_type: String,
    /// Absent: not known.
    tags: Option<BTreeMap<String, String>>,
    verdict: String,
    #[serde(default)]
    rules: Vec<String>,
    /// What an undetermined verdict depends on; tags if absent.
    unknown: Option<String>,
}

fn connected() -> String {
    "Connected".into()
}

fn shell() -> String {
    "SSM-SessionManagerRunShell".into()
}

fn standard() -> String {
    "Standard".into()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Invalid {
    policy: String,
    errors: Vec<String>,
}

#[test]
fn verdicts_are_those_of_the_corpus() {
    for (file, Verdicts { policy, policy_file, now, sessions }) in read::<Verdicts>("verdicts") {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let from_file = policy_file.map(|it| fs::read_to_string(root.join(it)).expect("a policy"));
        let text = policy.or(from_file).expect("a policy, or its file");
        let policy = Policy::parse(&text).unwrap_or_else(|err| panic!("{file}: {err}"));
        for case in sessions {
            let age = case.age.to_duration(SpanRelativeTo::days_are_24_hours()).expect("an age");
            let session = Session {
                id: "x-1".into(),
                owner: arn(&case.owner),
                target: case.target.clone(),
                started_at: now - age,
                status: Some(case.status.clone()).filter(|it| it != "none"),
                document: case.document.clone(),
                reason: case.reason.clone(),
                access_type: case.access_type.clone(),
            };
            let tags =
                case.tags.clone().map_or(Tags::Unknown(Unknown::TagsNotReturned), Tags::Known);
            let actual = judge(&policy, now, &session, &tags);
            let what = format!("{file}: {} for {:#}, tags {:?}", case.owner, case.age, case.tags);
            assert_eq!(actual.name(), case.verdict, "{what}");
            if let Some(unknown) = actual.unknown() {
                let expected = case.unknown.as_deref().unwrap_or("tags_not_returned");
                assert_eq!(serde_json::json!(unknown), expected, "{what}");
            }
            assert_eq!(
                actual.rules().iter().map(|it| &**it).collect::<Vec<_>>(),
                case.rules,
                "{what}"
            );
        }
    }
}

#[test]
fn invalid_policies_are_refused_with_every_error() {
    for (file, Invalid { policy, errors }) in read::<Invalid>("invalid") {
        let actual = Policy::parse(&policy).map(drop).expect_err(&file);
        let actual: Vec<_> = actual.0.iter().map(ToString::to_string).collect();
        assert_eq!(actual, errors, "{file}");
    }
}

/// The ARN of an owner given in short form.
fn arn(short: &str) -> String {
    let _: OwnerPattern = short.parse().expect(short);
    let (kind, name) = short.split_once('/').unwrap_or((short, ""));
    match (kind, name.split_once('/')) {
        ("role", Some(_)) => format!("arn:aws:sts::123456789012:assumed-role/{name}"),
        ("permission-set", Some((name, user))) => format!(
            "arn:aws:sts::123456789012:assumed-role/AWSReservedSSO_{name}_2b03e7d876722882/{user}"
        ),
        ("user", _) => format!("arn:aws:iam::123456789012:user/{name}"),
        ("root", _) => "arn:aws:iam::123456789012:root".into(),
        _ => panic!("`{short}` is not the short form of one owner"),
    }
}

fn read<T: DeserializeOwned>(folder: &str) -> Vec<(String, T)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(folder);
    let files = fs::read_dir(folder).expect("the corpus").map(|it| it.expect("a file").path());
    let parse = |path: std::path::PathBuf| {
        let name = path.display().to_string();
        let text = fs::read_to_string(&path).expect("text");
        let case = serde_saphyr::from_str(&text).unwrap_or_else(|err| panic!("{name}: {err}"));
        (name, case)
    };
    let all: Vec<_> = files.map(parse).collect();
    assert!(!all.is_empty(), "the corpus is empty");
    all
}
