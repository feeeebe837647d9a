//! One emulated account: takes a call, applies the faults, carries it out, and records it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use aws_smithy_runtime_api::client::http::SharedHttpClient;
use bytes::Bytes;
use http::{Request, Response, header::DATE};
use jiff::{SignedDuration, Timestamp};
use reaper_core::arn::Arn;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::{
    client, document, events,
    fault::{Fault, FaultKind},
    fleet::{Behaviour, Fleet, ToEnded},
    organization::{Directory, Objects},
    request::Operation,
    seed::Seed,
    sts,
    wire::{self, ApiError, epoch_seconds},
    world::{Parameter, World},
};

/// An emulated account in one Region. Clones share it.
#[derive(Clone, Debug)]
pub struct Emulator {
    shared: Arc<Shared>,
}

/// The connection was closed without an answer.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("connection reset")]
pub struct Reset;

/// A call that arrived, and how it was answered.
#[derive(Clone, Debug)]
pub struct Call {
    /// When it arrived, since the start of the emulator.
    pub at: Duration,
    /// Such as `DescribeSessions`; empty if it is not one of the emulator's.
    pub operation: String,
    /// The ARN of the caller that signed it.
    pub caller: String,
    /// The account of that caller.
    pub account: String,
    /// The Region where it arrived.
    pub region: String,
    /// The request's body; that of the query protocol as an object.
    pub body: Value,
    /// The answer's HTTP status; `None` if there was none, or not yet.
    pub status: Option<u16>,
    /// The code of the error that was answered.
    pub error: Option<String>,
    /// The fault that was applied to it, if it changed anything.
    pub fault: Option<FaultKind>,
    /// Whether it names an ARN or a session of another account or Region than those where it arrived.
    /// Only an organization knows.
    pub is_foreign: bool,
    /// Its place among all calls of an organization.
    pub(crate) number: usize,
}

/// The time, and the numbers of calls: all emulators of an organization have the same.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    origin: Instant,
    epoch: Timestamp,
    n_calls: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Shared {
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) behaviour: Behaviour,
    pub(crate) calls: Vec<Call>,
    faults: Vec<Fault>,
    /// Arrivals within the last second, by operation.
    recent: BTreeMap<String, VecDeque<Instant>>,
    /// By operation: the calls that its bucket held, and when.
    buckets: BTreeMap<String, (f64, Instant)>,
    pub(crate) world: World,
    /// The entries that `PutEvents` has taken.
    pub(crate) events: Vec<Value>,
    /// The account's buckets: every one that is named exists. An organization has its own.
    objects: Objects,
    /// What an organization answers itself, if that is what this emulator is.
    pub(crate) directory: Option<Directory>,
}

/// An answer, in the protocol of its call.
pub(crate) enum Answer {
    /// A body in JSON, which faults may alter.
    Json(Value),
    /// An answer in another protocol.
    Whole(Response<Bytes>),
}

impl Clock {
    /// A clock that starts now, with this time; with the real time if there is none.
    pub(crate) fn start(now: Option<Timestamp>) -> Self {
        #[expect(clippy::disallowed_methods, reason = "the emulator's day begins today")]
        let epoch = now.unwrap_or_else(Timestamp::now);
        Self { origin: Instant::now(), epoch, n_calls: Arc::default() }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.epoch + self.origin.elapsed()
    }
}

impl Emulator {
    /// Seeds an account; its ages count from this instant.
    #[must_use]
    pub fn new(fleet: Fleet) -> Self {
        let clock = Clock::start(fleet.now);
        Self::at(clock, fleet, None)
    }

    /// Seeds an account whose ages count from the start of the clock; or what answers for a whole
    /// organization.
    pub(crate) fn at(clock: Clock, fleet: Fleet, directory: Option<Directory>) -> Self {
        let epoch = clock.epoch;
        let state = State {
            behaviour: fleet.behaviour.clone(),
            calls: Vec::new(),
            faults: fleet.faults.clone(),
            recent: BTreeMap::new(),
            buckets: BTreeMap::new(),
            events: Vec::new(),
            world: World::new(fleet, epoch),
            objects: Objects::new(None),
            directory,
        };
        Self { shared: Arc::new(Shared { clock, state: Mutex::new(state) }) }
    }

