//! The sensors whose scope is known: the rows of data/hwmon.csv, and the user's own before them.

use crate::model::identity::HwType;
use crate::model::quantity::MicroWatts;
use serde::Deserialize;

const TABLE: &str = include_str!("../../../data/hwmon.csv");

/// What a sensor covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Covers {
    /// The whole machine.
    Node,
    /// One socket's processor, memory and GPU.
    Module,
    /// Something of its own.
    Leaf,
    /// A part of the leaf with this id.
    Inside(String),
    /// Something that stands in no known relation to the rest.
    Beside,
}

/// A row of the table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// The chip's name.
    pub chip: String,
    /// The sensor's file, or `vi`.
    pub sensor: String,
    /// The sensor's label.
    #[serde(default = "anything")]
    pub label: String,
    /// `node`, `module`, `leaf`, `inside:ID`, `beside`.
    pub scope: String,
    /// The kind of hardware.
    #[serde(default = "other")]
    pub hw_type: HwType,
    /// The `hw_id`.
    pub id: String,
    /// What becomes of several sensors with one id.
    #[serde(default)]
    pub several: Several,
    /// No reading is above it.
    #[serde(default = "no_ceiling")]
    pub ceiling_watts: u64,
    /// Whose word this is.
    #[serde(default)]
    pub source: String,
}

/// What becomes of several sensors with one id.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Several {
    /// They are added up.
    Sum,
    /// They show the same, or nobody knows: one is enough.
    #[default]
    First,
}

fn anything() -> String {
    "*".to_owned()
}

const fn other() -> HwType {
    HwType::Other
}

const fn no_ceiling() -> u64 {
    20_000
}

/// A sensor as the table knows it.
#[derive(Debug, PartialEq, Eq)]
pub struct Known<'a> {
    /// The row.
    pub row: &'a Row,
    /// Its place in the table: of two meters of the node the first counts.
    pub rank: usize,
    /// What it covers.
    pub covers: Covers,
    /// Its id, the number filled in.
    pub id: String,
    /// The number in its label: the socket.
    pub number: Option<u32>,
}

/// All rows.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Row>,
}

impl Table {
    /// The user's rows, then the program's own.
    #[must_use]
    pub fn new(own: &[Row]) -> Table {
        let mut reader = csv::ReaderBuilder::new().comment(Some(b'#')).from_reader(TABLE.as_bytes());
        let built_in = reader.deserialize().map(|row| row.expect("data/hwmon.csv is checked by a test"));
        Table { rows: own.iter().cloned().chain(built_in).collect() }
    }

    /// The first row that this sensor matches.
    #[must_use]
    pub fn find(&self, chip: &str, sensor: &str, label: &str) -> Option<Known<'_>> {
        self.rows.iter().enumerate().find_map(|(rank, row)| {
            let [_, in_sensor, in_label] =
                [(&row.chip, chip), (&row.sensor, sensor), (&row.label, label)].map(|(p, t)| star(p, t));
            star(&row.chip, chip)?;
            let (in_sensor, in_label) = (in_sensor?, in_label?);
            let number = if row.label.contains('*') && !in_label.is_empty() { in_label } else { in_sensor };
            let number = number.trim();
            Some(Known {
                row,
                rank,
                covers: row.covers(number)?,
                id: row.id.replace("{n}", number),
                number: number.parse().ok(),
            })
        })
    }
}

impl Row {
    /// What it covers; `None` for a word that means nothing.
    #[must_use]
    pub fn covers(&self, number: &str) -> Option<Covers> {
        Some(match self.scope.as_str() {
            "node" => Covers::Node,
            "module" => Covers::Module,
            "leaf" => Covers::Leaf,
            "beside" => Covers::Beside,
            inside => Covers::Inside(inside.strip_prefix("inside:")?.replace("{n}", number)),
        })
    }

    /// The ceiling.
    #[must_use]
    pub const fn ceiling(&self) -> MicroWatts {
        MicroWatts::from_watts(self.ceiling_watts)
    }
}

/// What `*` in the pattern stands for, if the text matches it; nothing if there is no `*`.
fn star<'a>(pattern: &str, text: &'a str) -> Option<&'a str> {
    match pattern.split_once('*') {
        None => (pattern == text).then_some(""),
        Some((start, end)) => {
            let rest = text.strip_prefix(start)?;
            match end.split_once('*') {
                None => rest.strip_suffix(end),
                // A second one is at the end: `*ore*`.
                Some((middle, _)) => rest.find(middle).map(|_| ""),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `id covers hw_type`, or nothing.
    fn check(chip: &str, sensor: &str, label: &str, expected: &str) {
        let table = Table::new(&[]);
        let found = table.find(chip, sensor, label).map_or_else(String::new, |known| {
            format!("{} {:?} {}", known.id, known.covers, known.row.hw_type.as_str())
        });
        assert_eq!(found, expected, "{chip} {sensor} {label:?}");
    }

    #[test]
    fn sensors_are_known_by_chip_file_and_label() {
        let average = "power1_average";
        check("power_meter", average, "Module Power Socket 0", "module-0 Module other");
        check("power_meter", average, "Grace Power Socket 1", "grace-1 Leaf cpu");
        check("power_meter", average, "CPU Power Socket 1", "cpu-rail-1 Inside(\"grace-1\") cpu");
        check("power_meter", average, "SysIO Power Socket 0", "sysio-0 Inside(\"grace-0\") cpu");
        check("power_meter", average, "", "acpi-power-meter Node other");
        check("power_meter", average, "Total input", "acpi-power-meter Node other");
        check("apm_xgene", "power1_input", "CPU power", "soc-cpu Leaf cpu");
        check("altra_hwmon", "energy17_input", "Core 16", "cores Inside(\"soc-cpu\") cpu");
        check("pmbus", "power1_input", "pin", "psu Node other");
        check("pmbus", "power2_input", "pout1", "");
        check("ina3221", "vi", "VDD_IN", "vdd-in Node other");
        check("ina3221", "vi", "sum of shunt voltages", "");
        check("ina226", "power1_input", "", "ina-1 Beside other");
        check("nvme", "temp1_input", "", "");
        let number = Table::new(&[]).find("power_meter", average, "Grace Power Socket 1").map(|k| k.number);
        assert_eq!(number, Some(Some(1)));
    }

    #[test]
    fn every_row_says_something_and_whose_word_it_is() {
        for row in Table::new(&[]).rows {
            assert!(row.covers("0").is_some(), "{row:?}");
            assert!(
                row.source.contains("https://") && row.ceiling_watts > 0 && !row.id.is_empty(),
                "{row:?}"
            );
            let is_sensor = ["power", "energy", "vi"].iter().any(|start| row.sensor.starts_with(start));
            assert!(is_sensor, "{row:?}");
        }
    }

    #[test]
    fn the_users_rows_come_first() {
        let own = Row {
            chip: "ina226".into(),
            sensor: "power1_input".into(),
            label: "*".into(),
            scope: "node".into(),
            hw_type: HwType::Other,
            id: "board".into(),
            several: Several::First,
            ceiling_watts: 100,
            source: String::new(),
        };
        let table = Table::new(&[own]);
        assert_eq!(table.find("ina226", "power1_input", "").map(|known| known.id), Some("board".into()));
    }
}
