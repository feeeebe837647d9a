//! Many accounts and Regions: `--organization` and `--accounts`.

use std::{collections::BTreeSet, process::Stdio, time::Duration};

use rexpect::process::WaitStatus;
use serde_json::Value;
use session_manager_emulator::{Organization, OrganizationFleet, Seed, serve};
use tokio::{net::TcpListener, process::Command, task::spawn_blocking, time::timeout};

use crate::{
    Output, assert_exited, at_the_prompt, check_golden, reapctl, variables, without_seconds, write,
};

const POLICY: &str = "
version: 1
rules: [{ id: one-hour, when: all, require: { max_age: 1h } }]
exemptions: [{ id: break-glass, when: { owner: role/break-glass } }]
limits: { circuit_breaker: { max_percent: 100 } }
";

/// Two accounts with a violator in each Region but the one that is off, and two with none to be seen.
const FLEET: &str = r#"
hub: { account: "999999999999", region: eu-west-1 }
page_size: 1
empty_pages: 1
parameters: { /policy: "POLICY" }
accounts:
  - id: "111111111111"
    role: Member
    regions:
      eu-west-1:
        sessions:
          - { id: old-11, target: i-0aa00000000000001, owner: "arn:aws:iam::111111111111:user/lena", age: 3h }
          - { id: new-11, target: i-0aa00000000000001, owner: "arn:aws:iam::111111111111:user/max", age: 5m }
      us-east-1:
        sessions: [{ id: old-12, target: i-0aa00000000000001, owner: "arn:aws:sts::111111111111:assumed-role/AWSReservedSSO_Dev_0123456789abcdef/lena", age: 4h }]
  - id: "222222222222"
    role: Member
    off: [us-east-1]
    regions:
      eu-west-1:
        sessions:
          - { id: old-21, target: i-0aa00000000000001, owner: "arn:aws:sts::222222222222:assumed-role/dev/lena", age: 2h }
          - { id: glass-21, target: i-0aa00000000000001, owner: "arn:aws:sts::222222222222:assumed-role/break-glass/lena", age: 9h }
FURTHER"#;

/// An account whose role cannot be assumed, and one that is suspended.
const CLOSED: &str = r#"
  - { id: "333333333333", refuses: true, regions: { eu-west-1: { sessions: [{ id: hidden-31, target: i-0aa00000000000001, age: 9h }] } } }
  - { id: "444444444444", state: SUSPENDED, regions: { eu-west-1: { sessions: [{ id: hidden-41, target: i-0aa00000000000001, age: 9h }] } } }
"#;

/// An account-Region whose listing is throttled for ever, and one that may not be listed.
const SICK: &str = r#"
  - id: "555555555555"
    role: Member
    regions:
      eu-west-1: { sessions: [{ id: old-51, target: i-0aa00000000000001, owner: "arn:aws:iam::555555555555:user/pat", age: 9h }], faults: [{ operation: DescribeSessions, kind: throttle }] }
      us-east-1: { sessions: [{ id: old-52, target: i-0aa00000000000001, owner: "arn:aws:iam::555555555555:user/pat", age: 9h }], faults: [{ operation: DescribeSessions, kind: deny }] }
"#;

const TARGET: &str = "i-0aa00000000000001";

const EVERYWHERE: [&str; 5] =
    ["--organization", "--regions", "eu-west-1,us-east-1", "--member-role", "Member"];

/// An organization on a socket, and its address.
struct World {
    organization: Organization,
    url: String,
}

impl World {
    async fn new(further: &str) -> Self {
        let fleet =
            FLEET.replace("FURTHER", further).replace("POLICY", &POLICY.replace('\n', "\\n"));
        let fleet = OrganizationFleet::parse(&fleet).expect("a fleet");
        let organization = Organization::new(fleet);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(serve(listener, organization.clone()));
        Self { organization, url }
    }

    /// Faster than AWS allows.
    async fn run(&self, words: &[&str]) -> Output {
        let words = [words, &["--calls-per-second", "100"]].concat();
        let output = reapctl(&words, &self.variables()).await;
        let foreign = self.organization.foreign_calls();
        assert!(foreign.is_empty(), "{words:?}: {foreign:?}");
        output
    }

