//! Accelerators that are there and cannot be read: power = idle + utilisation × (limit − idle), by their
//! model. The utilisation is read where the driver shows it, else assumed, and the error says so: it spans
//! everything from idle to the limit. Never for a device that is measured, never inside a measured root.

use super::{SOURCE, rows, watts};
use crate::kernel_file::{Buffer, KernelFile, parse_number};
use crate::model::gpu::Sight;
use crate::model::identity::{HwType, Name, Origin};
use crate::model::quantity::{MicroWatts, Nanos};
use crate::model::reading::{Domain, Fault, Finding, Floor, FloorMethod, Measurement, Place, Value};
use crate::source::background::{SlowSource, within};
use crate::source::drm::is_asleep;
use std::path::{Path, PathBuf};

const TABLE: &str = include_str!("../../../data/gpu_power.csv");

/// The utilisation is read this often.
pub const PERIOD: Nanos = Nanos::from_seconds(1);

/// Nobody waits longer for the first one.
const PATIENCE: Nanos = Nanos::from_seconds(1);

/// A figure that is there tells of time and not of work: at 100 % a card draws a third of its limit, or all.
const UNCERTAINTY_BUSY: u32 = 500_000;

/// What makers and their product lines are called, in the names that drivers give.
const NOISE: [&str; 7] = ["nvidia", "tesla", "geforce", "quadro", "grid", "amd", "intel"];

/// Whether and how accelerators are estimated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// At all.
    pub is_on: bool,
    /// The utilisation that is taken where none is shown, in ppm.
    pub utilization_ppm: u32,
}

impl Default for Wish {
    fn default() -> Wish {
        Wish { is_on: true, utilization_ppm: 300_000 }
    }
}

/// One device's estimate.
#[derive(Debug)]
pub struct GpuEstimate {
    domain: Domain,
    sights: Vec<Sight>,
    power: Range,
    assumed_ppm: u32,
    busy: Option<(PathBuf, Option<KernelFile>)>,
    buffer: Buffer,
}

/// From idle to the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    idle: MicroWatts,
    limit: MicroWatts,
}

impl Range {
    fn at(self, utilization_ppm: u32) -> MicroWatts {
        let rise = self.limit.get().saturating_sub(self.idle.get());
        let part = u128::from(rise) * u128::from(utilization_ppm.min(1_000_000)) / 1_000_000;
        MicroWatts::new(self.idle.get() + u64::try_from(part).expect("no more than the rise"))
    }

    /// Half the width of the error, as a share of the assumed power, that spans the whole range.
    fn uncertainty_ppm(self, utilization_ppm: u32) -> u32 {
        let assumed = self.at(utilization_ppm).get().max(1);
        let most = (assumed - self.idle.get()).max(self.limit.get().saturating_sub(assumed));
        u32::try_from(u128::from(most) * 1_000_000 / u128::from(assumed)).unwrap_or(u32::MAX)
    }
}

impl SlowSource for GpuEstimate {
    fn domains(&self) -> &[Domain] {
        std::slice::from_ref(&self.domain)
    }

    fn gpus(&self) -> &[Sight] {
        &self.sights
    }

    fn read(&mut self, _: Nanos) -> Vec<Result<Value, Fault>> {
        let utilization = match &mut self.busy {
            // To ask a card that sleeps would wake it.
            Some((path, _)) if path.parent().is_some_and(is_asleep) => Err(Fault::Inactive),
            Some((path, file)) => busy(path, file, &mut self.buffer),
            None => Ok(self.assumed_ppm),
        };
        vec![utilization.map(|utilization| Value::MeanPower(self.power.at(utilization)))]
    }
}

/// `gpu_busy_percent`, in ppm.
fn busy(path: &Path, file: &mut Option<KernelFile>, buffer: &mut Buffer) -> Result<u32, Fault> {
    let open = match file.take() {
        Some(open) => open,
        None => KernelFile::open(path).map_err(|error| Fault::from(&error))?,
    };
    let percent = parse_number(open.read_start(buffer).map_err(|error| Fault::from(&error))?);
    *file = Some(open);
    let percent = percent.filter(|percent| *percent <= 100).ok_or(Fault::OutOfRange)?;
    Ok(u32::try_from(percent).expect("no more than 100") * 10_000)
}

