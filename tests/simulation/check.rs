//! What must be true after every sweep: evaluated from what was asked and served, and from the
//! emulator's own truth.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    time::Duration,
};

use fastrand::Rng;
use reaper_core::{
    evaluate::{self, VerdictKind},
    plan::{Action, DeferReason},
    report::{Mode, Outcome, OutcomeRecord, Report},
    target::Unknown,
};
use serde_json::Value;
use session_reaper::sweep::SweepResult;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::{
    count::Fleet,
    fleet::{ACCOUNT, KEYS, PARAMETER, REGION, VALUES},
    model::{Limit, Listed, Model, TagSet, Tags, Verdict},
    tap::{Answer, Exchange},
};

/// Terminations in flight.
pub(crate) const CONCURRENCY: usize = 8;

/// The longest that one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(5);

/// Timers are as exact as this.
const TICK: Duration = Duration::from_millis(2);

/// The first pause before an attempt that follows one without an answer; each further one doubles it.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause after a throttled call.
const LONGEST_PAUSE: Duration = Duration::from_millis(1_500);

/// Ends the check with an error that says what is not true.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err(format!($($message)+));
        }
    };
}

/// One sweep, as seen from outside.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) exchanges: Vec<Exchange>,
    /// What its event asks for; `None`: nothing.
    pub(crate) mode: Option<Mode>,
    pub(crate) now_ms: i64,
    pub(crate) interval: Duration,
    pub(crate) began_at: Instant,
    /// No call starts from here on.
    pub(crate) last_start: Instant,
    /// The sweep is over by then.
    pub(crate) hard_stop: Instant,
    pub(crate) ended_at: Instant,
    /// The sessions that were active at its start and at its end.
    pub(crate) active_before: HashSet<String>,
    pub(crate) active_after: HashSet<String>,
    pub(crate) end: End,
}

#[derive(Debug)]
pub(crate) enum End {
    Killed,
    /// The event was not one that starts a sweep.
    Refused,
    /// There was no policy to evaluate by.
    Unusable,
    /// Ages were not known.
    ClockWrong,
    SweepResult(Box<SweepResult>),
}

/// What was served to one sweep, read without any of its code.
struct Served<'a> {
    /// The parameter, in the first answer that has it.
    parameter: Option<&'a Value>,
    model: Option<&'a Model>,
    /// The first row of each session, in the order of the listing, and every row without an id.
    rows: Vec<&'a Value>,
    pages: u32,
    /// Whether the listing reached its end, without repetition.
    is_complete: bool,
    /// By so many seconds the clock is ahead, as the pages told; `None` if there was no page.
    clock_ahead_s: Option<f64>,
    /// Whether AWS was asked for the time as often as it may be, or could be.
    has_asked: bool,
    /// How long the listing took, or would have taken at the pace.
    listed_for: Duration,
    /// By target; what was never asked for is not here.
    tags: HashMap<String, Tags>,
    termination_requests: BTreeSet<&'a str>,
    /// How many calls the listing and the questions for the time took.
    n_first: usize,
    /// The calls of the listing right before the terminations, by which sessions are counted again.
    recount: Vec<&'a Exchange>,
    /// By id: each session that can be evaluated, with what may be known of its places.
    ways: HashMap<String, Vec<Listed>>,
}

impl Exchange {
    fn is(&self, operation: &str) -> bool {
        self.operation == operation
    }

    /// The body of a successful answer that the caller could understand.
    fn success(&self) -> Option<&Value> {
        match &self.answer {
            Some(Answer::Http { status: 200, body: Some(body), .. }) if self.is_told_in(body) => {
                Some(body)
            }
            _ => None,
        }
    }

    /// Whether an answer has what was asked for: what lacks it proves nothing.
    fn is_told_in(&self, body: &Value) -> bool {
        match self.operation.as_str() {
            "DescribeSessions" => body["Sessions"].is_array(),
            "GetParameter" => body["Parameter"].is_object(),
            "GetResources" => body["ResourceTagMappingList"].is_array(),
            _ => body.is_object(),
        }
    }

    fn error_code(&self) -> Option<&str> {
        match &self.answer {
            Some(Answer::Http { status, body: Some(body), .. }) if *status != 200 => {
                body["__type"].as_str()
            }
            _ => None,
        }
    }

    pub(crate) fn session(&self) -> Option<&str> {
        self.request["SessionId"].as_str()
    }

    fn is_throttled(&self) -> bool {
        self.error_code() == Some("ThrottlingException")
            || matches!(self.answer, Some(Answer::Http { status: 429, .. }))
    }

    /// Whether it is not known if the call took effect.
    fn is_ambiguous(&self) -> bool {
        match &self.answer {
            None | Some(Answer::Reset) => true,
            Some(Answer::Http { status: 200, .. }) => self.success().is_none(),
            Some(Answer::Http { status, .. }) => 500 <= *status,
        }
    }
}

fn id(row: &Value) -> Option<&str> {
    row["SessionId"].as_str()
}

/// Whether it was terminated before, and is still listed.
fn is_terminating(row: &Value) -> bool {
    matches!(row["Status"].as_str(), Some("Terminating" | "Terminated"))
}

/// As AWS writes it; `None` for what is no instance, managed instance or task.
fn arn(target: &str) -> Option<String> {
    let (service, resource) = match target.split_once(['-', ':'])? {
        ("i", _) => ("ec2", format!("instance/{target}")),
        ("mi", _) => ("ssm", format!("managed-instance/{target}")),
        ("ecs", container) => {
            let parts: Vec<_> = container.split('_').collect();
            let (task, cluster) = (parts[parts.len() - 2], parts[..parts.len() - 2].join("_"));
            ("ecs", format!("task/{cluster}/{task}"))
        }
        _ => return None,
    };
    Some(format!("arn:aws:{service}:{REGION}:{ACCOUNT}:{resource}"))
}

/// The tags of a target; `None` if the answer lacks some, or names one twice.
fn tag_set(mapping: &Value) -> Option<TagSet> {
    let known = |text: &Value, texts: &[&'static str]| {
        texts.iter().find(|it| text.as_str() == Some(it)).copied()
    };
    let tags = mapping["Tags"].as_array()?;
    let mut keys = HashSet::new();
    if !tags.iter().all(|it| it["Key"].as_str().is_some_and(|it| keys.insert(it))) {
        return None;
    }
    let tags = tags.iter().filter_map(|it| {
        Some((known(&it["Key"], &KEYS)?, known(&it["Value"], &VALUES).unwrap_or("another")))
    });
    Some(tags.collect())
}

/// What was called before the first termination: any listing after it is verification.
fn listing_calls(exchanges: &[Exchange]) -> impl Iterator<Item = &Exchange> {
    exchanges.iter().take_while(|it| !it.is("TerminateSession"))
}

fn terminations(run: &Run) -> impl Iterator<Item = &Exchange> {
    run.exchanges.iter().filter(|it| it.is("TerminateSession"))
}

