//! Who uses a device, and the instances that it is divided into.

use super::{Bench, read};
use jouleprint::model::gpu::{Instance, Partition, Process as Seen};
use jouleprint::model::reading::Fault;
use jouleprint::source::PowerSource;
use jouleprint::source::nvml::Nvml;
use nvml_stand_in::scenario::{Device, Instance as Part, Mig, Process, Sample};

fn process(pid: u32) -> Process {
    Process { pid, ..Process::default() }
}

fn sample(pid: u32, time_us: u64, sm: u32) -> Sample {
    Sample { pid, time_us, sm }
}

fn part(number: u32, profile: &str, slices: u32, activity: f64) -> Part {
    Part {
        uuid: format!("MIG-{number}"),
        profile: profile.to_owned(),
        gpu_instance: number,
        slices,
        activity,
        ..Part::default()
    }
}

/// PID and use of each, in the order of the PIDs.
fn used(source: &Nvml) -> Result<Vec<(u32, Option<u64>)>, Fault> {
    let list = source.gpus()[0].processes.clone()?;
    let mut list: Vec<_> = list.iter().map(|Seen { pid, used, .. }| (*pid, *used)).collect();
    list.sort_unstable();
    Ok(list)
}

fn instances(source: &Nvml) -> Vec<Instance> {
    match &source.gpus()[0].partition {
        Partition::Instances { instances, .. } => instances.clone(),
        Partition::Whole => Vec::new(),
    }
}

#[test]
fn a_sample_counts_once_however_often_it_is_delivered() {
    let mut bench = Bench::of(1);
    bench.board.change(|scenario| {
        let device = &mut scenario.devices[0];
        device.redelivers = true;
        device.processes = vec![process(10), process(20)];
        device.samples = Some(vec![sample(10, 1_000, 90)]);
    });
    let (mut source, _) = bench.source();
    assert_eq!(used(&source), Ok(vec![(10, None), (20, None)]), "what was before we came is of no look");
    let mut all = vec![sample(10, 1_000, 90)];
    for (seconds, new, expected) in [
        (5, vec![], [(10, Some(0)), (20, Some(0))]),
        (
            10,
            vec![sample(10, 2_000, 30), sample(20, 2_000, 10), sample(10, 3_000, 20)],
            [(10, Some(50)), (20, Some(10))],
        ),
        (15, vec![], [(10, Some(0)), (20, Some(0))]),
        (20, vec![sample(20, 4_000, 7)], [(10, Some(0)), (20, Some(7))]),
    ] {
        all.extend(new);
        bench.board.change(|scenario| scenario.devices[0].samples = Some(all.clone()));
        read(&mut source, seconds);
        assert_eq!(used(&source), Ok(expected.to_vec()), "at {seconds} s");
    }
}

#[test]
fn who_has_ended_has_used_it_too() {
    let mut bench = Bench::of(1);
    let show = |bench: &mut Bench, pids: &[u32], samples: &[Sample]| {
        bench.board.change(|scenario| {
            scenario.devices[0].processes = pids.iter().copied().map(process).collect();
            scenario.devices[0].samples = Some(samples.to_vec());
        });
    };
    show(&mut bench, &[10, 20, 30], &[]);
    let (mut source, _) = bench.source();
    show(&mut bench, &[20, 30], &[sample(10, 1_000, 80), sample(20, 1_000, 20)]);
    read(&mut source, 5);
    assert_eq!(used(&source), Ok(vec![(10, Some(80)), (20, Some(20)), (30, Some(0))]));
}

#[test]
fn what_is_not_told_is_not_known() {
    let mut bench = Bench::of(1);
    bench.board.change(|scenario| {
        scenario.devices[0].processes = vec![process(10), process(20)];
        scenario.devices[0].samples = None;
    });
    let (mut source, _) = bench.source();
    for seconds in [0, 5, 10] {
        read(&mut source, seconds);
        assert_eq!(used(&source), Ok(vec![(10, None), (20, None)]));
    }
    // One alone is not asked about, and nobody is nobody.
    bench.board.change(|scenario| scenario.devices[0].processes = vec![process(10)]);
    read(&mut source, 15);
    assert_eq!(used(&source), Ok(vec![(10, None)]));
    bench.board.change(|scenario| scenario.devices[0].processes = Vec::new());
    read(&mut source, 20);
    assert_eq!(used(&source), Ok(vec![]));
    bench.board.change(|scenario| scenario.devices[0].error = 15);
    read(&mut source, 25);
    read(&mut source, 30);
    assert_eq!(used(&source), Err(Fault::Lost));
}

