//! CloudWatch metrics of one sweep or run, in the embedded metric format (EMF).

use serde_json::{Map, Value, json};

use crate::{
    organization::{RunSummary, Status},
    report::{Outcomes, Report, Verdicts},
};

/// The metrics' namespace in CloudWatch.
const NAMESPACE: &str = "SessionReaper";

/// One line for the sweep, and one for each violated rule.
///
/// `now_ms` is the time of the metrics, in milliseconds since 1970; `remaining_ms` is the rest of the
/// invocation's time, if it is known.
/// Dimensions are account, Region and mode, and the rule's id. Sessions, owners and targets are no
/// dimensions, because CloudWatch charges for each value as a separate metric.
#[must_use]
pub fn lines(report: &Report, now_ms: i64, remaining_ms: Option<u64>) -> Vec<String> {
    let sweep = line(report, now_ms, None, &sweep(report, remaining_ms));
    let rule = |(id, n): (&std::sync::Arc<str>, &usize)| {
        line(report, now_ms, Some(id), &[("Violations", "Count", json!(n))])
    };
    std::iter::once(sweep).chain(report.rules.iter().map(rule)).collect()
}

type Metric = (&'static str, &'static str, Value);

fn count(name: &'static str, n: usize) -> Metric {
    (name, "Count", json!(n))
}

/// What sweeps and runs both count, but for what is compliant or exempt, and what was deferred.
fn sessions(verdicts: Verdicts, outcomes: Outcomes) -> [Metric; 10] {
    [
        count("Violations", verdicts.violation),
        count("Warnings", verdicts.warning),
        count("Undetermined", verdicts.undetermined),
        count("NotEvaluated", verdicts.not_evaluated),
        count("Terminated", outcomes.terminated),
        count("AlreadyGone", outcomes.already_gone),
        count("Unconfirmed", outcomes.unconfirmed),
        count("Denied", outcomes.denied),
        count("Throttled", outcomes.throttled),
        count("Failed", outcomes.failed),
    ]
}

fn sweep(report: &Report, remaining_ms: Option<u64>) -> Vec<Metric> {
    let (verdicts, outcomes) = (report.verdicts, report.outcomes);
    let mut metrics = vec![
        count("Sessions", verdicts.seen),
        count("Compliant", verdicts.compliant),
        count("Exempt", verdicts.exempt),
    ];
    metrics.extend(sessions(verdicts, outcomes));
    metrics.extend([
        count("Deferred", outcomes.deferred),
        count("Backlog", report.backlog),
        count("WouldTerminate", outcomes.would_terminate),
        count("CircuitBreakerOpen", report.circuit_breaker_open.into()),
        count("Paused", report.paused.into()),
        count("Complete", report.coverage.complete.into()),
        ("Pages", "Count", json!(report.coverage.pages)),
        ("Calls", "Count", json!(report.calls)),
        ("OldestViolation", "Seconds", json!(report.oldest_violation_s.unwrap_or(0))),
        ("SweepDuration", "Seconds", json!(report.duration_s)),
    ]);
    if let Some(events) = &report.events {
        metrics.push(count("EventsFailed", events.failed));
    }
    if let Some(evidence) = &report.evidence {
        metrics.push(count("EvidenceFailed", evidence.problem.is_some().into()));
    }
    if let Some(remaining_ms) = remaining_ms {
        metrics.push(("RemainingTime", "Milliseconds", json!(remaining_ms)));
    }
    metrics
}

/// One line for a run over many accounts and Regions. Its only dimension is the mode: metrics are charged
/// by dimension, so that what is known of an account-Region is in reports and logs alone.
#[must_use]
pub fn run_line(summary: &RunSummary, now_ms: i64) -> String {
    let sweeps = &summary.sweeps;
    let (verdicts, outcomes) = (sweeps.verdicts, sweeps.outcomes);
    let status = |name, status| count(name, summary.n(status));
    let mut metrics = vec![
        count("Accounts", summary.accounts),
        count("AccountRegions", summary.account_regions),
        status("Swept", Status::Swept),
        status("Incomplete", Status::Incomplete),
        status("NoAccess", Status::NoAccess),
        status("RegionOff", Status::RegionOff),
        status("AccessDenied", Status::Denied),
        status("Unreachable", Status::Unreachable),
        status("NotStarted", Status::NotStarted),
        count("Missing", summary.missing),
        count("CanaryFailed", summary.canary_failure.is_some().into()),
        count("Sessions", verdicts.seen),
    ];
    metrics.extend(sessions(verdicts, outcomes));
    metrics.extend([
        count("WouldTerminate", outcomes.would_terminate),
        count("Deferred", outcomes.deferred),
        count("Backlog", sweeps.backlog),
        count("CircuitBreakersOpen", sweeps.circuit_breakers_open),
        ("Calls", "Count", json!(sweeps.calls)),
        ("OldestViolation", "Seconds", json!(sweeps.oldest_violation_s.unwrap_or(0))),
        ("RunDuration", "Seconds", json!(summary.duration_s)),
    ]);
    if let Some(events) = &summary.events {
        metrics.push(count("EventsFailed", sweeps.events_failed + events.failed));
    }
    metrics.extend(sweeps.evidence_failed.map(|n| count("EvidenceFailed", n)));
    emf(vec![("Mode", summary.mode.name().to_owned())], now_ms, &metrics)
}

