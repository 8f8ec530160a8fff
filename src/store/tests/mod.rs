//! The store against a model: a small engine that charges at random and remembers what it charged.

mod damage;
mod folding;
mod reading;
mod restoring;
mod rounds;

use super::lock::tests::take_free;
use super::lock::{Holder, Lock};
use super::{Identity, OpenError, Restored, Store, read};
use crate::model::checkpoint::{
    Checkpoint, Claim, ClaimAccount, DomainPosition, Group, GroupPosition, RestatedPosition, RestatedSpan,
    Slot, SlotRow, UsagePosition,
};
use crate::model::grid::{Basis, Step};
use crate::model::groups::{GroupKindPosition, GroupState, GroupsPosition, Membership, Standing};
use crate::model::history::History;
use crate::model::identity::{HwType, JobId, JobKind, Name, Origin, Residual};
use crate::model::quantity::{CpuTime, Emissions, Energy, Intensity, MicroWatts, Nanos, Pue};
use crate::model::reading::{Domain, Factor, Fault, FloorMethod, Hierarchy, Machine, Measurement, Place};
use crate::model::snapshot::{Column, DomainTotals, JobIdentity, JobTotals, Quarantine, Table, Totals};
use crate::model::time::Moment;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

/// 2025-06-01T00:00:00Z, and the boot ten hours before it.
const START: u64 = 1_748_736_000;
const UPTIME: u64 = 36_000;

/// splitmix64.
#[derive(Debug, Clone)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("below a usize")
    }

    fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

/// Hour, group, zone, column: what was charged.
type Charged = BTreeMap<(u64, Group, Name, Column), (u64, u64)>;

/// A job's number: what was charged to it, by column and by zone and column.
type ByJob = BTreeMap<u64, (BTreeMap<Column, u64>, BTreeMap<(Name, Column), u64>)>;

/// The engine's part.
#[derive(Debug, Clone)]
struct Sim {
    random: Random,
    names: Vec<Name>,
    state: Checkpoint,
    slot_hour: Option<u64>,
    charged: Charged,
    by_job: ByJob,
    // As of the last commit that had the job: what a record can know.
    recorded: ByJob,
}

impl Sim {
    fn new(seed: u64, names: &[&str]) -> Sim {
        let mut random = Random(seed);
        let names: Vec<Name> = names.iter().map(|name| Name::from(*name)).collect();
        let columns = [
            (HwType::Cpu, "", "", Origin::Measured),
            (HwType::Gpu, "GPU-\"1\"", "MIG-1", Origin::Measured),
            (HwType::Gpu, "GPU-\"1\"", "", Origin::Measured),
            (HwType::Memory, "", "", Origin::Estimated),
        ];
        let columns: Vec<Column> = columns
            .iter()
            .take(1 + random.below(4))
            .map(|(hw_type, gpu, gpu_instance, origin)| Column {
                hw_type: *hw_type,
                gpu: (*gpu).into(),
                gpu_instance: (*gpu_instance).into(),
                origin: *origin,
            })
            .collect();
        let domains = (0..1 + random.below(4)).map(|index| domain(index, &mut random)).collect();
        let machine = Machine {
            host: "node-1".into(),
            cpu_model: "Xeon | \"x\"".into(),
            kernel: "6.1".into(),
            domains,
        };
        let present = machine.domains.len();
        let zeros =
            |rows: usize| Table { energy: vec![Energy::ZERO; rows * columns.len()], emissions: Vec::new() };
        let totals = Totals {
            started: Nanos::from_seconds(START),
            columns: columns.clone().into(),
            domains: vec![DomainTotals::default(); present],
            host: zeros(1),
            residual_table: zeros(Residual::ALL.len()),
            retired_table: zeros(1),
            ..Totals::default()
        };
        let state = Checkpoint {
            at: moment(START),
            machine: Arc::new(machine),
            present,
            totals: Arc::new(totals),
            remainders: vec![0; columns.len()],
            domains: vec![DomainPosition::default(); present],
            usage: UsagePosition::default(),
            groups: GroupsPosition::default(),
            restated: RestatedPosition::default(),
            slots: Vec::new(),
            next_number: 16,
        };
        Sim {
            random,
            names,
            state,
            slot_hour: None,
            charged: Charged::new(),
            by_job: ByJob::new(),
            recorded: ByJob::new(),
        }
    }

