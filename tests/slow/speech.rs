//! Jobs that say how far they are and what they are at, and what comes of it: over the exporter's socket, under
//! `jouleprint run`, from Python and from a shell.

use crate::load::{Load, inside};
use crate::powercap::{Powercap, Zone};
use crate::rig::{CGROUPFS, Exporter, Groups, Setup, amount, container_id, run, wait_for};
use crate::socket::ask;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A tick so long that nothing is new unless somebody asks for it.
const CONFIG: &str = "tick: 15s\nzone: FR\n";

/// Ticks as usual, for jobs that speak all the time.
const QUICK: &str = "tick: 1s\nzone: FR\n";

struct Host {
    exporter: Exporter,
    socket: PathBuf,
    powercap: Powercap,
    home: TempDir,
}

fn host(config: &str) -> Host {
    let powercap = Powercap::start(&[Zone::steady("intel-rapl:0", "package-0", 20_000).with_load(40_000)]);
    let home = tempfile::tempdir().expect("a folder");
    let setup = Setup { sysfs: Some(powercap.sysfs()), config, home: Some(home.path()), ..Setup::default() };
    let exporter = Exporter::start(&setup);
    Host { exporter, socket: home.path().join("run/job.sock"), powercap, home }
}

fn own(host: &Host, place: &[PathBuf]) -> Value {
    let (status, job) = ask(&host.socket, place, "GET", "/api/v1/job?fresh=1", "");
    assert_eq!(status, 200, "{job}");
    job
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn sum(list: &Value, key: &str) -> f64 {
    list.as_array().expect("a list").iter().map(|one| number(&one[key])).sum()
}

fn mark(host: &Host, place: &[PathBuf], phase: &str, side: &str) {
    let body = format!("{{\"phase\": \"{phase}\", \"mark\": \"{side}\"}}");
    let (status, answer) = ask(&host.socket, place, "POST", "/api/v1/job/marks", &body);
    assert_eq!(status, 200, "{answer}");
}

#[test]
fn a_job_advances_itself_alone_and_nobody_from_elsewhere() {
    let host = host(CONFIG);
    let groups = Groups::cpuacct();
    let ids = [container_id(), container_id()];
    let places = ids.each_ref().map(|id| vec![groups.make(&format!("docker/{id}"))]);
    // They live for as long as somebody is in them.
    let loads =
        places.each_ref().map(|place| Load::steady(10, Duration::from_secs(120), &[&place[0]]).start());
    for (done, place) in [(25, &places[0]), (50, &places[1])] {
        let body = format!("{{\"done\": {done}, \"total\": 100}}");
        assert_eq!(ask(&host.socket, place, "PUT", "/api/v1/job/progress", &body).0, 200);
    }
    for (ratio, (id, place)) in [0.25, 0.5].into_iter().zip(ids.iter().zip(&places)) {
        let job = own(&host, place);
        assert_eq!((job["job_id"].as_str(), number(&job["progress"]["ratio"])), (Some(id.as_str()), ratio));
        let page = host.exporter.page();
        assert!((amount(&page, "jouleprint_job_progress_ratio", &[("job_id", id)]) - ratio).abs() < 1e-9);
    }
    for (method, target, body, expected) in [
        ("PUT", "/api/v1/job/progress", "{\"done\": 2, \"total\": 1}", 400),
        ("PUT", "/api/v1/job/progress", "{\"done\": 1, \"total\": 2, \"job_id\": \"other\"}", 400),
        ("POST", "/api/v1/job/progress", "{\"done\": 1, \"total\": 2}", 405),
        ("POST", "/api/v1/job/marks", "{\"phase\": \"\", \"mark\": \"begin\"}", 400),
        ("PUT", "/api/v1/job/marks", "{}", 405),
        ("GET", "/api/v1/job?since=nonsense", "", 400),
    ] {
        let (status, answer) = ask(&host.socket, &places[0], method, target, body);
        assert_eq!(status, expected, "{method} {target} {body}: {answer}");
        assert!(answer["error"].as_str().is_some_and(|why| why.len() > 5), "{answer}");
    }
    // Sixty-four marks of one job fit a tick.
    let of_one_tick = (0..70).map(|_| {
        ask(&host.socket, &places[0], "POST", "/api/v1/job/marks", "{\"phase\": \"x\", \"mark\": \"begin\"}")
            .0
    });
    let refused = of_one_tick.filter(|status| *status == 429).count();
    assert!((5..=6).contains(&refused), "{refused} were refused");
    // A job of the same host that the exporter, in a PID namespace of its own, has no number for.
    let home = tempfile::tempdir().expect("a folder");
    let under = ["unshare", "--pid", "--fork", "--kill-child"].map(str::to_owned);
    let setup = Setup {
        sysfs: Some(host.powercap.sysfs()),
        config: CONFIG,
        home: Some(home.path()),
        under: &under,
        ..Setup::default()
    };
    let _apart = Exporter::start(&setup);
    let socket = home.path().join("run/job.sock");
    for (method, target) in [("GET", "/api/v1/job"), ("PUT", "/api/v1/job/progress")] {
        let (status, answer) = ask(&socket, &places[0], method, target, "{\"done\": 1, \"total\": 2}");
        assert_eq!(status, 403, "{answer}");
        assert!(answer["error"].as_str().is_some_and(|why| why.contains("PID namespace")), "{answer}");
    }
    drop(loads);
}

#[test]
fn a_phase_within_a_tick_has_its_share_and_nothing_of_it_is_lost_when_the_exporter_is_killed() {
    let host = host(CONFIG);
    let groups = Groups::cpuacct();
    let place = vec![groups.make(&format!("docker/{}", container_id()))];
    let work = |seconds: u64| {
        Load::steady(90, Duration::from_secs(seconds), &[&place[0]]).start().finish();
    };
    // It is seen before it works.
    let rest = inside(&place, false).args(["sleep", "300"]).spawn().expect("sleeps");
    let rest = crate::rig::Daemon(rest);
    wait_for("the job", || {
        (ask(&host.socket, &place, "GET", "/api/v1/job?fresh=1", "").0 == 200).then_some(())
    });
    let first = own(&host, &place);
    work(2);
    mark(&host, &place, "load", "begin");
    work(1);
    mark(&host, &place, "load", "end");
    work(1);
    let job = own(&host, &place);
    let phase = &job["phases"][0];
    let share = number(&phase["energy_joules"]) / sum(&job["energy"], "joules");
    println!("a quarter of the work, in one tick: {:.1} % of the energy", share * 100.0);
    assert_eq!(phase["phase"], "load");
    assert!(job["refused_marks"].is_null(), "{job}");
    mark(&host, &place, "laod", "end");
    assert_eq!(own(&host, &place)["refused_marks"], 1, "what changed nothing is told");
    assert!((share - 0.25).abs() < 0.04, "{job}");
    // What is new since it was asked first is all of it, and the cursor is of these counters alone.
    let target = format!("/api/v1/job?since={}", first["cursor"].as_str().expect("a cursor"));
    let (status, since) = ask(&host.socket, &place, "GET", &target, "");
    assert_eq!(status, 200, "{since}");
    let before = sum(&first["energy"], "joules");
    assert!((number(&since["since"]["joules"]) - (sum(&since["energy"], "joules") - before)).abs() < 1e-6);
    // An open phase, and progress, through kill and start.
    mark(&host, &place, "train", "begin");
    assert_eq!(
        ask(&host.socket, &place, "PUT", "/api/v1/job/progress", "{\"done\": 1, \"total\": 4}").0,
        200
    );
    let before = own(&host, &place);
    let Host { exporter, socket, powercap, home } = host;
    exporter.kill();
    work(2);
    let setup =
        Setup { sysfs: Some(powercap.sysfs()), config: CONFIG, home: Some(home.path()), ..Setup::default() };
    let host = Host { exporter: Exporter::start(&setup), socket, powercap, home };
    let after = own(&host, &place);
    let joules = |job: &Value, place: usize| number(&job["phases"][place]["energy_joules"]);
    assert_eq!(joules(&after, 0).to_bits(), joules(&before, 0).to_bits(), "what has ended stays");
    let (all, parts) = (sum(&after["energy"], "joules"), sum(&after["phases"], "energy_joules"));
    let outside = sum(&before["energy"], "joules") - sum(&before["phases"], "energy_joules");
    assert!((all - parts - outside).abs() < 1e-6, "{all} J are {parts} J and {outside} J");
    assert!(joules(&after, 1) > joules(&before, 1) + 5.0, "it went on while nobody looked: {after}");
    assert!(number(&after["progress"]["ratio"]) >= 0.25, "{after}");
    drop(rest);
}

#[test]
fn a_thousand_clients_at_once_hold_up_neither_the_ticks_nor_another_job() {
    let host = host(QUICK);
    let groups = Groups::cpuacct();
    let places = [(); 2].map(|()| vec![groups.make(&format!("docker/{}", container_id()))]);
    let loads =
        places.each_ref().map(|place| Load::steady(5, Duration::from_secs(120), &[&place[0]]).start());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/slow/flood.py");
    let mut flood = inside(&places[0], false);
    flood.arg("python3").arg(script).arg(&host.socket).arg("1000");
    let flood = flood.stdout(Stdio::piped()).spawn().expect("python3");
    let began = Instant::now();
    let mut longest = Duration::ZERO;
    let mut answered = 0;
    while began.elapsed() < Duration::from_secs(8) {
        let asked = Instant::now();
        let body = format!("{{\"done\": {answered}, \"total\": 100000}}");
        let (status, answer) = ask(&host.socket, &places[1], "PUT", "/api/v1/job/progress", &body);
        assert_eq!(status, 200, "{answer}");
        longest = longest.max(asked.elapsed());
        answered += 1;
    }
    let output = flood.wait_with_output().expect("it ends");
    let statuses: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    println!("of 1000: {statuses}; another job was answered {answered} times, within {longest:?}");
    let kinds = statuses.as_object().expect("counts");
    for kind in kinds.keys() {
        let is_clear =
            ["0 408", "0 429", "0 none", "1 400", "1 429", "1 none", "2 413", "2 429", "3 200", "3 429"];
        assert!(is_clear.contains(&kind.as_str()), "{statuses}");
    }
    assert!(statuses["3 200"].as_u64() > Some(0), "{statuses}");
    assert!(longest < Duration::from_secs(6), "another job waited for {longest:?}");
    let page = host.exporter.page();
    assert!(amount(&page, "jouleprint_ticks_skipped_total", &[]).abs() < f64::EPSILON);
    drop(loads);
}

/// `jouleprint run` with everything it keeps in `home`.
fn under_run(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jouleprint"));
    command.args(["run", "--zone", "DE"]).args(arguments).current_dir(home);
    command.env("JOULEPRINT_RUNS_PATH", home.join("runs")).env("HOME", home);
    command.env("JOULEPRINT_JOB_SOCKET", home.join("nobody.sock"));
    command.env("JOULEPRINT_PATH_CGROUPFS", CGROUPFS.as_str()).env_remove("JOULEPRINT_RUN_ID");
    command.stdin(Stdio::null());
    command
}

#[test]
fn the_lines_of_the_readme_tell_epochs_and_phases() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).expect("there");
    let lines = readme.split("```python").find(|block| block.contains("JOULEPRINT_JOB_SOCKET"));
    let lines = lines.and_then(|block| block.split("```").next()).expect("lines of Python");
    let home = tempfile::tempdir().expect("a folder");
    fs::write(home.path().join("joule.py"), lines).expect("written");
    let script = "
