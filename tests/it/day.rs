//! A day whose electricity is another one every hour, through a provider, the chain and the sampler: what the
//! counters come to beside the year's figure, and the table of it in the documentation.

use super::world::{Layout, World};
use arc_swap::ArcSwapOption;
use jouleprint::carbon::poll::{Lookout, Open, Setting};
use jouleprint::carbon::provider::figure::Unit;
use jouleprint::carbon::provider::http_json::Shape;
use jouleprint::carbon::provider::slots::About;
use jouleprint::carbon::provider::{self, Kind, Wish};
use jouleprint::carbon::{Choice, Wishes, table};
use jouleprint::model::grid::{Basis, Boundary, Grid, Plan, Step};
use jouleprint::model::quantity::{Nanos, Pue};
use jouleprint::sampler::Past;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The 15th of May 2026 at 0:00 UTC, and when the simulated world begins.
const DAY: u64 = 1_778_803_200;
const WORLD_BEGINS: u64 = 1_795_300_000;

/// Three of these are a grain, so that no interval lies across two figures: cutting them is another test's.
const TICK: Nanos = Nanos::from_seconds(100);
const TICKS: u64 = 864;

/// Energy µJ · intensity mg/kWh · PUE ppm in a nanogram, and µJ in a kWh.
const PER_NANOGRAM: u128 = 3_600_000_000_000;
const PER_KILOWATT_HOUR: u128 = 3_600_000_000_000;

/// What each processor works in an hour of the day, in jiffies a tick.
type Load = fn(u64) -> u64;

/// The same in all of a day.
const LOADS: [(&str, Load); 3] = [
    ("all day alike", |_| 3_000),
    ("office hours, 8 to 18", |hour| if (8..18).contains(&hour) { 7_200 } else { 0 }),
    ("at night, 22 to 6", |hour| if !(6..22).contains(&hour) { 9_000 } else { 0 }),
];

/// What a day came to, in units that need no float.
struct Outcome {
    microjoules: u128,
    nanograms: u128,
    /// The same by sums of our own.
    exact: u128,
}

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/grid/day.csv")
}

/// The grams of each hour, read without the program's help.
fn hours_of(zone: &str) -> Vec<u128> {
    let text = std::fs::read_to_string(fixture()).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| line.contains(&format!(",{zone},"))).collect();
    let starts = lines.iter().enumerate().all(|(hour, line)| line.contains(&format!("T{hour:02}:00Z")));
    assert!(starts && lines.len() == 24, "{lines:?}");
    lines.iter().map(|line| line.rsplit(',').next().unwrap().parse().unwrap()).collect()
}

/// What is known of the day once it is over, by the provider of files and the chain.
fn known(zone: &str) -> Grid {
    let shape = Shape {
        list: None,
        value: None,
        time: None,
        unit: Unit::GramsPerKilowattHour,
        about: About::average(Basis::Lifecycle, Boundary::Production),
        slot: None,
    };
    let kind = Kind::File { path: fixture(), shape };
    let wish = Wish { kind, zone: None, basis: None, url: None, interval: None };
    let setting = Setting {
        choice: Choice::Zone { zone: zone.to_owned(), basis: None },
        pue: Some(Pue::ONE),
        wishes: Wishes { providers: vec![wish], ..Wishes::default() },
        kept: None,
    };
    let open: Open =
        Arc::new(|wishes, place| wishes.iter().map(|wish| provider::open(wish, place)).collect());
    let over = Nanos::from_seconds(DAY + 86_400);
    let mut lookout = Lookout::restored(setting, open, None, over).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    assert!(runtime.block_on(lookout.turn(over)));
    lookout.grid(over)
}

