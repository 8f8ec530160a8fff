//! Which state may be continued, and by whom.

use super::*;
use crate::model::snapshot::Pushed;
use crate::store::schema;
use std::fs;

/// A run that ended: killed, or stopped cleanly.
fn ran(disk: &Disk, is_clean: bool) -> Sim {
    let mut sim = Sim::new(7, &["alice", "bob"]);
    let (mut store, _) = disk.open(&identity(), &sim.state.at);
    for _ in 0..40 {
        sim.tick(5);
        publish(&mut store, &mut sim);
    }
    if is_clean {
        store.close(&sim.state).expect("closed");
    }
    sim
}

/// A moment in a boot that began `gap` seconds after `stop`.
fn booted(stop: &Moment, gap: i64) -> Moment {
    let began = stop.wall.get() / 1_000_000_000;
    let up = Nanos::from_seconds(30);
    let wall = Nanos::from_seconds(began.checked_add_signed(gap).expect("after 1970")) + up;
    Moment { monotonic: up, boottime: up, wall }
}

#[test]
fn the_rules_of_continuing() {
    enum Then {
        SameBoot,
        /// Seconds from the stop to the start of the other boot.
        Boot(i64),
    }
    use Then::{Boot, SameBoot};
    let same = identity();
    let machine = Identity { machine: "another".into(), ..identity() };
    let host = Identity { host: "another".into(), ..identity() };
    let nowhere = Identity { boot: "".into(), ..identity() };
    let all = "continued";
    let totals = "continued after a reboot";
    for (line, is_clean, then, who, keeps_witness, expected) in [
        (line!(), false, SameBoot, &same, true, all),
        (line!(), true, SameBoot, &same, true, all),
        (line!(), true, SameBoot, &same, false, all),
        (line!(), false, SameBoot, &same, false, "no witness of what was last shown: counters start at 0"),
        (line!(), false, SameBoot, &machine, true, "the store is of another machine: counters start at 0"),
        (line!(), true, SameBoot, &machine, true, "the store is of another machine: counters start at 0"),
        (line!(), true, SameBoot, &host, true, "the host has another name: counters start at 0"),
        (line!(), true, Boot(60), &same, false, totals),
        (line!(), true, Boot(0), &same, false, totals),
        (line!(), true, Boot(-5), &same, false, totals),
        (line!(), true, Boot(3600), &same, false, totals),
        (
            line!(),
            true,
            Boot(-6),
            &same,
            false,
            "the clean stop was not just before this boot: counters start at 0",
        ),
        (
            line!(),
            true,
            Boot(3601),
            &same,
            false,
            "the clean stop was not just before this boot: counters start at 0",
        ),
        (line!(), false, Boot(60), &same, false, "another boot without a clean stop: counters start at 0"),
        (line!(), true, Boot(60), &machine, false, "the store is of another machine: counters start at 0"),
        (line!(), true, Boot(60), &host, false, "the host has another name: counters start at 0"),
        (line!(), true, Boot(60), &nowhere, false, totals),
    ] {
        let mut disk = Disk::new();
        let sim = ran(&disk, is_clean);
        let mut who = who.clone();
        let at = match then {
            SameBoot => moment(sim.state.at.wall.get() / 1_000_000_000 + 60),
            Boot(gap) => {
                who.boot = if who.boot.is_empty() { "".into() } else { "boot-2".into() };
                booted(&sim.state.at, gap)
            }
        };
        if !keeps_witness {
            disk.reboot();
        }
        let (_, restored) = disk.open(&who, &at);
        assert_eq!(&*restored.how, expected, "line {line}");
        assert_eq!(restored.next_number, sim.state.next_number, "line {line}");
        assert!(!restored.floors.is_empty(), "line {line}: floors outlive everything");
        match restored.checkpoint {
            Some(found) if expected == all => assert_same(&image_of(&found), &image_of(&sim.state)),
            Some(found) => {
                assert_eq!(expected, totals, "line {line}");
                assert_same(&image_of(&found), &image_of(&stripped(&sim.state)));
            }
            None => assert!(expected.ends_with("counters start at 0"), "line {line}"),
        }
        // What was known of the past is known whatever becomes of the counters.
        let history = disk.read();
        assert_eq!(charged_of(&history), sim.charged, "line {line}");
        assert_eq!(jobs_of(&history), sim.recorded, "line {line}");
    }
}

