//! Who is looked at: control groups, or processes where the configuration says so.

use super::finding;
use crate::config::{ConfigError, Settings};
use crate::job::consumers::{Consumers, Recognition};
use crate::job::process::{Charge, Ground, Processes};
use crate::job::processor::Topology;
use crate::job::tree::{Surroundings, Tree};
use crate::job::{Resolvers, hierarchy};
use crate::model::reading::{Finding, IdlePolicy};
use crate::sampler::{CGROUP, PROCESS};

/// What there is to look at, and what is to be said of it. At most `max_open` files stay open.
pub(super) fn consumers(
    settings: &Settings,
    topology: Topology,
    max_open: usize,
) -> Result<(Option<Consumers>, Finding), ConfigError> {
    if settings.jobs.are_processes() {
        let ground = Ground { procfs: settings.procfs.clone(), max_open, cpus: topology.cpus(), own: None };
        let processes = Processes::new(ground, Charge::Each(settings.jobs.top_processes));
        let detail = settings.procfs.display().to_string();
        return Ok((Some(Consumers::Processes(processes)), finding(PROCESS, None, &detail)));
    }
    let surroundings = Surroundings {
        procfs: settings.procfs.clone(),
        topology,
        wants_reservations: settings.idle == IdlePolicy::Reserved,
        max_groups: max_open,
    };
    match hierarchy::find(&settings.cgroupfs) {
        Ok(roots) => {
            let detail: Vec<String> =
                roots.iter().map(|root| format!("{:?} {}", root.version, root.path.display())).collect();
            let tree = Tree::open(roots, resolvers(settings)?, surroundings);
            Ok((Some(Consumers::Groups(tree)), finding(CGROUP, None, &detail.join(", "))))
        }
        Err(fault) => Ok((None, finding(CGROUP, Some(fault), &settings.cgroupfs.display().to_string()))),
    }
}

/// How they are recognised by new settings. What is looked at stays what it was at the start.
pub(super) fn recognition(settings: &Settings, started_with: &Settings) -> Result<Recognition, ConfigError> {
    Ok(match (started_with.jobs.are_processes(), settings.jobs.are_processes()) {
        (true, true) => Recognition::Processes(settings.jobs.top_processes),
        (false, false) => Recognition::Groups(resolvers(settings)?, settings.idle == IdlePolicy::Reserved),
        (true, false) | (false, true) => Recognition::Unchanged,
    })
}

fn resolvers(settings: &Settings) -> Result<Resolvers, ConfigError> {
    let jobs = &settings.jobs;
    Ok(Resolvers::new(jobs.compiled_rules()?, jobs.kinds.clone()).with_clusters(jobs.clusters()))
}
