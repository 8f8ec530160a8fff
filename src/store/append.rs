//! One job at a time, for many short processes: each takes the folder for a moment, adds the record of its job
//! and what that used by the hour, and goes. There is no live state and no counter that goes on, so nothing
//! waits for the disk; what a power cut takes back is the last runs.

use super::aside::set_aside;
use super::cell::{Amounts, Dictionary};
use super::fold::{fold_records, fold_span, oldest};
use super::head::{FIRST_NUMBER, Head, Seals};
use super::lock::Lock;
use super::record::Record;
use super::schema::{self, Refusal};
use super::span::OpenSlots;
use super::trouble::{Failure, StoreError, Trouble, signed};
use super::upkeep::{Bounds, RECORDS_PER_STEP, ages};
use crate::model::checkpoint::Checkpoint;
use crate::model::history::JobRecord;
use crate::model::identity::{JobKind, Name};
use crate::model::quantity::{Emissions, Energy, Nanos};
use crate::model::time::Moment;
use rusqlite::Connection;
use std::path::Path;
use std::sync::Arc;

/// From here on the log is moved into the file, which waits for the disk: once in some hundred runs.
const LOG_BYTES: u64 = 4 << 20;

/// Adds a job that has ended, and the hours of `checkpoint`: of these only what the job and its user were
/// charged with, for the rest of the machine has runs of its own, which would count it again.
///
/// # Errors
/// Nothing was added. A damaged file is set aside, and another one begun.
pub fn append(lock: &Lock, job: &JobRecord, checkpoint: &Checkpoint) -> Result<(), StoreError> {
    let path = lock.folder().join(schema::FILE);
    let failed = |failure: Failure| failure.during("writing", &path);
    match try_append(&path, job, checkpoint) {
        Err(Refusal::Foreign(_)) => {}
        Err(Refusal::Failed(failure)) if failure.trouble() == Trouble::Corrupt => {}
        done => return done.map_err(|refusal| failed(failure_of(refusal))),
    }
    set_aside(lock.folder(), &checkpoint.at).map_err(|error| failed(Failure::Io(error)))?;
    try_append(&path, job, checkpoint).map_err(|refusal| failed(failure_of(refusal)))
}

fn failure_of(refusal: Refusal) -> Failure {
    match refusal {
        Refusal::Failed(failure) => failure,
        Refusal::Foreign(cause) => Failure::Malformed(cause),
        Refusal::Newer(version) => {
            Failure::Limit(format!("it is of version {version}, which is newer than this program"))
        }
    }
}

fn try_append(path: &Path, job: &JobRecord, checkpoint: &Checkpoint) -> Result<(), Refusal> {
    let sql = schema::open(path, Bounds::default().bytes)?;
    let change = sql.unchecked_transaction()?;
    let mut head = match Head::read(&change)? {
        Some(head) => head,
        None => first_head(&change, &job.host)?,
    };
    let mut dictionary = Dictionary::read(&change, head.seals.cell)?;
    record(job, &mut dictionary, take_number(&mut head))?.write(&change, &mut head.seals.record)?;
    let own = own_hours(job, checkpoint, &mut head);
    let slots: Vec<i64> = own.slots.iter().map(|slot| signed(slot.number)).collect::<Result<_, _>>()?;
    OpenSlots::default().write(&own, &mut dictionary, &change, &mut head.seals)?;
    dictionary.write(&change, &mut head.seals.cell)?;
    maintain(&change, &mut head, &slots, &checkpoint.at)?;
    head.generation += 1;
    head.until = checkpoint.at.wall.max(head.until);
    head.write(&change)?;
    change.commit()?;
    if log_bytes(path) > LOG_BYTES {
        // What cannot be moved now, since somebody reads, is moved by the next.
        let _: i64 = sql.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get(0))?;
    }
    Ok(())
}

fn log_bytes(path: &Path) -> u64 {
    let mut log = path.to_owned().into_os_string();
    log.push(schema::WAL);
    std::fs::metadata(log).map_or(0, |metadata| metadata.len())
}

/// Of a new file.
fn first_head(sql: &Connection, host: &Name) -> Result<Head, Failure> {
    let store: i64 = sql.query_row("SELECT random()", [], |row| row.get(0))?;
    let nobody = Name::from("");
    Ok(Head {
        store: store.cast_unsigned(),
        generation: 0,
        boot: Arc::clone(&nobody),
        machine: nobody,
        host: Arc::clone(host),
        clean: None,
        until: Nanos::ZERO,
        next_number: FIRST_NUMBER,
        seals: Seals::default(),
        state: None,
    })
}

