//! Which control-group hierarchies this host has, and which of their files count CPU time.

use crate::model::reading::{Fault, Hierarchy};
use std::path::{Path, PathBuf};

/// How a hierarchy counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// `cpuacct.usage`, in ns.
    V1,
    /// `cpu.stat`, in µs; it counts without the cpu controller too.
    V2,
}

impl Version {
    /// Where a process stands in a hierarchy of this version, by its /proc/PID/cgroup.
    #[must_use]
    pub fn path_in(self, groups: &str) -> Option<&str> {
        groups.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            let is_it = match self {
                Version::V1 => controllers.split(',').any(|name| name == "cpuacct"),
                Version::V2 => controllers.is_empty(),
            };
            (is_it && path.starts_with('/')).then_some(path)
        })
    }
}

/// A hierarchy in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// Its mount point.
    pub path: PathBuf,
    /// How it counts.
    pub version: Version,
    /// Its rank.
    pub hierarchy: Hierarchy,
    /// The hierarchy with the cpusets: itself, or another one (v1), if there is any.
    pub cpuset: Option<PathBuf>,
}

/// Finds the hierarchies below `cgroupfs`. On a hybrid host v1 counts first, since container runtimes
/// and Slurm make their groups there; v2 adds the units that systemd keeps there alone.
///
/// # Errors
/// Nothing is there, it may not be read, or it shows only our own group.
pub fn find(cgroupfs: &Path) -> Result<Vec<Root>, Fault> {
    let roots = list(cgroupfs)?;
    if roots.iter().any(is_private) {
        return Err(Fault::PrivateNamespace);
    }
    Ok(roots)
}

/// The same, also where only our own group and what is below it can be seen.
///
/// # Errors
/// Nothing is there, or it may not be read.
pub fn list(cgroupfs: &Path) -> Result<Vec<Root>, Fault> {
    std::fs::read_dir(cgroupfs).map_err(|error| Fault::from(&error))?;
    let v2 =
        |path: PathBuf, hierarchy| Root { version: Version::V2, hierarchy, cpuset: Some(path.clone()), path };
    let mut roots = Vec::new();
    if cgroupfs.join("cgroup.controllers").exists() {
        roots.push(v2(cgroupfs.to_owned(), Hierarchy::Primary));
    } else {
        let accounting = ["cpuacct", "cpu,cpuacct", "cpuacct,cpu"];
        let accounting = accounting.iter().map(|name| cgroupfs.join(name)).find(|path| path.is_dir());
        if let Some(path) = accounting {
            let cpuset = Some(cgroupfs.join("cpuset")).filter(|path| path.is_dir());
            roots.push(Root { path, version: Version::V1, hierarchy: Hierarchy::Primary, cpuset });
        }
        let unified = cgroupfs.join("unified");
        if unified.join("cgroup.controllers").exists() {
            let rank = if roots.is_empty() { Hierarchy::Primary } else { Hierarchy::Supplement };
            roots.push(v2(unified, rank));
        }
    }
    if roots.is_empty() { Err(Fault::Missing) } else { Ok(roots) }
}

/// Whether the mount shows a group inside the hierarchy as if it were the root: what only the true
/// root has, or lacks, gives it away.
fn is_private(root: &Root) -> bool {
    match root.version {
        Version::V1 => {
            root.path.join("notify_on_release").exists() && !root.path.join("release_agent").exists()
        }
        Version::V2 => root.path.join("cgroup.events").exists(),
    }
}