    fn name(&mut self) -> Name {
        let at = self.random.below(self.names.len());
        self.names[at].clone()
    }

    fn take_number(&mut self) -> u64 {
        self.state.next_number += 1;
        self.state.next_number - 1
    }

    fn totals(&mut self) -> &mut Totals {
        Arc::make_mut(&mut self.state.totals)
    }

    /// A tick `seconds` after the last.
    fn tick(&mut self, seconds: u64) {
        let since = Nanos::from_seconds(seconds);
        let at = &mut self.state.at;
        *at =
            Moment { monotonic: at.monotonic + since, boottime: at.boottime + since, wall: at.wall + since };
        if self.state.totals.zones.is_empty() || self.state.totals.zones.len() < 3 && self.random.one_in(20) {
            self.enter_zone();
        }
        self.open_slot();
        if self.state.totals.jobs.len() < 12 && self.random.one_in(3) {
            self.open_job();
        }
        if !self.state.totals.jobs.is_empty() && self.random.one_in(8) {
            self.end_or_retire_job();
        }
        for _ in 0..self.random.below(8) {
            self.charge();
        }
        self.move_positions();
        self.totals().live_jobs = u32::try_from(self.state.totals.jobs.len()).expect("few");
    }

    fn enter_zone(&mut self) {
        let zone: Name = format!("Zö'{}", self.state.totals.zones.len()).into();
        let totals = self.totals();
        totals.zones.push(zone);
        let columns = totals.columns.len();
        let zones = totals.zones.len();
        for table in
            [&mut totals.host, &mut totals.job_table, &mut totals.residual_table, &mut totals.retired_table]
        {
            // The new zone's block comes last in every row.
            let old = (zones - 1) * columns;
            let rows = table.energy.len() / columns;
            let mut emissions = Vec::new();
            for row in 0..rows {
                emissions.extend_from_slice(&table.emissions[row * old..(row + 1) * old]);
                emissions.resize((row + 1) * zones * columns, Emissions::ZERO);
            }
            table.emissions = emissions;
        }
        for slot in &mut self.state.slots {
            slot.factors.push(None);
            for row in &mut slot.rows {
                row.energy.resize(zones * columns, Energy::ZERO);
                row.emissions.resize(zones * columns, Emissions::ZERO);
            }
        }
    }

    fn open_slot(&mut self) {
        let hour = self.state.at.wall.get() / 3_600_000_000_000;
        if self.slot_hour != Some(hour) {
            self.slot_hour = Some(hour);
            let number = self.take_number();
            let zones = self.state.totals.zones.len();
            self.state.slots.push(Slot { number, hour, factors: vec![None; zones], rows: Vec::new() });
        }
        let factor = Factor {
            zone: self.state.totals.zones[0].clone(),
            intensity: Intensity::from_milligrams(473_010).expect("plausible"),
            pue: Pue::ONE,
            basis: "lifecycle".into(),
            accounting: "production".into(),
            quality: "static".into(),
            source: "table".into(),
            year: "2024".into(),
            fallback: Step::Wanted,
        };
        let slot = self.state.slots.last_mut().expect("just opened");
        slot.factors[0] = Some(Arc::new(factor));
        self.restate(hour * 12);
    }