impl<'a> Served<'a> {
    fn read(run: &'a Run, policies: &'a HashMap<String, Model>) -> Self {
        let exchanges = &run.exchanges;
        let mut answers = exchanges.iter().filter(|it| it.is("GetParameter"));
        let parameter = answers.find_map(Exchange::success).map(|it| &it["Parameter"]);
        let model = parameter.and_then(|it| policies.get(it["Value"].as_str()?));
        let listings: Vec<_> =
            listing_calls(exchanges).filter(|it| it.is("DescribeSessions")).collect();
        let until_look_up = exchanges.iter().take_while(|it| !it.is("GetResources"));
        let n_before = until_look_up.filter(|it| it.is("DescribeSessions")).count();
        let (before, _) = listings.split_at(n_before.min(listings.len()));
        let by = before.first().map(|it| it.started_at + (run.last_start - it.started_at) / 3);
        let (rows, pages, is_complete, n_listing) = read_listing(before, by);
        // What comes behind its end asks for the time, until this is right.
        let (census, rest) = before.split_at(n_listing);
        let is_right =
            |n: &usize| !clock_ahead_s(run, census, &rest[..*n]).is_some_and(|it| 60.0 < it.abs());
        let n_questions = if is_complete { (0..rest.len()).find(is_right) } else { Some(0) };
        let questions = &rest[..n_questions.unwrap_or(rest.len())];
        let n_first = n_listing + questions.len();
        let began_at = census.first().map(|it| it.started_at);
        // One that was not waited for took what an attempt may take.
        let ended_at =
            |it: &&Exchange| it.ended_at.unwrap_or((it.started_at + ATTEMPT).min(run.hard_stop));
        let ended_at = census.iter().map(ended_at).max();
        let took = began_at.zip(ended_at).map(|(from, to)| to - from).unwrap_or_default();
        let mut served = Self {
            parameter,
            model,
            rows,
            pages,
            is_complete,
            clock_ahead_s: clock_ahead_s(run, census, questions),
            has_asked: !is_complete || has_asked(run, census, questions),
            listed_for: took.max(run.interval * pages),
            tags: model.map(|it| read_tags(listing_calls(exchanges), it)).unwrap_or_default(),
            termination_requests: terminations(run).filter_map(Exchange::session).collect(),
            n_first,
            recount: listings[n_first..].to_vec(),
            ways: HashMap::new(),
        };
        if let Some(model) = model {
            let fleet = served.fleet(run, |it| tags_of(&served, it));
            let ways = model.count(run.now_ms, &fleet).into_iter();
            served.ways = ways.map(|it| (it[0].id.clone(), it)).collect();
        }
        served
    }

    /// What was listed, with tags.
    fn fleet(&self, run: &Run, tags: impl Fn(&Listed) -> Tags) -> Fleet<'a> {
        let mut fleet = Fleet { is_incomplete: !self.is_complete, ..Fleet::default() };
        for row in &self.rows {
            match Listed::read(row, run.now_ms) {
                Some(it) => fleet.sessions.push((it.clone(), tags(&it))),
                None => fleet.strangers.push(row),
            }
        }
        fleet
    }

    /// The verdicts that may be given on a session.
    fn verdicts(&self, run: &Run, model: &Model, listed: &Listed) -> BTreeSet<Verdict> {
        let tags = tags_of(self, listed);
        let ways = &self.ways[&listed.id];
        let each = ways.iter().flat_map(|it| model.verdicts(run.now_ms, it, &tags));
        let vague = (1 < ways.len()).then_some(Verdict::Undetermined);
        each.chain(vague).collect()
    }
}

/// By so many seconds the clock is ahead of AWS's, by the median of the times told; of two in the middle,
/// by the worse one.
fn clock_ahead_s(run: &Run, census: &[&Exchange], questions: &[&Exchange]) -> Option<f64> {
    let ahead = |it: &&Exchange| {
        let Some(Answer::Http { date_s: Some(date_s), .. }) = it.answer else { return None };
        it.success()?;
        let halfway = it.started_at + (it.ended_at? - it.started_at) / 2;
        #[expect(clippy::cast_precision_loss, reason = "not that many")]
        let wrong = (run.now_ms - 1_000 * date_s) as f64 / 1_000.0;
        Some(wrong + (halfway - run.began_at).as_secs_f64())
    };
    let mut told: Vec<f64> = census.iter().chain(questions).filter_map(ahead).collect();
    told.sort_by(f64::total_cmp);
    let (low, high) = (told.get((told.len().max(1) - 1) / 2)?, told.get(told.len() / 2)?);
    Some(if low.abs() < high.abs() { *high } else { *low })
}

/// AWS is asked twice, unless it does not answer, or there is no time.
fn has_asked(run: &Run, census: &[&Exchange], questions: &[&Exchange]) -> bool {
    let began_at = census.first().map_or(run.began_at, |it| it.started_at);
    let by = began_at + (run.last_start - began_at) / 3;
    let turn = LONGEST_PAUSE + 2 * run.interval;
    let is_late = by < run.ended_at + turn;
    2 <= questions.len() || is_late || questions.iter().any(|it| it.success().is_none())
}

/// How many of the exchanges are the listing's comes last.
/// It was over by an instant, if this is told.
fn read_listing<'a>(
    exchanges: &[&'a Exchange],
    by: Option<Instant>,
) -> (Vec<&'a Value>, u32, bool, usize) {
    let (mut rows, mut pages, mut is_complete) = (Vec::<&Value>::new(), 0, false);
    let (mut ids, mut tokens, mut n_restarts) = (HashSet::new(), HashSet::new(), 0);
    let mut n_ambiguous = 0;
    for (i, exchange) in exchanges.iter().enumerate() {
        let begins = exchange.request["NextToken"].is_null();
        let is_next = |before: &&Exchange| {
            let is_again = before.request["NextToken"].is_null()
                && (before.is_throttled() || before.is_ambiguous() && n_ambiguous < 5);
            before.error_code() != Some("InvalidNextToken") && !is_again
        };
        let is_another = i.checked_sub(1).and_then(|i| exchanges.get(i)).is_some_and(is_next);
        if 0 < pages && begins && (is_another || by.is_some_and(|by| by < exchange.started_at)) {
            return (rows, pages, false, i); // Another listing begins.
        }
        n_ambiguous = if exchange.is_ambiguous() { n_ambiguous + 1 } else { 0 };
        is_complete = false;
        if exchange.error_code() == Some("InvalidNextToken") {
            n_restarts += 1;
            if 2 < n_restarts {
                return (rows, pages, false, i + 1);
            }
            rows.retain(|it| id(it).is_some());
            tokens.clear();
        }
        let Some(page) = exchange.success() else { continue };
        let Some(sessions) = page["Sessions"].as_array() else { continue };
        pages += 1;
        rows.extend(sessions.iter().filter(|it| id(it).is_none_or(|id| ids.insert(id))));
        let token = page["NextToken"].as_str().filter(|it| !it.is_empty());
        is_complete = token.is_none();
        if is_complete {
            return (rows, pages, true, i + 1);
        }
        if token.is_some_and(|it| !tokens.insert(it)) {
            return (rows, pages, false, i + 1);
        }
    }
    (rows, pages, is_complete, exchanges.len())
}

fn read_tags<'a>(
    exchanges: impl Iterator<Item = &'a Exchange>,
    model: &Model,
) -> HashMap<String, Tags> {
    let mut tags: HashMap<String, Tags> = HashMap::new();
    for exchange in exchanges.filter(|it| it.is("GetResources")) {
        let arns = exchange.request["ResourceARNList"].as_array().into_iter().flatten();
        for arn in arns.filter_map(Value::as_str) {
            let told = match exchange.success() {
                None => Tags::Failed,
                Some(answer) => {
                    let all = answer["ResourceTagMappingList"].as_array().into_iter().flatten();
                    let mut named = all.clone().filter(|it| it["ResourceARN"] == arn);
                    let mapping = named.next();
                    let differs =
                        mapping.is_some_and(|it| named.any(|other| other["Tags"] != it["Tags"]));
                    let is_all = answer["PaginationToken"].as_str().is_none_or(str::is_empty)
                        && all.clone().all(|it| it["ResourceARN"].is_string());
                    let untold = || if is_all { model.untagged() } else { Tags::Failed };
                    mapping.map_or_else(untold, |it| {
                        tag_set(it).filter(|_| !differs).map_or(Tags::Failed, Tags::Known)
                    })
                }
            };
            tags.insert(arn.to_owned(), told);
        }
    }
    tags
}

