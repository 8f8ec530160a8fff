//! The units as systemd reads them, whether the program needs a system call that its unit forbids, and the snippets as
//! the servers read them that they are for.

use crate::attribution::{CONFIG, powercap};
use crate::deploy::repository;
use crate::prometheus::programs;
use crate::rig::{Exporter, Setup, run};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The units, and the worst that systemd's own judgement of their exposure may be, in tenths (10.0 is worst).
const UNITS: [(&str, u32); 2] = [("jouleprint", 32), ("jouleprint-relay", 18)];

fn unit(name: &str) -> String {
    let file = repository().join(format!("deploy/systemd/{name}.service"));
    fs::read_to_string(file).expect("shipped")
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units_and_little_exposed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, most) in UNITS {
        // The program stands elsewhere here.
        let text = unit(name).replace("/usr/local/bin/jouleprint", env!("CARGO_BIN_EXE_jouleprint"));
        let file = folder.path().join(format!("{name}.service"));
        fs::write(&file, text).expect("written");
        let output = Command::new("systemd-analyze").arg("verify").arg(&file).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        let own: Vec<&str> = said.lines().filter(|line| line.contains(name)).collect();
        assert!(output.status.success() && own.is_empty(), "{said}");
        let threshold = format!("--threshold={most}");
        let said =
            run(Command::new("systemd-analyze").args(["security", "--offline=yes", &threshold]).arg(&file));
        println!("{name}: {}", said.lines().last().unwrap_or_default());
    }
}

/// The calls of a filter's groups and names, groups in groups included.
fn allowed(filter: &str) -> BTreeSet<String> {
    let mut calls = BTreeSet::new();
    let mut waiting: Vec<String> = filter.split_whitespace().map(str::to_owned).collect();
    while let Some(name) = waiting.pop() {
        if !name.starts_with('@') {
            calls.insert(name);
            continue;
        }
        let said = run(Command::new("systemd-analyze").args(["syscall-filter", &name]));
        let inside = said.lines().map(str::trim).filter(|line| !line.starts_with('#') && *line != name);
        waiting.extend(inside.filter(|line| !line.is_empty()).map(str::to_owned));
    }
    calls
}

#[test]
fn the_program_makes_no_system_call_that_its_unit_forbids() {
    let text = unit("jouleprint");
    let filter = text.lines().find_map(|line| line.strip_prefix("SystemCallFilter=")).expect("a filter");
    let allowed = allowed(filter);
    assert!(allowed.len() > 200 && allowed.contains("landlock_restrict_self"), "{}", allowed.len());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let trace = folder.path().join("calls").display().to_string();
    let under = ["strace", "-D", "-f", "-qqq", "-o", &trace].map(str::to_owned);
    let powercap = powercap();
    let exporter = Exporter::start(&Setup {
        sysfs: Some(powercap.sysfs()),
        config: CONFIG,
        under: &under,
        ..Setup::default()
    });
    exporter.next_page();
    exporter.stop();
    let trace = fs::read_to_string(&trace).expect("strace wrote it");
    let calls = trace.lines().filter_map(|line| {
        let (_, call) = line.split_once(' ')?;
        let (name, _) = call.trim_start().split_once('(')?;
        name.bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
            .then_some(name)
    });
    let calls: BTreeSet<&str> = calls.collect();
    assert!(calls.len() > 30 && calls.contains("capset"), "the trace is one: {calls:?}");
    let forbidden: Vec<&&str> = calls.iter().filter(|call| !allowed.contains(**call)).collect();
    println!("{} calls, all of them allowed", calls.len());
    assert!(forbidden.is_empty(), "{forbidden:?}");
}

/// A configuration of a server, with what it names beside it.
fn laid_out(folder: &Path, path: &str) -> PathBuf {
    let text = fs::read_to_string(repository().join(path)).expect("shipped");
    for rules in ["recording.yaml", "alerts.yaml"] {
        let shipped = repository().join("deploy/prometheus").join(rules);
        fs::copy(shipped, folder.join(rules)).expect("copied");
    }
    let file = folder.join(path.replace('/', "-"));
    fs::write(&file, text).expect("written");
    file
}

#[test]
fn the_servers_take_the_snippets_that_are_for_them() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let scrapes =
        ["static", "kubernetes", "sidecars"].map(|name| format!("deploy/prometheus/scrape-{name}.yaml"));
    let check = |promtool: &Path, path: &str, word: &str| {
        let said = run(Command::new(promtool).args(["check", "config"]).arg(laid_out(folder.path(), path)));
        assert!(said.contains("SUCCESS") && said.contains(word), "{path}: {said}");
    };
    let programs = programs();
    for [_, promtool] in &programs {
        check(promtool, &scrapes[0], "rules found");
        check(promtool, "deploy/prometheus/remote-write.yaml", "");
    }
    // Debian's own knows neither Kubernetes nor pushes; where there is no other, vmagent reads the first below.
    if let [_, [_, newer]] = programs.as_slice() {
        check(newer, &scrapes[1], "rules found");
        check(newer, &scrapes[2], "rules found");
        check(newer, "deploy/otlp/prometheus.yaml", "rules found");
    }
    let vmagent = repository().join(".cache/victoria-metrics/usr/bin/vmagent");
    for path in &scrapes {
        let text = fs::read_to_string(repository().join(path)).expect("shipped");
        let file = folder.path().join("vmagent.yaml");
        // As deploy/prometheus/victoriametrics.md says.
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("rule_files")).collect();
        fs::write(&file, lines.join("\n")).expect("written");
        let scrape = format!("-promscrape.config={}", file.display());
        run(Command::new(&vmagent).args(["-dryRun", "-remoteWrite.url=http://127.0.0.1:9/", &scrape]));
    }
}
