//! The state of the account: active and ended sessions, and tags.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use reaper_core::arn::Arn;
use serde_json::{Map, Value, json};

use crate::{
    document,
    filter::Filter,
    fleet::{Behaviour, Filters, Fleet, Order},
    seed::{OnTerminate, Seed},
    wire::{ApiError, epoch_seconds},
};

/// How long ended sessions stay in the history.
const HISTORY: SignedDuration = SignedDuration::from_hours(30 * 24);

/// The most rows of the previous page that a page repeats.
const MAX_REPEATED: usize = 20;

/// Rows on a page if the caller does not say; AWS documents no default.
const DEFAULT_PAGE_SIZE: usize = 50;

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) account: String,
    pub(crate) partition: String,
    pub(crate) region: String,
    callers: BTreeMap<String, String>,
    /// In the reverse order of a listing.
    sessions: BTreeMap<Position, Session>,
    /// The first session of each id.
    by_id: HashMap<String, Position>,
    order: Order,
    n_started: usize,
    tags: BTreeMap<String, BTreeMap<String, String>>,
    documents: BTreeMap<String, String>,
    /// All versions, oldest first, by name.
    parameters: BTreeMap<String, Vec<String>>,
}

/// A session's place in a listing: its start, and a number for sessions of the same instant.
type Position = (i64, usize);

#[derive(Debug)]
struct Session {
    seed: Seed,
    started_at: Option<Timestamp>,
    terminated_at: Option<Timestamp>,
    /// When it ended, if it had ended from the beginning.
    over_at: Option<Timestamp>,
}

/// A version of a parameter.
pub(crate) struct Parameter<'a> {
    pub(crate) name: &'a str,
    pub(crate) number: usize,
    pub(crate) value: &'a str,
    /// Whether the caller named the version.
    pub(crate) is_selected: bool,
}

/// A request of `DescribeSessions`.
pub(crate) struct Query {
    pub(crate) is_history: bool,
    pub(crate) max_results: Option<usize>,
    pub(crate) token: Option<String>,
    pub(crate) filters: Vec<Filter>,
}

impl World {
    pub(crate) fn new(fleet: Fleet, now: Timestamp) -> Self {
        let mut world = Self {
            account: fleet.account,
            partition: fleet.partition,
            region: fleet.region,
            callers: fleet.callers,
            sessions: BTreeMap::new(),
            by_id: HashMap::new(),
            order: fleet.behaviour.order,
            n_started: 0,
            tags: BTreeMap::new(),
            documents: fleet.documents,
            parameters: BTreeMap::new(),
        };
        for seed in fleet.sessions {
            world.start(seed, now);
        }
        for (target, tags) in fleet.tags {
            world.set_tags(&target, Some(tags));
        }
        for (name, value) in fleet.parameters {
            world.set_parameter(name, value);
        }
        world
    }

    pub(crate) fn start(&mut self, seed: Seed, now: Timestamp) {
        let started_at = seed.age.map(|it| now - it);
        let over_at = seed.ended.map(|it| now - it);
        let place = match self.order {
            Order::NewestFirst => started_at.map_or(i64::MIN, Timestamp::as_millisecond),
            Order::Shuffled => scattered(self.n_started), // The same on every page.
        };
        let position = (place, self.n_started);
        self.n_started += 1;
        if let Some(id) = &seed.id {
            self.by_id.entry(id.clone()).or_insert(position);
        }
        self.sessions.insert(position, Session { seed, started_at, terminated_at: None, over_at });
    }

    /// Starts a session as `StartSession` does, with an id like AWS's. Returns the id.
    pub(crate) fn start_for(&mut self, owner: String, seed: Seed, now: Timestamp) -> String {
        let name = owner.rsplit_once('/').map_or("root", |(_, name)| name);
        let id = format!(
            "{name}-0{:016x}",
            now.as_millisecond().cast_unsigned() << 16 | self.n_started as u64
        );
        let (id_of_seed, age) = (Some(id.clone()), Some(SignedDuration::ZERO));
        self.start(Seed { id: id_of_seed, owner: Some(owner), age, ..seed }, now);
        id
    }

