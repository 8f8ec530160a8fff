//! Holders on a made-up machine: a /proc, groups that come and go, lists and device control groups.

use super::device::Device;
use super::device::tests::{divided, whole};
use super::grant::{JobDevices, PodGrant, PodGrants, Variables};
use super::*;
use crate::job::Resolvers;
use crate::job::hierarchy::{Root, Version};
use crate::model::gpu::Process;
use crate::model::reading::Birth;
use std::fs;
use std::sync::Arc;
use tempfile::TempDir;

const SECOND: Nanos = Nanos::from_seconds(1);
const UID: &str = "7b2c1a90-11aa-4f0e-9c3d-5e6f70819203";
const OTHER: &str = "8b2c1a90-11aa-4f0e-9c3d-5e6f70819203";

struct Bench {
    folder: TempDir,
    holders: Holders,
    grants: Grants,
    now: Nanos,
}

fn pod(uid: &str) -> JobId {
    JobId::new(JobKind::Pod, uid)
}

fn slurm(number: &str) -> JobId {
    JobId::new(JobKind::Slurm, number)
}

fn unit(name: &str) -> JobId {
    JobId::new(JobKind::Unit, name)
}

fn birth(slot: u32, id: &JobId, path: &str) -> Birth {
    Birth {
        slot: GroupSlot(slot),
        parent: None,
        hierarchy: Hierarchy::Primary,
        role: GroupRole::Job(id.clone()),
        path: path.into(),
        inode: 0,
        user: None,
        is_new: true,
    }
}

impl Bench {
    /// In the host's PID namespace, with device control groups of version 1.
    fn new() -> Bench {
        Bench::within("pid:[4026531836]")
    }

    fn within(namespace: &str) -> Bench {
        let folder = tempfile::tempdir().expect("a folder");
        let proc = folder.path().join("proc");
        fs::create_dir_all(proc.join("self/ns")).expect("made");
        fs::write(proc.join("self/status"), format!("NSpid:\t{}\n", std::process::id())).expect("written");
        std::os::unix::fs::symlink(namespace, proc.join("self/ns/pid")).expect("linked");
        let cgroupfs = folder.path().join("cgroup");
        fs::create_dir_all(cgroupfs.join("devices")).expect("made");
        fs::write(cgroupfs.join("devices/devices.list"), "a *:* rwm\n").expect("written");
        let root = Root {
            path: cgroupfs.clone(),
            version: Version::V2,
            hierarchy: Hierarchy::Primary,
            cpuset: None,
        };
        let resolvers = Resolvers::new(Vec::new(), JobKind::ALL.to_vec());
        let callers = Callers::new(&proc, vec![root], resolvers);
        let holders = Holders::new(&proc, callers, &cgroupfs);
        Bench { folder, holders, grants: Grants::default(), now: SECOND }
    }

    /// A process in a group.
    fn run(&self, pid: u32, group: &str) {
        let place = self.folder.path().join(format!("proc/{pid}"));
        fs::create_dir_all(&place).expect("made");
        fs::write(place.join("cgroup"), format!("0::{group}\n")).expect("written");
        let line = format!("{pid} (x) R 1 1 1 0 -1 4194304 1 0 0 0 5 6 0 0 20 0 1 0 77 1 1");
        fs::write(place.join("stat"), line).expect("written");
    }

    fn end(&self, pid: u32) {
        fs::remove_dir_all(self.folder.path().join(format!("proc/{pid}"))).expect("removed");
    }

    fn permit(&self, group: &str, list: &str) {
        let place = self.folder.path().join("cgroup/devices").join(group.trim_start_matches('/'));
        fs::create_dir_all(&place).expect("made");
        fs::write(place.join("devices.list"), list).expect("written");
    }

    /// The kubelet's list, asked for now: who is called like the pod, and the ids it holds.
    fn list(&mut self, pods: &[(&[&str], &[&str])]) {
        let pods = pods.iter().enumerate().map(|(place, (uids, ids))| {
            let given = ids.iter().map(|id| Given {
                vendor: Some(Vendor::Nvidia),
                device: Device::parse(id).expect("a device"),
                shares: 1,
            });
            PodGrant {
                called: format!("ml/{place}").as_str().into(),
                ids: uids.iter().map(|uid| pod(uid)).collect(),
                devices: given.collect(),
                unclear: Vec::new(),
            }
        });
        self.grants.pods = Some(PodGrants { at: self.now + SECOND, pods: pods.collect() });
    }

