//! A damaged file is never taken for a good one, and never stops the counting.

use super::*;
use crate::store::schema::FILE;
use std::fs;

/// A store with live jobs, closed records, several hours and two zones; killed or stopped.
fn filled(seed: u64, is_clean: bool) -> (Disk, Sim) {
    let disk = Disk::new();
    let mut sim = Sim::new(seed, &["alice", "bob", ""]);
    let (mut store, _) = disk.open(&identity(), &sim.state.at);
    for _ in 0..60 {
        sim.tick(600);
        publish(&mut store, &mut sim);
        if sim.random.one_in(3) {
            store.maintain(&sim.state.at).expect("a step");
        }
    }
    if is_clean {
        store.close(&sim.state).expect("closed");
    }
    (disk, sim)
}

fn copy(disk: &Disk) -> Disk {
    let other = Disk::new();
    for (from, to) in [(&disk.store, &other.store), (&disk.run, &other.run)] {
        for entry in fs::read_dir(from.path()).expect("there").flatten() {
            fs::copy(entry.path(), to.path().join(entry.file_name())).expect("copied");
        }
    }
    other
}

#[test]
fn files_that_are_no_store_are_set_aside_and_kept() {
    let databases = tempfile::tempdir().expect("a folder");
    let foreign = databases.path().join("foreign.db");
    rusqlite::Connection::open(&foreign)
        .and_then(|sql| sql.execute_batch("CREATE TABLE t(a)"))
        .expect("made");
    let (disk, _) = filled(1, true);
    let whole = fs::read(disk.path().join(FILE)).expect("there");
    let cut = |at: usize| whole[..at].to_vec();
    for (what, content) in [
        ("text", b"once upon a time, there was a file that was no database at all".repeat(100)),
        ("zeros", vec![0; 8192]),
        ("a few bytes", b"SQLite".to_vec()),
        ("another program's", fs::read(&foreign).expect("there")),
        ("cut in the header", cut(50)),
        ("cut after a page", cut(4096)),
    ] {
        let disk = Disk::new();
        fs::write(disk.path().join(FILE), &content).expect("writable");
        assert!(read(disk.path()).is_err() || !disk.read().damaged.is_empty(), "{what}");
        let mut sim = Sim::new(2, &["alice"]);
        let (mut store, restored) = disk.open(&identity(), &sim.state.at);
        assert!(restored.checkpoint.is_none(), "{what}");
        assert!(restored.how.contains("jouleprint.db.corrupt-20250601T000000Z"), "{what}: {}", restored.how);
        let aside = disk.path().join("jouleprint.db.corrupt-20250601T000000Z");
        assert_eq!(fs::read(aside).expect("kept"), content, "{what}");
        sim.tick(5);
        publish(&mut store, &mut sim);
        assert_eq!(charged_of(&disk.read()), sim.charged, "{what}");
    }
}

#[test]
fn a_file_that_its_header_declares_unwritable_is_set_aside() {
    for (at, value) in [(18, 3), (19, 3), (18, 1), (19, 1), (19, 0)] {
        let (disk, sim) = filled(1, true);
        let mut content = fs::read(disk.path().join(FILE)).expect("there");
        content[at] = value;
        fs::write(disk.path().join(FILE), content).expect("writable");
        let (_, restored) = disk.open(&identity(), &sim.state.at);
        assert!(restored.how.contains("its header is damaged"), "{at}: {}", restored.how);
    }
}

#[test]
fn an_empty_file_is_a_first_start_and_names_set_aside_do_not_collide() {
    let disk = Disk::new();
    fs::write(disk.path().join(FILE), "").expect("writable");
    let (_, restored) = disk.open(&identity(), &moment(START));
    assert_eq!(&*restored.how, "first start");
    for suffix in ["", "-2", "-3"] {
        fs::write(disk.path().join(FILE), "garbage").expect("writable");
        let (_, restored) = disk.open(&identity(), &moment(START));
        let name = format!("jouleprint.db.corrupt-20250601T000000Z{suffix}:");
        assert!(restored.how.contains(&name), "{}", restored.how);
    }
}

