//! Ten jobs a second for a day, through the engine into a real store: what grows without bound shows
//! here. `DAYS=30` is the rare tier's.

use jouleprint::engine::Engine;
use jouleprint::model::grid::Step;
use jouleprint::model::identity::{HwType, JobId, JobKind, Origin};
use jouleprint::model::quantity::{Energy, Intensity, MicroWatts, Nanos, Pue};
use jouleprint::model::reading::{
    Accounting, Birth, Domain, Factor, GroupReading, GroupRole, GroupSlot, Groups, Hierarchy, IdlePolicy,
    Machine, Measurement, Place, Tick, Value,
};
use jouleprint::model::time::Moment;
use jouleprint::store::lock::{Holder, Lock};
use jouleprint::store::{Identity, Store, read};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

const TICKS_A_DAY: u64 = 17_280;
const JOBS_A_TICK: u32 = 50;
/// What the store may take, its log included.
const MAX_BYTES: u64 = 300 << 20;
/// Set for the process that lives through it by itself, so that its memory is its own.
const INSIDE: &str = "JOULEPRINT_SOAK";

fn machine() -> Machine {
    let domain = |id: &str, hw_type| Domain {
        id: id.into(),
        hw_type,
        origin: Origin::Measured,
        gpu: "".into(),
        source: "rapl".into(),
        place: Place::Counted,
        socket: None,
        measurement: Measurement::Counter { range: None, ceiling: MicroWatts::from_watts(2_000) },
        floor: None,
        uncertainty_ppm: 0,
    };
    let domains = vec![domain("package-0", HwType::Cpu), domain("dram", HwType::Memory)];
    Machine { host: "soak".into(), cpu_model: "".into(), kernel: "".into(), domains }
}

fn factor() -> Factor {
    Factor {
        zone: "DE".into(),
        intensity: Intensity::parse_grams("344.14").expect("a plausible figure"),
        pue: Pue::ONE,
        basis: "lifecycle".into(),
        accounting: "production".into(),
        quality: "static".into(),
        source: "test".into(),
        year: "2024".into(),
        fallback: Step::Wanted,
    }
}

/// Fifty jobs are born, live for two ticks and die; each uses half a second of CPU time a tick.
fn tick(number: u64) -> Tick {
    let time = Nanos::from_seconds(1_000 + number * 5);
    let slots = |generation: u64| {
        let first = u32::try_from(generation % 3).expect("below 3") * JOBS_A_TICK;
        (first..first + JOBS_A_TICK).map(GroupSlot)
    };
    let births = slots(number).enumerate().map(|(index, slot)| {
        let id = format!("run-{number}-{index}.scope");
        Birth {
            slot,
            parent: None,
            hierarchy: Hierarchy::Primary,
            path: format!("/user.slice/user-{}.slice/{id}", 1_000 + index % 20).as_str().into(),
            role: GroupRole::Job(JobId::new(JobKind::Unit, &id)),
            inode: number * 100 + index as u64,
            user: u32::try_from(1_000 + index % 20).ok(),
            is_new: true,
        }
    });
    let reading = |slot, seconds| GroupReading { slot, usage: Nanos::new(seconds), per_socket: None };
    let mut readings: Vec<GroupReading> = slots(number).map(|slot| reading(slot, 500_000_000)).collect();
    let mut deaths = Vec::new();
    if number > 0 {
        readings.extend(slots(number - 1).map(|slot| reading(slot, 1_000_000_000)));
        deaths.extend(slots(number - 1));
    }
    let joules = |watts: u64| Ok(Value::Counter(Energy::from_micro(watts * 5_000_000 * number)));
    Tick {
        domains: None,
        gpus: Vec::new(),
        at: Moment { monotonic: time, boottime: time, wall: Nanos::from_seconds(1_800_000_000) + time },
        meters: vec![joules(300), joules(40)],
        busy: vec![Nanos::from_seconds(number * 60)],
        cpus: 64,
        groups: Groups { births: births.collect(), deaths, readings, ..Groups::default() },
        namings: Vec::new(),
        speech: Vec::new(),
        plan: None,
        factor: factor(),
    }
}

fn resident_kilobytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc/self/status");
    let line = status.lines().find(|line| line.starts_with("VmRSS")).expect("VmRSS");
    line.split_whitespace().nth(1).and_then(|text| text.parse().ok()).expect("a number")
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("/proc/self/fd").count()
}

