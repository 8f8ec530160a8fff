//! What goes wrong with a device stays with it; what goes wrong with the library is said and tried again.

use super::{Bench, Ledger, millijoules, read};
use jouleprint::model::gpu::Sight;
use jouleprint::model::quantity::MicroWatts;
use jouleprint::model::reading::{Fault, Finding, Value};
use jouleprint::source::PowerSource;
use jouleprint::source::cut::Scope;
use jouleprint::source::nvml::{Nvml, Wish, discover};
use nvml_stand_in::board::lay_library;
use nvml_stand_in::scenario::{Device, Process};
use std::time::{Duration, Instant};

/// Nothing here takes longer, on however busy a machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Reads again and again, 5 s apart by the made-up clock, until this is what comes.
fn read_until(source: &mut Nvml, from: u64, expected: &[Result<Value, Fault>]) -> u64 {
    let (began, mut seconds) = (Instant::now(), from);
    loop {
        let values = read(source, seconds);
        if values == expected {
            return seconds;
        }
        assert!(began.elapsed() < PATIENCE, "at {seconds} s: {values:?}, not {expected:?}");
        std::thread::sleep(APART);
        seconds += 5;
    }
}

fn energies(bench: &mut Bench, all: &[u64]) {
    bench.board.change(|scenario| {
        for (device, energy) in scenario.devices.iter_mut().zip(all) {
            device.energy_mj = *energy;
        }
    });
}

/// Ticks are apart: who was late for one would never catch up with a loop that does not wait at all.
const APART: Duration = Duration::from_millis(5);

/// For so long lists are waited for where a device hangs, and a little more.
const LISTS_TAKE: Duration = Duration::from_millis(1_500);

#[test]
fn a_device_that_hangs_is_left_alone_until_it_returns() {
    let mut bench = Bench::of(3);
    let (mut source, _) = bench.impatient();
    energies(&mut bench, &[100, 100, 100]);
    let seconds = read_until(&mut source, 0, &[millijoules(100); 3]);
    // Nobody may be at its lists when it begins to hang: who is waits with it.
    bench
        .board
        .change(|scenario| scenario.devices[2].processes = vec![Process { pid: 7, ..Process::default() }]);
    let seconds = read_until_listed(&mut source, seconds + 5, &[Ok(0), Ok(0), Ok(1)]);
    bench.board.change(|scenario| scenario.devices[1].blocks = true);
    energies(&mut bench, &[200, 200, 200]);
    let hanging = [millijoules(200), Err(Fault::Timeout), millijoules(200)];
    let seconds = read_until(&mut source, seconds + 5, &hanging);
    // It is not asked again while it hangs, however often the others are, and theirs are the lists.
    let _ = bench.board.calls();
    let others = [7, 8].map(|pid| Process { pid, ..Process::default() });
    bench.board.change(|scenario| scenario.devices[2].processes = others.to_vec());
    for seconds in (seconds + 5..).step_by(5).take(20) {
        assert_eq!(read(&mut source, seconds)[1], Err(Fault::Timeout));
    }
    let calls = bench.board.calls();
    let hung = "GPU-00000001-0000-4000-8000-000000000000";
    assert!(calls.iter().all(|(_, device)| device != hung), "{calls:?}");
    let seconds = read_until_listed(&mut source, seconds + 105, &[Ok(0), Err(Fault::Timeout), Ok(2)]);
    energies(&mut bench, &[300, 340, 300]);
    bench.board.change(|scenario| scenario.devices[1].blocks = false);
    read_until(&mut source, seconds + 5, &[millijoules(300), millijoules(340), millijoules(300)]);
}

/// Reads until each device has so many processes. The clerk waits a second for one that hangs: made-up time does
/// not run ahead of him. When the lists are there he is done with them.
fn read_until_listed(source: &mut Nvml, mut seconds: u64, expected: &[Result<usize, Fault>]) -> u64 {
    let began = Instant::now();
    loop {
        let next = Instant::now() + LISTS_TAKE;
        while Instant::now() < next {
            read(source, seconds);
            if lists(source) == expected {
                return seconds;
            }
            std::thread::sleep(APART);
        }
        assert!(began.elapsed() < PATIENCE, "{:?} at {seconds} s", lists(source));
        seconds += 5;
    }
}

/// How many processes each device has.
fn lists(source: &Nvml) -> Vec<Result<usize, Fault>> {
    let count = |sight: &Sight| sight.processes.as_ref().map(Vec::len).map_err(|fault| *fault);
    source.gpus().iter().map(count).collect()
}

/// How often the library was opened since the last look at the calls.
fn openings(bench: &Bench) -> usize {
    bench.board.calls().iter().filter(|(function, _)| function.starts_with("nvmlInit")).count()
}

