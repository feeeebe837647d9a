//! Log lines and metrics on standard output: one flat JSON object per line, with the keys of Powertools
//! for AWS Lambda.

use std::{fmt, io::Write};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span,
};
use tracing_subscriber::{
    Layer,
    filter::Targets,
    fmt::MakeWriter,
    layer::Context,
    layer::SubscriberExt,
    registry::{LookupSpan, Scope},
    util::SubscriberInitExt,
};

use reaper_core::printable::printable_json;

/// The field whose value is a JSON object in text form. Its members are written in place of the field.
const FIELDS: &str = "fields";

/// The prefix of the targets of this crate's events and spans.
const OURS: &str = "session_reaper";

/// How to log.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// Whether lines are JSON; otherwise text.
    pub is_json: bool,
    /// The least severe level.
    pub level: LevelFilter,
    /// Fields of every JSON line: `service` and `function_name`.
    pub common: Map<String, Value>,
}

/// Starts logging to standard output. Lines of other crates appear from `WARN` on.
pub fn init(settings: LogSettings) {
    init_to(settings, std::io::stdout);
}

/// Starts logging to another writer.
pub fn init_to<W>(settings: LogSettings, writer: W)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let LogSettings { is_json, level, common: fields } = settings;
    let others = level.min(LevelFilter::WARN);
    let targets = Targets::new().with_default(others).with_target(OURS, level);
    let registry = tracing_subscriber::registry().with(targets);
    if is_json {
        let mut common = Members::default();
        fields.iter().for_each(|(name, value)| common.insert(name, value));
        registry.with(JsonLines { writer, common }).init();
    } else {
        registry.with(tracing_subscriber::fmt::layer().with_ansi(false).with_writer(writer)).init();
    }
}

/// Writes metrics, which are lines of the embedded metric format.
///
/// # Errors
/// If standard output cannot be written to.
pub fn write_metrics(lines: &[String]) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    for line in lines {
        writeln!(stdout, "{line}")?;
    }
    Ok(())
}

/// The fields of a log line as JSON, the value of the field `fields`.
pub fn fields(fields: &impl Serialize) -> String {
    serde_json::to_string(fields).unwrap_or_default()
}

/// Writes one JSON object per line, with the fields of this crate's spans around the event.
///
/// Lambda reads `level` and an RFC 3339 `timestamp`. Without them it takes every line for INFO.
struct JsonLines<W> {
    writer: W,
    common: Members,
}

impl<S, W> Layer<S> for JsonLines<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + 'static,
{
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, ctx: Context<'_, S>) {
        if let Some(span) = ctx.span(id) {
            let mut members = Members::default();
            attributes.record(&mut members);
            span.extensions_mut().insert(members);
        }
    }

    fn on_event(&self, event: &Event<'_>, ctx: Context<'_, S>) {
        let is_ours = |it: &Metadata<'_>| it.target().starts_with(OURS);
        let metadata = event.metadata();
        #[expect(clippy::disallowed_methods, reason = "a log line has its own time")]
        let now = Timestamp::now();
        let mut members = Members { takes_facts: is_ours(metadata), ..Members::default() };
        members.insert("level", &metadata.level().as_str());
        members.insert("timestamp", &format_args!("{now:.3}"));
        members.text += &self.common.text;
        let spans = ctx.event_scope(event).into_iter().flat_map(Scope::from_root);
        for span in spans.filter(|it| is_ours(it.metadata())) {
            if let Some(of_span) = span.extensions().get::<Members>() {
                members.text += &of_span.text;
            }
        }
        event.record(&mut members);
        let text = members.text.strip_prefix(',').unwrap_or_default();
        // If standard output is closed, the error cannot be reported anywhere.
        let line = printable_json(format!("{{{text}}}\n"));
        let _ = self.writer.make_writer_for(metadata).write_all(line.as_bytes());
    }
}

/// The members of a JSON object, each after a comma. Each value is serialized once, because the log is
/// most of the cost of a sweep, apart from its calls.
#[derive(Default)]
struct Members {
    text: String,
    takes_facts: bool,
}

impl Members {
    fn insert(&mut self, name: &str, value: &(impl Serialize + ?Sized)) {
        if let (Ok(name), Ok(value)) = (serde_json::to_string(name), serde_json::to_string(value)) {
            self.text.extend([",", &name, ":", &value]);
        }
    }
}

impl Visit for Members {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field.name(), &value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.insert(field.name(), &format_args!("{value:?}"));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field.name(), &value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field.name(), &value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let is_facts = self.takes_facts && field.name() == FIELDS;
        match value.strip_prefix('{').and_then(|it| it.strip_suffix('}')) {
            Some(fields) if is_facts && fields.starts_with('"') => self.text.extend([",", fields]),
            _ => self.insert(field.name(), value),
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field.name(), &value);
    }
}
