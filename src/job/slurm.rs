//! Slurm's jobs, on either version of control groups; steps and tasks are parts of them.
//!
//! v1 has `/slurm_NODE/uid_U/job_J/step_S/task_T` (`/slurm/…` where slurmd knows one node only, or what
//! `CgroupPrepend` says), v2 `/system.slice/slurmstepd.scope/job_J/step_S/user/task_T`
//! (`NODE_slurmstepd.scope` where there are several slurmd).

use super::{JobResolver, Verdict};
use crate::model::identity::{JobId, JobKind};
use std::collections::BTreeMap;

/// Which cluster a node belongs to: no path tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Clusters {
    /// Of every node that is not named below.
    pub default: Option<String>,
    /// By the node's name, for a host on which slurmd of several clusters run.
    pub of_node: BTreeMap<String, String>,
}

/// Knows Slurm's paths.
#[derive(Debug, Default)]
pub struct Slurm {
    clusters: Clusters,
}

impl Slurm {
    /// Jobs are called `cluster.number`, as far as the cluster is known.
    #[must_use]
    pub fn new(clusters: Clusters) -> Slurm {
        Slurm { clusters }
    }

    /// A job has one number for all of its cluster: on two nodes of one host it is the same job. Where the
    /// cluster is not known, the number is a name among those of the same host or container only.
    fn job(&self, node: Option<&str>, number: &str) -> Verdict {
        let of_node = node.and_then(|node| self.clusters.of_node.get(node));
        match of_node.or(self.clusters.default.as_ref()) {
            Some(cluster) => Verdict::Job(JobId::new(JobKind::Slurm, &format!("{cluster}.{number}"))),
            None => Verdict::Named(JobId::new(JobKind::Slurm, number)),
        }
    }
}

impl JobResolver for Slurm {
    fn resolve(&self, path: &[&str]) -> Verdict {
        match *path {
            [.., scope, job]
                if let (Some(node), Some(number)) = (node_of_scope(scope), number(job, "job_")) =>
            {
                self.job(node, number)
            }
            [.., top, user, job]
                if let (Some(_), Some(number)) = (number(user, "uid_"), number(job, "job_")) =>
            {
                self.job(top.strip_prefix("slurm_"), number)
            }
            [.., scope] if node_of_scope(scope).is_some() => Verdict::Part,
            [.., scope, "system"] if node_of_scope(scope).is_some() => Verdict::Part,
            [.., job, step] if number(job, "job_").is_some() && step.starts_with("step_") => Verdict::Part,
            [.., step, "user" | "slurm"] if step.starts_with("step_") => Verdict::Part,
            [.., step, task] if step.starts_with("step_") && task.starts_with("task_") => Verdict::Part,
            [.., step, "user", task] if step.starts_with("step_") && task.starts_with("task_") => {
                Verdict::Part
            }
            _ => Verdict::Unknown,
        }
    }
}

/// The node of v2's scope, `None` inside if it is not named.
fn node_of_scope(name: &str) -> Option<Option<&str>> {
    let before = name.strip_suffix("slurmstepd.scope")?;
    match before.strip_suffix('_') {
        Some(node) => Some(Some(node)),
        None => before.is_empty().then_some(None),
    }
}

fn number<'a>(name: &'a str, prefix: &str) -> Option<&'a str> {
    let digits = name.strip_prefix(prefix)?;
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then_some(digits)
}

/// What slurm.conf calls the cluster. Slurm itself takes keys in any case and the name in lower case.
#[must_use]
pub fn cluster_name(slurm_conf: &str) -> Option<String> {
    slurm_conf.lines().find_map(|line| {
        let line = line.split('#').next().unwrap_or_default();
        let (key, value) = line.split_once('=')?;
        let name = value.split_whitespace().next()?.trim_matches('"');
        let is_it = key.trim().eq_ignore_ascii_case("ClusterName");
        (is_it && !name.is_empty()).then(|| name.to_ascii_lowercase())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cluster_s_name_is_found_as_slurm_finds_it() {
        for (text, expected) in [
            ("ClusterName=probe\n", Some("probe")),
            ("# ClusterName=old\n  clustername = Alpha # ours\nSlurmctldHost=a\n", Some("alpha")),
            ("SlurmctldHost=a\nClusterName=\"b\"\n", Some("b")),
            ("ClusterName=\n", None),
            ("NodeName=ClusterName\n", None),
            ("", None),
        ] {
            assert_eq!(cluster_name(text).as_deref(), expected, "{text:?}");
        }
    }
}
