//! What `jouleprint doctor` says of accelerators: what each is, how its energy is come by, who can be
//! charged with it, and what mends what is missing.

use crate::job::names::SourceName;
use crate::model::gpu::Sight;
use crate::model::identity::Origin;
use crate::model::reading::{Domain, Fault, Measurement, Place};
use crate::model::snapshot::SourceState;
use crate::source::{amdgpu, intel_gpu, nvml};

/// What is worked out from the model.
const ESTIMATE: &str = crate::source::estimate::SOURCE;

/// The lines for one device, the first with its name.
pub(super) fn lines(sight: &Sight, domains: &[Domain], states: &[SourceState]) -> Vec<String> {
    let driver = match &*sight.driver {
        "" => String::new(),
        version => format!(", driver {version}"),
    };
    let index = sight.index.map_or(String::new(), |index| format!("{index}: "));
    vec![
        format!(
            "  {index}{} {} ({}{driver}) at {}",
            sight.model,
            sight.gpu,
            sight.vendor.as_str(),
            sight.pci
        ),
        format!("     energy   {}", energy(sight, domains, states)),
        format!("     jobs     {}", jobs(sight, states)),
    ]
}

fn energy(sight: &Sight, domains: &[Domain], states: &[SourceState]) -> String {
    let own = domains.iter().find(|domain| domain.gpu == sight.gpu && is_counted(domain));
    let own = own.or_else(|| domains.iter().find(|domain| domain.gpu == sight.gpu));
    let state =
        |source: &str| states.iter().find(|state| &*state.source == source && state.hw_id == sight.gpu);
    match own {
        Some(domain) => {
            let how = match (domain.origin, domain.measurement) {
                (Origin::Estimated, _) => "estimated",
                (Origin::Measured, Measurement::Counter { .. }) => "measured by its counter",
                (Origin::Measured, Measurement::MeanPower { .. }) => "measured by its power",
            };
            let place = match &domain.place {
                Place::Counted | Place::Around(_) => String::new(),
                Place::Inside(around) => format!(", inside {around}"),
                Place::Beside => ", shown and not counted".to_owned(),
            };
            match state(&domain.source).and_then(|state| state.fault) {
                Some(fault) => format!("{how} ({}{place}), but now: {fault}", domain.source),
                None => format!("{how} ({}{place})", domain.source),
            }
        }
        None if domains.iter().any(|domain| domain.id == sight.gpu) => {
            "that of the whole processor, which it is inside of".to_owned()
        }
        None => {
            let reason = states.iter().find(|state| state.hw_id == sight.gpu && &*state.source != ESTIMATE);
            let reason = reason.or_else(|| state(ESTIMATE));
            match reason.and_then(|state| state.fault.map(|fault| (fault, &state.detail))) {
                Some((Fault::Unsupported, detail)) => format!("none of its own: {detail}"),
                Some((fault, detail)) => format!("none: {fault} ({detail})"),
                None => "none".to_owned(),
            }
        }
    }
}

fn is_counted(domain: &Domain) -> bool {
    matches!(domain.place, Place::Counted | Place::Around(_))
}

/// Every way there is to tell whose the device's energy is.
fn jobs(sight: &Sight, states: &[SourceState]) -> String {
    let asked = [
        (SourceName::PodResources, "pods by the kubelet's list"),
        (SourceName::Environment, "Slurm's jobs by their environment"),
    ];
    let mut ways: Vec<String> = asked
        .iter()
        .filter(|(name, _)| {
            states.iter().any(|state| &*state.source == name.as_str() && state.fault.is_none())
        })
        .map(|(_, way)| (*way).to_owned())
        .collect();
    match &sight.processes {
        Ok(processes) => ways.push(format!("processes by the driver, {} now", processes.len())),
        Err(Fault::PrivateNamespace) => ways.push(
            "not processes by the driver: they are of another PID namespace (hostPID: true shows them)"
                .to_owned(),
        ),
        Err(_) => {}
    }
    if ways.is_empty() {
        return "by the device files they hold, and the devices that their environment names".to_owned();
    }
    ways.join("; ")
}

