//! Whose an accelerator's energy is: the rules by a table, and conservation over random devices that come, go,
//! are cut anew and start their counters again, while jobs come and go.

use super::page::{Page, check_identity, check_rising, check_rising_over_a_restart};
use super::simulation::page;
use super::world::{Dice, factor};
use jouleprint::command::replay::Replay;
use jouleprint::engine::Engine;
use jouleprint::kernel_file::Buffer;
use jouleprint::model::gpu::{Claim, Method, Part, Use};
use jouleprint::model::identity::{HwType, JobId, JobKind, Name, Origin};
use jouleprint::model::quantity::{Energy, MicroWatts, Nanos};
use jouleprint::model::reading::{
    Accounting, Birth, Domain, Fault, GroupReading, GroupRole, GroupSlot, Groups, Header, Hierarchy,
    IdlePolicy, Load, Machine, Measurement, Place, Tick, Value,
};
use jouleprint::model::snapshot::{ProcessState, SamplerState, Snapshot};
use jouleprint::model::time::Moment;
use jouleprint::source::{PowerSource, Sources};
use std::collections::BTreeMap;
use std::sync::Arc;

const JOB_ENERGY: &str = "jouleprint_job_energy_joules_total";
const RESIDUAL: &str = "jouleprint_residual_energy_joules_total";

fn domain(id: &str, hw_type: HwType) -> Domain {
    Domain {
        id: id.into(),
        hw_type,
        origin: Origin::Measured,
        gpu: if hw_type == HwType::Gpu { id.into() } else { "".into() },
        source: "test".into(),
        place: Place::Counted,
        socket: None,
        measurement: Measurement::Counter { range: None, ceiling: MicroWatts::from_watts(10_000) },
        floor: None,
        uncertainty_ppm: 0,
    }
}

fn machine(domains: Vec<Domain>) -> Machine {
    Machine { host: "h".into(), cpu_model: "".into(), kernel: "".into(), domains }
}

fn accounting(idle: IdlePolicy, floors: &[(&str, u64)]) -> Accounting {
    let floor = |(id, watts): &(&str, u64)| ((*id).into(), MicroWatts::from_watts(*watts));
    Accounting {
        idle,
        retention: Nanos::from_seconds(300),
        max_jobs: 100,
        floors: floors.iter().map(floor).collect(),
        group_kinds: vec!["user".into()],
        group_hold: Nanos::from_seconds(10),
    }
}

fn job(name: &str) -> JobId {
    JobId::new(JobKind::Pod, name)
}

fn tick(seconds: u64) -> Tick {
    let time = Nanos::from_seconds(seconds);
    Tick {
        at: Moment { monotonic: time, boottime: time, wall: Nanos::from_seconds(1_800_000_000 + seconds) },
        domains: None,
        meters: Vec::new(),
        busy: vec![Nanos::ZERO],
        cpus: 8,
        groups: Groups::default(),
        gpus: Vec::new(),
        namings: Vec::new(),
        speech: Vec::new(),
        plan: None,
        factor: factor("DE", "344.14"),
    }
}

fn births(names: &[&str]) -> Groups {
    let birth = |(slot, name): (u32, &&str)| Birth {
        slot: GroupSlot(slot),
        parent: None,
        hierarchy: Hierarchy::Primary,
        role: GroupRole::Job(job(name)),
        path: format!("/{name}").as_str().into(),
        inode: 0,
        user: None,
        is_new: true,
    };
    Groups { births: (0..).zip(names).map(birth).collect(), ..Groups::default() }
}

/// `a` uses it, `a:30` so much, `a=1` was given it, `a=2:30` in two shares and uses it so much; `-` is no job.
fn claims(text: &str) -> Vec<Claim> {
    let claim = |word: &str| {
        let (word, used) = word.split_once(':').map_or((word, None), |(word, used)| (word, Some(used)));
        let (name, allocated) = word.split_once('=').unwrap_or((word, "0"));
        Claim {
            job: (name != "-").then(|| job(name)),
            allocated: allocated.parse().unwrap(),
            used: used.map(|used| used.parse().unwrap()),
        }
    };
    text.split_whitespace().map(claim).collect()
}