#[test]
fn lists_are_made_each_five_seconds_at_the_most() {
    let mut bench = Bench::of(1);
    let (mut source, _) = bench.source();
    read(&mut source, 0);
    let _ = bench.board.calls();
    bench.board.change(|scenario| scenario.devices[0].processes = vec![process(10), process(20)]);
    (1..=60).for_each(|seconds| drop(read(&mut source, seconds)));
    let calls = bench.board.calls();
    let lists = calls.iter().filter(|(call, _)| call == "nvmlDeviceGetComputeRunningProcesses_v3").count();
    assert!((11..=12).contains(&lists), "{lists} lists in a minute");
    assert!(calls.iter().all(|(call, _)| call != "nvmlDeviceGetGraphicsRunningProcesses_v3"));
}

#[test]
fn instances_are_made_used_and_destroyed() {
    let device = Device {
        mig: Some(Mig {
            is_on: true,
            instances: vec![part(1, "4g.40gb", 4, 0.0), part(9, "1g.10gb", 1, 0.0)],
        }),
        has_gpm: true,
        ..Device::numbered(0)
    };
    let mut bench = Bench::new(vec![device]);
    let (mut source, _) = bench.source();
    assert!(matches!(source.gpus()[0].partition, Partition::Instances { slices: 7, .. }));
    let seen = instances(&source);
    assert_eq!(
        seen[0],
        Instance {
            uuid: "MIG-1".into(),
            gpu_instance: 1,
            compute_instance: 0,
            profile: "4g.40gb".into(),
            slices: 4,
            activity: None,
        }
    );
    // How busy they are takes two looks.
    bench.board.change(|scenario| {
        let device = &mut scenario.devices[0];
        let parts = &mut device.mig.as_mut().expect("divided").instances;
        (parts[0].activity, parts[1].activity) = (50.0, 100.0);
        let on =
            |pid, gpu_instance| Process { pid, gpu_instance: Some(gpu_instance), compute_instance: Some(0) };
        device.processes = vec![on(10, 1), on(20, 9), on(30, 77)];
    });
    read(&mut source, 5);
    let busy: Vec<_> = instances(&source).iter().map(|part| (part.slices, part.activity)).collect();
    assert_eq!(busy, [(4, Some(500_000)), (1, Some(1_000_000))]);
    let processes = source.gpus()[0].processes.clone().expect("listed");
    let seen: Vec<_> = processes.iter().map(|seen| (seen.pid, &*seen.instance, seen.used)).collect();
    assert_eq!(seen, [(10, "MIG-1", None), (20, "MIG-9", None)]);
    // One is destroyed, and another made in its place.
    bench.board.change(|scenario| {
        let device = &mut scenario.devices[0];
        device.processes.clear();
        let parts = &mut device.mig.as_mut().expect("divided").instances;
        parts[1] = part(11, "3g.40gb", 3, 20.0);
        parts[1].compute_slices = 2;
    });
    read(&mut source, 10);
    let now: Vec<_> =
        instances(&source).iter().map(|part| (part.uuid.to_string(), part.slices, part.activity)).collect();
    assert_eq!(now, [("MIG-1".to_owned(), 4, Some(500_000)), ("MIG-11".to_owned(), 2, None)]);
    // The energy is the whole device's throughout.
    assert_eq!(source.domains().len(), 1);
    // At last it is put together again.
    bench.board.change(|scenario| {
        scenario.devices[0].mig = Some(Mig::default());
    });
    read(&mut source, 15);
    assert_eq!(source.gpus()[0].partition, Partition::Whole);
}

#[test]
fn a_device_may_be_divided_while_we_look_on() {
    let mut bench = Bench::new(vec![Device { mig: Some(Mig::default()), ..Device::numbered(0) }]);
    let (mut source, _) = bench.source();
    read(&mut source, 0);
    assert_eq!(source.gpus()[0].partition, Partition::Whole);
    bench.board.change(|scenario| {
        let instances = vec![part(1, "7g.80gb", 7, 0.0)];
        scenario.devices[0].mig = Some(Mig { is_on: true, instances });
    });
    let later = (5..200).step_by(5).find(|seconds| {
        read(&mut source, *seconds);
        !instances(&source).is_empty()
    });
    assert!(later.is_some_and(|seconds| seconds <= 65), "once a minute: {later:?}");
    assert_eq!(instances(&source)[0].activity, None, "this one does not tell how busy it is");
}
