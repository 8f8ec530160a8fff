//! What a store does now and then, one small step after a commit: moving the log into the file, and
//! folding what is old or too much.

use super::fold::{Folded, fold_records, fold_span, oldest};
use super::span::Level;
use super::trouble::{Failure, StoreError, Trouble};
use super::{Place, Store, schema};
use crate::model::quantity::Nanos;
use crate::model::time::Moment;
use rusqlite::{Connection, OptionalExtension};
use std::collections::HashSet;

/// Each time costs about three waits for the disk, so this keeps them below one a minute. What the log
/// holds survives a crash, and after a power cut counters begin anew in any case.
const LOG_INTERVAL: Nanos = Nanos::from_seconds(300);

/// A log that grows faster is moved earlier, but not before this.
const LOG_BYTES: u64 = 16 << 20;
const LOG_INTERVAL_LARGE: Nanos = Nanos::from_seconds(180);

/// A reader that never ends keeps the log from being begun anew; beyond this, commits are refused.
pub(super) const MAX_LOG_BYTES: u64 = 64 << 20;

/// Hours are kept for three days: what was last night, and the weekend on Monday.
const HOURS_KEPT: u64 = 72;

/// Days are kept for a year and a month, so that a month can be compared with the same of last year.
const DAYS_KEPT: u64 = 400;

/// Where the bound on bytes presses, at least so much detail stays.
const HOURS_KEPT_PRESSED: u64 = 2;
const DAYS_KEPT_PRESSED: u64 = 7;

/// Records folded in one step: a few ms.
pub(super) const RECORDS_PER_STEP: u32 = 200;

/// What is due is looked for this often; while something is, each call takes a step.
const LOOK_INTERVAL: Nanos = Nanos::from_seconds(60);

/// Before which hour the spans of each level have had their time.
pub(super) const fn ages(hour: u64) -> [(Level, u64); 3] {
    [
        (Level::Slot, u64::MAX),
        (Level::Hour, hour.saturating_sub(HOURS_KEPT)),
        (Level::Day, hour.saturating_sub(DAYS_KEPT * 24)),
    ]
}

/// What a store may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// The file, without its log. 200 groups of jobs by two kinds, for 400 days, are 40 MB.
    pub(super) bytes: u64,
    /// Records of single jobs: a year of 500 a day, in 60 MB.
    pub(super) records: u64,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds { bytes: 256 << 20, records: 200_000 }
    }
}

impl Bounds {
    /// From here on detail gives way; the rest is room for the steps themselves.
    const fn pressing(self) -> u64 {
        self.bytes / 8 * 7
    }

    /// Tells a file that has reached its bound from a full disk, while its last transaction still stands.
    pub(super) fn check(self, sql: &Connection) -> Result<(), Failure> {
        let count = |name| sql.pragma_query_value(None, name, |row| row.get::<_, u32>(0));
        let bytes = u64::from(count("page_count")?) * u64::from(count("page_size")?);
        if bytes <= self.pressing() {
            return Ok(());
        }
        Err(Failure::Limit(format!("it has reached its bound of {} MiB", self.bytes >> 20)))
    }
}

/// When what was done, and what cannot be.
#[derive(Debug, Default)]
pub(super) struct Upkeep {
    log_moved: Option<Moment>,
    nothing_due: Option<Moment>,
    damaged_spans: HashSet<i64>,
    damaged_records: i64,
}

/// One step of folding.
enum Due {
    Nothing,
    Span(i64),
    Records,
}

impl Store {
    /// One step of what is due, if anything is; to be called after each commit. Returns what was found
    /// damaged, in words: once for each, and it stays as it is.
    ///
    /// # Errors
    /// Nothing is lost; the step is taken later. A damaged file is set aside by the next commit.
    pub fn maintain(&mut self, at: &Moment) -> Result<Option<String>, StoreError> {
        let done = self.step(at);
        if matches!(&done, Err(failure) if failure.trouble() == Trouble::Corrupt) {
            self.place = Place::Damaged;
        }
        done.map_err(|failure| failure.during("maintaining", &self.path()))
    }

    fn step(&mut self, at: &Moment) -> Result<Option<String>, Failure> {
        let since = at.since(self.upkeep.log_moved.get_or_insert(*at));
        let is_large = self.log_bytes() > LOG_BYTES;
        if since >= LOG_INTERVAL || is_large && since >= LOG_INTERVAL_LARGE {
            self.upkeep.log_moved = Some(*at);
            return self.move_log().map(|()| None);
        }
        if self.upkeep.nothing_due.is_some_and(|looked| at.since(&looked) < LOOK_INTERVAL) {
            return Ok(None);
        }
        self.upkeep.nothing_due = None;
        match self.due(at)? {
            Due::Nothing => {
                self.upkeep.nothing_due = Some(*at);
                Ok(None)
            }
            Due::Span(id) => self.fold_span(id),
            Due::Records => self.fold_records(),
        }
    }

