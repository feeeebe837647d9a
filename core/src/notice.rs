//! What other systems are told: the events that a sweep or a run sends to EventBridge.
//!
//! `docs/events.md` describes them, `docs/schema/` has their JSON Schemas. What an event holds, its
//! id, its size and its words are made here; `src/aws/event_bus.rs` sends it.

mod words;

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use serde::Serialize;

use self::words::Words;
use crate::{
    census::Forewarning,
    evaluate::VerdictKind,
    organization::RunSummary,
    pattern::short_owner,
    plan::DeferReason,
    policy::{PolicyIdentity, sha256},
    report::{
        Coverage, Mode, Outcome, OutcomeRecord, Outcomes, Report, Row, SweepRecord, Verdicts,
    },
    target::{Scope, Tags, Unknown},
};

/// The `source` of every event.
pub const SOURCE: &str = "session-reaper";

/// The version of the events' form. Fields may be added without a new one.
const SCHEMA_VERSION: u32 = 1;

/// The most entries of one call of `PutEvents`.
const MAX_ENTRIES: usize = 10;

/// The most bytes of one call: AWS's documents name 256 KB in some places, and 1 MB in others.
const MAX_CALL_BYTES: usize = 256 * 1024;

/// The most bytes of a text of an event, such as AWS's error, and of the ids of rules, tags' keys and
/// values.
const MAX_TEXT: usize = 1_024;
const MAX_SHORT_TEXT: usize = 256;

/// The most bytes of the event of a run: a longer one names no account-Regions.
const MAX_RUN: usize = 250_000;

/// The most rules, and tags, that an event names.
const MAX_ITEMS: usize = 40;

/// An event for EventBridge.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Notice {
    /// Its `detail-type`.
    pub detail_type: &'static str,
    /// Its `detail`, in JSON.
    pub detail: String,
}

/// What became of the events of a sweep or a run.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct EventsSent {
    /// Those that the bus has taken.
    pub sent: usize,
    /// Those that it has not, or of which that is not known.
    pub failed: usize,
    /// Why, of the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// A session that will be terminated, unless it ends before.
#[derive(Clone, Debug, Serialize)]
pub struct ExpiryWarning {
    /// The session, when it is due, and the rules that it then violates.
    #[serde(flatten)]
    pub row: Row,
    /// Which of the policy's `warn_before` it is, in seconds.
    pub before_s: i64,
    /// Whether the sweep before has given the same warning, if there was one when it was planned.
    pub repeat: bool,
    #[serde(skip)]
    tags: Option<Arc<BTreeMap<String, String>>>,
}

impl ExpiryWarning {
    /// The warning of a session that this sweep has left alone.
    #[must_use]
    pub fn new(it: &OutcomeRecord, now: Timestamp, warning: Forewarning) -> Self {
        let Forewarning { due, before, is_repeat } = warning;
        let row = Row {
            rules: due.rules.into(),
            unknown: due.unknown,
            due: Some(due.at),
            ..Row::of_step(&it.step, now)
        };
        Self {
            row,
            before_s: before.as_secs(),
            repeat: is_repeat,
            tags: known(&it.step.tags).cloned(),
        }
    }
}

/// Whether a session has an event of its own: it was acted on, is a violator, or violates a rule that
/// only warns.
#[must_use]
pub fn is_told(it: &OutcomeRecord) -> bool {
    it.outcome != Outcome::NoAction || it.step.verdict.kind() == VerdictKind::Warning
}

/// The events of a sweep: of each session that something was done about, of each that is warned of, and
/// one of the whole.
pub fn of_sweep<'a>(
    record: &'a SweepRecord,
    report: &'a Report,
    warnings: &'a [ExpiryWarning],
) -> impl Iterator<Item = Notice> + 'a {
    let sweep = SweepOf { record };
    let outcomes = record.outcomes.iter().filter(|it| is_told(it));
    outcomes
        .map(move |it| sweep.outcome(it))
        .chain(warnings.iter().map(move |it| sweep.warning(it)))
        .chain(std::iter::once_with(move || sweep.finished(report, warnings.len())))
}

