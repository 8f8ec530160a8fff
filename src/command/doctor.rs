//! `jouleprint doctor`: what was found, what was not, why, and what mends it.

mod gpus;
pub mod grid;

use crate::clock;
use crate::config::Settings;
use crate::config::flags::Flags;
use crate::daemon::{StartError, parts, roots};
use crate::http_client::bare;
use crate::job::names::SourceName;
use crate::model::identity::Origin;
use crate::model::quantity::Nanos;
use crate::model::reading::{Fault, Place};
use crate::model::snapshot::{Snapshot, SourceState};
use crate::output::otlp;
use crate::output::otlp::attributes::Machine;
use crate::output::otlp::wishes::Wishes;
use crate::sampler::{CGROUP, PROCESS, Sampler};
use crate::source::{estimate, ipmi, rapl, redfish};
use clap::Args;
use rustix::fs::{Access, access};
use std::path::Path;

/// Between the two readings from which watts are shown.
const LOOK: Nanos = Nanos::from_seconds(1);

/// A meter that has not answered yet is waited for so many looks longer.
const LONGER_LOOKS: u32 = 8;

/// What the examination came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// Everything that is there is measured.
    Sound,
    /// It runs, but something could be mended.
    Mendable,
}

/// Of `jouleprint doctor`.
#[derive(Debug, Args)]
pub struct DoctorArguments {
    /// Ask neither a cloud where it is, nor providers of intensities, nor try the push
    #[arg(long)]
    pub offline: bool,
}

/// Looks the machine over and prints what it sees.
///
/// # Errors
/// The exporter would not start either.
pub fn run(flags: &Flags, arguments: &DoctorArguments) -> Result<Health, StartError> {
    let settings = Settings::load(flags)?;
    roots::check(&settings)?;
    let mut sampler = Sampler::new(parts(&settings)?);
    sampler.tick(clock::now());
    clock::sleep(LOOK);
    let mut snapshot = sampler.tick(clock::now());
    for _ in 0..LONGER_LOOKS {
        if !is_waited_for(&snapshot) {
            break;
        }
        clock::sleep(LOOK);
        snapshot = sampler.tick(clock::now());
    }
    println!("jouleprint {} on {}", env!("CARGO_PKG_VERSION"), snapshot.machine.host);
    let mut ailing = false;
    println!("\nMeters");
    for (domain, totals) in snapshot.machine.domains.iter().zip(&snapshot.totals.domains) {
        let power =
            totals.power.map_or("no reading".to_owned(), |power| format!("{:.2} W", power.as_watts()));
        let place = match &domain.place {
            Place::Counted => "counted".to_owned(),
            Place::Inside(parent) => format!("inside {parent}"),
            Place::Beside => "shown, not counted".to_owned(),
            Place::Around(parts) => format!("counted, around {}", parts.join(", ")),
        };
        println!("  {:<20} {:<10} {power:>12}  {place}", domain.id, domain.origin.as_str());
    }
    let has_gpus = !snapshot.gpus.is_empty();
    if has_gpus {
        println!("\nAccelerators");
    }
    for sight in &snapshot.gpus {
        for line in gpus::lines(sight, &snapshot.machine.domains, &snapshot.sources) {
            println!("{line}");
        }
    }
    if let Some(remedy) = gpus::pod_resources_remedy(&snapshot.sources).filter(|_| has_gpus) {
        ailing = true;
        println!("    → {remedy}");
    }
    println!("\nSources");
    for state in &snapshot.sources {
        ailing |= report(state, &snapshot);
    }
    let looked_at = match snapshot.sampler.processes {
        Some(processes) => format!("among {processes} processes"),
        None => format!("in {} control groups", snapshot.sampler.groups),
    };
    println!("\nJobs\n  {} live, {looked_at}", snapshot.totals.live_jobs);
    ailing |= has_hidden_processes(&snapshot);
    if !snapshot.sampler.watches_cgroups
        && snapshot.sources.iter().any(|state| &*state.source == CGROUP && state.fault.is_none())
    {
        ailing = true;
        println!("  births and deaths are only looked for at each tick: no inotify watches left");
        println!("    → raise fs.inotify.max_user_watches (sysctl -w fs.inotify.max_user_watches=524288)");
    }
    println!("\nStore");
    ailing |= !has_store(&settings);
    if let Some(wishes) = &settings.otlp {
        println!("\nPush");
        ailing |= !arguments.offline && !arrives(wishes, &snapshot.machine.host);
        if arguments.offline {
            println!("  not tried (--offline)");
        }
    }
    println!("\nGrid");
    let (lines, is_sound) = grid::examine(&settings, arguments.offline);
    lines.iter().for_each(|line| println!("  {line}"));
    ailing |= !is_sound;
    println!("\n{}", if ailing { "Something could be mended: see the arrows." } else { "All is well." });
    Ok(if ailing { Health::Mendable } else { Health::Sound })
}

