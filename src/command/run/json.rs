//! The result as one JSON object. Numbers are decimals written from integers, with the unit in their name.

use super::child::End;
use super::outcome::{MeterUse, Outcome, Part};
use crate::carbon::equivalents;
use crate::command::report::amount::{decimal, timestamp};
use crate::command::report::plain::EquivalentObject;
use crate::model::description::Attribute;
use crate::model::identity::Name;
use crate::model::quantity::Nanos;
use crate::model::speech::Phase;
use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// The form of the object; a new one for whatever a reader could trip over.
pub const VERSION: u32 = 1;

/// kWh are told to this many places: a 3.6th of a µJ.
const KILOWATT_HOUR_PLACES: u32 = 12;

type Number = Box<RawValue>;

/// `value / 10^places`, exact.
fn number(value: u128, places: u32) -> Number {
    RawValue::from_string(decimal(value, places)).expect("digits are JSON")
}

/// µJ as kWh.
#[must_use]
pub fn kilowatt_hours(microjoules: u128) -> String {
    decimal((microjoules * 10 + 18) / 36, KILOWATT_HOUR_PLACES)
}

fn kilowatt_hours_number(microjoules: u128) -> Number {
    RawValue::from_string(kilowatt_hours(microjoules)).expect("digits are JSON")
}

fn seconds(time: Nanos) -> Number {
    number(u128::from(time.get()), 9)
}

#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    id: &'a str,
    command: Option<&'a [String]>,
    project: Option<&'a str>,
    experiment: Option<&'a str>,
    labels: &'a BTreeMap<Name, Name>,
    host: &'a str,
    user_id: &'a str,
    started: String,
    ended: String,
    duration_seconds: Number,
    exit_code: Option<u8>,
    signal: Option<i32>,
    method: &'static str,
    cpu_seconds: Number,
    origin: Option<&'static str>,
    energy_joules: Number,
    energy_kilowatt_hours: Number,
    energy_measured_joules: Option<Number>,
    energy_estimated_joules: Option<Number>,
    uncertainty_ratio: Number,
    emissions_grams: Number,
    energy: Vec<PartObject<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    phases: Vec<PhaseObject<'a>>,
    machine: MachineObject,
    intensity: IntensityObject<'a>,
    pue: Number,
    #[serde(skip_serializing_if = "Option::is_none")]
    equivalents: Option<Vec<EquivalentObject>>,
    meters: Vec<MeterObject<'a>>,
    notes: &'a [String],
}

#[derive(Serialize)]
struct PartObject<'a> {
    hw_type: &'static str,
    gpu: Option<&'a str>,
    origin: &'static str,
    joules: Number,
    kilowatt_hours: Number,
    emissions_grams: Number,
    uncertainty_ratio: Number,
    machine_joules: Number,
}

#[derive(Serialize)]
struct PhaseObject<'a> {
    phase: &'a str,
    seconds: Number,
    cpu_seconds: Number,
    energy_joules: Number,
    emissions_grams: Number,
}

#[derive(Serialize)]
struct MachineObject {
    energy_joules: Number,
    energy_kilowatt_hours: Number,
    emissions_grams: Number,
    share_ratio: Option<Number>,
}

#[derive(Serialize)]
struct IntensityObject<'a> {
    grams_per_kilowatt_hour: Number,
    zone: &'a str,
    source: &'a str,
    year: &'a str,
    basis: &'a str,
    quality: &'a str,
    fallback: &'static str,
}

#[derive(Serialize)]
struct MeterObject<'a> {
    hw_id: &'a str,
    source: &'a str,
    origin: &'static str,
}

/// The object, with a line's end.
///
/// # Errors
/// Never: memory takes everything.
pub fn json(outcome: &Outcome) -> Result<Vec<u8>, serde_json::Error> {
    use crate::model::identity::Origin;
    let known = |attribute| Some(outcome.description.get(attribute)).filter(|value| !value.is_empty());
    let (exit_code, signal) = match outcome.end {
        End::Exited(code) => (Some(code), None),
        End::Killed(signal) => (None, Some(signal)),
    };
    let joules = |microjoules: u128| number(microjoules, 6);
    let factor = &outcome.factor;
    let document = Document {
        version: VERSION,
        id: &outcome.id,
        command: outcome.command.as_deref(),
        project: known(Attribute::Project),
        experiment: known(Attribute::Experiment),
        labels: outcome.description.labels(),
        host: &outcome.host,
        user_id: outcome.description.get(Attribute::UserId),
        started: timestamp(outcome.started),
        ended: timestamp(outcome.ended()),
        duration_seconds: seconds(outcome.lasted),
        exit_code,
        signal,
        method: outcome.method.as_str(),
        cpu_seconds: seconds(outcome.cpu),
        origin: outcome.origin(),
        energy_joules: joules(outcome.total()),
        energy_kilowatt_hours: kilowatt_hours_number(outcome.total()),
        energy_measured_joules: outcome.energy(Origin::Measured).map(joules),
        energy_estimated_joules: outcome.energy(Origin::Estimated).map(joules),
        uncertainty_ratio: number(outcome.uncertainty_ppm(), 6),
        emissions_grams: number(outcome.emissions(), 9),
        energy: outcome.parts.iter().map(part).collect(),
        phases: outcome.phases.iter().map(phase).collect(),
        machine: MachineObject {
            energy_joules: joules(outcome.machine()),
            energy_kilowatt_hours: kilowatt_hours_number(outcome.machine()),
            emissions_grams: number(outcome.machine_emissions(), 9),
            share_ratio: outcome.share_ppm().map(|ppm| number(ppm, 6)),
        },
        intensity: IntensityObject {
            grams_per_kilowatt_hour: number(u128::from(factor.intensity.as_milligrams()), 3),
            zone: &factor.zone,
            source: &factor.source,
            year: &factor.year,
            basis: &factor.basis,
            quality: &factor.quality,
            fallback: factor.fallback.as_str(),
        },
        pue: number(u128::from(factor.pue.as_ppm()), 6),
        equivalents: outcome.has_equivalents.then(|| {
            let all = equivalents::all(outcome.total(), outcome.emissions());
            all.into_iter().map(EquivalentObject::from).collect()
        }),
        meters: outcome.meters.iter().map(meter).collect(),
        notes: &outcome.notes,
    };
    let mut text = serde_json::to_vec_pretty(&document)?;
    text.push(b'\n');
    Ok(text)
}

fn part(part: &Part) -> PartObject<'_> {
    let energy = u128::from(part.energy.as_micro());
    PartObject {
        hw_type: part.column.hw_type.as_str(),
        gpu: Some(&*part.column.gpu).filter(|gpu| !gpu.is_empty()),
        origin: part.column.origin.as_str(),
        joules: number(energy, 6),
        kilowatt_hours: kilowatt_hours_number(energy),
        emissions_grams: number(part.grams(), 9),
        uncertainty_ratio: number(u128::from(part.uncertainty_ppm), 6),
        machine_joules: number(u128::from(part.machine.as_micro()), 6),
    }
}

fn phase(phase: &Phase) -> PhaseObject<'_> {
    PhaseObject {
        phase: &phase.name,
        seconds: seconds(phase.time),
        cpu_seconds: seconds(phase.cpu),
        energy_joules: number(u128::from(phase.amounts.energy().as_micro()), 6),
        emissions_grams: number(u128::from(phase.amounts.emissions().as_nano()), 9),
    }
}

fn meter(meter: &MeterUse) -> MeterObject<'_> {
    MeterObject { hw_id: &meter.id, source: &meter.source, origin: meter.origin.as_str() }
}
