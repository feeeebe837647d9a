use std::{collections::BTreeSet, fs, path::Path};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    census::Due,
    evaluate::Verdict,
    organization::{BatchReport, ScopeReport, Status, run_plan},
    plan::{Action, Step},
    report::Told,
    session::Session as Evaluated,
};

/// The instant of the sweep.
fn now() -> Timestamp {
    "2026-03-02T12:00:00Z".parse().expect("an instant")
}

fn tags() -> Tags {
    let tags =
        [("env", "prod"), ("team", "payments")].map(|(key, value)| (key.into(), value.into()));
    Tags::Known(Arc::new(tags.into()))
}

/// A session that violates a rule, or two of which it is not known which, and what became of it.
fn outcome(outcome: Outcome, minutes: i64, unknown: Option<Unknown>) -> OutcomeRecord {
    let session = Evaluated {
        document: unknown.is_none().then(|| "SSM-SessionManagerRunShell".into()),
        status: Some("Connected".into()),
        ..Evaluated::new(
            format!("jonas-{minutes:017}"),
            "arn:aws:sts::111122223333:assumed-role/developer/jonas",
            "i-0aa00000000000de1",
            now() - jiff::SignedDuration::from_mins(minutes),
        )
    };
    let rules: Vec<Arc<str>> = match unknown {
        None => vec!["production-one-hour".into()],
        Some(_) => vec!["production-one-hour".into(), "others-four-hours".into()],
    };
    let rules = rules.into();
    let (verdict, action) = if outcome == Outcome::NoAction {
        (Verdict::Warning { rules, unknown }, Action::Leave)
    } else if outcome == Outcome::Deferred {
        (Verdict::Violation { rules, unknown }, Action::Defer(DeferReason::Limit))
    } else {
        (Verdict::Violation { rules, unknown }, Action::Terminate)
    };
    let has_failed = matches!(outcome, Outcome::Denied | Outcome::Failed);
    let tags = unknown.map_or_else(tags, Tags::Unknown);
    let excess = Box::default();
    OutcomeRecord {
        step: Step { session: Box::new(session), tags, verdict, excess, action },
        outcome,
        told: Some(Box::new(Told {
            last_status: (outcome == Outcome::Unconfirmed).then(|| "Terminating".into()),
            error: has_failed.then(|| "AccessDeniedException: not authorized".into()),
        })),
    }
}

const OUTCOMES: [Outcome; 9] = [
    Outcome::Terminated,
    Outcome::AlreadyGone,
    Outcome::Unconfirmed,
    Outcome::Denied,
    Outcome::Throttled,
    Outcome::Failed,
    Outcome::WouldTerminate,
    Outcome::Deferred,
    Outcome::NoAction,
];

fn record(mode: Mode) -> SweepRecord {
    let of_each = OUTCOMES.iter().zip(130..).map(|(it, minutes)| outcome(*it, minutes, None));
    let mut outcomes: Vec<_> = of_each.collect();
    outcomes.push(outcome(Outcome::Terminated, 300, Some(Unknown::TagsNotReturned)));
    SweepRecord {
        mode,
        scope: Scope::from_arn("arn:aws:lambda:eu-central-1:111122223333:function:f"),
        started_at: now(),
        duration: std::time::Duration::from_millis(2_500),
        policy: PolicyIdentity::new("parameter /session-reaper/policy", Some(3), "version: 1"),
        coverage: Coverage { complete: true, problem: None, pages: 2 },
        calls: 14,
        circuit_breaker_open: false,
        paused: false,
        outcomes,
        not_evaluated: Vec::new(),
    }
}

fn warning(mode: Mode) -> ExpiryWarning {
    let compliant = OutcomeRecord {
        step: Step { verdict: Verdict::Compliant, ..outcome(Outcome::NoAction, 46, None).step },
        ..outcome(Outcome::NoAction, 46, None)
    };
    let due = Due {
        at: now() + jiff::SignedDuration::from_mins(14),
        rules: ["production-one-hour".into()].into(),
        unknown: (mode == Mode::DryRun).then_some(Unknown::TagsNotReturned),
    };
    let before = jiff::SignedDuration::from_mins(15);
    ExpiryWarning::new(&compliant, now(), Forewarning { due, before, is_repeat: false })
}

