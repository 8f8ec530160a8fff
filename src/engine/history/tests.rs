//! What lies in which hour.

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

fn factor() -> Arc<Factor> {
    use crate::model::grid::Step;
    use crate::model::quantity::{Intensity, Pue};
    let text = || "".into();
    Arc::new(Factor {
        zone: text(),
        intensity: Intensity::parse_grams("1").expect("valid"),
        pue: Pue::ONE,
        basis: text(),
        accounting: text(),
        quality: text(),
        source: text(),
        year: text(),
        fallback: Step::Wanted,
    })
}

fn at(hour: u64, nanoseconds: u64) -> Moment {
    let wall = hour * HOUR + nanoseconds;
    Moment { monotonic: Nanos::new(wall), boottime: Nanos::new(wall), wall: Nanos::new(wall) }
}

const fn micro(energy: u64) -> Energy {
    Energy::from_micro(energy)
}

/// Kinds `user` and `team`, with groups at places from 1 on.
fn groups(names: &[String]) -> Groups {
    let mut groups = Groups::new(vec![true]);
    let _ = groups.show(&["user".into(), "team".into()], Nanos::ZERO);
    for name in names {
        groups.join(0, name);
        groups.join(1, name);
    }
    groups
}

fn sum(slots: &[Slot], kind: &str, name: Option<&str>) -> (u64, u64) {
    let is_it = |row: &&SlotRow| &*row.group.kind == kind && name.is_none_or(|name| *row.group.name == *name);
    let rows = || slots.iter().flat_map(|slot| &slot.rows).filter(is_it);
    let energy: Energy = rows().flat_map(|row| &row.energy).copied().sum();
    let emissions: Emissions = rows().flat_map(|row| &row.emissions).copied().sum();
    (energy.as_micro(), emissions.as_nano())
}

#[test]
fn every_kind_of_group_divides_the_same_energy_and_an_hour_is_split_exactly() {
    let names: Vec<String> = (0..500).map(|number| number.to_string()).collect();
    let groups = groups(&names);
    let mut history = History::new(1);
    let mut number = 16;
    history.begin(&at(10, MINUTE), Nanos::ZERO);
    let mut charge =
        history.charge((Nanos::new(3 * MINUTE), &Bill::default()), (0, 0), &factor(), &mut number);
    charge.of_account("unit");
    charge.of_group(0, 1, &groups);
    charge.add(None, micro(100), Emissions::from_nano(10));
    charge.of_account("idle");
    charge.add(None, micro(1), Emissions::from_nano(1));
    for place in 1..=201 {
        charge.of_account("unit");
        charge.of_group(0, place, &groups);
        charge.add(None, micro(3), Emissions::ZERO);
    }
    let slots = history.slots(1, &groups);
    assert_eq!(slots.iter().map(|slot| slot.hour).collect::<Vec<_>>(), [9, 10]);
    assert_eq!(number, 18, "each slot has a number");
    for kind in [ACCOUNT, "user", "team"] {
        assert_eq!(sum(&slots, kind, None), (704, 11), "{kind}");
    }
    assert_eq!(sum(&slots, "user", Some("")), (1, 1));
    assert_eq!(sum(&slots, "user", Some("overflow")).0, 3);
    assert_eq!(sum(&slots, "team", Some("")), (704, 11), "nobody is in a team");
    history.begin(&at(10, 2 * MINUTE), Nanos::ZERO);
    assert_eq!(history.slots(1, &groups).len(), 2, "a past hour stays until it is on disk");
    history.begin(&at(10, 3 * MINUTE), Nanos::new(11 * HOUR));
    assert_eq!(history.slots(1, &groups).len(), 1);
}

#[test]
fn what_waits_for_its_name_is_moved_in_the_hours_where_it_lies() {
    let groups = groups(&["alice".to_owned(), "bob".to_owned()]);
    let mut history = History::new(1);
    let mut number = 16;
    let mut charge = |history: &mut History, elapsed, undecided, energy| {
        let mut charge =
            history.charge((Nanos::new(elapsed), &Bill::default()), (0, 0), &factor(), &mut number);
        charge.of_account("pod");
        charge.add(undecided, micro(energy), Emissions::from_nano(energy));
    };
    history.begin(&at(11, MINUTE / 2), Nanos::ZERO);
    charge(&mut history, MINUTE, Some(7), 100);
    charge(&mut history, MINUTE, Some(8), 10);
    charge(&mut history, MINUTE, None, 1);
    let slots = history.slots(1, &groups);
    assert_eq!(sum(&slots, "user", Some("")), (111, 111));
    // Everything is on disk, and a minute later the names are known.
    history.begin(&at(11, MINUTE), Nanos::new(u64::MAX));
    assert_eq!(history.slots(1, &groups).len(), 2, "the hour that is over stays for them");
    history.decide(7, 0, 1, &groups);
    history.decide(7, 1, NONE, &groups);
    history.forget(7);
    let slots = history.slots(1, &groups);
    for (hour, slot) in (10..).zip(&slots) {
        let slot = std::slice::from_ref(slot);
        let expected = [(50, "alice"), (5 + u64::from(hour == 10), "")];
        for (energy, name) in expected {
            assert_eq!(sum(slot, "user", Some(name)).0, energy, "hour {hour}, {name}");
        }
        assert_eq!(sum(slot, "user", None), sum(slot, ACCOUNT, None));
    }
    assert_eq!(sum(&slots, "team", Some("")), (111, 111));
    history.decide(8, 0, 2, &groups);
    history.forget(8);
    assert_eq!(sum(&history.slots(1, &groups), "user", Some("bob")), (10, 10));
    history.begin(&at(11, 2 * MINUTE), at(11, MINUTE / 2).monotonic);
    assert_eq!(history.slots(1, &groups).len(), 2, "what was moved is not on disk");
    history.begin(&at(11, 3 * MINUTE), at(11, 3 * MINUTE).monotonic);
    assert_eq!(history.slots(1, &groups).len(), 1);
}

#[test]
fn a_store_that_fails_for_a_week_costs_detail_and_no_energy() {
    let mut history = History::new(1);
    let groups = groups(&[]);
    let mut number = 16;
    for hour in 0..200 {
        history.begin(&at(hour, MINUTE), Nanos::new(HOUR / 2));
        let mut charge = history.charge((Nanos::new(1), &Bill::default()), (0, 0), &factor(), &mut number);
        charge.of_account("idle");
        charge.add(None, micro(7), Emissions::from_nano(5));
        assert!(history.slots(1, &groups).len() <= MAX_SLOTS);
    }
    // The first hour is on disk.
    assert_eq!(sum(&history.slots(1, &groups), ACCOUNT, None), (199 * 7, 199 * 5));
}

#[test]
fn every_row_has_a_cell_for_each_zone_and_column_whichever_of_them_was_charged() {
    let mut history = History::new(3);
    let groups = groups(&[]);
    let mut number = 16;
    for (hour, cell) in [(10, (0, 1)), (11, (1, 0))] {
        history.begin(&at(hour, MINUTE), Nanos::ZERO);
        let mut charge = history.charge((Nanos::new(MINUTE), &Bill::default()), cell, &factor(), &mut number);
        charge.of_account("idle");
        charge.add(None, micro(7), Emissions::from_nano(5));
        for row in history.slots(2, &groups).iter().flat_map(|slot| &slot.rows) {
            assert_eq!((row.energy.len(), row.emissions.len()), (6, 6), "{row:?}");
        }
    }
}