/// Checks one sweep.
pub(crate) fn check(run: &Run, policies: &HashMap<String, Model>) -> Result<(), String> {
    check_served(run, policies).map(drop)
}

/// The same; what the sweep was served.
fn check_served<'a>(
    run: &'a Run,
    policies: &'a HashMap<String, Model>,
) -> Result<Served<'a>, String> {
    let served = Served::read(run, policies);
    let is_refused = matches!(run.end, End::Refused);
    ensure!(is_refused == run.mode.is_none(), "an event for {:?}: {:?}", run.mode, run.end);
    check_calls(run, &served)?;
    check_terminations(run, &served)?;
    check_clock(run, &served)?;
    let swept = match &run.end {
        End::Killed | End::ClockWrong => return Ok(served),
        End::Refused => {
            ensure!(run.exchanges.is_empty(), "AWS was called for an event that was refused");
            return Ok(served);
        }
        End::Unusable => {
            ensure!(served.model.is_none(), "a policy that can be read was not used");
            return Ok(served);
        }
        End::SweepResult(swept) => swept,
    };
    let Some(model) = served.model else { return Err("this policy was never served".into()) };
    check_coverage(run, &served, swept)?;
    check_counts(run.exchanges.len(), &served, swept)?;
    let outcomes: HashMap<_, _> =
        swept.record.outcomes.iter().map(|it| (&*it.step.session.id, it)).collect();
    check_verdicts(run, &served, model, &outcomes)?;
    let evaluated = oldest_first(run, &served, &swept.record.outcomes)?;
    check_rows(run, &served, &evaluated, swept)?;
    check_identity(run, &served, &swept.report)?;
    check_asked_tags(run, &served, model)?;
    check_plan(run, &served, model, &evaluated, swept)?;
    for it in &swept.record.outcomes {
        check_outcome(run, &served, it).map_err(|err| format!("{}: {err}", it.step.session.id))?;
    }
    Ok(served)
}

/// A clock that is more than a minute off terminates nothing, and one that is not stops nothing.
fn check_clock(run: &Run, served: &Served<'_>) -> Result<(), String> {
    let ahead_s = served.clock_ahead_s.unwrap_or_default();
    let is_wrong = 60.0 < ahead_s.abs();
    let requests = &served.termination_requests;
    ensure!(
        !is_wrong || requests.is_empty(),
        "{requests:?} was terminated by a clock {ahead_s} s ahead"
    );
    let is_told = matches!(run.end, End::ClockWrong);
    let is_over = !matches!(run.end, End::Killed);
    ensure!(!is_over || is_told == is_wrong, "{ahead_s} s ahead, and told as wrong: {is_told}");
    ensure!(!is_told || served.has_asked, "AWS was not asked for its time again");
    Ok(())
}

/// Deadlines hold, and without a policy nothing is even listed.
fn check_calls(run: &Run, served: &Served<'_>) -> Result<(), String> {
    let mut has_read = false;
    let mut listing_by = None;
    let mut n_listings = 0;
    let mut counting_by = None;
    let end_acting_by = act_by(run, served) + Duration::from_secs(2) + TICK;
    for it in &run.exchanges {
        ensure!(it.started_at < run.last_start, "{} began after the deadline", it.operation);
        let over_at = it.over_at.unwrap_or(run.ended_at);
        ensure!(over_at <= it.started_at + ATTEMPT + TICK, "{} took too long", it.operation);
        let is_termination = it.is("TerminateSession");
        ensure!(!is_termination || over_at <= end_acting_by, "it went on while it was to verify");
        let n = it.request["MaxResults"].as_u64();
        ensure!(!it.is("DescribeSessions") || n == Some(200), "{n:?} rows were asked for");
        let has_policy = served.model.is_some() || it.is("GetParameter");
        ensure!(has_policy, "{} was called without a policy", it.operation);
        let name = it.request["Name"].as_str();
        ensure!(!it.is("GetParameter") || name == Some(PARAMETER), "{name:?} was read");
        ensure!(!(it.is("GetParameter") && has_read), "the policy was read twice");
        has_read |= it.is("GetParameter") && it.success().is_some();
        if it.is("TerminateSession") {
            let is_early = it.started_at < act_by(run, served);
            ensure!(is_early, "no time was left to verify by");
        }
        n_listings += usize::from(it.is("DescribeSessions"));
        let is_counting = served.recount.first().is_some_and(|first| {
            it.is("DescribeSessions")
                && first.started_at <= it.started_at
                && n_listings <= served.n_first + served.recount.len()
        });
        if is_counting {
            let act_by = act_by(run, served);
            let half = act_by.saturating_duration_since(it.started_at) / 2;
            let by = *counting_by.get_or_insert(it.started_at + half);
            ensure!(it.started_at <= by, "counting again took more than half of the time to act");
        }
        if it.is("DescribeSessions") && n_listings <= served.n_first {
            let third = (run.last_start - it.started_at) / 3;
            let by = *listing_by.get_or_insert(it.started_at + third);
            ensure!(it.started_at <= by, "the listing took more than a third of the time");
        }
    }
    check_look_up(run, served)?;
    for it in terminations(run) {
        let is_under_way = |other: &&Exchange| {
            other.started_at <= it.started_at && other.ended_at.is_none_or(|at| it.started_at < at)
        };
        // One that is not waited for is not known to have ended.
        let n = terminations(run).filter(|it| it.ended_at.is_some()).filter(is_under_way).count();
        ensure!(n <= CONCURRENCY, "{n} terminations were under way at a time");
    }
    ensure!(run.ended_at <= run.hard_stop, "the sweep was not over in time");
    Ok(())
}

/// The look-up of tags leaves half of the time for sessions whose verdict does not need them.
fn check_look_up(run: &Run, served: &Served<'_>) -> Result<(), String> {
    let census = listing_calls(&run.exchanges).filter(|it| it.is("DescribeSessions"));
    let census = census.take(served.n_first);
    let Some(listed_at) = census.filter_map(|it| it.over_at).max() else { return Ok(()) };
    let act_by = if run.mode == Some(Mode::Enforce) { act_by(run, served) } else { run.last_start };
    let by = act_by - act_by.saturating_duration_since(listed_at) / 2;
    let mut look_up = run.exchanges.iter().filter(|it| it.is("GetResources"));
    let is_in_time = !served.is_complete || look_up.all(|it| it.started_at <= by);
    ensure!(is_in_time, "the look-up took more than half of the time to act");
    Ok(())
}

/// Whether there was time for another call: the last one had ended long before.
fn had_time(run: &Run, served: &Served<'_>) -> bool {
    let last =
        listing_calls(&run.exchanges).chain(terminations(run)).filter_map(|it| it.over_at).max();
    let turn = LONGEST_PAUSE + 2 * run.interval + Duration::from_secs(1);
    last.is_some_and(|at| at + turn < act_by(run, served))
}