    fn restate(&mut self, grain: u64) {
        let wide = |random: &mut Random| u128::from(random.next()) << random.below(64);
        let random = &mut self.random;
        let restated = Intensity::from_milligrams(473_010).filter(|_| random.one_in(2));
        let (weighed, charged) = (wide(random), wide(random));
        let told = random.next().cast_signed();
        let position = &mut self.state.restated;
        position.spans.retain(|span| span.grain != grain && !random.one_in(20));
        position.spans.push(RestatedSpan {
            grain,
            zone: 0,
            weighed,
            charged,
            basis: random.one_in(2).then_some(Basis::Direct),
            restated,
            told,
        });
        position.settled = vec![told / 2];
    }

    fn open_job(&mut self) {
        let number = self.take_number();
        let kind = JobKind::ALL[self.random.below(JobKind::ALL.len())];
        let id = format!("{}-{number}", self.name());
        let job = JobIdentity {
            number,
            id: JobId::new(kind, &id),
            user: self.random.one_in(2).then_some(1000),
            started: self.state.at,
            cgroup: format!("/{}", self.name()).into(),
        };
        let group = GroupPosition {
            hierarchy: if self.random.one_in(2) { Hierarchy::Primary } else { Hierarchy::Supplement },
            path: job.cgroup.clone(),
            inode: self.random.next(),
            usage: CpuTime::ZERO,
            per_socket: self.random.one_in(2).then(|| vec![CpuTime::ZERO; 2].into()),
            carry: 0,
        };
        self.state.usage.groups.push(group);
        let totals = self.totals();
        totals.jobs.push(JobTotals {
            job: Arc::new(job),
            cpu: CpuTime::ZERO,
            ended: None,
            description: Arc::default(),
            power: MicroWatts::ZERO,
            held: Vec::new(),
            speech: None,
        });
        let (columns, zones, rows) = (totals.columns.len(), totals.zones.len(), totals.jobs.len());
        totals.job_table.energy.resize(rows * columns, Energy::ZERO);
        totals.job_table.emissions.resize(rows * columns * zones, Emissions::ZERO);
    }

    fn end_or_retire_job(&mut self) {
        let row = self.random.below(self.state.totals.jobs.len());
        let now = self.state.at.monotonic;
        let last_group = self.state.usage.groups.len();
        if last_group > 0 && self.random.one_in(2) {
            let gone = self.random.below(last_group);
            self.state.usage.groups.swap_remove(gone);
        }
        let totals = self.totals();
        if totals.jobs[row].ended.is_none() {
            totals.jobs[row].ended = Some(now);
            return;
        }
        totals.jobs.remove(row);
        let (columns, zones) = (totals.columns.len(), totals.zones.len());
        let cells = columns * zones;
        let energy: Vec<Energy> = totals.job_table.energy.drain(row * columns..(row + 1) * columns).collect();
        let emissions: Vec<Emissions> =
            totals.job_table.emissions.drain(row * cells..(row + 1) * cells).collect();
        totals.retired_table.energy.iter_mut().zip(energy).for_each(|(sum, more)| *sum += more);
        totals.retired_table.emissions.iter_mut().zip(emissions).for_each(|(sum, more)| *sum += more);
    }