import time
from joule import joule
def work(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end: pass
joule('marks', phase='load', mark='begin')
work(1)
joule('marks', phase='load', mark='end')
for epoch in range(20):
    work(0.3)
    joule('progress', done=epoch + 1, total=20)
joule('labels', project='readme', labels={'seed': '1'})
";
    fs::write(home.path().join("train.py"), script).expect("written");
    let file = home.path().join("run.json");
    run(under_run(home.path(), &["--json", "run.json", "--", "python3", "train.py"]).stderr(Stdio::null()));
    let result: Value = serde_json::from_slice(&fs::read(&file).expect("written")).expect("JSON");
    let phase = &result["phases"][0];
    let share = number(&phase["energy_joules"]) / number(&result["energy_joules"]);
    println!("1 s of 7 s is {:.1} % of the energy", share * 100.0);
    assert_eq!((phase["phase"].as_str(), result["project"].as_str()), (Some("load"), Some("readme")));
    assert_eq!(result["labels"]["seed"], "1");
    assert!((share - 1.0 / 7.0).abs() < 0.04, "{result}");
    // Without a socket the script is none the worse.
    let mut plain = Command::new("python3");
    plain.arg("train.py").current_dir(home.path()).env_remove("JOULEPRINT_JOB_SOCKET");
    run(&mut plain);
}

