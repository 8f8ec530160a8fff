//! The meters and the account keeping around one command: the exporter's own parts with one job in them, so
//! that the figure is the exporter's by construction. The meters may be a running exporter's, where we may
//! read none ourselves.

use super::accelerators::Accelerators;
use super::daemon::Host;
use crate::config::Settings;
use crate::config::place::visible_devices;
use crate::daemon::StartError;
use crate::engine::Engine;
use crate::job::processor::{Processors, Topology};
use crate::kernel_file::Buffer;
use crate::model::checkpoint::Checkpoint;
use crate::model::description::Naming;
use crate::model::gpu::Sight;
use crate::model::grid::Plan;
use crate::model::identity::{HwType, JobId, Name, Origin};
use crate::model::quantity::{CpuTime, Nanos};
use crate::model::reading::{
    Accounting, Birth, Domain, Factor, Fault, GroupReading, GroupRole, GroupSlot, Groups, Hierarchy,
    IdlePolicy, Load, Machine, Place, Tick, Value,
};
use crate::model::snapshot::{ProcessState, SamplerState, Snapshot, Totals};
use crate::model::speech::{Heard, Prediction, Progress};
use crate::model::time::Moment;
use crate::sampler::predictions::Predictions;
use crate::source::hardware::Hardware;
use crate::source::rapl::Probe;
use crate::source::{Sources, Wishes, ipmi};
use std::sync::Arc;

/// The kind of groups that a run's hours are kept by, beside its own.
const USER: &str = "user";

/// Ticks of a second that wait for a provider's answer: longer than anybody has patience.
const MOST_HELD: usize = 16;

/// The one job.
const SLOT: GroupSlot = GroupSlot(0);

/// Where values come from.
enum Readings {
    Own,
    /// In the order of the exporter's domains, and behind them those of ours that it lacks, by their place.
    Host(Vec<Name>, Vec<usize>),
}

/// Meters, processors and accounts.
pub struct Meters {
    machine: Arc<Machine>,
    readings: Readings,
    // Ours; where an exporter's are used they tell who uses its accelerators.
    sources: Sources,
    accelerators: Accelerators,
    processors: Processors,
    engine: Engine,
    factor: Factor,
    // What is charged when, where providers are asked, until the engine has it.
    plan: Option<Arc<Plan>>,
    news: Option<Arc<Plan>>,
    // Ticks that wait for it.
    held: Option<Vec<Tick>>,
    job: Option<Birth>,
    // Whose it is, told with its birth.
    naming: Option<Naming>,
    last: Option<(Moment, CpuTime, CpuTime)>,
    predictions: Predictions,
    buffer: Buffer,
}

/// What is measured, and for whom.
pub struct Job {
    /// Who.
    pub id: JobId,
    /// Whose.
    pub user: u32,
    /// Its control group, if it has one of its own.
    pub cgroup: Name,
}

impl Meters {
    /// Looks the machine over without waiting for anything: what blocks, as a BMC does, is left out.
    ///
    /// # Errors
    /// /proc/stat cannot be read.
    pub fn open(
        settings: &Settings,
        host: &str,
        job: Job,
        daemon: Option<&Host>,
        factor: Factor,
    ) -> Result<Meters, StartError> {
        let topology = Topology::read(&settings.sysfs);
        let path = settings.procfs.join("stat").display().to_string();
        let processors = Processors::open(&settings.procfs, topology.clone())
            .map_err(|error| StartError::Processors { path, error })?;
        let hardware = Hardware::read(&settings.procfs, &settings.sysfs, topology.sockets());
        let sources = Sources::discover(&settings.sysfs, &hardware, &brief(&settings.hardware), |package| {
            topology.socket_of_package(package)
        });
        let own = sources.domains();
        // An accelerator may be read by everybody, and the processors by root alone.
        let is_measured =
            |domain: &Domain| domain.origin == Origin::Measured && domain.hw_type != HwType::Gpu;
        let (mut domains, readings) = match daemon.filter(|host| host.domains().any(is_measured)) {
            Some(host) if !own.iter().any(is_measured) => {
                let (added, places) = lacking(host, &own);
                let is_replaced = |domain: &Domain| added.iter().any(|own| own.id == domain.id);
                let lent = host.domains().filter(|domain| !is_replaced(domain)).map(as_counter);
                let domains: Vec<Domain> = lent.collect();
                let ids = domains.iter().map(|domain| domain.id.clone()).collect();
                (domains.into_iter().chain(added).collect(), Readings::Host(ids, places))
            }
            Some(_) | None => (own, Readings::Own),
        };
        // What the exporter has learnt of idle power is as good for us.
        for domain in domains.iter_mut().filter(|domain| domain.floor.is_none()) {
            let same = daemon.and_then(|host| {
                host.domains().find(|known| known.id == domain.id && known.source == domain.source)
            });
            domain.floor = same.and_then(|known| known.floor);
        }
        let lent = daemon.filter(|host| host.is_asked_for_factor());
        let factor = lent.map_or(factor, |host| host.factor().clone());
        let machine = Arc::new(Machine {
            host: host.into(),
            cpu_model: hardware.model_name.as_str().into(),
            kernel: "".into(),
            domains,
        });
        let naming = Naming {
            id: job.id.clone(),
            description: Arc::default(),
            groups: vec![(USER.into(), job.user.to_string().as_str().into())],
            is_final: true,
        };
        let accelerators = Accelerators::new(job.id.clone(), visible_devices());
        let job = Birth {
            slot: SLOT,
            parent: None,
            hierarchy: Hierarchy::Primary,
            role: GroupRole::Job(job.id),
            path: job.cgroup,
            inode: 0,
            user: Some(job.user),
            is_new: true,
        };
        Ok(Meters {
            engine: Engine::new(Arc::clone(&machine), accounting(settings)),
            machine,
            readings,
            sources,
            accelerators,
            processors,
            factor,
            plan: None,
            news: None,
            held: None,
            job: Some(job),
            naming: Some(naming),
            last: None,
            predictions: Predictions::default(),
            buffer: Buffer::default(),
        })
    }