    fn variables(&self) -> [(&str, &str); 4] {
        let mut variables = variables(&self.url);
        variables[2] = ("AWS_REGION", "eu-west-1");
        variables
    }

    /// Runs a command on a terminal. When it asks, this happens, and then the answer is yes.
    async fn confirmed(
        &self,
        words: String,
        question: &'static str,
        meanwhile: impl FnOnce() + Send + 'static,
    ) -> (String, WaitStatus) {
        let url = self.url.clone();
        let everywhere = EVERYWHERE.join(" ");
        let words = format!("{words} {everywhere} --region eu-west-1 --calls-per-second 100");
        let run = move || at_the_prompt(&variables(&url), &words, question, meanwhile, "y\n");
        spawn_blocking(run).await.expect("a screen")
    }

    /// The ids of the active sessions, wherever they are.
    fn active(&self) -> Vec<String> {
        let accounts = [1, 2, 3, 4, 5].map(|it: u8| it.to_string().repeat(12));
        let mut ids: Vec<String> = accounts
            .iter()
            .flat_map(|account| ["eu-west-1", "us-east-1"].map(|region| (account, region)))
            .flat_map(|(account, region)| {
                self.organization.account_region(account, region).active_ids()
            })
            .collect();
        ids.sort();
        ids
    }

    /// The accounts or, of roles, the ARNs that were called for.
    fn n_calls(&self, operation: &str, account: &str) -> usize {
        let calls = self.organization.calls().into_iter();
        calls
            .filter(|it| it.operation == operation && it.body.to_string().contains(account))
            .count()
    }
}

fn policy(name: &str) -> String {
    write(&format!("organization.{name}.yaml"), POLICY)
}

fn json(output: &Output) -> Value {
    serde_json::from_str(&output.stdout).expect(&output.stderr)
}

/// One table over all, and then those that were not seen: an account without access once, a suspended
/// account and a Region that is off not at all.
#[tokio::test]
async fn plan_over_all() {
    let world = World::new(CLOSED).await;
    let policy = policy("plan");
    let plan = [&["plan", "--policy", &policy], &EVERYWHERE[..]].concat();
    let output = world.run(&plan).await;
    assert_eq!(output.status, Some(1), "{}", output.stderr);
    let (table, rest) = output.stdout.split_once("\n\nNot complete:\n\n").expect(&output.stdout);
    let header = table.lines().next().expect("a header");
    assert!(header.trim_start().starts_with("ACCOUNT       REGION     AGE "), "{header}");
    let ids: Vec<_> = table.lines().skip(1).filter_map(|it| it.split(' ').next_back()).collect();
    assert_eq!(
        ids,
        ["old-12", "old-11", "old-21", "glass-21", "new-11"],
        "the oldest violator first"
    );
    assert!(table.contains(" 111111111111  us-east-1  4h"), "{table}");
    let (not_complete, counts) = rest.split_once("\n\n").expect("the counts");
    assert_eq!(not_complete.matches("333333333333  all").count(), 1, "{not_complete}");
    assert_eq!(not_complete.lines().count(), 2, "{not_complete}");
    assert!(not_complete.contains("no_access") && not_complete.contains("`AssumeRole` was denied"));
    let first = "3 accounts, 6 account-Regions: 3 swept, 2 no_access, 1 region_off.\n5 seen, ";
    assert!(counts.starts_with(first), "{counts}");
    let error = "error: 2 of 6 account-Regions are not complete: violating sessions may be active";
    assert!(output.stderr.starts_with(error), "{}", output.stderr);
    assert_eq!(world.n_calls("AssumeRole", "333333333333"), 1);
    assert_eq!(world.n_calls("AssumeRole", "111111111111"), 1);
    assert_eq!(world.n_calls("AssumeRole", "444444444444"), 0);

    let excluding = [&plan[..], &["--exclude", "333333333333"]].concat();
    let output = world.run(&excluding).await;
    assert_eq!((output.status, output.stderr.as_str()), (Some(3), ""), "only violators are left");
    let calm = write("organization.calm.yaml", "version: 1\nrules: []\n");
    let calm =
        [&["plan", "--policy", &calm, "--exclude", "333333333333"], &EVERYWHERE[..]].concat();
    assert_eq!(world.run(&calm).await.status, Some(0), "a Region that is off is no failure");
}

