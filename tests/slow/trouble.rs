//! A disk that is full, read-only, slow, damaged, or somebody else's: the metrics go on, the page says
//! what is wrong, and no counter falls, now or at the next start.

use crate::bed::{Bed, copy_folder, empty_folder};
use crate::page::Page;
use crate::reader::{Reader, base, check_truth, info};
use crate::restart::{Outcome, check};
use crate::rig::{Exporter, Setup, free_address, wait_for};
use rustix::process::Signal;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A page is held back for so long by a disk that does not answer, and then for a tick; the rest is for a
/// busy machine.
const LONGEST_STILL: Duration = Duration::from_millis(11_500);

/// Something mounted; unmounted when dropped, whoever still uses it.
struct Mount(PathBuf);

impl Mount {
    fn tmpfs(place: &Path, options: &str) -> Mount {
        fs::create_dir_all(place).expect("made");
        command("mount", &["-t", "tmpfs", "-o", options, "none", &place.display().to_string()]);
        Mount(place.to_owned())
    }

    fn remount(&self, options: &str) {
        command("mount", &["-o", &format!("remount,{options}"), &self.0.display().to_string()]);
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn command(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status().expect("it can be started");
    assert!(status.success(), "{program} {arguments:?}: {status} (are you root?)");
}

fn up(page: &Page) -> Option<&str> {
    page.value("jouleprint_store_up", &[])
}

/// Waits until the page says so of the store.
fn wait_until_up(exporter: &Exporter, wanted: &str) -> Page {
    wait_for("a store in another state", || Some(exporter.page()).filter(|page| up(page) == Some(wanted)))
}

fn errors(log: &str) -> Vec<&str> {
    log.lines().filter(|line| line.contains(" ERROR ")).collect()
}

#[test]
fn on_a_full_disk_pages_go_on_and_with_space_again_so_do_the_counters() {
    let bed = Bed::new(11, 4);
    let _mount = Mount::tmpfs(&bed.store(), "size=1m");
    let exporter = bed.start();
    let (first, truth) = bed.settle(&exporter);
    let base = base(&first, &truth);
    let reader = Reader::forgiving(bed.address, &bed.machine);
    let filler = bed.store().join("filler");
    let fill = || {
        let _ = fs::write(&filler, vec![1; 2 << 20]);
        wait_until_up(&exporter, "0")
    };
    bed.machine.run(Some(40));
    let full = fill();
    println!("trouble: full after {:?}; pages stood still for {:?}", info(&full), reader.report().stillest);
    assert_eq!(info(&full).1, "disk_full");
    let moment = crate::rig::timestamp_milliseconds(&full);
    assert!(exporter.page_after(moment + 500).sum("jouleprint_store_errors_total", &[]) > 0, "pages go on");
    fs::remove_file(&filler).expect("removed");
    wait_until_up(&exporter, "1");
    let report = reader.report();
    assert!(report.stillest < LONGEST_STILL, "no new page for {:?}", report.stillest);
    let before = bed.settle(&exporter);
    check_truth(&before.0, &before.1, &base);
    assert_eq!(errors(&exporter.log()).len(), 1, "one line: {}", exporter.log());
    exporter.kill();
    reader.next_process();
    let exporter = bed.start();
    check("killed after a full disk was freed", Outcome::Whole, &before, &bed.settle(&exporter));
    assert_eq!(reader.finish().starts, 0);
}

#[test]
fn what_was_shown_while_the_disk_was_full_is_not_continued() {
    let bed = Bed::new(12, 4);
    let _mount = Mount::tmpfs(&bed.store(), "size=1m");
    let exporter = bed.start();
    let reader = Reader::forgiving(bed.address, &bed.machine);
    bed.machine.run(None);
    let filler = bed.store().join("filler");
    let _ = fs::write(&filler, vec![1; 2 << 20]);
    wait_until_up(&exporter, "0");
    let before = bed.settle(&exporter);
    exporter.kill();
    reader.next_process();
    // Still full: without a store, and not from what is in it.
    let exporter = bed.start();
    let still = bed.live(&exporter);
    println!("trouble: started on a full disk: {:?}", info(&still.0));
    assert_ne!(crate::reader::start(&before.0), crate::reader::start(&still.0));
    exporter.kill();
    reader.next_process();
    fs::remove_file(&filler).expect("removed");
    let exporter = bed.start();
    let after = bed.settle(&exporter);
    println!("trouble: started with space again: {:?}", info(&after.0));
    assert_ne!(crate::reader::start(&before.0), crate::reader::start(&after.0), "{:?}", info(&after.0));
    assert_eq!(up(&after.0), Some("1"));
    let report = reader.finish();
    assert!(report.starts > 0 && report.stillest < LONGEST_STILL, "{report:?}");
}

#[test]
fn a_file_system_that_turns_read_only_stops_no_page() {
    let bed = Bed::new(13, 4);
    let image = bed.home.path().join("image");
    fs::File::create(&image).and_then(|file| file.set_len(16 << 20)).expect("made");
    let place = bed.store().display().to_string();
    fs::create_dir_all(bed.store()).expect("made");
    command("mkfs.ext4", &["-q", &image.display().to_string()]);
    command("mount", &["-o", "loop,errors=remount-ro", &image.display().to_string(), &place]);
    let mount = Mount(bed.store());
    let exporter = bed.start();
    let reader = Reader::forgiving(bed.address, &bed.machine);
    bed.machine.run(None);
    exporter.next_page();
    // What ext4 does when the disk fails.
    mount.remount("abort");
    let page = wait_until_up(&exporter, "0");
    println!(
        "trouble: read-only in the middle: {:?}; pages stood still for {:?}",
        info(&page),
        reader.report().stillest
    );
    assert!(["read_only", "io"].contains(&info(&page).1.as_str()), "{:?}", info(&page));
    exporter.next_page();
    assert_eq!(errors(&exporter.log()).len(), 1, "one line: {}", exporter.log());
    exporter.kill();
    reader.next_process();
    let exporter = bed.start();
    let page = bed.live(&exporter).0;
    assert_eq!((up(&page), info(&page).1.as_str()), (Some("0"), "read_only"));
    let report = reader.finish();
    assert!(report.stillest < LONGEST_STILL && report.starts == 1, "{report:?}");
}

/// The metrics go on without a store: one line says why, the page too, and a store found later is not
/// continued from before.
fn check_without_store(name: &str, bed: &Bed, setup: &Setup<'_>, reason: &str, mend: impl FnOnce()) {
    let exporter = bed.start();
    let before = bed.live(&exporter);
    exporter.kill();
    let exporter = bed.start_as(setup);
    let page = bed.live(&exporter).0;
    assert_eq!((up(&page), info(&page).1.as_str()), (Some("0"), reason), "{name}: {}", exporter.log());
    let log = exporter.log();
    let lines = errors(&log);
    println!("trouble: {name}: {}", lines.join("\n"));
    assert_eq!(lines.len(), 1, "{log}");
    let folder = bed.store().display().to_string();
    assert!(lines[0].contains(&folder) && lines[0].contains("start at 0"), "{}", lines[0]);
    exporter.kill();
    mend();
    let exporter = bed.start();
    let after = bed.settle(&exporter);
    assert_eq!(up(&after.0), Some("1"), "{:?}", info(&after.0));
    check(&format!("{name}, mended"), Outcome::Anew, &before, &after);
}

#[test]
fn a_store_on_a_read_only_mount_is_done_without() {
    let bed = Bed::new(14, 3);
    let mount = Mount::tmpfs(&bed.store(), "size=8m");
    let setup = bed.setup();
    let place = bed.store().display().to_string();
    // Mounted over itself read-only for the exporter alone.
    let script = "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\" && exec \"$@\"";
    let under = ["unshare", "-m", "--propagation", "private", "sh", "-c", script, &place].map(str::to_owned);
    check_without_store("read-only", &bed, &Setup { under: &under, ..setup }, "read_only", || ());
    drop(mount);
}

#[test]
fn a_store_that_is_another_users_is_done_without() {
    let bed = Bed::new(15, 3);
    let capabilities = "-dac_override,-dac_read_search,-fowner";
    let under = ["setpriv", "--bounding-set", capabilities, "--inh-caps", capabilities].map(str::to_owned);
    let folder = bed.store();
    let give_to = |user: Option<u32>| {
        let files = bed.names().into_iter().map(|name| folder.join(name));
        for path in files.chain([folder.clone()]) {
            std::os::unix::fs::chown(path, user, user).expect("root may");
        }
    };
    fs::create_dir_all(&folder).expect("made");
    // What is written first is root's, and what then stands there is another's.
    let exporter = bed.start();
    bed.live(&exporter);
    exporter.kill();
    give_to(Some(65_534));
    check_without_store(
        "another user's",
        &bed,
        &Setup { under: &under, ..bed.setup() },
        "permission_denied",
        || give_to(Some(0)),
    );
}

#[test]
fn a_second_process_waits_for_the_first_and_takes_over() {
    for signal in [Signal::TERM, Signal::KILL] {
        let bed = Bed::new(16, 3);
        let first = bed.start();
        let before = bed.live(&first);
        let mut second = Exporter::spawn(&Setup { address: Some(free_address()), ..bed.setup() });
        let holder = format!("process {}", first.pid());
        wait_for("the second to wait", || second.log().contains("waiting for it").then_some(()));
        assert!(second.log().contains(&holder), "it names {holder}: {}", second.log());
        std::thread::sleep(Duration::from_secs(2));
        assert!(second.ended().is_none(), "{}", second.log());
        bed.machine.pulse();
        first.signal(signal);
        second.wait_until_ready();
        check(&format!("waited for one that got {signal:?}"), Outcome::Whole, &before, &bed.settle(&second));
    }
}

#[test]
fn a_store_that_a_newer_version_wrote_is_refused_and_left_alone() {
    let bed = Bed::new(17, 3);
    let exporter = bed.start();
    bed.live(&exporter);
    exporter.stop();
    let mut bytes = fs::read(bed.file()).expect("there");
    // `user_version` in the header of an SQLite file.
    let known = std::mem::replace(&mut bytes[63], 99);
    fs::write(bed.file(), &bytes).expect("written");
    let mut exporter = Exporter::spawn(&bed.setup());
    let status = exporter.wait();
    let log = exporter.log();
    println!("trouble: a newer version: {}", log.trim_end());
    assert_eq!(status.code(), Some(2), "{log}");
    assert!(log.contains("version 99") && log.contains(&format!("knows {known}")), "{log}");
    assert_eq!(fs::read(bed.file()).expect("there"), bytes, "it was not written to");
}

/// What is done to a file's bytes.
type Damage = Box<dyn Fn(&mut Vec<u8>)>;

/// `counter` is a number that the store must have somewhere.
fn damages(counter: u64) -> Vec<(String, Damage)> {
    let mut all = Vec::new();
    let mut add = |name: String, damage: Damage| all.push((name, damage));
    add("header overwritten".to_owned(), Box::new(|bytes| bytes[..100].fill(0x5a)));
    add("a bit of the header".to_owned(), Box::new(|bytes| bytes[18] ^= 1));
    add("first page zeroed".to_owned(), Box::new(|bytes| bytes[..4096].fill(0)));
    add("not a database".to_owned(), Box::new(|bytes| *bytes = b"hello".to_vec()));
    add("empty".to_owned(), Box::new(Vec::clear));
    // Which nobody but the store itself can notice.
    let flip_counter = move |bytes: &mut Vec<u8>| {
        let places = (0..bytes.len()).filter(|&at| bytes[at..].starts_with(&counter.to_le_bytes()));
        let places: Vec<usize> = places.collect();
        assert!(!places.is_empty(), "{counter} µJ stand nowhere");
        places.into_iter().for_each(|at| bytes[at] ^= 4);
    };
    add("a bit of a counter".to_owned(), Box::new(flip_counter));
    for part in [1, 2, 3] {
        add(format!("cut at {part}/4"), Box::new(move |bytes| bytes.truncate(bytes.len() * part / 4)));
    }
    add("cut in a page".to_owned(), Box::new(|bytes| bytes.truncate(bytes.len() - 100)));
    let mut dice = crate::machine::Dice::new(1);
    for _ in 0..24 {
        let (place, length) = (dice.roll(1 << 30), dice.roll(40));
        add(
            format!("{} bytes at {place}/2^30", length + 1),
            Box::new(move |bytes| {
                // Most of a small store is empty; what is hit is where something stands.
                let at = usize::try_from((place * bytes.len() as u64) >> 30).expect("inside");
                let at = (at..bytes.len()).find(|&at| bytes[at] != 0).unwrap_or(at);
                bytes[at..]
                    .iter_mut()
                    .take(usize::try_from(length).expect("small") + 1)
                    .for_each(|byte| *byte ^= 0x55);
            }),
        );
    }
    all
}

#[test]
fn a_damaged_file_is_set_aside_or_is_still_right() {
    let bed = Bed::new(18, 5);
    let exporter = bed.start();
    let before = bed.live(&exporter);
    exporter.stop();
    let copies = ["store", "run"].map(|name| bed.home.path().join(format!("{name}-copy")));
    copy_folder(&bed.store(), &copies[0]);
    copy_folder(&bed.runtime(), &copies[1]);
    let (mut set_aside, mut continued) = (0, 0);
    let of_job = before.0.all("jouleprint_job_energy_joules_total", &[("hw_type", "cpu")])[0].nano() / 1_000;
    for (name, damage) in damages(u64::try_from(of_job).expect("a small machine")) {
        for (copy, place) in copies.iter().zip([bed.store(), bed.runtime()]) {
            empty_folder(&place);
            copy_folder(copy, &place);
        }
        let mut bytes = fs::read(bed.file()).expect("there");
        damage(&mut bytes);
        fs::write(bed.file(), bytes).expect("written");
        let exporter = bed.start();
        let after = bed.settle(&exporter);
        let aside: Vec<String> = bed.names().into_iter().filter(|name| name.contains(".corrupt-2")).collect();
        let log = exporter.log();
        if info(&after.0).0.starts_with("continued") {
            check(&name, Outcome::Whole, &before, &after);
            continued += 1;
        } else {
            check(&name, Outcome::Anew, &before, &after);
            let is_named = aside.iter().any(|file| log.contains(file.as_str()));
            assert!(name == "empty" || is_named, "{name}: {aside:?}\n{log}");
            let said = log.lines().filter(|line| line.contains(".corrupt-")).count();
            assert!(name == "empty" || said == 1, "{name}: {log}");
            set_aside += 1;
        }
        assert_eq!(up(&after.0), Some("1"), "{name}: {log}");
        exporter.kill();
        let exporter = bed.start();
        check(&format!("{name}, and killed"), Outcome::Whole, &after, &bed.settle(&exporter));
    }
    println!("trouble: {set_aside} damaged files set aside, {continued} still right");
    assert!(set_aside > 10 && continued < 24, "damage was done");
}
