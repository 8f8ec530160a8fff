//! Jobs that have left the page: one row each, written with the commit that misses them.

use super::cell::{Amounts, Dictionary, nanos};
use super::digest::{Fields, Seal};
use super::head::State;
use super::image::{Image, Table};
use super::state::{JobRow, account};
use super::trouble::{Failure, signed};
use crate::model::description::Description;
use crate::model::identity::{JobKind, Name};
use crate::model::quantity::{CpuTime, Emissions, Energy, Nanos};
use crate::model::snapshot;
use crate::model::speech::Phase;
use rusqlite::{Connection, Row, params};
use std::sync::Arc;

const NANOS_PER_DAY: u64 = 86_400_000_000_000;

/// A row of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) number: i64,
    pub(super) host: Name,
    pub(super) kind: JobKind,
    pub(super) id: Name,
    pub(super) user: Option<u32>,
    pub(super) cgroup: Name,
    pub(super) first_seen: Nanos,
    pub(super) last_seen: Nanos,
    pub(super) cpu: CpuTime,
    pub(super) amounts: Amounts,
    /// What was known of it beside its id.
    pub(super) description: Arc<Description>,
    /// What it was at.
    pub(super) phases: Vec<Phase>,
    /// Whether it lived at the last commit; only for jobs on the page.
    pub(super) is_live: bool,
}

/// Job `number` as it stood in `image`.
pub(super) fn of_job(
    image: &Image,
    state: &State,
    number: i64,
    dictionary: &mut Dictionary,
) -> Result<Record, Failure> {
    let row: JobRow = serde_json::from_slice(image.get(Table::Job, number).unwrap_or_default())?;
    let account = account(image, state, number)?;
    let phases = row.speech.as_ref().map(|speech| {
        let used = snapshot::amounts(&state.columns, &account.energy, &account.emissions);
        speech.phases.at(row.ended.map_or(state.at.monotonic, |end| end.monotonic), &used, account.cpu)
    });
    let mut amounts = Amounts::default();
    let nowhere = Name::from("");
    for (column, energy) in state.columns.iter().zip(account.energy) {
        amounts.add(dictionary.number(&nowhere, column)?, energy, Emissions::ZERO)?;
    }
    let cells = state.zones.iter().flat_map(|zone| state.columns.iter().map(move |column| (zone, column)));
    for ((zone, column), emissions) in cells.zip(account.emissions) {
        amounts.add(dictionary.number(zone, column)?, Energy::ZERO, emissions)?;
    }
    Ok(Record {
        number,
        host: state.host.clone(),
        kind: row.id.kind(),
        id: row.id.id().clone(),
        user: row.user,
        cgroup: row.cgroup,
        first_seen: row.started.wall,
        last_seen: row.ended.map_or(state.at.wall, |end| end.wall),
        cpu: account.cpu,
        amounts,
        description: row.description,
        phases: phases.unwrap_or_default(),
        is_live: row.ended.is_none(),
    })
}

