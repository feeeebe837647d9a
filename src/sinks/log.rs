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
use serde_json::{Map, Value, json};
use tracing::{
    Level, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
};
use tracing_subscriber::{Layer, layer::Context, layer::SubscriberExt, util::SubscriberInitExt};

use reaper_core::{
    event::{CompliantLines, Event, Severity},
    printable::{printable, printable_json},
    report::Row,
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
    own: Arc<Members>,
}

struct Shared {
    settings: LogSettings,
    common: Members,
    state: Mutex<State>,
}

struct State {
    /// Fields of every line for the time being, such as the invocation's id.
    context: Members,
    /// Lines that are still to be written.
    lines: Vec<u8>,
    time: Time,
    writer: Box<dyn Write + Send>,
}

/// Fields that many lines have, written once: as they stand in an object, with a comma after each.
#[derive(Default)]
struct Members(String);

/// The time of a line. Many lines have the same.
#[derive(Default)]
struct Time {
    millisecond: i64,
    text: String,
}

impl Time {
    /// RFC 3339.
    fn text_of(&mut self, now: Timestamp) -> &str {
        if self.text.is_empty() || self.millisecond != now.as_millisecond() {
            *self = Self { millisecond: now.as_millisecond(), text: format!("{now:.3}") };
        }
        &self.text
    }
}

/// So many bytes of lines are written at a time.
const MAX_LINES: usize = 1 << 15;

impl From<&Map<String, Value>> for Members {
    fn from(fields: &Map<String, Value>) -> Self {
        let members = fields.iter().map(|(name, value)| format!("{}:{value},", json!(name)));
        Self(members.collect())
    }
}

impl Log {
    /// Logs to this writer.
    #[must_use]
    pub fn new(settings: LogSettings, writer: impl Write + Send + 'static) -> Self {
        let common = Members::from(&settings.common);
        let writer = Box::new(writer);
        let state =
            State { context: Members::default(), lines: Vec::new(), time: Time::default(), writer };
        let shared = Arc::new(Shared { settings, common, state: Mutex::new(state) });
        Self { shared, own: Arc::default() }
    }