fn run() -> RunSummary {
    let plan = run_plan();
    let mut summary = RunSummary::new(&plan);
    let scopes = plan.batch(1).expect("a batch");
    let record = record(plan.mode);
    let swept = |it| ScopeReport::of_sweep(it, Status::Swept, None, Report::new(&record));
    let batch = BatchReport::new(plan.run.clone(), 1, scopes.iter().map(swept).collect());
    summary.add(&plan, 1, Some(&batch));
    let scopes = plan.batch(2).expect("a batch");
    let unreachable =
        |it| ScopeReport::not_swept(it, Status::Unreachable, Some("no answer".into()));
    let batch = BatchReport::new(plan.run.clone(), 2, vec![unreachable(&scopes[0])]);
    summary.add(&plan, 2, Some(&batch));
    summary
}

fn of(mode: Mode) -> Vec<Notice> {
    let record = record(mode);
    let report = Report::new(&record);
    of_sweep(&record, &report, &[warning(mode)]).collect()
}

/// Every kind of event, with and without what may be absent.
fn examples() -> Vec<Value> {
    let mut incomplete = record(Mode::Enforce);
    incomplete.scope = None;
    incomplete.policy.version = None;
    incomplete.coverage.problem = Some("`DescribeSessions` was throttled".into());
    incomplete.outcomes.truncate(1);
    let report = Report::new(&incomplete);
    let notices = of(Mode::Enforce).into_iter().chain(of(Mode::DryRun));
    let notices = notices.chain(of_sweep(&incomplete, &report, &[])).chain([of_run(&run())]);
    let value = |it: Notice| {
        let detail: Value = serde_json::from_str(&it.detail).expect("JSON");
        json!({"detail-type": it.detail_type, "detail": detail})
    };
    notices.map(value).collect()
}

fn text(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect(path)
}

/// They are committed, and `tests/schema/validate.py` holds them to the schemas.
#[test]
fn golden() {
    const PATH: &str = "src/notice/examples.jsonl";
    let lines: Vec<_> = examples().iter().map(ToString::to_string).collect();
    let actual = lines.join("\n") + "\n";
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join(PATH), &actual).expect("a file");
    }
    for (actual, expected) in actual.lines().zip(text(PATH).lines()) {
        assert_eq!(actual, expected);
    }
    assert_eq!(actual.lines().count(), text(PATH).lines().count());
}

/// The document has one example of each, as the code makes it.
#[test]
fn document_has_examples() {
    let document = text("../docs/events.md");
    let examples = examples();
    for detail_type in [Detail::OUTCOME, Detail::WARNING, Detail::SWEEP, Detail::RUN] {
        let (_, section) = document.split_once(&format!("## {detail_type}\n")).expect(detail_type);
        let (_, block) = section.split_once("```json\n").expect("an example");
        let (block, _) = block.split_once("```").expect("its end");
        let shown: Value = serde_json::from_str(block).expect("JSON");
        let first = examples.iter().find(|it| it["detail-type"] == detail_type).expect("one");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            let pretty = serde_json::to_string_pretty(&first["detail"]).expect("JSON");
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/events.md");
            let document = text("../docs/events.md");
            fs::write(path, document.replace(block, &format!("{pretty}\n"))).expect("a file");
        } else {
            assert_eq!(shown, first["detail"], "{detail_type}");
        }
    }
}

