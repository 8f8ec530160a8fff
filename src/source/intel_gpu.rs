//! Intel's accelerators by the energy counters of i915 and xe in hwmon. The register behind one has 32 bits
//! and turns over within minutes; the driver widens it whenever it is read, so it is read each second.
//! Kernel: Documentation/ABI/testing/sysfs-driver-intel-{i915,xe}-hwmon.

use super::background::{Freshness, Pulse, SlowSource, all_within};
use super::drm::{Card, cards, is_asleep};
use crate::kernel_file::{Buffer, KernelFile, parse_number, read_number};
use crate::model::gpu::{Sight, Vendor};
use crate::model::identity::{HwType, Origin};
use crate::model::quantity::{Energy, MicroWatts, Nanos};
use crate::model::reading::{Domain, Fault, Finding, Measurement, Place, Value};
use std::path::{Path, PathBuf};

/// The source's name on the page.
pub const SOURCE: &str = "intel_gpu";

/// At 1 kW the register turns over in 4 min, and a turn that nobody saw is lost.
pub const PERIOD: Nanos = Nanos::from_seconds(1);

/// Intel's number on the PCI bus.
const VENDOR: u32 = 0x8086;

/// Where processors have their own graphics; the processor's package has their energy.
const INTEGRATED: &str = "0000:00:02.0";

/// No card draws more than twice its limit, or than this if it tells none.
const HIGHEST: MicroWatts = MicroWatts::from_watts(4_000);

/// Nobody waits longer for the cards' limits.
const PATIENCE: Nanos = Nanos::from_seconds(2);

/// Tiles at the most.
const MAX_TILES: usize = 8;

/// What cards are called, by their number on the bus (pci.ids); their drivers have no names for them.
const MODELS: [(u32, &str); 15] = [
    (0x0bd5, "Intel Data Center GPU Max 1550"),
    (0x0bd6, "Intel Data Center GPU Max 1550"),
    (0x0bd7, "Intel Data Center GPU Max 1350"),
    (0x0bd8, "Intel Data Center GPU Max 1350"),
    (0x0bd9, "Intel Data Center GPU Max 1100"),
    (0x0bda, "Intel Data Center GPU Max 1100"),
    (0x0bdb, "Intel Data Center GPU Max 1100"),
    (0x56c0, "Intel Data Center GPU Flex 170"),
    (0x56c1, "Intel Data Center GPU Flex 140"),
    (0x56a0, "Intel Arc A770"),
    (0x56a1, "Intel Arc A750"),
    (0x56a5, "Intel Arc A380"),
    (0x56a6, "Intel Arc A310"),
    (0xe20b, "Intel Arc B580"),
    (0xe20c, "Intel Arc B570"),
];

/// One card.
#[derive(Debug)]
pub struct IntelGpu {
    domains: Vec<Domain>,
    sights: Vec<Sight>,
    meters: Vec<Meter>,
    folder: PathBuf,
    buffer: Buffer,
}

/// A counter: one file, or those of all tiles where nothing counts the whole.
#[derive(Debug)]
struct Meter {
    files: Vec<(PathBuf, Option<KernelFile>)>,
    freshness: Freshness,
}

impl SlowSource for IntelGpu {
    fn domains(&self) -> &[Domain] {
        &self.domains
    }

    fn gpus(&self) -> &[Sight] {
        &self.sights
    }

    fn read(&mut self, at: Nanos) -> Vec<Result<Value, Fault>> {
        if is_asleep(&self.folder) {
            return vec![Err(Fault::Inactive); self.meters.len()];
        }
        let buffer = &mut self.buffer;
        self.meters.iter_mut().map(|meter| meter.read(at, buffer).map(Value::Counter)).collect()
    }
}

impl Meter {
    fn new(paths: Vec<PathBuf>) -> Meter {
        let files = paths.into_iter().map(|path| (path, None)).collect();
        Meter { files, freshness: Freshness::default() }
    }

