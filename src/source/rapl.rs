//! Intel and AMD energy counters by the powercap class in sysfs.
//!
//! Zones contain one another (package ⊃ core, uncore; psys ⊃ everything), appear twice (MSR and MMIO)
//! or mirror one counter (the dies of an AMD socket). Discovery tells which is which, and a counter
//! must be seen to advance before it is believed: virtual machines show zeros and constants.
//! Kernel: Documentation/power/powercap, drivers/powercap/intel_rapl_common.c.

use super::PowerSource;
use crate::clock;
use crate::kernel_file::{Buffer, KernelFile, parse_number, read_number, read_text};
use crate::model::identity::{HwType, Name, Origin};
use crate::model::quantity::{Energy, MicroWatts, Nanos};
use crate::model::reading::{Domain, Fault, Finding, Load, Measurement, Place, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The source's name on the page.
pub const SOURCE: &str = "rapl";

/// Zones at the most: eight sockets of eight dies with four zones each.
const MAX_ZONES: usize = 256;

/// Between the readings of the probe; the slowest counters update every few ms.
const PROBE_PAUSE: Nanos = Nanos::new(100_000_000);

/// Dies that show the same in all of them are one counter, in one of them by chance.
const PROBE_READINGS: usize = 4;

/// One register read twice stands within what a socket can draw between two updates, 1 ms apart; two
/// that run for themselves come as near once in 25,000 machines.
const MIRROR_TOLERANCE: u64 = 5_000_000;

/// Before this much was drawn, two registers that started together may still be near each other.
const MIRROR_PROOF: u64 = 20_000_000_000;

/// Then their increments must be equal too, to a few units of the register.
const MIRROR_STEP_TOLERANCE: u64 = 250;

/// Vendors whose package counters show on every die of the socket.
const MIRRORING_VENDORS: [&str; 2] = ["AuthenticAMD", "HygonGenuine"];

/// No limit that a zone declares is taken for more than this, or for less.
const CEILINGS: std::ops::RangeInclusive<u64> = 500_000_000..=4_000_000_000;

/// How long counters are looked at before they are believed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// Until they have advanced, or should have: a few 100 ms.
    #[default]
    Thorough,
    /// Once, for what cannot wait. A counter at 0 is refused; one that stands still elsewhere, and Intel's
    /// dies that mirror each other, if there are any, are not found out.
    Once,
}

/// The zones in use.
#[derive(Debug)]
pub struct Rapl {
    domains: Vec<Domain>,
    files: Vec<ZoneFile>,
}

#[derive(Debug)]
struct ZoneFile {
    path: PathBuf,
    range: Option<Energy>,
    file: Option<KernelFile>,
}

impl PowerSource for Rapl {
    fn domains(&self) -> &[Domain] {
        &self.domains
    }

    fn read(&mut self, _: Load, buffer: &mut Buffer, values: &mut Vec<Result<Value, Fault>>) {
        values.extend(self.files.iter_mut().map(|zone| zone.read(buffer).map(Value::Counter)));
    }
}

impl ZoneFile {
    fn new(zone: &Zone) -> ZoneFile {
        ZoneFile { path: zone.directory.join("energy_uj"), range: zone.range, file: None }
    }

    fn read(&mut self, buffer: &mut Buffer) -> Result<Energy, Fault> {
        if self.file.is_none() {
            let opened = KernelFile::open(&self.path);
            self.file = Some(opened.map_err(|error| Fault::from(&error))?);
        }
        let file = self.file.as_ref().expect("opened above");
        match file.read_start(buffer) {
            Ok(text) => {
                let total = parse_number(text).map(Energy::from_micro).ok_or(Fault::Malformed)?;
                let is_beyond = self.range.is_some_and(|range| total > range);
                if is_beyond { Err(Fault::OutOfRange) } else { Ok(total) }
            }
            Err(error) => {
                // The module may have been reloaded: the old file is dead, the path may live again.
                self.file = None;
                Err(Fault::from(&error))
            }
        }
    }
}

