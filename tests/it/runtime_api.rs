//! A small Runtime API of Lambda's, and the real binary under it.

use std::{
    collections::{BTreeSet, VecDeque},
    process::Stdio,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use http::{Request, Response, StatusCode};
use reaper_core::report::Mode;
use serde_json::Value;
use session_manager_emulator::{Call, Emulator, Reset, serve};
use tokio::{
    io::AsyncReadExt,
    process::Command,
    sync::Notify,
    time::{sleep, timeout},
};

use crate::{
    role::assert_allowed,
    stage::{assert_only_violators, assert_they_add_up, listen},
};

/// How the function starts, and what it is invoked with.
#[derive(Clone)]
pub(crate) struct Invocations<'a> {
    /// Variables besides those that Lambda sets.
    pub(crate) environment: Vec<(&'a str, &'a str)>,
    pub(crate) events: Vec<Value>,
    /// From the start of each invocation to its deadline.
    pub(crate) deadline: Duration,
}

/// What the function answered and wrote.
pub(crate) struct Ran {
    /// The reply to each event, or the error.
    pub(crate) replies: Vec<Result<Value, Value>>,
    pub(crate) stdout: String,
    /// The most memory that it held.
    pub(crate) peak_kib: usize,
}

impl Ran {
    /// The log lines, and the metrics among them, as JSON.
    #[track_caller]
    pub(crate) fn lines(&self) -> Vec<Value> {
        let parse = |it: &str| serde_json::from_str(it).unwrap_or_else(|err| panic!("{err}: {it}"));
        self.stdout.lines().map(parse).collect()
    }

    #[track_caller]
    pub(crate) fn lines_with(&self, message: &str) -> Vec<Value> {
        self.lines().into_iter().filter(|it| it["message"] == message).collect()
    }
}

#[derive(Default)]
struct State {
    events: VecDeque<Value>,
    replies: Vec<Result<Value, Value>>,
}

/// Starts the binary, invokes it with each event in turn, and ends it.
pub(crate) async fn invoke(emulator: &Emulator, invocations: Invocations<'_>) -> Ran {
    let n_events = invocations.events.len();
    let state = State { events: invocations.events.into(), ..State::default() };
    let state = Arc::new(Mutex::new(state));
    let is_done = Arc::new(Notify::new());
    let (listener, runtime_url) = listen().await;
    let api = {
        let (state, is_done) = (state.clone(), is_done.clone());
        tower::service_fn(move |request| {
            answer(state.clone(), is_done.clone(), n_events, invocations.deadline, request)
        })
    };
    tokio::spawn(serve(listener, api));
    let (listener, emulator_url) = listen().await;
    tokio::spawn(serve(listener, emulator.clone()));

    let n_calls_before = emulator.calls().len();
    let enforces = invocations.environment.contains(&("REAPER_MODE", "enforce"));
    // Continuous integration runs these tests against the release build as well.
    let binary = std::env::var_os("SESSION_REAPER_BINARY");
    let mut child = Command::new(binary.unwrap_or(env!("CARGO_BIN_EXE_session-reaper").into()))
        .env_clear()
        .env("AWS_LAMBDA_RUNTIME_API", runtime_url.trim_start_matches("http://"))
        .env("AWS_LAMBDA_FUNCTION_NAME", "session-reaper")
        .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
        .env("AWS_REGION", "eu-central-1")
        .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .env("AWS_ENDPOINT_URL", emulator_url)
        .env("REAPER_CALLS_PER_SECOND", "1000")
        .envs(invocations.environment)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the binary starts");
    let mut stdout = child.stdout.take().expect("a pipe");
    let reader = tokio::spawn(async move {
        let mut text = String::new();
        stdout.read_to_string(&mut text).await.expect("UTF-8");
        text
    });
    let limit = Duration::from_mins(1);
    timeout(limit, is_done.notified()).await.expect("a reply to every event");
    let peak_kib = peak_kib(child.id().expect("it runs"));
    child.kill().await.expect("the child ends");
    let stdout = reader.await.expect("the output");
    let replies = std::mem::take(&mut state.lock().unwrap().replies);
    assert_allowed(if enforces { Mode::Enforce } else { Mode::DryRun }, emulator);
    let ran = Ran { replies, stdout, peak_kib };
    assert_sound(&ran, &emulator.calls()[n_calls_before..]);
    ran
}

/// After every invocation of every test: the counts add up in the log as in the replies, and only
/// terminations of violators were requested.
#[track_caller]
fn assert_sound(ran: &Ran, calls: &[Call]) {
    // There are none if Lambda's log format is text, or its level warnings.
    let lines = ran.stdout.lines().filter_map(|it| serde_json::from_str::<Value>(it).ok());
    let (mut rows, mut n_finished) = (Vec::new(), 0);
    for line in lines {
        match line["message"].as_str() {
            Some("session evaluated") => rows.push(line),
            Some("sweep finished") => {
                assert_they_add_up(|name| line[name].as_u64());
                n_finished += 1;
            }
            _ => {}
        }
    }
    for reply in ran.replies.iter().flatten() {
        let count =
            |name: &str| reply["verdicts"].get(name).or(reply["outcomes"].get(name))?.as_u64();
        assert_they_add_up(count);
        rows.extend(reply["sessions"].as_array().into_iter().flatten().cloned());
        n_finished += 1;
    }
    let is_violation = |it: &&Value| it["verdict"] == "violation";
    let ids = rows.iter().filter(is_violation).filter_map(|it| it["session_id"].as_str());
    let violators: BTreeSet<_> = ids.map(str::to_owned).collect();
    assert_only_violators(calls, &violators);
    assert!(0 < n_finished || violators.is_empty(), "what was evaluated is counted");
}

/// As Linux tells it.
fn peak_kib(process: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("Linux");
    let peak = status.lines().find_map(|it| it.strip_prefix("VmHWM:")).expect("a peak");
    peak.trim().trim_end_matches(" kB").parse().expect("a number")
}

async fn answer(
    state: Arc<Mutex<State>>,
    is_done: Arc<Notify>,
    n_events: usize,
    deadline: Duration,
    request: Request<bytes::Bytes>,
) -> Result<Response<bytes::Bytes>, Reset> {
    let path = request.uri().path().trim_start_matches("/2018-06-01/runtime/").to_owned();
    if path == "invocation/next" {
        let next = state.lock().unwrap().events.pop_front();
        let Some(event) = next else {
            is_done.notify_one();
            sleep(Duration::MAX).await; // A frozen function waits for its next event.
            return Err(Reset);
        };
        let number = n_events - state.lock().unwrap().events.len();
        #[expect(clippy::disallowed_methods, reason = "the header is in wall-clock time")]
        let deadline = SystemTime::now() + deadline;
        let deadline = deadline.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
        let arn = "arn:aws:lambda:eu-central-1:123456789012:function:session-reaper";
        let response = Response::builder()
            .header("lambda-runtime-aws-request-id", format!("request-{number}"))
            .header("lambda-runtime-deadline-ms", deadline.as_millis().to_string())
            .header("lambda-runtime-invoked-function-arn", arn)
            .header(
                "lambda-runtime-trace-id",
                "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1",
            )
            .body(event.to_string().into());
        return Ok(response.expect("valid headers"));
    }
    let body = serde_json::from_slice(request.body()).expect("a reply in JSON");
    let reply = if path.ends_with("/response") { Ok(body) } else { Err(body) };
    state.lock().unwrap().replies.push(reply);
    let mut response = Response::new(bytes::Bytes::from("{}"));
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}
