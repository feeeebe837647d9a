//! What each fault does to a call.

use bytes::Bytes;
use http::{Response, header::DATE};
use serde_json::{Map, Value, json};
use tokio::time::sleep;

use crate::{
    emulator::{Emulator, Reset},
    events,
    fault::FaultKind,
    organization::same_accounts,
    request::Operation,
    wire::{self, ApiError},
    world::{same_place, scattered},
};

impl Emulator {
    /// Carries the call out as the fault has it.
    pub(crate) async fn answer_with(
        &self,
        index: usize,
        call: &wire::Call,
        fault: Option<FaultKind>,
    ) -> Result<Result<Response<Bytes>, ApiError>, Reset> {
        Ok(match fault {
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
                let token = call.text("NextToken");
                let n_calls = self.state().calls.len();
                self.alter(index, call, |page| empty_page(page, token, n_calls))
            }
            Some(FaultKind::EmptyToken) => self.alter(index, call, empty_token),
            Some(FaultKind::Error { status, code, message }) => {
                Err(ApiError::new(status, &code, &message))
            }
            Some(FaultKind::DropField(field)) => {
                self.alter(index, call, |page| drop_field(page, &field))
            }
            Some(FaultKind::FailEntries(code)) => {
                let mut spoilt = call.clone();
                events::spoil(&mut spoilt.body);
                self.alter(index, &spoilt, |answer| events::fail(answer, &code))
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
                // It takes effect even if the caller is gone by then.
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
                let body = "<html><body>503 Service Unavailable</body></html>";
                Ok(wire::response(503, "text/html", body))
            }
            Some(FaultKind::Vanish(id)) => {
                if !self.state().world.vanish(&id) {
                    self.record(index, |it| it.fault = None);
                }
                self.carry_out(call, |_| {})
            }
        })
    }

    /// Carries a call out and alters its answer. If that changes nothing, no fault is recorded.
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
            self.record(index, |it| it.fault = None);
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
}

/// No rows, and a token for the same page; of tags, no token.
fn empty_page(page: &mut Value, token: Option<&str>, nonce: usize) {
    *page = if page.get("ResourceTagMappingList").is_some() {
        json!({"PaginationToken": "", "ResourceTagMappingList": []})
    } else if page.get("Accounts").is_some() {
        json!({"Accounts": [], "NextToken": same_accounts(token, nonce)})
    } else {
        json!({"Sessions": [], "NextToken": same_place(token, nonce)})
    };
}

/// An empty token, if there is none.
fn empty_token(page: &mut Value) {
    let is_page =
        |it: &Map<String, Value>| it.contains_key("Accounts") || it.contains_key("Sessions");
    if let Some(page) = page.as_object_mut().filter(|it| is_page(it)) {
        page.entry("NextToken").or_insert("".into());
    }
}

/// Every session or account of the page, and every target's tags, a second time; these without tags.
fn duplicate_rows(page: &mut Value) {
    for list in ["Accounts", "Sessions"] {
        if let Some(rows) = page.get_mut(list).and_then(Value::as_array_mut) {
            rows.extend(rows.clone());
        }
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

/// Takes a field out of the rows of sessions, accounts or tags, and out of each tag.
fn drop_field(answer: &mut Value, field: &str) {
    for list in ["Accounts", "Sessions", "ResourceTagMappingList"] {
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
