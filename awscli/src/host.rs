//! What these commands need from their program.

use aws_smithy_runtime_api::client::http::SharedHttpClient;

/// The program's functions for the network and for the terminal.
#[derive(Clone, Copy, Debug)]
pub struct Host {
    /// A client that trusts only the certificates of this file, if one is given, and that shows each
    /// call, if asked to. The error says what is wrong with the file.
    pub http_client: fn(Option<&str>, bool) -> Result<SharedHttpClient, String>,
    /// A line whose control characters are escaped.
    pub printable: fn(&str) -> String,
    /// Equivalent JSON whose control characters are escaped, except line breaks.
    pub printable_json: fn(String) -> String,
}
