//! Who is charged where groups come, go and wait.

use super::*;
use crate::model::description::Naming;
use crate::model::grid::Step;
use crate::model::identity::JobKind;
use crate::model::quantity::{Intensity, Pue};
use crate::model::reading::{Factor, GroupReading};
use crate::model::time::Moment;

fn birth(slot: u32, parent: Option<u32>, role: GroupRole) -> Birth {
    let parent = parent.map(GroupSlot);
    let (hierarchy, path) = (Hierarchy::Supplement, format!("/{slot}").as_str().into());
    Birth { slot: GroupSlot(slot), parent, hierarchy, role, path, inode: 0, user: None, is_new: true }
}

fn tick(busy_seconds: u64, groups: Groups) -> Tick {
    let text = || "".into();
    let (intensity, pue) = (Intensity::parse_grams("1").expect("valid"), Pue::ONE);
    let (basis, accounting, quality) = (text(), text(), text());
    let (source, year, zone) = (text(), text(), text());
    Tick {
        domains: None,
        gpus: Vec::new(),
        at: Moment::default(),
        meters: Vec::new(),
        busy: vec![Nanos::from_seconds(busy_seconds)],
        cpus: 1,
        groups,
        namings: Vec::new(),
        speech: Vec::new(),
        plan: None,
        factor: Factor {
            zone,
            intensity,
            pue,
            basis,
            accounting,
            quality,
            source,
            year,
            fallback: Step::Wanted,
        },
    }
}

/// A slice of the supplementary hierarchy used 3 s in a tick in which its two services came and
/// went unread; the second one's processes may stand in a job of the primary hierarchy too.
fn rest_of_the_slice(is_double: bool) -> Vec<(Account, u64)> {
    let service = |name: &str| GroupRole::Job(JobId::new(JobKind::Unit, name));
    let mut ledger = Ledger::new(Vec::new().into(), Vec::new(), 10, Nanos::ZERO);
    let mut observer = Observer::default();
    observer.step(&tick(0, Groups::default()), &mut ledger);
    let groups = Groups {
        births: vec![
            birth(0, None, GroupRole::Passage),
            birth(1, Some(0), service("a.service")),
            birth(2, Some(0), service("b.service")),
        ],
        deaths: vec![GroupSlot(1), GroupSlot(2)],
        attributes: vec![(GroupSlot(2), Attributes { is_double, ..Attributes::default() })],
        readings: vec![GroupReading { slot: GroupSlot(0), usage: Nanos::from_seconds(3), per_socket: None }],
        crowded: Vec::new(),
    };
    let shares = observer.step(&tick(3, groups), &mut ledger).machine;
    shares.iter().filter(|share| share.weight > 0).map(|share| (share.account, share.weight)).collect()
}

#[test]
fn what_several_left_is_ended_unless_another_hierarchy_charges_one_of_them() {
    let all = 3_000_000_000;
    assert_eq!(rest_of_the_slice(false), [(Account::Residual(Residual::Ended), all)]);
    assert_eq!(rest_of_the_slice(true), [(Account::Residual(Residual::System), all)]);
}

#[test]
fn who_waits_for_room_comes_before_who_is_born_now() {
    let job = |number: u64| GroupRole::Job(JobId::new(JobKind::Unit, &format!("job-{number}.service")));
    let seconds = Nanos::from_seconds;
    let mut ledger = Ledger::new(Vec::new().into(), Vec::new(), 1, seconds(300));
    let mut observer = Observer::default();
    let mut step = |now: u64, births: Vec<Birth>, deaths: Vec<GroupSlot>| {
        let groups = Groups { births, deaths, ..Groups::default() };
        let mut tick = tick(0, groups);
        tick.at.monotonic = seconds(now);
        ledger.begin(&tick.at);
        observer.step(&tick, &mut ledger);
        ledger.release();
        ledger.rows()
    };
    // The page has one row. A short job has it and ends; a long one waits; every tick a new one is born.
    step(0, vec![birth(0, None, job(0)), birth(1, None, job(1))], Vec::new());
    step(5, Vec::new(), vec![GroupSlot(0)]);
    for number in 2..30 {
        let slot = u32::try_from(number).expect("small");
        step(5 * number, vec![birth(slot, None, job(number))], Vec::new());
    }
    assert_eq!(step(150, Vec::new(), Vec::new()), ["job-1.service"]);
}

#[test]
fn what_is_known_of_a_job_waits_with_it_for_a_row() {
    let job = |number: u64| JobId::new(JobKind::Unit, &format!("job-{number}.service"));
    let mut ledger = Ledger::new(Vec::new().into(), Vec::new(), 1, Nanos::from_seconds(300));
    ledger.group_by(&["team".into(), "user".into()], Nanos::ZERO);
    let mut observer = Observer::default();
    let naming = |kind: &str, group: &str| Naming {
        id: job(1),
        description: Default::default(),
        groups: vec![(kind.into(), group.into())],
        is_final: false,
    };
    let mut step = |now: u64, births: Vec<Birth>, deaths: Vec<GroupSlot>, namings: &[Naming]| {
        let mut tick = tick(0, Groups { births, deaths, ..Groups::default() });
        tick.at.monotonic = Nanos::from_seconds(now);
        ledger.begin(&tick.at);
        observer.step(&tick, &mut ledger);
        observer.remember(namings.iter().filter(|naming| !ledger.describe(naming)).collect());
        ledger.release();
        let mut totals = crate::model::snapshot::Totals::default();
        ledger.fill(&mut totals);
        let groups = totals.groups.iter().flat_map(|kind| &kind.groups);
        groups.map(|group| group.name.to_string()).filter(|name| !name.is_empty()).collect::<Vec<_>>()
    };
    let births = (0..2).zip([0, 1]).map(|(slot, number)| birth(slot, None, GroupRole::Job(job(number))));
    let known = [naming("team", "red"), naming("team", "blue"), naming("user", "anna")];
    assert!(step(0, births.collect(), Vec::new(), &known).is_empty(), "there is one row, and another has it");
    step(5, Vec::new(), vec![GroupSlot(0)], &[]);
    assert_eq!(step(150, Vec::new(), Vec::new(), &[]), ["red", "anna"]);
}
