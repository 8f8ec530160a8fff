//! NVIDIA's GPUs by the library of their driver, which is opened at run time where there is one. A device is
//! known by its UUID, whatever its number is today.
//!
//! Every call into the library may hang, for minutes and in the kernel. So none is made by the sampler: a
//! *foreman* opens the library and finds the devices, each device has a *worker*, and a *clerk* looks who
//! uses them. The sampler rings and takes what is there after 100 ms at the most; what a device used while
//! it did not answer, its counter tells afterwards.

mod clerk;
mod device;
mod foreman;
mod library;
mod office;
mod raw;
mod restart;
mod worker;

use super::PowerSource;
use super::cut::Scope;
use crate::kernel_file::Buffer;
use crate::model::gpu::Sight;
use crate::model::quantity::Nanos;
use crate::model::reading::{Domain, Fault, Finding, Load, Value};
use foreman::{Foreman, start};
use library::Trouble;
use office::Office;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The source's name on the page.
pub const SOURCE: &str = "nvml";

/// Packages of a host: sockets, and what else the kernel counts so.
const MAX_PACKAGES: u32 = 256;

/// Where the library is looked for, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wish {
    /// Whether it is looked for at all.
    pub is_on: bool,
    /// Its file; without one it is looked for where the linker looks.
    pub library: Option<PathBuf>,
    /// Everybody is waited for, and nothing is read between two ticks: for tests, whose clock is made up.
    pub is_in_step: bool,
    /// What the thread that opens it gives up first.
    pub confinement: Confinement,
}

/// How a thread that must write device files gives up all other rights; nothing, unless somebody says how.
#[derive(Debug, Clone, Copy)]
pub struct Confinement(pub fn());

impl Default for Confinement {
    fn default() -> Confinement {
        Confinement(|| {})
    }
}

/// It is part of how a wish is met, and not of what is wished.
impl PartialEq for Confinement {
    fn eq(&self, _: &Confinement) -> bool {
        true
    }
}

impl Eq for Confinement {}

/// The GPUs.
pub struct Nvml {
    office: Arc<Office>,
    sysfs: PathBuf,
    domains: Vec<Domain>,
    scopes: Vec<Scope>,
    // The socket of each of the kernel's packages, and of each domain; they are found out once.
    packages: Vec<Option<u32>>,
    sockets: Vec<Option<u32>>,
    sights: Vec<Sight>,
    condition: Option<Finding>,
}

/// Starts to look for the library and its devices, and waits for what is found at once. There may be none
/// now and some later.
#[must_use]
pub fn discover(
    sysfs: &Path,
    wish: &Wish,
    socket_of_package: impl Fn(u32) -> Option<u32>,
) -> (Option<Nvml>, Vec<Finding>) {
    if !wish.is_on {
        return (None, Vec::new());
    }
    let office = Arc::new(Office::new(wish.is_in_step));
    let mut foreman = Foreman::new(Arc::clone(&office), wish.library.clone(), sysfs.to_owned());
    let confine = wish.confinement;
    start(&office, "nvml-foreman", move || {
        confine.0();
        foreman.work();
    });
    office.look_for_the_first_time();
    let mut nvml = Nvml {
        office,
        sysfs: sysfs.to_owned(),
        domains: Vec::new(),
        scopes: Vec::new(),
        packages: (0..MAX_PACKAGES).map(socket_of_package).collect(),
        sockets: Vec::new(),
        sights: Vec::new(),
        condition: None,
    };
    nvml.take_up();
    let mut findings = nvml.office.findings();
    findings.extend(nvml.condition.clone());
    (Some(nvml), findings)
}

impl Nvml {
    /// What has been found by now. New devices come at the end.
    fn take_up(&mut self) {
        (self.domains, self.scopes) = self.office.meters();
        // Those that can be read stand first, in the order of the domains, and are never fewer than these.
        self.sights = self.office.sights();
        for domain in self.sockets.len()..self.domains.len() {
            let package = self.sights.get(domain).and_then(|sight| package(&self.sysfs, &sight.pci));
            let socket =
                package.and_then(|package| self.packages.get(usize::try_from(package).ok()?).copied());
            self.sockets.push(socket.flatten());
        }
        let places = self.domains.iter_mut().zip(&mut self.scopes).zip(&self.sockets);
        for ((domain, scope), socket) in places {
            match (&scope, socket) {
                (Scope::Module, _) => domain.socket = *socket,
                (_, Some(socket)) => *scope = Scope::OnSocket(*socket),
                (_, None) => {}
            }
        }
        self.condition = self.office.trouble().and_then(condition);
    }
}

/// The kernel's number of the package beside which a device stands, by the memory that is nearest to both.
fn package(sysfs: &Path, pci: &str) -> Option<u32> {
    let text = |path: PathBuf| std::fs::read_to_string(path).ok();
    let node: u32 = text(sysfs.join("bus/pci/devices").join(pci).join("numa_node"))?.trim().parse().ok()?;
    let cpus = text(sysfs.join(format!("devices/system/node/node{node}/cpulist")))?;
    let first: u32 = cpus.trim().split([',', '-']).next()?.parse().ok()?;
    let package = format!("devices/system/cpu/cpu{first}/topology/physical_package_id");
    text(sysfs.join(package))?.trim().parse().ok()
}

/// What is to be said of a library that cannot be used: nothing, if it is not there and nobody misses it.
fn condition(trouble: Trouble) -> Option<Finding> {
    let detail = Some(trouble.detail).filter(|detail| !detail.is_empty())?;
    let detail = detail.as_str().into();
    Some(Finding { source: SOURCE.into(), hw_id: "".into(), fault: Some(trouble.fault), detail })
}

impl PowerSource for Nvml {
    fn domains(&self) -> &[Domain] {
        &self.domains
    }

    fn scope(&self, index: usize) -> Scope {
        self.scopes[index].clone()
    }

    fn read(&mut self, load: Load, _: &mut Buffer, values: &mut Vec<Result<Value, Fault>>) {
        let outcomes = self.office.round(load.at);
        self.take_up();
        // One that came while the others were read has nothing to tell yet.
        let missing = self.domains.len().saturating_sub(outcomes.len());
        values.extend(outcomes.into_iter().take(self.domains.len()));
        values.extend(std::iter::repeat_n(Err(Fault::Timeout), missing));
    }

    fn gpus(&self) -> &[Sight] {
        &self.sights
    }

    fn condition(&self) -> Option<Finding> {
        self.condition.clone()
    }
}

impl Drop for Nvml {
    fn drop(&mut self) {
        self.office.close();
    }
}

impl Office {
    /// The first enumeration, which the start waits for.
    fn look_for_the_first_time(&self) {
        self.round(Nanos::ZERO);
        self.wait_for_the_first_look();
    }

    /// A line for each device.
    fn findings(&self) -> Vec<Finding> {
        let state = self.lock();
        let readable = state.seats.iter().map(|seat| &seat.found).chain(&state.unreadable);
        let finding = |found: &device::Found| Finding {
            source: SOURCE.into(),
            hw_id: found.sight.gpu.clone(),
            fault: found.method.err(),
            detail: found.words(),
        };
        readable.map(finding).collect()
    }
}
