//! A sweep of many account-Regions by one policy.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use reaper_core::{
    organization::Status,
    plan::Action,
    policy::sha256,
    printable::printable,
    report::{Coverage, Mode, OutcomeRecord, Report, Row, SweepRecord},
    target::Scope,
};
use session_reaper::{
    organization::{not_listed, status_of},
    sweep::{SweepResult, carry_out, plan_by},
};
use tokio::time::Instant;

use super::{AccountRegions, CONCURRENCY, Confirmed, Fate, Overview};
use crate::{
    aws::AccountRegion,
    clock::now,
    confirm::defer_unconfirmed,
    lines::{Line, sorted},
    policy_at::Loaded,
    stdio::eprintln,
};

/// The longest that a sweep of all account-Regions may take.
const PATIENCE: Duration = Duration::from_hours(1);

/// What it means that an account-Region was not swept.
pub(crate) const VIOLATORS_MISSED: &str = "violating sessions may be active there";

/// The most warnings that are shown.
const MAX_WARNINGS: usize = 20;

/// What to sweep by, and how.
#[derive(Clone, Copy)]
pub(crate) struct Sweep<'a> {
    pub(crate) loaded: &'a Loaded,
    pub(crate) mode: Mode,
    /// The only sessions that may be terminated, if there was a question.
    pub(crate) confirmed: Option<&'a Confirmed>,
}

/// What became of many account-Regions, and their sessions.
pub(crate) struct Swept {
    pub(crate) overview: Overview,
    /// The counts of all sessions.
    pub(crate) report: Report,
    /// Every session.
    pub(crate) lines: Vec<Line>,
    /// What the plans terminate.
    pub(crate) to_terminate: Confirmed,
}

/// What became of one account-Region.
struct OneSwept {
    fate: Fate,
    warnings: Vec<String>,
    /// The rest is absent if nothing was listed.
    listed: Option<Listed>,
}

/// What is kept of it: not the sessions themselves, since there may be very many.
struct Listed {
    report: Report,
    lines: Vec<Line>,
    to_terminate: HashSet<Arc<str>>,
}

