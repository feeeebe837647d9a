//! How commands reach AWS, and what they say if they cannot.

use std::{
    fs,
    path::Path,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::{Account, Output, STARTER, TARGET, devs, reapctl, write};
use serde_json::json;
use session_manager_emulator::{Call, Emulator, Fleet, serve};
use test_support::tls::{AUTHORITY, EXPIRED, VALID, serve_tls};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

const FLEET: &str = r#"
callers:
  AKIAENVIRONMENT: "arn:aws:iam::123456789012:user/environment"
  AKIAPROFILE: "arn:aws:iam::123456789012:user/profile"
sessions:
  - { id: a-1, owner: "arn:aws:iam::123456789012:user/a", target: i-0aa00000000000de1, age: 26h }
tags: { i-0aa00000000000de1: { env: dev } }
parameters: { /policy: "version: 1" }
"#;

const CONFIG: &str = "\
[profile keys]
aws_access_key_id = AKIAPROFILE
aws_secret_access_key = secret-of-the-profile
[profile role]
role_arn = arn:aws:iam::123456789012:role/path/Auditor
source_profile = keys
[profile login]
sso_session = x
sso_account_id = 123456789012
sso_role_name = r
[sso-session x]
sso_start_url = https://x.awsapps.com/start
sso_region = eu-central-1
[profile behind-the-login]
role_arn = arn:aws:iam::123456789012:role/Auditor
source_profile = login
[profile process]
credential_process = /bin/false
[profile indented] # The AWS CLI reads it.
  aws_access_key_id = AKIAPROFILE
  aws_secret_access_key = secret-of-the-profile
[profile console]
login_session = arn:aws:iam::123456789012:user/profile
[profile behind-the-console]
role_arn = arn:aws:iam::123456789012:role/Auditor
source_profile = console
";

const ROLE: &str = "arn:aws:iam::123456789012:role/path/Auditor";

/// An emulator on a socket, and a command that reaches it.
async fn run(fleet: &str, words: &[&str], variables: &[(&str, &str)]) -> (Output, Vec<Call>) {
    run_on(&format!("{FLEET}{fleet}"), words, variables).await
}

/// The same, of another fleet.
async fn run_on(fleet: &str, words: &[&str], variables: &[(&str, &str)]) -> (Output, Vec<Call>) {
    let emulator = Emulator::new(Fleet::parse(fleet).expect("a fleet"));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let served = tokio::spawn(serve(listener, emulator.clone()));
    let output = reach(words, &[&[("AWS_ENDPOINT_URL", url.as_str())], variables].concat()).await;
    served.abort();
    (output, emulator.calls())
}

/// A command with credentials in the environment, unless `variables` say otherwise.
async fn reach(words: &[&str], variables: &[(&str, &str)]) -> Output {
    static FILE: LazyLock<String> = LazyLock::new(|| write("aws.config", CONFIG));
    let common = [
        ("AWS_ACCESS_KEY_ID", "AKIAENVIRONMENT"),
        ("AWS_CONFIG_FILE", FILE.as_str()),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AWS_REGION", "eu-central-1"),
        ("AWS_SECRET_ACCESS_KEY", "secret-of-the-environment"),
    ];
    reapctl(words, &[&common, variables].concat()).await
}

fn asked(calls: &[Call]) -> Vec<(&str, &str)> {
    let caller = |it: &'_ Call| it.caller.rsplit_once(':').map_or(0, |(head, _)| head.len() + 1);
    calls.iter().map(|it| (it.operation.as_str(), &it.caller[caller(it)..])).collect()
}

/// A role is assumed once, and makes every further call.
#[tokio::test]
async fn role_is_assumed_once() {
    let role =
        ["--role-arn", ROLE, "--external-id", "x:1/2", "--role-session-name", "jo@example.com"];
    for words in [
        &["plan", "--policy", STARTER][..],
        &["sweep", "--policy-parameter", "/policy"],
        &["sweep", "--policy", STARTER, "--enforce", "--yes"],
        &["lock", "user/a", "--policy", STARTER],
        &["backtest", STARTER],
        &["explain", "--policy", STARTER, "a-1"],
    ] {
        let (output, calls) = run("", &[words, &role].concat(), &[]).await;
        assert!(output.status.is_some_and(|it| it == 0 || it == 3), "{words:?}: {}", output.stderr);
        let (first, others) = calls.split_first().expect("calls");
        assert_eq!(asked(std::slice::from_ref(first)), [("AssumeRole", "user/environment")]);
        let body = json!({
            "RoleArn": ROLE, "ExternalId": "x:1/2", "RoleSessionName": "jo@example.com",
        });
        assert_eq!(first.body, body);
        assert!(2 <= others.len(), "{words:?}");
        let assumed = "arn:aws:sts::123456789012:assumed-role/Auditor/jo@example.com";
        for call in others {
            assert_eq!(call.caller, assumed, "{words:?}: {}", call.operation);
            assert_ne!(call.operation, "AssumeRole");
        }
    }
    let words = ["plan", "--policy", STARTER, "--external-id", "x"];
    assert_eq!(reach(&words, &[]).await.status, Some(2), "of no use without a role");
}

/// As with the AWS CLI: `--profile` outranks the environment's credentials, `AWS_PROFILE` does not.
#[tokio::test]
async fn precedence_of_credentials() {
    const AUDITOR: &str = "assumed-role/Auditor/reapctl";
    let no_keys = [("AWS_ACCESS_KEY_ID", ""), ("AWS_SECRET_ACCESS_KEY", "")];
    let with = |name: &'static str| [&no_keys[..], &[("AWS_PROFILE", name)]].concat();
    for (words, variables, first, then) in [
        (&[][..], vec![], "user/environment", "user/environment"),
        (&["--profile", "keys"], vec![], "user/profile", "user/profile"),
        (&["--profile", "indented"], vec![], "user/profile", "user/profile"),
        (&[], with("indented"), "user/profile", "user/profile"),
        (&[], vec![("AWS_PROFILE", "keys")], "user/environment", "user/environment"),
        (&[], with("keys"), "user/profile", "user/profile"),
        (&["--profile", "role"], vec![], "user/profile", "assumed-role/Auditor/"),
        (&[], with("role"), "user/profile", "assumed-role/Auditor/"),
        (&["--profile", "keys", "--role-arn", ROLE], vec![], "user/profile", AUDITOR),
    ] {
        for command in
            [&["plan", "--policy", STARTER][..], &["describe-sessions", "--state", "Active"]]
        {
            if command[0] == "describe-sessions" && words.contains(&"--role-arn") {
                continue; // It has the AWS CLI's options alone.
            }
            let (output, calls) = run("", &[command, words].concat(), &variables).await;
            assert!(output.status.is_some_and(|it| it == 0 || it == 3), "{}", output.stderr);
            let asked = asked(&calls);
            let (last, others) = asked.split_last().expect("calls");
            let first_asked = others.first().unwrap_or(last);
            assert_eq!(first_asked.1, first, "{command:?} {words:?} {variables:?}: {asked:?}");
            assert!(last.1.starts_with(then), "{command:?} {words:?} {variables:?}: {asked:?}");
        }
    }
}

/// What `aws login` leaves for the session of the profile `console`, as if until 2099; its folder.
fn logged_in() -> String {
    let folder = concat!(env!("CARGO_TARGET_TMPDIR"), "/login-cache");
    fs::create_dir_all(folder).expect("a folder");
    // The SHA-256 of the session's ARN.
    let name = "6a1d48870a030bad8a61081cbe103f40d4a393296f550579495ac003dd2e0af4.json";
    let token = json!({
        "accessToken": {
            "accessKeyId": "AKIAPROFILE",
            "secretAccessKey": "secret-of-the-profile",
            "sessionToken": "token-of-the-login",
            "accountId": "123456789012",
            "expiresAt": "2099-01-01T00:00:00Z",
        },
        "tokenType": "aws_sigv4",
        "refreshToken": "x",
        "clientId": "arn:aws:signin:::devtools/same-device",
        "dpopKey": "-----BEGIN EC PRIVATE KEY-----\n-----END EC PRIVATE KEY-----\n",
    });
    fs::write(Path::new(folder).join(name), token.to_string()).expect("a file");
    folder.into()
}

/// A profile of `aws login`, also behind a role, is used while it lasts, by every kind of command.
#[tokio::test]
async fn aws_login_is_used() {
    let folder = logged_in();
    let variables = [("AWS_LOGIN_CACHE_DIRECTORY", folder.as_str())];
    for (profile, then) in
        [("console", "user/profile"), ("behind-the-console", "assumed-role/Auditor/")]
    {
        for command in [&PLAN[..], &["describe-sessions", "--state", "Active"]] {
            let words = [command, &["--profile", profile]].concat();
            let (output, calls) = run("", &words, &variables).await;
            assert!(output.status.is_some_and(|it| it == 0 || it == 3), "{}", output.stderr);
            let asked = asked(&calls);
            assert_eq!(asked.first().expect("a call").1, "user/profile", "{words:?}: {asked:?}");
            let last = asked.last().expect("a call");
            assert!(last.1.starts_with(then), "{words:?}: {asked:?}");
        }
    }
}

/// A file that the AWS CLI refuses is named, with the reason, and not the profile in it.
#[tokio::test]
async fn refused_configuration_file() {
    let bom = write("bom.config", "\u{feff}[profile keys]\nregion = eu-central-1\n");
    let twice = write("twice.config", "[profile keys]\n[profile keys]\n");
    let folder = "/login-nowhere";
    for (path, reason) in [
        (&bom, "it begins with a byte order mark: save it as UTF-8 without one"),
        (&twice, "line 2: the section `profile keys` is there twice"),
    ] {
        for variable in ["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"] {
            let variables = [(variable, path.as_str()), ("AWS_LOGIN_CACHE_DIRECTORY", folder)];
            let Output { status, stderr, .. } =
                reach(&[&PLAN[..], &["--profile", "keys"]].concat(), &variables).await;
            let expected = format!("cannot use `{path}`: {reason}; the AWS CLI refuses it too");
            assert_eq!((status, stderr), (Some(1), format!("error: {expected}\n")));
            let list = ["describe-sessions", "--state", "Active", "--profile", "keys"];
            let Output { status, stderr, .. } = reach(&list, &variables).await;
            let expected = format!("\nUnable to parse config file: {path} ({reason})\n");
            assert_eq!((status, stderr), (Some(255), expected));
        }
    }
}

const PLAN: [&str; 3] = ["plan", "--policy", STARTER];

/// Each row: an operation, what goes wrong, a command, and the remediation in its error.
async fn check_refusals(table: &[(&str, &str, &[&str], &str)]) {
    for (operation, fault, words, remediation) in table {
        let faults = format!("faults: [{{ operation: {operation}, kind: {fault} }}]");
        let (Output { status, stderr, .. }, _) = run(&faults, words, &[]).await;
        assert!(stderr.contains(remediation), "{operation} {fault}: {stderr}");
        let is_warning = *operation == "GetResources"; // What needs tags is undetermined then.
        assert_eq!(status, Some(if is_warning { 3 } else { 1 }), "{operation} {fault}: {stderr}");
        let start = if is_warning { "warning: " } else { "error: " };
        let n_lines = stderr.matches('\n').count();
        assert!(stderr.starts_with(start) && n_lines == 1, "{operation} {fault}: {stderr}");
        assert!(!stderr.contains(['\u{1b}', '\u{9b}', '\u{202e}']), "{stderr:?}");
    }
}

fn error(code: &str, message: &str) -> String {
    format!("{{ error: {{ status: 400, code: {code}, message: \"{message}\" }} }}")
}

/// If a call is denied, the error names the action in one line.
#[tokio::test]
async fn denied_action_is_named() {
    let parameter = ["plan", "--policy-parameter", "/policy"];
    let sweep = ["sweep", "--policy", STARTER, "--enforce", "--yes"];
    let role = [&PLAN[..], &["--role-arn", ROLE]].concat();
    let explain = ["explain", "--policy", STARTER, "a-1"];
    let ciphertext = "The ciphertext refers to a customer master key that does not exist";
    let ciphertext = error("AccessDeniedException", ciphertext);
    let other = "User: x is not authorized to perform: kms:Decrypt on resource: y";
    let other = error("AccessDeniedException", other);
    let trust = "role/path/Auditor`, and let the role's trust policy name the caller, and";
    check_refusals(&[
        ("AssumeRole", "deny", &role, trust),
        ("AssumeRole", "deny", &[&PLAN[..], &["--profile", "role"]].concat(), trust),
        ("DescribeSessions", "deny", &PLAN, "(allow `ssm:DescribeSessions`)"),
        ("DescribeSessions", "deny", &["backtest", STARTER], "(allow `ssm:DescribeSessions`)"),
        ("DescribeSessions", "deny", &explain, "(allow `ssm:DescribeSessions`)"),
        (
            "TerminateSession",
            "deny",
            &sweep,
            "(allow `ssm:TerminateSession` on `arn:aws:ssm:eu-central-1:123456789012:session/a-1`;",
        ),
        ("GetParameter", "deny", &parameter, "(allow `ssm:GetParameter`)"),
        ("GetParameter", &ciphertext, &parameter, "(allow `kms:Decrypt`)"),
        ("GetParameter", &other, &parameter, "(allow `kms:Decrypt`)"),
        ("GetResources", "deny", &PLAN, "(allow `tag:GetResources`)"),
    ])
    .await;
}

/// For every other refusal, the error says in one line what to do.
#[tokio::test]
async fn refusals() {
    let role = [&PLAN[..], &["--role-arn", ROLE]].concat();
    let profile = [&PLAN[..], &["--profile", "keys"]].concat();
    let late = "Signature expired: 20261123T010000Z is now earlier than 20261123T013000Z";
    let hostile = error("Odd", r"a\nb\e[31m\u009b\u202ec");
    let in_xml = error("Odd", r"a\nb\u009b\u202ec"); // Which has no escape character.
    let harmless = r"Odd: a b\u{1b}[31m\u{9b}\u{202e}c";
    let clock = "the clock of this machine is wrong: set it";
    let region =
        "the Region `eu-central-1` is not enabled for the account; see `aws configure list`";
    check_refusals(&[
        ("GetCallerIdentity", &error("ExpiredToken", "x"), &PLAN, "`aws sso login`"),
        ("GetCallerIdentity", &error("ExpiredToken", "x"), &profile, "sso login --profile keys`"),
        (
            "AssumeRole",
            &error("ExpiredToken", "x"),
            &role,
            "renew them, for example with `aws sso login`",
        ),
        ("DescribeSessions", &error("ExpiredTokenException", "x"), &PLAN, "expired: renew them)"),
        ("GetCallerIdentity", &error("InvalidClientTokenId", "x"), &PLAN, region),
        (
            "DescribeSessions",
            &error("UnrecognizedClientException", "x"),
            &PLAN,
            "enable the Region",
        ),
        ("GetCallerIdentity", &error("SignatureDoesNotMatch", late), &PLAN, clock),
        ("DescribeSessions", &error("InvalidSignatureException", late), &PLAN, clock),
        ("DescribeSessions", &error("RequestTimeTooSkewed", "x"), &PLAN, clock),
        ("GetCallerIdentity", &error("SignatureDoesNotMatch", "x"), &PLAN, "the secret key does"),
        ("AssumeRole", &in_xml, &role, r"Odd: a\u{a}b\u{9b}\u{202e}c"),
        ("DescribeSessions", &hostile, &PLAN, harmless),
        ("GetResources", &hostile, &PLAN, harmless),
    ])
    .await;
}

/// STS is denied, out of order or out of reach: without tags every command does what it is for, and
/// with tags it says once why they are unknown.
#[tokio::test]
async fn without_sts() {
    let policy =
        write("without-sts.yaml", "version: 1\nrules: [{ id: r, when: all, forbid: true }]\n");
    let denied = "faults: [{ operation: GetCallerIdentity, kind: deny }]";
    let log = concat!(env!("CARGO_TARGET_TMPDIR"), "/no-sts.jsonl");
    for (words, status) in [
        (&["sweep", "--policy", &policy, "--enforce", "--yes"][..], 0),
        (&["lock", "user/a", "--policy", &policy, "--enforce", "--yes", "--log", log], 0),
        (&["backtest", &policy], 0),
        (&["explain", "--policy", &policy, "a-1"], 0),
    ] {
        let (output, _) = run_apart(denied, words, &[]).await;
        assert_eq!(output.status, Some(status), "{words:?}: {}", output.stderr);
        assert!(!output.stderr.contains("the account"), "{words:?}: {}", output.stderr);
    }
    let odd = error("Odd", r"a\nb\u009b\u202ec"); // In XML, which has no escape character.
    let refused = [("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1")];
    for (words, fault, variables, reason) in [
        (&PLAN[..], "deny", &[][..], "allow `sts:GetCallerIdentity`"),
        (&["backtest", STARTER], "deny", &[], "allow `sts:GetCallerIdentity`"),
        (&["lock", "user/a", "--policy", STARTER], "deny", &[], "allow `sts:GetCallerIdentity`"),
        (&["explain", "--policy", STARTER, "a-1"], "deny", &[], "allow `sts:GetCallerIdentity`"),
        (&PLAN, "unavailable", &[], "HTTP status 503, and the answer is not AWS's"),
        (&PLAN, &odd, &[], r"Odd: a\u{a}b\u{9b}\u{202e}c"),
        (&PLAN, "deny", &refused, "Connection refused"),
    ] {
        let faults = format!("faults: [{{ operation: GetCallerIdentity, kind: {fault} }}]");
        let (output, calls) = run_apart(&faults, words, variables).await;
        assert!(output.status.is_some_and(|it| it == 0 || it == 3), "{}", output.stderr);
        let warning = "warning: the account is not known, so no tags are known: ";
        assert_eq!(output.stderr.matches(warning).count(), 1, "{words:?}: {}", output.stderr);
        assert!(output.stderr.contains(reason), "{words:?}: {}", output.stderr);
        assert!(calls.iter().all(|it| it.operation != "GetResources"), "{words:?}");
    }
    let policy = "version: 1\nrules: [{ id: r, when: { region: eu-* }, forbid: true }]\n";
    let path = concat!(env!("CARGO_TARGET_TMPDIR"), "/region.yaml");
    std::fs::write(path, policy).expect("a file");
    let denied = "faults: [{ operation: GetCallerIdentity, kind: deny }]";
    let (output, _) = run_apart(denied, &["plan", "--policy", path], &[]).await;
    let warning = "warning: the account and Region are not known, nor are tags: ";
    assert!(output.stderr.contains(warning), "{}", output.stderr);
}

/// The same as `run`, with an endpoint for each service, so that one alone can be out of reach.
async fn run_apart(fleet: &str, words: &[&str], variables: &[(&str, &str)]) -> (Output, Vec<Call>) {
    let emulator = Emulator::new(Fleet::parse(&format!("{FLEET}{fleet}")).expect("a fleet"));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let served = tokio::spawn(serve(listener, emulator.clone()));
    let own = [
        ("AWS_ENDPOINT_URL_SSM", url.as_str()),
        ("AWS_ENDPOINT_URL_RESOURCE_GROUPS_TAGGING_API", url.as_str()),
        ("AWS_ENDPOINT_URL_STS", url.as_str()),
    ];
    let output = reach(words, &[&own, variables].concat()).await;
    served.abort();
    (output, emulator.calls())
}

/// If AWS cannot be reached, the error says in one line what to do.
#[tokio::test]
async fn unreachable() {
    let no_keys = [("AWS_ACCESS_KEY_ID", ""), ("AWS_SECRET_ACCESS_KEY", "")];
    let at = |url| [("AWS_ENDPOINT_URL", url)];
    for (words, variables, message) in [
        (
            &[][..],
            &no_keys[..],
            "no credentials were found; use `--profile`, set AWS_ACCESS_KEY_ID",
        ),
        (
            &["--profile", "nope"],
            &[],
            "no profile is called `nope`; see `aws configure list-profiles`",
        ),
        (&[], &[("AWS_PROFILE", "nope")], "no profile is called `nope`"),
        (&["--profile", "login"], &[], "run `aws sso login --profile login`"),
        (&["--profile", "behind-the-login"], &[], "run `aws sso login --profile login`"),
        (&["--profile", "console"], &[], "run `aws login --profile console`"),
        (&["--profile", "behind-the-console"], &[], "run `aws login --profile console`"),
        (&["--profile", "process"], &[], "the profile `process` gives no credentials"),
        (&["--role-arn", ROLE], &no_keys, "no credentials were found"),
        (
            &[],
            &at("http://127.0.0.1:1"),
            "(Connection refused (os error 111)); is `http://127.0.0.1:1` right? See `--endpoint-url`",
        ),
        (&[], &at("http://nowhere.invalid"), "is `http://nowhere.invalid` right?"),
        (&[], &[("AWS_REGION", "")], "no Region is set; use `--region`"),
        (&[], &[("AWS_CA_BUNDLE", "/none.pem")], "invalid path: /none.pem"),
        (&["--role-arn", ROLE], &at("http://127.0.0.1:1"), "is `http://127.0.0.1:1` right?"),
    ] {
        let words = [&["plan", "--policy", STARTER], words].concat();
        let output = reach(&words, variables).await;
        assert_eq!((output.status, output.stdout.as_str()), (Some(1), ""), "{message}");
        assert!(output.stderr.contains(message), "{message}: {}", output.stderr);
        assert_eq!(output.stderr.lines().count(), 1, "{}", output.stderr);
    }
    // STS may be the only one that is out of reach, so the listing has the last word.
    let proxy = [("HTTPS_PROXY", "http://127.0.0.1:1")];
    let output = reach(&[&PLAN[..], &["--region", "nowhere-1"]].concat(), &proxy).await;
    assert_eq!((output.status, output.stdout.as_str()), (Some(1), "0 seen.\n"));
    assert!(output.stderr.contains("check the endpoint's URL and any proxy"), "{}", output.stderr);
    assert_eq!(output.stderr.lines().count(), 1, "{}", output.stderr);
}

/// Variables that are empty, or that other SDKs know and this one does not, change nothing.
#[tokio::test]
async fn tolerated_configuration() {
    let names = write(
        "names.config",
        &format!(
            "[profile 'my profile']\nregion: eu-central-1\n{KEYS}[profile far]\nregion = eu-central-1\n\
             source_profile = my profile\nrole_arn = {ROLE}\n"
        ),
    );
    let names = ("AWS_CONFIG_FILE", names.as_str());
    for (profile, variables) in [
        ("", &[("AWS_ENDPOINT_URL_SSM", ""), ("AWS_ENDPOINT_URL_STS", "")][..]),
        ("", &[("AWS_MAX_ATTEMPTS", "0")]),
        ("", &[("AWS_MAX_ATTEMPTS", "")]),
        ("", &[("AWS_RETRY_MODE", "legacy")]),
        ("", &[("AWS_USE_FIPS_ENDPOINT", "true")]),
        ("", &[("AWS_USE_DUALSTACK_ENDPOINT", "true")]),
        ("my profile", &[names]),
        ("far", &[names]),
    ] {
        let option = ["--profile", profile];
        let words = [&PLAN[..], if profile.is_empty() { &[] } else { &option }].concat();
        let (output, calls) = run("", &words, variables).await;
        assert_eq!(output.status, Some(3), "{variables:?} {profile}: {}", output.stderr);
        let caller = &calls.last().expect("calls").caller;
        assert_eq!(caller.contains("Auditor"), profile == "far", "{caller}");
    }
    // Empty, it is as if it were not set: AWS is called, which is not there.
    let proxy = ("HTTPS_PROXY", "http://127.0.0.1:1");
    let output = reach(&PLAN, &[("AWS_ENDPOINT_URL", ""), proxy]).await;
    assert_eq!(output.status, Some(1), "{}", output.stderr);
    assert!(output.stderr.contains("check the endpoint's URL and any proxy"), "{}", output.stderr);
}

/// Half of some credentials is an error: those of another identity are never used in their place.
#[tokio::test]
async fn partial_credentials() {
    let key = "aws_access_key_id = AKIAHALF\n";
    let whole = write("whole.config", &format!("[default]\n{KEYS}"));
    let half = write("half.config", &format!("[default]\n{key}"));
    let secret = write("secret.config", "[default]\naws_secret_access_key = s\n");
    let none = [("AWS_ACCESS_KEY_ID", ""), ("AWS_SECRET_ACCESS_KEY", "")];
    let files = |credentials: &'static str, config| {
        let path = |name| match name {
            "half" => half.clone(),
            "secret" => secret.clone(),
            _ => whole.clone(),
        };
        [
            ("AWS_SHARED_CREDENTIALS_FILE".to_owned(), path(credentials)),
            ("AWS_CONFIG_FILE".to_owned(), path(config)),
        ]
    };
    let env = [("AWS_SECRET_ACCESS_KEY", "")];
    for (variables, files, found) in [
        (&env[..], files("whole", "whole"), "env are not complete: AWS_SECRET_ACCESS_KEY"),
        (&none, files("half", "whole"), "shared-credentials-file are not complete: aws_secret"),
        (&none, files("secret", "half"), "config-file are not complete: aws_secret_access_key"),
        (&none, files("secret", "whole"), ""),
        (&none, files("whole", "half"), ""),
    ] {
        let files = files.each_ref().map(|(name, path)| (name.as_str(), path.as_str()));
        let variables = [variables, &files].concat();
        let (output, calls) = run("", &PLAN, &variables).await;
        let status = if found.is_empty() { 3 } else { 1 };
        assert_eq!(output.status, Some(status), "{variables:?}: {}", output.stderr);
        assert!(output.stderr.contains(found), "{}", output.stderr);
        assert_eq!(calls.is_empty(), !found.is_empty(), "{variables:?}");
    }
}