impl Record {
    /// Writes it as that of a job that is gone.
    pub(super) fn write(&self, sql: &Connection, seal: &mut Seal) -> Result<(), Failure> {
        let cells = self.amounts.pack();
        let description = match self.description.is_empty() {
            true => String::new(),
            false => serde_json::to_string(&self.description)?,
        };
        let phases = match self.phases.is_empty() {
            true => String::new(),
            false => serde_json::to_string(&self.phases)?,
        };
        let digest = self.digest(self.kind.as_str(), &cells, &description, &phases);
        // A number that is there already was closed before: what was written then is what was shown.
        let written = sql
            .prepare_cached(
                "INSERT OR IGNORE INTO record(number, host, kind, id, user, cgroup, first_seen, last_seen, cpu,
                    cells, digest, description, phases)
                    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
            )?
            .execute(params![
                self.number,
                self.host,
                self.kind.as_str(),
                self.id,
                self.user,
                self.cgroup,
                signed(self.first_seen.get())?,
                signed(self.last_seen.get())?,
                signed(self.cpu.get())?,
                cells,
                digest,
                description,
                phases
            ])?;
        if written > 0 {
            seal.add_signed(digest);
        }
        Ok(())
    }

    /// What [`Record::read`] reads.
    pub(super) const SELECT: &'static str = "SELECT number, host, kind, id, user, cgroup, first_seen,
        last_seen, cpu, cells, digest, description, phases FROM record";

    /// The same of a file from before phases were kept, and of one from before descriptions were.
    const SELECT_WITHOUT_PHASES: &'static str = "SELECT number, host, kind, id, user, cgroup, first_seen,
        last_seen, cpu, cells, digest, description, '' FROM record";
    const SELECT_WITHOUT_DESCRIPTION: &'static str =
        "SELECT number, host, kind, id, user, cgroup, first_seen,
        last_seen, cpu, cells, digest, '', '' FROM record";

    /// How to read a file that may be of an earlier version.
    pub(super) fn select(sql: &Connection) -> Result<&'static str, Failure> {
        let mut columns = sql.prepare("SELECT 1 FROM pragma_table_info('record') WHERE name = ?1")?;
        Ok(match (columns.exists(["phases"])?, columns.exists(["description"])?) {
            (true, _) => Self::SELECT,
            (false, true) => Self::SELECT_WITHOUT_PHASES,
            (false, false) => Self::SELECT_WITHOUT_DESCRIPTION,
        })
    }

    /// Reads a row, and its digest, which must be that of the row.
    pub(super) fn read(row: &Row<'_>) -> Result<(Record, i64), Failure> {
        let kind: String = row.get(2)?;
        let cells: Vec<u8> = row.get(9)?;
        let description: String = row.get(11)?;
        let phases: String = row.get(12)?;
        let record = Record {
            number: row.get(0)?,
            host: row.get(1)?,
            // One that another version knows; the digest is over its own word for it.
            kind: JobKind::of_label(&kind).unwrap_or(JobKind::Custom),
            id: row.get(3)?,
            user: row.get(4)?,
            cgroup: row.get(5)?,
            first_seen: nanos(row, 6)?,
            last_seen: nanos(row, 7)?,
            cpu: nanos(row, 8)?,
            amounts: Amounts::unpack(&cells)?,
            // One with an attribute that another version knows is a job all the same.
            description: serde_json::from_str(&description).unwrap_or_default(),
            phases: serde_json::from_str(&phases).unwrap_or_default(),
            is_live: false,
        };
        let digest = row.get(10)?;
        if record.digest(&kind, &cells, &description, &phases) != digest {
            return Err(Failure::Malformed(format!("the digest of job record {} is wrong", record.number)));
        }
        Ok((record, digest))
    }

    /// Without a description, and without phases, it is what it was before there were any.
    fn digest(&self, kind: &str, cells: &[u8], description: &str, phases: &str) -> i64 {
        let names = Fields::of("record").number(self.number).text(&self.host).text(kind);
        let names = names.text(&self.id).number(self.user.map_or(-1, i64::from)).text(&self.cgroup);
        let times = [self.first_seen, self.last_seen, self.cpu];
        let times = times.iter().fold(names, |fields, time| fields.number(time.get().cast_signed()));
        let all = times.bytes(cells);
        match (description, phases) {
            ("", "") => all.digest(),
            (description, "") => all.text(description).digest(),
            (description, phases) => all.text(description).text(phases).digest(),
        }
    }
}

/// The oldest records of a host, added up by the day in which the jobs were last seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bygone {
    pub(super) host: Name,
    /// Since 1970, UTC.
    pub(super) day: i64,
    pub(super) count: i64,
    pub(super) first_seen: Nanos,
    pub(super) last_seen: Nanos,
    pub(super) cpu: CpuTime,
    pub(super) amounts: Amounts,
}

impl Bygone {
    /// One record, as part of its day.
    pub(super) fn of(record: Record) -> Bygone {
        Bygone {
            host: record.host,
            day: (record.last_seen.get() / NANOS_PER_DAY).cast_signed(),
            count: 1,
            first_seen: record.first_seen,
            last_seen: record.last_seen,
            cpu: record.cpu,
            amounts: record.amounts,
        }
    }

    /// Both, as records of the same day.
    pub(super) fn plus(&self, other: &Bygone) -> Result<Bygone, Failure> {
        let count = self.count.checked_add(other.count);
        Ok(Bygone {
            host: self.host.clone(),
            day: self.day,
            count: count.ok_or_else(|| Failure::Limit("more jobs than 63 bits".to_owned()))?,
            first_seen: self.first_seen.min(other.first_seen),
            last_seen: self.last_seen.max(other.last_seen),
            cpu: CpuTime::new(self.cpu.get().saturating_add(other.cpu.get())),
            amounts: self.amounts.plus(&other.amounts)?,
        })
    }

