//! Containers outside Kubernetes: Docker, Podman, containerd and CRI-O, with systemd or without.

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
            _ => Verdict::Unknown,
        }
    }
}

fn is_container_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
