//! `/proc/PID/stat`, of which seven fields matter here.

use crate::kernel_file::parse_number;

/// Set in the flags of a thread of the kernel itself (`PF_KTHREAD` in include/linux/sched.h).
const KERNEL_THREAD: u64 = 0x0020_0000;

/// A process as it stood when it was read. Times are in 1/100 s (`USER_HZ`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat<'a> {
    /// Its name for itself, at most 15 bytes of anything.
    pub name: &'a [u8],
    /// Whether it is a part of the kernel.
    pub is_kernel: bool,
    /// CPU time of its threads, the ended ones among them.
    pub own: u64,
    /// CPU time of its children that have ended and were waited for, and of theirs.
    pub waited: u64,
    /// When it was started, since the boot.
    pub start: u64,
}

/// What the line says; `None` for anything but a whole line. The name may hold brackets and spaces itself.
#[must_use]
pub fn parse(line: &[u8]) -> Option<Stat<'_>> {
    let open = line.iter().position(|byte| *byte == b'(')?;
    let close = line.iter().rposition(|byte| *byte == b')')?;
    let name = line.get(open + 1..close)?;
    // proc(5) counts from 1, and the third field is the first behind the name.
    let mut fields = line[close + 1..].split(|byte| *byte == b' ').filter(|field| !field.is_empty()).skip(6);
    let flags = parse_number(fields.next()?)?;
    let mut times = [0; 4];
    let mut fields = fields.skip(4);
    for time in &mut times {
        *time = parse_number(fields.next()?)?;
    }
    let start = parse_number(fields.nth(4)?)?;
    Some(Stat {
        name,
        is_kernel: flags & KERNEL_THREAD != 0,
        own: times[0].checked_add(times[1])?,
        waited: times[2].checked_add(times[3])?,
        start,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_line_of_the_kernel_is_read_whatever_the_name() {
        let rest = "S 1 7 7 0 -1 4194560 100 0 0 0 11 22 3 4 20 0 3 0 4444 555 66 18446744073709551615\n";
        for name in ["cat", "a) b (c", "a b", "()", ""] {
            let line = format!("7 ({name}) {rest}");
            let stat = parse(line.as_bytes()).expect("a line");
            assert_eq!(stat.name, name.as_bytes());
            assert_eq!((stat.own, stat.waited, stat.start, stat.is_kernel), (33, 7, 4_444, false));
        }
        let kernel = "2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 9 0 0 20 0 1 0 1 0 0";
        assert!(parse(kernel.as_bytes()).expect("a line").is_kernel);
    }

    #[test]
    fn half_a_line_is_none() {
        for line in [
            "",
            "7",
            "7 (a",
            "7 (a)",
            ")(",
            "7 (a) S 1 7 7 0 -1 4194560 100 0 0 0 11 22 3 4 20 0 3 0",
            "7 (a) S 1 7 7 0 -1 4194560 100 0 0 0 11 -22 3 4 20 0 3 0 4444",
            "7 (a) S 1 7 7 0 -1 4194560 100 0 0 0 18446744073709551615 1 3 4 20 0 3 0 4444",
        ] {
            assert_eq!(parse(line.as_bytes()), None, "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_borne(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn anything_like_a_line_is_borne(line in "[0-9]{0,9} \\(\\PC{0,9}\\)( -?[0-9A-Z]{0,21}){0,24}") {
            let _ = parse(line.as_bytes());
        }
    }
}
