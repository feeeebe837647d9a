//! `GetObject` and `PutObject` of S3, with conditions and checksums, and `ListObjectsV2`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use aws_smithy_types::base64;
use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode,
    header::{
        ACCEPT_RANGES, AUTHORIZATION, CONTENT_TYPE, ETAG, HOST, IF_MATCH, IF_NONE_MATCH,
        LAST_MODIFIED, RANGE,
    },
};
use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::wire::{self, ApiError};

const ALGORITHM: &str = "x-amz-sdk-checksum-algorithm";
const CONTENT_SHA256: &str = "x-amz-content-sha256";
const CHECKSUM_MODE: &str = "x-amz-checksum-mode";
const CHECKSUM_SHA256: &str = "x-amz-checksum-sha256";

/// Buckets and their objects.
#[derive(Debug)]
pub(crate) struct Objects {
    /// The buckets that exist; all if absent.
    buckets: Option<BTreeSet<String>>,
    /// By bucket and key.
    objects: BTreeMap<(String, String), Object>,
}

#[derive(Debug)]
struct Object {
    content: Bytes,
    content_type: HeaderValue,
    etag: String,
    /// In base64, if it was given with the object.
    sha256: Option<String>,
    modified_at: Timestamp,
}

/// A request to S3.
#[derive(Clone, Debug)]
pub(crate) struct ObjectRequest {
    /// `None` if the emulator does not implement it.
    operation: Option<ObjectOperation>,
    bucket: String,
    key: String,
    query: BTreeMap<String, String>,
    headers: HeaderMap,
    content: Bytes,
}

#[derive(Clone, Copy, Debug)]
enum ObjectOperation {
    Get,
    List,
    Put,
}

/// The parameters of a listing; S3 has more.
const OF_LISTING: [&str; 5] =
    ["continuation-token", "encoding-type", "list-type", "max-keys", "prefix"];

/// Keys of one page, and the most that may be asked for.
const MAX_KEYS: usize = 1_000;

impl ObjectRequest {
    /// Takes the bucket from the host's name, such as `BUCKET.s3.REGION.amazonaws.com` or
    /// `BUCKET.localhost`, or else from the path.
    pub(crate) fn read(request: &Request<Bytes>) -> Self {
        let (uri, headers) = (request.uri(), request.headers());
        let host = uri.host().or_else(|| {
            let host = headers.get(HOST)?.to_str().ok()?;
            Some(host.rsplit_once(':').map_or(host, |(host, _port)| host))
        });
        let path = uri.path().trim_start_matches('/');
        let (bucket, key) = match host.and_then(bucket_of_host) {
            Some(bucket) => (bucket, path),
            None => path.split_once('/').unwrap_or((path, "")),
        };
        let query = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
        let query: BTreeMap<_, _> = query.into_owned().filter(|(name, _)| name != "x-id").collect();
        let is_plain = query.is_empty() && !key.is_empty();
        // Keys are listed as URLs have them, or not at all.
        let lists = query.get("list-type").is_some_and(|it| it == "2")
            && query.get("encoding-type").is_some_and(|it| it == "url")
            && query.keys().all(|it| OF_LISTING.contains(&it.as_str()))
            && key.is_empty();
        let operation = match *request.method() {
            Method::GET if lists => Some(ObjectOperation::List),
            Method::GET if is_plain && !headers.contains_key(RANGE) => Some(ObjectOperation::Get),
            Method::PUT if is_plain && !headers.contains_key("x-amz-copy-source") => {
                Some(ObjectOperation::Put)
            }
            _ => None,
        };
        Self {
            operation,
            bucket: bucket.into(),
            key: percent_decode_str(key).decode_utf8_lossy().into_owned(),
            query,
            headers: headers.clone(),
            content: request.body().clone(),
        }
    }

