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
    endpoint::{dns_suffix, named},
    error::CallError,
    service::{Service, region},
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
    #[serde(default)]
    error_code: String,
    #[serde(default)]
    error_message: String,
}

/// Why events were not sent.
struct Problem {
    text: String,
    /// Whether there is no use in sending the others.
    is_end: bool,
}

impl EventBus {
    /// A bus, by its name or ARN, that is reached in the Region of the connection.
    #[must_use]
    pub fn new(connect: &Connect, name: &str, partition: &str) -> Self {
        let config = connect.config();
        let url = named(config, "EventBridge").unwrap_or_else(|| {
            format!("https://events.{}.{}", region(config), dns_suffix(partition))
        });
        let shared = Shared {
            name: name.into(),
            service: Service::new(connect, "events", Ok(url)),
            put_events: Operation::new("PutEvents", "events:PutEvents", CALLS_PER_SECOND),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Sends these events, so many, each at least once, as far as there is time.
    ///
    /// A call that fails as a whole ends it: what is wrong with one is wrong with the others. Entries that
    /// the bus has not taken are sent again where its error says that this may help.
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
            if let Some(Problem { text, is_end }) = problem {
                result.problem.get_or_insert(text);
                if is_end {
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
            for (notice, it) in batch.into_iter().zip(answer.entries) {
                if it.event_id.is_some() {
                    sent += 1;
                    continue;
                }
                let is_final = !RETRYABLE.contains(&&*it.error_code);
                problem.get_or_insert_with(|| Problem::of_entry(&it));
                if !is_final {
                    refused.push(notice);
                }
            }
            batch = refused;
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
        Self { text: err.to_string(), is_end: true }
    }

    fn of_entry(it: &Taken) -> Self {
        let Taken { error_code, error_message, .. } = it;
        let text = format!("the bus did not take an event: {error_code}: {error_message}");
        Self { text, is_end: false }
    }
}
