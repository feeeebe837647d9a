//! The environment, read once, at start: every variable that the function knows.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    ops::RangeInclusive,
    str::FromStr,
    time::Duration,
};

use jiff::SignedDuration;
use serde_json::Map;

use crate::{organization::HubConfig, sinks::log::LogSettings, sweep::source::PolicySource};
use reaper_core::{
    arn::Arn,
    duration,
    event::{CompliantLines, Severity},
    evidence::Demand,
    organization::{Selection, is_account_id, is_region, is_role_name},
    report::Mode,
};

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
    /// `REAPER_EVENT_BUS`: where events go, by name or ARN.
    pub event_bus: Option<String>,
    /// `REAPER_PERIOD`: from one planned sweep to the next.
    pub period: SignedDuration,
    /// `REAPER_EVIDENCE_BUCKET` and `REAPER_EVIDENCE`: where decisions and outcomes are recorded, and whether
    /// they have to be.
    pub evidence: Option<(String, Demand)>,
    /// What makes the function the hub of an organization: `REAPER_MEMBER_ROLE` and others.
    pub hub: Option<HubConfig>,
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
            reader.read("REAPER_DEADLINE_MARGIN", Duration::from_secs(10), some_duration);
        let event_bus = reader.read("REAPER_EVENT_BUS", None, |it| event_bus(it).map(Some));
        let period = reader.read("REAPER_PERIOD", DEFAULT_PERIOD, some_period);
        let evidence = reader.evidence();
        // The log has been made by then: here it is only checked.
        reader.read("REAPER_LOG_COMPLIANT", CompliantLines::All, |it| compliant_lines(it, period));
        let hub = reader.hub();
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
                Ok(Self {
                    mode,
                    policy,
                    calls_per_second,
                    concurrency,
                    memory,
                    deadline_margin,
                    event_bus,
                    period,
                    evidence,
                    hub,
                })
            }
            _ => Err(ConfigErrors(reader.errors)),
        }
    }
}

