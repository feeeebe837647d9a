//! The edge to AWS: one method for each call that the product may make. No SDK type leaves it.
//!
//! The SDK's own retries are off: one loop retries, and every attempt takes a turn of the one pacer
//! of its operation.

use std::{
    collections::BTreeMap,
    error::Error,
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use aws_config::{SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_resourcegroupstagging as tagging;
use aws_sdk_ssm::{
    self as ssm,
    config::{StalledStreamProtectionConfig, http::HttpResponse},
    error::{ConnectorError, ProvideErrorMetadata, SdkError},
    types::{AccessType, SessionState, SessionStatus},
};
use jiff::Timestamp;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{
    advice::{NOT_WHOLE, detail},
    bounded::ResponseGuard,
    pacer::Pacer,
};
use crate::budget::Budget;
use reaper_core::session::{Interner, Record, State};

/// Rows asked for on a page: the most that the API allows.
const PAGE_SIZE: i32 = 200;

/// ARNs asked for in one call: the most that the API allows.
pub const MAX_ARNS: usize = 100;

/// Attempts of a call that AWS does not answer, or answers with a server error.
const MAX_FAILED_ATTEMPTS: u32 = 5;

tokio::task_local! {
    /// Which attempt of its call the running one is: for whoever watches the wire.
    pub static ATTEMPT: u32;
}

/// The longest that one attempt may take.
pub(crate) const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);

/// The pause before the second such attempt; each further one doubles it.
const FIRST_RETRY_AFTER: Duration = Duration::from_millis(100);

/// One page of a listing.
#[derive(Debug)]
pub struct Page {
    /// The rows, in the API's order.
    pub records: Vec<Record>,
    /// What leads to the next page.
    pub next_token: Option<String>,
}

/// A parameter of Parameter Store.
#[derive(Debug)]
pub struct Parameter {
    /// The value, decrypted.
    pub value: String,
    /// Counts its changes.
    pub version: i64,
}

/// What `GetResources` returned.
#[derive(Debug)]
pub struct TaggedResources {
    /// The tags by ARN; `None` where the answer lacks them or a key, or names the ARN twice
    /// with other tags.
    pub tags: BTreeMap<String, Option<BTreeMap<String, String>>>,
    /// Whether an ARN that is not there has nothing to say; else there were further pages.
    pub is_all: bool,
}

/// A call that did not succeed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("`{operation}` {kind} after {attempts} attempt{s}: {detail}", s = if *attempts == 1 { "" } else { "s" })]
pub struct CallError {
    operation: &'static str,
    /// What kind of failure it was.
    pub kind: CallErrorKind,
    /// Whether an attempt may have taken effect though no answer said so.
    pub is_ambiguous: bool,
    attempts: u32,
    detail: String,
}

/// How a call may fail.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CallErrorKind {
    /// The credentials do not allow it, have expired, or cannot be had.
    Denied,
    /// The page's token is not, or no longer, known.
    InvalidToken,
    /// The request, or the state of what it names, is not valid.
    InvalidState,
    /// There was no time for a first attempt.
    NoTime,
    /// AWS, or this side before the request was sent, refused for any other reason.
    Refused,
    /// Throttled until there was no more time.
    Throttled,
    /// No answer, no intelligible answer, or a server error.
    Unavailable,
}

impl fmt::Display for CallErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Denied => "was denied",
            Self::InvalidToken | Self::InvalidState | Self::Refused => "was refused",
            Self::NoTime => "had no time to start",
            Self::Throttled => "was throttled",
            Self::Unavailable => "failed",
        })
    }
}

/// The API of Systems Manager, and of Resource Groups Tagging, as far as a sweep needs them.
#[derive(Debug)]
pub struct Ssm {
    systems_manager: ssm::Client,
    tagging: tagging::Client,
    describe_sessions: Operation,
    get_parameter: Operation,
    get_resources: Operation,
    terminate_session: Operation,
    n_calls: AtomicU64,
    n_terminations: AtomicU64,
}

#[derive(Debug)]
pub(super) struct Operation {
    name: &'static str,
    pub(super) action: &'static str,
    pacer: Pacer,
}

