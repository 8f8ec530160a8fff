//! Trees of cards, and what is made of them.

use super::*;
use crate::model::quantity::Energy;
use std::fs;
use tempfile::TempDir;

/// A machine with these cards: `pci device files…`, a line a card; `metrics=` takes power in W and units.
fn machine(cards: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (number, card) in cards.iter().enumerate() {
        let words: Vec<&str> = card.split(' ').collect();
        let device = folder.path().join("devices").join(words[0]);
        fs::create_dir_all(device.join(format!("drm/card{number}"))).expect("made");
        fs::create_dir_all(device.join(format!("drm/renderD{}", 128 + number))).expect("made");
        fs::create_dir_all(device.join("hwmon/hwmon3")).expect("made");
        let class = folder.path().join(format!("class/drm/card{number}"));
        fs::create_dir_all(&class).expect("made");
        std::os::unix::fs::symlink(&device, class.join("device")).expect("linked");
        fs::write(device.join("vendor"), "0x1002\n").expect("written");
        fs::write(device.join("device"), format!("{}\n", words[1])).expect("written");
        fs::write(device.join("hwmon/hwmon3/name"), "amdgpu\n").expect("written");
        for word in &words[2..] {
            let (file, text) = word.split_once('=').expect("a file");
            match file {
                "metrics" => {
                    let (power, units) = text.split_once(',').expect("two numbers");
                    show(&folder, words[0], power.parse().expect("W"), units.parse().expect("units"));
                }
                _ => fs::write(device.join(file), format!("{text}\n")).expect("written"),
            }
        }
    }
    folder
}

/// A table of version 1.4.
fn show(folder: &TempDir, pci: &str, power: u16, units: u64) {
    let mut bytes = vec![0xff; 288];
    bytes[..4].copy_from_slice(&[0x20, 0x01, 1, 4]);
    bytes[10..12].copy_from_slice(&power.to_le_bytes());
    bytes[24..32].copy_from_slice(&units.to_le_bytes());
    fs::write(folder.path().join("devices").join(pci).join("gpu_metrics"), bytes).expect("written");
}

fn look(folder: &TempDir) -> (Vec<AmdGpu>, Vec<String>) {
    let (cards, findings) = discover(folder.path(), Probe::Once, Some);
    let root = folder.path().display().to_string();
    let said = findings.iter().map(|finding| {
        let fault = finding.fault.map_or("ok", Fault::as_str);
        format!("{} {fault}: {}", finding.hw_id, finding.detail.replace(&root, ""))
    });
    (cards, said.collect())
}

#[test]
fn a_counter_is_read_in_its_own_unit_and_through_steps_back() {
    let folder = machine(&[
        "0000:05:00.0 0x74a1 unique_id=8e3c7e1b5ad0f421 metrics=750,4750896266 hwmon/hwmon3/power1_cap_max=750000000",
    ]);
    let (mut cards, said) = look(&folder);
    assert_eq!(
        said,
        ["GPU-8e3c7e1b5ad0f421 ok: /devices/0000:05:00.0/gpu_metrics: energy counter, \
          there was no time to compare it with the power shown"]
    );
    let domain = &cards[0].domains[0];
    assert_eq!((&*domain.gpu, domain.hw_type), ("GPU-8e3c7e1b5ad0f421", HwType::Gpu));
    let ceiling = MicroWatts::from_watts(1_500);
    assert_eq!(domain.measurement, Measurement::Counter { range: None, ceiling });
    let sight = &cards[0].sights[0];
    assert_eq!(
        (&*sight.model, sight.index, &*sight.nodes),
        ("AMD Instinct MI300X", Some(0), &[(226, 0), (226, 128)][..])
    );
    let mut read = |second: u64| cards[0].read(Nanos::from_seconds(second))[0];
    assert_eq!(read(0), Ok(Value::Counter(Energy::from_micro(72_492_923_980))));
    show(&folder, "0000:05:00.0", 750, 4_736_943_791);
    assert_eq!(read(1), Err(Fault::Implausible));
    show(&folder, "0000:05:00.0", 750, 4_750_961_802);
    assert_eq!(read(2), Ok(Value::Counter(Energy::from_micro(72_493_923_980))), "1 J more");
    assert_eq!(read(62), Err(Fault::Stale), "it stands still");
    fs::write(folder.path().join("devices/0000:05:00.0/gpu_metrics"), [0x20, 0x01, 1, 4]).expect("written");
    assert_eq!(read(63), Err(Fault::Malformed));
}

