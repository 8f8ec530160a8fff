//! Real containers: runc with a pod's path and without, and Podman.

use crate::attribution::{BUSY_WATTS, CONFIG, Measured, error, percent, powercap};
use crate::page::Page;
use crate::powercap::Powercap;
use crate::rig::{Daemon, Exporter, Leftovers, Setup, TOP, container_id, run, uid, unique};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// The program's own word misses what starting a container takes, which is charged to it: half a second.
const START_SECONDS: f64 = 0.5;

/// A root file system with the load in it; libraries are the host's, mounted.
fn root(folder: &Path) {
    for name in ["usr", "proc", "dev", "sys"] {
        fs::create_dir_all(folder.join(name)).expect("made");
    }
    for name in ["bin", "lib", "lib64"] {
        std::os::unix::fs::symlink(format!("usr/{name}"), folder.join(name)).expect("linked");
    }
    fs::copy(env!("CARGO_BIN_EXE_jouleprint-load"), folder.join("load")).expect("copied");
}

/// Starts a container of runc with this path in every hierarchy, which works for a while.
fn runc(folder: &Path, path: &str, percent: u64) -> (String, Daemon) {
    let name = format!("c{}", unique());
    let bundle = folder.join(&name);
    root(&bundle.join("rootfs"));
    run(Command::new("runc").arg("spec").current_dir(&bundle));
    let file = bundle.join("config.json");
    let text = fs::read_to_string(&file).expect("runc spec made it");
    let mut spec: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    spec["process"]["terminal"] = false.into();
    spec["process"]["args"] = serde_json::json!(["/load", "steady", percent.to_string(), "5000"]);
    spec["process"]["rlimits"] = serde_json::json!([]);
    spec["linux"]["cgroupsPath"] = path.into();
    let usr = serde_json::json!({
        "destination": "/usr", "type": "bind", "source": "/usr", "options": ["rbind", "ro"]
    });
    spec["mounts"].as_array_mut().expect("mounts").insert(0, usr);
    fs::write(&file, spec.to_string()).expect("written");
    let mut command = Command::new("runc");
    command.arg("--root").arg(folder.join("state")).args(["run", &name]).current_dir(&bundle);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    (name, Daemon(command.spawn().expect("runc starts")))
}

/// What the load in a container says at its end, in seconds.
fn finish(mut container: Daemon) -> f64 {
    use std::io::Read;
    let mut said = String::new();
    let output = container.0.stdout.as_mut().expect("a pipe");
    output.read_to_string(&mut said).expect("a load speaks UTF-8");
    let status = container.0.wait().expect("a child can be waited for");
    let nanoseconds: u64 = said.trim().parse().unwrap_or_else(|_| panic!("{status}: {said:?}"));
    nanoseconds as f64 / 1e9
}

/// With the runtimes' state where the test has it.
fn exporter_with(powercap: &Powercap, places: &str) -> Exporter {
    let config = format!("{CONFIG}jobs: {{containers: {{{places}}}}}\n");
    Exporter::start(&Setup { sysfs: Some(powercap.sysfs()), config: &config, ..Setup::default() })
}

/// The label of a container's info.
fn label(page: &Page, id: &str, name: &str) -> String {
    let infos = page.all("jouleprint_job_info", &[("job_id", id)]);
    infos.first().and_then(|info| info.labels.get(name)).cloned().unwrap_or_default()
}

fn compare(name: &str, exporter: &Exporter, before: Page, jobs: &[(String, f64)]) {
    let measured = Measured { before, after: exporter.next_page() };
    for (id, truth) in jobs {
        let (cpu, joules) = (measured.cpu_seconds(id), measured.job(id));
        let off = error(joules, cpu * BUSY_WATTS);
        println!("{name}: {truth:.2} s {:+.2} s energy by cpu {}", cpu - truth, percent(off));
        assert!(cpu >= truth * 0.97 && cpu <= truth * 1.03 + START_SECONDS, "{name}: {cpu} s for {truth} s");
        assert!(off.abs() < 0.05, "{name}: {joules} J for {cpu} s");
    }
}

#[test]
fn containers_of_runc_are_pods_or_themselves_by_their_path() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let top = format!("{TOP}{}", unique());
    let _left = Leftovers(top.clone());
    let powercap = powercap();
    let exporter = exporter_with(&powercap, &format!("runc: [{}]", folder.path().join("state").display()));
    let before = exporter.next_page();
    let (pod, plain) = (uid(), container_id());
    let paths =
        [format!("/{top}/kubepods/burstable/pod{pod}/{}", container_id()), format!("/{top}/docker/{plain}")];
    let running = [runc(folder.path(), &paths[0], 15), runc(folder.path(), &paths[1], 40)];
    let name = running[1].0.clone();
    let used: Vec<f64> = running.into_iter().map(|(_, container)| finish(container)).collect();
    compare("runc", &exporter, before, &[(pod, used[0]), (plain.clone(), used[1])]);
    assert_eq!(label(&exporter.page(), &plain, "container_name"), name);
}

#[test]
fn a_container_of_podman_is_a_job_by_its_id() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| folder.path().join(name);
    let _left = Leftovers("libpod_parent".to_owned());
    let podman = || {
        let mut command = Command::new("podman");
        command.arg("--root").arg(at("root")).arg("--runroot").arg(at("run"));
        command.args(["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--runtime", "runc"]);
        command
    };
    root(&at("image"));
    run(Command::new("tar").arg("-C").arg(at("image")).args(["-cf"]).arg(at("image.tar")).arg("."));
    run(podman().arg("import").arg(at("image.tar")).arg("local/load:1"));
    let powercap = powercap();
    let exporter = exporter_with(&powercap, &format!("storage: [{}]", at("root").display()));
    let before = exporter.next_page();
    let mut command = podman();
    command.args(["run", "--rm", "--name", "worker", "--network", "none", "--ulimit", "nofile=1024:1024"]);
    command.args(["--ulimit", "nproc=1000:1000", "-v", "/usr:/usr:ro", "--cidfile"]).arg(at("id"));
    command.args(["local/load:1", "/load", "steady", "40", "5000"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let used = finish(Daemon(command.spawn().expect("podman starts")));
    let id = fs::read_to_string(at("id")).expect("podman wrote it");
    compare("podman", &exporter, before, &[(id.trim().to_owned(), used)]);
    let page = exporter.page();
    assert_eq!(label(&page, id.trim(), "container_name"), "worker");
    assert_eq!(label(&page, id.trim(), "container_image_name"), "localhost/local/load:1");
}
