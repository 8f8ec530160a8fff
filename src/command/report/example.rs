//! A past for the tests: two hosts, one of which moved to another zone, with jobs that come and go. Sums by
//! account, sums by user and job records are added up from the same charges, so they must agree.

use crate::model::checkpoint::Group;
use crate::model::history::{History, JobRecord, Span, Sum};
use crate::model::identity::{HwType, JobId, JobKind, Name, Origin, Residual};
use crate::model::quantity::{CpuTime, Emissions, Energy, Nanos};
use crate::model::snapshot::Column;

/// 2026-11-18T10:26:40Z, when the last commit was.
pub(crate) const NOW: Nanos = Nanos::from_seconds(1_794_997_600);

/// A GPU.
pub(crate) const GPU: &str = "GPU-5d3f";

/// 2026-11-18T00:00:00Z.
const TODAY: u64 = 1_794_960_000;

/// The spans: everything before a day, two days, three hours of today.
pub(crate) fn spans() -> [Span; 6] {
    let span = |start, end| Span { start: Nanos::from_seconds(start), end: Nanos::from_seconds(end) };
    let (day, hour) = (86_400, 3_600);
    [
        span(0, TODAY - 2 * day),
        span(TODAY - 2 * day, TODAY - day),
        span(TODAY - day, TODAY),
        span(TODAY + 8 * hour, TODAY + 9 * hour),
        span(TODAY + 9 * hour, TODAY + 10 * hour),
        span(TODAY + 10 * hour, TODAY + 11 * hour),
    ]
}

/// The columns.
pub(crate) fn columns() -> [Column; 3] {
    let column =
        |hw_type, gpu: &str, origin| Column { hw_type, gpu: gpu.into(), gpu_instance: "".into(), origin };
    [
        column(HwType::Cpu, "", Origin::Measured),
        column(HwType::Gpu, GPU, Origin::Measured),
        column(HwType::Memory, "", Origin::Estimated),
    ]
}

/// A job of the example.
struct Job {
    host: &'static str,
    id: Option<(JobKind, &'static str)>,
    count: u64,
    user: Option<u32>,
    /// First and last of the spans.
    life: [usize; 2],
}

/// What is awkward about names is in one of them.
pub(crate) const AWKWARD: &str = "näme, \"quoted\"\n";

const POD: &str = "5c1a8a0e-1c5e-4a5c-9d0e-8f6f5b7f2d11";

fn jobs() -> Vec<Job> {
    let job = |host, id, user, life| Job { host, id: Some(id), count: 1, user, life };
    vec![
        job("n1", (JobKind::Pod, POD), Some(1000), [2, 4]),
        job("n1", (JobKind::Unit, "ssh.service"), None, [1, 5]),
        job("n2", (JobKind::Custom, AWKWARD), Some(0), [1, 3]),
        job("n2", (JobKind::Unit, "ssh.service"), None, [4, 5]),
        Job { host: "n1", id: None, count: 7, user: None, life: [0, 0] },
    ]
}

/// One charge: who is a job by its place, or a residual account.
struct Charge {
    span: usize,
    host: &'static str,
    who: Result<usize, Residual>,
    column: Column,
    energy: Energy,
    emissions: Emissions,
}

fn zone(host: &str, span: usize) -> Name {
    if host == "n2" && span >= 2 { "DE".into() } else { "FR".into() }
}

fn charges() -> Vec<Charge> {
    let jobs = jobs();
    let mut charges = Vec::new();
    for span in 0..spans().len() {
        for host in ["n1", "n2"] {
            let lives = |job: &Job| job.host == host && (job.life[0]..=job.life[1]).contains(&span);
            let living = (0..jobs.len()).filter(|at| lives(&jobs[*at])).map(Ok);
            for who in living.chain([Residual::System, Residual::Idle].map(Err)) {
                for column in columns() {
                    // Figures without a pattern, of a size that shows every rounding.
                    let number = charges.len() as u64;
                    let energy = 1_000_000_007 * (number + 3) % 98_765_432_109_877;
                    let emissions = 1_000_003 * (number + 7) % 9_876_543_211;
                    charges.push(Charge {
                        span,
                        host,
                        who,
                        column,
                        energy: Energy::from_micro(energy),
                        emissions: Emissions::from_nano(emissions),
                    });
                }
            }
        }
    }
    charges
}

/// The history that a store would tell.
pub(crate) fn history() -> History {
    let jobs = jobs();
    let mut records: Vec<JobRecord> = jobs.iter().map(record).collect();
    let mut sums: Vec<Sum> = Vec::new();
    for charge in charges() {
        let job = charge.who.ok().map(|at| &jobs[at]);
        let account = match charge.who {
            Ok(at) => jobs[at].id.map_or("unit", |(kind, _)| kind.as_str()),
            Err(residual) => residual.as_str(),
        };
        let user = job.and_then(|job| job.user).map(|user| user.to_string()).unwrap_or_default();
        let zone = zone(charge.host, charge.span);
        for (kind, name) in [("user", user.as_str()), ("account", account)] {
            sums.push(Sum {
                span: spans()[charge.span],
                host: charge.host.into(),
                zone: Name::clone(&zone),
                group: Group { kind: kind.into(), name: name.into() },
                column: charge.column.clone(),
                energy: charge.energy,
                emissions: charge.emissions,
            });
        }
        if let Ok(at) = charge.who {
            records[at].energy.push((charge.column.clone(), charge.energy));
            records[at].emissions.push((zone, charge.column, charge.emissions));
        }
    }
    History { until: NOW, sums, jobs: records, damaged: Vec::new() }
}

fn record(job: &Job) -> JobRecord {
    let [first, last] = job.life.map(|at| spans()[at]);
    JobRecord {
        host: job.host.into(),
        id: job.id.map(|(kind, id)| JobId::new(kind, id)),
        count: job.count,
        user: job.user,
        cgroup: "/".into(),
        // Of the time before the first day only its last day is known.
        first_seen: first.start.max(first.end.saturating_sub(Nanos::from_seconds(86_400)))
            + Nanos::from_seconds(60),
        last_seen: NOW.min(last.end.saturating_sub(Nanos::new(1))),
        is_live: last.end > NOW,
        description: std::sync::Arc::default(),
        phases: Vec::new(),
        cpu: CpuTime::new(1_500_000_000 * (1 + job.life[1] as u64)),
        energy: Vec::new(),
        emissions: Vec::new(),
    }
}

/// All charges together, of one origin: µJ and ng.
pub(crate) fn everything(origin: Origin) -> (u128, u128) {
    charges().iter().filter(|charge| charge.column.origin == origin).fold((0, 0), |sum, charge| {
        (sum.0 + u128::from(charge.energy.as_micro()), sum.1 + u128::from(charge.emissions.as_nano()))
    })
}