/// No termination starts from here on.
fn act_by(run: &Run, served: &Served<'_>) -> Instant {
    run.last_start - served.listed_for - Duration::from_secs(2)
}

/// Terminations are requested only for sessions that violate the policy by this listing and these tags,
/// and only within the limits.
fn check_terminations(run: &Run, served: &Served<'_>) -> Result<(), String> {
    let Some(model) = served.model else { return Ok(()) }; // There are none, see above.
    ensure!(
        run.mode == Some(Mode::Enforce) || served.termination_requests.is_empty(),
        "a dry run has terminated {:?}",
        served.termination_requests
    );
    let rows: HashMap<_, _> = served.rows.iter().filter_map(|it| Some((id(it)?, *it))).collect();
    let recount = Recount::read(run, served, model);
    for session in &served.termination_requests {
        let row = rows
            .get(session)
            .ok_or_else(|| format!("{session} was terminated without being listed"))?;
        let Some(listed) = Listed::read(row, run.now_ms) else {
            return Err(format!("{session} was terminated, and cannot be evaluated: {row}"));
        };
        let tags = tags_of(served, &listed);
        let is_violation = model.is_violated_by(run.now_ms, &served.ways[*session][0], &tags);
        ensure!(is_violation, "{session} was terminated, by {tags:?}: {row}");
        if !model.is_violated_by(run.now_ms, &listed, &tags) {
            check_recount(served, model, &recount, &listed)?;
        }
    }
    if !served.termination_requests.is_empty() {
        let rows = served.rows.iter().filter(|it| !is_terminating(it));
        let evaluated: Vec<_> = rows.filter_map(|it| Listed::read(it, run.now_ms)).collect();
        let verdicts: Vec<_> = evaluated.iter().map(|it| served.verdicts(run, model, it)).collect();
        let is_violation = |it: &&BTreeSet<_>| **it == BTreeSet::from([Verdict::Violation]);
        let n_violators = verdicts.iter().filter(is_violation).count();
        // Those that may be compliant count as compliant here; the plan is checked elsewhere.
        let may_comply =
            |it: &&BTreeSet<_>| it.contains(&Verdict::Compliant) || it.contains(&Verdict::Warning);
        let may_comply = verdicts.iter().filter(may_comply).count();
        let opens = opens(model, n_violators, may_comply);
        ensure!(!opens, "the circuit breaker deferred no session");
    }
    ensure!(!model.is_paused || served.termination_requests.is_empty(), "the policy is paused");
    let is_new = |it: &&&str| rows.get(**it).is_none_or(|row| !is_terminating(row));
    let n = served.termination_requests.iter().filter(is_new).count();
    ensure!(n <= model.max_terminations, "{n} were terminated, and the limit is less");
    Ok(())
}

/// The listing by which sessions were counted again.
struct Recount<'a> {
    rows: Vec<&'a Value>,
    is_complete: bool,
    /// Those that stay: their termination was not requested, they are not `Terminating`, and violate nothing for their
    /// own sake.
    staying: Vec<Listed>,
}

impl<'a> Recount<'a> {
    fn read(run: &Run, served: &Served<'a>, model: &Model) -> Self {
        let (rows, _, is_complete, _) = read_listing(&served.recount, None);
        let stays = |it: &Listed| {
            let violates = || {
                let verdicts = model.possible(run.now_ms, it, &tags_of(served, it));
                verdicts.contains(&Verdict::Violation)
            };
            it.may_be_terminating() == Some(false)
                && !served.termination_requests.contains(it.id.as_str())
                && !violates()
        };
        let listed = rows.iter().filter_map(|it| Listed::read(it, run.now_ms));
        let staying = listed.map(|it| model.assumed(&it)).filter(stays).collect();
        Self { rows, is_complete, staying }
    }
}

/// A session that is terminated for the number of others: at the last listing before, enough of them
/// stood before it in its group, and stay.
fn check_recount(
    served: &Served<'_>,
    model: &Model,
    recount: &Recount<'_>,
    session: &Listed,
) -> Result<(), String> {
    let Listed { id: name, .. } = session;
    ensure!(!served.recount.is_empty(), "{name} was terminated, and others not counted again");
    let may_be_it = |row: &&Value| id(row).is_none_or(|it| it == name);
    if recount.is_complete && !recount.rows.iter().copied().any(|it| may_be_it(&it)) {
        return Ok(()); // It was gone.
    }
    let is_enough = |limit: &Limit| {
        let takes_place = |it: &&Listed| {
            let place = |it: &Listed| (it.started_ms, it.id.clone());
            let (older, newer) = if limit.newest { (session, *it) } else { (*it, session) };
            (!limit.by_owner || it.owner == session.owner)
                && (!limit.by_target || it.target == session.target)
                && place(older) < place(newer)
                && model.is_in_scope(limit.rule, it, &tags_of(served, it)) == Some(true)
        };
        limit.at_most <= recount.staying.iter().filter(takes_place).count()
    };
    let is_right = model.limits().iter().any(is_enough);
    ensure!(is_right, "{name} was terminated, with too few others: {:?}", recount.rows);
    Ok(())
}

fn tags_of(served: &Served<'_>, listed: &Listed) -> Tags {
    match arn(&listed.target) {
        None => Tags::Untold,
        Some(arn) => served.tags.get(&arn).cloned().unwrap_or(Tags::Failed),
    }
}

/// A listing that was cut, repeated or failed is not complete, and a complete one has every session.
fn check_coverage(run: &Run, served: &Served<'_>, swept: &SweepResult) -> Result<(), String> {
    let coverage = &swept.report.coverage;
    let is_as_served = (coverage.complete, coverage.pages) == (served.is_complete, served.pages);
    ensure!(is_as_served, "{coverage:?}, but whole: {}, {}", served.is_complete, served.pages);
    ensure!(coverage.complete == coverage.problem.is_none(), "{coverage:?}");
    let failure = swept.report.failure();
    ensure!(coverage.complete || failure.is_some(), "an incomplete run did not fail");
    let seen: HashSet<_> = served.rows.iter().filter_map(|it| id(it)).collect();
    if coverage.complete {
        let throughout = run.active_before.intersection(&run.active_after);
        let unseen: BTreeSet<_> = throughout.filter(|it| !seen.contains(it.as_str())).collect();
        let n_nameless = served.rows.len() - seen.len();
        ensure!(unseen.len() <= n_nameless, "a complete listing has neither of {unseen:?}");
    }
    Ok(())
}