/// JSON has the report of one account-Region over all, and each account-Region; every session says where
/// it is.
#[tokio::test]
async fn formats() {
    let world = World::new(CLOSED).await;
    let policy = policy("formats");
    let plan = [&["plan", "--policy", &policy], &EVERYWHERE[..]].concat();
    let output = world.run(&[&plan[..], &["--output", "json"]].concat()).await;
    let all = json(&output);
    assert_eq!((&all["accounts"], &all["account_regions"]), (&3.into(), &6.into()));
    assert_eq!(all["statuses"], serde_json::json!({"swept": 3, "no_access": 2, "region_off": 1}));
    assert_eq!((&all["verdicts"]["seen"], &all["verdicts"]["violation"]), (&5.into(), &3.into()));
    assert_eq!(all["coverage"]["complete"], false);
    assert_eq!((all.get("account"), all.get("region")), (None, None));
    assert_eq!((&all["rules"]["one-hour"], &all["truncated"]), (&3.into(), &false.into()));
    assert!(all["oldest_violation_s"].as_u64().is_some_and(|it| (14_400..15_000).contains(&it)));
    assert_eq!(
        all["sessions_sha256"],
        reaper_core::policy::sha256("glass-21\nnew-11\nold-11\nold-12\nold-21\n")
    );
    let scopes = all["scopes"].as_array().expect("a list");
    let complete: Vec<_> = scopes.iter().filter_map(|it| it["complete"].as_bool()).collect();
    assert_eq!(complete, [true, true, true, true, false, false]);
    let of = |i: usize| (&scopes[i]["account"], &scopes[i]["region"], &scopes[i]["status"]);
    assert_eq!(of(1), (&"111111111111".into(), &"us-east-1".into(), &"swept".into()));
    assert_eq!(of(3), (&"222222222222".into(), &"us-east-1".into(), &"region_off".into()));
    assert_eq!(scopes[1]["verdicts"]["violation"], 1);
    let first = &all["sessions"][0];
    assert_eq!(
        (&first["account"], &first["region"]),
        (&"111111111111".into(), &"us-east-1".into())
    );
    assert_eq!(first["session_id"], "old-12");

    let output = world.run(&[&plan[..], &["--output", "csv"]].concat()).await;
    assert!(output.stdout.starts_with("account,region,verdict,"), "{}", output.stdout);
    assert!(output.stdout.contains("\n222222222222,eu-west-1,violation,"), "{}", output.stdout);
    let warning = "warning: 333333333333 in all Regions: no_access: the role";
    assert_eq!(output.stderr.matches(warning).count(), 1, "{}", output.stderr);

    let output = world.run(&[&plan[..], &["--output", "ndjson"]].concat()).await;
    assert_eq!(output.stdout.lines().count(), 5, "{}", output.stdout);
    let first: Value =
        serde_json::from_str(output.stdout.lines().next().expect("a line")).expect("JSON");
    assert_eq!(first["account"], "111111111111");

    let one = world.run(&["plan", "--policy", &policy, "--output", "csv"]).await;
    assert!(one.stdout.starts_with("verdict,age_s,"), "of one account: {}", one.stdout);
}

/// What AWS throttles or denies in one account-Region is incomplete, and the others are swept. The exit
/// status is not 0 although no violator was seen.
#[tokio::test]
async fn sick_account_region() {
    let world = World::new(SICK).await;
    let calm = write("organization.sick.yaml", "version: 1\nrules: []\n");
    let plan = [&["plan", "--policy", &calm, "--output", "json"], &EVERYWHERE[..]].concat();
    let output = world.run(&plan).await;
    assert_eq!(output.status, Some(1), "{}", output.stderr);
    let all = json(&output);
    let statuses = serde_json::json!({"swept": 3, "incomplete": 1, "region_off": 1, "denied": 1});
    assert_eq!(all["statuses"], statuses);
    let problem = all["scopes"][4]["problem"].as_str().expect("a text");
    assert!(problem.contains("`DescribeSessions` was throttled"), "{problem}");
}

