//! What reports see, and what they leave alone.

use super::*;
use crate::store::read::ReadError;
use crate::store::schema::FILE;
use std::fs;
use std::os::unix::ffi::OsStringExt;

fn ran(disk: &Disk) -> (Store, Sim) {
    let mut sim = Sim::new(50, &["alice", "bob"]);
    let (mut store, _) = disk.open(&identity(), &sim.state.at);
    for _ in 0..20 {
        sim.tick(600);
        publish(&mut store, &mut sim);
        store.maintain(&sim.state.at).expect("a step");
    }
    (store, sim)
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("there").flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_copy_of_a_stopped_store_is_read_without_a_trace() {
    let disk = Disk::new();
    let (store, sim) = ran(&disk);
    store.close(&sim.state).expect("closed");
    // Names that mean something in a URI, and one that is no text.
    for name in ["plain", "a%41 b?immutable=0#c&d", "ü", "\u{1}"] {
        let folder = disk.path().join(name);
        fs::create_dir(&folder).expect("made");
        let mut file = folder.clone().into_os_string().into_vec();
        file.extend(b"/x\xff.db");
        let file = Path::new(&std::ffi::OsString::from_vec(file)).to_owned();
        fs::copy(disk.path().join(FILE), &file).expect("copied");
        let before = names(&folder);
        assert_eq!(charged_of(&read(&file).expect("a store")), sim.charged, "{name}");
        assert_eq!(names(&folder), before, "{name}");
    }
}

#[test]
fn a_copy_of_a_live_store_is_read_with_its_log_and_is_older_without() {
    let disk = Disk::new();
    let (mut store, mut sim) = ran(&disk);
    sim.tick(5);
    publish(&mut store, &mut sim);
    let copy = folder();
    for name in [FILE, "jouleprint.db-wal"] {
        fs::copy(disk.path().join(name), copy.path().join(name)).expect("copied");
    }
    let history = read(copy.path()).expect("a store");
    assert_eq!(charged_of(&history), sim.charged);
    assert_eq!(history.until, sim.state.at.wall);
    let copy = folder();
    fs::copy(disk.path().join(FILE), copy.path().join(FILE)).expect("copied");
    let history = read(copy.path()).expect("a store");
    assert_eq!(history.damaged, Vec::<String>::new());
    assert!(history.until < sim.state.at.wall, "and says how old");
}

#[test]
fn reading_leaves_a_live_store_as_it_is() {
    let disk = Disk::new();
    let (mut store, mut sim) = ran(&disk);
    let content = |name: &str| fs::read(disk.path().join(name)).expect("there");
    let before = (content(FILE), content("jouleprint.db-wal"));
    assert_eq!(charged_of(&disk.read()), sim.charged);
    assert!((content(FILE), content("jouleprint.db-wal")) == before);
    sim.tick(5);
    publish(&mut store, &mut sim);
    assert_eq!(charged_of(&read(&disk.path().join(FILE)).expect("a store")), sim.charged);
}

#[test]
fn a_store_in_which_nothing_was_committed_has_no_past() {
    let disk = Disk::new();
    let (_store, _) = disk.open(&identity(), &moment(START));
    let history = disk.read();
    assert_eq!((history.sums, history.jobs, history.damaged), (Vec::new(), Vec::new(), Vec::new()));
}

#[test]
fn what_cannot_be_read_is_told_with_a_way_out() {
    let empty = folder();
    let error = read(empty.path()).expect_err("nothing there");
    assert!(matches!(error, ReadError::Missing(_)), "{error}");
    assert!(error.to_string().contains("--store.path"), "{error}");
    assert_eq!(names(empty.path()), Vec::<String>::new(), "and none is made");
    for content in ["", "no database"] {
        fs::write(empty.path().join(FILE), content).expect("writable");
        let error = read(empty.path()).expect_err("no store");
        assert!(matches!(error, ReadError::Damaged { .. }), "{error}");
    }
}

#[test]
fn the_past_before_counters_began_anew_is_dated_by_its_own_last_commit() {
    let mut disk = Disk::new();
    let (store, sim) = ran(&disk);
    drop(store);
    disk.reboot();
    let (_store, restored) = disk.open(&Identity { boot: "boot-2".into(), ..identity() }, &sim.state.at);
    assert!(restored.checkpoint.is_none());
    assert_eq!(disk.read().until, sim.state.at.wall);
}

#[test]
fn a_store_can_be_handed_to_another_thread_and_its_witness_shared() {
    fn is_send<T: Send>() {}
    fn is_shared<T: Send + Sync>() {}
    is_send::<Store>();
    is_shared::<crate::store::witness::Witness>();
}
