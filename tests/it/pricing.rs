//! Figures that change by the hour, are revised and come late, through the sampler.

use super::page::check_identity;
use super::simulation::page;
use super::world::{Dice, Layout, World, factor};
use arc_swap::ArcSwapOption;
use jouleprint::model::grid::{GRAIN, Grid, Place, Plan, Step, Stretch};
use jouleprint::model::quantity::Nanos;
use jouleprint::model::snapshot::Snapshot;
use jouleprint::model::time::Moment;
use jouleprint::sampler::{Past, Sampler};
use std::sync::Arc;

/// A plan whose grains have these grams in this order, from the one in which `from` lies on.
fn plan(from: Nanos, figures: &[(u32, Step)]) -> Plan {
    let first = from.get() / GRAIN.get();
    let stretches = (first..).zip(figures).map(|(grain, (grams, step))| {
        let mut factor = factor("DE", &grams.to_string());
        factor.fallback = *step;
        factor.year = "".into();
        let (start, end) = (Nanos::new(grain * GRAIN.get()), Nanos::new((grain + 1) * GRAIN.get()));
        Stretch { start, end, factor: Arc::new(factor) }
    });
    Plan { stretches: stretches.collect(), otherwise: Arc::new(factor("DE", "344.14")) }
}

fn grid(plan: Plan) -> Grid {
    let place = Place { zone: "DE".into(), source: "config".into(), cloud: "".into(), region: "".into() };
    Grid { place, plan: Arc::new(plan), marginal: None, sources: Vec::new() }
}

/// What is heard at a time of the simulation: some hours around it, whose figures are anything.
pub(crate) fn heard(dice: &mut Dice, wall: Nanos) -> Grid {
    let steps = [Step::Wanted, Step::Substitute, Step::Last, Step::Profile, Step::Table];
    let figures: Vec<(u32, Step)> = (0..40)
        .map(|_| {
            let step = steps[usize::try_from(dice.roll(5)).expect("small")];
            (u32::try_from(dice.roll(1_000)).expect("small"), step)
        })
        .collect();
    grid(plan(wall.saturating_sub(Nanos::new(20 * GRAIN.get())), &figures))
}

struct Bed {
    world: World,
    sampler: Sampler,
    outlet: Arc<ArcSwapOption<Grid>>,
}

impl Bed {
    fn new() -> Bed {
        let mut world = World::new(3, Layout::V2, false);
        let outlet = Arc::new(ArcSwapOption::empty());
        world.grid = Some(Arc::clone(&outlet));
        let path = world.make(2);
        world.work(&path, 100, 0);
        world.write();
        let sampler = world.sampler_after(100, 100, 20, Past::default());
        Bed { world, sampler, outlet }
    }

    fn tick(&mut self, seconds: u64) -> Snapshot {
        let idle = vec![0; self.world.cpus()];
        let at = self.world.pass(Nanos::from_seconds(seconds), &idle);
        self.sampler.tick(at)
    }
}

#[test]
fn until_it_is_known_where_the_machine_is_nothing_is_charged_and_then_everything() {
    let mut bed = Bed::new();
    let before = bed.tick(1);
    for _ in 0..4 {
        let snapshot = bed.tick(5);
        assert_eq!(snapshot.totals.host.energy.len(), before.totals.host.energy.len());
        assert!(page(&snapshot).all("jouleprint_host_emissions_co2e_grams_total", &[]).is_empty());
        assert_eq!(page(&snapshot).sum("hw_energy_joules_total", &[]), 0);
    }
    let wall = before.at.wall;
    bed.outlet.store(Some(Arc::new(grid(plan(wall, &[(100, Step::Wanted); 4])))));
    let first = bed.tick(5);
    let shown = page(&first).all("jouleprint_host_emissions_co2e_grams_total", &[]).len();
    assert!(shown > 0 && page(&first).sum("hw_energy_joules_total", &[]) == 0, "everything at 0 first");
    let snapshot = bed.tick(5);
    let expected: Vec<u64> = snapshot.totals.domains.iter().map(|domain| domain.energy.as_micro()).collect();
    assert_eq!(expected, bed.world.expected(), "what was read while it waited is charged");
    let page = page(&snapshot);
    check_identity(&page).expect("sums are exact");
    assert_eq!(page.all("jouleprint_grid_intensity_fallback", &[])[0].text, "0");
    let joules = page.sum("hw_host_energy_joules_total", &[]);
    let grams = page.sum("jouleprint_host_emissions_co2e_grams_total", &[]);
    // 100 g/kWh and a PUE of 1.25, all in thousand-millionths.
    let exact = joules * 125 / 3_600_000;
    assert!(grams.abs_diff(exact) <= 2, "{grams} for {joules}");
}

