//! What it costs to keep what was counted: CPU and bytes of a commit beside floors of the same run, and a
//! restart. `cargo bench --bench store`. Ratios and shares of a tick are asserted, times are only printed.

use jouleprint::model::checkpoint::{
    Checkpoint, DomainPosition, Group, GroupPosition, Slot, SlotRow, UsagePosition,
};
use jouleprint::model::identity::{HwType, JobId, JobKind, Name, Origin, Residual};
use jouleprint::model::quantity::{CpuTime, Emissions, Energy, MicroWatts, Nanos};
use jouleprint::model::reading::{Domain, Hierarchy, Machine, Measurement, Place};
use jouleprint::model::snapshot::{Column, DomainTotals, JobIdentity, JobTotals, Table, Totals};
use jouleprint::model::time::Moment;
use jouleprint::store::lock::{Holder, Lock};
use jouleprint::store::{Identity, Store, read};
use rustix::time::{ClockId, clock_gettime};
use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

/// Values a job has: two energies, two emissions, its CPU time.
const VALUES: usize = 5;

/// A commit of 5,000 changed values may take this many times the CPU of one that changes a single row.
/// Beside a plain file that the same values are appended to it is only printed: that keeps nothing in place.
const COMMIT_BOUND: f64 = 300.0;

/// What a commit may take of one core, in ms: a target on the machine of the day, not a bound.
const COMMIT_TARGET: f64 = 2.0;

/// The log may take this many times the bytes that changed.
const BYTES_BOUND: f64 = 4.0;

/// A restart of 10,000 series may take this many times the CPU of a commit of them.
const RESTART_BOUND: f64 = 100.0;

const ROUNDS: usize = 200;
const TICKS_PER_DAY: f64 = 17_280.0;

