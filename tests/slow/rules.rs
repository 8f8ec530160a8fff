//! Prometheus' own tools read the shipped rules and run their tests; and a budget that burns is told to its owner by a
//! real Prometheus and a real Alertmanager, with seconds in the place of hours.

use crate::http;
use crate::prometheus::{Prometheus, programs, version};
use crate::rig::{free_address, now_milliseconds, wait_for};
use regex_lite::{Captures, Regex};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// An hour takes so many milliseconds.
const HOUR: u64 = 10_000;

/// Two hours until a burn is recorded, and the round through two programs, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.clone(), output.stderr.clone()].concat()).into_owned()
}

/// What `jouleprint rules` prints.
fn printed(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_jouleprint"))
        .arg("rules")
        .args(arguments)
        .current_dir(root())
        .output()
        .expect("it starts");
    assert!(output.status.success(), "{}", said(&output));
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn promtool_accepts_the_rules_and_their_tests_pass() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let budgets = ["--budgets", "deploy/prometheus/budgets.yaml"];
    let both = folder.path().join("both.yaml");
    std::fs::write(&both, printed(&budgets)).expect("written");
    let shipped = folder.path().join("shipped.yaml");
    std::fs::write(&shipped, printed(&[])).expect("written");
    let entries = std::fs::read_dir(root().join("tests/promtool")).expect("the folder is there");
    let mut tests: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    tests.sort();
    assert!(tests.len() >= 9, "the tests were found");
    for [_, promtool] in programs() {
        let run = |words: &[&str], path: &Path| {
            let output = Command::new(&promtool).args(words).arg(path).output().expect("promtool starts");
            (output.status.success(), said(&output))
        };
        let mut failures = Vec::new();
        for path in [&both, &shipped] {
            let (is_well, said) = run(&["check", "rules"], path);
            assert!(is_well, "{}: {said}", path.display());
        }
        for path in &tests {
            let (is_well, said) = run(&["test", "rules"], path);
            if !is_well {
                failures.push(format!("{}: {said}", path.display()));
            }
        }
        assert!(failures.is_empty(), "{}:\n{}", version(&promtool), failures.join("\n"));
        println!("promtool {}: {} files of tests pass", version(&promtool), tests.len());
    }
}

/// Budgets of a few days, one that is named anew, and hours alone, as a store for the long term has them.
const SHORT: &str = "
budgets:
- {name: one, owner: o, match: {host: n1}, grams: 24kg, period: 1d}
- {name: two, owner: o, match: {host: n1}, grams: 48kg, period: 2d}
- {name: three, owner: o, match: {host: n1}, grams: 72kg, period: 3d}
- {name: renamed, owner: o, match: {host: n2}, grams: 720kg, period: 30d}
";

/// Four quiet days, and then three times the pace: each is warned of before it is spent. Nothing says when, since a pace
/// that it has always had would be said to end it.
const SHORT_TEST: &str = r#"
rule_files: [rules.yaml]
evaluation_interval: 1h
tests:
- interval: 1h
  input_series:
  - {series: 'node_zone:jouleprint_host_emissions_co2e_grams:increase1h{host="n1",grid_zone="FR"}', values: '200x95 3000x100'}
  - {series: 'node_zone:jouleprint_host_emissions_co2e_grams:increase1h{host="n2",grid_zone="FR"}', values: '500x48 stale'}
  promql_expr_test:
  - {expr: 'ALERTS{budget!="renamed"}', eval_time: 95h, exp_samples: []}
  - {expr: 'count by (budget) (ALERTS{alertname="JouleprintBudgetNearlySpent",alertstate="firing"})', eval_time: 101h, exp_samples: [{labels: '{budget="one"}', value: 1}]}
  - {expr: 'count by (budget) (ALERTS{alertname="JouleprintBudgetNearlySpent",alertstate="firing"})', eval_time: 108h, exp_samples: [{labels: '{budget="two"}', value: 1}]}
  - {expr: 'count by (budget) (ALERTS{alertname="JouleprintBudgetNearlySpent",alertstate="firing"})', eval_time: 113h, exp_samples: [{labels: '{budget="three"}', value: 1}]}
  - {expr: 'budget:jouleprint_emissions_exhausted_timestamp_seconds{budget!="renamed"}', eval_time: 110h, exp_samples: []}
  # Of hours alone: three times the pace is seen by the short ranges too.
  - {expr: 'round(budget:jouleprint_emissions_burn:ratio_rate30m{budget="three"}, 0.01)', eval_time: 110h, exp_samples: [{labels: '{budget="three",owner="o",period="3d"}', value: 3}]}
  alert_rule_test:
  - {eval_time: 110h, alertname: JouleprintBudgetSeesNothing, exp_alerts: []}
  - eval_time: 150h
    alertname: JouleprintBudgetSeesNothing
    exp_alerts:
    - exp_labels: {budget: renamed, owner: o, period: 30d, severity: warning}
      exp_annotations:
        summary: An emission budget sees nothing.
        description: "Nothing of what renamed of o matches has been recorded for three days or ever (30d): is a name misspelt, or has it another one now?"
        runbook_url: https://github.com/jouleprint/jouleprint/blob/main/docs/budgets.md#what-each-alert-means
