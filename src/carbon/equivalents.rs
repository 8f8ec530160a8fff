//! What an amount is as much as, in everyday terms, from data/equivalents.csv. Each row stands alone, with its
//! source and year; they are never added together.
//!
//! Household days, television hours and phone charges are compared by energy, since the same grid stands on
//! both sides; cars and flights by emissions.

use crate::model::quantity::parse_decimal;

const TABLE: &str = include_str!("../../data/equivalents.csv");

/// One kWh in µJ, one kg in ng.
const KILOWATT_HOUR: u128 = 3_600_000_000_000;
const KILOGRAM: u128 = 1_000_000_000_000;

/// Places of the figures in the table, and of an amount.
const PLACES: u32 = 6;
const MILLION: u128 = 1_000_000;

/// One row is chosen for people: the first of these of which it is between half of one and a thousand.
const BY_SIZE: [&str; 8] = [
    "car_km_eu",
    "car_km_us",
    "flight_paris_london",
    "flight_new_york_san_francisco",
    "flight_new_york_melbourne",
    "smartphone_charge",
    "tv_hour",
    "household_day_eu",
];

/// Half of one, and a thousand.
const GOOD_SIZE: std::ops::RangeInclusive<u128> = 500_000..=1_000_000_000;

/// Below a hundredth of a phone's charge there is nothing to compare.
const LEAST: u128 = 10_000;

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Energy with energy: PUE is not in it.
    Energy,
    /// Emissions with emissions.
    Emissions,
}

impl Kind {
    /// As in the table and in files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Energy => "energy",
            Kind::Emissions => "emissions",
        }
    }
}

/// An amount in terms of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Equivalent {
    /// The row's key.
    pub id: String,
    /// How often it is the row's unit, in millionths.
    pub millionths: u128,
    /// What is compared.
    pub kind: Kind,
    /// One of it: reads after an amount.
    pub one: String,
    /// Several of it.
    pub many: String,
    /// Whose figure it is.
    pub source: String,
    /// Of when.
    pub year: String,
}

impl Equivalent {
    /// `1.2 km in an average new EU car (EEA 2024)`.
    #[must_use]
    pub fn describe(&self) -> String {
        let unit = if self.millionths == MILLION { &self.one } else { &self.many };
        format!("{} {unit} ({} {})", three_digits(self.millionths), self.source, self.year)
    }
}

