//! Edge in: who used the machine. Control groups are found, recognised and read here; which joule is
//! whose is decided in the engine.

pub mod account;
pub mod attributes;
pub mod container;
pub mod hierarchy;
pub mod kubernetes;
pub mod own;
pub mod processor;
pub mod rule;
pub mod systemd;
pub mod tree;
pub mod watch;

use crate::model::identity::{JobId, JobKind};
use crate::model::reading::GroupRole;
use rule::Rule;

/// What one kind of manager makes of a control group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// A job of its own.
    Job(JobId),
    /// A slice: a job only for what its members leave over.
    Slice(JobId),
    /// Belongs to the manager, and is a job for nobody: a container of a pod, a monitor process.
    Part,
    /// Not this manager's.
    Unknown,
}

/// Tells a control group's identity from its path alone; pure, so that it works for a group that is gone.
pub trait JobResolver {
    /// `path` holds the names from the root of the hierarchy down to the group.
    fn resolve(&self, path: &[&str]) -> Verdict;
}

/// All managers, asked in turn; the first that knows the group decides.
#[derive(Debug, Default)]
pub struct Resolvers {
    rules: Vec<Rule>,
    kinds: Vec<JobKind>,
}

impl Resolvers {
    /// The user's rules first, then the built-in managers of the given kinds.
    #[must_use]
    pub fn new(rules: Vec<Rule>, kinds: Vec<JobKind>) -> Resolvers {
        Resolvers { rules, kinds }
    }

    /// The group's identity, by the first manager that knows it.
    fn verdict(&self, path: &[&str]) -> Verdict {
        for rule in &self.rules {
            let verdict = rule.resolve(path);
            if verdict != Verdict::Unknown {
                return verdict;
            }
        }
        let managers: [(JobKind, &dyn JobResolver); 3] = [
            (JobKind::Pod, &kubernetes::Kubernetes),
            (JobKind::Container, &container::Containers),
            (JobKind::Unit, &systemd::Systemd),
        ];
        for (kind, manager) in managers {
            match manager.resolve(path) {
                Verdict::Unknown => {}
                _ if !self.kinds.contains(&kind) => return Verdict::Part,
                verdict => return verdict,
            }
        }
        Verdict::Unknown
    }

    /// What the group at `path` is to the account keeping. A unit inside another job is named after
    /// both: unit names are unique for each manager only.
    #[must_use]
    pub fn role(&self, path: &[&str]) -> GroupRole {
        match self.verdict(path) {
            Verdict::Job(id) => GroupRole::Job(self.qualified(id, path)),
            Verdict::Slice(id) => GroupRole::Slice(self.qualified(id, path)),
            Verdict::Part | Verdict::Unknown => GroupRole::Passage,
        }
    }

    fn qualified(&self, id: JobId, path: &[&str]) -> JobId {
        if id.kind() != JobKind::Unit {
            return id;
        }
        let around = (1..path.len()).rev().find_map(|length| match self.verdict(&path[..length]) {
            Verdict::Job(outer) => Some(self.qualified(outer, &path[..length])),
            Verdict::Slice(_) | Verdict::Part | Verdict::Unknown => None,
        });
        match around {
            Some(outer) => JobId::new(JobKind::Unit, &format!("{}/{}", outer.id(), id.id())),
            None => id,
        }
    }
}