    /// The ARN of the caller with this access key.
    pub(crate) fn caller(&self, access_key: &str) -> String {
        let Self { account, partition, .. } = self;
        let resource = "assumed-role/emulator/emulator";
        let emulator = Arn { partition, service: "sts", region: "", account, resource };
        self.callers.get(access_key).cloned().unwrap_or_else(|| emulator.to_string())
    }

    /// Starts a role session, as `AssumeRole` does. Returns its access key and ARN.
    ///
    /// Every caller may assume every role; a fault can deny it.
    pub(crate) fn assume(&mut self, role: &str, session: &str) -> Option<(String, String)> {
        let role = Arn::parse(role).filter(|it| it.service == "iam")?;
        let name = role.resource.strip_prefix("role/")?.rsplit('/').next()?; // Without its path.
        let resource = format!("assumed-role/{name}/{session}");
        let arn = Arn { service: "sts", resource: &resource, ..role }.to_string();
        let access_key = format!("ASIAEMULATOR{:08}", self.callers.len());
        self.callers.insert(access_key.clone(), arn.clone());
        Some((access_key, arn))
    }

    /// Returns whether there was such a session.
    pub(crate) fn vanish(&mut self, id: &str) -> bool {
        let was_there = self.by_id.remove(id).is_some();
        self.sessions.retain(|_, it| it.seed.id.as_deref() != Some(id));
        was_there
    }

    pub(crate) fn end(&mut self, id: &str, now: Timestamp) {
        if let Some(session) = self.session(id) {
            session.over_at.get_or_insert(now);
            session.seed.status = None;
        }
    }

    pub(crate) fn set_status(&mut self, id: &str, status: &str) {
        if let Some(session) = self.session(id) {
            session.seed.status = Some(status.into());
        }
    }

    pub(crate) fn set_tags(&mut self, target: &str, tags: Option<BTreeMap<String, String>>) {
        let arn = self.arn(target);
        match tags {
            Some(tags) => drop(self.tags.insert(arn, tags)),
            None => drop(self.tags.remove(&arn)),
        }
    }

    pub(crate) fn set_parameter(&mut self, name: String, value: String) {
        self.parameters.entry(name).or_default().push(value);
    }

