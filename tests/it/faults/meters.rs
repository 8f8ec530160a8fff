//! Meters and clocks: files that die while they are open, counters for root only, readings that lie,
//! time that jumps.

use super::{expand, ground, run, set_mode, without_privileges};
use crate::tree::{Run, at};
use jouleprint::model::quantity::Nanos;
use jouleprint::model::time::Moment;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread::JoinHandle;

/// A kernel file that dies while it is open: the name of a thread, a few digits, which is gone with
/// the thread (ESRCH), as the counter of a zone is gone with its module.
struct MortalFile {
    path: PathBuf,
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl MortalFile {
    fn new(text: &str) -> MortalFile {
        let (stop, wait) = mpsc::channel::<()>();
        let (tell, told) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            tell.send(std::fs::read_link("/proc/thread-self").expect("procfs")).expect("listened to");
            let _ = wait.recv();
        });
        let place = told.recv().expect("told");
        let path = PathBuf::from("/proc").join(place).join("comm");
        let file = MortalFile { path, stop: Some(stop), thread: Some(thread) };
        file.write(text);
        file
    }

    fn write(&self, text: &str) {
        std::fs::write(&self.path, text).expect("a thread's name can be written");
    }

    fn die(&mut self) {
        self.stop = None;
        self.thread.take().expect("dies once").join().expect("it only waits");
        // The entry goes a moment after the thread.
        while self.path.exists() {
            std::thread::yield_now();
        }
    }
}

/// A run whose package-0 can die, beside a package-1 that lives.
fn mortal_run() -> (Run, MortalFile) {
    let ground = ground("zone 0 package-0 1000000000\nzone 1 package-1 1000000000");
    let parts = ground.parts();
    let file = MortalFile::new("1000000000");
    // The sampler opens its files at the first tick, after discovery.
    ground.remove("sys/class/powercap/intel-rapl:0/energy_uj");
    ground.link("sys/class/powercap/intel-rapl:0/energy_uj", file.path.to_str().expect("UTF-8"));
    (Run::of(ground, parts), file)
}

#[test]
fn a_zone_that_goes_and_comes_back_brings_its_energy_and_its_claims() {
    let (mut run, mut file) = mortal_run();
    file.write("1300000000");
    run.step(5, "energy:1 += 100_000_000\nwork");
    run.shows(&["hw_energy_joules_total hw_id=package-0: 300"]);

    file.die();
    run.step(10, "energy:1 += 100_000_000\nwork");
    run.shows(&[
        "jouleprint_source_up hw_id=package-0: 0",
        "jouleprint_source_info hw_id=package-0 reason=io: 1",
        "no hw_power_watts hw_id=package-0",
        "hw_power_watts hw_id=package-1: 20",
    ]);

    run.step(15, "- sys/class/powercap/intel-rapl:0\nenergy:1 += 100_000_000\nwork");
    run.shows(&[
        "jouleprint_source_info hw_id=package-0 reason=missing: 1",
        "jouleprint_source_last_success_timestamp_seconds hw_id=package-0: 1767225605",
        "hw_energy_joules_total hw_id=package-0: 300",
        "hw_energy_joules_total hw_id=package-1: 300",
    ]);

    run.step(20, "zone 0 package-0 1900000000\nenergy:1 += 100_000_000");
    run.shows(&[
        "jouleprint_source_up hw_id=package-0: 1",
        "jouleprint_source_errors_total hw_id=package-0 reason=io: 1",
        "jouleprint_source_errors_total hw_id=package-0 reason=missing: 1",
        "jouleprint_meter_resets_total hw_id=package-0: 0",
        "hw_energy_joules_total hw_id=package-0: 900",
        "hw_power_watts hw_id=package-0: 40",
        // Half of what package-0 drew, and of what package-1 drew while somebody ran.
        "jouleprint_job_energy_joules_total job_id=a.service hw_type=cpu: 600",
        "jouleprint_residual_energy_joules_total account=unattributed hw_type=cpu: 100",
    ]);
}

