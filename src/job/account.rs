//! The file in which a control group's CPU time is counted: `cpu.stat` (v2), `cpuacct.usage` (v1).

use super::hierarchy::Version;
use super::processor::Topology;
use crate::kernel_file::{Buffer, KernelFile, parse_number};
use crate::model::quantity::{CpuTime, Nanos};
use crate::model::reading::{Fault, GroupReading, GroupSlot};
use std::io;

/// The file that counts.
#[must_use]
pub const fn file_name(version: Version, is_percpu: bool) -> &'static str {
    match (version, is_percpu) {
        (Version::V1, false) => "cpuacct.usage",
        (Version::V1, true) => "cpuacct.usage_percpu",
        (Version::V2, _) => "cpu.stat",
    }
}

/// A reading with what the kernel says by CPU, if it does.
#[derive(Debug)]
pub struct RawReading {
    slot: GroupSlot,
    usage: CpuTime,
    per_cpu: Vec<u64>,
}

impl RawReading {
    /// All of it.
    #[must_use]
    pub const fn usage(&self) -> CpuTime {
        self.usage
    }

    /// Sums up by socket.
    #[must_use]
    pub fn by_socket(self, topology: &Topology) -> GroupReading {
        let per_socket = (!self.per_cpu.is_empty()).then(|| {
            let mut sockets = vec![CpuTime::ZERO; topology.packages.len()];
            for (cpu, used) in (0..).zip(&self.per_cpu) {
                sockets[topology.socket(cpu) as usize] += Nanos::new(*used);
            }
            sockets.into_boxed_slice()
        });
        GroupReading { slot: self.slot, usage: self.usage, per_socket }
    }
}

/// Reads an account.
///
/// # Errors
/// It is gone, or is not what the kernel's documentation says.
pub fn read_account(
    account: &KernelFile,
    version: Version,
    is_percpu: bool,
    index: u32,
    buffer: &mut Buffer,
) -> Result<RawReading, Fault> {
    let slot = GroupSlot(index);
    let to_fault = |error: io::Error| Fault::from(&error);
    match (version, is_percpu) {
        (Version::V2, _) => {
            let usage =
                parse_cpu_stat(account.read_start(buffer).map_err(to_fault)?).ok_or(Fault::Malformed)?;
            Ok(RawReading { slot, usage, per_cpu: Vec::new() })
        }
        (Version::V1, false) => {
            let usage =
                parse_number(account.read_start(buffer).map_err(to_fault)?).ok_or(Fault::Malformed)?;
            Ok(RawReading { slot, usage: Nanos::new(usage), per_cpu: Vec::new() })
        }
        (Version::V1, true) => {
            let per_cpu =
                parse_usage_percpu(account.read(buffer).map_err(to_fault)?).ok_or(Fault::Malformed)?;
            let usage = per_cpu.iter().try_fold(0_u64, |sum, used| sum.checked_add(*used));
            Ok(RawReading { slot, usage: Nanos::new(usage.ok_or(Fault::Malformed)?), per_cpu })
        }
    }
}

/// `usage_usec` of a v2 `cpu.stat`; it is the first line, but nothing promises that.
#[must_use]
pub fn parse_cpu_stat(text: &[u8]) -> Option<CpuTime> {
    let line = text.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"usage_usec "))?;
    parse_number(line)?.checked_mul(1_000).map(Nanos::new)
}

/// The ns of each possible CPU.
#[must_use]
pub fn parse_usage_percpu(text: &[u8]) -> Option<Vec<u64>> {
    let fields = text.split(|byte| byte.is_ascii_whitespace()).filter(|field| !field.is_empty());
    let per_cpu: Vec<u64> = fields.map(parse_number).collect::<Option<_>>()?;
    (!per_cpu.is_empty()).then_some(per_cpu)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn accounts_are_parsed_and_broken_ones_refused() {
        for (text, expected) in [
            ("usage_usec 1160009\nuser_usec 1\nsystem_usec 2\n", Some(1_160_009_000)),
            ("user_usec 1\nusage_usec 7\n", Some(7_000)),
            ("usage_usec 7", Some(7_000)),
            ("usage_usec \n", None),
            ("usage_usec -7\n", None),
            ("usage_usec 18446744073709551615\n", None),
            ("", None),
        ] {
            assert_eq!(parse_cpu_stat(text.as_bytes()).map(Nanos::get), expected, "{text:?}");
        }
        assert_eq!(parse_usage_percpu(b"1 2 3 \n"), Some(vec![1, 2, 3]));
        assert_eq!(parse_usage_percpu(b"1 x 3\n"), None);
        assert_eq!(parse_usage_percpu(b"\n"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse_cpu_stat(&bytes);
            let _ = parse_usage_percpu(&bytes);
        }
    }
}