#[test]
fn a_disk_that_damages_file_after_file_does_not_fill_up_with_them() {
    let disk = Disk::new();
    for n in 0..16 {
        fs::write(disk.path().join(format!("{FILE}.corrupt-{n}")), "garbage").expect("writable");
    }
    fs::write(disk.path().join(FILE), "garbage").expect("writable");
    let error = disk.try_open(&identity(), &moment(START)).expect_err("too many");
    assert!(matches!(error, OpenError::Unusable(_)), "{error}");
    assert!(error.to_string().contains("16 damaged files"), "{error}");
    assert_eq!(fs::read(disk.path().join(FILE)).expect("kept"), b"garbage");
}

/// Damages what a store consists of at random, each time in a copy of its own: mostly a flipped bit, now
/// and then a lost sector or a lost end.
fn break_at_random(seed: u64, is_clean: bool, times: usize) {
    let (disk, sim) = filled(seed, is_clean);
    let mut random = Random(seed);
    let names = if is_clean { vec![FILE] } else { vec![FILE, "jouleprint.db-wal"] };
    let mut continued = 0;
    for _ in 0..times {
        let copy = copy(&disk);
        let path = copy.path().join(names[random.below(names.len())]);
        let mut bytes = fs::read(&path).expect("there");
        if bytes.is_empty() {
            continue;
        }
        // Half of them in the first pages, where there is most to break.
        let reach = if random.one_in(2) { bytes.len() } else { bytes.len().min(8192) };
        let (at, bit) = (random.below(reach), random.below(8));
        let kind = random.below(8);
        match kind {
            0 => bytes.truncate(at),
            1 => bytes.iter_mut().skip(at / 512 * 512).take(512).for_each(|byte| *byte = 0),
            _ => bytes[at] ^= 1 << bit,
        }
        fs::write(&path, bytes).expect("writable");
        let what = format!("{} kind {kind} byte {at} bit {bit} (seed {seed})", path.display());

        if let Ok(history) = read(copy.path())
            && history.damaged.is_empty()
            && history.until == sim.state.at.wall
        {
            assert_eq!(charged_of(&history), sim.charged, "{what}");
            assert_eq!(jobs_of(&history), sim.recorded, "{what}");
        }
        let (mut store, restored) = match copy.try_open(&identity(), &sim.state.at) {
            Ok(opened) => opened,
            Err(OpenError::Newer { .. }) => continue,
            Err(error) => panic!("{what}: {error}"),
        };
        let mut next = sim.clone();
        match restored.checkpoint {
            Some(found) => {
                continued += 1;
                // A damaged floor is left out and learnt anew.
                let mut expected = sim.state.clone();
                for (expected, found) in expected.domains.iter_mut().zip(&found.domains) {
                    if found.floor.is_empty() {
                        expected.floor = Arc::clone(&found.floor);
                    }
                }
                assert_same(&image_of(&found), &image_of(&expected));
                next.state = found;
                next.slot_hour = None;
            }
            None => {
                // Before its first checkpoint a store is all in its log.
                let is_told =
                    restored.how.ends_with("counters start at 0") || &*restored.how == "first start";
                assert!(is_told, "{what}: {}", restored.how);
            }
        }
        // The counting goes on, whatever else is damaged.
        for _ in 0..3 {
            next.tick(600);
            store.commit(&next.state).unwrap_or_else(|error| panic!("{what}: {error}"));
        }
        drop(store);
        let (_, restored) = copy.open(&identity(), &next.state.at);
        if let Some(mut found) = restored.checkpoint {
            for state in [&mut found, &mut next.state] {
                state.domains.iter_mut().for_each(|position| position.floor = Arc::default());
            }
            assert_same(&image_of(&found), &image_of(&next.state));
        }
    }
    assert!(continued > 0, "some flips hit nothing that matters");
}

#[test]
fn damage_never_becomes_a_number() {
    break_at_random(11, false, 100);
    break_at_random(12, true, 100);
}

