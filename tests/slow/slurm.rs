//! A real Slurm on loopback: its own munged, slurmctld and slurmd, jobs at once on one node.

use crate::attribution::{BUSY_WATTS, CONFIG, Measured, error, percent, powercap};
use crate::holders::{CARDS, lay_out_cards, micro};
use crate::page::Page;
use crate::powercap::Powercap;
use crate::rig::{CGROUPFS, Daemon, Exporter, Leftovers, Setup, TOP, free_address, run, unique, wait_for};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// srun and the batch script's shell work too, and are a part of the job: so many seconds of it.
const SCRIPT_SECONDS: f64 = 0.25;

/// What jobs are charged to; Slurm takes any without a database.
const ACCOUNT: &str = "physics";

/// The daemons stand above what they leave behind: fields are dropped in their order.
struct Slurm {
    _daemons: Vec<Daemon>,
    _left: Leftovers,
    folder: TempDir,
}

impl Slurm {
    fn start() -> Slurm {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let place = folder.path().display().to_string();
        let node = format!("{TOP}{}", unique());
        for name in ["state", "spool"] {
            fs::create_dir(folder.path().join(name)).expect("made");
        }
        let key = folder.path().join("key");
        fs::write(&key, unique().to_string().repeat(10)).expect("written");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("its owner's alone");
        let [controller, daemon] = [free_address().port(), free_address().port()];
        let conf = format!(
            "ClusterName=probe\nSlurmctldHost=localhost(127.0.0.1)\nAuthType=auth/munge\n\
             AuthInfo=socket={place}/munge\nSlurmUser=root\nSlurmdUser=root\nStateSaveLocation={place}/state\n\
             SlurmdSpoolDir={place}/spool\nSlurmctldPidFile={place}/ctld.pid\nSlurmdPidFile={place}/d.pid\n\
             SlurmctldPort={controller}\nSlurmdPort={daemon}\nProctrackType=proctrack/cgroup\n\
             TaskPlugin=task/cgroup\nJobAcctGatherType=jobacct_gather/cgroup\nSelectType=select/cons_tres\n\
             SelectTypeParameters=CR_CPU\nSlurmdParameters=config_overrides\nReturnToService=2\nMpiDefault=none\n\
             SwitchType=switch/none\nAccountingStorageType=accounting_storage/none\nKillWait=1\n\
             GresTypes=gpu\nNodeName={node} Gres=gpu:2 NodeHostname=localhost NodeAddr=127.0.0.1 CPUs=8 RealMemory=500 State=UNKNOWN\n\
             PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP\n"
        );
        fs::write(folder.path().join("slurm.conf"), conf).expect("written");
        // Slurm counts devices by their files, which must be some, and opens none.
        for name in ["gpu0", "gpu1"] {
            run(Command::new("mknod").arg(folder.path().join(name)).args(["c", "1", "3"]));
        }
        let devices = format!("Name=gpu File={place}/gpu0\nName=gpu File={place}/gpu1\n");
        fs::write(folder.path().join("gres.conf"), devices).expect("written");
        // Where the machine has v2 alone, its jobs are there; the other version is what Slurm has here.
        let is_v2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
        let cgroup = if is_v2 {
            "CgroupPlugin=cgroup/v2\nIgnoreSystemd=yes\nConstrainCores=no\nConstrainRAMSpace=no\n".to_owned()
        } else {
            let mount = CGROUPFS.as_str();
            format!(
                "CgroupPlugin=cgroup/v1\nCgroupMountpoint={mount}\nConstrainCores=no\nConstrainRAMSpace=no\n"
            )
        };
        fs::write(folder.path().join("cgroup.conf"), cgroup).expect("written");
        let left = Leftovers(match is_v2 {
            true => format!("system.slice/{node}_slurmstepd.scope"),
            false => format!("slurm_{node}"),
        });
        let start = |program: &str, arguments: &[&str]| {
            let log = fs::File::create(folder.path().join(format!("{program}.log"))).expect("made");
            let error = log.try_clone().expect("a second handle");
            let mut command = command(program, folder.path());
            command.args(arguments).stdin(Stdio::null()).stdout(log).stderr(error);
            Daemon(command.spawn().unwrap_or_else(|error| panic!("{program}: {error}")))
        };
        let at = |name: &str| format!("{place}/{name}");
        let munged = start(
            "munged",
            &[
                "--foreground",
                "--force",
                &format!("--key-file={}", at("key")),
                &format!("--socket={}", at("munge")),
                &format!("--pid-file={}", at("munge.pid")),
                &format!("--log-file={}", at("munge.log")),
                &format!("--seed-file={}", at("munge.seed")),
            ],
        );
        wait_for("munged", || folder.path().join("munge").exists().then_some(()));
        let conf = at("slurm.conf");
        let controller = start("slurmctld", &["-f", &conf, "-D"]);
        let daemon = start("slurmd", &["-f", &conf, "-N", &node, "-D"]);
        let slurm = Slurm { _daemons: vec![daemon, controller, munged], _left: left, folder };
        wait_for("an idle node", || {
            let state = slurm.command("sinfo").args(["-h", "-o", "%T"]).output().ok()?;
            (state.stdout.trim_ascii() == b"idle").then_some(())
        });
        slurm
    }

