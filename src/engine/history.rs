//! Energy and emissions by the hour: what goes into the history beside the counters. An hour is one of
//! wall time; how much energy there was never depends on it.

use super::grid::{Bill, Revision};
use super::groups::{Groups, NONE};
use super::split::split;
use crate::model::checkpoint::{Group, REVISED_DOWN, REVISED_UP, REVISION, Slot, SlotRow};
use crate::model::identity::Name;
use crate::model::quantity::{Emissions, Energy, Nanos};
use crate::model::reading::Factor;
use crate::model::time::Moment;
use std::collections::HashMap;
use std::sync::Arc;

/// Ns in an hour.
const HOUR: u64 = 3_600_000_000_000;

/// What was used while nobody looked, as over a restart, is spread over these last hours at the most.
const MOST_HOURS: u64 = 72;

/// Hours that wait for a store that cannot be written; what comes later counts for the last of them. The
/// spread above fits with room to spare.
const MAX_SLOTS: usize = 96;

/// What is no group of jobs: the accounts. They too divide the whole host.
const ACCOUNT: &str = "account";

/// The hours that are being filled.
#[derive(Debug)]
pub struct History {
    columns: usize,
    now: Moment,
    names: Names,
    slots: Vec<OpenSlot>,
}

#[derive(Debug)]
struct OpenSlot {
    number: u64,
    hour: u64,
    changed: Nanos,
    factors: Vec<Option<Arc<Factor>>>,
    // By place in `Names`. What is in no group has no row: it is what the others leave of the accounts.
    rows: Vec<Row>,
    // By the job's row in the ledger: what it used here and may yet be moved into a group.
    undecided: HashMap<u32, Row>,
}

/// `zone × column`.
#[derive(Debug, Clone, Default)]
struct Row {
    energy: Vec<Energy>,
    emissions: Vec<Emissions>,
}

/// Everybody who was ever charged. Groups are as many as the page has counters for.
#[derive(Debug, Default)]
struct Names {
    all: Vec<Group>,
    accounts: Vec<(&'static str, usize)>,
    // By kind and place there.
    groups: Vec<Vec<Option<usize>>>,
}

/// One device's energy on its way into the hours.
pub struct Charge<'a> {
    names: &'a mut Names,
    slots: &'a mut [OpenSlot],
    hours: Vec<Part>,
    cell: usize,
    // Whom the part in hand goes to.
    names_of_part: Vec<usize>,
}

/// What of an interval lies in the slot at this place.
struct Part {
    place: usize,
    nanoseconds: u64,
    // In ng.
    emitted: u64,
}

impl History {
    /// Nothing yet.
    #[must_use]
    pub fn new(columns: usize) -> History {
        History { columns, now: Moment::default(), names: Names::default(), slots: Vec::new() }
    }

    /// Makes room for more columns.
    pub fn grow(&mut self, columns: usize) {
        let before = std::mem::replace(&mut self.columns, columns);
        let rows =
            self.slots.iter_mut().flat_map(|slot| slot.rows.iter_mut().chain(slot.undecided.values_mut()));
        rows.for_each(|row| row.grow(before, columns));
    }

    /// What follows happens at this time. Past hours that are on disk are let go, unless something in them may
    /// still be moved: jobs wait for their names for [`super::groups::PATIENCE`].
    pub fn begin(&mut self, at: &Moment, durable: Nanos) {
        self.now = *at;
        let hour = at.wall.get() / HOUR;
        let is_open = |slot: &OpenSlot| slot.hour == hour || !slot.undecided.is_empty();
        self.slots.retain(|slot| is_open(slot) || slot.changed > durable);
    }

    /// Moves what the job in this row of the ledger has used into its group, hour by hour.
    pub fn decide(&mut self, row: u32, kind: usize, place: u32, groups: &Groups) {
        if place == NONE {
            return;
        }
        for slot in &mut self.slots {
            let Some(used) = slot.undecided.get(&row).cloned() else { continue };
            let name = self.names.group(kind, place, groups);
            for (cell, (energy, emissions)) in (0..).zip(used.energy.into_iter().zip(used.emissions)) {
                slot.row(name).add(cell, energy, emissions);
            }
            slot.changed = self.now.monotonic;
        }
    }

    /// Nothing of the job in this row of the ledger is to be moved any more.
    pub fn forget(&mut self, row: u32) {
        self.slots.iter_mut().for_each(|slot| drop(slot.undecided.remove(&row)));
    }

    /// Another kind of groups stands at this place from now on.
    pub fn renew(&mut self, kind: usize) {
        if let Some(places) = self.names.groups.get_mut(kind) {
            places.clear();
        }
    }

