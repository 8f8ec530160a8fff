//! AMD's accelerators by amdgpu's files in sysfs: the energy counter of `gpu_metrics` where it can be
//! believed, else the power of hwmon. A counter is believed once it has kept up with the power shown
//! beside it. Kernel: Documentation/gpu/amdgpu/thermal.rst.

pub mod counter;
pub mod metrics;

use super::background::{Freshness, Pulse, SlowSource, all_within};
use super::cut::Scope;
use super::drm::{Card, cards, is_asleep};
use super::rapl::Probe;
use crate::clock;
use crate::kernel_file::{Buffer, KernelFile, parse_list, parse_number, read_number, read_text};
use crate::model::gpu::{Sight, Vendor};
use crate::model::identity::{HwType, Origin};
use crate::model::quantity::{MicroWatts, Nanos};
use crate::model::reading::{Domain, Fault, Finding, Measurement, Place, Value};
use counter::{Follower, Sample, Verdict, judge};
use metrics::Metrics;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The source's name on the page, and the driver's.
pub const SOURCE: &str = "amdgpu";

/// Powers are read this often, and counters alike: some turn over within four minutes.
pub const PERIOD: Nanos = Nanos::from_seconds(1);

/// AMD's number on the PCI bus.
const VENDOR: u32 = 0x1002;

/// A counter is compared with the power beside it so many times, so far apart, and again if they disagree:
/// the load may have changed in between.
const SAMPLES: usize = 11;
const PAUSE: Nanos = Nanos::new(50_000_000);
const LOOKS: usize = 3;

/// Nobody waits longer for a card to be looked at.
const PATIENCE: Nanos = Nanos::from_seconds(4);

/// No card draws more than twice its limit, or than this if it tells none.
const HIGHEST: MicroWatts = MicroWatts::from_watts(4_000);

/// Where hwmon has a card's power: the older file, and the newer one.
const POWER_FILES: [&str; 2] = ["power1_average", "power1_input"];

/// CPUs near one card at the most.
const MAX_CPUS: usize = 8_192;

/// From here on the kernel says in what unit the counter is.
const STATED_UNIT: (u8, u8) = (1, 4);

/// A processor and an accelerator in one package, whose counter is of both.
const MI300A: u32 = 0x74a0;

/// Two dies on a board: the board's power is shown on the first, and 0 on the second.
const TWO_DIES: [u32; 2] = [0x7408, 0x740c];

/// What cards are called that do not say it themselves, by their number on the bus (pci.ids).
const MODELS: [(u32, &str); 11] = [
    (0x66a1, "AMD Instinct MI50"),
    (0x738c, "AMD Instinct MI100"),
    (0x738e, "AMD Instinct MI100"),
    (0x7408, "AMD Instinct MI250X"),
    (0x740c, "AMD Instinct MI250X"),
    (0x740f, "AMD Instinct MI210"),
    (MI300A, "AMD Instinct MI300A"),
    (0x74a1, "AMD Instinct MI300X"),
    (0x74a5, "AMD Instinct MI325X"),
    (0x75a0, "AMD Instinct MI350X"),
    (0x75a3, "AMD Instinct MI355X"),
];

/// One card.
#[derive(Debug)]
pub struct AmdGpu {
    domains: Vec<Domain>,
    scope: Scope,
    sights: Vec<Sight>,
    meter: Meter,
    ceiling: MicroWatts,
    folder: PathBuf,
    path: PathBuf,
    // Kept open; opened again after an error, for the driver may have been loaded anew.
    file: Option<KernelFile>,
    freshness: Freshness,
    buffer: Buffer,
}

/// What is read of it.
#[derive(Debug)]
enum Meter {
    /// The counter of `gpu_metrics`.
    Counter(Follower),
    /// The power in `gpu_metrics`, in whole watts.
    WholeWatts,
    /// A file of hwmon, in µW.
    Power,
}

impl SlowSource for AmdGpu {
    fn domains(&self) -> &[Domain] {
        &self.domains
    }

