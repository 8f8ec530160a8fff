//! A made-up machine on files: powercap zones, /proc/stat, a boot id and a v2 tree of control groups,
//! moved on by a thread that knows the truth in integers and can be frozen. Everything goes by steps, not
//! by the clock: on a busy machine less happens, never more at once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;
use tempfile::TempDir;

/// Between two steps.
const STEP: Duration = Duration::from_millis(5);

/// What the range of a real zone is.
pub(crate) const RANGE: u64 = 262_143_328_850;

/// Of each of the machine's CPUs.
const CPUS: usize = 2;

/// What a zone draws in a step, in µJ, and beyond that for each µs of work.
const ZONES: [(&str, &str, u64, u64); 2] =
    [("intel-rapl:0", "package-0", 100_003, 23), ("intel-rapl:0/intel-rapl:0:0", "dram", 10_007, 3)];

/// Random numbers from a seed (splitmix64).
#[derive(Debug, Clone)]
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
}

/// What moves at a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// Everything.
    Running,
    /// The meters alone, so that a start sees that they are meters.
    Pulsing,
    /// Nothing.
    Frozen,
}

/// What has happened so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Truth {
    /// By `hw_id`: where the counter stands, in µJ, wraps added up.
    pub(crate) energy: BTreeMap<&'static str, u64>,
    /// By `job_id`: CPU time since its birth, in µs.
    pub(crate) jobs: BTreeMap<String, u64>,
    /// The same of those that have ended.
    pub(crate) dead: BTreeMap<String, u64>,
}

#[derive(Debug)]
struct Zone {
    total: u64,
    file: File,
}

#[derive(Debug)]
struct Group {
    used: u64,
    written: u64,
    file: File,
    may_work: bool,
}

#[derive(Debug)]
struct State {
    root: PathBuf,
    pace: Pace,
    dice: Dice,
    zones: Vec<Zone>,
    stat: File,
    // In µs.
    busy: u64,
    slice: Group,
    jobs: BTreeMap<String, Group>,
    dead: BTreeMap<String, u64>,
    born: u64,
    // Every so many steps a job is born, and one ends.
    churn: Option<u64>,
    steps: u64,
}