/// What another boot may know.
fn stripped(state: &Checkpoint) -> Checkpoint {
    let mut state = state.clone();
    state.at = Moment { wall: state.at.wall, ..Moment::default() };
    for position in &mut state.domains {
        *position = DomainPosition {
            remainder: position.remainder,
            floor_remainder: position.floor_remainder,
            floor: position.floor.clone(),
            ..DomainPosition::default()
        };
    }
    state.usage.groups.clear();
    state.usage.is_complete = false;
    state.usage.processors.clear();
    state.usage.deficit = 0;
    let totals = Arc::make_mut(&mut state.totals);
    totals.cpu_deficit = Nanos::ZERO;
    totals.jobs.iter_mut().for_each(|job| job.ended = job.ended.map(|_| Nanos::ZERO));
    state
}

#[test]
fn a_boot_that_continued_is_continued_in_its_turn() {
    let mut disk = Disk::new();
    let mut sim = ran(&disk, true);
    let last_seen = |history: &History| -> Vec<Nanos> {
        history.jobs.iter().filter(|job| !job.is_live).map(|job| job.last_seen).collect()
    };
    let before = last_seen(&disk.read());
    let identity = Identity { boot: "boot-2".into(), ..identity() };
    let at = booted(&sim.state.at, 60);
    disk.reboot();
    // Twice: the first start failed for another reason before it had committed anything.
    for how in ["continued after a reboot", "continued"] {
        let (store, restored) = disk.open(&identity, &at);
        assert_eq!(&*restored.how, how);
        drop(store);
        assert_same(&image_of(&restored.checkpoint.expect("continued")), &image_of(&stripped(&sim.state)));
    }
    let ends: Vec<Nanos> = sim.state.totals.jobs.iter().filter_map(|job| job.ended).collect();
    assert!(!ends.is_empty(), "a job that ended before the boot is a part of this test");
    let (mut store, restored) = disk.open(&identity, &at);
    sim.resume(restored);
    sim.state.at = at;
    publish(&mut store, &mut sim);
    assert_eq!(last_seen(&disk.read()), before, "ends keep their place in wall time");
}

#[test]
fn a_clean_stop_counts_for_one_start() {
    for is_rebooted in [false, true] {
        let mut disk = Disk::new();
        let sim = ran(&disk, true);
        let mut identity = identity();
        let mut at = sim.state.at;
        if is_rebooted {
            identity.boot = "boot-2".into();
            at = booted(&sim.state.at, 60);
            disk.reboot();
        }
        let (store, restored) = disk.open(&identity, &at);
        assert!(restored.checkpoint.is_some());
        drop(store);
        disk.reboot();
        identity.boot = "boot-3".into();
        let (_, restored) = disk.open(&identity, &booted(&sim.state.at, 120));
        assert_eq!(&*restored.how, "another boot without a clean stop: counters start at 0");
    }
}

#[test]
fn counters_that_begin_anew_are_continued_too_and_old_jobs_are_closed() {
    let mut disk = Disk::new();
    let sim = ran(&disk, false);
    disk.reboot();
    let identity = Identity { boot: "boot-2".into(), ..identity() };
    let at = booted(&sim.state.at, 60);
    let (mut store, restored) = disk.open(&identity, &at);
    assert!(restored.checkpoint.is_none());
    assert!(disk.read().jobs.iter().all(|job| !job.is_live && job.last_seen <= sim.state.at.wall));
    drop(store);
    let (opened, restored) = disk.open(&identity, &at);
    assert_eq!(&*restored.how, "nothing had been committed: counters start at 0");
    store = opened;
    let mut next = Sim::new(8, &["carol"]);
    next.state.next_number = restored.next_number;
    next.state.at = at;
    next.tick(5);
    next.state.domains.iter_mut().for_each(|position| position.floor = vec![(1, 1)].into());
    publish(&mut store, &mut next);
    drop(store);
    let (_, restored) = disk.open(&identity, &next.state.at);
    assert_same(&image_of(&restored.checkpoint.expect("continued")), &image_of(&next.state));
}

