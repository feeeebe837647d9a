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
    event::{CompliantLines, Event, Severity},
    printable::{printable, printable_json},
    target::Scope,
};

/// How to log.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// Whether lines are JSON; otherwise text.
    pub is_json: bool,
    /// The least severe lines. Those of other crates appear from warnings on.
    pub least: Severity,
    /// Which decisions on compliant sessions have lines. They are counted in any case.
    pub compliant: CompliantLines,
    /// Fields of every line: `service` and `function_name`.
    pub common: Map<String, Value>,
}

/// Writes log lines. Clones share the writer and the context.
#[derive(Clone)]
pub struct Log {
    shared: Arc<Shared>,
    /// Fields of this log's lines alone: the account and Region.
    own: Arc<Map<String, Value>>,
}

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
    #[serde(flatten)]
    own: &'a Map<String, Value>,
    message: &'a str,
    #[serde(flatten)]
    fields: &'a F,
}

/// The fields of a line of text.
#[derive(Serialize)]
struct Fielded<'a, F> {
    #[serde(flatten)]
    own: &'a Map<String, Value>,
    #[serde(flatten)]
    fields: &'a F,
}

impl Log {
    /// Logs to this writer.
    #[must_use]
    pub fn new(settings: LogSettings, writer: impl Write + Send + 'static) -> Self {
        let state = State { context: Map::new(), writer: Box::new(writer) };
        let shared = Arc::new(Shared { settings, state: Mutex::new(state) });
        Self { shared, own: Arc::default() }
    }

    /// The same log, whose lines say which account and Region they are about.
    #[must_use]
    pub fn at(&self, scope: &Scope) -> Self {
        let mut own = Map::new();
        own.insert("account".into(), scope.account.as_str().into());
        own.insert("region".into(), scope.region.as_str().into());
        Self { shared: Arc::clone(&self.shared), own: Arc::new(own) }
    }

    /// Writes the warnings and errors of other crates as well.
    #[must_use]
    pub fn with_other_crates(self) -> Self {
        let is_error_alone = self.shared.settings.least == Severity::Error;
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
        let LogSettings { least, compliant, .. } = self.shared.settings;
        let is_left_out = matches!(event, Event::Decided(row) if !compliant.has(row));
        if event.severity() <= least && !is_left_out {
            self.line(event.severity(), event.message(), event);
        }
    }

    fn line(&self, severity: Severity, message: &str, fields: &impl Serialize) {
        #[expect(clippy::disallowed_methods, reason = "a log line has its own time")]
        let timestamp = format!("{:.3}", Timestamp::now());
        let level = severity.level();
        let LogSettings { is_json, common, .. } = &self.shared.settings;
        let mut state = self.state();
        let State { context, writer } = &mut *state;
        let own = &*self.own;
        let line = Line { level, timestamp: &timestamp, common, context, own, message, fields };
        let line = if *is_json {
            printable_json(json(&line))
        } else {
            let fields = printable_json(json(&Fielded { own, fields }));
            format!("{timestamp} {level:>5} {} {fields}", printable(message))
        };
        // If standard output is closed, the error cannot be reported anywhere.
        let _ = writer.write_all(line.as_bytes());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
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
        f.debug_tuple("Log").field(&self.shared.settings).finish()
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
