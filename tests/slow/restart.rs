//! What a start makes of what it finds: the rules by which counters go on or start at 0, by the real
//! program, one case after the other.

use crate::bed::{Bed, copy_folder, empty_folder, files};
use crate::machine::{RANGE, Truth};
use crate::page::{Page, check_rising_over_a_restart};
use crate::reader::{cpu, energy, info, start};
use crate::rig::{Exporter, Setup};
use std::time::Duration;

/// How the first process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Stopped,
    Killed,
}

/// What becomes of the counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// They go on, and nothing that happened meanwhile is missing.
    Whole,
    /// They go on; what happened meanwhile is not known.
    Totals,
    /// They start at 0.
    Anew,
}

const METERS: [&str; 2] = ["package-0", "package-0-dram"];

pub(crate) fn end(exporter: Exporter, how: End) {
    match how {
        End::Stopped => drop(exporter.stop()),
        End::Killed => exporter.kill(),
    }
}

/// A clock that began with a boot two seconds ago.
pub(crate) fn just_booted() -> Vec<String> {
    let text = std::fs::read_to_string("/proc/uptime").expect("/proc");
    let uptime: u64 = text.split('.').next().and_then(|text| text.parse().ok()).expect("seconds");
    let offset = format!("-{}", uptime - 2);
    ["unshare", "-T", "--boottime", &offset, "--monotonic", &offset].map(str::to_owned).to_vec()
}

/// The last page of the old process, the truth with it, and the same of the new one.
pub(crate) fn check(name: &str, outcome: Outcome, before: &(Page, Truth), after: &(Page, Truth)) {
    let ((old, then), (new, now)) = (before, after);
    let how = info(new).0;
    println!("restart: {name}: {how:?}");
    let is_anew = start(old) != start(new);
    assert_eq!(is_anew, outcome == Outcome::Anew, "{name}: {how}");
    if is_anew {
        assert!(start(new) > start(old), "{name}: the new start is the later");
        assert!(how.contains("start at 0") || how.contains("first start"), "{name}: {how}");
    } else {
        assert!(how.starts_with("continued"), "{name}: {how}");
        assert_eq!(check_rising_over_a_restart(old, new), Ok(()), "{name}");
    }
    for meter in METERS {
        let (was, is) = (energy(old, meter), energy(new, meter));
        let meanwhile = now.energy[meter] - then.energy[meter];
        match outcome {
            Outcome::Whole => assert_eq!(is, was + meanwhile, "{name}: {meter}"),
            Outcome::Totals => assert!((was..=was + meanwhile).contains(&is), "{name}: {meter} {was} → {is}"),
            Outcome::Anew => assert!(is <= meanwhile, "{name}: {meter} has {is} of {meanwhile}"),
        }
    }
    for id in now.jobs.keys().filter(|_| outcome == Outcome::Whole) {
        let meanwhile = now.jobs[id] - then.jobs.get(id).copied().unwrap_or(0);
        assert_eq!(cpu(new, id), Some(cpu(old, id).unwrap_or(0) + meanwhile), "{name}: {id}");
    }
}

