//! What must outlive the process: everything after one tick, whole. The store keeps it, and a new
//! process takes it up where the old one stopped.

use super::grid::Basis;
use super::groups::GroupsPosition;
use super::identity::{Name, Residual};
use super::quantity::{CpuTime, Emissions, Energy, Intensity, Nanos};
use super::reading::{Domain, Factor, Hierarchy, Machine};
use super::snapshot::Totals;
use super::time::Moment;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The state after a tick.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// When the tick was.
    pub at: Moment,
    /// The machine, the domains of earlier starts at its end.
    pub machine: Arc<Machine>,
    /// How many of its domains are read; the others are of earlier starts.
    pub present: usize,
    /// Everything that is shown.
    pub totals: Arc<Totals>,
    /// What is left of the emissions below 1 ng, one for each of [`Totals::columns`].
    pub remainders: Vec<u64>,
    /// Where each domain stands, in the machine's order.
    pub domains: Vec<DomainPosition>,
    /// Where the processors and the control groups stand.
    pub usage: UsagePosition,
    /// How the groups of jobs stand.
    pub groups: GroupsPosition,
    /// What was charged lately, in case its figures are revised.
    pub restated: RestatedPosition,
    /// The hours that are being filled.
    pub slots: Vec<Slot>,
    /// The next number for a job or a slot; every smaller one has been used.
    pub next_number: u64,
}

impl Checkpoint {
    /// Whether its monotonic times and positions are of this boot; those of another are left out.
    #[must_use]
    pub fn is_of_this_boot(&self) -> bool {
        !self.usage.processors.is_empty()
    }
}

/// Where one domain stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainPosition {
    /// The last good reading.
    #[serde(default)]
    pub last: Option<(Moment, Energy)>,
    /// The reading before one that could not follow from it.
    #[serde(default)]
    pub doubted: Option<(Moment, Energy)>,
    /// What is left of an integrated power, in µW·ns.
    #[serde(default)]
    pub remainder: u64,
    /// The same of the idle floor.
    #[serde(default)]
    pub floor_remainder: u64,
    /// Claims whose energy has not been read yet.
    #[serde(default)]
    pub waiting: Vec<Claim>,
    /// Claims up to a reading that was not believed.
    #[serde(default)]
    pub waiting_in_doubt: Vec<Claim>,
    /// Of a root, how it stands with its parts.
    #[serde(default)]
    pub root: RootPosition,
    /// Idle windows by power: count and sum of µW in each bucket. It is kept apart from the rest,
    /// since it outlives a reboot.
    #[serde(skip)]
    pub floor: Buckets,
}

/// How a root stands with its parts, beside what is shown of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootPosition {
    /// When it was last read.
    pub read: Option<Nanos>,
    /// What its parts have drawn since then.
    pub since: Energy,
    /// What the host was credited with while the root was silent; its next energy contains it.
    pub advanced: Energy,
    /// The same of a reading that was not believed; it comes only if that was a glitch.
    pub doubted: Energy,
    /// Since when its parts have drawn more than it has shown.
    pub behind: Option<Nanos>,
}

/// Idle windows by power: count and sum of µW in each bucket.
pub type Buckets = Arc<[(u64, u128)]>;

/// By what a learnt floor is found again: the same processor read in the same way.
#[must_use]
pub fn floor_key(cpu_model: &str, domain: &Domain) -> Name {
    format!("{cpu_model}|{}|{}", domain.id, domain.source).into()
}

/// A claim to energy that is still to come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Whose.
    pub account: ClaimAccount,
    /// How much, in proportion to the others.
    pub weight: u64,
    /// The part of a device that it is for; empty for the whole.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub part: Name,
}

fn is_empty(name: &Name) -> bool {
    name.is_empty()
}

impl Claim {
    /// By which claims are put in order.
    #[must_use]
    pub fn key(&self) -> (u8, u64, &str) {
        match self.account {
            ClaimAccount::Residual(residual) => (0, residual as u64, &self.part),
            ClaimAccount::Job(number) => (1, number, &self.part),
        }
    }
}

/// Who claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClaimAccount {
    /// The job with this number.
    Job(u64),
    /// No job.
    Residual(Residual),
}

/// Where the processors and the control groups stand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UsagePosition {
    /// What /proc/stat said of each CPU, in its own ticks.
    pub processors: Vec<(u32, u64)>,
    /// CPU time claimed beyond what the machine was busy (negative), in ns.
    pub deficit: i64,
    /// The rules and the trees by which groups were looked for. Under the same, and with all of them
    /// seen, a group that is not in `groups` did not exist.
    pub view: Name,
    /// Whether every group was seen.
    pub is_complete: bool,
    /// Every group that is read.
    pub groups: Vec<GroupPosition>,
}

/// What a control group had used when it was last read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupPosition {
    /// The hierarchy it stands in.
    pub hierarchy: Hierarchy,
    /// Its path there.
    pub path: Name,
    /// Its directory's inode: another group of the same name has another one.
    pub inode: u64,
    /// CPU time since its birth.
    pub usage: CpuTime,
    /// The same by socket, where the kernel says so.
    pub per_socket: Option<Box<[CpuTime]>>,
    /// What its children counted beyond it (negative), in ns.
    pub carry: i64,
}

/// What was charged by figures that may be revised.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RestatedPosition {
    /// The last three days, by five minutes and zone.
    pub spans: Vec<RestatedSpan>,
    /// What everything before them was restated by, in ng, for each of [`Totals::zones`] or fewer.
    pub settled: Vec<i64>,
}

/// Five minutes in one zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestatedSpan {
    /// Times [`super::grid::GRAIN`] since 1970.
    pub grain: u64,
    /// The place among [`Totals::zones`].
    pub zone: usize,
    /// Its energy, in µJ times ppm of PUE.
    pub weighed: u128,
    /// The same times mg/kWh, as it was charged.
    pub charged: u128,
    /// What the figures that it was charged by include.
    pub basis: Option<Basis>,
    /// What was said last of this time.
    pub restated: Option<Intensity>,
    /// By how much that is more or less than was charged, in ng.
    pub told: i64,
}

/// One hour of the history, as far as this process has filled it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// Unique; the same hour may have several slots, which are added.
    pub number: u64,
    /// Hours since 1970, UTC.
    pub hour: u64,
    /// The factor last used in each of [`Totals::zones`].
    pub factors: Vec<Option<Arc<Factor>>>,
    /// One row for each group. The groups of one kind add up to the host.
    pub rows: Vec<SlotRow>,
}

/// What one group used in one hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotRow {
    /// Who.
    pub group: Group,
    /// `zone × column`.
    pub energy: Vec<Energy>,
    /// `zone × column`.
    pub emissions: Vec<Emissions>,
}

/// The kind of the rows that say by how much an hour turned out to be worth more, or less, than it was charged
/// with. No group of jobs has a kind of that name, and they divide nothing.
pub const REVISION: &str = "#revision";
/// The row of the former.
pub const REVISED_UP: &str = "+";
/// The row of the latter.
pub const REVISED_DOWN: &str = "-";

/// A group of jobs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Group {
    /// By what is grouped: `account`, `user`, `namespace`.
    pub kind: Name,
    /// Which; empty for what belongs to none.
    pub name: Name,
}
