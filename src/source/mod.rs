//! Edge in: joules and watts. Discovery looks the machine over once, chooses which meters are counted,
//! and fills in by estimate what cannot be measured, never inside something that is.

pub mod amdgpu;
pub mod background;
pub mod battery;
pub mod cut;
pub mod drm;
pub mod estimate;
pub mod hardware;
pub mod hwmon;
pub mod intel_gpu;
pub mod ipmi;
pub mod node;
pub mod nvml;
pub mod perf;
pub mod pm_counters;
pub mod rapl;
pub mod recorded;
pub mod redfish;

use crate::kernel_file::Buffer;
use crate::model::gpu::Sight;
use crate::model::identity::{HwType, Name, Origin};
use crate::model::quantity::Nanos;
use crate::model::reading::{Domain, Fault, Finding, Load, Place, Value};
use background::{Background, Foreground, SlowSource};
use cut::Scope;
use estimate::Estimate;
use estimate::gpu::GpuEstimate;
use hardware::Hardware;
use std::collections::BTreeSet;
use std::path::Path;

/// Something that gives one value for each of its domains whenever it is asked.
pub trait PowerSource: Send {
    /// What it measures. Devices that appear later come at the end; none ever leaves.
    fn domains(&self) -> &[Domain];

    /// What the domain with this number stands around.
    fn scope(&self, _: usize) -> Scope {
        Scope::Own
    }

    /// Reads all of them, in that order, onto the end of `values`.
    fn read(&mut self, load: Load, buffer: &mut Buffer, values: &mut Vec<Result<Value, Fault>>);

    /// The accelerators it has seen, as they were when it last saw them.
    fn gpus(&self) -> &[Sight] {
        &[]
    }

    /// How the source as a whole fares, where that changes while it is in use.
    fn condition(&self) -> Option<Finding> {
        None
    }
}

/// What the user knows or wants of the hardware.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wishes {
    /// For estimates.
    pub estimate: estimate::Wishes,
    /// Sensors that the table does not know.
    pub hwmon: Vec<hwmon::table::Row>,
    /// A laptop's batteries are a meter while it runs on them.
    pub batteries: bool,
    /// The BMC by IPMI.
    pub ipmi: ipmi::Wish,
    /// The BMC by Redfish.
    pub redfish: Option<redfish::Wish>,
    /// NVIDIA's GPUs.
    pub nvml: nvml::Wish,
    /// Nothing is read by threads of its own.
    pub has_no_threads: bool,
    /// How long RAPL's counters are looked at before they are believed.
    pub probe: rapl::Probe,
}

/// All sources of this machine, and what was found on the way.
pub struct Sources {
    readers: Vec<Box<dyn PowerSource>>,
    domains: Vec<Domain>,
    // Of each reader the places of its domains among all.
    places: Vec<Vec<usize>>,
    /// What was found, and what was not and why.
    pub findings: Vec<Finding>,
}

impl Sources {
    /// Sources that are known already; for tests and simulations.
    #[must_use]
    pub fn of(readers: Vec<Box<dyn PowerSource>>, findings: Vec<Finding>) -> Sources {
        let domains = readers.iter().flat_map(|reader| reader.domains().iter().cloned()).collect();
        Sources { places: places(&readers), readers, domains, findings }
    }