    /// Such as `GetObject`; empty if it is not one of the emulator's.
    pub(crate) fn operation(&self) -> &'static str {
        match self.operation {
            None => "",
            Some(ObjectOperation::Get) => "GetObject",
            Some(ObjectOperation::List) => "ListObjectsV2",
            Some(ObjectOperation::Put) => "PutObject",
        }
    }

    /// What the request names. Its content may be large, so it is not recorded.
    pub(crate) fn names(&self) -> Value {
        match self.operation {
            Some(ObjectOperation::List) => {
                json!({"Bucket": self.bucket, "Prefix": self.query.get("prefix")})
            }
            _ => json!({"Bucket": self.bucket, "Key": self.key}),
        }
    }

    fn header(&self, name: impl http::header::AsHeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Refuses what is not signed, or is not what its checksums say. Returns the checksum that was
    /// given with it.
    fn check(&self) -> Result<Option<String>, ApiError> {
        let signed = self.header(AUTHORIZATION).and_then(|it| it.split_once("SignedHeaders="));
        let signed = signed.map_or("", |(_, it)| it.split(',').next().unwrap_or_default());
        let is_unsigned = |it: &&str| !signed.split(';').any(|signed| signed == *it);
        let names = self.headers.keys().map(http::HeaderName::as_str);
        let needed = names.filter(|it| *it == "host" || it.starts_with("x-amz-"));
        let unsigned: Vec<_> = needed.filter(is_unsigned).collect();
        if !unsigned.is_empty() {
            let message = "There were headers present in the request which were not signed";
            let more = json!({"HeadersNotSigned": unsigned.join(", ")});
            return Err(refusal(403, "AccessDenied", message, &more));
        }
        let digest = Sha256::digest(&self.content);
        let hex = hex(&digest);
        match self.header(CONTENT_SHA256) {
            None => {
                let message = format!("Missing required header for this request: {CONTENT_SHA256}");
                return Err(refusal(400, "InvalidRequest", &message, &json!({})));
            }
            Some(it) if it.starts_with("STREAMING-") => return Err(not_implemented()),
            Some(it) if it != hex && it != "UNSIGNED-PAYLOAD" => {
                let message =
                    "The provided 'x-amz-content-sha256' header does not match what was computed.";
                let more = json!({
                    "ClientComputedContentSHA256": it,
                    "S3ComputedContentSHA256": hex,
                });
                return Err(refusal(400, "XAmzContentSHA256Mismatch", message, &more));
            }
            Some(_) => {}
        }
        if let Some(algorithm) = self.header(ALGORITHM) {
            let name = format!("x-amz-checksum-{}", algorithm.to_ascii_lowercase());
            if !self.headers.contains_key(name) {
                let message = format!(
                    "{ALGORITHM} specified, but no corresponding x-amz-checksum-* or x-amz-trailer \
                     headers were found."
                );
                return Err(refusal(400, "InvalidRequest", &message, &json!({})));
            }
        }
        let Some(given) = self.header(CHECKSUM_SHA256) else { return Ok(None) };
        match base64::decode(given) {
            Ok(it) if it == *digest => Ok(Some(given.into())),
            Ok(it) if it.len() == digest.len() => {
                let message = "The SHA256 you specified did not match the calculated checksum.";
                Err(refusal(400, "BadDigest", message, &json!({})))
            }
            _ => {
                let message = format!("Value for {CHECKSUM_SHA256} header is invalid.");
                Err(refusal(400, "InvalidRequest", &message, &json!({})))
            }
        }
    }
}

impl Objects {
    pub(crate) fn new(buckets: Option<BTreeSet<String>>) -> Self {
        Self { buckets, objects: BTreeMap::new() }
    }

    pub(crate) fn contents(&self) -> BTreeMap<String, Bytes> {
        let objects = self.objects.iter();
        objects.map(|((bucket, key), it)| (format!("{bucket}/{key}"), it.content.clone())).collect()
    }

