//! Objects of one S3 bucket: three calls.
//!
//! `aws-sdk-s3` would add 168 CPU-seconds to a debug build from nothing, which takes 330 without it.

use std::cell::Cell;

use aws_smithy_runtime_api::client::{orchestrator::HttpResponse, result::SdkError};
use aws_smithy_types::{base64, error::metadata::ErrorMetadata};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha2::{Digest, Sha256};

use super::{
    call::Operation,
    connect::Connect,
    endpoint::{S3, url_of_bucket},
    error::CallError,
    service::{Request, Service, Unread, element},
};
use crate::budget::Budget;

/// S3 allows thousands.
const CALLS_PER_SECOND: f64 = 1_000.0;

/// What S3 signs encoded in a query: everything but letters, digits and `-._~`.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The same in a key, in which slashes stay.
const ENCODED_IN_KEY: &AsciiSet = &ENCODED.remove(b'/');

/// The objects of one bucket.
#[derive(Debug)]
pub struct Bucket {
    name: String,
    service: Service,
    get_object: Operation,
    list_objects: Operation,
    put_object: Operation,
}

/// A page of keys.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Keys {
    /// In the order of their bytes.
    pub keys: Vec<String>,
    /// What leads to the next page, if there is one.
    pub next: Option<String>,
}

/// An object.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Object {
    /// Its content.
    pub bytes: Vec<u8>,
    /// Which content it has.
    pub etag: String,
}

/// When an object is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unless<'a> {
    /// Unless it exists.
    Exists,
    /// Unless it has another content than this.
    Changed(&'a str),
}

/// What became of an object that is written once and never again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Created {
    /// Another one has its key already.
    Exists,
    /// It is there: an attempt before, whose answer was lost, may have written it.
    Written,
}

/// What S3 answered, but for errors.
#[derive(Debug)]
enum Answer {
    Absent,
    ConditionFailed,
    Keys(Keys),
    Object(Object),
    Written,
}

