//! Shown means durable: what the keeper publishes, and what a start after it finds.

use super::simulation::page;
use super::world::{Layout, World};
use arc_swap::ArcSwapOption;
use jouleprint::model::quantity::Nanos;
use jouleprint::model::snapshot::{Pushed, Snapshot, StoreState, Totals};
use jouleprint::model::time::Moment;
use jouleprint::sampler::keeper::{Keeper, LONGEST_WAIT};
use jouleprint::sampler::{Past, Sampler};
use jouleprint::store::lock::{Holder, Lock};
use jouleprint::store::{Identity, Restored, Store};
use std::path::Path;
use std::sync::Arc;

/// A machine, the folders of a store, and what is published.
struct Bed {
    world: World,
    folder: tempfile::TempDir,
    latest: Arc<ArcSwapOption<Snapshot>>,
    sampler: Sampler,
}

impl Bed {
    fn new() -> Bed {
        let mut world = World::new(3, Layout::V2, false);
        world.make(2);
        let sampler = world.sampler(100, 100, 20);
        Bed { world, folder: tempfile::tempdir().unwrap(), latest: Arc::default(), sampler }
    }

    fn open(&self) -> (Store, Restored) {
        open(self.folder.path(), "boot", &Moment::default())
    }

    fn keeper(&self, store: Store, patience: Nanos) -> Keeper {
        Keeper::start(Arc::clone(&self.latest), store, StoreState::default(), patience).unwrap()
    }

    fn tick(&mut self, keeper: &Keeper) -> Moment {
        self.sampler.committed(keeper.committed_through());
        let worked = vec![7; self.world.cpus()];
        let at = self.world.pass(Nanos::from_seconds(5), &worked);
        let snapshot = self.sampler.tick(at);
        let checkpoint = self.sampler.checkpoint(&snapshot);
        keeper.take(snapshot, checkpoint);
        at
    }

    /// Waits for the page of this tick, and gives the store's state on it.
    fn page_of(&self, at: Moment, is_up: bool) -> StoreState {
        loop {
            if let Some(snapshot) = &*self.latest.load() {
                let state = snapshot.store.clone().unwrap();
                if snapshot.at == at && state.reason.is_empty() == is_up {
                    page(snapshot);
                    return state;
                }
            }
            std::thread::yield_now();
        }
    }

    /// Another program writes into the file, and does not let go.
    fn hold(&self) -> rusqlite::Connection {
        let path = self.folder.path().join("state/jouleprint.db");
        let other = rusqlite::Connection::open(path).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        other
    }

    fn close(mut self, keeper: Keeper) -> (tempfile::TempDir, Snapshot) {
        let worked = vec![7; self.world.cpus()];
        let at = self.world.pass(Nanos::from_seconds(5), &worked);
        let snapshot = self.sampler.tick(at);
        let checkpoint = self.sampler.checkpoint(&snapshot);
        keeper.close(snapshot, checkpoint);
        let last = self.latest.load_full().unwrap();
        (self.folder, Snapshot::clone(&last))
    }
}

fn open(folder: &Path, boot: &str, at: &Moment) -> (Store, Restored) {
    let holder = Holder { pid: 1, boot: boot.into(), host: "sim".into() };
    let lock = Lock::take(&folder.join("state"), &holder).unwrap();
    let identity = Identity { boot: boot.into(), machine: "machine".into(), host: "sim".into() };
    Store::open(lock, Some(&folder.join("run")), &identity, at).unwrap()
}

/// What a start on the same boot finds; the witness and the file as a killed process left them.
fn found(folder: &Path) -> Restored {
    let copy = tempfile::tempdir().unwrap();
    for part in ["state", "run"] {
        std::fs::create_dir(copy.path().join(part)).unwrap();
        for entry in std::fs::read_dir(folder.join(part)).unwrap().flatten() {
            std::fs::copy(entry.path(), copy.path().join(part).join(entry.file_name())).unwrap();
        }
    }
    open(copy.path(), "boot", &Moment::default()).1
}

/// CPU time charged to all jobs.
fn charged(snapshot: &Snapshot) -> u64 {
    snapshot.totals.jobs.iter().map(|job| job.cpu.get()).sum()
}

#[test]
fn after_a_reboot_no_job_is_charged_with_what_it_used_before_the_first_look() {
    let mut bed = Bed::new();
    let path = bed.world.make(2);
    bed.world.write();
    let keeper = bed.keeper(bed.open().0, LONGEST_WAIT);
    bed.tick(&keeper);
    bed.world.work(&path, 500, 0);
    bed.tick(&keeper);
    let mut world = std::mem::replace(&mut bed.world, World::new(4, Layout::V2, false));
    let worked = vec![7; world.cpus()];
    let at = world.pass(Nanos::from_seconds(5), &worked);
    let last = bed.sampler.tick(at);
    let checkpoint = bed.sampler.checkpoint(&last);
    keeper.close(last.clone(), checkpoint);
    assert!(charged(&last) >= 5_000_000_000, "the job has worked");
    // The groups of the next boot look the same and have worked again before anybody looked.
    world.work(&path, 900, 0);
    let boot = Moment { boottime: Nanos::from_seconds(30), wall: at.wall + Nanos::from_seconds(60), ..at };
    let (_store, restored) = open(bed.folder.path(), "another boot", &boot);
    assert_eq!(&*restored.how, "continued after a reboot");
    let past =
        Past { checkpoint: restored.checkpoint, floors: restored.floors, next_number: restored.next_number };
    world.write();
    let mut sampler = world.sampler_after(100, 100, 20, past);
    let worked = vec![7; world.cpus()];
    let at = world.pass(Nanos::from_seconds(5), &worked);
    let first = sampler.tick(at);
    assert_eq!(charged(&first), charged(&last));
    assert_eq!(first.totals.cpu_deficit, Nanos::ZERO, "nor has the system a debt");
}