fn take_number(head: &mut Head) -> u64 {
    head.next_number += 1;
    head.next_number - 1
}

fn record(job: &JobRecord, dictionary: &mut Dictionary, number: u64) -> Result<Record, Failure> {
    let mut amounts = Amounts::default();
    let nowhere = Name::from("");
    for (column, energy) in &job.energy {
        amounts.add(dictionary.number(&nowhere, column)?, *energy, Emissions::ZERO)?;
    }
    for (zone, column, emissions) in &job.emissions {
        amounts.add(dictionary.number(zone, column)?, Energy::ZERO, *emissions)?;
    }
    Ok(Record {
        number: signed(number)?,
        host: Arc::clone(&job.host),
        kind: job.id.as_ref().map_or(JobKind::Run, |id| id.kind()),
        id: job.id.as_ref().map(|id| Arc::clone(id.id())).unwrap_or_default(),
        user: job.user,
        cgroup: Arc::clone(&job.cgroup),
        first_seen: job.first_seen,
        last_seen: job.last_seen,
        cpu: job.cpu,
        amounts,
        description: Arc::clone(&job.description),
        phases: job.phases.clone(),
        is_live: false,
    })
}

/// The hours with the rows of the job's kind and of its user, under numbers of this store.
fn own_hours(job: &JobRecord, checkpoint: &Checkpoint, head: &mut Head) -> Checkpoint {
    let kind = job.id.as_ref().map_or("", |id| id.kind().as_str());
    let user = job.user.map(|user| user.to_string());
    let mut own = checkpoint.clone();
    for slot in &mut own.slots {
        slot.number = take_number(head);
        // The kinds of groups that the engine divides the hours into.
        slot.rows.retain(|row| match &*row.group.kind {
            "account" => *row.group.name == *kind,
            "user" => user.as_deref() == Some(&*row.group.name),
            _ => false,
        });
    }
    own
}

