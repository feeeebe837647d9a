//! A session as the API returns it (`Record`), and as the rest of the program knows it (`Session`).

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};

/// How far in the future a start may lie: clocks differ.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(5);

/// Which sessions `DescribeSessions` lists.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// Those that are active, also disconnected ones.
    Active,
    /// Those that ended within the last 30 days.
    History,
}

/// What a shared text takes besides its letters: its counters, and its place in a set that may be half
/// empty.
const TEXT_BYTES: usize = 64;

/// Texts that most sessions have in common, such as the document's name: each is kept once.
#[derive(Debug, Default)]
pub struct Interner {
    texts: HashSet<Arc<str>>,
    /// The latest texts that were not among them: most are met again soon, and comparing takes less than
    /// hashing.
    recent: VecDeque<Arc<str>>,
    n_bytes: usize,
}

/// How many recent texts are compared.
const RECENT: usize = 8;

impl Interner {
    /// The one copy of this text.
    pub fn share(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.recent.iter().find(|it| ***it == *text) {
            return Arc::clone(known);
        }
        let known = self.texts.get(text).map(Arc::clone);
        let text = known.unwrap_or_else(|| {
            let text: Arc<str> = text.into();
            self.texts.insert(Arc::clone(&text));
            self.n_bytes += TEXT_BYTES + text.len();
            text
        });
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(Arc::clone(&text));
        text
    }

    /// What the texts take, in bytes.
    #[must_use]
    pub fn n_bytes(&self) -> usize {
        self.n_bytes
    }
}

/// One row of `DescribeSessions`: every field may be absent, and an empty one counts as absent.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Record {
    /// `SessionId`.
    pub id: Option<Arc<str>>,
    /// `Owner`: the ARN of the principal that started the session.
    pub owner: Option<Arc<str>>,
    /// `Target`: a managed node, or a container of an ECS task.
    pub target: Option<Arc<str>>,
    /// `StartDate`.
    pub started_at: Option<Timestamp>,
    /// `EndDate`: of sessions that have ended.
    pub ended_at: Option<Timestamp>,
    /// `Status`, also one that this program has never heard of.
    pub status: Option<Arc<str>>,
    /// `DocumentName`.
    pub document: Option<Arc<str>>,
    /// `Reason`: what the user typed.
    pub reason: Option<Arc<str>>,
    /// `AccessType`.
    pub access_type: Option<Arc<str>>,
}

/// A session that can be evaluated: its id, owner, target and start are known. What else AWS did not
/// return is `None`, and unknown to every test.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Session {
    /// `SessionId`: unique in its account and Region.
    pub id: Arc<str>,
    /// `Owner`: the ARN of the principal that started the session.
    pub owner: Arc<str>,
    /// `Target`: `i-…`, `mi-…` or `ecs:CLUSTER_TASK_RUNTIME`.
    pub target: Arc<str>,
    /// `StartDate`.
    pub started_at: Timestamp,
    /// `Status`, if the record has one.
    pub status: Option<Arc<str>>,
    /// `DocumentName`, if the record has one.
    pub document: Option<Arc<str>>,
    /// `Reason`: what the user typed, if the record has it.
    pub reason: Option<Arc<str>>,
    /// `AccessType`, if the record has one.
    pub access_type: Option<Arc<str>>,
}

/// What one record turned out to be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Reading {
    /// To be evaluated.
    Session(Session),
    /// Not to be evaluated, for this reason, and so never terminated.
    NotEvaluated(Record, &'static str),
}

impl Record {
    /// Reads a record at an instant: what it lacks decides what may be done about it.
    #[must_use]
    pub fn read(self, now: Timestamp) -> Reading {
        let why = match self {
            Self {
                id: Some(id),
                owner: Some(owner),
                target: Some(target),
                started_at: Some(started_at),
                ended_at: _,
                status,
                document,
                reason,
                access_type,
            } if started_at.duration_since(now) <= CLOCK_SKEW => {
                return Reading::Session(Session {
                    id,
                    owner,
                    target,
                    started_at,
                    status,
                    document,
                    reason,
                    access_type,
                });
            }
            Self { id: None, .. } => "no SessionId",
            Self { owner: None, .. } => "no Owner",
            Self { target: None, .. } => "no Target",
            Self { started_at: None, .. } => "no StartDate",
            Self { started_at: Some(_), .. } => "StartDate in the future",
        };
        Reading::NotEvaluated(self, why)
    }

    /// Whether two records that lack an id have the same fields, except those that may change.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        (&self.owner, &self.target, self.started_at)
            == (&other.owner, &other.target, other.started_at)
    }

    /// Whether a record that lacks its id may be of this session: nothing that it has says no.
    #[must_use]
    pub fn may_be(&self, session: &Session) -> bool {
        self.owner.as_ref().is_none_or(|it| *it == session.owner)
            && self.target.as_ref().is_none_or(|it| *it == session.target)
            && self.started_at.is_none_or(|it| it == session.started_at)
    }
}

