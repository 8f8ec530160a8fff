//! Groups are for `increase()`: a real Prometheus, many short jobs of namespaces that come late, and in the
//! end every kind of group has risen by what the host has.

use crate::load::{Load, Running};
use crate::page::Page;
use crate::powercap::{Powercap, Zone};
use crate::prometheus::{Prometheus, programs, version};
use crate::rig::{Exporter, Groups, Setup, amount, now_milliseconds, uid, wait_for};
use serde_json::Value;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Jobs, and how many live at a time.
const JOBS: usize = 200;
const AT_ONCE: usize = 5;

/// Their namespaces: the first job of the last one comes late.
const NAMESPACES: [&str; 6] = ["web", "shop", "batch", "ml", "ci", "late"];

const GROUP: &str = "jouleprint_group_energy_joules_total";
const JOB: &str = "jouleprint_job_energy_joules_total";

/// A pod as the kubelet makes it: a control group, and a directory for its logs. Some have their logs a
/// while after their birth, some of the first have none at all.
fn pod(number: usize, groups: &Groups, logs: &Path) -> (String, PathBuf) {
    let uid = uid();
    let group = groups.make(&format!("kubepods/besteffort/pod{uid}"));
    let place = if number < JOBS / 2 { number % 5 } else { number % 6 };
    if number % 20 != 7 || number >= 40 {
        let folder = logs.join(format!("{}_pod-{number}_{uid}/main", NAMESPACES[place]));
        std::fs::create_dir_all(folder).expect("made");
    }
    (uid, group)
}

#[test]
fn every_kind_of_group_rises_by_what_the_host_has() {
    let groups = Groups::cpuacct();
    let logs = tempfile::tempdir().expect("a folder");
    let powercap = Powercap::start(&[
        Zone::steady("intel-rapl:0", "package-0", 20_000).with_load(40_000),
        Zone::steady("intel-rapl:0/intel-rapl:0:1", "dram", 6_000),
    ]);
    let config = format!(
        "tick: 1s\nscrape_interval_hint: 1s\nzone: FR\nidle: {{floor_watts: {{package-0: 20}}}}\n\
         jobs: {{kubernetes: {{logs: '{}'}}}}\n",
        logs.path().display()
    );
    let exporter =
        Exporter::start(&Setup { sysfs: Some(powercap.sysfs()), config: &config, ..Setup::default() });
    let programs = programs();
    let servers: Vec<Prometheus> =
        programs.iter().map(|[server, _]| Prometheus::start(server, exporter.address)).collect();
    let first: Vec<f64> =
        servers.iter().map(|server| wait_for("a first scrape", || read(server)).0).collect();

    let mut living: VecDeque<(PathBuf, Running)> = VecDeque::new();
    let mut uids = Vec::new();
    let mut truth = 0.0;
    let mut end_one = |living: &mut VecDeque<(PathBuf, Running)>| {
        let (group, running) = living.pop_front().expect("somebody lives");
        truth += running.finish();
        Groups::remove(&group);
    };
    for number in 0..JOBS {
        let (uid, group) = pod(number, &groups, logs.path());
        // Half a scrape to three.
        let time = Duration::from_millis(500 + 313 * (u64::try_from(number).expect("small") % 9));
        living.push_back((group.clone(), Load::steady(30, time, &[&group]).start()));
        uids.push(uid);
        if living.len() > AT_ONCE {
            end_one(&mut living);
        }
    }
    while !living.is_empty() {
        end_one(&mut living);
    }
    let is_paid =
        |page: &Page| amount(page, "jouleprint_group_pending_energy_joules", &[("group_kind", "namespace")]);
    println!("{} J wait at the end of the work", is_paid(&exporter.page()));
    let page = settled(&exporter);
    let frozen = now_milliseconds() as f64 / 1e3;

    for (([program, _], server), first) in programs.iter().zip(&servers).zip(first) {
        let end = wait_for("a scrape after the end", || {
            read(server).map(|(_, last)| last).filter(|last| *last > frozen)
        });
        // From the first sample to the last: nothing is extrapolated.
        let window = format!("[{:.0}ms] @ {end:.3}", (end - first) * 1e3 + 1.0);
        let host = server.value(&format!("sum(increase(hw_energy_joules_total{window}))"));
        let mut line = format!("Prometheus {}: host {host:.1} J", version(program));
        for kind in ["namespace", "slurm_account", "user"] {
            let selector = format!("{GROUP}{{group_kind=\"{kind}\"}}");
            let increase = server.value(&format!("sum(increase({selector}{window}))"));
            line.push_str(&format!(", {kind} {:+.4}%", (increase / host - 1.0) * 100.0));
            assert!((increase / host - 1.0).abs() < 0.001, "{line}");
        }
        for name in NAMESPACES {
            let selector = format!("{GROUP}{{group_kind=\"namespace\",group=\"{name}\"}}");
            let increase = server.value(&format!("sum(increase({selector}{window}))"));
            let shown = amount(&page, GROUP, &[("group_kind", "namespace"), ("group", name)]);
            assert!((increase / shown - 1.0).abs() < 0.001, "{name}: {increase} J of {shown} J");
        }
        let mut worst: f64 = 0.0;
        for uid in &uids {
            let shown = amount(&page, JOB, &[("job_id", uid)]);
            let stored = server.value(&format!("sum(max_over_time({JOB}{{job_id=\"{uid}\"}}[10m]))"));
            worst = worst.max((stored - shown).abs() / shown.max(1e-9));
        }
        println!("{line}; the worst of {JOBS} jobs is off by {:.4} %", worst * 100.0);
        assert!(worst < 0.001, "a job is off by {worst}");
    }
    let own: f64 = uids.iter().map(|uid| amount(&page, JOB, &[("job_id", uid), ("hw_type", "cpu")])).sum();
    let ended =
        amount(&page, "jouleprint_residual_energy_joules_total", &[("account", "ended"), ("hw_type", "cpu")]);
    println!("jobs {:.2} and ended {:.2} of {truth:.2} CPU s", own / 40.0, ended / 40.0);
    assert!((0.97..1.03).contains(&((own + ended) / 40.0 / truth)), "{own} J and {ended} J for {truth} s");
    for name in NAMESPACES {
        assert!(amount(&page, GROUP, &[("group_kind", "namespace"), ("group", name)]) > 0.0, "{name}");
    }
}

/// The page once nothing waits any more but for those that nobody names: at most their 120 s.
fn settled(exporter: &Exporter) -> Page {
    let pending = |page: &Page| amount(page, "jouleprint_group_pending_energy_joules", &[]);
    for _ in 0..200 {
        let page = exporter.next_page();
        if pending(&page).abs() < f64::EPSILON {
            return page;
        }
    }
    panic!("something still waits: {} J", pending(&exporter.page()));
}

/// When the first and the last sample of the host's energy were taken.
fn read(server: &Prometheus) -> Option<(f64, f64)> {
    let data = server.api("query", "query", "hw_host_energy_joules_total[10m]");
    let samples = data["result"][0]["values"].as_array().cloned().unwrap_or_default();
    let time = |sample: &Value| sample[0].as_f64().expect("a time");
    Some((time(samples.first()?), time(samples.last()?)))
}
