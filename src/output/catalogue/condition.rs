//! What the accounts rest on: the building, the floors, the sources and the meters.

use super::{Family, Kind, Number, Sink, counted, host, process_start};
use crate::model::identity::Origin;
use crate::model::reading::{Domain, Fault};
use crate::model::snapshot::{DomainTotals, Snapshot};
use std::collections::BTreeMap;

/// In the order of the page.
pub(super) const FAMILIES: &[Family] = &[
    Family {
        name: "jouleprint_pue_ratio",
        kind: Kind::Gauge,
        unit: "ratio",
        help: "Power usage effectiveness that is in the emissions; energies never contain it",
        labels: &["host"],
        otel: ("jouleprint.pue", "1"),
        collect: |snapshot, sink| {
            sink.sample(&[host(snapshot)], Number::Micro(u64::from(snapshot.factor.pue.as_ppm())));
        },
    },
    Family {
        name: "jouleprint_idle_floor_watts",
        kind: Kind::Gauge,
        unit: "watts",
        help: "Power taken for idle: configured, of the model, learnt, or unlearnt (0 until enough idle time was seen)",
        labels: &["host", "hw_type", "hw_id", "gpu", "origin", "method"],
        otel: ("jouleprint.idle.floor", "W"),
        collect: |snapshot, sink| {
            for (domain, totals) in counted(snapshot) {
                if let Some((method, floor)) = totals.floor {
                    let labels = [
                        host(snapshot),
                        domain.hw_type.as_str(),
                        &domain.id,
                        &domain.gpu,
                        domain.origin.as_str(),
                        method.as_str(),
                    ];
                    sink.sample(&labels, Number::Micro(floor.get()));
                }
            }
        },
    },
    Family {
        name: "jouleprint_estimate_uncertainty_ratio",
        kind: Kind::Gauge,
        unit: "ratio",
        help: "How far an estimate may be off, up or down, as a share of its value",
        labels: &["host", "hw_type", "hw_id", "origin"],
        otel: ("jouleprint.estimate.uncertainty", "1"),
        collect: |snapshot, sink| {
            for (domain, _) in counted(snapshot).filter(|(domain, _)| domain.origin == Origin::Estimated) {
                let labels = [host(snapshot), domain.hw_type.as_str(), &domain.id, domain.origin.as_str()];
                sink.sample(&labels, Number::Micro(u64::from(domain.uncertainty_ppm)));
            }
        },
    },
    Family {
        name: "jouleprint_source_up",
        kind: Kind::Gauge,
        unit: "",
        help: "1 if the source, or this domain of it, could be read at the last tick",
        labels: &["host", "source", "hw_id"],
        otel: ("jouleprint.source.up", ""),
        collect: |snapshot, sink| {
            for state in &snapshot.sources {
                let labels = [host(snapshot), &state.source, &state.hw_id];
                sink.sample(&labels, Number::Whole(u64::from(state.fault.is_none())));
            }
        },
    },
    Family {
        name: "jouleprint_source",
        kind: Kind::Info,
        unit: "",
        help: "How a source is read, and why it is not if it is not",
        labels: &["host", "source", "hw_id", "reason", "detail"],
        otel: ("jouleprint.source.info", ""),
        collect: |snapshot, sink| {
            for state in &snapshot.sources {
                let reason = state.fault.map_or("", Fault::as_str);
                sink.sample(
                    &[host(snapshot), &state.source, &state.hw_id, reason, &state.detail],
                    Number::Whole(1),
                );
            }
        },
    },
    Family {
        name: "jouleprint_source_errors",
        kind: Kind::Counter,
        unit: "",
        help: "Readings that failed or were refused, by reason",
        labels: &["host", "source", "hw_id", "reason"],
        otel: ("jouleprint.source.errors", "{error}"),
        collect: source_errors,
    },
    Family {
        name: "jouleprint_source_last_success_timestamp_seconds",
        kind: Kind::Gauge,
        unit: "seconds",
        help: "When the source, or this domain of it, was last read",
        labels: &["host", "source", "hw_id"],
        otel: ("jouleprint.source.last_success.timestamp", "s"),
        collect: |snapshot, sink| {
            for state in &snapshot.sources {
                if let Some(wall) = state.last_success {
                    sink.sample(
                        &[host(snapshot), &state.source, &state.hw_id],
                        Number::Milli(wall.get() / 1_000_000),
                    );
                }
            }
        },
    },
    Family {
        name: "jouleprint_quarantined_energy_joules",
        kind: Kind::Counter,
        unit: "joules",
        help: "Energy that a meter claimed and that cannot be true; it is in no other series",
        labels: &["host", "source", "hw_id", "reason"],
        otel: ("jouleprint.quarantined.energy", "J"),
        collect: |snapshot, sink| {
            let refused = domains(snapshot).flat_map(|(domain, totals)| {
                totals.quarantined.iter().map(move |refused| {
                    let labels = [host(snapshot), &*domain.source, &*domain.id, refused.reason.as_str()];
                    (labels, refused.energy.as_micro())
                })
            });
            for (labels, energy) in summed(refused) {
                sink.sample(&labels, Number::Micro(energy));
            }
        },
    },
    Family {
        name: "jouleprint_meter_wraps",
        kind: Kind::Counter,
        unit: "",
        help: "Times a meter passed the end of its range; nothing is lost by it",
        labels: &["host", "source", "hw_id"],
        otel: ("jouleprint.meter.wraps", "{wrap}"),
        collect: |snapshot, sink| {
            per_meter(snapshot, sink, is_measured, |totals| totals.wraps, Number::Whole)
        },
    },
    Family {
        name: "jouleprint_meter_resets",
        kind: Kind::Counter,
        unit: "",
        help: "Times a meter started anew; the energy of that tick is not known",
        labels: &["host", "source", "hw_id"],
        otel: ("jouleprint.meter.resets", "{reset}"),
        collect: |snapshot, sink| {
            per_meter(snapshot, sink, is_measured, |totals| totals.resets, Number::Whole)
        },
    },
    Family {
        name: "jouleprint_meter_gap_seconds",
        kind: Kind::Counter,
        unit: "seconds",
        help: "Time without a reading, so long that the energy in it is a lower bound, or is not known at all",
        labels: &["host", "source", "hw_id"],
        otel: ("jouleprint.meter.gap", "s"),
        collect: |snapshot, sink| {
            per_meter(snapshot, sink, |_| true, |totals| totals.gap.get(), Number::Nano)
        },
    },
    Family {
        name: "jouleprint_cpu_deficit_seconds",
        kind: Kind::Gauge,
        unit: "seconds",
        help: "CPU time that jobs used beyond what the kernel counts as busy; it is made up for by coming ticks",
        labels: &["host"],
        otel: ("jouleprint.cpu.deficit", "s"),
        collect: |snapshot, sink| {
            sink.sample(&[host(snapshot)], Number::Nano(snapshot.totals.cpu_deficit.get()))
        },
    },
];

