//! The program itself: how it looks, how long it takes, what it uses.

use super::{ARCHITECTURE, Family, Kind, Number, host, process_start};
use crate::model::snapshot::SamplerState;

/// In the order of the page.
pub(super) const FAMILIES: &[Family] = &[
    Family {
        name: "jouleprint_cgroup_watch",
        kind: Kind::Gauge,
        unit: "",
        help: "1 if births and deaths of control groups are seen as they happen, 0 if they are looked for at each tick",
        labels: &["host"],
        otel: ("jouleprint.cgroup.watch", ""),
        collect: |snapshot, sink| {
            sink.sample(&[host(snapshot)], Number::Whole(u64::from(snapshot.sampler.watches_cgroups)));
        },
    },
    Family {
        name: "jouleprint_cgroups",
        kind: Kind::Gauge,
        unit: "",
        help: "Control groups that are read at each tick",
        labels: &["host"],
        otel: ("jouleprint.cgroups", "{group}"),
        collect: |snapshot, sink| {
            sink.sample(&[host(snapshot)], Number::Whole(u64::from(snapshot.sampler.groups)));
        },
    },
    Family {
        name: "jouleprint_processes",
        kind: Kind::Gauge,
        unit: "",
        help: "Processes that are read at each tick, where they are read instead of control groups",
        labels: &["host"],
        otel: ("jouleprint.processes", "{process}"),
        collect: |snapshot, sink| {
            if let Some(processes) = snapshot.sampler.processes {
                sink.sample(&[host(snapshot)], Number::Whole(u64::from(processes)));
            }
        },
    },
    Family {
        name: "jouleprint_snapshot_timestamp_seconds",
        kind: Kind::Gauge,
        unit: "seconds",
        help: "When everything on this page was read",
        labels: &["host"],
        otel: ("jouleprint.snapshot.timestamp", "s"),
        collect: |snapshot, sink| {
            sink.sample(&[host(snapshot)], Number::Milli(snapshot.at.wall.get() / 1_000_000));
        },
    },
    Family {
        name: "jouleprint_tick_duration_seconds",
        kind: Kind::Histogram,
        unit: "seconds",
        help: "How long reading and accounting took, tick by tick",
        labels: &["host"],
        otel: ("jouleprint.tick.duration", "s"),
        collect: |snapshot, sink| {
            let state = &snapshot.sampler;
            sink.since(process_start(snapshot));
            sink.histogram(
                &[host(snapshot)],
                &SamplerState::BOUNDS,
                &state.durations,
                state.duration_sum.get(),
            );
        },
    },
    Family {
        name: "jouleprint_ticks_skipped",
        kind: Kind::Counter,
        unit: "",
        help: "Ticks that did not take place because the one before took too long; no energy is lost by it",
        labels: &["host"],
        otel: ("jouleprint.ticks.skipped", "{tick}"),
        collect: |snapshot, sink| {
            sink.since(process_start(snapshot));
            sink.sample(&[host(snapshot)], Number::Whole(snapshot.sampler.skipped));
        },
    },
    Family {
        name: "jouleprint_clock_steps",
        kind: Kind::Counter,
        unit: "",
        help: "Times the wall clock was set while this process ran; no energy depends on it",
        labels: &["host"],
        otel: ("jouleprint.clock.steps", "{step}"),
        collect: |snapshot, sink| {
            sink.since(process_start(snapshot));
            sink.sample(&[host(snapshot)], Number::Whole(snapshot.sampler.clock_steps));
        },
    },
    Family {
        name: "jouleprint_suspended_seconds",
        kind: Kind::Counter,
        unit: "seconds",
        help: "How long the machine slept while this process ran; no energy is charged for it",
        labels: &["host"],
        otel: ("jouleprint.suspended", "s"),
        collect: |snapshot, sink| {
            sink.since(process_start(snapshot));
            sink.sample(&[host(snapshot)], Number::Nano(snapshot.sampler.suspended.get()));
        },
    },
    Family {
        name: "jouleprint_host",
        kind: Kind::Info,
        unit: "",
        help: "The machine and where it is",
        labels: &[
            "host",
            "host_arch",
            "host_cpu_model_name",
            "os_version",
            "grid_zone",
            "grid_zone_source",
            "cloud_provider",
            "cloud_region",
        ],
        otel: ("jouleprint.host.info", ""),
        collect: |snapshot, sink| {
            let machine = &snapshot.machine;
            let place = snapshot.grid.as_ref().map(|grid| &grid.place);
            let labels = [
                host(snapshot),
                ARCHITECTURE,
                &machine.cpu_model,
                &machine.kernel,
                &snapshot.factor.zone,
                place.map_or("", |place| &place.source),
                place.map_or("", |place| &place.cloud),
                place.map_or("", |place| &place.region),
            ];
            sink.sample(&labels, Number::Whole(1));
        },
    },
    build(),
    Family {
        name: "process_cpu_seconds",
        kind: Kind::Counter,
        unit: "seconds",
        help: "CPU time this process has used",
        labels: &[],
        otel: ("process.cpu", "s"),
        collect: |snapshot, sink| {
            sink.since(process_start(snapshot));
            sink.sample(&[], Number::Nano(snapshot.process.cpu.get()));
        },
    },
    Family {
        name: "process_resident_memory_bytes",
        kind: Kind::Gauge,
        unit: "bytes",
        help: "Memory this process has in use",
        labels: &[],
        otel: ("process.resident_memory", "By"),
        collect: |snapshot, sink| sink.sample(&[], Number::Whole(snapshot.process.resident_bytes)),
    },
    Family {
        name: "process_virtual_memory_bytes",
        kind: Kind::Gauge,
        unit: "bytes",
        help: "Address space this process has in use",
        labels: &[],
        otel: ("process.virtual_memory", "By"),
        collect: |snapshot, sink| sink.sample(&[], Number::Whole(snapshot.process.virtual_bytes)),
    },
    Family {
        name: "process_open_fds",
        kind: Kind::Gauge,
        unit: "",
        help: "Descriptors this process has open",
        labels: &[],
        otel: ("process.open_fds", ""),
        collect: |snapshot, sink| sink.sample(&[], Number::Whole(snapshot.process.open_fds)),
    },
    Family {
        name: "process_max_fds",
        kind: Kind::Gauge,
        unit: "",
        help: "Descriptors this process may open",
        labels: &[],
        otel: ("process.max_fds", ""),
        collect: |snapshot, sink| sink.sample(&[], Number::Whole(snapshot.process.max_fds)),
    },
    Family {
        name: "process_start_time_seconds",
        kind: Kind::Gauge,
        unit: "seconds",
        help: "When this process started",
        labels: &[],
        otel: ("process.start_time", "s"),
        collect: |snapshot, sink| sink.sample(&[], Number::Whole(snapshot.process.start_seconds)),
    },
];

/// Which program it is; a relay shows the same.
pub(super) const fn build<S>() -> Family<S> {
    Family {
        name: "jouleprint_build",
        kind: Kind::Info,
        unit: "",
        help: "This program",
        labels: &["version"],
        otel: ("jouleprint.build.info", ""),
        collect: |_, sink| sink.sample(&[env!("CARGO_PKG_VERSION")], Number::Whole(1)),
    }
}
