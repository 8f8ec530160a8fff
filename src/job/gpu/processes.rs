//! The processes that a driver lists, and the jobs they stand in. A driver tells numbers of the PID namespace
//! of whoever asks it, and older ones the host's: they mean what /proc means only where we are in the host's
//! namespace ourselves, and /proc is of that. Elsewhere nobody is charged by them.

use crate::job::process::stat;
use crate::job::register::Stand;
use crate::kernel_file::{has_ended, read_text};
use crate::model::identity::JobId;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The namespace that the kernel starts with (`PROC_PID_INIT_INO` in include/linux/proc_ns.h).
const OF_THE_HOST: &str = "pid:[4026531836]";

/// Processes of one tick. A device serves some dozens at a time, with MPS 48.
const MAX_PROCESSES: usize = 4_096;

/// Whether a driver's numbers are those of this /proc.
#[must_use]
pub fn are_numbers_of(procfs: &Path, own: u32) -> bool {
    let status = read_text(&procfs.join("self/status")).unwrap_or_default();
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    // Kernels before 4.1 do not tell; the namespace does.
    let is_one = numbers.is_none_or(|numbers| numbers.trim() == own.to_string());
    let namespace = std::fs::read_link(procfs.join("self/ns/pid"));
    !status.is_empty() && is_one && namespace.is_ok_and(|name| *name == *Path::new(OF_THE_HOST))
}

/// What is known of the processes on the lists.
#[derive(Debug)]
pub struct Listed {
    procfs: PathBuf,
    // Those of the lists of this tick and the one before it.
    known: HashMap<u32, Known>,
}

#[derive(Debug, Clone)]
struct Known {
    start: u64,
    has_ended: bool,
    jobs: Vec<JobId>,
}

/// When a process began, as /proc says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    /// In clock ticks since the machine did.
    At(u64),
    /// There is no process with this number.
    Missing,
    /// It cannot be read: that says nothing.
    Hidden,
}

/// What is to be made of a process on a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// It stands in these jobs, the innermost first, or in none.
    In(Vec<JobId>),
    /// It ended before this tick: a list can be some seconds old.
    Ended,
    /// It cannot be told: it is not in /proc, or its group cannot be seen.
    Unknown,
}

impl Listed {
    /// With this /proc.
    #[must_use]
    pub fn new(procfs: &Path) -> Listed {
        Listed { procfs: procfs.to_owned(), known: HashMap::new() }
    }

    /// Looks up each number on the lists of this tick, once.
    pub fn look(
        &mut self,
        numbers: impl Iterator<Item = u32>,
        stand_of: impl Fn(u32) -> Stand,
    ) -> HashMap<u32, Owner> {
        let mut owners = HashMap::new();
        let mut known = HashMap::new();
        for pid in numbers.filter(|pid| *pid != 0) {
            if owners.len() >= MAX_PROCESSES || owners.contains_key(&pid) {
                continue;
            }
            let (owner, now) = self.owner(pid, stand_of(pid));
            owners.insert(pid, owner);
            known.extend(now.map(|now| (pid, now)));
        }
        self.known = known;
        owners
    }

    fn owner(&self, pid: u32, stand: Stand) -> (Owner, Option<Known>) {
        let before = self.known.get(&pid);
        match (before, self.start(pid), stand) {
            // Its group was read in another moment than its start: it is as it was.
            (Some(known), Start::At(start), Stand::Gone) if start == known.start => {
                (Owner::In(known.jobs.clone()), Some(Known { has_ended: false, ..known.clone() }))
            }
            (Some(known), Start::At(start), Stand::Hidden) if start == known.start => {
                (Owner::Unknown, Some(Known { has_ended: false, ..known.clone() }))
            }
            // It is gone, or its number is another's by now, for as long as it stands on the list.
            (Some(known), Start::At(start), _) if start != known.start => ended(known),
            (Some(known), Start::Missing, _) => ended(known),
            (Some(known), Start::Hidden, _) => (Owner::Unknown, Some(known.clone())),
            (_, Start::At(start), Stand::In(jobs)) => {
                let known = Known { start, has_ended: false, jobs: jobs.clone() };
                (Owner::In(jobs), Some(known))
            }
            (_, Start::At(_), Stand::Gone | Stand::Hidden) | (None, Start::Missing | Start::Hidden, _) => {
                (Owner::Unknown, None)
            }
        }
    }

    fn start(&self, pid: u32) -> Start {
        // A process may call itself anything, also what is no text.
        match std::fs::read(self.procfs.join(pid.to_string()).join("stat")) {
            Ok(line) => stat::parse(&line).map_or(Start::Hidden, |stat| Start::At(stat.start)),
            Err(error) if has_ended(&error) => Start::Missing,
            Err(_) => Start::Hidden,
        }
    }
}

