//! A made-up machine with a real file tree: processors, control groups and meters that do what a seed
//! says, and that know the truth about it. The sampler reads it like any other machine.

use arc_swap::ArcSwapOption;
use jouleprint::job::consumers::Consumers;
use jouleprint::job::hierarchy;
use jouleprint::job::own::OwnProcess;
use jouleprint::job::processor::{Processors, Topology};
use jouleprint::job::tree::{Surroundings, Tree};
use jouleprint::job::{Resolvers, rule::Rule};
use jouleprint::kernel_file::Buffer;
use jouleprint::model::grid::{Grid, Step};
use jouleprint::model::identity::{HwType, JobKind, Name, Origin};
use jouleprint::model::quantity::{Energy, Intensity, MicroWatts, Nanos, Pue};
use jouleprint::model::reading::{
    Accounting, Domain, Factor, Fault, Finding, IdlePolicy, Load, Measurement, Place, Value,
};
use jouleprint::model::time::Moment;
use jouleprint::sampler::{Parts, Past, Sampler};
use jouleprint::source::{PowerSource, Sources};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// 1/100 s: what /proc/stat counts in.
const JIFFY: u64 = 10_000_000;

/// Random numbers from a seed (splitmix64).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    pub(crate) fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % below.max(1)
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.roll(100) < percent
    }
}

/// How the control groups are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    V1,
    V2,
    Hybrid,
}

/// A meter and the truth about it.
struct SimMeter {
    raw: u64,
    range: u64,
    /// Energy since the last reading that could be believed.
    unread: u64,
    /// What the page must show.
    expected: u64,
    quiet_ticks: u32,
    has_started: bool,
    idle_watts: u64,
    watts_per_cpu: u64,
    socket: Option<usize>,
}

/// A control group and the truth about it.
pub(crate) struct SimGroup {
    pub(crate) path: String,
    pub(crate) parent: Option<String>,
    pub(crate) id: Option<String>,
    /// CPU time of its own processes.
    pub(crate) own: u64,
    /// Own time when the exporter first saw it.
    pub(crate) before: u64,
    has_v1: bool,
    has_v2: bool,
}

/// The machine.
pub(crate) struct World {
    folder: tempfile::TempDir,
    pub(crate) dice: Dice,
    pub(crate) layout: Layout,
    sockets: usize,
    cpus: usize,
    busy: Vec<u64>,
    meters: Vec<SimMeter>,
    outbox: Arc<Mutex<Vec<Result<Value, Fault>>>>,
    pub(crate) groups: BTreeMap<String, SimGroup>,
    /// CPU time of dead children, by the parent that keeps it.
    kept: BTreeMap<String, u64>,
    // Groups whose account has changed since it was written.
    changed: BTreeSet<String>,
    now: Moment,
    named: u64,
    pub(crate) has_faults: bool,
    /// What is known of the grid, if anybody is asked.
    pub(crate) grid: Option<Arc<ArcSwapOption<Grid>>>,
}

struct SimSource {
    domains: Vec<Domain>,
    outbox: Arc<Mutex<Vec<Result<Value, Fault>>>>,
}

impl PowerSource for SimSource {
    fn domains(&self) -> &[Domain] {
        &self.domains
    }

    fn read(&mut self, _: Load, _: &mut Buffer, values: &mut Vec<Result<Value, Fault>>) {
        values.extend(self.outbox.lock().expect("one thread").iter().copied());
    }
}

