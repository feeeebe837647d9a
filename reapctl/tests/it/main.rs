//! The command line, through the binary.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

mod terminating;
mod evidence;
mod hostile;
mod organization;
mod privilege;
mod saved;

mod aws;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use jiff::Timestamp;
use rexpect::{process::WaitStatus, session::spawn_command};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpListener,
    process::{Child, Command},
    time::timeout,
};

struct Output {
    status: Option<i32>,
    stdout: String,
    stderr: String,
}

async fn reapctl(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reapctl"));
    command.args(arguments).env_clear().envs(variables.iter().copied()).kill_on_drop(true);
    let output = timeout(Duration::from_mins(1), command.output()).await.expect("it ends");
    let output = output.expect("it starts");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Output {
        status: output.status.code(),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

/// The text with the one figure that differs from run to run replaced.
fn without_seconds(text: &str) -> String {
    let mask = |line: &str| match line.rsplit_once(" API calls, ") {
        Some((before, _)) => format!("{before} API calls, N s."),
        None => line.to_owned(),
    };
    text.lines().map(|line| mask(line) + "\n").collect()
}

/// Compares with a file beside this one; `UPDATE_GOLDEN=1` writes it instead.
#[track_caller]
fn check_golden(name: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, actual).expect("a file");
    }
    let expected = fs::read_to_string(&path).expect("text");
    for (i, (actual, expected)) in actual.lines().zip(expected.lines()).enumerate() {
        assert_eq!(actual, expected, "{name}, line {}", i + 1);
    }
    assert_eq!(actual.lines().count(), expected.lines().count(), "{name}");
}

/// The demo shows the fleet, the verdicts and the outcomes.
#[tokio::test]
async fn demo() {
    let Output { status, stdout, stderr } = reapctl(&["demo"], &[]).await;
    assert_eq!((status, stderr.as_str()), (Some(0), ""));
    check_golden("demo.txt", &without_seconds(&stdout));
}

/// Colour is used on terminals, or on request.
#[tokio::test]
async fn colour() {
    for (variables, is_coloured) in [
        (vec![], false),
        (vec![("CLICOLOR_FORCE", "1")], true),
        (vec![("NO_COLOR", "1"), ("TERM", "xterm-256color")], false),
    ] {
        let output = reapctl(&["demo"], &variables).await;
        assert_eq!(output.stdout.contains('\u{1b}'), is_coloured, "{variables:?}");
    }
}

/// A served emulator, until it is dropped, and its address.
async fn emulate(fleet: &str) -> (Child, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_reapctl"))
        .args(["emulate", "--port", "0", "--fleet", fleet])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let first = lines.next_line().await.expect("text").expect("a line");
    let (_, address) = first.split_once("http://").expect("an address");
    (child, address.split_once(". ").expect("a sentence").0.to_owned())
}

/// Most of the lines stand in `tests/smoke/command_lines.txt` too, where the AWS CLI says the same.
#[tokio::test]
async fn aws_cli_commands() {
    let smoke = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/smoke");
    let (_child, address) = emulate(&format!("{smoke}/fleets/mixed.yaml")).await;
    let url = format!("http://{address}");
    let variables = [
        ("AWS_ACCESS_KEY_ID", "emulator"),
        ("AWS_DEFAULT_REGION", "eu-central-1"),
        ("AWS_ENDPOINT_URL", url.as_str()),
        ("AWS_SECRET_ACCESS_KEY", "emulator"),
    ];
    let timmy = "key=Owner,value=arn:aws:iam::123456789012:user/timmy";
    let query = "Sessions[].{Id:SessionId,At:StartDate,\"The owner\":Owner}";
    let mut actual = String::new();
    for words in [
        vec!["--state", "Active", "--max-items", "2"],
        vec!["--state", "Active", "--max-items", "3", "--page-size", "2", "--output", "text"],
        vec!["--state", "History", "--output", "table"],
        vec!["--state", "Active", "--query", query, "--output", "table"],
        vec!["--state", "Active", "--filters", timmy, "--query", "Sessions[].SessionId"],
        vec!["--state", "Active", "--filters", "key=Owner,value=a,b"],
        vec!["--state", "Active", "--filters", "key=owner,value=x"],
        vec!["--state", "Active", "--query", "Sessions]"],
        vec!["--state", "active"],
        vec!["--bogus"],
        vec!["--generate-cli-skeleton"],
    ] {
        let all: Vec<_> = ["describe-sessions"].into_iter().chain(words.iter().copied()).collect();
        let Output { status, stdout, stderr } = reapctl(&all, &variables).await;
        let status = status.expect("a status").to_string();
        let words = words.join(" ");
        actual.extend(["=== ", &words, ": ", &status, "\n", &stdout, "--- stderr\n", &stderr]);
    }
    check_golden("describe_sessions.txt", &actual);

    let id = "timmy-0a1b2c3d4e5f60002";
    let ended = reapctl(&["terminate-session", "--session-id", id], &variables).await;
    assert_eq!(ended.stdout, format!("{{\n    \"SessionId\": \"{id}\"\n}}\n"));
    let listed = ["describe-sessions", "--state", "Active", "--output", "text"];
    assert!(!reapctl(&listed, &variables).await.stdout.contains(id));
}

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

/// `explain` shows the value that every condition saw, and which conditions decided.
#[tokio::test]
async fn explain_trace() {
    let sessions = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/sessions.json");
    let mut actual = String::new();
    for (policy, arguments) in [
        ("starter", vec!["nina-1", "--tag", "env=prod"]),
        ("starter", vec!["nina-1", "--no-tags"]),
        ("starter", vec!["jonas-1", "--tag", "reaper:exempt=true", "--tag", "env=dev"]),
        ("starter", vec!["jonas-1"]),
        ("zombies", vec!["zoe-1"]),
        ("contractors", vec!["lena-1", "--at", "2026-03-02T17:30:00Z"]),
        ("break-glass", vec!["dba-1"]),
        ("break-glass", vec!["dba-1", "--at", "2027-03-02T12:00:00Z"]),
        ("production", vec!["jonas-1", "--output", "json"]),
    ] {
        let path = format!("{}/../policies/{policy}.yaml", env!("CARGO_MANIFEST_DIR"));
        let mut all = vec!["explain", "--policy", &path, "--from", sessions];
        all.extend(&arguments);
        if !arguments.contains(&"--at") {
            all.extend(["--at", "2026-03-02T12:00:00Z"]);
        }
        let output = reapctl(&all, &[]).await;
        assert_eq!((output.status, output.stderr.as_str()), (Some(0), ""), "{arguments:?}");
        let stdout = output.stdout.replace(&path, policy);
        actual.extend(["=== ", policy, ": ", &arguments.join(" "), "\n", &stdout]);
    }
    check_golden("explain.txt", &actual);

    let policy = concat!(env!("CARGO_MANIFEST_DIR"), "/../policies/starter.yaml");
    for (id, message) in
        [("ownerless-1", "never terminated: no Owner"), ("x-1", "there is no such session in it")]
    {
        let output = reapctl(&["explain", "--policy", policy, "--from", sessions, id], &[]).await;
        assert_ne!(output.status, Some(0), "{id}");
        assert!(output.stderr.contains(message), "{id}: {}", output.stderr);
    }
}

