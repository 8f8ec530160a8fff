//! Groups out of one process and into the next.

use super::super::sums::{Moving, Sums, table};
use super::Groups;
use super::kind::{Group, Kind};
use crate::model::groups::{GroupKindPosition, GroupState, GroupsPosition, Standing};
use crate::model::quantity::Nanos;
use std::sync::Arc;

impl Groups {
    /// Everything that must outlive the process; `standings` are the jobs'.
    #[must_use]
    pub fn position(&self, standings: Vec<Arc<Standing>>) -> GroupsPosition {
        let empty = Sums::new(self.shared.len(), self.zones);
        let kinds = self.kinds.iter().map(|kind| GroupKindPosition {
            kind: Arc::clone(&kind.name),
            is_shown: kind.is_shown,
            since: kind.since,
            overflowed: kind.overflowed,
            groups: kind.groups.iter().map(|group| Arc::clone(&group.state)).collect(),
            shown: table(kind.groups.iter().map(|group| &group.shown)),
            owed: table(kind.groups.iter().map(|group| group.is_owed().unwrap_or(&empty))),
        });
        GroupsPosition { clock: self.clock, kinds: kinds.collect(), standings }
    }

    /// Goes on where an earlier process stopped. There must be no kinds yet that have counted anything.
    pub fn resume(&mut self, position: &GroupsPosition, moving: &Moving<'_>) {
        self.clock = position.clock;
        self.before = position.clock;
        let kinds = position.kinds.iter().map(|kind| {
            let group = |(index, state): (usize, &Arc<GroupState>)| {
                let state = self.moved(state, moving);
                Group::of(state, moving.row(&kind.shown, index), moving.row(&kind.owed, index))
            };
            let groups = (0..).zip(&kind.groups).map(group).collect();
            Kind::of(Arc::clone(&kind.kind), kind.is_shown, kind.since, kind.overflowed, groups)
        });
        self.kinds = kinds.filter(|kind| !kind.groups.is_empty()).collect();
    }

    /// A column that all jobs share and that is new now is 0 on the next page for the host too: there is nothing
    /// to hold back.
    fn moved(&self, state: &Arc<GroupState>, moving: &Moving<'_>) -> Arc<GroupState> {
        let is_none = state.name.is_empty();
        let mut opens: Vec<Option<Nanos>> =
            (self.shared.iter()).map(|is_shared| (*is_shared || is_none).then_some(Nanos::ZERO)).collect();
        for (place, known) in moving.places.iter().zip(&state.opens) {
            opens[*place] = known.or(opens[*place]);
        }
        if opens == state.opens {
            return Arc::clone(state);
        }
        Arc::new(GroupState { opens, ..GroupState::clone(state) })
    }
}