    fn command(&self, program: &str) -> Command {
        command(program, self.folder.path())
    }

    /// Submits a script whose last word is what a load says. Each job leaves a file by its own number.
    fn submit(&self, arguments: &[&str], load: &str) {
        let script = self.folder.path().join(format!("job-{}.sh", unique()));
        let place = self.folder.path().display();
        let program = env!("CARGO_BIN_EXE_jouleprint-load");
        let text = format!(
            "#!/bin/sh\nused=$({})\necho $used > {place}/used.$SLURM_JOB_ID.tmp\n\
             mv {place}/used.$SLURM_JOB_ID.tmp {place}/used.$SLURM_JOB_ID\n",
            load.replace("LOAD", program)
        );
        fs::write(&script, text).expect("written");
        let sbatch = ["-o", "/dev/null", "-n1", "-c1", "-A", ACCOUNT];
        run(self.command("sbatch").args(sbatch).args(arguments).arg(&script));
    }

    /// The CPU seconds of the jobs that have ended, by number.
    fn used(&self) -> Vec<(String, f64)> {
        let entries = fs::read_dir(self.folder.path()).expect("there").flatten();
        let numbers = entries.filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let number = name.strip_prefix("used.").filter(|number| !number.contains('.'))?.to_owned();
            let nanoseconds = fs::read_to_string(entry.path()).ok()?.trim().parse::<u64>().ok()?;
            Some((number, nanoseconds as f64 / 1e9))
        });
        numbers.collect()
    }
}

