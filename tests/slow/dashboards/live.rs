//! The dashboards over what is really exported: a made-up fleet, whose pages are the program's own, this machine's
//! exporter, and the relay that it asks.

use super::{DAY_SECONDS, OWN, boards, chosen, root, values};
use crate::http;
use crate::prometheus::{Prometheus, programs, version};
use crate::rig::{Daemon, Exporter, Setup, free_address};
use crate::simulate::{Simulator, wait};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// What a range panel looks at, and its step.
const RANGE_SECONDS: u64 = 60;
const STEP_SECONDS: u64 = 10;

/// Panels that nothing can be in within two minutes: nobody pushes, the node that stands first measures all it has,
/// and there was no time before.
const EMPTY: [&str; 4] = [
    "health / Pushes over OTLP",
    "health / OTLP not arriving",
    "node / Estimates may be off by",
    "overview / Against the time before",
];

/// Now, since 1970.
fn seconds() -> u64 {
    std::time::SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").as_secs()
}

/// A relay with figures of a day back and a day ahead.
fn relay(folder: &Path, now: u64) -> (Daemon, SocketAddr) {
    let mut table = "timestamp,zone,gco2e_per_kwh\n".to_owned();
    for hour in 0..48 {
        let at = now / 3_600 * 3_600 - 86_400 + hour * 3_600;
        let said = Command::new("date").args(["--utc", "--date", &format!("@{at}"), "+%FT%TZ"]).output();
        let said = String::from_utf8(said.expect("date starts").stdout).expect("a date");
        table += &format!("{},DE,{}\n", said.trim(), 200 + hour * 5);
    }
    let (site, config) = (folder.join("site.csv"), folder.join("relay.yaml"));
    fs::write(&site, table).expect("written");
    let provider = format!(
        "{{name: file, path: {}, basis: lifecycle, accounting: consumption, slot: 1h}}",
        site.display()
    );
    fs::write(&config, format!("grid: {{relay: {{zones: [DE]}}, providers: [{provider}]}}\n"))
        .expect("written");
    let address = free_address();
    let child = Command::new(env!("CARGO_BIN_EXE_jouleprint"))
        .arg("grid")
        .args([Path::new("--config.file"), &config])
        .args(["--web.listen-address", &address.to_string(), "--log.level", "warn"])
        .args([Path::new("--store.path"), &folder.join("store")])
        .args([Path::new("--path.runtime"), &folder.join("run")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("the relay starts");
    let relay = Daemon(child);
    wait("a relay that is ready", Duration::from_secs(60), || {
        http::request(address, "GET", "/-/ready", &[]).ok().filter(|answer| answer.status == 200)
    });
    (relay, address)
}

/// The shipped rules, every five seconds: an hour is what was used since the sample before, however long it took.
fn rules(folder: &Path) -> String {
    let mut files = String::new();
    for name in ["recording.yaml", "budget-rules.yaml"] {
        let text = fs::read_to_string(root().join("deploy/prometheus").join(name)).expect("read");
        let line = |line: &str| match line.trim_start().strip_prefix("interval: ") {
            Some(_) => "  interval: 5s\n".to_owned(),
            None => format!("{line}\n"),
        };
        let path = folder.join(name);
        fs::write(&path, text.lines().map(line).collect::<String>()).expect("written");
        files += &format!("{}, ", path.display());
    }
    files
}

#[test]
fn a_fleet_an_exporter_and_a_relay_fill_the_dashboards() {
    let [program, _] = programs().pop().expect("one");
    let home = tempfile::tempdir().expect("a temporary folder");
    let (_relay, relay) = relay(home.path(), seconds());
    let config = format!(
        "zone: DE\nscrape_interval_hint: 1s\ngrid: {{providers: [{{name: jouleprint, url: 'http://{relay}'}}]}}\n"
    );
    let exporter = Exporter::start(&Setup { config: &config, ..Setup::default() });
    let fleet = "--hosts 12 --jobs 8 --gpus 4 --zones DE,FR,SE --clusters 2 --teams 3 --tick 1 \
                 --scrape-interval-hint 1 --speed 4";
    let simulator = Simulator::start(&fleet.split_whitespace().collect::<Vec<_>>());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let configuration = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 5s}}\nrule_files: [{}]\n\
         scrape_configs:\n\
         - job_name: jouleprint\n  static_configs: [{{targets: ['{}'], labels: {{cluster: here}}}}]\n\
         - job_name: fleet\n  http_sd_configs: [{{url: 'http://{}/sd'}}]\n\
         - job_name: relay\n  static_configs: [{{targets: ['{relay}']}}]\n",
        rules(folder.path()),
        exporter.address,
        simulator.address,
    );
    let server = Prometheus::launch(&program, folder, &configuration, &[]);
    wait("an hour of every kind, some times over", Duration::from_secs(240), || {
        http::request(server.address, "GET", "/-/ready", &[]).ok().filter(|answer| answer.status == 200)?;
        let hours = "count_over_time(organization:hw_host_energy_joules:increase1h[10m]) >= 12";
        server.api("query", "query", hours)["result"].as_array()?.first().map(|_| ())
    });
    let end = seconds();
    let (mut count, mut odd, mut empty) = (0, Vec::new(), Vec::new());
    for (name, board) in &boards() {
        for panel in &board.panels {
            let mut found = 0;
            for target in &panel.targets {
                let choice = |variable: &_| chosen(&server, end, board, variable);
                for query in board.filled(&target.expr, &OWN, &choice) {
                    // A day stands where it begins.
                    let (start, step) = match panel.json["interval"] == "1d" {
                        true => (end / DAY_SECONDS * DAY_SECONDS, DAY_SECONDS),
                        false => (end - RANGE_SECONDS, STEP_SECONDS),
                    };
                    let answer = if target.is_instant {
                        server.api("query", &format!("time={end}&query"), &query)
                    } else {
                        server.api(
                            "query_range",
                            &format!("start={start}&end={end}&step={step}&query"),
                            &query,
                        )
                    };
                    let numbers = values(&answer);
                    let is_number = |text: &&str| text.parse().is_ok_and(f64::is_finite);
                    odd.extend(
                        numbers
                            .iter()
                            .find(|text| !is_number(text))
                            .map(|text| format!("{name} / {}: {text}: {query}", panel.title())),
                    );
                    found += numbers.len();
                    count += 1;
                }
            }
            let place = format!("{name} / {}", panel.title());
            if found == 0 && !panel.targets.is_empty() && !EMPTY.contains(&&*place) {
                empty.push(place);
            }
        }
    }
    println!("Prometheus {}: {count} queries over what is exported", version(&program));
    assert!(odd.is_empty(), "{}", odd.join("\n"));
    assert!(empty.is_empty(), "nothing in:\n{}", empty.join("\n"));
    assert!(count > 150, "{count} queries");
}
