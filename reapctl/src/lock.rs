//! `reapctl lock`: an incident. Terminates all sessions of some owners, now.

mod revocation;

use std::{
    collections::{BTreeSet, HashSet, VecDeque},
    env::temp_dir,
    fs::OpenOptions,
    io::{self, Write},
    path::PathBuf,
    process::{ExitCode, exit},
    str::FromStr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::bail;
use jiff::{SignedDuration, Timestamp};
use reaper_core::{
    duration,
    evaluate::VerdictKind,
    pattern::{OwnerPattern, short_owner},
    plan::Step,
    policy::{Condition, Demand, Effect, Limits, Policy, Rule, Test},
    printable::printable,
    report::{Failure, Mode, Severity},
    session::Record,
    target::Unknown,
};
use serde_json::json;
use session_reaper::{
    Budget,
    aws::{CallErrorKind, Ssm},
    sinks::{
        Sinks,
        log::{self, LogSettings},
    },
    sweep::list::ListingProblem,
    sweep::{PlannedSweep, SweepContext, SweepResult, carry_out, plan_by},
};
use tokio::time::{Duration, Instant, sleep};

use crate::{
    aws::{Aws, Connection},
    clock::now,
    exit::{INTERRUPTED, VIOLATED},
    lines::{done, fitting, planned, rows, to_table},
    lock::revocation::revocations,
    progress::with_progress,
    stdio::{eprintln, println, warn},
    sweep::{
        Loaded, PolicyAt, add_tag_problem, check_confirmable, confirmed, end_only, interruptible,
        sessions, to_end,
    },
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
    let (log, sinks) = start_log(args);
    if args.log.is_some() {
        log.open();
    }
    let mut seen = BTreeSet::new();
    let result = Box::pin(lock(args, &log, &sinks, &mut seen)).await;
    println!("\nThis does not revoke credentials: whoever has them can start a session again.\n");
    println!("{}", revocations(&args.owners, &seen, now()));
    if let Some(err) = &log.state().failure {
        eprintln!("error: the log lacks lines: {err}");
        return result.and(Ok(ExitCode::FAILURE));
    }
    result
}

/// The ARNs of owners of listed sessions that are locked.
type Seen = BTreeSet<Arc<str>>;

async fn lock(args: &Args, log: &Log, sinks: &Sinks, seen: &mut Seen) -> anyhow::Result<ExitCode> {
    let (aws, loaded) = args.policy.open(&args.connection).await?;
    interruptible(&aws.ssm, Box::pin(rounds(args, &aws, loaded, log, sinks, seen))).await
}

/// Lists and terminates, until a complete listing shows none or the time is over. Nothing is
/// terminated after the last listing: what is said in the end, it has shown.
async fn rounds(
    args: &Args,
    aws: &Aws,
    loaded: Loaded,
    log: &Log,
    sinks: &Sinks,
    seen: &mut Seen,
) -> anyhow::Result<ExitCode> {
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
        let order = SweepContext { budget, sinks, ..aws.order(&loaded.source, mode, now) };
        let listing = Box::pin(plan_by(order, &loaded.policy, loaded.identity.clone()));
        let listing = with_progress("listing", aws, listing);
        let mut survey = unless_stopped(&aws.ssm, listing).await??;
        add_tag_problem(&mut survey, aws, &loaded.policy);
        let is_theirs = |it: &&Arc<str>| OwnerPattern::any_is_match(&args.owners, it);
        seen.extend(listed_owners(&survey).filter(is_theirs).cloned());
        let is_new = |it: &&String| warned.insert((*it).clone());
        warn(survey.warnings.iter().filter(is_new));
        let n = to_end(&survey).len();
        if let Some(asked_about) = asked_about.take() {
            end_only(&asked_about, u32::MAX, &mut survey); // The others' turn is the next round.
        }
        show(args, &survey, now, &mut shown);
        let problem = survey.problem.as_ref();
        let has_time = || Instant::now() + PAUSE < hard_stop;
        let may_pass = has_look_up_failed(&survey);
        let is_done =
            n == 0 && (!may_pass || !has_time()) && problem.is_none_or(ListingProblem::is_denial);
        if !args.enforce || is_over || is_done {
            return end(args, &survey, n, so_far);
        }
        if let Some(problem) = problem {
            warn([&format!("the listing is incomplete, so there may be more: {problem}")]);
        }
        let to_end = to_end(&survey);
        if !to_end.is_empty() {
            log.open();
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

/// Whether somebody may be exempt only because a look-up of tags failed that may succeed yet.
fn has_look_up_failed(survey: &PlannedSweep) -> bool {
    let failed = |it: &Step| it.verdict.unknown() == Some(Unknown::TagsLookupFailed);
    survey.plan.steps.iter().any(failed)
        && !survey.tag_problems.iter().any(|it| it.kind == CallErrorKind::Denied)
}

/// One round: asks, verifies, and shows what came of it.
async fn act(aws: &Aws, order: SweepContext<'_>, survey: PlannedSweep) -> anyhow::Result<Done> {
    let work = Box::pin(carry_out(order, survey));
    let SweepResult { record, report } = with_progress("ending", aws, work).await;
    let mut ended: Vec<_> = done(&record.outcomes, order.now).collect();
    ended.retain(|it| it.verdict == VerdictKind::Violation);
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
    let PlannedSweep { plan, not_evaluated, .. } = survey;
    let is_open = |it: &&Step| it.verdict.kind() == VerdictKind::Undetermined;
    let n_open = plan.steps.iter().filter(is_open).count();
    let n_listed = records(survey).filter(|it| args.may_mean(it)).count();
    let n_all = plan.steps.len() + not_evaluated.len();
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
    survey.not_evaluated.iter().map(|(it, _)| it)
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
    let steps = survey.plan.steps.iter().filter(|it| it.verdict.kind() != VerdictKind::Compliant);
    let mut not_evaluated = survey.not_evaluated.clone();
    not_evaluated.retain(|(it, _)| args.may_mean(it));
    let rows = rows(planned(steps, now), &not_evaluated, now);
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
        effect: Effect::Terminate,
    };
    let limits = Limits { max_terminations: u32::MAX, max_percent: 100, ..Limits::default() };
    let exemptions = if args.override_exemptions { Vec::new() } else { base.exemptions };
    let policy = Policy { rules: vec![rule], exemptions, limits, paused: false, ..base };
    Loaded { policy, source, identity }
}

/// The log: kept back until it is opened, which is before it is asked whether to terminate.
#[derive(Clone)]
struct Log(Arc<Mutex<LogState>>);

struct LogState {
    /// The lines of the round, as long as the log is not open.
    before: Vec<u8>,
    /// Where it goes.
    sink: Option<Box<dyn Write + Send>>,
    /// Where it may go next, and how to open it there; after them, to standard error.
    places: VecDeque<(PathBuf, OpenOptions)>,
    /// Why a line is nowhere, not even on standard error.
    failure: Option<io::Error>,
}

impl Log {
    fn state(&self) -> MutexGuard<'_, LogState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets the round before, if nothing was to be terminated in it: a lock may wait for long.
    fn begin_round(&self) {
        self.state().before.clear();
    }

    /// Opens the log where it can be written, and writes what there is so far.
    fn open(&self) {
        let mut state = self.state();
        if state.sink.is_none() {
            state.sink = Some(state.next_sink());
            let before = std::mem::take(&mut state.before);
            state.write(&before);
        }
    }
}

impl LogState {
    fn next_sink(&mut self) -> Box<dyn Write + Send> {
        while let Some((path, options)) = self.places.pop_front() {
            let shown = printable(&path.to_string_lossy());
            match options.open(&path) {
                Ok(file) => {
                    eprintln!("The log is {shown}.");
                    return Box::new(file);
                }
                Err(err) => eprintln!("warning: cannot write the log `{shown}`: {err}"),
            }
        }
        eprintln!("The log is standard error.");
        Box::new(io::stderr())
    }

    /// Writes whole lines; where that fails, to the next place.
    fn write(&mut self, lines: &[u8]) {
        let Some(sink) = &mut self.sink else {
            self.before.extend_from_slice(lines);
            return;
        };
        let Err(err) = sink.write_all(lines) else { return };
        if self.failure.is_some() {
            return; // It is told at the end.
        }
        eprintln!("warning: cannot go on with the log: {err}");
        let mut sink = self.next_sink();
        self.failure = sink.write_all(lines).err();
        self.sink = Some(sink);
    }
}

impl Write for Log {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        self.state().write(lines);
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(()) // There is nothing between it and the file.
    }
}

/// The function's own log lines, with the owners and the reason in each.
fn start_log(args: &Args) -> (Log, Sinks) {
    let name = format!("reapctl-lock-{}.jsonl", now().strftime("%Y%m%dT%H%M%SZ"));
    let mut appended = OpenOptions::new();
    appended.create(true).append(true);
    let mut created = OpenOptions::new();
    created.create_new(true).append(true); // Anybody may have put a link there.
    let path = args.log.clone().unwrap_or_else(|| name.clone());
    let places = [(path.into(), appended), (temp_dir().join(name), created)].into();
    let log = Log(Arc::new(Mutex::new(LogState {
        before: Vec::new(),
        sink: None,
        places,
        failure: None,
    })));
    let owners: Vec<String> = args.owners.iter().map(ToString::to_string).collect();
    let common = json!({
        "service": "session-reaper",
        "command": "reapctl lock",
        "locked": owners.join(", "),
        "reason": args.reason,
    });
    let common = common.as_object().cloned().unwrap_or_default();
    let settings = LogSettings { is_json: true, least: Severity::Info, common };
    let lines = log::Log::new(settings, log.clone());
    (log, Sinks { log: Some(lines), metrics: None })
}
