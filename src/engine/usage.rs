//! Who used the processors: from the totals that control groups and sockets report to a claim for
//! each account. A process belongs to its innermost job; what a parent counts beyond its children is
//! the trace of those that came and went; what no group explains is the system's.

mod position;

use super::ledger::{Account, Ledger, Newcomer, Share};
use super::split::split;
use crate::model::description::Naming;
use crate::model::identity::{JobId, Name, Residual};
use crate::model::quantity::{CpuTime, Nanos};
use crate::model::reading::{Attributes, Birth, GroupRole, GroupSlot, Groups, Hierarchy, Tick};
use position::Earlier;
use std::collections::HashMap;

/// A deficit older than this much work of one CPU is a difference between two ways of accounting
/// (ticks against exact times), not a reading taken a moment too early; it is not carried for ever.
const LONGEST_DEFICIT_SECONDS: i64 = 10;

/// No group and no socket works more than this between two readings: 13 days of one CPU are 256 CPUs for
/// an hour and a quarter. What seems to is a count that jumped, and is left out. After a longer time, as
/// over a restart, twice what all CPUs can have done in it.
const MOST_WORK: u64 = 1 << 50;
/// With room for sums.
const MOST_WORK_EVER: u64 = 1 << 60;

/// Claims of one tick.
#[derive(Debug, Default)]
pub struct Usage {
    /// Claims to what cannot be told apart by socket.
    pub machine: Vec<Share>,
    /// Claims to each socket; empty where there is one socket only: the machine's are the same.
    pub sockets: Vec<Vec<Share>>,
    /// CPUs reserved by account, in thousandths.
    pub reserved: Vec<(Account, u64)>,
    /// How busy all CPUs together were.
    pub busy: CpuTime,
    /// How much the groups claimed beyond that, so far.
    pub deficit: CpuTime,
}

impl Usage {
    /// The claims to a domain that belongs to `socket`.
    #[must_use]
    pub fn shares(&self, socket: Option<u32>) -> &[Share] {
        socket.and_then(|socket| self.sockets.get(socket as usize)).unwrap_or(&self.machine)
    }
}

/// The control groups that live, and what each had used when it was last read.
#[derive(Debug, Default)]
pub struct Observer {
    groups: Vec<Option<Group>>,
    // In order of birth, so that a parent stands before its children.
    order: Vec<GroupSlot>,
    busy: Vec<CpuTime>,
    deficit: i64,
    // When the groups were last read, in monotonic time.
    read: Option<Nanos>,
    // What an earlier process knew, until the first tick.
    earlier: Option<Earlier>,
}

#[derive(Debug)]
struct Group {
    parent: Option<GroupSlot>,
    hierarchy: Hierarchy,
    kind: Kind,
    path: Name,
    inode: u64,
    user: Option<u32>,
    attributes: Attributes,
    last: Option<CpuTime>,
    last_sockets: Option<Box<[CpuTime]>>,
    carry: i64,
    // What is known of a job that has no row yet.
    naming: Option<Box<Naming>>,
    now: Interval,
}

#[derive(Debug)]
enum Kind {
    Job { id: JobId, row: Option<u32> },
    Slice { id: JobId, row: Option<u32>, was_refused: bool },
    Passage,
    Residual(Residual),
}

/// What is only true of the tick in hand.
#[derive(Debug, Default)]
struct Interval {
    used: u64,
    used_sockets: Option<Box<[CpuTime]>>,
    by_children: u64,
    children_changed: bool,
    vanished: Vanished,
    is_crowded: bool,
    is_gone: bool,
}

/// The jobs among the children that died since the last tick.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Vanished {
    #[default]
    None,
    One(Account),
    Several,
    /// Among them one that another hierarchy charges.
    Elsewhere,
}

impl Vanished {
    fn and(self, other: Vanished) -> Vanished {
        match (self, other) {
            (Vanished::None, other) => other,
            (this, Vanished::None) => this,
            (Vanished::Elsewhere, _) | (_, Vanished::Elsewhere) => Vanished::Elsewhere,
            (Vanished::One(one), Vanished::One(same)) if one == same => self,
            (Vanished::One(_) | Vanished::Several, Vanished::One(_) | Vanished::Several) => Vanished::Several,
        }
    }
}

/// One account's use, and what is known of where it took place.
struct Use {
    account: Account,
    used: u64,
    place: UsePlace,
}