/// A zone as its directory describes it.
#[derive(Debug)]
struct Zone {
    directory: PathBuf,
    name: String,
    // The package it belongs to and its die, from its own name or its parent's.
    package: Option<u32>,
    die: Option<u32>,
    is_mmio: bool,
    range: Option<Energy>,
    limit: Option<u64>,
    probe: Result<Vec<u64>, Fault>,
}

/// Finds the zones, and says of each what becomes of it.
pub fn discover(
    sysfs: &Path,
    vendor: &str,
    manner: Probe,
    socket_of_package: impl Fn(u32) -> Option<u32>,
) -> (Option<Rapl>, Vec<Finding>) {
    let class = sysfs.join("class/powercap");
    let mut zones = match find(&class) {
        Ok(zones) => zones,
        Err(fault) => {
            return (None, vec![finding("", Some(fault), &class.display().to_string())]);
        }
    };
    probe(&mut zones, manner);
    let plan = choose(&zones, vendor);
    let mut findings = Vec::new();
    let mut rapl = Rapl { domains: Vec::new(), files: Vec::new() };
    for (zone, (id, place, fault)) in zones.iter().zip(plan) {
        let path = zone.directory.join("energy_uj");
        findings.push(finding(&id, fault, &path.display().to_string()));
        let Some(place) = place else { continue };
        rapl.domains.push(Domain {
            id,
            hw_type: hw_type(&zone.name),
            origin: Origin::Measured,
            gpu: "".into(),
            source: SOURCE.into(),
            place,
            socket: zone.package.and_then(&socket_of_package),
            measurement: Measurement::Counter { range: zone.range, ceiling: ceiling(zone) },
            floor: None,
            uncertainty_ppm: 0,
        });
        rapl.files.push(ZoneFile::new(zone));
    }
    if rapl.domains.is_empty() {
        // One line for the whole: the reason most zones have.
        let mut reasons: BTreeMap<Fault, usize> = BTreeMap::new();
        for fault in findings.iter().filter_map(|finding| finding.fault) {
            *reasons.entry(fault).or_default() += 1;
        }
        let fault = reasons.into_iter().max_by_key(|(_, count)| *count).map(|(fault, _)| fault);
        findings.push(finding("", fault.or(Some(Fault::Missing)), &class.display().to_string()));
        return (None, findings);
    }
    (Some(rapl), findings)
}

fn finding(hw_id: &str, fault: Option<Fault>, detail: &str) -> Finding {
    Finding { source: SOURCE.into(), hw_id: hw_id.into(), fault, detail: detail.into() }
}

fn find(class: &Path) -> Result<Vec<Zone>, Fault> {
    let names = |directory: &Path| -> Result<Vec<String>, Fault> {
        let entries = std::fs::read_dir(directory).map_err(|error| Fault::from(&error))?;
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        Ok(names.filter(|name| name.starts_with("intel-rapl")).collect())
    };
    let listed = names(class)?;
    // The class lists nested zones too; where it does not, they stand inside their parents.
    let mut directories: BTreeMap<String, PathBuf> = BTreeMap::new();
    for name in listed.iter().filter(|name| name.contains(':')).take(MAX_ZONES) {
        let directory = class.join(name);
        for nested in names(&directory).unwrap_or_default().into_iter().filter(|name| name.contains(':')) {
            directories.entry(nested.clone()).or_insert_with(|| directory.join(nested));
        }
        directories.insert(name.clone(), directory);
    }
    let mut texts: BTreeMap<&str, String> = BTreeMap::new();
    for (entry, directory) in &directories {
        if let Ok(text) = read_text(&directory.join("name")) {
            texts.insert(entry, text);
        }
    }
    if texts.is_empty() {
        // Names without anything behind them are what a container runtime leaves of the directory.
        return Err(if listed.is_empty() { Fault::Missing } else { Fault::Masked });
    }
    let zones = directories.iter().take(MAX_ZONES).filter_map(|(entry, directory)| {
        let name = texts.get(entry.as_str())?;
        let parent = entry.rsplit_once(':').map_or("", |(parent, _)| parent);
        let (package, die) = package_of(name).or_else(|| package_of(texts.get(parent)?)).unzip();
        Some(Zone {
            directory: directory.clone(),
            name: name.clone(),
            package,
            die: die.flatten(),
            is_mmio: entry.starts_with("intel-rapl-mmio"),
            range: read_number(&directory.join("max_energy_range_uj"))
                .ok()
                .filter(|range| *range > 0)
                .map(Energy::from_micro),
            limit: declared_limit(directory),
            probe: Ok(Vec::new()),
        })
    });
    Ok(zones.collect())
}

