//! Containers outside Kubernetes: Docker, Podman, containerd and CRI-O, with systemd or without, by their
//! id; LXC, LXD, Incus and Proxmox by the container's name.

use super::{JobResolver, Verdict};
use crate::model::identity::{JobId, JobKind};

/// Knows the container runtimes' paths.
#[derive(Debug)]
pub struct Containers;

/// What the runtimes put before the id.
const PREFIXES: [&str; 5] = ["docker-", "libpod-", "crio-", "cri-containerd-", "nerdctl-"];

impl JobResolver for Containers {
    fn resolve(&self, path: &[&str]) -> Verdict {
        let Some(name) = path.last() else { return Verdict::Unknown };
        let stem = name.strip_suffix(".scope").unwrap_or(name);
        let id = PREFIXES.iter().find_map(|prefix| stem.strip_prefix(prefix)).unwrap_or(stem);
        if is_container_id(id) {
            return Verdict::Job(JobId::new(JobKind::Container, id));
        }
        // The monitor of a container works for it and is none.
        match id.strip_prefix("conmon-") {
            Some(id) if is_container_id(id) => Verdict::Part,
            _ => lxc(path),
        }
    }
}

/// `/lxc.payload.NAME` since LXC 4, `/lxc.payload/NAME` in 3.1, `/lxc/NAME` before it and on Proxmox, which
/// keeps the container's own tree one below in `ns`. LXD and Incus put the project before the name.
fn lxc(path: &[&str]) -> Verdict {
    let named = |name: &str| match name {
        "" => Verdict::Unknown,
        name => Verdict::Named(JobId::new(JobKind::Container, name)),
    };
    match *path {
        [.., "lxc.payload" | "lxc.monitor" | "lxc.pivot"] => Verdict::Part,
        [.., "lxc.monitor", _] | [.., "lxc", _, "ns"] | [.., "lxc.payload", _, "ns"] => Verdict::Part,
        [.., "lxc.payload", name] => named(name),
        // libvirt's own containers and `machine.slice` are machines.
        [.., "libvirt", "lxc", _] => Verdict::Unknown,
        [.., "lxc", name] => named(name),
        [.., name] if name.starts_with("lxc.monitor.") => Verdict::Part,
        [.., name] => name.strip_prefix("lxc.payload.").map_or(Verdict::Unknown, named),
        [] => Verdict::Unknown,
    }
}

/// The name of a container that is called by it; the others have an id.
#[must_use]
pub fn lxc_name(id: &str) -> Option<&str> {
    id.rsplit('/').next().filter(|name| !is_container_id(name))
}

fn is_container_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
