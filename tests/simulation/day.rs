//! One day: the account lives, policies are edited, and sweeps run, overlap and are killed.

use std::{
    collections::{BTreeMap, HashMap, HashSet, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    ops::AddAssign,
    time::Duration,
};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_ssm::config::{Credentials, SharedCredentialsProvider};
use fastrand::Rng;
use jiff::Timestamp;
use session_manager_emulator::Emulator;
use session_reaper::{
    report::Mode,
    source::PolicySource,
    ssm::{Ssm, Within},
    sweep::{Order, sweep},
    target::Scope,
};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use crate::{
    check::{CONCURRENCY, End, Run, check, check_pace, check_undisturbed},
    fleet::{self, ACCOUNT, IMMORTAL, PARAMETER, REGION},
    model::Model,
    tap::{Answer, Exchange, Kill, Tap},
};

/// What happened on days.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Tally {
    /// By what came of the sweep, and of each of its sessions.
    counts: BTreeMap<&'static str, u64>,
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
struct Circumstances {
    /// After the others of its round.
    begins_after: Duration,
    mode: Mode,
    deadline: Duration,
    kill: Option<Kill>,
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
            began: Instant::now(),
            narrates,
            rng,
        };
        day.narrate(&format!("{n_sessions} sessions, {behaviour}"));
        day.pass(n_sessions, n_targets).await?;
        Ok(day.tally)
    })
}