#[test]
fn an_older_copy_that_was_put_back_is_not_continued() {
    for is_clean in [false, true] {
        let disk = Disk::new();
        let mut sim = Sim::new(9, &["alice"]);
        let (mut store, _) = disk.open(&identity(), &sim.state.at);
        sim.tick(5);
        publish(&mut store, &mut sim);
        if is_clean {
            store.close(&sim.state).expect("closed");
        } else {
            drop(store);
        }
        let copy = Disk::new();
        for entry in fs::read_dir(disk.path()).expect("there").flatten() {
            fs::copy(entry.path(), copy.path().join(entry.file_name())).expect("copied");
        }
        let (mut store, restored) = disk.open(&identity(), &sim.state.at);
        sim.resume(restored);
        sim.tick(5);
        publish(&mut store, &mut sim);
        drop(store);
        let swapped = Disk { store: copy.store, run: disk.run };
        let (_, restored) = swapped.open(&identity(), &sim.state.at);
        assert_eq!(&*restored.how, "the store is an older copy: counters start at 0");
    }
}

#[test]
fn what_was_shown_without_being_durable_is_not_continued_unless_a_commit_made_up_for_it() {
    for (is_made_up, how) in
        [(false, "what was last shown was not durable: counters start at 0"), (true, "continued")]
    {
        let disk = Disk::new();
        let mut sim = Sim::new(10, &["alice"]);
        let (mut store, _) = disk.open(&identity(), &sim.state.at);
        sim.tick(5);
        publish(&mut store, &mut sim);
        store.witness().disown().expect("writable");
        if is_made_up {
            sim.tick(5);
            publish(&mut store, &mut sim);
        }
        drop(store);
        let (_, restored) = disk.open(&identity(), &sim.state.at);
        assert_eq!(&*restored.how, how);
    }
}

#[test]
fn a_witness_that_is_damaged_or_of_another_store_is_not_believed() {
    let disk = Disk::new();
    let sim = ran(&disk, true);
    for entry in fs::read_dir(disk.run.path()).expect("there").flatten() {
        fs::write(entry.path(), [7; 16]).expect("writable");
    }
    let (_, restored) = disk.open(&identity(), &sim.state.at);
    assert_eq!(&*restored.how, "the witness of what was shown is damaged: counters start at 0");
}

#[test]
fn a_newer_version_is_refused_and_stays_as_it_is() {
    let disk = Disk::new();
    let sim = ran(&disk, true);
    let path = disk.path().join(schema::FILE);
    let sql = rusqlite::Connection::open(&path).expect("a database");
    sql.pragma_update(None, "user_version", schema::VERSION + 1).expect("writable");
    drop(sql);
    let before = fs::read(&path).expect("there");
    let error = disk.try_open(&identity(), &sim.state.at).expect_err("newer");
    let version = format!("version {}", schema::VERSION + 1);
    let is_newer = matches!(error, OpenError::Newer { known: schema::VERSION, .. });
    assert!(is_newer, "{error}");
    assert!(error.to_string().contains(&version), "{error}");
    let error = read(disk.path()).expect_err("newer");
    assert!(error.to_string().contains(&version), "{error}");
    assert!(!disk.has_set_aside());
    assert_eq!(fs::read(&path).expect("there"), before);
}

#[test]
fn a_store_of_an_earlier_version_is_read_as_it_is_and_taken_further_at_the_start() {
    for version in 1..schema::VERSION {
        taken_further(version);
    }
}