    fn read(&mut self, at: Nanos, buffer: &mut Buffer) -> Result<Energy, Fault> {
        let mut total = 0_u64;
        for (path, slot) in &mut self.files {
            let file = match slot.take() {
                Some(file) => file,
                None => KernelFile::open(path).map_err(|error| Fault::from(&error))?,
            };
            let text = file.read_start(buffer).map_err(|error| Fault::from(&error))?;
            let micro = parse_number(text).ok_or(Fault::Malformed)?;
            total = total.checked_add(micro).ok_or(Fault::OutOfRange)?;
            // One that failed is opened again: the driver may have been loaded anew.
            *slot = Some(file);
        }
        // A card that is awake draws something.
        self.freshness.check(total, Pulse::Shown, at)?;
        Ok(Energy::from_micro(total))
    }
}

/// The counters of one card: what stands for the whole, and what is inside it, with a name for each.
struct Counters {
    whole: Vec<PathBuf>,
    inside: Vec<(String, PathBuf)>,
}

impl Counters {
    /// `energy1_input` is the card and `energy2_input` the package on it, where both are there; a card of
    /// several tiles has a chip for each beside its own.
    fn of(card: &Card) -> Counters {
        let is_whole = |name: &str| name == "i915" || name == "xe";
        let chip = card.chips.iter().find(|(name, _)| is_whole(name)).map(|(_, folder)| folder);
        let file = |number: u8| {
            let path = chip?.join(format!("energy{number}_input"));
            path.exists().then_some(path)
        };
        let tiles = card.chips.iter().filter_map(|(name, folder)| {
            let tile = name.split_once("_gt").map(|(_, number)| format!("tile-{number}"))?;
            let path = folder.join("energy1_input");
            path.exists().then_some((tile, path))
        });
        let mut inside: Vec<(String, PathBuf)> = tiles.take(MAX_TILES).collect();
        let whole = match (file(1), file(2)) {
            (Some(card), package) => {
                inside.extend(package.map(|package| ("package".to_owned(), package)));
                vec![card]
            }
            (None, Some(package)) => vec![package],
            (None, None) => inside.iter().map(|(_, path)| path.clone()).collect(),
        };
        // A single tile without a card around it is all there is.
        if whole.len() == 1 && inside.len() == 1 && inside[0].1 == whole[0] {
            inside.clear();
        }
        Counters { whole, inside }
    }
}

/// Finds the cards, and says what becomes of each.
#[must_use]
pub fn discover(sysfs: &Path) -> (Vec<IntelGpu>, Vec<Finding>) {
    // Others are for a virtual machine, or for nobody.
    let is_ours = |card: &Card| card.driver.is_empty() || card.driver == "i915" || card.driver == "xe";
    let cards: Vec<Card> = cards(sysfs, VENDOR).into_iter().filter(is_ours).collect();
    // A driver may hang over its limit as over all else.
    let looks = cards.iter().cloned().map(|card| move || ceiling(&card)).collect();
    let ceilings = all_within(PATIENCE, looks);
    let mut findings = Vec::new();
    let found = (0..).zip(cards.into_iter().zip(ceilings)).map(|(index, (card, ceiling))| {
        let name = card.name_on_bus();
        let mut say = |hw_id: &str, fault: Option<Fault>, detail: &str| {
            findings.push(Finding {
                source: SOURCE.into(),
                hw_id: hw_id.into(),
                fault,
                detail: detail.into(),
            });
        };
        let counters = Counters::of(&card);
        let sight = card.sight(sysfs, Vendor::Intel, &name, &model(&card), Some(index));
        let mut gpu = IntelGpu {
            domains: Vec::new(),
            sights: vec![sight],
            meters: Vec::new(),
            folder: card.folder.clone(),
            buffer: Buffer::default(),
        };
        let ceiling = ceiling.unwrap_or(HIGHEST);
        let Some(first) = counters.whole.first() else {
            if card.pci == INTEGRATED {
                say(&name, Some(Fault::Unsupported), "inside the processor, whose package has its energy");
            } else {
                let detail = format!("{}: its driver shows no energy in hwmon", card.folder.display());
                say(&name, Some(Fault::Missing), &detail);
            }
            return gpu;
        };
        let mut detail = first.display().to_string();
        if counters.whole.len() > 1 {
            detail.push_str(&format!(" and {} more: the sum of its tiles", counters.whole.len() - 1));
        }
        say(&name, None, &detail);
        gpu.add(domain(&name, &name, Place::Counted, ceiling), counters.whole);
        for (part, path) in counters.inside {
            let id = format!("{name}-{part}");
            say(&id, None, &path.display().to_string());
            gpu.add(domain(&id, &name, Place::Inside(name.as_str().into()), ceiling), vec![path]);
        }
        gpu
    });
    let found: Vec<IntelGpu> = found.collect();
    (found, findings)
}

