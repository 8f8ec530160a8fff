//! How busy the processors are, by socket: /proc/stat and the topology in sysfs.

use crate::kernel_file::{Buffer, KernelFile, parse_number};
use crate::model::quantity::{CpuTime, Nanos};
use crate::model::reading::Fault;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// /proc/stat counts in 1/100 s on every architecture (`USER_HZ`).
const TICK: u64 = 10_000_000;

/// A CPU that seems to have worked for more than a day since it was last read has jumped.
const MOST_TICKS: u64 = 100 * 86_400;

/// Which socket each logical CPU sits on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Topology {
    /// The kernel's package numbers, in order; a socket's number is its place here.
    pub packages: Vec<u32>,
    socket_of: BTreeMap<u32, u32>,
}

impl Topology {
    /// From `sysfs`; a machine that does not say has one socket.
    #[must_use]
    pub fn read(sysfs: &Path) -> Topology {
        let mut package_of = BTreeMap::new();
        let cpus = std::fs::read_dir(sysfs.join("devices/system/cpu"));
        for entry in cpus.into_iter().flatten().flatten() {
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix("cpu"));
            let Some(cpu) = number.and_then(|number| number.parse::<u32>().ok()) else { continue };
            let package = crate::kernel_file::read_text(&entry.path().join("topology/physical_package_id"));
            // Some boards say -1: they do not know, so it is the only one.
            let package = package.ok().and_then(|text| text.parse::<u32>().ok()).unwrap_or(0);
            package_of.insert(cpu, package);
        }
        let mut packages: Vec<u32> = package_of.values().copied().collect();
        packages.sort_unstable();
        packages.dedup();
        let place =
            |package: &u32| (0..).zip(&packages).find(|(_, known)| *known == package).map(|(at, _)| at);
        let socket_of =
            package_of.iter().filter_map(|(cpu, package)| Some((*cpu, place(package)?))).collect();
        if packages.is_empty() {
            packages.push(0);
        }
        Topology { packages, socket_of }
    }

    /// The socket of a CPU; one that came later counts for the first.
    #[must_use]
    pub fn socket(&self, cpu: u32) -> u32 {
        self.socket_of.get(&cpu).copied().unwrap_or(0)
    }

    /// How many sockets there are.
    #[must_use]
    pub fn sockets(&self) -> u32 {
        u32::try_from(self.packages.len()).unwrap_or(1)
    }

    /// How many CPUs are known.
    #[must_use]
    pub fn cpus(&self) -> u32 {
        u32::try_from(self.socket_of.len()).unwrap_or(u32::MAX)
    }

    /// The socket of the kernel's package number.
    #[must_use]
    pub fn socket_of_package(&self, package: u32) -> Option<u32> {
        (0..).zip(&self.packages).find(|(_, known)| **known == package).map(|(socket, _)| socket)
    }
}

/// Reads /proc/stat again and again.
#[derive(Debug)]
pub struct Processors {
    file: KernelFile,
    topology: Topology,
    last: BTreeMap<u32, u64>,
    // `last` was read by an earlier process, a day ago or a hundred.
    is_resumed: bool,
    busy: Vec<CpuTime>,
}

impl Processors {
    /// Opens /proc/stat.
    ///
    /// # Errors
    /// The kernel's own.
    pub fn open(procfs: &Path, topology: Topology) -> io::Result<Processors> {
        Ok(Processors {
            file: KernelFile::open(&procfs.join("stat"))?,
            busy: vec![CpuTime::ZERO; topology.packages.len()],
            last: BTreeMap::new(),
            is_resumed: false,
            topology,
        })
    }

    /// Reads; returns how many CPUs are online. Afterwards [`Processors::busy`] is up to date.
    ///
    /// # Errors
    /// It could not be read, or holds no CPU.
    pub fn read(&mut self, buffer: &mut Buffer) -> Result<u32, Fault> {
        let text = self.file.read(buffer).map_err(|error| Fault::from(&error))?;
        let mut online = 0;
        for (cpu, busy) in parse(text) {
            online += 1;
            // A CPU taken offline keeps its count and comes back with it; one that counts backwards
            // (a known kernel fault with guest time) adds nothing.
            let before = self.last.insert(cpu, busy).unwrap_or(busy);
            let socket = self.topology.socket(cpu) as usize;
            let worked = busy.saturating_sub(before);
            if worked <= MOST_TICKS || self.is_resumed {
                self.busy[socket] += Nanos::new(worked * TICK);
            }
        }
        if online == 0 {
            return Err(Fault::Malformed);
        }
        self.is_resumed = false;
        Ok(online)
    }

    /// Where each CPU's count stands.
    #[must_use]
    pub fn position(&self) -> Vec<(u32, u64)> {
        self.last.iter().map(|(cpu, ticks)| (*cpu, *ticks)).collect()
    }

    /// Goes on from where an earlier process stopped on the same boot. What is possible since then, the
    /// engine knows, which knows when that was.
    pub fn resume(&mut self, position: &[(u32, u64)]) {
        self.last = position.iter().copied().collect();
        self.is_resumed = true;
    }