    pub(crate) fn set(&mut self, bucket: &str, key: &str, content: Bytes, now: Timestamp) {
        if let Some(buckets) = &mut self.buckets {
            buckets.insert(bucket.into());
        }
        let object = Object {
            etag: etag(&content),
            content,
            content_type: HeaderValue::from_static("binary/octet-stream"),
            sha256: None,
            modified_at: now,
        };
        self.objects.insert((bucket.into(), key.into()), object);
    }

    pub(crate) fn answer(
        &mut self,
        request: &ObjectRequest,
        now: Timestamp,
    ) -> Result<Response<Bytes>, ApiError> {
        let Some(operation) = request.operation else { return Err(not_implemented()) };
        let sha256 = request.check()?;
        let ObjectRequest { bucket, key, .. } = request;
        if self.buckets.as_ref().is_some_and(|it| !it.contains(bucket)) {
            let message = "The specified bucket does not exist";
            return Err(refusal(404, "NoSuchBucket", message, &json!({"BucketName": bucket})));
        }
        match operation {
            ObjectOperation::Get => self.get(request),
            ObjectOperation::List => self.list(request),
            ObjectOperation::Put => {
                self.check_conditions_of_put(request)?;
                self.set(bucket, key, request.content.clone(), now);
                let Some(object) = self.objects.get_mut(&(bucket.clone(), key.clone())) else {
                    return Err(ApiError::internal_error());
                };
                if let Some(content_type) = request.headers.get(CONTENT_TYPE) {
                    object.content_type = content_type.clone();
                }
                object.sha256 = sha256;
                let mut response = Response::new(Bytes::new());
                insert(&mut response, ETAG, &object.etag);
                if let Some(sha256) = &object.sha256 {
                    insert(&mut response, CHECKSUM_SHA256, sha256);
                }
                Ok(response)
            }
        }
    }

    /// A page of the keys with this prefix, in their order. A token is the last key of the page before.
    fn list(&self, request: &ObjectRequest) -> Result<Response<Bytes>, ApiError> {
        let ObjectRequest { bucket, query, .. } = request;
        let text = |name: &str| query.get(name).map_or("", String::as_str);
        let n = match text("max-keys") {
            "" => MAX_KEYS,
            it => it.parse::<usize>().map_err(|_| not_implemented())?.min(MAX_KEYS),
        };
        let token = text("continuation-token").replace('+', " ");
        let after = percent_decode_str(&token).decode_utf8_lossy().into_owned();
        let of_bucket = self.objects.iter().filter(|((of, _), _)| of == bucket);
        let mut found = of_bucket
            .filter(|((_, key), _)| key.starts_with(text("prefix")) && *after < **key)
            .map(|((_, key), object)| (url_encoded(key), object.content.len()))
            .peekable();
        let page: Vec<_> = found.by_ref().take(n).collect();
        let token = page.last().filter(|_| found.peek().is_some()).map(|(key, _)| key);
        let mut xml = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>{bucket}</Name>\
             <Prefix>{}</Prefix><KeyCount>{}</KeyCount><MaxKeys>{n}</MaxKeys>\
             <EncodingType>url</EncodingType><IsTruncated>{}</IsTruncated>",
            url_encoded(text("prefix")),
            page.len(),
            token.is_some()
        );
        for (key, size) in &page {
            let _ = write!(xml, "<Contents><Key>{key}</Key><Size>{size}</Size></Contents>");
        }
        if let Some(token) = token {
            let _ = write!(xml, "<NextContinuationToken>{token}</NextContinuationToken>");
        }
        xml.push_str("</ListBucketResult>");
        Ok(wire::response(200, "application/xml", xml))
    }

    fn object(&self, request: &ObjectRequest) -> Result<&Object, ApiError> {
        let object = self.objects.get(&(request.bucket.clone(), request.key.clone()));
        object.ok_or_else(|| {
            let message = "The specified key does not exist.";
            refusal(404, "NoSuchKey", message, &json!({"Key": request.key}))
        })
    }

    fn get(&self, request: &ObjectRequest) -> Result<Response<Bytes>, ApiError> {
        let object = self.object(request)?;
        if request.header(IF_MATCH).is_some_and(|it| !is_etag(it, &object.etag)) {
            return Err(precondition_failed("If-Match"));
        }
        let mut response = wire::response(200, "", object.content.clone());
        response.headers_mut().insert(CONTENT_TYPE, object.content_type.clone());
        response.headers_mut().insert(LAST_MODIFIED, wire::date(object.modified_at));
        insert(&mut response, ACCEPT_RANGES, "bytes");
        insert(&mut response, ETAG, &object.etag);
        let is_asked = request.header(CHECKSUM_MODE) == Some("ENABLED");
        if let Some(sha256) = object.sha256.as_ref().filter(|_| is_asked) {
            insert(&mut response, CHECKSUM_SHA256, sha256);
        }
        if request.header(IF_NONE_MATCH).is_some_and(|it| is_etag(it, &object.etag)) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            *response.body_mut() = Bytes::new();
        }
        Ok(response)
    }

    /// S3 has `If-None-Match` only with `*`.
    fn check_conditions_of_put(&self, request: &ObjectRequest) -> Result<(), ApiError> {
        let object = self.object(request);
        match (request.header(IF_NONE_MATCH), &object) {
            (Some("*"), Ok(_)) => return Err(precondition_failed("If-None-Match")),
            (Some("*"), Err(_)) | (None, _) => {}
            (Some(_), _) => return Err(not_implemented()),
        }
        match request.header(IF_MATCH) {
            None => Ok(()),
            Some(etag) if is_etag(etag, &object?.etag) => Ok(()),
            Some(_) => Err(precondition_failed("If-Match")),
        }
    }
}

