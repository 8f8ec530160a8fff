//! `GET /api/v1/job`: what a job wants to know of itself, and how much of it is new since it last asked. What it
//! had then it brings along, in a cursor, so that asking changes nothing here.

use super::{Exact, Grid, Job, entry, grid, written};
use crate::model::identity::{HwType, JobId, Name, Origin};
use crate::model::quantity::{Emissions, Energy, Nanos};
use crate::model::snapshot::{Column, Snapshot};
use crate::output::catalogue::Number;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

/// A cursor has one part for each device; this is room for a hundred of them.
const MAX_CURSOR_BYTES: usize = 32 << 10;

const PPM: u128 = 1_000_000;

#[derive(Serialize)]
struct Own<'a> {
    host: &'a str,
    at: String,
    #[serde(flatten)]
    job: Job<'a>,
    grid: Grid<'a>,
    measured_ratio: Option<Exact>,
    cursor: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<Since<'a>>,
}

/// What is new.
#[derive(Serialize)]
struct Since<'a> {
    at: String,
    seconds: Exact,
    cpu_seconds: Exact,
    joules: Exact,
    co2e_grams: Exact,
    parts: Vec<New<'a>>,
}

#[derive(Serialize)]
struct New<'a> {
    hw_type: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    gpu: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    gpu_instance: &'a str,
    origin: &'a str,
    joules: Exact,
    co2e_grams: Exact,
}

/// Where a job stood.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Cursor {
    // The job's number, and when the counters were 0: other counters have other beginnings.
    job: u64,
    started: Nanos,
    at: Nanos,
    cpu: Nanos,
    parts: Vec<Part>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Part(HwType, Name, Name, Origin, Energy, Emissions);

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// It has not been read yet.
    #[error("it has not been read yet; ask again in a tick")]
    Unknown,
    /// The cursor is none.
    #[error("`since` is no cursor that was given out here")]
    Malformed,
    /// The cursor is of a job that has begun anew, or of an exporter that has.
    #[error("`since` is of counters that have begun anew; ask without it")]
    Gone,
}

/// The job, and what is new since `cursor` if one is given.
///
/// # Errors
/// It is not on the page, or the cursor is of no use.
pub fn own(snapshot: &Snapshot, id: &JobId, cursor: Option<&str>) -> Result<Vec<u8>, Trouble> {
    let totals = &snapshot.totals;
    let row = totals.jobs.iter().position(|job| job.job.id == *id).ok_or(Trouble::Unknown)?;
    let (columns, cells) = (totals.columns.len(), totals.columns.len() * totals.zones.len());
    let mut parts: Vec<Part> = Vec::new();
    for (place, Column { hw_type, gpu, gpu_instance, origin }) in totals.columns.iter().enumerate() {
        let grams =
            totals.job_table.emissions[row * cells..][..cells].iter().skip(place).step_by(columns.max(1));
        let grams = grams.fold(Emissions::ZERO, |sum, grams| sum + *grams);
        let energy = totals.job_table.energy[row * columns + place];
        if energy > Energy::ZERO || grams > Emissions::ZERO {
            parts.push(Part(*hw_type, gpu.clone(), gpu_instance.clone(), *origin, energy, grams));
        }
    }
    let job = &totals.jobs[row];
    let now =
        Cursor { job: job.job.number, started: totals.started, at: snapshot.at.wall, cpu: job.cpu, parts };
    let before = cursor.map(Cursor::read).transpose()?;
    let since = before.as_ref().map(|before| now.since(before)).transpose()?;
    let measured: Energy =
        now.parts.iter().filter(|part| part.3 == Origin::Measured).map(|part| part.4).sum();
    let all: Energy = now.parts.iter().map(|part| part.4).sum();
    let measured = (u128::from(measured.as_micro()) * PPM).checked_div(u128::from(all.as_micro()));
    Ok(written(&Own {
        host: &snapshot.machine.host,
        at: super::time(snapshot.at.wall),
        job: entry(snapshot, row),
        grid: grid(&snapshot.factor),
        measured_ratio: measured.map(|ppm| Exact(Number::Micro(u64::try_from(ppm).unwrap_or(u64::MAX)))),
        cursor: now.text(),
        since,
    }))
}

impl Cursor {
    fn text(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).expect("numbers and texts are JSON"))
    }

    fn read(text: &str) -> Result<Cursor, Trouble> {
        let bytes = Some(text).filter(|text| text.len() <= MAX_CURSOR_BYTES);
        let bytes = bytes.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok()).ok_or(Trouble::Malformed)?;
        serde_json::from_slice(&bytes).map_err(|_| Trouble::Malformed)
    }

    fn since(&self, before: &Cursor) -> Result<Since<'_>, Trouble> {
        if (self.job, self.started) != (before.job, before.started) {
            return Err(Trouble::Gone);
        }
        let mut parts = Vec::new();
        let (mut joules, mut grams) = (0_u64, 0_u64);
        for Part(hw_type, gpu, gpu_instance, origin, energy, emissions) in &self.parts {
            let same = |known: &&Part| {
                (known.0, &known.1, &known.2, known.3) == (*hw_type, gpu, gpu_instance, *origin)
            };
            let known = before.parts.iter().find(same);
            let (of_energy, of_grams) = known.map_or((0, 0), |part| (part.4.as_micro(), part.5.as_nano()));
            // Whoever asks with a number of his own has nothing but an odd answer of it.
            let energy = energy.as_micro().saturating_sub(of_energy);
            let emissions = emissions.as_nano().saturating_sub(of_grams);
            (joules, grams) = (joules.saturating_add(energy), grams.saturating_add(emissions));
            parts.push(New {
                hw_type: hw_type.as_str(),
                gpu,
                gpu_instance,
                origin: origin.as_str(),
                joules: Exact(Number::Micro(energy)),
                co2e_grams: Exact(Number::Nano(emissions)),
            });
        }
        Ok(Since {
            at: super::time(before.at),
            seconds: Exact(Number::Nano(self.at.saturating_sub(before.at).get())),
            cpu_seconds: Exact(Number::Nano(self.cpu.saturating_sub(before.cpu).get())),
            joules: Exact(Number::Micro(joules)),
            co2e_grams: Exact(Number::Nano(grams)),
            parts,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_back_and_garbage_is_none() {
        let part = Part(
            HwType::Gpu,
            "GPU-1".into(),
            "".into(),
            Origin::Measured,
            Energy::from_micro(7),
            Emissions::ZERO,
        );
        let cursor = Cursor {
            job: 17,
            started: Nanos::new(1),
            at: Nanos::new(3_000_000_000),
            cpu: Nanos::new(5),
            parts: vec![part],
        };
        let text = cursor.text();
        assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)), "{text}");
        assert_eq!(Cursor::read(&text), Ok(Cursor { ..cursor }));
        let long = "A".repeat(MAX_CURSOR_BYTES + 1);
        for text in ["", "x", "AAAA", "e30", &long, "é"] {
            assert_eq!(Cursor::read(text), Err(Trouble::Malformed), "{text}");
        }
    }
}
