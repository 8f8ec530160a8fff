//! Rows of energy and emissions.

use crate::model::quantity::{Emissions, Energy};
use crate::model::snapshot::Table;

/// Energy by column, emissions by zone and column.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sums {
    /// By column.
    pub energy: Vec<Energy>,
    /// `zone × column`.
    pub emissions: Vec<Emissions>,
}

impl Sums {
    /// Nothing yet.
    #[must_use]
    pub fn new(columns: usize, zones: usize) -> Sums {
        Sums { energy: vec![Energy::ZERO; columns], emissions: vec![Emissions::ZERO; columns * zones] }
    }

    /// Makes room for more zones.
    pub fn widen(&mut self, cells: usize) {
        self.emissions.resize(cells, Emissions::ZERO);
    }

    /// Makes room for more columns; `zones` is how many it has.
    pub fn grow(&mut self, columns: usize, zones: usize) {
        let before = std::mem::replace(self, Sums::new(columns, zones));
        let of_then = before.energy.len();
        self.energy[..of_then].copy_from_slice(&before.energy);
        if of_then > 0 {
            let rows = self.emissions.chunks_mut(columns).zip(before.emissions.chunks(of_then));
            rows.for_each(|(row, before)| row[..of_then].copy_from_slice(before));
        }
    }

    /// The same with each column's amounts in the column that `places` says.
    #[must_use]
    pub fn folded(&self, places: &[usize]) -> Sums {
        let mut folded = Sums {
            energy: vec![Energy::ZERO; self.energy.len()],
            emissions: vec![Emissions::ZERO; self.emissions.len()],
        };
        for (place, energy) in places.iter().zip(&self.energy) {
            folded.energy[*place] += *energy;
        }
        for (index, grams) in self.emissions.iter().enumerate() {
            let (zone, column) = (index / places.len(), index % places.len());
            folded.emissions[zone * places.len() + places[column]] += *grams;
        }
        folded
    }

    /// Adds to one column, and to the cell of it and of a zone.
    pub fn add(&mut self, (column, cell): (usize, usize), energy: Energy, emissions: Emissions) {
        self.energy[column] += energy;
        self.emissions[cell] += emissions;
    }

    /// Adds another row of the same width.
    pub fn add_all(&mut self, other: &Sums) {
        self.energy.iter_mut().zip(&other.energy).for_each(|(sum, energy)| *sum += *energy);
        self.emissions.iter_mut().zip(&other.emissions).for_each(|(sum, grams)| *sum += *grams);
    }

    /// What is left when `other` is taken off; `None` if that would be negative anywhere.
    #[must_use]
    pub fn less(&self, other: &Sums) -> Option<Sums> {
        let energy = self.energy.iter().zip(&other.energy).map(|(all, part)| all.checked_sub(*part));
        let grams = self.emissions.iter().zip(&other.emissions);
        let grams = grams.map(|(all, part)| all.as_nano().checked_sub(part.as_nano()));
        Some(Sums {
            energy: energy.collect::<Option<_>>()?,
            emissions: grams.map(|grams| grams.map(Emissions::from_nano)).collect::<Option<_>>()?,
        })
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.energy.iter().all(|energy| *energy == Energy::ZERO)
            && self.emissions.iter().all(|grams| *grams == Emissions::ZERO)
    }
}

/// Rows as a table.
#[must_use]
pub fn table<'a>(rows: impl IntoIterator<Item = &'a Sums>) -> Table {
    let mut table = Table::default();
    for row in rows {
        table.energy.extend_from_slice(&row.energy);
        table.emissions.extend_from_slice(&row.emissions);
    }
    table
}

/// Where the rows of an earlier process's tables stand in ours, which may have more columns.
#[derive(Debug)]
pub struct Moving<'a> {
    /// The place now of each column of then.
    pub places: &'a [usize],
    /// Columns now.
    pub columns: usize,
    /// Zones, then and now.
    pub zones: usize,
}

impl Moving<'_> {
    /// Row `index` of `table`.
    #[must_use]
    pub fn row(&self, table: &Table, index: usize) -> Sums {
        let columns = self.places.len();
        let mut row = Sums::new(self.columns, self.zones);
        let energies = table.energy.iter().skip(index * columns).take(columns);
        for (energy, place) in energies.zip(self.places) {
            row.energy[*place] = *energy;
        }
        let cells = columns * self.zones;
        for (cell, grams) in table.emissions.iter().skip(index * cells).take(cells).enumerate() {
            row.emissions[cell / columns * self.columns + self.places[cell % columns]] = *grams;
        }
        row
    }
}
