//! The store: whether what is shown is kept, and since when it is counted.

use super::{Family, Kind, Number, Sink, host, process_start};
use crate::model::snapshot::{Snapshot, StoreState};

/// In the order of the page.
pub(super) const FAMILIES: &[Family] = &[
    Family {
        name: "jouleprint_counters_start_timestamp_seconds",
        kind: Kind::Gauge,
        unit: "seconds",
        help: "When the counters of energy and emissions started at 0; it changes only when they do so again",
        labels: &["host"],
        otel: ("jouleprint.counters.start.timestamp", "s"),
        collect: |snapshot, sink| {
            sink.sample(&[host(snapshot)], Number::Milli(snapshot.totals.started.get() / 1_000_000));
        },
    },
    Family {
        name: "jouleprint_store_up",
        kind: Kind::Gauge,
        unit: "",
        help: "1 if what this page shows is in the store; if 0, counters start at 0 when this process ends",
        labels: &["host"],
        otel: ("jouleprint.store.up", ""),
        collect: |snapshot, sink| {
            with(snapshot, sink, |state| Some(Number::Whole(u64::from(state.reason.is_empty()))));
        },
    },
    Family {
        name: "jouleprint_store",
        kind: Kind::Info,
        unit: "",
        help: "Where the store is, how the last start took up what it found, and what is wrong with it",
        labels: &["host", "path", "restored", "reason"],
        otel: ("jouleprint.store.info", ""),
        collect: |snapshot, sink| {
            if let Some(state) = &snapshot.store {
                let labels = [host(snapshot), &state.path, &state.restored, &state.reason];
                sink.sample(&labels, Number::Whole(1));
            }
        },
    },
    Family {
        name: "jouleprint_store_last_commit_timestamp_seconds",
        kind: Kind::Gauge,
        unit: "seconds",
        help: "When the store was last written",
        labels: &["host"],
        otel: ("jouleprint.store.last_commit.timestamp", "s"),
        collect: |snapshot, sink| {
            with(snapshot, sink, |state| Some(Number::Milli(state.last_commit?.get() / 1_000_000)));
        },
    },
    Family {
        name: "jouleprint_store_commits",
        kind: Kind::Counter,
        unit: "",
        help: "Commits to the store",
        labels: &["host"],
        otel: ("jouleprint.store.commits", "{commit}"),
        collect: |snapshot, sink| with(snapshot, sink, |state| Some(Number::Whole(state.commits))),
    },
    Family {
        name: "jouleprint_store_commit_duration_seconds",
        kind: Kind::Counter,
        unit: "seconds",
        help: "How long all commits together took",
        labels: &["host"],
        otel: ("jouleprint.store.commit.duration", "s"),
        collect: |snapshot, sink| with(snapshot, sink, |state| Some(Number::Nano(state.commit_time.get()))),
    },
    Family {
        name: "jouleprint_store_errors",
        kind: Kind::Counter,
        unit: "",
        help: "Commits that failed, by reason; the next one makes up for it",
        labels: &["host", "reason"],
        otel: ("jouleprint.store.errors", "{error}"),
        collect: |snapshot, sink| {
            sink.since(process_start(snapshot));
            for (reason, count) in snapshot.store.iter().flat_map(|state| &state.errors) {
                sink.sample(&[host(snapshot), reason], Number::Whole(*count));
            }
        },
    },
    Family {
        name: "jouleprint_store_size_bytes",
        kind: Kind::Gauge,
        unit: "bytes",
        help: "Size of the store on disk",
        labels: &["host"],
        otel: ("jouleprint.store.size", "By"),
        collect: |snapshot, sink| with(snapshot, sink, |state| Some(Number::Whole(state.bytes))),
    },
    Family {
        name: "jouleprint_store_job_records",
        kind: Kind::Gauge,
        unit: "",
        help: "Jobs of which the store has a record",
        labels: &["host"],
        otel: ("jouleprint.store.job_records", "{record}"),
        collect: |snapshot, sink| with(snapshot, sink, |state| Some(Number::Whole(state.job_records))),
    },
];

/// Without a store there is nothing to say.
fn with(snapshot: &Snapshot, sink: &mut dyn Sink, value: fn(&StoreState) -> Option<Number>) {
    if let Some(value) = snapshot.store.as_ref().and_then(value) {
        sink.since(process_start(snapshot));
        sink.sample(&[host(snapshot)], value);
    }
}
