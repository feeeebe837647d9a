//! One day: the account lives, policies are edited, and sweeps run, overlap and are killed.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    ops::AddAssign,
    time::Duration,
};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};
use reaper_core::{plan::DeferReason, report::Mode, target::Scope};
use serde_json::json;
use session_manager_emulator::{Emulator, FaultKind};
use session_reaper::{
    Budget,
    aws::{Connect, Ssm},
    lambda::request::Request,
    sinks::Sinks,
    sweep::source::PolicySource,
    sweep::{SweepContext, SweepError, sweep},
};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, sleep_until, timeout},
};

use crate::{
    check::{CONCURRENCY, End, Run, check, check_pace, check_undisturbed},
    event::Event,
    fleet::{self, ACCOUNT, IMMORTAL, PARAMETER, REGION},
    model::{self, Model},
    tap::{Answer, Exchange, Kill, Tap},
};

/// What happened on days.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Tally {
    /// By what came of the sweep, and of each of its sessions.
    counts: BTreeMap<&'static str, u64>,
    /// Faults that were applied, by the operation and their name.
    faults: BTreeMap<(String, String), u64>,
    n_sweeps: u64,
    n_calls: u64,
    /// Of all that was asked and served, and when.
    fingerprint: u64,
}

/// One process that sweeps: a function's execution environment.
struct Container {
    ssm: Ssm,
    tap: Tap,
    calls_per_second: f64,
}

struct Day {
    rng: Rng,
    emulator: Emulator,
    policies: HashMap<String, Model>,
    tally: Tally,
    terminating_for: Duration,
    /// How far the sweep's clock is ahead of AWS's.
    clock_ahead: SignedDuration,
    began: Instant,
    narrates: bool,
}

/// What goes on meanwhile.
struct Life(JoinHandle<()>);

impl Life {
    async fn end(self) {
        self.0.abort();
        let ended = self.0.await.expect_err("life goes on");
        assert!(ended.is_cancelled(), "{ended}");
    }
}

/// How a sweep is run.
#[derive(Clone, Debug)]
struct Circumstances {
    /// After the others of its round.
    begins_after: Duration,
    /// The function's mode, which its event may tighten.
    configured: Mode,
    event: Event,
    deadline: Duration,
    kill: Option<Kill>,
    /// Whether it is of an event that has been delivered before.
    is_duplicate: bool,
}

/// An edit of the policy while sweeps run.
#[derive(Clone, Debug)]
struct Edit {
    at: Instant,
    text: String,
}

/// Lives through the day of this seed.
pub(crate) fn day(seed: u64, narrates: bool) -> Result<Tally, String> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(async {
        let mut rng = Rng::with_seed(seed);
        let (n_sessions, n_targets) = fleet::size(&mut rng);
        let fleet = fleet::fleet(&mut rng, n_sessions, n_targets);
        let behaviour = format!("{:?}", fleet.behaviour);
        let terminating_for = fleet.behaviour.terminating_for;
        let mut day = Day {
            emulator: Emulator::new(fleet),
            policies: HashMap::new(),
            tally: Tally::default(),
            terminating_for,
            clock_ahead: match rng.u8(..12) {
                0 => fleet::skew(&mut rng),
                1..4 => SignedDuration::from_secs(rng.i64(-45..45)),
                _ => SignedDuration::ZERO,
            },
            began: Instant::now(),
            narrates,
            rng,
        };
        day.narrate(&format!("the clock is {} ahead", day.clock_ahead));
        day.narrate(&format!("{n_sessions} sessions, {behaviour}"));
        day.pass(n_sessions, n_targets).await?;
        for call in day.emulator.calls() {
            if let Some(kind) = call.fault {
                *day.tally.faults.entry((call.operation, name(&kind))).or_default() += 1;
            }
        }
        Ok(day.tally)
    })
}