/// The events of one call after the other: as many as AWS allows.
pub fn batches(notices: impl Iterator<Item = Notice>) -> impl Iterator<Item = Vec<Notice>> {
    let mut notices = notices.peekable();
    std::iter::from_fn(move || {
        let first = notices.next()?;
        let mut size = first.size();
        let mut batch = vec![first];
        while batch.len() < MAX_ENTRIES
            && let Some(next) = notices.next_if(|it| size + it.size() <= MAX_CALL_BYTES)
        {
            size += next.size();
            batch.push(next);
        }
        Some(batch)
    })
}

/// The event of a run over an organization.
#[must_use]
pub fn of_run(summary: &RunSummary) -> Notice {
    let mut cut = Cut::default();
    let run = summary.run.to_string();
    let id = id(&[Detail::RUN, &run]);
    let words = Words::of_run(summary);
    let mut detail = |summary: &RunSummary| {
        json(&Run {
            schema_version: SCHEMA_VERSION,
            id: &id,
            summary,
            chat: words.chat(&id, &run, Detail::RUN, &[], &mut cut),
            text: &words.text(),
        })
    };
    let whole = detail(summary);
    let detail = if whole.len() <= MAX_RUN {
        whole
    } else {
        let mut summary = summary.clone();
        summary.not_swept.clear();
        summary.truncated = true;
        detail(&summary)
    };
    Notice { detail_type: Detail::RUN, detail }
}

/// The values of `detail-type`.
enum Detail {}

impl Detail {
    const OUTCOME: &str = "Session Outcome";
    const WARNING: &str = "Session Expiry Warning";
    const SWEEP: &str = "Sweep Finished";
    const RUN: &str = "Run Finished";
}

impl Notice {
    /// How many bytes AWS counts of it: those of its source, its type and its detail.
    #[must_use]
    pub fn size(&self) -> usize {
        SOURCE.len() + self.detail_type.len() + self.detail.len()
    }
}

/// What events of one sweep have in common.
#[derive(Serialize)]
struct Head<'a> {
    schema_version: u32,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<&'a str>,
    mode: Mode,
    sweep_started_at: Timestamp,
    policy: &'a PolicyIdentity,
}

/// A session in an event.
#[derive(Serialize)]
struct About<'a> {
    session_id: &'a str,
    owner: &'a str,
    owner_short: &'a str,
    target: &'a str,
    tags: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    document: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    age_s: Option<i64>,
    rules: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    unknown: Option<Unknown>,
}

#[derive(Serialize)]
struct SessionOutcome<'a> {
    #[serde(flatten)]
    head: Head<'a>,
    #[serde(flatten)]
    session: About<'a>,
    verdict: VerdictKind,
    outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    deferred_by: Option<DeferReason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_status: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    text: &'a str,
    chat: words::Chat<'a>,
    truncated: bool,
}

#[derive(Serialize)]
struct SessionExpiryWarning<'a> {
    #[serde(flatten)]
    head: Head<'a>,
    #[serde(flatten)]
    session: About<'a>,
    due: Timestamp,
    before_s: i64,
    repeat: bool,
    text: &'a str,
    chat: words::Chat<'a>,
    truncated: bool,
}

#[derive(Serialize)]
struct SweepFinished<'a> {
    #[serde(flatten)]
    head: Head<'a>,
    duration_s: f64,
    coverage: &'a Coverage,
    calls: u64,
    verdicts: Verdicts,
    outcomes: Outcomes,
    rules: BTreeMap<String, usize>,
    warned: usize,
    backlog: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest_violation_s: Option<i64>,
    circuit_breaker_open: bool,
    paused: bool,
    sessions_sha256: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
    text: &'a str,
    chat: words::Chat<'a>,
    truncated: bool,
}

#[derive(Serialize)]
struct Run<'a> {
    schema_version: u32,
    id: &'a str,
    #[serde(flatten)]
    summary: &'a RunSummary,
    text: &'a str,
    chat: words::Chat<'a>,
}

