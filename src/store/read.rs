//! What a report reads: everything of the past, from a live store, a stopped one, or a copy. Nothing is
//! written, and nothing is used that does not match its digest.

use super::cell::{Amounts, Dictionary};
use super::digest::Seal;
use super::head::{Head, State};
use super::hours;
use super::image::{Image, Table};
use super::record::{Bygone, Record, of_job};
use super::schema::{self, Refusal, WAL};
use super::span::{Level, Span, SumRow};
use super::trouble::{Failure, StoreError, Trouble};
use crate::model::checkpoint::Group;
use crate::model::history::{self, History, JobRecord, Sum};
use crate::model::identity::{JobId, Name};
use crate::model::quantity::{Emissions, Energy, Nanos};
use crate::model::snapshot::Column;
use rusqlite::{Connection, Row};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Each of a damaged table's rows is a line; a hundred tell as much as all.
const MAX_LINES: usize = 100;

/// Why there is nothing to read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is no such file.
    #[error("there is no store at {} (give the file or its folder by --store.path)", .0.display())]
    Missing(PathBuf),
    /// A later version has written it.
    #[error("the store {} is of version {found}, this program knows {known} (use the newer program)", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// It is no store, or nothing in it can be told from damage.
    #[error("{} cannot be used: {cause} (restore it from a copy)", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// It cannot be read.
    #[error(transparent)]
    Unreadable(#[from] StoreError),
}

/// Everything that the store at `path`, a file or its folder, holds of the past.
///
/// # Errors
/// There is none, it cannot be read, or it is of a newer version. Damage of a part is told in
/// [`History::damaged`].
pub fn read(path: &Path) -> Result<History, ReadError> {
    let path = if path.is_dir() { path.join(schema::FILE) } else { path.to_owned() };
    let metadata = std::fs::metadata(&path);
    match metadata {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(ReadError::Missing(path)),
        Err(error) => return Err(Failure::Io(error).during("reading", &path).into()),
        Ok(_) => {}
    }
    let has_log = || {
        let mut log = path.clone().into_os_string();
        log.push(WAL);
        Path::new(&log).exists()
    };
    // A file without a log belongs to nobody at the moment, and its folder may be closed to us.
    if !has_log() {
        let history = read_file(&path, true);
        if !has_log() {
            return history;
        }
        // A writer has come meanwhile.
    }
    read_file(&path, false)
}

fn read_file(path: &Path, immutable: bool) -> Result<History, ReadError> {
    let refused = |refusal| match refusal {
        Refusal::Newer(found) => ReadError::Newer { path: path.to_owned(), found, known: schema::VERSION },
        Refusal::Foreign(cause) => ReadError::Damaged { path: path.to_owned(), cause },
        Refusal::Failed(failure) if failure.trouble() == Trouble::Corrupt => {
            ReadError::Damaged { path: path.to_owned(), cause: failure.to_string() }
        }
        Refusal::Failed(failure) => ReadError::Unreadable(failure.during("reading", path)),
    };
    let sql = schema::open_to_read(path, immutable).map_err(refused)?;
    let content = Content::read(&sql).map_err(refused)?;
    drop(sql);
    Ok(content.history())
}

/// The tables, as far as they match their digests.
#[derive(Default)]
struct Content {
    until: Nanos,
    state: Option<State>,
    dictionary: Dictionary,
    spans: Vec<Span>,
    sums: Vec<SumRow>,
    records: Vec<Record>,
    bygone: Vec<Bygone>,
    damaged: Vec<String>,
}

impl Content {
    fn read(sql: &Connection) -> Result<Content, Refusal> {
        // One transaction: what is read is one commit.
        let view = sql.unchecked_transaction()?;
        schema::check_tables(&view)?;
        let Some(head) = Head::read(&view)? else { return Ok(Content::default()) };
        let mut content = Content {
            dictionary: Dictionary::read(&view, head.seals.cell)?,
            until: head.until,
            state: head.state,
            ..Content::default()
        };
        let damaged = &mut content.damaged;
        content.spans = table(&view, Span::SELECT, head.seals.span, "spans", Span::read, damaged)?;
        content.sums = table(&view, SumRow::SELECT, head.seals.sum, "sums", SumRow::read, damaged)?;
        content.records =
            table(&view, Record::select(&view)?, head.seals.record, "job records", Record::read, damaged)?;
        content.bygone =
            table(&view, Bygone::SELECT, head.seals.bygone, "older job records", Bygone::read, damaged)?;
        content.leave_out_unknown_cells();
        content.read_live(&view, head.seals.live);
        Ok(content)
    }