    /// Writes it over the row that had the digest `before`.
    pub(super) fn write(
        &self,
        sql: &Connection,
        before: Option<i64>,
        seal: &mut Seal,
    ) -> Result<(), Failure> {
        let cells = self.amounts.pack();
        let digest = self.digest(&cells);
        sql.prepare_cached(
            "REPLACE INTO bygone(host, day, count, first_seen, last_seen, cpu, cells, digest)
                VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            self.host,
            self.day,
            self.count,
            signed(self.first_seen.get())?,
            signed(self.last_seen.get())?,
            signed(self.cpu.get())?,
            cells,
            digest
        ])?;
        before.into_iter().for_each(|before| seal.remove_signed(before));
        seal.add_signed(digest);
        Ok(())
    }

    /// What [`Bygone::read`] reads.
    pub(super) const SELECT: &'static str =
        "SELECT host, day, count, first_seen, last_seen, cpu, cells, digest FROM bygone";

    /// Reads a row, and its digest, which must be that of the row.
    pub(super) fn read(row: &Row<'_>) -> Result<(Bygone, i64), Failure> {
        let cells: Vec<u8> = row.get(6)?;
        let bygone = Bygone {
            host: row.get(0)?,
            day: row.get(1)?,
            count: row.get(2)?,
            first_seen: nanos(row, 3)?,
            last_seen: nanos(row, 4)?,
            cpu: nanos(row, 5)?,
            amounts: Amounts::unpack(&cells)?,
        };
        let digest = row.get(7)?;
        if bygone.digest(&cells) != digest {
            return Err(Failure::Malformed(format!(
                "the digest of the job records of day {} is wrong",
                bygone.day
            )));
        }
        Ok((bygone, digest))
    }

    fn digest(&self, cells: &[u8]) -> i64 {
        let names = Fields::of("bygone").text(&self.host).number(self.day).number(self.count);
        let times = [self.first_seen, self.last_seen, self.cpu];
        let times = times.iter().fold(names, |fields, time| fields.number(time.get().cast_signed()));
        times.bytes(cells).digest()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: JobKind) -> Record {
        Record {
            number: 17,
            host: "n1".into(),
            kind,
            id: "a".into(),
            user: None,
            cgroup: "/a".into(),
            first_seen: Nanos::new(1),
            last_seen: Nanos::new(2),
            cpu: Nanos::new(3),
            amounts: Amounts::default(),
            description: Arc::default(),
            phases: Vec::new(),
            is_live: false,
        }
    }

    #[test]
    fn a_record_of_a_kind_that_another_version_knows_is_whole() {
        let known = record(JobKind::Custom);
        let sql = Connection::open_in_memory().expect("in memory");
        let cells = known.amounts.pack();
        let read = |kind: &str, digest: i64| {
            let row = format!("SELECT 17, 'n1', '{kind}', 'a', NULL, '/a', 1, 2, 3, ?1, ?2, '', ''");
            sql.query_row(&row, params![cells, digest], |row| Ok(Record::read(row))).expect("a row")
        };
        let digest = known.digest("wasm", &cells, "", "");
        assert_eq!(read("wasm", digest).expect("whole"), (known.clone(), digest));
        assert!(read("custom", digest).is_err(), "the word itself is under the digest");
    }

    #[test]
    fn phases_are_kept_under_the_digest() {
        let sql = Connection::open_in_memory().expect("in memory");
        sql.execute_batch(
            "CREATE TABLE record(number, host, kind, id, user, cgroup, first_seen, last_seen, cpu, cells, digest,
                description, phases)",
        )
        .expect("a table");
        let amounts = crate::model::speech::Amounts(vec![crate::model::speech::Amount {
            hw_type: crate::model::identity::HwType::Gpu,
            origin: crate::model::identity::Origin::Measured,
            energy: Energy::from_micro(u64::MAX),
            emissions: Emissions::from_nano(1),
        }]);
        let phase = Phase { name: "a \"b\"".into(), time: Nanos::new(5), cpu: Nanos::new(6), amounts };
        let known = Record { phases: vec![phase], ..record(JobKind::Run) };
        known.write(&sql, &mut Seal::default()).expect("written");
        let read = || sql.query_row(Record::SELECT, [], |row| Ok(Record::read(row))).expect("a row");
        assert_eq!(read().expect("whole").0, known);
        sql.execute("UPDATE record SET phases = replace(phases, '\"time\":5', '\"time\":6')", [])
            .expect("changed");
        assert!(read().is_err(), "a changed phase is found");
    }

    #[test]
    fn a_description_is_under_the_digest_and_one_of_another_version_costs_itself_alone() {
        let sql = Connection::open_in_memory().expect("in memory");
        let cells = Amounts::default().pack();
        let read = |description: &str, digest: i64| {
            let row = "SELECT 17, 'n1', 'run', 'a', NULL, '/a', 1, 2, 3, ?1, ?2, ?3, ''";
            let read = sql.query_row(row, params![cells, digest, description], |row| Ok(Record::read(row)));
            read.expect("a row")
        };
        let plain = record(JobKind::Run);
        let mut known = Description::default();
        known.set(crate::model::description::Attribute::Project, "p\"1");
        let text = serde_json::to_string(&known).expect("JSON");
        let digest = plain.digest("run", &cells, &text, "");
        let (record, _) = read(&text, digest).expect("whole");
        assert_eq!(*record.description, known);
        assert!(read(&text.replace("p\\\"1", "p\\\"2"), digest).is_err(), "a flipped bit is found");
        let newer = "{\"attributes\":{\"mood\":\"good\"}}";
        let (record, _) = read(newer, plain.digest("run", &cells, newer, "")).expect("whole");
        assert!(record.description.is_empty());
    }
}
