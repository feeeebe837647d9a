//! What an event says to people: a text for e-mail, and a message for chat.
//!
//! EventBridge's input transformer escapes nothing, so the text has no quote, backslash, control
//! character or angle bracket: it can stand between quotes. The message for chat is an object that is
//! put in whole.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::{Cut, Texts};
use crate::{
    organization::{RunSummary, Status},
    printable::is_unsafe,
    report::{Mode, Outcome, Report, Row, SweepRecord},
};

/// The most bytes of a message's title, and of its description: AWS documents no limit.
const MAX_TITLE: usize = 240;
const MAX_DESCRIPTION: usize = 2_000;

/// The most bytes of a name in a sentence.
const MAX_NAME: usize = 160;

/// What is said, in sentences that a person can act on.
pub(super) struct Words {
    title: String,
    what: String,
    steps: Vec<String>,
    /// What the message is about, such as the target.
    about: Vec<String>,
}

/// A custom notification of Amazon Q Developer in chat applications.
#[derive(Serialize)]
pub(super) struct Chat<'a> {
    version: &'static str,
    source: &'static str,
    id: String,
    content: Content<'a>,
    metadata: Metadata<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Content<'a> {
    text_type: &'static str,
    title: String,
    description: String,
    next_steps: &'a [String],
    keywords: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    thread_id: String,
    summary: String,
    event_type: &'static str,
    related_resources: &'a [String],
}

impl Words {
    pub(super) fn of_outcome(
        record: &SweepRecord,
        row: &Row,
        outcome: Outcome,
        texts: &Texts,
        error: Option<&str>,
    ) -> Self {
        let error = error.map(|it| format!(": {}", name(it))).unwrap_or_default();
        let deferred_by = row.deferred_by.map_or("", crate::plan::DeferReason::name);
        let again = "The next sweep tries again.";
        let change = policy_step(record);
        let (title, then, steps) = match outcome {
            Outcome::Terminated => (
                "Session terminated",
                "session-reaper has terminated it.".to_owned(),
                vec!["To go on working, start a new session.".to_owned(), change],
            ),
            Outcome::AlreadyGone => (
                "Session already gone",
                "It was to be terminated, and had ended before.".to_owned(),
                Vec::new(),
            ),
            Outcome::Unconfirmed => (
                "Session not confirmed gone",
                "Its termination was requested, and it is not proved that it is gone.".to_owned(),
                vec![again.to_owned()],
            ),
            Outcome::Denied => (
                "Termination denied",
                format!("It was to be terminated, and AWS does not allow that{error}."),
                vec![
                    "Allow the role of session-reaper the action ssm:TerminateSession.".to_owned(),
                ],
            ),
            Outcome::Throttled => (
                "Termination throttled",
                "It was to be terminated, and AWS throttled every attempt.".to_owned(),
                vec![again.to_owned()],
            ),
            Outcome::Failed => (
                "Termination failed",
                format!("It was to be terminated, AWS refused, and it is still active{error}."),
                vec![again.to_owned()],
            ),
            Outcome::WouldTerminate => (
                "Session would be terminated",
                "This was a dry run: nothing was terminated.".to_owned(),
                vec!["End the session if it is not needed.".to_owned(), change],
            ),
            Outcome::Deferred => (
                "Termination deferred",
                format!("It was not terminated, for this reason: {deferred_by}."),
                vec!["End the session if it is not needed.".to_owned(), change],
            ),
            Outcome::NoAction => (
                "Session violates a rule that only warns",
                "It is not terminated.".to_owned(),
                vec!["End the session if it is not needed.".to_owned(), change],
            ),
        };
        let age = row.age_s.map(|it| format!(", {} old,", SignedDuration::from_secs(it).human()));
        let Subject { session, place } = subject(record, texts);
        let (age, violates) = (age.unwrap_or_default(), violates(row, texts));
        let what = format!("The {session}{age} {violates}. {then}");
        Self::new(format!("{title}: {place}"), what, steps, texts)
    }

    pub(super) fn of_warning(
        record: &SweepRecord,
        row: &Row,
        due: Timestamp,
        texts: &Texts,
    ) -> Self {
        let left = due.duration_since(record.started_at).human();
        let Subject { session, place } = subject(record, texts);
        let violates = violates(row, texts);
        let then = match record.mode {
            Mode::Enforce => "A sweep after that is to terminate it.",
            Mode::DryRun => "This is a dry run: nothing will be terminated.",
        };
        let what = format!("From {due:.0} on, in about {left}, the {session} {violates}. {then}");
        let title = match record.mode {
            Mode::Enforce => format!("Session ends in about {left}: {place}"),
            Mode::DryRun => format!("Session would end in about {left}: {place}"),
        };
        let steps = match record.mode {
            Mode::Enforce => "Save your work. To go on after that, start a new session.",
            Mode::DryRun => "End the session if it is not needed.",
        };
        Self::new(title, what, vec![steps.to_owned(), policy_step(record)], texts)
    }

    pub(super) fn of_sweep(record: &SweepRecord, report: &Report, warned: usize) -> Self {
        let place = place(record);
        let failure =
            report.failure().map(|it| format!(" It has failed: {}.", name(&it.to_string())));
        let breaker = report.circuit_breaker_open.then_some(
            " The circuit breaker has opened: too many sessions violate the policy, so none was \
             terminated.",
        );
        let (mode, counts) = (mode(report.mode), report.counts());
        let what = format!(
            "{mode} has finished: {counts}, {warned} warned.{}{}",
            failure.unwrap_or_default(),
            breaker.unwrap_or_default()
        );
        Self { title: format!("Sweep finished{place}"), what, steps: Vec::new(), about: Vec::new() }
    }

