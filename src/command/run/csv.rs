//! The result as one row of CSV, appended to what other runs have left, at the same time or years ago.

use super::child::End;
use super::json::kilowatt_hours;
use super::outcome::Outcome;
use crate::clock;
use crate::command::report::amount::{decimal, timestamp};
use crate::model::description::Attribute;
use crate::model::identity::{HwType, Name, Origin};
use crate::model::quantity::Nanos;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::Path;

/// The columns. They are not changed; new ones would make another file.
pub const COLUMNS: [&str; 31] = [
    "id",
    "started",
    "ended",
    "duration_seconds",
    "host",
    "user",
    "project",
    "experiment",
    "labels",
    "command",
    "exit_code",
    "signal",
    "method",
    "cpu_seconds",
    "energy_measured_joules",
    "energy_estimated_joules",
    "energy_kilowatt_hours",
    "uncertainty_ratio",
    "cpu_joules",
    "memory_joules",
    "gpu_joules",
    "other_joules",
    "emissions_grams",
    "grams_per_kilowatt_hour",
    "zone",
    "intensity_source",
    "intensity_year",
    "pue",
    "machine_joules",
    "share_ratio",
    "meters",
];

/// Another run that is writing its row is done in less.
const PATIENCE: Nanos = Nanos::from_seconds(2);
const PAUSE: Nanos = Nanos::new(5_000_000);

/// A header is shorter; a file whose first line is longer is another one.
const MAX_HEADER_BYTES: u64 = 4_096;

/// Why a row was not appended.
#[derive(Debug, thiserror::Error)]
pub enum CsvError {
    /// The file is another one.
    #[error("its first line is not the header of this version (choose another file)")]
    Foreign,
    /// Somebody holds it.
    #[error("another process has held it for {} s", PATIENCE.as_seconds())]
    Held,
    /// It cannot be written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A line as it stands in a file.
fn line<I: IntoIterator<Item = T>, T: AsRef<[u8]>>(cells: I) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(cells).expect("memory takes everything");
    writer.into_inner().expect("memory takes everything")
}

/// The header.
#[must_use]
pub fn header() -> Vec<u8> {
    line(COLUMNS)
}

/// The row of one run.
#[must_use]
pub fn row(outcome: &Outcome) -> Vec<u8> {
    let known = |attribute| outcome.description.get(attribute).to_owned();
    let number = |value: Option<u128>, places| value.map(|value| decimal(value, places)).unwrap_or_default();
    let labels: &BTreeMap<Name, Name> = outcome.description.labels();
    let labels = serde_json::to_string(labels).unwrap_or_default();
    let (code, signal) = match outcome.end {
        End::Exited(code) => (code.to_string(), String::new()),
        End::Killed(signal) => (String::new(), signal.to_string()),
    };
    let meters: Vec<String> =
        outcome.meters.iter().map(|meter| format!("{}:{}", meter.source, meter.id)).collect();
    let factor = &outcome.factor;
    let cells: [String; COLUMNS.len()] = [
        outcome.id.clone(),
        timestamp(outcome.started),
        timestamp(outcome.ended()),
        decimal(u128::from(outcome.lasted.get()), 9),
        outcome.host.clone(),
        known(Attribute::UserId),
        known(Attribute::Project),
        known(Attribute::Experiment),
        labels,
        outcome.command.as_ref().map(|words| words.join(" ")).unwrap_or_default(),
        code,
        signal,
        outcome.method.as_str().to_owned(),
        decimal(u128::from(outcome.cpu.get()), 9),
        number(outcome.energy(Origin::Measured), 6),
        number(outcome.energy(Origin::Estimated), 6),
        kilowatt_hours(outcome.total()),
        decimal(outcome.uncertainty_ppm(), 6),
        number(outcome.energy_on(HwType::Cpu), 6),
        number(outcome.energy_on(HwType::Memory), 6),
        number(outcome.energy_on(HwType::Gpu), 6),
        number(outcome.energy_on(HwType::Other), 6),
        decimal(outcome.emissions(), 9),
        decimal(u128::from(factor.intensity.as_milligrams()), 3),
        factor.zone.to_string(),
        factor.source.to_string(),
        factor.year.to_string(),
        decimal(u128::from(factor.pue.as_ppm()), 6),
        decimal(outcome.machine(), 6),
        number(outcome.share_ppm(), 6),
        meters.join(" "),
    ];
    line(cells)
}

/// Appends the row, after a header if the file is new.
///
/// # Errors
/// The file is another one, or cannot be written: it is as it was.
pub fn append(path: &Path, row: &[u8]) -> Result<(), CsvError> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
    // What has no beginning, as a pipe, begins here.
    if !file.metadata()?.is_file() {
        return Ok(file.write_all(&[header(), row.to_vec()].concat())?);
    }
    lock(&file)?;
    let length = file.metadata()?.len();
    if length == 0 {
        return write_whole(&mut file, &[header(), row.to_vec()].concat(), 0);
    }
    let mut start = Vec::new();
    Read::by_ref(&mut file).take(MAX_HEADER_BYTES).read_to_end(&mut start)?;
    let first = start.split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default();
    if first != header() {
        return Err(CsvError::Foreign);
    }
    // A writer that was killed may have left half a line: ours begins on one of its own.
    let mut last = [0];
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut last, length - 1)?;
    let mut text = Vec::with_capacity(row.len() + 1);
    if last != *b"\n" {
        text.push(b'\n');
    }
    text.extend_from_slice(row);
    write_whole(&mut file, &text, length)
}

/// All of it, or nothing: half a row on a full disk would spoil those after it.
fn write_whole(file: &mut File, text: &[u8], length: u64) -> Result<(), CsvError> {
    file.write_all(text).map_err(|error| {
        let _ = file.set_len(length);
        error.into()
    })
}

fn lock(file: &File) -> Result<(), CsvError> {
    let began = clock::monotonic();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            // Some network file systems have no locks; a row is written in one go all the same.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(error.into()),
            Err(TryLockError::WouldBlock) if clock::monotonic().saturating_sub(began) > PATIENCE => {
                return Err(CsvError::Held);
            }
            Err(TryLockError::WouldBlock) => clock::sleep(PAUSE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_gets_its_header_once_and_another_file_stays_as_it_is() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("runs.csv");
        append(&path, b"a\n").expect("a new file");
        append(&path, b"b\n").expect("an old one");
        std::fs::write(&path, [std::fs::read(&path).expect("there"), b"half".to_vec()].concat())
            .expect("written");
        append(&path, b"c\n").expect("one with half a line");
        let text = std::fs::read_to_string(&path).expect("there");
        assert_eq!(text, format!("{}a\nb\nhalf\nc\n", COLUMNS.join(",") + "\n"));
        for other in ["x,y\n1,2\n", "\n", "id"] {
            std::fs::write(&path, other).expect("written");
            assert!(matches!(append(&path, b"d\n"), Err(CsvError::Foreign)), "{other:?}");
            assert_eq!(std::fs::read_to_string(&path).expect("there"), other);
        }
    }
}
