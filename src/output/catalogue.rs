//! Every series this program shows: name, type, unit, help, labels, and how its samples are made from
//! a snapshot. The page, the reference in docs/ and every other output are printed from this table.

use crate::model::identity::{Origin, Residual};
use crate::model::quantity::{Emissions, Energy};
use crate::model::reading::{Fault, Place};
use crate::model::snapshot::{SamplerState, Snapshot, Table};
use std::collections::BTreeMap;

/// What a series is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only rises.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Always 1; its labels are what it says.
    Info,
    /// Buckets, sum and count.
    Histogram,
}

/// A value, exact until it is text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    /// A whole number.
    Whole(u64),
    /// Millionths: µJ, µW, ppm.
    Micro(u64),
    /// Thousand-millionths: ng, ns.
    Nano(u64),
    /// Thousandths: mg/kWh.
    Milli(u64),
}

/// Takes samples one by one. Labels come in the family's order.
pub trait Sink {
    /// One sample of the family in hand.
    fn sample(&mut self, labels: &[&str], value: Number);
    /// A histogram: counts by bucket, not summed up, with the bounds in ns; the last has no bound.
    fn histogram(&mut self, labels: &[&str], bounds: &[u64], counts: &[u64], sum_nanoseconds: u64);
}

/// A family of series.
pub struct Family {
    /// The name without `_total`, `_info`.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// The unit that ends the name; empty for none.
    pub unit: &'static str,
    /// One sentence.
    pub help: &'static str,
    /// Label names.
    pub labels: &'static [&'static str],
    /// The OpenTelemetry name and unit of which the Prometheus name is the translation.
    pub otel: (&'static str, &'static str),
    /// Makes the samples.
    pub collect: fn(&Snapshot, &mut dyn Sink),
}

/// The counter of page requests, kept by the HTTP server and not part of a snapshot.
pub const HTTP_REQUESTS: (&str, &str) =
    ("jouleprint_http_requests", "Requests answered, by status code, up to the moment this page was made");