    pub(super) fn of_run(summary: &RunSummary) -> Self {
        let swept = summary.n(Status::Swept) + summary.n(Status::RegionOff);
        let RunSummary { account_regions, missing, sweeps, .. } = summary;
        let (seen, terminated) = (sweeps.verdicts.seen, sweeps.outcomes.terminated);
        let (would_terminate, mode) = (sweeps.outcomes.would_terminate, mode(summary.mode));
        let canary = summary.canary_failure.as_deref();
        let canary = canary.map(|it| format!(" It ended after its canaries: {}.", name(it)));
        let what = format!(
            "{mode} of the organization has finished: {swept} of {account_regions} account-Regions \
             are done, {missing} are in no report; {seen} sessions seen, {terminated} terminated, \
             {would_terminate} would be terminated.{}",
            canary.unwrap_or_default()
        );
        let title = format!("Run finished: {}", name(&summary.run.to_string()));
        Self { title, what, steps: Vec::new(), about: Vec::new() }
    }

    fn new(title: String, what: String, steps: Vec<String>, texts: &Texts) -> Self {
        let about = vec![name(&texts.target), name(&texts.owner_short)];
        Self { title, what, steps, about }
    }

    /// All of it, for e-mail.
    pub(super) fn text(&self) -> String {
        let Self { title, what, steps, .. } = self;
        let sentences = [&[format!("{title}."), what.clone()], &**steps].concat();
        safe(&sentences.join(" "))
    }

    /// The same as a message for chat. Messages with one `thread` are shown together.
    pub(super) fn chat(
        &self,
        id: &str,
        thread: &str,
        event_type: &'static str,
        keywords: &[&str],
        cut: &mut Cut,
    ) -> Chat<'_> {
        let title = cut.text(&safe(&self.title), MAX_TITLE);
        let keywords = keywords.iter().filter(|it| !it.is_empty()).map(|it| name(it));
        Chat {
            version: "1.0",
            source: "custom",
            id: id.to_owned(),
            content: Content {
                text_type: "client-markdown",
                title: title.clone(),
                description: cut.text(&safe(&self.what), MAX_DESCRIPTION),
                next_steps: &self.steps,
                keywords: keywords.collect(),
            },
            metadata: Metadata {
                thread_id: name(thread),
                summary: title,
                event_type,
                related_resources: &self.about,
            },
        }
    }
}

/// How a session is spoken of.
struct Subject {
    session: String,
    place: String,
}

fn subject(record: &SweepRecord, texts: &Texts) -> Subject {
    let Texts { session_id, owner_short, target, .. } = texts;
    let [id, owner, target] = [session_id, owner_short, target].map(|it| name(it));
    let place = place(record);
    Subject {
        session: format!("session {id} of {owner} on {target}{place}"),
        place: format!("{owner} on {target}"),
    }
}

fn place(record: &SweepRecord) -> String {
    let scope = record.scope.as_ref();
    scope.map(|it| format!(" in {} {}", it.account, it.region)).unwrap_or_default()
}

/// It is not said that all are violated where only one of them is, for certain.
fn violates(row: &Row, texts: &Texts) -> String {
    let rules = texts.rules.iter().map(|it| name(it)).collect::<Vec<_>>().join(", ");
    match (&*texts.rules, row.unknown) {
        ([_], None) => format!("violates the rule {rules}"),
        (_, None) => format!("violates the rules {rules}"),
        (_, Some(_)) => format!("violates one of the rules {rules}"),
    }
}

fn policy_step(record: &SweepRecord) -> String {
    let source = name(&record.policy.source);
    format!("If that is wrong, change the rule or add an exemption: {source}.")
}

fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::DryRun => "A dry run",
        Mode::Enforce => "A sweep",
    }
}

/// A text from outside, for a sentence.
fn name(text: &str) -> String {
    safe(&Cut::default().text(text, MAX_NAME))
}

/// The text without what would end a quoted text, begin another value, or be no text at all.
fn safe(text: &str) -> String {
    let is_plain = |it: u8| matches!(it, b' '..=b'~') && !b"\"`\\<>".contains(&it);
    if text.bytes().all(is_plain) {
        return text.to_owned(); // Most texts, and this is faster.
    }
    let plain = |it: char| match it {
        '"' | '`' => '\'',
        '\\' => '/',
        '<' => '(',
        '>' => ')',
        it if is_unsafe(it) => ' ',
        it => it,
    };
    text.chars().map(plain).collect()
}

/// A duration for people, to the minute: its two largest units.
trait Human {
    fn human(self) -> String;
}

impl Human for SignedDuration {
    fn human(self) -> String {
        let minutes = (self.as_secs().max(0) + 30) / 60;
        match (minutes / 1_440, minutes % 1_440 / 60, minutes % 60) {
            (0, 0, 0 | 1) => "1 minute".to_owned(),
            (0, 0, minutes) => format!("{minutes} minutes"),
            (0, hours, minutes) => format!("{hours} h {minutes} min"),
            (days, hours, _) => format!("{days} d {hours} h"),
        }
    }
}
