//! What the measurements are made on: real control groups with real processes, removed leaf first
//! when the bed is dropped, and a powercap tree in a temporary folder whose counters run.

use jouleprint::config::Settings;
use jouleprint::daemon;
use jouleprint::sampler::Parts;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Where the v2 hierarchy is mounted: alone, or beside v1.
const MOUNTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];

/// Nobody waits longer than this for a bench; processes that outlive it end by themselves.
const SLEEP_SECONDS: &str = "3600";

/// A group is busy for a moment after its last process has died.
const REMOVAL_PATIENCE: Duration = Duration::from_secs(5);

/// The mount point of the v2 hierarchy.
pub(crate) fn mount() -> Result<&'static Path, String> {
    let mount = MOUNTS.iter().map(Path::new).find(|path| path.join("cgroup.controllers").exists());
    mount.ok_or_else(|| format!("no cgroup v2 hierarchy is mounted at {}", MOUNTS.join(" or ")))
}

/// Job cgroups, half of them systemd services and half pods with a container inside, or pods only;
/// in each a process that runs for a few µs whenever it is poked.
pub(crate) struct Bed {
    directories: Vec<PathBuf>,
    leaves: Vec<PathBuf>,
    pokeable: Vec<Child>,
    sleepers: Vec<Child>,
}

/// What stands in the groups.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Services and pods.
    Mixed,
    /// Pods.
    Pods,
}

impl Bed {
    /// Makes `jobs` jobs under a parent of their own.
    pub(crate) fn new(name: &str, jobs: usize, layout: Layout) -> Result<Bed, String> {
        let parent = mount()?.join(format!("jouleprint-bench-{}-{name}", std::process::id()));
        let mut bed =
            Bed { directories: Vec::new(), leaves: Vec::new(), pokeable: Vec::new(), sleepers: Vec::new() };
        bed.make(parent.clone())?;
        let services = parent.join("system.slice");
        let pods = parent.join("kubepods.slice");
        let burstable = pods.join("kubepods-burstable.slice");
        for directory in [&services, &pods, &burstable] {
            bed.make(directory.clone())?;
        }
        for job in 0..jobs {
            let leaf = if layout == Layout::Mixed && job % 2 == 0 {
                services.join(format!("{name}-worker-{job:05}.service"))
            } else {
                let (process, job) = (std::process::id(), job as u64);
                let uid = format!("{process:08x}_6a1d_4e0b_8c55_{:012x}", fingerprint(job) >> 16);
                let pod = burstable.join(format!("kubepods-burstable-pod{uid}.slice"));
                bed.make(pod.clone())?;
                let container: String =
                    (0..4).map(|part| format!("{:016x}", fingerprint(job * 4 + part))).collect();
                pod.join(format!("cri-containerd-{container}.scope"))
            };
            bed.make(leaf.clone())?;
            bed.leaves.push(leaf);
        }
        for leaf in &bed.leaves {
            // `cat` runs once for each byte it is given.
            let child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
            let child = child.map_err(|error| format!("starting cat: {error}"))?;
            let id = child.id();
            bed.pokeable.push(child);
            join(leaf, id)?;
        }
        Ok(bed)
    }

    /// Lets every job use a little CPU time, and waits until it has.
    pub(crate) fn poke(&mut self) -> Result<(), String> {
        for child in &mut self.pokeable {
            let stdin = child.stdin.as_mut().ok_or("a job lost its pipe")?;
            stdin.write_all(b"x").map_err(|error| format!("poking a job: {error}"))?;
        }
        std::thread::sleep(Duration::from_micros(10_000 + 20 * self.pokeable.len() as u64));
        Ok(())
    }

    /// Adds sleeping processes, spread over the jobs, until there are `processes` in all.
    pub(crate) fn fill(&mut self, processes: usize) -> Result<(), String> {
        while self.processes() < processes {
            let child = Command::new("sleep").arg(SLEEP_SECONDS).stdin(Stdio::null()).spawn();
            let child = child.map_err(|error| format!("starting sleep: {error}"))?;
            let id = child.id();
            self.sleepers.push(child);
            join(&self.leaves[self.processes() % self.leaves.len()], id)?;
        }
        Ok(())
    }

    /// Ends the sleeping ones again.
    pub(crate) fn thin_out(&mut self) {
        end(&mut self.sleepers);
    }

