//! The role of `template.yaml`: the actions that it allows, and those that the calls of a test needed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::LazyLock,
};

use reaper_core::report::Mode;
use serde::{Deserialize, de::IgnoredAny};
use session_manager_emulator::Emulator;

/// YAML as it stands: `!If [C, a, b]` is the mapping `{If: [C, a, b]}`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Node {
    List(Vec<Node>),
    Mapping(BTreeMap<String, Node>),
    Text(String),
    Other(IgnoredAny), // Numbers and the like.
}

impl Node {
    fn at(&self, key: &str) -> &Self {
        match self {
            Self::Mapping(fields) => fields.get(key).unwrap_or_else(|| panic!("no `{key}`")),
            Self::List(_) | Self::Other(_) | Self::Text(_) => {
                panic!("`{key}` of what is no mapping")
            }
        }
    }

    fn items(&self) -> &[Self] {
        match self {
            Self::List(items) => items,
            Self::Mapping(_) | Self::Other(_) | Self::Text(_) => std::slice::from_ref(self),
        }
    }

    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::List(_) | Self::Mapping(_) | Self::Other(_) => None,
        }
    }
}

/// The actions of Systems Manager, tagging, EventBridge and S3 that the template's role has in this mode, if
/// it may read documents, there is a bus, and it writes evidence.
///
/// Of the role's other actions, on logs, queues and keys, the emulator knows nothing: they must be
/// these. `tests/template` says when, and on what.
pub(crate) fn shipped(mode: Mode) -> &'static BTreeSet<String> {
    static MODES: LazyLock<[BTreeSet<String>; 2]> =
        LazyLock::new(|| [Mode::DryRun, Mode::Enforce].map(|mode| read(mode, &[])));
    match mode {
        Mode::DryRun => &MODES[0],
        Mode::Enforce => &MODES[1],
    }
}

/// The same, if these conditions of the template do not hold.
pub(crate) fn read(mode: Mode, without: &[&str]) -> BTreeSet<String> {
    let actions = actions("template.yaml", mode, without).into_iter();
    let is_emulated = |it: &String| {
        ["ssm:", "tag:", "events:", "s3:"].iter().any(|service| it.starts_with(service))
    };
    let (emulated, others): (BTreeSet<_>, BTreeSet<_>) = actions.partition(is_emulated);
    assert_eq!(others, OTHERS.map(str::to_owned).into(), "{mode:?}");
    emulated
}

/// The actions that the resource `Role` of a template has in this mode, if these conditions do not hold, and
/// all others do.
pub(crate) fn actions(template: &str, mode: Mode, without: &[&str]) -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(template);
    let text = fs::read_to_string(path).expect(template);
    let template: Node = serde_saphyr::from_str(&text).expect("YAML");
    let policies = template.at("Resources").at("Role").at("Properties").at("Policies");
    let statements = policies.items().iter().flat_map(|it| {
        let statements = it.at("PolicyDocument").at("Statement").items();
        statements.iter().map(|it| match it {
            Node::Mapping(fields) => fields.get("If").map_or(Some(it), |choice| {
                let parts = choice.items();
                let holds = match parts[0].text() {
                    Some("Enforces") => mode == Mode::Enforce,
                    Some(name) => !without.contains(&name),
                    None => true,
                };
                holds.then_some(&parts[1])
            }),
            Node::List(_) | Node::Other(_) | Node::Text(_) => panic!("a statement is a mapping"),
        })
    });
    let actions = statements.flatten().flat_map(|it| {
        assert_eq!(it.at("Effect").text(), Some("Allow"));
        it.at("Action").items()
    });
    actions.filter_map(|it| it.text()).map(str::to_owned).collect()
}

/// What the role may do besides: the keys of its policy and its evidence, its log, and its queue.
const OTHERS: [&str; 7] = [
    "kms:Decrypt",
    "kms:GenerateDataKey",
    "logs:CreateLogStream",
    "logs:PutLogEvents",
    "sqs:DeleteMessage",
    "sqs:GetQueueAttributes",
    "sqs:ReceiveMessage",
];

/// The actions that the calls so far needed.
pub(crate) fn needed(emulator: &Emulator) -> BTreeSet<String> {
    emulator.calls().iter().map(|it| action(&it.operation)).collect()
}

/// The action that allows an operation.
pub(crate) fn action(operation: &str) -> String {
    let service = match operation {
        "AssumeRole" => "sts",
        "GetObject" | "PutObject" => "s3",
        "GetResources" => "tag",
        "ListAccounts" => "organizations",
        "PutEvents" => "events",
        _ => "ssm",
    };
    format!("{service}:{operation}")
}

/// After every sweep of every test: nothing was called that the role may not do.
#[track_caller]
pub(crate) fn assert_allowed(mode: Mode, emulator: &Emulator) {
    let (needed, shipped) = (needed(emulator), shipped(mode));
    assert!(needed.is_subset(shipped), "{mode:?}: {needed:?}, and allowed is {shipped:?}");
}
