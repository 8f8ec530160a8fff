//! The push and the page are two texts of one snapshot: what OTLP carries, translated by the rules of
//! Prometheus, is what a scrape reads. And what a push leaves out, repeats or ends, over any course of
//! acknowledgements, failures and restarts.

mod pushing;
mod receiver;
pub(crate) mod translation;

use crate::page::Page;
use crate::simulation::Run;
use crate::tree::{Ground, Host, at};
use crate::world::Dice;
use jouleprint::model::snapshot::{PushOutcome, PushState, Snapshot, StoreState};
use jouleprint::output::catalogue::{Kind, families};
use jouleprint::output::otlp::attributes::{Machine, resource};
use jouleprint::output::otlp::baseline::Baselines;
use jouleprint::output::otlp::message::{Content, Cursor, MAX_MESSAGE_BYTES, Part};
use jouleprint::output::otlp::wishes::{Temporality, Transport, Wishes};
use jouleprint::output::prometheus::{Format, render};
use jouleprint::sampler::Sampler;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use translation::{Point, Series, points, prometheus_name, series};

pub(crate) fn wishes() -> Wishes {
    Wishes {
        endpoint: "http://localhost:4318/v1/metrics".to_owned(),
        transport: Transport::Http,
        headers: Vec::new(),
        header_files: Vec::new(),
        is_compressed: true,
        tls: Default::default(),
        timeout: Duration::from_secs(2),
        push_timeout: Duration::from_secs(4),
        interval: Duration::from_millis(100),
        temporality: Temporality::Cumulative,
        resource: Vec::new(),
    }
}

pub(crate) fn machine() -> Machine {
    Machine { id: "0123".to_owned(), name: "n1".to_owned() }
}

/// All messages of one push.
fn parts(
    snapshot: &Snapshot,
    known: &[Arc<Snapshot>],
    temporality: Temporality,
    baselines: &Baselines,
    max_bytes: usize,
) -> Vec<Part> {
    let resource = resource(&machine(), &wishes());
    let content = Content { snapshot, known, temporality, baselines, resource: &resource };
    let mut parts = Vec::new();
    let mut cursor = Some(Cursor::default());
    while let Some(from) = cursor {
        let part = content.part(from, max_bytes);
        cursor = part.next;
        parts.push(part);
        assert!(parts.len() < 10_000, "each message takes at least one point");
    }
    parts
}

fn cumulative(snapshot: &Snapshot, known: &[Arc<Snapshot>]) -> Vec<Point> {
    let parts = parts(snapshot, known, Temporality::Cumulative, &Baselines::default(), MAX_MESSAGE_BYTES);
    parts.iter().flat_map(|part| points(&part.bytes)).collect()
}

/// The page's samples as the push's: empty labels are none, bounds are numbers.
pub(crate) fn scraped(text: &str) -> BTreeSet<Series> {
    let page = Page::parse(text).expect("a strict reader takes it");
    let samples = page.samples.into_iter().map(|sample| {
        let mut labels = sample.labels;
        labels.retain(|_, value| !value.is_empty());
        if let Some(bound) = labels.get_mut("le") {
            *bound = translation::bound(bound.parse().unwrap());
        }
        let value: f64 = sample.text.parse().unwrap();
        (sample.name, labels, value.to_bits())
    });
    samples.collect()
}

fn check_same(snapshot: &Snapshot) {
    let mut text = Vec::new();
    render(snapshot, Format::OpenMetrics, "", &mut text);
    let scraped = scraped(std::str::from_utf8(&text).unwrap());
    let pushed: Vec<Series> = cumulative(snapshot, &[]).iter().flat_map(series).collect();
    let count = pushed.len();
    let pushed: BTreeSet<Series> = pushed.into_iter().collect();
    assert_eq!(count, pushed.len(), "no series comes twice");
    let only =
        |one: &BTreeSet<Series>, other: &BTreeSet<Series>| one.difference(other).cloned().collect::<Vec<_>>();
    assert_eq!((only(&scraped, &pushed), only(&pushed, &scraped)), (Vec::new(), Vec::new()));
}

