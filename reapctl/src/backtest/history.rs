//! The sessions of the past, as AWS lists them.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use anyhow::anyhow;
use jiff::{SignedDuration, Timestamp};
use reaper_core::{
    census::oldest_first,
    policy::Policy,
    session::{Reading, Record, Session, State},
    session_type::{DocumentTypes, KNOWN_BY_NAME},
    target::{Tags, Unknown},
};
use session_reaper::{
    sweep::clock::check_clock,
    sweep::list::{Census, list},
    sweep::tags::look_up,
    sweep::types::look_up_types,
};
use tokio::time::Instant;

use crate::{aws::AccountRegion, stdio::warn};

/// How far back AWS's history goes, and how long it lists a disconnected session.
pub(super) const HISTORY: SignedDuration = SignedDuration::from_hours(30 * 24);

/// The instant from which AWS's history has every session that has ended by another.
pub(super) fn history_before(at: Timestamp) -> Timestamp {
    at.checked_sub(HISTORY).unwrap_or(Timestamp::MIN)
}

/// The sessions of an account-Region.
pub(super) struct History {
    /// Those that can be evaluated, oldest first.
    pub(super) sessions: Vec<PastSession>,
    /// The records that cannot, and why.
    pub(super) not_evaluated: Vec<(Record, &'static str)>,
    /// Sessions that started before all others, and that nothing is known of: where rules count, as many as
    /// matter.
    pub(super) before: Vec<(Record, &'static str)>,
    /// The instant after which sweeps take place.
    pub(super) from: Timestamp,
    /// The same where rules count: sessions that ended before it may be missing.
    pub(super) counted_from: Timestamp,
    /// The types of their documents, if the policy depends on them.
    pub(super) types: DocumentTypes,
}

/// A session of the history, or an active one.
pub(super) struct PastSession {
    pub(super) session: Session,
    pub(super) end: End,
    pub(super) tags: Tags,
}

/// When a session ended. All sweeps are on whole seconds, and so it is compared.
#[derive(Clone, Copy)]
pub(super) enum End {
    /// Then.
    At(Timestamp),
    /// That is not known: it was active at this instant, such as that of its listing.
    Unknown {
        /// The last one that is known.
        seen_at: Timestamp,
    },
}

impl End {
    /// Whether the session may be active at a sweep.
    pub(super) fn allows(self, at: Timestamp) -> bool {
        self.known().is_none_or(|it| at.as_second() < it.as_second())
    }

    /// Whether it is not known if the session is active at a sweep.
    pub(super) fn is_open(self, at: Timestamp) -> bool {
        self.known().is_none() && self.last().as_second() < at.as_second()
    }

    /// When it ended, if that is known.
    pub(super) fn known(self) -> Option<Timestamp> {
        match self {
            Self::At(at) => Some(at),
            Self::Unknown { .. } => None,
        }
    }

    /// The last instant at which it was active for certain.
    pub(super) fn last(self) -> Timestamp {
        match self {
            Self::At(at) | Self::Unknown { seen_at: at } => at,
        }
    }

    /// The same, if it is not known whether it was active until now.
    pub(super) fn last_seen(self, now: Timestamp) -> Option<Timestamp> {
        (self.known().is_none() && self.last() < now).then(|| self.last())
    }
}

/// Every session of the last 30 days.
pub(super) async fn history(
    at: AccountRegion<'_>,
    policy: &Policy,
    now: Timestamp,
) -> anyhow::Result<History> {
    let AccountRegion { ssm, budget, .. } = at;
    let read_at = Instant::now(); // At the same time as `now`.
    let mut found = Vec::new();
    let mut not_evaluated = Vec::new();
    let mut seen = HashSet::new();
    for state in [State::Active, State::History] {
        let census = list(ssm, state, budget).await;
        check_clock(ssm, &census, now, read_at, budget).await?;
        let Census { pages, problem, .. } = census;
        if let Some(problem) = problem {
            return Err(anyhow!(problem).context("the listing is incomplete"));
        }
        for mut record in pages.into_iter().flatten() {
            let seen_at = match state {
                State::Active => now,
                State::History => record.started_at.unwrap_or(now),
            };
            let end = record.ended_at.map_or(End::Unknown { seen_at }, End::At);
            record.status = None; // It is the status after the session.
            if record.id.as_ref().is_some_and(|id| !seen.insert(id.clone())) {
                continue;
            }
            match record.read(now) {
                Reading::Session(session) => found.push((session, end)),
                Reading::NotEvaluated(record, why) => not_evaluated.push((record, why)),
            }
        }
    }
    let listed_for = SignedDuration::try_from(read_at.elapsed())?;
    let targets: BTreeSet<_> = match policy.tag_keys.as_slice() {
        [] => BTreeSet::new(),
        _ => found.iter().map(|(it, _)| Arc::clone(&it.target)).collect(),
    };
    let of_targets = targets.iter().map(|it| &**it).collect();
    let (tags, problems) = look_up(ssm, at.scope(), policy, of_targets, budget).await;
    let place = at.named().map(|it| format!("{} {}: ", it.account, it.region));
    let place = place.unwrap_or_default();
    at.print(|| warn(problems.iter().map(|it| format!("{place}{it}"))));
    warn(at.tag_problem(policy));
    let documents =
        if policy.asks_session_type() { documents(&found, policy) } else { BTreeSet::new() };
    let (types, problems) = look_up_types(ssm, &documents, budget).await;
    at.print(|| warn(problems.iter().map(|it| format!("{place}{it}"))));
    let past_session = |(session, end): (Session, _)| {
        let unknown = Tags::Unknown(Unknown::TagsNotReturned);
        let tags = tags.get(&*session.target).cloned().unwrap_or(unknown);
        PastSession { session, end, tags }
    };
    let mut sessions: Vec<PastSession> = found.into_iter().map(past_session).collect();
    sessions.sort_by(|a, b| oldest_first(&a.session, &b.session));
    let from = history_before(now);
    let counted_from = from + listed_for;
    Ok(History { sessions, not_evaluated, before: Vec::new(), from, counted_from, types })
}

/// The documents of these sessions whose types are not known by name.
fn documents(found: &[(Session, End)], policy: &Policy) -> BTreeSet<Arc<str>> {
    let assumed = policy.assume.document.value();
    let all = found.iter().filter_map(|(it, _)| it.document.as_ref().or(assumed));
    all.filter(|it| KNOWN_BY_NAME.of(it).is_err()).cloned().collect()
}