/// `explain --from` reads sessions as AWS CLI 1 and 2, boto3 and `--query Sessions` write them: with
/// the same instant, however it is written. Those that have ended are neither explained nor counted.
#[tokio::test]
async fn explain_from_clients() {
    let path = |name: &str| format!("{}/clients-{name}", env!("CARGO_TARGET_TMPDIR"));
    let policy = &path("policy.yaml");
    let counted = "concurrent: { per: owner, at_most: 1, keep: newest }";
    let rules = [
        "{ id: hour, when: all, require: { max_age: 1h } }",
        &format!("{{ id: one, when: all, require: {{ {counted} }} }}"),
    ];
    fs::write(policy, format!("version: 1\nrules: [{}]\n", rules.join(", "))).expect("a file");
    let row = |id: &str, fields: &str| {
        let owner = "arn:aws:iam::123456789012:user/a";
        format!(r#"{{"SessionId":"{id}","Owner":"{owner}","Target":"i-1",{fields}}}"#)
    };
    let explain = async |text: &str, at: &str| {
        let file = &path("sessions.json");
        fs::write(file, text).expect("a file");
        let words = ["explain", "--policy", policy, "--from", file, "a-1", "--at", at];
        reapctl(&[&words[..], &["--output", "json"]].concat(), &[]).await
    };
    let at = "2019-02-20T16:22:18.352Z"; // An hour after the start, which is still compliant.
    let mut traces = Vec::new();
    for date in [
        "1550676138.352",
        r#""2019-02-20T15:22:18.352000+00:00""#,
        r#""2019-02-20T16:22:18.352000+01:00""#,
        r#""2019-02-20 15:22:18.352000+00:00""#,
    ] {
        let ended = r#""StartDate":"2019-02-20 15:30:00Z","EndDate":1550679000"#;
        let ended = row("b-1", ended);
        let text =
            format!("{{\"Sessions\":[{},{ended}]}}", row("a-1", &format!(r#""StartDate":{date}"#)));
        let output = explain(&text, at).await;
        assert_eq!((output.status, output.stderr.as_str()), (Some(0), ""), "{date}");
        traces.push(output.stdout);
    }
    traces.dedup();
    assert_eq!(traces.len(), 1, "{traces:?}");
    assert!(traces[0].contains(r#""verdict":"compliant""#), "{traces:?}");

    let array = format!("[{}]", row("a-1", r#""StartDate":1550676138.352"#));
    let output = explain(&array, at).await;
    assert_eq!(output.status, Some(0), "{}", output.stderr);
    assert!(output.stdout.contains("undetermined"), "{}", output.stdout); // There may be more.

    let dates = "sessions.json`: a date is neither seconds since 1970";
    for (fields, message) in [
        (r#""StartDate":0,"EndDate":"2019-02-20 16:22:18+00:00""#, "ended at 2019-02-20T16:22:18Z"),
        (r#""StartDate":"2019-02-20 15:22:18""#, dates), // Without an offset.
        (r#""StartDate":"yesterday""#, dates),
        (r#""StartDate":1e300"#, dates),
        (r#""StartDate":true"#, dates),
        ("\"StartDate\":\n\"\"", "at line 2 column"),
    ] {
        let output = explain(&row("a-1", fields), at).await;
        assert_eq!(output.status, Some(2), "{fields}");
        assert!(output.stderr.contains(message), "{fields}: {}", output.stderr);
    }
}

/// `explain` finds a session and its tags by its id.
#[tokio::test]
async fn explain_by_id() {
    let fleet = concat!(env!("CARGO_MANIFEST_DIR"), "/demo/fleet.yaml");
    let policy = concat!(env!("CARGO_MANIFEST_DIR"), "/../policies/starter.yaml");
    let (_child, address) = emulate(fleet).await;
    let variables = [("AWS_ACCESS_KEY_ID", "emulator"), ("AWS_SECRET_ACCESS_KEY", "emulator")];
    let url = format!("http://{address}");
    let explain = async |id: &str, arguments: &[&str]| {
        let mut all = vec!["explain", "--policy", policy, "--endpoint-url", &url];
        all.extend(["--region", "eu-central-1", id]);
        all.extend(arguments);
        reapctl(&all, &variables).await
    };
    for (id, arguments, part) in [
        ("nina-0a1b2c3d4e5f60009", vec![], "verdict: violation: production-one-hour\n"),
        ("nina-0a1b2c3d4e5f60009", vec!["--no-tags"], "verdict: compliant\ndue: "),
        ("jonas-0a1b2c3d4e5f60017", vec![], "verdict: exempt: tagged\n"),
        (
            "ravi@example.com-0m1r4t6y9w2zaq7d3n8hfx2k5v",
            vec![],
            "verdict: undetermined (tags_not_returned): no-older-than-12-hours, production-one-hour\n\
             AWS did not return the target's tags; tag it, or, if that means that it has none, \
             write `assume: { tags: none }`\n",
        ),
    ] {
        let output = explain(id, &arguments).await;
        assert_eq!((output.status, output.stderr.as_str()), (Some(0), ""), "{id}");
        let (_, verdict) = output.stdout.rsplit_once("\n\n").expect("a verdict");
        assert!(verdict.starts_with(part), "{}", output.stdout);
    }
    let no_tag_keys = &write("no-tag-keys.yaml", "version: 1\n");
    let id = "nina-0a1b2c3d4e5f60009";
    let all = ["explain", "--policy", no_tag_keys, "--endpoint-url", &url];
    let all = [&all[..], &["--region", "eu-central-1", id]].concat();
    let output = reapctl(&all, &variables).await;
    assert!(output.stdout.contains("tags: unknown (tags_not_looked_up)"), "{}", output.stdout);
    let output = explain("gone-1", &[]).await;
    assert_eq!(output.status, Some(1));
    assert_eq!(output.stderr, "error: no active session has the id `gone-1`\n");
}

/// What a command needs to reach an emulator.
fn variables(url: &str) -> [(&str, &str); 4] {
    [
        ("AWS_ACCESS_KEY_ID", "emulator"),
        ("AWS_SECRET_ACCESS_KEY", "emulator"),
        ("AWS_REGION", "eu-central-1"),
        ("AWS_ENDPOINT_URL", url),
    ]
}

/// The sample fleet, and what a command needs to reach it.
struct Account {
    _child: Child,
    url: String,
}

impl Account {
    async fn new() -> Self {
        Self::with(concat!(env!("CARGO_MANIFEST_DIR"), "/demo/fleet.yaml")).await
    }

    /// A fleet of a file.
    async fn with(fleet: &str) -> Self {
        let (child, address) = emulate(fleet).await;
        Self { _child: child, url: format!("http://{address}") }
    }

    fn variables(&self) -> [(&str, &str); 4] {
        variables(&self.url)
    }

    /// Faster than AWS allows.
    async fn reapctl(&self, arguments: &[&str]) -> Output {
        let pace = ["--calls-per-second", "100"];
        reapctl(&[arguments, &pace].concat(), &self.variables()).await
    }
}

const STARTER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../policies/starter.yaml");

/// In the shape of version 2 of the AWS CLI, dates are texts, and the exit status is that of the error's kind.
#[tokio::test]
async fn cli_version_2() {
    let account = Account::new().await;
    let listing = "describe-sessions --state Active";
    let with = async |line: &str, unset: &str| {
        let variables = account.variables().into_iter().filter(|(name, _)| *name != unset);
        let variables: Vec<_> = variables.chain([("REAPCTL_CLI_VERSION", "2")]).collect();
        reapctl(&line.split(' ').collect::<Vec<_>>(), &variables).await
    };
    let date = with(&format!("{listing} --query Sessions[0].StartDate"), "").await.stdout;
    let date: String = serde_json::from_str(&date).expect("a text");
    assert!(date.ends_with("+00:00") && date.parse::<Timestamp>().is_ok(), "{date}");
    let id =
        with(&format!("{listing} --query Sessions[0].SessionId --output text"), "").await.stdout;
    let id = id.trim_end();
    for (options, yaml) in [
        (
            "--output yaml --query Sessions[:1].{Id:SessionId,No:`\"no\"`}",
            format!("- Id: {id}\n  No: no\n"),
        ),
        (
            "--output yaml --query [Sessions[:1].SessionId][*].[@,@]",
            format!("- - &id001\n    - {id}\n  - *id001\n"),
        ),
        (
            "--output yaml-stream --page-size 1 --max-items 1 --query Sessions[].SessionId",
            format!("- - {id}\n"),
        ),
        ("--output yaml --no-cli-pager --query Sessions[0].SessionId", format!("\"{id}\"\n")),
    ] {
        let output = with(&format!("{listing} {options}"), "").await;
        assert_eq!((output.status, output.stdout), (Some(0), yaml), "{options}: {}", output.stderr);
    }
    let yaml = format!("{listing} --output yaml");
    let words: Vec<_> = yaml.split(' ').collect();
    assert_eq!(
        reapctl(&words, &account.variables()).await.status,
        Some(2),
        "no format of version 1"
    );
    for (one, two, line, message) in [
        (2, 252, "describe-sessions".to_owned(), "are required: --state"),
        (255, 252, format!("{listing} --bogus"), "Unknown options: --bogus"),
        (255, 252, format!("{listing} --filters key=Owner"), "Missing required parameter"),
        (255, 252, format!("{listing} --filters {{"), "Invalid JSON: Expecting"),
        (255, 252, format!("{listing} --query Sessions["), "Bad value for --query"),
        (255, 252, format!("{listing} --endpoint-url x"), "Bad value for --endpoint-url"),
        (255, 254, format!("{listing} --filters key=owner,value=x"), "InvalidFilterKey"),
        (255, 255, format!("{listing} --max-results x"), "invalid literal for int()"),
        (2, 2, format!("{listing} --cli-version 3"), "invalid choice: '3' (choose from 1, 2)"),
    ] {
        let output = with(&line, "").await;
        assert_eq!(output.status, Some(two), "{line}: {}", output.stderr);
        assert!(output.stderr.contains(message), "{line}: {}", output.stderr);
        let words: Vec<_> = line.split(' ').chain(["--cli-version=1"]).collect();
        let words =
            if line.contains("--cli-version 3") { &words[..words.len() - 1] } else { &words };
        assert_eq!(reapctl(words, &account.variables()).await.status, Some(one), "{line}");
    }
    let no_region = with(listing, "AWS_REGION").await;
    assert_eq!(no_region.status, Some(253), "{}", no_region.stderr);
    assert!(no_region.stderr.starts_with("\nYou must specify a region."), "{}", no_region.stderr);
    let no_paging = with(&format!("{listing} --no-paginate --max-items 1"), "").await;
    assert_eq!(no_paging.status, Some(252));
    assert!(no_paging.stderr.starts_with("\nCannot specify --no-paginate"), "{}", no_paging.stderr);
}

/// A plan shows the most important sessions first, and terminates no session.
#[tokio::test]
async fn plan() {
    let account = Account::new().await;
    let plan = ["plan", "--policy", STARTER];
    let Output { status, stdout, stderr } = account.reapctl(&plan).await;
    assert_eq!((status, stderr.as_str()), (Some(3), ""));
    let (table, counts) = stdout.split_once("\n\n").expect("a table, and the counts");
    assert_eq!(table.lines().count(), 1 + 22);
    assert!(
        counts.starts_with("22 seen, 8 compliant, 2 exempt, 8 in violation, 1 with a warning"),
        "{counts}"
    );
    for (i, part) in [
        (1, "amara"),
        (9, "tags_not_returned"),
        (12, "3 of 2 per owner"),
        (13, "tagged"),
        (22, "compliant"),
    ] {
        assert!(table.lines().nth(i).is_some_and(|it| it.contains(part)), "{i}: {table}");
    }

    for (arguments, ids) in [
        (vec!["--only", "undetermined,not_evaluated"], vec!["ravi@", "mei@", "unknown-"]),
        (vec!["--only", "violation", "--owner", "user/*"], vec!["amara-", "lena-"]),
        (vec!["--target", "mi-*", "--only", "violation"], vec!["olu-"]),
        (vec!["--rule", "tagged"], vec!["jonas-"]),
        (vec!["--rule", "nothing"], vec![]),
    ] {
        let all = [&plan[..], &arguments, &["--output", "ndjson"]].concat();
        let output = account.reapctl(&all).await;
        let parse = |it: &str| serde_json::from_str::<serde_json::Value>(it).expect("JSON");
        let rows: Vec<_> = output.stdout.lines().map(parse).collect();
        assert_eq!(rows.len(), ids.len(), "{arguments:?}");
        for (row, id) in rows.iter().zip(ids) {
            assert!(row["session_id"].as_str().is_some_and(|it| it.starts_with(id)), "{row}");
        }
    }

    let output = account.reapctl(&[&plan[..], &["--output", "json"]].concat()).await;
    let report: serde_json::Value = serde_json::from_str(&output.stdout).expect("JSON");
    assert_eq!((&report["mode"], &report["truncated"]), (&"dry-run".into(), &false.into()));
    assert_eq!(report["sessions"].as_array().map(Vec::len), Some(22));
    assert_eq!(report["sessions"][0]["tags"], serde_json::json!(["env=dev"]));

    let output = account.reapctl(&[&plan[..], &["--output", "csv"]].concat()).await;
    assert_eq!(output.stdout.lines().count(), 1 + 22);
    assert!(output.stdout.starts_with("verdict,age_s,owner,"), "{}", output.stdout);
}

/// A sweep is a dry run unless it has `--enforce` and is confirmed.
#[tokio::test]
async fn sweep_is_dry_by_default() {
    let account = Account::new().await;
    let sweep = ["sweep", "--policy", STARTER];
    let output = account.reapctl(&sweep).await;
    assert_eq!(output.status, Some(3), "{}", output.stderr);
    assert!(output.stdout.contains("8 would be terminated"), "{}", output.stdout);
    assert!(output.stdout.ends_with("Add `--enforce` to terminate violating sessions.\n"));

    let output = account.reapctl(&[&sweep[..], &["--enforce"]].concat()).await;
    assert_eq!((output.status, output.stdout.as_str()), (Some(2), ""));
    assert!(output.stderr.contains("add `--yes`"), "{}", output.stderr);

    let output = account.reapctl(&[&sweep[..], &["--enforce", "--yes"]].concat()).await;
    assert_eq!(output.status, Some(3), "one was denied, and some are undetermined");
    assert!(
        output.stdout.ends_with("6 terminated, 1 already gone, 1 denied.\n"),
        "{}",
        output.stdout
    );

    let output = account.reapctl(&sweep).await;
    assert!(output.stdout.contains("1 in violation"), "{}", output.stdout);
}

/// Runs a command on a terminal of its own, and types `keys` when `prompt` appears.
fn on_a_terminal(
    account: &Account,
    arguments: &str,
    prompt: &str,
    keys: &str,
) -> (String, WaitStatus) {
    at_the_prompt(&account.variables(), arguments, prompt, || {}, keys)
}

/// The same; before the keys are typed, something else happens.
fn at_the_prompt(
    variables: &[(&str, &str)],
    arguments: &str,
    prompt: &str,
    meanwhile: impl FnOnce(),
    keys: &str,
) -> (String, WaitStatus) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_reapctl"));
    command.args(arguments.split(' ')).envs(variables.iter().copied());
    command.env("TERM", "xterm-256color");
    let mut terminal = spawn_command(command, Some(30_000)).expect("a terminal");
    let before = terminal.exp_string(prompt).expect("the prompt");
    meanwhile();
    terminal.send(keys).expect("typing");
    terminal.flush().expect("typing");
    let after = terminal.exp_eof().expect("the end");
    let status = terminal.process().wait().expect("a status");
    (format!("{before}{prompt}{after}"), status)
}

#[track_caller]
fn assert_exited(status: WaitStatus, code: i32, screen: &str) {
    assert!(matches!(status, WaitStatus::Exited(_, it) if it == code), "{status:?}: {screen}");
}

/// On a terminal, a sweep shows its plan and asks for confirmation.
#[tokio::test]
async fn sweep_asks() {
    let account = Account::new().await;
    let sweep = format!("sweep --policy {STARTER} --enforce --calls-per-second 100");
    let question = "Terminate 8 sessions? [y/N]";
    let (screen, status) = on_a_terminal(&account, &sweep, question, "n\n");
    assert_exited(status, 1, &screen);
    assert!(
        screen.contains("amara-") && screen.contains("error: no session was terminated"),
        "{screen}"
    );

    let (screen, status) = on_a_terminal(&account, &sweep, question, "y\n");
    assert_exited(status, 3, &screen);
    assert!(screen.contains("6 terminated, 1 already gone, 1 denied"), "{screen}");
    assert!(screen.contains("listing: "), "progress: {screen}");
}

/// A narrow terminal has fewer columns, and the output names those that are left out.
#[tokio::test]
async fn narrow_terminal_table() {
    let account = Account::new().await;
    let plan = format!("{} plan --policy {STARTER}", env!("CARGO_BIN_EXE_reapctl"));
    for (width, left_out) in [
        (100, Some("TAGS, DOCUMENT, STATUS, SESSION would not fit")),
        (226, Some("\r\nDOCUMENT, STATUS would not fit")),
        (300, None),
    ] {
        let mut command = std::process::Command::new("sh");
        command.args(["-c", &format!("stty rows 50 cols {width} && exec {plan} 2>/dev/null")]);
        command.envs(account.variables()).env("NO_COLOR", "1");
        let mut terminal = spawn_command(command, Some(30_000)).expect("a terminal");
        let screen = terminal.exp_eof().expect("the end");
        assert_eq!(screen.contains("would not fit"), left_out.is_some(), "{screen}");
        assert!(left_out.is_none_or(|it| screen.contains(it)), "{screen}");
        let table = screen.lines().filter(|line| !line.contains(" seen, ")); // The counts may wrap.
        let widest = table.map(|line| line.trim_end().chars().count()).max();
        assert!(widest.is_some_and(|it| it <= width), "{widest:?}: {screen}");
        let (header, _) = screen.split_once('\n').expect("lines");
        assert_eq!(header.contains("SESSION"), 226 <= width, "{header}");
    }
}

/// Its narration stands between the lines of a table, which must not be broken.
#[tokio::test]
async fn narrow_terminal_explain() {
    let account = Account::new().await;
    let id = "ravi@example.com-0m1r4t6y9w2zaq7d3n8hfx2k5v";
    let words = ["explain", "--policy", STARTER, "--at", "2027-03-02T12:00:00Z", id];
    let piped = account.reapctl(&words).await.stdout;
    let explain = format!("{} {}", env!("CARGO_BIN_EXE_reapctl"), words.join(" "));
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &format!("stty rows 50 cols 60 && exec {explain}")]);
    command.envs(account.variables()).env("NO_COLOR", "1");
    let mut terminal = spawn_command(command, Some(30_000)).expect("a terminal");
    let screen = terminal.exp_eof().expect("the end");
    assert_eq!(screen.replace("\r\n", "\n"), piped);
}

/// After Ctrl-C no further termination starts, and those that started are reported.
#[tokio::test]
async fn ctrl_c_sweep() {
    let account = Account::new().await;
    let sweep = format!("sweep --policy {STARTER} --enforce --yes --calls-per-second 1");
    let prompt = "1 terminations accepted";
    let (screen, status) = on_a_terminal(&account, &sweep, prompt, "\x03");
    assert_exited(status, 1, &screen);
    assert!(screen.contains("interrupted: no further termination starts"), "{screen}");
    assert!(screen.contains("deferred (interrupted)"), "{screen}");
    let (_, counts) = screen.rsplit_once("error: interrupted: 22 seen").expect("the counts");
    assert!(counts.contains(" terminated") && counts.contains(" deferred"), "{counts}");
    let after = account.reapctl(&["plan", "--policy", STARTER, "--output", "json"]).await;
    let after: serde_json::Value = serde_json::from_str(&after.stdout).expect("JSON");
    let n_violations = after["verdicts"]["violation"].as_u64().expect("a number");
    assert!((5..8).contains(&n_violations), "most of them live: {n_violations}");
}

/// A lock terminates every session of an owner that is not exempt.
#[tokio::test]
async fn lock() {
    let account = Account::new().await;
    let log = write("lock.jsonl", "");
    let lock = ["lock", "role/developer/jonas", "--policy", STARTER];
    let output = account.reapctl(&lock).await;
    assert_eq!(output.status, Some(3), "{}", output.stderr);
    assert!(
        output.stdout.starts_with("5 sessions would be terminated: add `--enforce`."),
        "{}",
        output.stdout
    );
    let command =
        "aws iam put-role-policy --role-name='developer' --policy-name session-reaper-lock-";
    let names = |output: &Output| {
        let parts = output.stdout.split(command).skip(1);
        let names = parts.filter_map(|it| it.split_once(' ')).map(|(name, _)| name.to_owned());
        names.collect::<BTreeSet<_>>()
    };
    assert_eq!(names(&output).len(), 1, "{}", output.stdout);
    let several = ["role/developer/lena", "role/developer", "role/developer/jonas"];
    let output = account.reapctl(&[&lock[..], &several].concat()).await;
    assert_eq!(names(&output).len(), 3, "none replaces another: {}", output.stdout);

    let enforce = ["--enforce", "--yes", "--reason", "INC-7", "--log", &log, "--for", "30s"];
    let output = account.reapctl(&[&lock[..], &enforce].concat()).await;
    assert_eq!(output.status, Some(3), "{}{}", output.stdout, output.stderr);
    let why = "1 session of these owners, or of an unknown owner, is still listed.";
    assert!(output.stdout.contains(why), "{}", output.stdout);
    assert_eq!(output.stdout.matches(" terminated ").count(), 5, "{}", output.stdout);
    let lines = fs::read_to_string(&log).expect("a log");
    let lines: Vec<serde_json::Value> =
        lines.lines().map(|it| serde_json::from_str(it).expect("JSON")).collect();
    assert!(lines.iter().all(|it| it["reason"] == "INC-7"), "{lines:?}");
    let terminated = lines.iter().filter(|it| it["message"] == "session terminated");
    assert_eq!(terminated.count(), 5);

    let enforce = ["--enforce", "--yes", "--log", &log, "--override-exemptions"];
    let output = account.reapctl(&[&lock[..], &enforce].concat()).await;
    assert_eq!(output.stdout.matches(" terminated ").count(), 1, "the exempt: {}", output.stdout);
}

/// Sessions of `role/dev/NAME`, as far as their fields say nothing else; and what else there is.
async fn devs(file: &str, sessions: &[&str], others: &str) -> Account {
    let mut fleet = "sessions:\n".to_owned();
    for (i, fields) in sessions.iter().enumerate() {
        let (name, fields) = fields.split_once(' ').unwrap_or((fields, ""));
        let owner = format!("arn:aws:sts::123456789012:assumed-role/dev/{name}");
        let seed = format!("  - {{ id: {name}-{i}, owner: \"{owner}\", age: 2h, {fields} }}\n");
        fleet.push_str(&seed);
    }
    Account::with(&write(file, &(fleet + others))).await
}

const TARGET: &str = "target: i-0aa00000000000de1";

/// A lock reports sessions of the owners that cannot be evaluated.
#[tokio::test]
async fn lock_not_evaluated() {
    let hangs = format!("jo {TARGET}, status: Terminating, on_terminate: lingers");
    let account = devs("listed.yaml", &["jo", &hangs, &format!("an {TARGET}")], "").await;
    let policy = &write("listed.policy.yaml", "version: 1\n");
    let log = &write("listed.jsonl", "");
    let lock = ["lock", "--policy", policy, "--enforce", "--yes", "--log", log, "--for", "6s"];
    let output = account.reapctl(&[&lock[..], &["role/dev/jo"]].concat()).await;
    assert_eq!(output.status, Some(3), "{}{}", output.stdout, output.stderr);
    assert!(
        output
            .stdout
            .contains("1 session of these owners, or of an unknown owner, is still listed.")
    );
    assert!(output.stderr.contains("some sessions are still listed"), "{}", output.stderr);
    assert!(output.stdout.contains("unconfirmed"), "{}", output.stdout);
    assert!(!output.stdout.contains("None of"), "{}", output.stdout);
    assert!(output.stderr.contains("Terminating"), "{}", output.stderr);

    let output = account.reapctl(&[&lock[..], &["role/dev/an"]].concat()).await;
    assert_eq!(output.status, Some(0), "{}{}", output.stdout, output.stderr);
    assert!(output.stdout.contains("None of these owners' sessions is left"), "{}", output.stdout);

    let output = account.reapctl(&["lock", "role/dev/joe", "--policy", policy]).await;
    assert_eq!(output.status, Some(0), "{}{}", output.stdout, output.stderr);
    let said = "None of the 2 sessions listed belongs to these owners.\n\
                Instead of `role/dev/joe`, did you mean `role/dev/jo`?\n";
    assert!(output.stdout.starts_with(said), "{}", output.stdout);
}

/// A lock reports the sessions that are left.
#[tokio::test]
async fn lock_remaining_sessions() {
    let stays = format!("st {TARGET}, on_terminate: stays");
    let faults = "faults: [{ operation: TerminateSession, session: de-1, kind: deny }]";
    let account = devs("stays.yaml", &[&stays, &format!("de {TARGET}")], faults).await;
    let policy = &write("stays.policy.yaml", "version: 1\n");
    let log = &write("stays.jsonl", "");
    let lock = ["lock", "--policy", policy, "--enforce", "--yes", "--log", log, "--for", "4s"];
    for (owner, status, message) in [
        ("role/dev/st", 3, "error: after 4s some sessions are still listed, or not confirmed"),
        (
            "role/dev/de",
            1,
            "error: every termination was denied: `TerminateSession` was denied after",
        ),
    ] {
        let output = account.reapctl(&[&lock[..], &[owner]].concat()).await;
        assert_eq!(output.status, Some(status), "{}{}", output.stdout, output.stderr);
        assert!(output.stderr.contains(message), "{}", output.stderr);
    }
}

/// A lock ignores limits.
#[tokio::test]
async fn lock_ignores_limits() {
    let sessions: Vec<String> = (0..3).map(|_| format!("jo {TARGET}")).collect();
    let sessions: Vec<&str> = sessions.iter().map(String::as_str).collect();
    let account = devs("limits.yaml", &sessions, "").await;
    let policy = &write(
        "limits.policy.yaml",
        "version: 1\npaused: true\nlimits:\n  max_terminations: 1\n  \
         circuit_breaker: { max_percent: 0, min_violations: 1 }\n",
    );
    let log = &write("limits.jsonl", "");
    let lock = ["lock", "role/dev", "--policy", policy, "--enforce", "--yes", "--log", log];
    let output = account.reapctl(&lock).await;
    assert_eq!(output.status, Some(0), "{}{}", output.stdout, output.stderr);
    assert_eq!(output.stdout.matches(" terminated ").count(), 3, "{}", output.stdout);
    assert!(output.stderr.contains("warning: the policy has no rules"), "{}", output.stderr);
}

/// Ctrl-C ends a lock at every stage.
#[tokio::test]
async fn ctrl_c_lock() {
    let stays = format!("st {TARGET}, on_terminate: stays");
    let account = devs("interrupted.yaml", &[&stays], "").await;
    let policy = write("interrupted.policy.yaml", "version: 1\n");
    let log = write("interrupted.jsonl", "");
    let lock = format!("lock role/dev --policy {policy} --enforce --log {log} --for 60s");
    let (screen, status) = on_a_terminal(&account, &lock, "Terminate 1 session? [y/N]", "\x03");
    assert_exited(status, 130, &screen);

    let lock = format!("{lock} --yes --calls-per-second 100");
    let (screen, status) = on_a_terminal(&account, &lock, "unconfirmed (listed", "\x03");
    assert_exited(status, 1, &screen);
    assert!(screen.contains("error: interrupted"), "{screen}");
}

/// A lock continues if standard output cannot be written.
#[tokio::test]
async fn full_standard_output() {
    let account = devs("full.yaml", &[&format!("jo {TARGET}")], "").await;
    let policy = &write("full.policy.yaml", "version: 1\n");
    let log = &write("full.jsonl", "");
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("a device");
    let output = Command::new(env!("CARGO_BIN_EXE_reapctl"))
        .args(["lock", "role/dev", "--policy", policy, "--enforce", "--yes", "--log", log])
        .envs(account.variables())
        .stdout(full)
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts")
        .wait_with_output();
    let output = timeout(Duration::from_mins(1), output).await.expect("it ends").expect("a child");
    let stderr = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("error: cannot write to standard output: No space"), "{stderr}");
    let log = fs::read_to_string(log).expect("a log");
    assert!(log.contains(r#""session terminated""#), "{log}");
}

/// The AWS CLI's commands fail if standard output cannot be written.
#[tokio::test]
async fn full_standard_output_of_the_aws_cli() {
    let account = devs("full-listing.yaml", &[&format!("jo {TARGET}")], "").await;
    for words in ["--output json", "--output text", "--output table", "--generate-cli-skeleton"] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("a device");
        let output = Command::new(env!("CARGO_BIN_EXE_reapctl"))
            .args(["describe-sessions", "--state", "Active"])
            .args(words.split(' '))
            .envs(account.variables())
            .stdout(full)
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts")
            .wait_with_output();
        let output = timeout(Duration::from_mins(1), output).await.expect("it ends");
        let output = output.expect("a child");
        let stderr = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(output.status.code(), Some(255), "{words}: {stderr}");
        assert!(stderr.contains("cannot write to standard output: No space"), "{words}: {stderr}");
    }
}

/// Errors of a policy from Parameter Store are shown like those of a file.
#[tokio::test]
async fn policy_from_parameter_store() {
    let parameters = r#"parameters: { /bad: "version: 1\nrulez: []\n", /good: "version: 1\n" }"#;
    let account = devs("parameters.yaml", &[&format!("jo {TARGET}")], parameters).await;
    for command in ["plan", "sweep", "lock"] {
        let owner: &[&str] = if command == "lock" { &["role/x"] } else { &[] };
        let all = [&[command, "--policy-parameter", "/bad"], owner].concat();
        let output = account.reapctl(&all).await;
        assert_eq!(output.status, Some(2), "{command}: {}", output.stderr);
        assert!(output.stderr.contains("--> parameter /bad:2:1"), "{}", output.stderr);
        assert!(output.stderr.contains("2 | rulez: []"), "{}", output.stderr);
    }
    let good = ["plan", "--policy-parameter", "/good", "--output", "json"];
    let output = account.reapctl(&good).await;
    assert_eq!(output.status, Some(0), "{}", output.stderr);
    assert!(output.stderr.starts_with("warning: the policy has no rules"), "{}", output.stderr);
    let report: serde_json::Value = serde_json::from_str(&output.stdout).expect("JSON");
    assert_eq!(report["policy"]["source"], "parameter /good");
    assert_eq!(report["policy"]["version"], 1);
}

/// A look-up of tags that fails is reported.
#[tokio::test]
async fn failed_tag_lookup() {
    let faults = "faults: [{ operation: GetResources, kind: deny }]";
    let account = devs("untold.yaml", &[&format!("jo {TARGET}")], faults).await;
    let policy = "version: 1\ntag_keys: [env]\nassume: { tags: unknown }\n\
                  rules: [{ id: r, when: { target_tags: { env: prod } }, forbid: true }]\n";
    let policy = &write("untold.policy.yaml", policy);
    for command in ["plan", "sweep"] {
        let output = account.reapctl(&[command, "--policy", policy]).await;
        assert_eq!(output.status, Some(3), "{command}");
        let message = "warning: `GetResources` was denied after 1 attempt";
        assert!(output.stderr.starts_with(message), "{command}: {}", output.stderr);
    }
}

/// If AWS refuses a call, the error says in one line what to do.
#[tokio::test]
async fn refusals() {
    for (code, advice) in [
        ("AccessDeniedException", "(allow `ssm:DescribeSessions`)"),
        ("ExpiredTokenException", "(the credentials have expired: renew them"),
        ("RequestTimeTooSkewed", "(the clock of this machine is wrong: set it)"),
        ("UnrecognizedClientException", "enable the Region for the account"),
    ] {
        let error = format!("error: {{ status: 400, code: {code}, message: \"a\\nb\\e[31m\" }}");
        let fault = format!("{{ operation: DescribeSessions, kind: {{ {error} }} }}");
        let account = Account::with(&write("refused.yaml", &format!("faults: [{fault}]"))).await;
        let output = account.reapctl(&["plan", "--policy", STARTER]).await;
        assert_eq!(output.status, Some(1), "{code}");
        let stderr = output.stderr;
        assert!(stderr.contains(&format!("{code}: a b")) && stderr.contains(advice), "{stderr}");
        assert!(stderr.lines().count() == 1 && !stderr.contains('\u{1b}'), "{stderr:?}");
    }
}

/// No control character of an input reaches the terminal.
#[tokio::test]
async fn control_characters() {
    let rule = r#""a\u001b[31m\u009b\u202e""#;
    let valid = &write(
        "hostile.yaml",
        &format!(
            "version: 1\ntag_keys: [env]\n\
             rules: [{{ id: r, description: {rule}, when: {{ target_tags: {{ env: x }} }}, \
             forbid: true }}]\n"
        ),
    );
    let invalid = &write("hostile-2.yaml", "version: 1\nrul\u{9b}31mez\u{202e}: 1\n");
    let cases = &write(
        "hostile.cases.yaml",
        &format!(
            "now: 2026-03-02T12:00:00Z\nsessions:\n  - {{ owner: user/a, age: 1h, \
             verdict: compliant, rule: {rule} }}\n"
        ),
    );
    let bad_cases = &write("hostile-2.cases.yaml", &format!("now: x\nsessions: [{{ {rule}: 1 }}]"));
    let session = &write(
        "hostile.json",
        r#"{ "SessionId": "a\u009b\u202e", "Owner": "arn:aws:iam::123456789012:user/x",
             "Target": "i-0123456789abcdef0", "StartDate": 1772430000.0 }"#,
    );
    let junit = concat!(env!("CARGO_TARGET_TMPDIR"), "/hostile.xml");
    let hostile = ['\u{1b}', '\u{9b}', '\u{202e}'];
    let explain = ["explain", "--policy", valid, "--from", session];
    for arguments in [
        &["check", invalid][..],
        &["check", invalid, "--output", "json"],
        &["test", valid, cases, "--junit", junit],
        &["test", valid, bad_cases],
        &explain,
        &[&explain[..], &["--output", "json"]].concat(),
    ] {
        let output = reapctl(arguments, &[("NO_COLOR", "1")]).await;
        let text = output.stdout + &output.stderr;
        assert!(!text.is_empty() && !text.contains(hostile), "{arguments:?}: {text:?}");
        assert!(
            ["9b", "202e", "\u{fffd}"].iter().any(|it| text.contains(it)),
            "{arguments:?}: {text:?}"
        );
    }
    let xml = fs::read_to_string(junit).expect("a report");
    assert!(xml.contains("202e") && !xml.contains(hostile), "{xml}");
    let output = reapctl(&[&explain[..], &["--output", "json"]].concat(), &[]).await;
    let json: serde_json::Value = serde_json::from_str(&output.stdout).expect("JSON");
    assert_eq!(json["session_id"], "a\u{9b}\u{202e}");
}

/// Revocation commands are quoted for the shell.
#[tokio::test]
async fn revocation_commands_are_quoted() {
    let account = devs("quoted.yaml", &["jo"], "").await;
    let policy = &write("quoted.policy.yaml", "version: 1\n");
    let lock = ["lock", "user/o=neil", "--policy", policy, "--enforce", "--yes"];
    let output = account.reapctl(&lock).await;
    assert!(output.stdout.contains("'o=neil'"), "{}", output.stdout);
    assert!(
        !output.stderr.contains("The log is"),
        "no session is to be terminated: {}",
        output.stderr
    );
}

/// `explain` marks only the unknown conditions that decide.
#[tokio::test]
async fn explain_marks_the_deciding_unknown() {
    let policy = &write(
        "unknown.yaml",
        "version: 1\ntag_keys: [env, team]\nrules:\n  - id: a\n    when: { owner: user/x }\n    \
         unless: { document: Foo, target_tags: { env: lab } }\n    \
         require: { target_tags: { team: t } }\n",
    );
    let session = &write(
        "unknown.json",
        r#"{ "SessionId": "x-1", "Owner": "arn:aws:iam::123456789012:user/x",
             "Target": "i-0123456789abcdef0", "StartDate": 1772430000.0, "DocumentName": "Bar" }"#,
    );
    let output = reapctl(&["explain", "--policy", policy, "--from", session], &[]).await;
    let marked: Vec<_> = output.stdout.lines().filter(|it| it.starts_with(" >")).collect();
    assert_eq!(marked.len(), 1, "{}", output.stdout);
    assert!(marked[0].contains("require"), "{}", output.stdout);
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

/// A backtest shows which sessions a policy would have terminated, and when.
#[tokio::test]
async fn backtest() {
    let account = Account::new().await;
    let zombies = concat!(env!("CARGO_MANIFEST_DIR"), "/../policies/zombies.yaml");
    let page = concat!(env!("CARGO_TARGET_TMPDIR"), "/backtest.html");
    let backtest = ["backtest", STARTER, "--against", zombies, "--html", page];
    let output = account.reapctl(&[&backtest[..], &["--output", "json"]].concat()).await;
    assert_eq!((output.status, output.stderr.as_str()), (Some(0), ""));
    let json: serde_json::Value = serde_json::from_str(&output.stdout).expect("JSON");
    let sessions = json["sessions"].as_array().expect("a list");
    assert_eq!((sessions.len(), &json["not_evaluated"]), (29, &1.into()));
    let at = |it: &serde_json::Value| it.as_str().expect("text").parse::<Timestamp>().expect("one");
    for (id, rule, after, minutes) in [
        // Twelve hours after it started, at the next multiple of five minutes.
        ("jonas-0a1b2c3d4e5f60022", Some("no-older-than-12-hours"), 12 * 60, 12 * 60),
        ("amara-0a1b2c3d4e5f60023", None, 0, 0),
        ("nina-0a1b2c3d4e5f60024", Some("production-one-hour"), 60, 2 * 60),
        ("mei@example.com-9k5v0m1r4t6y9w2zaq7d3n8hfa", Some("production-sre-only"), 0, 60),
        ("ops-0a1b2c3d4e5f60027", None, 0, 0),
    ] {
        let session = sessions.iter().find(|it| it["session_id"] == id).expect(id);
        let Some(rule) = rule else {
            assert!(session["would_terminate_at"].is_null(), "{session}");
            continue;
        };
        assert_eq!(session["rules"][0], rule, "{id}");
        let end = at(&session["would_terminate_at"]);
        assert_eq!(end.as_second() % 300, 0, "{id}");
        let lived = end.duration_since(at(&session["started_at"])).as_mins();
        assert!((after..=after + 5).contains(&lived), "{id}: {lived}");
        let saved = session["minutes"].as_i64().expect("a number");
        assert!((minutes - 6..=minutes).contains(&saved), "{id}: {saved}");
    }
    let total = |sums: &serde_json::Value| -> u64 {
        let sums = sums.as_object().expect("sums").values();
        sums.map(|it| it["sessions"].as_u64().expect("a number")).sum()
    };
    let n = sessions.iter().filter(|it| !it["would_terminate_at"].is_null()).count();
    for name in ["rules", "owners", "days"] {
        assert_eq!(total(&json[name]), u64::try_from(n).expect("few"), "{name}");
    }
    let changes = json["changes"].as_array().expect("a list");
    let sooner = changes.iter().filter(|it| it["change"] == "terminated sooner").count();
    assert_eq!(sooner, 3, "those that were not terminated for a week: {changes:?}");

    let output = account.reapctl(&backtest).await;
    assert!(output.stdout.starts_with("29 sessions from "), "{}", output.stdout);
    let html = fs::read_to_string(page).expect("a page");
    assert_eq!(html.matches("<g><title>").count(), 29);
    assert!(!html.contains("http"), "it needs nothing else");

    let output = account.reapctl(&["backtest", STARTER, "--against", STARTER]).await;
    assert!(output.stdout.ends_with("Nothing changes.\n"), "{}", output.stdout);
}

/// The end of a session of the history without an end date is not known: no sweep is said to terminate it.
#[tokio::test]
async fn backtest_unknown_end() {
    let ended = format!("jo {TARGET}, ended: 1h");
    let faults = "faults: [{ operation: DescribeSessions, kind: { drop_field: EndDate } }]";
    let account = devs("endless.yaml", &[&format!("jo {TARGET}"), &ended], faults).await;
    let policy = "version: 1\nrules: [{ id: a, when: all, require: { max_age: 30m } }]\n";
    let policy = &write("endless.policy.yaml", policy);
    let output = account.reapctl(&["backtest", policy, "--output", "json"]).await;
    assert_eq!(output.status, Some(0), "{}", output.stderr);
    let json: serde_json::Value = serde_json::from_str(&output.stdout).expect("JSON");
    assert_eq!((&json["not_evaluated"], &json["unknown_ends"]), (&0.into(), &1.into()));
    let sessions = json["sessions"].as_array().expect("a list").iter();
    let at = ["would_terminate_at", "may_terminate_at"];
    let said: Vec<_> = sessions.map(|it| at.map(|name| it[name].is_string())).collect();
    assert!(said.contains(&[true, false]) && said.contains(&[false, true]), "{json}");
    assert_eq!(json["rules"]["a"]["sessions"], 1);
}

/// A backtest lists the rules of an undetermined verdict as possible only.
#[tokio::test]
async fn backtest_unknown_rule() {
    let account = devs("either.yaml", &[&format!("jo {TARGET}")], "").await;
    let policy = "version: 1\ntag_keys: [env]\nassume: { tags: unknown }\nrules:\n\
                  - { id: a, when: { target_tags: { env: prod } }, forbid: true }\n\
                  - { id: b, when: all, unless: { target_tags: { env: prod } }, forbid: true }\n";
    let policy = &write("either.policy.yaml", policy);
    let page = concat!(env!("CARGO_TARGET_TMPDIR"), "/either.html");
    let backtest = ["backtest", policy, "--html", page];
    let output = account.reapctl(&[&backtest[..], &["--output", "json"]].concat()).await;
    let json: serde_json::Value = serde_json::from_str(&output.stdout).expect("JSON");
    assert_eq!(json["rules"]["a or b"]["sessions"], 1, "{json}");
    let session = &json["sessions"][0];
    assert!(session["would_terminate_at"].is_string() && session["unknown"] == "tags_not_returned");
    let html = fs::read_to_string(page).expect("a page");
    assert!(html.contains(" by a or b</title>"), "{html}");
    let text = account.reapctl(&backtest).await.stdout;
    assert!(text.contains("a or b"), "{text}");
    assert!(
        text.contains(": 1 would have been terminated") && !text.contains("undetermined"),
        "{text}"
    );
    let output = account.reapctl(&["backtest", policy, "--against", policy]).await;
    assert!(output.stdout.ends_with("Nothing changes.\n"), "{}", output.stdout);
}

/// A backtest counts the sessions that were active at once, shows warnings apart, and compares a policy
/// that counts with one that does not.
#[tokio::test]
async fn backtest_concurrent() {
    let session = |id: &str, name: &str, hours: u32| {
        let owner = format!("arn:aws:sts::123456789012:assumed-role/dev/{name}");
        format!("  - {{ id: {id}, owner: \"{owner}\", {TARGET}, age: {hours}h }}\n")
    };
    let fleet = session("jo-0", "jo", 5) + &session("jo-1", "jo", 4) + &session("an-2", "an", 2);
    let account = Account::with(&write("counted.yaml", &format!("sessions:\n{fleet}"))).await;
    let rule = |id: &str, per: &str, effect: &str| {
        format!(
            "- {{ id: {id}, when: all, effect: {effect}, \
             require: {{ concurrent: {{ per: {per}, at_most: 1, keep: oldest }} }} }}\n"
        )
    };
    let rules = rule("one-each", "owner", "terminate") + &rule("one-on-each", "target", "warn");
    let new = &write("counted.policy.yaml", &format!("version: 1\nrules:\n{rules}"));
    let old = "version: 1\nrules: [{ id: a, when: { account: \"999999999999\" }, forbid: true }]\n";
    let old = &write("counted.old.yaml", old);
    let page = concat!(env!("CARGO_TARGET_TMPDIR"), "/counted.html");
    let against = ["backtest", new, "--against", old, "--html", page];
    let output = account.reapctl(&[&against[..], &["--output", "json"]].concat()).await;
    assert_eq!((output.status, output.stderr.as_str()), (Some(0), ""));
    let json: serde_json::Value = serde_json::from_str(&output.stdout).expect("JSON");
    let sessions = json["sessions"].as_array().expect("a list");
    let found: Vec<_> = sessions
        .iter()
        .map(|it| {
            let is_terminated = !it["would_terminate_at"].is_null();
            let rules = [&it["rules"], &it["warnings"][0]["rule"]];
            (
                it["session_id"].as_str().expect("text"),
                is_terminated,
                rules.map(ToString::to_string),
            )
        })
        .collect();
    let shown = |rules, warning: &str| [rules, warning].map(ToString::to_string);
    assert_eq!(
        found,
        [
            ("jo-0", false, shown("[]", "null")),
            ("jo-1", true, shown("[\"one-each\"]", "null")),
            ("an-2", false, shown("[]", "\"one-on-each\"")),
        ]
    );
    assert_eq!(json["rules"]["one-each"]["sessions"], 1);
    assert_eq!(json["warnings"]["one-on-each"]["sessions"], 1);
    let n = |key: &str| json[key].as_object().map(serde_json::Map::len);
    assert_eq!((n("rules"), n("warnings")), (Some(1), Some(1)));
    let changes = serde_json::json!([
        { "session_id": "jo-1", "change": "terminated now" },
        { "session_id": "an-2", "change": "warning now" },
    ]);
    assert_eq!(json["changes"], changes);

    let html = fs::read_to_string(page).expect("a page");
    assert!(
        html.contains("would have been terminated at ") && html.contains(" by one-each</title>")
    );
    assert!(html.contains("would not have been terminated; warning at "), "{html}");
    assert!(html.contains("<h2>By warning</h2>") && html.contains("class=\"warn\""), "{html}");
    let text = account.reapctl(&against).await.stdout;
    for expected in [": 1 would have been terminated, ", "1 would have had a warning."] {
        assert!(text.contains(expected), "{text}");
    }
    assert!(text.contains("WARNING") && text.contains("one-on-each"), "{text}");

    let text = account.reapctl(&["backtest", old, "--against", new]).await.stdout;
    assert!(
        text.contains("not terminated any more") && text.contains("no warning any more"),
        "{text}"
    );
    assert!(!text.contains("WARNING") && !text.contains("undetermined"), "{text}");
}

/// A timeline says how many sessions of each kind it leaves out.
#[tokio::test]
async fn timeline_leaves_out() {
    let ended = format!("jo {TARGET}, document: Z");
    let unknown = format!("an {TARGET}, document: X");
    let lived = format!("al {TARGET}, document: Y");
    let mut sessions = vec![ended.as_str(); 402];
    sessions.extend([unknown.as_str(), lived.as_str(), lived.as_str()]);
    let account = devs("many.yaml", &sessions, "").await;
    let policy = "version: 1\nrules:\n\
                  - { id: a, when: all, unless: { document: [X, Y] }, require: { max_age: 1h } }\n\
                  - { id: b, when: { document: X, status: Disconnected }, forbid: true }\n";
    let policy = &write("many.policy.yaml", policy);
    let page = concat!(env!("CARGO_TARGET_TMPDIR"), "/many.html");
    let output = account.reapctl(&["backtest", policy, "--html", page]).await;
    assert_eq!(output.status, Some(0), "{}", output.stderr);
    let html = fs::read_to_string(page).expect("a page");
    let note = "<p class=\"soft\">Not shown: 2 sessions that would have been terminated, \
                1 session with an undetermined verdict, 2 sessions that would not have been terminated.</p>";
    assert!(html.contains(note), "{:?}", html.lines().find(|it| it.contains("shown")));
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

/// Every example in the help is a valid command line.
#[tokio::test]
async fn help_examples() {
    let mut n_examples = 0;
    for command in ["backtest", "check", "emulate", "explain", "lock", "plan", "sweep", "test"] {
        let help = reapctl(&[command, "--help"], &[]).await.stdout;
        let (_, examples) = help.split_once("Examples:\n").expect(command);
        for line in examples.lines() {
            let (_, words) = line.split_once("reapctl ").expect(line);
            let mut words: Vec<&str> = words.split(' ').map(|it| it.trim_matches('\'')).collect();
            words.push("--help"); // Whatever stands before it must be understood.
            let output = reapctl(&words, &[]).await;
            assert_eq!(output.status, Some(0), "{line}: {}", output.stderr);
            let words = words.iter().filter(|it| it.starts_with("--"));
            assert!(words.clone().all(|it| help.contains(*it)), "{line}");
            n_examples += 1;
        }
    }
    assert_eq!(n_examples, 23);
}

/// Every command has completions and a manual page.
#[tokio::test]
async fn completions_and_manual_pages() {
    let help = reapctl(&["--help"], &[]).await.stdout;
    let (_, commands) = help.split_once("Commands:\n").expect("the commands");
    let (commands, _) = commands.split_once("\n\n").expect("the options");
    let name = |it: &str| it.split_whitespace().next().unwrap_or_default().to_owned();
    let is_command = |it: &&str| it.starts_with("  ") && !it.starts_with("   ");
    let names: Vec<String> = commands.lines().filter(is_command).map(name).collect();
    assert!(names.contains(&"lock".into()) && names.contains(&"describe-sessions".into()));

    let folder = concat!(env!("CARGO_TARGET_TMPDIR"), "/man");
    let output = reapctl(&["man", folder], &[]).await;
    assert_eq!((output.status, output.stderr.as_str()), (Some(0), ""));
    for shell in ["bash", "zsh", "fish"] {
        let output = reapctl(&["completions", shell], &[]).await;
        assert_eq!((output.status, output.stderr.as_str()), (Some(0), ""), "{shell}");
        for name in names.iter().filter(|it| *it != "help") {
            assert!(output.stdout.contains(name.as_str()), "{shell}: {name}");
            let page = Path::new(folder).join(format!("reapctl-{name}.1"));
            assert!(page.exists(), "{}", page.display());
        }
    }
}

/// A file of this test's own; its path.
fn write(name: &str, text: &str) -> String {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, text).expect("a file");
    path.to_str().expect("UTF-8").to_owned()
}

/// Errors say what failed, and where.
#[tokio::test]
async fn errors() {
    let taken = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let fleet = &write("bad-fleet.yaml", "sessions:\n  - { idd: a-1 }\n");
    let twice = &write("twice.yaml", "accounts: [{ id: \"1\" }, { id: \"1\" }]");
    let policy = &write("no-rules.yaml", "version: 1\n");
    let no_owner = &write(
        "no-owner.yaml",
        "now: 2026-03-02T12:00:00Z\nsessions: [{ owner: alice, age: 1h, verdict: compliant }]\n",
    );
    let case = |name: &str, fields: &str| {
        let text = format!(
            "now: 2026-03-02T12:00:00Z\n\
             sessions: [{{ owner: user/a, verdict: compliant, {fields} }}]\n"
        );
        write(name, &text)
    };
    let status = &case("bad-status.yaml", "age: 1h, status: Conected");
    let access = &case("bad-access.yaml", "age: 1h, access_type: JIT");
    let key = &case("bad-key.yaml", "age: 1h, tags: { envv: prod }");
    let no_tags = &case("no-tags.yaml", "age: 1h, tags: ");
    let negative = &case("negative.yaml", "age: -1h");
    let keyed = &write("keyed.yaml", "version: 1\ntag_keys: [env]\n");
    let member = |name: &str, target: &str, tags: &str| {
        format!(
            "  - {{ name: {name}, owner: user/a, age: 1h, group: g, target: {target}, tags: {tags}, \
             verdict: compliant }}\n"
        )
    };
    let group = |second: &str| {
        format!(
            "now: 2026-03-02T12:00:00Z\nsessions:\n{}{second}",
            member("one", "i-1", "{ env: x }")
        )
    };
    let torn = &write("torn.yaml", &group(&member("two", "i-1", "{}")));
    let whole = &write("whole.yaml", &group(&member("two", "i-2", "{}")));
    let latin = Path::new(env!("CARGO_TARGET_TMPDIR")).join("latin-1.yaml");
    fs::write(&latin, b"version: 1 # \xe9\n").expect("a file");
    let latin = latin.to_str().expect("UTF-8");
    let row = &write("row.json", r#"{ "Sessions": [{ "SessionId": 1 }] }"#);
    let nothing = &write("nothing.json", "{}");
    assert_eq!(reapctl(&["test", keyed, whole], &[]).await.status, Some(0));
    for (arguments, status, message) in [
        (vec!["test", policy, status], 2, "line 2: no session has the status `Conected`"),
        (vec!["test", policy, access], 2, "line 2: no session has the access type `JIT`"),
        (vec!["test", policy, key], 2, "line 2: the policy's `tag_keys` do not list `envv`"),
        (vec!["test", policy, no_tags], 2, "line 2 column"),
        (vec!["test", policy, no_tags], 2, "`tags` is empty"),
        (
            vec!["test", keyed, torn],
            2,
            "line 4: `two` has other tags than `one` in line 3, and the",
        ),
        (vec!["test", policy, negative], 2, "write an age such as `12h1s` or `20d`"),
        (vec!["test", "-", "-"], 2, "only one of the files can be standard input"),
        (vec!["backtest", "-", "--against", "-"], 2, "only one of the files can be standard input"),
        (vec!["explain", "--policy", "-", "--from", "-"], 2, "only one of the files can be"),
        (vec!["check", latin], 2, "latin-1.yaml`: it is not UTF-8"),
        (vec!["explain", "--policy", policy, "--from", row], 2, "invalid type: integer `1`"),
        (vec!["explain", "--policy", policy, "--from", nothing], 2, "neither `Sessions` nor"),
        (vec!["backtest", policy, "--every", "1d"], 1, "no Region is set"),
        (vec!["lock", "root", "--policy", policy, "--for", "1d"], 1, "no Region is set"),
        (vec!["lock", "root", "--policy", policy, "--for", "24h1s"], 2, "of a day at most"),
        (vec!["lock", "root", "--policy", policy, "--for", "106751991167300d"], 2, "of a day"),
        (vec!["emulate", "--port", &port], 1, "choose another with `--port`"),
        (vec!["emulate", "--fleet", "/none.yaml"], 1, "cannot read `/none.yaml`"),
        (vec!["emulate", "--fleet", fleet], 2, "unknown field `idd`"),
        (vec!["emulate", "--fleet", fleet], 2, "\n2 |   - { idd: a-1 }\n"),
        (vec!["emulate", "--organization", "/none.yaml"], 1, "cannot read `/none.yaml`"),
        (vec!["emulate", "--organization", fleet], 2, "unknown field `sessions`"),
        (vec!["emulate", "--organization", twice], 2, "the account `1` is there twice"),
        (vec!["emulate", "--organization", fleet, "--fleet", fleet], 2, "cannot be used with"),
        (vec!["emulate", "--port", "x"], 2, "invalid value 'x' for '--port <PORT>'"),
        (vec!["check", "/none.yaml"], 1, "cannot read `/none.yaml`"),
        (vec!["test", fleet, fleet], 2, "is not a valid policy"),
        (vec!["test", policy, fleet], 2, "line 2 column 7: unknown field `idd`"),
        (vec!["test", policy, no_owner], 2, "line 2: `alice` is not an owner; write `role/NAME"),
        (vec!["explain", "--policy", policy, "--from", fleet], 2, "cannot use"),
        (vec!["explain", "--policy", policy], 2, "<SESSION_ID>"),
        (vec!["explain", "--policy", policy, "a-1"], 1, "no Region is set; use `--region`"),
        (vec!["reap"], 2, "unrecognized subcommand 'reap'"),
        (vec![], 2, "Usage: reapctl"),
    ] {
        let output = reapctl(&arguments, &[]).await;
        assert_eq!(output.status, Some(status), "{arguments:?}");
        assert!(output.stderr.contains(message), "{arguments:?}: {}", output.stderr);
    }
}
