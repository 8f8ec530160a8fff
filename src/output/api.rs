//! The newest snapshot as JSON, for programs that want to know what is so now: `/api/v1/jobs`, `/api/v1/job`,
//! `/api/v1/host`. Numbers are written from integers, exactly as on the page.

mod own;
mod speech;

use super::catalogue::Number;
use super::prometheus::number;
use crate::model::description::Attribute;
use crate::model::identity::{Name, Residual};
use crate::model::quantity::{self, Nanos};
use crate::model::reading::{Domain, Factor, Floor, Place};
use crate::model::snapshot::{Column, JobTotals, Snapshot, Totals};
use serde::Serialize;
use serde::ser::Serializer;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

pub use own::{Trouble, own};

/// A number with all its digits.
struct Exact(Number);

impl Serialize for Exact {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = Vec::new();
        number(self.0, &mut text);
        let text = String::from_utf8(text).expect("digits and a point");
        RawValue::from_string(text).expect("digits and a point are JSON").serialize(serializer)
    }
}

/// All jobs, and what is no job's: the powers add up to the host's.
#[derive(Serialize)]
struct Jobs<'a> {
    host: &'a str,
    at: String,
    tick_seconds: Exact,
    grid: Grid<'a>,
    power_watts: Exact,
    accounts: Vec<Account<'a>>,
    jobs: Vec<Job<'a>>,
}

#[derive(Serialize)]
struct Grid<'a> {
    grid_zone: &'a str,
    grams_per_kilowatt_hour: Exact,
    pue: Exact,
    source: &'a str,
    year: &'a str,
    quality: &'a str,
}

#[derive(Serialize)]
struct Account<'a> {
    account: &'a str,
    power_watts: Exact,
    energy: Vec<Energy<'a>>,
}

#[derive(Serialize)]
struct Job<'a> {
    job_kind: &'a str,
    job_id: &'a str,
    state: &'a str,
    first_seen: String,
    attributes: BTreeMap<&'a str, &'a str>,
    labels: &'a BTreeMap<Name, Name>,
    power_watts: Exact,
    cpu_seconds: Exact,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    gpus: Vec<Held<'a>>,
    energy: Vec<Energy<'a>>,
    emissions: Vec<Emissions<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<speech::Progress>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prediction: Option<speech::Prediction>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    phases: Vec<speech::Phase>,
    #[serde(skip_serializing_if = "is_nothing")]
    refused_marks: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
const fn is_nothing(count: &u32) -> bool {
    *count == 0
}

/// An accelerator that a job was given, and how much of it.
#[derive(Serialize)]
struct Held<'a> {
    gpu: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    gpu_instance: &'a str,
    allocated: Exact,
}

#[derive(Serialize)]
struct Energy<'a> {
    hw_type: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    gpu: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    gpu_instance: &'a str,
    origin: &'a str,
    joules: Exact,
}

#[derive(Serialize)]
struct Emissions<'a> {
    grid_zone: &'a str,
    hw_type: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    gpu: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    gpu_instance: &'a str,
    origin: &'a str,
    co2e_grams: Exact,
}

/// What the meters show, for a program that may not read them itself.
#[derive(Serialize)]
struct Host<'a> {
    host: &'a str,
    at: String,
    domains: Vec<Meter>,
    factor: &'a Factor,
}

#[derive(Serialize)]
struct Meter {
    domain: Domain,
    /// µJ since the counters' start.
    energy: u64,
}

/// Every job, what each draws, and what the residual accounts draw.
#[must_use]
pub fn jobs(snapshot: &Snapshot) -> Vec<u8> {
    let totals = &snapshot.totals;
    let powers = totals.jobs.iter().map(|job| &job.power).chain(&totals.residual_power);
    let power = powers.fold(0_u64, |sum, power| sum.saturating_add(power.get()));
    let rows = totals.residual_table.energy.chunks(totals.columns.len().max(1));
    let accounts = Residual::ALL.iter().zip(&totals.residual_power).zip(rows);
    written(&Jobs {
        host: &snapshot.machine.host,
        at: time(snapshot.at.wall),
        tick_seconds: Exact(Number::Nano(snapshot.interval.get())),
        grid: grid(&snapshot.factor),
        power_watts: Exact(Number::Micro(power)),
        accounts: accounts
            .map(|((account, power), energies)| Account {
                account: account.as_str(),
                power_watts: Exact(Number::Micro(power.get())),
                energy: energy_of(totals, energies),
            })
            .collect(),
        jobs: (0..totals.jobs.len()).map(|row| entry(snapshot, row)).collect(),
    })
}

