//! Looking at the directories themselves: at the start, when a group is made, and at every tick where
//! inotify is not to be had or has lost events.

use super::Tree;
use crate::job::account::file_name;
use crate::model::reading::Fault;
use std::collections::HashSet;
use std::io;
use std::path::Path;

impl Tree {
    /// Admits all children of a group, and theirs.
    pub(super) fn explore(&mut self, root: usize, parent: Option<u32>, is_new: bool) {
        let path =
            parent.and_then(|parent| self.nodes[parent as usize].as_ref()).map(|node| node.path.clone());
        let directory = self.directory(root, path.as_deref().unwrap_or_default());
        match child_names(&directory) {
            Ok(names) => {
                for name in names {
                    self.admit(root, parent, &name, is_new);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => self.cannot_look(&error),
        }
    }

    /// Compares every directory with what is remembered.
    pub(super) fn look_again(&mut self) {
        let mut seen: HashSet<u32> = HashSet::new();
        let mut places: Vec<(usize, Option<u32>)> = (0..self.roots.len()).map(|root| (root, None)).collect();
        let mut made = Vec::new();
        while let Some((root, parent)) = places.pop() {
            let path = parent.map(|parent| self.node(parent).path.clone());
            let directory = self.directory(root, path.as_deref().unwrap_or_default());
            let names = match child_names(&directory) {
                Ok(names) => names,
                // Gone since its parent was read.
                Err(error) if error.kind() == io::ErrorKind::NotFound && parent.is_some() => continue,
                // What cannot be looked at is not gone: all jobs would end, and return with their whole past.
                Err(error) => return self.cannot_look(&error),
            };
            for name in names {
                match self.by_path.get(&(root, self.child_path(parent, &name))) {
                    Some(&known) if self.is_still(known) => {
                        seen.insert(known);
                        places.push((root, Some(known)));
                    }
                    Some(_) | None => made.push((root, parent, name)),
                }
            }
        }
        let gone: Vec<u32> = (0..)
            .zip(&self.nodes)
            .filter_map(|(index, node)| (node.is_some() && !seen.contains(&index)).then_some(index))
            .collect();
        for index in gone {
            self.remove(index);
        }
        for (root, parent, name) in made {
            if parent.is_none_or(|parent| self.nodes[parent as usize].is_some()) {
                self.admit(root, parent, &name, true);
            }
        }
    }

    /// Whether the group is the one we know, and not a later one of the same name, whose account would
    /// never be read.
    fn is_still(&self, index: u32) -> bool {
        let node = self.node(index);
        let is_percpu = self.surroundings.topology.packages.len() > 1;
        let file = file_name(self.roots[node.root].version, is_percpu);
        let path = self.directory(node.root, &node.path).join(file);
        node.account.as_ref().is_none_or(|account| account.is_at(&path))
    }

    /// A directory that is there could not be read: the next tick tries again.
    fn cannot_look(&mut self, error: &io::Error) {
        *self.errors.entry(Fault::from(error)).or_default() += 1;
        self.must_look = true;
    }
}

/// The directories inside one, in order of their names: the page lists jobs as they were found.
fn child_names(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir())
            && let Ok(name) = entry.file_name().into_string()
        {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Resolvers;
    use crate::job::hierarchy;
    use crate::job::processor::Topology;
    use crate::job::tree::Surroundings;
    use crate::kernel_file::Buffer;
    use crate::model::identity::JobKind;
    use crate::model::quantity::Nanos;
    use crate::model::reading::{GroupRole, Groups};

    fn group(root: &Path, path: &str, usage_usec: u64) {
        let directory = root.join(path);
        std::fs::create_dir_all(&directory).expect("made");
        std::fs::write(directory.join("cpu.stat"), format!("usage_usec {usage_usec}\n")).expect("written");
    }

    fn tree(root: &Path, max_groups: usize) -> Tree {
        std::fs::write(root.join("cgroup.controllers"), "").expect("written");
        let surroundings = Surroundings {
            procfs: "/proc".into(),
            topology: Topology::read(root),
            wants_reservations: false,
            max_groups,
        };
        let resolvers = Resolvers::new(Vec::new(), vec![JobKind::Pod, JobKind::Container, JobKind::Unit]);
        Tree::open(hierarchy::find(root).expect("a hierarchy"), resolvers, surroundings)
    }

    /// The last usage of each job that was read, by its name.
    fn readings(groups: &Groups, tree: &Tree) -> Vec<(String, Nanos)> {
        let name = |slot: u32| tree.node(slot).path.rsplit('/').next().expect("a name").to_owned();
        let mut all: Vec<_> =
            groups.readings.iter().map(|reading| (name(reading.slot.0), reading.usage)).collect();
        all.sort();
        all
    }

    #[test]
    fn a_directory_that_cannot_be_read_ends_no_job() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let root = folder.path().join("cgroup");
        group(&root, "system.slice/a.service", 86_400_000_000);
        let mut tree = tree(&root, 100);
        // As where inotify is not to be had.
        tree.watch = None;
        let mut buffer = Buffer::default();
        assert_eq!(tree.collect(&mut buffer).births.len(), 2);
        std::fs::rename(&root, folder.path().join("away")).expect("moved");
        std::fs::write(&root, "no directory").expect("written");
        let blind = tree.collect(&mut buffer);
        assert!(blind.deaths.is_empty() && blind.births.is_empty(), "{blind:?}");
        assert!(!tree.sees_all(), "there may be groups that were not seen");
        assert_eq!(tree.state().errors.iter().map(|error| error.1).sum::<u64>(), 1);
        std::fs::remove_file(&root).expect("removed");
        std::fs::rename(folder.path().join("away"), &root).expect("moved");
        let back = tree.collect(&mut buffer);
        assert!(back.deaths.is_empty() && back.births.is_empty(), "{back:?}");
        assert!(tree.sees_all());
        assert_eq!(readings(&back, &tree)[0].0, "a.service");
    }

    #[test]
    fn after_a_reload_each_group_has_its_baseline_at_once() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        group(folder.path(), "system.slice/a.service", 7_000_000);
        let mut tree = tree(folder.path(), 100);
        let mut buffer = Buffer::default();
        tree.collect(&mut buffer);
        let kinds = vec![JobKind::Unit];
        tree.reconfigure(Resolvers::new(Vec::new(), kinds), false, &mut buffer);
        group(folder.path(), "system.slice/a.service", 12_000_000);
        let groups = tree.collect(&mut buffer);
        let job =
            groups.births.iter().find(|birth| matches!(birth.role, GroupRole::Job(_))).expect("born again");
        let seen: Vec<u64> = groups
            .readings
            .iter()
            .filter(|reading| reading.slot == job.slot)
            .map(|reading| reading.usage.get() / 1_000_000_000)
            .collect();
        assert_eq!(seen, [7, 12], "what it used since the reload is its own");
    }