/// The slots of this run become part of their hours, and one step is taken of what else is due.
fn maintain(sql: &Connection, head: &mut Head, slots: &[i64], at: &Moment) -> Result<(), Failure> {
    for slot in slots {
        // What is damaged stays as it is; a report says so.
        fold_span(sql, head, *slot)?;
    }
    for (level, before) in ages(at.wall.get() / 3_600_000_000_000) {
        if let Some((id, _)) = oldest(sql, level, before, |id| slots.contains(&id))? {
            fold_span(sql, head, id)?;
            break;
        }
    }
    if head.seals.record.rows() > Bounds::default().records {
        fold_records(sql, head, 0, RECORDS_PER_STEP)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::checkpoint::{Group, Slot, SlotRow, UsagePosition};
    use crate::model::description::{Attribute, Description};
    use crate::model::identity::{HwType, JobId, Origin};
    use crate::model::quantity::CpuTime;
    use crate::model::reading::Machine;
    use crate::model::snapshot::{Column, Totals};
    use crate::store::lock::Holder;
    use crate::store::lock::tests::take_free;
    use crate::store::read;

    const HOUR: u64 = 3_600;

    fn column() -> Column {
        Column { hw_type: HwType::Cpu, gpu: "".into(), gpu_instance: "".into(), origin: Origin::Measured }
    }

    fn job(id: &str, project: &str, second: u64) -> JobRecord {
        let mut description = Description::default();
        description.set(Attribute::Project, project);
        description.label("odd \"key\"\n", "välue");
        JobRecord {
            host: "n1".into(),
            id: Some(JobId::new(JobKind::Run, id)),
            count: 1,
            user: Some(1_000),
            cgroup: "".into(),
            first_seen: Nanos::from_seconds(second),
            last_seen: Nanos::from_seconds(second + 1),
            is_live: false,
            description: Arc::new(description),
            phases: Vec::new(),
            cpu: CpuTime::from_seconds(1),
            energy: vec![(column(), Energy::from_micro(100))],
            emissions: vec![("FR".into(), column(), Emissions::from_nano(7))],
        }
    }

    fn checkpoint(second: u64) -> Checkpoint {
        let row = |kind: &str, name: &str, energy| SlotRow {
            group: Group { kind: kind.into(), name: name.into() },
            energy: vec![Energy::from_micro(energy)],
            emissions: vec![Emissions::from_nano(7)],
        };
        let rows = vec![
            row("account", "run", 100),
            row("account", "idle", 5_000),
            row("user", "1000", 100),
            row("user", "", 5_000),
        ];
        let totals = Totals { columns: vec![column()].into(), zones: vec!["FR".into()], ..Totals::default() };
        let machine =
            Machine { host: "n1".into(), cpu_model: "".into(), kernel: "".into(), domains: Vec::new() };
        Checkpoint {
            at: Moment { wall: Nanos::from_seconds(second), ..Moment::default() },
            machine: Arc::new(machine),
            present: 0,
            totals: Arc::new(totals),
            remainders: vec![0],
            domains: Vec::new(),
            usage: UsagePosition::default(),
            groups: Default::default(),
            restated: Default::default(),
            slots: vec![Slot { number: 16, hour: second / HOUR, factors: vec![None], rows }],
            next_number: 17,
        }
    }

    fn take(folder: &Path) -> Lock {
        take_free(folder, &Holder { pid: 1, boot: "".into(), host: "n1".into() })
    }

    #[test]
    fn runs_are_kept_one_by_one_and_their_hours_added_up() {
        let folder = tempfile::tempdir().expect("a folder");
        for run in 0..5 {
            let second = 1_000 * HOUR + run * 1_800;
            let lock = take(folder.path());
            append(&lock, &job(&format!("r{run}"), "p", second), &checkpoint(second)).expect("kept");
        }
        let history = read(folder.path()).expect("a store");
        assert_eq!(history.damaged, Vec::<String>::new());
        assert_eq!(history.jobs.len(), 5);
        assert!(history.jobs.iter().all(|job| job.description.get(Attribute::Project) == "p"));
        assert_eq!(history.jobs[0].energy, [(column(), Energy::from_micro(100))]);
        let of = |kind: &str| history.sums.iter().filter(|sum| &*sum.group.kind == kind).collect::<Vec<_>>();
        // Three hours, and nothing of the machine.
        let energies: Vec<u64> = of("account").iter().map(|sum| sum.energy.as_micro()).collect();
        assert_eq!(energies, [200, 200, 100]);
        assert!(of("user").iter().all(|sum| &*sum.group.name == "1000"));
        assert_eq!(history.sums.len(), 6);
    }

    #[test]
    fn old_hours_become_days_and_a_damaged_file_is_set_aside() {
        let folder = tempfile::tempdir().expect("a folder");
        for day in 0..8 {
            let second = (1_000 + day * 24) * HOUR;
            append(&take(folder.path()), &job("r", "p", second), &checkpoint(second)).expect("kept");
        }
        let history = read(folder.path()).expect("a store");
        let width = |sum: &crate::model::history::Sum| sum.span.end.saturating_sub(sum.span.start);
        assert!(history.sums.iter().any(|sum| width(sum) > Nanos::from_seconds(HOUR)), "{:?}", history.sums);
        std::fs::write(folder.path().join(schema::FILE), "garbage").expect("written");
        append(&take(folder.path()), &job("new", "p", 9), &checkpoint(9)).expect("kept in another file");
        assert_eq!(read(folder.path()).expect("a store").jobs.len(), 1);
    }

    #[test]
    fn a_file_from_before_descriptions_is_read_and_goes_on() {
        let folder = tempfile::tempdir().expect("a folder");
        append(&take(folder.path()), &job("r1", "", 9), &checkpoint(9)).expect("kept");
        let path = folder.path().join(schema::FILE);
        {
            let sql = Connection::open(&path).expect("SQLite");
            // As the version before had it: its rows had digests over nothing more.
            let mut head = Head::read(&sql).expect("a head").expect("one");
            let (record, digest) = sql
                .query_row(Record::SELECT, [], |row| Ok(Record::read(row)))
                .expect("a row")
                .expect("whole");
            sql.execute_batch("DELETE FROM record").expect("deleted");
            head.seals.record.remove_signed(digest);
            let plain = Record { description: Arc::default(), ..record };
            plain.write(&sql, &mut head.seals.record).expect("written");
            head.write(&sql).expect("written");
            let later = "DROP TABLE restated; DROP TABLE group_kind; DROP TABLE group_name; DROP TABLE group_live;
                ALTER TABLE record DROP COLUMN description; ALTER TABLE record DROP COLUMN phases; ALTER TABLE cell DROP COLUMN gpu_instance; PRAGMA user_version = 2";
            sql.execute_batch(later).expect("older");
        }
        let history = read(folder.path()).expect("read as it is");
        assert!(history.jobs.len() == 1 && history.damaged.is_empty(), "{history:?}");
        append(&take(folder.path()), &job("r2", "p", 9), &checkpoint(9)).expect("taken up");
        let history = read(folder.path()).expect("a store");
        assert!(history.jobs.len() == 2 && history.damaged.is_empty(), "{history:?}");
    }
}