/// A sweep whose events are made.
#[derive(Clone, Copy)]
struct SweepOf<'a> {
    record: &'a SweepRecord,
}

impl<'a> SweepOf<'a> {
    fn scope(self) -> [&'a str; 2] {
        let scope: Option<&Scope> = self.record.scope.as_ref();
        scope.map_or(["", ""], |it| [&it.account, &it.region])
    }

    fn head(self, id: &'a str) -> Head<'a> {
        let SweepRecord { mode, scope, started_at, policy, .. } = self.record;
        Head {
            schema_version: SCHEMA_VERSION,
            id,
            account: scope.as_ref().map(|it| &*it.account),
            region: scope.as_ref().map(|it| &*it.region),
            mode: *mode,
            sweep_started_at: *started_at,
            policy,
        }
    }

    fn outcome(self, it: &OutcomeRecord) -> Notice {
        let row = Row::of_outcome(it, self.record.started_at);
        let mut cut = Cut::default();
        let texts = Texts::of(&row, known(&it.step.tags), &mut cut);
        let outcome = it.outcome.name();
        let deferred_by = row.deferred_by.map_or("", DeferReason::name);
        let mode = self.record.mode.name();
        let [account, region] = self.scope();
        let rules = texts.rules.join(",");
        let about = [account, region, &texts.session_id, mode, outcome, deferred_by, &rules];
        let id = id(&[&[Detail::OUTCOME], &about[..]].concat());
        let (last_status, error) =
            (cut.option(row.last_status.as_ref()), cut.option(row.error.as_ref()));
        let words = Words::of_outcome(self.record, &row, it.outcome, &texts, error.as_deref());
        let keywords = [outcome, mode, account, region];
        let chat = words.chat(&id, &texts.session_id, Detail::OUTCOME, &keywords, &mut cut);
        let text = words.text();
        let detail = json(&SessionOutcome {
            head: self.head(&id),
            session: texts.session(&row),
            verdict: row.verdict,
            outcome: it.outcome,
            deferred_by: row.deferred_by,
            last_status: last_status.as_deref(),
            error: error.as_deref(),
            chat,
            text: &text,
            truncated: cut.is_cut,
        });
        Notice { detail_type: Detail::OUTCOME, detail }
    }

    fn warning(self, it: &ExpiryWarning) -> Notice {
        let ExpiryWarning { row, before_s, repeat, tags } = it;
        let mut cut = Cut::default();
        let texts = Texts::of(row, tags.as_ref(), &mut cut);
        let due = row.due.unwrap_or(Timestamp::MAX); // Every warning has it.
        let [account, region] = self.scope();
        let mode = self.record.mode.name();
        let (rules, at) = (texts.rules.join(","), due.to_string());
        let before = before_s.to_string();
        let id =
            id(&[Detail::WARNING, account, region, &texts.session_id, mode, &rules, &at, &before]);
        let words = Words::of_warning(self.record, row, due, &texts);
        let keywords = ["warning", mode, account, region];
        let chat = words.chat(&id, &texts.session_id, Detail::WARNING, &keywords, &mut cut);
        let text = words.text();
        let detail = json(&SessionExpiryWarning {
            head: self.head(&id),
            session: texts.session(row),
            due,
            before_s: *before_s,
            repeat: *repeat,
            chat,
            text: &text,
            truncated: cut.is_cut,
        });
        Notice { detail_type: Detail::WARNING, detail }
    }

    fn finished(self, report: &Report, warned: usize) -> Notice {
        let mut cut = Cut::default();
        let [account, region] = self.scope();
        let mode = report.mode.name();
        let id = id(&[Detail::SWEEP, account, region, mode, &report.started_at.to_string()]);
        let words = Words::of_sweep(self.record, report, warned);
        let keywords = ["sweep", mode, account, region];
        let coverage = Coverage {
            problem: report.coverage.problem.as_deref().map(|it| cut.text(it, MAX_TEXT)),
            ..report.coverage.clone()
        };
        let rules = report.rules.iter().take(MAX_ITEMS);
        let rules = rules.map(|(rule, n)| (cut.text(rule, MAX_SHORT_TEXT), *n)).collect();
        cut.is_cut |= MAX_ITEMS < report.rules.len();
        let failure = report.failure().map(|it| cut.text(&it.to_string(), MAX_TEXT));
        let chat = words.chat(&id, &id, Detail::SWEEP, &keywords, &mut cut);
        let text = words.text();
        let detail = json(&SweepFinished {
            head: self.head(&id),
            duration_s: report.duration_s,
            coverage: &coverage,
            calls: report.calls,
            verdicts: report.verdicts,
            outcomes: report.outcomes,
            rules,
            warned,
            backlog: report.backlog,
            oldest_violation_s: report.oldest_violation_s,
            circuit_breaker_open: report.circuit_breaker_open,
            paused: report.paused,
            sessions_sha256: &report.sessions_sha256,
            failure,
            chat,
            text: &text,
            truncated: cut.is_cut,
        });
        Notice { detail_type: Detail::SWEEP, detail }
    }
}

/// The texts of a session, none too long.
struct Texts {
    session_id: String,
    owner: String,
    owner_short: String,
    target: String,
    tags: BTreeMap<String, String>,
    document: Option<String>,
    status: Option<String>,
    rules: Vec<String>,
}

impl Texts {
    fn of(row: &Row, tags: Option<&Arc<BTreeMap<String, String>>>, cut: &mut Cut) -> Self {
        let owner = row.owner.as_deref().unwrap_or_default();
        let mut text = |it: Option<&Arc<str>>| cut.option(it).unwrap_or_default();
        let (session_id, target) = (text(row.session_id.as_ref()), text(row.target.as_ref()));
        let known = tags.map(|it| &**it);
        let tags = known.into_iter().flatten().take(MAX_ITEMS);
        let mut short = |it: &str| cut.text(it, MAX_SHORT_TEXT);
        let tags = tags.map(|(key, value)| (short(key), short(value))).collect();
        let rules = row.rules.iter().take(MAX_ITEMS).map(|it| cut.text(it, MAX_SHORT_TEXT));
        let rules = rules.collect();
        let has_more = MAX_ITEMS < row.rules.len() || known.is_some_and(|it| MAX_ITEMS < it.len());
        cut.is_cut |= has_more;
        Self {
            session_id,
            owner: cut.text(owner, MAX_TEXT),
            owner_short: cut.text(&short_owner(owner), MAX_TEXT),
            target,
            tags,
            document: cut.option(row.document.as_ref()),
            status: cut.option(row.status.as_ref()),
            rules,
        }
    }

