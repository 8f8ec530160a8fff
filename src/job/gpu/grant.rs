//! What those who run jobs have given to them: the kubelet to its pods, Slurm to its jobs.

use super::device::{Device, MAX_DEVICES};
use crate::job::names::pod_resources::{ListPodResources, PodResources};
use crate::model::gpu::Vendor;
use crate::model::identity::{JobId, Name, bounded_name};
use crate::model::quantity::Nanos;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Pods of a list; a node has 110, the largest 500.
const MAX_PODS: usize = 4_096;

/// Device ids of one pod: shares of a device that is divided by time are ids of their own.
const MAX_IDS: usize = 1_024;

/// Resources of Intel's plug-in that give all devices away to be looked at, and none to be used.
const MONITORING: &str = "_monitoring";

/// A device that somebody was given, and in how many shares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// Whose make it is, where that is told.
    pub vendor: Option<Vendor>,
    /// Which.
    pub device: Device,
    /// Each replica is one.
    pub shares: u32,
}

/// A pod that holds devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodDevices {
    /// Its namespace.
    pub namespace: Name,
    /// Its name.
    pub name: Name,
    /// What it holds.
    pub devices: Vec<Given>,
    /// Whose devices it may hold beside these: some are called in a way that nobody knows, or are too many.
    pub unclear: Vec<Vendor>,
}

/// What a job's environment says of devices.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobDevices {
    /// What Slurm gave it.
    pub given: Vec<Given>,
    /// What its processes were told, or told themselves, to use.
    pub visible: Vec<Given>,
    /// That it was read from all of the job, and not of one step.
    pub is_whole: bool,
}

/// Everything that was given, as far as it is known by now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants {
    /// The kubelet's list.
    pub pods: Option<PodGrants>,
    /// By the environment of jobs.
    pub jobs: Vec<(JobId, Arc<JobDevices>)>,
}

/// What the kubelet gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodGrants {
    /// When it was asked, by the monotonic clock.
    pub at: Nanos,
    /// Each pod on the list.
    pub pods: Vec<PodGrant>,
}

/// What the kubelet gave to one pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodGrant {
    /// `namespace/name`.
    pub called: Name,
    /// The jobs that are called so; none yet if its UID is not known.
    pub ids: Vec<JobId>,
    /// What it holds.
    pub devices: Vec<Given>,
    /// Whose devices it may hold beside these.
    pub unclear: Vec<Vendor>,
}

/// The pods of a list that hold accelerators.
#[must_use]
pub fn of_pods(list: &ListPodResources) -> Vec<PodDevices> {
    let holders = list.pods.iter().take(MAX_PODS).filter_map(|pod| {
        let (devices, unclear) = of_pod(pod);
        let (namespace, name) = (bounded_name(&pod.namespace), bounded_name(&pod.name));
        let is_holder = !devices.is_empty() || !unclear.is_empty();
        is_holder.then_some(PodDevices { namespace, name, devices, unclear })
    });
    holders.collect()
}

/// What it holds, and whose devices it may hold beside.
fn of_pod(pod: &PodResources) -> (Vec<Given>, Vec<Vendor>) {
    // Kubelets name a device once for each container that has it, and some once for each NUMA node.
    let mut ids: BTreeSet<(Vendor, &str)> = BTreeSet::new();
    for container in &pod.containers {
        for devices in &container.devices {
            if let Some(vendor) = vendor_of_resource(&devices.resource_name) {
                ids.extend(devices.device_ids.iter().take(MAX_IDS + 1).map(|id| (vendor, id.as_str())));
            }
        }
        for claim in container.claims.iter().flat_map(|claim| &claim.resources) {
            if let Some(vendor) = vendor_of_driver(&claim.driver) {
                ids.insert((vendor, claim.device.as_str()));
            }
        }
    }
    let mut shares: BTreeMap<(Vendor, Device), u32> = BTreeMap::new();
    let mut unclear: BTreeSet<Vendor> = ids.iter().skip(MAX_IDS).map(|(vendor, _)| *vendor).collect();
    for (vendor, id) in ids.into_iter().take(MAX_IDS) {
        match Device::parse(id) {
            Some(device) => *shares.entry((vendor, device)).or_default() += 1,
            None => drop(unclear.insert(vendor)),
        }
    }
    unclear.extend(shares.keys().skip(MAX_DEVICES).map(|(vendor, _)| *vendor));
    let given = |((vendor, device), shares)| Given { vendor: Some(vendor), device, shares };
    (shares.into_iter().take(MAX_DEVICES).map(given).collect(), unclear.into_iter().collect())
}