    fn charge(&mut self) {
        let (columns, zones) = (self.state.totals.columns.len(), self.state.totals.zones.len());
        let (column, zone) = (self.random.below(columns), self.random.below(zones));
        let (energy, emissions) = (self.random.next() >> 40, self.random.next() >> 44);
        let jobs = self.state.totals.jobs.len();
        let account = self.random.below(jobs + Residual::ALL.len());
        let groups = [("user", self.name()), ("account", "".into())];
        let cell = zone * columns + column;
        let totals = self.totals();
        let book = |table: &mut Table, row: usize| {
            table.energy[row * columns + column] += Energy::from_micro(energy);
            table.emissions[row * columns * zones + cell] += Emissions::from_nano(emissions);
        };
        book(&mut totals.host, 0);
        let names = (totals.zones[zone].clone(), totals.columns[column].clone());
        if account < jobs {
            book(&mut totals.job_table, account);
            totals.jobs[account].cpu += Nanos::new(energy);
            let number = totals.jobs[account].job.number;
            let sums = self.by_job.entry(number).or_default();
            *sums.0.entry(names.1.clone()).or_default() += energy;
            *sums.1.entry(names.clone()).or_default() += emissions;
        } else {
            book(&mut totals.residual_table, account - jobs);
        }
        let slot = self.state.slots.last_mut().expect("a tick opens one");
        for (kind, name) in groups {
            let group = Group { kind: kind.into(), name };
            let row = slot.rows.iter().position(|row| row.group == group).unwrap_or_else(|| {
                let energy = vec![Energy::ZERO; columns * zones];
                let emissions = vec![Emissions::ZERO; columns * zones];
                slot.rows.push(SlotRow { group: group.clone(), energy, emissions });
                slot.rows.len() - 1
            });
            slot.rows[row].energy[cell] += Energy::from_micro(energy);
            slot.rows[row].emissions[cell] += Emissions::from_nano(emissions);
            let sum = self.charged.entry((slot.hour, group, names.0.clone(), names.1.clone())).or_default();
            *sum = (sum.0 + energy, sum.1 + emissions);
        }
    }

    fn move_positions(&mut self) {
        self.regroup();
        let at = self.state.at;
        let random = &mut self.random;
        for position in &mut self.state.domains {
            position.last = Some((at, Energy::from_micro(random.next() >> 16)));
            position.doubted = random.one_in(4).then_some((at, Energy::from_micro(7)));
            position.remainder = random.next() >> 36;
            let account = if random.one_in(2) {
                ClaimAccount::Job(17)
            } else {
                ClaimAccount::Residual(Residual::System)
            };
            position.waiting =
                vec![
                    Claim { account, weight: random.next(), part: ["", "MIG-1"][random.below(2)].into() };
                    random.below(3)
                ];
            if random.one_in(3) {
                position.floor =
                    (0..64).map(|_| (random.next() >> 50, u128::from(random.next()) << 40)).collect();
            }
        }
        for group in &mut self.state.usage.groups {
            group.usage += Nanos::new(random.next() >> 40);
            group.carry = -i64::from(random.one_in(2));
        }
        self.state.usage.processors = (0..4).map(|cpu| (cpu, random.next() >> 30)).collect();
        self.state.usage.deficit = -5;
        self.state.usage.view = "rules of \"today\"".into();
        self.state.usage.is_complete = random.one_in(2);
        let remainder = random.next() >> 30;
        self.state.remainders.fill(remainder);
        let totals = Arc::make_mut(&mut self.state.totals);
        for domain in &mut totals.domains {
            domain.energy += Energy::from_micro(5);
            domain.power = Some(MicroWatts::new(7));
            domain.floor = Some((FloorMethod::Learnt, MicroWatts::new(3)));
            domain.quarantined =
                vec![Quarantine { reason: Fault::Implausible, energy: Energy::from_micro(9), readings: 1 }];
        }
    }

