//! Terminated sessions as events of the Open Cybersecurity Schema Framework (OCSF).

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{Folder, Manifest, lines_of, sha256};

/// The version of the schema.
const VERSION: &str = "1.8.0";

/// The class Authentication, and its activity Logoff.
const CLASS: u32 = 3002;
const LOGOFF: u32 = 2;

const INFORMATIONAL: u32 = 1;
const SUCCESS: u32 = 1;

/// An event for each session that a sweep terminated, by its outcomes and its manifest. Without a manifest
/// there is none, for what would be said of the sweep is not proved. Verify the folder first.
#[must_use]
pub fn ocsf(folder: &Folder) -> Vec<Value> {
    let manifest = folder.manifest.as_deref().and_then(|it| serde_json::from_slice(it).ok());
    let Some(manifest) = manifest else { return Vec::new() };
    let text = lines_of(folder.outcomes.as_deref().unwrap_or_default()).unwrap_or_default();
    let lines = text.lines().filter_map(|it| serde_json::from_str(it).ok());
    let terminated = lines.filter(|it: &Value| it["outcome"] == "terminated");
    terminated.map(|it| event(&manifest, &it)).collect()
}

fn event(manifest: &Manifest, line: &Value) -> Value {
    let Manifest { sweep, duration_s, .. } = manifest;
    let text = |name: &str| line[name].as_str().unwrap_or_default();
    let (id, owner) = (text("session_id"), text("owner"));
    let ended_at = SignedDuration::try_from_secs_f64(*duration_s)
        .ok()
        .and_then(|it| sweep.started_at.checked_add(it).ok())
        .unwrap_or(sweep.started_at);
    let created_at: Option<Timestamp> = text("started_at").parse().ok();
    let created_at = created_at.map(Timestamp::as_millisecond);
    let rules = line["rules"].as_array().into_iter().flatten();
    let rules: Vec<_> = rules.filter_map(Value::as_str).collect();
    let name = owner.rsplit(['/', ':']).next().unwrap_or(owner);
    json!({
        "activity_id": LOGOFF,
        "activity_name": "Logoff",
        "category_name": "Identity & Access Management",
        "category_uid": CLASS / 1_000,
        "class_name": "Authentication",
        "class_uid": CLASS,
        "cloud": {
            "account": {"type": "AWS Account", "type_id": 10, "uid": sweep.account},
            "provider": "AWS",
            "region": sweep.region,
        },
        "dst_endpoint": {"uid": text("target")},
        "message": format!("session {id} was terminated: {}", rules.join(", ")),
        "metadata": {
            "product": {
                "name": "session-reaper",
                "vendor_name": "session-reaper",
                "version": env!("CARGO_PKG_VERSION"),
            },
            "profiles": ["cloud"],
            "uid": sha256(format!("{}\n{id}", sweep.sweep).as_bytes()),
            "version": VERSION,
        },
        "service": {"name": "AWS Systems Manager Session Manager"},
        "session": known(json!({
            "created_time": created_at,
            "expiration_reason": format!("policy: {}", rules.join(", ")),
            "is_remote": true,
            "uid": id,
        })),
        "severity": "Informational",
        "severity_id": INFORMATIONAL,
        "status": "Success",
        "status_id": SUCCESS,
        "time": ended_at.as_millisecond(),
        "type_name": "Authentication: Logoff",
        "type_uid": CLASS * 100 + LOGOFF,
        "unmapped": known(json!({
            "age_s": line["age_s"],
            "document": line["document"],
            "policy_sha256": sweep.policy.sha256,
            "policy_version": sweep.policy.version,
            "rules": rules,
            "run": sweep.sweep,
            "tags": line["tags"],
        })),
        "user": {"name": name, "uid": owner},
    })
}

/// The same without what is not known.
fn known(mut object: Value) -> Value {
    if let Some(fields) = object.as_object_mut() {
        fields.retain(|_, it| !it.is_null());
    }
    object
}
