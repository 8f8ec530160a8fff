//! The real program as a daemon: signals, exit codes, the answers of its server.

use crate::http;
use crate::page::{Page, check_rising};
use crate::powercap::{Powercap, Zone};
use crate::rig::{CGROUPFS, Exporter, Groups, Setup, read_open_metrics, read_text, uid};
use flate2::read::GzDecoder;
use rustix::process::Signal;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

const CONFIG: &str = "tick: 1s\nzone: FR\n";

fn powercap() -> Powercap {
    Powercap::start(&[
        Zone::steady("intel-rapl:0", "package-0", 20_000).with_load(40_000),
        Zone::steady("intel-rapl:0/intel-rapl:0:1", "dram", 6_000),
    ])
}

fn exporter(powercap: &Powercap, arguments: &[&str]) -> Exporter {
    Exporter::start(&Setup { sysfs: Some(powercap.sysfs()), config: CONFIG, arguments, ..Setup::default() })
}

/// Runs the program to its end.
fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jouleprint"));
    // The machine's own store is none of ours.
    command.env("JOULEPRINT_STORE_PATH", "none").args(arguments).output().expect("the program runs")
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn sigterm_and_sigint_end_it_within_two_seconds() {
    let powercap = powercap();
    for signal in [Signal::TERM, Signal::INT] {
        let mut exporter = exporter(&powercap, &[]);
        // An idle connection must not hold it up, and neither must one that never reads.
        let idle = http::connect(exporter.address).expect("connected");
        let mut slow = http::connect(exporter.address).expect("connected");
        slow.write_all(b"GET /metrics HTTP/1.1\r\nHost: t\r\n\r\n").expect("written");
        let told = Instant::now();
        exporter.signal(signal);
        let status = exporter.wait();
        let took = told.elapsed();
        println!("{signal:?}: exit code {:?} after {took:?}", status.code());
        assert_eq!(status.code(), Some(0), "{signal:?}");
        assert!(took < Duration::from_secs(2), "{signal:?} took {took:?}");
        drop((idle, slow));
    }
}

#[test]
fn sighup_with_another_zone_keeps_every_counter() {
    let powercap = powercap();
    let exporter = exporter(&powercap, &[]);
    let grams = "jouleprint_host_emissions_co2e_grams_total";
    let of = |page: &Page, zone: &str| page.sum(grams, &[("grid_zone", zone)]);
    let french = exporter.next_page();
    assert!(of(&french, "FR") > 0);
    exporter.reconfigure("tick: 1s\nzone: PL\n", "configuration taken up");
    exporter.next_page();
    let settled = exporter.next_page();
    let polish = exporter.next_page();
    assert_eq!(check_rising(&french, &polish), Ok(()));
    assert_eq!(of(&polish, "FR"), of(&settled, "FR"), "the old zone's series stay, and stand still");
    assert!(of(&polish, "PL") > of(&settled, "PL"), "the new zone's rise");
    let intensity = "jouleprint_grid_carbon_intensity_grams_per_kilowatt_hour";
    let in_force = polish.all(intensity, &[]).into_iter();
    let zones: Vec<&str> = in_force.map(|sample| sample.labels["grid_zone"].as_str()).collect();
    println!("SIGHUP: FR {} ng, then PL {} ng; in force {zones:?}", of(&polish, "FR"), of(&polish, "PL"));
    assert_eq!(zones, ["PL"]);
}

#[test]
fn sighup_with_a_broken_file_keeps_the_old_settings_and_says_why() {
    let powercap = powercap();
    let exporter = exporter(&powercap, &[]);
    let before = exporter.next_page();
    exporter.reconfigure("tick: 1s\nzoen: PL\n", "the old configuration stays in force");
    let log = exporter.log();
    let line = log.lines().find(|line| line.contains("stays in force")).expect("just seen");
    println!("broken file: {line}");
    assert!(line.contains("ERROR") && line.contains("zoen") && line.contains("line 2"), "{log}");
    let after = exporter.next_page();
    assert_eq!(check_rising(&before, &after), Ok(()));
    assert_eq!(after.value("jouleprint_host_info", &[("grid_zone", "FR")]), Some("1"));
}

#[test]
fn a_taken_port_is_exit_code_2_and_one_clear_line() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let powercap = powercap();
    let sysfs = powercap.sysfs().to_str().expect("UTF-8");
    let output =
        run(&["--web.listen-address", &address, "--path.sysfs", sysfs, "--path.cgroupfs", CGROUPFS.as_str()]);
    let said = errors(&output);
    println!("taken port: {}", said.trim_end());
    assert_eq!(output.status.code(), Some(2));
    let errors = said.lines().filter(|line| !line.contains(" INFO "));
    assert_eq!(errors.count(), 1, "{said}");
    for part in [&*address, "another program has it", "--web.listen-address"] {
        assert!(said.contains(part), "{said} lacks {part:?}");
    }
}

