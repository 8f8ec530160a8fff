//! The cells of the past: what a zone and a column are called is written once, amounts name them by number.

use super::digest::{Fields, Seal};
use super::trouble::{Failure, unsigned};
use crate::model::identity::{HwType, Name, Origin};
use crate::model::quantity::{Emissions, Energy};
use crate::model::snapshot::Column;
use rusqlite::{Connection, params};
use std::collections::BTreeMap;

/// A zone and a column; the zone is empty where only energy is told, which has none.
pub(super) type Cell = (Name, Column);

/// Every cell that was ever used.
#[derive(Debug, Default)]
pub(super) struct Dictionary {
    numbers: BTreeMap<Cell, u32>,
    cells: Vec<Cell>,
    // Those before it are in the file.
    written: usize,
}

impl Dictionary {
    /// The cell's number, a new one if it has none.
    pub(super) fn number(&mut self, zone: &Name, column: &Column) -> Result<u32, Failure> {
        let cell = (zone.clone(), column.clone());
        if let Some(number) = self.numbers.get(&cell) {
            return Ok(*number);
        }
        let number = u32::try_from(self.cells.len());
        let number = number.map_err(|_| Failure::Limit("more cells than 32 bits".to_owned()))?;
        self.cells.push(cell.clone());
        self.numbers.insert(cell, number);
        Ok(number)
    }

    /// The cell with this number.
    pub(super) fn cell(&self, number: u32) -> Option<&Cell> {
        self.cells.get(number as usize)
    }

    /// Reads all cells; they are few, and a damaged one would give its amounts to another.
    pub(super) fn read(sql: &Connection, seal: Seal) -> Result<Dictionary, Failure> {
        let mut dictionary = Dictionary::default();
        let mut found = Seal::default();
        let of_now = "SELECT id, zone, hw_type, gpu, origin, digest, gpu_instance FROM cell ORDER BY id";
        // A file from before instances were told apart, which is only read.
        let of_then = "SELECT id, zone, hw_type, gpu, origin, digest, '' FROM cell ORDER BY id";
        let has_instances = sql.column_exists(None, "cell", "gpu_instance")?;
        let mut select = sql.prepare(if has_instances { of_now } else { of_then })?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let (zone, gpu, gpu_instance): (Name, Name, Name) = (row.get(1)?, row.get(3)?, row.get(6)?);
            let (hw_type, origin): (String, String) = (row.get(2)?, row.get(4)?);
            let (hw_type, origin) = (hw_type_of(&hw_type)?, origin_of(&origin)?);
            let column = Column { hw_type, gpu, gpu_instance, origin };
            let number = dictionary.number(&zone, &column)?;
            let digest = digest_of(number, &(zone, column));
            if row.get::<_, i64>(0)? != i64::from(number) || row.get::<_, i64>(5)? != digest {
                return Err(Failure::Malformed(format!("cell {number} is damaged")));
            }
            found.add_signed(digest);
        }
        if found != seal {
            return Err(Failure::Malformed("cells are missing".to_owned()));
        }
        dictionary.written = dictionary.cells.len();
        Ok(dictionary)
    }

    /// Writes the cells that are not in the file yet. They count as written once [`Self::settle`] is called.
    pub(super) fn write(&self, sql: &Connection, seal: &mut Seal) -> Result<(), Failure> {
        for (number, cell) in (0..).zip(&self.cells).skip(self.written) {
            let (zone, column) = cell;
            let digest = digest_of(number, cell);
            sql.prepare_cached(
                "INSERT INTO cell(id, zone, hw_type, gpu, origin, digest, gpu_instance)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![
                number,
                zone,
                column.hw_type.as_str(),
                column.gpu,
                column.origin.as_str(),
                digest,
                column.gpu_instance
            ])?;
            seal.add_signed(digest);
        }
        Ok(())
    }

    /// What was written has been committed.
    pub(super) fn settle(&mut self) {
        self.written = self.cells.len();
    }

    /// Another file has begun, which has none of them.
    pub(super) fn unsettle(&mut self) {
        self.written = 0;
    }
}

