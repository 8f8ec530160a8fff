//! Groups rule by rule, through the ledger that charges them.

use super::super::ledger::{Account, Charge, Ledger, Newcomer};
use super::*;
use crate::model::description::Naming;
use crate::model::grid::Step;
use crate::model::identity::{HwType, JobId, JobKind, Origin, Residual};
use crate::model::quantity::{Intensity, Pue};
use crate::model::reading::{Factor, Hierarchy};
use crate::model::snapshot::{Column, Table, Totals};
use std::collections::BTreeMap;
use std::sync::Arc;

const HOLD: u64 = 125;
const RETENTION: u64 = 300;

fn factor() -> Factor {
    let text = || "".into();
    Factor {
        zone: "DE".into(),
        intensity: Intensity::parse_grams("360").expect("valid"),
        pue: Pue::ONE,
        basis: text(),
        accounting: text(),
        quality: text(),
        source: text(),
        year: text(),
        fallback: Step::Wanted,
    }
}

fn columns() -> Vec<Column> {
    let column =
        |hw_type| Column { hw_type, gpu: "".into(), gpu_instance: "".into(), origin: Origin::Measured };
    vec![column(HwType::Cpu), column(HwType::Gpu)]
}

fn job(name: &str) -> JobId {
    JobId::new(JobKind::Pod, name)
}

fn naming(name: &str, groups: &[(&str, &str)], is_final: bool) -> Naming {
    Naming {
        id: job(name),
        description: Arc::default(),
        groups: groups.iter().map(|(kind, group)| ((*kind).into(), (*group).into())).collect(),
        is_final,
    }
}

/// A ledger with jobs that use what a test says, checked after every step.
struct Run {
    ledger: Ledger,
    now: u64,
    rows: BTreeMap<String, u32>,
    before: BTreeMap<(String, String), u64>,
}

impl Run {
    /// One whose first tick is over.
    fn new(kinds: &[&str], hold: u64) -> Run {
        let mut run = Run::fresh(kinds, hold, 100);
        run.at(0);
        run
    }

    fn fresh(kinds: &[&str], hold: u64, max_jobs: u32) -> Run {
        let mut ledger =
            Ledger::new(columns().into(), vec![true, false], max_jobs, Nanos::from_seconds(RETENTION));
        ledger.group_by(&names(kinds), Nanos::from_seconds(hold));
        Run { ledger, now: 0, rows: BTreeMap::new(), before: BTreeMap::new() }
    }

    fn at(&mut self, seconds: u64) -> &mut Run {
        self.begins(seconds);
        self.ledger.decide_overdue();
        self.ledger.price(None, &factor());
        self.ledger.retire();
        let gone = self.ledger.release();
        self.rows.retain(|_, row| !gone.contains(row));
        self.check();
        self
    }

    fn begins(&mut self, seconds: u64) {
        self.now = seconds;
        let time = Nanos::from_seconds(1_000 + seconds);
        let wall = Nanos::from_seconds(1_800_000_000 + seconds);
        self.ledger.begin(&Moment { monotonic: time, boottime: time, wall });
    }

    fn is_born(&mut self, name: &str, user: Option<u32>) -> &mut Run {
        let newcomer = Newcomer { id: &job(name), cgroup: &"/x".into(), user, naming: None };
        let row = self.ledger.open(newcomer, Hierarchy::Primary).expect("there is room");
        self.rows.insert(name.to_owned(), row);
        self
    }

    fn dies(&mut self, name: &str) -> &mut Run {
        self.ledger.close(self.rows[name], Hierarchy::Primary);
        self
    }

    fn named(&mut self, name: &str, groups: &[(&str, &str)]) -> &mut Run {
        assert!(self.ledger.describe(&naming(name, groups, false)), "{name} has a row");
        self
    }

    fn uses(&mut self, name: &str, joules: u64) -> &mut Run {
        self.uses_in(0, Account::Job(self.rows[name]), joules)
    }

    fn uses_in(&mut self, column: usize, account: Account, joules: u64) -> &mut Run {
        let energy = Energy::from_micro(joules * 1_000_000);
        let parts = [Charge { account, energy, key: 1, part: None }];
        self.ledger.charge(column, Nanos::from_seconds(5), &parts);
        self.check();
        self
    }

    fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        self.ledger.fill(&mut totals);
        totals
    }

    fn check(&mut self) {
        let totals = self.totals();
        check(&totals);
        for (name, now) in shown(&totals) {
            let before = self.before.insert(name.clone(), now).unwrap_or(0);
            assert!(now >= before, "{name:?} fell from {before} to {now} µJ");
        }
    }

    /// Joules of the groups of a kind that are on the page, by name, and what is pending.
    fn groups(&self, kind: &str) -> Vec<(String, u64)> {
        let totals = self.totals();
        let of_kind = totals.groups.iter().find(|of_kind| &*of_kind.kind == kind).expect("shown");
        let mut groups: Vec<(String, u64)> = shown(&totals)
            .into_iter()
            .filter(|((of, _), _)| of == kind)
            .map(|((_, name), energy)| (name, energy / 1_000_000))
            .collect();
        let pending: Energy = of_kind.pending.energy.iter().copied().sum();
        groups.push(("…".to_owned(), pending.as_micro() / 1_000_000));
        groups
    }

    fn expect(&mut self, expected: &[(&str, u64)]) -> &mut Run {
        let found = self.groups("team");
        let found: Vec<(&str, u64)> = found.iter().map(|(name, joules)| (name.as_str(), *joules)).collect();
        assert_eq!(found, expected, "after {} s", self.now);
        self
    }
}

fn names(kinds: &[&str]) -> Vec<Name> {
    kinds.iter().map(|kind| Name::from(*kind)).collect()
}

fn shown(totals: &Totals) -> BTreeMap<(String, String), u64> {
    let mut shown = BTreeMap::new();
    for of_kind in &totals.groups {
        for (group, energy) in of_kind.groups.iter().zip(of_kind.table.energy.chunks(2)) {
            let sum: Energy = energy.iter().copied().sum();
            shown.insert((of_kind.kind.to_string(), group.name.to_string()), sum.as_micro());
        }
    }
    shown
}

/// What the groups of each kind show and what is pending is the host's.
fn check(totals: &Totals) {
    for of_kind in &totals.groups {
        let mut sums =
            Sums { energy: vec![Energy::ZERO; 2], emissions: vec![Emissions::ZERO; 2 * totals.zones.len()] };
        for table in [&of_kind.table, &of_kind.pending] {
            let Table { energy, emissions } = table;
            energy.iter().enumerate().for_each(|(at, part)| sums.energy[at % 2] += *part);
            let cells = sums.emissions.len().max(1);
            emissions.iter().enumerate().for_each(|(at, part)| sums.emissions[at % cells] += *part);
        }
        assert_eq!(sums.energy, totals.host.energy, "joules of {}", of_kind.kind);
        assert_eq!(sums.emissions, totals.host.emissions, "grams of {}", of_kind.kind);
    }
}

#[test]
fn a_group_that_is_known_at_the_first_tick_is_there_at_once() {
    let mut run = Run::fresh(&["team"], HOLD, 10);
    run.at(0).is_born("a", None).named("a", &[("team", "red")]).expect(&[("", 0), ("red", 0), ("…", 0)]);
    run.at(5).uses("a", 7).expect(&[("", 0), ("red", 7), ("…", 0)]);
    run.uses_in(0, Account::Residual(Residual::Idle), 2).expect(&[("", 2), ("red", 7), ("…", 0)]);
}

#[test]
fn a_late_group_is_at_zero_for_the_hold_and_is_then_paid_out_evenly() {
    let mut run = Run::new(&["team"], HOLD);
    run.at(100).is_born("a", None).uses("a", 100);
    run.expect(&[("", 0), ("…", 100)]);
    run.at(105).named("a", &[("team", "red")]).expect(&[("", 0), ("red", 0), ("…", 100)]);
    run.uses("a", 1_150).expect(&[("", 0), ("red", 0), ("…", 1_250)]);
    run.at(105 + HOLD - 1).expect(&[("", 0), ("red", 0), ("…", 1_250)]);
    // From here on what it uses is shown at once; of what is owed a joule each second.
    run.at(105 + HOLD).uses("a", 5).expect(&[("", 0), ("red", 5), ("…", 1_250)]);
    run.at(105 + HOLD + 10).expect(&[("", 0), ("red", 15), ("…", 1_240)]);
    run.at(105 + HOLD + 17).expect(&[("", 0), ("red", 22), ("…", 1_233)]);
    for second in (0..1_250).step_by(13).skip(2) {
        run.at(105 + HOLD + second);
        let (_, red) = run.groups("team").swap_remove(1);
        assert!(red.abs_diff(5 + second) <= 1, "{red} J after {second} s");
    }
    run.at(105 + 11 * HOLD).expect(&[("", 0), ("red", 1_255), ("…", 0)]);
    assert_eq!(run.totals().groups[0].pending.energy, [Energy::ZERO; 2], "to the last µJ");
}

