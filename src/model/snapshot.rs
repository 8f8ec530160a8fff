//! What readers see: the whole state after one tick, immutable and shared. Every output is made from it.

use super::description::Description;
use super::gpu::{Method, Sight};
use super::grid::Grid;
use super::groups::GroupKind;
use super::identity::{HwType, JobId, Name, Origin};
use super::quantity::{CpuTime, Emissions, Energy, MicroWatts, Nanos};
use super::reading::{Factor, Fault, FloorMethod, Machine};
use super::speech::{Amount, Amounts, Prediction, Speech};
use super::time::Moment;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The state after a tick.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// When the tick was.
    pub at: Moment,
    /// The tick's nominal length.
    pub interval: Nanos,
    /// The machine.
    pub machine: Arc<Machine>,
    /// The engine's totals.
    pub totals: Arc<Totals>,
    /// The intensity in force.
    pub factor: Arc<Factor>,
    /// What is known of the grid, where somebody is asked about it.
    pub grid: Option<Arc<Grid>>,
    /// One state for each source, and for each domain of it.
    pub sources: Vec<SourceState>,
    /// The accelerators as they were last seen.
    pub gpus: Vec<Sight>,
    /// What jobs will come to that have said how far they are, by the job's number.
    pub predictions: Arc<BTreeMap<u64, Prediction>>,
    /// How the sampler itself fares.
    pub sampler: SamplerState,
    /// How the store fares; `None` if none is wanted.
    pub store: Option<StoreState>,
    /// How pushes over OTLP fare; `None` if none are wanted.
    pub push: Option<PushState>,
    /// What this process uses.
    pub process: ProcessState,
}

/// What this process uses, in the words of the client libraries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProcessState {
    /// CPU time of all threads.
    pub cpu: CpuTime,
    /// Memory in use.
    pub resident_bytes: u64,
    /// Address space in use.
    pub virtual_bytes: u64,
    /// Open descriptors.
    pub open_fds: u64,
    /// Descriptors it may have.
    pub max_fds: u64,
    /// When it started, in s since 1970.
    pub start_seconds: u64,
}

/// Hardware of one kind, device and origin: energies of one column may be added.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Column {
    /// The `hw_type` label.
    pub hw_type: HwType,
    /// The `gpu` label.
    pub gpu: Name,
    /// The `gpu_instance` label: the part of the device, where a job was charged for one. All else is booked
    /// for the device.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub gpu_instance: Name,
    /// The `origin` label.
    pub origin: Origin,
}

fn is_empty(name: &Name) -> bool {
    name.is_empty()
}

impl Column {
    /// Whether it is that of a whole device, or of what is none.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.gpu_instance.is_empty()
    }
}

/// Everything the engine counts. Tables are flat: `rows × columns` energies, `rows × zones × columns` emissions.
#[derive(Debug, Clone, Default)]
pub struct Totals {
    /// When all of this was 0, in wall time.
    pub started: Nanos,
    /// The columns of every table.
    pub columns: Arc<[Column]>,
    /// The grid zones of every emissions table, in the order they were met.
    pub zones: Vec<Name>,
    /// Of each zone with figures that may be revised, by how much what was charged is worth more or less now,
    /// in ng.
    pub restated: Vec<Option<i64>>,
    /// One for each of [`Machine::domains`].
    pub domains: Vec<DomainTotals>,
    /// What was measured and estimated, by column.
    pub host: Table,
    /// How each accelerator's energy was divided in the last tick.
    pub gpus: Vec<(Name, Method)>,
    /// The jobs on the page.
    pub jobs: Vec<JobTotals>,
    /// Their table, in the same order.
    pub job_table: Table,
    /// The residual accounts, in the order of [`super::identity::Residual::ALL`].
    pub residual_table: Table,
    /// What each residual account drew over the last tick, in the same order.
    pub residual_power: Vec<MicroWatts>,
    /// Totals of jobs no longer on the page.
    pub retired_table: Table,
    /// The kinds of groups, each of which divides the host.
    pub groups: Vec<GroupKind>,
    /// Jobs that live now.
    pub live_jobs: u32,
    /// Jobs that found no room on the page.
    pub overflowed_jobs: u64,
    /// CPU time that groups claimed beyond what the machine was busy; carried until it is met again.
    pub cpu_deficit: CpuTime,
}