#[test]
fn the_server_answers_as_it_should() {
    let powercap = powercap();
    let exporter = exporter(&powercap, &[]);
    exporter.next_page();
    let request = |method: &str, path: &str, headers: &[&str]| {
        http::request(exporter.address, method, path, headers).expect("an answer")
    };
    for (method, path, status, part) in [
        ("GET", "/", 200, "<html"),
        ("GET", "/metrics", 200, "hw_energy_joules_total"),
        ("GET", "/metrics?x=y", 200, "hw_energy_joules_total"),
        ("GET", "/-/healthy", 200, "healthy"),
        ("GET", "/-/ready", 200, "ready"),
        ("GET", "/nothing", 404, "not found"),
        ("GET", "/metrics/", 404, "not found"),
        ("POST", "/metrics", 405, "only GET and HEAD"),
        ("DELETE", "/", 405, "only GET and HEAD"),
    ] {
        let answer = request(method, path, &[]);
        assert_eq!(answer.status, status, "{method} {path}");
        assert!(answer.text().contains(part), "{method} {path}: {}", answer.text());
        if status == 405 {
            assert_eq!(answer.header("allow"), Some("GET, HEAD"));
        }
    }
    for path in ["/", "/metrics", "/-/healthy", "/nothing"] {
        let head = request("HEAD", path, &[]);
        assert!(head.body.is_empty(), "HEAD {path} has a body");
        let length: usize =
            head.header("content-length").and_then(|text| text.parse().ok()).expect("a length");
        assert!(length > 0, "HEAD {path} tells the length of what GET would send");
    }
    let open_metrics = request("GET", "/metrics", &["Accept: application/openmetrics-text;version=1.0.0"]);
    assert!(
        open_metrics
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("application/openmetrics-text; version=1.0.0"))
    );
    assert!(open_metrics.text().ends_with("# EOF\n"));
    let text = request("GET", "/metrics", &["Accept: text/plain;version=0.0.4"]);
    assert_eq!(text.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert!(!text.text().contains("# EOF"));
    read_open_metrics(open_metrics.text());
    read_text(text.text());
    for answer in [&open_metrics, &text] {
        assert_eq!(answer.header("vary"), Some("Accept, Accept-Encoding"));
        assert_eq!(answer.header("content-encoding"), None);
    }
    let packed = request("GET", "/metrics", &["Accept-Encoding: gzip"]);
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    let mut unpacked = String::new();
    GzDecoder::new(&packed.body[..]).read_to_string(&mut unpacked).expect("gzip");
    read_text(&unpacked);
    println!("server: page {} bytes, gzip {}", unpacked.len(), packed.body.len());
    assert!(packed.body.len() * 3 < unpacked.len());
}

/// Requests sent at once by a client that reads nothing: more pages than all buffers between hold.
const UNREAD: usize = 100;

#[test]
fn a_slow_reader_uses_up_the_only_request_and_gives_it_back() {
    let groups = Groups::unified();
    for _ in 0..400 {
        groups.make(&format!("kubepods/besteffort/pod{}", uid()));
    }
    let powercap = powercap();
    let exporter = exporter(&powercap, &["--web.max-requests", "1"]);
    let size = exporter.get("/metrics").body.len();
    assert!(size > 256 << 10, "a page of 400 jobs has only {size} bytes");
    let mut slow = http::connect(exporter.address).expect("connected");
    let request = "GET /metrics HTTP/1.1\r\nHost: t\r\n\r\n".repeat(UNREAD);
    slow.write_all(request.as_bytes()).expect("written");
    let mut bytes = vec![0; 128 << 10];
    // It may have stuck just between two pages; then it reads a little.
    let refused = (0..20).find_map(|_| {
        std::thread::sleep(Duration::from_millis(300));
        let answer = exporter.get("/metrics");
        if answer.status == 200 {
            slow.read_exact(&mut bytes).expect("something to read");
        }
        (answer.status == 503).then_some(answer)
    });
    let refused = refused.expect("a second reader is refused while the first reads slowly");
    assert!(refused.text().contains("--web.max-requests"), "{}", refused.text());
    assert_eq!(exporter.get("/-/healthy").status, 200, "other answers are not held up");
    drop(slow);
    crate::rig::wait_for("room for a reader", || (exporter.get("/metrics").status == 200).then_some(()));
    println!("slow reader: page {size} bytes, second reader 503, after the first is gone 200");
}

#[test]
fn doctor_and_check_tell_by_their_exit_codes() {
    let powercap = powercap();
    let sysfs = powercap.sysfs().to_str().expect("UTF-8");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.to_str().expect("UTF-8").to_owned()
    };
    let (good, broken) = (file("good.yaml", CONFIG), file("broken.yaml", "pue: 0.5\n"));
    let paths = ["--path.sysfs", sysfs, "--path.cgroupfs", CGROUPFS.as_str()];
    for (command, config, code, part) in [
        ("doctor", Some(&good), 0, "All is well."),
        ("doctor", None, 1, "--zone XX"),
        ("doctor", Some(&broken), 2, "between 1 and 10"),
        ("check", Some(&good), 0, "is valid"),
        ("check", None, 0, "the defaults are in force"),
        ("check", Some(&broken), 2, "between 1 and 10"),
    ] {
        let mut arguments = vec![command];
        arguments.extend(paths);
        if let Some(config) = config {
            arguments.extend(["--config.file", config]);
        }
        let output = run(&arguments);
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), errors(&output));
        println!("{command}: exit code {:?}", output.status.code());
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(part), "{arguments:?}: {said}");
    }
}