    /// A start moves a log that an earlier process left large: one that never lives long enough to be due
    /// would fill it in the end.
    pub(super) fn move_large_log(&mut self) -> Result<(), Failure> {
        if self.log_bytes() > LOG_BYTES { self.move_log() } else { Ok(()) }
    }

    /// Moves the log into the file, as far as no reader needs it, and waits for nobody but the disk. It is
    /// begun anew, and cut, by the next commit; where that is refused for its length, it is cut at once.
    fn move_log(&mut self) -> Result<(), Failure> {
        let moved = if self.log_bytes() > MAX_LOG_BYTES {
            "PRAGMA wal_checkpoint(TRUNCATE)"
        } else {
            "PRAGMA wal_checkpoint(PASSIVE)"
        };
        self.place.sql()?.query_row(moved, [], |row| row.get::<_, i64>(0))?;
        Ok(())
    }

    /// The length of the log.
    pub(super) fn log_bytes(&self) -> u64 {
        let mut log = self.path().into_os_string();
        log.push(schema::WAL);
        std::fs::metadata(log).map_or(0, |metadata| metadata.len())
    }

    fn due(&self, at: &Moment) -> Result<Due, Failure> {
        let hour = at.wall.get() / 3_600_000_000_000;
        for (level, before) in ages(hour) {
            if let Some((id, _)) = self.oldest(level, before)? {
                return Ok(Due::Span(id));
            }
        }
        if self.head.seals.record.rows() > self.bounds.records && self.oldest_record()?.is_some() {
            return Ok(Due::Records);
        }
        if self.used_bytes()? > self.bounds.pressing() {
            return self.due_by_pressure(hour);
        }
        Ok(Due::Nothing)
    }

    /// The file is nearly full: hours go first, then whatever is oldest.
    fn due_by_pressure(&self, hour: u64) -> Result<Due, Failure> {
        if let Some((id, _)) = self.oldest(Level::Hour, hour.saturating_sub(HOURS_KEPT_PRESSED))? {
            return Ok(Due::Span(id));
        }
        let day = self.oldest(Level::Day, hour.saturating_sub(DAYS_KEPT_PRESSED * 24))?;
        let record = self.oldest_record()?;
        Ok(match (day, record) {
            (Some((id, start)), Some(seen)) if start < seen => Due::Span(id),
            (_, Some(_)) => Due::Records,
            (Some((id, _)), None) => Due::Span(id),
            (None, None) => Due::Nothing,
        })
    }

    fn oldest(&self, level: Level, before: u64) -> Result<Option<(i64, u64)>, Failure> {
        let is_excepted = |id| self.slots.contains(id) || self.upkeep.damaged_spans.contains(&id);
        oldest(self.place.sql()?, level, before, is_excepted)
    }

    /// The hour in which the job of the oldest record was last seen.
    fn oldest_record(&self) -> Result<Option<u64>, Failure> {
        let mut select = self
            .place
            .sql()?
            .prepare_cached("SELECT last_seen FROM record WHERE number > ?1 ORDER BY number LIMIT 1")?;
        let seen: Option<i64> =
            select.query_row([self.upkeep.damaged_records], |row| row.get(0)).optional()?;
        Ok(seen.map(|seen| seen.cast_unsigned() / 3_600_000_000_000))
    }

    fn used_bytes(&self) -> Result<u64, Failure> {
        let sql = self.place.sql()?;
        let count = |name| sql.pragma_query_value(None, name, |row| row.get::<_, u32>(0));
        let pages = count("page_count")?.saturating_sub(count("freelist_count")?);
        Ok(u64::from(pages) * u64::from(count("page_size")?))
    }

    fn fold_span(&mut self, id: i64) -> Result<Option<String>, Failure> {
        let mut head = self.head.clone();
        let change = self.place.sql()?.unchecked_transaction()?;
        match fold_span(&change, &mut head, id)? {
            Folded::Done => {
                head.write(&change)?;
                change.commit()?;
                self.head = head;
                Ok(None)
            }
            Folded::Damaged(what) => {
                self.upkeep.damaged_spans.insert(id);
                Ok(Some(what))
            }
        }
    }

    fn fold_records(&mut self) -> Result<Option<String>, Failure> {
        let mut head = self.head.clone();
        let after = self.upkeep.damaged_records;
        let change = self.place.sql()?.unchecked_transaction()?;
        let damaged = fold_records(&change, &mut head, after, RECORDS_PER_STEP)?;
        head.write(&change)?;
        change.commit()?;
        self.head = head;
        Ok(damaged.map(|number| {
            self.upkeep.damaged_records = number;
            format!("job records up to {number} are damaged and stay as they are")
        }))
    }
}

#[cfg(test)]
impl Upkeep {
    pub(super) fn is_idle(&self) -> bool {
        self.nothing_due.is_some()
    }

    pub(super) fn look_again(&mut self) {
        self.nothing_due = None;
    }
}