    /// One tick, a second after the last one.
    fn tick(&mut self, sights: &[Sight], births: Vec<Birth>, deaths: &[u32]) -> Vec<String> {
        self.now += SECOND;
        let at = Moment { monotonic: self.now, boottime: self.now, wall: self.now };
        let deaths = deaths.iter().copied().map(GroupSlot).collect();
        let groups = Groups { births, deaths, ..Groups::default() };
        let around = Around { groups: &groups, grants: &self.grants, consumers: None };
        let uses = self.holders.assign(&sights.iter().collect::<Vec<_>>(), &around, &at);
        uses.iter().map(words).collect()
    }

    fn fault(&self, source: &str) -> Option<Fault> {
        let states = self.holders.states();
        states.iter().find(|state| *state.source == *source).expect("it is shown").fault
    }
}

/// `id:allocated/used …`, parts apart by `|`, and a `?` where it is not known who uses it.
fn words(used: &Use) -> String {
    let claim = |claim: &Claim| {
        let id = claim.job.as_ref().map_or("-".to_owned(), |job| job.id().chars().take(9).collect());
        format!("{id}:{}/{}", claim.allocated, claim.used.map_or("-".to_owned(), |used| used.to_string()))
    };
    let part = |part: &crate::model::gpu::Part| part.claims.iter().map(claim).collect::<Vec<_>>().join(" ");
    let parts = used.parts.iter().map(part).collect::<Vec<_>>().join("|");
    if used.is_known { parts } else { format!("{parts}?") }
}

fn with(sight: Sight, processes: Result<&[(u32, Option<u64>)], Fault>) -> Sight {
    let process = |(pid, used): &(u32, Option<u64>)| Process { pid: *pid, instance: "".into(), used: *used };
    Sight { processes: processes.map(|all| all.iter().map(process).collect()), ..sight }
}

#[test]
fn a_pod_holds_a_device_from_its_name_to_its_end() {
    let mut bench = Bench::new();
    let gpu = || [with(whole(0), Ok(&[]))];
    // Its group is there, and the list is older.
    assert_eq!(bench.tick(&gpu(), vec![birth(1, &pod(UID), "/x")], &[]), [""]);
    bench.list(&[(&[], &["GPU-00aa"])]);
    assert_eq!(bench.tick(&gpu(), vec![], &[]), ["?"], "it is held, and nobody knows by whom");
    bench.list(&[(&[UID], &["GPU-00aa"])]);
    assert_eq!(bench.tick(&gpu(), vec![], &[]), ["7b2c1a90-:1/-"]);
    // What it drew up to its end is its own, and nothing after it, though it is on the list.
    assert_eq!(bench.tick(&gpu(), vec![], &[1]), ["7b2c1a90-:1/-"]);
    assert_eq!(bench.tick(&gpu(), vec![], &[]), [""]);
}

#[test]
fn the_kubelet_alone_does_not_tell_that_nobody_uses_a_device() {
    let mut bench = Bench::new();
    let gpu = || [with(whole(0), Err(Fault::Unsupported))];
    bench.list(&[]);
    assert_eq!(bench.tick(&gpu(), vec![], &[]), ["?"]);
    let gpus = || [with(whole(0), Ok(&[])), with(whole(1), Ok(&[]))];
    assert_eq!(bench.tick(&gpus(), vec![], &[]), ["", ""]);
    // Somebody has a device that is not among those that are seen, or is called in a way that nobody knows.
    bench.list(&[(&[], &["GPU-77"])]);
    assert_eq!(bench.tick(&gpus(), vec![], &[]), ["?", "?"]);
    bench.list(&[(&[], &[])]);
    assert_eq!(bench.tick(&gpus(), vec![], &[]), ["", ""]);
    let list = bench.grants.pods.as_mut().expect("a list");
    list.pods[0].unclear = vec![Vendor::Nvidia];
    assert_eq!(bench.tick(&gpus(), vec![], &[]), ["?", "?"]);
    list_of(&mut bench)[0].unclear = vec![Vendor::Amd];
    assert_eq!(bench.tick(&gpus(), vec![], &[]), ["", ""]);
}

fn list_of(bench: &mut Bench) -> &mut Vec<PodGrant> {
    &mut bench.grants.pods.as_mut().expect("a list").pods
}

