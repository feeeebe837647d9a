//! One emulated account: receives a call, applies faults, carries it out, and records it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::{
    fault::{Fault, FaultKind},
    fleet::{Behaviour, Fleet, ToEnded},
    request::Operation,
    seed::Seed,
    wire::{self, ApiError, epoch_seconds},
    world::{World, same_place, scattered},
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
    /// Such as `DescribeSessions`; empty if the emulator does not implement it.
    pub operation: String,
    /// The ARN of the caller that signed it.
    pub caller: String,
    /// The request's body; a body of the query protocol is converted to an object.
    pub body: Value,
    /// The answer's HTTP status; `None` if there was none, or not yet.
    pub status: Option<u16>,
    /// The error code of the answer.
    pub error: Option<String>,
    /// The fault that was applied to it, if it changed anything.
    pub struck_by: Option<FaultKind>,
}

#[derive(Debug)]
struct Shared {
    origin: Instant,
    epoch: Timestamp,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    behaviour: Behaviour,
    calls: Vec<Call>,
    faults: Vec<Fault>,
    /// When calls arrived within the last second, by operation.
    recent: BTreeMap<String, VecDeque<Instant>>,
    world: World,
}

impl Emulator {
    /// Creates an account from a fleet; ages count from this instant.
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

    /// The emulator's time: that of its start, plus the time that has passed on the runtime's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.shared.epoch + self.shared.origin.elapsed()
    }

    /// Every call so far, in the order of arrival.
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

    /// Replaces all faults; their counts start at zero.
    pub fn set_faults(&self, faults: Vec<Fault>) {
        self.state().faults = faults;
    }

    /// Replaces a target's tags. The target is written as in a fleet.
    pub fn set_tags(&self, target: &str, tags: Option<BTreeMap<String, String>>) {
        self.state().world.set_tags(target, tags);
    }

    /// Starts a session; ages count from this instant.
    pub fn start(&self, seed: Seed) {
        self.state().world.start(seed, self.now());
    }

    /// Changes a session's status, for example because its client has disconnected.
    pub fn set_status(&self, id: &str, status: &str) {
        self.state().world.set_status(id, status);
    }

    /// Ends a session without a call of `TerminateSession`.
    pub fn end(&self, id: &str) {
        self.state().world.end(id, self.now());
    }

    /// Answers one call.
    ///
    /// # Errors
    /// If the connection must be closed instead.
    pub async fn answer(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Reset> {
        let call = wire::Call::read(&request);
        let index = self.arrived(&call);
        let is_throttled = self.is_throttled(&call.operation);
        let latency = self.state().behaviour.latency;
        if !latency.is_zero() {
            sleep(latency).await;
        }
        let play = if is_throttled {
            Some(FaultKind::Throttle)
        } else {
            let struck = self.apply(&call);
            self.record(index, |it| it.struck_by.clone_from(&struck));
            struck
        };
        let (response, error) = match self.play(index, &call, play).await? {
            Ok(response) => (response, None),
            Err(err) => (wire::error_response(&call, &err), Some(err.code)),
        };
        self.record(index, |it| {
            it.status = Some(response.status().as_u16());
            it.error = error;
        });
        Ok(response)
    }

    /// Records a call, also if its caller will not wait for the answer. Returns its index.
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
            struck_by: None,
        });
        calls.len() - 1
    }

    /// Adds to the record of a call.
    fn record(&self, index: usize, add: impl FnOnce(&mut Call)) {
        if let Some(call) = self.state().calls.get_mut(index) {
            add(call);
        }
    }

    /// The first fault that is due is applied.
    fn apply(&self, call: &wire::Call) -> Option<FaultKind> {
        let mut state = self.state();
        let mut struck = None;
        for fault in &mut state.faults {
            // Every fault counts the call, also those after the one that is applied.
            if fault.is_due(&call.operation, call.session()) && struck.is_none() {
                struck = Some(fault.apply());
            }
        }
        struck
    }

    async fn play(
        &self,
        index: usize,
        call: &wire::Call,
        play: Option<FaultKind>,
    ) -> Result<Result<Response<Bytes>, ApiError>, Reset> {
        Ok(match play {
            None => self.carry_out(call, |_| {}),
            Some(FaultKind::Appear(seed)) => {
                self.state().world.start(*seed, self.now());
                self.carry_out(call, |_| {})
            }
            Some(FaultKind::Body(body)) => self
                .carry_out(call, |_| {})
                .map(|_| wire::response(200, "application/x-amz-json-1.1", body)),
            Some(FaultKind::CutOff) => self.carry_out(call, |_| {}).map(wire::cut_off),
            Some(FaultKind::Deny) => Err(ApiError::access_denied(call)),
            Some(FaultKind::DuplicateRows) => self.alter(index, call, |page| {
                if let Some(rows) = page.get_mut("Sessions").and_then(Value::as_array_mut) {
                    rows.extend(rows.clone());
                }
            }),
            Some(FaultKind::EmptyPage) => {
                let token = call.body.get("NextToken").and_then(Value::as_str);
                let token = same_place(token, self.state().calls.len());
                self.alter(index, call, |page| {
                    *page = match page.get("ResourceTagMappingList") {
                        Some(_) => json!({"PaginationToken": "", "ResourceTagMappingList": []}),
                        None => json!({"Sessions": [], "NextToken": token}),
                    };
                })
            }
            Some(FaultKind::EmptyToken) => self.alter(index, call, |page| {
                if let Some(page) = page.as_object_mut().filter(|it| it.contains_key("Sessions")) {
                    page.entry("NextToken").or_insert("".into());
                }
            }),
            Some(FaultKind::Error { status, code, message }) => {
                Err(ApiError::new(status, &code, &message))
            }
            Some(FaultKind::DropField(field)) => {
                self.alter(index, call, |page| drop_field(page, &field))
            }
            Some(FaultKind::InternalError) => Err(ApiError::internal_error()),
            Some(FaultKind::InvalidToken) => Err(ApiError::invalid_token()),
            Some(FaultKind::MoreTags) => self.alter(index, call, |answer| {
                if answer.get("ResourceTagMappingList").is_some() {
                    *answer = json!({"PaginationToken": "more", "ResourceTagMappingList": []});
                }
            }),
            Some(FaultKind::RepeatToken) => {
                let token = call.body.get("NextToken").cloned();
                self.alter(index, call, |page| {
                    if let (Some(page), Some(token)) = (page.as_object_mut(), token) {
                        page.insert("NextToken".into(), token);
                    }
                })
            }
            Some(FaultKind::ResetAfter) => {
                drop(self.carry_out(call, |_| {}));
                return Err(Reset);
            }
            Some(FaultKind::ResetBefore) => return Err(Reset),
            Some(FaultKind::ShufflePage) => {
                let before = self.rows_before(call);
                let n_calls = self.state().calls.len();
                self.alter(index, call, |page| {
                    if let Some(rows) = page.get_mut("Sessions").and_then(Value::as_array_mut) {
                        *rows = shuffled(before.into_iter().chain(std::mem::take(rows)), n_calls);
                    }
                })
            }
            Some(FaultKind::Slow(duration)) => {
                // The call takes effect even if the caller has gone by then.
                let (emulator, call) = (self.clone(), call.clone());
                let answer = tokio::spawn(async move {
                    sleep(duration).await;
                    emulator.carry_out(&call, |_| {})
                });
                answer.await.map_err(|_| Reset)?
            }
            Some(FaultKind::SlowAfter(duration)) => {
                let response = self.carry_out(call, |_| {});
                sleep(duration).await;
                response
            }
            Some(FaultKind::Throttle) => Err(ApiError::throttled()),
            Some(FaultKind::Truncated) => self
                .carry_out(call, |_| {})
                .map(|response| response.map(|body| body.slice(..body.len() / 2))),
            Some(FaultKind::Unavailable) => {
                let body = "<html><body>503 Service Unavailable</body></html>".into();
                Ok(wire::response(503, "text/html", body))
            }
            Some(FaultKind::Vanish(id)) => {
                if !self.state().world.vanish(&id) {
                    self.record(index, |it| it.struck_by = None);
                }
                self.carry_out(call, |_| {})
            }
        })
    }

    /// Carries a call out and alters its answer. The fault counts as applied only if this changes the
    /// answer.
    fn alter(
        &self,
        index: usize,
        call: &wire::Call,
        alter: impl FnOnce(&mut Value),
    ) -> Result<Response<Bytes>, ApiError> {
        let mut is_applied = false;
        let response = self.carry_out(call, |answer| {
            let unaltered = answer.clone();
            alter(answer);
            is_applied = *answer != unaltered;
        });
        if !is_applied {
            self.record(index, |it| it.struck_by = None);
        }
        response
    }

    /// Some of the rows before the requested page; none if the call does not request a page.
    fn rows_before(&self, call: &wire::Call) -> Vec<Value> {
        let Ok(Operation::DescribeSessions(query)) = Operation::read(call) else {
            return Vec::new();
        };
        let state = self.state();
        state.world.rows_before(&query, self.now(), &state.behaviour)
    }

    fn carry_out(
        &self,
        call: &wire::Call,
        alter: impl FnOnce(&mut Value),
    ) -> Result<Response<Bytes>, ApiError> {
        let operation = Operation::read(call)?;
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
                // By the real clock, because the client compares it with its own.
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
                let account = arn.split(':').nth(4).unwrap_or(&world.account);
                let identity = json!({"Arn": arn, "UserId": user_id(&arn), "Account": account});
                return Ok(wire::query_response(&call.operation, &identity));
            }
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

    /// Whether the call exceeds the quota of calls within a second.
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

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes a field from the rows of sessions or tags, and from each tag.
fn drop_field(answer: &mut Value, field: &str) {
    for list in ["Sessions", "ResourceTagMappingList"] {
        let rows = answer.get_mut(list).and_then(Value::as_array_mut);
        for row in rows.into_iter().flatten().filter_map(Value::as_object_mut) {
            row.remove(field);
            let tags = row.get_mut("Tags").and_then(Value::as_array_mut);
            for tag in tags.into_iter().flatten().filter_map(Value::as_object_mut) {
                tag.remove(field);
            }
        }
    }
}

/// The rows in another order, which depends on the nonce.
fn shuffled(rows: impl Iterator<Item = Value>, nonce: usize) -> Vec<Value> {
    let mut rows: Vec<_> = rows.enumerate().collect();
    rows.sort_by_key(|(i, _)| scattered(i + nonce));
    rows.into_iter().map(|(_, row)| row).collect()
}

/// The unique id of a caller. That of a role's session ends with the session's name.
fn user_id(arn: &str) -> String {
    match arn.rsplit_once('/') {
        Some((head, session)) if head.contains(":assumed-role/") => {
            format!("AROAEMULATOR:{session}")
        }
        _ => "AIDAEMULATOR".into(),
    }
}
