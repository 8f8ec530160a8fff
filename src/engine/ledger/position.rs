//! Taking over the accounts of an earlier process.

use super::{JobRow, Ledger, Row};
use crate::model::checkpoint::{Checkpoint, Slot};
use crate::model::quantity::{EmissionsRemainder, Nanos};
use crate::model::snapshot::{Column, Table, Totals};
use std::sync::Arc;

impl Ledger {
    /// Takes over everything that `checkpoint` says was shown. The ledger must be empty, and have a
    /// column for each of the checkpoint's.
    pub(in crate::engine) fn resume(&mut self, checkpoint: &Checkpoint) {
        let totals = &checkpoint.totals;
        let places = self.places(&totals.columns);
        // Where no tick has taken place yet, nothing has been counted.
        self.started = Some(totals.started).filter(|started| *started != Nanos::ZERO);
        self.next_number = self.next_number.max(checkpoint.next_number);
        self.overflowed = totals.overflowed_jobs;
        for zone in &totals.zones {
            self.zone(zone);
        }
        for (place, remainder) in places.iter().zip(&checkpoint.remainders) {
            self.remainders[*place] = EmissionsRemainder::from_raw(*remainder);
        }
        let width = self.columns.len();
        let row = |table: &Table, index: usize| moved(table, index, totals, &places, width);
        self.host = row(&totals.host, 0);
        self.retired = row(&totals.retired_table, 0);
        for (index, residual) in self.residual.iter_mut().enumerate() {
            *residual = row(&totals.residual_table, index);
        }
        for (index, job) in totals.jobs.iter().enumerate() {
            let number = u32::try_from(self.jobs.len()).expect("rows are bounded by max_jobs, a u32");
            self.rows_of.insert(job.job.id.clone(), number);
            self.jobs.push(Some(JobRow {
                identity: Arc::clone(&job.job),
                description: Arc::clone(&job.description),
                key: job.job.id.fingerprint(),
                row: row(&totals.job_table, index),
                cpu: job.cpu,
                groups: [0, 0],
                ended: job.ended,
                changed: Nanos::ZERO,
            }));
        }
    }

    /// Goes on with numbers that nobody has used.
    pub(in crate::engine) fn number_from(&mut self, next: u64) {
        self.next_number = self.next_number.max(next);
    }

    /// The row of the job with this number.
    pub(in crate::engine) fn row_of_number(&self, number: u64) -> Option<u32> {
        let is_it = |job: &Option<JobRow>| job.as_ref().is_some_and(|job| job.identity.number == number);
        (0..).zip(&self.jobs).find(|(_, job)| is_it(job)).map(|(row, _)| row)
    }

    /// The number of the job in this row.
    pub(in crate::engine) fn number(&self, row: u32) -> u64 {
        self.job(row).identity.number
    }

    /// What is not shown and must not be lost either.
    pub(in crate::engine) fn rest(&self) -> (Vec<u64>, Vec<Slot>, u64) {
        let remainders = self.remainders.iter().map(|rest| rest.raw()).collect();
        (remainders, self.history.slots(self.zones.len()), self.next_number)
    }

    fn places(&self, columns: &[Column]) -> Vec<usize> {
        let place = |column: &Column| self.columns.iter().position(|known| known == column);
        columns.iter().map(|column| place(column).expect("the engine has a column for each")).collect()
    }
}

/// Row `index` of `table`, with its columns where they stand now.
fn moved(table: &Table, index: usize, totals: &Totals, places: &[usize], width: usize) -> Row {
    let columns = places.len();
    let mut row = Row::new(width, totals.zones.len());
    let energies = table.energy.iter().skip(index * columns).take(columns);
    for (energy, place) in energies.zip(places) {
        row.energy[*place] = *energy;
    }
    let cells = columns * totals.zones.len();
    for (cell, grams) in table.emissions.iter().skip(index * cells).take(cells).enumerate() {
        row.emissions[cell / columns * width + places[cell % columns]] = *grams;
    }
    row
}