impl Day {
    async fn pass(&mut self, n_sessions: usize, n_targets: usize) -> Result<(), String> {
        self.edit(n_sessions);
        let life = self.live(n_targets, Duration::from_mins(40));
        let mut containers: Vec<Container> = Vec::new();
        let n_rounds = if 300 < n_sessions { self.rng.usize(1..4) } else { self.rng.usize(4..16) };
        for _ in 0..n_rounds {
            sleep(Duration::from_secs(self.rng.u64(1..7_200))).await;
            if self.rng.u8(..4) == 0 {
                self.edit(n_sessions);
            }
            self.emulator.set_faults(fleet::faults(&mut self.rng, &self.emulator));
            // Overlapping runs: a second event, or the same delivered twice.
            let n_at_once = if self.rng.u8(..5) == 0 { 2 } else { 1 };
            while containers.len() < n_at_once {
                containers.push(self.container());
            }
            let circumstances: Vec<_> = (0..n_at_once).map(|_| self.circumstances()).collect();
            let bustle = self.live(n_targets, Duration::from_secs(4));
            let running = containers.iter().zip(&circumstances);
            let running = running.map(|(container, it)| self.run(container, it));
            let runs = futures_util::future::join_all(running).await;
            bustle.end().await;
            for run in &runs {
                self.count(run);
                check(run, &self.policies)?;
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

    /// The evening: nothing goes wrong any more, and so every violator goes, in so many sweeps.
    async fn calm_down(&mut self, n_sessions: usize) -> Result<(), String> {
        self.emulator.set_faults(Vec::new());
        let model = loop {
            let (text, model) = self.new_policy(n_sessions);
            if let Some(model) = model {
                self.emulator.set_parameter(PARAMETER, &text);
                break model;
            }
        };
        let n_active = self.emulator.active_ids().len();
        let mut asked: HashSet<String> = HashSet::new();
        let container = self.container_at(5.0);
        let never_ends = |id: &str| id.ends_with(IMMORTAL);
        let mut is_over = false;
        for i in 0.. {
            sleep(Duration::from_mins(5)).await;
            let active = self.emulator.active_ids();
            let survivor = active.iter().find(|id| asked.contains(*id) && !never_ends(id));
            if let Some(id) = survivor {
                return Err(format!("{id} was asked to end, and lives"));
            }
            if is_over {
                break;
            }
            let circumstances = Circumstances {
                begins_after: Duration::ZERO,
                mode: Mode::Enforce,
                deadline: Duration::from_mins(15),
                kill: None,
            };
            let run = self.run(&container, &circumstances).await;
            self.count(&run);
            let n_waiting =
                check_undisturbed(&run, &self.policies, self.terminating_for, never_ends)?;
            let n_immortal = run.active_after.iter().filter(|it| never_ends(it)).count();
            // Whom AWS never ends stands first in every sweep.
            asked.extend(run.exchanges.iter().filter_map(Exchange::session).map(Into::into));
            is_over = n_waiting == 0 || model.max_terminations <= n_immortal;
            if !is_over && n_active / (model.max_terminations - n_immortal) < i {
                return Err(format!("{n_waiting} violators still wait after {i} sweeps"));
            }
        }
        check_pace(&container.tap.exchanges(), container.calls_per_second)
    }

    fn live(&mut self, n_targets: usize, pause: Duration) -> Life {
        let life = fleet::live(self.rng.fork(), self.emulator.clone(), n_targets, pause);
        Life(tokio::spawn(life))
    }

    fn new_policy(&mut self, n_sessions: usize) -> (String, Option<Model>) {
        let now = self.emulator.now().as_second();
        let (text, model) = fleet::policy(&mut self.rng, n_sessions, now);
        if let Some(model) = &model {
            self.policies.insert(text.clone(), model.clone());
        }
        (text, model)
    }

    /// Somebody edits the policy, and may break it.
    fn edit(&mut self, n_sessions: usize) {
        let (text, _) = self.new_policy(n_sessions);
        self.narrate(&format!("the policy is now\n{text}"));
        self.emulator.set_parameter(PARAMETER, &text);
    }

    fn container(&mut self) -> Container {
        let calls_per_second = [0.7, 2.5, 5.0, 6.0, 50.0][self.rng.usize(..5)];
        self.container_at(calls_per_second)
    }

    fn container_at(&self, calls_per_second: f64) -> Container {
        let tap = Tap::new(&self.emulator);
        let credentials = Credentials::new("AKIDEXAMPLE", "secret", None, None, "simulation");
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(REGION))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .http_client(tap.clone())
            .build();
        Container { ssm: Ssm::new(&config, calls_per_second), tap, calls_per_second }
    }

    fn circumstances(&mut self) -> Circumstances {
        let rng = &mut self.rng;
        Circumstances {
            mode: if rng.u8(..6) == 0 { Mode::DryRun } else { Mode::Enforce },
            begins_after: Duration::from_secs([0, rng.u64(..60)][rng.usize(..2)]),
            deadline: Duration::from_secs([3, 12, 30, 60, 290, 290, 890][rng.usize(..7)]),
            kill: (rng.u8(..6) == 0).then(|| {
                let most = [16, 16, 300][rng.usize(..3)];
                Kill { at_call: rng.usize(..most), after_effect: rng.bool() }
            }),
        }
    }

    /// One sweep, from its event to its end.
    async fn run(&self, container: &Container, circumstances: &Circumstances) -> Run {
        let Circumstances { begins_after, mode, deadline, kill } = circumstances;
        sleep(*begins_after).await;
        let n_before = container.tap.exchanges().len();
        container.tap.arm(*kill);
        let active = || self.emulator.active_ids().into_iter().collect::<HashSet<_>>();
        let active_before = active();
        // As the function has it, by default.
        let end_by = Instant::now() + deadline.saturating_sub(Duration::from_secs(5));
        let start_by = Instant::now() + deadline.saturating_sub(Duration::from_secs(10));
        let within = Within { start_by, end_by };
        let now = self.emulator.now();
        let policy = PolicySource::Parameter(PARAMETER.into());
        let arn = format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:session-reaper");
        let scope = Scope::from_arn(&arn);
        let sweep = sweep(Order {
            ssm: &container.ssm,
            scope: scope.as_ref(),
            policy: &policy,
            mode: *mode,
            now,
            within,
            concurrency: CONCURRENCY,
        });
        let end = tokio::select! {
            biased;
            () = container.tap.killed() => End::Killed,
            swept = timeout(2 * *deadline, Box::pin(sweep)) => match swept {
                Ok(Ok(swept)) => End::Swept(Box::new(swept)),
                Ok(Err(_unusable)) => End::Unusable,
                Err(_elapsed) => End::Killed, // `check` sees that it was late.
            }
        };
        let run = Run {
            exchanges: container.tap.exchanges().split_at(n_before).1.to_vec(),
            mode: *mode,
            now_ms: now.as_millisecond(),
            interval: Duration::from_secs_f64(container.calls_per_second.recip()),
            start_by: within.start_by,
            end_by,
            ended_at: Instant::now(),
            active_before,
            active_after: active(),
            end,
        };
        self.narrate_run(&run, now);
        run
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
            End::Unusable => count("unusable"),
            End::Swept(swept) => {
                count(if swept.report.coverage.complete { "complete" } else { "incomplete" });
                if swept.report.tripped {
                    count("tripped");
                }
                serde_json::to_string(&swept.report).expect("JSON").hash(&mut hasher);
                for it in &swept.findings.settled {
                    count(it.step.action.hold().unwrap_or(it.outcome.name()));
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
        self.narrate(&format!("a sweep of {now}, {}, has ended", run.mode.name()));
        for it in &run.exchanges {
            let at = (it.started_at - self.began).as_secs_f64();
            let answer = match &it.answer {
                None => "no answer".into(),
                Some(Answer::Reset) => "reset".into(),
                Some(Answer::Http { status, body }) => {
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
            End::Unusable => eprintln!("          no usable policy"),
            End::Swept(swept) => eprintln!("          {}", swept.report.counts()),
        }
    }
}

impl Tally {
    pub(crate) fn per_second(&self, seconds: f64) -> String {
        #[expect(clippy::cast_precision_loss, reason = "not that many")]
        let per_second = |n: u64| n as f64 / seconds;
        format!(
            "{} sweeps ({:.0}/s), {} calls ({:.0}/s); {:?}",
            self.n_sweeps,
            per_second(self.n_sweeps),
            self.n_calls,
            per_second(self.n_calls),
            self.counts
        )
    }

    /// Every end and every outcome has been met: else the days prove less than they seem to.
    #[track_caller]
    pub(crate) fn assert_varied(&self) {
        for name in [
            "killed",
            "unusable",
            "complete",
            "incomplete",
            "tripped",
            "terminated",
            "already_gone",
            "unconfirmed",
            "denied",
            "throttled",
            "failed",
            "spared",
            "left",
            "breaker",
            "deadline",
            "limit",
            "paused",
        ] {
            assert!(self.counts.contains_key(name), "never {name}: {:?}", self.counts);
        }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        for (name, n) in other.counts {
            *self.counts.entry(name).or_default() += n;
        }
        self.n_sweeps += other.n_sweeps;
        self.n_calls += other.n_calls;
        self.fingerprint ^= other.fingerprint;
    }
}
