//! The environment, read once, at start: every variable that the function knows.

use std::{collections::BTreeMap, fmt, ops::RangeInclusive, str::FromStr, time::Duration};

use serde_json::Map;

use crate::{sinks::log::LogSettings, sweep::source::PolicySource};
use reaper_core::{duration, event::Severity, report::Mode};

/// How the function works.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `REAPER_MODE`: an event may tighten it, and never loosen it.
    pub mode: Mode,
    /// `REAPER_POLICY_PARAMETER`, `REAPER_POLICY` or `REAPER_POLICY_FILE`.
    pub policy: PolicySource,
    /// `REAPER_CALLS_PER_SECOND`: the pace of each operation.
    pub calls_per_second: f64,
    /// `REAPER_CONCURRENCY`: terminations in flight.
    pub concurrency: usize,
    /// What the sessions may take, in bytes: of `AWS_LAMBDA_FUNCTION_MEMORY_SIZE`, what the rest of the
    /// function leaves.
    pub memory: usize,
    /// `REAPER_DEADLINE_MARGIN`: no new call starts this close to the deadline.
    pub deadline_margin: Duration,
}

/// All that is wrong with the environment. Never empty.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConfigErrors(pub Vec<String>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("; "))
    }
}

impl std::error::Error for ConfigErrors {}

/// The variables of the environment by name.
pub type Variables = BTreeMap<String, String>;

/// Reads the environment. Nothing else does.
#[must_use]
pub fn environment() -> Variables {
    #[expect(clippy::disallowed_methods, reason = "the environment is read here and nowhere else")]
    let all = std::env::vars_os();
    all.map(|(name, value)| (name.to_string_lossy().into(), value.to_string_lossy().into()))
        .collect()
}

impl Config {
    /// Reads the configuration from variables. An empty variable counts as absent.
    ///
    /// # Errors
    /// If a `REAPER_` variable is unknown or bad, or if not exactly one names a policy.
    pub fn from_variables(variables: &Variables) -> Result<Self, ConfigErrors> {
        let mut reader = Reader { variables, known: Vec::new(), errors: Vec::new() };
        let mode = reader.read("REAPER_MODE", Mode::default(), Mode::from_str);
        let policy = reader.policy();
        let calls_per_second =
            reader.read("REAPER_CALLS_PER_SECOND", 5.0, |it| number(it, 0.1..=10_000.0));
        let concurrency = reader.read("REAPER_CONCURRENCY", 8, |it| number(it, 1..=1_000));
        let deadline_margin =
            reader.read("REAPER_DEADLINE_MARGIN", Duration::from_secs(10), |it| {
                let parsed = duration::parse(it).and_then(|it| Duration::try_from(it).ok());
                parsed.ok_or_else(|| format!("write a duration such as `10s` or `1m`, not `{it}`"))
            });
        for name in variables.keys().filter(|it| it.starts_with("REAPER_")) {
            if !reader.known.contains(&name.as_str()) {
                let known = reader.known.join(", ");
                reader
                    .errors
                    .push(format!("{name} is no variable of this function; it has {known}"));
            }
        }
        match policy {
            Some(policy) if reader.errors.is_empty() => {
                let memory = memory(variables);
                Ok(Self { mode, policy, calls_per_second, concurrency, memory, deadline_margin })
            }
            _ => Err(ConfigErrors(reader.errors)),
        }
    }
}

/// MiB that the function takes besides the sessions: 11 with few of them, and what an answer and the
/// reply take while they are read and written.
const OWN_MEMORY: usize = 40;

/// MiB of the smallest function, and of the template's.
const DEFAULT_MEMORY: usize = 128;

/// Lambda sets the variable; elsewhere there is as much memory as Lambda gives at least.
fn memory(variables: &Variables) -> usize {
    let size = variables.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE").and_then(|it| it.parse().ok());
    size.unwrap_or(DEFAULT_MEMORY).saturating_sub(OWN_MEMORY).saturating_mul(1 << 20)
}

struct Reader<'a> {
    variables: &'a Variables,
    known: Vec<&'static str>,
    errors: Vec<String>,
}

impl Reader<'_> {
    fn variable(&mut self, name: &'static str) -> Option<String> {
        self.known.push(name);
        self.variables.get(name).filter(|it| !it.is_empty()).cloned()
    }

    fn read<T>(
        &mut self,
        name: &'static str,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> T {
        match self.variable(name).map(|it| parse(&it)) {
            None => default,
            Some(Ok(value)) => value,
            Some(Err(message)) => {
                self.errors.push(format!("{name}: {message}"));
                default
            }
        }
    }

    fn policy(&mut self) -> Option<PolicySource> {
        let parameter = self.variable("REAPER_POLICY_PARAMETER").map(PolicySource::Parameter);
        let inline = self.variable("REAPER_POLICY").map(|text| {
            let name = "environment variable REAPER_POLICY".into();
            PolicySource::Inline { name, text }
        });
        let file = self.variable("REAPER_POLICY_FILE").map(|it| PolicySource::File(it.into()));
        let mut named: Vec<_> = [parameter, inline, file].into_iter().flatten().collect();
        if named.len() != 1 {
            self.errors.push(format!(
                "set exactly one of REAPER_POLICY_PARAMETER, REAPER_POLICY and REAPER_POLICY_FILE, \
                 not {}",
                named.len(),
            ));
        }
        named.pop()
    }
}

