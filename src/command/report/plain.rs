//! Reports for programs: CSV and JSON. Joules and grams are exact decimals written from integers, every row
//! has the same columns, and their names do not change. What is missing is empty, or null.

use super::amount::{Amount, decimal, intensity, timestamp};
use super::tally::{Lives, Place, Row, Tally};
use crate::carbon::equivalents::{self, Equivalent};
use crate::model::history::Span;
use crate::model::quantity::Nanos;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

/// The columns after those that tell rows apart.
pub const AMOUNTS: [&str; 6] = [
    "energy_measured_joules",
    "energy_estimated_joules",
    "emissions_measured_grams",
    "emissions_estimated_grams",
    "grams_per_kilowatt_hour",
    "emissions_revision_grams",
];

/// The columns after those, where rows are jobs.
pub const JOBS: [&str; 6] = ["jobs", "state", "first_seen", "last_seen", "duration_seconds", "cpu_seconds"];

/// What stands around the rows of a JSON report.
#[derive(Debug)]
pub struct Frame<'a> {
    /// The time it is about.
    pub period: Span,
    /// Where it comes from.
    pub source: &'a str,
    /// What the reader should know, damages first.
    pub notes: &'a [String],
    /// Whether the total is compared with everyday things.
    pub has_equivalents: bool,
}

/// An amount in everyday terms: each for itself, never to be added up.
#[derive(Debug, Serialize)]
pub struct EquivalentObject {
    id: String,
    amount: Box<RawValue>,
    unit: String,
    compares: &'static str,
    source: String,
    year: String,
}

impl From<Equivalent> for EquivalentObject {
    fn from(row: Equivalent) -> EquivalentObject {
        let amount = decimal(row.millionths, 6);
        EquivalentObject {
            id: row.id,
            amount: RawValue::from_string(amount).expect("digits are JSON"),
            unit: row.one,
            compares: row.kind.as_str(),
            source: row.source,
            year: row.year,
        }
    }
}

/// Energy in µJ and emissions in ng of a row, whatever their origin: a comparison is about the size alone.
#[must_use]
pub fn size(row: &Row) -> (u128, u128) {
    let both = [&row.measured, &row.estimated];
    let sum = |of: fn(&Amount) -> Option<u128>| both.iter().filter_map(|amount| of(amount)).sum();
    (sum(|amount| amount.energy), sum(|amount| amount.emissions))
}

/// A value of a row.
#[derive(Debug)]
enum Cell {
    Missing,
    Text(String),
    /// Digits with at most one point.
    Number(String),
}

/// As CSV: a header line, then the rows. There is no line for the total, so that columns can be added up.
///
/// # Errors
/// Never: memory takes everything.
pub fn csv(tally: &Tally) -> Result<String, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(columns(tally))?;
    for row in &tally.rows {
        let cells = cells(row, tally).into_iter().map(|cell| match cell {
            Cell::Missing => String::new(),
            Cell::Text(text) | Cell::Number(text) => text,
        });
        writer.write_record(cells)?;
    }
    let bytes = writer.into_inner().map_err(|error| csv::Error::from(error.into_error()))?;
    Ok(String::from_utf8(bytes).expect("text and commas"))
}

/// As JSON: an object with `from`, `until`, `source`, `notes`, `rows`, `total` and, if they are
/// wanted, `equivalents` of the total.
///
/// # Errors
/// Never: memory takes everything.
pub fn json(tally: &Tally, frame: &Frame<'_>) -> Result<String, serde_json::Error> {
    let columns = columns(tally);
    let object = |row| Object { columns: &columns, cells: cells(row, tally) };
    let Span { start, end } = frame.period;
    let document = Document {
        // Without a beginning it is everything there is.
        from: (start > Nanos::ZERO).then(|| timestamp(start)),
        until: timestamp(end),
        source: frame.source,
        notes: frame.notes,
        rows: tally.rows.iter().map(object).collect(),
        total: object(&tally.total),
        equivalents: frame.has_equivalents.then(|| {
            let (energy, emissions) = size(&tally.total);
            equivalents::all(energy, emissions).into_iter().map(EquivalentObject::from).collect()
        }),
    };
    let mut text = serde_json::to_string_pretty(&document)?;
    text.push('\n');
    Ok(text)
}

