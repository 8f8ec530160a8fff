//! Taking over the accounts of an earlier process.

use super::{JobRow, Ledger, Row};
use crate::engine::speech::Voice;
use crate::engine::sums::Moving;
use crate::model::checkpoint::{Checkpoint, RestatedPosition, Slot};
use crate::model::groups::{GroupsPosition, Membership};
use crate::model::quantity::{EmissionsRemainder, Nanos};
use crate::model::snapshot::Column;
use crate::model::speech::Speech;
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
        self.grid.resume(&checkpoint.restated);
        let moving = Moving { places: &places, columns: self.columns.len(), zones: totals.zones.len() };
        self.host = moving.row(&totals.host, 0);
        self.retired = moving.row(&totals.retired_table, 0);
        for (index, residual) in self.residual.iter_mut().enumerate() {
            *residual = Row::of(moving.row(&totals.residual_table, index));
        }
        for (index, job) in totals.jobs.iter().enumerate() {
            let number = u32::try_from(self.jobs.len()).expect("rows are bounded by max_jobs, a u32");
            self.rows_of.insert(job.job.id.clone(), number);
            self.jobs.push(Some(JobRow {
                identity: Arc::clone(&job.job),
                description: Arc::clone(&job.description),
                key: job.job.id.fingerprint(),
                row: Row::of(moving.row(&totals.job_table, index)),
                standing: checkpoint.groups.standings.get(index).cloned().unwrap_or_default(),
                undecided: 0,
                cpu: job.cpu,
                held: Vec::new(),
                voice: job.speech.as_ref().map(|speech| Box::new(Voice::resume(Speech::clone(speech)))),
                groups: [0, 0],
                ended: job.ended,
                changed: Nanos::ZERO,
            }));
        }
        let (kinds, hold) = self.groups.wanted();
        self.groups.resume(&checkpoint.groups, &moving);
        let known = self.groups.count();
        for job in self.jobs.iter_mut().flatten() {
            // One that an earlier schema has written stands nowhere.
            if job.standing.memberships.len() != known {
                Arc::make_mut(&mut job.standing).memberships.resize(known, Membership::Unnamed);
            }
            job.undecided = self.groups.undecided(&job.standing);
        }
        self.group_by(&kinds, hold);
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
        (remainders, self.history.slots(self.zones.len(), &self.groups), self.next_number)
    }

    /// What was charged lately.
    pub(in crate::engine) fn restated(&self) -> RestatedPosition {
        self.grid.position()
    }

    /// How the groups stand, and the jobs with them.
    pub(in crate::engine) fn groups(&self) -> GroupsPosition {
        self.groups.position(self.jobs.iter().flatten().map(|job| Arc::clone(&job.standing)).collect())
    }

    fn places(&self, columns: &[Column]) -> Vec<usize> {
        let place = |column: &Column| self.columns.iter().position(|known| known == column);
        columns.iter().map(|column| place(column).expect("the engine has a column for each")).collect()
    }
}
