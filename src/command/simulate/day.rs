//! How load and electricity go over a day: curves by the hour, the same every day but for some chance. All
//! in integers, so that the same seed gives the same pages on every machine.

use super::scenario::Scenario;
use crate::carbon::table::Row;
use crate::model::grid::{Grid, Place, Plan, Step, Stretch};
use crate::model::identity::Name;
use crate::model::quantity::{Intensity, Nanos, Pue};
use crate::model::reading::{Factor, Fault};
use crate::model::snapshot::SourceState;
use std::sync::Arc;

/// Ns in an hour.
const HOUR: u64 = 3_600_000_000_000;

/// Hours of a plan before and after now: no step of a fast clock is longer.
pub const HOURS_BACK: u64 = 24;
const HOURS_AHEAD: u64 = 24;

/// What the building adds to the machines.
const PUE_PPM: u32 = 1_250_000;

/// Load of services by the hour of the day, in % of their largest.
const LOAD: [u64; 24] =
    [38, 33, 30, 28, 28, 31, 39, 53, 70, 84, 92, 95, 93, 92, 95, 97, 94, 88, 79, 70, 62, 55, 48, 42];

/// Intensity by the hour of the day, in % of the year's: the sun at noon, gas in the evening.
const GRID: [u64; 24] = [
    94, 90, 87, 86, 88, 94, 106, 118, 114, 102, 90, 80, 74, 73, 79, 92, 110, 128, 134, 128, 118, 108, 102, 97,
];

/// What one kWh more would emit, in mg: the same power stations stand at the margin nearly everywhere.
const MARGINAL: u64 = 480_000;

/// What of their largest load services have at this time, in ppm. The hour goes over into the next.
#[must_use]
pub fn load_ppm(wall: Nanos) -> u64 {
    between(&LOAD, wall) * 10
}

/// Between the values of two hours, in thousandths of a %.
fn between(curve: &[u64; 24], wall: Nanos) -> u64 {
    let hour = usize::try_from(wall.get() / HOUR % 24).unwrap_or(0);
    let within = wall.get() % HOUR / (HOUR / 1_000);
    (curve[hour] * (1_000 - within) + curve[(hour + 1) % 24] * within).max(1_000)
}

/// What is known of a zone's electricity at this time: a figure for each hour. The last of several zones has
/// its yearly figure only, as where a provider is out of order.
#[must_use]
pub fn grid(scenario: &Scenario, place: usize, now: Nanos) -> Arc<Grid> {
    let row = &scenario.zones[place];
    let zone: Name = row.zone.as_str().into();
    let is_out = scenario.zones.len() > 2 && place + 1 == scenario.zones.len();
    let hour = now.get() / HOUR;
    let stretch = |hour: u64, milligrams: u64| Stretch {
        start: Nanos::new(hour * HOUR),
        end: Nanos::new((hour + 1) * HOUR),
        factor: Arc::new(hourly(row, milligrams)),
    };
    let hours = hour.saturating_sub(HOURS_BACK)..=hour + HOURS_AHEAD;
    let average = |hour: u64| stretch(hour, milligrams(scenario, place, hour));
    let stretches = if is_out { Vec::new() } else { hours.map(average).collect() };
    let marginal = (!is_out).then(|| {
        let noise = 85 + scenario.chance(&format!("marginal {zone}"), hour).below(30);
        stretch(hour, MARGINAL * noise / 100)
    });
    let fault = is_out.then_some(Fault::Unreachable);
    let provider = SourceState {
        source: "simulated".into(),
        hw_id: zone.clone(),
        fault,
        last_success: (!is_out).then(|| Nanos::new(hour * HOUR)),
        errors: Vec::new(),
        detail: "a day's curve around the yearly figure".into(),
    };
    Arc::new(Grid {
        place: Place { zone, source: "config".into(), cloud: "".into(), region: "".into() },
        plan: Arc::new(Plan { stretches, otherwise: Arc::new(yearly(row)) }),
        marginal,
        sources: vec![provider],
    })
}

fn milligrams(scenario: &Scenario, place: usize, hour: u64) -> u64 {
    let row = &scenario.zones[place];
    // Weather: a mood of the day, and some of the hour.
    let day = 80 + scenario.chance(&format!("weather {}", row.zone), hour / 24).below(40);
    let mood = 96 + scenario.chance(&format!("gusts {}", row.zone), hour).below(8);
    let curve = GRID[usize::try_from(hour % 24).unwrap_or(0)];
    u64::from(row.intensity.as_milligrams()) * curve * day * mood / 1_000_000
}

fn hourly(row: &Row, milligrams: u64) -> Factor {
    let most = Intensity::MAX_GRAMS_PER_KILOWATT_HOUR * 1_000;
    let milligrams = u32::try_from(milligrams).unwrap_or(most).min(most);
    Factor {
        intensity: Intensity::from_milligrams(milligrams).unwrap_or(row.intensity),
        quality: "estimated".into(),
        source: "simulated".into(),
        year: "".into(),
        fallback: Step::Wanted,
        ..yearly(row)
    }
}

fn yearly(row: &Row) -> Factor {
    Factor {
        zone: row.zone.as_str().into(),
        intensity: row.intensity,
        pue: Pue::try_from(PUE_PPM).unwrap_or(Pue::ONE),
        basis: row.basis.as_str().into(),
        accounting: row.accounting.as_str().into(),
        quality: "static".into(),
        source: row.source.as_str().into(),
        year: row.year.as_str().into(),
        fallback: Step::Table,
    }
}
