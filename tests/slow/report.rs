//! `jouleprint report --prometheus` against real servers that hold three days of two hosts, whose joules and
//! grams are known; over TLS with a password, and with so little memory that queries must be halved.

use crate::prometheus::{Prometheus, programs, version};
use crate::rig::{now_milliseconds, wait_for};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// How often the servers have scraped, in s.
const SCRAPE: u64 = 60;

/// How long they have scraped, in days.
const DAYS: u64 = 3;

/// A job of host `a`: id, watts, first and last minute of its life. It is shown for five minutes more.
const JOBS: [(&str, u64, u64, u64); 4] = [
    ("long", 40, 100, 3_500),
    ("short", 30, 700, 702),
    ("late", 10, 4_200, 4_320),
    ("over-midnight", 20, 1_400, 1_500),
];

/// Host `a` draws this many W, `b` that many; `b` starts again from 0 in the middle.
const WATTS: [u64; 2] = [200, 50];
const RESTART: u64 = 2_000;

/// Host `a` is in France; `b` moves from Germany to Poland at its restart.
const GRAMS: [(&str, u64); 3] = [("FR", 56), ("DE", 380), ("PL", 700)];

fn joules(watts: u64, minutes: u64) -> f64 {
    (watts * minutes * SCRAPE) as f64
}

fn grams(zone: &str, joules: f64) -> f64 {
    let factor = GRAMS.iter().find(|(name, _)| *name == zone).expect("a zone").1;
    joules * factor as f64 / 3.6e6
}

/// Minutes that a job has worked by a minute.
fn worked(job: (&str, u64, u64, u64), minute: u64) -> u64 {
    minute.min(job.3).saturating_sub(job.2)
}

/// What the pages of both hosts said, minute by minute, as OpenMetrics with timestamps.
fn recording(start: u64) -> String {
    let mut families: BTreeMap<&str, String> = BTreeMap::new();
    let mut sample = |family, labels: &str, value: f64, minute: u64| {
        let lines: &mut String = families.entry(family).or_default();
        writeln!(lines, "{family}_total{{{labels}}} {value} {}", start + minute * SCRAPE).expect("text");
    };
    let column = "hw_type=\"cpu\",gpu=\"\",origin=\"measured\"";
    for minute in 0..=DAYS * 1_440 {
        let mut of_jobs = 0.0;
        for job in JOBS {
            let used = joules(job.1, worked(job, minute));
            of_jobs += used;
            if (job.2..=job.3 + 5).contains(&minute) {
                let id = format!("host=\"a\",job_kind=\"unit\",job_id=\"{}\"", job.0);
                let labels = format!("{id},gpu_instance=\"\",{column}");
                sample("jouleprint_job_energy_joules", &labels, used, minute);
                let labels = format!("{labels},grid_zone=\"FR\"");
                sample("jouleprint_job_emissions_co2e_grams", &labels, grams("FR", used), minute);
                let seconds = worked(job, minute) as f64;
                sample("jouleprint_job_cpu_seconds", &id, seconds, minute);
            }
        }
        let is_new = minute >= RESTART;
        let restarted = if is_new { minute - RESTART } else { minute };
        let zone = if is_new { "PL" } else { "DE" };
        for (host, used, zone) in
            [("a", joules(WATTS[0], minute), "FR"), ("b", joules(WATTS[1], restarted), zone)]
        {
            let rest = if host == "a" { used - of_jobs } else { used };
            let host = format!("host=\"{host}\"");
            sample("hw_energy_joules", &format!("{host},hw_id=\"package-0\",{column}"), used, minute);
            let emitted = format!("{host},hw_id=\"host\",origin=\"measured\",grid_zone=\"{zone}\"");
            sample("jouleprint_host_emissions_co2e_grams", &emitted, grams(zone, used), minute);
            let account = format!("{host},account=\"idle\",{column}");
            sample("jouleprint_residual_energy_joules", &account, rest, minute);
            let account = format!("{account},grid_zone=\"{zone}\"");
            sample("jouleprint_residual_emissions_co2e_grams", &account, grams(zone, rest), minute);
        }
        // Somebody else's meter of the same name.
        sample("hw_energy_joules", "host=\"a\",hw_type=\"cpu\"", 1e9, minute);
    }
    let mut text = String::new();
    for (family, lines) in families {
        writeln!(text, "# TYPE {family} counter\n{lines}").expect("text");
    }
    text.retain(|char| char != '\r');
    format!("{}# EOF\n", text.replace("\n\n", "\n"))
}

