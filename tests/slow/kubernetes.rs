//! Pods on real control groups, named by a kubelet that comes and goes.

use crate::attribution::{BUSY_WATTS, Measured, error, exporter, percent, powercap};
use crate::kubelet::{Kubelet, Mood};
use crate::load::{Load, Running};
use crate::page::Page;
use crate::rig::{Exporter, Groups, Setup, amount, container_id, free_address, uid, unique, wait_for};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Containers of the pod that crash again and again, and for how long.
const CONTAINERS: usize = 50;
const STORM: Duration = Duration::from_secs(40);

/// Memory that fifty groups a second may cost for as long as they are remembered.
const MORE_MEMORY: f64 = 8e6;

fn pod(name: &str, uid: &str, more: Value) -> Value {
    let mut pod =
        json!({"metadata": {"name": name, "namespace": "shop", "uid": uid}, "spec": {}, "status": {}});
    let given = pod["metadata"].as_object_mut().expect("an object");
    given.extend(more.as_object().expect("an object").clone());
    pod
}

/// A pod's group with one container that works a little.
fn run(groups: &Groups, uid: &str) -> (PathBuf, Running) {
    let group = groups.make(&format!("kubepods/burstable/pod{uid}/{}", container_id()));
    let load = Load::steady(3, Duration::from_secs(300), &[&group]);
    (group, load.start())
}

/// The label of the pod's info, which there is one of.
fn label(page: &Page, uid: &str, name: &str) -> String {
    let infos = page.all("jouleprint_job_info", &[("job_id", uid)]);
    assert!(infos.len() <= 1, "{infos:?}");
    infos.first().and_then(|info| info.labels.get(name)).cloned().unwrap_or_default()
}

fn wait_for_label(exporter: &Exporter, uid: &str, name: &str, value: &str) {
    wait_for(&format!("{name} {value}"), || (label(&exporter.page(), uid, name) == value).then_some(()));
}

fn up(page: &Page, source: &str) -> Option<f64> {
    let labels = [("source", source)];
    let is_there = !page.all("jouleprint_source_up", &labels).is_empty();
    is_there.then(|| amount(page, "jouleprint_source_up", &labels))
}

#[test]
fn pods_are_named_by_a_kubelet_that_hangs_dies_and_comes_back() {
    let groups = Groups::cpuacct();
    let powercap = powercap();
    let mut kubelet = Kubelet::start(free_address());
    let config = format!("tick: 1s\nzone: FR\njobs:\n{}", kubelet.config());
    let [web, night, late, lost] = [uid(), uid(), uid(), uid()];
    let etcd = format!("{:032x}", unique());
    let owned = json!({
        "labels": {"pod-template-hash": "6d4b75cb6d"},
        "ownerReferences": [{"kind": "ReplicaSet", "name": "web-6d4b75cb6d", "controller": true}]
    });
    kubelet.run(&pod("web-6d4b75cb6d-x2k4q", &web, owned));
    // A static pod as the API shows it: its groups and its logs have the hash.
    let mirror =
        json!({"annotations": {"kubernetes.io/config.mirror": etcd, "kubernetes.io/config.hash": etcd}});
    kubelet.edit(|pods| pods.push(pod("etcd-n1", &uid(), mirror)));
    let setup = Setup { sysfs: Some(powercap.sysfs()), config: &config, ..Setup::default() };
    let exporter = Exporter::start(&setup);
    let _running = [run(&groups, &web), run(&groups, &etcd)];
    wait_for_label(&exporter, &web, "k8s_workload_name", "web");
    wait_for_label(&exporter, &etcd, "k8s_pod_name", "etcd-n1");
    let page = exporter.page();
    assert_eq!(label(&page, &web, "k8s_workload_kind"), "Deployment");
    assert_eq!(label(&page, &web, "k8s_namespace_name"), "shop");
    for source in ["kubelet", "pod_logs", "podresources"] {
        wait_for(source, || (up(&exporter.page(), source) == Some(1.0)).then_some(()));
    }
    // One that the kubelet tells of only after its group is there, with a token of a new hour.
    kubelet.rotate("second");
    let (group, running) = run(&groups, &night);
    exporter.next_page();
    let made = json!({"ownerReferences": [{"kind": "Job", "name": "night-29387520", "controller": true}]});
    kubelet.run(&pod("night-29387520-abcde", &night, made));
    wait_for_label(&exporter, &night, "k8s_workload_name", "night");
    drop(running);
    Groups::remove(&group);
    // It hangs: ticks keep time, and a new pod has its name from the logs.
    kubelet.set(Mood::Hangs);
    let before = exporter.next_page();
    let asked = kubelet.asked();
    let _late = run(&groups, &late);
    kubelet.log(&pod("late-0", &late, json!({})));
    wait_for_label(&exporter, &late, "k8s_pod_name", "late-0");
    wait_for("a kubelet that is waited for in vain", || {
        (up(&exporter.page(), "kubelet") == Some(0.0) && kubelet.asked() > asked).then_some(())
    });
    // It dies. What was known stays known, and the pods it had go on.
    kubelet.die();
    let _lost = run(&groups, &lost);
    wait_for("a pod without a name", || {
        (!exporter.page().all("jouleprint_job_info", &[("job_id", &lost)]).is_empty()).then_some(())
    });
    let page = exporter.next_page();
    assert_eq!(label(&page, &web, "k8s_workload_name"), "web");
    assert_eq!(label(&page, &night, "k8s_workload_name"), "night", "an ended job keeps its name");
    assert_eq!(label(&page, &lost, "k8s_pod_name"), "");
    // It comes back: somebody was adopted meanwhile, and the lost one is told of.
    kubelet.edit(|pods| {
        pods[0]["metadata"]["ownerReferences"] =
            json!([{"kind": "StatefulSet", "name": "shop", "controller": true}]);
        pods.push(pod("lost-0", &lost, json!({})));
    });
    kubelet.set(Mood::Answers);
    kubelet.revive();
    let began = Instant::now();
    wait_for_label(&exporter, &lost, "k8s_pod_name", "lost-0");
    wait_for_label(&exporter, &web, "k8s_workload_name", "shop");
    let after = exporter.next_page();
    println!(
        "kubelet: asked {} times; heard again after {:.1} s",
        kubelet.asked(),
        began.elapsed().as_secs_f64()
    );
    let since = |name: &str| amount(&after, name, &[]) - amount(&before, name, &[]);
    assert_eq!(since("jouleprint_ticks_skipped_total"), 0.0, "a tick waited for a name");
    for uid in [&web, &etcd, &late, &lost] {
        let counters =
            after.all("jouleprint_job_energy_joules_total", &[("job_id", uid), ("hw_type", "cpu")]);
        assert_eq!(counters.len(), 1, "one counter for a pod: {counters:?}");
    }
    let log = exporter.stop();
    assert!(!log.contains("second") && !log.contains("Bearer"), "a token is in the log: {log}");
}

