//! `top` on a real terminal: tmux presses its keys and reads its screen, the exporter and the jobs are real.

use crate::load::{Load, Running, inside};
use crate::powercap::{Powercap, Zone};
use crate::rig::{Exporter, Groups, Setup, container_id, run, unique, wait_for};
use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

const CONFIG: &str = "tick: 1s\nzone: FR\n";

/// Longer than any test; they end with it.
const LOAD: Duration = Duration::from_secs(300);

/// A terminal of its own server, which ends with it.
struct Terminal {
    server: String,
}

impl Terminal {
    fn open(width: u16, height: u16) -> Terminal {
        let terminal = Terminal { server: format!("jouleprint-test-{}", unique()) };
        let size = ["-x", &width.to_string(), "-y", &height.to_string()].map(str::to_owned);
        let mut command = terminal.tmux();
        command.args(["new-session", "-d"]).args(size).args(["env", "PS1=ready> ", "bash", "--norc"]);
        run(&mut command);
        terminal.wait("ready>");
        terminal
    }

    fn tmux(&self) -> Command {
        let mut command = Command::new("tmux");
        command.args(["-u", "-L", &self.server, "-f", "/dev/null"]);
        command
    }

    /// By tmux's names: `Enter`, `Down`, `C-c`, or a character.
    fn press(&self, key: &str) {
        run(self.tmux().args(["send-keys", key]));
    }

    fn write(&self, text: &str) {
        run(self.tmux().args(["send-keys", "-l", text]));
    }

    fn enter(&self, line: &str) {
        self.write(line);
        self.press("Enter");
    }

    fn screen(&self) -> Vec<String> {
        run(self.tmux().args(["capture-pane", "-p"])).lines().map(str::to_owned).collect()
    }

    /// What tmux says of it.
    fn ask(&self, format: &str) -> String {
        run(self.tmux().args(["display-message", "-p", format])).trim().to_owned()
    }

    fn wait_for_screen(&self, what: &str, is_it: impl Fn(&[String]) -> bool) -> Vec<String> {
        let mut last = Vec::new();
        // Said before the wait gives up, since what is there instead is the first question then.
        let shown = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_for(what, || {
                last = self.screen();
                is_it(&last).then(|| last.clone())
            })
        }));
        shown.unwrap_or_else(|_| panic!("{what} is not on the screen:\n{}", last.join("\n")))
    }

    fn wait(&self, text: &str) -> Vec<String> {
        self.wait_for_screen(text, |lines| lines.iter().any(|line| line.contains(text)))
    }

    /// How the shell finds its terminal, written down by itself.
    fn modes(&self, folder: &Path) -> String {
        let file = folder.join(format!("modes-{}", unique()));
        self.enter(&format!("clear; stty -g > {0}.part && mv {0}.part {0}", file.display()));
        wait_for("the terminal's modes", || std::fs::read_to_string(&file).ok())
    }

    /// The program that the shell is waiting for.
    fn program(&self) -> Pid {
        let shell = self.ask("#{pane_pid}");
        let children = std::fs::read_to_string(format!("/proc/{shell}/task/{shell}/children"));
        let child = children.expect("a shell").trim().parse().expect("one child");
        Pid::from_raw(child).expect("no init")
    }

    /// The usual screen, the cursor on it, and nothing changed.
    fn check_given_back(&self, folder: &Path, before: &str) {
        wait_for("the usual screen", || (self.ask("#{alternate_on} #{cursor_flag}") == "0 1").then_some(()));
        assert_eq!(self.modes(folder), before);
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.tmux().arg("kill-server").output();
    }
}

/// A host on which one job burns, one works and one hardly does anything.
struct Host {
    exporter: Option<Exporter>,
    ids: [String; 3],
    _loads: Vec<Running>,
    _groups: Groups,
    powercap: Powercap,
    home: TempDir,
}

