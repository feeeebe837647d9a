//! `reapctl demo`: sweeps a sample fleet on the emulator, first as a dry run, then enforced.

mod organization;

use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use reaper_core::{evaluate::VerdictKind, plan::Step, report::Mode, target::Scope};
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
    lines::{
        Line,
        columns::{Column, to_table},
        lines, rows_of_outcomes, rows_of_steps,
    },
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
    [Column::Age, Column::Owner, Column::Target, Column::Rules, Column::Action];

/// Faster than AWS allows: the emulator has no quota.
const CALLS_PER_SECOND: f64 = 100.0;

/// Sweep a sample account on the emulator; needs no AWS account and no setup.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Sweep a sample organization instead: 12 accounts in 3 Regions
    #[arg(long)]
    organization: bool,
}

pub(crate) async fn run(args: &Args) -> anyhow::Result<()> {
    if args.organization { Box::pin(organization::run()).await } else { account().await }
}

/// A connection to an emulator in this process.
fn connect(region: &str, http_client: SharedHttpClient) -> Connect {
    let credentials = Credentials::new("emulator", "emulator", None, None, "emulator");
    let config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region.to_owned()))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .http_client(http_client)
        .build();
    Connect::from(config)
}

async fn account() -> anyhow::Result<()> {
    let fleet = Fleet::parse(SAMPLE_FLEET)?;
    let scope = Scope {
        partition: fleet.partition.clone(),
        region: fleet.region.clone(),
        account: fleet.account.clone(),
    };
    let emulator = Emulator::new(fleet);
    let ssm = connect(&scope.region, emulator.http_client()).ssm(CALLS_PER_SECOND);
    let policy = PolicySource::Inline { name: "policies/starter.yaml".into(), text: POLICY.into() };
    let context = |mode| SweepContext {
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
    println!("1. Dry run: no session is terminated.\n");
    let SweepResult { record, report } = sweep(context(Mode::DryRun)).await?;
    let steps = record.outcomes.iter().map(|it| &it.step);
    let now = record.started_at;
    let all = lines(rows_of_steps(steps, now), &record.not_evaluated, now, None);
    println!("{}\n\n{}.\n", to_table(&all, &VERDICTS).trim_fmt(), report.counts());
    report.failure().map_or(Ok(()), Err)?;

    println!(
        "2. Enforced: violating sessions are terminated, oldest first, and all sessions are listed again.\n"
    );
    let SweepResult { record, report } = sweep(context(Mode::Enforce)).await?;
    let is_violation = |it: &Step| it.verdict.kind() == VerdictKind::Violation;
    let violations = record.outcomes.iter().filter(|it| is_violation(&it.step));
    let rows = rows_of_outcomes(violations, record.started_at);
    let lines: Vec<_> = Line::of_rows(rows, None).collect();
    println!("{}\n\n{}.", to_table(&lines, &OUTCOMES).trim_fmt(), report.counts());
    report.failure().map_or(Ok(()), Err)?;
    let after = emulator.active_ids().len();
    println!(
        "{before} sessions were active before, and {after} are now; {} API calls, {:.1} s.\n",
        report.calls, report.duration_s,
    );
    println!(
        "`terminated`: AWS accepted the request, and the session is absent from the new listing.\n\
         `denied`: IAM protects this session. The others were terminated all the same.\n\
         `undetermined`: the target has no tags, so it is not known whether it is production, and \
         the session is not terminated.\n\n\
         Next, serve this fleet to the AWS CLI or an SDK:\n\n    \
         cargo reapctl emulate"
    );
    Ok(())
}
