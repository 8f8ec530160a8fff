//! What this process itself uses; it is part of the machine's use like any other.

use crate::kernel_file::{Buffer, KernelFile, read_text};
use crate::model::quantity::Nanos;
use crate::model::snapshot::ProcessState;
use std::path::Path;

/// /proc counts in 1/100 s (`USER_HZ`).
const TICK: u64 = 10_000_000;

/// Reads our own /proc entry, which is always at /proc, whatever machine is looked at.
#[derive(Debug)]
pub struct OwnProcess {
    stat: Option<KernelFile>,
    start_seconds: u64,
    max_fds: u64,
}

impl OwnProcess {
    /// Opens it and raises the soft limit of descriptors to the hard one: each control group takes one.
    #[must_use]
    pub fn open() -> OwnProcess {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let limit = getrlimit(Resource::Nofile);
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        let is_raised = setrlimit(Resource::Nofile, raised).is_ok();
        let max_fds = if is_raised { limit.maximum } else { limit.current };
        OwnProcess {
            stat: KernelFile::open(Path::new("/proc/self/stat")).ok(),
            start_seconds: start_seconds().unwrap_or(0),
            max_fds: max_fds.unwrap_or(u64::MAX),
        }
    }

    /// Descriptors this process may have.
    #[must_use]
    pub const fn max_fds(&self) -> u64 {
        self.max_fds
    }

    /// The state now; what cannot be read is 0.
    #[must_use]
    pub fn read(&self, buffer: &mut Buffer) -> ProcessState {
        let page = rustix::param::page_size() as u64;
        let text = self.stat.as_ref().and_then(|stat| stat.read(buffer).ok()).unwrap_or_default();
        let fields = parse(std::str::from_utf8(text).unwrap_or_default()).unwrap_or_default();
        ProcessState {
            cpu: Nanos::new(fields.cpu_ticks.saturating_mul(TICK)),
            resident_bytes: fields.resident_pages.saturating_mul(page),
            virtual_bytes: fields.virtual_bytes,
            open_fds: open_fds(),
            max_fds: self.max_fds,
            start_seconds: self.start_seconds,
        }
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Fields {
    cpu_ticks: u64,
    start_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

/// The fields behind the name, which may itself hold brackets and spaces.
fn parse(stat: &str) -> Option<Fields> {
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // proc(5) counts from 1 and the third field is the first behind the name.
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some(Fields {
        cpu_ticks: field(14)?.checked_add(field(15)?)?,
        start_ticks: field(22)?,
        virtual_bytes: field(23)?,
        resident_pages: field(24)?,
    })
}

fn start_seconds() -> Option<u64> {
    let stat = read_text(Path::new("/proc/self/stat")).ok()?;
    let boot = read_text(Path::new("/proc/stat")).ok()?;
    let boot: u64 = boot.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(boot + parse(&stat)?.start_ticks / 100)
}

/// Since 6.2 the kernel gives the number as the directory's size; before that it is counted.
fn open_fds() -> u64 {
    let directory = Path::new("/proc/self/fd");
    match std::fs::metadata(directory).map(|metadata| metadata.len()) {
        Ok(count) if count > 0 => count,
        _ => std::fs::read_dir(directory).map_or(0, |entries| entries.count() as u64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_shifts_nothing() {
        let stat =
            "7 (a) b (c) S 1 7 7 0 -1 4194560 100 0 0 0 11 22 0 0 20 0 3 0 4444 555 66 18446744073709551615";
        let fields = Fields { cpu_ticks: 33, start_ticks: 4_444, virtual_bytes: 555, resident_pages: 66 };
        assert_eq!(parse(stat), Some(fields));
        assert_eq!(parse("7 (a) S 1"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn this_process_uses_something() {
        let state = OwnProcess::open().read(&mut Buffer::default());
        assert!(
            state.resident_bytes > 1 << 20 && state.open_fds > 2 && state.start_seconds > 1_600_000_000,
            "{state:?}"
        );
    }
}