enum UsePlace {
    /// On any socket.
    Anywhere,
    /// On these.
    Sockets(Vec<u32>),
    /// As the kernel counted.
    Counted(Box<[CpuTime]>),
}

impl Observer {
    /// Takes in one tick: rows are opened and closed in the ledger, CPU time is booked, and the
    /// claims come back.
    pub fn step(&mut self, tick: &Tick, ledger: &mut Ledger) -> Usage {
        self.admit(&tick.groups, ledger);
        self.take_over(tick.busy.len(), ledger);
        let since = self.read.replace(tick.at.monotonic).unwrap_or(tick.at.monotonic);
        let most_work = most_work(tick.at.monotonic.saturating_sub(since), tick.cpus);
        self.read(&tick.groups, most_work);
        let uses = self.settle(ledger, i64::from(tick.cpus));
        self.bury(ledger);
        self.claim(tick, uses, most_work, ledger)
    }

    /// Keeps what has become known of jobs that have no row, for when they get one.
    pub fn remember(&mut self, namings: Vec<&Naming>) {
        if namings.is_empty() {
            return;
        }
        let mut by_job: HashMap<&JobId, Vec<&Naming>> = HashMap::new();
        namings.into_iter().for_each(|naming| by_job.entry(&naming.id).or_default().push(naming));
        for group in self.groups.iter_mut().flatten() {
            let (Kind::Job { id, row: None } | Kind::Slice { id, row: None, .. }) = &group.kind else {
                continue;
            };
            for &naming in by_job.get(id).into_iter().flatten() {
                let naming = match group.naming.take() {
                    Some(earlier) => naming.clone().after(*earlier),
                    None => naming.clone(),
                };
                group.naming = Some(Box::new(naming));
            }
        }
    }

    fn admit(&mut self, groups: &Groups, ledger: &mut Ledger) {
        self.promote(ledger);
        for birth in &groups.births {
            self.bear(birth, ledger);
        }
        for (slot, attributes) in &groups.attributes {
            if let Some(group) = self.get_mut(*slot) {
                group.attributes.clone_from(attributes);
            }
        }
        for slot in &groups.crowded {
            if let Some(group) = self.get_mut(*slot) {
                group.now.is_crowded = true;
            }
        }
        for slot in &groups.deaths {
            if let Some(group) = self.get_mut(*slot) {
                group.now.is_gone = true;
            }
        }
    }

    fn bear(&mut self, birth: &Birth, ledger: &mut Ledger) {
        let kind = match &birth.role {
            GroupRole::Job(id) => {
                let newcomer = Newcomer { id, cgroup: &birth.path, user: birth.user, naming: None };
                let mut row = ledger.open(newcomer, birth.hierarchy);
                if row.is_none() && ledger.evict() {
                    row = ledger.open(newcomer, birth.hierarchy);
                }
                if row.is_none() {
                    ledger.count_overflow();
                }
                Kind::Job { id: id.clone(), row }
            }
            GroupRole::Slice(id) => {
                // A row that an earlier process made for it goes on; else it gets one when it needs one.
                let newcomer = Newcomer { id, cgroup: &birth.path, user: birth.user, naming: None };
                let has_row = self.earlier.is_some() && ledger.knows(id);
                let row = if has_row { ledger.open(newcomer, birth.hierarchy) } else { None };
                Kind::Slice { id: id.clone(), row, was_refused: false }
            }
            GroupRole::Passage => Kind::Passage,
            GroupRole::Residual(residual) => Kind::Residual(*residual),
        };
        let mut group = Group {
            parent: birth.parent,
            hierarchy: birth.hierarchy,
            kind,
            path: birth.path.clone(),
            inode: birth.inode,
            user: birth.user,
            attributes: Attributes::default(),
            last: birth.is_new.then_some(CpuTime::ZERO),
            last_sockets: None,
            carry: 0,
            naming: None,
            now: Interval::default(),
        };
        let is_new = self.recall(&mut group) || birth.is_new;
        if is_new && let Some(parent) = birth.parent.and_then(|parent| self.get_mut(parent)) {
            parent.now.children_changed = true;
        }
        let place = birth.slot.0 as usize;
        if self.groups.len() <= place {
            self.groups.resize_with(place + 1, || None);
        }
        self.groups[place] = Some(group);
        self.order.push(birth.slot);
    }

