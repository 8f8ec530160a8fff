//! Who is looked at: control groups, or processes where the configuration says so, or as a sidecar the one
//! pod around us.

use super::finding;
use crate::config::{ConfigError, Settings};
use crate::job::consumers::{Consumers, Recognition};
use crate::job::gpu::Holders;
use crate::job::hierarchy::Root;
use crate::job::process::{Charge, Ground, Processes};
use crate::job::processor::Topology;
use crate::job::register::Callers;
use crate::job::sidecar::{Sidecar, own_pod, shares_pids, start};
use crate::job::tree::{Surroundings, Tree};
use crate::job::{Resolvers, hierarchy};
use crate::model::identity::{JobId, JobKind};
use crate::model::reading::{Fault, Finding, IdlePolicy};
use crate::sampler::{CGROUP, PROCESS};
use std::path::Path;

/// Our own view of the control groups, whatever machine is looked at.
const OWN_MOUNT: &str = "/sys/fs/cgroup";
const OWN_CGROUP: &str = "/proc/self/cgroup";

/// What there is to look at, and what is to be said of it. At most `max_open` files stay open.
pub(super) fn consumers(
    settings: &Settings,
    topology: Topology,
    max_open: usize,
) -> Result<(Option<Consumers>, Finding), ConfigError> {
    let procfs = settings.procfs.display();
    let ground = |own| Ground { procfs: settings.procfs.clone(), max_open, cpus: topology.cpus(), own };
    if settings.jobs.are_processes() {
        let processes = Processes::new(ground(None), Charge::Each(settings.jobs.top_processes));
        let found = finding(PROCESS, None, &procfs.to_string());
        return Ok((Some(Consumers::Processes(Box::new(processes))), found));
    }
    let hierarchies = hierarchy::find(&settings.cgroupfs);
    let is_shared = match settings.jobs.sidecar {
        Sidecar::SharedPids => true,
        Sidecar::Auto => hierarchies.is_err() && shares_pids(&settings.procfs),
        Sidecar::HostCgroups | Sidecar::Off => false,
    };
    if is_shared {
        // A pod's host name is its own name: the next best that stays.
        let id = settings.jobs.pod_uid().or_else(|| sysinfo::System::host_name().ok()).unwrap_or_default();
        let detail = format!("sidecar of pod {id}, by the processes it shares: {procfs}");
        let charge = Charge::Together(JobId::new(JobKind::Pod, &id));
        let processes = Processes::new(ground(Some(std::process::id())), charge);
        return Ok((Some(Consumers::Processes(Box::new(processes))), finding(PROCESS, None, &detail)));
    }
    let roots = match hierarchies {
        Ok(roots) => roots,
        Err(fault) => {
            let place = settings.cgroupfs.display().to_string();
            return Ok((None, finding(CGROUP, Some(fault), &place)));
        }
    };
    let mut detail: Vec<String> =
        roots.iter().map(|root| format!("{:?} {}", root.version, root.path.display())).collect();
    let pod = pod(settings, &roots);
    let is_sidecar = pod.is_some() || settings.jobs.sidecar == Sidecar::HostCgroups;
    if is_sidecar {
        let uid = pod.as_deref().unwrap_or("unknown");
        detail[0] = format!("sidecar of pod {uid}, by the host's control groups: {}", detail[0]);
    }
    let detail = detail.join(", ");
    let surroundings = Surroundings {
        procfs: settings.procfs.clone(),
        topology,
        wants_reservations: settings.idle == IdlePolicy::Reserved,
        max_groups: max_open,
    };
    let tree = match (&pod, is_sidecar) {
        (None, true) => None,
        (_, _) => Some(Tree::open(roots, resolvers(settings, pod)?, surroundings)),
    };
    // We run in the pod, so its group is there, or it is not this one.
    Ok(match tree {
        Some(tree) if !is_sidecar || tree.has_jobs() => {
            (Some(Consumers::Groups(Box::new(tree))), finding(CGROUP, None, &detail))
        }
        Some(_) | None => (None, finding(CGROUP, Some(Fault::Missing), &detail)),
    })
}

/// How they are recognised by new settings. What is looked at stays what it was at the start.
pub(super) fn recognition(settings: &Settings, started_with: &Settings) -> Result<Recognition, ConfigError> {
    Ok(match (started_with.jobs.are_processes(), settings.jobs.are_processes()) {
        (true, true) => Recognition::Processes(settings.jobs.top_processes),
        (false, false) => {
            let roots = hierarchy::find(&started_with.cgroupfs).unwrap_or_default();
            let pod = pod(started_with, &roots);
            if pod.is_none() && started_with.jobs.sidecar == Sidecar::HostCgroups {
                return Ok(Recognition::Unchanged);
            }
            let resolvers = resolvers(settings, pod)?;
            Recognition::Groups(resolvers, settings.idle == IdlePolicy::Reserved)
        }
        (true, false) | (false, true) => Recognition::Unchanged,
    })
}

/// As a sidecar: the UID of the pod around us.
fn pod(settings: &Settings, roots: &[Root]) -> Option<String> {
    let by_place =
        || roots.iter().find_map(|root| own_pod(root, Path::new(OWN_MOUNT), Path::new(OWN_CGROUP)));
    match settings.jobs.sidecar {
        Sidecar::Auto => settings.jobs.pod_uid(),
        Sidecar::HostCgroups => settings.jobs.pod_uid().or_else(by_place),
        Sidecar::SharedPids | Sidecar::Off => None,
    }
}

/// Who is speaking on the socket, by the rules by which jobs are looked for. Nobody can be told where
/// processes are looked at instead of groups.
pub(super) fn callers(settings: &Settings) -> Result<Callers, ConfigError> {
    let are_groups = !settings.jobs.are_processes();
    let roots = if are_groups { hierarchy::find(&settings.cgroupfs) } else { Ok(Vec::new()) };
    let roots = roots.unwrap_or_default();
    let resolvers = resolvers(settings, pod(settings, &roots))?;
    let starts = roots.iter().map(|root| start(root, Path::new(OWN_MOUNT), Path::new(OWN_CGROUP))).collect();
    Ok(Callers::new(&settings.procfs, roots, resolvers).within(starts))
}

/// Who holds accelerators, by the same rules.
pub(super) fn holders(settings: &Settings) -> Result<Holders, ConfigError> {
    Ok(Holders::new(&settings.procfs, callers(settings)?, &settings.cgroupfs))
}

fn resolvers(settings: &Settings, pod: Option<String>) -> Result<Resolvers, ConfigError> {
    let jobs = &settings.jobs;
    let resolvers = Resolvers::new(jobs.compiled_rules()?, jobs.kinds.clone()).with_clusters(jobs.clusters());
    Ok(match pod {
        Some(uid) => resolvers.only_pod(uid),
        None => resolvers,
    })
}
