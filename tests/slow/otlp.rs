//! Pushes to real backends: what arrives, translated by them, is what a scrape of the same snapshot shows.

use crate::bed::Bed;
use crate::http;
use crate::page::{Labels, Page};
use crate::rig::{Exporter, Setup, free_address, timestamp_milliseconds, wait_for};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Attributes of the resource and the scope, which this backend puts on every series. `host_arch` is one of
/// them, and a label of `jouleprint_host_info` with the same value.
const AROUND: [&str; 14] = [
    "service_name",
    "service_version",
    "service_instance_id",
    "host_id",
    "host_name",
    "host_arch",
    "os_type",
    "k8s_cluster_name",
    "job",
    "instance",
    "scope_name",
    "scope_version",
    "otel_scope_name",
    "otel_scope_version",
];

/// A program of somebody else's; ended when dropped.
struct Program {
    child: Child,
    folder: TempDir,
}

impl Program {
    fn start(program: &Path, arguments: &[String]) -> Program {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let log = std::fs::File::create(folder.path().join("log")).expect("made");
        let child = Command::new(program)
            .args(arguments)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{}: {error} (tests/slow/install.sh installs it)", program.display())
            });
        Program { child, folder }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("a signal is sent");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(30).collect();
            eprintln!("its log, the last line first:\n{}", tail.join("\n"));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn cached(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache").join(path)
}

/// A VictoriaMetrics on a folder that outlives it.
struct Victoria {
    _program: Program,
    address: SocketAddr,
}

impl Victoria {
    fn start(data: &Path, address: SocketAddr) -> Victoria {
        let arguments = [
            format!("-storageDataPath={}", data.display()),
            format!("-httpListenAddr={address}"),
            "-opentelemetry.usePrometheusNaming".to_owned(),
        ];
        let program = Program::start(&cached("victoria-metrics/usr/bin/victoria-metrics"), &arguments);
        wait_for("a VictoriaMetrics that is ready", || {
            let answer = http::request(address, "GET", "/health", &[]).ok()?;
            (answer.status == 200).then_some(())
        });
        Victoria { _program: program, address }
    }

    fn endpoint(&self) -> String {
        format!("http://{}/opentelemetry/v1/metrics", self.address)
    }

    /// Every sample by its time in ms: name, labels and value.
    fn samples(&self) -> BTreeMap<u64, Vec<(Labels, f64)>> {
        let _ = http::request(self.address, "GET", "/internal/force_flush", &[]);
        let query = "/api/v1/export?match%5B%5D=%7B__name__%21%3D%22%22%7D&reduce_mem_usage=1";
        let answer = http::get(self.address, query);
        let mut samples: BTreeMap<u64, Vec<(Labels, f64)>> = BTreeMap::new();
        for line in answer.text().lines() {
            let series: Value = serde_json::from_str(line).expect("JSON");
            let labels = series["metric"].as_object().expect("labels");
            let labels: Labels = labels
                .iter()
                .map(|(name, value)| (name.clone(), value.as_str().expect("text").to_owned()))
                .collect();
            let values = series["values"].as_array().expect("values");
            let times = series["timestamps"].as_array().expect("times");
            for (value, time) in values.iter().zip(times) {
                let Some(value) = value.as_f64() else { continue };
                samples.entry(time.as_u64().expect("ms")).or_default().push((labels.clone(), value));
            }
        }
        samples
    }
}

/// Labels as both have them: none that is empty, the bound of a bucket as a number.
fn tidy(name: &str, mut labels: Labels) -> (String, Labels) {
    labels.retain(|label, value| {
        let is_around = AROUND.contains(&label.as_str());
        !value.is_empty()
            && label != "__name__"
            && (!is_around || label == "host_arch" && name == "jouleprint_host_info")
    });
    if let Some(bound) = labels.get_mut("le") {
        *bound = format!("{:?}", bound.parse::<f64>().expect("a bound"));
    }
    (name.to_owned(), labels)
}

fn scraped(page: &Page) -> BTreeMap<(String, Labels), f64> {
    let pushed = page.samples.iter().filter(|sample| sample.name != "jouleprint_http_requests_total");
    pushed
        .map(|sample| (tidy(&sample.name, sample.labels.clone()), sample.text.parse().expect("a number")))
        .collect()
}