    /// Gives waiting jobs the rows that have become free; what they used meanwhile stays in `overflow`.
    fn promote(&mut self, ledger: &mut Ledger) {
        for &slot in &self.order {
            let Some(group) = self.groups[slot.0 as usize].as_mut() else { continue };
            if let Kind::Job { id, row: row @ None } = &mut group.kind {
                let naming = group.naming.as_deref();
                let newcomer = Newcomer { id, cgroup: &group.path, user: group.user, naming };
                *row = ledger.open(newcomer, group.hierarchy);
                // Who has waited comes before who is born now.
                if row.is_none() && ledger.evict() {
                    *row = ledger.open(newcomer, group.hierarchy);
                }
                if row.is_none() {
                    return;
                }
            }
        }
    }

    fn read(&mut self, groups: &Groups, most_work: u64) {
        let work = |nanoseconds| work(nanoseconds, most_work);
        for reading in &groups.readings {
            let Some(group) = self.get_mut(reading.slot) else { continue };
            // The kernel never takes CPU time back; if it seems to, the count starts anew here.
            if let Some(last) = group.last.replace(reading.usage) {
                group.now.used = work(group.now.used + work(reading.usage.saturating_sub(last).get()));
            }
            let Some(per_socket) = &reading.per_socket else { continue };
            let before = group.last_sockets.replace(per_socket.clone());
            if let Some(before) = before.filter(|before| before.len() == per_socket.len()) {
                let used = per_socket.iter().zip(&before);
                let used = used.map(|(now, then)| Nanos::new(work(now.saturating_sub(*then).get())));
                group.now.used_sockets = Some(used.collect());
            }
        }
    }

    /// From the leaves to the roots: each group's own use, and whose it is.
    fn settle(&mut self, ledger: &mut Ledger, cpus: i64) -> Vec<Use> {
        let longest_deficit = LONGEST_DEFICIT_SECONDS * 1_000_000_000 * cpus;
        let mut uses = Vec::with_capacity(self.order.len());
        for index in (0..self.order.len()).rev() {
            let slot = self.order[index];
            let group = self.groups[slot.0 as usize].as_mut().expect("the order lists living groups");
            let own = to_signed(group.now.used) + group.carry - to_signed(group.now.by_children);
            group.carry = own.clamp(-longest_deficit, 0);
            let own = u64::try_from(own).unwrap_or(0);
            if let Some(account) = group.account(own, ledger) {
                uses.push(Use { account, used: own, place: group.place(own) });
            }
            let used = group.now.used;
            let vanished = group.vanished(ledger);
            let is_gone = group.now.is_gone;
            if let Some(parent) = group.parent.and_then(|parent| self.get_mut(parent)) {
                parent.now.by_children = parent.now.by_children.saturating_add(used);
                if is_gone {
                    parent.now.children_changed = true;
                    parent.now.vanished = parent.now.vanished.and(vanished);
                }
            }
        }
        uses
    }

    fn bury(&mut self, ledger: &mut Ledger) {
        let mut any = false;
        for slot in &self.order {
            let place = &mut self.groups[slot.0 as usize];
            let group = place.as_mut().expect("the order lists living groups");
            if !group.now.is_gone {
                group.now = Interval::default();
                continue;
            }
            any = true;
            if let Kind::Job { row: Some(row), .. } | Kind::Slice { row: Some(row), .. } = group.kind {
                ledger.close(row, group.hierarchy);
            }
            *place = None;
        }
        if any {
            self.order.retain(|slot| self.groups[slot.0 as usize].is_some());
        }
    }

