//! Whose a system service is: its path does not tell (`User=`), its first process does.

use super::Asked;
use super::environment::{pids, read};
use crate::model::reading::Hierarchy;
use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// Where processes and the groups that hold them are seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owners {
    /// The proc filesystem.
    pub procfs: PathBuf,
    /// Each hierarchy's place.
    pub roots: Vec<(Hierarchy, PathBuf)>,
}

/// Who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// This user.
    User(u32),
    /// The machine itself: what root runs is no user's.
    Machine,
    /// Its processes are of another PID namespace, or what is seen of processes is not this machine's.
    Hidden,
    /// There is no process yet, or the one there has not become what it will be.
    NotYet,
}

impl Owners {
    pub(super) fn of(&self, asked: &Asked) -> Owner {
        let Some(group) = self.group(asked) else { return Owner::Hidden };
        let Some(pid) = pids(&group, &HashSet::new()).first().copied() else {
            let text = read(&group.join("cgroup.procs")).unwrap_or_default();
            return if text.starts_with(b"0\n") { Owner::Hidden } else { Owner::NotYet };
        };
        let process = self.procfs.join(pid.to_string());
        let Ok(metadata) = std::fs::metadata(&process) else { return Owner::NotYet };
        match metadata.uid() {
            // Between fork and exec systemd's child, which is root still, is called like `(postgres)`.
            0 if read(&process.join("comm")).is_ok_and(|name| name.starts_with(b"(")) => Owner::NotYet,
            0 => Owner::Machine,
            user => Owner::User(user),
        }
    }

    fn group(&self, asked: &Asked) -> Option<PathBuf> {
        group_below(&self.roots, asked)
    }
}

/// Where a job's group is.
pub(super) fn group_below(roots: &[(Hierarchy, PathBuf)], asked: &Asked) -> Option<PathBuf> {
    let (_, root) = roots.iter().find(|(hierarchy, _)| *hierarchy == asked.hierarchy)?;
    let path = Path::new(asked.cgroup.trim_start_matches('/'));
    let is_plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    is_plain.then(|| root.join(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::lchown;

    #[test]
    fn the_first_process_tells_and_one_that_is_still_systemd_s_does_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |path: &str| folder.path().join(path);
        let owners = Owners { procfs: at("proc"), roots: vec![(Hierarchy::Primary, at("cgroup"))] };
        let mine = std::fs::metadata(folder.path()).expect("it is there").uid();
        let process = |pid: u32, comm: &str| {
            let process = at(&format!("proc/{pid}"));
            std::fs::create_dir_all(&process).expect("made");
            std::fs::write(process.join("comm"), format!("{comm}\n")).expect("written");
            process
        };
        process(7, "postgres");
        process(8, "(cron)");
        // As another user only root can make it somebody else's.
        let theirs = if mine == 0 {
            lchown(at("proc/7"), Some(1_000), None).expect("root may");
            Owner::User(1_000)
        } else {
            Owner::User(mine)
        };
        let (machine, not_yet) = if mine == 0 { (Owner::Machine, Owner::NotYet) } else { (theirs, theirs) };
        process(9, "cron");
        for (group, procs, expected) in [
            ("system.slice/a.service", Some("7\n9\n"), theirs),
            ("system.slice/b.service", Some("8\n7\n"), not_yet),
            ("system.slice/c.service", Some("9\n7\n"), machine),
            ("system.slice/d.mount", Some(""), Owner::NotYet),
            // It ended meanwhile.
            ("system.slice/e.service", Some("10\n"), Owner::NotYet),
            ("system.slice/f.service", Some("0\n0\n"), Owner::Hidden),
            ("system.slice/g.service", None, Owner::NotYet),
            ("system.slice/../h.service", None, Owner::Hidden),
        ] {
            if let Some(procs) = procs {
                std::fs::create_dir_all(at("cgroup").join(group)).expect("made");
                std::fs::write(at("cgroup").join(group).join("cgroup.procs"), procs).expect("written");
            }
            let cgroup = format!("/{group}").as_str().into();
            let asked = Asked { cgroup, hierarchy: Hierarchy::Primary, user: None };
            assert_eq!(owners.of(&asked), expected, "{group}");
        }
        let asked = Asked { cgroup: "/x".into(), hierarchy: Hierarchy::Supplement, user: None };
        assert_eq!(owners.of(&asked), Owner::Hidden, "a hierarchy that is not looked at");
    }
}