fn digest_of(number: u32, (zone, column): &Cell) -> i64 {
    let names = Fields::of("cell").number(i64::from(number)).text(zone).text(column.hw_type.as_str());
    let names = names.text(&column.gpu).text(column.origin.as_str());
    // As it was before there were instances.
    if column.is_whole() { names.digest() } else { names.text(&column.gpu_instance).digest() }
}

fn hw_type_of(text: &str) -> Result<HwType, Failure> {
    let all = [HwType::Cpu, HwType::Memory, HwType::Gpu, HwType::Other];
    let found = all.into_iter().find(|hw_type| hw_type.as_str() == text);
    found.ok_or_else(|| Failure::Malformed(format!("no hardware type: {text}")))
}

fn origin_of(text: &str) -> Result<Origin, Failure> {
    let found = Origin::ALL.into_iter().find(|origin| origin.as_str() == text);
    found.ok_or_else(|| Failure::Malformed(format!("no origin: {text}")))
}

/// Energy and emissions by cell; what is 0 is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Amounts(BTreeMap<u32, (Energy, Emissions)>);

/// Number, energy, emissions.
const PACKED_BYTES: usize = 4 + 8 + 8;

impl Amounts {
    /// Adds to a cell.
    pub(super) fn add(&mut self, cell: u32, energy: Energy, emissions: Emissions) -> Result<(), Failure> {
        if energy == Energy::ZERO && emissions == Emissions::ZERO {
            return Ok(());
        }
        let sums = self.0.entry(cell).or_default();
        let too_large = || Failure::Limit("a sum is beyond 64 bits".to_owned());
        let joules = sums.0.as_micro().checked_add(energy.as_micro()).ok_or_else(too_large)?;
        let grams = sums.1.as_nano().checked_add(emissions.as_nano()).ok_or_else(too_large)?;
        *sums = (Energy::from_micro(joules), Emissions::from_nano(grams));
        Ok(())
    }

    /// Both added up.
    pub(super) fn plus(&self, other: &Amounts) -> Result<Amounts, Failure> {
        let mut sum = self.clone();
        for (cell, energy, emissions) in other.iter() {
            sum.add(cell, energy, emissions)?;
        }
        Ok(sum)
    }

    /// Every cell that is not 0.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, Energy, Emissions)> {
        self.0.iter().map(|(cell, (energy, emissions))| (*cell, *energy, *emissions))
    }

    /// As the file has them.
    pub(super) fn pack(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.0.len() * PACKED_BYTES);
        for (cell, energy, emissions) in self.iter() {
            put_amount(&mut bytes, cell, energy, emissions);
        }
        bytes
    }

    /// What was packed.
    pub(super) fn unpack(bytes: &[u8]) -> Result<Amounts, Failure> {
        let (packed, rest) = bytes.as_chunks::<PACKED_BYTES>();
        if !rest.is_empty() {
            return Err(Failure::Malformed(format!("amounts of {} bytes", bytes.len())));
        }
        let mut amounts = Amounts::default();
        for [a, b, c, d, rest @ ..] in packed {
            let halves = rest.as_chunks::<8>().0;
            let half = |at: usize| halves.get(at).copied().map_or(0, u64::from_le_bytes);
            let (energy, emissions) = (Energy::from_micro(half(0)), Emissions::from_nano(half(1)));
            amounts.add(u32::from_le_bytes([*a, *b, *c, *d]), energy, emissions)?;
        }
        Ok(amounts)
    }
}

/// Appends one cell as [`Amounts::pack`] does, unless it is 0.
pub(super) fn put_amount(bytes: &mut Vec<u8>, cell: u32, energy: Energy, emissions: Emissions) {
    if energy == Energy::ZERO && emissions == Emissions::ZERO {
        return;
    }
    bytes.extend_from_slice(&cell.to_le_bytes());
    bytes.extend_from_slice(&energy.as_micro().to_le_bytes());
    bytes.extend_from_slice(&emissions.as_nano().to_le_bytes());
}

/// A moment in wall time as the file has it.
pub(super) fn nanos(row: &rusqlite::Row<'_>, at: usize) -> Result<crate::model::quantity::Nanos, Failure> {
    Ok(crate::model::quantity::Nanos::new(unsigned(row.get(at)?)?))
}