/// Three digits that count, and no zero at the end.
fn three_digits(millionths: u128) -> String {
    let mut step = 1;
    while millionths / step >= 1_000 && step < MILLION {
        step *= 10;
    }
    let rounded = (millionths + step / 2) / step * step;
    let text = format!("{}.{:06}", rounded / MILLION, rounded % MILLION);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// All rows, for an energy in µJ and emissions in ng.
#[must_use]
pub fn all(energy: u128, emissions: u128) -> Vec<Equivalent> {
    let reader = csv::ReaderBuilder::new().comment(Some(b'#')).from_reader(TABLE.as_bytes());
    let rows = reader.into_records().map(|row| {
        let row = row.expect("data/equivalents.csv is well formed; a test reads it whole");
        let per_unit = parse_decimal(&row[4], PLACES).expect("a decimal; a test reads them all");
        let (kind, amount, whole) = match &row[3] {
            "energy" => (Kind::Energy, energy, KILOWATT_HOUR),
            _ => (Kind::Emissions, emissions, KILOGRAM),
        };
        // amount / (per_unit / 10^6 · whole), in millionths, half up.
        let unit = u128::from(per_unit) * whole / MILLION;
        Equivalent {
            id: row[0].to_owned(),
            millionths: (amount * MILLION + unit / 2) / unit,
            kind,
            one: row[1].to_owned(),
            many: row[2].to_owned(),
            source: row[6].to_owned(),
            year: row[7].to_owned(),
        }
    });
    rows.collect()
}

/// The one that fits the size of the amount; none for next to nothing. `zone` decides whose cars it is.
#[must_use]
pub fn fitting(energy: u128, emissions: u128, zone: &str) -> Option<Equivalent> {
    let is_american = zone == "US" || zone.starts_with("US-");
    let elsewhere = if is_american { "car_km_eu" } else { "car_km_us" };
    let all = all(energy, emissions);
    let of = |id: &str| all.iter().find(|row| row.id == id && row.id != elsewhere);
    let good = BY_SIZE.iter().filter_map(|id| of(id)).find(|row| GOOD_SIZE.contains(&row.millionths));
    let smallest = || all.iter().find(|row| row.id == "smartphone_charge" && row.millionths >= LEAST);
    let largest = || {
        let row = all.iter().find(|row| row.id == "flight_new_york_melbourne")?;
        (row.millionths > *GOOD_SIZE.end()).then_some(row)
    };
    good.or_else(largest).or_else(smallest).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRAM: u128 = KILOGRAM / 1_000;

    #[test]
    fn every_row_has_a_unit_a_source_and_a_year() {
        let rows = all(KILOWATT_HOUR, KILOGRAM);
        assert_eq!(rows.len(), 9);
        for row in &rows {
            assert!(!row.one.is_empty() && !row.many.is_empty() && !row.source.is_empty(), "{row:?}");
            assert!(row.year.parse::<u32>().is_ok_and(|year| year >= 2020), "{row:?}");
        }
        for id in BY_SIZE {
            assert!(rows.iter().any(|row| row.id == id), "{id}");
        }
    }

    #[test]
    fn amounts_are_the_figures_of_the_sources_and_the_grid_is_on_both_sides() {
        let of = |id: &str, energy, emissions| {
            let found = all(energy, emissions).into_iter().find(|row| row.id == id);
            found.map(|row| row.millionths).expect(id)
        };
        for (id, kilowatt_hours, kilograms, millionths) in [
            ("tv_hour", 1, 0, 10_000_000),
            ("smartphone_charge", 1, 0, 45_454_545),
            ("household_day_eu", 1, 0, 101_389),
            ("household_day_us", 10_715, 0, 365_002_044),
            ("car_km_eu", 0, 1, 9_363_296),
            ("car_km_us", 0, 1, 4_095_004),
            ("flight_paris_london", 0, 100, 2_000_000),
            ("flight_new_york_melbourne", 0, 2_310, 1_000_000),
        ] {
            assert_eq!(of(id, kilowatt_hours * KILOWATT_HOUR, kilograms * KILOGRAM), millionths, "{id}");
        }
        // The same energy in France and in Poland is the same television.
        assert_eq!(of("tv_hour", KILOWATT_HOUR, 44 * GRAM), of("tv_hour", KILOWATT_HOUR, 615 * GRAM));
    }

    #[test]
    fn one_that_fits_the_size_is_chosen() {
        for (kilojoules, grams, zone, expected) in [
            (3_600, 128, "FR", "1.2 km in an average new EU car (EEA 2024)"),
            (3_600, 128, "US-CAMX", "0.524 km in an average US car (EPA 2024)"),
            (3_600, 0, "IS", "45.5 charges of a smartphone (EPA 2024)"),
            (79, 0, "FR", "0.997 charges of a smartphone (EPA 2024)"),
            (3, 0, "FR", "0.0379 charges of a smartphone (EPA 2024)"),
            (0, 0, "FR", ""),
            (360_000, 0, "IS", "1000 hours of a 100 W television (55-inch LED, 60 to 120 W 2024)"),
            (0, 150_000, "FR", "3 flights Paris-London, one passenger (Green Algorithms 2021)"),
            (0, 50_000_000, "FR", "1000 flights Paris-London, one passenger (Green Algorithms 2021)"),
            (
                0,
                60_000_000,
                "FR",
                "105 flights New York-San Francisco, one passenger (Green Algorithms 2021)",
            ),
            (
                0,
                5_000_000_000,
                "FR",
                "2165 flights New York-Melbourne, one passenger (Green Algorithms 2021)",
            ),
        ] {
            let found = fitting(kilojoules * 1_000_000_000, grams * GRAM, zone);
            assert_eq!(
                found.map(|row| row.describe()).unwrap_or_default(),
                expected,
                "{kilojoules} kJ {grams} g"
            );
        }
    }

    #[test]
    fn three_digits_count_and_one_is_one() {
        for (millionths, expected) in [
            (0, "0"),
            (1, "0.000001"),
            (12_345, "0.0123"),
            (999_600, "1"),
            (1_234_567, "1.23"),
            (99_950_000, "100"),
            (123_456_789, "123"),
            (2_164_502_164, "2165"),
        ] {
            assert_eq!(three_digits(millionths), expected, "{millionths}");
        }
        let one =
            all(0, 50 * KILOGRAM).into_iter().find(|row| row.id == "flight_paris_london").expect("a row");
        assert!(one.describe().starts_with("1 flight Paris-London,"), "{}", one.describe());
    }
}