#[test]
fn a_command_is_ended_when_it_will_surely_use_more_than_it_may() {
    let home = tempfile::tempdir().expect("a folder");
    let script = "
import sys, time
for step in range(200):
    end = time.process_time() + 0.2
    while time.process_time() < end: pass
    print('step %d of 200' % (step + 1), flush=True)
";
    fs::write(home.path().join("train.py"), script).expect("written");
    let pattern = "step (?P<done>[0-9]+) of (?P<total>[0-9]+)";
    let all = ["--progress-pattern", pattern, "--max-energy", "10J", "--stop", "--json", "run.json", "--"];
    let mut command = under_run(home.path(), &[&all[..], &["python3", "train.py"]].concat());
    let output = command.output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    println!("{said}");
    assert_eq!(output.status.code(), Some(124), "{said}");
    assert!(said.contains("limit of 10.000 J") && said.contains("in all"), "{said}");
    let result: Value =
        serde_json::from_slice(&fs::read(home.path().join("run.json")).expect("written")).expect("JSON");
    assert!(number(&result["energy_joules"]) < 10.0, "it was ended before it had used that: {result}");
    // What it wrote came through, whole.
    let lines = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(lines.starts_with("step 1 of 200\nstep 2 of 200\n"), "{lines}");
    assert!(lines.lines().count() < 150);
    // However slow its reader is: a second would not do.
    let mut slow = Command::new("sh");
    let script = "\"$@\" --progress-pattern '([0-9]+)/([0-9]+)' -- seq 1 30000 | (sleep 2; wc -l)";
    let plain = under_run(home.path(), &["--quiet"]);
    slow.args(["-c", script, "sh"]).arg(plain.get_program()).args(plain.get_args()).stdin(Stdio::null());
    slow.current_dir(home.path()).env("JOULEPRINT_RUNS_PATH", "none");
    assert_eq!(run(&mut slow).trim(), "30000", "no line is lost");
    // Nobody to ask.
    let output = under_run(home.path(), &["--confirm-after", "2%", "--", "true"]);
    let mut detached = Command::new("setsid");
    detached.arg("--wait").arg(output.get_program()).args(output.get_args()).stdin(Stdio::null());
    let output = detached.output().expect("it runs");
    assert_eq!(output.status.code(), Some(125));
    assert!(String::from_utf8_lossy(&output.stderr).contains("terminal"), "{output:?}");
}

