//! What outlives the process: out of the engine as a [`Checkpoint`], and into a new one.

use super::floor::IdleFloor;
use super::gpu;
use super::ledger::{Account, Ledger, Share};
use super::usage::Observer;
use super::{DomainState, Engine, Waiting, is_root};
use crate::model::checkpoint::{
    Buckets, Checkpoint, Claim, ClaimAccount, DomainPosition, UsagePosition, floor_key,
};
use crate::model::identity::Name;
use crate::model::reading::{Accounting, Domain, Machine, Measurement};
use crate::model::snapshot::{DomainTotals, Totals};
use crate::model::time::Moment;
use std::sync::Arc;

/// Beyond this many, domains of earlier starts that are in no sum are forgotten.
const MAX_DOMAINS: usize = 1_024;

impl Engine {
    /// Goes on where `checkpoint` stopped. Domains that are not there any more stay as they were; one that
    /// is there again, or is read in another way, goes on from its total. `knew_all`: a group that the
    /// checkpoint does not know did not exist then.
    #[must_use]
    pub fn resume(
        machine: &Machine,
        accounting: Accounting,
        checkpoint: &Checkpoint,
        knew_all: bool,
    ) -> Engine {
        let present = machine.domains.len();
        let mut machine = machine.clone();
        let is_gone = |past: &Domain, now: &[Domain]| !now.iter().any(|domain| is_same_series(domain, past));
        for past in &checkpoint.machine.domains {
            // What is counted is in the sums, and stays.
            let has_room = past.is_leaf() || machine.domains.len() < MAX_DOMAINS;
            if has_room && is_gone(past, &machine.domains) {
                machine.domains.push(past.clone());
            }
        }
        let mut engine = Engine::new(Arc::new(machine), accounting);
        engine.present = present;
        // Parts of devices that jobs were charged for.
        let mut more = checkpoint.totals.columns.to_vec();
        more.retain(|column| !column.is_whole() && !engine.ledger.columns().contains(column));
        engine.ledger.grow(&more, &vec![false; more.len()]);
        engine.ledger.resume(checkpoint);
        engine.observer = Observer::resume(&checkpoint.usage, checkpoint.at.monotonic, knew_all);
        let machine = Arc::clone(&engine.machine);
        for (index, domain) in machine.domains.iter().enumerate() {
            let mut past = checkpoint.machine.domains.iter();
            let Some(place) = past.position(|past| is_same_series(domain, past)) else { continue };
            let state = &mut engine.domains[index];
            if let Some(totals) = checkpoint.totals.domains.get(place) {
                // What it showed as a root is shown for as long as the store remembers it.
                let root = totals.root.or(state.totals.root);
                state.totals = DomainTotals { power: None, root, ..totals.clone() };
            }
            let was_read = place < checkpoint.present;
            let position = checkpoint.domains.get(place).filter(|_| {
                let past = &checkpoint.machine.domains[place];
                // Of a root the host has been credited with what a leaf would be charged with.
                let is_same_place = is_root(past) == is_root(domain);
                index < present && was_read && is_same_place && is_same_meter(domain, past)
            });
            if let Some(root) = &mut state.totals.root {
                root.power = None;
                let position = position.filter(|_| is_root(domain)).map(|position| position.root);
                state.root.resume(position.unwrap_or_default(), root);
            }
            if let Some(position) = position {
                state.resume(position, &engine.ledger);
            }
        }
        engine
    }

    /// Starts with what earlier processes had learnt about the idle machine.
    pub fn learn(&mut self, floors: &[(Name, Buckets)]) {
        self.learnt = floors.into();
        for (domain, state) in self.machine.domains.iter().zip(&mut self.domains) {
            if let Some(floor) = learnt(&self.learnt, &self.machine.cpu_model, domain) {
                state.floor = floor;
            }
        }
    }

    /// Goes on with numbers that nobody has used.
    pub fn number_from(&mut self, next: u64) {
        self.ledger.number_from(next);
    }

    /// The machine, with the domains of earlier starts at its end.
    #[must_use]
    pub fn machine(&self) -> &Arc<Machine> {
        &self.machine
    }

