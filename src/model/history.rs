//! What the store tells of the past: sums by hour or day, and one record a job.

use super::checkpoint::Group;
use super::description::Description;
use super::identity::{JobId, Name};
use super::quantity::{CpuTime, Emissions, Energy, Nanos};
use super::snapshot::Column;
use super::speech::Phase;
use std::sync::Arc;

/// Everything a store holds of the past, up to its last commit.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// When the last commit was, in wall time.
    pub until: Nanos,
    /// Sums over time; spans do not overlap for the same host.
    pub sums: Vec<Sum>,
    /// One for each job, and one without an id for each day whose oldest records were folded together.
    pub jobs: Vec<JobRecord>,
    /// What was found damaged and left out, in words.
    pub damaged: Vec<String>,
}

/// A stretch of wall time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// Its start, in ns since 1970.
    pub start: Nanos,
    /// Its end, not included. The span before the first day that is kept starts at 0.
    pub end: Nanos,
}

/// What one group used in one span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sum {
    /// When.
    pub span: Span,
    /// On which host.
    pub host: Name,
    /// In which grid zone.
    pub zone: Name,
    /// By whom.
    pub group: Group,
    /// On which hardware, measured or estimated.
    pub column: Column,
    /// Energy.
    pub energy: Energy,
    /// Emissions, PUE included.
    pub emissions: Emissions,
}

/// One job, or several folded together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobRecord {
    /// On which host.
    pub host: Name,
    /// Who; `None` for `count` jobs folded together.
    pub id: Option<JobId>,
    /// How many jobs this is.
    pub count: u64,
    /// The user's id, where the control group tells.
    pub user: Option<u32>,
    /// The control group in which it was first met.
    pub cgroup: Name,
    /// When it was first seen, in ns since 1970.
    pub first_seen: Nanos,
    /// When it was last seen.
    pub last_seen: Nanos,
    /// Whether it lived at the last commit.
    pub is_live: bool,
    /// What was known of it beside its id; nothing for jobs folded together.
    pub description: Arc<Description>,
    /// What it was at, and what of its energy and emissions that used; nothing for jobs folded together.
    pub phases: Vec<Phase>,
    /// The CPU time charged to it.
    pub cpu: CpuTime,
    /// Energy by hardware, measured and estimated apart.
    pub energy: Vec<(Column, Energy)>,
    /// Emissions by grid zone and hardware, PUE included.
    pub emissions: Vec<(Name, Column, Emissions)>,
}