#[test]
fn counters_go_on_where_that_can_be_proved_and_start_at_0_elsewhere() {
    type Change = fn(&Bed);
    let other_name = ["--test.tick", "50", "--host.name", "renamed"];
    let nothing: Change = |_| {};
    let reboot: Change = |bed| bed.machine.reboot();
    let wiped: Change = |bed| empty_folder(&bed.runtime());
    let lost: Change = |bed| empty_folder(&bed.store());
    let moved: Change = |bed| bed.machine.become_another();
    let garbled: Change = |bed| {
        for entry in files(&bed.runtime()) {
            std::fs::write(entry.path(), "garbage").expect("written");
        }
    };
    let cases: [(&str, End, Change, Outcome); 11] = [
        ("stopped and started again", End::Stopped, nothing, Outcome::Whole),
        ("killed and started again", End::Killed, nothing, Outcome::Whole),
        ("another boot after a clean stop", End::Stopped, reboot, Outcome::Totals),
        ("another boot after a kill", End::Killed, reboot, Outcome::Anew),
        ("the runtime directory wiped after a clean stop", End::Stopped, wiped, Outcome::Whole),
        ("the runtime directory wiped after a kill", End::Killed, wiped, Outcome::Anew),
        ("a garbled witness", End::Killed, garbled, Outcome::Anew),
        ("the store lost", End::Stopped, lost, Outcome::Anew),
        ("another machine", End::Stopped, moved, Outcome::Anew),
        ("another machine after a kill", End::Killed, moved, Outcome::Anew),
        ("another host name", End::Stopped, nothing, Outcome::Anew),
    ];
    for (name, how, change, outcome) in cases {
        let bed = Bed::new(3, 3);
        let exporter = bed.start();
        let before = bed.live(&exporter);
        end(exporter, how);
        change(&bed);
        let booted = if name.starts_with("another boot") { just_booted() } else { Vec::new() };
        let mut setup = Setup { under: &booted, ..bed.setup() };
        if name == "another host name" {
            setup.arguments = &other_name;
        }
        let exporter = bed.start_as(&setup);
        let after = bed.settle(&exporter);
        check(name, outcome, &before, &after);
        // Whatever it began with, it goes on from there.
        exporter.kill();
        let again = bed.start_as(&setup);
        check(&format!("{name}, and killed"), Outcome::Whole, &after, &bed.settle(&again));
    }
}

#[test]
fn an_older_copy_of_the_store_is_not_continued_on_the_same_boot() {
    for how in [End::Stopped, End::Killed] {
        let bed = Bed::new(4, 3);
        let exporter = bed.start();
        bed.live(&exporter);
        end(exporter, how);
        let copy = bed.home.path().join("copy");
        copy_folder(&bed.store(), &copy);
        let exporter = bed.start();
        let before = bed.live(&exporter);
        end(exporter, how);
        empty_folder(&bed.store());
        copy_folder(&copy, &bed.store());
        let exporter = bed.start();
        check(&format!("an older copy, {how:?}"), Outcome::Anew, &before, &bed.settle(&exporter));
    }
}

#[test]
fn a_counter_that_wraps_while_nobody_looks_is_counted_once() {
    let bed = Bed::new(5, 2);
    let exporter = bed.start();
    let before = bed.live(&exporter);
    exporter.kill();
    let ahead = RANGE - before.1.energy["package-0"];
    assert!(ahead < RANGE / 100, "it is near its end");
    // What a package can draw in the time that passes.
    bed.machine.advance(0, ahead + 1_234_567);
    std::thread::sleep(Duration::from_millis(1_500));
    let exporter = bed.start();
    let after = bed.settle(&exporter);
    assert!(after.1.energy["package-0"] > RANGE, "it has wrapped");
    check("a wrap while down", Outcome::Whole, &before, &after);
    assert_eq!(
        after.0.sum("jouleprint_meter_wraps_total", &[]),
        before.0.sum("jouleprint_meter_wraps_total", &[]) + 1_000_000_000
    );
}