#[test]
fn of_two_pods_of_one_name_the_later_one_is_meant() {
    let mut bench = Bench::new();
    let gpu = || [with(whole(0), Err(Fault::Unsupported))];
    bench.list(&[(&[UID, OTHER], &["GPU-00aa"])]);
    assert_eq!(bench.tick(&gpu(), vec![birth(1, &pod(OTHER), "/x")], &[]), ["8b2c1a90-:1/-?"]);
    bench.list(&[(&[UID, OTHER], &["GPU-00aa"])]);
    assert_eq!(bench.tick(&gpu(), vec![birth(2, &pod(UID), "/y")], &[]), ["7b2c1a90-:1/-?"]);
    bench.list(&[(&[UID, OTHER], &["GPU-00aa"])]);
    assert_eq!(bench.tick(&gpu(), vec![], &[2]), ["7b2c1a90-:1/-?"]);
    assert_eq!(bench.tick(&gpu(), vec![], &[]), ["8b2c1a90-:1/-?"]);
}

#[test]
fn a_list_says_nothing_of_a_pod_that_came_later_and_has_its_name() {
    let mut bench = Bench::new();
    let gpu = || [with(whole(0), Err(Fault::Unsupported))];
    let both: &[(&[&str], &[&str])] = &[(&[UID], &["GPU-00aa"]), (&[OTHER], &["GPU-00aa"])];
    bench.tick(&gpu(), vec![birth(1, &pod(UID), "/x"), birth(2, &pod(OTHER), "/y")], &[]);
    bench.list(both);
    assert_eq!(bench.tick(&gpu(), vec![], &[1]), ["7b2c1a90-:1/- 8b2c1a90-:1/-?"]);
    assert_eq!(bench.tick(&gpu(), vec![], &[]), ["8b2c1a90-:1/-?"]);
    // What it was called is forgotten: it has ended nevertheless, also for a list that has it still.
    list_of(&mut bench)[0].ids.clear();
    assert_eq!(bench.tick(&gpu(), vec![], &[]), ["8b2c1a90-:1/-?"]);
    bench.list(&[(&[], &["GPU-00aa"]), both[1]]);
    assert_eq!(bench.tick(&gpu(), vec![], &[]), ["8b2c1a90-:1/-?"]);
    // A pod comes that has its name: it is known by the next list at the earliest.
    let third = "9b2c1a90-11aa-4f0e-9c3d-5e6f70819203";
    list_of(&mut bench)[0].ids = vec![pod(third)];
    assert_eq!(bench.tick(&gpu(), vec![birth(3, &pod(third), "/z")], &[]), ["-:1/- 8b2c1a90-:1/-?"]);
    bench.list(&[(&[third], &["GPU-00aa"]), both[1]]);
    assert_eq!(bench.tick(&gpu(), vec![], &[]), ["8b2c1a90-:1/- 9b2c1a90-:1/-?"]);
}

#[test]
fn while_a_driver_hangs_those_who_used_a_device_before_are_charged() {
    let mut bench = Bench::new();
    bench.run(10, "/system.slice/a.service");
    let births = vec![
        birth(1, &unit("a.service"), "/system.slice/a.service"),
        birth(2, &pod(UID), "/x"),
        birth(3, &pod(OTHER), "/y"),
    ];
    let gpus = |pids| [with(whole(0), pids), with(whole(1), Err(Fault::Timeout))];
    bench.tick(&gpus(Ok(&[(10, Some(9))])), births, &[]);
    for _ in 0..3 {
        assert_eq!(bench.tick(&gpus(Err(Fault::Timeout)), vec![], &[]), ["a.service:0/9?", "?"]);
    }
    // One that comes meanwhile is told of beside it; one that ends has the interval of its end.
    bench.list(&[(&[UID], &["GPU-00aa"])]);
    let both = "a.service:0/9 7b2c1a90-:1/-?";
    assert_eq!(bench.tick(&gpus(Err(Fault::Timeout)), vec![], &[1]), [both, "?"]);
    assert_eq!(bench.tick(&gpus(Err(Fault::Timeout)), vec![], &[]), ["7b2c1a90-:1/-?", "?"]);
    assert_eq!(bench.tick(&gpus(Ok(&[])), vec![], &[]), ["7b2c1a90-:1/-", "?"]);
}