impl World {
    pub(crate) fn new(seed: u64, layout: Layout, has_faults: bool) -> World {
        let mut dice = Dice::new(seed);
        let sockets = 1 + usize::try_from(dice.roll(2)).expect("small");
        let cpus = sockets * (1 + usize::try_from(dice.roll(4)).expect("small"));
        let ranges = [262_143_328_850, 65_712_999_613, u64::from(u32::MAX) * 1_000];
        let mut meters = Vec::new();
        for socket in 0..sockets {
            for is_dram in [false, true] {
                let range = ranges[usize::try_from(dice.roll(3)).expect("small")];
                meters.push(SimMeter {
                    // Close enough to the end to wrap within a run, or far enough from it that a
                    // reset cannot be taken for a wrap.
                    raw: if dice.chance(50) { range - 1 - dice.roll(20_000_000_000) } else { range / 2 },
                    range,
                    unread: 0,
                    expected: 0,
                    quiet_ticks: 3,
                    has_started: false,
                    idle_watts: 3 + dice.roll(30),
                    watts_per_cpu: if is_dram { 1 } else { 2 + dice.roll(20) },
                    socket: Some(socket),
                });
            }
        }
        let start = Nanos::from_seconds(1_000);
        let wall = Nanos::from_seconds(1_795_300_000);
        let world = World {
            folder: in_memory().expect("a temporary folder"),
            dice,
            layout,
            sockets,
            cpus,
            busy: vec![0; cpus],
            meters,
            outbox: Arc::default(),
            groups: BTreeMap::new(),
            kept: BTreeMap::new(),
            changed: BTreeSet::new(),
            now: Moment { monotonic: start, boottime: start, wall },
            named: 0,
            has_faults,
            grid: None,
        };
        for cpu in 0..cpus {
            let socket = cpu * sockets / cpus;
            let topology = format!("sys/devices/system/cpu/cpu{cpu}/topology/physical_package_id");
            write(&world.root().join(topology), &socket.to_string());
        }
        let marker = match layout {
            Layout::V1 => "cgroup/cpuacct/release_agent",
            Layout::V2 => "cgroup/cgroup.controllers",
            Layout::Hybrid => {
                write(&world.root().join("cgroup/cpuacct/release_agent"), "");
                "cgroup/unified/cgroup.controllers"
            }
        };
        write(&world.root().join(marker), "");
        world.write_stat();
        world
    }

    pub(crate) fn root(&self) -> &Path {
        self.folder.path()
    }

    /// A sampler that looks at this machine.
    pub(crate) fn sampler(&self, max_jobs: u32, max_groups: usize, retention: u64) -> Sampler {
        self.sampler_after(max_jobs, max_groups, retention, Past::default())
    }

    /// The same, going on from what an earlier one left.
    pub(crate) fn sampler_after(
        &self,
        max_jobs: u32,
        max_groups: usize,
        retention: u64,
        past: Past,
    ) -> Sampler {
        let topology = Topology::read(&self.root().join("sys"));
        let domains = self.meters.iter().enumerate().map(|(index, meter)| Domain {
            id: format!("meter-{index}").as_str().into(),
            hw_type: if index % 2 == 0 { HwType::Cpu } else { HwType::Memory },
            origin: Origin::Measured,
            gpu: "".into(),
            source: "rapl".into(),
            place: Place::Counted,
            socket: meter.socket.map(|socket| u32::try_from(socket).expect("small")),
            measurement: Measurement::Counter {
                range: Some(Energy::from_micro(meter.range)),
                ceiling: MicroWatts::from_watts(500),
            },
            floor: None,
            uncertainty_ppm: 0,
        });
        let source = SimSource { domains: domains.collect(), outbox: Arc::clone(&self.outbox) };
        let roots = hierarchy::find(&self.root().join("cgroup")).expect("the tree is there");
        let rule = Rule::new("batch", "^/batch/(?P<id>[^/]+)$").expect("a valid rule");
        let kinds = [JobKind::Pod, JobKind::Slurm, JobKind::Machine, JobKind::Container, JobKind::Unit];
        let surroundings = Surroundings {
            procfs: self.root().join("proc"),
            topology: topology.clone(),
            wants_reservations: false,
            max_groups,
        };
        let finding = |source: &str| Finding {
            source: source.into(),
            hw_id: "".into(),
            fault: None,
            detail: "".into(),
        };
        Sampler::new(Parts {
            sources: Sources::of(vec![Box::new(source)], Vec::new()),
            processors: Processors::open(&self.root().join("proc"), topology)
                .expect("the stat file is there"),
            consumers: Some(Consumers::Groups(Box::new(Tree::open(
                roots,
                Resolvers::new(vec![rule], kinds.to_vec()),
                surroundings,
            )))),
            holders: None,
            directory: None,
            findings: vec![finding("cpu"), finding("cgroup")],
            own: OwnProcess::open(),
            host: "sim".into(),
            cpu_model: "".into(),
            kernel: "".into(),
            accounting: Accounting {
                idle: IdlePolicy::Separate,
                retention: Nanos::from_seconds(retention),
                max_jobs,
                floors: Vec::new(),
                group_kinds: ["namespace", "team", "user"].map(Name::from).into(),
                group_hold: Nanos::from_seconds(30),
            },
            factor: factor("DE", "344.14"),
            grid: self.grid.clone(),
            interval: Nanos::from_seconds(5),
            past,
        })
    }

