//! `jouleprint run` on real programs, beside a running exporter, and on a terminal.

use crate::attribution::{CONFIG, powercap};
use crate::rig::{CGROUPFS, Exporter, Groups, Setup, amount, unique, wait_for};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// How far a run's figure may be from the exporter's for the same command.
const AGREEMENT: f64 = 0.02;

/// What it may add to a command.
const MOST_MILLISECONDS: f64 = 20.0;
/// All in all, and what is its own: the rest are pages of the program, which all its processes share.
const MOST_KIBIBYTES: u64 = 15 * 1_024;
const MOST_OWN_KIBIBYTES: u64 = 2 * 1_024;

/// Nobody's.
const NOBODY: &str = "65534";

/// A folder that everybody may use, as /tmp is.
fn open_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).expect("ours");
    folder
}

/// The program, as root or as a user without rights, with everything it keeps in `home`.
fn program(home: &Path, is_nobody: bool) -> Command {
    let mut command = match is_nobody {
        true => {
            let mut command = Command::new("setpriv");
            command.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"]);
            command.arg(env!("CARGO_BIN_EXE_jouleprint"));
            command
        }
        false => Command::new(env!("CARGO_BIN_EXE_jouleprint")),
    };
    command.env("JOULEPRINT_RUNS_PATH", home.join("runs")).env("HOME", home);
    command
        .env("JOULEPRINT_JOB_SOCKET", home.join("nobody.sock"))
        .env("JOULEPRINT_PATH_CGROUPFS", CGROUPFS.as_str());
    for name in ["JOULEPRINT_PROJECT", "JOULEPRINT_EXPERIMENT", "JOULEPRINT_ZONE", "JOULEPRINT_CONFIG_FILE"] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).current_dir(home);
    command
}

