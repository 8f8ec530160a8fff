//! The electricity: what it emits, who says so, how old that is, and what later words made of what was charged.

use super::intensity::{self, InForce};
use super::{Family, Kind, Number, host};
use crate::model::grid::Signal;
use crate::model::snapshot::Snapshot;

/// In the order of the page.
pub(super) const FAMILIES: &[Family] = &[
    intensity::figure(|snapshot, sink| intensity::show_figure(&in_force(snapshot), sink)),
    intensity::origin(|snapshot, sink| intensity::show_origin(&in_force(snapshot), sink)),
    intensity::start(|snapshot, sink| intensity::show_start(&in_force(snapshot), sink)),
    intensity::end(|snapshot, sink| intensity::show_end(&in_force(snapshot), sink)),
    intensity::fallback(|snapshot, sink| intensity::show_fallback(&in_force(snapshot), sink)),
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

/// What is in force by signal.
fn in_force(snapshot: &Snapshot) -> Vec<InForce<'_>> {
    let now = snapshot.at.wall;
    let (grid, factor) = (snapshot.grid.as_ref(), &*snapshot.factor);
    let stretch = grid.and_then(|grid| grid.plan.stretch(now)).filter(|stretch| *stretch.factor == *factor);
    let mut figures = vec![InForce { zone: &factor.zone, signal: Signal::Average, factor, stretch }];
    let marginal = grid.and_then(|grid| grid.marginal.as_ref());
    if let Some(stretch) = marginal.filter(|stretch| (stretch.start..stretch.end).contains(&now)) {
        let factor = &*stretch.factor;
        let (zone, stretch) = (&*factor.zone, Some(stretch));
        figures.push(InForce { zone, signal: Signal::Marginal, factor, stretch });
    }
    figures
}
