//! A sidecar sees its pod and little else: whether it shares the pod's processes, and where its own control
//! group stands in the host's tree.

use super::Resolvers;
use super::hierarchy::{Root, Version};
use crate::kernel_file::read_text;
use crate::model::identity::JobKind;
use serde::Deserialize;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Directories that are looked at for our own group; a node of 500 pods has some 3,000.
const MAX_DIRECTORIES: usize = 32_768;

/// How a sidecar is to find its pod.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sidecar {
    /// By the host's control groups if a pod's UID is given and they are there, else by shared processes if
    /// they are those of a pod; without either this is no sidecar.
    #[default]
    Auto,
    /// By the host's control groups.
    HostCgroups,
    /// By the processes that can be seen.
    SharedPids,
    /// This is none.
    Off,
}

/// Whether the processes that are seen are those of one pod (`shareProcessNamespace`): the first of them is
/// then the pod's own, which does nothing but wait.
#[must_use]
pub fn shares_pids(procfs: &Path) -> bool {
    read_text(&procfs.join("1/comm")).is_ok_and(|name| name == "pause")
}

/// The UID of the pod in which this process runs, by the place of its group in the host's tree. In a private
/// namespace the path begins where the namespace does; then the group is found by its inode, which is the
/// same in every mount of a hierarchy. `own` holds our view of it: /sys/fs/cgroup and /proc/self/cgroup.
#[must_use]
pub fn own_pod(root: &Root, own_mount: &Path, own_cgroup: &Path) -> Option<String> {
    let groups = read_text(own_cgroup).ok()?;
    let path = root.version.path_in(&groups)?;
    let path = match start(root, own_mount, own_cgroup)? {
        start if start.is_empty() => path.to_owned(),
        start => start,
    };
    let pods = Resolvers::new(Vec::new(), vec![JobKind::Pod]);
    pods.around(&path).first().map(|id| id.id().to_string())
}

/// Where the paths begin that we are shown of this hierarchy: empty for its root, and in a private namespace
/// the path of the group in which that was made.
#[must_use]
pub fn start(root: &Root, own_mount: &Path, own_cgroup: &Path) -> Option<String> {
    let groups = read_text(own_cgroup).ok()?;
    let path = root.version.path_in(&groups)?;
    if path != "/" && !path.starts_with("/..") && root.path.join(&path[1..]).is_dir() {
        return Some(String::new());
    }
    let below = match root.version {
        Version::V2 => own_mount.to_owned(),
        Version::V1 => own_mount.join("cpuacct"),
    };
    let inode = std::fs::metadata(below).ok()?.ino();
    let is_root = std::fs::metadata(&root.path).is_ok_and(|metadata| metadata.ino() == inode);
    if is_root { Some(String::new()) } else { path_of_inode(&root.path, inode) }
}

fn path_of_inode(root: &Path, inode: u64) -> Option<String> {
    let mut places = vec![String::new()];
    let mut seen = 0;
    while let Some(place) = places.pop() {
        seen += 1;
        if seen > MAX_DIRECTORIES {
            return None;
        }
        let directory = root.join(place.trim_start_matches('/'));
        for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            let Ok(name) = entry.file_name().into_string() else { continue };
            let path = format!("{place}/{name}");
            if entry.metadata().is_ok_and(|metadata| metadata.ino() == inode) {
                return Some(path);
            }
            places.push(path);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::reading::Hierarchy;
    use std::fs;

    #[test]
    fn a_pod_s_processes_are_known_by_their_first() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        assert!(!shares_pids(folder.path()));
        fs::create_dir(folder.path().join("1")).expect("made");
        for (name, expected) in [("pause\n", true), ("systemd\n", false), ("jouleprint\n", false)] {
            fs::write(folder.path().join("1/comm"), name).expect("written");
            assert_eq!(shares_pids(folder.path()), expected, "{name}");
        }
    }

    #[test]
    fn our_own_pod_is_found_from_within_a_private_namespace() {
        const UID: &str = "7b2c1a90-11aa-4f0e-9c3d-5e6f70819203";
        let folder = tempfile::tempdir().expect("a temporary folder");
        let host = folder.path().join("host");
        let group = format!("kubepods/burstable/pod{UID}/container");
        fs::create_dir_all(host.join(&group)).expect("made");
        fs::create_dir_all(host.join("system.slice/a.service")).expect("made");
        let root =
            |version| Root { path: host.clone(), version, hierarchy: Hierarchy::Primary, cpuset: None };
        // The same directory by another path, as a mount of our own.
        let own = folder.path().join("own");
        fs::create_dir(&own).expect("made");
        for (version, name) in [(Version::V2, "v2"), (Version::V1, "v1")] {
            let mount = own.join(name);
            let place = match version {
                Version::V2 => mount.clone(),
                Version::V1 => {
                    fs::create_dir(&mount).expect("made");
                    mount.join("cpuacct")
                }
            };
            std::os::unix::fs::symlink(host.join(&group), place).expect("linked");
            let own_cgroup = own.join("cgroup");
            for (groups, expected) in [
                ("2:cpuacct:/\n0::/\n".to_owned(), Some(UID)),
                ("2:cpuacct:/../x\n0::/../x\n".to_owned(), Some(UID)),
                (format!("2:cpu,cpuacct:/{group}\n0::/{group}\n"), Some(UID)),
                ("2:cpuacct:/system.slice/a.service\n0::/system.slice/a.service\n".to_owned(), None),
                (String::new(), None),
            ] {
                fs::write(&own_cgroup, &groups).expect("written");
                assert_eq!(own_pod(&root(version), &mount, &own_cgroup).as_deref(), expected, "{groups}");
            }
        }
    }
}
