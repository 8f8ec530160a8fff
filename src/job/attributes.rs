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

/// The CPUs that Kubernetes reserved for a pod, in thousandths, from its shares: 1,024 a CPU. v2 has
/// weights instead, by one of two formulas; the weight of all pods together tells which, since their
/// shares are nearly the machine's `cpus`.
#[must_use]
pub fn reserved_millicpus(root: &Root, path: &str, cpus: u32) -> u32 {
    let path = path.trim_start_matches('/');
    let shares = match root.version {
        // The cpu controller may be mounted apart from cpuacct.
        Version::V1 => [root.path.join(path), root.path.with_file_name("cpu").join(path)]
            .iter()
            .find_map(|group| read_number(&group.join("cpu.shares")).ok()),
        Version::V2 => {
            let formula = WeightFormula::of_pods(root, path, cpus);
            read_number(&root.path.join(path).join("cpu.weight"))
                .ok()
                .and_then(|weight| formula.shares(weight))
        }
    };
    // 2 shares are the least there is: nothing was asked for.
    shares
        .filter(|shares| *shares > 2)
        .and_then(|shares| u32::try_from(shares.checked_mul(1_000)? / 1_024).ok())
        .unwrap_or(0)
}

/// How a runtime turns shares into a weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WeightFormula {
    /// 2..262144 to 1..10000 in a straight line: libcontainer until 2025.
    Linear,
    /// By the logarithm, so that 1,024 shares are the kernel's own default of 100: since then.
    Logarithmic,
}

impl WeightFormula {
    /// The formula by which the weight of the group of all pods comes nearer to the machine's CPUs.
    fn of_pods(root: &Root, path: &str, cpus: u32) -> WeightFormula {
        let pods = path.split('/').position(|name| name.contains("kubepods"));
        let pods: Option<Vec<&str>> = pods.map(|at| path.split('/').take(at + 1).collect());
        let weight =
            pods.and_then(|pods| read_number(&root.path.join(pods.join("/")).join("cpu.weight")).ok());
        let miss = |formula: WeightFormula| {
            let shares = weight.and_then(|weight| formula.shares(weight)).unwrap_or(u64::MAX);
            shares.abs_diff(u64::from(cpus) * 1_024)
        };
        if miss(WeightFormula::Logarithmic) < miss(WeightFormula::Linear) {
            WeightFormula::Logarithmic
        } else {
            WeightFormula::Linear
        }
    }

    /// Back from a weight of 1..10000.
    fn shares(self, weight: u64) -> Option<u64> {
        let weight = u32::try_from(weight).ok().filter(|weight| (1..=10_000).contains(weight))?;
        match self {
            WeightFormula::Linear => Some(2 + u64::from(weight - 1) * 262_142 / 9_999),
            // weight = 10^((l² + 125 l) / 612 − 7/34) with l = log2(shares), solved for l.
            WeightFormula::Logarithmic => {
                let right = 612.0 * (f64::from(weight).log10() + 7.0 / 34.0);
                let log2 = ((125.0_f64 * 125.0 + 4.0 * right).sqrt() - 125.0) / 2.0;
                let shares = log2.exp2().round().clamp(2.0, 262_144.0);
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped above")]
                Some(shares as u64)
            }
        }
    }
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

/// The path of the line for cpuacct in /proc/PID/cgroup. Seen from a private namespace it climbs out by
/// `/..` first; without them it is the path from as high as we can tell.
fn accounting_path(groups: &str) -> Option<&str> {
    groups.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        controllers.split(',').any(|name| name == "cpuacct").then(|| path.trim_start_matches("/.."))
    })
}

fn is_in_job(path: &str, resolvers: &Resolvers) -> bool {
    let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
    (1..=names.len()).any(|length| match resolvers.role(&names[..length]) {
        GroupRole::Job(_) => true,
        GroupRole::Slice(_) | GroupRole::Passage | GroupRole::Residual(_) => false,
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
        reserved_millicpus: if wanted.reserved { reserved_millicpus(root, path, topology.cpus()) } else { 0 },
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
            let reserved = reserved_millicpus(&root(version), "/kubepods/pod1", 4);
            assert_eq!(reserved, expected, "{file} {value}");
        }
    }

    #[test]
    fn the_weight_of_all_pods_tells_the_formula() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let pod = folder.path().join("kubelet/kubepods/burstable/pod1");
        std::fs::create_dir_all(&pod).expect("made");
        let root = Root {
            path: folder.path().to_owned(),
            version: Version::V2,
            hierarchy: Hierarchy::Primary,
            cpuset: None,
        };
        // 3.92 of 4 CPUs are there for pods; the pod asks for one of them.
        for (all, one, expected) in [("154", "39", 974), ("298", "100", 1_000)] {
            std::fs::write(folder.path().join("kubelet/kubepods/cpu.weight"), all).expect("written");
            std::fs::write(pod.join("cpu.weight"), one).expect("written");
            let reserved = reserved_millicpus(&root, "/kubelet/kubepods/burstable/pod1", 4);
            assert_eq!(reserved, expected, "{all} {one}");
        }
        for shares in [2, 102, 1_024, 65_536, 262_144_u64] {
            let log2 = (shares as f64).log2();
            let weight = 10_f64.powf((log2 * log2 + 125.0 * log2) / 612.0 - 7.0 / 34.0);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 to 10000")]
            let back = WeightFormula::Logarithmic.shares(weight.ceil() as u64).expect("a weight");
            assert!(back.abs_diff(shares) * 50 <= shares.max(50), "{shares} → {weight} → {back}");
        }
    }

    #[test]
    fn the_accounting_line_is_found_on_a_hybrid_host() {
        let groups = "9:name=systemd:/a\n2:cpu,cpuacct:/slurm_n1/uid_0/job_1\n0::/system.slice/x.service\n";
        assert_eq!(accounting_path(groups), Some("/slurm_n1/uid_0/job_1"));
        assert_eq!(accounting_path("2:cpuacct:/../../slurm_n1/job_1\n"), Some("/slurm_n1/job_1"));
        assert_eq!(accounting_path("0::/x\nrubbish\n"), None);
    }
}
