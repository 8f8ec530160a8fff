//! The jobs of a made-up host: they are born, named a tick later, work by the hour of the day, hold
//! accelerators and end. There are always as many as were asked for. Some say how far they are.

use super::day::load_ppm;
use super::hardware::{Hardware, Load, SLICES};
use super::scenario::Scenario;
use crate::clock::Jitter;
use crate::model::description::{Attribute, Description, Naming};
use crate::model::gpu::{Claim, Part, Use};
use crate::model::identity::{JobId, JobKind, Name};
use crate::model::quantity::{CpuTime, Nanos};
use crate::model::reading::{Birth, GroupReading, GroupRole, GroupSlot, Groups, Hierarchy};
use crate::model::speech::Progress;
use std::sync::Arc;

/// CPUs of a host that are spoken for, in %; services use less at night.
const SPOKEN_FOR: u64 = 78;

/// No machine is busier than this, in ppm.
const BUSIEST: u64 = 940_000;

/// What belongs to no job, in ppm of all CPUs.
const SYSTEM: u64 = 12_000;

/// The first jobs of a host are its own services.
const UNITS: [&str; 2] = ["containerd.service", "sshd.service"];
const SLURM_UNITS: [&str; 2] = ["slurmd.service", "sshd.service"];

/// Lives in minutes, shortest and longest.
const SERVICE: (u64, u64) = (8 * 60, 12 * 24 * 60);
const BATCH: (u64, u64) = (4, 50);
const SLURM: (u64, u64) = (10, 6 * 60);

/// Workloads of a team.
const WORKLOADS: [&str; 6] = ["api", "worker", "index", "gateway", "cache", "train"];

/// The epochs of a job that says how far it is, and one step in the model's unit.
const EPOCHS: u64 = 100;
const STEP: u64 = 1_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    Unit,
    Service,
    Batch,
    Slurm,
}

/// A job while it lives.
#[derive(Debug)]
struct Job {
    slot: GroupSlot,
    id: JobId,
    path: Name,
    sort: Sort,
    naming: Option<Naming>,
    /// CPUs when it works at its most, in thousandths.
    demand: u64,
    used: u64,
    /// How much it makes of an accelerator, in ppm.
    activity: u64,
    began: Nanos,
    ends: Nanos,
    /// The epochs that it has said are done; `None` of one that says nothing.
    epochs: Option<u64>,
}

/// What a tick has to say of jobs.
pub struct Work {
    /// Births, deaths, readings.
    pub groups: Groups,
    /// Names.
    pub namings: Vec<Naming>,
    /// How far jobs are that have come further.
    pub progress: Vec<(JobId, Progress)>,
    /// Who holds what.
    pub gpus: Vec<Use>,
    /// What the meters make their count of.
    pub load: Load,
    /// CPU time of everything over the interval.
    pub busy: CpuTime,
}

/// All jobs of a host.
#[derive(Debug)]
pub struct Jobs {
    host: u32,
    host_name: Name,
    cluster: Name,
    is_slurm: bool,
    jobs: Vec<Job>,
    // The job at each part of each accelerator, by its place in `jobs`.
    holders: Vec<Vec<Option<usize>>>,
    born: u64,
}

impl Jobs {
    /// None yet: they come with the first tick.
    #[must_use]
    pub fn new(scenario: &Scenario, host: u32, hardware: &Hardware) -> Jobs {
        let (cluster, _) = scenario.place(host);
        Jobs {
            host,
            host_name: scenario.host(host),
            cluster: scenario.cluster(cluster),
            is_slurm: Scenario::is_slurm(cluster),
            jobs: Vec::new(),
            holders: hardware.devices.iter().map(|device| vec![None; device.parts.len()]).collect(),
            born: 0,
        }
    }