impl Bucket {
    /// A bucket in the Region of the connection.
    #[must_use]
    pub fn new(connect: &Connect, name: &str) -> Self {
        let config = connect.config();
        let url = |region: &str| url_of_bucket(config, name, region);
        Self {
            name: name.into(),
            service: Service::at(config, S3, url),
            get_object: Operation::new("GetObject", "s3:GetObject", CALLS_PER_SECOND),
            list_objects: Operation::new("ListObjectsV2", "s3:ListBucket", CALLS_PER_SECOND),
            put_object: Operation::new("PutObject", "s3:PutObject", CALLS_PER_SECOND),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// An object, if it exists: `GetObject`. At most 4 MiB.
    ///
    /// S3 says that an object does not exist only to those who may list the bucket.
    ///
    /// # Errors
    /// If S3 refuses, or does not answer in time.
    pub async fn get(&self, key: &str, budget: Budget) -> Result<Option<Object>, CallError> {
        let path = path_of(key);
        let send = || self.send("GET", &path, Vec::new(), None);
        let is_complete = |it: &Answer| matches!(it, Answer::Absent | Answer::Object(_));
        match self.get_object.call(budget, send, is_complete).await?.0 {
            Answer::Object(object) => Ok(Some(object)),
            Answer::Absent | Answer::ConditionFailed | Answer::Keys(_) | Answer::Written => {
                Ok(None)
            }
        }
    }

    /// A page of the keys that begin with this: `ListObjectsV2`. The first one, or that to which another page
    /// has led.
    ///
    /// # Errors
    /// If S3 refuses, or does not answer in time.
    pub async fn list(
        &self,
        prefix: &str,
        token: Option<&str>,
        budget: Budget,
    ) -> Result<Keys, CallError> {
        let encoded = |text: &str| utf8_percent_encode(text, ENCODED).to_string();
        let token = token.map(|it| format!("continuation-token={}&", encoded(it)));
        let (token, prefix) = (token.unwrap_or_default(), encoded(prefix));
        let path = format!("/?{token}encoding-type=url&list-type=2&prefix={prefix}");
        let send = || self.send("GET", &path, Vec::new(), None);
        let is_complete = |it: &Answer| matches!(it, Answer::Keys(_));
        match self.list_objects.call(budget, send, is_complete).await?.0 {
            Answer::Keys(page) => Ok(page),
            Answer::Absent | Answer::ConditionFailed | Answer::Object(_) | Answer::Written => {
                Ok(Keys::default()) // It is not complete.
            }
        }
    }

    /// Writes an object unless it exists, or has changed: `PutObject`. Returns whether it was written, or
    /// has this content already: an attempt whose answer was lost may have written it.
    ///
    /// # Errors
    /// If S3 refuses, or does not answer in time: then it may have been written.
    pub async fn put(
        &self,
        key: &str,
        bytes: &[u8],
        unless: Unless<'_>,
        budget: Budget,
    ) -> Result<bool, CallError> {
        let path = path_of(key);
        let send = || self.send("PUT", &path, bytes.to_vec(), Some(unless));
        let is_complete = |it: &Answer| matches!(it, Answer::ConditionFailed | Answer::Written);
        if let Answer::Written = self.put_object.call(budget, send, is_complete).await?.0 {
            return Ok(true);
        }
        let is_it = |it: Object| it.bytes == bytes;
        Ok(self.get(key, budget).await?.is_some_and(is_it))
    }

    /// Writes an object unless it exists: `PutObject`, and no other call. Without the permission to read it,
    /// an object that exists is taken for this one if an attempt before may have written it: no other
    /// writer may have the same key.
    ///
    /// # Errors
    /// If S3 refuses, or does not answer in time: then it may have been written.
    pub async fn create(
        &self,
        key: &str,
        bytes: &[u8],
        budget: Budget,
    ) -> Result<Created, CallError> {
        let (path, n_sent) = (path_of(key), Cell::new(0));
        let send = || {
            n_sent.set(n_sent.get() + 1);
            self.send("PUT", &path, bytes.to_vec(), Some(Unless::Exists))
        };
        let is_complete = |it: &Answer| matches!(it, Answer::ConditionFailed | Answer::Written);
        let (answer, _) = self.put_object.call(budget, send, is_complete).await?;
        let is_another = matches!(answer, Answer::ConditionFailed) && n_sent.get() == 1;
        Ok(if is_another { Created::Exists } else { Created::Written })
    }

    async fn send(
        &self,
        method: &'static str,
        path: &str,
        body: Vec<u8>,
        unless: Option<Unless<'_>>,
    ) -> Result<Answer, SdkError<ErrorMetadata, HttpResponse>> {
        let mut headers = Vec::new();
        if method == "PUT" {
            // With its algorithm, or emulators and locked buckets refuse it.
            let is_compressed = body.starts_with(&[0x1f, 0x8b]);
            let content_type = if is_compressed { "application/gzip" } else { "application/json" };
            headers.push(("content-type", content_type.into()));
            headers.push(("x-amz-checksum-sha256", base64::encode(Sha256::digest(&body))));
            headers.push(("x-amz-sdk-checksum-algorithm", "SHA256".into()));
        }
        match unless {
            None => {}
            Some(Unless::Exists) => headers.push(("if-none-match", "*".into())),
            Some(Unless::Changed(etag)) => headers.push(("if-match", etag.into())),
        }
        let request = Request { method, path: path.into(), headers, body };
        self.service.send(request, Answer::read).await
    }
}

/// Where an object is, after the bucket's endpoint.
fn path_of(key: &str) -> String {
    format!("/{}", utf8_percent_encode(key, ENCODED_IN_KEY))
}

impl Answer {
    fn read(response: &HttpResponse, bytes: Vec<u8>) -> Result<Self, Unread> {
        let etag = response.headers().get("etag").map(str::to_owned);
        match (response.status().as_u16(), etag) {
            (200, None) => match keys(&bytes) {
                Some(page) => Ok(Self::Keys(page)),
                None => Err(Unread::Unintelligible(
                    "the answer has no `ETag`, and is no listing".into(),
                )),
            },
            (200, Some(_)) if bytes.is_empty() => Ok(Self::Written),
            (200, Some(etag)) => Ok(Self::Object(Object { bytes, etag })),
            (404, _) if element(&bytes, "Code") == "NoSuchKey" => Ok(Self::Absent),
            (412, _) => Ok(Self::ConditionFailed),
            (status, _) => Err(Unread::refused_in_xml(status, &bytes)),
        }
    }
}

/// A page of a listing, if the answer is a whole one.
fn keys(body: &[u8]) -> Option<Keys> {
    let text = std::str::from_utf8(body).ok()?;
    let (_, rest) = text.split_once("<ListBucketResult")?;
    let rest = rest.trim_end().strip_suffix("</ListBucketResult>")?;
    let of = |text: &str, name: &str| element(text.as_bytes(), name);
    let contents = rest.split("<Contents>").skip(1);
    let keys = contents.map(|it| {
        let key = of(it, "Key").replace('+', " ");
        percent_decode_str(&key).decode_utf8().ok().map(Into::into)
    });
    // A token is opaque: nothing but XML's own escapes is to be undone.
    let token = of(rest, "NextContinuationToken").replace("&amp;", "&");
    match (of(rest, "IsTruncated").as_str(), token) {
        ("false", _) => Some(Keys { keys: keys.collect::<Option<_>>()?, next: None }),
        ("true", token) if !token.is_empty() => {
            Some(Keys { keys: keys.collect::<Option<_>>()?, next: Some(token) })
        }
        (_, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the SDKs encode a key, so that the signature is of what S3 reads.
    #[test]
    fn keys_are_encoded() {
        for (key, expected) in
            [("runs/a-1/plan.json", "runs/a-1/plan.json"), ("a=1/b c/ü~", "a%3D1/b%20c/%C3%BC~")]
        {
            assert_eq!(utf8_percent_encode(key, ENCODED_IN_KEY).to_string(), expected);
        }
    }
}