#[test]
fn a_list_is_believed_for_some_minutes_and_then_nothing_is_known() {
    let mut bench = Bench::new();
    let gpu = || [with(whole(0), Err(Fault::Unsupported))];
    bench.tick(&gpu(), vec![birth(1, &pod(UID), "/x")], &[]);
    bench.list(&[(&[UID], &["GPU-00aa"])]);
    bench.now += Nanos::from_seconds(299);
    assert_eq!(bench.tick(&gpu(), vec![], &[]), ["7b2c1a90-:1/-?"]);
    bench.now += SECOND;
    assert_eq!(bench.tick(&gpu(), vec![], &[]), ["?"]);
    bench.list(&[(&[UID], &["GPU-00aa"])]);
    assert_eq!(bench.tick(&gpu(), vec![], &[]), ["7b2c1a90-:1/-?"], "it is back");
}

#[test]
fn shares_and_instances_are_held_by_their_pods() {
    let mut bench = Bench::new();
    let gpus = || [with(whole(0), Err(Fault::Unsupported)), with(divided(1), Err(Fault::Unsupported))];
    bench.tick(&gpus(), vec![birth(1, &pod(UID), "/x"), birth(2, &pod(OTHER), "/y")], &[]);
    bench.list(&[
        (&[UID], &["GPU-00aa", "MIG-1b2"]),
        (&[OTHER], &["GPU-00aa", "nvidia1/gi11"]),
        (&[], &["1:1"]),
    ]);
    assert_eq!(
        bench.tick(&gpus(), vec![], &[]),
        ["7b2c1a90-:1/- 8b2c1a90-:1/-?", "8b2c1a90-:1/-||7b2c1a90-:1/-?"]
    );
}

#[test]
fn processes_are_charged_to_the_jobs_they_stand_in() {
    let mut bench = Bench::new();
    let group = format!("/kubepods/burstable/pod{UID}/c");
    for (pid, group) in
        [(10, "/system.slice/a.service"), (11, "/system.slice/a.service"), (12, "/"), (13, &group)]
    {
        bench.run(pid, group);
    }
    let births = vec![birth(1, &unit("a.service"), "/system.slice/a.service"), birth(2, &pod(UID), "/x")];
    let gpus = |pids: &[(u32, Option<u64>)]| [with(whole(0), Ok(pids))];
    let all = [(10, Some(3)), (11, Some(4)), (12, Some(5)), (13, Some(6))];
    assert_eq!(bench.tick(&gpus(&all), births, &[]), ["-:0/5 7b2c1a90-:0/6 a.service:0/7"]);
    assert_eq!(bench.fault(PROCESSES), None);
    // One that is not in /proc may be anybody's.
    assert_eq!(bench.tick(&gpus(&[(10, Some(1)), (99, Some(1))]), vec![], &[]), ["-:0/1 a.service:0/1?"]);
    assert_eq!(bench.fault(PROCESSES), None, "it may have ended");
    for _ in 0..3 {
        bench.tick(&gpus(&[(99, None)]), vec![], &[]);
    }
    assert_eq!(bench.fault(PROCESSES), Some(Fault::Missing));
    assert_eq!(bench.tick(&gpus(&[]), vec![], &[]), ["-:0/-"], "its last interval");
    assert_eq!(bench.tick(&gpus(&[]), vec![], &[]), [""], "nobody, and that is known");
    assert_eq!(bench.fault(PROCESSES), None);
    // The driver says nothing.
    assert_eq!(bench.tick(&[with(whole(0), Err(Fault::Timeout))], vec![], &[]), ["?"]);
    assert_eq!(bench.fault(PROCESSES), Some(Fault::Timeout));
}

#[test]
fn the_interval_in_which_somebody_leaves_is_his() {
    let mut bench = Bench::new();
    bench.run(10, "/system.slice/a.service");
    bench.run(11, "/system.slice/b.service");
    let births = vec![
        birth(1, &unit("a.service"), "/system.slice/a.service"),
        birth(2, &unit("b.service"), "/system.slice/b.service"),
    ];
    let gpus = |pids: &[(u32, Option<u64>)]| [with(whole(0), Ok(pids))];
    assert_eq!(bench.tick(&gpus(&[(10, Some(9))]), births, &[]), ["a.service:0/9"]);
    // It ended, and the list is new already; its group is gone with it.
    bench.end(10);
    assert_eq!(bench.tick(&gpus(&[]), vec![], &[1]), ["a.service:0/9"]);
    assert_eq!(bench.tick(&gpus(&[]), vec![], &[]), [""]);
    // It gave the device back, and lives on; the list is still the old one.
    assert_eq!(bench.tick(&gpus(&[(11, Some(5))]), vec![], &[]), ["b.service:0/5"]);
    assert_eq!(bench.tick(&gpus(&[(11, Some(5))]), vec![], &[]), ["b.service:0/5"]);
    assert_eq!(bench.tick(&gpus(&[]), vec![], &[]), ["b.service:0/5"]);
    assert_eq!(bench.tick(&gpus(&[]), vec![], &[]), [""]);
}