fn number<T>(text: &str, range: RangeInclusive<T>) -> Result<T, String>
where
    T: FromStr + PartialOrd + fmt::Display,
{
    let parsed = text.parse().ok().filter(|it| range.contains(it));
    let (low, high) = (range.start(), range.end());
    parsed.ok_or_else(|| format!("write a number from {low} to {high}, not `{text}`"))
}

/// How to log: by the variables that Lambda sets, and Powertools' name of the service.
#[must_use]
pub fn log_settings(variables: &Variables) -> LogSettings {
    let variable = |name: &str| variables.get(name).map_or("", String::as_str);
    let least = match variable("AWS_LAMBDA_LOG_LEVEL") {
        "WARN" => Severity::Warning,
        "ERROR" | "FATAL" => Severity::Error,
        _ => Severity::Info,
    };
    let service = match variable("POWERTOOLS_SERVICE_NAME") {
        "" => "session-reaper",
        name => name,
    };
    let mut common = Map::new();
    common.insert("service".into(), service.into());
    common.insert("function_name".into(), variable("AWS_LAMBDA_FUNCTION_NAME").into());
    LogSettings { is_json: variable("AWS_LAMBDA_LOG_FORMAT") != "Text", least, common }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(variables: &[(&str, &str)]) -> Result<Config, String> {
        let variables = variables.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        Config::from_variables(&variables.collect()).map_err(|it| it.to_string())
    }

    #[test]
    fn defaults_are_those_of_the_reference() {
        let expected = Config {
            mode: Mode::DryRun,
            policy: PolicySource::Parameter("/p".into()),
            calls_per_second: 5.0,
            concurrency: 8,
            memory: 88 << 20,
            deadline_margin: Duration::from_secs(10),
        };
        let variables = [("REAPER_POLICY_PARAMETER", "/p"), ("REAPER_POLICY", ""), ("HOME", "/")];
        assert_eq!(config(&variables), Ok(expected));
    }

    #[test]
    fn every_variable_is_read() {
        let expected = Config {
            mode: Mode::Enforce,
            policy: PolicySource::File("/policy.yaml".into()),
            calls_per_second: 2.5,
            concurrency: 3,
            memory: 472 << 20,
            deadline_margin: Duration::from_secs(90),
        };
        let variables = [
            ("REAPER_MODE", "enforce"),
            ("REAPER_POLICY_FILE", "/policy.yaml"),
            ("REAPER_CALLS_PER_SECOND", "2.5"),
            ("REAPER_CONCURRENCY", "3"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512"),
            ("REAPER_DEADLINE_MARGIN", "1m30s"),
        ];
        assert_eq!(config(&variables), Ok(expected));
    }

    #[test]
    fn every_error_names_its_variable() {
        let variables = [
            ("REAPER_MODE", "Enforce"),
            ("REAPER_POLICY_FILE", "/policy.yaml"),
            ("REAPER_POLICY", "version: 1"),
            ("REAPER_CALLS_PER_SECOND", "0"),
            ("REAPER_CONCURRENCY", "-1"),
            ("REAPER_DEADLINE_MARGIN", "10"),
            ("REAPER_DRY_RUN", "true"),
        ];
        let expected = "REAPER_MODE: a mode is `dry-run` or `enforce`, not `Enforce`; \
            set exactly one of REAPER_POLICY_PARAMETER, REAPER_POLICY and REAPER_POLICY_FILE, not 2; \
            REAPER_CALLS_PER_SECOND: write a number from 0.1 to 10000, not `0`; \
            REAPER_CONCURRENCY: write a number from 1 to 1000, not `-1`; \
            REAPER_DEADLINE_MARGIN: write a duration such as `10s` or `1m`, not `10`; \
            REAPER_DRY_RUN is no variable of this function; it has REAPER_MODE, \
            REAPER_POLICY_PARAMETER, REAPER_POLICY, REAPER_POLICY_FILE, REAPER_CALLS_PER_SECOND, \
            REAPER_CONCURRENCY, REAPER_DEADLINE_MARGIN";
        assert_eq!(config(&variables), Err(expected.into()));
        assert!(config(&[]).is_err_and(|it| it.ends_with("REAPER_POLICY_FILE, not 0")));
        for nan in ["NaN", "inf", "1e9"] {
            let variables = [("REAPER_POLICY", "x"), ("REAPER_CALLS_PER_SECOND", nan)];
            assert!(config(&variables).is_err(), "{nan}");
        }
    }
}