/// Every session seen is found once, and the counts add up.
fn check_counts(
    n_exchanges: usize,
    served: &Served<'_>,
    swept: &SweepResult,
) -> Result<(), String> {
    let record = &swept.record;
    let evaluated = record.outcomes.iter().map(|it| Some(&*it.step.session.id));
    let not_evaluated = record.not_evaluated.iter().map(|(it, _)| it.id.as_deref());
    let mut told: Vec<_> = evaluated.chain(not_evaluated).collect();
    let mut seen: Vec<_> = served.rows.iter().map(|it| id(it)).collect();
    told.sort_unstable();
    seen.sort_unstable();
    ensure!(told == seen, "seen {seen:?}, told {told:?}");

    let n_calls = swept.report.calls;
    ensure!(n_calls == n_exchanges as u64, "{n_exchanges} calls were made, {n_calls} are told");
    let (verdicts, outcomes) = (swept.report.verdicts, swept.report.outcomes);
    let count = |name: Verdict| {
        let is_it = |it: &&OutcomeRecord| told_verdict(it) == name;
        record.outcomes.iter().filter(is_it).count()
    };
    let counted = [
        Verdict::Compliant,
        Verdict::Exempt,
        Verdict::Violation,
        Verdict::Undetermined,
        Verdict::Warning,
    ];
    let counted = counted.map(count);
    let it = verdicts;
    let told = [it.compliant, it.exempt, it.violation, it.undetermined, it.warning];
    ensure!(counted == told, "{it:?}");
    ensure!(it.seen == seen.len(), "{it:?}");
    ensure!(it.not_evaluated == record.not_evaluated.len(), "{it:?}");
    ensure!(it.seen == counted.iter().sum::<usize>() + it.not_evaluated, "{it:?}");
    let waits = |it: &&OutcomeRecord| {
        matches!(it.step.action, Action::Defer(DeferReason::Limit | DeferReason::Deadline))
    };
    let backlog = record.outcomes.iter().filter(waits).count();
    ensure!(swept.report.backlog == backlog, "{} in the backlog", swept.report.backlog);
    let o = outcomes;
    let told = [
        (Outcome::Terminated, o.terminated),
        (Outcome::AlreadyGone, o.already_gone),
        (Outcome::Unconfirmed, o.unconfirmed),
        (Outcome::Denied, o.denied),
        (Outcome::Throttled, o.throttled),
        (Outcome::Failed, o.failed),
        (Outcome::WouldTerminate, o.would_terminate),
        (Outcome::Deferred, o.deferred),
        (Outcome::NoAction, o.no_action),
    ];
    for (outcome, n) in told {
        let n_records = record.outcomes.iter().filter(|it| it.outcome == outcome).count();
        ensure!(n == n_records, "{n} are reported as {}, and {n_records} are", outcome.name());
    }
    Ok(())
}

/// As served, not as told: of two that started in the same instant, the one with the smaller id.
fn oldest_first<'a>(
    run: &Run,
    served: &Served<'_>,
    outcomes: &'a [OutcomeRecord],
) -> Result<Vec<(Listed, &'a OutcomeRecord)>, String> {
    let rows: HashMap<_, _> = served.rows.iter().filter_map(|it| Some((id(it)?, *it))).collect();
    let listed = |it: &'a OutcomeRecord| {
        let row = rows.get(&*it.step.session.id);
        let listed = row.and_then(|row| Listed::read(row, run.now_ms));
        Ok((listed.ok_or_else(|| format!("{} was evaluated", it.step.session.id))?, it))
    };
    let mut evaluated = outcomes.iter().map(listed).collect::<Result<Vec<_>, String>>()?;
    evaluated.sort_by(|(a, x), (b, y)| {
        (a.started_ms, &x.step.session.id).cmp(&(b.started_ms, &y.step.session.id))
    });
    Ok(evaluated)
}

/// The reply has a row for every session that is not compliant, what matters most first, and the
/// oldest first, up to a thousand.
fn check_rows(
    run: &Run,
    served: &Served<'_>,
    evaluated: &[(Listed, &OutcomeRecord)],
    swept: &SweepResult,
) -> Result<(), String> {
    let of_verdict = |verdict, name| {
        let those = evaluated.iter().filter(move |(_, it)| told_verdict(it) == verdict);
        those.map(move |(_, it)| (Some(&*it.step.session.id), name, Some(it.outcome)))
    };
    let is_not_evaluated = |row: &Value| Listed::read(row, run.now_ms).is_none();
    let not_evaluated = served.rows.iter().filter(|it| is_not_evaluated(it));
    let expected: Vec<_> = of_verdict(Verdict::Violation, VerdictKind::Violation)
        .chain(of_verdict(Verdict::Undetermined, VerdictKind::Undetermined))
        .chain(not_evaluated.map(|it| (id(it), VerdictKind::NotEvaluated, None)))
        .chain(of_verdict(Verdict::Warning, VerdictKind::Warning))
        .chain(of_verdict(Verdict::Exempt, VerdictKind::Exempt))
        .collect();
    let told = swept.report.sessions.iter();
    let told = told.map(|it| (it.session_id.as_deref(), it.verdict, it.outcome));
    let first = &expected[..expected.len().min(1_000)];
    ensure!(
        told.clone().eq(first.iter().copied()),
        "{:?}, not {first:?}",
        told.collect::<Vec<_>>()
    );
    let is_truncated = 1_000 < expected.len();
    ensure!(swept.report.truncated == is_truncated, "truncated: {}", swept.report.truncated);
    Ok(())
}

/// The report says by which policy it was evaluated, how, and when.
fn check_identity(run: &Run, served: &Served<'_>, report: &Report) -> Result<(), String> {
    let sha256 = |text: &str| hex::encode(Sha256::digest(text));
    let parameter = served.parameter.ok_or("there was no parameter")?;
    let policy = &report.policy;
    let is_it = policy.version == parameter["Version"].as_i64()
        && parameter["Value"].as_str().map(sha256).as_ref() == Some(&policy.sha256)
        && policy.source == format!("parameter {PARAMETER}");
    ensure!(is_it, "{policy:?}, not {parameter}");
    let mut ids: Vec<_> = served.rows.iter().filter_map(|it| id(it)).collect();
    ids.sort_unstable();
    let ids: String = ids.iter().flat_map(|it| [*it, "\n"]).collect();
    ensure!(report.sessions_sha256 == sha256(&ids), "the hash is not that of the ids seen");
    let scope = (report.account.as_deref(), report.region.as_deref());
    ensure!(scope == (Some(ACCOUNT), Some(REGION)), "{scope:?}");
    ensure!(Some(report.mode) == run.mode, "{:?}, not {:?}", report.mode, run.mode);
    let started_at = report.started_at;
    ensure!(started_at.as_millisecond() == run.now_ms, "not begun at {started_at}");
    Ok(())
}

fn told_verdict(outcome: &OutcomeRecord) -> Verdict {
    match outcome.step.verdict {
        evaluate::Verdict::Compliant => Verdict::Compliant,
        evaluate::Verdict::Exempt { .. } => Verdict::Exempt,
        evaluate::Verdict::Undetermined { .. } => Verdict::Undetermined,
        evaluate::Verdict::Violation { .. } => Verdict::Violation,
        evaluate::Verdict::Warning { .. } => Verdict::Warning,
    }
}

/// Every row that can be evaluated is evaluated, as the model does, and no other.
fn check_verdicts(
    run: &Run,
    served: &Served<'_>,
    model: &Model,
    outcomes: &HashMap<&str, &OutcomeRecord>,
) -> Result<(), String> {
    for row in &served.rows {
        let listed = Listed::read(row, run.now_ms);
        let outcome = id(row).and_then(|id| outcomes.get(id));
        let (Some(listed), Some(outcome)) = (&listed, outcome) else {
            ensure!(listed.is_none() && outcome.is_none(), "evaluated or not? {row}");
            continue;
        };
        let tags = tags_of(served, listed);
        let verdicts = served.verdicts(run, model, listed);
        let told = told_verdict(outcome);
        let verdict = &outcome.step.verdict;
        ensure!(verdicts.contains(&told), "{verdict:?}, not {verdicts:?}, by {tags:?}: {row}");
    }
    check_draws(run, served, model, outcomes)
}