"#;

#[test]
fn budgets_of_a_few_days_are_warned_of_before_they_are_spent() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [budgets, rules, tests] =
        ["budgets.yaml", "rules.yaml", "tests.yaml"].map(|name| folder.path().join(name));
    std::fs::write(&budgets, SHORT).expect("written");
    let only = ["--only-budgets", "--budgets", budgets.to_str().expect("a path")];
    std::fs::write(&rules, printed(&only)).expect("written");
    std::fs::write(&tests, SHORT_TEST).expect("written");
    for [_, promtool] in programs() {
        let output = Command::new(&promtool).args(["test", "rules"]).arg(&tests).output().expect("it starts");
        assert!(output.status.success(), "{}: {}", version(&promtool), said(&output));
    }
}

/// Serves counters that rise as fast as it is told to, and takes what Alertmanager sends.
struct Site {
    address: SocketAddr,
    burns: Arc<AtomicBool>,
    heard: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Site {
    fn open() -> Site {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let site = Site {
            address: listener.local_addr().expect("an address"),
            burns: Arc::new(AtomicBool::new(true)),
            heard: Arc::default(),
        };
        let (burns, heard) = (Arc::clone(&site.burns), Arc::clone(&site.heard));
        // It ends with the test's process; nothing waits for it.
        std::thread::spawn(move || {
            let mut counter = Counter { grams: 0.0, at: now_milliseconds() };
            for stream in listener.incoming() {
                let mut reader = BufReader::new(stream.expect("a connection"));
                let mut line = String::new();
                let (mut path, mut length) = (String::new(), 0);
                while reader.read_line(&mut line).is_ok_and(|read| read > 0) && line.trim() != "" {
                    if path.is_empty() {
                        path = line.split(' ').nth(1).unwrap_or_default().to_owned();
                    }
                    if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                        length = value.trim().parse().expect("a length");
                    }
                    line.clear();
                }
                let mut body = vec![0; length];
                reader.read_exact(&mut body).expect("a body");
                let answer = if path == "/metrics" {
                    counter.page(burns.load(Ordering::Relaxed))
                } else {
                    let message = serde_json::from_slice(&body).expect("JSON");
                    heard.lock().expect("no panic").push((path, message));
                    String::new()
                };
                let head =
                    "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nConnection: close\r\n";
                let _ = write!(reader.get_mut(), "{head}Content-Length: {}\r\n\r\n{answer}", answer.len());
            }
        });
        site
    }

    /// Waits until Alertmanager has told somebody of an alert, in this state.
    fn wait_to_hear(&self, path: &str, alert: &str, status: &str) {
        let began = Instant::now();
        while self.has_heard(path, alert, status).is_none() {
            let heard = self.heard.lock().expect("no panic");
            assert!(began.elapsed() < PATIENCE, "{alert} {status} did not reach {path}: {heard:?}");
            drop(heard);
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn has_heard(&self, path: &str, alert: &str, status: &str) -> Option<()> {
        let heard = self.heard.lock().expect("no panic");
        let alerts = heard
            .iter()
            .filter(|(to, _)| to == path)
            .flat_map(|(_, message)| message["alerts"].as_array().cloned().unwrap_or_default());
        let mut matching =
            alerts.filter(|told| told["labels"]["alertname"] == alert && told["status"] == status);
        matching.next().map(|_| ())
    }
}

struct Counter {
    grams: f64,
    at: u64,
}

impl Counter {
    /// The team emits 60 times what its budget allows, or a tenth of it.
    fn page(&mut self, burns: bool) -> String {
        let now = now_milliseconds();
        let hours = (now - self.at) as f64 / HOUR as f64;
        self.at = now;
        self.grams += hours * if burns { 10_000.0 } else { 16.7 };
        let zone = "origin=\"measured\",grid_zone=\"FR\"";
        format!(
            "# TYPE jouleprint_group_emissions_co2e_grams_total counter\n\
             jouleprint_group_emissions_co2e_grams_total{{host=\"n1\",group_kind=\"namespace\",group=\"web\",hw_type=\"cpu\",{zone}}} {}\n\
             # TYPE jouleprint_host_emissions_co2e_grams_total counter\n\
             jouleprint_host_emissions_co2e_grams_total{{host=\"n1\",hw_id=\"host\",{zone}}} {}\n",
            self.grams, self.grams
        )
    }
}

/// The same rules with every duration so much shorter.
fn hurried(rules: &str) -> String {
    let durations = Regex::new(r"(?P<before>\[|offset |interval: |for: )(?P<time>(?:[0-9]+(?:ms|[smhd]))+)")
        .expect("valid");
    let parts = Regex::new(r"([0-9]+)(ms|[smhd])").expect("valid");
    let shorter = durations.replace_all(rules, |found: &Captures<'_>| {
        let milliseconds: u64 = parts
            .captures_iter(&found["time"])
            .map(|part| {
                let unit = match &part[2] {
                    "ms" => 1,
                    "s" => 1_000,
                    "m" => 60_000,
                    "h" => 3_600_000,
                    _ => 86_400_000,
                };
                part[1].parse::<u64>().expect("digits") * unit
            })
            .sum();
        let least = if found["before"].starts_with("interval") { 1_000 } else { 1 };
        format!("{}{}ms", &found["before"], (milliseconds * HOUR / 3_600_000).max(least))
    });
    // The seconds that are in the arithmetic of a budget.
    let seconds = Regex::new(r"(?P<before>[-+*/] )(?P<seconds>2592000|259200|86400|21600)\b").expect("valid");
    let shorter = seconds.replace_all(&shorter, |found: &Captures<'_>| {
        let seconds: u64 = found["seconds"].parse().expect("digits");
        format!("{}{}", &found["before"], seconds * HOUR / 3_600_000)
    });
    shorter.into_owned()
}