/// The meters of the cut, each with its own energy, and the factor in force.
#[must_use]
pub fn host(snapshot: &Snapshot) -> Vec<u8> {
    let all = snapshot.machine.domains.iter().zip(&snapshot.totals.domains);
    // Only what is read has a floor; the others are of earlier starts.
    let domains = all.filter_map(|(domain, totals)| {
        let (method, power) = totals.floor?;
        let energy = match (&domain.place, totals.root) {
            (Place::Around(_), Some(root)) => root.energy,
            (Place::Around(_), None) | (Place::Counted | Place::Inside(_) | Place::Beside, _) => {
                totals.energy
            }
        };
        let domain = Domain { floor: Some(Floor { power, method }), ..domain.clone() };
        domain.is_leaf().then(|| Meter { domain, energy: energy.as_micro() })
    });
    let factor = &snapshot.factor;
    let host = &snapshot.machine.host;
    written(&Host { host, at: time(snapshot.at.wall), domains: domains.collect(), factor })
}

fn entry(snapshot: &Snapshot, row: usize) -> Job<'_> {
    let totals = &*snapshot.totals;
    let JobTotals { job, cpu, ended, description, power, held, speech: _ } = &totals.jobs[row];
    let (columns, zones) = (totals.columns.len(), totals.zones.len());
    let energies = &totals.job_table.energy[row * columns..][..columns];
    let grams = &totals.job_table.emissions[row * columns * zones..][..columns * zones];
    let emissions = totals.by_zone(grams).filter(|(_, _, grams)| grams.as_nano() > 0);
    let attributes = Attribute::ALL.map(|attribute| (attribute.as_str(), description.get(attribute)));
    Job {
        job_kind: job.id.kind().as_str(),
        job_id: job.id.id(),
        state: if ended.is_some() { "ended" } else { "live" },
        first_seen: time(job.started.wall),
        attributes: attributes.into_iter().filter(|(_, value)| !value.is_empty()).collect(),
        labels: description.labels(),
        power_watts: Exact(Number::Micro(power.get())),
        cpu_seconds: Exact(Number::Nano(cpu.get())),
        gpus: held
            .iter()
            .map(|(column, share)| {
                let Column { gpu, gpu_instance, .. } = &totals.columns[*column as usize];
                Held { gpu, gpu_instance, allocated: Exact(Number::Micro(u64::from(*share))) }
            })
            .collect(),
        energy: energy_of(totals, energies),
        emissions: emissions
            .map(|(zone, Column { hw_type, gpu, gpu_instance, origin }, grams)| Emissions {
                grid_zone: zone,
                hw_type: hw_type.as_str(),
                gpu,
                gpu_instance,
                origin: origin.as_str(),
                co2e_grams: Exact(Number::Nano(grams.as_nano())),
            })
            .collect(),
        progress: speech::progress(snapshot, row),
        prediction: speech::prediction(snapshot, row),
        phases: speech::phases(snapshot, row),
        refused_marks: speech::refused_marks(snapshot, row),
    }
}

fn energy_of<'a>(totals: &'a Totals, energies: &[quantity::Energy]) -> Vec<Energy<'a>> {
    let columns = totals.columns.iter().zip(energies).filter(|(_, energy)| energy.as_micro() > 0);
    let energy = columns.map(|(Column { hw_type, gpu, gpu_instance, origin }, energy)| Energy {
        hw_type: hw_type.as_str(),
        gpu,
        gpu_instance,
        origin: origin.as_str(),
        joules: Exact(Number::Micro(energy.as_micro())),
    });
    energy.collect()
}

fn grid(factor: &Factor) -> Grid<'_> {
    Grid {
        grid_zone: &factor.zone,
        grams_per_kilowatt_hour: Exact(Number::Milli(u64::from(factor.intensity.as_milligrams()))),
        pue: Exact(Number::Micro(u64::from(factor.pue.as_ppm()))),
        source: &factor.source,
        year: &factor.year,
        quality: &factor.quality,
    }
}

fn time(wall: Nanos) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(wall.get()))
        .map_or_else(|_| String::new(), |at| at.to_string())
}

fn written(value: &impl Serialize) -> Vec<u8> {
    let mut text = serde_json::to_vec(value).expect("texts, numbers and lists of them are JSON");
    text.push(b'\n');
    text
}