/// The machine; it stands still when it is dropped.
#[derive(Debug)]
pub(crate) struct Machine {
    folder: TempDir,
    state: Arc<Mutex<State>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Machine {
    /// A machine with `jobs` jobs, pulsing. The counter of its package passes the end of its range soon.
    pub(crate) fn new(seed: u64, jobs: usize) -> Machine {
        let folder = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
        let root = folder.path().to_owned();
        for part in ["cgroup/system.slice", "staging", "proc/sys/kernel/random", "sys/class/dmi/id"] {
            fs::create_dir_all(root.join(part)).expect("made");
        }
        fs::write(root.join("cgroup/cgroup.controllers"), "").expect("written");
        // What an estimate needs to know.
        let cpuinfo = "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Made Up\n\nprocessor\t: 1\n";
        fs::write(root.join("proc/cpuinfo"), cpuinfo).expect("written");
        fs::write(root.join("proc/meminfo"), "MemTotal:       16000000 kB\n").expect("written");
        let class = root.join("sys/class/powercap");
        fs::create_dir_all(class.join("intel-rapl")).expect("made");
        let starts = [RANGE - 700_000_000, 55_555];
        let zones = ZONES.iter().zip(starts).map(|(zone, total)| Zone { total, file: lay_out(&class, zone) });
        let state = State {
            pace: Pace::Pulsing,
            dice: Dice::new(seed),
            zones: zones.collect(),
            stat: File::create(root.join("proc/stat")).expect("made"),
            busy: 0,
            slice: Group::make(&root.join("cgroup/system.slice"), false),
            jobs: BTreeMap::new(),
            dead: BTreeMap::new(),
            born: 0,
            churn: None,
            steps: 0,
            root,
        };
        let state = Arc::new(Mutex::new(state));
        let stop = Arc::new(AtomicBool::new(false));
        let mut machine =
            Machine { folder, state: Arc::clone(&state), stop: Arc::clone(&stop), thread: None };
        machine.reboot();
        {
            let mut state = machine.state();
            for _ in 0..jobs {
                state.bear(true);
            }
            state.write();
        }
        machine.thread = Some(std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                state.lock().expect("no step panics").step();
                std::thread::sleep(STEP);
            }
        }));
        machine
    }

    pub(crate) fn sysfs(&self) -> PathBuf {
        self.folder.path().join("sys")
    }

    pub(crate) fn procfs(&self) -> PathBuf {
        self.folder.path().join("proc")
    }

    pub(crate) fn cgroupfs(&self) -> PathBuf {
        self.folder.path().join("cgroup")
    }

    /// Gives the boot another id; nothing else changes.
    pub(crate) fn reboot(&self) {
        let id = format!("00000000-0000-4000-8000-{:012x}\n", crate::rig::unique());
        replace(&self.procfs().join("sys/kernel/random/boot_id"), &id);
    }

    /// Makes it another machine, as its firmware tells.
    pub(crate) fn become_another(&self) {
        let id = format!("11111111-0000-4000-8000-{:012x}\n", crate::rig::unique());
        replace(&self.sysfs().join("class/dmi/id/product_uuid"), &id);
    }

    /// Everything moves; jobs come and go every `churn` steps.
    pub(crate) fn run(&self, churn: Option<u64>) {
        let mut state = self.state();
        (state.pace, state.churn) = (Pace::Running, churn);
    }

    /// Only the meters move: nobody works.
    pub(crate) fn pulse(&self) {
        self.state().pace = Pace::Pulsing;
    }

    /// Nothing moves any more. What is read after this call is this.
    pub(crate) fn freeze(&self) -> Truth {
        let mut state = self.state();
        state.pace = Pace::Frozen;
        state.truth()
    }

    /// A job is born that has used `used` µs before anybody can have seen it. Returns its id.
    pub(crate) fn bear(&self, used: u64) -> String {
        let mut state = self.state();
        let id = state.bear(true);
        state.work(&id, used);
        state.write();
        id
    }

    /// A job uses `used` µs, and ends.
    pub(crate) fn end(&self, id: &str, used: u64) {
        let mut state = self.state();
        state.work(id, used);
        state.write();
        state.bury(id);
    }

    /// Moves a meter on by `energy` µJ.
    pub(crate) fn advance(&self, zone: usize, energy: u64) {
        let mut state = self.state();
        state.zones[zone].total += energy;
        state.write();
    }

    /// Takes a zone away, or puts it back.
    pub(crate) fn set_present(&self, zone: usize, is_present: bool) {
        let place = self.sysfs().join("class/powercap").join(ZONES[zone].0);
        let away = self.folder.path().join("staging").join(format!("zone-{zone}"));
        let (from, to) = if is_present { (away, place) } else { (place, away) };
        fs::rename(from, to).expect("moved");
    }

    /// Jobs that somebody has seen on a page may begin to work: a group is moved into its place whole, and
    /// what it used in the moment after that would not count as its own.
    pub(crate) fn seen(&self, ids: &BTreeSet<&str>) {
        let mut state = self.state();
        for (id, group) in &mut state.jobs {
            group.may_work |= ids.contains(id.as_str());
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no step panics")
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl State {
    fn step(&mut self) {
        if self.pace == Pace::Frozen {
            return;
        }
        let mut worked = 0;
        if self.pace == Pace::Running {
            worked = self.live();
        }
        for (zone, (_, _, steady, per_microsecond)) in self.zones.iter_mut().zip(ZONES) {
            zone.total += steady + worked * per_microsecond + self.dice.roll(11);
        }
        self.write();
    }

    /// Births, deaths and work of one step. Returns the work, in µs.
    fn live(&mut self) -> u64 {
        self.steps += 1;
        if let Some(churn) = self.churn
            && self.steps.is_multiple_of(churn)
        {
            self.bear(false);
            let working: Vec<String> =
                self.jobs.iter().filter(|(_, job)| job.may_work).map(|(id, _)| id.clone()).collect();
            if working.len() > 6 {
                let chosen = usize::try_from(self.dice.roll(6)).expect("small");
                self.bury(&working[chosen]);
            }
        }
        let own = self.dice.roll(500);
        self.busy += own;
        let ids: Vec<String> =
            self.jobs.iter().filter(|(_, job)| job.may_work).map(|(id, _)| id.clone()).collect();
        // All CPUs together have 10,000 µs in a step.
        let most = 9_000 / u64::try_from(ids.len()).expect("few").max(1);
        let mut worked = own;
        for id in ids {
            let used = self.dice.roll(most);
            self.work(&id, used);
            worked += used;
        }
        worked
    }

    fn work(&mut self, id: &str, used: u64) {
        self.jobs.get_mut(id).expect("it lives").used += used;
        self.slice.used += used;
        self.busy += used;
    }

    fn bear(&mut self, may_work: bool) -> String {
        self.born += 1;
        let id = format!("j{:06}.service", self.born);
        let staged = self.root.join("staging").join(&id);
        fs::create_dir(&staged).expect("made");
        let group = Group::make(&staged, may_work);
        fs::rename(&staged, self.root.join("cgroup/system.slice").join(&id)).expect("moved");
        self.jobs.insert(id.clone(), group);
        id
    }

    fn bury(&mut self, id: &str) {
        let group = self.jobs.remove(id).expect("it lives");
        self.dead.insert(id.to_owned(), group.used);
        // In one piece, as the kernel removes a group.
        let gone = self.root.join("staging").join(id);
        fs::rename(self.root.join("cgroup/system.slice").join(id), &gone).expect("moved");
        fs::remove_dir_all(gone).expect("removed");
    }

    /// Parents first: nobody reads a parent that has used less than its children.
    fn write(&mut self) {
        self.slice.write();
        self.jobs.values_mut().filter(|job| job.used != job.written).for_each(Group::write);
        let jiffies = self.busy / 10_000;
        let mut text = format!("cpu  {jiffies:020} 0 0 0 0 0 0 0 0 0\n");
        for cpu in 0..CPUS {
            let share = jiffies / CPUS as u64 + u64::from(cpu == 0) * (jiffies % CPUS as u64);
            text.push_str(&format!("cpu{cpu} {share:020} 0 0 777 0 0 0 0 0 0\n"));
        }
        self.stat.write_all_at(text.as_bytes(), 0).expect("written");
        for zone in &self.zones {
            write_energy(&zone.file, zone.total);
        }
    }

    fn truth(&self) -> Truth {
        let energy = ZONES.iter().zip(&self.zones).map(|((_, name, ..), zone)| (hw_id(name), zone.total));
        Truth {
            energy: energy.collect(),
            jobs: self.jobs.iter().map(|(id, group)| (id.clone(), group.used)).collect(),
            dead: self.dead.clone(),
        }
    }
}

impl Group {
    /// In a directory that is there.
    fn make(directory: &Path, may_work: bool) -> Group {
        let file = File::create(directory.join("cpu.stat")).expect("made");
        let mut group = Group { used: 0, written: 0, file, may_work };
        group.write();
        group
    }

    fn write(&mut self) {
        let text = format!("usage_usec {:020}\nuser_usec 0\nsystem_usec 0\n", self.used);
        self.file.write_all_at(text.as_bytes(), 0).expect("written");
        self.written = self.used;
    }
}

/// By what the page names a zone.
fn hw_id(name: &str) -> &'static str {
    if name == "dram" { "package-0-dram" } else { "package-0" }
}

fn lay_out(class: &Path, (entry, name, ..): &(&str, &str, u64, u64)) -> File {
    let directory = class.join(entry);
    fs::create_dir_all(&directory).expect("made");
    fs::write(directory.join("name"), format!("{name}\n")).expect("written");
    fs::write(directory.join("max_energy_range_uj"), format!("{RANGE}\n")).expect("written");
    File::create(directory.join("energy_uj")).expect("made")
}

/// Always as many bytes at the same place, so that no reader meets half a number.
fn write_energy(file: &File, total: u64) {
    file.write_all_at(format!("{:020}\n", total % RANGE).as_bytes(), 0).expect("written");
}

/// Another file in the place of this one, in one step.
fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).expect("written");
    fs::rename(new, path).expect("moved");
}
