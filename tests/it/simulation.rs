//! Random machines, loads and faults through the sampler and the engine; every promise is checked after
//! every tick, on the text of the page. A failing seed is printed and reproduces: `SEED=7 cargo test`.

use super::page::{Page, check_identity, check_rising, check_rising_over_a_restart};
use super::pricing::heard;
use super::world::{Layout, World};
use jouleprint::model::description::Naming;
use jouleprint::model::identity::JobId;
use jouleprint::model::quantity::Nanos;
use jouleprint::model::snapshot::Snapshot;
use jouleprint::output::prometheus::{Format, render};
use jouleprint::sampler::{Past, Sampler};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Machines in a run, each with a seed of its own; the ticks each lives for.
const MACHINES: u64 = 60;
const TICKS: u64 = 60;

pub(crate) fn page(snapshot: &Snapshot) -> Page {
    let mut text = Vec::new();
    render(snapshot, Format::OpenMetrics, "", &mut text);
    Page::parse(std::str::from_utf8(&text).expect("a page is UTF-8")).expect("a strict reader takes it")
}

/// The CPU time that the page charges to each job, in ns.
fn charged(snapshot: &Snapshot) -> BTreeMap<String, u64> {
    snapshot.totals.jobs.iter().map(|job| (job.job.id.id().to_string(), job.cpu.get())).collect()
}

fn sampler(world: &World, is_crowded: bool, past: Past) -> Sampler {
    let (max_jobs, max_groups) = if is_crowded { (4, 12) } else { (4_096, 4_096) };
    world.sampler_after(max_jobs, max_groups, 20, past)
}

/// Something new is said of the grid, where anybody is asked.
fn hear(world: &mut World) {
    if let Some(outlet) = world.grid.clone() {
        let wall = world.now().wall;
        outlet.store(Some(Arc::new(heard(&mut world.dice, wall))));
    }
}

/// One machine with its exporter.
pub(crate) struct Run {
    pub(crate) world: World,
    sampler: Sampler,
    before: Option<Page>,
    /// Use of jobs that are gone, by id.
    truth_of_dead: BTreeMap<String, u64>,
    /// The jobs of the last page.
    jobs: Vec<JobId>,
    is_crowded: bool,
    is_restarted: bool,
}

impl Run {
    pub(crate) fn new(seed: u64) -> Run {
        let layout = [Layout::V2, Layout::V1, Layout::Hybrid][usize::try_from(seed % 3).expect("small")];
        let mut world = World::new(seed, layout, seed % 2 == 1);
        for _ in 0..world.dice.roll(6) {
            let kind = world.dice.roll(World::KINDS);
            let path = world.make(kind);
            world.work(&path, 100, 0);
        }
        for group in world.groups.values_mut() {
            group.before = group.own;
        }
        if seed % 4 == 1 {
            world.grid = Some(Arc::default());
            hear(&mut world);
        }
        // Accounts must be on disk before the exporter first looks.
        world.write();
        let is_crowded = seed % 5 == 4;
        let mut sampler = sampler(&world, is_crowded, Past::default());
        // What was used before the first look belongs to nobody.
        let idle = vec![0; world.cpus()];
        let at = world.pass(Nanos::from_seconds(1), &idle);
        sampler.tick(at);
        let (truth_of_dead, jobs) = (BTreeMap::new(), Vec::new());
        Run { world, sampler, before: None, truth_of_dead, jobs, is_crowded, is_restarted: false }
    }

    fn act(&mut self) -> Vec<u64> {
        let world = &mut self.world;
        let mut worked = vec![0; world.cpus()];
        for _ in 0..world.dice.roll(3) {
            let kind = world.dice.roll(World::KINDS);
            world.make(kind);
        }
        let leaves: Vec<String> = world
            .groups
            .values()
            .filter(|group| group.id.is_some() || group.path.starts_with("/nobody/"))
            .map(|group| group.path.clone())
            .collect();
        // Beyond the bound on groups what an inner job uses is the outer one's, which then has more than the truth.
        if !self.is_crowded && world.dice.chance(10) {
            let jobs: Vec<&String> = leaves.iter().filter(|path| !path.starts_with("/nobody/")).collect();
            if let Some(outer) = jobs.get(usize::try_from(world.dice.roll(20)).expect("small")) {
                world.nest(outer);
            }
        }
        for path in &leaves {
            let worked_before = world.groups[path].own;
            if world.dice.chance(60) {
                let (jiffies, cpu) = (world.dice.roll(30), world.dice.roll(8));
                let cpu = usize::try_from(cpu).expect("small") % world.cpus();
                world.work(path, jiffies, cpu);
                worked[cpu] += jiffies;
            }
            // The last work of an inner job, unread, is the outer one's.
            let has_rest = path.contains("/x/docker/") && world.groups[path].own > worked_before;
            if world.dice.chance(8) && world.is_leaf(path) && !has_rest {
                let group = &world.groups[path];
                if let Some(id) = &group.id {
                    self.truth_of_dead.insert(id.clone(), group.own - group.before);
                }
                world.unmake(path);
            }
        }
        let system = world.dice.roll(20);
        world.work("", system, 0);
        worked[0] += system;
        worked
    }