/// The same outcome has the same id in each sweep, and no two events have the same.
#[test]
fn ids() {
    let id = |it: &Notice| {
        let detail: Value = serde_json::from_str(&it.detail).expect("JSON");
        (it.detail_type, detail["id"].as_str().expect("an id").to_owned())
    };
    let first: Vec<_> = of(Mode::Enforce).iter().map(id).collect();
    let distinct: BTreeSet<_> = first.iter().map(|it| &it.1).collect();
    assert_eq!(distinct.len(), first.len());
    assert!(distinct.iter().all(|it| it.len() == 32));
    let dry: BTreeSet<_> = of(Mode::DryRun).iter().map(|it| id(it).1).collect();
    assert!(first.iter().all(|it| !dry.contains(&it.1)), "a dry run's are others");

    let mut record = record(Mode::Enforce);
    record.started_at += jiff::SignedDuration::from_mins(5);
    let report = Report::new(&record);
    let later: Vec<_> = of_sweep(&record, &report, &[warning(Mode::Enforce)]).collect();
    let later: Vec<_> = later.iter().map(id).collect();
    for (first, later) in first.iter().zip(later) {
        assert_eq!(*first == later, first.0 != Detail::SWEEP, "{later:?}");
    }
}

/// However long the texts are, an event fits into a call, and says that it was cut.
#[test]
fn longest() {
    let long: Arc<str> = "\u{1}".repeat(5_000).into();
    let mut record = record(Mode::Enforce);
    record.policy.source = "p".repeat(2_048);
    record.coverage.problem = Some(long.to_string());
    for it in &mut record.outcomes {
        let session = &mut *it.step.session;
        for text in [&mut session.id, &mut session.owner, &mut session.target] {
            *text = Arc::clone(&long);
        }
        session.document = Some(Arc::clone(&long));
        session.status = Some(Arc::clone(&long));
        let rules = (0..500).map(|n| format!("{n}{long}").into()).collect();
        it.step.verdict = Verdict::Violation { rules, unknown: None };
        let tags = (0..500).map(|n| (format!("{n}{long}"), long.to_string())).collect();
        it.step.tags = Tags::Known(Arc::new(tags));
        let told = || Some(Arc::clone(&long));
        it.told = Some(Box::new(Told { last_status: told(), error: told() }));
    }
    let warned = &record.outcomes[0];
    let due = Due { at: now(), rules: warned.step.verdict.rules().into(), unknown: None };
    let forewarning = Forewarning { due, before: jiff::SignedDuration::ZERO, is_repeat: true };
    let warnings = [ExpiryWarning::new(warned, now(), forewarning)];
    let report = Report::new(&record);
    let mut run = run();
    run.not_swept.iter_mut().for_each(|it| it.problem = Some(long.to_string()));
    run.not_swept.extend(vec![run.not_swept[0].clone(); 200]);
    for notice in of_sweep(&record, &report, &warnings).chain([of_run(&run)]) {
        let size = notice.size();
        assert!(size <= MAX_CALL_BYTES, "{size}");
        let detail: Value = serde_json::from_str(&notice.detail).expect("JSON");
        assert_eq!(detail["truncated"], true, "{}", notice.detail_type);
        let chat = &detail["chat"]["content"];
        let length = |name: &str| chat[name].as_str().map_or(0, str::len);
        assert!(length("title") <= 250 && length("description") <= 2_100);
    }
}

proptest! {
    /// Every event is in one call, in order, and no call has more than AWS allows.
    #[test]
    fn calls(sizes in prop::collection::vec(0_usize..200_000, 0..60)) {
        let notice = |n: &usize| Notice { detail_type: Detail::RUN, detail: "x".repeat(*n) };
        let notices: Vec<_> = sizes.iter().map(notice).collect();
        let calls: Vec<_> = batches(notices.iter().cloned()).collect();
        for pair in calls.windows(2) {
            let size = |it: &[Notice]| it.iter().map(Notice::size).sum::<usize>();
            let next = size(&pair[0]) + pair[1][0].size();
            prop_assert!(pair[0].len() == MAX_ENTRIES || MAX_CALL_BYTES < next, "it is as full as it may be");
        }
        for call in &calls {
            prop_assert!((1..=MAX_ENTRIES).contains(&call.len()));
            prop_assert!(call.iter().map(Notice::size).sum::<usize>() <= MAX_CALL_BYTES);
        }
        prop_assert_eq!(calls.concat(), notices);
    }
}
