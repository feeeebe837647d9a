//! The HTTP client of the commands that reach AWS, also of their search for credentials.

use std::fs;

use aws_smithy_runtime_api::client::http::SharedHttpClient;
use session_reaper::aws::connectors;

use crate::debug;

/// A client that trusts only the certificates in the file `ca_bundle`, if one is given, and that
/// shows each call on standard error if `shows`.
pub(crate) fn client(ca_bundle: Option<&str>, shows: bool) -> Result<SharedHttpClient, String> {
    let pem = ca_bundle.map(|path| {
        fs::read(path).map_err(|_| {
            format!("Could not find a suitable TLS CA certificate bundle, invalid path: {path}")
        })
    });
    let client = connectors(pem.transpose()?).map_err(|err| {
        format!("cannot use {}: {err}", ca_bundle.unwrap_or("the system's certificates"))
    })?;
    Ok(if shows { debug::shown(client) } else { client })
}
