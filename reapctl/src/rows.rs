//! Sessions in a file: JSON, as the AWS CLI or Python's `json.dumps(…, default=str)` prints it.

use std::sync::Arc;

use anyhow::bail;
use jiff::{SignedDuration, Timestamp, Unit};
use reaper_core::{printable::mend_halves, session::Record};
use serde::{Deserialize, Deserializer, de::Error};
use serde_json::Value;

use crate::file::File;

/// The sessions of a file.
pub(crate) struct Rows {
    pub(crate) records: Vec<Record>,
    /// Whether there may be more: it names a next page, or is an array of sessions, as `--query Sessions`
    /// prints it.
    pub(crate) is_incomplete: bool,
}

impl Rows {
    /// Reads a page, an array of sessions, or one session.
    ///
    /// # Errors
    /// If the file holds no session.
    pub(crate) fn read(file: &File) -> anyhow::Result<Self> {
        let mut text = file.text.clone().into_bytes();
        mend_halves(&mut text); // The AWS CLI prints what AWS sent.
        let json: Value = serde_json::from_slice(&text).map_err(|err| file.invalid(&err))?;
        let rows = if json.get("Sessions").is_some() {
            serde_json::from_slice::<Page>(&text).map(|it| it.sessions)
        } else if json.is_array() {
            serde_json::from_slice(&text)
        } else {
            serde_json::from_slice(&text).map(|it| vec![it])
        };
        let rows: Vec<Row> = rows.map_err(|err| file.invalid(&err))?;
        if !json.is_array() && json.get("Sessions").or(json.get("SessionId")).is_none() {
            bail!(file.invalid(&"it has neither `Sessions` nor a `SessionId`"));
        }
        let is_incomplete =
            json.get("Sessions").is_none() || json.get("NextToken").is_some_and(|it| !it.is_null());
        Ok(Self { records: rows.into_iter().map(Record::from).collect(), is_incomplete })
    }
}

/// One row of `DescribeSessions`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Row {
    session_id: Option<Arc<str>>,
    owner: Option<Arc<str>>,
    target: Option<Arc<str>>,
    #[serde(default, deserialize_with = "instant")]
    start_date: Option<Timestamp>,
    #[serde(default, deserialize_with = "instant")]
    end_date: Option<Timestamp>,
    status: Option<Arc<str>>,
    document_name: Option<Arc<str>>,
    reason: Option<Arc<str>>,
    access_type: Option<Arc<str>>,
}

/// Seconds since 1970, as AWS CLI 1 writes them, or a date with its offset, as AWS CLI 2 and Python's
/// `str(datetime)` write it.
fn instant<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let instant = match Value::deserialize(deserializer)? {
        Value::Null => return Ok(None),
        Value::Number(seconds) => seconds.as_f64().and_then(from_seconds),
        Value::String(date) => date.parse().ok(),
        Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    let wrong = "a date is neither seconds since 1970, such as `1550676938.352`, nor a date with an \
                 offset, such as `2019-02-20 15:22:18.352000+00:00`";
    instant.map(Some).ok_or_else(|| D::Error::custom(wrong))
}

/// To the microsecond: binary fractions do not hold most decimal ones.
fn from_seconds(seconds: f64) -> Option<Timestamp> {
    let since = SignedDuration::try_from_secs_f64(seconds).ok()?;
    Timestamp::from_duration(since).ok()?.round(Unit::Microsecond).ok()
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Page {
    sessions: Vec<Row>,
}

impl From<Row> for Record {
    fn from(row: Row) -> Self {
        let given = |it: Option<Arc<str>>| it.filter(|it| !it.is_empty());
        Self {
            id: given(row.session_id),
            owner: given(row.owner),
            target: given(row.target),
            started_at: row.start_date,
            ended_at: row.end_date,
            status: given(row.status),
            document: given(row.document_name),
            reason: given(row.reason),
            access_type: given(row.access_type),
        }
    }
}