impl Host {
    fn start() -> Host {
        let powercap =
            Powercap::start(&[Zone::steady("intel-rapl:0", "package-0", 20_000).with_load(40_000)]);
        let home = tempfile::tempdir().expect("a folder");
        let groups = Groups::cpuacct();
        let ids = [(); 3].map(|()| container_id());
        let places = ids.each_ref().map(|id| groups.make(&format!("docker/{id}")));
        let loads = places.iter().zip([90, 40, 5]);
        let loads = loads.map(|(place, percent)| Load::steady(percent, LOAD, &[place]).start()).collect();
        let mut host = Host { exporter: None, ids, _loads: loads, _groups: groups, powercap, home };
        host.exporter = Some(host.exporter());
        for (place, name) in places.iter().zip(["burner", "worker", "idler"]) {
            host.name(place, name);
        }
        host
    }

    fn exporter(&self) -> Exporter {
        let sysfs = Some(self.powercap.sysfs());
        Exporter::start(&Setup { sysfs, config: CONFIG, home: Some(self.home.path()), ..Setup::default() })
    }

    fn socket(&self) -> PathBuf {
        self.home.path().join("run/job.sock")
    }

    /// What the job in this group says that it is; before it has been seen there is nobody to say so.
    fn name(&self, place: &Path, name: &str) {
        let body = format!("{{\"executable\":\"{name}\",\"project\":\"p-{name}\"}}");
        wait_for("a job that may speak", || {
            let mut command = inside(&[place.to_owned()], false);
            command.args(["curl", "--silent", "--fail", "--request", "PUT", "--data-binary", &body]);
            command.arg("--unix-socket").arg(self.socket()).arg("http://job/api/v1/job/labels");
            command.output().expect("curl is installed").status.success().then_some(())
        });
    }

    fn top(&self) -> String {
        format!("{} top --job.socket {}", env!("CARGO_BIN_EXE_jouleprint"), self.socket().display())
    }
}

/// The jobs' lines, those of idle and system included: below the head, up to what is empty.
fn table(screen: &[String]) -> Option<(usize, Vec<&String>)> {
    let head = screen.iter().position(|line| line.starts_with("job ") && line.contains(" W "))?;
    let rows = screen[head + 1..].iter().take_while(|line| !line.is_empty());
    let column = screen[head].find(" W ")? + 2;
    Some((column, rows.collect()))
}

/// The figure that ends in this column.
fn watts(line: &str, column: usize) -> Option<f64> {
    let before: String = line.chars().take(column).collect();
    before.split_whitespace().next_back()?.parse().ok()
}

fn adds_up(screen: &[String]) -> bool {
    let Some((column, rows)) = table(screen) else { return false };
    let said = screen[0].split(" W").next().and_then(|before| before.split_whitespace().next_back());
    let Some(said) = said.and_then(|text| text.parse::<f64>().ok()) else { return false };
    let found: Vec<f64> = rows.iter().filter_map(|row| watts(row, column)).collect();
    let sum: f64 = found.iter().sum();
    println!("{sum:.2} W in {} lines, {said} W above", found.len());
    found.len() == rows.len() && said > 20.0 && (sum - said).abs() <= 0.01 * (found.len() + 1) as f64
}

#[test]
fn a_screen_shows_who_burns_and_its_keys_do_what_they_say() {
    let host = Host::start();
    let terminal = Terminal::open(80, 60);
    let modes = terminal.modes(host.home.path());
    terminal.enter(&host.top());
    // As soon as all have drawn something: who burns comes first, after what is no job.
    let is_first = |screen: &[String]| {
        let Some((_, rows)) = table(screen) else { return false };
        let jobs: Vec<_> = rows.iter().filter(|row| !row.starts_with('(')).collect();
        let place = |name: &str| jobs.iter().position(|row| row.contains(name));
        place("burner") == Some(0) && place("worker") < place("idler")
    };
    terminal.wait_for_screen("the jobs by power", is_first);
    let screen = terminal.wait_for_screen("lines that add up", adds_up);
    assert!(screen[1].starts_with("FR 44.18 g/kWh"), "{}", screen[1]);
    screen.iter().filter(|line| !line.is_empty()).for_each(|line| println!("{line}"));

    terminal.press("/");
    terminal.write("p-idl");
    terminal.wait_for_screen("only the idler", |screen| {
        let names = table(screen).map(|(_, rows)| rows.iter().filter(|row| !row.starts_with('(')).count());
        names == Some(1) && screen.iter().any(|line| line.starts_with("idler"))
    });
    terminal.press("Escape");
    terminal.wait("burner");

    terminal.press("Home");
    terminal.press("Enter");
    let details = terminal.wait("power in the last 5 minutes");
    assert!(details[1].starts_with("burner"), "{details:#?}");
    assert!(details.iter().any(|line| line.contains(&host.ids[0][..40])), "{details:#?}");
    assert!(details.iter().any(|line| line.contains("measured")), "{details:#?}");
    terminal.press("Escape");
    terminal.wait("(idle)");

    // Smaller while it runs.
    run(terminal.tmux().args(["resize-window", "-x", "60", "-y", "14"]));
    let small = terminal.wait_for_screen("a small screen", |screen| {
        table(screen).is_some() && screen.last().is_some_and(|foot| foot.starts_with("q quit"))
    });
    assert!(small.len() == 14 && small.iter().all(|line| line.chars().count() <= 60), "{small:#?}");

    terminal.press("q");
    terminal.check_given_back(host.home.path(), &modes);
}