    /// Whether an exporter is asked for the values.
    #[must_use]
    pub fn are_of_daemon(&self) -> bool {
        matches!(self.readings, Readings::Host(..))
    }

    /// One tick: everything is read and accounted for; the job has used so much since its start, has said so much
    /// since the last tick, and has the processes of which `is_own` says so.
    pub fn tick(
        &mut self,
        at: Moment,
        (used, speech): (CpuTime, Vec<Heard>),
        daemon: Option<&Host>,
        is_own: impl Fn(u32) -> Option<bool>,
    ) {
        let cpus = self.processors.read(&mut self.buffer).unwrap_or(0);
        let load = self.load(&at, cpus, used);
        let own = match &self.readings {
            Readings::Own => self.sources.read(load, &mut self.buffer),
            // Without accelerators there is nothing to look for.
            Readings::Host(..) if self.sources.gpus().next().is_none() => Vec::new(),
            Readings::Host(..) => self.sources.read(load, &mut self.buffer),
        };
        let meters = match &self.readings {
            Readings::Own => own,
            Readings::Host(ids, places) => {
                let energy = |id: &Name| daemon.and_then(|host| host.energy(id));
                let lent = ids.iter().map(|id| energy(id).map(Value::Counter).ok_or(Fault::Unreachable));
                let ours = places.iter().map(|place| own.get(*place).copied().unwrap_or(Err(Fault::Missing)));
                lent.chain(ours).collect()
            }
        };
        if let Some(host) = daemon.filter(|host| host.is_asked_for_factor()) {
            self.factor = host.factor().clone();
        }
        let reading = GroupReading { slot: SLOT, usage: used, per_socket: None };
        let groups = Groups {
            births: self.job.take().into_iter().collect(),
            readings: vec![reading],
            ..Groups::default()
        };
        let sights: Vec<&Sight> = self.sources.gpus().collect();
        let gpus = self.accelerators.uses(&sights, is_own);
        let namings = self.naming.take().into_iter().collect();
        let factor = self.factor.clone();
        let busy = self.processors.busy().to_vec();
        let tick =
            Tick { at, domains: None, meters, busy, cpus, groups, gpus, namings, speech, plan: None, factor };
        match &mut self.held {
            Some(held) if held.len() < MOST_HELD => held.push(tick),
            Some(_) => {
                self.price(None);
                self.account(tick);
            }
            None => self.account(tick),
        }
    }

    /// Until [`Meters::price`] is called nothing is charged, and nothing is lost.
    pub fn hold(&mut self) {
        self.held = Some(Vec::new());
    }

    /// Whether ticks wait to be charged.
    #[must_use]
    pub const fn is_holding(&self) -> bool {
        self.held.is_some()
    }

    /// What has waited and what comes is charged by this plan; without one by the figure that there was.
    pub fn price(&mut self, plan: Option<Arc<Plan>>) {
        let is_new = |plan: &Arc<Plan>| self.plan.as_ref().is_none_or(|known| !Arc::ptr_eq(known, plan));
        if let Some(plan) = plan.filter(is_new) {
            // A figure that never changes needs no plan in the engine.
            self.news = (!plan.stretches.is_empty() || self.plan.is_some()).then(|| Arc::clone(&plan));
            self.plan = Some(plan);
        }
        for tick in self.held.take().into_iter().flatten() {
            self.account(tick);
        }
    }

    fn account(&mut self, mut tick: Tick) {
        if let Some(plan) = &self.plan {
            tick.factor = Factor::clone(plan.at(tick.at.wall));
            tick.plan = self.news.take();
            self.factor = tick.factor.clone();
        }
        self.engine.step(&tick);
        self.predictions.look(&self.engine.totals(), &tick.at, self.plan.as_deref(), &self.factor);
    }

