//! The accounts: every joule and gram of a column stands in exactly one row, and stays there until a
//! job leaves the page and its row moves, whole, into `retired`.

mod groups;
mod position;
mod voices;

use super::grid::Grid;
use super::groups::{Groups, NONE};
use super::history::History;
use super::speech::Voice;
use super::split::split;
use super::sums::{Sums, table};
use crate::model::description::{Description, Naming};
use crate::model::grid::Plan;
use crate::model::groups::Standing;
use crate::model::identity::{JobId, Name, Residual};
use crate::model::quantity::{CpuTime, Emissions, EmissionsRemainder, Energy, MicroWatts, Nanos};
use crate::model::reading::{Factor, Hierarchy};
use crate::model::snapshot::{Column, JobIdentity, JobTotals, Totals};
use crate::model::time::Moment;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

/// A zone changes when somebody reconfigures or moves the machine; beyond this many they share a name.
const MAX_ZONES: usize = 32;
const OTHER_ZONES: &str = "other";

/// An ended job makes room for a living one after this part of its retention, when the page is full.
const EVICTABLE_SHARE: u64 = 5;

/// Smaller numbers are left to the rows that are no jobs.
const FIRST_NUMBER: u64 = 16;

const ROW_IN_USE: &str = "a row number is dropped when its job retires";

/// Where a joule goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Account {
    /// The job in this row.
    Job(u32),
    /// No job.
    Residual(Residual),
}

/// A claim to a share of an energy. The key breaks ties the same way in whatever order claims come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Who claims.
    pub account: Account,
    /// How much, in proportion to the other claims.
    pub weight: u64,
    /// Unique to the account and the part.
    pub key: u64,
    /// The column of the part of a device that it is for; `None` for the whole.
    pub part: Option<u32>,
}

/// What one account is charged with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Charge {
    /// Whom.
    pub account: Account,
    /// How much.
    pub energy: Energy,
    /// See [`Share::key`].
    pub key: u64,
    /// See [`Share::part`].
    pub part: Option<u32>,
}

/// A job that wants a row.
#[derive(Debug, Clone, Copy)]
pub struct Newcomer<'a> {
    /// Who.
    pub id: &'a JobId,
    /// Where it was met.
    pub cgroup: &'a Name,
    /// Whose it is, where that is known.
    pub user: Option<u32>,
    /// What has become known of it before it wanted a row.
    pub naming: Option<&'a Naming>,
}

/// All rows.
#[derive(Debug)]
pub struct Ledger {
    now: Moment,
    // Everything up to this monotonic time is on disk.
    durable: Nanos,
    // When everything was 0, in wall time; `None` before the first tick.
    started: Option<Nanos>,
    next_number: u64,
    history: History,
    grid: Grid,
    groups: Groups,
    columns: Arc<[Column]>,
    // Of each the column of the whole device: only a job's row has amounts for parts.
    wholes: Vec<usize>,
    zones: Vec<Name>,
    remainders: Vec<EmissionsRemainder>,
    // When each column was last charged, in monotonic time: powers are of that tick.
    charged: Vec<Nanos>,
    host: Sums,
    residual: [Row; Residual::ALL.len()],
    retired: Sums,
    jobs: Vec<Option<JobRow>>,
    free: Vec<u32>,
    // Rows that have left the page and may still be named by claims that wait for their energy.
    freed: Vec<u32>,
    rows_of: HashMap<JobId, u32>,
    max_jobs: u32,
    retention: Nanos,
    overflowed: u64,
}

/// One account.
#[derive(Debug, Clone, Default)]
struct Row {
    sums: Sums,
    // By column, over the last tick in which it was charged.
    power: Vec<MicroWatts>,
}

#[derive(Debug)]
struct JobRow {
    identity: Arc<JobIdentity>,
    description: Arc<Description>,
    key: u64,
    row: Row,
    standing: Arc<Standing>,
    // Of how many kinds its group is not decided.
    undecided: usize,
    cpu: CpuTime,
    // Accelerators that it was given: column, and how much of it in ppm.
    held: Vec<(u32, u32)>,
    // What it has said of itself, if anything.
    voice: Option<Box<Voice>>,
    groups: [u32; 2],
    ended: Option<Nanos>,
    // When its totals last changed.
    changed: Nanos,
}