struct Alertmanager(Child);

impl Drop for Alertmanager {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_budget_that_burns_is_told_to_its_owner_and_resolves() {
    let site = Site::open();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let budgets = folder.path().join("budgets.yaml");
    std::fs::write(
        &budgets,
        "budgets:\n\
         - {name: web, owner: team-web, match: {group_kind: namespace, group: web}, grams: 120kg, period: 30d}\n\
         - {name: all, owner: nobody-here, grams: 100000t, period: 30d}\n",
    )
    .expect("written");
    let rules = folder.path().join("rules.yaml");
    let text = hurried(&printed(&["--budgets", budgets.to_str().expect("UTF-8")]));
    assert!(
        text.contains("[9999ms]") && text.contains("interval: 10000ms") && text.contains("* 7200 / 120000"),
        "{text}"
    );
    std::fs::write(&rules, text).expect("written");

    // As it is shipped, but for the addresses and for how long it waits.
    let shipped = std::fs::read_to_string(root().join("deploy/prometheus/alertmanager.yaml")).expect("there");
    let configuration = shipped
        .replace("127.0.0.1:19094", &site.address.to_string())
        .replace("group_wait: 30s", "group_wait: 1s")
        .replace("group_interval: 5m", "group_interval: 2s");
    assert!(configuration.contains("group_interval: 2s") && configuration.contains("group_wait: 1s"));
    let file = folder.path().join("alertmanager.yml");
    std::fs::write(&file, configuration).expect("written");
    let address = free_address();
    let log = std::fs::File::create(folder.path().join("alertmanager.log")).expect("made");
    let child = Command::new("prometheus-alertmanager")
        .arg(format!("--config.file={}", file.display()))
        .arg(format!("--storage.path={}", folder.path().join("alertmanager").display()))
        .arg(format!("--web.listen-address={address}"))
        .arg("--cluster.listen-address=")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap_or_else(|error| {
            panic!("prometheus-alertmanager: {error} (tests/slow/install.sh installs it)")
        });
    let _alertmanager = Alertmanager(child);
    wait_for("an Alertmanager that is ready", || {
        http::request(address, "GET", "/-/ready", &[]).ok().filter(|answer| answer.status == 200)
    });

    let configuration = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\n\
         rule_files: ['{}']\n\
         alerting: {{alertmanagers: [{{static_configs: [{{targets: ['{address}']}}]}}]}}\n\
         scrape_configs:\n- job_name: energy\n  static_configs: [{{targets: ['{}']}}]\n",
        rules.display(),
        site.address
    );
    let programs = programs();
    let [program, _] = programs.last().expect("a Prometheus");
    let server_folder = tempfile::tempdir().expect("a temporary folder");
    let server = Prometheus::launch(program, server_folder, &configuration, &[]);
    wait_for("a Prometheus that is ready", || {
        http::request(server.address, "GET", "/-/ready", &[]).ok().filter(|answer| answer.status == 200)
    });

    let alert = "JouleprintBudgetBurnsVeryFast";
    let began = now_milliseconds();
    site.wait_to_hear("/team-web", alert, "firing");
    let told = now_milliseconds();
    site.burns.store(false, Ordering::Relaxed);
    site.wait_to_hear("/team-web", alert, "resolved");
    let ended = now_milliseconds();
    let burn =
        server.value("max_over_time(budget:jouleprint_emissions_burn:ratio_rate6h{budget=\"web\"}[5m])");
    let calm =
        server.value("max_over_time(budget:jouleprint_emissions_burn:ratio_rate6h{budget=\"all\"}[5m])");
    println!(
        "Prometheus {}: told after {} s (an hour is {} s) of burning {burn:.1} times too fast, and of its end after {} s",
        version(program),
        (told - began) / 1_000,
        HOUR / 1_000,
        (ended - told) / 1_000
    );
    assert!(burn > 6.0 && calm < 1.0, "{burn}, {calm}");
    // To its owner alone, and the quieter alerts of the same budget are held back.
    let heard = site.heard.lock().expect("no panic");
    for (path, message) in heard.iter() {
        for told in message["alerts"].as_array().into_iter().flatten() {
            let is_of_web = told["labels"]["budget"] == "web";
            assert_eq!(is_of_web, path == "/team-web", "{path} was told {told}");
        }
    }
}