/// Exactly the violators are terminated, each with its own account's keys, under a session name for
/// CloudTrail.
#[tokio::test]
async fn enforce() {
    let world = World::new(CLOSED).await;
    let sweep =
        ["sweep", "--policy-parameter", "/policy", "--enforce", "--yes", "--output", "json"];
    let name = ["--role-session-name", "jo"];
    let output = world.run(&[&sweep[..], &EVERYWHERE, &name].concat()).await;
    assert_eq!(output.status, Some(1), "an account was not seen: {}", output.stderr);
    let all = json(&output);
    assert_eq!((&all["outcomes"]["terminated"], &all["mode"]), (&3.into(), &"enforce".into()));
    assert_eq!(world.active(), ["glass-21", "hidden-31", "hidden-41", "new-11"]);
    let calls = world.organization.calls();
    let terminations = calls.iter().filter(|it| it.operation == "TerminateSession");
    let callers: BTreeSet<_> = terminations.map(|it| it.caller.clone()).collect();
    let caller = |account| format!("arn:aws:sts::{account}:assumed-role/Member/jo");
    assert_eq!(callers, ["111111111111", "222222222222"].map(caller).into());

    let dry =
        world.run(&[&["sweep", "--policy-parameter", "/policy"], &EVERYWHERE[..]].concat()).await;
    assert!(dry.stdout.contains("This was a dry run"), "{}", dry.stdout);
}

/// After the question everything is read again: only what was shown and still violates is terminated.
#[tokio::test]
async fn enforce_asks_once() {
    let world = World::new("").await;
    let organization = world.organization.clone();
    let meanwhile = move || {
        let late = |id: &str, owner: &str| Seed {
            id: Some(id.into()),
            owner: Some(owner.into()),
            target: Some(TARGET.into()),
            age: Some(jiff::SignedDuration::from_hours(5)),
            ..Seed::default()
        };
        let ireland = organization.account_region("222222222222", "eu-west-1");
        ireland.start(late("late-21", "arn:aws:iam::222222222222:user/late"));
        let exempt = POLICY.replace("role/break-glass", "[role/break-glass, role/dev]");
        organization.hub().set_parameter("/policy", &exempt);
    };
    let question = "Terminate 3 sessions in 2 accounts and 2 Regions? [y/N]";
    let words = "sweep --policy-parameter /policy --enforce".to_owned();
    let (screen, status) = world.confirmed(words, question, meanwhile).await;
    assert_exited(status, 3, &screen);
    assert!(screen.contains("2 terminated, 1 deferred"), "{screen}");
    assert!(screen.contains("deferred (not_confirmed)"), "{screen}");
    assert!(!screen.contains("This was a dry run"), "{screen}");
    assert_eq!(world.active(), ["glass-21", "late-21", "new-11", "old-21"], "{screen}");
    assert!(world.organization.foreign_calls().is_empty());
}

