//! From joules to grams: an interval is cut where the figure in force changes. What was charged is kept by
//! five minutes for three days, so that a figure that is revised later restates it; counters stay as they are.

use super::split::split;
use crate::model::checkpoint::{RestatedPosition, RestatedSpan};
use crate::model::grid::{Basis, GRAIN, Plan, Stretch};
use crate::model::quantity::{Emissions, EmissionsRemainder, Energy, Intensity, Nanos, emissions_of};
use crate::model::reading::Factor;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Ns in an hour.
const HOUR: u64 = 3_600_000_000_000;

/// Providers revise what they said for some hours, a day at the most; what lies further back is settled.
const KEPT_GRAINS: u64 = 72 * HOUR / GRAIN.get();

/// Of all zones together, whatever the wall clock does.
const MAX_SPANS: usize = 2 * 864;
const _: () = assert!(KEPT_GRAINS * 2 == MAX_SPANS as u64, "twice what one zone has");

/// Which figure is charged, and what has been charged by it. Until one is in force nothing may be charged.
#[derive(Debug, Default)]
pub struct Grid {
    now: Nanos,
    plan: Option<Arc<Plan>>,
    // What is in force now, and the place of its zone.
    factor: Option<(Arc<Factor>, usize)>,
    // By five minutes since 1970 and zone.
    spans: BTreeMap<(u64, usize), Span>,
    // What spans that are no longer kept were restated by, in ng by zone.
    settled: Vec<i64>,
    is_stale: bool,
}

/// Five minutes in one zone.
#[derive(Debug, Default, Clone, Copy)]
struct Span {
    // µJ · ppm of PUE, and the same times mg/kWh as it was charged.
    weighed: u128,
    charged: u128,
    // What that included. Figures that include something else are another matter, and restate nothing.
    basis: Option<Basis>,
    // What the provider said last of this time.
    restated: Option<Intensity>,
    // By how much that is more or less than was charged, as it was told to the history, in ng.
    told: i64,
}

/// What an energy emitted.
#[derive(Debug, Default)]
pub struct Bill {
    /// All of it.
    pub emissions: Emissions,
    /// The hours of it in their order, where a plan tells them apart; else it is the same in all of them.
    pub hours: Vec<Billed>,
}

/// What an hour's part of an energy emitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Billed {
    /// Hours since 1970.
    pub hour: u64,
    /// In ng.
    pub nanograms: u64,
    /// By which figure, the last one of the hour.
    pub factor: Arc<Factor>,
}

/// An hour is worth more or less than was charged, in ng.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revision {
    /// Hours since 1970.
    pub hour: u64,
    /// The zone's place.
    pub zone: usize,
    /// By how much more than was known before.
    pub nanograms: i64,
}

/// A part of an interval in which one figure is in force.
struct Piece {
    start: u64,
    nanoseconds: u64,
    factor: Arc<Factor>,
}

impl Grid {
    /// What follows is charged by this: by the factor alone until there is a plan. With it comes the place of
    /// its zone.
    pub fn enforce(&mut self, now: Nanos, plan: Option<&Arc<Plan>>, (factor, zone): (&Factor, usize)) {
        self.now = now;
        match &mut self.factor {
            Some((known, place)) if **known == *factor => *place = zone,
            known => *known = Some((Arc::new(factor.clone()), zone)),
        }
        if let Some(plan) = plan {
            for (&(grain, place), span) in &mut self.spans {
                let stretch = plan.stretch(Nanos::new(grain * GRAIN.get())).filter(|_| place == zone);
                let is_alike = |stretch: &&Stretch| {
                    stretch.factor.fallback.is_of_its_time() && basis(&stretch.factor) == span.basis
                };
                let said = stretch.filter(is_alike);
                if let Some(stretch) = said {
                    self.is_stale |= span.restated != Some(stretch.factor.intensity);
                    span.restated = Some(stretch.factor.intensity);
                }
            }
            self.plan = Some(Arc::clone(plan));
        }
    }

    /// What was restated since this was last asked. What is too old to be restated again is settled.
    pub fn revisions(&mut self) -> Vec<Revision> {
        let mut revisions = Vec::new();
        if std::mem::take(&mut self.is_stale) {
            for (&(grain, zone), span) in &mut self.spans {
                let difference = span.difference();
                let nanograms = difference - std::mem::replace(&mut span.told, difference);
                if nanograms != 0 {
                    revisions.push(Revision { hour: grain * GRAIN.get() / HOUR, zone, nanograms });
                }
            }
        }
        let oldest = (self.now.get() / GRAIN.get()).saturating_sub(KEPT_GRAINS);
        while let Some(entry) = self.spans.first_entry() {
            if entry.key().0 >= oldest {
                break;
            }
            let ((_, zone), span) = entry.remove_entry();
            self.settle(zone, span.told);
        }
        while self.spans.len() > MAX_SPANS
            && let Some(((_, zone), span)) = self.spans.pop_first()
        {
            self.settle(zone, span.told);
        }
        revisions
    }

    /// What is in force now, and the place of its zone.
    #[must_use]
    pub fn in_force(&self) -> (Arc<Factor>, usize) {
        self.factor.clone().expect("a tick says what is in force before anything is charged")
    }