/// `claims` for a whole device, or for each instance `slices activity% | claims ; …`.
fn usage(text: &str) -> Use {
    let part = |(index, part): (usize, &str)| {
        let (head, holders) = part.split_once('|').unwrap_or(("", part));
        let words: Vec<&str> = head.split_whitespace().collect();
        Part {
            instance: if words.is_empty() { "".into() } else { format!("MIG-{index}").as_str().into() },
            slices: words.first().map_or(1, |slices| slices.parse().unwrap()),
            activity: words.get(1).map(|activity| activity.parse::<u32>().unwrap() * 10_000),
            claims: claims(holders),
        }
    };
    let parts: Vec<Part> = text.split(';').enumerate().map(part).collect();
    let slices = if parts[0].instance.is_empty() { 1 } else { 7 };
    Use { gpu: "GPU-1".into(), is_known: true, slices, parts }
}

/// What of 100 J over 10 s with a floor of 2 W goes where, as `who J`, in whole joules.
fn divided(idle: IdlePolicy, use_of: &str) -> String {
    let machine = machine(vec![domain("GPU-1", HwType::Gpu)]);
    let mut engine = Engine::new(Arc::new(machine), accounting(idle, &[("GPU-1", 2)]));
    for (seconds, joules) in [(0, 0), (10, 100)] {
        engine.step(&Tick {
            meters: vec![Ok(Value::Counter(Energy::from_micro(joules * 1_000_000)))],
            groups: if seconds == 0 { births(&["a", "b", "c"]) } else { Groups::default() },
            gpus: vec![usage(use_of)],
            ..tick(seconds)
        });
    }
    let totals = engine.totals();
    let columns = totals.columns.len();
    let mut parts = Vec::new();
    let rounded = |energy: &Energy| (energy.as_micro() + 500_000) / 1_000_000;
    for (job, energies) in totals.jobs.iter().zip(totals.job_table.energy.chunks(columns)) {
        for (column, energy) in totals.columns.iter().zip(energies) {
            if energy.as_micro() > 0 {
                let instance = column.gpu_instance.trim_start_matches("MIG-");
                let mark = if instance.is_empty() { String::new() } else { format!("/{instance}") };
                parts.push(format!("{}{mark} {}", job.job.id.id(), rounded(energy)));
            }
        }
    }
    let accounts = jouleprint::model::identity::Residual::ALL;
    for (account, energies) in accounts.iter().zip(totals.residual_table.energy.chunks(columns)) {
        let sum: Energy = energies.iter().copied().sum();
        if sum.as_micro() > 0 {
            parts.push(format!("{} {}", account.as_str(), rounded(&sum)));
        }
    }
    parts.push(totals.gpus[0].1.as_str().to_owned());
    parts.join(", ")
}

#[test]
fn allocation_decides_who_and_activity_how_much() {
    for (use_of, expected) in [
        ("", "idle 20, unattributed 80, none"),
        ("a", "a 80, idle 20, exclusive"),
        ("a=1", "a 80, idle 20, exclusive"),
        // Who was not given it is not charged, however busy.
        ("a=1 b:100", "a 80, idle 20, exclusive"),
        ("a:30 b:10", "a 60, b 20, idle 20, utilization"),
        ("a=1:30 b=1:10 c:99", "a 60, b 20, idle 20, utilization"),
        // One of those who were given it did nothing.
        ("a=1:30 b=1", "a 80, idle 20, utilization"),
        // Time-sliced replicas, and nothing is known of their use.
        ("a=3 b=1", "a 60, b 20, idle 20, equal"),
        ("a b", "a 40, b 40, idle 20, equal"),
        ("-:10 a:30", "a 60, system 20, idle 20, utilization"),
        ("-", "system 80, idle 20, exclusive"),
        // A job that was never seen to run here.
        ("stranger=1", "idle 20, unattributed 80, exclusive"),
        ("a=1 -=2", "a 27, idle 20, unattributed 53, equal"),
        // Instances: 1g and 4g, both busy.
        ("1 100 | a ; 4 100 | b", "a/0 16, b/1 64, idle 20, slice_activity"),
        ("1 100 | a ; 4 25 | b", "a/0 40, b/1 40, idle 20, slice_activity"),
        ("1 | a ; 4 | b", "a/0 16, b/1 64, idle 20, slices"),
        // Nothing is known of one of them.
        ("1 100 | a ; 4 | b", "a/0 16, b/1 64, idle 20, slices"),
        // One that nobody holds and that is not said to be busy draws nothing.
        ("1 100 | a ; 4 |", "a/0 80, idle 20, slice_activity"),
        ("1 100 | a ; 1 100 |", "a/0 40, idle 20, unattributed 40, slice_activity"),
        ("1 0 | a ; 4 0 | b", "a/0 16, b/1 64, idle 20, slices"),
        ("3 50 | a=1 b=1 ; 3 50 | a", "a/0 20, a/1 40, b/0 20, idle 20, slice_activity"),
        ("1 |", "idle 20, unattributed 80, none"),
    ] {
        assert_eq!(divided(IdlePolicy::Separate, use_of), expected, "{use_of:?}");
    }
}

