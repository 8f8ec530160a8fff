//! What a control group is allowed and promised: its sockets, its reserved CPUs, and whether another
//! hierarchy charges its processes already. Read at birth and every half minute, never kept open.

use super::Resolvers;
use super::hierarchy::{Root, Version};
use super::processor::Topology;
use crate::kernel_file::{parse_list, read_number, read_text};
use crate::model::reading::{Attributes, GroupRole};
use std::io::{BufRead, BufReader};
use std::path::Path;

/// CPUs in a list at the most: the kernel's own bound is 8,192.
const MAX_CPUS: usize = 8_192;

/// So many processes of a group are asked where else they stand.
const ASKED_PROCESSES: usize = 16;

/// The sockets a group's cpuset leaves it; empty for all of them or unknown.
#[must_use]
pub fn sockets(root: &Root, path: &str, topology: &Topology) -> Vec<u32> {
    let Some(cpuset) = &root.cpuset else { return Vec::new() };
    let group = cpuset.join(path.trim_start_matches('/'));
    let files = match root.version {
        Version::V1 => ["cpuset.effective_cpus", "cpuset.cpus"],
        Version::V2 => ["cpuset.cpus.effective", "cpuset.cpus"],
    };
    let cpus = files
        .iter()
        .find_map(|file| parse_list(&read_text(&group.join(file)).ok()?, MAX_CPUS))
        .unwrap_or_default();
    let mut sockets: Vec<u32> = cpus.iter().map(|cpu| topology.socket(*cpu)).collect();
    sockets.sort_unstable();
    sockets.dedup();
    if sockets.len() == topology.packages.len() {
        sockets.clear();
    }
    sockets
}

/// The CPUs that Kubernetes reserved for a pod, in thousandths, from its weight: shares are 1024 a
/// CPU; v2 maps 2..262144 shares linearly to a weight of 1..10000.
#[must_use]
pub fn reserved_millicpus(root: &Root, path: &str) -> u32 {
    let group = root.path.join(path.trim_start_matches('/'));
    let shares = match root.version {
        // The cpu controller may be mounted apart from cpuacct.
        Version::V1 => {
            let beside = root.path.with_file_name("cpu").join(path.trim_start_matches('/'));
            read_number(&group.join("cpu.shares")).or_else(|_| read_number(&beside.join("cpu.shares"))).ok()
        }
        Version::V2 => read_number(&group.join("cpu.weight"))
            .ok()
            .and_then(|weight| Some(2 + weight.checked_sub(1)?.checked_mul(262_142)? / 9_999)),
    };
    // 2 shares are the least there is: nothing was asked for.
    shares
        .filter(|shares| *shares > 2)
        .and_then(|shares| u32::try_from(shares.checked_mul(1_000)? / 1_024).ok())
        .unwrap_or(0)
}

/// Whether processes of a supplementary group stand in a job of the primary hierarchy too.
#[must_use]
pub fn is_double(root: &Root, path: &str, procfs: &Path, resolvers: &Resolvers) -> bool {
    let group = root.path.join(path.trim_start_matches('/'));
    let Ok(file) = std::fs::File::open(group.join("cgroup.procs")) else { return false };
    BufReader::new(file)
        .lines()
        .map_while(Result::ok)
        .take(ASKED_PROCESSES)
        .filter_map(|pid| read_text(&procfs.join(pid).join("cgroup")).ok())
        .any(|groups| accounting_path(&groups).is_some_and(|path| is_in_job(path, resolvers)))
}

/// The path of the line for cpuacct in /proc/PID/cgroup.
fn accounting_path(groups: &str) -> Option<&str> {
    groups.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        controllers.split(',').any(|name| name == "cpuacct").then_some(path)
    })
}

fn is_in_job(path: &str, resolvers: &Resolvers) -> bool {
    let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
    (1..=names.len()).any(|length| match resolvers.role(&names[..length]) {
        GroupRole::Job(_) => true,
        GroupRole::Slice(_) | GroupRole::Passage => false,
    })
}

/// Everything at once, as far as it is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// There is more than one socket.
    pub sockets: bool,
    /// The idle policy asks for reservations.
    pub reserved: bool,
}

/// Reads what is wanted of one group.
#[must_use]
pub fn read(root: &Root, path: &str, wanted: Wanted, topology: &Topology) -> Attributes {
    Attributes {
        sockets: if wanted.sockets { sockets(root, path, topology) } else { Vec::new() },
        reserved_millicpus: if wanted.reserved { reserved_millicpus(root, path) } else { 0 },
        is_double: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::reading::Hierarchy;

    #[test]
    fn reservations_come_from_shares_and_weights() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let pod = folder.path().join("kubepods/pod1");
        std::fs::create_dir_all(&pod).expect("made");
        let root = |version| Root {
            path: folder.path().to_owned(),
            version,
            hierarchy: Hierarchy::Primary,
            cpuset: None,
        };
        for (version, file, value, expected) in [
            (Version::V1, "cpu.shares", "2048", 2_000),
            (Version::V1, "cpu.shares", "2", 0),
            (Version::V2, "cpu.weight", "79", 1_998),
            (Version::V2, "cpu.weight", "1", 0),
            (Version::V2, "cpu.weight", "0", 0),
            (Version::V2, "cpu.weight", "idle", 0),
        ] {
            std::fs::write(pod.join(file), value).expect("written");
            assert_eq!(reserved_millicpus(&root(version), "/kubepods/pod1"), expected, "{file} {value}");
        }
    }

    #[test]
    fn the_accounting_line_is_found_on_a_hybrid_host() {
        let groups = "9:name=systemd:/a\n2:cpu,cpuacct:/slurm_n1/uid_0/job_1\n0::/system.slice/x.service\n";
        assert_eq!(accounting_path(groups), Some("/slurm_n1/uid_0/job_1"));
        assert_eq!(accounting_path("0::/x\nrubbish\n"), None);
    }
}