fn arrived(samples: &[(Labels, f64)]) -> BTreeMap<(String, Labels), f64> {
    let all = samples.iter().map(|(labels, value)| (tidy(&labels["__name__"], labels.clone()), *value));
    all.collect()
}

/// Reads pages and what has arrived until both have the same snapshot; returns how many series it has.
fn check_same(exporter: &Exporter, victoria: &Victoria) -> usize {
    let began = Instant::now();
    let mut pages: BTreeMap<u64, Page> = BTreeMap::new();
    loop {
        assert!(began.elapsed() < Duration::from_secs(40), "no snapshot was both scraped and pushed");
        for _ in 0..10 {
            let page = exporter.page();
            pages.insert(timestamp_milliseconds(&page), page);
            std::thread::sleep(Duration::from_millis(100));
        }
        let samples = victoria.samples();
        // The newest may be on its way still.
        let whole = samples.keys().rev().skip(1).find(|time| pages.contains_key(*time));
        let Some(time) = whole else { continue };
        let (scraped, arrived) = (scraped(&pages[time]), arrived(&samples[time]));
        let keys = |map: &BTreeMap<(String, Labels), f64>| map.keys().cloned().collect::<BTreeSet<_>>();
        let (ours, theirs) = (keys(&scraped), keys(&arrived));
        let missing: Vec<_> = ours.difference(&theirs).collect();
        let more: Vec<_> = theirs.difference(&ours).collect();
        assert!(missing.is_empty() && more.is_empty(), "missing {missing:#?}\ntoo many {more:#?}");
        for (series, value) in &scraped {
            // It keeps values as decimals of one exponent a block: the last bits may differ.
            let other = arrived[series];
            assert!((value - other).abs() <= 1e-12 * value.abs(), "{series:?}: {value} against {other}");
        }
        return scraped.len();
    }
}

/// An exporter that pushes; `more` are settings of its `otlp` section.
fn start(bed: &Bed, endpoint: &str, more: &str) -> Exporter {
    let config = format!(
        "zone: FR\nidle: {{floor_watts: {{package-0: 5}}}}\notlp: {{endpoint: '{endpoint}', interval: 1s{more}}}\n"
    );
    let setup = Setup {
        config: &config,
        arguments: &["--test.tick", "400", "--host.name", "made-up"],
        ..bed.setup()
    };
    bed.start_as(&setup)
}

fn pushes(exporter: &Exporter, outcome: &str) -> u128 {
    exporter.page().sum("jouleprint_otlp_pushes_total", &[("outcome", outcome)]) / 1_000_000_000
}

#[test]
fn victoria_metrics_has_by_http_what_a_scrape_shows_also_after_it_was_away() {
    let data = tempfile::tempdir().expect("a folder");
    let address = free_address();
    let victoria = Victoria::start(data.path(), address);
    let bed = Bed::new(11, 4);
    let exporter = start(&bed, &victoria.endpoint(), "");
    bed.machine.run(None);
    let series = check_same(&exporter, &victoria);
    assert!(series > 80, "{series}");
    let log = exporter.log();
    assert!(log.contains("gave up all rights") && log.contains("OTLP: pushes arrive"), "{log}");

    // A dead backend costs a counter: pages go on, and then everything is there again.
    drop(victoria);
    wait_for("a push that does not arrive", || (pushes(&exporter, "unreachable") > 1).then_some(()));
    assert_eq!(exporter.page().value("jouleprint_otlp_up", &[("host", "made-up")]), Some("0"));
    let victoria = Victoria::start(data.path(), address);
    let before = pushes(&exporter, "accepted");
    wait_for("pushes again", || (pushes(&exporter, "accepted") > before + 1).then_some(()));
    check_same(&exporter, &victoria);

    // At the stop the last tick is pushed, and what the store has goes on from there.
    let log = exporter.stop();
    assert_eq!(log.matches("OTLP: a push did not arrive").count(), 1, "one line for each change:\n{log}");
    let last = bed.start();
    let shown = last.page().sum("hw_host_energy_joules_total", &[]) as f64 / 1e9;
    let samples = victoria.samples();
    let (_, newest) = samples.last_key_value().expect("samples");
    let energy = newest.iter().find(|(labels, _)| labels["__name__"] == "hw_host_energy_joules_total");
    let (_, pushed) = energy.expect("the host's energy");
    assert!(*pushed <= shown && *pushed > 0.0, "{pushed} was pushed, {shown} goes on");
}

