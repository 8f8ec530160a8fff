//! Power without a sensor: from the processor's model and how busy it is, and from the memory's size.
//! Curves rise and bend down, as servers do. The result is labelled `estimated`, has an uncertainty,
//! and is never used where something measures.

pub mod gpu;

use super::PowerSource;
use super::hardware::Hardware;
use crate::kernel_file::Buffer;
use crate::model::identity::{HwType, Name, Origin};
use crate::model::quantity::MicroWatts;
use crate::model::reading::{Domain, Fault, Finding, Floor, FloorMethod, Load, Measurement, Place, Value};

/// The source's name on the page.
pub const SOURCE: &str = "estimate";

const TDP: &str = include_str!("../../data/cpu_tdp.csv");
const MICROARCHITECTURES: &str = include_str!("../../data/cpu_microarchitecture.csv");
const INSTANCES: &str = include_str!("../../data/instance_types.csv");

/// `memory, watts_per_gigabyte` of data/component_power.csv.
const MICROWATTS_PER_GIGABYTE: u64 = 380_000;

/// `cpu, watts_per_thread_when_model_is_unknown` of data/component_power.csv: design power, not draw.
const MICROWATTS_PER_UNKNOWN_THREAD: u64 = 4_000_000;

/// `cpu, tdp_share_at_*` of data/component_power.csv: (busy ppm, share of the TDP in ppm).
const TDP_SHARES: [(u32, u64); 4] =
    [(0, 120_000), (100_000, 320_000), (500_000, 750_000), (1_000_000, 1_020_000)];

/// `2u − u^1.4` (Fan et al. 2007): how far power has risen from idle to full at `u` busy, in ppm.
const RISE: [(u32, u64); 6] = [
    (0, 0),
    (100_000, 160_189),
    (250_000, 356_413),
    (500_000, 621_071),
    (750_000, 831_524),
    (1_000_000, 1_000_000),
];

/// Half the width of the error, by how much is known (measurement.md §6).
const UNCERTAINTY_KNOWN_CPU: u32 = 250_000;
const UNCERTAINTY_KNOWN_KIND: u32 = 400_000;
const UNCERTAINTY_UNKNOWN: u32 = 500_000;
const UNCERTAINTY_MEMORY: u32 = 400_000;

/// What the user knows better.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wishes {
    /// `provider/type`, for a cloud machine.
    pub instance_type: Option<String>,
    /// The processor's thermal design power for each socket.
    pub tdp: Option<MicroWatts>,
    /// Accelerators that cannot be read.
    pub gpu: gpu::Wish,
}

/// Power by load: points in rising order, at least one, straight lines between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Curve {
    points: Vec<(u32, MicroWatts)>,
}

impl Curve {
    /// The power at this busy share in ppm.
    #[must_use]
    pub fn at(&self, busy_ppm: u32) -> MicroWatts {
        let busy = busy_ppm.min(1_000_000);
        let above = self.points.partition_point(|point| point.0 < busy).min(self.points.len() - 1);
        let (high_at, high) = self.points[above];
        let (low_at, low) = self.points[above.saturating_sub(1)];
        if busy >= high_at || high_at == low_at {
            return high;
        }
        let rise = high.get().saturating_sub(low.get());
        let part = u128::from(rise) * u128::from(busy - low_at) / u128::from(high_at - low_at);
        MicroWatts::new(low.get() + u64::try_from(part).expect("a part of a rise that fits"))
    }

    fn of_tdp(tdp: u64) -> Curve {
        Curve {
            points: TDP_SHARES
                .iter()
                .map(|&(busy, share)| (busy, MicroWatts::new(tdp / 1_000 * share / 1_000)))
                .collect(),
        }
    }

    fn between(idle: u64, full: u64) -> Curve {
        let rise = full.saturating_sub(idle);
        Curve {
            points: RISE
                .iter()
                .map(|&(busy, share)| (busy, MicroWatts::new(idle + rise / 1_000 * share / 1_000)))
                .collect(),
        }
    }
}

