//! A device that only a new start of the library shows: it comes back, rarely tried, and the others miss
//! nothing.

use super::{Bench, Ledger, millijoules, read};
use jouleprint::model::reading::{Fault, Value};
use nvml_stand_in::scenario::Device;
use std::path::Path;
use std::time::{Duration, Instant};

type Outcome = Result<Value, Fault>;

/// Nothing here takes longer, on however busy a machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often the library was started since this was last asked. Nobody may have been at a call then, or have
/// kept a handle.
fn starts(bench: &Bench) -> usize {
    let calls = bench.board.calls();
    let count = |name: &str| calls.iter().filter(|(function, _)| function == name).count();
    assert_eq!((count("nvmlShutdown-under-a-call"), count("a-handle-of-before")), (0, 0), "{calls:?}");
    count("nvmlInit_v2")
}

/// A card on the bus, with NVIDIA's driver.
fn plug(sysfs: &Path, address: &str) {
    let card = sysfs.join("bus/pci/devices").join(address);
    std::fs::create_dir_all(&card).expect("made");
    std::fs::write(card.join("vendor"), "0x10de\n").expect("written");
    std::fs::write(card.join("class"), "0x030200\n").expect("written");
    std::os::unix::fs::symlink("../../drivers/nvidia", card.join("driver")).expect("linked");
}

#[test]
fn one_that_was_reset_comes_back_and_no_other_misses_a_reading() {
    let mut bench = Bench::new(vec![
        Device::numbered(0),
        Device { energy_mj: 500_000, ..Device::numbered(1) },
        Device { has_energy: false, power_mw: 200_000, ..Device::numbered(2) },
    ]);
    let mut ledger = Ledger::new(bench.source().0);
    let mut back = None;
    for seconds in (0..600).step_by(5) {
        bench.board.change(|scenario| {
            scenario.devices[0].energy_mj = seconds * 300_000;
            match seconds {
                100 => (scenario.devices[1].resets, scenario.devices[1].energy_mj) = (1, 0),
                101.. => scenario.devices[1].energy_mj = (seconds - 100) * 100_000,
                _ => {}
            }
        });
        let meters = ledger.tick(seconds);
        assert_eq!(meters[0], millijoules(seconds * 300_000), "at {seconds} s");
        assert!(
            matches!(meters[2], Ok(Value::Counter(_) | Value::MeanPower(_))),
            "at {seconds} s: {meters:?}"
        );
        if seconds > 100 && back.is_none() {
            match meters[1] {
                Ok(_) => back = Some(seconds),
                Err(fault) => assert_eq!(fault, Fault::Lost, "at {seconds} s"),
            }
        }
    }
    assert!(back.is_some_and(|back| (160..=170).contains(&back)), "a minute later: {back:?}");
    // 595 s of 300 W and of 200 W, and of what was reset all since its first reading after that.
    let used = ledger.used();
    assert_eq!((used[0], used[2]), (178_500_000_000, 119_000_000_000));
    assert!((42_000_000_000..50_000_000_000).contains(&used[1]), "{used:?}");
    assert_eq!(starts(&bench), 2, "once at the start, once for it");
}

#[test]
fn one_that_is_plugged_in_is_found_and_a_stranger_is_let_be() {
    let mut bench = Bench::of(1);
    plug(bench.board.folder(), "0000:10:00.0");
    // It is another container's.
    plug(bench.board.folder(), "0000:99:00.0");
    let (mut source, _) = bench.source();
    for seconds in (0..7_200).step_by(20) {
        assert_eq!(read(&mut source, seconds), [millijoules(0)]);
    }
    assert_eq!(starts(&bench), 1, "nobody is missed");
    plug(bench.board.folder(), "0000:17:00.0");
    bench.board.change(|scenario| {
        scenario.devices[0].energy_mj = 10;
        scenario.devices.insert(0, Device { resets: 1, energy_mj: 70, ..Device::numbered(7) });
    });
    let later = (7_200..).step_by(5).find(|seconds| {
        let values = read(&mut source, *seconds);
        assert_eq!(values[0], millijoules(10), "at {seconds} s");
        values.len() == 2
    });
    assert!(later.is_some_and(|seconds| seconds <= 7_330), "two minutes later: {later:?}");
    assert_eq!(read(&mut source, 7_400), [millijoules(10), millijoules(70)]);
    for seconds in (7_400..15_000).step_by(20) {
        read(&mut source, seconds);
    }
    assert_eq!(starts(&bench), 1, "and that was that");
}