    /// Opens the hours in which the last `elapsed` lies, for energy of this zone and column.
    pub fn charge(
        &mut self,
        (elapsed, bill): (Nanos, &Bill),
        (zone, column): (usize, usize),
        factor: &Arc<Factor>,
        next_number: &mut u64,
    ) -> Charge<'_> {
        let hours = hours_of(self.now.wall.get(), elapsed.get());
        let mut places = Vec::with_capacity(hours.len());
        for (hour, nanoseconds) in &hours {
            let place = self.open(*hour, next_number);
            // What was emitted before the first of these hours counts for it.
            let is_first = *hour == hours[0].0;
            let is_its = |then: u64| then == *hour || is_first && then < *hour;
            let billed = || bill.hours.iter().filter(|billed| is_its(billed.hour));
            self.slots[place].note(zone, billed().next_back().map_or(factor, |billed| &billed.factor));
            let emitted = billed().map(|billed| billed.nanograms).sum();
            places.push(Part { place, nanoseconds: *nanoseconds, emitted });
        }
        let cell = zone * self.columns + column;
        Charge {
            names: &mut self.names,
            slots: &mut self.slots,
            hours: places,
            cell,
            names_of_part: Vec::new(),
        }
    }

    /// An hour was worth more or less than it was charged with.
    pub fn revise(&mut self, revision: &Revision, next_number: &mut u64) {
        let place = self.open(revision.hour, next_number);
        let sign = if revision.nanograms < 0 { REVISED_DOWN } else { REVISED_UP };
        let name = self.names.place(Group { kind: REVISION.into(), name: sign.into() });
        let grams = Emissions::from_nano(revision.nanograms.unsigned_abs());
        // Of which hardware it is does not matter to the electricity.
        self.slots[place].row(name).add(revision.zone * self.columns, Energy::ZERO, grams);
    }

    /// The place of the slot for this hour, which changes now.
    fn open(&mut self, hour: u64, next_number: &mut u64) -> usize {
        let known = self.slots.iter().position(|slot| slot.hour == hour);
        let place = known.unwrap_or_else(|| {
            if self.slots.len() < MAX_SLOTS {
                self.slots.push(OpenSlot {
                    number: *next_number,
                    hour,
                    changed: Nanos::ZERO,
                    factors: Vec::new(),
                    rows: Vec::new(),
                    undecided: HashMap::new(),
                });
                *next_number += 1;
            }
            self.slots.len() - 1
        });
        self.slots[place].changed = self.now.monotonic;
        place
    }

    /// The hours as they stand, every row with a cell for each of `zones` and each column: an hour that is
    /// over knows nothing of a zone that came later.
    #[must_use]
    pub fn slots(&self, zones: usize, groups: &Groups) -> Vec<Slot> {
        let kinds: Vec<&Name> = groups.shown().map(|(_, name)| name).collect();
        self.slots.iter().map(|slot| slot.copy(&self.names.all, &kinds, zones * self.columns)).collect()
    }
}

impl OpenSlot {
    fn note(&mut self, zone: usize, factor: &Arc<Factor>) {
        if self.factors.len() <= zone {
            self.factors.resize(zone + 1, None);
        }
        if self.factors[zone].as_deref() != Some(&**factor) {
            self.factors[zone] = Some(Arc::clone(factor));
        }
    }

    fn row(&mut self, name: usize) -> &mut Row {
        if self.rows.len() <= name {
            self.rows.resize_with(name + 1, Row::default);
        }
        &mut self.rows[name]
    }

    /// The slot as it is kept: of each kind the groups that have something in it, and what they leave.
    fn copy(&self, names: &[Group], kinds: &[&Name], cells: usize) -> Slot {
        let there = || names.iter().zip(&self.rows).filter(|(_, row)| !row.energy.is_empty());
        let mut rows: Vec<SlotRow> = there()
            .map(|(group, row)| {
                let Row { energy, emissions } = row.padded(cells);
                SlotRow { group: group.clone(), energy, emissions }
            })
            .collect();
        let mut kinds = kinds.to_vec();
        // A kind that is counted no more may have counted a part of the hour.
        for (group, _) in there() {
            if !matches!(&*group.kind, ACCOUNT | REVISION) && !kinds.contains(&&group.kind) {
                kinds.push(&group.kind);
            }
        }
        let of_kind = |kind: &str, cells: usize| {
            let mut sum = Row::default().padded(cells);
            there().filter(|(group, _)| *group.kind == *kind).for_each(|(_, row)| sum.add_all(row));
            sum
        };
        let all = of_kind(ACCOUNT, cells);
        for kind in kinds {
            let Row { energy, emissions } = all.less(&of_kind(kind, cells));
            let is_anything = energy.iter().any(|energy| *energy > Energy::ZERO)
                || emissions.iter().any(|grams| *grams > Emissions::ZERO);
            if is_anything {
                rows.push(SlotRow {
                    group: Group { kind: kind.clone(), name: "".into() },
                    energy,
                    emissions,
                });
            }
        }
        Slot { number: self.number, hour: self.hour, factors: self.factors.clone(), rows }
    }
}

impl Row {
    fn add(&mut self, cell: usize, energy: Energy, emissions: Emissions) {
        if self.energy.len() <= cell {
            self.energy.resize(cell + 1, Energy::ZERO);
            self.emissions.resize(cell + 1, Emissions::ZERO);
        }
        self.energy[cell] += energy;
        self.emissions[cell] += emissions;
    }

