//! RAPL by perf events: the same counters as powercap's, widened to 64 bits by the kernel, for processes
//! that have CAP_PERFMON (or a `perf_event_paranoid` of 0) and may not read powercap.
//! Kernel: arch/x86/events/rapl.c, Documentation/ABI/testing/sysfs-bus-event_source-devices-events.

use super::PowerSource;
use crate::kernel_file::{Buffer, parse_list, read_number, read_text};
use crate::model::identity::{HwType, Origin};
use crate::model::quantity::{Energy, MicroWatts};
use crate::model::reading::{Domain, Fault, Finding, Load, Measurement, Place, Value};
use perf_event::events::Software;
use perf_event::{Builder, Counter};
use std::collections::BTreeMap;
use std::path::Path;

/// The source's name on the page.
pub const SOURCE: &str = "perf";

/// The platform's meter.
const PLATFORM: &str = "psys";

/// Packages or dies at the most.
const MAX_PACKAGES: usize = 64;

/// The counters in use.
pub struct Perf {
    domains: Vec<Domain>,
    counters: Vec<(Counter, Scale)>,
}

/// µJ of one count, in 2^-64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Scale(u128);

impl PowerSource for Perf {
    fn domains(&self) -> &[Domain] {
        &self.domains
    }

    fn read(&mut self, _: Load, _: &mut Buffer, values: &mut Vec<Result<Value, Fault>>) {
        values.extend(self.counters.iter_mut().map(|(counter, scale)| match counter.read() {
            Ok(count) => scale.energy(count).map(Value::Counter).ok_or(Fault::OutOfRange),
            Err(error) => Err(Fault::from(&error)),
        }));
    }
}

impl Scale {
    /// `2.3283064365386962890625e-10` is 2^-32 J.
    fn parse(text: &str) -> Option<Scale> {
        let joules: f64 = text.trim().parse().ok()?;
        // Between a thousandth of a nanojoule and a megajoule.
        if !(1e-12..=1e6).contains(&joules) {
            return None;
        }
        // In range, and above 0: the cast neither cuts nor turns the sign.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let scale = (joules * 1e6 * 2_f64.powi(64)).round() as u128;
        Some(Scale(scale))
    }

    fn energy(self, count: u64) -> Option<Energy> {
        let micro = u128::from(count).checked_mul(self.0)? >> 64;
        u64::try_from(micro).ok().map(Energy::from_micro)
    }
}

/// Opens the counters; a process that gave up its capabilities keeps them.
pub fn discover(
    sysfs: &Path,
    socket_of_package: impl Fn(u32) -> Option<u32>,
) -> (Option<Perf>, Vec<Finding>) {
    let pmu = sysfs.join("bus/event_source/devices/power");
    let Ok(number) = read_number(&pmu.join("type")) else { return (None, Vec::new()) };
    let Ok(number) = u32::try_from(number) else { return (None, Vec::new()) };
    let finding = |hw_id: &str, fault: Option<Fault>, detail: &str| Finding {
        source: SOURCE.into(),
        hw_id: hw_id.into(),
        fault,
        detail: detail.into(),
    };
    let mask = read_text(&pmu.join("cpumask")).unwrap_or_default();
    let cpus = parse_list(&mask, MAX_PACKAGES).unwrap_or_default();
    let places = places(sysfs, &cpus);
    let mut perf = Perf { domains: Vec::new(), counters: Vec::new() };
    let mut findings = Vec::new();
    for (event, part, hw_type) in [
        ("energy-pkg", "", HwType::Cpu),
        ("energy-ram", "-dram", HwType::Memory),
        ("energy-cores", "-core", HwType::Cpu),
        ("energy-gpu", "-uncore", HwType::Cpu),
        ("energy-psys", PLATFORM, HwType::Other),
    ] {
        let file = pmu.join("events").join(event);
        let Some(config) = read_text(&file).ok().and_then(|text| config(&text)) else { continue };
        let scale = read_text(&pmu.join("events").join(format!("{event}.scale")));
        let scale = scale.ok().and_then(|text| Scale::parse(&text));
        let unit = read_text(&pmu.join("events").join(format!("{event}.unit"))).unwrap_or_default();
        // The platform has one meter, whichever processor is asked.
        let asked = if part == PLATFORM { 1 } else { usize::MAX };
        for (cpu, package, package_id) in places.iter().take(asked) {
            let id = if part == PLATFORM { part.to_owned() } else { format!("{package_id}{part}") };
            let detail = format!("{} on cpu{cpu}", file.display());
            let Some(scale) = scale.filter(|_| unit == "Joules") else {
                findings.push(finding(&id, Some(Fault::Malformed), &detail));
                continue;
            };
            let counter = match open(number, config, *cpu) {
                Ok(counter) => counter,
                Err(fault) => {
                    findings.push(finding(&id, Some(fault), &detail));
                    continue;
                }
            };
            findings.push(finding(&id, None, &detail));
            let place = match part {
                "" | "-dram" => Place::Counted,
                PLATFORM => Place::Beside,
                _ if perf.domains.iter().any(|domain| *domain.id == **package_id) => {
                    Place::Inside(package_id.as_str().into())
                }
                _ => Place::Beside,
            };
            let ceiling = if part == PLATFORM { 10_000 } else { 2_000 };
            perf.domains.push(Domain {
                id: id.as_str().into(),
                hw_type,
                origin: Origin::Measured,
                gpu: "".into(),
                source: SOURCE.into(),
                place,
                socket: (part != PLATFORM).then(|| socket_of_package(*package)).flatten(),
                // The kernel counts on where the register ends.
                measurement: Measurement::Counter { range: None, ceiling: MicroWatts::from_watts(ceiling) },
                floor: None,
                uncertainty_ppm: 0,
            });
            perf.counters.push((counter, scale));
        }
    }
    let is_none = perf.domains.is_empty();
    ((!is_none).then_some(perf), findings)
}

