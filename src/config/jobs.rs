//! Which jobs are looked for, and by what names they go.

use super::names::{ContainersSection, KubernetesSection, Names, Place, Switch, UsersSection};
use super::{ConfigError, read};
use crate::job::kubernetes::is_pod_uid;
use crate::job::rule::{Rule, RuleError};
use crate::job::sidecar::Sidecar;
use crate::job::slurm::{Clusters, cluster_name};
use crate::model::identity::JobKind;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The managers whose groups are jobs unless it is said otherwise.
const KINDS: [JobKind; 6] =
    [JobKind::Pod, JobKind::Slurm, JobKind::Machine, JobKind::Container, JobKind::Unit, JobKind::Run];

/// Where Slurm keeps its configuration: Debian's and the projects' own place, and that of a node which gets
/// it from its controller.
const SLURM_CONF: [&str; 3] =
    ["/etc/slurm/slurm.conf", "/usr/local/etc/slurm.conf", "/run/slurm/conf/slurm.conf"];

/// Processes that are jobs at a time. A page has six series of each, and of those that ended minutes ago.
const TOP: u32 = 100;
const MOST_TOP: u32 = 1_000;

/// Longer than a name of a cluster may be in Slurm's own database.
const MAX_CLUSTER_BYTES: usize = 64;

/// What is wanted, checked.
#[derive(Debug, Clone)]
pub struct Jobs {
    /// Which managers are known.
    pub kinds: Vec<JobKind>,
    /// Name and pattern of the user's own.
    pub rules: Vec<(String, String)>,
    /// Jobs on the page at the most.
    pub max: u32,
    /// The names of Slurm's clusters, as far as they were given.
    pub clusters: Clusters,
    /// Processes that are jobs, where processes are.
    pub top_processes: u32,
    /// Whether this is a sidecar, and of which kind.
    pub sidecar: Sidecar,
    /// The pod's UID, if it was given.
    pub pod_uid: Option<String>,
    /// Where names are looked for.
    pub names: Names,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct JobsSection {
    kinds: Option<Vec<JobKind>>,
    rules: Vec<RuleSection>,
    max: Option<u32>,
    slurm: SlurmSection,
    processes: ProcessesSection,
    sidecar: Sidecar,
    pod_uid: Option<String>,
    kubernetes: KubernetesSection,
    containers: ContainersSection,
    users: UsersSection,
    gpu_environment: Switch,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleSection {
    name: String,
    pattern: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct SlurmSection {
    cluster: Option<String>,
    nodes: BTreeMap<String, String>,
    scontrol: Place,
    environment: Switch,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ProcessesSection {
    top: Option<u32>,
}

impl JobsSection {
    /// Checks everything; the message of an error begins with the key.
    pub(super) fn resolve(self, flag_uid: Option<String>) -> Result<Jobs, String> {
        let rules: Vec<(String, String)> =
            self.rules.into_iter().map(|rule| (rule.name, rule.pattern)).collect();
        compile(&rules).map_err(|error| format!("jobs.rules: {error}"))?;
        let clusters = Clusters { default: self.slurm.cluster, of_node: self.slurm.nodes };
        for name in clusters.default.iter().chain(clusters.of_node.values()) {
            if !is_cluster(name) {
                return Err(format!(
                    "jobs.slurm: {name:?} is no name of a cluster (letters, digits, - and _, at most \
                     {MAX_CLUSTER_BYTES})"
                ));
            }
        }
        let kinds = self.kinds.unwrap_or_else(|| KINDS.to_vec());
        if kinds.contains(&JobKind::Process) && (kinds.len() > 1 || !rules.is_empty()) {
            return Err(
                "jobs.kinds: process stands alone, without other kinds and jobs.rules: a process in a \
                        job would be charged twice"
                    .to_owned(),
            );
        }
        let top_processes = self.processes.top.unwrap_or(TOP);
        if !(1..=MOST_TOP).contains(&top_processes) {
            return Err(format!("jobs.processes.top: {top_processes} is outside 1 to {MOST_TOP}"));
        }
        let pod_uid = flag_uid.or(self.pod_uid).filter(|uid| !uid.is_empty());
        if let Some(uid) = pod_uid.as_deref().filter(|uid| !is_pod_uid(uid)) {
            return Err(format!(
                "jobs.pod_uid: {uid:?} is no UID of a pod (fieldPath: metadata.uid gives it)"
            ));
        }
        if kinds.contains(&JobKind::Process) && (pod_uid.is_some() || self.sidecar == Sidecar::HostCgroups) {
            return Err("jobs.kinds: process looks at no pod (jobs.sidecar: shared-pids does)".to_owned());
        }
        self.kubernetes.check()?;
        let names = Names {
            kubernetes: self.kubernetes,
            containers: self.containers,
            scontrol: self.slurm.scontrol,
            environment: self.slurm.environment,
            gpu_environment: self.gpu_environment,
            users: self.users,
        };
        Ok(Jobs {
            kinds,
            rules,
            max: self.max.unwrap_or(4_096).clamp(1, 100_000),
            clusters,
            top_processes,
            sidecar: self.sidecar,
            pod_uid,
            names,
        })
    }
}

impl Jobs {
    /// Whether processes are looked at instead of control groups.
    #[must_use]
    pub fn are_processes(&self) -> bool {
        self.kinds.contains(&JobKind::Process)
    }

    /// The rules, compiled.
    ///
    /// # Errors
    /// One of them is wrong.
    pub fn compiled_rules(&self) -> Result<Vec<Rule>, ConfigError> {
        Ok(compile(&self.rules)?)
    }

    /// The UID of the pod around us: as it was given, else by the downward API.
    #[must_use]
    pub fn pod_uid(&self) -> Option<String> {
        let given = self.pod_uid.clone();
        given.or_else(|| std::env::var("POD_UID").ok().filter(|uid| is_pod_uid(uid)))
    }

    /// The names of Slurm's clusters; what was not given is taken from slurm.conf, if it can be read.
    #[must_use]
    pub fn clusters(&self) -> Clusters {
        let mut clusters = self.clusters.clone();
        if clusters.default.is_none() && self.kinds.contains(&JobKind::Slurm) {
            clusters.default = found_cluster();
        }
        clusters
    }
}

fn compile(rules: &[(String, String)]) -> Result<Vec<Rule>, RuleError> {
    rules.iter().map(|(name, pattern)| Rule::new(name, pattern)).collect()
}

fn is_cluster(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=MAX_CLUSTER_BYTES).contains(&name.len()) && name.bytes().all(is_plain)
}

fn found_cluster() -> Option<String> {
    let named = std::env::var("SLURM_CONF").ok().filter(|path| !path.is_empty()).map(PathBuf::from);
    let places = named.into_iter().chain(SLURM_CONF.map(PathBuf::from));
    let text = places.into_iter().find_map(|path| read(&path).ok())?;
    cluster_name(&text).filter(|name| is_cluster(name))
}
