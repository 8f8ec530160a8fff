//! The command's processes, where it has no control group of its own: what they use while they live, by
//! walking from parent to child; what the ended have used, the kernel tells to the µs.

use crate::job::process::stat;
use crate::kernel_file::{Buffer, KernelFile, read_text};
use crate::model::quantity::{CpuTime, Nanos};
use nix::sys::resource::{UsageWho, getrusage};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// /proc counts in 1/100 s on every architecture (`USER_HZ`).
const TICK: u64 = 10_000_000;

/// Processes that are looked at: the others are counted when they have ended.
const MAX_PROCESSES: usize = 4_096;

/// From a process to the command are fewer steps: shells in shells, and workers of workers.
const MAX_DEPTH: usize = 256;

/// The descendants of one process.
#[derive(Debug, Clone)]
pub struct Tree {
    procfs: PathBuf,
    root: u32,
    // Children that were ours before the command: a shell that became us leaves us its own.
    earlier: BTreeSet<u32>,
    before: CpuTime,
    most: CpuTime,
}

impl Tree {
    /// Everything that this process starts from now on. What loses its parent becomes our child, so that
    /// nothing ends unseen.
    #[must_use]
    pub fn of_own_children() -> Tree {
        // Without it (a kernel before 3.4) orphans are counted while they live.
        let own = rustix::process::getpid();
        let _ = rustix::process::set_child_subreaper(Some(own));
        Tree::new(Path::new("/proc"), own.as_raw_nonzero().get().unsigned_abs())
    }

    /// The descendants of `root`.
    #[must_use]
    pub fn new(procfs: &Path, root: u32) -> Tree {
        Tree {
            procfs: procfs.to_owned(),
            root,
            earlier: BTreeSet::new(),
            before: CpuTime::ZERO,
            most: CpuTime::ZERO,
        }
    }

    /// From now on: what was ours before, and what that has used, is not the command's.
    pub fn begin(&mut self) {
        self.before = ended();
        self.earlier = children(&self.procfs, self.root).unwrap_or_default().into_iter().collect();
    }

    /// What all of them have used. It never falls, though a process that ends between two looks at it may
    /// be missing from one.
    pub fn used(&mut self) -> CpuTime {
        let used = ended().saturating_sub(self.before) + self.living().1;
        self.most = self.most.max(used);
        self.most
    }

    /// Whether a process is one of them; `None` if it is there no more.
    #[must_use]
    pub fn has(&self, pid: u32) -> Option<bool> {
        let mut pid = pid;
        for step in 0..MAX_DEPTH {
            let Some(parent) = parent(&self.procfs, pid) else {
                // Its parent has ended meanwhile: it has another one by now.
                return (step > 0).then_some(false);
            };
            if parent == self.root {
                return Some(!self.earlier.contains(&pid));
            }
            pid = parent;
        }
        Some(false)
    }

    /// How many live, and what they have used, those among it that they waited for.
    #[must_use]
    pub fn living(&self) -> (usize, CpuTime) {
        let (found, used) = self.walk();
        (found.len(), used)
    }

    /// The processes that live.
    #[must_use]
    pub fn processes(&self) -> Vec<u32> {
        self.walk().0.into_iter().collect()
    }

    fn walk(&self) -> (BTreeSet<u32>, CpuTime) {
        let mut buffer = Buffer::default();
        let mut found: BTreeSet<u32> = BTreeSet::new();
        let mut next = vec![self.root];
        let mut by_parent = None;
        let mut used = 0_u64;
        while let Some(parent) = next.pop() {
            let children = match children(&self.procfs, parent) {
                Some(children) => children,
                None => by_parent
                    .get_or_insert_with(|| everybody(&self.procfs, &mut buffer))
                    .get(&parent)
                    .cloned()
                    .unwrap_or_default(),
            };
            for child in children {
                let is_earlier = parent == self.root && self.earlier.contains(&child);
                if !is_earlier && found.len() < MAX_PROCESSES && found.insert(child) {
                    used = used.saturating_add(read(&self.procfs, child, &mut buffer).unwrap_or(0));
                    next.push(child);
                }
            }
        }
        (found, Nanos::new(used.saturating_mul(TICK)))
    }
}

/// CPU time of our children that have ended and were waited for, and of theirs.
#[must_use]
pub fn ended() -> CpuTime {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_CHILDREN) else { return CpuTime::ZERO };
    let nanos = |time: nix::sys::time::TimeVal| {
        let micro = u64::try_from(time.tv_sec()).unwrap_or(0) * 1_000_000;
        (micro + u64::try_from(time.tv_usec()).unwrap_or(0)) * 1_000
    };
    Nanos::new(nanos(usage.user_time()) + nanos(usage.system_time()))
}

/// Who started a process, by its `status`. What it calls itself need be no text.
fn parent(procfs: &Path, pid: u32) -> Option<u32> {
    let status = std::fs::read(procfs.join(pid.to_string()).join("status")).ok()?;
    let status = String::from_utf8_lossy(&status);
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok();
    parent.filter(|parent| *parent != 0)
}

