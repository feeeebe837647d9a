//! `reapctl lock`: an incident. Ends everything by some owners, now.

use std::{
    collections::HashSet,
    fs::{File, OpenOptions},
    io::{self, Write},
    process::{ExitCode, exit},
    str::FromStr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context, bail};
use jiff::{SignedDuration, Timestamp};
use reaper_core::{
    duration,
    pattern::{OwnerPattern, short_owner},
    plan::Step,
    policy::{Condition, Demand, Limits, Policy, Rule, Test, sha256},
    report::{Failure, Mode},
    session::Record,
    target::Unknown,
};
use serde_json::json;
use session_reaper::{
    Budget,
    aws::Ssm,
    sinks::log::{LogSettings, init_to},
    sweep::{PlannedSweep, SweepContext, SweepResult, carry_out, survey_by},
};
use tokio::time::{Duration, Instant, sleep};
use tracing::{Instrument, info_span, level_filters::LevelFilter};

use crate::{
    VIOLATED,
    aws::{Aws, Connection},
    lines::{done, fitting, planned, rows, to_table},
    now,
    printable::{printable, printable_json},
    progress::with_progress,
    stdio::{eprintln, println},
    sweep::{
        INTERRUPTED, Loaded, PolicyAt, add_tag_problem, check_confirmable, confirmed, end_only,
        interruptible, sessions, to_end,
    },
    warn,
};

/// End every session of these owners, and go on until none is left.
///
/// Neither `max_terminations` nor the circuit breaker nor `paused` hold it back; the policy's exemptions do,
/// unless they are overridden. Without `--enforce` it only shows whom it would end. It does not
/// revoke credentials: it prints the commands that do. Ctrl-C lets no further termination start; what
/// was begun is verified. The exit status is 3 if a session of theirs that is not exempt lives, or
/// may live, on.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  reapctl lock user/lena 'role/*/lena' --policy-parameter NAME\n  reapctl lock role/developer/jonas --policy policy.yaml --enforce --reason INC-2041"
)]
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
    /// How long to go on at most; a day or less
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

/// What the last listing may take after the time is over: a third of it, as of every round's.
const LAST_LOOK: Duration = Duration::from_mins(3);

/// The longest that a lock goes on: what is to last longer is a rule.
const MAX_PATIENCE: SignedDuration = SignedDuration::from_hours(24);

fn patience(text: &str) -> Result<SignedDuration, String> {
    let parsed = duration::parse(text).or_else(|| text.parse().ok());
    let parsed = parsed.filter(|it: &SignedDuration| it.is_positive() && *it <= MAX_PATIENCE);
    parsed.ok_or_else(|| "write a duration such as `10m`, of a day at most".into())
}

pub(crate) async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    check_confirmable(args.enforce, args.yes)?;
    let log = start_log(args);
    if args.log.is_some() {
        log.open()?;
    }
    let owners: Vec<String> = args.owners.iter().map(ToString::to_string).collect();
    let (locked, reason) = (owners.join(", "), &args.reason);
    let span = info_span!(target: "session_reaper::lock", "lock", locked, reason);
    let result = Box::pin(lock(args, &log)).instrument(span).await;
    println!("\nThis does not revoke credentials: whoever has them can start a session again.\n");
    let now = now();
    for owner in &owners {
        println!("{}", revocation(owner, now));
    }
    if let Some(err) = &log.state().failure {
        eprintln!("error: the log `{}` lacks lines: {err}", printable(&log.path));
        return result.and(Ok(ExitCode::FAILURE));
    }
    result
}

async fn lock(args: &Args, log: &Log) -> anyhow::Result<ExitCode> {
    let (aws, loaded) = args.policy.open(&args.connection).await?;
    interruptible(&aws.ssm, Box::pin(rounds(args, &aws, loaded, log))).await
}