    /// Amounts of a cell that nobody knows are nobody's.
    fn leave_out_unknown_cells(&mut self) {
        let (dictionary, damaged) = (&self.dictionary, &mut self.damaged);
        let mut is_known = |amounts: &Amounts, what: &str| {
            let unknown = amounts.iter().find(|(cell, _, _)| dictionary.cell(*cell).is_none());
            damaged
                .extend(unknown.map(|(cell, _, _)| format!("{what} is left out: there is no cell {cell}")));
            unknown.is_none()
        };
        self.sums.retain(|row| is_known(&row.amounts, "a sum"));
        self.records.retain(|record| is_known(&record.amounts, "a job record"));
        self.bygone.retain(|bygone| is_known(&bygone.amounts, "a day of job records"));
    }

    fn read_live(&mut self, sql: &Connection, seal: Seal) {
        let Some(state) = &self.state else { return };
        let live = Image::read(sql).and_then(|image| {
            if image.seal() != seal {
                return Err(Failure::Malformed("they do not match their seal".to_owned()));
            }
            let jobs = image.table(Table::Job);
            jobs.map(|(number, _)| of_job(&image, state, number, &mut self.dictionary)).collect()
        });
        match live {
            Ok(live) => self.records.extend::<Vec<_>>(live),
            Err(failure) => self.damaged.push(format!("the jobs of the last commit are left out: {failure}")),
        }
    }

    fn history(mut self) -> History {
        let sums = self.sums();
        let jobs = self.jobs();
        if self.damaged.len() > MAX_LINES {
            let more = self.damaged.len() - MAX_LINES;
            self.damaged.truncate(MAX_LINES);
            self.damaged.push(format!("… and {more} more"));
        }
        History { until: self.until, sums, jobs, damaged: self.damaged }
    }

    /// Adds up slots of the same hour, and those of an hour that is part of a longer span by now.
    fn sums(&mut self) -> Vec<Sum> {
        let spans: HashMap<i64, &Span> = self.spans.iter().map(|span| (span.id, span)).collect();
        let of = |level: Level| self.spans.iter().filter(move |span| span.level == level);
        let before: HashMap<&Name, u64> = of(Level::Before).map(|span| (&span.host, span.until)).collect();
        let days: BTreeMap<(&Name, u64), u64> =
            of(Level::Day).map(|span| ((&span.host, span.start), span.until)).collect();
        let place = |span: &Span| {
            if let Some(until) = before.get(&span.host).filter(|until| span.start < **until) {
                return (0, *until);
            }
            let day = days.range(..=(&span.host, span.start)).next_back();
            match day {
                Some(((host, start), until)) if **host == span.host && span.start < *until => {
                    (*start, *until)
                }
                Some(_) | None => (span.start, span.until),
            }
        };
        type Key<'a> = (u64, u64, &'a Name, &'a Name, &'a Group, &'a Column);
        let mut sums: BTreeMap<Key<'_>, (Energy, Emissions)> = BTreeMap::new();
        for row in &self.sums {
            let Some(span) = spans.get(&row.span) else {
                self.damaged.push(format!("a sum of {} is left out: its span is missing", name(&row.group)));
                continue;
            };
            let (start, until) = place(span);
            for (cell, energy, emissions) in row.amounts.iter() {
                let Some((zone, column)) = self.dictionary.cell(cell) else { continue };
                let sum = sums.entry((start, until, &span.host, zone, &row.group, column)).or_default();
                sum.0 = sum.0.saturating_add(energy);
                sum.1 += emissions;
            }
        }
        sums.into_iter()
            .map(|((start, until, host, zone, group, column), (energy, emissions))| Sum {
                span: history::Span { start: hours(start), end: hours(until) },
                host: host.clone(),
                zone: zone.clone(),
                group: group.clone(),
                column: column.clone(),
                energy,
                emissions,
            })
            .collect()
    }