#[test]
fn who_was_given_it_pays_for_its_idling_if_so_wished() {
    for (idle, use_of, expected) in [
        (IdlePolicy::Reserved, "a=1", "a 100, exclusive"),
        (IdlePolicy::Reserved, "a", "a 80, idle 20, exclusive"),
        (IdlePolicy::Reserved, "a=1:30 b=1", "a 90, b 10, utilization"),
        (IdlePolicy::Reserved, "", "idle 20, unattributed 80, none"),
        // Two of seven slices were given away.
        (IdlePolicy::Reserved, "2 100 | a=1 ; 5 |", "a/0 86, idle 14, slice_activity"),
        (IdlePolicy::Usage, "a:30 b:10", "a 75, b 25, utilization"),
        (IdlePolicy::Usage, "", "idle 20, unattributed 80, none"),
    ] {
        assert_eq!(divided(idle, use_of), expected, "{use_of:?}");
    }
}

/// Where counters stand when they are first read.
const RAW: u64 = 10_000_000_000_000;

/// Devices that do anything, and the truth about each.
struct Sim {
    dice: Dice,
    engine: Engine,
    accounting: Accounting,
    is_restarted: bool,
    seconds: u64,
    domains: Vec<Domain>,
    // By device: where its counter stands, and what it has drawn that can be known.
    raw: Vec<u64>,
    known: Vec<Option<u64>>,
    truth: Vec<u64>,
    living: Vec<(GroupSlot, String)>,
    used: BTreeMap<u32, u64>,
    next: u32,
    before: Option<Page>,
}

impl Sim {
    fn new(seed: u64) -> Sim {
        let mut dice = Dice::new(seed);
        let mut domains = vec![domain("package-0", HwType::Cpu)];
        for number in 0..dice.roll(4) {
            domains.push(domain(&format!("GPU-{number}"), HwType::Gpu));
        }
        if dice.chance(50) {
            let parts: Vec<Name> = domains.iter().map(|domain| domain.id.clone()).collect();
            domains.push(Domain { place: Place::Around(parts), ..domain("node", HwType::Other) });
        }
        let idle = [IdlePolicy::Separate, IdlePolicy::Usage, IdlePolicy::Reserved];
        let idle = idle[usize::try_from(dice.roll(3)).unwrap()];
        let accounting = accounting(idle, &[("GPU-0", 30), ("GPU-1", 5)]);
        let raw = vec![RAW; domains.len()];
        Sim {
            dice,
            engine: Engine::new(Arc::new(machine(domains.clone())), accounting.clone()),
            accounting,
            is_restarted: false,
            seconds: 100,
            known: vec![None; raw.len()],
            truth: vec![0; raw.len()],
            raw,
            domains,
            living: Vec::new(),
            used: BTreeMap::new(),
            next: 0,
            before: None,
        }
    }

