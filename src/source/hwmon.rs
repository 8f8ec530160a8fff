//! Power and energy sensors of the kernel's hwmon class: ACPI meters, ARM servers, boards, power supplies.
//!
//! hwmon says what a sensor shows and not what it covers: [`table`] knows that, chip by chip, and what
//! it does not know is left alone. Kernel: Documentation/hwmon/sysfs-interface.rst.

pub mod table;

use super::background::{Freshness, Pulse, SlowSource, within};
use super::cut::Scope;
use crate::kernel_file::{Buffer, KernelFile, parse_number, read_text};
use crate::model::identity::Origin;
use crate::model::quantity::{Energy, MicroWatts, Nanos};
use crate::model::reading::{Domain, Fault, Finding, Measurement, Place, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use table::{Covers, Known, Several, Table};

/// The source's name on the page.
pub const SOURCE: &str = "hwmon";

/// Nobody waits longer for a sensor to be read the first time.
const PATIENCE: Nanos = Nanos::from_seconds(2);

/// A sensor that gives power is read this often.
pub const PERIOD: Nanos = Nanos::from_seconds(1);

/// Chips at the most, and sensors of one: 128 cores of each of two sockets, and some.
const MAX_CHIPS: usize = 256;
const MAX_SENSORS: usize = 512;

/// What drivers show when they know nothing.
const SENTINELS: [u64; 5] = [u32::MAX as u64, i32::MAX as u64, u64::MAX, i64::MAX as u64, 0xffff];

/// The sensors of one kind of chip.
#[derive(Debug, Default)]
pub struct Hwmon {
    domains: Vec<Domain>,
    scopes: Vec<Scope>,
    sensors: Vec<Vec<Sensor>>,
    // An ACPI meter may be a BMC behind another door, and stand still as it does.
    freshness: Vec<Freshness>,
    buffer: Buffer,
}

/// One file, or a voltage and a current.
#[derive(Debug)]
struct Sensor {
    kind: Kind,
    files: Vec<KernelFile>,
    paths: Vec<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Power,
    Energy,
    // mV and mA.
    VoltageAndCurrent,
}

impl SlowSource for Hwmon {
    fn domains(&self) -> &[Domain] {
        &self.domains
    }

    fn scope(&self, index: usize) -> Scope {
        self.scopes[index].clone()
    }

    fn read(&mut self, at: Nanos) -> Vec<Result<Value, Fault>> {
        let buffer = &mut self.buffer;
        let read = |(sensors, freshness): (&mut Vec<Sensor>, &mut Freshness)| {
            let value = sum(sensors, buffer)?;
            if let Value::MeanPower(power) = value {
                freshness.check(power.get(), Pulse::None, at)?;
            }
            Ok(value)
        };
        self.sensors.iter_mut().zip(&mut self.freshness).map(read).collect()
    }
}

/// The sum of all sensors of one id, or why there is none.
fn sum(sensors: &mut [Sensor], buffer: &mut Buffer) -> Result<Value, Fault> {
    let mut total = 0_u64;
    let mut kind = Kind::Power;
    for sensor in sensors {
        kind = sensor.kind;
        total = total.checked_add(sensor.read(buffer)?).ok_or(Fault::OutOfRange)?;
    }
    Ok(match kind {
        Kind::Energy => Value::Counter(Energy::from_micro(total)),
        Kind::Power | Kind::VoltageAndCurrent => Value::MeanPower(MicroWatts::new(total)),
    })
}

impl Sensor {
    fn open(kind: Kind, paths: Vec<PathBuf>) -> Sensor {
        Sensor { kind, files: Vec::new(), paths }
    }

    /// µW or µJ. Nothing that is on draws 0 W: a driver that could not ask shows that.
    fn read(&mut self, buffer: &mut Buffer) -> Result<u64, Fault> {
        if self.files.is_empty() {
            let files: std::io::Result<Vec<KernelFile>> =
                self.paths.iter().map(|path| KernelFile::open(path)).collect();
            self.files = files.map_err(|error| Fault::from(&error))?;
        }
        let mut product = 1_u64;
        for file in &self.files {
            let value = match file.read_start(buffer) {
                Ok(text) => parse_number(text).ok_or(Fault::Malformed),
                Err(error) => Err(Fault::from(&error)),
            };
            let value = match value {
                Ok(value) => value,
                Err(fault) => {
                    // The driver may have been reloaded; the path may live again.
                    self.files = Vec::new();
                    return Err(fault);
                }
            };
            let is_sentinel = SENTINELS.contains(&value) || value == 0 && self.kind != Kind::Energy;
            if is_sentinel {
                return Err(Fault::OutOfRange);
            }
            product = product.checked_mul(value).ok_or(Fault::OutOfRange)?;
        }
        Ok(product)
    }
}

/// A sensor that was found.
struct Found {
    chip: String,
    kind: Kind,
    paths: Vec<PathBuf>,
    file: String,
    label: String,
}

/// Finds the sensors that the table knows, and says of each what becomes of it: a source for each kind of
/// chip, so that one that hangs takes no other along. Reads each sensor once, which may take long. The
/// sockets are numbered as in the labels.
pub fn discover(sysfs: &Path, table: &Table) -> (Vec<Hwmon>, Vec<Finding>) {
    let class = sysfs.join("class/hwmon");
    let finding = |hw_id: &str, fault: Option<Fault>, path: &Path| Finding {
        source: SOURCE.into(),
        hw_id: hw_id.into(),
        fault,
        detail: path.display().to_string().as_str().into(),
    };
    let found = match find(&class) {
        Ok(found) => found,
        // Few machines have such sensors; that there are none is no fault.
        Err(Fault::Missing) => return (Vec::new(), Vec::new()),
        Err(fault) => return (Vec::new(), vec![finding("", Some(fault), &class)]),
    };
    let mut groups: BTreeMap<String, (Known<'_>, Vec<&Found>)> = BTreeMap::new();
    for sensor in &found {
        let Some(known) = table.find(&sensor.chip, &sensor.file, &sensor.label) else { continue };
        let id = known.id.clone();
        let (known, members) = groups.entry(id).or_insert_with(|| (known, Vec::new()));
        // A chip may show one thing twice, averaged and as it is: the first kind is taken.
        let is_other_kind = members.first().is_some_and(|first| first.kind != sensor.kind);
        let is_enough = known.row.several == Several::First && !members.is_empty();
        let is_twice = members.iter().any(|member| is_same_sensor(member, sensor));
        if !is_other_kind && !is_enough && !is_twice {
            members.push(sensor);
        }
    }
    let mut chips: BTreeMap<&str, (usize, Hwmon)> = BTreeMap::new();
    let mut findings = Vec::new();
    let mut usable = Vec::new();
    for (id, (known, members)) in groups {
        let Some(first) = members.first().copied() else { continue };
        let mut sensors: Vec<Sensor> =
            members.iter().map(|member| Sensor::open(member.kind, member.paths.clone())).collect();
        let read = move || (sum(&mut sensors, &mut Buffer::default()), sensors);
        let (outcome, sensors) = match within(PATIENCE, read) {
            Ok((outcome, sensors)) => (outcome, sensors),
            Err(fault) => (Err(fault), Vec::new()),
        };
        findings.push(finding(&id, outcome.err(), &first.paths[0]));
        if outcome.is_ok() {
            usable.push((id, known, first, sensors));
        }
    }
    let ids: BTreeSet<String> = usable.iter().map(|(id, ..)| id.clone()).collect();
    let has = |leaf: &str| ids.contains(leaf);
    for (id, known, first, sensors) in usable {
        let (scope, place) = match &known.covers {
            Covers::Node => (Scope::Node, Place::Counted),
            Covers::Module => (Scope::Module, Place::Counted),
            Covers::Leaf => (Scope::Spare, Place::Counted),
            Covers::Inside(leaf) if has(leaf) => (Scope::Own, Place::Inside(leaf.as_str().into())),
            Covers::Inside(_) => (Scope::Spare, Place::Counted),
            Covers::Beside => (Scope::Own, Place::Beside),
        };
        let ceiling = known.row.ceiling();
        let (rank, hwmon) = chips.entry(&first.chip).or_insert_with(|| (known.rank, Hwmon::default()));
        *rank = known.rank.min(*rank);
        hwmon.domains.push(Domain {
            id: id.as_str().into(),
            hw_type: known.row.hw_type,
            origin: Origin::Measured,
            gpu: "".into(),
            source: SOURCE.into(),
            place,
            socket: known.number,
            measurement: match first.kind {
                Kind::Energy => Measurement::Counter { range: None, ceiling },
                Kind::Power | Kind::VoltageAndCurrent => Measurement::MeanPower { ceiling },
            },
            floor: None,
            uncertainty_ppm: 0,
        });
        hwmon.scopes.push(scope);
        hwmon.sensors.push(sensors);
        hwmon.freshness.push(Freshness::default());
    }
    let mut chips: Vec<(usize, Hwmon)> = chips.into_values().collect();
    chips.sort_by_key(|(rank, _)| *rank);
    (chips.into_iter().map(|(_, hwmon)| hwmon).collect(), findings)
}

/// `power1_average` and `power1_input` of one chip.
fn is_same_sensor(one: &Found, other: &Found) -> bool {
    let stem = |found: &Found| {
        let path = found.paths.first().map(|path| path.display().to_string()).unwrap_or_default();
        path.rsplit_once('_').map(|(stem, _)| stem.to_owned())
    };
    stem(one) == stem(other)
}

fn find(class: &Path) -> Result<Vec<Found>, Fault> {
    let entries = std::fs::read_dir(class).map_err(|error| Fault::from(&error))?;
    let mut chips: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("hwmon"))
        })
        .take(MAX_CHIPS)
        .collect();
    // The numbers change from boot to boot; the devices behind them do not.
    chips.sort_by_cached_key(|chip| (std::fs::canonicalize(chip.join("device")).ok(), chip.clone()));
    Ok(chips.iter().flat_map(|chip| sensors_of(chip)).collect())
}

