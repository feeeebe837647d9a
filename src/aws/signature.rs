//! Signatures of requests: AWS's Signature Version 4, in the headers.
//!
//! AWS's own signer derives the key of the day anew for each request, and hashes in software where the
//! processor has no instruction for it: a fifth of a sweep's instructions. The test compares with it.
//! Source: "Create a signed AWS API request" in the IAM User Guide.

use std::{
    fmt::{self, Write},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use aws_credential_types::Credentials;
use aws_lc_rs::{digest, hmac};
use aws_smithy_runtime_api::box_error::BoxError;
use jiff::Timestamp;

use super::service::Request;

/// Signs requests to one service in one Region.
pub(super) struct Signer {
    /// As signatures name it, such as `ssm`.
    service: &'static str,
    region: String,
    key: Mutex<Option<Arc<DayKey>>>,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer")
            .field("service", &self.service)
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

/// What signs the requests of a day.
struct DayKey {
    /// Such as `20260731`.
    day: String,
    credentials: Credentials,
    key: hmac::Key,
}

impl Signer {
    /// A signer for this service in this Region.
    pub(super) fn new(service: &'static str, region: &str) -> Self {
        Self { service, region: region.to_owned(), key: Mutex::default() }
    }

    /// Adds the headers of a signature, for a request to this URL. Its path and query are as S3 reads them: all
    /// but unreserved characters are encoded, and the query's names are in order.
    ///
    /// # Errors
    /// If the clock is outside the years that a date can have.
    pub(super) fn sign(
        &self,
        request: &mut Request,
        url: &str,
        credentials: &Credentials,
        now: SystemTime,
    ) -> Result<(), BoxError> {
        let (host, path) = host_and_path(url);
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let at = Timestamp::try_from(now)?.strftime("%Y%m%dT%H%M%SZ").to_string();
        let day = at.get(..8).unwrap_or_default();
        let key = self.key(day, credentials);
        let hash = sha256(&request.body);
        let headers = &mut request.headers;
        headers.push(("x-amz-date", at.clone()));
        headers.push(("x-amz-content-sha256", hash.clone()));
        if let Some(token) = credentials.session_token() {
            headers.push(("x-amz-security-token", token.to_owned()));
        }
        let mut signed: Vec<_> =
            headers.iter().map(|(name, value)| (*name, value.trim())).collect();
        signed.push(("host", host));
        signed.sort_unstable();
        let names: Vec<&str> = signed.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        let mut canonical = format!("{}\n{path}\n{query}\n", request.method);
        for (name, value) in signed {
            writeln!(canonical, "{name}:{value}")?;
        }
        write!(canonical, "\n{names}\n{hash}")?;
        let scope = format!("{day}/{}/{}/aws4_request", self.region, self.service);
        let text = format!("AWS4-HMAC-SHA256\n{at}\n{scope}\n{}", sha256(canonical.as_bytes()));
        let signature = hex::encode(hmac::sign(&key.key, text.as_bytes()));
        let id = credentials.access_key_id();
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}"
        );
        headers.push(("authorization", authorization));
        Ok(())
    }

    /// The key of the day, derived again only if the day or the credentials are others.
    fn key(&self, day: &str, credentials: &Credentials) -> Arc<DayKey> {
        let mut kept = self.key.lock().unwrap_or_else(PoisonError::into_inner);
        let secret = credentials.secret_access_key();
        let is_valid =
            |it: &&Arc<DayKey>| it.day == day && it.credentials.secret_access_key() == secret;
        if let Some(it) = kept.as_ref().filter(is_valid) {
            return Arc::clone(it);
        }
        let mut key = format!("AWS4{secret}").into_bytes();
        for part in [day, &self.region, self.service, "aws4_request"] {
            let of = hmac::Key::new(hmac::HMAC_SHA256, &key);
            key = hmac::sign(&of, part.as_bytes()).as_ref().to_vec();
        }
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        let made = Arc::new(DayKey { day: day.to_owned(), credentials: credentials.clone(), key });
        Arc::clone(kept.insert(made))
    }
}