impl Drop for Slurm {
    fn drop(&mut self) {
        // Steps are no children of slurmd and would outlive it.
        let _ = self.command("scancel").args(["--signal=KILL", "--user=root"]).output();
        let _ = self.command("scancel").arg("--user=root").output();
        let began = std::time::Instant::now();
        while began.elapsed().as_secs() < 8 {
            let left = self.command("squeue").arg("-h").output();
            if left.is_ok_and(|left| left.stdout.trim_ascii().is_empty()) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        if std::thread::panicking() {
            for name in ["munged", "slurmctld", "slurmd"] {
                let log = fs::read_to_string(self.folder.path().join(format!("{name}.log")));
                eprintln!("{name}:\n{}", log.unwrap_or_default());
            }
        }
    }
}

fn command(program: &str, folder: &Path) -> Command {
    let mut command = Command::new(program);
    // Where daemons live is not in everybody's path.
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin")).env("SLURM_CONF", folder.join("slurm.conf"));
    command.current_dir(folder);
    command
}

/// Who tells of the jobs.
enum Teller {
    Scontrol,
    Environment,
}

/// The label of a job's info.
fn label(page: &Page, id: &str, name: &str) -> String {
    let infos = page.all("jouleprint_job_info", &[("job_id", id)]);
    infos.first().and_then(|info| info.labels.get(name)).cloned().unwrap_or_default()
}

/// The names of an array's two tasks and of a job whose name a user has played with.
fn check_names(page: &Page, numbers: &[&str]) {
    let of = |number: &str, name: &str| label(page, &format!("probe.{number}"), name);
    let mut names: Vec<[String; 3]> = numbers
        .iter()
        .map(|number| {
            for (name, value) in [
                ("slurm_account", ACCOUNT),
                ("slurm_partition", "debug"),
                ("user_name", "root"),
                ("slurm_cluster_name", "probe"),
            ] {
                assert_eq!(of(number, name), value, "{name} of {number}");
            }
            ["slurm_job_name", "slurm_array_task_id", "slurm_array_job_id"].map(|name| of(number, name))
        })
        .collect();
    names.sort();
    let array = names[1][2].clone();
    assert!(numbers.contains(&array.as_str()), "the array is called by its first task: {names:?}");
    let expected = [["a job Account=evil", "", ""], ["sweep", "1", &array], ["sweep", "2", &array]];
    assert_eq!(names, expected);
}

fn exporter_of(powercap: &Powercap, slurm: &Slurm, teller: &Teller) -> Exporter {
    let program = slurm.folder.path().join("scontrol");
    // The program finds its configuration by a variable, which the exporter's own daemons would have.
    let script =
        format!("#!/bin/sh\nSLURM_CONF={}/slurm.conf exec scontrol \"$@\"\n", slurm.folder.path().display());
    fs::write(&program, script).expect("written");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("a program");
    let tellers = match teller {
        Teller::Scontrol => format!("scontrol: {}, environment: off", program.display()),
        Teller::Environment => "scontrol: off".to_owned(),
    };
    let config = format!("{CONFIG}jobs: {{slurm: {{cluster: probe, {tellers}}}}}\n");
    Exporter::start(&Setup { sysfs: Some(powercap.sysfs()), config: &config, ..Setup::default() })
}

#[test]
fn jobs_of_a_real_slurm_are_charged_by_what_they_used() {
    let slurm = Slurm::start();
    let powercap = powercap();
    let exporter = exporter_of(&powercap, &slurm, &Teller::Environment);
    let other = exporter_of(&powercap, &slurm, &Teller::Scontrol);
    let before = exporter.next_page();
    // Two tasks of an array and a job with a step, all at once on one node. They end in ticks of their own: v1 says
    // nothing before a group is gone, and of two that go together nobody can tell whose the rest is.
    slurm.submit(&["--array=1-2", "-J", "sweep"], "LOAD steady 15 $((3500 + 1500 * SLURM_ARRAY_TASK_ID))");
    slurm.submit(&["-J", "a job Account=evil"], "srun LOAD steady 45 3500");
    let truths = wait_for("three jobs that ended", || {
        let used = slurm.used();
        (used.len() == 3).then_some(used)
    });
    let measured = Measured { before, after: exporter.next_page() };
    let mut line = "slurm:".to_owned();
    let mut wrong = Vec::new();
    for (number, truth) in &truths {
        let id = format!("probe.{number}");
        let (cpu, joules) = (measured.cpu_seconds(&id), measured.job(&id));
        line.push_str(&format!(" job {number} ({truth:.2} s) {:+.2} s", cpu - truth));
        line.push_str(&format!(" energy by cpu {}", percent(error(joules, cpu * BUSY_WATTS))));
        let is_right = cpu >= truth * 0.97 && cpu <= truth * 1.03 + SCRIPT_SECONDS;
        if !is_right || error(joules, cpu * BUSY_WATTS).abs() > 0.05 {
            wrong.push(id);
        }
    }
    println!("{line}");
    assert!(wrong.is_empty(), "{wrong:?}: {line}");
    let slurms = measured.after.all("jouleprint_job_info", &[("job_kind", "slurm")]);
    assert_eq!(slurms.len(), 3, "steps and tasks are parts: {slurms:?}");
    assert!(measured.residual("overflow") == 0.0);
    let numbers: Vec<&str> = truths.iter().map(|(number, _)| number.as_str()).collect();
    check_names(&measured.after, &numbers);
    check_names(&other.next_page(), &numbers);
}

#[test]
fn what_a_real_slurm_gave_to_a_job_is_charged_to_it() {
    let slurm = Slurm::start();
    let powercap = powercap();
    lay_out_cards(powercap.sysfs());
    let exporter = exporter_of(&powercap, &slurm, &Teller::Environment);
    // Each is told that it has device 0 or 1, and finds it by its number.
    for _ in 0..2 {
        slurm.submit(&["--gres=gpu:1"], "LOAD steady 15 12000");
    }
    let charged = |page: &Page| -> Vec<(String, String)> {
        let series =
            page.all("jouleprint_job_energy_joules_total", &[("job_kind", "slurm"), ("hw_type", "gpu")]);
        let of = |name: &str, sample: &crate::page::Sample| sample.labels[name].clone();
        let drawn = series.iter().filter(|sample| sample.text != "0.000000");
        drawn.map(|sample| (of("job_id", sample), of("gpu", sample))).collect()
    };
    let pairs = wait_for("two jobs with a device each", || {
        let pairs = charged(&exporter.page());
        (pairs.len() == 2).then_some(pairs)
    });
    let before = exporter.next_page();
    std::thread::sleep(std::time::Duration::from_secs(2));
    let after = exporter.next_page();
    for (job, gpu) in &pairs {
        let rise =
            |name: &str, labels: &[(&str, &str)]| micro(&after, name, labels) - micro(&before, name, labels);
        let drawn = rise("hw_energy_joules_total", &[("gpu", gpu)]);
        let own = rise("jouleprint_job_energy_joules_total", &[("job_id", job), ("gpu", gpu)]);
        assert!(drawn > 0.0 && (own - drawn).abs() < 1.5, "{job} {gpu}: {own} of {drawn}");
    }
    let mut gpus: Vec<&str> = pairs.iter().map(|(_, gpu)| gpu.as_str()).collect();
    gpus.sort_unstable();
    assert_eq!(gpus, CARDS, "each has one of its own");
}
