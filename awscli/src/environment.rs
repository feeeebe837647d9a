//! The environment and the shared configuration files, as the AWS CLI 1.x reads them.

use std::{
    fmt::{self, Display, Formatter},
    path::PathBuf,
};

use aws_config::profile;
use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};
use aws_types::os_shim_internal::{Env, Fs};

use crate::{
    config_file::{ConfigFile, decoded, encoded},
    version::Version,
};

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
    config: ConfigFile,
    credentials: ConfigFile,
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
    /// The profile names endpoints of services that are not there.
    NoServices(String),
    /// A key without its secret.
    PartialCredentials {
        /// Where it was found, in botocore's words.
        source: &'static str,
        /// What is missing.
        missing: &'static str,
    },
}

impl Display for Problem {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, reason } => {
                write!(f, "Unable to parse config file: {path} ({reason})")
            }
            Self::NoProfile(name) => write!(f, "The config profile ({name}) could not be found"),
            Self::NoServices(name) => write!(
                f,
                "The profile is configured to use the services section but the \"{name}\" services \
                 configuration does not exist."
            ),
            Self::PartialCredentials { source, missing } => {
                write!(f, "Partial credentials found in {source}, missing: {missing}")
            }
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
        Self::load_as(Version::One, profile).await
    }

    /// The same, with the profile that this version of the AWS CLI chooses.
    pub(crate) async fn load_as(version: Version, profile: Option<&str>) -> Self {
        let is_explicit = profile.is_some();
        let names = match version {
            Version::One => ["AWS_DEFAULT_PROFILE", "AWS_PROFILE"],
            Version::Two => ["AWS_PROFILE", "AWS_DEFAULT_PROFILE"],
        };
        let profile = profile.map(Into::into);
        let profile = profile.or_else(|| names.into_iter().find_map(variable));
        let mut files = EnvConfigFiles::builder();
        let (mut config, mut credentials) = (ConfigFile::default(), ConfigFile::default());
        let mut problem = None;
        for (kind, name, default) in [
            (EnvConfigFileKind::Config, "AWS_CONFIG_FILE", "~/.aws/config"),
            (EnvConfigFileKind::Credentials, "AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"),
        ] {
            let path = expand(&variable(name).unwrap_or_else(|| default.into()));
            match ConfigFile::read(&path, kind) {
                Ok(file) => {
                    files = files.with_contents(kind, file.text());
                    match kind {
                        EnvConfigFileKind::Config => config = file,
                        EnvConfigFileKind::Credentials => credentials = file,
                    }
                }
                Err(reason) => {
                    problem = Some(Problem::File { path: path.display().to_string(), reason });
                }
            }
        }
        let files = files.build();
        let chosen = profile.as_deref().map(|it| encoded(it).into());
        let sections = profile::load(&Fs::real(), &Env::real(), &files, chosen).await;
        if let Err(err) = &sections {
            let (path, reason) = ("~/.aws".into(), err.to_string());
            problem.get_or_insert(Problem::File { path, reason });
        }
        let sections = sections.ok();
        Self { profile, files, is_explicit, config, credentials, sections, problem }
    }

    /// The name by which the SDK knows the profile, if one was chosen.
    #[must_use]
    pub fn sdk_profile(&self) -> Option<String> {
        self.profile.as_deref().map(encoded)
    }

    /// Checks that the credentials that come first are whole: half of them must not let another identity
    /// act.
    ///
    /// # Errors
    /// If not.
    pub fn check_credentials(&self) -> Result<(), Problem> {
        let is_set = |name| variable(name).is_some_and(|it| !it.is_empty());
        let (key, secret) = ("aws_access_key_id", "aws_secret_access_key");
        if !self.is_explicit && is_set("AWS_ACCESS_KEY_ID") {
            let missing = "AWS_SECRET_ACCESS_KEY";
            let problem = Problem::PartialCredentials { source: "env", missing };
            return if is_set(missing) { Ok(()) } else { Err(problem) };
        }
        let before = ["role_arn", "sso_session", "sso_start_url", "web_identity_token_file"];
        if before.iter().any(|it| self.get(it).is_some()) {
            return Ok(());
        }
        let name = encoded(self.profile.as_deref().unwrap_or("default"));
        let in_config = if name == "default" { name.clone() } else { format!("profile {name}") };
        let files = [
            ("shared-credentials-file", &self.credentials, name),
            ("config-file", &self.config, in_config),
        ];
        match files.into_iter().find(|(_, file, section)| file.has(section, key)) {
            Some((source, file, section)) if !file.has(&section, secret) => {
                Err(Problem::PartialCredentials { source, missing: secret })
            }
            _ => Ok(()),
        }
    }

    /// Checks that the files can be used and that the profile exists, with the endpoints that it names unless
    /// another endpoint comes before them.
    ///
    /// # Errors
    /// If not.
    pub fn checked(&self, endpoint_url: Option<&str>) -> Result<(), Problem> {
        let url = endpoint_url.map(Into::into).or_else(|| variable("AWS_ENDPOINT_URL"));
        let uses_services = url.is_none_or(|it| it.is_empty());
        match (&self.problem, &self.profile) {
            (Some(problem), _) => Err(problem.clone()),
            (None, Some(name)) if self.profile(name).is_none() => {
                Err(Problem::NoProfile(name.clone()))
            }
            _ => match self.get("services").filter(|_| uses_services) {
                Some(name) if !self.config.has_section(&format!("services {name}")) => {
                    Err(Problem::NoServices(decoded(name)))
                }
                _ => Ok(()),
            },
        }
    }

    fn profile(&self, name: &str) -> Option<&profile::Profile> {
        self.sections.as_ref()?.get_profile(&encoded(name))
    }

    /// A setting of the profile.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.profile(self.profile.as_deref().unwrap_or("default"))?.get(key)
    }

    /// The profile to log in to, and how, if it, or one that it takes its credentials from, has a
    /// login.
    #[must_use]
    pub fn login(&self) -> Option<(String, Login)> {
        let mut name = self.profile.clone().unwrap_or("default".into());
        for _ in 0..MAX_SOURCES {
            let profile = self.profile(&name)?;
            if ["sso_session", "sso_start_url"].iter().any(|it| profile.get(it).is_some()) {
                return Some((name, Login::Sso));
            }
            if profile.get("login_session").is_some() {
                return Some((name, Login::Console));
            }
            name = decoded(profile.get("source_profile")?);
        }
        None
    }

    /// The file of the certificates to trust, where botocore looks for it.
    #[must_use]
    pub fn ca_bundle(&self) -> Option<String> {
        let path = self.variable_or("AWS_CA_BUNDLE", "ca_bundle");
        let path = path.or_else(|| variable("REQUESTS_CA_BUNDLE"));
        path.map(|it| expand(&it).display().to_string())
    }

    /// A variable, or else the profile's setting.
    #[must_use]
    pub fn variable_or(&self, variable_name: &str, key: &str) -> Option<String> {
        variable(variable_name).or_else(|| self.get(key).map(Into::into))
    }
}
