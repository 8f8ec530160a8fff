//! Cray EX: the node controller's own counters in /sys/cray/pm_counters, ten a second, in whole joules.
//! The node's counter contains the accelerators'. Cray: User Access to Compute Node Power Data.

use super::PowerSource;
use super::background::joules;
use super::cut::Scope;
use crate::kernel_file::{Buffer, KernelFile, parse_number};
use crate::model::identity::{HwType, Origin};
use crate::model::quantity::{MicroWatts, Nanos};
use crate::model::reading::{Domain, Fault, Finding, Load, Measurement, Place, Value};
use std::path::{Path, PathBuf};

/// The source's name on the page.
pub const SOURCE: &str = "pm_counters";

/// Accelerators at the most.
const MAX_ACCELERATORS: u32 = 16;

/// The controller counts its own rounds, ten a second; one that stood still for so long has died.
const LONGEST_STAND: Nanos = Nanos::from_seconds(3);

/// The counters in use.
#[derive(Debug)]
pub struct PmCounters {
    domains: Vec<Domain>,
    scopes: Vec<Scope>,
    counters: Vec<Counter>,
    freshness: Option<Counter>,
    seen: Option<(u64, Nanos)>,
}

/// A file that is opened again after an error: the driver may have been reloaded.
#[derive(Debug)]
struct Counter {
    path: PathBuf,
    file: Option<KernelFile>,
}

impl Counter {
    const fn new(path: PathBuf) -> Counter {
        Counter { path, file: None }
    }

    fn read<'a>(&mut self, buffer: &'a mut Buffer) -> Result<&'a [u8], Fault> {
        let file = match self.file.take() {
            Some(file) => file,
            None => KernelFile::open(&self.path).map_err(|error| Fault::from(&error))?,
        };
        let text = file.read_start(buffer).map_err(|error| Fault::from(&error))?;
        self.file = Some(file);
        Ok(text)
    }
}

impl PowerSource for PmCounters {
    fn domains(&self) -> &[Domain] {
        &self.domains
    }

    fn scope(&self, index: usize) -> Scope {
        self.scopes[index].clone()
    }

    fn read(&mut self, load: Load, buffer: &mut Buffer, values: &mut Vec<Result<Value, Fault>>) {
        let is_fresh = self.check(load.at, buffer);
        for counter in &mut self.counters {
            values.push(is_fresh.and_then(|()| read(counter, buffer)));
        }
    }
}

impl PmCounters {
    fn check(&mut self, at: Nanos, buffer: &mut Buffer) -> Result<(), Fault> {
        let Some(file) = &mut self.freshness else { return Ok(()) };
        let round = first_number(file.read(buffer)?).ok_or(Fault::Malformed)?;
        match self.seen {
            Some((before, since)) if before == round => {
                if at.saturating_sub(since) >= LONGEST_STAND {
                    Err(Fault::Stale)
                } else {
                    Ok(())
                }
            }
            Some(_) | None => {
                self.seen = Some((round, at));
                Ok(())
            }
        }
    }
}

/// `123 J 1700000000000000 us`.
fn read(file: &mut Counter, buffer: &mut Buffer) -> Result<Value, Fault> {
    let text = file.read(buffer)?;
    let mut words = text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let count = words.next().and_then(parse_number).ok_or(Fault::Malformed)?;
    match words.next() {
        Some(b"J") | None => joules(count).map(Value::Counter).ok_or(Fault::OutOfRange),
        Some(_) => Err(Fault::Malformed),
    }
}

fn first_number(text: &[u8]) -> Option<u64> {
    parse_number(text.split(u8::is_ascii_whitespace).find(|word| !word.is_empty())?)
}