/// However what is not known turns out, no violation is denied by it, and no session that may stay
/// violates the policy.
fn check_draws(
    run: &Run,
    served: &Served<'_>,
    model: &Model,
    outcomes: &HashMap<&str, &OutcomeRecord>,
) -> Result<(), String> {
    let fleet = served.fleet(run, |it| tags_of(served, it));
    if !model.keeps_the_same() || 40 < fleet.sessions.len() {
        return Ok(());
    }
    let mut rng = Rng::with_seed(run.now_ms.unsigned_abs());
    for _ in 0..3 {
        let drawn = model.draw(&mut rng, &fleet);
        let verdicts = model.plain_truth(run.now_ms, &drawn);
        for ((it, _), verdict) in drawn.sessions.iter().zip(verdicts).take(fleet.sessions.len()) {
            let told = told_verdict(outcomes[it.id.as_str()]);
            let is_denied = match told {
                Verdict::Violation => verdict != Verdict::Violation,
                Verdict::Undetermined => false,
                Verdict::Compliant | Verdict::Exempt | Verdict::Warning => {
                    verdict == Verdict::Violation
                }
            };
            ensure!(!is_denied, "{} is {told:?}, and {verdict:?} in {drawn:#?}", it.id);
        }
    }
    Ok(())
}

/// Tags are asked for only where they may decide.
fn check_asked_tags(run: &Run, served: &Served<'_>, model: &Model) -> Result<(), String> {
    let mut asked: BTreeSet<_> = served.tags.keys().cloned().collect();
    if asked.is_empty() {
        return Ok(());
    }
    let fleet = served.fleet(run, not_asked);
    for ((it, _), (may, _)) in fleet.sessions.iter().zip(model.needs_tags(run.now_ms, &fleet)) {
        if let Some(arn) = arn(&it.target).filter(|_| may) {
            asked.remove(&arn);
        }
    }
    ensure!(asked.is_empty(), "the tags of {asked:?} decide nothing, and were asked for");
    Ok(())
}

/// What is known of tags before any are looked up.
fn not_asked(it: &Listed) -> Tags {
    if arn(&it.target).is_some() { Tags::Failed } else { Tags::Untold }
}

/// The share of violating sessions among those that are violating or compliant. No others count.
fn opens(model: &Model, n_violators: usize, n_compliant: usize) -> bool {
    let n_both = n_violators + n_compliant;
    model.min_violations <= n_violators && model.percent * n_both < 100 * n_violators
}

/// Which of so many violators, oldest first, the limit allows to terminate: half of it goes to the oldest,
/// the rest to a run of the others that begins where the minute says, and goes on with the oldest of
/// them behind the youngest. So sessions that AWS never terminates do not take all places.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "as the rule has it")]
fn allowed(n_violators: usize, most: usize, now_ms: i64) -> BTreeSet<usize> {
    if n_violators <= most {
        return (0..n_violators).collect();
    }
    let n_oldest = most / 2;
    let n_others = n_violators - n_oldest;
    let minute = now_ms.div_euclid(60_000) as u32;
    let drawn = u64::from(minute.wrapping_mul(2_654_435_769));
    let start = ((drawn * n_others as u64) >> 32) as usize;
    let run = (start..start + most - n_oldest).map(|i| n_oldest + i % n_others);
    (0..n_oldest).chain(run).collect()
}