    /// The exporter is killed after a tick and comes up again, while the machine works on.
    pub(crate) fn restart(&mut self, snapshot: &Snapshot) -> Vec<u64> {
        let checkpoint = self.sampler.checkpoint(snapshot);
        let worked = self.act();
        let past = Past { checkpoint: Some(checkpoint), ..Past::default() };
        self.world.write();
        self.sampler = sampler(&self.world, self.is_crowded, past);
        self.is_restarted = true;
        worked
    }

    pub(crate) fn tick(&mut self) -> Snapshot {
        let worked = self.act();
        self.tick_after(worked)
    }

    fn tick_after(&mut self, worked: Vec<u64>) -> Snapshot {
        let elapsed = Nanos::new(1_000_000_000 + self.world.dice.roll(6_000_000_000));
        let at = self.world.pass(elapsed, &worked);
        if self.world.grid.is_some() && self.world.dice.chance(20) {
            hear(&mut self.world);
        }
        let mut tick = self.sampler.read(at).expect("the processors can be read");
        tick.namings.extend(self.namings());
        if std::env::var_os("SHOW").is_some() {
            eprintln!("{}", serde_json::to_string(&tick.groups).expect("ticks are plain data"));
        }
        self.sampler.step(&tick);
        let snapshot = self.sampler.snapshot(at);
        let page = page(&snapshot);
        check_identity(&page).expect("every joule and gram is in exactly one account");
        if let Some(before) = &self.before {
            let check = if self.is_restarted { check_rising_over_a_restart } else { check_rising };
            check(before, &page).expect("counters only rise");
        }
        self.before = Some(page);
        self.jobs = snapshot.totals.jobs.iter().map(|job| job.job.id.clone()).collect();
        self.is_restarted = false;
        snapshot
    }

    /// What becomes known of some jobs, now or never, and not always the same.
    fn namings(&mut self) -> Vec<Naming> {
        let dice = &mut self.world.dice;
        let ids: Vec<JobId> = self.jobs.iter().filter(|_| dice.chance(20)).cloned().collect();
        let named = |id| Naming {
            id,
            description: Arc::default(),
            groups: vec![
                ("namespace".into(), format!("n-{}", dice.roll(400)).as_str().into()),
                (
                    "team".into(),
                    ["", "red", "overflow"][usize::try_from(dice.roll(3)).expect("small")].into(),
                ),
            ],
            is_final: dice.chance(30),
        };
        ids.into_iter().map(named).collect()
    }

    fn check(&self, snapshot: &Snapshot) {
        let shown: Vec<u64> = snapshot.totals.domains.iter().map(|domain| domain.energy.as_micro()).collect();
        assert_eq!(shown, self.world.expected(), "each meter shows the truth to the µJ");
        let charged = charged(snapshot);
        for group in self.world.groups.values() {
            let Some(id) = &group.id else { continue };
            let truth = group.own - group.before;
            match charged.get(id) {
                Some(used) if !self.is_crowded => {
                    assert_eq!(*used, truth, "{id} lives and is charged exactly")
                }
                Some(used) => assert!(*used <= truth, "{id} is charged {used} of {truth}"),
                None => assert!(self.is_crowded, "{id} lives and is not on the page"),
            }
        }
        for (id, truth) in &self.truth_of_dead {
            let used = charged.get(id).copied().unwrap_or(0);
            assert!(used <= *truth, "{id} is dead and is charged {used}, more than its {truth}");
        }
        // Beyond the bound on groups, a hybrid host may see the same use in both hierarchies; the sums
        // stay exact, and the deficit says so.
        if !(self.is_crowded && self.world.layout == Layout::Hybrid) {
            assert_eq!(snapshot.totals.cpu_deficit.get(), 0, "no more is claimed than was used");
        }
    }
}

#[test]
fn every_promise_holds_after_every_tick_of_random_machines() {
    let wanted = std::env::var("SEED").ok().and_then(|seed| seed.parse::<u64>().ok());
    let seeds = wanted.map_or(0..MACHINES, |seed| seed..seed + 1);
    for seed in seeds {
        let outcome = std::panic::catch_unwind(|| {
            let mut run = Run::new(seed);
            for _ in 0..TICKS {
                let snapshot = run.tick();
                run.check(&snapshot);
            }
        });
        assert!(outcome.is_ok(), "reproduce with SEED={seed} cargo test --test it random_machines");
    }
}

#[test]
fn every_promise_holds_over_restarts_as_if_there_had_been_none() {
    let wanted = std::env::var("SEED").ok().and_then(|seed| seed.parse::<u64>().ok());
    let seeds = wanted.map_or(100..100 + MACHINES, |seed| seed..seed + 1);
    for seed in seeds {
        let outcome = std::panic::catch_unwind(|| {
            let mut run = Run::new(seed);
            let mut last = run.tick();
            for _ in 0..TICKS {
                let is_killed = run.world.dice.chance(30);
                let worked = if is_killed { run.restart(&last) } else { run.act() };
                last = run.tick_after(worked);
                run.check(&last);
            }
        });
        assert!(outcome.is_ok(), "reproduce with SEED={seed} cargo test --test it over_restarts");
    }
}

