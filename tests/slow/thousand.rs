//! A thousand hosts on one Prometheus with the shipped rules: in time, right, and at what cost. Prints the
//! table of docs/scale.md. `SIMULATOR` names a release build.

use crate::drawn::{compare, configuration};
use crate::http;
use crate::prometheus::{Prometheus, programs, version};
use crate::simulate::{Simulator, wait};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

/// Hosts unless `HOSTS` says otherwise, and jobs on each.
const HOSTS: u32 = 1_000;
const JOBS: &str = "60";

/// So long they rest at first: the rules of the hours are evaluated once before anything is drawn.
const REST: u64 = 240;

/// How long they work, unless `MINUTES` says otherwise.
const MINUTES: u64 = 15;

/// A number of Prometheus' own page: the sum, or the largest, of the samples that begin like this.
fn own(server: &Prometheus, prefix: &str, fold: fn(f64, f64) -> f64) -> f64 {
    let page = http::get(server.address, "/metrics");
    let samples = page.text().lines().filter(|line| line.starts_with(prefix));
    let values = samples.filter_map(|line| line.rsplit_once(' ')?.1.parse().ok());
    values.fold(0.0, fold)
}

/// CPU seconds and resident bytes of a process.
fn cost(pid: u32) -> (f64, f64) {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).expect("it lives");
    let stat = read("stat");
    let fields: Vec<&str> = stat.rsplit(") ").next().expect("fields").split(' ').collect();
    let ticks = |index: usize| fields[index].parse::<f64>().expect("a number");
    let status = read("status");
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    let kilobytes = resident.trim().trim_end_matches(" kB").parse::<f64>().expect("a number");
    ((ticks(11) + ticks(12)) / 100.0, kilobytes * 1024.0)
}

/// The shipped rules, with the hours' group every three minutes, so that it is seen at work.
fn rules(folder: &Path) -> Vec<String> {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus");
    ["recording.yaml", "alerts.yaml"]
        .map(|name| {
            let text = std::fs::read_to_string(shipped.join(name)).expect("the shipped rules");
            let path = folder.join(name);
            std::fs::write(&path, text.replace("interval: 1h\n", "interval: 3m\n")).expect("written");
            path.display().to_string()
        })
        .to_vec()
}

#[test]
fn a_thousand_hosts_on_one_prometheus() {
    let minutes = std::env::var("MINUTES").map_or(MINUTES, |text| text.parse().expect("minutes"));
    let hosts = std::env::var("HOSTS").map_or(HOSTS, |text| text.parse().expect("hosts")).to_string();
    let of_all: f64 = hosts.parse().expect("a number");
    let (starts, stops) = (REST.to_string(), (REST + minutes * 60).to_string());
    let mut arguments = vec!["--hosts", &hosts, "--jobs", JOBS, "--gpus", "4", "--clusters", "4"];
    // A group is shown at 0 for 25 s, and is read every 15 s.
    arguments.extend(["--tick", "15", "--scrape-interval-hint", "5"]);
    arguments.extend(["--starts-after", &starts, "--stops-after", &stops]);
    let simulator = Simulator::start(&arguments);
    let pairs = programs();
    let [program, _] = pairs.last().expect("a Prometheus");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let files = rules(folder.path());
    let more = format!("rule_files: {files:?}\n");
    let text = configuration(&simulator, "15s", &more);
    let data = folder.path().join("data");
    let server = Prometheus::launch(program, folder, &text, &["--web.enable-admin-api".to_owned()]);
    wait("a Prometheus that is ready", Duration::from_secs(60), || {
        let ready = http::request(server.address, "GET", "/-/ready", &[]);
        ready.ok().filter(|answer| answer.status == 200)
    });
    // Half of the time to settle down, half to be measured.
    std::thread::sleep(Duration::from_secs(REST + minutes * 30));
    let appended = |server: &Prometheus| {
        own(server, "prometheus_tsdb_head_samples_appended_total", |sum, value| sum + value)
    };
    let before = (cost(simulator.pid()), cost(server.pid()), appended(&server));
    let time = Duration::from_secs(minutes * 30);
    std::thread::sleep(time);
    let after = (cost(simulator.pid()), cost(server.pid()), appended(&server));
    let seconds = time.as_secs_f64();
    let scraped = server.value("sum(scrape_samples_scraped)");
    let up = server.value("count(up == 1)");
    let slowest = server.value("quantile(0.99, scrape_duration_seconds)");
    let largest = server.value("max(scrape_samples_scraped)");
    println!("Prometheus {}, {hosts} hosts x {JOBS} jobs, {minutes} minutes", version(program));
    println!("series per node: {:.0} in the mean, {largest:.0} at the most; up: {up}", scraped / up);
    println!("samples a second: {:.0}", (after.2 - before.2) / seconds);
    println!("series in the head: {:.0}", own(&server, "prometheus_tsdb_head_series ", f64::max));
    println!("scrape, 99th percentile: {slowest:.3} s");
    println!(
        "Prometheus: {:.2} CPUs, {:.0} MB; simulator: {:.2} CPUs, {:.0} MB",
        (after.1.0 - before.1.0) / seconds,
        after.1.1 / 1e6,
        (after.0.0 - before.0.0) / seconds,
        after.0.1 / 1e6
    );
    let page = http::get(server.address, "/metrics");
    for line in page.text().lines() {
        if line.starts_with("prometheus_rule_group_last_duration_seconds{")
            || line.starts_with("prometheus_rule_group_iterations_missed_total{")
            || line.starts_with("prometheus_rule_group_rules{")
        {
            println!("{line}");
        }
    }
    let missed = own(&server, "prometheus_rule_group_iterations_missed_total{", |sum, value| sum + value);
    let failed = own(&server, "prometheus_rule_evaluation_failures_total{", |sum, value| sum + value);
    let truth = simulator.wait_for_rest(Duration::from_secs(900));
    std::thread::sleep(Duration::from_secs(40));
    let [hosts, groups, zones, all] = compare(&server, &truth);
    println!(
        "off by at most {:.5}% (hosts), {:.5}% (groups), {:.5}% (zones), {:.5}% (all)",
        hosts * 100.0,
        groups * 100.0,
        zones * 100.0,
        all * 100.0
    );
    bytes_a_sample(&server, &data);
    assert!((up - of_all).abs() < f64::EPSILON, "{up} of {of_all} hosts are up");
    check_hours(&server, &truth);
    assert!(missed.abs() < f64::EPSILON, "{missed} evaluations were missed");
    assert!(failed.abs() < f64::EPSILON, "{failed} evaluations failed");
    check_durations(&server);
}

