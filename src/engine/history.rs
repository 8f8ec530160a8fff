//! Energy and emissions by the hour: what goes into the history beside the counters. An hour is one of
//! wall time; how much energy there was never depends on it.

use super::split::split;
use crate::model::checkpoint::{Group, Slot, SlotRow};
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

/// Users with a row of their own; beyond it they share one.
const MAX_USERS: usize = 200;
const OTHER_USERS: &str = "overflow";

/// The kinds of groups. The groups of each divide the whole host.
const ACCOUNT: &str = "account";
const USER: &str = "user";

/// The hours that are being filled.
#[derive(Debug)]
pub struct History {
    columns: usize,
    now: Moment,
    groups: Groups,
    slots: Vec<OpenSlot>,
}

#[derive(Debug)]
struct OpenSlot {
    number: u64,
    hour: u64,
    changed: Nanos,
    factors: Vec<Option<Arc<Factor>>>,
    // By place in `Groups`.
    rows: Vec<Row>,
}

/// `zone × column`.
#[derive(Debug, Clone, Default)]
struct Row {
    energy: Vec<Energy>,
    emissions: Vec<Emissions>,
}

/// Everybody who was ever charged.
#[derive(Debug, Default)]
struct Groups {
    all: Vec<Group>,
    accounts: Vec<(&'static str, usize)>,
    users: HashMap<Option<u32>, usize>,
}

/// One device's energy on its way into the hours.
pub struct Charge<'a> {
    groups: &'a mut Groups,
    slots: &'a mut [OpenSlot],
    // Places of slots, and how much of the time lies in each.
    hours: Vec<(usize, u64)>,
    cell: usize,
}

impl History {
    /// Nothing yet.
    #[must_use]
    pub fn new(columns: usize) -> History {
        History { columns, now: Moment::default(), groups: Groups::default(), slots: Vec::new() }
    }

    /// What follows happens at this time. Past hours that are on disk are let go.
    pub fn begin(&mut self, at: &Moment, durable: Nanos) {
        self.now = *at;
        let hour = at.wall.get() / HOUR;
        self.slots.retain(|slot| slot.hour == hour || slot.changed > durable);
    }

    /// Opens the hours in which the last `elapsed` lies, for energy of this zone and column.
    pub fn charge(
        &mut self,
        elapsed: Nanos,
        (zone, column): (usize, usize),
        factor: &Factor,
        next_number: &mut u64,
    ) -> Charge<'_> {
        let hours = hours_of(self.now.wall.get(), elapsed.get());
        let mut places = Vec::with_capacity(hours.len());
        for (hour, nanoseconds) in hours {
            let place = self.slots.iter().position(|slot| slot.hour == hour).unwrap_or_else(|| {
                if self.slots.len() >= MAX_SLOTS {
                    return self.slots.len() - 1;
                }
                self.slots.push(OpenSlot {
                    number: *next_number,
                    hour,
                    changed: Nanos::ZERO,
                    factors: Vec::new(),
                    rows: Vec::new(),
                });
                *next_number += 1;
                self.slots.len() - 1
            });
            let slot = &mut self.slots[place];
            slot.changed = self.now.monotonic;
            slot.note(zone, factor);
            places.push((place, nanoseconds));
        }
        let cell = zone * self.columns + column;
        Charge { groups: &mut self.groups, slots: &mut self.slots, hours: places, cell }
    }

    /// The hours as they stand, every row with a cell for each of `zones` and each column: an hour that is
    /// over knows nothing of a zone that came later.
    #[must_use]
    pub fn slots(&self, zones: usize) -> Vec<Slot> {
        self.slots.iter().map(|slot| slot.copy(&self.groups.all, zones * self.columns)).collect()
    }
}

impl OpenSlot {
    fn note(&mut self, zone: usize, factor: &Factor) {
        if self.factors.len() <= zone {
            self.factors.resize(zone + 1, None);
        }
        if self.factors[zone].as_deref() != Some(factor) {
            self.factors[zone] = Some(Arc::new(factor.clone()));
        }
    }