/// The estimates in use.
#[derive(Debug)]
pub struct Estimate {
    domains: Vec<Domain>,
    curves: Vec<Curve>,
}

impl PowerSource for Estimate {
    fn domains(&self) -> &[Domain] {
        &self.domains
    }

    fn read(&mut self, load: Load, _: &mut Buffer, values: &mut Vec<Result<Value, Fault>>) {
        values.extend(self.curves.iter().map(|curve| Ok(Value::MeanPower(curve.at(load.busy_ppm)))));
    }
}

/// A curve, how sure it is, whether it holds the memory too, and how it was come by.
struct Choice {
    curve: Curve,
    uncertainty_ppm: u32,
    includes_memory: bool,
    method: String,
}

impl Estimate {
    /// Estimates what is not measured.
    #[must_use]
    pub fn fill(
        hardware: &Hardware,
        wishes: &Wishes,
        needs_cpu: bool,
        needs_memory: bool,
    ) -> (Option<Estimate>, Vec<Finding>) {
        let mut estimate = Estimate { domains: Vec::new(), curves: Vec::new() };
        let mut findings = Vec::new();
        let mut has_memory = !needs_memory;
        if needs_cpu {
            let choice = choose(hardware, wishes, needs_memory);
            has_memory |= choice.includes_memory;
            findings.push(estimate.add("cpu", HwType::Cpu, choice));
        }
        if !has_memory {
            match memory(hardware) {
                Some(choice) => findings.push(estimate.add("memory", HwType::Memory, choice)),
                None => findings.push(Finding {
                    source: SOURCE.into(),
                    hw_id: "memory".into(),
                    fault: Some(Fault::Missing),
                    detail: "no MemTotal in meminfo".into(),
                }),
            }
        }
        ((!estimate.domains.is_empty()).then_some(estimate), findings)
    }

    fn add(&mut self, id: &str, hw_type: HwType, choice: Choice) -> Finding {
        let id: Name = id.into();
        let idle = choice.curve.at(0);
        let full = choice.curve.at(1_000_000);
        self.domains.push(Domain {
            id: id.clone(),
            hw_type,
            origin: Origin::Estimated,
            gpu: "".into(),
            source: SOURCE.into(),
            place: Place::Counted,
            socket: None,
            measurement: Measurement::MeanPower { ceiling: MicroWatts::new(full.get().saturating_mul(2)) },
            floor: Some(Floor { power: idle, method: FloorMethod::Model }),
            uncertainty_ppm: choice.uncertainty_ppm,
        });
        self.curves.push(choice.curve);
        let detail = format!("{}, {:.1} W idle to {:.1} W", choice.method, idle.as_watts(), full.as_watts());
        Finding { source: SOURCE.into(), hw_id: id, fault: None, detail: detail.into() }
    }
}

