//! What a new process makes of what an earlier one left: the cases one by one. That nothing falls and
//! every sum holds whatever happens is in `conservation` and `simulation`.

use super::simulation::page;
use super::world::{Layout, World, factor};
use jouleprint::engine::Engine;
use jouleprint::model::checkpoint::{Checkpoint, floor_key};
use jouleprint::model::description::Naming;
use jouleprint::model::identity::{HwType, JobId, JobKind, Name, Origin, Residual};
use jouleprint::model::quantity::{Energy, MicroWatts, Nanos};
use jouleprint::model::reading::{
    Accounting, Birth, Domain, GroupReading, GroupRole, GroupSlot, Groups, Hierarchy, IdlePolicy, Machine,
    Measurement, Place, Tick, Value,
};
use jouleprint::model::snapshot::{Table, Totals};
use jouleprint::model::time::Moment;
use jouleprint::sampler::Past;
use std::sync::Arc;

const RETENTION: u64 = 300;

fn domain(id: &str, origin: Origin) -> Domain {
    let ceiling = MicroWatts::from_watts(1_000);
    Domain {
        id: id.into(),
        hw_type: HwType::Cpu,
        origin,
        gpu: "".into(),
        source: if origin == Origin::Measured { "rapl" } else { "estimate" }.into(),
        place: Place::Counted,
        socket: None,
        measurement: match origin {
            Origin::Measured => {
                Measurement::Counter { range: Some(Energy::from_micro(262_143_328_850)), ceiling }
            }
            Origin::Estimated => Measurement::MeanPower { ceiling },
        },
        floor: None,
        uncertainty_ppm: 0,
    }
}

fn machine(domains: &[Domain]) -> Machine {
    Machine { host: "h".into(), cpu_model: "".into(), kernel: "".into(), domains: domains.to_vec() }
}

fn accounting() -> Accounting {
    Accounting {
        idle: IdlePolicy::Separate,
        retention: Nanos::from_seconds(RETENTION),
        max_jobs: 100,
        floors: Vec::new(),
        group_kinds: Vec::new(),
        group_hold: Nanos::ZERO,
    }
}

/// A group: its slot, the slot around it, its path and inode, and the seconds it has used.
type Seen<'a> = (u32, Option<u32>, &'a str, u64, u64);

