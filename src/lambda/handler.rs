//! Event in, report out: the one place that knows Lambda and the clock.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use aws_config::BehaviorVersion;
use jiff::Timestamp;
use lambda_runtime::{Diagnostic, LambdaEvent};
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::time::Instant;

use crate::{
    Budget,
    aws::{Bucket, Connect, EventBus, Ssm, one_connector},
    lambda::config::{Config, ConfigErrors, Variables},
    lambda::request::{EventError, Request},
    organization::{self, Hub, HubConfig, HubError, SweepSettings},
    sinks::{Sinks, events::Events, evidence::Evidence, log::Log, metrics::Metrics},
    sweep::clock::ClockError,
    sweep::source::PolicyUnusable,
    sweep::{SweepContext, SweepError, SweepResult, sweep},
};
use reaper_core::{
    event::Event,
    evidence::Invocation,
    report::{Failure, Report},
    target::Scope,
};

/// What is kept from one invocation to the next.
#[derive(Debug)]
pub struct App {
    config: Config,
    connect: Connect,
    ssm: Ssm,
    /// The function's version.
    version: String,
    is_warm: AtomicBool,
}

/// Why an invocation has failed as a whole.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The clock is wrong: no session was terminated.
    #[error(transparent)]
    Clock(#[from] ClockError),
    /// The environment is not valid: no session was terminated.
    #[error("the function's configuration is not valid: {0}")]
    Config(ConfigErrors),
    /// The event starts no sweep: no session was terminated.
    #[error(transparent)]
    Event(#[from] EventError),
    /// A step of a run has failed.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// The ARN of the function does not say where it is.
    #[error(
        "the function's ARN names no account and Region, which the hub of an organization needs"
    )]
    NoScope,
    /// The sweep did what it could.
    #[error(transparent)]
    Failure(#[from] Failure),
    /// There is no policy to evaluate by: no session was terminated.
    #[error(transparent)]
    Policy(#[from] PolicyUnusable),
}

impl RunError {
    /// The `errorType` of the invocation's error.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Clock(ClockError::Skewed { .. }) => "ClockSkewed",
            Self::Clock(ClockError::Unknown) => "ClockUnknown",
            Self::Config(_) | Self::NoScope => "ConfigInvalid",
            Self::Event(_) => "EventInvalid",
            Self::Hub(err) => err.name(),
            Self::Failure(Failure::AllDenied { .. }) => "AllDenied",
            Self::Failure(Failure::ListingIncomplete { .. }) => "ListingIncomplete",
            Self::Policy(_) => "PolicyUnusable",
        }
    }
}

impl From<SweepError> for RunError {
    fn from(err: SweepError) -> Self {
        match err {
            SweepError::Clock(err) => Self::Clock(err),
            SweepError::Policy(err) => Self::Policy(err),
        }
    }
}

impl From<RunError> for Diagnostic {
    fn from(err: RunError) -> Self {
        Self { error_type: err.name().into(), error_message: err.to_string() }
    }
}

impl App {
    /// Reads the configuration and builds the clients, so that the first sweep need not.
    ///
    /// # Errors
    /// If the configuration is not valid.
    pub async fn new(variables: &Variables) -> Result<Self, ConfigErrors> {
        let config = Config::from_variables(variables)?;
        let loader = aws_config::defaults(BehaviorVersion::latest());
        let connect = Connect::load(loader, one_connector()).await;
        let ssm = connect.ssm(config.calls_per_second);
        let version = variables.get("AWS_LAMBDA_FUNCTION_VERSION").cloned().unwrap_or_default();
        Ok(Self { config, connect, ssm, version, is_warm: AtomicBool::new(false) })
    }

    fn hub(&self, hub: &HubConfig, scope: Scope) -> Hub {
        let Self { config, connect, .. } = self;
        let sweeps = SweepSettings {
            mode: config.mode,
            policy: config.policy.clone(),
            calls_per_second: config.calls_per_second,
            concurrency: config.concurrency,
            memory: config.memory,
        };
        Hub::new(hub.clone(), sweeps, scope.partition, connect.clone())
    }
}

/// What an invocation returns.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Reply {
    /// Of a step of a run.
    Step(organization::Reply),
    /// Of a sweep.
    Sweep(Box<Report>),
}

