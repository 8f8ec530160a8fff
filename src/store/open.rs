//! A start: the file is opened and judged, and marked as in use before anything is shown.

use super::cell::Dictionary;
use super::floor::{Buckets, Floors};
use super::head::{FIRST_NUMBER, Head, Seals, State};
use super::image::Image;
use super::lock::Lock;
use super::restore::{Verdict, judge};
use super::schema::{self, Refusal};
use super::span::OpenSlots;
use super::state::{self, Known};
use super::trouble::{Failure, StoreError, Trouble};
use super::upkeep::{Bounds, Upkeep};
use super::witness::Witness;
use super::{Identity, Place, Store, aside, retire};
use crate::model::checkpoint::Checkpoint;
use crate::model::identity::Name;
use crate::model::quantity::Nanos;
use crate::model::time::Moment;
use rusqlite::Connection;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a start takes up.
#[derive(Debug)]
pub struct Restored {
    /// The state to go on from; `None` where counters start at 0. After a reboot it has no positions, and
    /// its times are those of the new boot's start.
    pub checkpoint: Option<Checkpoint>,
    /// Idle powers by `{cpu_model}|{hw_id}|{source}`.
    pub floors: Vec<(Name, Buckets)>,
    /// The first number for a job or a slot that was never used.
    pub next_number: u64,
    /// How it went, in words.
    pub how: Name,
}

/// Why there is no store to write to.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A later version has written it: nothing may be lost by an older one.
    #[error(
        "the store {} is of version {found}, this program knows {known} (run the newer program, or choose \
         another folder by --store.path)",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// It cannot be written; one can do without it, in memory.
    #[error(transparent)]
    Unusable(#[from] StoreError),
}

impl Store {
    /// Opens the store in the locked folder, or begins one, and takes up what it holds. When this
    /// returns, the next start knows that this one was not stopped cleanly, even after a power cut.
    ///
    /// # Errors
    /// It is of a newer version, or cannot be written.
    pub fn open(
        lock: Lock,
        runtime: Option<&Path>,
        identity: &Identity,
        at: &Moment,
    ) -> Result<(Store, Restored), OpenError> {
        Store::open_bounded(lock, runtime, identity, at, Bounds::default())
    }

    pub(super) fn open_bounded(
        lock: Lock,
        runtime: Option<&Path>,
        identity: &Identity,
        at: &Moment,
        bounds: Bounds,
    ) -> Result<(Store, Restored), OpenError> {
        let path = lock.folder().join(schema::FILE);
        let refused = |refusal| match refusal {
            Refusal::Newer(found) => OpenError::Newer { path: path.clone(), found, known: schema::VERSION },
            Refusal::Foreign(cause) => {
                OpenError::Unusable(Failure::Malformed(cause).during("opening", &path))
            }
            Refusal::Failed(failure) => OpenError::Unusable(failure.during("opening", &path)),
        };
        let mut damage = None;
        let (sql, found, witness, verdict) = match start(&path, runtime, identity, at, bounds) {
            Err(Refusal::Foreign(cause)) => {
                let name = aside::set_aside(lock.folder(), at);
                let name = name.map_err(|error| Failure::Io(error).during("setting aside", &path))?;
                damage = Some(format!("the file was set aside as {name}: {cause}; counters start at 0"));
                start(&path, runtime, identity, at, bounds).map_err(refused)?
            }
            started => started.map_err(refused)?,
        };
        let (checkpoint, known) = found.checkpoint.unzip();
        let restored = Restored {
            checkpoint,
            floors: found.floors.all(),
            next_number: found.head.next_number,
            how: damage.as_deref().unwrap_or(verdict.as_str()).into(),
        };
        let mut store = Store {
            lock,
            place: Place::Open(sql),
            bounds,
            head: found.head,
            image: found.image,
            spare: Image::default(),
            known: known.unwrap_or_default(),
            dictionary: found.dictionary,
            slots: OpenSlots::default(),
            floors: found.floors,
            witness,
            upkeep: Upkeep::default(),
        };
        // What cannot be moved now is moved later, like any other log.
        let _ = store.move_large_log();
        Ok((store, restored))
    }
}

