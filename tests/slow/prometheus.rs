//! A real Prometheus reads the exporter, and has in the end what the exporter says, over restarts too.

use crate::bed::Bed;
use crate::http;
use crate::load::{Load, Running};
use crate::powercap::{Powercap, Zone};
use crate::rig::{Exporter, Groups, Setup, amount, free_address, read_open_metrics, uid, unique, wait_for};
use serde_json::Value;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// How long the jobs work while it scrapes.
const TIME: Duration = Duration::from_secs(24);

/// What its own `Accept` header is, from 2.42 on; 3.x asks for more.
const ACCEPTS: [&str; 2] = [
    "Accept: application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
    "Accept: application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
];

/// A server of its own port and folder; ended when dropped.
pub(crate) struct Prometheus {
    child: Child,
    pub(crate) address: SocketAddr,
    folder: TempDir,
}

impl Prometheus {
    pub(crate) fn start(program: &Path, target: SocketAddr) -> Prometheus {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\n\
             scrape_configs:\n- job_name: energy\n  static_configs: [{{targets: ['{target}']}}]\n"
        );
        let server = Prometheus::launch(program, folder, &config, &[]);
        wait_for("a Prometheus that is ready", || {
            let ready = http::request(server.address, "GET", "/-/ready", &[]);
            ready.ok().filter(|answer| answer.status == 200)
        });
        server
    }

    /// Starts one on a folder, which may hold blocks in `data` already. It may not be ready yet.
    pub(crate) fn launch(program: &Path, folder: TempDir, text: &str, more: &[String]) -> Prometheus {
        let config = folder.path().join("prometheus.yml");
        std::fs::write(&config, text).expect("written");
        let log = std::fs::File::create(folder.path().join("log")).expect("made");
        let address = free_address();
        let child = Command::new(program)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{}: {error} (tests/slow/install.sh installs it)", program.display())
            });
        Prometheus { child, address, folder }
    }

    #[cfg(feature = "rare")]
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `data` of an API call; the query is escaped here.
    pub(crate) fn api(&self, path: &str, key: &str, query: &str) -> Value {
        let escaped: String = query
            .bytes()
            .map(|byte| match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
                _ => format!("%{byte:02X}"),
            })
            .collect();
        let answer = http::get(self.address, &format!("/api/v1/{path}?{key}={escaped}"));
        let mut answer: Value = serde_json::from_str(answer.text()).expect("JSON");
        assert_eq!(answer["status"], "success", "{answer}");
        answer["data"].take()
    }

    /// The only value of an instant query.
    pub(crate) fn value(&self, query: &str) -> f64 {
        let data = self.api("query", "query", query);
        let results = data["result"].as_array().expect("a vector");
        assert_eq!(results.len(), 1, "{query}: {data}");
        results[0]["value"][1].as_str().and_then(|text| text.parse().ok()).expect("a number")
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            eprintln!("Prometheus' log:\n{log}");
        }
    }
}

/// The program and promtool of the distribution, and a newer pair if `install.sh` could get one.
pub(crate) fn programs() -> Vec<[PathBuf; 2]> {
    let newer = Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/prometheus/usr/bin");
    let places = [Path::new("/usr/bin").to_owned(), newer];
    let pairs = places.map(|place| [place.join("prometheus"), place.join("promtool")]);
    assert!(pairs[0][0].exists(), "no Prometheus here: run tests/slow/install.sh");
    pairs.into_iter().filter(|[server, _]| server.exists()).collect()
}

pub(crate) fn version(program: &Path) -> String {
    let output = Command::new(program).arg("--version").output().expect("it tells its version");
    // 2.42 tells on standard error, 3.x on standard output.
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    said.split_whitespace().nth(2).unwrap_or("?").to_owned()
}

/// `promtool check metrics` must have nothing to say about the page.
fn lint(promtool: &Path, text: &str) {
    let mut child = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool starts");
    child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("promtool reads");
    let output = child.wait_with_output().expect("promtool ends");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && said.is_empty(), "{}: {}\n{said}", promtool.display(), output.status);
}