/// Endpoints of services that the profile names, and that are not there: AWS's own are not called.
#[tokio::test]
async fn missing_services() {
    let text = format!("[default]\nregion = eu-central-1\nservices = my own\n{KEYS}");
    let path = write("services.config", &text);
    let variables = [("AWS_CONFIG_FILE", path.as_str()), ("AWS_REGION", "")];
    let output = reach(&PLAN, &variables).await;
    let expected = "error: the profile's setting `services` names `my own`, but the configuration file has \
                    no section `[services my own]`\n";
    assert_eq!((output.status, output.stderr.as_str()), (Some(1), expected));
}

const KEYS: &str = "aws_access_key_id = AKIAFILE\naws_secret_access_key = s\n";

/// If a certificate is refused, the error says in one line why.
#[tokio::test]
async fn untrusted_certificates() {
    let emulator = Emulator::new(Fleet::parse(FLEET).expect("a fleet"));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let plain = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(serve(listener, emulator.clone()));
    let valid = serve_tls(VALID, &plain).await;
    let expired = serve_tls(EXPIRED, &plain).await;
    let elsewhere = valid.replace("localhost", "127.0.0.2");
    let not_tls = plain.replace("http://", "https://");
    let trusted = ("AWS_CA_BUNDLE", AUTHORITY);
    for (url, variables, said, remediation) in [
        (&valid, &[][..], "UnknownIssuer", "set AWS_CA_BUNDLE to the authority's certificate file"),
        (&expired, &[trusted], "expired", "renew the endpoint's certificate, or set this"),
        (&elsewhere, &[trusted], "not valid for name", &format!("is `{elsewhere}` right?")),
        (&not_tls, &[], "InvalidContentType", &format!("is `{not_tls}` right?")),
    ] {
        let variables = [variables, &[("AWS_ENDPOINT_URL", url.as_str())]].concat();
        let Output { status, stderr, .. } = reach(&PLAN, &variables).await;
        assert_eq!((status, stderr.lines().count()), (Some(1), 1), "{said}: {stderr}");
        assert!(stderr.contains(said) && stderr.contains(remediation), "{said}: {stderr}");
    }
    assert!(emulator.calls().is_empty(), "nothing was sent, not even in plain text");
    let (folder, name) = AUTHORITY.rsplit_once('/').expect("a path");
    let home = format!("~/{name}");
    for variables in [
        &[trusted][..],
        &[("REQUESTS_CA_BUNDLE", AUTHORITY)],
        &[("AWS_CA_BUNDLE", &home), ("HOME", folder), ("REQUESTS_CA_BUNDLE", "/none.pem")],
    ] {
        let variables = [variables, &[("AWS_ENDPOINT_URL", &valid)]].concat();
        let output = reach(&PLAN, &variables).await;
        assert_eq!(output.status, Some(3), "{variables:?}: {}", output.stderr);
    }
}

