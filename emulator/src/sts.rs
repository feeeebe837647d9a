//! What STS answers.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use jiff::Timestamp;
use serde_json::json;

use crate::wire;

/// The answer to `AssumeRole`: the keys of a role session.
pub(crate) fn credentials(access_key: &str, arn: &str, lasts: Duration) -> Response<Bytes> {
    // By the real clock, because the client compares it with the real time.
    #[expect(clippy::disallowed_methods, reason = "credentials end in real time")]
    let expires_at = Timestamp::now() + lasts;
    let result = json!({
        "AssumedRoleUser": {"AssumedRoleId": user_id(arn), "Arn": arn},
        "Credentials": {
            "AccessKeyId": access_key,
            "SecretAccessKey": "emulator",
            "SessionToken": "emulator",
            "Expiration": format!("{expires_at:.0}"),
        },
    });
    wire::query_response("AssumeRole", &result)
}

/// The answer to `GetCallerIdentity`.
pub(crate) fn identity(arn: &str, account: &str) -> Response<Bytes> {
    let identity = json!({"Arn": arn, "UserId": user_id(arn), "Account": account});
    wire::query_response("GetCallerIdentity", &identity)
}

/// The unique id of a caller; that of a role's session ends with the session's name.
fn user_id(arn: &str) -> String {
    match arn.rsplit_once('/') {
        Some((head, session)) if head.contains(":assumed-role/") => {
            format!("AROAEMULATOR:{session}")
        }
        _ => "AIDAEMULATOR".into(),
    }
}