#[test]
fn prometheus_has_in_the_end_what_the_exporter_says() {
    let (v1, v2) = (Groups::cpuacct(), Groups::unified());
    let powercap = Powercap::start(&[
        Zone::steady("intel-rapl:0", "package-0", 20_000).with_load(40_000),
        Zone::steady("intel-rapl:0/intel-rapl:0:0", "core", 5_000),
        Zone::steady("intel-rapl:0/intel-rapl:0:1", "dram", 6_000),
    ]);
    let config = "tick: 1s\nzone: FR\nidle: {floor_watts: {package-0: 20}}\n";
    let exporter = Exporter::start(&Setup { sysfs: Some(powercap.sysfs()), config, ..Setup::default() });
    let programs = programs();
    let servers: Vec<Prometheus> =
        programs.iter().map(|[server, _]| Prometheus::start(server, exporter.address)).collect();

    let (pod, unit) = (uid(), format!("x-{}.service", unique()));
    let groups =
        [v1.make(&format!("kubepods/besteffort/pod{pod}")), v2.make(&format!("system.slice/{unit}"))];
    let loads = [15, 40].iter().zip(&groups).map(|(percent, group)| Load::steady(*percent, TIME, &[group]));
    let running: Vec<Running> = loads.map(|load| load.start()).collect();
    let truths: Vec<f64> = running.into_iter().map(Running::finish).collect();
    // Two more pages, and time enough that each has been scraped.
    exporter.next_page();
    let text = http::request(exporter.address, "GET", "/metrics", &["Accept: text/plain;version=0.0.4"]);
    let page = exporter.next_page();
    std::thread::sleep(Duration::from_secs(2));

    for accept in ACCEPTS {
        let answer = http::request(exporter.address, "GET", "/metrics", &[accept]).expect("an answer");
        assert!(
            answer
                .header("content-type")
                .is_some_and(|kind| kind.starts_with("application/openmetrics-text; version=1.0.0")),
            "{}",
            answer.head
        );
        read_open_metrics(answer.text());
    }
    for ([program, promtool], server) in programs.iter().zip(&servers) {
        lint(promtool, text.as_ref().expect("an answer").text());
        let mut line = format!("Prometheus {}:", version(program));
        for (id, truth) in [&pod, &unit].into_iter().zip(&truths) {
            let selector = format!("{{job_id=\"{id}\",hw_type=\"cpu\"}}");
            let stored =
                server.value(&format!("max_over_time(jouleprint_job_energy_joules_total{selector}[5m])"));
            let labels = [("job_id", id.as_str()), ("hw_type", "cpu")];
            let shown = amount(&page, "jouleprint_job_energy_joules_total", &labels);
            let (off, split) = (stored / shown - 1.0, shown / (truth * 40.0) - 1.0);
            line.push_str(&format!(" stored {:+.4}% split {:+.2}%", off * 100.0, split * 100.0));
            assert!(off.abs() < 0.001, "{id}: the exporter says {shown}, Prometheus {stored}");
            assert!(split.abs() < 0.03, "{id}: {shown} J for {truth} s");
        }
        check_target(server, exporter.address, &mut line);
        println!("{line}");
    }
}

fn check_target(server: &Prometheus, exporter: SocketAddr, line: &mut String) {
    let targets = server.api("targets", "state", "active");
    let target = &targets["activeTargets"][0];
    assert_eq!(target["health"], "up", "{target}");
    assert_eq!(target["lastError"], "", "{target}");
    assert_eq!(target["discoveredLabels"]["__address__"], exporter.to_string());
    let up = server.value("min_over_time(up[5m])");
    let scrapes = server.value("count_over_time(up[5m])");
    assert!((up - 1.0).abs() < f64::EPSILON, "a scrape failed");
    assert!(scrapes > 20.0, "only {scrapes} scrapes");
    let series = server.api("series", "match[]", "{__name__=~\".+\"}");
    let series = series.as_array().expect("a list");
    for labels in series {
        let labels = labels.as_object().expect("labels");
        assert!(!labels.keys().any(|label| label.starts_with("exported_")), "{labels:?}");
    }
    let dropped = "sum(scrape_samples_scraped - scrape_samples_post_metric_relabeling)";
    assert!(server.value(dropped).abs() < f64::EPSILON, "samples were dropped");
    line.push_str(&format!(" up, {scrapes} scrapes, {} series", series.len()));
    // What it negotiated by itself shows in how it names an info metric's type.
    let metadata = server.api("metadata", "metric", "jouleprint_build");
    assert_eq!(metadata["jouleprint_build"][0]["type"], "info", "it read OpenMetrics: {metadata}");
}