#[test]
fn a_command_is_held_until_somebody_has_said_yes_or_no() {
    let home = tempfile::tempdir().expect("a folder");
    let script = "
import time
for step in range(30):
    end = time.process_time() + 0.4
    while time.process_time() < end: pass
    print('step %d/30' % (step + 1), flush=True)
";
    fs::write(home.path().join("train.py"), script).expect("written");
    // A terminal, an answer when it is asked for, and what came of it.
    let driver = "
import os, pty, sys
answer = sys.argv[1].encode()
pid, terminal = pty.fork()
if pid == 0:
    os.execvp(sys.argv[2], sys.argv[2:])
seen = b''
while True:
    try:
        chunk = os.read(terminal, 4096)
    except OSError:
        break
    if not chunk: break
    seen += chunk
    if answer and b'Go on?' in seen:
        os.write(terminal, answer + b'\\n'); answer = b''
sys.stdout.write(seen.decode(errors='replace'))
_, status = os.waitpid(pid, 0)
sys.exit(os.waitstatus_to_exitcode(status))
";
    fs::write(home.path().join("driver.py"), driver).expect("written");
    for (answer, code, is_whole) in [("n", 124, false), ("y", 0, true)] {
        let all = ["--progress-pattern", "step ([0-9]+)/([0-9]+)", "--confirm-after", "10%", "--"];
        let command = under_run(home.path(), &[&all[..], &["python3", "train.py"]].concat());
        let mut driver = Command::new("python3");
        driver.arg("driver.py").arg(answer).arg(command.get_program()).args(command.get_args());
        let variables = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
        driver.envs(variables).env_remove("JOULEPRINT_RUN_ID").current_dir(home.path());
        let output = driver.output().expect("python3");
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(code), "{answer}: {said}");
        assert!(said.contains("in all"), "{said}");
        assert_eq!(said.contains("step 30/30"), is_whole, "{answer}: {said}");
    }
}

