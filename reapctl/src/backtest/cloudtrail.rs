//! The sessions of CloudTrail events.
//!
//! A session starts with `StartSession`, and ends with `TerminateSession`. Most sessions end without a
//! call, by a time-out or `exit`, so that their end is not known: they were active when they were started
//! or resumed, and may have ended from then on.

mod files;
mod texts;

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};
use reaper_core::{
    arn::Arn,
    census::oldest_first,
    policy::{Keep, Policy, Rule},
    session::{Interner, Reading, Record},
    session_type::DocumentTypes,
    target::{Scope, Tags, Unknown},
};

use crate::{
    backtest::{
        cloudtrail::texts::Texts,
        history::{End, HISTORY, History, PastSession},
        saved::{Saved, Skipped},
    },
    file::Invalid,
};

/// Session Manager, as `eventSource` has it. Athena has events of the same names.
const SOURCE: &str = "ssm.amazonaws.com";

/// The most sessions that are taken to have started before the first event.
const MAX_BEFORE: u32 = 1_000;

/// What the events of all files say.
#[derive(Default)]
struct Trail {
    /// By account and Region.
    places: BTreeMap<(String, String), Place>,
    /// `eventID` of each event: two trails deliver the same one.
    ids: HashSet<Box<str>>,
    /// The times of the first and the last event, whatever they are about.
    period: Option<(Timestamp, Timestamp)>,
    /// How many are about a session, and about something else.
    n_events: usize,
    n_others: usize,
    skipped: Vec<Skipped>,
    texts: Interner,
}

/// The sessions of an account-Region.
#[derive(Default)]
struct Place {
    partition: String,
    by_id: BTreeMap<Arc<str>, Signs>,
    /// Sessions that cannot be evaluated, and why.
    not_evaluated: Vec<(Record, &'static str)>,
}

/// The events of one session.
struct Signs {
    start: Option<Record>,
    /// When it was started, and each time that it was resumed.
    active_at: Vec<Timestamp>,
    terminated_at: Vec<Timestamp>,
    /// The first event that was read: its file and number.
    found_in: (String, usize),
}

/// Where a record is.
#[derive(Clone, Copy)]
struct At<'a> {
    file: &'a str,
    number: usize,
}

/// Reads the events of files and folders.
pub(super) fn recorded(paths: &[String], policy: &Policy) -> anyhow::Result<Saved> {
    let mut trail = Trail::default();
    let files = files::files(paths)?;
    for file in &files {
        files::each_record(file, |number, record| {
            let at = At { file, number };
            if let Err(reason) = trail.add(at, record) {
                trail.skipped.push(at.skipped(reason));
            }
        })?;
    }
    let Some((from, to)) = trail.period else {
        let message = "there are no CloudTrail events in the files";
        return Err(Invalid(message.into()).into());
    };
    let mut notes = vec![format!(
        "Files: {}; events of sessions: {}, others: {}.",
        files.len(),
        trail.n_events,
        trail.n_others
    )];
    let before = before(policy, from);
    if !before.is_empty() {
        notes.push(
            "Sessions that started before the first event are not known: in its first 30 days, rules that \
             keep the oldest count up to 1,000 of them as possible."
                .into(),
        );
    }
    let mut skipped = trail.skipped;
    let mut histories = Vec::new();
    for ((account, region), place) in trail.places {
        let scope = Scope { partition: place.partition.clone(), region, account };
        histories.push((Some(scope), place.history(from, to, &before, &mut skipped)));
    }
    Ok(Saved { histories, from, to, notes, skipped })
}

/// Sessions that may have started before the first event: as many as any group has places. They may be
/// active for as long as AWS lists a session that is not used.
fn before(policy: &Policy, from: Timestamp) -> Vec<(Record, &'static str)> {
    let concurrent = policy.rules.iter().filter_map(Rule::concurrent);
    // Where the newest are kept, an older session takes no place before another.
    let oldest = concurrent.filter(|it| it.keep == Keep::Oldest).map(|it| it.at_most);
    let record = Record {
        started_at: from.checked_sub(SignedDuration::from_secs(1)).ok(),
        ended_at: from.checked_add(HISTORY).ok(),
        ..Record::default()
    };
    let n = oldest.max().unwrap_or_default().min(MAX_BEFORE);
    vec![(record, "it started before the first event"); n as usize]
}

impl At<'_> {
    fn skipped(self, reason: impl Into<String>) -> Skipped {
        Skipped { file: self.file.into(), record: self.number, reason: reason.into() }
    }
}