/// Finds the counters.
pub fn discover(sysfs: &Path) -> (Option<PmCounters>, Vec<Finding>) {
    let folder = sysfs.join("cray/pm_counters");
    if !folder.exists() {
        return (None, Vec::new());
    }
    let fixed = [
        ("energy".to_owned(), "node".to_owned(), HwType::Other, Scope::Node, 20_000),
        ("cpu_energy".to_owned(), "node-cpu".to_owned(), HwType::Cpu, Scope::Spare, 4_000),
        ("memory_energy".to_owned(), "node-memory".to_owned(), HwType::Memory, Scope::Spare, 2_000),
    ];
    let accelerators = (0..MAX_ACCELERATORS).map(|number| {
        (format!("accel{number}_energy"), format!("accel-{number}"), HwType::Gpu, Scope::Spare, 4_000)
    });
    let mut found = PmCounters {
        domains: Vec::new(),
        scopes: Vec::new(),
        counters: Vec::new(),
        freshness: Some(Counter::new(folder.join("freshness"))).filter(|file| file.path.exists()),
        seen: None,
    };
    let mut findings = Vec::new();
    let mut buffer = Buffer::default();
    for (file, id, hw_type, scope, ceiling) in fixed.into_iter().chain(accelerators) {
        let path: PathBuf = folder.join(file);
        let mut counter = Counter::new(path.clone());
        let value = match read(&mut counter, &mut buffer) {
            Ok(value) => value,
            // Not every node has them all.
            Err(Fault::Missing) => continue,
            Err(fault) => {
                findings.push(finding(&id, Some(fault), &path));
                continue;
            }
        };
        // Without an accelerator its counter is there and stays at 0.
        if hw_type == HwType::Gpu && value == Value::Counter(crate::model::quantity::Energy::ZERO) {
            continue;
        }
        findings.push(finding(&id, None, &path));
        found.domains.push(Domain {
            id: id.as_str().into(),
            hw_type,
            origin: Origin::Measured,
            gpu: "".into(),
            source: SOURCE.into(),
            place: Place::Counted,
            socket: None,
            measurement: Measurement::Counter { range: None, ceiling: MicroWatts::from_watts(ceiling) },
            floor: None,
            uncertainty_ppm: 0,
        });
        found.scopes.push(scope);
        found.counters.push(counter);
    }
    let is_none = found.domains.is_empty();
    ((!is_none).then_some(found), findings)
}

fn finding(hw_id: &str, fault: Option<Fault>, path: &Path) -> Finding {
    Finding {
        source: SOURCE.into(),
        hw_id: hw_id.into(),
        fault,
        detail: path.display().to_string().as_str().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::quantity::Energy;

    fn ask(source: &mut PmCounters, second: u64) -> Vec<Result<Value, Fault>> {
        let mut values = Vec::new();
        let load = Load { at: Nanos::from_seconds(second), busy_ppm: 0 };
        source.read(load, &mut Buffer::default(), &mut values);
        values
    }

    #[test]
    fn counters_are_read_while_the_controller_runs() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let counters = folder.path().join("cray/pm_counters");
        std::fs::create_dir_all(&counters).expect("made");
        let write = |file: &str, text: &str| std::fs::write(counters.join(file), text).expect("written");
        for (file, text) in [
            ("energy", "5000 J 1700000000000000 us\n"),
            ("cpu_energy", "2000 J 1700000000000000 us\n"),
            ("accel0_energy", "900 J 1700000000000000 us\n"),
            ("accel1_energy", "0 J 1700000000000000 us\n"),
            ("power", "300 W 1700000000000000 us\n"),
            ("freshness", "1\n"),
        ] {
            write(file, text);
        }
        let (source, findings) = discover(folder.path());
        let mut source = source.expect("a source");
        assert_eq!(findings.len(), 3, "an accelerator that is not there is none");
        let ids: Vec<&str> = source.domains.iter().map(|domain| &*domain.id).collect();
        assert_eq!(ids, ["node", "node-cpu", "accel-0"]);
        let joules = |count: u64| Ok(Value::Counter(Energy::from_micro(count * 1_000_000)));
        assert_eq!(ask(&mut source, 0), [joules(5_000), joules(2_000), joules(900)]);
        assert_eq!(ask(&mut source, 2)[0], joules(5_000), "not long enough to tell");
        assert_eq!(ask(&mut source, 3), vec![Err(Fault::Stale); 3]);
        write("freshness", "2\n");
        assert_eq!(ask(&mut source, 5)[0], joules(5_000));
        write("energy", "12 W 1700000000000000 us\n");
        assert_eq!(ask(&mut source, 6)[0], Err(Fault::Malformed), "a wrong unit is no reading");
        assert!(discover(tempfile::tempdir().expect("a folder").path()).1.is_empty());
    }
}
