//! Amounts as text: every digit for machines, a readable unit for people. Sums are wider than one host's
//! counters, and integers to the end; what was measured and what was estimated are two amounts.

use crate::model::quantity::{Emissions, Energy, Nanos};
use jiff::Timestamp;

/// One kWh in µJ.
const KILOWATT_HOUR: u128 = 3_600_000_000_000;

/// One g in ng.
const GRAM: u128 = 1_000_000_000;

/// What was used, of one origin. `None` is not known, or not there; it is not 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    /// In µJ.
    pub energy: Option<u128>,
    /// In ng, PUE included.
    pub emissions: Option<u128>,
}

impl Amount {
    /// Adds energy.
    pub fn add_energy(&mut self, energy: Energy) {
        self.energy = Some(self.energy.unwrap_or(0) + u128::from(energy.as_micro()));
    }

    /// Adds emissions.
    pub fn add_emissions(&mut self, emissions: Emissions) {
        self.emissions = Some(self.emissions.unwrap_or(0) + u128::from(emissions.as_nano()));
    }

    /// Adds what another amount knows.
    pub fn add(&mut self, other: &Amount) {
        if let Some(energy) = other.energy {
            self.energy = Some(self.energy.unwrap_or(0) + energy);
        }
        if let Some(emissions) = other.emissions {
            self.emissions = Some(self.emissions.unwrap_or(0) + emissions);
        }
    }

    /// Whether nothing at all is known of it.
    #[must_use]
    pub const fn is_missing(&self) -> bool {
        self.energy.is_none() && self.emissions.is_none()
    }
}

/// The effective intensity in mg/kWh, PUE included: all grams over all energy. It is the one figure in
/// which measured and estimated meet, since a ratio of sums is theirs as much as each one's.
#[must_use]
pub fn intensity(parts: [&Amount; 2]) -> Option<u128> {
    let known = parts.iter().filter_map(|part| Some((part.energy?, part.emissions?)));
    let (energy, emissions) = known.fold((0, 0), |sum, part| (sum.0 + part.0, sum.1 + part.1));
    (emissions * KILOWATT_HOUR + energy * 500_000).checked_div(energy * 1_000_000)
}

/// `value / 10^places` with every digit that is not a zero at the end.
#[must_use]
pub fn decimal(value: u128, places: u32) -> String {
    let scale = 10_u128.pow(places);
    let width = places as usize;
    let text = format!("{}.{:0width$}", value / scale, value % scale);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A unit that a column of a table is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unit {
    /// Its symbol.
    pub name: &'static str,
    size: u128,
}

impl Unit {
    /// For energies up to `largest` µJ.
    #[must_use]
    pub const fn of_energy(largest: u128) -> Unit {
        match largest {
            360_000_000_000.. => Unit { name: "kWh", size: KILOWATT_HOUR },
            360_000_000.. => Unit { name: "Wh", size: KILOWATT_HOUR / 1_000 },
            _ => Unit { name: "mWh", size: KILOWATT_HOUR / 1_000_000 },
        }
    }

    /// For emissions up to `largest` ng.
    #[must_use]
    pub const fn of_emissions(largest: u128) -> Unit {
        match largest {
            1_000_000_000_000.. => Unit { name: "kg", size: GRAM * 1_000 },
            100_000_000.. => Unit { name: "g", size: GRAM },
            _ => Unit { name: "mg", size: GRAM / 1_000 },
        }
    }

    /// With three digits after the point; what is there but smaller says so.
    #[must_use]
    pub fn write(&self, value: u128) -> String {
        let thousandths = (value * 1_000 + self.size / 2) / self.size;
        if thousandths == 0 && value > 0 {
            return "<0.001".to_owned();
        }
        format!("{}.{:03}", thousandths / 1_000, thousandths % 1_000)
    }
}

/// A length of time in its two largest units.
#[must_use]
pub fn duration(time: Nanos) -> String {
    let seconds = time.get() / 1_000_000_000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match seconds {
        86_400.. => format!("{days}d {:02}h", hours % 24),
        3_600.. => format!("{hours}h {:02}m", minutes % 60),
        60.. => format!("{minutes}m {:02}s", seconds % 60),
        _ => format!("{seconds}s"),
    }
}

/// RFC 3339, UTC, with every digit.
#[must_use]
pub fn timestamp(at: Nanos) -> String {
    stamp(at).to_string()
}

/// For people: UTC, to the minute.
#[must_use]
pub fn minute(at: Nanos) -> String {
    stamp(at).strftime("%Y-%m-%d %H:%M").to_string()
}

/// The day in UTC.
#[must_use]
pub fn date(at: Nanos) -> String {
    stamp(at).strftime("%Y-%m-%d").to_string()
}

fn stamp(at: Nanos) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(at.get())).expect("64 bits of ns end in the year 2554")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_get_every_digit() {
        for (value, places, expected) in [
            (0, 6, "0"),
            (1, 6, "0.000001"),
            (123_456_789, 6, "123.456789"),
            (10_000_000, 6, "10"),
            (9_007_199_254_740_993, 6, "9007199254.740993"),
            (u128::from(u64::MAX) * 1_000, 9, "18446744073709.551615"),
        ] {
            assert_eq!(decimal(value, places), expected);
        }
    }

    #[test]
    fn people_get_a_unit_that_fits() {
        for (largest, unit, value, expected) in [
            (3_600_000_000_000, "kWh", 3_600_000_000_000, "1.000"),
            (3_600_000_000_000, "kWh", 1, "<0.001"),
            (3_600_000_000_000, "kWh", 0, "0.000"),
            (3_600_000_000, "Wh", 5_400_000_000, "1.500"),
            (3_600_000, "mWh", 3_600_000, "1.000"),
        ] {
            let chosen = Unit::of_energy(largest);
            assert_eq!((chosen.name, chosen.write(value).as_str()), (unit, expected));
        }
        assert_eq!(Unit::of_emissions(1_000_000_000_000).write(1_234_567_000_000), "1.235");
        assert_eq!(Unit::of_emissions(999_000_000_000).name, "g");
        assert_eq!(Unit::of_emissions(0).name, "mg");
    }

    #[test]
    fn intensity_is_all_grams_over_all_energy_and_missing_without_energy() {
        let amount = |energy, emissions| Amount { energy, emissions };
        let kilowatt_hour = Some(KILOWATT_HOUR);
        for (parts, expected) in [
            ([amount(kilowatt_hour, Some(473_010 * 1_000_000)), Amount::default()], Some(473_010)),
            (
                [amount(kilowatt_hour, Some(GRAM * 100)), amount(kilowatt_hour, Some(GRAM * 300))],
                Some(200_000),
            ),
            ([amount(None, Some(GRAM)), Amount::default()], None),
            ([amount(Some(0), Some(0)), Amount::default()], None),
        ] {
            assert_eq!(intensity([&parts[0], &parts[1]]), expected);
        }
    }

    #[test]
    fn times_are_utc() {
        let at = Nanos::new(1_794_997_600_500_000_000);
        assert_eq!(timestamp(at), "2026-11-18T10:26:40.5Z");
        assert_eq!((minute(at).as_str(), date(at).as_str()), ("2026-11-18 10:26", "2026-11-18"));
        for (seconds, expected) in
            [(5, "5s"), (65, "1m 05s"), (3_600, "1h 00m"), (90_000, "1d 01h"), (0, "0s")]
        {
            assert_eq!(duration(Nanos::from_seconds(seconds)), expected);
        }
    }
}
