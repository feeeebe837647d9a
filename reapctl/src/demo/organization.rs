//! `reapctl demo --organization`: a sample organization, first as a dry run, then as its hub sweeps it.

use std::{collections::BTreeMap, time::Duration};

use anyhow::bail;
use reaper_core::{
    organization::{RunId, RunSummary, ScopeReport, Selection, Status},
    policy::{Policy, PolicyIdentity},
    report::Mode,
    target::Scope,
};
use reaper_render::table::{Table, cell, coloured, fitting_table};
use session_manager_emulator::{AccountState, Organization, OrganizationFleet};
use session_reaper::{
    Budget,
    aws::{Accounts, Connect, Members, Ssm},
    organization::{
        BatchReply, Hub, HubConfig, Patience, PlanReply, Reply, Step, SweepSettings, each,
        report_of, sweep_scope,
    },
    sinks::Sinks,
    sweep::{SweepContext, source::PolicySource},
};
use tokio::time::Instant;

use super::{CALLS_PER_SECOND, POLICY, connect};
use crate::{account_regions::CONCURRENCY, emulate::SAMPLE_ORGANIZATION, stdio::println};

const REGIONS: [&str; 3] = ["eu-central-1", "eu-west-1", "us-east-1"];

const ROLE: &str = "ReaperMember";

const PARAMETER: &str = "/session-reaper/policy";

/// Account-Regions in a batch: few, so that there is more than one.
const BATCH_SIZE: usize = 12;

/// The sample organization.
struct Sample {
    organization: Organization,
    /// The names of its accounts.
    names: BTreeMap<String, String>,
    partition: String,
    connect: Connect,
}

pub(super) async fn run() -> anyhow::Result<()> {
    let fleet = OrganizationFleet::parse(SAMPLE_ORGANIZATION)?;
    let names = fleet.accounts.iter().map(|it| (it.id.clone(), it.name.clone())).collect();
    let is_active = |it: &&_| matches!(it, AccountState::Active);
    let n_active = fleet.accounts.iter().map(|it| &it.state).filter(is_active).count();
    let n_accounts = fleet.accounts.len();
    let (partition, region) = (fleet.partition.clone(), fleet.hub.region.clone());
    let organization = Organization::new(fleet);
    organization.hub().set_parameter(PARAMETER, POLICY);
    let connect = connect(&region, organization.http_client());
    let sample = Sample { organization, names, partition, connect };

    println!(
        "An organization of {n_accounts} accounts in {} Regions, evaluated by policies/starter.yaml.\n\
         {n_active} of the accounts are active. An account in one Region is an account-Region.\n",
        REGIONS.len()
    );
    println!(
        "1. Dry run: the role `{ROLE}` is assumed once in each account, and no session is \
         terminated.\n"
    );
    let reports = sample.dry_run().await?;
    println!("{}\n", sample.to_table(&reports).trim_fmt());

    println!(
        "2. A run with terminations enabled. In AWS, Step Functions starts its steps; here, this \
         command does.\n"
    );
    let before = sample.n_active();
    let summary = sample.enforce().await?;
    println!("{}\n", sample.not_swept(&summary).trim_fmt());
    println!(
        "{before} sessions were active before, also where nothing could be seen, and {} are now. {} calls \
         used the keys of another account.\n",
        sample.n_active(),
        sample.organization.foreign_calls().len()
    );
    println!(
        "`no_access`: the role cannot be assumed, so sessions may violate the policy there. The account \
         is named once.\n\
         `region_off`: the account has not enabled the Region, so there is nothing to sweep.\n\
         `denied`: IAM protects the session that violates the policy there.\n\
         None of them keeps the other account-Regions from being swept.\n\n\
         Next, sweep this organization yourself, with the commands that the first of these prints:\n\n    \
         cargo reapctl emulate --organization reapctl/demo/organization.yaml\n    \
         cargo reapctl plan --policy policies/starter.yaml --organization --regions {} --member-role \
         {ROLE}",
        REGIONS.join(",")
    );
    Ok(())
}

fn budget() -> Budget {
    let hard_stop = Instant::now() + Duration::from_mins(1);
    Budget { last_start: hard_stop, hard_stop }
}

impl Sample {
    /// Sweeps every account-Region as a dry run.
    async fn dry_run(&self) -> anyhow::Result<Vec<ScopeReport>> {
        let accounts = Accounts::new(&self.connect).list(budget()).await?;
        let accounts = accounts.into_iter().filter(|it| it.is_active);
        let scopes = accounts.flat_map(|account| {
            REGIONS.map(|region| Scope {
                partition: self.partition.clone(),
                region: region.into(),
                account: account.id.clone(),
            })
        });
        let policy = match Policy::parse(POLICY) {
            Ok(policy) => policy,
            Err(errors) => bail!("the sample policy is not valid: {errors}"),
        };
        let identity = PolicyIdentity::new("policies/starter.yaml", None, POLICY);
        let source = PolicySource::Parameter(PARAMETER.into());
        let sweep = async |scope: &Scope, ssm: &Ssm, budget| {
            let context = SweepContext {
                ssm,
                sinks: &Sinks::NONE,
                scope: Some(scope),
                policy: &source,
                mode: Mode::DryRun,
                now: self.organization.now(),
                read_at: Instant::now(),
                budget,
                concurrency: 8,
                memory: usize::MAX,
            };
            Box::pin(sweep_scope(context, scope, &policy, &identity)).await
        };
        let members = Members::new(self.connect.clone(), ROLE, "reapctl", CALLS_PER_SECOND);
        let visits =
            each(&members, scopes.collect(), CONCURRENCY, budget(), Patience::Usual, sweep).await;
        Ok(visits.into_iter().map(|(scope, visit)| report_of(&scope, visit)).collect())
    }

