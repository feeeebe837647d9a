//! The environment and the shared configuration files, as the AWS CLI 1.x reads them.

use aws_config::profile;
use aws_runtime::env_config::file::EnvConfigFiles;
use aws_types::os_shim_internal::{Env, Fs};

/// A variable of the environment, if it is set to a text.
#[expect(clippy::disallowed_methods, reason = "the one place of these commands that reads it")]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The settings of the profile in use.
#[derive(Debug)]
pub struct Settings {
    /// The profile's name, if one was chosen.
    pub profile: Option<String>,
    /// Whether an option chose it: then the environment's credentials do not count.
    pub(crate) is_explicit: bool,
    sections: Option<profile::ProfileSet>,
}

/// The longest chain of source profiles; one that names itself has no end.
const MAX_SOURCES: usize = 8;

impl Settings {
    /// Reads the files. A profile that was chosen and is not there is an error only once it is
    /// `checked`.
    pub async fn load(profile: Option<&str>) -> Self {
        let is_explicit = profile.is_some();
        let profile = profile
            .map(Into::into)
            .or_else(|| variable("AWS_DEFAULT_PROFILE"))
            .or_else(|| variable("AWS_PROFILE"));
        let files = EnvConfigFiles::default();
        let chosen = profile.clone().map(Into::into);
        let sections = profile::load(&Fs::real(), &Env::real(), &files, chosen).await.ok();
        Self { profile, is_explicit, sections }
    }

    /// Refuses a profile that is not there.
    pub fn checked(&self) -> Result<(), String> {
        match &self.profile {
            Some(name) if self.profile(name).is_none() => {
                Err(format!("The config profile ({name}) could not be found"))
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

    /// The profile to log in to, if it, or one that it takes its credentials from, has a login.
    pub fn login(&self) -> Option<&str> {
        let mut name = self.profile.as_deref().unwrap_or("default");
        for _ in 0..MAX_SOURCES {
            let profile = self.profile(name)?;
            if ["sso_session", "sso_start_url"].iter().any(|it| profile.get(it).is_some()) {
                return Some(name);
            }
            name = profile.get("source_profile")?;
        }
        None
    }

    /// A variable, or else the profile's setting.
    pub fn variable_or(&self, variable_name: &str, key: &str) -> Option<String> {
        variable(variable_name).or_else(|| self.get(key).map(Into::into))
    }
}
