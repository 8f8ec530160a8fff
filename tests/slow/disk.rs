//! A disk that takes its time and makes mistakes, as strace plays it: no reader notices how slow it is,
//! and no error of any single call makes a counter fall.

use crate::bed::Bed;
use crate::http;
use crate::machine::Dice;
use crate::reader::{Reader, Report, info};
use crate::restart::{Outcome, check};
use crate::rig::{Exporter, Setup, wait_for};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

/// A page is answered from memory: one that waits for this disk takes a second or more, and a busy machine
/// of two cores, a tenth of one.
const LONGEST_ANSWER: Duration = Duration::from_millis(500);

/// Starts the program under strace, which then meddles with its calls on the store's files as told.
fn meddling(bed: &Bed, with: &[String]) -> Vec<String> {
    let mut command: Vec<String> =
        ["strace", "-D", "-f", "-qqq", "--seccomp-bpf", "-o", "/dev/null"].map(str::to_owned).to_vec();
    let file = bed.file().display().to_string();
    for path in
        [file.clone(), format!("{file}-wal"), format!("{file}-shm"), bed.store().display().to_string()]
    {
        command.extend(["-P".to_owned(), path]);
    }
    for what in with {
        let calls = what.split(':').next().expect("a call");
        command.extend([
            "-e".to_owned(),
            format!("trace={calls}"),
            "-e".to_owned(),
            format!("inject={what}"),
        ]);
    }
    command
}

fn ticks(exporter: &Exporter) -> u128 {
    exporter.page().sum("jouleprint_tick_duration_seconds_count", &[]) / 1_000_000_000
}

fn check_answers(name: &str, report: &Report) {
    println!(
        "disk: {name}: {} pages, slowest answer {:?}, stood still for {:?}",
        report.pages, report.slowest, report.stillest
    );
    assert!(report.slowest < LONGEST_ANSWER, "{name}: an answer took {:?}", report.slowest);
}

#[test]
fn slow_writes_hold_back_pages_but_neither_ticks_nor_answers() {
    let bed = Bed::new(21, 12);
    let exporter = bed.start();
    bed.live(&exporter);
    exporter.kill();
    // A commit takes a second or more.
    let under = meddling(&bed, &["pwrite64:delay_enter=40000".to_owned()]);
    let setup = Setup { under: &under, ..bed.setup() };
    let reader = Reader::start(bed.address, &bed.machine);
    // Jobs end all the time: what was shown of one that is gone at the next start must have been kept.
    for life in 0..3 {
        reader.next_process();
        bed.machine.pulse();
        let exporter = Exporter::spawn(&setup);
        // It is not ready: that takes a page no older than three ticks, and here a tick is short.
        wait_for("a page", || {
            (http::request(bed.address, "GET", "/metrics", &[]).ok()?.status == 200).then_some(())
        });
        bed.machine.run(Some(8));
        let (began, before) = (Instant::now(), ticks(&exporter));
        std::thread::sleep(Duration::from_secs(4));
        let (expected, seen) = (began.elapsed().as_millis() / 50, ticks(&exporter) - before);
        println!("disk: life {life}: {seen} of {expected} ticks are on the page");
        assert!(seen * 4 > expected, "ticks go on");
        exporter.kill();
    }
    reader.next_process();
    let exporter = bed.start();
    exporter.next_page();
    let report = reader.finish();
    check_answers("a commit that takes seconds", &report);
    assert!(report.stillest > Duration::from_millis(400), "the disk is slow indeed: {:?}", report.stillest);
    assert_eq!((report.starts, report.ailing), (0, 0), "slow is not out of order, and all shown was kept");
}

#[test]
fn a_disk_that_does_not_answer_is_not_waited_for() {
    let bed = Bed::new(22, 4);
    let exporter = bed.start();
    bed.live(&exporter);
    exporter.kill();
    let under = meddling(&bed, &["pwrite64:delay_enter=4000000:when=20+".to_owned()]);
    let exporter = bed.start_as(&Setup { under: &under, ..bed.setup() });
    bed.machine.run(None);
    let reader = Reader::forgiving(bed.address, &bed.machine);
    let page = wait_for("pages without the disk", || {
        Some(exporter.page()).filter(|page| page.value("jouleprint_store_up", &[]) == Some("0"))
    });
    let still = reader.report().stillest;
    println!("disk: after {still:?} pages go on: {:?}", info(&page));
    assert_eq!(info(&page).1, "no_answer");
    assert!(still < Duration::from_millis(11_500), "{still:?}");
    exporter.next_page();
    let before = bed.settle(&exporter);
    check_answers("a disk that does not answer", &reader.report());
    exporter.kill();
    reader.next_process();
    let exporter = bed.start();
    check("killed while ahead of the disk", Outcome::Anew, &before, &bed.settle(&exporter));
    assert_eq!(reader.finish().starts, 1);
}

