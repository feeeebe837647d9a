//! `reapctl demo`: one sweep of a sample fleet on the emulator, first dry, then for real.

use std::{collections::BTreeMap, time::Duration};

use anstream::println;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_ssm::config::{Credentials, SharedCredentialsProvider};
use comfy_table::Table;
use session_manager_emulator::{Emulator, Fleet};
use session_reaper::{
    pattern::short_owner,
    report::{Findings, Mode, Outcome, Settled},
    session::Record,
    source::PolicySource,
    ssm::{Ssm, Within},
    sweep::{Order, Swept, sweep},
    target::Scope,
};
use tokio::time::Instant;

use crate::{
    emulate::SAMPLE_FLEET,
    table::{age, cell, coloured, table},
};

type TagsByTarget = BTreeMap<String, BTreeMap<String, String>>;

const POLICY: &str = include_str!("../../policies/starter.yaml");

/// Faster than AWS allows: the emulator has no quota.
const CALLS_PER_SECOND: f64 = 100.0;

pub(crate) async fn run() -> anyhow::Result<()> {
    let fleet = Fleet::parse(SAMPLE_FLEET)?;
    let scope = Scope {
        partition: fleet.partition.clone(),
        region: fleet.region.clone(),
        account: fleet.account.clone(),
    };
    let tags = fleet.tags.clone();
    let emulator = Emulator::new(fleet);
    let config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(scope.region.clone()))
        .credentials_provider(SharedCredentialsProvider::new(Credentials::new(
            "emulator", "emulator", None, None, "emulator",
        )))
        .http_client(emulator.http_client())
        .build();

    let ssm = Ssm::new(&config, CALLS_PER_SECOND);
    let policy = PolicySource::Inline { name: "policies/starter.yaml".into(), text: POLICY.into() };
    let order = |mode| Order {
        ssm: &ssm,
        scope: Some(&scope),
        policy: &policy,
        mode,
        now: emulator.now(),
        within: Within {
            start_by: Instant::now() + Duration::from_mins(1),
            end_by: Instant::now() + Duration::from_mins(1),
        },
        concurrency: 8,
    };

    let before = emulator.active_ids().len();
    println!("An account with {before} active sessions, judged by policies/starter.yaml.\n");
    println!("1. Dry run: nobody is ended.\n");
    let Swept { findings, report } = sweep(order(Mode::DryRun)).await?;
    println!("{}\n\n{}.\n", verdicts(&findings, &tags).trim_fmt(), report.counts());
    report.failure().map_or(Ok(()), Err)?;

    println!("2. Enforced: violators are ended, oldest first, and the listing is read again.\n");
    let Swept { findings, report } = sweep(order(Mode::Enforce)).await?;
    println!("{}\n\n{}.", outcomes(&findings).trim_fmt(), report.counts());
    report.failure().map_or(Ok(()), Err)?;
    let after = emulator.active_ids().len();
    println!(
        "{before} sessions were active before, and {after} are now; {} API calls, {:.1} s.\n",
        report.calls, report.duration_s,
    );
    println!(
        "`terminated` is proved: the session was absent when all were listed once more.\n\
         `denied` is one session's fate: IAM protects it, and the others were ended all the same.\n\
         `undetermined` lives: its target has no tags, so nobody knows whether it is production.\n\n\
         Next, serve this fleet to the AWS CLI or an SDK:\n\n    \
         cargo reapctl emulate"
    );
    Ok(())
}

/// Every session of the fleet, and what the policy says of it.
fn verdicts(findings: &Findings, tags: &TagsByTarget) -> Table {
    let mut table =
        table(&["AGE", "OWNER", "TARGET", "TAGS", "STATUS", "VERDICT", "RULES OR EXEMPTION"]);
    let tags_of = |target: &str| match tags.get(target) {
        Some(tags) => {
            tags.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
        }
        None => "-".into(),
    };
    for it in &findings.settled {
        let session = &it.step.session;
        table.add_row([
            cell(&age(session.age(findings.started_at))),
            cell(&short_owner(&session.owner)),
            cell(&short_target(&session.target)),
            cell(&tags_of(&session.target)),
            cell(session.status.as_deref().unwrap_or("-")),
            coloured(it.step.verdict.name()),
            cell(&it.step.verdict.rules().join(", ")),
        ]);
    }
    let unjudged = findings.unjudged.iter().map(|(record, why)| (record, "unjudged", *why));
    let ending = findings.ending.iter().map(|record| (record, "ending", ""));
    for (record, verdict, why) in unjudged.chain(ending) {
        let Record { owner, target, started_at, status, .. } = record;
        let started_at = started_at.unwrap_or(findings.started_at);
        table.add_row([
            cell(&age(findings.started_at.duration_since(started_at))),
            cell(&owner.as_deref().map_or("-".into(), short_owner)),
            cell(&target.as_deref().map_or("-".into(), short_target)),
            cell(&target.as_deref().map_or("-".into(), tags_of)),
            cell(status.as_deref().unwrap_or("-")),
            coloured(verdict),
            cell(why),
        ]);
    }
    table
}

/// Every violator, and what became of it.
fn outcomes(findings: &Findings) -> Table {
    let mut table = table(&["AGE", "OWNER", "TARGET", "LEADING RULE", "OUTCOME", "LISTED AS"]);
    for it in findings.settled.iter().filter(|it| it.outcome != Outcome::Left) {
        let Settled { step, outcome, last_status, .. } = it;
        let rule = step.verdict.rules().first();
        table.add_row([
            cell(&age(step.session.age(findings.started_at))),
            cell(&short_owner(&step.session.owner)),
            cell(&short_target(&step.session.target)),
            cell(rule.map_or("-", |it| &**it)),
            coloured(outcome.name()),
            cell(last_status.as_deref().unwrap_or("-")),
        ]);
    }
    table
}

/// A target without the long ids of an ECS task: `ecs:CLUSTER`.
fn short_target(target: &str) -> String {
    match target.strip_prefix("ecs:").map(|it| it.rsplitn(3, '_').nth(2)) {
        Some(Some(cluster)) => format!("ecs:{cluster}"),
        _ => target.into(),
    }
}