/// Runs a report; its rows by their first columns, each with joules and grams.
fn report(arguments: &[&str], fields: usize) -> BTreeMap<String, (f64, f64)> {
    let output = run(arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    let text = String::from_utf8(output.stdout).expect("text");
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = reader.headers().expect("a header").clone();
    let at = |name: &str| header.iter().position(|column| column == name).expect("a column");
    let (energy, emissions) = (at("energy_measured_joules"), at("emissions_measured_grams"));
    let row = |record: csv::StringRecord| {
        let number = |at: usize| record[at].parse().unwrap_or(0.0);
        let key: Vec<&str> = record.iter().take(fields).collect();
        (key.join("|"), (number(energy), number(emissions)))
    };
    reader.records().map(|record| row(record.expect("a record"))).collect()
}

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jouleprint"));
    command.args(arguments).env("SSL_CERT_FILE", ca()).output().expect("the program runs")
}

/// The authority of this run's certificates.
fn ca() -> &'static Path {
    static FOLDER: std::sync::LazyLock<tempfile::TempDir> = std::sync::LazyLock::new(|| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let script = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=ca
            printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\\nbasicConstraints=CA:FALSE\\n' > extensions
            openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout server.key -out server.csr -subj /CN=localhost
            openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile extensions -out server.pem";
        let output = Command::new("sh").args(["-ec", script]).current_dir(folder.path()).output();
        assert!(output.expect("a shell").status.success(), "openssl makes certificates");
        folder
    });
    static FILE: std::sync::LazyLock<std::path::PathBuf> =
        std::sync::LazyLock::new(|| FOLDER.path().join("ca.pem"));
    &FILE
}