fn main() -> ExitCode {
    let mut broken = Vec::new();
    match run(&mut broken) {
        Ok(()) if broken.is_empty() => ExitCode::SUCCESS,
        Ok(()) => {
            broken.iter().for_each(|line| eprintln!("store: {line}"));
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("store: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(broken: &mut Vec<String>) -> Result<(), Box<dyn Error>> {
    let mut bound = |what: &str, ratio: f64, bound: f64| {
        if ratio > bound {
            broken.push(format!("{what}: {ratio:.2} is above {bound:.2}"));
        }
        format!("{ratio:.1} (≤ {bound})")
    };
    println!("| what | ours | beside | ratio |\n|---|---|---|---|");

    let whole = Commits::measure(1_000)?;
    println!(
        "| CPU of a commit, {} values of 1,000 jobs, and all else | {:.3} ms (p95 {:.3}) | an empty one {:.4} ms | {} |",
        1_000 * VALUES,
        whole.ours.median,
        whole.ours.p95,
        whole.empty.median,
        bound("a commit against an empty one", whole.ours.median / whole.empty.median, COMMIT_BOUND),
    );
    println!(
        "| | | the same values appended to a plain file {:.4} ms | {:.1} |",
        whole.plain.median,
        whole.ours.median / whole.plain.median
    );
    let verdict = if whole.ours.median <= COMMIT_TARGET { "holds" } else { "does not hold" };
    println!("| at most {COMMIT_TARGET} ms: {verdict} | | | |");
    let node = Commits::measure(250)?;
    let changed = node.changed as f64;
    println!(
        "| log of a commit, 250 jobs, all of them busy | {:.1} kB | what changed: {:.1} kB | {} |",
        node.log_bytes / 1e3,
        changed / 1e3,
        bound("bytes", node.log_bytes / changed, BYTES_BOUND),
    );
    println!("| the same a day | {:.0} MB | | |", node.log_bytes * TICKS_PER_DAY / 1e6);

    let restart = Restart::measure(2_000)?;
    println!(
        "| restart with {} series, CPU | {:.1} ms | a commit of them {:.3} ms | {} |",
        2_000 * VALUES,
        restart.cpu,
        restart.commit,
        bound("restart", restart.cpu / restart.commit, RESTART_BOUND),
    );
    println!("| the same, with the waits for the disk | {:.1} ms | | |", restart.wall);
    println!("| reading its history | {:.1} ms | | |", restart.read);
    Ok(())
}

/// CPU of this thread, in ms.
fn cpu() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as f64 * 1e3 + now.tv_nsec as f64 / 1e6
}

struct Times {
    median: f64,
    p95: f64,
}

fn times(mut step: impl FnMut() -> Result<(), Box<dyn Error>>) -> Result<Times, Box<dyn Error>> {
    let mut took = Vec::new();
    for _ in 0..ROUNDS {
        let start = cpu();
        step()?;
        took.push(cpu() - start);
    }
    took.sort_by(f64::total_cmp);
    Ok(Times { median: took[ROUNDS / 2], p95: took[ROUNDS * 95 / 100] })
}

struct Commits {
    ours: Times,
    empty: Times,
    plain: Times,
    log_bytes: f64,
    /// Bytes of values that differ from commit to commit.
    changed: usize,
}

impl Commits {
    fn measure(jobs: usize) -> Result<Commits, Box<dyn Error>> {
        let folder = tempfile::tempdir()?;
        let mut state = state(jobs);
        let mut store = open(folder.path(), &state.at)?;
        for _ in 0..5 {
            advance(&mut state);
            store.commit(&state)?;
        }
        let before = store.size().bytes;
        let mut ours = Vec::new();
        for _ in 0..ROUNDS {
            advance(&mut state);
            let start = cpu();
            store.commit(&state)?;
            ours.push(cpu() - start);
        }
        ours.sort_by(f64::total_cmp);
        let ours = Times { median: ours[ROUNDS / 2], p95: ours[ROUNDS * 95 / 100] };
        let log_bytes = (store.size().bytes - before) as f64 / ROUNDS as f64;
        let mut file = File::create(folder.path().join("plain"))?;
        let values = vec![7_u8; jobs * VALUES * 8];
        Ok(Commits {
            ours,
            empty: empty(folder.path())?,
            plain: times(|| Ok(file.write_all(&values)?))?,
            log_bytes,
            changed: jobs * (VALUES + 2) * 8,
        })
    }
}

/// One row in a transaction of its own: the least that SQLite asks for.
fn empty(folder: &Path) -> Result<Times, Box<dyn Error>> {
    let sql = rusqlite::Connection::open(folder.join("empty.db"))?;
    sql.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 0;
         CREATE TABLE live(id INTEGER PRIMARY KEY, value INTEGER)",
    )?;
    let mut value = 0;
    times(|| {
        value += 1;
        let change = sql.unchecked_transaction()?;
        change.prepare_cached("REPLACE INTO live(id, value) VALUES (1, ?1)")?.execute([value])?;
        Ok(change.commit()?)
    })
}

struct Restart {
    cpu: f64,
    wall: f64,
    commit: f64,
    read: f64,
}

impl Restart {
    fn measure(jobs: usize) -> Result<Restart, Box<dyn Error>> {
        let folder = tempfile::tempdir()?;
        let mut state = state(jobs);
        let mut store = open(folder.path(), &state.at)?;
        let mut commit = 0.0;
        for _ in 0..50 {
            advance(&mut state);
            let start = cpu();
            let committed = store.commit(&state)?;
            commit = cpu() - start;
            store.witness().set(committed.generation)?;
        }
        drop(store);
        let (start, began) = (cpu(), Instant::now());
        let lock = lock(folder.path())?;
        let (_store, restored) = Store::open(lock, Some(&folder.path().join("run")), &identity(), &state.at)?;
        let (cpu, wall) = (cpu() - start, began.elapsed().as_secs_f64() * 1e3);
        let found = restored.checkpoint.ok_or("not continued")?;
        assert_eq!(found.totals.jobs.len(), jobs, "all of them");
        let began = Instant::now();
        assert_eq!(read(folder.path())?.jobs.len(), jobs, "all of them");
        Ok(Restart { cpu, wall, commit, read: began.elapsed().as_secs_f64() * 1e3 })
    }
}

fn identity() -> Identity {
    Identity { boot: "boot".into(), machine: "machine".into(), host: "node".into() }
}

fn lock(folder: &Path) -> Result<Lock, Box<dyn Error>> {
    Ok(Lock::take(folder, &Holder { pid: std::process::id(), boot: "boot".into(), host: "node".into() })?)
}

fn open(folder: &Path, at: &Moment) -> Result<Store, Box<dyn Error>> {
    Ok(Store::open(lock(folder)?, Some(&folder.join("run")), &identity(), at)?.0)
}

/// A node: two columns, one zone, four meters, a control group for each job, one group in five jobs.
fn state(jobs: usize) -> Checkpoint {
    let at = Moment {
        monotonic: Nanos::from_seconds(3_600),
        boottime: Nanos::from_seconds(3_600),
        wall: Nanos::from_seconds(1_750_000_000),
    };
    let column =
        |hw_type| Column { hw_type, gpu: "".into(), gpu_instance: "".into(), origin: Origin::Measured };
    let columns: Vec<Column> = [HwType::Cpu, HwType::Memory].map(column).into();
    let domains: Vec<Domain> = (0..4).map(domain).collect();
    let groups = (0..jobs).map(|job| GroupPosition {
        hierarchy: Hierarchy::Primary,
        path: path(job),
        inode: job as u64,
        usage: CpuTime::ZERO,
        per_socket: None,
        carry: 0,
    });
    let identities = (0..jobs).map(|job| JobTotals {
        held: Vec::new(),
        speech: None,
        job: Arc::new(JobIdentity {
            number: job as u64 + 17,
            id: JobId::new(JobKind::Pod, &format!("0f0a1e5c-{job:04}-4cbe-9a53-1a3d6b0c7e11")),
            user: None,
            started: at,
            cgroup: path(job),
        }),
        cpu: CpuTime::ZERO,
        ended: None,
        description: Arc::default(),
        power: MicroWatts::ZERO,
    });
    let rows = (0..1 + jobs / 5).map(|group| SlotRow {
        group: Group { kind: "user".into(), name: format!("user-{group}").into() },
        energy: vec![Energy::ZERO; columns.len()],
        emissions: vec![Emissions::ZERO; columns.len()],
    });
    let table = |rows: usize| Table {
        energy: vec![Energy::ZERO; rows * columns.len()],
        emissions: vec![Emissions::ZERO; rows * columns.len()],
    };
    let totals = Totals {
        started: at.wall,
        zones: vec!["FR".into()],
        domains: vec![DomainTotals::default(); domains.len()],
        host: table(1),
        jobs: identities.collect(),
        job_table: table(jobs),
        residual_table: table(Residual::ALL.len()),
        retired_table: table(1),
        columns: columns.clone().into(),
        ..Totals::default()
    };
    Checkpoint {
        at,
        present: domains.len(),
        domains: vec![DomainPosition::default(); domains.len()],
        machine: Arc::new(Machine {
            host: "node".into(),
            cpu_model: "Xeon".into(),
            kernel: "6.1".into(),
            domains,
        }),
        totals: Arc::new(totals),
        remainders: vec![0; columns.len()],
        usage: UsagePosition {
            processors: (0..64).map(|cpu| (cpu, 0)).collect(),
            view: "v2".into(),
            is_complete: true,
            groups: groups.collect(),
            ..UsagePosition::default()
        },
        groups: Default::default(),
        restated: Default::default(),
        slots: vec![Slot { number: 16, hour: 486_111, factors: vec![None], rows: rows.collect() }],
        next_number: jobs as u64 + 17,
    }
}

fn path(job: usize) -> Name {
    format!(
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0f0a1e5c_{job:04}_4cbe_9a53.slice"
    )
    .into()
}

fn domain(index: usize) -> Domain {
    Domain {
        id: format!("intel-rapl:{index}").into(),
        hw_type: HwType::Cpu,
        origin: Origin::Measured,
        gpu: "".into(),
        source: "rapl".into(),
        place: Place::Counted,
        socket: None,
        measurement: Measurement::Counter { range: None, ceiling: MicroWatts::from_watts(500) },
        floor: None,
        uncertainty_ppm: 0,
    }
}

/// Five seconds in which everything that can change does.
fn advance(state: &mut Checkpoint) {
    let since = Nanos::from_seconds(5);
    let at = state.at;
    state.at =
        Moment { monotonic: at.monotonic + since, boottime: at.boottime + since, wall: at.wall + since };
    let (joule, gram) = (Energy::from_micro(1_234_567), Emissions::from_nano(76_543));
    let totals = Arc::make_mut(&mut state.totals);
    for table in [&mut totals.host, &mut totals.job_table, &mut totals.residual_table] {
        table.energy.iter_mut().for_each(|energy| *energy += joule);
        table.emissions.iter_mut().for_each(|emissions| *emissions += gram);
    }
    totals.jobs.iter_mut().for_each(|job| job.cpu += Nanos::new(987_654_321));
    totals.domains.iter_mut().for_each(|domain| domain.energy += joule);
    for position in &mut state.domains {
        let (_, before) = position.last.unwrap_or_default();
        position.last = Some((state.at, before + joule));
    }
    state.usage.groups.iter_mut().for_each(|group| group.usage += Nanos::new(987_654_321));
    state.usage.processors.iter_mut().for_each(|(_, ticks)| *ticks += 500);
    for row in state.slots.iter_mut().flat_map(|slot| &mut slot.rows) {
        row.energy.iter_mut().for_each(|energy| *energy += joule);
        row.emissions.iter_mut().for_each(|emissions| *emissions += gram);
    }
}
