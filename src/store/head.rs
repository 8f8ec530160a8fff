//! The one row that every commit writes: whose state it is, its scalars, and the seals of all tables.

use super::digest::{Fields, Seal};
use super::trouble::Failure;
use crate::model::checkpoint::Checkpoint;
use crate::model::identity::Name;
use crate::model::quantity::{CpuTime, Nanos};
use crate::model::snapshot::Column;
use crate::model::time::Moment;
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Numbers below are the accounts of the residual, the host and the retired jobs.
pub(super) const FIRST_NUMBER: u64 = 16;

/// See the table of the same name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    /// Unique to the file and to what replaces it when it is damaged.
    pub(super) store: u64,
    /// Counts commits.
    pub(super) generation: u64,
    /// Who writes: see [`super::Identity`].
    pub(super) boot: Name,
    pub(super) machine: Name,
    pub(super) host: Name,
    /// The clean stop, until the next start.
    pub(super) clean: Option<Moment>,
    /// The wall time of the last commit.
    pub(super) until: Nanos,
    /// See [`Checkpoint::next_number`].
    pub(super) next_number: u64,
    /// What the tables must come to.
    pub(super) seals: Seals,
    /// The live state; `None` from a start at 0 to its first commit.
    pub(super) state: Option<State>,
}

/// Seals by table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seals {
    /// All tables of the live state together.
    pub(super) live: Seal,
    pub(super) cell: Seal,
    pub(super) span: Seal,
    pub(super) sum: Seal,
    pub(super) record: Seal,
    pub(super) bygone: Seal,
}

/// What of a [`Checkpoint`] is neither a row nor a slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) at: Moment,
    pub(super) present: usize,
    pub(super) host: Name,
    pub(super) cpu_model: Name,
    pub(super) kernel: Name,
    pub(super) started: Nanos,
    pub(super) columns: Arc<[Column]>,
    pub(super) zones: Vec<Name>,
    pub(super) remainders: Vec<u64>,
    pub(super) live_jobs: u32,
    pub(super) overflowed_jobs: u64,
    pub(super) cpu_deficit: CpuTime,
    pub(super) deficit: i64,
    pub(super) view: Name,
    pub(super) is_complete: bool,
    /// See [`crate::model::groups::GroupsPosition::clock`].
    #[serde(default)]
    pub(super) groups_clock: Nanos,
}

impl State {
    /// The scalars of a checkpoint.
    pub(super) fn of(checkpoint: &Checkpoint) -> State {
        let (machine, totals) = (&checkpoint.machine, &checkpoint.totals);
        State {
            at: checkpoint.at,
            present: checkpoint.present,
            host: Arc::clone(&machine.host),
            cpu_model: Arc::clone(&machine.cpu_model),
            kernel: Arc::clone(&machine.kernel),
            started: totals.started,
            columns: Arc::clone(&totals.columns),
            zones: totals.zones.clone(),
            remainders: checkpoint.remainders.clone(),
            live_jobs: totals.live_jobs,
            overflowed_jobs: totals.overflowed_jobs,
            cpu_deficit: totals.cpu_deficit,
            deficit: checkpoint.usage.deficit,
            view: Arc::clone(&checkpoint.usage.view),
            is_complete: checkpoint.usage.is_complete,
            groups_clock: checkpoint.groups.clock,
        }
    }
}

impl Head {
    /// The head of the file; `None` for one that has just been made.
    pub(super) fn read(sql: &Connection) -> Result<Option<Head>, Failure> {
        let mut select = sql.prepare("SELECT body, digest FROM head WHERE id = 1")?;
        let row =
            select.query_row([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?))).optional()?;
        let Some((body, digest)) = row else { return nothing_else(sql).map(|()| None) };
        if digest != digest_of(&body) {
            return Err(Failure::Malformed("the head's digest is wrong".to_owned()));
        }
        Ok(Some(serde_json::from_str(&body)?))
    }

    /// Writes it.
    pub(super) fn write(&self, sql: &Connection) -> Result<(), Failure> {
        let body = serde_json::to_string(self)?;
        let mut replace = sql.prepare_cached("REPLACE INTO head(id, body, digest) VALUES (1, ?1, ?2)")?;
        replace.execute(params![body, digest_of(&body)])?;
        Ok(())
    }
}

/// A file without a head has nothing else in it either, or has lost its head.
fn nothing_else(sql: &Connection) -> Result<(), Failure> {
    let any = "SELECT EXISTS(SELECT 1 FROM live) + EXISTS(SELECT 1 FROM domain) + EXISTS(SELECT 1 FROM floor)
        + EXISTS(SELECT 1 FROM cell) + EXISTS(SELECT 1 FROM span) + EXISTS(SELECT 1 FROM record)";
    match sql.query_row(any, [], |row| row.get::<_, i64>(0))? {
        0 => Ok(()),
        _ => Err(Failure::Malformed("the head is missing".to_owned())),
    }
}

fn digest_of(body: &str) -> i64 {
    Fields::of("head").text(body).digest()
}