#[test]
fn without_a_counter_it_is_the_power_that_is_shown() {
    let folder = machine(&[
        // No table at all, and the older of the two files.
        "0000:03:00.0 0x73bf hwmon/hwmon3/power1_average=35000000",
        // A table that nobody knows, and the newer file.
        "0000:06:00.0 0x7550 gpu_metrics=zzzz hwmon/hwmon3/power1_input=41000000",
        // Nothing in hwmon.
        "0000:09:00.0 0x7550 metrics=90,0",
    ]);
    let (mut cards, said) = look(&folder);
    assert!(
        said[0]
            .starts_with("pci-0000:03:00.0 ok: /devices/0000:03:00.0/hwmon/hwmon3/power1_average: power; ")
    );
    assert!(said[1].contains("power1_input: power; gpu_metrics is cut off: 5 bytes"), "{said:?}");
    assert!(
        said[2].contains("power in whole watts; the energy counter of gpu_metrics is not used"),
        "{said:?}"
    );
    let values: Vec<_> = cards.iter_mut().map(|card| card.read(Nanos::ZERO)[0]).collect();
    let watts = |count: u64| Ok(Value::MeanPower(MicroWatts::from_watts(count)));
    assert_eq!(values, [watts(35), watts(41), watts(90)]);
    fs::write(folder.path().join("devices/0000:03:00.0/hwmon/hwmon3/power1_average"), "0\n")
        .expect("written");
    assert_eq!(cards[0].read(Nanos::ZERO), [Err(Fault::OutOfRange)]);
}

#[test]
fn the_second_die_of_a_board_is_a_part_of_the_first() {
    let folder = machine(&[
        "0000:c1:00.0 0x7408 metrics=300,9000000 hwmon/hwmon3/power1_average=300000000",
        "0000:c6:00.0 0x7408 metrics=0,0 hwmon/hwmon3/power1_average=0",
        "0000:c9:00.0 0x7408 metrics=0,0 hwmon/hwmon3/power1_average=0",
    ]);
    let (cards, said) = look(&folder);
    assert_eq!(
        said[1],
        "pci-0000:c6:00.0 ok: the second die of pci-0000:c1:00.0, which shows the power of both"
    );
    // One that has no first die is a card that measures nothing, and no idle one.
    assert!(said[2].starts_with("pci-0000:c9:00.0 out_of_range: "), "{said:?}");
    let seen: Vec<(usize, &[(u32, u32)])> =
        cards.iter().map(|card| (card.domains.len(), &*card.sights[0].nodes)).collect();
    assert_eq!(seen, [(1, &[(226, 0), (226, 128), (226, 1), (226, 129)][..]), (0, &[(226, 2), (226, 130)])]);
}

#[test]
fn graphics_inside_a_processor_are_the_processors() {
    let folder = machine(&[
        "0000:c4:00.0 0x15bf hwmon/hwmon3/in1_label=vddnb hwmon/hwmon3/power1_input=22000000",
        "0000:c8:00.0 0x15bf hwmon/hwmon3/in1_label=vddnb",
    ]);
    let (mut cards, said) = look(&folder);
    let domain = &cards[0].domains[0];
    assert_eq!((domain.hw_type, &*domain.gpu, &cards[0].scope), (HwType::Cpu, "", &Scope::Spare));
    assert_eq!(cards[0].read(Nanos::ZERO), [Ok(Value::MeanPower(MicroWatts::from_watts(22)))]);
    assert!(said[1].starts_with("pci-0000:c8:00.0 unsupported: inside the processor"), "{said:?}");
    assert!(cards[1].read(Nanos::ZERO).is_empty());
}

#[test]
fn a_card_that_sleeps_is_not_woken_and_is_read_when_it_is_awake() {
    let folder = machine(&["0000:03:00.0 0x744c hwmon/hwmon3/power1_average=90000000 metrics=90,7000000"]);
    let power = folder.path().join("devices/0000:03:00.0/power");
    fs::create_dir_all(&power).expect("made");
    let now = |status: &str| fs::write(power.join("runtime_status"), format!("{status}\n")).expect("written");
    now("suspended");
    let (mut cards, said) = look(&folder);
    assert!(said[0].ends_with("power1_average: power, since the card was asleep at the start"), "{said:?}");
    assert_eq!(cards[0].read(Nanos::ZERO), [Err(Fault::Inactive)]);
    now("active");
    assert_eq!(cards[0].read(Nanos::ZERO), [Ok(Value::MeanPower(MicroWatts::from_watts(90)))]);
}

#[test]
fn an_accelerator_with_its_processor_stands_around_its_socket() {
    let folder = machine(&["0000:01:00.0 0x74a0 local_cpulist=2-3 metrics=500,9000000"]);
    let topology = folder.path().join("devices/system/cpu/cpu2/topology");
    fs::create_dir_all(&topology).expect("made");
    fs::write(topology.join("physical_package_id"), "1\n").expect("written");
    let (cards, _) = look(&folder);
    assert_eq!((cards[0].domains[0].socket, &cards[0].scope), (Some(1), &Scope::Module));
}

#[test]
fn a_card_that_shows_nothing_has_a_reason() {
    let folder = machine(&["0000:01:00.0 0x74a1 unique_id=0000000000000000"]);
    let (cards, said) = look(&folder);
    assert!(said[0].starts_with("pci-0000:01:00.0 missing: no power in hwmon; "), "{said:?}");
    assert!(cards[0].domains.is_empty());
}
