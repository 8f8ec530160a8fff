//! The stand-in itself, asked by the wrapper that the program uses: what the tests rest on.

use super::Bench;
use nvml_stand_in::scenario::{Device, Instance, Mig, Process, Profile, Sample};
use nvml_wrapper::Nvml;
use nvml_wrapper::error::NvmlError;

fn open(bench: &Bench) -> Result<Nvml, NvmlError> {
    Nvml::builder().lib_path(bench.board.library().as_os_str()).init()
}

/// What an error is, without what it holds.
fn kind<T>(outcome: Result<T, NvmlError>) -> String {
    match outcome {
        Ok(_) => "ok".to_owned(),
        Err(error) => format!("{error:?}"),
    }
}

#[test]
fn it_answers_as_the_scenario_says() {
    let instance = Instance {
        uuid: "MIG-a".to_owned(),
        profile: "2g.20gb".to_owned(),
        gpu_instance: 3,
        slices: 2,
        activity: 25.0,
        ..Instance::default()
    };
    let divided = Device {
        mig: Some(Mig { is_on: true, instances: vec![instance] }),
        has_gpm: true,
        power_mw: 123_000,
        ..Device::numbered(1)
    };
    let mut bench = Bench::new(vec![Device { energy_mj: 42, ..Device::numbered(0) }, divided]);
    bench.board.change(|scenario| {
        scenario.devices[0].processes = (1..=40).map(|pid| Process { pid, ..Process::default() }).collect();
        scenario.devices[0].samples =
            Some(vec![Sample { pid: 1, time_us: 10, sm: 5 }, Sample { pid: 1, time_us: 20, sm: 6 }]);
    });
    let nvml = open(&bench).expect("it is there");
    assert_eq!(nvml.sys_driver_version().expect("a version"), "580.82.07");
    assert_eq!(nvml.device_count().expect("a count"), 2);
    let whole = nvml.device_by_index(0).expect("a device");
    assert_eq!(whole.total_energy_consumption().expect("energy"), 42);
    assert_eq!(whole.running_compute_processes().expect("a list").len(), 40);
    assert_eq!(whole.process_utilization_stats(10).expect("samples").len(), 1);
    assert_eq!(kind(whole.process_utilization_stats(20)), "NotFound");
    assert_eq!(kind(whole.mig_mode()), "NotSupported");
    assert_eq!(whole.pci_info().expect("a place").bus, 0x10);
    let parted = nvml.device_by_uuid("GPU-00000001-0000-4000-8000-000000000000").expect("a device");
    assert_eq!(parted.index().expect("an index"), 1);
    assert_eq!(parted.power_usage().expect("power"), 123_000);
    assert_eq!(kind(parted.process_utilization_stats(0)), "NotSupported");
    assert_eq!(parted.mig_mode().expect("a mode").current, 1);
    let part = parted.mig_device_by_index(0).expect("an instance");
    assert_eq!(part.uuid().expect("a UUID"), "MIG-a");
    assert_eq!(part.name().expect("a name"), "NVIDIA H100 80GB HBM3 MIG 2g.20gb");
    assert_eq!(part.attributes().expect("slices").gpu_instance_slice_count, 2);
    assert_eq!(kind(part.total_energy_consumption()), "NotSupported");
    assert_eq!(kind(parted.mig_device_by_index(1)), "NotFound");
    assert_eq!(kind(parted.mig_device_by_index(7)), "InvalidArg");
    assert_eq!(
        part.mig_parent_device().and_then(|parent| parent.uuid()).expect("a parent"),
        parted.uuid().unwrap()
    );
}

/// `what changes, and what the old handle and a new start then answer`
#[test]
fn it_fails_as_the_scenario_says() {
    type Change = fn(&mut nvml_stand_in::scenario::Scenario);
    let table: [(Change, &str, &str); 6] = [
        (|scenario| scenario.devices[0].resets += 1, "GpuLost", "ok"),
        (|scenario| scenario.devices[0].error = 15, "GpuLost", "ok"),
        (|scenario| scenario.devices[0].has_energy = false, "NotSupported", "ok"),
        (|scenario| scenario.loads += 1, "Unknown", "ok"),
        (|scenario| scenario.init_error = 18, "ok", "LibRmVersionMismatch"),
        (|scenario| scenario.devices.clear(), "GpuLost", "ok"),
    ];
    for (change, handle, start) in table {
        let mut bench = Bench::of(1);
        let nvml = open(&bench).expect("it is there");
        let device = nvml.device_by_index(0).expect("a device");
        bench.board.change(change);
        assert_eq!(kind(device.total_energy_consumption()), handle);
        assert_eq!(kind(open(&bench)), start);
    }
}

/// Once the driver was loaded anew only who lets go of the old one gets handles that are good.
#[test]
fn a_session_of_an_older_driver_is_worth_nothing() {
    let mut bench = Bench::of(1);
    let old = open(&bench).expect("it is there");
    bench.board.change(|scenario| scenario.loads += 1);
    let second = open(&bench).expect("it is there");
    assert_eq!(kind(second.device_count()), "Unknown", "the old session is still there");
    drop((old, second));
    assert_eq!(open(&bench).expect("it is there").device_count().expect("a count"), 1);
}

#[test]
fn a_profile_s_energy_is_the_integral_of_its_power() {
    let profile = Profile { high_mw: 700_000, low_mw: 100_000, period_ms: 400, duty: 25 };
    for end in [0, 50, 100, 399, 400, 1_234, 9_999] {
        let sum: u64 = (0..end).map(|at| profile.power_mw(at)).sum();
        assert_eq!(profile.energy_uj(end), sum, "until {end} ms");
    }
}

/// A device that was plugged in is seen by who starts the library when nobody else holds it.
#[test]
fn a_start_beside_another_shows_nothing_new() {
    let mut bench = Bench::of(1);
    let old = open(&bench).expect("it is there");
    bench.board.change(|scenario| scenario.devices.push(Device { resets: 1, ..Device::numbered(1) }));
    let count = |nvml: &Nvml| nvml.device_count().expect("a count");
    let second = open(&bench).expect("it is there");
    assert_eq!((count(&old), count(&second)), (1, 1));
    assert_eq!(kind(second.device_by_uuid("GPU-00000001-0000-4000-8000-000000000000")), "NotFound");
    drop((old, second));
    assert_eq!(count(&open(&bench).expect("it is there")), 2);
}

/// Two copies in one process are two machines.
#[test]
fn copies_do_not_meet() {
    let (first, second) = (Bench::of(1), Bench::of(3));
    let counts = [&first, &second].map(|bench| open(bench).and_then(|nvml| nvml.device_count()).unwrap());
    assert_eq!(counts, [1, 3]);
    let _ = first.board.calls();
    open(&second).expect("it is there");
    assert!(first.board.calls().is_empty() && !second.board.calls().is_empty());
}
