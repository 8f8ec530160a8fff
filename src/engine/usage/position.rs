//! Taking over from an earlier process on the same boot: what the groups that still live used meanwhile
//! is theirs, and what those used that are gone is the trace they left in the groups around them.

use super::{Group, Ledger, Observer};
use crate::model::checkpoint::{GroupPosition, UsagePosition};
use crate::model::identity::Name;
use crate::model::quantity::{CpuTime, Nanos};
use crate::model::reading::{GroupSlot, Hierarchy};
use std::collections::HashMap;

/// What an earlier process knew of the groups.
#[derive(Debug)]
pub(super) struct Earlier {
    // By inode too: in process mode many stand in one group.
    groups: HashMap<(Hierarchy, Name, u64), GroupPosition>,
    // A group that it did not know did not exist.
    knew_all: bool,
}

impl Observer {
    /// Goes on from where an earlier process stopped at this monotonic time. `knew_all`: a group that is not in `position` did
    /// not exist then.
    pub(in crate::engine) fn resume(position: &UsagePosition, at: Nanos, knew_all: bool) -> Observer {
        let key = |group: &GroupPosition| (group.hierarchy, group.path.clone(), group.inode);
        let groups = position.groups.iter().map(|group| (key(group), group.clone())).collect();
        Observer {
            deficit: position.deficit,
            read: Some(at),
            earlier: Some(Earlier { groups, knew_all }),
            ..Observer::default()
        }
    }

    /// Where everything stands. What is not known here, the sampler adds.
    pub(in crate::engine) fn position(&self) -> UsagePosition {
        let living = self.order.iter().filter_map(|slot| self.groups[slot.0 as usize].as_ref());
        let groups: Vec<GroupPosition> = living
            .filter_map(|group| {
                Some(GroupPosition {
                    hierarchy: group.hierarchy,
                    path: group.path.clone(),
                    inode: group.inode,
                    usage: group.last?,
                    per_socket: group.last_sockets.clone(),
                    carry: group.carry,
                })
            })
            .collect();
        UsagePosition {
            deficit: self.deficit,
            // One that could not be read may have been there before.
            is_complete: groups.len() == self.order.len(),
            groups,
            ..UsagePosition::default()
        }
    }

    /// Gives a group back what an earlier process had read of it. Returns whether it was born since.
    pub(super) fn recall(&mut self, group: &mut Group) -> bool {
        let Some(earlier) = &mut self.earlier else { return false };
        let key = (group.hierarchy, group.path.clone(), group.inode);
        if let Some(known) = earlier.groups.remove(&key) {
            group.last = Some(known.usage);
            group.last_sockets = known.per_socket;
            group.carry = known.carry;
            return false;
        }
        if earlier.knew_all {
            group.last = Some(CpuTime::ZERO);
        }
        true
    }

    /// At the first tick, after all births: the groups that an earlier process knew and that are gone
    /// leave their trace in the nearest group around them that lives.
    pub(super) fn take_over(&mut self, sockets: usize, ledger: &mut Ledger) {
        let Some(earlier) = self.earlier.take() else { return };
        ledger.close_orphans();
        // Busy time counts from this process's first reading, which has made up for the time before.
        self.busy = vec![CpuTime::ZERO; sockets];
        let living: HashMap<(Hierarchy, Name), GroupSlot> = self
            .order
            .iter()
            .filter_map(|slot| {
                let group = self.groups[slot.0 as usize].as_ref()?;
                Some(((group.hierarchy, group.path.clone()), *slot))
            })
            .collect();
        for (hierarchy, path, _) in earlier.groups.into_keys() {
            let mut around = &*path;
            while let Some((outer, _)) = around.rsplit_once('/') {
                around = outer;
                if let Some(slot) = living.get(&(hierarchy, around.into())) {
                    if let Some(group) = self.get_mut(*slot) {
                        group.now.children_changed = true;
                    }
                    break;
                }
            }
        }
    }
}
