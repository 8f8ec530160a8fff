//! A sidecar of a pod of two containers: by the host's groups, by shared processes, and with neither.

use crate::attribution::{BUSY_WATTS, CONFIG, Measured, error, percent, powercap};
use crate::load::{Load, Running};
use crate::rig::{CGROUPFS, Exporter, Groups, Setup, container_id, uid, wait_for};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const TIME: Duration = Duration::from_secs(5);

/// A mount that shows a group inside the hierarchy as if it were the root.
fn own_group_only(folder: &Path) {
    fs::write(folder.join("cgroup.controllers"), "").expect("written");
    fs::write(folder.join("cgroup.events"), "populated 1\n").expect("written");
}

#[test]
fn by_the_host_s_groups_exactly_its_own_pod_is_a_job() {
    let groups = Groups::unified();
    let powercap = powercap();
    let (own, other) = (uid(), uid());
    let container = |pod: &str| groups.make(&format!("kubepods/burstable/pod{pod}/{}", container_id()));
    let (one, two, stranger, home) = (container(&own), container(&own), container(&other), container(&own));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let unified = Path::new(CGROUPFS.as_str()).join("unified");
    // As a container sees it: its own group as if it were the root, and the host's tree elsewhere.
    let script = "mount --bind \"$0\" \"$1\" && mount -o remount,bind,ro \"$1\" && \
                  mount -t cgroup2 none /sys/fs/cgroup && shift && exec \"$@\"";
    let inside = ["unshare", "-Cm", "--propagation", "private", "sh", "-c", script].map(str::to_owned);
    let mut inside = inside.to_vec();
    inside.extend([&unified, folder.path()].map(|path| path.display().to_string()));
    // Told by a flag, or found from within a private namespace by the inode of our own group.
    for (name, arguments, config, under, cgroupfs) in [
        ("flag", vec!["--job.pod-uid", &own], CONFIG.to_owned(), Vec::new(), unified.as_path()),
        ("inode", vec![], format!("{CONFIG}jobs: {{sidecar: host-cgroups}}\n"), inside, folder.path()),
    ] {
        let exporter = Exporter::start(&Setup {
            sysfs: Some(powercap.sysfs()),
            cgroupfs: Some(cgroupfs),
            config: &config,
            arguments: &arguments,
            under: &under,
            groups: std::slice::from_ref(&home),
            ..Setup::default()
        });
        let before = exporter.next_page();
        let running = [(15, &one), (30, &two), (20, &stranger)]
            .map(|(percent, group)| Load::steady(percent, TIME, &[group]).start());
        let used = running.map(Running::finish);
        let measured = Measured { before, after: exporter.next_page() };
        let truth = used[0] + used[1];
        // Our own container is a part of the pod.
        let off = measured.cpu_seconds(&own) - truth;
        let by_cpu = error(measured.job(&own), measured.cpu_seconds(&own) * BUSY_WATTS);
        println!("sidecar, {name}: pod {truth:.2} s {off:+.2} s energy by cpu {}", percent(by_cpu));
        assert!((-0.03 * truth..0.25).contains(&off) && by_cpu.abs() < 0.05);
        let jobs = measured.after.all("jouleprint_job_info", &[]);
        assert_eq!(jobs.len(), 1, "{jobs:?}");
        assert!(measured.residual("system") > used[2] * BUSY_WATTS * 0.9, "a neighbour's work is residual");
    }
}

#[test]
fn by_shared_processes_the_pod_is_one_job_without_ourselves() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| folder.path().join(name).display().to_string();
    let powercap = powercap();
    own_group_only(folder.path());
    // The first process of a pod is called `pause`.
    fs::copy("/bin/busybox", at("pause")).expect("busybox-static is installed");
    let script = "while [ ! -e go ]; do usleep 20000; done; \
                  ($LOAD steady 30 5000 > one.tmp; mv one.tmp one) & \
                  ($LOAD processes 15 5000 > two.tmp; mv two.tmp two) & wait";
    let first = format!("cd {}; ({script}) & \"$@\" & wait", folder.path().display());
    let under: Vec<String> = [
        "env",
        &format!("LOAD={}", env!("CARGO_BIN_EXE_jouleprint-load")),
        &format!("PAUSE={}", at("pause")),
        "unshare",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        "bash",
        "-c",
        "exec -a busybox \"$PAUSE\" sh -c \"$0\" pod \"$@\"",
        &first,
    ]
    .map(str::to_owned)
    .to_vec();
    let pod = uid();
    let exporter = Exporter::start(&Setup {
        sysfs: Some(powercap.sysfs()),
        cgroupfs: Some(folder.path()),
        config: CONFIG,
        arguments: &["--job.pod-uid", &pod],
        under: &under,
        ..Setup::default()
    });
    let before = exporter.next_page();
    fs::write(at("go"), "").expect("written");
    let used = ["one", "two"].map(|name| {
        let said = wait_for("a container's end", || fs::read_to_string(at(name)).ok());
        said.trim().parse::<u64>().expect("nanoseconds") as f64 / 1e9
    });
    let measured = Measured { before, after: exporter.next_page() };
    let truth = used[0] + used[1];
    let cpu = error(measured.cpu_seconds(&pod), truth);
    let by_cpu = error(measured.job(&pod), measured.cpu_seconds(&pod) * BUSY_WATTS);
    println!("sidecar, shared processes: {truth:.2} s {} energy by cpu {}", percent(cpu), percent(by_cpu));
    assert!(cpu.abs() < 0.06, "{} s for {truth} s", measured.cpu_seconds(&pod));
    assert!(by_cpu.abs() < 0.05);
    let jobs = measured.after.all("jouleprint_job_info", &[]);
    assert_eq!(jobs.len(), 1, "{jobs:?}");
}

#[test]
fn with_neither_nobody_is_charged_and_doctor_names_the_lines_to_add() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    own_group_only(folder.path());
    let powercap = powercap();
    let exporter = Exporter::start(&Setup {
        sysfs: Some(powercap.sysfs()),
        cgroupfs: Some(folder.path()),
        config: CONFIG,
        arguments: &["--job.pod-uid", &uid()],
        ..Setup::default()
    });
    let page = exporter.next_page();
    assert!(page.all("jouleprint_job_info", &[]).is_empty());
    let reason = [("source", "cgroup"), ("reason", "private_namespace")];
    assert_eq!(page.all("jouleprint_source_info", &reason).len(), 1);
    let doctor = Command::new(env!("CARGO_BIN_EXE_jouleprint"))
        .args(["doctor", "--store.path", "none", "--path.cgroupfs"])
        .arg(folder.path())
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&doctor.stdout).into_owned();
    for line in ["shareProcessNamespace: true", "fieldPath: metadata.uid", "mountPath: /host/sys/fs/cgroup"] {
        assert!(said.contains(line), "{line} is missing:\n{said}");
    }
}