    /// Looks the machine over. `socket_of_package` gives the socket of the kernel's package number.
    #[must_use]
    pub fn discover(
        sysfs: &Path,
        hardware: &Hardware,
        wishes: &Wishes,
        socket_of_package: impl Fn(u32) -> Option<u32>,
    ) -> Sources {
        // In order of preference: of two that measure the same the first is counted.
        let mut found = Found::default();
        let (rapl, findings) = rapl::discover(sysfs, &hardware.vendor, wishes.probe, &socket_of_package);
        // The same counters by another door.
        let has_rapl = rapl.is_some();
        found.take((rapl, findings));
        if !has_rapl {
            found.take(perf::discover(sysfs, &socket_of_package));
        }
        // Better than the node's own counters of its accelerators: by UUID, and finer.
        found.take(nvml::discover(sysfs, &wishes.nvml, &socket_of_package));
        found.take(pm_counters::discover(sysfs));
        let (chips, findings) = hwmon::discover(sysfs, &hwmon::table::Table::new(&wishes.hwmon));
        found.findings.extend(findings);
        for chip in chips {
            found.take_slow(Some(chip), hwmon::SOURCE, hwmon::PERIOD, wishes);
        }
        let (cards, findings) = amdgpu::discover(sysfs, wishes.probe, &socket_of_package);
        found.findings.extend(findings);
        for card in cards {
            found.take_slow(Some(card), amdgpu::SOURCE, amdgpu::PERIOD, wishes);
        }
        let (cards, findings) = intel_gpu::discover(sysfs);
        found.findings.extend(findings);
        for card in cards {
            found.take_slow(Some(card), intel_gpu::SOURCE, intel_gpu::PERIOD, wishes);
        }
        // Of two views of one BMC the one that was asked for.
        let (redfish, findings) = redfish::discover(wishes.redfish.as_ref());
        found.findings.extend(findings);
        let period = wishes.redfish.as_ref().map_or(ipmi::PERIOD, |wish| wish.period);
        found.take_slow(redfish, redfish::SOURCE, period, wishes);
        let (ipmi, findings) = ipmi::discover(sysfs, &wishes.ipmi);
        found.findings.extend(findings);
        found.take_slow(ipmi, ipmi::SOURCE, ipmi::PERIOD, wishes);
        if wishes.batteries {
            let (batteries, findings) = battery::discover(sysfs);
            found.findings.extend(findings);
            found.take_slow(batteries, battery::SOURCE, battery::PERIOD, wishes);
        }
        let mut domains = found.domains();
        cut::choose(&mut domains);
        let mut domains: Vec<Domain> = domains.into_iter().map(|(domain, _)| domain).collect();
        for domain in domains.iter_mut().filter(|domain| *domain.source == *hwmon::SOURCE) {
            domain.socket = domain.socket.and_then(&socket_of_package);
        }
        let needs = |hw_type| !cut::covers(&domains, hw_type);
        let estimates = Estimate::fill(hardware, &wishes.estimate, needs(HwType::Cpu), needs(HwType::Memory));
        if let Some(estimates) = &estimates.0 {
            domains.extend(estimates.domains().iter().cloned());
        }
        found.take(estimates);
        if wishes.estimate.gpu.is_on && !estimate::gpu::is_inside(&domains) {
            for sight in found.unread_gpus(hardware, &domains) {
                let (estimate, finding) = GpuEstimate::of(sysfs, &sight, wishes.estimate.gpu);
                found.findings.push(finding);
                domains.extend(estimate.iter().flat_map(|estimate| estimate.domains().iter().cloned()));
                found.take_estimate(estimate, wishes);
            }
        }
        Sources { places: places(&found.readers), readers: found.readers, domains, findings: found.findings }
    }

    /// Every accelerator that was seen, each once: who measures one knows it better than who estimates it.
    pub fn gpus(&self) -> impl Iterator<Item = &Sight> {
        let mut seen = BTreeSet::new();
        let all = self.readers.iter().flat_map(|reader| reader.gpus());
        all.filter(move |sight| seen.insert(if sight.pci.is_empty() { &sight.gpu } else { &sight.pci }))
    }

    /// How sources fare as a whole that may come and go.
    pub fn conditions(&self) -> impl Iterator<Item = Finding> {
        self.readers.iter().filter_map(|reader| reader.condition())
    }

    /// Every domain, in the order of [`Sources::read`].
    #[must_use]
    pub fn domains(&self) -> Vec<Domain> {
        self.domains.clone()
    }

    /// One outcome for each domain, those among them that have come since the last time.
    pub fn read(&mut self, load: Load, buffer: &mut Buffer) -> Vec<Result<Value, Fault>> {
        let mut all = vec![Err(Fault::Missing); self.domains.len()];
        let mut values = Vec::new();
        for (reader, places) in self.readers.iter_mut().zip(&mut self.places) {
            reader.read(load, buffer, &mut values);
            for index in places.len()..reader.domains().len() {
                let new = (reader.domains()[index].clone(), reader.scope(index));
                places.push(self.domains.len());
                cut::join(&mut self.domains, new);
                all.push(Err(Fault::Missing));
            }
            places.iter().zip(values.drain(..)).for_each(|(place, value)| all[*place] = value);
        }
        self.silence_estimates(&mut all);
        all
    }

