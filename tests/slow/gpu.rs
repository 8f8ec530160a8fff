//! GPUs in the real program, by a library that it finds where the linker looks: one that hangs for a minute,
//! all of them at once, and a driver that hangs before anything was found. And the stand-in that this rests
//! on, asked by NVIDIA's own Python bindings.

use crate::http;
use crate::page::Page;
use crate::rig::{Exporter, Setup, amount, run, wait_for};
use nvml_stand_in::board::Board;
use nvml_stand_in::scenario::{Device, Instance, Mig, Process, Profile, Sample};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Beneath /dev, where alone the threads that use the library may write: a real one opens device files
/// there, and the stand-in its list of calls.
const DEVICES: &str = "/dev/shm";

/// A page that waits for nothing comes this soon, nine times of ten, and never takes longer than the other,
/// on a machine that builds something beside it.
const AT_ONCE: Duration = Duration::from_millis(250);
const AT_LAST: Duration = Duration::from_secs(1);

const CONFIG: &str = "tick: 1s\nzone: FR\n";

const POWER_WATTS: f64 = 300.0;

fn bench(devices: Vec<Device>) -> (TempDir, Board) {
    let folder = TempDir::new_in(DEVICES).expect("a folder beneath /dev");
    let board = Board::new(folder.path(), devices);
    (folder, board)
}

fn steady(number: u32) -> Device {
    Device { profile: Some(Profile::constant(300_000)), ..Device::numbered(number) }
}

fn environment(folder: &Path) -> [String; 2] {
    ["env".to_owned(), format!("LD_LIBRARY_PATH={}", folder.display())]
}

fn exporter(folder: &Path) -> Exporter {
    Exporter::start(&Setup { config: CONFIG, under: &environment(folder), ..Setup::default() })
}

fn joules(page: &Page, device: &Device) -> f64 {
    amount(page, "hw_energy_joules_total", &[("hw_id", &device.uuid)])
}

fn up<'a>(page: &'a Page, device: &Device) -> Option<&'a str> {
    page.value("jouleprint_source_up", &[("hw_id", &device.uuid)])
}

/// Looks at the page for so long: each answer comes at once and pleases `check`.
fn watch(exporter: &Exporter, time: Duration, mut check: impl FnMut(&Page)) {
    let began = Instant::now();
    let mut times = Vec::new();
    while began.elapsed() < time {
        let asked = Instant::now();
        let answer = http::get(exporter.address, "/metrics");
        let took = asked.elapsed();
        assert!(took < AT_LAST, "/metrics took {took:?} after {:?}", began.elapsed());
        times.push(took);
        check(&Page::parse_text(answer.text()).expect("a page"));
        std::thread::sleep(Duration::from_millis(500));
    }
    times.sort_unstable();
    let most = times.get(times.len() * 9 / 10).or(times.last()).expect("one at least");
    assert!(*most < AT_ONCE, "/metrics took {times:?}");
}

/// Up and down between two ticks and over them; by the counter, or by power alone.
fn restless(number: u32, has_energy: bool) -> Device {
    let profile = Profile { high_mw: 400_000, low_mw: 200_000, period_ms: 7_300, duty: 50 };
    Device { profile: Some(profile), has_energy, ..Device::numbered(number) }
}

#[test]
fn a_minute_of_one_device_s_silence_and_then_of_all() {
    let devices = vec![steady(0), steady(1), restless(2, true), restless(3, false)];
    let (folder, mut board) = bench(devices.clone());
    let [healthy, hanging, counting, powered] = <[Device; 4]>::try_from(devices).expect("four of them");
    let exporter = exporter(folder.path());
    wait_for("all devices", || {
        let page = exporter.next_page();
        [&healthy, &hanging, &powered].iter().all(|device| joules(&page, device) > 0.0).then_some(())
    });
    assert!(!board.calls().is_empty(), "what lies beneath /dev can be written by who uses the library");

    board.change(|scenario| scenario.devices[1].blocks = true);
    let before = wait_for("a device that hangs", || {
        let page = exporter.next_page();
        (up(&page, &hanging) == Some("0")).then_some(page)
    });
    let last = |page: &Page, device: &Device| {
        let labels = [("hw_id", device.uuid.as_str())];
        page.value("jouleprint_source_last_success_timestamp_seconds", &labels).map(str::to_owned)
    };
    let mut newest = joules(&before, &healthy);
    let gain = |page: &Page, device: &Device| joules(page, device) - joules(&before, device);
    // A machine that is busy otherwise makes the best of devices late now and then.
    let (mut looks, mut misses) = (0, 0);
    watch(&exporter, Duration::from_secs(60), |page| {
        looks += 1;
        misses += u32::from(up(page, &healthy) != Some("1"));
        assert_eq!(up(page, &hanging), Some("0"));
        assert_eq!(joules(page, &hanging), joules(&before, &hanging));
        assert_eq!(last(page, &hanging), last(&before, &hanging), "the last success stands");
        newest = joules(page, &healthy);
    });
    assert!(misses * 10 <= looks, "{misses} misses in {looks} looks");
    let page = exporter.next_page();
    assert_ne!(last(&page, &healthy), last(&before, &healthy), "the other's last success moves on");
    let (counted, integrated) = (gain(&page, &counting), gain(&page, &powered));
    let error = (integrated / counted - 1.0).abs();
    assert!(error < 0.01, "{integrated} J by power, {counted} J by the counter");
    let during = newest - joules(&before, &healthy);
    println!("{during} J beside a device that hangs; by power {integrated} J of {counted} J");
    assert!(during > 55.0 * POWER_WATTS, "the other device went on: {during} J in a minute");
    board.change(|scenario| scenario.devices[1].blocks = false);
    let after = wait_for("its return", || {
        let page = exporter.next_page();
        (up(&page, &hanging) == Some("1")).then_some(page)
    });
    // Both draw the same, and were found at the same time: so have they used the same.
    let apart = (joules(&after, &healthy) - joules(&after, &hanging)).abs();
    assert!(apart <= 2.5 * POWER_WATTS, "the minute is in the counter: {apart} J apart");

    board.change(|scenario| scenario.blocks = true);
    wait_for("a driver that hangs", || {
        let page = exporter.next_page();
        (up(&page, &healthy) == Some("0") && up(&page, &hanging) == Some("0")).then_some(())
    });
    let frozen = exporter.page();
    watch(&exporter, Duration::from_secs(20), |page| {
        assert_eq!(joules(page, &healthy), joules(&frozen, &healthy));
    });
    board.change(|scenario| scenario.blocks = false);
    let end = wait_for("the driver's return", || {
        let page = exporter.next_page();
        (up(&page, &healthy) == Some("1") && up(&page, &hanging) == Some("1")).then_some(page)
    });
    let gained = joules(&end, &healthy) - joules(&frozen, &healthy);
    assert!(gained >= 19.0 * POWER_WATTS, "{gained} J since it hung");
    exporter.stop();
}

