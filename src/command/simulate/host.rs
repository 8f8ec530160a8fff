//! One made-up host: its ticks go through the real accounting, and beside it stands a sum of what it drew,
//! so that the pages can be compared with the truth.

use super::day;
use super::hardware::Hardware;
use super::jobs::Jobs;
use super::scenario::Scenario;
use crate::engine::Engine;
use crate::model::grid::{GRAIN, Grid, Plan};
use crate::model::identity::Name;
use crate::model::quantity::{Energy, Nanos};
use crate::model::reading::{Accounting, Factor, Fault, IdlePolicy, Tick};
use crate::model::snapshot::{ProcessState, SamplerState, Snapshot, SourceState, StoreState};
use crate::model::speech::{Heard, Said, Statement};
use crate::model::time::Moment;
use crate::sampler::predictions::Predictions;
use std::sync::Arc;

/// Where the hosts' monotonic clocks stand at the first tick.
const BOOTED: Nanos = Nanos::from_seconds(100_000);

/// One kWh in J, mg in g, ppm: as in `emissions_of`.
const UNITS_A_NANOGRAM: u128 = 3_600_000_000_000;

/// On every host with such a number something cannot be read, as in any fleet.
const ODD_ONE: u32 = 40;

/// The host.
#[derive(Debug)]
pub struct Host {
    /// The `host` label.
    pub name: Name,
    /// Its cluster, by its place.
    pub cluster: u32,
    /// Its zone, by its place.
    pub zone: usize,
    number: u32,
    engine: Engine,
    hardware: Hardware,
    jobs: Jobs,
    // How many ticks there were, and when the first one is.
    ticks: u64,
    first: Nanos,
    busy: Vec<Nanos>,
    grid: Option<(u64, Arc<Grid>)>,
    factor: Option<Arc<Factor>>,
    truth: Truth,
    state: SamplerState,
    predictions: Predictions,
    shown: Option<Arc<Snapshot>>,
}

/// What it drew since its first tick, counted without the accounting.
#[derive(Debug, Clone, Copy, Default)]
pub struct Truth {
    /// All of it.
    pub energy: Energy,
    // µJ · mg/kWh · ppm.
    weighed: u128,
}

impl Truth {
    /// What that emitted, in whole ng.
    #[must_use]
    pub fn nanograms(&self) -> u64 {
        u64::try_from(self.weighed / UNITS_A_NANOGRAM).unwrap_or(u64::MAX)
    }
}

impl Host {
    /// The host with this number, whose first tick is at this wall time.
    #[must_use]
    pub fn new(scenario: &Scenario, number: u32, first: Nanos) -> Host {
        let hardware = Hardware::new(scenario, number);
        let (cluster, zone) = scenario.place(number);
        let name = scenario.host(number);
        let accounting = Accounting {
            idle: IdlePolicy::Separate,
            retention: scenario.retention(),
            // As many again may have ended and still be shown, and that ten times.
            max_jobs: scenario.jobs.saturating_mul(10).max(1_000),
            floors: Vec::new(),
            group_kinds: ["namespace", "slurm_account", "user", "team"].map(Name::from).into(),
            group_hold: scenario.hold(),
        };
        Host {
            engine: Engine::new(Arc::new(hardware.machine(name.clone())), accounting),
            jobs: Jobs::new(scenario, number, &hardware),
            busy: vec![Nanos::ZERO; hardware.sockets()],
            name,
            cluster,
            zone,
            number,
            hardware,
            ticks: 0,
            first,
            grid: None,
            factor: None,
            truth: Truth::default(),
            state: SamplerState { watches_cgroups: true, ..SamplerState::default() },
            predictions: Predictions::default(),
            shown: None,
        }
    }

    /// What it drew.
    #[must_use]
    pub const fn truth(&self) -> Truth {
        self.truth
    }

    /// When its last tick was, by its own clock.
    #[must_use]
    pub fn at(&self, scenario: &Scenario) -> Moment {
        moment(self.first, scenario.step(), self.ticks.saturating_sub(1))
    }

    /// One tick more. `grid` says what is known of a zone at a time.
    pub fn tick(&mut self, scenario: &Scenario, grid: &dyn Fn(usize, Nanos) -> Arc<Grid>) {
        let (number, elapsed, before) = (self.ticks, scenario.step(), self.at(scenario).wall);
        self.ticks += 1;
        let at = self.at(scenario);
        let wall = at.wall;
        let work = self.jobs.step(scenario, &self.hardware, (number, wall, elapsed));
        let busy = work.busy.get() / self.busy.len() as u64;
        self.busy.iter_mut().for_each(|socket| *socket += Nanos::new(busy));
        let (meters, drawn) = self.hardware.draw(&work.load, elapsed);
        let (plan, factor) = self.look(wall, grid);
        self.weigh(drawn, before, wall);
        let heard = work.progress.into_iter().map(|(id, progress)| {
            let said = Said { at: at.monotonic, cpu: None, statement: Statement::Progress(progress) };
            Heard { id, said: vec![said], cpu: None }
        });
        self.engine.step(&Tick {
            at,
            domains: None,
            meters,
            busy: self.busy.clone(),
            cpus: self.hardware.cpus,
            groups: work.groups,
            gpus: work.gpus,
            namings: work.namings,
            speech: heard.collect(),
            plan,
            factor: Factor::clone(&factor),
        });
        self.factor = Some(factor);
        // What a small node takes for it.
        let took = scenario.chance("took", u64::from(self.number) << 40 | number).below(1_800_000);
        self.state.observe(Nanos::new(400_000 + took));
        self.shown = None;
    }