/// Prints where pushes go, and whether an empty one is taken there.
fn arrives(wishes: &Wishes, host: &str) -> bool {
    let machine = Machine { id: String::new(), name: host.to_owned() };
    let endpoint = bare(&wishes.endpoint);
    match otlp::probe(wishes, &machine) {
        Ok(()) => {
            println!("  ok   {endpoint} by {}", wishes.transport.as_str());
            true
        }
        Err(reason) => {
            println!("  --   {endpoint} by {}: {reason}", wishes.transport.as_str());
            println!(
                "    → mend the backend, or the settings of the push (docs/otlp.md); scrapes go on without it"
            );
            false
        }
    }
}

/// Whether a meter has shown no power yet and may still: it has a thread of its own, and that is at work.
fn is_waited_for(snapshot: &Snapshot) -> bool {
    let fault =
        |id: &str| snapshot.sources.iter().find(|state| *state.hw_id == *id).and_then(|state| state.fault);
    let mut meters = snapshot.machine.domains.iter().zip(&snapshot.totals.domains);
    meters.any(|(domain, totals)| {
        totals.power.is_none() && matches!(fault(&domain.id), None | Some(Fault::Timeout))
    })
}

/// What a sidecar needs, in the words of a manifest: the exact way, and the one without the host's files.
const SIDECAR: &str =
    "mount the host's /sys/fs/cgroup, read-only, and name it: --path.cgroupfs /host/sys/fs/cgroup
      as a sidecar, add to the pod, for its processes together:
        shareProcessNamespace: true
      or, exact, to the pod and to this container:
        volumes: [{name: cgroup, hostPath: {path: /sys/fs/cgroup, type: Directory}}]
        volumeMounts: [{name: cgroup, mountPath: /host/sys/fs/cgroup, readOnly: true}]
        env: [{name: POD_UID, valueFrom: {fieldRef: {fieldPath: metadata.uid}}}]
        args: [--path.cgroupfs=/host/sys/fs/cgroup]";

/// Tells of processes that may not be read; what they use is the system's.
fn has_hidden_processes(snapshot: &Snapshot) -> bool {
    let mut sources = snapshot.sources.iter().filter(|state| &*state.source == PROCESS);
    let is_refused =
        |errors: &[(Fault, u64)]| errors.iter().any(|(fault, _)| *fault == Fault::PermissionDenied);
    let is_hidden = sources.any(|state| is_refused(&state.errors));
    if is_hidden {
        println!("  some processes cannot be read: what they use is the system's");
        println!(
            "    → mount /proc with hidepid=0 (mount -o remount,hidepid=0 /proc), or with gid= a group of this user"
        );
    }
    is_hidden
}

/// Prints where counters are kept, and whether they can be. Nothing is made for the sake of the answer.
fn has_store(settings: &Settings) -> bool {
    let Some(folder) = &settings.store else {
        println!("  none, as wished: counters start at 0 with each process");
        return true;
    };
    match writable(folder) {
        Ok(found) => println!("  ok   {found}"),
        Err(reason) => {
            println!("  --   {reason}");
            println!(
                "    → name a folder that can be: --store.path DIR; under systemd StateDirectory=jouleprint"
            );
            return false;
        }
    }
    let runtime = settings.runtime.as_deref().map_or(Err("no runtime directory".to_owned()), writable);
    if let Err(reason) = runtime {
        println!("  --   {reason}: after a crash counters start at 0");
        println!(
            "    → name one in memory: --path.runtime DIR; under systemd RuntimeDirectory=jouleprint and \
             RuntimeDirectoryPreserve=yes"
        );
        return false;
    }
    true
}