    fn jobs(&mut self) -> Vec<JobRecord> {
        let mut jobs = Vec::with_capacity(self.bygone.len() + self.records.len());
        let bygone = std::mem::take(&mut self.bygone).into_iter().map(|bygone| {
            let count = u64::try_from(bygone.count).unwrap_or_default();
            let job = JobRecord {
                host: bygone.host,
                id: None,
                count,
                user: None,
                cgroup: "".into(),
                first_seen: bygone.first_seen,
                last_seen: bygone.last_seen,
                is_live: false,
                description: Arc::default(),
                phases: Vec::new(),
                cpu: bygone.cpu,
                energy: Vec::new(),
                emissions: Vec::new(),
            };
            (job, bygone.amounts)
        });
        let records = std::mem::take(&mut self.records).into_iter().map(|record| {
            let job = JobRecord {
                host: record.host,
                id: Some(JobId::new(record.kind, &record.id)),
                count: 1,
                user: record.user,
                cgroup: record.cgroup,
                first_seen: record.first_seen,
                last_seen: record.last_seen,
                is_live: record.is_live,
                description: record.description,
                phases: record.phases,
                cpu: record.cpu,
                energy: Vec::new(),
                emissions: Vec::new(),
            };
            (job, record.amounts)
        });
        for (mut job, amounts) in bygone.chain(records) {
            let mut energies: BTreeMap<&Column, Energy> = BTreeMap::new();
            for (cell, energy, emissions) in amounts.iter() {
                let Some((zone, column)) = self.dictionary.cell(cell) else { continue };
                if energy != Energy::ZERO {
                    let sum = energies.entry(column).or_default();
                    *sum = sum.saturating_add(energy);
                }
                if emissions != Emissions::ZERO {
                    job.emissions.push((zone.clone(), column.clone(), emissions));
                }
            }
            job.energy = energies.into_iter().map(|(column, energy)| (column.clone(), energy)).collect();
            job.emissions.sort_unstable();
            jobs.push(job);
        }
        jobs
    }
}

fn name(group: &Group) -> String {
    format!("{} {:?}", group.kind, group.name)
}

/// The rows of a table that match their digests; what does not is told. A table that breaks off is
/// damaged, a disk that cannot be read is an error.
fn table<T>(
    sql: &Connection,
    select: &str,
    seal: Seal,
    what: &str,
    read: impl Fn(&Row<'_>) -> Result<(T, i64), Failure>,
    damaged: &mut Vec<String>,
) -> Result<Vec<T>, Failure> {
    let mut found = Seal::default();
    let mut content = Vec::new();
    let mut is_damaged = false;
    let mut tell = |failure: Failure| match failure.trouble() {
        Trouble::Corrupt => {
            damaged.push(format!("{what}: {failure}"));
            is_damaged = true;
            Ok(())
        }
        _ => Err(failure),
    };
    let mut select = match sql.prepare(select) {
        Ok(select) => select,
        Err(error) => return tell(error.into()).map(|()| content),
    };
    let mut rows = select.query([])?;
    loop {
        match rows.next() {
            Ok(None) => break,
            Ok(Some(row)) => match read(row) {
                Ok((row, digest)) => {
                    content.push(row);
                    found.add_signed(digest);
                }
                Err(failure) => tell(failure)?,
            },
            Err(error) => {
                tell(error.into())?;
                break;
            }
        }
    }
    drop(rows);
    if !is_damaged && found != seal {
        damaged.push(format!(
            "{what}: {} rows where {} should be, or not the same",
            found.rows(),
            seal.rows()
        ));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_of_an_unknown_cell_is_left_out_and_told() {
        let mut amounts = Amounts::default();
        amounts.add(7, Energy::from_micro(1), Emissions::ZERO).expect("fits");
        let group = Group { kind: "user".into(), name: "alice".into() };
        let mut content = Content {
            spans: vec![Span {
                id: 1,
                level: Level::Hour,
                host: "node-1".into(),
                start: 5,
                until: 6,
                factors: String::new(),
            }],
            sums: vec![SumRow { span: 1, group, amounts }],
            ..Content::default()
        };
        content.leave_out_unknown_cells();
        let history = content.history();
        assert_eq!(history.sums, Vec::new());
        assert_eq!(history.damaged, ["a sum is left out: there is no cell 7"]);
    }
}