#[test]
fn ten_jobs_a_second_for_a_day_grow_nothing() {
    if std::env::var_os(INSIDE).is_some() {
        return inside();
    }
    let own = std::env::current_exe().expect("this program has a path");
    let output = std::process::Command::new(own)
        .args(["soak::ten_jobs_a_second_for_a_day_grow_nothing", "--exact", "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .expect("this program can be started again");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("soak:"), "it took place: {text}");
    print!("{text}");
}

fn inside() {
    let days: u64 = std::env::var("DAYS").ok().and_then(|days| days.parse().ok()).unwrap_or(1);
    let folder = tempfile::tempdir().expect("a folder");
    let holder = Holder { pid: std::process::id(), boot: "boot".into(), host: "soak".into() };
    let lock = Lock::take(&folder.path().join("state"), &holder).expect("nobody else has it");
    let identity = Identity { boot: "boot".into(), machine: "machine".into(), host: "soak".into() };
    let runtime = folder.path().join("run");
    let opened = Store::open(lock, Some(&runtime), &identity, &tick(0).at);
    let (mut store, _) = opened.expect("a new store");
    let accounting = Accounting {
        idle: IdlePolicy::Separate,
        retention: Nanos::from_seconds(300),
        max_jobs: 4_096,
        floors: Vec::new(),
        group_kinds: vec!["user".into()],
        group_hold: Nanos::ZERO,
    };
    let mut engine = Engine::new(Arc::new(machine()), accounting);
    let mut committed = Nanos::ZERO;
    let (mut at_rest, mut most_bytes, mut last) = (None, 0, None);
    let began = Instant::now();
    let ticks = std::env::var("TICKS").ok().and_then(|ticks| ticks.parse().ok());
    let ticks = ticks.unwrap_or(days * TICKS_A_DAY);
    for number in 0..ticks {
        let tick = tick(number);
        engine.committed(committed);
        engine.step(&tick);
        let totals = Arc::new(engine.totals());
        let checkpoint = engine.checkpoint(tick.at, totals, vec![(0, number)], ("view".into(), true));
        store.commit(&checkpoint).expect("there is room");
        store.maintain(&tick.at).expect("there is room");
        committed = tick.at.monotonic;
        most_bytes = most_bytes.max(store.size().bytes);
        if number == ticks / 3 {
            at_rest = Some((resident_kilobytes(), descriptors()));
        }
        last = Some(checkpoint);
    }
    let checkpoint = last.expect("there were ticks");
    let (then, now) = (at_rest.expect("a third has passed"), (resident_kilobytes(), descriptors()));
    let size = store.size();
    store.close(&checkpoint).expect("there is room");
    println!(
        "soak: {days} days, {} jobs in {:?}; memory {} → {} kB, descriptors {} → {}, store at most {} MB, {} records",
        ticks * u64::from(JOBS_A_TICK),
        began.elapsed(),
        then.0,
        now.0,
        then.1,
        now.1,
        most_bytes >> 20,
        size.job_records
    );
    assert_eq!(then.1, now.1, "descriptors");
    assert!(now.0 < then.0 + (8 << 10), "memory grows from {} to {} kB", then.0, now.0);
    assert!(most_bytes < MAX_BYTES, "the store took {most_bytes} bytes");
    check_history(&folder.path().join("state"), &checkpoint.totals);
}

/// Whatever was folded, the history adds up to what was counted.
fn check_history(folder: &Path, totals: &jouleprint::model::snapshot::Totals) {
    let history = read(folder).expect("the store can be read");
    assert!(history.damaged.is_empty(), "{:?}", history.damaged);
    let counted: Energy = totals.host.energy.iter().copied().sum();
    for kind in ["account", "user"] {
        let of_kind = history.sums.iter().filter(|sum| &*sum.group.kind == kind);
        assert_eq!(of_kind.map(|sum| sum.energy).sum::<Energy>(), counted, "hours and days by {kind}");
    }
    let of_jobs: Energy = history.jobs.iter().flat_map(|job| &job.energy).map(|(_, energy)| *energy).sum();
    let shown: Energy = totals.job_table.energy.iter().chain(&totals.retired_table.energy).copied().sum();
    assert_eq!(of_jobs, shown, "records, folded or not");
    let jobs: u64 = history.jobs.iter().map(|job| job.count).sum();
    println!("soak: {} sums, {} records for {jobs} jobs", history.sums.len(), history.jobs.len());
}
