//! The calls that the product may make: one method for each.

use std::{
    collections::BTreeMap,
    sync::{
        LazyLock, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize, de::IgnoredAny};
use tokio::time::Instant;

use super::{
    call::Operation,
    connect::Connect,
    date::ServiceTime,
    endpoint::{SSM, TAGGING},
    error::CallError,
    record::{Row, Sessions, Text},
    service::Service,
};
use crate::budget::Budget;
use reaper_core::session::{Interner, Record, State};

/// Rows asked for on a page: the most that the API allows.
const PAGE_SIZE: u32 = 200;

/// ARNs asked for in one call: the most that the API allows.
pub const MAX_ARNS: usize = 100;

/// One page of a listing.
#[derive(Debug)]
pub struct Page {
    /// The rows, in the API's order.
    pub records: Vec<Record>,
    /// What leads to the next page.
    pub next_token: Option<String>,
    /// AWS's time, if the answer has it.
    pub time: Option<ServiceTime>,
}

/// A parameter of Parameter Store.
#[derive(Debug)]
pub struct Parameter {
    /// The value, decrypted.
    pub value: String,
    /// Counts its changes.
    pub version: i64,
}

/// What `GetResources` says of a resource that was asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Tagged {
    /// Its tags.
    With(BTreeMap<String, String>),
    /// Nothing, and the answer is complete.
    NotReturned,
    /// It lacks the tags or a key, names a key twice, or names the resource twice with other tags. Or it
    /// does not name the resource, and has further pages, or rows that name no resource, or one that was not
    /// asked for.
    Ambiguous,
}

/// The API of Systems Manager, and of Resource Groups Tagging, as far as a sweep needs them.
#[derive(Debug)]
pub struct Ssm {
    systems_manager: Service,
    /// Made when it is needed, for many sweeps look up no tags.
    tagging: LazyLock<Service, Box<dyn FnOnce() -> Service + Send>>,
    describe_sessions: Operation,
    get_document: Operation,
    get_parameter: Operation,
    get_resources: Operation,
    terminate_session: Operation,
    n_terminations: AtomicU64,
}

impl Ssm {
    /// The API that this connection reaches, each operation at this pace.
    pub(super) fn new(connect: &Connect, calls_per_second: f64) -> Self {
        let operation = |name, action| Operation::new(name, action, calls_per_second);
        let tagging = connect.clone();
        let tagging = move || Service::new(tagging.config(), TAGGING);
        Self {
            systems_manager: Service::new(connect.config(), SSM),
            tagging: LazyLock::new(Box::new(tagging)),
            describe_sessions: operation("DescribeSessions", "ssm:DescribeSessions"),
            get_document: operation("GetDocument", "ssm:GetDocument"),
            get_parameter: operation("GetParameter", "ssm:GetParameter"),
            get_resources: operation("GetResources", "tag:GetResources"),
            terminate_session: operation("TerminateSession", "ssm:TerminateSession"),
            n_terminations: AtomicU64::new(0),
        }
    }

    /// How long so many calls of one operation take at the pace.
    #[must_use]
    pub fn time_for(&self, n_calls: u32) -> Duration {
        self.describe_sessions.pacer.interval() * n_calls
    }

    /// No termination starts from now on; those that have started end as they will.
    pub fn stop(&self) {
        self.terminate_session.pacer.close();
    }