    fn groups(&mut self) -> Groups {
        let mut groups = Groups::default();
        if self.is_restarted {
            for (slot, name) in &self.living {
                let found = births(&[name]).births.into_iter();
                groups.births.extend(found.map(|birth| Birth { slot: *slot, is_new: false, ..birth }));
            }
        }
        for _ in 0..self.dice.roll(3) {
            let (slot, name) = (GroupSlot(self.next), format!("j{}", self.next));
            let born = births(&[&name]).births;
            groups.births.extend(born.into_iter().map(|birth| Birth { slot, ..birth }));
            self.living.push((slot, name));
            self.next += 1;
        }
        if self.dice.chance(30) && !self.living.is_empty() {
            let index = usize::try_from(self.dice.roll(self.living.len() as u64)).unwrap();
            groups.deaths.push(self.living.remove(index).0);
        }
        for (slot, _) in &self.living {
            let used = self.used.entry(slot.0).or_default();
            *used += self.dice.roll(3_000_000_000);
            let usage = Nanos::new(*used);
            groups.readings.push(GroupReading { slot: *slot, usage, per_socket: None });
        }
        groups
    }

    fn claim(&mut self) -> Claim {
        let index = usize::try_from(self.dice.roll(self.living.len() as u64 + 2)).unwrap();
        let name = self.living.get(index).map(|(_, name)| name.clone());
        let stranger = self.dice.chance(30).then(|| "stranger".to_owned());
        Claim {
            job: name.or(stranger).map(|name| job(&name)),
            allocated: u32::try_from(self.dice.roll(3)).unwrap(),
            used: self.dice.chance(60).then(|| self.dice.roll(1_000)),
        }
    }

    /// Cut anew at every look, at worst.
    fn usage(&mut self, gpu: &Name) -> Use {
        let is_cut = self.dice.chance(40);
        let count = if is_cut { self.dice.roll(8) } else { 1 };
        let part = |sim: &mut Sim| Part {
            instance: match is_cut {
                true => format!("MIG-{}", sim.dice.roll(90)).as_str().into(),
                false => "".into(),
            },
            slices: u32::try_from(sim.dice.roll(5)).unwrap(),
            activity: sim.dice.chance(60).then(|| u32::try_from(sim.dice.roll(1_000_001)).unwrap()),
            claims: (0..sim.dice.roll(4)).map(|_| sim.claim()).collect(),
        };
        let parts = (0..count).map(|_| part(self)).collect();
        Use { gpu: gpu.clone(), is_known: self.dice.chance(80), slices: 7, parts }
    }

    fn meters(&mut self) -> Vec<Result<Value, Fault>> {
        let mut meters = Vec::new();
        for index in 0..self.domains.len() {
            self.raw[index] += self.dice.roll(2_000_000_000);
            // A counter that falls by little may as well have been misread once.
            let may_start_anew = self.raw[index] > 100_000_000_000;
            if self.domains[index].hw_type == HwType::Gpu && may_start_anew && self.dice.chance(3) {
                // The driver is loaded anew: what was drawn since the last look is lost.
                self.raw[index] = 0;
                self.known[index] = None;
            }
            if self.dice.chance(10) {
                meters.push(Err(Fault::Timeout));
                continue;
            }
            let drawn = self.known[index].replace(self.raw[index]).map(|last| self.raw[index] - last);
            self.truth[index] += drawn.unwrap_or(0);
            meters.push(Ok(Value::Counter(Energy::from_micro(self.raw[index]))));
        }
        meters
    }

    /// A device is plugged in, into the node's meter too.
    fn plug_in(&mut self) -> Option<Vec<Domain>> {
        if !self.dice.chance(5) || self.domains.len() > 8 {
            return None;
        }
        let new = domain(&format!("GPU-late-{}", self.domains.len()), HwType::Gpu);
        for domain in &mut self.domains {
            if let Place::Around(parts) = &mut domain.place {
                parts.push(new.id.clone());
            }
        }
        self.domains.push(new);
        self.raw.push(RAW);
        self.known.push(None);
        self.truth.push(0);
        Some(self.domains.clone())
    }