/// Whether a session in this status has been terminated already, though it is still listed.
#[must_use]
pub fn is_terminating(status: Option<&str>) -> bool {
    matches!(status, Some("Terminating" | "Terminated"))
}

impl Session {
    /// A session of which AWS returned no more.
    #[must_use]
    pub fn new(
        id: impl Into<Arc<str>>,
        owner: impl Into<Arc<str>>,
        target: impl Into<Arc<str>>,
        started_at: Timestamp,
    ) -> Self {
        Self {
            id: id.into(),
            owner: owner.into(),
            target: target.into(),
            started_at,
            status: None,
            document: None,
            reason: None,
            access_type: None,
        }
    }

    /// Whether it has been terminated already, though it is still listed.
    #[must_use]
    pub fn is_terminating(&self) -> bool {
        is_terminating(self.status.as_deref())
    }

    /// How long the session has lasted; negative if it started, by a clock ahead, after `now`.
    #[must_use]
    pub fn age(&self, now: Timestamp) -> SignedDuration {
        now.duration_since(self.started_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn record() -> Record {
        let text = |it: &str| Some(it.into());
        Record {
            id: text("a-1"),
            owner: text("arn:aws:iam::123456789012:user/a"),
            target: text("i-0123456789abcdef0"),
            started_at: Some(NOW),
            status: text("Connected"),
            ..Record::default()
        }
    }

    #[test]
    #[rustfmt::skip]
    fn what_a_record_lacks_decides() {
        let skew = |seconds| Some(NOW + SignedDuration::from_secs(seconds));
        let status = |it: &str| Some(it.into());
        let table: [(Record, Result<(), &str>); 12] = [
            (record(), Ok(())),
            (Record { status: None, ..record() }, Ok(())),
            (Record { status: status("Hibernating"), ..record() }, Ok(())),
            (Record { status: status("Terminating"), ..record() }, Ok(())),
            (Record { status: status("Terminated"), ..record() }, Ok(())),
            (Record { status: status("Terminating"), owner: None, ..record() }, Err("no Owner")),
            (Record { started_at: skew(300), ..record() }, Ok(())), // The limit itself is allowed.
            (Record { id: None, ..record() }, Err("no SessionId")),
            (Record { owner: None, ..record() }, Err("no Owner")),
            (Record { target: None, ..record() }, Err("no Target")),
            (Record { started_at: None, ..record() }, Err("no StartDate")),
            (Record { started_at: skew(301), ..record() }, Err("StartDate in the future")),
        ];
        for (record, expected) in table {
            let actual = match record.clone().read(NOW) {
                Reading::Session(session) => {
                    assert_eq!((session.document, session.access_type, session.reason), (None, None, None));
                    Ok(())
                }
                Reading::NotEvaluated(_, why) => Err(why),
            };
            assert_eq!(actual, expected, "{record:?}");
        }
    }

    /// Each text is kept and weighed once, however many there are and in whatever order they come.
    #[test]
    fn texts_are_shared() {
        let mut interner = Interner::default();
        let texts: Vec<String> = (0..3 * RECENT).map(|it| format!("text-{it:02}")).collect();
        let first: Vec<_> = texts.iter().map(|it| interner.share(it)).collect();
        for (text, first) in
            texts.iter().chain(texts.iter().rev()).zip(first.iter().chain(first.iter().rev()))
        {
            let again = interner.share(text);
            assert!(Arc::ptr_eq(&again, first), "{text}");
            assert_eq!(*again, **text);
        }
        assert_eq!(interner.n_bytes(), texts.len() * (TEXT_BYTES + 7));
    }

    /// A record without an id may be of any session that its other fields allow.
    #[test]
    fn record_without_id() {
        let Reading::Session(session) = record().read(NOW) else { panic!("a session") };
        let other = || Some("other".into());
        let later = Some(NOW + SignedDuration::from_secs(1));
        for (it, may_be) in [
            (record(), true),
            (Record { id: None, status: None, ..record() }, true),
            (Record { owner: None, ..record() }, true),
            (Record { target: None, ..record() }, true),
            (Record { started_at: None, ..record() }, true),
            (Record::default(), true),
            (Record { owner: other(), ..record() }, false),
            (Record { target: other(), ..record() }, false),
            (Record { started_at: later, ..record() }, false),
        ] {
            assert_eq!(it.may_be(&session), may_be, "{it:?}");
        }
    }

    /// Records without ids are alike if all but the status is the same.
    #[test]
    fn like_records() {
        let other = || Some("other".into());
        assert!(record().is_like(&Record { id: None, status: other(), ..record() }));
        assert!(!record().is_like(&Record { owner: other(), ..record() }));
        assert!(!record().is_like(&Record { target: None, ..record() }));
        assert!(!record().is_like(&Record { started_at: None, ..record() }));
    }
}