impl Ledger {
    /// An empty ledger with these columns; of each `shared` says whether all jobs use it.
    #[must_use]
    pub fn new(columns: Arc<[Column]>, shared: Vec<bool>, max_jobs: u32, retention: Nanos) -> Ledger {
        let sums = Sums::new(columns.len(), 0);
        Ledger {
            wholes: wholes(&columns),
            now: Moment::default(),
            durable: Nanos::new(u64::MAX),
            started: None,
            next_number: FIRST_NUMBER,
            history: History::new(columns.len()),
            grid: Grid::default(),
            groups: Groups::new(shared),
            zones: Vec::new(),
            remainders: vec![EmissionsRemainder::default(); columns.len()],
            charged: vec![Nanos::ZERO; columns.len()],
            host: sums.clone(),
            residual: std::array::from_fn(|_| Row::of(sums.clone())),
            retired: sums,
            jobs: Vec::new(),
            free: Vec::new(),
            freed: Vec::new(),
            rows_of: HashMap::new(),
            max_jobs,
            retention,
            overflowed: 0,
            columns,
        }
    }

    /// More columns, at the end; of each, whether all jobs use it.
    pub fn grow(&mut self, more: &[Column], shared: &[bool]) {
        let all: Arc<[Column]> = self.columns.iter().chain(more).cloned().collect();
        let (columns, zones) = (all.len(), self.zones.len());
        for row in self.jobs.iter_mut().flatten().map(|job| &mut job.row).chain(&mut self.residual) {
            row.sums.grow(columns, zones);
            row.power.resize(columns, MicroWatts::ZERO);
        }
        self.host.grow(columns, zones);
        self.retired.grow(columns, zones);
        self.remainders.resize(columns, EmissionsRemainder::default());
        self.charged.resize(columns, Nanos::ZERO);
        self.history.grow(columns);
        self.groups.grow(shared);
        self.wholes = wholes(&all);
        self.columns = all;
    }

    /// Notes which jobs hold accelerators from now on: row, column, and how much of the device in ppm.
    pub fn hold(&mut self, held: &[(u32, u32, u32)]) {
        self.jobs.iter_mut().flatten().for_each(|job| job.held.clear());
        for (row, column, share) in held {
            let Some(job) = self.jobs[*row as usize].as_mut() else { continue };
            match job.held.iter_mut().find(|(known, _)| known == column) {
                Some((_, sum)) => *sum += share,
                None => job.held.push((*column, *share)),
            }
        }
    }

    /// The columns of every row.
    #[must_use]
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The row of this job, if it has one.
    #[must_use]
    pub fn row_of(&self, id: &JobId) -> Option<u32> {
        self.rows_of.get(id).copied()
    }

    /// Changes the bounds from now on.
    pub fn reconfigure(&mut self, max_jobs: u32, retention: Nanos) {
        self.max_jobs = max_jobs;
        self.retention = retention;
    }

    /// What follows happens at this time.
    pub fn begin(&mut self, at: &Moment) {
        self.now = *at;
        self.groups.begin(at, self.started.is_none());
        self.started.get_or_insert(at.wall);
        self.history.begin(at, self.durable);
    }

    /// Everything up to this monotonic time is on disk. What is not must not leave the ledger.
    pub fn committed(&mut self, through: Nanos) {
        self.durable = through;
    }

    /// A group of this job came to life. `None`: the page is full, and until there is room the
    /// job's energy goes to `overflow`.
    pub fn open(&mut self, job: Newcomer<'_>, hierarchy: Hierarchy) -> Option<u32> {
        let row = match self.rows_of.get(job.id) {
            Some(&row) => row,
            None => self.make_row(job)?,
        };
        self.begin_anew(row);
        let job = self.job_mut(row);
        job.groups[hierarchy as usize] += 1;
        job.ended = None;
        Some(row)
    }