    /// An HTTP client for the SDK whose requests this emulator answers.
    #[must_use]
    pub fn http_client(&self) -> SharedHttpClient {
        client::http_client(self.clone())
    }

    /// The emulator's time: the time of its start plus the time that passed on the runtime's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// Every call so far, in the order in which they arrived.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    /// Ids of the sessions that a complete listing would show now.
    #[must_use]
    pub fn active_ids(&self) -> Vec<String> {
        let state = self.state();
        state.world.active_ids(self.now(), state.behaviour.terminating_for)
    }

    /// The entries that `PutEvents` has taken, in their order.
    #[must_use]
    pub fn events(&self) -> Vec<Value> {
        self.state().events.clone()
    }

    /// Sets an object, whatever is there.
    pub fn put_object(&self, bucket: &str, key: &str, content: impl Into<Bytes>) {
        let now = self.now();
        self.state().objects.set(bucket, key, content.into(), now);
    }

    /// The objects of all buckets, by `BUCKET/KEY`.
    #[must_use]
    pub fn objects(&self) -> BTreeMap<String, Bytes> {
        self.state().objects.contents()
    }

    /// Sets a parameter of Parameter Store.
    pub fn set_parameter(&self, name: &str, value: &str) {
        self.state().world.set_parameter(name.into(), value.into());
    }

    /// Sets a document, written as in a fleet; `None` deletes it.
    pub fn set_document(&self, name: &str, text: Option<&str>) {
        self.state().world.set_document(name.into(), text.map(Into::into));
    }

    /// Replaces the faults. Their counts start at zero.
    pub fn set_faults(&self, faults: Vec<Fault>) {
        self.state().faults = faults;
    }

    /// Sets the tags of a target, written as in a fleet; `None` if it has never had any.
    pub fn set_tags(&self, target: &str, tags: Option<BTreeMap<String, String>>) {
        self.state().world.set_tags(target, tags);
    }

    /// A session starts; its ages count from this instant.
    pub fn start(&self, seed: Seed) {
        self.state().world.start(seed, self.now());
    }

    /// Sets the status of a session, as when its client disconnects.
    pub fn set_status(&self, id: &str, status: &str) {
        self.state().world.set_status(id, status);
    }

    /// Ends a session without a call of `TerminateSession`, as its user does.
    pub fn end(&self, id: &str) {
        self.state().world.end(id, self.now());
    }