#[test]
fn an_exporter_hears_of_a_command_under_run_and_from_a_shell() {
    let host = host(QUICK);
    let home = tempfile::tempdir().expect("a folder");
    let program = env!("CARGO_BIN_EXE_jouleprint");
    let script = format!(
        "{program} job progress 1/4 && {program} job mark work -- sleep 2 && {program} job progress 2/4 \
         && {program} job label project=shell && sleep 8 && {program} job show --json"
    );
    let mut command = under_run(home.path(), &["--quiet", "--", "sh", "-c", &script]);
    command.env("JOULEPRINT_JOB_SOCKET", &host.socket).stdout(Stdio::piped());
    let mut child = command.spawn().expect("it runs");
    let of_run = [("job_kind", "run")];
    wait_for("progress on the exporter's page", || {
        let page = host.exporter.page();
        let ratio = page.value("jouleprint_job_progress_ratio", &of_run)?;
        ratio.starts_with("0.5").then_some(())
    });
    let (_, all) = ask(&host.socket, &[], "GET", "/api/v1/jobs", "");
    let jobs = all["jobs"].as_array().expect("a list");
    let speaks = |job: &&Value| job["job_kind"] == "run" && job["phases"].is_array();
    let job = jobs.iter().find(speaks).expect("it is there");
    assert_eq!(job["phases"][0]["phase"], "work", "{job}");
    assert!(child.wait().expect("it ends").success());
    let mut shown = String::new();
    std::io::Read::read_to_string(child.stdout.as_mut().expect("a pipe"), &mut shown).expect("UTF-8");
    let own: Value = serde_json::from_str(&shown).expect("JSON");
    assert!((number(&own["progress"]["ratio"]) - 0.5).abs() < 1e-9, "{own}");
    assert!((1.5..4.0).contains(&number(&own["phases"][0]["seconds"])), "{own}");
    // A signal reaches a mark's command, and ends the phase with it.
    let mut marked = Command::new(program);
    marked.args(["job", "mark", "x", "--", "sleep", "60"]).env("JOULEPRINT_JOB_SOCKET", &host.socket);
    let mut marked = marked.stderr(Stdio::null()).spawn().expect("it runs");
    let children = format!("/proc/{0}/task/{0}/children", marked.id());
    wait_for("its command", || {
        fs::read_to_string(&children).ok().filter(|children| !children.trim().is_empty())
    });
    run(Command::new("kill").arg(marked.id().to_string()));
    assert_eq!(marked.wait().expect("it ends").code(), Some(143));
    // Without anybody to tell, a mark's command runs all the same, and the rest says what is missing.
    let mut alone = Command::new(program);
    alone.args(["job", "mark", "x", "--", "sh", "-c", "exit 7"]).env("JOULEPRINT_JOB_SOCKET", "/nowhere");
    assert_eq!(alone.output().expect("it runs").status.code(), Some(7));
    let mut alone = Command::new(program);
    let output = alone.args(["job", "progress", "1/2"]).env("JOULEPRINT_JOB_SOCKET", "/nowhere").output();
    let output = output.expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("jouleprint run"), "{output:?}");
}