    /// Plans, sweeps the canaries and then the other batches, and sums up.
    async fn enforce(&self) -> anyhow::Result<RunSummary> {
        let config = HubConfig {
            member_role: ROLE.into(),
            bucket: "session-reaper-runs".into(),
            regions: REGIONS.map(Into::into).into(),
            selection: Selection { batch_size: BATCH_SIZE, ..Selection::default() },
            run_timeout: Duration::from_hours(1),
        };
        let settings = SweepSettings {
            mode: Mode::Enforce,
            policy: PolicySource::Parameter(PARAMETER.into()),
            calls_per_second: CALLS_PER_SECOND,
            concurrency: 8,
            memory: usize::MAX,
        };
        let hub = Hub::new(config, settings, self.partition.clone(), self.connect.clone());
        let run: RunId = "demo".parse()?;
        let clock = || self.organization.now();
        let step = async |step| hub.carry_out(step, &Sinks::NONE, &clock, budget()).await;

        let plan = step(Step::Plan(run.clone(), Mode::Enforce)).await?;
        let Reply::Plan(PlanReply { accounts, account_regions, canaries, batches, .. }) = plan
        else {
            bail!("the plan has another reply");
        };
        println!(
            "Plan: {accounts} accounts, {account_regions} account-Regions, in {} batches of whole \
             accounts.",
            canaries.len() + batches.len()
        );
        for number in canaries.iter().chain(&batches) {
            let reply = step(Step::Batch(run.clone(), *number)).await?;
            let Reply::Batch(BatchReply { batch, account_regions, swept, .. }) = reply else {
                bail!("the batch has another reply");
            };
            if canaries.contains(number) {
                println!(
                    "Batch {batch}, the canaries: {swept} of {account_regions} account-Regions are \
                     complete. If not all were, or\n    a circuit breaker had opened, the run would end \
                     here."
                );
            } else {
                println!("Batch {batch}: {swept} of {account_regions} are complete.");
            }
        }
        let Reply::Summary(summary) = step(Step::Summary(run)).await? else {
            bail!("the summary has another reply");
        };
        print(&summary);
        Ok(*summary)
    }

    /// What was found in each account-Region.
    fn to_table(&self, reports: &[ScopeReport]) -> Table {
        let names =
            ["ACCOUNT", "NAME", "REGION", "STATUS", "SESSIONS", "VIOLATIONS", "UNDETERMINED"];
        let mut table = fitting_table(&names);
        for it in reports {
            let n = |n: usize| if n == 0 { "-".into() } else { n.to_string() };
            let verdicts = it.counts.map(|it| it.verdicts).unwrap_or_default();
            table.add_row([
                cell(&it.account),
                cell(self.name(&it.account)),
                cell(&it.region),
                coloured(it.status.name()),
                cell(&n(verdicts.seen)),
                cell(&n(verdicts.violation)),
                cell(&n(verdicts.undetermined)),
            ]);
        }
        table
    }

    /// What was not swept, and why.
    fn not_swept(&self, summary: &RunSummary) -> Table {
        let mut table = fitting_table(&["ACCOUNT", "NAME", "REGION", "STATUS", "WHY"]);
        for it in &summary.not_swept {
            // The rest is advice, which does not fit here.
            let why = it.problem.as_deref().unwrap_or("-");
            let why: String = why.chars().take(100).chain(['…']).collect();
            table.add_row([
                cell(&it.account),
                cell(self.name(&it.account)),
                cell(it.region.as_deref().unwrap_or("all")),
                cell(it.status.map_or("missing", Status::name)),
                cell(&why),
            ]);
        }
        table
    }

    fn name(&self, account: &str) -> &str {
        self.names.get(account).map_or("-", String::as_str)
    }

    /// How many sessions are active, wherever they are.
    fn n_active(&self) -> usize {
        let all = self.names.keys().flat_map(|account| REGIONS.map(|region| (account, region)));
        let active = all.map(|(account, region)| {
            self.organization.account_region(account, region).active_ids().len()
        });
        active.sum()
    }
}

fn print(summary: &RunSummary) {
    let statuses = summary.statuses.iter().filter(|(_, n)| 0 < **n);
    let statuses: Vec<_> = statuses.map(|(it, n)| format!("{n} {}", it.name())).collect();
    let (verdicts, outcomes) = (summary.sweeps.verdicts, summary.sweeps.outcomes);
    println!(
        "Summary: {}; {} missing.\n    {} sessions seen, {} in violation, {} terminated, {} denied, {} \
         undetermined.\n",
        statuses.join(", "),
        summary.missing,
        verdicts.seen,
        verdicts.violation,
        outcomes.terminated,
        outcomes.denied,
        verdicts.undetermined
    );
}
