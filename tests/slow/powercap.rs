//! A powercap tree of known watts: laid out like the kernel's, its counters written by a thread from
//! the monotonic clock and from how busy the processors are.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The slowest real counters are written this often.
const PERIOD: Duration = Duration::from_millis(5);

/// What the range of a real zone is.
const RANGE: u64 = 262_143_328_850;

/// A zone and what it draws. A watt of `busy` is drawn by each CPU that works, so that a second of
/// CPU time has a known energy however busy the rest of the machine is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Zone {
    pub(crate) entry: &'static str,
    pub(crate) name: &'static str,
    pub(crate) milliwatts: u64,
    pub(crate) busy_milliwatts: u64,
    /// The CPUs whose work counts; `None` for all.
    pub(crate) cpu: Option<usize>,
    /// Where the counter stands at the start.
    pub(crate) start: u64,
}

impl Zone {
    /// A zone that draws `milliwatts` always.
    pub(crate) const fn steady(entry: &'static str, name: &'static str, milliwatts: u64) -> Zone {
        Zone { entry, name, milliwatts, busy_milliwatts: 0, cpu: None, start: 123_456_789 }
    }

    /// The same, and `busy_milliwatts` more for each CPU that works.
    pub(crate) const fn with_load(self, busy_milliwatts: u64) -> Zone {
        Zone { busy_milliwatts, ..self }
    }

    /// Counts the work of one CPU only.
    pub(crate) const fn on(self, cpu: usize) -> Zone {
        Zone { cpu: Some(cpu), ..self }
    }

    /// The counter will pass the end of its range soon.
    pub(crate) const fn near_the_end(self) -> Zone {
        Zone { start: RANGE - 150_000_000, ..self }
    }
}

/// The tree; it stops rising when it is dropped.
#[derive(Debug)]
pub(crate) struct Powercap {
    folder: TempDir,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Powercap {
    /// Lays the tree out and lets it run.
    pub(crate) fn start(zones: &[Zone]) -> Powercap {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let class = folder.path().join("class/powercap");
        fs::create_dir_all(class.join("intel-rapl")).expect("made");
        let files: Vec<File> = zones.iter().map(|zone| lay_out(&class, zone)).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let (stop, zones) = (Arc::clone(&stop), zones.to_vec());
            move || run(&zones, &files, &stop)
        });
        Powercap { folder, stop, thread: Some(thread) }
    }

    /// For `--path.sysfs`.
    pub(crate) fn sysfs(&self) -> &Path {
        self.folder.path()
    }

    /// Says which package each CPU sits on.
    pub(crate) fn with_sockets(self, packages: &[u32]) -> Powercap {
        for (cpu, package) in packages.iter().enumerate() {
            let topology = self.sysfs().join(format!("devices/system/cpu/cpu{cpu}/topology"));
            fs::create_dir_all(&topology).expect("made");
            fs::write(topology.join("physical_package_id"), format!("{package}\n")).expect("written");
        }
        self
    }
}

impl Drop for Powercap {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lay_out(class: &Path, zone: &Zone) -> File {
    let directory = class.join(zone.entry);
    fs::create_dir_all(&directory).expect("made");
    fs::write(directory.join("name"), format!("{}\n", zone.name)).expect("written");
    fs::write(directory.join("max_energy_range_uj"), format!("{RANGE}\n")).expect("written");
    let file = File::create(directory.join("energy_uj")).expect("made");
    write(&file, zone.start);
    file
}

/// Always as many bytes at the same place, so that no reader meets half a number.
fn write(file: &File, energy: u64) {
    file.write_all_at(format!("{energy:020}\n").as_bytes(), 0).expect("written");
}

fn run(zones: &[Zone], files: &[File], stop: &AtomicBool) {
    let began = Instant::now();
    let busy_at_start = busy_nanoseconds();
    while !stop.load(Ordering::Relaxed) {
        let elapsed = began.elapsed().as_nanos();
        let busy: Vec<u64> = busy_nanoseconds()
            .iter()
            .zip(&busy_at_start)
            .map(|(now, then)| now.saturating_sub(*then))
            .collect();
        for (zone, file) in zones.iter().zip(files) {
            let worked: u64 = match zone.cpu {
                Some(cpu) => busy.get(cpu).copied().unwrap_or(0),
                None => busy.iter().sum(),
            };
            // mW · ns is 1e-6 µJ.
            let drawn =
                elapsed * u128::from(zone.milliwatts) + u128::from(worked) * u128::from(zone.busy_milliwatts);
            let total = u128::from(zone.start) + drawn / 1_000_000;
            write(file, u64::try_from(total % u128::from(RANGE)).expect("below the range"));
        }
        std::thread::sleep(PERIOD);
    }
}

/// What each CPU has worked, as /proc/stat has it: user, nice, system, irq, softirq.
fn busy_nanoseconds() -> Vec<u64> {
    let text = fs::read_to_string("/proc/stat").expect("/proc/stat");
    let of_cpus = text.lines().filter(|line| line.starts_with("cpu") && !line.starts_with("cpu "));
    let busy = |line: &str| {
        let ticks: Vec<u64> =
            line.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
        [0, 1, 2, 5, 6].iter().filter_map(|&field| ticks.get(field)).sum::<u64>() * 10_000_000
    };
    of_cpus.map(busy).collect()
}