    /// Answers one call.
    ///
    /// # Errors
    /// If the connection is to be closed instead.
    pub async fn answer(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Reset> {
        self.answer_call(wire::Call::read(&request)).await
    }

    /// Answers a call whose protocol has been parsed.
    pub(crate) async fn answer_call(&self, call: wire::Call) -> Result<Response<Bytes>, Reset> {
        let index = self.arrived(&call);
        let is_throttled = self.is_throttled(&call.operation);
        let latency = self.state().behaviour.latency;
        if !latency.is_zero() {
            sleep(latency).await;
        }
        let fault = if is_throttled {
            Some(FaultKind::Throttle)
        } else {
            let fault = self.due_fault(&call);
            self.record(index, |it| it.fault.clone_from(&fault));
            fault
        };
        let (mut response, error) = match self.answer_with(index, &call, fault).await? {
            Ok(response) => (response, None),
            Err(err) => {
                let err = err.of_service(call.protocol);
                (wire::error_response(call.protocol, &err), Some(err.code))
            }
        };
        response.headers_mut().entry(DATE).or_insert(wire::date(self.now()));
        self.record(index, |it| {
            it.status = Some(response.status().as_u16());
            it.error = error;
        });
        Ok(response)
    }

    /// Records a call, even if its caller does not wait for the answer. Returns its index.
    fn arrived(&self, call: &wire::Call) -> usize {
        let mut state = self.state();
        let State { calls, world, .. } = &mut *state;
        let (caller, account, region) = if let Some(it) = &call.route {
            (it.arn.clone(), it.account.clone(), it.region.clone())
        } else {
            let caller = world.caller(call.access_key.as_deref().unwrap_or_default());
            (caller, world.account.clone(), world.region.clone())
        };
        let Clock { origin, n_calls, .. } = &self.shared.clock;
        calls.push(Call {
            at: origin.elapsed(),
            operation: call.operation.clone(),
            caller,
            account,
            region,
            body: call.body.clone(),
            status: None,
            error: None,
            fault: None,
            is_foreign: call.route.as_ref().is_some_and(|it| it.is_foreign),
            number: n_calls.fetch_add(1, Ordering::Relaxed),
        });
        calls.len() - 1
    }

    /// Adds to the record of a call.
    pub(crate) fn record(&self, index: usize, add: impl FnOnce(&mut Call)) {
        if let Some(call) = self.state().calls.get_mut(index) {
            add(call);
        }
    }

    /// The first fault that is due.
    fn due_fault(&self, call: &wire::Call) -> Option<FaultKind> {
        let mut state = self.state();
        let State { faults, world, .. } = &mut *state;
        let account = call.account_of_role();
        let account = account.or_else(|| Some(call.route.as_ref()?.account.as_str()));
        let account = account.unwrap_or(&world.account);
        let mut due = None;
        for fault in faults {
            // Every fault counts the call, including those after the one that is due.
            if fault.is_due(&call.operation, call.session(), account) && due.is_none() {
                due = Some(fault.apply());
            }
        }
        due
    }

    pub(crate) fn carry_out(
        &self,
        call: &wire::Call,
        alter: impl FnOnce(&mut Value),
    ) -> Result<Response<Bytes>, ApiError> {
        match self.carried_out(call)? {
            Answer::Json(mut body) => {
                alter(&mut body);
                Ok(wire::json_response(200, &body))
            }
            Answer::Whole(response) => Ok(response),
        }
    }

    fn carried_out(&self, call: &wire::Call) -> Result<Answer, ApiError> {
        if let Some(refusal) = call.route.as_ref().and_then(|it| it.refusal.clone()) {
            return Err(refusal);
        }
        let now = self.now();
        let mut state = self.state();
        let State { behaviour, world, objects, directory, events: kept, .. } = &mut *state;
        if let Some(directory) = directory {
            check_signing_time(call, now, behaviour)?;
            return directory.carry_out(call, now);
        }
        if let Some(request) = &call.object {
            check_signing_time(call, now, behaviour)?;
            return objects.answer(request, now).map(Answer::Whole);
        }
        let operation = Operation::read(call)?;
        check_signing_time(call, now, behaviour)?;
        let caller = call.access_key.as_deref().unwrap_or_default();
        let caller = |world: &World| match &call.route {
            Some(route) => route.arn.clone(),
            None => world.caller(caller),
        };
        Ok(Answer::Json(match operation {
            Operation::DescribeSessions(query) => {
                let (rows, next) = world.page(&query, now, behaviour)?;
                match next {
                    Some(token) => json!({"Sessions": rows, "NextToken": token}),
                    None => json!({"Sessions": rows}),
                }
            }
            Operation::AssumeRole { role, session, lasts } => {
                let Some((access_key, arn)) = world.assume(&role, &session) else {
                    let message = format!("{role} is invalid");
                    return Err(ApiError::new(400, "ValidationException", &message));
                };
                return Ok(Answer::Whole(sts::credentials(&access_key, &arn, lasts)));
            }
            Operation::GetCallerIdentity => {
                let arn = caller(world);
                let account = Arn::parse(&arn).map_or(&*world.account, |it| it.account);
                return Ok(Answer::Whole(sts::identity(&arn, account)));
            }
            Operation::GetDocument { name, format } => match world.document(&name) {
                Some(content) => json!({
                    "Name": name,
                    "CreatedDate": epoch_seconds(now),
                    "DocumentVersion": "1",
                    "Status": "Active",
                    "Content": document::written_as(format, content),
                    "DocumentType": "Session",
                    "DocumentFormat": format.name(),
                }),
                None => return Err(ApiError::no_such_document(&name)),
            },
            Operation::GetParameter { name } => {
                let Parameter { name, number, value, is_selected } = world.parameter(&name)?;
                let mut parameter = json!({
                    "Name": name,
                    "Type": "String",
                    "Value": value,
                    "Version": number,
                    "LastModifiedDate": epoch_seconds(now),
                    "DataType": "text",
                });
                if let Some(fields) = parameter.as_object_mut().filter(|_| is_selected) {
                    fields.insert("Selector".into(), format!(":{number}").into());
                }
                json!({"Parameter": parameter})
            }
            Operation::GetResources { arns } => {
                let tagged = arns.iter().filter_map(|arn| {
                    let tags = world.tags(arn)?.iter();
                    let tags: Vec<_> = tags.map(|(k, v)| json!({"Key": k, "Value": v})).collect();
                    Some(json!({"ResourceARN": arn, "Tags": tags}))
                });
                let tagged: Vec<_> = tagged.collect();
                json!({"PaginationToken": "", "ResourceTagMappingList": tagged})
            }
            Operation::PutEvents { entries } => {
                let entries = entries.into_iter().map(|it| events::take(it, kept));
                let entries: Vec<_> = entries.collect();
                let n_failed = entries.iter().filter(|it| it.get("EventId").is_none()).count();
                json!({"FailedEntryCount": n_failed, "Entries": entries})
            }
            Operation::StartSession { target, document, reason } => {
                let access_type = Some("Standard".into());
                let target = Some(target);
                let seed = Seed { target, document, reason, access_type, ..Seed::default() };
                let id = world.start_for(caller(world), seed, now);
                let url = wire::stream_url(&world.region, &id);
                json!({"SessionId": id, "TokenValue": wire::TOKEN_VALUE, "StreamUrl": url})
            }
            Operation::TerminateSession { id } => {
                let is_terminated = world.terminate(&id, now);
                if !is_terminated && behaviour.to_ended == ToEnded::ValidationException {
                    return Err(ApiError::not_in_a_valid_state());
                }
                json!({"SessionId": id})
            }
        }))
    }

    /// Whether the call exceeds the quota: more calls within any one second than it allows, or an empty
    /// bucket.
    fn is_throttled(&self, operation: &str) -> bool {
        let mut state = self.state();
        let Some(quota) = state.behaviour.quota else { return false };
        let now = Instant::now();
        if let Some(burst) = state.behaviour.burst {
            let burst = f64::from(burst);
            let (level, at) = state.buckets.entry(operation.into()).or_insert((burst, now));
            #[expect(clippy::cast_precision_loss, reason = "a quota is small")]
            let refilled = (now - *at).as_secs_f64() * quota as f64;
            (*level, *at) = ((*level + refilled).min(burst), now);
            let is_empty = *level < 1.0;
            *level -= if is_empty { 0.0 } else { 1.0 };
            return is_empty;
        }
        let recent = state.recent.entry(operation.into()).or_default();
        while recent.front().is_some_and(|it| Duration::from_secs(1) <= now - *it) {
            recent.pop_front();
        }
        if recent.len() < quota {
            recent.push_back(now);
            return false;
        }
        true
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Refuses a signature that is too old or too new, if any is.
fn check_signing_time(
    call: &wire::Call,
    now: Timestamp,
    behaviour: &Behaviour,
) -> Result<(), ApiError> {
    let max_skew = behaviour.max_skew.and_then(|it| SignedDuration::try_from(it).ok());
    match (max_skew, call.signed_at) {
        (Some(max), Some(at)) if max < now.duration_since(at).abs() => {
            Err(ApiError::signed_at_another_time(at, now, max))
        }
        _ => Ok(()),
    }
}
