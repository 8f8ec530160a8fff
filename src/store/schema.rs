//! The file: its tables and their versions, how it is opened, and how it is recognised. A file that is
//! not ours, or not whole, is never written to.

use super::trouble::Failure;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

/// The name of the file in its folder.
pub(super) const FILE: &str = "jouleprint.db";

/// What SQLite keeps beside it.
pub(super) const WAL: &str = "-wal";
pub(super) const SHM: &str = "-shm";

/// `JPRN`: what `file` and SQLite's own tools know the file by.
const APPLICATION: i64 = 0x4a50_524e;

/// A step from each version to the next; a file has as many behind it as its `user_version` says.
const MIGRATIONS: &[&str] = &[
    "
    -- Who wrote the state, and where it stands; one row, written by every commit.
    CREATE TABLE head(id INTEGER PRIMARY KEY, body TEXT NOT NULL, digest INTEGER NOT NULL);

    -- The live state: rows of a number and a body, written when they change, sealed together in the head.
    -- Descriptions (JSON) are apart from values, so that a commit writes little.
    CREATE TABLE domain(id INTEGER PRIMARY KEY, body TEXT NOT NULL);
    CREATE TABLE meter(id INTEGER PRIMARY KEY, body TEXT NOT NULL);
    CREATE TABLE job(id INTEGER PRIMARY KEY, body TEXT NOT NULL);
    -- Of each account its energy by column, its emissions by zone and column, its CPU time: 8 bytes each.
    CREATE TABLE live(id INTEGER PRIMARY KEY, body BLOB NOT NULL);
    CREATE TABLE cgroup(id INTEGER PRIMARY KEY, body TEXT NOT NULL);
    CREATE TABLE position(id INTEGER PRIMARY KEY, body BLOB NOT NULL);
    CREATE TABLE processor(id INTEGER PRIMARY KEY, body BLOB NOT NULL);

    -- Idle powers by processor model and device: they outlive everything else.
    CREATE TABLE floor(key TEXT PRIMARY KEY, body TEXT NOT NULL, digest INTEGER NOT NULL) WITHOUT ROWID;

    -- What the cells of sums and records are: a zone and a column. Never changed.
    CREATE TABLE cell(id INTEGER PRIMARY KEY, zone TEXT NOT NULL, hw_type TEXT NOT NULL, gpu TEXT NOT NULL,
        origin TEXT NOT NULL, digest INTEGER NOT NULL);

    -- Stretches of hours since 1970. Level 0 is being filled or is yet to be merged, 1 is an hour,
    -- 2 (a part of) a day, 3 everything before.
    CREATE TABLE span(id INTEGER PRIMARY KEY, level INTEGER NOT NULL, host TEXT NOT NULL,
        start INTEGER NOT NULL, until INTEGER NOT NULL, factors TEXT NOT NULL, digest INTEGER NOT NULL);
    -- What a group used in one: cells of 20 bytes (id, energy, emissions), those of 0 left out.
    CREATE TABLE sum(span INTEGER NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, cells BLOB NOT NULL,
        digest INTEGER NOT NULL, PRIMARY KEY(span, kind, name)) WITHOUT ROWID;

    -- Jobs that have left the page.
    CREATE TABLE record(number INTEGER PRIMARY KEY, host TEXT NOT NULL, kind TEXT NOT NULL, id TEXT NOT NULL,
        user INTEGER, cgroup TEXT NOT NULL, first_seen INTEGER NOT NULL, last_seen INTEGER NOT NULL,
        cpu INTEGER NOT NULL, cells BLOB NOT NULL, digest INTEGER NOT NULL);
    -- The oldest of them, added up by the day in which they were last seen.
    CREATE TABLE bygone(host TEXT NOT NULL, day INTEGER NOT NULL, count INTEGER NOT NULL,
        first_seen INTEGER NOT NULL, last_seen INTEGER NOT NULL, cpu INTEGER NOT NULL, cells BLOB NOT NULL,
        digest INTEGER NOT NULL, PRIMARY KEY(host, day)) WITHOUT ROWID;
",
    "
    -- How far each series has arrived at a backend that is pushed differences: slices of entries of 40 bytes
    -- (digest, start, value, until), written whole when a push was acknowledged. They belong to the counters
    -- by their start, not by a commit: losing them repeats what was pushed last, and harms nothing else.
    CREATE TABLE pushed(id INTEGER PRIMARY KEY, body BLOB NOT NULL, digest INTEGER NOT NULL);
",
    "
    -- What was known of a job beside its id, as JSON; empty for nothing.
    ALTER TABLE record ADD COLUMN description TEXT NOT NULL DEFAULT '';
",
    "
    -- Of the live state too: the kinds of groups of jobs, the groups of each, numbered through with 65536 for each
    -- kind, and of each group what it shows and then what it is owed, like the accounts in live.
    CREATE TABLE group_kind(id INTEGER PRIMARY KEY, body TEXT NOT NULL);
    CREATE TABLE group_name(id INTEGER PRIMARY KEY, body TEXT NOT NULL);
    CREATE TABLE group_live(id INTEGER PRIMARY KEY, body BLOB NOT NULL);
",
    "
    -- Of a device that is divided, the part that a job was charged for; empty for the whole.
    ALTER TABLE cell ADD COLUMN gpu_instance TEXT NOT NULL DEFAULT '';
",
    "
    -- Of the live state too: what was charged in the last three days by five minutes and zone, in case its figures are
    -- revised, and before all of these one row a zone for what is settled.
    CREATE TABLE restated(id INTEGER PRIMARY KEY, body BLOB NOT NULL);
",
    "
    -- What a job was at, and what of its energy and emissions that used, as JSON; empty for nothing.
    ALTER TABLE record ADD COLUMN phases TEXT NOT NULL DEFAULT '';
",
];