impl IntelGpu {
    fn add(&mut self, domain: Domain, paths: Vec<PathBuf>) {
        self.domains.push(domain);
        self.meters.push(Meter::new(paths));
    }
}

fn domain(id: &str, gpu: &str, place: Place, ceiling: MicroWatts) -> Domain {
    Domain {
        id: id.into(),
        hw_type: HwType::Gpu,
        origin: Origin::Measured,
        gpu: gpu.into(),
        source: SOURCE.into(),
        place,
        socket: None,
        // The driver has made 64 bits of it: a fall is a new start and no turn.
        measurement: Measurement::Counter { range: None, ceiling },
        floor: None,
        uncertainty_ppm: 0,
    }
}

fn model(card: &Card) -> String {
    let listed = MODELS.iter().find(|(number, _)| *number == card.device);
    listed.map_or_else(|| format!("Intel {:04x}", card.device), |(_, name)| (*name).to_owned())
}

/// Twice the limit, for limits hold for averages only; 0 is no limit. To ask a card that sleeps would wake it.
fn ceiling(card: &Card) -> MicroWatts {
    if is_asleep(&card.folder) {
        return HIGHEST;
    }
    let limits = ["power1_rated_max", "power1_max", "power2_rated_max", "power2_max"];
    let chips = card.chips.iter().map(|(_, folder)| folder);
    let limit = chips.flat_map(|chip| limits.map(|file| read_number(&chip.join(file)).unwrap_or(0))).max();
    match limit.filter(|limit| *limit > 0) {
        Some(limit) => MicroWatts::new(limit.saturating_mul(2)).min(HIGHEST),
        None => HIGHEST,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use tempfile::TempDir;

    /// One card at this place with these files below its folder.
    fn machine(pci: &str, files: &[(&str, &str)]) -> TempDir {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let device = folder.path().join("devices").join(pci);
        fs::create_dir_all(device.join("drm/renderD128")).expect("made");
        let class = folder.path().join("class/drm/card0");
        fs::create_dir_all(&class).expect("made");
        std::os::unix::fs::symlink(&device, class.join("device")).expect("linked");
        for (path, text) in [("vendor", "0x8086"), ("device", "0x0bd5")].iter().chain(files) {
            let path = device.join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            fs::write(path, format!("{text}\n")).expect("written");
        }
        folder
    }

    /// `id place fault` of each finding and `id value` of each reading.
    fn check(pci: &str, files: &[(&str, &str)], expected: &[&str]) {
        let (mut found, findings) = discover(machine(pci, files).path());
        let mut said: Vec<String> = Vec::new();
        for finding in findings.iter().filter(|finding| finding.fault.is_some()) {
            said.push(format!("{} {}", finding.hw_id, finding.fault.expect("filtered").as_str()));
        }
        // The folder is gone by now, and with it the files.
        assert!(found[0].read(Nanos::ZERO).iter().all(|value| *value == Err(Fault::Missing)));
        for domain in &found[0].domains {
            said.push(match &domain.place {
                Place::Inside(parent) => format!("{} in {parent}", domain.id),
                place => format!("{} {place:?}", domain.id),
            });
        }
        assert_eq!(said, expected, "{files:?}");
    }

    #[test]
    fn one_counter_stands_for_the_card_and_the_rest_is_inside_it() {
        let xe = ("hwmon/hwmon5/name", "xe");
        let i915 = ("hwmon/hwmon2/name", "i915");
        let card = "pci-0000:4d:00.0 Counted";
        let (one, two) =
            (("hwmon/hwmon5/energy1_input", "7000000"), ("hwmon/hwmon5/energy2_input", "5000000"));
        check("0000:4d:00.0", &[xe, one, two], &[card, "pci-0000:4d:00.0-package in pci-0000:4d:00.0"]);
        check("0000:4d:00.0", &[xe, two], &[card]);
        let tiles = [
            ("hwmon/hwmon3/name", "i915_gt0"),
            ("hwmon/hwmon3/energy1_input", "2000000"),
            ("hwmon/hwmon4/name", "i915_gt1"),
            ("hwmon/hwmon4/energy1_input", "3000000"),
        ];
        let inside =
            ["pci-0000:4d:00.0-tile-0 in pci-0000:4d:00.0", "pci-0000:4d:00.0-tile-1 in pci-0000:4d:00.0"];
        let with_card = [&[i915, ("hwmon/hwmon2/energy1_input", "6000000")], &tiles[..]].concat();
        check("0000:4d:00.0", &with_card, &[card, inside[0], inside[1]]);
        check("0000:4d:00.0", &tiles, &[card, inside[0], inside[1]]);
        check("0000:4d:00.0", &tiles[..2], &[card]);
        check("0000:4d:00.0", &[i915], &["pci-0000:4d:00.0 missing"]);
        check("0000:00:02.0", &[], &["pci-0000:00:02.0 unsupported"]);
    }

    #[test]
    fn tiles_are_added_up_where_nothing_counts_the_card() {
        let folder = machine(
            "0000:4d:00.0",
            &[
                ("hwmon/hwmon3/name", "i915_gt0"),
                ("hwmon/hwmon3/energy1_input", "2000000"),
                ("hwmon/hwmon3/power1_rated_max", "600000000"),
                ("hwmon/hwmon4/name", "i915_gt1"),
                ("hwmon/hwmon4/energy1_input", "3000000"),
            ],
        );
        let (mut found, _) = discover(folder.path());
        let (gpu, joules) =
            (&mut found[0], |count: u64| Ok(Value::Counter(Energy::from_micro(count * 1_000_000))));
        let ceiling = MicroWatts::from_watts(1_200);
        assert_eq!(gpu.domains[0].measurement, Measurement::Counter { range: None, ceiling });
        assert_eq!(gpu.read(Nanos::ZERO), [joules(5), joules(2), joules(3)]);
        let file = folder.path().join("devices/0000:4d:00.0/hwmon/hwmon3/energy1_input");
        fs::write(&file, "9000000\n").expect("written");
        assert_eq!(gpu.read(Nanos::from_seconds(60)), [joules(12), joules(9), Err(Fault::Stale)]);
        let power = folder.path().join("devices/0000:4d:00.0/power");
        fs::create_dir_all(&power).expect("made");
        fs::write(power.join("runtime_status"), "suspended\n").expect("written");
        assert_eq!(gpu.read(Nanos::from_seconds(61)), [Err(Fault::Inactive); 3], "it is let sleep");
        fs::write(power.join("runtime_status"), "active\n").expect("written");
        fs::write(&file, "-3\n").expect("written");
        assert_eq!(gpu.read(Nanos::from_seconds(61))[0], Err(Fault::Malformed));
        let sight = &gpu.sights[0];
        assert_eq!((&*sight.model, &*sight.pci), ("Intel Data Center GPU Max 1550", "0000:4d:00.0"));
    }
}