#[test]
fn every_name_is_the_translation_of_its_otel_name() {
    for family in families() {
        let (name, unit) = family.otel;
        let suffix = match family.kind {
            Kind::Counter => "_total",
            Kind::Info => "_info",
            Kind::Gauge | Kind::Histogram => "",
        };
        let translated =
            prometheus_name(name, unit, family.kind == Kind::Counter, family.kind != Kind::Histogram);
        assert_eq!(translated, format!("{}{suffix}", family.name), "{name} in {unit:?}");
    }
}

#[test]
fn the_rules_of_the_translation_are_those_of_prometheus() {
    // From the tests of otlptranslator.
    for (name, unit, is_counter, expected) in [
        ("system.filesystem.usage", "By", false, "system_filesystem_usage_bytes"),
        ("system.io", "By", true, "system_io_bytes_total"),
        ("system.network.dropped", "{packets}", true, "system_network_dropped_total"),
        ("redis.latest_fork", "us", false, "redis_latest_fork_microseconds"),
        ("system.cpu.utilization", "1", false, "system_cpu_utilization_ratio"),
        ("storage.filesystem.utilization", "%", false, "storage_filesystem_utilization_percent"),
        ("astro.light.speed_limit", "m/s", false, "astro_light_speed_limit_meters_per_second"),
        ("hw.energy", "J", true, "hw_energy_joules_total"),
        (
            "active_directory.ds.replication.network.io",
            "By",
            true,
            "active_directory_ds_replication_network_io_bytes_total",
        ),
        ("a.bytes", "By", true, "a_bytes_total"),
    ] {
        assert_eq!(prometheus_name(name, unit, is_counter, true), expected);
    }
}

/// Pages of hosts that were laid out in files.
fn golden(name: &str) -> Vec<Snapshot> {
    let path = format!("{}/tests/hosts/{name}.host", env!("CARGO_MANIFEST_DIR"));
    let host = Host::parse(&std::fs::read_to_string(path).unwrap()).unwrap();
    let ground = Ground::new(&host);
    let mut sampler = Sampler::new(ground.parts());
    let mut snapshots = vec![sampler.tick(at(0))];
    for (seconds, changes) in &host.ticks {
        ground.apply(changes);
        snapshots.push(sampler.tick(at(*seconds)));
    }
    snapshots
}

#[test]
fn a_push_of_a_golden_host_is_what_its_scrape_is() {
    for name in ["xeon-2s-psys", "laptop", "vm-estimate", "k8s-v2-systemd"] {
        for mut snapshot in golden(name) {
            check_same(&snapshot);
            snapshot.store = Some(StoreState {
                path: "/a \"b\"\\".into(),
                commits: u64::MAX,
                errors: vec![("io".into(), 3)],
                last_commit: Some(snapshot.at.wall),
                ..StoreState::default()
            });
            snapshot.push = Some(PushState {
                pushes: BTreeMap::from([(PushOutcome::Accepted, 7), (PushOutcome::Timeout, 1)]),
                last: Some(PushOutcome::Timeout),
                last_success: Some(snapshot.at.wall),
                ..PushState::default()
            });
            check_same(&snapshot);
        }
    }
}

#[test]
fn a_push_of_any_simulated_host_is_what_its_scrape_is() {
    for seed in 0..12 {
        let mut run = Run::new(seed);
        for _ in 0..20 {
            check_same(&run.tick());
        }
    }
}