    /// What the command will come to, if it says how far it is.
    #[must_use]
    pub fn prediction(&self) -> Option<Prediction> {
        self.predictions.all.values().next().copied()
    }

    /// How far it says that it has come.
    #[must_use]
    pub fn progress(&self) -> Option<Progress> {
        let totals = self.engine.totals();
        totals.jobs.first()?.speech.as_ref()?.progress.map(|(progress, _)| progress)
    }

    /// Everything that is true at this time, for whoever asks.
    #[must_use]
    pub fn snapshot(&self, at: Moment, interval: Nanos) -> Snapshot {
        Snapshot {
            at,
            interval,
            machine: Arc::clone(self.engine.machine()),
            totals: Arc::new(self.engine.totals()),
            factor: Arc::new(self.factor.clone()),
            grid: None,
            sources: Vec::new(),
            gpus: Vec::new(),
            predictions: Arc::clone(&self.predictions.all),
            sampler: SamplerState::default(),
            store: None,
            push: None,
            process: ProcessState::default(),
        }
    }

    /// How busy the machine was since the last tick: at least as busy as the job, whose use is told more
    /// finely.
    fn load(&mut self, at: &Moment, cpus: u32, used: CpuTime) -> Load {
        let busy: CpuTime = self.processors.busy().iter().fold(CpuTime::ZERO, |sum, busy| sum + *busy);
        let Some((since, before, used_before)) = self.last.replace((*at, busy, used)) else {
            return Load { at: at.monotonic, busy_ppm: 0 };
        };
        let work = busy.saturating_sub(before).max(used.saturating_sub(used_before));
        let capacity = u128::from(at.since(&since).get()) * u128::from(cpus);
        let ppm = (u128::from(work.get()) * 1_000_000).checked_div(capacity).unwrap_or(0).min(1_000_000);
        Load { at: at.monotonic, busy_ppm: u32::try_from(ppm).expect("at most a million") }
    }

    /// What is known of the accelerators.
    #[must_use]
    pub const fn accelerators(&self) -> &Accelerators {
        &self.accelerators
    }

    /// What has been counted.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.engine.totals()
    }

    /// Everything, the hours among it.
    #[must_use]
    pub fn checkpoint(&self, at: Moment, totals: Arc<Totals>) -> Checkpoint {
        self.engine.checkpoint(at, totals, Vec::new(), ("".into(), false))
    }

    /// The domains.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// The intensity in force.
    #[must_use]
    pub fn factor(&self) -> &Factor {
        &self.factor
    }
}

/// Accelerators that we can measure and the exporter does not: it may run where the driver's library is not.
/// Where it has a meter around others, they may be inside that.
fn lacking(host: &Host, own: &[Domain]) -> (Vec<Domain>, Vec<usize>) {
    if host.domains().any(|domain| matches!(domain.place, Place::Around(_))) {
        return (Vec::new(), Vec::new());
    }
    let is_measured = |domain: &Domain| domain.hw_type == HwType::Gpu && domain.origin == Origin::Measured;
    let has = |id: &Name| host.domains().any(|domain| is_measured(domain) && domain.id == *id);
    let own =
        own.iter().enumerate().filter(|(_, domain)| is_measured(domain) && domain.place == Place::Counted);
    let lacking = own.filter(|(_, domain)| !has(&domain.id));
    lacking.map(|(place, domain)| (domain.clone(), place)).unzip()
}

/// What may be looked at while a command waits to be started.
fn brief(wishes: &Wishes) -> Wishes {
    Wishes {
        ipmi: ipmi::Wish::Off,
        redfish: None,
        has_no_threads: true,
        probe: Probe::Once,
        ..wishes.clone()
    }
}

/// One command is charged with what it makes the machine draw; what is drawn in any case is told beside it.
fn accounting(settings: &Settings) -> Accounting {
    Accounting {
        idle: IdlePolicy::Separate,
        retention: Nanos::from_seconds(1),
        max_jobs: 1,
        floors: settings.floors.iter().map(|(id, power)| (id.as_str().into(), *power)).collect(),
        group_kinds: vec![USER.into()],
        group_hold: Nanos::ZERO,
    }
}

/// An exporter's total of a domain is a counter to us, whatever it is read from.
fn as_counter(domain: &Domain) -> Domain {
    use crate::model::quantity::MicroWatts;
    use crate::model::reading::Measurement;
    let (Measurement::Counter { ceiling, .. } | Measurement::MeanPower { ceiling }) = domain.measurement;
    // It moves with the exporter's ticks, 15 s apart at the most: all of that may come at once.
    const MOST_TICKS: u64 = 20;
    let ceiling = MicroWatts::new(ceiling.get().saturating_mul(MOST_TICKS));
    Domain { measurement: Measurement::Counter { range: None, ceiling }, ..domain.clone() }
}
