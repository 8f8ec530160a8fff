//! The core: readings in, totals out. Pure and synchronous: no clock, no files, no logs, and no floats in the step
//! and its state. The same ticks give the same totals.
//!
//! A tick passes through [`usage`] (who used the processors), one [`meter`] a domain (how much energy
//! that was), [`floor`] and [`mod@split`] (whose it is) and the [`grid`] (how many grams) into the [`ledger`], its
//! [`groups`] of jobs and its [`history`] by the hour. Beside it stands the [`prediction`], which books nothing and so
//! may use floats.

pub mod floor;
pub mod gpu;
pub mod grid;
pub mod groups;
mod grow;
pub mod history;
pub mod ledger;
pub mod meter;
mod position;
pub mod prediction;
pub mod root;
pub mod speech;
pub mod split;
pub mod sums;
pub mod usage;

use crate::model::checkpoint::Buckets;
use crate::model::gpu::Method;
use crate::model::identity::{HwType, Name, Residual};
use crate::model::quantity::{Energy, MicroWatts, Nanos};
use crate::model::reading::{Accounting, Domain, Fault, FloorMethod, IdlePolicy, Machine, Place, Tick};
use crate::model::snapshot::{Column, DomainTotals, Quarantine, RootTotals, Totals};
use floor::IdleFloor;
use gpu::Claims;
use ledger::{Account, Charge, Ledger, Share};
use meter::{Meter, Step};
use root::{Root, Shown};
use split::split;
use std::collections::HashMap;
use std::sync::Arc;
use usage::{Observer, Usage};

/// The accounting of one host.
#[derive(Debug)]
pub struct Engine {
    machine: Arc<Machine>,
    // How many of its domains are read; the others are of earlier starts.
    present: usize,
    accounting: Accounting,
    domains: Vec<DomainState>,
    observer: Observer,
    ledger: Ledger,
    deficit: Nanos,
    // How each accelerator's energy was divided in the last tick.
    methods: Vec<(Name, Method)>,
    // When that was, in monotonic time.
    last: Option<Nanos>,
    // What earlier processes had learnt about idle power.
    learnt: Arc<[(Name, Buckets)]>,
}

/// Claims by whose they are and for which part of a device.
type Waiting = HashMap<(Account, Option<u32>), Share>;

/// What is kept for one domain.
#[derive(Debug)]
struct DomainState {
    meter: Meter,
    /// The column its energy is booked in; `None` for a domain that is shown and never added.
    column: Option<usize>,
    /// Of a root, the domains it stands around.
    parts: Vec<usize>,
    root: Root,
    /// What was booked in this tick.
    drawn: Energy,
    floor: IdleFloor,
    floor_remainder: u64,
    /// The next energy covers more time than the tick it comes in.
    is_behind: bool,
    /// Claims whose energy has not been read yet.
    waiting: Waiting,
    /// Claims up to a reading that was not believed, in case it was a glitch and their energy comes after all.
    doubted: Waiting,
    totals: DomainTotals,
}

impl Engine {
    /// Starts with empty accounts.
    #[must_use]
    pub fn new(machine: Arc<Machine>, accounting: Accounting) -> Engine {
        let mut columns: Vec<Column> =
            machine.domains.iter().filter(|domain| domain.is_leaf()).map(column).collect();
        columns.sort();
        columns.dedup();
        let domains = machine
            .domains
            .iter()
            .map(|domain| DomainState::new(domain, &columns, parts(&machine.domains, domain)))
            .collect();
        let shared = columns.iter().map(|column| is_shared(&machine.domains, column)).collect();
        let mut ledger = Ledger::new(columns.into(), shared, accounting.max_jobs, accounting.retention);
        ledger.group_by(&accounting.group_kinds, accounting.group_hold);
        Engine {
            domains,
            observer: Observer::default(),
            ledger,
            deficit: Nanos::ZERO,
            present: machine.domains.len(),
            methods: Vec::new(),
            last: None,
            learnt: Arc::default(),
            machine,
            accounting,
        }
    }

    /// Everything up to this monotonic time is on disk. An engine that is never told keeps nothing for a
    /// store's sake; one that is keeps ended jobs until their last state is there.
    pub fn committed(&mut self, through: Nanos) {
        self.ledger.committed(through);
    }