#[test]
fn an_exporter_that_goes_and_comes_is_waited_for() {
    let mut host = Host::start();
    let terminal = Terminal::open(80, 24);
    terminal.enter(&host.top());
    terminal.wait("burner");
    host.exporter.take().expect("it runs").kill();
    terminal.wait("no answer since");
    let raw = run(terminal.tmux().args(["capture-pane", "-p", "-e"]));
    let line = raw.lines().find(|line| line.contains("no answer since")).expect("it is said");
    // The terminal's own red, whatever its theme makes of it.
    assert!(line.contains("38;5;1m") && line.contains("\x1b[1m"), "neither red nor bold: {line:?}");
    assert!(raw.contains("burner"), "what was there is shown on:\n{raw}");
    host.exporter = Some(host.exporter());
    terminal.wait_for_screen("a new answer", |screen| {
        table(screen).is_some() && !screen.iter().any(|line| line.contains("no answer"))
    });
    terminal.press("C-c");
    terminal.wait("ready>");
    drop(host.exporter.take());
    terminal.enter(&format!("clear; {}; echo code $?", host.top()));
    let said = terminal.wait("code 2").join("");
    assert!(said.contains("no exporter answers on") && said.contains("--job.socket"), "{said}");
}

#[test]
fn the_terminal_is_given_back_whatever_ends_or_stops_it() {
    let host = Host::start();
    let terminal = Terminal::open(80, 24);
    let folder = host.home.path();
    let modes = terminal.modes(folder);
    for signal in [Signal::TERM, Signal::INT] {
        terminal.enter(&host.top());
        terminal.wait("burner");
        kill_process(terminal.program(), signal).expect("sent");
        terminal.check_given_back(folder, &modes);
    }
    // To the shell and back, by key and by signal.
    terminal.enter(&host.top());
    terminal.wait("burner");
    for by_key in [true, false] {
        if by_key {
            terminal.press("C-z");
        } else {
            kill_process(terminal.program(), Signal::TSTP).expect("sent");
        }
        terminal.wait("Stopped");
        terminal.check_given_back(folder, &modes);
        terminal.enter("fg");
        terminal.wait("burner");
    }
    // Stopped without a word, the shell takes the terminal as it is; continued, it is drawn anew.
    kill_process(terminal.program(), Signal::STOP).expect("sent");
    terminal.wait("Stopped");
    terminal.enter("fg");
    terminal.wait("burner");
    terminal.press("?");
    terminal.wait("any key goes back");
    terminal.press("q");
    terminal.check_given_back(folder, &modes);
    // A terminal that goes takes it along.
    let gone = Terminal::open(80, 24);
    gone.enter(&host.top());
    gone.wait("burner");
    let program = gone.program();
    drop(gone);
    wait_for("its end", || kill_process(program, Signal::CONT).is_err().then_some(()));
    // And without a terminal there is one listing.
    let listing = run(Command::new("sh").args(["-c", &host.top()]));
    assert!(listing.contains("burner") && !listing.contains('\x1b'), "{listing}");
    // Nor on one that can do no more: the shell's next line is below it.
    terminal.enter(&format!("clear; TERM=dumb {}", host.top()));
    terminal.wait_for_screen("a listing", |screen| {
        let place = |text: &str| screen.iter().rposition(|line| line.starts_with(text));
        place("burner").is_some() && place("burner") < place("ready>")
    });
}