/// Whether a folder can be written, or made; in words.
fn writable(folder: &Path) -> Result<String, String> {
    let existing = folder.ancestors().find(|path| path.exists()).unwrap_or(folder);
    let shown = folder.display();
    match access(existing, Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) if existing == folder => Ok(shown.to_string()),
        Ok(()) => Ok(format!("{shown} (will be made)")),
        Err(error) => {
            let existing = existing.display();
            Err(format!("{shown}: {existing} cannot be written: {}", std::io::Error::from(error)))
        }
    }
}

/// Prints one source; returns whether there is something to mend.
fn report(state: &SourceState, snapshot: &Snapshot) -> bool {
    let part = if state.hw_id.is_empty() { "" } else { &*state.hw_id };
    let Some(fault) = state.fault else {
        println!("  ok   {} {part}: {}", state.source, state.detail);
        return false;
    };
    println!("  --   {} {part}: {fault} ({})", state.source, state.detail);
    match remedy(state, fault, snapshot) {
        Some(remedy) => {
            println!("    → {remedy}");
            true
        }
        None => false,
    }
}

fn remedy(state: &SourceState, fault: Fault, snapshot: &Snapshot) -> Option<String> {
    let is_virtual_like = snapshot
        .machine
        .domains
        .iter()
        .any(|domain| domain.origin == Origin::Estimated && *domain.source == *estimate::SOURCE);
    match (&*state.source, fault) {
        (rapl::SOURCE, Fault::PermissionDenied) => Some(
            "run as root, or give the program CAP_DAC_READ_SEARCH (setcap cap_dac_read_search+ep jouleprint)".to_owned(),
        ),
        (rapl::SOURCE, Fault::Masked) => Some(
            "mount the host's /sys into the container elsewhere, read-only, and name it: --path.sysfs /host/sys".to_owned(),
        ),
        // The last resort is in place already, and a virtual machine cannot be mended from inside.
        (rapl::SOURCE, Fault::Missing | Fault::NotAdvancing) if is_virtual_like => None,
        (rapl::SOURCE, Fault::Missing) => {
            Some("load the kernel module: modprobe intel_rapl_msr (also for AMD)".to_owned())
        }
        (CGROUP, Fault::PrivateNamespace) => Some(SIDECAR.to_owned()),
        (CGROUP, Fault::Missing) if state.detail.starts_with("sidecar") => Some(
            "this pod's group is not there: give its UID (env: [{name: POD_UID, valueFrom: {fieldRef: {fieldPath: \
             metadata.uid}}}]), or say jobs.sidecar: off to see all jobs"
                .to_owned(),
        ),
        (CGROUP, Fault::Missing) => Some("name the mount of the control groups with --path.cgroupfs".to_owned()),
        (CGROUP, Fault::PermissionDenied) => Some("the control groups must be readable by this user".to_owned()),
        (CGROUP, Fault::Limit) => Some("raise the limit of open files (ulimit -n, LimitNOFILE=)".to_owned()),
        (ipmi::SOURCE, _) => ipmi_remedy(&state.detail, fault).map(str::to_owned),
        (redfish::SOURCE, _) => redfish_remedy(fault).map(str::to_owned),
        (source, _) if gpus::is_source(source) => gpus::remedy(state, fault).map(str::to_owned),
        (source, _) if NAME_SOURCES.iter().any(|name| name.as_str() == source) => {
            names_remedy(source, fault).map(str::to_owned)
        }
        (_, Fault::Io | Fault::Malformed | Fault::OutOfRange | Fault::Implausible) => {
            Some("see the kernel log (dmesg); the device or its driver is at fault".to_owned())
        }
        _ => None,
    }
}