/// From one planned sweep to the next, as the template has it.
const DEFAULT_PERIOD: SignedDuration = SignedDuration::from_mins(5);

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

    /// Without a member role, none of the others may be set, or an organization would be swept as one
    /// account.
    fn hub(&mut self) -> Option<HubConfig> {
        let role = self.read("REAPER_MEMBER_ROLE", None, |it| role_name(it).map(Some));
        let bucket = self.variable("REAPER_BUCKET");
        let regions = self.list("REAPER_REGIONS", "a Region such as `eu-central-1`", is_region);
        let mut accounts = |name| -> BTreeSet<String> {
            self.list(name, "an account's 12 digits", is_account_id).into_iter().collect()
        };
        let include = accounts("REAPER_INCLUDE_ACCOUNTS");
        let exclude = accounts("REAPER_EXCLUDE_ACCOUNTS");
        let canaries = accounts("REAPER_CANARY_ACCOUNTS");
        let batch_size = self.read("REAPER_BATCH_SIZE", 50, |it| number(it, 1..=1_000));
        let run_timeout = self.read("REAPER_RUN_TIMEOUT", Duration::from_hours(1), some_duration);
        let Some(member_role) = role else {
            let names =
                HUB.iter().filter(|it| self.variables.get(**it).is_some_and(|it| !it.is_empty()));
            let set: Vec<_> = names.copied().collect();
            if !set.is_empty() && !self.errors.iter().any(|it| it.starts_with("REAPER_MEMBER_ROLE"))
            {
                let set = set.join(", ");
                self.errors.push(format!("set REAPER_MEMBER_ROLE, or do not set {set}"));
            }
            return None;
        };
        if bucket.is_none() {
            self.errors.push("set REAPER_BUCKET, for REAPER_MEMBER_ROLE is set".into());
        }
        if regions.is_empty() {
            self.errors.push("set REAPER_REGIONS, for REAPER_MEMBER_ROLE is set".into());
        }
        let selection = Selection { include, exclude, canaries, batch_size };
        Some(HubConfig { member_role, bucket: bucket?, regions, selection, run_timeout })
    }

    /// A list, separated by commas; each item once.
    fn list(&mut self, name: &'static str, what: &str, is_valid: fn(&str) -> bool) -> Vec<String> {
        self.read(name, Vec::new(), |text| {
            let mut items: Vec<String> = Vec::new();
            for item in text.split(',').map(str::trim) {
                if !is_valid(item) {
                    return Err(format!("write {what}, or several with commas, not `{item}`"));
                }
                if items.iter().any(|it| it == item) {
                    return Err(format!("`{item}` is named twice"));
                }
                items.push(item.into());
            }
            Ok(items)
        })
    }

    fn evidence(&mut self) -> Option<(String, Demand)> {
        let bucket = self.variable("REAPER_EVIDENCE_BUCKET");
        let demand = self.read("REAPER_EVIDENCE", None, |it| it.parse().map(Some));
        if bucket.is_none() && demand.is_some() {
            self.errors.push("set REAPER_EVIDENCE_BUCKET, or do not set REAPER_EVIDENCE".into());
        }
        Some((bucket?, demand.unwrap_or(Demand::Required)))
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

/// The variables that only a hub has, but for its role.
const HUB: [&str; 7] = [
    "REAPER_BUCKET",
    "REAPER_REGIONS",
    "REAPER_INCLUDE_ACCOUNTS",
    "REAPER_EXCLUDE_ACCOUNTS",
    "REAPER_CANARY_ACCOUNTS",
    "REAPER_BATCH_SIZE",
    "REAPER_RUN_TIMEOUT",
];

fn role_name(text: &str) -> Result<String, String> {
    if is_role_name(text) {
        return Ok(text.into());
    }
    Err(format!("write the name of a role, without its path and ARN, not `{text}`"))
}

fn compliant_lines(text: &str, period: SignedDuration) -> Result<CompliantLines, String> {
    match text {
        "all" => Ok(CompliantLines::All),
        "new" => Ok(CompliantLines::New { period }),
        "none" => Ok(CompliantLines::None),
        _ => Err(format!("write `all`, `new` or `none`, not `{text}`")),
    }
}

fn some_period(text: &str) -> Result<SignedDuration, String> {
    duration::parse(text).ok_or_else(|| not_a_duration(text))
}

fn some_duration(text: &str) -> Result<Duration, String> {
    let parsed = duration::parse(text).and_then(|it| Duration::try_from(it).ok());
    parsed.ok_or_else(|| not_a_duration(text))
}

fn not_a_duration(text: &str) -> String {
    format!("write a duration such as `10s` or `1m`, not `{text}`")
}

fn event_bus(text: &str) -> Result<String, String> {
    let is_name = |it: &str| {
        let is_plain = |it: u8| it.is_ascii_alphanumeric() || b"/.-_".contains(&it);
        (1..=256).contains(&it.len()) && it.bytes().all(is_plain)
    };
    let name = match Arn::parse(text) {
        Some(Arn { service: "events", resource, .. }) => resource.strip_prefix("event-bus/"),
        Some(_) => None,
        None => Some(text),
    };
    if name.is_some_and(is_name) {
        return Ok(text.into());
    }
    Err(format!("write the name or the ARN of an event bus, not `{text}`"))
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
    let is_json = variable("AWS_LAMBDA_LOG_FORMAT") != "Text";
    let period = some_period(variable("REAPER_PERIOD")).unwrap_or(DEFAULT_PERIOD);
    let compliant = compliant_lines(variable("REAPER_LOG_COMPLIANT"), period);
    let compliant = compliant.unwrap_or(CompliantLines::All);
    LogSettings { is_json, least, compliant, common }
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
            event_bus: None,
            period: SignedDuration::from_mins(5),
            evidence: None,
            hub: None,
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
            event_bus: Some("arn:aws:events:eu-west-1:000000000001:event-bus/a/b".into()),
            period: SignedDuration::from_mins(15),
            evidence: Some(("audit".into(), Demand::BestEffort)),
            hub: None,
        };
        let variables = [
            ("REAPER_MODE", "enforce"),
            ("REAPER_POLICY_FILE", "/policy.yaml"),
            ("REAPER_CALLS_PER_SECOND", "2.5"),
            ("REAPER_CONCURRENCY", "3"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512"),
            ("REAPER_DEADLINE_MARGIN", "1m30s"),
            ("REAPER_EVENT_BUS", "arn:aws:events:eu-west-1:000000000001:event-bus/a/b"),
            ("REAPER_PERIOD", "15m"),
            ("REAPER_EVIDENCE_BUCKET", "audit"),
            ("REAPER_EVIDENCE", "best-effort"),
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
            ("REAPER_EVENT_BUS", "arn:aws:sqs:eu-west-1:000000000001:a"),
            ("REAPER_PERIOD", "5"),
            ("REAPER_EVIDENCE", "yes"),
            ("REAPER_LOG_COMPLIANT", "changes"),
            ("REAPER_DRY_RUN", "true"),
        ];
        let expected = "REAPER_MODE: a mode is `dry-run` or `enforce`, not `Enforce`; \
            set exactly one of REAPER_POLICY_PARAMETER, REAPER_POLICY and REAPER_POLICY_FILE, not 2; \
            REAPER_CALLS_PER_SECOND: write a number from 0.1 to 10000, not `0`; \
            REAPER_CONCURRENCY: write a number from 1 to 1000, not `-1`; \
            REAPER_DEADLINE_MARGIN: write a duration such as `10s` or `1m`, not `10`; \
            REAPER_EVENT_BUS: write the name or the ARN of an event bus, not \
            `arn:aws:sqs:eu-west-1:000000000001:a`; \
            REAPER_PERIOD: write a duration such as `10s` or `1m`, not `5`; \
            REAPER_EVIDENCE: write `required` or `best-effort`, not `yes`; \
            REAPER_LOG_COMPLIANT: write `all`, `new` or `none`, not `changes`; \
            REAPER_DRY_RUN is no variable of this function; it has REAPER_MODE, \
            REAPER_POLICY_PARAMETER, REAPER_POLICY, REAPER_POLICY_FILE, REAPER_CALLS_PER_SECOND, \
            REAPER_CONCURRENCY, REAPER_DEADLINE_MARGIN, REAPER_EVENT_BUS, REAPER_PERIOD, \
            REAPER_EVIDENCE_BUCKET, REAPER_EVIDENCE, REAPER_LOG_COMPLIANT, REAPER_MEMBER_ROLE, REAPER_BUCKET, \
            REAPER_REGIONS, \
            REAPER_INCLUDE_ACCOUNTS, REAPER_EXCLUDE_ACCOUNTS, REAPER_CANARY_ACCOUNTS, REAPER_BATCH_SIZE, \
            REAPER_RUN_TIMEOUT";
        assert_eq!(config(&variables), Err(expected.into()));
        assert!(config(&[]).is_err_and(|it| it.ends_with("REAPER_POLICY_FILE, not 0")));
        for nan in ["NaN", "inf", "1e9"] {
            let variables = [("REAPER_POLICY", "x"), ("REAPER_CALLS_PER_SECOND", nan)];
            assert!(config(&variables).is_err(), "{nan}");
        }
    }

    /// Without a word, no session is terminated without its record.
    #[test]
    fn evidence() {
        let bucket = ("REAPER_EVIDENCE_BUCKET", "audit");
        let evidence = |more: &[(&str, &str)]| {
            let all: Vec<_> = [("REAPER_POLICY", "x")].iter().chain(more).copied().collect();
            config(&all).map(|it| it.evidence)
        };
        assert_eq!(evidence(&[]), Ok(None));
        assert_eq!(evidence(&[bucket]), Ok(Some(("audit".into(), Demand::Required))));
        let alone = evidence(&[("REAPER_EVIDENCE", "best-effort")]);
        let expected = "set REAPER_EVIDENCE_BUCKET, or do not set REAPER_EVIDENCE";
        assert_eq!(alone, Err(expected.into()));
    }

    /// A member role makes the function a hub, and then the others are read.
    #[test]
    fn hub() {
        let hub = |more: &[(&str, &str)]| -> Result<Option<HubConfig>, String> {
            let base = [("REAPER_POLICY", "x"), ("REAPER_MEMBER_ROLE", "ReaperMember")];
            let all: Vec<_> = base.iter().chain(more).copied().collect();
            config(&all).map(|it| it.hub)
        };
        let ids = |it: &[&str]| it.iter().map(ToString::to_string).collect();
        let (bucket, regions) =
            (("REAPER_BUCKET", "b"), ("REAPER_REGIONS", "eu-west-1, eu-central-1"));
        let expected = HubConfig {
            member_role: "ReaperMember".into(),
            bucket: "b".into(),
            regions: vec!["eu-west-1".into(), "eu-central-1".into()],
            selection: Selection {
                include: ids(&["000000000001"]),
                exclude: ids(&["000000000002", "000000000003"]),
                canaries: ids(&["000000000004"]),
                batch_size: 7,
            },
            run_timeout: Duration::from_mins(30),
        };
        let all = [
            bucket,
            regions,
            ("REAPER_INCLUDE_ACCOUNTS", "000000000001"),
            ("REAPER_EXCLUDE_ACCOUNTS", "000000000002,000000000003"),
            ("REAPER_CANARY_ACCOUNTS", "000000000004"),
            ("REAPER_BATCH_SIZE", "7"),
            ("REAPER_RUN_TIMEOUT", "30m"),
        ];
        assert_eq!(hub(&all), Ok(Some(expected)));
        let defaults = hub(&[bucket, regions]).expect("a hub").expect("a hub");
        assert_eq!((defaults.selection.batch_size, defaults.run_timeout.as_secs()), (50, 3_600));
        assert_eq!(
            hub(&[]),
            Err("set REAPER_BUCKET, for REAPER_MEMBER_ROLE is set; set REAPER_REGIONS, for \
                 REAPER_MEMBER_ROLE is set"
                .into())
        );
        for (name, value, expected) in [
            ("REAPER_REGIONS", "eu-west-1,", "REAPER_REGIONS: write a Region"),
            ("REAPER_REGIONS", "eu-west-1,eu-west-1", "`eu-west-1` is named twice"),
            ("REAPER_REGIONS", "all", "not `all`"),
            ("REAPER_EXCLUDE_ACCOUNTS", "1", "write an account's 12 digits"),
            ("REAPER_MEMBER_ROLE", "arn:aws:iam::000000000001:role/x", "without its path and ARN"),
            ("REAPER_BATCH_SIZE", "0", "from 1 to 1000"),
        ] {
            let err = hub(&[bucket, regions, (name, value)].map(|it| it)).expect_err(value);
            assert!(err.contains(expected), "{err}");
        }
        let err = config(&[("REAPER_POLICY", "x"), bucket]).expect_err("no role");
        assert_eq!(err, "set REAPER_MEMBER_ROLE, or do not set REAPER_BUCKET");
    }
}