impl Day {
    async fn pass(&mut self, n_sessions: usize, n_targets: usize) -> Result<(), String> {
        self.edit(n_sessions);
        let life = self.live(n_targets, Duration::from_mins(10));
        let mut containers: Vec<Container> = Vec::new();
        let mut most_calls = 16 + n_sessions / 4;
        let n_rounds = if 300 < n_sessions { self.rng.usize(1..4) } else { self.rng.usize(4..16) };
        for _ in 0..n_rounds {
            sleep(self.pause()).await;
            if self.rng.u8(..4) == 0 {
                self.edit(n_sessions);
            }
            self.emulator.set_faults(fleet::faults(&mut self.rng, &self.emulator));
            let mut events = self.events(most_calls);
            if self.rng.u16(..300) == 0 {
                // There are more pages than are read.
                self.emulator.set_faults(vec![fleet::endless()]);
                containers.insert(0, self.container_at(50.0));
                events[0].deadline = Duration::from_mins(15);
            }
            while containers.len() < events.len() {
                containers.push(self.container());
            }
            let edits = self.edits(n_sessions);
            let bustle = [self.live(n_targets, Duration::from_secs(4)), self.edit_at(&edits)];
            let running = containers.iter().zip(&events);
            let running = running.map(|(container, it)| self.run(container, it));
            let runs = futures_util::future::join_all(running).await;
            for life in bustle {
                life.end().await;
            }
            self.count_round(&runs, &events, &edits);
            for run in &runs {
                self.count(run);
                check(run, &self.policies)?;
                most_calls = most_calls.max(run.exchanges.len());
            }
            for (i, run) in runs.iter().enumerate().rev() {
                if matches!(run.end, End::Killed) || self.rng.u8(..6) == 0 {
                    let it = containers.remove(i);
                    check_pace(&it.tap.exchanges(), it.calls_per_second)?;
                }
            }
        }
        for it in containers {
            check_pace(&it.tap.exchanges(), it.calls_per_second)?;
        }
        life.end().await;
        self.calm_down(n_sessions).await
    }

    /// The evening: nothing goes wrong any more, and so every violator is terminated, in so many sweeps.
    async fn calm_down(&mut self, n_sessions: usize) -> Result<(), String> {
        self.emulator.set_faults(Vec::new());
        self.clock_ahead = SignedDuration::ZERO;
        let model = loop {
            let (text, model) = self.new_policy(n_sessions);
            if let Some(model) = model {
                self.emulator.set_parameter(PARAMETER, &text);
                break model;
            }
        };
        // Every sweep terminates so many, of which no more than all are violators; and where its run of them
        // begins is as good as random, so that each is missed by all of these once in e^20 times.
        let n_a_sweep = model.max_terminations.div_ceil(2);
        let most_sweeps = 20 * (self.emulator.active_ids().len() / n_a_sweep + 1);
        let mut requested: HashSet<String> = HashSet::new();
        let container = self.container_at(5.0);
        let never_disappears = |id: &str| id.ends_with(IMMORTAL);
        let mut is_over = false;
        for i in 0.. {
            sleep(Duration::from_mins(5)).await;
            let active = self.emulator.active_ids();
            let survivor =
                active.iter().find(|id| requested.contains(*id) && !never_disappears(id));
            if let Some(id) = survivor {
                return Err(format!("the termination of {id} was requested, and it is active"));
            }
            if is_over {
                break;
            }
            let circumstances = Circumstances {
                begins_after: Duration::ZERO,
                configured: Mode::Enforce,
                event: Event { payload: json!({}), mode: Some(Mode::Enforce) },
                deadline: Duration::from_mins(15),
                kill: None,
                is_duplicate: false,
            };
            let run = self.run(&container, &circumstances).await;
            self.count(&run);
            if has_terminated(&run) {
                self.tally.count("evening with a termination");
            }
            let n_waiting =
                check_undisturbed(&run, &self.policies, self.terminating_for, never_disappears)?;
            requested.extend(run.exchanges.iter().filter_map(Exchange::session).map(Into::into));
            is_over = n_waiting == 0;
            if !is_over && most_sweeps <= i {
                return Err(format!("{n_waiting} violators still wait after {i} sweeps"));
            }
        }
        check_pace(&container.tap.exchanges(), container.calls_per_second)
    }

    /// Sweeps run every few minutes; now and then a schedule is off for hours.
    fn pause(&mut self) -> Duration {
        Duration::from_secs(match self.rng.u8(..16) {
            0 => self.rng.u64(1..60),
            1 => self.rng.u64(3_600..36_000),
            _ => self.rng.u64(60..=600),
        })
    }

    fn live(&mut self, n_targets: usize, pause: Duration) -> Life {
        let life = fleet::live(self.rng.fork(), self.emulator.clone(), n_targets, pause);
        Life(tokio::spawn(life))
    }

    fn new_policy(&mut self, n_sessions: usize) -> (String, Option<Model>) {
        let now = self.emulator.now().as_second();
        let (text, model) = model::policy(&mut self.rng, n_sessions, now);
        if let Some(model) = &model {
            self.policies.insert(text.clone(), model.clone());
        }
        (text, model)
    }