    /// Groups of jobs: what they show moves, some come, some kinds go.
    fn regroup(&mut self) {
        // Dice of their own: what else happens in a run does not depend on groups.
        let random = &mut Random(self.state.at.monotonic.get());
        let totals = &self.state.totals;
        let (columns, cells) = (totals.columns.len(), totals.columns.len() * totals.zones.len());
        let groups = &mut self.state.groups;
        groups.clock += Nanos::new(5);
        if groups.kinds.len() < 3 && random.one_in(5) {
            let kind = format!("kind \"{}\"", groups.kinds.len()).as_str().into();
            groups.kinds.push(GroupKindPosition {
                kind,
                since: groups.clock,
                ..GroupKindPosition::default()
            });
        }
        for kind in &mut groups.kinds {
            kind.is_shown = random.one_in(2);
            if kind.groups.is_empty() || kind.groups.len() < 6 && random.one_in(4) {
                kind.groups.push(Arc::new(GroupState {
                    name: format!("group-{}", kind.groups.len()).as_str().into(),
                    started: Nanos::new(random.next()),
                    opens: (0..columns)
                        .map(|_| random.one_in(2).then(|| Nanos::new(random.next())))
                        .collect(),
                    paid_by: Nanos::new(random.next()),
                }));
            }
            let place = random.below(kind.groups.len());
            Arc::make_mut(&mut kind.groups[place]).paid_by += Nanos::new(1);
            let rows = kind.groups.len();
            let owes = random.one_in(2);
            let mut table = |is_empty: bool| {
                let mut number = || if is_empty { 0 } else { random.next() >> 20 };
                Table {
                    energy: (0..rows * columns).map(|_| Energy::from_micro(number())).collect(),
                    emissions: (0..rows * cells).map(|_| Emissions::from_nano(number())).collect(),
                }
            };
            (kind.shown, kind.owed) = (table(false), table(!owes));
        }
        let kinds = groups.kinds.len();
        groups.standings.resize_with(totals.jobs.len(), Arc::default);
        for standing in &mut groups.standings {
            if !random.one_in(3) {
                continue;
            }
            let of = [Membership::Waiting, Membership::Unnamed, Membership::In(7)];
            let memberships = (0..kinds).map(|_| of[random.below(3)]).collect();
            *standing = Arc::new(Standing { patience: Nanos::new(random.next()), memberships });
        }
    }

    /// Goes on from what the store gave back, as a new process does.
    fn resume(&mut self, restored: Restored) {
        self.state = restored.checkpoint.expect("continued");
        self.state.next_number = restored.next_number;
        self.slot_hour = None;
    }
}

fn domain(index: usize, random: &mut Random) -> Domain {
    Domain {
        id: format!("package-{index}").into(),
        hw_type: HwType::Cpu,
        origin: Origin::Measured,
        gpu: "".into(),
        source: "rapl".into(),
        place: if random.one_in(2) { Place::Counted } else { Place::Inside("package-\"0\"".into()) },
        socket: Some(0),
        measurement: Measurement::Counter {
            range: Some(Energy::from_micro(random.next() >> 8)),
            ceiling: MicroWatts::from_watts(500),
        },
        floor: None,
        uncertainty_ppm: 0,
    }
}

fn moment(wall_seconds: u64) -> Moment {
    let up = Nanos::from_seconds(wall_seconds - START + UPTIME);
    Moment { monotonic: up, boottime: up, wall: Nanos::from_seconds(wall_seconds) }
}

/// What must be the same before and after: jobs and groups in one order, the slots left out, since they
/// are not given back.
fn image_of(state: &Checkpoint) -> String {
    let mut state = state.clone();
    state.slots.clear();
    state.usage.groups.sort_by_key(|group| (group.inode, group.path.clone()));
    let totals = Arc::make_mut(&mut state.totals);
    let mut order: Vec<usize> = (0..totals.jobs.len()).collect();
    order.sort_by_key(|&row| totals.jobs[row].job.number);
    let (columns, zones) = (totals.columns.len(), totals.zones.len());
    let cells = columns * zones;
    totals.jobs = order.iter().map(|&row| totals.jobs[row].clone()).collect();
    let standings = order.iter().map(|&row| state.groups.standings.get(row).cloned().unwrap_or_default());
    state.groups.standings = standings.collect();
    let energy = |&row: &usize| totals.job_table.energy[row * columns..(row + 1) * columns].to_vec();
    let emissions = |&row: &usize| totals.job_table.emissions[row * cells..(row + 1) * cells].to_vec();
    totals.job_table = Table {
        energy: order.iter().flat_map(energy).collect(),
        emissions: order.iter().flat_map(emissions).collect(),
    };
    format!("{state:#?}")
}