#[test]
fn a_stop_waits_for_one_slow_sync_at_the_most_and_loses_nothing_shown() {
    let bed = Bed::new(23, 4);
    let exporter = bed.start();
    bed.live(&exporter);
    exporter.kill();
    // The start waits for two; the stop would wait for five.
    let under = meddling(&bed, &["fsync,fdatasync:delay_enter=5000000".to_owned()]);
    let mut exporter = bed.start_as(&Setup { under: &under, ..bed.setup() });
    println!("disk: start with syncs of 5 s: {:?}", exporter.age());
    bed.machine.run(None);
    let reader = Reader::forgiving(bed.address, &bed.machine);
    std::thread::sleep(Duration::from_secs(3));
    check_answers("syncs of 5 s", &reader.report());
    let told = Instant::now();
    exporter.signal(Signal::TERM);
    let status = exporter.wait();
    let took = told.elapsed();
    println!("disk: stopped after {took:?} with {:?}", status.code());
    // A process in the middle of a call cannot end before the disk answers: one sync, but not the others.
    assert!(took < Duration::from_secs(7), "{took:?}");
    assert_eq!(status.code(), Some(0), "{}", exporter.log());
    drop(exporter);
    reader.next_process();
    let exporter = bed.start();
    let after = exporter.next_page();
    println!("disk: after a stop without its last sync: {:?}", info(&after));
    reader.finish();
}

/// So many errors are played, each at another call.
const ERRORS: u64 = 36;

#[test]
fn no_error_of_a_single_call_makes_a_counter_fall() {
    let seed = crate::kill::number("SEED", crate::rig::now_milliseconds());
    println!("disk: SEED={seed}");
    let mut dice = Dice::new(seed);
    let bed = Bed::new(seed, 4);
    let exporter = bed.start();
    bed.machine.run(Some(60));
    exporter.kill();
    let reader = Reader::forgiving(bed.address, &bed.machine);
    let mut outcomes: BTreeMap<String, u32> = BTreeMap::new();
    for number in 0..ERRORS {
        let (call, most) =
            [("pwrite64", 60), ("fsync", 8), ("ftruncate", 4), ("pwrite64", 12), ("openat", 8)]
                [usize::try_from(number % 5).expect("small")];
        let errno = ["EIO", "ENOSPC", "EINTR"][usize::try_from(dice.roll(3)).expect("small")];
        let first = 1 + dice.roll(most);
        // From then on, or for a few times: a call that is interrupted for ever is tried for ever.
        let when = match (errno, dice.roll(2)) {
            ("EINTR", _) => format!("{first}..{}", first + 2),
            (_, 0) => format!("{first}+"),
            _ => first.to_string(),
        };
        let what = format!("{call}:error={errno}:when={when}");
        let under = meddling(&bed, std::slice::from_ref(&what));
        let mut exporter = bed.start_as(&Setup { under: &under, ..bed.setup() });
        bed.machine.run(Some(60));
        std::thread::sleep(Duration::from_millis(200 + dice.roll(200)));
        let page = exporter.page();
        let is_killed = dice.roll(2) == 0;
        assert!(exporter.ended().is_none(), "{what}: {}", exporter.log());
        let log = exporter.log();
        assert!(!log.contains("panicked"), "{what}: {log}");
        let seen = format!(
            "{errno} {} {}",
            if info(&page).0.starts_with("continued") { "continued" } else { "anew" },
            info(&page).1
        );
        *outcomes.entry(seen).or_default() += 1;
        if is_killed {
            exporter.kill();
        } else {
            exporter.signal(Signal::TERM);
            let code = exporter.wait().code();
            let log = exporter.log();
            assert!(code == Some(0) && !log.contains("panicked"), "{what}: {code:?} {log}");
        }
        reader.next_process();
    }
    let exporter = bed.start();
    let before = bed.live(&exporter);
    assert_eq!(before.0.value("jouleprint_store_up", &[]), Some("1"), "{:?}", info(&before.0));
    exporter.kill();
    reader.next_process();
    let exporter = bed.start();
    check("after all errors", Outcome::Whole, &before, &bed.settle(&exporter));
    let report = reader.finish();
    println!("disk: {ERRORS} errors, {} pages, {} starts at 0: {outcomes:?}", report.pages, report.starts);
}

/// Of a made-up hour of five-second ticks.
const HOUR: u64 = 720;

#[test]
fn the_store_waits_for_the_disk_once_a_minute_at_most() {
    let own = std::env::current_exe().expect("this program has a path");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let trace = folder.path().join("trace");
    let output = Command::new("strace")
        .args(["-f", "-qqq", "--seccomp-bpf", "-e", "trace=fsync,fdatasync,sync_file_range,msync", "-o"])
        .arg(&trace)
        .arg(own)
        .args(["soak::ten_jobs_a_second_for_a_day_grow_nothing", "--exact", "--nocapture"])
        .env("JOULEPRINT_SOAK", "1")
        .env("TICKS", HOUR.to_string())
        .output()
        .expect("strace starts (tests/slow/install.sh installs it)");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && said.contains("soak:"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let syncs = std::fs::read_to_string(&trace).expect("a trace").lines().count();
    println!("disk: {syncs} waits for the disk in an hour of heavy use, its start and stop included");
    assert!((4..=60).contains(&syncs), "{syncs}");
}