    /// Edits the policy, which may make it invalid.
    fn edit(&mut self, n_sessions: usize) {
        let (text, _) = self.new_policy(n_sessions);
        self.narrate(&format!("the policy is now\n{text}"));
        self.emulator.set_parameter(PARAMETER, &text);
    }

    /// What becomes of the policy while the next sweeps run: mostly nothing.
    fn edits(&mut self, n_sessions: usize) -> Vec<Edit> {
        let n = if self.rng.u8(..3) == 0 { self.rng.usize(1..3) } else { 0 };
        let edit = |_| {
            let most = [300, 3_000, 60_000][self.rng.usize(..3)];
            let at = Instant::now() + Duration::from_millis(self.rng.u64(1..most));
            Edit { at, text: self.new_policy(n_sessions).0 }
        };
        let mut edits: Vec<_> = (0..n).map(edit).collect();
        edits.sort_by_key(|it| it.at);
        for Edit { at, text } in &edits {
            let at = (*at - self.began).as_secs_f64();
            self.narrate(&format!("unless the sweeps are over, the policy is at {at:.3}\n{text}"));
        }
        edits
    }

    fn edit_at(&self, edits: &[Edit]) -> Life {
        let (emulator, edits) = (self.emulator.clone(), edits.to_vec());
        Life(tokio::spawn(async move {
            for Edit { at, text } in edits {
                sleep_until(at).await;
                emulator.set_parameter(PARAMETER, &text);
            }
            std::future::pending::<()>().await;
        }))
    }

    fn container(&mut self) -> Container {
        let calls_per_second = [0.7, 2.5, 5.0, 6.0, 50.0][self.rng.usize(..5)];
        self.container_at(calls_per_second)
    }

    fn container_at(&self, calls_per_second: f64) -> Container {
        let (ssm, tap) = client(&self.emulator, calls_per_second);
        Container { ssm, tap, calls_per_second }
    }

    /// One event, or several at a time, of which some are one that is delivered again.
    fn events(&mut self, most_calls: usize) -> Vec<Circumstances> {
        let mut events = vec![self.circumstances(most_calls)];
        while events.len() < 3 && self.rng.u8(..4) == 0 {
            let next = self.circumstances(most_calls);
            events.push(if self.rng.bool() {
                // Delivered twice at once, or tried again after a minute.
                let begins_after = events[0].begins_after + Duration::from_mins(self.rng.u64(..2));
                let kill = next.kill;
                Circumstances { begins_after, kill, is_duplicate: true, ..events[0].clone() }
            } else {
                next
            });
        }
        events
    }

    fn circumstances(&mut self, most_calls: usize) -> Circumstances {
        let rng = &mut self.rng;
        let configured = if rng.u8(..16) == 0 { Mode::DryRun } else { Mode::Enforce };
        Circumstances {
            configured,
            event: Event::any(rng, configured),
            begins_after: Duration::from_secs([0, rng.u64(..5), rng.u64(..60)][rng.usize(..3)]),
            deadline: Duration::from_secs([3, 12, 30, 60, 290, 290, 890][rng.usize(..7)]),
            kill: (rng.u8(..6) == 0).then(|| {
                let most = [16, most_calls][rng.usize(..2)];
                Kill { at_call: rng.usize(..=most), after_effect: rng.bool() }
            }),
            is_duplicate: false,
        }
    }

