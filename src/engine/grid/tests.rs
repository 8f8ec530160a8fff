//! Grams by the hour, and what revisions make of them.

use super::*;
use crate::model::grid::{Step, Stretch};
use crate::model::quantity::Pue;
use proptest::prelude::*;

const GRAINS: u64 = GRAIN.get();
const KILOWATT_HOUR: u64 = 3_600_000_000_000;

fn factor(grams: &str, fallback: Step) -> Factor {
    let text = || "".into();
    Factor {
        zone: "FR".into(),
        intensity: Intensity::parse_grams(grams).expect("valid"),
        pue: Pue::ONE,
        basis: text(),
        accounting: text(),
        quality: text(),
        source: text(),
        year: text(),
        fallback,
    }
}

/// Stretches by their grains, the text of their grams and their step.
fn plan(stretches: &[(u64, u64, &str, Step)]) -> Arc<Plan> {
    let stretches = stretches.iter().map(|(start, end, grams, step)| Stretch {
        start: Nanos::new(start * GRAINS),
        end: Nanos::new(end * GRAINS),
        factor: Arc::new(factor(grams, *step)),
    });
    Arc::new(Plan { stretches: stretches.collect(), otherwise: Arc::new(factor("50", Step::Table)) })
}

fn hours(bill: &Bill) -> Vec<(u64, u64)> {
    bill.hours.iter().map(|billed| (billed.hour, billed.nanograms)).collect()
}

fn enforce(grid: &mut Grid, now: u64, plan: Option<&Arc<Plan>>) {
    grid.enforce(Nanos::new(now), plan, (&factor("50", Step::Table), 0));
}

fn bill(grid: &mut Grid, elapsed: u64, microjoules: u64) -> Bill {
    grid.bill(Nanos::new(elapsed), Energy::from_micro(microjoules), &mut EmissionsRemainder::default())
}

#[test]
fn two_hours_at_different_power_and_intensity_are_summed_not_averaged() {
    let mut grid = Grid::default();
    let plan = plan(&[(0, 12, "100", Step::Wanted), (12, 24, "500", Step::Wanted)]);
    enforce(&mut grid, HOUR, Some(&plan));
    let first = bill(&mut grid, HOUR, KILOWATT_HOUR / 5 * 4);
    enforce(&mut grid, 2 * HOUR, None);
    let second = bill(&mut grid, HOUR, KILOWATT_HOUR / 5);
    assert_eq!(hours(&first), [(0, 80_000_000_000)]);
    assert_eq!(hours(&second), [(1, 100_000_000_000)]);
    let sum = first.emissions + second.emissions;
    assert_eq!(sum.as_nano(), 180_000_000_000, "not 1 kWh times the mean of 300 g");
}

#[test]
fn an_interval_across_a_boundary_is_cut_there() {
    let mut grid = Grid::default();
    let plan =
        plan(&[(11, 12, "100", Step::Wanted), (12, 13, "0", Step::Wanted), (13, 14, "500", Step::Last)]);
    // Two seconds before the hour and three after it.
    enforce(&mut grid, HOUR + 3_000_000_000, Some(&plan));
    let over = bill(&mut grid, 5_000_000_000, 3_600_000 * 5);
    assert_eq!(hours(&over), [(0, 2 * 100_000), (1, 0)], "zero is a figure");
    // Beyond what the plan knows the rest of it is in force.
    enforce(&mut grid, 15 * GRAINS, None);
    let beyond = bill(&mut grid, 2 * GRAINS, 3_600_000_000 * 2);
    assert_eq!(beyond.emissions.as_nano(), 500_000_000 + 50_000_000);
}

#[test]
fn a_gap_of_a_week_is_billed_by_the_hours_that_are_kept() {
    let mut grid = Grid::default();
    let plan = plan(&[(2_016 - 12, 2_016, "100", Step::Wanted)]);
    enforce(&mut grid, 2_016 * GRAINS, Some(&plan));
    let all = bill(&mut grid, 2_016 * GRAINS, 168 * KILOWATT_HOUR);
    assert_eq!(all.emissions.as_nano(), (167 * 50 + 100) * 1_000_000_000);
    assert_eq!(all.hours.len(), 72);
    assert!(grid.position().spans.len() <= 864);
}

