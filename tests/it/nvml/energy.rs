//! Energies are the stand-in's own, to the unit.

use super::{Bench, Ledger, clock_ms, millijoules, read};
use jouleprint::model::identity::{HwType, Origin};
use jouleprint::model::quantity::MicroWatts;
use jouleprint::model::reading::{Fault, Measurement, Place, Value};
use jouleprint::source::PowerSource;
use nvml_stand_in::scenario::{Device, Process, Profile};
use std::collections::BTreeMap;

#[test]
fn a_healthy_board_is_found_and_read() {
    let mut bench = Bench::of(2);
    bench.board.change(|scenario| {
        scenario.devices[0].energy_mj = 5_000;
        scenario.devices[1].energy_mj = 7_000;
        scenario.devices[1].minor = 5;
    });
    let (mut source, findings) = bench.source();
    let said: Vec<&str> = findings.iter().map(|finding| &*finding.detail).collect();
    assert_eq!(
        said,
        [
            "NVIDIA H100 80GB HBM3 at 0000:10:00.0: its energy counter",
            "NVIDIA H100 80GB HBM3 at 0000:11:00.0: its energy counter"
        ]
    );
    assert!(findings.iter().all(|finding| finding.fault.is_none()));
    assert_eq!(read(&mut source, 0), [millijoules(5_000), millijoules(7_000)]);
    let domain = &source.domains()[1];
    assert_eq!(&*domain.id, "GPU-00000001-0000-4000-8000-000000000000");
    assert_eq!((&domain.gpu, domain.hw_type, domain.origin), (&domain.id, HwType::Gpu, Origin::Measured));
    assert_eq!((&domain.place, domain.socket), (&Place::Counted, None));
    let ceiling = MicroWatts::from_watts(7_000);
    assert_eq!(domain.measurement, Measurement::Counter { range: None, ceiling });
    let sight = &source.gpus()[1];
    assert_eq!((&*sight.model, &*sight.driver), ("NVIDIA H100 80GB HBM3", "580.82.07"));
    assert_eq!((&*sight.pci, sight.index, &sight.nodes), ("0000:11:00.0", Some(1), &vec![(195, 5)]));
    assert_eq!(source.condition(), None);
}

#[test]
fn eight_gpus_of_300_watts_use_2_4_kwh_in_an_hour() {
    let mut bench = Bench::new(
        (0..8)
            .map(|number| Device { profile: Some(Profile::constant(300_000)), ..Device::numbered(number) })
            .collect(),
    );
    bench.board.change(|scenario| scenario.now_ms = Some(clock_ms(0)));
    let mut ledger = Ledger::new(bench.source().0);
    assert_eq!(ledger.domains().len(), 8);
    for seconds in (0..=3_600).step_by(5) {
        bench.board.change(|scenario| scenario.now_ms = Some(clock_ms(seconds)));
        ledger.tick(seconds);
    }
    // 300 W for an hour are 1.08 MJ; eight times that are 2.4 kWh.
    assert_eq!(ledger.used(), [1_080_000_000_000; 8]);
    assert_eq!(ledger.used().iter().sum::<u64>(), 2_400 * 3_600 * 1_000_000);
}

/// A quarter of each period at full power: by the counter exact, whenever it is looked at.
#[test]
fn a_load_of_25_percent_is_exact_by_the_counter() {
    let profile = Profile { high_mw: 700_000, low_mw: 100_000, period_ms: 100, duty: 25 };
    let mut bench = Bench::new(vec![Device { profile: Some(profile), ..Device::numbered(0) }]);
    bench.board.change(|scenario| scenario.now_ms = Some(clock_ms(0)));
    let mut ledger = Ledger::new(bench.source().0);
    for seconds in 0..=600 {
        bench.board.change(|scenario| scenario.now_ms = Some(clock_ms(seconds)));
        ledger.tick(seconds);
    }
    // 700 W a quarter of the time and 100 W the rest are 250 W.
    assert_eq!(ledger.used(), [250 * 600 * 1_000_000]);
}

#[test]
fn without_a_counter_power_is_integrated_within_one_percent() {
    // Periods that no tick fits.
    let profile = Profile { high_mw: 250_000, low_mw: 50_000, period_ms: 7_301, duty: 40 };
    let device = Device { profile: Some(profile), has_energy: false, ..Device::numbered(0) };
    let mut bench = Bench::new(vec![device]);
    bench.board.change(|scenario| scenario.now_ms = Some(clock_ms(0)));
    let (source, findings) = bench.source();
    assert!(findings[0].detail.ends_with("its power, integrated"), "{findings:?}");
    let mut ledger = Ledger::new(source);
    assert!(matches!(ledger.domains()[0].measurement, Measurement::MeanPower { .. }));
    for seconds in 0..=1_000 {
        bench.board.change(|scenario| scenario.now_ms = Some(clock_ms(seconds)));
        ledger.tick(seconds);
    }
    let truth = profile.energy_uj(clock_ms(1_000)) - profile.energy_uj(clock_ms(0));
    let error = ledger.used()[0].abs_diff(truth);
    assert!(error * 100 <= truth, "{} against {truth}", ledger.used()[0]);
}

