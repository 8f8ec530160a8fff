//! A rollout as Prometheus sees it: the pod of a node is replaced by one of another name and address, and by the
//! relabelling that we ship the series go on.

use crate::bed::Bed;
use crate::deploy::{documents, of_kind, rendered, repository};
use crate::http;
use crate::machine::Truth;
use crate::prometheus::{Prometheus, programs, version};
use crate::rig::{Setup, free_address, wait_for};
use serde_json::{Value, json};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// How long each pod lives while Prometheus reads.
const LIFE: Duration = Duration::from_secs(6);

const ENERGY: &str = "hw_host_energy_joules_total";

/// What prometheus-operator puts before an endpoint's own relabelling.
fn operators() -> Vec<Value> {
    let copied = [
        ("__meta_kubernetes_namespace", "namespace"),
        ("__meta_kubernetes_pod_container_name", "container"),
        ("__meta_kubernetes_pod_name", "pod"),
    ];
    let mut rules: Vec<Value> =
        copied.into_iter().map(|(from, to)| json!({"source_labels": [from], "target_label": to})).collect();
    rules.push(json!({"target_label": "job", "replacement": "energy/jp-jouleprint"}));
    rules.push(json!({"target_label": "endpoint", "replacement": "http"}));
    rules
}

/// The chart's relabelling, in Prometheus' own words.
fn of_the_chart(kind: &str) -> Vec<Value> {
    let values = format!("monitor.kind={kind},cluster=berlin-1");
    let text = rendered(&repository().join("deploy/helm/jouleprint"), &["--set", &values]);
    let documents = documents(&text);
    let monitor = of_kind(&documents, kind)[0];
    let list = if kind == "PodMonitor" { "podMetricsEndpoints" } else { "endpoints" };
    let rules = &monitor["spec"][list][0]["relabelings"];
    [operators(), in_words_of_prometheus(rules)].concat()
}

/// Rules of prometheus-operator as Prometheus writes them.
pub(crate) fn in_words_of_prometheus(rules: &Value) -> Vec<Value> {
    let words = [("sourceLabels", "source_labels"), ("targetLabel", "target_label")];
    let rules = rules.as_array().expect("rules").clone();
    let renamed = rules.into_iter().map(|rule| {
        let rule = rule.as_object().expect("a rule").clone();
        let pairs = rule.into_iter().map(|(key, value)| {
            let word = words.iter().find(|(from, _)| *from == key).map_or(key.as_str(), |(_, to)| to);
            (word.to_owned(), value)
        });
        Value::Object(pairs.collect())
    });
    renamed.collect()
}

/// That of the scrape configuration for those without the operator.
fn of_the_snippet() -> Vec<Value> {
    let file = repository().join("deploy/prometheus/scrape-kubernetes.yaml");
    let text = fs::read_to_string(file).expect("shipped");
    let config: Value = serde_saphyr::from_str(&text).expect("YAML");
    config["scrape_configs"][0]["relabel_configs"].as_array().expect("rules").clone()
}

/// The pod as Kubernetes' discovery describes it.
fn discover(file: &Path, pod: &str, address: SocketAddr) {
    let targets = json!([{"targets": [address.to_string()], "labels": {
        "__meta_kubernetes_namespace": "energy",
        "__meta_kubernetes_pod_name": pod,
        "__meta_kubernetes_pod_node_name": "node-7",
        "__meta_kubernetes_pod_container_name": "jouleprint",
        "__meta_kubernetes_pod_container_port_name": "http",
        "__meta_kubernetes_pod_label_app_kubernetes_io_component": "node",
        "__meta_kubernetes_pod_phase": "Running",
    }}]);
    let new = file.with_extension("new");
    fs::write(&new, targets.to_string()).expect("written");
    fs::rename(new, file).expect("moved");
}

fn launch(program: &Path, file: &Path, rules: &[Value]) -> Prometheus {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = json!({
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
        "scrape_configs": [{
            "job_name": "kubernetes",
            "file_sd_configs": [{"files": [file.display().to_string()], "refresh_interval": "1s"}],
            "relabel_configs": rules,
        }],
    });
    // JSON is YAML.
    Prometheus::launch(program, folder, &config.to_string(), &[])
}