/// `package-1` and `package-1-die-0`: the package and the die.
fn package_of(name: &str) -> Option<(u32, Option<u32>)> {
    let rest = name.strip_prefix("package-")?;
    match rest.split_once("-die-") {
        Some((package, die)) => Some((package.parse().ok()?, Some(die.parse().ok()?))),
        None => Some((rest.parse().ok()?, None)),
    }
}

fn declared_limit(directory: &Path) -> Option<u64> {
    let files = |suffix: &str| {
        (0..4)
            .filter_map(|index| read_number(&directory.join(format!("constraint_{index}_{suffix}"))).ok())
            .max()
    };
    files("max_power_uw").max(files("power_limit_uw"))
}

/// The largest power a zone can draw: twice what it declares, since limits hold for averages only.
fn ceiling(zone: &Zone) -> MicroWatts {
    let otherwise = match hw_type(&zone.name) {
        HwType::Cpu => MicroWatts::from_watts(2_000),
        HwType::Memory | HwType::Gpu => MicroWatts::from_watts(1_000),
        HwType::Other => return MicroWatts::from_watts(10_000),
    };
    match zone.limit.and_then(|limit| limit.checked_mul(2)).filter(|limit| CEILINGS.contains(limit)) {
        Some(declared) => MicroWatts::new(declared),
        None => otherwise,
    }
}

fn hw_type(name: &str) -> HwType {
    match name {
        "dram" => HwType::Memory,
        "psys" => HwType::Other,
        _ => HwType::Cpu,
    }
}

/// Reads every zone a few times, 100 ms apart, until all that will advance have; or once.
fn probe(zones: &mut [Zone], manner: Probe) {
    let mut buffer = Buffer::default();
    let mut files: Vec<ZoneFile> = zones.iter().map(ZoneFile::new).collect();
    let readings = match manner {
        Probe::Thorough => PROBE_READINGS,
        Probe::Once => 1,
    };
    for reading in 0..readings {
        if reading > 0 {
            clock::sleep(PROBE_PAUSE);
        }
        for (zone, file) in zones.iter_mut().zip(&mut files) {
            match (file.read(&mut buffer), &mut zone.probe) {
                (Ok(energy), Ok(readings)) => readings.push(energy.as_micro()),
                (Err(fault), probe @ Ok(_)) => *probe = Err(fault),
                (_, Err(_)) => {}
            }
        }
        let is_settled = |zone: &Zone| zone.probe.is_err() || zone.die.is_none() && advances(zone);
        if reading > 0 && zones.iter().all(is_settled) {
            return;
        }
        if zones.iter().all(|zone| zone.probe.is_err()) {
            return;
        }
    }
}

/// Whether the counter has moved, between two readings or, by its only one, ever.
fn advances(zone: &Zone) -> bool {
    match zone.probe.as_deref() {
        Ok([only]) => *only > 0,
        Ok(readings) => readings.first() != readings.last(),
        Err(_) => false,
    }
}