impl Trail {
    /// Takes what a record says, unless it is skipped for a reason.
    fn add(&mut self, at: At<'_>, record: Texts) -> Result<(), String> {
        let event = event(record)?;
        let time: Option<Timestamp> = event.get("eventTime").and_then(|it| it.parse().ok());
        if let Some(time) = time {
            let (first, last) = self.period.unwrap_or((time, time));
            self.period = Some((first.min(time), last.max(time)));
        }
        let (Some(source), Some(name)) = (event.get("eventSource"), event.get("eventName")) else {
            return Err("it is not a CloudTrail event of a call".into());
        };
        let of_sessions = ["StartSession", "ResumeSession", "TerminateSession"];
        if source != SOURCE || !of_sessions.contains(&name) {
            self.n_others += 1;
            return Ok(());
        }
        self.n_events += 1;
        if event.get("eventID").is_some_and(|id| !self.ids.insert(id.into())) {
            return Err("another record has the same eventID".into());
        }
        if event.has("errorCode") {
            return Err(format!("{name} failed: {}", event.get("errorCode").unwrap_or_default()));
        }
        let (Some(account), Some(region)) =
            (event.get("recipientAccountId"), event.get("awsRegion"))
        else {
            return Err(format!("{name} has no recipientAccountId or no awsRegion"));
        };
        let id = event.get("responseElements.sessionId");
        let id = id.or_else(|| event.get("requestParameters.sessionId"));
        let owner = event.get("userIdentity.arn");
        let place = self.places.entry((account.into(), region.into())).or_default();
        if let Some(arn) = owner.and_then(Arn::parse) {
            place.partition = arn.partition.into();
        }
        let texts = &mut self.texts;
        let mut share = |it: Option<&str>| it.map(|it| texts.share(it));
        let start = (name == "StartSession").then(|| Record {
            id: share(id),
            owner: share(owner),
            target: share(event.get("requestParameters.target")),
            started_at: time,
            document: share(event.get("requestParameters.documentName")),
            reason: share(event.get("requestParameters.reason")),
            ..Record::default()
        });
        let (Some(id), Some(time)) = (id, time) else {
            let missing = if time.is_none() { "eventTime" } else { "sessionId" };
            place.not_evaluated.extend(start.map(|it| (it, "StartSession is not complete")));
            return Err(format!("{name} has no {missing}"));
        };
        let signs = place.by_id.entry(id.into()).or_insert_with(|| Signs::found_in(at));
        match (start, name) {
            (Some(_), _) if signs.start.is_some() => {
                return Err("another event has started the session".into());
            }
            (Some(record), _) => {
                signs.start = Some(record);
                signs.active_at.push(time);
            }
            (None, "ResumeSession") => signs.active_at.push(time),
            (None, _) => signs.terminated_at.push(time),
        }
        Ok(())
    }
}

impl Place {
    fn history(
        self,
        from: Timestamp,
        to: Timestamp,
        before: &[(Record, &'static str)],
        skipped: &mut Vec<Skipped>,
    ) -> History {
        let Self { by_id, mut not_evaluated, .. } = self;
        let mut sessions = Vec::new();
        for (id, signs) in by_id {
            let end = signs.end();
            let Signs { start, found_in: (file, number), .. } = signs;
            let ended_at = end.and_then(End::known);
            let reading = if let Some(record) = start {
                Record { ended_at, ..record }.read(to)
            } else {
                let record = Record { id: Some(id), ended_at, ..Record::default() };
                Reading::NotEvaluated(record, "no event has started the session")
            };
            match (reading, end) {
                (Reading::Session(session), Some(end)) => {
                    let tags = Tags::Unknown(Unknown::TagsNotLookedUp);
                    sessions.push(PastSession { session, end, tags });
                }
                (Reading::Session(_), None) => {} // Unreachable: an event says when it started.
                (Reading::NotEvaluated(record, why), _) => {
                    skipped.push(At { file: &file, number }.skipped(why));
                    not_evaluated.push((record, why));
                }
            }
        }
        sessions.sort_by(|a, b| oldest_first(&a.session, &b.session));
        History {
            sessions,
            not_evaluated,
            before: before.into(),
            from,
            counted_from: from,
            types: DocumentTypes::default(),
        }
    }
}

impl Signs {
    /// None, of a session whose first event was found there.
    fn found_in(at: At<'_>) -> Self {
        let found_in = (at.file.into(), at.number);
        Self { start: None, active_at: Vec::new(), terminated_at: Vec::new(), found_in }
    }

    /// The first termination after it was active for certain. The times are whole seconds, and events of
    /// one second come in any order.
    fn end(&self) -> Option<End> {
        let last = self.active_at.iter().max();
        let ends = self.terminated_at.iter().filter(|it| last.is_none_or(|last| last <= *it));
        let end = ends.min().copied().map(End::At);
        end.or_else(|| Some(End::Unknown { seen_at: *last? }))
    }
}

/// The event of a record: itself, or what `aws cloudtrail lookup-events` has wrapped.
fn event(record: Texts) -> Result<Texts, String> {
    if record.has("digestS3Object") {
        return Err("it is a digest, which has no events".into());
    }
    let Some(text) = record.get("CloudTrailEvent") else { return Ok(record) };
    Texts::parse(text).map_err(|err| format!("its CloudTrailEvent is no JSON: {err}"))
}