/// Who is asked for names of jobs.
const NAME_SOURCES: [SourceName; 7] = [
    SourceName::Kubelet,
    SourceName::PodLogs,
    SourceName::PodResources,
    SourceName::Scontrol,
    SourceName::Environment,
    SourceName::Containers,
    SourceName::Users,
];

/// Names are a comfort: without them every counter is there, by its id.
fn names_remedy(source: &str, fault: Fault) -> Option<&'static str> {
    let is = |name: SourceName| source == name.as_str();
    Some(match fault {
        Fault::Missing if is(SourceName::PodLogs) => {
            "pods have no names: mount the host's /var/log/pods, read-only, and name it in \
             jobs.kubernetes.logs, or let the kubelet be asked (docs/jobs.md)"
        }
        Fault::PermissionDenied if is(SourceName::PodLogs) => {
            "run as root, or give the program CAP_DAC_READ_SEARCH: the directory must be readable"
        }
        Fault::PermissionDenied if is(SourceName::Kubelet) => {
            "let the service account read the node's pods: a ClusterRole with rules: [{apiGroups: [\"\"], \
             resources: [nodes/pods], verbs: [get]}], bound to it; the kubelet needs KubeletFineGrainedAuthz \
             (Kubernetes 1.33 has it on)"
        }
        Fault::Missing if is(SourceName::Kubelet) => {
            "give the pod its service account's token (automountServiceAccountToken: true), or name it in \
             jobs.kubernetes.token"
        }
        Fault::Untrusted if is(SourceName::Kubelet) => {
            "let the kubelet have a certificate of the cluster's authority (serverTLSBootstrap: true), or name its \
             own in jobs.kubernetes.ca (/var/lib/kubelet/pki/kubelet.crt), and the node as in the certificate"
        }
        Fault::Unreachable | Fault::Timeout if is(SourceName::Kubelet) => {
            "see jobs.kubernetes.kubelet: https://NODE:10250 as the pod can reach it"
        }
        Fault::Missing if is(SourceName::Scontrol) => "name the program in jobs.slurm.scontrol, or say off",
        Fault::Unreachable | Fault::Timeout | Fault::Io if is(SourceName::Scontrol) => {
            "scontrol show jobs must answer for this user; SLURM_CONF names its configuration"
        }
        Fault::PermissionDenied if is(SourceName::Environment) => {
            "run as root, or with CAP_SYS_PTRACE, to read the environment of jobs; or say jobs.slurm.environment: off"
        }
        Fault::PermissionDenied if is(SourceName::Containers) => {
            "run as root, or give the program CAP_DAC_READ_SEARCH: runtimes keep their state from others"
        }
        Fault::Missing if is(SourceName::Containers) => {
            "containers have no names: mount the state of their runtime, read-only, and name it in jobs.containers"
        }
        Fault::Timeout if is(SourceName::Users) => {
            "the machine's name service hangs: getent passwd UID; or say jobs.users.service: off"
        }
        _ => return None,
    })
}

/// A finding of the machine's own BMC begins with its device; one over the network is `DCMI at …`.
fn ipmi_remedy(detail: &str, fault: Fault) -> Option<&'static str> {
    let is_device = detail.starts_with('/');
    Some(match fault {
        Fault::Missing if !is_device && detail.starts_with("no ") => {
            "load the kernel's drivers: modprobe ipmi_devintf && modprobe ipmi_si (or ipmi_ssif)"
        }
        // The BMC is there and has no such command.
        Fault::Missing if is_device => "read this BMC by Redfish (docs/bmc.md), or set `ipmi: off`",
        Fault::Missing => "see ipmi.lan: is the password file there, and does the BMC do DCMI?",
        Fault::PermissionDenied if is_device => {
            "run as root, or give the program CAP_DAC_READ_SEARCH, or its group the device: \
             chgrp jouleprint /dev/ipmi0 && chmod g+r /dev/ipmi0"
        }
        Fault::PermissionDenied => "see ipmi.lan: user, password_file, and perhaps `privilege: operator`",
        Fault::Inactive => "switch on power measuring: ipmitool dcmi power activate",
        Fault::Stale | Fault::Timeout | Fault::Io => {
            "the BMC hangs or is busy: ipmitool mc info; ipmitool mc reset cold mends most of them"
        }
        Fault::Unreachable => "see ipmi.lan.address; is IPMI over LAN switched on in the BMC (UDP port 623)?",
        Fault::Untrusted => "switch on cipher suite 17 or 3 in the BMC",
        Fault::OutOfRange | Fault::Malformed => "its sensor fails: ipmitool dcmi power reading",
        Fault::Limit => "the BMC has no room: end other sessions, or wait",
        Fault::Masked | Fault::NotAdvancing | Fault::Implausible | Fault::PrivateNamespace => return None,
        Fault::Unsupported | Fault::Mismatch | Fault::Lost => return None,
    })
}