    /// One interval up to `wall`, the tick's number being `tick`. At rest nobody works, comes or goes.
    pub fn step(&mut self, scenario: &Scenario, hardware: &Hardware, time: (u64, Nanos, Nanos)) -> Work {
        let (tick, wall, elapsed) = time;
        let is_at_rest = scenario.is_at_rest(tick);
        let namings: Vec<Naming> = self.jobs.iter_mut().filter_map(|job| job.naming.take()).collect();
        let mut groups = Groups::default();
        if tick == 0 {
            for place in 0..scenario.jobs as usize {
                let job = self.bear(scenario, hardware, (place, None), wall);
                groups.births.push(job.birth(false));
                self.jobs.push(job);
            }
        } else if !is_at_rest {
            self.replace(scenario, hardware, wall, &mut groups);
        }
        let mut chance = scenario.chance("work", u64::from(self.host) << 40 | tick);
        let busy = if is_at_rest { 0 } else { self.work(hardware, wall, elapsed, &mut chance) };
        groups.readings = self.jobs.iter().map(Job::reading).collect();
        // Nobody is heard before it is seen.
        let progress = self.jobs.iter_mut().filter(|job| job.naming.is_none());
        let progress = progress.filter_map(|job| Some((job.id.clone(), job.progress(wall)?))).collect();
        let gpus = self.uses(hardware, &mut chance);
        let load = self.load(hardware, busy, elapsed, is_at_rest);
        Work { groups, namings, progress, gpus, load, busy: Nanos::new(busy) }
    }

    /// Those whose time is over make room for others.
    fn replace(&mut self, scenario: &Scenario, hardware: &Hardware, wall: Nanos, groups: &mut Groups) {
        for place in 0..self.jobs.len() {
            if self.jobs[place].ends > wall {
                continue;
            }
            let slot = self.jobs[place].slot;
            groups.deaths.push(slot);
            for holder in self.holders.iter_mut().flatten().filter(|holder| **holder == Some(place)) {
                *holder = None;
            }
            let job = self.bear(scenario, hardware, (place, Some(slot)), wall);
            groups.births.push(job.birth(true));
            self.jobs[place] = job;
        }
    }

    /// A new job at a place, after one that had this slot.
    fn bear(
        &mut self,
        scenario: &Scenario,
        hardware: &Hardware,
        (place, before): (usize, Option<GroupSlot>),
        wall: Nanos,
    ) -> Job {
        self.born += 1;
        let mut chance = scenario.chance("job", u64::from(self.host) << 32 | self.born);
        let sort = match (place, self.is_slurm) {
            (0..2, _) => Sort::Unit,
            (_, true) => Sort::Slurm,
            (_, false) if place.is_multiple_of(3) => Sort::Batch,
            (_, false) => Sort::Service,
        };
        // Two slots for each place: one that died is not used again at once.
        let count = scenario.jobs;
        let first = u32::try_from(place).unwrap_or(0);
        let slot = if before == Some(GroupSlot(first)) { first + count } else { first };
        let share = u64::from(hardware.cpus) * 1_000 * SPOKEN_FOR / 100 / u64::from(count.max(1));
        let demand = match sort {
            Sort::Unit => 60 + chance.below(200),
            Sort::Service | Sort::Batch | Sort::Slurm => share / 4 + chance.below(share * 3 / 2),
        };
        let (shortest, longest) = match sort {
            Sort::Unit => (u64::MAX / 120_000_000_000, 0),
            Sort::Service => SERVICE,
            Sort::Batch => BATCH,
            Sort::Slurm => SLURM,
        };
        let minutes = shortest + chance.below(longest.saturating_sub(shortest).max(1));
        let life = minutes.saturating_mul(60_000_000_000);
        // Those that are there at the start began at some time before it.
        let left = if before.is_none() { life / 20 + chance.below(life / 20 * 19) } else { life };
        // Every sixth makes nothing of what it holds.
        let activity = if chance.below(6) == 0 { 0 } else { 300_000 + chance.below(680_000) };
        if matches!(sort, Sort::Batch | Sort::Slurm) {
            let free = self.holders.iter_mut().flatten().find(|holder| holder.is_none());
            if let Some(free) = free {
                *free = Some(place);
            }
        }
        let (id, path, naming) = self.name(scenario, sort, place, &mut chance);
        let speaks = matches!(sort, Sort::Batch | Sort::Slurm) && chance.below(3) == 0;
        let ends = Nanos::new(wall.get().saturating_add(left));
        Job {
            slot: GroupSlot(slot),
            id,
            path: path.as_str().into(),
            sort,
            naming: Some(naming),
            demand,
            used: 0,
            activity,
            began: ends.saturating_sub(Nanos::new(life)),
            ends,
            epochs: speaks.then_some(0),
        }
    }