/// `--debug` shows each call, and no secret.
#[tokio::test]
async fn debug_shows_no_secret() {
    let faults = r#"
faults:
  - { operation: GetCallerIdentity, times: 1, kind: internal_error }
  - { operation: DescribeSessions, times: 1, kind: throttle }
  - { operation: DescribeSessions, times: 1, skip: 1, kind: { slow: 6s } }
  - { operation: DescribeSessions, times: 1, skip: 2, kind: reset_before }
  - { operation: GetResources, kind: { error: { status: 400, code: "Odd\e\nError", message: x } } }
"#;
    let words = ["plan", "--policy", STARTER, "--debug", "--role-arn", ROLE, "--output", "json"];
    let token = [("AWS_SESSION_TOKEN", "token-of-the-environment")];
    let (output, calls) = run(faults, &words, &token).await;
    assert_eq!(output.status, Some(3), "{}", output.stderr);
    serde_json::from_str::<serde_json::Value>(&output.stdout).expect("JSON alone");
    let lines: Vec<_> = output.stderr.lines().filter(|it| it.starts_with("debug: ")).collect();
    assert_eq!(lines.len(), calls.len(), "{}", output.stderr);
    let expected = [
        ("AssumeRole", 1, "200, request 00000000-"),
        ("GetCallerIdentity", 1, "500 InternalFailure, request "),
        ("GetCallerIdentity", 2, "200, request "),
        ("DescribeSessions", 1, "400 ThrottlingException, request "),
        ("DescribeSessions", 2, "no answer, "),
        ("DescribeSessions", 3, ""),
        ("DescribeSessions", 4, "200, request "),
        ("GetResources", 1, r"400 Odd\u{1b}\u{a}Error, request "),
    ];
    assert_eq!(lines.len(), expected.len(), "{}", output.stderr);
    for (line, (operation, attempt, what)) in lines.iter().zip(expected) {
        let start = format!("debug: {operation} at 127.0.0.1:");
        let end = format!(", attempt {attempt}: {what}");
        assert!(line.starts_with(&start) && line.contains(&end), "{line}: {end}");
        assert!(line.ends_with(" ms"), "{line}");
    }
    for secret in ["secret-of", "token-of", "AKIA", "ASIA", "Signature", "emulator"] {
        assert!(!output.stderr.contains(secret), "{secret}: {}", output.stderr);
    }

    let listing = ["describe-sessions", "--state", "Active", "--debug"];
    let throttled = "faults: [{ operation: DescribeSessions, times: 1, kind: throttle }]";
    let (output, _) = run(throttled, &listing, &[]).await;
    assert!(output.stderr.contains("attempt 1: 400 Throttl"), "{}", output.stderr);
    assert!(output.stderr.contains("attempt 2: 200"), "{}", output.stderr);
    let quiet = run("", &["plan", "--policy", STARTER], &[]).await.0;
    assert_eq!(quiet.stderr, "");
}