fn sensors_of(chip: &Path) -> Vec<Found> {
    // Drivers that register the old way keep everything in the device's own folder.
    let device = chip.join("device");
    let has_own = chip.join("name").exists();
    let folder = if has_own || !device.join("power1_average").exists() { chip } else { &device };
    let name = read_text(&folder.join("name")).or_else(|_| read_text(&chip.join("name")));
    let is_acpi = || folder.join("power1_model_number").exists() || folder.join("power1_oem_info").exists();
    let name = match name {
        Ok(name) => name,
        Err(_) if is_acpi() => "power_meter".to_owned(),
        Err(_) => return Vec::new(),
    };
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<String> =
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    files.sort_unstable();
    let found = files.iter().filter_map(|file| sensor(folder, &name, file));
    found.take(MAX_SENSORS).collect()
}

fn sensor(folder: &Path, chip: &str, file: &str) -> Option<Found> {
    let (stem, attribute) = file.split_once('_')?;
    let at = stem.find(|char: char| char.is_ascii_digit())?;
    let (kind, number) = stem.split_at(at);
    let text = |name: String| read_text(&folder.join(name)).unwrap_or_default();
    let (kind, file, paths) = match (kind, attribute) {
        ("power", "average" | "input") => (Kind::Power, file.to_owned(), vec![folder.join(file)]),
        ("energy", "input") => (Kind::Energy, file.to_owned(), vec![folder.join(file)]),
        ("in", "input") => {
            let current = folder.join(format!("curr{number}_input"));
            if !current.exists() {
                return None;
            }
            (Kind::VoltageAndCurrent, "vi".to_owned(), vec![folder.join(file), current])
        }
        _ => return None,
    };
    let label = match text(format!("{stem}_label")) {
        label if label.is_empty() => text(format!("{stem}_oem_info")),
        label => label,
    };
    Some(Found { chip: chip.to_owned(), kind, paths, file, label: label.trim().to_owned() })
}

#[cfg(test)]
mod tests;
