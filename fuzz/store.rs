//! A store with any bits flipped: what is read of it is what was written, or it is said that it is not.

use jouleprint::engine::Engine;
use jouleprint::model::history::History;
use jouleprint::model::reading::{Header, Tick};
use jouleprint::model::snapshot::Totals;
use jouleprint::store::lock::{Holder, Lock};
use jouleprint::store::{Identity, Store, read};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use tempfile::TempDir;

/// Two jobs on one meter for three ticks, as `record` would write them.
const RECORDING: &str = include_str!("store.jsonl");

/// A store as it was closed, and what is in it.
struct Sound {
    file: Vec<u8>,
    history: History,
    totals: Totals,
}

/// Each five bytes flip bits of one byte: where, and which.
pub(crate) fn store(bytes: &[u8]) {
    static SOUND: OnceLock<Sound> = OnceLock::new();
    let sound = SOUND.get_or_init(sound);
    let mut file = sound.file.clone();
    for flip in bytes.chunks_exact(5) {
        let place = u32::from_le_bytes([flip[0], flip[1], flip[2], flip[3]]) as usize % file.len();
        file[place] ^= flip[4];
    }
    let folder = folder();
    std::fs::write(folder.path().join("jouleprint.db"), &file).expect("written");
    if let Ok(found) = read(folder.path())
        && found.damaged.is_empty()
    {
        assert_eq!(found.sums, sound.history.sums);
        assert_eq!(found.jobs, sound.history.jobs);
    }
    if let Some(totals) = restored(folder.path()) {
        assert_eq!(totals.host, sound.totals.host);
        assert_eq!(totals.job_table, sound.totals.job_table);
        assert_eq!(totals.residual_table, sound.totals.residual_table);
    }
}

fn folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder")
}

fn identity() -> Identity {
    Identity { boot: "boot".into(), machine: "machine".into(), host: "h".into() }
}

fn lock(folder: &Path) -> Lock {
    let holder = Holder { pid: 1, boot: "boot".into(), host: "h".into() };
    Lock::take(folder, &holder).expect("nobody else has it")
}

/// The totals that a start would go on from.
fn restored(folder: &Path) -> Option<Totals> {
    let at = ticks().1.last().expect("there are ticks").at;
    let (_, restored) = Store::open(lock(folder), None, &identity(), &at).ok()?;
    restored.checkpoint.map(|checkpoint| Totals::clone(&checkpoint.totals))
}

fn ticks() -> (Header, Vec<Tick>) {
    let mut lines = RECORDING.lines();
    let header = serde_json::from_str(lines.next().expect("a header")).expect("a header");
    (header, lines.map(|line| serde_json::from_str(line).expect("a tick")).collect())
}

fn sound() -> Sound {
    let (header, ticks) = ticks();
    let folder = folder();
    let opened = Store::open(lock(folder.path()), None, &identity(), &ticks[0].at);
    let (mut store, _) = opened.expect("a new store");
    let mut engine = Engine::new(Arc::new(header.machine.clone()), header.accounting.clone());
    let mut last = None;
    for tick in &ticks {
        engine.step(tick);
        let totals = Arc::new(engine.totals());
        let checkpoint = engine.checkpoint(tick.at, totals, vec![(0, 1)], ("view".into(), true));
        store.commit(&checkpoint).expect("written");
        last = Some(checkpoint);
    }
    let last = last.expect("there are ticks");
    store.close(&last).expect("written");
    let file = std::fs::read(folder.path().join("jouleprint.db")).expect("it is there");
    let history = read(folder.path()).expect("it can be read");
    assert!(history.damaged.is_empty() && !history.sums.is_empty() && !history.jobs.is_empty());
    Sound { file, history, totals: Totals::clone(&last.totals) }
}
