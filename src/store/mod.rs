//! The ledger on disk: one SQLite file that a new process continues from, and that reports read.
//!
//! The engine hands over a whole [`Checkpoint`] after each tick; the store writes what differs from the
//! one before (`image`), adds the hour's sums (`span`) and the records of jobs that have left
//! (`record`), all in one transaction under one `head`. What must stay true: a state that does not
//! match its seal is never continued, nothing is shown that a crash could take back ([`witness`]), and a
//! lost or repeated commit loses or repeats no joule.

pub mod append;
mod aside;
mod cell;
mod digest;
mod floor;
mod fold;
mod head;
mod image;
pub mod lock;
pub mod open;
mod pushed;
pub mod read;
mod record;
mod restore;
mod schema;
mod span;
mod state;
pub mod trouble;
mod upkeep;
pub mod witness;

use crate::model::checkpoint::Checkpoint;
use crate::model::identity::Name;
use crate::model::quantity::Nanos;
use crate::model::snapshot::Pushed;
use crate::model::time::Moment;
use cell::Dictionary;
use floor::Floors;
use head::{Head, Seals, State};
use image::Image;
use lock::Lock;
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use schema::Refusal;
use span::OpenSlots;
use state::Known;
use std::fs::File;
use std::path::{Path, PathBuf};
use trouble::{Failure, StoreError, Trouble};
use upkeep::{Bounds, Upkeep};
use witness::Witness;

pub use floor::Buckets;
pub use open::{OpenError, Restored};
pub use read::read;

/// Who writes a store: what it was written by is continued by the same alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The kernel's boot id; empty if it is not known.
    pub boot: Name,
    /// What tells the machine from a copy of its disk; may be empty.
    pub machine: Name,
    /// The `host` label.
    pub host: Name,
}

/// A commit that succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// What the witness is to say before this is shown.
    pub generation: u64,
    /// The name under which a damaged file was set aside in its course; the history begins anew.
    pub set_aside: Option<String>,
}

/// What the store has on disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    /// The file and its log.
    pub bytes: u64,
    /// Records of jobs that have left the page.
    pub job_records: u64,
}

/// Where a commit goes.
#[derive(Debug)]
enum Place {
    /// Into the file.
    Open(Connection),
    /// The file is damaged and in the way.
    Damaged,
    /// The file was set aside under this name, and there is no other yet.
    SetAside(String),
}

/// The store, open to write.
#[derive(Debug)]
pub struct Store {
    lock: Lock,
    place: Place,
    bounds: Bounds,
    head: Head,
    image: Image,
    // The memory of the image before.
    spare: Image,
    known: Known,
    dictionary: Dictionary,
    slots: OpenSlots,
    floors: Floors,
    witness: Witness,
    upkeep: Upkeep,
}

impl Store {
    /// The witness, for whoever publishes.
    #[must_use]
    pub fn witness(&self) -> Witness {
        self.witness.clone()
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.lock.folder().join(schema::FILE)
    }

    /// What is on disk now.
    #[must_use]
    pub fn size(&self) -> Size {
        let file = std::fs::metadata(self.path()).map_or(0, |metadata| metadata.len());
        Size { bytes: file + self.log_bytes(), job_records: self.head.seals.record.rows() }
    }

    /// What pushes of differences were acknowledged, as kept last; empty if that cannot be read.
    #[must_use]
    pub fn pushed(&self) -> Vec<Pushed> {
        let kept = self.place.sql().and_then(pushed::read);
        kept.unwrap_or_else(|error| {
            tracing::error!("what pushes had arrived cannot be read, differences begin anew: {error:?}");
            Vec::new()
        })
    }

    /// Keeps what pushes of differences were acknowledged: all of it each time.
    ///
    /// # Errors
    /// What was kept before is still there; a restart then pushes again what was acknowledged since.
    pub fn keep_pushed(&mut self, all: &[Pushed]) -> Result<(), StoreError> {
        let path = self.path();
        let kept = self.place.sql().and_then(|sql| {
            let change = sql.unchecked_transaction()?;
            pushed::write(all, &change)?;
            Ok(change.commit()?)
        });
        kept.map_err(|failure| failure.during("writing", &path))
    }

    /// Writes what has changed since the last commit that succeeded. A checkpoint is whole, so some may
    /// be left out. A job that is missing has retired, and its record says what was last committed; a slot
    /// that is missing is finished, and no later checkpoint may name it again.
    ///
    /// # Errors
    /// Nothing has changed on disk then, and the next commit makes up for this one.
    pub fn commit(&mut self, checkpoint: &Checkpoint) -> Result<Committed, StoreError> {
        self.commit_as(checkpoint, None)
    }

    fn commit_as(&mut self, checkpoint: &Checkpoint, clean: Option<Moment>) -> Result<Committed, StoreError> {
        let path = self.path();
        let failed = |failure: Failure| failure.during("writing", &path);
        if let Place::Open(_) = self.place {
            match self.write(checkpoint, clean) {
                Ok(()) => return Ok(Committed { generation: self.head.generation, set_aside: None }),
                Err(failure) if failure.trouble() == Trouble::Corrupt => self.place = Place::Damaged,
                Err(failure) => return Err(failed(failure)),
            }
        }
        let name = self.begin_another(&checkpoint.at).map_err(failed)?;
        self.write(checkpoint, clean).map_err(failed)?;
        Ok(Committed { generation: self.head.generation, set_aside: Some(name) })
    }