#[test]
fn a_large_push_is_split_and_nothing_is_lost_or_doubled() {
    let mut run = Run::new(3);
    let before = Arc::new((0..30).map(|_| run.tick()).next_back().unwrap());
    let now = (0..20).map(|_| run.tick()).next_back().unwrap();
    let whole: Vec<Point> = cumulative(&now, &[Arc::clone(&before)]);
    for max_bytes in [1, 9_000, 20_000, 100_000] {
        let parts =
            parts(&now, &[Arc::clone(&before)], Temporality::Cumulative, &Baselines::default(), max_bytes);
        let split: Vec<Point> = parts.iter().flat_map(|part| points(&part.bytes)).collect();
        assert_eq!(parts.iter().map(|part| part.points).sum::<usize>(), whole.len());
        assert_eq!(split, whole, "{max_bytes}");
        for part in &parts {
            assert!(part.bytes.len() <= max_bytes.max(9_000) + 1_000, "{} of {max_bytes}", part.bytes.len());
        }
        assert!(max_bytes > 50_000 || parts.len() > 1);
    }
}

/// What identifies a series.
fn identity(point: &Point) -> (String, BTreeMap<String, String>) {
    (point.name.clone(), point.attributes.clone())
}

#[test]
fn a_series_that_is_gone_is_ended_once_and_one_that_is_there_never() {
    let mut ended = 0;
    for seed in 0..10 {
        let mut run = Run::new(seed);
        let mut before: Option<(Arc<Snapshot>, BTreeSet<_>)> = None;
        for _ in 0..40 {
            let snapshot = Arc::new(run.tick());
            let known: Vec<_> = before.iter().map(|(snapshot, _)| Arc::clone(snapshot)).collect();
            let all = cumulative(&snapshot, &known);
            let (gone, there): (Vec<&Point>, Vec<&Point>) = all.iter().partition(|point| point.is_gone());
            let there: BTreeSet<_> = there.into_iter().map(identity).collect();
            let gone: BTreeSet<_> =
                gone.into_iter().inspect(|point| assert!(point.value.is_none())).map(identity).collect();
            if let Some((_, were)) = &before {
                assert_eq!(gone, were.difference(&there).cloned().collect(), "seed {seed}");
            }
            ended += gone.len();
            before = Some((snapshot, there));
        }
    }
    assert!(ended > 20, "jobs end in these worlds: {ended}");
}

#[test]
fn a_start_never_moves_while_a_series_lives_and_never_lies_ahead_of_its_point() {
    for seed in 0..12 {
        let mut run = Run::new(seed);
        let mut starts: BTreeMap<_, (u64, f64)> = BTreeMap::new();
        for tick in 0..40 {
            // An hour back, a day ahead, and back to before everything began.
            match tick {
                10 => run.world.set_wall_clock(-3_600),
                20 => run.world.set_wall_clock(86_400),
                30 => run.world.set_wall_clock(-10_000_000),
                _ => {}
            }
            let snapshot = run.tick();
            let all = cumulative(&snapshot, &[]);
            let now: BTreeSet<_> = all.iter().map(identity).collect();
            starts.retain(|series, _| now.contains(series));
            for point in &all {
                assert!(point.start <= point.time, "{point:?}");
                if !point.is_sum {
                    assert!(point.is_histogram || point.start == 0, "{point:?}");
                    continue;
                }
                let value = point.value.unwrap();
                if let Some((start, before)) = starts.insert(identity(point), (point.start, value)) {
                    let is_same = start == point.start && before <= value;
                    // A job that comes back after it left the page is another series with the same labels.
                    assert!(is_same || start < point.start, "{point:?} began at {start} with {before}");
                }
                if point.name.contains(".job.") {
                    let id = point.attributes["job_id"].as_str();
                    let job = snapshot.totals.jobs.iter().find(|job| **job.job.id.id() == *id).unwrap();
                    assert_eq!(point.start, job.job.started.wall.get());
                } else if point.attributes.get("group").is_some_and(|group| !group.is_empty()) {
                    let mut groups = snapshot.totals.groups.iter().flat_map(|kind| &kind.groups);
                    let (name, start) = (point.attributes["group"].as_str(), point.start);
                    assert!(groups.any(|group| &*group.name == name && group.started.get() == start));
                } else if point.name.contains("energy") || point.name.contains("co2e") {
                    assert_eq!(point.start, snapshot.totals.started.get());
                }
            }
        }
    }
}

