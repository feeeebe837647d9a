//! The command line, through the binary.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

mod aws;
mod awscli;
mod backtest;
mod evidence;
mod explain;
mod hostile;
mod lock;
mod organization;
mod policies;
mod privilege;
mod saved;
mod sweep;
mod terminating;

use std::{fs, path::Path, process::Stdio, time::Duration};

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

/// Runs it where standard output is a device that is full, and returns its exit status and standard error.
async fn with_full_output<'a>(
    account: &Account,
    arguments: impl IntoIterator<Item = &'a str>,
) -> (Option<i32>, String) {
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("a device");
    let output = Command::new(env!("CARGO_BIN_EXE_reapctl"))
        .args(arguments)
        .envs(account.variables())
        .stdout(full)
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts")
        .wait_with_output();
    let output = timeout(Duration::from_mins(1), output).await.expect("it ends").expect("a child");
    (output.status.code(), String::from_utf8(output.stderr).expect("UTF-8"))
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
