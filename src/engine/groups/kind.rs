//! One kind of groups: its groups by name, and what each shows and is owed.

use super::super::sums::{Sums, table};
use super::{MAX_GROUPS, NONE};
use crate::model::groups::{GroupKind, GroupState};
use crate::model::identity::{Name, bounded_name};
use crate::model::quantity::{Emissions, Energy, Nanos};
use std::collections::HashMap;
use std::sync::Arc;

/// Where the jobs of groups go for which there is no room.
pub(super) const OVERFLOW: &str = "overflow";

#[derive(Debug)]
pub(super) struct Kind {
    pub(super) name: Name,
    pub(super) is_shown: bool,
    /// Since when it has been counted, by the groups' clock.
    pub(super) since: Nanos,
    pub(super) overflowed: u64,
    /// The first is that of what is in none.
    pub(super) groups: Vec<Group>,
    places: HashMap<Name, u32>,
}

#[derive(Debug)]
pub(super) struct Group {
    pub(super) state: Arc<GroupState>,
    pub(super) shown: Sums,
    // Most groups are owed nothing.
    owed: Option<Box<Sums>>,
}

impl Kind {
    /// A kind whose jobs are in no group so far; `sums` is theirs.
    pub(super) fn new(name: &Name, since: Nanos, sums: Sums) -> Kind {
        let opens = vec![Some(Nanos::ZERO); sums.energy.len()];
        // Its counter is the host's, and as old.
        let state = GroupState { opens, ..GroupState::default() };
        let none = Group::new(state, sums);
        Kind::of(Arc::clone(name), true, since, 0, vec![none])
    }

    pub(super) fn of(name: Name, is_shown: bool, since: Nanos, overflowed: u64, groups: Vec<Group>) -> Kind {
        let places = (0..).zip(&groups).map(|(place, group)| (group.state.name.clone(), place)).collect();
        Kind { name, is_shown, since, overflowed, groups, places }
    }

    /// The place of the group of this name; one that has to be made begins as `state`.
    pub(super) fn join(&mut self, name: &str, state: GroupState, empty: impl Fn() -> Sums) -> u32 {
        let name = unmistakable(name);
        if let Some(place) = self.places.get(&name) {
            return *place;
        }
        let others = 1 + usize::from(self.places.contains_key(OVERFLOW));
        if self.groups.len() < MAX_GROUPS + others {
            return self.make(GroupState { name, ..state }, empty());
        }
        self.overflowed += 1;
        match self.places.get(OVERFLOW) {
            Some(place) => *place,
            None => self.make(GroupState { name: OVERFLOW.into(), ..state }, empty()),
        }
    }

    fn make(&mut self, state: GroupState, sums: Sums) -> u32 {
        let place = u32::try_from(self.groups.len()).expect("groups are bounded");
        self.places.insert(state.name.clone(), place);
        self.groups.push(Group::new(state, sums));
        place
    }

    pub(super) fn fill(&self, mut pending: Sums) -> GroupKind {
        for owed in self.groups.iter().filter_map(|group| group.owed.as_deref()) {
            pending.add_all(owed);
        }
        GroupKind {
            kind: Arc::clone(&self.name),
            groups: self.groups.iter().map(|group| Arc::clone(&group.state)).collect(),
            table: table(self.groups.iter().map(|group| &group.shown)),
            pending: table([&pending]),
            overflowed: self.overflowed,
        }
    }
}

/// A name that fits a label and is that of one group only: whoever calls a group of theirs `overflow` gets a `_`
/// behind it, and whoever has called one `overflow_` already gets another.
fn unmistakable(name: &str) -> Name {
    let is_like_ours = name.trim_end_matches('_') == OVERFLOW;
    if is_like_ours { bounded_name(&format!("{name}_")) } else { bounded_name(name) }
}

impl Group {
    pub(super) fn new(state: GroupState, shown: Sums) -> Group {
        Group { state: Arc::new(state), shown, owed: None }
    }

