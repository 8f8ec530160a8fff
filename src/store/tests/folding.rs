//! Detail goes, sums stay.

use super::*;
use crate::model::history::Span;
use crate::store::schema::FILE;
use crate::store::upkeep::Bounds;
use proptest::prelude::*;

const HOUR: u64 = 3600;
const NANOS_PER_HOUR: u64 = 3_600_000_000_000;

/// The past without its hours.
fn without_hours(charged: &Charged) -> BTreeMap<(Group, Name, Column), (u64, u64)> {
    let mut sums: BTreeMap<_, (u64, u64)> = BTreeMap::new();
    for ((_, group, zone, column), (energy, emissions)) in charged {
        let sum = sums.entry((group.clone(), zone.clone(), column.clone())).or_default();
        *sum = (sum.0 + energy, sum.1 + emissions);
    }
    sums
}

/// What was charged must stand in the span that covers its hour, and nowhere else.
fn assert_exact(history: &History, charged: &Charged) {
    assert_eq!(history.damaged, Vec::<String>::new());
    let mut spans: Vec<Span> = history.sums.iter().map(|sum| sum.span).collect();
    spans.sort_unstable();
    spans.dedup();
    for pair in spans.windows(2) {
        assert!(pair[0].end <= pair[1].start, "{pair:?} overlap");
    }
    let mut expected = Charged::new();
    for ((hour, group, zone, column), (energy, emissions)) in charged {
        if *energy == 0 && *emissions == 0 {
            continue;
        }
        let at = Nanos::new(hour * NANOS_PER_HOUR);
        let covering = spans.iter().find(|span| span.start <= at && at < span.end);
        let start = covering.expect("every hour is covered").start.get() / NANOS_PER_HOUR;
        let sum = expected.entry((start, group.clone(), zone.clone(), column.clone())).or_default();
        *sum = (sum.0 + energy, sum.1 + emissions);
    }
    assert_eq!(charged_of(history), expected);
}

fn lengths(history: &History) -> BTreeMap<u64, usize> {
    let mut spans: Vec<Span> = history.sums.iter().map(|sum| sum.span).collect();
    spans.sort_unstable();
    spans.dedup();
    let mut lengths = BTreeMap::new();
    for span in spans {
        *lengths.entry((span.end.get() - span.start.get()) / NANOS_PER_HOUR).or_default() += 1;
    }
    lengths
}

/// As many steps as a daemon takes in an hour, or fewer.
fn steps(store: &mut Store, at: &Moment, count: usize) {
    for _ in 0..count {
        assert_eq!(store.maintain(at).expect("a step"), None);
    }
}

/// All steps that are due.
fn settle(store: &mut Store, at: &Moment) {
    store.upkeep = crate::store::upkeep::Upkeep::default();
    for _ in 0..10_000 {
        assert_eq!(store.maintain(at).expect("a step"), None);
        if store.upkeep.is_idle() {
            return;
        }
    }
    panic!("there is no end to it");
}

#[test]
fn five_hundred_days_stay_exact_and_small() {
    let disk = Disk::new();
    let mut sim = Sim::new(21, &["alice", "bob", "carol"]);
    let (mut store, _) = disk.open(&identity(), &sim.state.at);
    for tick in 0..500 * 24 {
        sim.tick(HOUR);
        sim.charge();
        publish(&mut store, &mut sim);
        steps(&mut store, &sim.state.at, 4);
        if tick % 2400 == 0 {
            assert_exact(&disk.read(), &sim.charged);
        }
    }
    settle(&mut store, &sim.state.at);
    let history = disk.read();
    assert_exact(&history, &sim.charged);
    let lengths = lengths(&history);
    let (hours, days) = (lengths[&1], lengths[&24]);
    assert!((70..=75).contains(&hours), "{lengths:?}");
    assert!((390..=401).contains(&days), "{lengths:?}");
    assert!(lengths.values().sum::<usize>() - hours - days <= 2, "a day in part and all before: {lengths:?}");
    // By day and by hour as far back as is promised.
    let oldest_day = history.sums.iter().map(|sum| sum.span).filter(|span| span.start > Nanos::ZERO).min();
    let kept = sim.state.at.wall.get() - oldest_day.expect("some").start.get();
    assert!(kept >= 400 * 24 * NANOS_PER_HOUR);
}