#[test]
fn an_io_error_on_one_socket_leaves_the_other_alone_and_loses_no_energy() {
    let (mut run, mut file) = mortal_run();
    file.die();
    // From here on the path is a directory: EISDIR, which is no better than EIO.
    run.ground.remove("sys/class/powercap/intel-rapl:0/energy_uj");
    run.ground.change("sys/class/powercap/intel-rapl:0/energy_uj/");
    for seconds in [5, 10, 15] {
        run.step(seconds, "energy:1 += 100_000_000\nwork");
        run.shows(&[
            "jouleprint_source_up hw_id=package-0: 0",
            "jouleprint_source_info hw_id=package-0 reason=io: 1",
            "jouleprint_source_up hw_id=package-1: 1",
            "hw_power_watts hw_id=package-1: 20",
            "no hw_host_power_watts origin=measured",
        ]);
        run.never_mixes();
    }
    run.step(20, "- energy:0\nenergy:0 = 1600000000\nenergy:1 += 100_000_000\nwork");
    run.shows(&[
        "jouleprint_source_up hw_id=package-0: 1",
        "jouleprint_source_errors_total hw_id=package-0 reason=io: 3",
        "hw_energy_joules_total hw_id=package-0: 600",
        "hw_power_watts hw_id=package-0: 30",
        "hw_energy_joules_total hw_id=package-1: 400",
        "jouleprint_job_energy_joules_total job_id=a.service hw_type=cpu: 500",
    ]);
}

#[test]
fn proc_stat_that_cannot_be_read_is_said_and_taken_up_again() {
    let ground = ground("zone 0 package-0 1000000000");
    let mut file = MortalFile::new("cpu0 100");
    ground.remove("proc/stat");
    ground.link("proc/stat", file.path.to_str().expect("UTF-8"));
    let mut run = Run::start(ground);
    file.write("cpu0 300");
    let unit = "cgroup/system.slice/{cpu.stat,a.service/cpu.stat} += 1000000";
    run.step(5, &format!("energy:0 += 300_000_000\n{unit}"));
    run.shows(&["jouleprint_residual_energy_joules_total account=system origin=measured: 150"]);
    file.die();
    run.step(10, &format!("energy:0 += 300_000_000\n{unit}"));
    run.shows(&[
        "jouleprint_source_up source=cpu: 0",
        "jouleprint_source_info source=cpu reason=io: 1",
        "jouleprint_source_up hw_id=package-0: 1",
        "hw_energy_joules_total hw_id=package-0: 300",
    ]);
}

#[test]
fn counters_for_root_only_are_said_to_be_forbidden_and_are_no_zeros() {
    let ground = ground("zone 0 package-0 1000000000\n! still energy:0");
    set_mode(&ground, "sys/class/powercap/intel-rapl:0/energy_uj", 0);
    let run = without_privileges(|| {
        let mut run = Run::start(ground);
        run.step(5, "work");
        run
    });
    run.shows(&[
        "jouleprint_source_up source=rapl hw_id=: 0",
        "jouleprint_source_info source=rapl hw_id= reason=permission_denied: 1",
        "jouleprint_source_info source=rapl hw_id=package-0 reason=permission_denied: 1",
        "no hw_energy_joules_total origin=measured",
        "hw_energy_joules_total hw_id=cpu origin=estimated: 267.1875",
    ]);
}

