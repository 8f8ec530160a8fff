//! Groups of jobs: counters that are there before they rise, so that `increase()` over them is right. For each
//! kind, what its groups show and what is pending add up to the host, exactly and at every tick. Whose a job's
//! energy is the ledger knows; here stands what each group shows, what it is owed, and when that is shown.

mod kind;
mod position;
#[cfg(test)]
mod tests;

use super::sums::Sums;
use crate::model::checkpoint::Group as GroupName;
use crate::model::groups::{GroupKind, GroupState, Membership, Standing};
use crate::model::identity::Name;
use crate::model::quantity::{Emissions, Energy, Nanos};
use crate::model::time::Moment;
use kind::Kind;

/// Kinds on the page. More than a site sorts its jobs by; each costs a counter for every group, column and zone.
pub const MAX_KINDS: usize = 16;

/// Groups of one kind with a counter of their own: a counter is never taken off the page, so users who come and
/// go would fill it. What is further goes to `overflow`.
pub const MAX_GROUPS: usize = 200;

/// How long a job's energy waits for the job's name. A cluster that has not told by then does not know it, and
/// energy that nobody sees is of no use.
pub const PATIENCE: Nanos = Nanos::from_seconds(120);

/// What is owed is paid out evenly over this many times the hold: a rate then shows a tenth more for a while
/// rather than a peak that nobody drew.
const PAYING_HOLDS: u64 = 10;

/// The place of what is in no group.
pub const NONE: u32 = 0;

/// The history divides by this too, in a word of its own.
const NOT_A_KIND: &str = "account";

/// All kinds of groups.
#[derive(Debug)]
pub struct Groups {
    /// See [`crate::model::groups::GroupsPosition::clock`].
    clock: Nanos,
    // That of the tick before.
    before: Nanos,
    // When that was, in monotonic time.
    last: Option<Nanos>,
    wall: Nanos,
    // Nothing was ever counted: what is made now is there before anything rises.
    is_first: bool,
    hold: Nanos,
    // Columns in which a group is shown before it has anything there.
    shared: Vec<bool>,
    zones: usize,
    wanted: Vec<Name>,
    kinds: Vec<Kind>,
}

impl Groups {
    /// No kinds yet. `shared` says of each column whether all jobs use it.
    #[must_use]
    pub fn new(shared: Vec<bool>) -> Groups {
        Groups {
            clock: Nanos::ZERO,
            before: Nanos::ZERO,
            last: None,
            wall: Nanos::ZERO,
            is_first: true,
            hold: Nanos::ZERO,
            shared,
            zones: 0,
            wanted: Vec::new(),
            kinds: Vec::new(),
        }
    }

    /// What follows happens at this time; what is owed and due is shown.
    pub fn begin(&mut self, at: &Moment, is_first: bool) {
        let elapsed = self.last.map_or(Nanos::ZERO, |last| at.monotonic.saturating_sub(last));
        self.last = Some(at.monotonic);
        self.wall = at.wall;
        self.is_first = is_first;
        self.before = self.clock;
        self.clock = later(self.clock, elapsed);
        for kind in self.kinds.iter_mut().filter(|kind| kind.is_shown) {
            kind.groups.iter_mut().for_each(|group| group.pay(self.before, self.clock));
        }
    }

    /// Makes room for another zone.
    pub fn widen(&mut self, zones: usize) {
        self.zones = zones;
        let cells = zones * self.shared.len();
        self.kinds.iter_mut().flat_map(|kind| &mut kind.groups).for_each(|group| group.widen(cells));
    }

    /// Makes room for more columns; of each, whether all jobs use it.
    pub fn grow(&mut self, shared: &[bool]) {
        self.shared.extend(shared);
        let (columns, zones) = (self.shared.len(), self.zones);
        for group in self.kinds.iter_mut().flat_map(|kind| &mut kind.groups) {
            group.grow(shared, columns, zones);
        }
    }

