//! Jobs that come and go while somebody reads: every page adds up, and no counter falls.

use crate::load::{Load, Running};
use crate::page::{Page, check_rising};
use crate::powercap::{Powercap, Zone};
use crate::rig::{Exporter, Groups, Setup, amount, uid, unique};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Duration;

const JOBS: usize = 100;

/// So many live at a time.
const AT_ONCE: usize = 6;

/// Every so many births the page is read.
const PAGE_EVERY: usize = 2;

#[test]
fn a_hundred_short_jobs_keep_every_page_exact() {
    let (v1, v2) = (Groups::cpuacct(), Groups::unified());
    let powercap = Powercap::start(&[
        Zone::steady("intel-rapl:0", "package-0", 20_000).with_load(40_000),
        Zone::steady("intel-rapl:0/intel-rapl:0:1", "dram", 6_000),
    ]);
    let config = "tick: 1s\nzone: FR\nidle: {floor_watts: {package-0: 20}}\n";
    let exporter = Exporter::start(&Setup { sysfs: Some(powercap.sysfs()), config, ..Setup::default() });
    let before = exporter.next_page();
    let mut last: Page = before.clone();
    let mut pages = 0;
    // Of v1 and of v2: the jobs' names and what they used.
    let (mut ids, mut truths) = ([Vec::new(), Vec::new()], [0.0, 0.0]);
    let mut living: VecDeque<(usize, PathBuf, Running)> = VecDeque::new();
    let mut end_one = |living: &mut VecDeque<(usize, PathBuf, Running)>| {
        let (hierarchy, group, running) = living.pop_front().expect("somebody lives");
        truths[hierarchy] += running.finish();
        Groups::remove(&group);
    };
    for number in 0..JOBS {
        let hierarchy = number % 2;
        let groups = [&v1, &v2][hierarchy];
        let (id, path) = if number % 3 == 0 {
            let uid = uid();
            (uid.clone(), format!("kubepods/besteffort/pod{uid}"))
        } else {
            let name = format!("churn-{}.service", unique());
            (name.clone(), format!("system.slice/{name}"))
        };
        let group = groups.make(&path);
        let time = Duration::from_millis(40 + 53 * (u64::try_from(number).expect("small") % 9));
        living.push_back((hierarchy, group.clone(), Load::steady(50, time, &[&group]).start()));
        ids[hierarchy].push(id);
        if living.len() > AT_ONCE {
            end_one(&mut living);
        }
        if number % PAGE_EVERY == 0 {
            let page = exporter.page();
            assert_eq!(check_rising(&last, &page), Ok(()), "after {number} jobs");
            last = page;
            pages += 1;
        }
    }
    while !living.is_empty() {
        end_one(&mut living);
    }
    let after = exporter.next_page();
    assert_eq!(check_rising(&last, &after), Ok(()), "at the end");
    let cpu = |name: &str, labels: &[(&str, &str)]| {
        let labels: Vec<(&str, &str)> = labels.iter().copied().chain([("hw_type", "cpu")]).collect();
        amount(&after, name, &labels) - amount(&before, name, &labels)
    };
    let own = ids.each_ref().map(|ids| {
        let of = |id: &String| cpu("jouleprint_job_energy_joules_total", &[("job_id", id)]);
        ids.iter().map(of).sum::<f64>() / 40.0
    });
    let ended = cpu("jouleprint_residual_energy_joules_total", &[("account", "ended")]) / 40.0;
    let is_seen = |id: &&String| !after.all("jouleprint_job_info", &[("job_id", id)]).is_empty();
    let seen = ids.iter().flatten().filter(is_seen).count();
    println!(
        "churn: {JOBS} jobs, {seen} on the page, {pages} pages; v1 {:.2} of {:.2} s, v2 {:.2} of {:.2} s, ended {ended:.2} s",
        own[0], truths[0], own[1], truths[1]
    );
    assert_eq!(seen, JOBS, "every job is named, however short");
    for (own, truth) in own.iter().zip(truths) {
        assert!(*own <= truth * 1.03, "jobs have {own} s, and used {truth} s: some of it is a neighbour's");
    }
    let all = (own[0] + own[1] + ended) / (truths[0] + truths[1]);
    assert!((0.97..1.03).contains(&all), "own and ended energy is {all} of what they used");
}