    /// Whether the terminations have been stopped.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.terminate_session.pacer.is_closed()
    }

    /// Until a call succeeds, the calls of the operations that are failing are not repeated any longer; those that
    /// are throttled have three attempts all the same.
    pub fn hurry(&self) {
        let failing = self.operations().into_iter().filter(|it| it.failing_since().is_some());
        failing.for_each(|it| it.pacer.hurry());
    }

    /// Whether a call of any operation has ever succeeded.
    #[must_use]
    pub fn has_succeeded(&self) -> bool {
        self.operations().into_iter().any(Operation::has_succeeded)
    }

    /// Since when every attempt of some operation has failed; `None` if none is failing.
    #[must_use]
    pub fn failing_since(&self) -> Option<Instant> {
        self.operations().into_iter().filter_map(Operation::failing_since).min()
    }

    /// Attempts made so far, of whatever operation.
    #[must_use]
    pub fn n_calls(&self) -> u64 {
        self.operations().map(Operation::n_calls).iter().sum()
    }

    fn operations(&self) -> [&Operation; 5] {
        [
            &self.describe_sessions,
            &self.get_document,
            &self.get_parameter,
            &self.get_resources,
            &self.terminate_session,
        ]
    }

    /// Terminations that AWS has accepted so far.
    #[must_use]
    pub fn n_terminations(&self) -> u64 {
        self.n_terminations.load(Ordering::Relaxed)
    }

    /// One page of the sessions: `DescribeSessions`. What they have in common with those of other
    /// pages is kept once.
    ///
    /// # Errors
    /// `InvalidToken` if the listing must begin anew, or any other kind.
    pub async fn sessions(
        &self,
        state: State,
        token: Option<String>,
        common: &mut Interner,
        budget: Budget,
    ) -> Result<Page, CallError> {
        let request = DescribeSessions {
            state: match state {
                State::Active => "Active",
                State::History => "History",
            },
            max_results: PAGE_SIZE,
            next_token: token,
        };
        let common = Mutex::new(common);
        let send = || {
            self.systems_manager.json_as("AmazonSSM.DescribeSessions", &request, |json, date| {
                let Sessions { sessions, next_token } = serde_json::from_str(json)?;
                let mut common = common.lock().unwrap_or_else(PoisonError::into_inner);
                let records = |rows: Vec<Row<'_>>| {
                    rows.iter().map(|it| it.record(&mut common)).collect::<Vec<_>>()
                };
                Ok((sessions.map(records), next_token, date))
            })
        };
        let ((records, next_token, date), at) =
            self.describe_sessions.call(budget, send, |(records, ..)| records.is_some()).await?;
        Ok(Page {
            records: records.unwrap_or_default(),
            next_token: next_token.filter(|it| !it.is_empty()),
            time: date.map(|date| ServiceTime { date, at }),
        })
    }

    /// Terminates a session: `TerminateSession`.
    ///
    /// Success means that AWS accepted the request, not that the session is gone.
    ///
    /// # Errors
    /// `InvalidState` if there was nothing to terminate, or any other kind but `InvalidToken`.
    pub async fn terminate(&self, id: &str, budget: Budget) -> Result<(), CallError> {
        let request = TerminateSession { session_id: id };
        let send = || self.systems_manager.json::<Accepted>("AmazonSSM.TerminateSession", &request);
        self.terminate_session.call(budget, send, |it| it.is_of(id)).await?;
        self.n_terminations.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// The tags of each of these resources, which are in order, and at most `MAX_ARNS`: `GetResources`.
    ///
    /// # Errors
    /// Any kind but `InvalidToken`.
    pub async fn tags(&self, arns: &[&str], budget: Budget) -> Result<Vec<Tagged>, CallError> {
        let request = GetResources { resource_arn_list: arns };
        let target = "ResourceGroupsTaggingAPI_20170126.GetResources";
        let send = || {
            self.tagging.json_as(target, &request, |json, _date| {
                Ok(serde_json::from_str::<Resources<'_>>(json)?.tagged(arns))
            })
        };
        let (tagged, _at) = self.get_resources.call(budget, send, Option::is_some).await?;
        Ok(tagged.unwrap_or_default())
    }

    /// The content of a document, in JSON: `GetDocument`.
    ///
    /// # Errors
    /// Any kind but `InvalidToken`.
    pub async fn document(&self, name: &str, budget: Budget) -> Result<String, CallError> {
        let request = GetDocument { name, document_format: "JSON" };
        let send = || self.systems_manager.json::<Document>("AmazonSSM.GetDocument", &request);
        let (answer, _at) = self.get_document.call(budget, send, |it| it.content.is_some()).await?;
        Ok(answer.content.unwrap_or_default())
    }

    /// A parameter's value and version: `GetParameter`.
    ///
    /// # Errors
    /// Any kind but `InvalidToken`.
    pub async fn parameter(&self, name: &str, budget: Budget) -> Result<Parameter, CallError> {
        let request = GetParameter { name, with_decryption: true };
        let send = || self.systems_manager.json::<Found>("AmazonSSM.GetParameter", &request);
        let (answer, _at) =
            self.get_parameter.call(budget, send, |it| it.parameter.is_some()).await?;
        let it = answer.parameter.unwrap_or_default();
        Ok(Parameter { version: it.version, value: it.value }) // No policy is valid if it is empty.
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DescribeSessions {
    state: &'static str,
    max_results: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct TerminateSession<'a> {
    session_id: &'a str,
}

/// AWS returns the session's id.
#[derive(Debug, Deserialize)]
struct Accepted {
    #[serde(rename = "SessionId")]
    session_id: Option<String>,
    /// The code of an error, if something in between has answered with a success.
    #[serde(rename = "__type")]
    error: Option<IgnoredAny>,
}

impl Accepted {
    fn is_of(&self, id: &str) -> bool {
        self.error.is_none() && self.session_id.as_deref().is_none_or(|it| it == id)
    }
}

#[derive(Serialize)]
struct GetResources<'a> {
    #[serde(rename = "ResourceARNList")]
    resource_arn_list: &'a [&'a str],
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Resources<'a> {
    pagination_token: Option<String>,
    #[serde(borrow)]
    resource_tag_mapping_list: Option<Vec<Mapping<'a>>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Mapping<'a> {
    #[serde(borrow, rename = "ResourceARN")]
    resource_arn: Option<Text<'a>>,
    tags: Option<Vec<Tag>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Tag {
    key: Option<String>,
    value: Option<String>,
}

impl Resources<'_> {
    /// What it says of each of these; `None` if it has no list.
    fn tagged(self, arns: &[&str]) -> Option<Vec<Tagged>> {
        let mut is_all = self.pagination_token.is_none_or(|it| it.is_empty());
        let mut tagged = vec![None; arns.len()];
        for Mapping { resource_arn, tags } in self.resource_tag_mapping_list? {
            let index = resource_arn.and_then(|it| arns.binary_search(&&*it.0).ok());
            let Some(place) = index.and_then(|it| tagged.get_mut(it)) else {
                is_all = false;
                continue;
            };
            let told = tags.and_then(|tags| {
                let n = tags.len();
                let pairs = tags.into_iter().map(|it| Some((it.key?, it.value?)));
                let by_key: BTreeMap<_, _> = pairs.collect::<Option<_>>()?;
                (by_key.len() == n && !by_key.contains_key("")).then_some(by_key)
            });
            let told = told.map_or(Tagged::Ambiguous, Tagged::With);
            match place {
                None => *place = Some(told),
                // An answer that names a resource twice, otherwise, does not say which is true.
                Some(before) if *before != told => *before = Tagged::Ambiguous,
                Some(_) => {}
            }
        }
        let otherwise = || if is_all { Tagged::NotReturned } else { Tagged::Ambiguous };
        Some(tagged.into_iter().map(|it| it.unwrap_or_else(otherwise)).collect())
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct GetDocument<'a> {
    name: &'a str,
    document_format: &'static str,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Document {
    content: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct GetParameter<'a> {
    name: &'a str,
    with_decryption: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Found {
    parameter: Option<FoundParameter>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct FoundParameter {
    value: String,
    version: i64,
}