fn taken_further(version: i64) {
    let disk = Disk::new();
    // Parts of devices came later than all of these versions.
    let has_no_parts = |sim: &Sim| sim.state.totals.columns.iter().all(Column::is_whole);
    let mut sims = (7..).map(|seed| Sim::new(seed, &["alice", "bob"]));
    let mut sim = sims.find(has_no_parts).expect("some seed gives one");
    let (mut store, _) = disk.open(&identity(), &sim.state.at);
    for _ in 0..40 {
        sim.tick(5);
        sim.state.groups = GroupsPosition::default();
        sim.state.restated = RestatedPosition::default();
        publish(&mut store, &mut sim);
    }
    store.close(&sim.state).expect("closed");
    let path = disk.path().join(schema::FILE);
    let sql = rusqlite::Connection::open(&path).expect("a database");
    let later = [
        "DROP TABLE pushed",
        "ALTER TABLE record DROP COLUMN description",
        "DROP TABLE group_kind; DROP TABLE group_name; DROP TABLE group_live",
        "ALTER TABLE cell DROP COLUMN gpu_instance",
        "DROP TABLE restated",
        "ALTER TABLE record DROP COLUMN phases",
    ];
    for step in &later[usize::try_from(version - 1).expect("from 1 on")..] {
        sql.execute_batch(step).expect("writable");
    }
    sql.pragma_update(None, "user_version", version).expect("writable");
    drop(sql);
    assert_eq!(charged_of(&disk.read()), sim.charged);
    assert_eq!(disk.read().damaged, Vec::<String>::new());
    let (mut store, restored) = disk.open(&identity(), &sim.state.at);
    assert_eq!(&*restored.how, "continued");
    let groups = restored.checkpoint.expect("continued").groups;
    assert_eq!((groups.clock, groups.kinds.len()), (Nanos::ZERO, 0));
    assert_eq!(store.pushed(), []);
    let pushed = Pushed { series: 1 << 100, start: Nanos::new(1), value: u64::MAX, until: Nanos::new(2) };
    store.keep_pushed(&[pushed]).expect("writable");
    drop(store);
    let (store, _) = disk.open(&identity(), &sim.state.at);
    assert_eq!(store.pushed(), [pushed]);
}

#[test]
fn a_clean_stop_leaves_one_file_and_a_log_that_is_not_needed() {
    let disk = Disk::new();
    let sim = ran(&disk, true);
    let mut names: Vec<String> = fs::read_dir(disk.path())
        .expect("there")
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    assert_eq!(names, ["jouleprint.db", "lock"]);
    assert_eq!(charged_of(&disk.read()), sim.charged);
}

#[test]
fn a_program_that_never_lives_long_does_not_fill_the_log() {
    let disk = Disk::new();
    let mut sim = Sim::new(8, &["alice", "bob"]);
    let mut most = 0;
    for _ in 0..24 {
        let (mut store, restored) = disk.open(&identity(), &sim.state.at);
        if restored.checkpoint.is_some() {
            sim.resume(restored);
        }
        // Less than what it takes until the log is moved by the clock.
        for _ in 0..400 {
            sim.tick(0);
            publish(&mut store, &mut sim);
            store.maintain(&sim.state.at).expect("maintained");
            most = most.max(store.log_bytes());
        }
    }
    assert!(most > 16 << 20, "there was something to move: {most}");
    assert!(most < 32 << 20, "the log grew to {most} bytes");
}

#[test]
fn a_log_that_a_reader_held_is_emptied_when_the_reader_is_gone() {
    let disk = Disk::new();
    let mut sim = Sim::new(9, &["alice", "bob"]);
    let (mut store, _) = disk.open(&identity(), &sim.state.at);
    sim.tick(5);
    publish(&mut store, &mut sim);
    let reader = rusqlite::Connection::open(disk.path().join(schema::FILE)).expect("a database");
    reader.execute_batch("BEGIN; SELECT count(*) FROM head").expect("a reader");
    let mut refused = None;
    for _ in 0..20_000 {
        sim.tick(0);
        if let Err(error) = store.commit(&sim.state) {
            refused = Some(error.to_string());
            break;
        }
    }
    assert!(refused.expect("there is a bound").contains("reading"));
    reader.execute_batch("COMMIT").expect("a reader");
    for _ in 0..60 {
        sim.tick(5);
        let _ = store.commit(&sim.state);
        store.maintain(&sim.state.at).expect("maintained");
    }
    publish(&mut store, &mut sim);
    assert!(store.log_bytes() < 8 << 20, "it is {} bytes", store.log_bytes());
    assert_eq!(charged_of(&disk.read()), sim.charged);
}
