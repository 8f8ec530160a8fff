//! Trees of sensors, and what is made of them.

use super::*;
use std::fs;
use tempfile::TempDir;

/// Files below class/hwmon, `path = content` each.
fn tree(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (path, content) in files {
        write(&folder, path, content);
    }
    folder
}

fn write(folder: &TempDir, path: &str, content: &str) {
    let path = folder.path().join("class/hwmon").join(path);
    fs::create_dir_all(path.parent().expect("a parent")).expect("made");
    fs::write(path, content).expect("written");
}

fn look(folder: &TempDir) -> (Vec<Hwmon>, Vec<String>) {
    let (chips, findings) = discover(folder.path(), &Table::new(&[]));
    let said = findings.iter().map(|finding| match finding.fault {
        Some(fault) => format!("{} {}", finding.hw_id, fault.as_str()),
        None => format!("{} ok", finding.hw_id),
    });
    (chips, said.collect())
}

fn one(folder: &TempDir) -> Hwmon {
    let mut chips = look(folder).0;
    assert_eq!(chips.len(), 1);
    chips.remove(0)
}

fn values(hwmon: &mut Hwmon) -> Vec<String> {
    let read = hwmon.read(Nanos::ZERO);
    hwmon
        .domains
        .iter()
        .zip(read)
        .map(|(domain, value)| match value {
            Ok(Value::MeanPower(power)) => format!("{} {} uW", domain.id, power.get()),
            Ok(Value::Counter(energy)) => format!("{} {} uJ", domain.id, energy.as_micro()),
            Err(fault) => format!("{} {}", domain.id, fault.as_str()),
        })
        .collect()
}

#[test]
fn an_acpi_meter_of_an_old_kernel_has_no_name_and_its_files_elsewhere() {
    let folder = tree(&[
        ("hwmon0/device/power1_average", "321000000\n"),
        ("hwmon0/device/power1_model_number", "M1\n"),
        ("hwmon0/device/power1_oem_info", "\n"),
    ]);
    assert_eq!(look(&folder).1, ["acpi-power-meter ok"]);
    let mut hwmon = one(&folder);
    assert_eq!(hwmon.scopes, [Scope::Node]);
    assert_eq!(values(&mut hwmon), ["acpi-power-meter 321000000 uW"]);
    for (shown, expected) in [
        ("456000000\n", "acpi-power-meter 456000000 uW"),
        ("0\n", "acpi-power-meter out_of_range"),
        ("-5\n", "acpi-power-meter malformed"),
        ("4294967295\n", "acpi-power-meter out_of_range"),
        ("", "acpi-power-meter malformed"),
        ("100000000\n", "acpi-power-meter 100000000 uW"),
    ] {
        write(&folder, "hwmon0/device/power1_average", shown);
        assert_eq!(values(&mut hwmon), [expected], "{shown:?}");
    }
}

#[test]
fn the_cores_of_an_altra_are_added_up_once() {
    let folder = tree(&[
        ("hwmon0/name", "altra_hwmon\n"),
        ("hwmon0/energy1_input", "1000\n"),
        ("hwmon0/energy1_label", "Core 0\n"),
        ("hwmon0/energy2_input", "2000\n"),
        ("hwmon0/energy2_label", "Core 1\n"),
        ("hwmon1/name", "apm_xgene\n"),
        ("hwmon1/power1_input", "90000000\n"),
        ("hwmon1/power1_label", "CPU power\n"),
        ("hwmon1/power2_input", "15000000\n"),
        ("hwmon1/power2_label", "IO power\n"),
        ("hwmon1/temp1_input", "40000\n"),
    ]);
    let (mut chips, said) = look(&folder);
    assert_eq!(said, ["cores ok", "soc-cpu ok", "soc-io ok"]);
    let seen: Vec<Vec<String>> = chips.iter_mut().map(values).collect();
    // Each kind of chip is a source of its own, in the order of the table.
    assert_eq!(seen, [vec!["soc-cpu 90000000 uW", "soc-io 15000000 uW"], vec!["cores 3000 uJ"]]);
}

#[test]
fn a_voltage_times_its_current_counts_where_the_table_says_so() {
    let folder = tree(&[
        ("hwmon4/name", "ina3221\n"),
        ("hwmon4/in1_label", "VDD_IN\n"),
        ("hwmon4/in1_input", "5000\n"),
        ("hwmon4/curr1_input", "1200\n"),
        ("hwmon4/in2_label", "something else\n"),
        ("hwmon4/in2_input", "5000\n"),
        ("hwmon4/curr2_input", "1200\n"),
        ("hwmon4/in3_label", "VDD_SOC\n"),
        ("hwmon4/in3_input", "5000\n"),
    ]);
    assert_eq!(look(&folder).1, ["vdd-in ok"], "no current, no power");
    assert_eq!(values(&mut one(&folder)), ["vdd-in 6000000 uW"]);
}

#[test]
fn power_supplies_are_one_meter_and_both_must_answer() {
    let folder = tree(&[
        ("hwmon2/name", "pmbus\n"),
        ("hwmon2/power1_label", "pin\n"),
        ("hwmon2/power1_input", "120000000\n"),
        ("hwmon2/power2_label", "pout1\n"),
        ("hwmon2/power2_input", "110000000\n"),
        ("hwmon3/name", "pmbus\n"),
        ("hwmon3/power1_label", "pin\n"),
        ("hwmon3/power1_input", "130000000\n"),
    ]);
    let mut hwmon = one(&folder);
    assert_eq!(values(&mut hwmon), ["psu 250000000 uW"]);
    write(&folder, "hwmon3/power1_input", "0\n");
    assert_eq!(values(&mut hwmon), ["psu out_of_range"]);
    fs::remove_dir_all(folder.path().join("class/hwmon/hwmon3")).expect("removed");
    hwmon.sensors[0][1].files.clear();
    assert_eq!(values(&mut hwmon), ["psu missing"]);
}

#[test]
fn a_sensor_that_cannot_be_read_says_why_and_is_not_used() {
    let folder = tree(&[("hwmon0/name", "power_meter\n"), ("hwmon0/power1_average", "0\n")]);
    let (chips, said) = look(&folder);
    assert!(chips.is_empty());
    assert_eq!(said, ["acpi-power-meter out_of_range"]);
    let (chips, said) = look(&tree(&[]));
    assert!(chips.is_empty() && said.is_empty(), "a machine without the class is not at fault");
}