/// An endless answer is not read to its end.
#[tokio::test]
async fn endless_answer() {
    const LONG: usize = 64 << 20;
    const LIST: [&str; 3] = ["describe-sessions", "--state", "Active"];
    let debug = &[&PLAN[..], &["--debug"]].concat();
    let without_keys = &[("AWS_ACCESS_KEY_ID", ""), ("AWS_SECRET_ACCESS_KEY", "")][..];
    let credentials = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
    for (status, words, asked_at, variables) in [
        ("200 OK", &PLAN[..], "AWS_ENDPOINT_URL", &[][..]),
        ("500 X", debug, "AWS_ENDPOINT_URL", &[]),
        ("200 OK", &LIST, "AWS_ENDPOINT_URL", &[]),
        ("200 OK", &PLAN, credentials, without_keys),
        ("200 OK", &LIST, credentials, without_keys),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let longest = Arc::new(AtomicUsize::new(0));
        let sent = Arc::clone(&longest);
        let served = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                let request = stream.read(&mut [0; 1 << 13]).await.expect("a request");
                assert_ne!(request, 0);
                let head = format!("HTTP/1.1 {status}\r\ncontent-length: {LONG}\r\n\r\n");
                stream.write_all(head.as_bytes()).await.expect("a client");
                let mut n = 0;
                while n < LONG && stream.write_all(&[b' '; 1 << 13]).await.is_ok() {
                    n += 1 << 13;
                    sent.fetch_max(n, Ordering::Relaxed);
                }
            }
        });
        let output = reach(words, &[variables, &[(asked_at, url.as_str())]].concat()).await;
        served.abort();
        assert!(!matches!(output.status, None | Some(0)), "{}", output.stderr);
        let n = longest.load(Ordering::Relaxed);
        assert!((4 << 20..LONG / 2).contains(&n), "{status}, {words:?}: {n} bytes were taken");
    }
}