#[test]
fn one_that_stays_away_is_tried_ever_more_rarely() {
    let mut bench = Bench::of(2);
    let (mut source, _) = bench.source();
    read(&mut source, 0);
    assert_eq!(starts(&bench), 1);
    bench.board.change(|scenario| scenario.devices[1].error = 15);
    let mut attempts = Vec::new();
    for seconds in (20..12_000).step_by(20) {
        assert_eq!(read(&mut source, seconds), [millijoules(0), Err(Fault::Lost)], "at {seconds} s");
        if seconds % 100 == 0 {
            attempts.extend(std::iter::repeat_n(seconds, starts(&bench)));
        }
    }
    assert_eq!(attempts, [100, 300, 500, 1_000, 1_900, 3_900, 7_500, 11_100], "to the next 100 s");
    // It is mended for a moment and breaks again: the pause goes on from where it was.
    bench.board.change(|scenario| scenario.devices[1].error = 0);
    assert!((12_000..12_400).step_by(20).any(|seconds| read(&mut source, seconds)[1] == millijoules(0)));
    bench.board.change(|scenario| scenario.devices[1].error = 15);
    for seconds in (12_400..14_600).step_by(20) {
        read(&mut source, seconds);
    }
    assert_eq!(starts(&bench), 0);
}

/// `what a device answers that could never be looked at, and whether a new start is tried for it`
#[test]
fn nothing_is_tried_that_cannot_help() {
    for (error, is_tried) in [(4, false), (3, false), (15, true), (999, true)] {
        let mut bench = Bench::of(2);
        bench.board.change(|scenario| scenario.devices[1].error = error);
        let (mut source, _) = bench.source();
        for seconds in (0..1_000).step_by(20) {
            assert_eq!(read(&mut source, seconds), [millijoules(0)]);
        }
        assert_eq!(starts(&bench) > 1, is_tried, "error {error}");
    }
}

#[test]
fn one_that_hangs_delays_it_and_nothing_else() {
    let mut bench = Bench::of(3);
    let (mut source, _) = bench.impatient();
    let until = |source: &mut _, from: u64, expected: [Result<u64, Fault>; 3]| {
        let expected = expected.map(|value| value.and_then(millijoules));
        let (began, mut seconds) = (Instant::now(), from);
        while read(source, seconds) != expected {
            assert!(began.elapsed() < PATIENCE, "at {seconds} s: {expected:?}");
            std::thread::sleep(Duration::from_millis(5));
            seconds += 5;
        }
        seconds
    };
    let mut seconds = until(&mut source, 0, [Ok(0); 3]);
    assert_eq!(starts(&bench), 1);
    bench.board.change(|scenario| {
        scenario.devices[1].blocks = true;
        scenario.devices[2].resets = 1;
    });
    // Long enough for several attempts.
    for energy in 1..30 {
        bench.board.change(|scenario| scenario.devices[0].energy_mj = energy);
        let expected = [Ok(energy), Err(Fault::Timeout), Err(Fault::Lost)];
        seconds = until(&mut source, seconds + 20, expected);
    }
    assert_eq!(starts(&bench), 0, "under a call the library is not shut down");
    bench.board.change(|scenario| scenario.devices[1].blocks = false);
    until(&mut source, seconds + 20, [Ok(29), Ok(0), Ok(0)]);
    // The made-up clock runs ahead while the threads wait for each other.
    assert!((1..=3).contains(&starts(&bench)));
}

/// Power is read by the clock of each thread, whenever that may be.
#[test]
fn who_reads_between_two_ticks_lets_go_too() {
    let power = |number| Device { has_energy: false, ..Device::numbered(number) };
    let mut bench = Bench::new(vec![power(0), power(1), power(2)]);
    let (mut source, _) = bench.impatient();
    let began = Instant::now();
    let mut seconds = 0;
    let mut until = |source: &mut _, is_done: fn(&[Outcome]) -> bool| loop {
        seconds += 5;
        let values = read(source, seconds);
        if is_done(&values) {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "at {seconds} s: {values:?}");
        // So long that each reads of his own accord too.
        std::thread::sleep(Duration::from_millis(70));
    };
    until(&mut source, |values| values.iter().all(Result::is_ok));
    bench.board.change(|scenario| scenario.devices[1].resets = 1);
    until(&mut source, |values| values[1] == Err(Fault::Lost));
    until(&mut source, |values| values.iter().all(Result::is_ok));
    assert_eq!(starts(&bench), 2);
}
