//! Processes as jobs: a real /proc, some of whose processes may not be read.

use crate::attribution::{BUSY_WATTS, Measured, error, percent, powercap};
use crate::load::Load;
use crate::rig::{Exporter, Setup};
use std::path::Path;
use std::time::Duration;

const CONFIG: &str = "tick: 1s\nzone: FR\nidle: {floor_watts: {package-0: 20, package-0-dram: 4}}\n\
                      jobs: {kinds: [process], processes: {top: 40}}\n";

const TIME: Duration = Duration::from_secs(9);

/// The number of a process by what it is called and when it began is on the page.
fn id_of(measured: &Measured, pid: u32) -> Option<String> {
    let jobs = measured.after.all("jouleprint_job_info", &[("job_kind", "process")]).into_iter();
    let mut ids = jobs.map(|sample| sample.labels["job_id"].clone());
    ids.find(|id| id.split('/').nth(1) == Some(&pid.to_string()))
}

/// A command that gives the exporter a /proc of its own, with these options, where nothing can be read of one
/// process.
fn under(procfs: &Path, options: &str, hidden: Option<u32>) -> Vec<String> {
    std::fs::create_dir(procfs).expect("made");
    // Read-only, as parts of a host have to be.
    let bound = "mount -o remount,bind,ro";
    let hide = hidden.map_or(String::new(), |pid| {
        format!("mount --bind /dev/null \"$0/{pid}/stat\" && {bound} \"$0/{pid}/stat\" && ")
    });
    let script = format!("mount -t proc -o {options} proc \"$0\" && {hide}{bound} \"$0\" && exec \"$@\"");
    let under = ["unshare", "-m", "--propagation", "private", "sh", "-c", &script];
    under.iter().map(|word| (*word).to_owned()).chain([procfs.display().to_string()]).collect()
}

#[test]
fn the_busiest_process_is_a_job_and_what_cannot_be_read_costs_itself_alone() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let powercap = powercap();
    let procfs = folder.path().join("proc");
    let hidden = Load::steady(20, TIME + Duration::from_secs(1), &[]).start();
    let exporter = Exporter::start(&Setup {
        sysfs: Some(powercap.sysfs()),
        procfs: Some(&procfs),
        config: CONFIG,
        under: &under(&procfs, "rw", Some(hidden.pid())),
        ..Setup::default()
    });
    let before = exporter.next_page();
    let seen = Load::steady(60, TIME, &[]).start();
    let (pid, hidden_pid) = (seen.pid(), hidden.pid());
    let (truth, unseen) = (seen.finish(), hidden.finish());
    let measured = Measured { before, after: exporter.next_page() };
    let id = id_of(&measured, pid).expect("the busiest has a place");
    let job = measured.job(&id);
    let (overflow, ended) = (measured.residual("overflow"), measured.residual("ended"));
    // What it used up to its third reading, in overflow, and after its last one, in ended or the system.
    let all = (job + overflow + ended) / BUSY_WATTS;
    println!(
        "process: {truth:.2} s, job {:.2} s, overflow {:.2} s, ended {:.2} s, energy by cpu {}; hidden {unseen:.2} s",
        job / BUSY_WATTS,
        overflow / BUSY_WATTS,
        ended / BUSY_WATTS,
        percent(error(job, measured.cpu_seconds(&id) * BUSY_WATTS))
    );
    assert!(id_of(&measured, hidden_pid).is_none(), "a process that cannot be read is no job");
    assert!(job / BUSY_WATTS > truth * 0.5 && job / BUSY_WATTS < truth * 1.03, "{job} J for {truth} s");
    assert!(all > truth * 0.85, "{all} s of {truth} s");
    assert!(error(job, measured.cpu_seconds(&id) * BUSY_WATTS).abs() < 0.05);
    assert!(measured.residual("system") > unseen * BUSY_WATTS * 0.7, "the hidden one's work is the system's");
    let refused = [("source", "process"), ("reason", "malformed")];
    assert!(measured.after.sum("jouleprint_source_errors_total", &refused) > 0);
    assert_eq!(measured.after.value("jouleprint_source_up", &[("source", "process")]), Some("1"));
}

#[test]
fn where_no_process_may_be_read_the_rest_goes_on_and_says_so() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let powercap = powercap();
    let procfs = folder.path().join("proc");
    // It is not in the group that may see all, and confined as it is it may not look into any other process.
    let exporter = Exporter::start(&Setup {
        sysfs: Some(powercap.sysfs()),
        procfs: Some(&procfs),
        config: CONFIG,
        under: &under(&procfs, "hidepid=1,gid=54321", None),
        ..Setup::default()
    });
    let page = exporter.next_page();
    let refused = [("source", "process"), ("reason", "permission_denied")];
    println!("hidepid: {} refused", page.sum("jouleprint_source_errors_total", &refused) / 1_000_000_000);
    assert!(page.sum("jouleprint_source_errors_total", &refused) > 0);
    assert!(page.sum("jouleprint_residual_energy_joules_total", &[("account", "system")]) > 0);
}