/// Lists and ends, until a complete listing shows none or the time is over. Nobody is ended after
/// the last listing: what is said in the end, it has shown.
async fn rounds(args: &Args, aws: &Aws, loaded: Loaded, log: &Log) -> anyhow::Result<ExitCode> {
    let mut loaded = locking(args, loaded);
    let mode = if args.enforce { Mode::Enforce } else { Mode::DryRun };
    let patience = Duration::try_from(args.patience)?;
    let mut hard_stop = Instant::now() + patience;
    let mut is_confirmed = args.yes;
    let mut asked_about = None;
    let mut so_far = Done::Nothing;
    let mut is_over = false;
    let mut shown = Vec::new();
    let mut warned = HashSet::new();
    loop {
        log.begin_round();
        let now = now();
        let end_by_now = if is_over { Instant::now() + LAST_LOOK } else { hard_stop };
        let budget = Budget { last_start: end_by_now, hard_stop: end_by_now };
        let order = SweepContext { budget, ..aws.order(&loaded.source, mode, now) };
        let listing = Box::pin(survey_by(order, &loaded.policy, loaded.identity.clone()));
        let listing = with_progress("listing", aws, listing);
        let mut survey = unless_stopped(&aws.ssm, listing).await?;
        add_tag_problem(&mut survey, aws, &loaded.policy);
        let is_new = |it: &&String| warned.insert((*it).clone());
        warn(survey.warnings.iter().filter(is_new));
        let n = to_end(&survey).len();
        if let Some(asked_about) = asked_about.take() {
            end_only(&asked_about, u32::MAX, &mut survey); // The others' turn is the next round.
        }
        show(args, &survey, now, &mut shown);
        let n_ending = survey.ending.iter().filter(|it| args.may_mean(it)).count();
        let problem = survey.coverage.problem.as_deref();
        let has_time = || Instant::now() + PAUSE < hard_stop;
        let is_denial = |it: &str| is_denial("DescribeSessions", it);
        let may_pass = 0 < n_ending || has_look_up_failed(&survey);
        let is_done = n == 0 && (!may_pass || !has_time()) && problem.is_none_or(is_denial);
        if !args.enforce || is_over || is_done {
            return end(args, &survey, n, so_far);
        }
        if let Some(problem) = problem {
            warn([&format!("the listing is incomplete, so there may be more: {problem}")]);
        }
        let to_end = to_end(&survey);
        if !to_end.is_empty() {
            if !is_confirmed {
                let question = format!("End {}?", sessions(to_end.len()));
                tokio::select! {
                    answer = confirmed(&question) => {
                        if !answer? {
                            bail!("nobody was ended");
                        }
                    }
                    () = stopped(&aws.ssm) => exit(INTERRUPTED), // The reading would go on.
                }
                is_confirmed = true;
                // The question may have stood for hours: the time begins, and what holds now decides.
                hard_stop = Instant::now() + patience;
                let again = unless_stopped(&aws.ssm, args.policy.again(aws, loaded)).await?;
                loaded = locking(args, again?);
                asked_about = Some(to_end);
                continue;
            }
            log.open()?;
            so_far = so_far.and(act(aws, order, survey).await?);
        }
        is_over = !has_time();
        if !is_over {
            unless_stopped(&aws.ssm, sleep(PAUSE)).await?;
        }
    }
}

/// What the rounds so far have come to.
enum Done {
    Nothing,
    /// Every termination was denied.
    Denied(Failure),
    Something,
}

impl Done {
    fn and(self, round: Self) -> Self {
        if matches!(self, Self::Something) { self } else { round }
    }
}

/// Waits for the work, but no longer than until somebody has stopped the terminations.
async fn unless_stopped<T>(ssm: &Ssm, work: impl Future<Output = T>) -> anyhow::Result<T> {
    tokio::select! {
        result = work => Ok(result),
        () = stopped(ssm) => bail!("interrupted"),
    }
}

async fn stopped(ssm: &Ssm) {
    while !ssm.is_stopped() {
        sleep(Duration::from_millis(100)).await;
    }
}

/// Whether a call will not succeed however often it is tried: a problem begins as the errors of calls
/// do.
fn is_denial(operation: &str, problem: &str) -> bool {
    problem.starts_with(&format!("`{operation}` was denied"))
}

/// Whether somebody may be exempt only because a look-up of tags failed that may succeed yet.
fn has_look_up_failed(survey: &PlannedSweep) -> bool {
    let failed = |it: &Step| it.verdict.unknown() == Some(Unknown::TagsLookupFailed);
    survey.plan.steps.iter().any(failed)
        && !survey.warnings.iter().any(|it| is_denial("GetResources", it))
}

/// One round: asks, verifies, and shows what came of it.
async fn act(aws: &Aws, order: SweepContext<'_>, survey: PlannedSweep) -> anyhow::Result<Done> {
    let work = Box::pin(carry_out(order, survey));
    let SweepResult { findings, report } = with_progress("ending", aws, work).await;
    let mut ended: Vec<_> = done(&findings.settled, order.now).collect();
    ended.retain(|it| it.verdict == "violation");
    println!("{}\n", to_table(&ended, &fitting(&ended)).trim_fmt());
    if aws.ssm.is_stopped() {
        bail!("interrupted: {}", report.counts());
    }
    // One that IAM protects must not let those go that they start anew: the lock goes on.
    if let Some(failure @ Failure::AllDenied { .. }) = report.failure() {
        warn([&failure.to_string()]);
        return Ok(Done::Denied(failure));
    }
    Ok(Done::Something)
}