fn columns(tally: &Tally) -> Vec<&'static str> {
    let fields = tally.fields.iter().map(|field| field.name());
    let jobs: &[&str] = if tally.has_jobs { &JOBS } else { &[] };
    fields.chain(AMOUNTS).chain(jobs.iter().copied()).collect()
}

fn cells(row: &Row, tally: &Tally) -> Vec<Cell> {
    // The total has no cells of its own.
    let text = |at: usize| row.cells.get(at).map_or(Cell::Missing, |cell| Cell::Text(cell.to_string()));
    let mut cells: Vec<Cell> = (0..tally.fields.len()).map(text).collect();
    let number = |value: Option<u128>, places| {
        value.map_or(Cell::Missing, |value| Cell::Number(decimal(value, places)))
    };
    let Row { measured, estimated, .. } = row;
    let both: [&Amount; 2] = [measured, estimated];
    cells.extend(both.map(|amount| number(amount.energy, 6)));
    cells.extend(both.map(|amount| number(amount.emissions, 9)));
    cells.push(number(intensity(both), 3));
    cells.push(row.revision.map_or(Cell::Missing, |nanograms| {
        let sign = if nanograms < 0 { "-" } else { "" };
        Cell::Number(format!("{sign}{}", decimal(nanograms.unsigned_abs(), 9)))
    }));
    if tally.has_jobs {
        let lives = |of: &dyn Fn(&Lives) -> Cell| row.jobs.as_ref().map_or(Cell::Missing, of);
        let age = |lives: &Lives| lives.last_seen.saturating_sub(lives.first_seen).get();
        cells.push(lives(&|lives| Cell::Number(lives.count.to_string())));
        cells.push(state(row).map_or(Cell::Missing, |state| Cell::Text(state.to_owned())));
        cells.push(lives(&|lives| Cell::Text(timestamp(lives.first_seen))));
        cells.push(lives(&|lives| Cell::Text(timestamp(lives.last_seen))));
        // The time from one job to another is no job's.
        let is_one = row.place == Place::Ordinary && !row.cells.is_empty();
        cells.push(match &row.jobs {
            Some(lives) if is_one && lives.count == 1 => number(Some(u128::from(age(lives))), 9),
            Some(_) | None => Cell::Missing,
        });
        cells.push(lives(&|lives| Cell::Number(decimal(lives.cpu, 9))));
    }
    cells
}

/// What a row of jobs is: `live`, `ended`, `folded` for records that were folded together, `none` for what
/// no job is charged with. The total is none of these.
#[must_use]
pub fn state(row: &Row) -> Option<&'static str> {
    match (row.place, &row.jobs) {
        (Place::NoJob, _) => Some("none"),
        (Place::Folded, _) => Some("folded"),
        (Place::Ordinary, Some(_)) if row.cells.is_empty() => None,
        (Place::Ordinary, Some(lives)) => Some(if lives.is_live { "live" } else { "ended" }),
        (Place::Ordinary, None) => None,
    }
}

#[derive(Serialize)]
struct Document<'a> {
    from: Option<String>,
    until: String,
    source: &'a str,
    notes: &'a [String],
    rows: Vec<Object<'a>>,
    total: Object<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    equivalents: Option<Vec<EquivalentObject>>,
}

/// A row with its keys in the order of the columns.
struct Object<'a> {
    columns: &'a [&'static str],
    cells: Vec<Cell>,
}

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.cells.len()))?;
        for (column, cell) in self.columns.iter().zip(&self.cells) {
            match cell {
                Cell::Missing => map.serialize_entry(column, &())?,
                Cell::Text(text) => map.serialize_entry(column, text)?,
                Cell::Number(digits) => {
                    let number = RawValue::from_string(digits.clone()).expect("digits are JSON");
                    map.serialize_entry(column, &number)?;
                }
            }
        }
        map.end()
    }
}

#[cfg(test)]
mod tests;
