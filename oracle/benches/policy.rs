//! The cost of evaluating a policy: `cargo bench --manifest-path oracle/Cargo.toml`, in the profile that
//! is deployed, which is optimized for size.

use std::{collections::BTreeMap, hint::black_box};

use divan::{Bencher, counter::ItemsCount};
use jiff::{SignedDuration, Timestamp};
use reaper_core::{
    census::{Evaluator, Unseen, oldest_first},
    evaluate::evaluate,
    policy::Policy,
    session::Session,
    target::{Tags, Unknown},
};

/// How many rules.
const RULES: [usize; 3] = [1, 10, 100];
/// How many sessions of one listing.
const FLEETS: [usize; 3] = [1_000, 10_000, 100_000];
/// How many sessions.
const SESSIONS: [usize; 3] = [10, 100, 1_000];

fn main() {
    divan::main();
}

/// Rules of the common kinds in turn, so that the cost is proportional to their number.
fn policy_text(rules: usize) -> String {
    let rule = |i: usize| {
        let rest = match i % 10 {
            0 => "when: all, unless: { owner: role/batch-* }, require: { max_age: 12h }".into(),
            1 => "when: { target_tags: { env: [prod, production] } }, require: { max_age: 1h }".into(),
            2 => format!("when: {{ target_tags: {{ team: team-{} }} }}, require: {{ owner: [role/sre-*, permission-set/Ops{i}] }}", i % 3),
            3 => "when: { target_tags: { env: prod }, access_type: Standard }, require: { reason: '^(INC|CHG)-[0-9]+' }".into(),
            4 => "when: { target_tags: { env: prod }, document: 'AWS-StartPortForwardingSession*' }, forbid: true".into(),
            5 => "when: { status: Disconnected }, require: { max_age: 30m }".into(),
            6 => "when: { owner: 'permission-set/Contractor*' }, require: { hours: 'Mon-Fri 08:00-18:30 Europe/Berlin' }".into(),
            7 => format!("when: {{ owner: [user/old-{i}, 'user/team/*'] }}, forbid: true"),
            8 => format!("when: {{ target: 'ecs:lab-{i}_*' }}, require: {{ max_age: 4h }}"),
            _ => format!("when: {{ owner: 'arn:aws:sts::*:assumed-role/app-{i}-*/*' }}, require: {{ document: SSM-SessionManagerRunShell }}"),
        };
        format!("  - {{ id: rule-{i}, {rest} }}\n")
    };
    let rules: String = (0..rules).map(rule).collect::<Vec<_>>().concat();
    format!(
        "version: 1\ntag_keys: [env, team, \"reaper:exempt\"]\nrules:\n{rules}exemptions:\n  \
         - {{ id: break-glass, when: {{ owner: [role/BreakGlass, root] }} }}\n  \
         - {{ id: tagged, when: {{ target_tags: {{ \"reaper:exempt\": \"true\" }} }} }}\n"
    )
}

fn policy(rules: usize) -> Policy {
    Policy::parse(&policy_text(rules)).expect("a valid policy")
}

fn now() -> Timestamp {
    "2026-03-02T12:00:00Z".parse().expect("an instant")
}

/// Sessions of several owners, documents and ages, most of them compliant.
fn sessions(n: usize) -> Vec<Session> {
    let role = |name: &str| {
        format!("arn:aws:sts::123456789012:assumed-role/{name}/jane.doe@example.com").into()
    };
    let session = |i: usize| Session {
        id: format!("jane.doe@example.com-{i:017x}").into(),
        owner: match i % 5 {
            0 => role("AWSReservedSSO_ContractorEU_2b03e7d876722882"),
            1 => role("sre-oncall"),
            2 => "arn:aws:iam::123456789012:user/team/jane".into(),
            3 => role("app-19-deploy"),
            _ => role("developer"),
        },
        target: if i.is_multiple_of(4) {
            format!("ecs:lab_{i:032x}_{i:032x}-1").into()
        } else {
            format!("i-{i:017x}").into()
        },
        started_at: now() - SignedDuration::from_mins(i64::try_from(i % 50 * 10).expect("few")),
        status: Some("Connected".into()),
        document: Some("SSM-SessionManagerRunShell".into()),
        reason: i.is_multiple_of(3).then(|| "INC-12345: disk full on the build host".into()),
        access_type: Some("Standard".into()),
    };
    (0..n).map(session).collect()
}

fn tags() -> Tags {
    let tags = [("env", "dev"), ("team", "team-1")];
    let tags: BTreeMap<_, _> =
        tags.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
    Tags::Known(tags.into())
}

fn evaluate_all(bencher: Bencher<'_, '_>, rules: usize, n: usize, tags: &Tags) {
    let (policy, sessions, now) = (policy(rules), sessions(n), now());
    bencher.counter(ItemsCount::new(n)).bench_local(|| {
        for session in &sessions {
            let _ =
                black_box(evaluate(black_box(&policy), now, black_box(session), black_box(tags)));
        }
    });
}

