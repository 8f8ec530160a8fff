//! The accounts: energy and emissions of the host, its meters and its jobs.

use super::condition::summed;
use super::{Family, Kind, Metered, Number, Sink, counted, host};
use crate::model::description::Attribute;
use crate::model::identity::{HwType, Origin, Residual};
use crate::model::quantity::{Emissions, Energy, MicroWatts};
use crate::model::reading::{Domain, Place};
use crate::model::snapshot::{Column, DomainTotals, Snapshot, Table};
use std::collections::BTreeMap;

/// In the order of the page.
pub(super) const FAMILIES: &[Family] = &[
    Family {
        name: "hw_host_energy_joules",
        kind: Kind::Counter,
        unit: "joules",
        help: "Energy of the whole host as far as it is metered: of the meters that stand around others, and of those that none stands around",
        labels: &["host", "hw_id", "origin"],
        otel: ("hw.host.energy", "J"),
        collect: |snapshot, sink| {
            for (origin, energy) in by_origin(snapshot) {
                let labels = [host(snapshot), "host", origin.as_str()];
                sink.sample(&labels, Number::Micro(energy.as_micro()));
            }
        },
    },
    Family {
        name: "hw_host_power_watts",
        kind: Kind::Gauge,
        unit: "watts",
        help: "Mean power of the whole host over the last tick, as far as it is metered",
        labels: &["host", "hw_id", "origin"],
        otel: ("hw.host.power", "W"),
        collect: host_power,
    },
    Family {
        name: "hw_energy_joules",
        kind: Kind::Counter,
        unit: "joules",
        help: "Energy of one counted meter, or of what one draws beyond those inside it; all of one origin may be added",
        labels: &["host", "hw_type", "hw_id", "gpu", "origin"],
        otel: ("hw.energy", "J"),
        collect: |snapshot, sink| {
            for (domain, totals) in counted(snapshot) {
                let labels = [
                    host(snapshot),
                    domain.hw_type.as_str(),
                    &domain.id,
                    &domain.gpu,
                    domain.origin.as_str(),
                ];
                sink.sample(&labels, Number::Micro(totals.energy.as_micro()));
            }
        },
    },
    Family {
        name: "hw_power_watts",
        kind: Kind::Gauge,
        unit: "watts",
        help: "Mean power of one counted meter over the last tick; missing while it cannot be read",
        labels: &["host", "hw_type", "hw_id", "gpu", "origin"],
        otel: ("hw.power", "W"),
        collect: |snapshot, sink| {
            for (domain, totals) in counted(snapshot) {
                let labels = [
                    host(snapshot),
                    domain.hw_type.as_str(),
                    &domain.id,
                    &domain.gpu,
                    domain.origin.as_str(),
                ];
                if let Some(power) = totals.power {
                    sink.sample(&labels, Number::Micro(power.get()));
                }
            }
        },
    },
    Family {
        name: "jouleprint_domain_energy_joules",
        kind: Kind::Counter,
        unit: "joules",
        help: "Energy of a meter inside a counted one (parent), around or beside them (no parent); never to be added",
        labels: &["host", "hw_id", "parent"],
        otel: ("jouleprint.domain.energy", "J"),
        collect: |snapshot, sink| {
            // A meter that stood beside at an earlier start and is a root now has two domains and one series.
            let all = snapshot.machine.domains.iter().zip(&snapshot.totals.domains);
            let shown = all.filter_map(|(domain, totals)| {
                let (parent, energy) = match (&domain.place, totals.root) {
                    (Place::Inside(parent), _) => (&**parent, totals.energy),
                    (Place::Beside, _) => ("", totals.energy),
                    (Place::Counted | Place::Around(_), Some(root)) => ("", root.energy),
                    (Place::Counted | Place::Around(_), None) => return None,
                };
                Some(([host(snapshot), &*domain.id, parent], energy.as_micro()))
            });
            for (labels, energy) in summed(shown) {
                sink.sample(&labels, Number::Micro(energy));
            }
        },
    },
    Family {
        name: "jouleprint_meter_carry_joules",
        kind: Kind::Gauge,
        unit: "joules",
        help: "What the meters inside this one have drawn and it has not shown yet, below 0: the host's energy is the counted meters' and this",
        labels: &["host", "hw_id", "origin"],
        otel: ("jouleprint.meter.carry", "J"),
        collect: |snapshot, sink| {
            for (domain, totals) in counted(snapshot) {
                if let Some(root) = totals.root {
                    let labels = [host(snapshot), &*domain.id, domain.origin.as_str()];
                    sink.sample(&labels, Number::Owed(root.ahead.as_micro()));
                }
            }
        },
    },
    Family {
        name: "jouleprint_job_energy_joules",
        kind: Kind::Counter,
        unit: "joules",
        help: "Energy charged to a job",
        labels: &["host", "job_kind", "job_id", "hw_type", "gpu", "gpu_instance", "origin"],
        otel: ("jouleprint.job.energy", "J"),
        collect: |snapshot, sink| {
            let columns = &snapshot.totals.columns;
            let shared = shared(snapshot);
            for (job, energies) in
                snapshot.totals.jobs.iter().zip(rows(&snapshot.totals.job_table, columns.len()))
            {
                let id = &job.job.id;
                sink.since(job.job.started.wall);
                for (place, (column, energy)) in columns.iter().zip(energies).enumerate() {
                    if *energy == Energy::ZERO && !shared[place] {
                        continue;
                    }
                    let labels = [
                        host(snapshot),
                        id.kind().as_str(),
                        id.id(),
                        column.hw_type.as_str(),
                        &column.gpu,
                        &column.gpu_instance,
                        column.origin.as_str(),
                    ];
                    sink.sample(&labels, Number::Micro(energy.as_micro()));
                }
            }
        },
    },
    Family {
        name: "jouleprint_residual_energy_joules",
        kind: Kind::Counter,
        unit: "joules",
        help: "Energy that no job is charged with: system, idle, ended, overflow, unattributed",
        labels: &["host", "account", "hw_type", "gpu", "origin"],
        otel: ("jouleprint.residual.energy", "J"),
        collect: |snapshot, sink| {
            let columns = &snapshot.totals.columns;
            for (account, energies) in
                Residual::ALL.iter().zip(rows(&snapshot.totals.residual_table, columns.len()))
            {
                for (column, energy) in columns.iter().zip(energies).filter(|(column, _)| column.is_whole()) {
                    let labels = [
                        host(snapshot),
                        account.as_str(),
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
        name: "jouleprint_retired_energy_joules",
        kind: Kind::Gauge,
        unit: "joules",
        help: "Energy of jobs that are no longer on this page",
        labels: &["host", "hw_type", "gpu", "origin"],
        otel: ("jouleprint.retired.energy", "J"),
        collect: |snapshot, sink| {
            let columns = snapshot.totals.columns.iter().zip(&snapshot.totals.retired_table.energy);
            for (column, energy) in columns.filter(|(column, _)| column.is_whole()) {
                let labels = [host(snapshot), column.hw_type.as_str(), &column.gpu, column.origin.as_str()];
                sink.sample(&labels, Number::Micro(energy.as_micro()));
            }
        },
    },
    Family {
        name: "jouleprint_host_emissions_co2e_grams",
        kind: Kind::Counter,
        unit: "grams",
        help: "Emissions of the host's metered energy with PUE, at the intensity of the time of use",
        labels: &["host", "hw_id", "origin", "grid_zone"],
        otel: ("jouleprint.host.emissions.co2e", "g"),
        collect: |snapshot, sink| {
            let totals = &snapshot.totals;
            for (zone, cells) in totals.zones.iter().zip(zone_rows(&totals.host, totals.columns.len())) {
                for origin in Origin::ALL {
                    let of_origin =
                        totals.columns.iter().zip(cells).filter(|(column, _)| column.origin == origin);
                    if of_origin.clone().next().is_some() {
                        let sum: Emissions = of_origin.map(|(_, grams)| *grams).sum();
                        sink.sample(
                            &[host(snapshot), "host", origin.as_str(), zone],
                            Number::Nano(sum.as_nano()),
                        );
                    }
                }
            }
        },
    },
    Family {
        name: "jouleprint_job_emissions_co2e_grams",
        kind: Kind::Counter,
        unit: "grams",
        help: "Emissions charged to a job, with PUE, at the intensity of the time of use",
        labels: &["host", "job_kind", "job_id", "hw_type", "gpu", "gpu_instance", "origin", "grid_zone"],
        otel: ("jouleprint.job.emissions.co2e", "g"),
        collect: |snapshot, sink| {
            let totals = &snapshot.totals;
            let (columns, zones) = (totals.columns.len(), totals.zones.len());
            let shared = shared(snapshot);
            for (job, cells) in totals.jobs.iter().zip(emission_rows(&totals.job_table, columns * zones)) {
                let id = &job.job.id;
                sink.since(job.job.started.wall);
                for ((zone, column, grams), place) in totals.by_zone(cells).zip((0..columns).cycle()) {
                    if grams == Emissions::ZERO && !shared[place] {
                        continue;
                    }
                    let labels = [
                        host(snapshot),
                        id.kind().as_str(),
                        id.id(),
                        column.hw_type.as_str(),
                        &column.gpu,
                        &column.gpu_instance,
                        column.origin.as_str(),
                        zone,
                    ];
                    sink.sample(&labels, Number::Nano(grams.as_nano()));
                }
            }
        },
    },
    Family {
        name: "jouleprint_residual_emissions_co2e_grams",
        kind: Kind::Counter,
        unit: "grams",
        help: "Emissions that no job is charged with",
        labels: &["host", "account", "hw_type", "gpu", "origin", "grid_zone"],
        otel: ("jouleprint.residual.emissions.co2e", "g"),
        collect: |snapshot, sink| {
            let totals = &snapshot.totals;
            let (columns, zones) = (totals.columns.len(), totals.zones.len());
            let accounts = emission_rows(&totals.residual_table, columns * zones);
            for (account, cells) in Residual::ALL.iter().zip(accounts) {
                for (zone, column, grams) in totals.by_zone(cells).filter(|(_, column, _)| column.is_whole())
                {
                    let labels = [
                        host(snapshot),
                        account.as_str(),
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
        name: "jouleprint_retired_emissions_co2e_grams",
        kind: Kind::Gauge,
        unit: "grams",
        help: "Emissions of jobs that are no longer on this page",
        labels: &["host", "hw_type", "gpu", "origin", "grid_zone"],
        otel: ("jouleprint.retired.emissions.co2e", "g"),
        collect: |snapshot, sink| {
            let totals = &snapshot.totals;
            let cells = totals.by_zone(&totals.retired_table.emissions);
            for (zone, column, grams) in cells.filter(|(_, column, _)| column.is_whole()) {
                let labels =
                    [host(snapshot), column.hw_type.as_str(), &column.gpu, column.origin.as_str(), zone];
                sink.sample(&labels, Number::Nano(grams.as_nano()));
            }
        },
    },
    Family {
        name: "jouleprint_job_cpu_seconds",
        kind: Kind::Counter,
        unit: "seconds",
        help: "CPU time charged to a job since it was first seen",
        labels: &["host", "job_kind", "job_id"],
        otel: ("jouleprint.job.cpu", "s"),
        collect: |snapshot, sink| {
            for job in &snapshot.totals.jobs {
                let id = &job.job.id;
                sink.since(job.job.started.wall);
                sink.sample(&[host(snapshot), id.kind().as_str(), id.id()], Number::Nano(job.cpu.get()));
            }
        },
    },
    Family {
        name: "jouleprint_job",
        kind: Kind::Info,
        unit: "",
        help: "A job, the control group in which it was first met, and what has become known of it since",
        labels: JOB_LABELS,
        otel: ("jouleprint.job.info", ""),
        collect: |snapshot, sink| {
            for job in &snapshot.totals.jobs {
                let id = &job.job.id;
                let mut labels = vec![host(snapshot), id.kind().as_str(), id.id(), &job.job.cgroup];
                labels.extend(Attribute::ALL.map(|attribute| job.description.get(attribute)));
                sink.sample(&labels, Number::Whole(1));
            }
        },
    },
    Family {
        name: "jouleprint_jobs",
        kind: Kind::Gauge,
        unit: "",
        help: "Jobs that live now",
        labels: &["host"],
        otel: ("jouleprint.jobs", "{job}"),
        collect: |snapshot, sink| {
            sink.sample(&[host(snapshot)], Number::Whole(u64::from(snapshot.totals.live_jobs)));
        },
    },
    Family {
        name: "jouleprint_jobs_overflow",
        kind: Kind::Counter,
        unit: "",
        help: "Jobs that found no room on the page; their energy is in the overflow account",
        labels: &["host"],
        otel: ("jouleprint.jobs.overflow", "{job}"),
        collect: |snapshot, sink| {
            sink.sample(&[host(snapshot)], Number::Whole(snapshot.totals.overflowed_jobs));
        },
    },
];

/// Of a job's info: who it is, then [`Attribute::ALL`] with `_` for `.`.
const JOB_LABELS: &[&str] = &[
    "host",
    "job_kind",
    "job_id",
    "process_linux_cgroup",
    "k8s_namespace_name",
    "k8s_pod_name",
    "k8s_workload_kind",
    "k8s_workload_name",
    "container_name",
    "container_image_name",
    "slurm_job_name",
    "slurm_account",
    "slurm_partition",
    "slurm_cluster_name",
    "slurm_array_job_id",
    "slurm_array_task_id",
    "systemd_unit",
    "systemd_slice",
    "user_name",
    "user_id",
    "process_executable_name",
    "project",
    "experiment",
];

/// Which columns jobs share: not those that hold nothing but what a root draws beyond its parts, or
/// accelerators that nobody holds. A job has no series there until it has a share.
fn shared(snapshot: &Snapshot) -> Vec<bool> {
    let is_shared = |column: &Column| {
        counted(snapshot).any(|(domain, _)| {
            domain.place == Place::Counted
                && domain.hw_type != HwType::Gpu
                && (domain.hw_type, domain.origin) == (column.hw_type, column.origin)
        })
    };
    snapshot.totals.columns.iter().map(is_shared).collect()
}

/// A root counts with what it shows, which is what it and its parts have drawn less what they are ahead.
fn by_origin(snapshot: &Snapshot) -> BTreeMap<Origin, Energy> {
    let mut sums: BTreeMap<Origin, (Energy, Energy)> = BTreeMap::new();
    for (domain, totals) in counted(snapshot) {
        let (drawn, ahead) = sums.entry(domain.origin).or_default();
        *drawn += totals.energy;
        *ahead += totals.root.map_or(Energy::ZERO, |root| root.ahead);
    }
    let shown = |(drawn, ahead): (Energy, Energy)| drawn.checked_sub(ahead).unwrap_or(Energy::ZERO);
    sums.into_iter().map(|(origin, sums)| (origin, shown(sums))).collect()
}

/// The leaves that are read; the others are of earlier starts. Only of these a floor is known.
fn read(snapshot: &Snapshot) -> impl Iterator<Item = Metered<'_>> {
    counted(snapshot).filter(|(_, totals)| totals.floor.is_some())
}

/// A host power is there only if every meter of that origin could be read, or one that stands around it.
fn host_power(snapshot: &Snapshot, sink: &mut dyn Sink) {
    for origin in Origin::ALL {
        let mut of_origin = read(snapshot).filter(|(domain, _)| domain.origin == origin).peekable();
        if of_origin.peek().is_none() {
            continue;
        }
        let sum = of_origin.try_fold(0_u64, |sum, (domain, totals)| {
            Some(sum.saturating_add(own_power(snapshot, domain, totals)?))
        });
        if let Some(sum) = sum {
            sink.sample(&[host(snapshot), "host", origin.as_str()], Number::Micro(sum));
        }
    }
}

/// What a leaf adds to the host's power: nothing under a root that shows its own, and of a silent root
/// nothing, since its parts stand for it.
fn own_power(snapshot: &Snapshot, domain: &Domain, totals: &DomainTotals) -> Option<u64> {
    let power = |totals: &DomainTotals| totals.root.and_then(|root| root.power);
    if let Place::Around(_) = domain.place {
        return Some(power(totals).map_or(0, MicroWatts::get));
    }
    let is_covered = read(snapshot).any(|(root, totals)| match &root.place {
        Place::Around(parts) => parts.contains(&domain.id) && power(totals).is_some(),
        Place::Counted | Place::Inside(_) | Place::Beside => false,
    });
    if is_covered { Some(0) } else { totals.power.map(MicroWatts::get) }
}

fn rows(table: &Table, columns: usize) -> impl Iterator<Item = &[Energy]> {
    table.energy.chunks(columns.max(1))
}

fn emission_rows(table: &Table, cells: usize) -> impl Iterator<Item = &[Emissions]> {
    table.emissions.chunks(cells.max(1))
}

fn zone_rows(table: &Table, columns: usize) -> impl Iterator<Item = &[Emissions]> {
    table.emissions.chunks(columns.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_labels_of_a_job_are_its_attributes() {
        let names: Vec<String> = Attribute::ALL.map(|attribute| attribute.as_str().replace('.', "_")).into();
        assert_eq!(&JOB_LABELS[4..], names);
    }
}