impl Totals {
    /// What the job in this row has used by kind of hardware and origin.
    #[must_use]
    pub fn amounts_of_job(&self, row: usize) -> Amounts {
        let (columns, cells) = (self.columns.len(), self.columns.len() * self.zones.len());
        let energy = &self.job_table.energy[row * columns..][..columns];
        amounts(&self.columns, energy, &self.job_table.emissions[row * cells..][..cells])
    }

    /// One row of emissions with the zone and the column of each cell, the columns of a zone together.
    pub fn by_zone<'a>(
        &'a self,
        row: &'a [Emissions],
    ) -> impl Iterator<Item = (&'a Name, &'a Column, Emissions)> {
        let columns = &*self.columns;
        let cells = self.zones.iter().flat_map(move |zone| columns.iter().map(move |column| (zone, column)));
        cells.zip(row).map(|((zone, column), emissions)| (zone, column, *emissions))
    }
}

/// What a row has used by kind of hardware and origin, parts of devices included: `zone × column` of emissions.
#[must_use]
pub fn amounts(columns: &[Column], energy: &[Energy], emissions: &[Emissions]) -> Amounts {
    let mut amounts = Amounts::default();
    let mut add = |column: &Column, energy, emissions| {
        amounts.add(Amount { hw_type: column.hw_type, origin: column.origin, energy, emissions });
    };
    for (column, energy) in columns.iter().zip(energy) {
        add(column, *energy, Emissions::ZERO);
    }
    for (column, grams) in columns.iter().cycle().zip(emissions) {
        add(column, Energy::ZERO, *grams);
    }
    amounts
}

/// Rows of totals.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    /// `row × column`.
    pub energy: Vec<Energy>,
    /// `row × zone × column`.
    pub emissions: Vec<Emissions>,
}

/// What is known of one domain.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainTotals {
    /// Its energy since start.
    pub energy: Energy,
    /// Its mean power over the last tick in which it could be read.
    pub power: Option<MicroWatts>,
    /// Its idle floor.
    pub floor: Option<(FloorMethod, MicroWatts)>,
    /// Readings that were a wrap.
    pub wraps: u64,
    /// Readings that were a counter started anew.
    pub resets: u64,
    /// Time whose energy is not known.
    pub gap: Nanos,
    /// Readings that were not believed, by reason.
    pub quarantined: Vec<Quarantine>,
    /// Of a root, what it shows itself; `energy` and `power` are what is left of that beside its parts.
    #[serde(default)]
    pub root: Option<RootTotals>,
}

/// What a meter around others shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootTotals {
    /// Its own energy since start.
    pub energy: Energy,
    /// Its own mean power over the last tick in which it could be read.
    pub power: Option<MicroWatts>,
    /// What its parts have drawn and it has not shown yet. The host's total is the leaves' less this.
    pub ahead: Energy,
}

/// Readings that were refused for one reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantine {
    /// Why.
    pub reason: Fault,
    /// What they claimed.
    pub energy: Energy,
    /// How many there were.
    pub readings: u64,
}

/// One job.
#[derive(Debug, Clone)]
pub struct JobTotals {
    /// Who it is.
    pub job: Arc<JobIdentity>,
    /// The CPU time charged to it.
    pub cpu: CpuTime,
    /// The monotonic time of its end, if it has ended.
    pub ended: Option<Nanos>,
    /// What is known of it beside its id.
    pub description: Arc<Description>,
    /// What it drew over the last tick.
    pub power: MicroWatts,
    /// Accelerators that it was given: column, and how much of the device in ppm.
    pub held: Vec<(u32, u32)>,
    /// What it has said of itself, if anything.
    pub speech: Option<Arc<Speech>>,
}

/// What is said about a job beside its counters.
#[derive(Debug, PartialEq, Eq)]
pub struct JobIdentity {
    /// Unique in the store: a job that leaves the page and comes back has a new one.
    pub number: u64,
    /// Who it is.
    pub id: JobId,
    /// The user's id, where the control group tells.
    pub user: Option<u32>,
    /// When it was first seen.
    pub started: Moment,
    /// The control group in which it was first met.
    pub cgroup: Name,
}