/// The version that is written.
pub(super) const VERSION: i64 = MIGRATIONS.len() as i64;

/// Long enough for a reader that has just opened the file; a writer there cannot be, for the lock.
const BUSY: Duration = Duration::from_millis(100);

/// What a few hundred jobs write between two moves of the log; its pages on disk are used again.
const LOG_KEPT_BYTES: i64 = 4 << 20;

/// Why a file was not opened.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It is not ours, or is damaged.
    Foreign(String),
    /// It is of a later version.
    Newer(i64),
    /// The disk's fault.
    Failed(Failure),
}

impl<E: Into<Failure>> From<E> for Refusal {
    fn from(error: E) -> Refusal {
        Refusal::Failed(error.into())
    }
}

/// Opens the file to write, and makes it if it is not there.
pub(super) fn open(path: &Path, max_bytes: u64) -> Result<Connection, Refusal> {
    // SQLite would open a file that it may not write to as one to read, and tells little of why.
    let mut file =
        File::options().read(true).write(true).create(true).truncate(false).mode(0o640).open(path)?;
    check_header(&mut file)?;
    drop(file);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut sql = Connection::open_with_flags(path, flags)?;
    configure(&sql)?;
    // Without a clean stop the log stays as it is, for the next start to judge.
    sql.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    let version = check_version(&sql)?;
    let mode: String = sql.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
    if mode != "wal" {
        let cause = "SQLite's write-ahead log does not work there: the store needs a local disk";
        return Err(Refusal::Failed(Failure::Io(io::Error::new(io::ErrorKind::Unsupported, cause))));
    }
    sql.execute_batch(
        "PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 0; PRAGMA temp_store = MEMORY",
    )?;
    // A log that was large once does not stay so.
    sql.pragma_update_and_check(None, "journal_size_limit", LOG_KEPT_BYTES, |_| Ok(()))?;
    let page: u32 = sql.pragma_query_value(None, "page_size", |row| row.get(0))?;
    let pages = i64::try_from(max_bytes / u64::from(page.max(512))).unwrap_or(i64::MAX);
    sql.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?;
    if sql.is_readonly("main")? {
        return Err(Refusal::Failed(Failure::ReadOnly));
    }
    migrate(&mut sql, version, VERSION)?;
    check_tables(&sql)?;
    Ok(sql)
}