/// The id of the user whose group this is: systemd keeps a slice for each, Slurm's v1 tree a folder.
#[must_use]
pub fn user_of(path: &str) -> Option<u32> {
    path.split('/').find_map(|name| {
        let id = name.strip_prefix("user-").and_then(|rest| rest.strip_suffix(".slice"));
        id.or_else(|| name.strip_prefix("uid_"))?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "3f4e1c0d9b8a7f6e5d4c3b2a190817263544f3e2d1c0b9a8f7e6d5c4b3a29180";

    /// `pod:uid`, `slice unit:name` or `-`.
    fn role(path: &str) -> String {
        let rule = Rule::new("batch", r"^/batch/(?P<id>[^/]+)$").expect("a valid rule");
        let kinds = vec![JobKind::Pod, JobKind::Container, JobKind::Unit, JobKind::Custom];
        let resolvers = Resolvers::new(vec![rule], kinds);
        let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
        match resolvers.role(&names) {
            GroupRole::Job(id) => format!("{}:{}", id.kind().as_str(), id.id()),
            GroupRole::Slice(id) => format!("slice {}:{}", id.kind().as_str(), id.id()),
            GroupRole::Passage => "-".to_owned(),
        }
    }

    #[test]
    fn users_are_recognised_by_their_slice() {
        for (path, expected) in [
            ("/user.slice/user-1000.slice/session-3.scope", Some(1_000)),
            ("/slurm/uid_70001/job_7/step_0", Some(70_001)),
            ("/user.slice", None),
            ("/system.slice/user-x.slice", None),
            ("/user.slice/user-99999999999.slice", None),
        ] {
            assert_eq!(user_of(path), expected, "{path}");
        }
    }

    #[test]
    fn control_groups_are_recognised_by_their_path() {
        let dashed = "7b2c1a90-11aa-4f0e-9c3d-5e6f70819203";
        let scored = dashed.replace('-', "_");
        let config_hash = "9f86d081884c7d659a2feaa0c55ad015";
        for (path, expected) in [
            // Kubernetes, systemd driver.
            ("/kubepods.slice".into(), "-".into()),
            ("/kubepods.slice/kubepods-burstable.slice".into(), "-".into()),
            (
                format!("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{scored}.slice"),
                format!("pod:{dashed}"),
            ),
            (
                format!("/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{scored}.slice"),
                format!("pod:{dashed}"),
            ),
            // Guaranteed pods have no class in between; static pods have a config hash.
            (format!("/kubepods.slice/kubepods-pod{scored}.slice"), format!("pod:{dashed}")),
            (format!("/kubepods.slice/kubepods-pod{config_hash}.slice"), format!("pod:{config_hash}")),
            (format!("/kubepods.slice/kubepods-pod{scored}.slice/cri-containerd-{ID}.scope"), "-".into()),
            (format!("/kubepods.slice/kubepods-pod{scored}.slice/crio-{ID}.scope"), "-".into()),
            // Kubernetes, cgroupfs driver.
            (format!("/kubepods/besteffort/pod{dashed}"), format!("pod:{dashed}")),
            (format!("/kubepods/burstable/pod{dashed}"), format!("pod:{dashed}")),
            (format!("/kubepods/pod{dashed}"), format!("pod:{dashed}")),
            (format!("/kubepods/pod{config_hash}/{ID}"), "-".into()),
            ("/kubepods/podium".into(), "-".into()),
            (format!("/elsewhere/pod{dashed}"), "-".into()),
            // A kubelet with a root of its own (kind).
            (
                format!("/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{scored}.slice"),
                format!("pod:{dashed}"),
            ),
            (format!("/kubelet/kubepods/burstable/pod{dashed}"), format!("pod:{dashed}")),
            (
                format!(
                    "/system.slice/docker-{ID}.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{scored}.slice"
                ),
                format!("pod:{dashed}"),
            ),
            // Containers.
            (format!("/system.slice/docker-{ID}.scope"), format!("container:{ID}")),
            (format!("/docker/{ID}"), format!("container:{ID}")),
            (format!("/machine.slice/libpod-{ID}.scope"), format!("container:{ID}")),
            (format!("/machine.slice/libpod-conmon-{ID}.scope"), "-".into()),
            (format!("/libpod_parent/libpod-{ID}"), format!("container:{ID}")),
            (
                format!("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope"),
                format!("container:{ID}"),
            ),
            (format!("/system.slice/crio-{ID}.scope"), format!("container:{ID}")),
            (format!("/system.slice/nerdctl-{ID}.scope"), format!("container:{ID}")),
            (format!("/default/{ID}"), format!("container:{ID}")),
            ("/docker/abc".into(), "-".into()),
            // systemd.
            ("/system.slice/nginx.service".into(), "unit:nginx.service".into()),
            ("/system.slice/system-getty.slice/getty@tty1.service".into(), "unit:getty@tty1.service".into()),
            ("/system.slice/system-getty.slice".into(), "-".into()),
            ("/init.scope".into(), "unit:init.scope".into()),
            ("/user.slice/user-1000.slice/session-3.scope".into(), "unit:session-3.scope".into()),
            (
                "/user.slice/user-1000.slice/user@1000.service/app.slice/vim.service".into(),
                "unit:user@1000.service/vim.service".into(),
            ),
            ("/user.slice/user-1000.slice/user@1000.service/app.slice".into(), "-".into()),
            ("/batch.slice".into(), "slice unit:batch.slice".into()),
            ("/batch.slice/batch-night.slice/run-7.scope".into(), "unit:run-7.scope".into()),
            ("/dev-hugepages.mount".into(), "-".into()),
            (format!("/docker/{ID}/system.slice/cron.service"), format!("unit:{ID}/cron.service")),
            // Rules come first.
            ("/batch/a-17".into(), "custom:batch/a-17".into()),
            ("/batch/a-17/deeper".into(), "-".into()),
        ] {
            let (path, expected): (String, String) = (path, expected);
            assert_eq!(role(&path), expected, "{path}");
        }
    }
}