#[test]
fn a_counter_that_starts_again_only_ever_adds() {
    let mut bench = Bench::of(1);
    bench.board.change(|scenario| scenario.devices[0].energy_mj = 22_000_000_000);
    let mut ledger = Ledger::new(bench.source().0);
    ledger.tick(0);
    // 22 MJ more would be 4.4 MW: the driver was loaded anew, and what it forgot is not known.
    for (seconds, energy, expected) in
        [(5, 22_000_500_000, 500), (10, 200_000, 500), (15, 1_200_000, 1_500), (20, 1_200_000, 1_500)]
    {
        bench.board.change(|scenario| scenario.devices[0].energy_mj = energy);
        ledger.tick(seconds);
        assert_eq!(ledger.used(), [expected * 1_000_000], "at {seconds} s");
    }
}

#[test]
fn other_numbers_swap_no_counters() {
    let mut bench = Bench::of(3);
    bench.board.change(|scenario| {
        for (device, energy) in scenario.devices.iter_mut().zip([1_000, 2_000, 3_000]) {
            device.energy_mj = energy;
        }
    });
    let (mut source, _) = bench.source();
    let before: Vec<_> = source.domains().iter().map(|domain| domain.id.clone()).collect();
    let values = [millijoules(1_000), millijoules(2_000), millijoules(3_000)];
    assert_eq!(read(&mut source, 0), values);
    // The driver is loaded anew and counts them the other way round.
    bench.board.change(|scenario| {
        scenario.devices.reverse();
        scenario.loads += 1;
    });
    let mut seconds = 5;
    while read(&mut source, seconds) != values {
        seconds += 5;
        assert!(seconds < 60, "handles of the old driver are let go");
    }
    let after: Vec<_> = source.domains().iter().map(|domain| domain.id.clone()).collect();
    assert_eq!(before, after);
    let indices: Vec<_> = source.gpus().iter().map(|sight| sight.index).collect();
    assert_eq!(indices, [Some(2), Some(1), Some(0)]);
}

/// Of a superchip whose GPU alone tells nothing the module's power is there, and said to be that.
#[test]
fn only_the_module_s_power_is_a_module_s() {
    let device = Device { module_mw: Some(640_000), ..Device::numbered(0) };
    let bench = Bench::new(vec![device]);
    let (mut source, findings) = bench.source();
    assert!(findings[0].detail.contains("the module around it"), "{findings:?}");
    assert_eq!(read(&mut source, 0), [Ok(Value::MeanPower(MicroWatts::from_watts(640)))]);
    assert_eq!(source.scope(0), jouleprint::source::cut::Scope::Module);
}

#[test]
fn a_device_that_tells_nothing_is_seen_and_no_meter() {
    let mut silent = Device { has_energy: false, ..Device::numbered(0) };
    silent.module_mw = None;
    silent.error = 0;
    let mut bench = Bench::new(vec![silent, Device::numbered(1)]);
    // Neither energy nor power: every question about it is answered "not supported".
    bench.board.change(|scenario| scenario.devices[0].error = 3);
    let (source, _) = bench.source();
    assert_eq!(source.domains().len(), 1);
    assert_eq!(&*source.domains()[0].id, "GPU-00000001-0000-4000-8000-000000000000");
}

/// Two calls for each GPU and tick at the most, where there is nothing to split.
#[test]
fn calls_are_few() {
    let busy = |number| Device {
        processes: vec![Process { pid: 1_000 + number, ..Process::default() }],
        ..Device::numbered(number)
    };
    let bench = Bench::new((0..8).map(busy).collect());
    let (mut source, _) = bench.source();
    read(&mut source, 0);
    let _ = bench.board.calls();
    for seconds in (5..=600).step_by(5) {
        read(&mut source, seconds);
        let mut by_device: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (call, device) in bench.board.calls() {
            by_device.entry(device).or_default().push(call);
        }
        let of_the_library = by_device.remove("").unwrap_or_default();
        assert!(of_the_library.len() <= 1, "at {seconds} s: {of_the_library:?}");
        assert_eq!(by_device.len(), 8);
        for (device, calls) in by_device {
            assert!(calls.len() <= 2, "{device} at {seconds} s: {calls:?}");
        }
    }
    assert!(source.gpus().iter().all(|sight| sight.processes.as_ref().is_ok_and(|all| all.len() == 1)));
}

#[test]
fn a_source_that_is_not_wanted_opens_nothing() {
    let bench = Bench::of(1);
    let (source, findings) = jouleprint::source::nvml::discover(
        bench.board.folder(),
        &jouleprint::source::nvml::Wish { is_on: false, ..bench.wish(true) },
        Some,
    );
    assert!(source.is_none() && findings.is_empty());
    assert!(bench.board.calls().is_empty());
}

#[test]
fn an_energy_beyond_all_numbers_is_none() {
    let mut bench = Bench::of(1);
    let (mut source, _) = bench.source();
    bench.board.change(|scenario| scenario.devices[0].energy_mj = u64::MAX);
    assert_eq!(read(&mut source, 0), [Err(Fault::Malformed)]);
}