#[test]
fn a_job_waits_for_its_group_no_longer_than_two_minutes_and_stays_in_the_one_it_has() {
    let mut run = Run::new(&["team"], 0);
    run.at(5).is_born("never", None).is_born("late", None).is_born("changed", None);
    run.uses("never", 1).uses("late", 10).uses("changed", 100).expect(&[("", 0), ("…", 111)]);
    run.at(100).named("changed", &[("team", "red")]).expect(&[("", 0), ("red", 100), ("…", 11)]);
    run.at(124).named("late", &[("team", "red")]).named("changed", &[("team", "blue")]);
    run.expect(&[("", 0), ("red", 110), ("…", 1)]);
    run.at(125).expect(&[("", 1), ("red", 110), ("…", 0)]);
    run.named("never", &[("team", "blue")]).uses("never", 1).uses("changed", 1);
    run.expect(&[("", 2), ("red", 111), ("…", 0)]);
}

#[test]
fn what_is_told_at_the_last_moment_counts() {
    let mut run = Run::new(&["namespace"], 0);
    run.is_born("a", None).uses("a", 7);
    run.begins(500);
    run.named("a", &[("namespace", "web")]);
    run.ledger.decide_overdue();
    run.at(5_000);
    assert!(run.groups("namespace").contains(&("web".to_owned(), 7)), "{:?}", run.groups("namespace"));
}

#[test]
fn what_is_final_is_in_no_group_of_the_kinds_it_does_not_name() {
    let mut run = Run::new(&["user", "team"], 0);
    run.at(5).is_born("a", Some(1_000)).uses("a", 3);
    assert!(run.ledger.describe(&naming("a", &[("user", "alice"), ("nation", "x")], true)));
    run.expect(&[("", 3), ("…", 0)]);
    assert_eq!(run.groups("user"), [("".into(), 0), ("alice".into(), 3), ("…".into(), 0)]);
}

#[test]
fn a_user_whom_nobody_names_is_a_number() {
    let mut run = Run::new(&["user", "team"], 0);
    run.at(5).is_born("a", Some(1_000)).is_born("b", Some(1_001)).is_born("c", None);
    run.uses("a", 1).uses("b", 2).uses("c", 4).named("b", &[("user", "bob")]);
    run.at(125).expect(&[("", 7), ("…", 0)]);
    let users = [("", 4), ("1000", 1), ("bob", 2), ("…", 0)].map(|(name, joules)| (name.to_owned(), joules));
    assert_eq!(run.groups("user"), users);
}

#[test]
fn a_job_that_joins_a_group_late_makes_no_peak() {
    let mut run = Run::fresh(&["team"], HOLD, 10);
    run.at(0).is_born("a", None).named("a", &[("team", "red")]);
    run.at(5).is_born("b", None).uses("b", 1_250);
    run.at(105).named("b", &[("team", "red")]).expect(&[("", 0), ("red", 0), ("…", 1_250)]);
    run.uses("b", 3).expect(&[("", 0), ("red", 3), ("…", 1_250)]);
    run.at(115).expect(&[("", 0), ("red", 13), ("…", 1_240)]);
    run.at(105 + 10 * HOLD).expect(&[("", 0), ("red", 1_253), ("…", 0)]);
}

#[test]
fn a_job_that_leaves_while_it_waits_is_in_no_group_and_waits_anew_when_it_comes_back() {
    let mut run = Run::fresh(&["team"], 0, 1);
    run.at(0).is_born("a", None).uses("a", 5).dies("a");
    // There is one row only; the next job needs it before two minutes are over.
    run.at(70);
    assert!(run.ledger.evict());
    run.check();
    run.expect(&[("", 5), ("…", 0)]);
    run.ledger.release();
    run.is_born("b", None).uses("b", 7).dies("b").expect(&[("", 5), ("…", 7)]);
    run.named("b", &[("team", "red")]).expect(&[("", 5), ("red", 7), ("…", 0)]);
    run.at(70 + RETENTION).is_born("a", None).uses("a", 11).expect(&[("", 5), ("red", 7), ("…", 11)]);
    run.named("a", &[("team", "red")]).expect(&[("", 5), ("red", 18), ("…", 0)]);
}

#[test]
fn groups_are_bounded_and_nobody_is_taken_for_the_overflow() {
    let mut run = Run::fresh(&["team"], 0, 1_000);
    run.at(5);
    for number in 0..500 {
        let name = format!("job-{number}");
        let team = match number {
            0 => "overflow".to_owned(),
            1 => "overflow_".to_owned(),
            _ => format!("team-{number}{}", "x".repeat(if number % 2 == 0 { 500 } else { 0 })),
        };
        run.is_born(&name, None).named(&name, &[("team", &team)]);
    }
    for number in 0..500 {
        run.uses(&format!("job-{number}"), 1);
    }
    let groups = run.groups("team");
    let joules = |name: &str| groups.iter().find(|group| group.0 == name).expect("it is there").1;
    assert_eq!((joules("overflow"), joules("overflow_"), joules("overflow__")), (300, 1, 1));
    assert_eq!(groups.len(), MAX_GROUPS + 3, "with what is in none and what is pending");
    assert!(groups.iter().all(|(name, _)| name.len() <= 200));
    assert_eq!(run.totals().groups[0].overflowed, 300);
}

