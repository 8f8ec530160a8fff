//! Edge in: who used the machine. Control groups, or processes, are found, recognised and read here; which
//! joule is whose is decided in the engine.

pub mod account;
pub mod attributes;
pub mod consumers;
pub mod container;
pub mod directory;
pub mod gpu;
pub mod grouping;
pub mod hierarchy;
pub mod kubernetes;
pub mod machine;
pub mod names;
pub mod own;
pub mod passwd;
pub mod process;
pub mod processor;
pub mod register;
pub mod rule;
pub mod run;
pub mod sidecar;
pub mod slurm;
pub mod speech;
pub mod systemd;
pub mod tree;
pub mod watch;

use crate::model::identity::{JobId, JobKind};
use crate::model::reading::GroupRole;
use rule::Rule;
use slurm::{Clusters, Slurm};

/// What one kind of manager makes of a control group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// A job, by an id that no other job has.
    Job(JobId),
    /// A job, by a name that is its own only within the job around it, or the host.
    Named(JobId),
    /// A slice: a job only for what its members leave over; its name is like that of [`Verdict::Named`].
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
    slurm: Slurm,
    only_pod: Option<String>,
}

impl Resolvers {
    /// The user's rules first, then the built-in managers of the given kinds.
    #[must_use]
    pub fn new(rules: Vec<Rule>, kinds: Vec<JobKind>) -> Resolvers {
        Resolvers { rules, kinds, slurm: Slurm::default(), only_pod: None }
    }

    /// The same, with the names of Slurm's clusters.
    #[must_use]
    pub fn with_clusters(self, clusters: Clusters) -> Resolvers {
        Resolvers { slurm: Slurm::new(clusters), ..self }
    }

    /// The same for a sidecar: the pod with this UID is a job, and nothing else is.
    #[must_use]
    pub fn only_pod(self, uid: String) -> Resolvers {
        Resolvers { only_pod: Some(uid), ..self }
    }