#[test]
fn in_another_pid_namespace_allocations_are_used_alone() {
    let mut bench = Bench::within("pid:[4026532999]");
    bench.run(10, "/system.slice/a.service");
    let gpus = || [with(whole(0), Ok(&[(10, Some(9))])), with(whole(1), Ok(&[]))];
    let births = vec![birth(1, &pod(UID), "/x"), birth(2, &unit("a.service"), "/system.slice/a.service")];
    assert_eq!(bench.tick(&gpus(), births, &[]), ["?", "?"]);
    assert_eq!(bench.fault(PROCESSES), Some(Fault::PrivateNamespace));
    bench.list(&[(&[UID], &["GPU-00aa"])]);
    assert_eq!(bench.tick(&gpus(), vec![], &[]), ["7b2c1a90-:1/-?", "?"]);
}

#[test]
fn slurm_s_jobs_hold_what_it_gave_them_and_what_they_say_is_a_hint() {
    let mut bench = Bench::new();
    let read = |job, cuda| JobDevices::read(Variables { job, cuda, ..Variables::default() });
    let given = [(slurm("7"), read(Some("1"), Some("0"))), (slurm("8"), read(None, Some("0,1")))];
    bench.grants.jobs = given.into_iter().map(|(job, devices)| (job, Arc::new(devices))).collect();
    let births = vec![birth(1, &slurm("7"), "/a"), birth(2, &slurm("8"), "/b")];
    let gpus = |processes: Result<&[_], Fault>| [with(whole(0), processes), with(whole(1), processes)];
    assert_eq!(bench.tick(&gpus(Err(Fault::Unsupported)), births, &[]), ["8:0/-?", "7:1/- 8:0/-?"]);
    assert_eq!(bench.tick(&gpus(Ok(&[])), vec![], &[]), ["8:0/-", "7:1/-"], "what they said is carried once");
    assert_eq!(bench.tick(&gpus(Ok(&[])), vec![], &[]), ["", "7:1/-"], "who uses it is known");
    assert_eq!(bench.tick(&gpus(Ok(&[])), vec![], &[1]), ["", "7:1/-"]);
    assert_eq!(bench.tick(&gpus(Ok(&[])), vec![], &[]), ["", ""]);
}

#[test]
fn a_device_control_group_tells_what_a_job_was_given() {
    let mut bench = Bench::new();
    let gpus = || [with(whole(0), Ok(&[])), with(whole(1), Ok(&[])), with(divided(2), Ok(&[]))];
    let id = "3f4e1c0d9b8a7f6e5d4c3b2a190817263544f3e2d1c0b9a8f7e6d5c4b3a29180";
    let births = vec![
        birth(1, &slurm("7"), "/slurm/uid_0/job_7"),
        birth(2, &JobId::new(JobKind::Container, id), "/docker/c"),
        birth(3, &unit("a.service"), "/system.slice/a.service"),
    ];
    bench.permit("/slurm/uid_0/job_7", "a *:* rwm\n");
    bench.permit("/docker/c", "c *:* m\nc 195:1 rw\nc 195:255 rw\nc 195:2 rw\n");
    bench.permit("/system.slice/a.service", "c 195:0 rw\n");
    assert_eq!(
        bench.tick(&gpus(), births, &[]),
        ["", "", "||"],
        "neither does a unit hold devices, nor a container"
    );
    // Slurm writes it a moment after it has made the group.
    bench.permit("/slurm/uid_0/job_7", "c 195:0 rw\nc 195:255 rw\n");
    assert_eq!(bench.tick(&gpus(), vec![], &[]), ["7:1/-", "", "||"]);
    bench.tick(&gpus(), vec![], &[]);
    // Later it is read every half minute.
    bench.permit("/slurm/uid_0/job_7", "c 195:1 rw\n");
    assert_eq!(bench.tick(&gpus(), vec![], &[])[0], "7:1/-");
    bench.now += LOOK_AGAIN;
    assert_eq!(bench.tick(&gpus(), vec![], &[])[1], "7:1/-");
    // Where nothing better tells, the container may be who uses it.
    let unlisted = [with(whole(1), Err(Fault::Unsupported))];
    assert_eq!(bench.tick(&unlisted, vec![], &[]), ["3f4e1c0d9:0/- 7:1/-?"]);
}