#[test]
fn after_half_a_minute_the_world_is_taken_and_its_zone_stays_apart() {
    let mut bed = Bed::new();
    let mut shown = Vec::new();
    for _ in 0..9 {
        shown.push(page(&bed.tick(5)).sum("hw_energy_joules_total", &[]) > 0);
    }
    let first = shown.iter().position(|is_shown| *is_shown).expect("it is not waited for ever");
    assert_eq!(first, 7, "a page at 0 comes 30 s after the first tick, and then everything");
    assert!(shown[first..].iter().all(|is_shown| *is_shown));
}

#[test]
fn a_revision_is_on_the_page_in_the_history_and_in_no_counter() {
    let mut bed = Bed::new();
    bed.outlet.store(Some(Arc::new(grid(plan(Nanos::ZERO, &[])))));
    let start = bed.tick(1).at.wall;
    let charged = |snapshot: &Snapshot| page(snapshot).sum("jouleprint_host_emissions_co2e_grams_total", &[]);
    bed.outlet.store(Some(Arc::new(grid(plan(start, &[(100, Step::Last); 9])))));
    for _ in 0..3 {
        bed.tick(5);
    }
    let before = bed.tick(5);
    let gauge = |snapshot: &Snapshot| {
        page(snapshot).all("jouleprint_emissions_revision_co2e_grams", &[("grid_zone", "DE")])[0].text.clone()
    };
    assert_eq!(gauge(&before), "0.000000000");
    // A tenth less than was thought.
    bed.outlet.store(Some(Arc::new(grid(plan(start, &[(90, Step::Wanted); 9])))));
    let after = bed.tick(5);
    check_identity(&page(&after)).expect("sums are exact");
    let (before, after_it) = (charged(&before), charged(&after));
    assert!(after_it > before, "counters only rise");
    let text = gauge(&after);
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let revised: u128 = digits.parse().expect("a number");
    assert!(text.starts_with('-') && revised.abs_diff(before / 10) <= 2, "{text} of {before}");
    let checkpoint = bed.sampler.checkpoint(&after);
    let rows: Vec<_> = checkpoint
        .slots
        .iter()
        .flat_map(|slot| &slot.rows)
        .filter(|row| &*row.group.kind == "#revision")
        .collect();
    assert!(rows.iter().all(|row| &*row.group.name == "-"), "{rows:?}");
    let told: u64 = rows.iter().flat_map(|row| &row.emissions).map(|grams| grams.as_nano()).sum();
    assert_eq!(u128::from(told), revised);
    // The next process goes on with it.
    let past = Past { checkpoint: Some(checkpoint), ..Past::default() };
    bed.sampler = bed.world.sampler_after(100, 100, 20, past);
    assert_eq!(gauge(&bed.tick(5)), text);
}