    /// Looks that [`World::make`] knows; the last one is nobody's.
    pub(crate) const KINDS: u64 = 10;

    /// Makes a container inside a job, which has it to itself.
    pub(crate) fn nest(&mut self, outer: &str) {
        self.named += 1;
        let id = format!("{:064x}", self.named);
        let group = &self.groups[outer];
        let (has_v1, has_v2) = (group.has_v1, group.has_v2);
        self.add(&format!("{outer}/x/docker/{id}"), Some(id), has_v1, has_v2);
    }

    /// Whether there is no group inside.
    pub(crate) fn is_leaf(&self, path: &str) -> bool {
        let inside = format!("{path}/");
        !self.groups.keys().any(|other| other.starts_with(&inside))
    }

    /// Makes a group with a name of its own; `kind` picks what it looks like.
    pub(crate) fn make(&mut self, kind: u64) -> String {
        self.named += 1;
        let number = self.named;
        let uid = format!("{number:08x}-0000-4000-8000-000000000000");
        let container = format!("{number:064x}");
        let scored = uid.replace('-', "_");
        let (path, id) = match kind % World::KINDS {
            0 => (
                format!("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{scored}.slice"),
                Some(uid),
            ),
            1 => (format!("/kubepods/besteffort/pod{uid}"), Some(uid)),
            2 => (format!("/system.slice/unit-{number}.service"), Some(format!("unit-{number}.service"))),
            3 => (format!("/docker/{container}"), Some(container)),
            4 => (format!("/batch/{number}"), Some(format!("batch/{number}"))),
            5 => (format!("/slurm_n1/uid_{}/job_{number}", number % 3), Some(number.to_string())),
            6 => (format!("/slurmstepd.scope/job_{number}"), Some(number.to_string())),
            7 => (
                format!("/machine.slice/machine-qemu\\x2d{number}\\x2dvm{number}.scope"),
                Some(format!("vm{number}")),
            ),
            8 => (format!("/lxc.payload.ct{number}"), Some(format!("ct{number}"))),
            _ => (format!("/nobody/group-{number}"), None),
        };
        // On a hybrid host systemd keeps units in v2 alone; runtimes make theirs in both.
        let has_v1 =
            self.layout != Layout::V2 && !(self.layout == Layout::Hybrid && kind % World::KINDS == 2);
        self.add(&path, id, has_v1, self.layout != Layout::V1);
        path
    }

    fn add(&mut self, path: &str, id: Option<String>, has_v1: bool, has_v2: bool) {
        let parent = path.rsplit_once('/').map(|(parent, _)| parent).filter(|parent| !parent.is_empty());
        if let Some(parent) = parent
            && !self.groups.contains_key(parent)
        {
            self.add(parent, None, has_v1, has_v2);
        }
        if let Some(group) = parent.and_then(|parent| self.groups.get_mut(parent)) {
            group.has_v1 |= has_v1;
            group.has_v2 |= has_v2;
            let (v1, v2, path) = (group.has_v1, group.has_v2, group.path.clone());
            self.lay(&path, v1, v2);
        }
        let group = SimGroup {
            path: path.to_owned(),
            parent: parent.map(str::to_owned),
            id,
            own: 0,
            before: 0,
            has_v1,
            has_v2,
        };
        self.groups.insert(path.to_owned(), group);
        self.lay(path, has_v1, has_v2);
    }