/// Whether a source, or a domain of it, can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceState {
    /// `rapl`, `estimate`, `cgroup`, `process`, `cpu`.
    pub source: Name,
    /// The domain; empty for the source as a whole.
    pub hw_id: Name,
    /// What is wrong at present.
    pub fault: Option<Fault>,
    /// The wall time of the last good reading; `None` if there never was one.
    pub last_success: Option<Nanos>,
    /// Failed readings by reason.
    pub errors: Vec<(Fault, u64)>,
    /// What was found, in words: path, method.
    pub detail: Name,
}

/// How the sampler itself fares.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SamplerState {
    /// Ticks by how long they took: one count for each of [`SamplerState::BOUNDS`], then the rest.
    pub durations: [u64; SamplerState::BOUNDS.len() + 1],
    /// The sum of those lengths.
    pub duration_sum: Nanos,
    /// Ticks that were due and did not take place.
    pub skipped: u64,
    /// Times the wall clock was set.
    pub clock_steps: u64,
    /// How long the machine slept.
    pub suspended: Nanos,
    /// Whether births and deaths of control groups are seen as they happen.
    pub watches_cgroups: bool,
    /// Control groups that are looked at.
    pub groups: u32,
    /// Processes that are looked at, where they are.
    pub processes: Option<u32>,
}

impl SamplerState {
    /// Upper bounds of the tick durations, in ns: 100 µs to 1 s.
    pub const BOUNDS: [u64; 9] = [
        100_000,
        500_000,
        1_000_000,
        2_500_000,
        5_000_000,
        10_000_000,
        50_000_000,
        100_000_000,
        1_000_000_000,
    ];

    /// Counts one tick.
    pub fn observe(&mut self, took: Nanos) {
        let bucket = Self::BOUNDS.iter().position(|&bound| took.get() <= bound);
        self.durations[bucket.unwrap_or(Self::BOUNDS.len())] += 1;
        self.duration_sum += took;
    }
}

/// What the store has to say about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreState {
    /// Where it is; empty for memory only.
    pub path: Name,
    /// What is wrong at present; empty if nothing is.
    pub reason: Name,
    /// How the last start took up what it found.
    pub restored: Name,
    /// The wall time of the last commit.
    pub last_commit: Option<Nanos>,
    /// Commits, and how long they took together.
    pub commits: u64,
    /// See [`StoreState::commits`].
    pub commit_time: Nanos,
    /// Commits that failed, by reason.
    pub errors: Vec<(Name, u64)>,
    /// Bytes on disk.
    pub bytes: u64,
    /// Job records.
    pub job_records: u64,
}

/// How a push went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PushOutcome {
    /// All of it was taken.
    Accepted,
    /// Some points were rejected, which is final.
    Partial,
    /// The backend asks for another try later.
    Deferred,
    /// The backend will not have it, now or later.
    Refused,
    /// There was no connection, or it broke.
    Unreachable,
    /// There was no answer in time.
    Timeout,
}

impl PushOutcome {
    /// The label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            PushOutcome::Accepted => "accepted",
            PushOutcome::Partial => "partial",
            PushOutcome::Deferred => "deferred",
            PushOutcome::Refused => "refused",
            PushOutcome::Unreachable => "unreachable",
            PushOutcome::Timeout => "timeout",
        }
    }

    /// Whether the backend has what it is going to have of it.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, PushOutcome::Accepted | PushOutcome::Partial)
    }
}

/// What pushes over OTLP have to say about themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PushState {
    /// Pushes by how they went.
    pub pushes: BTreeMap<PushOutcome, u64>,
    /// How the last one went.
    pub last: Option<PushOutcome>,
    /// The wall time of the last that arrived.
    pub last_success: Option<Nanos>,
    /// Points that backends would not have.
    pub rejected: u64,
    /// How long all of them took together.
    pub duration: Nanos,
}

/// How far one series has been pushed as differences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pushed {
    /// A digest of its name and labels.
    pub series: u128,
    /// When it was 0, in wall time.
    pub start: Nanos,
    /// What of it has arrived, in its smallest unit.
    pub value: u64,
    /// The wall time of the state that this was.
    pub until: Nanos,
}
