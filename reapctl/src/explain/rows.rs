//! Sessions in a file: JSON, as the AWS CLI prints it.

use std::{fmt, sync::Arc};

use anyhow::bail;
use jiff::Timestamp;
use reaper_core::{printable::mend_halves, session::Record};
use serde::Deserialize;

use crate::file::{File, Invalid};

/// A session, and those that are active beside it.
pub(super) struct Found {
    pub(super) record: Record,
    pub(super) others: Vec<Record>,
    /// Whether there may be more.
    pub(super) is_incomplete: bool,
}

/// The session of a file, or of several the one with this id. A page is taken for the whole listing,
/// unless it names a next one.
///
/// # Errors
/// If the file holds no session, not this one, or several and no id says which.
pub(super) fn from_file(file: &File, id: Option<&str>) -> anyhow::Result<Found> {
    let invalid = |err: &dyn fmt::Display| Invalid(format!("cannot use `{}`: {err}", file.name));
    let mut text = file.text.clone().into_bytes();
    mend_halves(&mut text); // The AWS CLI prints what AWS sent.
    let json: serde_json::Value = serde_json::from_slice(&text).map_err(|err| invalid(&err))?;
    let rows = if json.get("Sessions").is_some() {
        serde_json::from_slice::<Page>(&text).map(|it| it.sessions)
    } else {
        serde_json::from_slice(&text).map(|it| vec![it])
    };
    let rows: Vec<Row> = rows.map_err(|err| invalid(&err))?;
    if json.get("Sessions").or(json.get("SessionId")).is_none() {
        bail!(invalid(&"it has neither `Sessions` nor a `SessionId`"));
    }
    let is_meant = |it: &Row| id.is_none() || it.session_id.as_deref() == id;
    let (mut meant, others): (Vec<Row>, Vec<Row>) = rows.into_iter().partition(is_meant);
    match (meant.pop(), meant.is_empty()) {
        (Some(row), true) => {
            let record = |row| Record::try_from(row).map_err(|err| invalid(&err));
            let others = others.into_iter().map(record).collect::<Result<_, _>>()?;
            let is_incomplete = json.get("Sessions").is_none()
                || json.get("NextToken").is_some_and(|it| !it.is_null());
            Ok(Found { record: record(row)?, others, is_incomplete })
        }
        (None, _) => Err(invalid(&"there is no such session in it").into()),
        (Some(_), false) => {
            Err(invalid(&"there are several sessions in it; say which by SESSION_ID").into())
        }
    }
}

/// One row of `DescribeSessions`, as the AWS CLI prints it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Row {
    session_id: Option<Arc<str>>,
    owner: Option<Arc<str>>,
    target: Option<Arc<str>>,
    start_date: Option<StartDate>,
    status: Option<Arc<str>>,
    document_name: Option<Arc<str>>,
    reason: Option<Arc<str>>,
    access_type: Option<Arc<str>>,
}

/// Seconds since 1970, or ISO 8601.
#[derive(Deserialize)]
#[serde(untagged)]
enum StartDate {
    Seconds(f64),
    Text(Timestamp),
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Page {
    sessions: Vec<Row>,
}

impl TryFrom<Row> for Record {
    type Error = jiff::Error;

    fn try_from(row: Row) -> Result<Self, jiff::Error> {
        let started_at = match row.start_date {
            None => None,
            Some(StartDate::Seconds(seconds)) => {
                let since = jiff::SignedDuration::try_from_secs_f64(seconds)?;
                Some(Timestamp::from_duration(since)?)
            }
            Some(StartDate::Text(at)) => Some(at),
        };
        let given = |it: Option<Arc<str>>| it.filter(|it| !it.is_empty());
        Ok(Self {
            id: given(row.session_id),
            owner: given(row.owner),
            target: given(row.target),
            started_at,
            ended_at: None,
            status: given(row.status),
            document: given(row.document_name),
            reason: given(row.reason),
            access_type: given(row.access_type),
        })
    }
}
