//! Accelerators: what they are, and who holds them. Their energy stands with everybody's.

use super::{Family, Kind, Number, host};
use crate::model::gpu::{Method, Partition, Sight};
use crate::model::snapshot::Snapshot;

/// In the order of the page.
pub(super) const FAMILIES: &[Family] = &[
    Family {
        name: "jouleprint_gpu",
        kind: Kind::Info,
        unit: "",
        help: "An accelerator as it was last seen, and how its energy was divided in the last tick: none (nobody holds it), exclusive, utilization, slice_activity, slices, equal",
        labels: &[
            "host",
            "gpu",
            "hw_vendor",
            "hw_model",
            "hw_driver_version",
            "pci_address",
            "gpu_index",
            "method",
        ],
        otel: ("jouleprint.gpu.info", ""),
        collect: |snapshot, sink| {
            for sight in &snapshot.gpus {
                let index = sight.index.map(|index| index.to_string()).unwrap_or_default();
                let labels = [
                    host(snapshot),
                    &*sight.gpu,
                    sight.vendor.as_str(),
                    &sight.model,
                    &sight.driver,
                    &sight.pci,
                    &index,
                    method(snapshot, sight).as_str(),
                ];
                sink.sample(&labels, Number::Whole(1));
            }
        },
    },
    Family {
        name: "jouleprint_gpu_instance",
        kind: Kind::Info,
        unit: "",
        help: "A part of an accelerator that is given away like a whole one (MIG)",
        labels: &["host", "gpu", "gpu_instance", "profile", "gpu_instance_id", "compute_instance_id"],
        otel: ("jouleprint.gpu_instance.info", ""),
        collect: |snapshot, sink| {
            for sight in &snapshot.gpus {
                let Partition::Instances { instances, .. } = &sight.partition else { continue };
                for instance in instances {
                    let ids = [instance.gpu_instance, instance.compute_instance].map(|id| id.to_string());
                    let labels =
                        [host(snapshot), &*sight.gpu, &instance.uuid, &instance.profile, &ids[0], &ids[1]];
                    sink.sample(&labels, Number::Whole(1));
                }
            }
        },
    },
    Family {
        name: "jouleprint_job_gpu_allocated_ratio",
        kind: Kind::Gauge,
        unit: "ratio",
        help: "How much of an accelerator a job was given by those who run it; its energy there tells what it made of that",
        labels: &["host", "job_kind", "job_id", "gpu", "gpu_instance"],
        otel: ("jouleprint.job.gpu.allocated", "1"),
        collect: |snapshot, sink| {
            for job in snapshot.totals.jobs.iter().filter(|job| job.ended.is_none()) {
                let id = &job.job.id;
                for (column, share) in &job.held {
                    let column = &snapshot.totals.columns[*column as usize];
                    let labels =
                        [host(snapshot), id.kind().as_str(), id.id(), &column.gpu, &column.gpu_instance];
                    sink.sample(&labels, Number::Micro(u64::from(*share)));
                }
            }
        },
    },
];

fn method(snapshot: &Snapshot, sight: &Sight) -> Method {
    let found = snapshot.totals.gpus.iter().find(|(gpu, _)| *gpu == sight.gpu);
    found.map(|(_, method)| *method).unwrap_or_default()
}