/// What becomes of each zone: its id, its place if it is used, and what is wrong with it.
fn choose(zones: &[Zone], vendor: &str) -> Vec<(Name, Option<Place>, Option<Fault>)> {
    let fault_of = |zone: &Zone| match &zone.probe {
        Err(fault) => Some(*fault),
        Ok(_) if !advances(zone) => Some(Fault::NotAdvancing),
        Ok(_) => None,
    };
    // A zone that fails now and may recover is kept if its kind works elsewhere on this machine.
    let any_good = |name: &str| {
        zones.iter().any(|zone| hw_type(&zone.name) == hw_type(name) && fault_of(zone).is_none())
    };
    let is_usable = |zone: &Zone| match fault_of(zone) {
        None => true,
        Some(Fault::Io | Fault::Malformed | Fault::OutOfRange) => any_good(&zone.name),
        Some(_) => false,
    };
    let mut taken: BTreeSet<String> = BTreeSet::new();
    let mut counted_packages: BTreeSet<u32> = BTreeSet::new();
    let mut counted: BTreeSet<String> = BTreeSet::new();
    // MSR zones are chosen before their MMIO twins, low dies before high ones.
    let mut order: Vec<usize> = (0..zones.len()).collect();
    order.sort_by_key(|&index| (zones[index].is_mmio, zones[index].package, zones[index].die, index));
    let has_package = zones.iter().any(|zone| package_of(&zone.name).is_some() && is_usable(zone));
    let mut plan: Vec<(Name, Option<Place>, Option<Fault>)> = vec![("".into(), None, None); zones.len()];
    for index in order {
        let zone = &zones[index];
        let base = id(zone);
        let is_twin = taken.contains(&base);
        let mut unique = if is_twin && zone.is_mmio { format!("{base}-mmio") } else { base.clone() };
        for copy in 1.. {
            if taken.insert(unique.clone()) {
                break;
            }
            unique = format!("{base}-{copy}");
        }
        let fault = fault_of(zone);
        if !is_usable(zone) {
            if is_twin || zone.is_mmio {
                plan[index] = (unique.into(), None, fault);
            } else {
                // Its twin may take its place, and its name.
                taken.remove(&unique);
                plan[index] = (base.into(), None, fault);
            }
            continue;
        }
        let place = if is_twin {
            Place::Beside
        } else if zone.name == "psys" {
            if has_package { Place::Beside } else { Place::Counted }
        } else if zone.name == "dram" {
            Place::Counted
        } else if package_of(&zone.name).is_none() {
            let package = zone.package.map(|package| package_id(package, zone.die));
            let counted = package.filter(|package| counted.contains(package));
            counted.map_or(Place::Beside, |package| Place::Inside(package.into()))
        } else {
            let package = zone.package.unwrap_or(0);
            let is_mirror = counted_packages.contains(&package) && mirrors(zones, zone, vendor);
            counted_packages.insert(package);
            if is_mirror {
                Place::Beside
            } else {
                counted.insert(unique.clone());
                Place::Counted
            }
        };
        plan[index] = (unique.into(), Some(place), fault);
    }
    plan
}

/// Whether the dies of this zone's package show one counter: by vendor, or because all their readings
/// were the same.
fn mirrors(zones: &[Zone], zone: &Zone, vendor: &str) -> bool {
    if MIRRORING_VENDORS.contains(&vendor) {
        return true;
    }
    let own = zone.probe.as_deref().unwrap_or_default();
    let steps = |readings: &[u64]| -> Vec<u64> {
        readings.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect()
    };
    let are_near = |own: &[u64], theirs: &[u64], tolerance: u64| {
        own.iter().zip(theirs).all(|(own, theirs)| own.abs_diff(*theirs) <= tolerance)
    };
    let is_same = |other: &Zone| {
        let theirs = other.probe.as_deref().unwrap_or_default();
        own.len() == PROBE_READINGS
            && theirs.len() == own.len()
            && are_near(own, theirs, MIRROR_TOLERANCE)
            && (own[0] > MIRROR_PROOF || are_near(&steps(own), &steps(theirs), MIRROR_STEP_TOLERANCE))
    };
    zones
        .iter()
        .filter(|other| {
            other.package == zone.package && other.die < zone.die && other.name.starts_with("package-")
        })
        .any(is_same)
}

fn id(zone: &Zone) -> String {
    match zone.package {
        Some(_) if package_of(&zone.name).is_some() => zone.name.clone(),
        Some(package) if zone.name != "psys" => format!("{}-{}", package_id(package, zone.die), zone.name),
        _ => zone.name.clone(),
    }
}

fn package_id(package: u32, die: Option<u32>) -> String {
    match die {
        Some(die) => format!("package-{package}-die-{die}"),
        None => format!("package-{package}"),
    }
}
