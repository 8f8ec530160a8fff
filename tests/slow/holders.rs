//! Who holds which device, told by a real gRPC server that speaks the kubelet's PodResources: pods come, share
//! and leave, and the socket goes and comes back.

use crate::load::Load;
use crate::page::Page;
use crate::powercap::{Powercap, Zone};
use crate::rig::{Exporter, Groups as ControlGroups, Setup, amount, container_id, uid, wait_for};
use jouleprint::clock;
use jouleprint::job::Resolvers;
use jouleprint::job::directory::Directory;
use jouleprint::job::gpu::{Around, Holders};
use jouleprint::job::grouping::Grouping;
use jouleprint::job::names::Wishes;
use jouleprint::job::register::Callers;
use jouleprint::model::gpu::{Claim, Instance, Partition, Sight, Use, Vendor};
use jouleprint::model::identity::{JobId, JobKind};
use jouleprint::model::reading::{Birth, Fault, GroupRole, GroupSlot, Groups, Hierarchy};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The server, and the node's folders around it.
pub(crate) struct PodResources {
    folder: TempDir,
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl PodResources {
    /// With nothing on its list.
    pub(crate) fn start() -> PodResources {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for name in ["pods", "pod-resources"] {
            fs::create_dir(folder.path().join(name)).expect("made");
        }
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut child = Command::new(here.join(".cache/grpc/bin/python"))
            .arg(here.join("tests/slow/podresources.py"))
            .arg(folder.path().join("pod-resources/kubelet.sock"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("tests/slow/install.sh has made .cache/grpc");
        let orders = child.stdin.take().expect("piped");
        let answers = BufReader::new(child.stdout.take().expect("piped"));
        let mut server = PodResources { folder, child, orders, answers };
        server.order("{}");
        server
    }

    /// Gives an order, and says how often it was asked until then.
    pub(crate) fn order(&mut self, order: &str) -> u64 {
        writeln!(self.orders, "{order}").expect("it listens");
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("it answers");
        answer.trim().strip_prefix("done ").and_then(|count| count.parse().ok()).expect("it is done")
    }

    /// The whole list from now on: namespace `ml`, names, and what each one's container has.
    pub(crate) fn list(&mut self, pods: &[(&str, Value)]) {
        let pods = pods.iter().map(|(name, container)| {
            let mut container = container.clone();
            container["name"] = json!("main");
            json!({"name": name, "namespace": "ml", "containers": [container]})
        });
        let answer = json!({"podResources": pods.collect::<Vec<_>>()});
        self.order(&answer.to_string());
    }

    /// A pod's directory of logs: that is where its UID stands.
    pub(crate) fn name(&self, name: &str, uid: &str) {
        fs::create_dir_all(self.path("pods").join(format!("ml_{name}_{uid}"))).expect("made");
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for PodResources {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn devices(resource: &str, ids: &[&str]) -> Value {
    json!({"devices": [{"resourceName": resource, "deviceIds": ids, "topology": {"nodes": [{"ID": "0"}]}}]})
}

fn claim(driver: &str, device: &str) -> Value {
    let resource = json!({
        "driverName": driver, "poolName": "node", "deviceName": device, "shareId": "s",
        "cdiDevices": [{"name": "k8s.gpu.nvidia.com/claim=x"}]
    });
    json!({"dynamicResources": [{"claimName": "c", "claimNamespace": "ml", "claimResources": [resource]}]})
}

fn gpu(number: u32, partition: Partition) -> Sight {
    Sight {
        gpu: format!("GPU-{number}").as_str().into(),
        vendor: Vendor::Nvidia,
        model: "NVIDIA H100".into(),
        driver: "550.54".into(),
        pci: format!("0000:{number:02x}:00.0").as_str().into(),
        index: Some(number),
        nodes: vec![(195, number)],
        partition,
        processes: Err(Fault::Unsupported),
    }
}

fn instances() -> Partition {
    let instance = |gpu_instance, profile: &str, slices| Instance {
        uuid: format!("MIG-{gpu_instance}").as_str().into(),
        gpu_instance,
        compute_instance: 0,
        profile: profile.into(),
        slices,
        activity: None,
    };
    Partition::Instances { slices: 7, instances: vec![instance(1, "1g.10gb", 1), instance(2, "4g.40gb", 4)] }
}

/// The exporter's own parts around the server: what finds names, and what finds holders.
struct Node {
    directory: Directory,
    holders: Holders,
    sights: Vec<Sight>,
    slots: HashMap<JobId, u32>,
}

impl Node {
    fn new(server: &PodResources, sights: Vec<Sight>) -> Node {
        let wishes = Wishes {
            pod_logs: Some(server.path("pods")),
            pod_resources: Some(server.path("pod-resources")),
            ..Wishes::default()
        };
        let directory = Directory::new(wishes, None, Grouping::default());
        let proc = Path::new("/proc");
        let callers = Callers::new(proc, Vec::new(), Resolvers::default());
        let holders = Holders::new(proc, callers, Path::new("/nowhere"));
        Node { directory, holders, sights, slots: HashMap::new() }
    }

    fn tick(&mut self, groups: &Groups) -> Vec<Use> {
        let at = clock::now();
        let _ = self.directory.follow(groups, at.monotonic);
        self.directory.want_devices(true);
        let grants = self.directory.grants();
        let around = Around { groups, grants: &grants, consumers: None };
        self.holders.assign(&self.sights.iter().collect::<Vec<_>>(), &around, &at)
    }

    /// A pod's group was made.
    fn born(&mut self, uid: &str) {
        let id = JobId::new(JobKind::Pod, uid);
        let slot = u32::try_from(self.slots.len()).expect("few");
        self.slots.insert(id.clone(), slot);
        let birth = Birth {
            slot: GroupSlot(slot),
            parent: None,
            hierarchy: Hierarchy::Primary,
            role: GroupRole::Job(id),
            path: format!("/kubepods/pod{uid}").as_str().into(),
            inode: 0,
            user: None,
            is_new: true,
        };
        self.tick(&Groups { births: vec![birth], ..Groups::default() });
    }

    /// And removed; what was so in that tick.
    fn died(&mut self, uid: &str) -> Vec<String> {
        let slot = self.slots[&JobId::new(JobKind::Pod, uid)];
        self.tick(&Groups { deaths: vec![GroupSlot(slot)], ..Groups::default() }).iter().map(words).collect()
    }

    fn now(&mut self) -> Vec<String> {
        self.tick(&Groups::default()).iter().map(words).collect()
    }

    fn wait_for(&mut self, expected: &[&str]) -> Duration {
        let began = Instant::now();
        let mut last = Vec::new();
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_for("holders", || {
                last = self.now();
                (last == expected).then_some(())
            });
        }));
        assert!(found.is_ok(), "expected {expected:?}, and there is {last:?}");
        began.elapsed()
    }

    fn fault(&self, source: &str) -> Option<Fault> {
        let states = self.directory.sources().into_iter().chain(self.holders.states());
        states.into_iter().find(|state| *state.source == *source).and_then(|state| state.fault)
    }
}

/// `last letters of the UID:shares`, the parts of a device apart by `|`. Without lists of processes it is never
/// known that nobody else uses a device.
fn words(used: &Use) -> String {
    let claim = |claim: &Claim| {
        let id = claim.job.as_ref().map_or("-", |job| &job.id()[job.id().len() - 4..]);
        format!("{id}:{}", claim.allocated)
    };
    let parts = used.parts.iter().map(|part| part.claims.iter().map(claim).collect::<Vec<_>>().join(" "));
    parts.collect::<Vec<_>>().join("|")
}

#[test]
fn holders_follow_the_pods_of_a_real_grpc_server() {
    let mut server = PodResources::start();
    let mut node =
        Node::new(&server, vec![gpu(0, Partition::Whole), gpu(1, Partition::Whole), gpu(2, instances())]);
    let mut pods: Vec<String> = (0..4).map(|_| uid()).collect();
    // Claims are in the order of the UIDs.
    pods.sort();
    let short: Vec<String> = pods.iter().map(|uid| uid[uid.len() - 4..].to_owned()).collect();
    let [a, b, c, d] = [0, 1, 2, 3].map(|place: usize| pods[place].clone());
    let [sa, sb, sc, sd] = [0, 1, 2, 3].map(|place: usize| short[place].clone());

    // The first pods come. One has a device of its own, the other shares one with itself.
    server.list(&[
        ("a", devices("nvidia.com/gpu", &["GPU-0"])),
        ("b", devices("nvidia.com/gpu", &["GPU-1::0", "GPU-1::3"])),
    ]);
    server.name("a", &a);
    server.name("b", &b);
    node.born(&a);
    node.born(&b);
    let took = node.wait_for(&[&format!("{sa}:1"), &format!("{sb}:2"), "|"]);

    // A third one shares the second device, a fourth has an instance and, by a claim, another.
    let shared = [
        ("a", devices("nvidia.com/gpu", &["GPU-0"])),
        ("b", devices("nvidia.com/gpu", &["GPU-1::0", "GPU-1::3"])),
        ("c", devices("nvidia.com/gpu.shared", &["GPU-1::1"])),
    ];
    let mut of_d = devices("nvidia.com/mig-1g.10gb", &["MIG-1"]);
    of_d["dynamicResources"] = claim("gpu.nvidia.com", "gpu-2-mig-4g40gb-5-0")["dynamicResources"].clone();
    let all = [&shared[..], &[("d", of_d)]].concat();
    server.list(&all);
    server.name("c", &c);
    node.born(&c);
    node.born(&d);
    let last = format!("{sd}:1|{sd}:1");
    // What nobody can name yet is nobody's.
    node.wait_for(&[&format!("{sa}:1"), &format!("{sb}:2 {sc}:1"), "|"]);
    server.name("d", &d);
    node.wait_for(&[&format!("{sa}:1"), &format!("{sb}:2 {sc}:1"), &last]);

    // The server goes away, and its socket with it: what was known stays so.
    server.order("down");
    wait_for("the socket is missed", || {
        let _ = node.now();
        (node.fault("podresources") == Some(Fault::Missing)).then_some(())
    });
    assert_eq!(node.now(), [format!("{sa}:1"), format!("{sb}:2 {sc}:1"), last.clone()]);

    // A pod ends meanwhile: it has the tick in which it did, and no more, though the list knows better.
    assert_eq!(node.died(&a), [format!("{sa}:1"), format!("{sb}:2 {sc}:1"), last.clone()]);
    // It stays so while the threads that find names forget it, however slow they are.
    for _ in 0..10 {
        assert_eq!(node.now(), [String::new(), format!("{sb}:2 {sc}:1"), last.clone()]);
        std::thread::sleep(Duration::from_millis(100));
    }

    // It comes back, and another pod of the first one's name has the device; a claim has all of another.
    let again = uid();
    server.list(&[("a", claim("gpu.nvidia.com", "gpu-0")), ("c", devices("nvidia.com/gpu", &["1"]))]);
    server.order("up");
    server.name("a", &again);
    node.born(&again);
    let began = Instant::now();
    let first = format!("{}:1", &again[again.len() - 4..]);
    node.wait_for(&[&first, &format!("{sc}:1"), "|"]);
    assert_eq!(node.fault("podresources"), None);
    println!(
        "the first pods were known after {took:?}, a new one after the socket's return {:?}",
        began.elapsed()
    );
}

#[test]
#[cfg(feature = "rare")]
fn the_kubelet_is_asked_every_ten_seconds_where_nothing_happens() {
    let mut server = PodResources::start();
    let mut node = Node::new(&server, vec![gpu(0, Partition::Whole)]);
    let pod = uid();
    server.name("a", &pod);
    server.list(&[("a", devices("nvidia.com/gpu", &["GPU-0"]))]);
    node.born(&pod);
    node.wait_for(&[&format!("{}:1", &pod[pod.len() - 4..])]);
    // After a birth it is asked some times more, ever more seldom.
    let until = Instant::now() + Duration::from_secs(15);
    while Instant::now() < until {
        let _ = node.now();
        std::thread::sleep(Duration::from_millis(200));
    }
    let before = server.order("");
    let until = Instant::now() + Duration::from_secs(31);
    while Instant::now() < until {
        let _ = node.now();
        std::thread::sleep(Duration::from_millis(200));
    }
    let asked = server.order("") - before;
    assert!((2..=4).contains(&asked), "{asked} questions in 31 s");
}

/// A card of AMD's that always draws so much, as its driver shows it.
fn lay_out_card(sysfs: &Path, card: u32, pci: &str, watts: u32) {
    let device = sysfs.join("devices/pci0000:00").join(pci);
    for inner in [format!("drm/card{card}"), format!("drm/renderD{}", 128 + card), "hwmon/hwmon9".to_owned()]
    {
        fs::create_dir_all(device.join(inner)).expect("made");
    }
    let class = sysfs.join(format!("class/drm/card{card}"));
    fs::create_dir_all(&class).expect("made");
    std::os::unix::fs::symlink(&device, class.join("device")).expect("linked");
    let power = format!("{watts}000000\n");
    for (file, text) in [
        ("vendor", "0x1002\n"),
        ("device", "0x738c\n"),
        ("hwmon/hwmon9/name", "amdgpu\n"),
        ("hwmon/hwmon9/power1_average", &power),
    ] {
        fs::write(device.join(file), text).expect("written");
    }
}

/// Two cards by the names that they have on the page.
pub(crate) const CARDS: [&str; 2] = ["pci-0000:05:00.0", "pci-0000:06:00.0"];

/// Lays them out: one of 100 W, one of 60.
pub(crate) fn lay_out_cards(sysfs: &Path) {
    lay_out_card(sysfs, 0, "0000:05:00.0", 100);
    lay_out_card(sysfs, 1, "0000:06:00.0", 60);
}

/// What a series came to, in µJ.
pub(crate) fn micro(page: &Page, name: &str, labels: &[(&str, &str)]) -> f64 {
    if page.all(name, labels).is_empty() { 0.0 } else { (amount(page, name, labels) * 1e6).round() }
}

#[test]
fn a_pod_s_device_is_charged_to_it_by_a_running_exporter() {
    const FIRST: &str = CARDS[0];
    const SECOND: &str = CARDS[1];
    let mut server = PodResources::start();
    let groups = ControlGroups::cpuacct();
    let powercap = Powercap::start(&[Zone::steady("intel-rapl:0", "package-0", 20_000)]);
    lay_out_cards(powercap.sysfs());
    let [a, b] = [uid(), uid()];
    server.name("a", &a);
    server.name("b", &b);
    server
        .list(&[("a", devices("amd.com/gpu", &["0000:05:00.0"])), ("b", claim("gpu.amd.com", "gpu-1-129"))]);
    let config = format!(
        "tick: 1s\nzone: FR\njobs:\n  kubernetes: {{logs: {}, pod_resources: {}, kubelet: off}}\n",
        server.path("pods").display(),
        server.path("pod-resources").display()
    );
    let setup = Setup { sysfs: Some(powercap.sysfs()), config: &config, ..Setup::default() };
    let exporter = Exporter::start(&setup);
    let mut running = Vec::new();
    for uid in [&a, &b] {
        let group = groups.make(&format!("kubepods/burstable/pod{uid}/{}", container_id()));
        let load = Load::steady(3, Duration::from_secs(300), &[&group]).start();
        running.push((group, load));
    }
    let job = |page: &Page, uid: &str, gpu: &str| {
        micro(page, "jouleprint_job_energy_joules_total", &[("job_id", uid), ("gpu", gpu)])
    };
    let device = |page: &Page, gpu: &str| micro(page, "hw_energy_joules_total", &[("gpu", gpu)]);
    wait_for("charges of both pods", || {
        let page = exporter.page();
        (job(&page, &a, FIRST) > 0.0 && job(&page, &b, SECOND) > 0.0).then_some(())
    });
    // From here on each has all of its own device, to the µJ.
    let before = exporter.next_page();
    std::thread::sleep(Duration::from_secs(3));
    let after = exporter.next_page();
    for (uid, gpu) in [(&a, FIRST), (&b, SECOND)] {
        let drawn = device(&after, gpu) - device(&before, gpu);
        assert!(drawn > 0.0, "{gpu} stands still");
        assert!((job(&after, uid, gpu) - job(&before, uid, gpu) - drawn).abs() < 1.5, "{gpu}");
    }
    assert!(job(&after, &a, SECOND) + job(&after, &b, FIRST) < 0.5, "nobody has another's");
    // One ends, and the socket is gone: the other goes on.
    server.order("down");
    let (group, load) = running.remove(0);
    drop(load);
    ControlGroups::remove(&group);
    ControlGroups::remove(group.parent().expect("the pod's own"));
    let labels = [("source", "podresources")];
    let is_missed = |page: &Page| {
        page.all("jouleprint_source_up", &labels).first().is_some_and(|sample| sample.text == "0")
    };
    wait_for("the socket is missed", || is_missed(&exporter.page()).then_some(()));
    let before = exporter.next_page();
    std::thread::sleep(Duration::from_secs(2));
    let after = exporter.next_page();
    assert!((job(&after, &a, FIRST) - job(&before, &a, FIRST)).abs() < 0.5, "it has ended");
    let drawn = device(&after, SECOND) - device(&before, SECOND);
    assert!((job(&after, &b, SECOND) - job(&before, &b, SECOND) - drawn).abs() < 1.5);
    assert!(device(&after, FIRST) > device(&before, FIRST), "it is drawn, and nobody's");
}