/// The children of all threads of a process; `None` where the kernel does not list them
/// (`CONFIG_PROC_CHILDREN`).
fn children(procfs: &Path, pid: u32) -> Option<Vec<u32>> {
    let threads = std::fs::read_dir(procfs.join(pid.to_string()).join("task"));
    let mut all = Vec::new();
    for thread in threads.into_iter().flatten().flatten() {
        match read_text(&thread.path().join("children")) {
            Ok(text) => all.extend(text.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && thread.path().exists() => {
                return None;
            }
            // It has just ended.
            Err(_) => {}
        }
    }
    Some(all)
}

/// Everybody's children, by reading everybody.
fn everybody(procfs: &Path, buffer: &mut Buffer) -> BTreeMap<u32, Vec<u32>> {
    let mut by_parent: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in std::fs::read_dir(procfs).into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(file) = KernelFile::open(&entry.path().join("stat")) else { continue };
        let Ok(line) = file.read_start(buffer) else { continue };
        if let Some(parent) = parent_of(line) {
            by_parent.entry(parent).or_default().push(pid);
        }
    }
    by_parent
}

/// The second field behind the name.
fn parent_of(line: &[u8]) -> Option<u32> {
    let close = line.iter().rposition(|byte| *byte == b')')?;
    let text = std::str::from_utf8(&line[close + 1..]).ok()?;
    text.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// What a process has used, in 1/100 s.
fn read(procfs: &Path, pid: u32, buffer: &mut Buffer) -> Option<u64> {
    let file = KernelFile::open(&procfs.join(pid.to_string()).join("stat")).ok()?;
    let stat = stat::parse(file.read_start(buffer).ok()?)?;
    stat.own.checked_add(stat.waited)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_process_is_ours_by_its_ancestors() {
        let folder = tempfile::tempdir().expect("a folder");
        for (pid, parent) in [(5, 1), (10, 5), (11, 10), (12, 11), (20, 5), (30, 1), (41, 40), (1, 0)] {
            let place = folder.path().join(pid.to_string());
            std::fs::create_dir(&place).expect("made");
            let status = format!("Name:\tx\\xff\nPid:\t{pid}\nPPid:\t{parent}\n");
            std::fs::write(place.join("status"), status).expect("written");
        }
        let mut tree = super::Tree::new(folder.path(), 5);
        tree.earlier.insert(20);
        for (pid, expected) in [
            (10, Some(true)),
            (12, Some(true)),
            (20, Some(false)),
            (5, Some(false)),
            (30, Some(false)),
            (41, Some(false)),
            (99, None),
        ] {
            assert_eq!(tree.has(pid), expected, "{pid}");
        }
    }

    use super::*;

    fn process(root: &Path, pid: u32, parent: u32, times: [u64; 4], children: Option<&str>) {
        let folder = root.join(pid.to_string());
        let task = folder.join("task").join(pid.to_string());
        std::fs::create_dir_all(&task).expect("made");
        let [own, system, waited, system_waited] = times;
        let line = format!(
            "{pid} (a) b (c) S {parent} 7 7 0 -1 4194560 1 0 0 0 {own} {system} {waited} {system_waited} 20 0 1 0 44 5 6 7\n"
        );
        std::fs::write(folder.join("stat"), line).expect("written");
        if let Some(children) = children {
            std::fs::write(task.join("children"), children).expect("written");
        }
    }

    #[test]
    fn a_tree_is_all_that_descends_from_its_root_whether_the_kernel_lists_children_or_not() {
        for has_lists in [true, false] {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let list = |text: &'static str| has_lists.then_some(text);
            process(folder.path(), 10, 1, [1_000, 0, 500, 0], list("11 12 "));
            process(folder.path(), 11, 10, [1, 2, 3, 4], list(""));
            process(folder.path(), 12, 10, [10, 0, 0, 0], list("13 99"));
            process(folder.path(), 13, 12, [100, 0, 0, 0], list(""));
            process(folder.path(), 20, 1, [7_000, 0, 0, 0], list(""));
            let (count, used) = Tree::new(folder.path(), 10).living();
            assert!((3..=4).contains(&count), "{count}");
            assert_eq!(used, Nanos::new(120 * TICK), "the root's own use is not its descendants'");
        }
    }

    #[test]
    fn what_a_tree_has_used_never_falls() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        process(folder.path(), 10, 1, [0; 4], Some("11"));
        process(folder.path(), 11, 10, [500_000, 0, 0, 0], Some(""));
        let mut tree = Tree::new(folder.path(), 10);
        let first = tree.used();
        assert!(first >= Nanos::new(500_000 * TICK));
        process(folder.path(), 10, 1, [0; 4], Some(""));
        assert_eq!(tree.used(), first);
    }
}
