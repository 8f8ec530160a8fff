//! A made-up fleet on a real Prometheus: what it has in the end is what the fleet drew.

use crate::http;
use crate::prometheus::{Prometheus, programs, version};
use crate::rig::read_open_metrics;
use crate::simulate::{Simulator, wait};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

const OPEN_METRICS: &str = "Accept: application/openmetrics-text; version=1.0.0";

/// What a series of one host had at its first and its last sample.
struct Window {
    start: f64,
    end: f64,
}

impl Simulator {
    pub(crate) fn truth(&self) -> Value {
        // A thousand hosts on a busy machine take their time.
        let answer = wait("the truth", Duration::from_secs(120), || {
            http::request(self.address, "GET", "/truth", &[]).ok()
        });
        serde_json::from_str(answer.text()).expect("JSON")
    }

    fn hosts(&self) -> Vec<String> {
        let truth = self.truth();
        truth["hosts"].as_object().expect("hosts by name").keys().cloned().collect()
    }

    /// The identities of every `step`th host's page.
    fn check_pages(&self, step: usize) {
        for host in self.hosts().iter().step_by(step) {
            let path = format!("/hosts/{host}/metrics");
            let answer = http::request(self.address, "GET", &path, &[OPEN_METRICS]).expect("an answer");
            read_open_metrics(answer.text());
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.daemon.0.id()
    }

    /// Waits until everything has come to rest: what groups are still owed has been shown.
    pub(crate) fn wait_for_rest(&self, patience: Duration) -> Value {
        wait("a fleet at rest", patience, || {
            let (one, other) = (self.truth(), {
                std::thread::sleep(Duration::from_secs(3));
                self.truth()
            });
            let pending = other["pending"].as_object().expect("by kind");
            let is_paid = pending.values().all(|amount| amount["energy_microjoules"] == 0);
            let has_drawn = other["organization"]["energy_microjoules"].as_u64() > Some(0);
            (is_paid && has_drawn && one["organization"] == other["organization"]).then_some(other)
        })
    }
}

pub(crate) fn configuration(simulator: &Simulator, interval: &str, more: &str) -> String {
    format!(
        "global: {{scrape_interval: {interval}, scrape_timeout: {interval}, evaluation_interval: 30s}}\n{more}\
         scrape_configs:\n- job_name: jouleprint\n  http_sd_configs: [{{url: 'http://{}/sd'}}]\n",
        simulator.address
    )
}

/// The first and last sample of each host. All begin at 0, so that nothing was missed.
fn windows(server: &Prometheus, hosts: usize) -> BTreeMap<String, Window> {
    let mut windows: BTreeMap<String, Window> = BTreeMap::new();
    let data = server.api("query", "query", "hw_host_energy_joules_total[3h]");
    for series in data["result"].as_array().expect("a matrix") {
        let values = series["values"].as_array().expect("samples");
        let time = |sample: &Value| sample[0].as_f64().expect("a time");
        let (first, last) = (&values[0], values.last().expect("a sample"));
        assert_eq!(first[1].as_str().map(|text| text.parse::<f64>()), Some(Ok(0.0)), "{}", series["metric"]);
        let host = series["metric"]["host"].as_str().expect("a host").to_owned();
        windows.insert(host, Window { start: time(first), end: time(last) });
    }
    assert_eq!(windows.len(), hosts, "every host was read");
    windows
}

/// `increase()` of a host's and its groups' series over its window, from its first sample to its last: nothing
/// is extrapolated. By cluster, zone, kind and name of the group; the host itself is of no kind. One question
/// for all, since a fleet is asked host by host.
fn increases(server: &Prometheus, names: [&str; 2], host: &str, window: &Window) -> Vec<([String; 4], f64)> {
    let length = (window.end - window.start) * 1e3 + 1.0;
    let by = ["cluster", "grid_zone", "group_kind", "group"];
    let sum = |name: &str| {
        let range = format!("{name}{{host=\"{host}\"}}[{length:.0}ms] @ {:.3}", window.end);
        format!("sum by ({}) (increase({range}))", by.join(", "))
    };
    let data = server.api("query", "query", &names.map(sum).join(" or "));
    let results = data["result"].as_array().expect("a vector");
    let value = |result: &Value| {
        let text = result["value"][1].as_str().expect("a number");
        let labels = by.map(|name| result["metric"][name].as_str().unwrap_or_default().to_owned());
        (labels, text.parse::<f64>().expect("a number"))
    };
    results.iter().map(value).collect()
}

/// By how much one is off the other.
fn off(measured: f64, truth: f64) -> f64 {
    if truth == 0.0 { measured.abs() } else { (measured / truth - 1.0).abs() }
}

/// Everything that Prometheus has by `increase()` against the truth: the largest deviation of a host, a group
/// of a cluster, a zone and the organisation, energy and emissions.
pub(crate) fn compare(server: &Prometheus, truth: &Value) -> [f64; 4] {
    const BOUND: f64 = 0.001;
    let hosts = truth["hosts"].as_object().expect("hosts by name");
    let windows = windows(server, hosts.len());
    let mut worst = [0.0_f64; 4];
    for (of_host, of_group, key, unit) in [
        ("hw_host_energy_joules_total", "jouleprint_group_energy_joules_total", "energy_microjoules", 1e6),
        (
            "jouleprint_host_emissions_co2e_grams_total",
            "jouleprint_group_emissions_co2e_grams_total",
            "emissions_nanograms",
            1e9,
        ),
    ] {
        let amount = |value: &Value| value[key].as_f64().expect("a number") / unit;
        let mut all = 0.0;
        let mut groups: BTreeMap<[String; 3], f64> = BTreeMap::new();
        let mut zones: BTreeMap<String, f64> = BTreeMap::new();
        for (host, window) in &windows {
            let mut of_this = 0.0;
            for ([cluster, zone, kind, group], value) in increases(server, [of_host, of_group], host, window)
            {
                if kind.is_empty() {
                    of_this += value;
                    *zones.entry(zone).or_default() += value;
                } else {
                    *groups.entry([cluster, kind, group]).or_default() += value;
                }
            }
            let is_off = off(of_this, amount(&hosts[host]));
            assert!(is_off < BOUND, "{of_host} of {host}: {of_this} for {}", amount(&hosts[host]));
            worst[0] = worst[0].max(is_off);
            all += of_this;
        }
        let of_groups = truth["groups"].as_array().expect("a list");
        for group in of_groups.iter().filter(|group| amount(group) > 0.0) {
            let label = |name: &str| group[name].as_str().expect("a label").to_owned();
            let found = groups.get(&[label("cluster"), label("group_kind"), label("group")]);
            let is_off = off(found.copied().unwrap_or_default(), amount(group));
            assert!(is_off < BOUND, "{of_group}: {found:?} for {group}");
            worst[1] = worst[1].max(is_off);
        }
        if key == "emissions_nanograms" {
            for (zone, grams) in &zones {
                let is_off = off(*grams, amount(&truth["zones"][zone]));
                assert!(is_off < BOUND, "{zone}: {grams} g for {}", truth["zones"][zone]);
                worst[2] = worst[2].max(is_off);
            }
        }
        let is_off = off(all, amount(&truth["organization"]));
        assert!(is_off < BOUND, "{all} for {}", truth["organization"]);
        worst[3] = worst[3].max(is_off);
    }
    worst
}

#[test]
fn a_fleet_in_prometheus_is_what_it_drew() {
    let mut arguments = vec!["--hosts", "100", "--jobs", "20", "--gpus", "3", "--zones", "FR,DE,PL"];
    // A group is shown at 0 for 3 s, and is read every 2 s.
    arguments.extend(["--tick", "1", "--scrape-interval-hint", "1"]);
    arguments.extend(["--starts-after", "15", "--stops-after", "70"]);
    let simulator = Simulator::start(&arguments);
    let pairs = programs();
    let [program, _] = pairs.last().expect("a Prometheus");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Prometheus::launch(program, folder, &configuration(&simulator, "2s", ""), &[]);
    wait("a Prometheus that is ready", Duration::from_secs(30), || {
        let ready = http::request(server.address, "GET", "/-/ready", &[]);
        ready.ok().filter(|answer| answer.status == 200)
    });
    wait("a fleet that works", Duration::from_secs(60), || {
        (simulator.truth()["organization"]["energy_microjoules"].as_u64() > Some(0)).then_some(())
    });
    simulator.check_pages(1);
    let truth = simulator.wait_for_rest(Duration::from_secs(180));
    simulator.check_pages(1);
    // Two more scrapes, so that every page was read at rest.
    std::thread::sleep(Duration::from_secs(6));
    assert!((server.value("count(up == 1)") - 100.0).abs() < f64::EPSILON, "every host is up");
    let [hosts, groups, zones, all] = compare(&server, &truth);
    println!(
        "Prometheus {}: off by at most {:.5}% (hosts), {:.5}% (groups), {:.5}% (zones), {:.5}% (all)",
        version(program),
        hosts * 100.0,
        groups * 100.0,
        zones * 100.0,
        all * 100.0
    );
}
