//! The environment and the shared configuration files, as the AWS CLI 1.x reads them.

use std::{
    fmt::{self, Display, Formatter},
    path::PathBuf,
};

use aws_config::profile;
use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};
use aws_types::os_shim_internal::{Env, Fs};

use crate::config_file;

/// A variable of the environment, if it is set and UTF-8.
#[expect(clippy::disallowed_methods, reason = "the one place of these commands that reads it")]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// A path; `~` is the home directory.
pub(crate) fn expand(path: &str) -> PathBuf {
    match (path.strip_prefix('~'), variable("HOME")) {
        (Some(rest), Some(home)) if rest.is_empty() || rest.starts_with('/') => {
            PathBuf::from(home + rest)
        }
        _ => PathBuf::from(path),
    }
}

/// The settings of the profile in use.
#[derive(Debug)]
pub struct Settings {
    /// The profile's name, if one was chosen.
    pub profile: Option<String>,
    /// The files, as the SDK takes them.
    pub files: EnvConfigFiles,
    /// Whether an option chose the profile: then the environment's credentials are ignored.
    pub(crate) is_explicit: bool,
    sections: Option<profile::ProfileSet>,
    problem: Option<Problem>,
}

/// What is wrong with the profile in use, in the AWS CLI's words and with the reason.
#[derive(Clone, Debug)]
pub enum Problem {
    /// A file that the AWS CLI refuses.
    File {
        /// Where it is.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no profile with this name.
    NoProfile(String),
}

impl Display for Problem {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, reason } => {
                write!(f, "Unable to parse config file: {path} ({reason})")
            }
            Self::NoProfile(name) => write!(f, "The config profile ({name}) could not be found"),
        }
    }
}

/// How a user logs in to a profile.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Login {
    /// By `aws login`: a session of AWS's console.
    Console,
    /// By `aws sso login`: IAM Identity Center.
    Sso,
}

impl Login {
    /// The command that logs in.
    #[must_use]
    pub fn command(self) -> &'static str {
        match self {
            Self::Console => "aws login",
            Self::Sso => "aws sso login",
        }
    }
}

/// The longest chain of source profiles, which may be circular.
const MAX_SOURCES: usize = 8;

impl Settings {
    /// Reads the files. `checked` reports their errors.
    pub async fn load(profile: Option<&str>) -> Self {
        let is_explicit = profile.is_some();
        let profile = profile
            .map(Into::into)
            .or_else(|| variable("AWS_DEFAULT_PROFILE"))
            .or_else(|| variable("AWS_PROFILE"));
        let mut files = EnvConfigFiles::builder();
        let mut problem = None;
        for (kind, name, default) in [
            (EnvConfigFileKind::Config, "AWS_CONFIG_FILE", "~/.aws/config"),
            (EnvConfigFileKind::Credentials, "AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"),
        ] {
            let path = expand(&variable(name).unwrap_or_else(|| default.into()));
            match config_file::read(&path, kind) {
                Ok(text) => files = files.with_contents(kind, text),
                Err(reason) => {
                    problem = Some(Problem::File { path: path.display().to_string(), reason });
                }
            }
        }
        let files = files.build();
        let chosen = profile.clone().map(Into::into);
        let sections = profile::load(&Fs::real(), &Env::real(), &files, chosen).await;
        if let Err(err) = &sections {
            let (path, reason) = ("~/.aws".into(), err.to_string());
            problem.get_or_insert(Problem::File { path, reason });
        }
        Self { profile, files, is_explicit, sections: sections.ok(), problem }
    }

    /// Checks that the files can be used and that the profile exists.
    ///
    /// # Errors
    /// If not.
    pub fn checked(&self) -> Result<(), Problem> {
        match (&self.problem, &self.profile) {
            (Some(problem), _) => Err(problem.clone()),
            (None, Some(name)) if self.profile(name).is_none() => {
                Err(Problem::NoProfile(name.clone()))
            }
            _ => Ok(()),
        }
    }

    fn profile(&self, name: &str) -> Option<&profile::Profile> {
        self.sections.as_ref()?.get_profile(name)
    }

    /// A setting of the profile.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.profile(self.profile.as_deref().unwrap_or("default"))?.get(key)
    }

    /// The profile to log in to, and how, if it, or one that it takes its credentials from, has a
    /// login.
    #[must_use]
    pub fn login(&self) -> Option<(&str, Login)> {
        let mut name = self.profile.as_deref().unwrap_or("default");
        for _ in 0..MAX_SOURCES {
            let profile = self.profile(name)?;
            if ["sso_session", "sso_start_url"].iter().any(|it| profile.get(it).is_some()) {
                return Some((name, Login::Sso));
            }
            if profile.get("login_session").is_some() {
                return Some((name, Login::Console));
            }
            name = profile.get("source_profile")?;
        }
        None
    }

    /// A variable, or else the profile's setting.
    #[must_use]
    pub fn variable_or(&self, variable_name: &str, key: &str) -> Option<String> {
        variable(variable_name).or_else(|| self.get(key).map(Into::into))
    }
}