/// What mends a source of accelerators.
pub(super) fn remedy(state: &SourceState, fault: Fault) -> Option<&'static str> {
    match &*state.source {
        nvml::SOURCE => nvidia(state, fault),
        amdgpu::SOURCE => amd(fault),
        intel_gpu::SOURCE => intel(fault),
        _ => None,
    }
}

/// Whether this source is one of accelerators.
pub(super) fn is_source(source: &str) -> bool {
    [nvml::SOURCE, amdgpu::SOURCE, intel_gpu::SOURCE].contains(&source)
}

/// Which pod holds which device is known from the kubelet alone.
pub(super) fn pod_resources_remedy(states: &[SourceState]) -> Option<&'static str> {
    let is_missing = |state: &SourceState| {
        &*state.source == SourceName::PodResources.as_str()
            && matches!(state.fault, Some(Fault::Missing | Fault::Unreachable | Fault::PermissionDenied))
    };
    states.iter().any(is_missing).then_some(
        "mount the host's /var/lib/kubelet/pod-resources, read-only, to know which pod holds which device, and \
         name it in jobs.kubernetes.pod_resources if it is elsewhere",
    )
}

fn nvidia(state: &SourceState, fault: Fault) -> Option<&'static str> {
    let is_whole = state.hw_id.is_empty();
    Some(match fault {
        // The library is there, and says so.
        Fault::Missing if is_whole && state.detail.contains("driver is not loaded") => {
            "load the driver: modprobe nvidia; nvidia-smi must answer on the host"
        }
        Fault::Missing if is_whole => {
            "the library libnvidia-ml.so.1 is not there: in a container set the environment variable \
             NVIDIA_DRIVER_CAPABILITIES=utility, and runtimeClassName: nvidia for the pod; on a host install the driver's \
             libraries (libnvidia-ml1, nvidia-utils)"
        }
        Fault::Unsupported if is_whole => {
            "the library cannot be used: name the driver's own in gpus.library, of this machine's kind and version"
        }
        Fault::Mismatch => {
            "the driver was upgraded under a running kernel: reboot, or unload and load its modules \
             (rmmod nvidia_uvm nvidia_drm nvidia_modeset nvidia && modprobe nvidia)"
        }
        Fault::Lost => {
            "it has fallen off the bus (Xid 79 in dmesg): nvidia-smi --gpu-reset -i N, or reboot; power and seating are \
             what fails most"
        }
        Fault::PermissionDenied => {
            "/dev/nvidiactl and /dev/nvidiaN must be open to this user and to its device control group: run as \
             root, or in a container with NVIDIA_VISIBLE_DEVICES=all"
        }
        Fault::Timeout => {
            "the driver hangs: see dmesg for Xid; the device is read again as soon as it answers"
        }
        Fault::Missing | Fault::Io | Fault::Malformed | Fault::OutOfRange | Fault::Implausible => {
            "see the kernel log (dmesg) for Xid; nvidia-smi -q says what the driver knows"
        }
        Fault::Inactive | Fault::Unsupported | Fault::Unreachable | Fault::Masked | Fault::NotAdvancing => {
            return None;
        }
        Fault::PrivateNamespace | Fault::Limit | Fault::Untrusted | Fault::Stale => return None,
    })
}