fn groups(seen: &[Seen<'_>], are_born: bool) -> Groups {
    let births = seen.iter().filter(|_| are_born).map(|&(slot, parent, path, inode, _)| Birth {
        slot: GroupSlot(slot),
        parent: parent.map(GroupSlot),
        hierarchy: Hierarchy::Primary,
        role: match path.rsplit_once('.') {
            Some((_, "service")) => GroupRole::Job(JobId::new(JobKind::Unit, path)),
            Some((stem, "slice")) if stem.ends_with("batch") => {
                GroupRole::Slice(JobId::new(JobKind::Unit, path))
            }
            _ => GroupRole::Passage,
        },
        path: path.into(),
        inode,
        user: None,
        is_new: false,
    });
    let readings = seen.iter().rev().map(|&(slot, .., seconds)| GroupReading {
        slot: GroupSlot(slot),
        usage: Nanos::from_seconds(seconds),
        per_socket: None,
    });
    Groups { births: births.collect(), readings: readings.collect(), ..Groups::default() }
}

fn tick(seconds: u64, busy_seconds: u64, meters: &[Value], groups: Groups) -> Tick {
    let time = Nanos::from_seconds(seconds);
    Tick {
        domains: None,
        gpus: Vec::new(),
        at: Moment { monotonic: time, boottime: time, wall: Nanos::from_seconds(1_800_000_000 + seconds) },
        meters: meters.iter().copied().map(Ok).collect(),
        busy: vec![Nanos::from_seconds(busy_seconds)],
        cpus: 4,
        groups,
        namings: Vec::new(),
        speech: Vec::new(),
        plan: None,
        factor: factor("DE", "344.14"),
    }
}

fn counter(joules: u64) -> Value {
    Value::Counter(Energy::from_micro(joules * 1_000_000))
}

fn checkpoint(engine: &Engine, tick: &Tick) -> Checkpoint {
    engine.checkpoint(tick.at, Arc::new(engine.totals()), vec![(0, 1)], ("view".into(), true))
}

fn joules(energy: Energy) -> u64 {
    energy.as_micro() / 1_000_000
}

/// Joules of the jobs by id, and of one residual account.
fn jobs(totals: &Totals) -> Vec<(String, u64)> {
    let columns = totals.columns.len();
    let rows = totals.job_table.energy.chunks(columns);
    let ids = totals.jobs.iter().map(|job| job.job.id.id().to_string());
    ids.zip(rows).map(|(id, row)| (id, joules(row.iter().copied().sum()))).collect()
}

fn residual(totals: &Totals, account: Residual) -> u64 {
    let columns = totals.columns.len();
    joules(totals.residual_table.energy[account as usize * columns..][..columns].iter().copied().sum())
}

const BEFORE: [Seen<'static>; 3] = [
    (0, None, "/system.slice", 1, 100),
    (1, Some(0), "/system.slice/a.service", 2, 60),
    (2, Some(0), "/system.slice/b.service", 3, 40),
];

/// An engine that saw two services use 60 s and 40 s, and 1,000 J; its checkpoint.
fn first_life() -> Checkpoint {
    let machine = machine(&[domain("package-0", Origin::Measured)]);
    let mut engine = Engine::new(Arc::new(machine), accounting());
    let start = BEFORE.map(|(slot, parent, path, inode, _)| (slot, parent, path, inode, 0));
    engine.step(&tick(1_000, 0, &[counter(5_000)], groups(&start, true)));
    let last = tick(1_100, 100, &[counter(6_000)], groups(&BEFORE, false));
    engine.step(&last);
    checkpoint(&engine, &last)
}

/// The first tick of the next process, 100 s and 1,000 J later, after 100 s of work since.
fn second_life(checkpoint: &Checkpoint, seen: &[Seen<'_>], knew_all: bool) -> Totals {
    let machine = machine(&[domain("package-0", Origin::Measured)]);
    let mut engine = Engine::resume(&machine, accounting(), checkpoint, knew_all);
    engine.step(&tick(1_200, 100, &[counter(7_000)], groups(seen, true)));
    engine.totals()
}

#[test]
fn the_gap_goes_to_the_jobs_that_still_live() {
    // Slots are given anew: nothing depends on them.
    let seen = [
        (7, None, "/system.slice", 1, 200),
        (3, Some(7), "/system.slice/a.service", 2, 120),
        (5, Some(7), "/system.slice/b.service", 3, 80),
    ];
    let totals = second_life(&first_life(), &seen, true);
    assert_eq!(joules(totals.host.energy[0]), 2_000, "the gap's energy is on the first page");
    let expected =
        [("/system.slice/a.service".to_owned(), 1_200), ("/system.slice/b.service".to_owned(), 800)];
    assert_eq!(jobs(&totals), expected);
}

#[test]
fn what_a_group_used_that_is_gone_is_ended_and_what_a_new_one_used_is_its_own() {
    let seen = [
        (0, None, "/system.slice", 1, 200),
        (1, Some(0), "/system.slice/a.service", 2, 110),
        // Another group of the same name, and one that was not there before.
        (2, Some(0), "/system.slice/b.service", 9, 20),
        (3, Some(0), "/system.slice/c.service", 10, 10),
    ];
    let totals = second_life(&first_life(), &seen, true);
    let ids = ["a", "b", "c"].map(|name| format!("/system.slice/{name}.service"));
    let [a, b, c] = ids;
    assert_eq!(jobs(&totals), [(a, 600 + 500), (b, 400 + 200), (c, 100)]);
    assert_eq!(residual(&totals, Residual::Ended), 200);
}

#[test]
fn a_day_on_a_large_machine_is_no_jump() {
    const DAY: u64 = 86_400;
    let mut kept = first_life();
    kept.machine = Arc::new(machine(&[Domain {
        measurement: Measurement::Counter { range: None, ceiling: MicroWatts::from_watts(1_000) },
        ..domain("package-0", Origin::Measured)
    }]));
    let mut engine = Engine::resume(&kept.machine, accounting(), &kept, true);
    // 200 of 256 CPUs for a job, 50 for the system.
    let seen = [
        (0, None, "/system.slice", 1, 100 + 200 * DAY),
        (1, Some(0), "/system.slice/a.service", 2, 60 + 200 * DAY),
        (2, Some(0), "/system.slice/b.service", 3, 40),
    ];
    let day = tick(1_100 + DAY, 250 * DAY, &[counter(6_000 + 250_000)], groups(&seen, true));
    engine.step(&Tick { cpus: 256, ..day });
    let totals = engine.totals();
    assert_eq!(jobs(&totals)[0], ("/system.slice/a.service".to_owned(), 600 + 200_000));
    assert_eq!(residual(&totals, Residual::System), 50_000);
}

#[test]
fn a_group_that_may_have_been_there_before_is_not_charged_with_its_past() {
    let seen = [
        (0, None, "/system.slice", 1, 200),
        (1, Some(0), "/system.slice/a.service", 2, 110),
        (2, Some(0), "/system.slice/b.service", 3, 90),
        (3, Some(0), "/system.slice/old.service", 10, 0),
        (4, None, "/other.service", 11, 90_000),
    ];
    let totals = second_life(&first_life(), &seen, false);
    assert_eq!(jobs(&totals)[3], ("/other.service".to_owned(), 0));
    assert_eq!(jobs(&totals)[0].1 + jobs(&totals)[1].1, 2_000);
}

#[test]
fn a_slice_that_worked_keeps_its_row() {
    let machine = machine(&[domain("package-0", Origin::Measured)]);
    let mut engine = Engine::new(Arc::new(machine.clone()), accounting());
    engine.step(&tick(1_000, 0, &[counter(0)], groups(&[(0, None, "/batch.slice", 1, 0)], true)));
    let last = tick(1_100, 50, &[counter(100)], groups(&[(0, None, "/batch.slice", 1, 50)], false));
    engine.step(&last);
    let kept = checkpoint(&engine, &last);
    let mut engine = Engine::resume(&machine, accounting(), &kept, true);
    let later =
        |seconds| tick(seconds, 0, &[counter(100)], groups(&[(0, None, "/batch.slice", 1, 50)], false));
    let first = tick(1_200, 0, &[counter(100)], groups(&[(0, None, "/batch.slice", 1, 50)], true));
    engine.step(&first);
    engine.step(&later(1_200 + RETENTION + 1));
    assert_eq!(jobs(&engine.totals()), [("/batch.slice".to_owned(), 100)], "it lives, though it is idle");
}

#[test]
fn another_boot_keeps_the_counters_and_none_of_the_positions() {
    let mut kept = first_life();
    for position in &mut kept.domains {
        (position.last, position.doubted) = (None, None);
    }
    kept.usage.processors.clear();
    kept.usage.groups.clear();
    let machine = machine(&[domain("package-0", Origin::Measured)]);
    let mut engine = Engine::resume(&machine, accounting(), &kept, false);
    let seen = [(0, None, "/system.slice", 1, 7), (1, Some(0), "/system.slice/a.service", 2, 7)];
    // The counter of the new boot stands lower, its clock too.
    engine.step(&tick(30, 10, &[counter(300)], groups(&seen, true)));
    let totals = engine.totals();
    assert_eq!(joules(totals.host.energy[0]), 1_000, "the first reading charges nothing");
    let seen_later = [(0, None, "/system.slice", 1, 17), (1, Some(0), "/system.slice/a.service", 2, 17)];
    engine.step(&tick(40, 20, &[counter(400)], groups(&seen_later, false)));
    assert_eq!(jobs(&engine.totals())[0], ("/system.slice/a.service".to_owned(), 700));
    // What did not come back leaves after its time by the new clock.
    engine.step(&tick(30 + RETENTION + 1, 20, &[counter(400)], groups(&seen_later, false)));
    let left = jobs(&engine.totals());
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(joules(engine.totals().retired_table.energy[0]), 400);
}

#[test]
fn an_estimate_loses_the_gap_and_counts_its_seconds() {
    let machine = machine(&[domain("cpu", Origin::Estimated)]);
    let mut engine = Engine::new(Arc::new(machine.clone()), accounting());
    let power = [Value::MeanPower(MicroWatts::from_watts(50))];
    engine.step(&tick(1_000, 0, &power, Groups::default()));
    let last = tick(1_010, 0, &power, Groups::default());
    engine.step(&last);
    let kept = checkpoint(&engine, &last);
    let mut engine = Engine::resume(&machine, accounting(), &kept, true);
    engine.step(&tick(1_017, 0, &power, Groups::default()));
    assert_eq!(joules(engine.totals().host.energy[0]), 500);
    assert_eq!(engine.totals().domains[0].gap, Nanos::from_seconds(7));
    engine.step(&tick(1_018, 0, &power, Groups::default()));
    assert_eq!(joules(engine.totals().host.energy[0]), 550);
}

#[test]
fn an_estimate_shows_no_power_for_the_gap_and_splits_later_energy_by_later_use() {
    let machine = machine(&[domain("cpu", Origin::Estimated)]);
    let mut engine = Engine::new(Arc::new(machine.clone()), accounting());
    let power = [Value::MeanPower(MicroWatts::from_watts(50))];
    let seen = |a, b| [(0, None, "/a.service", 1, a), (1, None, "/b.service", 2, b)];
    engine.step(&tick(1_000, 0, &power, groups(&seen(0, 0), true)));
    let last = tick(1_010, 0, &power, groups(&seen(0, 0), false));
    engine.step(&last);
    let kept = checkpoint(&engine, &last);
    let mut engine = Engine::resume(&machine, accounting(), &kept, true);
    // While nobody looked `a` worked for an hour; since then `b` has.
    engine.step(&tick(4_610, 3_600, &power, groups(&seen(3_600, 0), true)));
    assert_eq!(engine.totals().domains[0].power, None, "what is not known is not 0 W");
    engine.step(&tick(4_620, 3_610, &power, groups(&seen(3_600, 10), false)));
    assert_eq!(jobs(&engine.totals()), [("/a.service".to_owned(), 0), ("/b.service".to_owned(), 500)]);
}

#[test]
fn a_meter_that_is_gone_stays_as_it_was_and_what_it_measured_unseen_is_not_added_to_an_estimate() {
    let (rapl, estimate) = (domain("package-0", Origin::Measured), domain("cpu", Origin::Estimated));
    let kept = first_life();
    let power = [Value::MeanPower(MicroWatts::from_watts(50))];
    // RAPL cannot be read any more: the estimate runs.
    let mut engine = Engine::resume(&machine(&[estimate]), accounting(), &kept, true);
    engine.step(&tick(1_200, 0, &power, groups(&BEFORE, true)));
    let last = tick(1_210, 0, &power, groups(&BEFORE, false));
    engine.step(&last);
    let totals = engine.totals();
    let shown: Vec<(&str, u64)> = engine
        .machine()
        .domains
        .iter()
        .zip(&totals.domains)
        .map(|(domain, totals)| (&*domain.id, joules(totals.energy)))
        .collect();
    assert_eq!(shown, [("cpu", 500), ("package-0", 1_000)]);
    let kept = checkpoint(&engine, &last);
    // And then it can: what it counted meanwhile was the estimate's.
    let mut engine = Engine::resume(&machine(&[rapl]), accounting(), &kept, true);
    engine.step(&tick(1_220, 0, &[counter(50_000)], groups(&BEFORE, true)));
    engine.step(&tick(1_230, 0, &[counter(50_100)], groups(&BEFORE, false)));
    let totals = engine.totals();
    let sums: Vec<(Origin, u64)> = totals
        .columns
        .iter()
        .zip(&totals.host.energy)
        .map(|(column, sum)| (column.origin, joules(*sum)))
        .collect();
    assert_eq!(sums, [(Origin::Measured, 1_100), (Origin::Estimated, 500)]);
}

#[test]
fn a_job_leaves_the_page_only_when_its_last_state_is_on_disk() {
    let machine = machine(&[domain("package-0", Origin::Measured)]);
    let mut engine = Engine::new(Arc::new(machine), accounting());
    engine.committed(Nanos::ZERO);
    engine.step(&tick(1_000, 0, &[counter(0)], groups(&BEFORE, true)));
    let end = Groups { deaths: vec![GroupSlot(2)], ..groups(&BEFORE, false) };
    engine.step(&tick(1_005, 50, &[counter(100)], end));
    let after = |seconds| tick(seconds, 50, &[counter(100)], Groups::default());
    engine.step(&after(2_000));
    assert_eq!(engine.totals().jobs.len(), 2, "ended long ago, and not on disk");
    engine.committed(Nanos::from_seconds(1_004));
    engine.step(&after(2_005));
    assert_eq!(engine.totals().jobs.len(), 2, "its end is not on disk");
    engine.committed(Nanos::from_seconds(1_005));
    engine.step(&after(2_010));
    assert_eq!(engine.totals().jobs.len(), 1);
}

#[test]
fn what_was_learnt_about_idle_power_outlives_everything() {
    let machine = machine(&[domain("package-0", Origin::Measured)]);
    let mut engine = Engine::new(Arc::new(machine.clone()), accounting());
    let mut last = None;
    for number in 0..40 {
        let tick = tick(1_000 + number * 10, 0, &[counter(number * 120)], Groups::default());
        engine.step(&tick);
        last = Some(tick);
    }
    let last = last.expect("there were ticks");
    let learnt = engine.totals().domains[0].floor;
    let buckets = checkpoint(&engine, &last).domains[0].floor.clone();
    let mut engine = Engine::new(Arc::new(machine.clone()), accounting());
    assert_ne!(engine.totals().domains[0].floor, learnt);
    let key = floor_key(&machine.cpu_model, &machine.domains[0]);
    engine.learn(&[(key, buckets)]);
    assert_eq!(engine.totals().domains[0].floor, learnt);
    assert_eq!(learnt.map(|(_, floor)| floor), Some(MicroWatts::from_watts(12)));
}

#[test]
fn who_never_saw_the_groups_does_not_say_that_there_were_none() {
    let mut world = World::new(3, Layout::V2, false);
    let path = world.make(2);
    world.work(&path, 90_000, 0);
    let idle = vec![0; world.cpus()];
    let at = world.pass(Nanos::from_seconds(1), &idle);
    let mut sampler = world.sampler(100, 100, 20);
    // Without /proc/stat a tick does not take place.
    std::fs::write(world.root().join("proc/stat"), "").expect("written");
    let blind = sampler.tick(at);
    let past = Past { checkpoint: Some(sampler.checkpoint(&blind)), ..Past::default() };
    let at = world.pass(Nanos::from_seconds(5), &idle);
    let totals = world.sampler_after(100, 100, 20, past).tick(at).totals;
    assert!(!totals.jobs.is_empty());
    assert!(totals.jobs.iter().all(|job| job.cpu == Nanos::ZERO), "{:?}", totals.jobs);
    assert_eq!(totals.started, at.wall, "nothing was counted before");
}

#[test]
fn a_meter_that_changed_its_place_is_one_on_the_page() {
    let mut world = World::new(3, Layout::V2, false);
    let mut sampler = world.sampler(100, 100, 20);
    let idle = vec![0; world.cpus()];
    let at = world.pass(Nanos::from_seconds(5), &idle);
    let last = sampler.tick(at);
    let mut checkpoint = sampler.checkpoint(&last);
    // As where dies were taken for mirrors of each other at the start before, and are not now.
    Arc::make_mut(&mut checkpoint.machine).domains[0].place = Place::Beside;
    Arc::make_mut(&mut checkpoint.totals).domains[0].resets = 7;
    let past = Past { checkpoint: Some(checkpoint), ..Past::default() };
    let at = world.pass(Nanos::from_seconds(5), &idle);
    let page = page(&world.sampler_after(100, 100, 20, past).tick(at));
    assert_eq!(page.value("jouleprint_meter_resets_total", &[("hw_id", "meter-0")]), Some("7"));
}

fn with_kinds(kinds: &[&str]) -> Accounting {
    let group_kinds = kinds.iter().map(|kind| Name::from(*kind)).collect();
    Accounting { group_kinds, group_hold: Nanos::from_seconds(100), ..accounting() }
}

fn named(id: &str, team: &str) -> Naming {
    Naming {
        id: JobId::new(JobKind::Unit, id),
        description: Arc::default(),
        groups: vec![("team".into(), team.into())],
        is_final: false,
    }
}

/// Joules of the groups of a kind, and what is pending.
fn grouped(totals: &Totals, kind: &str) -> Vec<(String, u64)> {
    let of_kind = totals.groups.iter().find(|of_kind| &*of_kind.kind == kind).expect("it is shown");
    let sums = |table: &Table| table.energy.chunks(1).map(|row| joules(row[0])).collect::<Vec<_>>();
    let names = of_kind.groups.iter().map(|group| group.name.to_string()).chain(["…".to_owned()]);
    names.zip(sums(&of_kind.table).into_iter().chain(sums(&of_kind.pending))).collect()
}

fn expect(totals: &Totals, kind: &str, expected: &[(&str, u64)]) {
    let found = grouped(totals, kind);
    let found: Vec<(&str, u64)> = found.iter().map(|(name, joules)| (name.as_str(), *joules)).collect();
    assert_eq!(found, expected, "{kind}");
}

#[test]
fn groups_go_on_where_they_stopped_and_what_is_left_of_a_wait_is_left() {
    let machine = machine(&[domain("package-0", Origin::Measured)]);
    let mut engine = Engine::new(Arc::new(machine.clone()), with_kinds(&["team"]));
    let start = BEFORE.map(|(slot, parent, path, inode, _)| (slot, parent, path, inode, 0));
    engine.step(&tick(1_000, 0, &[counter(5_000)], groups(&start, true)));
    // Half of it for each: `a` is named late, `b` never.
    let half = |seconds| {
        let [slice, a, b] = BEFORE;
        [
            (slice.0, slice.1, slice.2, slice.3, 2 * seconds),
            (a.0, a.1, a.2, a.3, seconds),
            (b.0, b.1, b.2, b.3, seconds),
        ]
    };
    engine.step(&tick(1_010, 20, &[counter(6_000)], groups(&half(10), false)));
    let mut last = tick(1_050, 20, &[counter(6_000)], groups(&half(10), false));
    last.namings = vec![named("/system.slice/a.service", "red")];
    engine.step(&last);
    expect(&engine.totals(), "team", &[("", 0), ("red", 0), ("…", 1_000)]);

    // Another boot, whose clock stands lower. 50 s of the hold have passed, and of the patience.
    let kept = checkpoint(&engine, &last);
    let mut engine = Engine::resume(&machine, with_kinds(&["team", "user"]), &kept, true);
    engine.step(&tick(30, 20, &[counter(6_000)], groups(&half(10), true)));
    expect(&engine.totals(), "team", &[("", 0), ("red", 0), ("…", 1_000)]);
    expect(&engine.totals(), "user", &[("", 1_000), ("…", 0)]);
    let step = |engine: &mut Engine, seconds: u64, energy: u64| {
        let last = tick(seconds, 20, &[counter(6_000 + energy)], groups(&half(10), false));
        engine.step(&last);
        last
    };
    step(&mut engine, 30 + 69, 0);
    expect(&engine.totals(), "team", &[("", 0), ("red", 0), ("…", 1_000)]);
    // `b` has waited for 120 s; what it had goes to nobody over ten times the hold, as the group's own does.
    step(&mut engine, 30 + 100, 0);
    let last = step(&mut engine, 30 + 200, 0);
    expect(&engine.totals(), "team", &[("", 50), ("red", 50), ("…", 900)]);

    let kept = checkpoint(&engine, &last);
    let mut engine = Engine::resume(&machine, with_kinds(&["user"]), &kept, true);
    engine.step(&tick(1_000, 20, &[counter(6_000)], groups(&half(10), true)));
    let last = step(&mut engine, 1_010, 40);
    expect(&engine.totals(), "user", &[("", 1_040), ("…", 0)]);
    // The kind that was left out is there again, as it was; what it has not seen is nobody's.
    let kept = checkpoint(&engine, &last);
    let engine = Engine::resume(&machine, with_kinds(&["team"]), &kept, true);
    expect(&engine.totals(), "team", &[("", 90), ("red", 50), ("…", 900)]);
}

#[test]
fn what_was_counted_before_there_were_groups_is_in_none() {
    let kept = first_life();
    assert_eq!(kept.groups.kinds.len(), 0);
    let machine = machine(&[domain("package-0", Origin::Measured)]);
    let mut engine = Engine::resume(&machine, with_kinds(&["team"]), &kept, true);
    expect(&engine.totals(), "team", &[("", 1_000), ("…", 0)]);
    let mut next = tick(1_200, 100, &[counter(6_000)], groups(&BEFORE, true));
    next.namings = vec![named("/system.slice/a.service", "red")];
    engine.step(&next);
    expect(&engine.totals(), "team", &[("", 1_000), ("red", 0), ("…", 0)]);
}