    /// Who it is, where it stands and what it is called, as the real ones are.
    fn name(
        &self,
        scenario: &Scenario,
        sort: Sort,
        place: usize,
        chance: &mut Jitter,
    ) -> (JobId, String, Naming) {
        let teams = u64::from(scenario.teams.max(1));
        // The first teams are the largest.
        let team = chance.below(teams).min(chance.below(teams));
        let team = scenario.team(u32::try_from(team).unwrap_or(0));
        let user =
            format!("{team}-{}", ["ada", "lin", "omar"][usize::try_from(chance.below(3)).unwrap_or(0)]);
        let workload = WORKLOADS[usize::try_from(chance.below(6)).unwrap_or(0)];
        let mut known = Description::default();
        let (kind, id, path, groups) = match sort {
            Sort::Unit => {
                let unit = if self.is_slurm { SLURM_UNITS[place % 2] } else { UNITS[place % 2] };
                known.set(Attribute::Unit, unit);
                known.set(Attribute::Slice, "system.slice");
                (JobKind::Unit, unit.to_owned(), format!("/system.slice/{unit}"), Vec::new())
            }
            Sort::Service | Sort::Batch => {
                let is_batch = sort == Sort::Batch;
                let namespace = format!("{team}-{}", if is_batch { "batch" } else { "prod" });
                let suffix = chance.below(1 << 20);
                known.set(Attribute::Namespace, &namespace);
                known.set(Attribute::Pod, &format!("{workload}-{suffix:05x}"));
                known.set(Attribute::WorkloadKind, if is_batch { "Job" } else { "Deployment" });
                known.set(Attribute::WorkloadName, workload);
                known.label("team", &team);
                let uid = format!(
                    "{:08x}-{:04x}-4000-8000-{:012x}",
                    chance.below(1 << 32),
                    chance.below(1 << 16),
                    u64::from(self.host) << 24 | self.born & 0xff_ffff
                );
                let path = format!(
                    "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{}.slice",
                    uid.replace('-', "_")
                );
                (JobKind::Pod, uid, path, vec![("namespace", namespace), ("team", team.to_string())])
            }
            Sort::Slurm => {
                // Numbers of a cluster: no two hosts have the same.
                let number = 1_000_000 + self.born * u64::from(scenario.hosts) + u64::from(self.host);
                known.set(Attribute::SlurmJobName, workload);
                known.set(Attribute::SlurmAccount, &team);
                known.set(Attribute::SlurmPartition, "main");
                known.set(Attribute::SlurmCluster, &self.cluster);
                known.set(Attribute::UserName, &user);
                let path = format!("/system.slice/{}_slurmstepd.scope/job_{number}", self.host_name);
                let groups =
                    [("slurm_account", team.to_string()), ("user", user), ("team", team.to_string())];
                (JobKind::Slurm, format!("{}.{number}", self.cluster), path, groups.into())
            }
        };
        let id = JobId::new(kind, &id);
        let groups = groups.into_iter().map(|(kind, group)| (kind.into(), group.as_str().into())).collect();
        let naming = Naming { id: id.clone(), description: Arc::new(known), groups, is_final: true };
        (id, path, naming)
    }

