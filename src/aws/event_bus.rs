//! An event bus of EventBridge: one call, `PutEvents`.
//!
//! It is made as that to Organizations is. `aws-sdk-eventbridge` would add 17 CPU-seconds to a debug build, and what
//! calls hold, and which entries are sent again, would still be here.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep_until};

use super::{
    call::Operation,
    connect::Connect,
    endpoint::EVENT_BRIDGE,
    error::{CallError, CallErrorKind},
    service::Service,
};
use crate::budget::Budget;
use reaper_core::notice::{EventsSent, Notice, SOURCE, batches};

/// AWS allows some hundred to ten thousand events a second, by Region.
const CALLS_PER_SECOND: f64 = 40.0;

/// Calls in flight.
const CONCURRENCY: usize = 4;

/// How often entries are sent that the bus has not taken.
const MAX_ROUNDS: u32 = 6;

/// The errors of entries that are worth another attempt.
const RETRYABLE: [&str; 2] = ["InternalFailure", "ThrottlingException"];

/// The pause before they are sent again; each further one doubles it.
const FIRST_RETRY_AFTER: Duration = Duration::from_millis(200);

/// An event bus. Clones share its pacer.
#[derive(Clone, Debug)]
pub struct EventBus {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    name: String,
    service: Service,
    put_events: Operation,
}

/// The body of a call.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Request<'a> {
    entries: Vec<Entry<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Entry<'a> {
    event_bus_name: &'a str,
    source: &'static str,
    detail_type: &'a str,
    detail: &'a str,
}

/// What became of each entry, in their order.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    entries: Vec<Taken>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Taken {
    event_id: Option<String>,
    error_code: Option<String>,
    error_message: Option<String>,
}

/// Why events were not sent.
struct Problem {
    text: String,
    reach: Reach,
}

/// What a problem is about.
#[derive(Clone, Copy, PartialEq)]
enum Reach {
    /// One event.
    Event,
    /// A call, which was refused as a whole: perhaps because of one of its events.
    Call,
    /// Every call: there is no use in sending the others.
    All,
}

impl EventBus {
    /// A bus, by its name or ARN, that is reached in the Region of the connection.
    #[must_use]
    pub fn new(connect: &Connect, name: &str) -> Self {
        let shared = Shared {
            name: name.into(),
            service: Service::new(connect.config(), EVENT_BRIDGE),
            put_events: Operation::new("PutEvents", "events:PutEvents", CALLS_PER_SECOND),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Sends these events, so many, each at least once, as far as there is time.
    ///
    /// One event does not fail the others. Those that the bus has not taken are sent again, together, where
    /// its error says that this may help. A call that is refused as a whole is sent again event by event. Any
    /// other call that fails, and one of which no event is taken alone either, ends it: what is wrong with it
    /// is wrong with the others.
    pub async fn send(
        &self,
        notices: impl Iterator<Item = Notice>,
        n: usize,
        budget: Budget,
    ) -> EventsSent {
        let mut result = EventsSent::default();
        let mut calls = stream::iter(batches(notices))
            .map(|entries| self.send_batch(entries, budget))
            .buffer_unordered(CONCURRENCY);
        while let Some((sent, problem)) = calls.next().await {
            result.sent += sent;
            if let Some(Problem { text, reach }) = problem {
                result.problem.get_or_insert(text);
                if reach == Reach::All {
                    break;
                }
            }
        }
        result.failed = n.saturating_sub(result.sent);
        if result.failed == 0 {
            result.problem = None; // It has passed.
        }
        result
    }

    /// Sends the events of one call. Returns how many the bus has taken, and why not all.
    async fn send_batch(&self, mut batch: Vec<Notice>, budget: Budget) -> (usize, Option<Problem>) {
        let (mut sent, problem) = self.send_together(&mut batch, budget).await;
        let is_refused = problem.as_ref().is_some_and(|it| it.reach == Reach::Call);
        if !is_refused || batch.len() < 2 {
            return (sent, problem);
        }
        let mut first = None;
        for notice in batch {
            let (n, problem) = self.send_together(&mut vec![notice], budget).await;
            sent += n;
            match problem {
                Some(it) if it.reach == Reach::All => return (sent, Some(it)),
                Some(it) => first = first.or(Some(it)),
                None => {}
            }
        }
        let reach = if sent == 0 { Reach::All } else { Reach::Event };
        (sent, first.map(|it| Problem { reach, ..it }))
    }

    /// Sends these events in one call, and again in further ones those that were not taken. What is left in the
    /// end, if a call fails, stays.
    async fn send_together(
        &self,
        batch: &mut Vec<Notice>,
        budget: Budget,
    ) -> (usize, Option<Problem>) {
        let Shared { name, service, put_events } = &*self.shared;
        let mut sent = 0;
        let mut problem = None;
        let mut pause = FIRST_RETRY_AFTER;
        for round in 1.. {
            let entries = batch.iter().map(|Notice { detail_type, detail }| Entry {
                event_bus_name: name,
                source: SOURCE,
                detail_type,
                detail,
            });
            let request = Request { entries: entries.collect() };
            let put = || service.json::<Answer>("AWSEvents.PutEvents", &request);
            let n = batch.len();
            let answer = put_events.call(budget, put, |it| it.entries.len() == n).await;
            let answer = match answer {
                Ok((answer, _at)) => answer,
                Err(err) => return (sent, Some(Problem::of_call(&err))),
            };
            let mut refused = Vec::new();
            for (notice, it) in std::mem::take(batch).into_iter().zip(answer.entries) {
                if it.event_id.as_ref().is_some_and(|it| !it.is_empty()) {
                    sent += 1;
                    continue;
                }
                let is_final = !RETRYABLE.contains(&it.error_code.as_deref().unwrap_or_default());
                problem.get_or_insert_with(|| Problem::of_entry(&it));
                if !is_final {
                    refused.push(notice);
                }
            }
            *batch = refused;
            if batch.is_empty() {
                break;
            }
            let again_at = Instant::now() + pause;
            if round == MAX_ROUNDS || budget.last_start <= again_at {
                break;
            }
            sleep_until(again_at).await;
            pause *= 2;
        }
        (sent, problem)
    }
}

impl Problem {
    fn of_call(err: &CallError) -> Self {
        let reach = match err.kind {
            CallErrorKind::InvalidState | CallErrorKind::Refused => Reach::Call,
            CallErrorKind::InvalidToken
            | CallErrorKind::Denied
            | CallErrorKind::NoTime
            | CallErrorKind::Throttled
            | CallErrorKind::Unavailable
            | CallErrorKind::UnknownKeys => Reach::All,
        };
        Self { text: err.to_string(), reach }
    }

    fn of_entry(it: &Taken) -> Self {
        let [error_code, error_message] =
            [&it.error_code, &it.error_message].map(|it| it.as_deref().unwrap_or_default());
        let text = format!("the bus did not take an event: {error_code}: {error_message}");
        Self { text, reach: Reach::Event }
    }
}
