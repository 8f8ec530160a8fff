//! What was last shown: 16 bytes in memory that end with the boot. A store that is older than its
//! witness is a copy that was put back, and may not be continued.
//!
//! The witness is written by whoever publishes, right before it does: written by the thread that
//! commits, the news of an old commit could hide that something newer has been shown without one.

use crate::model::identity::Name;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const BYTES: usize = 16;
const SUFFIX: &str = "witness";

/// The generation of what was never committed: no store is that young.
const NOT_DURABLE: u64 = u64::MAX;

/// Where the witness of one store is kept. Clones are the same witness.
#[derive(Debug, Clone)]
pub struct Witness(Arc<Place>);

#[derive(Debug)]
enum Place {
    Kept { file: File, store: u64 },
    Nowhere { why: Name },
}

/// What was found at a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing: the first start in this boot, or a runtime directory that was emptied.
    Nothing,
    /// This generation of this store was shown.
    Shown(u64),
    /// Something was shown that was not in the store.
    ShownBeyond,
    /// Not what we write: of another store, or cut short.
    Foreign,
}

impl Witness {
    /// Looks for the witness of `store`.
    pub(super) fn look(folder: Option<&Path>, store: u64) -> Found {
        let Some(folder) = folder else { return Found::Nothing };
        let bytes = match std::fs::read(path(folder, store)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Found::Nothing,
            Err(_) => return Found::Foreign,
        };
        match <[u8; BYTES]>::try_from(bytes.as_slice()).map(decode) {
            Ok((named, _)) if named != store => Found::Foreign,
            Ok((_, NOT_DURABLE)) => Found::ShownBeyond,
            Ok((_, generation)) => Found::Shown(generation),
            Err(_) => Found::Foreign,
        }
    }

    /// Opens the witness of `store`; without a folder, or in one that cannot be written, it is kept nowhere.
    pub(super) fn open(folder: Option<&Path>, store: u64) -> Witness {
        let Some(folder) = folder else {
            return Witness::nowhere("there is no runtime directory");
        };
        // The file stays open: the right to open others is given up after the start.
        let made = DirBuilder::new().recursive(true).mode(0o755).create(folder).and_then(|()| {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(false).mode(0o640).open(path(folder, store))
        });
        match made {
            Ok(file) => Witness(Arc::new(Place::Kept { file, store })),
            Err(error) => Witness::nowhere(&format!("{}: {error}", folder.display())),
        }
    }

    fn nowhere(why: &str) -> Witness {
        Witness(Arc::new(Place::Nowhere { why: why.into() }))
    }

    /// From now on what is shown is in the store's `generation` or an earlier one.
    ///
    /// # Errors
    /// The kernel's own.
    pub fn set(&self, generation: u64) -> io::Result<()> {
        match &*self.0 {
            // One write of 16 bytes into one page of memory: a process cannot be killed in the middle of it.
            Place::Kept { file, store } => file.write_all_at(&encode(*store, generation), 0),
            Place::Nowhere { .. } => Ok(()),
        }
    }

    /// What is shown now is not in the store: unless a later commit makes up for it, the next start
    /// begins at 0.
    ///
    /// # Errors
    /// The kernel's own. What is shown then must not go beyond the last commit.
    pub fn disown(&self) -> io::Result<()> {
        self.set(NOT_DURABLE)
    }

    /// Why there is none, if there is none: after a crash counters begin at 0 then.
    #[must_use]
    pub fn why_nowhere(&self) -> Option<&Name> {
        match &*self.0 {
            Place::Kept { .. } => None,
            Place::Nowhere { why } => Some(why),
        }
    }
}

/// What is shown from now on is in no store at all: whichever is found at the next start must not be
/// continued.
pub fn disown_all(folder: &Path) {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    for path in
        entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == SUFFIX))
    {
        let written = OpenOptions::new().read(true).write(true).open(&path).and_then(|file| {
            let mut bytes = [0; BYTES];
            file.read_exact_at(&mut bytes, 0)?;
            file.write_all_at(&encode(decode(bytes).0, NOT_DURABLE), 0)
        });
        if written.is_err() {
            // Without a witness nothing is continued after a crash either.
            let _ = std::fs::remove_file(&path);
        }
    }
}

fn path(folder: &Path, store: u64) -> PathBuf {
    folder.join(format!("{store:016x}.{SUFFIX}"))
}

fn encode(store: u64, generation: u64) -> [u8; BYTES] {
    (u128::from(store) << 64 | u128::from(generation)).to_be_bytes()
}

#[expect(clippy::cast_possible_truncation, reason = "the low half of 16 bytes")]
fn decode(bytes: [u8; BYTES]) -> (u64, u64) {
    let both = u128::from_be_bytes(bytes);
    ((both >> 64) as u64, both as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_without_a_store_is_said_in_every_witness() {
        let folder = tempfile::tempdir().expect("a folder");
        for store in [7, 8] {
            Witness::open(Some(folder.path()), store).set(3).expect("written");
        }
        std::fs::write(folder.path().join("9.witness"), "cut").expect("written");
        std::fs::write(folder.path().join("other"), "kept").expect("written");
        disown_all(folder.path());
        for store in [7, 8] {
            assert_eq!(Witness::look(Some(folder.path()), store), Found::ShownBeyond);
        }
        assert!(!folder.path().join("9.witness").exists() && folder.path().join("other").exists());
    }

    #[test]
    fn what_was_shown_last_is_found_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let inner = folder.path().join("run");
        assert_eq!(Witness::look(Some(&inner), 7), Found::Nothing);
        let witness = Witness::open(Some(&inner), 7);
        assert_eq!(witness.why_nowhere(), None);
        assert_eq!(Witness::look(Some(&inner), 7), Found::Foreign, "made and never written");
        for (write, found) in
            [(Some(5), Found::Shown(5)), (None, Found::ShownBeyond), (Some(9), Found::Shown(9))]
        {
            let other_thread = witness.clone();
            write.map_or_else(|| other_thread.disown(), |at| witness.set(at)).expect("writable");
            assert_eq!(Witness::look(Some(&inner), 7), found);
        }
        assert_eq!(Witness::look(Some(&inner), 8), Found::Nothing, "each store has its own");
    }

    #[test]
    fn a_witness_that_is_not_ours_is_not_believed() {
        let folder = tempfile::tempdir().expect("a folder");
        for content in [&b"short"[..], &[0; 17], &encode(8, 1)] {
            std::fs::write(path(folder.path(), 7), content).expect("writable");
            assert_eq!(Witness::look(Some(folder.path()), 7), Found::Foreign, "{content:?}");
        }
    }

    #[test]
    fn without_a_place_it_says_so_and_does_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        std::fs::write(&file, "").expect("writable");
        for place in [None, Some(file.as_path())] {
            let witness = Witness::open(place, 7);
            assert!(witness.why_nowhere().is_some());
            witness.set(1).and_then(|()| witness.disown()).expect("nothing to do");
            assert!(!matches!(Witness::look(place, 7), Found::Shown(_)));
        }
    }
}
