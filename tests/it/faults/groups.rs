//! Control groups: any name, any depth, more than there is room for, and made anew unseen.

use super::{ground, run, set_mode, without_privileges};
use crate::page::Sample;
use crate::tree::{Ground, Run};
use jouleprint::job::Resolvers;
use jouleprint::job::consumers::Consumers;
use jouleprint::job::hierarchy;
use jouleprint::job::processor::Topology;
use jouleprint::job::tree::{Surroundings, Tree};
use jouleprint::model::identity::JobKind;
use std::collections::BTreeSet;
use std::os::unix::ffi::OsStringExt;

#[test]
fn a_mount_of_control_groups_that_may_not_be_listed_is_forbidden_and_not_missing() {
    let ground = ground("zone 0 package-0 1000000000");
    set_mode(&ground, "cgroup", 0);
    let run = without_privileges(|| Run::start(ground));
    run.shows(&[
        "jouleprint_source_up source=cgroup: 0",
        "jouleprint_source_info source=cgroup reason=permission_denied: 1",
    ]);
    set_mode(&run.ground, "cgroup", 0o700);
}

#[test]
fn any_name_of_a_group_is_a_label() {
    let names =
        [r#"a"quote.service"#, r"a\back.service", "a\nline.service", "ä€𝄞.service", "{a=\"b\"} 1.service"];
    let ground = ground("zone 0 package-0 1000000000");
    for name in names {
        ground.write(&format!("cgroup/system.slice/{name}/cpu.stat"), "usage_usec 0\n");
    }
    let mut run = Run::start(ground);
    for name in names {
        run.ground.write(&format!("cgroup/system.slice/{name}/cpu.stat"), "usage_usec 200000\n");
    }
    run.step(5, "energy:0 += 100_000_000\nproc/stat[cpu0] += 100\ncgroup/system.slice/cpu.stat += 1000000");
    for name in names {
        let labels = [("job_id", name), ("origin", "measured")];
        assert_eq!(
            run.page.value("jouleprint_job_energy_joules_total", &labels),
            Some("20.000000"),
            "{name}"
        );
        let path = format!("/system.slice/{name}");
        let labels = [("job_id", name), ("process_linux_cgroup", path.as_str())];
        assert_eq!(run.page.value("jouleprint_job_info", &labels), Some("1"), "{name}");
    }
}

#[test]
fn names_too_long_for_a_label_are_cut_and_stay_apart() {
    // 255 bytes are a file name's limit; a unit inside a unit is named after both.
    let outer = format!("{}.service", "o".repeat(240));
    let inner = |last: &str| format!("{}{last}.scope", "i".repeat(240));
    let ground = ground("zone 0 package-0 1000000000");
    let paths = [String::new(), format!("/{}", inner("1")), format!("/{}", inner("2"))];
    let write = |ground: &Ground, used: [u64; 3]| {
        for (path, used) in paths.iter().zip(used) {
            ground.write(
                &format!("cgroup/system.slice/{outer}{path}/cpu.stat"),
                &format!("usage_usec {used}\n"),
            );
        }
    };
    write(&ground, [0, 0, 0]);
    let mut run = Run::start(ground);
    write(&run.ground, [1_000_000, 300_000, 200_000]);
    run.step(5, "energy:0 += 100_000_000\nproc/stat[cpu0] += 100\ncgroup/system.slice/cpu.stat += 1000000");
    let jobs = run.page.all("jouleprint_job_energy_joules_total", &[("origin", "measured")]);
    let long: Vec<&&Sample> = jobs.iter().filter(|job| job.labels["job_id"].starts_with("ooo")).collect();
    let joules: BTreeSet<&str> = long.iter().map(|job| job.text.as_str()).collect();
    assert_eq!(joules, BTreeSet::from(["50.000000", "30.000000", "20.000000"]));
    assert!(long.iter().all(|job| job.labels["job_id"].len() <= 200), "{long:#?}");
}

#[test]
fn a_name_that_is_no_text_is_left_to_the_group_around_it() {
    let ground = ground("zone 0 package-0 1000000000");
    let name = std::ffi::OsString::from_vec(b"\xff\xfe.service".to_vec());
    let path = ground.path("cgroup/system.slice").join(name);
    std::fs::create_dir(&path).expect("made");
    std::fs::write(path.join("cpu.stat"), "usage_usec 0\n").expect("written");
    let mut run = Run::start(ground);
    std::fs::write(path.join("cpu.stat"), "usage_usec 1000000\n").expect("written");
    run.step(5, "energy:0 += 100_000_000\nwork\ncgroup/system.slice/cpu.stat += 1000000");
    run.shows(&[
        "jouleprint_job_energy_joules_total job_id=a.service origin=measured: 50",
        "jouleprint_residual_energy_joules_total account=system origin=measured: 50",
        "jouleprint_jobs: 1",
    ]);
    // Nor does its end disturb anybody.
    std::fs::remove_dir_all(&path).expect("removed");
    run.step(10, "energy:0 += 100_000_000\nwork");
    run.shows(&["jouleprint_job_energy_joules_total job_id=a.service origin=measured: 100"]);
}

#[test]
fn jobs_ten_levels_deep_are_each_charged_with_their_own_use() {
    let ground = ground("zone 0 package-0 1000000000");
    let path = |depth: u32| (0..depth).map(|level| format!("/l{level}.service")).collect::<String>();
    let write = |ground: &Ground, base: u64| {
        for depth in 1..=10 {
            // Each uses 0.1 s, and counts those inside it too.
            let used = base * u64::from(11 - depth) * 100_000;
            ground.write(&format!("cgroup{}/cpu.stat", path(depth)), &format!("usage_usec {used}\n"));
        }
    };
    write(&ground, 0);
    let mut run = Run::start(ground);
    write(&run.ground, 1);
    run.step(5, "energy:0 += 100_000_000\nproc/stat[cpu0] += 100");
    for depth in 1..=10 {
        let id = path(depth).trim_start_matches('/').to_owned();
        let labels = [("job_id", id.as_str()), ("origin", "measured")];
        assert_eq!(run.page.value("jouleprint_job_energy_joules_total", &labels), Some("10.000000"), "{id}");
    }
}

#[test]
fn jobs_beyond_the_bound_go_to_overflow_until_there_is_room() {
    let ground = ground("zone 0 package-0 1000000000\n- cgroup/system.slice/a.service");
    ground.write("config.yaml", "zone: DE\nintensity: 360\njobs: {max: 2}\n");
    ground.change("cgroup/system.slice/{a,b,c,d}.service/cpu.stat = usage_usec 0");
    let mut run = Run::start(ground);
    let all =
        "energy:0 += 400_000_000\nproc/stat[cpu{0..1}] += 200\ncgroup/system.slice/cpu.stat += 4000000\n";
    run.step(5, &format!("{all}cgroup/system.slice/{{a,b,c,d}}.service/cpu.stat += 1000000"));
    run.shows(&[
        "jouleprint_jobs: 2",
        "jouleprint_jobs_overflow_total: 2",
        "jouleprint_job_energy_joules_total origin=measured: 200",
        "jouleprint_residual_energy_joules_total account=overflow origin=measured: 200",
    ]);

    // One on the page ends. A minute later, when two scrapes can have seen that, it makes room for one
    // that waits.
    let jobs = |run: &Run| -> BTreeSet<String> {
        run.page.all("jouleprint_job_info", &[]).iter().map(|job| job.labels["job_id"].clone()).collect()
    };
    let before = jobs(&run);
    let ended = before.first().expect("two jobs").clone();
    run.step(10, &format!("- cgroup/system.slice/{ended}"));
    let rest: Vec<&str> = ["a", "b", "c", "d"].into_iter().filter(|name| !ended.starts_with(name)).collect();
    let use_rest = format!(
        "energy:0 += 300_000_000\nproc/stat[cpu0] += 300\ncgroup/system.slice/cpu.stat += 3000000\n\
         cgroup/system.slice/{{{}}}.service/cpu.stat += 1000000",
        rest.join(",")
    );
    run.step(15, &use_rest);
    run.shows(&[
        "jouleprint_jobs: 1",
        "jouleprint_residual_energy_joules_total account=overflow origin=measured: 400",
        "jouleprint_retired_energy_joules origin=measured: 0",
    ]);
    run.step(65, "energy:0 += 1_000_000");
    run.shows(&["jouleprint_retired_energy_joules origin=measured: 0", "jouleprint_jobs: 1"]);
    for seconds in [70, 130, 190, 250, 310] {
        run.step(seconds, "energy:0 += 1_000_000");
    }
    run.shows(&["jouleprint_retired_energy_joules origin=measured: 100", "jouleprint_jobs: 2"]);
    run.step(315, &use_rest);
    run.shows(&[
        "jouleprint_jobs: 2",
        "jouleprint_jobs_overflow_total: 2",
        "jouleprint_residual_energy_joules_total account=overflow origin=measured: 500",
    ]);
    let after = jobs(&run);
    assert!(!after.contains(&ended) && after.len() == 2, "{before:?} {after:?}");
    let promoted = after.difference(&before).next().expect("another one");
    run.shows(&[&format!("jouleprint_job_energy_joules_total job_id={promoted} origin=measured: 100")]);
}

#[test]
fn groups_beyond_the_bound_are_charged_to_overflow_and_looked_at_when_there_is_room() {
    let ground = ground("zone 0 package-0 1000000000\n- cgroup/system.slice/a.service");
    ground.change("cgroup/system.slice/{a,b,c,d}.service/cpu.stat = usage_usec 0");
    let mut parts = ground.parts();
    let surroundings = Surroundings {
        procfs: ground.path("proc"),
        topology: Topology::read(&ground.path("sys")),
        wants_reservations: false,
        max_groups: 3,
    };
    let roots = hierarchy::find(&ground.path("cgroup")).expect("there");
    let tree = Tree::open(roots, Resolvers::new(Vec::new(), vec![JobKind::Unit]), surroundings);
    parts.consumers = Some(Consumers::Groups(Box::new(tree)));
    let mut run = Run::of(ground, parts);
    run.shows(&[
        "jouleprint_cgroups: 3",
        "jouleprint_source_up source=cgroup: 0",
        "jouleprint_source_info source=cgroup reason=limit: 1",
    ]);
    // The slice and two of its four units are seen; what it uses beyond them is that of the others.
    let all =
        "energy:0 += 400_000_000\nproc/stat[cpu{0..1}] += 200\ncgroup/system.slice/cpu.stat += 4000000\n";
    run.step(5, &format!("{all}cgroup/system.slice/{{a,b,c,d}}.service/cpu.stat += 1000000"));
    run.shows(&[
        "jouleprint_jobs: 2",
        "jouleprint_job_energy_joules_total origin=measured: 200",
        "jouleprint_residual_energy_joules_total account=overflow origin=measured: 200",
        "jouleprint_residual_energy_joules_total account=system origin=measured: 0",
    ]);
    let seen: Vec<String> =
        run.page.all("jouleprint_job_info", &[]).iter().map(|job| job.labels["job_id"].clone()).collect();
    run.step(10, &format!("- cgroup/system.slice/{}\n- cgroup/system.slice/{}", seen[0], seen[1]));
    run.shows(&["jouleprint_cgroups: 3", "jouleprint_source_up source=cgroup: 1", "jouleprint_jobs: 2"]);
    let rest: Vec<&str> =
        ["a", "b", "c", "d"].into_iter().filter(|name| !seen.contains(&format!("{name}.service"))).collect();
    run.step(
        15,
        &format!(
            "energy:0 += 200_000_000\nproc/stat[cpu0] += 200\ncgroup/system.slice/cpu.stat += 2000000\n\
             cgroup/system.slice/{{{}}}.service/cpu.stat += 1000000",
            rest.join(",")
        ),
    );
    for name in rest {
        run.shows(&[&format!(
            "jouleprint_job_energy_joules_total job_id={name}.service origin=measured: 100"
        )]);
    }
}

#[test]
fn a_unit_restarted_in_a_storm_whose_events_were_lost_is_found_again() {
    let limit = std::fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").expect("procfs");
    let storm = limit.trim().parse::<usize>().expect("a number") / 2 + 1;
    let mut run = run("zone 0 package-0 1000000000");
    // A directory that is renamed makes two events; the queue is full before the last.
    let [here, there] = ["passing", "passed"].map(|name| run.ground.path("cgroup/system.slice").join(name));
    std::fs::create_dir(&here).expect("made");
    for _ in 0..storm / 2 + 1 {
        std::fs::rename(&here, &there).expect("renamed");
        std::fs::rename(&there, &here).expect("renamed");
    }
    run.ground
        .change("- cgroup/system.slice/a.service\ncgroup/system.slice/a.service/cpu.stat = usage_usec 0");
    // The storm is read over a few ticks.
    for seconds in [5, 10, 15] {
        run.step(seconds, "");
    }
    run.step(20, "energy:0 += 100_000_000\nwork");
    run.step(25, "energy:0 += 100_000_000\nwork");
    run.shows(&[
        "jouleprint_jobs: 1",
        "jouleprint_job_energy_joules_total job_id=a.service origin=measured: 100",
    ]);
}

#[test]
fn a_default_weight_is_no_reservation() {
    // 100 is what systemd and the kernel give to every group that asked for nothing.
    let text = "zone 0 package-0 1000000000\ncgroup/system.slice/a.service/cpu.weight = 100";
    let ground = ground(text);
    ground.write("config.yaml", "zone: DE\nidle: {policy: reserved, floor_watts: {package-0: 40}}\n");
    let mut run = Run::start(ground);
    run.step(5, "energy:0 += 300_000_000\nwork");
    run.shows(&[
        "jouleprint_residual_energy_joules_total account=idle hw_type=cpu: 200",
        "jouleprint_job_energy_joules_total job_id=a.service hw_type=cpu: 50",
    ]);
}

#[test]
fn a_slice_beyond_the_bound_is_counted_like_any_job() {
    let ground = ground("zone 0 package-0 1000000000\ncgroup/batch.slice/cpu.stat = usage_usec 0");
    ground.write("config.yaml", "zone: DE\njobs: {max: 1}\n");
    let mut run = Run::start(ground);
    for seconds in [5, 10] {
        run.step(
            seconds,
            "energy:0 += 100_000_000\nproc/stat[cpu0] += 100\ncgroup/batch.slice/cpu.stat += 1000000",
        );
    }
    run.shows(&[
        "jouleprint_residual_energy_joules_total account=overflow origin=measured: 200",
        "jouleprint_jobs_overflow_total: 1",
    ]);
}