#[test]
fn a_clock_that_jumps_moves_no_joule() {
    for seed in 30..36 {
        let disk = Disk::new();
        let mut sim = Sim::new(seed, &["alice", "bob"]);
        let (mut store, _) = disk.open(&identity(), &sim.state.at);
        for _ in 0..300 {
            let jump = [1, 1, 1, 5, 30, 500][sim.random.below(6)] * 24 * HOUR;
            if sim.random.one_in(10) {
                sim.state.at.wall += Nanos::from_seconds(jump);
            } else if sim.random.one_in(10) {
                let back = sim.state.at.wall.saturating_sub(Nanos::from_seconds(jump));
                sim.state.at.wall = back.max(Nanos::from_seconds(START / 2));
            }
            sim.tick(HOUR);
            publish(&mut store, &mut sim);
            steps(&mut store, &sim.state.at, sim.random.clone().below(12));
        }
        assert_exact(&disk.read(), &sim.charged);
        settle(&mut store, &sim.state.at);
        assert_exact(&disk.read(), &sim.charged);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_groups_of_a_kind_add_up_to_the_host(seed in any::<u64>(), days in 1u64..600) {
        let disk = Disk::new();
        let mut sim = Sim::new(seed, &["alice", "bob", "x\"y"]);
        let (mut store, _) = disk.open(&identity(), &sim.state.at);
        for _ in 0..30 {
            let seconds = sim.random.next() % (days * 24 * HOUR / 30) + 1;
            sim.tick(seconds);
            publish(&mut store, &mut sim);
            steps(&mut store, &sim.state.at, sim.random.clone().below(4));
        }
        settle(&mut store, &sim.state.at);
        let history = disk.read();
        for (index, column) in sim.state.totals.columns.iter().enumerate() {
            let host = sim.state.totals.host.energy[index];
            for kind in ["user", "account"] {
                let of_kind = |sum: &&crate::model::history::Sum| &*sum.group.kind == kind && sum.column == *column;
                let sum: Energy = history.sums.iter().filter(of_kind).map(|sum| sum.energy).sum();
                prop_assert_eq!(sum, host);
            }
        }
    }
}

/// A store with bounds of its own.
fn bounded(disk: &Disk, bounds: Bounds) -> (Store, Restored) {
    let holder = Holder { pid: 1, boot: "".into(), host: "".into() };
    let lock = take_free(disk.path(), &holder);
    Store::open_bounded(lock, Some(disk.run.path()), &identity(), &moment(START), bounds).expect("a store")
}

#[test]
fn job_records_are_bounded_and_their_sums_are_not() {
    let disk = Disk::new();
    let mut sim = Sim::new(40, &["alice"]);
    let (mut store, _) = bounded(&disk, Bounds { records: 300, ..Bounds::default() });
    for _ in 0..4000 {
        sim.tick(HOUR / 4);
        sim.open_job();
        sim.charge();
        publish(&mut store, &mut sim);
        while sim.state.totals.jobs.len() > 20 {
            sim.end_or_retire_job();
        }
        steps(&mut store, &sim.state.at, 2);
    }
    publish(&mut store, &mut sim);
    settle(&mut store, &sim.state.at);
    assert!(store.size().job_records <= 300, "{}", store.size().job_records);
    let history = disk.read();
    assert_eq!(history.damaged, Vec::<String>::new());
    let folded: Vec<_> = history.jobs.iter().filter(|job| job.id.is_none()).collect();
    assert!(folded.len() > 10, "one a day");
    assert!(folded.iter().all(|job| job.last_seen.get() - job.first_seen.get() < 40 * 24 * NANOS_PER_HOUR));
    let first_seen = history.jobs.iter().map(|job| job.first_seen).min();
    assert_eq!(first_seen, Some(Nanos::from_seconds(START + HOUR / 4)), "of the first job of all");
    let jobs: u64 = history.jobs.iter().map(|job| job.count).sum();
    let slots = history.jobs.len() as u64;
    assert!(jobs > 2 * slots, "{jobs} jobs in {slots} records");
    let mut energy: BTreeMap<Column, u64> = BTreeMap::new();
    for (column, sum) in sim.recorded.values().flat_map(|sums| &sums.0) {
        *energy.entry(column.clone()).or_default() += sum;
    }
    for (column, sum) in history.jobs.iter().flat_map(|job| &job.energy) {
        *energy.get_mut(column).expect("known") -= sum.as_micro();
    }
    assert!(energy.values().all(|rest| *rest == 0), "{energy:?}");
}

#[test]
fn a_file_at_its_bound_loses_detail_and_no_joule() {
    let disk = Disk::new();
    let mut sim = Sim::new(41, &["alice", "bob", "carol", "dave"]);
    let bytes = 1 << 20;
    let (mut store, _) = bounded(&disk, Bounds { bytes, ..Bounds::default() });
    for tick in 0..6000 {
        sim.tick(HOUR);
        sim.open_job();
        publish(&mut store, &mut sim);
        while sim.state.totals.jobs.len() > 20 {
            sim.end_or_retire_job();
        }
        steps(&mut store, &sim.state.at, 6);
        if tick % 1000 == 0 {
            assert_exact(&disk.read(), &sim.charged);
        }
    }
    drop(store);
    assert_eq!(without_hours(&charged_of(&disk.read())), without_hours(&sim.charged));
    drop(bounded(&disk, Bounds { bytes, ..Bounds::default() }));
    assert!(std::fs::metadata(disk.path().join(FILE)).expect("there").len() <= bytes);
}

#[test]
fn a_span_takes_a_bounded_number_of_names() {
    let disk = Disk::new();
    let names: Vec<String> = (0..400).map(|name| format!("user-{name}")).collect();
    let mut sim = Sim::new(42, &names.iter().map(String::as_str).collect::<Vec<_>>());
    let (mut store, _) = disk.open(&identity(), &sim.state.at);
    for round in 0..6 {
        sim.names = (0..400).map(|name| format!("user-{round}-{name}").into()).collect();
        sim.tick(HOUR);
        (0..300).for_each(|_| sim.charge());
        publish(&mut store, &mut sim);
    }
    // All of it within one day, which has passed.
    sim.tick(100 * HOUR);
    publish(&mut store, &mut sim);
    sim.tick(3 * HOUR);
    publish(&mut store, &mut sim);
    sim.tick(3 * HOUR);
    publish(&mut store, &mut sim);
    settle(&mut store, &sim.state.at);
    let history = disk.read();
    let mut day: BTreeMap<Name, u64> = BTreeMap::new();
    for sum in history.sums.iter().filter(|sum| sum.span.start.get() == START * 1_000_000_000) {
        if &*sum.group.kind == "user" {
            *day.entry(sum.group.name.clone()).or_default() += sum.energy.as_micro();
        }
    }
    assert_eq!(day.len(), crate::store::fold::MAX_NAMES + 1, "and one for all others");
    assert!(day["overflow"] > 0);
    let total =
        |charged: &Charged| charged.values().fold((0, 0), |sum, more| (sum.0 + more.0, sum.1 + more.1));
    assert_eq!(total(&charged_of(&history)), total(&sim.charged));
}

#[test]
fn a_damaged_sum_is_told_once_and_stays_out_of_the_others() {
    let disk = Disk::new();
    let mut sim = Sim::new(43, &["alice", "bob"]);
    let (mut store, _) = disk.open(&identity(), &sim.state.at);
    for _ in 0..50 {
        sim.tick(HOUR);
        publish(&mut store, &mut sim);
    }
    let sql = store.place.sql().expect("open");
    let damaged = "UPDATE sum SET cells = zeroblob(20) WHERE span = (SELECT span FROM sum LIMIT 1 OFFSET 10)";
    let rows = sql.execute(damaged, []).expect("writable");
    assert!(rows > 0);
    sim.tick(200 * HOUR);
    publish(&mut store, &mut sim);
    let mut told = Vec::new();
    for _ in 0..200 {
        told.extend(store.maintain(&sim.state.at).expect("a step"));
        store.upkeep.look_again();
    }
    assert_eq!(told.len(), 1, "{told:?}");
    let history = disk.read();
    assert_eq!(history.damaged.len(), rows, "{:?}", history.damaged);
    let found = without_hours(&charged_of(&history));
    assert!(found.iter().all(|(key, sum)| sum.0 <= without_hours(&sim.charged)[key].0));
    assert!(lengths(&history)[&24] >= 1, "the other hours went on into their days");
}

#[test]
fn a_commit_that_fails_is_made_up_for() {
    let disk = Disk::new();
    let mut sim = Sim::new(44, &["alice", "bob"]);
    let (mut store, _) = bounded(&disk, Bounds { bytes: 1 << 20, ..Bounds::default() });
    // One hour alone reaches the bound, and it cannot be folded before it is over.
    sim.names = (0..20_000).map(|name| format!("{name:0>100}").into()).collect();
    sim.tick(5);
    publish(&mut store, &mut sim);
    drop(store);
    // A second process in the same hour: its slot is not merged with the first one's while it is open.
    let (mut store, restored) = bounded(&disk, Bounds { bytes: 1 << 20, ..Bounds::default() });
    sim.resume(restored);
    let mut refused = 0;
    for _ in 0..90 {
        sim.tick(5);
        (0..100).for_each(|_| sim.charge());
        if let Err(error) = store.commit(&sim.state) {
            assert_eq!(error.trouble.as_str(), "limit", "{error}");
            refused += 1;
        }
        steps(&mut store, &sim.state.at, 2);
    }
    assert!(refused > 1);
    assert!(store.commit(&sim.state).is_err(), "the bound is reached");
    let before = disk.read();
    let sql = store.place.sql().expect("open");
    sql.pragma_update_and_check(None, "max_page_count", 10_000, |_| Ok(())).expect("set");
    publish(&mut store, &mut sim);
    let after = disk.read();
    assert!(before.until < after.until);
    assert_exact(&after, &sim.charged);
}

#[test]
fn a_late_hour_finds_its_place_when_its_day_has_gone() {
    let disk = Disk::new();
    let mut sim = Sim::new(45, &["alice"]);
    let (mut store, _) = disk.open(&identity(), &sim.state.at);
    let use_hour = |sim: &mut Sim, store: &mut Store, hour: u64| {
        sim.state.at.wall = Nanos::from_seconds(START + hour * HOUR);
        sim.tick(5);
        sim.charge();
        publish(store, sim);
        // It is over, and a commit has had the last of it.
        sim.state.at.wall += Nanos::from_seconds(HOUR);
        for _ in 0..2 {
            sim.tick(5);
            publish(store, sim);
        }
    };
    use_hour(&mut sim, &mut store, 3);
    settle(&mut store, &moment(START + 500 * 24 * HOUR));
    use_hour(&mut sim, &mut store, 20);
    for days in [0, 5, 500] {
        settle(&mut store, &moment(START + days * 24 * HOUR));
        assert_exact(&disk.read(), &sim.charged);
    }
}

#[test]
fn an_hour_keeps_the_factors_it_was_charged_with() {
    let disk = Disk::new();
    let mut sim = Sim::new(46, &["alice"]);
    let factors = |store: &Store, level: i64| -> Vec<String> {
        let sql = store.place.sql().expect("open");
        let mut select = sql.prepare("SELECT factors FROM span WHERE level = ?1").expect("a table");
        let rows = select.query_map([level], |row| row.get(0)).expect("readable");
        rows.map(|row| row.expect("a text")).collect()
    };
    // Two processes in the same hour.
    let (mut store, _) = disk.open(&identity(), &sim.state.at);
    sim.tick(5);
    publish(&mut store, &mut sim);
    drop(store);
    let (mut store, restored) = disk.open(&identity(), &sim.state.at);
    sim.resume(restored);
    sim.tick(5);
    publish(&mut store, &mut sim);
    sim.tick(HOUR);
    publish(&mut store, &mut sim);
    settle(&mut store, &sim.state.at);
    let of_hours = factors(&store, 1);
    assert_eq!(of_hours.len(), 1);
    assert!(of_hours[0].contains("473010") && of_hours[0].contains("2024"), "{of_hours:?}");
    sim.tick(100 * HOUR);
    publish(&mut store, &mut sim);
    settle(&mut store, &sim.state.at);
    assert!(factors(&store, 2).iter().all(String::is_empty), "a day has many");
}