    /// The group's identity, by the first manager that knows it.
    fn verdict(&self, path: &[&str]) -> Verdict {
        for rule in &self.rules {
            let verdict = rule.resolve(path);
            if verdict != Verdict::Unknown {
                return verdict;
            }
        }
        // systemd knows something of everything, so it comes last.
        let managers: [(JobKind, &dyn JobResolver); 6] = [
            (JobKind::Run, &run::Runs),
            (JobKind::Pod, &kubernetes::Kubernetes),
            (JobKind::Slurm, &self.slurm),
            (JobKind::Machine, &machine::Machines),
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

    /// What the group at `path` is to the account keeping. A job inside another one is a job of its own,
    /// named after both where its own name is not enough.
    #[must_use]
    pub fn role(&self, path: &[&str]) -> GroupRole {
        if let Some(uid) = &self.only_pod {
            return match kubernetes::Kubernetes.resolve(path) {
                Verdict::Job(id) if **id.id() == **uid => GroupRole::Job(id),
                _ => GroupRole::Passage,
            };
        }
        // What stands below a user's own groups he can name as he likes: such a name is his alone.
        let is_in_users_hands = path.iter().copied().any(is_users_manager);
        match self.verdict(path) {
            Verdict::Job(id) if is_in_users_hands && matches!(id.kind(), JobKind::Pod | JobKind::Slurm) => {
                GroupRole::Job(self.qualified(&id, path))
            }
            Verdict::Job(id) => GroupRole::Job(id),
            Verdict::Named(id) => GroupRole::Job(self.qualified(&id, path)),
            Verdict::Slice(id) => GroupRole::Slice(self.qualified(&id, path)),
            Verdict::Part | Verdict::Unknown => GroupRole::Passage,
        }
    }

    /// All jobs around the group at `path`, the innermost first.
    #[must_use]
    pub fn around(&self, path: &str) -> Vec<JobId> {
        self.groups_around(path).map(|(id, _)| id).collect()
    }

    /// The innermost of them, and the path of its group.
    #[must_use]
    pub fn innermost_group(&self, path: &str) -> Option<(JobId, String)> {
        self.groups_around(path).next()
    }

    fn groups_around<'a>(&'a self, path: &'a str) -> impl Iterator<Item = (JobId, String)> + 'a {
        let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
        (1..=names.len()).rev().filter_map(move |length| match self.role(&names[..length]) {
            GroupRole::Job(id) | GroupRole::Slice(id) => {
                Some((id, format!("/{}", names[..length].join("/"))))
            }
            GroupRole::Passage | GroupRole::Residual(_) => None,
        })
    }

    fn qualified(&self, id: &JobId, path: &[&str]) -> JobId {
        let around = (1..path.len()).rev().find_map(|length| match self.verdict(&path[..length]) {
            Verdict::Job(outer) => Some(outer),
            Verdict::Named(outer) => Some(self.qualified(&outer, &path[..length])),
            Verdict::Slice(_) | Verdict::Part | Verdict::Unknown => None,
        });
        match around {
            Some(outer) => JobId::new(id.kind(), &format!("{}/{}", outer.id(), id.id())),
            None => id.clone(),
        }
    }
}

/// Whether this is the group of a user's own systemd, who may make others below it. In an id it stands where a
/// job is named after what is around it.
fn is_users_manager(name: &str) -> bool {
    name.starts_with("user@") && name.ends_with(".service")
}

/// Whether a user made the group himself, below his own, and called it like a job: its id says nothing then.
fn is_in_users_hands(id: &JobId) -> bool {
    id.id().split('/').any(is_users_manager)
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

    fn resolvers() -> Resolvers {
        let rule = Rule::new("batch", r"^/batch/(?P<id>[^/]+)$").expect("a valid rule");
        let of_node = [("n2".to_owned(), "beta".to_owned())].into();
        let clusters = Clusters { default: Some("alpha".to_owned()), of_node };
        Resolvers::new(vec![rule], JobKind::ALL.to_vec()).with_clusters(clusters)
    }

    fn role(path: &str) -> String {
        role_by(&resolvers(), path)
    }

    /// `pod:uid`, `slice unit:name` or `-`.
    fn role_by(resolvers: &Resolvers, path: &str) -> String {
        let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
        match resolvers.role(&names) {
            GroupRole::Job(id) => format!("{}:{}", id.kind().as_str(), id.id()),
            GroupRole::Slice(id) => format!("slice {}:{}", id.kind().as_str(), id.id()),
            GroupRole::Passage | GroupRole::Residual(_) => "-".to_owned(),
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
            // Measured commands, wherever they were started.
            ("/jouleprint-run-20261122-7.1_a".into(), "run:20261122-7.1_a".into()),
            // Made by a user: nobody else's job.
            (
                format!("/user.slice/user-1000.slice/user@1000.service/kubepods-pod{scored}.slice"),
                format!("pod:user@1000.service/{dashed}"),
            ),
            (
                "/user.slice/user-1000.slice/user@1000.service/slurmstepd.scope/job_7".into(),
                "slurm:user@1000.service/alpha.7".into(),
            ),
            ("/user.slice/user-1000.slice/session-3.scope/jouleprint-run-1".into(), "run:1".into()),
            ("/user.slice/user-1000.slice/session-3.scope/jouleprint-run-1/deeper".into(), "-".into()),
            (format!("/kubepods/burstable/pod{dashed}/{ID}/jouleprint-run-1"), "run:1".into()),
            ("/slurm_n1/uid_5/job_7/step_0/task_0/jouleprint-run-1".into(), "run:1".into()),
            ("/jouleprint-run-".into(), "-".into()),
            ("/jouleprint-run-a b".into(), "-".into()),
            (format!("/jouleprint-run-{ID}1"), "-".into()),
            // Rules come first.
            ("/batch/a-17".into(), "custom:batch/a-17".into()),
            ("/batch/a-17/deeper".into(), "-".into()),
        ] {
            let (path, expected): (String, String) = (path, expected);
            assert_eq!(role(&path), expected, "{path}");
        }
    }

    /// Paths as they are met: of real hosts (Slurm 22.05, Podman 4.3, runc 1.1) and of the managers' sources.
    #[test]
    fn jobs_of_slurm_are_recognised_on_both_versions() {
        for (path, expected) in [
            ("/slurm_localhost", "-"),
            ("/slurm_localhost/uid_0", "-"),
            ("/slurm_localhost/uid_0/job_1", "slurm:alpha.1"),
            ("/slurm_localhost/uid_0/job_1/step_batch", "-"),
            ("/slurm_localhost/uid_0/job_1/step_batch/task_0", "-"),
            ("/slurm_localhost/uid_0/job_1/step_extern/task_0", "-"),
            ("/slurm_localhost/uid_0/job_1/step_4294967290", "-"),
            ("/slurm/uid_70001/job_7/step_0", "-"),
            ("/slurm/uid_70001/job_7", "slurm:alpha.7"),
            // Several slurmd on one host: of one cluster, or of two.
            ("/slurm_n1/uid_5/job_7", "slurm:alpha.7"),
            ("/slurm_n2/uid_5/job_7", "slurm:beta.7"),
            // CgroupPrepend may say anything.
            ("/hpc/uid_5/job_7", "slurm:alpha.7"),
            ("/slurm/uid_5/job_x", "-"),
            ("/slurm/uid_5/job_", "-"),
            ("/slurm/job_7", "-"),
            // v2: the scope is no job, nor what slurmd keeps there for itself.
            ("/system.slice/slurmstepd.scope", "-"),
            ("/system.slice/slurmstepd.scope/system", "-"),
            ("/system.slice/slurmstepd.scope/job_12", "slurm:alpha.12"),
            ("/system.slice/slurmstepd.scope/job_12/step_extern", "-"),
            ("/system.slice/slurmstepd.scope/job_12/step_extern/user/task_special", "-"),
            ("/system.slice/slurmstepd.scope/job_12/step_0/slurm", "-"),
            ("/system.slice/slurmstepd.scope/job_12/step_0/user", "-"),
            ("/system.slice/slurmstepd.scope/job_12/step_0/user/task_3", "-"),
            ("/system.slice/n1_slurmstepd.scope", "-"),
            ("/system.slice/n1_slurmstepd.scope/job_12", "slurm:alpha.12"),
            ("/system.slice/n2_slurmstepd.scope/job_12", "slurm:beta.12"),
            ("/hpc.slice/slurmstepd.scope/job_12", "slurm:alpha.12"),
            ("/system.slice/slurmd.service", "unit:slurmd.service"),
        ] {
            assert_eq!(role(path), expected, "{path}");
        }
        let nameless = Resolvers::new(Vec::new(), JobKind::ALL.to_vec());
        assert_eq!(role_by(&nameless, "/slurm_n1/uid_0/job_3"), "slurm:3");
        // Without a cluster's name a number is worth no more than a unit's name.
        let inside = format!("/docker/{ID}/system.slice/slurmstepd.scope/job_3");
        assert_eq!(role_by(&nameless, &inside), format!("slurm:{ID}/3"));
    }

    #[test]
    fn guests_are_recognised_by_their_name_whatever_their_number() {
        for (path, expected) in [
            (r"/machine.slice/machine-qemu\x2d1\x2dweb.scope", "machine:web"),
            (r"/machine.slice/machine-qemu\x2d27\x2dweb\x2d01.scope", "machine:web-01"),
            (r"/machine.slice/machine-qemu\x2d1\x2dweb.scope/libvirt", "-"),
            (r"/machine.slice/machine-qemu\x2d1\x2dweb.scope/libvirt/emulator", "-"),
            (r"/machine.slice/machine-qemu\x2d1\x2dweb.scope/libvirt/vcpu0", "-"),
            (r"/machine.slice/machine-qemu\x2d1\x2dweb.scope/vcpu11", "-"),
            (r"/machine.slice/machine-qemu\x2d1\x2dweb.scope/libvirt/iothread1", "-"),
            (r"/machine.slice/machine-lxc\x2d4\x2dold.scope", "machine:old"),
            (r"/machine.slice/machine-anna\x2dqemu\x2d4\x2dtest.scope", "machine:anna/test"),
            ("/machine", "-"),
            ("/machine/qemu-1-web.libvirt-qemu", "machine:web"),
            ("/machine/qemu-2-web-01.libvirt-qemu/emulator", "-"),
            ("/machine/web.libvirt-qemu", "machine:web"),
            ("/machine/production.partition", "-"),
            ("/machine/production.partition/qemu-9-db.libvirt-qemu", "machine:db"),
            ("/machine/lxc-9-db.libvirt-lxc", "machine:db"),
            ("/libvirt/qemu/web", "machine:web"),
            ("/libvirt/qemu/web/vcpu0", "-"),
            // systemd-nspawn.
            ("/machine.slice/machine-debian.scope", "machine:debian"),
            (r"/machine.slice/machine-my\x2dbox.scope", "machine:my-box"),
            ("/machine.slice/machine-debian.scope/payload", "-"),
            ("/machine.slice/systemd-nspawn@debian.service", "machine:debian"),
            ("/machine.slice/systemd-nspawn@my-box.service/supervisor", "-"),
            (r"/machine.slice/machine-bad\x2.scope", r"unit:machine-bad\x2.scope"),
            // Proxmox.
            ("/qemu.slice", "-"),
            ("/qemu.slice/100.scope", "machine:100"),
            ("/qemu.slice/x.scope", "unit:x.scope"),
        ] {
            assert_eq!(role(path), expected, "{path}");
        }
    }

    #[test]
    fn containers_of_lxc_are_recognised_by_their_name() {
        for (path, expected) in [
            ("/lxc", "-"),
            ("/lxc/web", "container:web"),
            ("/lxc/101", "container:101"),
            ("/lxc/101/ns", "-"),
            ("/lxc.monitor/101", "-"),
            ("/lxc.payload/web", "container:web"),
            ("/lxc.payload.web", "container:web"),
            ("/lxc.payload.project_web", "container:project_web"),
            ("/lxc.payload.", "-"),
            ("/lxc.monitor.web", "-"),
            ("/lxc.pivot", "-"),
            (
                "/user.slice/user-1000.slice/user@1000.service/lxc.payload.web",
                "container:user@1000.service/web",
            ),
        ] {
            assert_eq!(role(path), expected, "{path}");
        }
    }

    /// Every manager inside every other one: the inner job is a job of its own, and has a name that no other
    /// job of the host has.
    #[test]
    fn the_innermost_job_wins_in_every_combination() {
        let uid = "7b2c1a90-11aa-4f0e-9c3d-5e6f70819203";
        // Path of a job, its id on the host itself, and whether that is enough anywhere.
        let jobs = [
            (format!("/kubepods/burstable/pod{uid}"), format!("pod:{uid}"), true),
            ("/slurm_n1/uid_5/job_7".into(), "slurm:alpha.7".into(), true),
            ("/system.slice/slurmstepd.scope/job_7".into(), "slurm:alpha.7".into(), true),
            (r"/machine.slice/machine-qemu\x2d1\x2dweb.scope".into(), "machine:web".into(), false),
            ("/qemu.slice/100.scope".into(), "machine:100".into(), false),
            (format!("/docker/{ID}"), format!("container:{ID}"), true),
            (format!("/machine.slice/libpod-{ID}.scope"), format!("container:{ID}"), true),
            ("/lxc.payload.web".into(), "container:web".into(), false),
            ("/system.slice/cron.service".into(), "unit:cron.service".into(), false),
            ("/user.slice/user-1.slice/session-2.scope".into(), "unit:session-2.scope".into(), false),
            ("/app.slice/run-r1.scope".into(), "unit:run-r1.scope".into(), false),
            ("/jouleprint-run-1-2".into(), "run:1-2".into(), true),
        ];
        let steps = ["/c", "/step_0/task_0", "/payload", "/c/init.scope/x", "/libvirt/emulator"];
        for (outer, outer_id, _) in &jobs {
            for (inner, inner_id, is_unique) in &jobs {
                for step in steps {
                    let path = format!("{outer}{step}{inner}");
                    let (kind, name) = inner_id.split_once(':').expect("a kind");
                    let (_, outer_name) = outer_id.split_once(':').expect("a kind");
                    let expected = match is_unique {
                        true => inner_id.clone(),
                        false if step.contains("init.scope") => {
                            format!("{kind}:{outer_name}/init.scope/{name}")
                        }
                        false => format!("{kind}:{outer_name}/{name}"),
                    };
                    assert_eq!(role(&path), expected, "{path}");
                }
            }
        }
    }

    #[test]
    fn a_sidecar_knows_its_own_pod_and_no_other_job() {
        let uid = "7b2c1a90-11aa-4f0e-9c3d-5e6f70819203";
        let resolvers = resolvers().only_pod(uid.to_owned());
        for (path, expected) in [
            (format!("/kubepods/burstable/pod{uid}"), format!("pod:{uid}")),
            (format!("/kubepods.slice/kubepods-pod{}.slice", uid.replace('-', "_")), format!("pod:{uid}")),
            (format!("/kubepods/burstable/pod{uid}/{ID}"), "-".to_owned()),
            (format!("/kubepods/burstable/pod{uid}/{ID}/docker/{ID}"), "-".to_owned()),
            (format!("/kubepods/burstable/pod{}", uid.replace('7', "8")), "-".to_owned()),
            ("/system.slice/a.service".to_owned(), "-".to_owned()),
            ("/batch/a-17".to_owned(), "-".to_owned()),
        ] {
            assert_eq!(role_by(&resolvers, &path), expected, "{path}");
        }
    }

    #[test]
    fn groups_of_a_kind_that_is_not_wanted_are_jobs_of_no_other_kind() {
        let units = Resolvers::new(Vec::new(), vec![JobKind::Unit]);
        for path in [
            "/system.slice/slurmstepd.scope",
            "/system.slice/slurmstepd.scope/job_1",
            r"/machine.slice/machine-qemu\x2d1\x2dweb.scope",
            "/lxc.payload.web",
        ] {
            assert_eq!(role_by(&units, path), "-", "{path}");
        }
        assert_eq!(role_by(&units, "/lxc.payload.web/system.slice/a.service"), "unit:a.service");
    }
}