#[test]
fn what_is_on_the_page_is_what_the_next_start_goes_on_from() {
    let mut bed = Bed::new();
    let (store, restored) = bed.open();
    assert!(restored.checkpoint.is_none());
    let keeper = bed.keeper(store, LONGEST_WAIT);
    for _ in 0..3 {
        let at = bed.tick(&keeper);
        let state = bed.page_of(at, true);
        assert!(state.commits > 0);
        let shown = bed.latest.load_full().unwrap();
        let restored = found(bed.folder.path());
        let checkpoint = restored.checkpoint.unwrap_or_else(|| panic!("{}", restored.how));
        assert_eq!(checkpoint.at, at);
        assert_eq!(checkpoint.totals.host, shown.totals.host);
        assert_eq!(checkpoint.totals.job_table, shown.totals.job_table);
    }
    let (folder, last) = bed.close(keeper);
    let restored = found(folder.path());
    assert_eq!(restored.checkpoint.unwrap().totals.host, last.totals.host, "{}", restored.how);
}

#[test]
fn without_an_answer_pages_go_on_and_the_next_start_begins_at_0_unless_the_store_catches_up() {
    let mut bed = Bed::new();
    let (store, _) = bed.open();
    let keeper = bed.keeper(store, Nanos::ZERO);
    let at = bed.tick(&keeper);
    bed.page_of(at, true);
    let other = bed.hold();
    for _ in 0..3 {
        let at = bed.tick(&keeper);
        let state = bed.page_of(at, false);
        assert!(["no_answer", "busy"].contains(&&*state.reason), "{state:?}");
    }
    assert!(found(bed.folder.path()).checkpoint.is_none(), "more was shown than is in the store");
    drop(other);
    let at = bed.tick(&keeper);
    bed.page_of(at, true);
    let restored = found(bed.folder.path());
    assert_eq!(restored.checkpoint.map(|checkpoint| checkpoint.at), Some(at), "{}", restored.how);
}

#[test]
fn a_sampler_without_a_store_shows_everything_and_says_so() {
    let mut bed = Bed::new();
    let keeper = Keeper::without_store(Arc::clone(&bed.latest), None);
    let at = bed.tick(&keeper);
    let snapshot = bed.latest.load_full().unwrap();
    assert_eq!((snapshot.at, &snapshot.store), (at, &None));
    assert!(page(&snapshot).all("jouleprint_store_up", &[]).is_empty(), "what is not wanted is not down");
    let state = StoreState { reason: "read_only".into(), ..StoreState::default() };
    let keeper = Keeper::without_store(Arc::clone(&bed.latest), Some(state));
    bed.tick(&keeper);
    let snapshot = bed.latest.load_full().unwrap();
    assert_eq!(page(&snapshot).value("jouleprint_store_up", &[]), Some("0"));
}

#[test]
fn the_store_is_closed_after_the_last_push_was_acknowledged() {
    let mut bed = Bed::new();
    let (store, _) = bed.open();
    let keeper = bed.keeper(store, LONGEST_WAIT);
    let acknowledge = keeper.acknowledgements();
    let at = bed.tick(&keeper);
    bed.page_of(at, true);
    let pushed = |value| Pushed { series: 7, start: Nanos::new(1), value, until: Nanos::new(2) };
    acknowledge(vec![pushed(1)], false);
    let latest = Arc::clone(&bed.latest);
    // As the pusher does: it waits for the last state, pushes it, and says what came of it.
    let pusher = std::thread::spawn(move || {
        let newest = loop {
            match latest.load_full().filter(|snapshot| snapshot.at.monotonic > at.monotonic) {
                Some(snapshot) => break snapshot,
                None => std::thread::yield_now(),
            }
        };
        acknowledge(vec![pushed(2)], true);
        newest
    });
    let (folder, last) = bed.close(keeper);
    assert_eq!(pusher.join().unwrap().at, last.at);
    let (store, restored) = open(folder.path(), "boot", &last.at);
    assert_eq!(&*restored.how, "continued");
    assert_eq!(store.pushed(), [pushed(2)]);
    let checkpoint = restored.checkpoint.unwrap();
    let energies =
        |totals: &Totals| -> Vec<_> { totals.domains.iter().map(|domain| domain.energy).collect() };
    assert_eq!(
        energies(&checkpoint.totals),
        energies(&last.totals),
        "committed once, whatever is committed twice"
    );
}

#[test]
fn a_push_that_is_never_acknowledged_does_not_keep_the_store_open() {
    let mut bed = Bed::new();
    let (store, _) = bed.open();
    let keeper = bed.keeper(store, LONGEST_WAIT);
    let _acknowledge = keeper.acknowledgements();
    bed.tick(&keeper);
    let began = std::time::Instant::now();
    let (folder, last) = bed.close(keeper);
    assert!(began.elapsed() < std::time::Duration::from_millis(1_800), "{:?}", began.elapsed());
    assert_eq!(&*open(folder.path(), "boot", &last.at).1.how, "continued");
}