/// Runs a day through the sampler. `by_hour` says what the figures are, to reckon it all again.
fn day(grid: Grid, by_hour: &[u128], load: Load) -> Outcome {
    let mut world = World::new(3, Layout::V2, false);
    let before = i64::try_from(WORLD_BEGINS - DAY).unwrap() * 1_000_000_000;
    world.set_wall_clock(-before - i64::try_from(TICK.get()).unwrap());
    world.grid = Some(Arc::new(ArcSwapOption::from(Some(Arc::new(grid)))));
    let job = world.make(2);
    world.write();
    let mut sampler = world.sampler_after(100, 100, 20, Past::default());
    let mut worked = vec![0; world.cpus()];
    let first = world.pass(TICK, &worked);
    assert_eq!(first.wall, Nanos::from_seconds(DAY));
    let mut snapshot = sampler.tick(first);
    // Of each column, which carries what is below a nanogram by itself.
    let mut products = [0_u128; 2];
    for tick in 0..TICKS {
        let hour = tick / (TICKS / 24);
        worked.fill(load(hour));
        for (cpu, jiffies) in worked.iter().enumerate() {
            world.work(&job, *jiffies, cpu);
        }
        let read = world.expected();
        snapshot = sampler.tick(world.pass(TICK, &worked));
        for (meter, (now, before)) in world.expected().into_iter().zip(read).enumerate() {
            let milligrams = by_hour[usize::try_from(hour).unwrap()];
            products[meter % 2] += u128::from(now - before) * milligrams * 1_000_000;
        }
    }
    assert_eq!(snapshot.at.wall, Nanos::from_seconds(DAY + 86_400));
    let measured: u128 = world.expected().into_iter().map(u128::from).sum();
    let host = &snapshot.totals.host;
    let microjoules = host.energy.iter().map(|energy| u128::from(energy.as_micro())).sum();
    assert_eq!(microjoules, measured, "all energy is charged");
    Outcome {
        microjoules,
        nanograms: host.emissions.iter().map(|grams| u128::from(grams.as_nano())).sum(),
        exact: products.iter().map(|product| product / PER_NANOGRAM).sum(),
    }
}

/// Thousandths as a decimal.
fn decimal(thousandths: i128) -> String {
    let sign = if thousandths < 0 { "−" } else { "" };
    let value = thousandths.unsigned_abs();
    format!("{sign}{}.{:03}", value / 1_000, value % 1_000)
}

#[test]
fn a_day_is_charged_by_the_hour_to_the_nanogram_and_the_docs_show_it_beside_the_year() {
    let mut lines = String::from(
        "| grid | load | kWh | by the hour | by the year | difference | of it the day | of it the hours |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for zone in ["DE", "FR"] {
        let grams = hours_of(zone);
        let milligrams: Vec<u128> = grams.iter().map(|grams| grams * 1_000).collect();
        let known = known(zone);
        let middle = Nanos::from_seconds(DAY + 43_200);
        assert_eq!(known.plan.at(middle).fallback, Step::Wanted);
        let year = table::find(zone, Some(Basis::Lifecycle)).unwrap().intensity;
        let yearly = vec![u128::from(year.as_milligrams()); 24];
        let by_year =
            Grid { plan: Arc::new(Plan { stretches: Vec::new(), ..(*known.plan).clone() }), ..known.clone() };
        assert_eq!(by_year.plan.at(middle).intensity, year, "what is in force where nobody is asked");
        for (name, load) in LOADS {
            let hourly = day(known.clone(), &milligrams, load);
            let annual = day(by_year.clone(), &yearly, load);
            for outcome in [&hourly, &annual] {
                assert_eq!(outcome.nanograms, outcome.exact, "{zone}, {name}");
            }
            assert_eq!(hourly.microjoules, annual.microjoules);
            let thousandths = |nanograms: u128| i128::try_from((nanograms + 500_000) / 1_000_000).unwrap();
            let mean = milligrams.iter().sum::<u128>() * hourly.microjoules / 24;
            let (by_hour, by_year) = (thousandths(hourly.nanograms), thousandths(annual.nanograms));
            let by_mean = thousandths(mean * 1_000_000 / PER_NANOGRAM);
            lines += &format!(
                "| {zone} | {name} | {} | {} g | {} g | {} g | {} g | {} g |\n",
                decimal(i128::try_from(hourly.microjoules * 1_000 / PER_KILOWATT_HOUR).unwrap()),
                decimal(by_hour),
                decimal(by_year),
                decimal(by_hour - by_year),
                decimal(by_mean - by_year),
                decimal(by_hour - by_mean),
            );
        }
    }
    println!("{lines}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/carbon.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (begin, end) = ("<!-- printed by tests/it/day.rs -->\n", "<!-- until here -->");
    let (head, rest) = text.split_once(begin).expect("the docs have a place for the table");
    let (written, tail) = rest.split_once(end).expect("and its end");
    if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
        std::fs::write(&path, format!("{head}{begin}{lines}{end}{tail}")).unwrap();
    } else {
        assert_eq!(written, lines, "run: UPDATE=1 cargo test --test it a_day_is_charged");
    }
}