impl GpuEstimate {
    /// The estimate of a device that was seen and is not measured, and what is to be said of it.
    #[must_use]
    pub fn of(sysfs: &Path, sight: &Sight, wish: Wish) -> (Option<GpuEstimate>, Finding) {
        let finding = |fault: Option<Fault>, detail: String| Finding {
            source: SOURCE.into(),
            hw_id: sight.gpu.clone(),
            fault,
            detail: detail.into(),
        };
        let Some(power) = power_of(&sight.model) else {
            let detail = format!("data/gpu_power.csv does not know {:?}", &*sight.model);
            return (None, finding(Some(Fault::Unsupported), detail));
        };
        let file = sysfs.join("bus/pci/devices").join(&*sight.pci).join("gpu_busy_percent");
        let mut busy = Some((file, None)).filter(|(file, _)| file.exists());
        // What sleeps is asked when it is awake; what hangs is left to who reads it each second.
        if let Some((path, _)) = &busy
            && !path.parent().is_some_and(is_asleep)
        {
            let path = path.clone();
            let look = move || self::busy(&path, &mut None, &mut Buffer::default()).is_err();
            if within(PATIENCE, look) == Ok(true) {
                busy = None;
            }
        }
        let assumed = wish.utilization_ppm;
        let (uncertainty_ppm, by) = match &busy {
            Some((path, _)) => (UNCERTAINTY_BUSY, path.display().to_string()),
            None => {
                (power.uncertainty_ppm(assumed), format!("a utilisation of {} %, assumed", assumed / 10_000))
            }
        };
        let (idle, limit) = (power.idle.as_watts(), power.limit.as_watts());
        let detail = format!("{}, {idle:.1} W idle to {limit:.1} W, by {by}", sight.model);
        let estimate = GpuEstimate {
            domain: domain(&sight.gpu, power, uncertainty_ppm),
            sights: vec![sight.clone()],
            power,
            assumed_ppm: assumed,
            busy,
            buffer: Buffer::default(),
        };
        (Some(estimate), finding(None, detail))
    }

    /// Whether it has a file to read, which may hang.
    #[must_use]
    pub const fn may_block(&self) -> bool {
        self.busy.is_some()
    }
}

fn domain(gpu: &Name, power: Range, uncertainty_ppm: u32) -> Domain {
    Domain {
        id: gpu.clone(),
        hw_type: HwType::Gpu,
        origin: Origin::Estimated,
        gpu: gpu.clone(),
        source: SOURCE.into(),
        place: Place::Counted,
        socket: None,
        measurement: Measurement::MeanPower { ceiling: MicroWatts::new(power.limit.get().saturating_mul(2)) },
        floor: Some(Floor { power: power.idle, method: FloorMethod::Model }),
        uncertainty_ppm,
    }
}

/// Whether accelerators are inside something measured that does not tell them apart: a meter of the node,
/// of the platform or of a module, or a counter of accelerators that nobody can name.
#[must_use]
pub fn is_inside(domains: &[Domain]) -> bool {
    domains.iter().filter(|domain| domain.origin == Origin::Measured).any(|domain| match &domain.place {
        Place::Counted => match domain.hw_type {
            HwType::Other => true,
            HwType::Gpu => domain.gpu.is_empty(),
            HwType::Cpu | HwType::Memory => false,
        },
        Place::Around(_) => true,
        Place::Inside(_) | Place::Beside => false,
    })
}

/// The row that is equal to the model's name, else the longest that it starts with and that ends where a
/// word ends.
fn power_of(model: &str) -> Option<Range> {
    let name = normalise(model);
    let is_start = |row: &csv::StringRecord| {
        let model = normalise(&row[0]);
        let rest = name.strip_prefix(&model)?;
        (rest.is_empty() || rest.starts_with(' ')).then_some(model.len())
    };
    let best = rows(TABLE).filter_map(|row| Some((is_start(&row)?, row))).max_by_key(|(length, _)| *length);
    best.map(|(_, row)| Range { limit: watts(&row, 1), idle: watts(&row, 2) })
}