/// Opens the file, judges what it holds, and marks it as in use. Damage of any of what a start needs is
/// damage of the file.
fn start(
    path: &Path,
    runtime: Option<&Path>,
    identity: &Identity,
    at: &Moment,
    bounds: Bounds,
) -> Result<(Connection, Found, Witness, Verdict), Refusal> {
    let started = schema::open(path, bounds.bytes).and_then(|sql| {
        let (mut found, verdict) = match find(&sql)? {
            Some(found) => {
                let shown = Witness::look(runtime, found.head.store);
                let verdict = judge(&found.head, identity, at, shown);
                (found, verdict)
            }
            None => (Found::nothing(&sql)?, Verdict::Anew("first start")),
        };
        let witness = Witness::open(runtime, found.head.store);
        found.begin(&sql, verdict, identity, &witness)?;
        Ok((sql, found, witness, verdict))
    });
    match started {
        Err(Refusal::Failed(failure)) if failure.trouble() == Trouble::Corrupt => {
            Err(Refusal::Foreign(failure.to_string()))
        }
        started => started,
    }
}

/// What was found in a file, and matches its seals.
struct Found {
    head: Head,
    image: Image,
    checkpoint: Option<(Checkpoint, Known)>,
    dictionary: Dictionary,
    floors: Floors,
}

impl Found {
    /// Takes up what may be taken up, and writes durably that the store is in use.
    fn begin(
        &mut self,
        sql: &Connection,
        verdict: Verdict,
        identity: &Identity,
        witness: &Witness,
    ) -> Result<(), Failure> {
        let mut head = Head {
            generation: self.head.generation + 1,
            boot: identity.boot.clone(),
            machine: identity.machine.clone(),
            host: identity.host.clone(),
            clean: None,
            ..self.head.clone()
        };
        let mut image = Image::default();
        match (&mut self.checkpoint, verdict) {
            (Some((checkpoint, _)), Verdict::Continue) => {
                image = self.image.clone();
                self.floors.fill(checkpoint);
            }
            (Some((checkpoint, known)), Verdict::ContinueTotals) => {
                self.floors.fill(checkpoint);
                state::forget_positions(checkpoint, known);
                let (stripped, news) = known.image(checkpoint, &Image::default(), image)?;
                known.learn(news, &stripped);
                image = stripped;
                head.state = Some(State::of(checkpoint));
            }
            (taken, _) => {
                *taken = None;
                head.state = None;
            }
        }
        if self.checkpoint.is_some() {
            // Should this start fail before its first commit, the next one may continue all the same. A
            // witness that cannot be written does no harm yet: whoever publishes is told again.
            let _ = witness.set(self.head.generation);
        }
        // A power cut may take back what is only in the log; that the store is in use it must not.
        sql.pragma_update(None, "synchronous", "FULL")?;
        head.seals.live = image.seal();
        let change = sql.unchecked_transaction()?;
        retire(&change, &mut head, &self.head, &self.image, &image, &mut self.dictionary)?;
        head.write(&change)?;
        change.commit()?;
        sql.pragma_update(None, "synchronous", "NORMAL")?;
        self.dictionary.settle();
        self.image = image;
        self.head = head;
        Ok(())
    }

    /// What is found in a new file.
    fn nothing(sql: &Connection) -> Result<Found, Failure> {
        let store: i64 = sql.query_row("SELECT random()", [], |row| row.get(0))?;
        let nobody = Name::from("");
        Ok(Found {
            head: Head {
                store: store.cast_unsigned(),
                generation: 0,
                boot: Arc::clone(&nobody),
                machine: Arc::clone(&nobody),
                host: nobody,
                clean: None,
                until: Nanos::ZERO,
                next_number: FIRST_NUMBER,
                seals: Seals::default(),
                state: None,
            },
            image: Image::default(),
            checkpoint: None,
            dictionary: Dictionary::default(),
            floors: Floors::default(),
        })
    }
}

/// Reads what a start needs.
fn find(sql: &Connection) -> Result<Option<Found>, Failure> {
    let Some(head) = Head::read(sql)? else { return Ok(None) };
    let image = Image::read(sql)?;
    if image.seal() != head.seals.live {
        return Err(Failure::Malformed("the live state does not match its seal".to_owned()));
    }
    let state = head.state.as_ref();
    let checkpoint = state.map(|state| state::restore(&image, state, head.next_number)).transpose()?;
    let dictionary = Dictionary::read(sql, head.seals.cell)?;
    Ok(Some(Found { image, checkpoint, dictionary, floors: Floors::read(sql)?, head }))
}