#[divan::bench(args = RULES)]
fn parse(bencher: Bencher<'_, '_>, rules: usize) {
    let text = policy_text(rules);
    bencher.bench_local(|| Policy::parse(black_box(&text)));
}

/// For a hundred sessions, as the next two.
#[divan::bench(args = RULES)]
fn evaluate_with_tags(bencher: Bencher<'_, '_>, rules: usize) {
    evaluate_all(bencher, rules, 100, &tags());
}

#[divan::bench(args = RULES)]
fn evaluate_before_the_look_up(bencher: Bencher<'_, '_>, rules: usize) {
    evaluate_all(bencher, rules, 100, &Tags::Unknown(Unknown::TagsNotLookedUp));
}

/// With all completions of the tags, at most 256.
#[divan::bench(args = RULES)]
fn evaluate_without_tags(bencher: Bencher<'_, '_>, rules: usize) {
    evaluate_all(bencher, rules, 100, &Tags::Unknown(Unknown::TagsNotReturned));
}

/// Twenty rules.
#[divan::bench(args = SESSIONS)]
fn evaluate_sessions(bencher: Bencher<'_, '_>, n: usize) {
    evaluate_all(bencher, 20, n, &tags());
}

/// A listing of so many sessions of a tenth as many owners, by 18 rules.
#[divan::bench(args = FLEETS, sample_count = 20)]
fn listing(bencher: Bencher<'_, '_>, n: usize) {
    conclude(bencher, n, "");
}

/// The same, by two more rules, which count. One owner in ten has more sessions than they allow.
#[divan::bench(args = FLEETS, sample_count = 20)]
fn listing_counted(bencher: Bencher<'_, '_>, n: usize) {
    let counting = "  - { id: each, when: all, require: { concurrent: { per: owner, at_most: 10, keep: newest } } }\n  \
                    - { id: pair, when: { status: Connected }, require: { concurrent: { per: owner_and_target, at_most: 3, keep: newest } } }\n";
    conclude(bencher, n, counting);
}

fn conclude(bencher: Bencher<'_, '_>, n: usize, counting: &str) {
    let text = policy_text(18).replace("exemptions:", &format!("{counting}exemptions:"));
    let policy = Policy::parse(&text).expect("a valid policy");
    let mut sessions = sessions(n);
    let n_owners = n / 10;
    for (i, session) in sessions.iter_mut().enumerate() {
        // Every tenth owner has one of another's sessions as well.
        let owner = if i % 100 == 7 { (i / 100 * 10) % n_owners } else { i % n_owners };
        session.owner = format!("arn:aws:sts::123456789012:assumed-role/developer/{owner}").into();
    }
    let (evaluator, tags) = (Evaluator::new(&policy, now()), tags());
    bencher.counter(ItemsCount::new(n)).bench_local(|| {
        let evaluate = |it: &Session| evaluator.evaluate(Box::new(it.clone()), tags.clone());
        let mut evaluated: Vec<_> = black_box(&sessions).iter().map(evaluate).collect();
        evaluated.sort_unstable_by(|a, b| oldest_first(&a.session, &b.session)); // As a sweep does.
        evaluator.conclude(&mut evaluated, Unseen::NOTHING, || true);
        evaluated
    });
}

/// A glob with many ways to match, on an owner of so many characters that does not.
#[divan::bench(args = [500, 1_000, 2_000])]
fn hostile_glob(bencher: Bencher<'_, '_>, length: usize) {
    let glob = format!("arn:{}b", "*a".repeat(28));
    hostile(bencher, &format!("owner: \"{glob}\""), &format!("arn:{}", "a".repeat(length)), "");
}

/// An expression that takes a backtracking engine exponential time.
#[divan::bench(args = [500, 1_000, 2_000])]
fn hostile_expression(bencher: Bencher<'_, '_>, length: usize) {
    hostile(bencher, "reason: '^(([a-z])+.)+[A-Z]([a-z])+$'", "", &"a".repeat(length));
}

/// As large as it may be, on a text that keeps all of it busy.
#[divan::bench(args = [500, 1_000, 2_000])]
fn hostile_large_expression(bencher: Bencher<'_, '_>, length: usize) {
    hostile(bencher, "reason: '(a?){400}b'", "", &"a".repeat(length));
}

fn hostile(bencher: Bencher<'_, '_>, condition: &str, owner: &str, reason: &str) {
    let text = format!("version: 1\nrules: [{{ id: a, when: {{ {condition} }}, forbid: true }}]\n");
    let policy = Policy::parse(&text).expect("a valid policy");
    let mut session = sessions(1).remove(0);
    session.owner = owner.into();
    session.reason = Some(reason.into());
    bencher.bench_local(|| evaluate(&policy, now(), black_box(&session), &tags()));
}
