//! Whom the shipped configurations scrape and what each target is called, as Prometheus itself applies them to what
//! Kubernetes' discovery would tell.

use crate::deploy::{documents, of_kind, rendered, repository};
use crate::prometheus::{Prometheus, programs};
use crate::rig::wait_for;
use crate::rollout::in_words_of_prometheus;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Nobody listens there: a target is one whether or not it answers.
const NOBODY: &str = "127.0.0.1:9";

fn shipped(name: &str) -> Value {
    let file = repository().join(format!("deploy/prometheus/scrape-{name}.yaml"));
    serde_saphyr::from_str(&fs::read_to_string(file).expect("shipped")).expect("YAML")
}

/// A pod of the chart's as discovery describes it, with the port of this name.
fn discovered(pod: &str, component: &str, port: &str, phase: &str) -> Value {
    json!({"targets": [NOBODY], "labels": {
        "__meta_kubernetes_namespace": "energy",
        "__meta_kubernetes_pod_name": pod,
        "__meta_kubernetes_pod_node_name": format!("node-of-{pod}"),
        "__meta_kubernetes_pod_container_name": "any",
        "__meta_kubernetes_pod_container_port_name": port,
        "__meta_kubernetes_pod_label_app_kubernetes_io_component": component,
        "__meta_kubernetes_pod_phase": phase,
    }})
}

/// Job, instance and cluster of all targets of these jobs.
fn targets(program: &Path, jobs: &Value, discovered: Option<&Path>) -> BTreeSet<[String; 3]> {
    let mut jobs = jobs.clone();
    for job in jobs.as_array_mut().expect("jobs") {
        job["scrape_interval"] = json!("1s");
        job["scrape_timeout"] = json!("1s");
        if let Some(file) = discovered {
            let job = job.as_object_mut().expect("a job");
            job.remove("kubernetes_sd_configs");
            job.insert("file_sd_configs".to_owned(), json!([{"files": [file.display().to_string()]}]));
        }
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Prometheus::launch(program, folder, &json!({"scrape_configs": jobs}).to_string(), &[]);
    let count = jobs.as_array().expect("jobs").len();
    let found = wait_for("targets of all jobs", || {
        let answer = crate::http::request(server.address, "GET", "/-/ready", &[]).ok()?;
        (answer.status == 200).then_some(())?;
        let data = server.api("targets", "state", "active");
        let targets = data["activeTargets"].as_array()?.clone();
        let jobs: BTreeSet<&str> =
            targets.iter().filter_map(|target| target["scrapePool"].as_str()).collect();
        (jobs.len() == count).then_some(targets)
    });
    let label = |target: &Value, name: &str| target["labels"][name].as_str().unwrap_or("none").to_owned();
    found.iter().map(|target| ["job", "instance", "cluster"].map(|name| label(target, name))).collect()
}

fn expected(targets: &[[&str; 3]]) -> BTreeSet<[String; 3]> {
    targets.iter().map(|target| target.map(str::to_owned)).collect()
}

#[test]
fn nodes_and_relays_are_scraped_with_the_operator_and_without() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let pods = folder.path().join("pods.json");
    let told = json!([
        discovered("plain", "node", "http", "Running"),
        discovered("gpus", "gpu-node", "http", "Running"),
        discovered("relay-1", "relay", "http", "Running"),
        discovered("relay-2", "relay", "http", "Running"),
        discovered("relay-3", "relay", "other", "Running"),
        discovered("relay-4", "relay", "http", "Pending"),
        discovered("other", "web", "http", "Running"),
    ]);
    fs::write(&pods, told.to_string()).expect("written");
    let relays = [["jouleprint-relay", "relay-1", "berlin-1"], ["jouleprint-relay", "relay-2", "berlin-1"]];
    let nodes = [["jouleprint", "node-of-plain", "berlin-1"], ["jouleprint", "node-of-gpus", "berlin-1"]];
    let newest = &programs().last().expect("one at least")[0].clone();
    let jobs = &shipped("kubernetes")["scrape_configs"];
    assert_eq!(targets(newest, jobs, Some(&pods)), expected(&[nodes, relays].concat()));

    // What the operator selects stands in the monitor; here are the chart's names of them.
    let told = json!([
        discovered("relay-1", "relay", "http", "Running"),
        discovered("relay-2", "relay", "http", "Running"),
    ]);
    fs::write(&pods, told.to_string()).expect("written");
    let values = chart_with_a_relay();
    let documents = documents(&rendered(&repository().join("deploy/helm/jouleprint"), &["--set", &values]));
    let monitors = of_kind(&documents, "PodMonitor");
    let monitor = monitors.iter().find(|monitor| monitor["metadata"]["name"] == "jp-jouleprint-relay");
    let rules = &monitor.expect("the relay's")["spec"]["podMetricsEndpoints"][0]["relabelings"];
    let jobs = json!([{"job_name": "operator", "relabel_configs": in_words_of_prometheus(rules)}]);
    assert_eq!(targets(newest, &jobs, Some(&pods)), expected(&relays));
}

fn chart_with_a_relay() -> String {
    let relay = "relay.enabled=true,relay.zones={DE},relay.providers[0].name=gb";
    format!("monitor.kind=PodMonitor,cluster=berlin-1,{relay}")
}

#[test]
fn machines_and_their_relay_are_called_by_their_names() {
    let wanted = expected(&[
        ["jouleprint", "node1", "hpc-1"],
        ["jouleprint", "node2", "hpc-1"],
        ["jouleprint-relay", "relay", "hpc-1"],
    ]);
    for [program, _] in programs() {
        let jobs = &shipped("static")["scrape_configs"];
        assert_eq!(targets(&program, jobs, None), wanted, "{}", program.display());
    }
}

/// The port of the snippet is the one that the relay listens on, and that its pods show by the name `http`.
#[test]
fn the_relays_port_is_the_same_wherever_it_is_named() {
    let jobs = shipped("static");
    let target = &jobs["scrape_configs"][1]["static_configs"][0]["targets"][0];
    assert_eq!(target, "relay:14402");
    let values = chart_with_a_relay();
    let documents = documents(&rendered(&repository().join("deploy/helm/jouleprint"), &["--set", &values]));
    let pod = &of_kind(&documents, "Deployment")[0]["spec"]["template"]["spec"];
    assert_eq!(pod["containers"][0]["ports"], json!([{"name": "http", "containerPort": 14402}]));
}
