//! A page of sessions in JSON, as the core has it: read where it stands, without a copy of its texts.

use std::{borrow::Cow, fmt};

use jiff::{SignedDuration, Timestamp, Unit};
use serde::{Deserialize, Deserializer, de};

use reaper_core::session::{Interner, Record};

/// An answer of `DescribeSessions`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Sessions<'a> {
    #[serde(borrow)]
    pub(super) sessions: Option<Vec<Row<'a>>>,
    pub(super) next_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Row<'a> {
    #[serde(borrow)]
    session_id: Option<Text<'a>>,
    owner: Option<Text<'a>>,
    target: Option<Text<'a>>,
    start_date: Option<f64>,
    end_date: Option<f64>,
    status: Option<Text<'a>>,
    document_name: Option<Text<'a>>,
    reason: Option<Text<'a>>,
    access_type: Option<Text<'a>>,
}

/// A text, which is copied only if it has escapes: serde copies what stands in an `Option<Cow<str>>`.
#[derive(Debug)]
pub(super) struct Text<'a>(pub(super) Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> de::Visitor<'de> for TextVisitor {
    type Value = Text<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Text(Cow::Owned(text.to_owned())))
    }
}

impl Row<'_> {
    /// A field that is empty counts as absent.
    pub(super) fn record(&self, common: &mut Interner) -> Record {
        let Self { session_id, owner, target, start_date, end_date, .. } = self;
        let Self { status, document_name, reason, access_type, .. } = self;
        let own = |text: &Option<Text<'_>>| full(text.as_ref()).map(Into::into);
        let mut shared = |text: &Option<Text<'_>>| Some(common.share(full(text.as_ref())?));
        Record {
            id: own(session_id),
            owner: shared(owner),
            target: own(target),
            started_at: start_date.and_then(instant),
            ended_at: end_date.and_then(instant),
            status: shared(status),
            document: shared(document_name),
            reason: own(reason),
            access_type: shared(access_type),
        }
    }
}

fn full<'a>(text: Option<&'a Text<'_>>) -> Option<&'a str> {
    text.map(|it| &*it.0).filter(|it| !it.is_empty())
}

/// AWS returns milliseconds since 1970, in seconds with a fraction that is not exact.
fn instant(seconds: f64) -> Option<Timestamp> {
    let since = SignedDuration::try_from_secs_f64(seconds).ok()?;
    Timestamp::from_duration(since).ok()?.round(Unit::Millisecond).ok()
}