    pub(super) fn of(state: Arc<GroupState>, shown: Sums, owed: Sums) -> Group {
        Group { state, shown, owed: Some(owed).filter(|owed| !owed.is_zero()).map(Box::new) }
    }

    pub(super) fn widen(&mut self, cells: usize) {
        self.shown.widen(cells);
        self.owed.iter_mut().for_each(|owed| owed.widen(cells));
    }

    /// A new column that all jobs share is 0 on the next page for the host too: there is nothing to hold back.
    pub(super) fn grow(&mut self, shared: &[bool], columns: usize, zones: usize) {
        self.shown.grow(columns, zones);
        self.owed.iter_mut().for_each(|owed| owed.grow(columns, zones));
        let state = Arc::make_mut(&mut self.state);
        let is_none = state.name.is_empty();
        state.opens.extend(shared.iter().map(|is_shared| (*is_shared || is_none).then_some(Nanos::ZERO)));
    }

    /// What it is owed, to add to.
    pub(super) fn owed(&mut self) -> &mut Sums {
        let shown = &self.shown;
        self.owed.get_or_insert_with(|| {
            let columns = shown.energy.len();
            Box::new(Sums::new(columns, shown.emissions.len().checked_div(columns).unwrap_or(0)))
        })
    }

    pub(super) fn is_owed(&self) -> Option<&Sums> {
        self.owed.as_deref()
    }

    pub(super) fn add_to(&self, sum: &mut Sums) {
        sum.add_all(&self.shown);
        self.owed.iter().for_each(|owed| sum.add_all(owed));
    }

    /// Shows what it is charged with at once.
    pub(super) fn show(&mut self, sums: &Sums) {
        self.shown.add_all(sums);
    }

    /// Since when the column is open; if there was nothing in it so far, that is to be `opens`.
    pub(super) fn open(&mut self, column: usize, opens: Nanos, paid_by: Nanos) -> Nanos {
        if let Some(opens) = self.state.opens[column] {
            return opens;
        }
        Arc::make_mut(&mut self.state).opens[column] = Some(opens);
        self.prolong(paid_by);
        opens
    }

    /// What it is owed is paid by then at the earliest.
    pub(super) fn prolong(&mut self, paid_by: Nanos) {
        if self.state.paid_by < paid_by {
            Arc::make_mut(&mut self.state).paid_by = paid_by;
        }
    }

    /// Shows what fell due between two times by the groups' clock.
    pub(super) fn pay(&mut self, before: Nanos, now: Nanos) {
        let Some(mut owed) = self.owed.take() else { return };
        let columns = owed.energy.len();
        for (column, opens) in (0..).zip(&self.state.opens) {
            let Some(opens) = opens.filter(|opens| *opens <= now) else { continue };
            let due = Due::between(before.max(opens), now, self.state.paid_by);
            let energy = &mut owed.energy[column];
            let part = Energy::from_micro(due.of(energy.as_micro()));
            *energy = energy.checked_sub(part).expect("a part is at most the whole");
            self.shown.energy[column] += part;
            for cell in (column..owed.emissions.len()).step_by(columns) {
                let grams = &mut owed.emissions[cell];
                let part = due.of(grams.as_nano());
                *grams = Emissions::from_nano(grams.as_nano() - part);
                self.shown.emissions[cell] += Emissions::from_nano(part);
            }
        }
        self.owed = Some(owed).filter(|owed| !owed.is_zero());
    }
}

/// Which part of what is left falls due.
struct Due {
    elapsed: u64,
    left: u64,
}

impl Due {
    fn between(from: Nanos, now: Nanos, end: Nanos) -> Due {
        if now >= end {
            return Due { elapsed: 1, left: 1 };
        }
        Due { elapsed: now.saturating_sub(from).get(), left: end.saturating_sub(from).get() }
    }

    fn of(&self, amount: u64) -> u64 {
        let part = u128::from(amount) * u128::from(self.elapsed) / u128::from(self.left);
        u64::try_from(part).expect("a part is at most the whole")
    }
}

const _: () = assert!(NONE == 0, "the first group is that of what is in none");