    fn step(&mut self) -> Snapshot {
        self.seconds += 1 + self.dice.roll(9);
        let domains = self.plug_in();
        let gpus: Vec<Name> = self.domains.iter().map(|domain| domain.gpu.clone()).collect();
        let gpus = gpus.iter().filter(|gpu| !gpu.is_empty());
        let gpus: Vec<Name> = gpus.filter(|_| self.dice.chance(85)).cloned().collect();
        let groups = self.groups();
        let gpus = gpus.iter().map(|gpu| self.usage(gpu)).collect();
        let tick = Tick { domains, meters: self.meters(), groups, gpus, ..tick(self.seconds) };
        // What is recorded is what is replayed.
        let text = serde_json::to_string(&tick).unwrap();
        let tick: Tick = serde_json::from_str(&text).unwrap();
        self.engine.step(&tick);
        Snapshot {
            at: tick.at,
            interval: Nanos::from_seconds(5),
            machine: Arc::clone(self.engine.machine()),
            totals: Arc::new(self.engine.totals()),
            factor: Arc::new(tick.factor),
            grid: None,
            gpus: Vec::new(),
            predictions: Arc::default(),
            sources: Vec::new(),
            sampler: SamplerState::default(),
            store: None,
            push: None,
            process: ProcessState::default(),
        }
    }

    /// Another process goes on, which finds what is there now.
    fn restart(&mut self, last: &Snapshot) {
        let view = ("test".into(), true);
        let checkpoint = self.engine.checkpoint(last.at, Arc::clone(&last.totals), vec![(0, 0)], view);
        let machine = machine(self.domains.clone());
        self.engine = Engine::resume(&machine, self.accounting.clone(), &checkpoint, true);
        self.is_restarted = true;
    }

    fn check(&mut self, snapshot: &Snapshot) {
        let page = page(snapshot);
        check_identity(&page).unwrap();
        if let Some(before) = &self.before {
            let check = if self.is_restarted { check_rising_over_a_restart } else { check_rising };
            check(before, &page).unwrap();
        }
        self.is_restarted = false;
        for (domain, truth) in self.domains.iter().zip(&self.truth) {
            if domain.hw_type == HwType::Gpu {
                let shown = page.sum("hw_energy_joules_total", &[("hw_id", &domain.id)]);
                assert_eq!(shown, u128::from(*truth) * 1_000, "{} shows the truth to the µJ", domain.id);
            }
        }
        self.before = Some(page);
    }
}

#[test]
fn every_joule_of_random_accelerators_is_in_exactly_one_account() {
    let wanted = std::env::var("SEED").ok().and_then(|seed| seed.parse::<u64>().ok());
    for seed in wanted.map_or(0..40, |seed| seed..seed + 1) {
        let outcome = std::panic::catch_unwind(|| {
            let mut sim = Sim::new(seed);
            for _ in 0..60 {
                let snapshot = sim.step();
                sim.check(&snapshot);
                if sim.dice.chance(5) {
                    sim.restart(&snapshot);
                }
            }
        });
        assert!(outcome.is_ok(), "reproduce with SEED={seed} cargo test --test it random_accelerators");
    }
}

/// A source whose second device appears at the second reading.
struct Late {
    domains: Vec<Domain>,
    readings: u64,
}

impl PowerSource for Late {
    fn domains(&self) -> &[Domain] {
        &self.domains
    }

    fn read(&mut self, _: Load, _: &mut Buffer, values: &mut Vec<Result<Value, Fault>>) {
        self.readings += 1;
        if self.readings == 2 {
            self.domains.push(domain("GPU-2", HwType::Gpu));
        }
        let counter = |index: usize| Ok(Value::Counter(Energy::from_micro(index as u64)));
        values.extend((0..self.domains.len()).map(counter));
    }
}

#[test]
fn a_device_that_appears_later_stands_at_the_end_whoever_reads_it() {
    let late = Late { domains: vec![domain("GPU-1", HwType::Gpu)], readings: 0 };
    let other = Late { domains: vec![domain("package-0", HwType::Cpu)], readings: 2 };
    let mut sources = Sources::of(vec![Box::new(late), Box::new(other)], Vec::new());
    let ids =
        |sources: &Sources| sources.domains().iter().map(|domain| domain.id.to_string()).collect::<Vec<_>>();
    let counter = |micro| Ok(Value::Counter(Energy::from_micro(micro)));
    let mut buffer = Buffer::default();
    assert_eq!(sources.read(Load::default(), &mut buffer), [counter(0), counter(0)]);
    assert_eq!(ids(&sources), ["GPU-1", "package-0"]);
    assert_eq!(sources.read(Load::default(), &mut buffer), [counter(0), counter(0), counter(1)]);
    assert_eq!(ids(&sources), ["GPU-1", "package-0", "GPU-2"]);
}

