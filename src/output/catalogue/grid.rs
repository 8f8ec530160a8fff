//! The electricity: what it emits, who says so, how old that is, and what later words made of what was charged.

use super::{Family, Kind, Number, Sink, host};
use crate::model::grid::{Signal, Step, Stretch};
use crate::model::quantity::Nanos;
use crate::model::reading::Factor;
use crate::model::snapshot::Snapshot;

/// In the order of the page.
pub(super) const FAMILIES: &[Family] = &[
    Family {
        name: "jouleprint_grid_carbon_intensity_grams_per_kilowatt_hour",
        kind: Kind::Gauge,
        unit: "",
        help: "Carbon intensity of electricity in force; marginal (what one kWh more would emit) is charged to nobody",
        labels: &["grid_zone", "signal"],
        otel: ("jouleprint.grid.carbon_intensity.grams_per_kilowatt_hour", ""),
        collect: |snapshot, sink| {
            for (signal, factor, _) in in_force(snapshot) {
                let milligrams = u64::from(factor.intensity.as_milligrams());
                sink.sample(&[&factor.zone, signal.as_str()], Number::Milli(milligrams));
            }
        },
    },
    Family {
        name: "jouleprint_grid_intensity",
        kind: Kind::Info,
        unit: "",
        help: "Where the intensity in force comes from and what it includes; fallback is empty for what was asked for",
        labels: &["grid_zone", "signal", "basis", "accounting", "quality", "source", "year", "fallback"],
        otel: ("jouleprint.grid.intensity.info", ""),
        collect: |snapshot, sink| {
            for (signal, factor, _) in in_force(snapshot) {
                let labels = [
                    &factor.zone,
                    signal.as_str(),
                    &factor.basis,
                    &factor.accounting,
                    &factor.quality,
                    &factor.source,
                    &factor.year,
                    factor.fallback.as_str(),
                ];
                sink.sample(&labels, Number::Whole(1));
            }
        },
    },
    Family {
        name: "jouleprint_grid_intensity_timestamp_seconds",
        kind: Kind::Gauge,
        unit: "seconds",
        help: "Since when the intensity in force is; a yearly figure has none",
        labels: &["grid_zone", "signal"],
        otel: ("jouleprint.grid.intensity.timestamp", "s"),
        collect: |snapshot, sink| times(snapshot, sink, |stretch| stretch.start),
    },
    Family {
        name: "jouleprint_grid_intensity_valid_until_timestamp_seconds",
        kind: Kind::Gauge,
        unit: "seconds",
        help: "Until when the intensity in force is, unless something better is heard",
        labels: &["grid_zone", "signal"],
        otel: ("jouleprint.grid.intensity.valid_until.timestamp", "s"),
        collect: |snapshot, sink| times(snapshot, sink, |stretch| stretch.end),
    },
    Family {
        name: "jouleprint_grid_intensity_fallback",
        kind: Kind::Gauge,
        unit: "",
        help: "1 while the intensity in force is not the one that was asked for",
        labels: &["grid_zone", "signal"],
        otel: ("jouleprint.grid.intensity.fallback", ""),
        collect: |snapshot, sink| {
            for (signal, factor, _) in in_force(snapshot) {
                let is_fallback = u64::from(factor.fallback != Step::Wanted);
                sink.sample(&[&factor.zone, signal.as_str()], Number::Whole(is_fallback));
            }
        },
    },
    Family {
        name: "jouleprint_emissions_revision_co2e_grams",
        kind: Kind::Gauge,
        unit: "grams",
        help: "By how much emissions turned out larger than the counters say, since figures were revised; smaller if below 0",
        labels: &["host", "grid_zone"],
        otel: ("jouleprint.emissions.revision.co2e", "g"),
        collect: |snapshot, sink| {
            for (zone, restated) in snapshot.totals.zones.iter().zip(&snapshot.totals.restated) {
                let Some(nanograms) = *restated else { continue };
                let size = nanograms.unsigned_abs();
                let grams = if nanograms < 0 { Number::Over(size) } else { Number::Nano(size) };
                sink.sample(&[host(snapshot), zone], grams);
            }
        },
    },
];

/// What is in force by signal, and since and until when, where that is known.
fn in_force(snapshot: &Snapshot) -> Vec<(Signal, &Factor, Option<&Stretch>)> {
    let now = snapshot.at.wall;
    let grid = snapshot.grid.as_ref();
    let mut figures = vec![(
        Signal::Average,
        &*snapshot.factor,
        grid.and_then(|grid| grid.plan.stretch(now)).filter(|stretch| *stretch.factor == *snapshot.factor),
    )];
    let marginal = grid.and_then(|grid| grid.marginal.as_ref());
    if let Some(stretch) = marginal.filter(|stretch| (stretch.start..stretch.end).contains(&now)) {
        figures.push((Signal::Marginal, &*stretch.factor, Some(stretch)));
    }
    figures
}

fn times(snapshot: &Snapshot, sink: &mut dyn Sink, time: fn(&Stretch) -> Nanos) {
    for (signal, factor, stretch) in in_force(snapshot) {
        // What is said of a year is not said of a time.
        let Some(stretch) = stretch.filter(|stretch| stretch.factor.year.is_empty()) else { continue };
        sink.sample(&[&factor.zone, signal.as_str()], Number::Milli(time(stretch).get() / 1_000_000));
    }
}
