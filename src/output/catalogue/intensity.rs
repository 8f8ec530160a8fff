//! What a node and a relay show alike of the electricity in force: the families' heads and how their samples are
//! made. Each brings what is in force with it.

use super::{Family, Kind, Number, Sink};
use crate::model::grid::{Signal, Step, Stretch};
use crate::model::quantity::Nanos;
use crate::model::reading::Factor;

/// A figure in force somewhere, and the stretch of time that it is for, where that is known.
pub(super) struct InForce<'a> {
    pub(super) zone: &'a str,
    pub(super) signal: Signal,
    pub(super) factor: &'a Factor,
    pub(super) stretch: Option<&'a Stretch>,
}

/// The figure itself.
pub(super) const fn figure<S>(collect: fn(&S, &mut dyn Sink)) -> Family<S> {
    Family {
        name: "jouleprint_grid_carbon_intensity_grams_per_kilowatt_hour",
        kind: Kind::Gauge,
        unit: "",
        help: "Carbon intensity of electricity in force; marginal (what one kWh more would emit) is charged to nobody",
        labels: &["grid_zone", "signal"],
        otel: ("jouleprint.grid.carbon_intensity.grams_per_kilowatt_hour", ""),
        collect,
    }
}

/// Its samples.
pub(super) fn show_figure(figures: &[InForce<'_>], sink: &mut dyn Sink) {
    for one in figures {
        let milligrams = u64::from(one.factor.intensity.as_milligrams());
        sink.sample(&[one.zone, one.signal.as_str()], Number::Milli(milligrams));
    }
}

/// Whose it is.
pub(super) const fn origin<S>(collect: fn(&S, &mut dyn Sink)) -> Family<S> {
    Family {
        name: "jouleprint_grid_intensity",
        kind: Kind::Info,
        unit: "",
        help: "Where the intensity in force comes from and what it includes; fallback is empty for what was asked for",
        labels: &["grid_zone", "signal", "basis", "accounting", "quality", "source", "year", "fallback"],
        otel: ("jouleprint.grid.intensity.info", ""),
        collect,
    }
}

/// Its samples.
pub(super) fn show_origin(figures: &[InForce<'_>], sink: &mut dyn Sink) {
    for InForce { zone, signal, factor, .. } in figures {
        let labels = [
            zone,
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
}

/// Since when it holds.
pub(super) const fn start<S>(collect: fn(&S, &mut dyn Sink)) -> Family<S> {
    Family {
        name: "jouleprint_grid_intensity_timestamp_seconds",
        kind: Kind::Gauge,
        unit: "seconds",
        help: "Since when the intensity in force is; a yearly figure has none",
        labels: &["grid_zone", "signal"],
        otel: ("jouleprint.grid.intensity.timestamp", "s"),
        collect,
    }
}

/// Its samples.
pub(super) fn show_start(figures: &[InForce<'_>], sink: &mut dyn Sink) {
    show_time(figures, sink, |stretch| stretch.start);
}

/// Until when it holds.
pub(super) const fn end<S>(collect: fn(&S, &mut dyn Sink)) -> Family<S> {
    Family {
        name: "jouleprint_grid_intensity_valid_until_timestamp_seconds",
        kind: Kind::Gauge,
        unit: "seconds",
        help: "Until when the intensity in force is, unless something better is heard",
        labels: &["grid_zone", "signal"],
        otel: ("jouleprint.grid.intensity.valid_until.timestamp", "s"),
        collect,
    }
}

/// Its samples.
pub(super) fn show_end(figures: &[InForce<'_>], sink: &mut dyn Sink) {
    show_time(figures, sink, |stretch| stretch.end);
}

fn show_time(figures: &[InForce<'_>], sink: &mut dyn Sink, time: fn(&Stretch) -> Nanos) {
    for InForce { zone, signal, stretch, .. } in figures {
        // What is said of a year is not said of a time.
        let Some(stretch) = stretch.filter(|stretch| stretch.factor.year.is_empty()) else { continue };
        sink.sample(&[zone, signal.as_str()], Number::Milli(time(stretch).get() / 1_000_000));
    }
}

/// Whether it stands in for another.
pub(super) const fn fallback<S>(collect: fn(&S, &mut dyn Sink)) -> Family<S> {
    Family {
        name: "jouleprint_grid_intensity_fallback",
        kind: Kind::Gauge,
        unit: "",
        help: "1 while the intensity in force is not the one that was asked for",
        labels: &["grid_zone", "signal"],
        otel: ("jouleprint.grid.intensity.fallback", ""),
        collect,
    }
}

/// Its samples.
pub(super) fn show_fallback(figures: &[InForce<'_>], sink: &mut dyn Sink) {
    for one in figures {
        let is_fallback = u64::from(one.factor.fallback != Step::Wanted);
        sink.sample(&[one.zone, one.signal.as_str()], Number::Whole(is_fallback));
    }
}
