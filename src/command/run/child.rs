//! The command as our child: on the same terminal, in the same process group, with the same streams. What it
//! hears of signals, and what is heard of it, is as if we were not there.

use crate::clock;
use crate::kernel_file::read_text;
use crate::model::quantity::Nanos;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitOptions, WaitStatus, kill_process, setrlimit, waitpid,
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2};
use std::ffi::OsString;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{ChildStderr, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub use signal_hook::consts::{SIGCHLD, SIGCONT, SIGSTOP, SIGTERM, SIGTSTP};

/// Sent by somebody who means the command and knows only us.
const PASSED_ON: [i32; 4] = [SIGTERM, SIGHUP, SIGUSR1, SIGUSR2];

/// Sent by the terminal to everybody in the foreground, the command among them.
const FROM_TERMINAL: [i32; 3] = [SIGINT, SIGQUIT, SIGTSTP];

/// How the command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By itself, with this code.
    Exited(u8),
    /// By this signal.
    Killed(i32),
}

impl End {
    /// What a shell says of it.
    #[must_use]
    pub fn shell_code(self) -> u8 {
        match self {
            End::Exited(code) => code,
            End::Killed(signal) => u8::try_from(128 + signal).unwrap_or(u8::MAX),
        }
    }
}

/// Why there is no child.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// There is no such program.
    #[error("{0}: no such command")]
    NotFound(String),
    /// There is, and it cannot be started.
    #[error("{0}: {1}")]
    NotStarted(String, io::Error),
}

impl SpawnError {
    /// The code that shells end with.
    #[must_use]
    pub const fn shell_code(&self) -> u8 {
        match self {
            SpawnError::NotFound(_) => 127,
            SpawnError::NotStarted(..) => 126,
        }
    }
}

/// The signals that are waited for; until then none of them is lost.
pub struct Signals {
    wake: UnixStream,
    arrived: Vec<(i32, Arc<AtomicBool>)>,
}

impl Signals {
    /// From now on signals are noted. One that was ignored when we were started stays so, for the command
    /// too, which inherits nothing else of ours.
    ///
    /// # Errors
    /// The process has no descriptors left.
    pub fn watch() -> io::Result<Signals> {
        let (wake, bell) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        let ignored = ignored();
        let mut arrived = Vec::new();
        for signal in PASSED_ON.into_iter().chain(FROM_TERMINAL).chain([SIGCHLD]) {
            if signal != SIGCHLD && ignored & (1 << (signal - 1)) != 0 {
                continue;
            }
            let flag = Arc::new(AtomicBool::new(false));
            signal_hook::flag::register(signal, Arc::clone(&flag))?;
            signal_hook::low_level::pipe::register(signal, bell.try_clone()?)?;
            arrived.push((signal, flag));
        }
        Ok(Signals { wake, arrived })
    }

    /// Waits until `due`, or until a signal comes.
    pub fn wait(&mut self, due: Nanos) {
        let left = due.saturating_sub(clock::monotonic()).get();
        let timeout = Timespec {
            tv_sec: i64::try_from(left / 1_000_000_000).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(left % 1_000_000_000).unwrap_or(0),
        };
        let mut fds = [PollFd::from_borrowed_fd(self.wake.as_fd(), PollFlags::IN)];
        // EINTR: the flags tell.
        let _ = poll(&mut fds, Some(&timeout));
        let mut bytes = [0; 64];
        while matches!(self.wake.read(&mut bytes), Ok(read) if read == bytes.len()) {}
    }

    /// Those that came since the last call.
    pub fn take(&self) -> Vec<i32> {
        let came = self.arrived.iter().filter(|(_, flag)| flag.swap(false, Ordering::SeqCst));
        came.map(|(signal, _)| *signal).collect()
    }
}