/// `nvidia.com/gpu`, `nvidia.com/mig-1g.10gb`, `nvidia.com/gpu.shared` and whatever they were renamed to,
/// `amd.com/gpu`, `gpu.intel.com/i915` and `/xe`.
fn vendor_of_resource(name: &str) -> Option<Vendor> {
    let (domain, resource) = name.split_once('/')?;
    match domain {
        "nvidia.com" => Some(Vendor::Nvidia),
        "amd.com" => Some(Vendor::Amd),
        "gpu.intel.com" if !resource.ends_with(MONITORING) => Some(Vendor::Intel),
        _ => None,
    }
}

/// The drivers of dynamic resource allocation.
fn vendor_of_driver(name: &str) -> Option<Vendor> {
    match name {
        "gpu.nvidia.com" => Some(Vendor::Nvidia),
        "gpu.amd.com" => Some(Vendor::Amd),
        "gpu.intel.com" => Some(Vendor::Intel),
        _ => None,
    }
}

/// What a job of Slurm was given, by the values of its variables.
#[derive(Debug, Clone, Copy, Default)]
pub struct Variables<'a> {
    /// SLURM_JOB_GPUS: of the whole job on this node, by the numbers of the vendor's tools.
    pub job: Option<&'a str>,
    /// SLURM_STEP_ID: that it is a process of a step, and not the batch script.
    pub step_id: Option<&'a str>,
    /// SLURM_STEP_GPUS: of one step.
    pub step: Option<&'a str>,
    /// CUDA_VISIBLE_DEVICES.
    pub cuda: Option<&'a str>,
    /// ROCR_VISIBLE_DEVICES, and HIP_VISIBLE_DEVICES.
    pub amd: [Option<&'a str>; 2],
    /// ZE_AFFINITY_MASK.
    pub intel: Option<&'a str>,
}

impl JobDevices {
    /// By the variables of one process.
    #[must_use]
    pub fn read(variables: Variables<'_>) -> JobDevices {
        let list = |vendor, devices: Vec<Device>| -> Vec<Given> {
            devices.into_iter().map(|device| Given { vendor, device, shares: 1 }).collect()
        };
        let visible = |vendor, text: Option<&str>| {
            list(Some(vendor), text.map(Device::parse_visible).unwrap_or_default())
        };
        let cuda = visible(Vendor::Nvidia, variables.cuda);
        // The narrower of the two is seen through the other: it numbers what that one left.
        let amd = visible(Vendor::Amd, variables.amd.into_iter().flatten().next());
        let intel = visible(Vendor::Intel, variables.intel);
        // Steps inherit the batch script's variables on all nodes of the job, and numbers are of one node.
        let job = variables.job.filter(|_| variables.step_id.is_none());
        let numbered = job.or(variables.step).map(Device::parse_slurm).unwrap_or_default();
        // Slurm sets the variables of every vendor, unless it was told whose they are.
        let told = [(Vendor::Nvidia, !cuda.is_empty()), (Vendor::Amd, !amd.is_empty())];
        let told = told.into_iter().chain([(Vendor::Intel, !intel.is_empty())]);
        let told: Vec<Vendor> = told.filter_map(|(vendor, is_told)| is_told.then_some(vendor)).collect();
        let vendor = if let [vendor] = told[..] { Some(vendor) } else { None };
        // Instances have no number of their own there: their UUIDs are in what is visible.
        let instances: Vec<Given> =
            cuda.iter().filter(|given| given.device.is_instance()).take(numbered.len()).cloned().collect();
        let given = if instances.is_empty() { list(vendor, numbered) } else { instances };
        let is_whole = job.is_some();
        let visible = cuda.into_iter().chain(amd).chain(intel).take(MAX_DEVICES).collect();
        JobDevices { given, visible, is_whole }
    }

    /// Leaves what is called by a number out.
    pub fn without_numbers(&mut self) {
        self.visible.retain(|given| !given.device.is_numbered());
    }