/// A server that holds the recording.
fn start(program: &Path, promtool: &Path, start: u64, more: &[String]) -> Prometheus {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (file, data) = (folder.path().join("recording"), folder.path().join("data"));
    fs::write(&file, recording(start)).expect("written");
    let output = Command::new(promtool)
        .args(["tsdb", "create-blocks-from", "openmetrics"])
        .args([&file, &data])
        .output()
        .expect("promtool runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Prometheus::launch(program, folder, "global: {}\n", more)
}

/// Compares rows with the truth, each within a tolerance of its own; no row may be there that is not in it.
fn compare(
    what: &str,
    found: &BTreeMap<String, (f64, f64)>,
    truth: &[(&str, f64, f64)],
    tolerance: f64,
) -> f64 {
    let names: Vec<&str> = found.keys().map(String::as_str).collect();
    let expected: Vec<&str> = truth.iter().map(|(name, _, _)| *name).collect();
    assert_eq!(names, expected, "{what}");
    let mut worst: f64 = 0.0;
    for (name, energy, emissions) in truth {
        let (joules, grams) = found[*name];
        for (told, true_value) in [(joules, energy), (grams, emissions)] {
            let off = if *true_value > 0.0 { told / true_value - 1.0 } else { told };
            assert!(off.abs() <= tolerance, "{what} {name}: {told} for {true_value}");
            worst = worst.max(off.abs());
        }
    }
    worst
}

#[test]
fn a_fleet_is_reported_as_it_was() {
    let day = 86_400;
    let midnight = now_milliseconds() / 1_000 / day * day;
    let begin = midnight - DAYS * day;
    let time = |minute: u64| {
        let seconds = i64::try_from(begin + minute * SCRAPE).expect("in this age");
        jiff::Timestamp::from_second(seconds).expect("in this age").to_string()
    };
    let (since, until) = (time(0), time(DAYS * 1_440));
    for [program, promtool] in programs() {
        let server = start(&program, &promtool, begin, &["--query.max-samples=20000".to_owned()]);
        let url = format!("http://{}", server.address);
        wait_for("a Prometheus that is ready", || {
            let ready = crate::http::request(server.address, "GET", "/-/ready", &[]);
            ready.ok().filter(|answer| answer.status == 200)
        });
        let ask = |keys: &str, since: &str, until: &str, fields: usize| {
            let arguments = ["report", "--prometheus", &url, "--format", "csv", "--by", keys];
            report(&[&arguments[..], &["--since", since, "--until", until]].concat(), fields)
        };
        let mut line = format!("Prometheus {}:", version(&program));

        // What an increase() over days may be off by: a scrape's worth at each end of each window.
        let minutes = DAYS * 1_440;
        let edge = 4.0 / 1_440.0;
        let [a, b] = WATTS.map(|watts| joules(watts, minutes));
        // The minute of the restart is lost to a counter that begins at 0 with it.
        let b_grams =
            grams("DE", joules(WATTS[1], RESTART)) + grams("PL", joules(WATTS[1], minutes - RESTART));
        let hosts = ask("host", &since, &until, 1);
        let off = compare("host", &hosts, &[("a", a, grams("FR", a)), ("b", b, b_grams)], edge);
        write!(line, " hosts {:.4}%", off * 100.0).expect("text");

        let of_jobs: f64 = JOBS.iter().map(|job| joules(job.1, worked(*job, minutes))).sum();
        let idle = a + b - of_jobs;
        let idle_grams = grams("FR", a - of_jobs) + b_grams;
        let kinds = ask("kind", &since, &until, 1);
        let truth = [("idle", idle, idle_grams), ("unit", of_jobs, grams("FR", of_jobs))];
        let off = compare("kind", &kinds, &truth, edge);
        write!(line, " kinds {:.4}%", off * 100.0).expect("text");
        let hardware = ask("hardware", &since, &until, 1);
        compare("hardware", &hardware, &[("cpu", a + b, grams("FR", a) + b_grams)], edge);

        // Of the host that moved, the grams are told by zone.
        let zones = ask("zone", &since, &until, 1);
        let [de, pl] = [("DE", RESTART), ("PL", minutes - RESTART)]
            .map(|(zone, minutes)| grams(zone, joules(WATTS[1], minutes)));
        let truth = [("", b, 0.0), ("DE", 0.0, de), ("FR", a, grams("FR", a)), ("PL", 0.0, pl)];
        compare("zone", &zones, &truth, edge);

        let days = ask("day,host", &time(10), &until, 2);
        assert_eq!(days.len(), 2 * usize::try_from(DAYS).expect("few"), "{days:?}");
        for (name, (energy, _)) in &days {
            let truth = joules(WATTS[usize::from(name.ends_with('b'))], 1_440);
            assert!((energy / truth - 1.0).abs() < edge, "{name}: {energy} for {truth}");
        }

        // Jobs are exact: whole ones, short ones, and the part within the period of those that reach out.
        for (from, to) in [(0, minutes), (1_450, 3_000), (60, 710)] {
            let jobs = ask("job", &time(from), &time(to), 3);
            let used = |job: (&str, u64, u64, u64)| joules(job.1, worked(job, to) - worked(job, from));
            let mut truth: Vec<(String, f64, f64)> = JOBS
                .iter()
                .filter(|job| used(**job) > 0.0)
                .map(|job| (format!("a|unit|{}", job.0), used(*job), grams("FR", used(*job))))
                .collect();
            truth.sort_by(|one, other| one.0.cmp(&other.0));
            let truth: Vec<(&str, f64, f64)> =
                truth.iter().map(|(name, energy, grams)| (name.as_str(), *energy, *grams)).collect();
            let jobs = jobs.into_iter().filter(|(name, _)| name.contains("unit")).collect();
            let off = compare(&format!("job {from} {to}"), &jobs, &truth, 1e-9);
            write!(line, " jobs {from}-{to} {off:.1e}").expect("text");
        }
        println!("{line}");
        drop(server);
        over_tls(&program, &promtool, begin, &since, &until);
    }
}

fn over_tls(program: &Path, promtool: &Path, begin: u64, since: &str, until: &str) {
    let folder = ca().parent().expect("a folder");
    let hash = bcrypt::hash("right", 4).expect("hashed");
    let web = format!(
        "tls_server_config: {{cert_file: server.pem, key_file: server.key}}\nbasic_auth_users: {{me: '{hash}'}}\n"
    );
    fs::write(folder.join("web.yml"), web).expect("written");
    fs::write(folder.join("right"), "right\n").expect("written");
    fs::write(folder.join("wrong"), "wrong\n").expect("written");
    let more = [format!("--web.config.file={}", folder.join("web.yml").display())];
    let server = start(program, promtool, begin, &more);
    let url = format!("https://localhost:{}", server.address.port());
    let ask = |password: &str, url: &str| {
        let file = folder.join(password).display().to_string();
        let who = ["--prometheus.user", "me", "--prometheus.password-file", &file];
        let what = ["report", "--by", "host", "--since", since, "--until", until, "--prometheus", url];
        run(&[&what[..], &who].concat())
    };
    let output = wait_for("a report over TLS", || {
        let output = ask("right", &url);
        output.status.success().then_some(output)
    });
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains(&format!("from {url}")) && text.contains("kWh"), "{text}");
    for (output, part) in [
        (ask("wrong", &url), "--prometheus.password-file"),
        (ask("right", &url.replace("localhost", "localhost.localdomain")), "connecting to https://"),
        (ask("right", &url.replace("https", "http")), "400"),
    ] {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && said.contains(part), "{said}");
        assert!(!said.contains("right") && !said.contains("wrong"), "{said}");
    }
    let users = format!("https://me:right@localhost:{}", server.address.port());
    let output = run(&["jobs", "--prometheus", &users, "--since", since, "--until", until]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("over-midnight") && !text.contains("right@"), "{text}");
    println!("{text}");
    let overview = run(&["report", "--prometheus", &users, "--since", since, "--until", until]);
    let text = String::from_utf8_lossy(&overview.stdout).into_owned();
    let tables = ["by day", "by kind", "by job"].iter().all(|title| text.contains(title));
    assert!(tables && text.contains("charged to no job"), "{text}");
    println!("{text}");
}