    /// The kinds that are shown now and are not among `wanted`.
    #[must_use]
    pub fn leaving(&self, wanted: &[Name]) -> Vec<usize> {
        let is_leaving = |kind: &Kind| kind.is_shown && !wanted.contains(&kind.name);
        (0..).zip(&self.kinds).filter(|(_, kind)| is_leaving(kind)).map(|(index, _)| index).collect()
    }

    /// Counts a kind no more. Its counters stay where they stand, in case it comes back.
    pub fn hide(&mut self, kind: usize) {
        self.kinds[kind].is_shown = false;
    }

    /// Counts by these kinds from now on. Returns the places at which another kind stands than before.
    pub fn show(&mut self, wanted: &[Name], hold: Nanos) -> Vec<usize> {
        let mut renewed = Vec::new();
        self.hold = hold;
        self.wanted.clear();
        for name in wanted.iter().filter(|name| &***name != NOT_A_KIND).take(MAX_KINDS) {
            self.wanted.push(name.clone());
            if let Some(kind) = self.kinds.iter_mut().find(|kind| kind.name == *name) {
                if !kind.is_shown {
                    (kind.is_shown, kind.since) = (true, self.clock);
                }
                continue;
            }
            let kind = Kind::new(name, self.clock, Sums::new(self.shared.len(), self.zones));
            let hidden = self.kinds.iter().position(|kind| !kind.is_shown && !wanted.contains(&kind.name));
            match hidden.filter(|_| self.kinds.len() >= MAX_KINDS) {
                Some(place) => {
                    renewed.push(place);
                    self.kinds[place] = kind;
                }
                None => self.kinds.push(kind),
            }
        }
        renewed
    }

    /// The kinds that were asked for last, and for how long a new group is shown at 0.
    #[must_use]
    pub fn wanted(&self) -> (Vec<Name>, Nanos) {
        (self.wanted.clone(), self.hold)
    }

    /// Gives to those in no group what the kind has not counted of the host, as of a kind that is younger than
    /// the host. `waiting` is what its jobs wait with. Returns `false` where it has counted more than there is:
    /// it then begins anew, with the host in no group.
    #[must_use]
    pub fn balance(&mut self, kind: usize, host: &Sums, waiting: &Sums) -> bool {
        let kind = &mut self.kinds[kind];
        let mut counted = waiting.clone();
        kind.groups.iter().for_each(|group| group.add_to(&mut counted));
        match host.less(&counted) {
            Some(rest) => {
                kind.groups[NONE as usize].show(&rest);
                true
            }
            None => {
                *kind = Kind::new(&kind.name, self.clock, host.clone());
                false
            }
        }
    }

    /// How many kinds there are, those that are not shown among them.
    #[must_use]
    pub fn count(&self) -> usize {
        self.kinds.len()
    }

    /// Whether it is counted now.
    #[must_use]
    pub fn is_shown(&self, kind: usize) -> bool {
        self.kinds[kind].is_shown
    }

    /// The kinds that are counted now.
    pub fn shown(&self) -> impl Iterator<Item = (usize, &Name)> {
        (0..).zip(&self.kinds).filter(|(_, kind)| kind.is_shown).map(|(index, kind)| (index, &kind.name))
    }

    /// The kind of this name, if it is counted.
    #[must_use]
    pub fn kind(&self, name: &str) -> Option<usize> {
        self.shown().find(|(_, known)| &***known == name).map(|(index, _)| index)
    }

    /// What a group is called in the history.
    #[must_use]
    pub fn name(&self, kind: usize, place: usize) -> GroupName {
        let kind = &self.kinds[kind];
        GroupName { kind: kind.name.clone(), name: kind.groups[place].state.name.clone() }
    }

    /// Where a job's energy goes that stands so; `None`: it waits, or the kind is not counted.
    #[must_use]
    pub fn place(&self, kind: usize, membership: Membership) -> Option<u32> {
        match membership {
            Membership::In(place) => Some(place),
            Membership::Unnamed => Some(NONE),
            Membership::Waiting => None,
        }
        .filter(|_| self.kinds[kind].is_shown)
    }