/// Runs one sweep, or one step of a run, for one event. A configuration that is not valid fails every invocation.
///
/// # Errors
/// Only if the run as a whole has failed: a single session's failure is an outcome in the report.
/// Log lines and metrics have been written by then.
pub async fn handle(
    app: &Result<App, ConfigErrors>,
    log: &Log,
    event: LambdaEvent<Value>,
) -> Result<Reply, RunError> {
    let context = &event.context;
    let is_warm = app.as_ref().is_ok_and(|it| it.is_warm.swap(true, Ordering::Relaxed));
    let mut fields = Map::new();
    fields.insert("function_request_id".into(), context.request_id.as_str().into());
    fields.insert("cold_start".into(), (!is_warm).into());
    if let Some(id) = context.xray_trace_id.as_deref().and_then(trace_id) {
        fields.insert("xray_trace_id".into(), id.into());
    }
    log.set_context(&fields);
    let scope = Scope::from_arn(&context.invoked_function_arn);
    let is_hub = app.as_ref().is_ok_and(|it| it.config.hub.is_some());
    let log = &match scope.as_ref().filter(|_| !is_hub) {
        Some(scope) => log.at(scope),
        None => log.clone(),
    };
    let result = run(app, log, scope, event).await;
    if let Err(err) = &result {
        log.write(&Event::Failed { error: &err.to_string(), error_type: err.name() });
    }
    log.set_context(&Map::new());
    result
}

async fn run(
    app: &Result<App, ConfigErrors>,
    log: &Log,
    scope: Option<Scope>,
    LambdaEvent { payload, context }: LambdaEvent<Value>,
) -> Result<Reply, RunError> {
    let app = app.as_ref().map_err(|it| RunError::Config(it.clone()))?;
    let App { config, ssm, .. } = app;
    let request = Request::read(&payload)?;
    let deadline = Instant::now() + remaining(context.deadline());
    // What is left of the margin when the last call has ended is for the report.
    let budget = Budget::until(deadline, config.deadline_margin);
    let events = config.event_bus.as_ref().map(|name| {
        let bus = EventBus::new(&app.connect, name);
        Events { bus, period: config.period, is_of_run: false }
    });
    let evidence = config.evidence.as_ref().map(|(bucket, demand)| {
        let (version, request_id) = (app.version.clone(), context.request_id.clone());
        Evidence {
            bucket: Arc::new(Bucket::new(&app.connect, bucket)),
            demand: *demand,
            invocation: Invocation { request_id, version, run: None },
        }
    });
    let (log, metrics) = (Some(log.clone()), Some(Metrics { deadline }));
    let sinks = Sinks { log, metrics, events, evidence };
    if let Some(hub) = &config.hub {
        let step = request.step(config.mode)?;
        let hub = app.hub(hub, scope.ok_or(RunError::NoScope)?);
        return Ok(Reply::Step(Box::pin(hub.carry_out(step, &sinks, &now, budget)).await?));
    }
    let mode = request.mode(config.mode)?;
    let context = SweepContext {
        ssm,
        sinks: &sinks,
        scope: scope.as_ref(),
        policy: &config.policy,
        mode,
        now: now(),
        read_at: Instant::now(),
        budget,
        concurrency: config.concurrency,
        memory: config.memory,
    };
    let SweepResult { report, .. } = Box::pin(sweep(context)).await?;
    match report.failure() {
        Some(failure) => Err(failure.into()),
        None => Ok(Reply::Sweep(Box::new(report))),
    }
}

#[expect(clippy::disallowed_methods, reason = "the clock is read here")]
fn now() -> Timestamp {
    Timestamp::now()
}

/// The id in a tracing header such as `Root=1-…;Parent=…;Sampled=1`.
fn trace_id(header: &str) -> Option<&str> {
    header.split(';').find_map(|it| it.strip_prefix("Root="))
}

/// `cargo lambda watch` sends 600,000 whatever the time: a deadline of 1970 is the time left.
fn remaining(deadline: SystemTime) -> Duration {
    match deadline.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since_1970) if since_1970 < Duration::from_hours(1) => since_1970,
        _ => deadline.duration_since(now().into()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The time is until the deadline, or what `cargo lambda` sends.
    #[test]
    fn remaining_time() {
        let since_1970 = |it| remaining(SystemTime::UNIX_EPOCH + it);
        assert_eq!(since_1970(Duration::from_mins(10)), Duration::from_mins(10));
        assert_eq!(since_1970(Duration::from_hours(24 * 365)), Duration::ZERO, "over for long");
        let left = remaining(SystemTime::from(now()) + Duration::from_mins(5));
        assert!(Duration::from_mins(4) < left && left <= Duration::from_mins(5), "{left:?}");
    }
}