    fn write(&mut self, checkpoint: &Checkpoint, clean: Option<Moment>) -> Result<(), Failure> {
        if self.log_bytes() > upkeep::MAX_LOG_BYTES {
            return Err(Failure::Limit(
                "the log cannot be emptied: a program has long been reading".to_owned(),
            ));
        }
        let spare = std::mem::take(&mut self.spare);
        let (image, news) = self.known.image(checkpoint, &self.image, spare)?;
        let mut head = Head {
            generation: self.head.generation + 1,
            clean,
            until: checkpoint.at.wall,
            next_number: checkpoint.next_number.max(self.head.next_number),
            state: Some(State::of(checkpoint)),
            ..self.head.clone()
        };
        head.seals.live = image.seal();
        match self.write_all(checkpoint, &image, &mut head) {
            Ok(floors) => {
                self.known.learn(news, &image);
                self.floors.learn(floors);
                self.dictionary.settle();
                self.spare = std::mem::replace(&mut self.image, image);
                self.head = head;
                Ok(())
            }
            Err(failure) => {
                self.slots.forget();
                self.spare = image;
                Err(failure)
            }
        }
    }

    fn write_all(
        &mut self,
        checkpoint: &Checkpoint,
        image: &Image,
        head: &mut Head,
    ) -> Result<Floors, Failure> {
        let change = self.place.sql()?.unchecked_transaction()?;
        let dictionary = &mut self.dictionary;
        let written = self.slots.write(checkpoint, dictionary, &change, &mut head.seals).and_then(|()| {
            retire(&change, head, &self.head, &self.image, image, dictionary)?;
            head.write(&change)?;
            self.floors.write(checkpoint, &change)
        });
        if matches!(&written, Err(failure) if failure.trouble() == Trouble::DiskFull) {
            self.bounds.check(&change)?;
        }
        let floors = written?;
        change.commit()?;
        Ok(floors)
    }

    /// Sets the damaged file aside and begins another with the state of the last commit. The store keeps
    /// its number, so that the witness stays true and the damaged file, put back, is an older one.
    fn begin_another(&mut self, at: &Moment) -> Result<String, Failure> {
        if let Place::Damaged = self.place {
            self.place = Place::SetAside(aside::set_aside(self.lock.folder(), at)?);
        }
        let sql = schema::open(&self.path(), self.bounds.bytes).map_err(|refusal| match refusal {
            Refusal::Failed(failure) => failure,
            Refusal::Newer(_) | Refusal::Foreign(_) => {
                Failure::Malformed("another file has taken its place".to_owned())
            }
        })?;
        let seals = Seals { live: self.image.seal(), ..Seals::default() };
        let head = Head { seals, ..self.head.clone() };
        let change = sql.unchecked_transaction()?;
        Image::default().replace_by(&self.image, &change)?;
        self.floors.write_all(&change)?;
        head.write(&change)?;
        change.commit()?;
        self.head = head;
        self.dictionary.unsettle();
        match std::mem::replace(&mut self.place, Place::Open(sql)) {
            Place::SetAside(name) => Ok(name),
            Place::Open(_) | Place::Damaged => Ok(String::new()),
        }
    }

    /// The last commit, with the mark of a clean stop. What it says holds through a power cut once this
    /// returns.
    ///
    /// # Errors
    /// The last state may not be in the file, or not durably; the next start judges by what it finds.
    pub fn close(mut self, checkpoint: &Checkpoint) -> Result<(), StoreError> {
        let path = self.path();
        let failed = |failure: Failure| failure.during("closing", &path);
        // A damaged file is set aside first, by a commit like any other.
        if !matches!(self.place, Place::Open(_)) {
            self.commit(checkpoint)?;
        }
        let sql = self.place.sql().map_err(failed)?;
        sql.pragma_update(None, "synchronous", "FULL").map_err(|error| failed(error.into()))?;
        let committed = self.commit_as(checkpoint, Some(checkpoint.at))?;
        if let Place::Open(sql) = self.place {
            finish(sql, &path, self.lock.folder()).map_err(failed)?;
        }
        self.witness.set(committed.generation).map_err(|error| failed(error.into()))
    }
}

impl Place {
    fn sql(&self) -> Result<&Connection, Failure> {
        match self {
            Place::Open(sql) => Ok(sql),
            Place::Damaged | Place::SetAside(_) => {
                Err(Failure::Malformed("the file is damaged and was not set aside yet".to_owned()))
            }
        }
    }
}

/// Moves the log into the file and puts both on the disk.
fn finish(sql: Connection, path: &Path, folder: &Path) -> Result<(), Failure> {
    // A reader may hold the log: it is on the disk already, and the next start reads it.
    let _: i64 = sql.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    sql.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    sql.close().map_err(|(_, error)| error)?;
    File::open(path)?.sync_all()?;
    File::open(folder)?.sync_all()?;
    Ok(())
}

/// Writes the live state and closes the records of the jobs that are in it no more.
fn retire(
    sql: &Connection,
    head: &mut Head,
    last: &Head,
    before: &Image,
    after: &Image,
    dictionary: &mut Dictionary,
) -> Result<(), Failure> {
    let gone = before.replace_by(after, sql)?;
    if let Some(state) = &last.state {
        for number in gone {
            record::of_job(before, state, number, dictionary)?.write(sql, &mut head.seals.record)?;
        }
    }
    dictionary.write(sql, &mut head.seals.cell)
}

/// A time in hours since 1970, for spans.
const fn hours(hours: u64) -> Nanos {
    Nanos::from_seconds(hours * 3600)
}

#[cfg(test)]
mod tests;
