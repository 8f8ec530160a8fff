//! A laptop's batteries: while it runs on them, what they give is what the whole machine draws.
//! Kernel: Documentation/ABI/testing/sysfs-class-power.

use super::background::SlowSource;
use super::cut::Scope;
use crate::kernel_file::{read_number, read_text};
use crate::model::identity::{HwType, Origin};
use crate::model::quantity::{MicroWatts, Nanos};
use crate::model::reading::{Domain, Fault, Finding, Measurement, Place, Value};
use std::path::{Path, PathBuf};

/// The source's name on the page.
pub const SOURCE: &str = "battery";

/// The embedded controller that answers takes its time, and more would not change what it says.
pub const PERIOD: Nanos = Nanos::from_seconds(2);

/// No laptop draws more.
const CEILING: MicroWatts = MicroWatts::from_watts(500);

/// All batteries of the machine, as one meter.
#[derive(Debug)]
pub struct Battery {
    domain: Domain,
    batteries: Vec<PathBuf>,
}

impl SlowSource for Battery {
    fn domains(&self) -> &[Domain] {
        std::slice::from_ref(&self.domain)
    }

    fn scope(&self, _: usize) -> Scope {
        Scope::NodeAtTimes
    }

    fn read(&mut self, _: Nanos) -> Vec<Result<Value, Fault>> {
        vec![power(&self.batteries).map(Value::MeanPower)]
    }
}

/// What the batteries that are being emptied give.
fn power(batteries: &[PathBuf]) -> Result<MicroWatts, Fault> {
    let mut sum = None;
    for battery in batteries {
        let status = read_text(&battery.join("status")).map_err(|error| Fault::from(&error))?;
        match status.as_str() {
            "Discharging" => {}
            // The second of two batteries rests while the first is emptied.
            "Not charging" | "Full" | "Unknown" => continue,
            _ => return Err(Fault::Inactive),
        }
        let number = |file: &str| read_number(&battery.join(file));
        let power = match number("power_now") {
            Ok(power) => power,
            // µV times µA.
            Err(_) => {
                let [voltage, current] = ["voltage_now", "current_now"].map(number);
                let voltage = voltage.map_err(|error| Fault::from(&error))?;
                let current = current.map_err(|error| Fault::from(&error))?;
                u64::try_from(u128::from(voltage) * u128::from(current) / 1_000_000)
                    .map_err(|_| Fault::OutOfRange)?
            }
        };
        sum = Some(sum.unwrap_or(0_u64).saturating_add(power));
    }
    match sum {
        Some(0) => Err(Fault::OutOfRange),
        Some(power) => Ok(MicroWatts::new(power)),
        // On the mains nobody measures.
        None => Err(Fault::Inactive),
    }
}

/// Finds the batteries of the machine itself, not of mice and headphones.
pub fn discover(sysfs: &Path) -> (Option<Battery>, Vec<Finding>) {
    let class = sysfs.join("class/power_supply");
    let Ok(entries) = std::fs::read_dir(&class) else { return (None, Vec::new()) };
    let mut batteries: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            let is = |file: &str, expected: &str| {
                read_text(&path.join(file)).map_or("System".to_owned(), |text| text) == expected
            };
            is("type", "Battery") && is("scope", "System")
        })
        .collect();
    batteries.sort_unstable();
    let Some(first) = batteries.first() else { return (None, Vec::new()) };
    let fault = power(&batteries).err();
    let finding = Finding {
        source: SOURCE.into(),
        hw_id: SOURCE.into(),
        fault,
        detail: first.display().to_string().as_str().into(),
    };
    let domain = Domain {
        id: SOURCE.into(),
        hw_type: HwType::Other,
        origin: Origin::Measured,
        gpu: "".into(),
        source: SOURCE.into(),
        place: Place::Counted,
        socket: None,
        measurement: Measurement::MeanPower { ceiling: CEILING },
        floor: None,
        uncertainty_ppm: 0,
    };
    // It may be unplugged at any time, so it is a meter on the mains too, one that does not measure.
    (Some(Battery { domain, batteries }), vec![finding])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batteries_are_a_meter_while_they_are_emptied() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let write = |path: &str, text: &str| {
            let path = folder.path().join("class/power_supply").join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            std::fs::write(path, text).expect("written");
        };
        assert!(discover(folder.path()).0.is_none());
        for (path, text) in [
            ("AC/type", "Mains\n"),
            ("mouse/type", "Battery\n"),
            ("mouse/scope", "Device\n"),
            ("BAT0/type", "Battery\n"),
            ("BAT0/status", "Charging\n"),
            ("BAT0/power_now", "9000000\n"),
            ("BAT1/type", "Battery\n"),
            ("BAT1/status", "Not charging\n"),
        ] {
            write(path, text);
        }
        let (battery, findings) = discover(folder.path());
        let mut battery = battery.expect("two batteries");
        assert_eq!(findings[0].fault, Some(Fault::Inactive));
        let mut read = || battery.read(Nanos::ZERO)[0];
        write("BAT0/status", "Discharging\n");
        assert_eq!(read(), Ok(Value::MeanPower(MicroWatts::new(9_000_000))));
        std::fs::remove_file(folder.path().join("class/power_supply/BAT0/power_now")).expect("removed");
        write("BAT0/voltage_now", "11500000\n");
        write("BAT0/current_now", "1000000\n");
        assert_eq!(read(), Ok(Value::MeanPower(MicroWatts::new(11_500_000))));
        write("BAT0/current_now", "0\n");
        assert_eq!(read(), Err(Fault::OutOfRange));
        write("BAT0/status", "Full\n");
        assert_eq!(read(), Err(Fault::Inactive));
    }
}