    fn grow(&mut self, before: usize, columns: usize) {
        let row = std::mem::take(self);
        for (cell, (energy, emissions)) in (0..).zip(row.energy.into_iter().zip(row.emissions)) {
            self.add(cell / before * columns + cell % before, energy, emissions);
        }
    }

    fn add_all(&mut self, other: &Row) {
        for (cell, (energy, emissions)) in (0..).zip(other.energy.iter().zip(&other.emissions)) {
            self.add(cell, *energy, *emissions);
        }
    }

    /// What `part` leaves of it.
    fn less(&self, part: &Row) -> Row {
        const IS_PART: &str = "a group has nothing that no account has";
        let energy = self.energy.iter().zip(&part.energy);
        let grams = self.emissions.iter().zip(&part.emissions);
        let grams = grams.map(|(all, part)| all.as_nano().checked_sub(part.as_nano()).expect(IS_PART));
        Row {
            energy: energy.map(|(all, part)| all.checked_sub(*part).expect(IS_PART)).collect(),
            emissions: grams.map(Emissions::from_nano).collect(),
        }
    }

    fn padded(&self, cells: usize) -> Row {
        let mut row = self.clone();
        row.energy.resize(cells, Energy::ZERO);
        row.emissions.resize(cells, Emissions::ZERO);
        row
    }
}

impl Charge<'_> {
    /// What is added next is what this account is charged with.
    pub fn of_account(&mut self, account: &'static str) {
        self.names_of_part.clear();
        self.names_of_part.push(self.names.account(account));
    }

    /// And this group.
    pub fn of_group(&mut self, kind: usize, place: u32, groups: &Groups) {
        if place != NONE {
            self.names_of_part.push(self.names.group(kind, place, groups));
        }
    }

    /// Adds it; `undecided` is the job's row in the ledger, if one of its groups is not known yet.
    pub fn add(&mut self, undecided: Option<u32>, energy: Energy, emissions: Emissions) {
        if let [Part { place, .. }] = self.hours[..] {
            return self.add_to(place, undecided, energy, emissions);
        }
        let weights = |weight: fn(&Part) -> u64| self.hours.iter().map(weight).zip(0..);
        let by_time = |amount| split(amount, weights(|part| part.nanoseconds)).unwrap_or_default();
        let energies = by_time(energy.as_micro());
        let grams = split(emissions.as_nano(), weights(|part| part.emitted));
        let grams = grams.unwrap_or_else(|| by_time(emissions.as_nano()));
        for (index, (energy, grams)) in energies.into_iter().zip(grams).enumerate() {
            let (energy, emissions) = (Energy::from_micro(energy), Emissions::from_nano(grams));
            self.add_to(self.hours[index].place, undecided, energy, emissions);
        }
    }

    fn add_to(&mut self, place: usize, undecided: Option<u32>, energy: Energy, emissions: Emissions) {
        let slot = &mut self.slots[place];
        for name in &self.names_of_part {
            slot.row(*name).add(self.cell, energy, emissions);
        }
        if let Some(row) = undecided {
            slot.undecided.entry(row).or_default().add(self.cell, energy, emissions);
        }
    }
}

impl Names {
    fn account(&mut self, account: &'static str) -> usize {
        if let Some((_, place)) = self.accounts.iter().find(|(known, _)| *known == account) {
            return *place;
        }
        let place = self.place(Group { kind: ACCOUNT.into(), name: account.into() });
        self.accounts.push((account, place));
        place
    }

    fn group(&mut self, kind: usize, place: u32, groups: &Groups) -> usize {
        let place = place as usize;
        if self.groups.len() <= kind {
            self.groups.resize_with(kind + 1, Vec::new);
        }
        if self.groups[kind].len() <= place {
            self.groups[kind].resize(place + 1, None);
        }
        if let Some(name) = self.groups[kind][place] {
            return name;
        }
        let name = self.place(groups.name(kind, place));
        self.groups[kind][place] = Some(name);
        name
    }

    fn place(&mut self, group: Group) -> usize {
        self.all.iter().position(|known| *known == group).unwrap_or_else(|| {
            self.all.push(group);
            self.all.len() - 1
        })
    }
}

/// The hours of wall time in which the last `elapsed` before `end` lies, and how much of it lies in each.
/// What lies further back than [`MOST_HOURS`] counts for the first.
fn hours_of(end: u64, elapsed: u64) -> Vec<(u64, u64)> {
    let start = end.saturating_sub(elapsed);
    let last = end.saturating_sub(1).max(start) / HOUR;
    let first = (start / HOUR).max(last.saturating_sub(MOST_HOURS - 1));
    if first == last {
        return vec![(last, 1)];
    }
    let within = |hour: u64| {
        let from = if hour == first { start } else { hour * HOUR };
        end.min((hour + 1) * HOUR) - from
    };
    (first..=last).map(|hour| (hour, within(hour))).collect()
}

#[cfg(test)]
mod tests;