#[test]
fn pods_that_stay_unknown_are_told_of() {
    let mut bench = Bench::new();
    let gpu = || [with(whole(0), Ok(&[]))];
    bench.list(&[(&[], &["GPU-00aa"])]);
    bench.tick(&gpu(), vec![], &[]);
    assert_eq!(bench.fault(HOLDERS), None, "its name is on its way");
    bench.now += PATIENCE;
    bench.tick(&gpu(), vec![], &[]);
    assert_eq!(bench.fault(HOLDERS), Some(Fault::Missing));
    bench.list(&[]);
    bench.tick(&gpu(), vec![], &[]);
    assert_eq!(bench.fault(HOLDERS), None);
    assert!(bench.tick(&[], vec![], &[]).is_empty());
}

#[test]
fn lists_that_are_on_their_way_are_not_missed() {
    let mut bench = Bench::new();
    let is_shown = |bench: &Bench| bench.holders.states().iter().any(|state| *state.source == *PROCESSES);
    let gpu = |number, tells| with(whole(number), tells);
    for _ in 0..15 {
        bench.tick(&[gpu(0, Err(Fault::Timeout))], vec![], &[]);
        assert!(!is_shown(&bench));
    }
    bench.tick(&[gpu(0, Err(Fault::Timeout))], vec![], &[]);
    assert_eq!(bench.fault(PROCESSES), Some(Fault::Timeout), "by now they are");
    bench.tick(&[gpu(0, Ok(&[]))], vec![], &[]);
    assert_eq!(bench.fault(PROCESSES), None);
    // Another one comes, and one that has told does not any more.
    bench.tick(&[gpu(0, Ok(&[])), gpu(1, Err(Fault::Timeout))], vec![], &[]);
    assert_eq!(bench.fault(PROCESSES), None);
    bench.tick(&[gpu(0, Ok(&[])), gpu(1, Ok(&[]))], vec![], &[]);
    bench.tick(&[gpu(0, Ok(&[])), gpu(1, Err(Fault::Timeout))], vec![], &[]);
    assert_eq!(bench.fault(PROCESSES), Some(Fault::Timeout));
    // A driver that says at once that it lists nothing is believed at once.
    let mut bench = Bench::new();
    bench.tick(&[gpu(0, Err(Fault::Unsupported))], vec![], &[]);
    assert_eq!(bench.fault(PROCESSES), Some(Fault::Unsupported));
}

/// Units that were told to use devices: `id, CUDA_VISIBLE_DEVICES`.
fn told(jobs: &[(JobId, &str)]) -> Vec<(JobId, Arc<JobDevices>)> {
    let read = |cuda| Arc::new(JobDevices::read(Variables { cuda: Some(cuda), ..Variables::default() }));
    jobs.iter().map(|(job, cuda)| (job.clone(), read(cuda))).collect()
}