    /// Busy time by socket since the first reading.
    #[must_use]
    pub fn busy(&self) -> &[CpuTime] {
        &self.busy
    }
}

/// Busy ticks of each `cpuN` line: user + nice + system + irq + softirq. Guest time is in user
/// already; stolen time was somebody else's.
pub fn parse(text: &[u8]) -> impl Iterator<Item = (u32, u64)> {
    text.split(|byte| *byte == b'\n').filter_map(|line| {
        let line = line.strip_prefix(b"cpu")?;
        let mut fields = line.split(|byte| *byte == b' ').filter(|field| !field.is_empty());
        // The first line, `cpu  …`, is the sum of the others.
        if line.first() == Some(&b' ') {
            return None;
        }
        let cpu = u32::try_from(parse_number(fields.next()?)?).ok()?;
        let mut busy: u64 = 0;
        for (index, field) in fields.take(7).enumerate() {
            const IDLE: usize = 3;
            const IOWAIT: usize = 4;
            if index != IDLE && index != IOWAIT {
                busy = busy.checked_add(parse_number(field)?)?;
            }
        }
        Some((cpu, busy))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STAT: &str = "cpu  10 1 5 1000 7 2 3 50 4 0\n\
                        cpu0 6 1 3 500 7 1 2 25 4 0\n\
                        cpu1 4 0 2 500 0 1 1 25 0 0\n\
                        intr 12345 6 7\nctxt 99\n";

    #[test]
    fn busy_is_user_nice_system_irq_softirq() {
        let seen: Vec<(u32, u64)> = parse(STAT.as_bytes()).collect();
        assert_eq!(seen, [(0, 13), (1, 8)]);
    }

    #[test]
    fn old_kernels_and_half_a_file_give_what_is_there() {
        for (text, expected) in [
            ("cpu0 6 1 3 500\n", vec![(0, 10)]),
            ("cpu0 6 1 x 500\ncpu1 1 1 1 1\n", vec![(1, 3)]),
            ("cpuX 1 1 1 1\n", vec![]),
            ("cpu0 18446744073709551615 1 1 1\n", vec![]),
            ("cpu0 18446744073709551616 1 1 1\n", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(parse(text.as_bytes()).collect::<Vec<_>>(), expected, "{text:?}");
        }
    }

    #[test]
    fn sockets_add_their_own_cpus_and_never_fall() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let root = folder.path();
        for (cpu, package) in [(0, 0), (1, 3)] {
            let topology = root.join(format!("devices/system/cpu/cpu{cpu}/topology"));
            std::fs::create_dir_all(&topology).expect("made");
            std::fs::write(topology.join("physical_package_id"), format!("{package}\n")).expect("written");
        }
        std::fs::write(root.join("stat"), STAT).expect("written");
        let topology = Topology::read(root);
        assert_eq!((topology.sockets(), topology.socket_of_package(3)), (2, Some(1)));
        let mut processors = Processors::open(root, topology).expect("opened");
        let mut buffer = Buffer::default();
        assert_eq!(processors.read(&mut buffer), Ok(2));
        assert_eq!(processors.busy(), [Nanos::ZERO, Nanos::ZERO]);
        for (second, expected) in [
            ("cpu0 16 1 3 500 7 1 2\ncpu1 5 0 2 500 0 1 1\n", [10, 1]),
            // CPU 1 offline, then back with more; CPU 0 counts backwards once.
            ("cpu0 17 1 3 500 7 1 2\n", [11, 1]),
            ("cpu0 15 1 3 500 7 1 2\ncpu1 9 0 2 500 0 1 1\n", [11, 5]),
        ] {
            std::fs::write(root.join("stat"), second).expect("written");
            processors.read(&mut buffer).expect("read");
            assert_eq!(processors.busy(), expected.map(|ticks| Nanos::new(ticks * TICK)), "{second}");
        }
    }

    #[test]
    fn a_week_of_work_counts_over_a_restart_and_is_a_jump_else() {
        const WEEK: u64 = 7 * 100 * 86_400;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let write = |ticks: u64| std::fs::write(folder.path().join("stat"), format!("cpu0 {ticks} 0 0 0\n"));
        write(100 + WEEK).expect("written");
        let mut processors = Processors::open(folder.path(), Topology::read(folder.path())).expect("opened");
        processors.resume(&[(0, 100)]);
        let mut buffer = Buffer::default();
        processors.read(&mut buffer).expect("read");
        assert_eq!(processors.busy(), [Nanos::new(WEEK * TICK)]);
        write(100 + 2 * WEEK).expect("written");
        processors.read(&mut buffer).expect("read");
        assert_eq!(processors.busy(), [Nanos::new(WEEK * TICK)]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse(&bytes).count();
        }

        #[test]
        fn anything_like_a_stat_file_is_parsed(text in "(cpu[0-9]{0,3}( [0-9]{0,20}){0,12}\n){0,5}") {
            let _ = parse(text.as_bytes()).count();
        }
    }
}