    fn add(&mut self, group: usize, cell: usize, energy: Energy, emissions: Emissions) {
        if self.rows.len() <= group {
            self.rows.resize_with(group + 1, Row::default);
        }
        let row = &mut self.rows[group];
        if row.energy.len() <= cell {
            row.energy.resize(cell + 1, Energy::ZERO);
            row.emissions.resize(cell + 1, Emissions::ZERO);
        }
        row.energy[cell] += energy;
        row.emissions[cell] += emissions;
    }

    fn copy(&self, groups: &[Group], cells: usize) -> Slot {
        let rows = groups.iter().zip(&self.rows).filter(|(_, row)| !row.energy.is_empty());
        let rows = rows.map(|(group, row)| {
            let (mut energy, mut emissions) = (row.energy.clone(), row.emissions.clone());
            energy.resize(cells, Energy::ZERO);
            emissions.resize(cells, Emissions::ZERO);
            SlotRow { group: group.clone(), energy, emissions }
        });
        Slot { number: self.number, hour: self.hour, factors: self.factors.clone(), rows: rows.collect() }
    }
}

impl Charge<'_> {
    /// Adds what one account is charged with; `user` is whose it is, if anybody's.
    pub fn add(&mut self, account: &'static str, user: Option<u32>, energy: Energy, emissions: Emissions) {
        let groups = [self.groups.account(account), self.groups.user(user)];
        if let [(place, _)] = self.hours[..] {
            for group in groups {
                self.slots[place].add(group, self.cell, energy, emissions);
            }
            return;
        }
        let weights = || self.hours.iter().map(|&(_, nanoseconds)| nanoseconds).zip(0..);
        let energies = split(energy.as_micro(), weights()).unwrap_or_default();
        let grams = split(emissions.as_nano(), weights()).unwrap_or_default();
        for ((&(place, _), energy), grams) in self.hours.iter().zip(energies).zip(grams) {
            let (energy, emissions) = (Energy::from_micro(energy), Emissions::from_nano(grams));
            for group in groups {
                self.slots[place].add(group, self.cell, energy, emissions);
            }
        }
    }
}

impl Groups {
    fn account(&mut self, account: &'static str) -> usize {
        if let Some((_, place)) = self.accounts.iter().find(|(known, _)| *known == account) {
            return *place;
        }
        let place = self.make(ACCOUNT, account.into());
        self.accounts.push((account, place));
        place
    }

    fn user(&mut self, user: Option<u32>) -> usize {
        if let Some(place) = self.users.get(&user) {
            return *place;
        }
        if self.users.len() > MAX_USERS {
            let others =
                self.all.iter().position(|group| &*group.kind == USER && &*group.name == OTHER_USERS);
            return others.unwrap_or_else(|| self.make(USER, OTHER_USERS.into()));
        }
        let name = user.map(|user| user.to_string()).unwrap_or_default();
        let place = self.make(USER, name.as_str().into());
        self.users.insert(user, place);
        place
    }