fn amd(fault: Fault) -> Option<&'static str> {
    Some(match fault {
        Fault::PermissionDenied => {
            "hwmon and gpu_metrics of the card must be readable: run as root, or give the program CAP_DAC_READ_SEARCH"
        }
        Fault::Missing => {
            "amdgpu shows neither hwmon nor gpu_metrics: in a container mount the host's /sys, read-only, and name it \
             (--path.sysfs /host/sys); in a virtual machine ask the host"
        }
        Fault::Malformed => "gpu_metrics is of a kind that this version does not know: a newer one may",
        Fault::OutOfRange => {
            "the card shows 0 W: see dmesg for amdgpu; amd-smi metric --power must show something"
        }
        Fault::Timeout => "the driver hangs: see dmesg; amd-smi reset --gpureset -g N, or reboot",
        Fault::Implausible => "its counter runs backwards: a newer firmware may mend it",
        Fault::NotAdvancing | Fault::Stale => {
            "its counter stands still: see dmesg for amdgpu, or load it anew"
        }
        Fault::Lost | Fault::Io => "see dmesg for amdgpu; amd-smi reset --gpureset -g N, or reboot",
        Fault::Inactive | Fault::Unsupported | Fault::Masked | Fault::PrivateNamespace | Fault::Limit => {
            return None;
        }
        Fault::Unreachable | Fault::Untrusted | Fault::Mismatch => return None,
    })
}