/// The first and the last time at which the series that lives was read.
fn read(server: &Prometheus) -> Option<(f64, f64)> {
    let data = server.api("query", "query", &format!("{ENERGY}[5m]"));
    let series = data["result"].as_array()?;
    let times = series.iter().filter_map(|series| series["values"].as_array());
    let times: Vec<f64> = times.flatten().filter_map(|sample| sample[0].as_f64()).collect();
    let first = times.iter().copied().reduce(f64::min)?;
    Some((first, times.iter().copied().reduce(f64::max)?))
}

/// Joules of all meters between two truths.
fn joules(before: &Truth, after: &Truth) -> f64 {
    let used: u64 = after.energy.iter().map(|(id, total)| total - before.energy[id]).sum();
    used as f64 / 1e6
}

#[test]
fn a_replaced_pod_goes_on_with_the_series_of_its_node() {
    let bed = Bed::new(77, 4);
    let addresses = [bed.address, free_address(), free_address()];
    let exporter_at = |address| Setup { address: Some(address), ..bed.setup() };
    let mut exporter = bed.start_as(&exporter_at(addresses[0]));
    let (_, before) = bed.settle(&exporter);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("pods.json");
    discover(&file, "jouleprint-aaaaa", addresses[0]);
    let ways = [
        ("PodMonitor", of_the_chart("PodMonitor")),
        ("ServiceMonitor", of_the_chart("ServiceMonitor")),
        ("scrape-kubernetes.yaml", of_the_snippet()),
        ("the operator's alone", operators()),
    ];
    let programs = programs();
    let newest = programs.last().expect("one at least");
    // The oldest Prometheus for the first way, the newest for all.
    let oldest = (ways[0].0, &programs[0][0], &ways[0].1);
    let all = ways.iter().map(|(way, rules)| (*way, &newest[0], rules)).chain([oldest]);
    let servers: Vec<_> =
        all.map(|(way, program, rules)| (way, program, launch(program, &file, rules))).collect();
    let starts: Vec<f64> = servers
        .iter()
        .map(|(_, _, server)| {
            wait_for("a Prometheus that is ready", || {
                let ready = http::request(server.address, "GET", "/-/ready", &[]);
                ready.ok().filter(|answer| answer.status == 200)
            });
            wait_for("a first scrape", || read(server)).0
        })
        .collect();
    bed.machine.run(None);
    for (name, address) in [("jouleprint-bbbbb", addresses[1]), ("jouleprint-ccccc", addresses[2])] {
        std::thread::sleep(LIFE);
        exporter.stop();
        exporter = bed.start_as(&exporter_at(address));
        bed.machine.run(None);
        discover(&file, name, address);
    }
    std::thread::sleep(LIFE);
    let (_, after) = bed.settle(&exporter);
    let frozen = crate::rig::now_milliseconds() as f64 / 1e3;
    let truth = joules(&before, &after);
    for ((way, program, server), start) in servers.iter().zip(starts) {
        let end = wait_for("a scrape after the end", || {
            read(server).map(|(_, last)| last).filter(|last| *last > frozen)
        });
        let window = format!("[{:.0}ms] @ {end:.3}", (end - start) * 1e3 + 1.0);
        let increase = server.value(&format!("sum(increase({ENERGY}{window}))"));
        let series = server.value(&format!("count(count_over_time({ENERGY}{window}))"));
        let off = increase / truth - 1.0;
        println!(
            "rollout, {way}, Prometheus {}: {series} series, {increase:.3} J of {truth:.3} ({:+.4}%)",
            version(program),
            off * 100.0
        );
        if *way == "the operator's alone" {
            assert!(series > 2.5 && off.abs() > 0.001, "the test could not fail: {series} series, {off}");
            continue;
        }
        assert!((series - 1.0).abs() < f64::EPSILON && off.abs() < 0.001, "{way}: {series} series, {off}");
        let resets = server.value(&format!("sum(resets({ENERGY}{window}))"));
        assert!(resets.abs() < f64::EPSILON, "{way}: {resets} resets");
        let data = server.api("query", "query", ENERGY);
        let labels = data["result"][0]["metric"].as_object().expect("labels");
        let names: Vec<&str> = labels.keys().map(String::as_str).collect();
        assert_eq!(names, ["__name__", "cluster", "host", "hw_id", "instance", "job", "origin"], "{way}");
        assert_eq!(
            (&labels["instance"], &labels["cluster"]),
            (&json!("node-7"), &json!("berlin-1")),
            "{way}"
        );
    }
}
