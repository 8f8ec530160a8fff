//! Accelerators on machines where they are not all there is: without their library, inside a meter of the
//! node, inside a processor, or around one.

use crate::page::Page;
use crate::tree::{Ground, Run, at};
use jouleprint::kernel_file::Buffer;
use jouleprint::model::identity::{HwType, Name, Origin};
use jouleprint::model::quantity::{Energy, MicroWatts};
use jouleprint::model::reading::{Domain, Fault, Load, Measurement, Place, Value};
use jouleprint::source::{PowerSource, Sources};

/// Four CPUs that are idle, and memory.
const MACHINE: &str = "== proc/stat
cpu  0 0 0 0 0 0 0 0 0 0
cpu0 0 0 0 0 0 0 0 0 0 0
cpu1 0 0 0 0 0 0 0 0 0 0
==
proc/meminfo = MemTotal:       16000000 kB
sys/devices/system/cpu/cpu{0..1}/topology/physical_package_id = 0
cgroup/cgroup.controllers = cpu
cgroup/cpu.stat = usage_usec 0
";

const PACKAGE: &str = "sys/class/powercap/intel-rapl/enabled = 1
sys/class/powercap/intel-rapl:0/name = package-0
sys/class/powercap/intel-rapl:0/max_energy_range_uj = 262143328850
sys/class/powercap/intel-rapl:0/energy_uj = 1000000000
";

/// Two of NVIDIA's, and no library.
const NVIDIA: &str = "== proc/driver/nvidia/gpus/0000:3b:00.0/information
Model: \t\t NVIDIA H100 80GB HBM3
GPU UUID: \t GPU-11111111-2222-3333-4444-555555555555
Bus Location: \t 0000:3b:00.0
Device Minor: \t 0
==
== proc/driver/nvidia/gpus/0000:86:00.0/information
Model: \t\t NVIDIA Z9000
GPU UUID: \t GPU-66666666-2222-3333-4444-555555555555
Bus Location: \t 0000:86:00.0
Device Minor: \t 1
==
";

/// A card of AMD's, whose files are appended.
const CARD: &str = "sys/class/drm/card0/device -> ../../../devices/pci0000:00/0000:05:00.0
sys/devices/pci0000:00/0000:05:00.0/drm/card0/
sys/devices/pci0000:00/0000:05:00.0/vendor = 0x1002
sys/devices/pci0000:00/0000:05:00.0/hwmon/hwmon3/name = amdgpu
";

/// The page after 5 s in which `changes` happened.
fn after(files: &[&str], changes: &str) -> Page {
    let mut run = Run::start(Ground::of(&[&[MACHINE], files].concat().concat()));
    run.ground.change("proc/stat[cpu{0..1}] += 0\n");
    run.ground.change(changes);
    run.tick(at(5));
    run.page
}

fn energy<'a>(page: &'a Page, hw_type: &str, origin: &str) -> Vec<(&'a str, &'a str)> {
    let found = page.all("hw_energy_joules_total", &[("hw_type", hw_type), ("origin", origin)]);
    found.iter().map(|sample| (&*sample.labels["hw_id"], &*sample.text)).collect()
}

#[test]
fn a_device_whose_library_is_missing_is_estimated_and_an_unknown_one_is_told() {
    let page = after(&[NVIDIA], "");
    // 70 W and 0.3 of the 630 W above it, for 5 s.
    let uuid = "GPU-11111111-2222-3333-4444-555555555555";
    assert_eq!(energy(&page, "gpu", "estimated"), [(uuid, "1295.000000")]);
    let error = page.value("jouleprint_estimate_uncertainty_ratio", &[("hw_id", uuid)]);
    assert_eq!(error, Some("1.702702"));
    let unknown = [("source", "estimate"), ("hw_id", "GPU-66666666-2222-3333-4444-555555555555")];
    assert_eq!(page.value("jouleprint_source_up", &unknown), Some("0"));
    let page = after(&[NVIDIA, "config.yaml = {zone: DE, estimate: {gpu: off}}\n"], "");
    assert!(energy(&page, "gpu", "estimated").is_empty());
    let page = after(&[NVIDIA, "config.yaml = {zone: DE, estimate: {gpu_utilization: 1}}\n"], "");
    assert_eq!(energy(&page, "gpu", "estimated"), [(uuid, "3500.000000")]);
}

#[test]
fn nothing_is_estimated_inside_a_meter_of_the_node() {
    let meter = "sys/class/hwmon/hwmon5/name = power_meter\n\
                 sys/class/hwmon/hwmon5/power1_average = 900000000\n";
    for processor in ["", PACKAGE] {
        let page = after(&[NVIDIA, processor, meter], "");
        assert!(energy(&page, "gpu", "estimated").is_empty());
        assert_eq!(page.value("hw_host_energy_joules_total", &[("origin", "measured")]), Some("4500.000000"));
    }
}

