//! `reapctl lock`: an incident. Ends everything by some owners, now.

use std::{fs, process::ExitCode, str::FromStr, sync::Mutex};

use anstream::{eprintln, println};
use anyhow::{Context, bail};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use session_reaper::{
    pattern::OwnerPattern,
    plan::Action,
    policy::{Condition, Demand, Limits, Policy, Rule, Test},
    report::{Mode, PolicyIdentity},
    source::PolicySource,
    sweep::{Survey, carry_out, survey_by},
    telemetry::{LogSettings, init_to},
};
use tokio::time::{Duration, Instant, sleep};
use tracing::{Instrument, info_span, level_filters::LevelFilter};

use crate::{
    VIOLATED,
    aws::{Aws, Connection, within},
    file::Invalid,
    lines::{ALL, done, planned, rows, to_table},
    now,
    progress::with_progress,
    sweep::{PolicyAt, confirmed, interruptible, sessions},
};

/// End every session of these owners, and go on until none is left.
///
/// Neither `max_terminations` nor the breaker nor `paused` hold it back; the policy's exemptions do,
/// unless they are overridden. Without `--enforce` it only shows whom it would end. It does not
/// revoke credentials: it prints the commands that do. The exit status is 3 if a session of theirs
/// that is not exempt lives, or may live, on.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Whom: `role/NAME[/SESSION-NAME]`, `permission-set/NAME[/USER]`, `user/NAME`, …; globs
    #[arg(required = true, value_name = "OWNER", value_parser = OwnerPattern::from_str)]
    owners: Vec<OwnerPattern>,
    /// Why, for the log
    #[arg(long, default_value = "no reason given")]
    reason: String,
    #[command(flatten)]
    policy: PolicyAt,
    /// End the sessions that the policy exempts as well
    #[arg(long)]
    override_exemptions: bool,
    /// End the sessions
    #[arg(long)]
    enforce: bool,
    /// Do not ask for confirmation
    #[arg(long, requires = "enforce")]
    yes: bool,
    /// How long to go on at most
    #[arg(long = "for", value_name = "DURATION", default_value = "10m", value_parser = patience)]
    patience: SignedDuration,
    /// Where to write the log [default: reapctl-lock-INSTANT.jsonl, if anybody is to be ended]
    #[arg(long, value_name = "FILE")]
    log: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

/// Between two listings.
const PAUSE: Duration = Duration::from_secs(5);

fn patience(text: &str) -> Result<SignedDuration, String> {
    let parsed = text.parse::<SignedDuration>().ok().filter(SignedDuration::is_positive);
    parsed.ok_or_else(|| "write a duration such as `10m`".into())
}

pub(crate) async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    use std::io::IsTerminal as _;
    if args.enforce && !args.yes && !std::io::stdin().is_terminal() {
        bail!(Invalid(
            "nobody is there to confirm; add `--yes` to end sessions in a script".into()
        ));
    }
    let source = args.policy.source()?;
    if args.enforce || args.log.is_some() {
        start_log(args)?;
    }
    let owners: Vec<String> = args.owners.iter().map(ToString::to_string).collect();
    let (locked, reason) = (owners.join(", "), &args.reason);
    let span = info_span!(target: "session_reaper::lock", "lock", locked, reason);
    let result = Box::pin(lock(args, &source)).instrument(span).await;
    println!("\nThis does not revoke credentials: whoever has them can start a session again.\n");
    let now = now();
    for owner in &owners {
        println!("{}", revocation(owner, now));
    }
    result
}

async fn lock(args: &Args, source: &PolicySource) -> anyhow::Result<ExitCode> {
    let aws = args.connection.open().await?;
    let (base, identity) = source.load(&aws.ssm, within()).await?;
    let identity =
        || PolicyIdentity { source: format!("lock beside {source}"), ..identity.clone() };
    let policy = policy(args, base);
    let mode = if args.enforce { Mode::Enforce } else { Mode::DryRun };
    let began = Instant::now();
    let patience = Duration::try_from(args.patience)?;
    let mut is_confirmed = args.yes;
    loop {
        let now = now();
        let listing = survey_by(aws.order(source, mode, now), &policy, identity());
        let survey = with_progress("listing", &aws.ssm, Box::pin(listing)).await;
        show(&survey, now);
        let n = survey.plan.steps.iter().filter(|it| it.action == Action::Terminate).count();
        if n == 0 || !args.enforce {
            return end(&survey, n);
        }
        if !is_confirmed && !confirmed(&format!("End {}?", sessions(n)))? {
            bail!("nobody was ended");
        }
        is_confirmed = true;
        act(&aws, source, survey, now).await?;
        if patience <= began.elapsed() + PAUSE {
            bail!(
                "after {:#} some sessions are still there, or not proved to be gone",
                args.patience
            );
        }
        sleep(PAUSE).await;
    }
}