    fn scope(&self, _: usize) -> Scope {
        self.scope.clone()
    }

    fn gpus(&self) -> &[Sight] {
        &self.sights
    }

    fn read(&mut self, at: Nanos) -> Vec<Result<Value, Fault>> {
        match self.domains.len() {
            0 => Vec::new(),
            _ => vec![self.value(at)],
        }
    }
}

impl AmdGpu {
    fn value(&mut self, at: Nanos) -> Result<Value, Fault> {
        let outcome = self.try_to_read(at);
        if let (Err(Fault::Inactive), Meter::Counter(follower)) = (outcome, &mut self.meter) {
            follower.forget();
        }
        outcome
    }

    fn try_to_read(&mut self, at: Nanos) -> Result<Value, Fault> {
        if is_asleep(&self.folder) {
            return Err(Fault::Inactive);
        }
        let bytes = content(&mut self.file, &self.path, &mut self.buffer)?;
        match &mut self.meter {
            Meter::Power => {
                let power = parse_number(bytes).ok_or(Fault::Malformed)?;
                shown_power(MicroWatts::new(power)).map(Value::MeanPower)
            }
            Meter::WholeWatts => {
                let power = metrics::parse(bytes).map_err(|_| Fault::Malformed)?.power;
                shown_power(power.ok_or(Fault::Missing)?).map(Value::MeanPower)
            }
            Meter::Counter(follower) => {
                let units = metrics::parse(bytes).map_err(|_| Fault::Malformed)?.energy;
                let units = units.ok_or(Fault::Missing)?;
                // No card draws nothing: one that stands still is not counting.
                self.freshness.check(units, Pulse::Shown, at)?;
                let position = follower.follow(at, units, self.ceiling)?;
                metrics::energy(position).map(Value::Counter).ok_or(Fault::OutOfRange)
            }
        }
    }
}

/// What a file holds now.
fn content<'a>(
    file: &mut Option<KernelFile>,
    path: &Path,
    buffer: &'a mut Buffer,
) -> Result<&'a [u8], Fault> {
    let open = match file.take() {
        Some(open) => open,
        None => KernelFile::open(path).map_err(|error| Fault::from(&error))?,
    };
    let bytes = open.read(buffer).map_err(|error| match error.kind() {
        // It could be opened: the card has just gone to sleep, and the kernel does not wake it for us.
        std::io::ErrorKind::PermissionDenied => Fault::Inactive,
        _ => Fault::from(&error),
    })?;
    *file = Some(open);
    Ok(bytes)
}

/// Nothing that is on draws 0 W.
fn shown_power(power: MicroWatts) -> Result<MicroWatts, Fault> {
    if power == MicroWatts::ZERO { Err(Fault::OutOfRange) } else { Ok(power) }
}

/// What a card shows of itself.
struct Look {
    card: Card,
    power: Result<(PathBuf, MicroWatts), Fault>,
    metrics: Result<Metrics, (Fault, String)>,
    verdict: Option<Verdict>,
    ceiling: MicroWatts,
    model: String,
    is_processor: bool,
    is_asleep: bool,
}

impl Look {
    /// Reads everything once, and the counter for as long as it takes to believe it.
    fn take(card: Card, manner: Probe) -> Look {
        let is_asleep = is_asleep(&card.folder);
        let asleep = || (Fault::Inactive, "it is asleep".to_owned());
        let power = if is_asleep { Err(Fault::Inactive) } else { power(&card) };
        let metrics = if is_asleep { Err(asleep()) } else { read_metrics(&card) };
        // Only processors have a rail for their north bridge.
        let has_bridge = card
            .chip(SOURCE)
            .is_some_and(|chip| read_text(&chip.join("in1_label")).is_ok_and(|label| label == "vddnb"));
        let is_processor = has_bridge || metrics.as_ref().is_ok_and(|metrics| metrics.is_processor);
        // Asking for its limit would wake it.
        let ceiling = if is_asleep { HIGHEST } else { ceiling(&card) };
        let model = model(&card);
        let mut look = Look { card, power, metrics, verdict: None, ceiling, model, is_processor, is_asleep };
        if let Ok(Metrics { energy: Some(_), .. }) = look.metrics
            && !is_processor
            && !look.is_silent()
        {
            look.verdict = Some(match manner {
                Probe::Thorough => look.verdict(),
                Probe::Once => Verdict::Untested,
            });
        }
        look
    }