#[test]
fn a_device_that_hangs_and_one_that_is_lost_take_no_other_along() {
    let mut bench = Bench::of(4);
    let (mut source, _) = bench.impatient();
    let seconds = read_until(&mut source, 0, &[millijoules(0); 4]);
    bench.board.change(|scenario| {
        scenario.devices[1].blocks = true;
        scenario.devices[2].error = 15;
    });
    energies(&mut bench, &[10; 4]);
    let expected = [millijoules(10), Err(Fault::Timeout), Err(Fault::Lost), millijoules(10)];
    let mut seconds = read_until(&mut source, seconds + 5, &expected);
    assert!(openings(&bench) > 0, "at the start");
    for energy in 11..30 {
        energies(&mut bench, &[energy; 4]);
        let expected = [millijoules(energy), Err(Fault::Timeout), Err(Fault::Lost), millijoules(energy)];
        seconds = read_until(&mut source, seconds + 5, &expected);
    }
    assert_eq!(openings(&bench), 0, "others answer");
    bench.board.change(|scenario| {
        scenario.devices[1].blocks = false;
        scenario.devices[2].error = 0;
    });
    read_until(&mut source, seconds + 5, &[millijoules(29); 4]);
}

#[test]
fn a_device_that_hangs_at_the_start_keeps_no_other_from_being_found() {
    let mut bench = Bench::of(3);
    bench.board.change(|scenario| scenario.devices[1].blocks = true);
    energies(&mut bench, &[10, 20, 30]);
    let (mut source, findings) = bench.impatient();
    assert!(findings.iter().any(|finding| finding.fault == Some(Fault::Timeout)), "{findings:?}");
    let seconds = read_until(&mut source, 0, &[millijoules(10), millijoules(30)]);
    let condition = source.condition().expect("it is said");
    assert!(condition.detail.contains("for GPU 1 "), "{condition:?}");
    bench.board.change(|scenario| scenario.devices[1].blocks = false);
    let seconds = read_until(&mut source, seconds + 5, &[millijoules(10), millijoules(30), millijoules(20)]);
    read(&mut source, seconds + 5);
    let indices: Vec<_> = source.gpus().iter().map(|sight| sight.index).collect();
    assert_eq!((indices, source.condition()), (vec![Some(0), Some(2), Some(1)], None));
}