#[test]
fn a_revised_hour_restates_what_was_charged_and_charges_nothing_again() {
    let mut grid = Grid::default();
    // 100 g was the last figure when the hour began, and 90 g an estimate for its second half.
    enforce(&mut grid, 6 * GRAINS, Some(&plan(&[(0, 12, "100", Step::Last)])));
    let charged = bill(&mut grid, 6 * GRAINS, 6 * KILOWATT_HOUR);
    assert_eq!(grid.revisions(), []);
    assert_eq!(grid.restated(1), [Some(0)]);
    enforce(&mut grid, 12 * GRAINS, Some(&plan(&[(0, 6, "100", Step::Last), (6, 12, "90", Step::Wanted)])));
    let more = bill(&mut grid, 6 * GRAINS, 6 * KILOWATT_HOUR);
    assert_eq!(grid.revisions(), []);
    // Then it is known that it was 120 g all along.
    enforce(&mut grid, 13 * GRAINS, Some(&plan(&[(0, 12, "120", Step::Wanted)])));
    let sum = |revisions: &[Revision]| revisions.iter().map(|revision| revision.nanograms).sum::<i64>();
    let revisions = grid.revisions();
    assert_eq!(sum(&revisions), 6 * (20 + 30) * 1_000_000_000);
    assert!(revisions.iter().all(|revision| revision.hour == 0 && revision.zone == 0));
    assert_eq!(charged.emissions.as_nano() + more.emissions.as_nano(), 6 * 190 * 1_000_000_000);
    assert_eq!(grid.restated(1), [Some(6 * 50 * 1_000_000_000)]);
    assert_eq!(grid.revisions(), [], "told once");
    // And later that it was 0.
    enforce(&mut grid, 14 * GRAINS, Some(&plan(&[(0, 12, "0", Step::Substitute)])));
    assert_eq!(sum(&grid.revisions()), 6 * -240 * 1_000_000_000);
    assert_eq!(grid.restated(1), [Some(6 * -190 * 1_000_000_000)]);
    // A plan that has forgotten the hour takes nothing back, nor one that guesses, nor one of another zone.
    enforce(&mut grid, 15 * GRAINS, Some(&plan(&[])));
    assert_eq!(grid.revisions(), []);
    enforce(&mut grid, 15 * GRAINS, Some(&plan(&[(0, 12, "70", Step::Profile)])));
    assert_eq!(grid.revisions(), []);
    let elsewhere = plan(&[(0, 12, "70", Step::Wanted)]);
    grid.enforce(Nanos::new(15 * GRAINS), Some(&elsewhere), (&factor("50", Step::Table), 1));
    assert_eq!(grid.revisions(), []);
    // What includes something else is another figure, and not a later word on this one.
    let mut direct = (*plan(&[(0, 12, "70", Step::Wanted)])).clone();
    Arc::make_mut(&mut direct.stretches[0].factor).basis = "direct".into();
    enforce(&mut grid, 15 * GRAINS, Some(&Arc::new(direct)));
    assert_eq!(grid.revisions(), []);
    // After three days it is settled, and the sum stays.
    enforce(&mut grid, (KEPT_GRAINS + 20) * GRAINS, None);
    assert_eq!(grid.revisions(), []);
    assert_eq!(grid.position().spans, []);
    assert_eq!(grid.restated(1), [Some(6 * -190 * 1_000_000_000)]);
    let mut next = Grid::default();
    next.resume(&grid.position());
    assert_eq!(next.restated(2), [Some(6 * -190 * 1_000_000_000), None]);
}