#[test]
fn who_was_told_to_use_a_device_holds_it_until_others_come() {
    let mut bench = Bench::new();
    let (a, b) = (unit("a.service"), unit("b.service"));
    bench.grants.jobs = told(&[(a.clone(), "GPU-00aa,1"), (b.clone(), "1")]);
    bench.run(10, "/system.slice/a.service");
    bench.run(20, "/system.slice/b.service");
    bench.run(30, "/system.slice/c.service");
    let births = [(1, a, "a"), (2, b, "b"), (3, unit("c.service"), "c")];
    let births =
        births.iter().map(|(slot, id, name)| birth(*slot, id, &format!("/system.slice/{name}.service")));
    let births: Vec<Birth> = births.collect();
    let mut tick = |first: Result<&[_], Fault>, second: Result<&[_], Fault>, births, deaths: &[u32]| {
        bench.tick(&[with(whole(0), first), with(whole(1), second)], births, deaths)
    };
    // Nobody is on it: it is theirs, and idle. On the other one both may be.
    assert_eq!(tick(Ok(&[]), Ok(&[]), births, &[]), ["a.service:1/-", "a.service:1/- b.service:1/-"]);
    // Who works pays, and who was told and does not work has his share of what is idle alone.
    let used = tick(Ok(&[(10, Some(9))]), Ok(&[(20, Some(5))]), vec![], &[]);
    assert_eq!(used, ["a.service:1/9", "a.service:1/0 b.service:1/5"]);
    // Somebody else is there: what was said to a unit does not make it pay for him.
    let used = tick(Ok(&[(30, Some(9))]), Ok(&[(20, Some(5)), (30, Some(5))]), vec![], &[]);
    assert_eq!(used, ["c.service:0/9", "b.service:0/5 c.service:0/5"]);
    // Nor for somebody who cannot be told.
    assert_eq!(tick(Ok(&[(99, None)]), Ok(&[]), vec![], &[]), ["-:0/-?", "a.service:1/- b.service:1/-"]);
    // Where nobody tells who uses it, that is all there is.
    let nobody = Err(Fault::Unsupported);
    assert_eq!(tick(nobody, nobody, vec![], &[1]), ["a.service:0/-?", "a.service:0/- b.service:0/-?"]);
    assert_eq!(tick(nobody, nobody, vec![], &[]), ["?", "b.service:0/-?"]);
}

#[test]
fn what_a_job_was_told_widens_nothing() {
    let mut bench = Bench::new();
    let container = JobId::new(JobKind::Container, "c0ffee");
    let gpus = |tells: Result<&[_], Fault>| [with(whole(0), tells), with(whole(1), tells)];
    // The kubelet gave the pod the first one, and others may not be told to use the second.
    let tells = [(pod(UID), "GPU-11"), (container.clone(), "GPU-00,GPU-11"), (unit("a"), "GPU-00")];
    bench.grants.jobs = told(&tells);
    bench.permit("/docker/c", "c 195:1 rw\n");
    let births =
        vec![birth(1, &pod(UID), "/x"), birth(2, &container, "/docker/c"), birth(3, &unit("a"), "/y")];
    assert_eq!(bench.tick(&gpus(Ok(&[])), births, &[]), ["a:1/-", "7b2c1a90-:1/- c0ffee:1/-"]);
    bench.list(&[(&[UID], &["GPU-00"])]);
    assert_eq!(bench.tick(&gpus(Ok(&[])), vec![], &[]), ["7b2c1a90-:1/-", "c0ffee:1/-"]);
    let unlisted = bench.tick(&gpus(Err(Fault::Unsupported)), vec![], &[]);
    assert_eq!(unlisted, ["7b2c1a90-:1/- a:0/-?", "c0ffee:0/-?"]);
    // The first one is held by a pod that nobody knows yet.
    bench.list(&[(&[UID], &[]), (&[], &["GPU-00"])]);
    assert_eq!(bench.tick(&gpus(Ok(&[])), vec![], &[]), ["?", "c0ffee:1/-"]);
}

#[test]
fn who_was_told_to_use_an_instance_holds_that_and_of_a_divided_device_nothing_else() {
    let mut bench = Bench::new();
    bench.grants.jobs = told(&[(unit("a"), "MIG-2b2"), (unit("b"), "GPU-22aa"), (unit("c"), "MIG-2b1")]);
    let births = [(1, "a"), (2, "b"), (3, "c")].map(|(slot, name)| birth(slot, &unit(name), name));
    assert_eq!(bench.tick(&[with(divided(2), Ok(&[]))], births.to_vec(), &[]), ["||a:1/-"]);
}

#[test]
fn nothing_grows_without_bound() {
    let mut bench = Bench::new();
    let pids: Vec<(u32, Option<u64>)> = (1..20_000).map(|pid| (pid, Some(1))).collect();
    let many: Vec<Sight> = (0..300).map(|_| with(whole(0), Ok(&pids[..]))).collect();
    assert_eq!(bench.tick(&many, vec![], &[]).len(), MAX_SIGHTS);
    // Who came and went leaves nothing behind.
    for round in 0..1_000 {
        let births = vec![birth(round, &unit(&format!("{round}.service")), "/x")];
        bench.tick(&[], births, &[round]);
    }
    assert!(bench.holders.jobs.is_empty() && bench.holders.slots.is_empty());
}