#[test]
fn the_wall_clock_may_jump_and_energy_does_not() {
    const HOUR: u64 = 3_600;
    let mut run = run("zone 0 package-0 1000000000\nzone 0:0 dram 1000000000");
    let jumped = |seconds: u64, wall: u64| Moment { wall: Nanos::from_seconds(wall), ..at(seconds) };
    let start = at(0).wall.get() / 1_000_000_000;
    for (seconds, wall) in [(5, start - HOUR), (10, start + 24 * HOUR), (15, start + 15)] {
        run.ground.change(&expand("energy:0 += 300_000_000\nenergy:0:0 += 50_000_000\nwork"));
        run.tick(jumped(seconds, wall));
        run.shows(&[
            "hw_power_watts hw_id=package-0: 60",
            "hw_power_watts hw_id=package-0-dram: 10",
            &format!("jouleprint_snapshot_timestamp_seconds: {wall}"),
            &format!("jouleprint_source_last_success_timestamp_seconds hw_id=package-0: {wall}"),
        ]);
    }
    run.shows(&[
        "hw_host_energy_joules_total: 1050",
        "jouleprint_job_energy_joules_total job_id=a.service hw_type=cpu: 450",
        "jouleprint_meter_gap_seconds_total hw_id=package-0: 0",
        "no jouleprint_quarantined_energy_joules_total",
    ]);
}

fn suspended(seconds: u64) -> Moment {
    Moment { boottime: at(seconds + 8 * 3_600).boottime, wall: at(seconds + 8 * 3_600).wall, ..at(seconds) }
}

#[test]
fn a_night_asleep_adds_what_the_counter_says_and_no_eight_hours_of_estimate() {
    let mut run = run("zone 0 package-0 1000000000");
    run.step(5, "energy:0 += 300_000_000\nwork");
    run.ground.change(&expand("energy:0 += 350_000_000\nwork"));
    run.tick(suspended(10));
    run.shows(&[
        "hw_energy_joules_total hw_id=package-0: 650",
        "hw_power_watts hw_id=package-0: 70",
        // 38 W for 10 s awake.
        "hw_energy_joules_total hw_id=memory origin=estimated: 380",
        "jouleprint_meter_gap_seconds_total hw_id=package-0: 0",
    ]);
}

#[test]
fn a_counter_that_lost_its_content_asleep_is_a_reset_even_where_a_wrap_would_fit() {
    let mut run = run("zone 0 package-0 262043328850");
    run.ground.change(&expand("energy:0 = 200000000\nwork"));
    run.tick(suspended(5));
    run.shows(&[
        "hw_energy_joules_total hw_id=package-0: 0",
        "jouleprint_meter_resets_total hw_id=package-0: 1",
        "jouleprint_meter_wraps_total hw_id=package-0: 0",
    ]);
}

#[test]
fn no_floor_is_learnt_from_an_interval_of_which_only_the_end_was_seen() {
    let mut run = run("zone 0 package-0 1000000000\nzone 1 package-1 1000000000");
    for window in 0..35_u64 {
        let before = 1_000_000_000 + window * 600_000_000;
        // Both CPUs are busy while the counter cannot be read, and idle when it can again: what has
        // been drawn since is no idle power.
        run.step(10 * window + 5, "energy:0 = x\nproc/stat[cpu{0..1}] += 500\nenergy:1 += 1_000_000");
        run.step(10 * window + 10, &format!("energy:0 = {}\nenergy:1 += 1_000_000", before + 600_000_000));
    }
    run.shows(&[
        "hw_energy_joules_total hw_id=package-0: 21000",
        "jouleprint_idle_floor_watts hw_id=package-0 method=unlearnt: 0",
        "jouleprint_idle_floor_watts hw_id=package-1 method=unlearnt: 0",
        "no jouleprint_idle_floor_watts method=learnt",
    ]);
}

#[test]
fn a_glitch_of_one_reading_does_not_forget_who_ran_before_it() {
    let mut run = run("zone 0 package-0 200000000 0");
    // The unit runs in the first interval, at the end of which the counter lies; the system in the second.
    let unit = "proc/stat[cpu0] += 100\ncgroup/system.slice/{cpu.stat,a.service/cpu.stat} += 1000000";
    run.step(5, &format!("energy:0 = 22000000000000\n{unit}"));
    run.step(10, "energy:0 = 800000000\nproc/stat[cpu0] += 100");
    run.shows(&[
        "hw_energy_joules_total hw_id=package-0: 600",
        "jouleprint_job_energy_joules_total job_id=a.service origin=measured: 300",
        "jouleprint_residual_energy_joules_total account=system origin=measured: 300",
    ]);
}
