//! Meters that are read by threads of their own, in the real program: a node's sensor around RAPL, and
//! one that hangs as a driver does, in the middle of a read or before the first.

use crate::page::Page;
use crate::powercap::{Powercap, Zone};
use crate::rig::{Exporter, Setup, amount, wait_for};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const PACKAGE: Zone = Zone::steady("intel-rapl:0", "package-0", 60_000);

const CONFIG: &str = "tick: 1s\nzone: FR\n";

fn sensor(sysfs: &Path, chip: &str, watts: u64) -> PathBuf {
    let folder = sysfs.join(format!("class/hwmon/{chip}"));
    fs::create_dir_all(&folder).expect("made");
    let (name, label) = match chip {
        "hwmon0" => ("power_meter", None),
        _ => ("macsmc_hwmon", Some("Total System Power")),
    };
    fs::write(folder.join("name"), format!("{name}\n")).expect("written");
    let file = match label {
        None => folder.join("power1_average"),
        Some(label) => {
            fs::write(folder.join("power1_label"), format!("{label}\n")).expect("written");
            folder.join("power1_input")
        }
    };
    fs::write(&file, format!("{}\n", watts * 1_000_000)).expect("written");
    file
}

/// Whoever opens it waits for ever.
fn hang(file: &Path) {
    let _ = fs::remove_file(file);
    let made = Command::new("mkfifo").arg(file).status().expect("mkfifo is there");
    assert!(made.success());
}

fn up<'a>(page: &'a Page, hw_id: &str) -> Option<&'a str> {
    page.value("jouleprint_source_up", &[("hw_id", hw_id)])
}

fn joules(page: &Page, name: &str, hw_id: &str) -> f64 {
    amount(page, name, &[("hw_id", hw_id)])
}

#[test]
fn a_node_is_its_sensor_and_one_that_hangs_takes_nothing_along() {
    let powercap = Powercap::start(&[PACKAGE]);
    let acpi = sensor(powercap.sysfs(), "hwmon0", 100);
    let other = sensor(powercap.sysfs(), "hwmon1", 90);
    let exporter =
        Exporter::start(&Setup { sysfs: Some(powercap.sysfs()), config: CONFIG, ..Setup::default() });
    // The first chip's sensor is the root; the other's is shown beside it.
    let before = wait_for("both sensors", || {
        let page = exporter.next_page();
        let has_begun = joules(&page, "jouleprint_domain_energy_joules_total", "acpi-power-meter") > 0.0;
        (has_begun && up(&page, "system") == Some("1")).then_some(page)
    });
    let began = Instant::now();
    let after = wait_for("five seconds", || {
        let page = exporter.next_page();
        (began.elapsed() > Duration::from_secs(5)).then_some(page)
    });
    let seconds = amount(&after, "jouleprint_snapshot_timestamp_seconds", &[])
        - amount(&before, "jouleprint_snapshot_timestamp_seconds", &[]);
    let drawn =
        |name: &str, hw_id: &str| (joules(&after, name, hw_id) - joules(&before, name, hw_id)) / seconds;
    for (name, hw_id, watts) in [
        ("hw_host_energy_joules_total", "host", 100.0),
        ("hw_energy_joules_total", "package-0", 60.0),
        ("hw_energy_joules_total", "acpi-power-meter", 40.0),
        ("jouleprint_domain_energy_joules_total", "acpi-power-meter", 100.0),
        ("jouleprint_domain_energy_joules_total", "system", 90.0),
    ] {
        let seen = drawn(name, hw_id);
        assert!((seen - watts).abs() < 0.03 * watts, "{name} {hw_id}: {seen} W for {watts} W");
    }

    // An odd answer makes the program open the file again, and there it hangs.
    hang(&other.with_extension("fifo"));
    fs::write(&other, "").expect("written");
    fs::rename(other.with_extension("fifo"), &other).expect("renamed");
    let hung = wait_for("a sensor that does not answer", || {
        let page = exporter.next_page();
        let reason = [("hw_id", "system"), ("reason", "timeout")];
        (!page.all("jouleprint_source_info", &reason).is_empty()).then_some(page)
    });
    assert_eq!((up(&hung, "acpi-power-meter"), up(&hung, "package-0")), (Some("1"), Some("1")));
    let asked = Instant::now();
    let host = joules(&exporter.next_page(), "hw_host_energy_joules_total", "host");
    assert!(asked.elapsed() < Duration::from_secs(3), "a tick and a page");
    assert!(host > joules(&hung, "hw_host_energy_joules_total", "host"), "the rest goes on");
    // It comes back, and so does the program, which is stopped in time even while a thread hangs.
    fs::write(acpi, "120000000\n").expect("written");
    let stopping = Instant::now();
    exporter.stop();
    assert!(stopping.elapsed() < Duration::from_secs(3), "{:?}", stopping.elapsed());
}

#[test]
fn a_sensor_that_hangs_from_the_start_is_given_up_and_the_rest_starts() {
    let powercap = Powercap::start(&[PACKAGE]);
    let file = sensor(powercap.sysfs(), "hwmon0", 100);
    hang(&file);
    let exporter =
        Exporter::start(&Setup { sysfs: Some(powercap.sysfs()), config: CONFIG, ..Setup::default() });
    let page = exporter.next_page();
    let reason = [("source", "hwmon"), ("reason", "timeout")];
    assert_eq!(page.all("jouleprint_source_info", &reason).len(), 1);
    assert_eq!(up(&page, "package-0"), Some("1"));
    exporter.stop();
}
