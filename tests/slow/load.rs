//! Programs that use the processors and say afterwards how much: `load_program.rs`, started inside the
//! control groups that it is to work in.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Moves into the groups, then becomes the program: whatever it is counted for, it is counted there.
const ENTER: &str =
    "while [ \"$1\" != -- ]; do echo 0 > \"$1/cgroup.procs\" || exit 9; shift; done; shift; exec \"$@\"";

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
        let mut command = inside(&self.groups, self.is_private);
        if let Some(cpu) = self.cpu {
            command.args(["taskset", "-c", &cpu.to_string()]);
        }
        command.arg(env!("CARGO_BIN_EXE_jouleprint-load"));
        command.args([style, &self.percent.to_string(), &self.time.as_millis().to_string()]);
        Running::of(&mut command)
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

/// A program that works; dropped, it is ended.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
}

impl Running {
    /// Starts a command that becomes the program.
    pub(crate) fn of(command: &mut Command) -> Running {
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        Running { child: child.expect("a load program starts") }
    }

    /// Its number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end. Returns the CPU time of it and its children, in seconds.
    pub(crate) fn finish(mut self) -> f64 {
        use std::io::Read;
        let mut said = String::new();
        let output = self.child.stdout.as_mut().expect("a pipe");
        output.read_to_string(&mut said).expect("a load program speaks UTF-8");
        let status = self.child.wait().expect("a child can be waited for");
        let nanoseconds = said.trim_end().parse::<u64>();
        match nanoseconds {
            Ok(nanoseconds) if status.success() => nanoseconds as f64 / 1e9,
            _ => panic!("a load program ended with {status} and said {said:?}"),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