fn intel(fault: Fault) -> Option<&'static str> {
    Some(match fault {
        Fault::Missing => {
            "energy of cards is shown by i915 from Linux 6.2 on and by xe from 6.8 on, and not to a virtual \
             machine: a newer kernel, or the host"
        }
        Fault::PermissionDenied => {
            "energy1_input of the card must be readable: run as root, or give the program CAP_DAC_READ_SEARCH"
        }
        Fault::Stale | Fault::NotAdvancing | Fault::Io | Fault::Timeout | Fault::Lost => {
            "the card does not answer its driver: see dmesg for i915 or xe"
        }
        Fault::Malformed | Fault::OutOfRange | Fault::Implausible => "see dmesg for i915 or xe",
        Fault::Inactive | Fault::Unsupported | Fault::Masked | Fault::PrivateNamespace | Fault::Limit => {
            return None;
        }
        Fault::Unreachable | Fault::Untrusted | Fault::Mismatch => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::gpu::{Partition, Process, Vendor};
    use crate::model::identity::HwType;
    use crate::model::quantity::MicroWatts;

    fn state(source: &str, hw_id: &str, fault: Option<Fault>, detail: &str) -> SourceState {
        SourceState {
            source: source.into(),
            hw_id: hw_id.into(),
            fault,
            last_success: None,
            errors: Vec::new(),
            detail: detail.into(),
        }
    }

    fn sight() -> Sight {
        Sight {
            gpu: "GPU-1".into(),
            vendor: Vendor::Amd,
            model: "AMD Instinct MI300X".into(),
            driver: "6.12.12".into(),
            pci: "0000:05:00.0".into(),
            index: Some(0),
            nodes: Vec::new(),
            partition: Partition::Whole,
            processes: Err(Fault::Unsupported),
        }
    }

    fn domain(origin: Origin, source: &str) -> Domain {
        let ceiling = MicroWatts::from_watts(1_500);
        Domain {
            id: "GPU-1".into(),
            hw_type: HwType::Gpu,
            origin,
            gpu: "GPU-1".into(),
            source: source.into(),
            place: Place::Counted,
            socket: None,
            measurement: Measurement::Counter { range: None, ceiling },
            floor: None,
            uncertainty_ppm: 0,
        }
    }

    #[test]
    fn a_device_is_told_with_its_energy_and_who_can_be_charged() {
        let measured = [domain(Origin::Measured, "amdgpu")];
        let fine = [state("amdgpu", "GPU-1", None, "/sys/…")];
        let told = lines(&sight(), &measured, &fine);
        assert_eq!(
            told,
            [
                "  0: AMD Instinct MI300X GPU-1 (amd, driver 6.12.12) at 0000:05:00.0",
                "     energy   measured by its counter (amdgpu)",
                "     jobs     by the device files they hold, and the devices that their environment names",
            ]
        );
        for (domains, states, expected) in [
            (
                &measured[..],
                vec![state("amdgpu", "GPU-1", Some(Fault::Stale), "")],
                "but now: shows an old value",
            ),
            (&[domain(Origin::Estimated, "estimate")], vec![], "energy   estimated (estimate)"),
            (
                &[],
                vec![state("amdgpu", "GPU-1", Some(Fault::Missing), "no power")],
                "none: not there (no power)",
            ),
            (
                &[],
                vec![state("intel_gpu", "GPU-1", Some(Fault::Unsupported), "inside the processor")],
                "none of its own: inside the processor",
            ),
            (&[], vec![], "energy   none"),
            (
                &[Domain { place: Place::Inside("node".into()), ..domain(Origin::Measured, "amdgpu") }],
                vec![],
                "measured by its counter (amdgpu, inside node)",
            ),
            (
                &[Domain { gpu: "".into(), hw_type: HwType::Cpu, ..domain(Origin::Measured, "amdgpu") }],
                vec![],
                "that of the whole processor",
            ),
        ] {
            let told = lines(&sight(), domains, &states);
            assert!(told[1].contains(expected), "{told:?} lacks {expected:?}");
        }
        let process = Process { pid: 1, instance: "".into(), used: None };
        let pods = [state(SourceName::PodResources.as_str(), "", None, "")];
        for (processes, states, expected) in [
            (Ok(vec![process]), &pods[..], "pods by the kubelet's list; processes by the driver, 1 now"),
            (Err(Fault::PrivateNamespace), &[], "hostPID: true"),
        ] {
            let told = lines(&Sight { processes, ..sight() }, &[], states);
            assert!(told[2].contains(expected), "{told:?} lacks {expected:?}");
        }
    }

    #[test]
    fn what_is_missing_has_the_line_that_mends_it() {
        let absent =
            state(nvml::SOURCE, "", Some(Fault::Missing), "there is an NVIDIA GPU and no libnvidia-ml.so.1");
        let unloaded = state(nvml::SOURCE, "", Some(Fault::Missing), "NVIDIA's driver is not loaded");
        let told = |state: &SourceState| remedy(state, Fault::Missing).expect("a remedy");
        assert!(told(&absent).contains("NVIDIA_DRIVER_CAPABILITIES=utility"));
        assert!(told(&absent).contains("runtimeClassName: nvidia"));
        assert!(told(&unloaded).contains("modprobe nvidia"));
        for (source, hw_id, fault, parts) in [
            (nvml::SOURCE, "", Fault::Unsupported, vec!["gpus.library"]),
            (nvml::SOURCE, "", Fault::Mismatch, vec!["reboot", "rmmod nvidia_uvm"]),
            (nvml::SOURCE, "GPU-1", Fault::Lost, vec!["Xid 79", "--gpu-reset", "reboot"]),
            (nvml::SOURCE, "", Fault::PermissionDenied, vec!["/dev/nvidiactl"]),
            ("amdgpu", "GPU-1", Fault::PermissionDenied, vec!["gpu_metrics", "CAP_DAC_READ_SEARCH"]),
            ("amdgpu", "GPU-1", Fault::Missing, vec!["--path.sysfs"]),
            ("intel_gpu", "pci-0000:4d:00.0", Fault::Missing, vec!["Linux 6.2", "xe from 6.8"]),
        ] {
            let remedy = remedy(&state(source, hw_id, Some(fault), ""), fault).expect("a remedy");
            assert!(parts.iter().all(|part| remedy.contains(part)), "{source} {fault}: {remedy}");
        }
        assert_eq!(remedy(&state("amdgpu", "GPU-1", None, ""), Fault::Unsupported), None);
        let hidden = [state(SourceName::PodResources.as_str(), "", Some(Fault::Missing), "")];
        assert!(pod_resources_remedy(&hidden).expect("a remedy").contains("/var/lib/kubelet/pod-resources"));
        assert_eq!(pod_resources_remedy(&[]), None);
    }
}
