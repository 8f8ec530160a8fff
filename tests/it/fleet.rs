//! The made-up fleet of `simulate`: its pages are sound, and say what its meters were made to draw.

use crate::page::{Page, check_identity, check_rising};
use jouleprint::command::simulate::backfill;
use jouleprint::command::simulate::fleet::{Fleet, Truth};
use jouleprint::command::simulate::scenario::{Scenario, zones};
use jouleprint::model::quantity::Nanos;
use jouleprint::output::prometheus::{Format, render};
use std::collections::{BTreeMap, BTreeSet};

/// Shortly before an hour is full, on a Sunday evening.
const START: Nanos = Nanos::from_seconds(1_795_304_700);

fn scenario() -> Scenario {
    let names = ["FR", "DE", "PL"].map(str::to_owned);
    Scenario {
        hosts: 24,
        jobs: 12,
        gpus: 3,
        zones: zones(&names).unwrap(),
        clusters: 2,
        teams: 5,
        seed: 7,
        interval: Nanos::from_seconds(15),
        hint: Nanos::from_seconds(15),
        speed: 1,
        starts_after: Nanos::ZERO,
        stops_after: None,
    }
}

fn after(scenario: Scenario, ticks: u64) -> Fleet {
    let fleet = Fleet::new(scenario, START);
    (0..ticks).for_each(|_| (0..fleet.len()).for_each(|place| fleet.tick(place)));
    fleet
}

fn text(fleet: &Fleet, place: usize) -> String {
    let mut text = Vec::new();
    render(&fleet.snapshot(place).unwrap(), Format::OpenMetrics, "", &mut text);
    String::from_utf8(text).unwrap()
}

fn pages(fleet: &Fleet) -> Vec<Page> {
    (0..fleet.len()).map(|place| Page::parse(&text(fleet, place)).unwrap()).collect()
}

/// `Σ` of the pages, in nano units.
fn sum(pages: &[Page], name: &str, labels: &[(&str, &str)]) -> u128 {
    pages.iter().map(|page| page.sum(name, labels)).sum()
}

fn check_truth(pages: &[Page], truth: &Truth) {
    let energy = sum(pages, "hw_host_energy_joules_total", &[]);
    assert_eq!(energy, truth.organization.energy_microjoules * 1_000);
    for (host, of_host) in &truth.hosts {
        let energy = sum(pages, "hw_host_energy_joules_total", &[("host", host)]);
        assert_eq!(energy, of_host.amount.energy_microjoules * 1_000, "{host}");
    }
    for (zone, amount) in &truth.zones {
        let grams = sum(pages, "jouleprint_host_emissions_co2e_grams_total", &[("grid_zone", zone)]);
        // Each account keeps less than 1 ng to itself, and a µJ more or less falls to an hour.
        let apart = grams.abs_diff(amount.emissions_nanograms);
        assert!(apart <= amount.emissions_nanograms / 1_000_000 + 100_000, "{zone}: {apart} ng of {grams}");
    }
    for group in &truth.groups {
        if group.group.is_empty() {
            continue;
        }
        let prefix = format!("{}-", group.cluster);
        let of_cluster: Vec<Page> = pages
            .iter()
            .filter(|page| page.samples[0].labels["host"].starts_with(&prefix))
            .cloned()
            .collect();
        let labels = [("group_kind", &*group.group_kind), ("group", &*group.group)];
        let energy = sum(&of_cluster, "jouleprint_group_energy_joules_total", &labels);
        assert_eq!(energy, group.amount.energy_microjoules * 1_000, "{group:?}");
    }
    for kind in ["namespace", "slurm_account", "user", "team"] {
        let of_kind = truth.groups.iter().filter(|group| &*group.group_kind == kind);
        let shown: u128 = of_kind.map(|group| group.amount.energy_microjoules).sum();
        let all = shown + truth.pending[kind].energy_microjoules;
        assert_eq!(all, truth.organization.energy_microjoules, "groups by {kind} are the fleet");
    }
}

