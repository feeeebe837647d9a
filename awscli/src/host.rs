//! What the program that has these commands gives them.

use aws_smithy_runtime_api::client::http::SharedHttpClient;

/// The program's own ways to reach the network, and to write on a terminal.
#[derive(Clone, Copy, Debug)]
pub struct Host {
    /// A client that trusts the certificates of this file and no others, if one is given; and that
    /// shows each call, if it is to. Or what is wrong with the file.
    pub http_client: fn(Option<&str>, bool) -> Result<SharedHttpClient, String>,
    /// A line with every character escaped that a terminal would obey.
    pub printable: fn(&str) -> String,
    /// JSON that says the same without such a character; line ends stay.
    pub printable_json: fn(String) -> String,
}
