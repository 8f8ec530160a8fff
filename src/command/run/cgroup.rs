//! A control group for one command, below our own, where we may make one: the kernel then counts every
//! process of it, however short. The command is born inside; we are there only meanwhile.

use crate::job::account::{file_name, read_account};
use crate::job::hierarchy::{self, Version};
use crate::job::run::PREFIX;
use crate::job::speech::Usage;
use crate::kernel_file::{Buffer, KernelFile, read_text};
use crate::model::identity::Name;
use crate::model::quantity::{CpuTime, Nanos};
use crate::model::reading::Hierarchy;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A process that has just ended leaves its group a moment later.
const REMOVALS: usize = 10;
const PAUSE: Nanos = Nanos::new(1_000_000);

/// So many groups that earlier runs left are tried at once: each may cost the kernel a look, and the command waits.
const MAX_LEFT: usize = 100;

/// The group; removed when dropped, if it is empty.
#[derive(Debug)]
pub struct OwnGroup {
    directory: PathBuf,
    outside: PathBuf,
    /// Its path from the root of the hierarchy.
    pub path: Name,
    version: Version,
    account: KernelFile,
    is_removed: bool,
}

impl OwnGroup {
    /// Makes the group below the one that this process is in.
    ///
    /// # Errors
    /// There are no control groups, or none is ours to make.
    pub fn make(cgroupfs: &Path, id: &str) -> io::Result<OwnGroup> {
        let roots = hierarchy::list(cgroupfs).map_err(|fault| io::Error::other(fault.to_string()))?;
        let primary = roots.into_iter().find(|root| root.hierarchy == Hierarchy::Primary);
        let root = primary.ok_or_else(|| io::Error::other("no control groups"))?;
        let own = read_text(Path::new("/proc/self/cgroup"))?;
        // A path outside our namespace says nothing of what is mounted here.
        let path = root.version.path_in(&own).filter(|path| !path.starts_with("/.."));
        let path = path.ok_or_else(|| io::Error::other("in no control group"))?;
        let outside = root.path.join(path.trim_start_matches('/'));
        let name = format!("{PREFIX}{id}");
        let directory = outside.join(&name);
        sweep(&outside);
        fs::create_dir(&directory)?;
        let account = KernelFile::open(&directory.join(file_name(root.version, false)));
        let account = account.inspect_err(|_| drop(fs::remove_dir(&directory)))?;
        let path = format!("{}/{name}", path.trim_end_matches('/')).into();
        Ok(OwnGroup { directory, outside, path, version: root.version, account, is_removed: false })
    }

    /// Moves this process in: what it starts from now on is born there.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn enter(&self) -> io::Result<()> {
        self.move_to(&self.directory)
    }

    /// Moves this process back.
    ///
    /// # Errors
    /// The kernel refuses: we then stay where the command is, and are counted with it.
    pub fn leave(&self) -> io::Result<()> {
        self.move_to(&self.outside)
    }

    /// On v1 one thread, ours, moves without the lock that holds up every process of the machine, and us, for
    /// some ms; we have no other. v2 moves whole processes.
    fn move_to(&self, directory: &Path) -> io::Result<()> {
        let file = match self.version {
            Version::V1 => "tasks",
            Version::V2 => "cgroup.procs",
        };
        // 0 is whoever writes.
        fs::write(directory.join(file), "0\n")
    }

    /// What it has used since it was made; `None` if that cannot be read.
    pub fn used(&self, buffer: &mut Buffer) -> Option<CpuTime> {
        let reading = read_account(&self.account, self.version, false, 0, buffer);
        reading.ok().map(|reading| reading.usage())
    }

    /// Whether a process is in it, or in a group below; `None` if it is there no more.
    #[must_use]
    pub fn has(&self, pid: u32) -> Option<bool> {
        is_member(pid, self.version, &self.path)
    }

    /// The same, for another thread.
    pub fn members(&self) -> impl Fn(u32) -> Option<bool> + Send + Sync + 'static {
        let (version, path) = (self.version, Arc::clone(&self.path));
        move |pid| is_member(pid, version, &path)
    }

    /// Where its CPU time is counted.
    #[must_use]
    pub fn usage(&self) -> Usage {
        Usage { group: self.directory.clone(), version: self.version }
    }

    /// The processes in it and in groups below it that the command made.
    #[must_use]
    pub fn processes(&self) -> Vec<u32> {
        let of = |directory: &Path| {
            let text = read_text(&directory.join("cgroup.procs")).unwrap_or_default();
            text.lines().filter_map(|line| line.parse().ok()).collect::<Vec<u32>>()
        };
        let below = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let mut all = of(&self.directory);
        all.extend(below.flat_map(|entry| of(&entry.path())));
        all
    }

    /// Removes the group. Returns how many processes of the command still live in it: it stays then.
    pub fn remove(&mut self) -> usize {
        self.is_removed = true;
        for attempt in 0..REMOVALS {
            match fs::remove_dir(&self.directory) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {}
                Ok(()) | Err(_) => return 0,
            }
            let living = self.processes().len();
            // Workers often end a moment after who started them.
            if attempt + 1 == REMOVALS {
                return living;
            }
            crate::clock::sleep(PAUSE);
        }
        0
    }
}

/// Removes what earlier runs left whose command outlived them, or that were killed: their number is at the end of their
/// id. Where somebody still lives the kernel refuses.
fn sweep(place: &Path) {
    let entries = fs::read_dir(place).into_iter().flatten().flatten();
    let named = entries.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let pid: u32 = name.strip_prefix(PREFIX)?.rsplit_once('-')?.1.parse().ok()?;
        Some((entry.path(), pid))
    });
    let gone = named.filter(|(_, pid)| !Path::new("/proc").join(pid.to_string()).exists());
    gone.take(MAX_LEFT).for_each(|(path, _)| drop(fs::remove_dir(path)));
}

fn is_member(pid: u32, version: Version, group: &str) -> Option<bool> {
    let groups = read_text(&Path::new("/proc").join(pid.to_string()).join("cgroup")).ok()?;
    let rest = version.path_in(&groups).unwrap_or_default().strip_prefix(group);
    Some(rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

impl Drop for OwnGroup {
    fn drop(&mut self) {
        if !self.is_removed {
            let _ = fs::remove_dir(&self.directory);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_earlier_runs_left_goes_and_nothing_else() {
        let place = tempfile::tempdir().expect("a folder");
        // More than any process has.
        let gone = "jouleprint-run-20261122T081500Z-4194305";
        let full = "jouleprint-run-20261122T081501Z-4194305";
        let own = format!("jouleprint-run-20261122T081500Z-{}", std::process::id());
        let others = ["jouleprint-4194305", "jouleprint-run-x", "x-jouleprint-run-20261122T081500Z-4194305"];
        for name in others.into_iter().chain([gone, full, &own]) {
            fs::create_dir(place.path().join(name)).expect("made");
        }
        fs::write(place.path().join(full).join("somebody"), "").expect("written");
        sweep(place.path());
        assert!(!place.path().join(gone).exists());
        for name in others.into_iter().chain([full, &own]) {
            assert!(place.path().join(name).exists(), "{name}");
        }
    }
}