    /// Everything that must outlive the process, after a tick. Of the processors and of the view that
    /// the groups were seen in, the sampler knows.
    #[must_use]
    pub fn checkpoint(
        &self,
        at: Moment,
        totals: Arc<Totals>,
        processors: Vec<(u32, u64)>,
        view: (Name, bool),
    ) -> Checkpoint {
        let (remainders, slots, next_number) = self.ledger.rest();
        let usage = self.observer.position();
        let is_complete = view.1 && usage.is_complete;
        Checkpoint {
            at,
            machine: Arc::clone(&self.machine),
            present: self.present,
            totals,
            remainders,
            domains: self.domains.iter().map(|domain| domain.position(&self.ledger)).collect(),
            groups: self.ledger.groups(),
            usage: UsagePosition { processors, view: view.0, is_complete, ..usage },
            restated: self.ledger.restated(),
            slots,
            next_number,
        }
    }
}

impl DomainState {
    fn position(&self, ledger: &Ledger) -> DomainPosition {
        let claims = |claims: &Waiting| {
            let mut all: Vec<Claim> = claims
                .values()
                .map(|share| Claim {
                    account: match share.account {
                        Account::Job(row) => ClaimAccount::Job(ledger.number(row)),
                        Account::Residual(residual) => ClaimAccount::Residual(residual),
                    },
                    weight: share.weight,
                    part: share.part.map_or_else(
                        || "".into(),
                        |part| ledger.columns()[part as usize].gpu_instance.clone(),
                    ),
                })
                .collect();
            all.sort_unstable_by(|one, other| one.key().cmp(&other.key()));
            all
        };
        let meter = self.meter.position();
        DomainPosition {
            last: meter.last,
            doubted: meter.doubted,
            remainder: meter.remainder,
            floor_remainder: self.floor_remainder,
            waiting: claims(&self.waiting),
            waiting_in_doubt: claims(&self.doubted),
            root: self.root.position(),
            floor: self.floor.buckets(),
        }
    }

    fn resume(&mut self, position: &DomainPosition, ledger: &Ledger) {
        let claims = |claims: &[Claim]| -> Waiting {
            let share = |claim: &Claim| {
                let account = match claim.account {
                    ClaimAccount::Job(number) => Account::Job(ledger.row_of_number(number)?),
                    ClaimAccount::Residual(residual) => Account::Residual(residual),
                };
                let part = self.column.and_then(|column| gpu::part_column(&claim.part, column, ledger));
                let key = gpu::key(ledger.key(account), part);
                Some(((account, part), Share { account, weight: claim.weight, key, part }))
            };
            claims.iter().filter_map(share).collect()
        };
        self.meter.resume(position);
        self.floor_remainder = position.floor_remainder;
        self.waiting = claims(&position.waiting);
        self.doubted = claims(&position.waiting_in_doubt);
        // How busy the machine was while nobody looked is not known well enough to learn from.
        self.is_behind = true;
    }
}

/// What an earlier process had learnt about this domain.
pub(super) fn learnt(floors: &[(Name, Buckets)], cpu_model: &str, domain: &Domain) -> Option<IdleFloor> {
    let key = floor_key(cpu_model, domain);
    floors.iter().find(|(known, _)| *known == key).map(|(_, buckets)| IdleFloor::from_buckets(buckets))
}

/// Whether two domains are shown as the same series.
pub(super) fn is_same_series(one: &Domain, other: &Domain) -> bool {
    let labels = |domain: &Domain| (domain.id.clone(), domain.hw_type, domain.gpu.clone(), domain.origin);
    let are_counted = [one, other].map(Domain::is_leaf);
    labels(one) == labels(other) && are_counted[0] == are_counted[1]
}

/// Whether a reading of the one can follow one of the other.
fn is_same_meter(one: &Domain, other: &Domain) -> bool {
    let is_same_scale = match (one.measurement, other.measurement) {
        (Measurement::Counter { range, .. }, Measurement::Counter { range: other, .. }) => range == other,
        (Measurement::MeanPower { .. }, Measurement::MeanPower { .. }) => true,
        (Measurement::Counter { .. } | Measurement::MeanPower { .. }, _) => false,
    };
    one.source == other.source && is_same_scale
}
