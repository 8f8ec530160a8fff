//! The units as systemd reads them, and whether the program needs a system call that its unit forbids.

use crate::attribution::{CONFIG, powercap};
use crate::deploy::repository;
use crate::rig::{Exporter, Setup, run};
use std::collections::BTreeSet;
use std::fs;
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