/// A URL's host, as it is sent: with its port, unless it is the scheme's own. What is behind it, too.
fn host_and_path(url: &str) -> (&str, &str) {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (host, path) = rest.find('/').map_or((rest, "/"), |it| rest.split_at(it));
    let port = if scheme == "https" { ":443" } else { ":80" };
    (host.strip_suffix(port).unwrap_or(host), path)
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, bytes))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use aws_sigv4::{
        http_request::{
            PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest,
            SigningSettings, UriPathNormalizationMode, sign,
        },
        sign::v4,
    };

    use super::*;

    /// The HTTP client leaves out a default port, and the signature is of what is sent.
    #[test]
    #[rustfmt::skip]
    fn hosts() {
        for (url, host, path) in [
            ("https://ssm.eu-central-1.amazonaws.com/", "ssm.eu-central-1.amazonaws.com", "/"),
            ("https://vpce-1.ssm.amazonaws.com:443/", "vpce-1.ssm.amazonaws.com", "/"),
            ("http://localhost:80/a/b?c", "localhost", "/a/b?c"),
            ("http://localhost:443/", "localhost:443", "/"),
            ("https://[::1]:8443/", "[::1]:8443", "/"),
            ("localhost", "localhost", "/"),
        ] {
            assert_eq!(host_and_path(url), (host, path), "{url}");
        }
    }

    /// What AWS's signer adds to the same request, as S3 has it.
    fn by_sdk(
        request: &Request,
        url: &str,
        credentials: &Credentials,
        now: SystemTime,
    ) -> Vec<(String, String)> {
        let mut settings = SigningSettings::default();
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        let identity = credentials.clone().into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region("eu-central-1")
            .name("s3")
            .time(now)
            .settings(settings)
            .build()
            .expect("parameters")
            .into();
        let pairs = request.headers.iter().map(|(name, value)| (*name, value.as_str()));
        let body = SignableBody::Bytes(&request.body);
        let signable = SignableRequest::new(request.method, url, pairs, body).expect("a request");
        let (instructions, _signature) = sign(signable, &params).expect("a signature").into_parts();
        let headers = instructions.headers().map(|(name, value)| (name.into(), value.into()));
        headers.collect()
    }

    /// The headers are those of AWS's signer: of each kind of request, with and without a token, one after the
    /// other from one signer, at midnight too.
    #[test]
    fn as_the_sdk() {
        let signer = Signer::new("s3", "eu-central-1");
        let midnight = UNIX_EPOCH + Duration::from_hours(24 * 20_665);
        let json =
            || Request::json("AmazonSSM.DescribeSessions", br#"{"State":"Active"}"#.to_vec());
        let put = || Request {
            method: "PUT",
            path: "/runs/a%3D1/b%20c~.json".into(),
            headers: vec![("if-none-match", " * ".into()), ("content-type", "a/b".into())],
            body: vec![0, 255],
        };
        let query = "continuation-token=a%2Bb%3D&encoding-type=url&list-type=2&prefix=a-b%2Fc";
        let list = || Request {
            method: "GET",
            path: format!("/bucket.name/?{query}"),
            headers: Vec::new(),
            body: Vec::new(),
        };
        let mut seen = Vec::new();
        for token in [None, Some("a+token/=".to_owned())] {
            for secret in ["secret", "another"] {
                let credentials = Credentials::new("id", secret, token.clone(), None, "test");
                for now in [midnight - Duration::from_secs(1), midnight, midnight] {
                    for mut request in [json(), put(), list()] {
                        let url = format!("https://s3.example.com:8443{}", request.path);
                        let mut expected = by_sdk(&request, &url, &credentials, now);
                        let n = request.headers.len();
                        signer.sign(&mut request, &url, &credentials, now).expect("a signature");
                        let added = request.headers.into_iter().skip(n);
                        let mut added: Vec<_> =
                            added.map(|(name, value)| (name.to_owned(), value)).collect();
                        added.sort_unstable();
                        expected.sort_unstable();
                        assert_eq!(added, expected, "{url}");
                        seen.push(added);
                    }
                }
            }
        }
        seen.dedup();
        assert_eq!(seen.len(), 36);
    }

    /// A time that no date can have is an error.
    #[test]
    fn far_future() {
        let signer = Signer::new("ssm", "eu-central-1");
        let credentials = Credentials::new("id", "secret", None, None, "test");
        let mut request = Request::json("a", Vec::new());
        let now = UNIX_EPOCH + Duration::from_hours(24 * 366 * 9_000);
        assert!(signer.sign(&mut request, "http://a/", &credentials, now).is_err());
    }
}