    fn lay(&self, path: &str, has_v1: bool, has_v2: bool) {
        for directory in self.directories(path, has_v1, has_v2) {
            std::fs::create_dir_all(directory).expect("made");
        }
        self.write_account(path);
    }

    /// Removes a group; what it used stays with its parent.
    pub(crate) fn unmake(&mut self, path: &str) {
        let group = self.groups.remove(path).expect("a group that is there");
        if let Some(parent) = &group.parent {
            *self.kept.entry(parent.clone()).or_default() += group.own + self.kept.remove(path).unwrap_or(0);
        }
        for directory in self.directories(path, group.has_v1, group.has_v2) {
            for entry in std::fs::read_dir(&directory).expect("the group is there").flatten() {
                std::fs::remove_file(entry.path()).expect("a group's files can go");
            }
            std::fs::remove_dir(directory).expect("an empty group can go");
        }
    }

    /// Makes `path` (empty for the system) use `jiffies` of one CPU of a socket.
    pub(crate) fn work(&mut self, path: &str, jiffies: u64, cpu: usize) {
        self.busy[cpu % self.cpus] += jiffies;
        if let Some(group) = self.groups.get_mut(path) {
            group.own += jiffies * JIFFY;
            let mut around = Some(path);
            while let Some(path) = around.filter(|path| !path.is_empty()) {
                self.changed.insert(path.to_owned());
                around = path.rsplit_once('/').map(|(parent, _)| parent);
            }
        }
    }

    /// Writes down what has changed.
    pub(crate) fn write(&mut self) {
        self.write_stat();
        for path in std::mem::take(&mut self.changed) {
            if self.groups.contains_key(&path) {
                self.write_account(&path);
            }
        }
    }

    pub(crate) fn now(&self) -> Moment {
        self.now
    }

    /// Lets time pass: the meters count, faults strike, and everything is written down.
    pub(crate) fn pass(&mut self, elapsed: Nanos, worked: &[u64]) -> Moment {
        let nanoseconds = elapsed.get();
        self.now.monotonic += elapsed;
        self.now.boottime += elapsed;
        self.now.wall += elapsed;
        let mut outcomes = Vec::new();
        for index in 0..self.meters.len() {
            let noise = self.dice.roll(1_000_000);
            let fault = if self.has_faults { self.dice.roll(100) } else { 99 };
            let meter = &mut self.meters[index];
            let socket_work: u64 = (0..self.cpus)
                .filter(|cpu| Some(cpu * self.sockets / self.cpus) == meter.socket)
                .map(|cpu| worked[cpu])
                .sum();
            let idle = meter.idle_watts * nanoseconds / 1_000;
            let energy = idle + meter.watts_per_cpu * socket_work * 10_000 + noise;
            meter.raw = (meter.raw + energy) % meter.range;
            meter.unread += energy;
            meter.quiet_ticks += 1;
            outcomes.push(meter.outcome(fault));
        }
        *self.outbox.lock().expect("one thread") = outcomes;
        self.write();
        self.now
    }

    /// Somebody sets the wall clock.
    pub(crate) fn set_wall_clock(&mut self, ahead: i64) {
        let wall = self.now.wall.get().checked_add_signed(ahead).expect("after 1970");
        self.now.wall = Nanos::new(wall);
    }

    /// The machine sleeps: one clock stands still, the others go on.
    pub(crate) fn sleep(&mut self, duration: Nanos) {
        self.now.boottime += duration;
        self.now.wall += duration;
    }

    pub(crate) fn cpus(&self) -> usize {
        self.cpus
    }

    /// What each meter must show.
    pub(crate) fn expected(&self) -> Vec<u64> {
        self.meters.iter().map(|meter| meter.expected).collect()
    }

    fn directories(&self, path: &str, has_v1: bool, has_v2: bool) -> Vec<PathBuf> {
        let cgroup = self.root().join("cgroup");
        let v2 = if self.layout == Layout::V2 { cgroup.clone() } else { cgroup.join("unified") };
        let roots = [has_v1.then(|| cgroup.join("cpuacct")), has_v2.then_some(v2)];
        roots.into_iter().flatten().map(|root| root.join(path.trim_start_matches('/'))).collect()
    }