/// A backend of differences: adds up what it acknowledges.
#[derive(Default)]
struct Adder(BTreeMap<(String, BTreeMap<String, String>), (u64, u128)>);

impl Adder {
    fn take(&mut self, all: &[Point]) {
        for point in all.iter().filter(|point| point.is_sum && !point.is_gone()) {
            assert!(point.is_delta && point.start <= point.time, "{point:?}");
            let (until, sum) = self.0.entry(identity(point)).or_default();
            assert!(point.start >= *until, "{point:?} overlaps what ended at {until}");
            *until = point.time;
            *sum += micro(point);
        }
    }
}

/// A sum's value in its smallest unit, from the float.
fn micro(point: &Point) -> u128 {
    format!("{:.0}", point.value.unwrap() * 1e9).parse().unwrap()
}

#[test]
fn differences_add_up_to_the_totals_whatever_fails_and_restarts() {
    for seed in 0..40 {
        let mut run = Run::new(seed);
        let mut dice = Dice::new(seed ^ 0xd1ce);
        let mut adder = Adder::default();
        let mut baselines = Baselines::default();
        let mut sums: BTreeMap<(String, BTreeMap<String, String>), u128> = BTreeMap::new();
        for _ in 0..40 {
            let snapshot = run.tick();
            let max_bytes = if dice.chance(50) { 9_000 } else { MAX_MESSAGE_BYTES };
            let mut is_whole = true;
            let mut series = std::collections::HashSet::new();
            for part in parts(&snapshot, &[], Temporality::Delta, &baselines, max_bytes) {
                if dice.chance(30) {
                    is_whole = false;
                    break;
                }
                adder.take(&points(&part.bytes));
                baselines.learn(&part.pushed);
                series.extend(part.pushed.iter().map(|pushed| pushed.series));
            }
            if is_whole {
                baselines.forget_all_but(&series);
                for point in cumulative(&snapshot, &[]).iter().filter(|point| is_kept(point)) {
                    let total = micro(point);
                    let before = sums.insert(identity(point), total).unwrap_or(0);
                    // A job that left the page and came back counts from 0: only what was added since is new.
                    if total >= before && !point.name.contains(".job.") {
                        let added = adder.0[&identity(point)].1;
                        assert_eq!(added, total, "seed {seed}: {point:?}");
                    } else if point.name.contains(".job.") {
                        assert!(adder.0[&identity(point)].1 >= total, "seed {seed}: {point:?}");
                    }
                }
            }
            if dice.chance(15) {
                // What the store has is what was acknowledged.
                baselines = Baselines::new(baselines.all());
                run.restart(&snapshot);
            }
        }
    }
}

/// Counters that go on over a restart; those of a process begin anew with it.
fn is_kept(point: &Point) -> bool {
    point.is_sum && (point.name.contains("energy") || point.name.contains("co2e"))
}

#[test]
fn low_memory_makes_a_difference_of_the_histogram_alone() {
    let mut run = Run::new(1);
    let mut baselines = Baselines::default();
    let mut counted = 0;
    for tick in 1..=5_u64 {
        let snapshot = run.tick();
        for part in parts(&snapshot, &[], Temporality::LowMemory, &baselines, MAX_MESSAGE_BYTES) {
            for point in points(&part.bytes) {
                assert_eq!(point.is_delta, point.is_histogram, "{point:?}");
                if let Some((_, count, _)) = &point.histogram {
                    counted += count;
                }
            }
            baselines.learn(&part.pushed);
        }
        let total: u64 = snapshot.sampler.durations.iter().sum();
        assert_eq!(counted, total, "after tick {tick}");
    }
}