/// All families, in the order of the page.
pub const FAMILIES: &[Family] = &[
    Family {
        name: "hw_host_energy_joules",
        kind: Kind::Counter,
        unit: "joules",
        help: "Energy of the whole host as far as it is metered: the sum of the counted meters",
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
        help: "Energy of one counted meter; the meters of one origin may be added",
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
        help: "Energy of a meter inside a counted one (parent) or beside them (no parent); never to be added",
        labels: &["host", "hw_id", "parent"],
        otel: ("jouleprint.domain.energy", "J"),
        collect: |snapshot, sink| {
            for (domain, totals) in snapshot.machine.domains.iter().zip(&snapshot.totals.domains) {
                let parent = match &domain.place {
                    Place::Counted => continue,
                    Place::Inside(parent) => parent,
                    Place::Beside => "",
                };
                sink.sample(&[host(snapshot), &domain.id, parent], Number::Micro(totals.energy.as_micro()));
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
            for (job, energies) in
                snapshot.totals.jobs.iter().zip(rows(&snapshot.totals.job_table, columns.len()))
            {
                let id = &job.job.id;
                for (column, energy) in columns.iter().zip(energies) {
                    let labels = [
                        host(snapshot),
                        id.kind().as_str(),
                        id.id(),
                        column.hw_type.as_str(),
                        &column.gpu,
                        "",
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
                for (column, energy) in columns.iter().zip(energies) {
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
            for (column, energy) in snapshot.totals.columns.iter().zip(&snapshot.totals.retired_table.energy)
            {
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
            for (job, cells) in totals.jobs.iter().zip(emission_rows(&totals.job_table, columns * zones)) {
                let id = &job.job.id;
                for (zone, cells) in totals.zones.iter().zip(cells.chunks(columns.max(1))) {
                    for (column, grams) in totals.columns.iter().zip(cells) {
                        let labels = [
                            host(snapshot),
                            id.kind().as_str(),
                            id.id(),
                            column.hw_type.as_str(),
                            &column.gpu,
                            "",
                            column.origin.as_str(),
                            zone,
                        ];
                        sink.sample(&labels, Number::Nano(grams.as_nano()));
                    }
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
                for (zone, cells) in totals.zones.iter().zip(cells.chunks(columns.max(1))) {
                    for (column, grams) in totals.columns.iter().zip(cells) {
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
            for (zone, cells) in
                totals.zones.iter().zip(zone_rows(&totals.retired_table, totals.columns.len()))
            {
                for (column, grams) in totals.columns.iter().zip(cells) {
                    let labels =
                        [host(snapshot), column.hw_type.as_str(), &column.gpu, column.origin.as_str(), zone];
                    sink.sample(&labels, Number::Nano(grams.as_nano()));
                }
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
                sink.sample(&[host(snapshot), id.kind().as_str(), id.id()], Number::Nano(job.cpu.get()));
            }
        },
    },
    Family {
        name: "jouleprint_job",
        kind: Kind::Info,
        unit: "",
        help: "A job and the control group in which it was first met",
        labels: &["host", "job_kind", "job_id", "process_linux_cgroup"],
        otel: ("", ""),
        collect: |snapshot, sink| {
            for job in &snapshot.totals.jobs {
                let id = &job.job.id;
                let labels = [host(snapshot), id.kind().as_str(), id.id(), &job.job.cgroup];
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
    Family {
        name: "jouleprint_grid_carbon_intensity_grams_per_kilowatt_hour",
        kind: Kind::Gauge,
        unit: "",
        help: "Carbon intensity of electricity in force",
        labels: &["grid_zone", "signal"],
        otel: ("jouleprint.grid.carbon_intensity.grams_per_kilowatt_hour", ""),
        collect: |snapshot, sink| {
            let factor = &snapshot.factor;
            let milligrams = u64::from(factor.intensity.as_milligrams());
            sink.sample(&[&factor.zone, "average"], Number::Milli(milligrams));
        },
    },
    Family {
        name: "jouleprint_grid_intensity",
        kind: Kind::Info,
        unit: "",
        help: "Where the intensity in force comes from and what it includes",
        labels: &["grid_zone", "signal", "basis", "accounting", "quality", "source", "year"],
        otel: ("", ""),
        collect: |snapshot, sink| {
            let factor = &snapshot.factor;
            let labels = [
                &factor.zone,
                "average",
                &factor.basis,
                &factor.accounting,
                &factor.quality,
                &factor.source,
                &factor.year,
            ];
            sink.sample(&labels, Number::Whole(1));
        },
    },
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
        otel: ("", ""),
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
            for (domain, totals) in snapshot.machine.domains.iter().zip(&snapshot.totals.domains) {
                for refused in &totals.quarantined {
                    let labels = [host(snapshot), &domain.source, &domain.id, refused.reason.as_str()];
                    sink.sample(&labels, Number::Micro(refused.energy.as_micro()));
                }
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
        collect: |snapshot, sink| per_meter(snapshot, sink, |totals| Number::Whole(totals.wraps)),
    },
    Family {
        name: "jouleprint_meter_resets",
        kind: Kind::Counter,
        unit: "",
        help: "Times a meter started anew; the energy of that tick is not known",
        labels: &["host", "source", "hw_id"],
        otel: ("jouleprint.meter.resets", "{reset}"),
        collect: |snapshot, sink| per_meter(snapshot, sink, |totals| Number::Whole(totals.resets)),
    },
    Family {
        name: "jouleprint_meter_gap_seconds",
        kind: Kind::Counter,
        unit: "seconds",
        help: "Time so long without a reading that a meter's energy in it is a lower bound",
        labels: &["host", "source", "hw_id"],
        otel: ("jouleprint.meter.gap", "s"),
        collect: |snapshot, sink| per_meter(snapshot, sink, |totals| Number::Nano(totals.gap.get())),
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
        collect: |snapshot, sink| sink.sample(&[host(snapshot)], Number::Whole(snapshot.sampler.skipped)),
    },
    Family {
        name: "jouleprint_host",
        kind: Kind::Info,
        unit: "",
        help: "The machine and where it is",
        labels: &["host", "host_arch", "host_cpu_model_name", "os_version", "grid_zone"],
        otel: ("", ""),
        collect: |snapshot, sink| {
            let machine = &snapshot.machine;
            let labels = [
                host(snapshot),
                std::env::consts::ARCH,
                &machine.cpu_model,
                &machine.kernel,
                &snapshot.factor.zone,
            ];
            sink.sample(&labels, Number::Whole(1));
        },
    },
    Family {
        name: "jouleprint_build",
        kind: Kind::Info,
        unit: "",
        help: "This program",
        labels: &["version"],
        otel: ("", ""),
        collect: |_, sink| sink.sample(&[env!("CARGO_PKG_VERSION")], Number::Whole(1)),
    },
    Family {
        name: "process_cpu_seconds",
        kind: Kind::Counter,
        unit: "seconds",
        help: "CPU time this process has used",
        labels: &[],
        otel: ("", ""),
        collect: |snapshot, sink| sink.sample(&[], Number::Nano(snapshot.process.cpu.get())),
    },
    Family {
        name: "process_resident_memory_bytes",
        kind: Kind::Gauge,
        unit: "bytes",
        help: "Memory this process has in use",
        labels: &[],
        otel: ("", ""),
        collect: |snapshot, sink| sink.sample(&[], Number::Whole(snapshot.process.resident_bytes)),
    },
    Family {
        name: "process_virtual_memory_bytes",
        kind: Kind::Gauge,
        unit: "bytes",
        help: "Address space this process has in use",
        labels: &[],
        otel: ("", ""),
        collect: |snapshot, sink| sink.sample(&[], Number::Whole(snapshot.process.virtual_bytes)),
    },
    Family {
        name: "process_open_fds",
        kind: Kind::Gauge,
        unit: "",
        help: "Descriptors this process has open",
        labels: &[],
        otel: ("", ""),
        collect: |snapshot, sink| sink.sample(&[], Number::Whole(snapshot.process.open_fds)),
    },
    Family {
        name: "process_max_fds",
        kind: Kind::Gauge,
        unit: "",
        help: "Descriptors this process may open",
        labels: &[],
        otel: ("", ""),
        collect: |snapshot, sink| sink.sample(&[], Number::Whole(snapshot.process.max_fds)),
    },
    Family {
        name: "process_start_time_seconds",
        kind: Kind::Gauge,
        unit: "seconds",
        help: "When this process started",
        labels: &[],
        otel: ("", ""),
        collect: |snapshot, sink| sink.sample(&[], Number::Whole(snapshot.process.start_seconds)),
    },
];

fn host(snapshot: &Snapshot) -> &str {
    &snapshot.machine.host
}

type Domains<'a> = (&'a crate::model::reading::Domain, &'a crate::model::snapshot::DomainTotals);

fn counted(snapshot: &Snapshot) -> impl Iterator<Item = Domains<'_>> {
    let all = snapshot.machine.domains.iter().zip(&snapshot.totals.domains);
    all.filter(|(domain, _)| domain.place == Place::Counted)
}

fn by_origin(snapshot: &Snapshot) -> BTreeMap<Origin, Energy> {
    let mut sums: BTreeMap<Origin, Energy> = BTreeMap::new();
    for (domain, totals) in counted(snapshot) {
        *sums.entry(domain.origin).or_default() += totals.energy;
    }
    sums
}

/// A host power is there only if every meter of that origin could be read.
fn host_power(snapshot: &Snapshot, sink: &mut dyn Sink) {
    for origin in Origin::ALL {
        let mut of_origin = counted(snapshot).filter(|(domain, _)| domain.origin == origin).peekable();
        if of_origin.peek().is_none() {
            continue;
        }
        let sum = of_origin.try_fold(0_u64, |sum, (_, totals)| Some(sum.saturating_add(totals.power?.get())));
        if let Some(sum) = sum {
            sink.sample(&[host(snapshot), "host", origin.as_str()], Number::Micro(sum));
        }
    }
}

fn per_meter(
    snapshot: &Snapshot,
    sink: &mut dyn Sink,
    value: fn(&crate::model::snapshot::DomainTotals) -> Number,
) {
    let all = snapshot.machine.domains.iter().zip(&snapshot.totals.domains);
    for (domain, totals) in all.filter(|(domain, _)| domain.origin == Origin::Measured) {
        sink.sample(&[host(snapshot), &domain.source, &domain.id], value(totals));
    }
}

/// Failed readings are counted where they are read, refused ones where they are metered.
fn source_errors(snapshot: &Snapshot, sink: &mut dyn Sink) {
    let refused = |source: &str, hw_id: &str| {
        let domains = snapshot.machine.domains.iter().zip(&snapshot.totals.domains);
        let mut found = domains.filter(move |(domain, _)| *domain.source == *source && *domain.id == *hw_id);
        found.next().map_or(&[][..], |(_, totals)| totals.quarantined.as_slice())
    };
    for state in &snapshot.sources {
        let mut counts: BTreeMap<Fault, u64> = state.errors.iter().copied().collect();
        for refused in refused(&state.source, &state.hw_id) {
            *counts.entry(refused.reason).or_default() += refused.readings;
        }
        for (fault, count) in counts {
            let labels = [host(snapshot), &state.source, &state.hw_id, fault.as_str()];
            sink.sample(&labels, Number::Whole(count));
        }
    }
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