#[test]
fn a_gap_over_an_hour_s_turn_is_charged_by_both_hours_and_told_by_both() {
    let mut bed = Bed::new();
    bed.outlet.store(Some(Arc::new(grid(plan(Nanos::ZERO, &[])))));
    let start = bed.tick(1).at.wall;
    let mut figures = vec![(100, Step::Wanted); 24];
    let into_hour = start.get() % 3_600_000_000_000;
    let first = usize::try_from((3_600_000_000_000 - into_hour).div_ceil(GRAIN.get())).expect("few");
    figures[first..].fill((500, Step::Wanted));
    bed.outlet.store(Some(Arc::new(grid(plan(start, &figures)))));
    bed.tick(5);
    let before = bed.tick(5);
    // A driver that gives nothing for an hour: the counter has all of it afterwards.
    let after = bed.tick(3_600);
    let energy =
        |snapshot: &Snapshot| snapshot.totals.host.energy.iter().map(|one| one.as_micro()).sum::<u64>();
    let grams =
        |snapshot: &Snapshot| snapshot.totals.host.emissions.iter().map(|one| one.as_nano()).sum::<u64>();
    let (joules, emitted) = (energy(&after) - energy(&before), grams(&after) - grams(&before));
    let turn = before.at.wall.get() / 3_600_000_000_000 * 3_600_000_000_000 + 3_600_000_000_000;
    let in_first = u128::from(turn - before.at.wall.get());
    let mean = (in_first * 100 + (3_600_000_000_000 - in_first) * 500) * u128::from(joules) * 125;
    let exact = mean / 3_600_000_000_000 / 360_000;
    assert!(u128::from(emitted).abs_diff(exact) < 200, "{emitted} against {exact}");
    let checkpoint = bed.sampler.checkpoint(&after);
    let of_hour = |hour: u64| {
        let slots = checkpoint.slots.iter().filter(move |slot| slot.hour == hour);
        let rows = slots.flat_map(|slot| &slot.rows).filter(|row| &*row.group.kind == "account");
        let sum = rows.fold((0, 0), |(energy, grams), row| {
            let joules: u64 = row.energy.iter().map(|one| one.as_micro()).sum();
            let emitted: u64 = row.emissions.iter().map(|one| one.as_nano()).sum();
            (energy + joules, grams + emitted)
        });
        // In g/kWh with the building's overhead.
        sum.1 as f64 / 1e9 / (sum.0 as f64 / 3.6e12) / 1.25
    };
    let hour = turn / 3_600_000_000_000;
    assert!((of_hour(hour - 1) - 100.0).abs() < 0.01, "{}", of_hour(hour - 1));
    assert!((of_hour(hour) - 500.0).abs() < 0.01, "{}", of_hour(hour));
}

#[test]
fn the_same_figure_at_all_times_is_as_if_there_were_no_plan() {
    let at = |seconds| Moment { wall: Nanos::from_seconds(seconds), ..Moment::default() };
    let plan = plan(Nanos::ZERO, &[]);
    assert_eq!(plan.at(at(5).wall).intensity, factor("DE", "344.14").intensity);
    assert_eq!(plan.stretch(at(5).wall), None);
}

#[test]
fn a_figure_that_stays_is_told_alike_by_both_hours_of_a_gap() {
    let mut bed = Bed::new();
    bed.world.grid = None;
    bed.sampler = bed.world.sampler_after(100, 100, 20, Past::default());
    bed.tick(5);
    bed.tick(5);
    let after = bed.tick(3_600);
    let checkpoint = bed.sampler.checkpoint(&after);
    let slots: Vec<_> = checkpoint.slots.iter().filter(|slot| !slot.rows.is_empty()).collect();
    assert_eq!(slots.len(), 2, "the hour's turn lies in it");
    for slot in slots {
        let rows = || slot.rows.iter().filter(|row| &*row.group.kind == "account");
        let energy: u64 = rows().flat_map(|row| &row.energy).map(|one| one.as_micro()).sum();
        let grams: u64 = rows().flat_map(|row| &row.emissions).map(|one| one.as_nano()).sum();
        let intensity = grams as f64 / 1e9 / (energy as f64 / 3.6e12) / 1.25;
        assert!((intensity - 344.14).abs() < 0.01, "{intensity}");
    }
}
