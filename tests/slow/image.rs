//! The image: the last stage of the container file, built by Podman over a root that is laid out from the program of these
//! tests, and run as the manifest says: read-only, without a capability, with what it mounts.

use crate::attribution::powercap;
use crate::deploy::{built, documents, of_kind, repository};
use crate::http;
use crate::page::Page;
use crate::rig::{CGROUPFS, Daemon, Leftovers, free_address, read_text, run, wait_for};
use serde_json::Value;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

const IMAGE: &str = "localhost/jouleprint:test";

/// Who is not root in it.
const NONROOT: u32 = 65_532;

/// Podman with a store of its own, and the image in it.
struct Kitchen {
    folder: TempDir,
    _left: Leftovers,
}

impl Kitchen {
    fn new() -> Kitchen {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let kitchen = Kitchen { folder, _left: Leftovers("libpod_parent".to_owned()) };
        let stage = kitchen.at("build");
        run(Command::new(repository().join("deploy/container/rootfs.sh"))
            .arg(env!("CARGO_BIN_EXE_jouleprint"))
            .arg(stage.join("rootfs")));
        let context = format!("build={}", stage.display());
        run(kitchen
            .podman()
            .args(["build", "--quiet", "--isolation", "chroot", "--target", "image", "--tag", IMAGE])
            .args(["--build-context", &context, "--file"])
            .arg(repository().join("deploy/container/Containerfile"))
            .arg(&stage));
        kitchen
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn podman(&self) -> Command {
        let mut command = Command::new("podman");
        command.arg("--root").arg(self.at("root")).arg("--runroot").arg(self.at("run"));
        command.args(["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--runtime", "runc"]);
        command
    }

    /// A folder of the host that stands in for one of the manifest's.
    fn folder(&self, name: &str) -> PathBuf {
        let path = self.at(name);
        fs::create_dir_all(&path).expect("made");
        path
    }

    /// The container as the manifest has it, with these folders in the place of the host's, run as this user.
    fn command(&self, pod: &Value, config: &str, stand_ins: &[(&str, PathBuf)], user: u32) -> Command {
        let container = &pod["containers"][0];
        let etc = self.folder("etc");
        fs::write(etc.join("jouleprint.yaml"), config).expect("written");
        let mut command = self.podman();
        command.args(["run", "--rm", "--read-only", "--read-only-tmpfs=false", "--cap-drop", "all"]);
        command.args([
            "--security-opt",
            "no-new-privileges",
            "--network",
            "host",
            "--user",
            &user.to_string(),
        ]);
        command.args([
            "--ulimit",
            "nofile=1024:1024",
            "--ulimit",
            "nproc=1000:1000",
            "--env",
            "NODE_NAME=node-7",
        ]);
        command.arg("--cidfile").arg(self.at(&format!("id-{user}-{}", crate::rig::unique())));
        for mount in container["volumeMounts"].as_array().expect("mounts") {
            let inside = mount["mountPath"].as_str().expect("a path");
            let host = stand_ins.iter().find(|(name, _)| *name == inside);
            let (_, host) = host.unwrap_or_else(|| panic!("nothing stands in for {inside}"));
            let mode = if mount["readOnly"] == true { "ro" } else { "rw" };
            command.arg("--volume").arg(format!("{}:{inside}:{mode}", host.display()));
        }
        command.arg(IMAGE);
        command.args(container["args"].as_array().expect("arguments").iter().filter_map(Value::as_str));
        command.args(["--store.path=/var/lib/jouleprint", "--path.runtime=/run/jouleprint"]);
        command.stdin(Stdio::null());
        command
    }
}

/// The pod of the base and its configuration.
fn manifest() -> (Value, String) {
    let documents = documents(&built("base"));
    let pod = of_kind(&documents, "DaemonSet")[0]["spec"]["template"]["spec"].clone();
    let map = of_kind(&documents, "ConfigMap")[0]["data"]["jouleprint.yaml"].as_str().expect("a text");
    (pod, map.to_owned())
}

/// The page of a container, as soon as it is ready.
fn page(address: SocketAddr) -> Page {
    wait_for("a container that is ready", || {
        let ready = http::request(address, "GET", "/-/ready", &[]);
        ready.ok().filter(|answer| answer.status == 200)
    });
    read_text(http::get(address, "/metrics").text())
}

/// A line of the first process' status, in the container.
fn status(pid: &str, name: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
    line.trim_start_matches(':').trim().to_owned()
}

#[test]
fn the_image_serves_a_page_read_only_without_a_capability_and_without_a_shell() {
    let kitchen = Kitchen::new();
    let (pod, config) = manifest();
    let powercap = powercap();
    // As the kernel keeps them.
    for zone in fs::read_dir(powercap.sysfs().join("class/powercap")).expect("a tree").flatten() {
        let counter = zone.path().join("energy_uj");
        if counter.exists() {
            fs::set_permissions(counter, fs::Permissions::from_mode(0o400)).expect("closed to others");
        }
    }
    let stand_ins = |cgroups: PathBuf, name: &str| {
        let own = |folder: &str| kitchen.folder(&format!("{name}-{folder}"));
        vec![
            ("/etc/jouleprint", kitchen.folder("etc")),
            ("/host/sys/class", powercap.sysfs().join("class")),
            ("/host/sys/devices", PathBuf::from("/sys/devices")),
            ("/host/sys/fs/cgroup", cgroups),
            ("/host/var/log/pods", own("logs")),
            ("/host/var/lib/kubelet/pod-resources", own("pod-resources")),
            ("/var/lib/jouleprint", own("store")),
            ("/run/jouleprint", own("runtime")),
        ]
    };
    let unified = || Path::new(CGROUPFS.as_str()).join("unified");
    // The profiles of docs/deploy.md, and what each reads.
    for (name, user, origin) in [("root", 0, "measured"), ("nonroot", NONROOT, "estimated")] {
        let stand_ins = stand_ins(unified(), name);
        for (inside, host) in &stand_ins {
            if inside.ends_with("/jouleprint") && *inside != "/etc/jouleprint" {
                chown(host, Some(user), Some(user)).expect("it is theirs");
            }
        }
        let address = free_address();
        let mut command = kitchen.command(&pod, &config, &stand_ins, user);
        command.arg(format!("--web.listen-address={address}"));
        let log = fs::File::create(kitchen.at(&format!("{name}.log"))).expect("made");
        let running = Daemon(command.stdout(Stdio::null()).stderr(log).spawn().expect("podman starts"));
        let page = page(address);
        let energy = page.all("hw_energy_joules_total", &[("hw_id", "package-0")]);
        let found: Vec<&str> = energy.iter().map(|sample| sample.labels["origin"].as_str()).collect();
        let id = run(kitchen.podman().args(["ps", "--quiet", "--no-trunc"]));
        let pid = run(kitchen.podman().args(["inspect", "--format", "{{.State.Pid}}", id.trim()]));
        let (pid, user) = (pid.trim(), user.to_string());
        println!(
            "image as {name}: {found:?}, capabilities {}, seccomp {}",
            status(pid, "CapEff"),
            status(pid, "Seccomp:")
        );
        assert!(status(pid, "Uid").split_whitespace().all(|found| found == user));
        for set in ["CapEff", "CapPrm", "CapBnd", "CapAmb"] {
            assert_eq!(status(pid, set), "0000000000000000", "{name}: {set}");
        }
        assert_eq!(
            (status(pid, "NoNewPrivs").as_str(), status(pid, "Seccomp:").as_str()),
            ("1", "2"),
            "{name}"
        );
        assert!(
            found.is_empty() == (origin != "measured") && found.iter().all(|found| *found == origin),
            "{name}: {found:?}"
        );
        assert!(
            !page.all("hw_host_energy_joules_total", &[("origin", origin), ("host", "node-7")]).is_empty()
        );
        assert_eq!(page.value("jouleprint_store_up", &[]), Some("1"), "{name} keeps its counters");
        assert_eq!(page.value("jouleprint_source_up", &[("source", "cgroup")]), Some("1"), "{name}");
        run(kitchen.podman().args(["stop", "--time", "5", id.trim()]));
        drop(running);
    }
    let shell = kitchen
        .podman()
        .args([
            "run",
            "--rm",
            "--network",
            "none",
            "--ulimit",
            "nofile=1024:1024",
            "--ulimit",
            "nproc=1000:1000",
            "--entrypoint",
            "/bin/sh",
            IMAGE,
            "-c",
            "true",
        ])
        .output();
    assert!(!shell.expect("podman runs").status.success(), "there is no shell in it");
    // Control groups of both versions have mounts inside, which this runtime leaves writable: then it says no.
    if Path::new(CGROUPFS.as_str()).join("cpuacct").exists() {
        let stand_ins = stand_ins(PathBuf::from(CGROUPFS.as_str()), "hybrid");
        let mut command = kitchen.command(&pod, &config, &stand_ins, 0);
        let output = command.arg("--web.listen-address=127.0.0.1:0").output().expect("podman runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("/host/sys/fs/cgroup/") && said.contains("is mounted writable"), "{said}");
    }
    let images = run(kitchen.podman().args(["images", "--format", "{{.Size}}"]));
    println!("image: {} (of a program with debugging symbols)", images.trim());
}
