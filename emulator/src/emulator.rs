//! One emulated account: takes a call, applies the faults, carries it out, and records it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, header::DATE};
use jiff::{SignedDuration, Timestamp};
use reaper_core::arn::Arn;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::{
    document,
    fault::{Fault, FaultKind},
    fleet::{Behaviour, Fleet, ToEnded},
    request::Operation,
    seed::Seed,
    wire::{self, ApiError, epoch_seconds},
    world::World,
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
    /// The request's body; that of the query protocol as an object.
    pub body: Value,
    /// The answer's HTTP status; `None` if there was none, or not yet.
    pub status: Option<u16>,
    /// The code of the error that was answered.
    pub error: Option<String>,
    /// The fault that was applied to it, if it changed anything.
    pub fault: Option<FaultKind>,
}

#[derive(Debug)]
struct Shared {
    origin: Instant,
    epoch: Timestamp,
    state: Mutex<State>,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) behaviour: Behaviour,
    pub(crate) calls: Vec<Call>,
    faults: Vec<Fault>,
    /// Arrivals within the last second, by operation.
    recent: BTreeMap<String, VecDeque<Instant>>,
    pub(crate) world: World,
}

impl Emulator {
    /// Seeds an account; its ages count from this instant.
    #[must_use]
    pub fn new(fleet: Fleet) -> Self {
        #[expect(clippy::disallowed_methods, reason = "the emulator's day begins today")]
        let epoch = fleet.now.unwrap_or_else(Timestamp::now);
        let state = State {
            behaviour: fleet.behaviour.clone(),
            calls: Vec::new(),
            faults: fleet.faults.clone(),
            recent: BTreeMap::new(),
            world: World::new(fleet, epoch),
        };
        let shared = Shared { origin: Instant::now(), epoch, state: Mutex::new(state) };
        Self { shared: Arc::new(shared) }
    }

    /// The emulator's time: the time of its start plus the time that passed on the runtime's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.shared.epoch + self.shared.origin.elapsed()
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
        let call = wire::Call::read(&request);
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
            Err(err) => (wire::error_response(&call, &err), Some(err.code)),
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
        let caller = state.world.caller(call.access_key.as_deref().unwrap_or_default());
        let calls = &mut state.calls;
        calls.push(Call {
            at: self.shared.origin.elapsed(),
            operation: call.operation.clone(),
            caller,
            body: call.body.clone(),
            status: None,
            error: None,
            fault: None,
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
        let mut due = None;
        for fault in &mut state.faults {
            // Every fault counts the call, including those after the one that is due.
            if fault.is_due(&call.operation, call.session()) && due.is_none() {
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
        let operation = Operation::read(call)?;
        self.check_signing_time(call)?;
        let caller = call.access_key.as_deref().unwrap_or_default();
        let now = self.now();
        let mut state = self.state();
        let State { behaviour, world, .. } = &mut *state;
        let mut body = match operation {
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
                // By the real clock, because the client compares it with the real time.
                #[expect(clippy::disallowed_methods, reason = "credentials end in real time")]
                let expires_at = Timestamp::now() + lasts;
                let result = json!({
                    "AssumedRoleUser": {"AssumedRoleId": user_id(&arn), "Arn": arn},
                    "Credentials": {
                        "AccessKeyId": access_key,
                        "SecretAccessKey": "emulator",
                        "SessionToken": "emulator",
                        "Expiration": format!("{expires_at:.0}"),
                    },
                });
                return Ok(wire::query_response(&call.operation, &result));
            }
            Operation::GetCallerIdentity => {
                let arn = world.caller(caller);
                let account = Arn::parse(&arn).map_or(&*world.account, |it| it.account);
                let identity = json!({"Arn": arn, "UserId": user_id(&arn), "Account": account});
                return Ok(wire::query_response(&call.operation, &identity));
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
            Operation::GetParameter { name } => match world.parameter(&name) {
                Some((value, version)) => json!({"Parameter": {
                    "Name": name,
                    "Type": "String",
                    "Value": value,
                    "Version": version,
                    "LastModifiedDate": epoch_seconds(now),
                    "DataType": "text",
                }}),
                None => return Err(ApiError::new(400, "ParameterNotFound", "")),
            },
            Operation::GetResources { arns } => {
                let tagged = arns.iter().filter_map(|arn| {
                    let tags = world.tags(arn)?.iter();
                    let tags: Vec<_> = tags.map(|(k, v)| json!({"Key": k, "Value": v})).collect();
                    Some(json!({"ResourceARN": arn, "Tags": tags}))
                });
                let tagged: Vec<_> = tagged.collect();
                json!({"PaginationToken": "", "ResourceTagMappingList": tagged})
            }
            Operation::StartSession { target, document, reason } => {
                let access_type = Some("Standard".into());
                let target = Some(target);
                let seed = Seed { target, document, reason, access_type, ..Seed::default() };
                let id = world.start_for(world.caller(caller), seed, now);
                let url = wire::stream_url(&world.region, &id);
                json!({"SessionId": id, "TokenValue": wire::TOKEN_VALUE, "StreamUrl": url})
            }
            Operation::TerminateSession { id } => {
                let is_ended = world.terminate(&id, now);
                if !is_ended && behaviour.to_ended == ToEnded::ValidationException {
                    return Err(ApiError::not_in_a_valid_state());
                }
                json!({"SessionId": id})
            }
        };
        alter(&mut body);
        Ok(wire::json_response(200, &body))
    }

    /// Refuses a signature that is too old or too new, if any is.
    fn check_signing_time(&self, call: &wire::Call) -> Result<(), ApiError> {
        let (now, max_skew) = (self.now(), self.state().behaviour.max_skew);
        match (max_skew.and_then(|it| SignedDuration::try_from(it).ok()), call.signed_at) {
            (Some(max), Some(at)) if max < now.duration_since(at).abs() => {
                Err(ApiError::signed_at_another_time(at, now, max))
            }
            _ => Ok(()),
        }
    }

    /// Whether the call exceeds the quota: more calls within any one second than it allows.
    fn is_throttled(&self, operation: &str) -> bool {
        let mut state = self.state();
        let Some(quota) = state.behaviour.quota else { return false };
        let now = Instant::now();
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

/// The unique id of a caller; that of a role's session ends with the session's name.
fn user_id(arn: &str) -> String {
    match arn.rsplit_once('/') {
        Some((head, session)) if head.contains(":assumed-role/") => {
            format!("AROAEMULATOR:{session}")
        }
        _ => "AIDAEMULATOR".into(),
    }
}