    fn make(&mut self, kind: &str, name: Name) -> usize {
        self.all.push(Group { kind: kind.into(), name });
        self.all.len() - 1
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
mod tests {
    use super::*;

    const MINUTE: u64 = HOUR / 60;

    #[test]
    fn an_interval_lies_in_the_hours_it_touches() {
        for (end, elapsed, expected) in [
            (10 * HOUR + 30 * MINUTE, MINUTE, vec![(10, 1)]),
            (10 * HOUR, MINUTE, vec![(9, 1)]),
            (10 * HOUR + 30, 0, vec![(10, 1)]),
            (10 * HOUR + MINUTE, 3 * MINUTE, vec![(9, 2 * MINUTE), (10, MINUTE)]),
            (12 * HOUR + MINUTE, 2 * HOUR, vec![(10, 59 * MINUTE), (11, HOUR), (12, MINUTE)]),
            (5, 100, vec![(0, 1)]),
            (0, 0, vec![(0, 1)]),
        ] {
            assert_eq!(hours_of(end, elapsed), expected, "{elapsed} ns up to {end}");
        }
        let long = hours_of(1_000 * HOUR, 200 * HOUR);
        assert_eq!(long.len(), 72);
        assert_eq!(long.iter().map(|(_, part)| part).sum::<u64>(), 200 * HOUR, "nothing is left out");
    }

    fn factor() -> Factor {
        use crate::model::quantity::{Intensity, Pue};
        let text = || "".into();
        Factor {
            zone: text(),
            intensity: Intensity::parse_grams("1").expect("valid"),
            pue: Pue::ONE,
            basis: text(),
            accounting: text(),
            quality: text(),
            source: text(),
            year: text(),
        }
    }

    #[test]
    fn every_kind_of_group_divides_the_same_energy_and_an_hour_is_split_exactly() {
        let mut history = History::new(1);
        let at =
            |wall| Moment { monotonic: Nanos::new(wall), boottime: Nanos::new(wall), wall: Nanos::new(wall) };
        let mut number = 16;
        history.begin(&at(10 * HOUR + MINUTE), Nanos::ZERO);
        let mut charge = history.charge(Nanos::new(3 * MINUTE), (0, 0), &factor(), &mut number);
        charge.add("unit", Some(1_000), Energy::from_micro(100), Emissions::from_nano(10));
        charge.add("idle", None, Energy::from_micro(1), Emissions::from_nano(1));
        for user in 0..500 {
            charge.add("unit", Some(user), Energy::from_micro(3), Emissions::ZERO);
        }
        let slots = history.slots(1);
        assert_eq!(slots.iter().map(|slot| slot.hour).collect::<Vec<_>>(), [9, 10]);
        assert_eq!(number, 18, "each slot has a number");
        for kind in [ACCOUNT, USER] {
            let rows = || slots.iter().flat_map(|slot| &slot.rows).filter(|row| &*row.group.kind == kind);
            assert_eq!(
                rows().flat_map(|row| &row.energy).copied().sum::<Energy>().as_micro(),
                1_601,
                "{kind}"
            );
            assert_eq!(rows().flat_map(|row| &row.emissions).copied().sum::<Emissions>().as_nano(), 11);
            assert!(rows().count() <= 2 * (MAX_USERS + 2), "bounded");
        }
        history.begin(&at(10 * HOUR + 2 * MINUTE), Nanos::ZERO);
        assert_eq!(history.slots(1).len(), 2, "a past hour stays until it is on disk");
        history.begin(&at(10 * HOUR + 3 * MINUTE), Nanos::new(11 * HOUR));
        assert_eq!(history.slots(1).len(), 1);
    }

    #[test]
    fn a_store_that_fails_for_a_week_costs_detail_and_no_energy() {
        let mut history = History::new(1);
        let mut number = 16;
        for hour in 0..200 {
            let time = Nanos::new(hour * HOUR + MINUTE);
            history.begin(&Moment { monotonic: time, boottime: time, wall: time }, Nanos::new(HOUR / 2));
            let mut charge = history.charge(Nanos::new(1), (0, 0), &factor(), &mut number);
            charge.add("idle", None, Energy::from_micro(7), Emissions::from_nano(5));
            assert!(history.slots(1).len() <= MAX_SLOTS);
        }
        let slots = history.slots(1);
        let rows = || slots.iter().flat_map(|slot| &slot.rows).filter(|row| &*row.group.kind == ACCOUNT);
        // The first hour is on disk.
        assert_eq!(rows().flat_map(|row| &row.energy).copied().sum::<Energy>().as_micro(), 199 * 7);
        assert_eq!(rows().flat_map(|row| &row.emissions).copied().sum::<Emissions>().as_nano(), 199 * 5);
    }

    #[test]
    fn every_row_has_a_cell_for_each_zone_and_column_whichever_of_them_was_charged() {
        let mut history = History::new(3);
        let at = |hour| Moment { wall: Nanos::new(hour * HOUR + MINUTE), ..Moment::default() };
        let mut number = 16;
        for (hour, cell) in [(10, (0, 1)), (11, (1, 0))] {
            history.begin(&at(hour), Nanos::ZERO);
            let mut charge = history.charge(Nanos::new(MINUTE), cell, &factor(), &mut number);
            charge.add("idle", None, Energy::from_micro(7), Emissions::from_nano(5));
            for row in history.slots(2).iter().flat_map(|slot| &slot.rows) {
                assert_eq!((row.energy.len(), row.emissions.len()), (6, 6), "{row:?}");
            }
        }
    }
}