#[test]
fn the_energy_of_a_device_that_hangs_goes_to_who_held_it_meanwhile() {
    let machine = machine(vec![domain("GPU-1", HwType::Gpu)]);
    let mut engine = Engine::new(Arc::new(machine), accounting(IdlePolicy::Separate, &[]));
    let value = |joules: u64| Ok(Value::Counter(Energy::from_micro(joules * 1_000_000)));
    let steps = [
        (0, value(0), "a"),
        (10, Err(Fault::Timeout), "a"),
        (40, Err(Fault::Timeout), "b"),
        (60, value(600), "b"),
    ];
    for (seconds, meter, holder) in steps {
        let groups = if seconds == 0 { births(&["a", "b"]) } else { Groups::default() };
        engine.step(&Tick { meters: vec![meter], groups, gpus: vec![usage(holder)], ..tick(seconds) });
    }
    let energies: Vec<u64> =
        engine.totals().job_table.energy.iter().map(|energy| energy.as_micro() / 1_000_000).collect();
    assert_eq!(energies, [100, 500]);
}

#[test]
fn a_device_with_a_processor_inside_is_charged_for_the_rest() {
    // As an APU's: its counter stands around that of the processor.
    let around = Domain { place: Place::Around(vec!["package-0".into()]), ..domain("GPU-1", HwType::Gpu) };
    let machine = machine(vec![domain("package-0", HwType::Cpu), around]);
    let mut engine = Engine::new(Arc::new(machine), accounting(IdlePolicy::Separate, &[("GPU-1", 2)]));
    let value = |joules: u64| Ok(Value::Counter(Energy::from_micro(joules * 1_000_000)));
    for (seconds, cpu, gpu) in [(0, 0, 0), (10, 100, 100), (20, 100, 420)] {
        let groups = if seconds == 0 { births(&["a"]) } else { Groups::default() };
        let meters = vec![value(cpu), value(gpu)];
        engine.step(&Tick { meters, groups, gpus: vec![usage("a=1")], ..tick(seconds) });
    }
    let totals = engine.totals();
    let column = totals.columns.iter().position(|column| column.hw_type == HwType::Gpu).unwrap();
    assert_eq!(totals.job_table.energy[column], Energy::from_micro(300_000_000), "320 J less 2 W for 10 s");
}

#[test]
fn what_was_estimated_and_is_measured_now_is_held_once() {
    let estimated = Domain { origin: Origin::Estimated, ..domain("GPU-1", HwType::Gpu) };
    let machine = machine(vec![estimated, domain("GPU-1", HwType::Gpu)]);
    let mut engine = Engine::new(Arc::new(machine), accounting(IdlePolicy::Separate, &[]));
    let meters = vec![Err(Fault::Inactive), Ok(Value::Counter(Energy::ZERO))];
    engine.step(&Tick { meters, groups: births(&["a"]), gpus: vec![usage("a=1")], ..tick(0) });
    assert_eq!(engine.totals().jobs[0].held.len(), 1);
}