    /// A version of a parameter, and its number: the one that follows the name and a colon, or else
    /// the newest.
    pub(crate) fn parameter(&self, selector: &str) -> Result<Parameter<'_>, ApiError> {
        let (name, version) = selector.split_once(':').map_or((selector, None), |(name, it)| {
            (name, Some(it)) // A name has no colon.
        });
        let no_parameter = || ApiError::new(400, "ParameterNotFound", "");
        let (name, versions) = self.parameters.get_key_value(name).ok_or_else(no_parameter)?;
        let number = match version {
            None => Some(versions.len()),
            Some(it) => it.parse().ok(),
        };
        let value = number.and_then(|it| versions.get(it.checked_sub(1)?));
        let (Some(number), Some(value)) = (number, value) else {
            let message = format!(
                "Systems Manager could not find version {} of {name}. Verify the version and try \
                 again.",
                version.unwrap_or_default()
            );
            return Err(ApiError::new(400, "ParameterVersionNotFound", &message));
        };
        Ok(Parameter { name, number, value, is_selected: version.is_some() })
    }

    /// Whether there is or was a session with this id.
    pub(crate) fn knows_session(&self, id: &str) -> bool {
        self.by_id.contains_key(id)
    }

    /// The content of a document, by its name or ARN: one of the account's own, or shared with it, or
    /// AWS's.
    pub(crate) fn document(&self, name: &str) -> Option<String> {
        let Self { account, partition, region, documents, .. } = self;
        let by_arn = Arn::parse(name).and_then(|it| {
            let is_here = (it.service, it.partition, it.region) == ("ssm", partition, region);
            let owner =
                Some(it.account).filter(|it| is_here && (it.is_empty() || it == account))?;
            Some((owner, it.resource.strip_prefix("document/")?))
        });
        let (owner, name) = by_arn.unwrap_or((account, name));
        let own = documents.get(name).filter(|_| !owner.is_empty());
        own.map(|it| document::content(it)).or_else(|| document::of_aws(name))
    }

    pub(crate) fn set_document(&mut self, name: String, text: Option<String>) {
        match text {
            Some(text) => drop(self.documents.insert(name, text)),
            None => drop(self.documents.remove(&name)),
        }
    }

    pub(crate) fn tags(&self, arn: &str) -> Option<&BTreeMap<String, String>> {
        self.tags.get(arn)
    }

    /// Ids of the sessions that a listing of active sessions would show.
    pub(crate) fn active_ids(&self, now: Timestamp, terminating_for: Duration) -> Vec<String> {
        let is_active = |it: &&Session| it.ended_at(terminating_for).is_none_or(|at| now < at);
        self.sessions.values().filter(is_active).filter_map(|it| it.seed.id.clone()).collect()
    }

    /// Terminates a session; `false` if there is none.
    pub(crate) fn terminate(&mut self, id: &str, now: Timestamp) -> bool {
        let Some(session) = self.session(id) else { return false };
        if session.over_at.is_some() {
            return false;
        }
        if session.seed.on_terminate == OnTerminate::Stays {
            return true;
        }
        let is_first = session.terminated_at.is_none();
        session.terminated_at.get_or_insert(now);
        is_first
    }

    fn session(&mut self, id: &str) -> Option<&mut Session> {
        self.by_id.get(id).and_then(|it| self.sessions.get_mut(it))
    }

    /// One page, newest first by default, and the token of the next page.
    pub(crate) fn page(
        &self,
        query: &Query,
        now: Timestamp,
        behaviour: &Behaviour,
    ) -> Result<(Vec<Value>, Option<String>), ApiError> {
        let terminating_for = behaviour.terminating_for;
        let behind = match &query.token {
            None => Bound::Unbounded,
            Some(token) => Bound::Excluded(decode(token).ok_or_else(ApiError::invalid_token)?),
        };
        let passes = |row: &Value| query.filters.iter().all(|it| it.passes(row));
        let size = query.max_results.unwrap_or(DEFAULT_PAGE_SIZE);
        let mut rows: Vec<_> = self
            .sessions
            .range((Bound::Unbounded, behind))
            .rev()
            .filter(|(_, it)| it.is_asked_for(query, now, terminating_for))
            .map(|(position, it)| (*position, it.row(now, terminating_for)))
            .filter(|(_, row)| behaviour.filters == Filters::AfterPaging || passes(row))
            .take(size.saturating_add(1))
            .collect();
        let is_last = rows.len() <= size;
        rows.truncate(size);
        let next = rows.last().filter(|_| !is_last).map(|(position, _)| encode(*position));
        let rows = rows.into_iter().map(|(_, row)| row).filter(|row| passes(row));
        Ok((rows.collect(), next))
    }

    /// The last rows of the page before the requested one, at most `MAX_REPEATED`.
    pub(crate) fn rows_before(
        &self,
        query: &Query,
        now: Timestamp,
        behaviour: &Behaviour,
    ) -> Vec<Value> {
        let Some(end) = query.token.as_deref().and_then(decode) else { return Vec::new() };
        let terminating_for = behaviour.terminating_for;
        let passes = |row: &Value| query.filters.iter().all(|it| it.passes(row));
        self.sessions
            .range(end..)
            .filter(|(_, it)| it.is_asked_for(query, now, terminating_for))
            .map(|(_, it)| it.row(now, terminating_for))
            .filter(passes)
            .take(MAX_REPEATED)
            .collect()
    }

    /// The ARN of a target, which is written as in a fleet's tags.
    fn arn(&self, target: &str) -> String {
        let Self { account, partition, region, .. } = self;
        let (service, resource) = match target.strip_prefix("ecs:") {
            Some(container) => {
                let (task, _runtime) = container.rsplit_once('_').unwrap_or((container, ""));
                let (cluster, task) = task.rsplit_once('_').unwrap_or((task, ""));
                ("ecs", format!("task/{cluster}/{task}"))
            }
            None if target.starts_with("mi-") => ("ssm", format!("managed-instance/{target}")),
            None => ("ec2", format!("instance/{target}")),
        };
        Arn { partition, service, region, account, resource: &resource }.to_string()
    }
}