    /// A group of the job in `row` is gone.
    pub fn close(&mut self, row: u32, hierarchy: Hierarchy) {
        let now = self.now.monotonic;
        let job = self.job_mut(row);
        let groups = &mut job.groups[hierarchy as usize];
        *groups = groups.checked_sub(1).expect("a group dies once");
        if job.groups == [0, 0] {
            job.ended = Some(now);
            job.changed = now;
        }
    }

    /// Jobs that were taken over from an earlier process and have no group any more ended meanwhile.
    pub fn close_orphans(&mut self) {
        let now = self.now.monotonic;
        for job in self.jobs.iter_mut().flatten() {
            if job.groups == [0, 0] && job.ended.is_none() {
                job.ended = Some(now);
                job.changed = now;
            }
        }
    }

    /// Whether the job has a row.
    #[must_use]
    pub fn knows(&self, id: &JobId) -> bool {
        self.rows_of.contains_key(id)
    }

    /// Counts a job that found no room.
    pub fn count_overflow(&mut self) {
        self.overflowed += 1;
    }

    /// Whether a job could be opened now.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.rows_of.len() < self.max_jobs as usize
    }

    /// Whether the primary hierarchy knows the job, so that the supplement must not charge it again.
    #[must_use]
    pub fn is_primary(&self, row: u32) -> bool {
        self.job(row).groups[Hierarchy::Primary as usize] > 0
    }

    /// The tie-break key of an account.
    #[must_use]
    pub fn key(&self, account: Account) -> u64 {
        match account {
            Account::Job(row) => self.job(row).key,
            Account::Residual(residual) => residual as u64,
        }
    }

    /// Adds CPU time to a job's own counter.
    pub fn add_cpu(&mut self, row: u32, used: CpuTime) {
        let now = self.now.monotonic;
        let job = self.job_mut(row);
        job.cpu += used;
        job.changed = now;
    }

    /// Charges by this from now on. The zone's series are shown, at 0 until something is booked there.
    pub fn price(&mut self, plan: Option<&Arc<Plan>>, factor: &Factor) {
        let zone = self.zone(&factor.zone);
        self.grid.enforce(self.now.wall, plan, (factor, zone));
        for revision in self.grid.revisions() {
            self.history.revise(&revision, &mut self.next_number);
        }
    }

    /// Books the parts of one device's energy of the last `elapsed`, and their emissions, split alike:
    /// for the column the sums of both are exact.
    pub fn charge(&mut self, column: usize, elapsed: Nanos, parts: &[Charge]) {
        let energy: Energy = parts.iter().map(|part| part.energy).sum();
        if energy == Energy::ZERO {
            return;
        }
        let (factor, zone) = self.grid.in_force();
        let cell = zone * self.columns.len() + column;
        let now = self.now.monotonic;
        if std::mem::replace(&mut self.charged[column], now) != now {
            self.rest_column(column);
        }
        let bill = self.grid.bill(elapsed, energy, &mut self.remainders[column]);
        let emitted = bill.emissions;
        let weights = parts.iter().map(|part| (part.energy.as_micro(), part.key));
        let grams = split(emitted.as_nano(), weights).expect("the parts of some energy are not all 0");
        let mut past = self.history.charge((elapsed, &bill), (zone, column), &factor, &mut self.next_number);
        let mut nobodys = (Energy::ZERO, Emissions::ZERO);
        for (&Charge { account, energy, part, .. }, grams) in parts.iter().zip(grams) {
            let grams = Emissions::from_nano(grams);
            let mut own = column;
            let row = match account {
                Account::Job(row) => {
                    let job = self.jobs[row as usize].as_mut().expect(ROW_IN_USE);
                    job.changed = now;
                    past.of_account(job.identity.id.kind().as_str());
                    for (kind, membership) in (0..).zip(&job.standing.memberships) {
                        let Some(place) = self.groups.place(kind, *membership) else { continue };
                        past.of_group(kind, place, &self.groups);
                        self.groups.charge((kind, place), (column, cell), energy, grams);
                    }
                    past.add((job.undecided > 0).then_some(row), energy, grams);
                    own = part.map_or(column, |part| part as usize);
                    &mut job.row
                }
                Account::Residual(residual) => {
                    past.of_account(residual.as_str());
                    past.add(None, energy, grams);
                    nobodys = (nobodys.0 + energy, nobodys.1 + grams);
                    &mut self.residual[residual as usize]
                }
            };
            row.sums.add((own, cell - column + own), energy, grams);
            row.draw(own, energy, elapsed);
        }
        for kind in 0..self.groups.count() {
            if self.groups.is_shown(kind) {
                self.groups.charge((kind, NONE), (column, cell), nobodys.0, nobodys.1);
            }
        }
        self.host.add((column, cell), energy, emitted);
    }

    /// Takes jobs off the page whose time is over and whose last state is on disk.
    pub fn retire(&mut self) {
        let (now, retention, durable) = (self.now.monotonic, self.retention, self.durable);
        let is_due = |job: &JobRow| {
            job.changed <= durable && job.ended.is_some_and(|ended| now.saturating_sub(ended) >= retention)
        };
        let due: Vec<u32> = (0..)
            .zip(&self.jobs)
            .filter_map(|(row, job)| job.as_ref().is_some_and(is_due).then_some(row))
            .collect();
        for row in due {
            self.retire_row(row);
        }
    }

    /// When the page is full, the job that ended first leaves early, but not before two scrapes can
    /// have seen its end. Returns whether there was one.
    pub fn evict(&mut self) -> bool {
        let (now, durable) = (self.now.monotonic, self.durable);
        let ended = |row: u32, job: &Option<JobRow>| {
            let job = job.as_ref().filter(|job| job.changed <= durable)?;
            Some((job.ended?, row))
        };
        let first = (0..).zip(&self.jobs).filter_map(|(row, job)| ended(row, job)).min();
        let Some((since, row)) = first else { return false };
        if now.saturating_sub(since).get() < self.retention.get() / EVICTABLE_SHARE {
            return false;
        }
        self.retire_row(row);
        true
    }

    /// The rows that were freed since the last call; only now may they be used again.
    pub fn release(&mut self) -> Vec<u32> {
        self.free.extend_from_slice(&self.freed);
        std::mem::take(&mut self.freed)
    }

    /// Copies everything that is shown.
    pub fn fill(&self, totals: &mut Totals) {
        totals.started = self.started.unwrap_or_default();
        totals.columns = Arc::clone(&self.columns);
        totals.zones.clone_from(&self.zones);
        totals.restated = self.grid.restated(self.zones.len());
        totals.host = table([&self.host]);
        totals.residual_table = table(self.residual.iter().map(|row| &row.sums));
        totals.retired_table = table([&self.retired]);
        totals.groups = self.groups.fill(self.waiting());
        let jobs = || self.jobs.iter().flatten();
        totals.jobs = jobs()
            .map(|job| JobTotals {
                job: Arc::clone(&job.identity),
                cpu: job.cpu,
                ended: job.ended,
                description: Arc::clone(&job.description),
                power: job.row.power(),
                held: job.held.clone(),
                speech: job.voice.as_ref().map(|voice| Arc::new(voice.speech())),
            })
            .collect();
        totals.residual_power = self.residual.iter().map(Row::power).collect();
        totals.job_table = table(jobs().map(|job| &job.row.sums));
        totals.live_jobs =
            u32::try_from(jobs().filter(|job| job.ended.is_none()).count()).unwrap_or(u32::MAX);
        totals.overflowed_jobs = self.overflowed;
    }

    /// The jobs on the page.
    #[cfg(test)]
    pub(super) fn rows(&self) -> Vec<String> {
        self.jobs.iter().flatten().map(|job| job.identity.id.id().to_string()).collect()
    }

    fn make_row(&mut self, newcomer: Newcomer<'_>) -> Option<u32> {
        if !self.has_room() {
            return None;
        }
        let standing = self.groups.newcomer();
        let job = JobRow {
            identity: Arc::new(JobIdentity {
                number: self.next_number,
                id: newcomer.id.clone(),
                user: newcomer.user,
                started: self.now,
                cgroup: Arc::clone(newcomer.cgroup),
            }),
            description: Arc::default(),
            key: newcomer.id.fingerprint(),
            row: Row::of(Sums::new(self.columns.len(), self.zones.len())),
            undecided: self.groups.undecided(&standing),
            standing: Arc::new(standing),
            cpu: CpuTime::ZERO,
            held: Vec::new(),
            voice: None,
            groups: [0, 0],
            ended: Some(self.now.monotonic),
            changed: self.now.monotonic,
        };
        self.next_number += 1;
        let row = self.free.pop().unwrap_or_else(|| {
            self.jobs.push(None);
            u32::try_from(self.jobs.len() - 1).expect("rows are bounded by max_jobs, a u32")
        });
        self.jobs[row as usize] = Some(job);
        self.rows_of.insert(newcomer.id.clone(), row);
        if let Some(naming) = newcomer.naming {
            self.describe(naming);
        }
        Some(row)
    }

    fn retire_row(&mut self, row: u32) {
        self.decide_rest(row);
        let job = self.jobs[row as usize].take().expect("only a row in use is retired");
        self.rows_of.remove(&job.identity.id);
        self.freed.push(row);
        self.retired.add_all(&whole(&self.wholes, &job.row.sums));
    }

    /// The zone's place; a new zone adds a block of zeros to every row.
    fn zone(&mut self, zone: &Name) -> usize {
        if let Some(place) = self.zones.iter().position(|known| known == zone) {
            return place;
        }
        if self.zones.len() == MAX_ZONES {
            return MAX_ZONES - 1;
        }
        let is_last = self.zones.len() == MAX_ZONES - 1;
        self.zones.push(if is_last { OTHER_ZONES.into() } else { Arc::clone(zone) });
        let cells = self.zones.len() * self.columns.len();
        let rows = self.jobs.iter_mut().flatten().map(|job| &mut job.row).chain(&mut self.residual);
        for sums in rows.map(|row| &mut row.sums).chain([&mut self.host, &mut self.retired]) {
            sums.widen(cells);
        }
        self.groups.widen(self.zones.len());
        self.zones.len() - 1
    }

    /// Nobody has drawn anything from this column yet in this tick.
    fn rest_column(&mut self, column: usize) {
        let jobs = self.jobs.iter_mut().flatten().map(|job| &mut job.row);
        let parts: Vec<usize> = (0..self.wholes.len()).filter(|part| self.wholes[*part] == column).collect();
        for row in jobs.chain(&mut self.residual) {
            parts.iter().for_each(|part| row.power[*part] = MicroWatts::ZERO);
        }
    }

    fn job(&self, row: u32) -> &JobRow {
        self.jobs[row as usize].as_ref().expect(ROW_IN_USE)
    }

    fn job_mut(&mut self, row: u32) -> &mut JobRow {
        self.jobs[row as usize].as_mut().expect(ROW_IN_USE)
    }
}