    /// Accounts differently from now on; what has been booked stays.
    pub fn reconfigure(&mut self, accounting: Accounting) {
        self.ledger.reconfigure(accounting.max_jobs, accounting.retention);
        self.ledger.group_by(&accounting.group_kinds, accounting.group_hold);
        self.accounting = accounting;
    }

    /// Takes in one tick. This is the program on one screen.
    pub fn step(&mut self, tick: &Tick) {
        self.ledger.begin(&tick.at);
        if let Some(domains) = &tick.domains {
            self.grow(domains);
        }
        self.ledger.price(tick.plan.as_ref(), &tick.factor);
        let before = self.ledger.listen(&tick.speech, self.last.unwrap_or(tick.at.monotonic));
        let usage = self.observer.step(tick, &mut self.ledger);
        let unplaced = tick.namings.iter().filter(|naming| !self.ledger.describe(naming)).collect();
        self.observer.remember(unplaced);
        // After what is told in this tick: it may be what was waited for.
        self.ledger.decide_overdue();
        self.deficit = usage.deficit;
        // Jobs may have left the page to make room; what waits for energy must not name them.
        self.release_rows();
        // Domains of earlier starts stand at the end: nobody reads them any more. Roots come last.
        self.domains.iter_mut().for_each(|domain| domain.drawn = Energy::ZERO);
        let mut gpus = self.hold(tick);
        let (parts, roots): (Vec<usize>, Vec<usize>) = (0..self.present.min(tick.meters.len()))
            .partition(|&index| !is_root(&self.machine.domains[index]));
        for index in parts.into_iter().chain(roots) {
            let reading = tick.meters[index].ok();
            let step = reading.map(|value| self.domains[index].meter.read(&tick.at, value));
            self.book(index, step, tick, &usage, gpus.remove(&index).as_ref());
        }
        self.ledger.hear(&tick.speech, &before);
        self.ledger.retire();
        self.release_rows();
    }