#[test]
fn what_an_exporter_had_no_room_for_or_was_not_there_for_it_is_told_later() {
    // In a tick of 15 s there is room for few of these marks.
    let host = host(CONFIG);
    let home = tempfile::tempdir().expect("a folder");
    let script = "
import json, os, socket, time
def mark(phase, side):
    body = json.dumps({'phase': phase, 'mark': side})
    ask = socket.socket(socket.AF_UNIX)
    ask.connect(os.environ['JOULEPRINT_JOB_SOCKET'])
    ask.sendall(f'POST /api/v1/job/marks HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\nContent-Length: {len(body)}\\r\\n\\r\\n{body}'.encode())
    assert b' 200 ' in ask.recv(4096).splitlines()[0]
def wait_for(name):
    while not os.path.exists(name): time.sleep(0.1)
mark('outer', 'begin')
for _ in range(100):
    mark('step', 'begin')
    time.sleep(0.03)
    mark('step', 'end')
    time.sleep(0.01)
open('marked', 'w')
wait_for('away')
mark('outer', 'end')
mark('late', 'begin')
open('said', 'w')
wait_for('end')
";
    fs::write(home.path().join("train.py"), script).expect("written");
    let mut command = under_run(home.path(), &["--quiet", "--json", "run.json", "--", "python3", "train.py"]);
    command.env("JOULEPRINT_JOB_SOCKET", &host.socket);
    let mut child = command.spawn().expect("it runs");
    let file = |name: &str| home.path().join(name);
    let open = |socket: &Path| -> Option<Vec<String>> {
        let (status, all) = ask(socket, &[], "GET", "/api/v1/jobs?fresh=1", "");
        let job =
            all["jobs"].as_array().filter(|_| status == 200)?.iter().find(|job| job["phases"].is_array())?;
        let phases = job["phases"].as_array()?.iter().filter(|phase| phase["is_open"] == true);
        Some(phases.filter_map(|phase| phase["phase"].as_str().map(str::to_owned)).collect())
    };
    wait_for("all steps", || file("marked").exists().then_some(()));
    wait_for("no step is open", || (open(&host.socket)? == ["outer"]).then_some(()));
    let Host { exporter, socket, powercap, home: of_host } = host;
    exporter.kill();
    fs::write(file("away"), "").expect("written");
    wait_for("what is said to nobody", || file("said").exists().then_some(()));
    // Three tries fail meanwhile, and the next one is ten seconds later.
    std::thread::sleep(Duration::from_secs(5));
    let setup = Setup {
        sysfs: Some(powercap.sysfs()),
        config: CONFIG,
        home: Some(of_host.path()),
        ..Setup::default()
    };
    let _exporter = Exporter::start(&setup);
    wait_for("what was said meanwhile", || (open(&socket)? == ["late"]).then_some(()));
    fs::write(file("end"), "").expect("written");
    assert!(child.wait().expect("it ends").success());
}
