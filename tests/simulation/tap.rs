//! Between the SDK and the emulator: writes down what was asked and what was served, and kills.

use std::sync::{Arc, Mutex, MutexGuard};

use aws_smithy_runtime_api::client::{
    http::{
        HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
        SharedHttpConnector,
    },
    orchestrator::HttpRequest,
    runtime_components::RuntimeComponents,
};
use aws_smithy_types::{DateTime, date_time::Format};
use serde_json::Value;
use session_manager_emulator::Emulator;
use tokio::{sync::Notify, time::Instant};

/// One call.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    pub(crate) operation: String,
    pub(crate) request: Value,
    pub(crate) started_at: Instant,
    /// What the caller was given; `None` if it did not wait, or was killed.
    pub(crate) answer: Option<Answer>,
    /// When it was.
    pub(crate) ended_at: Option<Instant>,
    /// When the caller had the answer, or no longer waited.
    pub(crate) over_at: Option<Instant>,
}

/// Writes down when a call is over, however that comes about.
struct Watch {
    tap: Tap,
    index: usize,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.tap.exchanges()[self.index].over_at = Some(Instant::now());
    }
}

#[derive(Clone, Debug, Hash)]
pub(crate) enum Answer {
    Http {
        status: u16,
        /// `None` if it is no JSON.
        body: Option<Value>,
        /// The time that it tells, in seconds since 1970.
        date_s: Option<i64>,
    },
    Reset,
}

/// When a sweep is killed: at its n-th call, before or after this has taken effect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kill {
    pub(crate) at_call: usize,
    pub(crate) after_effect: bool,
}

/// The HTTP client of one process.
#[derive(Clone, Debug)]
pub(crate) struct Tap(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    emulator: SharedHttpClient,
    exchanges: Mutex<Vec<Exchange>>,
    /// With the index of the call in `exchanges`.
    kill: Mutex<Option<Kill>>,
    killed: Notify,
}

#[derive(Debug)]
struct Connector {
    tap: Tap,
    emulator: SharedHttpConnector,
}

impl Tap {
    pub(crate) fn new(emulator: &Emulator) -> Self {
        Self(Arc::new(Shared {
            emulator: emulator.http_client(),
            exchanges: Mutex::default(),
            kill: Mutex::default(),
            killed: Notify::new(),
        }))
    }

    /// All calls so far, in the order in which they started.
    pub(crate) fn exchanges(&self) -> MutexGuard<'_, Vec<Exchange>> {
        self.0.exchanges.lock().unwrap()
    }

    /// Kills the process at one of its next calls, or at none.
    pub(crate) fn arm(&self, kill: Option<Kill>) {
        let n_calls = self.exchanges().len();
        let kill = kill.map(|it| Kill { at_call: n_calls + it.at_call, ..it });
        *self.0.kill.lock().unwrap() = kill;
    }

    /// Ends when the process is killed.
    pub(crate) async fn killed(&self) {
        self.0.killed.notified().await;
    }

    async fn die(&self) {
        self.0.killed.notify_one();
        std::future::pending::<()>().await;
    }
}

impl HttpClient for Tap {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let emulator = self.0.emulator.http_connector(settings, components);
        SharedHttpConnector::new(Connector { tap: self.clone(), emulator })
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (operation, asked) = match request.headers().get("x-amz-target") {
            Some(target) => {
                let body = request.body().bytes().unwrap_or_default();
                let operation = target.rsplit('.').next().unwrap_or_default();
                (operation.to_owned(), serde_json::from_slice(body).unwrap_or_default())
            }
            // S3 names the object in the URL, and nothing else does.
            None => (format!("{} object", request.method()), request.uri().to_string().into()),
        };
        let exchange = Exchange {
            operation,
            request: asked,
            started_at: Instant::now(),
            answer: None,
            ended_at: None,
            over_at: None,
        };
        let tap = self.tap.clone();
        let mut exchanges = tap.exchanges();
        let index = exchanges.len();
        exchanges.push(exchange);
        drop(exchanges);
        let kill = tap.0.kill.lock().unwrap().filter(|it| it.at_call == index);
        let emulator = self.emulator.clone();
        let watch = Watch { tap: tap.clone(), index };
        HttpConnectorFuture::new(async move {
            let _watch = watch;
            if kill.is_some_and(|it| !it.after_effect) {
                tap.die().await;
            }
            let result = emulator.call(request).await;
            if kill.is_some() {
                tap.die().await;
            }
            let answer = match &result {
                Ok(response) => Answer::Http {
                    status: response.status().as_u16(),
                    body: response.body().bytes().and_then(|it| serde_json::from_slice(it).ok()),
                    date_s: response
                        .headers()
                        .get("date")
                        .and_then(|it| Some(DateTime::from_str(it, Format::HttpDate).ok()?.secs())),
                },
                Err(_) => Answer::Reset,
            };
            let mut exchanges = tap.exchanges();
            exchanges[index].answer = Some(answer);
            exchanges[index].ended_at = Some(Instant::now());
            drop(exchanges);
            result
        })
    }
}