/// A node's meter stands around a device that comes later too, and one of an earlier start goes on.
#[test]
fn a_device_that_comes_later_goes_on_from_its_total_inside_its_root() {
    let [cpu, gpu] = [domain("package-0", HwType::Cpu), domain("GPU-1", HwType::Gpu)];
    let around = |ids: &[&str]| {
        let ids = ids.iter().map(|id| Name::from(*id)).collect();
        Domain { place: Place::Around(ids), ..domain("node", HwType::Other) }
    };
    let value = |joules: u64| Ok(Value::Counter(Energy::from_micro(joules * 1_000_000)));
    let both = vec![around(&["package-0", "GPU-1"]), cpu.clone(), gpu.clone()];
    let policy = || accounting(IdlePolicy::Separate, &[]);
    let mut engine = Engine::new(Arc::new(machine(both.clone())), policy());
    for (seconds, node, joules) in [(0, 0, 0), (10, 500, 100)] {
        engine.step(&Tick { meters: vec![value(node), value(joules), value(joules)], ..tick(seconds) });
    }
    let totals = Arc::new(engine.totals());
    let checkpoint = engine.checkpoint(tick(10).at, totals, Vec::new(), ("".into(), false));
    let alone = Arc::new(machine(vec![around(&["package-0"]), cpu]));
    let mut engine = Engine::resume(&alone, policy(), &checkpoint, true);
    engine.step(&Tick { meters: vec![value(500), value(100)], ..tick(20) });
    let late = |domains, seconds, joules: [u64; 3]| {
        let meters = joules.map(value).to_vec();
        Tick { domains, meters, ..tick(seconds) }
    };
    engine.step(&late(Some(both), 30, [500, 100, 7]));
    engine.step(&late(None, 40, [1_000, 200, 107]));
    let totals = engine.totals();
    let place = engine.machine().domains.iter().position(|domain| *domain.id == *"GPU-1").unwrap();
    assert_eq!(totals.domains[place].energy.as_micro(), 200_000_000, "100 J of before and 100 since");
    let sum: Energy = totals.residual_table.energy.iter().copied().sum();
    assert_eq!(sum.as_micro(), 1_000_000_000, "the node's, and nothing beside it");
}

#[test]
fn an_instance_that_is_told_of_twice_has_one_column() {
    let mut engine = Engine::new(
        Arc::new(machine(vec![domain("GPU-1", HwType::Gpu)])),
        accounting(IdlePolicy::Separate, &[]),
    );
    let mut twice = usage("1 | a=1 ; 2 | b=1");
    twice.parts[1].instance = twice.parts[0].instance.clone();
    let meters = vec![Ok(Value::Counter(Energy::ZERO))];
    engine.step(&Tick { meters, groups: births(&["a", "b"]), gpus: vec![twice], ..tick(0) });
    let instances = engine.totals().columns.iter().filter(|column| !column.is_whole()).count();
    assert_eq!(instances, 1);
}

#[test]
fn a_job_has_a_series_for_each_instance_and_what_nobody_holds_has_none() {
    let header = Header {
        jouleprint_recording: Header::VERSION,
        machine: machine(vec![domain("GPU-1", HwType::Gpu)]),
        accounting: accounting(IdlePolicy::Separate, &[]),
        interval: Nanos::from_seconds(5),
    };
    let mut replay = Replay::new(&header);
    let mut last = None;
    for seconds in [0, 10] {
        let groups = if seconds == 0 { births(&["a", "b"]) } else { Groups::default() };
        last = Some(replay.step(&Tick {
            meters: vec![Ok(Value::Counter(Energy::from_micro(seconds * 7_000_000)))],
            groups,
            gpus: vec![usage("1 | a=1 ; 2 | a=1 b=1 ; 4 |")],
            ..tick(seconds)
        }));
    }
    let snapshot = last.unwrap();
    let page = page(&snapshot);
    let of = |job: &str, instance: &str| {
        page.value(JOB_ENERGY, &[("job_id", job), ("gpu", "GPU-1"), ("gpu_instance", instance)])
    };
    let third = Some("23.333333");
    assert_eq!((of("a", "MIG-0"), of("a", "MIG-1"), of("b", "MIG-1")), (third, Some("23.333334"), third));
    assert_eq!((of("a", ""), of("b", "MIG-0")), (None, None));
    assert!(page.all(RESIDUAL, &[]).iter().all(|sample| !sample.labels.contains_key("gpu_instance")));
    let held = |job: &str, instance: &str| {
        let labels = [("job_id", job), ("gpu_instance", instance)];
        page.value("jouleprint_job_gpu_allocated_ratio", &labels).map(str::to_owned)
    };
    assert_eq!(held("a", "MIG-0").as_deref(), Some("0.142857"));
    assert_eq!(held("b", "MIG-1").as_deref(), Some("0.142857"));
    assert_eq!(snapshot.totals.gpus[0].1, Method::Slices);
}
