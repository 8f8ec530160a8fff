//! What jobs say of how far they are, and what that leads to.

use super::{Family, Kind, Number, Sink, host};
use crate::model::snapshot::{JobTotals, Snapshot};
use crate::model::speech::{Prediction, QUANTILES};

const OF_JOB: &[&str] = &["host", "job_kind", "job_id"];
const BY_QUANTILE: &[&str] = &["host", "job_kind", "job_id", "quantile"];

/// Of all families these stand last among those of jobs.
pub(super) const FAMILIES: &[Family] = &[
    Family {
        name: "jouleprint_job_progress_ratio",
        kind: Kind::Gauge,
        unit: "ratio",
        help: "How far the job says that it has come; only jobs that say so",
        labels: OF_JOB,
        otel: ("jouleprint.job.progress", "1"),
        collect: |snapshot, sink| {
            for job in &snapshot.totals.jobs {
                let Some((progress, _)) = job.speech.as_ref().and_then(|speech| speech.progress) else {
                    continue;
                };
                let labels = [host(snapshot), job.job.id.kind().as_str(), job.job.id.id()];
                sink.sample(&labels, Number::Micro(progress.ratio_ppm()));
            }
        },
    },
    Family {
        name: "jouleprint_job_predicted_energy_joules",
        kind: Kind::Gauge,
        unit: "joules",
        help: "All that the job will have used when it is done, by what it says of its progress",
        labels: BY_QUANTILE,
        otel: ("jouleprint.job.predicted.energy", "J"),
        collect: |snapshot, sink| {
            predicted(snapshot, sink, |prediction| {
                prediction.energy.map(|energy| Number::Micro(energy.as_micro()))
            });
        },
    },
    Family {
        name: "jouleprint_job_predicted_duration_seconds",
        kind: Kind::Gauge,
        unit: "seconds",
        help: "All the time that the job will have taken, since it was first seen",
        labels: BY_QUANTILE,
        otel: ("jouleprint.job.predicted.duration", "s"),
        collect: |snapshot, sink| {
            predicted(snapshot, sink, |prediction| prediction.duration.map(|time| Number::Nano(time.get())));
        },
    },
    Family {
        name: "jouleprint_job_predicted_emissions_co2e_grams",
        kind: Kind::Gauge,
        unit: "grams",
        help: "All that the job will have emitted, the rest by the intensity forecast or, without one, in force",
        labels: BY_QUANTILE,
        otel: ("jouleprint.job.predicted.emissions.co2e", "g"),
        collect: |snapshot, sink| {
            predicted(snapshot, sink, |prediction| {
                prediction.emissions.map(|grams| Number::Nano(grams.as_nano()))
            });
        },
    },
];

fn predicted(snapshot: &Snapshot, sink: &mut dyn Sink, numbers: fn(&Prediction) -> [Number; 3]) {
    let predicted = |job: &JobTotals| snapshot.predictions.get(&job.job.number).copied();
    for job in &snapshot.totals.jobs {
        let Some(prediction) = predicted(job) else { continue };
        for (quantile, number) in QUANTILES.iter().zip(numbers(&prediction)) {
            sink.sample(&[host(snapshot), job.job.id.kind().as_str(), job.job.id.id(), quantile], number);
        }
    }
}
