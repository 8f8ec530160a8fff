//! Which figure is charged: what the grid's mailbox says of the time of a tick. Until it says where the machine
//! is, ticks wait for it, but not for long.

use crate::model::grid::{Grid, Plan, Step};
use crate::model::quantity::Nanos;
use crate::model::reading::{Factor, Tick};
use crate::model::time::Moment;
use arc_swap::ArcSwapOption;
use std::sync::Arc;

/// A cloud that does not say within this long where it is is left unasked: what it emits is the world's.
const PATIENCE: Nanos = Nanos::from_seconds(30);

/// Ticks that wait at the most; those that are asked for in between are some more than those that are due.
const MAX_HELD: usize = 64;

/// The state of this.
pub(super) struct Pricing {
    outlet: Option<Arc<ArcSwapOption<Grid>>>,
    grid: Option<Arc<Grid>>,
    // What is charged where no grid is known.
    otherwise: Arc<Factor>,
    factor: Arc<Factor>,
    // The plan that the engine has or is given next.
    plan: Option<Arc<Plan>>,
    began: Option<Nanos>,
    held: Vec<Tick>,
    is_settled: bool,
    // The first of the ticks that were held has been accounted for.
    has_begun: bool,
}

impl Pricing {
    /// By what `outlet` will say, if there is one; else always by this factor.
    pub(super) fn new(outlet: Option<Arc<ArcSwapOption<Grid>>>, otherwise: Factor) -> Pricing {
        let otherwise = Arc::new(otherwise);
        Pricing {
            is_settled: outlet.is_none(),
            outlet,
            grid: None,
            factor: Arc::clone(&otherwise),
            otherwise,
            plan: None,
            began: None,
            held: Vec::new(),
            has_begun: false,
        }
    }

    /// Another figure where no grid is known.
    pub(super) fn fall_back_to(&mut self, factor: Factor) {
        self.otherwise = Arc::new(factor);
    }

    /// What is in force at this time, and which figure is charged when, if that has changed.
    pub(super) fn look(&mut self, at: &Moment) -> (Option<Arc<Plan>>, Factor) {
        let began = *self.began.get_or_insert(at.monotonic);
        self.grid = self.outlet.as_ref().and_then(|outlet| outlet.load_full());
        self.is_settled |= self.grid.is_some() || at.monotonic.saturating_sub(began) >= PATIENCE;
        // A figure that never changes needs no plan, unless there was one before it.
        let plan = self.grid.as_ref().map(|grid| &grid.plan);
        let may_change = |plan: &Plan| {
            !plan.stretches.is_empty() || plan.otherwise.fallback != Step::Wanted || self.plan.is_some()
        };
        let plan = plan.filter(|plan| may_change(plan));
        let is_known = self.plan.as_ref().map(Arc::as_ptr) == plan.map(Arc::as_ptr);
        let news = plan.filter(|_| !is_known).cloned();
        if let Some(plan) = &news {
            self.plan = Some(Arc::clone(plan));
        }
        let factor = self.grid.as_ref().map_or(&self.otherwise, |grid| grid.plan.at(at.wall));
        if **factor != *self.factor {
            self.factor = Arc::clone(factor);
        }
        (news, Factor::clone(&self.factor))
    }

    /// The ticks that may be accounted for now: none while it is not known where the machine is, then the first
    /// alone, so that a page shows everything at 0, then all that were held and this one.
    pub(super) fn settle(&mut self, mut tick: Tick) -> Vec<Tick> {
        if !self.is_settled && self.held.len() < MAX_HELD {
            self.held.push(tick);
            return Vec::new();
        }
        self.is_settled = true;
        if !self.held.is_empty() && !self.has_begun {
            self.has_begun = true;
            let later = self.held.split_off(1);
            let plan = tick.plan.take();
            let mut due = std::mem::replace(&mut self.held, later);
            self.held.push(tick);
            self.reprice(&mut due);
            due[0].plan = plan;
            return due;
        }
        self.has_begun = true;
        let mut due = std::mem::take(&mut self.held);
        self.reprice(&mut due);
        if let Some(first) = due.first_mut().filter(|first| first.plan.is_none()) {
            first.plan = tick.plan.take();
        }
        due.push(tick);
        due
    }

    fn reprice(&self, due: &mut [Tick]) {
        for held in due {
            let factor = self.grid.as_ref().map_or(&self.otherwise, |grid| grid.plan.at(held.at.wall));
            held.factor = Factor::clone(factor);
        }
    }

    /// Whether ticks wait.
    pub(super) fn is_waiting(&self) -> bool {
        !self.has_begun && !self.held.is_empty()
    }

    /// There is no more time to wait.
    pub(super) fn stop_waiting(&mut self) {
        (self.is_settled, self.has_begun) = (true, true);
    }

    /// What was in force at the last tick.
    pub(super) fn factor(&self) -> &Arc<Factor> {
        &self.factor
    }

    /// What was known of the grid at the last tick.
    pub(super) fn grid(&self) -> Option<&Arc<Grid>> {
        self.grid.as_ref()
    }
}
