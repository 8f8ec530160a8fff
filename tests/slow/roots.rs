//! Parts of a host that are mounted to be read: with one that can be written the exporter does not start.

use crate::attribution::{CONFIG, powercap};
use crate::rig::{Exporter, Setup};
use std::path::Path;
use std::process::{Command, Output};

/// Mounts `$0` at `$1` as the first word after says, and becomes the rest.
const MOUNT: &str =
    "mount --bind \"$0\" \"$1\"; [ \"$2\" = rw ] || mount -o remount,bind,ro \"$1\"; shift 2; exec \"$@\"";

/// The command that gives its child a mount of its own.
fn mounted(from: &Path, to: &Path, mode: &str) -> Vec<String> {
    let mut words =
        ["unshare", "-m", "--propagation", "private", "sh", "-c", MOUNT].map(str::to_owned).to_vec();
    words.extend([from, to].map(|path| path.display().to_string()));
    words.push(mode.to_owned());
    words
}

/// Starts the program on this sysfs, for as long as it takes to say no.
fn start(under: &[String], command: &[&str], sysfs: &Path, more: &[&str]) -> Output {
    let mut all: Vec<&str> = under.iter().map(String::as_str).collect();
    // A program that does not say no is ended, which is told from a no.
    all.extend(["timeout", "5", env!("CARGO_BIN_EXE_jouleprint")]);
    all.extend(command);
    let mut started = Command::new(all[0]);
    started.args(&all[1..]).arg("--path.sysfs").arg(sysfs).args(more);
    started.args(["--store.path", "none", "--web.listen-address", "127.0.0.1:0"]);
    started.args(["--path.runtime", &sysfs.with_file_name("run").display().to_string()]);
    started.output().expect("it runs")
}

#[test]
fn a_part_of_the_host_that_is_mounted_writable_stops_the_start() {
    let powercap = powercap();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let sysfs = folder.path().join("host/sys");
    let class = sysfs.join("class");
    std::fs::create_dir_all(&class).expect("made");
    let source = powercap.sysfs().join("class");
    let writable = mounted(&source, &class, "rw");
    for command in [&[][..], &["doctor"]] {
        let output = start(&writable, command, &sysfs, &[]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{command:?}: {said}");
        let line = said.lines().last().unwrap_or_default();
        let named = format!("path.sysfs {}: {} is mounted writable", sysfs.display(), class.display());
        assert!(line.contains(&named) && line.contains("--path.allow-writable"), "{line}");
    }
    // The same folder without a mount, and the machine's own /sys, are nobody's root.
    for (under, sysfs) in [(&[][..], powercap.sysfs()), (&writable, Path::new("/sys"))] {
        let output = start(under, &[], sysfs, &[]);
        assert_eq!(output.status.code(), Some(124), "{}", String::from_utf8_lossy(&output.stderr));
    }
    // The kubelet's folders are looked at where they were named.
    let config = folder.path().join("jouleprint.yaml");
    let text = format!("jobs: {{kubernetes: {{logs: {}}}}}\n", class.display());
    std::fs::write(&config, text).expect("written");
    let file = config.display().to_string();
    let output = start(&writable, &[], powercap.sysfs(), &["--config.file", &file]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("jobs.kubernetes.logs "));
    // Read-only, or allowed, it runs and reads.
    for (mode, more) in [("ro", vec![]), ("rw", vec!["--path.allow-writable"])] {
        let exporter = Exporter::start(&Setup {
            sysfs: Some(&sysfs),
            config: CONFIG,
            arguments: &more,
            under: &mounted(&source, &class, mode),
            ..Setup::default()
        });
        let page = exporter.next_page();
        let measured = page.all("hw_energy_joules_total", &[("hw_id", "package-0"), ("origin", "measured")]);
        assert_eq!(measured.len(), 1, "{mode}");
    }
}