/// The violating sessions that the limits allow, the oldest first; no action, or deferral, for the others.
fn check_plan(
    run: &Run,
    served: &Served<'_>,
    model: &Model,
    evaluated: &[(Listed, &OutcomeRecord)],
    swept: &SweepResult,
) -> Result<(), String> {
    let all = &swept.record.outcomes;
    let is_violator = |it: &&(Listed, &OutcomeRecord)| told_verdict(it.1) == Verdict::Violation;
    let violators: Vec<_> = evaluated.iter().filter(is_violator).collect();
    let n_violators = violators.len();
    check_rules(run, served, model, evaluated, &swept.report)?;
    // One that was terminated before takes no place, and has no part in the share.
    let hangs = |it: &&(Listed, &OutcomeRecord)| it.0.is_terminating();
    let (again, violators): (Vec<_>, Vec<_>) = violators.into_iter().partition(hangs);
    let n = violators.len();
    let complies = |it: &&(Listed, &OutcomeRecord)| {
        [Verdict::Compliant, Verdict::Warning].contains(&told_verdict(it.1))
    };
    let n_compliant = evaluated.iter().filter(complies).filter(|it| !hangs(it)).count();
    let opens = opens(model, n, n_compliant);
    ensure!(
        swept.report.circuit_breaker_open == opens,
        "circuit_breaker_open: {}, not {opens}",
        swept.report.circuit_breaker_open
    );
    ensure!(swept.report.paused == model.is_paused, "paused: {}", swept.report.paused);
    let may_be_uncounted = check_recounts(run, served, model, evaluated)?;
    let allowed = allowed(n, model.max_terminations, run.now_ms);
    let places = again.into_iter().map(|it| (true, it));
    let places =
        places.chain(violators.iter().enumerate().map(|(i, it)| (allowed.contains(&i), *it)));
    for (is_allowed, (_, it)) in places {
        let action = it.step.action;
        let is_right = if model.is_paused {
            action == Action::Defer(DeferReason::Paused)
        } else if opens {
            action == Action::Defer(DeferReason::CircuitBreaker)
        } else if !is_allowed {
            action == Action::Defer(DeferReason::Limit)
        } else if run.mode == Some(Mode::DryRun) {
            action == Action::Terminate
        } else {
            let may = [Action::Terminate, Action::Defer(DeferReason::Deadline)].contains(&action);
            may || action == Action::Defer(DeferReason::CountedAgain) && may_be_uncounted
        };
        ensure!(
            is_right,
            "{action:?} for {}, one of {n} violating sessions, of which {allowed:?} may be terminated",
            it.step.session.id
        );
    }
    let is_deferred = |it: &OutcomeRecord| it.step.action == Action::Defer(DeferReason::Deadline);
    let is_due = |it: &OutcomeRecord| is_deferred(it) && had_time(run, served);
    ensure!(!all.iter().any(is_due), "deferred by a deadline that was not near");
    let is_asked = |it: &OutcomeRecord| it.step.verdict.unknown() != Some(Unknown::TagsNotLookedUp);
    ensure!(all.iter().all(is_asked), "tags that decide were not looked up");
    let mut asked = HashSet::new();
    let first_calls =
        terminations(run).filter_map(Exchange::session).filter(|it| asked.insert(*it));
    // Those that were terminated before come last.
    let place = |(i, (listed, it)): (usize, &(Listed, &'_ OutcomeRecord))| {
        (it.step.session.id.to_string(), (listed.is_terminating(), i))
    };
    let order: HashMap<String, _> = evaluated.iter().enumerate().map(place).collect();
    let is_in_order = first_calls.map(|it| order.get(it)).is_sorted();
    ensure!(is_in_order, "the terminations were not requested in the order of the ages");
    let has_no_action =
        |it: &&OutcomeRecord| it.step.action == Action::Leave && it.outcome == Outcome::NoAction;
    ensure!(
        all.iter().filter(has_no_action).count() == all.len() - n_violators,
        "there is an action on others"
    );
    Ok(())
}

/// The sessions are counted again, once, if and only if one of those to be terminated is a violator for
/// their number alone. Returns whether the second count may have had another result.
fn check_recounts(
    run: &Run,
    served: &Served<'_>,
    model: &Model,
    evaluated: &[(Listed, &OutcomeRecord)],
) -> Result<bool, String> {
    let is_planned = |it: &&(Listed, &OutcomeRecord)| {
        let action = it.1.step.action;
        let deferred = [DeferReason::CountedAgain, DeferReason::Deadline].map(Action::Defer);
        action == Action::Terminate || deferred.contains(&action)
    };
    let (mut must, mut may) = (false, false);
    for (listed, it) in evaluated.iter().filter(is_planned) {
        let alone = model.verdicts(run.now_ms, listed, &tags_of(served, listed));
        // Its tags may not have been asked for, if it is a violator whatever they are.
        let untold = model.verdicts(run.now_ms, listed, &not_asked(listed));
        let is_open = |it: &BTreeSet<_>| *it != BTreeSet::from([Verdict::Violation]);
        let may_be_counted = is_open(&alone) || is_open(&untold);
        must |= !alone.contains(&Verdict::Violation);
        may |= may_be_counted;
        let is_uncounted = it.step.action == Action::Defer(DeferReason::CountedAgain);
        ensure!(may_be_counted || !is_uncounted, "{} was counted again", listed.id);
    }
    let is_enforced = run.mode == Some(Mode::Enforce);
    let (rows, _, is_complete, n_calls) = read_listing(&served.recount, None);
    ensure!(n_calls == served.recount.len(), "they were counted again more than once");
    ensure!(n_calls == 0 || is_enforced && may, "they were counted again for nothing");
    let is_counted = 0 < n_calls || !had_time(run, served);
    ensure!(is_counted || !must || !is_enforced, "they were not counted again");
    let texts = |rows: &[&Value]| rows.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
    Ok(!is_complete || texts(&rows) != texts(&served.rows))
}

/// Of the violators it is told which rules they violate, and how old the oldest is.
fn check_rules(
    run: &Run,
    served: &Served<'_>,
    model: &Model,
    evaluated: &[(Listed, &OutcomeRecord)],
    report: &Report,
) -> Result<(), String> {
    let mut rules: BTreeMap<String, usize> = BTreeMap::new();
    let of = |verdict| evaluated.iter().filter(move |(_, it)| told_verdict(it) == verdict);
    for (listed, it) in of(Verdict::Violation).chain(of(Verdict::Warning)) {
        let tags = tags_of(served, listed);
        let ways = served.ways[&listed.id].iter();
        let ways: Vec<_> = ways.flat_map(|it| model.violated(run.now_ms, it, &tags)).collect();
        let told = it.step.verdict.rules().iter().map(|it| &**it);
        let is_exact =
            |violated: &&BTreeSet<String>| told.clone().eq(violated.iter().map(String::as_str));
        let is_open = |violated: &&BTreeSet<String>| violated.is_empty();
        let violated = ways.iter().find(is_exact).or_else(|| ways.iter().find(is_open)).cloned();
        let told = told.clone().collect::<Vec<_>>();
        let violated = violated.ok_or_else(|| format!("{told:?}, not {ways:?}: {listed:?}"))?;
        for rule in violated {
            *rules.entry(rule).or_default() += 1;
        }
    }
    let told = report.rules.iter().map(|(rule, n)| (&**rule, *n));
    let is_told = told.clone().eq(rules.iter().map(|(rule, n)| (rule.as_str(), *n)));
    ensure!(is_told, "{:?}, not {rules:?}", report.rules);
    let oldest =
        of(Verdict::Violation).next().map(|(listed, _)| (run.now_ms - listed.started_ms) / 1_000);
    let told = report.oldest_violation_s;
    ensure!(told == oldest, "the oldest violation is {told:?}, not {oldest:?} seconds old");
    Ok(())
}

/// Nothing claims more than has happened.
fn check_outcome(run: &Run, served: &Served<'_>, it: &OutcomeRecord) -> Result<(), String> {
    let id = &*it.step.session.id;
    let calls: Vec<_> = run.exchanges.iter().filter(|it| it.session() == Some(id)).collect();
    let is_gone = !run.active_after.contains(id);
    let is_accepted = calls.iter().any(|it| it.success().is_some());
    let is_denied = |it: &&Exchange| {
        matches!(it.error_code(), Some("AccessDeniedException" | "ExpiredTokenException"))
    };
    let is_refused =
        |it: &&Exchange| it.error_code().is_some() && !it.is_throttled() && !it.is_ambiguous();
    let last = calls.last().copied();
    let n_ambiguous = calls.iter().filter(|it| it.is_ambiguous()).count();
    let is_open = last.is_some_and(|it| it.is_throttled() || it.is_ambiguous() && n_ambiguous < 5);
    ensure!(!(is_open && had_time(run, served)), "given up, {calls:#?}");
    ensure!(n_ambiguous <= 5, "tried too often: {calls:#?}");
    let mut pause = RETRY_PAUSE;
    for (before, next) in calls.iter().zip(calls.iter().skip(1)) {
        let is_again = before.is_throttled() || before.is_ambiguous();
        ensure!(is_again, "asked again: {calls:#?}");
        if before.is_ambiguous() {
            let over_at = before.over_at.unwrap_or(next.started_at);
            ensure!(over_at + pause <= next.started_at, "asked again too soon: {calls:#?}");
            pause *= 2;
        }
    }
    let sighting = sighting(run, id);
    let is_on_its_way = |it: Option<&str>| matches!(it, Some("Terminating" | "Terminated"));
    let was_on_its_way = is_on_its_way(it.step.session.status.as_deref());
    let last_status = if let Sighting::Listed(status) = sighting { status } else { None };
    // One that begins anew is one listing, and looks like two; a row without an id may be its.
    let begins_anew = |it: &Exchange| it.error_code() == Some("InvalidNextToken");
    let is_told = it.last_status() == last_status;
    let is_plain = !run.exchanges.iter().any(|it| it.is("DescribeSessions") && begins_anew(it))
        && !matches!(sighting, Sighting::Absent { is_sure: false });
    ensure!(is_told || !is_plain, "{:?}, {sighting:?}", it.last_status());
    let is_proved = is_gone && matches!(sighting, Sighting::Absent { .. });
    let is_surely_gone = is_plain && matches!(sighting, Sighting::Absent { is_sure: true });
    let is_invalid_state = |it: &Exchange| {
        matches!(it.error_code(), Some("ValidationException" | "DoesNotExistException"))
    };
    let is_true = match it.outcome {
        Outcome::Terminated => is_proved && is_accepted && !was_on_its_way,
        Outcome::AlreadyGone => {
            let is_answered = |it: &Exchange| is_refused(&it) && !is_denied(&it);
            let is_no_proof = 0 < n_ambiguous || last.is_some_and(is_answered);
            is_proved && (if is_accepted { was_on_its_way } else { is_no_proof })
        }
        Outcome::Unconfirmed => {
            let may_be_gone = is_accepted || 0 < n_ambiguous || last.is_some_and(is_invalid_state);
            !is_surely_gone && (may_be_gone || is_on_its_way(last_status))
        }
        Outcome::Denied => {
            n_ambiguous == 0 && !is_accepted && last.is_some_and(|it| is_denied(&it))
        }
        Outcome::Throttled => {
            n_ambiguous == 0 && !is_accepted && last.is_some_and(Exchange::is_throttled)
        }
        Outcome::Failed => {
            let is_refused = last.is_some_and(|it| is_refused(&it) && !is_denied(&it));
            let is_clear =
                !is_accepted && n_ambiguous == 0 && !(is_plain && is_on_its_way(last_status));
            is_refused && is_clear && !is_surely_gone
        }
        Outcome::Deferred => {
            calls.is_empty() && matches!(it.step.action, Action::Defer(_)) && it.error().is_none()
        }
        Outcome::WouldTerminate => calls.is_empty() && run.mode == Some(Mode::DryRun),
        Outcome::NoAction => calls.is_empty(),
    };
    ensure!(is_true, "{} is not true: gone {is_gone}, {calls:#?}", it.outcome.name());
    Ok(())
}

/// How a session was last seen after its termination had been requested.
#[derive(Clone, Copy, Debug)]
enum Sighting<'a> {
    /// The last listing that reached its end lacks it; for sure, if every row there had an id.
    Absent {
        is_sure: bool,
    },
    Listed(Option<&'a str>),
    Unseen,
}

fn sighting<'a>(run: &'a Run, session: &str) -> Sighting<'a> {
    let is_it = |it: &Exchange| it.session() == Some(session);
    if !run.exchanges.iter().any(is_it) {
        return Sighting::Unseen;
    }
    let after = run.exchanges.iter().rposition(|it| it.is("TerminateSession")).unwrap_or_default();
    let (mut row, mut is_sure, mut sighting) = (None, true, Sighting::Unseen);
    for it in run.exchanges[after..].iter().filter(|it| it.is("DescribeSessions")) {
        let Some(page) = it.success() else { continue };
        if it.request["NextToken"].is_null() {
            (row, is_sure) = (None, true); // A listing begins.
        }
        let rows = || page["Sessions"].as_array().into_iter().flatten();
        row = row.or_else(|| rows().find(|it| id(it) == Some(session)));
        is_sure &= rows().all(|it| id(it).is_some());
        let is_end = page["NextToken"].as_str().is_none_or(str::is_empty);
        match row {
            Some(row) => sighting = Sighting::Listed(row["Status"].as_str()),
            None if is_end => sighting = Sighting::Absent { is_sure },
            None => {}
        }
    }
    sighting
}