#[test]
fn a_column_that_few_use_is_shown_at_zero_first_too() {
    let mut run = Run::fresh(&["team"], HOLD, 10);
    let opens = |run: &Run| run.totals().groups[0].groups[1].opens[1].is_some();
    run.at(0).is_born("a", None).named("a", &[("team", "red")]);
    assert!(!opens(&run));
    let account = Account::Job(run.rows["a"]);
    run.at(5).uses("a", 1).uses_in(1, account, 1_250).expect(&[("", 0), ("red", 1), ("…", 1_250)]);
    assert!(opens(&run));
    run.at(5 + HOLD).uses_in(1, account, 1).expect(&[("", 0), ("red", 2), ("…", 1_250)]);
    run.at(5 + 2 * HOLD).expect(&[("", 0), ("red", 127), ("…", 1_125)]);
}

#[test]
fn a_kind_may_come_and_go() {
    let mut run = Run::new(&["user"], 0);
    let group_by = |run: &mut Run, kinds: &[&str]| {
        run.ledger.group_by(&names(kinds), Nanos::ZERO);
        run.check();
    };
    run.at(5).is_born("old", None).uses("old", 100);
    group_by(&mut run, &["user", "team"]);
    // Of what the kind has not seen it knows nothing; from now on it does.
    run.expect(&[("", 100), ("…", 0)]).uses("old", 10).expect(&[("", 110), ("…", 0)]);
    run.named("old", &[("team", "red")]).uses("old", 1).expect(&[("", 110), ("red", 1), ("…", 0)]);
    run.is_born("new", None).uses("new", 50).expect(&[("", 110), ("red", 1), ("…", 50)]);
    group_by(&mut run, &["user"]);
    assert_eq!(run.totals().groups.len(), 1);
    run.uses("old", 1_000).uses("new", 1_000);
    run.before.clear();
    group_by(&mut run, &["team"]);
    run.expect(&[("", 2_160), ("red", 1), ("…", 0)]);
    run.uses("old", 1).named("new", &[("team", "red")]).uses("new", 1);
    run.expect(&[("", 2_160), ("red", 3), ("…", 0)]);
    // One that is forgotten for others begins anew.
    for round in 0..5 {
        let kinds: Vec<String> = (0..MAX_KINDS + 5).map(|number| format!("kind-{round}-{number}")).collect();
        group_by(&mut run, &kinds.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(run.totals().groups.len(), MAX_KINDS);
        run.uses("old", 1);
    }
    run.before.clear();
    group_by(&mut run, &["account", "team", "team"]);
    run.expect(&[("", 2_168), ("…", 0)]);
}

/// What Prometheus' `increase` over everything makes of scrapes, without what it extrapolates: a series counts
/// from the first sample that was seen of it.
#[test]
fn the_increases_of_late_groups_add_up_to_that_of_the_host() {
    const HINT: u64 = 60;
    const TICK: u64 = 5;
    for offset in 0..HINT / TICK {
        let mut run = Run::fresh(&["team"], 2 * HINT + TICK, 1_000);
        run.at(0);
        let mut first: BTreeMap<(String, String), u64> = BTreeMap::new();
        let mut last = first.clone();
        for tick in 1..1_000 {
            run.at(tick * TICK);
            let name = format!("job-{}", tick / 9);
            let is_there = run.rows.contains_key(&name);
            match tick % 9 {
                0 => {
                    run.is_born(&name, None);
                }
                // Some are never named, the others after a few ticks.
                3 if is_there && tick % 5 > 0 => {
                    run.named(&name, &[("team", &format!("team-{}", tick / 50))]);
                }
                8 if is_there => {
                    run.uses(&name, 500).dies(&name);
                }
                _ => {}
            }
            if run.rows.contains_key(&name) {
                run.uses(&name, tick % 7);
            }
            if tick * TICK % HINT == offset * TICK {
                last = shown(&run.totals());
                for (name, value) in &last {
                    first.entry(name.clone()).or_insert(*value);
                }
                assert_eq!(first.iter().filter(|(name, value)| !name.1.is_empty() && **value > 0).count(), 0);
            }
        }
        let totals = run.totals();
        let grown: u64 = last.iter().map(|(name, value)| value - first[name]).sum();
        let host: Energy = totals.host.energy.iter().copied().sum();
        let pending: Energy = totals.groups[0].pending.energy.iter().copied().sum();
        let before: u64 = first.values().sum();
        let since_the_last_scrape: u64 = shown(&totals).iter().map(|(name, value)| value - last[name]).sum();
        assert_eq!(grown + before + pending.as_micro() + since_the_last_scrape, host.as_micro());
        assert!(before < 1_000_000_000, "{before}");
    }
}