    fn verdict(&self) -> Verdict {
        let mut verdict = Verdict::Still;
        for _ in 0..LOOKS {
            let mut samples = Vec::new();
            for sample in 0..SAMPLES {
                if sample > 0 {
                    clock::sleep(PAUSE);
                }
                let Ok(Metrics { energy: Some(units), power: whole, .. }) = read_metrics(&self.card) else {
                    continue;
                };
                let power = power(&self.card).map(|(_, power)| power).ok().or(whole);
                samples.push(Sample { at: clock::monotonic(), units, power });
            }
            verdict = judge(&samples);
            if matches!(verdict, Verdict::Sound | Verdict::Alone) {
                break;
            }
        }
        verdict
    }

    /// Neither power nor energy: the second die of a board, or a card that measures nothing.
    fn is_silent(&self) -> bool {
        let has_energy = self.metrics.as_ref().is_ok_and(|metrics| metrics.energy.is_some_and(|at| at > 0));
        let whole = self.metrics.as_ref().ok().and_then(|metrics| metrics.power);
        let has_power = self.power.as_ref().map(|(_, power)| *power).ok().or(whole);
        !has_energy && has_power.is_none_or(|power| power == MicroWatts::ZERO)
    }

    fn metrics_path(&self) -> PathBuf {
        self.card.folder.join("gpu_metrics")
    }

    /// How it is read, the file, and in words: the reason for it if the counter is not used.
    fn meter(&self) -> Result<(Meter, PathBuf, String), (Fault, String)> {
        if let Some(path) = power_path(&self.card).filter(|_| self.is_asleep) {
            let detail = format!("{}: power, since the card was asleep at the start", path.display());
            return Ok((Meter::Power, path, detail));
        }
        let shown = self.metrics_path().display().to_string();
        // Where there was no time to compare, who states the unit is taken at his word.
        let is_believed = |metrics: &Metrics, verdict: Verdict| match verdict {
            Verdict::Sound | Verdict::Alone => true,
            Verdict::Untested => metrics.version >= STATED_UNIT && metrics.energy > Some(0),
            Verdict::Still | Verdict::Backwards | Verdict::WrongRate(_) => false,
        };
        let counter = match (&self.metrics, self.verdict) {
            (Ok(metrics), Some(verdict)) if is_believed(metrics, verdict) => {
                let detail = format!("{shown}: energy counter, {verdict}");
                return Ok((Meter::Counter(Follower::new(metrics.is_narrow())), self.metrics_path(), detail));
            }
            (Ok(_), Some(verdict)) => format!("the energy counter of gpu_metrics is not used: {verdict}"),
            (Ok(_), None) => "gpu_metrics has no energy counter".to_owned(),
            (Err((_, reason)), _) => reason.clone(),
        };
        match (&self.power, &self.metrics) {
            (Ok((path, power)), _) if *power > MicroWatts::ZERO => {
                Ok((Meter::Power, path.clone(), format!("{}: power; {counter}", path.display())))
            }
            (_, Ok(Metrics { power: Some(power), .. })) if *power > MicroWatts::ZERO => {
                let detail = format!("{shown}: power in whole watts; {counter}");
                Ok((Meter::WholeWatts, self.metrics_path(), detail))
            }
            (Ok((path, _)), _) => Err((Fault::OutOfRange, format!("{} is 0; {counter}", path.display()))),
            (Err(fault), _) => {
                let fault = match &self.metrics {
                    Err((Fault::PermissionDenied, _)) => Fault::PermissionDenied,
                    Err(_) | Ok(_) => *fault,
                };
                Err((fault, format!("no power in hwmon; {counter}")))
            }
        }
    }
}