/// Every command that evaluates looks documents up where they decide, and names the documents that it
/// cannot read.
#[tokio::test]
async fn document_types() {
    const FLEET: &str = r#"
sessions:
  - { id: a-1, owner: "arn:aws:iam::123456789012:user/a", target: i-0aa00000000000de1, age: 2h, document: Team-DbTunnel }
  - { id: a-2, owner: "arn:aws:iam::123456789012:user/a", target: i-0aa00000000000de1, age: 1h, document: Team-DbTunnel }
  - { id: b-1, owner: "arn:aws:iam::123456789012:user/b", target: i-0aa00000000000de1, age: 1h, document: Team-Shell }
documents: { Team-DbTunnel: Port, Team-Shell: Standard_Stream }
"#;
    const DENIED: &str = "faults: [{ operation: GetDocument, kind: deny }]\n";
    let rule = |name, more: &str| {
        let text =
            format!("version: 1\nrules: [{{ id: a, when: {{ session_type: Port }}, {more} }}]\n");
        write(name, &text)
    };
    let forbid = rule("types-forbid.yaml", "forbid: true");
    let count = rule(
        "types-count.yaml",
        "require: { concurrent: { per: owner, at_most: 1, keep: newest } }",
    );
    let exempt = write(
        "types-exempt.yaml",
        "version: 1\nrules: []\nexemptions: [{ id: x, when: { session_type: Port } }]\n",
    );
    let given = ["explain", "--policy", &forbid, "b-1", "--session-type", "Port"];
    for (words, expected, n_documents) in [
        (vec!["plan", "--policy", &forbid], "2 in violation", 2),
        (vec!["plan", "--policy", &count], "1 in violation", 1),
        (vec!["sweep", "--policy", &forbid], "2 in violation", 2),
        (vec!["lock", "user/a", "--policy", &exempt], "exempt", 1),
        (vec!["explain", "--policy", &forbid, "a-1"], "Port", 1),
        (vec!["explain", "--policy", &count, "a-1"], "before it: a-2", 1),
        (vec!["explain", "--policy", &forbid, "b-1"], "verdict: compliant", 1),
        (vec!["backtest", &forbid], "2 would have been", 2),
        (given.into(), "verdict: violation: a", 0),
    ] {
        let (output, calls) = run_on(FLEET, &words, &[]).await;
        let n_calls = calls.iter().filter(|it| it.operation == "GetDocument").count();
        let shown = output.stdout + &output.stderr;
        assert!(output.status.is_some_and(|it| it == 0 || it == 3), "{words:?}: {shown}");
        assert_eq!(n_calls, n_documents, "{words:?}: {shown}");
        assert!(shown.contains(expected) && !shown.contains("the session type of"), "{shown}");

        let (output, _) = run_on(&format!("{FLEET}{DENIED}"), &words, &[]).await;
        let n_problems = output.stderr.matches("the session type of `").count();
        assert_eq!(n_problems, n_documents.min(1), "{words:?}: {}", output.stderr);
        let names_action = output.stderr.contains("allow `ssm:GetDocument`");
        assert_eq!(names_action, n_documents != 0, "{words:?}: {}", output.stderr);
    }
}