/// Opens the file to read; `immutable` where no log stands beside it, so that nothing need be written.
pub(super) fn open_to_read(path: &Path, immutable: bool) -> Result<Connection, Refusal> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let query = if immutable { "?immutable=1" } else { "" };
    let sql = Connection::open_with_flags(format!("file:{}{query}", percent_encoded(path)), flags)?;
    configure(&sql)?;
    if check_version(&sql)? == 0 {
        return Err(Refusal::Foreign("there is no state in it".to_owned()));
    }
    Ok(sql)
}

/// Checks the tables, inside the transaction in which they are read.
pub(super) fn check_tables(sql: &Connection) -> Result<(), Refusal> {
    let mut fresh = Connection::open_in_memory()?;
    // One that is only read may be of an earlier version than ours.
    migrate(&mut fresh, 0, check_version(sql)?)?;
    let found = tables(sql)?;
    // What others have added (an index, statistics) harms nobody.
    match tables(&fresh)?.iter().find(|table| !found.contains(table)) {
        None => Ok(()),
        Some((table, _)) => Err(Refusal::Foreign(format!("its {table} is not that of its version"))),
    }
}

fn configure(sql: &Connection) -> Result<(), Failure> {
    // Every statement of a commit and of the upkeep, so that none is ever compiled twice.
    sql.set_prepared_statement_cache_capacity(64);
    sql.busy_timeout(BUSY)?;
    sql.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    // Pages are looked over as they are read; a damaged one is met before it is used.
    sql.pragma_update(None, "cell_size_check", true)?;
    Ok(())
}

/// The first 100 bytes say what a file is. One bit there makes SQLite take it for a file that may not be
/// written or has no log, neither of which a file of ours can be.
fn check_header(file: &mut File) -> Result<(), Refusal> {
    const MAGIC: &[u8; 16] = b"SQLite format 3\0";
    let mut header = Vec::new();
    file.take(100).read_to_end(&mut header)?;
    if header.is_empty() {
        return Ok(());
    }
    let Some((magic, rest)) = header.split_first_chunk::<16>() else {
        return Err(Refusal::Foreign("it is cut short".to_owned()));
    };
    // After the page size: the versions for writing and reading, 1 without a log and 2 with one.
    match (magic == MAGIC, rest.get(2..4)) {
        (true, Some([1, 1] | [2, 2])) => Ok(()),
        (true, _) => Err(Refusal::Foreign("its header is damaged".to_owned())),
        (false, _) => Err(Refusal::Foreign("it is not a database".to_owned())),
    }
}

/// The version of the file, 0 for a new one.
fn check_version(sql: &Connection) -> Result<i64, Refusal> {
    let application: i64 = sql.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let version: i64 = sql.pragma_query_value(None, "user_version", |row| row.get(0))?;
    match (application, version) {
        (0, 0) if tables(sql)?.is_empty() => Ok(0),
        (APPLICATION, 1..=VERSION) => Ok(version),
        (APPLICATION, newer) if newer > VERSION => Err(Refusal::Newer(newer)),
        _ => Err(Refusal::Foreign("it is another program's database".to_owned())),
    }
}

fn migrate(sql: &mut Connection, from: i64, to: i64) -> Result<(), Failure> {
    let steps = usize::try_from(from).ok().zip(usize::try_from(to).ok());
    let steps = steps.and_then(|(from, to)| MIGRATIONS.get(from..to)).unwrap_or_default();
    if steps.is_empty() {
        return Ok(());
    }
    let change = sql.transaction()?;
    for step in steps {
        change.execute_batch(step)?;
    }
    change.pragma_update(None, "application_id", APPLICATION)?;
    change.pragma_update(None, "user_version", to)?;
    change.commit()?;
    Ok(())
}

fn tables(sql: &Connection) -> Result<Vec<(String, String)>, Failure> {
    let mut select = sql.prepare("SELECT type || ' ' || tbl_name, coalesce(sql, '') FROM sqlite_schema")?;
    let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// A path for a `file:` URI, in which `%`, `?` and `#` mean something.
fn percent_encoded(path: &Path) -> String {
    use std::fmt::Write;
    use std::os::unix::ffi::OsStrExt;
    let mut text = String::new();
    for &byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/._-".contains(&byte) {
            text.push(char::from(byte));
        } else {
            write!(text, "%{byte:02X}").expect("a string takes everything");
        }
    }
    text
}