fn line(report: &Report, now_ms: i64, rule: Option<&str>, metrics: &[Metric]) -> String {
    let unknown = || "unknown".to_owned();
    let mut dimensions = vec![
        ("Account", report.account.clone().unwrap_or_else(unknown)),
        ("Region", report.region.clone().unwrap_or_else(unknown)),
        ("Mode", report.mode.name().to_owned()),
    ];
    dimensions.extend(rule.map(|it| ("Rule", it.to_owned())));
    emf(dimensions, now_ms, metrics)
}

fn emf(dimensions: Vec<(&str, String)>, now_ms: i64, metrics: &[Metric]) -> String {
    let names: Vec<_> = dimensions.iter().map(|(name, _)| *name).collect();
    let definitions: Vec<_> =
        metrics.iter().map(|(name, unit, _)| json!({"Name": name, "Unit": unit})).collect();
    let mut root = Map::new();
    root.insert(
        "_aws".into(),
        json!({
            "Timestamp": now_ms,
            "CloudWatchMetrics": [
                {"Namespace": NAMESPACE, "Dimensions": [names], "Metrics": definitions},
            ],
        }),
    );
    for (name, value) in dimensions {
        root.insert(name.into(), value.into());
    }
    for (name, _, value) in metrics {
        root.insert((*name).into(), value.clone());
    }
    Value::Object(root).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{organization::run_plan, report::tests::sweep_record};

    #[test]
    fn every_metric_has_its_own_count() {
        let lines = lines(&Report::new(&sweep_record()), 1_772_430_000_000, Some(17));
        let lines: Vec<Value> =
            lines.iter().map(|it| serde_json::from_str(it).expect("JSON")).collect();
        assert_eq!(lines.len(), 1 + 3);
        let expected = json!({
            "Account": "123456789012", "Region": "eu-west-1", "Mode": "enforce",
            "Sessions": 96, "Compliant": 10, "Exempt": 11, "Violations": 36, "Warnings": 14, "Undetermined": 12,
            "NotEvaluated": 13, "Backlog": 8, "Terminated": 1, "AlreadyGone": 2, "Unconfirmed": 3,
            "Denied": 4, "Throttled": 5, "Failed": 6, "WouldTerminate": 7, "Deferred": 8, "CircuitBreakerOpen": 1,
            "Paused": 1, "Complete": 1, "Pages": 15, "Calls": 16, "OldestViolation": 1_000,
            "SweepDuration": 1.5, "RemainingTime": 17,
        });
        let mut actual = lines[0].clone();
        let aws = actual.as_object_mut().and_then(|it| it.remove("_aws")).expect("metadata");
        assert_eq!(actual, expected);
        assert_eq!(aws["Timestamp"], 1_772_430_000_000_i64);
        let directive = &aws["CloudWatchMetrics"][0];
        let defined = directive["Metrics"].as_array().map(Vec::len);
        assert_eq!(defined, Some(expected.as_object().map_or(0, Map::len) - 3));
        assert_eq!(lines[2]["Rule"], "b");
        assert_eq!(lines[2]["Violations"], 36);
    }

    /// Of a run, only the mode is a dimension: no account and no Region.
    #[test]
    fn run_has_one_dimension() {
        let plan = run_plan();
        let mut summary = RunSummary::new(&plan);
        summary.add(&plan, 1, None);
        summary.add(&plan, 2, None);
        let line = run_line(&summary, 1_772_430_000_000);
        let line: Value = serde_json::from_str(&line).expect("JSON");
        let directive = &line["_aws"]["CloudWatchMetrics"][0];
        assert_eq!(directive["Dimensions"], json!([["Mode"]]));
        assert_eq!(line["Mode"], "enforce");
        let values = ["Accounts", "AccountRegions", "Missing", "Swept", "CanaryFailed"];
        assert_eq!(values.map(|it| line[it].as_i64()), [3, 6, 6, 0, 1].map(Some));
        let names = directive["Metrics"].as_array().into_iter().flatten();
        let names: std::collections::BTreeSet<_> = names.map(|it| it["Name"].to_string()).collect();
        assert_eq!(Some(names.len()), line.as_object().map(|it| it.len() - 2));
    }
}