/// Resident bytes and open descriptors.
fn footprint(page: &Page) -> (f64, f64) {
    (amount(page, "process_resident_memory_bytes", &[]), amount(page, "process_open_fds", &[]))
}

#[test]
fn a_pod_whose_containers_crash_every_second_holds_all_their_energy() {
    let groups = Groups::cpuacct();
    let powercap = powercap();
    let exporter = exporter(&powercap);
    let uid = uid();
    let pod = groups.make(&format!("kubepods/burstable/pod{uid}"));
    let before = exporter.next_page();
    let mut truth = 0.0;
    let mut crashes = 0;
    let mut settled = None;
    let began = Instant::now();
    while began.elapsed() < STORM {
        let round = Instant::now();
        // A fifth of them work; the others die as soon as they are there.
        let made: Vec<PathBuf> =
            (0..CONTAINERS).map(|_| groups.make(&format!("{}/{}", inner(&uid), container_id()))).collect();
        let loads: Vec<Running> = made
            .iter()
            .step_by(5)
            .map(|group| Load::steady(5, Duration::from_millis(600), &[group]).start())
            .collect();
        truth += loads.into_iter().map(Running::finish).sum::<f64>();
        made.iter().for_each(|group| Groups::remove(group));
        crashes += made.len();
        std::thread::sleep(Duration::from_secs(1).saturating_sub(round.elapsed()));
        if settled.is_none() && began.elapsed() > STORM / 3 {
            settled = Some(footprint(&exporter.page()));
        }
    }
    let after = exporter.next_page();
    let (settled, ended) = (settled.expect("a third has passed"), footprint(&after));
    let measured = Measured { before, after };
    let (cpu, joules) = (measured.cpu_seconds(&uid), measured.job(&uid));
    let off = error(joules, cpu * BUSY_WATTS);
    let jobs = measured.after.all("jouleprint_job_info", &[("job_kind", "pod"), ("job_id", &uid)]);
    println!(
        "crash loop: {crashes} containers, {truth:.2} s {:+.2} s, energy by cpu {}, ended {:.2} J; memory {:+.0} kB, \
         descriptors {:+}",
        cpu - truth,
        percent(off),
        measured.residual("ended"),
        (ended.0 - settled.0) / 1e3,
        ended.1 - settled.1
    );
    assert_eq!(jobs.len(), 1, "{jobs:?}");
    // Starting a program works too, and is charged: 5 ms each.
    let starts = (crashes / 5) as f64 * 0.02;
    assert!(cpu >= truth * 0.97 && cpu <= truth * 1.03 + starts, "{cpu} s for {truth} s");
    assert!(off.abs() < 0.05, "{joules} J for {cpu} s");
    assert!(ended.0 - settled.0 < MORE_MEMORY, "memory grows: {settled:?} to {ended:?}");
    assert!((ended.1 - settled.1).abs() <= 2.0, "descriptors: {settled:?} to {ended:?}");
    Groups::remove(&pod);
}

fn inner(uid: &str) -> String {
    format!("kubepods/burstable/pod{uid}")
}