#[test]
fn every_page_of_a_made_up_fleet_adds_up_and_says_the_truth() {
    let fleet = Fleet::new(scenario(), START);
    let mut before: Option<Vec<Page>> = None;
    let mut jobs = BTreeSet::new();
    // Over an hour's end, and until the shortest jobs have gone.
    for tick in 0..90 {
        (0..fleet.len()).for_each(|place| fleet.tick(place));
        if tick % 15 != 0 {
            continue;
        }
        let pages = pages(&fleet);
        pages.iter().for_each(|page| check_identity(page).unwrap());
        for (before, after) in before.iter().flatten().zip(&pages) {
            check_rising(before, after).unwrap();
        }
        check_truth(&pages, &fleet.truth());
        for sample in pages.iter().flat_map(|page| page.all("jouleprint_job_info", &[])) {
            jobs.insert(sample.labels["job_id"].clone());
        }
        before = Some(pages);
    }
    assert!(jobs.len() > 24 * 10 + 20, "jobs come and go: {}", jobs.len());
    let last = before.unwrap();
    let of = |name: &str, label: &str| -> BTreeSet<String> {
        let samples = last.iter().flat_map(|page| page.all(name, &[]));
        samples.map(|sample| sample.labels.get(label).cloned().unwrap_or_default()).collect()
    };
    assert_eq!(of("hw_host_energy_joules_total", "origin").len(), 2, "measured and estimated hosts");
    assert_eq!(of("jouleprint_grid_intensity_info", "fallback").len(), 2, "one zone is out of order");
    assert_eq!(of("jouleprint_host_emissions_co2e_grams_total", "grid_zone").len(), 3);
    assert!(of("jouleprint_gpu_instance_info", "gpu_instance").len() >= 3, "divided accelerators");
    let job_gpus = of("jouleprint_job_energy_joules_total", "gpu");
    assert!(job_gpus.len() > 3, "jobs hold accelerators: {job_gpus:?}");
    assert_eq!(of("jouleprint_job_info", "job_kind"), ["pod", "slurm", "unit"].map(str::to_owned).into());
    let truth = fleet.truth();
    let shown: u128 = truth
        .groups
        .iter()
        .filter(|group| !group.group.is_empty())
        .map(|group| group.amount.energy_microjoules)
        .sum();
    assert!(shown > 0, "groups have risen");
}

#[test]
fn the_same_seed_makes_the_same_pages_and_another_one_others() {
    let text_of = |seed| {
        let fleet = after(Scenario { seed, ..scenario() }, 20);
        (0..fleet.len()).map(|place| text(&fleet, place)).collect::<String>()
    };
    assert!(text_of(7) == text_of(7));
    assert!(text_of(7) != text_of(8));
}

#[test]
fn at_rest_nothing_rises_and_what_was_used_stays() {
    let scenario = Scenario {
        starts_after: Nanos::from_seconds(45),
        stops_after: Some(Nanos::from_seconds(300)),
        ..scenario()
    };
    let fleet = Fleet::new(scenario, START);
    let mut seen = BTreeMap::new();
    for tick in 0..40 {
        (0..fleet.len()).for_each(|place| fleet.tick(place));
        seen.insert(tick, fleet.truth().organization.energy_microjoules);
    }
    assert_eq!(seen[&3], 0, "still at rest");
    assert!(seen[&4] > 0 && seen[&20] > seen[&19], "at work");
    assert_eq!(seen[&21], seen[&39], "at rest again");
    let last = pages(&fleet);
    last.iter().for_each(|page| check_identity(page).unwrap());
    check_truth(&last, &fleet.truth());
}

#[test]
fn a_fast_clock_makes_so_many_times_the_energy() {
    let energy = |speed| {
        let fleet = after(Scenario { speed, ..scenario() }, 30);
        pages(&fleet).iter().for_each(|page| check_identity(page).unwrap());
        fleet.truth().organization.energy_microjoules
    };
    let ratio = energy(60) as f64 / energy(1) as f64;
    // Half a day of load against some minutes of it.
    assert!((40.0..80.0).contains(&ratio), "{ratio}");
}

#[test]
fn the_past_ends_with_the_page_of_now() {
    let scenario = Scenario { hosts: 4, interval: Nanos::from_seconds(300), ..scenario() };
    let ticks = 30;
    let mut written = Vec::new();
    backfill::write(&Fleet::new(scenario.clone(), START), ticks, &mut written).unwrap();
    let written = String::from_utf8(written).unwrap();
    assert!(written.ends_with("# EOF\n"));
    let mut last: BTreeMap<&str, (&str, u64)> = BTreeMap::new();
    for line in written.lines().filter(|line| !line.starts_with('#')) {
        let (rest, time) = line.rsplit_once(' ').unwrap();
        let (series, value) = rest.rsplit_once(' ').unwrap();
        let time = time.parse().unwrap();
        let before = last.insert(series, (value, time));
        assert!(before.is_none_or(|(_, before)| before < time), "in order of time: {line}");
    }
    let fleet = after(scenario, ticks);
    for place in 0..fleet.len() {
        let (host, cluster) = fleet.names()[place].clone();
        let page = text(&fleet, place);
        let line = page.lines().find(|line| line.starts_with("hw_host_energy_joules_total")).unwrap();
        let (series, value) = line.rsplit_once(' ').unwrap();
        let target = format!("{{cluster=\"{cluster}\",instance=\"{host}\",job=\"jouleprint\",");
        let series = series.replacen('{', &target, 1);
        assert_eq!(last[series.as_str()].0, value, "{series}");
    }
    assert!(!written.contains("jouleprint_job_energy"), "jobs would be the bulk");
}