/// Within any one second no more calls of one operation start than the rate, rounded up; and a
/// throttled one holds them back.
pub(crate) fn check_pace(exchanges: &[Exchange], calls_per_second: f64) -> Result<(), String> {
    let mut starts: BTreeMap<&str, Vec<Instant>> = BTreeMap::new();
    for it in exchanges {
        starts.entry(&it.operation).or_default().push(it.started_at);
    }
    for operation in starts.keys() {
        let of_operation: Vec<_> = exchanges.iter().filter(|it| it.is(operation)).collect();
        check_back_off(&of_operation, calls_per_second)?;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small")]
    let most = calls_per_second.ceil() as usize;
    for (operation, starts) in starts {
        let is_slow = |it: &[Instant]| Duration::from_secs(1) <= it[most] - it[0];
        let is_kept = starts.windows(most + 1).all(is_slow);
        ensure!(is_kept, "{operation} was called more than {most} times in a second");
    }
    Ok(())
}

/// Each throttled call of one operation holds the others back, at least by the interval at three quarters of
/// the pace, and twice as long for each that follows another; but those under way together count as one.
fn check_back_off(exchanges: &[&Exchange], calls_per_second: f64) -> Result<(), String> {
    let first = Duration::from_secs_f64((0.75 * calls_per_second).recip());
    let mut answered: Vec<_> =
        exchanges.iter().filter_map(|it| Some((it.ended_at?, *it))).collect();
    answered.sort_by_key(|(at, _)| *at);
    let mut paused_at: Option<Instant> = None;
    let mut pause = Duration::ZERO;
    for (at, it) in answered {
        if it.success().is_some() {
            pause = Duration::ZERO; // The next pause may be as short as the first.
        }
        if !it.is_throttled() || paused_at.is_some_and(|at| it.started_at < at) {
            continue;
        }
        pause = (2 * pause).max(first).min(LONGEST_PAUSE);
        paused_at = Some(at);
        let is_too_soon = |it: &&&Exchange| at < it.started_at && it.started_at + TICK < at + pause;
        let other = exchanges.iter().find(is_too_soon);
        ensure!(other.is_none(), "{} was throttled, and called again too soon", it.operation);
    }
    Ok(())
}

/// Calls of one operation, of which so many may be under way at a time, start as soon as they may.
fn check_swift(calls: &[&Exchange], most: usize, interval: Duration) -> Result<(), String> {
    let mut over: Vec<_> = calls.iter().filter_map(|it| it.over_at).collect();
    over.sort_unstable();
    for (i, pair) in calls.windows(2).enumerate() {
        let turn = pair[0].started_at + interval;
        let is_free = (i + 1).checked_sub(most).and_then(|it| over.get(it)).copied();
        let by = is_free.map_or(turn, |it| turn.max(it)) + TICK;
        ensure!(pair[1].started_at <= by, "{} came late", pair[1].operation);
    }
    Ok(())
}

/// After a sweep without faults, every fact is known, and every session that can be terminated is.
///
/// Returns how many violators that can be terminated wait for the next one.
pub(crate) fn check_undisturbed(
    run: &Run,
    policies: &HashMap<String, Model>,
    terminating_for: Duration,
    never_disappears: impl Fn(&str) -> bool,
) -> Result<usize, String> {
    let served = check_served(run, policies)?;
    let (End::SweepResult(swept), Some(model)) = (&run.end, served.model) else {
        return Err(format!("undisturbed, and yet {:?}", run.end));
    };
    ensure!(swept.report.failure().is_none(), "{:?}", swept.report.failure());
    for (operation, most) in
        [("DescribeSessions", 1), ("GetResources", 1), ("TerminateSession", CONCURRENCY)]
    {
        let is_it = |it: &&Exchange| it.is(operation);
        let calls = listing_calls(&run.exchanges).chain(terminations(run)).filter(is_it);
        let mut calls: Vec<_> = calls.collect();
        if operation == "DescribeSessions" {
            calls.truncate(served.n_first); // Look-ups come between this and the second count.
        }
        check_swift(&calls, most, run.interval)?;
    }
    check_swift(&served.recount, 1, run.interval)?;
    let fleet = served.fleet(run, not_asked);
    for ((it, _), (_, must)) in fleet.sessions.iter().zip(model.needs_tags(run.now_ms, &fleet)) {
        let is_known = tags_of(&served, it) != Tags::Failed;
        ensure!(is_known || !must, "the tags that decide were not asked for: {it:?}");
    }
    let mut n_waiting = 0;
    for it in &swept.record.outcomes {
        let id = &*it.step.session.id;
        let deferred_by = it.step.action.deferred_by();
        let is_fine = match it.outcome {
            Outcome::NoAction | Outcome::Terminated | Outcome::AlreadyGone => true,
            // The patient passes of verification take three seconds.
            Outcome::Unconfirmed => {
                never_disappears(id) || Duration::from_secs(3) < terminating_for
            }
            Outcome::Deferred => deferred_by != Some(DeferReason::Deadline),
            Outcome::Denied | Outcome::Failed | Outcome::WouldTerminate | Outcome::Throttled => {
                false
            }
        };
        ensure!(is_fine, "{id} is {}, {:?}", it.outcome.name(), it.error());
        n_waiting += usize::from(deferred_by == Some(DeferReason::Limit) && !never_disappears(id));
    }
    Ok(n_waiting)
}
