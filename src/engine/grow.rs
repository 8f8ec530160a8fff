//! Devices that come while the process lives: a driver that was loaded late, an instance that was made.

use super::gpu::{self, Claims};
use super::position::{is_same_series, learnt};
use super::{DomainState, Engine, column, is_root, is_shared, parts};
use crate::model::identity::{HwType, Origin};
use crate::model::quantity::Nanos;
use crate::model::reading::{Domain, Machine, Tick};
use crate::model::snapshot::Column;
use std::collections::HashMap;
use std::sync::Arc;

impl Engine {
    /// From now on `domains` are read: those of before in their order, and new ones behind them. One that is
    /// known of an earlier start goes on from its total.
    pub(super) fn grow(&mut self, domains: &[Domain]) {
        let before = self.present;
        let is_same = |now: &Domain, known: &Domain| now.id == known.id && now.source == known.source;
        let are_known = domains.len() >= before
            && domains.iter().zip(&self.machine.domains[..before]).all(|(now, known)| is_same(now, known));
        if !are_known {
            return;
        }
        let mut machine = Machine::clone(&self.machine);
        let mut earlier: Vec<(Domain, DomainState)> =
            machine.domains.drain(before..).zip(self.domains.drain(before..)).collect();
        for (known, now) in machine.domains.iter_mut().zip(domains) {
            // A root may stand around more than before; a leaf has been charged and stays one.
            if is_root(known) == is_root(now) {
                known.place.clone_from(&now.place);
            }
        }
        machine.domains.extend_from_slice(&domains[before..]);
        self.book_for(&machine.domains);
        for domain in &domains[before..] {
            let mut state = DomainState::new(domain, self.ledger.columns(), Vec::new());
            if let Some(place) = earlier.iter().position(|(past, _)| is_same_series(domain, past)) {
                let (_, past) = earlier.remove(place);
                (state.totals, state.floor) = (past.totals, past.floor);
            } else if let Some(floor) = learnt(&self.learnt, &machine.cpu_model, domain) {
                state.floor = floor;
            }
            self.domains.push(state);
        }
        self.present = domains.len();
        for (domain, state) in earlier {
            machine.domains.push(domain);
            self.domains.push(state);
        }
        for (domain, state) in machine.domains.iter().zip(&mut self.domains) {
            state.parts = parts(&machine.domains, domain);
        }
        self.machine = Arc::new(machine);
    }

    /// Makes a column for each domain that has none.
    fn book_for(&mut self, domains: &[Domain]) {
        let mut more: Vec<Column> = domains.iter().filter(|domain| domain.is_leaf()).map(column).collect();
        more.retain(|column| !self.ledger.columns().contains(column));
        more.sort();
        more.dedup();
        if !more.is_empty() {
            let shared: Vec<bool> = more.iter().map(|column| is_shared(domains, column)).collect();
            self.ledger.grow(&more, &shared);
        }
    }

    /// Who claims what of each accelerator in this tick, by the domain's place.
    pub(super) fn hold(&mut self, tick: &Tick) -> HashMap<usize, Claims> {
        let since = self.last.replace(tick.at.monotonic).unwrap_or(tick.at.monotonic);
        let elapsed: Nanos = tick.at.monotonic.saturating_sub(since);
        self.methods.clear();
        let mut found = HashMap::new();
        let mut held: Vec<(u32, u32, u32)> = Vec::new();
        for index in 0..self.present {
            let domain = &self.machine.domains[index];
            let usage = tick.gpus.iter().find(|usage| usage.gpu == domain.gpu);
            let (Some(usage), Some(own), HwType::Gpu) = (usage, self.domains[index].column, domain.hw_type)
            else {
                continue;
            };
            let more = gpu::missing_parts(usage, &self.ledger.columns()[own], self.ledger.columns());
            if !more.is_empty() {
                self.ledger.grow(&more, &vec![false; more.len()]);
            }
            // One that is measured after all is estimated no longer.
            let is_measured = |other: &Domain| {
                other.gpu == domain.gpu && other.origin == Origin::Measured && other.is_leaf()
            };
            let is_estimated = domain.origin == Origin::Estimated;
            if is_estimated && self.machine.domains[..self.present].iter().any(is_measured) {
                continue;
            }
            let claims = gpu::claims(usage, own, elapsed, &self.ledger);
            self.methods.push((usage.gpu.clone(), claims.method));
            held.extend(&claims.held);
            found.insert(index, claims);
        }
        self.ledger.hold(&held);
        found
    }
}