#[test]
fn a_meter_that_is_gone_stays_on_the_page_and_may_come_back() {
    let bed = Bed::new(6, 2);
    let exporter = bed.start();
    let before = bed.live(&exporter);
    exporter.kill();
    bed.machine.set_present(1, false);
    let exporter = bed.start();
    // A page is looked over when it is read: the sums hold with the meter that is gone.
    let without = bed.live(&exporter);
    assert_eq!(check_rising_over_a_restart(&before.0, &without.0), Ok(()));
    assert_eq!(energy(&before.0, METERS[1]), energy(&without.0, METERS[1]), "it stands still");
    let meanwhile = without.1.energy[METERS[0]] - before.1.energy[METERS[0]];
    assert_eq!(energy(&without.0, METERS[0]), energy(&before.0, METERS[0]) + meanwhile, "the other is whole");
    exporter.kill();
    bed.machine.set_present(1, true);
    let exporter = bed.start();
    let back = bed.live(&exporter);
    assert_eq!(check_rising_over_a_restart(&without.0, &back.0), Ok(()));
    assert_eq!(start(&before.0), start(&back.0));
    let counted = energy(&back.0, METERS[1]) - energy(&without.0, METERS[1]);
    let passed = back.1.energy[METERS[1]] - before.1.energy[METERS[1]];
    println!("restart: a meter gone and back counts {counted} of {passed} µJ");
    assert!(counted > 0 && counted <= passed, "it goes on from where it stands: {counted} of {passed}");
}

#[test]
fn jobs_that_end_and_begin_while_nobody_looks_are_charged_what_is_theirs() {
    let bed = Bed::new(7, 3);
    let exporter = bed.start();
    let before = bed.live(&exporter);
    let ids: Vec<&String> = before.1.jobs.keys().collect();
    exporter.kill();
    let (ended, worked) = (ids[0], ids[1]);
    bed.machine.end(ended, 77_777);
    let born = bed.machine.bear(42_424);
    bed.machine.advance(0, 3_000_000);
    let exporter = bed.start();
    let after = bed.settle(&exporter);
    check("jobs that came and went", Outcome::Whole, &before, &after);
    assert_eq!(cpu(&after.0, &born), Some(42_424), "born while nobody looked: all of it is its own");
    assert_eq!(cpu(&after.0, worked), Some(before.1.jobs[worked]), "it did nothing");
    assert_eq!(
        cpu(&after.0, ended),
        cpu(&before.0, ended),
        "what it used at the end cannot be proved to be its"
    );
    let trace = |page: &Page| page.sum("jouleprint_residual_energy_joules_total", &[("account", "ended")]);
    assert!(trace(&after.0) > trace(&before.0), "it is charged to those that ended");
    let energy = |page: &Page| page.sum("jouleprint_job_energy_joules_total", &[("job_id", &born)]);
    assert!(energy(&after.0) > 0, "its energy is on the first page already");
}

#[test]
fn an_estimate_loses_the_time_in_which_nobody_looked_and_counts_it() {
    let bed = Bed::new(8, 2);
    bed.machine.set_present(0, false);
    let exporter = bed.start();
    bed.machine.run(None);
    std::thread::sleep(Duration::from_millis(500));
    let before = exporter.next_page();
    let of = |page: &Page, name: &str| page.sum(name, &[]) as f64 / 1e9;
    assert!(
        of(&before, "hw_energy_joules_total") > 0.0
            && before.all("hw_energy_joules_total", &[("origin", "measured")]).is_empty()
    );
    exporter.kill();
    std::thread::sleep(Duration::from_secs(3));
    let exporter = bed.start();
    let after = exporter.page();
    assert_eq!(check_rising_over_a_restart(&before, &after), Ok(()));
    assert_eq!(start(&before), start(&after), "{:?}", info(&after));
    let meters = after.all("jouleprint_meter_gap_seconds_total", &[]).len() as f64;
    let gap = (of(&after, "jouleprint_meter_gap_seconds_total")
        - of(&before, "jouleprint_meter_gap_seconds_total"))
        / meters;
    let risen = of(&after, "hw_energy_joules_total") - of(&before, "hw_energy_joules_total");
    println!(
        "restart: an estimate over 3 s: {gap:.3} s lost for each of {meters} meters, {risen:.3} J counted"
    );
    assert!((3.0..6.0).contains(&gap), "{gap} s");
    let watts = of(&after, "hw_host_power_watts").max(1.0);
    assert!(risen < watts * 2.0, "{risen} J at {watts} W: the gap was not counted");
}