    /// What this energy of the last `elapsed` emitted.
    pub fn bill(&mut self, elapsed: Nanos, energy: Energy, remainder: &mut EmissionsRemainder) -> Bill {
        let (_, zone) = self.in_force();
        let pieces = self.pieces(elapsed.get());
        let weights = pieces.iter().map(|piece| piece.nanoseconds).zip(0..);
        let energies = split(energy.as_micro(), weights).unwrap_or_else(|| vec![energy.as_micro()]);
        let mut bill = Bill::default();
        for (piece, energy) in pieces.iter().zip(energies) {
            let (energy, factor) = (Energy::from_micro(energy), &piece.factor);
            let emitted = emissions_of(energy, factor.intensity, factor.pue, remainder);
            bill.emissions += emitted;
            if self.plan.is_some() {
                let (hour, nanograms) = (piece.start / HOUR, emitted.as_nano());
                let by = Arc::clone(&piece.factor);
                match bill.hours.last_mut().filter(|last| last.hour == hour) {
                    Some(last) => *last = Billed { nanograms: last.nanograms + nanograms, hour, factor: by },
                    None => bill.hours.push(Billed { hour, nanograms, factor: by }),
                }
                let span = self.spans.entry((piece.start / GRAIN.get(), zone)).or_default();
                let weighed = u128::from(energy.as_micro()) * u128::from(factor.pue.as_ppm());
                span.weighed += weighed;
                span.charged += weighed * u128::from(factor.intensity.as_milligrams());
                span.basis = basis(factor);
                self.is_stale |= span.restated.is_some_and(|restated| restated != factor.intensity);
            }
        }
        bill
    }

    /// By how much everything that was charged is worth more or less than that, in ng by zone.
    #[must_use]
    pub fn restated(&self, zones: usize) -> Vec<Option<i64>> {
        let mut sums: Vec<Option<i64>> = vec![None; zones];
        let settled = (0..).zip(self.settled.iter().copied()).filter(|(_, nanograms)| *nanograms != 0);
        let kept = self.spans.iter().map(|(&(_, zone), span)| (zone, span.told));
        for (zone, nanograms) in settled.chain(kept).filter(|(zone, _)| *zone < zones) {
            sums[zone] = Some(sums[zone].unwrap_or(0).saturating_add(nanograms));
        }
        sums
    }

    /// For the store.
    #[must_use]
    pub fn position(&self) -> RestatedPosition {
        let spans = self.spans.iter().map(|(&(grain, zone), span)| RestatedSpan {
            grain,
            zone,
            weighed: span.weighed,
            charged: span.charged,
            basis: span.basis,
            restated: span.restated,
            told: span.told,
        });
        RestatedPosition { spans: spans.collect(), settled: self.settled.clone() }
    }

    /// Goes on where an earlier process stopped.
    pub fn resume(&mut self, position: &RestatedPosition) {
        self.settled.clone_from(&position.settled);
        let spans = position.spans.iter().map(|span| {
            let RestatedSpan { grain, zone, weighed, charged, basis, restated, told } = *span;
            ((grain, zone), Span { weighed, charged, basis, restated, told })
        });
        self.spans = spans.collect();
        // The last tick may have left something untold.
        self.is_stale = true;
    }

    /// The last `elapsed` up to now, cut where another figure may be in force. What lies further back than
    /// anything is kept for is one piece.
    fn pieces(&self, elapsed: u64) -> Vec<Piece> {
        let end = self.now.get();
        let start = end.saturating_sub(elapsed);
        let Some(plan) = &self.plan else {
            let (factor, _) = self.in_force();
            return vec![Piece { start, nanoseconds: elapsed, factor }];
        };
        let grain = GRAIN.get();
        let last = end.saturating_sub(1).max(start) / grain;
        let first = (start / grain).max(last.saturating_sub(KEPT_GRAINS - 1));
        let piece = |index: u64| {
            let from = if index == first { start } else { index * grain };
            let factor = Arc::clone(plan.at(Nanos::new(index * grain)));
            let nanoseconds = end.min((index + 1) * grain).saturating_sub(from);
            Piece { start: from.max(first * grain), nanoseconds, factor }
        };
        (first..=last).map(piece).collect()
    }

    fn settle(&mut self, zone: usize, nanograms: i64) {
        if self.settled.len() <= zone {
            self.settled.resize(zone + 1, 0);
        }
        self.settled[zone] = self.settled[zone].saturating_add(nanograms);
    }
}

/// What a figure includes, where that is known.
fn basis(factor: &Factor) -> Option<Basis> {
    [Basis::Lifecycle, Basis::Direct].into_iter().find(|basis| basis.as_str() == &*factor.basis)
}

impl Span {
    /// What it is worth now beyond what was charged, in whole ng.
    fn difference(&self) -> i64 {
        const NANOGRAM: i128 = 3_600_000_000_000;
        let Some(restated) = self.restated else { return self.told };
        let signed = |amount: u128| i128::try_from(amount).unwrap_or(i128::MAX);
        let worth = self.weighed.saturating_mul(u128::from(restated.as_milligrams()));
        let difference = signed(worth).saturating_sub(signed(self.charged));
        i64::try_from(difference / NANOGRAM).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests;