#[test]
fn graphics_inside_a_processor_count_only_where_nothing_else_measures_it() {
    let apu = "sys/devices/pci0000:00/0000:05:00.0/hwmon/hwmon3/in1_label = vddnb\n\
               sys/devices/pci0000:00/0000:05:00.0/hwmon/hwmon3/power1_input = 20000000\n";
    let page = after(&[CARD, apu], "");
    assert_eq!(energy(&page, "cpu", "measured"), [("pci-0000:05:00.0", "100.000000")]);
    assert!(energy(&page, "cpu", "estimated").is_empty());
    let page = after(&[CARD, apu, PACKAGE], "sys/class/powercap/intel-rapl:0/energy_uj += 90_000_000\n");
    assert_eq!(energy(&page, "cpu", "measured"), [("package-0", "90.000000")]);
    let beside = page.value("jouleprint_domain_energy_joules_total", &[("hw_id", "pci-0000:05:00.0")]);
    assert_eq!(beside, Some("100.000000"));
    assert!(energy(&page, "gpu", "estimated").is_empty(), "it is no device of its own");
}

#[test]
fn an_accelerator_around_its_processor_is_the_rest_of_the_socket() {
    let card = "sys/devices/pci0000:00/0000:05:00.0/device = 0x74a0\n\
                sys/devices/pci0000:00/0000:05:00.0/local_cpulist = 0-1\n\
                sys/devices/pci0000:00/0000:05:00.0/gpu_metrics <- 20010104 ff*6 f401 ff*12 0000010000000000 ff*256\n";
    let page = after(
        &[CARD, card, PACKAGE],
        // 550 W for the socket, and 100 W of that for its processor.
        "sys/class/powercap/intel-rapl:0/energy_uj += 500_000_000\n\
         sys/devices/pci0000:00/0000:05:00.0/gpu_metrics[@24] += 180_224_000\n",
    );
    assert_eq!(page.value("hw_host_energy_joules_total", &[("origin", "measured")]), Some("2750.000000"));
    assert_eq!(energy(&page, "cpu", "measured"), [("package-0", "500.000000")]);
    assert_eq!(energy(&page, "gpu", "measured"), [("pci-0000:05:00.0", "2250.000000")]);
}

/// A source whose only device comes at its second reading.
struct Late {
    domain: [Domain; 1],
    readings: usize,
}

impl PowerSource for Late {
    fn domains(&self) -> &[Domain] {
        &self.domain[..self.readings.saturating_sub(1).min(1)]
    }

    fn read(&mut self, _: Load, _: &mut Buffer, values: &mut Vec<Result<Value, Fault>>) {
        self.readings += 1;
        let value = Ok(Value::Counter(Energy::from_micro(5)));
        values.extend(self.domains().iter().map(|_| value));
    }
}

/// An estimate of the same device.
struct Guess([Domain; 1]);

impl PowerSource for Guess {
    fn domains(&self) -> &[Domain] {
        &self.0
    }

    fn read(&mut self, _: Load, _: &mut Buffer, values: &mut Vec<Result<Value, Fault>>) {
        values.push(Ok(Value::MeanPower(MicroWatts::from_watts(100))));
    }
}

#[test]
fn an_estimate_ends_when_its_device_is_measured_after_all() {
    let domain = |origin: Origin, source: &str| Domain {
        id: "GPU-1".into(),
        hw_type: HwType::Gpu,
        origin,
        gpu: "GPU-1".into(),
        source: Name::from(source),
        place: Place::Counted,
        socket: None,
        measurement: Measurement::MeanPower { ceiling: MicroWatts::from_watts(1_000) },
        floor: None,
        uncertainty_ppm: 0,
    };
    let late = Late { domain: [domain(Origin::Measured, "late")], readings: 0 };
    let guess = Guess([domain(Origin::Estimated, "estimate")]);
    let mut sources = Sources::of(vec![Box::new(late), Box::new(guess)], Vec::new());
    let mut read = || sources.read(Load::default(), &mut Buffer::default());
    let guessed = Ok(Value::MeanPower(MicroWatts::from_watts(100)));
    assert_eq!(read(), [guessed]);
    let counted = Ok(Value::Counter(Energy::from_micro(5)));
    assert_eq!(read(), [Err(Fault::Inactive), counted]);
    assert_eq!(read(), [Err(Fault::Inactive), counted]);
}