    /// A device that is measured after all, for its library came late, is estimated no longer.
    fn silence_estimates(&self, values: &mut [Result<Value, Fault>]) {
        let with_gpu = |origin: Origin| {
            let domains = self.domains.iter().enumerate();
            domains.filter(move |(_, domain)| domain.origin == origin && !domain.gpu.is_empty())
        };
        // Without its library a device may have no better name than its place.
        let sights: Vec<&Sight> = self.readers.iter().flat_map(|reader| reader.gpus()).collect();
        let pci = |gpu: &Name| sights.iter().find(|sight| sight.gpu == *gpu).map(|sight| &sight.pci);
        let is_same = |one: &Domain, other: &Domain| {
            one.gpu == other.gpu
                || pci(&one.gpu).is_some_and(|at| !at.is_empty() && pci(&other.gpu) == Some(at))
        };
        for (index, estimated) in with_gpu(Origin::Estimated) {
            let mut measured = with_gpu(Origin::Measured).filter(|(_, domain)| domain.place != Place::Beside);
            if measured.any(|(_, domain)| is_same(domain, estimated)) {
                values[index] = Err(Fault::Inactive);
            }
        }
    }
}

/// Readers stand one after the other at first.
fn places(readers: &[Box<dyn PowerSource>]) -> Vec<Vec<usize>> {
    let mut next = 0..;
    readers.iter().map(|reader| next.by_ref().take(reader.domains().len()).collect()).collect()
}

/// What discovery has found so far.
#[derive(Default)]
struct Found {
    readers: Vec<Box<dyn PowerSource>>,
    findings: Vec<Finding>,
}

impl Found {
    fn take<S: PowerSource + 'static>(&mut self, (source, findings): (Option<S>, Vec<Finding>)) {
        self.findings.extend(findings);
        if let Some(source) = source {
            self.readers.push(Box::new(source));
        }
    }

    fn take_slow<S: SlowSource + 'static>(
        &mut self,
        source: Option<S>,
        name: &'static str,
        period: Nanos,
        wishes: &Wishes,
    ) {
        let Some(source) = source else { return };
        // What has nothing to read needs no thread for it.
        let is_at_once = wishes.has_no_threads || source.domains().is_empty();
        self.readers.push(match is_at_once {
            true => Box::new(Foreground(Box::new(source))),
            false => Box::new(Background::new(name, period, Box::new(source))),
        });
    }

    fn take_estimate(&mut self, estimate: Option<GpuEstimate>, wishes: &Wishes) {
        let Some(estimate) = estimate else { return };
        if estimate.may_block() {
            self.take_slow(Some(estimate), estimate::SOURCE, estimate::gpu::PERIOD, wishes);
        } else {
            self.readers.push(Box::new(Foreground(Box::new(estimate))));
        }
    }

    /// Accelerators that are there and that nothing reads: those that a source has seen and failed at, and
    /// NVIDIA's that its library does not show. One inside a processor is read with that, and one that sleeps
    /// draws nothing to speak of.
    fn unread_gpus(&self, hardware: &Hardware, domains: &[Domain]) -> Vec<Sight> {
        let seen: Vec<&Sight> = self.readers.iter().flat_map(|reader| reader.gpus()).collect();
        let is_failed = |sight: &&&Sight| {
            let finding = self.findings.iter().find(|finding| finding.hw_id == sight.gpu);
            finding
                .and_then(|finding| finding.fault)
                .is_some_and(|fault| !matches!(fault, Fault::Unsupported | Fault::Inactive))
        };
        let listed =
            (0..).zip(&hardware.nvidia).map(|(index, device)| device.sight(index, &hardware.nvidia_driver));
        let unseen = listed.filter(|sight| seen.iter().all(|known| known.pci != sight.pci));
        let failed = seen.iter().filter(is_failed).map(|sight| (*sight).clone());
        let is_unread = |sight: &Sight| domains.iter().all(|domain| domain.gpu != sight.gpu);
        failed.chain(unseen).filter(is_unread).collect()
    }

    fn domains(&self) -> Vec<(Domain, Scope)> {
        let of = |reader: &dyn PowerSource| -> Vec<(Domain, Scope)> {
            let scopes = (0..reader.domains().len()).map(|index| reader.scope(index));
            reader.domains().iter().cloned().zip(scopes).collect()
        };
        self.readers.iter().flat_map(|reader| of(&**reader)).collect()
    }
}
