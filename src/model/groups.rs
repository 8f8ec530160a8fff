//! Groups of jobs: namespaces, accounts, users, projects. The groups of each kind divide the whole host.
//! What is shown of them, and what of them outlives the process.

use super::identity::Name;
use super::quantity::Nanos;
use super::snapshot::Table;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// One group: what is said about it beside its counters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupState {
    /// Its name; empty for what is in none.
    pub name: Name,
    /// When it was made, in wall time.
    pub started: Nanos,
    /// By column, from when on what it is charged with is shown at once; until then it is owed. `None`: it
    /// has nothing there, and nothing is shown. In the time of [`GroupsPosition::clock`].
    pub opens: Vec<Option<Nanos>>,
    /// When the last of what it is owed is shown, in the same time.
    pub paid_by: Nanos,
}

/// What is shown of one kind of groups. Shown and pending add up to the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupKind {
    /// `namespace`, `user`.
    pub kind: Name,
    /// The groups; the first is that of what is in none.
    pub groups: Vec<Arc<GroupState>>,
    /// One row for each of them.
    pub table: Table,
    /// One row: what jobs used whose group is not known yet, and what is owed.
    pub pending: Table,
    /// Jobs whose group found no room.
    pub overflowed: u64,
}

/// How a job stands with one kind of groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Membership {
    /// Not known yet; everything it ever used waits.
    Waiting,
    /// Not known yet, and the kind is younger than the job: until it is known, the job is in none.
    Unnamed,
    /// In the group at this place, for good.
    In(u32),
}

/// How a job stands with all kinds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Until when it waits for its groups, in the time of [`GroupsPosition::clock`].
    pub patience: Nanos,
    /// One for each of [`GroupsPosition::kinds`]; of a kind that is left out nothing is known.
    pub memberships: Vec<Membership>,
}

/// Everything about groups that must outlive the process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupsPosition {
    /// Time over which groups were counted. It stands still while nobody counts, so what is left of a wait
    /// is left after a restart too, on whatever boot.
    pub clock: Nanos,
    /// The kinds, those that are not shown any more among them.
    pub kinds: Vec<GroupKindPosition>,
    /// One for each of [`super::snapshot::Totals::jobs`].
    pub standings: Vec<Arc<Standing>>,
}

/// One kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupKindPosition {
    /// `namespace`, `user`.
    pub kind: Name,
    /// Whether it is counted now; one that is not stands where it stood.
    pub is_shown: bool,
    /// Since when it has been counted, in the time of [`GroupsPosition::clock`].
    pub since: Nanos,
    /// Jobs whose group found no room.
    pub overflowed: u64,
    /// The groups.
    pub groups: Vec<Arc<GroupState>>,
    /// One row for each of them: what is shown.
    pub shown: Table,
    /// One row for each of them: what it is owed.
    pub owed: Table,
}