fn domains(snapshot: &Snapshot) -> impl Iterator<Item = (&Domain, &DomainTotals)> {
    snapshot.machine.domains.iter().zip(&snapshot.totals.domains)
}

fn is_measured(domain: &Domain) -> bool {
    domain.origin == Origin::Measured
}

fn per_meter(
    snapshot: &Snapshot,
    sink: &mut dyn Sink,
    is_shown: fn(&Domain) -> bool,
    value: fn(&DomainTotals) -> u64,
    number: fn(u64) -> Number,
) {
    let all = domains(snapshot).filter(|(domain, _)| is_shown(domain));
    for (labels, sum) in
        summed(all.map(|(domain, totals)| ([host(snapshot), &*domain.source, &*domain.id], value(totals))))
    {
        sink.sample(&labels, number(sum));
    }
}

/// One sample for each set of labels, in the order they come: a meter that was counted at an earlier start
/// and stands beside the counted ones now, or the other way round, has two domains.
pub(super) fn summed<'a, const N: usize>(
    samples: impl Iterator<Item = ([&'a str; N], u64)>,
) -> Vec<([&'a str; N], u64)> {
    let mut sums: Vec<([&'a str; N], u64)> = Vec::new();
    for (labels, value) in samples {
        match sums.iter_mut().find(|(known, _)| *known == labels) {
            Some((_, sum)) => *sum = sum.saturating_add(value),
            None => sums.push((labels, value)),
        }
    }
    sums
}

/// Failed readings are counted where they are read, refused ones where they are metered.
fn source_errors(snapshot: &Snapshot, sink: &mut dyn Sink) {
    sink.since(process_start(snapshot));
    for state in &snapshot.sources {
        let mut counts: BTreeMap<Fault, u64> = state.errors.iter().copied().collect();
        let its_own =
            domains(snapshot).filter(|(domain, _)| domain.source == state.source && domain.id == state.hw_id);
        for refused in its_own.flat_map(|(_, totals)| &totals.quarantined) {
            *counts.entry(refused.reason).or_default() += refused.readings;
        }
        for (fault, count) in counts {
            let labels = [host(snapshot), &state.source, &state.hw_id, fault.as_str()];
            sink.sample(&labels, Number::Whole(count));
        }
    }
}
