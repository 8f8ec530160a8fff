//! A real Prometheus with a history and the shipped rules answers every query of every dashboard.

// The linter of the fast tier uses all of them.
#[allow(dead_code)]
#[path = "../it/dashboards/board.rs"]
mod board;
#[allow(dead_code)]
#[path = "../it/dashboards/known.rs"]
mod known;
#[allow(dead_code)]
#[path = "../it/dashboards/query.rs"]
mod query;

mod live;

use crate::http;
use crate::prometheus::{Prometheus, programs, version};
use crate::rig::wait_for;
use board::{Board, Panel, Target, Variable, boards, root};
use known::Known;
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// The range that is looked at, its step, and what Grafana puts in for them.
const RANGE_SECONDS: u64 = 6 * 3_600;
const STEP_SECONDS: u64 = 300;
const DAY_SECONDS: u64 = 86_400;
const OWN: [(&str, &str); 4] =
    [("$__rate_interval", "4m"), ("$__interval", "1d"), ("$__range_s", "21600"), ("$__range", "6h")];

/// The history has fewer jobs with accelerators than the panel names, so that there are no others.
const NO_OTHERS: &str = "gpu / Power by job / B";

/// A Prometheus on a history that `history.py` made with its rules.
fn with_history(program: &Path, promtool: &Path, end: u64) -> Prometheus {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = Command::new("python3")
        .arg(root().join("tests/slow/history.py"))
        .args([folder.path(), program, promtool])
        .args(["--rules".as_ref(), root().join("deploy/prometheus/recording.yaml").as_os_str()])
        .args(["--hours", "7", "--hosts", "3"])
        .args(["--end", &end.to_string()])
        .output()
        .expect("python3 starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "history.py: {said}");
    let server = Prometheus::launch(program, folder, "{}\n", &["--storage.tsdb.retention.time=400d".into()]);
    wait_for("a Prometheus that is ready", || {
        let ready = http::request(server.address, "GET", "/-/ready", &[]);
        ready.ok().filter(|answer| answer.status == 200)
    });
    server
}

/// What a user who has just opened the dashboard has chosen: everything, or the first value.
fn chosen(server: &Prometheus, end: u64, board: &Board, variable: &Variable) -> String {
    if variable.json["includeAll"] == true {
        return ".*".to_owned();
    }
    // Of the data source: no query names it.
    let Some(definition) = variable.json["definition"].as_str() else { return String::new() };
    let inner = definition.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
    let (selector, label) = inner.and_then(|inner| inner.rsplit_once(", ")).expect("label_values");
    let all = |_: &Variable| ".*".to_owned();
    let selector = board.filled(selector, &OWN, &all).remove(0);
    let start = end - RANGE_SECONDS;
    let values =
        server.api(&format!("label/{label}/values"), &format!("start={start}&end={end}&match[]"), &selector);
    let first = values.as_array().and_then(|values| values.first()).and_then(Value::as_str);
    first.unwrap_or_else(|| panic!("${} has no value: {selector}", variable.name)).to_owned()
}

/// Asks as the panel does.
fn ask(server: &Prometheus, end: u64, panel: &Panel, target: &Target, query: &str) -> Value {
    if target.is_instant {
        return server.api("query", &format!("time={end}&query"), query);
    }
    // A panel of days looks at two of them.
    let is_daily = panel.json["interval"] == "1d";
    let (range, step) = if is_daily { (2 * DAY_SECONDS, DAY_SECONDS) } else { (RANGE_SECONDS, STEP_SECONDS) };
    let (start, end) = (end / step * step - range, end / step * step);
    server.api("query_range", &format!("start={start}&end={end}&step={step}&query"), query)
}

/// All values of an answer.
fn values(answer: &Value) -> Vec<&str> {
    let mut found = Vec::new();
    for series in answer["result"].as_array().expect("results") {
        let one = std::iter::once(&series["value"]);
        let samples = series["values"].as_array().into_iter().flatten().chain(one);
        found.extend(samples.filter_map(|sample| sample[1].as_str()));
    }
    found
}

/// A past with series that no exporter shows would prove nothing.
fn has_only_what_exporters_show(server: &Prometheus, end: u64) {
    let known = Known::load();
    let query = format!("start={}&end={end}&match[]", end - RANGE_SECONDS);
    let series = server.api("series", &query, "{__name__=~\".+\"}");
    let series = series.as_array().expect("series");
    assert!(series.len() > 1_000, "{} series", series.len());
    for one in series {
        let mut labels: Vec<&str> = one.as_object().expect("labels").keys().map(String::as_str).collect();
        labels.retain(|label| *label != "__name__");
        let name = one["__name__"].as_str().expect("a name");
        let allowed = known.labels(name).unwrap_or_else(|| panic!("no exporter shows {name}"));
        assert!(
            labels.iter().all(|label| allowed.contains(*label)),
            "{name} has {labels:?}, not {allowed:?}"
        );
    }
}

#[test]
fn prometheus_answers_every_query_of_every_dashboard() {
    // Yesterday, in the first hour of a day, of which no hour is recorded yet, and later.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time").as_secs();
    let yesterday = (now / DAY_SECONDS - 1) * DAY_SECONDS;
    for ([program, promtool], minute) in programs().into_iter().zip([8, 13 * 60 + 37]) {
        let end = yesterday + minute * 60;
        let server = with_history(&program, &promtool, end);
        has_only_what_exporters_show(&server, end);
        let (mut count, mut faults) = (0, Vec::new());
        for (name, board) in &boards() {
            let choice = |variable: &Variable| chosen(&server, end, board, variable);
            for panel in &board.panels {
                for target in &panel.targets {
                    let place = format!("{name} / {} / {}", panel.title(), target.reference);
                    let mut found = 0;
                    for query in board.filled(&target.expr, &OWN, &choice) {
                        let answer = ask(&server, end, panel, target, &query);
                        let values = values(&answer);
                        let is_number = |text: &&str| text.parse().is_ok_and(f64::is_finite);
                        if let Some(odd) = values.iter().find(|text| !is_number(text)) {
                            faults.push(format!("{place}: {odd}: {query}"));
                        }
                        found += values.len();
                        count += 1;
                    }
                    if found == 0 && place != NO_OTHERS {
                        faults.push(format!("{place}: nothing: {}", target.expr));
                    }
                }
            }
        }
        println!("Prometheus {}: {count} queries of the dashboards", version(&program));
        assert!(faults.is_empty(), "{} of {count} queries:\n{}", faults.len(), faults.join("\n"));
        assert!(count > 150, "{count} queries");
    }
}

#[test]
fn dashboards_are_as_their_source_writes_them() {
    let output = Command::new("python3").arg(root().join("grafana/make.py")).arg("--check").output();
    let output = output.expect("python3 starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
