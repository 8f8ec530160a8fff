//! The exporter as the first program of a real machine: Debian's kernel in QEMU, with a BMC on the bus (by the
//! kernel's own driver and ioctls), an ACPI power meter, and energy counters in the real powercap class.
//! Emulation in software: it needs no rights of its own, and takes a minute. And beside systemd: services, an
//! instance of a template, a session and a user's own unit, on Debian's own userland.

use crate::page::{Page, check_identity, check_rising_over_a_restart};
use crate::rig::amount;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// A boot takes 35 s, systemd's two minutes; a guest that hangs is ended.
const LONGEST_SECONDS: &str = "600";

/// What the guest said, by part.
fn boot(kind: &[&str], memory: &str, devices: &[&str]) -> BTreeMap<String, String> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let built = Command::new(here.join("tests/slow/guest/build.sh"))
        .arg(env!("CARGO_BIN_EXE_jouleprint"))
        .arg(folder.path())
        .args(kind)
        .status();
    assert!(built.expect("bash").success(), "the guest is not built");
    let began = Instant::now();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let output = Command::new("timeout")
        .args([LONGEST_SECONDS, "qemu-system-x86_64", "-machine", "q35,accel=tcg"])
        .args(["-cpu", "Skylake-Server,-avx512f", "-smp", "1", "-m", memory, "-nographic", "-no-reboot"])
        .args(["-nic", "none", "-kernel", &path("vmlinuz"), "-initrd", &path("initrd")])
        .args(["-append", "console=ttyS0 quiet panic=-1", "-acpitable"])
        .arg(format!("file={}", path("meter.aml")))
        .args(devices)
        .stdin(Stdio::null())
        .output()
        .expect("QEMU runs");
    println!("guest: {:?}", began.elapsed());
    let console = String::from_utf8_lossy(&output.stdout).replace('\r', "");
    let mut parts = BTreeMap::new();
    for part in console.split("=== ").skip(1) {
        let (name, text) = part.split_once('\n').unwrap_or((part, ""));
        parts.insert(name.to_owned(), text.to_owned());
    }
    assert!(parts.contains_key("end"), "the guest did not come to its end:\n{console}");
    parts
}

#[test]
fn a_real_kernel_shows_its_bmc_its_power_meter_and_its_counters() {
    let bmc = ["-device", "ipmi-bmc-sim,id=bmc0", "-device", "isa-ipmi-kcs,bmc=bmc0,irq=5"];
    let parts = boot(&[], "512", &bmc);
    assert!(parts["devices"].contains("/dev/ipmi0"), "{}", parts["devices"]);

    // QEMU's BMC knows no DCMI, and says so through the kernel's ioctl and nothing else can.
    let refused = "--   ipmi : not there (/dev/ipmi0: the BMC refuses: completion code 0xc1";
    assert!(parts["doctor"].contains(refused), "{}", parts["doctor"]);
    assert!(!parts["doctor-off"].contains("ipmi"), "{}", parts["doctor-off"]);
    let denied = "--   ipmi : permission denied (/dev/ipmi0";
    assert!(parts["doctor-nobody"].contains(denied), "{}", parts["doctor-nobody"]);
    assert!(parts["doctor-nobody"].contains("chgrp jouleprint /dev/ipmi0"), "{}", parts["doctor-nobody"]);
    // 250 W, less what the counters inside say.
    let node = parts["doctor"].lines().find(|line| line.contains("acpi-power-meter     measured"));
    let shown = node.and_then(|line| line.split_whitespace().nth(2)?.parse::<f64>().ok());
    assert!(shown.is_some_and(|watts| (watts - 202.0).abs() < 2.0), "{node:?}");

    let page = Page::parse_text(&parts["metrics"]).expect("a page");
    let joules = |hw_id: &str| amount(&page, "hw_energy_joules_total", &[("hw_id", hw_id)]);
    let watts = |hw_id: &str| amount(&page, "hw_power_watts", &[("hw_id", hw_id)]);
    let (package, memory) = (joules("package-0"), joules("package-0-dram"));
    // Their counters run by one clock at 40 and 8 W and are read one after the other, in emulation a few ms
    // apart; the package's has wrapped meanwhile.
    assert!((package / memory - 5.0).abs() < 0.02, "{package} J and {memory} J");
    assert!(package > 500.0, "{package} J");
    assert!((watts("package-0") - 40.0).abs() < 0.1 && (watts("package-0-dram") - 8.0).abs() < 0.1);
    let core = amount(&page, "jouleprint_domain_energy_joules_total", &[("hw_id", "package-0-core")]);
    assert!((core / package - 0.6).abs() < 0.005, "{core} J of {package} J");
    // The node is the ACPI meter's, and what is left of it is the others'.
    let host = amount(&page, "hw_host_power_watts", &[]);
    assert!((host - 250.0).abs() < 1.0, "{host} W");
    assert!((watts("acpi-power-meter") - 202.0).abs() < 1.0, "{} W", watts("acpi-power-meter"));
    println!("guest: package {package:.3} J, memory {memory:.3} J, core {core:.3} J, node {host:.1} W");

    assert!(parts["log"].contains("gave up all rights"), "{}", parts["log"]);
    assert!(parts["stop"].contains("exit 0"), "{}", parts["stop"]);
}