fn model(card: &Card) -> String {
    let named = read_text(&card.folder.join("product_name")).ok().filter(|name| !name.is_empty());
    let listed = || MODELS.iter().find(|(number, _)| *number == card.device);
    named
        .or_else(|| listed().map(|(_, name)| (*name).to_owned()))
        .unwrap_or_else(|| format!("AMD {:04x}", card.device))
}

/// Twice the limit, for limits hold for averages only.
fn ceiling(card: &Card) -> MicroWatts {
    let limit = |file: &str| read_number(&card.chip(SOURCE)?.join(file)).ok();
    let limit = limit("power1_cap_max").or_else(|| limit("power1_cap")).filter(|limit| *limit > 0);
    let twice = limit.map(|limit| MicroWatts::new(limit.saturating_mul(2)));
    twice.map_or(HIGHEST, |twice| twice.min(HIGHEST))
}

/// The file of hwmon that is there for power, whether or not it can be read now.
fn power_path(card: &Card) -> Option<PathBuf> {
    let chip = card.chip(SOURCE)?;
    POWER_FILES.iter().map(|file| chip.join(file)).find(|path| path.exists())
}

/// The first file of hwmon that shows power; which one there is differs from part to part.
fn power(card: &Card) -> Result<(PathBuf, MicroWatts), Fault> {
    let chip = card.chip(SOURCE).ok_or(Fault::Missing)?;
    let mut outcome = Err(Fault::Missing);
    for file in POWER_FILES {
        let path = chip.join(file);
        match read_number(&path) {
            Ok(power) => return Ok((path, MicroWatts::new(power))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => outcome = Err(Fault::from(&error)),
        }
    }
    outcome
}

fn read_metrics(card: &Card) -> Result<Metrics, (Fault, String)> {
    let path = card.folder.join("gpu_metrics");
    let mut buffer = Buffer::default();
    let bytes = KernelFile::open(&path).and_then(|file| file.read(&mut buffer).map(<[u8]>::to_vec));
    let bytes = bytes.map_err(|error| (Fault::from(&error), format!("{}: {error}", path.display())))?;
    metrics::parse(&bytes).map_err(|refused| (Fault::Malformed, refused.to_string()))
}

/// Finds the cards, looks at each on a thread of its own, and says what becomes of it. Takes up to a few
/// seconds where a counter and its power disagree.
pub fn discover(
    sysfs: &Path,
    manner: Probe,
    socket_of_package: impl Fn(u32) -> Option<u32>,
) -> (Vec<AmdGpu>, Vec<Finding>) {
    let cards: Vec<Card> = cards(sysfs, VENDOR)
        .into_iter()
        .filter(|card| card.driver.is_empty() || card.driver == SOURCE)
        .collect();
    let looks = cards.iter().cloned().map(|card| move || Look::take(card, manner)).collect();
    let looks = all_within(PATIENCE, looks);
    let mut found: Vec<AmdGpu> = Vec::new();
    let mut findings = Vec::new();
    let mut names = BTreeSet::new();
    // The place among those found of a board's first die, until the second has come.
    let mut open_board = None;
    for (index, (card, look)) in (0..).zip(cards.iter().zip(looks)) {
        let name = name(card, &mut names);
        let mut say = |hw_id: &str, fault: Option<Fault>, detail: &str| {
            findings.push(Finding {
                source: SOURCE.into(),
                hw_id: hw_id.into(),
                fault,
                detail: detail.into(),
            });
        };
        let look = match look {
            Ok(look) => look,
            Err(fault) => {
                say(&name, Some(fault), &format!("{}: the driver does not answer", card.folder.display()));
                continue;
            }
        };
        if TWO_DIES.contains(&card.device)
            && look.is_silent()
            && let Some(board) = open_board.take().and_then(|first: usize| found[first].sights.first_mut())
        {
            // Who holds either die's node holds a part of the board.
            board.nodes.extend(card.nodes());
            say(&name, None, &format!("the second die of {}, which shows the power of both", board.gpu));
            continue;
        }
        let sight = card.sight(sysfs, Vendor::Amd, &name, &look.model, Some(index));
        let mut gpu = AmdGpu {
            domains: Vec::new(),
            scope: Scope::Own,
            sights: vec![sight],
            meter: Meter::Power,
            ceiling: look.ceiling,
            folder: card.folder.clone(),
            path: PathBuf::new(),
            file: None,
            freshness: Freshness::default(),
            buffer: Buffer::default(),
        };
        match look.meter() {
            Ok((meter, path, detail)) => {
                let (domain, scope) = gpu.domain(&look, &name, &meter, &socket_of_package);
                say(&domain.id, None, &detail);
                (gpu.meter, gpu.path, gpu.scope) = (meter, path, scope);
                gpu.domains.push(domain);
                open_board = TWO_DIES.contains(&card.device).then_some(found.len());
            }
            Err((_, detail)) if look.is_processor => {
                let detail = format!("inside the processor, whose meter has its energy; {detail}");
                say(&name, Some(Fault::Unsupported), &detail);
            }
            Err((fault, detail)) => say(&name, Some(fault), &detail),
        }
        found.push(gpu);
    }
    (found, findings)
}

/// Its serial number, as AMD's own tools have it, else its place on the bus. Dies of one board may share
/// a number; the second is then called by its place.
fn name(card: &Card, taken: &mut BTreeSet<String>) -> String {
    let serial = read_text(&card.folder.join("unique_id")).ok();
    let is_serial = |serial: &String| {
        serial.len() == 16
            && serial.bytes().all(|byte| byte.is_ascii_hexdigit())
            && serial.bytes().any(|byte| byte != b'0')
    };
    let name = serial.filter(is_serial).map(|serial| format!("GPU-{serial}"));
    match name {
        Some(name) if taken.insert(name.clone()) => name,
        Some(_) | None => card.name_on_bus(),
    }
}

impl AmdGpu {
    fn domain(
        &self,
        look: &Look,
        name: &str,
        meter: &Meter,
        socket_of_package: impl Fn(u32) -> Option<u32>,
    ) -> (Domain, Scope) {
        let ceiling = self.ceiling;
        let measurement = match meter {
            Meter::Counter(_) => Measurement::Counter { range: None, ceiling },
            Meter::Power | Meter::WholeWatts => Measurement::MeanPower { ceiling },
        };
        let domain = Domain {
            id: name.into(),
            hw_type: HwType::Gpu,
            origin: Origin::Measured,
            gpu: name.into(),
            source: SOURCE.into(),
            place: Place::Counted,
            socket: None,
            measurement,
            floor: None,
            uncertainty_ppm: 0,
        };
        if look.is_processor {
            // What it shows is the whole processor's: for want of a better meter of that.
            let domain = Domain { hw_type: HwType::Cpu, gpu: "".into(), ..domain };
            return (domain, Scope::Spare);
        }
        if look.card.device == MI300A {
            // Its counter stands around the processor's own, in the same package.
            let socket = package(&look.card.folder).and_then(socket_of_package);
            return (Domain { socket, ..domain }, Scope::Module);
        }
        (domain, Scope::Own)
    }
}

/// The kernel's package number of the CPUs that a card is nearest to.
fn package(folder: &Path) -> Option<u32> {
    let cpus = parse_list(&read_text(&folder.join("local_cpulist")).ok()?, MAX_CPUS)?;
    let sysfs = folder.ancestors().find(|folder| folder.join("devices/system/cpu").exists())?;
    let topology = sysfs.join(format!("devices/system/cpu/cpu{}/topology", cpus.first()?));
    read_number(&topology.join("physical_package_id")).ok().and_then(|package| u32::try_from(package).ok())
}

#[cfg(test)]
mod tests;