    /// The page's state after the last tick; made when it is first asked for. `None` before the first tick.
    pub fn snapshot(&mut self, scenario: &Scenario) -> Option<Arc<Snapshot>> {
        let (factor, (_, grid)) = (self.factor.clone()?, self.grid.clone()?);
        if let Some(shown) = &self.shown {
            return Some(Arc::clone(shown));
        }
        let at = self.at(scenario);
        let totals = Arc::new(self.engine.totals());
        // For pages alone: a past is made up without.
        self.predictions.look(&totals, &at, Some(&grid.plan), &factor);
        let mut state = self.state.clone();
        state.groups = scenario.jobs;
        let snapshot = Snapshot {
            at,
            interval: scenario.step(),
            machine: Arc::clone(self.engine.machine()),
            totals,
            factor,
            sources: self.sources(at.wall, &grid),
            grid: Some(grid),
            gpus: self.hardware.sights(),
            predictions: Arc::clone(&self.predictions.all),
            sampler: state,
            store: Some(StoreState {
                path: "/var/lib/jouleprint".into(),
                restored: "continued".into(),
                last_commit: Some(at.wall),
                commits: self.ticks,
                commit_time: Nanos::new(self.ticks * 600_000),
                bytes: 4 << 20,
                job_records: u64::from(scenario.jobs) * 4,
                ..StoreState::default()
            }),
            push: None,
            process: ProcessState {
                cpu: Nanos::new(self.ticks * 3_000_000),
                resident_bytes: 14 << 20,
                virtual_bytes: 90 << 20,
                open_fds: 40 + u64::from(scenario.jobs),
                max_fds: 65_536,
                start_seconds: self.first.get() / 1_000_000_000,
            },
        };
        let snapshot = Arc::new(snapshot);
        self.shown = Some(Arc::clone(&snapshot));
        Some(snapshot)
    }

    /// What is charged now, and the plan where it is a new one.
    fn look(
        &mut self,
        wall: Nanos,
        grid: &dyn Fn(usize, Nanos) -> Arc<Grid>,
    ) -> (Option<Arc<Plan>>, Arc<Factor>) {
        let hour = wall.get() / 3_600_000_000_000;
        let is_new = self.grid.as_ref().is_none_or(|(of, _)| *of != hour);
        if is_new {
            self.grid = Some((hour, grid(self.zone, wall)));
        }
        let (_, grid) = self.grid.as_ref().expect("set above");
        (is_new.then(|| Arc::clone(&grid.plan)), Arc::clone(grid.plan.at(wall)))
    }

    /// Adds to the truth: the energy is spread evenly over the interval, each part of it worth what a kWh
    /// emits at its time.
    fn weigh(&mut self, drawn: Energy, from: Nanos, to: Nanos) {
        self.truth.energy += drawn;
        let Some((_, grid)) = &self.grid else { return };
        let elapsed = u128::from(to.saturating_sub(from).get());
        let mut weighed = 0;
        let mut at = from;
        while at < to {
            let next = Nanos::new((at.get() / GRAIN.get() + 1) * GRAIN.get()).min(to);
            let factor = grid.plan.at(at);
            let worth = u128::from(factor.intensity.as_milligrams()) * u128::from(factor.pue.as_ppm());
            weighed += u128::from(next.saturating_sub(at).get()) * worth;
            at = next;
        }
        if let Some(mean) = weighed.checked_div(elapsed) {
            self.truth.weighed += u128::from(drawn.as_micro()) * mean;
        }
    }

    fn sources(&self, wall: Nanos, grid: &Grid) -> Vec<SourceState> {
        let state = |source: &str, hw_id: &str, fault: Option<Fault>| SourceState {
            source: source.into(),
            hw_id: hw_id.into(),
            fault,
            last_success: fault.is_none().then_some(wall),
            errors: fault.map(|fault| (fault, self.ticks)).into_iter().collect(),
            detail: if fault.is_some() { "/sys/class/hwmon/hwmon3" } else { "simulated" }.into(),
        };
        let mut states = vec![state("cpu", "", None), state("cgroup", "", None)];
        let domains = &self.engine.machine().domains;
        states.extend(domains.iter().map(|domain| state(&domain.source, &domain.id, None)));
        if self.number % ODD_ONE == ODD_ONE - 1 {
            states.push(state("hwmon", "", Some(Fault::PermissionDenied)));
        }
        states.extend(grid.sources.iter().cloned());
        states
    }
}

/// The clocks at the tick with this number.
fn moment(first: Nanos, step: Nanos, number: u64) -> Moment {
    let passed = Nanos::new(step.get().saturating_mul(number));
    Moment { monotonic: BOOTED + passed, boottime: BOOTED + passed, wall: first + passed }
}

/// Whether a step of the hosts' clocks is one that the plans cover.
#[must_use]
pub fn is_covered(step: Nanos) -> bool {
    step.get() / 3_600_000_000_000 < day::HOURS_BACK
}