    /// Everything that is shown.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let mut totals = Totals { cpu_deficit: self.deficit, ..Totals::default() };
        self.ledger.fill(&mut totals);
        totals.gpus.clone_from(&self.methods);
        totals.domains = (0..self.domains.len())
            .map(|index| {
                let mut domain = self.domains[index].totals.clone();
                let has_floor = index < self.present && self.domains[index].column.is_some();
                domain.floor = has_floor.then(|| self.floor(index));
                domain
            })
            .collect();
        totals
    }

    fn book(&mut self, index: usize, step: Option<Step>, tick: &Tick, usage: &Usage, gpu: Option<&Claims>) {
        // Who keeps the processors busy need not be who keeps an accelerator busy.
        let shares = match self.machine.domains[index].hw_type {
            HwType::Cpu | HwType::Memory | HwType::Other => usage.shares(self.machine.domains[index].socket),
            HwType::Gpu => gpu.map_or(&[][..], |gpu| &gpu.active),
        };
        let is_gpu = self.machine.domains[index].hw_type == HwType::Gpu;
        let taken = self.domains[index].take(step);
        if is_root(&self.machine.domains[index]) {
            return self.settle(index, taken, tick, usage, gpu);
        }
        let domain = &mut self.domains[index];
        let (energy, elapsed) = match taken {
            Taken::Energy { energy, elapsed, is_recovered } => {
                if is_recovered {
                    domain.recover();
                }
                (energy, elapsed)
            }
            Taken::Nothing => return domain.lose_interval(),
            Taken::Doubted => return domain.doubt(shares),
            // The energy of this tick will come with the next good reading; its claims wait for it.
            Taken::Silent => return domain.fall_behind(shares),
        };
        domain.doubted.clear();
        domain.totals.energy += energy;
        domain.totals.power = energy.mean_power(elapsed);
        domain.drawn = energy;
        // How busy the machine was is known of this tick alone.
        if std::mem::take(&mut domain.is_behind) {
            domain.floor.restart_window();
        } else {
            domain.observe(is_gpu, gpu, (energy, elapsed), usage.busy, tick.cpus);
        }
        if domain.column.is_none() {
            return;
        }
        if energy == Energy::ZERO {
            return domain.wait(shares);
        }
        let shares = domain.claims(shares);
        let reserved = match gpu {
            Some(gpu) => Reserved::Gpu(&gpu.reserved),
            None if is_gpu => Reserved::Gpu(&[]),
            None => Reserved::Cpus(usage),
        };
        self.divide(index, (energy, elapsed), &shares, tick, reserved);
    }

    /// What a root draws beyond its parts belongs to no job: fans, disks, losses. Unless it is an accelerator
    /// that has a processor inside: then the rest is the accelerator.
    fn settle(&mut self, index: usize, taken: Taken, tick: &Tick, usage: &Usage, gpu: Option<&Claims>) {
        let is_gpu = self.machine.domains[index].hw_type == HwType::Gpu;
        let claims = gpu.map_or(&[][..], |gpu| &gpu.active);
        let parts = self.domains[index].parts.iter().map(|&part| &self.domains[part]);
        let drawn: Energy = parts.clone().map(|part| part.drawn).sum();
        let power_of_parts: Option<u64> = parts
            .map(|part| part.totals.power.map(MicroWatts::get))
            .try_fold(0_u64, |sum, power| Some(sum.saturating_add(power?)));
        let domain = &mut self.domains[index];
        let mut totals = domain.totals.root.unwrap_or_default();
        let shown = match taken {
            Taken::Energy { energy, is_recovered: false, .. } => Shown::Energy(energy),
            Taken::Energy { energy, is_recovered: true, .. } => Shown::Recovered(energy),
            Taken::Nothing => Shown::Nothing,
            Taken::Doubted => Shown::Doubted,
            Taken::Silent => Shown::Silent,
        };
        totals.power = None;
        let rest = domain.root.step(tick.at.monotonic, drawn, shown, &mut totals);
        let mut elapsed = Nanos::ZERO;
        if let Taken::Energy { energy, elapsed: covered, .. } = taken {
            elapsed = covered;
            totals.energy += energy;
            totals.power = energy.mean_power(covered);
        }
        domain.totals.root = Some(totals);
        if rest.disbelieved > Energy::ZERO {
            quarantine(&mut domain.totals, Fault::Implausible, rest.disbelieved);
        }
        let powers = totals.power.zip(power_of_parts);
        domain.totals.power = powers.map(|(own, parts)| MicroWatts::new(own.get().saturating_sub(parts)));
        domain.totals.energy += rest.energy;
        if elapsed == Nanos::ZERO {
            domain.wait(claims);
            return domain.floor.restart_window();
        }
        domain.observe(is_gpu, gpu, (rest.energy, elapsed), usage.busy, tick.cpus);
        if rest.energy == Energy::ZERO {
            return domain.wait(claims);
        }
        let claims = if is_gpu { domain.claims(claims) } else { Vec::new() };
        let reserved = gpu.map_or(&[][..], |gpu| &gpu.reserved);
        self.divide(index, (rest.energy, elapsed), &claims, tick, Reserved::Gpu(reserved));
    }

    fn divide(
        &mut self,
        index: usize,
        (energy, elapsed): (Energy, Nanos),
        shares: &[Share],
        tick: &Tick,
        reserved: Reserved<'_>,
    ) {
        let (_, floor) = self.floor(index);
        let domain = &mut self.domains[index];
        let idle = floor.over(elapsed, &mut domain.floor_remainder).min(energy);
        let active = energy.checked_sub(idle).expect("idle is at most the energy");
        let capacity = u64::from(tick.cpus) * 1_000;
        let idle_shares = match self.accounting.idle {
            // A root's rest has no claims: fans are not on anybody's account.
            IdlePolicy::Separate | IdlePolicy::Usage | IdlePolicy::Reserved if shares.is_empty() => {
                vec![idle_account(1)]
            }
            IdlePolicy::Separate => vec![idle_account(1)],
            IdlePolicy::Usage => shares.to_vec(),
            IdlePolicy::Reserved => match reserved {
                Reserved::Cpus(usage) => reserved_shares(&usage.reserved, capacity, &self.ledger),
                Reserved::Gpu(shares) => shares.to_vec(),
            },
        };
        let mut parts = Vec::with_capacity(shares.len() + idle_shares.len());
        divide_into(&mut parts, idle, &idle_shares, Residual::Idle);
        divide_into(&mut parts, active, shares, Residual::Unattributed);
        let column = self.domains[index].column.expect("only counted domains are divided");
        self.ledger.charge(column, elapsed, &parts);
    }

    fn floor(&self, index: usize) -> (FloorMethod, MicroWatts) {
        let domain = &self.machine.domains[index];
        if let Some((_, power)) = self.accounting.floors.iter().find(|(id, _)| *id == domain.id) {
            return (FloorMethod::Configured, *power);
        }
        if let Some(floor) = domain.floor {
            return (floor.method, floor.power);
        }
        match self.domains[index].floor.learnt() {
            Some(power) => (FloorMethod::Learnt, power),
            None => (FloorMethod::Unlearnt, MicroWatts::ZERO),
        }
    }

    /// Claims of jobs that left the page before their energy came are those of ended jobs.
    fn release_rows(&mut self) {
        for row in self.ledger.release() {
            for domain in &mut self.domains {
                for claims in [&mut domain.waiting, &mut domain.doubted] {
                    let is_its =
                        |(account, _): &(Account, Option<u32>), _: &mut Share| *account == Account::Job(row);
                    let gone: Vec<Share> = claims.extract_if(is_its).map(|(_, share)| share).collect();
                    for share in gone {
                        let (account, key) = (Account::Residual(Residual::Ended), Residual::Ended as u64);
                        add_claim(claims, Share { account, key, part: None, ..share });
                    }
                }
            }
        }
    }
}