    /// One sweep, from its event to its end.
    async fn run(&self, container: &Container, circumstances: &Circumstances) -> Run {
        let Circumstances { begins_after, configured, event, deadline, kill, .. } = circumstances;
        sleep(*begins_after).await;
        self.narrate(&format!("an event, if the function has {configured:?}: {}", event.payload));
        let began_at = Instant::now();
        let n_before = container.tap.exchanges().len();
        container.tap.arm(*kill);
        let active = || self.emulator.active_ids().into_iter().collect::<HashSet<_>>();
        let active_before = active();
        // As the function has it, by default.
        let hard_stop = Instant::now() + deadline.saturating_sub(Duration::from_secs(5));
        let last_start = Instant::now() + deadline.saturating_sub(Duration::from_secs(10));
        let budget = Budget { last_start, hard_stop };
        let now = self.emulator.now() + self.clock_ahead;
        let policy = PolicySource::Parameter(PARAMETER.into());
        let arn = format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:session-reaper");
        let scope = Scope::from_arn(&arn);
        let sweep_in = |mode| {
            Box::pin(sweep(SweepContext {
                ssm: &container.ssm,
                sinks: &Sinks::NONE,
                scope: scope.as_ref(),
                policy: &policy,
                mode,
                now,
                read_at: began_at,
                budget,
                concurrency: CONCURRENCY,
                memory: usize::MAX,
            }))
        };
        let end = match Request::read(&event.payload).and_then(|it| it.mode(*configured)) {
            Err(_) => End::Refused,
            Ok(mode) => tokio::select! {
                biased;
                () = container.tap.killed() => End::Killed,
                swept = timeout(2 * *deadline, sweep_in(mode)) => match swept {
                    Ok(Ok(swept)) => End::SweepResult(Box::new(swept)),
                    Ok(Err(SweepError::Policy(_))) => End::Unusable,
                    Ok(Err(SweepError::Clock(_))) => End::ClockWrong,
                    Err(_elapsed) => End::Killed, // `check` sees that it was late.
                }
            },
        };
        let run = Run {
            exchanges: container.tap.exchanges().split_at(n_before).1.to_vec(),
            mode: event.mode,
            now_ms: now.as_millisecond(),
            interval: Duration::from_secs_f64(container.calls_per_second.recip()),
            began_at,
            last_start: budget.last_start,
            hard_stop,
            ended_at: Instant::now(),
            active_before,
            active_after: active(),
            end,
        };
        self.narrate_run(&run, now);
        run
    }

    /// What happened at the same time.
    fn count_round(&mut self, runs: &[Run], events: &[Circumstances], edits: &[Edit]) {
        for (i, (run, event)) in runs.iter().zip(events).enumerate() {
            let is_during = |it: &&Edit| run.began_at < it.at && it.at < run.ended_at;
            if edits.iter().any(|it| is_during(&it)) {
                self.tally.count("edited meanwhile");
            }
            if event.is_duplicate {
                self.tally.count("delivered again");
            }
            let overlaps =
                |other: &&Run| run.began_at.max(other.began_at) < run.ended_at.min(other.ended_at);
            let n_before = runs[..i].iter().filter(overlaps).count();
            let both_terminated =
                runs[..i].iter().filter(overlaps).any(has_terminated) && has_terminated(run);
            for (is_it, name) in [
                (0 < n_before, "overlap"),
                (1 < n_before, "overlap of three"),
                (both_terminated, "overlap with terminations by both"),
            ] {
                if is_it {
                    self.tally.count(name);
                }
            }
        }
    }

    fn count(&mut self, run: &Run) {
        let tally = &mut self.tally;
        tally.n_sweeps += 1;
        tally.n_calls += run.exchanges.len() as u64;
        let mut hasher = DefaultHasher::new();
        tally.fingerprint.hash(&mut hasher);
        let mut count = |name| *tally.counts.entry(name).or_default() += 1;
        match &run.end {
            End::Killed => count("killed"),
            End::Refused => count("refused"),
            End::Unusable => count("unusable"),
            End::ClockWrong => count("clock wrong"),
            End::SweepResult(swept) => {
                match swept.report.verdicts.seen {
                    0 if swept.report.coverage.complete => count("no sessions"),
                    1_000.. => count("a thousand there"),
                    _ => {}
                }
                count(if swept.report.coverage.complete { "complete" } else { "incomplete" });
                if swept.report.circuit_breaker_open {
                    count("circuit_breaker_open");
                }
                serde_json::to_string(&swept.report).expect("JSON").hash(&mut hasher);
                for it in &swept.record.outcomes {
                    count(
                        it.step.action.deferred_by().map_or(it.outcome.name(), DeferReason::name),
                    );
                }
            }
        }
        for it in &run.exchanges {
            (it.started_at - self.began).hash(&mut hasher);
            (&it.operation, &it.request, &it.answer).hash(&mut hasher);
        }
        tally.fingerprint = hasher.finish();
    }

    fn narrate(&self, text: &str) {
        if self.narrates {
            eprintln!("{:>9.3} {text}", self.began.elapsed().as_secs_f64());
        }
    }