impl Session {
    /// Whether the session is in the requested state, before filters.
    fn is_asked_for(&self, query: &Query, now: Timestamp, terminating_for: Duration) -> bool {
        match self.ended_at(terminating_for) {
            Some(at) if at <= now => query.is_history && now.duration_since(at) <= HISTORY,
            _ => !query.is_history,
        }
    }

    /// When the session stops being active.
    fn ended_at(&self, terminating_for: Duration) -> Option<Timestamp> {
        if self.over_at.is_some() {
            return self.over_at;
        }
        match self.seed.on_terminate {
            OnTerminate::Ends => self.terminated_at.map(|it| it + terminating_for),
            OnTerminate::Lingers | OnTerminate::Stays => None,
        }
    }

    fn row(&self, now: Timestamp, terminating_for: Duration) -> Value {
        let Seed { id, owner, target, status, document, reason, access_type, .. } = &self.seed;
        let ended_at = self.ended_at(terminating_for).filter(|it| *it <= now);
        let status = match (self.terminated_at, ended_at) {
            (None, Some(_)) => status.as_deref().unwrap_or("Terminated"),
            (Some(_), Some(_)) => "Terminated",
            (Some(_), None) => "Terminating",
            (None, None) => status.as_deref().unwrap_or("Connected"),
        };
        let mut row = Map::new();
        for (name, text) in [
            ("SessionId", id),
            ("Owner", owner),
            ("Target", target),
            ("DocumentName", document),
            ("Reason", reason),
            ("AccessType", access_type),
        ] {
            if let Some(text) = text {
                row.insert(name.into(), text.as_str().into());
            }
        }
        row.insert("Status".into(), status.into());
        for (name, at) in [("StartDate", self.started_at), ("EndDate", ended_at)] {
            if let Some(at) = at {
                row.insert(name.into(), epoch_seconds(at));
            }
        }
        if let Some(minutes) = self.seed.max_duration {
            row.insert("MaxSessionDuration".into(), minutes.to_string().into());
        }
        row.insert("Details".into(), "".into());
        row.insert("OutputUrl".into(), json!({"S3OutputUrl": "", "CloudWatchOutputUrl": ""}));
        Value::Object(row)
    }
}

/// Fibonacci hashing: consecutive numbers get distant results.
pub(crate) fn scattered(number: usize) -> i64 {
    (number as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).cast_signed()
}

/// A token: the position after which the next page begins. Opaque to callers.
fn encode((at, number): Position) -> String {
    format!("AAEAA{:016x}{number:016x}", at.cast_unsigned())
}

/// Another token for the same page; without a token, for the first page.
pub(crate) fn same_place(token: Option<&str>, nonce: usize) -> String {
    let position = token.and_then(decode).unwrap_or((i64::MAX, usize::MAX));
    format!("{}-{nonce}", encode(position))
}

fn decode(token: &str) -> Option<Position> {
    let (token, _nonce) = token.split_once('-').unwrap_or((token, ""));
    let (at, number) = token.strip_prefix("AAEAA")?.split_at_checked(16)?;
    let at = u64::from_str_radix(at, 16).ok()?.cast_signed();
    (number.len() == 16).then_some((at, usize::from_str_radix(number, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_tokens() {
        for position in [(1_700_000_000_000, 17), (i64::MIN, 0), (-1, usize::MAX)] {
            assert_eq!(decode(&encode(position)), Some(position));
        }
        for text in ["", "x", "AAEAA", "AAEAA0000000000000000", "AAEAA€€€€€€€€€€€€"]
        {
            assert_eq!(decode(text), None, "{text}");
        }
    }
}