/// The interval in which it ended is its own; the next one is not.
fn ended(known: &Known) -> (Owner, Option<Known>) {
    let owner = if known.has_ended { Owner::Ended } else { Owner::In(known.jobs.clone()) };
    (owner, Some(Known { has_ended: true, ..known.clone() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::identity::JobKind;
    use std::fs;

    fn start(folder: &Path, pid: u32, start: u64) {
        let place = folder.join(pid.to_string());
        fs::create_dir_all(&place).expect("made");
        let line = format!("{pid} (a b) R 1 1 1 0 -1 4194304 1 0 0 0 5 6 0 0 20 0 1 0 {start} 1 1");
        fs::write(place.join("stat"), line).expect("written");
    }

    #[test]
    fn a_process_is_charged_for_the_interval_in_which_it_ends_and_its_number_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let job = vec![JobId::new(JobKind::Unit, "a.service")];
        let mut listed = Listed::new(folder.path());
        let stand = |pid: u32| match folder.path().join(pid.to_string()).is_dir() {
            true => Stand::In(job.clone()),
            false => Stand::Gone,
        };
        let mut look = |pids: &[u32]| listed.look(pids.iter().copied(), stand);
        start(folder.path(), 7, 100);
        assert_eq!(look(&[7, 7, 0, 8]), [(7, Owner::In(job.clone())), (8, Owner::Unknown)].into());
        fs::remove_dir_all(folder.path().join("7")).expect("removed");
        assert_eq!(look(&[7]), [(7, Owner::In(job.clone()))].into());
        assert_eq!(look(&[7]), [(7, Owner::Ended)].into());
        // Another process has its number, and the list is still the old one.
        start(folder.path(), 7, 900);
        assert_eq!(look(&[7]), [(7, Owner::Ended)].into());
        // A new list without it, and one with the new one.
        assert!(look(&[]).is_empty());
        assert_eq!(look(&[7]), [(7, Owner::In(job.clone()))].into());
        start(folder.path(), 7, 901);
        assert_eq!(look(&[7]), [(7, Owner::In(job.clone()))].into(), "its last interval");
        assert_eq!(look(&[7]), [(7, Owner::Ended)].into());
    }

    #[test]
    fn a_process_that_cannot_be_seen_is_nobody_s() {
        let folder = tempfile::tempdir().expect("a folder");
        start(folder.path(), 7, 100);
        let mut listed = Listed::new(folder.path());
        assert_eq!(listed.look([7].into_iter(), |_| Stand::Hidden), [(7, Owner::Unknown)].into());
    }

    #[test]
    fn what_cannot_be_read_for_a_while_has_not_ended() {
        let folder = tempfile::tempdir().expect("a folder");
        let job = vec![JobId::new(JobKind::Unit, "a.service")];
        let mut listed = Listed::new(folder.path());
        start(folder.path(), 7, 100);
        for (stand, expected) in [
            (Stand::In(job.clone()), Owner::In(job.clone())),
            (Stand::Hidden, Owner::Unknown),
            (Stand::Gone, Owner::In(job.clone())),
            (Stand::In(job.clone()), Owner::In(job.clone())),
        ] {
            assert_eq!(listed.look([7].into_iter(), |_| stand.clone()), [(7, expected)].into(), "{stand:?}");
        }
        let place = folder.path().join("7/stat");
        fs::remove_file(&place).expect("removed");
        fs::create_dir(&place).expect("no file");
        let mut look = |stand: Stand| listed.look([7].into_iter(), |_| stand.clone());
        assert_eq!(look(Stand::In(job.clone())), [(7, Owner::Unknown)].into());
        fs::remove_dir(&place).expect("removed");
        look(Stand::Gone);
        assert_eq!(look(Stand::Gone), [(7, Owner::Ended)].into());
        start(folder.path(), 7, 100);
        assert_eq!(look(Stand::In(job.clone())), [(7, Owner::In(job.clone()))].into(), "it is there still");
    }

    #[test]
    fn numbers_are_believed_in_the_host_s_namespace_alone() {
        for (status, namespace, expected) in [
            ("Name:\tx\nNSpid:\t42\n", "pid:[4026531836]", true),
            ("Name:\tx\n", "pid:[4026531836]", true),
            ("Name:\tx\nNSpid:\t42\n", "pid:[4026532999]", false),
            // /proc is of the host, and we are not.
            ("Name:\tx\nNSpid:\t4711\t42\n", "pid:[4026532999]", false),
            ("Name:\tx\nNSpid:\t4711\n", "pid:[4026531836]", false),
            ("", "pid:[4026531836]", false),
        ] {
            let folder = tempfile::tempdir().expect("a folder");
            fs::create_dir_all(folder.path().join("self/ns")).expect("made");
            fs::write(folder.path().join("self/status"), status).expect("written");
            std::os::unix::fs::symlink(namespace, folder.path().join("self/ns/pid")).expect("linked");
            assert_eq!(are_numbers_of(folder.path(), 42), expected, "{status} {namespace}");
        }
        assert!(!are_numbers_of(Path::new("/nowhere"), 42));
    }
}