/// What the shipped rules recorded hour by hour (here every three minutes) adds up to the truth.
fn check_hours(server: &Prometheus, truth: &Value) {
    const BOUND: f64 = 0.001;
    // One whole round of the rules after the last scrape, however long it takes.
    std::thread::sleep(Duration::from_secs(2 * 180 + 30));
    let mut worst: f64 = 0.0;
    let mut check = |what: &str, recorded: f64, drawn: f64| {
        let off = (recorded / drawn - 1.0).abs();
        assert!(off < BOUND, "{what}: {recorded} for {drawn}");
        worst = worst.max(off);
    };
    for (name, of_group, key, unit) in [
        ("hw_host_energy_joules", "jouleprint_group_energy_joules", "energy_microjoules", 1e6),
        (
            "jouleprint_host_emissions_co2e_grams",
            "jouleprint_group_emissions_co2e_grams",
            "emissions_nanograms",
            1e9,
        ),
    ] {
        let drawn = |value: &Value| value[key].as_f64().expect("a number") / unit;
        let sum = |rule: &str| server.value(&format!("sum(sum_over_time({rule}[3h]))"));
        check(name, sum(&format!("organization:{name}:increase1h")), drawn(&truth["organization"]));
        for (cluster, amount) in truth["clusters"].as_object().expect("by name") {
            check(
                cluster,
                sum(&format!("cluster:{name}:increase1h{{cluster=\"{cluster}\"}}")),
                drawn(amount),
            );
        }
        for (zone, amount) in truth["zones"].as_object().expect("by name") {
            check(zone, sum(&format!("zone:{name}:increase1h{{grid_zone=\"{zone}\"}}")), drawn(amount));
        }
        for group in truth["groups"].as_array().expect("a list").iter().filter(|group| drawn(group) > 0.0) {
            let label = |name: &str| group[name].as_str().expect("a label");
            let (cluster, kind, group_name) = (label("cluster"), label("group_kind"), label("group"));
            let labels = format!("cluster=\"{cluster}\",group_kind=\"{kind}\",group=\"{group_name}\"");
            check(&labels, sum(&format!("group:{of_group}:increase1h{{{labels}}}")), drawn(group));
        }
    }
    println!("the hours of the rules are off by at most {:.5}%", worst * 100.0);
}

/// Each group has half of its interval at the most; the hours' own is an hour.
fn check_durations(server: &Prometheus) {
    let page = http::get(server.address, "/metrics");
    let mut groups = 0;
    for line in page.text().lines() {
        let Some(rest) = line.strip_prefix("prometheus_rule_group_last_duration_seconds{") else { continue };
        let (group, seconds) = rest.rsplit_once(' ').expect("a value");
        let seconds: f64 = seconds.parse().expect("a number");
        let interval = format!("prometheus_rule_group_interval_seconds{{{group}");
        let interval = if group.contains("hours") { 3_600.0 } else { own(server, &interval, f64::max) };
        assert!(seconds < interval / 2.0, "{group} takes {seconds} s every {interval} s");
        groups += 1;
    }
    assert!(groups >= 5, "{groups} groups of rules");
}

/// A snapshot writes blocks of what is in memory: their size tells.
fn bytes_a_sample(server: &Prometheus, data: &Path) {
    let answer = http::request(server.address, "POST", "/api/v1/admin/tsdb/snapshot", &["Content-Length: 0"]);
    let answer = answer.expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let (mut bytes, mut samples) = (0, 0);
    let mut folders = vec![data.join("snapshots")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.ends_with("meta.json") {
                let text = std::fs::read_to_string(&path).expect("JSON");
                let meta: Value = serde_json::from_str(&text).expect("JSON");
                samples += meta["stats"]["numSamples"].as_u64().expect("a number");
            } else {
                bytes += entry.metadata().expect("a size").len();
            }
        }
    }
    println!("bytes a sample, index included: {:.2} ({samples} samples)", bytes as f64 / samples as f64);
}
