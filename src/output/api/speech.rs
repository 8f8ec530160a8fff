//! What a job has said of itself, and what follows from it, as JSON.

use super::{Exact, time};
use crate::model::quantity::{Emissions, Energy, Nanos};
use crate::model::snapshot::Snapshot;
use crate::model::speech::{self, QUANTILES};
use crate::output::catalogue::Number;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

#[derive(Serialize)]
pub(super) struct Progress {
    done: Exact,
    total: Exact,
    ratio: Exact,
    at: String,
}

#[derive(Serialize)]
pub(super) struct Prediction {
    blocks: u32,
    energy_joules: Quantiles,
    duration_seconds: Quantiles,
    co2e_grams: Quantiles,
    end: String,
    intensity: &'static str,
}

#[derive(Serialize)]
pub(super) struct Phase {
    phase: String,
    is_open: bool,
    seconds: Exact,
    cpu_seconds: Exact,
    energy_joules: Exact,
    co2e_grams: Exact,
    parts: Vec<Part>,
}

#[derive(Serialize)]
struct Part {
    hw_type: &'static str,
    origin: &'static str,
    joules: Exact,
    co2e_grams: Exact,
}

struct Quantiles([Number; 3]);

impl Serialize for Quantiles {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(QUANTILES.len()))?;
        for (quantile, number) in QUANTILES.iter().zip(self.0) {
            map.serialize_entry(quantile, &Exact(number))?;
        }
        map.end()
    }
}

/// How far the job in this row has come.
pub(super) fn progress(snapshot: &Snapshot, row: usize) -> Option<Progress> {
    let job = &snapshot.totals.jobs[row];
    let (progress, point) = job.speech.as_ref()?.progress?;
    Some(Progress {
        done: Exact(Number::Micro(progress.done)),
        total: Exact(Number::Micro(progress.total)),
        ratio: Exact(Number::Micro(progress.ratio_ppm())),
        at: time(snapshot.at.wall.saturating_sub(elapsed(snapshot, row).saturating_sub(point.at))),
    })
}

/// What the whole of it will come to.
pub(super) fn prediction(snapshot: &Snapshot, row: usize) -> Option<Prediction> {
    let job = &snapshot.totals.jobs[row];
    let speech::Prediction { blocks, energy, duration, emissions, intensity } =
        *snapshot.predictions.get(&job.job.number)?;
    let left = duration[1].saturating_sub(elapsed(snapshot, row));
    Some(Prediction {
        blocks,
        energy_joules: Quantiles(energy.map(|energy: Energy| Number::Micro(energy.as_micro()))),
        duration_seconds: Quantiles(duration.map(|time: Nanos| Number::Nano(time.get()))),
        co2e_grams: Quantiles(emissions.map(|grams: Emissions| Number::Nano(grams.as_nano()))),
        end: time(Nanos::new(snapshot.at.wall.get().saturating_add(left.get()))),
        intensity: intensity.as_str(),
    })
}

/// How long it is there, by the clock that is never set.
fn elapsed(snapshot: &Snapshot, row: usize) -> Nanos {
    snapshot.at.monotonic.saturating_sub(snapshot.totals.jobs[row].job.started.monotonic)
}

/// What it was and is at.
pub(super) fn phases(snapshot: &Snapshot, row: usize) -> Vec<Phase> {
    let job = &snapshot.totals.jobs[row];
    let Some(speech) = &job.speech else { return Vec::new() };
    let now = job.ended.unwrap_or(snapshot.at.monotonic);
    let all = speech.phases.at(now, &snapshot.totals.amounts_of_job(row), job.cpu);
    let phase = |(place, phase): (usize, speech::Phase)| Phase {
        phase: phase.name.to_string(),
        is_open: job.ended.is_none() && speech.phases.is_open(place),
        seconds: Exact(Number::Nano(phase.time.get())),
        cpu_seconds: Exact(Number::Nano(phase.cpu.get())),
        energy_joules: Exact(Number::Micro(phase.amounts.energy().as_micro())),
        co2e_grams: Exact(Number::Nano(phase.amounts.emissions().as_nano())),
        parts: phase.amounts.0.iter().map(part).collect(),
    };
    all.into_iter().enumerate().map(phase).collect()
}

/// Marks of it that changed nothing: begun too deep, or ended without being open.
pub(super) fn refused_marks(snapshot: &Snapshot, row: usize) -> u32 {
    let speech = snapshot.totals.jobs[row].speech.as_ref();
    speech.map_or(0, |speech| speech.phases.refused)
}

fn part(amount: &speech::Amount) -> Part {
    Part {
        hw_type: amount.hw_type.as_str(),
        origin: amount.origin.as_str(),
        joules: Exact(Number::Micro(amount.energy.as_micro())),
        co2e_grams: Exact(Number::Nano(amount.emissions.as_nano())),
    }
}