    fn narrate_run(&self, run: &Run, now: Timestamp) {
        if !self.narrates {
            return;
        }
        self.narrate(&format!("a sweep of {now}, {:?}, has ended", run.mode));
        for it in &run.exchanges {
            let at = (it.started_at - self.began).as_secs_f64();
            let answer = match &it.answer {
                None => "no answer".into(),
                Some(Answer::Reset) => "reset".into(),
                Some(Answer::Http { status, body, .. }) => {
                    format!(
                        "{status} {}",
                        body.as_ref().map(ToString::to_string).unwrap_or_default()
                    )
                }
            };
            eprintln!("{at:>9.3}   {} {} → {answer}", it.operation, it.request);
        }
        match &run.end {
            End::Killed => eprintln!("          killed"),
            End::Refused => eprintln!("          refused the event"),
            End::Unusable => eprintln!("          no usable policy"),
            End::ClockWrong => eprintln!("          the clock is wrong"),
            End::SweepResult(swept) => eprintln!("          {}", swept.report.counts()),
        }
    }
}

/// A client of the emulator, and what it is asked and answers.
pub(crate) fn client(emulator: &Emulator, calls_per_second: f64) -> (Ssm, Tap) {
    let (connect, tap) = connect(emulator);
    (connect.ssm(calls_per_second), tap)
}

/// A connection to the emulator, and what passes through it.
pub(crate) fn connect(emulator: &Emulator) -> (Connect, Tap) {
    let tap = Tap::new(emulator);
    let credentials = Credentials::new("AKIDEXAMPLE", "secret", None, None, "simulation");
    let config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .http_client(tap.clone())
        .build();
    (Connect::from(config), tap)
}

/// As a fleet's file has it, but in one word.
fn name(kind: &FaultKind) -> String {
    let debug = format!("{kind:?}");
    debug.split(['(', ' ']).next().unwrap_or_default().to_lowercase()
}

/// The names of all faults, as serde lists them when it knows none of such a name; but for the one of a bus,
/// which these days do not have.
fn names() -> BTreeSet<String> {
    let err = serde_json::from_str::<FaultKind>("\"?\"").expect_err("`?` is a fault").to_string();
    let names = err.split('`').skip(3).step_by(2).map(|it| it.replace('_', ""));
    names.filter(|it| it != "failentries").collect()
}

fn has_terminated(run: &Run) -> bool {
    let End::SweepResult(swept) = &run.end else { return false };
    0 < swept.report.outcomes.terminated
}

impl Tally {
    /// What another day of the same seed has met.
    pub(crate) fn add(mut self, met: &[&'static str]) -> Self {
        for name in met {
            self.count(name);
        }
        self
    }

    fn count(&mut self, name: &'static str) {
        *self.counts.entry(name).or_default() += 1;
    }

    pub(crate) fn per_second(&self, seconds: f64) -> String {
        #[expect(clippy::cast_precision_loss, reason = "not that many")]
        let per_second = |n: u64| n as f64 / seconds;
        format!(
            "{} sweeps ({:.0}/s), {} calls ({:.0}/s); {:?}; {} pairs of operation and fault",
            self.n_sweeps,
            per_second(self.n_sweeps),
            self.n_calls,
            per_second(self.n_calls),
            self.counts,
            self.faults.len()
        )
    }

    /// Every end, outcome and coincidence has been met: else the days prove less than they seem to.
    #[track_caller]
    pub(crate) fn assert_varied(&self) {
        for name in [
            "killed",
            "refused",
            "unusable",
            "clock wrong",
            "complete",
            "incomplete",
            "circuit_breaker_open",
            "terminated",
            "already_gone",
            "unconfirmed",
            "denied",
            "throttled",
            "failed",
            "would_terminate",
            "no_action",
            "circuit_breaker",
            "counted_again",
            "deadline",
            "limit",
            "paused",
            "no sessions",
            "a thousand there",
            "edited meanwhile",
            "delivered again",
            "overlap",
            "overlap of three",
            "overlap with terminations by both",
            "evening with a termination",
            "evidence: killed before the decisions",
            "evidence: killed before the manifest",
            "evidence: killed while it terminated",
            "evidence: no manifest",
            "evidence: no outcomes of sessions terminated",
            "evidence: none, and no session terminated",
            "evidence: none, and sessions terminated",
            "evidence: whole, with sessions terminated",
        ] {
            assert!(self.counts.contains_key(name), "never {name}: {:?}", self.counts);
        }
        let applied: BTreeSet<_> = self.faults.keys().map(|(_, name)| name.clone()).collect();
        assert_eq!(applied, names(), "every fault is applied");
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        for (name, n) in other.counts {
            *self.counts.entry(name).or_default() += n;
        }
        for (name, n) in other.faults {
            *self.faults.entry(name).or_default() += n;
        }
        self.n_sweeps += other.n_sweeps;
        self.n_calls += other.n_calls;
        self.fingerprint ^= other.fingerprint;
    }
}