    fn claim(&mut self, tick: &Tick, uses: Vec<Use>, most_work: u64, ledger: &mut Ledger) -> Usage {
        let busy: Vec<u64> = (0..tick.busy.len())
            .map(|socket| {
                let last = self.busy.get(socket).copied().unwrap_or(tick.busy[socket]);
                work(tick.busy[socket].saturating_sub(last).get(), most_work)
            })
            .collect();
        self.busy.clone_from(&tick.busy);
        let total = busy.iter().copied().fold(0, u64::saturating_add);
        let claimed = uses.iter().map(|item| item.used).fold(0, u64::saturating_add);
        let system = to_signed(total) + self.deficit - to_signed(claimed);
        let longest_deficit = LONGEST_DEFICIT_SECONDS * 1_000_000_000 * i64::from(tick.cpus);
        self.deficit = system.clamp(-longest_deficit, 0);
        let system = u64::try_from(system).unwrap_or(0);

        for item in &uses {
            if let Account::Job(row) = item.account {
                ledger.add_cpu(row, Nanos::new(item.used));
            }
        }
        let reserved = self
            .groups
            .iter()
            .flatten()
            .filter(|group| group.attributes.reserved_millicpus > 0)
            .filter_map(|group| Some((group.own_account()?, u64::from(group.attributes.reserved_millicpus))))
            .collect();
        Usage {
            machine: machine_shares(&uses, system, ledger),
            sockets: if busy.len() > 1 { socket_shares(&uses, &busy, system, ledger) } else { Vec::new() },
            reserved,
            busy: Nanos::new(total),
            deficit: Nanos::new(self.deficit.unsigned_abs()),
        }
    }

    fn get_mut(&mut self, slot: GroupSlot) -> Option<&mut Group> {
        self.groups.get_mut(slot.0 as usize)?.as_mut()
    }
}

impl Group {
    /// Whose the group's own use is, if there is any; what is nobody's here is left to the system.
    fn account(&mut self, own: u64, ledger: &mut Ledger) -> Option<Account> {
        if own == 0 || self.attributes.is_double {
            return None;
        }
        match &mut self.kind {
            Kind::Job { row: Some(row), .. } => {
                let is_ours = self.hierarchy == Hierarchy::Primary || !ledger.is_primary(*row);
                is_ours.then_some(Account::Job(*row))
            }
            Kind::Job { row: None, .. } => Some(Account::Residual(Residual::Overflow)),
            Kind::Residual(residual) => Some(Account::Residual(*residual)),
            // Some children are not looked at: whose the rest is cannot be told.
            Kind::Slice { .. } | Kind::Passage if self.now.is_crowded => {
                (self.hierarchy == Hierarchy::Primary).then_some(Account::Residual(Residual::Overflow))
            }
            Kind::Slice { .. } | Kind::Passage if self.now.children_changed => match self.now.vanished {
                Vanished::One(account) => Some(account),
                Vanished::Elsewhere => None,
                // All of them were charged here.
                Vanished::Several => Some(Account::Residual(Residual::Ended)),
                Vanished::None => {
                    (self.hierarchy == Hierarchy::Primary).then_some(Account::Residual(Residual::Ended))
                }
            },
            Kind::Slice { id, row, was_refused } => {
                if row.is_none() {
                    let naming = self.naming.as_deref();
                    let newcomer = Newcomer { id, cgroup: &self.path, user: self.user, naming };
                    *row = ledger.open(newcomer, self.hierarchy);
                    if row.is_none() && !std::mem::replace(was_refused, true) {
                        ledger.count_overflow();
                    }
                }
                Some(row.map_or(Account::Residual(Residual::Overflow), Account::Job))
            }
            Kind::Passage => None,
        }
    }

    fn own_account(&self) -> Option<Account> {
        match &self.kind {
            Kind::Job { row: Some(row), .. } => Some(Account::Job(*row)),
            Kind::Job { row: None, .. } | Kind::Slice { .. } | Kind::Passage | Kind::Residual(_) => None,
        }
    }

    /// What this group's death, if it died, takes out of its parent's sight.
    fn vanished(&self, ledger: &Ledger) -> Vanished {
        let own = match &self.kind {
            Kind::Job { row: Some(row), .. } => {
                let is_charged_elsewhere = self.attributes.is_double
                    || self.hierarchy == Hierarchy::Supplement && ledger.is_primary(*row);
                if is_charged_elsewhere { Vanished::Elsewhere } else { Vanished::One(Account::Job(*row)) }
            }
            Kind::Job { row: None, .. } => Vanished::One(Account::Residual(Residual::Overflow)),
            Kind::Slice { .. } | Kind::Passage | Kind::Residual(_) => Vanished::None,
        };
        own.and(self.now.vanished)
    }

    fn place(&mut self, own: u64) -> UsePlace {
        let counted = self.now.used_sockets.take();
        match counted {
            // Only where nothing was taken off for children do the kernel's counts describe `own`.
            Some(counted) if counted.iter().map(|used| used.get()).sum::<u64>() == own => {
                UsePlace::Counted(counted)
            }
            _ if self.attributes.sockets.is_empty() => UsePlace::Anywhere,
            _ => UsePlace::Sockets(self.attributes.sockets.clone()),
        }
    }
}