/// It takes longer for each answer than the sampler waits.
#[test]
fn a_device_that_is_always_late_is_counted_one_tick_behind() {
    const TICK: Duration = Duration::from_millis(500);
    let mut bench = Bench::of(3);
    bench.board.change(|scenario| {
        scenario.devices[1].delay_ms = 150;
        scenario.devices[1].processes = vec![Process { pid: 7, ..Process::default() }];
        (scenario.devices[2].delay_ms, scenario.devices[2].has_energy) = (150, false);
        scenario.devices[2].power_mw = 90_000;
    });
    let (mut source, _) = bench.impatient();
    let watts = Ok(Value::MeanPower(MicroWatts::from_watts(90)));
    let (began, mut next) = (Instant::now(), Instant::now());
    let mut seconds = 0;
    // Each tick has its time, as in earnest; one that comes back to back would find nobody at home.
    let mut until = |bench: &mut Bench, energy: u64, is_done: &dyn Fn(&Nvml) -> bool| {
        energies(bench, &[energy; 3]);
        loop {
            next = next.max(Instant::now()) + TICK;
            seconds += 5;
            let values = read(&mut source, seconds);
            if values == [millijoules(energy), millijoules(energy), watts] && is_done(&source) {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "{energy} at {seconds} s: {values:?}");
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
    };
    until(&mut bench, 10, &|_| true);
    until(&mut bench, 20, &|_| true);
    until(&mut bench, 30, &|source| lists(source) == [Ok(0), Ok(1), Ok(0)]);
}

#[test]
fn a_lock_around_everything_is_borne() {
    let mut bench = Bench::of(2);
    let (mut source, _) = bench.impatient();
    let seconds = read_until(&mut source, 0, &[millijoules(0); 2]);
    bench.board.change(|scenario| scenario.blocks = true);
    let seconds = read_until(&mut source, seconds + 5, &[Err(Fault::Timeout); 2]);
    // The foreman goes his round once a minute and hangs as well, which is said.
    let (began, mut seconds) = (Instant::now(), seconds);
    let condition = loop {
        seconds += 5;
        assert_eq!(read(&mut source, seconds), [Err(Fault::Timeout); 2]);
        if let Some(condition) = source.condition() {
            break condition;
        }
        assert!(began.elapsed() < PATIENCE, "nothing is said at {seconds} s");
    };
    assert_eq!((condition.fault, &*condition.hw_id), (Some(Fault::Timeout), ""));
    assert!(condition.detail.contains("does not answer"), "{condition:?}");
    energies(&mut bench, &[900, 700]);
    bench.board.change(|scenario| scenario.blocks = false);
    let seconds = read_until(&mut source, seconds + 5, &[millijoules(900), millijoules(700)]);
    let began = Instant::now();
    while source.condition().is_some() && began.elapsed() < PATIENCE {
        read(&mut source, seconds);
    }
    assert_eq!(source.condition(), None);
}

#[test]
fn what_a_device_used_while_it_hung_is_counted_afterwards() {
    let mut bench = Bench::of(1);
    let mut ledger = Ledger::new(bench.impatient().0);
    let mut tick = |bench: &mut Bench, seconds: u64, energy: u64, expected: Result<Value, Fault>| {
        energies(bench, &[energy]);
        let began = Instant::now();
        // A machine that is too busy to answer in time is asked again.
        let mut seconds = seconds;
        while ledger.tick(seconds) != [expected] {
            assert!(began.elapsed() < PATIENCE, "at {seconds} s");
            seconds += 1;
        }
        ledger.used()
    };
    tick(&mut bench, 0, 1_000, millijoules(1_000));
    bench.board.change(|scenario| scenario.devices[0].blocks = true);
    assert_eq!(tick(&mut bench, 1_000, 2_000_000, Err(Fault::Timeout)), [0]);
    bench.board.change(|scenario| scenario.devices[0].blocks = false);
    let used = tick(&mut bench, 2_000, 18_001_000, millijoules(18_001_000));
    assert_eq!(used, [18_000_000_000], "300 W for the minute that it hung");
}

#[test]
fn a_lost_device_harms_no_other_and_comes_back() {
    let mut bench = Bench::of(3);
    let (mut source, _) = bench.source();
    energies(&mut bench, &[10, 20, 30]);
    assert_eq!(read(&mut source, 0), [millijoules(10), millijoules(20), millijoules(30)]);
    bench.board.change(|scenario| scenario.devices[1].error = 15);
    for seconds in (5..600).step_by(5) {
        energies(&mut bench, &[seconds, 20, seconds]);
        let expected = [millijoules(seconds), Err(Fault::Lost), millijoules(seconds)];
        assert_eq!(read(&mut source, seconds), expected, "at {seconds} s");
    }
    // It was reset, and its counter with it.
    bench.board.change(|scenario| {
        scenario.devices[1].error = 0;
        scenario.devices[1].energy_mj = 3;
    });
    let back = (600..).step_by(5).find(|seconds| read(&mut source, *seconds)[1] == millijoules(3));
    assert!(back.is_some_and(|seconds| seconds <= 900), "five minutes are the longest pause: {back:?}");
    assert_eq!(source.domains().len(), 3);
}

/// A device that is gone from the list is the one that is missing, whatever the others' numbers are now.
#[test]
fn a_device_that_is_taken_away_is_missed_and_the_others_are_not() {
    let mut bench = Bench::of(3);
    energies(&mut bench, &[10, 20, 30]);
    let (mut source, _) = bench.source();
    bench.board.change(|scenario| {
        scenario.devices.remove(0);
        scenario.loads += 1;
    });
    let seconds = read_until(&mut source, 5, &[Err(Fault::Lost), millijoules(20), millijoules(30)]);
    assert!(seconds <= 30, "{seconds} s");
    let indices: Vec<_> = source.gpus().iter().map(|sight| sight.index).collect();
    assert_eq!(indices, [None, Some(0), Some(1)]);
}

#[test]
fn a_device_that_comes_later_stands_at_the_end() {
    let mut bench = Bench::of(1);
    for (file, text) in [
        ("bus/pci/devices/0000:17:00.0/numa_node", "1\n"),
        ("devices/system/node/node1/cpulist", "72-143\n"),
        ("devices/system/cpu/cpu72/topology/physical_package_id", "1\n"),
    ] {
        let path = bench.board.folder().join(file);
        std::fs::create_dir_all(path.parent().expect("in a folder")).expect("made");
        std::fs::write(path, text).expect("written");
    }
    energies(&mut bench, &[10]);
    let (mut source, _) = bench.source();
    assert_eq!(read(&mut source, 0), [millijoules(10)]);
    bench.board.change(|scenario| {
        scenario.devices.insert(0, Device { energy_mj: 70, ..Device::numbered(7) });
    });
    let later = (5..200).step_by(5).find(|seconds| read(&mut source, *seconds).len() == 2);
    assert!(later.is_some_and(|seconds| seconds <= 70), "once a minute it is looked for: {later:?}");
    assert_eq!(read(&mut source, 200), [millijoules(10), millijoules(70)]);
    let names: Vec<String> = source.domains().iter().map(|domain| domain.id[..12].to_owned()).collect();
    assert_eq!(names, ["GPU-00000000", "GPU-00000007"]);
    assert_eq!([source.scope(0), source.scope(1)], [Scope::Own, Scope::OnSocket(1)]);
}

#[test]
fn a_device_that_is_broken_at_the_start_may_be_mended() {
    let mut bench = Bench::of(2);
    bench.board.change(|scenario| scenario.devices[0].error = 999);
    let (mut source, _) = bench.source();
    assert_eq!(read(&mut source, 0), [millijoules(0)]);
    bench.board.change(|scenario| scenario.devices[0].error = 0);
    let later = (5..400).step_by(5).find(|seconds| read(&mut source, *seconds).len() == 2);
    assert!(later.is_some(), "it is looked for again");
}

#[test]
fn more_devices_than_a_host_has_are_not_read() {
    let bench = Bench::of(70);
    let (mut source, _) = bench.source();
    assert_eq!(read(&mut source, 0).len(), 64);
}

/// `error at init, fault, words`
#[test]
fn a_library_that_cannot_be_used_says_why_and_is_tried_again() {
    for (error, fault, words) in [
        (9, Fault::Missing, "modprobe nvidia"),
        (18, Fault::Mismatch, "another version than the driver"),
        (4, Fault::PermissionDenied, "/dev/nvidiactl"),
        (17, Fault::PermissionDenied, "runtimeClassName: nvidia"),
        (999, Fault::Io, "an internal driver error"),
    ] {
        let mut bench = Bench::of(2);
        bench.board.change(|scenario| scenario.init_error = error);
        let (mut source, findings) = bench.source();
        let [Finding { fault: found, detail, .. }] = &findings[..] else { panic!("{findings:?}") };
        assert!(*found == Some(fault) && detail.contains(words), "{error}: {findings:?}");
        assert_eq!(source.condition().as_ref(), findings.first());
        assert_eq!((read(&mut source, 0).len(), read(&mut source, 5).len()), (0, 0));
        bench.board.change(|scenario| scenario.init_error = 0);
        let later = (10..400).step_by(5).find(|seconds| read(&mut source, *seconds).len() == 2);
        assert!(later.is_some(), "{error}: it is tried again");
        assert_eq!(source.condition(), None, "{error}");
    }
}

#[test]
fn a_driver_that_is_replaced_is_said_for_as_long_as_it_lasts() {
    let mut bench = Bench::of(2);
    energies(&mut bench, &[100, 100]);
    let (mut source, _) = bench.source();
    assert_eq!(read(&mut source, 0), [millijoules(100); 2]);
    bench.board.change(|scenario| {
        scenario.init_error = 18;
        scenario.loads += 1;
    });
    let seconds = read_until(&mut source, 5, &[Err(Fault::Mismatch); 2]);
    assert_eq!(source.condition().and_then(|condition| condition.fault), Some(Fault::Mismatch));
    bench.board.change(|scenario| scenario.init_error = 0);
    let seconds = read_until(&mut source, seconds + 5, &[millijoules(100); 2]);
    assert!(seconds < 400, "{seconds} s");
    assert_eq!(source.condition(), None);
}

#[test]
fn a_library_that_is_not_there_is_missed_only_beside_a_gpu() {
    let folder = tempfile::tempdir().expect("a folder");
    let library = folder.path().join("libnvidia-ml.so.1");
    let wish = Wish { is_on: true, library: Some(library), is_in_step: true, ..Wish::default() };
    let discover = || discover(folder.path(), &wish, Some);
    let (source, findings) = discover();
    assert!(findings.is_empty(), "{findings:?}");
    assert_eq!(source.expect("it may come").condition(), None);
    let card = folder.path().join("bus/pci/devices/0000:3b:00.0");
    std::fs::create_dir_all(&card).expect("made");
    std::fs::write(card.join("vendor"), "0x10de\n").expect("written");
    std::fs::write(card.join("class"), "0x030200\n").expect("written");
    let (source, findings) = discover();
    let mut source = source.expect("it may come");
    assert_eq!(findings[0].fault, Some(Fault::Missing));
    for part in ["0000:3b:00.0", "NVIDIA_DRIVER_CAPABILITIES=utility", "runtimeClassName: nvidia"] {
        assert!(findings[0].detail.contains(part), "{findings:?}");
    }
    // The driver is installed while we run.
    assert_eq!(read(&mut source, 0).len(), 0);
    lay_library(folder.path());
    let scenario =
        nvml_stand_in::scenario::Scenario { devices: vec![Device::numbered(0)], ..Default::default() };
    scenario.write(folder.path()).expect("written");
    let later = (5..200).step_by(5).find(|seconds| read(&mut source, *seconds).len() == 1);
    assert!(later.is_some_and(|seconds| seconds <= 60), "once a minute: {later:?}");
    assert_eq!(source.condition(), None);
}
