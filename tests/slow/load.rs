//! Programs that use the processors and say afterwards how much: this test binary itself, started
//! again inside the control groups that it is to work in.

use rustix::time::{ClockId, clock_gettime};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Names the work to do; without it the program below does nothing.
const WORK: &str = "JOULEPRINT_SLOW_WORK";

/// The program's name inside this binary.
const PROGRAM: &str = "load::program";

/// What a program says at its end, before the number.
const TRUTH: &str = "cpu_nanoseconds=";

/// Moves into the groups, then becomes the program: whatever it is counted for, it is counted there.
const ENTER: &str =
    "while [ \"$1\" != -- ]; do echo 0 > \"$1/cgroup.procs\" || exit 9; shift; done; shift; exec \"$@\"";

/// The kernel may sample how busy it is, 250 times a second: work in turns shorter than that is seen
/// or missed by chance. After such a pause even a small load works for longer.
const PAUSE: Duration = Duration::from_millis(23);

/// One process of the "processes" work uses this much, beside what starting it takes.
const SHORT: Duration = Duration::from_millis(10);

/// How a program works.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Style {
    /// One process that works in turns.
    Steady,
    /// One short process after the other.
    Processes,
}

/// A program to start.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    pub(crate) style: Style,
    /// Of one CPU.
    pub(crate) percent: u64,
    pub(crate) time: Duration,
    /// The directories of the groups to enter.
    pub(crate) groups: Vec<PathBuf>,
    /// In a control-group namespace of its own.
    pub(crate) is_private: bool,
    /// Bound to this CPU.
    pub(crate) cpu: Option<u32>,
}

impl Load {
    /// Steady work.
    pub(crate) fn steady(percent: u64, time: Duration, groups: &[&Path]) -> Load {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        Load { style: Style::Steady, percent, time, groups, is_private: false, cpu: None }
    }

    /// Starts it.
    pub(crate) fn start(&self) -> Running {
        let style = match self.style {
            Style::Steady => "steady",
            Style::Processes => "processes",
        };
        let work = format!("{style} {} {}", self.percent, self.time.as_millis());
        let mut command = inside(&self.groups, self.is_private);
        if let Some(cpu) = self.cpu {
            command.args(["taskset", "-c", &cpu.to_string()]);
        }
        let child = command
            .arg(own_path())
            .args(ARGUMENTS)
            .env(WORK, work)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a load program starts");
        Running { child }
    }
}

/// A command that begins inside these groups and, if so, in a namespace rooted there.
pub(crate) fn inside(groups: &[PathBuf], is_private: bool) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", ENTER, "sh"]).args(groups).arg("--");
    if is_private {
        command.args(["unshare", "-C"]);
    }
    command
}

fn own_path() -> PathBuf {
    std::env::current_exe().expect("this program has a path")
}

const ARGUMENTS: [&str; 4] = [PROGRAM, "--exact", "--ignored", "--nocapture"];

/// A program that works; dropped, it is ended.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
}

impl Running {
    /// Waits for its end. Returns the CPU time of it and its children, in seconds.
    pub(crate) fn finish(mut self) -> f64 {
        use std::io::Read;
        let mut said = String::new();
        let output = self.child.stdout.as_mut().expect("a pipe");
        output.read_to_string(&mut said).expect("a load program speaks UTF-8");
        let status = self.child.wait().expect("a child can be waited for");
        let digits = said.split(TRUTH).nth(1).map(|rest| rest.split_whitespace().next().unwrap_or_default());
        let truth: u64 = digits
            .and_then(|digits| digits.parse().ok())
            .unwrap_or_else(|| panic!("a load program ended with {status} and said {said:?}"));
        truth as f64 / 1e9
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program itself.
#[test]
#[ignore = "not a test: the load that the other tests start"]
fn program() {
    let Ok(work) = std::env::var(WORK) else { return };
    let words: Vec<&str> = work.split(' ').collect();
    let [style, percent, milliseconds] = words[..] else { panic!("{WORK}={work:?}") };
    let percent: u32 = percent.parse().expect("a share");
    let time = Duration::from_millis(milliseconds.parse().expect("a time"));
    let began = Instant::now();
    while began.elapsed() < time {
        let is_ahead = used() * 100 > began.elapsed() * percent;
        match style {
            _ if is_ahead => std::thread::sleep(PAUSE),
            "steady" => burn(Duration::from_micros(500)),
            "processes" => one_short_process(),
            "short" => return burn(SHORT),
            _ => panic!("{WORK}={work:?}"),
        }
    }
    println!("{TRUTH}{}", used().as_nanos());
}

fn one_short_process() {
    let mut command = Command::new(own_path());
    let status = command.args(ARGUMENTS).env(WORK, "short 100 1000").stdout(Stdio::null()).status();
    assert!(status.is_ok_and(|status| status.success()), "a short process fails");
}

fn burn(time: Duration) {
    let until = own_use() + time;
    while own_use() < until {
        std::hint::black_box((0..1_000_u64).fold(0_u64, |sum, value| sum.wrapping_mul(31) ^ value));
    }
}

/// CPU time of this process, exact, with that of its children that have ended.
fn used() -> Duration {
    own_use() + children_use()
}

fn own_use() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).expect("CPU time is not negative");
    Duration::new(seconds, u32::try_from(time.tv_nsec).expect("below 1e9"))
}

/// `cutime` and `cstime`: what getrusage(RUSAGE_CHILDREN) gives, in 1/100 s.
fn children_use() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("/proc/self/stat");
    let fields = stat.rsplit_once(')').expect("a name in parentheses").1;
    let ticks = fields.split_whitespace().skip(13).take(2).filter_map(|field| field.parse::<u64>().ok());
    Duration::from_millis(ticks.sum::<u64>() * 10)
}