fn machine_shares(uses: &[Use], system: u64, ledger: &Ledger) -> Vec<Share> {
    let mut shares: Vec<Share> = uses
        .iter()
        .map(|item| Share {
            account: item.account,
            weight: item.used,
            key: ledger.key(item.account),
            part: None,
        })
        .collect();
    shares.push(system_share(system));
    shares
}

const fn system_share(weight: u64) -> Share {
    Share { account: Account::Residual(Residual::System), weight, key: Residual::System as u64, part: None }
}

/// Jobs whose socket is known weigh their use there; the others share what is left of each socket.
fn socket_shares(uses: &[Use], busy: &[u64], system: u64, ledger: &Ledger) -> Vec<Vec<Share>> {
    let mut taken = vec![0_u64; busy.len()];
    for item in uses {
        match &item.place {
            UsePlace::Counted(counted) => {
                taken.iter_mut().zip(counted).for_each(|(taken, used)| *taken += used.get());
            }
            UsePlace::Sockets(sockets) if sockets.len() == 1 => {
                if let Some(taken) = taken.get_mut(sockets[0] as usize) {
                    *taken += item.used;
                }
            }
            UsePlace::Sockets(_) | UsePlace::Anywhere => {}
        }
    }
    let left: Vec<u64> = busy.iter().zip(&taken).map(|(busy, taken)| busy.saturating_sub(*taken)).collect();
    let mut shares: Vec<Vec<Share>> = vec![Vec::with_capacity(uses.len() + 1); busy.len()];
    let mut claimed = vec![0_u64; busy.len()];
    for item in uses {
        let key = ledger.key(item.account);
        for (socket, weight) in (0..).zip(parts_by_socket(item, busy, &left)) {
            if weight > 0 {
                claimed[socket] += weight;
                shares[socket].push(Share { account: item.account, weight, key, part: None });
            }
        }
    }
    let unclaimed: Vec<u64> =
        busy.iter().zip(&claimed).map(|(busy, claimed)| busy.saturating_sub(*claimed)).collect();
    for (shares, weight) in shares.iter_mut().zip(spread(system, &unclaimed, busy)) {
        shares.push(system_share(weight));
    }
    shares
}

fn parts_by_socket(item: &Use, busy: &[u64], left: &[u64]) -> Vec<u64> {
    let only = |allowed: &[u32], from: &[u64]| -> Vec<u64> {
        (0..).zip(from).map(|(socket, &value)| if allowed.contains(&socket) { value } else { 0 }).collect()
    };
    match &item.place {
        UsePlace::Counted(counted) => counted.iter().map(|used| used.get()).collect(),
        UsePlace::Sockets(allowed) if allowed.len() == 1 => only(allowed, &vec![item.used; busy.len()]),
        UsePlace::Sockets(allowed) => spread(item.used, &only(allowed, left), &only(allowed, busy)),
        UsePlace::Anywhere => spread(item.used, left, busy),
    }
}

/// Spreads `amount` in proportion to `first`, or to `second` where `first` is all 0, or evenly.
fn spread(amount: u64, first: &[u64], second: &[u64]) -> Vec<u64> {
    let keyed = |weights: &[u64]| weights.iter().copied().zip(0..).collect::<Vec<(u64, u64)>>();
    split(amount, keyed(first).into_iter())
        .or_else(|| split(amount, keyed(second).into_iter()))
        .or_else(|| split(amount, keyed(&vec![1; first.len()]).into_iter()))
        .unwrap_or_default()
}

/// The most that is believed to have been done in `elapsed`.
fn most_work(elapsed: Nanos, cpus: u32) -> u64 {
    elapsed.get().saturating_mul(2 * u64::from(cpus)).clamp(MOST_WORK, MOST_WORK_EVER)
}

/// A possible amount of work, or none.
const fn work(nanoseconds: u64, most: u64) -> u64 {
    if nanoseconds > most { 0 } else { nanoseconds }
}

/// Sums over thousands of impossible groups end here, with room for one more step.
fn to_signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX).min(i64::MAX / 4)
}

#[cfg(test)]
mod tests;
