//! What a relay shows: the grid of every zone as a node shows its own, forecasts, and how providers fare.

use super::intensity::{self, InForce};
use super::{Family, Kind, Number, own};
use crate::model::grid::Signal;
use crate::model::quantity::Nanos;
use crate::model::reading::Fault;
use crate::output::relay::View;

/// How far ahead forecasts are shown: their number is the number of series for a zone.
const HORIZONS: [(&str, u64); 9] = [
    ("1h", 1),
    ("2h", 2),
    ("3h", 3),
    ("4h", 4),
    ("6h", 6),
    ("12h", 12),
    ("18h", 18),
    ("24h", 24),
    ("48h", 48),
];

/// In the order of the page.
pub(super) const FAMILIES: &[Family<View>] = &[
    intensity::figure(|view, sink| intensity::show_figure(&in_force(view), sink)),
    intensity::origin(|view, sink| intensity::show_origin(&in_force(view), sink)),
    intensity::start(|view, sink| intensity::show_start(&in_force(view), sink)),
    intensity::end(|view, sink| intensity::show_end(&in_force(view), sink)),
    intensity::fallback(|view, sink| intensity::show_fallback(&in_force(view), sink)),
    Family {
        name: "jouleprint_grid_carbon_intensity_forecast_grams_per_kilowatt_hour",
        kind: Kind::Gauge,
        unit: "",
        help: "What a provider says of the time so far ahead",
        labels: &["grid_zone", "signal", "horizon"],
        otel: ("jouleprint.grid.carbon_intensity.forecast.grams_per_kilowatt_hour", ""),
        collect: |view, sink| {
            for (name, zone) in &view.zones {
                for signal in [Signal::Average, Signal::Marginal] {
                    for (horizon, hours) in HORIZONS {
                        let time = view.now + Nanos::from_seconds(hours * 3_600);
                        if let Some(milligrams) = zone.forecast(signal, time) {
                            let labels = [&**name, signal.as_str(), horizon];
                            sink.sample(&labels, Number::Milli(u64::from(milligrams)));
                        }
                    }
                }
            }
        },
    },
    Family {
        name: "jouleprint_grid_provider_up",
        kind: Kind::Gauge,
        unit: "",
        help: "1 if the provider answered when it was last asked, with figures that may be charged",
        labels: &["grid_zone", "source", "hw_id"],
        otel: ("jouleprint.grid.provider.up", ""),
        collect: |view, sink| {
            for (name, zone) in &view.zones {
                for state in &zone.grid.sources {
                    let labels = [&**name, &*state.source, &*state.hw_id];
                    sink.sample(&labels, Number::Whole(u64::from(state.fault.is_none())));
                }
            }
        },
    },
    Family {
        name: "jouleprint_grid_provider",
        kind: Kind::Info,
        unit: "",
        help: "How a provider is asked, and what is wrong if something is",
        labels: &["grid_zone", "source", "hw_id", "reason", "detail"],
        otel: ("jouleprint.grid.provider.info", ""),
        collect: |view, sink| {
            for (name, zone) in &view.zones {
                for state in &zone.grid.sources {
                    let reason = state.fault.map_or("", Fault::as_str);
                    let labels = [&**name, &*state.source, &*state.hw_id, reason, &*state.detail];
                    sink.sample(&labels, Number::Whole(1));
                }
            }
        },
    },
    Family {
        name: "jouleprint_grid_provider_last_success_timestamp_seconds",
        kind: Kind::Gauge,
        unit: "seconds",
        help: "When the provider last answered",
        labels: &["grid_zone", "source", "hw_id"],
        otel: ("jouleprint.grid.provider.last_success.timestamp", "s"),
        collect: |view, sink| {
            for (name, zone) in &view.zones {
                for state in &zone.grid.sources {
                    let Some(wall) = state.last_success else { continue };
                    let labels = [&**name, &*state.source, &*state.hw_id];
                    sink.sample(&labels, Number::Milli(wall.get() / 1_000_000));
                }
            }
        },
    },
    Family {
        name: "jouleprint_grid_provider_requests",
        kind: Kind::Counter,
        unit: "",
        help: "Questions to the provider; reason is empty for those that were answered",
        labels: &["grid_zone", "source", "provider_zone", "reason"],
        otel: ("jouleprint.grid.provider.requests", "{request}"),
        collect: |view, sink| {
            sink.since(view.started);
            for (name, zone) in &view.zones {
                for asked in &zone.asked {
                    let labels = |reason: &'static str| [&**name, &*asked.source, &*asked.zone, reason];
                    sink.sample(&labels(""), Number::Whole(asked.answered));
                    for (fault, count) in &asked.failed {
                        sink.sample(&labels(fault.as_str()), Number::Whole(*count));
                    }
                }
            }
        },
    },
    own::build(),
    Family {
        name: "process_start_time_seconds",
        kind: Kind::Gauge,
        unit: "seconds",
        help: "When this process started",
        labels: &[],
        otel: ("", ""),
        collect: |view, sink| sink.sample(&[], Number::Milli(view.started.get() / 1_000_000)),
    },
];

/// What is in force by zone and signal.
fn in_force(view: &View) -> Vec<InForce<'_>> {
    let mut figures = Vec::new();
    for (zone, known) in &view.zones {
        let plan = &known.grid.plan;
        let (factor, stretch) = (&**plan.at(view.now), plan.stretch(view.now));
        figures.push(InForce { zone, signal: Signal::Average, factor, stretch });
        let marginal = known.grid.marginal.as_ref();
        if let Some(stretch) = marginal.filter(|stretch| (stretch.start..stretch.end).contains(&view.now)) {
            let (factor, stretch) = (&*stretch.factor, Some(stretch));
            figures.push(InForce { zone, signal: Signal::Marginal, factor, stretch });
        }
    }
    figures
}
