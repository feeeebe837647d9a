//! `reapctl test`: whether a policy gives sessions the expected verdicts.

use std::{collections::BTreeMap, fs, process::ExitCode};

use anyhow::{Context, bail};
use jiff::Timestamp;
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use reaper_core::census::{Evaluated, Evaluator, Unseen};
use reaper_core::printable::printable;

use crate::{
    case::Cases,
    explain::{Explanation, described},
    file::{File, Invalid},
    stdio::println,
};

/// Test a policy: evaluate the sessions of a file of cases, and compare with what it expects.
///
/// policies/cases/ has such a file for each example policy.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  reapctl test policy.yaml cases.yaml\n  reapctl test policy.yaml cases.yaml --junit report.xml"
)]
pub(crate) struct Args {
    /// The policy's file; `-` for standard input
    policy: String,
    /// The file of cases
    cases: String,
    /// Write a report for CI systems as well
    #[arg(long, value_name = "FILE")]
    junit: Option<String>,
}

/// The name of a group, or the index of a case that is alone.
type Group<'a> = (Option<&'a str>, usize);

/// Succeeds if every case is met.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    File::not_both_from_stdin(&args.policy, Some(&args.cases))?;
    let policy_file = File::read(&args.policy)?;
    let policy = policy_file.policy()?;
    let file = File::read(&args.cases)?;
    let cases = Cases::parse(&file)?;

    let at_line =
        |line: u64, why: &str| Invalid(format!("cannot use `{}`: line {line}: {why}", file.name));
    let unusable = |why| Invalid(format!("cannot use `{}`: {why}", file.name));
    let types = cases.types().map_err(unusable)?;
    let scope = cases.scope()?;
    let evaluator = |now| Evaluator::new(&policy, now).at(scope.as_ref()).typed(&types);
    let mut groups: BTreeMap<Group<'_>, (Timestamp, Vec<Evaluated>)> = BTreeMap::new();
    let mut places = Vec::new();
    for (index, spanned) in cases.sessions.iter().enumerate() {
        let (case, line) = (&spanned.value, spanned.referenced.line());
        let now = case.now.unwrap_or(cases.now);
        let session = case.check(&policy).and_then(|()| case.session(now, index));
        let session = session.map_err(|why| at_line(line, &why))?;
        let contradicts = cases.sessions.iter().take(index).find(|it| it.value.contradicts(case));
        if let Some(other) = contradicts {
            let (first, title) = (other.referenced.line(), printable(&other.value.title()));
            let message = format!(
                "`{}` has other tags than `{title}` in line {first}, and the same target in the same \
                 group; give them the same tags, or targets of their own",
                printable(&case.title())
            );
            bail!(at_line(line, &message));
        }
        // One without a group is alone.
        let group = (case.group.as_deref(), if case.group.is_some() { 0 } else { index });
        let (at, active) = groups.entry(group).or_insert((now, Vec::new()));
        if *at != now {
            bail!(at_line(line, "the cases of a group have one `now`"));
        }
        places.push((group, active.len()));
        active.push(evaluator(now).evaluate(Box::new(session), case.tags()));
    }
    for (now, active) in groups.values_mut() {
        evaluator(*now).conclude(active, Unseen::NOTHING, || true);
    }

    let mut suite = TestSuite::new(&file.name);
    for (spanned, (group, place)) in cases.sessions.iter().zip(places) {
        let (case, line) = (&spanned.value, spanned.referenced.line());
        let Some((now, active)) = groups.get(&group) else { continue };
        let Some(evaluated) = active.get(place) else { continue };
        let explanation =
            Explanation::new(&evaluator(*now), *now, evaluated, active, Unseen::NOTHING);
        let title = printable(&case.title());
        let status = if case.is_met_by(&explanation.verdict) {
            TestCaseStatus::success()
        } else {
            let (expected, actual) = (printable(&case.expected()), described(&explanation.verdict));
            let explanation = explanation.about(&case.expected_rules());
            println!("FAILED {}:{line}: {title}", file.name);
            println!("  expected: {expected}\n  actual:   {actual}\n\n{explanation}\n");
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_message(format!("expected {expected}, but it is {actual}"));
            status.set_description(explanation.to_string());
            status
        };
        let mut it = TestCase::new(format!("line {line}: {title}"), status);
        it.set_classname(&policy_file.name);
        suite.add_test_case(it);
    }
    let (n, n_failed) = (suite.tests, suite.failures);
    let s = if n == 1 { "" } else { "s" };
    println!("{}: {n} case{s}, {} met, {n_failed} failed", policy_file.name, n - n_failed);
    if let Some(path) = &args.junit {
        let mut report = Report::new("reapctl test");
        report.add_test_suite(suite);
        let file = fs::File::create(path).with_context(|| format!("cannot write `{path}`"))?;
        report.serialize(file).with_context(|| format!("cannot write `{path}`"))?;
    }
    Ok(if n_failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