fn redfish_remedy(fault: Fault) -> Option<&'static str> {
    Some(match fault {
        Fault::PermissionDenied => "see redfish.user and redfish.password_file; the role ReadOnly is enough",
        Fault::Missing => "see redfish.chassis and redfish.password_file: the log says what is there",
        Fault::Limit => {
            "name the node's chassis in redfish.chassis, if the log says several; else the BMC is busy"
        }
        Fault::Untrusted => {
            "name the certificate's authority in redfish.ca_file, and the BMC as in its certificate"
        }
        Fault::Unreachable | Fault::Timeout => {
            "see redfish.url; does the BMC answer: curl https://BMC/redfish/v1/"
        }
        Fault::Stale | Fault::Io | Fault::Malformed | Fault::OutOfRange => {
            "the BMC or its sensor hangs; starting the BMC anew mends most of them"
        }
        Fault::Inactive | Fault::Masked | Fault::NotAdvancing | Fault::Implausible => return None,
        Fault::PrivateNamespace | Fault::Unsupported | Fault::Mismatch | Fault::Lost => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bmc_that_is_not_read_has_a_command_that_mends_it() {
        for (detail, fault, part) in [
            ("no /dev/ipmi0, though the firmware tells of a BMC", Fault::Missing, "modprobe ipmi_devintf"),
            ("/dev/ipmi0: Permission denied (os error 13)", Fault::PermissionDenied, "CAP_DAC_READ_SEARCH"),
            ("/dev/ipmi0: the BMC refuses: completion code 0xc1", Fault::Missing, "Redfish"),
            ("/dev/ipmi0, DCMI 1.5: measuring is switched off", Fault::Inactive, "dcmi power activate"),
            ("DCMI at bmc17:623", Fault::PermissionDenied, "password_file"),
            ("DCMI at bmc17:623", Fault::Unreachable, "ipmi.lan.address"),
        ] {
            assert!(ipmi_remedy(detail, fault).expect("a remedy").contains(part), "{detail}");
        }
        assert!(redfish_remedy(Fault::Untrusted).expect("a remedy").contains("ca_file"));
        assert!(redfish_remedy(Fault::Limit).expect("a remedy").contains("redfish.chassis"));
    }

    #[test]
    fn a_source_of_names_has_the_line_that_mends_it() {
        for (source, fault, part) in [
            (SourceName::Kubelet, Fault::PermissionDenied, "resources: [nodes/pods], verbs: [get]"),
            (SourceName::Kubelet, Fault::Untrusted, "jobs.kubernetes.ca"),
            (SourceName::PodLogs, Fault::Missing, "/var/log/pods"),
            (SourceName::Environment, Fault::PermissionDenied, "CAP_SYS_PTRACE"),
        ] {
            assert!(names_remedy(source.as_str(), fault).expect("a remedy").contains(part), "{source:?}");
        }
    }

    #[test]
    fn a_folder_is_there_or_can_be_made_or_the_reason_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let (there, file) = (folder.path().to_owned(), folder.path().join("file"));
        std::fs::write(&file, "").expect("written");
        assert_eq!(writable(&there), Ok(there.display().to_string()));
        assert!(writable(&there.join("a/b")).expect("can be made").ends_with("(will be made)"));
        let reason = writable(&file.join("run")).expect_err("a file has no folders");
        assert!(reason.contains(&format!("{} cannot be written", file.display())), "{reason}");
    }
}
