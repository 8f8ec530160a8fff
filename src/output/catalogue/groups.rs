//! Groups of jobs: counters for `increase()`, by namespace, account, user, project.

use super::{Family, Kind, Number, host};
use crate::model::groups::{GroupKind, GroupState};
use crate::model::quantity::Nanos;
use crate::model::snapshot::Snapshot;

/// In the order of the page.
pub(super) const FAMILIES: &[Family] = &[
    Family {
        name: "jouleprint_group_energy_joules",
        kind: Kind::Counter,
        unit: "joules",
        help: "Energy of the jobs of a group; what is in no group has an empty name. Of one kind all groups and what is pending add up to the host",
        labels: &["host", "group_kind", "group", "hw_type", "gpu", "origin"],
        otel: ("jouleprint.group.energy", "J"),
        collect: |snapshot, sink| {
            let columns = &snapshot.totals.columns;
            for (kind, place, group) in groups(snapshot) {
                sink.since(since(snapshot, place, group));
                let energies = kind.table.energy.chunks(columns.len().max(1)).nth(place).unwrap_or_default();
                for ((column, energy), opens) in columns.iter().zip(energies).zip(&group.opens) {
                    if opens.is_none() || !column.is_whole() {
                        continue;
                    }
                    let labels = [
                        host(snapshot),
                        &*kind.kind,
                        &group.name,
                        column.hw_type.as_str(),
                        &column.gpu,
                        column.origin.as_str(),
                    ];
                    sink.sample(&labels, Number::Micro(energy.as_micro()));
                }
            }
        },
    },
    Family {
        name: "jouleprint_group_pending_energy_joules",
        kind: Kind::Gauge,
        unit: "joules",
        help: "Energy that no group shows yet: of jobs whose group is not known, and of groups that are shown at 0 first",
        labels: &["host", "group_kind", "hw_type", "gpu", "origin"],
        otel: ("jouleprint.group.pending.energy", "J"),
        collect: |snapshot, sink| {
            for kind in &snapshot.totals.groups {
                let columns = snapshot.totals.columns.iter().zip(&kind.pending.energy);
                for (column, energy) in columns.filter(|(column, _)| column.is_whole()) {
                    let labels = [
                        host(snapshot),
                        &*kind.kind,
                        column.hw_type.as_str(),
                        &column.gpu,
                        column.origin.as_str(),
                    ];
                    sink.sample(&labels, Number::Micro(energy.as_micro()));
                }
            }
        },
    },
    Family {
        name: "jouleprint_group_emissions_co2e_grams",
        kind: Kind::Counter,
        unit: "grams",
        help: "Emissions of the jobs of a group, with PUE, at the intensity of the time of use",
        labels: &["host", "group_kind", "group", "hw_type", "gpu", "origin", "grid_zone"],
        otel: ("jouleprint.group.emissions.co2e", "g"),
        collect: |snapshot, sink| {
            let totals = &snapshot.totals;
            let cells = (totals.columns.len() * totals.zones.len()).max(1);
            for (kind, place, group) in groups(snapshot) {
                sink.since(since(snapshot, place, group));
                let row = kind.table.emissions.chunks(cells).nth(place).unwrap_or_default();
                for ((zone, column, grams), opens) in totals.by_zone(row).zip(group.opens.iter().cycle()) {
                    if opens.is_none() || !column.is_whole() {
                        continue;
                    }
                    let labels = [
                        host(snapshot),
                        &*kind.kind,
                        &group.name,
                        column.hw_type.as_str(),
                        &column.gpu,
                        column.origin.as_str(),
                        zone,
                    ];
                    sink.sample(&labels, Number::Nano(grams.as_nano()));
                }
            }
        },
    },
    Family {
        name: "jouleprint_group_pending_emissions_co2e_grams",
        kind: Kind::Gauge,
        unit: "grams",
        help: "Emissions that no group shows yet",
        labels: &["host", "group_kind", "hw_type", "gpu", "origin", "grid_zone"],
        otel: ("jouleprint.group.pending.emissions.co2e", "g"),
        collect: |snapshot, sink| {
            let totals = &snapshot.totals;
            for kind in &totals.groups {
                let cells = totals.by_zone(&kind.pending.emissions);
                for (zone, column, grams) in cells.filter(|(_, column, _)| column.is_whole()) {
                    let labels = [
                        host(snapshot),
                        &*kind.kind,
                        column.hw_type.as_str(),
                        &column.gpu,
                        column.origin.as_str(),
                        zone,
                    ];
                    sink.sample(&labels, Number::Nano(grams.as_nano()));
                }
            }
        },
    },
    Family {
        name: "jouleprint_groups_overflow",
        kind: Kind::Counter,
        unit: "",
        help: "Jobs whose group found no room on the page; they are in the group overflow",
        labels: &["host", "group_kind"],
        otel: ("jouleprint.groups.overflow", "{job}"),
        collect: |snapshot, sink| {
            for kind in &snapshot.totals.groups {
                sink.sample(&[host(snapshot), &*kind.kind], Number::Whole(kind.overflowed));
            }
        },
    },
];

/// Every group with its kind and its place there.
fn groups(snapshot: &Snapshot) -> impl Iterator<Item = (&GroupKind, usize, &GroupState)> {
    let kinds = snapshot.totals.groups.iter();
    kinds.flat_map(|kind| (0..).zip(&kind.groups).map(move |(place, group)| (kind, place, &**group)))
}

/// What is in no group has been counted as long as the host.
fn since(snapshot: &Snapshot, place: usize, group: &GroupState) -> Nanos {
    if place == 0 { snapshot.totals.started } else { group.started }
}
