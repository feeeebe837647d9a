//! Log lines and metrics, on standard output: one JSON object a line, flat, with Powertools' keys.

use std::{fmt, io::Write};

use jiff::Timestamp;
use serde::{Serialize, de::IgnoredAny};
use serde_json::{Map, Value};
use tracing::{
    Event, Subscriber,
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

use crate::printable::printable_json;

/// The field whose text is a JSON object, and whose fields stand in the line instead of it.
const FACTS: &str = "facts";

/// How to log.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// JSON, or text for people.
    pub is_json: bool,
    /// The least severe level.
    pub level: LevelFilter,
    /// `service` and `function_name`: in every JSON line.
    pub common: Map<String, Value>,
}

/// Starts logging to standard output. Lines of other crates appear from `WARN` on.
pub fn init(settings: LogSettings) {
    init_to(settings, std::io::stdout);
}

/// Starts logging to anything else.
pub fn init_to<W>(settings: LogSettings, writer: W)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let others = settings.level.min(LevelFilter::WARN);
    let targets = Targets::new().with_default(others).with_target("session_reaper", settings.level);
    let registry = tracing_subscriber::registry().with(targets);
    if settings.is_json {
        registry.with(JsonLines { writer, common: settings.common }).init();
    } else {
        registry.with(tracing_subscriber::fmt::layer().with_ansi(false).with_writer(writer)).init();
    }
}

/// Writes metrics: lines of the embedded metric format.
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

/// The fields of a log line, as the text of the field `facts`. What is `null` is left out.
pub fn facts(fields: &impl Serialize) -> String {
    let mut fields = serde_json::to_value(fields).unwrap_or_default();
    if let Some(fields) = fields.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    fields.to_string()
}

/// One JSON object a line, with the fields of this crate's spans around the event.
///
/// Lambda reads `level` and an RFC 3339 `timestamp`; without them it would file every line as INFO.
struct JsonLines<W> {
    writer: W,
    common: Map<String, Value>,
}

impl<S, W> Layer<S> for JsonLines<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + 'static,
{
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, ctx: Context<'_, S>) {
        if let Some(span) = ctx.span(id) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().insert(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, ctx: Context<'_, S>) {
        let metadata = event.metadata();
        #[expect(clippy::disallowed_methods, reason = "a log line tells when it was written")]
        let now = Timestamp::now();
        let mut line = Map::new();
        line.insert("level".into(), metadata.level().as_str().into());
        line.insert("timestamp".into(), format!("{now:.3}").into());
        line.extend(self.common.clone());
        let spans = ctx.event_scope(event).into_iter().flat_map(Scope::from_root);
        for span in spans.filter(|it| it.metadata().target().starts_with("session_reaper")) {
            if let Some(fields) = span.extensions().get::<Fields>() {
                line.extend(fields.0.clone());
            }
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        line.extend(fields.0);
        let mut text = Value::Object(line).to_string();
        if let Some(facts) = fields.1 {
            text.truncate(text.len() - 1); // The brace that closes it.
            text.push(',');
            text.push_str(facts.strip_prefix('{').unwrap_or_default());
        }
        // There is nobody to tell that standard output is closed.
        let text = printable_json(text) + "\n";
        let _ = self.writer.make_writer_for(metadata).write_all(text.as_bytes());
    }
}

/// The fields but for the facts, and the facts as they came: reading them only to write them again
/// would be half of what a line costs.
#[derive(Default)]
struct Fields(Map<String, Value>, Option<String>);

impl Fields {
    fn insert(&mut self, field: &Field, value: Value) {
        self.0.insert(field.name().into(), value);
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
        let is_object =
            || value.starts_with("{\"") && serde_json::from_str::<IgnoredAny>(value).is_ok();
        if field.name() == FACTS && is_object() {
            self.1 = Some(value.to_owned());
        } else {
            self.insert(field, value.into());
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, value.into());
    }
}