#[test]
fn a_backend_that_does_not_answer_holds_nothing_up() {
    let data = tempfile::tempdir().expect("a folder");
    let victoria = Victoria::start(data.path(), free_address());
    let bed = Bed::new(13, 4);
    let exporter = start(&bed, &victoria.endpoint(), ", timeout: 1s");
    wait_for("a push", || (pushes(&exporter, "accepted") > 0).then_some(()));
    victoria._program.signal(Signal::STOP);
    wait_for("a push without an answer", || (pushes(&exporter, "timeout") > 1).then_some(()));
    let began = Instant::now();
    for _ in 0..20 {
        exporter.page();
    }
    assert!(began.elapsed() < Duration::from_secs(2), "scrapes wait for nothing: {:?}", began.elapsed());
    let began = Instant::now();
    exporter.stop();
    assert!(began.elapsed() < Duration::from_millis(2_500), "nor does the stop: {:?}", began.elapsed());
    victoria._program.signal(Signal::CONT);
}

#[test]
fn rotel_has_by_grpc_what_a_scrape_shows_and_passes_it_on() {
    let data = tempfile::tempdir().expect("a folder");
    let victoria = Victoria::start(data.path(), free_address());
    let (grpc, http) = (free_address(), free_address());
    let arguments = [
        "start".to_owned(),
        "--otlp-grpc-endpoint".to_owned(),
        grpc.to_string(),
        "--otlp-http-endpoint".to_owned(),
        http.to_string(),
        "--exporter".to_owned(),
        "otlp".to_owned(),
        "--otlp-exporter-endpoint".to_owned(),
        format!("http://{}/opentelemetry", victoria.address),
        "--otlp-exporter-protocol".to_owned(),
        "http".to_owned(),
    ];
    let _rotel = Program::start(&cached("rotel/rotel/rotel-agent"), &arguments);
    wait_for("a rotel that listens", || std::net::TcpStream::connect(grpc).ok());
    let bed = Bed::new(12, 3);
    let exporter = start(&bed, &format!("http://{grpc}"), ", protocol: grpc");
    bed.machine.run(None);
    let series = check_same(&exporter, &victoria);
    assert!(series > 80, "{series}");
    assert_eq!(pushes(&exporter, "refused"), 0);
}

/// Needs what `collector.sh` builds.
#[cfg(feature = "rare")]
#[test]
fn a_collector_has_by_grpc_what_a_scrape_shows_and_passes_it_on() {
    let data = tempfile::tempdir().expect("a folder");
    let victoria = Victoria::start(data.path(), free_address());
    let (grpc, http) = (free_address(), free_address());
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/otlp/collector.yaml");
    let mut text = std::fs::read_to_string(shipped).expect("read");
    for (ours, here) in [
        ("0.0.0.0:4318", http.to_string()),
        ("0.0.0.0:4317", grpc.to_string()),
        ("http://mimir:8080/otlp", format!("http://{}/opentelemetry", victoria.address)),
    ] {
        assert!(text.contains(ours), "{ours} is not in {text}");
        text = text.replace(ours, &here);
    }
    // Its own metrics would want a port of their own.
    let quiet = "service: {telemetry: {metrics: {level: none}}}";
    let mut arguments = Vec::new();
    for (name, text) in [("collector.yaml", &*text), ("quiet.yaml", quiet)] {
        let path = data.path().join(name);
        std::fs::write(&path, text).expect("written");
        arguments.extend(["--config".to_owned(), format!("file:{}", path.display())]);
    }
    let _collector = Program::start(&cached("collector/otelcolmini"), &arguments);
    wait_for("a Collector that listens", || std::net::TcpStream::connect(grpc).ok());
    let bed = Bed::new(14, 3);
    let exporter = start(&bed, &format!("http://{grpc}"), ", protocol: grpc");
    bed.machine.run(None);
    let series = check_same(&exporter, &victoria);
    assert!(series > 80, "{series}");
    assert_eq!(pushes(&exporter, "refused"), 0);
    exporter.stop();
    let exporter = start(&bed, &format!("http://{http}"), "");
    assert!(check_same(&exporter, &victoria) > 80);
}