/// The best curve for these processors: the instance type, else (bare metal) the model's thermal
/// design power, else the watts of its microarchitecture for each thread.
fn choose(hardware: &Hardware, wishes: &Wishes, may_include_memory: bool) -> Choice {
    let instance = wishes.instance_type.as_ref().or(hardware.instance_type.as_ref());
    if let Some(name) = instance
        && may_include_memory
        && let Some(curve) = instance_curve(name)
    {
        return Choice {
            curve,
            uncertainty_ppm: UNCERTAINTY_KNOWN_KIND,
            includes_memory: true,
            method: format!("instance type {name}, memory included"),
        };
    }
    let sockets = u64::from(hardware.sockets.max(1));
    if let Some(tdp) = wishes.tdp {
        return Choice {
            curve: Curve::of_tdp(tdp.get() * sockets),
            uncertainty_ppm: UNCERTAINTY_KNOWN_CPU,
            includes_memory: false,
            method: format!("configured TDP of {} W for each of {sockets} sockets", tdp.as_watts()),
        };
    }
    if !hardware.is_virtual
        && let Some(tdp) = tdp_of(&hardware.model_name)
    {
        return Choice {
            curve: Curve::of_tdp(tdp.get() * sockets),
            uncertainty_ppm: UNCERTAINTY_KNOWN_CPU,
            includes_memory: false,
            method: format!("TDP of {} W for each of {sockets} sockets", tdp.as_watts()),
        };
    }
    let threads = u64::from(hardware.cpus.max(1));
    if !may_include_memory {
        return Choice {
            curve: Curve::of_tdp(MICROWATTS_PER_UNKNOWN_THREAD * threads),
            uncertainty_ppm: UNCERTAINTY_UNKNOWN,
            includes_memory: false,
            method: format!("TDP of 4 W for each of {threads} threads"),
        };
    }
    let (name, idle, full) = microarchitecture(hardware);
    let is_known = name != "*";
    Choice {
        curve: Curve::between(idle.get() * threads, full.get() * threads),
        uncertainty_ppm: if is_known && !hardware.is_virtual {
            UNCERTAINTY_KNOWN_KIND
        } else {
            UNCERTAINTY_UNKNOWN
        },
        includes_memory: true,
        method: if is_known {
            format!("{name}, {threads} threads of a server, memory included")
        } else {
            format!("{threads} threads of an average server, memory included")
        },
    }
}

fn memory(hardware: &Hardware) -> Option<Choice> {
    let gigabytes_milli = hardware.memory_kb.checked_mul(1_024)? / 1_000_000;
    if gigabytes_milli == 0 {
        return None;
    }
    let power = MicroWatts::new(gigabytes_milli.checked_mul(MICROWATTS_PER_GIGABYTE)? / 1_000);
    Some(Choice {
        curve: Curve { points: vec![(0, power), (1_000_000, power)] },
        uncertainty_ppm: UNCERTAINTY_MEMORY,
        includes_memory: true,
        method: format!("{:.1} GB at 0.38 W/GB, whatever the load", gigabytes_milli as f64 / 1e3),
    })
}

/// Whether the table knows `provider/type`.
#[must_use]
pub fn knows_instance(name: &str) -> bool {
    instance_curve(name).is_some()
}

fn rows(table: &'static str) -> impl Iterator<Item = csv::StringRecord> {
    let reader = csv::ReaderBuilder::new().comment(Some(b'#')).from_reader(table.as_bytes());
    reader
        .into_records()
        .map(|row| row.expect("the tables in data/ are well formed; a test reads them whole"))
}

fn watts(row: &csv::StringRecord, column: usize) -> MicroWatts {
    let text = row.get(column).unwrap_or_default();
    MicroWatts::parse_watts(text).expect("the tables in data/ hold plain decimals; a test reads them whole")
}

fn instance_curve(name: &str) -> Option<Curve> {
    let (provider, kind) = name.split_once('/')?;
    let is_it =
        |row: &csv::StringRecord| row[0].eq_ignore_ascii_case(provider) && row[1].eq_ignore_ascii_case(kind);
    let row = rows(INSTANCES).find(is_it)?;
    let points = [(0, 4), (100_000, 5), (500_000, 6), (1_000_000, 7)];
    Some(Curve { points: points.iter().map(|&(busy, column)| (busy, watts(&row, column))).collect() })
}

fn microarchitecture(hardware: &Hardware) -> (String, MicroWatts, MicroWatts) {
    let is_it = |row: &csv::StringRecord| {
        let bound = |column: usize| row[column].parse::<u32>().ok();
        &row[0] == "*"
            || row[0] == *hardware.vendor
                && row[1] == *hardware.family
                && bound(2).is_some_and(|first| first <= hardware.model)
                && bound(3).is_some_and(|last| hardware.model <= last)
    };
    let row = rows(MICROARCHITECTURES).find(is_it).expect("the last row of the table, *, matches everything");
    let name = if &row[0] == "*" { "*" } else { &row[4] };
    (name.to_owned(), watts(&row, 5), watts(&row, 6))
}