/// Where a domain's energy is booked.
fn column(domain: &Domain) -> Column {
    Column {
        hw_type: domain.hw_type,
        gpu: domain.gpu.clone(),
        gpu_instance: "".into(),
        origin: domain.origin,
    }
}

/// Whether all jobs use what is booked in this column.
fn is_shared(domains: &[Domain], of: &Column) -> bool {
    domains.iter().any(|domain| {
        domain.place == Place::Counted && domain.hw_type != HwType::Gpu && column(domain) == *of
    })
}

const fn is_root(domain: &Domain) -> bool {
    matches!(domain.place, Place::Around(_))
}

/// The domains that `domain` stands around.
fn parts(domains: &[Domain], domain: &Domain) -> Vec<usize> {
    let Place::Around(ids) = &domain.place else { return Vec::new() };
    let is_part = |part: &Domain| {
        part.place == Place::Counted && part.origin == domain.origin && ids.contains(&part.id)
    };
    (0..).zip(domains).filter_map(|(index, part)| is_part(part).then_some(index)).collect()
}

/// What a reading gave.
#[derive(Debug, Clone, Copy)]
enum Taken {
    Energy { energy: Energy, elapsed: Nanos, is_recovered: bool },
    // A first reading, or one after which the energy before it will not come.
    Nothing,
    // Not believed, in case it was a glitch.
    Doubted,
    Silent,
}