#[test]
fn a_file_that_breaks_under_our_hands_is_set_aside_and_the_counting_goes_on() {
    let disk = Disk::new();
    let mut sim = Sim::new(5, &["alice", "bob"]);
    let (mut store, _) = disk.open(&identity(), &sim.state.at);
    for _ in 0..10 {
        sim.tick(5);
        publish(&mut store, &mut sim);
    }
    let path = disk.path().join(FILE);
    // Another program has written into the file and the log.
    let sql = rusqlite::Connection::open(&path).expect("a database");
    sql.execute_batch("DROP TABLE live; DROP TABLE head").expect("writable");
    drop(sql);
    sim.tick(5);
    let committed = store.commit(&sim.state).expect("into another file");
    let name = committed.set_aside.expect("the damage was met");
    assert!(name.starts_with("jouleprint.db.corrupt-"), "{name}");
    assert!(disk.path().join(format!("{name}-wal")).exists(), "the log belongs to it");
    sim.tick(5);
    publish(&mut store, &mut sim);
    drop(store);
    let history = disk.read();
    assert_eq!(history.damaged, Vec::<String>::new());
    assert_eq!(charged_of(&history), sim.charged, "the hour is not over");
    assert_eq!(jobs_of(&history), sim.recorded);
    let (_, restored) = disk.open(&identity(), &sim.state.at);
    assert_same(&image_of(&restored.checkpoint.expect("continued")), &image_of(&sim.state));
}

/// Changes a stopped store behind its back.
fn tampered(sql: &str) -> (Disk, Sim) {
    let (disk, sim) = filled(13, true);
    let file = rusqlite::Connection::open(disk.path().join(FILE)).expect("a database");
    file.execute_batch(sql).expect(sql);
    drop(file);
    (disk, sim)
}

#[test]
fn a_live_state_that_was_changed_is_not_continued() {
    for sql in [
        "UPDATE head SET body = replace(body, '\"present\"', '\"present\" ')",
        "DELETE FROM head",
        "DELETE FROM live WHERE id = 6",
        "DELETE FROM domain",
        "DELETE FROM processor",
        "UPDATE live SET body = zeroblob(length(body)) WHERE id = 0",
        "UPDATE meter SET id = id + 1 WHERE id = (SELECT max(id) FROM meter)",
        "INSERT INTO position(id, body) VALUES (99, zeroblob(16))",
        "UPDATE cell SET zone = 'elsewhere' WHERE id = 1",
        "DELETE FROM cell WHERE id = (SELECT max(id) FROM cell)",
        "DROP TABLE floor",
        "ALTER TABLE live RENAME COLUMN body TO text",
    ] {
        let (disk, sim) = tampered(sql);
        let (_, restored) = disk.open(&identity(), &sim.state.at);
        assert!(restored.checkpoint.is_none(), "{sql}");
        assert!(restored.how.contains("set aside"), "{sql}: {}", restored.how);
    }
}

#[test]
fn a_past_that_was_changed_is_told() {
    for sql in [
        "DELETE FROM head",
        "DELETE FROM cell WHERE id = (SELECT max(id) FROM cell)",
        "DELETE FROM sum WHERE span = (SELECT max(span) FROM sum)",
        "UPDATE sum SET name = name || 'x' WHERE span = (SELECT max(span) FROM sum)",
        "DELETE FROM span WHERE id = (SELECT max(span) FROM sum)",
        "UPDATE span SET start = start - 1 WHERE id = (SELECT max(span) FROM sum)",
        "DELETE FROM record WHERE number = (SELECT min(number) FROM record)",
        "UPDATE record SET last_seen = last_seen + 1",
        "UPDATE record SET user = coalesce(user, 0) + 1",
        "INSERT INTO bygone VALUES ('node-1', 1, 1, 0, 0, 0, x'', 0)",
        "DELETE FROM live WHERE id = 6",
    ] {
        let (disk, _) = tampered(sql);
        match read(disk.path()) {
            Ok(history) => assert!(!history.damaged.is_empty(), "{sql}"),
            Err(error) => assert!(error.to_string().contains("cannot be used"), "{sql}: {error}"),
        }
    }
}

#[test]
fn a_damaged_floor_is_left_out_and_the_rest_continues() {
    let (disk, sim) = tampered("UPDATE floor SET body = '[[1,1]]' WHERE key = (SELECT min(key) FROM floor)");
    let (_, restored) = disk.open(&identity(), &sim.state.at);
    let checkpoint = restored.checkpoint.expect("continued");
    assert!(checkpoint.domains[0].floor.is_empty());
    let others = sim.state.domains.iter().skip(1).filter(|position| !position.floor.is_empty());
    assert_eq!(restored.floors.len(), others.count());
}
