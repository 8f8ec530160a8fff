//! Pushes over OTLP: whether they arrive. The page tells, since a push that fails cannot.

use super::{Family, Kind, Number, Sink, host, process_start};
use crate::model::snapshot::{PushState, Snapshot};

/// In the order of the page.
pub(super) const FAMILIES: &[Family] = &[
    Family {
        name: "jouleprint_otlp_up",
        kind: Kind::Gauge,
        unit: "",
        help: "1 if the last push over OTLP arrived; missing before the first",
        labels: &["host"],
        otel: ("jouleprint.otlp.up", ""),
        collect: |snapshot, sink| {
            with(snapshot, sink, |state| Some(Number::Whole(u64::from(state.last?.is_final()))));
        },
    },
    Family {
        name: "jouleprint_otlp_pushes",
        kind: Kind::Counter,
        unit: "",
        help: "Pushes over OTLP by how they went; one that did not arrive is made up for by the next",
        labels: &["host", "outcome"],
        otel: ("jouleprint.otlp.pushes", "{push}"),
        collect: |snapshot, sink| {
            sink.since(process_start(snapshot));
            for (outcome, count) in snapshot.push.iter().flat_map(|state| &state.pushes) {
                sink.sample(&[host(snapshot), outcome.as_str()], Number::Whole(*count));
            }
        },
    },
    Family {
        name: "jouleprint_otlp_push_duration_seconds",
        kind: Kind::Counter,
        unit: "seconds",
        help: "How long all pushes over OTLP together took, waiting for answers included",
        labels: &["host"],
        otel: ("jouleprint.otlp.push.duration", "s"),
        collect: |snapshot, sink| with(snapshot, sink, |state| Some(Number::Nano(state.duration.get()))),
    },
    Family {
        name: "jouleprint_otlp_rejected_points",
        kind: Kind::Counter,
        unit: "",
        help: "Data points that a backend would not have, by its own count",
        labels: &["host"],
        otel: ("jouleprint.otlp.rejected_points", "{point}"),
        collect: |snapshot, sink| with(snapshot, sink, |state| Some(Number::Whole(state.rejected))),
    },
    Family {
        name: "jouleprint_otlp_last_success_timestamp_seconds",
        kind: Kind::Gauge,
        unit: "seconds",
        help: "When a push over OTLP last arrived",
        labels: &["host"],
        otel: ("jouleprint.otlp.last_success.timestamp", "s"),
        collect: |snapshot, sink| {
            with(snapshot, sink, |state| Some(Number::Milli(state.last_success?.get() / 1_000_000)));
        },
    },
];

/// Without a push there is nothing to say.
fn with(snapshot: &Snapshot, sink: &mut dyn Sink, value: fn(&PushState) -> Option<Number>) {
    if let Some(value) = snapshot.push.as_ref().and_then(value) {
        sink.since(process_start(snapshot));
        sink.sample(&[host(snapshot)], value);
    }
}