#[test]
fn a_driver_that_hangs_from_the_beginning_keeps_nobody_from_starting_or_stopping() {
    let (folder, mut board) = bench(vec![steady(0)]);
    board.change(|scenario| scenario.blocks = true);
    let exporter = exporter(folder.path());
    assert!(exporter.age() < Duration::from_secs(12), "ready after {:?}", exporter.age());
    let page = exporter.page();
    assert_eq!(page.value("jouleprint_source_up", &[("source", "nvml"), ("hw_id", "")]), Some("0"));
    watch(&exporter, Duration::from_secs(3), |_| {});
    let asked = Instant::now();
    exporter.stop();
    assert!(asked.elapsed() < Duration::from_secs(4), "it ended {:?} after it was told", asked.elapsed());
}

/// Everything that a monitoring program in Python asks, by NVIDIA's own package as it is published.
#[test]
fn nvidia_s_own_python_bindings_read_it() {
    let instance = Instance {
        uuid: "MIG-11111111-0000-4000-8000-000000000000".to_owned(),
        profile: "3g.40gb".to_owned(),
        gpu_instance: 2,
        slices: 3,
        ..Instance::default()
    };
    let on = |pid, gpu_instance| Process { pid, gpu_instance, compute_instance: gpu_instance.map(|_| 0) };
    let (folder, _board) = bench(vec![
        Device {
            energy_mj: 123_456,
            power_mw: 250_000,
            processes: vec![on(4_242, None), on(4_343, None)],
            samples: Some(vec![
                Sample { pid: 4_242, time_us: 1_000, sm: 60 },
                Sample { pid: 4_343, time_us: 2_000, sm: 20 },
            ]),
            ..Device::numbered(0)
        },
        Device {
            mig: Some(Mig { is_on: true, instances: vec![instance] }),
            processes: vec![on(5_000, Some(2))],
            ..Device::numbered(1)
        },
        Device { has_energy: false, module_mw: Some(640_000), ..Device::numbered(2) },
        Device { error: 15, ..Device::numbered(3) },
    ]);
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/nvidia-ml-py");
    assert!(package.is_dir(), "no {} (tests/slow/install.sh installs it)", package.display());
    let said = run(Command::new("python3")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/slow/gpu.py"))
        .env("PYTHONPATH", &package)
        .env("LD_LIBRARY_PATH", folder.path()));
    let expected = "\
driver 580.82.07
count 4
0 NVIDIA H100 80GB HBM3 GPU-00000000-0000-4000-8000-000000000000 00000000:10:00.0 minor 0
0 energy 123456
0 power 250000 limit 700000
0 processes [(4242, None), (4343, None)]
0 utilization [(4242, 1000, 60), (4343, 2000, 20)]
0 utilization since 1000 [(4343, 2000, 20)]
0 utilization since 2000 Not Found
0 mig Not Supported
1 NVIDIA H100 80GB HBM3 GPU-00000001-0000-4000-8000-000000000000 00000000:11:00.0 minor 1
1 energy 0
1 power 70000 limit 700000
1 processes [(5000, 2)]
1 utilization Not Supported
1 mig 1
1 instance NVIDIA H100 80GB HBM3 MIG 3g.40gb MIG-11111111-0000-4000-8000-000000000000 gi 2 ci 0 slices 3 3
1 instance energy Not Supported
1 instance processes [(5000, 2)]
2 NVIDIA H100 80GB HBM3 GPU-00000002-0000-4000-8000-000000000000 00000000:12:00.0 minor 2
2 energy Not Supported
2 power Not Supported
2 processes []
2 utilization Not Found
2 mig Not Supported
2 module 640000
3 GPU is lost
";
    assert_eq!(said, expected);
}
