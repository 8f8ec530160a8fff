//! Edge in: joules and watts. Discovery looks the machine over once, chooses which meters are counted,
//! and fills in by estimate what cannot be measured, never inside something that is.

pub mod estimate;
pub mod hardware;
pub mod rapl;
pub mod recorded;

use crate::kernel_file::Buffer;
use crate::model::identity::{HwType, Origin};
use crate::model::reading::{Domain, Fault, Finding, Load, Place, Value};
use estimate::Estimate;
use hardware::Hardware;
use std::path::Path;

/// Something that gives one value for each of its domains whenever it is asked.
pub trait PowerSource: Send {
    /// What it measures; fixed at discovery.
    fn domains(&self) -> &[Domain];

    /// Reads all of them, in that order, onto the end of `values`.
    fn read(&mut self, load: Load, buffer: &mut Buffer, values: &mut Vec<Result<Value, Fault>>);
}

/// All sources of this machine, and what was found on the way.
pub struct Sources {
    readers: Vec<Box<dyn PowerSource>>,
    /// What was found, and what was not and why.
    pub findings: Vec<Finding>,
}

impl Sources {
    /// Sources that are known already; for tests and simulations.
    #[must_use]
    pub fn of(readers: Vec<Box<dyn PowerSource>>, findings: Vec<Finding>) -> Sources {
        Sources { readers, findings }
    }

    /// Looks the machine over. `socket_of_package` gives the socket of the kernel's package number.
    #[must_use]
    pub fn discover(
        sysfs: &Path,
        hardware: &Hardware,
        wishes: &estimate::Wishes,
        socket_of_package: impl Fn(u32) -> Option<u32>,
    ) -> Sources {
        let mut sources = Sources { readers: Vec::new(), findings: Vec::new() };
        let (rapl, findings) = rapl::discover(sysfs, &hardware.vendor, socket_of_package);
        sources.findings.extend(findings);
        let measured: Vec<&Domain> = rapl.iter().flat_map(|rapl| rapl.domains()).collect();
        let covers = |hw_type| {
            let is_measured = |domain: &&&Domain| {
                domain.place == Place::Counted
                    && domain.origin == Origin::Measured
                    // A platform meter covers processors and memory both.
                    && (domain.hw_type == hw_type || domain.hw_type == HwType::Other)
            };
            measured.iter().find(is_measured).is_some()
        };
        let (needs_cpu, needs_memory) = (!covers(HwType::Cpu), !covers(HwType::Memory));
        let (estimates, findings) = Estimate::fill(hardware, wishes, needs_cpu, needs_memory);
        sources.findings.extend(findings);
        if let Some(rapl) = rapl {
            sources.readers.push(Box::new(rapl));
        }
        if let Some(estimates) = estimates {
            sources.readers.push(Box::new(estimates));
        }
        sources
    }

    /// Every domain, in the order of [`Sources::read`].
    #[must_use]
    pub fn domains(&self) -> Vec<Domain> {
        self.readers.iter().flat_map(|reader| reader.domains().iter().cloned()).collect()
    }

    /// One outcome for each domain.
    pub fn read(&mut self, load: Load, buffer: &mut Buffer) -> Vec<Result<Value, Fault>> {
        let mut values = Vec::new();
        for reader in &mut self.readers {
            reader.read(load, buffer, &mut values);
        }
        values
    }
}