fn result(output: &Output, file: &Path) -> Value {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", output.status);
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{error}: {said}"));
    serde_json::from_str(&text).expect("JSON")
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn processors(run: &Value) -> f64 {
    let parts = run["energy"].as_array().expect("parts").iter();
    parts.filter(|part| part["hw_type"] == "cpu").map(|part| number(&part["joules"])).sum()
}

#[test]
fn a_run_agrees_with_the_exporter_in_a_group_of_its_own_and_by_its_process_tree() {
    let powercap = powercap();
    fs::set_permissions(powercap.sysfs(), fs::Permissions::from_mode(0o755)).expect("ours");
    let groups = Groups::cpuacct();
    let rules = "jobs: {rules: [{name: around, pattern: '/(?P<id>around-[^/]+)$'}]}\n";
    let config = format!("{CONFIG}{rules}");
    let setup = Setup { sysfs: Some(powercap.sysfs()), config: &config, ..Setup::default() };
    let exporter = Exporter::start(&setup);
    for (is_nobody, style) in [(false, "steady"), (false, "processes"), (true, "steady"), (true, "processes")]
    {
        let home = open_folder();
        let file = home.path().join("run.json");
        let settings = home.path().join("config.yaml");
        fs::write(&settings, CONFIG).expect("written");
        let around = format!("around-{}", unique());
        let group = groups.make(&around);
        let entering = "echo 0 > \"$0/cgroup.procs\" && exec \"$@\"";
        let run = program(home.path(), is_nobody);
        let mut command = Command::new("sh");
        command
            .envs(run.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .current_dir(home.path());
        command.args(["-c", entering]).arg(&group).arg(run.get_program()).args(run.get_args());
        command.arg("--config.file").arg(&settings).arg("--path.sysfs").arg(powercap.sysfs());
        command.args(["run", "-q", "--json"]).arg(&file).arg("--");
        command.args([env!("CARGO_BIN_EXE_jouleprint-load"), style, "60", "6000"]);
        let output = command.output().expect("it runs");
        let run = result(&output, &file);
        let method = if is_nobody { "process_tree" } else { "cgroup" };
        assert_eq!(run["method"], method);
        let id = match is_nobody {
            true => format!("around/{around}"),
            false => run["id"].as_str().expect("an id").to_owned(),
        };
        let page = exporter.next_page();
        let joules =
            amount(&page, "jouleprint_job_energy_joules_total", &[("job_id", &id), ("hw_type", "cpu")]);
        let seconds = amount(&page, "jouleprint_job_cpu_seconds_total", &[("job_id", &id)]);
        let (energy, cpu) = (processors(&run) / joules - 1.0, number(&run["cpu_seconds"]) / seconds - 1.0);
        println!(
            "run, {method}, {style}: {joules:.3} J {:+.2} %, {seconds:.3} s {:+.2} %",
            energy * 1e2,
            cpu * 1e2
        );
        assert!(energy.abs() < AGREEMENT && cpu.abs() < AGREEMENT, "{run:#}");
        Groups::remove(&group);
    }
}

#[test]
fn an_exporter_takes_the_labels_to_its_own_record_and_lends_its_meters() {
    let powercap = powercap();
    let groups = Groups::cpuacct();
    let home = open_folder();
    let socket = home.path().join("job.sock");
    let path = socket.display().to_string();
    let rules = "jobs: {rules: [{name: around, pattern: '/(?P<id>around-[^/]+)$'}]}\n";
    let config = format!("{CONFIG}{rules}");
    let arguments = ["--job.socket", &path];
    let setup =
        Setup { sysfs: Some(powercap.sysfs()), config: &config, arguments: &arguments, ..Setup::default() };
    let exporter = Exporter::start(&setup);
    wait_for("its socket", || socket.exists().then_some(()));
    let file = home.path().join("run.json");
    let output = program(home.path(), false)
        .env("JOULEPRINT_JOB_SOCKET", &socket)
        .args(["run", "-q", "--project", "a \"b\"", "--label", "k=v", "--json"])
        .arg(&file)
        .args(["--", env!("CARGO_BIN_EXE_jouleprint-load"), "steady", "50", "2500"])
        .output()
        .expect("it runs");
    let run = result(&output, &file);
    assert_eq!(run["intensity"]["zone"], "FR", "the exporter's");
    let page = exporter.next_page();
    let info = page
        .all("jouleprint_job_info", &[("job_kind", "run"), ("job_id", run["id"].as_str().expect("an id"))]);
    let label = |name: &str| info.first().and_then(|sample| sample.labels.get(name)).cloned();
    assert_eq!(label("project").as_deref(), Some("a \"b\""), "{info:?}");

    // Somebody who sees no meter, and whose control groups are closed to them.
    let nothing = home.path().join("sys");
    fs::create_dir(&nothing).expect("made");
    let around = format!("around-{}", unique());
    let group = groups.make(&around);
    let run = program(home.path(), true);
    let mut command = Command::new("sh");
    command.envs(run.get_envs().filter_map(|(name, value)| Some((name, value?)))).current_dir(home.path());
    command.args(["-c", "echo 0 > \"$0/cgroup.procs\" && exec \"$@\""]).arg(&group);
    command.arg(run.get_program()).args(run.get_args()).env("JOULEPRINT_JOB_SOCKET", &socket);
    let file = home.path().join("nobody.json");
    command.args(["run", "-q", "--path.sysfs"]).arg(&nothing).arg("--json").arg(&file).arg("--");
    command.args([env!("CARGO_BIN_EXE_jouleprint-load"), "steady", "60", "6000"]);
    let run = result(&command.output().expect("it runs"), &file);
    assert!(run["origin"] == "measured" && run["method"] == "process_tree", "{run:#}");
    let page = exporter.next_page();
    let id = format!("around/{around}");
    let joules = amount(&page, "jouleprint_job_energy_joules_total", &[("job_id", &id), ("hw_type", "cpu")]);
    let off = processors(&run) / joules - 1.0;
    println!("run, the exporter's meters: {joules:.3} J {:+.2} %", off * 1e2);
    assert!(off.abs() < AGREEMENT, "{run:#}");
    Groups::remove(&group);
}

/// What a command says it used itself, with its children: written to a file by the Python around it.
const WITNESS: &str = "import json, resource, subprocess, sys\n\
    code = subprocess.run(sys.argv[2:], stdout=subprocess.DEVNULL).returncode\n\
    used = sum(u.ru_utime + u.ru_stime for u in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))\n\
    open(sys.argv[1], 'w').write(json.dumps(used)); sys.exit(code)\n";

#[test]
fn real_programs_are_counted_with_all_their_children() {
    let numpy = Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/numpy/bin/python");
    let numpy = numpy.display().to_string();
    let source = "int main(void){int s=0;for(int i=0;i<9;i++)s+=i;return s==36?0:1;}\n".to_owned()
        + &(0..3_000)
            .map(|at| format!("int f{at}(int x){{return x*{at}+x/(1+{at});}}\n"))
            .collect::<String>();
    let children = "i=0; while [ $i -lt 1000 ]; do /bin/true; i=$((i+1)); done";
    let matrix =
        "import numpy as np; a = np.random.rand(700, 700)\nfor _ in range(12): a = a @ a; a /= a.max()";
    let commands: [(&str, Vec<&str>); 4] = [
        ("compile", vec!["cc", "-O2", "-c", "a.c"]),
        ("numpy", vec![&numpy, "-c", matrix]),
        ("stress-ng", vec!["stress-ng", "--quiet", "--cpu", "2", "--timeout", "2s"]),
        ("1,000 children", vec!["sh", "-c", children]),
    ];
    for is_nobody in [false, true] {
        // Its Python may stand in a home that is closed to others.
        for (name, command) in commands.iter().filter(|(name, _)| !is_nobody || *name != "numpy") {
            let home = open_folder();
            fs::write(home.path().join("a.c"), &source).expect("written");
            let (file, used) = (home.path().join("run.json"), home.path().join("used"));
            let output = program(home.path(), is_nobody)
                .args(["run", "--json"])
                .arg(&file)
                .args(["--", "python3", "-c", WITNESS])
                .arg(&used)
                .args(command)
                .output()
                .expect("it runs");
            let run = result(&output, &file);
            let truth: f64 = fs::read_to_string(&used).expect("written").parse().expect("a number");
            let cpu = number(&run["cpu_seconds"]);
            println!(
                "run, {name}, {}: {cpu:.3} s, by itself {truth:.3} s, {:.3} J of {:.3} J",
                run["method"],
                number(&run["energy_joules"]),
                number(&run["machine"]["energy_joules"])
            );
            // Starting it, and its last breath, are behind what it can tell of itself.
            assert!((cpu - truth).abs() < truth * 0.02 + 0.03, "{name}: {cpu} for {truth}");
            assert!(number(&run["energy_joules"]) > 0.0);
        }
    }
}

#[test]
fn it_adds_little_time_and_memory() {
    let home = open_folder();
    // Wall time and CPU time of pairs, one with us and one without, right after each other.
    let script = "\
import resource, subprocess, sys, time
def used():
    u = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter(), u.ru_utime + u.ru_stime
def took(words):
    a = used(); subprocess.run(words, check=True); b = used()
    return [(y - x) * 1000 for x, y in zip(a, b)]
plain, run = ['true'], [sys.argv[1], 'run', '-q', 'true']
took(run)
pairs = [(took(run), took(plain)) for _ in range(60)]
wall, cpu = (sorted(with_us[at] - without[at] for with_us, without in pairs) for at in (0, 1))
print(min(one[0] for one, _ in pairs) - min(other[0] for _, other in pairs), wall[30], cpu[30])
";
    for is_nobody in [false, true] {
        let run = program(home.path(), is_nobody);
        let mut command = Command::new("python3");
        if is_nobody {
            command = Command::new("setpriv");
            command.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "python3"]);
        }
        let runs = home.path().join(format!("runs-{is_nobody}"));
        command.envs(run.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let output = command
            .env("JOULEPRINT_RUNS_PATH", runs)
            // What is first on root's may be closed to others.
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .args(["-c", script, env!("CARGO_BIN_EXE_jouleprint")])
            .output()
            .expect("python3");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let times: Vec<f64> = said.split_whitespace().map(|word| word.parse().expect("a number")).collect();
        println!(
            "run: adds {:.1} ms ({:.1} ms at best), {:.1} ms of CPU time, nobody {is_nobody}",
            times[1], times[0], times[2]
        );
        // At best nobody else wanted the processors; the others tell of what else the machine does.
        assert!(times[0] < MOST_MILLISECONDS && times[2] < MOST_MILLISECONDS, "{times:?}");
    }
    let output = program(home.path(), false)
        .args(["run", "-q", "sh", "-c", "sleep 1.2; grep -E 'VmHWM|RssAnon' /proc/$PPID/status"])
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let amounts: Vec<u64> = said.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [all, own] = amounts[..] else { panic!("two numbers: {said}") };
    println!("run: {all} KiB, {own} KiB of its own");
    assert!(all <= MOST_KIBIBYTES && own <= MOST_OWN_KIBIBYTES, "{all} KiB, {own} KiB of its own");
}

/// Plays a person at a terminal: pairs of what to wait for and what to type, then the end. Prints what was seen
/// and how it ended.
const TERMINAL: &str = r"
import json, os, pty, select, signal, sys, time
steps, command = json.loads(sys.argv[1]), sys.argv[2:]
pid, fd = pty.fork()
if pid == 0:
    os.environ['TERM'] = 'xterm'
    os.execvp(command[0], command)
seen, at, end = b'', 0, time.time() + 20
for wait, keys in steps + [[None, None]]:
    while True:
        if wait is not None and wait.encode() in seen[at:]:
            at += seen[at:].index(wait.encode()) + len(wait)
            break
        assert time.time() < end, (wait, seen)
        if select.select([fd], [], [], 0.2)[0]:
            try:
                data = os.read(fd, 65536)
            except OSError:
                data = b''
            if not data:
                break
            seen += data
    if keys is not None:
        os.write(fd, keys.encode())
status = os.waitpid(pid, 0)[1]
sys.stdout.write(json.dumps({'seen': seen.decode('utf-8', 'replace'), 'status': os.waitstatus_to_exitcode(status)}))
";

fn at_terminal(home: &Path, steps: &[(&str, &str)], command: &[&str]) -> (String, i64) {
    let steps: Vec<[&str; 2]> = steps.iter().map(|(wait, keys)| [*wait, *keys]).collect();
    let run = program(home, false);
    let output = Command::new("python3")
        .envs(run.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .current_dir(home)
        .args(["-c", TERMINAL, &serde_json::to_string(&steps).expect("JSON")])
        .args(command)
        .output()
        .expect("python3");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    (said["seen"].as_str().expect("text").to_owned(), said["status"].as_i64().expect("a number"))
}

#[test]
fn the_terminal_is_the_commands() {
    let home = open_folder();
    let run = env!("CARGO_BIN_EXE_jouleprint");
    // Ctrl-C reaches the command once, and what it makes of it is what counts.
    let script = "trap 'echo got; exit 7' INT; echo ready; while :; do sleep 0.1; done";
    let (seen, status) = at_terminal(home.path(), &[("ready", "\x03")], &[run, "run", "sh", "-c", script]);
    assert!(
        status == 7 && seen.matches("got").count() == 1 && seen.contains("exit code 7"),
        "{status}: {seen}"
    );
    let (seen, status) = at_terminal(
        home.path(),
        &[("ready", "\x03")],
        &[run, "run", "-q", "sh", "-c", "echo ready; exec sleep 30"],
    );
    assert_eq!(status, -2, "{seen}");
    // Ctrl-Z stops both, fg brings both back, under a shell as it is used.
    // The command starts no other meanwhile: one that is stopped between vfork and exec holds up its parent, and
    // every shell with it.
    let work = "i=0; while [ $i -lt 500000 ]; do i=$((i+1)); done";
    let line = format!("{run} run -q -- sh -c 'echo rea\"\"dy; {work}; echo do\"\"ne; exit 5'\n");
    let steps = [
        ("PROMPT", line.as_str()),
        ("ready", "\x1a"),
        ("Stopped", "echo still he\"\"re\n"),
        ("still here", "fg\n"),
        ("done", "echo code=$?\n"),
        ("code=5", "exit\n"),
    ];
    let shell = ["env", "PS1=PROMPT", "bash", "--norc", "--noprofile", "--noediting", "-i"];
    let (seen, _) = at_terminal(home.path(), &steps, &shell);
    assert!(seen.contains("code=5"), "{seen}");
    // A full-screen program has the screen to itself.
    let text: String = (0..2_000).map(|line| format!("line {line}\n")).collect();
    fs::write(home.path().join("text"), text).expect("written");
    let steps = [("line 5", "G"), ("line 1999", "q")];
    let (with, status) = at_terminal(home.path(), &steps, &[run, "run", "-q", "less", "text"]);
    assert_eq!(status, 0, "{with}");
    let (without, _) = at_terminal(home.path(), &steps, &["less", "text"]);
    assert_eq!(with, without);
    // The live line is beside what goes elsewhere, and gone in the end.
    let script = format!("{run} run -- sh -c 'sleep 2.3' > out");
    let (seen, _) = at_terminal(home.path(), &[], &["sh", "-c", &script]);
    assert!(seen.contains(" W\u{1b}[K\r") && seen.contains("\r\u{1b}[Kjouleprint: 2."), "{seen:?}");
}

#[test]
fn the_question_and_the_command_stay_where_they_are_while_we_are_stopped() {
    let home = open_folder();
    let run = env!("CARGO_BIN_EXE_jouleprint");
    let script = "
import time
for step in range(60):
    end = time.process_time() + 0.3
    while time.process_time() < end: pass
    print('step %d/60' % (step + 1), flush=True)
";
    fs::write(home.path().join("train.py"), script).expect("written");
    let pattern = "--progress-pattern 'step ([0-9]+)/([0-9]+)' --confirm-after 5%";
    let line = format!("{run} run {pattern} -- python3 train.py\n");
    let steps = [
        ("PROMPT", line.as_str()),
        ("Go on?", "\x1a"),
        ("Stopped", "echo still he\"\"re\n"),
        ("still here", "fg\n"),
        ("held still", "n\n"),
        ("machine  ", "echo code=$?\n"),
        ("code=124", "exit\n"),
    ];
    let shell = ["env", "PS1=PROMPT", "bash", "--norc", "--noprofile", "--noediting", "-i"];
    let (seen, _) = at_terminal(home.path(), &steps, &shell);
    let after = seen.split("still here").nth(1).expect("it was stopped");
    assert!(!after.contains("\nstep "), "it went on though it was held: {seen}");
    // Another signal is heard by the command, which goes on, and can still be ended.
    let ignores = format!("import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n{script}");
    fs::write(home.path().join("train.py"), ignores).expect("written");
    let words = ["--progress-pattern", "step ([0-9]+)/([0-9]+)", "--confirm-after", "5%", "--"];
    let command = [&[run, "run"], &words[..], &["python3", "train.py"]].concat();
    let steps = [("Go on?", "\x03"), ("step ", "n\n"), ("machine  ", "")];
    let (seen, status) = at_terminal(home.path(), &steps, &command);
    assert_eq!(status, 124, "{seen}");
}

#[test]
fn a_signal_for_us_is_one_for_the_command() {
    let home = open_folder();
    for (name, raw) in [("TERM", "15"), ("HUP", "1"), ("USR1", "10"), ("INT", "2")] {
        let script = format!("trap 'exit 9' {raw}; echo ready > ready; while :; do sleep 0.05; done");
        // Without a terminal there is no foreground. Who runs the tests in the background ignores SIGINT, and
        // what is ignored stays so in all who descend from him.
        let mut command = Command::new("env");
        command.args(["--default-signal=TERM,HUP,USR1,INT", "setsid"]);
        let run = program(home.path(), false);
        command
            .envs(run.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .current_dir(home.path());
        let _ = fs::remove_file(home.path().join("ready"));
        let mut child = command
            .args(["-w", env!("CARGO_BIN_EXE_jouleprint"), "run", "-q", "sh", "-c", &script])
            .spawn()
            .expect("started");
        wait_for("the command", || home.path().join("ready").exists().then_some(()));
        let ours = wait_for("our process", || {
            let children = format!("/proc/{0}/task/{0}/children", child.id());
            // setsid may have become us, or be around us.
            let children = fs::read_to_string(children).unwrap_or_default();
            let first = children.split_whitespace().next()?.to_owned();
            let name = fs::read_to_string(format!("/proc/{first}/comm")).unwrap_or_default();
            Some(if name.trim() == "jouleprint" { first } else { child.id().to_string() })
        });
        let sent = Command::new("kill").args([&format!("-{name}"), &ours]).status().expect("kill");
        assert!(sent.success());
        let status = child.wait().expect("ours");
        assert_eq!(status.code(), Some(9), "{name}");
    }
}

/// The fenced blocks of README's part on this, by language.
fn recipe(language: &str) -> String {
    let readme = include_str!("../../README.md");
    let part = readme.split("## Measure one command").nth(1).expect("the part");
    let part = part.split("\n## ").next().expect("the part");
    let block = part.split(&format!("```{language}\n")).nth(1).unwrap_or_else(|| panic!("no {language}"));
    block.split("```").next().expect("its end").to_owned()
}

#[test]
fn the_recipes_of_the_readme_do_what_they_say() {
    let home = open_folder();
    fs::write(home.path().join("train.py"), "print(sum(range(2_000_000)))\n").expect("written");
    let bin = Path::new(env!("CARGO_BIN_EXE_jouleprint")).parent().expect("a folder");
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    let run = |command: &mut Command| {
        let environment = program(home.path(), false);
        command.envs(environment.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let output = command.env("PATH", &path).current_dir(home.path()).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{command:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
        said
    };
    run(Command::new("sh").args(["-ec", &recipe("sh")]));
    let said = run(Command::new("python3").args(["-c", &recipe("python")]));
    assert!(said.trim_end().ends_with(" J"), "{said}");
    // What a notebook does with a cell: a line with ! is the shell's, the value of the last is shown.
    let cell = recipe("ipython");
    let (shell, python) = cell.split_once('\n').expect("two lines");
    run(Command::new("sh").args(["-ec", shell.strip_prefix('!').expect("the shell's")]));
    let (before, last) = python.trim_end().rsplit_once("; ").expect("an expression");
    let grams: f64 = run(Command::new("python3").args(["-c", &format!("{before}\nprint({last})")]))
        .trim()
        .parse()
        .expect("grams");
    assert!(grams > 0.0);
    run(Command::new("bash").args(["-ec", &recipe("bash")]));
    let step = recipe("yaml");
    let script = step.split_once("run: |\n").expect("a script").1;
    fs::write(home.path().join("Makefile"), recipe("make")).expect("written");
    run(Command::new("bash").args(["-ec", script]));
    run(Command::new("make").arg("build"));
    let rows = fs::read_to_string(home.path().join("energy.csv")).expect("rows");
    assert!(rows.lines().count() >= 4, "{rows}");
    let report = run(Command::new("jouleprint").args(["report", "--by", "project"]));
    assert!(report.contains("demo") && report.contains("/runs"), "{report}");
}
