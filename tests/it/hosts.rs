//! Whole machines: each `tests/hosts/NAME.host` is laid out, sampled tick by tick on a made-up clock,
//! and the page after the last tick is compared with `NAME.metrics`. `UPDATE=1 cargo test` rewrites
//! them; read the diff.

use crate::page::{Page, check_identity};
use crate::tree::{Ground, Host, Run, at};
use jouleprint::command::replay::Replay;
use jouleprint::model::description::Naming;
use jouleprint::model::identity::{JobKind, Name};
use jouleprint::model::quantity::Nanos;
use jouleprint::model::reading::GroupRole;
use jouleprint::output::catalogue::ARCHITECTURE;
use jouleprint::output::prometheus::{Format, render};
use jouleprint::sampler::Sampler;
use jouleprint::source::recorded::Recording;
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

/// What depends on the run or the build and not on the host.
const OF_THE_RUN: [&str; 3] = ["process_", "jouleprint_tick_duration_", "jouleprint_build"];

/// What the sampler knows and a recording does not hold.
const OF_THE_SAMPLER: [&str; 4] = ["process_", "jouleprint_tick", "jouleprint_cgroup", "jouleprint_source"];

macro_rules! hosts {
    ($($test:ident: $name:literal,)*) => {
        $(
            #[test]
            fn $test() {
                check($name);
            }
        )*

        #[test]
        fn every_host_is_checked() {
            let there: BTreeSet<String> = fs::read_dir(folder())
                .expect("tests/hosts")
                .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
                .filter_map(|name| Some(name.strip_suffix(".host")?.to_owned()))
                .collect();
            assert_eq!(there, BTreeSet::from([$($name.to_owned()),*]));
        }
    };
}

hosts! {
    xeon_with_psys_between_its_sockets: "xeon-2s-psys",
    xeon_whose_dies_count_apart: "xeon-clx-ap",
    epyc_whose_dies_mirror_their_socket: "epyc-mirrored-dies",
    laptop_with_nested_and_doubled_zones: "laptop",
    altra_whose_cores_are_added_up_once: "altra",
    cray_ex_whose_node_contains_its_accelerators: "cray-ex",
    xeon_inside_an_acpi_meter: "xeon-acpi-meter",
    laptop_on_its_batteries: "laptop-battery",
    grace_hopper_with_a_module_around_it: "grace-hopper",
    eight_mi300x_one_of_which_counts_wrong: "mi300x",
    intel_max_with_tiles_inside_its_cards: "intel-max",
    grace_hopper_with_its_gpu_in_the_module: "gh200",
    dgx_with_eight_gpus_whose_driver_is_loaded_anew: "h100x8",
    dgx_with_eight_gpus_that_are_held: "h100x8-held",
    a_gpu_in_instances_and_one_that_is_whole: "h100-mig",
    virtual_machine_without_a_meter: "vm-estimate",
    kubernetes_on_v2_by_systemd: "k8s-v2-systemd",
    kubernetes_on_v1_by_cgroupfs: "k8s-v1-cgroupfs",
    kubernetes_on_both_hierarchies: "k8s-hybrid",
    slurm_on_v1_with_two_slurmd: "slurm-v1",
    slurm_on_v2_with_a_job_on_each_socket: "slurm-v2",
    jobs_inside_jobs: "nested",
    guests_of_a_host: "guests",
    processes_where_groups_say_nothing: "processes",
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/hosts")
}

