//! `kill -9` at random moments while jobs come and go and somebody reads: what was shown stays shown, and
//! in the end everything is counted once.
//!
//! `SEED=n` repeats a run, as far as two machines can be alike; `KILLS=n` makes it longer.

use crate::bed::Bed;
use crate::machine::Dice;
use crate::reader::{Reader, base, check_truth, cpu, energy, info};
use crate::rig::{Exporter, Setup, now_milliseconds};
use std::time::{Duration, Instant};

/// Every so many steps of the machine, a job is born and one ends.
const CHURN: u64 = 17;

/// Every so many kills the machine is frozen and the page compared with the truth.
const CHECK_EVERY: u64 = 6;

pub(crate) fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn what_was_shown_survives_every_kill() {
    let (seed, kills) = (number("SEED", now_milliseconds()), number("KILLS", 30));
    println!("kill: SEED={seed} KILLS={kills}");
    let mut dice = Dice::new(seed);
    let bed = Bed::new(seed, 8);
    let (machine, setup) = (&bed.machine, bed.setup());
    let mut exporter = bed.start();
    let (first, truth) = bed.settle(&exporter);
    let base = base(&first, &truth);
    machine.run(Some(CHURN));
    let reader = Reader::start(exporter.address, machine);
    let mut starts = Vec::new();
    for kill in 1..=kills {
        let is_check = kill % CHECK_EVERY == 0;
        if is_check {
            exporter.wait_until_ready();
            let (page, truth) = bed.settle(&exporter);
            check_truth(&page, &truth, &base);
        } else {
            std::thread::sleep(Duration::from_millis(dice.roll(1_000)));
        }
        exporter.kill();
        reader.next_process();
        if is_check {
            // A start looks for meters that move; everything else stands still over this restart.
            machine.pulse();
        }
        exporter = Exporter::spawn(&setup);
        if is_check {
            exporter.wait_until_ready();
            let (page, truth) = bed.settle(&exporter);
            check_truth(&page, &truth, &base);
            machine.run(Some(CHURN));
        } else if kill % 2 == 0 {
            exporter.wait_until_ready();
            starts.push(exporter.age());
        }
    }
    exporter.wait_until_ready();
    let (page, truth) = bed.settle(&exporter);
    check_truth(&page, &truth, &base);
    let report = reader.finish();
    assert_eq!(report.ailing, 0, "the store was well all the time");
    assert!(report.pages > kills * 4, "somebody read: {} pages", report.pages);
    let counted = |id| energy(&page, id) as f64 / 1e6;
    starts.sort_unstable();
    println!(
        "kill: {kills} kills, {} pages, {} jobs ended, {} live; package {:.1} J, dram {:.1} J to the µJ; \
         exec to ready: median {:?}, slowest {:?}; {:?}",
        report.pages,
        truth.dead.len(),
        truth.jobs.len(),
        counted("package-0"),
        counted("package-0-dram"),
        starts[starts.len() / 2],
        starts.last().expect("some"),
        info(&page).0,
    );
    let seen = truth.dead.keys().filter(|id| cpu(&page, id).is_some()).count();
    assert!(
        seen * 2 > truth.dead.len(),
        "most of the {} that ended are on the page: {seen}",
        truth.dead.len()
    );
}

/// Six series each, and two hundred jobs more than it takes.
const MANY_JOBS: usize = 1_900;

#[test]
fn with_ten_thousand_series_the_first_page_after_a_kill_comes_within_a_second_or_three() {
    let bed = Bed::new(1, MANY_JOBS);
    let setup = Setup { arguments: &["--test.tick", "500", "--host.name", "made-up"], ..bed.setup() };
    let exporter = bed.start_as(&setup);
    bed.machine.run(None);
    exporter.next_page();
    let before = exporter.next_page();
    exporter.kill();
    let began = Instant::now();
    let mut exporter = Exporter::spawn(&setup);
    exporter.wait_until_ready();
    let ready = began.elapsed();
    let after = exporter.page();
    let shown = began.elapsed();
    let bytes = before.value("jouleprint_store_size_bytes", &[]).unwrap_or("no").to_owned();
    println!(
        "kill: {} series, store {bytes} bytes: exec to ready {ready:?}, to the first page read {shown:?}; {:?}",
        before.samples.len(),
        info(&after).0
    );
    assert!(before.samples.len() > 10_000, "{} series", before.samples.len());
    assert_eq!(crate::page::check_rising_over_a_restart(&before, &after), Ok(()));
    assert_eq!(crate::reader::start(&before), crate::reader::start(&after), "{:?}", info(&after));
    assert!(ready < Duration::from_secs(3), "{ready:?}");
}