/// What the last listing shows to be left.
fn end(
    args: &Args,
    survey: &PlannedSweep,
    n_violators: usize,
    done: Done,
) -> anyhow::Result<ExitCode> {
    if let Some(problem) = &survey.coverage.problem {
        bail!("the listing is incomplete, so there may be more: {problem}");
    }
    let PlannedSweep { plan, not_evaluated, ending, .. } = survey;
    let is_open = |it: &str| it == "undetermined";
    let n_open = plan.steps.iter().filter(|it| is_open(it.verdict.name())).count();
    let n_listed = records(survey).filter(|it| args.may_mean(it)).count();
    let n_all = plan.steps.len() + not_evaluated.len() + ending.len();
    let is_theirs = |it: &Arc<str>| args.owners.iter().any(|pattern| pattern.is_match(it));
    match n_violators {
        0 if matches!(done, Done::Nothing) && !listed_owners(survey).any(is_theirs) => {
            println!("None of the {} listed is theirs.", sessions(n_all));
            for (given, near) in args.owners.iter().filter_map(|it| nearest(it, survey)) {
                println!("Instead of `{given}`, did you mean `{}`?", printable(&near));
            }
        }
        0 if n_open + n_listed == 0 => println!("None of their sessions is left to be ended."),
        0 => {}
        _ if args.enforce => {
            if let Done::Denied(failure) = done {
                bail!(failure);
            }
            eprintln!(
                "error: after {:#} some sessions are still there, or not proved to be gone",
                args.patience
            );
        }
        n => println!("{} would be ended: add `--enforce`.", sessions(n)),
    }
    if 0 < n_open {
        println!("{} may be exempt, and so live on.", sessions(n_open));
    }
    match n_listed {
        0 => {}
        1 => println!("1 of theirs, or of an unknown owner, is still listed."),
        n => println!("{n} of theirs, or of unknown owners, are still listed."),
    }
    let is_clean = n_violators + n_open + n_listed == 0;
    Ok(if is_clean { ExitCode::SUCCESS } else { ExitCode::from(VIOLATED) })
}

/// What is listed, and not evaluated.
fn records(survey: &PlannedSweep) -> impl Iterator<Item = &Record> {
    survey.not_evaluated.iter().map(|(it, _)| it).chain(&survey.ending)
}

fn listed_owners(survey: &PlannedSweep) -> impl Iterator<Item = &Arc<str>> {
    let steps = survey.plan.steps.iter().map(|it| &it.session.owner);
    steps.chain(records(survey).filter_map(|it| it.owner.as_ref()))
}

impl Args {
    /// Whether a record is one of theirs, as far as is known.
    fn may_mean(&self, record: &Record) -> bool {
        let owner = record.owner.as_ref();
        owner.is_none_or(|owner| self.owners.iter().any(|it| it.is_match(owner)))
    }
}

/// A pattern that means nobody, and the owner listed that was probably meant.
fn nearest(pattern: &OwnerPattern, survey: &PlannedSweep) -> Option<(String, String)> {
    let given = pattern.to_string();
    let n_parts = given.split('/').count();
    let listed = listed_owners(survey).map(|it| {
        short_owner(it).split('/').take(n_parts).collect::<Vec<_>>().join("/") // As the pattern.
    });
    let distance = |it: &String| strsim::damerau_levenshtein(&given, it);
    let near = listed.min_by_key(distance).filter(|it| distance(it) <= given.len() / 4)?;
    Some((given, near))
}

/// Every session of the owners, and those that are not known to be somebody else's; unless these
/// are the ones that have just been shown.
fn show(args: &Args, survey: &PlannedSweep, now: Timestamp, shown: &mut Vec<Option<Arc<str>>>) {
    let steps = survey.plan.steps.iter().filter(|it| it.verdict.name() != "compliant");
    let mut not_evaluated = survey.not_evaluated.clone();
    not_evaluated.retain(|(it, _)| args.may_mean(it));
    let mut ending = survey.ending.clone();
    ending.retain(|it| args.may_mean(it));
    let rows = rows(planned(steps, now), &not_evaluated, &ending, now);
    let ids = rows.iter().map(|it| it.session_id.clone()).collect();
    if !rows.is_empty() && *shown != ids {
        eprintln!("{}\n", to_table(&rows, &fitting(&rows)).trim_fmt());
    }
    *shown = ids;
}

