//! One emulated account: takes a call, plays the faults, carries it out, and records it.

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
    /// Such as `DescribeSessions`; empty if it is not one of the emulator's.
    pub operation: String,
    /// The ARN of whoever signed it.
    pub caller: String,
    /// The request's body; that of the query protocol as an object.
    pub body: Value,
    /// The answer's HTTP status; `None` if there was none, or not yet.
    pub status: Option<u16>,
    /// The code of the error that was answered.
    pub error: Option<String>,
    /// The fault that struck it: one that changed nothing, as where there was nothing to change, did
    /// not.
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
    /// Arrivals within the last second, by operation.
    recent: BTreeMap<String, VecDeque<Instant>>,
    world: World,
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

    /// The emulator's time: that of its start, and what the runtime's clock has gone on since.
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

    /// From now on these go wrong, and nothing else; their counts begin anew.
    pub fn set_faults(&self, faults: Vec<Fault>) {
        self.state().faults = faults;
    }

    /// The tags of a target from now on, as a fleet has it; none if it has never had any.
    pub fn set_tags(&self, target: &str, tags: Option<BTreeMap<String, String>>) {
        self.state().world.set_tags(target, tags);
    }

    /// A session starts; its ages count from this instant.
    pub fn start(&self, seed: Seed) {
        self.state().world.start(seed, self.now());
    }

    /// A session has another status from now on, as when its client goes away.
    pub fn set_status(&self, id: &str, status: &str) {
        self.state().world.set_status(id, status);
    }

    /// A session ends though nobody called `TerminateSession`.
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
        let play = if is_throttled {
            Some(FaultKind::Throttle)
        } else {
            let struck = self.apply(&call);
            self.record(index, |it| it.struck_by.clone_from(&struck));
            struck
        };
        let (mut response, error) = match self.play(index, &call, play).await? {
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

    /// Records a call, also one whose caller will not wait for the answer; its place in the record.
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

    /// The first fault that is due strikes.
    fn apply(&self, call: &wire::Call) -> Option<FaultKind> {
        let mut state = self.state();
        let mut struck = None;
        for fault in &mut state.faults {
            // Every fault counts the call, also those behind the one that strikes.
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
            Some(FaultKind::DuplicateRows) => self.alter(index, call, duplicate_rows),
            Some(FaultKind::DuplicateTags) => self.alter(index, call, duplicate_tags),
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
            Some(FaultKind::Misdate(by)) => self.carry_out(call, |_| {}).map(|mut response| {
                response.headers_mut().insert(DATE, wire::date(self.now() + by));
                response
            }),
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
                // The caller may be gone by then: it takes effect all the same.
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

    /// Carries a call out and alters its answer, which strikes it only if that changes anything.
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

    /// Some of the rows before the page that this call asks for; none if it asks for no page.
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
                // By the real clock, for it is the client's that they are held to.
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

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Every session of the page, and every target's tags, a second time; these without tags.
fn duplicate_rows(page: &mut Value) {
    if let Some(rows) = page.get_mut("Sessions").and_then(Value::as_array_mut) {
        rows.extend(rows.clone());
    }
    if let Some(rows) = page.get_mut("ResourceTagMappingList").and_then(Value::as_array_mut) {
        let without_tags = |it: &Value| json!({"ResourceARN": it["ResourceARN"], "Tags": []});
        let again: Vec<_> = rows.iter().map(without_tags).collect();
        rows.extend(again);
    }
}

fn duplicate_tags(answer: &mut Value) {
    let rows = answer.get_mut("ResourceTagMappingList").and_then(Value::as_array_mut);
    for row in rows.into_iter().flatten() {
        if let Some(tags) = row.get_mut("Tags").and_then(Value::as_array_mut) {
            let other =
                |it: &Value| json!({"Key": it["Key"], "Value": format!("{}?", it["Value"])});
            let again: Vec<_> = tags.iter().map(other).collect();
            tags.extend(again);
        }
    }
}

/// Takes a field out of the rows of sessions or tags, and out of each tag.
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

/// The same rows in another order: one for each nonce.
fn shuffled(rows: impl Iterator<Item = Value>, nonce: usize) -> Vec<Value> {
    let mut rows: Vec<_> = rows.enumerate().collect();
    rows.sort_by_key(|(i, _)| scattered(i + nonce));
    rows.into_iter().map(|(_, row)| row).collect()
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