fn open(pmu: u32, config: u64, cpu: u32) -> Result<Counter, Fault> {
    let mut builder = Builder::new(Software::DUMMY);
    let attributes = builder.attrs_mut();
    attributes.type_ = pmu;
    attributes.config = config;
    // The PMU has nothing to exclude, and refuses to be asked for it.
    builder.include_kernel().include_hv().any_pid();
    builder.one_cpu(usize::try_from(cpu).expect("a CPU's number fits")).enabled(true);
    builder.build().map_err(|error| Fault::from(&error))
}

/// `event=0x02`.
fn config(text: &str) -> Option<u64> {
    let number = text.trim().strip_prefix("event=")?;
    match number.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => number.parse().ok(),
    }
}

/// Each CPU that answers for a package, its package, and how powercap calls that: `package-0`, or
/// `package-0-die-1` where it has several dies.
fn places(sysfs: &Path, cpus: &[u32]) -> Vec<(u32, u32, String)> {
    let topology = |cpu: u32, file: &str| {
        let path = sysfs.join(format!("devices/system/cpu/cpu{cpu}/topology/{file}"));
        read_number(&path).ok().and_then(|number| u32::try_from(number).ok())
    };
    let mut dies: BTreeMap<u32, u32> = BTreeMap::new();
    let packages: Vec<u32> =
        cpus.iter().map(|cpu| topology(*cpu, "physical_package_id").unwrap_or(0)).collect();
    for package in &packages {
        *dies.entry(*package).or_default() += 1;
    }
    let named = cpus.iter().zip(packages).map(|(cpu, package)| {
        let name = match dies.get(&package) {
            Some(2..) => format!("package-{package}-die-{}", topology(*cpu, "die_id").unwrap_or(*cpu)),
            Some(_) | None => format!("package-{package}"),
        };
        (*cpu, package, name)
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_of_the_kernel_is_exact() {
        let scale = Scale::parse("2.3283064365386962890625e-10\n").expect("a scale");
        assert_eq!(scale.energy(1 << 32), Some(Energy::from_micro(1_000_000)));
        assert_eq!(scale.energy(u64::MAX), Some(Energy::from_micro(4_294_967_295_999_999)));
        for text in ["", "0", "-1", "nan", "1e-20", "1e9"] {
            assert_eq!(Scale::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn counters_are_opened_where_the_kernel_allows_it_and_advance() {
        // The kernel's own clock of each CPU (software event 0) stands in for the register: 1 ns is 1 nJ.
        let folder = tempfile::tempdir().expect("a temporary folder");
        let pmu = folder.path().join("bus/event_source/devices/power");
        std::fs::create_dir_all(pmu.join("events")).expect("made");
        let write = |file: &str, text: &str| std::fs::write(pmu.join(file), text).expect("written");
        assert!(discover(folder.path(), Some).1.is_empty(), "no such PMU is no fault");
        for (file, text) in [
            ("type", "1\n"),
            ("cpumask", "0\n"),
            ("events/energy-pkg", "event=0x00\n"),
            ("events/energy-pkg.scale", "1e-9\n"),
            ("events/energy-pkg.unit", "Joules\n"),
            ("events/energy-ram", "event=0x00\n"),
            ("events/energy-ram.scale", "1e-9\n"),
            ("events/energy-ram.unit", "Calories\n"),
            ("events/energy-cores", "event=0xffff\n"),
            ("events/energy-cores.scale", "1e-9\n"),
            ("events/energy-cores.unit", "Joules\n"),
        ] {
            write(file, text);
        }
        let (perf, findings) = discover(folder.path(), Some);
        let faults: Vec<Option<Fault>> = findings.iter().map(|finding| finding.fault).collect();
        // Where this process may not count, it is told so.
        let Some(mut perf) = perf else {
            assert_eq!(
                faults,
                [Some(Fault::PermissionDenied), Some(Fault::Malformed), Some(Fault::PermissionDenied)]
            );
            return;
        };
        assert_eq!(faults[..2], [None, Some(Fault::Malformed)]);
        assert!(faults[2].is_some(), "no such event");
        assert_eq!(&*perf.domains[0].id, "package-0");
        let mut read = || {
            let mut values = Vec::new();
            perf.read(Load::default(), &mut Buffer::default(), &mut values);
            match values[0] {
                Ok(Value::Counter(energy)) => energy,
                other => panic!("{other:?}"),
            }
        };
        let first = read();
        while read() == first {
            std::hint::spin_loop();
        }
        assert!(read() > first);
    }

    #[test]
    fn events_and_places_are_named_as_powercap_names_them() {
        for (text, expected) in [
            ("event=0x02\n", Some(2)),
            ("event=5", Some(5)),
            ("config1=2", None),
            ("", None),
            ("event=0xzz", None),
        ] {
            assert_eq!(config(text), expected, "{text:?}");
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (cpu, package, die) in [(0, 0, 0), (24, 0, 1), (48, 1, 0)] {
            let place = folder.path().join(format!("devices/system/cpu/cpu{cpu}/topology"));
            std::fs::create_dir_all(&place).expect("made");
            std::fs::write(place.join("physical_package_id"), format!("{package}\n")).expect("written");
            std::fs::write(place.join("die_id"), format!("{die}\n")).expect("written");
        }
        let names: Vec<String> =
            places(folder.path(), &[0, 24, 48]).into_iter().map(|(_, _, name)| name).collect();
        assert_eq!(names, ["package-0-die-0", "package-0-die-1", "package-1"]);
    }
}
