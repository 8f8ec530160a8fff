//! What each group is allowed and promised, and whether its processes stand in a job of the other
//! hierarchy too.

use super::{ASKED_GROUPS, ATTRIBUTE_TURNS, Tree};
use crate::job::attributes::{self, Wanted};
use crate::model::identity::JobKind;
use crate::model::quantity::Nanos;
use crate::model::reading::{Attributes, GroupRole, GroupSlot, Hierarchy};

impl Tree {
    pub(super) fn wanted(&self) -> Wanted {
        Wanted {
            sockets: self.surroundings.topology.packages.len() > 1,
            reserved: self.surroundings.wants_reservations,
        }
    }

    pub(super) fn refresh_attributes(&mut self) {
        let wanted = self.wanted();
        if !(wanted.sockets || wanted.reserved) {
            return;
        }
        self.attribute_turn = (self.attribute_turn + 1) % ATTRIBUTE_TURNS;
        let turn: Vec<u32> = self
            .order
            .iter()
            .copied()
            .filter(|index| *index as usize % ATTRIBUTE_TURNS == self.attribute_turn)
            .collect();
        for index in turn {
            let attributes = self.attributes(index);
            self.happened.attributes.push((GroupSlot(index), attributes));
        }
    }

    pub(super) fn attributes(&self, index: u32) -> Attributes {
        let node = self.node(index);
        let root = &self.roots[node.root];
        let GroupRole::Job(id) = &node.role else { return Attributes::default() };
        let mut wanted = self.wanted();
        // The weight of any other group is a wish for a share, and by default the same for all.
        wanted.reserved &= id.kind() == JobKind::Pod;
        let mut attributes = attributes::read(root, &node.path, wanted, &self.surroundings.topology);
        attributes.is_double = node.double.is;
        attributes
    }

    /// A service may get a job of the primary hierarchy among its processes at any time, as slurmd
    /// does; who has worked most is asked at once, since each such second would be charged twice, the
    /// others one after another.
    pub(super) fn ask_where_else(&mut self, mut active: Vec<(Nanos, u32)>) {
        active.sort_unstable_by(|one, other| other.cmp(one));
        let mut others = active.split_off(active.len().min(ASKED_GROUPS));
        others.sort_unstable_by_key(|other| other.1);
        self.asked_turn = self.asked_turn.wrapping_add(ASKED_GROUPS);
        let first = self.asked_turn % others.len().max(1);
        others.rotate_left(first);
        for (_, index) in active.into_iter().chain(others.into_iter().take(ASKED_GROUPS)) {
            if self.is_double_now(index) {
                let attributes = self.attributes(index);
                self.happened.attributes.push((GroupSlot(index), attributes));
            }
        }
    }

    /// Asks a group's processes where else they stand. Returns whether that is news. It stays double
    /// for the tick in which the last such process has left: what that one used is in it.
    pub(super) fn is_double_now(&mut self, index: u32) -> bool {
        let node = self.node(index);
        let root = &self.roots[node.root];
        let is_asked = root.hierarchy == Hierarchy::Supplement && matches!(node.role, GroupRole::Job(_));
        if !is_asked {
            return false;
        }
        let is = attributes::is_double(root, &node.path, &self.surroundings.procfs, &self.resolvers);
        let double = &mut self.node_mut(index).double;
        let effective = is || double.was;
        double.was = is;
        std::mem::replace(&mut double.is, effective) != effective
    }
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
    use std::collections::BTreeSet;
    use std::path::Path;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().expect("inside")).expect("made");
        std::fs::write(path, text).expect("written");
    }

    #[test]
    fn every_working_group_is_asked_in_its_turn_where_else_its_processes_stand() {
        const SERVICES: usize = 50;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let root = folder.path();
        write(root, "cgroup/cpuacct/release_agent", "");
        write(root, "cgroup/unified/cgroup.controllers", "");
        write(root, "proc/7/cgroup", "2:cpuacct:/\n");
        let services =
            || (0..SERVICES).map(|number| format!("cgroup/unified/system.slice/s{number}.service"));
        let work = |seconds: usize| {
            for (number, service) in services().enumerate() {
                // The first ones work most, so that the last ones are never among the busiest.
                let usage = seconds * (1_000 - number);
                write(root, &format!("{service}/cpu.stat"), &format!("usage_usec {usage}\n"));
                write(root, &format!("{service}/cgroup.procs"), "7\n");
            }
        };
        work(0);
        let surroundings = Surroundings {
            procfs: root.join("proc"),
            topology: Topology::read(root),
            wants_reservations: false,
            max_groups: 100,
        };
        let resolvers = Resolvers::new(Vec::new(), vec![JobKind::Container, JobKind::Unit]);
        let roots = hierarchy::find(&root.join("cgroup")).expect("two hierarchies");
        let mut tree = Tree::open(roots, resolvers, surroundings);
        let mut buffer = Buffer::default();
        tree.collect(&mut buffer);
        // Now the process is moved into a container of the other hierarchy.
        write(root, "proc/7/cgroup", &format!("2:cpuacct:/docker/{:064x}\n", 1));
        let mut double = BTreeSet::new();
        for tick in 1..5 {
            work(tick);
            let told = tree.collect(&mut buffer).attributes;
            double.extend(told.into_iter().filter(|(_, told)| told.is_double).map(|(slot, _)| slot));
            assert!(double.len() <= 2 * ASKED_GROUPS * tick, "no more are asked than may be");
        }
        assert_eq!(double.len(), SERVICES);
    }
}