impl Sweep<'_> {
    /// Sweeps all of them. `to_rows` has the rows of the sessions that were evaluated. Ctrl-C stops
    /// terminations everywhere.
    pub(crate) async fn each(
        self,
        all: &AccountRegions,
        to_rows: impl Fn(AccountRegion<'_>, Timestamp, &[OutcomeRecord]) -> Vec<Row>,
    ) -> Swept {
        let began = Instant::now();
        let started_at = now();
        let work = async |at: AccountRegion<'_>| self.one(at, &to_rows).await;
        let visits = Box::pin(all.each("account-Regions swept", CONCURRENCY, PATIENCE, work));
        let visits = match self.mode {
            Mode::DryRun => visits.await,
            Mode::Enforce => all.interruptible(visits).await,
        };

        let mut whole = Whole {
            overview: Overview::default(),
            warnings: BTreeMap::new(),
            report: Report::new(&self.nothing_yet(started_at)),
            lines: Vec::new(),
            to_terminate: Confirmed::default(),
        };
        for (scope, visit) in visits {
            let nothing = |fate| OneSwept { fate, warnings: Vec::new(), listed: None };
            whole.add(&scope, visit.unwrap_or_else(nothing));
        }
        show(&whole.warnings);
        whole.finish(began.elapsed())
    }

    /// Sweeps one. Whatever goes wrong is in the result.
    async fn one(
        self,
        at: AccountRegion<'_>,
        to_rows: impl Fn(AccountRegion<'_>, Timestamp, &[OutcomeRecord]) -> Vec<Row>,
    ) -> OneSwept {
        let Self { loaded, mode, confirmed } = self;
        let not_swept = |fate| OneSwept { fate, warnings: Vec::new(), listed: None };
        let now = now();
        let context = at.context(&loaded.source, mode, now);
        let planned = plan_by(context, &loaded.policy, loaded.identity.clone());
        let mut planned = match Box::pin(planned).await {
            Ok(planned) => planned,
            Err(err) => return not_swept(Fate::new(Status::Incomplete, &err)),
        };
        if let Some((status, problem)) = not_listed(&planned) {
            return not_swept(Fate::new(status, &problem));
        }
        if let Some(confirmed) = confirmed {
            let confirmed = confirmed.of(at.scope());
            defer_unconfirmed(&confirmed, loaded.policy.limits.max_terminations, &mut planned);
        }
        let warnings = std::mem::take(&mut planned.warnings);
        let SweepResult { record, mut report } = Box::pin(carry_out(context, planned)).await;
        let (status, problem) = status_of(&report);
        report.sessions = Vec::new(); // `lines` has them.
        let evaluated = to_rows(at, now, &record.outcomes);
        let others = record.not_evaluated.iter().map(|(it, why)| Row::of_record(it, now, why));
        let lines = Line::of_rows(evaluated.into_iter().chain(others), at.scope()).collect();
        let steps = record.outcomes.iter().map(|it| &it.step);
        let to_terminate = steps.filter(|it| it.action == Action::Terminate);
        let to_terminate = to_terminate.map(|it| Arc::clone(&it.session.id)).collect();
        OneSwept {
            fate: Fate { status, problem },
            warnings,
            listed: Some(Listed { report, lines, to_terminate }),
        }
    }

    /// The record of a sweep of all account-Regions, before one is added.
    fn nothing_yet(self, started_at: Timestamp) -> SweepRecord {
        SweepRecord {
            mode: self.mode,
            scope: None,
            started_at,
            duration: Duration::ZERO,
            policy: self.loaded.identity.clone(),
            coverage: Coverage { complete: true, problem: None, pages: 0 },
            calls: 0,
            circuit_breaker_open: false,
            paused: self.loaded.policy.paused,
            outcomes: Vec::new(),
            not_evaluated: Vec::new(),
        }
    }
}

/// What is known of all account-Regions, one after the other.
struct Whole {
    overview: Overview,
    warnings: BTreeMap<String, Vec<Scope>>,
    /// As if it were one sweep.
    report: Report,
    lines: Vec<Line>,
    to_terminate: Confirmed,
}

impl Whole {
    fn add(&mut self, scope: &Scope, one: OneSwept) {
        for warning in one.warnings {
            self.warnings.entry(warning).or_default().push(scope.clone());
        }
        let counts = one.listed.as_ref().map(|it| (it.report.verdicts, it.report.outcomes));
        self.overview.add(scope, one.fate, counts);
        let Some(Listed { report, lines, to_terminate }) = one.listed else { return };
        self.to_terminate.add(scope, to_terminate);
        self.lines.extend(lines);
        let whole = &mut self.report;
        whole.coverage.pages += report.coverage.pages;
        whole.calls += report.calls;
        whole.verdicts += report.verdicts;
        whole.outcomes += report.outcomes;
        for (rule, n) in report.rules {
            *whole.rules.entry(rule).or_default() += n;
        }
        whole.backlog += report.backlog;
        whole.oldest_violation_s = whole.oldest_violation_s.max(report.oldest_violation_s);
        whole.circuit_breaker_open |= report.circuit_breaker_open;
    }

    fn finish(self, duration: Duration) -> Swept {
        let Self { overview, mut report, lines, to_terminate, .. } = self;
        report.duration_s = duration.as_secs_f64();
        report.coverage.problem = overview.problem(VIOLATORS_MISSED);
        report.coverage.complete = report.coverage.problem.is_none();
        let mut ids: Vec<_> = lines.iter().filter_map(|it| it.row.session_id.as_deref()).collect();
        ids.sort_unstable();
        report.sessions_sha256 = sha256(&ids.iter().flat_map(|it| [it, "\n"]).collect::<String>());
        Swept { overview, report, lines: sorted(lines), to_terminate }
    }
}

/// Shows each warning once, with the first account-Region of which it is true.
fn show(warnings: &BTreeMap<String, Vec<Scope>>) {
    for (warning, scopes) in warnings.iter().take(MAX_WARNINGS) {
        let Some(Scope { account, region, .. }) = scopes.first() else { continue };
        let others = match scopes.len() - 1 {
            0 => String::new(),
            1 => " and 1 other account-Region".into(),
            n => format!(" and {n} other account-Regions"),
        };
        eprintln!("warning: {account} {region}{others}: {}", printable(warning));
    }
    let n_left_out = warnings.len().saturating_sub(MAX_WARNINGS);
    if 0 < n_left_out {
        eprintln!("warning: {n_left_out} further warnings are left out");
    }
}