    /// How a job stands that is new.
    #[must_use]
    pub fn newcomer(&self) -> Standing {
        let of = |kind: &Kind| if kind.is_shown { Membership::Waiting } else { Membership::Unnamed };
        Standing { patience: later(self.clock, PATIENCE), memberships: self.kinds.iter().map(of).collect() }
    }

    /// Of how many kinds a job's group is not decided.
    #[must_use]
    pub fn undecided(&self, standing: &Standing) -> usize {
        let is_open = |(kind, membership): &(&Kind, &Membership)| {
            kind.is_shown && !matches!(membership, Membership::In(_))
        };
        self.kinds.iter().zip(&standing.memberships).filter(is_open).count()
    }

    /// Whether a job has waited for its group of this kind as long as it may.
    #[must_use]
    pub fn is_over(&self, kind: usize, standing: &Standing) -> bool {
        let kind_of = self.kinds.get(kind).filter(|kind| kind.is_shown);
        let until = match (kind_of, standing.memberships.get(kind)) {
            (Some(_), Some(Membership::Waiting)) => standing.patience,
            (Some(kind), Some(Membership::Unnamed)) => later(kind.since, PATIENCE),
            (_, Some(Membership::In(_)) | None) | (None, _) => return false,
        };
        self.clock >= until
    }

    /// The place of the group that a job joins; it is made if it is not there.
    pub fn join(&mut self, kind: usize, name: &str) -> u32 {
        let opens = if self.is_first { self.clock } else { later(self.clock, self.hold) };
        let paid_by = later(opens, self.paying());
        let opens = self.shared.iter().map(|is_shared| is_shared.then_some(opens)).collect();
        let empty = || Sums::new(self.shared.len(), self.zones);
        let state = GroupState { name: Name::default(), started: self.wall, opens, paid_by };
        self.kinds[kind].join(name, state, empty)
    }

    /// Charges a group with one column's part.
    pub fn charge(
        &mut self,
        (kind, place): (usize, u32),
        at: (usize, usize),
        energy: Energy,
        emissions: Emissions,
    ) {
        let now = self.clock;
        let opens = later(now, self.hold);
        let paid_by = later(opens, self.paying());
        let group = &mut self.kinds[kind].groups[place as usize];
        if group.open(at.0, opens, paid_by) > now {
            group.owed().add(at, energy, emissions);
        } else {
            group.shown.add(at, energy, emissions);
        }
    }

    /// A job joins late with all it has used. That is paid out like what a new group was owed, also by a group
    /// that is there already: an increase is right either way, and a rate has no peak. What comes before all of
    /// it is paid prolongs the rest.
    pub fn owe(&mut self, kind: usize, place: u32, sums: &Sums) {
        if sums.is_zero() {
            return;
        }
        let opens = later(self.clock, self.hold);
        let paying = self.paying();
        let clock = self.clock;
        let group = &mut self.kinds[kind].groups[place as usize];
        if self.hold == Nanos::ZERO {
            (0..self.shared.len()).filter(|column| sums.energy[*column] > Energy::ZERO).for_each(|column| {
                group.open(column, opens, opens);
            });
            return group.show(sums);
        }
        let mut from = clock;
        for column in (0..self.shared.len()).filter(|column| sums.energy[*column] > Energy::ZERO) {
            from = from.max(group.open(column, opens, Nanos::ZERO));
        }
        group.prolong(later(from, paying));
        group.owed().add_all(sums);
    }

    /// Copies everything that is shown; `pending` has, for each kind that is, what its jobs wait with.
    #[must_use]
    pub fn fill(&self, pending: Vec<Sums>) -> Vec<GroupKind> {
        let shown = self.kinds.iter().filter(|kind| kind.is_shown);
        shown.zip(pending).map(|(kind, waiting)| kind.fill(waiting)).collect()
    }

    const fn paying(&self) -> Nanos {
        Nanos::new(self.hold.get().saturating_mul(PAYING_HOLDS))
    }
}

const fn later(time: Nanos, by: Nanos) -> Nanos {
    Nanos::new(time.get().saturating_add(by.get()))
}