/// The design power of the model: the row that is equal, else the longest that the name starts with
/// and that ends where a word ends.
fn tdp_of(model_name: &str) -> Option<MicroWatts> {
    let name = normalise(model_name);
    let is_start = |row: &csv::StringRecord| {
        let model = row[0].to_ascii_lowercase();
        let rest = name.strip_prefix(&model)?;
        (rest.is_empty() || rest.starts_with(' ')).then_some(model.len())
    };
    let best = rows(TDP).filter_map(|row| Some((is_start(&row)?, watts(&row, 1)))).max_by_key(|best| best.0);
    best.map(|(_, tdp)| tdp)
}

/// The form in which processor names are compared, in lower case; data/README.md lists the steps.
fn normalise(name: &str) -> String {
    let lower = name.to_lowercase().replace('\u{a0}', " ").replace('\u{200b}', "");
    let mut plain = lower;
    for mark in ["(r)", "(tm)", "(c)", "®", "™", "©"] {
        plain = plain.replace(mark, " ");
    }
    for tail in [" with ", " w/", " includes "] {
        plain.truncate(plain.find(tail).unwrap_or(plain.len()));
    }
    while let (Some(open), Some(length)) =
        (plain.find('('), plain.find('(').and_then(|open| plain[open..].find(')')))
    {
        plain.replace_range(open..=open + length, " ");
    }
    let is_clock = |word: &str| {
        let number = word.strip_suffix("ghz").or_else(|| word.strip_suffix("mhz"));
        number.is_some_and(|number| {
            number.trim_start_matches('@').bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
        })
    };
    // `64-Core Processor` is a count; the `Dual-Core` of a Pentium is its name.
    let all: Vec<&str> = plain.split_whitespace().collect();
    let is_core_count = |place: usize, word: &str| {
        let next = all.get(place + 1);
        word.ends_with("-core") && next == Some(&"processor") || word.ends_with("-cores") && next.is_none()
    };
    let is_noise = |word: &str| matches!(word, "cpu" | "processor" | "@") || is_clock(word);
    let kept = all.iter().enumerate().filter(|(place, word)| !is_noise(word) && !is_core_count(*place, word));
    let mut words: Vec<&str> = kept.map(|(_, word)| *word).collect();
    if words.len() > 2 && words[1] == "gen" && words[0].ends_with("th") {
        words.drain(..2);
    }
    while matches!(words.last(), Some(&("apu" | "mobile"))) {
        words.pop();
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_tables_are_whole_monotone_and_plausible() {
        for row in rows(INSTANCES) {
            let points: Vec<MicroWatts> = (4..8).map(|column| watts(&row, column)).collect();
            assert!(points.is_sorted(), "{row:?}");
            assert!(points[3] < MicroWatts::from_watts(20_000), "{row:?}");
        }
        for row in rows(MICROARCHITECTURES) {
            assert!(MicroWatts::ZERO < watts(&row, 5) && watts(&row, 5) < watts(&row, 6), "{row:?}");
        }
        for row in rows(TDP) {
            let tdp = watts(&row, 1);
            assert!((MicroWatts::from_watts(1)..=MicroWatts::from_watts(600)).contains(&tdp), "{row:?}");
            assert_eq!(normalise(&row[0]), row[0].to_lowercase(), "the table's names are normalised");
        }
    }

    #[test]
    fn constants_equal_the_table() {
        let table = include_str!("../../data/component_power.csv");
        let value = |component: &str, quantity: &str| {
            let row = rows(table).find(|row| &row[0] == component && &row[1] == quantity).expect("a row");
            MicroWatts::parse_watts(&row[2]).expect("a number").get()
        };
        assert_eq!(value("memory", "watts_per_gigabyte"), MICROWATTS_PER_GIGABYTE);
        assert_eq!(value("cpu", "watts_per_thread_when_model_is_unknown"), MICROWATTS_PER_UNKNOWN_THREAD);
        for (busy, share) in TDP_SHARES {
            assert_eq!(value("cpu", &format!("tdp_share_at_{}_percent", busy / 10_000)), share);
        }
        for (busy, share) in RISE {
            let u = f64::from(busy) / 1e6;
            assert!(((2.0 * u - u.powf(1.4)) * 1e6 - share as f64).abs() < 1.0, "{busy}");
        }
    }

    #[test]
    fn processors_are_found_by_the_names_they_give_themselves() {
        for (name, watts) in [
            ("Intel(R) Xeon(R) Gold 6248 CPU @ 2.50GHz", Some(150)),
            ("AMD EPYC 7742 64-Core Processor", Some(225)),
            ("Intel(R) Core(TM) i7-8700K CPU @ 3.70GHz", Some(95)),
            ("Intel(R) Xeon(R) Processor", None),
            ("AMD EPYC", None),
            ("", None),
        ] {
            assert_eq!(tdp_of(name), watts.map(MicroWatts::from_watts), "{name}");
        }
    }

    fn hardware() -> Hardware {
        Hardware {
            vendor: "AuthenticAMD".into(),
            family: "26".into(),
            model: 2,
            model_name: "AMD EPYC".into(),
            cpus: 2,
            sockets: 1,
            memory_kb: 24_000_000,
            is_virtual: true,
            ..Hardware::default()
        }
    }

    fn filled(hardware: &Hardware, wishes: &Wishes, cpu: bool, memory: bool) -> Vec<(String, u32, String)> {
        let (estimate, findings) = Estimate::fill(hardware, wishes, cpu, memory);
        let domains = estimate.map(|estimate| estimate.domains).unwrap_or_default();
        domains
            .iter()
            .zip(&findings)
            .map(|(domain, finding)| {
                (domain.id.to_string(), domain.uncertainty_ppm, finding.detail.to_string())
            })
            .collect()
    }

    #[test]
    fn what_is_known_decides_the_method() {
        let virtual_machine = filled(&hardware(), &Wishes::default(), true, true);
        assert_eq!(virtual_machine.len(), 1, "{virtual_machine:?}");
        assert!(virtual_machine[0].2.starts_with("Zen 5 (Turin), 2 threads"), "{virtual_machine:?}");

        let wishes = Wishes { instance_type: Some("aws/c5.large".into()), ..Wishes::default() };
        let instance = filled(&hardware(), &wishes, true, true);
        assert!(
            instance.len() == 1 && instance[0].2.starts_with("instance type aws/c5.large"),
            "{instance:?}"
        );

        let metal = Hardware {
            model_name: "AMD EPYC 7742 64-Core Processor".into(),
            is_virtual: false,
            sockets: 2,
            ..hardware()
        };
        let metal_both = filled(&metal, &Wishes::default(), true, true);
        assert_eq!(metal_both.len(), 2);
        assert_eq!(metal_both[0].1, UNCERTAINTY_KNOWN_CPU);
        assert!(metal_both[0].2.ends_with("54.0 W idle to 459.0 W"), "{metal_both:?}");
        assert_eq!(filled(&metal, &Wishes::default(), false, true).len(), 1);
        assert_eq!(filled(&metal, &Wishes::default(), false, false).len(), 0);
    }

    proptest! {
        #[test]
        fn curves_rise_with_load_and_stay_within_their_ends(
            idle in 0..1_000_000_000_u64, rise in 0..1_000_000_000_u64,
            first in 0..=1_100_000_u32, second in 0..=1_100_000_u32,
        ) {
            for curve in [Curve::between(idle, idle + rise), Curve::of_tdp(idle)] {
                let power = |busy_ppm| curve.at(busy_ppm);
                let (idle, full) = (power(0), power(1_000_000));
                let (low, high) = (power(first.min(second)), power(first.max(second)));
                prop_assert!(idle <= low && low <= high && high <= full);
            }
        }

        #[test]
        fn any_name_is_normalised(name in "\\PC{0,60}") {
            let once = normalise(&name);
            prop_assert_eq!(normalise(&once), once);
        }
    }
}