    /// Adds what another process of the job says: another step's devices.
    pub fn add(&mut self, other: JobDevices) {
        if other.is_whole && !self.is_whole {
            *self = JobDevices { visible: std::mem::take(&mut self.visible), ..other.clone() };
        }
        let merge = |all: &mut Vec<Given>, more: Vec<Given>| {
            for given in more {
                if !all.contains(&given) && all.len() < MAX_DEVICES {
                    all.push(given);
                }
            }
        };
        if !self.is_whole {
            merge(&mut self.given, other.given);
        }
        merge(&mut self.visible, other.visible);
    }

    /// Whether it says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.given.is_empty() && self.visible.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::names::pod_resources::{
        ClaimResource, ContainerDevices, ContainerResources, DynamicResource,
    };

    fn pod(resources: &[(&str, &[&str])], claims: &[(&str, &str)]) -> PodResources {
        let device_ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect();
        let devices = resources.iter().map(|(name, ids)| ContainerDevices {
            resource_name: (*name).to_owned(),
            device_ids: device_ids(ids),
        });
        let resources = claims.iter().map(|(driver, device)| ClaimResource {
            driver: (*driver).to_owned(),
            pool: "node".to_owned(),
            device: (*device).to_owned(),
        });
        let claim = DynamicResource {
            name: "c".to_owned(),
            namespace: "n".to_owned(),
            resources: resources.collect(),
        };
        let container =
            ContainerResources { devices: devices.collect(), claims: vec![claim], ..Default::default() };
        PodResources {
            name: "p".to_owned(),
            namespace: "n".to_owned(),
            // The second one restarts with what the first one has.
            containers: vec![container.clone(), container],
        }
    }

    #[test]
    fn a_pod_holds_what_its_containers_were_given() {
        for (resources, claims, expected) in [
            (&[("nvidia.com/gpu", &["GPU-a", "GPU-b"][..])][..], &[][..], "nvidia GPU-a*1 nvidia GPU-b*1"),
            (&[("nvidia.com/gpu", &["GPU-a::0", "GPU-a::3"])], &[], "nvidia GPU-a*2"),
            (&[("nvidia.com/gpu.shared", &["GPU-a::3"])], &[], "nvidia GPU-a*1"),
            (&[("nvidia.com/mig-1g.10gb", &["MIG-a", "MIG-a"])], &[], "nvidia MIG-a*1"),
            (&[("nvidia.com/gpu", &["1", "0::2"])], &[], "nvidia 0*1 nvidia 1*1"),
            (&[("nvidia.com/gpu", &["nvidia0/vgpu1"])], &[], "nvidia nvidia0*1"),
            (&[("amd.com/gpu", &["0000:c1:00.0"])], &[], "amd 0000:c1:00.0*1"),
            (&[("gpu.intel.com/i915", &["card0-1", "card0-2"])], &[], "intel card0*2"),
            (&[("gpu.intel.com/xe", &["card1-0"])], &[], "intel card1*1"),
            (&[("gpu.intel.com/i915_monitoring", &["all", "card0-1"])], &[], ""),
            (&[("example.com/gpu", &["GPU-a"]), ("smarter-devices/x", &["0"])], &[], ""),
            (&[("nvidia.com/gpu", &["what is this"])], &[], ""),
            (
                &[],
                &[("gpu.nvidia.com", "gpu-0"), ("gpu.amd.com", "gpu-1-129")],
                "nvidia nvidia0*1 amd card1*1",
            ),
            (&[], &[("gpu.intel.com", "0000-03-00-0-0x56c0")], "intel 0000:03:00.0*1"),
            (&[], &[("compute-domain.nvidia.com", "channel-0"), ("dra.net", "eth0")], ""),
        ] {
            let list = ListPodResources { pods: vec![pod(resources, claims)] };
            let found = of_pods(&list);
            let devices = found.iter().flat_map(|pod| &pod.devices);
            let words = devices.map(|given| {
                let vendor = given.vendor.expect("it is known").as_str();
                format!("{vendor} {}*{}", text(&given.device), given.shares)
            });
            assert_eq!(words.collect::<Vec<_>>().join(" "), expected, "{resources:?} {claims:?}");
        }
    }

    fn text(device: &Device) -> String {
        use crate::job::gpu::device::{Physical, Piece};
        let of = match &device.of {
            Physical::Index(index) => index.to_string(),
            Physical::Minor(minor) => format!("nvidia{minor}"),
            Physical::Card(card) => format!("card{card}"),
            Physical::Uuid(uuid) => format!("GPU-{uuid}"),
            Physical::Pci(place) => place.to_string(),
            Physical::Any => String::new(),
        };
        match &device.piece {
            Piece::Whole => of,
            Piece::Uuid(uuid) => uuid.to_string(),
            piece => format!("{of}{piece:?}"),
        }
    }

    #[test]
    fn a_list_of_any_length_is_cut() {
        let ids: Vec<String> = (0..5_000).map(|number| format!("GPU-{number:x}")).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let mut pods = vec![pod(&[("nvidia.com/gpu", &["GPU-a"])], &[]); MAX_PODS];
        pods.insert(0, pod(&[("nvidia.com/gpu", &ids)], &[]));
        let found = of_pods(&ListPodResources { pods });
        assert_eq!((found.len(), found[0].devices.len()), (MAX_PODS, MAX_DEVICES));
        assert_eq!((&found[0].unclear[..], &found[1].unclear[..]), (&[Vendor::Nvidia][..], &[][..]));
        let strange = pod(&[("amd.com/gpu", &["what is this"])], &[]);
        assert_eq!(of_pods(&ListPodResources { pods: vec![strange] })[0].unclear, [Vendor::Amd]);
    }

    #[test]
    fn what_slurm_gave_is_told_by_its_own_variables_first() {
        let of = |job, step, cuda, amd: [Option<&'static str>; 2], intel| {
            JobDevices::read(Variables { job, step_id: None, step, cuda, amd, intel })
        };
        let words = |all: &[Given]| {
            let word = |given: &Given| {
                let vendor = given.vendor.map_or("any", Vendor::as_str);
                format!("{vendor} {}", text(&given.device))
            };
            all.iter().map(word).collect::<Vec<_>>().join(",")
        };
        for (found, given, visible) in [
            // Constrained: what is visible is numbered within what was given.
            (of(Some("2-3"), None, Some("0,1"), [None; 2], None), "nvidia 2,nvidia 3", "nvidia 0,nvidia 1"),
            (of(None, Some("3"), Some("0"), [None; 2], None), "nvidia 3", "nvidia 0"),
            (of(Some("1"), None, Some("1"), [Some("1"), None], Some("1")), "any 1", "nvidia 1,amd 1,intel 1"),
            (of(Some("1"), None, None, [None, Some("1")], None), "amd 1", "amd 1"),
            (of(Some("1"), None, None, [None; 2], None), "any 1", ""),
            (
                of(Some("0,1"), None, Some("MIG-a,MIG-b"), [None; 2], None),
                "nvidia MIG-a,nvidia MIG-b",
                "nvidia MIG-a,nvidia MIG-b",
            ),
            // More than it was given, by its user.
            (
                of(Some("0"), None, Some("MIG-a,MIG-b"), [None; 2], None),
                "nvidia MIG-a",
                "nvidia MIG-a,nvidia MIG-b",
            ),
            (of(None, None, Some("0"), [None; 2], None), "", "nvidia 0"),
            (of(None, None, Some("NoDevFiles"), [None; 2], None), "", ""),
        ] {
            assert_eq!((words(&found.given).as_str(), words(&found.visible).as_str()), (given, visible));
        }
        // A step on another node, with the batch script's variables.
        let of_step =
            |job, step| JobDevices::read(Variables { job, step_id: Some("0"), step, ..Variables::default() });
        let inherited = of_step(Some("2,3"), Some("1"));
        assert_eq!((words(&inherited.given).as_str(), inherited.is_whole), ("any 1", false));
        let nothing = of_step(Some("2,3"), None);
        assert!(nothing.is_empty() && !nothing.is_whole);
        let mut steps = of(None, Some("0"), None, [None; 2], None);
        steps.add(of(None, Some("1"), None, [None; 2], None));
        assert_eq!((words(&steps.given).as_str(), steps.is_whole), ("any 0,any 1", false));
        steps.add(of(Some("0-3"), Some("2"), None, [None; 2], None));
        steps.add(of(None, Some("5"), None, [None; 2], None));
        assert_eq!((words(&steps.given).as_str(), steps.is_whole), ("any 0,any 1,any 2,any 3", true));
    }
}