/// The form in which models are compared; the comments of data/gpu_power.csv give it in words.
fn normalise(name: &str) -> String {
    let plain = name.to_lowercase().replace('-', " ");
    let words: Vec<&str> = plain.split_whitespace().filter(|word| !NOISE.contains(word)).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::gpu::{Partition, Vendor};
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn sight(model: &str) -> Sight {
        Sight {
            gpu: "GPU-1".into(),
            vendor: Vendor::Nvidia,
            model: model.into(),
            driver: "".into(),
            pci: "0000:05:00.0".into(),
            index: Some(0),
            nodes: Vec::new(),
            partition: Partition::Whole,
            processes: Err(Fault::Unsupported),
        }
    }

    #[test]
    fn the_table_is_sorted_plausible_and_says_whose_word_it_is() {
        let mut names = BTreeSet::new();
        let mut before = String::new();
        for row in rows(TABLE) {
            let (limit, idle) = (watts(&row, 1), watts(&row, 2));
            let limits = MicroWatts::from_watts(50)..=MicroWatts::from_watts(1_500);
            assert!(limits.contains(&limit), "{row:?}");
            assert!(MicroWatts::from_watts(2) < idle && idle.get() * 2 < limit.get(), "{row:?}");
            assert!(["typical", "share"].contains(&&row[3]), "{row:?}");
            // A share is 12 % of the limit, to a watt and a half.
            let share = limit.get() / 1_000 * 120;
            assert!(&row[3] == "typical" || share.abs_diff(idle.get()) < 1_500_000, "{row:?}");
            assert!(!row[4].is_empty() && row[5].parse::<u16>().is_ok() && &row[6] == "facts", "{row:?}");
            assert!(names.insert(normalise(&row[0])), "{row:?} is there twice");
            assert!(before < row[0].to_lowercase(), "{row:?} is not in its place");
            before = row[0].to_lowercase();
        }
        assert!(names.len() > 70);
    }

    #[test]
    fn models_are_found_by_the_names_their_drivers_give_them() {
        for (name, watts) in [
            ("NVIDIA H100 80GB HBM3", Some(700)),
            ("NVIDIA H100 PCIe", Some(350)),
            ("NVIDIA A100-SXM4-80GB", Some(400)),
            ("NVIDIA A100-PCIE-40GB", Some(250)),
            ("NVIDIA A10G", Some(300)),
            ("NVIDIA A10", Some(150)),
            ("Tesla V100-PCIE-32GB", Some(250)),
            ("Tesla T4", Some(70)),
            ("NVIDIA GeForce RTX 4090", Some(450)),
            ("NVIDIA RTX 6000 Ada Generation", Some(300)),
            ("Quadro RTX 6000", Some(260)),
            ("AMD Instinct MI300X OAM", Some(750)),
            ("AMD INSTINCT MI250 (MCM) OAM AC MBA", Some(280)),
            ("Intel Data Center GPU Max 1550", Some(600)),
            ("NVIDIA GH200 480GB", None),
            ("NVIDIA H100", None),
            ("NVIDIA Z9000", None),
            ("", None),
        ] {
            let limit = power_of(name).map(|power| power.limit);
            assert_eq!(limit, watts.map(MicroWatts::from_watts), "{name}");
        }
    }

    #[test]
    fn what_is_assumed_is_told_with_an_error_that_spans_everything() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (estimate, finding) =
            GpuEstimate::of(folder.path(), &sight("NVIDIA H100 80GB HBM3"), Wish::default());
        let mut estimate = estimate.expect("the model is known");
        let detail = "NVIDIA H100 80GB HBM3, 70.0 W idle to 700.0 W, by a utilisation of 30 %, assumed";
        assert_eq!((finding.fault, &*finding.detail), (None, detail));
        assert_eq!(estimate.read(Nanos::ZERO), [Ok(Value::MeanPower(MicroWatts::from_watts(259)))]);
        // 259 W and 441 above it: 170 %.
        assert_eq!(estimate.domain.uncertainty_ppm, 1_702_702);
        let (none, finding) = GpuEstimate::of(folder.path(), &sight("NVIDIA Z9000"), Wish::default());
        assert!(none.is_none() && finding.fault == Some(Fault::Unsupported));
    }

    #[test]
    fn a_utilisation_that_is_shown_is_used() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let device = folder.path().join("bus/pci/devices/0000:05:00.0");
        std::fs::create_dir_all(&device).expect("made");
        let write = |text: &str| std::fs::write(device.join("gpu_busy_percent"), text).expect("written");
        write("50\n");
        let (estimate, _) = GpuEstimate::of(folder.path(), &sight("AMD Instinct MI300X"), Wish::default());
        let mut estimate = estimate.expect("the model is known");
        assert!(estimate.may_block() && estimate.domain.uncertainty_ppm == UNCERTAINTY_BUSY);
        assert_eq!(estimate.read(Nanos::ZERO), [Ok(Value::MeanPower(MicroWatts::from_watts(445)))]);
        std::fs::create_dir_all(device.join("power")).expect("made");
        let status = |text: &str| std::fs::write(device.join("power/runtime_status"), text).expect("written");
        status("suspended\n");
        assert_eq!(estimate.read(Nanos::ZERO), [Err(Fault::Inactive)], "it is let sleep");
        status("active\n");
        write("101\n");
        assert_eq!(estimate.read(Nanos::ZERO), [Err(Fault::OutOfRange)]);
        // A file that cannot be read from the start is none.
        let (estimate, _) = GpuEstimate::of(folder.path(), &sight("AMD Instinct MI300X"), Wish::default());
        assert!(!estimate.expect("the model is known").may_block());
    }

    proptest! {
        #[test]
        fn power_rises_with_utilisation_and_the_error_spans_the_range(
            idle in 1..1_000_000_000_u64, rise in 0..1_000_000_000_u64,
            first in 0..=1_100_000_u32, second in 0..=1_100_000_u32,
        ) {
            let power = Range { idle: MicroWatts::new(idle), limit: MicroWatts::new(idle + rise) };
            let (low, high) = (power.at(first.min(second)), power.at(first.max(second)));
            prop_assert!(power.idle <= low && low <= high && high <= power.limit);
            let half = u128::from(power.uncertainty_ppm(first)) + 1;
            let assumed = u128::from(power.at(first).get());
            prop_assert!(assumed * (1_000_000 + half) >= u128::from(power.limit.get()) * 1_000_000);
            prop_assert!(assumed * (1_000_000_u128.saturating_sub(half)) <= u128::from(idle) * 1_000_000);
        }

        #[test]
        fn any_model_has_a_power_or_none(model in "\\PC{0,60}") {
            let _ = power_of(&model);
        }
    }
}