    /// Everybody works; how long all CPUs together were busy, in ns.
    fn work(&mut self, hardware: &Hardware, wall: Nanos, elapsed: Nanos, chance: &mut Jitter) -> u64 {
        let (all, by_day) = (u64::from(hardware.cpus) * 1_000, load_ppm(wall));
        let wishes: Vec<u64> = self
            .jobs
            .iter()
            .map(|job| {
                let curve = match job.sort {
                    Sort::Unit => 1_000_000,
                    Sort::Service => by_day,
                    Sort::Batch | Sort::Slurm => 900_000,
                };
                job.demand * curve / 1_000_000 * (85 + chance.below(30)) / 100
            })
            .collect();
        let (wanted, most) = (wishes.iter().sum::<u64>().max(1), all * BUSIEST / 1_000_000);
        let mut busy = share(all * SYSTEM / 1_000_000, elapsed);
        for (job, wish) in self.jobs.iter_mut().zip(wishes) {
            let granted = if wanted > most { wish * most / wanted } else { wish };
            let used = share(granted, elapsed);
            job.used += used;
            busy += used;
        }
        busy
    }

    /// Who holds and uses what.
    fn uses(&self, hardware: &Hardware, chance: &mut Jitter) -> Vec<Use> {
        let device = |(device, holders): (&super::hardware::Device, &Vec<Option<usize>>)| {
            let parts = device.parts.iter().zip(holders).map(|((instance, slices), holder)| {
                let job = holder.map(|place| &self.jobs[place]);
                let activity = job.map_or(0, |job| job.activity * (90 + chance.below(11)) / 100);
                let activity = u32::try_from(activity).unwrap_or(0);
                let claim = |job: &Job| Claim {
                    job: Some(job.id.clone()),
                    allocated: 1,
                    used: Some(u64::from(activity)),
                };
                Part {
                    instance: instance.clone(),
                    slices: *slices,
                    activity: device.is_divided().then_some(activity),
                    claims: job.map(claim).into_iter().collect(),
                }
            });
            Use { gpu: device.gpu.clone(), is_known: true, slices: SLICES, parts: parts.collect() }
        };
        hardware.devices.iter().zip(&self.holders).map(device).collect()
    }

    fn load(&self, hardware: &Hardware, busy: u64, elapsed: Nanos, is_at_rest: bool) -> Load {
        let capacity = u128::from(hardware.cpus) * u128::from(elapsed.get().max(1));
        let busy = u64::try_from(u128::from(busy) * 1_000_000 / capacity).unwrap_or(0);
        let devices = hardware.devices.iter().zip(&self.holders);
        let gpus = devices.map(|(device, holders)| {
            let parts = device.parts.iter().zip(holders);
            let busy = |((_, slices), holder): (&(Name, u32), &Option<usize>)| {
                holder.map_or(0, |place| self.jobs[place].activity) * u64::from(*slices)
            };
            parts.map(busy).sum::<u64>() / u64::from(SLICES)
        });
        Load { sockets: vec![busy; hardware.sockets()], gpus: gpus.collect(), is_at_rest }
    }
}

impl Job {
    fn birth(&self, is_new: bool) -> Birth {
        Birth {
            slot: self.slot,
            parent: None,
            hierarchy: Hierarchy::Primary,
            role: GroupRole::Job(self.id.clone()),
            path: self.path.clone(),
            inode: 0,
            user: None,
            is_new,
        }
    }

    /// How far it is, if that is further than it said.
    fn progress(&mut self, wall: Nanos) -> Option<Progress> {
        let life = u128::from(self.ends.saturating_sub(self.began).get());
        let lived = u128::from(wall.saturating_sub(self.began).get());
        let done = (lived * u128::from(EPOCHS)).checked_div(life)?;
        let done = u64::try_from(done).unwrap_or(EPOCHS).min(EPOCHS);
        let said = self.epochs.as_mut().filter(|said| **said < done)?;
        *said = done;
        Some(Progress { done: done * STEP, total: EPOCHS * STEP })
    }

    fn reading(&self) -> GroupReading {
        GroupReading { slot: self.slot, usage: Nanos::new(self.used), per_socket: None }
    }
}

/// CPU time of so many thousandths of a CPU over an interval, in ns.
fn share(millicpus: u64, elapsed: Nanos) -> u64 {
    u64::try_from(u128::from(millicpus) * u128::from(elapsed.get()) / 1_000).unwrap_or(u64::MAX)
}