    /// The group's time and that of everything below it, dead or alive, in the hierarchy.
    fn total(&self, path: &str, counts: fn(&SimGroup) -> bool) -> u64 {
        let below = format!("{path}/");
        let living = self.groups.values().filter(|group| counts(group));
        let living = living.filter(|group| group.path == path || group.path.starts_with(&below));
        let dead = self.kept.iter().filter(|(at, _)| *at == path || at.starts_with(&below));
        living.map(|group| group.own).sum::<u64>() + dead.map(|(_, used)| used).sum::<u64>()
    }

    fn write_account(&self, path: &str) {
        let group = &self.groups[path];
        let cgroup = self.root().join("cgroup");
        if group.has_v1 {
            let directory = cgroup.join("cpuacct").join(path.trim_start_matches('/'));
            let used = self.total(path, |group| group.has_v1);
            write(&directory.join("cpuacct.usage"), &format!("{used}\n"));
            // All of it on the first CPU of the first socket: the split over sockets is another test's.
            let others = " 0".repeat(self.cpus - 1);
            write(&directory.join("cpuacct.usage_percpu"), &format!("{used}{others} \n"));
        }
        if group.has_v2 {
            let root = if self.layout == Layout::V2 { cgroup } else { cgroup.join("unified") };
            let used = self.total(path, |group| group.has_v2) / 1_000;
            let directory = root.join(path.trim_start_matches('/'));
            write(&directory.join("cpu.stat"), &format!("usage_usec {used}\nuser_usec 0\nsystem_usec 0\n"));
        }
    }

    fn write_stat(&self) {
        let mut text = String::from("cpu  0 0 0 0 0 0 0 0 0 0\n");
        for (cpu, busy) in self.busy.iter().enumerate() {
            text.push_str(&format!("cpu{cpu} {busy} 0 0 777 0 0 0 0 0 0\n"));
        }
        text.push_str("intr 1 2 3\n");
        write(&self.root().join("proc/stat"), &text);
    }
}

impl SimMeter {
    /// What the sampler gets to read, and what that makes of the truth.
    fn outcome(&mut self, fault: u64) -> Result<Value, Fault> {
        let is_quiet = self.quiet_ticks > 3 && self.has_started;
        match fault {
            0..=2 => return Err(Fault::Io),
            3 if is_quiet && self.range - self.raw > 100_000_000_000 => {
                // A value far ahead, once: the next good reading makes up for it.
                self.quiet_ticks = 0;
                return Ok(Value::Counter(Energy::from_micro(self.raw + 90_000_000_000)));
            }
            4 if is_quiet => {
                self.quiet_ticks = 0;
                return Ok(Value::Counter(Energy::from_micro(u64::MAX)));
            }
            5 if is_quiet && self.raw > 30_000_000_000 && self.range - self.raw > 30_000_000_000 => {
                // The driver is loaded anew: what was not read yet is gone.
                self.raw = 17;
                self.unread = 0;
                self.quiet_ticks = 0;
                return Ok(Value::Counter(Energy::from_micro(self.raw)));
            }
            _ => {}
        }
        if self.has_started {
            self.expected += self.unread;
        }
        self.has_started = true;
        self.unread = 0;
        Ok(Value::Counter(Energy::from_micro(self.raw)))
    }
}

pub(crate) fn factor(zone: &str, grams: &str) -> Factor {
    Factor {
        zone: zone.into(),
        intensity: Intensity::parse_grams(grams).expect("a plausible figure"),
        pue: Pue::parse("1.25").expect("a plausible ratio"),
        basis: "lifecycle".into(),
        accounting: "production".into(),
        quality: "static".into(),
        source: "test".into(),
        year: "2024".into(),
        fallback: Step::Wanted,
    }
}

/// A folder in memory where there is one: a long run makes some million files.
fn in_memory() -> std::io::Result<tempfile::TempDir> {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir())
}

fn write(path: &Path, text: &str) {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).expect("made");
    }
    std::fs::write(path, text).expect("written");
}