/// The signals this process was started with as ignored, a bit each.
fn ignored() -> u64 {
    let status = read_text(Path::new("/proc/self/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// What it writes, where that is read.
pub type Streams = (Option<ChildStdout>, Option<ChildStderr>);

/// The command while it runs.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
}

impl Child {
    /// Starts it, with these variables beside ours; with `is_read` what it writes comes through us.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn spawn(
        command: &[OsString],
        environment: &[(&str, OsString)],
        is_read: bool,
    ) -> Result<(Child, Streams), SpawnError> {
        let (program, arguments) = command.split_first().expect("the command line has at least one word");
        let shown = program.to_string_lossy().into_owned();
        let variables = environment.iter().map(|(name, value)| (name, value));
        let mut command = Command::new(program);
        command.args(arguments).envs(variables);
        if is_read {
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
        }
        let mut child = command.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => SpawnError::NotFound(shown),
            _ => SpawnError::NotStarted(shown, error),
        })?;
        let streams = (child.stdout.take(), child.stderr.take());
        Ok((Child { pid: Pid::from_child(&child) }, streams))
    }

    /// Takes note of everything that ended or stopped. Returns the end of the command, if it has come.
    pub fn attend(&self) -> Option<End> {
        let mut end = None;
        loop {
            // Orphans are ours too, where we are the one that gets them.
            match waitpid(None, WaitOptions::NOHANG | WaitOptions::UNTRACED) {
                Ok(Some((pid, status))) if pid == self.pid => match end_of(status) {
                    Some(its) => end = Some(its),
                    None => self.stop_with_it(status),
                },
                Ok(Some(_)) => {}
                // Interrupted: again.
                Err(rustix::io::Errno::INTR) => {}
                Ok(None) | Err(_) => return end,
            }
        }
    }

    /// The terminal has stopped it: we stop too, so that the shell takes over, and go on with it.
    fn stop_with_it(&self, status: WaitStatus) {
        let by = status.stopping_signal();
        let is_terminal =
            [Signal::TSTP, Signal::TTIN, Signal::TTOU].iter().any(|signal| by == Some(signal.as_raw()));
        if is_terminal {
            stop_ourselves();
            let _ = kill_process(self.pid, Signal::CONT);
        }
    }

    /// Sends it a signal, unless that is one of ours alone.
    pub fn send(&self, signal: i32) {
        if let Some(signal) = Signal::from_named_raw(signal).filter(|_| signal != SIGCHLD) {
            let _ = kill_process(self.pid, signal);
        }
    }

    /// Passes a signal on, if the command has not had it from where we had it.
    pub fn pass_on(&self, signal: i32) {
        let is_known = PASSED_ON.contains(&signal) || FROM_TERMINAL.contains(&signal) && !is_in_foreground();
        if is_known {
            self.send(signal);
        }
    }

    /// Its number.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }
}

fn end_of(status: WaitStatus) -> Option<End> {
    let exited = status.exit_status().map(|code| End::Exited(u8::try_from(code & 0xff).unwrap_or(u8::MAX)));
    exited.or_else(|| status.terminating_signal().map(End::Killed))
}

/// Sends another process a signal.
pub fn send_to(pid: u32, signal: i32) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    if let (Some(pid), Some(signal)) = (pid, Signal::from_named_raw(signal)) {
        let _ = kill_process(pid, signal);
    }
}

/// Returns when somebody lets us go on.
pub fn stop_ourselves() {
    let _ = kill_process(rustix::process::getpid(), Signal::STOP);
}

/// Whether the terminal's signals come to all of us.
#[must_use]
pub fn is_in_foreground() -> bool {
    let Ok(terminal) = std::fs::File::open("/dev/tty") else { return false };
    rustix::termios::tcgetpgrp(&terminal).is_ok_and(|group| group == rustix::process::getpgrp())
}

/// Ends this process the way the command ended, as far as our parent can tell: by its code, or by the signal
/// it died of. Returns the code to end with.
#[must_use]
pub fn follow(end: End) -> u8 {
    // The first process of a container cannot die of a signal that it has no handler for.
    let is_first = std::process::id() == 1;
    if let End::Killed(signal) = end
        && !is_first
    {
        // One core is enough.
        let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
        // The two that no handler can be given.
        if signal == Signal::KILL.as_raw() {
            let _ = kill_process(rustix::process::getpid(), Signal::KILL);
        }
        let _ = signal_hook::low_level::emulate_default_handler(signal);
    }
    end.shell_code()
}