/// Ctrl-C stops the terminations in every account-Region.
#[tokio::test]
async fn ctrl_c() {
    let world = World::new("").await;
    for account in ["111111111111", "222222222222"] {
        for n in 0..20 {
            world.organization.account_region(account, "eu-west-1").start(Seed {
                id: Some(format!("many-{account}-{n}")),
                owner: Some(format!("arn:aws:iam::{account}:user/x")),
                target: Some(TARGET.into()),
                age: Some(jiff::SignedDuration::from_hours(2)),
                ..Seed::default()
            });
        }
    }
    let policy = policy("ctrl_c");
    let words = ["sweep", "--policy", &policy, "--enforce", "--yes", "--calls-per-second", "2"];
    let child = Command::new(env!("CARGO_BIN_EXE_reapctl"))
        .args([&words[..], &EVERYWHERE].concat())
        .env_clear()
        .envs(world.variables())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let pid = child.id().expect("a process").to_string();
    let n_terminations = || {
        let calls = world.organization.calls().into_iter();
        calls.filter(|it| it.operation == "TerminateSession").count()
    };
    let four = async {
        while n_terminations() < 4 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(Duration::from_secs(30), four).await.expect("terminations start");
    let killed = Command::new("kill").args(["-INT", &pid]).status().await.expect("it starts");
    assert!(killed.success());
    let output = timeout(Duration::from_mins(1), child.wait_with_output()).await.expect("it ends");
    let output = output.expect("an end");
    let [stdout, stderr] =
        [output.stdout, output.stderr].map(|it| String::from_utf8(it).expect("UTF-8"));
    assert_eq!(output.status.code(), Some(1), "{stdout}{stderr}");
    assert!(stderr.contains("error: interrupted: 45 seen"), "{stderr}");
    assert!(stdout.contains("deferred (interrupted)"), "{stdout}");
    let n_terminated = 45 - world.active().len();
    assert!((3..20).contains(&n_terminated), "{n_terminated}");
}

/// A lock goes on in all account-Regions at once, also against sessions that start meanwhile, names those
/// that it could not see, and prints commands for all accounts and for each.
#[tokio::test]
async fn lock_everywhere() {
    let world = World::new(CLOSED).await;
    let policy = policy("lock");
    let log = write("organization.lock.jsonl", "");
    let lock = ["lock", "user/lena", "role/dev", "permission-set/*/lena", "--policy", &policy];
    let lock = [&lock[..], &EVERYWHERE].concat();
    let output = world.run(&lock).await;
    assert_eq!(output.status, Some(1), "{}", output.stderr);
    assert!(output.stdout.contains("3 sessions would be terminated"), "{}", output.stdout);
    assert_eq!(world.active().len(), 7);

    let enforce = ["--enforce", "--yes", "--reason", "INC-7", "--log", &log, "--for", "30s"];
    let output = world.run(&[&lock[..], &enforce].concat()).await;
    assert_eq!(output.status, Some(1), "{}{}", output.stdout, output.stderr);
    assert_eq!(world.active(), ["glass-21", "hidden-31", "hidden-41", "new-11"]);
    let stdout = &output.stdout;
    assert!(stdout.contains(" 333333333333  all     no_access"), "{stdout}");
    assert!(
        stdout.contains("None of these owners' sessions is left to be terminated."),
        "{stdout}"
    );
    let error =
        "error: 2 of 6 account-Regions are not complete: sessions of these owners may be active";
    assert!(output.stderr.contains(error), "{}", output.stderr);
    assert_eq!(stdout.matches("aws organizations create-policy").count(), 1, "{stdout}");
    assert_eq!(stdout.matches("aws sso-admin provision-permission-set").count(), 1, "{stdout}");
    for (account, command) in [
        ("111111111111", "put-user-policy --user-name='lena'"),
        ("222222222222", "put-role-policy --role-name='dev'"),
    ] {
        let (_, commands) =
            stdout.split_once(&format!("# In the account {account}:\n")).expect(stdout);
        assert!(commands.lines().next().is_some_and(|it| it.contains(command)), "{stdout}");
    }
    let scp = stdout.lines().find(|it| it.contains("create-policy")).expect("a command");
    let (_, content) = scp.split_once(" --content '").expect("a policy");
    let content: Value = serde_json::from_str(content.trim_end_matches('\'')).expect("JSON");
    let statements = content["Statement"].as_array().expect("a list");
    let arns: Vec<_> = statements
        .iter()
        .map(|it| it["Condition"]["ArnLike"]["aws:PrincipalArn"][0].clone())
        .collect();
    let sso = "arn:*:iam::*:role/aws-reserved/sso.amazonaws.com/*AWSReservedSSO_*_????????????????";
    assert_eq!(arns, ["arn:*:iam::*:user/lena", "arn:*:iam::*:role/dev", sso]);
    assert_eq!(statements[2]["Condition"]["StringLike"]["aws:userid"], "*:lena");
    let log = std::fs::read_to_string(log).expect("a log");
    let terminations = log.lines().filter(|it| it.contains(r#""message":"session terminated""#));
    let places: BTreeSet<_> = terminations
        .map(|it| serde_json::from_str::<Value>(it).expect("JSON"))
        .map(|it| format!("{} {}", it["account"], it["region"]))
        .collect();
    assert_eq!(places.len(), 3, "{places:?}");
}

/// A lock asks once for all, terminates what was shown, and then what started meanwhile.
#[tokio::test]
async fn lock_asks_once() {
    let world = World::new("").await;
    let policy = policy("lock_asks");
    let log = write("organization.lock_asks.jsonl", "");
    let organization = world.organization.clone();
    let meanwhile = move || {
        for account in ["111111111111", "222222222222"] {
            organization.account_region(account, "eu-west-1").start(Seed {
                id: Some(format!("late-{account}")),
                owner: Some(format!("arn:aws:iam::{account}:user/lena")),
                target: Some(TARGET.into()),
                age: Some(jiff::SignedDuration::from_mins(1)),
                ..Seed::default()
            });
        }
    };
    let question = "Terminate 1 session in 1 account and 1 Region? [y/N]";
    let words = format!("lock user/lena --policy {policy} --enforce --log {log} --for 30s");
    let (screen, status) = world.confirmed(words, question, meanwhile).await;
    assert_exited(status, 0, &screen);
    assert_eq!(world.active(), ["glass-21", "new-11", "old-12", "old-21"], "{screen}");
    let (_, after) = screen.split_once(question).expect("the question");
    assert_eq!(after.matches("deferred (not_confirmed)").count(), 1, "{screen}");
}

/// A listing that fails for a while is repeated, and does not hold up the others.
#[tokio::test]
async fn lock_goes_on() {
    let faults = SICK.replace("kind: throttle", "times: 8, kind: internal_error");
    let faults = faults.replace("kind: deny", "times: 1, kind: internal_error");
    let world = World::new(&faults).await;
    let log = write("organization.lock_on.jsonl", "");
    let policy = policy("lock_on");
    let lock =
        ["lock", "user/*", "role/dev", "--policy", &policy, "--enforce", "--yes", "--log", &log];
    let output = world.run(&[&lock[..], &["--for", "50s"], &EVERYWHERE].concat()).await;
    let left: Vec<_> = world.active();
    assert_eq!(output.status, Some(0), "{left:?}\n{}{}", output.stdout, output.stderr);
    assert_eq!(left, ["glass-21", "old-12"], "exempt, or of a permission set");
}

/// One result over the histories of all.
#[tokio::test]
async fn backtest_over_all() {
    let world = World::new(CLOSED).await;
    let policy = policy("backtest");
    let backtest = [&["backtest", &policy], &EVERYWHERE[..]].concat();
    let output = world.run(&[&backtest[..], &["--output", "json"]].concat()).await;
    assert_eq!(output.status, Some(1), "{}", output.stderr);
    let all = json(&output);
    assert_eq!(all["sessions"].as_array().map(Vec::len), Some(5));
    assert_eq!(all["sessions"][1]["account"], "111111111111", "the oldest but one");
    let n = |name: &str, key: &str| all[name][key]["sessions"].as_u64();
    assert_eq!(
        (n("by_account", "111111111111"), n("by_account", "222222222222")),
        (Some(2), Some(1))
    );
    assert_eq!((n("by_region", "eu-west-1"), n("by_region", "us-east-1")), (Some(2), Some(1)));
    assert_eq!((n("rules", "one-hour"), &all["account_regions"]), (Some(3), &6.into()));
    assert_eq!(all["statuses"]["no_access"], 2);

    let old = &write("organization.old.yaml", "version: 1\nrules: []\n");
    let page = concat!(env!("CARGO_TARGET_TMPDIR"), "/organization.html");
    let output = world.run(&[&backtest[..], &["--against", old, "--html", page]].concat()).await;
    assert!(output.stdout.contains("\n ACCOUNT       SESSIONS  TIME"), "{}", output.stdout);
    assert!(
        output.stdout.contains(" 111111111111  us-east-1  terminated now"),
        "{}",
        output.stdout
    );
    assert!(output.stderr.contains("error: 2 of 6 account-Regions are not complete"));
    let page = std::fs::read_to_string(page).expect("a page");
    assert!(page.contains(" in 111111111111 us-east-1, from"), "{page}");
}

/// The accounts of a file; without `--regions`, in the configured Region.
#[tokio::test]
async fn accounts_file() {
    let world = World::new("").await;
    let accounts = &write("organization.accounts.txt", "# shops\n222222222222 # the second\n\n");
    let policy = &policy("accounts");
    let plan = ["plan", "--policy", policy, "--accounts", accounts, "--member-role", "Member"];
    let output = world.run(&plan).await;
    assert_eq!((output.status, output.stderr.as_str()), (Some(3), ""));
    assert!(output.stdout.contains("1 account, 1 account-Region: 1 swept."), "{}", output.stdout);
    assert!(world.organization.calls().iter().all(|it| it.operation != "ListAccounts"));
}

/// Every error of an accounts file is shown with its line, before AWS is asked.
#[tokio::test]
async fn accounts_file_errors() {
    let world = World::new("").await;
    let text = "111111111111\n12345\n\n111111111111\nall # of them\n";
    let path = &write("organization.wrong.txt", text);
    let policy = &policy("wrong");
    for command in ["plan", "sweep", "lock", "backtest"] {
        let words = match command {
            "lock" => vec![command, "user/x", "--policy", policy],
            "backtest" => vec![command, policy],
            _ => vec![command, "--policy", policy],
        };
        let words = [&words[..], &["--accounts", path, "--member-role", "Member"]].concat();
        let output = world.run(&words).await;
        assert_eq!(output.status, Some(2), "{command}: {}", output.stderr);
        let expected = format!(
            "error: {path}, line 2: `12345` is not an account's id, which has 12 digits\n\
             error: {path}, line 4: 111111111111 is in line 1 already\n\
             error: {path}, line 5: `all` is not an account's id, which has 12 digits\n\
             error: {path} has 3 errors\n"
        );
        assert_eq!(output.stderr, expected, "{command}");
    }
    assert!(world.organization.calls().is_empty());
}

/// Options that make no sense are refused with what to do.
#[tokio::test]
async fn options() {
    let world = World::new("").await;
    let policy = &policy("options");
    let empty = &write("organization.empty.txt", "# none\n");
    let role = "arn:aws:iam::111111111111:role/Member";
    for (words, expected) in [
        (&["--organization"][..], "--member-role <NAME>"),
        (&["--regions", "eu-west-1"], "<--organization|--accounts <FILE>>"),
        (&["--organization", "--accounts", empty, "--member-role", "M"], "cannot be used with"),
        (&["--organization", "--member-role", role], "write the role's name alone"),
        (
            &["--organization", "--member-role", "M", "--regions", "Ireland"],
            "such as `eu-central-1`",
        ),
        (
            &["--organization", "--member-role", "M", "--exclude", "1"],
            "write the 12 digits of an id",
        ),
        (
            &["--organization", "--member-role", "M", "--regions", "eu-west-1,eu-west-1"],
            "`--regions` names eu-west-1 twice",
        ),
        (
            &["--organization", "--member-role", "Member", "--exclude", "666666666666"],
            "`--exclude` names 666666666666, which is not among the 2 accounts",
        ),
        (
            &["--organization", "--member-role", "M", "--role-arn", role],
            "name the role of every account with `--member-role`",
        ),
        (&["--accounts", empty, "--member-role", "M"], "names no account"),
    ] {
        let output = world.run(&[&["plan", "--policy", policy], words].concat()).await;
        assert_eq!(output.status, Some(2), "{words:?}: {}", output.stderr);
        assert!(output.stderr.contains(expected), "{words:?}: {}", output.stderr);
    }
    let stdin = ["plan", "--policy", "-", "--accounts", "-", "--member-role", "M"];
    assert!(world.run(&stdin).await.stderr.contains("only one of the files can be standard input"));
}

/// The demonstration shows each account-Region, the steps of a run, and what was not swept.
#[tokio::test]
async fn demo() {
    let Output { status, stdout, stderr } = reapctl(&["demo", "--organization"], &[]).await;
    assert_eq!((status, stderr.as_str()), (Some(0), ""));
    check_golden("demo_organization.txt", &without_seconds(&stdout));
}
