//! The socket on which jobs of the host ask and speak.

use crate::load::{Load, inside};
use crate::powercap::{Powercap, Zone};
use crate::rig::{Exporter, Groups, Setup, container_id, wait_for};
use serde_json::Value;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A tick so long that nothing is new unless somebody asks for it.
const CONFIG: &str = "tick: 15s\nzone: FR\n";

struct Host {
    exporter: Exporter,
    socket: PathBuf,
    _powercap: Powercap,
    _home: TempDir,
}

fn host() -> Host {
    let powercap = Powercap::start(&[Zone::steady("intel-rapl:0", "package-0", 20_000).with_load(40_000)]);
    let home = tempfile::tempdir().expect("a folder");
    let setup =
        Setup { sysfs: Some(powercap.sysfs()), config: CONFIG, home: Some(home.path()), ..Setup::default() };
    let exporter = Exporter::start(&setup);
    Host { exporter, socket: home.path().join("run/job.sock"), _powercap: powercap, _home: home }
}

/// The status and the answer to one request, made by a process inside `groups`.
pub(crate) fn ask(socket: &Path, groups: &[PathBuf], method: &str, target: &str, body: &str) -> (u16, Value) {
    let mut command = inside(groups, false);
    command.args([
        "curl",
        "--silent",
        "--max-time",
        "20",
        "--write-out",
        "\n%{http_code}",
        "--request",
        method,
    ]);
    command.arg("--unix-socket").arg(socket).args(["--data-binary", body]).arg(format!("http://job{target}"));
    let output = command.output().expect("curl is installed");
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    let (answer, status) = said.rsplit_once('\n').unwrap_or_else(|| panic!("curl said {said:?}"));
    (status.parse().expect("a status"), serde_json::from_str(answer).unwrap_or(Value::Null))
}

fn ticks(exporter: &Exporter) -> f64 {
    let page = exporter.page();
    page.value("jouleprint_tick_duration_seconds_count", &[]).expect("shown").parse().expect("a number")
}

#[test]
fn a_job_speaks_for_itself_and_for_nobody_else() {
    let host = host();
    let groups = Groups::cpuacct();
    let ids = [container_id(), container_id()];
    let places = ids.each_ref().map(|id| vec![groups.make(&format!("docker/{id}"))]);
    for (id, place) in ids.iter().zip(&places) {
        let labels = format!("{{\"project\":\"p-{id}\",\"labels\":{{\"q\":\"a \\\"b\\\"\\n\"}}}}");
        let (status, answer) = ask(&host.socket, place, "PUT", "/api/v1/job/labels", &labels);
        assert_eq!((status, answer["job_id"].as_str()), (200, Some(id.as_str())), "{answer}");
        let load = Load::steady(90, Duration::from_secs(2), &[&place[0]]).start();
        let used = load.finish();
        let (status, answer) = ask(&host.socket, place, "GET", "/api/v1/job?fresh=1", "");
        assert_eq!((status, answer["job_id"].as_str()), (200, Some(id.as_str())), "{answer}");
        let seconds = answer["cpu_seconds"].as_f64().expect("a number");
        assert!((seconds - used).abs() < 0.1 * used, "{seconds} s, and it used {used} s");
        // 40 W over all CPUs: of the active energy this is its part.
        let joules = answer["energy"][0]["joules"].as_f64().expect("a number");
        assert!(joules > 1.0, "{answer}");
        println!("{seconds:.2} CPU s ({used:.2} by its own word), {joules:.1} J");
    }
    // What each said is on the page, and in no group: the configuration allows none.
    let page = host.exporter.page();
    for id in &ids {
        let project = format!("p-{id}");
        let labels = [("job_id", id.as_str()), ("project", project.as_str())];
        assert_eq!(page.value("jouleprint_job_info", &labels), Some("1"), "{id}");
    }
    assert!(page.all("jouleprint_group_energy_joules_total", &[("group_kind", "project")]).is_empty());
    for (method, target, body, expected) in [
        ("PUT", "/api/v1/job/labels", "{\"job_id\":\"another\"}", 400),
        ("PUT", "/api/v1/job/labels", "[1", 400),
        ("PUT", "/api/v1/job/labels", "", 400),
        ("POST", "/api/v1/job/labels", "{}", 405),
        ("DELETE", "/api/v1/jobs", "", 405),
        ("GET", "/api/v1/nothing", "", 404),
    ] {
        let (status, answer) = ask(&host.socket, &places[0], method, target, body);
        assert_eq!(status, expected, "{method} {target} {body}: {answer}");
        assert!(answer["error"].as_str().is_some_and(|why| why.len() > 5), "{answer}");
    }
    let large = format!("{{\"project\":\"{}\"}}", "x".repeat(100_000));
    assert_eq!(ask(&host.socket, &places[0], "PUT", "/api/v1/job/labels", &large).0, 413);
    let (_, all) = ask(&host.socket, &places[0], "GET", "/api/v1/jobs", "");
    let powers = all["jobs"].as_array().into_iter().chain(all["accounts"].as_array()).flatten();
    let sum: f64 = powers.map(|row| row["power_watts"].as_f64().expect("a number")).sum();
    assert!((sum - all["power_watts"].as_f64().expect("a number")).abs() < 1e-6, "{all}");
}

#[test]
fn a_tick_can_be_asked_for_but_not_all_the_time() {
    let host = host();
    let before = ticks(&host.exporter);
    let began = Instant::now();
    let mut times = Vec::new();
    for _ in 0..60 {
        let (status, answer) = ask(&host.socket, &[], "GET", "/api/v1/host?fresh=1", "");
        assert_eq!(status, 200);
        times.push(answer["at"].as_str().expect("a time").to_owned());
    }
    let asked = began.elapsed().as_secs_f64();
    times.dedup();
    let more = ticks(&host.exporter) - before;
    println!("{} different times and {more} ticks in {asked:.1} s", times.len());
    assert!(times.len() >= 15, "nothing new: {times:?}");
    assert!(more <= 20.0 + asked + 2.0, "{more} ticks in {asked} s");
    let (_, quiet) = ask(&host.socket, &[], "GET", "/api/v1/host", "");
    let (_, again) = ask(&host.socket, &[], "GET", "/api/v1/host", "");
    assert_eq!(quiet["at"], again["at"], "asking for what there is takes no tick");
}

#[test]
fn who_talks_slowly_or_nonsense_holds_up_nobody() {
    let host = host();
    let mut slow: Vec<UnixStream> = (0..100)
        .map(|_| {
            let mut stream = UnixStream::connect(&host.socket).expect("connected");
            stream.write_all(b"PUT /api/v1/job/labels HTTP/1.1\r\nHost: j\r\n").expect("written");
            stream
        })
        .collect();
    let mut garbage = UnixStream::connect(&host.socket).expect("connected");
    garbage.write_all(&[0xff; 4_096]).expect("written");
    let mut said = Vec::new();
    garbage.read_to_end(&mut said).expect("closed");
    assert!(said.starts_with(b"HTTP/1.1 400"), "{}", String::from_utf8_lossy(&said));
    let began = Instant::now();
    assert_eq!(ask(&host.socket, &[], "GET", "/api/v1/jobs", "").0, 200);
    assert!(began.elapsed() < Duration::from_secs(2));
    // They are sent away in the end.
    wait_for("an end for the slow", || {
        let mut rest = Vec::new();
        slow.iter_mut().all(|stream| stream.read_to_end(&mut rest).is_ok()).then_some(())
    });
}