#[test]
fn a_clock_that_is_set_and_a_night_s_sleep_change_no_energy_and_are_shown() {
    const HOUR: i64 = 3_600_000_000_000;
    for seed in [0, 6, 12] {
        let (mut plain, mut odd) = (Run::new(seed), Run::new(seed));
        for number in 0..30 {
            match number {
                5 => odd.world.set_wall_clock(-HOUR),
                10 => odd.world.set_wall_clock(24 * HOUR + HOUR / 2),
                15 => odd.world.sleep(Nanos::from_seconds(8 * 3_600)),
                20 => odd.world.set_wall_clock(-30 * HOUR),
                // A correction as NTP makes them.
                25 => odd.world.set_wall_clock(2_000_000),
                _ => {}
            }
            let (plain, odd) = (plain.tick(), odd.tick());
            assert_eq!(plain.totals.host.energy, odd.totals.host.energy, "seed {seed}, tick {number}");
            assert_eq!(plain.totals.host.emissions, odd.totals.host.emissions);
            assert_eq!(plain.totals.job_table, odd.totals.job_table);
        }
        let state = odd.tick().sampler;
        assert_eq!(state.clock_steps, 3, "seed {seed}");
        assert_eq!(state.suspended, Nanos::from_seconds(8 * 3_600));
        assert_eq!(plain.tick().sampler.clock_steps, 0);
    }
}

#[test]
fn the_same_seed_gives_the_same_page() {
    let last = |seed| {
        let mut run = Run::new(seed);
        let mut text = Vec::new();
        for _ in 0..20 {
            let mut snapshot = run.tick();
            snapshot.process = Default::default();
            snapshot.sampler = Default::default();
            render(&snapshot, Format::Text, "", &mut text);
        }
        String::from_utf8(text).expect("a page is UTF-8")
    };
    for seed in [1, 2, 3] {
        assert_eq!(last(seed), last(seed), "seed {seed}");
    }
    assert_ne!(last(1), last(4));
}

#[test]
fn the_first_page_shows_every_account_at_zero_so_that_increase_sees_the_first_tick() {
    let mut world = World::new(7, Layout::V2, false);
    world.make(2);
    let mut sampler = world.sampler(10, 10, 20);
    let idle = vec![0; world.cpus()];
    let at = world.pass(Nanos::from_seconds(1), &idle);
    let first = page(&sampler.tick(at));
    for name in ["hw_energy_joules_total", "jouleprint_job_energy_joules_total"] {
        let samples = first.all(name, &[]);
        assert!(!samples.is_empty() && samples.iter().all(|sample| sample.nano() == 0), "{name}");
    }
    for name in ["host", "job", "residual"] {
        let samples = first.all(&format!("jouleprint_{name}_emissions_co2e_grams_total"), &[]);
        assert!(!samples.is_empty() && samples.iter().all(|sample| sample.nano() == 0), "{name}");
    }
}

/// Set for the process that lives through the long run by itself, so that its memory is its own.
const LONG_RUN: &str = "JOULEPRINT_LONG_RUN";

#[test]
fn a_hundred_thousand_ticks_with_churn_leak_nothing() {
    if std::env::var_os(LONG_RUN).is_some() {
        return long_run();
    }
    let name = "simulation::a_hundred_thousand_ticks_with_churn_leak_nothing";
    let own = std::env::current_exe().expect("this program has a path");
    let output = std::process::Command::new(own)
        .args([name, "--exact", "--nocapture"])
        .env(LONG_RUN, "1")
        .output()
        .expect("this program can be started again");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("long run:"), "the long run took place: {text}");
    print!("{text}");
}

fn long_run() {
    let mut world = World::new(42, Layout::V2, false);
    let mut sampler = world.sampler(4_096, 4_096, 20);
    let idle = vec![0; world.cpus()];
    let mut at_rest = None;
    for tick in 0..100_000_u64 {
        let path = world.make(if tick % 2 == 0 { 2 } else { 3 });
        world.work(&path, 1, 0);
        let at = world.pass(Nanos::from_seconds(5), &idle);
        let snapshot = sampler.tick(at);
        world.unmake(&path);
        if tick == 20_000 {
            at_rest = Some(snapshot.process);
        }
        if tick == 99_999 {
            let (then, now) = (at_rest.expect("set before"), snapshot.process);
            println!(
                "long run: {} → {} descriptors, {} → {} bytes",
                then.open_fds, now.open_fds, then.resident_bytes, now.resident_bytes
            );
            assert_eq!(then.open_fds, now.open_fds);
            assert!(now.resident_bytes < then.resident_bytes + (2 << 20), "memory grows");
        }
    }
}