/// How long each process lives while Prometheus reads.
const LIFE: Duration = Duration::from_secs(7);

#[test]
fn increase_over_restarts_and_kills_is_what_the_meters_counted() {
    let bed = Bed::new(31, 5);
    let mut exporter = bed.start();
    let (first, before) = bed.settle(&exporter);
    let programs = programs();
    let servers: Vec<Prometheus> =
        programs.iter().map(|[server, _]| Prometheus::start(server, bed.address)).collect();
    let has_read = |server: &Prometheus| {
        let data = server.api("query", "query", "hw_host_energy_joules_total[5m]");
        let samples = data["result"][0]["values"].as_array().cloned().unwrap_or_default();
        let time = |sample: &Value| sample[0].as_f64().expect("a time");
        Some((time(samples.first()?), time(samples.last()?)))
    };
    let starts: Vec<f64> =
        servers.iter().map(|server| wait_for("a first scrape", || has_read(server)).0).collect();
    bed.machine.run(None);
    for is_killed in [false, true, true, false] {
        std::thread::sleep(LIFE);
        if is_killed {
            exporter.kill();
        } else {
            exporter.stop();
        }
        exporter = Exporter::start(&bed.setup());
    }
    std::thread::sleep(LIFE);
    let (last, after) = bed.settle(&exporter);
    let frozen = crate::rig::now_milliseconds() as f64 / 1e3;
    let microjoules: u64 = after.energy.iter().map(|(id, total)| total - before.energy[id]).sum();
    let residual = "jouleprint_residual_energy_joules_total";
    let expected = [
        ("hw_host_energy_joules_total", microjoules as f64 / 1e6),
        ("hw_energy_joules_total", microjoules as f64 / 1e6),
        (residual, amount(&last, residual, &[]) - amount(&first, residual, &[])),
    ];
    for (([program, _], server), start) in programs.iter().zip(&servers).zip(starts) {
        // From the first sample to one of the machine at rest: nothing is extrapolated.
        let read = || has_read(server).map(|(_, last)| last).filter(|last| *last > frozen);
        let end = wait_for("a scrape after the end", read);
        let window = format!("[{:.0}ms] @ {end:.3}", (end - start) * 1e3 + 1.0);
        let mut line = format!("Prometheus {} over restarts:", version(program));
        for (name, truth) in expected {
            let increase = server.value(&format!("sum(increase({name}{window}))"));
            line.push_str(&format!(
                " {name} {increase:.3} J of {truth:.3} ({:+.4}%)",
                (increase / truth - 1.0) * 100.0
            ));
            assert!((increase / truth - 1.0).abs() < 0.001, "{line}");
        }
        let counters = "{__name__=~\"(hw|jouleprint_(host|job|residual|domain))_.*_total\"}";
        let resets = server.value(&format!("sum(resets({counters}{window}))"));
        let starts =
            server.value(&format!("sum(changes(jouleprint_counters_start_timestamp_seconds{window}))"));
        let processes = server.value(&format!("sum(changes(process_start_time_seconds{window}))"));
        println!("{line}; {resets} resets, {processes} restarts seen");
        assert!(
            resets.abs() < f64::EPSILON && starts.abs() < f64::EPSILON,
            "{resets} resets, {starts} starts"
        );
        assert!(processes > 3.5, "it has seen the restarts: {processes}");
    }
}