/// Who has reserved what.
#[derive(Debug, Clone, Copy)]
enum Reserved<'a> {
    Cpus(&'a Usage),
    Gpu(&'a [Share]),
}

impl DomainState {
    /// Of a domain that has not been read.
    fn new(domain: &Domain, columns: &[Column], parts: Vec<usize>) -> DomainState {
        let own = columns.iter().position(|known| *known == column(domain));
        DomainState {
            meter: Meter::new(domain.measurement),
            column: own.filter(|_| domain.is_leaf()),
            parts,
            root: Root::default(),
            drawn: Energy::ZERO,
            floor: IdleFloor::default(),
            floor_remainder: 0,
            is_behind: false,
            waiting: HashMap::new(),
            doubted: HashMap::new(),
            totals: DomainTotals {
                root: is_root(domain).then(RootTotals::default),
                ..DomainTotals::default()
            },
        }
    }

    /// Takes in a reading and counts what was odd about it.
    fn take(&mut self, step: Option<Step>) -> Taken {
        self.totals.power = None;
        let taken = |energy, elapsed| Taken::Energy { energy, elapsed, is_recovered: false };
        match step {
            Some(Step::Advanced { energy, elapsed }) => taken(energy, elapsed),
            Some(Step::Recovered { energy, elapsed }) => {
                Taken::Energy { energy, elapsed, is_recovered: true }
            }
            Some(Step::Wrapped { energy, elapsed }) => {
                self.totals.wraps += 1;
                taken(energy, elapsed)
            }
            Some(Step::Gap { energy, elapsed }) => {
                self.totals.gap += elapsed;
                taken(energy, elapsed)
            }
            Some(Step::Lost { elapsed }) => {
                self.totals.gap += elapsed;
                Taken::Nothing
            }
            Some(Step::Implausible { claimed, reason }) => {
                quarantine(&mut self.totals, reason, claimed);
                Taken::Doubted
            }
            Some(Step::Reset) => {
                self.totals.resets += 1;
                Taken::Doubted
            }
            Some(Step::First) => Taken::Nothing,
            None => Taken::Silent,
        }
    }

    /// Learns from a window in which the machine was idle; an accelerator is when nobody holds it, whoever works
    /// beside it.
    fn observe(
        &mut self,
        is_gpu: bool,
        gpu: Option<&Claims>,
        (energy, elapsed): (Energy, Nanos),
        busy: Nanos,
        cpus: u32,
    ) {
        match (is_gpu, gpu.is_some_and(|gpu| gpu.is_free)) {
            (false, _) => self.floor.observe(energy, elapsed, busy, cpus),
            (true, true) => self.floor.observe(energy, elapsed, Nanos::ZERO, cpus),
            (true, false) => self.floor.restart_window(),
        }
    }

    fn lose_interval(&mut self) {
        self.floor.restart_window();
        self.is_behind = false;
        self.waiting.clear();
        self.doubted.clear();
    }

    /// The interval seems lost. Should the reading turn out to have been a glitch, the next one makes up for it.
    fn doubt(&mut self, shares: &[Share]) {
        if self.column.is_some() {
            self.wait(shares);
        }
        let claims = std::mem::take(&mut self.waiting);
        self.lose_interval();
        self.doubted = claims;
    }

    fn recover(&mut self) {
        self.is_behind = true;
        let claims: Vec<Share> = self.doubted.drain().map(|(_, share)| share).collect();
        self.wait(&claims);
    }

    fn fall_behind(&mut self, shares: &[Share]) {
        self.is_behind = true;
        if self.column.is_some() {
            self.wait(shares);
        }
    }

    fn wait(&mut self, shares: &[Share]) {
        for share in shares {
            add_claim(&mut self.waiting, *share);
        }
    }

    /// The claims of this tick and of those before it whose energy was not read.
    fn claims(&mut self, shares: &[Share]) -> Vec<Share> {
        if self.waiting.is_empty() {
            return shares.to_vec();
        }
        self.wait(shares);
        self.waiting.drain().map(|(_, share)| share).collect()
    }
}

fn add_claim(claims: &mut Waiting, share: Share) {
    let claim = claims.entry((share.account, share.part)).or_insert(Share { weight: 0, ..share });
    claim.weight = claim.weight.saturating_add(share.weight);
}

fn quarantine(totals: &mut DomainTotals, reason: Fault, claimed: Energy) {
    match totals.quarantined.iter_mut().find(|known| known.reason == reason) {
        Some(known) => {
            known.energy = known.energy.saturating_add(claimed);
            known.readings += 1;
        }
        None => totals.quarantined.push(Quarantine { reason, energy: claimed, readings: 1 }),
    }
}

const fn idle_account(weight: u64) -> Share {
    Share { account: Account::Residual(Residual::Idle), weight, key: Residual::Idle as u64, part: None }
}

/// Who has reserved CPUs pays for the idle machine in that proportion; the rest is nobody's.
fn reserved_shares(reserved: &[(Account, u64)], capacity: u64, ledger: &Ledger) -> Vec<Share> {
    let taken: u64 = reserved.iter().map(|(_, millicpus)| millicpus).sum();
    reserved
        .iter()
        .map(|&(account, weight)| Share { account, weight, key: ledger.key(account), part: None })
        .chain([idle_account(capacity.saturating_sub(taken))])
        .collect()
}

/// Splits `energy` over `shares`, or gives it whole to `otherwise` if nobody claims any.
fn divide_into(parts: &mut Vec<Charge>, energy: Energy, shares: &[Share], otherwise: Residual) {
    if energy == Energy::ZERO {
        return;
    }
    match split(energy.as_micro(), shares.iter().map(|share| (share.weight, share.key))) {
        Some(amounts) => parts.extend(shares.iter().zip(amounts).filter(|(_, amount)| *amount > 0).map(
            |(&Share { account, key, part, .. }, amount)| Charge {
                account,
                energy: Energy::from_micro(amount),
                key,
                part,
            },
        )),
        None => {
            let account = Account::Residual(otherwise);
            parts.push(Charge { account, energy, key: otherwise as u64, part: None });
        }
    }
}