/// The bucket that a host's name begins with, if any.
fn bucket_of_host(host: &str) -> Option<&str> {
    let is_aws = |it: &str| it.ends_with("amazonaws.com") || it.ends_with("amazonaws.com.cn");
    let of_aws = host.rsplit_once(".s3.").filter(|(_, it)| is_aws(it)).map(|(bucket, _)| bucket);
    of_aws.or_else(|| host.strip_suffix(".localhost"))
}

/// As `encoding-type=url` has keys: without what XML would have to escape.
fn url_encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace("%2F", "/")
}

/// S3's is of MD5 where it is of anything, and no client may depend on it.
fn etag(content: &Bytes) -> String {
    let digits = hex(&Sha256::digest(content));
    format!("\"{}\"", digits.get(..32).unwrap_or_default())
}

fn hex(digest: &[u8]) -> String {
    digest.iter().fold(String::new(), |mut hex, it| {
        let _ = write!(hex, "{it:02x}"); // Writing to a string cannot fail.
        hex
    })
}

/// Whether a condition names the tag; `*` names every one. S3 takes it without quotes, too.
fn is_etag(condition: &str, etag: &str) -> bool {
    condition == "*" || condition.trim_matches('"') == etag.trim_matches('"')
}

fn insert(response: &mut Response<Bytes>, name: impl http::header::IntoHeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

fn precondition_failed(condition: &str) -> ApiError {
    let message = "At least one of the pre-conditions you specified did not hold";
    refusal(412, "PreconditionFailed", message, &json!({"Condition": condition}))
}

fn not_implemented() -> ApiError {
    let message = "A header or query you provided requested a function that is not implemented.";
    refusal(501, "NotImplemented", message, &json!({}))
}

/// An error with further elements.
fn refusal(status: u16, code: &str, message: &str, more: &Value) -> ApiError {
    let mut error = ApiError::new(status, code, message);
    if let (Some(body), Some(more)) = (error.body.as_object_mut(), more.as_object()) {
        body.extend(more.clone());
    }
    error
}