    fn session(&self, row: &Row) -> About<'_> {
        let Self { session_id, owner, owner_short, target, tags, document, status, rules } = self;
        About {
            session_id,
            owner,
            owner_short,
            target,
            tags,
            document: document.as_deref(),
            status: status.as_deref(),
            started_at: row.started_at,
            age_s: row.age_s,
            rules,
            unknown: row.unknown,
        }
    }
}

fn known(tags: &Tags) -> Option<&Arc<BTreeMap<String, String>>> {
    match tags {
        Tags::Known(tags) => Some(tags),
        Tags::Unknown(_) => None,
    }
}

/// Cuts texts that are too long, and remembers whether any was.
#[derive(Default)]
struct Cut {
    is_cut: bool,
}

impl Cut {
    fn text(&mut self, text: &str, max: usize) -> String {
        if text.len() <= max {
            return text.to_owned();
        }
        self.is_cut = true;
        let end = text.floor_char_boundary(max);
        format!("{}…", text.get(..end).unwrap_or_default())
    }

    fn option(&mut self, text: Option<&Arc<str>>) -> Option<String> {
        text.map(|it| self.text(it, MAX_TEXT))
    }
}

/// The same for the same parts, whenever and however often it is told.
fn id(parts: &[&str]) -> String {
    let mut hash = sha256(&parts.join("\n"));
    hash.truncate(32);
    hash
}

fn json(detail: &impl Serialize) -> String {
    serde_json::to_string(detail).unwrap_or_default() // Unreachable: every key is a text.
}

#[cfg(test)]
mod tests;
