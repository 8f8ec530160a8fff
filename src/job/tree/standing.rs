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
    /// does; who has worked most is asked at once, since each such second would be charged twice.
    pub(super) fn ask_where_else(&mut self, mut active: Vec<(Nanos, u32)>) {
        active.sort_unstable_by(|one, other| other.cmp(one));
        for (_, index) in active.into_iter().take(ASKED_GROUPS) {
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