/// `--session-type` stands for a look-up, and contradicts nothing that is known.
#[tokio::test]
async fn given_session_type() {
    let policy = write(
        "types-given.yaml",
        "version: 1\nrules: [{ id: a, when: { session_type: Port }, forbid: true }]\n",
    );
    for (document, given, status, part) in [
        ("Team-DbTunnel", "Port", 0, "verdict: violation: a"),
        ("Team-DbTunnel", "Standard_Stream", 0, "verdict: compliant"),
        ("Team-DbTunnel", "", 0, "verdict: undetermined (session_type_not_looked_up): a"),
        ("AWS-StartSSHSession", "Port", 0, "verdict: violation: a"),
        (
            "AWS-StartSSHSession",
            "Standard_Stream",
            1,
            "`AWS-StartSSHSession` is of type Port, not Standard_Stream",
        ),
        ("", "Port", 1, "the session has none"),
        ("Team-DbTunnel", "port", 2, "[possible values: "),
    ] {
        let mut session = json!({
            "SessionId": "a-1", "Target": "i-0aa00000000000de1", "Status": "Connected",
            "Owner": "arn:aws:iam::123456789012:user/a", "StartDate": "2026-03-02T12:00:00Z",
        });
        if !document.is_empty() {
            session["DocumentName"] = document.into();
        }
        let file = write(&format!("types-{document}.json"), &session.to_string());
        let mut words = vec!["explain", "--policy", &policy, "--from", &file];
        if !given.is_empty() {
            words.extend(["--session-type", given]);
        }
        let output = reach(&words, &[]).await;
        let shown = output.stdout + &output.stderr;
        assert_eq!(output.status, Some(status), "{document}, {given}: {shown}");
        assert!(shown.contains(part), "{document}, {given}: {shown}");
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

/// If AWS refuses a listing, the error says in one line what to do.
#[tokio::test]
async fn refused_listing() {
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