    /// The same log, whose lines say which account and Region they are about.
    #[must_use]
    pub fn at(&self, scope: &Scope) -> Self {
        let mut own = Map::new();
        own.insert("account".into(), scope.account.as_str().into());
        own.insert("region".into(), scope.region.as_str().into());
        Self { shared: Arc::clone(&self.shared), own: Arc::new(Members::from(&own)) }
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
    pub fn set_context(&self, context: &Map<String, Value>) {
        self.state().context = Members::from(context);
    }

    /// Writes an event, if its level is not below the least severe.
    pub fn write(&self, event: &Event<'_>) {
        let mut state = self.state();
        self.add(&mut state, event);
        state.write();
    }

    /// Writes what is told of each of these sessions: many lines at a time.
    pub fn write_rows(&self, rows: impl Iterator<Item = Row>, event: fn(&Row) -> Event<'_>) {
        let mut state = self.state();
        for row in rows {
            self.add(&mut state, &event(&row));
            if MAX_LINES <= state.lines.len() {
                state.write();
            }
        }
        state.write();
    }

    fn add(&self, state: &mut State, event: &Event<'_>) {
        let LogSettings { least, compliant, .. } = self.shared.settings;
        let is_left_out = matches!(event, Event::Decided(row) if !compliant.has(row));
        if event.severity() <= least && !is_left_out {
            self.add_line(state, event.severity(), event.message(), event);
        }
    }

    fn add_line(
        &self,
        State { context, lines, time, .. }: &mut State,
        severity: Severity,
        message: &str,
        fields: &impl Serialize,
    ) {
        #[expect(clippy::disallowed_methods, reason = "a log line has its own time")]
        let timestamp = time.text_of(Timestamp::now());
        let level = severity.level();
        let Shared { settings, common, .. } = &*self.shared;
        let begin = lines.len();
        let is_added = if settings.is_json {
            let message = json!(message).to_string();
            // Lambda reads `level` and `timestamp`; without them it takes every line for INFO.
            let first = [r#""level":""#, level, r#"","timestamp":""#, timestamp, r#"","#];
            let last = [r#""message":"#, &message, ","];
            let shared = [&*common.0, &context.0, &self.own.0];
            add_object(lines, first.into_iter().chain(shared).chain(last), fields)
        } else {
            let message = printable(message);
            lines.extend(format!("{timestamp} {level:>5} {message} ").into_bytes());
            add_object(lines, [&*self.own.0].into_iter(), fields)
        };
        if !is_added {
            lines.truncate(begin);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn write(&mut self) {
        // If standard output is closed, the error cannot be reported anywhere.
        let _ = self.writer.write_all(&self.lines);
        self.lines.clear();
    }
}

/// Adds an object with these members, each with its comma, and these fields, and the end of the line. Returns
/// whether all could be written.
fn add_object<'a>(
    lines: &mut Vec<u8>,
    members: impl Iterator<Item = &'a str>,
    fields: &impl Serialize,
) -> bool {
    let begin = lines.len();
    lines.push(b'{');
    members.for_each(|it| lines.extend_from_slice(it.as_bytes()));
    let brace = lines.len();
    if serde_json::to_writer(&mut *lines, fields).is_err() {
        return false;
    }
    lines.remove(brace);
    if lines.ends_with(b",}") {
        lines.truncate(lines.len() - 2); // There are no fields.
        lines.push(b'}');
    }
    let Ok(object) = String::from_utf8(lines.split_off(begin)) else { return false };
    lines.extend(printable_json(object).into_bytes());
    lines.push(b'\n');
    true
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
        let mut state = self.0.state();
        self.0.add_line(&mut state, severity, &fields.message, &fields.others);
        state.write();
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What is written, write by write.
    #[derive(Clone, Default)]
    struct Writes(Arc<Mutex<Vec<Vec<u8>>>>);

    impl Write for Writes {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("no panic").push(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn log(common: &Value) -> (Log, Writes) {
        let writes = Writes::default();
        let settings = LogSettings {
            is_json: true,
            least: Severity::Info,
            compliant: CompliantLines::All,
            common: common.as_object().cloned().expect("an object"),
        };
        (Log::new(settings, writes.clone()), writes)
    }

    /// Many lines are written at a time, each of them whole, and all before the call returns.
    #[test]
    fn rows_are_written_together() {
        let (log, writes) = log(&json!({ "service": "s" }));
        let row = |n: usize| Row { session_id: Some(format!("s-{n}").into()), ..Row::default() };
        log.write_rows((0..1_000).map(row), |row| Event::Decided(row));
        let writes = writes.0.lock().expect("no panic");
        assert!((2..20).contains(&writes.len()), "{}", writes.len());
        assert!(writes.iter().all(|it| it.ends_with(b"}\n")));
        let text = String::from_utf8(writes.concat()).expect("UTF-8");
        for (n, line) in text.lines().enumerate() {
            let line: Value = serde_json::from_str(line).expect(line);
            assert_eq!(line["session_id"], format!("s-{n}"));
            assert_eq!(
                (&line["service"], &line["verdict"]),
                (&json!("s"), &json!("not_evaluated"))
            );
        }
        assert_eq!(text.lines().count(), 1_000);
    }

    /// A line without fields of its own is an object as well, and so is one without common fields.
    #[test]
    fn fields() {
        for common in [json!({}), json!({ "a \"b\"": [1, "\u{202e}"] })] {
            let (log, writes) = log(&common);
            log.set_context(json!({ "c": true }).as_object().expect("an object"));
            let mut state = log.state();
            log.add_line(&mut state, Severity::Info, "m \"\u{7f}\"", &Map::new());
            state.write();
            let writes = writes.0.lock().expect("no panic");
            let line: Value = serde_json::from_slice(&writes.concat()).expect("an object");
            let mut expected = json!({ "level": "INFO", "c": true, "message": "m \"\u{7f}\"" });
            let all = expected.as_object_mut().expect("an object");
            all.insert("timestamp".into(), line["timestamp"].clone());
            all.extend(common.as_object().cloned().expect("an object"));
            assert_eq!(line, expected);
            assert!(writes.concat().is_ascii());
        }
    }
}
