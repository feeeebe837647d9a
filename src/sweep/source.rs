//! Where the policy is read from, once per sweep, so that an edit takes effect at the next one.

use std::path::PathBuf;

use crate::{
    Budget,
    aws::{CallError, Ssm},
};
use reaper_core::policy::{Policy, PolicyErrors, PolicyIdentity};

/// Where the policy is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PolicySource {
    /// In this file.
    File(PathBuf),
    /// Here, under the name by which reports call it.
    Inline {
        /// Such as the environment variable's name.
        name: String,
        /// The YAML.
        text: String,
    },
    /// In this parameter of Parameter Store.
    Parameter(String),
}

/// Why there is no policy to evaluate by.
#[derive(Debug, thiserror::Error)]
pub enum PolicyUnusable {
    /// Its file cannot be read.
    #[error("the policy file `{}` cannot be read: {err}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// What the system says.
        err: std::io::Error,
    },
    /// Its text is no policy.
    #[error("the policy from {source_name} is not valid: {errors}")]
    Invalid {
        /// Where it was read from.
        source_name: String,
        /// All that is wrong with it.
        errors: PolicyErrors,
    },
    /// Its parameter cannot be read.
    #[error("the policy parameter `{name}` cannot be read: {err}")]
    Parameter {
        /// Which one.
        name: String,
        /// What AWS says.
        err: CallError,
    },
}

impl std::fmt::Display for PolicySource {
    /// What reports call it: never its text.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Inline { name, .. } => f.write_str(name),
            Self::Parameter(name) => write!(f, "parameter {name}"),
        }
    }
}

impl PolicySource {
    /// Reads and parses the policy.
    ///
    /// # Errors
    /// If it cannot be read, or is no policy: then no session may be terminated.
    pub async fn load(
        &self,
        ssm: &Ssm,
        budget: Budget,
    ) -> Result<(Policy, PolicyIdentity), PolicyUnusable> {
        let (text, version) = match self {
            Self::File(path) => match std::fs::read_to_string(path) {
                Ok(text) => (text, None),
                Err(err) => return Err(PolicyUnusable::File { path: path.clone(), err }),
            },
            Self::Inline { text, .. } => (text.clone(), None),
            Self::Parameter(name) => match ssm.parameter(name, budget).await {
                Ok(parameter) => (parameter.value, Some(parameter.version)),
                Err(err) => return Err(PolicyUnusable::Parameter { name: name.clone(), err }),
            },
        };
        let source = self.to_string();
        match Policy::parse(&text) {
            Ok(policy) => Ok((policy, PolicyIdentity::new(source, version, &text))),
            Err(errors) => Err(PolicyUnusable::Invalid { source_name: source, errors }),
        }
    }
}