/// One round: asks, verifies, and shows what came of it.
async fn act(
    aws: &Aws,
    source: &PolicySource,
    survey: Survey,
    now: Timestamp,
) -> anyhow::Result<()> {
    let work = carry_out(aws.order(source, Mode::Enforce, now), survey);
    let work = Box::pin(interruptible(&aws.ssm, work));
    let swept = with_progress("ending", &aws.ssm, work).await;
    let mut ended: Vec<_> = done(&swept.findings.settled, now).collect();
    ended.retain(|it| it.verdict == "violation");
    println!("{}\n", to_table(&ended, &ALL).trim_fmt());
    if aws.ssm.is_stopped() {
        bail!("interrupted: {}", swept.report.counts());
    }
    Ok(())
}

/// What is left when nobody is to be ended any more, or by a dry run.
fn end(survey: &Survey, n_violators: usize) -> anyhow::Result<ExitCode> {
    if let Some(problem) = &survey.coverage.problem {
        bail!("the listing is incomplete, so there may be more: {problem}");
    }
    let is_open = |it: &str| it == "undetermined";
    let n_open = survey.plan.steps.iter().filter(|it| is_open(it.verdict.name())).count();
    match n_violators {
        0 => println!("None of their sessions is left to be ended."),
        n => println!("{} would be ended: add `--enforce`.", sessions(n)),
    }
    if 0 < n_open {
        println!("{} may be exempt, and so live on.", sessions(n_open));
    }
    let is_clean = n_violators + n_open == 0;
    Ok(if is_clean { ExitCode::SUCCESS } else { ExitCode::from(VIOLATED) })
}

/// Every session of the owners, and those that are not known to be somebody else's.
fn show(survey: &Survey, now: Timestamp) {
    let steps = survey.plan.steps.iter().filter(|it| it.verdict.name() != "compliant");
    let rows = rows(planned(steps, now), &survey.unjudged, &[], now);
    if !rows.is_empty() {
        eprintln!("{}\n", to_table(&rows, &ALL).trim_fmt());
    }
}

/// Forbids the owners; of the policy only its exemptions are left, unless they are overridden.
fn policy(args: &Args, base: Policy) -> Policy {
    let rule = Rule {
        id: "lock".into(),
        description: Some(args.reason.clone()),
        when: Condition(vec![Test::Owner(args.owners.clone())]),
        unless: None,
        demand: Demand::Forbid,
    };
    let limits = Limits { max_terminations: u32::MAX, trip_percent: 100, ..Limits::default() };
    let exemptions = if args.override_exemptions { Vec::new() } else { base.exemptions };
    Policy { rules: vec![rule], exemptions, limits, paused: false, ..base }
}

/// The function's own log lines, with the owners and the reason in each.
fn start_log(args: &Args) -> anyhow::Result<()> {
    let path = args
        .log
        .clone()
        .unwrap_or_else(|| format!("reapctl-lock-{}.jsonl", now().strftime("%Y%m%dT%H%M%SZ")));
    let file = fs::OpenOptions::new().create(true).append(true).open(&path);
    let file = file.with_context(|| format!("cannot write the log `{path}`"))?;
    let common = json!({"service": "session-reaper", "command": "reapctl lock"});
    let common = common.as_object().cloned().unwrap_or_default();
    let settings = LogSettings { is_json: true, level: LevelFilter::INFO, common };
    init_to(settings, Mutex::new(file));
    eprintln!("The log is {path}.");
    Ok(())
}

/// How to take an owner's credentials away, as commands of the AWS CLI.
fn revocation(owner: &str, now: Timestamp) -> String {
    let (kind, rest) = owner.split_once('/').unwrap_or((owner, ""));
    let (name, session) = rest.split_once('/').unwrap_or((rest, "*"));
    let policy = |condition: serde_json::Value| {
        let mut statement = json!({"Effect": "Deny", "Action": "*", "Resource": "*"});
        if let Some(statement) = statement.as_object_mut().filter(|_| !condition.is_null()) {
            statement.insert("Condition".into(), condition);
        }
        json!({"Version": "2012-10-17", "Statement": [statement]})
    };
    let started_until_now = || {
        policy(json!({
            "DateLessThan": {"aws:TokenIssueTime": format!("{now:.0}")},
            "StringLike": {"aws:userid": format!("*:{session}")},
        }))
    };
    let each = if rest.contains(['*', '?']) { "# For each that matches:\n" } else { "" };
    match kind {
        "role" => format!(
            "{each}aws iam put-role-policy --role-name '{name}' --policy-name session-reaper-lock \
             --policy-document '{}'",
            started_until_now()
        ),
        "permission-set" => format!(
            "{each}# Add this statement to the inline policy of the permission set {name}, and \
             provision it: {}\n\
             aws sso-admin provision-permission-set --instance-arn INSTANCE_ARN \
             --permission-set-arn PERMISSION_SET_ARN --target-type ALL_PROVISIONED_ACCOUNTS",
            started_until_now()
        ),
        "user" => format!(
            "{each}aws iam put-user-policy --user-name '{}' --policy-name session-reaper-lock \
             --policy-document '{}'",
            rest.rsplit('/').next().unwrap_or_default(),
            policy(json!(null))
        ),
        "root" => "# The root user: change its password, and delete its access keys.".into(),
        _ => format!("# {owner}: revoke the credentials with which its sessions were started."),
    }
}