    #[test]
    fn a_child_is_observed_only_after_the_groups_around_it() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for path in ["system.slice", "system.slice/a.service", "user.slice", "user.slice/u.service"] {
            group(folder.path(), path, 0);
        }
        group(folder.path(), "user.slice/u.service/inner.service", 0);
        let mut tree = tree(folder.path(), 3);
        let mut buffer = Buffer::default();
        let first = tree.collect(&mut buffer);
        assert_eq!((first.births.len(), tree.state().hidden), (3, 2));
        tree.surroundings.max_groups = 10;
        let mut births = Vec::new();
        for _ in 0..3 {
            births.extend(tree.collect(&mut buffer).births);
        }
        let paths: Vec<&str> = births.iter().map(|birth| birth.path.as_ref()).collect();
        assert_eq!(paths, ["/user.slice/u.service", "/user.slice/u.service/inner.service"]);
        assert_eq!(births[1].parent, Some(births[0].slot));
    }

    #[test]
    fn a_group_whose_account_cannot_be_opened_is_tried_again() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let service = folder.path().join("system.slice/a.service");
        group(folder.path(), "system.slice", 0);
        std::fs::create_dir_all(&service).expect("made");
        // A link to itself: there, and not to be opened, as when no descriptor is left.
        std::os::unix::fs::symlink("cpu.stat", service.join("cpu.stat")).expect("linked");
        let mut tree = tree(folder.path(), 100);
        let mut buffer = Buffer::default();
        let first = tree.collect(&mut buffer);
        assert_eq!((first.births.len(), first.deaths.len(), tree.state().hidden), (1, 0, 1));
        std::fs::remove_file(service.join("cpu.stat")).expect("removed");
        group(folder.path(), "system.slice/a.service", 5);
        let next = tree.collect(&mut buffer);
        assert_eq!((next.births.len(), tree.state().hidden), (1, 0));
        assert!(!next.births[0].is_new && !next.crowded.is_empty());
    }

    #[test]
    fn no_event_of_a_storm_is_lost() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        group(folder.path(), "system.slice", 0);
        let mut tree = tree(folder.path(), 20_000);
        let mut buffer = Buffer::default();
        tree.collect(&mut buffer);
        for number in 0..9_000 {
            std::fs::create_dir(folder.path().join(format!("system.slice/storm-{number}"))).expect("made");
        }
        for _ in 0..3 {
            tree.collect(&mut buffer);
        }
        assert_eq!(tree.by_path.len(), 9_001);
    }
}
