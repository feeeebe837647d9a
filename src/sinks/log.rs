//! Log lines: one flat JSON object per line, with the keys of Powertools for AWS Lambda.
//!
//! This program's lines are the events of a sweep. Those of other crates come through `tracing`.

use std::{
    fmt,
    io::Write,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};
use tracing::{
    Level, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
};
use tracing_subscriber::{Layer, layer::Context, layer::SubscriberExt, util::SubscriberInitExt};

use reaper_core::{
    event::{Event, Severity},
    printable::{printable, printable_json},
};

/// How to log.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// Whether lines are JSON; otherwise text.
    pub is_json: bool,
    /// The least severe lines. Those of other crates appear from warnings on.
    pub least: Severity,
    /// Fields of every line: `service` and `function_name`.
    pub common: Map<String, Value>,
}

/// Writes log lines. Clones share the writer and the context.
#[derive(Clone)]
pub struct Log(Arc<Shared>);

struct Shared {
    settings: LogSettings,
    state: Mutex<State>,
}

struct State {
    /// Fields of every line for the time being, such as the invocation's id.
    context: Map<String, Value>,
    writer: Box<dyn Write + Send>,
}

/// One line, in the order of its fields.
#[derive(Serialize)]
struct Line<'a, F> {
    level: &'a str,
    /// RFC 3339. Lambda reads it and `level`; without them it takes every line for INFO.
    timestamp: &'a str,
    #[serde(flatten)]
    common: &'a Map<String, Value>,
    #[serde(flatten)]
    context: &'a Map<String, Value>,
    message: &'a str,
    #[serde(flatten)]
    fields: &'a F,
}

impl Log {
    /// Logs to this writer.
    #[must_use]
    pub fn new(settings: LogSettings, writer: impl Write + Send + 'static) -> Self {
        let state = State { context: Map::new(), writer: Box::new(writer) };
        Self(Arc::new(Shared { settings, state: Mutex::new(state) }))
    }

    /// Writes the warnings and errors of other crates as well.
    #[must_use]
    pub fn with_other_crates(self) -> Self {
        let is_error_alone = self.0.settings.least == Severity::Error;
        let least = if is_error_alone { LevelFilter::ERROR } else { LevelFilter::WARN };
        tracing_subscriber::registry().with(least).with(OtherCrates(self.clone())).init();
        self
    }

    /// Sets fields of every line from now on, in place of those that were set before.
    pub fn set_context(&self, context: Map<String, Value>) {
        self.state().context = context;
    }

    /// Writes an event, if its level is not below the least severe.
    pub fn write(&self, event: &Event<'_>) {
        if event.severity() <= self.0.settings.least {
            self.line(event.severity(), event.message(), event);
        }
    }

    fn line(&self, severity: Severity, message: &str, fields: &impl Serialize) {
        #[expect(clippy::disallowed_methods, reason = "a log line has its own time")]
        let timestamp = format!("{:.3}", Timestamp::now());
        let level = severity.level();
        let LogSettings { is_json, common, .. } = &self.0.settings;
        let mut state = self.state();
        let State { context, writer } = &mut *state;
        let line = Line { level, timestamp: &timestamp, common, context, message, fields };
        let line = if *is_json {
            printable_json(json(&line))
        } else {
            let fields = printable_json(json(fields));
            format!("{timestamp} {level:>5} {} {fields}", printable(message))
        };
        // If standard output is closed, the error cannot be reported anywhere.
        let _ = writer.write_all(line.as_bytes());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A line with its end. Most lines are shorter than this, so that their text is not moved while it grows.
fn json(line: &impl Serialize) -> String {
    let mut bytes = Vec::with_capacity(1_024);
    let is_written = serde_json::to_writer(&mut bytes, line).is_ok();
    bytes.push(b'\n');
    String::from_utf8(bytes).ok().filter(|_| is_written).unwrap_or_default()
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Log").field(&self.0.settings).finish()
    }
}

/// The lines of other crates.
struct OtherCrates(Log);

impl<S: Subscriber> Layer<S> for OtherCrates {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let is_error = *event.metadata().level() == Level::ERROR;
        let severity = if is_error { Severity::Error } else { Severity::Warning };
        self.0.line(severity, &fields.message, &fields.others);
    }
}

/// The fields of a line of another crate.
#[derive(Default)]
struct Fields {
    message: String,
    others: Map<String, Value>,
}

impl Fields {
    fn insert(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            (name, value) => drop(self.others.insert(name.into(), value)),
        }
    }
}

impl Visit for Fields {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.insert(field, format!("{value:?}").into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.insert(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, value.into());
    }
}