impl Ssm {
    /// Calls AWS as configured, each operation at this pace.
    #[must_use]
    pub fn new(config: &SdkConfig, calls_per_second: f64) -> Self {
        let config = config
            .clone()
            .into_builder()
            .retry_config(RetryConfig::disabled())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .timeout_config(TimeoutConfig::builder().connect_timeout(ATTEMPT_TIMEOUT).build())
            .build();
        let operation = |name, action| {
            let pacer = Pacer::new(calls_per_second);
            Operation { name, action, pacer }
        };
        let systems_manager =
            ssm::config::Builder::from(&config).interceptor(ResponseGuard).build();
        let tagging = tagging::config::Builder::from(&config).interceptor(ResponseGuard).build();
        Self {
            systems_manager: ssm::Client::from_conf(systems_manager),
            tagging: tagging::Client::from_conf(tagging),
            describe_sessions: operation("DescribeSessions", "ssm:DescribeSessions"),
            get_parameter: operation("GetParameter", "ssm:GetParameter"),
            get_resources: operation("GetResources", "tag:GetResources"),
            terminate_session: operation("TerminateSession", "ssm:TerminateSession"),
            n_calls: AtomicU64::new(0),
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

    /// Whether somebody has stopped the terminations.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.terminate_session.pacer.is_closed()
    }

    /// Attempts made so far, of whatever operation.
    #[must_use]
    pub fn n_calls(&self) -> u64 {
        self.n_calls.load(Ordering::Relaxed)
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
        let request = self
            .systems_manager
            .describe_sessions()
            .state(match state {
                State::Active => SessionState::Active,
                State::History => SessionState::History,
            })
            .max_results(PAGE_SIZE)
            .set_next_token(token);
        let page = self
            .call(
                &self.describe_sessions,
                budget,
                || request.clone().send(),
                |it| it.sessions.is_some(),
            )
            .await?;
        let sessions = page.sessions.unwrap_or_default().into_iter();
        Ok(Page {
            next_token: page.next_token.filter(|it| !it.is_empty()),
            records: sessions.map(|it| record(&it, common)).collect(),
        })
    }

    /// Ends a session for good: `TerminateSession`.
    ///
    /// Success means that AWS accepted the request, not that the session is gone.
    ///
    /// # Errors
    /// `InvalidState` if there was nothing left to end, or any other kind but `InvalidToken`.
    pub async fn terminate(&self, id: &str, budget: Budget) -> Result<(), CallError> {
        let request = self.systems_manager.terminate_session().session_id(id);
        self.call(&self.terminate_session, budget, || request.clone().send(), |_| true).await?;
        self.n_terminations.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// The tags of these resources, at most `MAX_ARNS`: `GetResources`.
    ///
    /// # Errors
    /// Any kind but `InvalidToken`.
    pub async fn tags(
        &self,
        arns: Vec<String>,
        budget: Budget,
    ) -> Result<TaggedResources, CallError> {
        let request = self.tagging.get_resources().set_resource_arn_list(Some(arns));
        let answer = self
            .call(
                &self.get_resources,
                budget,
                || request.clone().send(),
                |it| it.resource_tag_mapping_list.is_some(),
            )
            .await?;
        let mappings = answer.resource_tag_mapping_list.unwrap_or_default();
        let is_all = answer.pagination_token.is_none_or(|it| it.is_empty())
            && mappings.iter().all(|it| it.resource_arn.is_some());
        let mut tags = BTreeMap::new();
        for mapping in mappings {
            let Some(arn) = mapping.resource_arn else { continue };
            let told = mapping.tags.filter(|tags| tags.iter().all(|it| !it.key.is_empty()));
            let told = told.map(|it| it.into_iter().map(|it| (it.key, it.value)).collect());
            // An answer that names a resource twice, otherwise, does not say which is true.
            let contradict = |known: &mut Option<_>| {
                *known = known.take().filter(|it| Some(it) == told.as_ref())
            };
            tags.entry(arn).and_modify(contradict).or_insert_with(|| told.clone());
        }
        Ok(TaggedResources { tags, is_all })
    }

    /// A parameter's value and version: `GetParameter`.
    ///
    /// # Errors
    /// Any kind but `InvalidToken`.
    pub async fn parameter(&self, name: &str, budget: Budget) -> Result<Parameter, CallError> {
        let request = self.systems_manager.get_parameter().name(name).with_decryption(true);
        let answer = self
            .call(
                &self.get_parameter,
                budget,
                || request.clone().send(),
                |it| it.parameter.is_some(),
            )
            .await?;
        let parameter =
            answer.parameter.unwrap_or_else(|| ssm::types::Parameter::builder().build());
        Ok(Parameter {
            version: parameter.version,
            value: parameter.value.unwrap_or_default(), // No policy is valid if it is empty.
        })
    }

    /// The one loop that retries.
    ///
    /// Throttled attempts are repeated until there is no more time, everybody backing off together;
    /// attempts that AWS did not answer, or answered with a server error, a few times. Pauses have
    /// no jitter: the pacer keeps the attempts of this process apart.
    ///
    /// The SDK reads an empty body as an answer without any field. AWS's has the field that was asked
    /// for, though it be an empty list: what lacks it (`is_complete`) proves nothing, and is no answer.
    async fn call<T, E, F>(
        &self,
        operation: &Operation,
        budget: Budget,
        send: impl Fn() -> F,
        is_complete: impl Fn(&T) -> bool,
    ) -> Result<T, CallError>
    where
        E: ProvideErrorMetadata + Error + 'static,
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    {
        let mut attempts = 0;
        let mut n_failed = 0;
        let mut last = (CallErrorKind::NoTime, "its share of the time was used up".to_owned());
        while let Some(started_at) = operation.pacer.turn(budget.last_start).await {
            attempts += 1;
            self.n_calls.fetch_add(1, Ordering::Relaxed);
            let hard_stop = budget.hard_stop.min(started_at + ATTEMPT_TIMEOUT);
            last = match timeout_at(hard_stop, ATTEMPT.scope(attempts, send())).await {
                Ok(Ok(answer)) if is_complete(&answer) => {
                    operation.pacer.passed();
                    return Ok(answer);
                }
                Ok(Ok(_nothing)) => (CallErrorKind::Unavailable, NOT_WHOLE.to_owned()),
                Ok(Err(err)) => (kind(&err), detail(operation, &err)),
                Err(_elapsed) => {
                    let waited = started_at.elapsed().as_secs_f64();
                    (CallErrorKind::Unavailable, format!("no answer within {waited:.1} s"))
                }
            };
            match last.0 {
                CallErrorKind::Throttled => operation.pacer.throttled(started_at),
                CallErrorKind::Unavailable => {
                    n_failed += 1;
                    if n_failed == MAX_FAILED_ATTEMPTS {
                        break;
                    }
                    let pause = FIRST_RETRY_AFTER * 2_u32.pow(n_failed - 1);
                    sleep_until((Instant::now() + pause).min(budget.last_start)).await;
                }
                CallErrorKind::Denied
                | CallErrorKind::InvalidToken
                | CallErrorKind::NoTime
                | CallErrorKind::InvalidState
                | CallErrorKind::Refused => break,
            }
        }
        let (kind, detail) = last;
        let is_ambiguous = 0 < n_failed;
        Err(CallError { operation: operation.name, kind, is_ambiguous, attempts, detail })
    }
}

/// AWS models few of the errors that it sends, so they are told apart by their codes.
fn kind<E: ProvideErrorMetadata>(err: &SdkError<E, HttpResponse>) -> CallErrorKind {
    match err {
        _ if is_unintelligible(err) => CallErrorKind::Unavailable,
        SdkError::ServiceError(it) => {
            let status = it.raw().status().as_u16();
            kind_of_code(it.err().code().unwrap_or_default(), status)
        }
        SdkError::DispatchFailure(it)
            if it.as_connector_error().is_some_and(is_about_credentials) =>
        {
            CallErrorKind::Denied // Nothing was sent.
        }
        SdkError::DispatchFailure(it) if it.is_user() => CallErrorKind::Refused,
        SdkError::ConstructionFailure(_) => CallErrorKind::Refused,
        SdkError::DispatchFailure(_)
        | SdkError::ResponseError(_)
        | SdkError::TimeoutError(_)
        | _ => CallErrorKind::Unavailable,
    }
}

fn kind_of_code(code: &str, status: u16) -> CallErrorKind {
    match code {
        "LimitExceededException"
        | "RequestLimitExceeded"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "SlowDown"
        | "Throttling"
        | "ThrottledException"
        | "ThrottlingException"
        | "TooManyRequestsException" => CallErrorKind::Throttled,
        _ if status == 429 => CallErrorKind::Throttled,
        "RequestTimeout" | "RequestTimeoutException" => CallErrorKind::Unavailable,
        _ if 500 <= status => CallErrorKind::Unavailable,
        "AccessDenied"
        | "AccessDeniedException"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "IncompleteSignature"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "MissingAuthenticationTokenException"
        | "RequestExpired"
        | "RequestTimeTooSkewed"
        | "SignatureDoesNotMatch"
        | "UnrecognizedClientException" => CallErrorKind::Denied,
        "InvalidNextToken" => CallErrorKind::InvalidToken,
        "DoesNotExistException" | "ValidationException" => CallErrorKind::InvalidState,
        _ => CallErrorKind::Refused,
    }
}

/// An answer that cannot be read: of some operations it comes as an error of the service.
pub(super) fn is_unintelligible<E>(err: &SdkError<E, HttpResponse>) -> bool {
    match err {
        SdkError::ServiceError(it) => it.raw().status().is_success(),
        SdkError::ResponseError(_) => true,
        SdkError::ConstructionFailure(_)
        | SdkError::DispatchFailure(_)
        | SdkError::TimeoutError(_)
        | _ => false,
    }
}

fn is_about_credentials(err: &ConnectorError) -> bool {
    sources(err).any(<dyn Error>::is::<CredentialsError>)
}

/// An error, and what it comes from.
pub fn sources<'a>(
    err: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(err), |&it| it.source())
}

/// AWS tells milliseconds, as a fraction that is not exact.
fn instant(at: aws_sdk_ssm::primitives::DateTime) -> Option<Timestamp> {
    let milliseconds = (at.as_nanos() + 500_000).div_euclid(1_000_000);
    Timestamp::from_millisecond(i64::try_from(milliseconds).ok()?).ok()
}

/// A field that is there and empty tells as little as one that is not.
fn record(session: &ssm::types::Session, common: &mut Interner) -> Record {
    let own = |text: Option<&str>| text.filter(|it| !it.is_empty()).map(Into::into);
    let mut shared = |text: Option<&str>| Some(common.share(text.filter(|it| !it.is_empty())?));
    Record {
        id: own(session.session_id()),
        owner: shared(session.owner()),
        target: own(session.target()),
        started_at: session.start_date.and_then(instant),
        ended_at: session.end_date.and_then(instant),
        status: shared(session.status().map(SessionStatus::as_str)),
        document: shared(session.document_name()),
        reason: own(session.reason()),
        access_type: shared(session.access_type().map(AccessType::as_str)),
    }
}