/// Of each column that of the whole device.
fn wholes(columns: &[Column]) -> Vec<usize> {
    let whole = |part: &Column| {
        let is_whole = |column: &Column| {
            column.is_whole()
                && (column.hw_type, &column.gpu, column.origin) == (part.hw_type, &part.gpu, part.origin)
        };
        columns.iter().position(is_whole).expect("a part is one of a device that is counted")
    };
    columns.iter().map(whole).collect()
}

/// A job's row with what it used of parts of devices added to the devices.
fn whole<'a>(wholes: &[usize], sums: &'a Sums) -> Cow<'a, Sums> {
    let has_parts = wholes.iter().zip(0..).any(|(whole, column)| *whole != column);
    if has_parts { Cow::Owned(sums.folded(wholes)) } else { Cow::Borrowed(sums) }
}

impl Row {
    fn of(sums: Sums) -> Row {
        Row { power: vec![MicroWatts::ZERO; sums.energy.len()], sums }
    }

    fn draw(&mut self, column: usize, energy: Energy, elapsed: Nanos) {
        let power = energy.mean_power(elapsed).unwrap_or_default();
        self.power[column] = MicroWatts::new(self.power[column].get().saturating_add(power.get()));
    }

    fn power(&self) -> MicroWatts {
        MicroWatts::new(self.power.iter().fold(0, |sum, power| sum.saturating_add(power.get())))
    }
}