fn host(name: &str) -> Host {
    let path = folder().join(format!("{name}.host"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Host::parse(&text).unwrap_or_else(|error| panic!("{name}.host: {error}"))
}

fn check(name: &str) {
    let host = host(name);
    let mut run = Run::start(Ground::new(&host));
    for (seconds, changes) in &host.ticks {
        run.ground.apply(changes);
        run.tick(at(*seconds));
    }
    compare(name, &tidy(&run.text));
}

/// Families of the run left out, samples in order: that of directories depends on the file system.
fn tidy(text: &str) -> String {
    let mut families = families(text);
    families.retain(|family| !OF_THE_RUN.iter().any(|start| family.0.starts_with(start)));
    let mut tidy = String::new();
    for (_, mut lines) in families {
        let head = lines.iter().take_while(|line| line.starts_with('#')).count();
        lines[head..].sort_unstable();
        tidy.extend(lines.iter().map(|line| format!("{line}\n")));
    }
    tidy.replace(ARCHITECTURE, "ARCH")
}

/// Name and lines of each family.
fn families(text: &str) -> Vec<(&str, Vec<&str>)> {
    let mut families: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in text.lines() {
        match line.strip_prefix("# HELP ").or_else(|| line.strip_prefix("# EOF")) {
            Some(rest) => families.push((rest.split(' ').next().unwrap_or_default(), vec![line])),
            None => families.last_mut().expect("a family begins with its help").1.push(line),
        }
    }
    families
}

fn compare(name: &str, page: &str) {
    let path = folder().join(format!("{name}.metrics"));
    if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
        fs::write(&path, page).expect("the golden can be written");
        return;
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    let (expected, found) = (lines(&golden), lines(page));
    let differences: Vec<String> = expected
        .difference(&found)
        .map(|line| format!("- {line}"))
        .chain(found.difference(&expected).map(|line| format!("+ {line}")))
        .collect();
    assert!(
        page == golden,
        "{name}.metrics differs (UPDATE=1 cargo test rewrites it):\n{}",
        differences.join("\n")
    );
}

/// A recording of the ticks, replayed, gives the page of the sampler byte for byte, as far as it is
/// about energy, emissions and jobs.
fn check_replay(name: &str) {
    let host = host(name);
    let ground = Ground::new(&host);
    let (mut sampler, mut recorder) = (Sampler::new(ground.parts()), Sampler::new(ground.parts()));
    let mut lines = vec![serde_json::to_string(&recorder.header()).expect("a header")];
    let mut pages = Vec::new();
    let first = (0, Vec::new());
    for (seconds, changes) in std::iter::once(&first).chain(&host.ticks) {
        ground.apply(changes);
        pages.push(ground.page(&sampler.tick(at(*seconds))));
        lines.push(
            serde_json::to_string(&recorder.read(at(*seconds)).expect("the processors can be read"))
                .expect("a tick"),
        );
    }
    let recording = lines.join("\n");
    let mut recording = Recording::open(recording.as_bytes()).expect("a recording");
    let mut replay = Replay::new(&recording.header);
    let mut replayed = 0;
    for (page, tick) in pages.iter().zip(&mut recording) {
        let mut text = Vec::new();
        render(&replay.step(&tick.expect("a tick")), Format::OpenMetrics, "", &mut text);
        let text = String::from_utf8(text).expect("UTF-8");
        assert_eq!(accounting(&text), accounting(page), "{name}, tick {replayed}");
        replayed += 1;
    }
    assert_eq!(replayed, pages.len());
    let by_command = replay_by_command(&lines);
    let last = pages.last().expect("a page");
    assert_eq!(accounting(&by_command), accounting(last), "{name}, by the command");
}

/// What `jouleprint replay` prints.
fn replay_by_command(lines: &[String]) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("ticks.jsonl");
    fs::write(&path, lines.join("\n")).expect("written");
    let program = env!("CARGO_BIN_EXE_jouleprint");
    let output = std::process::Command::new(program).arg("replay").arg(&path).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn accounting(text: &str) -> Vec<(&str, Vec<&str>)> {
    let mut families = families(text);
    families.retain(|family| !OF_THE_SAMPLER.iter().any(|start| family.0.starts_with(start)));
    assert!(families.iter().any(|family| family.0 == "jouleprint_job_energy_joules"));
    families
}

/// The page of a host whose pods get their namespaces tick by tick, as a recording has it.
#[test]
fn pods_in_their_namespaces() {
    let host = host("k8s-v2-systemd");
    let ground = Ground::new(&host);
    let mut recorder = Sampler::new(ground.parts());
    let mut header = recorder.header();
    header.accounting.group_kinds = ["namespace", "user"].map(Name::from).into();
    header.accounting.group_hold = Nanos::from_seconds(5);
    let mut lines = vec![serde_json::to_string(&header).expect("a header")];
    let first = (0, Vec::new());
    let mut seen = 0;
    for (seconds, changes) in std::iter::once(&first).chain(&host.ticks) {
        ground.apply(changes);
        let mut tick = recorder.read(at(*seconds)).expect("the processors can be read");
        let jobs = tick.groups.births.iter().filter_map(|birth| match &birth.role {
            GroupRole::Job(id) if id.kind() == JobKind::Pod => Some(id.clone()),
            _ => None,
        });
        for id in jobs {
            seen += 1;
            let namespace = ["shop", "kube-system", "a \"quoted\" one"][seen % 3];
            let groups = vec![("namespace".into(), namespace.into())];
            // One of them is not known at all.
            let is_final = seen % 3 == 0;
            if seen % 4 > 0 {
                tick.namings.push(Naming { id, description: Arc::default(), groups, is_final });
            }
        }
        lines.push(serde_json::to_string(&tick).expect("a tick"));
    }
    assert!(seen > 2, "{seen} pods");
    let page = replay_by_command(&lines);
    check_identity(&Page::parse(&page).expect("a page")).expect("the sums are right");
    let groups = families(&page).into_iter().filter(|family| family.0.starts_with("jouleprint_group"));
    let text: String = groups.flat_map(|family| family.1).map(|line| format!("{line}\n")).collect();
    compare("k8s-namespaces", &text);
}

#[test]
fn a_recording_of_a_kubernetes_node_replays_to_the_same_page() {
    check_replay("k8s-v2-systemd");
}

#[test]
fn a_recording_of_the_xeon_replays_to_the_same_page() {
    check_replay("xeon-2s-psys");
}