/// Forbids the owners; of the policy only its exemptions are left, unless they are overridden.
fn locking(args: &Args, loaded: Loaded) -> Loaded {
    let Loaded { policy: base, source, mut identity } = loaded;
    identity.source = format!("lock beside {source}");
    let rule = Rule {
        id: "lock".into(),
        description: Some(args.reason.clone()),
        when: Condition(vec![Test::Owner(args.owners.clone())]),
        unless: None,
        demand: Demand::Forbid,
    };
    let limits = Limits { max_terminations: u32::MAX, max_percent: 100, ..Limits::default() };
    let exemptions = if args.override_exemptions { Vec::new() } else { base.exemptions };
    let policy = Policy { rules: vec![rule], exemptions, limits, paused: false, ..base };
    Loaded { policy, source, identity }
}

/// The log: kept back until it is opened, which is when somebody is really to be ended.
#[derive(Clone)]
struct Log {
    path: String,
    state: Arc<Mutex<LogState>>,
}

#[derive(Default)]
struct LogState {
    /// The lines of the round, as long as there is no file.
    before: Vec<u8>,
    file: Option<File>,
    /// Why a line is not in the file: whoever logs has nobody to tell.
    failure: Option<io::Error>,
}

impl Log {
    fn state(&self) -> MutexGuard<'_, LogState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets the round before, if nobody was to be ended in it: a lock may wait for long.
    fn begin_round(&self) {
        self.state().before.clear();
    }

    /// Creates the file, and writes what there is so far.
    fn open(&self) -> anyhow::Result<()> {
        let path = &self.path;
        let mut state = self.state();
        if state.file.is_none() {
            let file = OpenOptions::new().create(true).append(true).open(path);
            let mut file = file.with_context(|| format!("cannot write the log `{path}`"))?;
            let before = std::mem::take(&mut state.before);
            file.write_all(&before).with_context(|| format!("cannot write the log `{path}`"))?;
            state.file = Some(file);
            eprintln!("The log is {}.", printable(path));
        }
        Ok(())
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let LogState { before, file, failure } = &mut *self.state();
        let written =
            file.as_mut().map_or_else(|| before.write_all(bytes), |it| it.write_all(bytes));
        if let Err(err) = written {
            failure.get_or_insert(err);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(()) // There is nothing between it and the file.
    }
}

/// The function's own log lines, with the owners and the reason in each.
fn start_log(args: &Args) -> Log {
    let default = || format!("reapctl-lock-{}.jsonl", now().strftime("%Y%m%dT%H%M%SZ"));
    let path = args.log.clone().unwrap_or_else(default);
    let log = Log { path, state: Arc::default() };
    let common = json!({"service": "session-reaper", "command": "reapctl lock"});
    let common = common.as_object().cloned().unwrap_or_default();
    let settings = LogSettings { is_json: true, level: LevelFilter::INFO, common };
    init_to(settings, Mutex::new(log.clone()));
    log
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
    let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    let owner = printable(owner);
    let each = if rest.contains(['*', '?']) { "# For each that matches:\n" } else { "" };
    // Of two denials of one role, none may replace the other.
    let put = |kind: &str, name: &str, policy: serde_json::Value| {
        let document = printable_json(policy.to_string());
        let hash = sha256(&document);
        format!(
            "{each}aws iam put-{kind}-policy --{kind}-name {} --policy-name session-reaper-lock-{} \
             --policy-document {}",
            quoted(&printable(name)),
            &hash[..8],
            quoted(&document)
        )
    };
    match kind {
        "role" => put("role", name, started_until_now()),
        "permission-set" => format!(
            "{each}# Add this statement to the inline policy of the permission set {}, and \
             provision it: {}\n\
             aws sso-admin provision-permission-set --instance-arn INSTANCE_ARN \
             --permission-set-arn PERMISSION_SET_ARN --target-type ALL_PROVISIONED_ACCOUNTS",
            printable(name),
            printable_json(started_until_now().to_string())
        ),
        "user" => put("user", rest.rsplit('/').next().unwrap_or_default(), policy(json!(null))),
        "root" => "# The root user: change its password, and delete its access keys.".into(),
        _ => format!("# {owner}: revoke the credentials with which its sessions were started."),
    }
}