/// Compares long texts without printing them whole.
#[track_caller]
fn assert_same(found: &str, expected: &str) {
    for (line, (found, expected)) in (1..).zip(found.lines().zip(expected.lines())) {
        assert_eq!(found, expected, "line {line}");
    }
    assert_eq!(found.len(), expected.len());
}

/// The past as the model knows it.
fn charged_of(history: &History) -> Charged {
    let mut charged = Charged::new();
    for sum in &history.sums {
        let hour = sum.span.start.get() / 3_600_000_000_000;
        let key = (hour, sum.group.clone(), sum.zone.clone(), sum.column.clone());
        let sums = charged.entry(key).or_default();
        *sums = (sums.0 + sum.energy.as_micro(), sums.1 + sum.emissions.as_nano());
    }
    charged
}

/// What was charged to jobs, by their id, which ends with their number.
fn jobs_of(history: &History) -> ByJob {
    let mut jobs = ByJob::new();
    for job in &history.jobs {
        let id = job.id.as_ref().expect("not folded").id();
        let number =
            id.rsplit('-').next().and_then(|number| number.parse().ok()).expect("ends with its number");
        let energy = job.energy.iter().map(|(column, energy)| (column.clone(), energy.as_micro())).collect();
        let emissions = job.emissions.iter();
        let emissions =
            emissions.map(|(zone, column, grams)| ((zone.clone(), column.clone()), grams.as_nano()));
        let sums: (BTreeMap<_, _>, BTreeMap<_, _>) = (energy, emissions.collect());
        if !sums.0.is_empty() || !sums.1.is_empty() {
            assert!(jobs.insert(number, sums).is_none(), "one record of job {number}");
        }
    }
    jobs
}

/// In memory where there is some to be had: thousands of commits need not wait for a disk.
fn folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder")
}

/// A folder for the store and one that is emptied by a reboot.
struct Disk {
    store: TempDir,
    run: TempDir,
}

impl Disk {
    fn new() -> Disk {
        Disk { store: folder(), run: folder() }
    }

    fn reboot(&mut self) {
        self.run = folder();
    }

    fn try_open(&self, identity: &Identity, at: &Moment) -> Result<(Store, Restored), OpenError> {
        let holder = Holder { pid: 1, boot: identity.boot.clone(), host: identity.host.clone() };
        let lock = take_free(self.store.path(), &holder);
        Store::open(lock, Some(self.run.path()), identity, at)
    }

    fn open(&self, identity: &Identity, at: &Moment) -> (Store, Restored) {
        self.try_open(identity, at).expect("a store")
    }

    fn path(&self) -> &Path {
        self.store.path()
    }

    fn read(&self) -> History {
        read(self.path()).expect("a store")
    }

    /// Whether some file was set aside.
    fn has_set_aside(&self) -> bool {
        let entries = std::fs::read_dir(self.path()).expect("there");
        entries.flatten().any(|entry| entry.file_name().to_string_lossy().contains(".db.corrupt-"))
    }
}

fn identity() -> Identity {
    Identity { boot: "boot-1".into(), machine: "machine-1".into(), host: "node-1".into() }
}

/// What a daemon does after each tick.
fn publish(store: &mut Store, sim: &mut Sim) {
    for job in &sim.state.totals.jobs {
        if let Some(sums) = sim.by_job.get(&job.job.number) {
            sim.recorded.insert(job.job.number, sums.clone());
        }
    }
    let committed = store.commit(&sim.state).expect("a commit");
    assert_eq!(committed.set_aside, None);
    // As the engine does: an hour that is over stays until it has been committed, and a while longer.
    let over = sim.state.slots.len().saturating_sub(2);
    sim.state.slots.drain(..over);
    store.witness().set(committed.generation).expect("writable");
    // Hours that are over stay until a commit has had them.
    let hour = sim.slot_hour;
    sim.state.slots.retain(|slot| Some(slot.hour) == hour);
}