#[test]
fn what_comes_late_for_an_hour_that_was_restated_is_restated_too() {
    let mut grid = Grid::default();
    enforce(&mut grid, 2 * GRAINS, Some(&plan(&[(0, 12, "100", Step::Wanted)])));
    bill(&mut grid, GRAINS, KILOWATT_HOUR);
    // A driver that hung gives the energy of both spans, when the plan has lost the first one.
    enforce(&mut grid, 2 * GRAINS, Some(&plan(&[(1, 12, "200", Step::Wanted)])));
    grid.revisions();
    bill(&mut grid, 2 * GRAINS, 2 * KILOWATT_HOUR);
    enforce(&mut grid, 3 * GRAINS, None);
    grid.revisions();
    assert_eq!(grid.restated(1), [Some(100 * 1_000_000_000)], "the one kWh that was charged at 100 g");
}

#[test]
fn a_static_figure_keeps_no_spans() {
    let mut grid = Grid::default();
    enforce(&mut grid, 100 * GRAINS, None);
    assert_eq!(bill(&mut grid, 7 * GRAINS, KILOWATT_HOUR).emissions.as_nano(), 50 * 1_000_000_000);
    assert!(grid.position().spans.is_empty());
    assert_eq!(grid.restated(1), [None]);
}

#[test]
fn a_wall_clock_that_jumps_costs_no_memory() {
    let mut grid = Grid::default();
    let plan = plan(&[]);
    for day in 0..60 {
        let now = if day % 2 == 0 { 400 + day } else { 10 + day };
        enforce(&mut grid, now * 24 * HOUR, Some(&plan));
        bill(&mut grid, 24 * HOUR, KILOWATT_HOUR);
        grid.revisions();
        assert!(grid.position().spans.len() <= MAX_SPANS);
    }
}

proptest! {
    /// However often figures change, what was charged and what it was restated by are worth the last figures.
    #[test]
    fn charged_and_restated_are_what_the_last_figures_say(
        energies in prop::collection::vec((1_u64..400, 0_u64..10_000_000_000), 1..40),
        revisions in prop::collection::vec(prop::collection::vec(0_u32..1_000, 300), 1..5),
    ) {
        let said = |figures: &[u32]| {
            let stretches = (0..).zip(figures).map(|(grain, grams)| Stretch {
                start: Nanos::new(grain * GRAINS),
                end: Nanos::new((grain + 1) * GRAINS),
                factor: Arc::new(factor(&grams.to_string(), Step::Wanted)),
            });
            Arc::new(Plan { stretches: stretches.collect(), otherwise: Arc::new(factor("50", Step::Table)) })
        };
        let mut grid = Grid::default();
        let mut remainder = EmissionsRemainder::default();
        let (mut now, mut charged, mut told) = (0, 0_i128, 0_i128);
        let mut plans = revisions.iter().map(|figures| said(figures)).cycle();
        for (tenths, microjoules) in energies {
            let elapsed = tenths * GRAINS / 40;
            now += elapsed;
            grid.enforce(Nanos::new(now), plans.next().as_ref(), (&factor("50", Step::Table), 0));
            told += grid.revisions().iter().map(|revision| i128::from(revision.nanograms)).sum::<i128>();
            let bill = grid.bill(Nanos::new(elapsed), Energy::from_micro(microjoules), &mut remainder);
            prop_assert_eq!(bill.hours.iter().map(|billed| billed.nanograms).sum::<u64>(), bill.emissions.as_nano());
            charged += i128::from(bill.emissions.as_nano());
        }
        let last = said(&revisions[0]);
        grid.enforce(Nanos::new(now), Some(&last), (&factor("50", Step::Table), 0));
        told += grid.revisions().iter().map(|revision| i128::from(revision.nanograms)).sum::<i128>();
        prop_assert_eq!(grid.restated(1)[0].map(i128::from), Some(told));
        let worth: u128 = grid.position().spans.iter().map(|span| {
            let figure = last.at(Nanos::new(span.grain * GRAINS)).intensity;
            span.weighed * u128::from(figure.as_milligrams())
        }).sum();
        let spans = i128::try_from(grid.position().spans.len()).expect("few");
        let worth = i128::try_from(worth / 3_600_000_000_000).expect("few grams");
        prop_assert!((charged + told - worth).abs() <= spans + 1, "{charged} + {told} for {worth}");
    }
}
