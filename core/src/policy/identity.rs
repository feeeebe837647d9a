//! Which text a policy was read from.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Which policy a sweep evaluated by.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyIdentity {
    /// Where it was read: a parameter's name, a file's path, or the environment variable.
    pub source: String,
    /// The parameter's version.
    pub version: Option<i64>,
    /// SHA-256 of the text, in hexadecimal.
    pub sha256: String,
}

impl PolicyIdentity {
    /// The identity of a policy's text.
    #[must_use]
    pub fn new(source: impl Into<String>, version: Option<i64>, text: &str) -> Self {
        Self { source: source.into(), version, sha256: sha256(text) }
    }
}

/// SHA-256 of a text, in hexadecimal.
#[must_use]
pub fn sha256(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_is_sha_256() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(PolicyIdentity::new("p", None, "abc").sha256, abc);
    }
}