/// The shipped unit: what is left of root in it, what it can write, and that systemd starts it again after a kill
/// with the counters where they were.
fn check_unit(parts: &BTreeMap<String, String>, before: &Page) {
    let unit = &parts["unit"];
    let status = |name: &str| {
        let line = unit.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{unit}"));
        line.trim().to_owned()
    };
    // CAP_DAC_READ_SEARCH is bit 2, CAP_SYS_PTRACE bit 19, CAP_PERFMON bit 38.
    assert_eq!(
        (status("CapEff:"), status("CapBnd:")),
        ("0000000000000004".into(), "0000004000080004".into())
    );
    assert_eq!((status("NoNewPrivs:"), status("Seccomp:")), ("1".into(), "2".into()));
    let mode = |place: &str| {
        let lines = unit.lines().filter_map(|line| line.split_once(' '));
        let found = lines.rev().find(|(path, _)| *path == place);
        found.map(|(_, options)| options.split(',').next().unwrap_or_default().to_owned())
    };
    for (place, expected) in [
        ("/", "ro"),
        ("/sys", "ro"),
        ("/run", "ro"),
        ("/sys/fs/cgroup", "ro"),
        ("/var/lib/jouleprint", "rw"),
        ("/run/jouleprint", "rw"),
    ] {
        assert_eq!(mode(place).as_deref(), Some(expected), "{place}: {unit}");
    }
    assert!(unit.contains("reloaded") && unit.contains("restarts 1"), "{unit}");
    let measured = before.all("hw_energy_joules_total", &[("hw_id", "package-0"), ("origin", "measured")]);
    assert_eq!(measured.len(), 1, "RAPL is read");
    let after = Page::parse_text(&parts["restarted"]).expect("a page");
    check_rising_over_a_restart(before, &after).expect("the counters go on");
    let start = "jouleprint_counters_start_timestamp_seconds";
    assert_eq!(before.value(start, &[]), after.value(start, &[]), "they are the same counters");
    println!("guest: the unit was killed, and goes on");
}

/// What a group of the guest's used, in µs, by its path.
fn used(part: &str) -> BTreeMap<&str, u64> {
    let lines = part.lines().filter_map(|line| line.rsplit_once(' '));
    lines.filter_map(|(group, used)| Some((group, used.parse().ok()?))).collect()
}

#[test]
fn real_units_have_their_names_their_slices_their_users_and_what_they_used() {
    let parts = boot(&["units"], "1536", &[]);
    let (before, after) = (used(&parts["units"]), used(&parts["after"]));
    let page = Page::parse_text(&parts["metrics"]).expect("a page");
    check_identity(&page).expect("the sums are exact");
    let session = before.keys().find_map(|group| group.strip_prefix("/user.slice/user-1000.slice/session-"));
    let session = format!("session-{}", session.expect("logind made one"));
    assert!(parts["sessions"].contains("anna"), "{}", parts["sessions"]);
    let own = "/user.slice/user-1000.slice/user@1000.service/app.slice/editor.service";
    let nobody = ("", "");
    let anna = ("1000", "anna");
    for (job, group, slice, user) in [
        ("work.service", "/batch.slice/batch-night.slice/work.service", "batch-night.slice", anna),
        (
            "render@3.service",
            "/system.slice/system-render.slice/render@3.service",
            "system-render.slice",
            nobody,
        ),
        (
            "render@6.service",
            "/system.slice/system-render.slice/render@6.service",
            "system-render.slice",
            nobody,
        ),
        (&*session, &*format!("/user.slice/user-1000.slice/{session}"), "user-1000.slice", anna),
        ("user@1000.service/editor.service", own, "app.slice", anna),
        ("jouleprint.service", "/system.slice/jouleprint.service", "system.slice", nobody),
    ] {
        let infos = page.all("jouleprint_job_info", &[("job_kind", "unit"), ("job_id", job)]);
        let [info] = infos[..] else { panic!("{job}: {infos:?}\n{}", parts["units"]) };
        let label = |name: &str| info.labels.get(name).map_or("", String::as_str);
        let unit = job.rsplit('/').next().expect("a name");
        let shown = (label("systemd_unit"), label("systemd_slice"), (label("user_id"), label("user_name")));
        assert_eq!(shown, (unit, slice, user), "{job}");
        // What the kernel says of its group, before and after the page.
        let (Some(least), Some(most)) = (before.get(group), after.get(group)) else {
            panic!("{group} is not there:\n{}", parts["units"])
        };
        let cpu = amount(&page, "jouleprint_job_cpu_seconds_total", &[("job_id", job)]);
        let micro = cpu * 1e6;
        println!("guest: {job} used {cpu:.3} s of the processor, by the kernel {least} to {most} µs");
        let is_exporter = job == "jouleprint.service";
        // What it used before the first tick after its birth is charged too; of us only from our first tick on.
        assert!(micro <= *most as f64 && (is_exporter || micro > *least as f64 - 20_000.0), "{job}: {micro}");
        let energy =
            amount(&page, "jouleprint_job_energy_joules_total", &[("job_id", job), ("hw_type", "cpu")]);
        assert!(energy > 0.0, "{job}: {energy} J");
    }
    let jobs = page.sum("jouleprint_job_energy_joules_total", &[("hw_type", "cpu")]);
    println!("guest: {:.3} J of the processor in jobs", jobs as f64 / 1e9);
    assert!(parts["log"].contains("gave up all rights"), "{}", parts["log"]);
    check_unit(&parts, &page);
}
