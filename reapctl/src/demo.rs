//! `reapctl demo`: one sweep of a sample fleet on the emulator, first dry, then for real.

use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_ssm::config::{Credentials, SharedCredentialsProvider};
use reaper_core::{evaluate::VerdictKind, report::Mode, target::Scope};
use session_manager_emulator::{Emulator, Fleet};
use session_reaper::{
    Budget,
    aws::Connect,
    sinks::Sinks,
    sweep::source::PolicySource,
    sweep::{SweepContext, SweepResult, sweep},
};
use tokio::time::Instant;

use crate::{
    emulate::SAMPLE_FLEET,
    lines::{Column, done, planned, rows, to_table},
    stdio::println,
};

const POLICY: &str = include_str!("../../policies/starter.yaml");

const VERDICTS: [Column; 7] = [
    Column::Age,
    Column::Owner,
    Column::Target,
    Column::Tags,
    Column::Status,
    Column::Verdict,
    Column::Rules,
];

const OUTCOMES: [Column; 5] =
    [Column::Age, Column::Owner, Column::Target, Column::Rules, Column::Fate];

/// Faster than AWS allows: the emulator has no quota.
const CALLS_PER_SECOND: f64 = 100.0;

pub(crate) async fn run() -> anyhow::Result<()> {
    let fleet = Fleet::parse(SAMPLE_FLEET)?;
    let scope = Scope {
        partition: fleet.partition.clone(),
        region: fleet.region.clone(),
        account: fleet.account.clone(),
    };
    let emulator = Emulator::new(fleet);
    let config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(scope.region.clone()))
        .credentials_provider(SharedCredentialsProvider::new(Credentials::new(
            "emulator", "emulator", None, None, "emulator",
        )))
        .http_client(emulator.http_client())
        .build();

    let ssm = Connect::from(config).ssm(CALLS_PER_SECOND);
    let policy = PolicySource::Inline { name: "policies/starter.yaml".into(), text: POLICY.into() };
    let order = |mode| SweepContext {
        ssm: &ssm,
        sinks: &Sinks::NONE,
        scope: Some(&scope),
        policy: &policy,
        mode,
        now: emulator.now(),
        read_at: Instant::now(),
        budget: Budget {
            last_start: Instant::now() + Duration::from_mins(1),
            hard_stop: Instant::now() + Duration::from_mins(1),
        },
        concurrency: 8,
        memory: usize::MAX,
    };

    let before = emulator.active_ids().len();
    println!("An account with {before} active sessions, evaluated by policies/starter.yaml.\n");
    println!("1. Dry run: nobody is ended.\n");
    let SweepResult { record, report } = sweep(order(Mode::DryRun)).await?;
    let steps = record.outcomes.iter().map(|it| &it.step);
    let now = record.started_at;
    let all = rows(planned(steps, now), &record.not_evaluated, now);
    println!("{}\n\n{}.\n", to_table(&all, &VERDICTS).trim_fmt(), report.counts());
    report.failure().map_or(Ok(()), Err)?;

    println!("2. Enforced: violators are ended, oldest first, and the listing is read again.\n");
    let SweepResult { record, report } = sweep(order(Mode::Enforce)).await?;
    let mut ended: Vec<_> = done(&record.outcomes, record.started_at).collect();
    ended.retain(|it| it.verdict == VerdictKind::Violation);
    println!("{}\n\n{}.", to_table(&ended, &OUTCOMES).trim_fmt(), report.counts());
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
