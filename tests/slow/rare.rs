//! What takes minutes of real time; `tests/rare.sh` runs it.

use crate::bed::Bed;
use crate::rig::{Exporter, Setup, free_address};
use std::time::{Duration, Instant};

#[test]
fn a_store_that_is_not_let_go_of_is_not_waited_for_longer_than_a_minute() {
    let bed = Bed::new(41, 2);
    let holder = bed.start();
    let mut second = Exporter::spawn(&Setup { address: Some(free_address()), ..bed.setup() });
    let began = Instant::now();
    let status = loop {
        if let Some(status) = second.ended() {
            break status;
        }
        assert!(began.elapsed() < Duration::from_secs(70), "it still waits: {}", second.log());
        std::thread::sleep(Duration::from_millis(100));
    };
    let (took, log) = (began.elapsed(), second.log());
    println!("rare: gave up after {took:?} with {:?}: {}", status.code(), log.trim_end());
    assert!(took > Duration::from_secs(58), "{took:?}");
    assert_eq!(status.code(), Some(1), "a restart may help: {log}");
    assert!(log.contains(&format!("process {}", holder.pid())), "it names who has it: {log}");
    holder.next_page();
}

#[test]
fn ten_minutes_of_the_real_program_wait_for_the_disk_ten_times_at_most() {
    const MINUTES: u64 = 10;
    let bed = Bed::new(42, 50);
    let trace = bed.home.path().join("trace");
    let under = [
        "strace",
        "-D",
        "-f",
        "-y",
        "-qqq",
        "--seccomp-bpf",
        "-e",
        "trace=fsync,fdatasync,sync_file_range,msync",
        "-o",
    ];
    let mut under: Vec<String> = under.map(str::to_owned).to_vec();
    under.push(trace.display().to_string());
    // Ticks as they are by default.
    let setup = Setup { under: &under, arguments: &["--host.name", "made-up"], ..bed.setup() };
    let exporter = bed.start_as(&setup);
    let count = || std::fs::read_to_string(&trace).expect("a trace").lines().count();
    let at_start = count();
    bed.machine.run(Some(100));
    std::thread::sleep(Duration::from_secs(60 * MINUTES));
    let lines = std::fs::read_to_string(&trace).expect("a trace");
    let syncs = count() - at_start;
    let page = exporter.page();
    println!(
        "rare: {at_start} waits for the disk at the start, {syncs} in {MINUTES} minutes, {} commits, store {:?} bytes\n{lines}",
        page.sum("jouleprint_store_commits_total", &[]) / 1_000_000_000,
        page.value("jouleprint_store_size_bytes", &[]),
    );
    assert!(syncs as u64 <= MINUTES, "{syncs} in {MINUTES} minutes");
    assert!(syncs > 0, "the log is moved now and then");
}
