//! Bounds on answers: an endpoint that never stops sending must not take all memory, and a text from
//! one user must not make the rest of a page unreadable.

use std::error::Error;

use aws_smithy_runtime_api::client::{
    http::{
        HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
        SharedHttpConnector,
    },
    orchestrator::HttpRequest,
    runtime_components::RuntimeComponents,
};
use aws_smithy_types::body::SdkBody;
use http_body_util::{LengthLimitError, Limited};

use reaper_core::printable::mend_halves;

/// Bytes that an answer may have: several times the longest that AWS's models allow for a page of
/// sessions, and more than 100 resources with 50 tags each need unless all of it is escaped.
pub(super) const MAX_BYTES: usize = 4 << 20;

/// JSON objects and lists that an answer may have: nearly twice the 5,202 of 100 resources with 50 tags each,
/// which is the most that AWS sends; a page of 200 sessions has 402. Braces in texts, which users may have
/// typed, do not count. The smallest object takes many times its bytes once it is read.
const MAX_OBJECTS: usize = 10_000;

/// The same client, whose answers end in an error after 4 MiB: to whatever asks, such as a search for
/// credentials.
pub(super) fn bounded(client: SharedHttpClient) -> SharedHttpClient {
    SharedHttpClient::new(Bounded(client))
}

#[derive(Debug)]
struct Bounded<T>(T);

impl HttpClient for Bounded<SharedHttpClient> {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(Bounded(self.0.http_connector(settings, components)))
    }
}

impl HttpConnector for Bounded<SharedHttpConnector> {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let answer = self.0.call(request);
        let limited = |body| SdkBody::from_body_1_x(Limited::new(body, MAX_BYTES));
        HttpConnectorFuture::new(async move { Ok(answer.await?.map(limited)) })
    }
}

/// Why an answer is refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("the answer is empty")]
    Empty,
    #[error("the answer has more than {MAX_OBJECTS} objects")]
    TooManyObjects,
}

/// An answer, the texts from users in it mended. Refuses one that has more objects, and a success that says
/// nothing.
pub(super) fn checked(mut answer: Vec<u8>, is_success: bool) -> Result<Vec<u8>, Refusal> {
    if is_success && answer.trim_ascii().is_empty() {
        return Err(Refusal::Empty);
    }
    if MAX_OBJECTS < n_begun(&answer) && MAX_OBJECTS < n_objects(&answer) {
        return Err(Refusal::TooManyObjects);
    }
    mend_halves(&mut answer);
    Ok(answer)
}

/// Braces and brackets, also those in texts. Eight bytes at a time, for every answer is counted.
fn n_begun(json: &[u8]) -> usize {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    /// The bit in which `[` and `{` differ.
    const EITHER: u8 = b'[' ^ b'{';
    let all = |byte| u64::from_ne_bytes([byte; 8]);
    let (words, rest) = json.as_chunks::<8>();
    let n_of_word = |word: &[u8; 8]| {
        let others = (u64::from_ne_bytes(*word) | all(EITHER)) ^ all(b'{');
        // The highest bit of each byte that is zero.
        let found = !(((others & LOW) + LOW) | others | LOW);
        found.count_ones() as usize
    };
    let n = words.iter().map(n_of_word).sum::<usize>();
    n + rest.iter().filter(|it| matches!(it, b'{' | b'[')).count()
}

/// Objects and lists at whatever depth: braces and brackets that are not in a text. Serde takes a list for an
/// object.
fn n_objects(json: &[u8]) -> usize {
    let (mut n, mut is_text) = (0, false);
    let mut bytes = json.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => is_text = !is_text,
            b'\\' => drop(bytes.next()), // What is escaped may be a quote.
            b'{' | b'[' if !is_text => n += 1,
            _ => {}
        }
    }
    n
}

/// Whether this is what an answer that was cut off came to.
pub(super) fn is_too_long(err: &(dyn Error + 'static)) -> bool {
    err.is::<LengthLimitError>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip]
    fn objects() {
        let table = [
            ("",                                    0),
            ("{}",                                  1),
            (r#"{"a": [{}, {"b": {}}]}"#,           5),
            (r#"{"{": "{{", "a": "\"{\\"}"#,        1),
            (r#"{"a": "\\\\", "b": {"c": "\\\""}}"#, 2),
            (r#"{"a": "not closed {{"#,             1),
        ];
        for (json, expected) in table {
            assert_eq!(n_objects(json.as_bytes()), expected, "{json}");
        }
    }

    /// Whatever the bytes are, and wherever a word ends.
    #[test]
    fn braces_and_brackets() {
        let bytes: Vec<u8> = (0..=255).chain(*b"{[{{[[}]{").collect();
        for from in 0..9 {
            for to in from..bytes.len() {
                let part = &bytes[from..to];
                let expected = part.iter().filter(|it| matches!(it, b'{' | b'[')).count();
                assert_eq!(n_begun(part), expected, "{from}, {to}");
            }
        }
    }

    /// Braces in texts from users do not count as objects.
    #[test]
    fn typed_braces() {
        let of = |row: &str, n| format!("[{}]", vec![row; n].join(",")).into_bytes();
        let typed = of(&format!(r#"{{"Reason": "{}"}}"#, "{".repeat(256)), 200);
        assert!(checked(typed.clone(), true).is_ok_and(|it| it == typed));
        for row in ["{}", "[]"] {
            assert!(checked(of(row, MAX_OBJECTS - 1), true).is_ok());
            assert!(checked(of(row, MAX_OBJECTS), true).is_err());
        }
    }
}