    /// Processes in the groups as the kernel counts them.
    pub(crate) fn counted(&self) -> usize {
        let count = |leaf: &PathBuf| {
            fs::read_to_string(leaf.join("cgroup.procs")).map_or(0, |text| text.lines().count())
        };
        self.leaves.iter().map(count).sum()
    }

    /// A process of each job.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.pokeable.iter().map(Child::id).collect()
    }

    /// How many jobs there are.
    pub(crate) fn jobs(&self) -> usize {
        self.leaves.len()
    }

    fn processes(&self) -> usize {
        self.pokeable.len() + self.sleepers.len()
    }

    fn make(&mut self, directory: PathBuf) -> Result<(), String> {
        fs::create_dir(&directory)
            .map_err(|error| format!("making {}: {error} (run as root)", directory.display()))?;
        self.directories.push(directory);
        Ok(())
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        end(&mut self.sleepers);
        end(&mut self.pokeable);
        let deadline = Instant::now() + REMOVAL_PATIENCE;
        for directory in self.directories.iter().rev() {
            while let Err(error) = fs::remove_dir(directory) {
                if Instant::now() > deadline {
                    eprintln!("removing {}: {error}", directory.display());
                    break;
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }
}

fn join(group: &Path, process: u32) -> Result<(), String> {
    fs::write(group.join("cgroup.procs"), process.to_string())
        .map_err(|error| format!("moving a process into {}: {error} (run as root)", group.display()))
}

fn end(children: &mut Vec<Child>) {
    for child in children.iter_mut() {
        // One that has ended already is what we want.
        let _ = child.kill();
    }
    for mut child in children.drain(..) {
        let _ = child.wait();
    }
}

/// Digits that look like an id's (splitmix64).
fn fingerprint(seed: u64) -> u64 {
    let mixed = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^ (mixed >> 27)
}

/// A sysfs with one package and its memory, drawing 80 W and 9 W.
pub(crate) struct Meters {
    folder: tempfile::TempDir,
    zones: Vec<(File, u64)>,
    began: Instant,
}

impl Meters {
    /// Makes the folder.
    pub(crate) fn new() -> io::Result<Meters> {
        let folder = tempfile::tempdir()?;
        let mut zones = Vec::new();
        for (zone, name, watts) in [("intel-rapl:0", "package-0", 80), ("intel-rapl:0:0", "dram", 9)] {
            let directory = folder.path().join("class/powercap").join(zone);
            fs::create_dir_all(&directory)?;
            fs::write(directory.join("name"), format!("{name}\n"))?;
            fs::write(directory.join("max_energy_range_uj"), "262143328850\n")?;
            zones.push((File::create(directory.join("energy_uj"))?, watts));
        }
        let meters = Meters { folder, zones, began: Instant::now() };
        meters.advance()?;
        Ok(meters)
    }

    /// The sysfs.
    pub(crate) fn sysfs(&self) -> &Path {
        self.folder.path()
    }

    /// The files the energies are read from.
    pub(crate) fn energies(&self) -> [PathBuf; 2] {
        ["intel-rapl:0", "intel-rapl:0:0"]
            .map(|zone| self.folder.path().join("class/powercap").join(zone).join("energy_uj"))
    }

    /// Everything a sampler needs. Discovery believes only counters that advance: they run meanwhile.
    pub(crate) fn discover(&self, settings: &Settings) -> Result<Parts, String> {
        let is_done = AtomicBool::new(false);
        let parts = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_done.load(Ordering::Relaxed) && self.advance().is_ok() {
                    std::thread::sleep(Duration::from_millis(5));
                }
            });
            let parts = daemon::parts(settings);
            is_done.store(true, Ordering::Relaxed);
            parts
        });
        parts.map_err(|error| error.to_string())
    }

    /// Brings the counters up to now. The width is fixed, so that no reader sees half a number.
    pub(crate) fn advance(&self) -> io::Result<()> {
        let microseconds = u64::try_from(self.began.elapsed().as_micros()).map_err(io::Error::other)?;
        for (file, watts) in &self.zones {
            file.write_all_at(format!("{:012}\n", 1_000_000 + watts * microseconds).as_bytes(), 0)?;
        }
        Ok(())
    }
}
